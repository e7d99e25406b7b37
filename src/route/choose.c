/*
 * route/choose.c - which queue a recipient's mail belongs to, and what a queue's name means.
 *
 * Everything is decided from the two addresses and the configuration, in the order in which a
 * reader of the configuration would: relay domains, smart hosts in the file's order, the world.
 */
#include "postern/route/choose.h"

#include "postern/mail/address.h"

#include "postern/base/assert.h"

#include <stdio.h>
#include <string.h>

static void refuse(struct route_choice *out, const char *status, const char *format, ...)
    PN_PRINTF(3, 4);

static void refuse(struct route_choice *out, const char *status, const char *format, ...)
{
    va_list args;

    out->refused = true;
    out->code = 550;
    out->status = status;
    va_start(args, format);
    (void)vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
}

/* Both names are parts of names that were bounded when they were read. */
static void set_queue(struct route_choice *out, enum conf_queue kind, const char *first,
                      const char *rest)
{
    int length = snprintf(out->queue, sizeof out->queue, "%s%s", first, rest);

    pn_assert(length > 0 && (size_t)length < sizeof out->queue);
    out->kind = kind;
}

static struct pn_str without_queue(const struct conf_domain *host)
{
    return pn_str_sub(pn_str_z(host->name), strlen(CONF_SMART_HOST_QUEUE), SIZE_MAX);
}

/* ---- smart hosts ---- */

static bool is_sender(const char *item, const struct mail_address *sender)
{
    struct pn_str wanted = pn_str_z(item);
    struct pn_str local = pn_str_sub(wanted, 0, pn_str_rfind(wanted, '@'));

    if (pn_str_eq(wanted, PN_STR("<>"))) {
        return sender->text.len == 0;
    }
    return sender->text.len > 0 && sender->ascii[0] != '\0' &&
           pn_str_eq(pn_str_sub(wanted, local.len + 1, SIZE_MAX), pn_str_z(sender->ascii)) &&
           (local.len == 0 || pn_str_eq_nocase(local, sender->local));
}

static bool is_domain(const char *item, struct pn_str domain)
{
    struct pn_str wanted = pn_str_z(item);

    return wanted.ptr[0] == '.' ? domain.len > wanted.len && pn_str_ends(domain, wanted)
                                : pn_str_eq(domain, wanted);
}

static const char *find_sender(const struct conf_domain *host,
                               const struct mail_address *sender)
{
    for (size_t i = 0; i < host->senders.count; i++) {
        if (is_sender(host->senders.items[i], sender)) {
            return host->senders.items[i];
        }
    }
    return NULL;
}

static const char *find_domain(const struct conf_domain *host, struct pn_str domain)
{
    for (size_t i = 0; i < host->domains.count; i++) {
        if (is_domain(host->domains.items[i], domain)) {
            return host->domains.items[i];
        }
    }
    return NULL;
}

/* Is the smart host for this mail because of what it names? Then also says why. */
static bool is_for(const struct conf_domain *host, const struct mail_address *sender,
                   struct pn_str domain, char why[ROUTE_SAID_CHARS])
{
    const char *by_sender = find_sender(host, sender);
    const char *by_domain = find_domain(host, domain);

    if ((host->senders.count > 0 && !by_sender) || (host->domains.count > 0 && !by_domain) ||
        (!by_sender && !by_domain)) {
        return false;
    }
    (void)snprintf(why, ROUTE_SAID_CHARS, "smart_host \"%.*s\" is for%s%.100s%s%.100s",
                   PN_FMT(without_queue(host)), by_sender ? " the sender " : "",
                   by_sender ? by_sender : "", by_domain ? " the domain " : "",
                   by_domain ? by_domain : "");
    return true;
}

static bool choose_smart_host(const struct conf *conf, const struct mail_address *sender,
                              struct pn_str domain, struct route_choice *out)
{
    const struct conf_domain *found = NULL;

    for (size_t i = 0; i < conf->smart_host_count && !found; i++) {
        found = is_for(conf->smart_hosts[i], sender, domain, out->why) ? conf->smart_hosts[i]
                                                                       : NULL;
    }
    for (size_t i = 0; i < conf->smart_host_count && !found; i++) {
        const struct conf_domain *host = conf->smart_hosts[i];

        if (host->senders.count == 0 && host->domains.count == 0) {
            found = host;
            (void)snprintf(out->why, sizeof out->why, "smart_host \"%.*s\" is for all mail",
                           PN_FMT(without_queue(host)));
        }
    }
    if (found) {
        set_queue(out, CONF_QUEUE_SMART_HOST, found->name, "");
    }
    return found != NULL;
}

/* ---- the choice ---- */

/* Names that mean every host to itself: what their MX records say is about nobody. */
static bool is_local(struct pn_str domain)
{
    return pn_str_eq(domain, PN_STR("localhost")) || pn_str_ends(domain, PN_STR(".localhost"));
}

static void choose_domain(const struct conf *conf, const struct domains *domains,
                          const struct mail_address *sender,
                          const struct mail_address *recipient, struct route_choice *out)
{
    struct pn_str name = pn_str_z(recipient->ascii);
    const struct conf_domain *relay = domains_find(domains, name);

    if (relay) {
        set_queue(out, CONF_QUEUE_DOMAIN, relay->name, "");
        (void)snprintf(out->why, sizeof out->why, "%.*s is %s", PN_FMT(name),
                       pn_str_eq(name, pn_str_z(relay->name)) ? "a relay domain"
                                                              : "taken by a relay domain");
    } else if (pn_str_eq_nocase(name, pn_str_z(conf->hostname))) {
        refuse(out, "5.1.2", "%s is our own name, and there are no mailboxes here",
               conf->hostname);
    } else if (is_local(name)) {
        refuse(out, "5.1.2", "%.*s means every host to itself", PN_FMT(name));
    } else if (!choose_smart_host(conf, sender, name, out)) {
        set_queue(out, CONF_QUEUE_OUTBOUND, CONF_OUTBOUND_QUEUE, recipient->ascii);
        (void)snprintf(out->why, sizeof out->why,
                       "no relay domain and no smart host is for it: the MX hosts of %.*s",
                       PN_FMT(name));
    }
}

void route_choose(const struct conf *conf, const struct domains *domains, struct pn_str sender,
                  struct pn_str recipient, struct route_choice *out)
{
    struct mail_address from = {0};
    struct mail_address to;

    *out = (struct route_choice){.status = ""};
    if (mail_address_parse(recipient, true, &to) != MAIL_ADDRESS_OK) {
        refuse(out, "5.1.3", "the recipient is no address");
    } else if (sender.len > 0 && mail_address_parse(sender, true, &from) != MAIL_ADDRESS_OK) {
        refuse(out, "5.1.7", "the sender is no address");
    } else if (to.literal) {
        refuse(out, "5.1.2", "mail is not sent to addresses in brackets");
    } else if (to.ascii[0] == '\0') {
        refuse(out, "5.1.2", "the recipient has no domain");
    } else {
        choose_domain(conf, domains, &from, &to, out);
    }
}

/* ---- what a name means ---- */

enum conf_queue route_queue_kind(struct pn_str queue)
{
    if (pn_str_starts(queue, PN_STR(CONF_SMART_HOST_QUEUE))) {
        return CONF_QUEUE_SMART_HOST;
    }
    return pn_str_starts(queue, PN_STR(CONF_OUTBOUND_QUEUE)) ? CONF_QUEUE_OUTBOUND
                                                             : CONF_QUEUE_DOMAIN;
}

static struct conf_domain *find_smart_host(const struct conf *conf, struct pn_str queue)
{
    for (size_t i = 0; i < conf->smart_host_count; i++) {
        if (pn_str_eq(queue, pn_str_z(conf->smart_hosts[i]->name))) {
            return conf_domain_ref(conf->smart_hosts[i]);
        }
    }
    return NULL;
}

struct conf_domain *route_queue_domain(const struct conf *conf, const struct domains *domains,
                                       struct pn_str queue)
{
    const struct conf_domain *relay;

    switch (route_queue_kind(queue)) {
    case CONF_QUEUE_SMART_HOST:
        return find_smart_host(conf, queue);
    case CONF_QUEUE_OUTBOUND:
        return conf_outbound_domain(conf,
                                    pn_str_sub(queue, strlen(CONF_OUTBOUND_QUEUE), SIZE_MAX));
    case CONF_QUEUE_DOMAIN:
        break;
    }
    relay = domains_find_exact(domains, queue);
    /* The table's own definitions are counted too: only what they say is constant. */
    return relay ? conf_domain_ref((struct conf_domain *)(uintptr_t)relay) : NULL;
}
