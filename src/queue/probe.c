/*
 * probe.c - when to ask a destination that is away whether it is back.
 *
 * One heap orders all destinations by the time of their next question, so overdue ones go
 * in the order of their due times. The first contact with an UNKNOWN destination is such a
 * question too (the session that is opened is the probe), and stands in the same heap: a
 * start with 10,000 dead destinations is no burst either.
 *
 * The global rate is a virtual time in microseconds that each probe pushes on by its share
 * of a second. It may lag behind the clock by SLACK_US, which makes up for a loop that
 * wakes up at whole milliseconds, and no further: unused rate is not saved up.
 *
 * There may be very many outbound domains, of which thousands are dead: a destination that is
 * there on demand is asked while mail waits for it and not else, and its interval doubles.
 *
 * The interval runs from one probe's start to the next one's, so that a probe that hangs
 * until its time-out does not make the interval longer.
 */
#include "queue_priv.h"

#define SLACK_US 2000
#define DOUBT_MS PN_SECONDS(10) /* clients raise doubts as often as they like */

/*
 * DOWN begins. Who falls back without one delivery was never back, so the outage goes on
 * with its old interval; unless it has been there for an hour with nothing to deliver.
 */
void queue_probe_outage(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    bool same = dest->outage_ms != 0 && dest->delivered == 0 &&
                now_ms - dest->returned_ms < QUEUE_HOUR_MS;

    if (!same) {
        dest->outage_ms = now_ms;
        dest->interval_ms = queue->options.probe_min_ms;
    }
    if (!dest->probing && dest->lanes) {
        queue_probe_want(queue, dest,
                         now_ms + queue_backoff_shorten_ms(&queue->rand, dest->interval_ms));
    }
}

void queue_probe_want(struct queue *queue, struct queue_dest *dest, int64_t at_ms)
{
    pn_heap_set(&queue->probes, &dest->probe_node, at_ms);
}

void queue_probe_watch(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    dest->watched = true;
    if (dest->state == QUEUE_UNKNOWN && dest->lanes && dest->sessions == 0 &&
        !pn_heap_has(&dest->probe_node)) {
        queue_probe_want(queue, dest, now_ms);
    }
}

int64_t queue_probe_again_ms(const struct queue *queue)
{
    const struct pn_heap_node *first = pn_heap_first(&queue->probes);
    int64_t allowed_ms = (queue->probe_after_us + 999) / 1000;

    if (!first) {
        return QUEUE_DUE_NEVER;
    }
    return first->key > allowed_ms ? first->key : allowed_ms;
}

static void spend(struct queue *queue, int64_t now_ms)
{
    int64_t from_us = now_ms * 1000 - SLACK_US;

    if (queue->probe_after_us > from_us) {
        from_us = queue->probe_after_us;
    }
    queue->probe_after_us = from_us + 1000000 / (int64_t)queue->options.probe_rate;
}

/* Mail waits for it again: who was not asked without mail is asked now. */
void queue_probe_waits(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    if (dest && dest->state == QUEUE_DOWN && !dest->probing &&
        !pn_heap_has(&dest->probe_node)) {
        int64_t at_ms = dest->probe_started_ms + dest->interval_ms;

        queue_probe_want(queue, dest, at_ms > now_ms ? at_ms : now_ms);
    }
}

/* The first that is due. Those that nobody needs to be asked leave the heap. */
static struct queue_dest *next_due(struct queue *queue, int64_t now_ms)
{
    while (queue_probe_again_ms(queue) <= now_ms) {
        struct queue_dest *dest =
            PN_CONTAINER(pn_heap_first(&queue->probes), struct queue_dest, probe_node);

        pn_heap_remove(&queue->probes, &dest->probe_node);
        queue_dest_find_least(dest);
        if (!dest->on_demand || dest->jobs > 0 || dest->state != QUEUE_DOWN) {
            return dest;
        }
    }
    return NULL;
}

bool queue_probe_next(struct queue *queue, int64_t now_ms, struct queue_action *out)
{
    struct queue_dest *dest = next_due(queue, now_ms);

    if (!dest) {
        return false;
    }
    pn_assert(dest->lanes && dest->state != QUEUE_HELD && dest->state != QUEUE_STOPPED);
    spend(queue, now_ms);
    *out = (struct queue_action){.kind = QUEUE_OPEN,
                                 .queue = queue_lane_name(dest->lanes),
                                 .destination = queue_dest_name(dest)};
    if (dest->state == QUEUE_UNKNOWN) {
        out->session = queue_session_open(queue, dest, now_ms);
        return true;
    }
    out->kind = QUEUE_PROBE;
    dest->probing = true;
    dest->probe_started_ms = now_ms;
    dest->probes++;
    return true;
}

static void failed(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    int64_t next_ms, most_ms = queue->options.probe_max_ms;

    queue_dest_find_least(dest);
    if (dest->on_demand) {
        most_ms = dest->lanes->retry_max_ms > most_ms ? dest->lanes->retry_max_ms : most_ms;
        dest->interval_ms *= 2;
    } else if (now_ms - dest->outage_ms >= QUEUE_HOUR_MS) {
        dest->interval_ms += dest->interval_ms / 8 + 1;
    }
    dest->interval_ms = dest->interval_ms > most_ms ? most_ms : dest->interval_ms;
    next_ms =
        dest->probe_started_ms + queue_backoff_shorten_ms(&queue->rand, dest->interval_ms);
    queue_probe_want(queue, dest, next_ms > now_ms ? next_ms : now_ms);
}

void queue_probed(struct queue *queue, struct pn_str destination,
                  enum queue_probe_answer answer, struct pn_str reason, int64_t now_ms)
{
    bool answers = answer != QUEUE_PROBE_AWAY;
    struct queue_dest *dest;

    HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    if (!dest) {
        return;
    }
    dest->probing = false;
    if (answers) {
        dest->nobody = answer == QUEUE_PROBE_REFUSES;
        dest->last_success_ms = dest->nobody ? dest->last_success_ms : now_ms;
    } else {
        dest->last_failure_ms = now_ms;
        dest->failures++;
    }
    if (!dest->lanes) {
        queue_dest_release(queue, dest);
    } else if (dest->state == QUEUE_DOWN && answers) {
        queue_dest_change(queue, dest, QUEUE_RAMP, reason, now_ms);
    } else if (dest->state == QUEUE_DOWN) {
        failed(queue, dest, now_ms);
    } else if (queue_dest_is_open(dest) && !answers && dest->ready == 0) {
        queue_dest_change(queue, dest, QUEUE_DOWN, reason, now_ms);
    }
}

void queue_doubt(struct queue *queue, struct pn_str destination, int64_t now_ms)
{
    struct queue_dest *dest;

    HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    if (dest && dest->lanes && queue_dest_is_open(dest) && dest->ready == 0 && !dest->probing &&
        !pn_heap_has(&dest->probe_node)) {
        int64_t at_ms = dest->probe_started_ms + DOUBT_MS;

        queue_probe_want(queue, dest, at_ms > now_ms ? at_ms : now_ms);
    }
}

void queue_sign_of_life(struct queue *queue, struct pn_str name, int64_t now_ms)
{
    struct queue_lane *lane;
    struct queue_dest *dest;
    int64_t at_ms;

    HASH_FIND(hh, queue->lanes, name.ptr, (unsigned)name.len, lane);
    dest = lane ? lane->dest : NULL;
    if (!dest || dest->state != QUEUE_DOWN || dest->probing) {
        return;
    }
    /* Signs come from outside: however many they are, one probe a second is enough. */
    at_ms = dest->probe_started_ms + PN_SECONDS(1);
    at_ms = at_ms > now_ms ? at_ms : now_ms;
    if (at_ms < dest->probe_node.key) {
        queue_probe_want(queue, dest, at_ms);
    }
}
