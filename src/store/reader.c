/*
 * reader.c - the reader's thread.
 *
 * Requests run one after the other, each with at most one iterator, made when it first
 * seeks and gone when it ends: an open iterator would keep deleted tables on disk. What is
 * read in a request is one state of the store only as far as its iterator goes; requests
 * that change what they read look again in their apply.
 *
 * A block whose checksum is wrong fails the request alone, not the store: one rotten
 * message must not stop all others (FAULTS 8.6), and so does a value file that does not have
 * what it should. Every other error ends the handle.
 *
 * Between requests the thread does a piece of upkeep of the value files, when there is some.
 */
#include "store_priv.h"

#include "postern/base/mem.h"

#define READS_PER_UPKEEP 32 /* while requests wait */

struct view {
    struct store_view port; /* first */
    struct store_leveldb *store;
    leveldb_iterator_t *iterator;
    struct pn_buf value; /* of the item, when it lies in a value file */
    int rc;
    struct pn_err err;
};

static struct view *view_of(struct store_view *port)
{
    return PN_CONTAINER(port, struct view, port);
}

/* From its first error on, and from the store's, a request finds nothing any more. */
static bool is_over(const struct view *view)
{
    return view->rc < 0 || atomic_load_explicit(&view->store->failed, memory_order_relaxed);
}

static void note_error(struct view *view, char *text)
{
    if (text) {
        view->rc = store_error_set(&view->err, "read from", view->store->handle.path, text);
        leveldb_free(text);
    }
}

/* True when a value of that key may be a pointer, and is one. */
static bool is_pointer(const struct view *view, struct pn_str key, struct pn_str stored,
                       struct store_pointer *out)
{
    return store_values_has(view->store->handle.values, key) &&
           store_pointer_decode(stored, out);
}

/* Appends what the pointer points to. */
static bool follow(struct view *view, const struct store_pointer *pointer, struct pn_buf *out)
{
    int rc = store_values_read(view->store->handle.values, pointer, out, &view->err);

    view->rc = rc < 0 ? rc : view->rc;
    return rc == 0;
}

static bool on_get(struct store_view *port, struct pn_str key, struct pn_buf *out)
{
    struct view *view = view_of(port);
    const struct store_handle *handle = &view->store->handle;
    struct store_pointer pointer;
    char *text = NULL;
    size_t len = 0;
    char *value;
    bool found;

    pn_buf_clear(out);
    if (is_over(view)) {
        return false;
    }
    value = leveldb_get(handle->db, handle->get_options, key.ptr, key.len, &len, &text);
    note_error(view, text);
    if (value && is_pointer(view, key, (struct pn_str){value, len}, &pointer)) {
        found = follow(view, &pointer, out);
    } else {
        found = value && pn_buf_append(out, (struct pn_str){value, len}) == 0;
    }
    leveldb_free(value);
    return found;
}

static void on_seek(struct store_view *port, struct pn_str key)
{
    struct view *view = view_of(port);
    const struct store_handle *handle = &view->store->handle;

    if (is_over(view)) {
        return;
    }
    if (!view->iterator) {
        view->iterator = leveldb_create_iterator(handle->db, handle->scan_options);
    }
    leveldb_iter_seek(view->iterator, key.ptr, key.len);
}

static bool on_item(struct store_view *port, struct pn_str *out_key, struct pn_str *out_value)
{
    struct view *view = view_of(port);
    struct store_pointer pointer;
    char *text = NULL;

    if (is_over(view) || !view->iterator) {
        return false;
    }
    if (!leveldb_iter_valid(view->iterator)) {
        leveldb_iter_get_error(view->iterator, &text);
        note_error(view, text);
        return false;
    }
    out_key->ptr = leveldb_iter_key(view->iterator, &out_key->len);
    out_value->ptr = leveldb_iter_value(view->iterator, &out_value->len);
    if (is_pointer(view, *out_key, *out_value, &pointer)) {
        pn_buf_clear(&view->value);
        if (!follow(view, &pointer, &view->value)) {
            return false;
        }
        *out_value = pn_buf_str(&view->value);
    }
    return true;
}

static void on_next(struct store_view *port)
{
    struct view *view = view_of(port);

    if (!is_over(view) && view->iterator && leveldb_iter_valid(view->iterator)) {
        leveldb_iter_next(view->iterator);
    }
}

static const struct store_view_ops view_ops = {
    .get = on_get, .seek = on_seek, .item = on_item, .next = on_next};

static void finish_view(struct view *view)
{
    char *text = NULL;

    if (view->iterator) {
        leveldb_iter_get_error(view->iterator, &text);
        note_error(view, text);
        leveldb_iter_destroy(view->iterator);
    }
    pn_buf_fini(&view->value);
}

static void run_read(struct store_leveldb *store, struct store_read *read)
{
    struct view view = {.port = {.ops = &view_ops}, .store = store};

    pn_buf_init(&view.value, STORE_VALUE_MAX);
    read->run(read, &view.port);
    finish_view(&view);
    read->status = view.rc == PN_ECORRUPT ? PN_ECORRUPT : is_over(&view) ? PN_EIO : 0;
    if (view.rc < 0 && view.rc != PN_ECORRUPT) {
        store_leveldb_fail(store, &view.err);
    }
}

static void run_answer(struct loop_task *task)
{
    struct store_read *read = PN_CONTAINER(task, struct store_read, task);

    read->on_done(read);
}

static void do_upkeep(struct store_leveldb *store)
{
    struct pn_err err;

    if (store_values_upkeep(store->handle.values, &err) == PN_EIO) {
        store_leveldb_fail(store, &err);
    }
}

/* The lock is held. While a failed handle is opened anew, nobody looks at its values. */
static bool wants_upkeep(const struct store_leveldb *store)
{
    return !atomic_load(&store->failed) && store_values_wants_upkeep(store->handle.values);
}

enum duty { DUTY_END, DUTY_READ, DUTY_UPKEEP };

/*
 * Waits for something to do. `reading` says whether the handle may be touched: a request that
 * may not is answered.
 */
static enum duty take_duty(struct store_leveldb *store, unsigned reads,
                           struct store_read **out_read)
{
    enum duty duty = DUTY_END;

    pthread_mutex_lock(&store->lock);
    while (!store->reads.head && !store->ending && !wants_upkeep(store)) {
        pthread_cond_wait(&store->for_reader, &store->lock);
    }
    if (store->reads.head && !(reads >= READS_PER_UPKEEP && wants_upkeep(store))) {
        *out_read = store->reads.head;
        store->reads.head = (*out_read)->next;
        duty = DUTY_READ;
    } else if (store->reads.head || !store->ending) {
        duty = DUTY_UPKEEP;
    }
    store->reading = duty != DUTY_END && !atomic_load(&store->failed);
    pthread_mutex_unlock(&store->lock);
    return duty;
}

static void let_go(struct store_leveldb *store)
{
    pthread_mutex_lock(&store->lock);
    store->reading = false;
    if (atomic_load(&store->failed)) {
        pthread_cond_signal(&store->for_writer);
    }
    pthread_mutex_unlock(&store->lock);
}

void *store_reader_main(void *arg)
{
    struct store_leveldb *store = arg;
    struct store_read *read = NULL;
    unsigned reads = 0; /* since the last piece of upkeep */
    enum duty duty;

    while ((duty = take_duty(store, reads, &read)) != DUTY_END) {
        if (duty == DUTY_UPKEEP) {
            do_upkeep(store);
            let_go(store);
            reads = 0;
            continue;
        }
        reads++;
        if (store->reading) {
            run_read(store, read);
            let_go(store);
        } else {
            read->status = PN_EIO;
        }
        read->task.on_run = run_answer;
        (void)!loop_post(read->loop, &read->task);
    }
    return NULL;
}
