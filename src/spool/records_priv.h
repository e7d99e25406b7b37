/*
 * records_priv.h - what the spool's keys and values look like. Pure.
 *
 * Every value begins with a version octet and, but for body chunks, ends with a checksum of
 * what stands before it. Numbers are big-endian, strings have their length in front. A
 * decoder takes any octets whatever: it says false, or everything it hands out is in bounds.
 */
#ifndef POSTERN_SPOOL_RECORDS_PRIV_H
#define POSTERN_SPOOL_RECORDS_PRIV_H

#include "postern/base/buf.h"
#include "postern/spool/spool.h"

#define SPOOL_QUEUE_NAME_MAX 512
#define SPOOL_KEY_MAX        (1 + SPOOL_QUEUE_NAME_MAX + 1 + 8 + PN_ID_OCTETS + 1)
#define SPOOL_HASH_OCTETS    16 /* of the SHA-256 in an unencrypted chunk */

enum spool_key_kind {
    SPOOL_KEY_MESSAGE = 'm',
    SPOOL_KEY_BODY = 'b',
    SPOOL_KEY_JOB = 'j',
    SPOOL_KEY_PARKED = 'k',
    SPOOL_KEY_PARTIAL = 'p',
    SPOOL_KEY_COUNTERS = 'c',
    SPOOL_KEY_DAY = 'd',
    SPOOL_KEY_ASIDE = 'x',
    SPOOL_KEY_SEQUENCE = 's', /* the number of the last batch that had notices */
    SPOOL_KEY_TIME = 't',     /* the latest queue time of all that is here */
};

/* A key in the making. */
struct spool_key {
    size_t len;
    char octets[SPOOL_KEY_MAX];
};

static inline struct pn_str spool_key_str(const struct spool_key *key)
{
    return (struct pn_str){key->octets, key->len};
}

/* kind is one whose key is kind and id: MESSAGE, PARTIAL. */
void spool_key_of_id(struct spool_key *key, enum spool_key_kind kind, const struct pn_id *id);
void spool_key_of_body(struct spool_key *key, const struct pn_id *id, uint32_t number);
void spool_key_of_job(struct spool_key *key, struct pn_str queue, int64_t due_ms,
                      const struct pn_id *id);
void spool_key_of_parked(struct spool_key *key, struct pn_str queue, const struct pn_id *id);
void spool_key_of_counters(struct spool_key *key, struct pn_str queue);
void spool_key_of_day(struct spool_key *key, uint32_t day);
/* What all jobs (or parked recipients) of a queue begin with, or of all queues. */
void spool_key_prefix(struct spool_key *key, enum spool_key_kind kind, struct pn_str queue);
/* The first key behind everything of the queue. */
void spool_key_behind(struct spool_key *key, enum spool_key_kind kind, struct pn_str queue);
void spool_key_aside(struct spool_key *key, struct pn_str other);

bool spool_key_parse_id(struct pn_str key, enum spool_key_kind kind, struct pn_id *out);
/* out_queue borrows from key; due_ms is 0 for parked ones. */
bool spool_key_parse_job(struct pn_str key, enum spool_key_kind kind,
                         struct spool_job_key *out);

/* ---- values ------------------------------------------------------------------------------ */

/* Where a message has a job, or parked recipients (then due_ms is 0). */
struct spool_place {
    struct pn_str queue;
    int64_t due_ms;
};
struct spool_places {
    struct spool_place *items; /* owned */
    size_t count, cap;
};

struct spool_message_record {
    struct mail_envelope envelope; /* without the id, which is in the key */
    int64_t arrival_ms;            /* queue time */
    uint32_t day;                  /* of its key, 20261121; 0: not encrypted */
    struct spool_places jobs, parked;
};

struct spool_recipients {
    struct spool_parked_recipient *items; /* owned; what they borrow is not */
    size_t count, cap;
};

/* A job, or what is parked of it. */
struct spool_job_record {
    struct queue_job job; /* id and due_ms are in the key */
    struct pn_str last_reply;
    struct spool_recipients recipients;
};

struct spool_counters {
    uint64_t jobs, octets, parked, parked_octets;
};

struct spool_partial_record {
    uint64_t run;    /* which start of the daemon it belongs to */
    uint32_t chunks; /* how many are written */
    uint32_t day;
};

/* Encoders append to out; PN_ENOSPACE when it does not fit. Decoders may be used again on
 * the same struct, and keep its memory; fini gives that back. */
int spool_message_encode(const struct spool_message_record *record,
                         struct pn_buf *out) PN_WARN_UNUSED;
bool spool_message_decode(struct pn_str value, struct spool_message_record *out);
void spool_message_record_fini(struct spool_message_record *record);

/* reason_max: longer reasons are cut. */
int spool_job_encode(const struct spool_job_record *record, size_t reason_max,
                     struct pn_buf *out) PN_WARN_UNUSED;
/* The same of plain recipients, without reasons. */
int spool_job_encode_new(const struct queue_job *job, struct pn_str last_reply,
                         const struct mail_recipient *recipients, size_t count,
                         struct pn_buf *out) PN_WARN_UNUSED;
bool spool_job_decode(struct pn_str value, struct spool_job_record *out);
void spool_job_record_fini(struct spool_job_record *record);

void spool_places_add(struct spool_places *places, struct pn_str queue, int64_t due_ms);
void spool_places_remove(struct spool_places *places, size_t index);
/* The index of the queue's (first) place, or count. */
size_t spool_places_find(const struct spool_places *places, struct pn_str queue);
void spool_recipients_add(struct spool_recipients *recipients,
                          const struct spool_parked_recipient *recipient);

int spool_counters_encode(const struct spool_counters *counters,
                          struct pn_buf *out) PN_WARN_UNUSED;
bool spool_counters_decode(struct pn_str value, struct spool_counters *out);
int spool_partial_encode(const struct spool_partial_record *record,
                         struct pn_buf *out) PN_WARN_UNUSED;
bool spool_partial_decode(struct pn_str value, struct spool_partial_record *out);
int spool_number_encode(uint64_t number, struct pn_buf *out) PN_WARN_UNUSED;
bool spool_number_decode(struct pn_str value, uint64_t *out);

/* How many chunks a body of that size has; an empty one has one empty chunk. */
uint32_t spool_chunks_of(uint64_t size_octets);

#endif
