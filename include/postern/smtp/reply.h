/*
 * smtp/reply.h - a reply: code, enhanced code, text. A refusal is a value, not an error.
 */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include "postern/base/buf.h"
#include "postern/base/err.h"
#include "postern/base/str.h"

#define SMTP_REPLY_TEXT_MAX 512

struct smtp_reply {
    int code;          /* 200 to 599; 0: no reply */
    char enhanced[12]; /* "5.7.1", or "" (RFC 3463); numbers are at most three digits */
    char text[SMTP_REPLY_TEXT_MAX]; /* without codes; '\n' separates lines; printable */
};

/* enhanced may be "". A text that is too long is cut at a character. */
void smtp_reply_set(struct smtp_reply *reply, int code, const char *enhanced, const char *text,
                    ...) PN_PRINTF(4, 5);

/* As it goes over the line, "250-…\r\n250 …\r\n", the enhanced code on each line. */
int smtp_reply_write(const struct smtp_reply *reply, struct pn_buf *out) PN_WARN_UNUSED;

/* On one line, for logs, job records and people: "550 5.1.1 No such user". */
int smtp_reply_format(const struct smtp_reply *reply, struct pn_buf *out) PN_WARN_UNUSED;

static inline bool smtp_reply_ok(const struct smtp_reply *reply)
{
    return reply->code >= 200 && reply->code < 300;
}
static inline bool smtp_reply_later(const struct smtp_reply *reply)
{
    return reply->code >= 400 && reply->code < 500;
}
static inline bool smtp_reply_refused(const struct smtp_reply *reply)
{
    return reply->code >= 500;
}

#endif
