/*
 * settle.c - what became of jobs.
 *
 * Deliveries copy their results in here and forget them. One write carries all results of
 * a call; it is lazy, since a crash before its sync delivers twice and loses nothing, and
 * it must be written, since it is the only witness of a delivery.
 *
 * A settlement finds its job under the key that it was loaded from. When it is not there any
 * more, an operator has moved or deleted it, or this is the second time. A job that was moved
 * (held, tried again, or joined by parked recipients that were released) while it was under
 * way is settled where it is now, or it would be delivered twice. Who was tried and does not
 * stay leaves it; who joined it meanwhile has not been tried, and stays as the operator wants.
 */
#include "spool_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define SETTLE_OCTETS ((size_t)256 << 20)

struct settle {
    struct spool *spool;
    struct store_write write;
    spool_done_fn *fn;
    void *owner;
    struct pn_arena arena;
    struct spool_settlement *items;
    size_t count;
};

/* Parked recipients join those of the message that are parked in that queue already. */
static void park(struct spool *spool, struct store_batch *batch,
                 const struct spool_settlement *settlement)
{
    struct spool_writer *writer = &spool->writer;
    struct spool_job_record *parked = &writer->parked;
    const struct spool_job_key *at = &settlement->key;
    struct spool_places *places = &writer->message.parked;
    enum spool_found found = spool_change_find_parked(spool, batch, at->queue, &at->id);
    size_t before;

    if (found == SPOOL_BAD) {
        spool_change_move_parked_aside(spool, batch, at->queue, &at->id);
    } else if (found == SPOOL_FOUND) {
        spool_change_drop_parked(spool, batch, at->queue, &at->id);
    }
    if (found != SPOOL_FOUND) {
        parked->recipients.count = 0;
    }
    if (spool_places_find(places, at->queue) == places->count) {
        spool_places_add(places, at->queue, 0);
    }
    before = parked->recipients.count;
    parked->job = writer->job.job;
    parked->job.attempts = settlement->job.attempts;
    parked->job.last_try_ms = settlement->job.last_try_ms;
    parked->last_reply = settlement->last_reply;
    for (size_t i = 0; i < settlement->parked_count; i++) {
        const struct spool_parked_recipient *recipient = &settlement->parked[i];
        bool known = false;

        for (size_t k = 0; k < before && !known; k++) {
            known = pn_str_eq(parked->recipients.items[k].recipient.address,
                              recipient->recipient.address);
        }
        if (!known) {
            spool_recipients_add(&parked->recipients, recipient);
        }
    }
    spool_change_put_parked(spool, batch, at->queue, &at->id);
}

/* Is the address in the list? Both are in one order as a rule: *next is where to look first. */
static bool has(const struct mail_recipient *list, size_t count, size_t *next,
                struct pn_str address)
{
    if (*next < count && pn_str_eq(list[*next].address, address)) {
        (*next)++;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (pn_str_eq(list[i].address, address)) {
            return true;
        }
    }
    return false;
}

static void replace_by_stay(struct spool_recipients *recipients,
                            const struct spool_settlement *settlement)
{
    recipients->count = 0;
    for (size_t i = 0; i < settlement->stay_count; i++) {
        const struct spool_parked_recipient recipient = {.recipient = settlement->stay[i]};

        spool_recipients_add(recipients, &recipient);
    }
}

/* Of a job that may have been joined by others; true when some have not been tried. */
static bool strike_tried(struct spool_recipients *recipients,
                         const struct spool_settlement *settlement)
{
    size_t kept = 0, next_tried = 0, next_stay = 0;
    bool untried = false;

    for (size_t i = 0; i < recipients->count; i++) {
        struct pn_str address = recipients->items[i].recipient.address;
        bool tried = has(settlement->tried, settlement->tried_count, &next_tried, address);

        if (!tried || has(settlement->stay, settlement->stay_count, &next_stay, address)) {
            recipients->items[kept++] = recipients->items[i];
            untried = untried || !tried;
        }
    }
    recipients->count = kept;
    return untried;
}

/* Puts the job back under its new due time; what the operator has held stays held. */
static void keep(struct spool *spool, struct store_batch *batch,
                 const struct spool_settlement *settlement, int64_t due_ms)
{
    struct spool_job_record *record = &spool->writer.job;
    struct spool_places *places = &spool->writer.message.jobs;
    struct spool_job_key to = settlement->key;
    size_t place = spool_places_find(places, to.queue);
    unsigned held = record->job.flags & QUEUE_JOB_HELD;

    to.due_ms = held ? QUEUE_DUE_NEVER : due_ms;
    record->job.attempts = settlement->job.attempts;
    record->job.last_try_ms = settlement->job.last_try_ms;
    record->job.flags = settlement->job.flags | held;
    record->last_reply = settlement->last_reply;
    spool_change_put_job(spool, batch, &to);
    if (place < places->count) {
        places->items[place].due_ms = to.due_ms;
    } else {
        spool_places_add(places, to.queue, to.due_ms);
    }
}

/* Finds the job, and corrects the key when it has been moved. */
static enum spool_found find_job(struct spool *spool, struct store_batch *batch,
                                 const struct spool_settlement *settlement,
                                 struct spool_job_key *at)
{
    struct spool_places *places = &spool->writer.message.jobs;
    enum spool_found found = spool_change_find_job(spool, batch, at);
    size_t place;

    if (found != SPOOL_MISSING || settlement->tried_count == 0 ||
        spool_change_find_message(spool, batch, &at->id) != SPOOL_FOUND) {
        return found;
    }
    place = spool_places_find(places, at->queue);
    if (place == places->count) {
        return SPOOL_MISSING;
    }
    at->due_ms = places->items[place].due_ms;
    return spool_change_find_job(spool, batch, at);
}

static void settle_one(struct spool *spool, struct store_batch *batch,
                       const struct spool_settlement *settlement)
{
    struct spool_places *places = &spool->writer.message.jobs;
    struct spool_recipients *recipients = &spool->writer.job.recipients;
    struct spool_job_key at = settlement->key;
    enum spool_found job = find_job(spool, batch, settlement, &at);
    int64_t due_ms = settlement->job.due_ms;
    size_t place;

    if (job != SPOOL_FOUND || spool_change_find_message(spool, batch, &at.id) != SPOOL_FOUND) {
        return; /* gone; or kept as it is: whoever reads it next reports the damage */
    }
    spool_change_drop_job(spool, batch, &at);
    if (settlement->tried_count == 0) {
        replace_by_stay(recipients, settlement);
    } else if (strike_tried(recipients, settlement)) {
        due_ms = at.due_ms;
    }
    if (settlement->parked_count > 0) {
        park(spool, batch, settlement);
    }
    place = spool_places_find(places, at.queue);
    if (recipients->count > 0) {
        keep(spool, batch, settlement, due_ms);
    } else if (place < places->count) {
        spool_places_remove(places, place);
    }
    spool_change_keep_message(spool, batch, &at.id);
}

static void apply_settle(struct store_write *write, struct store_batch *batch)
{
    struct settle *settle = PN_CONTAINER(write, struct settle, write);

    for (size_t i = 0; i < settle->count; i++) {
        settle_one(settle->spool, batch, &settle->items[i]);
    }
}

static void on_settled(struct store_write *write)
{
    struct settle *settle = PN_CONTAINER(write, struct settle, write);

    settle->fn(settle->owner);
    pn_arena_fini(&settle->arena);
    free(settle);
}

/* ---- copying
 * -------------------------------------------------------------------------------------- */

static void copy(struct pn_arena *arena, struct pn_str from, size_t max, struct pn_str *to)
{
    pn_assert(pn_arena_copy(arena, pn_str_sub(from, 0, max), to) == 0);
}

static void *allocate(struct pn_arena *arena, size_t count, size_t octets)
{
    void *memory = pn_arena_alloc(arena, count * octets);

    pn_assert(memory);
    return memory;
}

static void copy_recipient(struct pn_arena *arena, const struct mail_recipient *from,
                           struct mail_recipient *to)
{
    copy(arena, from->address, SIZE_MAX, &to->address);
    copy(arena, from->orcpt, SIZE_MAX, &to->orcpt);
    to->notify = from->notify;
}

static void copy_settlement(struct pn_arena *arena, const struct spool_settlement *from,
                            struct spool_settlement *to)
{
    struct mail_recipient *stay = allocate(arena, from->stay_count, sizeof *stay);
    struct mail_recipient *tried = allocate(arena, from->tried_count, sizeof *tried);
    struct spool_parked_recipient *parked = allocate(arena, from->parked_count, sizeof *parked);

    *to = *from;
    copy(arena, from->key.queue, SIZE_MAX, &to->key.queue);
    copy(arena, from->last_reply, SPOOL_REPLY_MAX, &to->last_reply);
    for (size_t i = 0; i < from->stay_count; i++) {
        copy_recipient(arena, &from->stay[i], &stay[i]);
    }
    for (size_t i = 0; i < from->tried_count; i++) {
        copy(arena, from->tried[i].address, SIZE_MAX, &tried[i].address);
    }
    for (size_t i = 0; i < from->parked_count; i++) {
        copy_recipient(arena, &from->parked[i].recipient, &parked[i].recipient);
        copy(arena, from->parked[i].reason, SPOOL_REPLY_MAX, &parked[i].reason);
    }
    to->stay = stay;
    to->tried = tried;
    to->parked = parked;
}

void spool_settle(struct spool *spool, struct loop *loop,
                  const struct spool_settlement *settlements, size_t count, spool_done_fn *fn,
                  void *owner)
{
    struct settle *settle = PN_NEW(struct settle);

    settle->spool = spool;
    settle->fn = fn;
    settle->owner = owner;
    settle->count = count;
    pn_arena_init(&settle->arena, SETTLE_OCTETS);
    settle->items = allocate(&settle->arena, count, sizeof *settle->items);
    for (size_t i = 0; i < count; i++) {
        copy_settlement(&settle->arena, &settlements[i], &settle->items[i]);
    }
    settle->write = (struct store_write){
        .apply = apply_settle, .on_done = on_settled, .loop = loop, .must = true, .lazy = true};
    store_submit(spool->store, &settle->write);
}
