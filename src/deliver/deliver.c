/*
 * deliver/deliver.c - the main loop's side of delivery: facts in, actions out.
 *
 * Every input (a notice, a page, a report, a timer) is handed to the scheduler at once, and
 * the scheduler is asked what to do once in each turn of the loop, however many inputs the
 * turn had. So a burst of ten thousand notices costs one look, and no action is taken on
 * half of the facts.
 *
 * A session is a slot here and a struct on its worker. The slot is made with the OPEN
 * order and goes with the ENDED report; orders to a session that has just ended find
 * nobody on the worker, which answers their jobs as untried.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/choose.h"

void deliver_order_free(struct deliver_order *order)
{
    conf_unref(&order->conf);
    conf_domain_unref(&order->domain);
    free(order->queue);
    free(order);
}

struct deliver_result *deliver_result_new(struct pn_str queue, const struct queue_job *job,
                                          enum queue_verdict verdict,
                                          struct spool_message *message)
{
    struct deliver_result *result = PN_NEW(struct deliver_result);
    size_t n = message ? message->recipient_count : 0;

    pn_arena_init(&result->arena, queue.len + 64 + n * 2 * SPOOL_REPLY_MAX);
    pn_assert(pn_arena_copy(&result->arena, queue, &result->queue) == 0);
    result->job = *job;
    result->verdict = verdict;
    result->message = message;
    if (n > 0) {
        result->fates = pn_alloc_array(n, sizeof *result->fates);
        result->reasons = pn_alloc_array(n, sizeof *result->reasons);
    }
    return result;
}

void deliver_result_free(struct deliver_result *result)
{
    spool_message_free(&result->message);
    free(result->fates);
    free(result->reasons);
    pn_arena_fini(&result->arena);
    free(result);
}

const struct queue *deliver_queue(const struct deliver *deliver)
{
    return deliver->queue;
}

int64_t deliver_now_ms(const struct deliver *deliver)
{
    return queue_clock_now(deliver->deps.clock, deliver->deps.out->loop->now);
}

void deliver_soon(struct deliver *deliver)
{
    if (!deliver->step_waits && deliver->state != DELIVER_STOPPED) {
        deliver->step_waits = true;
        loop_defer(deliver->deps.out->loop, &deliver->step_task);
    }
}

const struct conf_domain *deliver_domain(struct deliver *deliver, struct pn_str queue)
{
    return route_queue_kind(queue) == CONF_QUEUE_DOMAIN
               ? domains_find_exact(deliver->domains, queue)
               : deliver_named_domain(deliver, queue);
}

/* ---- orders ------------------------------------------------------------------------ */

static struct deliver_order *order_new(struct deliver *deliver, enum deliver_order_kind kind,
                                       uint64_t session)
{
    struct deliver_order *order = PN_NEW(struct deliver_order);

    order->deliver = deliver;
    order->main_loop = deliver->deps.out->loop;
    order->kind = kind;
    order->session = session;
    order->task.on_run = deliver_worker_order;
    return order;
}

static bool order_post(struct deliver *deliver, size_t worker, struct deliver_order *order)
{
    order->worker = deliver->deps.workers[worker];
    if (loop_post(deliver->deps.worker_loops[worker], &order->task)) {
        return true;
    }
    deliver_order_free(order);
    return false;
}

static size_t least_busy_worker(const struct deliver *deliver)
{
    size_t best = 0, best_count = SIZE_MAX;

    for (size_t worker = 0; worker < deliver->deps.worker_count; worker++) {
        size_t count = 0;

        for (struct deliver_slot *slot = deliver->slots; slot; slot = slot->hh.next) {
            count += slot->worker == worker;
        }
        if (count < best_count) {
            best = worker;
            best_count = count;
        }
    }
    return best;
}

static void open_session(struct deliver *deliver, const struct queue_action *action)
{
    const struct conf_domain *domain = deliver_domain(deliver, action->queue);
    struct deliver_order *order;
    struct deliver_slot *slot;
    size_t worker = least_busy_worker(deliver);

    if (!domain) {
        queue_session_ended(deliver->queue, action->session, QUEUE_END_CLEAN,
                            PN_STR("no longer configured"), deliver_now_ms(deliver));
        return;
    }
    if (!deliver_share_take(deliver, action->destination, (unsigned)domain->sessions)) {
        queue_session_ended(deliver->queue, action->session, QUEUE_END_LENT,
                            PN_STR("its sessions are in use for pass-through"),
                            deliver_now_ms(deliver));
        return;
    }
    order = order_new(deliver, DELIVER_OPEN, action->session);
    order->conf = conf_ref(deliver->conf);
    order->domain = conf_domain_ref((struct conf_domain *)(uintptr_t)domain);
    if (!order_post(deliver, worker, order)) {
        deliver_share_give(deliver, action->destination);
        queue_session_ended(deliver->queue, action->session, QUEUE_END_CLEAN,
                            PN_STR("the worker has ended"), deliver_now_ms(deliver));
        return;
    }
    slot = PN_NEW(struct deliver_slot);
    slot->id = action->session;
    slot->worker = worker;
    slot->destination = pn_strndup(action->destination);
    slot->limit = (unsigned)domain->sessions;
    HASH_ADD(hh, deliver->slots, id, sizeof slot->id, slot);
    stats_count(deliver->deps.counters, STATS_SESSIONS_OUT, 1);
}

static struct deliver_slot *find_slot(struct deliver *deliver, uint64_t session)
{
    struct deliver_slot *slot;

    HASH_FIND(hh, deliver->slots, &session, sizeof session, slot);
    return slot;
}

static void free_slot(struct deliver *deliver, struct deliver_slot *slot)
{
    HASH_DEL(deliver->slots, slot);
    deliver_share_give(deliver, pn_str_z(slot->destination));
    free(slot->destination);
    free(slot);
}

void deliver_close_session(struct deliver *deliver, struct deliver_slot *slot)
{
    if (!slot->closing) {
        slot->closing = true;
        (void)order_post(deliver, slot->worker, order_new(deliver, DELIVER_CLOSE, slot->id));
    }
}

/* What was handed in goes to its end; the jobs that wait behind it come back at once. */
static void close_sessions(struct deliver *deliver, struct pn_str destination)
{
    for (struct deliver_slot *slot = deliver->slots; slot; slot = slot->hh.next) {
        if (pn_str_eq(pn_str_z(slot->destination), destination)) {
            deliver_close_session(deliver, slot);
        }
    }
}

/* Gives a session that can take more as much as the scheduler has for it. */
static void feed_session(struct deliver *deliver, uint64_t session)
{
    struct deliver_slot *slot = find_slot(deliver, session);
    struct deliver_order *order;
    struct pn_str queue;
    bool ends = false;

    if (!slot || slot->closing) {
        return;
    }
    if (deliver->state != DELIVER_RUNNING) {
        deliver_close_session(deliver, slot);
        return;
    }
    order = order_new(deliver, DELIVER_JOBS, session);
    order->job_count = queue_take(deliver->queue, session, DELIVER_JOBS_MAX, order->jobs,
                                  &queue, &ends, deliver_now_ms(deliver));
    if (order->job_count > 0) {
        order->queue = pn_strndup(queue);
        (void)order_post(deliver, slot->worker, order);
    } else {
        deliver_order_free(order);
    }
    if (ends) {
        deliver_close_session(deliver, slot);
    }
}

/* ---- the spool's answers ------------------------------------------------------------ */

static void on_page(void *owner, int status, struct pn_str queue, const struct queue_job *jobs,
                    size_t count, bool end)
{
    struct deliver *deliver = owner;

    queue_page(deliver->queue, queue, status, jobs, count, end, deliver_now_ms(deliver));
    deliver_soon(deliver);
    deliver_answered(deliver);
}

static void read_page(struct deliver *deliver, const struct queue_action *action)
{
    struct spool_cursor from = {.due_ms = action->from_due_ms, .id = action->from_id};

    deliver->pending++;
    spool_read_page(deliver->deps.spool, deliver->deps.out->loop, action->queue, from,
                    action->until_ms, action->limit, on_page, deliver);
}

static void on_notices(void *owner, const struct spool_notice *notices, size_t count)
{
    struct deliver *deliver = owner;
    int64_t now_ms = deliver_now_ms(deliver);

    for (size_t i = 0; i < count; i++) {
        const struct spool_notice *notice = &notices[i];

        switch (notice->kind) {
        case SPOOL_JOB_ADDED:
            deliver_named_seen(deliver, notice->queue);
            queue_job_added(deliver->queue, notice->queue, &notice->job, now_ms);
            break;
        case SPOOL_JOB_REMOVED:
            queue_job_removed(deliver->queue, notice->queue, &notice->job, now_ms);
            break;
        case SPOOL_PARKED:
        case SPOOL_UNPARKED:
            queue_parked_changed(deliver->queue, notice->queue, notice->kind == SPOOL_PARKED);
            break;
        }
    }
    deliver_soon(deliver);
}

/* ---- actions ----------------------------------------------------------------------- */

static enum pn_event state_event(const struct queue_action *action)
{
    if (action->state == action->before) {
        return PN_EV_PAROLE_OVER;
    }
    switch (action->state) {
    case QUEUE_DOWN:
        return PN_EV_DEST_DOWN;
    case QUEUE_RAMP:
        return PN_EV_DEST_RAMP;
    case QUEUE_STOPPED:
        return PN_EV_DEST_STOPPED;
    case QUEUE_HELD:
        return PN_EV_DEST_HELD;
    case QUEUE_UNKNOWN:
    case QUEUE_UP:
        break;
    }
    return PN_EV_DEST_UP;
}

static void log_state(struct deliver *deliver, const struct queue_action *action)
{
    struct pn_log_line line;

    pn_log_begin(&line, &deliver->log, state_event(action));
    pn_log_str(&line, "destination", action->destination);
    pn_log_z(&line, "was", queue_state_name(action->before));
    pn_log_ms(&line, "for", action->lasted_ms);
    if (action->reason.len > 0) {
        pn_log_str(&line, "reason", action->reason);
    }
    pn_log_end(&line);
}

static void act(struct deliver *deliver, const struct queue_action *action)
{
    switch (action->kind) {
    case QUEUE_READ:
        read_page(deliver, action);
        break;
    case QUEUE_OPEN:
        open_session(deliver, action);
        break;
    case QUEUE_WAKE:
        feed_session(deliver, action->session);
        break;
    case QUEUE_PROBE:
        deliver_probe(deliver, action->destination, action->queue);
        break;
    case QUEUE_EXPIRE:
        deliver_expire(deliver, action->queue, &action->job);
        break;
    case QUEUE_STATE:
        deliver_share_state(deliver, action);
        if (!action->nobody) {
            log_state(deliver, action);
        }
        if (action->state == QUEUE_STOPPED && action->before != QUEUE_STOPPED) {
            close_sessions(deliver, action->destination);
        }
        break;
    }
}

static void finish_stop(struct deliver *deliver)
{
    if (deliver->state == DELIVER_STOPPING && !deliver->slots && deliver->pending == 0) {
        deliver->state = DELIVER_STOPPED;
        loop_timer_stop(deliver->deps.out->loop, &deliver->step_timer);
        loop_timer_stop(deliver->deps.out->loop, &deliver->second_timer);
        deliver->on_stopped(deliver->stopped_owner);
    }
}

void deliver_answered(struct deliver *deliver)
{
    pn_assert(deliver->pending > 0);
    deliver->pending--;
    deliver_soon(deliver);
}

static void step(struct deliver *deliver)
{
    int64_t again_ms = 0, now_ms = deliver_now_ms(deliver);
    struct queue_action action;

    if (deliver->state == DELIVER_STOPPING) {
        finish_stop(deliver);
        return;
    }
    if (deliver->state != DELIVER_RUNNING) {
        return;
    }
    while (queue_next(deliver->queue, now_ms, &action, &again_ms)) {
        act(deliver, &action);
    }
    if (again_ms == QUEUE_DUE_NEVER) {
        loop_timer_stop(deliver->deps.out->loop, &deliver->step_timer);
    } else {
        int64_t wait_ms = again_ms - now_ms;

        loop_timer_after(deliver->deps.out->loop, &deliver->step_timer,
                         wait_ms > 1 ? wait_ms : 1);
    }
}

static void on_step_task(struct loop_task *task)
{
    struct deliver *deliver = PN_CONTAINER(task, struct deliver, step_task);

    deliver->step_waits = false;
    step(deliver);
}

static void on_step_timer(struct pn_timer *timer)
{
    deliver_soon(PN_CONTAINER(timer, struct deliver, step_timer));
}

/* While the spool refuses writes nothing is delivered: each job would be a duplicate. */
static void pause_if_broken(struct deliver *deliver)
{
    bool broken = spool_get_readiness(deliver->deps.spool) == SPOOL_BROKEN;

    queue_pause(deliver->queue, broken, deliver_now_ms(deliver));
}

static void take_doubts(struct deliver *deliver)
{
    struct pn_buf destination;

    if (!deliver->deps.board) {
        return;
    }
    pn_buf_init(&destination, 64u << 10);
    while (out_board_next_doubt(deliver->deps.board, &destination)) {
        queue_doubt(deliver->queue, pn_buf_str(&destination), deliver_now_ms(deliver));
    }
    pn_buf_fini(&destination);
}

static void on_second(struct pn_timer *timer)
{
    struct deliver *deliver = PN_CONTAINER(timer, struct deliver, second_timer);

    pause_if_broken(deliver);
    deliver_share_second(deliver);
    take_doubts(deliver);
    deliver_named_second(deliver);
    deliver_parked_second(deliver);
    deliver_dsn_second(deliver);
    deliver_delay_second(deliver);
    loop_timer_after(deliver->deps.out->loop, timer, PN_SECONDS(1));
    deliver_soon(deliver);
}

/* ---- reports ----------------------------------------------------------------------- */

static enum queue_end queue_end_of(enum out_end end)
{
    switch (end) {
    case OUT_END_CLEAN:
        return QUEUE_END_CLEAN;
    case OUT_END_CLIENT:
        return QUEUE_END_CLIENT;
    case OUT_END_BUSY:
        return QUEUE_END_BUSY;
    case OUT_END_LOST:
        return QUEUE_END_LOST;
    case OUT_END_FAILED:
    case OUT_END_REFUSED:
    case OUT_END_LOOP:
        break;
    }
    return QUEUE_END_FAILED;
}

/* One that never was ready, because others of ours are, says nothing against the target. */
static enum queue_end judge_end(struct deliver *deliver, const struct deliver_slot *slot,
                                enum out_end end)
{
    return end == OUT_END_BUSY && slot && !slot->ready &&
                   deliver_share_is_full(deliver, pn_str_z(slot->destination))
               ? QUEUE_END_LENT
               : queue_end_of(end);
}

static void session_ended(struct deliver *deliver, const struct deliver_report *report)
{
    struct deliver_slot *slot = find_slot(deliver, report->session);
    enum queue_end end = judge_end(deliver, slot, report->end);
    struct pn_log_line line;

    deliver_contact_ended(deliver, slot, report);
    queue_session_ended(deliver->queue, report->session, end, pn_str_z(report->reason),
                        deliver_now_ms(deliver));
    if (report->end == OUT_END_LOOP) {
        pn_log_say(&deliver->log, PN_EV_ALARM, "%s", report->reason);
    }
    if (report->end != OUT_END_CLEAN) {
        stats_count(deliver->deps.counters, STATS_SESSIONS_OUT_FAILED, 1);
        pn_log_begin(&line, &deliver->log, PN_EV_DELIVERY_FAILED);
        pn_log_z(&line, "reason", report->reason);
        pn_log_end(&line);
    }
    if (slot) {
        free_slot(deliver, slot);
    }
}

static void note_ready(struct deliver_slot *slot)
{
    if (slot) {
        slot->ready = true;
    }
}

void deliver_report_receive(struct loop_task *task)
{
    struct deliver_report *report = PN_CONTAINER(task, struct deliver_report, task);
    struct deliver *deliver = report->deliver;

    switch (report->kind) {
    case DELIVER_READY:
        if (report->greeting && report->greeting->identity == OUT_IDENTITY_XCLIENT) {
            queue_session_by_client(deliver->queue, report->session);
        }
        if (!report->greeting) {
            queue_session_refuses(deliver->queue, report->session);
        }
        note_ready(find_slot(deliver, report->session));
        deliver_contact_ready(deliver, find_slot(deliver, report->session), report);
        queue_session_ready(deliver->queue, report->session, deliver_now_ms(deliver));
        break;
    case DELIVER_RESULTS:
        deliver_contact_results(deliver, find_slot(deliver, report->session), report);
        pause_if_broken(deliver); /* jobs that could not be loaded are not due again at once */
        deliver_settle(deliver, report->session, report->results);
        break;
    case DELIVER_ENDED:
        session_ended(deliver, report);
        break;
    }
    if (report->wants) {
        feed_session(deliver, report->session);
    }
    deliver_soon(deliver);
    free(report->greeting);
    free(report);
}

/* ---- life -------------------------------------------------------------------------- */

/* Do answers to clients depend on whether the target is up? */
static bool needs_state(const struct conf_domain *domain)
{
    bool asks = domain->when_up != CONF_WHEN_UP_ACCEPT;

    if (domain->kind != CONF_QUEUE_DOMAIN) {
        return false;
    }

    for (size_t i = 0; i < domain->recipients.count; i++) {
        asks = asks || domain->recipients.words[i] == CONF_RECIPIENTS_CALL_AHEAD;
    }
    return asks;
}

void deliver_define(struct deliver *deliver, const struct conf_domain *domain)
{
    struct queue_definition definition = {
        .destination = domain->destination,
        .sessions = (unsigned)domain->sessions,
        .messages_per_session = (unsigned)domain->messages_per_session,
        .retry_min_ms = domain->retry_min_ms,
        .retry_max_ms = domain->retry_max_ms,
        .hold_ms = domain->hold_ms,
        .rate_count = domain->rate.count,
        .rate_per_ms = domain->rate.per_ms,
        .delay_ms = domain->delay_ms,
        .watched = needs_state(domain),
        .on_demand = domain->kind == CONF_QUEUE_OUTBOUND,
    };
    struct queue_destination_status status;
    bool known = queue_get_destination(deliver->queue, pn_str_z(domain->destination),
                                       deliver_now_ms(deliver), &status);

    if (!known) {
        deliver_share_new(deliver, pn_str_z(domain->destination));
    }
    queue_define(deliver->queue, pn_str_z(domain->name), &definition, deliver_now_ms(deliver));
}

/* Both tables are in the order of names: one walk finds what changed. */
static void define_changes(struct deliver *deliver, const struct domains *before,
                           const struct domains *after)
{
    size_t i = 0, j = 0, old_count = domains_count(before), new_count = domains_count(after);

    while (i < old_count || j < new_count) {
        const struct conf_domain *was = i < old_count ? domains_at(before, i) : NULL;
        const struct conf_domain *is = j < new_count ? domains_at(after, j) : NULL;
        int order = !was ? 1 : !is ? -1 : pn_str_cmp(pn_str_z(was->name), pn_str_z(is->name));

        if (order < 0) {
            queue_define(deliver->queue, pn_str_z(was->name), NULL, deliver_now_ms(deliver));
        } else if (was != is) {
            deliver_define(deliver, is);
        }
        i += order <= 0;
        j += order >= 0;
    }
}

static struct queue_options scheduler_options(const struct deliver *deliver,
                                              const struct conf *conf)
{
    return (struct queue_options){
        .probe_min_ms = conf->probe_min_ms,
        .probe_max_ms = conf->probe_max_ms,
        .probe_rate = (unsigned)conf->probe_rate,
        .in_doubt_ms = conf->final_timeout_ms,
        .clock_jumped = deliver->deps.clock->jumped,
        .report_keep_ms = conf->report_keep_ms,
        .seed = deliver->deps.seed,
    };
}

struct deliver *deliver_new(const struct deliver_deps *deps, struct conf *conf,
                            struct domains *domains)
{
    struct deliver *deliver = PN_NEW(struct deliver);
    struct queue_options options;
    struct domains *none = domains_new();

    deliver->deps = *deps;
    deliver->deps.workers = pn_alloc_array(deps->worker_count, sizeof *deps->workers);
    deliver->deps.worker_loops = pn_alloc_array(deps->worker_count, sizeof *deps->worker_loops);
    memcpy(deliver->deps.workers, deps->workers, deps->worker_count * sizeof *deps->workers);
    memcpy(deliver->deps.worker_loops, deps->worker_loops,
           deps->worker_count * sizeof *deps->worker_loops);
    pn_log_child(&deliver->log, deps->log);
    pn_rand_init(&deliver->rand, deps->seed);
    deliver->conf = conf_ref(conf);
    deliver->domains = domains_ref(domains);
    options = scheduler_options(deliver, conf);
    deliver->queue = queue_new(&options);
    deliver->step_task.on_run = on_step_task;
    deliver->step_timer.on_fire = on_step_timer;
    deliver->second_timer.on_fire = on_second;
    define_changes(deliver, none, domains);
    domains_unref(&none);
    spool_observe(deps->spool, deps->out->loop, on_notices, deliver);
    return deliver;
}

static void on_counts(void *owner, int status, const struct spool_queue_count *counts,
                      size_t count)
{
    struct deliver *deliver = owner;

    for (size_t i = 0; i < count; i++) {
        if (counts[i].jobs > 0) {
            deliver_named_seen(deliver, counts[i].queue);
        }
        queue_counted(deliver->queue, counts[i].queue, counts[i].jobs, counts[i].octets,
                      counts[i].parked, deliver_now_ms(deliver));
    }
    if (deliver->state == DELIVER_STARTING) {
        deliver->state = DELIVER_RUNNING;
        loop_timer_after(deliver->deps.out->loop, &deliver->second_timer, PN_SECONDS(1));
        deliver->on_started(deliver->started_owner, status);
    }
    deliver_answered(deliver);
}

void deliver_start(struct deliver *deliver, deliver_started_fn *fn, void *owner)
{
    pn_assert(deliver->state == DELIVER_NEW);
    deliver->state = DELIVER_STARTING;
    deliver->on_started = fn;
    deliver->started_owner = owner;
    deliver->pending++;
    spool_read_counts(deliver->deps.spool, deliver->deps.out->loop, on_counts, deliver);
}

void deliver_configure(struct deliver *deliver, struct conf *conf, struct domains *domains)
{
    struct queue_options options = scheduler_options(deliver, conf);
    struct domains *before = deliver->domains;
    struct conf *old = deliver->conf;

    queue_set_options(deliver->queue, &options);
    define_changes(deliver, before, domains);
    deliver->conf = conf_ref(conf);
    deliver->domains = domains_ref(domains);
    deliver_named_configure(deliver);
    conf_unref(&old);
    domains_unref(&before);
    deliver_soon(deliver);
}

void deliver_stop(struct deliver *deliver, deliver_stopped_fn *fn, void *owner)
{
    pn_assert(deliver->state != DELIVER_STOPPING && deliver->state != DELIVER_STOPPED);
    deliver->state = DELIVER_STOPPING;
    deliver->on_stopped = fn;
    deliver->stopped_owner = owner;
    deliver_probes_drop(deliver);
    for (struct deliver_slot *slot = deliver->slots; slot; slot = slot->hh.next) {
        deliver_close_session(deliver, slot);
    }
    deliver_soon(deliver);
}

void deliver_free(struct deliver **deliver)
{
    struct deliver *d = *deliver;
    struct deliver_slot *slot, *next;

    if (!d) {
        return;
    }
    deliver_probes_drop(d);
    loop_timer_stop(d->deps.out->loop, &d->step_timer);
    loop_timer_stop(d->deps.out->loop, &d->second_timer);
    HASH_ITER (hh, d->slots, slot, next) {
        free_slot(d, slot);
    }
    deliver_share_drop(d);
    deliver_named_drop(d);
    deliver_contacts_drop(d);
    deliver_dsn_drop(d);
    queue_free(&d->queue);
    free(d->deps.workers);
    free(d->deps.worker_loops);
    conf_unref(&d->conf);
    domains_unref(&d->domains);
    free(d);
    *deliver = NULL;
}

/* ---- the operator, and signs of life ------------------------------------------------- */

bool deliver_flush(struct deliver *deliver, struct pn_str queue)
{
    struct pn_log_line line;

    if (!queue_flush(deliver->queue, queue, deliver_now_ms(deliver))) {
        return false;
    }
    pn_log_begin(&line, &deliver->log, PN_EV_FLUSH);
    pn_log_str(&line, "queue", queue.len > 0 ? queue : PN_STR("(all)"));
    pn_log_end(&line);
    deliver_soon(deliver);
    return true;
}

bool deliver_hold(struct deliver *deliver, struct pn_str destination, bool hold)
{
    bool known = queue_hold(deliver->queue, destination, hold, deliver_now_ms(deliver));

    deliver_soon(deliver);
    return known;
}

bool deliver_resume(struct deliver *deliver, struct pn_str destination)
{
    bool known = queue_resume(deliver->queue, destination, deliver_now_ms(deliver));

    deliver_soon(deliver);
    return known;
}

bool deliver_refuse(struct deliver *deliver, struct pn_str destination)
{
    bool known = queue_refuse(deliver->queue, destination, deliver_now_ms(deliver));

    deliver_soon(deliver);
    return known;
}

struct sign {
    struct loop_task task;
    struct deliver *deliver;
    bool flush;
    size_t len;
    char queue[];
};

static void on_sign(struct loop_task *task)
{
    struct sign *sign = PN_CONTAINER(task, struct sign, task);
    struct pn_str queue = {sign->queue, sign->len};

    if (sign->flush) {
        (void)deliver_flush(sign->deliver, queue);
    } else {
        queue_sign_of_life(sign->deliver->queue, queue, deliver_now_ms(sign->deliver));
        deliver_soon(sign->deliver);
    }
    free(sign);
}

void deliver_sign(struct deliver *deliver, struct pn_str queue, bool flush)
{
    struct sign *sign = pn_alloc(sizeof *sign + queue.len);

    sign->task.on_run = on_sign;
    sign->deliver = deliver;
    sign->flush = flush;
    sign->len = queue.len;
    memcpy(sign->queue, queue.ptr, queue.len);
    if (!loop_post(deliver->deps.out->loop, &sign->task)) {
        free(sign);
    }
}
