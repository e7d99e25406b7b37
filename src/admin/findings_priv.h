/*
 * admin/findings_priv.h - what a check of a domain found out, and what to do about it. Pure.
 */
#ifndef POSTERN_ADMIN_FINDINGS_PRIV_H
#define POSTERN_ADMIN_FINDINGS_PRIV_H

#include "postern/conf/conf.h"
#include "postern/outbound/session.h"
#include "postern/port/resolver.h"

#include <jansson.h>

#define ADMIN_CHECK_HOSTS     16
#define ADMIN_CHECK_ADDRESSES 16

/* A host's addresses, as far as they were asked for. */
struct admin_host {
    char name[RESOLVER_NAME_CHARS]; /* "" : the null MX */
    uint16_t preference;            /* MX */
    uint16_t port;                  /* target */
    bool literal;                   /* the name is an address: nothing was asked */
    enum resolver_status v4, v6;
    char why[128]; /* of the answer that failed */
    struct pn_ip ips[ADMIN_CHECK_ADDRESSES];
    size_t ip_count;
};

struct admin_session_facts {
    bool ready; /* it would take mail */
    bool ended;
    enum out_end end;
    char reason[512];
    char peer[320];
    char last_line[512]; /* what was said last, when the time was up */
    unsigned capabilities;
    uint64_t size_limit;
    bool encrypted;
    char tls_why[512]; /* what TLS the session has, and why */
    char cipher[64], names[512], issuer[256], verify_error[128];
    int64_t expires_s;
    bool verified;
};

struct admin_facts {
    const struct conf *conf;
    const struct conf_domain *domain;
    const struct out_deps *out; /* for our own addresses */
    struct pn_wall now;
    bool mx_answered;
    enum resolver_status mx_status;
    char mx_why[128];
    struct admin_host mx[ADMIN_CHECK_HOSTS]; /* by preference */
    size_t mx_count;
    struct admin_host own; /* our host name */
    struct admin_host targets[ADMIN_CHECK_HOSTS];
    size_t target_count;
    struct admin_session_facts session;
    struct conf_mistakes files; /* keys, certificates and credentials */
};

/* An array of {"level", "what", "do"}; level is ok, note, warning or problem. */
json_t *admin_findings(const struct admin_facts *facts);

#endif
