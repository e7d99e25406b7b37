/*
 * base/mem.h - memory that is there or the program ends, and secrets that are wiped.
 *
 * Running out of memory is our bug (STYLE, errors of the first kind): sizes chosen by
 * outsiders are bounded before anything is allocated, so these never return NULL.
 */
#ifndef POSTERN_BASE_MEM_H
#define POSTERN_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#include "postern/base/str.h"

void *pn_alloc(size_t octets);                 /* zeroed */
void *pn_alloc_array(size_t n, size_t octets); /* zeroed; aborts on overflow */
void *pn_realloc(void *old, size_t octets);    /* new octets are not zeroed */
char *pn_strdup(const char *z);                /* NULL gives NULL */
char *pn_strndup(struct pn_str s);             /* a NUL-terminated copy */

#define PN_NEW(type) ((type *)pn_alloc(sizeof(type)))

/* Overwrites memory in a way that the compiler may not remove. */
void pn_wipe(void *memory, size_t octets);

/* The struct of which member is a part. */
#define PN_CONTAINER(pointer, type, member)                                                    \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define PN_COUNT(array) (sizeof(array) / sizeof *(array))

#endif
