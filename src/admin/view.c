/*
 * admin/view.c - queues and destinations as JSON.
 *
 * With 100,000 domains a status must stay something one can read and send: it lists those
 * that have mail, do not answer or are held, and counts the others. Pages of everything
 * are cut by name, not by place, so that changes in between neither skip nor repeat any.
 */
#include "view_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/smtp/client.h"

/* Messages taken whole after which parole is over; see queue/queue.h. */
#define PAROLE_WANTED 50

static const char not_defined[] = "no configuration names this queue any more";

/* The state that a queue's mail feels: its destination's. */
static enum queue_state state_of(const struct admin_view *view,
                                 const struct queue_status *status,
                                 struct queue_destination_status *out)
{
    *out = (struct queue_destination_status){.state = QUEUE_UNKNOWN};
    if (!status->defined) {
        out->state = QUEUE_HELD;
        out->reason = pn_str_z(not_defined);
    } else if (!queue_get_destination(view->queue, status->destination, view->clock.queue_ms,
                                      out)) {
        *out = (struct queue_destination_status){.state = QUEUE_UNKNOWN};
    }
    return out->state;
}

struct tally {
    const struct admin_view *view;
    struct admin_totals *totals;
};

static void tally_queue(void *owner, const struct queue_status *status)
{
    struct tally *tally = owner;
    struct admin_totals *totals = tally->totals;
    struct queue_destination_status destination;

    totals->queues++;
    totals->queues_by_state[state_of(tally->view, status, &destination)]++;
    totals->messages += status->jobs;
    totals->octets += status->octets;
    totals->parked += status->parked;
    totals->in_flight += status->in_flight;
    totals->in_doubt += status->in_doubt;
    totals->flush_left += status->flush_left;
    totals->flushing |= status->flushing;
    totals->rate += status->rate;
    if (status->oldest_ms > 0 &&
        (totals->oldest_ms == 0 || status->oldest_ms < totals->oldest_ms)) {
        totals->oldest_ms = status->oldest_ms;
    }
}

static void tally_destination(void *owner, const struct queue_destination_status *status)
{
    struct tally *tally = owner;

    tally->totals->destinations++;
    tally->totals->destinations_by_state[status->state]++;
}

void admin_view_totals(const struct admin_view *view, struct admin_totals *out)
{
    struct tally tally = {view, out};

    *out = (struct admin_totals){0};
    queue_each(view->queue, view->clock.queue_ms, tally_queue, &tally);
    queue_each_destination(view->queue, view->clock.queue_ms, tally_destination, &tally);
}

static void put_flush(json_t *json, bool flushing, uint64_t left, double rate)
{
    admin_json_put(json, "flushing", json_boolean(flushing));
    admin_json_put(json, "flush_left", admin_json_u64(left));
    admin_json_put(json, "rate", json_real(rate));
    admin_json_put(json, "time_left_s",
                   flushing && rate > 0 ? json_real((double)left / rate) : json_null());
}

json_t *admin_view_totals_json(const struct admin_view *view, const struct admin_totals *totals)
{
    json_t *json = json_object();

    admin_json_put(json, "messages", admin_json_u64(totals->messages));
    admin_json_put(json, "octets", admin_json_u64(totals->octets));
    admin_json_past(json, "oldest", &view->clock, totals->oldest_ms);
    admin_json_put(json, "parked", admin_json_u64(totals->parked));
    admin_json_put(json, "in_flight", admin_json_u64(totals->in_flight));
    admin_json_put(json, "in_doubt", admin_json_u64(totals->in_doubt));
    put_flush(json, totals->flushing, totals->flush_left, totals->rate);
    return json;
}

json_t *admin_view_states_json(const uint64_t by_state[QUEUE_HELD + 1])
{
    json_t *json = json_object();

    for (int state = 0; state <= QUEUE_HELD; state++) {
        admin_json_put(json, queue_state_name((enum queue_state)state),
                       admin_json_u64(by_state[state]));
    }
    return json;
}

static void put_parole(json_t *json, const struct admin_view *view,
                       const struct queue_destination_status *status)
{
    admin_json_put(json, "parole", json_boolean(status->parole));
    admin_json_put(json, "parole_done", admin_json_u64(status->parole_done));
    admin_json_put(json, "parole_refused", admin_json_u64(status->parole_refused));
    admin_json_put(json, "parole_wanted", json_integer(PAROLE_WANTED));
    admin_json_next(json, "next_canary", &view->clock, status->next_canary_ms);
}

json_t *admin_view_queue(const struct admin_view *view, const struct queue_status *status)
{
    const struct conf_domain *domain = domains_find_exact(view->domains, status->name);
    struct queue_destination_status destination;
    enum queue_state state = state_of(view, status, &destination);
    json_t *targets = json_array();
    json_t *json = json_object();

    for (size_t i = 0; domain && i < domain->target.count; i++) {
        pn_assert(json_array_append_new(
                      targets, admin_json_text(pn_str_z(domain->target.items[i]))) == 0);
    }
    admin_json_put(json, "name", admin_json_text(status->name));
    admin_json_put(json, "state", json_string(queue_state_name(state)));
    admin_json_past(json, "since", &view->clock, destination.since_ms);
    admin_json_put(json, "messages", admin_json_u64(status->jobs));
    admin_json_put(json, "octets", admin_json_u64(status->octets));
    admin_json_past(json, "oldest", &view->clock, status->oldest_ms);
    admin_json_put(json, "parked", admin_json_u64(status->parked));
    admin_json_put(json, "defined", json_boolean(status->defined));
    admin_json_put(json, "target", targets);
    admin_json_put(json, "destination", admin_json_text(status->destination));
    admin_json_put(json, "in_flight", admin_json_u64(status->in_flight));
    admin_json_put(json, "in_doubt", admin_json_u64(status->in_doubt));
    put_flush(json, status->flushing, status->flush_left, status->rate);
    admin_json_next(json, "next_probe", &view->clock, destination.next_probe_ms);
    put_parole(json, view, &destination);
    admin_json_put(json, "reason", admin_json_text(destination.reason));
    return json;
}

json_t *admin_view_destination(const struct admin_view *view,
                               const struct queue_destination_status *status)
{
    json_t *json = json_object();

    admin_json_put(json, "name", admin_json_text(status->name));
    admin_json_put(json, "state", json_string(queue_state_name(status->state)));
    admin_json_past(json, "since", &view->clock, status->since_ms);
    admin_json_next(json, "next_probe", &view->clock, status->next_probe_ms);
    admin_json_past(json, "last_success", &view->clock, status->last_success_ms);
    admin_json_past(json, "last_failure", &view->clock, status->last_failure_ms);
    admin_json_put(json, "sessions", json_integer(status->sessions));
    admin_json_put(json, "ready_sessions", json_integer(status->ready_sessions));
    admin_json_put(json, "session_limit", json_integer(status->session_limit));
    admin_json_put(json, "session_ceiling",
                   status->session_ceiling > 0 ? json_integer(status->session_ceiling)
                                               : json_null());
    admin_json_put(json, "messages", admin_json_u64(status->jobs));
    admin_json_put(json, "rate", json_real(status->rate));
    admin_json_put(json, "rate_limit",
                   status->rate_step_us > 0 ? json_real(1e6 / (double)status->rate_step_us)
                                            : json_null());
    admin_json_put(json, "delay_s", admin_json_seconds(status->delay_ms));
    admin_json_put(json, "probes", admin_json_u64(status->probes));
    admin_json_put(json, "failures", admin_json_u64(status->failures));
    admin_json_put(json, "refused_sessions", admin_json_u64(status->refused_sessions));
    put_parole(json, view, status);
    admin_json_put(json, "reason", admin_json_text(status->reason));
    return json;
}

json_t *admin_view_capabilities(unsigned capabilities)
{
    static const struct {
        enum smtp_capability bit;
        const char *name;
    } names[] = {
        {SMTP_CAP_PIPELINING, "PIPELINING"},
        {SMTP_CAP_CHUNKING, "CHUNKING"},
        {SMTP_CAP_8BITMIME, "8BITMIME"},
        {SMTP_CAP_SMTPUTF8, "SMTPUTF8"},
        {SMTP_CAP_SIZE, "SIZE"},
        {SMTP_CAP_DSN, "DSN"},
        {SMTP_CAP_STARTTLS, "STARTTLS"},
        {SMTP_CAP_ENHANCED, "ENHANCEDSTATUSCODES"},
        {SMTP_CAP_XCLIENT, "XCLIENT"},
        {SMTP_CAP_XFORWARD, "XFORWARD"},
        {SMTP_CAP_AUTH, "AUTH"},
    };
    json_t *list = json_array();

    for (size_t i = 0; i < PN_COUNT(names); i++) {
        if (capabilities & names[i].bit) {
            pn_assert(json_array_append_new(list, json_string(names[i].name)) == 0);
        }
    }
    return list;
}

/* What is chosen of all, and what it goes into. */
struct choice {
    const struct admin_view *view;
    json_t *list;
    size_t limit;
    bool all;
    struct pn_str after; /* pages */
    struct pn_str last;
    bool more;
};

static bool is_quiet(enum queue_state state)
{
    return state == QUEUE_UP || state == QUEUE_UNKNOWN;
}

static void choose_domain(void *owner, const struct queue_status *status)
{
    struct choice *choice = owner;
    struct queue_destination_status destination;

    if (json_array_size(choice->list) >= choice->limit) {
        return;
    }
    if (choice->all || status->jobs > 0 || status->parked > 0 || status->in_flight > 0 ||
        !is_quiet(state_of(choice->view, status, &destination))) {
        pn_assert(json_array_append_new(choice->list, admin_view_queue(choice->view, status)) ==
                  0);
    }
}

json_t *admin_view_domains(const struct admin_view *view, const struct admin_totals *totals)
{
    struct choice choice = {.view = view,
                            .list = json_array(),
                            .limit = ADMIN_STATUS_MAX,
                            .all = totals->queues <= ADMIN_STATUS_ALL};

    queue_each(view->queue, view->clock.queue_ms, choose_domain, &choice);
    return choice.list;
}

static void choose_destination(void *owner, const struct queue_destination_status *status)
{
    struct choice *choice = owner;

    if (json_array_size(choice->list) < choice->limit &&
        (choice->all || status->sessions > 0 || !is_quiet(status->state))) {
        pn_assert(json_array_append_new(choice->list,
                                        admin_view_destination(choice->view, status)) == 0);
    }
}

json_t *admin_view_destinations(const struct admin_view *view,
                                const struct admin_totals *totals)
{
    struct choice choice = {.view = view,
                            .list = json_array(),
                            .limit = ADMIN_STATUS_MAX,
                            .all = totals->destinations <= ADMIN_STATUS_ALL};

    queue_each_destination(view->queue, view->clock.queue_ms, choose_destination, &choice);
    return choice.list;
}

/* Does name belong on the page? Takes note of it if it does. */
static bool is_on_page(struct choice *choice, struct pn_str name)
{
    if (choice->more || (choice->after.len > 0 && pn_str_cmp(name, choice->after) <= 0)) {
        return false;
    }
    if (json_array_size(choice->list) >= choice->limit) {
        choice->more = true;
        return false;
    }
    choice->last = name;
    return true;
}

static void page_domain(void *owner, const struct queue_status *status)
{
    struct choice *choice = owner;

    if (is_on_page(choice, status->name)) {
        pn_assert(json_array_append_new(choice->list, admin_view_queue(choice->view, status)) ==
                  0);
    }
}

json_t *admin_view_domains_page(const struct admin_view *view, struct pn_str after,
                                size_t limit, struct pn_str *out_next)
{
    struct choice choice = {.view = view, .list = json_array(), .limit = limit, .after = after};

    queue_each(view->queue, view->clock.queue_ms, page_domain, &choice);
    *out_next = choice.more ? choice.last : PN_STR("");
    return choice.list;
}

static void page_destination(void *owner, const struct queue_destination_status *status)
{
    struct choice *choice = owner;

    if (is_on_page(choice, status->name)) {
        pn_assert(json_array_append_new(choice->list,
                                        admin_view_destination(choice->view, status)) == 0);
    }
}

json_t *admin_view_destinations_page(const struct admin_view *view, struct pn_str after,
                                     size_t limit, struct pn_str *out_next)
{
    struct choice choice = {.view = view, .list = json_array(), .limit = limit, .after = after};

    queue_each_destination(view->queue, view->clock.queue_ms, page_destination, &choice);
    *out_next = choice.more ? choice.last : PN_STR("");
    return choice.list;
}
