/*
 * backoff.c - how long to wait: doubling, bounds and jitter, as plain arithmetic.
 *
 * A message's waits spread by a tenth both ways, so that what was refused together does not
 * come back together. A probe's wait is only ever shortened: probe_min is a promise.
 */
#include "queue_priv.h"

#define JITTER_PERMILLE 100

int64_t queue_backoff_retry_ms(struct pn_rand *rand, int64_t min_ms, int64_t max_ms,
                               uint32_t attempts)
{
    int64_t wait_ms = min_ms;

    for (uint32_t i = 1; i < attempts && wait_ms < max_ms; i++) {
        wait_ms = queue_backoff_double_ms(wait_ms, min_ms, max_ms);
    }
    return pn_rand_jitter(rand, wait_ms < max_ms ? wait_ms : max_ms, JITTER_PERMILLE);
}

int64_t queue_backoff_double_ms(int64_t wait_ms, int64_t min_ms, int64_t max_ms)
{
    if (wait_ms < min_ms) {
        return min_ms;
    }
    return wait_ms > max_ms / 2 ? max_ms : wait_ms * 2;
}

int64_t queue_backoff_shorten_ms(struct pn_rand *rand, int64_t wait_ms)
{
    return wait_ms - (int64_t)pn_rand_below(rand, (uint64_t)wait_ms / 10 + 1);
}
