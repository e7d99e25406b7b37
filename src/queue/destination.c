/*
 * destination.c - the state of a destination, its sessions, and how many it may have.
 *
 * The state is one enum and one table of transitions; a transition that is not in the table
 * is our bug. Entering a state does all that belongs to it (enter_down, enter_ramp, …), so
 * that no event has to know what the others left behind.
 *
 * The number of sessions follows the peer's health, not its configuration (FAULTS 5.9). In
 * RAMP it doubles with each as many good results as it is high; in UP, after the first
 * trouble, it grows by one for four times as many. Trouble (421, refused or lost sessions) and
 * slowness halve it, and trouble makes the next session wait, from a second doubling to a
 * minute. A 4xx for a message is a good result: the peer is well, and says no to that message
 * alone (FAULTS 5.11).
 *
 * Work to be told (wake, open) is looked for only in destinations that were touched: each
 * fact touches its destination, and queue_next asks those in the list until none of them
 * has anything to say. What depends on time alone is left in the timers' heap.
 */
#include "queue_priv.h"

#include <string.h>

#define OPEN_WAIT_MIN_MS PN_SECONDS(1)
#define OPEN_WAIT_MAX_MS PN_SECONDS(60)
#define SLOW_MIN_MS      1000.0
#define SLOW_TIMES       4.0
#define LATERS_IN_A_ROW  10

#define BIT(state) (1u << (state))

/* Where each state may lead to. HELD ends in RAMP when a session has survived it. */
static const unsigned leads_to[] = {
    [QUEUE_UNKNOWN] = BIT(QUEUE_RAMP) | BIT(QUEUE_DOWN) | BIT(QUEUE_HELD),
    [QUEUE_UP] = BIT(QUEUE_DOWN) | BIT(QUEUE_STOPPED) | BIT(QUEUE_HELD),
    [QUEUE_DOWN] = BIT(QUEUE_RAMP) | BIT(QUEUE_HELD),
    [QUEUE_RAMP] = BIT(QUEUE_UP) | BIT(QUEUE_DOWN) | BIT(QUEUE_STOPPED) | BIT(QUEUE_HELD),
    [QUEUE_STOPPED] = BIT(QUEUE_RAMP) | BIT(QUEUE_DOWN) | BIT(QUEUE_HELD),
    [QUEUE_HELD] = BIT(QUEUE_UNKNOWN) | BIT(QUEUE_RAMP),
};

const char *queue_state_name(enum queue_state state)
{
    static const char *const names[] = {
        [QUEUE_UNKNOWN] = "unknown", [QUEUE_UP] = "up",           [QUEUE_DOWN] = "down",
        [QUEUE_RAMP] = "ramp",       [QUEUE_STOPPED] = "stopped", [QUEUE_HELD] = "held",
    };

    pn_assert((size_t)state < PN_COUNT(names));
    return names[state];
}

/* ---- life ------------------------------------------------------------------------- */

struct queue_dest *queue_dest_get(struct queue *queue, const char *name, int64_t now_ms)
{
    size_t len = strlen(name);
    struct queue_dest *dest;

    HASH_FIND(hh, queue->dests, name, (unsigned)len, dest);
    if (!dest) {
        dest = pn_alloc(sizeof *dest + len + 1);
        memcpy(dest->name, name, len);
        dest->state = QUEUE_UNKNOWN;
        dest->since_ms = now_ms;
        dest->limit = 1;
        dest->open_wait_ms = OPEN_WAIT_MIN_MS;
        HASH_ADD_KEYPTR(hh, queue->dests, dest->name, (unsigned)len, dest);
    }
    return dest;
}

static void untouch(struct queue *queue, struct queue_dest *dest)
{
    if (dest->in_todo) {
        dest->in_todo = false;
        DL_DELETE2(queue->todo, dest, todo_prev, todo_next);
    }
}

void queue_dest_clear(struct queue *queue, struct queue_dest *dest)
{
    struct queue_waiting *waiting, *next;

    DL_FOREACH_SAFE (dest->waiting, waiting, next) {
        free(waiting);
    }
    untouch(queue, dest);
    pn_heap_remove(&queue->probes, &dest->probe_node);
    pn_heap_remove(&queue->timers, &dest->timer_node);
    HASH_DELETE(hh, queue->dests, dest);
    free(dest->reason);
    free(dest);
}

void queue_dest_release(struct queue *queue, struct queue_dest *dest)
{
    if (!dest->lanes && dest->sessions == 0 && !dest->probing) {
        queue_dest_clear(queue, dest);
    }
}

void queue_dest_join(struct queue *queue, struct queue_dest *dest, struct queue_lane *lane)
{
    lane->dest = dest;
    DL_APPEND(dest->lanes, lane);
    dest->jobs += lane->jobs;
    if (dest->state == QUEUE_DOWN && !dest->probing && !pn_heap_has(&dest->probe_node)) {
        queue_probe_want(queue, dest, dest->since_ms);
    }
}

void queue_dest_leave(struct queue *queue, struct queue_lane *lane)
{
    struct queue_dest *dest = lane->dest;

    if (!dest) {
        return;
    }
    queue_window_drop(queue, lane);
    DL_DELETE(dest->lanes, lane);
    dest->jobs -= lane->jobs;
    dest->least_is_old = true;
    lane->dest = NULL;
    if (!dest->lanes) {
        pn_heap_remove(&queue->probes, &dest->probe_node);
        queue_dest_touch(queue, dest); /* its idle sessions are to be closed */
        queue_dest_release(queue, dest);
    }
}

void queue_dest_touch(struct queue *queue, struct queue_dest *dest)
{
    if (!dest->in_todo) {
        dest->in_todo = true;
        DL_APPEND2(queue->todo, dest, todo_prev, todo_next);
    }
}

/* The least of its queues' counts; only computed again after one of them has changed. */
static void find_least(struct queue_dest *dest)
{
    struct queue_lane *lane;

    if (!dest->least_is_old) {
        return;
    }
    dest->configured = dest->lanes ? dest->lanes->sessions : 1;
    dest->per_session = dest->lanes ? dest->lanes->messages_per_session : 0;
    DL_FOREACH (dest->lanes, lane) {
        if (lane->sessions < dest->configured) {
            dest->configured = lane->sessions;
        }
        if (lane->messages_per_session < dest->per_session) {
            dest->per_session = lane->messages_per_session;
        }
    }
    dest->least_is_old = false;
}

unsigned queue_dest_limit(struct queue_dest *dest)
{
    find_least(dest);
    return dest->limit < dest->configured ? dest->limit : dest->configured;
}

unsigned queue_dest_per_session(struct queue_dest *dest)
{
    find_least(dest);
    return dest->per_session;
}

/* ---- states ----------------------------------------------------------------------- */

static void tell_change(struct queue *queue, const struct queue_dest *dest,
                        enum queue_state before, struct pn_str reason, int64_t lasted_ms)
{
    size_t name_len = dest->hh.keylen;
    struct queue_event *event = pn_alloc(sizeof *event + name_len + reason.len + 1);

    event->before = before;
    event->state = dest->state;
    event->lasted_ms = lasted_ms;
    event->parole = dest->parole.on;
    memcpy(event->text, dest->name, name_len);
    if (reason.len > 0) {
        memcpy(event->text + name_len, reason.ptr, reason.len);
    }
    event->destination = (struct pn_str){event->text, name_len};
    event->reason = (struct pn_str){event->text + name_len, reason.len};
    DL_APPEND(queue->events, event);
}

void queue_dest_tell_parole(struct queue *queue, struct queue_dest *dest, struct pn_str reason,
                            int64_t lasted_ms)
{
    tell_change(queue, dest, dest->state, reason, lasted_ms);
    queue_dest_touch(queue, dest);
}

void queue_dest_drop(struct queue *queue, struct queue_dest *dest)
{
    struct queue_lane *lane;

    DL_FOREACH (dest->lanes, lane) {
        queue_window_drop(queue, lane);
    }
}

void queue_dest_reschedule(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    struct queue_lane *lane;

    DL_FOREACH (dest->lanes, lane) {
        queue_lane_schedule(queue, lane, now_ms);
    }
}

static void enter_down(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    queue_dest_drop(queue, dest);
    dest->took_ms = dest->best_took_ms = 0;
    dest->laters = 0;
    dest->owed = 0;
    queue_probe_outage(queue, dest, now_ms);
}

static void enter_ramp(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    pn_heap_remove(&queue->probes, &dest->probe_node);
    dest->limit = 1;
    dest->credit = 0;
    dest->halved_ms = dest->troubled_ms = 0;
    dest->open_after_ms = 0;
    dest->open_wait_ms = OPEN_WAIT_MIN_MS;
    dest->returned_ms = now_ms;
    dest->delivered = 0;
    dest->owed = dest->jobs > 0 ? 1 : 0;
    queue_dest_flush(queue, dest, now_ms);
}

static void enter_stopped(struct queue *queue, struct queue_dest *dest)
{
    pn_heap_remove(&queue->probes, &dest->probe_node);
    queue_dest_drop(queue, dest);
    dest->owed = 0;
}

static void enter_held(struct queue *queue, struct queue_dest *dest)
{
    pn_heap_remove(&queue->probes, &dest->probe_node);
    queue_dest_drop(queue, dest);
    dest->owed = 0;
    dest->outage_ms = 0;
}

void queue_dest_change(struct queue *queue, struct queue_dest *dest, enum queue_state state,
                       struct pn_str reason, int64_t now_ms)
{
    enum queue_state before = dest->state;
    int64_t lasted_ms = now_ms - dest->since_ms;

    pn_assert(leads_to[before] & BIT(state));
    reason = pn_str_sub(reason, 0, QUEUE_REASON_MAX);
    free(dest->reason);
    dest->reason = pn_strndup(reason);
    dest->state = state;
    dest->since_ms = now_ms;
    queue_parole_changed(dest, before, now_ms);
    tell_change(queue, dest, before, reason, lasted_ms);
    switch (state) {
    case QUEUE_DOWN:
        enter_down(queue, dest, now_ms);
        break;
    case QUEUE_RAMP:
        enter_ramp(queue, dest, now_ms);
        break;
    case QUEUE_STOPPED:
        enter_stopped(queue, dest);
        break;
    case QUEUE_HELD:
        enter_held(queue, dest);
        break;
    case QUEUE_UNKNOWN:
        if (dest->watched) {
            queue_probe_watch(queue, dest, now_ms);
        }
        break;
    case QUEUE_UP:
        break;
    }
    queue_dest_reschedule(queue, dest, now_ms);
    queue_dest_touch(queue, dest);
}

void queue_dest_flush(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    struct queue_lane *lane;

    DL_FOREACH (dest->lanes, lane) {
        if (lane->jobs > 0) {
            queue_window_flush(lane, now_ms);
            queue_lane_schedule(queue, lane, now_ms);
        }
    }
}

/* ---- how many sessions ------------------------------------------------------------ */

static void halve(struct queue_dest *dest, int64_t now_ms)
{
    dest->limit = queue_dest_limit(dest) / 2;
    dest->limit = dest->limit > 0 ? dest->limit : 1;
    dest->credit = 0;
    dest->halved_ms = now_ms;
}

/*
 * Sessions that are refused together, or within a second, are one trouble: a primary that
 * bears three of twenty shall get three, not one a minute.
 */
static void be_busy(struct queue_dest *dest, int64_t born_ms, int64_t now_ms)
{
    if (dest->troubled_ms != 0 &&
        (born_ms <= dest->troubled_ms || now_ms - dest->troubled_ms < OPEN_WAIT_MIN_MS)) {
        return;
    }
    dest->troubled_ms = now_ms;
    halve(dest, now_ms);
    dest->open_after_ms = now_ms + dest->open_wait_ms;
    dest->open_wait_ms =
        queue_backoff_double_ms(dest->open_wait_ms, OPEN_WAIT_MIN_MS, OPEN_WAIT_MAX_MS);
}

/*
 * The best smoothed time is the measure; it gives way slowly, for a line may get longer for
 * good. What was begun before the last halving says nothing about the time after it.
 */
static bool is_slow(struct queue_dest *dest, int64_t took_ms, int64_t now_ms)
{
    double took = (double)took_ms, limit_ms;

    if (dest->best_took_ms <= 0) {
        dest->took_ms = dest->best_took_ms = took > 1 ? took : 1;
    }
    limit_ms = dest->best_took_ms * SLOW_TIMES;
    limit_ms = limit_ms > SLOW_MIN_MS ? limit_ms : SLOW_MIN_MS;
    dest->took_ms += (took - dest->took_ms) / 8;
    if (dest->took_ms < dest->best_took_ms) {
        dest->best_took_ms = dest->took_ms > 1 ? dest->took_ms : 1;
    } else {
        dest->best_took_ms += (dest->took_ms - dest->best_took_ms) / 256;
    }
    return took >= limit_ms && now_ms - took_ms >= dest->halved_ms;
}

/*
 * Only a limit that is made use of has been proved. A RAMP that ended early, for want of
 * mail, goes on doubling in UP until the first trouble.
 */
static void grow(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    unsigned limit = queue_dest_limit(dest);
    bool doubles = dest->state == QUEUE_RAMP || dest->halved_ms == 0;

    if (dest->ready < limit) {
        return;
    }
    dest->credit++;
    if (dest->credit < (doubles ? limit : limit * 4)) {
        return;
    }
    dest->credit = 0;
    dest->limit = doubles ? limit * 2 : limit + 1;
    dest->limit = queue_dest_limit(dest);
    if (dest->state == QUEUE_RAMP && dest->limit == dest->configured) {
        queue_dest_change(queue, dest, QUEUE_UP, PN_STR("it takes all sessions"), now_ms);
    }
}

void queue_dest_heard(struct queue *queue, struct queue_dest *dest, enum queue_verdict verdict,
                      int64_t took_ms, int64_t now_ms)
{
    if (verdict == QUEUE_DONE) {
        dest->last_success_ms = now_ms;
        dest->delivered++;
        dest->open_wait_ms = OPEN_WAIT_MIN_MS;
        if (dest->laters >= LATERS_IN_A_ROW && queue_dest_is_open(dest)) {
            queue_dest_flush(queue, dest, now_ms);
        }
        dest->laters = 0;
    } else if (verdict == QUEUE_LATER) {
        dest->laters++;
    } else {
        return;
    }
    dest->heard++;
    if (queue_dest_is_open(dest)) {
        if (is_slow(dest, took_ms, now_ms)) {
            halve(dest, now_ms);
        } else {
            grow(queue, dest, now_ms);
        }
    }
    queue_dest_touch(queue, dest);
}

/* ---- sessions --------------------------------------------------------------------- */

static struct queue_session *find_session(const struct queue *queue, uint64_t id)
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

/* Moves a session to another state, and keeps its dest's counts and lists in step. */
static void session_change(struct queue *queue, struct queue_session *session,
                           enum queue_session_state state)
{
    struct queue_dest *dest = session->dest;
    bool was_ready =
        session->state != QUEUE_SESSION_OPENING && session->state != QUEUE_SESSION_CLOSING;
    bool is_ready = state != QUEUE_SESSION_OPENING && state != QUEUE_SESSION_CLOSING;

    if (session->state == QUEUE_SESSION_IDLE) {
        DL_DELETE(dest->idle, session);
        dest->idle_count--;
        pn_heap_remove(&queue->idles, &session->idle_node);
    }
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

void queue_session_ready(struct queue *queue, uint64_t id, int64_t now_ms)
{
    struct queue_session *session = find_session(queue, id);
    struct queue_dest *dest = session ? session->dest : NULL;

    if (!session || session->state != QUEUE_SESSION_OPENING) {
        return;
    }
    session_change(queue, session, QUEUE_SESSION_BUSY);
    dest->last_success_ms = now_ms;
    if (dest->ready == 1) {
        dest->heard = 0;
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

/* The next lane gives, and goes to the end of the turns. */
static size_t take_turn(struct queue *queue, struct queue_session *session, size_t max,
                        struct queue_job *out, struct pn_str *out_queue, int64_t now_ms)
{
    struct queue_dest *dest = session->dest;
    struct queue_lane *lane = dest->turns;
    unsigned per_session = queue_dest_per_session(dest);
    size_t count;

    max = queue_parole_allows(dest, session->id, max);
    if (!lane || max == 0) {
        return 0;
    }
    if (per_session > 0 && max > per_session - session->taken) {
        max = per_session - session->taken;
    }
    count = queue_window_pick(queue, lane, max, out);
    if (lane->in_turns) {
        DL_DELETE2(dest->turns, lane, turn_prev, turn_next);
        DL_APPEND2(dest->turns, lane, turn_prev, turn_next);
    }
    session->taken += (unsigned)count;
    queue_parole_given(dest, count);
    *out_queue = queue_lane_name(lane);
    queue_lane_schedule(queue, lane, now_ms);
    return count;
}

size_t queue_take(struct queue *queue, uint64_t id, size_t max, struct queue_job *out,
                  struct pn_str *out_queue, bool *out_close, int64_t now_ms)
{
    struct queue_session *session = find_session(queue, id);
    size_t count = 0;

    *out_close = false;
    if (!session || session->state == QUEUE_SESSION_CLOSING) {
        *out_close = true;
        return 0;
    }
    pn_assert(session->state != QUEUE_SESSION_OPENING && max > 0);
    session_change(queue, session, QUEUE_SESSION_BUSY);
    queue_dest_touch(queue, session->dest);
    if (is_over(session)) {
        session_change(queue, session, QUEUE_SESSION_CLOSING);
        *out_close = true;
        return 0;
    }
    if (!queue->paused) {
        count = take_turn(queue, session, max, out, out_queue, now_ms);
    }
    if (count > 0) {
        session->idle_since_ms = 0;
        return count;
    }
    if (session->idle_since_ms == 0) {
        session->idle_since_ms = now_ms;
    }
    *out_close = now_ms - session->idle_since_ms >= QUEUE_IDLE_MS;
    session_change(queue, session, *out_close ? QUEUE_SESSION_CLOSING : QUEUE_SESSION_IDLE);
    return 0;
}

/* What the end of a session says about its destination, when others are not there to ask. */
static void judge(struct queue *queue, struct queue_dest *dest, enum queue_end end,
                  struct pn_str reason, int64_t born_ms, int64_t now_ms)
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
        be_busy(dest, born_ms, now_ms);
        dest->heard = end == QUEUE_END_LOST ? 0 : dest->heard;
    }
}

void queue_session_ended(struct queue *queue, uint64_t id, enum queue_end end,
                         struct pn_str reason, int64_t now_ms)
{
    struct queue_session *session = find_session(queue, id);
    struct queue_dest *dest;
    struct queue_lane *lane;
    int64_t born_ms;

    if (!session) {
        return;
    }
    dest = session->dest;
    /* One that was at work may always have news; one that never was, only if it is young. */
    born_ms = session->state == QUEUE_SESSION_OPENING ? session->born_ms : now_ms;
    if (session->state == QUEUE_SESSION_OPENING && end != QUEUE_END_CLEAN &&
        end != QUEUE_END_LENT) {
        end = QUEUE_END_FAILED; /* 421 in the greeting, or lost before it */
    }
    session_change(queue, session, QUEUE_SESSION_CLOSING);
    HASH_DELETE(hh, queue->sessions, session);
    free(session);
    dest->sessions--;
    if (end == QUEUE_END_LENT) {
        dest->open_after_ms = now_ms + QUEUE_RETRY_MS;
    } else if (end != QUEUE_END_CLEAN) {
        judge(queue, dest, end, reason, born_ms, now_ms);
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

/* ---- what to tell ----------------------------------------------------------------- */

static bool wants_wake(const struct queue_dest *dest)
{
    if (!dest->idle) {
        return false;
    }
    return dest->state == QUEUE_HELD || !dest->lanes ||
           (dest->state == QUEUE_STOPPED && dest->parole.session == 0) ||
           ((queue_dest_is_open(dest) || queue_parole_reads(dest)) &&
            dest->available > dest->woken);
}

/* The opening ones will take a job each at least; while one is idle, none is missing. */
static bool wants_open(struct queue_dest *dest)
{
    if (!queue_dest_is_open(dest) || !dest->lanes || dest->sessions >= queue_dest_limit(dest)) {
        return false;
    }
    return (dest->owed > 0 && dest->sessions == 0) ||
           (dest->available > dest->opening && dest->idle_count + dest->woken == 0);
}

bool queue_dest_is_drained(const struct queue_dest *dest)
{
    return dest->available == 0 && dest->sessions == dest->idle_count;
}

static void open_one(struct queue *queue, struct queue_dest *dest, int64_t now_ms,
                     struct queue_action *out)
{
    dest->owed = 0;
    *out =
        (struct queue_action){.kind = QUEUE_OPEN,
                              .queue = queue_lane_name(dest->turns ? dest->turns : dest->lanes),
                              .destination = queue_dest_name(dest),
                              .session = queue_session_open(queue, dest, now_ms)};
}

/* One thing that a touched dest has to say; false: nothing but what time brings. */
static bool say(struct queue *queue, struct queue_dest *dest, int64_t now_ms,
                struct queue_action *out)
{
    int64_t at_ms = QUEUE_DUE_NEVER, parole_ms;

    queue_dest_unwait(queue, dest, now_ms);
    queue_parole_step(queue, dest, now_ms);
    if (wants_wake(dest)) {
        *out = (struct queue_action){.kind = QUEUE_WAKE,
                                     .destination = queue_dest_name(dest),
                                     .session = dest->idle->id};
        session_change(queue, dest->idle, QUEUE_SESSION_WOKEN);
        return true;
    }
    if (queue_parole_wants_session(dest)) {
        open_one(queue, dest, now_ms, out);
        queue_parole_opened(dest, out->session);
        return true;
    }
    if (wants_open(dest)) {
        at_ms = dest->open_after_ms;
        if (at_ms <= now_ms) {
            open_one(queue, dest, now_ms, out);
            return true;
        }
    } else if (dest->state == QUEUE_RAMP && queue_dest_is_drained(dest)) {
        /* Where nothing waited, as at a first contact, there is nothing to be gentle with. */
        at_ms = dest->parole.on ? dest->returned_ms + QUEUE_QUIET_MS : now_ms;
        if (at_ms <= now_ms) {
            queue_dest_change(queue, dest, QUEUE_UP, PN_STR("nothing waits any more"), now_ms);
            at_ms = QUEUE_DUE_NEVER;
        }
    }
    parole_ms = queue_parole_again_ms(dest);
    at_ms = parole_ms < at_ms ? parole_ms : at_ms;
    if (at_ms == QUEUE_DUE_NEVER) {
        pn_heap_remove(&queue->timers, &dest->timer_node);
    } else {
        pn_heap_set(&queue->timers, &dest->timer_node, at_ms);
    }
    return false;
}

bool queue_dest_next(struct queue *queue, int64_t now_ms, struct queue_action *out)
{
    struct pn_heap_node *first;

    while ((first = pn_heap_first(&queue->idles)) != NULL && first->key <= now_ms) {
        struct queue_session *session = PN_CONTAINER(first, struct queue_session, idle_node);

        *out = (struct queue_action){.kind = QUEUE_WAKE,
                                     .destination = queue_dest_name(session->dest),
                                     .session = session->id};
        session_change(queue, session, QUEUE_SESSION_WOKEN);
        return true;
    }
    while ((first = pn_heap_first(&queue->timers)) != NULL && first->key <= now_ms) {
        pn_heap_remove(&queue->timers, first);
        queue_dest_touch(queue, PN_CONTAINER(first, struct queue_dest, timer_node));
    }
    while (queue->todo) {
        if (say(queue, queue->todo, now_ms, out)) {
            return true;
        }
        untouch(queue, queue->todo);
    }
    return false;
}
