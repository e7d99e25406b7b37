/*
 * change.c - changes of records inside a batch, on the writer's thread.
 *
 * A message lives while it has places: jobs, or parked recipients. Its own record lists
 * them, so that everything about an id is found without a second index, and whoever takes
 * the last place away removes the rest in the same batch. Counters and notices are kept
 * here and nowhere else: a record cannot come or go without both.
 *
 * Everything looks at the records as the batch sees them now, so that applying a change a
 * second time (after a failure) finds its work done, and does nothing.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define NAMES_OCTETS ((size_t)64 << 20)

void spool_writer_init(struct spool_writer *writer)
{
    *writer = (struct spool_writer){0};
    pn_buf_init(&writer->message_value, STORE_VALUE_MAX);
    pn_buf_init(&writer->job_value, STORE_VALUE_MAX);
    pn_buf_init(&writer->parked_value, STORE_VALUE_MAX);
    pn_buf_init(&writer->chunk_value, STORE_VALUE_MAX);
    pn_buf_init(&writer->small_value, STORE_VALUE_MAX);
    pn_buf_init(&writer->out, STORE_VALUE_MAX);
    pn_arena_init(&writer->news.names, NAMES_OCTETS);
    pn_arena_init(&writer->limbo.names, NAMES_OCTETS);
    pn_arena_init(&writer->owed.names, NAMES_OCTETS);
}

static void fini_news(struct spool_news *news)
{
    pn_arena_fini(&news->names);
    free(news->items);
}

void spool_writer_fini(struct spool_writer *writer)
{
    pn_buf_fini(&writer->message_value);
    pn_buf_fini(&writer->job_value);
    pn_buf_fini(&writer->parked_value);
    pn_buf_fini(&writer->chunk_value);
    pn_buf_fini(&writer->small_value);
    pn_buf_fini(&writer->out);
    spool_message_record_fini(&writer->message);
    spool_job_record_fini(&writer->job);
    spool_job_record_fini(&writer->parked);
    fini_news(&writer->news);
    fini_news(&writer->limbo);
    fini_news(&writer->owed);
}

void spool_news_reset(struct spool_news *news)
{
    news->count = 0;
    pn_arena_reset(&news->names);
}

/* ---- counters and notices ---------------------------------------------------------------- */

static void add(uint64_t *number, int64_t by)
{
    if (by >= 0) {
        *number += (uint64_t)by;
    } else {
        /* A counter that was lost to a bad block must not wrap around. */
        *number -= *number < (uint64_t)-by ? *number : (uint64_t)-by;
    }
}

void spool_change_counters(struct spool *spool, struct store_batch *batch, struct pn_str queue,
                           struct spool_delta delta)
{
    struct pn_buf *value = &spool->writer.small_value;
    struct spool_counters counters = {0};
    struct spool_key key;

    spool_key_of_counters(&key, queue);
    if (store_batch_get(batch, spool_key_str(&key), value) &&
        !spool_counters_decode(pn_buf_str(value), &counters)) {
        counters = (struct spool_counters){0};
    }
    add(&counters.jobs, delta.jobs);
    add(&counters.octets, delta.octets);
    add(&counters.parked, delta.parked);
    add(&counters.parked_octets, delta.parked_octets);
    if (counters.jobs == 0 && counters.parked == 0) {
        store_batch_del(batch, spool_key_str(&key));
        return;
    }
    pn_buf_clear(value);
    pn_assert(spool_counters_encode(&counters, value) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(value));
}

void spool_change_day(struct spool *spool, struct store_batch *batch, uint32_t day, int by)
{
    struct pn_buf *value = &spool->writer.small_value;
    struct spool_key key;
    uint64_t count = 0;

    if (day == 0) {
        return;
    }
    spool_key_of_day(&key, day);
    if (store_batch_get(batch, spool_key_str(&key), value) &&
        !spool_number_decode(pn_buf_str(value), &count)) {
        return; /* an unknown number stays: a day's key must not be shredded by mistake */
    }
    add(&count, by);
    if (count == 0) {
        store_batch_del(batch, spool_key_str(&key));
        return;
    }
    pn_buf_clear(value);
    pn_assert(spool_number_encode(count, value) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(value));
}

static void add_notice(struct spool_news *news, int kind, struct pn_str queue,
                       const struct queue_job *job)
{
    struct spool_notice *notice;

    if (news->count == news->cap) {
        news->cap = news->cap ? news->cap * 2 : 64;
        news->items = pn_realloc(news->items, news->cap * sizeof *news->items);
    }
    notice = &news->items[news->count];
    notice->kind = kind;
    notice->job = *job;
    if (news->count > 0 && pn_str_eq(notice[-1].queue, queue)) {
        notice->queue = notice[-1].queue;
    } else {
        pn_assert(pn_arena_copy(&news->names, queue, &notice->queue) == 0);
    }
    news->count++;
}

void spool_news_move(struct spool_news *to, struct spool_news *from)
{
    for (size_t i = 0; i < from->count; i++) {
        add_notice(to, (int)from->items[i].kind, from->items[i].queue, &from->items[i].job);
    }
    spool_news_reset(from);
}

/*
 * A batch that failed is lost, or durable although it seemed not to be; a batch is never
 * there in part. So each batch with notices writes its number, and the next one looks
 * which number is there: the observer's counts stay those of the store.
 */
void spool_change_settle_limbo(struct spool *spool, struct store_batch *batch)
{
    struct spool_writer *writer = &spool->writer;
    uint64_t number;

    if (writer->limbo.count == 0) {
        return;
    }
    if (store_batch_get(batch, PN_STR("s"), &writer->small_value) &&
        spool_number_decode(pn_buf_str(&writer->small_value), &number) &&
        number == writer->limbo_number) {
        spool_news_move(&writer->owed, &writer->limbo);
    } else {
        spool_news_reset(&writer->limbo);
    }
}

void spool_change_note(struct spool *spool, struct store_batch *batch, int kind,
                       struct pn_str queue, const struct queue_job *job)
{
    struct spool_writer *writer = &spool->writer;

    if (writer->news.count == 0) {
        spool_change_settle_limbo(spool, batch);
        writer->number++;
        pn_buf_clear(&writer->small_value);
        pn_assert(spool_number_encode(writer->number, &writer->small_value) == 0);
        store_batch_put(batch, PN_STR("s"), pn_buf_str(&writer->small_value));
    }
    spool_change_time(spool, batch, job->arrival_ms);
    spool_change_time(spool, batch, job->last_try_ms);
    add_notice(&writer->news, kind, queue, job);
}

/* ---- finding ----------------------------------------------------------------------------- */

enum spool_found spool_change_find_message(struct spool *spool, struct store_batch *batch,
                                           const struct pn_id *id)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_key key;

    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, id);
    if (!store_batch_get(batch, spool_key_str(&key), &writer->message_value)) {
        return SPOOL_MISSING;
    }
    return spool_message_decode(pn_buf_str(&writer->message_value), &writer->message)
               ? SPOOL_FOUND
               : SPOOL_BAD;
}

enum spool_found spool_change_find_job(struct spool *spool, struct store_batch *batch,
                                       const struct spool_job_key *at)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_key key;

    spool_key_of_job(&key, at->queue, at->due_ms, &at->id);
    if (!store_batch_get(batch, spool_key_str(&key), &writer->job_value)) {
        return SPOOL_MISSING;
    }
    if (!spool_job_decode(pn_buf_str(&writer->job_value), &writer->job)) {
        return SPOOL_BAD;
    }
    writer->job.job.id = at->id;
    writer->job.job.due_ms = at->due_ms;
    return SPOOL_FOUND;
}

enum spool_found spool_change_find_parked(struct spool *spool, struct store_batch *batch,
                                          struct pn_str queue, const struct pn_id *id)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_key key;

    spool_key_of_parked(&key, queue, id);
    if (!store_batch_get(batch, spool_key_str(&key), &writer->parked_value)) {
        return SPOOL_MISSING;
    }
    if (!spool_job_decode(pn_buf_str(&writer->parked_value), &writer->parked)) {
        return SPOOL_BAD;
    }
    writer->parked.job.id = *id;
    return SPOOL_FOUND;
}

/* ---- messages ---------------------------------------------------------------------------- */

void spool_change_delete_body(struct store_batch *batch, const struct pn_id *id,
                              uint32_t chunks)
{
    for (uint32_t i = 0; i < chunks; i++) {
        struct spool_key key;

        spool_key_of_body(&key, id, i);
        store_batch_del(batch, spool_key_str(&key));
    }
}

static void end_message(struct spool *spool, struct store_batch *batch, const struct pn_id *id)
{
    const struct spool_message_record *message = &spool->writer.message;
    struct spool_key key;

    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, id);
    store_batch_del(batch, spool_key_str(&key));
    spool_change_delete_body(batch, id, message->envelope.chunks);
    spool_change_day(spool, batch, message->day, -1);
}

void spool_change_keep_message(struct spool *spool, struct store_batch *batch,
                               const struct pn_id *id)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_key key;

    if (writer->message.jobs.count == 0 && writer->message.parked.count == 0) {
        end_message(spool, batch, id);
        return;
    }
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, id);
    pn_buf_clear(&writer->out);
    pn_assert(spool_message_encode(&writer->message, &writer->out) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(&writer->out));
}

/* ---- jobs and parked recipients
 * --------------------------------------------------------------- */

void spool_change_put_job(struct spool *spool, struct store_batch *batch,
                          const struct spool_job_key *at)
{
    struct spool_writer *writer = &spool->writer;
    struct queue_job *job = &writer->job.job;
    struct spool_key key;

    job->id = at->id;
    job->due_ms = at->due_ms;
    job->recipients = (uint32_t)writer->job.recipients.count;
    spool_key_of_job(&key, at->queue, at->due_ms, &at->id);
    pn_buf_clear(&writer->out);
    pn_assert(spool_job_encode(&writer->job, 0, &writer->out) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(&writer->out));
    spool_change_counters(spool, batch, at->queue,
                          (struct spool_delta){.jobs = 1, .octets = (int64_t)job->size_octets});
    spool_change_note(spool, batch, SPOOL_JOB_ADDED, at->queue, job);
}

void spool_change_drop_job(struct spool *spool, struct store_batch *batch,
                           const struct spool_job_key *at)
{
    struct queue_job *job = &spool->writer.job.job;
    struct spool_key key;

    job->id = at->id;
    job->due_ms = at->due_ms;
    spool_key_of_job(&key, at->queue, at->due_ms, &at->id);
    store_batch_del(batch, spool_key_str(&key));
    spool_change_counters(
        spool, batch, at->queue,
        (struct spool_delta){.jobs = -1, .octets = -(int64_t)job->size_octets});
    spool_change_note(spool, batch, SPOOL_JOB_REMOVED, at->queue, job);
}

void spool_change_put_parked(struct spool *spool, struct store_batch *batch,
                             struct pn_str queue, const struct pn_id *id)
{
    struct spool_writer *writer = &spool->writer;
    struct queue_job *job = &writer->parked.job;
    size_t reason_max = SPOOL_REPLY_MAX;
    struct spool_key key;

    job->id = *id;
    job->due_ms = 0;
    job->recipients = (uint32_t)writer->parked.recipients.count;
    spool_key_of_parked(&key, queue, id);
    /* Very many recipients with very long reasons: the recipients matter more. */
    do {
        pn_buf_clear(&writer->out);
        if (spool_job_encode(&writer->parked, reason_max, &writer->out) == 0) {
            break;
        }
        pn_assert(reason_max > 0);
        reason_max /= 16;
    } while (true);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(&writer->out));
    spool_change_counters(
        spool, batch, queue,
        (struct spool_delta){.parked = 1, .parked_octets = (int64_t)job->size_octets});
    spool_change_note(spool, batch, SPOOL_PARKED, queue, job);
}

void spool_change_drop_parked(struct spool *spool, struct store_batch *batch,
                              struct pn_str queue, const struct pn_id *id)
{
    struct queue_job *job = &spool->writer.parked.job;
    struct spool_key key;

    job->id = *id;
    spool_key_of_parked(&key, queue, id);
    store_batch_del(batch, spool_key_str(&key));
    spool_change_counters(
        spool, batch, queue,
        (struct spool_delta){.parked = -1, .parked_octets = -(int64_t)job->size_octets});
    spool_change_note(spool, batch, SPOOL_UNPARKED, queue, job);
}

void spool_change_move_parked_aside(struct spool *spool, struct store_batch *batch,
                                    struct pn_str queue, const struct pn_id *id)
{
    struct spool_key key, aside;

    spool_key_of_parked(&key, queue, id);
    spool_key_aside(&aside, spool_key_str(&key));
    store_batch_put(batch, spool_key_str(&aside), pn_buf_str(&spool->writer.parked_value));
    store_batch_del(batch, spool_key_str(&key));
    spool_change_counters(spool, batch, queue, (struct spool_delta){.parked = -1});
    spool_change_note(spool, batch, SPOOL_UNPARKED, queue, &(struct queue_job){.id = *id});
}

void spool_change_move_job(struct spool *spool, struct store_batch *batch,
                           const struct spool_job_key *at, int64_t due_ms, unsigned flags,
                           const struct pn_str *last_reply)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_places *places = &writer->message.jobs;
    struct spool_job_key to = {.queue = at->queue, .due_ms = due_ms, .id = at->id};
    size_t place = spool_places_find(places, at->queue);

    if (spool_change_find_job(spool, batch, at) != SPOOL_FOUND) {
        return;
    }
    writer->job.job.flags |= QUEUE_JOB_MOVED;
    spool_change_drop_job(spool, batch, at);
    writer->job.job.flags = flags;
    if (last_reply) {
        writer->job.last_reply = *last_reply;
    }
    spool_change_put_job(spool, batch, &to);
    if (place < places->count) {
        places->items[place].due_ms = due_ms;
    }
}

/* ---- the end of a message, whatever is there of it
 * --------------------------------------------- */

static void erase_places(struct spool *spool, struct store_batch *batch, const struct pn_id *id)
{
    struct spool_writer *writer = &spool->writer;

    for (size_t i = 0; i < writer->message.jobs.count; i++) {
        struct spool_job_key at = {.queue = writer->message.jobs.items[i].queue,
                                   .due_ms = writer->message.jobs.items[i].due_ms,
                                   .id = *id};

        if (spool_change_find_job(spool, batch, &at) != SPOOL_MISSING) {
            spool_change_drop_job(spool, batch, &at);
        }
    }
    for (size_t i = 0; i < writer->message.parked.count; i++) {
        struct pn_str queue = writer->message.parked.items[i].queue;

        if (spool_change_find_parked(spool, batch, queue, id) != SPOOL_MISSING) {
            spool_change_drop_parked(spool, batch, queue, id);
        }
    }
}

void spool_change_erase(struct spool *spool, struct store_batch *batch, const struct pn_id *id)
{
    struct pn_buf *value = &spool->writer.small_value;
    struct spool_partial_record partial;
    struct spool_key key;

    if (spool_change_find_message(spool, batch, id) == SPOOL_FOUND) {
        erase_places(spool, batch, id);
        end_message(spool, batch, id);
    }
    spool_key_of_id(&key, SPOOL_KEY_PARTIAL, id);
    if (store_batch_get(batch, spool_key_str(&key), value)) {
        store_batch_del(batch, spool_key_str(&key));
        if (spool_partial_decode(pn_buf_str(value), &partial)) {
            spool_change_delete_body(batch, id, partial.chunks);
            spool_change_day(spool, batch, partial.day, -1);
        }
    }
}
