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
 * minute. A session that is turned away beside others that work shows the ceiling: it has what
 * it bears, and one more is tried after a minute, then after ever longer times. So a peer that
 * turns away the fourth session is left with three, and turns away a handful in an hour.
 *
 * A 4xx for a message is a good result: the peer is well, and says no to that message alone
 * (FAULTS 5.11). After many of them the first success flushes, for it may have been the whole
 * peer's trouble; but not again and again, for it may be a greylist, or some full mailboxes.
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
#define RELIEF_MS        PN_MINUTES(5)
#define CEILING_MIN_MS   PN_MINUTES(1)
#define CEILING_MAX_MS   PN_MINUTES(10)
#define PACED_PROOF      10 /* messages after which a return that the rate slows down is over */

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
    queue_window_drop(queue, lane, 0);
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

/* What holds for all its queues; only computed again after one of them has changed. */
void queue_dest_find_least(struct queue_dest *dest)
{
    struct queue_lane *lane;

    if (!dest->least_is_old) {
        return;
    }
    dest->configured = dest->lanes ? dest->lanes->sessions : 1;
    dest->per_session = dest->lanes ? dest->lanes->messages_per_session : 0;
    dest->step_us = dest->delay_ms = 0;
    dest->on_demand = dest->lanes != NULL;
    DL_FOREACH (dest->lanes, lane) {
        dest->step_us = lane->step_us > dest->step_us ? lane->step_us : dest->step_us;
        dest->delay_ms = lane->delay_ms > dest->delay_ms ? lane->delay_ms : dest->delay_ms;
        dest->on_demand = dest->on_demand && lane->on_demand;
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
    queue_dest_find_least(dest);
    return dest->limit < dest->configured ? dest->limit : dest->configured;
}

unsigned queue_dest_per_session(struct queue_dest *dest)
{
    queue_dest_find_least(dest);
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
    event->nobody = dest->nobody && before != dest->state &&
                    (dest->state == QUEUE_RAMP || dest->state == QUEUE_UP);
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

void queue_dest_drop(struct queue *queue, struct queue_dest *dest, size_t kept)
{
    struct queue_lane *lane;

    DL_FOREACH (dest->lanes, lane) {
        queue_window_drop(queue, lane, kept);
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
    queue_dest_drop(queue, dest, QUEUE_KEPT);
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
    queue_dest_drop(queue, dest, 0);
    dest->owed = 0;
}

static void enter_held(struct queue *queue, struct queue_dest *dest)
{
    pn_heap_remove(&queue->probes, &dest->probe_node);
    queue_dest_drop(queue, dest, 0);
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

void queue_dest_wait(struct queue_dest *dest, int64_t now_ms)
{
    dest->open_after_ms = now_ms + dest->open_wait_ms;
    dest->open_wait_ms =
        queue_backoff_double_ms(dest->open_wait_ms, OPEN_WAIT_MIN_MS, OPEN_WAIT_MAX_MS);
}

/* What it has is what it bears, for now; a while later one more is tried. */
static void hit_ceiling(struct queue_dest *dest, int64_t now_ms)
{
    dest->ceiling = dest->limit = dest->ready;
    dest->ceiling_wait_ms =
        queue_backoff_double_ms(dest->ceiling_wait_ms, CEILING_MIN_MS, CEILING_MAX_MS);
    dest->ceiling_until_ms = now_ms + dest->ceiling_wait_ms;
    dest->credit = 0;
    dest->halved_ms = now_ms;
}

/*
 * Sessions that are refused together, or within a second, are one trouble: a primary that
 * bears three of twenty shall get three, not one a minute.
 */
void queue_dest_busy(struct queue_dest *dest, bool refused, int64_t born_ms, int64_t now_ms)
{
    if (dest->troubled_ms != 0 &&
        (born_ms <= dest->troubled_ms || now_ms - dest->troubled_ms < OPEN_WAIT_MIN_MS)) {
        return;
    }
    dest->troubled_ms = now_ms;
    if (refused) {
        hit_ceiling(dest, now_ms);
    } else {
        halve(dest, now_ms);
    }
    queue_dest_wait(dest, now_ms);
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

/* How many sessions are worth a try after the limit has been proved. */
static unsigned next_limit(const struct queue_dest *dest, unsigned limit, bool doubles,
                           int64_t now_ms)
{
    unsigned next = doubles ? limit * 2 : limit + 1;
    unsigned most = dest->ceiling + (now_ms >= dest->ceiling_until_ms);

    return dest->ceiling > 0 && next > most ? (most > limit ? most : limit) : next;
}

/*
 * Only a limit that is made use of has been proved. A RAMP that ended early, for want of
 * mail, goes on doubling in UP until the first trouble. It also ends where the destination
 * has as many sessions as it bears, and where the rate leaves those that it has idle.
 */
static void grow(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    unsigned limit = queue_dest_limit(dest);
    bool doubles = dest->state == QUEUE_RAMP || dest->halved_ms == 0;
    bool paced = dest->step_us > 0 && dest->idle_count > 0 && dest->available > 0;

    if (dest->ready < limit && !paced) {
        return;
    }
    dest->credit++;
    if (dest->credit < (doubles ? limit : limit * 4)) {
        return;
    }
    if (paced) {
        if (dest->state == QUEUE_RAMP && dest->credit >= PACED_PROOF) {
            queue_dest_change(queue, dest, QUEUE_UP,
                              PN_STR("it takes all that its rate allows"), now_ms);
        }
        return;
    }
    dest->credit = 0;
    dest->limit = next_limit(dest, limit, doubles, now_ms);
    dest->limit = queue_dest_limit(dest);
    if (dest->state == QUEUE_RAMP && dest->limit == dest->configured) {
        queue_dest_change(queue, dest, QUEUE_UP, PN_STR("it takes all sessions"), now_ms);
    } else if (dest->state == QUEUE_RAMP && dest->limit == limit) {
        queue_dest_change(queue, dest, QUEUE_UP,
                          PN_STR("it takes all the sessions that it does not turn away"),
                          now_ms);
    }
}

void queue_dest_heard(struct queue *queue, struct queue_dest *dest, enum queue_verdict verdict,
                      int64_t took_ms, int64_t now_ms)
{
    if (verdict == QUEUE_DONE) {
        dest->last_success_ms = dest->nobody ? dest->last_success_ms : now_ms;
        dest->delivered++;
        dest->open_wait_ms = OPEN_WAIT_MIN_MS;
        if (dest->laters >= LATERS_IN_A_ROW && queue_dest_is_open(dest) &&
            now_ms - dest->relieved_ms >= RELIEF_MS) {
            dest->relieved_ms = now_ms;
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

/* When a session may be given jobs, or be opened for them; NEVER: none is wanted. */
static int64_t work_at(struct queue_dest *dest, int64_t now_ms)
{
    int64_t paced_ms, at_ms;

    queue_dest_find_least(dest);
    paced_ms = queue_pace_again_ms(dest);
    if (wants_wake(dest)) {
        /* Who is to end need not wait for its turn. */
        at_ms = queue_dest_is_open(dest) && dest->lanes ? paced_ms : now_ms;
    } else if (wants_open(dest)) {
        at_ms = dest->open_after_ms > paced_ms ? dest->open_after_ms : paced_ms;
    } else {
        return QUEUE_DUE_NEVER;
    }
    return at_ms > now_ms ? at_ms : now_ms;
}

/* One thing that a touched dest has to say; false: nothing but what time brings. */
static bool say(struct queue *queue, struct queue_dest *dest, int64_t now_ms,
                struct queue_action *out)
{
    int64_t at_ms, parole_ms;

    queue_dest_unwait(queue, dest, now_ms);
    queue_parole_step(queue, dest, now_ms);
    at_ms = work_at(dest, now_ms);
    if (at_ms <= now_ms && wants_wake(dest)) {
        *out = (struct queue_action){.kind = QUEUE_WAKE,
                                     .destination = queue_dest_name(dest),
                                     .session = dest->idle->id};
        queue_session_change(queue, dest->idle, QUEUE_SESSION_WOKEN);
        return true;
    }
    if (queue_parole_wants_session(dest)) {
        open_one(queue, dest, now_ms, out);
        queue_parole_opened(dest, out->session);
        return true;
    }
    if (at_ms <= now_ms) {
        open_one(queue, dest, now_ms, out);
        return true;
    }
    if (at_ms == QUEUE_DUE_NEVER && dest->state == QUEUE_RAMP && queue_dest_is_drained(dest)) {
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

        if (session->state == QUEUE_SESSION_RESTING && !session->chosen) {
            session->idle_since_ms = now_ms;
            queue_session_change(queue, session, QUEUE_SESSION_IDLE);
            queue_dest_touch(queue, session->dest);
            continue;
        }
        *out = (struct queue_action){.kind = QUEUE_WAKE,
                                     .destination = queue_dest_name(session->dest),
                                     .session = session->id};
        queue_session_change(queue, session, QUEUE_SESSION_WOKEN);
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
