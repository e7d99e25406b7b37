/*
 * ingress/verdict.c - what a client is told: facts in, a reply out.
 *
 * The rule against open relaying is ingress_verdict_rcpt and stands on two legs. The address is
 * judged in one form only, the one that mail/address made of it, never by looking at the
 * text again; and its domain is looked up as a whole name, in the table of relay domains.
 * What a local part might mean to somebody else (user%evil, evil!user) is not interpreted:
 * it is refused, because the primary may be somebody who does interpret it (FAULTS 3.18).
 *
 * A broken spool is answered like a full one, with 452 4.3.1: both mean "not now", and a
 * client that is told 451 would not come back any differently.
 */
#include "verdict_priv.h"

#include "postern/base/mem.h"
#include "postern/smtp/client.h"

#include <inttypes.h>
#include <string.h>

#define HEADER_ALLOWANCE 1024 /* our trace header */
#define TARGET_TEXT_MAX  300

static void set_not_ready(enum spool_readiness readiness, struct smtp_reply *out)
{
    if (readiness == SPOOL_FULL) {
        smtp_reply_set(out, 452, "4.3.1",
                       "not enough free space to take mail, try again later");
    } else {
        smtp_reply_set(out, 452, "4.3.1", "mail cannot be stored now, try again later");
    }
}

void ingress_verdict_helo(const struct conf *conf, struct smtp_reply *out)
{
    /* RFC 2034 4: no enhanced code in the answer to HELO and EHLO. */
    smtp_reply_set(out, 250, "", "%s", conf->hostname);
}

void ingress_verdict_mail(const struct conf *conf, enum spool_readiness readiness,
                          uint64_t free_octets, const struct smtp_event *event,
                          struct smtp_reply *out)
{
    uint64_t size_octets = event->size_known ? event->size_octets : 0;

    if (size_octets > conf->message_size_octets) {
        smtp_reply_set(out, 552, "5.3.4", "a message may have at most %" PRIu64 " octets",
                       conf->message_size_octets);
    } else if (readiness != SPOOL_READY) {
        set_not_ready(readiness, out);
    } else if (size_octets > INGRESS_VERDICT_SMALL_OCTETS &&
               (free_octets < conf->free_space_octets ||
                size_octets > free_octets - conf->free_space_octets)) {
        set_not_ready(SPOOL_FULL, out);
    } else {
        smtp_reply_set(out, 250, "2.1.0", "Ok");
    }
}

/* <postmaster> goes to the relay domain nearest above our host name, else to the first. */
static const struct conf_domain *postmaster_domain(const struct conf *conf,
                                                   const struct domains *domains)
{
    char ascii[MAIL_DOMAIN_MAX + 1];
    struct pn_str name;

    if (mail_domain_ascii(pn_str_z(conf->hostname), ascii)) {
        for (name = pn_str_z(ascii); name.len > 0; (void)pn_str_cut(&name, '.')) {
            const struct conf_domain *domain = domains_find_exact(domains, name);

            if (domain) {
                return domain;
            }
        }
    }
    return domains_count(domains) > 0 ? domains_at(domains, 0) : NULL;
}

static const struct conf_domain *refuse_relay(struct pn_str domain, struct smtp_reply *out)
{
    smtp_reply_set(out, 550, "5.7.1", "we do not relay for %.*s", PN_FMT(domain));
    return NULL;
}

const struct conf_domain *ingress_verdict_rcpt(const struct conf *conf,
                                               const struct domains *domains,
                                               const struct smtp_event *event,
                                               size_t recipients, struct smtp_reply *out)
{
    const struct mail_address *address = &event->address;
    struct pn_str ascii = pn_str_z(address->ascii);
    const struct conf_domain *domain;

    if (address->domain.len == 0) {
        domain = postmaster_domain(conf, domains);
    } else {
        domain = address->literal ? NULL : domains_find(domains, ascii);
    }
    if (!domain) {
        return refuse_relay(ascii.len > 0 ? ascii : address->domain, out);
    }
    if (mail_local_routes(address->local)) {
        smtp_reply_set(out, 550, "5.7.1", "we do not relay by way of other hosts");
        return NULL;
    }
    if (recipients >= (size_t)conf->recipients_max) {
        /* RFC 5321 4.5.3.1.10: the client sends the rest in a transaction of its own. */
        smtp_reply_set(out, 452, "4.5.3", "too many recipients in one message");
        return NULL;
    }
    smtp_reply_set(out, 250, "2.1.5", "Ok");
    return domain;
}

void ingress_verdict_data(enum spool_readiness readiness, struct smtp_reply *out)
{
    if (readiness != SPOOL_READY) {
        set_not_ready(readiness, out);
    } else {
        smtp_reply_set(out, 354, "", "End data with <CR><LF>.<CR><LF>");
    }
}

bool ingress_verdict_end(const struct conf *conf, const struct smtp_event *event,
                         unsigned received, struct smtp_reply *out)
{
    if (event->bare_newline && conf->bare_newline == CONF_BARE_REJECT) {
        smtp_reply_set(out, 550, "5.6.11", "a CR or LF stands alone; lines end with CR LF");
    } else if (event->too_long) {
        smtp_reply_set(out, 552, "5.3.4", "a message may have at most %" PRIu64 " octets",
                       conf->message_size_octets);
    } else if (received > (uint64_t)conf->hops_max) {
        smtp_reply_set(out, 554, "5.4.6", "too many hops (%u): the message goes in circles",
                       received);
    } else {
        return true;
    }
    return false;
}

/* ---- the target's part ------------------------------------------------------------ */

static void refuse_size(const struct out_board_entry *target, struct smtp_reply *out)
{
    smtp_reply_set(out, 552, "5.3.4", "the domain takes messages of at most %" PRIu64 " octets",
                   target->size_limit);
}

bool ingress_verdict_mirror(const struct out_board_entry *target, uint64_t size_octets,
                            bool utf8_address, struct smtp_reply *out)
{
    if (!target->capabilities_known) {
        return true;
    }
    if (target->size_limit > 0 && size_octets > 0 &&
        (size_octets > target->size_limit ||
         target->size_limit - size_octets < HEADER_ALLOWANCE)) {
        refuse_size(target, out);
        return false;
    }
    if (utf8_address && !(target->capabilities & SMTP_CAP_SMTPUTF8)) {
        smtp_reply_set(out, 550, "5.6.7", "the domain does not take addresses in UTF-8");
        return false;
    }
    return true;
}

bool ingress_verdict_mirror_end(const struct out_board_entry *target, uint64_t text_octets,
                                bool utf8_header, struct smtp_reply *out)
{
    if (!target->capabilities_known) {
        return true;
    }
    if (target->size_limit > 0 && text_octets > target->size_limit) {
        refuse_size(target, out);
        return false;
    }
    if (utf8_header && !(target->capabilities & SMTP_CAP_SMTPUTF8)) {
        smtp_reply_set(out, 550, "5.6.7", "the domain does not take headers in UTF-8");
        return false;
    }
    return true;
}

static bool has_nocase(struct pn_str text, struct pn_str word)
{
    for (size_t i = 0; word.len > 0 && i + word.len <= text.len; i++) {
        if (pn_str_eq_nocase(pn_str_sub(text, i, word.len), word)) {
            return true;
        }
    }
    return false;
}

/* The names of somebody's inner hosts are not for the world; his domain's name it knows. */
static bool tells_hosts(const struct conf_domain *domain, struct pn_str text)
{
    for (size_t i = 0; i < domain->target_count; i++) {
        struct pn_str host = pn_str_z(domain->targets[i].host);

        if (!pn_str_eq_nocase(host, pn_str_z(domain->name)) && has_nocase(text, host)) {
            return true;
        }
    }
    return false;
}

void ingress_verdict_pass(const struct conf_domain *domain, const struct smtp_reply *from,
                          struct smtp_reply *out)
{
    int code = from->code == 421 ? 451 : from->code < 300 ? 250 : from->code;
    char generic[] = {(char)('0' + code / 100), '.', '0', '.', '0', '\0'};
    bool fits = from->enhanced[0] == generic[0] && from->code != 421;
    struct pn_str text = pn_str_sub(pn_str_z(from->text), 0, TARGET_TEXT_MAX);

    if (text.len == 0 || tells_hosts(domain, text)) {
        text = smtp_reply_ok(from) ? PN_STR("Ok: taken by the domain's own server")
                                   : PN_STR("refused by the domain's own server");
    }
    smtp_reply_set(out, code, fits ? from->enhanced : generic, "%.*s", PN_FMT(text));
}

bool ingress_verdict_is_unknown(const struct smtp_reply *reply)
{
    static const char *const codes[] = {"5.1.1", "5.1.6", "5.1.10"};

    for (size_t i = 0; i < PN_COUNT(codes); i++) {
        if (smtp_reply_refused(reply) && strcmp(reply->enhanced, codes[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- who is who ------------------------------------------------------------------- */

bool ingress_verdict_is_target(const struct conf_domain *domain, const struct pn_ip *client)
{
    for (size_t i = 0; i < domain->target_count; i++) {
        if (domain->targets[i].literal && pn_ip_eq(&domain->targets[i].ip, client)) {
            return true;
        }
    }
    return false;
}

static bool may_ask_for_any(const struct conf *conf, const struct pn_ip *client)
{
    for (size_t i = 0; i < conf->etrn_clients.count; i++) {
        if (pn_net_has(&conf->etrn_clients.items[i], client)) {
            return true;
        }
    }
    return false;
}

const struct conf_domain *ingress_verdict_etrn(const struct conf *conf,
                                               const struct domains *domains,
                                               const struct pn_ip *client,
                                               const struct smtp_event *event,
                                               struct smtp_reply *out)
{
    char ascii[MAIL_DOMAIN_MAX + 1];
    const struct conf_domain *domain;

    /* RFC 1985 5.3: '@' asks for subdomains too, '#' for a queue by name; a name that is
     * used as a key is looked at first (FAULTS 3.12). */
    if (!mail_domain_ascii(event->name, ascii)) {
        smtp_reply_set(out, 501, "5.5.4", "ETRN takes a domain name");
        return NULL;
    }
    domain = domains_find_exact(domains, pn_str_z(ascii));
    if (!domain ||
        !(may_ask_for_any(conf, client) || ingress_verdict_is_target(domain, client))) {
        /* One answer for both, so that nobody learns whom we relay for. */
        smtp_reply_set(out, 459, "4.7.1", "node %s not allowed", ascii);
        return NULL;
    }
    smtp_reply_set(out, 250, "2.0.0", "OK, queuing for node %s started", ascii);
    return domain;
}
