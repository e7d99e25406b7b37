/*
 * outbound/questions.h - a plan's questions, put to the DNS and to the keeper of policies.
 *
 * Sessions use it, and who only wants to know what a plan would be. on_answered comes once for
 * each question, on a later turn of the loop, when the plan has its answer: then ask it for
 * its next step.
 */
#ifndef POSTERN_OUTBOUND_QUESTIONS_H
#define POSTERN_OUTBOUND_QUESTIONS_H

#include "postern/outbound/policies.h"
#include "postern/port/resolver.h"
#include "postern/route/plan.h"

struct out_questions;
typedef void out_answered_fn(struct out_questions *questions);

/* A question to the DNS: two at once for addresses, one for everything else. */
struct out_lookup {
    struct resolver_query query;
    struct out_questions *questions;
    bool asked; /* and not answered yet */
    enum resolver_status status;
    bool validated, alias;
    char why[128];
    char canonical[RESOLVER_NAME_CHARS];
    struct pn_ip ips[ROUTE_ADDRESSES_MAX];
    size_t count;
};

/* Embedded by its user. */
struct out_questions {
    out_answered_fn *on_answered;
    struct resolver *resolver;
    struct out_policies *policies; /* may be NULL if the plan asks for none */
    struct route_plan *plan;
    struct out_lookup v6, v4;
    struct out_policy_query policy;
};

/* All of it is borrowed. */
void out_questions_init(struct out_questions *questions, struct resolver *resolver,
                        struct out_policies *policies, struct route_plan *plan,
                        out_answered_fn *on_answered);
/* Asks, if the step is a question; false if it is none. */
bool out_questions_ask(struct out_questions *questions, const struct route_step *step);
/* Safe at any time after init, and on zeroed memory. */
void out_questions_cancel(struct out_questions *questions);

#endif
