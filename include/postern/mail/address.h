/*
 * mail/address.h - mailboxes as RFC 5321 4.1.2 and RFC 6531 write them.
 *
 * The parser's "no" is final (FAULTS 3.2). What would be printed differently from what was
 * read is refused (3.17): no comments, no blanks, no unneeded quoting tricks. A source
 * route is accepted and dropped (3.18). The local part is kept octet for octet; the domain
 * is also given in the form in which it is compared: lower case A-labels without a dot at
 * the end.
 */
#ifndef POSTERN_MAIL_ADDRESS_H
#define POSTERN_MAIL_ADDRESS_H

#include <stdbool.h>

#include "postern/base/str.h"

#define MAIL_LOCAL_MAX   64 /* octets, RFC 5321 4.5.3.1.1 */
#define MAIL_DOMAIN_MAX  255
#define MAIL_ADDRESS_MAX 320

struct mail_address {
    struct pn_str text;   /* local@domain as read, without the source route; "" for <> */
    struct pn_str local;  /* as read, quotes included */
    struct pn_str domain; /* as read; "" for <> and for <postmaster> */
    char ascii[MAIL_DOMAIN_MAX + 1]; /* for comparing; "" for a literal */
    bool literal;                    /* [192.0.2.1] */
    bool utf8;                       /* needs SMTPUTF8 */
};

enum mail_address_result {
    MAIL_ADDRESS_OK,
    MAIL_ADDRESS_SYNTAX,   /* no mailbox */
    MAIL_ADDRESS_TOO_LONG, /* local part, domain or all of it */
    MAIL_ADDRESS_DOMAIN,   /* no possible domain name (IDNA refuses it, empty label, …) */
};

/*
 * Parses "<…>" at the start of *text and moves *text behind it. null_ok: "<>" is allowed
 * (MAIL). postmaster_ok: "<postmaster>" without a domain, any case (RCPT, RFC 5321 4.5.1).
 * utf8_ok: UTF-8 is allowed. The slices borrow from *text.
 */
enum mail_address_result mail_path_parse(struct pn_str *text, bool null_ok, bool postmaster_ok,
                                         bool utf8_ok, struct mail_address *out);

/* The same for a bare "local@domain" that is all of text: lists, the CLI, records. */
enum mail_address_result mail_address_parse(struct pn_str text, bool utf8_ok,
                                            struct mail_address *out);

/*
 * Does a local part carry another address inside ("user%evil", "evil!user", "a@evil")?
 * Such recipients of relayed domains are refused (FAULTS 3.18).
 */
bool mail_local_routes(struct pn_str local);

/* A domain name as in EHLO or a file name: its compared form. False: none. */
bool mail_domain_ascii(struct pn_str domain, char out[MAIL_DOMAIN_MAX + 1]);

#endif
