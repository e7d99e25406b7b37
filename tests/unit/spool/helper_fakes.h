/*
 * helper_fakes.h - a store, files and cryptography for the spool's tests, all in memory.
 *
 * Nothing happens by itself: fake_store_turn runs the reads and writes that have gathered
 * as one batch, and fake_loop_run what they posted.
 */
#ifndef POSTERN_TEST_SPOOL_HELPER_FAKES_H
#define POSTERN_TEST_SPOOL_HELPER_FAKES_H

#include "postern/port/crypto.h"
#include "postern/port/files.h"
#include "postern/port/loop.h"
#include "postern/port/store.h"

struct fake_loop {
    struct loop port; /* first */
    struct loop_task *head, *tail;
};
void fake_loop_init(struct fake_loop *loop);
void fake_loop_fini(struct fake_loop *loop);
bool fake_loop_run(struct fake_loop *loop); /* false when there was nothing */

struct fake_record {
    struct pn_buf key, value;
};

enum fake_failure {
    FAKE_WORKS,
    FAKE_LOSES, /* the batch fails, and nothing of it is there */
    FAKE_KEEPS, /* the batch fails, and all of it is there */
};

struct fake_store {
    struct store port; /* first */
    struct store_events events;
    struct fake_record *records; /* in the order of their keys */
    size_t count;
    struct store_write *writes, **writes_end;
    struct store_read *reads, **reads_end;
    struct store_tag tags[256];
    size_t tag_count;
    enum store_state state;
    enum fake_failure failure; /* of the next batch, once */
    uint64_t batches;
    struct pn_buf rotten; /* the key whose block is bad, when not empty */
    size_t rotten_asked;  /* by writes, which is what the real store fails with */
};
void fake_store_init(struct fake_store *store);
void fake_store_fini(struct fake_store *store);
bool fake_store_turn(struct fake_store *store);   /* false when there was nothing */
void fake_store_heal(struct fake_store *store);   /* after a failure */
void fake_store_forget(struct fake_store *store); /* requests under way: the power is gone */
struct fake_store
fake_store_snapshot(struct fake_store *store); /* then forget, if it is used */
void fake_store_revert(struct fake_store *store, struct fake_store *snapshot); /* ends it */
struct fake_record *fake_store_find(struct fake_store *store, struct pn_str key);
size_t fake_store_count(struct fake_store *store, char kind); /* keys that begin so */
void fake_store_remove(struct fake_store *store, struct pn_str key);
void fake_store_put(struct fake_store *store, struct pn_str key, struct pn_str value);

/* Files by path; at most 32. */
struct fake_file {
    char path[256];
    struct pn_buf content;
    uint32_t mode;
};
struct fake_files {
    struct files port; /* first */
    struct fake_file files[32];
    size_t count, shredded;
    uint64_t free_octets;
    size_t space_calls;
    const char *fails; /* "write", "shred", "make_directory", "space", or NULL */
};
void fake_files_init(struct fake_files *files);
void fake_files_fini(struct fake_files *files);
struct fake_file *fake_files_find(struct fake_files *files, const char *path);
void fake_files_put(struct fake_files *files, const char *path, struct pn_str content,
                    uint32_t mode);

struct crypto *fake_crypto(void); /* verifies like the real one, and protects nothing */

#endif
