/*
 * questions.c - a plan's questions, put to the DNS and to the keeper of policies.
 *
 * The plan knows nothing of resolvers: here their answers become its facts.
 */
#include "postern/outbound/questions.h"

#include "postern/base/mem.h"

#include <stdio.h>

_Static_assert(ROUTE_ADDRESSES_MAX >= ROUTE_MX_ADDRESSES, "every address has a place");

static struct route_answer answer_of(const struct out_lookup *lookup)
{
    static const enum route_found found[] = {
        [RESOLVER_FOUND] = ROUTE_FOUND,
        [RESOLVER_NODATA] = ROUTE_NO_RECORD,
        [RESOLVER_NXDOMAIN] = ROUTE_NO_NAME,
        [RESOLVER_TEMPFAIL] = ROUTE_NOT_KNOWN,
    };

    return (struct route_answer){.found = found[lookup->status],
                                 .why = lookup->why,
                                 .validated = lookup->validated,
                                 .alias = lookup->alias,
                                 .canonical = lookup->canonical};
}

static void keep_answer(struct out_lookup *lookup, const struct resolver_answer *answer)
{
    lookup->asked = false;
    lookup->status = answer->status;
    lookup->validated = answer->validated;
    lookup->alias = answer->alias;
    snprintf(lookup->why, sizeof lookup->why, "%s", answer->why);
    snprintf(lookup->canonical, sizeof lookup->canonical, "%s", answer->canonical);
}

static void ask(struct out_questions *questions, struct out_lookup *lookup, const char *name,
                enum resolver_type type, resolver_answer_fn *on_answer)
{
    lookup->asked = true;
    lookup->count = 0;
    lookup->query = (struct resolver_query){.on_answer = on_answer};
    resolver_ask(questions->resolver, &lookup->query, name, type);
}

static void on_addresses(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct out_lookup *lookup = PN_CONTAINER(query, struct out_lookup, query);
    struct out_questions *questions = lookup->questions;
    const struct out_lookup *v6 = &questions->v6;
    const struct out_lookup *v4 = &questions->v4;
    struct route_answer answer_v6;
    struct route_answer answer_v4;

    keep_answer(lookup, answer);
    for (size_t i = 0; answer->status == RESOLVER_FOUND && i < answer->count &&
                       lookup->count < ROUTE_ADDRESSES_MAX;
         i++) {
        lookup->ips[lookup->count++] = answer->records[i].ip;
    }
    if (v6->asked || v4->asked) {
        return;
    }
    answer_v6 = answer_of(v6);
    answer_v4 = answer_of(v4);
    route_plan_addresses(questions->plan, &answer_v6, v6->ips, v6->count, &answer_v4, v4->ips,
                         v4->count);
    questions->on_answered(questions);
}

static void ask_addresses(struct out_questions *questions, const struct route_step *step)
{
    const struct resolver_answer nothing = {.status = RESOLVER_NODATA, .why = "not asked for"};

    questions->v6.count = 0;
    questions->v4.count = 0;
    keep_answer(&questions->v6, &nothing);
    keep_answer(&questions->v4, &nothing);
    if (step->v6) {
        ask(questions, &questions->v6, step->name, RESOLVER_AAAA, on_addresses);
    }
    if (step->v4) {
        ask(questions, &questions->v4, step->name, RESOLVER_A, on_addresses);
    }
}

static void on_mx(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct out_lookup *lookup = PN_CONTAINER(query, struct out_lookup, query);
    struct out_questions *questions = lookup->questions;
    struct route_mx records[RESOLVER_RECORDS_MAX];
    struct route_answer facts;

    keep_answer(lookup, answer);
    facts = answer_of(lookup);
    for (size_t i = 0; i < answer->count; i++) {
        records[i] = (struct route_mx){answer->records[i].preference, answer->records[i].name};
    }
    route_plan_mx(questions->plan, &facts, records, answer->count);
    questions->on_answered(questions);
}

static void on_tlsa(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct out_lookup *lookup = PN_CONTAINER(query, struct out_lookup, query);
    struct out_questions *questions = lookup->questions;
    struct route_tlsa_record records[RESOLVER_RECORDS_MAX];
    struct route_answer facts;

    keep_answer(lookup, answer);
    facts = answer_of(lookup);
    for (size_t i = 0; i < answer->count; i++) {
        const struct resolver_record *from = &answer->records[i];

        records[i] = (struct route_tlsa_record){from->usage, from->selector, from->matching,
                                                from->data, from->len};
    }
    route_plan_tlsa(questions->plan, &facts, records, answer->count);
    questions->on_answered(questions);
}

static void on_policy(struct out_policy_query *query, const struct route_sts *policy,
                      const char *why)
{
    struct out_questions *questions = PN_CONTAINER(query, struct out_questions, policy);

    route_plan_policy(questions->plan, policy, why);
    questions->on_answered(questions);
}

void out_questions_init(struct out_questions *questions, struct resolver *resolver,
                        struct out_policies *policies, struct route_plan *plan,
                        out_answered_fn *on_answered)
{
    *questions = (struct out_questions){.on_answered = on_answered,
                                        .resolver = resolver,
                                        .policies = policies,
                                        .plan = plan,
                                        .policy.on_policy = on_policy};
    questions->v6.questions = questions;
    questions->v4.questions = questions;
}

bool out_questions_ask(struct out_questions *questions, const struct route_step *step)
{
    switch (step->kind) {
    case ROUTE_ASK_MX:
        ask(questions, &questions->v4, step->name, RESOLVER_MX, on_mx);
        return true;
    case ROUTE_ASK_POLICY:
        out_policy_ask(questions->policies, &questions->policy, step->name);
        return true;
    case ROUTE_ASK_ADDRESSES:
        ask_addresses(questions, step);
        return true;
    case ROUTE_ASK_TLSA:
        ask(questions, &questions->v4, step->name, RESOLVER_TLSA, on_tlsa);
        return true;
    case ROUTE_TRY:
    case ROUTE_PASS:
    case ROUTE_NOTE:
    case ROUTE_END:
        break;
    }
    return false;
}

void out_questions_cancel(struct out_questions *questions)
{
    resolver_cancel(questions->resolver, &questions->v6.query);
    resolver_cancel(questions->resolver, &questions->v4.query);
    out_policy_cancel(&questions->policy);
}
