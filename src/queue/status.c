/*
 * status.c - looking at the scheduler without changing it.
 *
 * Listings are sorted when they are asked for: people ask seldom, and a tree kept in order
 * would cost each queue memory that is otherwise for nobody.
 *
 * The rate counts in two halves of a sliding window: the period under way, and the one
 * before, of which the part still counts that the window overlaps.
 */
#include "queue_priv.h"

#include <string.h>

#define RATE_MS 5000

void queue_rate_count(struct queue_lane *lane, int64_t now_ms)
{
    if (now_ms - lane->rate_ms >= 2 * RATE_MS) {
        lane->rate_before = lane->rate_now = 0;
        lane->rate_ms = now_ms;
    } else if (now_ms - lane->rate_ms >= RATE_MS) {
        lane->rate_before = lane->rate_now;
        lane->rate_now = 0;
        lane->rate_ms += RATE_MS;
    }
    lane->rate_now++;
}

static double rate(const struct queue_lane *lane, int64_t now_ms)
{
    int64_t age_ms = now_ms - lane->rate_ms;
    double before = (double)lane->rate_before, present = (double)lane->rate_now;

    if (age_ms >= RATE_MS) {
        before = present;
        present = 0;
        age_ms -= RATE_MS;
    }
    if (age_ms >= RATE_MS) {
        return 0;
    }
    return (before * (double)(RATE_MS - age_ms) / RATE_MS + present) * 1000 / RATE_MS;
}

static void describe(const struct queue_lane *lane, int64_t now_ms, struct queue_status *out)
{
    const struct queue_work *work = lane->work;

    *out = (struct queue_status){
        .name = queue_lane_name(lane),
        .defined = lane->dest != NULL,
        .destination = lane->dest ? queue_dest_name(lane->dest) : PN_STR(""),
        .jobs = lane->jobs,
        .octets = lane->octets,
        .parked = lane->parked,
        .in_flight = work ? work->taken_count + work->settling_count : 0,
        .in_doubt = lane->doubts,
        .oldest_ms = lane->oldest_ms,
        .flushing = work && work->flush != QUEUE_FLUSH_NONE,
        .flush_left = work && work->flush != QUEUE_FLUSH_NONE ? work->flush_left : 0,
        .rate = rate(lane, now_ms),
    };
}

static void describe_dest(const struct queue_dest *dest, int64_t now_ms,
                          struct queue_destination_status *out)
{
    unsigned limit = dest->limit;
    const struct queue_lane *lane;
    double done = 0;

    DL_FOREACH (dest->lanes, lane) {
        done += rate(lane, now_ms);
    }

    if (!dest->least_is_old && dest->configured < limit) {
        limit = dest->configured;
    }
    *out = (struct queue_destination_status){
        .name = queue_dest_name(dest),
        .state = dest->state,
        .since_ms = dest->since_ms,
        .next_probe_ms = dest->state == QUEUE_DOWN ? dest->probe_node.key : 0,
        .last_success_ms = dest->last_success_ms,
        .last_failure_ms = dest->last_failure_ms,
        .sessions = dest->sessions,
        .ready_sessions = dest->ready,
        .session_limit = limit,
        .configured_sessions = dest->configured,
        .session_ceiling = dest->ceiling,
        .rate_step_us = dest->step_us,
        .delay_ms = dest->delay_ms,
        .rate = done,
        .jobs = dest->jobs,
        .probes = dest->probes,
        .failures = dest->failures,
        .refused_sessions = dest->refused_sessions,
        .parole = dest->parole.on,
        .parole_done = dest->parole.taken,
        .parole_refused = dest->parole.refused,
        .next_canary_ms = dest->state == QUEUE_STOPPED ? dest->parole.canary_ms : 0,
        .reason = pn_str_z(dest->reason),
    };
}

bool queue_get_status(const struct queue *queue, struct pn_str name, int64_t now_ms,
                      struct queue_status *out)
{
    const struct queue_lane *lane;

    HASH_FIND(hh, queue->lanes, name.ptr, (unsigned)name.len, lane);
    if (!lane) {
        return false;
    }
    describe(lane, now_ms, out);
    return true;
}

bool queue_get_destination(const struct queue *queue, struct pn_str destination, int64_t now_ms,
                           struct queue_destination_status *out)
{
    const struct queue_dest *dest;

    HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    if (!dest) {
        return false;
    }
    describe_dest(dest, now_ms, out);
    return true;
}

static int by_lane_name(const void *a, const void *b)
{
    const struct queue_lane *const *left = a, *const *right = b;

    return pn_str_cmp(queue_lane_name(*left), queue_lane_name(*right));
}

static int by_dest_name(const void *a, const void *b)
{
    const struct queue_dest *const *left = a, *const *right = b;

    return pn_str_cmp(queue_dest_name(*left), queue_dest_name(*right));
}

void queue_each(const struct queue *queue, int64_t now_ms, queue_status_fn *fn, void *owner)
{
    size_t count = HASH_COUNT(queue->lanes), i = 0;
    const struct queue_lane **lanes = pn_alloc_array(count, sizeof(struct queue_lane *));
    const struct queue_lane *lane;

    for (lane = queue->lanes; lane; lane = lane->hh.next) {
        lanes[i++] = lane;
    }
    qsort(lanes, count, sizeof *lanes, by_lane_name);
    for (i = 0; i < count; i++) {
        struct queue_status status;

        describe(lanes[i], now_ms, &status);
        fn(owner, &status);
    }
    free(lanes);
}

void queue_each_destination(const struct queue *queue, int64_t now_ms, queue_destination_fn *fn,
                            void *owner)
{
    size_t count = HASH_COUNT(queue->dests), i = 0;
    const struct queue_dest **dests = pn_alloc_array(count, sizeof(struct queue_dest *));
    const struct queue_dest *dest;

    for (dest = queue->dests; dest; dest = dest->hh.next) {
        dests[i++] = dest;
    }
    qsort(dests, count, sizeof *dests, by_dest_name);
    for (i = 0; i < count; i++) {
        struct queue_destination_status status;

        describe_dest(dests[i], now_ms, &status);
        fn(owner, &status);
    }
    free(dests);
}
