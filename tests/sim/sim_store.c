/*
 * sim_store.c - the store port on a disk that can lose power and can fail.
 *
 * There are two, the spool's and the state's, each with a disk of its own to count its
 * operations on. Broken and full are both at once, as two folders of one file system.
 *
 * The writer does what LevelDB's writer here does: it takes what has gathered, applies it
 * to an overlay, appends (one operation), syncs (another, which takes its time), merges the
 * overlay into what is on disk, and answers. Between append and sync the batch is neither
 * safe nor lost: a power cut then keeps it or drops it, as the seed says, and so does a
 * failure of either operation (LevelDB 1.23: the record may be found when the log is read
 * again, and a handle that failed is never used again). A batch is whole or not there, as
 * LevelDB's records are.
 *
 * After a failure: writes that may fail are answered, the store is opened again (an
 * operation) until that works, the first batch heals and applies the writes that must be,
 * and only when that is durable the store is open.
 *
 * The state's store does not sync; what becomes of that in a power cut stands in sim_disk.c.
 *
 * The reader runs one request after the other, each an operation. So is opening at a start.
 */
#include "sim_priv.h"

#define GROUP_MOST   2000
#define LAZY_MS      200
#define REOPEN_MS    1000
#define READ_MOST_MS 2

enum phase {
    IDLE,
    GATHERING, /* the event starts a batch */
    SYNCING,   /* appended; the event ends the sync */
    RESTING,   /* failed; the event tries to open again */
};

struct writes {
    struct store_write *head, *tail;
    size_t count;
};

struct sim_store {
    struct store port; /* first */
    struct sim *sim;
    struct sim_disk *disk;
    struct store_events events;
    enum store_state state;
    enum phase phase;
    bool failed; /* a read failed while a sync is under way */
    bool dead;
    bool finished; /* the daemon has ended by itself: the kernel has all that was written */
    bool ballast;
    struct writes queue, applied;
    size_t eager;
    struct sim_map *overlay;
    struct store_tag *tags;
    size_t tag_count, tag_cap;
    struct store_read *reads;
    struct store_read **reads_end;
    bool reading;
    struct sim_event writer, reader;
    uint64_t syncs, written;
};

struct batch {
    struct store_batch port; /* first */
    struct sim_store *store;
};

struct view {
    struct store_view port; /* first */
    struct sim_store *store;
    const struct sim_item *item;
    bool fails;
    uint64_t left; /* so many calls still see the truth */
};

static struct sim_store *store_of(const struct store *port)
{
    return PN_CONTAINER((uintptr_t)port, struct sim_store, port);
}

static void push(struct writes *writes, struct store_write *write)
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

static struct store_write *pop(struct writes *writes)
{
    struct store_write *write = writes->head;

    if (write) {
        writes->head = write->next;
        writes->count--;
    }
    return write;
}

/* ---- operations and their faults ----------------------------------------------------------
 */

enum outcome { WELL, FAILS, CUT };

static enum outcome operation(struct sim_store *store)
{
    struct sim_disk *disk = store->disk;

    disk->operations++;
    if (disk->fault != SIM_NO_FAULT && disk->operations >= disk->fault_at &&
        disk->operations < disk->fault_at + disk->fault_span) {
        disk->happened = true;
        if (disk->fault == SIM_POWER_CUT ||
            (disk->fault == SIM_CUT_AND_FAIL && disk->operations == disk->fault_at)) {
            sim_note(store->sim, "power is cut after operation %llu of the %s",
                     (unsigned long long)disk->operations, disk->name);
            store->sim->cut_now = true;
            return CUT;
        }
        sim_note(store->sim, "operation %llu of the %s fails",
                 (unsigned long long)disk->operations, disk->name);
        return FAILS;
    }
    return store->sim->disk.broken ? FAILS : WELL;
}

/* ---- batches ------------------------------------------------------------------------------
 */

static bool batch_get(struct store_batch *port, struct pn_str key, struct pn_buf *out)
{
    struct sim_store *store = PN_CONTAINER(port, struct batch, port)->store;
    const struct sim_item *item = sim_map_find(store->overlay, key);

    if (!item) {
        item = sim_map_find(store->disk->items, key);
    }
    pn_buf_clear(out);
    return item && !item->deleted && pn_buf_append(out, item->value) == 0;
}

static void batch_put(struct store_batch *port, struct pn_str key, struct pn_str value)
{
    struct sim_store *store = PN_CONTAINER(port, struct batch, port)->store;

    pn_assert(value.len <= STORE_VALUE_MAX);
    sim_map_put(store->overlay, key, value, false);
    store->written += key.len + value.len;
}

static void batch_del(struct store_batch *port, struct pn_str key)
{
    sim_map_put(PN_CONTAINER(port, struct batch, port)->store->overlay, key, PN_STR(""), true);
}

static const struct store_batch_ops batch_ops = {batch_get, batch_put, batch_del};

/* ---- answers -------------------------------------------------------------------------------
 */

static void run_write(struct loop_task *task)
{
    struct store_write *write = PN_CONTAINER(task, struct store_write, task);

    write->on_done(write);
}

static void answer_write(struct store_write *write, int status)
{
    write->status = status;
    if (!write->loop) {
        write->on_done(write);
        return;
    }
    write->task.on_run = run_write;
    (void)!loop_post(write->loop, &write->task);
}

static void answer_all(struct writes *writes, int status)
{
    struct store_write *write;

    while ((write = pop(writes))) {
        answer_write(write, status);
    }
}

/* ---- the writer -----------------------------------------------------------------------------
 */

static void wake(struct sim_store *store);

static void apply_queue(struct sim_store *store, size_t most)
{
    struct batch batch = {{&batch_ops}, store};

    while (store->queue.head && store->applied.count < most) {
        struct store_write *write = pop(&store->queue);

        if (!write->lazy && store->eager > 0) {
            store->eager--;
        }
        push(&store->applied, write);
        write->apply(write, &batch.port);
    }
}

static void become(struct sim_store *store, enum store_state state, const struct pn_err *err)
{
    store->state = state;
    store->disk->trouble_ms = store->sim->now_ms;
    store->events.on_state(store->events.owner, state, err);
}

static void keep_tag(struct sim_store *store, const struct store_tag *tag)
{
    if (store->tag_count == store->tag_cap) {
        store->tag_cap = store->tag_cap ? 2 * store->tag_cap : 16;
        store->tags = pn_realloc(store->tags, store->tag_cap * sizeof *store->tags);
    }
    store->tags[store->tag_count++] = *tag;
}

/* What must be goes back into the queue, in order; the rest moves to `lost`. */
static void split(struct sim_store *store, struct writes *lost)
{
    struct writes all = store->applied;
    struct store_write *write;

    while ((write = pop(&store->queue))) {
        push(&all, write);
    }
    store->applied = (struct writes){0};
    store->queue = (struct writes){0};
    store->eager = 0;
    while ((write = pop(&all))) {
        if (write->must) {
            push(&store->queue, write);
        } else {
            keep_tag(store, &write->tag);
            push(lost, write);
        }
    }
}

/* Nobody uses the handle any more. */
static void retreat(struct sim_store *store, int code)
{
    struct writes lost = {0};
    struct pn_err err;

    if (store->disk->failed_ms < 0) {
        store->disk->failed_ms = store->sim->now_ms;
    }
    pn_err_set(&err, code, "the simulated disk %s",
               code == PN_ENOSPACE ? "is full" : "has failed");
    sim_map_clear(store->overlay);
    store->failed = false;
    split(store, &lost);
    become(store, STORE_REOPENING, &err);
    answer_all(&lost, code);
    store->phase = RESTING;
    sim_event_after(store->sim, &store->writer, 1);
}

/* What the batch changed is what is there from now on. */
static void keep_overlay(struct sim_store *store)
{
    if (store->disk->durable) {
        sim_disk_note_unsynced(store->sim, store->disk, store->overlay);
    }
    sim_map_merge(store->disk->items, store->overlay);
    sim_map_clear(store->overlay);
}

/* The batch may be found on disk afterwards, or not. */
static void toss(struct sim_store *store)
{
    if (sim_chance(store->sim, 500)) {
        keep_overlay(store);
    }
}

static void tell_batch(struct sim_store *store, bool durable)
{
    if (store->events.on_batch) {
        store->events.on_batch(store->events.owner, durable);
    }
}

static void batch_failed(struct sim_store *store, int code)
{
    toss(store);
    tell_batch(store, false);
    retreat(store, code);
}

static bool no_room(struct sim_store *store)
{
    return store->sim->disk.full;
}

/* The state's store appends and is done; the spool's syncs, which takes its time. */
static int64_t draw_sync(struct sim_store *store)
{
    int64_t most_ms = store->sim->disk.sync_ms;

    return store->disk->durable
               ? 0
               : 1 + (int64_t)pn_rand_below(&store->sim->rand, (uint64_t)most_ms);
}

static void begin_batch(struct sim_store *store)
{
    struct sim *sim = store->sim;
    enum outcome outcome;

    sim_map_clear(store->overlay);
    apply_queue(store, GROUP_MOST);
    outcome = operation(store);
    if (outcome == CUT) {
        store->phase = SYNCING;
    } else if (outcome == FAILS || no_room(store)) {
        batch_failed(store, outcome == FAILS ? PN_EIO : PN_ENOSPACE);
    } else {
        store->phase = SYNCING;
        sim_event_after(sim, &store->writer, draw_sync(store));
    }
}

static void end_sync(struct sim_store *store)
{
    enum outcome outcome = operation(store);

    if (outcome == FAILS) {
        batch_failed(store, PN_EIO);
        return;
    }
    keep_overlay(store);
    if (outcome == CUT) {
        store->phase = IDLE; /* durable, and nobody was told */
        return;
    }
    store->syncs++;
    store->ballast = true;
    store->phase = IDLE;
    tell_batch(store, true);
    answer_all(&store->applied, 0);
    if (store->failed) {
        retreat(store, PN_EIO);
    } else {
        wake(store);
    }
}

/* 0, an error, or 1 for a power cut: append and sync of the first batch of a new handle. */
static int heal(struct sim_store *store)
{
    struct batch batch = {{&batch_ops}, store};
    enum outcome outcome;

    sim_map_clear(store->overlay);
    if (store->events.on_heal) {
        store->events.on_heal(store->events.owner, &batch.port, store->tags, store->tag_count);
    }
    apply_queue(store, SIZE_MAX);
    outcome = operation(store);
    if (outcome == WELL && no_room(store)) {
        if (!store->ballast) {
            return PN_ENOSPACE;
        }
        store->ballast = false;
    }
    if (outcome == WELL) {
        outcome = operation(store);
    }
    if (outcome == CUT) {
        store->phase = SYNCING;
        return 1;
    }
    if (outcome == FAILS) {
        toss(store);
        return PN_EIO;
    }
    return 0;
}

static void reopen(struct sim_store *store)
{
    enum outcome outcome = operation(store);
    int rc = outcome == WELL ? 0 : outcome == CUT ? 1 : PN_EIO;
    bool healing = rc == 0;

    if (healing) {
        rc = heal(store);
    }
    if (rc > 0) {
        return;
    }
    if (rc < 0) {
        struct writes none = {0};

        if (healing) {
            tell_batch(store, false);
        }
        split(store, &none);
        pn_assert(!none.head);
        sim_map_clear(store->overlay);
        sim_event_after(store->sim, &store->writer, REOPEN_MS);
        return;
    }
    keep_overlay(store);
    store->syncs++;
    store->tag_count = 0;
    store->disk->failed_ms = -1;
    store->phase = IDLE;
    tell_batch(store, true);
    become(store, STORE_OPEN, NULL);
    answer_all(&store->applied, 0);
    wake(store);
}

static void on_writer(struct sim_event *event)
{
    struct sim_store *store = PN_CONTAINER(event, struct sim_store, writer);

    switch (store->phase) {
    case IDLE:
        break;
    case GATHERING:
        begin_batch(store);
        break;
    case SYNCING:
        end_sync(store);
        break;
    case RESTING:
        reopen(store);
        break;
    }
}

static void wake(struct sim_store *store)
{
    if (store->dead || !store->queue.head || store->phase > GATHERING) {
        return;
    }
    if (store->phase == IDLE || store->eager == 1) {
        store->phase = GATHERING;
        sim_event_after(store->sim, &store->writer,
                        store->eager > 0 ? (int64_t)pn_rand_below(&store->sim->rand, 2)
                                         : LAZY_MS);
    }
}

static void take_write(struct store *port, struct store_write *write)
{
    struct sim_store *store = store_of(port);

    if (!store->dead && !write->must && store->state != STORE_OPEN) {
        answer_write(write, PN_EIO);
        return;
    }
    store->eager += !write->lazy;
    push(&store->queue, write);
    wake(store);
}

/* ---- the reader
 * ------------------------------------------------------------------------------ */

static bool view_fails(struct view *view)
{
    if (view->fails && view->left > 0) {
        view->left--;
        return false;
    }
    return view->fails;
}

static bool view_get(struct store_view *port, struct pn_str key, struct pn_buf *out)
{
    struct view *view = PN_CONTAINER(port, struct view, port);
    const struct sim_item *item = sim_map_find(view->store->disk->items, key);

    pn_buf_clear(out);
    return !view_fails(view) && item && pn_buf_append(out, item->value) == 0;
}

static void view_seek(struct store_view *port, struct pn_str key)
{
    struct view *view = PN_CONTAINER(port, struct view, port);

    view->item = view_fails(view) ? NULL : sim_map_seek(view->store->disk->items, key);
}

static bool view_item(struct store_view *port, struct pn_str *out_key, struct pn_str *out_value)
{
    struct view *view = PN_CONTAINER(port, struct view, port);

    if (!view->item) {
        return false;
    }
    *out_key = view->item->key;
    *out_value = view->item->value;
    return true;
}

static void view_next(struct store_view *port)
{
    struct view *view = PN_CONTAINER(port, struct view, port);

    view->item = view->item && !view_fails(view) ? sim_map_next(view->item) : NULL;
}

static const struct store_view_ops view_ops = {view_get, view_seek, view_item, view_next};

static void run_read(struct loop_task *task)
{
    struct store_read *read = PN_CONTAINER(task, struct store_read, task);

    read->on_done(read);
}

static void answer_read(struct store_read *read, int status)
{
    read->status = status;
    read->task.on_run = run_read;
    (void)!loop_post(read->loop, &read->task);
}

static void read_later(struct sim_store *store)
{
    if (!store->dead && store->reads && !store->reading) {
        store->reading = true;
        sim_event_after(store->sim, &store->reader,
                        (int64_t)pn_rand_below(&store->sim->rand, READ_MOST_MS + 1));
    }
}

static struct store_read *pop_read(struct sim_store *store)
{
    struct store_read *read = store->reads;

    if (read) {
        store->reads = read->next;
        if (!store->reads) {
            store->reads_end = &store->reads;
        }
    }
    return read;
}

static void on_reader(struct sim_event *event)
{
    struct sim_store *store = PN_CONTAINER(event, struct sim_store, reader);
    struct store_read *read = pop_read(store);
    struct view view = {.port = {&view_ops}, .store = store};
    enum outcome outcome;

    store->reading = false;
    if (store->state != STORE_OPEN || store->failed) {
        answer_read(read, PN_EIO);
        read_later(store);
        return;
    }
    outcome = operation(store);
    view.fails = outcome == FAILS;
    view.left = view.fails ? pn_rand_below(&store->sim->rand, 20) : 0;
    read->run(read, &view.port);
    answer_read(read, outcome == FAILS ? PN_EIO : 0);
    if (outcome == FAILS && store->phase == SYNCING) {
        store->failed = true;
    } else if (outcome == FAILS) {
        sim_event_stop(store->sim, &store->writer);
        retreat(store, PN_EIO);
    }
    if (outcome != CUT) {
        read_later(store);
    }
}

static void take_read(struct store *port, struct store_read *read)
{
    struct sim_store *store = store_of(port);

    read->next = NULL;
    *store->reads_end = read;
    store->reads_end = &read->next;
    read_later(store);
}

/* ---- the port
 * -------------------------------------------------------------------------------- */

static enum store_state get_state(const struct store *port)
{
    return store_of(port)->state;
}

static uint64_t get_syncs(const struct store *port)
{
    return store_of(port)->syncs;
}

static uint64_t get_written(const struct store *port)
{
    return store_of(port)->written;
}

static const struct store_ops store_ops = {take_write, take_read, get_state, get_syncs,
                                           get_written};

struct sim_store *sim_store_new(struct sim *sim, struct sim_disk *disk,
                                const struct store_events *events)
{
    struct sim_store *store = PN_NEW(struct sim_store);

    store->port.ops = &store_ops;
    store->sim = sim;
    store->disk = disk;
    store->events = *events;
    store->overlay = sim_map_new();
    store->reads_end = &store->reads;
    store->writer.on_fire = on_writer;
    store->reader.on_fire = on_reader;
    store->ballast = true;
    store->state = STORE_OPEN;
    store->events.on_state(store->events.owner, STORE_OPEN, NULL);
    return store;
}

bool sim_store_opens(struct sim_store *store)
{
    return operation(store) == WELL;
}

struct store *sim_store_port(struct sim_store *store)
{
    return &store->port;
}

bool sim_store_is_open(const struct sim_store *store)
{
    return store->state == STORE_OPEN;
}

void sim_store_finish(struct sim_store *store)
{
    store->finished = true;
    if (store->state == STORE_REOPENING) {
        sim_event_stop(store->sim, &store->writer);
        reopen(store); /* the last chance of those that must be written */
    }
    if (store->state != STORE_OPEN || store->sim->disk.broken || store->sim->disk.full) {
        return;
    }
    sim_event_stop(store->sim, &store->writer);
    if (store->phase != SYNCING) {
        sim_map_clear(store->overlay);
    }
    apply_queue(store, SIZE_MAX);
    keep_overlay(store);
    store->phase = IDLE;
    tell_batch(store, true);
    answer_all(&store->applied, 0);
}

void sim_store_cut(struct sim_store *store)
{
    if (store->dead) {
        return;
    }
    store->dead = true;
    if (store->phase == SYNCING) {
        toss(store);
    }
    if (store->disk->durable && !store->finished) {
        sim_disk_lose_unsynced(store->sim, store->disk);
    }
    sim_event_stop(store->sim, &store->writer);
    sim_event_stop(store->sim, &store->reader);
    store->disk->trouble_ms = store->sim->now_ms;
}

static void answer_dead(struct writes *writes)
{
    struct store_write *write;

    while ((write = pop(writes))) {
        answer_write(write, write->must ? 0 : PN_EIO);
    }
}

bool sim_store_answer(struct sim_store *store)
{
    bool any = store->applied.head || store->queue.head || store->reads;
    struct store_read *read;

    pn_assert(store->dead);
    answer_dead(&store->applied);
    answer_dead(&store->queue);
    while ((read = pop_read(store))) {
        answer_read(read, PN_EIO);
    }
    return any;
}

void sim_store_free(struct sim_store **pointer)
{
    struct sim_store *store = *pointer;

    *pointer = NULL;
    pn_assert(store->dead && !store->queue.head && !store->reads);
    sim_map_free(&store->overlay);
    free(store->tags);
    free(store);
}
