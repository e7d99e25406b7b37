/*
 * route/plan_tls.c - what a host's TLS needs.
 *
 * What the operator demands (encrypt, verify, fingerprint) is never weakened by what others
 * publish. Under `may` and `dane` the destination may demand more: by TLSA records, where the
 * way to them is validated (RFC 7672), else by an MTA-STS policy (RFC 8461). A policy never
 * overrides what DANE says (RFC 8461 2), but where the MX records are not validated a policy
 * that is enforced still says which hosts they may name.
 */
#include "plan_priv.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

enum { USAGE_TA = 2, USAGE_EE = 3 };

static const char *tls_word(int tls)
{
    static const char *const words[] = {
        [CONF_TLS_MAY] = "may",
        [CONF_TLS_NONE] = "none",
        [CONF_TLS_ENCRYPT] = "encrypt",
        [CONF_TLS_VERIFY] = "verify",
        [CONF_TLS_DANE] = "dane",
        [CONF_TLS_FINGERPRINT] = "fingerprint",
        [CONF_TLS_DANE_ONLY] = "dane-only",
    };

    return words[tls];
}

/* ---- TLSA records ---- */

/* Usages 0 and 1 need a list of authorities, which SMTP does not have (RFC 7672 3.1.3). */
static bool is_usable(const struct route_tlsa_record *record)
{
    static const size_t lengths[] = {0, 32, 64}; /* by matching type; 0: the whole */

    if ((record->usage != USAGE_TA && record->usage != USAGE_EE) || record->selector > 1 ||
        record->matching > 2 || record->len == 0 || record->len > ROUTE_TLSA_DATA) {
        return false;
    }
    return record->matching == 0 || record->len == lengths[record->matching];
}

static void forget_tlsa(struct route_plan *plan)
{
    free(plan->tlsa);
    plan->tlsa = NULL;
    plan->tlsa_count = 0;
    plan->tlsa_seen = 0;
}

void route_plan_tls_fini(struct route_plan *plan)
{
    forget_tlsa(plan);
}

static void keep_tlsa(struct route_plan *plan, const struct route_tlsa_record *records,
                      size_t count)
{
    plan->tlsa = pn_alloc_array(ROUTE_TLSA_MAX, sizeof *plan->tlsa);
    plan->tlsa_seen = count;
    for (size_t i = 0; i < count && plan->tlsa_count < ROUTE_TLSA_MAX; i++) {
        if (is_usable(&records[i])) {
            struct route_tlsa *kept = &plan->tlsa[plan->tlsa_count++];

            kept->usage = records[i].usage;
            kept->selector = records[i].selector;
            kept->matching = records[i].matching;
            kept->len = (uint16_t)records[i].len;
            memcpy(kept->data, records[i].data, records[i].len);
        }
    }
    plan->tlsa = pn_realloc(plan->tlsa, (plan->tlsa_count + 1) * sizeof *plan->tlsa);
}

static void ask_at(struct route_plan *plan, enum plan_base base, const char *name)
{
    plan->base = base;
    (void)snprintf(plan->base_name, sizeof plan->base_name, "%s", name);
    (void)snprintf(plan->question, sizeof plan->question, "_%u._tcp.%s",
                   (unsigned)plan->hosts[plan->at].port, name);
}

bool route_plan_tls_begin(struct route_plan *plan)
{
    const struct plan_host *host = &plan->hosts[plan->at];

    forget_tlsa(plan);
    plan->host.tls_why[0] = '\0';
    plan->question[0] = '\0';
    if ((plan->domain->tls != CONF_TLS_DANE && plan->domain->tls != CONF_TLS_DANE_ONLY) ||
        host->path || host->literal || !host->validated) {
        return false;
    }
    if (host->canonical) {
        ask_at(plan, BASE_CANONICAL, host->canonical);
    } else {
        ask_at(plan, BASE_NAME, host->name);
    }
    return true;
}

void route_plan_tlsa(struct route_plan *plan, const struct route_answer *answer,
                     const struct route_tlsa_record *records, size_t count)
{
    const struct plan_host *host = &plan->hosts[plan->at];
    bool found = answer->found == ROUTE_FOUND && answer->validated && count > 0;

    if (answer->found == ROUTE_NOT_KNOWN) {
        /* Who could make lookups fail could switch DANE off, were this not fatal (2.2). */
        (void)snprintf(plan->host.tls_why, sizeof plan->host.tls_why,
                       "the lookup of its TLSA records failed: %.200s", answer->why);
        plan->question[0] = '\0';
    } else if (found) {
        keep_tlsa(plan, records, count);
        plan->question[0] = '\0';
    } else if (plan->base == BASE_CANONICAL) {
        ask_at(plan, BASE_NAME, host->name);
    } else {
        plan->question[0] = '\0';
    }
}

/* ---- the decision ---- */

static void set_why(struct route_plan *plan, enum route_tls tls, const char *format, ...)
    PN_PRINTF(3, 4);

static void set_why(struct route_plan *plan, enum route_tls tls, const char *format, ...)
{
    va_list args;

    plan->host.tls = tls;
    va_start(args, format);
    (void)vsnprintf(plan->host.tls_why, sizeof plan->host.tls_why, format, args);
    va_end(args);
}

static void add_name(struct route_host *host, const char *name)
{
    for (size_t i = 0; i < host->name_count; i++) {
        if (strcmp(host->names[i], name) == 0) {
            return;
        }
    }
    if (host->name_count < ROUTE_NAMES_MAX) {
        host->names[host->name_count++] = name;
    }
}

/* The names that a certificate under a trust anchor may have (RFC 7672 3.2.2). */
static void use_dane(struct route_plan *plan, const struct plan_host *host)
{
    set_why(plan, ROUTE_TLS_DANE, "TLSA records at _%u._tcp.%.200s", (unsigned)host->port,
            plan->base_name);
    if (plan->domain->tls_sni[0] == '\0') {
        (void)snprintf(plan->host.sni, sizeof plan->host.sni, "%s", plan->base_name);
    }
    plan->host.tlsa = plan->tlsa;
    plan->host.tlsa_count = plan->tlsa_count;
    add_name(&plan->host, plan->base_name);
    add_name(&plan->host, host->name);
    if (host->mx && plan->mx_validated) {
        add_name(&plan->host, plan->domain->mx_name);
    }
}

/* What an MTA-STS policy demands where DANE says nothing. */
static const char *use_policy(struct route_plan *plan, const struct plan_host *host)
{
    bool enforced = plan->policy.mode == ROUTE_STS_ENFORCE;
    bool named = route_sts_matches(&plan->policy, host->name);

    if (!named && enforced) {
        return "the MTA-STS policy of the domain does not name it";
    }
    if (!named) {
        set_why(plan, ROUTE_TLS_MAY,
                "the MTA-STS policy of %.200s does not name it, and is being tested",
                plan->domain->mx_name);
        return NULL;
    }
    set_why(plan, ROUTE_TLS_VERIFY, "the MTA-STS policy of %.200s, mode %s",
            plan->domain->mx_name, route_sts_mode_name(plan->policy.mode));
    plan->host.tls_report_only = !enforced;
    add_name(&plan->host, host->name);
    return NULL;
}

static const char *dane_trouble(const struct route_plan *plan, const struct plan_host *host)
{
    if (host->literal || host->path) {
        return "tls = dane-only, and TLSA records are for names only";
    }
    if (host->mx && !plan->mx_validated) {
        return "tls = dane-only, and the MX records are not DNSSEC-validated";
    }
    if (!host->validated) {
        return "tls = dane-only, and its addresses are not DNSSEC-validated";
    }
    return plan->tlsa_seen > 0 ? "tls = dane-only, and none of its TLSA records can be used"
                               : "tls = dane-only, and it has no TLSA records";
}

static const char *decide_dane(struct route_plan *plan, const struct plan_host *host)
{
    bool only = plan->domain->tls == CONF_TLS_DANE_ONLY;
    bool policy = plan->has_policy && host->mx;

    if (plan->host.tls_why[0] != '\0') {
        return plan->host.tls_why;
    }
    if (only && (plan->tlsa_count == 0 || (host->mx && !plan->mx_validated))) {
        return dane_trouble(plan, host);
    }
    if (policy && !plan->mx_validated && plan->policy.mode == ROUTE_STS_ENFORCE &&
        !route_sts_matches(&plan->policy, host->name)) {
        return "the MTA-STS policy of the domain does not name it";
    }
    if (plan->tlsa_count > 0) {
        use_dane(plan, host);
    } else if (plan->tlsa_seen > 0) {
        set_why(plan, ROUTE_TLS_ENCRYPT, "TLSA records at _%u._tcp.%.200s, none can be used",
                (unsigned)host->port, plan->base_name);
    } else if (policy) {
        return use_policy(plan, host);
    } else {
        set_why(plan, ROUTE_TLS_MAY, "%.200s has tls = dane, and the host no TLSA records",
                plan->domain->name);
    }
    return NULL;
}

static void use_names(struct route_plan *plan, const struct plan_host *host)
{
    const struct conf_strings *names = &plan->domain->tls_names;

    for (size_t i = 0; i < names->count; i++) {
        add_name(&plan->host, names->items[i]);
    }
    if (names->count == 0) {
        add_name(&plan->host, host->name);
    }
}

static const char *decide_tls(struct route_plan *plan, const struct plan_host *host)
{
    static const enum route_tls needs[] = {
        [CONF_TLS_MAY] = ROUTE_TLS_MAY,         [CONF_TLS_NONE] = ROUTE_TLS_NONE,
        [CONF_TLS_ENCRYPT] = ROUTE_TLS_ENCRYPT, [CONF_TLS_VERIFY] = ROUTE_TLS_VERIFY,
        [CONF_TLS_DANE] = ROUTE_TLS_MAY,        [CONF_TLS_FINGERPRINT] = ROUTE_TLS_FINGERPRINT,
        [CONF_TLS_DANE_ONLY] = ROUTE_TLS_DANE,
    };
    int tls = plan->domain->tls;

    if (tls == CONF_TLS_DANE || tls == CONF_TLS_DANE_ONLY) {
        return decide_dane(plan, host);
    }
    if (tls == CONF_TLS_MAY && plan->has_policy && host->mx) {
        return use_policy(plan, host);
    }
    set_why(plan, needs[tls], "%.200s has tls = %s", plan->domain->name, tls_word(tls));
    if (tls == CONF_TLS_VERIFY) {
        use_names(plan, host);
    }
    return NULL;
}

const char *route_plan_tls_decide(struct route_plan *plan)
{
    const struct plan_host *planned = &plan->hosts[plan->at];
    struct route_host *host = &plan->host;
    char trouble[ROUTE_WHY_CHARS];

    memcpy(trouble, host->tls_why, sizeof trouble);
    *host = (struct route_host){.path = planned->path,
                                .literal = planned->literal,
                                .port = planned->port,
                                .fallback = planned->fallback};
    memcpy(host->tls_why, trouble, sizeof trouble);
    memcpy(host->name, planned->name, sizeof host->name);
    if (plan->domain->tls_sni[0] != '\0') {
        (void)snprintf(host->sni, sizeof host->sni, "%s", plan->domain->tls_sni);
    } else if (!planned->literal) {
        memcpy(host->sni, planned->name, sizeof host->sni);
    }
    return decide_tls(plan, planned);
}
