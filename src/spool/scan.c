/*
 * scan.c - listings for the operator.
 *
 * A scan walks job keys (or those of parked recipients), at most 20,000 of them, and says
 * where it stopped, so that no request holds the reader's thread for long. The place is a
 * key in hexadecimal: it may have been deleted meanwhile, and the next scan goes on behind
 * it all the same. What can be decided from the job's own record is decided before the
 * envelope is read.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define LOOKED_AT_MAX 20000
#define ARENA_OCTETS  ((size_t)64 << 10)

static bool is_any_id(const struct pn_id *id)
{
    static const struct pn_id none;

    return memcmp(id, &none, sizeof none) == 0;
}

/* True when s has part somewhere, in any ASCII case. */
static bool contains(struct pn_str s, struct pn_str part)
{
    for (size_t at = 0; part.len <= s.len && at <= s.len - part.len; at++) {
        if (pn_str_eq_nocase(pn_str_sub(s, at, part.len), part)) {
            return true;
        }
    }
    return false;
}

static bool matches_job(const struct spool_filter *filter,
                        const struct spool_job_record *record)
{
    bool recipient = filter->recipient.len == 0;

    if ((filter->held_only && !(record->job.flags & QUEUE_JOB_HELD)) ||
        (filter->older_than_ms > 0 &&
         filter->now_ms - record->job.arrival_ms < filter->older_than_ms)) {
        return false;
    }
    for (size_t i = 0; i < record->recipients.count && !recipient; i++) {
        recipient = contains(record->recipients.items[i].recipient.address, filter->recipient);
    }
    return recipient;
}

/* One place: read it, if its job matches, and give it away, if its sender does. */
static bool look(struct spool_scan *scan, struct store_view *view,
                 const struct spool_job_key *at, spool_match_fn *fn, void *owner)
{
    const struct spool_filter *filter = &scan->filter;
    struct spool_message *row;
    struct spool_damage damage;

    row = spool_read_row(view, at, filter->parked, &damage);
    if (row->status == PN_ENOENT ||
        (filter->sender.len > 0 && !contains(row->envelope.sender, filter->sender))) {
        spool_message_free(&row);
        return false;
    }
    fn(owner, at, row);
    return true;
}

static void write_hex(struct pn_buf *out, struct pn_str s)
{
    static const char digits[] = "0123456789abcdef";
    char *to = pn_buf_reserve(out, 2 * s.len);

    pn_assert(to);
    for (size_t i = 0; i < s.len; i++) {
        to[2 * i] = digits[(uint8_t)s.ptr[i] >> 4];
        to[2 * i + 1] = digits[(uint8_t)s.ptr[i] & 15];
    }
    pn_buf_added(out, 2 * s.len);
}

static int hex_value(char c)
{
    c = pn_to_lower(c);
    return pn_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What came from outside as a place to go on: false when it is none. */
static bool read_hex(struct pn_str s, struct spool_key *key)
{
    if (s.len == 0 || s.len % 2 != 0 || s.len / 2 > sizeof key->octets) {
        return false;
    }
    key->len = s.len / 2;
    for (size_t i = 0; i < key->len; i++) {
        int high = hex_value(s.ptr[2 * i]), low = hex_value(s.ptr[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        key->octets[i] = (char)(uint8_t)(high << 4 | low);
    }
    return true;
}

static void scan_keys(struct spool_scan *scan, struct store_view *view, spool_match_fn *fn,
                      void *owner)
{
    enum spool_key_kind kind = scan->filter.parked ? SPOOL_KEY_PARKED : SPOOL_KEY_JOB;
    struct spool_job_record record = {0};
    struct spool_key prefix, after = {0}, here;
    struct pn_str key, value;
    struct spool_job_key at;
    size_t looked = 0, matched = 0;

    spool_key_prefix(&prefix, kind, scan->filter.queue);
    if (read_hex(scan->after, &after) &&
        pn_str_starts(spool_key_str(&after), spool_key_str(&prefix))) {
        store_view_seek(view, spool_key_str(&after));
    } else {
        after.len = 0;
        store_view_seek(view, spool_key_str(&prefix));
    }
    for (; store_view_item(view, &key, &value) && pn_str_starts(key, spool_key_str(&prefix));
         store_view_next(view)) {
        /* Reading another key may end the life of this one. */
        if (pn_str_eq(key, spool_key_str(&after)) || key.len > sizeof here.octets) {
            continue;
        }
        here.len = key.len;
        memcpy(here.octets, key.ptr, key.len);
        if (!spool_key_parse_job(spool_key_str(&here), kind, &at)) {
            continue;
        }
        looked++;
        if (!spool_job_decode(value, &record) || matches_job(&scan->filter, &record)) {
            matched += look(scan, view, &at, fn, owner);
        }
        if (looked == LOOKED_AT_MAX || matched == scan->limit) {
            write_hex(&scan->next, spool_key_str(&here));
            break;
        }
    }
    spool_job_record_fini(&record);
}

/* The places of one message, found through its own record. */
static void scan_message(struct spool_scan *scan, struct store_view *view, spool_match_fn *fn,
                         void *owner)
{
    struct spool_message_record record = {0};
    const struct spool_places *places = scan->filter.parked ? &record.parked : &record.jobs;
    struct spool_job_record job = {0};
    struct pn_buf message, value;
    struct spool_key key;

    pn_buf_init(&message, STORE_VALUE_MAX);
    pn_buf_init(&value, STORE_VALUE_MAX);
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &scan->filter.id);
    if (store_view_get(view, spool_key_str(&key), &message) &&
        spool_message_decode(pn_buf_str(&message), &record)) {
        for (size_t i = 0; i < places->count; i++) {
            struct spool_job_key at = {.queue = places->items[i].queue,
                                       .due_ms = places->items[i].due_ms,
                                       .id = scan->filter.id};

            if (scan->filter.parked) {
                spool_key_of_parked(&key, at.queue, &at.id);
            } else {
                spool_key_of_job(&key, at.queue, at.due_ms, &at.id);
            }
            if ((scan->filter.queue.len == 0 || pn_str_eq(at.queue, scan->filter.queue)) &&
                store_view_get(view, spool_key_str(&key), &value) &&
                (!spool_job_decode(pn_buf_str(&value), &job) ||
                 matches_job(&scan->filter, &job))) {
                (void)look(scan, view, &at, fn, owner);
            }
        }
    }
    pn_buf_fini(&message);
    pn_buf_fini(&value);
    spool_message_record_fini(&record);
    spool_job_record_fini(&job);
}

void spool_scan_run(struct spool_scan *scan, struct store_view *view, spool_match_fn *fn,
                    void *owner)
{
    pn_buf_clear(&scan->next);
    if (is_any_id(&scan->filter.id)) {
        scan_keys(scan, view, fn, owner);
    } else {
        scan_message(scan, view, fn, owner);
    }
}

void spool_filter_copy(struct spool_filter *to, const struct spool_filter *from,
                       struct pn_arena *arena)
{
    *to = *from;
    to->queue = pn_str_sub(from->queue, 0, SPOOL_QUEUE_NAME_MAX);
    if (pn_str_find(to->queue, '\0') != to->queue.len) {
        to->queue = PN_STR("?"); /* no queue's name has a NUL, and none is just that */
    }
    pn_assert(pn_arena_copy(arena, to->queue, &to->queue) == 0);
    pn_assert(pn_arena_copy(arena, pn_str_sub(from->sender, 0, 1024), &to->sender) == 0);
    pn_assert(pn_arena_copy(arena, pn_str_sub(from->recipient, 0, 1024), &to->recipient) == 0);
}

/* ---- lists
 * ------------------------------------------------------------------------------------ */

struct list {
    struct spool *spool;
    struct store_read read;
    struct spool_scan scan;
    spool_list_fn *fn;
    void *owner;
    struct pn_arena arena;
    bool all; /* of one message: its jobs and what is parked of it */
    struct spool_message *rows, **end;
};

static void add_row(void *owner, const struct spool_job_key *key, struct spool_message *row)
{
    struct list *list = owner;

    (void)key;
    *list->end = row;
    list->end = &row->next;
}

static void run_list(struct store_read *read, struct store_view *view)
{
    struct list *list = PN_CONTAINER(read, struct list, read);

    spool_scan_run(&list->scan, view, add_row, list);
    if (list->all) {
        list->scan.filter.parked = true;
        spool_scan_run(&list->scan, view, add_row, list);
    }
}

static void on_list(struct store_read *read)
{
    struct list *list = PN_CONTAINER(read, struct list, read);
    int status = read->status;

    if (status < 0) {
        while (list->rows) {
            struct spool_message *row = list->rows;

            list->rows = row->next;
            spool_message_free(&row);
        }
        pn_buf_clear(&list->scan.next);
    } else if (list->all && !list->rows) {
        status = PN_ENOENT;
    }
    list->fn(list->owner, status, list->rows, pn_buf_str(&list->scan.next));
    pn_buf_fini(&list->scan.next);
    pn_arena_fini(&list->arena);
    free(list);
}

static struct list *list_new(struct spool *spool, struct loop *loop,
                             const struct spool_filter *filter, spool_list_fn *fn, void *owner)
{
    struct list *list = PN_NEW(struct list);

    list->spool = spool;
    list->fn = fn;
    list->owner = owner;
    list->end = &list->rows;
    pn_arena_init(&list->arena, ARENA_OCTETS);
    pn_buf_init(&list->scan.next, 2 * SPOOL_KEY_MAX);
    spool_filter_copy(&list->scan.filter, filter, &list->arena);
    list->read = (struct store_read){.run = run_list, .on_done = on_list, .loop = loop};
    return list;
}

void spool_list(struct spool *spool, struct loop *loop, const struct spool_filter *filter,
                struct pn_str after, size_t limit, spool_list_fn *fn, void *owner)
{
    struct list *list = list_new(spool, loop, filter, fn, owner);

    list->scan.limit = limit > 0 ? limit : 1;
    pn_assert(pn_arena_copy(&list->arena, pn_str_sub(after, 0, 2 * SPOOL_KEY_MAX),
                            &list->scan.after) == 0);
    store_ask(spool->store, &list->read);
}

void spool_show(struct spool *spool, struct loop *loop, const struct pn_id *id,
                spool_list_fn *fn, void *owner)
{
    struct list *list = list_new(spool, loop, &(struct spool_filter){.id = *id}, fn, owner);

    list->all = true;
    store_ask(spool->store, &list->read);
}
