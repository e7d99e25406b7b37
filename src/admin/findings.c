/*
 * admin/findings.c - what a check of a domain found out, and what to do about it.
 *
 * The facts are gathered first (check.c) and judged here, all at once, so that a finding
 * may depend on any of them and the judgement can be tested without a network. Whatever is
 * not ok says what to do.
 */
#include "findings_priv.h"
#include "json_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/route.h"

#include <string.h>

#define SENTENCE_MAX   2048
#define EXPIRES_SOON_S (14 * 24 * 3600)

#define OK      "ok"
#define NOTE    "note"
#define WARNING "warning"
#define PROBLEM "problem"

static void find(json_t *list, const char *level, const char *advice, const char *format, ...)
    PN_PRINTF(4, 5);

/* Adds one finding; the advice may be "". */
static void find(json_t *list, const char *level, const char *advice, const char *format, ...)
{
    json_t *finding = json_object();
    struct pn_buf what;
    va_list args;

    pn_buf_init(&what, SENTENCE_MAX);
    va_start(args, format);
    pn_assert(pn_buf_vprintf(&what, format, args) == 0);
    va_end(args);
    admin_json_put(finding, "level", json_string(level));
    admin_json_put(finding, "what", admin_json_text(pn_buf_str(&what)));
    admin_json_put(finding, "do", admin_json_text(pn_str_z(advice)));
    pn_assert(json_array_append_new(list, finding) == 0);
    pn_buf_fini(&what);
}

static bool is_found(const struct admin_host *host)
{
    return host->literal || host->ip_count > 0;
}

static bool is_unclear(const struct admin_host *host)
{
    return !is_found(host) && (host->v4 == RESOLVER_TEMPFAIL || host->v6 == RESOLVER_TEMPFAIL);
}

static bool is_own_ip(const struct admin_facts *facts, const struct pn_ip *ip)
{
    for (size_t i = 0; i < facts->out->own_ip_count; i++) {
        if (pn_ip_eq(ip, &facts->out->own_ips[i])) {
            return true;
        }
    }
    return false;
}

static bool has_own_ip(const struct admin_facts *facts, const struct admin_host *host)
{
    for (size_t i = 0; i < host->ip_count; i++) {
        if (is_own_ip(facts, &host->ips[i])) {
            return true;
        }
    }
    return false;
}

static bool is_own_name(const struct admin_facts *facts, const struct admin_host *host)
{
    return pn_str_eq_nocase(pn_str_z(host->name), pn_str_z(facts->conf->hostname));
}

/* ---- MX --------------------------------------------------------------------------- */

static const char *mx_advice(const struct admin_facts *facts, struct pn_buf *out)
{
    pn_buf_clear(out);
    pn_assert(pn_buf_printf(out, "Publish in the DNS: %s. 1800 IN MX 90 %s.",
                            facts->domain->name, facts->conf->hostname) == 0);
    pn_assert(pn_buf_append_char(out, '\0') == 0);
    return pn_buf_str(out).ptr;
}

static const struct admin_host *find_own_mx(const struct admin_facts *facts)
{
    for (size_t i = 0; i < facts->mx_count; i++) {
        if (is_own_name(facts, &facts->mx[i])) {
            return &facts->mx[i];
        }
    }
    for (size_t i = 0; i < facts->mx_count; i++) {
        if (has_own_ip(facts, &facts->mx[i])) {
            return &facts->mx[i];
        }
    }
    return NULL;
}

static void judge_place(const struct admin_facts *facts, const struct admin_host *own,
                        json_t *list)
{
    const struct admin_host *last = &facts->mx[facts->mx_count - 1];

    if (!is_own_name(facts, own)) {
        find(list, NOTE,
             "Use our own host name in the MX record, so that names and certificates agree.",
             "The MX %s is one of our addresses, but our host name is %s.", own->name,
             facts->conf->hostname);
    }
    if (facts->mx_count == 1) {
        find(list, NOTE,
             "Nothing, if the target is hidden on purpose. Else give it an MX record with a "
             "smaller preference than ours.",
             "We are the only MX of %s: all its mail comes to us first.", facts->domain->name);
    } else if (last->preference > own->preference) {
        find(
            list, WARNING,
            "Give our MX record the greatest preference, unless that host holds mail as we do.",
            "%s (preference %u) comes after us (%u): senders who cannot reach us try it.",
            last->name, last->preference, own->preference);
    } else if (facts->mx[0].preference == own->preference) {
        find(list, WARNING, "Give our MX record a greater preference, 90 for example.",
             "All MX of %s have the preference %u: senders take us and the target in turns.",
             facts->domain->name, own->preference);
    } else {
        find(list, OK, "", "We are the last of %zu MX of %s, with preference %u.",
             facts->mx_count, facts->domain->name, own->preference);
    }
}

static void judge_target_in_mx(const struct admin_facts *facts, json_t *list)
{
    if (facts->domain->target_mx) {
        return;
    }
    for (size_t m = 0; m < facts->mx_count; m++) {
        for (size_t t = 0; t < facts->target_count; t++) {
            const struct admin_host *mx = &facts->mx[m];
            const struct admin_host *target = &facts->targets[t];

            if (pn_str_eq_nocase(pn_str_z(mx->name), pn_str_z(target->name))) {
                return;
            }
            for (size_t i = 0; i < mx->ip_count; i++) {
                for (size_t k = 0; k < target->ip_count; k++) {
                    if (pn_ip_eq(&mx->ips[i], &target->ips[k])) {
                        return;
                    }
                }
            }
        }
    }
    find(list, NOTE,
         "Nothing, if the MX are filters before the target, or if it is hidden on purpose.",
         "None of the targets is an MX of %s: we deliver elsewhere than the world does.",
         facts->domain->name);
}

static void judge_mx_found(const struct admin_facts *facts, json_t *list, struct pn_buf *advice)
{
    const struct admin_host *own = find_own_mx(facts);
    bool unclear = false;
    struct pn_buf names;

    if (facts->mx_count == 1 && facts->mx[0].name[0] == '\0') {
        find(list, PROBLEM, mx_advice(facts, advice),
             "%s has a null MX (RFC 7505): it says that it takes no mail at all.",
             facts->domain->name);
        return;
    }
    if (own) {
        judge_place(facts, own, list);
    } else {
        pn_buf_init(&names, SENTENCE_MAX / 2);
        for (size_t i = 0; i < facts->mx_count; i++) {
            unclear |= is_unclear(&facts->mx[i]);
            if (pn_buf_printf(&names, "%s%s (%u)", i ? ", " : "", facts->mx[i].name,
                              facts->mx[i].preference) != 0) {
                break; /* the others are left out of the sentence */
            }
        }
        find(list, unclear ? WARNING : PROBLEM, mx_advice(facts, advice),
             "We are not among the MX of %s: %.*s%s.", facts->domain->name,
             PN_FMT(pn_buf_str(&names)),
             unclear ? "; not all of their addresses could be looked up" : "");
        pn_buf_fini(&names);
    }
    judge_target_in_mx(facts, list);
}

static void judge_mx(const struct admin_facts *facts, json_t *list)
{
    const char *name = facts->domain->name;
    struct pn_buf advice;

    pn_buf_init(&advice, SENTENCE_MAX);
    if (!facts->mx_answered || facts->mx_status == RESOLVER_TEMPFAIL) {
        find(list, WARNING, "See that our resolver works (dns_servers), then check again.",
             "The DNS does not tell the MX of %s: %s.", name,
             facts->mx_answered ? facts->mx_why : "no answer within the time of this check");
    } else if (facts->mx_status == RESOLVER_NXDOMAIN) {
        find(list, PROBLEM, "See that the name is spelt right and registered.",
             "The domain %s does not exist in the DNS.", name);
    } else if (facts->mx_status == RESOLVER_NODATA || facts->mx_count == 0) {
        find(list, PROBLEM, mx_advice(facts, &advice),
             "%s has no MX record: senders use its address record, and never us.", name);
    } else {
        judge_mx_found(facts, list, &advice);
    }
    pn_buf_fini(&advice);
}

/* ---- hosts ------------------------------------------------------------------------ */

static void judge_own_name(const struct admin_facts *facts, json_t *list)
{
    const struct admin_host *own = &facts->own;

    if (is_unclear(own)) {
        find(list, WARNING, "See that our resolver works (dns_servers), then check again.",
             "The DNS does not tell the address of our host name %s: %s.", own->name, own->why);
    } else if (!is_found(own)) {
        find(list, WARNING, "Publish an address record (A, AAAA) for our host name.",
             "Our host name %s has no address in the DNS: nobody reaches us by it.", own->name);
    } else if (facts->out->own_ip_count > 0 && !has_own_ip(facts, own)) {
        find(list, NOTE, "Nothing, if that address is translated to us (NAT).",
             "Our host name %s has an address that no interface of this machine has.",
             own->name);
    } else {
        find(list, OK, "", "Our host name %s leads to us.", own->name);
    }
}

static void judge_target(const struct admin_facts *facts, const struct admin_host *target,
                         json_t *list)
{
    if (is_unclear(target)) {
        find(list, WARNING, "See that our resolver works (dns_servers), then check again.",
             "The DNS does not tell the address of the target %s: %s.", target->name,
             target->why);
        return;
    }
    if (!is_found(target)) {
        find(list, PROBLEM, "See that the option target is spelt right.",
             "The target %s has no address in the DNS.", target->name);
        return;
    }
    for (size_t i = 0; i < target->ip_count; i++) {
        struct pn_endpoint to = {target->ips[i], target->port};
        char text[PN_ENDPOINT_CHARS];

        if (route_is_own(&to, facts->out->own, facts->out->own_count, facts->out->own_ips,
                         facts->out->own_ip_count)) {
            find(list, PROBLEM, "Let the option target name the domain's own server.",
                 "The target %s leads back to us (%s): its mail would go in circles.",
                 target->name, pn_endpoint_format(&to, text));
        }
    }
}

/* ---- the session ------------------------------------------------------------------ */

static void judge_certificate(const struct admin_facts *facts, json_t *list)
{
    const struct admin_session_facts *session = &facts->session;
    int64_t left_s = session->expires_s - facts->now.ms / 1000;

    find(list, session->verified ? OK : NOTE,
         session->verified
             ? ""
             : "Nothing is lost: the line is encrypted all the same. A certificate that the "
               "world trusts would also tell us who is there.",
         "Its certificate is for %s, issued by %s, %s%s.",
         session->names[0] ? session->names : "no name",
         session->issuer[0] ? session->issuer : "nobody",
         session->verified ? "verified" : "not verified: ",
         session->verified ? "" : session->verify_error);
    if (session->expires_s > 0 && left_s < 0) {
        find(list, WARNING, "Renew the certificate on the target.",
             "Its certificate has expired %lld days ago.", (long long)(-left_s / 86400));
    } else if (session->expires_s > 0 && left_s < EXPIRES_SOON_S) {
        find(list, WARNING, "Renew the certificate on the target.",
             "Its certificate expires in %lld days.", (long long)(left_s / 86400));
    }
}

static void judge_tls(const struct admin_facts *facts, json_t *list)
{
    const struct admin_session_facts *session = &facts->session;

    if (session->encrypted) {
        find(list, OK, "", "The session is encrypted: %s with %s.", session->tls_why,
             session->cipher);
        judge_certificate(facts, list);
    } else if (facts->domain->tls == CONF_TLS_NONE) {
        find(list, NOTE, "Nothing, if mail may cross the net readable for all.",
             "The session is not encrypted, as the option tls says.");
    } else if (session->capabilities & SMTP_CAP_STARTTLS) {
        find(list, WARNING, "Look at the transcript, and at the target's TLS configuration.",
             "The target offers STARTTLS, but the handshake failed: mail goes in clear.");
    } else {
        find(list, WARNING, "Switch STARTTLS on at the target.",
             "The target offers no STARTTLS: mail goes in clear.");
    }
}

static void judge_capabilities(const struct admin_facts *facts, json_t *list)
{
    static const struct {
        enum smtp_capability capability;
        const char *what;
        const char *advice;
    } wanted[] = {
        {SMTP_CAP_PIPELINING, "The target offers no PIPELINING: handing over takes more time.",
         "Allow PIPELINING to us there, if a filter or firewall takes it away."},
        {SMTP_CAP_8BITMIME, "The target offers no 8BITMIME: 8-bit mail is sent as it is.",
         "Switch 8BITMIME on at the target, if it can."},
        {SMTP_CAP_SMTPUTF8,
         "The target offers no SMTPUTF8: mail with addresses beyond ASCII cannot be handed "
         "over.",
         "Switch SMTPUTF8 on at the target, if it can."},
        {SMTP_CAP_DSN, "The target offers no DSN: what senders asked about reports is lost.",
         "Nothing; few senders ask."},
    };
    const struct admin_session_facts *session = &facts->session;

    for (size_t i = 0; i < PN_COUNT(wanted); i++) {
        if (!(session->capabilities & wanted[i].capability)) {
            find(list, NOTE, wanted[i].advice, "%s", wanted[i].what);
        }
    }
    if (session->size_limit > 0 && session->size_limit < facts->conf->message_size_octets) {
        find(list, WARNING,
             "Raise the target's limit, or lower our option message_size: what we take and it "
             "does not is parked.",
             "The target takes messages of %llu octets at the most, we take %llu.",
             (unsigned long long)session->size_limit,
             (unsigned long long)facts->conf->message_size_octets);
    }
}

static void judge_session(const struct admin_facts *facts, json_t *list)
{
    const struct admin_session_facts *session = &facts->session;

    if (session->ready) {
        find(list, OK, "", "The target %s answers and takes mail.", session->peer);
        judge_tls(facts, list);
        judge_capabilities(facts, list);
        find(list, NOTE,
             "See \"Whitelist Postern on the primary\" in the README for Postfix, Exim, rspamd "
             "and "
             "SpamAssassin.",
             "Held mail comes to the target from our address, all at once: it must not "
             "limit or judge us as a stranger.");
    } else if (session->ended && session->end == OUT_END_LOOP) {
        find(list, PROBLEM, "Let the option target name the domain's own server.",
             "The target is ourselves: it greets with our own name. %s", session->reason);
    } else if (session->ended) {
        find(
            list, PROBLEM,
            "See that the target runs, that no firewall is between us, and that it lets us in. "
            "Until then mail is kept, and the target is probed.",
            "The target does not take mail from us: %s", session->reason);
    } else {
        find(list, PROBLEM, "Look at the target's log: it is slow, or waits for something.",
             "The target was not done within the time of this check; the last line was: %s",
             session->last_line[0] ? session->last_line : "none");
    }
}

static void judge_files(const struct admin_facts *facts, json_t *list)
{
    for (size_t i = 0; i < facts->files.count; i++) {
        find(list, WARNING, "Repair the file: sessions that need it fail, and mail is kept.",
             "%.1000s.", facts->files.items[i].text);
    }
}

json_t *admin_findings(const struct admin_facts *facts)
{
    json_t *list = json_array();

    judge_mx(facts, list);
    judge_own_name(facts, list);
    for (size_t i = 0; i < facts->target_count; i++) {
        judge_target(facts, &facts->targets[i], list);
    }
    judge_files(facts, list);
    judge_session(facts, list);
    return list;
}
