/*
 * policies.c - the MTA-STS policies of domains (RFC 8461).
 *
 * An entry is a domain: what is known of its policy, and the search that is under way, if
 * there is one. A search is a short row of states: what the store has (once), the TXT record,
 * the web server if the record names a version that is not known. Each answer moves it on;
 * at the end all who asked are told.
 *
 * Whoever attacks the DNS or the way to the web server can at most keep a policy from becoming
 * known for the first time: one that is known holds until it expires (RFC 8461 5.1), and is
 * fetched again when half of its time is over, so that there is no gap to wait for. That a
 * fetch has failed is remembered for five minutes, so that a broken server does not hold up
 * every session for a minute.
 */
#include "postern/outbound/policies.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/state/policies.h"

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>
#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define ENTRIES_MAX 1000
#define FETCH_MS    PN_MINUTES(1)
#define RETRY_MS    PN_MINUTES(5)
#define WHY_CHARS   300

enum search { IDLE, LOADING, RECORD, FETCHING, TELLING };

struct entry {
    UT_hash_handle hh;
    struct out_policies *policies; /* NULL: they are gone, only the store still knows us */
    char domain[RESOLVER_NAME_CHARS];
    bool loaded; /* the store was asked */
    bool known;
    char id[ROUTE_STS_ID_CHARS];
    struct route_sts policy; /* if known */
    struct pn_wall refresh, expires;
    char failed_id[ROUTE_STS_ID_CHARS]; /* what could not be fetched */
    struct pn_mono retry_at;
    char failed_why[WHY_CHARS];

    enum search search;
    struct out_policy_query *askers;
    struct resolver_query record;
    char wanted_id[ROUTE_STS_ID_CHARS];
    char url[RESOLVER_NAME_CHARS + 64];
    struct http_request fetch;
};

struct out_policies {
    struct out_policies_deps deps;
    struct entry *entries;
};

struct out_policies *out_policies_new(const struct out_policies_deps *deps)
{
    struct out_policies *policies = PN_NEW(struct out_policies);

    policies->deps = *deps;
    return policies;
}

static void free_entry(struct entry *entry)
{
    if (entry->known) {
        route_sts_fini(&entry->policy);
    }
    free(entry);
}

static void drop_entry(struct out_policies *policies, struct entry *entry)
{
    HASH_DEL(policies->entries, entry);
    resolver_cancel(policies->deps.resolver, &entry->record);
    if (entry->fetch.pending) {
        policies->deps.http->ops->cancel(policies->deps.http, &entry->fetch);
    }
    entry->policies = NULL;
    if (entry->search != LOADING) {
        free_entry(entry);
    }
}

void out_policies_free(struct out_policies **pointer)
{
    struct out_policies *policies = *pointer;
    struct entry *entry;
    struct entry *next;

    *pointer = NULL;
    if (!policies) {
        return;
    }
    HASH_ITER (hh, policies->entries, entry, next) {
        pn_assert(!entry->askers);
        drop_entry(policies, entry);
    }
    free(policies);
}

/* Makes room for one more: the oldest that nobody waits for goes. */
static void make_room(struct out_policies *policies)
{
    struct entry *entry;
    struct entry *next;

    HASH_ITER (hh, policies->entries, entry, next) {
        if (HASH_COUNT(policies->entries) < ENTRIES_MAX) {
            return;
        }
        if (entry->search == IDLE) {
            drop_entry(policies, entry);
        }
    }
}

/* ---- what is known ---- */

static bool is_in_force(const struct entry *entry)
{
    return entry->known && entry->expires.ms > entry->policies->deps.loop->wall.ms;
}

static void forget(struct entry *entry)
{
    if (entry->known) {
        route_sts_fini(&entry->policy);
        entry->known = false;
    }
}

/* NULL, or what is wrong with the text. */
static const char *learn(struct entry *entry, const char *id, struct pn_str text,
                         struct pn_wall fetched)
{
    struct route_sts policy;
    const char *why = route_sts_parse(text, &policy);

    if (!why) {
        forget(entry);
        entry->known = true;
        entry->policy = policy;
        entry->refresh = pn_wall_add(fetched, PN_SECONDS(policy.max_age_s) / 2);
        entry->expires = pn_wall_add(fetched, PN_SECONDS(policy.max_age_s));
        (void)snprintf(entry->id, sizeof entry->id, "%s", id);
    }
    return why;
}

/* The end of a search: the policy in force, or why there is none. */
static void tell(struct entry *entry, const char *why)
{
    bool found = is_in_force(entry);

    entry->search = TELLING;
    while (entry->askers) { /* who is told may cancel others */
        struct out_policy_query *query = entry->askers;

        DL_DELETE(entry->askers, query);
        query->pending = NULL;
        query->on_policy(query, found ? &entry->policy : NULL, why);
    }
    entry->search = IDLE;
}

/* ---- the web server ---- */

static void fetch_failed(struct entry *entry, const char *format, ...) PN_PRINTF(2, 3);

static void fetch_failed(struct entry *entry, const char *format, ...)
{
    struct pn_log_line line;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(entry->failed_why, sizeof entry->failed_why, format, args);
    va_end(args);
    memcpy(entry->failed_id, entry->wanted_id, sizeof entry->failed_id);
    entry->retry_at = pn_mono_add(entry->policies->deps.loop->now, RETRY_MS);
    pn_log_begin(&line, entry->policies->deps.log, PN_EV_STS_FAILED);
    pn_log_z(&line, "domain", entry->domain);
    pn_log_z(&line, "reason", entry->failed_why);
    pn_log_end(&line);
    tell(entry, entry->failed_why);
}

static void count(const struct entry *entry, enum stats_counter counter)
{
    if (entry->policies->deps.counters) {
        stats_count(entry->policies->deps.counters, counter, 1);
    }
}

static void keep(const struct entry *entry, struct pn_str text)
{
    const struct out_policies_deps *deps = &entry->policies->deps;
    struct state_policy record = {.fetched = deps->loop->wall,
                                  .max_age_ms = PN_SECONDS(entry->policy.max_age_s),
                                  .text = text};

    if (deps->state) {
        memcpy(record.id, entry->id, sizeof entry->id);
        state_policy_put(deps->state, pn_str_z(entry->domain), &record);
    }
}

_Static_assert(STATE_POLICY_ID_CHARS >= ROUTE_STS_ID_CHARS &&
                   STATE_POLICY_MAX >= ROUTE_STS_POLICY_MAX,
               "every policy has room in a record");

static void on_fetched(struct http_request *request, int status)
{
    struct entry *entry = PN_CONTAINER(request, struct entry, fetch);
    struct pn_buf answer = request->answer;
    const char *why;

    request->answer = (struct pn_buf){0};
    if (status < 0) {
        count(entry, STATS_STS_FETCH_FAILED);
        fetch_failed(entry, "its policy cannot be fetched: %.200s", request->err.text);
    } else if (request->code != 200) {
        count(entry, STATS_STS_FETCH_FAILED);
        fetch_failed(entry, "its policy cannot be fetched: the server answers %u",
                     request->code);
    } else if ((why = learn(entry, entry->wanted_id, pn_buf_str(&answer),
                            entry->policies->deps.loop->wall))) {
        count(entry, STATS_STS_INVALID);
        fetch_failed(entry, "its policy is not valid: %s", why);
    } else {
        count(entry, STATS_STS_FETCHED);
        keep(entry, pn_buf_str(&answer));
        tell(entry, "fetched now");
    }
    pn_buf_fini(&answer);
}

static void fetch(struct entry *entry)
{
    struct http *http = entry->policies->deps.http;

    entry->search = FETCHING;
    (void)snprintf(entry->url, sizeof entry->url, "https://mta-sts.%s/.well-known/mta-sts.txt",
                   entry->domain);
    entry->fetch = (struct http_request){.on_done = on_fetched,
                                         .method = "GET",
                                         .url = entry->url,
                                         .answer_max = ROUTE_STS_POLICY_MAX,
                                         .timeout_ms = FETCH_MS};
    http->ops->start(http, &entry->fetch);
}

/* ---- the TXT record ---- */

/* The one record that counts (RFC 8461 3.1); false when there is none, or several. */
static bool read_id(const struct resolver_answer *answer, char id[ROUTE_STS_ID_CHARS])
{
    size_t count_ours = 0;

    for (size_t i = 0; i < answer->count && answer->status == RESOLVER_FOUND; i++) {
        const struct resolver_record *record = &answer->records[i];
        struct pn_str text = {(const char *)record->data, record->data ? record->len : 0};
        char found[ROUTE_STS_ID_CHARS];

        if (route_sts_record(text, found)) {
            memcpy(id, found, sizeof found);
            count_ours++;
        }
    }
    return count_ours == 1 && id[0] != '\0';
}

static void on_record(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct entry *entry = PN_CONTAINER(query, struct entry, record);
    struct loop *loop = entry->policies->deps.loop;

    if (!read_id(answer, entry->wanted_id)) {
        tell(entry, is_in_force(entry)                    ? "fetched earlier"
                    : answer->status == RESOLVER_TEMPFAIL ? "the lookup of its record failed"
                                                          : "it has no such record");
    } else if (is_in_force(entry) && strcmp(entry->id, entry->wanted_id) == 0 &&
               entry->refresh.ms > loop->wall.ms) {
        tell(entry, "fetched earlier");
    } else if (strcmp(entry->failed_id, entry->wanted_id) == 0 &&
               entry->retry_at.ms > loop->now.ms) {
        tell(entry, entry->failed_why);
    } else {
        fetch(entry);
    }
}

static void ask_record(struct entry *entry)
{
    char name[RESOLVER_NAME_CHARS + 16];

    entry->search = RECORD;
    (void)snprintf(name, sizeof name, "_mta-sts.%s", entry->domain);
    entry->record = (struct resolver_query){.on_answer = on_record};
    resolver_ask(entry->policies->deps.resolver, &entry->record, name, RESOLVER_TXT);
}

/* ---- the store, and the beginning ---- */

static void on_loaded(void *owner, const struct state_policy *record)
{
    struct entry *entry = owner;

    if (!entry->policies) {
        free_entry(entry);
        return;
    }
    entry->loaded = true;
    if (record && learn(entry, record->id, record->text, record->fetched) == NULL &&
        !is_in_force(entry)) {
        state_policy_put(entry->policies->deps.state, pn_str_z(entry->domain), NULL);
    }
    ask_record(entry);
}

static void begin(struct entry *entry)
{
    const struct out_policies_deps *deps = &entry->policies->deps;

    if (entry->loaded || !deps->state) {
        ask_record(entry);
        return;
    }
    entry->search = LOADING;
    state_policy_get(deps->state, deps->loop, pn_str_z(entry->domain), on_loaded, entry);
}

void out_policy_ask(struct out_policies *policies, struct out_policy_query *query,
                    const char *domain)
{
    struct entry *entry;

    HASH_FIND_STR(policies->entries, domain, entry);
    if (!entry) {
        make_room(policies);
        entry = PN_NEW(struct entry);
        entry->policies = policies;
        (void)snprintf(entry->domain, sizeof entry->domain, "%s", domain);
        HASH_ADD_STR(policies->entries, domain, entry);
    }
    query->pending = entry;
    DL_APPEND(entry->askers, query);
    if (entry->search == IDLE) {
        begin(entry);
    }
}

void out_policy_cancel(struct out_policy_query *query)
{
    struct entry *entry = query->pending;

    if (entry) {
        query->pending = NULL;
        DL_DELETE(entry->askers, query); /* the search goes on: its end is worth knowing */
    }
}
