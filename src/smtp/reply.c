/*
 * smtp/reply.c - a reply as a value, and as it goes over the line.
 *
 * The text may quote what came from outside, so it is made harmless where it is set: one
 * place, before it can reach a log, a record or a report (FAULTS 3.4). On the line it is
 * ASCII, because a client that did not ask for SMTPUTF8 must not be sent anything else.
 */
#include "postern/smtp/reply.h"

#include "postern/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_TEXT_MAX 480 /* with both codes and CR LF below the 512 of RFC 5321 4.5.3.1.5 */

/* Drops a character that was cut in two, and replaces what is not printable. */
static void clean(struct smtp_reply *reply)
{
    size_t len = strlen(reply->text);

    if (len == SMTP_REPLY_TEXT_MAX - 1) {
        for (size_t cut = 0; cut < 3 && !pn_str_is_utf8((struct pn_str){reply->text, len});
             cut++) {
            len--;
        }
        reply->text[len] = '\0';
    }
    if (!pn_str_is_utf8((struct pn_str){reply->text, len})) {
        for (size_t i = 0; i < len; i++) {
            reply->text[i] = (unsigned char)reply->text[i] > 0x7f ? '?' : reply->text[i];
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (pn_is_control(reply->text[i]) && reply->text[i] != '\n') {
            reply->text[i] = '?';
        }
    }
}

void smtp_reply_set(struct smtp_reply *reply, int code, const char *enhanced, const char *text,
                    ...)
{
    va_list args;

    pn_assert(code >= 200 && code <= 599);
    *reply = (struct smtp_reply){.code = code};
    snprintf(reply->enhanced, sizeof reply->enhanced, "%s", enhanced);
    va_start(args, text);
    vsnprintf(reply->text, sizeof reply->text, text, args);
    va_end(args);
    clean(reply);
}

static int write_line(const struct smtp_reply *reply, struct pn_str text, bool last,
                      struct pn_buf *out)
{
    struct pn_str enhanced = pn_str_z(reply->enhanced);
    bool bare = text.len == 0 && enhanced.len == 0;
    char front[] = {(char)('0' + reply->code / 100), (char)('0' + reply->code / 10 % 10),
                    (char)('0' + reply->code % 10), last ? ' ' : '-'};
    int result = pn_buf_append(out, (struct pn_str){front, last && bare ? 3 : 4});

    if (result == 0 && enhanced.len > 0) {
        result = pn_buf_append(out, enhanced);
        if (result == 0 && text.len > 0) {
            result = pn_buf_append_char(out, ' ');
        }
    }
    if (result == 0 && pn_str_is_ascii(text)) {
        result = pn_buf_append(out, text);
        text.len = 0;
    }
    for (size_t i = 0; i < text.len && result == 0; i++) {
        char octet = text.ptr[i];

        result = pn_buf_append_char(out, (unsigned char)octet > 0x7f ? '?' : octet);
    }
    return result == 0 ? pn_buf_append(out, PN_STR("\r\n")) : result;
}

int smtp_reply_write(const struct smtp_reply *reply, struct pn_buf *out)
{
    struct pn_str text = pn_str_z(reply->text);
    size_t before = pn_buf_str(out).len;
    int result;

    do {
        size_t len = pn_str_find(text, '\n');
        size_t skip = len < text.len ? len + 1 : len;
        bool last;

        if (len > LINE_TEXT_MAX) {
            len = LINE_TEXT_MAX;
            skip = len;
        }
        last = skip == text.len;
        result = write_line(reply, pn_str_sub(text, 0, len), last, out);
        text = pn_str_sub(text, skip, text.len);
    } while (result == 0 && text.len > 0);
    if (result != 0) {
        pn_buf_truncate(out, before);
    }
    return result;
}

int smtp_reply_format(const struct smtp_reply *reply, struct pn_buf *out)
{
    size_t before = pn_buf_str(out).len;
    int result = pn_buf_printf(out, "%d%s%s%s", reply->code, reply->enhanced[0] ? " " : "",
                               reply->enhanced, reply->text[0] ? " " : "");

    for (const char *c = reply->text; *c && result == 0; c++) {
        result = pn_buf_append_char(out, *c == '\n' ? ' ' : *c);
    }
    if (result != 0) {
        pn_buf_truncate(out, before);
    }
    return result;
}
