/*
 * mail/report.h - the text of a report to a sender about what became of its mail. Pure.
 *
 * A report is a multipart/report (RFC 6522): a part for people, one for programs (RFC 3464),
 * and the message it is about, or its header. RFC 3461 says what of the sender's wishes
 * shows in it, RFC 6533 how addresses look that are not ASCII.
 *
 * Replies, addresses and the message are outside text. None of it can add a header field, a
 * field of the delivery status or a part: control octets become '?', lines are folded, and
 * the boundary holds the report's id, which nobody knew before. No line is longer than 998
 * octets. A report is 7 bits wide unless the message that it returns is not, or its own
 * recipient has an address that is not ASCII.
 */
#ifndef POSTERN_MAIL_REPORT_H
#define POSTERN_MAIL_REPORT_H

#include "postern/base/buf.h"
#include "postern/mail/envelope.h"

/* A message with more than this is never returned whole, nor more of its header. */
#define MAIL_REPORT_RETURN_MAX (50u << 10)

enum mail_report_kind {
    MAIL_REPORT_FAILED,
    MAIL_REPORT_DELAYED,
    MAIL_REPORT_RELAYED,   /* taken by a server that sends no reports */
    MAIL_REPORT_DELIVERED, /* taken by the last one (LMTP) */
};
const char *mail_report_kind_name(enum mail_report_kind kind); /* "failed", as in Action */

struct mail_report_recipient {
    struct mail_recipient recipient;
    /* The last that was heard, "host[address]:port said: 550 …", or another sentence, or "". */
    struct pn_str reason;
    bool expired;            /* FAILED: no server refused it, it has waited too long */
    struct pn_wall last_try; /* ms 0: never */
};

struct mail_report {
    enum mail_report_kind kind;
    struct pn_id id;    /* the report's own */
    struct pn_str host; /* our name */
    struct pn_wall now;
    const struct mail_envelope *envelope; /* of the message it is about */
    const struct mail_report_recipient *recipients;
    size_t recipient_count;
    struct pn_str text; /* the message's, from its start; all of it, or its first chunk */
    int64_t waited_ms;  /* DELAYED, and FAILED where it expired: since its arrival */
    struct pn_wall retry_until; /* DELAYED */
};

/*
 * Writes the report, our trace header first, CR LF line ends. *out_flags: enum mail_flags of
 * the report's envelope. PN_ENOSPACE: out is too small, and its content is of no use.
 */
int mail_report_write(const struct mail_report *report, struct pn_buf *out,
                      unsigned *out_flags) PN_WARN_UNUSED;

#endif
