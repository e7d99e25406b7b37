/*
 * cli/status.c - the status: in one sentence what matters, then the tables.
 *
 * The first line is what an operator reads at three in the morning: what is wrong first,
 * then what waits, then when something happens next.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

static uint64_t in_state(const json_t *status, const char *state)
{
    return cli_number(json_object_get(status, "domains_by_state"), state);
}

/* The longest outage and the nearest probe among what is down. */
static void look_at_down(const json_t *status, double *out_since_s, double *out_probe_s)
{
    size_t index;
    json_t *row;

    *out_since_s = -1;
    *out_probe_s = -1;
    json_array_foreach(json_object_get(status, "domains"), index, row)
    {
        double since_s = cli_seconds(row, "since_s");
        double probe_s = cli_seconds(row, "next_probe_s");

        if (!pn_str_eq(cli_text(row, "state"), PN_STR("down"))) {
            continue;
        }
        *out_since_s = since_s > *out_since_s ? since_s : *out_since_s;
        if (probe_s >= 0 && (*out_probe_s < 0 || probe_s < *out_probe_s)) {
            *out_probe_s = probe_s;
        }
    }
}

static void put_spool_trouble(const json_t *status, struct pn_buf *out)
{
    const json_t *spool = json_object_get(status, "spool");
    struct pn_str readiness = cli_text(spool, "readiness");

    if (pn_str_eq(readiness, PN_STR("full"))) {
        cli_put_z(out, "the disk is nearly full and new mail is answered 452; ");
    } else if (pn_str_eq(readiness, PN_STR("broken"))) {
        cli_put_z(out, "the spool does not work and new mail is answered 452; ");
    }
}

static void put_domains(const json_t *status, double since_s, struct pn_buf *out)
{
    uint64_t total = cli_number(status, "domains_total");
    uint64_t broken = cli_number(status, "broken_total");
    uint64_t down = in_state(status, "down");
    uint64_t held = in_state(status, "held");
    uint64_t ramp = in_state(status, "ramp");
    uint64_t stopped = in_state(status, "stopped");

    cli_put_count(out, total);
    cli_put_z(out, total == 1 ? " domain" : " domains");
    if (down > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, down);
        cli_put_z(out, " down since ");
        cli_put_age(out, since_s);
    }
    if (ramp > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, ramp);
        cli_put_z(out, " just back");
    }
    if (stopped > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, stopped);
        cli_put_z(out, " stopped for refusals");
    }
    if (held > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, held);
        cli_put_z(out, " held");
    }
    if (broken > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, broken);
        cli_put_z(out, broken == 1 ? " file with a mistake" : " files with mistakes");
    }
    if (total > 0 && total == in_state(status, "up")) {
        cli_put_z(out, total == 1 ? ", up" : ", all up");
    }
}

void cli_summary(const json_t *status, struct pn_buf *out)
{
    const json_t *queue = json_object_get(status, "queue");
    uint64_t messages = cli_number(queue, "messages");
    uint64_t parked = cli_number(queue, "parked");
    double since_s;
    double probe_s;

    look_at_down(status, &since_s, &probe_s);
    put_spool_trouble(status, out);
    put_domains(status, since_s, out);
    cli_put_z(out, "; ");
    if (messages > 0) {
        cli_put_count(out, messages);
        cli_put_z(out, messages == 1 ? " message waits (" : " messages wait (");
        cli_put_size(out, cli_number(queue, "octets"));
        cli_put_z(out, ")");
        if (cli_seconds(queue, "oldest_s") >= 0) {
            cli_put_z(out, messages == 1 ? ", for " : ", the oldest for ");
            cli_put_age(out, cli_seconds(queue, "oldest_s"));
        }
    } else {
        cli_put_z(out, "nothing waits");
    }
    if (cli_number(queue, "in_doubt") > 0) {
        cli_put_z(out, "; ");
        cli_put_count(out, cli_number(queue, "in_doubt"));
        cli_put_z(out, " in doubt (may have been delivered)");
    }
    if (parked > 0) {
        cli_put_z(out, "; ");
        cli_put_count(out, parked);
        cli_put_z(out, parked == 1 ? " is parked" : " are parked");
    }
    if (probe_s >= 0) {
        cli_put_z(out, "; next probe in ");
        cli_put_printf(out, "%.0f s", probe_s);
    }
}

/* What the queue is doing, in a few words. */
static void put_activity(const json_t *row, struct pn_buf *out)
{
    bool stopped = pn_str_eq(cli_text(row, "state"), PN_STR("stopped"));

    if (cli_flag(row, "flushing") && !stopped) {
        cli_put_count(out, cli_number(row, "flush_left"));
        cli_put_printf(out, " left, %.0f/s", cli_seconds(row, "rate"));
        if (cli_seconds(row, "time_left_s") >= 0) {
            cli_put_z(out, ", ");
            cli_put_age(out, cli_seconds(row, "time_left_s"));
        }
    } else if (cli_flag(row, "parole") && !stopped) {
        cli_put_z(out, "on parole");
    } else if (cli_seconds(row, "next_probe_s") >= 0) {
        cli_put_printf(out, "probe in %.0f s", cli_seconds(row, "next_probe_s"));
    } else if (cli_seconds(row, "next_canary_s") >= 0) {
        cli_put_z(out, "tries some in ");
        cli_put_age(out, cli_seconds(row, "next_canary_s"));
    } else if (cli_number(row, "in_flight") > 0) {
        cli_put_count(out, cli_number(row, "in_flight"));
        cli_put_z(out, " under way");
    }
}

struct cli_table *cli_domain_table(const json_t *domains)
{
    static const struct cli_column columns[] = {
        {"DOMAIN", false, true, false}, {"STATE", false, false, true},
        {"SINCE", true, false, false},  {"MESSAGES", true, false, false},
        {"SIZE", true, false, false},   {"OLDEST", true, false, false},
        {"PARKED", true, false, false}, {"ACTIVITY", false, true, false}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));
    size_t index;
    json_t *row;

    json_array_foreach(domains, index, row)
    {
        cli_put_text(cli_table_cell(table), cli_text(row, "name"));
        cli_put_text(cli_table_cell(table), cli_text(row, "state"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "since_s"));
        cli_put_count(cli_table_cell(table), cli_number(row, "messages"));
        cli_put_size(cli_table_cell(table), cli_number(row, "octets"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "oldest_s"));
        cli_put_count(cli_table_cell(table), cli_number(row, "parked"));
        put_activity(row, cli_table_cell(table));
    }
    return table;
}

void cli_put_broken(const json_t *broken, struct pn_buf *out)
{
    size_t index;
    json_t *row;

    json_array_foreach(broken, index, row)
    {
        cli_put_text(out, cli_text(row, "mistake"));
        cli_put_z(out, cli_flag(row, "in_force")
                           ? " (the last good version is in force)\n"
                           : " (there is no good version: no mail is taken for it)\n");
    }
}

/* What one has to know of a domain that is not simply up; or nothing. */
static void put_reason(const json_t *row, struct pn_buf *out)
{
    struct pn_str state = cli_text(row, "state");

    if (pn_str_eq(state, PN_STR("stopped"))) {
        cli_put_stopped(row, out);
    } else if (cli_flag(row, "parole")) {
        cli_put_parole(row, out);
    } else if (pn_str_eq(state, PN_STR("down")) || pn_str_eq(state, PN_STR("held"))) {
        cli_put_text(out, cli_text(row, "reason"));
    }
}

static void put_reasons(const json_t *domains, struct pn_buf *out)
{
    size_t index;
    json_t *row;
    struct pn_buf reason;

    pn_buf_init(&reason, CLI_TEXT_MAX);
    json_array_foreach(domains, index, row)
    {
        pn_buf_clear(&reason);
        put_reason(row, &reason);
        if (reason.len > 0) {
            cli_put_text(out, cli_text(row, "name"));
            cli_put_z(out, ": ");
            pn_assert(pn_buf_append(out, pn_buf_str(&reason)) == 0);
            cli_put_z(out, "\n");
        }
    }
    pn_buf_fini(&reason);
}

static void put_machine(const json_t *status, struct pn_buf *out)
{
    const json_t *spool = json_object_get(status, "spool");
    const json_t *memory = json_object_get(status, "memory");

    cli_put_z(out, "spool: ");
    cli_put_text(out, cli_text(spool, "readiness"));
    cli_put_z(out, ", ");
    cli_put_size(out, cli_number(spool, "free"));
    cli_put_z(out, " free of ");
    cli_put_size(out, cli_number(spool, "total"));
    cli_put_z(out, cli_flag(spool, "encrypted") ? ", encrypted" : ", not encrypted");
    if (cli_number(spool, "corrupt") > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, cli_number(spool, "corrupt"));
        cli_put_z(out, " damaged records");
    }
    cli_put_z(out, "\n");
    if (cli_text(spool, "trouble").len > 0) {
        cli_put_z(out, "spool trouble: ");
        cli_put_text(out, cli_text(spool, "trouble"));
        cli_put_z(out, "\n");
    }
    cli_put_z(out, "postern ");
    cli_put_text(out, cli_text(status, "version"));
    cli_put_z(out, " on ");
    cli_put_text(out, cli_text(status, "hostname"));
    cli_put_z(out, ", up ");
    cli_put_age(out, cli_seconds(status, "started_s"));
    cli_put_z(out, "; client sessions: ");
    cli_put_count(out, cli_number(status, "sessions"));
    cli_put_z(out, "; memory for text: ");
    cli_put_size(out, cli_number(memory, "used"));
    cli_put_z(out, " of ");
    cli_put_size(out, cli_number(memory, "max"));
    cli_put_z(out, "\n");
}

void cli_status_text(const json_t *status, size_t width, bool colour, struct pn_buf *out)
{
    const json_t *domains = json_object_get(status, "domains");
    uint64_t total = cli_number(status, "domains_total");
    struct cli_table *table = cli_domain_table(domains);
    struct pn_buf summary;

    pn_buf_init(&summary, CLI_TEXT_MAX);
    cli_summary(status, &summary);
    cli_put_coloured(out, CLI_BOLD, colour, pn_buf_str(&summary));
    cli_put_z(out, "\n");
    pn_buf_fini(&summary);
    if (cli_table_rows(table) > 0) {
        cli_put_z(out, "\n");
        cli_table_write(table, width, colour, out);
        if (json_array_size(domains) < total) {
            cli_put_count(out, total - json_array_size(domains));
            cli_put_z(out, " more; \"postern domain list\" shows all\n");
        }
    }
    cli_put_z(out, "\n");
    put_reasons(domains, out);
    cli_put_broken(json_object_get(status, "broken"), out);
    put_machine(status, out);
    cli_table_free(&table);
}

int cli_status(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf out;
    json_t *status;
    int result = cli_ask(cli, "GET", "/v1/status", NULL, &status);

    (void)args;
    if (status) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        cli_status_text(status, cli->width, cli->colour, &out);
        cli_print(cli, &out);
        pn_buf_fini(&out);
        json_decref(status);
    }
    return result;
}
