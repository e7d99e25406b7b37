/*
 * verb.c - what the operator does to jobs and parked recipients.
 *
 * A scan finds the places, at most 1,000 in a call; a write then does it to those that are
 * still there and still in the state that the verb is about: between the two a delivery may
 * have ended a job, or another operator may have been quicker.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define PLACES_MAX   1000
#define ARENA_OCTETS ((size_t)1 << 20)

struct verb_ask {
    struct spool *spool;
    enum spool_verb verb;
    struct store_read read;
    struct store_write write;
    struct spool_scan scan;
    spool_verb_fn *fn;
    void *owner;
    struct pn_arena arena;
    struct spool_job_key keys[PLACES_MAX];
    size_t count;
    size_t changed;
};

static const struct pn_str held_by_operator = {"held by the operator", 20};

/* True when the verb applies to a job in that state. */
static bool is_about(enum spool_verb verb, const struct queue_job *job)
{
    bool held = job->flags & QUEUE_JOB_HELD;

    return verb == SPOOL_DELETE || (verb == SPOOL_RELEASE ? held : !held);
}

static void delete_job(struct verb_ask *ask, struct store_batch *batch,
                       const struct spool_job_key *at)
{
    struct spool *spool = ask->spool;
    struct spool_places *places = &spool->writer.message.jobs;
    uint64_t size_octets = spool->writer.job.job.size_octets;
    enum spool_found found = spool_change_find_message(spool, batch, &at->id);
    size_t place;

    spool_change_drop_job(spool, batch, at);
    if (found == SPOOL_FOUND) {
        place = spool_places_find(places, at->queue);
        if (place < places->count) {
            spool_places_remove(places, place);
        }
        spool_change_keep_message(spool, batch, &at->id);
    } else if (found == SPOOL_MISSING) {
        spool_change_delete_body(batch, &at->id, spool_chunks_of(size_octets));
    }
}

static bool change_job(struct verb_ask *ask, struct store_batch *batch,
                       const struct spool_job_key *at)
{
    struct spool *spool = ask->spool;
    enum spool_found found = spool_change_find_job(spool, batch, at);
    struct queue_job job = spool->writer.job.job;
    bool hold = ask->verb == SPOOL_HOLD;
    enum spool_found message;

    if (found == SPOOL_BAD && ask->verb == SPOOL_DELETE) {
        spool->writer.job.job = (struct queue_job){0};
        delete_job(ask, batch, at);
        return true;
    }
    if (found != SPOOL_FOUND || !is_about(ask->verb, &job)) {
        return false;
    }
    if (ask->verb == SPOOL_DELETE) {
        delete_job(ask, batch, at);
        return true;
    }
    if (ask->verb == SPOOL_RETRY && at->due_ms <= ask->scan.filter.now_ms) {
        return true; /* it is due already */
    }
    message = spool_change_find_message(spool, batch, &at->id);
    spool->writer.message.jobs.count *= message == SPOOL_FOUND;
    spool_change_move_job(spool, batch, at, hold ? QUEUE_DUE_NEVER : ask->scan.filter.now_ms,
                          hold ? job.flags | QUEUE_JOB_HELD
                               : job.flags & ~(unsigned)QUEUE_JOB_HELD,
                          hold ? &held_by_operator : NULL);
    if (message == SPOOL_FOUND) {
        spool_change_keep_message(spool, batch, &at->id);
    }
    return true;
}

/* Parked recipients become a job again, or join the one that the queue has. */
static void release_parked(struct verb_ask *ask, struct store_batch *batch,
                           const struct spool_job_key *parked_at)
{
    struct spool *spool = ask->spool;
    struct spool_writer *writer = &spool->writer;
    struct spool_places *places = &writer->message.jobs;
    size_t place = spool_places_find(places, parked_at->queue);
    struct spool_job_key at = *parked_at;

    writer->job.recipients.count = 0;
    if (place < places->count) {
        at.due_ms = places->items[place].due_ms;
        if (spool_change_find_job(spool, batch, &at) == SPOOL_FOUND) {
            spool_change_drop_job(spool, batch, &at);
        }
        spool_places_remove(places, place);
    }
    for (size_t i = 0; i < writer->parked.recipients.count; i++) {
        spool_recipients_add(&writer->job.recipients, &writer->parked.recipients.items[i]);
    }
    writer->job.job = writer->parked.job;
    writer->job.job.flags = 0;
    writer->job.last_reply = writer->parked.last_reply;
    at.due_ms = ask->scan.filter.now_ms;
    spool_places_add(places, at.queue, at.due_ms);
    spool_change_put_job(spool, batch, &at);
}

static bool change_parked(struct verb_ask *ask, struct store_batch *batch,
                          const struct spool_job_key *at)
{
    struct spool *spool = ask->spool;
    struct spool_places *places = &spool->writer.message.parked;
    size_t place;

    if ((ask->verb != SPOOL_RELEASE && ask->verb != SPOOL_DELETE) ||
        spool_change_find_parked(spool, batch, at->queue, &at->id) != SPOOL_FOUND ||
        spool_change_find_message(spool, batch, &at->id) != SPOOL_FOUND) {
        return false;
    }
    if (ask->verb == SPOOL_RELEASE) {
        release_parked(ask, batch, at);
    }
    spool_change_drop_parked(spool, batch, at->queue, &at->id);
    place = spool_places_find(places, at->queue);
    if (place < places->count) {
        spool_places_remove(places, place);
    }
    spool_change_keep_message(spool, batch, &at->id);
    return true;
}

static void apply_verb(struct store_write *write, struct store_batch *batch)
{
    struct verb_ask *ask = PN_CONTAINER(write, struct verb_ask, write);

    ask->changed = 0;
    for (size_t i = 0; i < ask->count; i++) {
        ask->changed += ask->scan.filter.parked ? change_parked(ask, batch, &ask->keys[i])
                                                : change_job(ask, batch, &ask->keys[i]);
    }
}

static void finish(struct verb_ask *ask, int status)
{
    ask->fn(ask->owner, status, status == 0 ? ask->changed : 0,
            status == 0 ? pn_buf_str(&ask->scan.next) : PN_STR(""));
    pn_buf_fini(&ask->scan.next);
    pn_arena_fini(&ask->arena);
    free(ask);
}

static void on_changed(struct store_write *write)
{
    finish(PN_CONTAINER(write, struct verb_ask, write), write->status);
}

static void add_place(void *owner, const struct spool_job_key *key, struct spool_message *row)
{
    struct verb_ask *ask = owner;
    struct spool_job_key *to = &ask->keys[ask->count++];

    *to = *key;
    pn_assert(pn_arena_copy(&ask->arena, key->queue, &to->queue) == 0);
    spool_message_free(&row);
}

static void run_scan(struct store_read *read, struct store_view *view)
{
    struct verb_ask *ask = PN_CONTAINER(read, struct verb_ask, read);

    spool_scan_run(&ask->scan, view, add_place, ask);
}

static void on_scanned(struct store_read *read)
{
    struct verb_ask *ask = PN_CONTAINER(read, struct verb_ask, read);

    if (read->status < 0 || ask->count == 0) {
        finish(ask, read->status);
        return;
    }
    ask->write =
        (struct store_write){.apply = apply_verb, .on_done = on_changed, .loop = read->loop};
    store_submit(ask->spool->store, &ask->write);
}

void spool_apply(struct spool *spool, struct loop *loop, enum spool_verb verb,
                 const struct spool_filter *filter, struct pn_str after, spool_verb_fn *fn,
                 void *owner)
{
    struct verb_ask *ask = PN_NEW(struct verb_ask);

    ask->spool = spool;
    ask->verb = verb;
    ask->fn = fn;
    ask->owner = owner;
    ask->scan.limit = PLACES_MAX;
    pn_arena_init(&ask->arena, ARENA_OCTETS);
    pn_buf_init(&ask->scan.next, 2 * SPOOL_KEY_MAX);
    spool_filter_copy(&ask->scan.filter, filter, &ask->arena);
    pn_assert(pn_arena_copy(&ask->arena, pn_str_sub(after, 0, 2 * SPOOL_KEY_MAX),
                            &ask->scan.after) == 0);
    ask->read = (struct store_read){.run = run_scan, .on_done = on_scanned, .loop = loop};
    store_ask(spool->store, &ask->read);
}
