/*
 * smtp/line.c - collects one line at a time.
 *
 * The end is looked for with memchr(LF); a line feed ends the line only when a CR stands
 * before it, which may have come with an earlier piece. Octets beyond the maximum are
 * counted and not kept. What is wrong with a line is judged once it is whole: a judgement
 * of parts would depend on how the parts were cut.
 */
#include "postern/smtp/line.h"

#include "postern/base/assert.h"

#include <string.h>

void smtp_line_init(struct smtp_line *line, size_t max_octets)
{
    *line = (struct smtp_line){0};
    pn_buf_init(&line->buf, max_octets);
}

void smtp_line_fini(struct smtp_line *line)
{
    pn_buf_fini(&line->buf);
}

void smtp_line_clear(struct smtp_line *line)
{
    pn_buf_clear(&line->buf);
    line->octets = 0;
    line->after_cr = false;
    line->whole = false;
}

/* The octets up to and with the line's end, or all of data when it does not end there. */
static size_t find_end(const struct smtp_line *line, struct pn_str data, bool *ends)
{
    size_t at = 0;

    while (at < data.len) {
        const char *lf = memchr(data.ptr + at, '\n', data.len - at);

        if (!lf) {
            break;
        }
        at = (size_t)(lf - data.ptr);
        if (at > 0 ? data.ptr[at - 1] == '\r' : line->after_cr) {
            *ends = true;
            return at + 1;
        }
        at++;
    }
    return data.len;
}

size_t smtp_line_feed(struct smtp_line *line, struct pn_str data)
{
    bool ends = false;
    size_t taken;
    size_t kept;

    if (line->whole || data.len == 0) {
        return 0;
    }
    taken = find_end(line, data, &ends);
    kept = pn_buf_room(&line->buf) < taken ? pn_buf_room(&line->buf) : taken;
    if (kept > 0) {
        pn_assert(pn_buf_append(&line->buf, pn_str_sub(data, 0, kept)) == 0);
    }
    line->octets += taken;
    line->after_cr = data.ptr[taken - 1] == '\r';
    line->whole = ends || line->octets > SMTP_LINE_SKIP_MAX;
    return taken;
}

static enum smtp_line_result judge(const struct smtp_line *line, struct pn_str text)
{
    if (line->octets > SMTP_LINE_SKIP_MAX) {
        return SMTP_LINE_ENDLESS;
    }
    if (line->octets > line->buf.max) {
        return SMTP_LINE_LONG;
    }
    if (memchr(text.ptr, '\r', text.len) || memchr(text.ptr, '\n', text.len) ||
        memchr(text.ptr, '\0', text.len)) {
        return SMTP_LINE_BAD;
    }
    return SMTP_LINE_OK;
}

enum smtp_line_result smtp_line_take(struct smtp_line *line, struct pn_str *out)
{
    struct pn_str text = pn_buf_str(&line->buf);
    enum smtp_line_result result;

    if (!line->whole) {
        *out = text;
        return SMTP_LINE_MORE;
    }
    if (line->octets <= line->buf.max) {
        text.len -= 2;
    }
    result = judge(line, text);
    *out = text;
    smtp_line_clear(line); /* keeps the octets in place until the next feed */
    return result;
}
