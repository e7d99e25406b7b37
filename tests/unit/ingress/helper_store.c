/*
 * A store in memory. Its "threads" run when the test says so; what fails in a batch is
 * taken back, as a transaction would be, and told to on_heal before the next one.
 */
#include "helper_store.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define VALUE_MAX ((size_t)STORE_VALUE_MAX)

struct batch {
    struct store_batch port;
    struct test_store *store;
};

struct view {
    struct store_view port;
    struct test_store *store;
    size_t place;
};

static struct pn_str key_of(const struct test_item *item)
{
    return (struct pn_str){item->key, item->key_len};
}

/* The place of the first key >= key. */
static size_t place_of(const struct test_store *store, struct pn_str key)
{
    size_t low = 0;
    size_t high = store->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (pn_str_cmp(key_of(&store->items[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool has(const struct test_store *store, size_t place, struct pn_str key)
{
    return place < store->count && pn_str_eq(key_of(&store->items[place]), key);
}

static bool get(struct test_store *store, struct pn_str key, struct pn_buf *out)
{
    size_t place = place_of(store, key);

    if (!has(store, place, key)) {
        return false;
    }
    pn_buf_clear(out);
    pn_assert(pn_buf_append(out, pn_buf_str(&store->items[place].value)) == 0);
    return true;
}

static void del(struct test_store *store, struct pn_str key)
{
    size_t place = place_of(store, key);

    if (has(store, place, key)) {
        free(store->items[place].key);
        pn_buf_fini(&store->items[place].value);
        store->count--;
        memmove(&store->items[place], &store->items[place + 1],
                (store->count - place) * sizeof *store->items);
    }
}

static void put(struct test_store *store, struct pn_str key, struct pn_str value)
{
    size_t place = place_of(store, key);
    struct test_item *item;

    if (!has(store, place, key)) {
        if (store->count == store->cap) {
            store->cap = store->cap > 0 ? 2 * store->cap : 64;
            store->items = pn_realloc(store->items, store->cap * sizeof *store->items);
        }
        memmove(&store->items[place + 1], &store->items[place],
                (store->count - place) * sizeof *store->items);
        store->count++;
        store->items[place] = (struct test_item){pn_strndup(key), key.len, {0}};
        pn_buf_init(&store->items[place].value, VALUE_MAX);
        memcpy(store->items[place].key, key.ptr, key.len);
    }
    item = &store->items[place];
    pn_buf_clear(&item->value);
    pn_assert(pn_buf_append(&item->value, value) == 0);
}

static bool batch_get(struct store_batch *batch, struct pn_str key, struct pn_buf *out)
{
    return get(PN_CONTAINER(batch, struct batch, port)->store, key, out);
}

static void batch_put(struct store_batch *batch, struct pn_str key, struct pn_str value)
{
    put(PN_CONTAINER(batch, struct batch, port)->store, key, value);
}

static void batch_del(struct store_batch *batch, struct pn_str key)
{
    del(PN_CONTAINER(batch, struct batch, port)->store, key);
}

static const struct store_batch_ops batch_ops = {batch_get, batch_put, batch_del};

static bool view_get(struct store_view *view, struct pn_str key, struct pn_buf *out)
{
    return get(PN_CONTAINER(view, struct view, port)->store, key, out);
}

static void view_seek(struct store_view *port, struct pn_str key)
{
    struct view *view = PN_CONTAINER(port, struct view, port);

    view->place = place_of(view->store, key);
}

static bool view_item(struct store_view *port, struct pn_str *out_key, struct pn_str *out_value)
{
    struct view *view = PN_CONTAINER(port, struct view, port);

    if (view->place >= view->store->count) {
        return false;
    }
    *out_key = key_of(&view->store->items[view->place]);
    *out_value = pn_buf_str(&view->store->items[view->place].value);
    return true;
}

static void view_next(struct store_view *view)
{
    PN_CONTAINER(view, struct view, port)->place++;
}

static const struct store_view_ops view_ops = {view_get, view_seek, view_item, view_next};

static void store_write(struct store *port, struct store_write *write)
{
    struct test_store *store = PN_CONTAINER(port, struct test_store, port);

    write->next = NULL;
    *store->writes_end = write;
    store->writes_end = &write->next;
}

static void store_read(struct store *port, struct store_read *read)
{
    struct test_store *store = PN_CONTAINER(port, struct test_store, port);

    read->next = NULL;
    *store->reads_end = read;
    store->reads_end = &read->next;
}

static enum store_state store_state(const struct store *port)
{
    const struct test_store *store = (const struct test_store *)(const void *)port;

    return store->failed_count > 0 ? STORE_REOPENING : STORE_OPEN;
}

static uint64_t store_syncs(const struct store *port)
{
    return ((const struct test_store *)(const void *)port)->batches;
}

static uint64_t store_written(const struct store *port)
{
    (void)port;
    return 0;
}

static const struct store_ops store_ops = {store_write, store_read, store_state, store_syncs,
                                           store_written};

void test_store_init(struct test_store *store)
{
    *store = (struct test_store){.port = {&store_ops}};
    store->writes_end = &store->writes;
    store->reads_end = &store->reads;
}

void test_store_fini(struct test_store *store)
{
    while (store->count > 0) {
        del(store, key_of(&store->items[0]));
    }
    free(store->items);
    free(store->failed);
}

/* All of the gathered writes fail but those that must not. */
static void fail(struct test_store *store, struct store_write *writes)
{
    struct pn_err err = {0};

    store->failing = false;
    pn_err_set(&err, PN_ENOSPACE, "the disk is full");
    while (writes) {
        struct store_write *write = writes;

        writes = write->next;
        if (write->must) {
            store_write(&store->port, write);
            continue;
        }
        store->failed =
            pn_realloc(store->failed, (store->failed_count + 1) * sizeof *store->failed);
        store->failed[store->failed_count++] = write->tag;
        if (store->failed_count == 1) {
            store->events->on_state(store->events->owner, STORE_REOPENING, &err);
            store->events->on_batch(store->events->owner, false);
        }
        write->status = PN_ENOSPACE;
        write->on_done(write);
    }
}

static void heal(struct test_store *store, struct batch *batch)
{
    if (store->failed_count > 0) {
        store->events->on_heal(store->events->owner, &batch->port, store->failed,
                               store->failed_count);
        store->events->on_batch(store->events->owner, true);
        store->failed_count = 0;
        store->events->on_state(store->events->owner, STORE_OPEN, NULL);
    }
}

static bool run_writes(struct test_store *store)
{
    struct batch batch = {{&batch_ops}, store};
    struct store_write *writes = store->writes;
    bool healed = store->failed_count > 0;

    heal(store, &batch);
    store->writes = NULL;
    store->writes_end = &store->writes;
    if (!writes) {
        return healed;
    }
    if (store->failing) {
        fail(store, writes);
        return true;
    }
    for (struct store_write *write = writes; write; write = write->next) {
        write->apply(write, &batch.port);
    }
    store->batches++;
    store->events->on_batch(store->events->owner, true);
    while (writes) {
        struct store_write *write = writes;

        writes = write->next;
        write->status = 0;
        write->on_done(write);
    }
    return true;
}

static bool run_reads(struct test_store *store)
{
    struct store_read *reads = store->reads;
    bool any = reads != NULL;

    store->reads = NULL;
    store->reads_end = &store->reads;
    while (reads) {
        struct store_read *read = reads;
        struct view view = {{&view_ops}, store, 0};

        reads = read->next;
        read->status = 0;
        read->run(read, &view.port);
        read->on_done(read);
    }
    return any;
}

bool test_store_run(struct test_store *store)
{
    bool wrote = !store->stopped && run_writes(store);
    bool read = !store->stopped && run_reads(store);

    return wrote || read;
}
