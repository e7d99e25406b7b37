/*
 * sessions.c - the scheduler's sessions: what each is given, and what its end says.
 *
 * A session is told to take, takes a batch of one lane's jobs, and takes again before they are
 * done. It holds no more than it is likely to hand over in two seconds: what a slow target has
 * not begun with is better with another session. Lanes of a destination give in turns. What the
 * rate does not allow stays where it is, and the session is idle meanwhile; between two
 * messages with a delay it rests, which is not idle: others may be opened beside it.
 *
 * A session that serves one client (XCLIENT) is chosen for with its first batch, and ends when
 * it has none of that client's jobs and none is in memory. Its target speaks to the client, so
 * only what it takes is heard by the destination; how it ends slows the next session down at
 * the most.
 */
#include "queue_priv.h"

#include <string.h>

#define LANES_LOOKED  16
#define AHEAD_MS      2000
#define AHEAD_LEAST   4
#define AHEAD_UNKNOWN 8 /* as long as nothing was measured */

struct queue_session *queue_session_find(const struct queue *queue, uint64_t id)
{
    struct queue_session *session;

    HASH_FIND(hh, queue->sessions, &id, sizeof id, session);
    return session;
}

uint64_t queue_session_open(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    struct queue_session *session = PN_NEW(struct queue_session);

    session->id = ++queue->last_session;
    session->dest = dest;
    session->state = QUEUE_SESSION_OPENING;
    session->born_ms = now_ms;
    HASH_ADD(hh, queue->sessions, id, sizeof session->id, session);
    dest->sessions++;
    dest->opening++;
    return session->id;
}

void queue_session_change(struct queue *queue, struct queue_session *session,
                          enum queue_session_state state)
{
    struct queue_dest *dest = session->dest;
    bool was_ready =
        session->state != QUEUE_SESSION_OPENING && session->state != QUEUE_SESSION_CLOSING;
    bool is_ready = state != QUEUE_SESSION_OPENING && state != QUEUE_SESSION_CLOSING;

    if (session->state == QUEUE_SESSION_IDLE) {
        DL_DELETE(dest->idle, session);
        dest->idle_count--;
    }
    pn_heap_remove(&queue->idles, &session->idle_node);
    dest->opening -= session->state == QUEUE_SESSION_OPENING;
    dest->woken -= session->state == QUEUE_SESSION_WOKEN;
    dest->ready += (unsigned)is_ready - (unsigned)was_ready;
    session->state = state;
    dest->woken += state == QUEUE_SESSION_WOKEN;
    if (state == QUEUE_SESSION_IDLE) {
        /* The one that worked last is woken first, so that the others can end. */
        DL_PREPEND(dest->idle, session);
        dest->idle_count++;
        pn_heap_set(&queue->idles, &session->idle_node, session->idle_since_ms + QUEUE_IDLE_MS);
    }
}

void queue_session_by_client(struct queue *queue, uint64_t id)
{
    struct queue_session *session = queue_session_find(queue, id);

    if (session) {
        session->by_client = true;
    }
}

void queue_session_refuses(struct queue *queue, uint64_t id)
{
    struct queue_session *session = queue_session_find(queue, id);

    if (session) {
        session->refuses = true;
    }
}

void queue_session_ready(struct queue *queue, uint64_t id, int64_t now_ms)
{
    struct queue_session *session = queue_session_find(queue, id);
    struct queue_dest *dest = session ? session->dest : NULL;

    if (!session || session->state != QUEUE_SESSION_OPENING) {
        return;
    }
    queue_session_change(queue, session, QUEUE_SESSION_BUSY);
    dest->nobody = session->refuses;
    if (!session->refuses) {
        dest->last_success_ms = now_ms;
    }
    if (dest->ready == 1) {
        dest->heard = 0;
    }
    if (dest->ceiling > 0 && dest->ready > dest->ceiling) {
        dest->ceiling = dest->ready;
        dest->ceiling_wait_ms = now_ms >= dest->ceiling_until_ms ? 0 : dest->ceiling_wait_ms;
    }
    if (dest->state == QUEUE_UNKNOWN || dest->state == QUEUE_DOWN) {
        queue_dest_change(queue, dest, QUEUE_RAMP, PN_STR("a session is ready"), now_ms);
        dest->owed = 0;
    }
    queue_dest_touch(queue, dest);
}

/* Not to be used any more: by order, by configuration, by its age, or one too many. */
static bool is_over(struct queue_session *session)
{
    struct queue_dest *dest = session->dest;
    unsigned per_session = queue_dest_per_session(dest);

    return dest->state == QUEUE_HELD || !dest->lanes ||
           (dest->state == QUEUE_STOPPED && session->id != dest->parole.session) ||
           (per_session > 0 && session->taken >= per_session) ||
           dest->ready > queue_dest_limit(dest);
}

/* The first lane of the turns that has something for the session. */
static struct queue_lane *pick(struct queue *queue, struct queue_session *session, size_t max,
                               struct queue_job *out, size_t *out_count)
{
    struct queue_dest *dest = session->dest;
    struct queue_lane *lane = dest->turns;

    if (session->by_client && !session->chosen) {
        session->client = queue_lane_client(lane);
        session->chosen = true;
    }
    for (size_t looked = 0; lane && looked < LANES_LOOKED; lane = lane->turn_next, looked++) {
        *out_count =
            queue_lane_pick(queue, lane, session->chosen ? &session->client : NULL, max, out);
        if (*out_count > 0) {
            return lane;
        }
    }
    return NULL;
}

/* How many jobs a session may hold. */
static unsigned ahead(const struct queue_dest *dest)
{
    double count = dest->took_ms > 0 ? AHEAD_MS / dest->took_ms : AHEAD_UNKNOWN;

    return count < AHEAD_LEAST ? AHEAD_LEAST : count > AHEAD_MS ? AHEAD_MS : (unsigned)count;
}

/* The next lane gives, and goes to the end of the turns. */
static size_t take_turn(struct queue *queue, struct queue_session *session, size_t max,
                        struct queue_job *out, struct pn_str *out_queue, int64_t now_ms)
{
    struct queue_dest *dest = session->dest;
    struct queue_lane *lane = dest->turns;
    unsigned per_session = queue_dest_per_session(dest);
    size_t count = 0;

    max = queue_parole_allows(dest, session->id, max);
    max = max < ahead(dest) - session->out ? max : ahead(dest) - session->out;
    max = queue_pace_allows(dest, dest->delay_ms > 0 && max > 1 ? 1 : max, now_ms);
    if (!lane || max == 0) {
        return 0;
    }
    if (per_session > 0 && max > per_session - session->taken) {
        max = per_session - session->taken;
    }
    lane = pick(queue, session, max, out, &count);
    if (!lane) {
        return 0;
    }
    if (lane->in_turns) {
        DL_DELETE2(dest->turns, lane, turn_prev, turn_next);
        DL_APPEND2(dest->turns, lane, turn_prev, turn_next);
    }
    session->taken += (unsigned)count;
    session->out += (unsigned)count;
    queue_pace_spend(dest, count, now_ms);
    queue_parole_given(dest, count);
    *out_queue = queue_lane_name(lane);
    queue_lane_schedule(queue, lane, now_ms);
    return count;
}

/* It has enough to do; or it waits: between two messages is the delay, from the first one's
 * end on. */
static bool rests(const struct queue_session *session, int64_t now_ms)
{
    if (session->out >= ahead(session->dest)) {
        return true;
    }
    return session->dest->delay_ms > 0 && (session->out > 0 || now_ms < session->rest_until_ms);
}

static void rest(struct queue *queue, struct queue_session *session)
{
    queue_session_change(queue, session, QUEUE_SESSION_RESTING);
    if (session->out == 0) {
        pn_heap_set(&queue->idles, &session->idle_node, session->rest_until_ms);
    }
}

/* With how many jobs left it is to take again. */
static unsigned few(const struct queue_session *session)
{
    if (session->dest->delay_ms > 0) {
        return 0;
    }
    return session->chosen ? 1 : ahead(session->dest) / 2;
}

void queue_session_heard(struct queue *queue, struct queue_session *session, int64_t now_ms)
{
    session->out -= session->out > 0;
    session->rest_until_ms = now_ms + session->dest->delay_ms;
    if (session->state == QUEUE_SESSION_RESTING && session->out <= few(session)) {
        pn_heap_set(&queue->idles, &session->idle_node, session->rest_until_ms);
    }
}

bool queue_session_is_clients(const struct queue_session *session)
{
    /* A destination that is STOPPED is tried with whatever there is. */
    return session->chosen && session->dest->state != QUEUE_STOPPED;
}

/* It was for one client, of whom nothing is in memory; unless it has to wait for the rate. */
static bool has_served(const struct queue_session *session, int64_t now_ms)
{
    return session->chosen && queue_pace_allows(session->dest, 1, now_ms) > 0;
}

size_t queue_take(struct queue *queue, uint64_t id, size_t max, struct queue_job *out,
                  struct pn_str *out_queue, bool *out_close, int64_t now_ms)
{
    struct queue_session *session = queue_session_find(queue, id);
    size_t count = 0;

    *out_close = false;
    if (!session || session->state == QUEUE_SESSION_CLOSING) {
        *out_close = true;
        return 0;
    }
    pn_assert(session->state != QUEUE_SESSION_OPENING && max > 0);
    queue_session_change(queue, session, QUEUE_SESSION_BUSY);
    queue_dest_touch(queue, session->dest);
    if (is_over(session)) {
        queue_session_change(queue, session, QUEUE_SESSION_CLOSING);
        *out_close = true;
        return 0;
    }
    if (rests(session, now_ms)) {
        rest(queue, session);
        return 0;
    }
    if (!queue->paused) {
        count = take_turn(queue, session, max, out, out_queue, now_ms);
    }
    if (count > 0) {
        session->idle_since_ms = 0;
        return count;
    }
    if (session->chosen && session->out > 0) {
        /* Told to close it would give back what it has. */
        queue_session_change(queue, session, QUEUE_SESSION_RESTING);
        return 0;
    }
    if (session->idle_since_ms == 0) {
        session->idle_since_ms = now_ms;
    }
    *out_close = now_ms - session->idle_since_ms >= QUEUE_IDLE_MS ||
                 (!queue->paused && has_served(session, now_ms));
    queue_session_change(queue, session,
                         *out_close ? QUEUE_SESSION_CLOSING : QUEUE_SESSION_IDLE);
    return 0;
}

/* What the end of a session says about its destination, when others are not there to ask. */
static void judge(struct queue *queue, struct queue_dest *dest, enum queue_end end,
                  struct pn_str reason, bool opening, int64_t born_ms, int64_t now_ms)
{
    bool dead = dest->ready == 0 &&
                (end == QUEUE_END_FAILED || (end == QUEUE_END_LOST && dest->heard == 0));

    dest->last_failure_ms = now_ms;
    dest->failures += end != QUEUE_END_BUSY;
    dest->refused_sessions += end != QUEUE_END_LOST;
    if (dead && (queue_dest_is_open(dest) || dest->state == QUEUE_UNKNOWN ||
                 dest->state == QUEUE_STOPPED)) {
        queue_dest_change(queue, dest, QUEUE_DOWN, reason, now_ms);
    } else if (queue_dest_is_open(dest)) {
        queue_dest_busy(dest, opening && dest->ready > 0, born_ms, now_ms);
        dest->heard = end == QUEUE_END_LOST ? 0 : dest->heard;
    }
}

void queue_session_ended(struct queue *queue, uint64_t id, enum queue_end end,
                         struct pn_str reason, int64_t now_ms)
{
    struct queue_session *session = queue_session_find(queue, id);
    struct queue_dest *dest;
    struct queue_lane *lane;
    bool opening;
    int64_t born_ms;

    if (!session) {
        return;
    }
    dest = session->dest;
    opening = session->state == QUEUE_SESSION_OPENING;
    /* One that was at work may always have news; one that never was, only if it is young. */
    born_ms = opening ? session->born_ms : now_ms;
    if (opening && end != QUEUE_END_CLEAN && end != QUEUE_END_LENT) {
        end = QUEUE_END_FAILED; /* 421 in the greeting, or lost before it */
    }
    queue_session_change(queue, session, QUEUE_SESSION_CLOSING);
    HASH_DELETE(hh, queue->sessions, session);
    free(session);
    dest->sessions--;
    if (end == QUEUE_END_LENT) {
        dest->open_after_ms = now_ms + QUEUE_RETRY_MS;
    } else if (end == QUEUE_END_CLIENT) {
        /* It says nothing. But where each client is turned away there is at least no hurry. */
        queue_dest_wait(dest, now_ms);
    } else if (end != QUEUE_END_CLEAN) {
        judge(queue, dest, end, reason, opening, born_ms, now_ms);
    } else if (dest->sessions == 0) {
        dest->open_after_ms = 0; /* what follows on the last one is no session more */
    }
    queue_parole_session_ended(queue, dest, id, end, now_ms);
    queue_dest_touch(queue, dest);
    if (dest->state == QUEUE_UNKNOWN && dest->sessions == 0) {
        /* It was ended before it knew anything: those who wait for it ask again. */
        DL_FOREACH (dest->lanes, lane) {
            lane->read_after_ms = now_ms + QUEUE_RETRY_MS;
            queue_lane_schedule(queue, lane, now_ms);
        }
    }
    queue_dest_release(queue, dest);
}
