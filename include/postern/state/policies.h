/*
 * state/policies.h - MTA-STS policies in the state store, so that they survive a restart.
 *
 * A policy is kept as it was published; who reads it parses it again.
 */
#ifndef POSTERN_STATE_POLICIES_H
#define POSTERN_STATE_POLICIES_H

#include "postern/state/state.h"

#define STATE_POLICY_ID_CHARS 33
#define STATE_POLICY_MAX      65536

struct state_policy {
    char id[STATE_POLICY_ID_CHARS];
    struct pn_wall fetched;
    int64_t max_age_ms;
    struct pn_str text;
};

/* policy NULL: there is none, or it could not be read. Never inside the call. */
typedef void state_policy_fn(void *owner, const struct state_policy *policy);
void state_policy_get(struct state *state, struct loop *loop, struct pn_str domain,
                      state_policy_fn *fn, void *owner);
/* Any thread. policy NULL: forgets it. Lazily, and perhaps not at all when the store fails. */
void state_policy_put(struct state *state, struct pn_str domain,
                      const struct state_policy *policy);

#endif
