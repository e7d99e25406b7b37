/*
 * pace.c - the rate of a destination: a leaky bucket, as plain arithmetic.
 *
 * The bucket is one number, the time at which the next message would be due if all went at
 * an even pace (GCRA). A message may go a little earlier than that, so that a rate of many in
 * a second does not need a timer for each; never more than what is due in one second, nor
 * than BURST. What was not made use of is not saved up: there is no rush after a rest.
 */
#include "queue_priv.h"

#define BURST 10

int64_t queue_pace_step_us(uint32_t count, int64_t per_ms)
{
    int64_t step_us = count > 0 ? per_ms * 1000 / (int64_t)count : 0;

    return count > 0 && step_us == 0 ? 1 : step_us;
}

static int64_t slack_us(const struct queue_dest *dest)
{
    int64_t burst = PN_SECONDS(1) * 1000 / dest->step_us;

    burst = burst > BURST ? BURST : burst;
    return burst > 1 ? (burst - 1) * dest->step_us : 0;
}

size_t queue_pace_allows(const struct queue_dest *dest, size_t max, int64_t now_ms)
{
    int64_t now_us = now_ms * 1000, due_us = dest->due_us > now_us ? dest->due_us : now_us;
    int64_t room_us;

    if (dest->step_us == 0) {
        return max;
    }
    room_us = now_us + slack_us(dest) - due_us;
    if (room_us < 0) {
        return 0;
    }
    return (size_t)(room_us / dest->step_us) + 1 < max ? (size_t)(room_us / dest->step_us) + 1
                                                       : max;
}

void queue_pace_spend(struct queue_dest *dest, size_t count, int64_t now_ms)
{
    int64_t now_us = now_ms * 1000;

    dest->due_us = dest->due_us > now_us ? dest->due_us : now_us;
    dest->due_us += (int64_t)count * dest->step_us;
}

void queue_pace_give_back(struct queue_dest *dest)
{
    dest->due_us -= dest->step_us;
}

int64_t queue_pace_again_ms(const struct queue_dest *dest)
{
    return dest->step_us == 0 ? 0 : (dest->due_us - slack_us(dest) + 999) / 1000;
}
