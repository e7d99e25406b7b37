/*
 * admin/flush.c - flushing queues.
 */
#include "status_priv.h"

#include "postern/base/mem.h"
#include "postern/mail/address.h"

struct pn_str admin_queue_name(struct pn_str given, char ascii[MAIL_DOMAIN_MAX + 1])
{
    return mail_domain_ascii(given, ascii) ? pn_str_z(ascii) : given;
}

void admin_flush(struct admin_ask *ask)
{
    const struct admin_terms *terms = &ask->terms;
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct pn_str name = admin_queue_name(terms->domain, ascii);
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
