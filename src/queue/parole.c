/*
 * parole.c - does who came back take what it should?
 *
 * A primary that comes back broken (an empty user table, a filter that knows nobody) answers
 * well and refuses everything. Parole is no state: it stands beside RAMP and UP, begins with
 * the return, and is over after TAKEN_JOBS messages that were taken whole, or when nothing
 * waits and no refusal was heard for an hour. Two things end it the other way, in STOPPED: one
 * refusal of a recipient we believe in, or too many refusals among the first messages.
 *
 * STOPPED is the operator's to decide, but it mends itself: every half hour there is a trial.
 * From then on its lanes may read a few jobs, the first that is found opens one session, and
 * that session gets CANARIES jobs and no more. What was not taken whole (a refusal, a 4xx, a
 * lost session) ends the trial; all taken leads to RAMP, with parole begun anew. A trial
 * without a job that is due waits for one.
 *
 * A 4xx is no refusal, and no proof either: it counts for nothing, but a canary must be taken.
 * One that was not tried is none: some take one message in a session, and end it.
 * Only one trial session is possible, since it opens only when no other one is left.
 */
#include "queue_priv.h"

#include <stdio.h>
#include <string.h>

#define TAKEN_JOBS 50
#define FIRST_JOBS 50 /* among which many refusals say that it is broken */
#define LEAST_JOBS 10
#define ONE_OF     5 /* more than one of so many refused: too many */
#define CANARY_MS  PN_MINUTES(30)
#define CANARIES   3

static void end_trial(struct queue_parole *parole)
{
    parole->trial = false;
    parole->session = 0;
    parole->given = parole->out = parole->good = 0;
}

static void begin(struct queue_parole *parole, int64_t now_ms)
{
    int64_t begun_ms = parole->on ? parole->begun_ms : now_ms;

    *parole = (struct queue_parole){.on = true, .begun_ms = begun_ms, .quiet_ms = now_ms};
}

/* The world's domains refuse what they refuse: their mail's senders are here, and are told. */
static bool is_put_on_parole(struct queue_dest *dest)
{
    queue_dest_find_least(dest);
    return !dest->on_demand;
}

void queue_parole_changed(struct queue_dest *dest, enum queue_state before, int64_t now_ms)
{
    struct queue_parole *parole = &dest->parole;

    switch (dest->state) {
    case QUEUE_RAMP:
        /* Mail that waits at our own start is as much at stake as after an outage; a first
         * contact without mail is none. */
        if (!is_put_on_parole(dest)) {
            break;
        }
        if (parole->on || before == QUEUE_DOWN || (before == QUEUE_UNKNOWN && dest->jobs > 0)) {
            begin(parole, now_ms);
        }
        break;
    case QUEUE_STOPPED:
        end_trial(parole);
        parole->canary_ms = now_ms + CANARY_MS;
        break;
    case QUEUE_HELD:
        end_trial(parole);
        break;
    case QUEUE_DOWN:
    case QUEUE_UNKNOWN:
        *parole = (struct queue_parole){0};
        break;
    case QUEUE_UP:
        break;
    }
}

static void end(struct queue *queue, struct queue_dest *dest, struct pn_str reason,
                int64_t now_ms)
{
    int64_t lasted_ms = now_ms - dest->parole.begun_ms;

    dest->parole = (struct queue_parole){0};
    queue_dest_tell_parole(queue, dest, reason, lasted_ms);
}

/* ---- what is heard ---------------------------------------------------------------- */

static bool is_too_much(const struct queue_parole *parole)
{
    uint64_t jobs = parole->taken + parole->refused;

    return jobs >= LEAST_JOBS && jobs <= FIRST_JOBS && parole->refused * ONE_OF > jobs;
}

static void stop(struct queue *queue, struct queue_dest *dest, size_t believed, int64_t now_ms)
{
    const struct queue_parole *parole = &dest->parole;
    char reason[160];

    if (believed > 0) {
        (void)snprintf(reason, sizeof reason,
                       "it is back but refuses recipients that are believed to exist (%zu of "
                       "one message)",
                       believed);
    } else {
        (void)snprintf(reason, sizeof reason,
                       "it is back but has refused %llu of the first %llu messages",
                       (unsigned long long)parole->refused,
                       (unsigned long long)parole->taken + (unsigned long long)parole->refused);
    }
    queue_dest_change(queue, dest, QUEUE_STOPPED, pn_str_z(reason), now_ms);
}

void queue_refused(struct queue *queue, uint64_t session_id, struct pn_str destination,
                   size_t refused, size_t believed, int64_t now_ms)
{
    struct queue_session *session;
    struct queue_dest *dest;

    session = queue_session_find(queue, session_id);
    if (session) {
        dest = session->dest;
    } else {
        HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    }
    if (!dest || !dest->parole.on || refused == 0) {
        return;
    }
    dest->parole.spoilt = true;
    if (session && queue_session_is_clients(session)) {
        return; /* it was said to the client: no proof that the destination is well or not */
    }
    dest->parole.refused++;
    dest->parole.quiet_ms = now_ms;
    if (queue_dest_is_open(dest) && (believed > 0 || is_too_much(&dest->parole))) {
        stop(queue, dest, believed, now_ms);
    }
}

static void conclude(struct queue *queue, struct queue_dest *dest, int64_t again_ms,
                     int64_t now_ms)
{
    const struct queue_parole *parole = &dest->parole;

    if (parole->good > 0 && parole->good == parole->given) {
        queue_dest_change(queue, dest, QUEUE_RAMP, PN_STR("it took what it was tried with"),
                          now_ms);
        return;
    }
    end_trial(&dest->parole);
    dest->parole.canary_ms = again_ms;
    queue_dest_drop(queue, dest, 0);
    queue_dest_reschedule(queue, dest, now_ms);
    queue_dest_touch(queue, dest);
}

void queue_parole_heard(struct queue *queue, struct queue_dest *dest, uint64_t session,
                        enum queue_verdict verdict, int64_t now_ms)
{
    struct queue_parole *parole = &dest->parole;
    bool taken = verdict == QUEUE_DONE && !parole->spoilt;

    parole->spoilt = false;
    parole->taken += parole->on && taken;
    if (dest->state == QUEUE_STOPPED && parole->out > 0 && session == parole->session) {
        parole->out--;
        parole->good += taken;
        parole->given -= verdict == QUEUE_GONE || verdict == QUEUE_UNTRIED;
        if (parole->out == 0) {
            conclude(queue, dest, now_ms + CANARY_MS, now_ms);
        }
    } else if (parole->on && queue_dest_is_open(dest) && parole->taken >= TAKEN_JOBS) {
        end(queue, dest, PN_STR("it has taken enough messages since its return"), now_ms);
    }
}

void queue_parole_session_ended(struct queue *queue, struct queue_dest *dest, uint64_t session,
                                enum queue_end how, int64_t now_ms)
{
    if (dest->state == QUEUE_STOPPED && session == dest->parole.session) {
        conclude(queue, dest, now_ms + (how == QUEUE_END_LENT ? QUEUE_RETRY_MS : CANARY_MS),
                 now_ms);
    }
}

/* ---- canaries --------------------------------------------------------------------- */

bool queue_parole_reads(const struct queue_dest *dest)
{
    return dest->state == QUEUE_STOPPED && dest->parole.trial && dest->parole.given == 0;
}

bool queue_parole_wants_session(const struct queue_dest *dest)
{
    return queue_parole_reads(dest) && dest->sessions == 0 && dest->available > 0;
}

void queue_parole_opened(struct queue_dest *dest, uint64_t session)
{
    dest->parole.session = session;
}

size_t queue_parole_allows(const struct queue_dest *dest, uint64_t session, size_t max)
{
    if (queue_dest_is_open(dest)) {
        return max;
    }
    if (!queue_parole_reads(dest) || session != dest->parole.session) {
        return 0;
    }
    return max < CANARIES ? max : CANARIES;
}

void queue_parole_given(struct queue_dest *dest, size_t count)
{
    if (dest->state == QUEUE_STOPPED) {
        dest->parole.given = dest->parole.out = (unsigned)count;
    }
}

/* ---- what time brings ------------------------------------------------------------- */

int64_t queue_parole_again_ms(const struct queue_dest *dest)
{
    const struct queue_parole *parole = &dest->parole;

    if (dest->state == QUEUE_STOPPED) {
        return !parole->trial && dest->sessions == 0 && dest->lanes ? parole->canary_ms
                                                                    : QUEUE_DUE_NEVER;
    }
    return parole->on && queue_dest_is_open(dest) && queue_dest_is_drained(dest)
               ? parole->quiet_ms + QUEUE_HOUR_MS
               : QUEUE_DUE_NEVER;
}

void queue_parole_step(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    if (queue_parole_again_ms(dest) > now_ms) {
        return;
    }
    if (dest->state == QUEUE_STOPPED) {
        dest->parole.trial = true;
        queue_dest_reschedule(queue, dest, now_ms);
    } else {
        end(queue, dest, PN_STR("nothing waits, and it has refused nothing for an hour"),
            now_ms);
    }
}

/* ---- the operator ----------------------------------------------------------------- */

static void resume(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    if (dest->state == QUEUE_STOPPED) {
        queue_dest_change(queue, dest, QUEUE_RAMP, PN_STR("resumed by the operator"), now_ms);
    }
}

static void believe(struct queue *queue, struct queue_dest *dest, int64_t now_ms)
{
    if (!dest->parole.on) {
        return;
    }
    end(queue, dest, PN_STR("the operator believes its refusals"), now_ms);
    if (dest->state == QUEUE_STOPPED) {
        queue_dest_change(queue, dest, QUEUE_RAMP, PN_STR("resumed by the operator"), now_ms);
    }
}

static bool each(struct queue *queue, struct pn_str destination,
                 void (*fn)(struct queue *queue, struct queue_dest *dest, int64_t now_ms),
                 int64_t now_ms)
{
    struct queue_dest *dest, *next;

    if (destination.len == 0) {
        HASH_ITER (hh, queue->dests, dest, next) {
            fn(queue, dest, now_ms);
        }
        return true;
    }
    HASH_FIND(hh, queue->dests, destination.ptr, (unsigned)destination.len, dest);
    if (dest) {
        fn(queue, dest, now_ms);
    }
    return dest != NULL;
}

bool queue_resume(struct queue *queue, struct pn_str destination, int64_t now_ms)
{
    return each(queue, destination, resume, now_ms);
}

bool queue_refuse(struct queue *queue, struct pn_str destination, int64_t now_ms)
{
    return each(queue, destination, believe, now_ms);
}
