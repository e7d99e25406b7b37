/*
 * deliver/settle.c - from what the next hop said to what stands in the spool.
 *
 * Each recipient has its own fate: done, later, refused. The scheduler decides about the
 * job (when again, or never again because it has waited too long); what it decides and what
 * was refused becomes one settlement, and the settlements of one report become one call, so
 * that they share a batch.
 *
 * Where a sender is to be told, its report is stored first and the job is settled then: until
 * that it stays in flight. Who can not be reported after all is parked. Nothing that is said
 * by a destination on parole is reported: it may refuse everybody.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

/* A recipient that its sender is told about, and the reason if it is parked after all. */
struct telling {
    struct mail_report_recipient recipient;
    struct pn_str parked_reason;
};

struct tellings {
    struct telling *items;
    size_t count;
    bool done; /* the report was tried, or there may be none */
};

/* One settlement and the memory that its slices live in. */
struct account {
    struct deliver *deliver;
    struct deliver_result *result;
    const struct conf_domain *domain; /* only while it is filled in; may be NULL */
    bool parole;
    struct spool_settlement settlement;
    struct mail_recipient *stay;
    struct spool_parked_recipient *parked;
    struct tellings failed, passed;
};

static void log_recipient(struct deliver *deliver, enum pn_event event,
                          const struct spool_message *message, size_t recipient,
                          struct pn_str reason, const char *then, int64_t next_ms)
{
    struct pn_log_line line;

    pn_log_begin(&line, &deliver->log, event);
    pn_log_id(&line, "qid", &message->envelope.id);
    pn_log_str(&line, "queue", message->queue);
    pn_log_str(&line, "to", message->recipients[recipient].address);
    pn_log_str(&line, "reply", reason);
    if (then) {
        pn_log_z(&line, "then", then);
    }
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

/* ---- who is parked, and who is reported ---------------------------------------------------
 */

static void park(struct account *account, const struct mail_recipient *recipient,
                 struct pn_str reason)
{
    account->parked[account->settlement.parked_count++] = (struct spool_parked_recipient){
        .recipient = *recipient,
        .reason = pn_str_sub(reason, 0, SPOOL_REPLY_MAX),
    };
    stats_count(account->deliver->deps.counters, STATS_PARKED, 1);
}

static void add_telling(struct account *account, struct tellings *list, size_t recipient,
                        const struct telling *telling)
{
    const struct spool_message *message = account->result->message;
    struct telling *to;

    if (!list->items) {
        list->items = pn_alloc_array(message->recipient_count, sizeof *list->items);
    }
    to = &list->items[list->count++];
    *to = *telling;
    to->recipient.recipient = message->recipients[recipient];
}

/* A report for the first, if there is room for one in this hour, is one for all. */
static bool may_tell(struct account *account, struct tellings *list)
{
    if (list->count == 0 && !list->done) {
        list->done = !deliver_dsn_take(account->deliver, account->result->queue);
    }
    return !list->done;
}

static bool is_to_be_told(struct account *account, size_t recipient)
{
    const struct spool_message *message = account->result->message;
    bool refused = account->result->fates[recipient] == DELIVER_REFUSED;

    if (!deliver_dsn_may(account->domain, &message->envelope) || (refused && account->parole)) {
        stats_count(account->deliver->deps.counters, STATS_REPORTS_SUPPRESSED,
                    message->envelope.sender.len > 0);
        return false;
    }
    return deliver_dsn_wanted(account->domain, &message->envelope,
                              &message->recipients[recipient], MAIL_REPORT_FAILED) &&
           may_tell(account, &account->failed);
}

/* The recipient leaves its job: refused, or it has waited too long. */
static void give_up(struct account *account, size_t recipient, enum pn_event event,
                    struct pn_str reason, struct pn_str parked_reason)
{
    struct deliver *deliver = account->deliver;
    const struct spool_message *message = account->result->message;
    int64_t tried_ms = message->job.last_try_ms;
    struct pn_wall wall = deliver->deps.out->loop->wall;
    struct telling telling = {.parked_reason = parked_reason};
    bool told = is_to_be_told(account, recipient);

    telling.recipient.reason = reason;
    telling.recipient.expired = event == PN_EV_EXPIRED;
    if (account->result->fates[recipient] != DELIVER_UNTRIED) {
        telling.recipient.last_try = wall;
    } else if (tried_ms > 0) {
        telling.recipient.last_try.ms = wall.ms - (deliver_now_ms(deliver) - tried_ms);
    }
    log_recipient(deliver, event, message, recipient, parked_reason,
                  told ? "reported" : "parked", 0);
    if (told) {
        add_telling(account, &account->failed, recipient, &telling);
    } else {
        park(account, &message->recipients[recipient], parked_reason);
    }
}

/* The next hop has it. A sender who wants to know, and is not told by that, is told by us. */
static void passed_on(struct account *account, size_t recipient)
{
    const struct spool_message *message = account->result->message;
    const struct telling telling = {
        .recipient = {.last_try = account->deliver->deps.out->loop->wall}};

    if (!account->result->peer_reports &&
        deliver_dsn_wanted(account->domain, &message->envelope, &message->recipients[recipient],
                           MAIL_REPORT_RELAYED) &&
        may_tell(account, &account->passed)) {
        add_telling(account, &account->passed, recipient, &telling);
    }
}

static enum pn_event waiting_event(enum queue_verdict verdict)
{
    return verdict == QUEUE_IN_DOUBT ? PN_EV_IN_DOUBT : PN_EV_DEFERRED;
}

/* Fills in what becomes of each recipient. */
static void account_fill(struct account *account, const struct queue_decision *decision)
{
    struct deliver *deliver = account->deliver;
    struct deliver_result *result = account->result;
    struct spool_message *message = result->message;
    struct spool_settlement *settlement = &account->settlement;
    int64_t now_ms = deliver_now_ms(deliver);

    for (size_t i = 0; i < message->recipient_count; i++) {
        struct pn_str reason = result->reasons[i];

        if (result->fates[i] == DELIVER_DONE) {
            passed_on(account, i);
        } else if (result->fates[i] == DELIVER_REFUSED) {
            give_up(account, i, PN_EV_REFUSED, reason, reason);
        } else if (decision->expired) {
            reason = reason.len > 0 ? reason : message->last_reply;
            give_up(account, i, PN_EV_EXPIRED, reason,
                    expired_reason(result, now_ms - message->job.arrival_ms, reason));
        } else {
            account->stay[settlement->stay_count++] = message->recipients[i];
            settlement->last_reply = pn_str_sub(reason, 0, SPOOL_REPLY_MAX);
            log_recipient(deliver, waiting_event(result->verdict), message, i, reason, NULL,
                          decision->job.due_ms - now_ms);
        }
    }
    settlement->job.recipients = (uint32_t)settlement->stay_count;
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

/* ---- accounts -------------------------------------------------------------------------------
 */

static bool is_on_parole(struct deliver *deliver, const struct conf_domain *domain)
{
    struct queue_destination_status status;

    return domain &&
           queue_get_destination(deliver->queue, pn_str_z(domain->destination),
                                 deliver_now_ms(deliver), &status) &&
           (status.parole || status.state == QUEUE_STOPPED);
}

static struct account *account_new(struct deliver *deliver, struct deliver_result *result)
{
    struct account *account = PN_NEW(struct account);
    struct spool_message *message = result->message;

    account->deliver = deliver;
    account->result = result;
    account->domain = deliver_domain(deliver, result->queue);
    account->parole = is_on_parole(deliver, account->domain);
    account->stay = pn_alloc_array(message->recipient_count, sizeof *account->stay);
    account->parked = pn_alloc_array(message->recipient_count, sizeof *account->parked);
    account->settlement = (struct spool_settlement){
        .key = {.queue = result->queue, .due_ms = result->job.due_ms, .id = result->job.id},
        .stay = account->stay,
        .parked = account->parked,
    };
    return account;
}

static void account_free(struct account *account)
{
    free(account->stay);
    free(account->parked);
    free(account->failed.items);
    free(account->passed.items);
    deliver_result_free(account->result);
    free(account);
}

/* NULL: there is nothing to write for this result, which is freed. */
static struct account *account_open(struct deliver *deliver, uint64_t session,
                                    struct deliver_result *result)
{
    struct account *account = result->message ? account_new(deliver, result) : NULL;
    struct queue_decision decision;

    tell_refused(deliver, session, result);
    decision = queue_result(deliver->queue, session, result->queue, &result->job,
                            result->verdict, result->took_ms, deliver_now_ms(deliver));
    if (!decision.settle) {
        if (account) {
            account_free(account);
        } else {
            deliver_result_free(result);
        }
        return NULL;
    }
    pn_assert(account); /* UNTRIED and GONE are never settled */
    count_result(deliver, result);
    account->settlement.tried = result->message->recipients;
    account->settlement.tried_count = result->message->recipient_count;
    account->settlement.job = decision.job;
    account_fill(account, &decision);
    return account;
}

static void on_settled(void *owner)
{
    deliver_answered(owner);
}

static void account_settle(struct account *account)
{
    struct deliver *deliver = account->deliver;

    deliver->pending++;
    spool_settle(deliver->deps.spool, deliver->deps.out->loop, &account->settlement, 1,
                 on_settled, deliver);
    account_free(account);
}

/* ---- telling --------------------------------------------------------------------------------
 */

static void account_tell(struct account *account);

static void on_failed_told(void *owner, bool stored)
{
    struct account *account = owner;

    for (size_t i = 0; !stored && i < account->failed.count; i++) {
        park(account, &account->failed.items[i].recipient.recipient,
             account->failed.items[i].parked_reason);
    }
    account_tell(account);
}

static void on_passed_told(void *owner, bool stored)
{
    (void)stored; /* the mail has arrived, with or without a report */
    account_tell(owner);
}

static void send(struct account *account, struct tellings *list, enum mail_report_kind kind,
                 deliver_dsn_fn *fn)
{
    struct deliver *deliver = account->deliver;
    const struct spool_message *message = account->result->message;
    struct mail_report_recipient *recipients = pn_alloc_array(list->count, sizeof *recipients);
    struct mail_report report = {.kind = kind,
                                 .envelope = &message->envelope,
                                 .recipients = recipients,
                                 .recipient_count = list->count,
                                 .text = message->text};

    report.waited_ms = deliver_now_ms(deliver) - message->job.arrival_ms;
    for (size_t i = 0; i < list->count; i++) {
        recipients[i] = list->items[i].recipient;
    }
    list->done = true;
    deliver_dsn_send(deliver, &report, fn, account);
    free(recipients);
}

/* Sends the reports one after the other, and settles; frees the account. */
static void account_tell(struct account *account)
{
    const struct conf_domain *domain = deliver_domain(account->deliver, account->result->queue);
    bool last = domain && domain->service == CONF_LMTP;

    if (account->failed.count > 0 && !account->failed.done) {
        send(account, &account->failed, MAIL_REPORT_FAILED, on_failed_told);
    } else if (account->passed.count > 0 && !account->passed.done) {
        send(account, &account->passed, last ? MAIL_REPORT_DELIVERED : MAIL_REPORT_RELAYED,
             on_passed_told);
    } else {
        account_settle(account);
    }
}

void deliver_settle(struct deliver *deliver, uint64_t session, struct deliver_result *results)
{
    size_t count = 0, open = 0;
    struct account **accounts;
    struct spool_settlement *settlements;

    for (struct deliver_result *result = results; result; result = result->next) {
        count++;
    }
    accounts = pn_alloc_array(count, sizeof(struct account *));
    settlements = pn_alloc_array(count, sizeof *settlements);
    while (results) {
        struct deliver_result *result = results;
        struct account *account;

        results = result->next;
        account = account_open(deliver, session, result);
        if (account && account->failed.count + account->passed.count > 0) {
            account_tell(account);
        } else if (account) {
            accounts[open] = account;
            settlements[open++] = account->settlement;
        }
    }
    if (open > 0) {
        deliver->pending++;
        spool_settle(deliver->deps.spool, deliver->deps.out->loop, settlements, open,
                     on_settled, deliver);
    }
    for (size_t i = 0; i < open; i++) {
        account_free(accounts[i]);
    }
    free(accounts);
    free(settlements);
}

/* ---- what has waited too long -------------------------------------------------------------
 */

/* A job whose time is over, and its message. */
struct expiry {
    struct deliver *deliver;
    struct queue_job job;
};

/* All its recipients are parked or reported. */
static void settle_expired(struct deliver *deliver, const struct queue_job *job,
                           struct spool_message *message)
{
    const struct queue_decision decision = {.settle = true, .expired = true, .job = *job};
    struct account *account =
        account_new(deliver, deliver_result_new(message->queue, job, QUEUE_DONE, message));

    account->settlement.job = *job;
    account_fill(account, &decision);
    account_tell(account);
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
