/*
 * smtp/event.h - what a client wants: one event for each thing that needs a decision.
 */
#ifndef POSTERN_SMTP_EVENT_H
#define POSTERN_SMTP_EVENT_H

#include "postern/mail/address.h"
#include "postern/mail/envelope.h"
#include "postern/smtp/reply.h"

enum smtp_event_kind {
    SMTP_EV_HELO,  /* EHLO, HELO or LHLO: name; a 250 adds the extensions by itself */
    SMTP_EV_MAIL,  /* address, size_octets, flags, ret, envid */
    SMTP_EV_RCPT,  /* address, notify, orcpt */
    SMTP_EV_DATA,  /* DATA, or the first BDAT of a transaction: may the text come? */
    SMTP_EV_TEXT,  /* data: text of the message, unstuffed; takes no answer */
    SMTP_EV_CHUNK, /* a BDAT that is not the last has come whole; answer 250 */
    SMTP_EV_END,   /* the whole text has come: the final answer */
    SMTP_EV_RSET,
    SMTP_EV_NOOP,
    SMTP_EV_HELP,
    SMTP_EV_VRFY,     /* VRFY and EXPN */
    SMTP_EV_ETRN,     /* name: the argument */
    SMTP_EV_XCLIENT,  /* name: the arguments; a 220 is written as the greeting it is */
    SMTP_EV_STARTTLS, /* a 220 ends this server's use until smtp_server_secured */
    SMTP_EV_QUIT,
    SMTP_EV_ERROR,    /* the client broke a rule: answer with `reply`, and count it */
    SMTP_EV_STRANGER, /* this is no SMTP client (HTTP, TLS): close without a word */
};

struct smtp_event {
    enum smtp_event_kind kind;
    struct pn_str name;          /* HELO, ETRN, XCLIENT */
    bool extended;               /* HELO: it was EHLO or LHLO */
    struct mail_address address; /* MAIL, RCPT */
    bool size_known;             /* MAIL: SIZE was said */
    uint64_t size_octets;
    unsigned flags; /* MAIL: MAIL_8BITMIME, MAIL_SMTPUTF8, MAIL_UTF8_ADDRESS */
    enum mail_ret ret;
    struct pn_str envid;
    unsigned notify;
    struct pn_str orcpt;
    struct pn_str data;      /* TEXT */
    bool bare_newline;       /* END: a CR or LF stood alone (and was refused or mended) */
    bool too_long;           /* END: longer than the limit; the rest was thrown away */
    uint64_t text_octets;    /* END: octets of text, as they came, unstuffed */
    struct smtp_reply reply; /* ERROR */
};

#endif
