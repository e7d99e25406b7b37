/*
 * client_reply_priv.h - collects a server's reply, line by line. Hostile input.
 */
#ifndef POSTERN_SMTP_CLIENT_REPLY_PRIV_H
#define POSTERN_SMTP_CLIENT_REPLY_PRIV_H

#include "postern/base/buf.h"
#include "postern/smtp/reply.h"

#define SMTP_READER_LINE_MAX  4096  /* octets in a line, its end included */
#define SMTP_READER_LINES_MAX 100   /* lines in a reply */
#define SMTP_READER_TEXT_MAX  16384 /* octets of text that are kept of a reply */

enum smtp_reader_result {
    SMTP_READER_MORE,
    SMTP_READER_REPLY, /* a reply is whole: see code, text and smtp_reader_get */
    SMTP_READER_JUNK,  /* this is no reply, and nothing after it can be trusted: see junk */
};

struct smtp_reader {
    struct pn_buf line; /* the line as far as it has come */
    struct pn_buf text; /* lines of this reply without codes, printable, '\n' between them */
    int code;
    unsigned lines;   /* of this reply so far */
    bool whole;       /* a reply was given out; the next octet begins a new one */
    const char *junk; /* why it is none */
};

void smtp_reader_init(struct smtp_reader *reader);
void smtp_reader_fini(struct smtp_reader *reader);
void smtp_reader_clear(struct smtp_reader *reader); /* forgets what has come */

/* Takes octets up to the end of a reply and returns how many. */
size_t smtp_reader_feed(struct smtp_reader *reader, struct pn_str data,
                        enum smtp_reader_result *out);

/* The reply that is whole: the enhanced code taken off the lines, the text cut to fit. */
void smtp_reader_get(const struct smtp_reader *reader, struct smtp_reply *out);

#endif
