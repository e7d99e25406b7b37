/*
 * queues.c - what the scheduler reads: which queues there are, and pages of their jobs.
 *
 * A start reads the counters alone. A queue whose counters are lost must not be lost with
 * them, so a second pass jumps from queue to queue over the job keys and counts those that
 * have no counters: one seek for each queue, and a walk only where something is wrong.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define NAMES_OCTETS ((size_t)256 << 20)
#define DAMAGES_MAX  64

struct counts_ask {
    struct spool *spool;
    struct store_read read;
    struct store_write write;
    spool_counts_fn *fn;
    void *owner;
    struct pn_arena names;
    struct spool_queue_count *items;
    size_t count, cap;
    size_t good; /* the first ones, in order, are from counters; the rest was counted */
};

static struct spool_queue_count *add_count(struct counts_ask *ask, struct pn_str queue)
{
    struct spool_queue_count *item;

    if (ask->count == ask->cap) {
        ask->cap = ask->cap ? ask->cap * 2 : 64;
        ask->items = pn_realloc(ask->items, ask->cap * sizeof *ask->items);
    }
    item = &ask->items[ask->count];
    *item = (struct spool_queue_count){0};
    if (pn_arena_copy(&ask->names, queue, &item->queue) < 0) {
        return NULL;
    }
    ask->count++;
    return item;
}

static void read_counters(struct counts_ask *ask, struct store_view *view)
{
    struct spool_counters counters;
    struct spool_queue_count *item;
    struct pn_str key, value;

    for (store_view_seek(view, PN_STR("c"));
         store_view_item(view, &key, &value) && pn_str_starts(key, PN_STR("c"));
         store_view_next(view)) {
        if (key.len > 1 && key.len - 1 <= SPOOL_QUEUE_NAME_MAX &&
            spool_counters_decode(value, &counters) &&
            (item = add_count(ask, pn_str_sub(key, 1, SIZE_MAX)))) {
            item->jobs = counters.jobs;
            item->octets = counters.octets;
            item->parked = counters.parked;
            item->parked_octets = counters.parked_octets;
        }
    }
    ask->good = ask->count;
}

static struct spool_queue_count *find_count(struct counts_ask *ask, struct pn_str queue,
                                            size_t from, size_t until)
{
    while (from < until) {
        size_t middle = from + (until - from) / 2;
        int order = pn_str_cmp(queue, ask->items[middle].queue);

        if (order == 0) {
            return &ask->items[middle];
        }
        from = order > 0 ? middle + 1 : from;
        until = order < 0 ? middle : until;
    }
    return NULL;
}

/* Those that were counted because of their jobs are few: they are looked through. */
static struct spool_queue_count *find_recounted(struct counts_ask *ask, struct pn_str queue)
{
    for (size_t i = ask->good; i < ask->count; i++) {
        if (pn_str_eq(ask->items[i].queue, queue)) {
            return &ask->items[i];
        }
    }
    return NULL;
}

/* Counts the records of one queue, from where the view stands. */
static void count_queue(struct counts_ask *ask, struct store_view *view,
                        enum spool_key_kind kind, struct pn_str queue)
{
    struct spool_queue_count *item = find_recounted(ask, queue);
    struct spool_job_record record = {0};
    struct pn_str key, value;
    struct spool_key prefix;

    item = item ? item : add_count(ask, queue);
    if (!item) {
        return;
    }
    spool_key_prefix(&prefix, kind, item->queue);
    for (; store_view_item(view, &key, &value) && pn_str_starts(key, spool_key_str(&prefix));
         store_view_next(view)) {
        uint64_t octets = spool_job_decode(value, &record) ? record.job.size_octets : 0;

        *(kind == SPOOL_KEY_JOB ? &item->jobs : &item->parked) += 1;
        *(kind == SPOOL_KEY_JOB ? &item->octets : &item->parked_octets) += octets;
    }
    spool_job_record_fini(&record);
}

static void find_uncounted(struct counts_ask *ask, struct store_view *view,
                           enum spool_key_kind kind)
{
    struct pn_str key, value;
    struct spool_job_key at;
    struct spool_key to;

    spool_key_prefix(&to, kind, PN_STR(""));
    store_view_seek(view, spool_key_str(&to));
    while (store_view_item(view, &key, &value) && key.len > 0 && key.ptr[0] == (char)kind) {
        if (!spool_key_parse_job(key, kind, &at)) {
            store_view_next(view);
            continue;
        }
        spool_key_behind(&to, kind, at.queue);
        if (!find_count(ask, at.queue, 0, ask->good)) {
            count_queue(ask, view, kind, at.queue);
        }
        store_view_seek(view, spool_key_str(&to));
    }
}

static void run_counts(struct store_read *read, struct store_view *view)
{
    struct counts_ask *ask = PN_CONTAINER(read, struct counts_ask, read);

    read_counters(ask, view);
    find_uncounted(ask, view, SPOOL_KEY_JOB);
    find_uncounted(ask, view, SPOOL_KEY_PARKED);
}

static void free_counts(struct counts_ask *ask)
{
    pn_arena_fini(&ask->names);
    free(ask->items);
    free(ask);
}

/* Counters that are still missing get what was counted; a change since then corrects it
 * only by its difference, which is why this comes before the queues are known to anyone. */
static void apply_counts(struct store_write *write, struct store_batch *batch)
{
    struct counts_ask *ask = PN_CONTAINER(write, struct counts_ask, write);

    for (size_t i = ask->good; i < ask->count; i++) {
        const struct spool_queue_count *item = &ask->items[i];
        struct spool_key key;

        spool_key_of_counters(&key, item->queue);
        store_batch_del(batch, spool_key_str(&key));
        spool_change_counters(
            ask->spool, batch, item->queue,
            (struct spool_delta){.jobs = (int64_t)item->jobs,
                                 .octets = (int64_t)item->octets,
                                 .parked = (int64_t)item->parked,
                                 .parked_octets = (int64_t)item->parked_octets});
    }
}

static void tell_counts(struct counts_ask *ask, int status)
{
    ask->fn(ask->owner, status, status == 0 ? ask->items : NULL, status == 0 ? ask->count : 0);
    free_counts(ask);
}

static void on_recounted(struct store_write *write)
{
    struct counts_ask *ask = PN_CONTAINER(write, struct counts_ask, write);

    tell_counts(ask, write->status);
}

static void on_counts(struct store_read *read)
{
    struct counts_ask *ask = PN_CONTAINER(read, struct counts_ask, read);

    /* A bad block among the counters: what was found is told, the rest was counted. */
    if (read->status == PN_EIO || ask->good == ask->count) {
        tell_counts(ask, read->status == PN_ECORRUPT ? 0 : read->status);
        return;
    }
    pn_log_say(&ask->spool->log, PN_EV_SPOOL_CORRUPT,
               "the counters of %zu queues were lost; they were counted again",
               ask->count - ask->good);
    atomic_fetch_add(&ask->spool->corrupt, ask->count - ask->good);
    ask->write = (struct store_write){
        .apply = apply_counts, .on_done = on_recounted, .loop = read->loop};
    store_submit(ask->spool->store, &ask->write);
}

void spool_read_counts(struct spool *spool, struct loop *loop, spool_counts_fn *fn, void *owner)
{
    struct counts_ask *ask = PN_NEW(struct counts_ask);

    ask->spool = spool;
    ask->fn = fn;
    ask->owner = owner;
    pn_arena_init(&ask->names, NAMES_OCTETS);
    ask->read = (struct store_read){.run = run_counts, .on_done = on_counts, .loop = loop};
    store_ask(spool->store, &ask->read);
}

/* ---- pages
 * -------------------------------------------------------------------------------------- */

struct page_ask {
    struct spool *spool;
    struct store_read read;
    spool_page_fn *fn;
    void *owner;
    char name[SPOOL_QUEUE_NAME_MAX];
    struct pn_str queue;
    struct spool_cursor from;
    int64_t until_ms;
    size_t limit;
    struct queue_job *jobs;
    size_t count, cap;
    bool end;
    struct spool_damage damages[DAMAGES_MAX];
    size_t damage_count;
};

static void add_job(struct page_ask *ask, const struct spool_job_key *at,
                    const struct queue_job *job)
{
    if (ask->count == ask->cap) {
        ask->cap = ask->cap ? ask->cap * 2 : 64;
        ask->jobs = pn_realloc(ask->jobs, ask->cap * sizeof *ask->jobs);
    }
    ask->jobs[ask->count] = *job;
    ask->jobs[ask->count].id = at->id;
    ask->jobs[ask->count].due_ms = at->due_ms;
    ask->count++;
}

static void run_page(struct store_read *read, struct store_view *view)
{
    struct page_ask *ask = PN_CONTAINER(read, struct page_ask, read);
    struct spool_job_record record = {0};
    struct spool_key prefix, first;
    struct pn_str key, value;
    struct spool_job_key at;

    spool_key_prefix(&prefix, SPOOL_KEY_JOB, ask->queue);
    spool_key_of_job(&first, ask->queue, ask->from.due_ms, &ask->from.id);
    ask->end = true;
    for (store_view_seek(view, spool_key_str(&first));
         store_view_item(view, &key, &value) && pn_str_starts(key, spool_key_str(&prefix));
         store_view_next(view)) {
        if (!spool_key_parse_job(key, SPOOL_KEY_JOB, &at) || at.due_ms > ask->until_ms) {
            break;
        }
        if (ask->count == ask->limit) {
            ask->end = false;
            break;
        }
        if (spool_job_decode(value, &record)) {
            add_job(ask, &at, &record.job);
        } else if (ask->damage_count < DAMAGES_MAX) {
            at.queue = ask->queue;
            ask->damages[ask->damage_count++] =
                (struct spool_damage){.what = SPOOL_BAD_JOB, .key = at};
        }
    }
    spool_job_record_fini(&record);
}

static void on_page(struct store_read *read)
{
    struct page_ask *ask = PN_CONTAINER(read, struct page_ask, read);

    for (size_t i = 0; i < ask->damage_count; i++) {
        spool_damage_report(ask->spool, &ask->damages[i]);
    }
    /* Jobs before a bad block can be delivered; those behind it come when it is mended. */
    ask->fn(ask->owner, read->status == PN_ECORRUPT ? 0 : read->status, ask->queue, ask->jobs,
            read->status == PN_EIO ? 0 : ask->count, ask->end);
    free(ask->jobs);
    free(ask);
}

void spool_read_page(struct spool *spool, struct loop *loop, struct pn_str queue,
                     struct spool_cursor from, int64_t until_ms, size_t limit,
                     spool_page_fn *fn, void *owner)
{
    struct page_ask *ask = PN_NEW(struct page_ask);

    pn_assert(queue.len > 0 && queue.len <= sizeof ask->name);
    memcpy(ask->name, queue.ptr, queue.len);
    ask->queue = (struct pn_str){ask->name, queue.len};
    ask->spool = spool;
    ask->fn = fn;
    ask->owner = owner;
    ask->from = from;
    ask->until_ms = until_ms;
    ask->limit = limit;
    ask->read = (struct store_read){.run = run_page, .on_done = on_page, .loop = loop};
    store_ask(spool->store, &ask->read);
}
