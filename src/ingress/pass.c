/*
 * ingress/pass.c - the target, live: its half of a client's transaction.
 *
 * One exchange at a time: MAIL and the first RCPT when the first recipient is asked about,
 * then RCPT after RCPT, DATA, the text as it comes, and the dot when our own checks have
 * passed (FAULTS 4.6). The session's events are turned into a state and a reply here, and
 * then the client's session is told to step; what follows from them is decided there.
 *
 * Up to the dot a session that is lost costs nothing: FAILED, and the draft has all of the
 * text. From the dot on it is DOUBT, for the target may have the message (FAULTS 4.7). A
 * 421 says by its code that it was not taken, whenever it comes.
 *
 * Before MAIL the target is told whose mail it is, as the domain's `identity` and what the
 * target offers have it. A target that turns that client away has said so to the client: it
 * is handed on as an answer to its first recipient.
 *
 * A warm session may have died without our knowing it: 421 or an end in reply to MAIL is a
 * reason to ask the pool once more, unless that took long (FAULTS 4.10).
 *
 * A target that is silent behind the dot may still take the message. When that is stored,
 * its session goes into the ingress's list of late ones; a 2xx that comes before the job is
 * due ends it. Whatever else comes, the job tells by itself.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLY_MS   90000 /* clients wait two minutes for the answer to DATA, and more else */
#define AGAIN_MS   30000
#define LATE_MAX   ((size_t)128 << 20)
#define HEADER_MAX 1024 /* our trace header, which SIZE has to count */

struct late_job {
    struct pn_str queue;
    struct mail_recipient *recipients;
    size_t count;
};

/* A session that may still say 2xx, and what that would end. */
struct late {
    struct late *prev, *next;
    struct ingress *ingress;
    struct out_session *session;
    struct pn_id id;
    int64_t due_ms;
    struct late_job *jobs;
    size_t job_count;
    struct pn_arena arena; /* where those live */
    struct pn_log log;
};

static out_event_fn on_event;

static struct pass *pass_of(struct session *session)
{
    return &session->transaction->pass;
}

/* ---- going wrong ------------------------------------------------------------------ */

static void put(struct session *session, bool clean)
{
    struct pass *pass = pass_of(session);

    if (pass->session) {
        out_pool_put(session->ingress->deps.pool, pass->session, clean);
        pass->session = NULL;
    }
}

static void set_reason(struct pass *pass, struct pn_str reason)
{
    snprintf(pass->reason, sizeof pass->reason, "%.*s", PN_FMT(reason));
}

/* FAILED or DOUBT; the reason is there. */
static void lose(struct session *session, enum pass_state state)
{
    put(session, false);
    pass_of(session)->state = state;
    if (session->transaction->way == WAY_PASS) {
        session->transaction->way = WAY_HOLD;
    }
}

void ingress_pass_fail(struct session *session, const char *reason, ...)
{
    struct pass *pass = pass_of(session);
    va_list args;

    va_start(args, reason);
    vsnprintf(pass->reason, sizeof pass->reason, reason, args);
    va_end(args);
    lose(session, PASS_FAILED);
}

void ingress_pass_doubt(struct session *session)
{
    struct pass *pass = pass_of(session);

    pn_assert(pass->state == PASS_FINAL);
    pass->state = PASS_DOUBT;
    snprintf(pass->reason, sizeof pass->reason, "%s: no reply to the end of the message yet",
             pass->peer);
    session->transaction->way = WAY_HOLD;
}

void ingress_pass_stop(struct session *session)
{
    struct pass *pass = pass_of(session);

    if (pass->state == PASS_SESSION) {
        out_pool_cancel(session->ingress->deps.pool, &pass->request);
    }
    put(session, pass->state == PASS_DONE || pass->state == PASS_REFUSED);
    pass->state = PASS_NONE;
}

/* ---- having a session ------------------------------------------------------------- */

static void say_mail(struct session *session)
{
    struct pass *pass = pass_of(session);
    const struct transaction *transaction = session->transaction;
    const struct mail_envelope *envelope = &transaction->envelope;

    pass->state = PASS_MAIL;
    out_session_live_mail(pass->session, envelope->sender,
                          transaction->size_octets > 0 ? transaction->size_octets + HEADER_MAX
                                                       : 0,
                          envelope->flags, envelope->ret, envelope->envid);
}

/* XCLIENT makes the session this client's; XFORWARD holds for one mail. */
static void say_identity(struct session *session)
{
    struct pass *pass = pass_of(session);
    struct smtp_identity identity = {
        .name = pn_str_z(session->name),
        .client = session->peer,
        .helo = pn_str_z(session->helo),
        .protocol = ingress_receive_protocol(session),
        .login = pn_str_z(session->login),
    };

    pass->state = PASS_NAMED;
    out_session_identify(pass->session, &identity);
}

static void on_session(void *owner, struct out_session *got, struct pn_str reason)
{
    struct session *session = owner;
    struct pass *pass = pass_of(session);

    if (!got) {
        set_reason(pass, reason);
        lose(session, PASS_FAILED);
        ingress_session_step(session);
        return;
    }
    pass->session = got;
    snprintf(pass->peer, sizeof pass->peer, "%.*s", PN_FMT(out_session_peer(got)));
    out_session_live_timeout(got, REPLY_MS);
    if (out_session_identity_kind(got) == OUT_IDENTITY_NONE) {
        say_mail(session);
    } else {
        say_identity(session);
    }
}

static void ask_pool(struct session *session, const struct conf_domain *domain)
{
    struct pass *pass = pass_of(session);

    pass->state = PASS_SESSION;
    pass->domain = domain;
    pass->request = (struct out_pool_request){
        .on_session = on_session, .on_event = on_event, .owner = session};
    /* Counting a reference does not change the definition. */
    out_pool_get(session->ingress->deps.pool, &pass->request, session->conf,
                 (struct conf_domain *)(uintptr_t)domain, domain->call_ahead_wait_ms);
}

/* Was it only that the session had grown old? Then there is another one. */
static bool ask_again(struct session *session)
{
    struct pass *pass = pass_of(session);

    if ((pass->state != PASS_MAIL && pass->state != PASS_NAMED) || pass->again ||
        session_loop(session)->now.ms - pass->since.ms > AGAIN_MS) {
        return false;
    }
    pass->again = true;
    put(session, false);
    ask_pool(session, pass->domain);
    return true;
}

/* ---- commands --------------------------------------------------------------------- */

static void say_rcpt(struct session *session)
{
    struct pass *pass = pass_of(session);
    const struct smtp_event *event = &session->transaction->asked.event;
    struct pn_str domain = pn_str_z(session->transaction->asked.domain->name);
    char whole[MAIL_ADDRESS_MAX + 1];
    struct mail_recipient recipient = {
        .address = event->address.text, .orcpt = event->orcpt, .notify = event->notify};

    if (event->address.domain.len == 0) { /* <postmaster> */
        int len = snprintf(whole, sizeof whole, "%.*s@%.*s", PN_FMT(event->address.local),
                           PN_FMT(domain));

        pn_assert(len > 0 && (size_t)len < sizeof whole);
        recipient.address = pn_str_z(whole);
    }
    pass->state = PASS_RCPT;
    out_session_live_rcpt(pass->session, &recipient);
}

void ingress_pass_recipient(struct session *session)
{
    struct pass *pass = pass_of(session);
    const struct conf_domain *domain = session->transaction->asked.domain;

    /* A transaction that has no recipient yet goes wherever the next one wants. */
    if (pass->state != PASS_NONE &&
        strcmp(pass->domain->destination, domain->destination) != 0) {
        ingress_pass_stop(session);
    }
    if (pass->state == PASS_OPEN && !pass->session) {
        lose(session, PASS_FAILED); /* and one that could not be had is not waited for again */
    } else if (pass->state == PASS_NONE) {
        pass->again = false;
        pass->since = session_loop(session)->now;
        ask_pool(session, domain);
    } else if (pass->state == PASS_OPEN) {
        say_rcpt(session);
    }
}

void ingress_pass_data(struct session *session)
{
    struct pass *pass = pass_of(session);

    pn_assert(pass->state == PASS_OPEN);
    if (!pass->session) {
        lose(session, PASS_FAILED);
        return;
    }
    pass->state = PASS_DATA;
    out_session_live_data(pass->session);
}

void ingress_pass_text(struct session *session, struct pn_str text)
{
    struct pass *pass = pass_of(session);

    if (pass->state == PASS_TEXT) {
        out_session_live_text(pass->session, text, false);
    }
}

size_t ingress_pass_room(const struct session *session)
{
    const struct pass *pass = &session->transaction->pass;

    return pass->state == PASS_TEXT ? out_session_text_room(pass->session) : SIZE_MAX;
}

size_t ingress_pass_unsent(const struct session *session)
{
    const struct pass *pass = &session->transaction->pass;
    size_t room = ingress_pass_room(session);

    return pass->state == PASS_TEXT && pass->room_octets > room ? pass->room_octets - room : 0;
}

void ingress_pass_finish(struct session *session)
{
    struct pass *pass = pass_of(session);

    pn_assert(pass->state == PASS_TEXT);
    pass->state = PASS_FINAL;
    out_session_live_timeout(pass->session, 0);
    out_session_live_text(pass->session, PN_STR(""), true);
}

/* ---- replies ---------------------------------------------------------------------- */

static void on_closing(struct session *session)
{
    struct pass *pass = pass_of(session);

    if (pass->state == PASS_MAIL && out_session_identified(pass->session)) {
        pass->state = PASS_REFUSED; /* this client, for now */
    } else if (!ask_again(session)) {
        ingress_pass_fail(session, "%s: 421 %s", pass->peer, pass->reply.text);
    }
}

static void on_reply(struct session *session, const struct smtp_reply *reply)
{
    struct pass *pass = pass_of(session);

    pass->reply = *reply;
    if (reply->code == 421) {
        on_closing(session);
        return;
    }
    switch (pass->state) {
    case PASS_MAIL:
        if (smtp_reply_ok(reply)) {
            say_rcpt(session);
        } else {
            pass->state = PASS_REFUSED;
        }
        break;
    case PASS_RCPT:
        pass->state = PASS_OPEN;
        break;
    case PASS_DATA:
        pass->state = reply->code < 400 ? PASS_TEXT : PASS_OPEN;
        pass->room_octets = out_session_text_room(pass->session);
        break;
    case PASS_FINAL:
    case PASS_DOUBT:
        pass->state = PASS_DONE;
        break;
    default:
        break;
    }
}

/*
 * What was answered stays answered: a refusal, or a 250, that the connection did not survive
 * has come all the same. Who wants to go on in an open transaction finds no session then.
 */
static void on_ended(struct session *session, struct pn_str reason,
                     const struct smtp_reply *reply)
{
    struct pass *pass = pass_of(session);

    if (pass->state == PASS_NAMED && reply->code != 0) {
        pass->reply = *reply;
        pass->state = PASS_REFUSED;
    } else if (ask_again(session)) {
        return;
    }
    set_reason(pass, reason); /* which is the session's */
    switch (pass->state) {
    case PASS_OPEN:
    case PASS_REFUSED:
    case PASS_DONE:
        put(session, false);
        break;
    case PASS_FINAL:
    case PASS_DOUBT:
        lose(session, PASS_DOUBT);
        break;
    default:
        lose(session, PASS_FAILED);
        break;
    }
}

/* Each event may cost the session, and with it those that are left. */
static void on_event(struct out_session *from, void *owner)
{
    struct session *session = owner;
    struct pass *pass = pass_of(session);
    struct out_event event;

    while (pass->session == from && out_session_next(from, &event)) {
        if (event.kind == OUT_EV_LIVE) {
            on_reply(session, &event.reply);
        } else if (event.kind == OUT_EV_READY && pass->state == PASS_NAMED) {
            say_mail(session);
        } else if (event.kind == OUT_EV_ENDED) {
            on_ended(session, event.reason, &event.reply);
        }
    }
    ingress_session_step(session); /* may free the session: nothing may follow */
}

/* ---- late ones -------------------------------------------------------------------- */

static void on_settled(void *owner)
{
    (void)owner;
}

/* Wherever an operator has put it meanwhile. */
static void settle(const struct late *late, const struct late_job *job)
{
    const struct ingress_deps *deps = &late->ingress->deps;
    struct spool_settlement done = {.key = {job->queue, late->due_ms, late->id},
                                    .tried = job->recipients,
                                    .tried_count = job->count};

    spool_settle(deps->spool, deps->loop, &done, 1, on_settled, NULL);
}

static void log_taken(const struct pn_log *log, const struct pn_id *id)
{
    struct pn_log_line line;

    pn_log_begin(&line, log, PN_EV_PASSED);
    pn_log_id(&line, "qid", id);
    pn_log_z(&line, "what",
             "the target took the message after all; what was stored of it is deleted");
    pn_log_end(&line);
}

static void late_free(struct late *late, bool clean)
{
    DL_DELETE(late->ingress->late, late);
    if (late->session) {
        out_pool_put(late->ingress->deps.pool, late->session, clean);
    }
    pn_arena_fini(&late->arena);
    free(late);
}

static void late_taken(struct late *late)
{
    const struct ingress_deps *deps = &late->ingress->deps;

    log_taken(&late->log, &late->id);
    stats_count(deps->counters, STATS_PASSED_THROUGH, 1);
    for (size_t i = 0; i < late->job_count; i++) {
        settle(late, &late->jobs[i]);
    }
}

static void on_late_event(struct out_session *session, void *owner)
{
    struct late *late = owner;
    struct out_event event;

    while (out_session_next(session, &event)) {
        if (event.kind == OUT_EV_LIVE && smtp_reply_ok(&event.reply)) {
            late_taken(late);
        }
        if (event.kind == OUT_EV_LIVE || event.kind == OUT_EV_ENDED) {
            late_free(late, event.kind == OUT_EV_LIVE);
            return;
        }
    }
}

static void *allocate(struct late *late, size_t count, size_t octets)
{
    void *memory = pn_arena_alloc(&late->arena, count * octets);

    pn_assert(memory); /* what the transaction had room for */
    return memory;
}

static void copy_job(struct late *late, const struct group *group, struct late_job *job)
{
    struct pn_str queue = pn_str_z(group->domain->name);

    pn_assert(pn_arena_copy(&late->arena, queue, &job->queue) == 0);
    job->recipients = allocate(late, group->count, sizeof *job->recipients);
    for (const struct recipient *r = group->first; r; r = r->next) {
        pn_assert(pn_arena_copy(&late->arena, r->recipient.address,
                                &job->recipients[job->count++].address) == 0);
    }
}

static struct late *late_new(struct session *session, int64_t due_ms)
{
    const struct transaction *transaction = session->transaction;
    struct late *late = PN_NEW(struct late);

    late->ingress = session->ingress;
    late->session = pass_of(session)->session;
    pass_of(session)->session = NULL;
    late->id = transaction->envelope.id;
    late->due_ms = due_ms;
    late->log = session->log;
    pn_arena_init(&late->arena, LATE_MAX);
    late->jobs = allocate(late, transaction->group_count, sizeof *late->jobs);
    for (const struct group *group = transaction->groups; group; group = group->next) {
        if (group->count > 0) {
            copy_job(late, group, &late->jobs[late->job_count++]);
        }
    }
    DL_APPEND(session->ingress->late, late);
    return late;
}

void ingress_pass_listen(struct session *session, int64_t due_ms)
{
    struct pass *pass = pass_of(session);
    struct late *late;

    if (pass->state == PASS_DONE && smtp_reply_ok(&pass->reply)) {
        late = late_new(session, due_ms); /* it answered while we stored */
        late_taken(late);
        late_free(late, true);
    } else if (pass->state == PASS_DOUBT && pass->session) {
        late = late_new(session, due_ms);
        out_session_own(late->session, on_late_event, late);
    }
}

void ingress_pass_free_late(struct ingress *ingress)
{
    while (ingress->late) {
        late_free(ingress->late, false);
    }
}
