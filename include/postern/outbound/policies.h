/*
 * outbound/policies.h - the MTA-STS policies of domains (RFC 8461), one keeper for each loop.
 *
 * A policy is asked for by its domain: the TXT record says which version there is, the cache
 * (memory, and the state store over restarts) has it, or a web server is asked. A policy that
 * was once fetched counts until it expires, whatever happens to the record or the server; one
 * that cannot be had is none. Identical questions share one search.
 *
 * on_policy comes once, on a later turn of the loop, and never after out_policy_cancel; within
 * about 75 s at the most.
 */
#ifndef POSTERN_OUTBOUND_POLICIES_H
#define POSTERN_OUTBOUND_POLICIES_H

#include "postern/base/log.h"
#include "postern/port/http.h"
#include "postern/port/loop.h"
#include "postern/port/resolver.h"
#include "postern/route/sts.h"
#include "postern/state/state.h"
#include "postern/stats/counters.h"

struct out_policies;

struct out_policies_deps {
    struct loop *loop;
    struct resolver *resolver;
    struct http *http;
    struct state *state;             /* NULL: a restart forgets */
    struct stats_counters *counters; /* or NULL */
    const struct pn_log *log;
};

struct out_policies *out_policies_new(const struct out_policies_deps *deps);
/* Nobody may be waiting any more. NULL is fine; sets NULL. */
void out_policies_free(struct out_policies **policies);

struct out_policy_query;
/* policy NULL: there is none, and why says how that is known; else why says where it is from.
 * Both die when it returns. */
typedef void out_policy_fn(struct out_policy_query *query, const struct route_sts *policy,
                           const char *why);

/* Embedded by its asker. */
struct out_policy_query {
    out_policy_fn *on_policy; /* set by the asker */
    void *pending;            /* the keeper's; NULL when not under way */
    struct out_policy_query *prev, *next;
};

void out_policy_ask(struct out_policies *policies, struct out_policy_query *query,
                    const char *domain);
void out_policy_cancel(struct out_policy_query *query);

#endif
