/*
 * damage.c - records that do not add up.
 *
 * Nothing is dropped and nothing damaged is delivered. Whoever finds damage reports it;
 * the report becomes a write that looks again, moves the bad record under an `x` key,
 * and holds the message's jobs with the reason. A key of a day that is missing damages no
 * record: the jobs are held until the key is back and the operator releases them.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>

struct report {
    struct spool *spool;
    struct spool_damage damage;
    struct store_write write;
    bool moved;
    char queue[SPOOL_QUEUE_NAME_MAX];
    char reason[160];
};

static struct pn_str reason_of(const struct report *report)
{
    return pn_str_z(report->reason);
}

static void move_aside(struct store_batch *batch, const struct spool_key *key,
                       struct pn_str value)
{
    struct spool_key aside;

    spool_key_aside(&aside, spool_key_str(key));
    store_batch_put(batch, spool_key_str(&aside), value);
    store_batch_del(batch, spool_key_str(key));
}

/* Holds all jobs of writer.message that are not held yet. */
static void hold_jobs(struct report *report, struct store_batch *batch)
{
    struct spool *spool = report->spool;
    struct spool_writer *writer = &spool->writer;
    const struct pn_id *id = &report->damage.key.id;
    struct pn_str reason = reason_of(report);

    for (size_t i = 0; i < writer->message.jobs.count; i++) {
        struct spool_job_key at = {.queue = writer->message.jobs.items[i].queue,
                                   .due_ms = writer->message.jobs.items[i].due_ms,
                                   .id = *id};

        if (at.due_ms != QUEUE_DUE_NEVER &&
            spool_change_find_job(spool, batch, &at) == SPOOL_FOUND) {
            spool_change_move_job(spool, batch, &at, QUEUE_DUE_NEVER,
                                  writer->job.job.flags | QUEUE_JOB_HELD, &reason);
            report->moved = true;
        }
    }
    spool_change_keep_message(spool, batch, id);
}

static void move_chunk(struct report *report, struct store_batch *batch)
{
    struct spool *spool = report->spool;
    struct pn_buf *value = &spool->writer.chunk_value;
    const struct pn_id *id = &report->damage.key.id;
    uint32_t number = report->damage.number, day;
    struct spool_key key;
    struct pn_buf plain;
    struct pn_str text = PN_STR("");
    int rc;

    spool_key_of_body(&key, id, number);
    if (!store_batch_get(batch, spool_key_str(&key), value)) {
        hold_jobs(report, batch); /* it is not there at all */
        return;
    }
    pn_buf_init(&plain, STORE_VALUE_MAX);
    rc = spool_chunk_open(&spool->days, id, number, pn_buf_str(value), &plain, &text, &day);
    if (rc == PN_ECORRUPT ||
        (rc == 0 &&
         text.len != spool_chunk_length(spool->writer.message.envelope.size_octets, number))) {
        move_aside(batch, &key, pn_buf_str(value));
        report->moved = true;
        hold_jobs(report, batch);
    }
    pn_buf_fini(&plain);
}

/* The envelope is unreadable: its job, which names the recipients, is held under its key. */
static void move_message(struct report *report, struct store_batch *batch, bool there)
{
    struct spool *spool = report->spool;
    struct spool_writer *writer = &spool->writer;
    struct pn_str reason = reason_of(report);
    struct spool_key key;

    if (there) {
        spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &report->damage.key.id);
        move_aside(batch, &key, pn_buf_str(&writer->message_value));
        report->moved = true;
    }
    writer->message.jobs.count = 0;
    if (report->damage.key.queue.len > 0 && report->damage.key.due_ms != QUEUE_DUE_NEVER &&
        spool_change_find_job(spool, batch, &report->damage.key) == SPOOL_FOUND) {
        spool_change_move_job(spool, batch, &report->damage.key, QUEUE_DUE_NEVER,
                              writer->job.job.flags | QUEUE_JOB_HELD, &reason);
        report->moved = true;
    }
}

static void move_job(struct report *report, struct store_batch *batch)
{
    struct spool *spool = report->spool;
    const struct spool_job_key *at = &report->damage.key;
    struct spool_key key;

    if (spool_change_find_job(spool, batch, at) != SPOOL_BAD) {
        return;
    }
    spool_key_of_job(&key, at->queue, at->due_ms, &at->id);
    move_aside(batch, &key, pn_buf_str(&spool->writer.job_value));
    spool_change_counters(spool, batch, at->queue, (struct spool_delta){.jobs = -1});
    spool_change_note(spool, batch, SPOOL_JOB_REMOVED, at->queue,
                      &(struct queue_job){.id = at->id, .due_ms = at->due_ms});
    report->moved = true;
}

static void apply_report(struct store_write *write, struct store_batch *batch)
{
    struct report *report = PN_CONTAINER(write, struct report, write);
    struct spool *spool = report->spool;
    enum spool_found found;

    report->moved = false;
    if (report->damage.what == SPOOL_BAD_JOB) {
        move_job(report, batch);
        return;
    }
    found = spool_change_find_message(spool, batch, &report->damage.key.id);
    if (found != SPOOL_FOUND) {
        move_message(report, batch, found == SPOOL_BAD);
    } else if (report->damage.what == SPOOL_BAD_CHUNK) {
        move_chunk(report, batch);
    } else if (report->damage.what == SPOOL_NO_KEY) {
        hold_jobs(report, batch);
    }
}

static void on_reported(struct store_write *write)
{
    struct report *report = PN_CONTAINER(write, struct report, write);
    struct pn_log_line line;

    if (write->status == 0 && report->moved) {
        atomic_fetch_add(&report->spool->corrupt, 1);
        pn_log_begin(&line, &report->spool->log, PN_EV_SPOOL_CORRUPT);
        pn_log_id(&line, "qid", &report->damage.key.id);
        pn_log_str(&line, "what", reason_of(report));
        pn_log_end(&line);
    }
    free(report);
}

static void say_why(struct report *report)
{
    const struct spool_damage *damage = &report->damage;

    switch (damage->what) {
    case SPOOL_BAD_MESSAGE:
        (void)snprintf(report->reason, sizeof report->reason,
                       "the stored envelope is missing or does not verify");
        break;
    case SPOOL_BAD_CHUNK:
        (void)snprintf(report->reason, sizeof report->reason,
                       "the stored text does not verify (chunk %u)", (unsigned)damage->number);
        break;
    case SPOOL_BAD_JOB:
        (void)snprintf(report->reason, sizeof report->reason,
                       "the record of a job does not verify; its recipients are kept aside");
        break;
    case SPOOL_NO_KEY:
        (void)snprintf(report->reason, sizeof report->reason,
                       "the key of %08u is missing or unreadable; put it back, restart and "
                       "release the message",
                       (unsigned)damage->day);
        break;
    }
}

void spool_damage_report(struct spool *spool, const struct spool_damage *damage)
{
    struct report *report = PN_NEW(struct report);

    pn_assert(damage->key.queue.len <= sizeof report->queue);
    report->spool = spool;
    report->damage = *damage;
    for (size_t i = 0; i < damage->key.queue.len; i++) {
        report->queue[i] = damage->key.queue.ptr[i];
    }
    report->damage.key.queue.ptr = report->queue;
    say_why(report);
    report->write = (struct store_write){.apply = apply_report, .on_done = on_reported};
    store_submit(spool->store, &report->write);
}
