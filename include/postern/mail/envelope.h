/*
 * mail/envelope.h - what is known of a message besides its text.
 *
 * Strings are borrowed: from a session's arena while it comes in, from a loaded record
 * while it goes out.
 */
#ifndef POSTERN_MAIL_ENVELOPE_H
#define POSTERN_MAIL_ENVELOPE_H

#include "postern/base/id.h"
#include "postern/base/ip.h"
#include "postern/base/str.h"
#include "postern/base/time.h"

enum mail_flags {
    MAIL_8BITMIME = 1 << 0,     /* BODY=8BITMIME was said */
    MAIL_SMTPUTF8 = 1 << 1,     /* SMTPUTF8 was said */
    MAIL_UTF8_HEADER = 1 << 2,  /* a header field has octets above 0x7f */
    MAIL_UTF8_ADDRESS = 1 << 3, /* the sender or a recipient needs SMTPUTF8 */
    MAIL_8BIT_BODY = 1 << 4,    /* the body has octets above 0x7f */
    MAIL_CAME_BACK = 1 << 5,    /* it has our own Received header: held (FAULTS 5.8) */
    MAIL_AUTHORISED = 1 << 6,   /* a client in authorised_networks gave it to us */
    MAIL_WARNED = 1 << 7,       /* its sender was told that it waits */
};

enum mail_ret { MAIL_RET_NONE, MAIL_RET_FULL, MAIL_RET_HDRS };

enum mail_notify {
    MAIL_NOTIFY_NEVER = 1,
    MAIL_NOTIFY_SUCCESS = 2,
    MAIL_NOTIFY_FAILURE = 4,
    MAIL_NOTIFY_DELAY = 8,
};

struct mail_envelope {
    struct pn_id id;
    struct pn_str sender;      /* "" for the null sender */
    struct pn_str helo;        /* what the client called itself */
    struct pn_str client_name; /* its name in the DNS, or "" */
    struct pn_str login;       /* who it is by authentication, as a front end said, or "" */
    struct pn_endpoint client;
    struct pn_str protocol; /* "ESMTP", "ESMTPS", "UTF8SMTPS", … (RFC 3848, RFC 6531) */
    struct pn_str tls;      /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" */
    struct pn_wall arrival; /* wall clock: what people read */
    struct pn_str envid;    /* RFC 3461, still xtext, or "" */
    uint64_t size_octets;   /* of the text as stored, our trace header included */
    uint32_t chunks;        /* body chunks in the spool */
    unsigned flags;         /* enum mail_flags */
    enum mail_ret ret;
};

struct mail_recipient {
    struct pn_str address;
    struct pn_str orcpt; /* RFC 3461, still xtext, or "" */
    unsigned notify;     /* enum mail_notify, 0: not said */
};

#endif
