/*
 * base/arena.h - a region whose allocations are freed at once.
 *
 * One per mail transaction, one per control request. The maximum bounds what an
 * outsider can make us keep: pn_arena_alloc returns NULL beyond it.
 */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "postern/base/err.h"
#include "postern/base/str.h"

struct pn_arena_block;

struct pn_arena {
    struct pn_arena_block *blocks;
    size_t used; /* octets handed out */
    size_t max;
};

void pn_arena_init(struct pn_arena *arena, size_t max_octets);
void pn_arena_fini(struct pn_arena *arena);  /* frees everything; may be inited again */
void pn_arena_reset(struct pn_arena *arena); /* frees everything but the first block */

/* Zeroed and aligned for any type, or NULL when the maximum is reached. */
void *pn_arena_alloc(struct pn_arena *arena, size_t octets) PN_WARN_UNUSED;

/* Copies s; on success *out borrows from the arena and has a NUL behind its end. */
int pn_arena_copy(struct pn_arena *arena, struct pn_str s, struct pn_str *out) PN_WARN_UNUSED;

#endif
