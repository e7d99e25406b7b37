/*
 * writer.c - the writer's thread: group commit, and life after a failure.
 *
 * The thread takes all that has gathered, applies it into one batch, writes the batch with
 * one sync, and answers. What gathers meanwhile is the next batch, so a slow disk makes
 * larger batches and not a longer queue of syncs. When only lazy requests are there they
 * wait a moment for company.
 *
 * After any failure the handle is not used again (DESIGN "The spool"): LevelDB refuses
 * later writes only after a failed sync; after a failed append it acknowledges writes that
 * it will lose. So: answer what may be answered with an error, wait until the reader's
 * thread has let go, close, and open again and again until it works. The first batch then
 * undoes what the failed writes may have left half there, and applies the `must` writes
 * again. Only when that batch is durable is the store open: a disk that opens but does not
 * write keeps us here. Here nothing is moved aside: that is for a start, with an operator
 * who reads the alarm.
 */
#include "store_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <errno.h>
#include <string.h>

#define GROUP_WRITES     2000
#define GROUP_OCTETS     ((size_t)8 << 20)
#define REOPEN_EVERY_MS  1000
#define BALLAST_CHECK_MS 60000
#define LOOPS_OF_A_GROUP 32

void store_writes_push(struct store_writes *writes, struct store_write *write)
{
    write->next = NULL;
    if (writes->head) {
        writes->tail->next = write;
    } else {
        writes->head = write;
    }
    writes->tail = write;
    writes->count++;
}

struct store_write *store_writes_pop(struct store_writes *writes)
{
    struct store_write *write = writes->head;

    if (write) {
        writes->head = write->next;
        writes->count--;
        write->next = NULL;
    }
    return write;
}

void store_writes_join(struct store_writes *writes, struct store_writes *behind)
{
    if (!behind->head) {
        return;
    }
    if (writes->head) {
        writes->tail->next = behind->head;
    } else {
        writes->head = behind->head;
    }
    writes->tail = behind->tail;
    writes->count += behind->count;
    *behind = (struct store_writes){0};
}

static void run_chain(struct loop_task *task)
{
    struct store_write *write = PN_CONTAINER(task, struct store_write, task);

    while (write) {
        struct store_write *next = write->next;

        write->on_done(write); /* may free write */
        write = next;
    }
}

/* When the loop has ended nobody waits for the answer, and nothing is called. */
static void post_chain(struct store_writes *chain)
{
    struct store_write *first = chain->head;

    first->task.on_run = run_chain;
    (void)!loop_post(first->loop, &first->task);
}

void store_writes_answer(struct store_writes *writes)
{
    struct store_writes chains[LOOPS_OF_A_GROUP] = {0};
    struct store_write *write;
    size_t count = 0;

    while ((write = store_writes_pop(writes))) {
        size_t i = 0;

        if (!write->loop) {
            write->on_done(write);
            continue;
        }
        while (i < count && chains[i].head->loop != write->loop) {
            i++;
        }
        if (i == LOOPS_OF_A_GROUP) {
            /* More loops than anyone has: the first chain makes room. */
            post_chain(&chains[0]);
            memmove(chains, chains + 1, sizeof chains - sizeof chains[0]);
            i = --count;
        }
        if (i == count) {
            chains[i] = (struct store_writes){0};
            count++;
        }
        store_writes_push(&chains[i], write);
    }
    for (size_t i = 0; i < count; i++) {
        post_chain(&chains[i]);
    }
}

static bool only_lazy(const struct store_leveldb *store)
{
    return store->eager == 0 && store->queue.count > 0 && store->queue.count < GROUP_WRITES;
}

/* Answers those that have no loop and came while the store was failed; the lock is held. */
static void answer_refused(struct store_leveldb *store)
{
    struct store_writes refused = store->refused;

    store->refused = (struct store_writes){0};
    if (refused.head) {
        pthread_mutex_unlock(&store->lock);
        store_writes_answer(&refused);
        pthread_mutex_lock(&store->lock);
    }
}

/*
 * Waits until something is to do, and takes the queue. False when the store ends and
 * everything is written.
 */
static bool gather(struct store_leveldb *store)
{
    bool more = true;

    pthread_mutex_lock(&store->lock);
    while (!store->taken.head && !atomic_load(&store->failed)) {
        answer_refused(store);
        if (store->ending || (store->queue.head && !only_lazy(store))) {
            more = store->queue.head;
            break;
        }
        if (!store->queue.head) {
            store->sleep = STORE_SLEEPS;
            pthread_cond_wait(&store->for_writer, &store->lock);
        } else {
            store->sleep = STORE_SLEEPS_FOR_LAZY;
            if (pthread_cond_timedwait(&store->for_writer, &store->lock, &store->lazy_until) ==
                ETIMEDOUT) {
                break;
            }
        }
    }
    store->sleep = STORE_AWAKE;
    store_writes_join(&store->taken, &store->queue);
    store->eager = 0;
    pthread_mutex_unlock(&store->lock);
    return more;
}

static void apply_taken(struct store_leveldb *store)
{
    while (store->taken.head && store->applied.count < GROUP_WRITES &&
           store->group.octets < GROUP_OCTETS && store->group.rc == 0) {
        struct store_write *write = store_writes_pop(&store->taken);

        store_writes_push(&store->applied, write);
        write->apply(write, &store->group.port);
    }
}

static void tell_batch(struct store_leveldb *store, bool durable)
{
    if (store->events.on_batch) {
        store->events.on_batch(store->events.owner, durable);
    }
}

static int commit(struct store_leveldb *store, struct pn_err *err)
{
    int rc = store_group_commit(&store->group, err);

    if (rc == 0) {
        atomic_fetch_add(&store->syncs, store->group.syncs);
        atomic_fetch_add(&store->written, store->group.octets);
    }
    tell_batch(store, rc == 0);
    return rc;
}

static void answer_applied(struct store_leveldb *store)
{
    for (struct store_write *write = store->applied.head; write; write = write->next) {
        write->status = 0;
    }
    store_writes_answer(&store->applied);
}

/* Something that lies in a value file has ended: the reader's thread may have to look. */
static void wake_upkeep(struct store_leveldb *store)
{
    if (store_values_wants_upkeep(store->handle.values)) {
        pthread_mutex_lock(&store->lock);
        pthread_cond_signal(&store->for_reader);
        pthread_mutex_unlock(&store->lock);
    }
}

static void write_group(struct store_leveldb *store)
{
    struct pn_err err;

    store_group_begin(&store->group);
    apply_taken(store);
    if (commit(store, &err) == 0) {
        answer_applied(store);
        wake_upkeep(store);
    } else {
        store_leveldb_fail(store, &err);
    }
}

static void keep_tag(struct store_leveldb *store, const struct store_tag *tag)
{
    if (store->tag_count == store->tag_cap) {
        store->tag_cap = store->tag_cap ? store->tag_cap * 2 : 64;
        store->tags = pn_realloc(store->tags, store->tag_cap * sizeof *store->tags);
    }
    store->tags[store->tag_count++] = *tag;
}

/* Keeps the `must` writes in `taken`, in their order; the rest moves to `lost`. */
static void split_failed(struct store_leveldb *store, struct store_writes *lost, int status)
{
    struct store_writes all = store->applied;
    struct store_write *write;

    store->applied = (struct store_writes){0};
    store_writes_join(&all, &store->taken);
    while ((write = store_writes_pop(&all))) {
        if (write->must) {
            store_writes_push(&store->taken, write);
        } else {
            write->status = status;
            keep_tag(store, &write->tag);
            store_writes_push(lost, write);
        }
    }
}

static void set_state(struct store_leveldb *store, enum store_state state,
                      const struct pn_err *err)
{
    if (store->events.on_state) {
        store->events.on_state(store->events.owner, state, err);
    }
}

/* The failure is told, writes that may fail are answered, and nobody is inside any more. */
static void retreat(struct store_leveldb *store)
{
    struct store_writes lost = {0};
    struct pn_err why;

    pthread_mutex_lock(&store->lock);
    atomic_store(&store->state, STORE_REOPENING);
    store_writes_join(&store->taken, &store->queue);
    store->eager = 0;
    why = store->failure;
    while (store->reading) {
        pthread_cond_wait(&store->for_writer, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    store->suspect = why.code == PN_ECORRUPT;
    split_failed(store, &lost, why.code == PN_ENOSPACE ? PN_ENOSPACE : PN_EIO);
    set_state(store, STORE_REOPENING, &why);
    store_writes_answer(&lost);
    store_handle_close(&store->handle);
}

/* The first batch of a new handle: what failed is undone, what must be is applied. */
static int heal(struct store_leveldb *store, struct pn_err *err)
{
    store_group_begin(&store->group);
    if (store->events.on_heal) {
        store->events.on_heal(store->events.owner, &store->group.port, store->tags,
                              store->tag_count);
    }
    apply_taken(store);
    return commit(store, err);
}

static int try_again(struct store_leveldb *store, struct pn_err *err)
{
    struct store_handle *handle = &store->handle;
    int rc = store_handle_open(handle, store->suspect, err);

    if (rc == PN_ECORRUPT && !store->suspect) {
        store->suspect = true;
        rc = store_handle_open(handle, true, err);
    }
    if (rc == 0) {
        rc = heal(store, err);
    }
    if (rc == PN_ENOSPACE) {
        (void)store_ballast_drop(handle);
    }
    if (rc < 0) {
        struct store_writes none = {0};

        split_failed(store, &none, rc); /* only `must` writes are left: back in order */
        pn_assert(!none.head);
        store->suspect = store->suspect || rc == PN_ECORRUPT;
        store_handle_close(handle);
    }
    return rc;
}

/* Sleeps until the next try; what comes meanwhile waits or is refused. True: give up. */
static bool rest(struct store_leveldb *store)
{
    struct timespec until = store_time_after(REOPEN_EVERY_MS);
    bool ending;

    pthread_mutex_lock(&store->lock);
    do {
        answer_refused(store);
        ending = store->ending;
    } while (!ending && pthread_cond_timedwait(&store->for_writer, &store->lock, &until) == 0);
    store_writes_join(&store->taken, &store->queue);
    store->eager = 0;
    pthread_mutex_unlock(&store->lock);
    return ending;
}

static void give_up(struct store_leveldb *store)
{
    pthread_mutex_lock(&store->lock);
    store_writes_join(&store->taken, &store->queue);
    pthread_mutex_unlock(&store->lock);
    for (struct store_write *write = store->taken.head; write; write = write->next) {
        write->status = PN_EIO;
    }
    store_writes_answer(&store->taken);
}

/* True when the store works again; false when it ends first. */
static bool recover(struct store_leveldb *store)
{
    struct pn_err err;

    retreat(store);
    while (try_again(store, &err) < 0) {
        if (rest(store)) {
            if (try_again(store, &err) == 0) {
                break; /* the last chance of those that must be written */
            }
            give_up(store);
            return false;
        }
    }
    store->tag_count = 0;
    pthread_mutex_lock(&store->lock);
    atomic_store(&store->failed, false);
    atomic_store(&store->state, STORE_OPEN);
    pthread_cond_signal(&store->for_reader); /* the value files of the new handle */
    pthread_mutex_unlock(&store->lock);
    set_state(store, STORE_OPEN, NULL);
    answer_applied(store);
    return true;
}

/* The ballast was given up: it comes back when there is room, looked at once a minute. */
static void check_ballast(struct store_leveldb *store)
{
    struct timespec now = store_time_after(0);

    if (now.tv_sec - store->ballast_checked.tv_sec >= BALLAST_CHECK_MS / 1000) {
        store->ballast_checked = now;
        if (!store_ballast_is_there(&store->handle)) {
            store_ballast_make(&store->handle);
        }
    }
}

void *store_writer_main(void *arg)
{
    struct store_leveldb *store = arg;

    while (gather(store)) {
        if (store->taken.head && !atomic_load(&store->failed)) {
            write_group(store);
            check_ballast(store);
        }
        if (atomic_load(&store->failed) && !recover(store)) {
            break;
        }
    }
    atomic_store(&store->state, STORE_CLOSED);
    return NULL;
}
