/*
 * smtp/line.h - collects one line at a time: a command, or a line of a reply.
 *
 * Only CR LF ends a line (FAULTS 1.11). feed() stops behind it, so that what follows stays
 * with the caller: it may be a message, or TLS. How the octets were cut never changes what
 * take() says.
 *
 * Lifetime: the slice of take() dies with the next feed().
 */
#ifndef POSTERN_SMTP_LINE_H
#define POSTERN_SMTP_LINE_H

#include "postern/base/buf.h"

#define SMTP_LINE_SKIP_MAX 65536 /* a line longer than this has no end (FAULTS 3.24) */

enum smtp_line_result {
    SMTP_LINE_MORE, /* no whole line yet */
    SMTP_LINE_OK,
    SMTP_LINE_BAD,     /* a CR or LF that stands alone, or NUL, inside the line */
    SMTP_LINE_LONG,    /* longer than the maximum; all of it has been read */
    SMTP_LINE_ENDLESS, /* no end within SMTP_LINE_SKIP_MAX: give the session up */
};

struct smtp_line {
    struct pn_buf buf; /* the line as far as it fits */
    size_t octets;     /* of the line so far, those that do not fit included */
    bool after_cr;     /* the octet before was a CR */
    bool whole;        /* the line has ended, or never will */
};

/* max_octets: the longest line, its CR LF included. */
void smtp_line_init(struct smtp_line *line, size_t max_octets);
void smtp_line_fini(struct smtp_line *line);
void smtp_line_clear(struct smtp_line *line); /* forgets what has come */

/* Takes octets up to the end of the line and returns how many; 0 while one waits. */
size_t smtp_line_feed(struct smtp_line *line, struct pn_str data);

/*
 * The line without its CR LF: for LONG and ENDLESS its beginning, for MORE what is there
 * so far. But for MORE the line is taken, and feed() begins the next one.
 */
enum smtp_line_result smtp_line_take(struct smtp_line *line, struct pn_str *out);

#endif
