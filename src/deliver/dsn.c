/*
 * deliver/dsn.c - reports to senders: who gets one, and how it gets into the spool.
 *
 * Mail of a client in authorised_networks is reported; of others only where the domain says
 * bounce = always, for a stranger's sender may be forged, and a report to somebody who never
 * wrote is spam. That holds for good news too. A null sender never gets a report, so no
 * report is ever about a report, and no chain of them can loop (RFC 3464 4.2).
 *
 * A report is a message of its own: null sender, one recipient, in the queue that mail to
 * the sender belongs to. It is stored before the recipients that it is about leave their job:
 * a crash between the two reports twice and loses nothing. Who asked for it hears how it
 * went, never within the call; what could not be stored is for the caller to park.
 *
 * A queue's reports are counted for an hour from the first one on. Above bounce_rate there
 * are none, and it is said once in that hour.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/choose.h"

#include <stdio.h>

#define REPORT_MAX   ((size_t)16 << 20) /* 2,000 recipients with the longest replies */
#define RATE_MS      PN_HOURS(1)
#define RATE_DEFAULT 100 /* of a queue that has no definition of its own */

struct deliver_dsn_rate {
    UT_hash_handle hh;
    int64_t since_ms;
    uint64_t count;
    bool told;
    char queue[];
};

struct dsn {
    struct deliver *deliver;
    struct spool_draft *draft;
    struct pn_id id;    /* the report's */
    struct pn_id about; /* the message's */
    enum mail_report_kind kind;
    size_t recipients; /* that it is about */
    struct pn_buf text;
    unsigned flags;
    char *to;
    char queue[ROUTE_QUEUE_CHARS];
    char why[ROUTE_SAID_CHARS]; /* it failed, or "" */
    struct loop_task task;
    deliver_dsn_fn *fn;
    void *owner;
};

/* ---- who gets one ----------------------------------------------------------------------- */

/* What the sender has said by NOTIFY (RFC 3461 4.1). */
static bool is_asked_for(const struct mail_envelope *envelope,
                         const struct mail_recipient *recipient, enum mail_report_kind kind)
{
    unsigned notify = recipient->notify;

    if (notify & MAIL_NOTIFY_NEVER) {
        return false;
    }
    switch (kind) {
    case MAIL_REPORT_FAILED:
        return notify == 0 || (notify & MAIL_NOTIFY_FAILURE);
    case MAIL_REPORT_DELAYED:
        return (notify & MAIL_NOTIFY_DELAY) ||
               (notify == 0 && (envelope->flags & MAIL_AUTHORISED));
    case MAIL_REPORT_RELAYED:
    case MAIL_REPORT_DELIVERED:
        break;
    }
    return (notify & MAIL_NOTIFY_SUCCESS) != 0;
}

bool deliver_dsn_may(const struct conf_domain *domain, const struct mail_envelope *envelope)
{
    return envelope->sender.len > 0 && ((envelope->flags & MAIL_AUTHORISED) ||
                                        (domain && domain->bounce == CONF_BOUNCE_ALWAYS));
}

bool deliver_dsn_wanted(const struct conf_domain *domain, const struct mail_envelope *envelope,
                        const struct mail_recipient *recipient, enum mail_report_kind kind)
{
    return deliver_dsn_may(domain, envelope) && is_asked_for(envelope, recipient, kind);
}

/* ---- how many --------------------------------------------------------------------------- */

static struct deliver_dsn_rate *find_rate(struct deliver *deliver, struct pn_str queue)
{
    struct deliver_dsn_rate *rate;

    HASH_FIND(hh, deliver->dsn_rates, queue.ptr, (unsigned)queue.len, rate);
    if (!rate) {
        rate = pn_alloc(sizeof *rate + queue.len + 1);
        memcpy(rate->queue, queue.ptr, queue.len);
        rate->since_ms = deliver_now_ms(deliver);
        HASH_ADD_KEYPTR(hh, deliver->dsn_rates, rate->queue, (unsigned)queue.len, rate);
    }
    return rate;
}

static void forget(struct deliver *deliver, struct deliver_dsn_rate *rate)
{
    HASH_DEL(deliver->dsn_rates, rate);
    free(rate);
}

/* Those whose hour is over; called every second, so that none is kept for ever. */
void deliver_dsn_second(struct deliver *deliver)
{
    struct deliver_dsn_rate *rate, *next;
    int64_t now_ms = deliver_now_ms(deliver);

    HASH_ITER (hh, deliver->dsn_rates, rate, next) {
        if (now_ms - rate->since_ms >= RATE_MS) {
            forget(deliver, rate);
        }
    }
}

void deliver_dsn_drop(struct deliver *deliver)
{
    struct deliver_dsn_rate *rate, *next;

    HASH_ITER (hh, deliver->dsn_rates, rate, next) {
        forget(deliver, rate);
    }
}

bool deliver_dsn_take(struct deliver *deliver, struct pn_str queue)
{
    const struct conf_domain *domain = deliver_domain(deliver, queue);
    uint64_t most = domain ? (uint64_t)domain->bounce_rate : RATE_DEFAULT;
    struct deliver_dsn_rate *rate = find_rate(deliver, queue);
    struct pn_log_line line;

    if (rate->count < most) {
        rate->count++;
        return true;
    }
    stats_count(deliver->deps.counters, STATS_REPORTS_LIMITED, 1);
    if (!rate->told) {
        rate->told = true;
        pn_log_begin(&line, &deliver->log, PN_EV_REPORT_LIMITED);
        pn_log_str(&line, "queue", queue);
        pn_log_u64(&line, "bounce_rate", most);
        pn_log_end(&line);
    }
    return false;
}

/* ---- into the spool --------------------------------------------------------------------- */

static void log_end(const struct dsn *dsn, bool stored)
{
    struct pn_log_line line;

    pn_log_begin(&line, &dsn->deliver->log, stored ? PN_EV_REPORT_SENT : PN_EV_REPORT_FAILED);
    pn_log_id(&line, "qid", &dsn->about);
    pn_log_id(&line, "report", &dsn->id);
    pn_log_z(&line, "action", mail_report_kind_name(dsn->kind));
    pn_log_z(&line, "to", dsn->to);
    pn_log_u64(&line, "recipients", dsn->recipients);
    pn_log_z(&line, stored ? "queue" : "reason", stored ? dsn->queue : dsn->why);
    pn_log_end(&line);
}

static void trace(const struct dsn *dsn, bool stored)
{
    struct deliver *deliver = dsn->deliver;
    struct pn_buf text;

    if (!deliver->deps.state || !stored) {
        return;
    }
    pn_buf_init(&text, 1024);
    if (pn_buf_printf(&text, "action=%s to=%s", mail_report_kind_name(dsn->kind), dsn->to) ==
        0) {
        state_note(deliver->deps.state, deliver->deps.out->loop->wall, &dsn->about,
                   PN_EV_REPORT_SENT, pn_buf_str(&text));
    }
    pn_buf_fini(&text);
}

static void end(struct dsn *dsn, bool stored)
{
    struct deliver *deliver = dsn->deliver;

    if (stored) {
        stats_count(deliver->deps.counters, STATS_REPORTS, 1);
    }
    log_end(dsn, stored);
    trace(dsn, stored);
    spool_draft_free(&dsn->draft);
    dsn->fn(dsn->owner, stored);
    pn_buf_fini(&dsn->text);
    free(dsn->to);
    free(dsn);
    deliver_answered(deliver);
}

static void on_failed(struct loop_task *task)
{
    end(PN_CONTAINER(task, struct dsn, task), false);
}

static void fail_later(struct dsn *dsn)
{
    dsn->task.on_run = on_failed;
    loop_defer(dsn->deliver->deps.out->loop, &dsn->task);
}

static void store(struct dsn *dsn)
{
    struct deliver *deliver = dsn->deliver;
    int64_t now_ms = deliver_now_ms(deliver);
    const struct mail_recipient recipient = {.address = pn_str_z(dsn->to),
                                             .notify = MAIL_NOTIFY_NEVER};
    const struct mail_envelope envelope = {
        .id = dsn->id, .arrival = deliver->deps.out->loop->wall, .flags = dsn->flags};
    const struct spool_new_job job = {.queue = pn_str_z(dsn->queue),
                                      .recipients = &recipient,
                                      .recipient_count = 1,
                                      .due_ms = now_ms,
                                      .flags = QUEUE_JOB_REPORT};

    spool_draft_store(dsn->draft, &envelope, now_ms, &job, 1);
}

/* Writes as much as there is room for; stores when all of it is written. */
static void write_text(struct dsn *dsn)
{
    size_t room;

    while ((room = spool_draft_room(dsn->draft)) > 0 && dsn->text.len > 0) {
        struct pn_str piece = pn_str_sub(pn_buf_str(&dsn->text), 0, room);

        spool_draft_write(dsn->draft, piece);
        pn_buf_consume(&dsn->text, piece.len);
    }
    if (dsn->text.len == 0 && spool_draft_get_state(dsn->draft) == SPOOL_DRAFT_OPEN) {
        store(dsn);
    }
}

static void on_draft(void *owner)
{
    struct dsn *dsn = owner;

    switch (spool_draft_get_state(dsn->draft)) {
    case SPOOL_DRAFT_OPEN:
        write_text(dsn);
        break;
    case SPOOL_DRAFT_STORING:
        break;
    case SPOOL_DRAFT_STORED:
        end(dsn, true);
        break;
    case SPOOL_DRAFT_FAILED:
        (void)snprintf(dsn->why, sizeof dsn->why, "the spool could not store it");
        end(dsn, false);
        break;
    }
}

/* False: there is no report, and why. */
static bool compose(struct dsn *dsn, const struct mail_report *given)
{
    struct deliver *deliver = dsn->deliver;
    struct mail_report report = *given;
    struct route_choice choice;

    report.id = dsn->id;
    report.host = pn_str_z(deliver->conf->hostname);
    report.now = deliver->deps.out->loop->wall;
    route_choose(deliver->conf, deliver->domains, PN_STR(""), given->envelope->sender, &choice);
    if (choice.refused) {
        memcpy(dsn->why, choice.why, sizeof dsn->why);
        return false;
    }
    memcpy(dsn->queue, choice.queue, sizeof dsn->queue);
    if (mail_report_write(&report, &dsn->text, &dsn->flags) != 0) {
        (void)snprintf(dsn->why, sizeof dsn->why, "it would be too large");
        return false;
    }
    return true;
}

void deliver_dsn_send(struct deliver *deliver, const struct mail_report *report,
                      deliver_dsn_fn *fn, void *owner)
{
    struct dsn *dsn = PN_NEW(struct dsn);

    pn_assert(report->envelope->sender.len > 0 && report->recipient_count > 0);
    dsn->deliver = deliver;
    dsn->id = pn_id_make(deliver->deps.out->loop->wall, &deliver->rand);
    dsn->about = report->envelope->id;
    dsn->kind = report->kind;
    dsn->recipients = report->recipient_count;
    dsn->to = pn_strndup(report->envelope->sender);
    dsn->fn = fn;
    dsn->owner = owner;
    pn_buf_init(&dsn->text, REPORT_MAX);
    deliver->pending++;
    if (!compose(dsn, report)) {
        fail_later(dsn);
        return;
    }
    dsn->draft =
        spool_draft_new(deliver->deps.spool, deliver->deps.out->loop, &dsn->id, on_draft, dsn);
    write_text(dsn);
}
