/*
 * ingress/front.c - connections of a load balancer, until it has told whose they are.
 *
 * Before its PROXY header a connection is nobody's: it is counted among all sessions, but in
 * no network, and costs a timer and a list entry. What does not begin with a header is dropped
 * without a word, for whoever sends it is no client of ours. What follows the header stays in
 * the stream, as the client's first octets.
 */
#include "session_priv.h"

#include "postern/base/mem.h"
#include "postern/smtp/proxy.h"

#include <utlist.h>

struct front {
    struct front *prev, *next;
    struct ingress *ingress;
    struct stream *stream;
    size_t listener;
    struct pn_timer timer;
};

static const struct pn_ip nobody = {.family = PN_FAMILY_NONE};

static void note_drop(struct ingress *ingress, const struct stream *stream, const char *why)
{
    struct pn_log_line line;

    pn_log_begin(&line, ingress->deps.log, PN_EV_REFUSED_CONNECT);
    pn_log_ip(&line, "peer", &stream->peer.ip);
    pn_log_z(&line, "why", why);
    pn_log_end(&line);
    stats_count(ingress->deps.counters, STATS_CONNECTIONS_REFUSED, 1);
}

/* Gives up everything but the stream. */
static struct stream *release(struct front *front)
{
    struct stream *stream = front->stream;

    DL_DELETE(front->ingress->fronts, front);
    loop_timer_stop(front->ingress->deps.loop, &front->timer);
    policy_session_give(front->ingress->deps.limits, &nobody);
    free(front);
    return stream;
}

static void drop(struct front *front, const char *why)
{
    struct stream *stream;

    if (why) {
        note_drop(front->ingress, front->stream, why);
    }
    stream = release(front);
    stream_abort(&stream);
}

static void log_told(struct ingress *ingress, const struct pn_endpoint *client,
                     const struct pn_ip *via)
{
    struct pn_log_line line;

    pn_log_begin(&line, ingress->deps.log, PN_EV_TOLD);
    pn_log_ip(&line, "peer", &client->ip);
    pn_log_ip(&line, "via", via);
    pn_log_z(&line, "what", "PROXY");
    pn_log_end(&line);
}

static void admit(struct front *front, const struct smtp_proxy *header, bool told)
{
    struct ingress *ingress = front->ingress;
    size_t listener = front->listener;
    struct stream *stream = release(front);
    struct pn_ip via = stream->peer.ip;
    struct pn_endpoint peer = told ? header->client : stream->peer;

    stream_consume(stream, header->octets);
    if (told) {
        log_told(ingress, &peer, &via);
    }
    ingress_admit(ingress, stream, listener, &peer, told ? &via : NULL);
}

static void on_event(struct stream *stream, void *owner)
{
    struct front *front = owner;
    struct smtp_proxy header;

    if (stream_get_state(stream) == STREAM_FAILED) {
        drop(front, NULL);
        return;
    }
    switch (smtp_proxy_parse(stream_peek(stream), &header)) {
    case SMTP_PROXY_TOLD:
        admit(front, &header, true);
        break;
    case SMTP_PROXY_OWN:
        admit(front, &header, false);
        break;
    case SMTP_PROXY_BAD:
        stats_count(front->ingress->deps.counters, STATS_PROTOCOL_ERRORS, 1);
        drop(front, "it does not begin with a PROXY protocol header of version 2");
        break;
    case SMTP_PROXY_MORE:
        if (stream_get_state(stream) == STREAM_ENDED) {
            drop(front, NULL); /* a balancer that looks whether we are there */
        }
        break;
    }
}

static void on_timer(struct pn_timer *timer)
{
    drop(PN_CONTAINER(timer, struct front, timer), "no PROXY protocol header came in time");
}

static bool may_tell(const struct conf_listener *listener, const struct pn_ip *peer)
{
    for (size_t i = 0; i < listener->proxy_hosts.count; i++) {
        if (pn_net_has(&listener->proxy_hosts.items[i], peer)) {
            return true;
        }
    }
    return listener->proxy_hosts.count == 0;
}

void ingress_front_start(struct ingress *ingress, struct stream *stream, size_t listener)
{
    const struct conf *conf = ingress->settings.conf;
    const char *why = NULL;
    struct front *front;

    if (!may_tell(&conf->listeners[listener], &stream->peer.ip)) {
        why = "it is none of the listener's proxy_hosts";
    } else if (ingress->state != INGRESS_RUNNING) {
        why = "closing, try again later";
    } else if (policy_session_take(ingress->deps.limits, &nobody) != POLICY_SESSION_OK) {
        why = "too many sessions, try again later";
    }
    if (why) {
        note_drop(ingress, stream, why);
        stream_abort(&stream);
        return;
    }
    front = PN_NEW(struct front);
    front->ingress = ingress;
    front->stream = stream;
    front->listener = listener;
    front->timer.on_fire = on_timer;
    stream->on_event = on_event;
    stream->owner = front;
    DL_APPEND(ingress->fronts, front);
    loop_timer_after(ingress->deps.loop, &front->timer, conf->command_timeout_ms);
}

void ingress_front_drop_all(struct ingress *ingress)
{
    while (ingress->fronts) {
        drop(ingress->fronts, "closing, try again later");
    }
}
