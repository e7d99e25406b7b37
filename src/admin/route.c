/*
 * admin/route.c - "postern route": what would happen to mail for an address now.
 *
 * The same choice and the same plan as for real mail, with the same questions to the DNS; but
 * each host that would be tried is taken for one that is of no use, so that the whole plan is
 * seen, and nothing is connected to.
 */
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/outbound/questions.h"
#include "postern/route/choose.h"

#define ROUTE_TIME_MS PN_SECONDS(90)
#define STEPS_MAX     200

struct inquiry {
    struct admin_call call;
    const struct out_deps *out;
    struct conf *conf;
    struct conf_domain *domain;
    struct pn_timer timer;
    struct route_plan *plan;
    struct out_questions questions;
    json_t *json;
    json_t *steps;
};

static void inquiry_free(struct inquiry *inquiry)
{
    out_questions_cancel(&inquiry->questions);
    loop_timer_stop(inquiry->out->loop, &inquiry->timer);
    route_plan_free(&inquiry->plan);
    json_decref(inquiry->json);
    conf_domain_unref(&inquiry->domain);
    conf_unref(&inquiry->conf);
    free(inquiry);
}

static void on_abort(struct admin_call *call)
{
    inquiry_free(PN_CONTAINER(call, struct inquiry, call));
}

/* Ends the inquiry: nothing may follow. */
static void conclude(struct inquiry *inquiry)
{
    struct httpd_request *request = admin_call_end(&inquiry->call);

    if (request) {
        admin_answer(request, 200, json_incref(inquiry->json));
    }
    inquiry_free(inquiry);
}

/* ---- the steps -------------------------------------------------------------------- */

static json_t *add_step(struct inquiry *inquiry, const char *kind)
{
    json_t *step = json_object();

    admin_json_put(step, "kind", json_string(kind));
    pn_assert(json_array_append_new(inquiry->steps, step) == 0);
    return step;
}

static void add_text(struct inquiry *inquiry, const char *kind, const char *text)
{
    admin_json_put(add_step(inquiry, kind), "text", admin_json_text(pn_str_z(text)));
}

static void add_host(struct inquiry *inquiry, const struct route_step *step)
{
    static const char *const words[] = {
        [ROUTE_TLS_NONE] = "none",     [ROUTE_TLS_MAY] = "may",
        [ROUTE_TLS_DANE] = "dane",     [ROUTE_TLS_ENCRYPT] = "encrypt",
        [ROUTE_TLS_VERIFY] = "verify", [ROUTE_TLS_FINGERPRINT] = "fingerprint",
    };
    const struct route_host *host = step->host;
    json_t *json = add_step(inquiry, "host");
    json_t *addresses = json_array();

    for (size_t i = 0; i < step->ip_count; i++) {
        char text[PN_IP_CHARS];

        pn_assert(json_array_append_new(addresses,
                                        json_string(pn_ip_format(&step->ips[i], text))) == 0);
    }
    admin_json_put(json, "host",
                   admin_json_text(pn_str_z(host->path ? host->path : host->name)));
    admin_json_put(json, "port", json_integer(host->port));
    admin_json_put(json, "addresses", addresses);
    admin_json_put(json, "fallback", json_boolean(host->fallback));
    admin_json_put(json, "tls", json_string(words[host->tls]));
    admin_json_put(json, "tls_report_only", json_boolean(host->tls_report_only));
    admin_json_put(json, "tls_why", admin_json_text(pn_str_z(host->tls_why)));
}

/* False at the end, and while an answer is waited for. */
static bool take_step(struct inquiry *inquiry, bool *out_ended)
{
    struct route_step step;

    route_plan_next(inquiry->plan, &step);
    if (out_questions_ask(&inquiry->questions, &step)) {
        return false;
    }
    *out_ended = step.kind == ROUTE_END || json_array_size(inquiry->steps) >= STEPS_MAX;
    if (step.kind == ROUTE_TRY) {
        add_host(inquiry, &step);
    } else if (step.kind == ROUTE_END) {
        admin_json_put(inquiry->json, "refused", json_boolean(step.refused));
        if (step.refused) {
            admin_json_put(inquiry->json, "why", admin_json_text(pn_str_z(step.text)));
        }
    } else {
        add_text(inquiry, step.kind == ROUTE_NOTE ? "note" : "passed over", step.text);
    }
    return !*out_ended;
}

static void go_on(struct inquiry *inquiry)
{
    bool ended = false;

    while (take_step(inquiry, &ended)) {
    }
    if (ended) {
        conclude(inquiry);
    }
}

static void on_answered(struct out_questions *questions)
{
    go_on(PN_CONTAINER(questions, struct inquiry, questions));
}

static void on_time(struct pn_timer *timer)
{
    struct inquiry *inquiry = PN_CONTAINER(timer, struct inquiry, timer);

    add_text(inquiry, "passed over", "the DNS did not answer within the time of this request");
    conclude(inquiry);
}

/* ---- what is known without the DNS -------------------------------------------------- */

static json_t *limits_json(const struct conf_domain *domain)
{
    json_t *json = json_object();
    struct pn_buf rate;

    pn_buf_init(&rate, 64);
    pn_assert(conf_rate_format(&domain->rate, &rate) == 0);
    admin_json_put(json, "sessions", json_integer(domain->sessions));
    admin_json_put(json, "messages_per_session", json_integer(domain->messages_per_session));
    admin_json_put(json, "recipients_per_transaction",
                   json_integer(domain->recipients_per_transaction));
    admin_json_put(json, "rate", admin_json_text(pn_buf_str(&rate)));
    admin_json_put(json, "delay_s", admin_json_seconds(domain->delay_ms));
    admin_json_put(json, "hold_s", admin_json_seconds(domain->hold_ms));
    pn_buf_fini(&rate);
    return json;
}

/* The destination as it is; one that never had mail has a name only. */
static json_t *destination_json(const struct admin *admin, const struct conf_domain *domain)
{
    struct admin_view view = admin_view_of(admin);
    struct queue_destination_status status;
    struct pn_str name = pn_str_z(domain->destination);
    json_t *json;

    if (queue_get_destination(view.queue, name, view.clock.queue_ms, &status)) {
        return admin_view_destination(&view, &status);
    }
    json = json_object();
    admin_json_put(json, "name", admin_json_text(name));
    admin_json_put(json, "state", json_string("unknown"));
    return json;
}

static void put_queue(json_t *json, const struct admin *admin, const struct conf_domain *domain)
{
    static const char *const kinds[] = {[CONF_QUEUE_DOMAIN] = "relay domain",
                                        [CONF_QUEUE_SMART_HOST] = "smart host",
                                        [CONF_QUEUE_OUTBOUND] = "outbound"};
    struct admin_view view = admin_view_of(admin);
    struct queue_status status;
    bool known =
        queue_get_status(view.queue, pn_str_z(domain->name), view.clock.queue_ms, &status);

    admin_json_put(json, "queue", admin_json_text(pn_str_z(domain->name)));
    admin_json_put(json, "kind", json_string(kinds[domain->kind]));
    admin_json_put(json, "messages", admin_json_u64(known ? status.jobs : 0));
    admin_json_put(json, "limits", limits_json(domain));
    admin_json_put(json, "destination", destination_json(admin, domain));
}

/* ---- the request ------------------------------------------------------------------ */

static json_t *describe(const struct admin_ask *ask, const struct route_choice *choice)
{
    json_t *json = json_object();

    admin_json_put(json, "address", admin_json_text(ask->terms.address));
    admin_json_put(json, "sender", admin_json_text(ask->terms.sender));
    admin_json_put(json, "refused", json_boolean(choice->refused));
    admin_json_put(json, "why", admin_json_text(pn_str_z(choice->why)));
    if (choice->refused) {
        admin_json_put(json, "code", json_integer(choice->code));
        admin_json_put(json, "status", json_string(choice->status));
    }
    return json;
}

static void begin(struct admin_ask *ask, const struct conf *conf, struct conf_domain *domain,
                  json_t *json)
{
    const struct out_deps *out = ask->admin->deps.out;
    struct inquiry *inquiry = PN_NEW(struct inquiry);
    struct route_plan_input input = {.conf = conf,
                                     .domain = domain,
                                     .own = out->own,
                                     .own_count = out->own_count,
                                     .own_ips = out->own_ips,
                                     .own_ip_count = out->own_ip_count,
                                     .policies = out->policies != NULL};

    inquiry->call.on_abort = on_abort;
    inquiry->out = out;
    /* Snapshots never change; counting a reference is all that is done to them. */
    inquiry->conf = conf_ref((struct conf *)(uintptr_t)conf);
    inquiry->domain = domain;
    inquiry->json = json;
    inquiry->steps = json_array();
    admin_json_put(json, "steps", inquiry->steps);
    inquiry->timer.on_fire = on_time;
    inquiry->plan = route_plan_new(&input);
    out_questions_init(&inquiry->questions, out->resolver, out->policies, inquiry->plan,
                       on_answered);
    admin_call_begin(&inquiry->call, ask);
    loop_timer_after(out->loop, &inquiry->timer, ROUTE_TIME_MS);
    go_on(inquiry);
}

void admin_get_route(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    const struct conf *conf = daemon->conf(daemon->owner);
    const struct domains *domains = daemon->domains(daemon->owner);
    struct conf_domain *domain = NULL;
    struct route_choice choice;
    json_t *json;

    if (ask->terms.address.len == 0) {
        admin_refuse(ask->request, 400, "\"address\" is missing");
        return;
    }
    route_choose(conf, domains, ask->terms.sender, ask->terms.address, &choice);
    json = describe(ask, &choice);
    if (!choice.refused) {
        domain = route_queue_domain(conf, domains, pn_str_z(choice.queue));
    }
    if (!domain) {
        admin_answer(ask->request, 200, json);
        return;
    }
    put_queue(json, ask->admin, domain);
    begin(ask, conf, domain, json);
}
