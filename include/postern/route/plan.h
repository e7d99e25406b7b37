/*
 * route/plan.h - which hosts take a destination's mail, in which order, and with which TLS.
 * Pure.
 *
 * route_plan_next() says what comes next: a question whose answer the plan needs (asked again
 * until it is given), a host to be tried, something to be told to people, or the end. Whoever
 * has the resolver and the network answers, tries, and calls it again; asking again after a
 * host means that the host was of no use. Nothing is decided about a host before it is its
 * turn, so that a session to the first host costs the first host's questions only.
 *
 * Bounds: ROUTE_MX_HOSTS hosts of MX records, each with ROUTE_MX_ADDRESSES addresses, besides
 * those that the operator wrote. What the DNS cannot tell is a failed host, never a refusal;
 * the one thing that refuses is a null MX of a domain in the world (RFC 7505).
 */
#ifndef POSTERN_ROUTE_PLAN_H
#define POSTERN_ROUTE_PLAN_H

#include "postern/base/rand.h"
#include "postern/conf/conf.h"
#include "postern/route/host.h"
#include "postern/route/route.h"
#include "postern/route/sts.h"

#define ROUTE_MX_HOSTS     10
#define ROUTE_MX_ADDRESSES 8
#define ROUTE_TEXT_CHARS   600

struct route_plan;

/* Borrowed for the life of the plan, but rand, which is for route_plan_next alone. */
struct route_plan_input {
    const struct conf *conf;
    const struct conf_domain *domain;
    const struct pn_endpoint *own; /* what we listen on */
    size_t own_count;
    const struct pn_ip *own_ips;
    size_t own_ip_count;
    struct pn_rand *rand; /* shuffles equal MX hosts; NULL: they stay as they came */
    bool policies;        /* questions about MTA-STS can be answered */
};

enum route_step_kind {
    ROUTE_ASK_MX,        /* of `name`: answer with route_plan_mx */
    ROUTE_ASK_POLICY,    /* of `name`: route_plan_policy */
    ROUTE_ASK_ADDRESSES, /* of `name`, of the families that are wanted: route_plan_addresses */
    ROUTE_ASK_TLSA,      /* at `name`: route_plan_tlsa */
    ROUTE_TRY,           /* `host` */
    ROUTE_PASS,          /* a host, or all of one kind, is of no use: `text` */
    ROUTE_NOTE,          /* `text`, for people who watch */
    ROUTE_END,           /* nothing is left; refused: this is final, and text says why */
};

struct route_step {
    enum route_step_kind kind;
    const char *name; /* these die with the next call */
    bool v4, v6;
    const struct route_host *host; /* dies with the plan, or when the next one is tried */
    const struct pn_ip *ips;       /* none for a unix socket */
    size_t ip_count;
    bool loop; /* PASS: because it is ourselves */
    bool refused;
    const char *text;
};

struct route_plan *route_plan_new(const struct route_plan_input *input);
void route_plan_free(struct route_plan **plan); /* NULL is fine; sets NULL */

void route_plan_next(struct route_plan *plan, struct route_step *out);

/* ---- answers: each is for the question that route_plan_next asked last ---- */

enum route_found {
    ROUTE_FOUND,
    ROUTE_NO_RECORD,
    ROUTE_NO_NAME,
    ROUTE_NOT_KNOWN, /* the lookup failed */
};

struct route_answer {
    enum route_found found;
    const char *why;       /* NOT_KNOWN */
    bool validated;        /* DNSSEC, by a resolver that is believed */
    bool alias;            /* there were CNAMEs */
    const char *canonical; /* where they lead; addresses only */
};

struct route_mx {
    uint16_t preference;
    const char *name; /* lower case; "": the root */
};

struct route_tlsa_record {
    uint8_t usage, selector, matching;
    const uint8_t *data;
    size_t len;
};

void route_plan_mx(struct route_plan *plan, const struct route_answer *answer,
                   const struct route_mx *records, size_t count);
/* NULL: there is none, and why says how that is known. */
void route_plan_policy(struct route_plan *plan, const struct route_sts *policy,
                       const char *why);
/* A family that was not wanted is answered by NO_RECORD. */
void route_plan_addresses(struct route_plan *plan, const struct route_answer *v6,
                          const struct pn_ip *v6_ips, size_t v6_count,
                          const struct route_answer *v4, const struct pn_ip *v4_ips,
                          size_t v4_count);
void route_plan_tlsa(struct route_plan *plan, const struct route_answer *answer,
                     const struct route_tlsa_record *records, size_t count);

#endif
