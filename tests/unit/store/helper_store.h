/*
 * helper_store.h - a store in a directory of its own, written and read by the test's thread.
 */
#ifndef POSTERN_TEST_STORE_HELPER_STORE_H
#define POSTERN_TEST_STORE_HELPER_STORE_H

#include "helper_loop.h"

#include "postern/store/leveldb.h"

#include <semaphore.h>

#define TAGS 64

struct fixture {
    char directory[512];
    char path[600];
    struct test_loop loop;
    struct store *store;
    struct store_options options;
    struct store_events events;
    /* On the writer's thread; read by the test after an answer that came behind it. */
    size_t batches, lost_batches, reopened, opened;
    char reason[PN_ERR_TEXT_MAX];
    struct store_tag tags[TAGS];
    size_t tag_count;
    size_t heals;
    sem_t healed;
};

/* Small, synced, without `apart` keys; fixture->options may be changed, and it opened again. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);
void fixture_open(struct fixture *fixture);

/* A write that puts, or deletes, or adds to a number under a key. */
struct change {
    struct store_write write;
    enum { PUT, DEL, ADD, WAIT } what;
    struct pn_str key;
    struct pn_str value;
    struct pn_str to;   /* ADD: where the sum goes, if not under the key */
    char digit;         /* the sum */
    sem_t *inside, *go; /* WAIT: says that the writer is here, and holds it */
    size_t *done;
    unsigned *order; /* counts answers */
    unsigned place;
    unsigned applied;
    int status;
};

/* Answered on the fixture's loop, when the change names no other. */
void fixture_submit(struct fixture *fixture, struct change *change, size_t *done);
/* Waits; returns the status. */
int fixture_put(struct fixture *fixture, const char *key, const char *value);
int fixture_del(struct fixture *fixture, const char *key);
/* 1 and *out, 0, or an error; the caller ends *out in each case. */
int fixture_find(struct fixture *fixture, const char *key, struct pn_buf *out);
/* NULL: the key is not there. */
void fixture_expect(struct fixture *fixture, const char *key, const char *value);

/* Holds the writer inside an apply, so that what is submitted meanwhile gathers. */
struct gate {
    struct change change;
    sem_t inside, go;
    size_t done;
};
void gate_close(struct fixture *fixture, struct gate *gate);
void gate_open(struct gate *gate);

/* Makes the first block of a table rotten; the store must be closed. */
void fixture_spoil(const struct fixture *fixture, const char *table);

/* A limit on the size of files makes every append and every open fail. */
void break_disk(void);
void mend_disk(void);
void fixture_await(sem_t *semaphore);

#endif
