/*
 * pool.c - warm sessions to destinations that are up, one pool for each worker.
 *
 * For each destination there is a list of sessions, each in one state, and a list of those
 * who wait. Whatever happens marks the destination as due, and a task at the end of the
 * loop's turn moves it as far as it goes: warm sessions to those who have waited longest,
 * new sessions for those who are left, as far as the board allows. So nobody is answered
 * inside a call of his own, and there is one place that decides.
 *
 * The most recently used session is handed out first, so that those that are not needed
 * grow cold. A session that the peer ends is dropped when its ENDED comes; whoever has it
 * until then hears of it as the owner.
 *
 * The board counts over all workers, and stirs the pools of all when one of them waits for a
 * session that others have, and when one is given back. A worker that others wait for
 * keeps no idle session, and no more than its share of the busy ones; else with few sessions
 * and many workers the first would have them all.
 *
 * A session that never became ready is an answer to all who wait, if no other is there that
 * could serve them. The next is tried half a second later at the earliest; also when it was
 * ready but ended before it was of use to anybody, or a peer that says EHLO and hangs up
 * would be asked as fast as it can hang up.
 */
#include "postern/outbound/pool.h"

#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdatomic.h>
#include <string.h>

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>
#include <utlist.h>

#define TICK_MS       PN_SECONDS(1) /* how often an idle session looks at the board */
#define RETRY_MS      500
#define RESET_MS      PN_SECONDS(10)
#define WINDOW_OCTETS (1u << 20)

enum entry_state {
    ENTRY_OPENING,
    ENTRY_WARM,
    ENTRY_LENT,      /* the asker's */
    ENTRY_RESETTING, /* put back, and not clean */
    ENTRY_LEAVING,   /* QUIT was said */
};

struct entry {
    struct entry *prev, *next;
    struct place *place;
    struct out_session *session;
    enum entry_state state;
    struct pn_timer tick; /* while warm */
    struct pn_mono since;
    bool used;   /* it was handed out */
    bool proved; /* and came back in good order */
};

struct waiting {
    struct waiting *prev, *next;
    struct place *place;
    struct out_pool_request *request;
    struct conf *conf;
    struct conf_domain *domain;
    struct pn_timer deadline;
    bool refused; /* too many wait: it is in the other list */
};

/* One destination. */
struct place {
    struct out_pool *pool;
    char *destination;
    struct entry *entries; /* the most recently used first */
    size_t entry_count;
    struct waiting *waiting, *refused;
    size_t waiting_count;
    unsigned limit; /* as the last asker's domain has it */
    bool wants;     /* the board was told so */
    bool patient;   /* none is opened before `retry` fires */
    struct pn_timer retry;
    bool due;
    struct place *next_due;
    UT_hash_handle hh;
};

struct out_pool {
    struct out_deps deps;
    struct out_board *board;
    struct place *places; /* by destination */
    struct place *due;
    struct loop_task step;
    bool step_pending;
    struct out_board_listener listener;
    struct loop_task stir; /* posted by whoever changed the board */
    atomic_bool stir_posted;
    bool freed; /* only the tasks that are still to come know this pool */
};

static out_event_fn on_event;

static struct pn_str name_of(const struct place *place)
{
    return pn_str_z(place->destination);
}

static void mark_due(struct place *place)
{
    struct out_pool *pool = place->pool;

    if (!place->due) {
        place->due = true;
        LL_APPEND2(pool->due, place, next_due);
    }
    if (!pool->step_pending) {
        pool->step_pending = true;
        loop_defer(pool->deps.loop, &pool->step);
    }
}

static void on_retry(struct pn_timer *timer)
{
    struct place *place = PN_CONTAINER(timer, struct place, retry);

    place->patient = false;
    mark_due(place);
}

static void be_patient(struct place *place, int64_t duration_ms)
{
    place->patient = true;
    loop_timer_after(place->pool->deps.loop, &place->retry, duration_ms);
}

static struct place *get_place(struct out_pool *pool, const char *destination)
{
    struct place *place;

    HASH_FIND_STR(pool->places, destination, place);
    if (!place) {
        place = PN_NEW(struct place);
        place->pool = pool;
        place->destination = pn_strdup(destination);
        place->retry.on_fire = on_retry;
        HASH_ADD_KEYPTR(hh, pool->places, place->destination, strlen(destination), place);
    }
    return place;
}

static void say_wanted(struct place *place, bool wants)
{
    if (place->wants != wants) {
        place->wants = wants;
        out_board_want_session(place->pool->board, name_of(place), wants);
    }
}

static void free_place(struct place *place)
{
    pn_assert(!place->entries && !place->waiting && !place->refused);
    say_wanted(place, false);
    loop_timer_stop(place->pool->deps.loop, &place->retry);
    HASH_DEL(place->pool->places, place);
    free(place->destination);
    free(place);
}

/* ---- those who wait ---- */

static void forget(struct waiting *waiting)
{
    struct place *place = waiting->place;

    if (waiting->refused) {
        DL_DELETE(place->refused, waiting);
    } else {
        DL_DELETE(place->waiting, waiting);
        place->waiting_count--;
    }
    waiting->request->pending = NULL;
    loop_timer_stop(place->pool->deps.loop, &waiting->deadline);
    conf_unref(&waiting->conf);
    conf_domain_unref(&waiting->domain);
    free(waiting);
    mark_due(place);
}

/* The asker may do anything in its answer but free the pool. */
static void answer(struct waiting *waiting, struct out_session *session, struct pn_str reason)
{
    struct out_pool_request *request = waiting->request;

    forget(waiting);
    request->on_session(request->owner, session, reason);
}

/* Those who wait now; who asks again in its answer waits anew. */
static void answer_all(struct place *place, struct pn_str reason)
{
    for (size_t left = place->waiting_count; left > 0 && place->waiting; left--) {
        answer(place->waiting, NULL, reason);
    }
}

static void on_deadline(struct pn_timer *timer)
{
    answer(PN_CONTAINER(timer, struct waiting, deadline), NULL,
           PN_STR("no session to the next hop was to be had in time"));
}

void out_pool_get(struct out_pool *pool, struct out_pool_request *request, struct conf *conf,
                  struct conf_domain *domain, int64_t wait_ms)
{
    struct place *place = get_place(pool, domain->destination);
    struct waiting *waiting = PN_NEW(struct waiting);

    pn_assert(!request->pending && !pool->freed);
    request->pending = waiting;
    waiting->place = place;
    waiting->request = request;
    waiting->conf = conf_ref(conf);
    waiting->domain = conf_domain_ref(domain);
    waiting->deadline.on_fire = on_deadline;
    waiting->refused = place->waiting_count >= OUT_POOL_WAITING_MAX;
    if (waiting->refused) {
        DL_APPEND(place->refused, waiting);
    } else {
        DL_APPEND(place->waiting, waiting);
        place->waiting_count++;
        loop_timer_after(pool->deps.loop, &waiting->deadline, wait_ms);
    }
    place->limit = domain->sessions > 1 ? (unsigned)domain->sessions : 1;
    mark_due(place);
}

void out_pool_cancel(struct out_pool *pool, struct out_pool_request *request)
{
    (void)pool;
    if (request->pending) {
        forget(request->pending);
    }
}

/* ---- sessions ---- */

static size_t count_state(const struct place *place, enum entry_state state)
{
    size_t count = 0;

    for (const struct entry *e = place->entries; e; e = e->next) {
        count += e->state == state;
    }
    return count;
}

static void drop(struct entry *entry)
{
    struct place *place = entry->place;

    DL_DELETE(place->entries, entry);
    place->entry_count--;
    loop_timer_stop(place->pool->deps.loop, &entry->tick);
    out_session_free(&entry->session);
    free(entry);
    out_board_give_session(place->pool->board, name_of(place));
    mark_due(place);
}

static void leave(struct entry *entry)
{
    loop_timer_stop(entry->place->pool->deps.loop, &entry->tick);
    entry->state = ENTRY_LEAVING;
    out_session_quit(entry->session);
}

/* How many other workers wait for a session to this destination. */
static unsigned others_want(const struct place *place)
{
    return out_board_wanted(place->pool->board, name_of(place)) - (place->wants ? 1 : 0);
}

static void on_tick(struct pn_timer *timer)
{
    struct entry *entry = PN_CONTAINER(timer, struct entry, tick);
    struct loop *loop = entry->place->pool->deps.loop;

    if (loop->now.ms - entry->since.ms >= OUT_POOL_IDLE_MS) {
        leave(entry);
        return;
    }
    loop_timer_after(loop, timer, TICK_MS);
    if (others_want(entry->place) > 0) {
        mark_due(entry->place);
    }
}

static void become_warm(struct entry *entry)
{
    struct place *place = entry->place;
    struct loop *loop = place->pool->deps.loop;

    entry->proved = entry->used;
    DL_DELETE(place->entries, entry);
    DL_PREPEND(place->entries, entry);
    entry->state = ENTRY_WARM;
    entry->since = loop->now;
    loop_timer_after(loop, &entry->tick, TICK_MS);
    out_session_live_timeout(entry->session, 0);
    mark_due(place);
}

static void open_session(struct place *place)
{
    struct out_pool *pool = place->pool;
    struct entry *entry = PN_NEW(struct entry);
    struct out_options options = {.conf = place->waiting->conf,
                                  .domain = place->waiting->domain,
                                  .window_mails = 1,
                                  .window_octets = WINDOW_OCTETS};

    entry->place = place;
    entry->tick.on_fire = on_tick;
    entry->state = ENTRY_OPENING;
    entry->session = out_session_new(&pool->deps, &options, on_event, entry);
    DL_APPEND(place->entries, entry);
    place->entry_count++;
}

/* Is there a session that those who wait may still get? */
static bool has_hope(const struct place *place, const struct entry *but)
{
    for (const struct entry *e = place->entries; e; e = e->next) {
        if (e != but && e->state != ENTRY_LEAVING) {
            return true;
        }
    }
    return false;
}

/* Only the end of a session that those who wait have hoped for is anybody's business. */
static void on_ended(struct entry *entry, const struct out_event *event)
{
    struct place *place = entry->place;

    if (entry->state == ENTRY_OPENING ||
        (entry->state == ENTRY_WARM && !entry->used && place->waiting)) {
        be_patient(place, RETRY_MS);
        out_board_doubt(place->pool->board, name_of(place));
        if (!has_hope(place, entry)) {
            answer_all(place, event->reason);
        }
    }
    drop(entry);
}

static void on_event(struct out_session *session, void *owner)
{
    struct entry *entry = owner;
    struct out_event event;

    while (out_session_next(session, &event)) {
        if (event.kind == OUT_EV_READY) {
            out_board_set_capabilities(entry->place->pool->board, name_of(entry->place),
                                       out_session_capabilities(session),
                                       out_session_size_limit(session));
            become_warm(entry);
        } else if (event.kind == OUT_EV_LIVE && smtp_reply_ok(&event.reply)) {
            become_warm(entry);
        } else if (event.kind == OUT_EV_ENDED) {
            on_ended(entry, &event);
            return;
        }
    }
}

static struct entry *find_lent(struct out_pool *pool, const struct out_session *session)
{
    struct place *place = get_place(pool, session->options.domain->destination);
    struct entry *entry = place->entries;

    while (entry && entry->session != session) {
        entry = entry->next;
    }
    pn_assert(entry && entry->state == ENTRY_LENT);
    return entry;
}

void out_pool_put(struct out_pool *pool, struct out_session *session, bool clean)
{
    struct entry *entry = find_lent(pool, session);

    out_session_own(session, on_event, entry);
    if (clean && out_live_clean(session) && !out_session_identified(session)) {
        become_warm(entry);
    } else if (out_live_may_reset(session) && out_session_identified(session)) {
        leave(entry);
    } else if (out_live_may_reset(session)) {
        entry->state = ENTRY_RESETTING;
        out_session_live_timeout(session, RESET_MS);
        out_session_live_reset(session);
    } else {
        if (!entry->proved && session->state == OUT_ENDED && !out_session_identified(session)) {
            be_patient(entry->place, RETRY_MS);
        }
        drop(entry);
    }
}

/* ---- what goes where ---- */

/* One that has ended stays where it is until its ENDED comes. */
static struct entry *find_warm(const struct place *place)
{
    struct entry *entry = place->entries;

    while (entry && (entry->state != ENTRY_WARM || !out_live_clean(entry->session))) {
        entry = entry->next;
    }
    return entry;
}

static void hand_out(struct entry *entry, struct waiting *waiting)
{
    entry->state = ENTRY_LENT;
    entry->used = true;
    loop_timer_stop(entry->place->pool->deps.loop, &entry->tick);
    out_session_own(entry->session, waiting->request->on_event, waiting->request->owner);
    answer(waiting, entry->session, PN_STR(""));
}

/* One at a time: it may be that one is enough. The others look again before we do. */
static void share(struct place *place)
{
    unsigned others = others_want(place);
    struct entry *warm = others > 0 ? find_warm(place) : NULL;

    if (warm && count_state(place, ENTRY_LEAVING) == 0 &&
        (!place->waiting || (warm->used && place->entry_count > place->limit / (1 + others)))) {
        leave(warm);
        if (place->waiting) {
            be_patient(place, 2 * RETRY_MS);
        }
        say_wanted(place, place->waiting);
    }
}

static void open_sessions(struct place *place)
{
    size_t coming = count_state(place, ENTRY_OPENING) + count_state(place, ENTRY_RESETTING);
    bool refused = false;

    while (!place->patient && !refused && place->waiting_count > coming) {
        refused = !out_board_take_session(place->pool->board, name_of(place), place->limit);
        if (!refused) {
            open_session(place);
            coming++;
        }
    }
    if (!place->patient || !place->waiting) {
        say_wanted(place, refused);
    }
    if (refused) {
        loop_timer_after(place->pool->deps.loop, &place->retry, RETRY_MS);
    }
}

static void step_place(struct place *place)
{
    struct entry *warm;

    while (place->refused) {
        answer(place->refused, NULL, PN_STR("too many wait for a session to the next hop"));
    }
    share(place);
    while (place->waiting && (warm = find_warm(place))) {
        hand_out(warm, place->waiting);
    }
    open_sessions(place);
    if (!place->due && !place->entries && !place->waiting && !place->patient) {
        free_place(place);
    }
}

/* The last of the tasks that know a pool which was freed. */
static void free_when_unknown(struct out_pool *pool)
{
    if (!pool->step_pending && !atomic_load(&pool->stir_posted)) {
        free(pool);
    }
}

static void on_step(struct loop_task *task)
{
    struct out_pool *pool = PN_CONTAINER(task, struct out_pool, step);

    pool->step_pending = false;
    if (pool->freed) {
        free_when_unknown(pool);
        return;
    }
    while (pool->due) {
        struct place *place = pool->due;

        LL_DELETE2(pool->due, place, next_due);
        place->due = false;
        step_place(place);
    }
}

/* On any thread. */
static void on_board_change(void *owner)
{
    struct out_pool *pool = owner;

    if (!atomic_exchange(&pool->stir_posted, true) &&
        !loop_post(pool->deps.loop, &pool->stir)) {
        atomic_store(&pool->stir_posted, false);
    }
}

/* Looks at the destinations that others want, and at those that somebody here waits for. */
static void on_stir(struct loop_task *task)
{
    struct out_pool *pool = PN_CONTAINER(task, struct out_pool, stir);

    atomic_store(&pool->stir_posted, false);
    if (pool->freed) {
        free_when_unknown(pool);
        return;
    }
    for (struct place *place = pool->places; place; place = place->hh.next) {
        if (place->waiting || others_want(place) > 0) {
            mark_due(place);
        }
    }
}

/* ---- life ---- */

struct out_pool *out_pool_new(const struct out_deps *deps, struct out_board *board)
{
    struct out_pool *pool = PN_NEW(struct out_pool);

    pool->deps = *deps;
    pool->board = board;
    pool->step.on_run = on_step;
    pool->stir.on_run = on_stir;
    atomic_init(&pool->stir_posted, false);
    pool->listener = (struct out_board_listener){.on_change = on_board_change, .owner = pool};
    out_board_listen(board, &pool->listener);
    return pool;
}

static void empty_place(struct place *place)
{
    while (place->refused) {
        answer(place->refused, NULL, PN_STR("the daemon stops"));
    }
    while (place->waiting) {
        answer(place->waiting, NULL, PN_STR("the daemon stops"));
    }
    while (place->entries) {
        pn_assert(place->entries->state != ENTRY_LENT);
        drop(place->entries);
    }
}

void out_pool_free(struct out_pool **pool)
{
    struct out_pool *p = *pool;
    struct place *place;
    struct place *next;

    if (!p) {
        return;
    }
    *pool = NULL;
    p->freed = true;
    out_board_unlisten(p->board, &p->listener);
    for (place = p->places; place; place = place->hh.next) {
        empty_place(place);
    }
    HASH_ITER (hh, p->places, place, next) {
        free_place(place);
    }
    free_when_unknown(p);
}
