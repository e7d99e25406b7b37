/*
 * deliver/delay.c - senders are told once that a message of theirs waits.
 *
 * Now and then the queues whose mail may be reported about are gone through for messages that
 * have waited for delay_warning. Jobs lie on disk in the order of their due times, which says
 * nothing about their age, so this is a walk; it is made only for queues that can have such
 * mail, a page at a time, and seldom enough that it costs nothing next to the mail itself.
 *
 * A message is told about with all its recipients that wait, in whatever queue, and then
 * marked: the mark is in its envelope, not in its jobs, so that no delivery is disturbed.
 * A crash between the two warns twice.
 */
#include "deliver_priv.h"

#include "postern/base/mem.h"

#define PAGE        32
#define RARELY_MS   PN_MINUTES(10)
#define ANSWERS_MAX ((size_t)16 << 20)

/* One queue's walk. */
struct walk {
    struct deliver *deliver;
    struct spool_filter filter;
    struct spool_message *rows; /* of this page, not yet looked at */
    struct pn_buf next;         /* where the next page begins */
    struct spool_message *jobs; /* of the message at hand */
    char queue[];
};

static void step(struct walk *walk);

static struct spool *spool_of(const struct walk *walk)
{
    return walk->deliver->deps.spool;
}

static struct loop *loop_of(const struct walk *walk)
{
    return walk->deliver->deps.out->loop;
}

static void free_rows(struct spool_message **rows)
{
    while (*rows) {
        struct spool_message *row = *rows;

        *rows = row->next;
        spool_message_free(&row);
    }
}

static void end(struct walk *walk)
{
    struct deliver *deliver = walk->deliver;

    free_rows(&walk->rows);
    free_rows(&walk->jobs);
    pn_buf_fini(&walk->next);
    free(walk);
    deliver->delays_under_way--;
    deliver_answered(deliver);
}

/* ---- one message ------------------------------------------------------------------------ */

/* A job whose recipients still wait; parked ones have no due time. */
static bool waits(const struct spool_message *row)
{
    return row->status == 0 && row->job.due_ms != 0 && !(row->job.flags & QUEUE_JOB_HELD);
}

static void on_marked(void *owner)
{
    step(owner);
}

static void on_told(void *owner, bool stored)
{
    struct walk *walk = owner;

    if (stored) {
        struct pn_id id = walk->jobs->job.id;

        spool_mark(spool_of(walk), loop_of(walk), &id, MAIL_WARNED, on_marked, walk);
        return;
    }
    step(walk);
}

/* Adds the job's recipients that want to know, and says until when it is tried. */
static size_t gather(const struct walk *walk, const struct spool_message *row,
                     struct mail_report_recipient *out, int64_t *hold_ms)
{
    const struct conf_domain *domain = deliver_domain(walk->deliver, row->queue);
    int64_t tried_ms = row->job.last_try_ms, now_ms = deliver_now_ms(walk->deliver);
    size_t count = 0;

    for (size_t i = 0; domain && i < row->recipient_count; i++) {
        if (!deliver_dsn_wanted(domain, &row->envelope, &row->recipients[i],
                                MAIL_REPORT_DELAYED)) {
            continue;
        }
        out[count++] = (struct mail_report_recipient){
            .recipient = row->recipients[i],
            .reason = row->last_reply,
            .last_try = {tried_ms > 0 ? loop_of(walk)->wall.ms - (now_ms - tried_ms) : 0}};
        *hold_ms = *hold_ms == 0 || domain->hold_ms < *hold_ms ? domain->hold_ms : *hold_ms;
    }
    return count;
}

/* Tells the sender; text is the start of the message's. False: there is nobody to name. */
static bool tell(struct walk *walk, struct pn_str text)
{
    const struct spool_message *first = walk->jobs;
    struct mail_report report = {.kind = MAIL_REPORT_DELAYED, .text = text};
    struct mail_report_recipient *recipients;
    size_t most = 0, count = 0;
    int64_t hold_ms = 0;
    bool told;

    for (const struct spool_message *row = first; row; row = row->next) {
        most += waits(row) ? row->recipient_count : 0;
    }
    recipients = pn_alloc_array(most > 0 ? most : 1, sizeof *recipients);
    for (const struct spool_message *row = first; row; row = row->next) {
        count += waits(row) ? gather(walk, row, recipients + count, &hold_ms) : 0;
    }
    told = count > 0 && deliver_dsn_take(walk->deliver, pn_str_z(walk->queue));
    if (told) {
        report.envelope = &first->envelope;
        report.recipients = recipients;
        report.recipient_count = count;
        report.waited_ms = deliver_now_ms(walk->deliver) - first->job.arrival_ms;
        report.retry_until = pn_wall_add(first->envelope.arrival, hold_ms);
        deliver_dsn_send(walk->deliver, &report, on_told, walk);
    }
    free(recipients);
    return told;
}

static void on_text(void *owner, struct spool_message *message)
{
    struct walk *walk = owner;
    bool told = message->status == 0 && !(message->envelope.flags & MAIL_WARNED) &&
                tell(walk, message->text);

    free_rows(&message);
    if (!told) {
        step(walk);
    }
}

/* All jobs of the message: its header is read by one of them. */
static void on_jobs(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct walk *walk = owner;
    const struct spool_message *first = rows;

    (void)next;
    walk->jobs = rows;
    while (first && !waits(first)) {
        first = first->next;
    }
    if (status == 0 && first) {
        struct spool_job_key key = {
            .queue = first->queue, .due_ms = first->job.due_ms, .id = first->job.id};

        spool_load(spool_of(walk), loop_of(walk), &key, 1, on_text, walk);
        return;
    }
    step(walk);
}

/* ---- walking ---------------------------------------------------------------------------- */

static bool is_to_be_told(const struct walk *walk, const struct spool_message *row)
{
    const struct conf_domain *domain = deliver_domain(walk->deliver, row->queue);
    bool wanted = false;

    if (!waits(row) || (row->envelope.flags & MAIL_WARNED) || !domain) {
        return false;
    }
    for (size_t i = 0; i < row->recipient_count && !wanted; i++) {
        wanted = deliver_dsn_wanted(domain, &row->envelope, &row->recipients[i],
                                    MAIL_REPORT_DELAYED);
    }
    return wanted;
}

static void on_page(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct walk *walk = owner;

    walk->rows = rows;
    pn_buf_clear(&walk->next);
    if (status != 0 || pn_buf_append(&walk->next, next) != 0) {
        free_rows(&walk->rows);
        pn_buf_clear(&walk->next);
    }
    step(walk);
}

static void read_page(struct walk *walk)
{
    spool_list(spool_of(walk), loop_of(walk), &walk->filter, pn_buf_str(&walk->next), PAGE,
               on_page, walk);
}

/* Takes the next row that somebody is to be told about, or the next page. */
static void step(struct walk *walk)
{
    free_rows(&walk->jobs);
    while (walk->rows && walk->deliver->state == DELIVER_RUNNING) {
        struct spool_message *row = walk->rows;
        struct pn_id id = row->job.id;
        bool found = is_to_be_told(walk, row);

        walk->rows = row->next;
        spool_message_free(&row);
        if (found) {
            spool_show(spool_of(walk), loop_of(walk), &id, on_jobs, walk);
            return;
        }
    }
    if (walk->next.len > 0 && walk->deliver->state == DELIVER_RUNNING) {
        read_page(walk);
    } else {
        end(walk);
    }
}

static void begin(void *owner, const struct queue_status *status)
{
    struct deliver *deliver = owner;
    const struct conf_domain *domain = deliver_domain(deliver, status->name);
    int64_t now_ms = deliver_now_ms(deliver), warning_ms = deliver->conf->delay_warning_ms;
    struct walk *walk;

    if (status->jobs == 0 || !domain ||
        (status->oldest_ms != 0 && now_ms - status->oldest_ms < warning_ms) ||
        (domain->bounce != CONF_BOUNCE_ALWAYS &&
         deliver->conf->authorised_networks.count == 0)) {
        return;
    }
    walk = pn_alloc(sizeof *walk + status->name.len + 1);
    walk->deliver = deliver;
    memcpy(walk->queue, status->name.ptr, status->name.len);
    walk->filter = (struct spool_filter){
        .queue = pn_str_z(walk->queue), .older_than_ms = warning_ms, .now_ms = now_ms};
    pn_buf_init(&walk->next, ANSWERS_MAX);
    deliver->pending++;
    deliver->delays_under_way++;
    read_page(walk);
}

void deliver_delay_second(struct deliver *deliver)
{
    int64_t now_ms = deliver_now_ms(deliver), warning_ms = deliver->conf->delay_warning_ms;
    int64_t wait_ms = warning_ms / 4 < RARELY_MS ? warning_ms / 4 : RARELY_MS;

    if (warning_ms > 0 && deliver->delays_under_way == 0 &&
        now_ms >= deliver->delays_again_ms) {
        deliver->delays_again_ms = now_ms + wait_ms;
        queue_each(deliver->queue, now_ms, begin, deliver);
    }
}
