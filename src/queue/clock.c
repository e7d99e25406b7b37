/*
 * clock.c - queue time: wall time at the start, monotonic from there.
 *
 * The later of wall clock and saved value is the start, so a wall clock that was set back
 * while we were away cannot make due times wait again. Forward we must believe it (a
 * machine may well be off for days), but a jump is remembered: a clock that is simply wrong
 * must not expire the spool (FAULTS 8.9).
 */
#include "postern/queue/clock.h"

void queue_clock_init(struct queue_clock *clock, int64_t saved_ms, struct pn_wall wall,
                      struct pn_mono now)
{
    *clock = (struct queue_clock){
        .base_ms = wall.ms > saved_ms ? wall.ms : saved_ms,
        .started = now,
        .jumped = saved_ms > 0 && wall.ms > saved_ms && wall.ms - saved_ms > PN_DAYS(1),
    };
}

int64_t queue_clock_now(const struct queue_clock *clock, struct pn_mono now)
{
    /* A monotonic clock that is read on two threads may seem to step back by a little. */
    return now.ms > clock->started.ms ? clock->base_ms + (now.ms - clock->started.ms)
                                      : clock->base_ms;
}
