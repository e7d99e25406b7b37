/*
 * salvage.c - bringing messages of a repaired store back.
 *
 * A repair brings deleted records back: mail that was delivered long ago, and jobs under
 * due times that they no longer had. So nothing is believed that does not verify whole,
 * nothing is sent by itself (every job is HELD), and what this spool has already is left
 * alone. Recipients come from the jobs, and from what is parked, that the message's own
 * record names; a message with none of them left has ended, or is beyond help.
 *
 * A message that has lost some of its jobs comes back for the recipients of the others, and
 * the lost ones are counted. Where none is left, those that are missing say nothing: it is
 * what the end of a message looks like.
 *
 * One message after the other: its records are read, its chunks go through a draft, as if
 * it were being received. It is thus sealed under today's key.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define ARENA_OCTETS ((size_t)64 << 20)

struct salvage_job {
    struct pn_str queue;
    struct spool_recipients recipients;
};

struct salvage {
    struct spool *spool;
    struct store *from;
    struct loop *loop;
    int64_t now_ms;
    spool_salvage_fn *fn;
    void *owner;
    struct spool_salvaged sum;
    struct store_read read;
    struct pn_id id; /* the message that is looked at; all zero at first */
    bool begun, found, good, exists;
    bool reading;          /* a read is under way: nothing may be freed */
    struct pn_arena arena; /* of that message */
    struct pn_buf value, plain;
    struct pn_str text;
    struct spool_message_record record;
    struct salvage_job *jobs;
    size_t job_count;
    size_t spoiled_jobs, missing_jobs;
    uint32_t chunk;
    struct spool_draft *draft;
};

static void next_message(struct salvage *salvage);
static void next_chunk(struct salvage *salvage);

static void forget_message(struct salvage *salvage)
{
    for (size_t i = 0; i < salvage->job_count; i++) {
        free(salvage->jobs[i].recipients.items);
    }
    free(salvage->jobs);
    salvage->jobs = NULL;
    salvage->job_count = 0;
    salvage->spoiled_jobs = salvage->missing_jobs = 0;
    salvage->found = false;
    salvage->good = false;
    pn_arena_reset(&salvage->arena);
    spool_draft_free(&salvage->draft);
}

static void finish(struct salvage *salvage, int status)
{
    forget_message(salvage);
    salvage->fn(salvage->owner, status, &salvage->sum);
    spool_message_record_fini(&salvage->record);
    pn_arena_fini(&salvage->arena);
    pn_buf_fini(&salvage->value);
    pn_buf_fini(&salvage->plain);
    free(salvage);
}

static void ask(struct salvage *salvage, struct store *store, store_run_fn *run,
                store_read_done_fn *on_done)
{
    salvage->reading = true;
    salvage->read = (struct store_read){.run = run, .on_done = on_done, .loop = salvage->loop};
    store_ask(store, &salvage->read);
}

/* ---- the records of the next message, on the other store's reader
 * ------------------------------ */

/* Adds the recipients of a record to the job of its queue. */
static void take_recipients(struct salvage *salvage, struct store_view *view,
                            const struct spool_key *key, struct pn_str queue)
{
    struct spool_job_record record = {0};
    struct salvage_job *job = NULL;
    struct pn_str value;

    if (!store_view_get(view, spool_key_str(key), &salvage->value)) {
        salvage->missing_jobs++;
        return;
    }
    if (pn_arena_copy(&salvage->arena, pn_buf_str(&salvage->value), &value) < 0 ||
        !spool_job_decode(value, &record)) {
        spool_job_record_fini(&record);
        salvage->spoiled_jobs++;
        return;
    }
    for (size_t i = 0; i < salvage->job_count && !job; i++) {
        job = pn_str_eq(salvage->jobs[i].queue, queue) ? &salvage->jobs[i] : NULL;
    }
    if (!job) {
        size_t count = salvage->job_count++;

        salvage->jobs = pn_realloc(salvage->jobs, (count + 1) * sizeof *salvage->jobs);
        job = &salvage->jobs[count];
        *job = (struct salvage_job){.queue = queue};
    }
    for (size_t i = 0; i < record.recipients.count; i++) {
        spool_recipients_add(&job->recipients, &record.recipients.items[i]);
    }
    spool_job_record_fini(&record);
}

static void take_places(struct salvage *salvage, struct store_view *view)
{
    const struct spool_places *jobs = &salvage->record.jobs;
    const struct spool_places *parked = &salvage->record.parked;
    struct spool_key key;

    for (size_t i = 0; i < jobs->count; i++) {
        spool_key_of_job(&key, jobs->items[i].queue, jobs->items[i].due_ms, &salvage->id);
        take_recipients(salvage, view, &key, jobs->items[i].queue);
    }
    for (size_t i = 0; i < parked->count; i++) {
        spool_key_of_parked(&key, parked->items[i].queue, &salvage->id);
        take_recipients(salvage, view, &key, parked->items[i].queue);
    }
    salvage->good = salvage->job_count > 0;
    for (size_t i = 0; i < salvage->job_count; i++) {
        salvage->good = salvage->good && salvage->jobs[i].recipients.count > 0;
    }
}

static void run_next(struct store_read *read, struct store_view *view)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);
    struct spool_key first;
    struct pn_str key, value, copy;
    struct pn_id id;

    spool_key_of_id(&first, SPOOL_KEY_MESSAGE, &salvage->id);
    for (store_view_seek(view, spool_key_str(&first));
         store_view_item(view, &key, &value) && key.len > 0 && key.ptr[0] == SPOOL_KEY_MESSAGE;
         store_view_next(view)) {
        if (!spool_key_parse_id(key, SPOOL_KEY_MESSAGE, &id) ||
            (salvage->begun && pn_id_cmp(&id, &salvage->id) == 0)) {
            continue;
        }
        salvage->id = id;
        salvage->found = true;
        if (pn_arena_copy(&salvage->arena, value, &copy) == 0 &&
            spool_message_decode(copy, &salvage->record)) {
            take_places(salvage, view);
        }
        break;
    }
    salvage->begun = true;
}

/* ---- its text
 * --------------------------------------------------------------------------------- */

static void run_chunk(struct store_read *read, struct store_view *view)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);
    struct spool_key key;
    uint32_t day;

    spool_key_of_body(&key, &salvage->id, salvage->chunk);
    salvage->good =
        store_view_get(view, spool_key_str(&key), &salvage->value) &&
        spool_chunk_open(&salvage->spool->days, &salvage->id, salvage->chunk,
                         pn_buf_str(&salvage->value), &salvage->plain, &salvage->text,
                         &day) == 0 &&
        salvage->text.len ==
            spool_chunk_length(salvage->record.envelope.size_octets, salvage->chunk);
}

static void skip_bad(struct salvage *salvage)
{
    salvage->sum.bad++;
    salvage->sum.unread_jobs += salvage->spoiled_jobs;
    next_message(salvage);
}

static void store_draft(struct salvage *salvage)
{
    struct spool_new_job *jobs =
        pn_arena_alloc(&salvage->arena, salvage->job_count * sizeof *jobs);

    pn_assert(jobs);
    for (size_t i = 0; i < salvage->job_count; i++) {
        const struct spool_recipients *from = &salvage->jobs[i].recipients;
        struct mail_recipient *to = pn_arena_alloc(&salvage->arena, from->count * sizeof *to);

        pn_assert(to);
        for (size_t k = 0; k < from->count; k++) {
            to[k] = from->items[k].recipient;
        }
        jobs[i] = (struct spool_new_job){.queue = salvage->jobs[i].queue,
                                         .recipients = to,
                                         .recipient_count = from->count,
                                         .due_ms = QUEUE_DUE_NEVER,
                                         .flags = QUEUE_JOB_HELD,
                                         .reason = PN_STR("salvaged: it may have been "
                                                          "delivered already")};
    }
    spool_draft_store(salvage->draft, &salvage->record.envelope, salvage->now_ms, jobs,
                      salvage->job_count);
}

/* Gives the chunk that was read to the draft, as soon as it has room. */
static void feed_draft(struct salvage *salvage)
{
    if (spool_draft_room(salvage->draft) < salvage->text.len) {
        return; /* on_draft comes back here */
    }
    spool_draft_write(salvage->draft, salvage->text);
    salvage->text = PN_STR("");
    salvage->chunk++;
    if (salvage->chunk < salvage->record.envelope.chunks) {
        next_chunk(salvage);
    } else {
        store_draft(salvage);
    }
}

static void on_draft(void *owner)
{
    struct salvage *salvage = owner;

    switch (spool_draft_get_state(salvage->draft)) {
    case SPOOL_DRAFT_OPEN:
        if (salvage->text.len > 0) {
            feed_draft(salvage);
        }
        break;
    case SPOOL_DRAFT_STORING:
        break;
    case SPOOL_DRAFT_STORED:
        salvage->sum.brought++;
        salvage->sum.unread_jobs += salvage->spoiled_jobs + salvage->missing_jobs;
        next_message(salvage);
        break;
    case SPOOL_DRAFT_FAILED:
        if (!salvage->reading) {
            finish(salvage, PN_EIO);
        }
        break;
    }
}

static void on_chunk(struct store_read *read)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);

    salvage->reading = false;
    if (spool_draft_get_state(salvage->draft) == SPOOL_DRAFT_FAILED) {
        finish(salvage, PN_EIO);
    } else if (read->status < 0 || !salvage->good) {
        skip_bad(salvage);
    } else {
        feed_draft(salvage);
    }
}

static void next_chunk(struct salvage *salvage)
{
    salvage->text = PN_STR("");
    ask(salvage, salvage->from, run_chunk, on_chunk);
}

/* ---- one message after the other
 * ---------------------------------------------------------------- */

static void run_exists(struct store_read *read, struct store_view *view)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);
    struct spool_key key;

    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &salvage->id);
    salvage->exists = store_view_get(view, spool_key_str(&key), &salvage->value);
}

static void on_exists(struct store_read *read)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);

    salvage->reading = false;
    if (read->status < 0) {
        finish(salvage, read->status);
    } else if (salvage->exists) {
        salvage->sum.there_already++;
        next_message(salvage);
    } else {
        salvage->chunk = 0;
        salvage->draft =
            spool_draft_new(salvage->spool, salvage->loop, &salvage->id, on_draft, salvage);
        next_chunk(salvage);
    }
}

static void on_next(struct store_read *read)
{
    struct salvage *salvage = PN_CONTAINER(read, struct salvage, read);

    salvage->reading = false;
    if (read->status == PN_EIO) {
        finish(salvage, PN_EIO);
    } else if (!salvage->found) {
        finish(salvage, read->status);
    } else if (read->status < 0 || !salvage->good) {
        skip_bad(salvage);
    } else {
        ask(salvage, salvage->spool->store, run_exists, on_exists);
    }
}

static void next_message(struct salvage *salvage)
{
    forget_message(salvage);
    ask(salvage, salvage->from, run_next, on_next);
}

void spool_salvage(struct spool *spool, struct store *from, struct loop *loop, int64_t now_ms,
                   spool_salvage_fn *fn, void *owner)
{
    struct salvage *salvage = PN_NEW(struct salvage);

    salvage->spool = spool;
    salvage->from = from;
    salvage->loop = loop;
    salvage->now_ms = now_ms;
    salvage->fn = fn;
    salvage->owner = owner;
    pn_arena_init(&salvage->arena, ARENA_OCTETS);
    pn_buf_init(&salvage->value, STORE_VALUE_MAX);
    pn_buf_init(&salvage->plain, STORE_VALUE_MAX);
    next_message(salvage);
}
