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
    struct pn_str queue; /* FORWARD: where to */
    struct pn_str recipient;
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

/* Those who join may be there already: an operator forwards a message twice. */
static void join(struct spool_recipients *recipients,
                 const struct spool_parked_recipient *recipient)
{
    for (size_t i = 0; i < recipients->count; i++) {
        if (pn_str_eq(recipients->items[i].recipient.address, recipient->recipient.address)) {
            return;
        }
    }
    spool_recipients_add(recipients, recipient);
}

/* Parked recipients become a job of a queue again, or join the one that it has; or somebody
 * else does in their place. */
static void release_parked(struct verb_ask *ask, struct store_batch *batch,
                           const struct spool_job_key *parked_at)
{
    const struct spool_parked_recipient other = {
        .recipient = {.address = ask->recipient, .notify = MAIL_NOTIFY_NEVER}};
    bool forwards = ask->verb == SPOOL_FORWARD;
    struct spool *spool = ask->spool;
    struct spool_writer *writer = &spool->writer;
    struct spool_places *places = &writer->message.jobs;
    struct spool_job_key at = {.queue = forwards ? ask->queue : parked_at->queue,
                               .id = parked_at->id};
    size_t place = spool_places_find(places, at.queue);

    writer->job.recipients.count = 0;
    if (place < places->count) {
        at.due_ms = places->items[place].due_ms;
        if (spool_change_find_job(spool, batch, &at) == SPOOL_FOUND) {
            writer->job.job.flags |= QUEUE_JOB_MOVED;
            spool_change_drop_job(spool, batch, &at);
        }
        spool_places_remove(places, place);
    }
    for (size_t i = 0; i < writer->parked.recipients.count && !forwards; i++) {
        spool_recipients_add(&writer->job.recipients, &writer->parked.recipients.items[i]);
    }
    if (forwards) {
        join(&writer->job.recipients, &other);
    }
    writer->job.job = writer->parked.job;
    writer->job.job.flags &= QUEUE_JOB_REPORT;
    /* What had waited too long is to be tried again, not to be too old once more. */
    writer->job.job.arrival_ms = ask->scan.filter.now_ms;
    writer->job.last_reply = forwards ? PN_STR("") : writer->parked.last_reply;
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

    bool moves = ask->verb == SPOOL_RELEASE || ask->verb == SPOOL_FORWARD;

    if ((!moves && ask->verb != SPOOL_DELETE) ||
        spool_change_find_parked(spool, batch, at->queue, &at->id) != SPOOL_FOUND ||
        spool_change_find_message(spool, batch, &at->id) != SPOOL_FOUND) {
        return false;
    }
    if (moves) {
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
    spool_change_time(ask->spool, batch, ask->scan.filter.now_ms); /* what is due now */
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

static void start(struct spool *spool, struct loop *loop, struct verb_ask *ask,
                  const struct spool_filter *filter, struct pn_str after)
{
    ask->spool = spool;
    ask->scan.limit = PLACES_MAX;
    pn_buf_init(&ask->scan.next, 2 * SPOOL_KEY_MAX);
    spool_filter_copy(&ask->scan.filter, filter, &ask->arena);
    pn_assert(pn_arena_copy(&ask->arena, pn_str_sub(after, 0, 2 * SPOOL_KEY_MAX),
                            &ask->scan.after) == 0);
    ask->read = (struct store_read){.run = run_scan, .on_done = on_scanned, .loop = loop};
    store_ask(spool->store, &ask->read);
}

static struct verb_ask *ask_new(enum spool_verb verb, spool_verb_fn *fn, void *owner)
{
    struct verb_ask *ask = PN_NEW(struct verb_ask);

    ask->verb = verb;
    ask->fn = fn;
    ask->owner = owner;
    pn_arena_init(&ask->arena, ARENA_OCTETS);
    return ask;
}

void spool_apply(struct spool *spool, struct loop *loop, enum spool_verb verb,
                 const struct spool_filter *filter, struct pn_str after, spool_verb_fn *fn,
                 void *owner)
{
    pn_assert(verb != SPOOL_FORWARD);
    start(spool, loop, ask_new(verb, fn, owner), filter, after);
}

void spool_forward(struct spool *spool, struct loop *loop, const struct spool_filter *filter,
                   struct pn_str after, struct pn_str queue, struct pn_str recipient,
                   spool_verb_fn *fn, void *owner)
{
    struct verb_ask *ask = ask_new(SPOOL_FORWARD, fn, owner);

    pn_assert(filter->parked && queue.len > 0 && queue.len <= SPOOL_QUEUE_NAME_MAX);
    pn_assert(pn_arena_copy(&ask->arena, queue, &ask->queue) == 0 &&
              pn_arena_copy(&ask->arena, recipient, &ask->recipient) == 0);
    start(spool, loop, ask, filter, after);
}

/* ---- flags ------------------------------------------------------------------------------- */

struct mark {
    struct spool *spool;
    struct store_write write;
    struct pn_id id;
    unsigned flags;
    spool_done_fn *fn;
    void *owner;
};

static void apply_mark(struct store_write *write, struct store_batch *batch)
{
    struct mark *mark = PN_CONTAINER(write, struct mark, write);

    if (spool_change_find_message(mark->spool, batch, &mark->id) == SPOOL_FOUND) {
        mark->spool->writer.message.envelope.flags |= mark->flags;
        spool_change_keep_message(mark->spool, batch, &mark->id);
    }
}

static void on_marked(struct store_write *write)
{
    struct mark *mark = PN_CONTAINER(write, struct mark, write);

    mark->fn(mark->owner);
    free(mark);
}

void spool_mark(struct spool *spool, struct loop *loop, const struct pn_id *id, unsigned flags,
                spool_done_fn *fn, void *owner)
{
    struct mark *mark = PN_NEW(struct mark);

    mark->spool = spool;
    mark->id = *id;
    mark->flags = flags;
    mark->fn = fn;
    mark->owner = owner;
    mark->write = (struct store_write){
        .apply = apply_mark, .on_done = on_marked, .loop = loop, .must = true, .lazy = true};
    store_submit(spool->store, &mark->write);
}
