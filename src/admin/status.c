/*
 * admin/status.c - status, destinations and metrics: the daemon at a glance.
 */
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/policy/limits.h"
#include "postern/stats/counters.h"

#define METRICS_MAX (1u << 20)

struct admin_view admin_view_of(const struct admin *admin)
{
    const struct admin_daemon *daemon = &admin->deps.daemon;

    return (struct admin_view){
        .queue = deliver_queue(admin->deps.deliver),
        .domains = daemon->domains(daemon->owner),
        .clock = {deliver_now_ms(admin->deps.deliver), admin->deps.out->loop->wall}};
}

json_t *admin_broken_json(const struct admin *admin, size_t *out_count)
{
    const struct admin_daemon *daemon = &admin->deps.daemon;
    struct admin_broken_domain broken;
    json_t *list = json_array();
    size_t count = 0;

    while (daemon->broken(daemon->owner, count, &broken)) {
        if (count < ADMIN_STATUS_MAX) {
            json_t *row = json_object();

            admin_json_put(row, "name", admin_json_text(pn_str_z(broken.name)));
            admin_json_put(row, "mistake", admin_json_text(pn_str_z(broken.mistake)));
            admin_json_put(row, "in_force", json_boolean(broken.in_force));
            pn_assert(json_array_append_new(list, row) == 0);
        }
        count++;
    }
    *out_count = count;
    return list;
}

static json_t *spool_json(const struct admin *admin)
{
    static const char *const names[] = {
        [SPOOL_READY] = "ready", [SPOOL_FULL] = "full", [SPOOL_BROKEN] = "broken"};
    struct spool_status status = {0};
    json_t *json = json_object();

    spool_get_status(admin->deps.spool, &status);
    admin_json_put(json, "readiness", json_string(names[status.readiness]));
    admin_json_put(json, "free", admin_json_u64(status.free_octets));
    admin_json_put(json, "total", admin_json_u64(status.total_octets));
    admin_json_put(json, "syncs", admin_json_u64(status.syncs));
    admin_json_put(json, "written", admin_json_u64(status.written_octets));
    admin_json_put(json, "encrypted", json_boolean(status.encrypted));
    admin_json_put(json, "corrupt", admin_json_u64(status.corrupt));
    admin_json_put(json, "trouble", admin_json_text(pn_str_z(status.trouble)));
    return json;
}

static json_t *memory_json(const struct admin *admin)
{
    json_t *json = json_object();

    admin_json_put(json, "used", admin_json_u64(policy_memory_used(admin->deps.limits)));
    admin_json_put(json, "max", admin_json_u64(policy_memory_max(admin->deps.limits)));
    return json;
}

void admin_get_status(struct admin_ask *ask)
{
    const struct admin *admin = ask->admin;
    const struct admin_daemon *daemon = &admin->deps.daemon;
    const struct conf *conf = daemon->conf(daemon->owner);
    struct admin_view view = admin_view_of(admin);
    struct admin_totals totals;
    size_t broken;
    json_t *json = json_object();

    admin_view_totals(&view, &totals);
    admin_json_put(json, "version", json_string(POSTERN_VERSION));
    admin_json_put(json, "hostname", admin_json_text(pn_str_z(conf->hostname)));
    admin_json_put(json, "started", admin_json_wall(daemon->started));
    admin_json_put(json, "started_s",
                   json_real((double)(view.clock.wall.ms - daemon->started.ms) / 1000));
    admin_json_put(json, "queue", admin_view_totals_json(&view, &totals));
    admin_json_put(json, "domains_total", admin_json_u64(totals.queues));
    admin_json_put(json, "domains_by_state", admin_view_states_json(totals.queues_by_state));
    admin_json_put(json, "domains", admin_view_domains(&view, &totals));
    admin_json_put(json, "destinations_total", admin_json_u64(totals.destinations));
    admin_json_put(json, "destinations_by_state",
                   admin_view_states_json(totals.destinations_by_state));
    admin_json_put(json, "destinations", admin_view_destinations(&view, &totals));
    admin_json_put(json, "broken", admin_broken_json(admin, &broken));
    admin_json_put(json, "broken_total", admin_json_u64(broken));
    admin_json_put(json, "spool", spool_json(admin));
    admin_json_put(json, "memory", memory_json(admin));
    admin_json_put(json, "sessions", admin_json_u64(policy_sessions(admin->deps.limits)));
    admin_answer(ask->request, 200, json);
}

size_t admin_page_limit(const struct admin_terms *terms)
{
    if (!(terms->given & ADMIN_LIMIT)) {
        return ADMIN_PAGE;
    }
    return terms->limit < ADMIN_PAGE_MAX ? (size_t)terms->limit : ADMIN_PAGE_MAX;
}

void admin_get_destinations(struct admin_ask *ask)
{
    struct admin_view view = admin_view_of(ask->admin);
    struct pn_str next;
    json_t *json = json_object();

    admin_json_put(json, "destinations",
                   admin_view_destinations_page(&view, ask->terms.after,
                                                admin_page_limit(&ask->terms), &next));
    admin_json_put(json, "next", next.len > 0 ? admin_json_text(next) : json_null());
    admin_answer(ask->request, 200, json);
}

static void fill_gauges(const struct admin *admin, double gauges[STATS_GAUGE_COUNT])
{
    struct admin_view view = admin_view_of(admin);
    struct spool_status spool = {0};
    struct admin_totals totals;
    size_t broken;

    json_decref(admin_broken_json(admin, &broken));
    admin_view_totals(&view, &totals);
    spool_get_status(admin->deps.spool, &spool);
    gauges[STATS_GAUGE_QUEUE_MESSAGES] = (double)totals.messages;
    gauges[STATS_GAUGE_QUEUE_OCTETS] = (double)totals.octets;
    gauges[STATS_GAUGE_QUEUE_OLDEST] =
        totals.oldest_ms ? (double)(view.clock.queue_ms - totals.oldest_ms) / 1000 : 0;
    gauges[STATS_GAUGE_PARKED_NOW] = (double)totals.parked;
    gauges[STATS_GAUGE_DESTINATIONS_UP] = (double)(totals.destinations_by_state[QUEUE_UP] +
                                                   totals.destinations_by_state[QUEUE_RAMP]);
    gauges[STATS_GAUGE_DESTINATIONS_DOWN] = (double)totals.destinations_by_state[QUEUE_DOWN];
    gauges[STATS_GAUGE_DESTINATIONS_STOPPED] =
        (double)totals.destinations_by_state[QUEUE_STOPPED];
    gauges[STATS_GAUGE_DESTINATIONS_HELD] = (double)totals.destinations_by_state[QUEUE_HELD];
    gauges[STATS_GAUGE_DOMAINS] = (double)domains_count(view.domains);
    gauges[STATS_GAUGE_DOMAINS_BROKEN] = (double)broken;
    gauges[STATS_GAUGE_SESSIONS] = (double)policy_sessions(admin->deps.limits);
    gauges[STATS_GAUGE_MEMORY_USED] = (double)policy_memory_used(admin->deps.limits);
    gauges[STATS_GAUGE_SPOOL_READY] = spool.readiness == SPOOL_READY ? 1 : 0;
    gauges[STATS_GAUGE_SPOOL_FREE] = (double)spool.free_octets;
    gauges[STATS_GAUGE_SPOOL_SYNCS] = (double)spool.syncs;
    gauges[STATS_GAUGE_SPOOL_WRITTEN] = (double)spool.written_octets;
    gauges[STATS_GAUGE_START_TIME] = (double)admin->deps.daemon.started.ms / 1000;
}

void admin_get_metrics(struct admin_ask *ask)
{
    double gauges[STATS_GAUGE_COUNT] = {0};
    struct pn_buf text;

    fill_gauges(ask->admin, gauges);
    pn_buf_init(&text, METRICS_MAX);
    pn_assert(stats_write_metrics(ask->admin->deps.counters, gauges, &text) == 0);
    httpd_reply(ask->request, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
    pn_buf_fini(&text);
}
