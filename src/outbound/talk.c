/*
 * talk.c - speaks with the host that took the connection.
 *
 * pump() carries octets between stream and client and events from the client to the owner,
 * until nothing moves. Up to READY whatever goes wrong is told to connect.c, which tries
 * the next address. From READY on it ends the session; mails under way are then LOST, and
 * an end with none under way is nobody's fault (FAULTS 4.10).
 *
 * One deadline watches over what the peer owes us: a reply, the reply to a text, or taking
 * the octets on their way. It is set anew by each whole reply, and when the last octet has
 * left; a peer that sends its reply octet by octet does not move it.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/outbound/board.h"

#include <stdio.h>

#define OUT_SLOW_MS PN_SECONDS(5) /* a reply to a text that takes so long: less at a time */

static bool talks(const struct out_session *session)
{
    return session->state == OUT_GREETING || session->state == OUT_READY ||
           session->state == OUT_IDENTIFYING || session->state == OUT_LEAVING;
}

/* ---- how it goes wrong ---- */

/* "421 4.3.2 Later", or for junk what is wrong with it. */
static void describe(const struct smtp_reply *reply, struct pn_buf *out)
{
    if (reply->code == 0) {
        (void)!pn_buf_append_z(out, reply->text);
    } else {
        (void)!smtp_reply_format(reply, out);
    }
}

static const char *before_stage(const char *stage)
{
    return pn_str_eq(pn_str_z(stage), PN_STR("greeting"))       ? "as its"
           : pn_str_eq(pn_str_z(stage), PN_STR("message text")) ? "in the middle of the"
           : pn_str_eq(pn_str_z(stage), PN_STR("transaction"))  ? "in the middle of a"
           : pn_str_eq(pn_str_z(stage), PN_STR("idle session")) ? "in an"
                                                                : "in reply to";
}

/* A peer that was turned down, and is not at fault for us, is left in good order. */
void out_talk_goodbye(struct out_session *session)
{
    out_watch_data(session, '>', PN_STR("QUIT\r\n"));
    stream_write(session->stream, PN_STR("QUIT\r\n"));
    stream_close(&session->stream);
}

/* The session is of no more use, at whatever state it is. */
static void break_off(struct out_session *session, enum out_end end, const char *what)
{
    bool idle = session->mail_count == 0 && !out_live_open(session);

    if (session->state == OUT_GREETING || session->state == OUT_HANDSHAKE) {
        out_connect_failed(session, end == OUT_END_BUSY ? end : OUT_END_FAILED, "%s: %s",
                           session->peer, what);
    } else if (session->state == OUT_IDENTIFYING && session->identified) {
        out_session_end(session, OUT_END_CLIENT, "%s: %s", session->peer, what);
    } else if (session->state == OUT_LEAVING && idle) {
        out_session_end(session, OUT_END_CLEAN, "%s: %s", session->peer, what);
    } else if (end == OUT_END_BUSY) {
        out_session_end(session, OUT_END_BUSY, "%s: %s", session->peer, what);
    } else {
        out_session_end(session, idle ? OUT_END_CLEAN : OUT_END_LOST, "%s: %s", session->peer,
                        what);
    }
}

/*
 * Said after XCLIENT. What comes before READY is the client's verdict, but for a refusal of
 * XCLIENT itself: only 521 and 554 are what a client is turned away with (RFC 7504, and
 * Postfix without smtpd_delay_reject); any other means that the server and we disagree about
 * the command, and no mail is refused for that.
 */
static void break_off_client(struct out_session *session, const struct smtp_reply *reply,
                             const char *stage, const char *what)
{
    struct smtp_reply verdict = {0};

    if (session->state == OUT_IDENTIFYING) {
        verdict = *reply;
        if (pn_str_eq(pn_str_z(stage), PN_STR("XCLIENT")) && smtp_reply_refused(reply) &&
            reply->code != 521 && reply->code != 554) {
            smtp_reply_set(&verdict, 451, "4.7.0", "The next hop refused XCLIENT: %d %.400s",
                           reply->code, reply->text);
        }
    }
    out_session_end(session, OUT_END_CLIENT, "%s: %s", session->peer, what);
    session->events[session->event_first + session->event_count - 1].reply = verdict;
}

static void break_off_reply(struct out_session *session, enum out_end end,
                            const struct smtp_reply *reply, const char *stage)
{
    struct pn_buf what;

    if (session->state == OUT_GREETING && reply->code != 0 && reply->code != 421) {
        out_talk_goodbye(session);
    }
    pn_buf_init(&what, OUT_REASON_MAX);
    describe(reply, &what);
    (void)!pn_buf_printf(&what, " %s %s", before_stage(stage), stage);
    (void)!pn_buf_append_char(&what, '\0');
    if (session->identified && reply->code >= 400) {
        break_off_client(session, reply, stage, pn_buf_str(&what).ptr);
    } else {
        break_off(session, end, pn_buf_str(&what).ptr);
    }
    pn_buf_fini(&what);
}

/*
 * The peer has shown that it does not keep to what it announces. The mails under way are sent
 * again, over a session that knows, and it is not held against the destination.
 */
static void break_off_quirk(struct out_session *session, const struct smtp_client_event *event)
{
    if (session->deps.board) {
        out_board_add_quirks(session->deps.board,
                             pn_str_z(session->options.domain->destination), event->quirks,
                             true, session->deps.loop->now);
    }
    out_watch_note(session, "it is spoken to %s from now on",
                   event->quirks & SMTP_QUIRK_PIPELINING ? "step by step" : "without BDAT");
    break_off_reply(session, OUT_END_BUSY, &event->reply, event->stage);
}

/* What the peer still owed us when the connection ended or the time was over. */
static void owed(const struct out_session *session, char *out, size_t size)
{
    const char *stage = session->client ? smtp_client_awaits(session->client) : NULL;

    if (session->state == OUT_HANDSHAKE) {
        snprintf(out, size, "TLS handshake");
    } else if (!stage) {
        snprintf(out, size, "%s",
                 session->text_mail || out_live_text(session) ? "message text"
                 : out_live_open(session)                     ? "transaction"
                                                              : "idle session");
    } else if (pn_str_eq(pn_str_z(stage), PN_STR("greeting"))) {
        snprintf(out, size, "greeting");
    } else {
        snprintf(out, size, "reply to %s", stage);
    }
}

/* ---- the stream ---- */

static void on_stream(struct stream *stream, void *owner)
{
    struct out_session *session = owner;

    (void)stream;
    if (session->state == OUT_HANDSHAKE) {
        out_secure_step(session);
    } else {
        out_talk_pump(session);
    }
}

void out_talk_adopt(struct out_session *session, struct stream *stream)
{
    session->stream = stream;
    stream->on_event = on_stream;
    stream->owner = session;
}

/*
 * With TLS 1.3 a peer's refusal of our handshake arrives when ours is done, so a failure
 * of the stream before READY may be one too.
 */
static void on_closed(struct out_session *session)
{
    char what[256];
    char open[64];
    bool failed = stream_get_state(session->stream) == STREAM_FAILED;

    if (failed && session->state == OUT_GREETING && session->secured &&
        !out_secure_needed(session)) {
        out_secure_failed(session, stream_error(session->stream));
        return;
    }
    owed(session, open, sizeof open);
    snprintf(what, sizeof what, "%s (%s)",
             failed ? stream_error(session->stream) : "the connection was closed", open);
    break_off(session, OUT_END_LOST, what);
}

/* ---- the client's events ---- */

static void become_ready(struct out_session *session)
{
    session->state = OUT_READY;
    out_event_push(session, OUT_EV_READY, NULL);
}

static void go(struct out_session *session)
{
    smtp_client_go(session->client);
    if (session->options.check) {
        smtp_client_check(session->client);
    } else {
        become_ready(session);
    }
}

static void on_ehlo(struct out_session *session)
{
    struct pn_str own = pn_str_z(session->options.conf->hostname);

    if (pn_str_eq_nocase(smtp_client_greeting(session->client), own)) {
        out_talk_goodbye(session);
        out_connect_failed(session, OUT_END_LOOP, "%s: it greets with our own name: a loop",
                           session->peer);
    } else if (out_secure_wanted(session)) {
        out_secure_begin(session);
    } else {
        out_secure_settled(session);
        out_talk_go_on(session);
    }
}

static void on_starttls_refused(struct out_session *session, const struct smtp_reply *reply)
{
    out_secure_missing(session);
    if (out_secure_needed(session)) {
        break_off_reply(session, OUT_END_FAILED, reply, "STARTTLS");
    } else {
        out_talk_go_on(session);
    }
}

void out_talk_go_on(struct out_session *session)
{
    if (out_login_wanted(session)) {
        out_login_begin(session);
    } else {
        go(session);
    }
}

static void on_checked(struct out_session *session, const struct smtp_reply *reply)
{
    if (smtp_reply_ok(reply)) {
        become_ready(session);
    } else {
        break_off_reply(session, OUT_END_FAILED, reply, "MAIL FROM");
    }
}

/* Whoever has taken a mail this way is not one that falls silent because of it. */
static void on_done(struct out_session *session, struct smtp_client_mail *mail)
{
    bool taken = false;

    for (size_t i = 0; i < mail->recipient_count; i++) {
        taken = taken || smtp_reply_ok(&mail->replies[i]);
    }
    if (taken && !session->did_well && session->deps.board) {
        session->did_well = true;
        out_board_no_quirks(session->deps.board,
                            pn_str_z(session->options.domain->destination));
    }
    out_session_drop_mail(session, mail);
    out_event_push(session, OUT_EV_DONE, mail);
}

static void on_event(struct out_session *session, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_EV_EHLO:
        on_ehlo(session);
        break;
    case SMTP_CLIENT_EV_TLS:
        out_secure_handshake(session);
        break;
    case SMTP_CLIENT_EV_NO_TLS:
        on_starttls_refused(session, &event->reply);
        break;
    case SMTP_CLIENT_EV_TEXT:
        session->text_mail = event->mail;
        out_event_push(session, OUT_EV_TEXT, event->mail);
        break;
    case SMTP_CLIENT_EV_DONE:
        on_done(session, event->mail);
        break;
    case SMTP_CLIENT_EV_CHECKED:
        on_checked(session, &event->reply);
        break;
    case SMTP_CLIENT_EV_LIVE:
        out_event_push(session, OUT_EV_LIVE, NULL);
        session->events[session->event_first + session->event_count - 1].reply = event->reply;
        break;
    case SMTP_CLIENT_EV_FAILED:
        if (event->quirks) {
            break_off_quirk(session, event);
            break;
        }
        break_off_reply(session, event->busy ? OUT_END_BUSY : OUT_END_LOST, &event->reply,
                        event->stage);
        break;
    case SMTP_CLIENT_EV_CHALLENGE:
        out_login_challenge(session, event->challenge);
        break;
    case SMTP_CLIENT_EV_AUTH:
        out_login_ended(session, &event->reply);
        break;
    case SMTP_CLIENT_EV_IDENTIFIED:
        become_ready(session);
        break;
    case SMTP_CLIENT_EV_QUIT:
        out_session_end(session, OUT_END_CLEAN, "%s: all done", session->peer);
        break;
    }
}

/* ---- octets ---- */

static bool take_input(struct out_session *session)
{
    struct pn_str data = stream_peek(session->stream);
    size_t taken = data.len > 0 ? smtp_client_feed(session->client, data) : 0;

    if (taken > 0) {
        out_watch_data(session, '<', pn_str_sub(data, 0, taken));
        stream_consume(session->stream, taken);
    }
    return taken > 0;
}

static bool give_output(struct out_session *session)
{
    struct pn_buf *output = smtp_client_output(session->client);
    bool given = false;

    while (output->len > 0 && stream_unsent(session->stream) < OUT_UNSENT_MAX) {
        if (smtp_client_in_auth(session->client)) {
            out_watch_secret(session, pn_buf_str(output));
        } else {
            out_watch_data(session, '>', pn_buf_str(output));
        }
        stream_write(session->stream, pn_buf_str(output));
        pn_buf_consume(output, output->len);
        output = smtp_client_output(session->client);
        given = true;
    }
    return given;
}

/* ---- the deadline ---- */

static enum out_wait find_wait(const struct out_session *session, size_t unsent)
{
    return smtp_client_awaits_final(session->client) ? OUT_WAIT_FINAL
           : smtp_client_awaits(session->client)     ? OUT_WAIT_REPLY
           : unsent > 0                              ? OUT_WAIT_SENDING
                                                     : OUT_WAIT_NOTHING;
}

static int64_t allowance(const struct out_session *session, enum out_wait wait)
{
    const struct conf *conf = session->options.conf;
    int64_t ms = wait == OUT_WAIT_FINAL ? conf->final_timeout_ms : conf->reply_timeout_ms;

    if (session->state == OUT_LEAVING && session->mail_count == 0 && !out_live_open(session)) {
        return OUT_QUIT_MS;
    }
    return out_live_open(session) && session->live_timeout_ms > 0 &&
                   session->live_timeout_ms < ms
               ? session->live_timeout_ms
               : ms;
}

static void watch_time(struct out_session *session)
{
    size_t unsent = stream_unsent(session->stream);
    enum out_wait wait = find_wait(session, unsent);
    uint64_t replies = smtp_client_replies(session->client);
    bool moved = replies != session->replies || (session->was_unsent && unsent == 0);

    if (session->waits == OUT_WAIT_FINAL && replies != session->replies &&
        session->deps.loop->now.ms - session->since.ms >= OUT_SLOW_MS) {
        smtp_client_slow(session->client);
    }
    if (wait == OUT_WAIT_NOTHING) {
        loop_timer_stop(session->deps.loop, &session->timer);
    } else if (wait != session->waits || moved) {
        session->since = session->deps.loop->now;
        loop_timer_after(session->deps.loop, &session->timer, allowance(session, wait));
    }
    if (session->was_unsent && unsent == 0 && (session->text_mail || out_live_text(session))) {
        out_event_push(session, OUT_EV_MORE, session->text_mail);
    }
    session->waits = wait;
    session->replies = replies;
    session->was_unsent = unsent > 0;
}

void out_talk_hurry(struct out_session *session)
{
    if (talks(session) && session->waits != OUT_WAIT_NOTHING) {
        loop_timer_after(session->deps.loop, &session->timer,
                         allowance(session, session->waits));
    }
}

void out_talk_tick(struct out_session *session)
{
    struct pn_buf what;
    char open[64];

    if (session->state == OUT_HANDSHAKE) {
        out_secure_failed(session, "the TLS handshake was not done in time");
        return;
    }
    if (session->deps.board && session->waits != OUT_WAIT_SENDING &&
        smtp_client_stalled(session->client)) {
        out_board_add_quirks(session->deps.board,
                             pn_str_z(session->options.domain->destination),
                             SMTP_QUIRK_PIPELINING, false, session->deps.loop->now);
    }
    owed(session, open, sizeof open);
    pn_buf_init(&what, 256);
    (void)!pn_buf_printf(&what, "no %s within ",
                         session->waits == OUT_WAIT_SENDING ? "octet was taken" : open);
    (void)!pn_duration_format(allowance(session, session->waits), &what);
    (void)!pn_buf_append_char(&what, '\0');
    break_off(session, OUT_END_LOST, pn_buf_str(&what).ptr);
    pn_buf_fini(&what);
}

void out_talk_pump(struct out_session *session)
{
    struct smtp_client_event event;
    bool moved;

    do {
        while (talks(session) && smtp_client_next(session->client, &event)) {
            on_event(session, &event);
        }
        if (!talks(session)) {
            return;
        }
        moved = give_output(session); /* which may have made an event */
        moved = take_input(session) || moved;
    } while (moved);
    if (stream_get_state(session->stream) == STREAM_OPEN) {
        watch_time(session);
    } else {
        on_closed(session);
    }
}

void out_talk_begin(struct out_session *session)
{
    const char *hostname = session->options.conf->hostname;
    struct smtp_client_options options = {
        .hostname = pn_str_z(session->helo_name ? session->helo_name : hostname),
        .lmtp = session->options.domain->service == CONF_LMTP,
        .window_mails = session->options.window_mails,
        .window_octets = session->options.window_octets,
        .window_mails_max = session->options.window_mails_max,
        .window_octets_max = session->options.window_octets_max,
        .quirks = session->deps.board
                      ? out_board_quirks(session->deps.board,
                                         pn_str_z(session->options.domain->destination),
                                         session->deps.loop->now)
                      : 0,
    };

    smtp_client_free(&session->client);
    session->client = smtp_client_new(&options);
    out_login_reset(session);
    session->state = OUT_GREETING;
    session->secured = false;
    session->tls_settled = false;
    session->waits = OUT_WAIT_NOTHING;
    session->replies = 0;
    session->was_unsent = false;
    out_talk_adopt(session, session->stream);
    out_watch_note(session, "connected to %s", session->peer);
    out_talk_pump(session);
}
