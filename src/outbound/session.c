/*
 * session.c - a session to a next hop: its life, its events, its owner's calls.
 *
 * A session is one enum. Completions (answers, streams, the timer) store what they bring
 * and run the step of that state, in connect.c or talk.c. Events are kept in a list, and a
 * task deferred to the end of the loop's turn tells the owner once: so on_event never
 * comes inside an owner's call, and the owner may free the session in it.
 *
 * The wake-up cannot be taken back. A session freed while one is due keeps its memory, and
 * nothing else, until then.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

static void on_wake(struct loop_task *task)
{
    struct out_session *session = PN_CONTAINER(task, struct out_session, wake);

    session->wake_pending = false;
    if (session->freed) {
        free(session);
        return;
    }
    session->on_event(session, session->owner); /* may free it: nothing may follow */
}

static void on_timer(struct pn_timer *timer)
{
    struct out_session *session = PN_CONTAINER(timer, struct out_session, timer);

    if (session->state == OUT_RACING) {
        out_connect_tick(session);
    } else {
        out_talk_tick(session);
    }
}

struct out_session *out_session_new(const struct out_deps *deps,
                                    const struct out_options *options, out_event_fn *on_event,
                                    void *owner)
{
    struct out_session *session = PN_NEW(struct out_session);

    session->deps = *deps;
    session->options = *options;
    if (session->options.connect_timeout_ms == 0) {
        session->options.connect_timeout_ms = options->conf->connect_timeout_ms;
    }
    conf_ref(options->conf);
    conf_domain_ref(options->domain);
    session->on_event = on_event;
    session->owner = owner;
    session->timer.on_fire = on_timer;
    session->wake.on_run = on_wake;
    pn_buf_init(&session->reason, OUT_REASON_MAX);
    pn_buf_init(&session->seen[0], OUT_REASON_MAX);
    pn_buf_init(&session->seen[1], OUT_REASON_MAX);
    out_connect_begin(session);
    return session;
}

static void hang_up(struct out_session *session, bool gently)
{
    out_connect_cancel(session);
    loop_timer_stop(session->deps.loop, &session->timer);
    if (gently) {
        stream_close(&session->stream);
    } else {
        stream_abort(&session->stream);
    }
}

void out_session_free(struct out_session **session)
{
    struct out_session *s = *session;

    if (!s) {
        return;
    }
    *session = NULL;
    hang_up(s, false);
    route_plan_free(&s->plan);
    out_login_reset(s);
    smtp_client_free(&s->client);
    conf_unref(&s->options.conf);
    conf_domain_unref(&s->options.domain);
    pn_buf_fini(&s->reason);
    pn_buf_fini(&s->seen[0]);
    pn_buf_fini(&s->seen[1]);
    free(s->mails);
    free(s->events);
    s->freed = true;
    if (!s->wake_pending) {
        free(s);
    }
}

/* ---- events ---- */

static void wake_owner(struct out_session *session)
{
    if (!session->wake_pending) {
        session->wake_pending = true;
        loop_defer(session->deps.loop, &session->wake);
    }
}

void out_event_push(struct out_session *session, enum out_event_kind kind,
                    struct smtp_client_mail *mail)
{
    if (session->event_count == 0) {
        session->event_first = 0;
    }
    if (session->event_first + session->event_count == session->event_cap) {
        session->event_cap = session->event_cap ? session->event_cap * 2 : 8;
        session->events =
            pn_realloc(session->events, session->event_cap * sizeof *session->events);
    }
    session->events[session->event_first + session->event_count++] =
        (struct out_event){.kind = kind, .mail = mail};
    wake_owner(session);
}

bool out_session_next(struct out_session *session, struct out_event *out_event)
{
    if (session->event_count == 0) {
        return false;
    }
    *out_event = session->events[session->event_first++];
    session->event_count--;
    if (out_event->kind == OUT_EV_ENDED) {
        out_event->reason = pn_buf_str(&session->reason);
    }
    return true;
}

void out_session_drop_mail(struct out_session *session, struct smtp_client_mail *mail)
{
    size_t at = 0;

    while (session->mails[at] != mail) {
        at++;
    }
    session->mail_count--;
    memmove(&session->mails[at], &session->mails[at + 1],
            (session->mail_count - at) * sizeof *session->mails);
    if (session->text_mail == mail) {
        session->text_mail = NULL;
    }
}

void out_session_end(struct out_session *session, enum out_end end, const char *format, ...)
{
    va_list args;

    pn_assert(session->state != OUT_ENDED);
    hang_up(session, end == OUT_END_CLEAN);
    session->state = OUT_ENDED;
    va_start(args, format);
    if (pn_buf_vprintf(&session->reason, format, args) != 0) {
        pn_buf_truncate(&session->reason, OUT_REASON_MAX - 4);
        (void)!pn_buf_append_z(&session->reason, " ...");
    }
    va_end(args);
    while (session->mail_count > 0) {
        struct smtp_client_mail *mail = session->mails[0];

        out_session_drop_mail(session, mail);
        out_event_push(session, OUT_EV_LOST, mail);
    }
    out_event_push(session, OUT_EV_ENDED, NULL);
    session->events[session->event_first + session->event_count - 1].end = end;
}

/* ---- the owner's calls ---- */

/* What the old owner has not pulled is told to the new one. */
void out_session_own(struct out_session *session, out_event_fn *on_event, void *owner)
{
    session->on_event = on_event;
    session->owner = owner;
    if (session->event_count > 0) {
        wake_owner(session);
    }
}

bool out_session_wants_mail(const struct out_session *session)
{
    return session->state == OUT_READY && smtp_client_wants_mail(session->client);
}

void out_session_mail(struct out_session *session, struct smtp_client_mail *mail)
{
    pn_assert(out_session_wants_mail(session));
    if (session->mail_count == session->mail_cap) {
        session->mail_cap = session->mail_cap ? session->mail_cap * 2 : 8;
        session->mails = pn_realloc(session->mails, session->mail_cap * sizeof *session->mails);
    }
    session->mails[session->mail_count++] = mail;
    smtp_client_mail(session->client, mail);
    out_talk_pump(session);
}

size_t out_session_text_room(const struct out_session *session)
{
    size_t unsent;

    if ((!session->text_mail && !out_live_text(session)) || !session->stream) {
        return 0;
    }
    unsent = stream_unsent(session->stream);
    return unsent < OUT_UNSENT_MAX ? OUT_UNSENT_MAX - unsent : 0;
}

void out_session_text(struct out_session *session, struct pn_str text, bool last)
{
    if (!session->text_mail) {
        return; /* the session has ended, and the owner has not heard of it yet */
    }
    if (last) {
        session->text_mail = NULL;
    }
    smtp_client_text(session->client, text, last);
    out_talk_pump(session);
}

void out_session_quit(struct out_session *session)
{
    switch (session->state) {
    case OUT_READY:
        session->state = OUT_LEAVING;
        smtp_client_quit(session->client);
        out_talk_pump(session);
        break;
    case OUT_LEAVING:
    case OUT_ENDED:
        break;
    case OUT_RESOLVING:
    case OUT_RACING:
    case OUT_GREETING:
    case OUT_HANDSHAKE:
    case OUT_IDENTIFYING:
        pn_buf_clear(&session->reason);
        out_session_end(session, OUT_END_CLEAN, "given up before it was ready");
        break;
    }
}

/* ---- what is known ---- */

unsigned out_session_capabilities(const struct out_session *session)
{
    return session->client ? smtp_client_capabilities(session->client) : 0;
}

uint64_t out_session_size_limit(const struct out_session *session)
{
    return session->client ? smtp_client_size_limit(session->client) : 0;
}

struct pn_str out_session_ehlo_lines(const struct out_session *session)
{
    return session->client ? smtp_client_ehlo_lines(session->client) : PN_STR("");
}

unsigned out_session_quirks(const struct out_session *session)
{
    return session->client ? smtp_client_quirks(session->client) : 0;
}

unsigned out_session_window(const struct out_session *session)
{
    return session->client ? smtp_client_window(session->client) : 0;
}

const struct stream_tls *out_session_tls(const struct out_session *session)
{
    return session->stream ? stream_get_tls(session->stream) : NULL;
}

struct pn_str out_session_peer(const struct out_session *session)
{
    return pn_str_z(session->peer);
}
