/*
 * store_priv.h - the store's threads: what they share, and what each has for itself.
 */
#ifndef POSTERN_STORE_STORE_PRIV_H
#define POSTERN_STORE_STORE_PRIV_H

#include "group_priv.h"

#include <pthread.h>
#include <stdatomic.h>

struct store_writes {
    struct store_write *head;
    struct store_write *tail;
    size_t count;
};

struct store_reads {
    struct store_read *head;
    struct store_read *tail;
};

/* How the writer's thread sleeps: it tells who has to wake it. */
enum store_sleep { STORE_AWAKE, STORE_SLEEPS, STORE_SLEEPS_FOR_LAZY };

struct store_leveldb {
    struct store port; /* first */
    struct store_events events;
    struct store_handle handle;
    pthread_t writer;
    pthread_t reader;

    pthread_mutex_t lock; /* for all that follows up to the next blank line */
    pthread_cond_t for_writer;
    pthread_cond_t for_reader;
    struct store_writes queue;
    size_t eager;                /* of the queue, those that are not lazy */
    struct timespec lazy_until;  /* when the oldest lazy one has waited enough */
    struct store_writes refused; /* without a loop: the writer's thread answers them */
    struct store_reads reads;
    enum store_sleep sleep;
    bool reading; /* the reader's thread is inside LevelDB */
    bool ending;
    struct pn_err failure; /* why `failed` */

    atomic_bool failed; /* nobody may use the handle any more */
    atomic_int state;   /* enum store_state */
    atomic_uint_fast64_t syncs;
    atomic_uint_fast64_t written;

    struct store_group group;  /* from here on: the writer's thread */
    struct store_writes taken; /* from the queue, not yet applied */
    struct store_writes applied;
    struct store_tag *tags; /* of the writes that failed */
    size_t tag_count, tag_cap;
    bool suspect; /* what failed was a checksum: open without them */
    struct timespec ballast_checked;
};

void store_writes_push(struct store_writes *writes, struct store_write *write);
struct store_write *store_writes_pop(struct store_writes *writes);
void store_writes_join(struct store_writes *writes, struct store_writes *behind);
/* Posts all of them back to their loops, one task for each loop, and empties the list. */
void store_writes_answer(struct store_writes *writes);

/* Called with any error: from now on nobody uses the handle. */
void store_leveldb_fail(struct store_leveldb *store, const struct pn_err *err);
struct timespec store_time_after(int64_t ms);

void *store_writer_main(void *store);
void *store_reader_main(void *store);

#endif
