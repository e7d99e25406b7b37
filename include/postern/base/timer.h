/*
 * base/timer.h - a set of timers without a clock.
 *
 * A timer is embedded in what it wakes; on_fire finds it with PN_CONTAINER. The loop
 * that owns the set asks pn_timers_next when to wake up and calls pn_timers_run then.
 */
#ifndef POSTERN_BASE_TIMER_H
#define POSTERN_BASE_TIMER_H

#include "postern/base/heap.h"
#include "postern/base/time.h"

struct pn_timer;
typedef void pn_timer_fn(struct pn_timer *timer);

struct pn_timer {
    struct pn_heap_node node;
    pn_timer_fn *on_fire;
};

struct pn_timers {
    struct pn_heap heap;
};

void pn_timers_init(struct pn_timers *timers);
void pn_timers_fini(struct pn_timers *timers); /* asserts that none is armed */

void pn_timers_set(struct pn_timers *timers, struct pn_timer *timer, struct pn_mono at);
void pn_timers_stop(struct pn_timers *timers, struct pn_timer *timer); /* no-op if not armed */
struct pn_mono pn_timers_next(const struct pn_timers *timers);         /* PN_MONO_NEVER: none */

/* Fires every timer that is due at now, each disarmed first; those set meanwhile wait. */
void pn_timers_run(struct pn_timers *timers, struct pn_mono now);

#endif
