/*
 * base/mem.c - memory that is there or the program ends.
 *
 * Nobody can do better than end here: what outsiders may ask for is bounded before it is
 * asked for, and whatever was answered 250 is on the disk already.
 */
#include "postern/base/mem.h"

#include "postern/base/assert.h"

#include <stdint.h>
#include <string.h>

/* malloc(0) may give NULL, which would look like having run out. */
static size_t at_least_one(size_t octets)
{
    return octets > 0 ? octets : 1;
}

void *pn_alloc(size_t octets)
{
    void *memory = calloc(1, at_least_one(octets));

    pn_assert(memory && "out of memory");
    return memory;
}

void *pn_alloc_array(size_t n, size_t octets)
{
    pn_assert(octets == 0 || n <= SIZE_MAX / octets);
    return pn_alloc(n * octets);
}

void *pn_realloc(void *old, size_t octets)
{
    void *memory = realloc(old, at_least_one(octets));

    pn_assert(memory && "out of memory");
    return memory;
}

char *pn_strdup(const char *z)
{
    return z ? pn_strndup(pn_str_z(z)) : NULL;
}

char *pn_strndup(struct pn_str s)
{
    char *copy;

    pn_assert(s.len < SIZE_MAX);
    copy = pn_alloc(s.len + 1);
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    return copy;
}

void pn_wipe(void *memory, size_t octets)
{
    if (octets > 0) {
        explicit_bzero(memory, octets);
    }
}
