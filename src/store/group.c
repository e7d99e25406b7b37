/*
 * group.c - the batch that one group of writes shares.
 *
 * LevelDB's write batch cannot be asked what is in it, so beside it stands an overlay of
 * every key that was put or deleted: two ends of one message in one batch must both see
 * the other's counters. Values are copied into an arena that is emptied with the batch.
 * Remembering only small values was rejected: a get that misses a large value would be a lie.
 *
 * The values of `apart` keys are not copied. Only the commit decides where they go: in a small
 * batch into LevelDB, because one sync is better than two; else into a value file, synced
 * before LevelDB gets the pointers.
 */
#include "group_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define uthash_fatal(text) pn_assert(!(text))
#include <uthash.h>

#include <string.h>

#define ARENA_OCTETS ((size_t)1 << 30)
#define APART_OCTETS (16u << 10) /* a batch with less of them leaves them in LevelDB */

struct store_change {
    UT_hash_handle hh;
    struct pn_str key;
    struct pn_str value;
    bool deleted;
    bool listed; /* in apart.puts */
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

static bool is_apart(const struct store_group *group, struct pn_str key)
{
    return store_values_has(group->handle->values, key);
}

static void note_failure(struct store_group *group, int rc, const struct pn_err *err)
{
    if (group->rc == 0 && !(rc == PN_ECORRUPT && group->handle->lenient)) {
        group->rc = rc;
        group->err = *err;
    }
}

/* What LevelDB has. What is not there, and in a lenient store what cannot be read, is not
 * found. */
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
        note_failure(group, rc, &err);
        return false;
    }
    found = value && pn_buf_append(out, (struct pn_str){value, len}) == 0;
    leveldb_free(value);
    return found;
}

/* What a value file does not have is not there, as a record that was never written. */
static bool get_pointed(struct store_group *group, struct pn_buf *out)
{
    struct store_pointer pointer;
    struct pn_err err;
    int rc;

    if (!store_pointer_decode(pn_buf_str(out), &pointer)) {
        return true;
    }
    pn_buf_clear(out);
    rc = store_values_fetch(group->handle->values, &pointer, out, &err);
    if (rc < 0 && rc != PN_ECORRUPT) {
        note_failure(group, rc, &err);
    }
    return rc == 0;
}

static bool on_get(struct store_batch *batch, struct pn_str key, struct pn_buf *out)
{
    struct store_group *group = group_of(batch);
    const struct store_change *change = find_change(group, key);

    pn_buf_clear(out);
    if (change) {
        return !change->deleted && pn_buf_append(out, change->value) == 0;
    }
    return group->rc == 0 && get_stored(group, key, out) &&
           (!is_apart(group, key) || get_pointed(group, out));
}

static void put_apart(struct store_group *group, struct store_change *change)
{
    struct store_apart *apart = &group->apart;

    if (change->listed) {
        return;
    }
    if (apart->put_count == apart->put_cap) {
        apart->put_cap = apart->put_cap ? apart->put_cap * 2 : 64;
        apart->puts = pn_realloc(apart->puts, apart->put_cap * sizeof(struct store_change *));
    }
    apart->puts[apart->put_count++] = change;
    change->listed = true;
}

static void on_put(struct store_batch *batch, struct pn_str key, struct pn_str value)
{
    struct store_group *group = group_of(batch);
    struct store_change *change = get_change(group, key);

    pn_assert(value.len <= STORE_VALUE_MAX);
    change->deleted = false;
    group->octets += key.len + value.len;
    if (is_apart(group, key)) {
        change->value = value;
        put_apart(group, change);
        return;
    }
    pn_assert(pn_arena_copy(&group->arena, value, &change->value) == 0);
    leveldb_writebatch_put(group->batch, key.ptr, key.len, value.ptr, value.len);
}

/* The key goes away: what it points to in the store does not live any more. */
static void end_apart(struct store_group *group, struct pn_str key)
{
    struct store_apart *apart = &group->apart;
    struct store_pointer pointer;
    struct pn_buf stored;

    pn_buf_init(&stored, STORE_VALUE_MAX);
    if (get_stored(group, key, &stored) &&
        store_pointer_decode(pn_buf_str(&stored), &pointer)) {
        if (apart->ended_count == apart->ended_cap) {
            apart->ended_cap = apart->ended_cap ? apart->ended_cap * 2 : 64;
            apart->ended = pn_realloc(apart->ended, apart->ended_cap * sizeof *apart->ended);
        }
        apart->ended[apart->ended_count++] = pointer;
    }
    pn_buf_fini(&stored);
}

static void on_del(struct store_batch *batch, struct pn_str key)
{
    struct store_group *group = group_of(batch);

    if (is_apart(group, key) && !find_change(group, key)) {
        end_apart(group, key);
    }
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
    free(group->apart.puts);
    free(group->apart.ended);
}

void store_group_begin(struct store_group *group)
{
    HASH_CLEAR(hh, group->changes);
    leveldb_writebatch_clear(group->batch);
    pn_arena_reset(&group->arena);
    group->apart.put_count = 0;
    group->apart.ended_count = 0;
    group->octets = 0;
    group->syncs = 0;
    group->rc = 0;
}

static void put_in_leveldb(struct store_group *group)
{
    for (size_t i = 0; i < group->apart.put_count; i++) {
        const struct store_change *change = group->apart.puts[i];
        struct store_pointer none;

        pn_assert(!store_pointer_decode(change->value, &none));
        leveldb_writebatch_put(group->batch, change->key.ptr, change->key.len,
                               change->value.ptr, change->value.len);
    }
}

/* Into a value file, synced; then the pointers into the batch. */
static int put_in_file(struct store_group *group, struct store_pointer *pointers,
                       struct pn_err *err)
{
    size_t count = group->apart.put_count;
    struct pn_str *values = pn_alloc_array(count, sizeof *values);
    int rc;

    for (size_t i = 0; i < count; i++) {
        values[i] = group->apart.puts[i]->value;
    }
    rc = store_values_append(group->handle->values, values, count, pointers, err);
    free(values);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct store_change *change = group->apart.puts[i];
        char stored[STORE_POINTER_OCTETS];

        store_pointer_encode(&pointers[i], stored);
        leveldb_writebatch_put(group->batch, change->key.ptr, change->key.len, stored,
                               sizeof stored);
    }
    return rc;
}

/* Puts that were deleted again in the same batch are forgotten. Returns the octets left. */
static size_t drop_deleted(struct store_group *group)
{
    struct store_apart *apart = &group->apart;
    size_t count = apart->put_count, octets = 0;

    apart->put_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!apart->puts[i]->deleted) {
            octets += apart->puts[i]->value.len;
            apart->puts[apart->put_count++] = apart->puts[i];
        }
    }
    return octets;
}

static int write_batch(struct store_group *group, struct pn_err *err)
{
    const struct store_handle *handle = group->handle;
    char *text = NULL;
    int rc = 0;

    leveldb_write(handle->db, handle->write_options, group->batch, &text);
    group->syncs++;
    if (text) {
        rc = store_error_set(err, "write to", handle->path, text);
        leveldb_free(text);
    }
    return rc;
}

static void tell_values(struct store_group *group, const struct store_pointer *pointers)
{
    const struct store_apart *apart = &group->apart;

    for (size_t i = 0; pointers && i < apart->put_count; i++) {
        store_values_added(group->handle->values, &pointers[i], apart->puts[i]->key);
    }
    for (size_t i = 0; i < apart->ended_count; i++) {
        store_values_ended(group->handle->values, &apart->ended[i]);
    }
}

int store_group_commit(struct store_group *group, struct pn_err *err)
{
    struct store_pointer *pointers = NULL;
    int rc = 0;

    if (group->rc < 0) {
        *err = group->err;
        return group->rc;
    }
    if (drop_deleted(group) < APART_OCTETS) {
        put_in_leveldb(group);
    } else {
        pointers = pn_alloc_array(group->apart.put_count, sizeof *pointers);
        rc = put_in_file(group, pointers, err);
        group->syncs++;
    }
    if (rc == 0) {
        rc = write_batch(group, err);
    }
    if (rc == 0) {
        tell_values(group, pointers);
    }
    free(pointers);
    return rc;
}
