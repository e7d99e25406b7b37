/*
 * command_priv.h - the arguments of commands, for server.c: from text to events.
 *
 * Each function reads all that stands behind a verb and fills the event. It returns false
 * with out->reply set when that is not what the verb takes.
 */
#ifndef POSTERN_SMTP_COMMAND_PRIV_H
#define POSTERN_SMTP_COMMAND_PRIV_H

#include "postern/smtp/event.h"

/* What arguments are judged by, and what they say that no event carries. */
struct smtp_facts {
    uint64_t message_octets; /* the limit that SIZE announces */
    bool starttls;           /* it is offered */
    bool secured;            /* TLS is on */
    bool xclient;            /* it is offered */
    bool utf8;               /* the last MAIL said SMTPUTF8 */
    uint64_t chunk_octets;   /* of the last BDAT */
    bool chunk_last;         /* which said LAST */
};

typedef bool smtp_command_fn(struct pn_str args, struct smtp_facts *facts,
                             struct smtp_event *out);

smtp_command_fn smtp_command_ehlo;
smtp_command_fn smtp_command_helo;
smtp_command_fn smtp_command_mail;
smtp_command_fn smtp_command_rcpt;
smtp_command_fn smtp_command_bdat;
smtp_command_fn smtp_command_etrn;
smtp_command_fn smtp_command_starttls;
smtp_command_fn smtp_command_xclient;
smtp_command_fn smtp_command_bare; /* takes no arguments */
smtp_command_fn smtp_command_any;  /* takes whatever comes */

/* Does a line show that the client speaks HTTP or TLS? (Cross-protocol attacks.) */
bool smtp_command_foreign(struct pn_str line);

#endif
