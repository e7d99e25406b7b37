/*
 * admin/queue.c - messages in the queues: listed, shown, held, released, tried, forwarded,
 * deleted.
 *
 * Everything here is asked of the spool and answered on a later turn. A verb works in
 * pieces, as the spool hands them out, until the filter has been applied to all; a verb
 * for one message is applied to its jobs and to its parked recipients.
 */
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/choose.h"

#define LIST_LIMIT     100
#define LIST_LIMIT_MAX 1000
/* A message may have 50,000 recipients: a listing shows the first. */
#define LIST_RECIPIENTS 20

/* ---- rows ------------------------------------------------------------------------- */

static json_t *recipients_json(const struct spool_message *row, size_t limit)
{
    json_t *list = json_array();

    for (size_t i = 0; i < row->recipient_count && i < limit; i++) {
        pn_assert(json_array_append_new(list, admin_json_text(row->recipients[i].address)) ==
                  0);
    }
    return list;
}

static const char *row_state(const struct spool_message *row, bool parked)
{
    if (parked) {
        return "parked";
    }
    if (row->job.flags & QUEUE_JOB_HELD) {
        return "held";
    }
    return row->job.flags & QUEUE_JOB_IN_DOUBT ? "in-doubt" : "waiting";
}

/* Why a job that is due is not tried, or "". */
static const char *waits_for(const struct admin_view *view, struct pn_str name)
{
    struct queue_destination_status destination;
    struct queue_status status;

    if (!queue_get_status(view->queue, name, view->clock.queue_ms, &status) ||
        !status.defined) {
        return "a configuration that names this queue";
    }
    if (!queue_get_destination(view->queue, status.destination, view->clock.queue_ms,
                               &destination)) {
        return "";
    }
    switch (destination.state) {
    case QUEUE_DOWN:
        return "the destination, which does not answer";
    case QUEUE_STOPPED:
        return "the operator, who decides about the destination's refusals";
    case QUEUE_HELD:
        return "the destination, which the operator holds";
    default:
        return "";
    }
}

static void put_job(json_t *json, const struct admin_view *view,
                    const struct spool_message *row, bool parked, size_t recipients)
{
    bool waits = !parked && !(row->job.flags & QUEUE_JOB_HELD);

    admin_json_put(json, "queue", admin_json_text(row->queue));
    admin_json_put(json, "state", json_string(row_state(row, parked)));
    admin_json_put(json, "recipients", recipients_json(row, recipients));
    admin_json_put(json, "recipient_count", admin_json_u64(row->recipient_count));
    admin_json_put(json, "attempts", json_integer(row->job.attempts));
    admin_json_past(json, "last_try", &view->clock, row->job.last_try_ms);
    admin_json_next(json, "next_try", &view->clock, waits ? row->job.due_ms : 0);
    admin_json_put(json, "waits_for", json_string(waits ? waits_for(view, row->queue) : ""));
    admin_json_put(json, "last_reply", admin_json_text(row->last_reply));
}

static void put_message(json_t *json, const struct admin_view *view,
                        const struct spool_message *row)
{
    char id[PN_ID_CHARS + 1];

    pn_id_format(&row->job.id, id);
    admin_json_put(json, "id", json_string(id));
    admin_json_put(json, "sender", admin_json_text(row->envelope.sender));
    admin_json_put(json, "octets", admin_json_u64(row->job.size_octets));
    admin_json_past(json, "arrival", &view->clock, row->job.arrival_ms);
}

static json_t *row_json(const struct admin_view *view, const struct spool_message *row,
                        bool parked)
{
    json_t *json = json_object();

    put_message(json, view, row);
    put_job(json, view, row, parked, LIST_RECIPIENTS);
    return json;
}

/* ---- listing ---------------------------------------------------------------------- */

struct list_call {
    struct admin_call call;
    bool parked;
};

static void free_rows(struct spool_message *rows)
{
    while (rows) {
        struct spool_message *next = rows->next;

        spool_message_free(&rows);
        rows = next;
    }
}

static void on_listed(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct list_call *list = owner;
    const struct admin *admin = list->call.admin;
    struct httpd_request *request = admin_call_end(&list->call);

    if (request && status != 0) {
        admin_refuse_storage(request, status);
    } else if (request) {
        struct admin_view view = admin_view_of(admin);
        json_t *messages = json_array();
        json_t *json = json_object();

        for (const struct spool_message *row = rows; row; row = row->next) {
            if (row->status == 0) {
                pn_assert(json_array_append_new(messages, row_json(&view, row, list->parked)) ==
                          0);
            }
        }
        admin_json_put(json, "messages", messages);
        admin_json_put(json, "next", next.len > 0 ? admin_json_text(next) : json_null());
        admin_answer(request, 200, json);
    }
    free_rows(rows);
    free(list);
}

static struct spool_filter filter_of(const struct admin_ask *ask)
{
    return (struct spool_filter){.queue = ask->terms.domain,
                                 .sender = ask->terms.sender,
                                 .recipient = ask->terms.recipient,
                                 .older_than_ms = ask->terms.older_ms,
                                 .now_ms = deliver_now_ms(ask->admin->deps.deliver),
                                 .parked = ask->terms.parked,
                                 .held_only = ask->terms.held,
                                 .id = ask->terms.id};
}

void admin_get_queue(struct admin_ask *ask)
{
    struct spool_filter filter;
    size_t limit = ask->terms.given & ADMIN_LIMIT ? (size_t)ask->terms.limit : LIST_LIMIT;
    struct list_call *list;

    if (ask->terms.held && ask->terms.parked) {
        admin_refuse(ask->request, 400, "a message is held or parked, not both");
        return;
    }
    filter = filter_of(ask);
    list = PN_NEW(struct list_call);
    list->parked = filter.parked;
    admin_call_begin(&list->call, ask);
    spool_list(ask->admin->deps.spool, ask->admin->deps.out->loop, &filter, ask->terms.after,
               limit < LIST_LIMIT_MAX ? limit : LIST_LIMIT_MAX, on_listed, list);
}

/* ---- one message ------------------------------------------------------------------ */

static void put_envelope(json_t *json, const struct mail_envelope *envelope)
{
    char client[PN_ENDPOINT_CHARS];

    admin_json_put(json, "received", admin_json_wall(envelope->arrival));
    admin_json_put(json, "client",
                   json_string(envelope->client.ip.family == PN_FAMILY_NONE
                                   ? ""
                                   : pn_endpoint_format(&envelope->client, client)));
    admin_json_put(json, "client_name", admin_json_text(envelope->client_name));
    admin_json_put(json, "helo", admin_json_text(envelope->helo));
    admin_json_put(json, "protocol", admin_json_text(envelope->protocol));
    admin_json_put(json, "tls", admin_json_text(envelope->tls));
    admin_json_put(json, "envid", admin_json_text(envelope->envid));
    admin_json_put(json, "smtputf8", json_boolean(envelope->flags & MAIL_SMTPUTF8));
}

static void on_shown(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct admin_call *call = owner;
    const struct admin *admin = call->admin;
    struct httpd_request *request = admin_call_end(call);

    (void)next;
    free(call);
    if (request && (status != 0 || !rows)) {
        admin_refuse_storage(request, status != 0 ? status : PN_ENOENT);
    } else if (request && rows->status != 0) {
        admin_refuse_storage(request, rows->status);
    } else if (request) {
        struct admin_view view = admin_view_of(admin);
        json_t *jobs = json_array();
        json_t *json = json_object();

        put_message(json, &view, rows);
        put_envelope(json, &rows->envelope);
        for (const struct spool_message *row = rows; row; row = row->next) {
            json_t *job = json_object();

            /* A job is always due at some time; parked recipients never are. */
            put_job(job, &view, row, row->job.due_ms == 0, SIZE_MAX);
            pn_assert(json_array_append_new(jobs, job) == 0);
        }
        admin_json_put(json, "jobs", jobs);
        admin_answer(request, 200, json);
    }
    free_rows(rows);
}

static bool read_id(struct admin_ask *ask, struct pn_id *out)
{
    if (!pn_id_parse(ask->param, out)) {
        admin_refuse(ask->request, 400, "%.*s is no queue id: it has 26 letters and digits",
                     PN_FMT(pn_str_sub(ask->param, 0, 64)));
        return false;
    }
    return true;
}

void admin_get_message(struct admin_ask *ask)
{
    struct admin_call *call;
    struct pn_id id;

    if (!read_id(ask, &id)) {
        return;
    }
    call = PN_NEW(struct admin_call);
    admin_call_begin(call, ask);
    spool_show(ask->admin->deps.spool, ask->admin->deps.out->loop, &id, on_shown, call);
}

/* ---- verbs ------------------------------------------------------------------------ */

struct verb_call {
    struct admin_call call;
    struct spool *spool;
    struct loop *loop;
    enum spool_verb verb;
    const char *what;           /* for the log */
    struct spool_filter filter; /* its strings are the call's own */
    char *queue, *sender, *recipient;
    char *to, *to_queue; /* FORWARD */
    bool parked_too;     /* when the jobs are done */
    uint64_t changed;
};

static void verb_free(struct verb_call *verb)
{
    free(verb->queue);
    free(verb->sender);
    free(verb->recipient);
    free(verb->to);
    free(verb->to_queue);
    free(verb);
}

static void verb_answer(struct verb_call *verb, int status)
{
    const struct admin *admin = verb->call.admin;
    struct httpd_request *request = admin_call_end(&verb->call);
    char id[PN_ID_CHARS + 1];
    json_t *json;

    if (request) {
        pn_id_format(&verb->filter.id, id);
        admin_log(admin, verb->what,
                  pn_id_cmp(&verb->filter.id, &(struct pn_id){{0}}) == 0 ? verb->filter.queue
                                                                         : pn_str_z(id),
                  verb->changed);
        if (status != 0 && verb->changed == 0) {
            admin_refuse_storage(request, status);
        } else {
            json = json_object();
            admin_json_put(json, "changed", admin_json_u64(verb->changed));
            admin_json_put(json, "complete", json_boolean(status == 0));
            admin_answer(request, 200, json);
        }
    }
    verb_free(verb);
}

static void on_applied(void *owner, int status, size_t changed, struct pn_str next);

static void apply_to(struct verb_call *verb, struct pn_str after)
{
    if (verb->verb == SPOOL_FORWARD) {
        spool_forward(verb->spool, verb->loop, &verb->filter, after, pn_str_z(verb->to_queue),
                      pn_str_z(verb->to), on_applied, verb);
    } else {
        spool_apply(verb->spool, verb->loop, verb->verb, &verb->filter, after, on_applied,
                    verb);
    }
}

static void on_applied(void *owner, int status, size_t changed, struct pn_str next)
{
    struct verb_call *verb = owner;

    verb->changed += changed;
    if (status == 0 && verb->call.request && next.len > 0) {
        apply_to(verb, next);
    } else if (status == 0 && verb->call.request && verb->parked_too) {
        verb->parked_too = false;
        verb->filter.parked = true;
        apply_to(verb, PN_STR(""));
    } else {
        verb_answer(verb, status);
    }
}

/* NULL: the request was refused. */
static struct verb_call *verb_new(struct admin_ask *ask, enum spool_verb spool_verb,
                                  const char *what)
{
    const struct admin_terms *terms = &ask->terms;
    bool narrowed = (terms->given & (ADMIN_DOMAIN | ADMIN_SENDER | ADMIN_RECIPIENT |
                                     ADMIN_OLDER | ADMIN_ID)) ||
                    terms->held || terms->parked;
    bool has_parked_verb = spool_verb != SPOOL_HOLD && spool_verb != SPOOL_RETRY;
    struct verb_call *verb;

    if (!narrowed && !terms->all) {
        admin_refuse(ask->request, 400,
                     "nothing says which messages: give id, domain, sender, recipient, older, "
                     "held or parked, or \"all\": true");
        return NULL;
    }
    if (terms->held && terms->parked) {
        admin_refuse(ask->request, 400, "a message is held or parked, not both");
        return NULL;
    }
    if (terms->parked && !has_parked_verb) {
        admin_refuse(ask->request, 409,
                     "parked recipients can be released, forwarded or deleted, nothing else");
        return NULL;
    }
    verb = PN_NEW(struct verb_call);
    verb->spool = ask->admin->deps.spool;
    verb->loop = ask->admin->deps.out->loop;
    verb->verb = spool_verb;
    verb->what = what;
    verb->filter = filter_of(ask);
    verb->filter.queue = pn_str_z(verb->queue = pn_strndup(terms->domain));
    verb->filter.sender = pn_str_z(verb->sender = pn_strndup(terms->sender));
    verb->filter.recipient = pn_str_z(verb->recipient = pn_strndup(terms->recipient));
    verb->parked_too =
        has_parked_verb && (terms->given & ADMIN_ID) && !(terms->given & ADMIN_PARKED);
    return verb;
}

static void apply(struct admin_ask *ask, enum spool_verb spool_verb, const char *what)
{
    struct verb_call *verb = verb_new(ask, spool_verb, what);

    if (verb) {
        admin_call_begin(&verb->call, ask);
        apply_to(verb, PN_STR(""));
    }
}

/* Parked messages go to somebody else: the mail is handed over, the sender is not told. */
void admin_forward_parked(struct admin_ask *ask)
{
    const struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct route_choice choice;
    struct verb_call *verb;

    if (!(ask->terms.given & ADMIN_ADDRESS)) {
        admin_refuse(ask->request, 400, "address says where to: give one");
        return;
    }
    route_choose(daemon->conf(daemon->owner), daemon->domains(daemon->owner), PN_STR(""),
                 ask->terms.address, &choice);
    if (choice.refused) {
        admin_refuse(ask->request, 409, "%.*s: %s", PN_FMT(ask->terms.address), choice.why);
        return;
    }
    verb = verb_new(ask, SPOOL_FORWARD, "parked forward");
    if (verb) {
        verb->filter.parked = true;
        verb->parked_too = false;
        verb->to = pn_strndup(ask->terms.address);
        verb->to_queue = pn_strdup(choice.queue);
        admin_call_begin(&verb->call, ask);
        apply_to(verb, PN_STR(""));
    }
}

void admin_hold_jobs(struct admin_ask *ask)
{
    apply(ask, SPOOL_HOLD, "queue hold");
}

void admin_release_jobs(struct admin_ask *ask)
{
    apply(ask, SPOOL_RELEASE, "queue release");
}

void admin_retry_jobs(struct admin_ask *ask)
{
    apply(ask, SPOOL_RETRY, "queue retry");
}

void admin_delete_jobs(struct admin_ask *ask)
{
    apply(ask, SPOOL_DELETE, "queue delete");
}

/* ---- trace ------------------------------------------------------------------------ */

struct trace_call {
    struct admin_call call;
    struct pn_id id;
};

static void on_traced(void *owner, int status, const struct state_event *events, size_t count)
{
    struct trace_call *trace = owner;
    struct httpd_request *request = admin_call_end(&trace->call);
    char id[PN_ID_CHARS + 1];
    json_t *list;
    json_t *json;

    pn_id_format(&trace->id, id);
    free(trace);
    if (!request) {
        return;
    }
    if (status != 0 && status != PN_ENOENT) {
        admin_refuse_storage(request, status);
        return;
    }
    if (status == PN_ENOENT || count == 0) {
        admin_refuse(request, 404,
                     "nothing is known of %s: it was never here, or longer ago than the "
                     "option trace keeps events",
                     id);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *event = json_object();

        admin_json_put(event, "time", admin_json_wall(events[i].when));
        admin_json_put(event, "event", admin_json_text(events[i].event));
        admin_json_put(event, "text", admin_json_text(events[i].text));
        pn_assert(json_array_append_new(list, event) == 0);
    }
    json = json_object();
    admin_json_put(json, "id", json_string(id));
    admin_json_put(json, "events", list);
    admin_answer(request, 200, json);
}

void admin_get_trace(struct admin_ask *ask)
{
    const struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct trace_call *trace;
    struct pn_id id;

    if (!read_id(ask, &id)) {
        return;
    }
    if (!ask->admin->deps.state || daemon->conf(daemon->owner)->trace_ms == 0) {
        admin_refuse(ask->request, 409, "no events are kept: the option trace is 0");
        return;
    }
    trace = PN_NEW(struct trace_call);
    trace->id = id;
    admin_call_begin(&trace->call, ask);
    state_trace(ask->admin->deps.state, ask->admin->deps.out->loop, &id, on_traced, trace);
}
