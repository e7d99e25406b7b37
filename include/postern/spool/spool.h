/*
 * spool/spool.h - held mail on disk: records, transactions, encryption, checks.
 *
 * Keys and rules are in DESIGN "The spool". A message exists with one batch (envelope, last
 * chunks, jobs, counters) and ends with one. All functions but the maker's may be called
 * from any loop's thread, and answer on the loop that is named in the request; requests
 * are embedded by their asker and belong to the spool until on_done. Nothing blocks.
 *
 * A body is text with CR LF line ends, without dot-stuffing, our trace header first, cut
 * into chunks of SPOOL_CHUNK_OCTETS (the last one is shorter).
 */
#ifndef POSTERN_SPOOL_SPOOL_H
#define POSTERN_SPOOL_SPOOL_H

#include "postern/base/arena.h"
#include "postern/base/log.h"
#include "postern/mail/envelope.h"
#include "postern/port/crypto.h"
#include "postern/port/files.h"
#include "postern/port/loop.h"
#include "postern/port/store.h"
#include "postern/queue/job.h"

#define SPOOL_CHUNK_OCTETS (256u << 10)
#define SPOOL_REPLY_MAX    1024        /* octets of a stored reply */
#define SPOOL_APART        PN_STR("b") /* for the store: keys whose values may lie apart */

struct spool;

struct spool_options {
    struct files *files;
    struct crypto *crypto;
    const char *path;         /* the spool directory; stores and keys lie below it */
    const char *key_file;     /* "" : bodies are not encrypted */
    uint64_t free_octets;     /* the reserve */
    const struct pn_log *log; /* copied */
};

/*
 * What happened to jobs and parked recipients, told on one loop after the sync. A job that
 * moves to another due time is REMOVED and ADDED; parked recipients that others join are
 * UNPARKED and PARKED. Adding up the notices since spool_read_counts gives its counters.
 */
struct spool_notice {
    enum { SPOOL_JOB_ADDED, SPOOL_JOB_REMOVED, SPOOL_PARKED, SPOOL_UNPARKED } kind;
    struct pn_str queue;
    struct queue_job job; /* for PARKED: id, size, recipients, arrival */
};
typedef void spool_notices_fn(void *owner, const struct spool_notice *notices, size_t count);

/* err: the key file cannot be read, is not a key, or has too wide permissions. */
struct spool *spool_new(const struct spool_options *options, struct pn_err *err);
void spool_free(struct spool **spool); /* after the store was closed */

/* For the maker of the store; then attach it. Before any other call. */
const struct store_events *spool_store_events(struct spool *spool);
void spool_attach(struct spool *spool, struct store *store);
/* Where notices go; loop is main's. */
void spool_observe(struct spool *spool, struct loop *loop, spool_notices_fn *fn, void *owner);

/*
 * Housekeeping, from main, every second: free space, day keys (today's and tomorrow's are
 * there before they are needed; empty days before today are shredded). Blocks briefly.
 * With encryption no message can be taken before the first call, which makes today's key.
 */
void spool_maintain(struct spool *spool, struct pn_wall wall);
void spool_set_free_octets(struct spool *spool, uint64_t free_octets);

/*
 * Queue time, as far as the spool knows: no arrival, try or order of an operator that is
 * durable is later than what is read at the next start. What passes while nothing happens is
 * kept with spool_keep_time, which may be lost. kept_ms: 0 when there is none, or
 * status is not 0 (PN_ECORRUPT: it is damaged, and there is none any more).
 */
typedef void spool_time_fn(void *owner, int status, int64_t kept_ms);
void spool_read_time(struct spool *spool, struct loop *loop, spool_time_fn *fn, void *owner);
void spool_keep_time(struct spool *spool, int64_t now_ms);

enum spool_readiness { SPOOL_READY, SPOOL_FULL, SPOOL_BROKEN };
enum spool_readiness spool_get_readiness(const struct spool *spool);

struct spool_status {
    enum spool_readiness readiness;
    uint64_t free_octets, total_octets; /* of the file system */
    uint64_t syncs, written_octets;
    uint64_t corrupt; /* records that did not add up since start */
    bool encrypted;
    char trouble[PN_ERR_TEXT_MAX]; /* "" or the last failure */
};
void spool_get_status(struct spool *spool, struct spool_status *out);

/* ---- taking a message in ---------------------------------------------------------- */

/*
 * A draft is a message that is being received. Text is written as it comes; full chunks go
 * to disk meanwhile. One chunk at most is under way: spool_draft_room says how much may be
 * written now, and on_event tells when that has changed, when the draft is stored and when
 * it has failed.
 */
struct spool_draft;
enum spool_draft_state {
    SPOOL_DRAFT_OPEN,
    SPOOL_DRAFT_STORING,
    SPOOL_DRAFT_STORED,
    SPOOL_DRAFT_FAILED
};
typedef void spool_draft_fn(void *owner);

/* A new job of the message. recipients are borrowed until spool_draft_store returns. */
struct spool_new_job {
    struct pn_str queue;
    const struct mail_recipient *recipients;
    size_t recipient_count;
    int64_t due_ms;       /* queue time */
    unsigned flags;       /* QUEUE_JOB_HELD with due QUEUE_DUE_NEVER */
    struct pn_str reason; /* why it is held, or "" */
};

struct spool_draft *spool_draft_new(struct spool *spool, struct loop *loop,
                                    const struct pn_id *id, spool_draft_fn *on_event,
                                    void *owner);
size_t spool_draft_room(const struct spool_draft *draft);
void spool_draft_write(struct spool_draft *draft, struct pn_str text); /* <= room */
uint64_t spool_draft_octets(const struct spool_draft *draft);          /* written so far */
/* Octets it holds in memory, but for the chunks that it was told to keep. */
size_t spool_draft_memory(const struct spool_draft *draft);
/*
 * So many full chunks may wait in memory instead of going to disk, since the message will
 * perhaps not be stored: none at first. What is too many goes to disk; spool_draft_store
 * writes all.
 */
void spool_draft_keep(struct spool_draft *draft, size_t chunks);
enum spool_draft_state spool_draft_get_state(const struct spool_draft *draft);

/*
 * Makes the message exist: all of it in one batch. size and chunks of the envelope are
 * filled in here; arrival_ms is queue time. When STORED comes the mail is ours.
 */
void spool_draft_store(struct spool_draft *draft, const struct mail_envelope *envelope,
                       int64_t arrival_ms, const struct spool_new_job *jobs, size_t count);

/* In any state. What is not stored is deleted (also when the store answers later). */
void spool_draft_free(struct spool_draft **draft);

/* ---- reading ---------------------------------------------------------------------- */

/* All queues and what is in them: read at start. */
struct spool_queue_count {
    struct pn_str queue;
    uint64_t jobs, octets, parked, parked_octets;
};
struct spool_counts;
typedef void spool_counts_fn(void *owner, int status, const struct spool_queue_count *counts,
                             size_t count);
void spool_read_counts(struct spool *spool, struct loop *loop, spool_counts_fn *fn,
                       void *owner);

/* A page of a queue's jobs in the order of (due, id). */
struct spool_cursor {
    int64_t due_ms;
    struct pn_id id;
};
/* jobs: those with key >= from and due <= until_ms, at most limit. end: there are no more. */
typedef void spool_page_fn(void *owner, int status, struct pn_str queue,
                           const struct queue_job *jobs, size_t count, bool end);
void spool_read_page(struct spool *spool, struct loop *loop, struct pn_str queue,
                     struct spool_cursor from, int64_t until_ms, size_t limit,
                     spool_page_fn *fn, void *owner);

/* A message, loaded for one of its jobs. Freed by who asked. */
struct spool_message {
    int status; /* 0; PN_ENOENT: the job is gone; PN_ECORRUPT, PN_EIO */
    struct pn_str queue;
    struct queue_job job;
    struct mail_envelope envelope;
    struct mail_recipient *recipients; /* of this job */
    size_t recipient_count;
    struct pn_str last_reply; /* of the last attempt, or the reason for being held */
    struct pn_str text;       /* the first chunk; all of the body when envelope.chunks == 1 */
    struct pn_arena arena;    /* where all that lives */
    struct spool_message *next;
};
void spool_message_free(struct spool_message **message);

struct spool_job_key {
    struct pn_str queue;
    int64_t due_ms;
    struct pn_id id;
};
/* messages: one for each key, in their order, linked by next; now the receiver's. */
typedef void spool_load_fn(void *owner, struct spool_message *messages);
void spool_load(struct spool *spool, struct loop *loop, const struct spool_job_key *keys,
                size_t count, spool_load_fn *fn, void *owner);

/* A later chunk of a body; text is borrowed, status as above. */
typedef void spool_chunk_fn(void *owner, int status, uint32_t number, struct pn_str text);
void spool_read_chunk(struct spool *spool, struct loop *loop, const struct pn_id *id,
                      uint32_t number, spool_chunk_fn *fn, void *owner);

/* ---- what became of a job --------------------------------------------------------- */

struct spool_parked_recipient {
    struct mail_recipient recipient;
    struct pn_str reason; /* the reply, or why else */
};

/*
 * The job's new state, in one batch: recipients that stay (with a new due time), recipients
 * that are parked, and the rest, who are done. Everything is copied by the call. A job that
 * is no longer there (an operator deleted it) stays gone. These writes never fail: they
 * wait until the store works.
 */
struct spool_settlement {
    struct spool_job_key key;
    /* All that the job had when it was loaded: an operator who has moved it since, or has
     * released parked recipients into it, does not undo what was delivered. None: it is
     * settled under `key` or not at all. */
    const struct mail_recipient *tried;
    size_t tried_count;
    const struct mail_recipient *stay;
    size_t stay_count;
    struct queue_job job; /* of those that stay: due, attempts, last try, flags */
    struct pn_str last_reply;
    const struct spool_parked_recipient *parked;
    size_t parked_count;
};
typedef void spool_done_fn(void *owner);
void spool_settle(struct spool *spool, struct loop *loop,
                  const struct spool_settlement *settlements, size_t count, spool_done_fn *fn,
                  void *owner);

/* ---- the operator ----------------------------------------------------------------- */

struct spool_filter {
    struct pn_str queue;  /* "" : all */
    struct pn_str sender; /* substrings, ASCII case ignored; "" : any */
    struct pn_str recipient;
    int64_t older_than_ms; /* age in queue time; 0: any */
    int64_t now_ms;
    bool parked; /* parked recipients instead of jobs */
    bool held_only;
    struct pn_id id; /* all zero: any */
};

/* One row of a listing: a message whose text is not loaded. */
typedef void spool_list_fn(void *owner, int status, struct spool_message *rows,
                           struct pn_str next);
/*
 * At most limit rows, and at most 20,000 records looked at. next: where to go on, "" at
 * the end; opaque. after: "" or an earlier next.
 */
void spool_list(struct spool *spool, struct loop *loop, const struct spool_filter *filter,
                struct pn_str after, size_t limit, spool_list_fn *fn, void *owner);

enum spool_verb {
    SPOOL_HOLD,    /* the job is HELD */
    SPOOL_RELEASE, /* a held job, or parked recipients, are due now */
    SPOOL_RETRY,   /* due now */
    SPOOL_DELETE,  /* gone, without a report */
    SPOOL_FORWARD, /* spool_forward's own */
};
/* changed: how many jobs or parked entries it was done to; fewer than filtered is no error. */
typedef void spool_verb_fn(void *owner, int status, size_t changed, struct pn_str next);
void spool_apply(struct spool *spool, struct loop *loop, enum spool_verb verb,
                 const struct spool_filter *filter, struct pn_str after, spool_verb_fn *fn,
                 void *owner);

/*
 * Parked entries (filter->parked must be set) become jobs of `queue` for one other recipient,
 * due now, each in one batch. Nobody is told what becomes of those: NOTIFY=NEVER.
 */
void spool_forward(struct spool *spool, struct loop *loop, const struct spool_filter *filter,
                   struct pn_str after, struct pn_str queue, struct pn_str recipient,
                   spool_verb_fn *fn, void *owner);

/* Adds flags (enum mail_flags) to a message's envelope; done when that is durable, or the
 * message is gone. Never fails: it waits until the store works. */
void spool_mark(struct spool *spool, struct loop *loop, const struct pn_id *id, unsigned flags,
                spool_done_fn *fn, void *owner);

/*
 * Everything about one message: its jobs and parked recipients, as rows of a listing.
 * PN_ENOENT: there is no such message. A parked row has the due time 0.
 */
void spool_show(struct spool *spool, struct loop *loop, const struct pn_id *id,
                spool_list_fn *fn, void *owner);

/* Verifies some messages, from where the last call ended; wraps around. For slow walks. */
typedef void spool_check_fn(void *owner, size_t checked, size_t bad, bool wrapped);
void spool_check(struct spool *spool, struct loop *loop, size_t messages, spool_check_fn *fn,
                 void *owner);

/*
 * Brings messages of another store (a repaired copy, opened by the caller) back as HELD
 * jobs: those that verify whole and are not in this spool. Told when done.
 */
struct spool_salvaged {
    size_t brought, there_already, bad;
    /* Jobs (and parked ones) of messages that are not there already: their records cannot be
     * decoded, or are missing beside others of a message that was brought. Each had recipients
     * that nobody knows any more. */
    size_t unread_jobs;
};
typedef void spool_salvage_fn(void *owner, int status, const struct spool_salvaged *salvaged);
void spool_salvage(struct spool *spool, struct store *from, struct loop *loop, int64_t now_ms,
                   spool_salvage_fn *fn, void *owner);

/* A new key file's content: one line of text. */
int spool_key_make(struct crypto *crypto, struct pn_buf *out) PN_WARN_UNUSED;

#endif
