/*
 * ingress/session.c - one accepted connection: what has happened, and what follows.
 *
 * ingress_session_step is the only way forward. Whoever learns something new (the stream, the
 * draft, a timer, memory that came back) calls it; it looks at what there is and goes as
 * far as that allows. The state says what is waited for, and a row of the table how long
 * and what it is called when nothing comes.
 *
 * Output goes to the stream only between events: a slice of the input is alive while an
 * event is handled, and a call on the stream would end it.
 *
 * The timer is set to the earliest time at which anything can be overdue, and is not moved
 * when progress pushes that back: it finds out when it fires. So a busy session does not
 * touch the heap of timers.
 *
 * A session ends at one place, at the end of a step, which frees it. All its requests can
 * be withdrawn, so that nothing outlives it, with one exception: while the store or the
 * target has the whole message a session whose client is gone stays until the answer is
 * known and logged.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <stdio.h>

#define UNSENT_MAX (16u << 10) /* a client that does not read is not read from */

/* RFC 5321 4.5.3.2.6: clients wait ten minutes, and many less. */
#define FINAL_MS PN_MINUTES(4)

enum limit { NO_LIMIT, COMMAND_TIME, DATA_TIME, MEMORY_TIME, DELAY_TIME, FINAL_TIME };

struct state_row {
    const char *name;
    enum limit limit;
    bool counted;      /* transaction_time goes on here */
    const char *words; /* of a time-out: "timeout …" */
};
static const struct state_row states[SESSION_STATES] = {
    [SESSION_COMMAND] = {"command", COMMAND_TIME, true, "while waiting for a command"},
    [SESSION_DELAY] = {"delay", DELAY_TIME, false, "after many errors"},
    [SESSION_SECURING] = {"securing", NO_LIMIT, false, ""},
    [SESSION_HANDSHAKE] = {"handshake", COMMAND_TIME, false, "in the TLS handshake"},
    [SESSION_RECIPIENT] = {"recipient", NO_LIMIT, true, "while a recipient was looked up"},
    [SESSION_GO_AHEAD] = {"go-ahead", NO_LIMIT, true, "while the message was announced"},
    [SESSION_TEXT] = {"text", DATA_TIME, true, "while waiting for more of the message"},
    [SESSION_MEMORY] = {"memory", MEMORY_TIME, true, "while the message waited for memory"},
    [SESSION_ROOM] = {"room", NO_LIMIT, true, "while the message waited for the disk"},
    [SESSION_TARGET] = {"target", NO_LIMIT, true, "while the message was passed on"},
    [SESSION_FINAL] = {"final", FINAL_TIME, false, ""},
    [SESSION_STORING] = {"storing", NO_LIMIT, false, ""},
    [SESSION_CLOSING] = {"closing", NO_LIMIT, false, ""},
    [SESSION_DROPPED] = {"dropped", NO_LIMIT, false, ""},
};

static void on_event(struct stream *stream, void *owner)
{
    (void)stream;
    ingress_session_step(owner);
}

static void stream_adopt(struct session *session, struct stream *stream)
{
    stream->on_event = on_event;
    stream->owner = session;
    session->stream = stream;
}

void ingress_session_enter(struct session *session, enum session_state state)
{
    struct ingress *ingress = session->ingress;

    if (session->state == state) {
        return;
    }
    if (session->state == SESSION_MEMORY) {
        DL_DELETE2(ingress->waiting, session, wait_prev, wait_next);
    }
    session->state = state;
    session->since = session_loop(session)->now;
    if (state == SESSION_MEMORY) {
        DL_APPEND2(ingress->waiting, session, wait_prev, wait_next);
        if (!pn_heap_has(&ingress->timer.node)) {
            ingress_defer(ingress);
        }
    }
}

void ingress_session_close(struct session *session, const char *ending)
{
    session->ending = ending;
    ingress_session_enter(session, SESSION_CLOSING);
}

void ingress_session_drop(struct session *session, const char *ending)
{
    session->ending = ending;
    ingress_session_enter(session, SESSION_DROPPED);
}

void ingress_session_dismiss(struct session *session, const char *ending, const char *enhanced,
                             const char *why)
{
    struct smtp_reply reply;

    /* A message that is being stored, or judged by the target, may be taken yet: 421 would say
     * that it was not. */
    if (session->state == SESSION_HANDSHAKE || session->state == SESSION_STORING ||
        session->state == SESSION_FINAL) {
        ingress_session_drop(session, ending);
        return;
    }
    smtp_reply_set(&reply, 421, enhanced, "%s %s", session->conf->hostname, why);
    smtp_server_say(session->server, &reply);
    ingress_session_close(session, ending);
}

/* ---- time ------------------------------------------------------------------------- */

static int64_t limit_ms(const struct session *session, enum limit limit)
{
    switch (limit) {
    case COMMAND_TIME:
        return session->conf->command_timeout_ms;
    case DATA_TIME:
        return session->conf->data_timeout_ms;
    case MEMORY_TIME:
        return PN_MINUTES(1);
    case DELAY_TIME:
        return PN_SECONDS(1);
    case FINAL_TIME:
        return FINAL_MS;
    case NO_LIMIT:
        break;
    }
    return INT64_MAX;
}

static struct pn_mono earlier(struct pn_mono a, struct pn_mono b)
{
    return a.ms < b.ms ? a : b;
}

/* When the state itself has lasted too long. */
static struct pn_mono state_deadline(const struct session *session)
{
    return pn_mono_add(session->since, limit_ms(session, states[session->state].limit));
}

static struct pn_mono unsent_deadline(const struct session *session)
{
    return pn_mono_add(session->unsent_since, session->conf->command_timeout_ms);
}

static struct pn_mono deadline(const struct session *session)
{
    struct pn_mono at = state_deadline(session);

    if (states[session->state].counted && session->transaction) {
        at = earlier(
            at, pn_mono_add(session->transaction->since, session->conf->transaction_time_ms));
    }
    return earlier(at, unsent_deadline(session));
}

static void timer_arm(struct session *session)
{
    struct pn_mono at = deadline(session);
    struct pn_timer *timer = &session->timer;

    if (at.ms != PN_MONO_NEVER.ms && (!pn_heap_has(&timer->node) || timer->node.key > at.ms)) {
        pn_timers_set(&session_loop(session)->timers, timer, at);
    }
}

static void time_out(struct session *session)
{
    struct pn_mono now = session_loop(session)->now;
    char why[128];

    if (unsent_deadline(session).ms <= now.ms) {
        ingress_session_drop(session, "timeout: replies were not taken");
    } else if (session->state == SESSION_DELAY) {
        ingress_session_enter(session, SESSION_COMMAND);
    } else if (session->state == SESSION_MEMORY && state_deadline(session).ms <= now.ms) {
        ingress_receive_give_up(session);
        ingress_session_enter(session, SESSION_TEXT);
    } else if (session->state == SESSION_FINAL) {
        ingress_pass_doubt(session);
    } else {
        if (session->state == SESSION_HANDSHAKE) {
            pn_log_say(&session->log, PN_EV_TLS_FAILED, "no handshake in time");
        }
        snprintf(why, sizeof why, "timeout %s", states[session->state].words);
        ingress_session_dismiss(session, "timeout", "4.4.2", why);
    }
}

static void on_timer(struct pn_timer *timer)
{
    struct session *session = PN_CONTAINER(timer, struct session, timer);

    if (deadline(session).ms <= session_loop(session)->now.ms) {
        time_out(session);
    }
    ingress_session_step(session);
}

/* ---- the client's name ------------------------------------------------------------ */

/* A name counts only when it leads back to the address: anybody can claim any name. */
static void on_addresses(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct session *session = PN_CONTAINER(query, struct session, query);

    for (size_t i = 0; answer->status == RESOLVER_FOUND && i < answer->count; i++) {
        if (pn_ip_eq(&answer->records[i].ip, &session->peer.ip)) {
            session->name = session->name_candidate;
            session->name_candidate = NULL;
            return;
        }
    }
}

static void on_name(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct session *session = PN_CONTAINER(query, struct session, query);
    bool v4 = session->peer.ip.family == PN_IPV4;

    if (answer->status == RESOLVER_FOUND && answer->count > 0 && answer->records[0].name[0]) {
        session->name_candidate = pn_strdup(answer->records[0].name);
        query->on_answer = on_addresses;
        resolver_ask(session->ingress->deps.resolver, query, session->name_candidate,
                     v4 ? RESOLVER_A : RESOLVER_AAAA);
    }
}

void ingress_session_name_ask(struct session *session)
{
    struct resolver *resolver = session->ingress->deps.resolver;
    char text[PN_IP_CHARS];

    if (resolver && session->conf->reverse_dns && !pn_ip_is_loopback(&session->peer.ip)) {
        session->query.on_answer = on_name;
        resolver_ask(resolver, &session->query, pn_ip_format(&session->peer.ip, text),
                     RESOLVER_PTR);
    }
}

void ingress_session_name_stop(struct session *session)
{
    if (session->ingress->deps.resolver) {
        resolver_cancel(session->ingress->deps.resolver, &session->query);
    }
    free(session->name_candidate);
    free(session->name);
    session->name_candidate = NULL;
    session->name = NULL;
}

/* ---- life ------------------------------------------------------------------------- */

void ingress_session_log_as(struct session *session, const struct pn_ip *via)
{
    char ip[PN_IP_CHARS];

    pn_log_child(&session->log, session->ingress->deps.log);
    pn_log_context(&session->log, "peer", pn_str_z(pn_ip_format(&session->peer.ip, ip)));
    if (via) {
        pn_log_context(&session->log, "via", pn_str_z(pn_ip_format(via, ip)));
    }
}

void ingress_session_start(struct ingress *ingress, struct stream *stream, bool starttls,
                           const struct pn_endpoint *peer, const struct pn_ip *via)
{
    struct session *session = PN_NEW(struct session);
    struct smtp_server_options options = {0};
    struct conf *conf = conf_ref(ingress->settings.conf);

    session->ingress = ingress;
    session->conf = conf;
    session->domains = domains_ref(ingress->settings.domains);
    session->peer = *peer;
    session->started = ingress->deps.loop->now;
    session->since = session->started;
    session->unsent_since = PN_MONO_NEVER;
    session->timer.on_fire = on_timer;
    ingress_session_log_as(session, via);
    options.hostname = pn_str_z(conf->hostname);
    options.command_length = (size_t)conf->command_length;
    options.message_octets = conf->message_size_octets;
    options.normalise_newlines = conf->bare_newline == CONF_BARE_NORMALISE;
    options.starttls = starttls;
    options.xclient = ingress_xclient_allowed(conf, &peer->ip);
    session->server = smtp_server_new(&options);
    stream_adopt(session, stream);
    DL_APPEND(ingress->sessions, session);
    ingress->session_count++;
    stats_count(ingress->deps.counters, STATS_CONNECTIONS, 1);
    pn_log_say(&session->log, PN_EV_CONNECT, "port %u", (unsigned)session->peer.port);
    ingress_session_name_ask(session);
    smtp_server_greet(session->server, NULL);
    ingress_session_step(session);
}

static void log_end(struct session *session)
{
    struct pn_log_line line;

    pn_log_begin(&line, &session->log, PN_EV_DISCONNECT);
    pn_log_z(&line, "end", session->ending);
    pn_log_str(&line, "helo", pn_str_z(session->helo));
    pn_log_str(&line, "tls", pn_str_z(session->tls));
    pn_log_u64(&line, "messages", session->messages);
    pn_log_u64(&line, "rcpts", session->recipients);
    pn_log_u64(&line, "refused", session->refused);
    pn_log_u64(&line, "errors", (uint64_t)session->errors);
    pn_log_ms(&line, "time", session_loop(session)->now.ms - session->started.ms);
    pn_log_end(&line);
}

static void session_free(struct session *session)
{
    struct ingress *ingress = session->ingress;

    log_end(session);
    ingress_transaction_end(session);
    ingress_session_name_stop(session);
    loop_timer_stop(ingress->deps.loop, &session->timer);
    if (session->state == SESSION_CLOSING) {
        stream_close(&session->stream);
    } else {
        stream_abort(&session->stream);
    }
    DL_DELETE(ingress->sessions, session);
    ingress->session_count--;
    policy_session_give(ingress->deps.limits, &session->peer.ip);
    smtp_server_free(&session->server);
    domains_unref(&session->domains);
    conf_unref(&session->conf);
    free(session->helo);
    free(session->login);
    free(session->tls);
    free(session);
    if (ingress->state == INGRESS_STOPPING && ingress->session_count == 0) {
        ingress_defer(ingress);
    }
}

/* ---- steps ------------------------------------------------------------------------ */

static void flush(struct session *session)
{
    struct pn_buf *output = smtp_server_output(session->server);
    struct pn_str text = pn_buf_str(output);

    if (text.len > 0 && session->state != SESSION_DELAY) {
        stream_write(session->stream, text);
        pn_buf_consume(output, text.len);
    }
}

/* STARTTLS was answered, and its own octets are consumed. */
static void secure(struct session *session)
{
    flush(session);
    if (stream_peek(session->stream).len > 0) {
        /* What came before TLS would count as said inside it (FAULTS 2.1). */
        pn_log_say(&session->log, PN_EV_PROTOCOL_ERROR, "plaintext after STARTTLS");
        stats_count(session->ingress->deps.counters, STATS_PROTOCOL_ERRORS, 1);
        ingress_session_drop(session, "plaintext-after-starttls");
        return;
    }
    stream_adopt(session, tls_accept(session->ingress->settings.tls, session->stream));
    ingress_session_enter(session, SESSION_HANDSHAKE);
}

/* True when the handshake is done: the session begins again. */
static bool handshake(struct session *session)
{
    enum stream_state state = stream_get_state(session->stream);
    const struct stream_tls *tls;
    char text[128];

    if (state == STREAM_CONNECTING) {
        return false;
    }
    if (state != STREAM_OPEN) {
        pn_log_say(&session->log, PN_EV_TLS_FAILED, "%s", stream_error(session->stream));
        ingress_session_drop(session, "tls-failed");
        return false;
    }
    tls = stream_get_tls(session->stream);
    pn_assert(tls);
    snprintf(text, sizeof text, "%s %s", tls->version, tls->cipher);
    session->tls = pn_strdup(text);
    if (!(session->told & SMTP_XCLIENT_HELO)) {
        free(session->helo);
        session->helo = NULL;
    }
    smtp_server_secured(session->server);
    stats_count(session->ingress->deps.counters, STATS_TLS_SESSIONS, 1);
    pn_log_say(&session->log, PN_EV_TLS_STARTED, "%s", text);
    ingress_session_enter(session, SESSION_COMMAND);
    return true;
}

static bool is_reading(const struct session *session)
{
    return session->state == SESSION_COMMAND || session->state == SESSION_TEXT ||
           session->state == SESSION_MEMORY || session->state == SESSION_TARGET;
}

static void settle(struct session *session)
{
    if (is_reading(session)) {
        ingress_session_enter(session, smtp_server_in_text(session->server) ? SESSION_TEXT
                                                                            : SESSION_COMMAND);
    }
}

/* Handles what has been fed. True: there was something. */
static bool handle(struct session *session)
{
    struct smtp_event event;
    bool any = false;

    while (is_reading(session) && smtp_server_next(session->server, &event)) {
        session->since = session_loop(session)->now;
        ingress_command_decide(session, &event);
        any = true;
    }
    return any;
}

/* Feeds once. True: something came of it. */
static bool feed(struct session *session, struct pn_str *data, bool in_text)
{
    size_t taken = smtp_server_feed(session->server, *data);

    if (in_text && taken > 0) {
        session->since = session_loop(session)->now;
    }
    *data = pn_str_sub(*data, taken, SIZE_MAX);
    /* Mending a line end makes text without taking an octet. */
    return handle(session) || taken > 0;
}

/* Feeds until the data is used up, or commands turn into text or back. */
static bool feed_all(struct session *session, struct pn_str *data, bool in_text)
{
    const struct pn_buf *output = smtp_server_output(session->server);
    bool moved = false;

    while (data->len > 0 && is_reading(session) &&
           smtp_server_in_text(session->server) == in_text &&
           pn_buf_str(output).len <= UNSENT_MAX && feed(session, data, in_text)) {
        moved = true;
    }
    return moved;
}

/* Reads on: one piece of input, and all that follows from it. */
static bool advance(struct session *session)
{
    bool in_text = smtp_server_in_text(session->server);
    struct pn_str data;
    size_t len;
    bool moved;

    flush(session);
    ingress_receive_check(session);
    if (stream_unsent(session->stream) > UNSENT_MAX) {
        return false;
    }
    data = stream_peek(session->stream);
    if (data.len == 0) {
        if (stream_get_state(session->stream) == STREAM_ENDED) {
            ingress_session_close(session, "lost");
        }
        return false;
    }
    if (in_text) {
        data.len = ingress_receive_allowance(session, data.len);
    }
    if (data.len == 0) {
        return false;
    }
    ingress_session_enter(session, in_text ? SESSION_TEXT : SESSION_COMMAND);
    len = data.len;
    moved = feed_all(session, &data, in_text);
    stream_consume(session->stream, len - data.len);
    settle(session);
    if (session->state == SESSION_SECURING) {
        secure(session);
    }
    return moved;
}

/* What happened elsewhere was answered; the server may have more to say without an octet. */
static bool resume(struct session *session, bool answered)
{
    if (answered) {
        handle(session);
        settle(session);
    }
    return answered;
}

/* In these states a client that is gone makes no difference yet. */
static bool outlives_client(enum session_state state)
{
    return state == SESSION_STORING || state == SESSION_FINAL || state == SESSION_HANDSHAKE ||
           state == SESSION_DROPPED;
}

/* Moves by one step; false when there is nothing more to do now. */
static bool move(struct session *session)
{
    if (stream_get_state(session->stream) == STREAM_FAILED &&
        !outlives_client(session->state)) {
        ingress_session_drop(session, "lost");
    }
    switch (session->state) {
    case SESSION_COMMAND:
        if (session->ingress->state != INGRESS_RUNNING && !session->transaction) {
            ingress_session_dismiss(session, "stop", "4.3.2", "closing, try again later");
            return false;
        }
        return advance(session);
    case SESSION_TEXT:
    case SESSION_MEMORY:
    case SESSION_TARGET:
        return advance(session);
    case SESSION_RECIPIENT:
        return resume(session, ingress_recipient_step(session));
    case SESSION_GO_AHEAD:
        return resume(session, ingress_receive_go_ahead(session));
    case SESSION_ROOM:
        return resume(session, ingress_receive_room(session));
    case SESSION_FINAL:
        return resume(session, ingress_receive_final(session));
    case SESSION_HANDSHAKE:
        if (session->ingress->state != INGRESS_RUNNING) {
            ingress_session_drop(session, "stop");
            return false;
        }
        return handshake(session);
    case SESSION_STORING:
        return ingress_receive_stored(session);
    case SESSION_DELAY:
    case SESSION_SECURING:
    case SESSION_CLOSING:
    case SESSION_DROPPED:
    case SESSION_STATES:
        break;
    }
    return false;
}

void ingress_session_step(struct session *session)
{
    while (move(session)) {
    }
    if (session->state == SESSION_CLOSING || session->state == SESSION_DROPPED) {
        flush(session);
        session_free(session);
        return;
    }
    flush(session);
    if (stream_unsent(session->stream) == 0) {
        session->unsent_since = PN_MONO_NEVER;
    } else if (session->unsent_since.ms == PN_MONO_NEVER.ms) {
        session->unsent_since = session_loop(session)->now;
    }
    timer_arm(session);
}
