/*
 * sim_check.c - what must always hold, and what must hold in the end.
 *
 * A mail's text carries its number, and is made again and compared whenever a server keeps
 * one. A second delivery to a recipient needs an excuse from the first: its reply never
 * reached the daemon's own buffers; or it did, and power was lost before the end of the job
 * was durable, for which there is more than time enough after SETTLE_MS with a store that
 * works.
 */
#include "sim_priv.h"

#include "records_priv.h"

#include "postern/base/id.h"

#include <utlist.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SETTLE_MS     2000
#define IDLE_CHECK_MS 1000
#define UNDER_WAY_MS  5000
#define HOLD_GRACE_MS PN_MINUTES(15) /* a probe under way goes on from host to host */
#define LINE_OCTETS   600
#define SESSION_MOST  ((uint64_t)2 << 20)
#define SETTLING      8 /* sessions to servers that are over, and not yet settled */
#define UNSENT_MOST   ((size_t)2 << 20) /* of one session, towards its peer */

/* ---- failure ------------------------------------------------------------------------------
 */

static void add_line(struct sim *sim, struct pn_str text)
{
    char line[LINE_OCTETS];
    int64_t ms = sim->now_ms;

    (void)snprintf(line, sizeof line, "%4lldd %02lld:%02lld:%02lld.%03lld %.*s",
                   (long long)(ms / 86400000), (long long)(ms / 3600000 % 24),
                   (long long)(ms / 60000 % 60), (long long)(ms / 1000 % 60),
                   (long long)(ms % 1000), PN_FMT(text));
    if (sim->options.verbose) {
        (void)fprintf(stderr, "%s\n", line);
    }
    free(sim->lines[sim->line_count % SIM_LOG_LINES]);
    sim->lines[sim->line_count++ % SIM_LOG_LINES] = pn_strdup(line);
}

/* Whatever the wall clock does, the log makes no mail wait for less than no time. */
static void check_delivered(struct sim *sim, struct pn_str line)
{
    char *text = pn_strndup(line);

    if (strstr(text, " delay=-")) {
        sim_fail(sim, "a delivery is logged as older than its mail: %s", text);
    }
    free(text);
}

static void on_line(struct pn_log_sink *sink, enum pn_event event, struct pn_str line)
{
    struct sim *sim = PN_CONTAINER(sink, struct sim, sink);

    if (sim->dead) {
        return;
    }
    add_line(sim, line);
    if (event == PN_EV_DELIVERED) {
        check_delivered(sim, line);
    }
}

static void on_event(struct pn_log_sink *sink, enum pn_event event)
{
    struct sim *sim = PN_CONTAINER(sink, struct sim, sink);

    sim->logged[event] += !sim->dead;
}

void sim_check_init(struct sim *sim)
{
    sim->sink =
        (struct pn_log_sink){.on_line = on_line, .on_event = on_event, .least = PN_LOG_DEBUG};
    pn_log_init(&sim->log, &sim->sink);
}

uint64_t sim_logged(const struct sim *sim, enum pn_event event)
{
    return sim->logged[event];
}

void sim_note(struct sim *sim, const char *format, ...)
{
    char text[LINE_OCTETS];
    va_list args;

    (void)snprintf(text, 4, "-- ");
    va_start(args, format);
    (void)vsnprintf(text + 3, sizeof text - 3, format, args);
    va_end(args);
    add_line(sim, pn_str_z(text));
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;

    for (uint64_t i = sim->line_count > SIM_LOG_LINES ? sim->line_count - SIM_LOG_LINES : 0;
         i < sim->line_count && !sim->options.verbose; i++) {
        (void)fprintf(stderr, "%s\n", sim->lines[i % SIM_LOG_LINES]);
    }
    (void)fprintf(stderr, "seed %llu, at %lld ms: ", (unsigned long long)sim->seed,
                  (long long)sim->now_ms);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\n");
    abort();
}

/* ---- deliveries -----------------------------------------------------------------------------
 */

/* A delivery whose reply is on its way. */
struct delivery {
    struct sim *sim;
    size_t mail;
    size_t count;
    size_t recipients[]; /* their places in the mail */
};

static void on_receipt(void *owner, bool seen)
{
    struct delivery *delivery = owner;
    struct sim_mail *mail = sim_mail(delivery->sim, delivery->mail);

    for (size_t i = 0; i < delivery->count; i++) {
        struct sim_recipient *recipient = &mail->recipients[delivery->recipients[i]];

        if (seen) {
            recipient->seen_ms = delivery->sim->now_ms;
        } else {
            recipient->excuses++;
            mail->in_doubt = true;
        }
    }
    free(delivery);
}

size_t sim_check_number(struct sim *sim, struct pn_str text)
{
    struct pn_str rest = text;

    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');
        uint64_t number = 0;

        if (pn_str_starts(line, PN_STR("X-Sim: ")) &&
            pn_str_to_u64(pn_str_sub(line, 7, line.len - 8), sim->mail_count, &number) &&
            number > 0) {
            return (size_t)number;
        }
    }
    return 0;
}

static struct sim_mail *mail_of(struct sim *sim, struct pn_str text)
{
    size_t number = sim_check_number(sim, text);

    if (number == 0) {
        sim_fail(sim, "a server got a mail that nobody sent: %.*s",
                 PN_FMT(pn_str_sub(text, 0, 300)));
    }
    return sim_mail(sim, number);
}

/* Octet for octet what was sent, behind our trace header. */
static void compare(struct sim *sim, const struct sim_mail *mail, struct pn_str text)
{
    struct pn_buf sent;

    pn_buf_init(&sent, SIZE_MAX / 2);
    sim_mail_text(mail, &sent);
    if (!pn_str_starts(text, PN_STR("Received: ")) || !pn_str_ends(text, pn_buf_str(&sent))) {
        sim_fail(sim, "mail %zu was changed: %zu octets sent, %zu delivered", mail->number,
                 sent.len, text.len);
    }
    pn_buf_fini(&sent);
}

static void count_delivery(struct sim *sim, struct sim_mail *mail,
                           struct sim_recipient *recipient)
{
    if (recipient->code >= 400 ||
        (!recipient->accepted && mail->state != SIM_WAITS && mail->state != SIM_UNKNOWN)) {
        sim_fail(sim, "mail %zu was delivered to %s, who was refused", mail->number,
                 recipient->address);
    }
    if (recipient->delivered == 0) {
        recipient->delivered_ms = sim->now_ms;
    } else if (recipient->excuses == 0) {
        sim_fail(sim, "mail %zu was delivered twice to %s, without a reason", mail->number,
                 recipient->address);
    } else {
        recipient->excuses--;
        recipient->duplicates++;
        sim->duplicates++;
    }
    recipient->delivered++;
    recipient->seen_ms = 0;
}

static const struct sim_held *find_held(const struct sim *sim, const char *destination)
{
    const struct sim_held *held = sim->held;

    while (held && strcmp(held->destination, destination) != 0) {
        held = held->next;
    }
    return held;
}

static bool has_target(const struct conf_domain *domain, const char *host)
{
    for (size_t t = 0; t < domain->target_count; t++) {
        if (strcmp(domain->targets[t].host, host) == 0) {
            return true;
        }
    }
    return false;
}

/* Since when every destination that leads to this server is held; INT64_MAX: not all are. */
static int64_t held_since(const struct sim_server *server)
{
    const struct sim *sim = server->sim;
    int64_t since = sim->configured_ms;
    bool any = false;

    for (size_t i = 0; i < domains_count(sim->domains); i++) {
        const struct conf_domain *domain = domains_at(sim->domains, i);

        if (has_target(domain, server->host)) {
            const struct sim_held *held = find_held(sim, domain->destination);

            if (!held) {
                return INT64_MAX;
            }
            any = true;
            since = held->since_ms > since ? held->since_ms : since;
        }
    }
    return any ? since : INT64_MAX;
}

static bool held_for(const struct sim_server *server, int64_t ms)
{
    int64_t since = held_since(server);

    return since != INT64_MAX && server->sim->now_ms > since + ms;
}

void sim_check_connected(struct sim_server *server)
{
    struct sim *sim = server->sim;

    server->connections++;
    server->last_connection_ms = sim->now_ms;
    if (held_for(server, HOLD_GRACE_MS)) {
        sim_fail(sim, "a connection to %s, which is held", server->host);
    }
    if (server->reach != SIM_UP) {
        if (sim->probe_count == sim->probe_cap) {
            sim->probe_cap = sim->probe_cap ? 2 * sim->probe_cap : 64;
            sim->probe_times =
                pn_realloc(sim->probe_times, sim->probe_cap * sizeof *sim->probe_times);
        }
        sim->probe_times[sim->probe_count++] = sim->now_ms;
    }
}

static void check_report(struct sim *sim, bool from_nobody, struct pn_str text,
                         const struct pn_str *recipients, size_t count)
{
    if (!from_nobody || count != 1) {
        sim_fail(sim, "a report has a sender, or %zu recipients", count);
    }
    sim->reports++;
    sim_report_take(sim, text, recipients[0]);
}

void sim_check_delivered(struct sim_server *server, struct sim_wire *wire, bool from_nobody,
                         struct pn_str text, const struct pn_str *recipients, size_t count)
{
    struct sim *sim = server->sim;
    struct sim_mail *mail;
    struct delivery *delivery;

    if (sim_report_is(text)) {
        check_report(sim, from_nobody, text, recipients, count);
        return;
    }
    mail = mail_of(sim, text);
    if (from_nobody != (mail->sender[0] == '\0')) {
        sim_fail(sim, "mail %zu of <%s> was sent %s sender", mail->number, mail->sender,
                 from_nobody ? "without a" : "with another");
    }
    delivery = pn_alloc(sizeof *delivery + count * sizeof(size_t));
    if ((mail->state == SIM_TOLD_NO && !mail->excused) || mail->state == SIM_NOT_SENT) {
        sim_fail(sim, "mail %zu was delivered, and its sender was told no (%u)", mail->number,
                 mail->code);
    }
    if (held_for(server, HOLD_GRACE_MS)) {
        sim_fail(sim, "mail %zu was delivered to %s, which is held", mail->number,
                 server->host);
    }
    compare(sim, mail, text);
    delivery->sim = sim;
    delivery->mail = mail->number;
    for (size_t i = 0; i < count; i++) {
        size_t r = 0;

        while (r < mail->recipient_count &&
               !pn_str_eq(pn_str_z(mail->recipients[r].address), recipients[i])) {
            r++;
        }
        if (r == mail->recipient_count) {
            sim_fail(sim, "mail %zu was delivered to %.*s, who is none of its recipients",
                     mail->number, PN_FMT(recipients[i]));
        }
        count_delivery(sim, mail, &mail->recipients[r]);
        delivery->recipients[delivery->count++] = r;
    }
    sim_wire_receipt(wire, on_receipt, delivery);
}

void sim_check_recipient(struct sim *sim, struct sim_mail *mail,
                         struct sim_recipient *recipient, unsigned code)
{
    recipient->code = code;
    recipient->accepted = code == 250;
    if (!recipient->accepted && recipient->delivered > 0) {
        sim_fail(sim, "mail %zu was delivered to %s before that one was refused (%u)",
                 mail->number, recipient->address, code);
    }
}

void sim_check_answered(struct sim *sim, struct sim_mail *mail)
{
    static const char *const names[] = {"waits", "taken", "told no", "not sent", "unknown"};

    sim_note(sim, "mail %zu: %s, %u %s", mail->number, names[mail->state], mail->code,
             mail->id);
    if (mail->state != SIM_TOLD_NO && mail->state != SIM_NOT_SENT) {
        return;
    }
    /* The answer was under way when the daemon ended. */
    mail->excused = mail->code == 452 && sim->now_ms <= sim->disk.undone_ms;
    for (size_t i = 0; i < mail->recipient_count; i++) {
        const struct sim_recipient *recipient = &mail->recipients[i];

        /* In pass-through the server may have it, and its reply never reached us. */
        if (recipient->delivered > 0 && recipient->seen_ms > 0) {
            sim_fail(sim, "mail %zu was delivered before its sender was told no (%u)",
                     mail->number, mail->code);
        }
    }
}

/* A start: no job on disk has come, or was tried, at a time that is still ahead. */
void sim_check_time(struct sim *sim)
{
    int64_t now_ms = queue_clock_now(&sim->daemon->clock, sim->daemon->main->port.now);
    const struct sim_item *item = sim_map_seek(sim->disk.items, PN_STR("j"));
    struct spool_job_record record = {0};

    for (; item && pn_str_starts(item->key, PN_STR("j")); item = sim_map_next(item)) {
        if (!spool_job_decode(item->value, &record)) {
            sim_fail(sim, "a job on disk cannot be decoded");
        }
        if (record.job.arrival_ms > now_ms || record.job.last_try_ms > now_ms) {
            sim_fail(sim, "queue time began at %lld: a job came at %lld, was tried at %lld",
                     (long long)now_ms, (long long)record.job.arrival_ms,
                     (long long)record.job.last_try_ms);
        }
    }
    spool_job_record_fini(&record);
}

/* What was delivered just now, or since the store last was well, may come again. */
void sim_check_crash(struct sim *sim)
{
    if (!sim_store_is_open(sim->daemon->store)) {
        sim->disk.trouble_ms = sim->now_ms;
    }
    for (size_t i = 0; i < sim->mail_count; i++) {
        struct sim_mail *mail = sim->mails[i];
        bool open = false;

        /* A write failed, may be on disk all the same, and cannot be undone any more. */
        mail->excused = mail->excused || (mail->code == 452 && sim->disk.failed_ms >= 0 &&
                                          mail->ended_ms >= sim->disk.failed_ms);

        for (size_t r = 0; r < mail->recipient_count; r++) {
            const struct sim_recipient *recipient = &mail->recipients[r];

            open = open || (recipient->accepted && recipient->delivered == 0);
        }
        for (size_t r = 0; r < mail->recipient_count; r++) {
            struct sim_recipient *recipient = &mail->recipients[r];

            if (recipient->delivered > 0 && recipient->seen_ms > 0 &&
                (open || sim->now_ms - recipient->seen_ms <= SETTLE_MS ||
                 sim->disk.trouble_ms >= recipient->seen_ms)) {
                recipient->excuses++;
                recipient->seen_ms = 0;
            }
        }
    }
    sim->ends++;
    if (sim->disk.failed_ms >= 0) {
        sim->disk.undone_ms = sim->now_ms + UNDER_WAY_MS;
    }
    sim->disk.failed_ms = -1;
}

uint64_t sim_duplicates(const struct sim *sim)
{
    return sim->duplicates;
}

uint64_t sim_reports(const struct sim *sim)
{
    return sim->reports;
}

/* ---- after every event
 * ------------------------------------------------------------------------ */

/* Connections to those that do not answer, in any one second. */
static void check_probe_rate(struct sim *sim)
{
    uint64_t most = (uint64_t)sim->conf->probe_rate;
    size_t from = 0;

    while (from < sim->probe_count && sim->probe_times[from] <= sim->now_ms - 1000) {
        from++;
    }
    if (from > 0) {
        sim->probe_count -= from;
        memmove(sim->probe_times, sim->probe_times + from,
                sim->probe_count * sizeof *sim->probe_times);
    }
    if (sim->probe_count > most + most / 5 + 10) {
        sim_fail(sim, "%zu connections to destinations that are down in one second",
                 sim->probe_count);
    }
}

void sim_check_sessions(struct sim_server *server)
{
    struct sim *sim = server->sim;
    int64_t most = 0;

    for (size_t i = 0; i < domains_count(sim->domains); i++) {
        const struct conf_domain *domain = domains_at(sim->domains, i);

        most += has_target(domain, server->host) ? domain->sessions : 0;
    }
    /* One more for a probe; and those that we have closed may not yet know. */
    if (most > 0 && sim->now_ms > sim->configured_ms + PN_MINUTES(15) &&
        server->sessions > 2 * (uint64_t)most + 2) {
        sim_fail(sim, "%u sessions at %s, of which %lld are allowed", server->sessions,
                 server->host, (long long)most);
    }
}

/* What we hold open ourselves is counted exactly; a probe of each destination is no session. */
void sim_check_near_sessions(const struct sim_server *server)
{
    struct sim *sim = server->sim;
    size_t most = 0;

    for (size_t i = 0; server->near_sessions > 2 && i < domains_count(sim->domains); i++) {
        const struct conf_domain *domain = domains_at(sim->domains, i);

        most += has_target(domain, server->host) ? (size_t)domain->sessions + 1 : 0;
    }
    if (most > 0 && sim->now_ms > sim->configured_ms + PN_MINUTES(15) &&
        server->near_sessions > most) {
        sim_fail(sim, "%u sessions are open to %s, of which %zu are allowed",
                 server->near_sessions, server->host, most);
    }
}

void sim_check_unsent(struct sim *sim, size_t octets)
{
    if (octets > UNSENT_MOST) {
        sim_fail(sim, "%zu octets are unsent in one session", octets);
    }
}

/* All of it together, and what each session of a client or to a server may have. */
static void check_memory(const struct sim_daemon *daemon)
{
    uint64_t used = policy_memory_used(daemon->limits);
    uint64_t sessions = daemon->sim->near_sessions + SETTLING;

    if (used > policy_memory_max(daemon->limits)) {
        sim_fail(daemon->sim, "%llu octets of memory are taken, beyond the limit",
                 (unsigned long long)used);
    }
    for (size_t i = 0; used > 0 && i < daemon->worker_count; i++) {
        sessions +=
            daemon->workers[i].ingress ? ingress_sessions(daemon->workers[i].ingress) : 0;
    }
    if (used > sessions * SESSION_MOST) {
        sim_fail(daemon->sim, "%llu octets of memory are taken by %llu sessions",
                 (unsigned long long)used, (unsigned long long)sessions);
    }
}

void sim_check_step(struct sim *sim)
{
    if (sim->daemon) {
        check_memory(sim->daemon);
    }
    if (sim->now_ms - sim->idle_ms >= IDLE_CHECK_MS) {
        sim->idle_ms = sim->now_ms;
        check_probe_rate(sim);
    }
}

/* ---- the spool, as it is on disk
 * ----------------------------------------------------------------- */

struct look {
    struct sim *sim;
    bool parked, answered;
    int status;
    char next[512];
    struct pn_id *strange; /* messages that no client has sent */
    size_t strange_count;
};

/* False: it is none of the mails. */
static bool mark_row(struct sim *sim, const struct spool_message *row, bool parked)
{
    char id[PN_ID_CHARS + 1];
    bool known = false;

    pn_id_format(&row->envelope.id, id);
    for (size_t m = 0; m < sim->mail_count; m++) {
        struct sim_mail *mail = sim->mails[m];

        if (strcmp(mail->id, id) != 0) {
            continue;
        }
        known = true;
        for (size_t i = 0; i < row->recipient_count; i++) {
            for (size_t r = 0; r < mail->recipient_count; r++) {
                struct sim_recipient *recipient = &mail->recipients[r];

                if (pn_str_eq(pn_str_z(recipient->address), row->recipients[i].address)) {
                    recipient->parked = recipient->parked || parked;
                    recipient->in_spool = recipient->in_spool || !parked;
                }
            }
        }
    }
    return known;
}

static void on_rows(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct look *look = owner;

    look->answered = true;
    look->status = status;
    pn_assert(next.len < sizeof look->next);
    (void)snprintf(look->next, sizeof look->next, "%.*s", PN_FMT(next));
    while (rows) {
        struct spool_message *row = rows;

        rows = row->next;
        if (!mark_row(look->sim, row, look->parked)) {
            look->strange =
                pn_realloc(look->strange, (look->strange_count + 1) * sizeof *look->strange);
            look->strange[look->strange_count++] = row->envelope.id;
        }
        spool_message_free(&row);
    }
}

static bool look_answered(struct sim *sim, void *arg)
{
    (void)sim;
    return ((struct look *)arg)->answered;
}

void sim_look(struct sim *sim)
{
    struct look look = {.sim = sim};

    for (size_t i = 0; i < sim->mail_count; i++) {
        for (size_t r = 0; r < sim->mails[i]->recipient_count; r++) {
            sim->mails[i]->recipients[r].parked = false;
            sim->mails[i]->recipients[r].in_spool = false;
            sim->mails[i]->recipients[r].reported = sim->mails[i]->recipients[r].told;
        }
    }
    pn_assert(sim->daemon);
    for (int parked = 0; parked < 2; parked++) {
        struct spool_filter filter = {.parked = parked, .now_ms = sim->now_ms};

        look.parked = parked;
        look.next[0] = '\0';
        do {
            char after[sizeof look.next];

            memcpy(after, look.next, sizeof after);
            look.answered = false;
            spool_list(sim->daemon->spool, &sim->daemon->main->port, &filter, pn_str_z(after),
                       1000, on_rows, &look);
            if (!sim_run_until(sim, look_answered, &look, PN_MINUTES(1)) || look.status != 0) {
                sim_fail(sim, "the spool cannot be listed: %d", look.status);
            }
        } while (look.next[0] != '\0');
    }
    for (size_t i = 0; i < look.strange_count; i++) {
        sim_report_look(sim, &look.strange[i]);
    }
    free(look.strange);
}

/* ---- the end
 * -------------------------------------------------------------------------------------- */

static bool all_delivered(struct sim *sim, void *arg)
{
    (void)arg;
    return !sim->clients && sim->daemon && sim->daemon->running && sim_waiting(sim) == 0;
}

static void check_fates(struct sim *sim, bool all)
{
    for (size_t i = 0; i < sim->mail_count; i++) {
        const struct sim_mail *mail = sim->mails[i];

        if (mail->state == SIM_WAITS) {
            sim_fail(sim, "mail %zu is neither sent nor refused", mail->number);
        }
        for (size_t r = 0; r < mail->recipient_count && mail->state == SIM_TAKEN; r++) {
            const struct sim_recipient *recipient = &mail->recipients[r];

            if (recipient->accepted && !mail->deleted && recipient->delivered == 0 &&
                !recipient->parked && !recipient->reported && (all || !recipient->in_spool)) {
                sim_fail(sim, "mail %zu (%s) to %s was answered 250 and is %s", mail->number,
                         mail->id, recipient->address,
                         recipient->in_spool ? "still in the spool" : "lost");
            }
        }
    }
}

void sim_settle(struct sim *sim, int64_t most_ms, bool all)
{
    (void)sim_run_until(sim, all_delivered, NULL, most_ms);
    sim_run(sim, PN_SECONDS(5));
    if (!sim->daemon || !sim->daemon->running) {
        sim_fail(sim, "the daemon is not up");
    }
    sim_look(sim);
    check_fates(sim, all);
    if (all && sim_waiting(sim) > 0) {
        sim_fail(sim, "%llu jobs wait still, delivered or not",
                 (unsigned long long)sim_waiting(sim));
    }
    if (sim_waiting(sim) == 0 && !sim->clients && policy_memory_used(sim->daemon->limits) > 0) {
        sim_run(sim, PN_MINUTES(2));
        if (sim_waiting(sim) == 0 && policy_memory_used(sim->daemon->limits) > 0) {
            sim_fail(sim, "%llu octets of memory are taken for nothing",
                     (unsigned long long)policy_memory_used(sim->daemon->limits));
        }
    }
}
