/*
 * group.c - the batch that one group of writes shares.
 *
 * LevelDB's write batch cannot be asked what is in it, so beside it stands an overlay of
 * every key that was put or deleted: two ends of one message in one batch must both see
 * the other's counters. Values are copied into an arena that is emptied with the batch.
 * Remembering only small values was rejected: the copy is a thousandth of the sync that
 * follows, and a get that misses a large value would be a lie.
 */
#include "group_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define uthash_fatal(text) pn_assert(!(text))
#include <uthash.h>

#include <string.h>

#define ARENA_OCTETS ((size_t)1 << 30)

struct store_change {
    UT_hash_handle hh;
    struct pn_str key;
    struct pn_str value;
    bool deleted;
};

static struct store_group *group_of(struct store_batch *batch)
{
    return PN_CONTAINER(batch, struct store_group, port);
}

static struct store_change *find_change(struct store_group *group, struct pn_str key)
{
    struct store_change *change;

    HASH_FIND(hh, group->changes, key.ptr, (unsigned)key.len, change);
    return change;
}

static struct store_change *get_change(struct store_group *group, struct pn_str key)
{
    struct store_change *change = find_change(group, key);

    if (!change) {
        change = pn_arena_alloc(&group->arena, sizeof *change);
        pn_assert(change && pn_arena_copy(&group->arena, key, &change->key) == 0);
        HASH_ADD_KEYPTR(hh, group->changes, change->key.ptr, (unsigned)change->key.len, change);
    }
    return change;
}

/* What is not there, and in a lenient store what cannot be read, is not found. */
static bool get_stored(struct store_group *group, struct pn_str key, struct pn_buf *out)
{
    const struct store_handle *handle = group->handle;
    char *text = NULL;
    size_t len = 0;
    char *value;
    bool found;

    value = leveldb_get(handle->db, handle->get_options, key.ptr, key.len, &len, &text);
    if (text) {
        struct pn_err err;
        int rc = store_error_set(&err, "read from", handle->path, text);

        leveldb_free(text);
        if (group->rc == 0 && !(rc == PN_ECORRUPT && handle->lenient)) {
            group->rc = rc;
            group->err = err;
        }
        return false;
    }
    found = value && pn_buf_append(out, (struct pn_str){value, len}) == 0;
    leveldb_free(value);
    return found;
}

static bool on_get(struct store_batch *batch, struct pn_str key, struct pn_buf *out)
{
    struct store_group *group = group_of(batch);
    const struct store_change *change = find_change(group, key);

    pn_buf_clear(out);
    if (change) {
        return !change->deleted && pn_buf_append(out, change->value) == 0;
    }
    return group->rc == 0 && get_stored(group, key, out);
}

static void on_put(struct store_batch *batch, struct pn_str key, struct pn_str value)
{
    struct store_group *group = group_of(batch);
    struct store_change *change = get_change(group, key);

    pn_assert(value.len <= STORE_VALUE_MAX);
    pn_assert(pn_arena_copy(&group->arena, value, &change->value) == 0);
    change->deleted = false;
    leveldb_writebatch_put(group->batch, key.ptr, key.len, value.ptr, value.len);
    group->octets += key.len + value.len;
}

static void on_del(struct store_batch *batch, struct pn_str key)
{
    struct store_group *group = group_of(batch);

    get_change(group, key)->deleted = true;
    leveldb_writebatch_delete(group->batch, key.ptr, key.len);
    group->octets += key.len;
}

static const struct store_batch_ops batch_ops = {.get = on_get, .put = on_put, .del = on_del};

void store_group_init(struct store_group *group, const struct store_handle *handle)
{
    *group = (struct store_group){.port.ops = &batch_ops, .handle = handle};
    group->batch = leveldb_writebatch_create();
    pn_arena_init(&group->arena, ARENA_OCTETS);
}

void store_group_fini(struct store_group *group)
{
    HASH_CLEAR(hh, group->changes);
    leveldb_writebatch_destroy(group->batch);
    pn_arena_fini(&group->arena);
}

void store_group_begin(struct store_group *group)
{
    HASH_CLEAR(hh, group->changes);
    leveldb_writebatch_clear(group->batch);
    pn_arena_reset(&group->arena);
    group->octets = 0;
    group->rc = 0;
}

int store_group_commit(struct store_group *group, struct pn_err *err)
{
    const struct store_handle *handle = group->handle;
    char *text = NULL;
    int rc = 0;

    if (group->rc < 0) {
        *err = group->err;
        return group->rc;
    }
    leveldb_write(handle->db, handle->write_options, group->batch, &text);
    if (text) {
        rc = store_error_set(err, "write to", handle->path, text);
        leveldb_free(text);
    }
    return rc;
}
