/*
 * sweep.c - the age of what waits: who has waited too long, and how old is the oldest.
 *
 * Jobs lie on disk in the order of their due times, which says nothing about their age. So
 * a lane is walked from end to end, a page now and then: at the start, then when the
 * oldest that is known could have expired, and when it has left and a new one is to be
 * shown; never twice within ten minutes. All lanes together get a page every 50 ms and
 * only after the deliveries' reads, so that a walk over a million jobs hinders nobody.
 *
 * Held jobs have no due time and are never met. Jobs in doubt expire only once they have
 * waited out the server's time-out: they may have been delivered.
 */
#include "queue_priv.h"

static int64_t life_ms(const struct queue *queue, const struct queue_lane *lane, bool report)
{
    int64_t report_ms = queue->options.report_keep_ms;

    return report && report_ms < lane->hold_ms ? report_ms : lane->hold_ms;
}

bool queue_sweep_is_old(const struct queue *queue, const struct queue_lane *lane,
                        const struct queue_job *job, int64_t now_ms)
{
    if (!lane->dest || (job->flags & QUEUE_JOB_HELD) ||
        now_ms - job->arrival_ms < life_ms(queue, lane, job->flags & QUEUE_JOB_REPORT)) {
        return false;
    }
    return !queue->options.clock_jumped || job->last_try_ms >= queue->started_ms;
}

static bool under_way(const struct queue_lane *lane)
{
    return lane->work &&
           (lane->work->sweep_at.due_ms != 0 || lane->work->reading == QUEUE_READING_SWEEP);
}

void queue_sweep_schedule(struct queue *queue, struct queue_lane *lane, int64_t now_ms)
{
    int64_t earliest_ms = lane->swept_ms != 0 ? lane->swept_ms + QUEUE_SWEEP_MIN_MS : now_ms;
    int64_t at_ms;

    if (lane->jobs == 0) {
        pn_heap_remove(&queue->sweeps, &lane->sweep_node);
        return;
    }
    if (under_way(lane)) {
        at_ms = now_ms;
    } else if (lane->oldest_ms == 0) {
        at_ms = earliest_ms;
    } else if (!lane->dest) {
        pn_heap_remove(&queue->sweeps, &lane->sweep_node);
        return;
    } else {
        at_ms = lane->oldest_ms + lane->hold_ms;
        if (lane->report_ms != 0 && lane->report_ms + life_ms(queue, lane, true) < at_ms) {
            at_ms = lane->report_ms + life_ms(queue, lane, true);
        }
        at_ms = at_ms > earliest_ms ? at_ms : earliest_ms;
    }
    if (!pn_heap_has(&lane->sweep_node) || lane->sweep_node.key > at_ms ||
        lane->sweep_node.key < earliest_ms) {
        pn_heap_set(&queue->sweeps, &lane->sweep_node, at_ms);
    }
}

static void note_arrival(struct queue_work *work, const struct queue_job *job)
{
    if (job->arrival_ms < work->sweep_oldest_ms) {
        work->sweep_oldest_ms = job->arrival_ms;
    }
    if ((job->flags & QUEUE_JOB_REPORT) && job->arrival_ms < work->sweep_report_ms) {
        work->sweep_report_ms = job->arrival_ms;
    }
}

void queue_sweep_added(struct queue_lane *lane, const struct queue_job *job)
{
    if (job->flags & QUEUE_JOB_HELD) {
        return;
    }
    if (lane->jobs == 1 || (lane->oldest_ms != 0 && job->arrival_ms < lane->oldest_ms)) {
        lane->oldest_ms = job->arrival_ms;
    }
    if ((job->flags & QUEUE_JOB_REPORT) &&
        (lane->report_ms == 0 || job->arrival_ms < lane->report_ms)) {
        lane->report_ms = job->arrival_ms;
    }
    if (lane->work) {
        note_arrival(lane->work, job);
    }
}

/* oldest_ms stays as a lower bound until the next walk. */
void queue_sweep_removed(struct queue *queue, struct queue_lane *lane,
                         const struct queue_job *job, int64_t now_ms)
{
    int64_t at_ms = lane->swept_ms + QUEUE_SWEEP_MIN_MS;

    if (lane->jobs == 0) {
        lane->oldest_ms = lane->report_ms = 0;
    } else if (job->arrival_ms == lane->oldest_ms && !under_way(lane)) {
        at_ms = at_ms > now_ms ? at_ms : now_ms;
        if (!pn_heap_has(&lane->sweep_node) || lane->sweep_node.key > at_ms) {
            pn_heap_set(&queue->sweeps, &lane->sweep_node, at_ms);
        }
        return;
    }
    queue_sweep_schedule(queue, lane, now_ms);
}

void queue_sweep_page(struct queue *queue, struct queue_lane *lane,
                      const struct queue_job *jobs, size_t count, bool end, int64_t now_ms)
{
    struct queue_work *work = lane->work;

    for (size_t i = 0; i < count; i++) {
        bool waits_out = (jobs[i].flags & QUEUE_JOB_IN_DOUBT) && jobs[i].due_ms > now_ms;

        if (queue_window_is_dead(work, &jobs[i])) {
            continue;
        }
        if (!waits_out && queue_sweep_is_old(queue, lane, &jobs[i], now_ms)) {
            (void)queue_window_expire(queue, lane, &jobs[i]);
        } else {
            note_arrival(work, &jobs[i]);
        }
    }
    if (!end && count > 0) {
        work->sweep_at = queue_key_after(&jobs[count - 1]);
        return;
    }
    lane->swept_ms = now_ms;
    lane->oldest_ms = work->sweep_oldest_ms;
    lane->report_ms = work->sweep_report_ms;
    if (lane->jobs == 0 || lane->oldest_ms == QUEUE_DUE_NEVER) {
        lane->oldest_ms = 0;
    }
    if (lane->jobs == 0 || lane->report_ms == QUEUE_DUE_NEVER) {
        lane->report_ms = 0;
    }
    work->sweep_at = (struct queue_key){0};
    work->sweep_oldest_ms = work->sweep_report_ms = QUEUE_DUE_NEVER;
}

bool queue_sweep_next(struct queue *queue, int64_t now_ms, struct queue_action *out)
{
    struct pn_heap_node *first = pn_heap_first(&queue->sweeps);
    struct queue_lane *lane;
    struct queue_work *work;

    if (!first || first->key > now_ms || now_ms < queue->sweep_after_ms ||
        queue->reading >= QUEUE_READS_MAX) {
        return false;
    }
    queue->sweep_after_ms = now_ms + QUEUE_SWEEP_GAP_MS;
    lane = PN_CONTAINER(first, struct queue_lane, sweep_node);
    work = queue_lane_work(lane);
    if (work->reading != QUEUE_READING_NONE ||
        work->expiring_count + work->settling_count > QUEUE_WINDOW) {
        pn_heap_set(&queue->sweeps, &lane->sweep_node, now_ms + QUEUE_SWEEP_GAP_MS);
        return false;
    }
    pn_heap_remove(&queue->sweeps, &lane->sweep_node);
    if (work->sweep_at.due_ms == 0) {
        work->sweep_oldest_ms = work->sweep_report_ms = QUEUE_DUE_NEVER;
    }
    work->reading = QUEUE_READING_SWEEP;
    work->read_low = (struct queue_key){.due_ms = QUEUE_DUE_NEVER};
    queue->reading++;
    queue_lane_schedule(queue, lane, now_ms); /* no second page until this one has come */
    *out = (struct queue_action){.kind = QUEUE_READ,
                                 .queue = queue_lane_name(lane),
                                 .from_due_ms = work->sweep_at.due_ms,
                                 .from_id = work->sweep_at.id,
                                 .until_ms = QUEUE_DUE_NEVER - 1,
                                 .limit = QUEUE_PAGE};
    return true;
}
