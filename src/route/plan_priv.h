/*
 * plan_priv.h - what the parts of a plan share: plan.c takes the steps, plan_mx.c makes hosts
 * of MX records, plan_tls.c says what a host's TLS needs.
 */
#ifndef POSTERN_ROUTE_PLAN_PRIV_H
#define POSTERN_ROUTE_PLAN_PRIV_H

#include "postern/route/plan.h"

/* A host that may be tried; its address is asked for when its turn comes. */
struct plan_host {
    char name[256];
    const char *path; /* of a unix socket */
    bool literal;
    struct pn_ip ip; /* if literal */
    uint16_t port;
    bool mx;
    uint16_t preference; /* if mx */
    bool fallback;
    bool known;        /* the addresses are, or that there are none */
    struct pn_ip *ips; /* owned, in the order of trying */
    size_t ip_count;
    char *trouble;   /* why there are none; owned */
    bool own;        /* one of them is ours */
    bool validated;  /* the answers were, CNAMEs too */
    char *canonical; /* the name at the end of the CNAMEs, or NULL; owned */
};

enum plan_phase {
    PLAN_MX,        /* the MX records are not known */
    PLAN_POLICY,    /* the MTA-STS policy is not */
    PLAN_ADDRESSES, /* of the host whose turn it is, and of its equals */
    PLAN_TLSA,      /* of that host */
    PLAN_TRYING,    /* it was handed out */
    PLAN_ENDED,
};

/* At which name the TLSA records of the current host are asked for (RFC 7672 2.2.3). */
enum plan_base { BASE_CANONICAL, BASE_NAME };

struct plan_said {
    enum route_step_kind kind; /* PASS or NOTE */
    bool loop;
    char *text;
};

struct route_plan {
    struct route_plan_input input;
    const struct conf_domain *domain;
    enum plan_phase phase;
    bool wants_v4, wants_v6;
    struct plan_host *hosts;
    size_t host_count;
    size_t at;     /* whose turn it is */
    size_t asking; /* whose addresses are asked for */
    bool mx_validated;
    bool refused;
    bool has_policy;
    struct route_sts policy;

    struct plan_said *said; /* to be told before anything else */
    size_t said_first, said_count, said_cap;
    char text[ROUTE_TEXT_CHARS]; /* of the last step */

    /* The current host's TLS. */
    enum plan_base base;
    char base_name[256];
    char question[280]; /* "_25._tcp.mail.example.org" */
    struct route_tlsa *tlsa;
    size_t tlsa_count;
    size_t tlsa_seen; /* usable or not */
    struct route_host host;
};

/* plan.c */
void route_plan_say(struct route_plan *plan, enum route_step_kind kind, bool loop,
                    const char *format, ...) PN_PRINTF(4, 5);
struct plan_host *route_plan_add_host(struct route_plan *plan);

/* plan_mx.c */
enum plan_mx_result { PLAN_MX_READ, PLAN_MX_REFUSED };
/* Makes hosts of the records, best first. */
enum plan_mx_result route_plan_mx_read(struct route_plan *plan,
                                       const struct route_answer *answer,
                                       const struct route_mx *records, size_t count);
/* Are we the current host, or one of its equals, by an address? */
bool route_plan_level_is_own(const struct route_plan *plan);
/* Goes on behind all MX hosts: the current one, its equals and the worse ones are dropped. */
void route_plan_drop_level(struct route_plan *plan);

/* plan_tls.c */
/* Begins the TLS of the current host. True: there is a question about TLSA records. */
bool route_plan_tls_begin(struct route_plan *plan);
/* Fills plan->host. NULL, or why the host cannot be used as its TLS must be. */
const char *route_plan_tls_decide(struct route_plan *plan);
void route_plan_tls_fini(struct route_plan *plan);

#endif
