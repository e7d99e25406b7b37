/*
 * admin/destination.c - one next hop: shown, held, and judged after it came back.
 *
 * A destination is named by its own name or by a queue whose mail goes there; a name has a
 * colon in it, which no domain has. "All" are those that are stopped: the decision is about
 * what the operator was told of, and not about whoever happens to be on parole.
 */
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define DOMAINS_SHOWN 100

/* The destination of a domain that is defined; refuses and is false if there is none. */
static bool find_by_domain(struct admin_ask *ask, struct pn_str domain, struct pn_str *out)
{
    struct admin_view view = admin_view_of(ask->admin);
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct pn_str name = admin_queue_name(domain, ascii);
    struct queue_status status;

    if (!queue_get_status(view.queue, name, view.clock.queue_ms, &status) || !status.defined) {
        admin_refuse(ask->request, 404, "%.*s is no relay domain",
                     PN_FMT(pn_str_sub(name, 0, 255)));
        return false;
    }
    *out = status.destination;
    return true;
}

/* By its own name, or that of a queue that is no domain: "out:example.net". */
static struct pn_str find_by_name(struct admin_ask *ask, struct pn_str name)
{
    struct admin_view view = admin_view_of(ask->admin);
    struct queue_status status;

    return queue_get_status(view.queue, name, view.clock.queue_ms, &status) && status.defined
               ? status.destination
               : name;
}

/* What is named, directly or by a domain that goes there. */
static bool find_destination(struct admin_ask *ask, struct pn_str *out)
{
    const struct admin_terms *terms = &ask->terms;

    if ((terms->domain.len > 0) == (terms->name.len > 0)) {
        admin_refuse(ask->request, 400, "give either \"name\" or \"domain\"");
        return false;
    }
    if (terms->name.len > 0) {
        *out = find_by_name(ask, terms->name);
        return true;
    }
    return find_by_domain(ask, terms->domain, out);
}

/* ---- shown ------------------------------------------------------------------------ */

struct users {
    struct pn_str destination;
    json_t *names;
    uint64_t count;
};

static void note_user(void *owner, const struct queue_status *status)
{
    struct users *users = owner;

    if (!status->defined || !pn_str_eq(status->destination, users->destination)) {
        return;
    }
    if (users->count++ < DOMAINS_SHOWN) {
        pn_assert(json_array_append_new(users->names, admin_json_text(status->name)) == 0);
    }
}

static void put_offer(json_t *json, struct out_board *board, struct pn_str destination)
{
    struct out_board_entry entry = {0};

    if (board) {
        entry = out_board_get(board, destination);
        admin_json_put(json, "lent_sessions",
                       json_integer((json_int_t)out_board_sessions(board, destination)));
    }
    admin_json_put(json, "capabilities",
                   entry.capabilities_known ? admin_view_capabilities(entry.capabilities)
                                            : json_null());
    admin_json_put(json, "size_limit",
                   entry.capabilities_known ? admin_json_u64(entry.size_limit) : json_null());
}

static json_t *sayings_json(const struct deliver_contact *contact,
                            const struct admin_clock *clock)
{
    static const char *const words[] = {"2xx", "4xx", "5xx", "421", "lost", "failed"};
    json_t *list = json_array();

    for (size_t i = 0; i < contact->said_count; i++) {
        const struct deliver_saying *saying = &contact->said[i];
        json_t *row = json_object();

        admin_json_put(row, "kind", json_string(words[saying->word]));
        admin_json_wall_past(row, "at", clock, saying->at);
        admin_json_put(row, "times", admin_json_u64(saying->times));
        admin_json_put(row, "text", admin_json_text(pn_str_z(saying->text)));
        pn_assert(json_array_append_new(list, row) == 0);
    }
    return list;
}

static json_t *words_json(const struct deliver_contact *contact)
{
    static const char *const words[] = {"2xx", "4xx", "5xx", "421", "lost", "failed"};
    json_t *json = json_object();

    for (size_t i = 0; i < PN_COUNT(words); i++) {
        admin_json_put(json, words[i], admin_json_u64(contact->words[i]));
    }
    return json;
}

static json_t *quirks_json(unsigned quirks)
{
    json_t *list = json_array();

    if (quirks & SMTP_QUIRK_PIPELINING) {
        pn_assert(json_array_append_new(list, json_string("no PIPELINING")) == 0);
    }
    if (quirks & SMTP_QUIRK_CHUNKING) {
        pn_assert(json_array_append_new(list, json_string("no CHUNKING")) == 0);
    }
    return list;
}

/* What was heard of it, since the daemon's start. */
static void put_contact(json_t *json, const struct deliver *deliver,
                        const struct admin_clock *clock, struct pn_str destination)
{
    static const char *const identities[] = {
        [OUT_IDENTITY_NONE] = "none",
        [OUT_IDENTITY_XFORWARD] = "xforward",
        [OUT_IDENTITY_XCLIENT] = "xclient",
    };
    static const struct deliver_contact nothing;
    const struct deliver_contact *contact = deliver_get_contact(deliver, destination);
    bool greeted = contact && contact->greeted;

    contact = contact ? contact : &nothing;
    admin_json_put(json, "replies", words_json(contact));
    admin_json_put(json, "last_replies", sayings_json(contact, clock));
    admin_json_wall_past(json, "last_session", clock, contact->greeted_at);
    admin_json_put(json, "peer",
                   greeted ? admin_json_text(pn_str_z(contact->peer)) : json_null());
    admin_json_put(json, "tls",
                   greeted ? admin_json_text(pn_str_z(contact->tls)) : json_null());
    admin_json_put(json, "tls_why",
                   greeted ? admin_json_text(pn_str_z(contact->tls_why)) : json_null());
    admin_json_put(json, "identity",
                   greeted ? json_string(identities[contact->identity]) : json_null());
    admin_json_put(json, "window", greeted ? json_integer(contact->window) : json_null());
    admin_json_put(json, "quirks", quirks_json(contact->quirks));
}

void admin_get_destination(struct admin_ask *ask)
{
    struct admin_view view = admin_view_of(ask->admin);
    struct queue_destination_status status;
    struct pn_str name = ask->param;
    struct users users;
    json_t *json;

    if (pn_str_find(name, ':') < name.len) {
        name = find_by_name(ask, name);
    } else if (!find_by_domain(ask, ask->param, &name)) {
        return;
    }
    if (!queue_get_destination(view.queue, name, view.clock.queue_ms, &status)) {
        admin_refuse(ask->request, 404, "there is no destination %.*s",
                     PN_FMT(pn_str_sub(name, 0, 300)));
        return;
    }
    users = (struct users){.destination = name, .names = json_array()};
    queue_each(view.queue, view.clock.queue_ms, note_user, &users);
    json = admin_view_destination(&view, &status);
    put_offer(json, ask->admin->deps.board, name);
    put_contact(json, ask->admin->deps.deliver, &view.clock, name);
    admin_json_put(json, "domains_total", admin_json_u64(users.count));
    admin_json_put(json, "domains", users.names);
    admin_answer(ask->request, 200, json);
}

/* ---- held ------------------------------------------------------------------------- */

static void set_hold(struct admin_ask *ask, bool hold)
{
    char *name;
    struct pn_str destination;
    json_t *json;

    if (!find_destination(ask, &destination)) {
        return;
    }
    /* The slice may point into the scheduler, which is about to change. */
    name = pn_strndup(destination);
    if (!deliver_hold(ask->admin->deps.deliver, pn_str_z(name), hold)) {
        admin_refuse(ask->request, 404, "there is no destination %.300s", name);
    } else {
        admin_log(ask->admin, hold ? "destination hold" : "destination release", pn_str_z(name),
                  0);
        json = json_object();
        admin_json_put(json, "name", admin_json_text(pn_str_z(name)));
        admin_json_put(json, "held", json_boolean(hold));
        admin_answer(ask->request, 200, json);
    }
    free(name);
}

void admin_hold_destination(struct admin_ask *ask)
{
    set_hold(ask, true);
}

void admin_release_destination(struct admin_ask *ask)
{
    set_hold(ask, false);
}

/* ---- judged ----------------------------------------------------------------------- */

struct decision {
    bool (*decide)(struct deliver *deliver, struct pn_str destination);
    bool parole; /* it is also about those that are on parole and not stopped */
    const char *what;
};

static void note_stopped(void *owner, const struct queue_destination_status *status)
{
    json_t *names = owner;

    /* What a name is compared with is the scheduler's octets: they are ASCII. */
    if (status->state == QUEUE_STOPPED) {
        pn_assert(json_array_append_new(names, admin_json_text(status->name)) == 0);
    }
}

/* The names are copies: what is decided changes the scheduler that lists them. */
static json_t *decide_all(struct admin_ask *ask, const struct decision *decision)
{
    struct admin_view view = admin_view_of(ask->admin);
    json_t *names = json_array();
    json_t *done = json_array();
    size_t index;
    json_t *name;

    queue_each_destination(view.queue, view.clock.queue_ms, note_stopped, names);
    json_array_foreach(names, index, name)
    {
        struct pn_str text = {json_string_value(name), json_string_length(name)};

        if (decision->decide(ask->admin->deps.deliver, text)) {
            admin_log(ask->admin, decision->what, text, 0);
            pn_assert(json_array_append(done, name) == 0);
        }
    }
    json_decref(names);
    return done;
}

/* NULL: refused. */
static json_t *decide_one(struct admin_ask *ask, const struct decision *decision)
{
    struct queue_destination_status status;
    struct admin_view view;
    struct pn_str found;
    json_t *done = NULL;
    char *name;

    if (!find_destination(ask, &found)) {
        return NULL;
    }
    view = admin_view_of(ask->admin);
    name = pn_strndup(found);
    if (!queue_get_destination(view.queue, pn_str_z(name), view.clock.queue_ms, &status)) {
        admin_refuse(ask->request, 404, "there is no destination %.300s", name);
    } else if (status.state != QUEUE_STOPPED && !(decision->parole && status.parole)) {
        admin_refuse(ask->request, 409, "there is nothing to decide: %.300s is %s%s", name,
                     queue_state_name(status.state), status.parole ? ", on parole" : "");
    } else if (!decision->decide(ask->admin->deps.deliver, pn_str_z(name))) {
        admin_refuse(ask->request, 404, "there is no destination %.300s", name);
    } else {
        admin_log(ask->admin, decision->what, pn_str_z(name), 0);
        done = json_array();
        pn_assert(json_array_append_new(done, admin_json_text(pn_str_z(name))) == 0);
    }
    free(name);
    return done;
}

static void decide(struct admin_ask *ask, const struct decision *decision)
{
    const struct admin_terms *terms = &ask->terms;
    json_t *json;
    json_t *done;

    if (terms->all && (terms->name.len > 0 || terms->domain.len > 0)) {
        admin_refuse(ask->request, 400, "give one of \"name\", \"domain\" and \"all\": true");
        return;
    }
    done = terms->all ? decide_all(ask, decision) : decide_one(ask, decision);
    if (done) {
        json = json_object();
        admin_json_put(json, "names", done);
        admin_answer(ask->request, 200, json);
    }
}

void admin_resume_destination(struct admin_ask *ask)
{
    decide(ask, &(struct decision){deliver_resume, false, "destination resume"});
}

void admin_refuse_destination(struct admin_ask *ask)
{
    decide(ask, &(struct decision){deliver_refuse, true, "destination refuse"});
}
