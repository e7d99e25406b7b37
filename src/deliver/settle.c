/*
 * deliver/settle.c - from what the next hop said to what stands in the spool.
 *
 * Each recipient has its own fate: done, later, refused. The scheduler decides about the
 * job (when again, or never again because it has waited too long); what it decides and what
 * was refused becomes one settlement, and the settlements of one report become one call, so
 * that they share a batch.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

/* One settlement and the memory that its slices live in. */
struct account {
    struct deliver_result *result;
    struct mail_recipient *stay;
    struct spool_parked_recipient *parked;
};

static void log_recipient(struct deliver *deliver, enum pn_event event,
                          const struct spool_message *message, size_t recipient,
                          struct pn_str reason, int64_t next_ms)
{
    struct pn_log_line line;

    pn_log_begin(&line, &deliver->log, event);
    pn_log_id(&line, "qid", &message->envelope.id);
    pn_log_str(&line, "queue", message->queue);
    pn_log_str(&line, "to", message->recipients[recipient].address);
    pn_log_str(&line, "reply", reason);
    if (next_ms > 0) {
        pn_log_ms(&line, "next", next_ms);
    }
    pn_log_end(&line);
    if (deliver->deps.state) {
        struct pn_buf text;

        pn_buf_init(&text, SPOOL_REPLY_MAX * 2);
        if (pn_buf_printf(&text, "to=%.*s %.*s", PN_FMT(message->recipients[recipient].address),
                          PN_FMT(reason)) == 0) {
            state_note(deliver->deps.state, deliver->deps.out->loop->wall,
                       &message->envelope.id, event, pn_buf_str(&text));
        }
        pn_buf_fini(&text);
    }
}

/* "waited 14d; last: mail.example.org said: 451 …", for a parked recipient. */
static struct pn_str expired_reason(struct deliver_result *result, int64_t waited_ms,
                                    struct pn_str last)
{
    struct pn_str reason = PN_STR("waited longer than the hold time");
    struct pn_buf text;

    pn_buf_init(&text, SPOOL_REPLY_MAX);
    if (pn_buf_append_z(&text, "waited ") == 0 && pn_duration_human(waited_ms, &text) == 0 &&
        (last.len == 0 || pn_buf_printf(&text, "; last: %.*s", PN_FMT(last)) == 0)) {
        struct pn_str copy;

        if (pn_arena_copy(&result->arena, pn_buf_str(&text), &copy) == 0) {
            reason = copy;
        }
    }
    pn_buf_fini(&text);
    return reason;
}

static void park(struct deliver *deliver, struct account *account,
                 struct spool_settlement *settlement, size_t recipient, enum pn_event event,
                 struct pn_str reason)
{
    account->parked[settlement->parked_count++] = (struct spool_parked_recipient){
        .recipient = account->result->message->recipients[recipient],
        .reason = pn_str_sub(reason, 0, SPOOL_REPLY_MAX),
    };
    stats_count(deliver->deps.counters, STATS_PARKED, 1);
    log_recipient(deliver, event, account->result->message, recipient, reason, 0);
}

static enum pn_event waiting_event(enum queue_verdict verdict)
{
    return verdict == QUEUE_IN_DOUBT ? PN_EV_IN_DOUBT : PN_EV_DEFERRED;
}

/* Fills in what becomes of each recipient. */
static void account_fill(struct deliver *deliver, struct account *account,
                         const struct queue_decision *decision,
                         struct spool_settlement *settlement)
{
    struct deliver_result *result = account->result;
    struct spool_message *message = result->message;
    int64_t now_ms = deliver_now_ms(deliver);

    for (size_t i = 0; i < message->recipient_count; i++) {
        struct pn_str reason = result->reasons[i];

        if (result->fates[i] == DELIVER_DONE) {
            continue;
        }
        if (result->fates[i] == DELIVER_REFUSED) {
            park(deliver, account, settlement, i, PN_EV_REFUSED, reason);
        } else if (decision->expired) {
            reason = expired_reason(result, now_ms - message->job.arrival_ms,
                                    reason.len > 0 ? reason : message->last_reply);
            park(deliver, account, settlement, i, PN_EV_EXPIRED, reason);
        } else {
            account->stay[settlement->stay_count++] = message->recipients[i];
            settlement->last_reply = pn_str_sub(reason, 0, SPOOL_REPLY_MAX);
            log_recipient(deliver, waiting_event(result->verdict), message, i, reason,
                          decision->job.due_ms - now_ms);
        }
    }
}

static void count_result(struct deliver *deliver, const struct deliver_result *result)
{
    struct stats_counters *counters = deliver->deps.counters;

    if (result->verdict == QUEUE_DONE) {
        stats_count(counters, STATS_DELIVERED, 1);
        stats_count(counters, STATS_OCTETS_DELIVERED, result->message->envelope.size_octets);
    } else if (result->verdict == QUEUE_LATER) {
        stats_count(counters, STATS_DEFERRED, 1);
    } else if (result->verdict == QUEUE_IN_DOUBT) {
        stats_count(counters, STATS_IN_DOUBT, 1);
    }
}

/* Tells the scheduler how many recipients were refused, and how many that we believe in. */
static void tell_refused(struct deliver *deliver, uint64_t session,
                         const struct deliver_result *result)
{
    const struct conf_domain *domain = deliver_domain(deliver, result->queue);
    size_t refused = 0, believed = 0;

    for (size_t i = 0; result->message && i < result->message->recipient_count; i++) {
        if (result->fates[i] == DELIVER_REFUSED) {
            refused++;
            believed += domain && deliver->deps.believes &&
                        deliver->deps.believes(deliver->deps.owner, domain,
                                               result->message->recipients[i].address);
        }
    }
    if (refused > 0) {
        queue_refused(deliver->queue, session,
                      domain ? pn_str_z(domain->destination) : PN_STR(""), refused, believed,
                      deliver_now_ms(deliver));
    }
}

/* False: there is nothing to write for this result. */
static bool account_open(struct deliver *deliver, uint64_t session, struct account *account,
                         struct spool_settlement *settlement)
{
    struct deliver_result *result = account->result;
    struct spool_message *message = result->message;
    struct queue_decision decision;

    tell_refused(deliver, session, result);
    decision = queue_result(deliver->queue, session, result->queue, &result->job,
                            result->verdict, result->took_ms, deliver_now_ms(deliver));
    if (!decision.settle) {
        return false;
    }
    pn_assert(message); /* UNTRIED and GONE are never settled */
    count_result(deliver, result);
    account->stay = pn_alloc_array(message->recipient_count, sizeof *account->stay);
    account->parked = pn_alloc_array(message->recipient_count, sizeof *account->parked);
    *settlement = (struct spool_settlement){
        .key = {.queue = result->queue, .due_ms = result->job.due_ms, .id = result->job.id},
        .tried = message->recipients,
        .tried_count = message->recipient_count,
        .stay = account->stay,
        .job = decision.job,
        .parked = account->parked,
    };
    account_fill(deliver, account, &decision, settlement);
    settlement->job.recipients = (uint32_t)settlement->stay_count;
    return true;
}

static void on_settled(void *owner)
{
    deliver_answered(owner);
}

void deliver_settle(struct deliver *deliver, uint64_t session, struct deliver_result *results)
{
    size_t count = 0, open = 0;
    struct account *accounts;
    struct spool_settlement *settlements;

    for (struct deliver_result *result = results; result; result = result->next) {
        count++;
    }
    accounts = pn_alloc_array(count, sizeof *accounts);
    settlements = pn_alloc_array(count, sizeof *settlements);
    while (results) {
        struct deliver_result *result = results;

        results = result->next;
        accounts[open].result = result;
        if (account_open(deliver, session, &accounts[open], &settlements[open])) {
            open++;
        } else {
            deliver_result_free(result);
        }
    }
    if (open > 0) {
        deliver->pending++;
        spool_settle(deliver->deps.spool, deliver->deps.out->loop, settlements, open,
                     on_settled, deliver);
    }
    for (size_t i = 0; i < open; i++) {
        free(accounts[i].stay);
        free(accounts[i].parked);
        deliver_result_free(accounts[i].result);
    }
    free(accounts);
    free(settlements);
}

/* A job whose time is over, and its message. */
struct expiry {
    struct deliver *deliver;
    struct queue_job job;
};

/* Parks all its recipients. */
static void settle_expired(struct deliver *deliver, const struct queue_job *job,
                           struct spool_message *message)
{
    struct account account = {
        .result = deliver_result_new(message->queue, job, QUEUE_DONE, message),
        .parked = pn_alloc_array(message->recipient_count, sizeof *account.parked)};
    struct spool_settlement settlement = {
        .key = {.queue = message->queue, .due_ms = job->due_ms, .id = job->id},
        .job = *job,
        .parked = account.parked};
    struct queue_decision decision = {.settle = true, .expired = true, .job = *job};

    account_fill(deliver, &account, &decision, &settlement);
    deliver->pending++;
    spool_settle(deliver->deps.spool, deliver->deps.out->loop, &settlement, 1, on_settled,
                 deliver);
    free(account.parked);
    deliver_result_free(account.result);
}

static void on_expired(void *owner, struct spool_message *message)
{
    struct expiry *expiry = owner;
    struct deliver *deliver = expiry->deliver;

    if (message->status == 0) {
        settle_expired(deliver, &expiry->job, message);
    } else {
        bool gone = message->status == PN_ENOENT || message->status == PN_ECORRUPT;

        queue_result(deliver->queue, 0, message->queue, &expiry->job,
                     gone ? QUEUE_GONE : QUEUE_UNTRIED, 0, deliver_now_ms(deliver));
        spool_message_free(&message);
    }
    free(expiry);
    deliver_answered(deliver);
}

void deliver_expire(struct deliver *deliver, struct pn_str queue, const struct queue_job *job)
{
    struct spool_job_key key = {.queue = queue, .due_ms = job->due_ms, .id = job->id};
    struct expiry *expiry = PN_NEW(struct expiry);

    expiry->deliver = deliver;
    expiry->job = *job;
    deliver->pending++;
    spool_load(deliver->deps.spool, deliver->deps.out->loop, &key, 1, on_expired, expiry);
}
