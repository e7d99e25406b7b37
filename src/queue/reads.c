/*
 * reads.c - which lane reads a page next, of what, and how much of it.
 *
 * Lanes that want a page stand in a heap under the time from which they want it. A lane
 * has one page under way at the most; what it wants then is found when the answer has come.
 * First come the newest when none of them is known (FRESH), then what is due (FILL), the flush,
 * then the question when the next job will be due (LOOK). A lane of an UNKNOWN destination only
 * looks: its first due job is what opens the first session. Lanes of a STOPPED one read only
 * for canaries, and little.
 *
 * Memory is bounded here: a lane reads only while its window is half empty, a lane of a
 * destination with enough in memory waits until some of it has gone, and when there is
 * much in memory in all, only destinations with nothing get a few jobs. So neither one
 * destination with 100,000 queues nor 10,000 that come back together fill the memory.
 */
#include "queue_priv.h"

static bool wants_flush_page(const struct queue_lane *lane)
{
    return lane->work && lane->work->flush == QUEUE_FLUSH_READING;
}

/* When the lane wants a page of jobs, or when an UNKNOWN dest has to be tried for it. */
static int64_t wants_at(const struct queue_lane *lane, int64_t now_ms)
{
    const struct queue_work *work = lane->work;
    int64_t at_ms = lane->next_due_ms;

    if (!lane->dest || lane->is_waiting || (work && work->reading != QUEUE_READING_NONE)) {
        return QUEUE_DUE_NEVER;
    }
    if (lane->dest->state == QUEUE_UNKNOWN) {
        if (lane->dest->sessions > 0 || pn_heap_has(&lane->dest->probe_node)) {
            return QUEUE_DUE_NEVER;
        }
    } else if (!(queue_dest_is_open(lane->dest) || queue_parole_reads(lane->dest)) ||
               (work && work->window_count > QUEUE_WINDOW - QUEUE_PAGE)) {
        return QUEUE_DUE_NEVER;
    }
    if ((lane->horizon != QUEUE_HORIZON_SEEN || wants_flush_page(lane)) && at_ms > now_ms) {
        at_ms = now_ms;
    }
    return at_ms > lane->read_after_ms ? at_ms : lane->read_after_ms;
}

void queue_lane_schedule(struct queue *queue, struct queue_lane *lane, int64_t now_ms)
{
    int64_t at_ms = wants_at(lane, now_ms);

    if (at_ms == QUEUE_DUE_NEVER) {
        pn_heap_remove(&queue->reads, &lane->read_node);
    } else if (!pn_heap_has(&lane->read_node) || lane->read_node.key != at_ms) {
        pn_heap_set(&queue->reads, &lane->read_node, at_ms);
    }
}

/* How many jobs may come into memory for the lane; 0: it has to wait until some have gone. */
static size_t room(const struct queue *queue, const struct queue_lane *lane)
{
    if (lane->dest->state == QUEUE_STOPPED) {
        return lane->dest->available == 0 ? QUEUE_LOOK_JOBS : 0;
    }
    if (lane->dest->available == 0) {
        return queue->known < QUEUE_KNOWN_MAX ? QUEUE_PAGE : QUEUE_LOOK_JOBS;
    }
    return queue->known < QUEUE_KNOWN_MAX && lane->dest->available < QUEUE_DEST_JOBS
               ? QUEUE_PAGE
               : 0;
}

static void wait_for_room(struct queue_lane *lane)
{
    struct queue_waiting *waiting = PN_NEW(struct queue_waiting);

    waiting->lane = lane;
    lane->is_waiting = true;
    DL_APPEND(lane->dest->waiting, waiting);
}

void queue_dest_unwait(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    struct queue_waiting *waiting = dest->waiting;

    if (waiting && room(queue, waiting->lane) > 0) {
        waiting->lane->is_waiting = false;
        queue_lane_schedule(queue, waiting->lane, now_ms);
        DL_DELETE(dest->waiting, waiting);
        free(waiting);
    }
}

static void ask(struct queue *queue, struct queue_lane *lane, enum queue_reading reading,
                size_t limit, int64_t now_ms, struct queue_action *out)
{
    struct queue_work *work = queue_lane_work(lane);
    struct queue_key from = lane->cursor;

    pn_assert(work->reading == QUEUE_READING_NONE);
    if (reading == QUEUE_READING_FLUSH) {
        if (queue_key_cmp(&work->flush_at, &from) < 0) {
            work->flush_at = from;
        }
        from = work->flush_at;
    } else if (reading == QUEUE_READING_FRESH) {
        work->wants_fresh = false;
        from = (struct queue_key){.due_ms = now_ms - QUEUE_FRESH_MS};
    }
    work->reading = reading;
    work->read_until_ms = reading == QUEUE_READING_FILL || reading == QUEUE_READING_FRESH
                              ? now_ms
                              : QUEUE_DUE_NEVER - 1;
    work->read_low = QUEUE_KEY_END;
    queue->reading++;
    *out = (struct queue_action){.kind = QUEUE_READ,
                                 .queue = queue_lane_name(lane),
                                 .from_due_ms = from.due_ms,
                                 .from_id = from.id,
                                 .until_ms = work->read_until_ms,
                                 .limit = limit};
}

/* The lane's turn to read has come. False: it is not to read now, and left the heap. */
static bool read_lane(struct queue *queue, struct queue_lane *lane, int64_t now_ms,
                      struct queue_action *out)
{
    bool due = lane->next_due_ms <= now_ms && lane->horizon != QUEUE_HORIZON_ENDED;
    size_t limit;

    pn_heap_remove(&queue->reads, &lane->read_node);
    if (lane->dest->state == QUEUE_UNKNOWN) {
        if (lane->dest->sessions > 0) {
            return false; /* it is being tried; its end schedules the lanes again */
        }
        if (lane->horizon == QUEUE_HORIZON_SEEN) {
            queue_probe_want(queue, lane->dest, now_ms);
            return false;
        }
        ask(queue, lane, QUEUE_READING_LOOK, QUEUE_LOOK_JOBS, now_ms, out);
        return true;
    }
    if (!due && !wants_flush_page(lane)) {
        ask(queue, lane, QUEUE_READING_LOOK, QUEUE_LOOK_JOBS, now_ms, out);
        return true;
    }
    limit = room(queue, lane);
    if (limit == 0) {
        wait_for_room(lane);
        return false;
    }
    if (lane->work && lane->work->wants_fresh) {
        ask(queue, lane, QUEUE_READING_FRESH, limit < QUEUE_KEPT ? limit : QUEUE_KEPT, now_ms,
            out);
        return true;
    }
    ask(queue, lane, due ? QUEUE_READING_FILL : QUEUE_READING_FLUSH, limit, now_ms, out);
    return true;
}

bool queue_reads_next(struct queue *queue, int64_t now_ms, struct queue_action *out)
{
    struct pn_heap_node *first;

    while (queue->reading < QUEUE_READS_MAX && (first = pn_heap_first(&queue->reads)) != NULL &&
           first->key <= now_ms) {
        if (read_lane(queue, PN_CONTAINER(first, struct queue_lane, read_node), now_ms, out)) {
            return true;
        }
    }
    return false;
}
