/*
 * route/host.h - one host of a next hop, as the plan has it: where it is, which TLS it needs.
 */
#ifndef POSTERN_ROUTE_HOST_H
#define POSTERN_ROUTE_HOST_H

#include "postern/base/ip.h"

#define ROUTE_NAMES_MAX 16
#define ROUTE_TLSA_MAX  16
#define ROUTE_TLSA_DATA 4096 /* octets of a record's data; longer ones are passed over */
#define ROUTE_WHY_CHARS 300

/* In the order of strength of what is not proven. */
enum route_tls {
    ROUTE_TLS_NONE,        /* never */
    ROUTE_TLS_MAY,         /* if offered; in clear if it fails */
    ROUTE_TLS_ENCRYPT,     /* not without; any certificate */
    ROUTE_TLS_VERIFY,      /* not without a chain to a trusted root and one of the names */
    ROUTE_TLS_FINGERPRINT, /* not without one of the domain's fingerprints */
    ROUTE_TLS_DANE,        /* not without a match of the TLSA records */
};

struct route_tlsa {
    uint8_t usage, selector, matching;
    uint16_t len;
    uint8_t data[ROUTE_TLSA_DATA];
};

struct route_host {
    char name[256];   /* or the address in text form; "" for a unix socket */
    const char *path; /* of a unix socket; borrowed from the configuration; or NULL */
    bool literal;
    uint16_t port;
    bool fallback; /* one of the domain's fallback hosts */
    enum route_tls tls;
    /* VERIFY fails: log it and go on as under MAY (MTA-STS in testing mode). */
    bool tls_report_only;
    char tls_why[ROUTE_WHY_CHARS]; /* "tls = verify in example.org.conf", "TLSA records of …" */
    char sni[256];                 /* the name to ask for; "": none */
    const char
        *names[ROUTE_NAMES_MAX]; /* VERIFY, DANE: names a certificate may have; may have
                                    "*." in front (RFC 8461 4.1); borrowed from the plan */
    size_t name_count;
    struct route_tlsa *tlsa; /* DANE; borrowed from the plan */
    size_t tlsa_count;
};

#endif
