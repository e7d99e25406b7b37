/*
 * ingress/ingress.c - accepted connections of one worker: life cycle, limits, stop.
 *
 * Sessions that wait for memory stand in line. They are woken from the front: at the end of
 * a turn in which a session of this worker gave memory back, and every 50 ms while somebody
 * waits, because sessions of other workers give back too and nobody tells us.
 */
#include "postern/ingress/ingress.h"

#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#define WAKE_MS     50
#define SCRATCH_MAX 8192

/* Lets who waits try again, until one has to go on waiting. */
static void wake(struct ingress *ingress)
{
    struct session *first;

    do {
        first = ingress->waiting;
        if (first) {
            ingress_session_step(first);
        }
    } while (first && ingress->waiting != first);
    if (ingress->waiting) {
        loop_timer_after(ingress->deps.loop, &ingress->timer, WAKE_MS);
    }
}

static void on_timer(struct pn_timer *timer)
{
    wake(PN_CONTAINER(timer, struct ingress, timer));
}

static void on_task(struct loop_task *task)
{
    struct ingress *ingress = PN_CONTAINER(task, struct ingress, task);

    ingress->task_deferred = false;
    if (ingress->state == INGRESS_FREED) {
        free(ingress);
        return;
    }
    wake(ingress);
    if (ingress->state == INGRESS_STOPPING && ingress->session_count == 0) {
        ingress->state = INGRESS_STOPPED;
        ingress->on_stopped(ingress->owner); /* may free the ingress: nothing may follow */
    }
}

void ingress_defer(struct ingress *ingress)
{
    if (!ingress->task_deferred) {
        ingress->task_deferred = true;
        loop_defer(ingress->deps.loop, &ingress->task);
    }
}

static void settings_take(struct ingress *ingress, const struct ingress_settings *settings)
{
    struct ingress_settings old = ingress->settings;

    ingress->settings.conf = conf_ref(settings->conf);
    ingress->settings.domains = domains_ref(settings->domains);
    ingress->settings.tls = tls_context_ref(settings->tls);
    conf_unref(&old.conf);
    if (old.domains) {
        domains_unref(&old.domains);
    }
    tls_context_unref(&old.tls);
}

struct ingress *ingress_new(const struct ingress_deps *deps,
                            const struct ingress_settings *settings)
{
    struct ingress *ingress = PN_NEW(struct ingress);

    ingress->deps = *deps;
    pn_rand_init(&ingress->rand, deps->seed);
    ingress->timer.on_fire = on_timer;
    ingress->task.on_run = on_task;
    pn_buf_init(&ingress->scratch, SCRATCH_MAX);
    settings_take(ingress, settings);
    return ingress;
}

void ingress_configure(struct ingress *ingress, const struct ingress_settings *settings)
{
    settings_take(ingress, settings);
}

/* Says 421 and hangs up, without a session. */
static void turn_away(struct ingress *ingress, struct stream *stream,
                      const struct pn_endpoint *peer, const char *why)
{
    struct smtp_reply reply;
    struct pn_log_line line;

    pn_log_begin(&line, ingress->deps.log, PN_EV_REFUSED_CONNECT);
    pn_log_ip(&line, "peer", &peer->ip);
    pn_log_z(&line, "why", why);
    pn_log_end(&line);
    stats_count(ingress->deps.counters, STATS_CONNECTIONS_REFUSED, 1);
    smtp_reply_set(&reply, 421, "4.3.2", "%s %s", ingress->settings.conf->hostname, why);
    pn_buf_clear(&ingress->scratch);
    pn_assert(smtp_reply_write(&reply, &ingress->scratch) == 0);
    stream_write(stream, pn_buf_str(&ingress->scratch));
    stream_close(&stream);
}

void ingress_admit(struct ingress *ingress, struct stream *stream, size_t listener,
                   const struct pn_endpoint *peer, const struct pn_ip *via)
{
    const struct conf *conf = ingress->settings.conf;
    bool starttls = ingress->settings.tls && listener < conf->listener_count &&
                    conf->listeners[listener].starttls;

    switch (policy_session_take(ingress->deps.limits, &peer->ip)) {
    case POLICY_SESSION_OK:
        ingress_session_start(ingress, stream, starttls, peer, via);
        return;
    case POLICY_SESSION_TOTAL:
        turn_away(ingress, stream, peer, "too many sessions, try again later");
        return;
    case POLICY_SESSION_NETWORK:
        turn_away(ingress, stream, peer,
                  "too many sessions from your network, try again later");
        return;
    }
}

void ingress_accept(struct ingress *ingress, struct stream *stream, size_t listener)
{
    const struct conf *conf = ingress->settings.conf;
    struct pn_endpoint peer = stream->peer;

    if (listener < conf->listener_count && conf->listeners[listener].proxy_protocol) {
        ingress_front_start(ingress, stream, listener);
    } else if (ingress->state != INGRESS_RUNNING) {
        turn_away(ingress, stream, &peer, "closing, try again later");
    } else {
        ingress_admit(ingress, stream, listener, &peer, NULL);
    }
}

void ingress_stop(struct ingress *ingress, ingress_stopped_fn *on_stopped, void *owner)
{
    struct session *session;
    struct session *next;

    pn_assert(ingress->state == INGRESS_RUNNING);
    ingress->state = INGRESS_STOPPING;
    ingress->on_stopped = on_stopped;
    ingress->owner = owner;
    ingress_front_drop_all(ingress);
    DL_FOREACH_SAFE (ingress->sessions, session, next) {
        if (session->state == SESSION_DELAY) {
            ingress_session_enter(session, SESSION_COMMAND);
        }
        ingress_session_step(session);
    }
    if (ingress->session_count == 0) {
        ingress_defer(ingress);
    }
}

void ingress_free(struct ingress **ingress_ptr)
{
    struct ingress *ingress = *ingress_ptr;

    if (!ingress) {
        return;
    }
    *ingress_ptr = NULL;
    ingress->state = INGRESS_FREED;
    ingress_front_drop_all(ingress);
    while (ingress->sessions) {
        ingress_session_dismiss(ingress->sessions, "stop", "4.3.2", "closing, try again later");
        ingress_session_step(ingress->sessions);
    }
    ingress_pass_free_late(ingress);
    loop_timer_stop(ingress->deps.loop, &ingress->timer);
    ingress_transaction_free_spare(ingress);
    pn_buf_fini(&ingress->scratch);
    conf_unref(&ingress->settings.conf);
    domains_unref(&ingress->settings.domains);
    tls_context_unref(&ingress->settings.tls);
    if (!ingress->task_deferred) {
        free(ingress);
    }
}

size_t ingress_sessions(const struct ingress *ingress)
{
    return ingress->session_count;
}
