/*
 * route/plan.c - the steps of a plan.
 *
 * A plan is a list of hosts, and an enum that says which fact the one whose turn it is still
 * lacks. A fact that comes moves the enum; route_plan_next only looks at it. What is to be
 * told to people gathers in a list that goes out first, in the order in which it was found.
 *
 * MX hosts of one preference are looked up together: only then is it known whether we are one
 * of them by an address, and then none of them may be tried (RFC 5321 5.1).
 */
#include "plan_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- what is told ---- */

void route_plan_say(struct route_plan *plan, enum route_step_kind kind, bool loop,
                    const char *format, ...)
{
    char text[ROUTE_TEXT_CHARS];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (plan->said_first + plan->said_count == plan->said_cap) {
        plan->said_cap = plan->said_cap > 0 ? plan->said_cap * 2 : 4;
        plan->said = pn_realloc(plan->said, plan->said_cap * sizeof *plan->said);
    }
    plan->said[plan->said_first + plan->said_count++] =
        (struct plan_said){kind, loop, pn_strdup(text)};
}

static void tell(struct route_plan *plan, struct route_step *out)
{
    struct plan_said *said = &plan->said[plan->said_first++];

    (void)snprintf(plan->text, sizeof plan->text, "%s", said->text);
    free(said->text);
    *out = (struct route_step){.kind = said->kind, .loop = said->loop, .text = plan->text};
    if (--plan->said_count == 0) {
        plan->said_first = 0;
    }
}

/* ---- the list of hosts ---- */

struct plan_host *route_plan_add_host(struct route_plan *plan)
{
    struct plan_host *host;

    plan->hosts = pn_realloc(plan->hosts, (plan->host_count + 1) * sizeof *plan->hosts);
    host = &plan->hosts[plan->host_count++];
    *host = (struct plan_host){0};
    return host;
}

static void add_targets(struct route_plan *plan, const struct conf_target *targets,
                        size_t count, bool fallback)
{
    for (size_t i = 0; i < count; i++) {
        struct plan_host *host = route_plan_add_host(plan);

        (void)snprintf(host->name, sizeof host->name, "%s", targets[i].host);
        host->path = targets[i].path;
        host->literal = targets[i].literal;
        host->ip = targets[i].ip;
        host->port = targets[i].port;
        host->fallback = fallback;
    }
}

static void free_host(struct plan_host *host)
{
    free(host->ips);
    free(host->trouble);
    free(host->canonical);
}

struct route_plan *route_plan_new(const struct route_plan_input *input)
{
    const struct conf_domain *domain = input->domain;
    struct route_plan *plan = PN_NEW(struct route_plan);
    bool v4 = domain->source_v4.family != PN_FAMILY_NONE;
    bool v6 = domain->source_v6.family != PN_FAMILY_NONE;

    plan->input = *input;
    plan->domain = domain;
    plan->wants_v4 = domain->address_family != CONF_FAMILY_IPV6 && (v4 || !v6);
    plan->wants_v6 = domain->address_family != CONF_FAMILY_IPV4 && (v6 || !v4);
    plan->phase = domain->target_mx ? PLAN_MX : PLAN_ADDRESSES;
    if (!domain->target_mx) {
        add_targets(plan, domain->targets, domain->target_count, false);
        add_targets(plan, domain->fallbacks, domain->fallback_count, true);
    }
    return plan;
}

void route_plan_free(struct route_plan **pointer)
{
    struct route_plan *plan = *pointer;

    *pointer = NULL;
    if (!plan) {
        return;
    }
    for (size_t i = 0; i < plan->host_count; i++) {
        free_host(&plan->hosts[i]);
    }
    for (size_t i = 0; i < plan->said_count; i++) {
        free(plan->said[plan->said_first + i].text);
    }
    route_plan_tls_fini(plan);
    route_sts_fini(&plan->policy);
    free(plan->hosts);
    free(plan->said);
    free(plan);
}

/* ---- addresses ---- */

/* Addresses that no other host in the world has: an MX record with one of them is a mistake
 * or an attack on what listens on this machine. */
static bool is_nobody(const struct pn_ip *ip)
{
    bool multicast = ip->family == PN_IPV4 ? ip->octets[0] >= 224 : ip->octets[0] == 0xff;

    return pn_ip_is_loopback(ip) || pn_ip_is_unspecified(ip) || multicast ||
           (ip->family == PN_IPV4 && ip->octets[0] == 0);
}

static bool is_wanted(const struct route_plan *plan, const struct pn_ip *ip)
{
    return ip->family == PN_IPV6 ? plan->wants_v6 : plan->wants_v4;
}

static bool is_ours(const struct route_plan *plan, const struct pn_ip *ip, uint16_t port)
{
    const struct route_plan_input *input = &plan->input;
    struct pn_endpoint to = {*ip, port};

    return route_is_own(&to, input->own, input->own_count, input->own_ips, input->own_ip_count);
}

/* Keeps what can be tried, in the order of trying. */
static void set_addresses(struct route_plan *plan, struct plan_host *host,
                          const struct pn_ip *first, size_t first_count,
                          const struct pn_ip *second, size_t second_count)
{
    struct pn_ip ips[ROUTE_ADDRESSES_MAX];
    size_t count = route_order(first, first_count, second, second_count, ips);
    size_t most = host->mx ? ROUTE_MX_ADDRESSES : ROUTE_ADDRESSES_MAX;

    host->known = true;
    host->ips = pn_alloc_array(count + 1, sizeof *host->ips);
    for (size_t i = 0; i < count; i++) {
        host->own |= host->mx && is_ours(plan, &ips[i], host->port);
        if (is_wanted(plan, &ips[i]) && !(host->mx && is_nobody(&ips[i])) &&
            host->ip_count < most) {
            host->ips[host->ip_count++] = ips[i];
        }
    }
    if (host->ip_count == 0) {
        char text[ROUTE_TEXT_CHARS];

        (void)snprintf(text, sizeof text, "%s: has no address that can be connected to",
                       host->name);
        host->trouble = pn_strdup(text);
    }
}

static void set_trouble(struct plan_host *host, const struct route_answer *v6,
                        const struct route_answer *v4)
{
    char text[ROUTE_TEXT_CHARS];

    if (v4->found == ROUTE_NOT_KNOWN || v6->found == ROUTE_NOT_KNOWN) {
        (void)snprintf(text, sizeof text, "%s: the lookup of its addresses failed: %s",
                       host->name, v4->found == ROUTE_NOT_KNOWN ? v4->why : v6->why);
    } else if (v4->found == ROUTE_NO_NAME || v6->found == ROUTE_NO_NAME) {
        (void)snprintf(text, sizeof text, "%s: there is no such name in the DNS", host->name);
    } else {
        (void)snprintf(text, sizeof text, "%s: the name has no address", host->name);
    }
    host->known = true;
    host->trouble = pn_strdup(text);
}

/* DANE needs both the addresses and the CNAMEs on the way to be validated (RFC 7672 2.2.2). */
static void note_names(struct plan_host *host, const struct route_answer *v6,
                       const struct route_answer *v4)
{
    const struct route_answer *found = v4->found == ROUTE_FOUND ? v4 : v6;

    host->validated = (v6->found != ROUTE_FOUND || v6->validated) &&
                      (v4->found != ROUTE_FOUND || v4->validated);
    if (found->alias && found->canonical && strcmp(found->canonical, host->name) != 0) {
        host->canonical = pn_strdup(found->canonical);
    }
}

void route_plan_addresses(struct route_plan *plan, const struct route_answer *v6,
                          const struct pn_ip *v6_ips, size_t v6_count,
                          const struct route_answer *v4, const struct pn_ip *v4_ips,
                          size_t v4_count)
{
    struct plan_host *host = &plan->hosts[plan->asking];

    pn_assert(plan->phase == PLAN_ADDRESSES && plan->asking < plan->host_count && !host->known);
    if (v6->found != ROUTE_FOUND && v4->found != ROUTE_FOUND) {
        set_trouble(host, v6, v4);
        return;
    }
    note_names(host, v6, v4);
    v6_count = v6->found == ROUTE_FOUND ? v6_count : 0;
    v4_count = v4->found == ROUTE_FOUND ? v4_count : 0;
    if (plan->domain->address_family == CONF_FAMILY_PREFER_IPV4) {
        set_addresses(plan, host, v4_ips, v4_count, v6_ips, v6_count);
    } else {
        set_addresses(plan, host, v6_ips, v6_count, v4_ips, v4_count);
    }
}

/* Is there one among the current host and its equals whose addresses are not known? */
static bool find_unknown(struct route_plan *plan)
{
    const struct plan_host *first = &plan->hosts[plan->at];

    for (size_t i = plan->at; i < plan->host_count; i++) {
        struct plan_host *host = &plan->hosts[i];
        bool equal =
            i == plan->at || (first->mx && host->mx && host->preference == first->preference);

        if (equal && !host->known && host->literal) {
            set_addresses(plan, host, &host->ip, 1, NULL, 0);
        }
        if (equal && !host->known && !host->path) {
            plan->asking = i;
            return true;
        }
    }
    return false;
}

/* ---- answers about policies ---- */

void route_plan_policy(struct route_plan *plan, const struct route_sts *policy, const char *why)
{
    pn_assert(plan->phase == PLAN_POLICY);
    plan->phase = PLAN_ADDRESSES;
    if (policy) {
        route_sts_copy(policy, &plan->policy);
        plan->has_policy = plan->policy.mode != ROUTE_STS_NONE;
        route_plan_say(plan, ROUTE_NOTE, false, "%s has an MTA-STS policy, mode %s",
                       plan->domain->mx_name, route_sts_mode_name(plan->policy.mode));
    } else {
        route_plan_say(plan, ROUTE_NOTE, false, "%s has no MTA-STS policy: %s",
                       plan->domain->mx_name, why);
    }
}

/* ---- the steps ---- */

static void pass(struct route_plan *plan, bool loop, const char *text)
{
    route_plan_say(plan, ROUTE_PASS, loop, "%s", text);
    plan->at++;
    plan->phase = PLAN_ADDRESSES;
}

static void hand_out(struct route_plan *plan, struct route_step *out)
{
    const struct plan_host *host = &plan->hosts[plan->at];

    plan->phase = PLAN_TRYING;
    *out = (struct route_step){.kind = ROUTE_TRY,
                               .host = &plan->host,
                               .ips = host->ips,
                               .ip_count = host->ip_count,
                               .text = ""};
}

/* The host's TLS is known, or cannot be had. True when there is a step. */
static bool decide(struct route_plan *plan, struct route_step *out)
{
    const char *why = route_plan_tls_decide(plan);

    if (why) {
        char text[ROUTE_TEXT_CHARS];

        (void)snprintf(text, sizeof text, "%s: %s", plan->hosts[plan->at].name, why);
        pass(plan, false, text);
        return false;
    }
    hand_out(plan, out);
    return true;
}

/* The turn of a host, or the end of all of them. True when there is a step. */
static bool step_host(struct route_plan *plan, struct route_step *out)
{
    struct plan_host *host = &plan->hosts[plan->at];

    if (plan->at == plan->host_count) {
        plan->phase = PLAN_ENDED;
        return false;
    }
    if (find_unknown(plan)) {
        *out = (struct route_step){.kind = ROUTE_ASK_ADDRESSES,
                                   .name = plan->hosts[plan->asking].name,
                                   .v4 = plan->wants_v4,
                                   .v6 = plan->wants_v6,
                                   .text = ""};
        return true;
    }
    if (host->mx && route_plan_level_is_own(plan)) {
        route_plan_drop_level(plan);
        return false;
    }
    if (host->trouble) {
        pass(plan, false, host->trouble);
        return false;
    }
    if (route_plan_tls_begin(plan)) {
        plan->phase = PLAN_TLSA;
        return false;
    }
    return decide(plan, out);
}

static void ask(struct route_step *out, enum route_step_kind kind, const char *name)
{
    *out = (struct route_step){.kind = kind, .name = name, .text = ""};
}

static bool step(struct route_plan *plan, struct route_step *out)
{
    switch (plan->phase) {
    case PLAN_MX:
        ask(out, ROUTE_ASK_MX, plan->domain->mx_name);
        return true;
    case PLAN_POLICY:
        ask(out, ROUTE_ASK_POLICY, plan->domain->mx_name);
        return true;
    case PLAN_ADDRESSES:
        return step_host(plan, out);
    case PLAN_TLSA:
        if (plan->question[0] == '\0') {
            return decide(plan, out);
        }
        ask(out, ROUTE_ASK_TLSA, plan->question);
        return true;
    case PLAN_TRYING:
        plan->at++;
        plan->phase = PLAN_ADDRESSES;
        return false;
    case PLAN_ENDED:
        break;
    }
    *out = (struct route_step){
        .kind = ROUTE_END, .refused = plan->refused, .text = plan->refused ? plan->text : ""};
    return true;
}

void route_plan_next(struct route_plan *plan, struct route_step *out)
{
    bool found = false;

    while (!found) {
        if (plan->said_count > 0) {
            tell(plan, out);
            return;
        }
        found = step(plan, out);
    }
}

/* ---- what MX records make of it ---- */

static void add_fallbacks(struct route_plan *plan)
{
    add_targets(plan, plan->domain->fallbacks, plan->domain->fallback_count, true);
}

static void begin_hosts(struct route_plan *plan)
{
    bool policy = plan->input.policies && plan->domain->mta_sts && plan->host_count > 0 &&
                  (plan->domain->tls == CONF_TLS_MAY || plan->domain->tls == CONF_TLS_DANE);

    plan->phase = policy ? PLAN_POLICY : PLAN_ADDRESSES;
    add_fallbacks(plan);
}

void route_plan_mx(struct route_plan *plan, const struct route_answer *answer,
                   const struct route_mx *records, size_t count)
{
    pn_assert(plan->phase == PLAN_MX);
    switch (route_plan_mx_read(plan, answer, records, count)) {
    case PLAN_MX_READ:
        begin_hosts(plan);
        break;
    case PLAN_MX_REFUSED:
        plan->refused = true;
        plan->phase = PLAN_ENDED;
        (void)snprintf(plan->text, sizeof plan->text,
                       "%s: it has a null MX record: it takes no mail (RFC 7505)",
                       plan->domain->mx_name);
        break;
    }
}
