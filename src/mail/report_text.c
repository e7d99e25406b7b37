/*
 * report_text.c - text into a report: cleaned, folded, encoded.
 *
 * Everything from outside goes through mail_writer_fold or mail_writer_quoted, or is part of
 * the message that is returned, inside a part of its own. Nothing else knows what is harmless.
 */
#include "report_priv.h"

#include <stdarg.h>

#define FOLD_AT       76
#define LINE_TEXT_MAX 950
#define RUN_MAX       900 /* octets without a blank; then the line ends all the same */
#define QUOTED_AT     73  /* of 76: room for one encoded octet and the "=" of a soft line end */

void mail_writer_put(struct mail_writer *writer, struct pn_str text)
{
    writer->rc = writer->rc ? writer->rc : pn_buf_append(writer->out, text);
}

void mail_writer_z(struct mail_writer *writer, const char *text)
{
    mail_writer_put(writer, pn_str_z(text));
}

void mail_writer_printf(struct mail_writer *writer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    writer->rc = writer->rc ? writer->rc : pn_buf_vprintf(writer->out, format, args);
    va_end(args);
}

void mail_writer_date(struct mail_writer *writer, struct pn_wall when)
{
    writer->rc = writer->rc ? writer->rc : pn_wall_rfc5322(when, writer->out);
}

/* ---- folding ----------------------------------------------------------------------------- */

/* The octets of the printable character at the start of text; 0: there is none. */
static size_t printable(struct pn_str text, bool ascii)
{
    unsigned char lead = (unsigned char)text.ptr[0];
    size_t octets = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    if (lead < 0x80) {
        return pn_is_control(text.ptr[0]) ? 0 : 1;
    }
    if (ascii || octets > text.len || !pn_str_is_utf8(pn_str_sub(text, 0, octets)) ||
        (lead == 0xc2 && (unsigned char)text.ptr[1] < 0xa0)) { /* C1 controls */
        return 0;
    }
    return octets;
}

/* Replies of several lines are folded like all others. */
static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t word(struct pn_str text)
{
    size_t octets = 0;

    while (octets < text.len && !is_blank(text.ptr[octets])) {
        octets++;
    }
    return octets;
}

void mail_writer_fold(struct mail_writer *writer, const char *before, const char *margin,
                      struct pn_str text, bool ascii)
{
    size_t margin_len = pn_str_z(margin).len, column = pn_str_z(before).len, run = 0;
    bool pending = false; /* a blank that is written when something follows it: a line of
                             blanks alone would end a header for some readers */

    mail_writer_z(writer, before);
    while (text.len > 0 && writer->rc == 0) {
        size_t octets = printable(text, ascii);

        if (is_blank(text.ptr[0])) {
            pending = true;
            text = pn_str_sub(text, 1, SIZE_MAX);
            continue;
        }
        if (run >= RUN_MAX || (pending && column + 1 + word(text) > FOLD_AT)) {
            mail_writer_z(writer, "\r\n");
            mail_writer_z(writer, margin);
            column = margin_len;
            run = 0;
        } else if (pending) {
            mail_writer_z(writer, " ");
            column++;
            run = 0;
        }
        pending = false;
        mail_writer_put(writer, octets ? pn_str_sub(text, 0, octets) : PN_STR("?"));
        column += octets ? octets : 1;
        run += octets ? octets : 1;
        text = pn_str_sub(text, octets ? octets : 1, SIZE_MAX);
    }
    mail_writer_z(writer, "\r\n");
}

void mail_writer_line(struct mail_writer *writer, const char *before, struct pn_str text,
                      bool ascii)
{
    size_t written = 0;

    mail_writer_z(writer, before);
    while (text.len > 0 && written < LINE_TEXT_MAX && writer->rc == 0) {
        size_t octets = printable(text, ascii);

        mail_writer_put(writer, octets ? pn_str_sub(text, 0, octets) : PN_STR("?"));
        text = pn_str_sub(text, octets ? octets : 1, SIZE_MAX);
        written += octets ? octets : 1;
    }
    mail_writer_z(writer, "\r\n");
}

/* ---- quoted-printable ----------------------------------------------------------------------
 */

static bool is_line_end(struct pn_str text)
{
    return text.len >= 2 && text.ptr[0] == '\r' && text.ptr[1] == '\n';
}

void mail_writer_quoted(struct mail_writer *writer, struct pn_str text)
{
    size_t column = 0;

    while (text.len > 0 && writer->rc == 0) {
        unsigned char c = (unsigned char)text.ptr[0];
        struct pn_str rest = pn_str_sub(text, 1, SIZE_MAX);
        bool blank = c == ' ' || c == '\t';
        bool plain =
            (c > ' ' && c < 0x7f && c != '=') || (blank && rest.len > 0 && !is_line_end(rest));

        if (is_line_end(text)) {
            mail_writer_z(writer, "\r\n");
            column = 0;
            text = pn_str_sub(text, 2, SIZE_MAX);
            continue;
        }
        if (column >= QUOTED_AT) {
            mail_writer_z(writer, "=\r\n");
            column = 0;
        }
        if (plain) {
            mail_writer_put(writer, pn_str_sub(text, 0, 1));
        } else {
            mail_writer_printf(writer, "=%02X", (unsigned)c);
        }
        column += plain ? 1 : 3;
        text = rest;
    }
}

enum mail_width mail_width_of(struct pn_str text)
{
    enum mail_width width = MAIL_WIDTH_7BIT;

    while (text.len > 0) {
        struct pn_str line = pn_str_cut(&text, '\n');

        if (line.len > MAIL_REPORT_LINE_MAX + 1 || pn_str_find(line, '\0') < line.len) {
            return MAIL_WIDTH_BINARY;
        }
        if (!pn_str_is_ascii(line)) {
            width = MAIL_WIDTH_8BIT;
        }
    }
    return width;
}

/* ---- reading
 * --------------------------------------------------------------------------------- */

static int hex(char c)
{
    return pn_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int mail_xtext_decode(struct pn_str text, struct pn_buf *out)
{
    int rc = 0;

    for (size_t i = 0; i < text.len && rc == 0; i++) {
        int high = i + 2 < text.len ? hex(text.ptr[i + 1]) : -1;
        int low = i + 2 < text.len ? hex(text.ptr[i + 2]) : -1;

        if (text.ptr[i] == '+' && high >= 0 && low >= 0) {
            rc = pn_buf_append_char(out, (char)(high * 16 + low));
            i += 2;
        } else {
            rc = pn_buf_append_char(out, text.ptr[i]);
        }
    }
    return rc;
}

struct pn_str mail_header_of(struct pn_str text, size_t max)
{
    struct pn_str rest = text;

    while (rest.len > 0) {
        size_t before = text.len - rest.len, end = pn_str_find(rest, '\n');

        if (is_line_end(rest) || end == rest.len || before + end + 1 > max) {
            return pn_str_sub(text, 0, before);
        }
        rest = pn_str_sub(rest, end + 1, SIZE_MAX);
    }
    return text;
}

struct pn_str mail_header_field(struct pn_str header, struct pn_str name)
{
    while (header.len > 0) {
        struct pn_str line = pn_str_cut(&header, '\n');
        bool folded = header.len > 0 && (header.ptr[0] == ' ' || header.ptr[0] == '\t');

        if (pn_str_starts_nocase(line, name) && line.len > name.len &&
            line.ptr[name.len] == ':') {
            line = pn_str_sub(line, name.len + 1, SIZE_MAX);
            line.len -= pn_str_ends(line, PN_STR("\r"));
            return folded ? PN_STR("") : pn_str_trim(line);
        }
    }
    return PN_STR("");
}
