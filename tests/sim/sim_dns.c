/*
 * sim_dns.c - a resolver with a table. Each answer takes its time; a query that was
 * cancelled is forgotten when its time comes.
 */
#include "sim_priv.h"

#include <stdio.h>
#include <string.h>

#define RECORDS_MOST 8
#define ANSWER_MS    30
#define DEADLINE_MS  PN_SECONDS(15)

struct sim_name {
    struct sim_name *next;
    char name[RESOLVER_NAME_CHARS];
    enum resolver_status status; /* unless FOUND */
    int64_t delay_ms;
    struct pn_ip ips[RECORDS_MOST];
    size_t count;
};

/* A question under way. */
struct lookup {
    struct sim_event event;
    struct loop_task task;
    struct sim_loop *loop;
    struct resolver_query *query; /* NULL: cancelled */
    char name[RESOLVER_NAME_CHARS];
    enum resolver_type type;
    bool late;
};

static struct sim_name *find_name(const struct sim *sim, const char *name)
{
    struct sim_name *entry = sim->names;

    while (entry && strcmp(entry->name, name) != 0) {
        entry = entry->next;
    }
    return entry;
}

static struct sim_name *get_name(struct sim *sim, const char *name)
{
    struct sim_name *entry = find_name(sim, name);

    if (!entry) {
        entry = PN_NEW(struct sim_name);
        (void)snprintf(entry->name, sizeof entry->name, "%s", name);
        entry->next = sim->names;
        sim->names = entry;
    }
    return entry;
}

void sim_dns(struct sim *sim, const char *name, const char *record)
{
    struct sim_name *entry = get_name(sim, name);
    struct pn_str rest = pn_str_z(record);
    struct pn_str type = pn_str_cut(&rest, ' ');

    pn_assert(pn_str_eq(type, PN_STR("A")) || pn_str_eq(type, PN_STR("AAAA")));
    pn_assert(entry->count < RECORDS_MOST && pn_ip_parse(rest, &entry->ips[entry->count]));
    entry->count++;
}

void sim_dns_status(struct sim *sim, const char *name, enum resolver_status status)
{
    sim_note(sim, "the DNS answers %d for %s", (int)status, name);
    get_name(sim, name)->status = status;
}

void sim_dns_delay(struct sim *sim, const char *name, int64_t ms)
{
    sim_note(sim, "the DNS takes %lld ms more for %s", (long long)ms, name);
    get_name(sim, name)->delay_ms = ms;
}

static void give(struct lookup *lookup, enum resolver_status status,
                 const struct resolver_record *records, size_t count)
{
    struct resolver_answer answer = {.status = status,
                                     .why = status == RESOLVER_FOUND ? "found" : "as told",
                                     .count = count,
                                     .records = records};
    struct resolver_query *query = lookup->query;

    free(lookup);
    if (query) {
        query->pending = NULL;
        query->on_answer(query, &answer);
    }
}

static void on_task(struct loop_task *task)
{
    struct lookup *lookup = PN_CONTAINER(task, struct lookup, task);
    struct resolver_record records[RECORDS_MOST] = {0};
    int family = lookup->type == RESOLVER_AAAA ? PN_IPV6 : PN_IPV4;
    struct sim_name *entry = find_name(lookup->loop->sim, lookup->name);
    size_t count = 0;

    if (lookup->late) {
        give(lookup, RESOLVER_TEMPFAIL, NULL, 0);
        return;
    }
    if (!entry || lookup->type == RESOLVER_PTR) {
        give(lookup, RESOLVER_NXDOMAIN, NULL, 0);
        return;
    }
    for (size_t i = 0; i < entry->count && lookup->type != RESOLVER_MX; i++) {
        if (entry->ips[i].family == family) {
            records[count++].ip = entry->ips[i];
        }
    }
    if (entry->status != RESOLVER_FOUND) {
        give(lookup, entry->status, NULL, 0);
    } else if (count == 0) {
        give(lookup, RESOLVER_NODATA, NULL, 0);
    } else {
        give(lookup, RESOLVER_FOUND, records, count);
    }
}

static void on_time(struct sim_event *event)
{
    struct lookup *lookup = PN_CONTAINER(event, struct lookup, event);

    if (!lookup->query) {
        free(lookup);
        return;
    }
    lookup->task.on_run = on_task;
    loop_defer(&lookup->loop->port, &lookup->task);
}

/* The port promises an answer within its own deadline. */
static int64_t draw_delay(struct lookup *lookup)
{
    struct sim *sim = lookup->loop->sim;
    const struct sim_name *entry = find_name(sim, lookup->name);
    int64_t delay_ms = (int64_t)pn_rand_below(&sim->rand, ANSWER_MS);

    delay_ms += entry ? entry->delay_ms : 0;
    lookup->late = delay_ms >= DEADLINE_MS;
    return lookup->late ? DEADLINE_MS : delay_ms;
}

static void take_query(struct resolver *resolver, struct resolver_query *query,
                       const char *name, enum resolver_type type)
{
    struct lookup *lookup = PN_NEW(struct lookup);

    lookup->loop = PN_CONTAINER(resolver, struct sim_loop, resolver);
    lookup->query = query;
    lookup->type = type;
    lookup->event.on_fire = on_time;
    (void)snprintf(lookup->name, sizeof lookup->name, "%s", name);
    query->pending = lookup;
    sim_event_after(lookup->loop->sim, &lookup->event, draw_delay(lookup));
}

static void drop_query(struct resolver *resolver, struct resolver_query *query)
{
    struct lookup *lookup = query->pending;

    (void)resolver;
    lookup->query = NULL;
    query->pending = NULL;
}

static const struct resolver_ops resolver_ops = {take_query, drop_query};

void sim_dns_init_loop(struct sim_loop *loop)
{
    loop->resolver.ops = &resolver_ops;
}

void sim_dns_free(struct sim *sim)
{
    while (sim->names) {
        struct sim_name *entry = sim->names;

        sim->names = entry->next;
        free(entry);
    }
}
