/*
 * admin/probe.c - "postern probe": a session to a next hop, shown while it happens.
 *
 * A probe goes as far as a delivery goes without delivering (MAIL and RSET). Its lines are
 * kept here, and who watches asks for those behind the last one he has: the request waits
 * until there is one. Secrets do not come this far, outbound/ masks them.
 *
 * Nothing follows from a probe but what its owner sees: it is no sign of life, and no proof
 * of death. A few may run at once; one that nobody asks about any more goes after a minute.
 */
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/choose.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define PROBES_MAX 16
#define LINES_MAX  2000
#define HOLD_MS    PN_SECONDS(20) /* a request without news is answered after so long */
#define FORGET_MS  PN_SECONDS(60)

struct admin_probe {
    struct admin_call call; /* of who waits for the next lines */
    struct admin_probe *prev, *next;
    struct admin *admin;
    uint64_t id;
    struct out_session *session;
    struct pn_timer timer; /* of the request that waits, else of the probe itself */
    struct loop_task telling;
    bool told_soon; /* `telling` is deferred */
    bool freed;     /* only `telling` knows it any more */
    json_t *lines;
    size_t seen; /* by who waits */
    bool ended, good;
    char queue[ROUTE_QUEUE_CHARS]; /* one of the destination's */
    char reason[QUEUE_REASON_MAX];
};

static void probe_free(struct admin_probe *probe)
{
    DL_DELETE(probe->admin->probes, probe);
    (void)admin_call_end(&probe->call);
    loop_timer_stop(probe->admin->deps.out->loop, &probe->timer);
    out_session_free(&probe->session);
    json_decref(probe->lines);
    probe->freed = true;
    if (!probe->told_soon) {
        free(probe);
    }
}

void admin_probes_drop(struct admin *admin)
{
    while (admin->probes) {
        probe_free(admin->probes);
    }
}

static struct admin_probe *find(const struct admin *admin, uint64_t id)
{
    struct admin_probe *probe;

    DL_FOREACH (admin->probes, probe) {
        if (probe->id == id) {
            return probe;
        }
    }
    return NULL;
}

/* ---- what is told ------------------------------------------------------------------- */

static void tell(struct admin_probe *probe, struct httpd_request *request)
{
    json_t *json = json_object(), *lines = json_array();

    for (size_t i = probe->seen; i < json_array_size(probe->lines); i++) {
        pn_assert(json_array_append(lines, json_array_get(probe->lines, i)) == 0);
    }
    admin_json_put(json, "lines", lines);
    admin_json_put(json, "next", admin_json_u64(json_array_size(probe->lines)));
    admin_json_put(json, "ended", json_boolean(probe->ended));
    admin_json_put(json, "good", json_boolean(probe->good));
    admin_json_put(json, "reason", admin_json_text(pn_str_z(probe->reason)));
    admin_answer(request, 200, json);
}

/* Answers who waits; false: nobody does. */
static bool answer(struct admin_probe *probe)
{
    struct httpd_request *request = admin_call_end(&probe->call);

    if (request) {
        tell(probe, request);
        loop_timer_after(probe->admin->deps.out->loop, &probe->timer, FORGET_MS);
    }
    return request != NULL;
}

static bool has_news(const struct admin_probe *probe)
{
    return probe->ended || json_array_size(probe->lines) > probe->seen;
}

static void on_telling(struct loop_task *task)
{
    struct admin_probe *probe = PN_CONTAINER(task, struct admin_probe, telling);

    probe->told_soon = false;
    if (probe->freed) {
        free(probe);
    } else if (has_news(probe)) {
        (void)answer(probe);
    }
}

/* Once in a turn: a session that says ten lines at once is one answer. */
static void tell_soon(struct admin_probe *probe)
{
    if (!probe->told_soon) {
        probe->told_soon = true;
        loop_defer(probe->admin->deps.out->loop, &probe->telling);
    }
}

static void on_timer(struct pn_timer *timer)
{
    struct admin_probe *probe = PN_CONTAINER(timer, struct admin_probe, timer);

    if (!answer(probe)) {
        probe_free(probe);
    }
}

/* ---- the session -------------------------------------------------------------------- */

static void on_line(void *owner, char direction, struct pn_str line)
{
    struct admin_probe *probe = owner;

    if (json_array_size(probe->lines) < LINES_MAX) {
        pn_assert(json_array_append_new(probe->lines, admin_json_line(direction, line)) == 0);
        tell_soon(probe);
    }
}

static void on_session(struct out_session *session, void *owner)
{
    struct admin_probe *probe = owner;
    struct out_event event;

    while (probe->session && out_session_next(session, &event)) {
        if (event.kind == OUT_EV_READY) {
            probe->good = true;
            out_session_quit(session);
            /* Who is seen to be back is not kept waiting for the next probe. */
            deliver_sign(probe->admin->deps.deliver, pn_str_z(probe->queue), false);
        } else if (event.kind == OUT_EV_ENDED) {
            probe->ended = true;
            if (!probe->good) {
                (void)snprintf(probe->reason, sizeof probe->reason, "%.*s",
                               PN_FMT(pn_str_sub(event.reason, 0, sizeof probe->reason - 1)));
            }
            out_session_free(&probe->session);
            tell_soon(probe);
        }
    }
}

/* ---- requests ----------------------------------------------------------------------- */

struct search {
    struct pn_str destination;
    char queue[ROUTE_QUEUE_CHARS];
};

static void note_queue(void *owner, const struct queue_status *status)
{
    struct search *search = owner;

    if (status->defined && status->name.len < sizeof search->queue && !search->queue[0] &&
        pn_str_eq(status->destination, search->destination)) {
        memcpy(search->queue, status->name.ptr, status->name.len);
    }
}

/* By the name of a destination, or of a queue that is no domain. */
static struct conf_domain *named(struct admin_ask *ask, struct pn_str name)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct admin_view view = admin_view_of(ask->admin);
    struct search search = {.destination = name};

    queue_each(view.queue, view.clock.queue_ms, note_queue, &search);
    if (search.queue[0]) {
        name = pn_str_z(search.queue);
    } else if (route_queue_kind(name) == CONF_QUEUE_DOMAIN) {
        return NULL;
    }
    return route_queue_domain(daemon->conf(daemon->owner), daemon->domains(daemon->owner),
                              name);
}

/* A relay domain's target, else the MX hosts that mail out to the domain would go to. */
static struct conf_domain *of_domain(struct admin_ask *ask, struct pn_str given)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    const struct domains *domains = daemon->domains(daemon->owner);
    char ascii[MAIL_DOMAIN_MAX + 1], queue[ROUTE_QUEUE_CHARS];
    struct pn_str name = admin_queue_name(given, ascii);
    const struct conf_domain *relay = domains_find(domains, name);

    if (relay) {
        return conf_domain_ref((struct conf_domain *)(uintptr_t)relay);
    }
    if (name.len == 0 || name.len > MAIL_DOMAIN_MAX || pn_str_find(name, '.') == name.len) {
        return NULL;
    }
    (void)snprintf(queue, sizeof queue, "%s%.*s", CONF_OUTBOUND_QUEUE, PN_FMT(name));
    return route_queue_domain(daemon->conf(daemon->owner), domains, pn_str_z(queue));
}

static void begin(struct admin_ask *ask, struct conf_domain *domain)
{
    struct admin *admin = ask->admin;
    struct admin_probe *probe = PN_NEW(struct admin_probe);
    struct out_options options = {
        .conf = (struct conf *)(uintptr_t)admin->deps.daemon.conf(admin->deps.daemon.owner),
        .domain = domain,
        .check = true,
        .on_line = on_line,
        .window_mails = 1,
        .window_octets = 1,
    };
    json_t *json = json_object();

    probe->admin = admin;
    probe->id = ++admin->last_probe;
    probe->timer.on_fire = on_timer;
    probe->telling.on_run = on_telling;
    probe->lines = json_array();
    (void)snprintf(probe->queue, sizeof probe->queue, "%s", domain->name);
    DL_APPEND(admin->probes, probe);
    loop_timer_after(admin->deps.out->loop, &probe->timer, FORGET_MS);
    admin_log(admin, "probe", pn_str_z(domain->destination), 0);
    probe->session = out_session_new(admin->deps.out, &options, on_session, probe);
    admin_json_put(json, "id", admin_json_u64(probe->id));
    admin_json_put(json, "destination", admin_json_text(pn_str_z(domain->destination)));
    admin_answer(ask->request, 200, json);
}

void admin_begin_probe(struct admin_ask *ask)
{
    const struct admin_terms *terms = &ask->terms;
    struct admin_probe *probe;
    struct conf_domain *domain;
    size_t count;

    DL_COUNT(ask->admin->probes, probe, count);
    if ((terms->domain.len > 0) == (terms->name.len > 0)) {
        admin_refuse(ask->request, 400, "give either \"name\" or \"domain\"");
        return;
    }
    if (count >= PROBES_MAX) {
        admin_refuse(ask->request, 503, "%d probes run already", PROBES_MAX);
        return;
    }
    domain = terms->name.len > 0 ? named(ask, terms->name) : of_domain(ask, terms->domain);
    if (!domain) {
        admin_refuse(
            ask->request, 404, "%.*s is no destination, and no domain",
            PN_FMT(pn_str_sub(terms->name.len > 0 ? terms->name : terms->domain, 0, 300)));
        return;
    }
    begin(ask, domain);
    conf_domain_unref(&domain);
}

static uint64_t number(struct pn_str text)
{
    uint64_t value;

    return pn_str_to_u64(text, UINT64_MAX, &value) ? value : 0;
}

void admin_get_probe(struct admin_ask *ask)
{
    struct admin_probe *probe = find(ask->admin, number(ask->param));

    if (!probe) {
        admin_refuse(ask->request, 404, "there is no such probe any more");
        return;
    }
    (void)answer(probe); /* somebody else who has waited */
    probe->seen = (size_t)number(ask->terms.after);
    if (probe->seen > json_array_size(probe->lines)) {
        probe->seen = json_array_size(probe->lines);
    }
    admin_call_begin(&probe->call, ask);
    loop_timer_after(ask->admin->deps.out->loop, &probe->timer, HOLD_MS);
    if (has_news(probe)) {
        (void)answer(probe);
    }
}
