/*
 * check.c - the slow walk that verifies the whole store.
 *
 * Each call goes on where the last one ended, and stops after a number of messages or 16
 * MiB of bodies, in the middle of a message if need be: deliveries share the reader's
 * thread. A message's record, its jobs and its chunks are verified; what is bad is
 * reported, and becomes held.
 */
#include "spool_priv.h"

#include "postern/base/mem.h"

#define OCTETS_MAX  ((size_t)16 << 20)
#define DAMAGES_MAX 64

struct check {
    struct spool *spool;
    struct store_read read;
    spool_check_fn *fn;
    void *owner;
    size_t messages;
    struct pn_id id; /* where the walk is: chunks of it before `chunk` are verified */
    uint32_t chunk;
    size_t octets, checked, bad;
    bool wrapped;
    struct spool_damage damages[DAMAGES_MAX];
    size_t damage_count;
    size_t sure; /* the first ones: what was read is bad; a block that fails came later */
    struct pn_buf message, value, plain;
};

static void note(struct check *check, struct spool_damage damage)
{
    check->bad++;
    if (check->damage_count < DAMAGES_MAX) {
        check->damages[check->damage_count++] = damage;
    }
}

/* Verifies one chunk; false when it is bad. */
static bool check_chunk(struct check *check, struct store_view *view, uint64_t size_octets)
{
    struct spool_damage damage = {.what = SPOOL_BAD_CHUNK,
                                  .key = {.queue = PN_STR(""), .id = check->id}};
    struct pn_str text = PN_STR("");
    struct spool_key key;
    bool there;
    int rc = PN_ECORRUPT;

    damage.number = check->chunk;
    spool_key_of_body(&key, &check->id, check->chunk);
    there = store_view_get(view, spool_key_str(&key), &check->value);
    if (there) {
        rc = spool_chunk_open(&check->spool->days, &check->id, check->chunk,
                              pn_buf_str(&check->value), &check->plain, &text, &damage.day);
    }
    if (rc == 0 && text.len == spool_chunk_length(size_octets, check->chunk)) {
        check->octets += text.len;
        return true;
    }
    damage.what = rc == PN_EACCES ? SPOOL_NO_KEY : SPOOL_BAD_CHUNK;
    note(check, damage);
    check->sure = there ? check->damage_count : check->sure;
    return false;
}

/* Verifies what a message says about its jobs. */
static void check_jobs(struct check *check, struct store_view *view,
                       const struct spool_message_record *record)
{
    struct spool_job_record job = {0};

    for (size_t i = 0; i < record->jobs.count; i++) {
        struct spool_key key;

        spool_key_of_job(&key, record->jobs.items[i].queue, record->jobs.items[i].due_ms,
                         &check->id);
        if (!store_view_get(view, spool_key_str(&key), &check->value)) {
            check->bad++; /* moved since the walk began, or lost: nothing to keep aside */
        } else if (!spool_job_decode(pn_buf_str(&check->value), &job)) {
            check->bad++; /* the scheduler's next page meets it, and reports it */
        }
    }
    spool_job_record_fini(&job);
}

/* Goes through a message from check->chunk on; false when the octets are used up. */
static bool check_message(struct check *check, struct store_view *view, struct pn_str value)
{
    struct spool_message_record record = {0};
    uint32_t chunks;
    uint64_t size_octets;

    if (!spool_message_decode(value, &record)) {
        note(check, (struct spool_damage){.what = SPOOL_BAD_MESSAGE,
                                          .key = {.queue = PN_STR(""), .id = check->id}});
        check->sure = check->damage_count;
        spool_message_record_fini(&record);
        return true;
    }
    if (check->chunk == 0) {
        check_jobs(check, view, &record);
    }
    chunks = record.envelope.chunks;
    size_octets = record.envelope.size_octets;
    spool_message_record_fini(&record);
    while (check->chunk < chunks && check->octets < OCTETS_MAX) {
        if (!check_chunk(check, view, size_octets)) {
            check->chunk = chunks;
            break;
        }
        check->chunk++;
    }
    return check->chunk >= chunks;
}

static void run_check(struct store_read *read, struct store_view *view)
{
    struct check *check = PN_CONTAINER(read, struct check, read);
    struct spool_key first;
    struct pn_str key, value;
    struct pn_id id;

    spool_key_of_id(&first, SPOOL_KEY_MESSAGE, &check->id);
    for (store_view_seek(view, spool_key_str(&first)); check->checked < check->messages;
         store_view_next(view)) {
        if (!store_view_item(view, &key, &value) || key.len == 0 ||
            key.ptr[0] != SPOOL_KEY_MESSAGE) {
            check->wrapped = true;
            return;
        }
        if (!spool_key_parse_id(key, SPOOL_KEY_MESSAGE, &id)) {
            continue;
        }
        if (pn_id_cmp(&id, &check->id) != 0) {
            check->id = id;
            check->chunk = 0;
        } else if (check->chunk == UINT32_MAX) {
            continue; /* this is the one that the last call ended with */
        }
        pn_buf_clear(&check->message);
        if (pn_buf_append(&check->message, value) < 0) {
            continue;
        }
        if (!check_message(check, view, pn_buf_str(&check->message))) {
            return;
        }
        check->checked++;
        check->chunk = UINT32_MAX;
    }
}

/*
 * A bad block ends the walk of this call, and from there on nothing was found. The next one
 * begins behind its message; where no message was reached there is no way past the block,
 * and the walk begins again.
 */
static void leave_bad_block(struct check *check)
{
    check->damage_count = check->sure;
    check->bad = check->sure + 1;
    check->wrapped = check->checked == 0;
}

static void on_checked(struct store_read *read)
{
    struct check *check = PN_CONTAINER(read, struct check, read);
    struct spool *spool = check->spool;

    if (read->status == PN_ECORRUPT) {
        leave_bad_block(check);
    }
    if (read->status == PN_EIO) {
        /* Nothing that the failed request found counts, not even that something is missing. */
        check->checked = check->bad = check->damage_count = 0;
        check->wrapped = false;
    } else {
        if (check->wrapped) {
            check->id = (struct pn_id){0};
            check->chunk = 0;
        }
        pthread_mutex_lock(&spool->lock);
        spool->check_id = check->id;
        spool->check_chunk = check->chunk;
        pthread_mutex_unlock(&spool->lock);
    }
    for (size_t i = 0; i < check->damage_count; i++) {
        spool_damage_report(spool, &check->damages[i]);
    }
    check->fn(check->owner, check->checked, check->bad, check->wrapped);
    pn_buf_fini(&check->message);
    pn_buf_fini(&check->value);
    pn_buf_fini(&check->plain);
    free(check);
}

void spool_check(struct spool *spool, struct loop *loop, size_t messages, spool_check_fn *fn,
                 void *owner)
{
    struct check *check = PN_NEW(struct check);

    check->spool = spool;
    check->fn = fn;
    check->owner = owner;
    check->messages = messages;
    pn_buf_init(&check->message, STORE_VALUE_MAX);
    pn_buf_init(&check->value, STORE_VALUE_MAX);
    pn_buf_init(&check->plain, STORE_VALUE_MAX);
    pthread_mutex_lock(&spool->lock);
    check->id = spool->check_id;
    check->chunk = spool->check_chunk;
    pthread_mutex_unlock(&spool->lock);
    check->read = (struct store_read){.run = run_check, .on_done = on_checked, .loop = loop};
    store_ask(spool->store, &check->read);
}
