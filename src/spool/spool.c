/*
 * spool.c - held mail on disk: making it, watching over it, telling what happened.
 *
 * The parts: records.c says what keys and values look like; draft.c takes messages in;
 * load.c reads them; settle.c says what became of them; scan.c and verb.c serve the
 * operator; check.c and salvage.c look for what does not add up; days.c and chunk.c are
 * encryption; time.c keeps queue time. change.c is where records change, with their counters
 * and notices.
 *
 * Here is what the store tells (batches, failures, healing) and what happens every second.
 * Notices of a batch gather on the writer's thread and leave in one task when it is durable.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define SPACE_EVERY_MS 1000
#define DAYS_EVERY_MS  60000

static void set_trouble(struct spool *spool, const char *text)
{
    pthread_mutex_lock(&spool->lock);
    memset(spool->trouble, 0, sizeof spool->trouble);
    memcpy(spool->trouble, text, strnlen(text, sizeof spool->trouble - 1));
    pthread_mutex_unlock(&spool->lock);
}

/* ---- what the store tells, on the writer's thread ---------------------------------------- */

static void on_heal(void *owner, struct store_batch *batch, const struct store_tag *tags,
                    size_t count)
{
    static const struct store_tag none;
    struct spool *spool = owner;

    spool_change_settle_limbo(spool, batch);
    for (size_t i = 0; i < count; i++) {
        struct pn_id id;

        if (memcmp(&tags[i], &none, sizeof none) != 0) {
            memcpy(id.octets, tags[i].octets, sizeof id.octets);
            spool_change_erase(spool, batch, &id);
        }
    }
}

struct news_task {
    struct loop_task task;
    spool_notices_fn *fn;
    void *owner;
    struct spool_news news;
};

static void free_news(struct news_task *task)
{
    pn_arena_fini(&task->news.names);
    free(task->news.items);
    free(task);
}

static void run_news(struct loop_task *base)
{
    struct news_task *task = PN_CONTAINER(base, struct news_task, task);

    task->fn(task->owner, task->news.items, task->news.count);
    free_news(task);
}

/* Gives the notices to the observer, or drops them when there is none. */
static void post_news(struct spool *spool, struct spool_news *news)
{
    struct news_task *task = PN_NEW(struct news_task);
    struct loop *loop;

    pthread_mutex_lock(&spool->lock);
    loop = spool->observer_loop;
    task->fn = spool->on_notices;
    task->owner = spool->observer;
    pthread_mutex_unlock(&spool->lock);
    task->task.on_run = run_news;
    task->news = *news;
    *news = (struct spool_news){0};
    pn_arena_init(&news->names, task->news.names.max);
    if (!loop || !loop_post(loop, &task->task)) {
        free_news(task);
    }
}

static void on_batch(void *owner, bool durable)
{
    struct spool *spool = owner;
    struct spool_writer *writer = &spool->writer;

    if (!durable) {
        writer->time_ms = 0;
        /* Only a batch with notices has a number, and it has settled the limbo before. */
        if (writer->news.count > 0) {
            spool_news_move(&writer->limbo, &writer->news);
            writer->limbo_number = writer->number;
        }
        return;
    }
    if (writer->owed.count > 0) {
        spool_news_move(&writer->owed, &writer->news);
        post_news(spool, &writer->owed);
    } else if (writer->news.count > 0) {
        post_news(spool, &writer->news);
    }
}

static void on_state(void *owner, enum store_state state, const struct pn_err *err)
{
    struct spool *spool = owner;

    if (state == STORE_REOPENING) {
        set_trouble(spool, err->text);
        pn_log_say(&spool->log, PN_EV_SPOOL_FAILED, "%s", err->text);
    } else if (state == STORE_OPEN && atomic_exchange(&spool->was_open, true)) {
        set_trouble(spool, "");
        pn_log_say(&spool->log, PN_EV_SPOOL_RECOVERED, "the spool works again");
    } else if (state == STORE_OPEN) {
        /* What happened while it was opened stays in the status: mail may be missing. */
        pn_log_say(&spool->log, PN_EV_SPOOL_OPENED, "%s", err ? err->text : spool->path);
    }
}

/* ---- life -------------------------------------------------------------------------------- */

struct spool *spool_new(const struct spool_options *options, struct pn_err *err)
{
    struct spool *spool = PN_NEW(struct spool);

    spool->files = options->files;
    spool->crypto = options->crypto;
    spool->path = pn_strdup(options->path);
    pn_log_child(&spool->log, options->log);
    spool->events = (struct store_events){spool, on_heal, on_batch, on_state};
    spool->crypto->ops->random(&spool->run, sizeof spool->run);
    atomic_store(&spool->reserve_octets, options->free_octets);
    spool->space_asked_ms = INT64_MIN / 2;
    spool->days_asked_ms = INT64_MIN / 2;
    pn_assert(pthread_mutex_init(&spool->lock, NULL) == 0);
    spool_writer_init(&spool->writer);
    spool->writer.number = spool->run; /* no number of another run */
    if (spool_days_init(&spool->days, options->files, options->crypto, &spool->log,
                        options->path, options->key_file, err) < 0) {
        spool_free(&spool);
    }
    return spool;
}

void spool_free(struct spool **pointer)
{
    struct spool *spool = *pointer;

    *pointer = NULL;
    if (!spool) {
        return;
    }
    spool_days_fini(&spool->days);
    spool_writer_fini(&spool->writer);
    pthread_mutex_destroy(&spool->lock);
    free(spool->path);
    free(spool);
}

const struct store_events *spool_store_events(struct spool *spool)
{
    return &spool->events;
}

void spool_attach(struct spool *spool, struct store *store)
{
    spool->store = store;
}

void spool_observe(struct spool *spool, struct loop *loop, spool_notices_fn *fn, void *owner)
{
    pthread_mutex_lock(&spool->lock);
    spool->observer_loop = loop;
    spool->on_notices = fn;
    spool->observer = owner;
    pthread_mutex_unlock(&spool->lock);
}

/* ---- every second
 * ---------------------------------------------------------------------------- */

static void check_space(struct spool *spool, struct pn_wall wall)
{
    uint64_t free_octets, total_octets, reserve;
    bool was_full = atomic_load(&spool->full);
    struct pn_err err;

    if (wall.ms >= spool->space_asked_ms && wall.ms - spool->space_asked_ms < SPACE_EVERY_MS) {
        return;
    }
    spool->space_asked_ms = wall.ms;
    if (spool->files->ops->space(spool->files, spool->path, &free_octets, &total_octets, &err) <
        0) {
        return; /* the store finds out for itself whether its disk works */
    }
    reserve = atomic_load(&spool->reserve_octets);
    atomic_store(&spool->free_octets, free_octets);
    atomic_store(&spool->total_octets, total_octets);
    if (!was_full && free_octets < reserve) {
        atomic_store(&spool->full, true);
        pn_log_say(
            &spool->log, PN_EV_SPOOL_FULL,
            "%llu octets are free below %s, the reserve is %llu; new mail is answered 452",
            (unsigned long long)free_octets, spool->path, (unsigned long long)reserve);
    } else if (was_full && free_octets >= reserve + reserve / 10) {
        atomic_store(&spool->full, false);
        pn_log_say(&spool->log, PN_EV_SPOOL_ROOM, "%llu octets are free below %s",
                   (unsigned long long)free_octets, spool->path);
    }
}

static void check_days(struct spool *spool, struct pn_wall wall)
{
    bool failed_before = spool->days_failed;
    struct pn_err err;

    spool->days_failed = spool_days_maintain(&spool->days, wall, &err) < 0;
    if (spool->days_failed && !failed_before) {
        set_trouble(spool, err.text);
        pn_log_say(&spool->log, PN_EV_SPOOL_FAILED, "%s", err.text);
    } else if (!spool->days_failed && failed_before) {
        set_trouble(spool, "");
        pn_log_say(&spool->log, PN_EV_SPOOL_RECOVERED, "the day keys are there again");
    }
}

void spool_maintain(struct spool *spool, struct pn_wall wall)
{
    struct loop *loop;

    check_space(spool, wall);
    check_days(spool, wall);
    pthread_mutex_lock(&spool->lock);
    loop = spool->observer_loop;
    pthread_mutex_unlock(&spool->lock);
    if (!loop || !spool->store || store_get_state(spool->store) != STORE_OPEN) {
        return;
    }
    if (!spool->swept && !spool->sweeping) {
        spool_sweep_start(spool, loop);
    }
    if (spool->days.encrypted &&
        (wall.ms < spool->days_asked_ms || wall.ms - spool->days_asked_ms >= DAYS_EVERY_MS)) {
        spool->days_asked_ms = wall.ms;
        spool_days_ask(spool, loop);
    }
}

void spool_set_free_octets(struct spool *spool, uint64_t free_octets)
{
    atomic_store(&spool->reserve_octets, free_octets);
}

enum spool_readiness spool_get_readiness(const struct spool *spool)
{
    if (!spool->store || store_get_state(spool->store) != STORE_OPEN) {
        return SPOOL_BROKEN;
    }
    return atomic_load(&spool->full) ? SPOOL_FULL : SPOOL_READY;
}

void spool_get_status(struct spool *spool, struct spool_status *out)
{
    *out = (struct spool_status){.readiness = spool_get_readiness(spool),
                                 .free_octets = atomic_load(&spool->free_octets),
                                 .total_octets = atomic_load(&spool->total_octets),
                                 .corrupt = atomic_load(&spool->corrupt),
                                 .encrypted = spool->days.encrypted};
    if (spool->store) {
        out->syncs = spool->store->ops->syncs(spool->store);
        out->written_octets = spool->store->ops->written(spool->store);
    }
    pthread_mutex_lock(&spool->lock);
    memcpy(out->trouble, spool->trouble, sizeof out->trouble);
    pthread_mutex_unlock(&spool->lock);
}
