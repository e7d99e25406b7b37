/*
 * base/timer.c - a set of timers without a clock.
 *
 * One heap, keyed by the time at which a timer is due. What is armed while others fire
 * must wait for the next run, or a timer that re-arms itself for now would never let the
 * loop turn. The heap's sequence numbers tell those apart; no list of due timers is made,
 * because a firing timer may stop, and free, any other.
 */
#include "postern/base/timer.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

void pn_timers_init(struct pn_timers *timers)
{
    pn_heap_init(&timers->heap);
}

void pn_timers_fini(struct pn_timers *timers)
{
    pn_assert(timers->heap.count == 0);
    pn_heap_fini(&timers->heap);
}

void pn_timers_set(struct pn_timers *timers, struct pn_timer *timer, struct pn_mono at)
{
    pn_assert(timer->on_fire);
    pn_heap_set(&timers->heap, &timer->node, at.ms);
}

void pn_timers_stop(struct pn_timers *timers, struct pn_timer *timer)
{
    pn_heap_remove(&timers->heap, &timer->node);
}

struct pn_mono pn_timers_next(const struct pn_timers *timers)
{
    const struct pn_heap_node *first = pn_heap_first(&timers->heap);

    return first ? (struct pn_mono){first->key} : PN_MONO_NEVER;
}

void pn_timers_run(struct pn_timers *timers, struct pn_mono now)
{
    uint64_t limit = timers->heap.next_sequence;
    struct pn_heap_node *first;

    while ((first = pn_heap_first(&timers->heap)) != NULL && first->key <= now.ms) {
        struct pn_timer *timer = PN_CONTAINER(first, struct pn_timer, node);

        if (first->sequence < limit) {
            pn_heap_remove(&timers->heap, first);
            timer->on_fire(timer);
        } else if (first->key < now.ms) {
            /* Armed just now for the past: behind the others that are due. */
            pn_heap_set(&timers->heap, first, now.ms);
        } else {
            break; /* Every older one that is due stood before this one. */
        }
    }
}
