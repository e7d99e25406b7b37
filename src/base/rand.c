/*
 * base/rand.c - xoshiro256** (Blackman and Vigna), seeded by splitmix64.
 *
 * Small, quick, and the same on every machine for a seed, which is what simulations need.
 * The state is never all zero: splitmix64 visits each value once, so four in a row
 * cannot all be zero.
 */
#include "postern/base/rand.h"

#include "postern/base/assert.h"

#include <string.h>

static uint64_t splitmix(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

void pn_rand_init(struct pn_rand *rand, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        rand->state[i] = splitmix(&seed);
    }
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

uint64_t pn_rand_next(struct pn_rand *rand)
{
    uint64_t *s = rand->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t pn_rand_below(struct pn_rand *rand, uint64_t n)
{
    uint64_t uneven, x;

    pn_assert(n > 0);
    /* 2^64 mod n: as many of the lowest numbers are dropped, or small results would lead. */
    uneven = (0 - n) % n;
    do {
        x = pn_rand_next(rand);
    } while (x < uneven);
    return x % n;
}

void pn_rand_fill(struct pn_rand *rand, void *out, size_t octets)
{
    unsigned char *to = out;

    while (octets > 0) {
        uint64_t x = pn_rand_next(rand);
        size_t part = octets < sizeof x ? octets : sizeof x;

        for (size_t i = 0; i < part; i++) {
            to[i] = (unsigned char)(x >> (8 * i));
        }
        to += part;
        octets -= part;
    }
}

int64_t pn_rand_jitter(struct pn_rand *rand, int64_t duration_ms, unsigned permille)
{
    uint64_t middle, span, result;

    pn_assert(permille <= 1000);
    if (duration_ms <= 0) {
        return duration_ms;
    }
    middle = (uint64_t)duration_ms;
    span = middle / 1000 * permille + middle % 1000 * permille / 1000;
    result = middle - span + pn_rand_below(rand, 2 * span + 1);
    return result > INT64_MAX ? INT64_MAX : (int64_t)result;
}
