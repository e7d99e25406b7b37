/*
 * cli/daemon.c - destinations, and the verbs of the daemon itself.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

/* ---- destinations ----------------------------------------------------------------- */

struct cli_table *cli_destination_table(const json_t *destinations)
{
    static const struct cli_column columns[] = {
        {"DESTINATION", false, true, false}, {"STATE", false, false, true},
        {"SINCE", true, false, false},       {"SESSIONS", true, false, false},
        {"SUCCESS", true, false, false},     {"NEXT PROBE", true, false, false},
        {"REASON", false, true, false}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));
    size_t index;
    json_t *row;

    json_array_foreach(destinations, index, row)
    {
        cli_put_text(cli_table_cell(table), cli_text(row, "name"));
        cli_put_text(cli_table_cell(table), cli_text(row, "state"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "since_s"));
        cli_put_printf(cli_table_cell(table), "%llu/%llu",
                       (unsigned long long)cli_number(row, "sessions"),
                       (unsigned long long)cli_number(row, "session_limit"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "last_success_s"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "next_probe_s"));
        cli_put_text(cli_table_cell(table), cli_text(row, "reason"));
    }
    return table;
}

int cli_destination_list(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf out;
    json_t *first = NULL;
    json_t *rows = NULL;
    json_t *row;
    size_t index;
    int result;

    if (cli->json) {
        return cli_ask(cli, "GET", "/v1/destinations?limit=10000", NULL, &first);
    }
    result = cli_pages(cli, "/v1/destinations", "destinations", &rows, &first);
    if (result == CLI_DONE) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        if (cli_args_has(args, "names")) {
            json_array_foreach(rows, index, row)
            {
                cli_put_text(&out, cli_text(row, "name"));
                cli_put_z(&out, "\n");
            }
        } else {
            struct cli_table *table = cli_destination_table(rows);

            cli_table_write(table, cli->width, cli->colour, &out);
            cli_table_free(&table);
        }
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    json_decref(rows);
    json_decref(first);
    return result;
}

static int set_hold(struct cli *cli, const struct cli_args *args, const char *path,
                    const char *done)
{
    const char *domain = cli_args_value(args, "domain");
    const char *name = args->count > 0 ? args->values[0] : NULL;
    json_t *body;
    json_t *answer;
    int result;

    if (!domain == !name) {
        (void)fprintf(cli->err, "postern: give a destination's name, or --domain DOMAIN\n");
        return CLI_USAGE;
    }
    body = json_object();
    pn_assert(json_object_set_new(body, name ? "name" : "domain",
                                  cli_json(name ? name : domain)) == 0);
    result = cli_ask(cli, "POST", path, body, &answer);
    if (answer) {
        (void)fprintf(cli->out, "%s: %s\n", name ? name : domain, done);
        json_decref(answer);
    }
    return result;
}

int cli_destination_hold(struct cli *cli, const struct cli_args *args)
{
    return set_hold(cli, args, "/v1/destinations/hold", "held");
}

int cli_destination_release(struct cli *cli, const struct cli_args *args)
{
    return set_hold(cli, args, "/v1/destinations/release", "released");
}

/* ---- the daemon ------------------------------------------------------------------- */

static int tell_daemon(struct cli *cli, const char *path, const char *done)
{
    json_t *answer;
    int result = cli_ask(cli, "POST", path, NULL, &answer);

    if (answer) {
        (void)fprintf(cli->out, "%s\n", done);
        json_decref(answer);
    }
    return result;
}

int cli_reload(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return tell_daemon(cli, "/v1/reload", "the configuration is in force");
}

int cli_stop(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return tell_daemon(cli, "/v1/stop", "the daemon is stopping");
}

int cli_metrics(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return cli_ask_text(cli, "/metrics");
}

/* ---- the spool -------------------------------------------------------------------- */

int cli_spool_check(struct cli *cli, const struct cli_args *args)
{
    const char *given = cli_args_value(args, "messages");
    json_t *body = json_object();
    uint64_t messages = 0;
    uint64_t bad;
    json_t *answer;
    int result;

    if (given && (!pn_str_to_u64(pn_str_z(given), 1000000, &messages) || messages == 0)) {
        (void)fprintf(cli->err,
                      "postern spool check: --messages is a number from 1 to 1000000\n");
        json_decref(body);
        return CLI_USAGE;
    }
    if (given) {
        pn_assert(json_object_set_new(body, "messages", json_integer((json_int_t)messages)) ==
                  0);
    }
    result = cli_ask(cli, "POST", "/v1/spool/check", body, &answer);
    if (answer) {
        bad = cli_number(answer, "bad");
        (void)fprintf(cli->out, "checked: %llu, damaged: %llu%s\n",
                      (unsigned long long)cli_number(answer, "checked"),
                      (unsigned long long)bad,
                      cli_flag(answer, "whole") ? "; that was the end of the spool" : "");
        result = bad > 0 ? CLI_REFUSED : CLI_DONE;
        json_decref(answer);
    }
    return result;
}

int cli_spool_salvage(struct cli *cli, const struct cli_args *args)
{
    json_t *body = json_object();
    json_t *answer;
    int result;

    pn_assert(json_object_set_new(body, "path", cli_json(args->values[0])) == 0);
    result = cli_ask(cli, "POST", "/v1/spool/salvage", body, &answer);
    if (answer) {
        (void)fprintf(cli->out,
                      "brought back: %llu, held (see \"postern queue list --held\"); there "
                      "already: %llu; damaged: %llu\n",
                      (unsigned long long)cli_number(answer, "brought"),
                      (unsigned long long)cli_number(answer, "there_already"),
                      (unsigned long long)cli_number(answer, "bad"));
        result = cli_flag(answer, "complete") ? CLI_DONE : CLI_REFUSED;
        json_decref(answer);
    }
    return result;
}
