/*
 * leveldb.c - the store port on LevelDB: opening, ending, and the way in.
 *
 * The writer's and the reader's threads live in writer.c and reader.c; handle.c knows how
 * a database is opened; group.c is one batch. Here are the calls that come from other
 * threads: they append to a queue under one lock, and wake a thread only when it sleeps.
 *
 * Opening is a ladder: with paranoid checks; without; moved aside and empty. Only what
 * LevelDB calls corruption (or a missing file) leads down the ladder: a directory that may
 * not be read today, or a full disk, must not cost the mail in it.
 *
 * A request whose loop has ended is dropped without a call: whoever sent it is gone.
 */
#include "postern/store/leveldb.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "store_priv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAZY_WAIT_MS 200

static struct store_leveldb *leveldb_of(struct store *port)
{
    return PN_CONTAINER(port, struct store_leveldb, port);
}

struct timespec store_time_after(int64_t ms)
{
    struct timespec at;

    pn_assert(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    at.tv_sec += (time_t)(ms / 1000) + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

void store_leveldb_fail(struct store_leveldb *store, const struct pn_err *err)
{
    pthread_mutex_lock(&store->lock);
    if (!atomic_load(&store->failed)) {
        store->failure = *err;
        atomic_store(&store->failed, true);
    }
    pthread_cond_signal(&store->for_writer);
    pthread_mutex_unlock(&store->lock);
}

/* A write that comes while the store is failed; the lock is held. */
static void refuse_write(struct store_leveldb *store, struct store_write *write)
{
    write->status = PN_EIO;
    if (write->loop) {
        struct store_writes one = {0};

        store_writes_push(&one, write);
        store_writes_answer(&one);
    } else {
        store_writes_push(&store->refused, write);
        pthread_cond_signal(&store->for_writer);
    }
}

static void on_write(struct store *port, struct store_write *write)
{
    struct store_leveldb *store = leveldb_of(port);

    pthread_mutex_lock(&store->lock);
    if (!write->must && atomic_load(&store->state) != STORE_OPEN) {
        refuse_write(store, write);
    } else {
        if (!write->lazy) {
            store->eager++;
        } else if (store->queue.count == store->eager) {
            store->lazy_until = store_time_after(LAZY_WAIT_MS);
        }
        store_writes_push(&store->queue, write);
        if (store->sleep == STORE_SLEEPS ||
            (store->sleep == STORE_SLEEPS_FOR_LAZY && !write->lazy)) {
            store->sleep = STORE_AWAKE;
            pthread_cond_signal(&store->for_writer);
        }
    }
    pthread_mutex_unlock(&store->lock);
}

static void on_read(struct store *port, struct store_read *read)
{
    struct store_leveldb *store = leveldb_of(port);

    pthread_mutex_lock(&store->lock);
    read->next = NULL;
    if (store->reads.head) {
        store->reads.tail->next = read;
    } else {
        store->reads.head = read;
        pthread_cond_signal(&store->for_reader);
    }
    store->reads.tail = read;
    pthread_mutex_unlock(&store->lock);
}

static const struct store_leveldb *const_leveldb_of(const struct store *port)
{
    return (const struct store_leveldb *)(const void *)port;
}

static enum store_state on_get_state(const struct store *port)
{
    return (enum store_state)atomic_load(&const_leveldb_of(port)->state);
}

static uint64_t on_get_syncs(const struct store *port)
{
    return atomic_load(&const_leveldb_of(port)->syncs);
}

static uint64_t on_get_written(const struct store *port)
{
    return atomic_load(&const_leveldb_of(port)->written);
}

static const struct store_ops store_ops = {.write = on_write,
                                           .read = on_read,
                                           .state = on_get_state,
                                           .syncs = on_get_syncs,
                                           .written = on_get_written};

static void tell(struct store_leveldb *store, enum store_state state, const struct pn_err *err)
{
    if (store->events.on_state) {
        store->events.on_state(store->events.owner, state, err);
    }
}

/* The last rung: what cannot be opened is kept beside, and the store begins empty. */
static int open_empty(struct store_leveldb *store, struct pn_err *err)
{
    struct pn_err why = *err;
    struct pn_buf aside;
    int rc;

    pn_buf_init(&aside, PN_ERR_TEXT_MAX);
    rc = store_handle_move_aside(&store->handle, &aside, err);
    if (rc == 0) {
        rc = store_handle_open(&store->handle, false, err);
    }
    if (rc == 0) {
        pn_err_wrap(&why,
                    "the store does not open and was moved to %.*s, and an empty one "
                    "was made; \"postern spool salvage\" brings back what can be read",
                    PN_FMT(pn_buf_str(&aside)));
        tell(store, STORE_REOPENING, &why);
    }
    pn_buf_fini(&aside);
    return rc;
}

static int open_ladder(struct store_leveldb *store, struct pn_err *err)
{
    struct store_handle *handle = &store->handle;
    int rc = store_handle_open(handle, false, err);

    if (rc == PN_ENOSPACE && store_ballast_drop(handle)) {
        rc = store_handle_open(handle, false, err);
    }
    if (rc == PN_ECORRUPT) {
        struct pn_err why = *err;

        rc = store_handle_open(handle, true, err);
        if (rc == 0) {
            pn_err_wrap(&why, "the store opens only without checks of its checksums; all "
                              "messages need to be verified");
            tell(store, STORE_REOPENING, &why);
        }
    }
    return rc == PN_ECORRUPT ? open_empty(store, err) : rc;
}

static void init_locks(struct store_leveldb *store)
{
    pthread_condattr_t attributes;

    pn_assert(pthread_mutex_init(&store->lock, NULL) == 0);
    pn_assert(pthread_condattr_init(&attributes) == 0);
    pn_assert(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    pn_assert(pthread_cond_init(&store->for_writer, &attributes) == 0);
    pn_assert(pthread_cond_init(&store->for_reader, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

static void start(struct store_leveldb *store)
{
    struct pn_err warning;

    atomic_store(&store->state, STORE_OPEN);
    store->ballast_checked = store_time_after(0);
    if (!store_ballast_is_there(&store->handle)) {
        store_ballast_make(&store->handle);
    }
    (void)pn_err_set(&warning, PN_EINVAL,
                     "the store %s lies on a file system other than ext4, XFS and btrfs, on "
                     "which its new files may not survive a power cut",
                     store->handle.path);
    tell(store, STORE_OPEN, store_handle_is_on_known_disk(&store->handle) ? NULL : &warning);
    init_locks(store);
    store_group_init(&store->group, &store->handle);
    pn_assert(pthread_create(&store->writer, NULL, store_writer_main, store) == 0);
    pn_assert(pthread_create(&store->reader, NULL, store_reader_main, store) == 0);
}

struct store *store_leveldb_new(const char *path, const struct store_options *options,
                                const struct store_events *events, struct pn_err *err)
{
    struct store_leveldb *store = PN_NEW(struct store_leveldb);
    struct pn_err why;
    sigset_t all, before;

    store->port.ops = &store_ops;
    store->events = *events;
    if (store_handle_init(&store->handle, path, options, &why) < 0) {
        free(store);
        goto failed;
    }
    /* Signals are the main loop's; LevelDB's own thread inherits the mask too. */
    sigfillset(&all);
    pn_assert(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    if (open_ladder(store, &why) == 0) {
        start(store);
    } else {
        store_handle_fini(&store->handle);
        free(store);
        store = NULL;
    }
    pn_assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (store) {
        return &store->port;
    }
failed:
    if (err) {
        *err = why;
    }
    return NULL;
}

void store_leveldb_free(struct store **port)
{
    struct store_leveldb *store;

    if (!*port) {
        return;
    }
    store = leveldb_of(*port);
    *port = NULL;
    pthread_mutex_lock(&store->lock);
    store->ending = true;
    pthread_cond_signal(&store->for_writer);
    pthread_cond_signal(&store->for_reader);
    pthread_mutex_unlock(&store->lock);
    pn_assert(pthread_join(store->reader, NULL) == 0);
    pn_assert(pthread_join(store->writer, NULL) == 0);
    store_group_fini(&store->group);
    store_handle_fini(&store->handle);
    tell(store, STORE_CLOSED, NULL);
    pthread_cond_destroy(&store->for_writer);
    pthread_cond_destroy(&store->for_reader);
    pthread_mutex_destroy(&store->lock);
    free(store->tags);
    free(store);
}
