/*
 * route/plan_mx.c - hosts of MX records (RFC 5321 5.1).
 *
 * The order is by preference, and equals are shuffled, so that senders spread over them. When
 * we are an MX host of the domain ourselves, only what is better than we are may be tried:
 * anything else would send mail in circles.
 */
#include "plan_priv.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define SMTP_PORT 25
#define RECORDS   64

static bool is_own_name(const struct route_plan *plan, const char *name)
{
    struct pn_str given = pn_str_z(name);

    for (size_t i = 0; i < PN_COUNT(plan->domain->source_names); i++) {
        const char *source = plan->domain->source_names[i];

        if (source && pn_str_eq_nocase(given, pn_str_z(source))) {
            return true;
        }
    }
    return pn_str_eq_nocase(given, pn_str_z(plan->input.conf->hostname));
}

static bool has_name(const struct route_mx *records, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(records[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The records that count, best first, each name once; equals as they came. */
static size_t sort_records(const struct route_mx *records, size_t count,
                           struct route_mx out[RECORDS])
{
    size_t used = 0;

    for (size_t i = 0; i < count && used < RECORDS; i++) {
        size_t at = used;

        if (records[i].name[0] == '\0') {
            continue;
        }
        while (at > 0 && out[at - 1].preference > records[i].preference) {
            at--;
        }
        memmove(&out[at + 1], &out[at], (used - at) * sizeof *out);
        out[at] = records[i];
        used++;
    }
    count = used;
    used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!has_name(out, used, out[i].name)) {
            out[used++] = out[i];
        }
    }
    return used;
}

/* How many stand before the best of those that are ourselves, and their equals. */
static size_t count_better(const struct route_plan *plan, const struct route_mx *sorted,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_own_name(plan, sorted[i].name)) {
            size_t better = i;

            while (better > 0 && sorted[better - 1].preference == sorted[i].preference) {
                better--;
            }
            return better;
        }
    }
    return count;
}

static void shuffle(struct pn_rand *rand, struct route_mx *records, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t with = (size_t)pn_rand_below(rand, i);
        struct route_mx other = records[with];

        records[with] = records[i - 1];
        records[i - 1] = other;
    }
}

static void shuffle_equals(struct pn_rand *rand, struct route_mx *records, size_t count)
{
    size_t first = 0;

    for (size_t i = 1; i <= count && rand; i++) {
        if (i == count || records[i].preference != records[first].preference) {
            shuffle(rand, &records[first], i - first);
            first = i;
        }
    }
}

static void add_mx_host(struct route_plan *plan, const struct route_mx *record)
{
    struct plan_host *host = route_plan_add_host(plan);

    (void)snprintf(host->name, sizeof host->name, "%s", record->name);
    host->port = SMTP_PORT;
    host->mx = true;
    host->preference = record->preference;
}

/* "mx1.example.net (10), mx2.example.net (20)" */
static void note_hosts(struct route_plan *plan)
{
    struct pn_buf text;

    pn_buf_init(&text, ROUTE_TEXT_CHARS);
    for (size_t i = 0; i < plan->host_count; i++) {
        (void)!pn_buf_printf(&text, "%s%s (%u)", i > 0 ? ", " : "", plan->hosts[i].name,
                             (unsigned)plan->hosts[i].preference);
    }
    route_plan_say(plan, ROUTE_NOTE, false, "MX hosts of %s%s: %.*s", plan->domain->mx_name,
                   plan->mx_validated ? " (DNSSEC)" : "", PN_FMT(pn_buf_str(&text)));
    pn_buf_fini(&text);
}

static void use_records(struct route_plan *plan, const struct route_mx *records, size_t count)
{
    struct route_mx sorted[RECORDS] = {0};
    size_t all = sort_records(records, count, sorted);
    size_t better = count_better(plan, sorted, all);

    shuffle_equals(plan->input.rand, sorted, better);
    for (size_t i = 0; i < better && i < ROUTE_MX_HOSTS; i++) {
        add_mx_host(plan, &sorted[i]);
    }
    if (better == 0) {
        route_plan_say(plan, ROUTE_PASS, true,
                       "%s: we are its best MX host ourselves, mail would go in circles",
                       plan->domain->mx_name);
    } else {
        note_hosts(plan);
    }
}

static bool is_null_mx(const struct route_mx *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (records[i].name[0] != '\0') {
            return false;
        }
    }
    return count > 0;
}

enum plan_mx_result route_plan_mx_read(struct route_plan *plan,
                                       const struct route_answer *answer,
                                       const struct route_mx *records, size_t count)
{
    const char *name = plan->domain->mx_name;

    plan->mx_validated = answer->validated;
    if (answer->found == ROUTE_NOT_KNOWN) {
        route_plan_say(plan, ROUTE_PASS, false, "%s: the lookup of its MX records failed: %s",
                       name, answer->why);
    } else if (answer->found == ROUTE_NO_NAME) {
        route_plan_say(plan, ROUTE_PASS, false, "%s: there is no such name in the DNS", name);
    } else if (answer->found == ROUTE_NO_RECORD || count == 0) {
        route_plan_say(plan, ROUTE_NOTE, false, "%s has no MX record: it is its own MX host",
                       name);
        add_mx_host(plan, &(struct route_mx){0, name});
    } else if (!is_null_mx(records, count)) {
        use_records(plan, records, count);
    } else if (plan->domain->kind == CONF_QUEUE_OUTBOUND) {
        return PLAN_MX_REFUSED;
    } else {
        /* We hold this domain's mail: a "no" from the DNS is an outage or a mistake. */
        route_plan_say(plan, ROUTE_PASS, false, "%s: it has a null MX record: it takes no mail",
                       name);
    }
    return PLAN_MX_READ;
}

bool route_plan_level_is_own(const struct route_plan *plan)
{
    const struct plan_host *first = &plan->hosts[plan->at];

    for (size_t i = plan->at; i < plan->host_count; i++) {
        const struct plan_host *host = &plan->hosts[i];

        if (host->mx && host->preference == first->preference && host->own) {
            return true;
        }
    }
    return false;
}

void route_plan_drop_level(struct route_plan *plan)
{
    route_plan_say(
        plan, ROUTE_PASS, true,
        "%s: we are an MX host of preference %u ourselves; it and the less preferred ones "
        "are not used",
        plan->domain->mx_name, (unsigned)plan->hosts[plan->at].preference);
    while (plan->at < plan->host_count && plan->hosts[plan->at].mx) {
        plan->at++;
    }
}
