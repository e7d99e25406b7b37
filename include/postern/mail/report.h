/*
 * mail/report.h - delivery status notifications (RFC 3461 to 3464, 6522, 6533). Pure.
 *
 * A report is a multipart/report message with text for people, message/delivery-status (or
 * message/global-delivery-status) for programs, and the original's header or all of it. It
 * has the null sender and Auto-Submitted: auto-replied; nobody ever reports about a report
 * (FAULTS 5.3). Everything from outside is printed only as far as it is harmless.
 */
#ifndef POSTERN_MAIL_REPORT_H
#define POSTERN_MAIL_REPORT_H

#include "postern/mail/envelope.h"

#define MAIL_REPORT_ORIGINAL_MAX (50u << 10) /* larger originals: their header only */

enum mail_report_action {
    MAIL_REPORT_FAILED,
    MAIL_REPORT_DELAYED,
    MAIL_REPORT_DELIVERED,
    MAIL_REPORT_RELAYED, /* to a next hop without DSN, where SUCCESS was asked for */
};

struct mail_report_recipient {
    struct mail_recipient recipient;
    enum mail_report_action action;
    struct pn_str status;        /* "5.1.1"; made of the diagnostic if "" */
    struct pn_str diagnostic;    /* the next hop's reply on one line, or "" */
    struct pn_str remote;        /* the next hop's name, or "" */
    struct pn_wall last_attempt; /* 0: none */
    struct pn_wall retry_until;  /* DELAYED; 0: not said */
};

struct mail_report {
    struct pn_id id; /* of the report itself */
    struct pn_str hostname;
    struct pn_wall now;
    const struct mail_envelope *original;
    const struct mail_report_recipient *recipients;
    size_t recipient_count;
    struct pn_str text; /* of the original, from its start: as much as is at hand */
};

/* Does anybody want to hear this? NOTIFY, the null sender, and RFC 3461 4.1's default. */
bool mail_report_wanted(const struct mail_envelope *original,
                        const struct mail_recipient *recipient, enum mail_report_action action);

/* The whole message, CR LF line ends. PN_ENOSPACE when out is too small. */
int mail_report_write(const struct mail_report *report, struct pn_buf *out) PN_WARN_UNUSED;

#endif
