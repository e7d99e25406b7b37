/*
 * watch.c - shows what goes over the wire to people who look on: "domain check" does.
 *
 * What is shown is printable, and a line is bounded: the far end is hostile, and the one
 * who watches has a terminal.
 */
#include "session_priv.h"

#include "postern/base/assert.h"

#include <stdio.h>

#define LINE_MAX_OCTETS 1000

static void make_printable(struct pn_buf *line)
{
    bool utf8 = pn_str_is_utf8(pn_buf_str(line));
    char *octets = line->data + line->start;

    for (size_t i = 0; i < line->len; i++) {
        if (pn_is_control(octets[i]) || (!utf8 && (unsigned char)octets[i] > 0x7f)) {
            octets[i] = '?';
        }
    }
}

static void show(struct out_session *session, char direction, struct pn_buf *line)
{
    struct pn_str text = pn_buf_str(line);

    if (text.len > 0 && text.ptr[text.len - 1] == '\r') {
        pn_buf_truncate(line, text.len - 1);
    }
    if (line->len > 0) {
        make_printable(line);
    }
    session->options.on_line(session->owner, direction, pn_buf_str(line));
    pn_buf_clear(line);
}

static void keep(struct pn_buf *line, struct pn_str octets)
{
    size_t room = LINE_MAX_OCTETS - line->len;

    pn_assert(pn_buf_append(line, pn_str_sub(octets, 0, room)) == 0);
}

void out_watch_data(struct out_session *session, char direction, struct pn_str data)
{
    struct pn_buf *line = &session->seen[direction == '>'];

    if (!session->options.on_line) {
        return;
    }
    while (data.len > 0) {
        size_t end = pn_str_find(data, '\n');

        keep(line, pn_str_sub(data, 0, end));
        if (end < data.len) {
            show(session, direction, line);
        }
        data = pn_str_sub(data, end + 1, SIZE_MAX);
    }
}

/* "AUTH PLAIN ***": the one who watches may not be the one who may know the password. */
void out_watch_secret(struct out_session *session, struct pn_str data)
{
    struct pn_str line = pn_str_sub(data, 0, pn_str_find(data, '\r'));
    struct pn_str secret = line;

    if (pn_str_starts(line, PN_STR("AUTH "))) {
        pn_str_cut(&secret, ' ');
        pn_str_cut(&secret, ' ');
    }
    out_watch_data(session, '>', pn_str_sub(line, 0, line.len - secret.len));
    out_watch_data(session, '>', secret.len > 0 ? PN_STR("***\r\n") : PN_STR("\r\n"));
}

void out_watch_note(struct out_session *session, const char *format, ...)
{
    struct pn_buf line;
    va_list args;

    if (!session->options.on_line) {
        return;
    }
    pn_buf_init(&line, OUT_REASON_MAX);
    va_start(args, format);
    if (pn_buf_vprintf(&line, format, args) == 0 && line.len > 0) {
        show(session, '*', &line);
    }
    va_end(args);
    pn_buf_fini(&line);
}
