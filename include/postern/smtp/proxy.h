/*
 * smtp/proxy.h - the PROXY protocol's header, version 2: whose connection it really is.
 *
 * A load balancer sends it before the client's first octet. Only the binary form is known:
 * the text form has no length, and nobody who can send it cannot send this one.
 */
#ifndef POSTERN_SMTP_PROXY_H
#define POSTERN_SMTP_PROXY_H

#include "postern/base/ip.h"
#include "postern/base/str.h"

/* The longest header that is taken, with all that a balancer adds behind the addresses. */
#define SMTP_PROXY_MAX 4096

enum smtp_proxy_result {
    SMTP_PROXY_MORE, /* what came so far may be the beginning of one */
    SMTP_PROXY_TOLD, /* client and octets are filled in */
    SMTP_PROXY_OWN,  /* octets is: the connection is the balancer's own, or a local one */
    SMTP_PROXY_BAD,
};

struct smtp_proxy {
    struct pn_endpoint client;
    size_t octets; /* of the header; what follows is the client's */
};

/* Looks at what has come of a connection, from its first octet on. */
enum smtp_proxy_result smtp_proxy_parse(struct pn_str data, struct smtp_proxy *out);

#endif
