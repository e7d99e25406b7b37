/*
 * load.c - reading messages: for delivery, and the rows of listings.
 *
 * A loaded message is one arena: the records are copied into it, and everything that is
 * handed out borrows from there. Reading happens on the reader's thread; what does not
 * verify is reported from the asker's loop, when the answer is in.
 *
 * When LevelDB itself says that a block is bad, the whole request has failed, and nobody
 * knows which of its messages is to blame: they are then asked for one by one.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define MESSAGE_OCTETS ((size_t)32 << 20)
#define REASONS_MAX    (16u * SPOOL_REPLY_MAX)

struct spool_message *spool_message_new(struct pn_str queue)
{
    struct spool_message *message = PN_NEW(struct spool_message);

    pn_arena_init(&message->arena, MESSAGE_OCTETS);
    pn_assert(pn_arena_copy(&message->arena, queue, &message->queue) == 0);
    message->last_reply = PN_STR("");
    message->text = PN_STR("");
    return message;
}

void spool_message_free(struct spool_message **pointer)
{
    struct spool_message *message = *pointer;

    *pointer = NULL;
    if (message) {
        pn_arena_fini(&message->arena);
        free(message);
    }
}

/* The value of a key, copied into the message's arena. */
static bool get_copy(struct store_view *view, const struct spool_key *key,
                     struct spool_message *message, struct pn_buf *value, struct pn_str *out)
{
    return store_view_get(view, spool_key_str(key), value) &&
           pn_arena_copy(&message->arena, pn_buf_str(value), out) == 0;
}

static void append(struct pn_buf *buf, struct pn_str s)
{
    (void)!pn_buf_append(buf, s); /* a listing shows what fits */
}

/* Parked recipients have a reason each; where all are the same, it stands alone. */
static void join_reasons(struct spool_message *message, const struct spool_recipients *from)
{
    struct pn_buf text;
    bool same = true;

    for (size_t i = 1; i < from->count; i++) {
        same = same && pn_str_eq(from->items[i].reason, from->items[0].reason);
    }
    pn_buf_init(&text, REASONS_MAX);
    for (size_t i = 0; i < (same && from->count > 0 ? 1 : from->count); i++) {
        if (!same) {
            append(&text, i > 0 ? PN_STR("; ") : PN_STR(""));
            append(&text, from->items[i].recipient.address);
            append(&text, PN_STR(": "));
        }
        append(&text, from->items[i].reason);
    }
    pn_assert(pn_arena_copy(&message->arena, pn_buf_str(&text), &message->last_reply) == 0);
    pn_buf_fini(&text);
}

static int take_job(struct spool_message *message, struct pn_str value,
                    const struct spool_job_key *at, bool parked)
{
    struct spool_job_record record = {0};
    int rc = PN_ECORRUPT;

    if (!spool_job_decode(value, &record)) {
        goto out;
    }
    message->job = record.job;
    message->job.id = at->id;
    message->job.due_ms = at->due_ms;
    message->recipient_count = record.recipients.count;
    message->recipients =
        pn_arena_alloc(&message->arena, record.recipients.count * sizeof *message->recipients);
    if (!message->recipients) {
        message->recipient_count = 0;
        goto out;
    }
    for (size_t i = 0; i < record.recipients.count; i++) {
        message->recipients[i] = record.recipients.items[i].recipient;
    }
    message->last_reply = record.last_reply;
    if (parked) {
        join_reasons(message, &record.recipients);
    }
    rc = 0;
out:
    spool_job_record_fini(&record);
    return rc;
}

static int take_envelope(struct spool_message *message, struct pn_str value,
                         const struct pn_id *id)
{
    struct spool_message_record record = {0};
    bool good = spool_message_decode(value, &record);

    if (good) {
        message->envelope = record.envelope;
    }
    message->envelope.id = *id;
    spool_message_record_fini(&record);
    return good ? 0 : PN_ECORRUPT;
}

struct spool_message *spool_read_row(struct store_view *view, const struct spool_job_key *at,
                                     bool parked, struct spool_damage *damage)
{
    struct spool_message *message = spool_message_new(at->queue);
    struct spool_key key;
    struct pn_buf buf;
    struct pn_str value;

    *damage = (struct spool_damage){.key = *at};
    damage->key.queue = message->queue;
    message->job.id = at->id;
    message->envelope.id = at->id;
    pn_buf_init(&buf, STORE_VALUE_MAX);
    if (parked) {
        spool_key_of_parked(&key, at->queue, &at->id);
    } else {
        spool_key_of_job(&key, at->queue, at->due_ms, &at->id);
    }
    if (!get_copy(view, &key, message, &buf, &value)) {
        message->status = PN_ENOENT;
        goto out;
    }
    message->status = take_job(message, value, at, parked);
    if (message->status < 0) {
        damage->what = SPOOL_BAD_JOB;
        goto out;
    }
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &at->id);
    damage->what = SPOOL_BAD_MESSAGE;
    message->status = get_copy(view, &key, message, &buf, &value)
                          ? take_envelope(message, value, &at->id)
                          : PN_ECORRUPT;
out:
    pn_buf_fini(&buf);
    return message;
}

/* Verifies a chunk; *out borrows from value or plain. */
static int open_chunk(struct spool *spool, const struct pn_id *id, uint32_t number,
                      struct pn_buf *value, struct pn_buf *plain, struct pn_str *out,
                      struct spool_damage *damage)
{
    int rc =
        spool_chunk_open(&spool->days, id, number, pn_buf_str(value), plain, out, &damage->day);

    damage->what = rc == PN_EACCES ? SPOOL_NO_KEY : SPOOL_BAD_CHUNK;
    damage->number = number;
    return rc < 0 ? PN_ECORRUPT : 0;
}

/* ---- messages
 * -------------------------------------------------------------------------------- */

struct load {
    struct spool *spool;
    struct store_read read;
    spool_load_fn *fn;
    void *owner;
    struct pn_arena names;
    struct spool_job_key *keys;
    struct spool_damage *damages;
    size_t count;
    size_t from, until; /* the keys that are asked for now */
    struct spool_message *first, **end;
};

static void load_text(struct load *load, struct store_view *view, struct spool_message *message,
                      struct spool_damage *damage)
{
    struct pn_buf value, plain;
    struct pn_str text = PN_STR("");
    struct spool_key key;

    pn_buf_init(&value, STORE_VALUE_MAX);
    pn_buf_init(&plain, STORE_VALUE_MAX);
    spool_key_of_body(&key, &message->job.id, 0);
    damage->what = SPOOL_BAD_CHUNK;
    damage->number = 0;
    if (!store_view_get(view, spool_key_str(&key), &value)) {
        message->status = PN_ECORRUPT;
    } else {
        message->status =
            open_chunk(load->spool, &message->job.id, 0, &value, &plain, &text, damage);
    }
    if (message->status == 0 &&
        (text.len != spool_chunk_length(message->envelope.size_octets, 0) ||
         pn_arena_copy(&message->arena, text, &message->text) < 0)) {
        message->status = PN_ECORRUPT;
    }
    pn_buf_fini(&value);
    pn_buf_fini(&plain);
}

static void run_load(struct store_read *read, struct store_view *view)
{
    struct load *load = PN_CONTAINER(read, struct load, read);

    for (size_t i = load->from; i < load->until; i++) {
        struct spool_message *message =
            spool_read_row(view, &load->keys[i], false, &load->damages[i]);

        if (message->status == 0) {
            load_text(load, view, message, &load->damages[i]);
        }
        *load->end = message;
        load->end = &message->next;
    }
}

/* The messages of the failed request, from load->from on. */
static struct spool_message **failed_from(struct load *load)
{
    struct spool_message **at = &load->first;

    for (size_t i = 0; i < load->from; i++) {
        at = &(*at)->next;
    }
    return at;
}

/* Forgets them, to ask again. */
static void forget_failed(struct load *load)
{
    load->end = failed_from(load);
    while (*load->end) {
        struct spool_message *message = *load->end;

        *load->end = message->next;
        spool_message_free(&message);
    }
}

/*
 * Nothing that the failed request found counts, not even that something is missing. A store
 * that had failed before did not run it at all: then there is no message yet.
 */
static void answer_failed(struct load *load, int status)
{
    struct spool_message **at = failed_from(load);

    for (size_t i = load->from; i < load->until; i++) {
        if (!*at) {
            *at = spool_message_new(load->keys[i].queue);
            (*at)->job.id = load->keys[i].id;
            (*at)->envelope.id = load->keys[i].id;
        }
        (*at)->status = status;
        at = &(*at)->next;
    }
    load->end = at;
}

static void finish_load(struct load *load)
{
    struct spool_message *message = load->first;

    for (size_t i = 0; message; message = message->next, i++) {
        if (message->status == PN_ECORRUPT) {
            spool_damage_report(load->spool, &load->damages[i]);
        }
    }
    load->fn(load->owner, load->first);
    pn_arena_fini(&load->names);
    free(load->keys);
    free(load->damages);
    free(load);
}

static void on_load(struct store_read *read)
{
    struct load *load = PN_CONTAINER(read, struct load, read);

    if (read->status == PN_ECORRUPT && load->until - load->from > 1) {
        forget_failed(load);
        load->until = load->from + 1;
        store_ask(load->spool->store, &load->read);
        return;
    }
    if (read->status < 0) {
        answer_failed(load, read->status == PN_ECORRUPT ? PN_ECORRUPT : PN_EIO);
    }
    if (load->until < load->count) {
        load->from = load->until++;
        store_ask(load->spool->store, &load->read);
        return;
    }
    finish_load(load);
}

void spool_load(struct spool *spool, struct loop *loop, const struct spool_job_key *keys,
                size_t count, spool_load_fn *fn, void *owner)
{
    struct load *load = PN_NEW(struct load);

    pn_assert(count > 0);
    load->spool = spool;
    load->fn = fn;
    load->owner = owner;
    load->count = load->until = count;
    load->end = &load->first;
    load->keys = pn_alloc_array(count, sizeof *load->keys);
    load->damages = pn_alloc_array(count, sizeof *load->damages);
    pn_arena_init(&load->names, count * (SPOOL_QUEUE_NAME_MAX + 1));
    for (size_t i = 0; i < count; i++) {
        load->keys[i] = keys[i];
        if (i > 0 && pn_str_eq(keys[i].queue, keys[i - 1].queue)) {
            load->keys[i].queue = load->keys[i - 1].queue;
        } else {
            pn_assert(pn_arena_copy(&load->names, keys[i].queue, &load->keys[i].queue) == 0);
        }
    }
    load->read = (struct store_read){.run = run_load, .on_done = on_load, .loop = loop};
    store_ask(spool->store, &load->read);
}

/* ---- later chunks
 * ------------------------------------------------------------------------------ */

struct chunk_ask {
    struct spool *spool;
    struct store_read read;
    spool_chunk_fn *fn;
    void *owner;
    struct pn_id id;
    uint32_t number;
    struct pn_buf value, plain;
    struct pn_str text;
    struct spool_damage damage;
    int status;
};

static void run_chunk(struct store_read *read, struct store_view *view)
{
    struct chunk_ask *ask = PN_CONTAINER(read, struct chunk_ask, read);
    struct spool_key key;

    ask->damage = (struct spool_damage){.what = SPOOL_BAD_CHUNK,
                                        .key = {.queue = PN_STR(""), .id = ask->id},
                                        .number = ask->number};
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &ask->id);
    if (!store_view_get(view, spool_key_str(&key), &ask->value)) {
        ask->status = PN_ENOENT;
        return;
    }
    spool_key_of_body(&key, &ask->id, ask->number);
    if (!store_view_get(view, spool_key_str(&key), &ask->value)) {
        ask->status = PN_ECORRUPT;
        return;
    }
    ask->status = open_chunk(ask->spool, &ask->id, ask->number, &ask->value, &ask->plain,
                             &ask->text, &ask->damage);
}

static void on_chunk(struct store_read *read)
{
    struct chunk_ask *ask = PN_CONTAINER(read, struct chunk_ask, read);

    if (read->status == PN_EIO) {
        ask->status = PN_EIO;
    } else if (read->status < 0) {
        ask->status = PN_ECORRUPT;
    }
    if (ask->status == PN_ECORRUPT) {
        spool_damage_report(ask->spool, &ask->damage);
    }
    ask->fn(ask->owner, ask->status, ask->number, ask->status == 0 ? ask->text : PN_STR(""));
    pn_buf_fini(&ask->value);
    pn_buf_fini(&ask->plain);
    free(ask);
}

void spool_read_chunk(struct spool *spool, struct loop *loop, const struct pn_id *id,
                      uint32_t number, spool_chunk_fn *fn, void *owner)
{
    struct chunk_ask *ask = PN_NEW(struct chunk_ask);

    ask->spool = spool;
    ask->fn = fn;
    ask->owner = owner;
    ask->id = *id;
    ask->number = number;
    pn_buf_init(&ask->value, STORE_VALUE_MAX);
    pn_buf_init(&ask->plain, STORE_VALUE_MAX);
    ask->read = (struct store_read){.run = run_chunk, .on_done = on_chunk, .loop = loop};
    store_ask(spool->store, &ask->read);
}
