/*
 * ingress/transaction.c - one mail transaction: sender, recipients, and what they occupy.
 *
 * A transaction is taken from the worker's spare ones and put back there, so that an idle
 * session has none and a mail costs no allocation. All it knows lies in one arena. The
 * first octets of that are free; what a client with thousands of recipients needs beyond
 * them comes out of the memory budget like the text of its message (FAULTS 8.12).
 *
 * Recipients hang in lists, by queue and by hash. An array would be copied as it grows;
 * the only array that is made is the one that the spool wants, at the end.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define SPARE_MAX     64
#define ENVELOPE_MAX  (64u << 20)
#define ENVELOPE_FREE 8192
#define ENVELOPE_STEP 32768

static struct transaction *take_spare(struct ingress *ingress)
{
    struct transaction *transaction = ingress->spare;
    struct pn_arena arena;

    if (!transaction) {
        transaction = PN_NEW(struct transaction);
        pn_arena_init(&transaction->arena, ENVELOPE_MAX);
        return transaction;
    }
    ingress->spare = transaction->next;
    ingress->spare_count--;
    arena = transaction->arena;
    *transaction = (struct transaction){.arena = arena};
    return transaction;
}

static void put_spare(struct ingress *ingress, struct transaction *transaction)
{
    if (ingress->spare_count >= SPARE_MAX) {
        pn_arena_fini(&transaction->arena);
        free(transaction);
        return;
    }
    pn_arena_reset(&transaction->arena);
    transaction->next = ingress->spare;
    ingress->spare = transaction;
    ingress->spare_count++;
}

void ingress_transaction_free_spare(struct ingress *ingress)
{
    while (ingress->spare) {
        struct transaction *transaction = ingress->spare;

        ingress->spare = transaction->next;
        pn_arena_fini(&transaction->arena);
        free(transaction);
    }
    ingress->spare_count = 0;
}

bool ingress_transaction_begin(struct session *session, const struct smtp_event *event)
{
    struct ingress *ingress = session->ingress;
    struct transaction *transaction = take_spare(ingress);
    struct mail_envelope *envelope = &transaction->envelope;

    pn_assert(!session->transaction);
    session->transaction = transaction;
    transaction->since = session_loop(session)->now;
    envelope->flags = event->flags;
    envelope->ret = event->ret;
    if (ingress_recipient_is_authorised(session)) {
        envelope->flags |= MAIL_AUTHORISED;
    }
    transaction->size_octets = event->size_known ? event->size_octets : 0;
    transaction->utf8_sender = event->address.utf8;
    if (event->address.utf8) {
        envelope->flags |= MAIL_UTF8_ADDRESS;
    }
    if (pn_arena_copy(&transaction->arena, event->address.text, &envelope->sender) != 0 ||
        pn_arena_copy(&transaction->arena, event->envid, &envelope->envid) != 0) {
        ingress_transaction_end(session);
        return false;
    }
    /* A domain that was added a second ago counts from the next transaction on. */
    if (session->domains != ingress->settings.domains) {
        domains_unref(&session->domains);
        session->domains = domains_ref(ingress->settings.domains);
    }
    return true;
}

/* Pays for what there is, the array at the end included; one recipient more is on us. */
static bool reserve(struct session *session)
{
    struct transaction *transaction = session->transaction;
    size_t needed =
        transaction->arena.used + transaction->recipient_count * sizeof(struct mail_recipient);

    while (needed > ENVELOPE_FREE + transaction->envelope_reserved) {
        if (!policy_memory_take(session->ingress->deps.limits, ENVELOPE_STEP)) {
            return false;
        }
        transaction->envelope_reserved += ENVELOPE_STEP;
    }
    return true;
}

/* FNV-1a of the address; the domain in lower case. Collisions only cost a comparison. */
static uint32_t hash_of(const struct mail_address *address)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < address->local.len; i++) {
        hash = (hash ^ (uint8_t)address->local.ptr[i]) * 16777619u;
    }
    for (size_t i = 0; i < address->domain.len; i++) {
        hash = (hash ^ (uint8_t)pn_to_lower(address->domain.ptr[i])) * 16777619u;
    }
    return hash;
}

/* Local parts are compared octet for octet, domains without regard to case. */
static bool is_same(const struct recipient *known, const struct mail_address *address)
{
    struct pn_str text = known->recipient.address;
    size_t local = address->local.len;

    return text.len == address->text.len &&
           pn_str_eq(pn_str_sub(text, 0, local), address->local) &&
           pn_str_eq_nocase(pn_str_sub(text, local, SIZE_MAX),
                            pn_str_sub(address->text, local, SIZE_MAX));
}

static struct group *group_get(struct transaction *transaction,
                               const struct conf_domain *domain)
{
    struct group *group = transaction->last_group;

    if (group && group->domain == domain) {
        return group;
    }
    for (group = transaction->groups; group; group = group->next) {
        if (group->domain == domain) {
            return group;
        }
    }
    group = pn_arena_alloc(&transaction->arena, sizeof *group);
    if (group) {
        group->domain = domain;
        if (transaction->last_group) {
            transaction->last_group->next = group;
        } else {
            transaction->groups = group;
        }
        transaction->last_group = group;
        transaction->group_count++;
    }
    return group;
}

/* <postmaster> is given the domain that was chosen for it. */
static int copy_address(struct transaction *transaction, const struct conf_domain *domain,
                        const struct mail_address *address, struct pn_str *out)
{
    struct pn_str name = pn_str_z(domain->name);
    char whole[MAIL_ADDRESS_MAX + 1];
    size_t len = address->local.len;

    if (address->domain.len > 0) {
        return pn_arena_copy(&transaction->arena, address->text, out);
    }
    pn_assert(len + 1 + name.len <= sizeof whole);
    memcpy(whole, address->local.ptr, len);
    whole[len] = '@';
    memcpy(whole + len + 1, name.ptr, name.len);
    return pn_arena_copy(&transaction->arena, (struct pn_str){whole, len + 1 + name.len}, out);
}

static struct recipient *find(const struct transaction *transaction,
                              const struct mail_address *address, uint32_t hash)
{
    struct recipient *known = transaction->buckets[hash % TRANSACTION_BUCKETS];

    while (known && !(known->hash == hash && is_same(known, address))) {
        known = known->next_bucket;
    }
    return known;
}

bool ingress_transaction_has(const struct transaction *transaction,
                             const struct mail_address *address)
{
    return find(transaction, address, hash_of(address)) != NULL;
}

bool ingress_transaction_add(struct session *session, const struct conf_domain *domain,
                             const struct smtp_event *event)
{
    struct transaction *transaction = session->transaction;
    uint32_t hash = hash_of(&event->address);
    struct recipient **bucket = &transaction->buckets[hash % TRANSACTION_BUCKETS];
    struct recipient *added;
    struct group *group;

    if (find(transaction, &event->address, hash)) {
        return true;
    }
    if (!reserve(session) || !(group = group_get(transaction, domain)) ||
        !(added = pn_arena_alloc(&transaction->arena, sizeof *added)) ||
        copy_address(transaction, domain, &event->address, &added->recipient.address) != 0 ||
        pn_arena_copy(&transaction->arena, event->orcpt, &added->recipient.orcpt) != 0) {
        return false;
    }
    added->recipient.notify = event->notify;
    added->hash = hash;
    added->next_bucket = *bucket;
    *bucket = added;
    if (group->last) {
        group->last->next = added;
    } else {
        group->first = added;
    }
    group->last = added;
    group->count++;
    transaction->recipient_count++;
    if (event->address.utf8) {
        transaction->envelope.flags |= MAIL_UTF8_ADDRESS;
    }
    return true;
}

struct spool_new_job *ingress_transaction_jobs(struct transaction *transaction)
{
    size_t count = transaction->recipient_count;
    struct mail_recipient *flat;
    struct spool_new_job *jobs;
    struct spool_new_job *job;

    flat = pn_arena_alloc(&transaction->arena, count * sizeof *flat);
    jobs = pn_arena_alloc(&transaction->arena, transaction->group_count * sizeof *jobs);
    if (!flat || !jobs) {
        return NULL;
    }
    job = jobs;
    for (const struct group *group = transaction->groups; group; group = group->next) {
        if (group->count > 0) {
            job->queue = pn_str_z(group->domain->name);
            job->recipients = flat;
            job->recipient_count = group->count;
            job++;
        }
        for (const struct recipient *r = group->first; r; r = r->next) {
            *flat++ = r->recipient;
        }
    }
    transaction->group_count = (size_t)(job - jobs);
    return jobs;
}

void ingress_transaction_end(struct session *session)
{
    struct transaction *transaction = session->transaction;

    if (!transaction) {
        return;
    }
    ingress_recipient_stop(session);
    ingress_pass_stop(session);
    spool_draft_free(&transaction->draft);
    ingress_receive_give_back(session);
    if (transaction->envelope_reserved > 0) {
        policy_memory_give(session->ingress->deps.limits, transaction->envelope_reserved);
    }
    session->transaction = NULL;
    put_spare(session->ingress, transaction);
}
