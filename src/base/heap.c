/*
 * base/heap.c - an intrusive binary heap: the smallest key first.
 *
 * Nodes know their place, so that removing one from the middle needs no search. A sequence
 * number makes the order total: equal keys come out as they went in, which a binary heap
 * alone does not promise.
 */
#include "postern/base/heap.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define CAP_MIN 16

void pn_heap_init(struct pn_heap *heap)
{
    *heap = (struct pn_heap){0};
}

void pn_heap_fini(struct pn_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        heap->nodes[i]->place = 0;
    }
    free(heap->nodes);
    *heap = (struct pn_heap){0};
}

static bool before(const struct pn_heap_node *a, const struct pn_heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->sequence < b->sequence;
}

static void put(struct pn_heap *heap, struct pn_heap_node *node, size_t place)
{
    heap->nodes[place - 1] = node;
    node->place = place;
}

/* Moves the node at place up or down until it stands where its key belongs. */
static void settle(struct pn_heap *heap, size_t place)
{
    struct pn_heap_node *node = heap->nodes[place - 1];

    while (place > 1 && before(node, heap->nodes[place / 2 - 1])) {
        put(heap, heap->nodes[place / 2 - 1], place);
        place /= 2;
    }
    for (;;) {
        size_t child = place * 2;

        if (child < heap->count && before(heap->nodes[child], heap->nodes[child - 1])) {
            child++;
        }
        if (child > heap->count || !before(heap->nodes[child - 1], node)) {
            break;
        }
        put(heap, heap->nodes[child - 1], place);
        place = child;
    }
    put(heap, node, place);
}

void pn_heap_set(struct pn_heap *heap, struct pn_heap_node *node, int64_t key)
{
    node->key = key;
    node->sequence = heap->next_sequence++;
    if (node->place == 0) {
        if (heap->count == heap->cap) {
            size_t cap = heap->cap > 0 ? heap->cap * 2 : CAP_MIN;

            pn_assert(cap <= SIZE_MAX / sizeof(struct pn_heap_node *));
            heap->nodes = pn_realloc(heap->nodes, cap * sizeof(struct pn_heap_node *));
            heap->cap = cap;
        }
        heap->count++;
        put(heap, node, heap->count);
    }
    pn_assert(node->place <= heap->count && heap->nodes[node->place - 1] == node);
    settle(heap, node->place);
}

void pn_heap_remove(struct pn_heap *heap, struct pn_heap_node *node)
{
    size_t place = node->place;
    struct pn_heap_node *last;

    if (place == 0) {
        return;
    }
    pn_assert(place <= heap->count && heap->nodes[place - 1] == node);
    last = heap->nodes[heap->count - 1];
    heap->count--;
    node->place = 0;
    if (last != node) {
        put(heap, last, place);
        settle(heap, place);
    }
}

struct pn_heap_node *pn_heap_first(const struct pn_heap *heap)
{
    return heap->count > 0 ? heap->nodes[0] : NULL;
}
