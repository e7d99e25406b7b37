/*
 * group_priv.h - the batch that one group of writes shares.
 */
#ifndef POSTERN_STORE_GROUP_PRIV_H
#define POSTERN_STORE_GROUP_PRIV_H

#include "handle_priv.h"

#include "postern/base/arena.h"

struct store_change;

struct store_group {
    struct store_batch port; /* first: what apply sees */
    const struct store_handle *handle;
    leveldb_writebatch_t *batch;
    struct store_change *changes; /* by key */
    struct pn_arena arena;
    struct store_apart {
        struct store_change **puts; /* in the order they came; may be deleted since */
        size_t put_count, put_cap;
        struct store_pointer *ended; /* what keys had that are deleted */
        size_t ended_count, ended_cap;
    } apart;
    size_t octets;  /* keys and values put so far */
    unsigned syncs; /* that the commit has cost */
    int rc;         /* of the first get that failed */
    struct pn_err err;
};

void store_group_init(struct store_group *group, const struct store_handle *handle);
void store_group_fini(struct store_group *group);

void store_group_begin(struct store_group *group);
/* Writes everything at once. Refuses when a get failed: what was decided is not sound. */
int store_group_commit(struct store_group *group, struct pn_err *err) PN_WARN_UNUSED;

#endif
