/*
 * reader.c - the reader's thread.
 *
 * Requests run one after the other, each with at most one iterator, made when it first
 * seeks and gone when it ends: an open iterator would keep deleted tables on disk. What is
 * read in a request is one state of the store only as far as its iterator goes; requests
 * that change what they read look again in their apply.
 *
 * A block whose checksum is wrong fails the request alone, not the store: one rotten
 * message must not stop all others (FAULTS 8.6). Every other error ends the handle.
 */
#include "store_priv.h"

#include "postern/base/mem.h"

struct view {
    struct store_view port; /* first */
    struct store_leveldb *store;
    leveldb_iterator_t *iterator;
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

static bool on_get(struct store_view *port, struct pn_str key, struct pn_buf *out)
{
    struct view *view = view_of(port);
    const struct store_handle *handle = &view->store->handle;
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
    found = value && pn_buf_append(out, (struct pn_str){value, len}) == 0;
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
}

static void run_read(struct store_leveldb *store, struct store_read *read)
{
    struct view view = {.port = {.ops = &view_ops}, .store = store};

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

/* Waits for a request. `reading` says whether it may touch the handle. */
static struct store_read *take_read(struct store_leveldb *store)
{
    struct store_read *read;

    pthread_mutex_lock(&store->lock);
    while (!store->reads.head && !store->ending) {
        pthread_cond_wait(&store->for_reader, &store->lock);
    }
    read = store->reads.head;
    if (read) {
        store->reads.head = read->next;
        store->reading = !atomic_load(&store->failed);
    }
    pthread_mutex_unlock(&store->lock);
    return read;
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
    struct store_read *read;

    while ((read = take_read(store))) {
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
