/*
 * policy/limits.h - what clients may use of us: sessions and memory, over all workers.
 *
 * One object for the whole daemon; any thread. Totals are atomics, the table of client
 * networks sits behind one lock. No I/O and no clock.
 */
#ifndef POSTERN_POLICY_LIMITS_H
#define POSTERN_POLICY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/ip.h"
#include "postern/conf/conf.h"

struct policy_limits;

struct policy_limits *policy_limits_new(const struct conf *conf);
void policy_limits_free(struct policy_limits **limits); /* asserts that nothing is taken */
/* After a reload. What is taken stays taken, even beyond a new maximum. */
void policy_limits_set(struct policy_limits *limits, const struct conf *conf);

enum policy_session { POLICY_SESSION_OK, POLICY_SESSION_TOTAL, POLICY_SESSION_NETWORK };
/* Counts a session of this client in, or says which limit is reached. A client without an
 * address (family NONE) is in no network. */
enum policy_session policy_session_take(struct policy_limits *limits,
                                        const struct pn_ip *client);
void policy_session_give(struct policy_limits *limits, const struct pn_ip *client);
/* A session's client turns out to be another. What was taken stays taken unless it is OK. */
enum policy_session policy_session_move(struct policy_limits *limits, const struct pn_ip *from,
                                        const struct pn_ip *to);
uint64_t policy_sessions(const struct policy_limits *limits);

/* Memory for message text. False: not now. */
bool policy_memory_take(struct policy_limits *limits, uint64_t octets);
void policy_memory_give(struct policy_limits *limits, uint64_t octets);
uint64_t policy_memory_used(const struct policy_limits *limits);
uint64_t policy_memory_max(const struct policy_limits *limits);

#endif
