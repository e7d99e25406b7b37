/*
 * base/id.c - the 128-bit name of a message, time first.
 *
 * Crockford's base 32 leaves out I, L, O and U, so that an id survives being read over the
 * telephone. 26 characters hold 130 bits; the first carries only three, which keeps the
 * order of the text the order of the octets.
 */
#include "postern/base/id.h"

#include <string.h>

#define TIME_OCTETS 6

struct pn_id pn_id_make(struct pn_wall now, struct pn_rand *rand)
{
    uint64_t ms = now.ms > 0 ? (uint64_t)now.ms : 0;
    struct pn_id id;

    for (size_t i = 0; i < TIME_OCTETS; i++) {
        id.octets[i] = (uint8_t)(ms >> (8 * (TIME_OCTETS - 1 - i)));
    }
    pn_rand_fill(rand, id.octets + TIME_OCTETS, sizeof id.octets - TIME_OCTETS);
    return id;
}

struct pn_wall pn_id_time(const struct pn_id *id)
{
    uint64_t ms = 0;

    for (size_t i = 0; i < TIME_OCTETS; i++) {
        ms = ms << 8 | id->octets[i];
    }
    return (struct pn_wall){(int64_t)ms};
}

int pn_id_cmp(const struct pn_id *a, const struct pn_id *b)
{
    return memcmp(a->octets, b->octets, sizeof a->octets);
}

void pn_id_format(const struct pn_id *id, char out[PN_ID_CHARS + 1])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned held = 0;
    unsigned bits = 2; /* two zero bits before the first octet make 130 */
    size_t to = 0;

    for (size_t i = 0; i < PN_ID_OCTETS; i++) {
        held = (held << 8 | id->octets[i]) & 0xfff;
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            out[to++] = digits[held >> bits & 0x1f];
        }
    }
    out[to] = '\0';
}

/* The value of a digit in either case, or -1. */
static int digit_value(char c)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    char lower = pn_to_lower(c);

    if (lower == 'i' || lower == 'l') {
        return 1;
    }
    if (lower == 'o') {
        return 0;
    }
    for (int i = 0; i < 32; i++) {
        if (digits[i] == lower) {
            return i;
        }
    }
    return -1;
}

bool pn_id_parse(struct pn_str s, struct pn_id *out)
{
    struct pn_id id;
    unsigned held = 0;
    unsigned bits = 0;
    size_t to = 0;

    if (s.len != PN_ID_CHARS) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        int value = digit_value(s.ptr[i]);

        if (value < 0 || (i == 0 && value > 7)) {
            return false;
        }
        held = (held << 5 | (unsigned)value) & 0xfff;
        bits += i == 0 ? 3 : 5;
        if (bits >= 8) {
            bits -= 8;
            id.octets[to++] = (uint8_t)(held >> bits);
        }
    }
    *out = id;
    return true;
}
