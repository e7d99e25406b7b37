/*
 * client_reply.c - collects a server's reply, line by line.
 *
 * Everything is bounded before it is kept: a line, the number of lines, and the text of a
 * reply (FAULTS 3.4, 4.12). Text is made printable as it is collected, so that no later
 * reader needs to think of it: a control octet, and an octet that is not UTF-8, become '?'.
 * A line is judged when its end has come, never in parts, so that the cuts do not matter.
 */
#include "client_reply_priv.h"

#include "postern/base/assert.h"

#include <string.h>

void smtp_reader_init(struct smtp_reader *reader)
{
    *reader = (struct smtp_reader){0};
    pn_buf_init(&reader->line, SMTP_READER_LINE_MAX);
    pn_buf_init(&reader->text, SMTP_READER_TEXT_MAX);
}

void smtp_reader_fini(struct smtp_reader *reader)
{
    pn_buf_fini(&reader->line);
    pn_buf_fini(&reader->text);
}

void smtp_reader_clear(struct smtp_reader *reader)
{
    pn_buf_clear(&reader->line);
    pn_buf_clear(&reader->text);
    reader->code = 0;
    reader->lines = 0;
    reader->whole = false;
}

/* How many octets at s[at] are one printable character; 0: none is. */
static size_t printable(struct pn_str s, size_t at)
{
    unsigned char lead = (unsigned char)s.ptr[at];
    size_t octets = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    if (pn_is_control(s.ptr[at]) || octets > s.len - at ||
        !pn_str_is_utf8(pn_str_sub(s, at, octets))) {
        return 0;
    }
    /* U+0080 to U+009F are controls too; terminals obey them. */
    return lead == 0xc2 && (unsigned char)s.ptr[at + 1] < 0xa0 ? 0 : octets;
}

static int append_clean(struct pn_buf *out, struct pn_str s)
{
    size_t at = 0;
    int status = 0;

    if (pn_str_is_ascii(s) && !pn_str_has_control(s)) {
        return pn_buf_append(out, s);
    }
    while (at < s.len && status == 0) {
        size_t octets = printable(s, at);

        status = octets ? pn_buf_append(out, pn_str_sub(s, at, octets))
                        : pn_buf_append_char(out, '?');
        at += octets ? octets : 1;
    }
    return status;
}

/* Text beyond the maximum is dropped by whole lines: the codes are what counts. */
static void keep_text(struct smtp_reader *reader, struct pn_str text)
{
    size_t before = reader->text.len;

    if ((reader->lines > 1 && pn_buf_append_char(&reader->text, '\n') != 0) ||
        append_clean(&reader->text, text) != 0) {
        pn_buf_truncate(&reader->text, before);
    }
}

static enum smtp_reader_result junk(struct smtp_reader *reader, const char *why)
{
    reader->junk = why;
    return SMTP_READER_JUNK;
}

static int parse_code(struct pn_str line)
{
    if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !pn_is_digit(line.ptr[1]) ||
        !pn_is_digit(line.ptr[2])) {
        return 0;
    }
    return (line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0');
}

static enum smtp_reader_result judge_line(struct smtp_reader *reader, struct pn_str line)
{
    int code = parse_code(line);
    bool last = line.len == 3 || (line.len > 3 && line.ptr[3] == ' ');

    if (code == 0 || (!last && line.ptr[3] != '-')) {
        return junk(reader, "a line that does not begin with a reply code");
    }
    if (reader->lines > 0 && code != reader->code) {
        return junk(reader, "lines of one reply with different codes");
    }
    if (reader->lines == SMTP_READER_LINES_MAX) {
        return junk(reader, "a reply of more than 100 lines");
    }
    reader->code = code;
    reader->lines++;
    keep_text(reader, pn_str_sub(line, 4, SIZE_MAX));
    reader->whole = last;
    return last ? SMTP_READER_REPLY : SMTP_READER_MORE;
}

/* A bare LF ends a reply line too: reading it costs nothing, and it is never passed on. */
static enum smtp_reader_result end_line(struct smtp_reader *reader)
{
    struct pn_str line = pn_buf_str(&reader->line);
    enum smtp_reader_result result;

    line.len--;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    result = judge_line(reader, line);
    pn_buf_clear(&reader->line);
    return result;
}

size_t smtp_reader_feed(struct smtp_reader *reader, struct pn_str data,
                        enum smtp_reader_result *out)
{
    size_t taken = 0;

    *out = SMTP_READER_MORE;
    if (reader->whole && data.len > 0) {
        smtp_reader_clear(reader);
    }
    while (*out == SMTP_READER_MORE && taken < data.len) {
        struct pn_str rest = pn_str_sub(data, taken, SIZE_MAX);
        size_t end = pn_str_find(rest, '\n');
        size_t octets = end < rest.len ? end + 1 : rest.len;

        if (pn_buf_append(&reader->line, pn_str_sub(rest, 0, octets)) != 0) {
            *out = junk(reader, "a line of more than 4096 octets");
        } else if (end < rest.len) {
            *out = end_line(reader);
        }
        taken += octets;
    }
    return taken;
}

/* One to three digits at s[*at]. */
static bool skip_number(struct pn_str s, size_t *at)
{
    size_t from = *at;

    while (*at < s.len && *at - from < 3 && pn_is_digit(s.ptr[*at])) {
        (*at)++;
    }
    return *at > from;
}

/*
 * The length of an enhanced code (RFC 2034) at the front of a line; 0: there is none, or
 * it is of another class than the reply code and cannot be believed.
 */
static size_t enhanced_length(struct pn_str line, int code)
{
    size_t at = 1;

    if (line.len < 5 || line.ptr[0] - '0' != code / 100 || line.ptr[at++] != '.' ||
        !skip_number(line, &at) || at == line.len || line.ptr[at++] != '.' ||
        !skip_number(line, &at)) {
        return 0;
    }
    return at == line.len || line.ptr[at] == ' ' ? at : 0;
}

/* Appends as much of a line as fits, cut at a character. */
static size_t put_text(struct smtp_reply *out, size_t used, struct pn_str line)
{
    size_t room = sizeof out->text - 1 - used;

    if (line.len > room) {
        while (room > 0 && ((unsigned char)line.ptr[room] & 0xc0) == 0x80) {
            room--;
        }
        line.len = room;
    }
    memcpy(out->text + used, line.ptr, line.len);
    out->text[used + line.len] = '\0';
    return used + line.len;
}

void smtp_reader_get(const struct smtp_reader *reader, struct smtp_reply *out)
{
    struct pn_str rest = pn_buf_str(&reader->text);
    bool first = true;
    size_t used = 0;

    pn_assert(reader->whole);
    *out = (struct smtp_reply){.code = reader->code};
    do {
        struct pn_str line = pn_str_cut(&rest, '\n');
        size_t octets = enhanced_length(line, reader->code);

        if (octets > 0 && first) {
            memcpy(out->enhanced, line.ptr, octets);
        }
        if (octets > 0 && pn_str_eq(pn_str_sub(line, 0, octets), pn_str_z(out->enhanced))) {
            line = pn_str_trim(pn_str_sub(line, octets, SIZE_MAX));
        }
        used = put_text(out, used, first ? PN_STR("") : PN_STR("\n"));
        used = put_text(out, used, line);
        first = false;
    } while (rest.len > 0);
}
