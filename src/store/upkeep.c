/*
 * upkeep.c - finds what no key points to any more, and gives it back to the disk.
 *
 * How much of a file is alive is known exactly: what this opening has written is counted as
 * it is added and ended, and what it found is counted once, from a snapshot of its very
 * beginning, so that an end since then counts the same whether its key was walked over or
 * not. A file of which nothing is left is removed; the newest one becomes a single hole
 * instead, so that the next opening knows its number. One of which half is left gets holes
 * where the dead are; the live are looked for among the keys, and what is not found there is
 * dead for ever, because nothing is added to a full file.
 *
 * All this is decided by the reader's thread, piece by piece between its requests, so a file
 * never goes away under a reader. janitor.c does it.
 */
#include "handle_priv.h"
#include "value_file_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>
#include <unistd.h>

#define KEYS_A_PIECE 2000
#define BLOCK_OCTETS 4096

bool store_value_file_is_due(const struct store_values *values, const struct value_file *file)
{
    if (!file->full || file->live < 0) {
        return false;
    }
    return file->live == 0 ? file->kept > 0 || file->number < values->last_number
                           : file->live * 2 <= file->kept;
}

bool store_values_wants_upkeep(const struct store_values *values)
{
    return values && !atomic_load_explicit(&values->keeps_all, memory_order_relaxed) &&
           atomic_load_explicit(&values->wanted, memory_order_relaxed);
}

/* ---- walking over keys ------------------------------------------------------------------- */

static void count_pointer(struct store_values *values, struct pn_str key,
                          const struct store_pointer *pointer)
{
    struct value_file *file;

    pthread_mutex_lock(&values->lock);
    HASH_FIND(hh, values->files, &pointer->file, sizeof pointer->file, file);
    if (file) {
        file->live += pointer->octets;
        store_value_file_widen(file, key);
    }
    pthread_mutex_unlock(&values->lock);
}

static void keep_pointer(struct values_walk *walk, const struct store_pointer *pointer)
{
    if (pointer->file != walk->file->number) {
        return;
    }
    if (walk->count == walk->cap) {
        walk->cap = walk->cap ? walk->cap * 2 : 1024;
        walk->live = pn_realloc(walk->live, walk->cap * sizeof *walk->live);
    }
    walk->live[walk->count++] = *pointer;
}

static bool is_behind(const struct store_values *values, struct pn_str key)
{
    const struct value_file *file = values->walk.file;

    return !store_values_has(values, key) ||
           (file && store_apart_key_compare(&file->last, key) < 0);
}

/* Up to KEYS_A_PIECE keys; *out_end when there are no more. */
static int walk_piece(struct store_values *values, bool *out_end, struct pn_err *err)
{
    struct values_walk *walk = &values->walk;
    leveldb_iterator_t *iterator = leveldb_create_iterator(values->db, values->walk_options);
    char *text = NULL;
    int rc = 0;

    *out_end = true;
    leveldb_iter_seek(iterator, walk->from.octets, walk->from.len);
    for (int i = 0; leveldb_iter_valid(iterator); i++) {
        struct pn_str key, stored;
        struct store_pointer pointer;

        key.ptr = leveldb_iter_key(iterator, &key.len);
        if (is_behind(values, key)) {
            break;
        }
        if (i == KEYS_A_PIECE) {
            store_apart_key_set(&walk->from, key);
            *out_end = false;
            break;
        }
        stored.ptr = leveldb_iter_value(iterator, &stored.len);
        if (!store_pointer_decode(stored, &pointer)) {
            /* a value that lies in LevelDB */
        } else if (walk->file) {
            keep_pointer(walk, &pointer);
        } else {
            count_pointer(values, key, &pointer);
        }
        leveldb_iter_next(iterator);
    }
    leveldb_iter_get_error(iterator, &text);
    leveldb_iter_destroy(iterator);
    if (text) {
        rc = store_error_set(err, "read from", values->path, text);
        leveldb_free(text);
    }
    return rc;
}

/* ---- giving back ------------------------------------------------------------------------- */

static struct values_chore *chore_new(const struct value_file *file)
{
    struct values_chore *chore = PN_NEW(struct values_chore);

    chore->number = file->number;
    return chore;
}

static void remove_file(struct store_values *values, struct value_file *file)
{
    for (size_t i = 0; i < values->open_count; i++) {
        if (values->open[i].number == file->number) {
            close(values->open[i].fd);
            values->open[i] = values->open[--values->open_count];
            break;
        }
    }
    store_janitor_do(values, chore_new(file));
    pthread_mutex_lock(&values->lock);
    HASH_DEL(values->files, file);
    pthread_mutex_unlock(&values->lock);
    free(file);
}

static int by_offset(const void *a, const void *b)
{
    uint32_t x = ((const struct store_pointer *)a)->offset;
    uint32_t y = ((const struct store_pointer *)b)->offset;

    return x < y ? -1 : x > y;
}

/* Whole blocks only: the kernel would overwrite the rest. */
static void add_hole(struct values_chore *chore, int64_t from, int64_t to)
{
    from = (from + BLOCK_OCTETS - 1) / BLOCK_OCTETS * BLOCK_OCTETS;
    to = to / BLOCK_OCTETS * BLOCK_OCTETS;
    if (from >= to) {
        return;
    }
    if (chore->count == chore->cap) {
        chore->cap = chore->cap ? chore->cap * 2 : 64;
        chore->holes = pn_realloc(chore->holes, chore->cap * sizeof *chore->holes);
    }
    chore->holes[chore->count++] = (struct values_hole){from, to};
}

/* Takes the chore. */
static void give_holes(struct store_values *values, struct value_file *file,
                       struct values_chore *chore)
{
    if (chore->count > 0) {
        store_janitor_do(values, chore);
    } else {
        free(chore);
    }
    pthread_mutex_lock(&values->lock);
    file->kept = file->live; /* looked at again when half of this has gone */
    pthread_mutex_unlock(&values->lock);
}

static void empty_file(struct store_values *values, struct value_file *file)
{
    struct values_chore *chore = chore_new(file);

    add_hole(chore, 0, file->size + BLOCK_OCTETS - 1);
    give_holes(values, file, chore);
}

/* Everything but walk.live is dead. */
static void make_holes(struct store_values *values)
{
    struct values_walk *walk = &values->walk;
    struct values_chore *chore = chore_new(walk->file);
    int64_t at = 0;

    qsort(walk->live, walk->count, sizeof *walk->live, by_offset);
    for (size_t i = 0; i < walk->count; i++) {
        add_hole(chore, at, walk->live[i].offset);
        at = (int64_t)walk->live[i].offset + walk->live[i].octets;
    }
    add_hole(chore, at, walk->file->size);
    give_holes(values, walk->file, chore);
}

enum due { SOME, ALL, ALL_OF_THE_NEWEST };

/* The next file that has something to give; NULL when none has. */
static struct value_file *find_due(struct store_values *values, enum due *out)
{
    struct value_file *file, *next, *found = NULL;

    pthread_mutex_lock(&values->lock);
    atomic_store(&values->wanted, false);
    HASH_ITER (hh, values->files, file, next) {
        if (store_value_file_is_due(values, file)) {
            found = file;
            *out = file->live > 0                        ? SOME
                   : file->number == values->last_number ? ALL_OF_THE_NEWEST
                                                         : ALL;
            atomic_store(&values->wanted, true);
            break;
        }
    }
    pthread_mutex_unlock(&values->lock);
    return found;
}

static void end_count(struct store_values *values)
{
    leveldb_readoptions_set_snapshot(values->walk_options, NULL);
    leveldb_release_snapshot(values->db, values->snapshot);
    values->snapshot = NULL;
}

static void begin_walk(struct store_values *values, struct value_file *file)
{
    values->walk.file = file;
    values->walk.count = 0;
    store_apart_key_set(&values->walk.from,
                        file ? (struct pn_str){file->first.octets, file->first.len}
                             : values->apart);
}

int store_values_upkeep(struct store_values *values, struct pn_err *err)
{
    bool counting = values->snapshot;
    struct value_file *file = values->walk.file;
    bool end;
    int rc;

    if (!counting && !file) {
        enum due due;

        file = find_due(values, &due);
        if (file && due == ALL) {
            remove_file(values, file);
        } else if (file && due == ALL_OF_THE_NEWEST) {
            empty_file(values, file);
        }
        if (!file || due != SOME) {
            return 0;
        }
        begin_walk(values, file);
    } else if (counting && values->walk.from.len == 0) {
        begin_walk(values, NULL);
    }
    rc = walk_piece(values, &end, err);
    if (rc < 0) {
        /* A key that cannot be read may point anywhere. */
        atomic_store(&values->keeps_all, true);
        return rc;
    }
    if (end && counting) {
        end_count(values);
    } else if (end) {
        make_holes(values);
        values->walk.file = NULL;
    }
    return 0;
}
