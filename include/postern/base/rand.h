/*
 * base/rand.h - random numbers from a seed that is passed in.
 *
 * For jitter, choice and message ids; never for secrets. One generator has one owner.
 */
#ifndef POSTERN_BASE_RAND_H
#define POSTERN_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct pn_rand {
    uint64_t state[4];
};

void pn_rand_init(struct pn_rand *rand, uint64_t seed);
uint64_t pn_rand_next(struct pn_rand *rand);
uint64_t pn_rand_below(struct pn_rand *rand, uint64_t n); /* 0 <= result < n; n > 0 */
void pn_rand_fill(struct pn_rand *rand, void *out, size_t octets);

/* duration_ms changed by at most permille/1000 of itself, up or down. */
int64_t pn_rand_jitter(struct pn_rand *rand, int64_t duration_ms, unsigned permille);

#endif
