/*
 * admin/flush.c - flushing queues, holding destinations.
 */
#include "status_priv.h"

#include "postern/base/mem.h"
#include "postern/mail/address.h"

/* A queue's name from "domain": as a domain is compared, or as it is (no longer one). */
static struct pn_str queue_name(struct pn_str given, char ascii[MAIL_DOMAIN_MAX + 1])
{
    return mail_domain_ascii(given, ascii) ? pn_str_z(ascii) : given;
}

void admin_flush(struct admin_ask *ask)
{
    const struct admin_terms *terms = &ask->terms;
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct pn_str name = queue_name(terms->domain, ascii);
    json_t *json;

    if ((terms->domain.len > 0) == terms->all) {
        admin_refuse(ask->request, 400, "give either \"domain\" or \"all\": true");
        return;
    }
    if (!deliver_flush(ask->admin->deps.deliver, terms->all ? PN_STR("") : name)) {
        admin_refuse(ask->request, 404, "there is no queue %.*s",
                     PN_FMT(pn_str_sub(name, 0, 255)));
        return;
    }
    admin_log(ask->admin, "flush", terms->all ? PN_STR("all") : name, 0);
    json = json_object();
    admin_json_put(json, "flushing", json_true());
    admin_answer(ask->request, 200, json);
}

/* What is named, directly or by a domain that goes there. */
static bool find_destination(struct admin_ask *ask, struct pn_str *out)
{
    const struct admin_terms *terms = &ask->terms;
    struct admin_view view;
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct pn_str name = queue_name(terms->domain, ascii);
    struct queue_status status;

    if ((terms->domain.len > 0) == (terms->name.len > 0)) {
        admin_refuse(ask->request, 400, "give either \"name\" or \"domain\"");
        return false;
    }
    if (terms->name.len > 0) {
        *out = terms->name;
        return true;
    }
    view = admin_view_of(ask->admin);
    if (!queue_get_status(view.queue, name, view.clock.queue_ms, &status) || !status.defined) {
        admin_refuse(ask->request, 404, "%.*s is no relay domain",
                     PN_FMT(pn_str_sub(name, 0, 255)));
        return false;
    }
    *out = status.destination;
    return true;
}

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
