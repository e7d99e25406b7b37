/*
 * pages.c - answers in bulk: pages of a domain, forgetting, and the clocks at start.
 *
 * Forgetting drops what the memory and the backlog have, waits by an empty write until what
 * the writer already had is in the store, and then reads and deletes piece by piece until
 * nothing is found. Who learns something meanwhile has learned it after the forgetting.
 */
#include "answers_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define ROWS_MAX     1000
#define FORGET_PIECE 1000
#define CLOCK_OCTETS 18

/* ---- pages -------------------------------------------------------------------------------
 */

struct page {
    struct store_read read;
    struct state_answers *answers;
    state_answers_fn *fn;
    void *owner;
    struct answers_key from; /* prefix, and the last local part of the page before */
    bool skip;               /* that one itself */
    size_t limit, count;
    bool end;
    struct pn_buf locals;
    struct answers_record *records;
    struct state_answer_row *rows;
};

static void run_page(struct store_read *read, struct store_view *view)
{
    struct page *page = PN_CONTAINER(read, struct page, read);
    struct pn_str prefix = {page->from.octets, page->from.domain_len + 2};
    struct pn_str from = state_answers_key_str(&page->from);
    struct pn_str key, value, local;

    page->end = true;
    for (store_view_seek(view, from); store_view_item(view, &key, &value);
         store_view_next(view)) {
        local = pn_str_sub(key, prefix.len, SIZE_MAX);
        if (!pn_str_starts(key, prefix)) {
            return;
        }
        if ((page->skip && pn_str_eq(key, from)) || local.len == 0 ||
            local.len > ANSWERS_LOCAL_MAX ||
            !state_answers_decode(value, &page->records[page->count])) {
            continue;
        }
        if (page->count == page->limit) {
            page->end = false;
            return;
        }
        pn_assert(pn_buf_append(&page->locals, local) == 0);
        page->rows[page->count++].local.len = local.len; /* the buffer may still move */
    }
}

static void on_page(struct store_read *read)
{
    struct page *page = PN_CONTAINER(read, struct page, read);
    struct pn_str rest = pn_buf_str(&page->locals);
    struct pn_str domain = {page->from.octets + 1, page->from.domain_len};

    pthread_mutex_lock(&page->answers->lock);
    for (size_t i = 0; i < page->count; i++) {
        struct state_answer_row *row = &page->rows[i];

        row->local = pn_str_sub(rest, 0, row->local.len);
        rest = pn_str_sub(rest, row->local.len, SIZE_MAX);
        row->answer = state_answers_judge(page->answers, domain, &page->records[i]);
    }
    pthread_mutex_unlock(&page->answers->lock);
    page->fn(page->owner, read->status, page->rows, read->status < 0 ? 0 : page->count,
             page->end);
    pn_buf_fini(&page->locals);
    free(page->records);
    free(page->rows);
    free(page);
}

void state_answers_list(struct state *state, struct loop *loop, struct pn_str domain,
                        struct pn_str after, size_t limit, state_answers_fn *fn, void *owner)
{
    struct page *page = PN_NEW(struct page);

    page->answers = state_answers_of(state);
    page->fn = fn;
    page->owner = owner;
    page->limit = limit < 1 ? 1 : limit > ROWS_MAX ? ROWS_MAX : limit;
    state_answers_make_key(&page->from, pn_str_sub(domain, 0, ANSWERS_DOMAIN_MAX),
                           pn_str_sub(after, 0, ANSWERS_LOCAL_MAX));
    pn_assert(page->from.len > 0);
    page->skip = after.len > 0;
    pn_buf_init(&page->locals, page->limit * ANSWERS_LOCAL_MAX);
    page->records = pn_alloc_array(page->limit + 1, sizeof *page->records);
    page->rows = pn_alloc_array(page->limit, sizeof *page->rows);
    page->read = (struct store_read){.run = run_page, .on_done = on_page, .loop = loop};
    store_ask(page->answers->store, &page->read);
}

/* ---- forgetting --------------------------------------------------------------------------
 */

struct forget {
    struct store_read read;
    struct store_write write;
    struct loop *loop;
    struct state_answers *answers;
    state_forget_fn *fn;
    void *owner;
    struct answers_key key;
    bool exactly;
    struct pn_buf keys; /* two octets of length, and a key, of each */
    size_t found, count;
};

static void end_forget(struct forget *forget, int status)
{
    pthread_mutex_lock(&forget->answers->lock);
    forget->answers->forgetting--;
    forget->answers->forgotten++;
    pthread_mutex_unlock(&forget->answers->lock);
    forget->fn(forget->owner, status, forget->count);
    pn_buf_fini(&forget->keys);
    free(forget);
}

static void run_forget(struct store_read *read, struct store_view *view)
{
    struct forget *forget = PN_CONTAINER(read, struct forget, read);
    struct pn_str from = state_answers_key_str(&forget->key);
    struct pn_str key, value;
    char len[2];

    for (store_view_seek(view, from);
         forget->found < FORGET_PIECE && store_view_item(view, &key, &value) &&
         pn_str_starts(key, from) && (!forget->exactly || key.len == from.len);
         store_view_next(view)) {
        pn_number_put(len, key.len, 2);
        if (key.len <= UINT16_MAX && pn_buf_room(&forget->keys) >= key.len + sizeof len) {
            pn_assert(pn_buf_append(&forget->keys, (struct pn_str){len, sizeof len}) == 0);
            pn_assert(pn_buf_append(&forget->keys, key) == 0);
            forget->found++;
        }
    }
}

static void apply_forget(struct store_write *write, struct store_batch *batch)
{
    struct forget *forget = PN_CONTAINER(write, struct forget, write);
    struct pn_str rest = pn_buf_str(&forget->keys);

    while (rest.len > 0) {
        size_t len = (size_t)pn_number_get(rest.ptr, 2);

        store_batch_del(batch, pn_str_sub(rest, 2, len));
        rest = pn_str_sub(rest, 2 + len, SIZE_MAX);
    }
}

static void on_read(struct store_read *read);

/* The empty write is done, or a piece is deleted: what is there now? */
static void on_deleted(struct store_write *write)
{
    struct forget *forget = PN_CONTAINER(write, struct forget, write);

    if (write->status < 0) {
        end_forget(forget, write->status);
        return;
    }
    forget->count += forget->found;
    forget->found = 0;
    pn_buf_clear(&forget->keys);
    forget->read =
        (struct store_read){.run = run_forget, .on_done = on_read, .loop = forget->loop};
    store_ask(forget->answers->store, &forget->read);
}

static void write_forget(struct forget *forget)
{
    forget->write = (struct store_write){
        .apply = apply_forget, .on_done = on_deleted, .loop = forget->loop};
    store_submit(forget->answers->store, &forget->write);
}

static void on_read(struct store_read *read)
{
    struct forget *forget = PN_CONTAINER(read, struct forget, read);

    if (read->status < 0 || forget->found == 0) {
        end_forget(forget, read->status);
        return;
    }
    write_forget(forget);
}

void state_answers_forget(struct state *state, struct loop *loop, struct pn_str domain,
                          struct pn_str local, state_forget_fn *fn, void *owner)
{
    struct forget *forget = PN_NEW(struct forget);
    struct answers_clock *clock;

    forget->answers = state_answers_of(state);
    forget->loop = loop;
    forget->fn = fn;
    forget->owner = owner;
    forget->exactly = local.len > 0;
    state_answers_make_key(&forget->key, pn_str_sub(domain, 0, ANSWERS_DOMAIN_MAX),
                           pn_str_sub(local, 0, ANSWERS_LOCAL_MAX));
    pn_assert(forget->key.len > 0);
    pn_buf_init(&forget->keys, (size_t)FORGET_PIECE * (2 + ANSWERS_KEY_MAX));
    pthread_mutex_lock(&forget->answers->lock);
    forget->answers->forgetting++;
    state_answers_drop(forget->answers, state_answers_key_str(&forget->key), forget->exactly);
    clock = state_answers_find_clock(forget->answers, domain, false);
    if (clock && !forget->exactly) {
        clock->known = false;
        state_answers_save_clock(forget->answers, clock);
    }
    pthread_mutex_unlock(&forget->answers->lock);
    state_answers_flush(forget->answers);
    write_forget(forget);
}

/* ---- at start ----------------------------------------------------------------------------
 */

struct load {
    struct store_read read;
    struct state_answers *answers;
    state_answers_loaded_fn *fn;
    void *owner;
};

static void load_clock(struct state_answers *answers, struct pn_str domain, struct pn_str value)
{
    struct answers_clock *clock;

    if (value.len != CLOCK_OCTETS || value.ptr[0] != ANSWERS_VERSION || (value.ptr[2] & 0x80) ||
        (value.ptr[10] & 0x80)) {
        return;
    }
    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, true);
    if (clock) {
        clock->known = value.ptr[1] & 1;
        clock->catch_all = value.ptr[1] & 2;
        clock->up_ms = (int64_t)pn_number_get(value.ptr + 2, 8);
        clock->stamp_ms = (int64_t)pn_number_get(value.ptr + 10, 8);
    }
    pthread_mutex_unlock(&answers->lock);
}

static void run_load(struct store_read *read, struct store_view *view)
{
    struct load *load = PN_CONTAINER(read, struct load, read);
    struct pn_str key, value;

    for (store_view_seek(view, PN_STR("u"));
         store_view_item(view, &key, &value) && pn_str_starts(key, PN_STR("u"));
         store_view_next(view)) {
        load_clock(load->answers, pn_str_sub(key, 1, SIZE_MAX), value);
    }
}

static void on_loaded(struct store_read *read)
{
    struct load *load = PN_CONTAINER(read, struct load, read);

    load->fn(load->owner, read->status);
    free(load);
}

void state_answers_load(struct state *state, struct loop *loop, state_answers_loaded_fn *fn,
                        void *owner)
{
    struct load *load = PN_NEW(struct load);

    load->answers = state_answers_of(state);
    load->fn = fn;
    load->owner = owner;
    load->read = (struct store_read){.run = run_load, .on_done = on_loaded, .loop = loop};
    store_ask(load->answers->store, &load->read);
}
