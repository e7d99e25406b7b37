/*
 * One heap of events on a virtual clock. A queue_action becomes an event some time later,
 * an event becomes a fact for the scheduler.
 */
#include "helper_world.h"

enum event_kind { READ_NOW, PAGE, NOTICE, OPENED, DELIVERED, SETTLE, PROBED };

struct world_session {
    struct world_session *next;
    uint64_t id;
    bool ready, over, has_work, chosen;
    struct pn_ip client;
    struct queue_job jobs[WORLD_BATCH];
    struct stored *stored[WORLD_BATCH];
    char lane[32];
    size_t count, at;
};

struct event {
    struct pn_heap_node node;
    enum event_kind kind;
    char name[32];
    uint64_t session;
    struct queue_job from, job;
    int64_t until_ms;
    size_t limit;
    struct queue_job *jobs;
    size_t count;
    bool end, added, keep, expired;
};

static int64_t some_delay(struct world *world)
{
    return world->delay_ms > 0
               ? (int64_t)pn_rand_below(&world->rand, (uint64_t)world->delay_ms + 1)
               : 0;
}

static struct event *post(struct world *world, enum event_kind kind, const char *name,
                          int64_t at_ms)
{
    struct event *event = PN_NEW(struct event);

    event->kind = kind;
    memcpy(event->name, name, strnlen(name, sizeof event->name - 1));
    pn_heap_set(&world->events, &event->node, at_ms);
    return event;
}

void world_open(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    pn_rand_init(&world->rand, seed);
    pn_heap_init(&world->events);
    world->now_ms = WORLD_START;
    world->options = (struct queue_options){.probe_min_ms = PN_SECONDS(5),
                                            .probe_max_ms = PN_SECONDS(60),
                                            .probe_rate = 300,
                                            .in_doubt_ms = PN_MINUTES(10),
                                            .seed = seed};
    world->definition = (struct queue_definition){.sessions = 20,
                                                  .messages_per_session = 100,
                                                  .retry_min_ms = PN_MINUTES(5),
                                                  .retry_max_ms = PN_MINUTES(30),
                                                  .hold_ms = PN_DAYS(14)};
    world->peer = (struct peer){.up = true, .answer_ms = 20, .took_ms = 20};
    world->queue = queue_new(&world->options);
}

void world_close(struct world *world)
{
    struct pn_heap_node *node;

    queue_free(&world->queue);
    while ((node = pn_heap_first(&world->events)) != NULL) {
        struct event *event = PN_CONTAINER(node, struct event, node);

        pn_heap_remove(&world->events, node);
        free(event->jobs);
        free(event);
    }
    pn_heap_fini(&world->events);
    while (world->sessions) {
        struct world_session *next = world->sessions->next;

        free(world->sessions);
        world->sessions = next;
    }
    for (size_t i = 0; i < WORLD_LANES; i++) {
        free(world->lanes[i].by_key);
    }
    for (size_t i = 0; i < world->all_count; i++) {
        free(world->all[i]);
    }
    free(world->all);
    free(world->seen);
}

void world_define(struct world *world, const char *lane, const char *destination)
{
    struct queue_definition definition = world->definition;

    definition.destination = destination;
    queue_define(world->queue, pn_str_z(lane), destination ? &definition : NULL, world->now_ms);
}

/* ---- the spool -------------------------------------------------------------------- */

static struct lane *lane_of(struct world *world, const char *name)
{
    for (size_t i = 0; i < WORLD_LANES; i++) {
        if (world->lanes[i].name[0] == '\0') {
            memcpy(world->lanes[i].name, name, strlen(name));
        }
        if (strcmp(world->lanes[i].name, name) == 0) {
            return &world->lanes[i];
        }
    }
    abort();
}

static int cmp(const struct queue_job *a, const struct queue_job *b)
{
    return a->due_ms != b->due_ms ? (a->due_ms < b->due_ms ? -1 : 1)
                                  : pn_id_cmp(&a->id, &b->id);
}

/* The first place whose key is not below the job's. */
static size_t place(const struct lane *lane, const struct queue_job *job)
{
    size_t low = 0, high = lane->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (cmp(&lane->by_key[middle]->job, job) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct stored *on_disk(const struct lane *lane, const struct queue_job *job)
{
    size_t at = place(lane, job);

    return at < lane->count && cmp(&lane->by_key[at]->job, job) == 0 ? lane->by_key[at] : NULL;
}

static void put(struct lane *lane, struct stored *stored)
{
    size_t at = place(lane, &stored->job);

    if (lane->count == lane->cap) {
        lane->cap = lane->cap * 2 + 64;
        lane->by_key = pn_realloc(lane->by_key, lane->cap * sizeof *lane->by_key);
    }
    memmove(lane->by_key + at + 1, lane->by_key + at,
            (lane->count - at) * sizeof *lane->by_key);
    lane->by_key[at] = stored;
    lane->count++;
}

static void cut(struct lane *lane, const struct queue_job *job)
{
    size_t at = place(lane, job);

    memmove(lane->by_key + at, lane->by_key + at + 1,
            (lane->count - at - 1) * sizeof *lane->by_key);
    lane->count--;
}

static void notify(struct world *world, const char *lane, const struct queue_job *job,
                   bool added)
{
    int64_t at_ms = world->now_ms + some_delay(world);
    struct event *event;

    at_ms = at_ms > world->last_notice_ms ? at_ms : world->last_notice_ms;
    world->last_notice_ms = at_ms;
    event = post(world, NOTICE, lane, at_ms);
    event->job = *job;
    event->added = added;
}

struct queue_job world_job(struct world *world, int64_t due_ms)
{
    return (struct queue_job){
        .id = pn_id_make((struct pn_wall){world->now_ms}, &world->rand),
        .due_ms = due_ms,
        .arrival_ms = world->now_ms,
        .size_octets = 1000,
        .recipients = 1,
    };
}

struct stored *world_preset(struct world *world, const char *lane, struct queue_job job)
{
    struct stored *stored = PN_NEW(struct stored);

    stored->job = job;
    if (world->all_count == world->all_cap) {
        world->all_cap = world->all_cap * 2 + 64;
        world->all = pn_realloc(world->all, world->all_cap * sizeof(struct stored *));
    }
    world->all[world->all_count++] = stored;
    put(lane_of(world, lane), stored);
    return stored;
}

void world_counted(struct world *world, const char *lane)
{
    queue_counted(world->queue, pn_str_z(lane), lane_of(world, lane)->count,
                  lane_of(world, lane)->count * 1000, 0, world->now_ms);
}

struct stored *world_add_job(struct world *world, const char *lane, struct queue_job job)
{
    struct stored *stored = world_preset(world, lane, job);

    notify(world, lane, &stored->job, true);
    return stored;
}

struct stored *world_add(struct world *world, const char *lane, int64_t due_ms)
{
    return world_add_job(world, lane, world_job(world, due_ms));
}

void world_delete(struct world *world, const char *name, struct stored *stored)
{
    struct lane *lane = lane_of(world, name);

    if (on_disk(lane, &stored->job) == stored) {
        cut(lane, &stored->job);
        notify(world, name, &stored->job, false);
    }
}

void world_move(struct world *world, const char *name, struct stored *stored, int64_t due_ms,
                unsigned flags)
{
    struct lane *lane = lane_of(world, name);

    if (on_disk(lane, &stored->job) == stored) {
        world_delete(world, name, stored);
        stored->job.due_ms = due_ms;
        stored->job.flags = flags;
        put(lane, stored);
        notify(world, name, &stored->job, true);
    }
}

static void read_now(struct world *world, const struct event *event)
{
    struct lane *lane = lane_of(world, event->name);
    size_t from = place(lane, &event->from), count = 0;
    struct event *page = post(world, PAGE, event->name, world->now_ms + some_delay(world));

    while (from + count < lane->count && count < event->limit &&
           lane->by_key[from + count]->job.due_ms <= event->until_ms) {
        count++;
    }
    page->jobs = pn_alloc_array(count, sizeof *page->jobs);
    for (size_t i = 0; i < count; i++) {
        page->jobs[i] = lane->by_key[from + i]->job;
    }
    page->count = count;
    page->end =
        from + count == lane->count || lane->by_key[from + count]->job.due_ms > event->until_ms;
    lane->reads++;
}

static void settle_now(struct world *world, const struct event *event)
{
    struct lane *lane = lane_of(world, event->name);
    struct stored *stored = on_disk(lane, &event->from);

    if (!stored) {
        return;
    }
    cut(lane, &event->from);
    notify(world, event->name, &event->from, false);
    stored->expired += event->expired;
    if (event->keep && !event->expired) {
        stored->job = event->job;
        put(lane, stored);
        notify(world, event->name, &stored->job, true);
    }
}

static void settle(struct world *world, const char *lane, const struct queue_job *before,
                   const struct queue_job *now, bool keep, bool expired)
{
    struct event *event = post(world, SETTLE, lane, world->now_ms + some_delay(world));

    event->from = *before;
    event->job = *now;
    event->keep = keep;
    event->expired = expired;
}

/* ---- peers ------------------------------------------------------------------------ */

static struct world_session *session_of(struct world *world, uint64_t id)
{
    struct world_session *session = world->sessions;

    while (session && session->id != id) {
        session = session->next;
    }
    return session;
}

static void end_session(struct world *world, struct world_session *session, enum queue_end end)
{
    if (session->over) {
        return;
    }
    session->over = true;
    world->peer.sessions--;
    world->peer.ready -= session->ready;
    queue_session_ended(world->queue, session->id, end, PN_STR("the peer said so"),
                        world->now_ms);
}

static void take(struct world *world, struct world_session *session)
{
    struct pn_str lane = {0};
    bool close = false, doubt = false;

    session->count = queue_take(world->queue, session->id, WORLD_BATCH, session->jobs, &lane,
                                &close, world->now_ms);
    session->at = 0;
    session->has_work = session->count > 0;
    if (close) {
        assert_int_equal(session->count, 0);
        end_session(world, session, QUEUE_END_CLEAN);
    }
    if (session->count == 0) {
        return;
    }
    memset(session->lane, 0, sizeof session->lane);
    memcpy(session->lane, lane.ptr, lane.len);
    for (size_t i = 0; i < session->count; i++) {
        struct stored *stored = on_disk(lane_of(world, session->lane), &session->jobs[i]);

        doubt = doubt || (session->jobs[i].flags & QUEUE_JOB_IN_DOUBT);
        if (stored) {
            assert_false(stored->with_session);
            stored->with_session = true;
            stored->tried++;
            stored->first_try_ms = stored->tried == 1 ? world->now_ms : stored->first_try_ms;
        }
        session->stored[i] = stored;
        if (world->peer.xclient && !session->chosen) {
            session->chosen = true;
            session->client = session->jobs[i].client;
        }
        assert_true(!session->chosen || pn_ip_eq(&session->client, &session->jobs[i].client));
        if (world->order_len < sizeof world->order) {
            world->order[world->order_len++] = session->lane[0];
        }
    }
    world->doubts_with_others += doubt && session->count > 1;
    post(world, DELIVERED, "", world->now_ms + world->peer.took_ms)->session = session->id;
}

static void opened(struct world *world, struct world_session *session)
{
    struct peer *peer = &world->peer;

    if (!peer->up || (peer->most > 0 && peer->ready >= peer->most)) {
        peer->turned_away += peer->up;
        end_session(world, session, QUEUE_END_FAILED);
        return;
    }
    session->ready = true;
    if (peer->xclient) {
        queue_session_by_client(world->queue, session->id);
    }
    if (peer->nobody) {
        queue_session_refuses(world->queue, session->id);
    }
    peer->ready++;
    peer->most_seen = peer->ready > peer->most_seen ? peer->ready : peer->most_seen;
    queue_session_ready(world->queue, session->id, world->now_ms);
    take(world, session);
}

static enum queue_verdict judge_job(struct world *world, const struct stored *stored)
{
    if (stored && world->now_ms - stored->first_try_ms < world->peer.greylist_ms) {
        return QUEUE_LATER;
    }
    if (world->peer.first_laters > 0) {
        world->peer.first_laters--;
        return QUEUE_LATER;
    }
    if (pn_rand_below(&world->rand, 1000) < world->peer.untried_permille) {
        return QUEUE_UNTRIED;
    }
    return pn_rand_below(&world->rand, 1000) < world->peer.later_permille ? QUEUE_LATER
                                                                          : QUEUE_DONE;
}

static void tell_result(struct world *world, struct world_session *session,
                        enum queue_verdict verdict)
{
    struct queue_job *job = &session->jobs[session->at];
    struct lane *lane = lane_of(world, session->lane);
    struct stored *stored = on_disk(lane, job);
    struct queue_decision decision;

    if (session->stored[session->at]) {
        session->stored[session->at]->with_session = false;
    }
    if (!stored && verdict != QUEUE_UNTRIED) {
        verdict = QUEUE_GONE;
        world->gone++;
    }
    if (verdict == QUEUE_DONE &&
        pn_rand_below(&world->rand, 1000) < world->peer.refused_permille) {
        world->peer.refused++;
        queue_refused(world->queue, session->id, PN_STR(""), 1, world->peer.refuses_known,
                      world->now_ms);
    }
    decision = queue_result(world->queue, session->id, pn_str_z(session->lane), job, verdict,
                            world->peer.took_ms, world->now_ms);
    if (verdict == QUEUE_DONE) {
        stored->delivered++;
        lane->done++;
        world->peer.done++;
        stored->done_ms = world->now_ms;
        stored->place = world->peer.done;
    }
    assert_int_equal(decision.settle, verdict != QUEUE_UNTRIED && verdict != QUEUE_GONE);
    if (decision.settle) {
        settle(world, session->lane, job, &decision.job, verdict != QUEUE_DONE,
               decision.expired);
    }
    session->at++;
}

static void delivered(struct world *world, struct world_session *session)
{
    struct peer *peer = &world->peer;
    bool disliked = peer->xclient && peer->hates_clients;
    bool dies = !peer->up || peer->accepts_only || disliked ||
                pn_rand_below(&world->rand, 1000) < peer->lost_permille;

    if (dies && peer->spoils_doubt) {
        tell_result(world, session, QUEUE_IN_DOUBT);
    }
    while (dies && session->at < session->count) {
        tell_result(world, session, QUEUE_UNTRIED);
    }
    if (dies) {
        end_session(world, session, disliked ? QUEUE_END_CLIENT : QUEUE_END_LOST);
        return;
    }
    tell_result(world, session, judge_job(world, session->stored[session->at]));
    if (session->at < session->count) {
        post(world, DELIVERED, "", world->now_ms + peer->took_ms)->session = session->id;
    } else {
        take(world, session);
    }
}

/* ---- the loop --------------------------------------------------------------------- */

static void happen(struct world *world, struct event *event)
{
    struct pn_str name = pn_str_z(event->name);

    switch (event->kind) {
    case READ_NOW:
        read_now(world, event);
        break;
    case PAGE:
        queue_page(world->queue, name, world->spool_fails ? PN_EIO : 0, event->jobs,
                   event->count, event->end, world->now_ms);
        break;
    case NOTICE:
        if (event->added) {
            queue_job_added(world->queue, name, &event->job, world->now_ms);
        } else {
            queue_job_removed(world->queue, name, &event->job, world->now_ms);
        }
        break;
    case OPENED:
        opened(world, session_of(world, event->session));
        break;
    case DELIVERED:
        delivered(world, session_of(world, event->session));
        break;
    case SETTLE:
        settle_now(world, event);
        break;
    case PROBED:
        queue_probed(world->queue, name,
                     !world->peer.up      ? QUEUE_PROBE_AWAY
                     : world->peer.nobody ? QUEUE_PROBE_REFUSES
                                          : QUEUE_PROBE_BACK,
                     PN_STR("probed"), world->now_ms);
        break;
    }
}

static void note(struct world *world, const struct queue_action *action)
{
    struct pn_str name = action->destination.len > 0 ? action->destination : action->queue;
    struct seen *seen;

    if (world->seen_count == world->seen_cap) {
        world->seen_cap = world->seen_cap * 2 + 256;
        world->seen = pn_realloc(world->seen, world->seen_cap * sizeof(struct seen));
    }
    seen = &world->seen[world->seen_count++];
    *seen = (struct seen){.at_ms = world->now_ms, .action = *action};
    memcpy(seen->name, name.ptr, name.len < 31 ? name.len : 31);
}

static void start_session(struct world *world, uint64_t id)
{
    struct world_session *session = PN_NEW(struct world_session);

    session->id = id;
    session->next = world->sessions;
    world->sessions = session;
    world->peer.sessions++;
    post(world, OPENED, "", world->now_ms + world->peer.answer_ms)->session = id;
}

static void follow(struct world *world, const struct queue_action *action)
{
    char name[32] = {0};
    struct event *event;
    struct world_session *session;

    memcpy(name, action->queue.ptr ? action->queue.ptr : "", action->queue.len);
    switch (action->kind) {
    case QUEUE_READ:
        assert_in_range(action->limit, 1, QUEUE_PAGE);
        event = post(world, READ_NOW, name, world->now_ms + some_delay(world));
        event->from.due_ms = action->from_due_ms;
        event->from.id = action->from_id;
        event->until_ms = action->until_ms;
        event->limit = action->limit;
        break;
    case QUEUE_OPEN:
        start_session(world, action->session);
        break;
    case QUEUE_WAKE:
        session = session_of(world, action->session);
        assert_true(session->ready && !session->over && !session->has_work);
        take(world, session);
        break;
    case QUEUE_PROBE:
        memset(name, 0, sizeof name);
        memcpy(name, action->destination.ptr, action->destination.len);
        (void)post(world, PROBED, name, world->now_ms + world->peer.answer_ms);
        break;
    case QUEUE_EXPIRE:
        settle(world, name, &action->job, &action->job, false, true);
        break;
    case QUEUE_STATE:
        world->returns +=
            !action->nobody && (action->state == QUEUE_RAMP || action->state == QUEUE_UP);
        break;
    }
}

void world_run(struct world *world, int64_t for_ms)
{
    int64_t end_ms = world->now_ms + for_ms;

    for (;;) {
        struct pn_heap_node *node;
        struct queue_action action;
        int64_t again_ms = 0;
        unsigned steps = 0;

        while (queue_next(world->queue, world->now_ms, &action, &again_ms)) {
            assert_true(++steps < 200000);
            note(world, &action);
            follow(world, &action);
        }
        assert_true(again_ms > world->now_ms);
        node = pn_heap_first(&world->events);
        if (node && node->key <= world->now_ms) {
            struct event *event = PN_CONTAINER(node, struct event, node);

            pn_heap_remove(&world->events, node);
            happen(world, event);
            free(event->jobs);
            free(event);
            continue;
        }
        if (node && node->key < again_ms) {
            again_ms = node->key;
        }
        if (again_ms > end_ms) {
            break;
        }
        world->now_ms = again_ms;
    }
    world->now_ms = end_ms;
}

/* ---- looking ---------------------------------------------------------------------- */

size_t world_on_disk(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < WORLD_LANES; i++) {
        count += world->lanes[i].count;
    }
    return count;
}

const struct seen *world_find(const struct world *world, enum queue_action_kind kind,
                              int64_t from_ms)
{
    for (size_t i = 0; i < world->seen_count; i++) {
        if (world->seen[i].action.kind == kind && world->seen[i].at_ms >= from_ms) {
            return &world->seen[i];
        }
    }
    return NULL;
}

size_t world_count(const struct world *world, enum queue_action_kind kind, int64_t from_ms,
                   int64_t to_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < world->seen_count; i++) {
        count += world->seen[i].action.kind == kind && world->seen[i].at_ms >= from_ms &&
                 world->seen[i].at_ms < to_ms;
    }
    return count;
}

struct queue_destination_status world_dest(const struct world *world, const char *destination)
{
    struct queue_destination_status status = {0};

    assert_true(
        queue_get_destination(world->queue, pn_str_z(destination), world->now_ms, &status));
    return status;
}

enum queue_state world_state(const struct world *world, const char *destination)
{
    return world_dest(world, destination).state;
}

struct queue_status world_lane(const struct world *world, const char *lane)
{
    struct queue_status status = {0};

    assert_true(queue_get_status(world->queue, pn_str_z(lane), world->now_ms, &status));
    return status;
}
