/*
 * cli/destination.c - next hops: listed, shown, held, and judged after they came back.
 *
 * A destination may be named by a domain whose mail goes there: that is the name which
 * people know. Names of destinations have a colon in them, those of domains have none.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

/* ---- list ------------------------------------------------------------------------- */

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

/* ---- show ------------------------------------------------------------------------- */

void cli_put_parole(const json_t *row, struct pn_buf *out)
{
    struct pn_str state = cli_text(row, "state");
    uint64_t refused = cli_number(row, "parole_refused");

    if (pn_str_eq(state, PN_STR("ramp"))) {
        cli_put_z(out, "back");
    } else {
        cli_put_text(out, state);
    }
    if (cli_seconds(row, "since_s") >= 0) {
        cli_put_z(out, " since ");
        cli_put_age(out, cli_seconds(row, "since_s"));
    }
    cli_put_z(out, ", on parole: ");
    cli_put_count(out, cli_number(row, "parole_done"));
    cli_put_z(out, " of ");
    cli_put_count(out, cli_number(row, "parole_wanted"));
    cli_put_z(out, " clean");
    if (refused > 0) {
        cli_put_z(out, ", ");
        cli_put_count(out, refused);
        cli_put_z(out, " refused");
    }
}

void cli_put_stopped(const json_t *row, struct pn_buf *out)
{
    cli_put_z(out, "stopped: ");
    cli_put_text(out, cli_text(row, "reason"));
    cli_put_z(out, ", decide with \"postern destination resume|refuse ");
    cli_put_text(out, cli_text(row, "name"));
    cli_put_z(out, "\"");
}

static void put_row(struct pn_buf *out, const char *name)
{
    cli_put_printf(out, "%-13s ", name);
}

static void put_state(const json_t *row, bool colour, struct pn_buf *out)
{
    struct pn_str state = cli_text(row, "state");

    put_row(out, "state");
    cli_put_coloured(out, cli_state_colour(state), colour, state);
    if (cli_seconds(row, "since_s") >= 0) {
        cli_put_z(out, " since ");
        cli_put_age(out, cli_seconds(row, "since_s"));
    }
    if (cli_seconds(row, "next_probe_s") >= 0) {
        cli_put_printf(out, ", next probe in %.0f s", cli_seconds(row, "next_probe_s"));
    }
    if (cli_seconds(row, "next_canary_s") >= 0) {
        cli_put_z(out, ", some messages are tried in ");
        cli_put_age(out, cli_seconds(row, "next_canary_s"));
    }
    cli_put_z(out, "\n");
    if (pn_str_eq(state, PN_STR("stopped"))) {
        put_row(out, "decision");
        cli_put_stopped(row, out);
        cli_put_z(out, "\n");
        return;
    }
    if (cli_flag(row, "parole")) {
        put_row(out, "parole");
        cli_put_parole(row, out);
        cli_put_z(out, "\n");
    }
    if (cli_text(row, "reason").len > 0) {
        put_row(out, "reason");
        cli_put_text(out, cli_text(row, "reason"));
        cli_put_z(out, "\n");
    }
}

/* How fast it is given mail, and what keeps it from more. */
static void put_pace(const json_t *row, struct pn_buf *out)
{
    put_row(out, "messages");
    cli_put_count(out, cli_number(row, "messages"));
    cli_put_printf(out, " wait, %.1f a second are delivered", cli_seconds(row, "rate"));
    if (cli_seconds(row, "rate_limit") >= 0) {
        cli_put_printf(out, "; at most %.3g a second", cli_seconds(row, "rate_limit"));
    }
    if (cli_seconds(row, "delay_s") > 0) {
        cli_put_printf(out, "; %.0f s between two of a session", cli_seconds(row, "delay_s"));
    }
    cli_put_z(out, "\n");
}

static void put_sessions(const json_t *row, struct pn_buf *out)
{
    uint64_t lent = cli_number(row, "lent_sessions");

    put_row(out, "sessions");
    cli_put_count(out, cli_number(row, "sessions"));
    cli_put_z(out, " of ");
    cli_put_count(out, cli_number(row, "session_limit"));
    if (cli_number(row, "session_ceiling") > 0) {
        cli_put_z(out, " (it turns away more than ");
        cli_put_count(out, cli_number(row, "session_ceiling"));
        cli_put_z(out, ")");
    }
    if (lent > 0) {
        cli_put_z(out, ", and ");
        cli_put_count(out, lent);
        cli_put_z(out, " for pass-through and call-ahead");
    }
    cli_put_z(out, "\n");
    put_pace(row, out);
    put_row(out, "last success");
    cli_put_age(out, cli_seconds(row, "last_success_s"));
    cli_put_z(out, "\n");
    put_row(out, "last failure");
    cli_put_age(out, cli_seconds(row, "last_failure_s"));
    cli_put_z(out, "\n");
    put_row(out, "probes");
    cli_put_count(out, cli_number(row, "probes"));
    cli_put_z(out, "; sessions that failed: ");
    cli_put_count(out, cli_number(row, "failures"));
    cli_put_z(out, "\n");
}

/* A list of texts behind a name, with commas between them. */
static void put_texts(struct pn_buf *out, const char *name, const json_t *texts)
{
    size_t index;
    json_t *text;

    put_row(out, name);
    json_array_foreach(texts, index, text)
    {
        cli_put_z(out, index > 0 ? ", " : "");
        cli_put_text(out, (struct pn_str){json_string_value(text), json_string_length(text)});
    }
}

static void put_offer(const json_t *row, struct pn_buf *out)
{
    const json_t *capabilities = json_object_get(row, "capabilities");

    put_texts(out, "offers", capabilities);
    if (!json_is_array(capabilities)) {
        cli_put_z(out, "not known: it has not been asked yet");
    }
    cli_put_z(out, "\n");
    if (json_is_array(capabilities)) {
        put_row(out, "size limit");
        if (cli_number(row, "size_limit") > 0) {
            cli_put_size(out, cli_number(row, "size_limit"));
        } else {
            cli_put_z(out, "none");
        }
        cli_put_z(out, "\n");
    }
}

static void put_counts(const json_t *row, struct pn_buf *out)
{
    const json_t *replies = json_object_get(row, "replies");

    put_row(out, "replies");
    cli_put_count(out, cli_number(replies, "2xx"));
    cli_put_z(out, " taken, ");
    cli_put_count(out, cli_number(replies, "4xx"));
    cli_put_z(out, " put off, ");
    cli_put_count(out, cli_number(replies, "5xx"));
    cli_put_z(out, " refused; sessions: ");
    cli_put_count(out, cli_number(replies, "421"));
    cli_put_z(out, " told 421, ");
    cli_put_count(out, cli_number(replies, "lost"));
    cli_put_z(out, " lost, ");
    cli_put_count(out, cli_number(replies, "failed"));
    cli_put_z(out, " failed\n");
}

/* What was heard from it. */
static void put_contact(const json_t *row, struct pn_buf *out)
{
    const json_t *sayings = json_object_get(row, "last_replies");
    const json_t *saying;
    size_t index;

    if (cli_text(row, "peer").len > 0) {
        put_row(out, "last session");
        cli_put_text(out, cli_text(row, "peer"));
        cli_put_z(out, ", ");
        cli_put_age(out, cli_seconds(row, "last_session_s"));
        cli_put_z(out, " ago\n");
        put_row(out, "tls");
        cli_put_text(out, cli_text(row, "tls"));
        cli_put_z(out, cli_text(row, "tls_why").len > 0 ? ": " : "");
        cli_put_text(out, cli_text(row, "tls_why"));
        cli_put_z(out, "\n");
        put_row(out, "identity");
        cli_put_text(out, cli_text(row, "identity"));
        cli_put_z(out, "\n");
        put_row(out, "window");
        cli_put_count(out, cli_number(row, "window"));
        cli_put_z(out, "\n");
    }
    if (json_array_size(json_object_get(row, "quirks")) > 0) {
        put_texts(out, "quirks", json_object_get(row, "quirks"));
        cli_put_z(out, "\n");
    }
    put_counts(row, out);
    json_array_foreach(sayings, index, saying)
    {
        put_row(out, index == 0 ? "last replies" : "");
        cli_put_age(out, cli_seconds(saying, "at_s"));
        cli_put_z(out, " ago: ");
        cli_put_text(out, cli_text(saying, "text"));
        if (cli_number(saying, "times") > 1) {
            cli_put_printf(out, " (%llu times)",
                           (unsigned long long)cli_number(saying, "times"));
        }
        cli_put_z(out, "\n");
    }
}

int cli_destination_show(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    const json_t *domains;
    json_t *row;
    int result;

    cli_path(&path, "/v1/destinations/", args->values[0], "");
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &row);
    pn_buf_fini(&path);
    if (!row) {
        return result;
    }
    pn_buf_init(&out, CLI_OUTPUT_MAX);
    put_row(&out, "destination");
    cli_put_text(&out, cli_text(row, "name"));
    cli_put_z(&out, "\n");
    put_state(row, cli->colour, &out);
    put_sessions(row, &out);
    put_offer(row, &out);
    put_contact(row, &out);
    domains = json_object_get(row, "domains");
    put_texts(&out, "domains", domains);
    if (json_array_size(domains) < cli_number(row, "domains_total")) {
        cli_put_z(&out, " and ");
        cli_put_count(&out, cli_number(row, "domains_total") - json_array_size(domains));
        cli_put_z(&out, " more");
    }
    cli_put_z(&out, "\n");
    cli_print(cli, &out);
    pn_buf_fini(&out);
    json_decref(row);
    return result;
}

/* ---- hold, decide ----------------------------------------------------------------- */

/* The body that names a destination, or NULL: the command line is wrong, and was told. */
static json_t *destination_body(struct cli *cli, const struct cli_args *args)
{
    const char *domain = cli_args_value(args, "domain");
    const char *name = args->count > 0 ? args->values[0] : NULL;
    bool all = cli_args_has(args, "all");
    json_t *body;

    if ((name != NULL) + (domain != NULL) + all != 1) {
        (void)fprintf(cli->err, "postern: give a destination's name, or --domain DOMAIN\n");
        return NULL;
    }
    body = json_object();
    if (all) {
        pn_assert(json_object_set_new(body, "all", json_true()) == 0);
    } else {
        pn_assert(json_object_set_new(body, name && strchr(name, ':') ? "name" : "domain",
                                      cli_json(name ? name : domain)) == 0);
    }
    return body;
}

static int set_hold(struct cli *cli, const struct cli_args *args, const char *path,
                    const char *done)
{
    json_t *body = destination_body(cli, args);
    json_t *answer;
    int result;

    if (!body) {
        return CLI_USAGE;
    }
    result = cli_ask(cli, "POST", path, body, &answer);
    if (answer) {
        (void)fprintf(cli->out, "%s: %s\n",
                      args->count > 0 ? args->values[0] : cli_args_value(args, "domain"), done);
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

static int decide(struct cli *cli, const struct cli_args *args, const char *path,
                  const char *done)
{
    json_t *body = destination_body(cli, args);
    struct pn_buf out;
    json_t *answer;
    json_t *name;
    size_t index;
    int result;

    if (!body) {
        return CLI_USAGE;
    }
    result = cli_ask(cli, "POST", path, body, &answer);
    if (answer) {
        const json_t *names = json_object_get(answer, "names");

        pn_buf_init(&out, CLI_OUTPUT_MAX);
        json_array_foreach(names, index, name)
        {
            cli_put_text(&out,
                         (struct pn_str){json_string_value(name), json_string_length(name)});
            cli_put_printf(&out, ": %s\n", done);
        }
        if (json_array_size(names) == 0) {
            cli_put_z(&out, "no destination is stopped\n");
        }
        cli_print(cli, &out);
        pn_buf_fini(&out);
        json_decref(answer);
    }
    return result;
}

int cli_destination_resume(struct cli *cli, const struct cli_args *args)
{
    return decide(cli, args, "/v1/destinations/resume", "gets its mail again, on parole");
}

int cli_destination_refuse(struct cli *cli, const struct cli_args *args)
{
    return decide(cli, args, "/v1/destinations/refuse",
                  "is off parole: its refusals are to be believed");
}
