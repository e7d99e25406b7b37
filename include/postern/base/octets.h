/*
 * base/octets.h - numbers as octets, the most significant first: in keys and records.
 */
#ifndef POSTERN_BASE_OCTETS_H
#define POSTERN_BASE_OCTETS_H

#include <stddef.h>
#include <stdint.h>

/* The lowest `octets` octets of the number; 8 at most. */
static inline void pn_number_put(char *to, uint64_t number, size_t octets)
{
    for (size_t i = 0; i < octets; i++) {
        to[i] = (char)(uint8_t)(number >> (8 * (octets - 1 - i)));
    }
}

static inline uint64_t pn_number_get(const char *from, size_t octets)
{
    uint64_t number = 0;

    for (size_t i = 0; i < octets; i++) {
        number = number << 8 | (uint8_t)from[i];
    }
    return number;
}

#endif
