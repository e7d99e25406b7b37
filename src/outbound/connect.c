/*
 * connect.c - finds a host that takes a connection.
 *
 * The target's hosts in their order; for each the addresses that the DNS has (both
 * families are asked at once), in the order of route/. A connection is begun, and another
 * 250 ms later if it is still being made (RFC 8305); the first that is open wins, and the
 * others are dropped as if they had not been tried. What goes wrong after that, up to
 * READY, brings us back here with the address marked as tried. One timer serves the race:
 * it is set to the next thing that can happen.
 *
 * Why a name that does not exist is no more than a failed host: the operator named this
 * host, so a "no" from the DNS is a mistake or an outage, and never a reason to give mail
 * up (FAULTS 6.7).
 */
#include "session_priv.h"

#include "postern/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void next_host(struct out_session *session);

/* ---- reasons ---- */

static void set_host_reason(struct out_session *session, const char *format, va_list args)
{
    vsnprintf(session->host_reason, sizeof session->host_reason, format, args);
    out_watch_note(session, "%s", session->host_reason);
}

static void note_reason(struct out_session *session, const char *format, ...) PN_PRINTF(2, 3);
static void note_reason(struct out_session *session, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_host_reason(session, format, args);
    va_end(args);
}

static void label(const struct out_session *session, const struct pn_ip *ip,
                  char out[OUT_PEER_CHARS])
{
    const struct conf_target *target = out_session_target(session);
    char text[PN_ENDPOINT_CHARS];

    if (target->literal) {
        struct pn_endpoint endpoint = {.ip = *ip, .port = target->port};

        snprintf(out, OUT_PEER_CHARS, "%s", pn_endpoint_format(&endpoint, text));
    } else {
        snprintf(out, OUT_PEER_CHARS, "%.255s[%s]:%u", target->host, pn_ip_format(ip, text),
                 (unsigned)target->port);
    }
}

/* ---- the race ---- */

static void start(struct out_session *session, struct out_try *try);

static void drop(struct out_try *try, enum out_try_state state)
{
    stream_abort(&try->stream);
    try->state = state;
}

static void win(struct out_session *session, size_t at)
{
    for (size_t i = 0; i < session->try_count; i++) {
        if (i != at && session->tries[i].state == OUT_CONNECTING) {
            drop(&session->tries[i], OUT_UNTRIED);
        }
    }
    loop_timer_stop(session->deps.loop, &session->timer);
    session->clear = session->clear && at == session->current;
    session->current = at;
    session->tries[at].state = OUT_TRIED;
    session->stream = session->tries[at].stream;
    session->tries[at].stream = NULL;
    label(session, &session->tries[at].ip, session->peer);
    out_talk_begin(session);
}

static void give_up(struct out_session *session, struct out_try *try, const char *why)
{
    char peer[OUT_PEER_CHARS];

    label(session, &try->ip, peer);
    note_reason(session, "%s: %s", peer, why);
    session->failures++;
    drop(try, OUT_TRIED);
}

/* Looks at every connection: how many are still being made? An open one ends the race. */
static bool look(struct out_session *session, size_t *out_connecting)
{
    *out_connecting = 0;
    for (size_t i = 0; i < session->try_count; i++) {
        struct out_try *try = &session->tries[i];

        if (try->state != OUT_CONNECTING) {
            continue;
        }
        switch (stream_get_state(try->stream)) {
        case STREAM_OPEN:
        case STREAM_ENDED:
            win(session, i);
            return true;
        case STREAM_FAILED:
            give_up(session, try, stream_error(try->stream));
            break;
        case STREAM_CONNECTING:
            if (try->deadline.ms <= session->deps.loop->now.ms) {
                give_up(session, try, "the connection was not made in time");
            } else {
                (*out_connecting)++;
            }
            break;
        }
    }
    return false;
}

static struct out_try *find_untried(struct out_session *session)
{
    for (size_t i = 0; i < session->try_count; i++) {
        if (session->tries[i].state == OUT_UNTRIED) {
            return &session->tries[i];
        }
    }
    return NULL;
}

static void set_timer(struct out_session *session, bool more)
{
    struct pn_mono at = more ? pn_mono_add(session->last_start, OUT_STAGGER_MS) : PN_MONO_NEVER;

    for (size_t i = 0; i < session->try_count; i++) {
        const struct out_try *try = &session->tries[i];

        if (try->state == OUT_CONNECTING && try->deadline.ms < at.ms) {
            at = try->deadline;
        }
    }
    pn_timers_set(&session->deps.loop->timers, &session->timer, at);
}

/* The step of this state. */
static void race(struct out_session *session)
{
    struct pn_mono next = pn_mono_add(session->last_start, OUT_STAGGER_MS);
    struct out_try *untried;
    size_t connecting;

    if (look(session, &connecting)) {
        return;
    }
    untried = find_untried(session);
    if (untried && (connecting == 0 || next.ms <= session->deps.loop->now.ms)) {
        start(session, untried);
        connecting++;
        untried = find_untried(session);
    }
    if (connecting > 0) {
        set_timer(session, untried != NULL);
    } else {
        next_host(session);
    }
}

static void on_stream(struct stream *stream, void *owner)
{
    (void)stream;
    race(owner);
}

static void start(struct out_session *session, struct out_try *try)
{
    struct pn_endpoint to = {.ip = try->ip, .port = out_session_target(session)->port};
    struct loop *loop = session->deps.loop;

    session->last_start = loop->now;
    try->state = OUT_CONNECTING;
    try->deadline = pn_mono_add(loop->now, session->options.connect_timeout_ms);
    try->stream = network_connect(session->deps.network, &to, NULL);
    try->stream->on_event = on_stream;
    try->stream->owner = session;
}

void out_connect_tick(struct out_session *session)
{
    race(session);
}

/* ---- addresses ---- */

/* Our own endpoints are never connected to: mail would go in circles (FAULTS 5.6). */
static void add_try(struct out_session *session, const struct pn_ip *ip)
{
    struct pn_endpoint to = {.ip = *ip, .port = out_session_target(session)->port};
    const struct out_deps *deps = &session->deps;
    char peer[OUT_PEER_CHARS];

    if (route_is_own(&to, deps->own, deps->own_count, deps->own_ips, deps->own_ip_count)) {
        label(session, ip, peer);
        note_reason(session, "%s: this is ourselves", peer);
        session->loops++;
        return;
    }
    session->tries[session->try_count++] = (struct out_try){.ip = *ip};
}

static void begin_race(struct out_session *session, const struct pn_ip *v6, size_t v6_count,
                       const struct pn_ip *v4, size_t v4_count)
{
    struct pn_ip ips[ROUTE_ADDRESSES_MAX];
    size_t count = route_order(v6, v6_count, v4, v4_count, ips);

    session->state = OUT_RACING;
    session->try_count = 0;
    for (size_t i = 0; i < count; i++) {
        add_try(session, &ips[i]);
    }
    if (count == 0) {
        session->failures++;
        note_reason(session, "%s: has no address that can be connected to",
                    out_session_target(session)->host);
    }
    race(session);
}

/* Both questions have their answers. */
static void use_answers(struct out_session *session)
{
    const struct out_lookup *v6 = &session->v6;
    const struct out_lookup *v4 = &session->v4;
    const char *host = out_session_target(session)->host;

    if (v6->count > 0 || v4->count > 0) {
        begin_race(session, v6->ips, v6->count, v4->ips, v4->count);
        return;
    }
    session->failures++;
    if (v4->status == RESOLVER_TEMPFAIL || v6->status == RESOLVER_TEMPFAIL) {
        note_reason(session, "%s: the lookup of its addresses failed: %s", host,
                    v4->status == RESOLVER_TEMPFAIL ? v4->why : v6->why);
    } else if (v4->status == RESOLVER_NXDOMAIN || v6->status == RESOLVER_NXDOMAIN) {
        note_reason(session, "%s: there is no such name in the DNS", host);
    } else {
        note_reason(session, "%s: the name has no address", host);
    }
    next_host(session);
}

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct out_lookup *lookup = PN_CONTAINER(query, struct out_lookup, query);
    struct out_session *session = lookup->session;

    lookup->answered = true;
    lookup->status = answer->status;
    snprintf(lookup->why, sizeof lookup->why, "%s", answer->why);
    if (answer->status == RESOLVER_FOUND) {
        for (size_t i = 0; i < answer->count && lookup->count < ROUTE_ADDRESSES_MAX; i++) {
            lookup->ips[lookup->count++] = answer->records[i].ip;
        }
    }
    if (session->v6.answered && session->v4.answered) {
        use_answers(session);
    }
}

static void ask(struct out_session *session, struct out_lookup *lookup, const char *host,
                enum resolver_type type)
{
    lookup->answered = false;
    lookup->count = 0;
    lookup->query = (struct resolver_query){.on_answer = on_answer};
    resolver_ask(session->deps.resolver, &lookup->query, host, type);
}

/* ---- hosts ---- */

/* What the host's TLS needs, as the domain's option says. */
static void set_host(struct out_session *session, const struct conf_target *target)
{
    static const struct {
        const char *word;
        enum route_tls tls;
    } needs[] = {
        [CONF_TLS_MAY] = {"may", ROUTE_TLS_MAY},
        [CONF_TLS_NONE] = {"none", ROUTE_TLS_NONE},
        [CONF_TLS_ENCRYPT] = {"encrypt", ROUTE_TLS_ENCRYPT},
        [CONF_TLS_VERIFY] = {"verify", ROUTE_TLS_VERIFY},
        [CONF_TLS_FINGERPRINT] = {"fingerprint", ROUTE_TLS_FINGERPRINT},
        [CONF_TLS_DANE] = {"dane", ROUTE_TLS_MAY},
        [CONF_TLS_DANE_ONLY] = {"dane-only", ROUTE_TLS_DANE},
    };
    struct route_host *host = &session->host;

    *host = (struct route_host){.literal = target->literal,
                                .port = target->port,
                                .tls = needs[session->options.domain->tls].tls};
    snprintf(host->name, sizeof host->name, "%s", target->host);
    snprintf(host->sni, sizeof host->sni, "%s", target->host);
    snprintf(host->tls_why, sizeof host->tls_why, "%s has tls = %s",
             session->options.domain->name, needs[session->options.domain->tls].word);
}

void out_connect_begin(struct out_session *session)
{
    const struct conf_target *target = out_session_target(session);

    set_host(session, target);
    session->host_reason[0] = '\0';
    session->clear = false;
    if (!target->literal) {
        session->state = OUT_RESOLVING;
        ask(session, &session->v6, target->host, RESOLVER_AAAA);
        ask(session, &session->v4, target->host, RESOLVER_A);
    } else if (target->ip.family == PN_IPV6) {
        begin_race(session, &target->ip, 1, NULL, 0);
    } else {
        begin_race(session, NULL, 0, &target->ip, 1);
    }
}

static void end_here(struct out_session *session)
{
    enum out_end end = session->busies > 0                            ? OUT_END_BUSY
                       : session->loops > 0 && session->failures == 0 ? OUT_END_LOOP
                                                                      : OUT_END_FAILED;

    out_session_end(session, end, "%s", session->host_reason);
}

static void next_host(struct out_session *session)
{
    if (session->target + 1 == session->options.domain->target_count) {
        end_here(session);
        return;
    }
    (void)!pn_buf_printf(&session->reason, "%s; ", session->host_reason);
    session->target++;
    out_connect_begin(session);
}

static void count_failure(struct out_session *session, enum out_end why)
{
    size_t *counter = why == OUT_END_LOOP   ? &session->loops
                      : why == OUT_END_BUSY ? &session->busies
                                            : &session->failures;

    (*counter)++;
}

void out_connect_failed(struct out_session *session, enum out_end why, const char *format, ...)
{
    va_list args;

    count_failure(session, why);
    va_start(args, format);
    set_host_reason(session, format, args);
    va_end(args);
    loop_timer_stop(session->deps.loop, &session->timer);
    stream_abort(&session->stream);
    session->clear = false;
    session->state = OUT_RACING;
    race(session);
}

void out_connect_again(struct out_session *session)
{
    stream_abort(&session->stream);
    session->clear = true;
    session->state = OUT_RACING;
    start(session, &session->tries[session->current]);
    set_timer(session, false);
}

void out_connect_cancel(struct out_session *session)
{
    resolver_cancel(session->deps.resolver, &session->v6.query);
    resolver_cancel(session->deps.resolver, &session->v4.query);
    for (size_t i = 0; i < session->try_count; i++) {
        stream_abort(&session->tries[i].stream);
    }
}
