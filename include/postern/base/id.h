/*
 * base/id.h - the 128-bit name of a message, time first.
 *
 * 48 bits of milliseconds since 1970, then 80 random bits; in octet order the ids sort by
 * age. Printed as 26 characters of Crockford's base 32. An id never depends on a file
 * system's numbers (FAULTS 8.8).
 */
#ifndef POSTERN_BASE_ID_H
#define POSTERN_BASE_ID_H

#include "postern/base/rand.h"
#include "postern/base/str.h"
#include "postern/base/time.h"

#define PN_ID_OCTETS 16
#define PN_ID_CHARS  26

struct pn_id {
    uint8_t octets[PN_ID_OCTETS];
};

struct pn_id pn_id_make(struct pn_wall now, struct pn_rand *rand);
struct pn_wall pn_id_time(const struct pn_id *id);
int pn_id_cmp(const struct pn_id *a, const struct pn_id *b);

/* Writes 26 characters and a NUL. */
void pn_id_format(const struct pn_id *id, char out[PN_ID_CHARS + 1]);
/* Takes either case, and I, L, O for 1, 1, 0; false when it is no id. */
bool pn_id_parse(struct pn_str s, struct pn_id *out);

#endif
