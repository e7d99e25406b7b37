/*
 * admin/recipient_priv.h - what is known of a domain's recipients, as JSON.
 */
#ifndef POSTERN_ADMIN_RECIPIENT_PRIV_H
#define POSTERN_ADMIN_RECIPIENT_PRIV_H

#include "json_priv.h"

#include "postern/outbound/board.h"
#include "postern/verify/verify.h"

/* Facts of several owners at one moment; what is NULL is not known. Pure. */
struct admin_recipient_facts {
    const struct conf_domain *domain;
    struct admin_clock clock;
    const struct verify_list_status *list;
    const struct out_board_entry *target;
    const struct state_catch_all *catch_all;
    /* of the answers that are remembered; counted: all or the first `more` of them */
    bool counted, more;
    uint64_t valid, invalid, expired;
};
json_t *admin_recipient_sources(const struct admin_recipient_facts *facts);

/* A remembered answer: verdict, source, age, when, and whether it is too old to be used. */
json_t *admin_recipient_answer(const struct conf_domain *domain,
                               const struct state_answer *answer,
                               const struct admin_clock *clock);
/* An answer that is kept for the time that the domain's options grant, and no longer. */
bool admin_recipient_is_expired(const struct conf_domain *domain,
                                const struct state_answer *answer);

json_t *admin_recipient_verdict(const struct conf_domain *domain,
                                const struct verify_verdict *verdict,
                                const struct admin_clock *clock);

#endif
