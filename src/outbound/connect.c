/*
 * connect.c - finds a host that takes a connection.
 *
 * The plan (route/) says which hosts, in which order, and asks for what it has to know; here
 * its questions are put to the DNS and to the policies, and its hosts are tried. A host's
 * connections are begun in the order of its addresses, and another 250 ms later if one is
 * still being made (RFC 8305); the first that is open wins, and the others are dropped as if
 * they had not been tried. What goes wrong after that, up to READY, brings us back here with
 * the address marked as tried. One timer serves the race: it is set to the next thing that can
 * happen.
 *
 * Why a name that does not exist is no more than a failed host: a "no" from the DNS may be a
 * mistake or an outage, and is never a reason to give mail up (FAULTS 6.7). The exception is
 * a null MX, which says so on purpose.
 */
#include "session_priv.h"

#include "postern/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void next_step(struct out_session *session);

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

/* What went wrong with the host before is kept, and there is room for the next one's. */
static void keep_reason(struct out_session *session)
{
    if (session->host_reason[0] != '\0') {
        (void)!pn_buf_printf(&session->reason, "%s; ", session->host_reason);
        session->host_reason[0] = '\0';
    }
}

static void label(const struct out_session *session, const struct pn_ip *ip,
                  char out[OUT_PEER_CHARS])
{
    const struct route_host *host = &session->host;
    char text[PN_ENDPOINT_CHARS];

    if (host->path) {
        snprintf(out, OUT_PEER_CHARS, "unix:%s", host->path);
    } else if (host->literal) {
        struct pn_endpoint endpoint = {.ip = *ip, .port = host->port};

        snprintf(out, OUT_PEER_CHARS, "%s", pn_endpoint_format(&endpoint, text));
    } else {
        snprintf(out, OUT_PEER_CHARS, "%.255s[%s]:%u", host->name, pn_ip_format(ip, text),
                 (unsigned)host->port);
    }
}

/* Our own address for connections to one of this family; NULL: any. */
static const struct pn_ip *source_for(const struct out_session *session, const struct pn_ip *ip)
{
    const struct conf_domain *domain = session->options.domain;
    const struct pn_ip *source =
        ip->family == PN_IPV6 ? &domain->source_v6 : &domain->source_v4;

    return source->family != PN_FAMILY_NONE ? source : NULL;
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
    session->helo_name =
        source_for(session, &session->tries[at].ip)
            ? session->options.domain->source_names[session->tries[at].ip.family == PN_IPV6]
            : NULL;
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
        next_step(session);
    }
}

static void on_stream(struct stream *stream, void *owner)
{
    (void)stream;
    race(owner);
}

static void start(struct out_session *session, struct out_try *try)
{
    struct pn_endpoint to = {.ip = try->ip, .port = session->host.port};
    struct loop *loop = session->deps.loop;

    session->last_start = loop->now;
    try->state = OUT_CONNECTING;
    try->deadline = pn_mono_add(loop->now, session->options.connect_timeout_ms);
    try->stream =
        session->host.path
            ? network_connect_unix(session->deps.network, session->host.path)
            : network_connect(session->deps.network, &to, source_for(session, &try->ip));
    try->stream->on_event = on_stream;
    try->stream->owner = session;
}

void out_connect_tick(struct out_session *session)
{
    race(session);
}

/* ---- a host ---- */

/* Our own endpoints are never connected to: mail would go in circles (FAULTS 5.6). */
static void add_try(struct out_session *session, const struct pn_ip *ip)
{
    struct pn_endpoint to = {.ip = *ip, .port = session->host.port};
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

static void begin_host(struct out_session *session, const struct route_step *step)
{
    keep_reason(session);
    session->host = *step->host;
    session->clear = false;
    session->state = OUT_RACING;
    session->try_count = 0;
    for (size_t i = 0; i < step->ip_count && i < ROUTE_ADDRESSES_MAX; i++) {
        add_try(session, &step->ips[i]);
    }
    if (session->host.path) {
        session->tries[session->try_count++] = (struct out_try){0};
    }
    race(session);
}

/* ---- the plan ---- */

static void on_answered(struct out_questions *questions)
{
    next_step(PN_CONTAINER(questions, struct out_session, questions));
}

void out_connect_begin(struct out_session *session)
{
    const struct out_deps *deps = &session->deps;
    struct route_plan_input input = {.conf = session->options.conf,
                                     .domain = session->options.domain,
                                     .own = deps->own,
                                     .own_count = deps->own_count,
                                     .own_ips = deps->own_ips,
                                     .own_ip_count = deps->own_ip_count,
                                     .rand = deps->rand,
                                     .policies = deps->policies != NULL};

    session->plan = route_plan_new(&input);
    out_questions_init(&session->questions, deps->resolver, deps->policies, session->plan,
                       on_answered);
    next_step(session);
}

static void end_here(struct out_session *session)
{
    enum out_end end = session->busies > 0                            ? OUT_END_BUSY
                       : session->loops > 0 && session->failures == 0 ? OUT_END_LOOP
                                                                      : OUT_END_FAILED;

    out_session_end(session, end, "%s", session->host_reason);
}

/* The domain takes no mail, and says so itself. */
static void end_refused(struct out_session *session, const char *why)
{
    struct out_event *event;

    out_session_end(session, OUT_END_REFUSED, "%s", why);
    event = &session->events[session->event_first + session->event_count - 1];
    smtp_reply_set(&event->reply, 556, "5.1.10", "%s", why);
}

static void pass_over(struct out_session *session, const struct route_step *step)
{
    keep_reason(session);
    note_reason(session, "%s", step->text);
    *(step->loop ? &session->loops : &session->failures) += 1;
}

/* One step of the plan; false when there is nothing to do but wait. */
static bool take_step(struct out_session *session)
{
    struct route_step step;

    session->state = OUT_RESOLVING;
    route_plan_next(session->plan, &step);
    switch (step.kind) {
    case ROUTE_ASK_MX:
    case ROUTE_ASK_POLICY:
    case ROUTE_ASK_ADDRESSES:
    case ROUTE_ASK_TLSA:
        (void)out_questions_ask(&session->questions, &step);
        break;
    case ROUTE_TRY:
        begin_host(session, &step);
        break;
    case ROUTE_PASS:
        pass_over(session, &step);
        return true;
    case ROUTE_NOTE:
        out_watch_note(session, "%s", step.text);
        return true;
    case ROUTE_END:
        if (step.refused) {
            end_refused(session, step.text);
        } else {
            end_here(session);
        }
        break;
    }
    return false;
}

static void next_step(struct out_session *session)
{
    while (take_step(session)) {
    }
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
    out_questions_cancel(&session->questions);
    for (size_t i = 0; i < session->try_count; i++) {
        stream_abort(&session->tries[i].stream);
    }
}
