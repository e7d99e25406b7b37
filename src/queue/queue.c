/*
 * queue.c - the scheduler's front: facts come in, actions go out.
 *
 * Each fact is a short function that finds the lane or the destination it is about, lets
 * window.c, sweep.c and destination.c draw the conclusions, and schedules what follows.
 * queue_next asks in the order of urgency: news for the log, sessions, reads for
 * deliveries, probes, expiry, and sweeps last.
 *
 * Nothing is ever searched: what may have something to say stands in a heap under its time
 * or in the list of touched destinations, so 100,000 queues at rest cost no time.
 */
#include "queue_priv.h"

#include <string.h>

#define RETRY_DEFAULT_MS PN_MINUTES(5)

struct queue *queue_new(const struct queue_options *options)
{
    struct queue *queue = PN_NEW(struct queue);

    pn_rand_init(&queue->rand, options->seed);
    queue->started_ms = -1;
    queue_set_options(queue, options);
    return queue;
}

void queue_set_options(struct queue *queue, const struct queue_options *options)
{
    pn_assert(options->probe_min_ms > 0 && options->probe_rate > 0);
    queue->options = *options;
    if (queue->options.probe_max_ms < queue->options.probe_min_ms) {
        queue->options.probe_max_ms = queue->options.probe_min_ms;
    }
}

void queue_free(struct queue **queue)
{
    struct queue *q = *queue;
    struct queue_lane *lane, *next_lane;
    struct queue_dest *dest, *next_dest;
    struct queue_session *session, *next_session;
    struct queue_event *event, *next_event;

    if (!q) {
        return;
    }
    /* The heaps go first: they let go of the nodes, which end with their owners. */
    pn_heap_fini(&q->reads);
    pn_heap_fini(&q->sweeps);
    pn_heap_fini(&q->probes);
    pn_heap_fini(&q->timers);
    pn_heap_fini(&q->idles);
    HASH_ITER (hh, q->lanes, lane, next_lane) {
        queue_lane_clear(q, lane);
        HASH_DELETE(hh, q->lanes, lane);
        free(lane);
    }
    HASH_ITER (hh, q->sessions, session, next_session) {
        HASH_DELETE(hh, q->sessions, session);
        free(session);
    }
    HASH_ITER (hh, q->dests, dest, next_dest) {
        queue_dest_clear(q, dest);
    }
    DL_FOREACH_SAFE (q->events, event, next_event) {
        free(event);
    }
    free(q->told);
    free(q);
    *queue = NULL;
}

static struct queue_lane *find(const struct queue *queue, struct pn_str name)
{
    struct queue_lane *lane;

    HASH_FIND(hh, queue->lanes, name.ptr, (unsigned)name.len, lane);
    return lane;
}

static struct queue_lane *get(struct queue *queue, struct pn_str name)
{
    struct queue_lane *lane = find(queue, name);

    if (!lane) {
        lane = pn_alloc(sizeof *lane + name.len + 1);
        memcpy(lane->name, name.ptr, name.len);
        lane->next_due_ms = QUEUE_DUE_NEVER;
        lane->horizon = QUEUE_HORIZON_SEEN;
        HASH_ADD_KEYPTR(hh, queue->lanes, lane->name, (unsigned)name.len, lane);
    }
    return lane;
}

/* Frees what can be: the lane's work, or all of it when nothing names it any more. */
static void settle(struct queue *queue, struct queue_lane *lane)
{
    queue_lane_rest(queue, lane);
    if (!lane->dest && !lane->work && lane->jobs == 0 && lane->parked == 0) {
        pn_heap_remove(&queue->reads, &lane->read_node);
        pn_heap_remove(&queue->sweeps, &lane->sweep_node);
        HASH_DELETE(hh, queue->lanes, lane);
        free(lane);
    }
}

static void note_start(struct queue *queue, int64_t now_ms)
{
    if (queue->started_ms < 0) {
        queue->started_ms = now_ms;
    }
}

static void count_jobs(struct queue_lane *lane, bool added, uint64_t jobs, uint64_t octets)
{
    if (added) {
        lane->jobs += jobs;
        lane->octets += octets;
    } else {
        /* Counters on disk that are off by a little must not wrap around. */
        jobs = jobs < lane->jobs ? jobs : lane->jobs;
        lane->jobs -= jobs;
        lane->octets -= octets < lane->octets ? octets : lane->octets;
    }
    if (lane->dest) {
        lane->dest->jobs = added ? lane->dest->jobs + jobs : lane->dest->jobs - jobs;
    }
}

/* ---- configuration ---------------------------------------------------------------- */

/* Is something else that concerns the destination as a whole? */
static bool differs(const struct queue_lane *lane, const struct queue_definition *definition)
{
    return lane->sessions != definition->sessions ||
           lane->messages_per_session != definition->messages_per_session ||
           lane->step_us !=
               queue_pace_step_us(definition->rate_count, definition->rate_per_ms) ||
           lane->delay_ms != definition->delay_ms || lane->on_demand != definition->on_demand;
}

void queue_define(struct queue *queue, struct pn_str name,
                  const struct queue_definition *definition, int64_t now_ms)
{
    struct queue_lane *lane = definition ? get(queue, name) : find(queue, name);
    struct queue_dest *dest;

    note_start(queue, now_ms);
    if (!lane) {
        return;
    }
    if (!definition) {
        queue_dest_leave(queue, lane);
        queue_lane_schedule(queue, lane, now_ms);
        queue_sweep_schedule(queue, lane, now_ms);
        settle(queue, lane);
        return;
    }
    pn_assert(definition->sessions > 0);
    dest = queue_dest_get(queue, definition->destination, now_ms);
    if (lane->dest != dest) {
        queue_dest_leave(queue, lane);
        queue_dest_join(queue, dest, lane);
        dest->least_is_old = true;
    } else if (differs(lane, definition)) {
        dest->least_is_old = true;
    }
    lane->sessions = definition->sessions;
    lane->messages_per_session = definition->messages_per_session;
    lane->step_us = queue_pace_step_us(definition->rate_count, definition->rate_per_ms);
    lane->delay_ms = definition->delay_ms;
    lane->on_demand = definition->on_demand;
    lane->retry_min_ms = definition->retry_min_ms;
    lane->retry_max_ms = definition->retry_max_ms;
    lane->hold_ms = definition->hold_ms;
    if (definition->watched) {
        queue_probe_watch(queue, dest, now_ms);
    }
    queue_dest_touch(queue, dest);
    queue_lane_schedule(queue, lane, now_ms);
    queue_sweep_schedule(queue, lane, now_ms);
}

/* ---- facts of the spool ----------------------------------------------------------- */

void queue_counted(struct queue *queue, struct pn_str name, uint64_t jobs, uint64_t octets,
                   uint64_t parked, int64_t now_ms)
{
    struct queue_lane *lane = get(queue, name);

    note_start(queue, now_ms);
    count_jobs(lane, true, jobs, octets);
    lane->parked += parked;
    queue_window_drop(queue, lane, 0);
    queue_lane_schedule(queue, lane, now_ms);
    queue_sweep_schedule(queue, lane, now_ms);
    settle(queue, lane);
}

void queue_job_added(struct queue *queue, struct pn_str name, const struct queue_job *job,
                     int64_t now_ms)
{
    struct queue_lane *lane = get(queue, name);

    note_start(queue, now_ms);
    count_jobs(lane, true, 1, job->size_octets);
    lane->doubts += (job->flags & QUEUE_JOB_IN_DOUBT) != 0;
    queue_window_added(queue, lane, job, now_ms);
    queue_probe_waits(queue, lane->dest, now_ms);
    queue_sweep_added(lane, job);
    queue_sweep_schedule(queue, lane, now_ms);
}

void queue_job_removed(struct queue *queue, struct pn_str name, const struct queue_job *job,
                       int64_t now_ms)
{
    struct queue_lane *lane = find(queue, name);

    if (!lane) {
        return;
    }
    count_jobs(lane, false, 1, job->size_octets);
    lane->doubts -= (job->flags & QUEUE_JOB_IN_DOUBT) && lane->doubts > 0;
    queue_window_removed(queue, lane, job);
    queue_sweep_removed(queue, lane, job, now_ms);
    queue_lane_schedule(queue, lane, now_ms);
    settle(queue, lane);
}

void queue_parked_changed(struct queue *queue, struct pn_str name, bool added)
{
    struct queue_lane *lane = added ? get(queue, name) : find(queue, name);

    if (!lane) {
        return;
    }
    if (added) {
        lane->parked++;
    } else if (lane->parked > 0) {
        lane->parked--;
    }
    settle(queue, lane);
}

void queue_page(struct queue *queue, struct pn_str name, int status,
                const struct queue_job *jobs, size_t count, bool end, int64_t now_ms)
{
    struct queue_lane *lane = find(queue, name);
    enum queue_reading reading = lane && lane->work ? lane->work->reading : QUEUE_READING_NONE;

    if (reading == QUEUE_READING_NONE) {
        return;
    }
    if (status == 0 && reading == QUEUE_READING_SWEEP) {
        queue_sweep_page(queue, lane, jobs, count, end, now_ms);
    } else if (status == 0) {
        queue_window_page(queue, lane, jobs, count, end, now_ms);
    } else {
        lane->read_after_ms = now_ms + QUEUE_RETRY_MS;
    }
    queue_window_read_ended(queue, lane);
    if (status != 0 && reading == QUEUE_READING_SWEEP) {
        pn_heap_set(&queue->sweeps, &lane->sweep_node, now_ms + QUEUE_RETRY_MS);
    } else if (reading == QUEUE_READING_SWEEP) {
        queue_sweep_schedule(queue, lane, now_ms);
    }
    if (lane->dest) {
        queue_dest_touch(queue, lane->dest);
    }
    queue_lane_rest(queue, lane);
    queue_lane_schedule(queue, lane, now_ms);
    settle(queue, lane);
}

/* ---- results ---------------------------------------------------------------------- */

static struct queue_decision decide(struct queue *queue, const struct queue_lane *lane,
                                    const struct queue_job *job, enum queue_verdict verdict,
                                    int64_t now_ms)
{
    struct queue_decision decision = {.settle = true, .job = *job};
    int64_t min_ms = lane && lane->retry_min_ms > 0 ? lane->retry_min_ms : RETRY_DEFAULT_MS;
    int64_t max_ms = lane && lane->retry_max_ms > min_ms ? lane->retry_max_ms : min_ms;

    switch (verdict) {
    case QUEUE_DONE:
        decision.job.flags &= ~(unsigned)QUEUE_JOB_IN_DOUBT;
        decision.job.last_try_ms = now_ms;
        break;
    case QUEUE_LATER:
        decision.job.attempts++;
        decision.job.last_try_ms = now_ms;
        decision.job.due_ms = now_ms + queue_backoff_retry_ms(&queue->rand, min_ms, max_ms,
                                                              decision.job.attempts);
        decision.expired = lane && queue_sweep_is_old(queue, lane, &decision.job, now_ms);
        break;
    case QUEUE_IN_DOUBT:
        decision.job.flags |= QUEUE_JOB_IN_DOUBT;
        decision.job.last_try_ms = now_ms;
        decision.job.due_ms = now_ms + queue->options.in_doubt_ms;
        break;
    case QUEUE_UNTRIED:
    case QUEUE_GONE:
        decision.settle = false;
        break;
    }
    return decision;
}

struct queue_decision queue_result(struct queue *queue, uint64_t session_id, struct pn_str name,
                                   const struct queue_job *job, enum queue_verdict verdict,
                                   int64_t took_ms, int64_t now_ms)
{
    struct queue_lane *lane = find(queue, name);
    struct queue_decision decision = decide(queue, lane, job, verdict, now_ms);
    struct queue_session *session;
    struct queue_dest *dest;

    session = queue_session_find(queue, session_id);
    dest = session ? session->dest : session_id != 0 && lane ? lane->dest : NULL;
    if (lane) {
        if (verdict == QUEUE_DONE) {
            queue_rate_count(lane, now_ms);
        }
        queue_window_result(queue, lane, job, verdict);
        queue_lane_schedule(queue, lane, now_ms);
        settle(queue, lane);
    }
    if (session) {
        queue_session_heard(queue, session, now_ms);
    }
    if (dest) {
        if (verdict == QUEUE_UNTRIED || verdict == QUEUE_GONE) {
            queue_pace_give_back(dest);
        }
        if (verdict == QUEUE_DONE || !session || !queue_session_is_clients(session)) {
            queue_dest_heard(queue, dest, verdict, took_ms, now_ms);
        }
        queue_parole_heard(queue, dest, session_id, verdict, now_ms);
    }
    return decision;
}

/* ---- the operator ----------------------------------------------------------------- */

static void flush_lane(struct queue *queue, struct queue_lane *lane, int64_t now_ms)
{
    struct queue_dest *dest = lane->dest;

    if (!dest || dest->state == QUEUE_HELD) {
        return;
    }
    if (queue_dest_is_open(dest)) {
        queue_window_flush(lane, now_ms);
        queue_lane_schedule(queue, lane, now_ms);
    } else if (dest->state == QUEUE_DOWN && !dest->probing) {
        queue_probe_want(queue, dest, now_ms);
    } else if (dest->state == QUEUE_UNKNOWN && dest->jobs > 0 && dest->sessions == 0) {
        queue_probe_want(queue, dest, now_ms);
    }
}

bool queue_flush(struct queue *queue, struct pn_str name, int64_t now_ms)
{
    struct queue_lane *lane, *next;
    struct queue_dest *dest;

    if (name.len == 0) {
        HASH_ITER (hh, queue->lanes, lane, next) {
            flush_lane(queue, lane, now_ms);
        }
        return true;
    }
    lane = find(queue, name);
    if (lane) {
        flush_lane(queue, lane, now_ms);
        return true;
    }
    HASH_FIND(hh, queue->dests, name.ptr, (unsigned)name.len, dest);
    if (!dest) {
        return false;
    }
    DL_FOREACH (dest->lanes, lane) {
        flush_lane(queue, lane, now_ms);
    }
    return true;
}

static void hold_dest(struct queue *queue, struct queue_dest *dest, bool hold, int64_t now_ms)
{
    if (hold && dest->state != QUEUE_HELD) {
        queue_dest_change(queue, dest, QUEUE_HELD, PN_STR("held by the operator"), now_ms);
    } else if (!hold && dest->state == QUEUE_HELD) {
        queue_dest_change(queue, dest, dest->ready > 0 ? QUEUE_RAMP : QUEUE_UNKNOWN,
                          PN_STR("released by the operator"), now_ms);
    }
}

bool queue_hold(struct queue *queue, struct pn_str destination, bool hold, int64_t now_ms)
{
    struct queue_dest *dest, *next;

    if (destination.len == 0) {
        HASH_ITER (hh, queue->dests, dest, next) {
            hold_dest(queue, dest, hold, now_ms);
        }
        return true;
    }
    HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    if (dest) {
        hold_dest(queue, dest, hold, now_ms);
    }
    return dest != NULL;
}

void queue_pause(struct queue *queue, bool paused, int64_t now_ms)
{
    struct queue_dest *dest;

    (void)now_ms;
    queue->paused = paused;
    if (!paused) {
        for (dest = queue->dests; dest; dest = dest->hh.next) {
            queue_dest_touch(queue, dest);
        }
    }
}

/* ---- what to do ------------------------------------------------------------------- */

static bool tell_event(struct queue *queue, struct queue_action *out)
{
    struct queue_event *event = queue->events;

    free(queue->told);
    queue->told = NULL;
    if (!event) {
        return false;
    }
    DL_DELETE(queue->events, event);
    queue->told = event; /* borrowed until the next call */
    *out = (struct queue_action){.kind = QUEUE_STATE,
                                 .destination = event->destination,
                                 .state = event->state,
                                 .before = event->before,
                                 .lasted_ms = event->lasted_ms,
                                 .parole = event->parole,
                                 .nobody = event->nobody,
                                 .reason = event->reason};
    return true;
}

static int64_t earlier(int64_t at_ms, const struct pn_heap *heap)
{
    const struct pn_heap_node *first = pn_heap_first(heap);

    return first && first->key < at_ms ? first->key : at_ms;
}

static int64_t again(const struct queue *queue)
{
    int64_t at_ms = QUEUE_DUE_NEVER, sweep_ms, probe_ms;

    /* With all pages under way, it is one of their answers that goes on. */
    if (queue->reading < QUEUE_READS_MAX) {
        sweep_ms = earlier(QUEUE_DUE_NEVER, &queue->sweeps);
        at_ms = sweep_ms > queue->sweep_after_ms ? sweep_ms : queue->sweep_after_ms;
        at_ms = earlier(sweep_ms == QUEUE_DUE_NEVER ? sweep_ms : at_ms, &queue->reads);
    }
    if (!queue->paused) {
        probe_ms = queue_probe_again_ms(queue);
        at_ms = probe_ms < at_ms ? probe_ms : at_ms;
        at_ms = earlier(at_ms, &queue->timers);
        at_ms = earlier(at_ms, &queue->idles);
    }
    return at_ms;
}

bool queue_next(struct queue *queue, int64_t now_ms, struct queue_action *out,
                int64_t *out_again_ms)
{
    note_start(queue, now_ms);
    /*
     * A destination that speaks may change its own state and let lanes read, and a lane
     * that finds its due job may ask for a probe: hence this order.
     */
    if (tell_event(queue, out) || (!queue->paused && queue_dest_next(queue, now_ms, out)) ||
        tell_event(queue, out) || queue_reads_next(queue, now_ms, out) ||
        (!queue->paused && queue_probe_next(queue, now_ms, out)) ||
        queue_window_next_expired(queue, out) || queue_sweep_next(queue, now_ms, out)) {
        return true;
    }
    *out_again_ms = again(queue);
    return false;
}
