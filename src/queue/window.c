/*
 * window.c - which jobs of a lane are in memory.
 *
 * The invariant, which is why no job is ever forgotten. For each job that is on disk and
 * not held, at least one of these is true:
 *
 *   1. it is known: an entry in the lane's hash, in one of the states of enum
 *      queue_entry_state, or the `beside` of one;
 *   2. its key is not below the lane's cursor;
 *   3. its ADDED notice is still to come;
 *   4. a page is under way, and its key is not below read_low, to which the cursor goes
 *      back at the latest when the page has come.
 *
 * Three functions keep it. cover() moves the cursor (and read_low) back to a key: it is
 * called for each job that is told of but not taken into memory, and for each entry that is
 * let go while its job is still on disk. A page moves the cursor forward over what it
 * showed, which is known from then on. Only release() lets go of an entry, and its callers
 * either cover, or know that the job is not on disk (a REMOVED notice).
 *
 * next_due_ms belongs to 2: no job from the cursor on is due earlier. It is exact when the
 * horizon is SEEN. When what is due has been read to its end, it is only a lower bound
 * (ENDED), and a LOOK of a few jobs finds the true one.
 *
 * Reads and notices come from different threads of the store. A page may show a job that
 * is removed already (`dead` remembers the keys removed while a page is under way), may
 * lack one that is added already (read_low), and may show one whose ADDED notice is still
 * to come (it is known then, and the notice changes nothing). A dead job that gets through
 * costs a load that finds nothing (QUEUE_GONE), and nothing else.
 *
 * Mail that comes while its dest is open or DOWN is FRESH at once. After a start none is known:
 * the page that begins two minutes ago is read beside the others, and moves no cursor.
 *
 * A flush has a cursor of its own, behind which only jobs last tried before its start are
 * taken. It begins at the cursor (below it, everything is known) and reads to the end of
 * the queue; the cursor itself never passes a job that is not due.
 *
 * Rejected: jobs in memory sorted by due time for the whole lane (memory for each message),
 * and open iterators (LevelDB keeps what they see).
 */
#include "queue_priv.h"

#include <string.h>

struct queue_work *queue_lane_work(struct queue_lane *lane)
{
    if (!lane->work) {
        lane->work = PN_NEW(struct queue_work);
        lane->work->sweep_oldest_ms = lane->work->sweep_report_ms = QUEUE_DUE_NEVER;
    }
    return lane->work;
}

static struct queue_entry *find(const struct queue_lane *lane, const struct pn_id *id)
{
    struct queue_entry *entry = NULL;

    if (lane->work) {
        HASH_FIND(hh, lane->work->known, id, sizeof *id, entry);
    }
    return entry;
}

static void cover(struct queue_lane *lane, const struct queue_job *job)
{
    struct queue_work *work = lane->work;
    struct queue_key key = queue_key_of(job);
    bool flushed;

    if (key.due_ms == QUEUE_DUE_NEVER) {
        return;
    }
    if (queue_key_cmp(&key, &lane->cursor) < 0) {
        lane->cursor = key;
    }
    if (key.due_ms <= lane->next_due_ms) {
        lane->next_due_ms = key.due_ms;
        lane->horizon = QUEUE_HORIZON_SEEN;
    }
    if (!work) {
        return;
    }
    flushed = work->flush != QUEUE_FLUSH_NONE && job->last_try_ms < work->flush_start_ms;
    if (flushed && queue_key_cmp(&key, &work->flush_at) < 0) {
        work->flush_at = key;
        work->flush = QUEUE_FLUSH_READING;
    }
    if (work->reading != QUEUE_READING_NONE &&
        (flushed || work->reading != QUEUE_READING_FLUSH) &&
        queue_key_cmp(&key, &work->read_low) < 0) {
        work->read_low = key;
    }
}

/* ---- entries and their states ----------------------------------------------------- */

static void lane_has_more(struct queue *queue, struct queue_lane *lane)
{
    struct queue_dest *dest = lane->dest;

    dest->available++;
    if (!lane->in_turns) {
        lane->in_turns = true;
        DL_APPEND2(dest->turns, lane, turn_prev, turn_next);
    }
    queue_dest_touch(queue, dest);
}

static void lane_has_less(struct queue *queue, struct queue_lane *lane)
{
    struct queue_dest *dest = lane->dest;

    dest->available--;
    if (lane->work->window_count + lane->work->fresh_count == 0) {
        lane->in_turns = false;
        DL_DELETE2(dest->turns, lane, turn_prev, turn_next);
    }
    queue_dest_touch(queue, dest);
}

static void insert_sorted(struct queue_entry **window, struct queue_entry *entry)
{
    struct queue_key key = queue_key_of(&entry->job);
    struct queue_entry *at = *window;
    struct queue_key other;

    if (at) {
        other = queue_key_of(&at->job);
        if (queue_key_cmp(&key, &other) < 0) {
            DL_PREPEND(*window, entry);
            return;
        }
        /* Pages come in order, so the place is nearly always the end. */
        for (at = at->prev; at != *window; at = at->prev) {
            other = queue_key_of(&at->job);
            if (queue_key_cmp(&key, &other) > 0) {
                break;
            }
        }
    }
    DL_APPEND_ELEM(*window, at, entry);
}

static void enter(struct queue *queue, struct queue_entry *entry, enum queue_entry_state state)
{
    struct queue_work *work = entry->lane->work;

    entry->state = state;
    switch (state) {
    case QUEUE_ENTRY_WAITING:
        insert_sorted(&work->window, entry);
        work->window_count++;
        lane_has_more(queue, entry->lane);
        break;
    case QUEUE_ENTRY_FRESH:
        DL_APPEND(work->fresh, entry);
        work->fresh_count++;
        lane_has_more(queue, entry->lane);
        break;
    case QUEUE_ENTRY_TAKEN:
    case QUEUE_ENTRY_TAKEN_GONE:
        work->taken_count++;
        break;
    case QUEUE_ENTRY_EXPIRING:
        DL_APPEND(queue->expiring, entry);
        work->expiring_count++;
        break;
    case QUEUE_ENTRY_SETTLING:
        work->settling_count++;
        break;
    }
}

static void leave(struct queue *queue, struct queue_entry *entry)
{
    struct queue_work *work = entry->lane->work;

    switch (entry->state) {
    case QUEUE_ENTRY_WAITING:
        DL_DELETE(work->window, entry);
        work->window_count--;
        lane_has_less(queue, entry->lane);
        break;
    case QUEUE_ENTRY_FRESH:
        DL_DELETE(work->fresh, entry);
        work->fresh_count--;
        lane_has_less(queue, entry->lane);
        break;
    case QUEUE_ENTRY_TAKEN:
    case QUEUE_ENTRY_TAKEN_GONE:
        work->taken_count--;
        break;
    case QUEUE_ENTRY_EXPIRING:
        DL_DELETE(queue->expiring, entry);
        work->expiring_count--;
        break;
    case QUEUE_ENTRY_SETTLING:
        work->settling_count--;
        break;
    }
}

static void move(struct queue *queue, struct queue_entry *entry, enum queue_entry_state state)
{
    leave(queue, entry);
    enter(queue, entry, state);
}

static struct queue_entry *learn(struct queue *queue, struct queue_lane *lane,
                                 const struct queue_job *job, enum queue_entry_state state)
{
    struct queue_work *work = queue_lane_work(lane);
    struct queue_entry *entry = PN_NEW(struct queue_entry);

    entry->lane = lane;
    entry->job = *job;
    entry->beside.due_ms = QUEUE_DUE_NEVER;
    HASH_ADD(hh, work->known, job.id, sizeof entry->job.id, entry);
    queue->known++;
    enter(queue, entry, state);
    return entry;
}

/* Forgets an entry. Whoever knows that its job is still on disk covers it. */
static void release(struct queue *queue, struct queue_entry *entry)
{
    struct queue_lane *lane = entry->lane;

    leave(queue, entry);
    HASH_DELETE(hh, lane->work->known, entry);
    queue->known--;
    cover(lane, &entry->beside);
    free(entry);
}

/* Forgets an entry whose job stays on disk. */
static void let_go(struct queue *queue, struct queue_entry *entry)
{
    cover(entry->lane, &entry->job);
    release(queue, entry);
}

void queue_lane_clear(struct queue *queue, struct queue_lane *lane)
{
    struct queue_entry *entry, *next;

    if (lane->work) {
        HASH_ITER (hh, lane->work->known, entry, next) {
            release(queue, entry);
        }
        queue_window_read_ended(queue, lane);
        free(lane->work);
        lane->work = NULL;
    }
}

void queue_lane_rest(struct queue *queue, struct queue_lane *lane)
{
    struct queue_work *work = lane->work;

    if (!work) {
        return;
    }
    if (work->flush == QUEUE_FLUSH_TRYING &&
        work->window_count + work->fresh_count + work->taken_count == 0) {
        work->flush = QUEUE_FLUSH_NONE;
        work->flush_left = 0;
        if (lane->dest) {
            queue_dest_touch(queue, lane->dest);
        }
    }
    if (!work->known && work->reading == QUEUE_READING_NONE &&
        work->flush == QUEUE_FLUSH_NONE && work->sweep_at.due_ms == 0) {
        free(work);
        lane->work = NULL;
    }
}

/* ---- what the spool tells --------------------------------------------------------- */

static struct queue_dead *find_dead(const struct queue_work *work, const struct queue_job *job)
{
    struct queue_key key;
    struct queue_dead *dead;

    /* The table hashes the octets of a key, padding included. */
    memset(&key, 0, sizeof key);
    key.due_ms = job->due_ms;
    key.id = job->id;
    HASH_FIND(hh, work->dead, &key, sizeof key, dead);
    return dead;
}

bool queue_window_is_dead(const struct queue_work *work, const struct queue_job *job)
{
    return find_dead(work, job) != NULL;
}

static void mark_dead(struct queue_work *work, const struct queue_job *job)
{
    struct queue_dead *dead = find_dead(work, job);

    if (!dead) {
        dead = PN_NEW(struct queue_dead);
        dead->key.due_ms = job->due_ms;
        dead->key.id = job->id;
        HASH_ADD(hh, work->dead, key, sizeof dead->key, dead);
    }
}

static void unmark_dead(struct queue_work *work, const struct queue_job *job)
{
    struct queue_dead *dead = find_dead(work, job);

    if (dead) {
        HASH_DELETE(hh, work->dead, dead);
        free(dead);
    }
}

void queue_window_read_ended(struct queue *queue, struct queue_lane *lane)
{
    struct queue_work *work = lane->work;
    struct queue_dead *dead, *next;

    if (work->reading != QUEUE_READING_NONE) {
        work->reading = QUEUE_READING_NONE;
        queue->reading--;
    }
    HASH_ITER (hh, work->dead, dead, next) {
        HASH_DELETE(hh, work->dead, dead);
        free(dead);
    }
}

/* True when the job of a known id is dealt with: what was told is no news, or has to wait. */
static bool told_of_known(struct queue *queue, struct queue_entry *entry,
                          const struct queue_job *job)
{
    bool same = entry->job.due_ms == job->due_ms && entry->state != QUEUE_ENTRY_TAKEN_GONE;

    if (entry->moving) {
        entry->moving = false;
        entry->job = *job;
        return true;
    }
    if (same) {
        return true;
    }
    if (entry->state == QUEUE_ENTRY_WAITING || entry->state == QUEUE_ENTRY_FRESH) {
        release(queue, entry);
        return false;
    }
    if (job->due_ms < entry->beside.due_ms) {
        entry->beside = *job;
    }
    return true;
}

/*
 * How many fresh jobs the lane may have. While its dest is DOWN it keeps the newest, which
 * would otherwise be the last ones of the drain: on disk they lie behind all others.
 */
static size_t fresh_max(const struct queue *queue, const struct queue_lane *lane)
{
    if (!lane->dest) {
        return 0;
    }
    if (queue_dest_is_open(lane->dest)) {
        return queue->known < QUEUE_KNOWN_MAX ? QUEUE_WINDOW : 0;
    }
    return lane->dest->state == QUEUE_DOWN && queue->known < QUEUE_KNOWN_MAX / 2 ? QUEUE_KEPT
                                                                                 : 0;
}

static bool is_fresh(const struct queue_job *job, int64_t now_ms)
{
    return job->due_ms <= now_ms && job->last_try_ms == 0 && !(job->flags & QUEUE_JOB_IN_DOUBT);
}

void queue_window_added(struct queue *queue, struct queue_lane *lane,
                        const struct queue_job *job, int64_t now_ms)
{
    struct queue_entry *entry = find(lane, &job->id);
    size_t most = fresh_max(queue, lane);

    if (lane->work) {
        unmark_dead(lane->work, job);
    }
    if (entry && told_of_known(queue, entry, job)) {
        return;
    }
    if ((job->flags & QUEUE_JOB_HELD) || job->due_ms == QUEUE_DUE_NEVER) {
        return;
    }
    if (most == 0 || !is_fresh(job, now_ms)) {
        cover(lane, job);
    } else {
        (void)learn(queue, lane, job, QUEUE_ENTRY_FRESH);
        if (lane->work->fresh_count > most) {
            let_go(queue, lane->work->fresh);
        }
    }
    queue_lane_schedule(queue, lane, now_ms);
}

void queue_window_removed(struct queue *queue, struct queue_lane *lane,
                          const struct queue_job *job)
{
    struct queue_entry *entry = find(lane, &job->id);

    if (lane->work && lane->work->reading != QUEUE_READING_NONE) {
        mark_dead(lane->work, job);
    }
    if (!entry) {
        return;
    }
    if (entry->job.due_ms != job->due_ms || entry->state == QUEUE_ENTRY_TAKEN_GONE) {
        if (entry->beside.due_ms == job->due_ms) {
            entry->beside.due_ms = QUEUE_DUE_NEVER;
        }
    } else if (entry->state == QUEUE_ENTRY_TAKEN) {
        move(queue, entry, QUEUE_ENTRY_TAKEN_GONE);
    } else if (entry->tried && (job->flags & QUEUE_JOB_MOVED)) {
        /* The operator was quicker than the settlement, which finds it under its new key: if
         * it were free until then, it could be delivered twice. */
        entry->moving = true;
    } else {
        release(queue, entry);
    }
}

/* ---- pages ------------------------------------------------------------------------ */

/* It was tried at a time that has not come yet: ours went back, because what the spool kept of
 * it is damaged, and how long the job is to wait cannot be told. */
static bool is_ahead(const struct queue_job *job, int64_t now_ms)
{
    return job->last_try_ms > now_ms;
}

/* A flush is not for what it has tried, nor for what waits out the server's time-out. */
static bool is_wanted(const struct queue_work *work, const struct queue_job *job,
                      int64_t now_ms)
{
    return job->due_ms <= now_ms ||
           (work->reading == QUEUE_READING_FLUSH &&
            (is_ahead(job, now_ms) ||
             (job->last_try_ms < work->flush_start_ms && !(job->flags & QUEUE_JOB_IN_DOUBT))));
}

/* Returns how many jobs of the page were new. */
static size_t page_jobs(struct queue *queue, struct queue_lane *lane,
                        const struct queue_job *jobs, size_t count, int64_t now_ms)
{
    struct queue_work *work = lane->work;
    size_t added = 0;

    for (size_t i = 0; i < count; i++) {
        struct queue_entry *entry = find(lane, &jobs[i].id);

        if (find_dead(work, &jobs[i]) || (jobs[i].flags & QUEUE_JOB_HELD) ||
            (entry && told_of_known(queue, entry, &jobs[i]))) {
            continue;
        }
        if (is_wanted(work, &jobs[i], now_ms)) {
            (void)learn(queue, lane, &jobs[i], QUEUE_ENTRY_WAITING);
            added++;
        } else if (work->flush_left > 0) {
            work->flush_left--;
        }
    }
    return added;
}

static struct queue_key lower(struct queue_key a, struct queue_key b)
{
    return queue_key_cmp(&a, &b) < 0 ? a : b;
}

static void filled(struct queue *queue, struct queue_lane *lane, const struct queue_job *jobs,
                   size_t count, bool end, int64_t now_ms)
{
    struct queue_work *work = lane->work;
    size_t added = page_jobs(queue, lane, jobs, count, now_ms);

    if (end) {
        lane->cursor = (struct queue_key){.due_ms = work->read_until_ms + 1};
        lane->next_due_ms = lane->cursor.due_ms;
        lane->horizon = QUEUE_HORIZON_ENDED;
    } else if (count > 0) {
        lane->cursor = queue_key_after(&jobs[count - 1]);
        lane->next_due_ms = lane->cursor.due_ms;
        lane->horizon = QUEUE_HORIZON_UNREAD;
    }
    if (added == 0 && (end || count == 0)) {
        lane->read_after_ms = now_ms + QUEUE_CALM_MS;
    }
    lane->cursor = lower(lane->cursor, work->read_low);
    if (lane->cursor.due_ms < lane->next_due_ms) {
        lane->next_due_ms = lane->cursor.due_ms;
        lane->horizon = QUEUE_HORIZON_SEEN;
    }
}

static void flushed(struct queue *queue, struct queue_lane *lane, const struct queue_job *jobs,
                    size_t count, bool end, int64_t now_ms)
{
    struct queue_work *work = lane->work;

    (void)page_jobs(queue, lane, jobs, count, now_ms);
    if (end) {
        work->flush = QUEUE_FLUSH_TRYING;
        work->flush_at = QUEUE_KEY_END;
    } else if (count > 0) {
        work->flush_at = queue_key_after(&jobs[count - 1]);
    }
    if (queue_key_cmp(&work->read_low, &work->flush_at) < 0) {
        work->flush_at = work->read_low;
        work->flush = QUEUE_FLUSH_READING;
    }
}

static void looked(struct queue *queue, struct queue_lane *lane, const struct queue_job *jobs,
                   size_t count, bool end)
{
    int64_t next_ms = end || count == 0 ? QUEUE_DUE_NEVER : jobs[count - 1].due_ms;

    for (size_t i = 0; i < count; i++) {
        struct queue_entry *entry = find(lane, &jobs[i].id);

        if (!find_dead(lane->work, &jobs[i]) &&
            !(entry && told_of_known(queue, entry, &jobs[i]))) {
            next_ms = jobs[i].due_ms;
            break;
        }
    }
    if (lane->work->read_low.due_ms < next_ms) {
        next_ms = lane->work->read_low.due_ms;
    }
    lane->next_due_ms = next_ms;
    lane->horizon = QUEUE_HORIZON_SEEN;
}

/* Jobs from above the cursor, which stays where it is: it will come to those that are left. */
static void freshened(struct queue *queue, struct queue_lane *lane,
                      const struct queue_job *jobs, size_t count, int64_t now_ms)
{
    for (size_t i = 0; i < count && lane->work->fresh_count < QUEUE_KEPT; i++) {
        struct queue_entry *entry = find(lane, &jobs[i].id);

        if (!find_dead(lane->work, &jobs[i]) && !(jobs[i].flags & QUEUE_JOB_HELD) &&
            is_fresh(&jobs[i], now_ms) && !(entry && told_of_known(queue, entry, &jobs[i]))) {
            (void)learn(queue, lane, &jobs[i], QUEUE_ENTRY_FRESH);
        }
    }
}

void queue_window_page(struct queue *queue, struct queue_lane *lane,
                       const struct queue_job *jobs, size_t count, bool end, int64_t now_ms)
{
    switch (lane->work->reading) {
    case QUEUE_READING_FILL:
        filled(queue, lane, jobs, count, end, now_ms);
        break;
    case QUEUE_READING_FLUSH:
        flushed(queue, lane, jobs, count, end, now_ms);
        break;
    case QUEUE_READING_LOOK:
        looked(queue, lane, jobs, count, end);
        break;
    case QUEUE_READING_FRESH:
        freshened(queue, lane, jobs, count, now_ms);
        break;
    case QUEUE_READING_NONE:
    case QUEUE_READING_SWEEP:
    case QUEUE_READING_VOID:
        break;
    }
}

/* ---- jobs for sessions ------------------------------------------------------------ */

void queue_window_taken(struct queue *queue, struct queue_entry *entry)
{
    move(queue, entry, QUEUE_ENTRY_TAKEN);
}

/* The job is as it was before it was taken. */
static void put_back(struct queue *queue, struct queue_entry *entry)
{
    struct queue_lane *lane = entry->lane;

    if (lane->dest && queue_dest_is_open(lane->dest) &&
        lane->work->window_count < QUEUE_WINDOW) {
        move(queue, entry, QUEUE_ENTRY_WAITING);
    } else {
        let_go(queue, entry);
    }
}

void queue_window_result(struct queue *queue, struct queue_lane *lane,
                         const struct queue_job *job, enum queue_verdict verdict)
{
    struct queue_entry *entry = find(lane, &job->id);

    if (!entry || entry->job.due_ms != job->due_ms) {
        return;
    }
    if (verdict != QUEUE_UNTRIED && lane->work->flush_left > 0 &&
        entry->job.last_try_ms < lane->work->flush_start_ms) {
        lane->work->flush_left--;
    }
    if (entry->state == QUEUE_ENTRY_TAKEN_GONE && entry->beside.due_ms != QUEUE_DUE_NEVER &&
        verdict != QUEUE_UNTRIED && verdict != QUEUE_GONE) {
        /* The operator has moved it meanwhile: the spool settles it under its new key. */
        entry->job = entry->beside;
        entry->beside.due_ms = QUEUE_DUE_NEVER;
        entry->tried = true;
        move(queue, entry, QUEUE_ENTRY_SETTLING);
    } else if (entry->state == QUEUE_ENTRY_TAKEN_GONE) {
        release(queue, entry);
    } else if (entry->state == QUEUE_ENTRY_TAKEN && verdict == QUEUE_UNTRIED) {
        put_back(queue, entry);
    } else if (entry->state == QUEUE_ENTRY_SETTLING && verdict == QUEUE_UNTRIED) {
        let_go(queue, entry);
    } else if (verdict == QUEUE_GONE &&
               (entry->state == QUEUE_ENTRY_TAKEN || entry->state == QUEUE_ENTRY_SETTLING)) {
        release(queue, entry);
    } else if (entry->state == QUEUE_ENTRY_TAKEN) {
        entry->tried = true;
        move(queue, entry, QUEUE_ENTRY_SETTLING);
    }
}

struct queue_entry *queue_window_expire(struct queue *queue, struct queue_lane *lane,
                                        const struct queue_job *job)
{
    struct queue_entry *entry = find(lane, &job->id);

    if (!entry) {
        return learn(queue, lane, job, QUEUE_ENTRY_EXPIRING);
    }
    if (entry->job.due_ms == job->due_ms &&
        (entry->state == QUEUE_ENTRY_WAITING || entry->state == QUEUE_ENTRY_FRESH)) {
        move(queue, entry, QUEUE_ENTRY_EXPIRING);
        return entry;
    }
    return NULL;
}

bool queue_window_next_expired(struct queue *queue, struct queue_action *out)
{
    struct queue_entry *entry;

    while ((entry = queue->expiring) != NULL) {
        struct queue_lane *lane = entry->lane;

        if (!lane->dest) {
            let_go(queue, entry);
            queue_lane_rest(queue, lane);
            continue;
        }
        move(queue, entry, QUEUE_ENTRY_SETTLING);
        *out = (struct queue_action){
            .kind = QUEUE_EXPIRE, .queue = queue_lane_name(lane), .job = entry->job};
        return true;
    }
    return false;
}

void queue_window_drop(struct queue *queue, struct queue_lane *lane, size_t kept)
{
    struct queue_work *work = lane->work;

    if (lane->is_waiting) {
        struct queue_waiting *waiting;

        DL_FOREACH (lane->dest->waiting, waiting) {
            if (waiting->lane == lane) {
                break;
            }
        }
        pn_assert(waiting);
        DL_DELETE(lane->dest->waiting, waiting);
        free(waiting);
        lane->is_waiting = false;
    }
    if (work) {
        while (work->window) {
            release(queue, work->window);
        }
        while (work->fresh_count > kept) {
            release(queue, work->fresh);
        }
        work->flush = QUEUE_FLUSH_NONE;
        work->flush_left = 0;
        work->wants_fresh = false;
        if (work->reading != QUEUE_READING_NONE && work->reading != QUEUE_READING_SWEEP) {
            work->reading = QUEUE_READING_VOID;
        }
    }
    /* Jobs that are not counted yet have their notices still to come, which cover them. */
    lane->cursor = (struct queue_key){0};
    lane->next_due_ms = lane->jobs > 0 ? 0 : QUEUE_DUE_NEVER;
    lane->horizon = lane->jobs > 0 ? QUEUE_HORIZON_UNREAD : QUEUE_HORIZON_SEEN;
    queue_lane_rest(queue, lane);
}

void queue_window_flush(struct queue_lane *lane, int64_t now_ms)
{
    struct queue_work *work = queue_lane_work(lane);

    if (work->reading == QUEUE_READING_FLUSH) {
        work->reading = QUEUE_READING_VOID;
    }
    work->flush = QUEUE_FLUSH_READING;
    work->flush_start_ms = now_ms;
    work->flush_at = lane->cursor;
    work->flush_left = lane->jobs;
    work->wants_fresh = work->fresh_count == 0 && lane->jobs > QUEUE_PAGE;
}
