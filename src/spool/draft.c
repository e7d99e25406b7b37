/*
 * draft.c - taking a message in.
 *
 * Text gathers in one buffer that begins with room for the record's head, so that a chunk
 * becomes a record without being copied. A full chunk is written when more text comes; a
 * message of one chunk thus costs a single batch. While a chunk is under way the next one
 * gathers, and no more: that bounds memory by two chunks. Chunks that the owner wants kept in
 * memory wait in a list, ready to be written, and leave it in their order.
 *
 * Storing waits until the chunk under way is durable. Were both in flight, a failure
 * between them could lose the chunk and, once the store has healed, keep the envelope.
 *
 * Everything that the batch will hold is encoded on the session's own thread; the writer's
 * thread puts octets and counts. A draft that is freed while the store has one of its
 * requests stays until the answer: what its sender does not know to be stored is deleted.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <string.h>

#define DRAFT_ARENA_OCTETS ((size_t)64 << 20)
#define JOB_OCTETS_MAX     (2u << 20) /* so that it can be parked with reasons, too */
#define FIRST_OCTETS       8192

/* A record that is not written yet. */
struct kept_chunk {
    struct kept_chunk *next;
    struct pn_buf record;
};

struct draft_job {
    struct pn_str queue;
    struct queue_job job;
    struct pn_str value;
};

struct spool_draft {
    struct spool *spool;
    struct loop *loop;
    struct pn_id id;
    spool_draft_fn *on_event;
    void *owner;
    enum spool_draft_state state;
    bool gone;    /* its owner has freed it; the request under way keeps it alive */
    bool busy;    /* a request, or the deferred task, is under way */
    bool asked;   /* to be stored: as soon as it is not busy */
    bool on_disk; /* a chunk of it is durable */
    struct spool_chunk_key key;
    struct pn_buf chunk;     /* head and text of the chunk that gathers */
    struct pn_buf written;   /* the record under way */
    struct kept_chunk *kept; /* full, and before the one that gathers */
    size_t kept_count, kept_max;
    uint32_t sent;   /* chunks that were given to the store */
    uint32_t number; /* of the chunk that gathers */
    uint64_t octets;
    struct store_write write;
    struct loop_task task;
    struct pn_arena arena; /* what is to be stored */
    struct pn_str message_value;
    struct draft_job *jobs;
    size_t job_count;
};

static size_t text_octets(const struct spool_draft *draft)
{
    return draft->chunk.len - SPOOL_CHUNK_HEAD;
}

static void start_chunk(struct spool_draft *draft)
{
    static const char head[SPOOL_CHUNK_HEAD];

    pn_buf_init(&draft->chunk, SPOOL_CHUNK_HEAD + SPOOL_CHUNK_OCTETS);
    pn_assert(pn_buf_append(&draft->chunk, (struct pn_str){head, sizeof head}) == 0);
}

static void drop_kept(struct spool_draft *draft)
{
    while (draft->kept) {
        struct kept_chunk *first = draft->kept;

        LL_DELETE(draft->kept, first);
        pn_buf_fini(&first->record);
        free(first);
    }
    draft->kept_count = 0;
}

static void destroy(struct spool_draft *draft)
{
    drop_kept(draft);
    spool_days_release(&draft->spool->days, draft->key.day);
    pn_wipe(&draft->key, sizeof draft->key);
    pn_buf_fini(&draft->chunk);
    pn_buf_fini(&draft->written);
    pn_arena_fini(&draft->arena);
    free(draft);
}

static void apply_erase(struct store_write *write, struct store_batch *batch)
{
    struct spool_draft *draft = PN_CONTAINER(write, struct spool_draft, write);

    spool_change_erase(draft->spool, batch, &draft->id);
}

static void on_erased(struct store_write *write)
{
    destroy(PN_CONTAINER(write, struct spool_draft, write));
}

/* The last thing that a draft does: what is on disk of it goes away. */
static void leave(struct spool_draft *draft)
{
    if (!draft->on_disk) {
        destroy(draft);
        return;
    }
    drop_kept(draft);
    pn_buf_fini(&draft->chunk); /* while the store is failed, this may wait for long */
    pn_arena_reset(&draft->arena);
    /* Answered on the writer's thread: the draft's loop may have ended by then. */
    draft->write = (struct store_write){
        .apply = apply_erase, .on_done = on_erased, .must = true, .lazy = true};
    store_submit(draft->spool->store, &draft->write);
}

static void tell_failure(struct loop_task *task)
{
    struct spool_draft *draft = PN_CONTAINER(task, struct spool_draft, task);

    draft->busy = false;
    if (draft->gone) {
        leave(draft);
    } else {
        draft->on_event(draft->owner);
    }
}

/* Fails now, and tells it when the caller has returned. */
static void fail_later(struct spool_draft *draft)
{
    draft->state = SPOOL_DRAFT_FAILED;
    draft->busy = true;
    draft->task.on_run = tell_failure;
    loop_defer(draft->loop, &draft->task);
}

struct spool_draft *spool_draft_new(struct spool *spool, struct loop *loop,
                                    const struct pn_id *id, spool_draft_fn *on_event,
                                    void *owner)
{
    struct spool_draft *draft = PN_NEW(struct spool_draft);
    struct spool_day_key day;

    draft->spool = spool;
    draft->loop = loop;
    draft->id = *id;
    draft->on_event = on_event;
    draft->owner = owner;
    pn_buf_init(&draft->written, 0);
    pn_arena_init(&draft->arena, DRAFT_ARENA_OCTETS);
    start_chunk(draft);
    if (spool_days_take(&spool->days, &day)) {
        spool_chunk_key_derive(&draft->key, spool->crypto, &day, id);
        pn_wipe(&day, sizeof day);
    } else {
        fail_later(draft);
    }
    return draft;
}

size_t spool_draft_room(const struct spool_draft *draft)
{
    size_t room;

    if (draft->state != SPOOL_DRAFT_OPEN) {
        return 0;
    }
    room = SPOOL_CHUNK_OCTETS - text_octets(draft);
    if (room == 0 && (!draft->busy || draft->kept_count < draft->kept_max)) {
        room = SPOOL_CHUNK_OCTETS;
    }
    return room;
}

uint64_t spool_draft_octets(const struct spool_draft *draft)
{
    return draft->octets;
}

size_t spool_draft_memory(const struct spool_draft *draft)
{
    return draft->chunk.cap + draft->written.cap + draft->arena.used;
}

enum spool_draft_state spool_draft_get_state(const struct spool_draft *draft)
{
    return draft->state;
}

static void submit(struct spool_draft *draft, store_apply_fn *apply,
                   store_write_done_fn *on_done)
{
    draft->write =
        (struct store_write){.apply = apply, .on_done = on_done, .loop = draft->loop};
    memcpy(draft->write.tag.octets, draft->id.octets, STORE_TAG_OCTETS);
    draft->busy = true;
    store_submit(draft->spool->store, &draft->write);
}

static void store_now(struct spool_draft *draft);

/* A chunk record, and the mark that says whose it is until the envelope exists. */
static void apply_chunk(struct store_write *write, struct store_batch *batch)
{
    struct spool_draft *draft = PN_CONTAINER(write, struct spool_draft, write);
    struct spool_partial_record partial = {
        .run = draft->spool->run, .chunks = draft->sent, .day = draft->key.day};
    struct pn_buf *value = &draft->spool->writer.out;
    struct spool_key key;

    spool_key_of_body(&key, &draft->id, draft->sent - 1);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(&draft->written));
    if (draft->sent == 1) {
        spool_change_day(draft->spool, batch, draft->key.day, 1);
    }
    spool_key_of_id(&key, SPOOL_KEY_PARTIAL, &draft->id);
    pn_buf_clear(value);
    pn_assert(spool_partial_encode(&partial, value) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(value));
}

static store_write_done_fn on_chunk;

/* The oldest that is kept goes to the store. */
static void send_kept(struct spool_draft *draft)
{
    struct kept_chunk *first = draft->kept;

    LL_DELETE(draft->kept, first);
    draft->kept_count--;
    draft->written = first->record;
    free(first);
    draft->sent++;
    submit(draft, apply_chunk, on_chunk);
}

static void on_chunk(struct store_write *write)
{
    struct spool_draft *draft = PN_CONTAINER(write, struct spool_draft, write);

    draft->busy = false;
    draft->on_disk = draft->on_disk || write->status == 0;
    pn_buf_fini(&draft->written);
    if (draft->gone) {
        leave(draft);
        return;
    }
    if (write->status < 0) {
        draft->state = SPOOL_DRAFT_FAILED;
    } else if (draft->kept_count > draft->kept_max) {
        send_kept(draft);
        return;
    } else if (draft->asked) {
        store_now(draft);
        return;
    }
    draft->on_event(draft->owner);
}

static void finish_chunk(struct spool_draft *draft)
{
    spool_chunk_finish(&draft->chunk, draft->spool->crypto, &draft->key, &draft->id,
                       draft->number);
    draft->number++;
}

/* The chunk that gathers is full, and more text comes. */
static void put_away(struct spool_draft *draft)
{
    struct kept_chunk *full = PN_NEW(struct kept_chunk);

    finish_chunk(draft);
    full->record = draft->chunk;
    LL_APPEND(draft->kept, full);
    draft->kept_count++;
    start_chunk(draft);
    if (draft->kept_count > draft->kept_max) {
        send_kept(draft);
    }
}

void spool_draft_keep(struct spool_draft *draft, size_t chunks)
{
    draft->kept_max = chunks;
    if (!draft->busy && draft->state == SPOOL_DRAFT_OPEN && draft->kept_count > chunks) {
        send_kept(draft);
    }
}

void spool_draft_write(struct spool_draft *draft, struct pn_str text)
{
    pn_assert(draft->state != SPOOL_DRAFT_OPEN || text.len <= spool_draft_room(draft));
    if (draft->state != SPOOL_DRAFT_OPEN || text.len == 0) {
        return; /* it has failed meanwhile; its owner is about to be told */
    }
    if (text_octets(draft) == SPOOL_CHUNK_OCTETS) {
        put_away(draft);
    }
    if (text_octets(draft) == 0) {
        pn_assert(
            pn_buf_reserve(&draft->chunk, text.len < FIRST_OCTETS ? FIRST_OCTETS : text.len));
    }
    pn_assert(pn_buf_append(&draft->chunk, text) == 0);
    draft->octets += text.len;
}

/* ---- storing ----------------------------------------------------------------------------- */

static void apply_message(struct store_write *write, struct store_batch *batch)
{
    struct spool_draft *draft = PN_CONTAINER(write, struct spool_draft, write);
    struct spool *spool = draft->spool;
    struct spool_key key;

    spool_key_of_body(&key, &draft->id, draft->number - 1);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(&draft->written));
    if (draft->number > 1) {
        spool_key_of_id(&key, SPOOL_KEY_PARTIAL, &draft->id);
        store_batch_del(batch, spool_key_str(&key));
    } else {
        spool_change_day(spool, batch, draft->key.day, 1);
    }
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &draft->id);
    store_batch_put(batch, spool_key_str(&key), draft->message_value);
    for (size_t i = 0; i < draft->job_count; i++) {
        const struct draft_job *job = &draft->jobs[i];

        spool_key_of_job(&key, job->queue, job->job.due_ms, &draft->id);
        store_batch_put(batch, spool_key_str(&key), job->value);
        spool_change_counters(
            spool, batch, job->queue,
            (struct spool_delta){.jobs = 1, .octets = (int64_t)job->job.size_octets});
        spool_change_note(spool, batch, SPOOL_JOB_ADDED, job->queue, &job->job);
    }
}

static void on_message(struct store_write *write)
{
    struct spool_draft *draft = PN_CONTAINER(write, struct spool_draft, write);

    draft->busy = false;
    pn_buf_fini(&draft->written);
    draft->state = write->status < 0 ? SPOOL_DRAFT_FAILED : SPOOL_DRAFT_STORED;
    if (draft->gone) {
        draft->on_disk = draft->on_disk || draft->state == SPOOL_DRAFT_STORED;
        leave(draft);
    } else {
        draft->on_event(draft->owner);
    }
}

static void store_now(struct spool_draft *draft)
{
    finish_chunk(draft);
    draft->written = draft->chunk;
    pn_buf_init(&draft->chunk, 0);
    submit(draft, apply_message, on_message);
}

static int encode_job(struct spool_draft *draft, const struct mail_envelope *envelope,
                      int64_t arrival_ms, const struct spool_new_job *from,
                      struct draft_job *job)
{
    struct pn_buf value;
    int rc;

    job->job = (struct queue_job){.id = draft->id,
                                  .due_ms = from->due_ms,
                                  .arrival_ms = arrival_ms,
                                  .size_octets = draft->octets,
                                  .recipients = (uint32_t)from->recipient_count,
                                  .flags = from->flags,
                                  .client = envelope->client.ip};
    pn_buf_init(&value, JOB_OCTETS_MAX);
    rc = pn_arena_copy(&draft->arena, from->queue, &job->queue);
    if (rc == 0) {
        rc = spool_job_encode_new(&job->job, from->reason, from->recipients,
                                  from->recipient_count, &value);
    }
    if (rc == 0) {
        rc = pn_arena_copy(&draft->arena, pn_buf_str(&value), &job->value);
    }
    pn_buf_fini(&value);
    return rc;
}

static int encode_message(struct spool_draft *draft, const struct mail_envelope *envelope,
                          int64_t arrival_ms)
{
    struct spool_message_record record = {
        .envelope = *envelope, .arrival_ms = arrival_ms, .day = draft->key.day};
    struct pn_buf value;
    int rc;

    record.envelope.size_octets = draft->octets;
    record.envelope.chunks = draft->number + 1;
    for (size_t i = 0; i < draft->job_count; i++) {
        spool_places_add(&record.jobs, draft->jobs[i].queue, draft->jobs[i].job.due_ms);
    }
    pn_buf_init(&value, STORE_VALUE_MAX / 2);
    rc = spool_message_encode(&record, &value);
    if (rc == 0) {
        rc = pn_arena_copy(&draft->arena, pn_buf_str(&value), &draft->message_value);
    }
    pn_buf_fini(&value);
    spool_message_record_fini(&record);
    return rc;
}

static int encode(struct spool_draft *draft, const struct mail_envelope *envelope,
                  int64_t arrival_ms, const struct spool_new_job *jobs, size_t count)
{
    int rc = 0;

    draft->jobs = pn_arena_alloc(&draft->arena, count * sizeof *draft->jobs);
    draft->job_count = count;
    if (!draft->jobs) {
        return PN_ENOSPACE;
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        pn_assert(jobs[i].queue.len > 0 && jobs[i].recipient_count > 0);
        rc = encode_job(draft, envelope, arrival_ms, &jobs[i], &draft->jobs[i]);
    }
    return rc < 0 ? rc : encode_message(draft, envelope, arrival_ms);
}

void spool_draft_store(struct spool_draft *draft, const struct mail_envelope *envelope,
                       int64_t arrival_ms, const struct spool_new_job *jobs, size_t count)
{
    pn_assert(count > 0);
    if (draft->state == SPOOL_DRAFT_FAILED) {
        return; /* its owner is about to be told */
    }
    pn_assert(draft->state == SPOOL_DRAFT_OPEN);
    draft->state = SPOOL_DRAFT_STORING;
    draft->kept_max = 0;
    if (encode(draft, envelope, arrival_ms, jobs, count) < 0) {
        /* A chunk under way reports the failure when it is answered. */
        draft->state = SPOOL_DRAFT_FAILED;
        if (!draft->busy) {
            fail_later(draft);
        }
    } else if (draft->busy) {
        draft->asked = true;
    } else if (draft->kept) {
        draft->asked = true;
        send_kept(draft);
    } else {
        store_now(draft);
    }
}

void spool_draft_free(struct spool_draft **pointer)
{
    struct spool_draft *draft = *pointer;

    *pointer = NULL;
    if (!draft) {
        return;
    }
    if (draft->busy) {
        draft->gone = true;
    } else {
        draft->on_disk = draft->on_disk && draft->state != SPOOL_DRAFT_STORED;
        leave(draft);
    }
}
