/*
 * deliver/session.c - one delivery session: jobs in, mails out, results back.
 *
 * Facts are the lists in the struct (orders, loaded messages, mails under way, results) and
 * the state; deliver_session_step moves them as far as they go. More jobs are asked for
 * while the last ones are still under way, so that the line is never idle for want of work.
 *
 * Who may tell its target the original client by XCLIENT does so with the first mail, and
 * serves that client alone. The scheduler groups by address; a mail of the same address that
 * came under another name goes back untried, and the session takes no more: the next one
 * begins with it. What the target answers to a client is the verdict on that client's mail,
 * and is for the scheduler nothing but that.
 *
 * A domain that says by its DNS that it takes no mail has no session; but its queue has jobs,
 * and each needs its answer. So the scheduler is told of a session that is ready, and what it
 * gives is refused here (SESSION_REFUSING).
 *
 * Fresh messages are read back like old ones. They lie in LevelDB's memtable then, where all
 * three records of a message of 4 KiB are read in a microsecond of processor time: a cache of
 * our own, between threads, would not be worth its invalidation.
 *
 * Memory: a message is loaded only once its first chunk's worth of the common memory is
 * reserved, and at most LOAD_OCTETS are loaded ahead.
 */
#include "session_priv.h"

#include <utlist.h>

#include <stdio.h>

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define LOAD_OCTETS       (512u << 10) /* loaded and not yet handed in, at most */
#define ASK_BELOW         (DELIVER_JOBS_MAX / 2)
#define WINDOW_MAILS      16
#define WINDOW_OCTETS     (512u << 10)
#define WINDOW_MAILS_MAX  128
#define WINDOW_OCTETS_MAX (2u << 20)
#define CLIENT_TEXTS_MAX  (16u << 10)
#define MEMORY_RETRY_MS   50

uint64_t deliver_message_memory(uint64_t size_octets)
{
    /* A body of several chunks is read ahead by one: see mail.c. */
    return size_octets <= SPOOL_CHUNK_OCTETS ? size_octets : 3 * (uint64_t)SPOOL_CHUNK_OCTETS;
}

/* ---- reports ----------------------------------------------------------------------- */

void deliver_report_post(struct loop *main_loop, struct deliver_report *report)
{
    report->task.on_run = deliver_report_receive;
    if (!loop_post(main_loop, &report->task)) {
        while (report->results) {
            struct deliver_result *result = report->results;

            report->results = result->next;
            deliver_result_free(result);
        }
        free(report->greeting);
        free(report);
    }
}

static void report_post(struct deliver_session *session, struct deliver_report *report)
{
    report->deliver = session->deliver;
    report->session = session->id;
    deliver_report_post(session->main_loop, report);
}

static size_t jobs_left(const struct deliver_session *session)
{
    size_t left = session->loaded_count + session->loading;

    for (const struct deliver_order *order = session->orders; order;
         order = (const struct deliver_order *)(const void *)order->task.next) {
        left += order->job_count;
    }
    return left - (session->orders ? session->next_job : 0);
}

static bool takes_jobs(const struct deliver_session *session)
{
    return session->state == SESSION_READY || session->state == SESSION_NAMING ||
           session->state == SESSION_REFUSING;
}

static bool should_ask(const struct deliver_session *session)
{
    return takes_jobs(session) && !session->ends && !session->asked &&
           jobs_left(session) <= ASK_BELOW;
}

static void report_now(struct deliver_session *session)
{
    struct deliver_report *report;
    bool asks = should_ask(session);

    if (!session->results && !asks) {
        return;
    }
    report = PN_NEW(struct deliver_report);
    report->kind = DELIVER_RESULTS;
    report->results = session->results;
    report->wants = asks;
    report->window = session->out ? out_session_window(session->out) : 0;
    session->asked = session->asked || asks;
    session->results = NULL;
    session->results_end = &session->results;
    report_post(session, report);
}

static void on_report(struct loop_task *task)
{
    struct deliver_session *session = PN_CONTAINER(task, struct deliver_session, report_task);

    session->report_waits = false;
    report_now(session);
    deliver_session_answered(session);
}

static void report_soon(struct deliver_session *session)
{
    if (!session->report_waits) {
        session->report_waits = true;
        session->pending++;
        loop_defer(session->worker->deps.out->loop, &session->report_task);
    }
}

static void give_memory(struct deliver_session *session, uint64_t octets)
{
    pn_assert(session->reserved >= octets);
    session->reserved -= octets;
    policy_memory_give(session->worker->deps.limits, octets);
}

static void push_result(struct deliver_session *session, struct deliver_result *result)
{
    *session->results_end = result;
    session->results_end = &result->next;
    report_soon(session);
}

void deliver_session_result(struct deliver_session *session, struct deliver_result *result)
{
    give_memory(session, deliver_message_memory(result->job.size_octets));
    push_result(session, result);
}

/* ---- loading ----------------------------------------------------------------------- */

static struct deliver_order *order_next(const struct deliver_order *order)
{
    return (struct deliver_order *)(void *)order->task.next;
}

/* A job whose message could not be had goes back, as it was or for good. */
static void return_unloaded(struct deliver_session *session, const struct queue_job *job,
                            struct pn_str queue, int status)
{
    bool gone = status == PN_ENOENT || status == PN_ECORRUPT;

    deliver_session_result(
        session, deliver_result_new(queue, job, gone ? QUEUE_GONE : QUEUE_UNTRIED, NULL));
}

static void on_loaded(void *owner, struct spool_message *messages)
{
    struct deliver_session *session = owner;
    bool wanted = takes_jobs(session);

    for (size_t i = 0; messages; i++) {
        struct spool_message *message = messages;

        pn_assert(i < session->loading);
        messages = message->next;
        message->next = NULL;
        if (message->status != 0 || !wanted) {
            return_unloaded(session, &session->loading_jobs[i], message->queue,
                            message->status);
            spool_message_free(&message);
        } else {
            message->job = session->loading_jobs[i];
            LL_APPEND(session->loaded, message);
            session->loaded_count++;
        }
    }
    session->loading = 0;
    if (session->state != SESSION_ENDED) {
        deliver_session_step(session);
    }
    deliver_session_answered(session);
}

static void load(struct deliver_session *session)
{
    struct spool_job_key keys[DELIVER_JOBS_MAX];
    struct deliver_order *order = session->orders;
    uint64_t octets = 0;
    size_t count = 0;

    if (!order || session->loading > 0 || session->loaded_count > WINDOW_MAILS) {
        return;
    }
    while (session->next_job < order->job_count && octets < LOAD_OCTETS) {
        const struct queue_job *job = &order->jobs[session->next_job];
        uint64_t needs = deliver_message_memory(job->size_octets);

        if (!policy_memory_take(session->worker->deps.limits, needs)) {
            loop_timer_after(session->worker->deps.out->loop, &session->memory_timer,
                             MEMORY_RETRY_MS);
            break;
        }
        session->reserved += needs;
        octets += needs;
        session->loading_jobs[count] = *job;
        keys[count++] = (struct spool_job_key){
            .queue = pn_str_z(order->queue), .due_ms = job->due_ms, .id = job->id};
        session->next_job++;
    }
    if (count > 0) {
        session->loading = count;
        session->pending++;
        spool_load(session->worker->deps.spool, session->worker->deps.out->loop, keys, count,
                   on_loaded, session);
    }
    if (session->next_job == order->job_count) {
        session->orders = order_next(order);
        session->next_job = 0;
        deliver_order_free(order);
    }
}

static void on_memory_timer(struct pn_timer *timer)
{
    deliver_session_step(PN_CONTAINER(timer, struct deliver_session, memory_timer));
}

/* A job that was never loaded goes back as it was. */
static void return_orders(struct deliver_session *session)
{
    while (session->orders) {
        struct deliver_order *order = session->orders;

        for (size_t i = session->next_job; i < order->job_count; i++) {
            push_result(session, deliver_result_new(pn_str_z(order->queue), &order->jobs[i],
                                                    QUEUE_UNTRIED, NULL));
        }
        session->next_job = 0;
        session->orders = order_next(order);
        deliver_order_free(order);
    }
}

static void return_loaded(struct deliver_session *session)
{
    while (session->loaded) {
        struct spool_message *message = session->loaded;

        session->loaded = message->next;
        message->next = NULL;
        deliver_session_result(
            session, deliver_result_new(message->queue, &message->job, QUEUE_UNTRIED, message));
    }
    session->loaded_count = 0;
}

/* ---- steps ------------------------------------------------------------------------- */

static bool idle(const struct deliver_session *session)
{
    return !session->orders && !session->loaded && !session->mails && session->loading == 0;
}

static void ended(struct deliver_session *session)
{
    struct deliver_report *report = PN_NEW(struct deliver_report);

    out_session_free(&session->out);
    session->state = SESSION_ENDED;
    loop_timer_stop(session->worker->deps.out->loop, &session->memory_timer);
    while (session->mails) {
        deliver_mail_lost(session->mails);
    }
    return_loaded(session);
    return_orders(session);
    report_now(session);
    report->kind = DELIVER_ENDED;
    report->end = session->end;
    memcpy(report->reason, session->reason, sizeof report->reason);
    report_post(session, report);
}

static void set_reason(struct deliver_session *session, enum out_end end, struct pn_str reason)
{
    size_t len = reason.len < sizeof session->reason ? reason.len : sizeof session->reason - 1;

    session->end = end;
    memcpy(session->reason, reason.ptr, len);
    session->reason[len] = '\0';
}

static struct spool_message *next_loaded(struct deliver_session *session)
{
    struct spool_message *message = session->loaded;

    session->loaded = message->next;
    message->next = NULL;
    session->loaded_count--;
    return message;
}

static struct pn_str keep(struct deliver_session *session, struct pn_str text)
{
    struct pn_str copy;

    return pn_arena_copy(&session->client_texts, text, &copy) == 0 ? copy : PN_STR("");
}

/* From now on it speaks for the first mail's client. */
static void name_client(struct deliver_session *session)
{
    struct smtp_identity identity = smtp_identity_of(&session->loaded->envelope);

    session->client = identity;
    session->client.name = keep(session, identity.name);
    session->client.helo = keep(session, identity.helo);
    session->client.protocol = keep(session, identity.protocol);
    session->client.login = keep(session, identity.login);
    session->client.ident = PN_STR("");
    session->named = true;
    session->state = SESSION_NAMING;
    out_session_identify(session->out, &session->client);
}

static bool is_clients(const struct deliver_session *session,
                       const struct spool_message *message)
{
    struct smtp_identity identity = smtp_identity_of(&message->envelope);

    return smtp_identity_same(&identity, &session->client);
}

/* A mail of another client goes back as it was. */
static void turn_away(struct deliver_session *session, struct spool_message *message)
{
    session->ends = true;
    deliver_session_result(
        session, deliver_result_new(message->queue, &message->job, QUEUE_UNTRIED, message));
}

static void hand_in(struct deliver_session *session)
{
    bool by_client = session->identity == OUT_IDENTITY_XCLIENT;

    if (by_client && !session->named && session->loaded && session->state == SESSION_READY) {
        name_client(session);
    }
    while (session->loaded && session->state != SESSION_NAMING &&
           out_session_wants_mail(session->out)) {
        struct spool_message *message = next_loaded(session);

        if (by_client && !is_clients(session, message)) {
            turn_away(session, message);
        } else {
            deliver_mail_begin(session, message);
        }
    }
    if (session->ends && session->state == SESSION_READY && idle(session)) {
        session->state = SESSION_CLOSING;
    }
}

static void refuse_all(struct deliver_session *session)
{
    while (session->loaded) {
        deliver_mail_refuse(session, next_loaded(session), &session->verdict);
    }
}

void deliver_session_step(struct deliver_session *session)
{
    if (takes_jobs(session)) {
        load(session);
    }
    if (session->state == SESSION_REFUSING) {
        refuse_all(session);
    } else {
        hand_in(session);
    }
    if (session->state == SESSION_CLOSING && idle(session)) {
        session->state = SESSION_QUITTING;
        if (session->out) {
            out_session_quit(session->out);
        } else {
            session->pending++;
            ended(session);
            deliver_session_answered(session);
            return;
        }
    }
    if (should_ask(session)) {
        report_soon(session);
    }
}

void deliver_session_abort(struct deliver_session *session, const char *reason)
{
    set_reason(session, OUT_END_LOST, pn_str_z(reason));
    ended(session);
}

/* The client was turned away before any of its mail was looked at: what was said holds for
 * all of it that is here. Nothing was said: for one, or it would be tried for ever. */
static void client_refused(struct deliver_session *session, const struct smtp_reply *reply)
{
    struct smtp_reply lost;
    bool said = reply->code != 0;

    smtp_reply_set(&lost, 451, "4.4.2", "the session was lost when the client was named");
    while (session->loaded) {
        struct spool_message *message = next_loaded(session);

        if (is_clients(session, message)) {
            deliver_mail_refuse(session, message, said ? reply : &lost);
            if (!said) {
                break;
            }
        } else {
            turn_away(session, message);
        }
    }
}

/* What a session is told has ended: nothing was lost, and it goes on without a connection. */
static void begin_refusing(struct deliver_session *session, const struct out_event *event)
{
    struct deliver_report *report = PN_NEW(struct deliver_report);

    out_session_free(&session->out);
    session->state = SESSION_REFUSING;
    session->verdict = event->reply;
    set_reason(session, OUT_END_CLEAN, PN_STR(""));
    report->kind = DELIVER_READY;
    report_post(session, report);
    deliver_session_step(session);
}

static void share_capabilities(struct deliver_session *session)
{
    if (session->worker->deps.board) {
        out_board_set_capabilities(
            session->worker->deps.board, pn_str_z(session->domain->destination),
            out_session_capabilities(session->out), out_session_size_limit(session->out));
    }
}

/* What people are told of the session's TLS. */
static void describe_tls(const struct deliver_session *session, struct deliver_greeting *out)
{
    const struct stream_tls *tls = out_session_tls(session->out);

    if (!tls) {
        (void)snprintf(out->tls, sizeof out->tls, "none");
    } else {
        (void)snprintf(out->tls, sizeof out->tls, "%s %s, %s", tls->version, tls->cipher,
                       tls->verified ? "verified" : "not verified");
    }
    (void)snprintf(out->tls_why, sizeof out->tls_why, "%s", out_session_tls_why(session->out));
}

static void ready(struct deliver_session *session)
{
    struct deliver_report *report = PN_NEW(struct deliver_report);
    struct deliver_greeting *greeting = PN_NEW(struct deliver_greeting);

    session->state = SESSION_READY;
    session->identity = out_session_identity_kind(session->out);
    share_capabilities(session);
    (void)snprintf(session->peer, sizeof session->peer, "%.*s",
                   PN_FMT(out_session_peer(session->out)));
    memcpy(greeting->peer, session->peer, sizeof greeting->peer);
    greeting->identity = session->identity;
    greeting->quirks = out_session_quirks(session->out);
    describe_tls(session, greeting);
    report->kind = DELIVER_READY;
    report->greeting = greeting;
    report->window = out_session_window(session->out);
    report_post(session, report);
}

static void handle(struct deliver_session *session, const struct out_event *event)
{
    struct deliver_mail *mail = event->mail ? event->mail->owner : NULL;

    switch (event->kind) {
    case OUT_EV_READY:
        if (session->state == SESSION_OPENING) {
            ready(session);
        } else if (session->state == SESSION_NAMING) {
            session->state = SESSION_READY;
        }
        break;
    case OUT_EV_MORE:
        break;
    case OUT_EV_TEXT:
        mail->wants_text = true;
        break;
    case OUT_EV_DONE:
        deliver_mail_done(mail);
        break;
    case OUT_EV_LOST:
        deliver_mail_lost(mail);
        break;
    case OUT_EV_LIVE:
        pn_assert(!"a delivery has no live transaction");
        break;
    case OUT_EV_ENDED:
        set_reason(session, event->end, event->reason);
        if (event->end == OUT_END_CLIENT && session->state == SESSION_NAMING) {
            client_refused(session, &event->reply);
        }
        break;
    }
}

/* The domain takes no mail: there is nothing to wait for. */
static bool is_verdict(const struct deliver_session *session, const struct out_event *event)
{
    return event->kind == OUT_EV_ENDED && event->end == OUT_END_REFUSED &&
           session->state == SESSION_OPENING && smtp_reply_refused(&event->reply);
}

static void on_session(struct out_session *out, void *owner)
{
    struct deliver_session *session = owner;
    struct out_event event;

    session->pending++; /* keeps it alive to the end of this function */
    while (session->out && out_session_next(out, &event)) {
        if (is_verdict(session, &event)) {
            begin_refusing(session, &event);
            break;
        }
        handle(session, &event);
        if (event.kind == OUT_EV_ENDED) {
            ended(session);
        }
    }
    if (session->out) {
        struct deliver_mail *mail, *next;

        DL_FOREACH_SAFE (session->mails, mail, next) {
            deliver_mail_text(mail);
        }
        deliver_session_step(session);
    }
    deliver_session_answered(session);
}

/* ---- orders and life --------------------------------------------------------------- */

void deliver_session_jobs(struct deliver_session *session, struct deliver_order *jobs)
{
    struct deliver_order **end = &session->orders;

    while (*end) {
        end = (struct deliver_order **)(void *)&(*end)->task.next;
    }
    *end = jobs;
    jobs->task.next = NULL;
    session->asked = false;
    if (takes_jobs(session) && !session->ends) {
        deliver_session_step(session);
    } else {
        return_orders(session);
    }
}

void deliver_session_close(struct deliver_session *session)
{
    if (session->state >= SESSION_CLOSING) {
        return;
    }
    if (session->state == SESSION_OPENING) {
        set_reason(session, OUT_END_CLEAN, PN_STR(""));
        session->pending++;
        ended(session);
        deliver_session_answered(session);
        return;
    }
    session->state = SESSION_CLOSING;
    return_loaded(session);
    return_orders(session);
    deliver_session_step(session);
}

struct deliver_session *deliver_session_new(struct deliver_worker *worker,
                                            struct deliver_order *open)
{
    struct deliver_session *session = PN_NEW(struct deliver_session);
    struct out_options options = {
        .conf = open->conf,
        .domain = open->domain,
        .window_mails = WINDOW_MAILS,
        .window_octets = WINDOW_OCTETS,
        .window_mails_max = WINDOW_MAILS_MAX,
        .window_octets_max = WINDOW_OCTETS_MAX,
    };

    session->id = open->session;
    session->worker = worker;
    session->deliver = open->deliver;
    session->main_loop = open->main_loop;
    session->domain = conf_domain_ref(open->domain);
    session->results_end = &session->results;
    pn_arena_init(&session->client_texts, CLIENT_TEXTS_MAX);
    session->report_task.on_run = on_report;
    session->memory_timer.on_fire = on_memory_timer;
    pn_log_child(&session->log, &worker->log);
    session->out = out_session_new(worker->deps.out, &options, on_session, session);
    HASH_ADD(hh, worker->sessions, id, sizeof session->id, session);
    return session;
}

void deliver_session_answered(struct deliver_session *session)
{
    pn_assert(session->pending > 0);
    session->pending--;
    if (session->state == SESSION_ENDED && session->pending == 0) {
        deliver_session_free(session);
    }
}

void deliver_session_free(struct deliver_session *session)
{
    struct deliver_mail *mail, *next;

    out_session_free(&session->out);
    loop_timer_stop(session->worker->deps.out->loop, &session->memory_timer);
    DL_FOREACH_SAFE (session->mails, mail, next) {
        deliver_mail_free(mail);
    }
    while (session->loaded) {
        struct spool_message *message = session->loaded;

        session->loaded = message->next;
        spool_message_free(&message);
    }
    while (session->orders) {
        struct deliver_order *order = session->orders;

        session->orders = order_next(order);
        deliver_order_free(order);
    }
    while (session->results) {
        struct deliver_result *result = session->results;

        session->results = result->next;
        deliver_result_free(result);
    }
    if (session->reserved > 0) {
        give_memory(session, session->reserved);
    }
    HASH_DEL(session->worker->sessions, session);
    pn_arena_fini(&session->client_texts);
    conf_domain_unref(&session->domain);
    free(session);
}
