/*
 * queue/clock.h - queue time: what due times and ages are counted in.
 *
 * It starts at the later of the wall clock and the saved value, is advanced by the
 * monotonic clock alone, and so never runs backwards and never jumps while we run
 * (FAULTS 8.9). A start that finds the wall clock more than a day beyond the saved value
 * is a jump: nothing expires before one more attempt.
 */
#ifndef POSTERN_QUEUE_CLOCK_H
#define POSTERN_QUEUE_CLOCK_H

#include <stdbool.h>

#include "postern/base/time.h"

struct queue_clock {
    int64_t base_ms; /* queue time at `started` */
    struct pn_mono started;
    bool jumped; /* at the start, by more than a day */
};

/* saved_ms: the value saved last, 0 when there is none. */
void queue_clock_init(struct queue_clock *clock, int64_t saved_ms, struct pn_wall wall,
                      struct pn_mono now);
int64_t queue_clock_now(const struct queue_clock *clock, struct pn_mono now);

#endif
