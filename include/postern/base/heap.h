/*
 * base/heap.h - an intrusive binary heap: the smallest key first.
 *
 * A node is embedded in what it orders. Equal keys come out in the order they went in.
 */
#ifndef POSTERN_BASE_HEAP_H
#define POSTERN_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pn_heap_node {
    int64_t key;
    uint64_t sequence;
    size_t place; /* 1-based place in the heap; 0: not in a heap */
};

struct pn_heap {
    struct pn_heap_node **nodes;
    size_t count;
    size_t cap;
    uint64_t next_sequence;
};

void pn_heap_init(struct pn_heap *heap);
void pn_heap_fini(struct pn_heap *heap); /* frees the heap, not its nodes */

/* Inserts node under key, or moves it there when it is in the heap already. */
void pn_heap_set(struct pn_heap *heap, struct pn_heap_node *node, int64_t key);
void pn_heap_remove(struct pn_heap *heap, struct pn_heap_node *node); /* no-op if not in */
struct pn_heap_node *pn_heap_first(const struct pn_heap *heap);       /* NULL when empty */

static inline bool pn_heap_has(const struct pn_heap_node *node)
{
    return node->place != 0;
}

#endif
