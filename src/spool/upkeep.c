/*
 * upkeep.c - what the spool does by itself: sweeping, and asking for empty days.
 *
 * A message that was being received when the daemon ended left chunks without an envelope,
 * and a mark that says so. The marks name the run that made them, so that the sweep after
 * a start leaves alone what is being received now. It goes in pieces, in the background:
 * nothing waits for it.
 */
#include "spool_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define SWEEP_PIECE 200
#define DAYS_MAX    64

struct sweep {
    struct spool *spool;
    struct store_read read;
    struct store_write write;
    struct pn_id ids[SWEEP_PIECE];
    size_t count;
};

static void apply_sweep(struct store_write *write, struct store_batch *batch)
{
    struct sweep *sweep = PN_CONTAINER(write, struct sweep, write);

    for (size_t i = 0; i < sweep->count; i++) {
        spool_change_erase(sweep->spool, batch, &sweep->ids[i]);
    }
}

static void end_sweep(struct sweep *sweep, bool swept)
{
    sweep->spool->sweeping = false;
    sweep->spool->swept = swept;
    free(sweep);
}

static void on_swept(struct store_write *write)
{
    struct sweep *sweep = PN_CONTAINER(write, struct sweep, write);

    if (write->status < 0) {
        end_sweep(sweep, false); /* the next maintenance begins again */
    } else {
        sweep->count = 0;
        store_ask(sweep->spool->store, &sweep->read);
    }
}

static void run_sweep(struct store_read *read, struct store_view *view)
{
    struct sweep *sweep = PN_CONTAINER(read, struct sweep, read);
    struct spool_partial_record partial;
    struct spool_key first;
    struct pn_str key, value;

    spool_key_prefix(&first, SPOOL_KEY_PARTIAL, PN_STR(""));
    for (store_view_seek(view, spool_key_str(&first));
         sweep->count < SWEEP_PIECE && store_view_item(view, &key, &value) &&
         pn_str_starts(key, spool_key_str(&first));
         store_view_next(view)) {
        if (!spool_partial_decode(value, &partial) || partial.run != sweep->spool->run) {
            sweep->count +=
                spool_key_parse_id(key, SPOOL_KEY_PARTIAL, &sweep->ids[sweep->count]);
        }
    }
}

static void on_read(struct store_read *read)
{
    struct sweep *sweep = PN_CONTAINER(read, struct sweep, read);

    if (read->status < 0 || sweep->count == 0) {
        end_sweep(sweep, read->status == 0);
        return;
    }
    sweep->write =
        (struct store_write){.apply = apply_sweep, .on_done = on_swept, .loop = read->loop};
    store_submit(sweep->spool->store, &sweep->write);
}

void spool_sweep_start(struct spool *spool, struct loop *loop)
{
    struct sweep *sweep = PN_NEW(struct sweep);

    spool->sweeping = true;
    sweep->spool = spool;
    sweep->read = (struct store_read){.run = run_sweep, .on_done = on_read, .loop = loop};
    store_ask(spool->store, &sweep->read);
}

/* ---- days that nobody needs any more
 * ---------------------------------------------------------- */

struct days_ask {
    struct spool *spool;
    struct store_read read;
    uint32_t days[DAYS_MAX];
    bool empty[DAYS_MAX];
    size_t count;
};

static void run_days(struct store_read *read, struct store_view *view)
{
    struct days_ask *ask = PN_CONTAINER(read, struct days_ask, read);
    struct pn_buf value;

    pn_buf_init(&value, STORE_VALUE_MAX);
    for (size_t i = 0; i < ask->count; i++) {
        struct spool_key key;

        spool_key_of_day(&key, ask->days[i]);
        ask->empty[i] = !store_view_get(view, spool_key_str(&key), &value);
    }
    pn_buf_fini(&value);
}

static void on_days(struct store_read *read)
{
    struct days_ask *ask = PN_CONTAINER(read, struct days_ask, read);

    for (size_t i = 0; i < ask->count && read->status == 0; i++) {
        if (ask->empty[i]) {
            spool_days_mark_empty(&ask->spool->days, ask->days[i]);
        }
    }
    free(ask);
}

void spool_days_ask(struct spool *spool, struct loop *loop)
{
    struct days_ask *ask = PN_NEW(struct days_ask);

    ask->spool = spool;
    ask->count = spool_days_old(&spool->days, ask->days, DAYS_MAX);
    if (ask->count == 0) {
        free(ask);
        return;
    }
    ask->read = (struct store_read){.run = run_days, .on_done = on_days, .loop = loop};
    store_ask(spool->store, &ask->read);
}
