/*
 * smtp/identity.h - who gave us a mail, as a next hop is told by XCLIENT or XFORWARD.
 *
 * Strings are borrowed, and are as the client or the DNS gave them: what a next hop cannot be
 * told is said to be [UNAVAILABLE].
 */
#ifndef POSTERN_SMTP_IDENTITY_H
#define POSTERN_SMTP_IDENTITY_H

#include "postern/mail/envelope.h"

struct smtp_identity {
    struct pn_str name;        /* the client's name in the DNS, or "" */
    struct pn_endpoint client; /* family NONE: not known; port 0: not known */
    struct pn_str helo;        /* what it called itself, or "" */
    struct pn_str protocol;    /* "ESMTPS", as the envelope has it, or "" */
    struct pn_str login;       /* under which it had logged in, or "" */
    struct pn_str ident;       /* the mail's queue id, or "": XFORWARD alone */
};

/* All but the queue id, which an envelope does not keep as text. */
struct smtp_identity smtp_identity_of(const struct mail_envelope *envelope);

/* Under XCLIENT one session serves both: the same address, name, HELO and login. */
bool smtp_identity_same(const struct smtp_identity *a, const struct smtp_identity *b);

#endif
