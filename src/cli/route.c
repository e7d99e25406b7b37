/*
 * cli/route.c - "route": what would happen to mail for an address now.
 */
#include "cli_priv.h"

#include "postern/base/mem.h"

static void put_row(struct pn_buf *out, const char *name)
{
    cli_put_printf(out, "%-13s ", name);
}

static void put_text_row(struct pn_buf *out, const char *name, struct pn_str text)
{
    if (text.len > 0) {
        put_row(out, name);
        cli_put_text(out, text);
        cli_put_z(out, "\n");
    }
}

static void put_destination(const json_t *destination, struct pn_buf *out)
{
    put_text_row(out, "destination", cli_text(destination, "name"));
    put_row(out, "state");
    cli_put_text(out, cli_text(destination, "state"));
    if (cli_seconds(destination, "since_s") >= 0) {
        cli_put_z(out, " for ");
        cli_put_age(out, cli_seconds(destination, "since_s"));
    }
    if (cli_text(destination, "reason").len > 0) {
        cli_put_z(out, ": ");
        cli_put_text(out, cli_text(destination, "reason"));
    }
    cli_put_z(out, "\n");
}

static void put_limits(const json_t *limits, struct pn_buf *out)
{
    put_row(out, "limits");
    cli_put_count(out, cli_number(limits, "sessions"));
    cli_put_z(out, " sessions, ");
    cli_put_count(out, cli_number(limits, "messages_per_session"));
    cli_put_z(out, " messages in each, ");
    cli_put_count(out, cli_number(limits, "recipients_per_transaction"));
    cli_put_z(out, " recipients a message");
    if (cli_text(limits, "rate").len > 0) {
        cli_put_z(out, ", ");
        cli_put_text(out, cli_text(limits, "rate"));
    }
    if (cli_seconds(limits, "delay_s") > 0) {
        cli_put_z(out, ", then a pause of ");
        cli_put_age(out, cli_seconds(limits, "delay_s"));
    }
    cli_put_z(out, "; kept for ");
    cli_put_age(out, cli_seconds(limits, "hold_s"));
    cli_put_z(out, "\n");
}

static void put_host(const json_t *step, size_t number, struct pn_buf *out)
{
    const json_t *addresses = json_object_get(step, "addresses");
    json_t *address;
    size_t index;

    cli_put_printf(out, "%3zu  ", number);
    cli_put_text(out, cli_text(step, "host"));
    if (cli_number(step, "port") > 0) {
        cli_put_printf(out, " port %llu", (unsigned long long)cli_number(step, "port"));
    }
    json_array_foreach(addresses, index, address)
    {
        cli_put_z(out, index > 0 ? ", " : ": ");
        cli_put_text(out,
                     (struct pn_str){json_string_value(address), json_string_length(address)});
    }
    cli_put_z(out, cli_flag(step, "fallback") ? " (fallback)\n" : "\n");
    cli_put_z(out, "     TLS ");
    cli_put_text(out, cli_text(step, "tls"));
    cli_put_z(out, cli_flag(step, "tls_report_only") ? ", failures reported only: " : ": ");
    cli_put_text(out, cli_text(step, "tls_why"));
    cli_put_z(out, "\n");
}

static void put_steps(const json_t *steps, struct pn_buf *out)
{
    size_t hosts = 0;
    size_t index;
    json_t *step;

    if (json_array_size(steps) > 0) {
        cli_put_z(out, "\n");
    }
    json_array_foreach(steps, index, step)
    {
        if (pn_str_eq(cli_text(step, "kind"), PN_STR("host"))) {
            put_host(step, ++hosts, out);
        } else {
            cli_put_z(out,
                      pn_str_eq(cli_text(step, "kind"), PN_STR("note")) ? "     " : "  -  ");
            cli_put_text(out, cli_text(step, "text"));
            cli_put_z(out, "\n");
        }
    }
    if (json_is_array(steps) && hosts == 0) {
        cli_put_z(out, "  -  no host can be tried now\n");
    }
}

static void put_route(const json_t *answer, struct pn_buf *out)
{
    put_row(out, "address");
    cli_put_text(out, cli_text(answer, "address"));
    if (cli_text(answer, "sender").len > 0) {
        cli_put_z(out, " from ");
        cli_put_text(out, cli_text(answer, "sender"));
    }
    cli_put_z(out, "\n");
    if (cli_flag(answer, "refused")) {
        put_row(out, "refused");
        cli_put_text(out, cli_text(answer, "why"));
        cli_put_z(out, "\n");
        return;
    }
    put_text_row(out, "queue", cli_text(answer, "queue"));
    put_text_row(out, "why", cli_text(answer, "why"));
    put_row(out, "waiting");
    cli_put_count(out, cli_number(answer, "messages"));
    cli_put_z(out, "\n");
    put_destination(json_object_get(answer, "destination"), out);
    put_limits(json_object_get(answer, "limits"), out);
    put_steps(json_object_get(answer, "steps"), out);
}

int cli_route(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    json_t *answer = NULL;
    int result;

    cli_path(&path, "/v1/route", "", "");
    cli_path_query(&path, "address", args->values[0]);
    if (cli_args_has(args, "from")) {
        cli_path_query(&path, "sender", cli_args_value(args, "from"));
    }
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &answer);
    if (result == CLI_DONE && answer) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        put_route(answer, &out);
        cli_print(cli, &out);
        pn_buf_fini(&out);
        result = cli_flag(answer, "refused") ? CLI_REFUSED : CLI_DONE;
    }
    json_decref(answer);
    pn_buf_fini(&path);
    return result;
}
