/*
 * cli/queue.c - messages in the queues, parked ones, and what happened to one.
 *
 * "parked" asks what "queue" asks, with one more filter: nobody who wants to see what was
 * refused has to think of it.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define LIST_LIMIT 100

/* ---- list ------------------------------------------------------------------------- */

static void put_recipients(const json_t *row, struct pn_buf *out)
{
    const json_t *recipients = json_object_get(row, "recipients");
    uint64_t count = cli_number(row, "recipient_count");
    const json_t *first = json_array_get(recipients, 0);

    cli_put_text(out, (struct pn_str){json_string_value(first) ? json_string_value(first) : "",
                                      json_string_length(first)});
    if (count > 1) {
        cli_put_z(out, " +");
        cli_put_count(out, count - 1);
    }
}

static void put_next_try(const json_t *row, struct pn_buf *out)
{
    double next_s = cli_seconds(row, "next_try_s");

    if (next_s < 0) {
        cli_put_text(out, cli_text(row, "state"));
    } else if (cli_text(row, "waits_for").len > 0) {
        cli_put_z(out, "when up");
    } else if (next_s < 1) {
        cli_put_z(out, "now");
    } else {
        cli_put_z(out, "in ");
        cli_put_age(out, next_s);
    }
}

static void put_sender(const json_t *row, struct pn_buf *out)
{
    struct pn_str sender = cli_text(row, "sender");

    if (sender.len == 0) {
        cli_put_z(out, "<>");
    }
    cli_put_text(out, sender);
}

struct cli_table *cli_queue_table(const json_t *messages)
{
    static const struct cli_column columns[] = {
        {"ID", false, false, false},       {"AGE", true, false, false},
        {"SIZE", true, false, false},      {"QUEUE", false, true, false},
        {"SENDER", false, true, false},    {"RECIPIENTS", false, true, false},
        {"NEXT TRY", false, false, false}, {"TRIES", true, false, false},
        {"LAST REPLY", false, true, false}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));
    size_t index;
    json_t *row;

    json_array_foreach(messages, index, row)
    {
        cli_put_text(cli_table_cell(table), cli_text(row, "id"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "arrival_s"));
        cli_put_size(cli_table_cell(table), cli_number(row, "octets"));
        cli_put_text(cli_table_cell(table), cli_text(row, "queue"));
        put_sender(row, cli_table_cell(table));
        put_recipients(row, cli_table_cell(table));
        put_next_try(row, cli_table_cell(table));
        cli_put_count(cli_table_cell(table), cli_number(row, "attempts"));
        cli_put_text(cli_table_cell(table), cli_text(row, "last_reply"));
    }
    return table;
}

struct cli_table *cli_parked_table(const json_t *messages)
{
    static const struct cli_column columns[] = {
        {"ID", false, false, false},    {"AGE", true, false, false},
        {"SIZE", true, false, false},   {"QUEUE", false, true, false},
        {"SENDER", false, true, false}, {"RECIPIENTS", false, true, false},
        {"REASON", false, true, false}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));
    size_t index;
    json_t *row;

    json_array_foreach(messages, index, row)
    {
        cli_put_text(cli_table_cell(table), cli_text(row, "id"));
        cli_put_age(cli_table_cell(table), cli_seconds(row, "arrival_s"));
        cli_put_size(cli_table_cell(table), cli_number(row, "octets"));
        cli_put_text(cli_table_cell(table), cli_text(row, "queue"));
        put_sender(row, cli_table_cell(table));
        put_recipients(row, cli_table_cell(table));
        cli_put_text(cli_table_cell(table), cli_text(row, "last_reply"));
    }
    return table;
}

/* The query of a listing: the options of the same names. */
static void put_filters(const struct cli_args *args, bool parked, struct pn_buf *path)
{
    if (parked) {
        cli_path_query(path, "parked", "true");
    }
    for (size_t i = 0; i < args->given_count; i++) {
        cli_path_query(path, args->given[i].option->name,
                       args->given[i].value ? args->given[i].value : "true");
    }
}

/* Pages until there are enough rows: a page may be short when few of many match. */
static int gather(struct cli *cli, const struct cli_args *args, bool parked, uint64_t limit,
                  json_t *rows, char **out_next)
{
    char *after =
        cli_args_value(args, "after") ? pn_strdup(cli_args_value(args, "after")) : NULL;
    int result = CLI_DONE;

    do {
        struct pn_buf path;
        json_t *answer;
        struct cli_args filters = *args;

        cli_path(&path, "/v1/queue", "", "");
        cli_args_drop(&filters, "after");
        cli_args_drop(&filters, "limit");
        put_filters(&filters, parked, &path);
        cli_path_number(&path, "limit", limit - json_array_size(rows));
        if (after) {
            cli_path_query(&path, "after", after);
        }
        result = cli_ask_quietly(cli, "GET", cli_z(&path), NULL, &answer);
        pn_buf_fini(&path);
        free(after);
        after = NULL;
        if (answer) {
            struct pn_str next = cli_text(answer, "next");

            pn_assert(!json_object_get(answer, "messages") ||
                      json_array_extend(rows, json_object_get(answer, "messages")) == 0);
            after = next.len > 0 ? pn_strndup(next) : NULL;
            json_decref(answer);
        }
    } while (after && json_array_size(rows) < limit);
    *out_next = after;
    return result;
}

static int list(struct cli *cli, const struct cli_args *args, bool parked)
{
    uint64_t limit = LIST_LIMIT;
    const char *given = cli_args_value(args, "limit");
    struct cli_table *table;
    struct pn_buf out;
    char *next = NULL;
    json_t *rows;
    int result;

    if (given && (!pn_str_to_u64(pn_str_z(given), 1000000, &limit) || limit == 0)) {
        (void)fprintf(cli->err, "postern: --limit is a number from 1 to 1000000\n");
        return CLI_USAGE;
    }
    if (cli->json) {
        struct pn_buf path;

        cli_path(&path, "/v1/queue", "", "");
        put_filters(args, parked, &path);
        result = cli_ask(cli, "GET", cli_z(&path), NULL, &rows);
        pn_buf_fini(&path);
        return result;
    }
    rows = json_array();
    result = gather(cli, args, parked, limit, rows, &next);
    if (result == CLI_DONE) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        table = parked ? cli_parked_table(rows) : cli_queue_table(rows);
        if (json_array_size(rows) > 0) {
            cli_table_write(table, cli->width, cli->colour, &out);
        } else {
            cli_put_z(&out, parked ? "nothing is parked\n" : "no message\n");
        }
        if (next) {
            cli_put_printf(&out, "there are more: --after %s\n", next);
        }
        cli_print(cli, &out);
        cli_table_free(&table);
        pn_buf_fini(&out);
    }
    json_decref(rows);
    free(next);
    return result;
}

int cli_queue_list(struct cli *cli, const struct cli_args *args)
{
    return list(cli, args, false);
}

int cli_parked_list(struct cli *cli, const struct cli_args *args)
{
    return list(cli, args, true);
}

/* ---- show ------------------------------------------------------------------------- */

static void put_field(struct pn_buf *out, const char *name, struct pn_str text)
{
    if (text.len > 0) {
        cli_put_printf(out, "%-12s ", name);
        cli_put_text(out, text);
        cli_put_z(out, "\n");
    }
}

static void put_job(const json_t *job, bool colour, struct pn_buf *out)
{
    size_t index;
    json_t *recipient;

    cli_put_printf(out, "\n%-12s ", "queue");
    cli_put_text(out, cli_text(job, "queue"));
    cli_put_z(out, " (");
    cli_put_coloured(out, cli_state_colour(cli_text(job, "state")), colour,
                     cli_text(job, "state"));
    cli_put_z(out, ")\n");
    cli_put_printf(out, "%-12s ", "tries");
    cli_put_count(out, cli_number(job, "attempts"));
    if (cli_seconds(job, "last_try_s") >= 0) {
        cli_put_z(out, ", the last ");
        cli_put_age(out, cli_seconds(job, "last_try_s"));
        cli_put_z(out, " ago");
    }
    if (cli_seconds(job, "next_try_s") >= 0) {
        cli_put_z(out, ", the next ");
        put_next_try(job, out);
    }
    cli_put_z(out, "\n");
    put_field(out, "waits for", cli_text(job, "waits_for"));
    put_field(out, "last reply", cli_text(job, "last_reply"));
    json_array_foreach(json_object_get(job, "recipients"), index, recipient)
    {
        put_field(out, index == 0 ? "recipients" : "",
                  (struct pn_str){json_string_value(recipient), json_string_length(recipient)});
    }
}

static int show(struct cli *cli, const struct cli_args *args, bool parked_only)
{
    struct pn_buf path;
    struct pn_buf out;
    json_t *message;
    json_t *job;
    size_t index;
    bool shown = false;
    int result;

    cli_path(&path, "/v1/queue/", args->values[0], "");
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &message);
    pn_buf_fini(&path);
    if (!message) {
        return result;
    }
    pn_buf_init(&out, CLI_OUTPUT_MAX);
    put_field(&out, "id", cli_text(message, "id"));
    cli_put_printf(&out, "%-12s ", "sender");
    put_sender(message, &out);
    cli_put_z(&out, "\n");
    cli_put_printf(&out, "%-12s ", "size");
    cli_put_size(&out, cli_number(message, "octets"));
    cli_put_z(&out, "\n");
    put_field(&out, "received", cli_text(message, "received"));
    put_field(&out, "client", cli_text(message, "client"));
    put_field(&out, "client name", cli_text(message, "client_name"));
    put_field(&out, "helo", cli_text(message, "helo"));
    put_field(&out, "protocol", cli_text(message, "protocol"));
    put_field(&out, "tls", cli_text(message, "tls"));
    json_array_foreach(json_object_get(message, "jobs"), index, job)
    {
        if (!parked_only || pn_str_eq(cli_text(job, "state"), PN_STR("parked"))) {
            put_job(job, cli->colour, &out);
            shown = true;
        }
    }
    if (shown || !parked_only) {
        cli_print(cli, &out);
    } else {
        (void)fprintf(cli->err, "postern: none of the message's recipients is parked; see "
                                "\"postern queue show\"\n");
        result = CLI_REFUSED;
    }
    pn_buf_fini(&out);
    json_decref(message);
    return result;
}

int cli_queue_show(struct cli *cli, const struct cli_args *args)
{
    return show(cli, args, false);
}

int cli_parked_show(struct cli *cli, const struct cli_args *args)
{
    return show(cli, args, true);
}

int cli_trace(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    json_t *trace;
    json_t *event;
    size_t index;
    int result;

    cli_path(&path, "/v1/trace/", args->values[0], "");
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &trace);
    pn_buf_fini(&path);
    if (!trace) {
        return result;
    }
    pn_buf_init(&out, CLI_OUTPUT_MAX);
    json_array_foreach(json_object_get(trace, "events"), index, event)
    {
        cli_put_text(&out, cli_text(event, "time"));
        cli_put_z(&out, "  ");
        cli_put_text(&out, cli_text(event, "event"));
        cli_put_z(&out, "  ");
        cli_put_text(&out, cli_text(event, "text"));
        cli_put_z(&out, "\n");
    }
    cli_print(cli, &out);
    pn_buf_fini(&out);
    json_decref(trace);
    return result;
}

/* ---- verbs ------------------------------------------------------------------------ */

static json_t *filter_body(const struct cli_args *args, bool parked, const char *address,
                           const char *id)
{
    json_t *body = json_object();

    if (address) {
        pn_assert(json_object_set_new(body, "address", cli_json(address)) == 0);
    }
    if (parked) {
        pn_assert(json_object_set_new(body, "parked", json_true()) == 0);
    }
    for (size_t i = 0; i < args->given_count; i++) {
        pn_assert(json_object_set_new(body, args->given[i].option->name,
                                      args->given[i].value ? cli_json(args->given[i].value)
                                                           : json_true()) == 0);
    }
    if (id) {
        pn_assert(json_object_set_new(body, "id", cli_json(id)) == 0);
    }
    return body;
}

/* With an address, that is the first argument; the others are IDs. */
static int apply_with(struct cli *cli, const struct cli_args *args, bool parked,
                      const char *path, const char *done, const char *address)
{
    uint64_t changed = 0;
    int result = CLI_DONE;
    size_t first = address ? 1 : 0, ids = args->count - first, rounds = ids > 0 ? ids : 1;

    if (ids == 0 && args->given_count == 0) {
        (void)fprintf(cli->err,
                      "postern: nothing says which messages: give their IDs, filters, "
                      "or --all\n");
        return CLI_USAGE;
    }
    for (size_t i = 0; i < rounds && result == CLI_DONE; i++) {
        json_t *answer;

        result = cli_ask(
            cli, "POST", path,
            filter_body(args, parked, address, ids > 0 ? args->values[first + i] : NULL),
            &answer);
        changed += cli_number(answer, "changed");
        if (answer && !cli_flag(answer, "complete")) {
            (void)fprintf(cli->err, "postern: the store stopped working halfway\n");
            result = CLI_REFUSED;
        }
        json_decref(answer);
    }
    if (!cli->json && (result == CLI_DONE || changed > 0)) {
        (void)fprintf(cli->out, "%s: %llu\n", done, (unsigned long long)changed);
    }
    return !cli->json && result == CLI_DONE && changed == 0 ? CLI_REFUSED : result;
}

static int apply(struct cli *cli, const struct cli_args *args, bool parked, const char *path,
                 const char *done)
{
    return apply_with(cli, args, parked, path, done, NULL);
}

int cli_queue_hold(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, false, "/v1/queue/hold", "held");
}

int cli_queue_release(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, false, "/v1/queue/release", "released");
}

int cli_queue_retry(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, false, "/v1/queue/retry", "due now");
}

int cli_queue_delete(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, false, "/v1/queue/delete", "deleted");
}

int cli_parked_release(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, true, "/v1/queue/release", "released");
}

int cli_parked_delete(struct cli *cli, const struct cli_args *args)
{
    return apply(cli, args, true, "/v1/queue/delete", "deleted");
}

int cli_parked_forward(struct cli *cli, const struct cli_args *args)
{
    return apply_with(cli, args, true, "/v1/queue/forward", "forwarded", args->values[0]);
}
