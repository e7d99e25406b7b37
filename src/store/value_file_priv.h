/*
 * value_file_priv.h - the value files of an opened store: values.c, upkeep.c, janitor.c.
 */
#ifndef POSTERN_STORE_VALUE_FILE_PRIV_H
#define POSTERN_STORE_VALUE_FILE_PRIV_H

#include "values_priv.h"

#include <pthread.h>
#include <stdatomic.h>

#define uthash_fatal(text) pn_assert(!(text))
#include <uthash.h>

#define APART_KEY_MAX     64
#define FILES_TO_READ_MAX 8 /* open at once */

struct apart_key {
    size_t len;
    char octets[APART_KEY_MAX];
};

struct value_file {
    UT_hash_handle hh;
    uint32_t number;
    bool full;    /* nothing is added any more */
    int64_t live; /* octets that keys point to; of a file found at the opening: once counted.
                   * Below 0, which it never should be: we do not know, and keep it */
    int64_t kept; /* octets for which it takes room on the disk, about */
    int64_t size; /* with its holes */
    struct apart_key first, last; /* of those that point here, or once did */
};

/* What the disk gets back: of a file the parts where nobody looks any more, or all of it. */
struct values_chore {
    struct values_chore *next;
    uint32_t number;
    struct values_hole {
        int64_t from, to;
    } * holes; /* owned; NULL: the file goes away */
    size_t count, cap;
};

/* Where upkeep is. */
struct values_walk {
    struct value_file *file; /* whose dead parts are looked for; NULL: all are counted */
    struct apart_key from;
    struct store_pointer *live; /* of that file */
    size_t count, cap;
};

struct store_values {
    char *path;
    int directory;
    size_t file_octets;
    bool sync;
    struct pn_str apart;
    leveldb_t *db;

    pthread_mutex_t lock; /* for all that follows up to the next blank line */
    struct value_file *files;
    uint32_t last_number; /* of all that there ever were */
    struct values_chore *chores;
    pthread_cond_t for_janitor;
    bool ending;

    pthread_t janitor;
    bool has_janitor;

    int fd; /* the writer's: the file that is written, or -1 */
    struct value_file *current;

    struct open_file { /* the reader's */
        uint32_t number;
        int fd;
    } open[FILES_TO_READ_MAX];
    size_t open_count;
    struct values_walk walk;
    leveldb_readoptions_t *walk_options;
    const leveldb_snapshot_t *snapshot; /* of the opening, until all is counted */

    atomic_bool wanted;    /* upkeep */
    atomic_bool keeps_all; /* nothing is given back until the next opening */
};

/* What a file is called in the directory. */
#define VALUE_FILE_NAME_OCTETS 32
void store_value_file_name(uint32_t number, char out[VALUE_FILE_NAME_OCTETS]);

void store_apart_key_set(struct apart_key *key, struct pn_str from);
int store_apart_key_compare(const struct apart_key *a, struct pn_str b);
/* A thread that does chores, in their order, until the store is closed; what is left then is
 * found again at the next opening. */
void store_janitor_start(struct store_values *values);
void store_janitor_stop(struct store_values *values);
void store_janitor_do(struct store_values *values, struct values_chore *chore); /* takes it */

/* The key has a pointer to that file; the lock is held. */
void store_value_file_widen(struct value_file *file, struct pn_str key);
/* There is something to give back of it; the lock is held. */
bool store_value_file_is_due(const struct store_values *values, const struct value_file *file);

#endif
