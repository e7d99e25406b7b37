/*
 * spool_priv.h - what the parts of the spool share.
 *
 * Three kinds of code touch it. On the writer's thread: whatever an apply, on_heal or
 * on_batch calls; it alone uses `writer`. On the reader's thread: what a read's run calls.
 * On loops: the public functions and completions. What several of them need is atomic, or
 * behind `lock`, or never changes after spool_new.
 */
#ifndef POSTERN_SPOOL_SPOOL_PRIV_H
#define POSTERN_SPOOL_SPOOL_PRIV_H

#include "chunk_priv.h"
#include "days_priv.h"
#include "records_priv.h"

#include <pthread.h>
#include <stdatomic.h>

/* Notices; the queues' names live in the arena. */
struct spool_news {
    struct spool_notice *items;
    size_t count, cap;
    struct pn_arena names;
};

/* Memory that the writer's thread uses again and again. */
struct spool_writer {
    struct pn_buf message_value, job_value, parked_value, chunk_value, small_value, out;
    struct spool_message_record message;
    struct spool_job_record job, parked;
    struct spool_news news;  /* of the batch that is being built */
    struct spool_news limbo; /* of a batch that failed: it may be durable all the same */
    struct spool_news owed;  /* of one that turned out to be so */
    uint64_t number;         /* of the batch that is being built, and of the one in limbo */
    uint64_t limbo_number;
    int64_t time_ms; /* that the store has, with the batch that is being built; 0: unknown */
};

struct spool {
    struct files *files;
    struct crypto *crypto;
    char *path;
    struct pn_log log;
    struct store *store;
    struct store_events events;
    uint64_t run; /* names this start of the daemon */
    struct spool_days days;
    struct spool_writer writer;

    atomic_bool full;
    atomic_bool was_open;
    atomic_uint_fast64_t corrupt;
    atomic_uint_fast64_t free_octets, total_octets, reserve_octets;

    pthread_mutex_t lock; /* for the rest of this paragraph */
    struct loop *observer_loop;
    spool_notices_fn *on_notices;
    void *observer;
    char trouble[PN_ERR_TEXT_MAX];
    struct pn_id check_id; /* where the slow check goes on, behind this chunk of it */
    uint32_t check_chunk;

    int64_t space_asked_ms; /* from here on: main's thread, in spool_maintain */
    int64_t days_asked_ms;
    bool sweeping, swept, days_failed;
};

/* ---- changes, on the writer's thread ----------------------------------------------------- */

struct spool_delta {
    int64_t jobs, octets, parked, parked_octets;
};
void spool_change_counters(struct spool *spool, struct store_batch *batch, struct pn_str queue,
                           struct spool_delta delta);
void spool_change_day(struct spool *spool, struct store_batch *batch, uint32_t day, int by);
/* The store shall know that queue time was here. */
void spool_change_time(struct spool *spool, struct store_batch *batch, int64_t time_ms);
void spool_change_note(struct spool *spool, struct store_batch *batch, int kind,
                       struct pn_str queue, const struct queue_job *job);
/* Finds out what became of the notices in limbo. Does nothing when there are none. */
void spool_change_settle_limbo(struct spool *spool, struct store_batch *batch);

enum spool_found { SPOOL_FOUND, SPOOL_MISSING, SPOOL_BAD };
/* Into writer.message, .job and .parked; each borrows from the writer's buffer. */
enum spool_found spool_change_find_message(struct spool *spool, struct store_batch *batch,
                                           const struct pn_id *id);
enum spool_found spool_change_find_job(struct spool *spool, struct store_batch *batch,
                                       const struct spool_job_key *key);
enum spool_found spool_change_find_parked(struct spool *spool, struct store_batch *batch,
                                          struct pn_str queue, const struct pn_id *id);

/* Writes writer.message back, or ends the message when it has no places any more. */
void spool_change_keep_message(struct spool *spool, struct store_batch *batch,
                               const struct pn_id *id);
/* Puts writer.job under a key (with counters and a notice), or takes it away. */
void spool_change_put_job(struct spool *spool, struct store_batch *batch,
                          const struct spool_job_key *key);
void spool_change_drop_job(struct spool *spool, struct store_batch *batch,
                           const struct spool_job_key *key);
/* The same of writer.parked. */
void spool_change_put_parked(struct spool *spool, struct store_batch *batch,
                             struct pn_str queue, const struct pn_id *id);
void spool_change_drop_parked(struct spool *spool, struct store_batch *batch,
                              struct pn_str queue, const struct pn_id *id);
/* A parked record that does not verify makes room for one that does. */
void spool_change_move_parked_aside(struct spool *spool, struct store_batch *batch,
                                    struct pn_str queue, const struct pn_id *id);
void spool_change_delete_body(struct store_batch *batch, const struct pn_id *id,
                              uint32_t chunks);
/* A job of writer.message moves to another due time: places, records, counters, notices. */
void spool_change_move_job(struct spool *spool, struct store_batch *batch,
                           const struct spool_job_key *key, int64_t due_ms, unsigned flags,
                           const struct pn_str *last_reply);
/* Removes a message and all that belongs to it, half written or whole. */
void spool_change_erase(struct spool *spool, struct store_batch *batch, const struct pn_id *id);

void spool_writer_init(struct spool_writer *writer);
void spool_writer_fini(struct spool_writer *writer);
void spool_news_reset(struct spool_news *news);
/* Moves all of `from` to the end of `to`. */
void spool_news_move(struct spool_news *to, struct spool_news *from);

/* ---- what does not add up ---------------------------------------------------------------- */

/* What is wrong with a message. number: the bad chunk. */
struct spool_damage {
    enum { SPOOL_BAD_MESSAGE, SPOOL_BAD_CHUNK, SPOOL_BAD_JOB, SPOOL_NO_KEY } what;
    struct spool_job_key key; /* where it was seen; queue "" when not by a job */
    uint32_t number;
    uint32_t day; /* of the missing key */
};
/* Looks again and, if it is so, keeps the bad record aside and holds the jobs. Any thread. */
void spool_damage_report(struct spool *spool, const struct spool_damage *damage);

/* ---- reading, on the reader's thread ----------------------------------------------------- */

/*
 * Reads what a listing shows of a job or a parked entry into a new message: all but the
 * text. With damage: what was wrong with it, when status says PN_ECORRUPT.
 */
struct spool_message *spool_read_row(struct store_view *view, const struct spool_job_key *key,
                                     bool parked, struct spool_damage *damage);
struct spool_message *spool_message_new(struct pn_str queue);

/* One matching place of a scan. */
typedef void spool_match_fn(void *owner, const struct spool_job_key *key,
                            struct spool_message *row);
struct spool_scan {
    struct spool_filter filter; /* strings owned by the scan's owner */
    struct pn_str after;        /* hexadecimal, as in spool_list */
    size_t limit;
    struct pn_buf next; /* out: where to go on, hexadecimal; empty at the end */
};
/* Calls fn for each match; fn owns the row. */
void spool_scan_run(struct spool_scan *scan, struct store_view *view, spool_match_fn *fn,
                    void *owner);
void spool_filter_copy(struct spool_filter *to, const struct spool_filter *from,
                       struct pn_arena *arena);

/* Starts erasing what an earlier run left half written. Main's thread. */
void spool_sweep_start(struct spool *spool, struct loop *loop);
/* Starts asking which of the old days have no messages any more. Main's thread. */
void spool_days_ask(struct spool *spool, struct loop *loop);

#endif
