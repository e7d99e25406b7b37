/*
 * time.c - queue time is kept beside what is dated in it.
 *
 * DESIGN has the queue's clock among what can be learned again. But a crash may lose that
 * store's last minutes while the spool loses nothing; and when the wall clock has been set
 * back, the next start would then begin before the due times and tries that are in the
 * spool, and jobs would wait for days for a time that had been. So a batch that holds a
 * later time than the store has, holds that time as well, and the minutes in which nothing
 * is written are kept by whoever has the clock.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

static bool decode(const struct pn_buf *value, int64_t *time_ms)
{
    uint64_t number;
    bool good = spool_number_decode(pn_buf_str(value), &number) && number <= INT64_MAX;

    *time_ms = good ? (int64_t)number : 0;
    return good;
}

void spool_change_time(struct spool *spool, struct store_batch *batch, int64_t time_ms)
{
    struct spool_writer *writer = &spool->writer;
    struct pn_buf *value = &writer->small_value;
    struct spool_key key;

    if (time_ms <= writer->time_ms) {
        return;
    }
    spool_key_prefix(&key, SPOOL_KEY_TIME, PN_STR(""));
    if (writer->time_ms == 0 && store_batch_get(batch, spool_key_str(&key), value) &&
        decode(value, &writer->time_ms) && time_ms <= writer->time_ms) {
        return;
    }
    writer->time_ms = time_ms;
    pn_buf_clear(value);
    pn_assert(spool_number_encode((uint64_t)time_ms, value) == 0);
    store_batch_put(batch, spool_key_str(&key), pn_buf_str(value));
}

/* ---- when nothing else is written -------------------------------------------------------- */

struct keep {
    struct spool *spool;
    struct store_write write;
    int64_t now_ms;
};

static void apply_keep(struct store_write *write, struct store_batch *batch)
{
    struct keep *keep = PN_CONTAINER(write, struct keep, write);

    spool_change_time(keep->spool, batch, keep->now_ms);
}

static void on_kept(struct store_write *write)
{
    free(PN_CONTAINER(write, struct keep, write));
}

void spool_keep_time(struct spool *spool, int64_t now_ms)
{
    struct keep *keep;

    if (spool_get_readiness(spool) != SPOOL_READY) {
        return; /* it is not worth a failed append to a full disk */
    }
    keep = PN_NEW(struct keep);
    keep->spool = spool;
    keep->now_ms = now_ms;
    keep->write = (struct store_write){.apply = apply_keep, .on_done = on_kept, .lazy = true};
    store_submit(spool->store, &keep->write);
}

/* ---- at the start ------------------------------------------------------------------------ */

struct ask {
    struct store_read read;
    spool_time_fn *fn;
    void *owner;
    int64_t kept_ms;
    bool damaged;
};

static void run_ask(struct store_read *read, struct store_view *view)
{
    struct ask *ask = PN_CONTAINER(read, struct ask, read);
    struct spool_key key;
    struct pn_buf value;

    pn_buf_init(&value, STORE_VALUE_MAX);
    spool_key_prefix(&key, SPOOL_KEY_TIME, PN_STR(""));
    if (store_view_get(view, spool_key_str(&key), &value)) {
        ask->damaged = !decode(&value, &ask->kept_ms);
    }
    pn_buf_fini(&value);
}

static void on_asked(struct store_read *read)
{
    struct ask *ask = PN_CONTAINER(read, struct ask, read);
    int status = read->status == 0 && ask->damaged ? PN_ECORRUPT : read->status;

    ask->fn(ask->owner, status, status == 0 ? ask->kept_ms : 0);
    free(ask);
}

void spool_read_time(struct spool *spool, struct loop *loop, spool_time_fn *fn, void *owner)
{
    struct ask *ask = PN_NEW(struct ask);

    ask->fn = fn;
    ask->owner = owner;
    ask->read = (struct store_read){.run = run_ask, .on_done = on_asked, .loop = loop};
    store_ask(spool->store, &ask->read);
}
