/*
 * port/store.h - an ordered key-value store with group commit.
 *
 * store/ makes it on LevelDB with one writer and one reader thread; the simulation makes
 * it in memory, with power cuts. A request is embedded by its sender and belongs to the
 * store until its on_done runs on the sender's loop.
 *
 * Writes. The writer takes all requests that have gathered, calls apply of each, in the
 * order they came, on its own thread, writes what they put and deleted as one synced
 * batch, and then answers all of them. Within a batch, store_batch_get sees what earlier
 * applies changed. apply must be repeatable: after a failure it may run again. It touches
 * only its own request and the batch.
 *
 * Failure. A handle on which anything failed is never used again (LevelDB acknowledges
 * writes that it will lose after a failed append). The store answers every write that is
 * not `must` with a negative status, reopens, hands the tags of those writes to on_heal
 * (they may be half there), applies the `must` writes again, and goes on. While it is
 * failed, writes that are not `must` are answered PN_EIO at once, and reads too.
 */
#ifndef POSTERN_PORT_STORE_H
#define POSTERN_PORT_STORE_H

#include "postern/base/buf.h"
#include "postern/base/err.h"
#include "postern/port/loop.h"

struct store;
struct store_batch;
struct store_view;
struct store_write;
struct store_read;

#define STORE_TAG_OCTETS 16
#define STORE_VALUE_MAX  (4u << 20) /* no value is longer */

struct store_tag {
    uint8_t octets[STORE_TAG_OCTETS];
};

/* What apply may do. */
struct store_batch_ops {
    /* True, and *out filled (cleared first), when the key exists. */
    bool (*get)(struct store_batch *batch, struct pn_str key, struct pn_buf *out);
    void (*put)(struct store_batch *batch, struct pn_str key, struct pn_str value);
    void (*del)(struct store_batch *batch, struct pn_str key);
};
struct store_batch {
    const struct store_batch_ops *ops;
};

static inline bool store_batch_get(struct store_batch *batch, struct pn_str key,
                                   struct pn_buf *out)
{
    return batch->ops->get(batch, key, out);
}
static inline void store_batch_put(struct store_batch *batch, struct pn_str key,
                                   struct pn_str value)
{
    batch->ops->put(batch, key, value);
}
static inline void store_batch_del(struct store_batch *batch, struct pn_str key)
{
    batch->ops->del(batch, key);
}

/* What a read may do. One position; it lives for one request. */
struct store_view_ops {
    bool (*get)(struct store_view *view, struct pn_str key, struct pn_buf *out);
    void (*seek)(struct store_view *view, struct pn_str key); /* first key >= key */
    bool (*item)(struct store_view *view, struct pn_str *out_key, struct pn_str *out_value);
    void (*next)(struct store_view *view);
};
struct store_view {
    const struct store_view_ops *ops;
};

static inline bool store_view_get(struct store_view *view, struct pn_str key,
                                  struct pn_buf *out)
{
    return view->ops->get(view, key, out);
}
static inline void store_view_seek(struct store_view *view, struct pn_str key)
{
    view->ops->seek(view, key);
}
/* False at the end. The slices die with the next call on the view. */
static inline bool store_view_item(struct store_view *view, struct pn_str *out_key,
                                   struct pn_str *out_value)
{
    return view->ops->item(view, out_key, out_value);
}
static inline void store_view_next(struct store_view *view)
{
    view->ops->next(view);
}

typedef void store_apply_fn(struct store_write *write, struct store_batch *batch);
typedef void store_write_done_fn(struct store_write *write);
typedef void store_run_fn(struct store_read *read, struct store_view *view);
typedef void store_read_done_fn(struct store_read *read);

struct store_write {
    store_apply_fn *apply;        /* on the writer's thread */
    store_write_done_fn *on_done; /* on `loop`; on the writer's thread when loop is NULL */
    struct loop *loop;
    struct store_tag tag;  /* handed to on_heal when this write failed */
    bool must;             /* never fails: applied again until it is durable */
    bool lazy;             /* may wait up to 200 ms for others to share its sync */
    int status;            /* 0 or a negative PN_E…, set before on_done */
    struct loop_task task; /* the store's, with next, while it has the request */
    struct store_write *next;
};

struct store_read {
    store_run_fn *run;           /* on the reader's thread */
    store_read_done_fn *on_done; /* on `loop` */
    struct loop *loop;
    int status;
    struct loop_task task;
    struct store_read *next;
};

enum store_state { STORE_OPEN, STORE_REOPENING, STORE_CLOSED };

struct store_ops {
    void (*write)(struct store *store, struct store_write *write);
    void (*read)(struct store *store, struct store_read *read);
    enum store_state (*state)(const struct store *store); /* any thread */
    uint64_t (*syncs)(const struct store *store);         /* since start */
    uint64_t (*written)(const struct store *store);       /* octets of keys and values */
};
struct store {
    const struct store_ops *ops;
};

/* Any thread may call these. on_done never runs inside the call. */
static inline void store_submit(struct store *store, struct store_write *write)
{
    store->ops->write(store, write);
}
static inline void store_ask(struct store *store, struct store_read *read)
{
    store->ops->read(store, read);
}
static inline enum store_state store_get_state(const struct store *store)
{
    return store->ops->state(store);
}

/* What the store's user hands to its maker. */
struct store_events {
    void *owner;
    /* On the writer's thread, in the first batch after a failure, also when count is 0: undo
     * these, if there. */
    void (*on_heal)(void *owner, struct store_batch *batch, const struct store_tag *tags,
                    size_t count);
    /* On the writer's thread, after each batch and before any on_done of it: is it durable?
     * When it is not, its `must` writes are applied again later; the others are gone. */
    void (*on_batch)(void *owner, bool durable);
    /* On the writer's thread, or its maker's while it opens: the state changed. err says why
     * it is not STORE_OPEN; with STORE_OPEN it is NULL, or a warning. */
    void (*on_state)(void *owner, enum store_state state, const struct pn_err *err);
};

#endif
