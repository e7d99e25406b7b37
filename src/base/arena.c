/*
 * base/arena.c - a region whose allocations are freed at once.
 *
 * Blocks hang in a list, the newest first, and each new one is larger than the last up to
 * a limit, so that a small transaction costs one small block and a large one few. Padding
 * counts against the maximum too: an outsider who asks for many tiny pieces pays for it.
 */
#include "postern/base/arena.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdalign.h>
#include <string.h>

#define BLOCK_FIRST ((size_t)1024)
#define BLOCK_MAX   ((size_t)64 * 1024)

struct pn_arena_block {
    struct pn_arena_block *older;
    size_t used;
    size_t cap;
    alignas(max_align_t) char octets[];
};

void pn_arena_init(struct pn_arena *arena, size_t max_octets)
{
    *arena = (struct pn_arena){.max = max_octets};
}

/* Frees blocks from the newest on, perhaps stopping before the first. */
static void free_blocks(struct pn_arena *arena, bool keep_first)
{
    while (arena->blocks && !(keep_first && !arena->blocks->older)) {
        struct pn_arena_block *newest = arena->blocks;

        arena->blocks = newest->older;
        free(newest);
    }
    arena->used = 0;
}

void pn_arena_fini(struct pn_arena *arena)
{
    free_blocks(arena, false);
}

void pn_arena_reset(struct pn_arena *arena)
{
    free_blocks(arena, true);
    if (arena->blocks) {
        arena->blocks->used = 0;
    }
}

static void add_block(struct pn_arena *arena, size_t octets)
{
    size_t cap = arena->blocks ? arena->blocks->cap * 2 : BLOCK_FIRST;
    struct pn_arena_block *block;

    if (cap > BLOCK_MAX) {
        cap = BLOCK_MAX;
    }
    if (cap < octets) {
        cap = octets;
    }
    pn_assert(cap <= SIZE_MAX - sizeof *block);
    block = pn_realloc(NULL, sizeof *block + cap);
    block->older = arena->blocks;
    block->used = 0;
    block->cap = cap;
    arena->blocks = block;
}

/* Hands out octets whose address is a multiple of align (a power of two). */
static void *take(struct pn_arena *arena, size_t octets, size_t align)
{
    struct pn_arena_block *block = arena->blocks;
    size_t padding = block ? (align - block->used % align) % align : 0;
    size_t room = arena->max - arena->used;
    void *memory;

    if (octets > room) {
        return NULL;
    }
    if (!block || padding + octets > block->cap - block->used) {
        add_block(arena, octets);
        block = arena->blocks;
        padding = 0;
    }
    if (padding > room - octets) {
        return NULL;
    }
    memory = block->octets + block->used + padding;
    block->used += padding + octets;
    arena->used += padding + octets;
    return memory;
}

void *pn_arena_alloc(struct pn_arena *arena, size_t octets)
{
    void *memory = take(arena, octets, alignof(max_align_t));

    if (memory && octets > 0) {
        memset(memory, 0, octets);
    }
    return memory;
}

int pn_arena_copy(struct pn_arena *arena, struct pn_str s, struct pn_str *out)
{
    char *copy = s.len < SIZE_MAX ? take(arena, s.len + 1, 1) : NULL;

    if (!copy) {
        return PN_ENOSPACE;
    }
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    *out = (struct pn_str){copy, s.len};
    return 0;
}
