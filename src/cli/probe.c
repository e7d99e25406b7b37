/*
 * cli/probe.c - a session to a next hop, shown while it happens.
 *
 * The daemon keeps the lines; we ask for those behind the last one we have, and it answers
 * when there are more. A name with a colon in it is a destination's (or a queue's), any
 * other one a domain's.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"

#include <string.h>

static void print_lines(struct cli *cli, const json_t *lines)
{
    struct pn_buf out;
    size_t index;
    json_t *line;

    pn_buf_init(&out, CLI_OUTPUT_MAX);
    json_array_foreach(lines, index, line)
    {
        cli_put_text(&out, (struct pn_str){json_string_value(line), json_string_length(line)});
        cli_put_z(&out, "\n");
    }
    cli_print(cli, &out);
    (void)fflush(cli->out);
    pn_buf_fini(&out);
}

/* What is printed with --json: all of it at once. */
static void print_all(struct cli *cli, json_t *all, const json_t *last)
{
    json_t *json = json_object();

    pn_assert(json_object_set(json, "lines", all) == 0);
    pn_assert(json_object_set(json, "good", json_object_get(last, "good")) == 0);
    pn_assert(json_object_set(json, "reason", json_object_get(last, "reason")) == 0);
    cli_print_json(cli, json);
    json_decref(json);
}

/* The last line was a note of it already: the only host that there was to try. */
static bool is_shown(struct pn_str shown, struct pn_str reason)
{
    return pn_str_starts(shown, PN_STR("* ")) &&
           pn_str_eq(pn_str_sub(shown, 2, SIZE_MAX), reason);
}

/* shown: the last line of the session. */
static int conclude(struct cli *cli, json_t *all, const json_t *last, struct pn_str shown)
{
    bool good = cli_flag(last, "good");
    struct pn_str reason = cli_text(last, "reason");
    struct pn_buf out;

    if (cli->json) {
        print_all(cli, all, last);
    } else {
        pn_buf_init(&out, CLI_TEXT_MAX);
        cli_put_z(&out, good ? "good: a delivery could have begun" : "no delivery could begin");
        if (!good && !is_shown(shown, reason)) {
            cli_put_z(&out, ": ");
            cli_put_text(&out, reason);
        }
        cli_put_z(&out, "\n");
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    return good ? CLI_DONE : CLI_REFUSED;
}

static int follow(struct cli *cli, uint64_t id)
{
    json_t *all = json_array(), *answer = NULL;
    json_t *shown = NULL; /* the last line */
    bool ended = false;
    uint64_t next = 0;
    int result = CLI_DONE;
    char name[32];

    (void)snprintf(name, sizeof name, "%llu", (unsigned long long)id);
    while (result == CLI_DONE && !ended) {
        struct pn_buf path;
        json_t *lines;

        cli_path(&path, "/v1/probes/", name, "");
        cli_path_number(&path, "after", next);
        result = cli_ask_quietly(cli, "GET", cli_z(&path), NULL, &answer);
        pn_buf_fini(&path);
        if (!answer) {
            break;
        }
        lines = json_object_get(answer, "lines");
        if (cli->json) {
            pn_assert(json_array_extend(all, lines) == 0);
        } else {
            print_lines(cli, lines);
        }
        if (json_array_size(lines) > 0) {
            json_decref(shown);
            shown = json_incref(json_array_get(lines, json_array_size(lines) - 1));
        }
        next = cli_number(answer, "next");
        ended = cli_flag(answer, "ended");
        if (ended) {
            result =
                conclude(cli, all, answer,
                         (struct pn_str){json_string_value(shown), json_string_length(shown)});
        }
        json_decref(answer);
    }
    json_decref(shown);
    json_decref(all);
    return result;
}

int cli_probe(struct cli *cli, const struct cli_args *args)
{
    const char *name = args->values[0];
    json_t *body = json_object(), *answer = NULL;
    uint64_t id;
    int result;

    pn_assert(
        json_object_set_new(body, strchr(name, ':') ? "name" : "domain", cli_json(name)) == 0);
    result = cli_ask_quietly(cli, "POST", "/v1/probes", body, &answer);
    if (!answer) {
        return result;
    }
    id = cli_number(answer, "id");
    json_decref(answer);
    return follow(cli, id);
}
