/*
 * cli/domain.c - relay domains: listed, shown, added, removed, checked.
 *
 * "domain add" knows no option by name: the table of a domain's options becomes the
 * command's, and values travel as text, which the daemon reads as it reads the file.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/conf/conf.h"

#include <string.h>

#define OPTIONS_MAX 100
#define PAGE_ROWS   10000 /* the most that the daemon gives at once */

static bool is_list(const char *type)
{
    return pn_str_starts(pn_str_z(type), PN_STR("list of ")) ||
           pn_str_starts(pn_str_z(type), PN_STR("some of "));
}

const struct cli_option *cli_domain_options(void)
{
    static struct cli_option made[OPTIONS_MAX + 2];
    size_t made_count = 0;
    size_t count;
    const struct conf_option *options = conf_options(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].section, "domain") == 0) {
            pn_assert(made_count < OPTIONS_MAX);
            made[made_count++] = (struct cli_option){options[i].name, options[i].type,
                                                     options[i].help, is_list(options[i].type)};
        }
    }
    made[made_count++] = (struct cli_option){
        "replace", NULL, "Write the file even if the domain has one.", false};
    made[made_count] = (struct cli_option){0};
    return made;
}

int cli_domain_add(struct cli *cli, const struct cli_args *args)
{
    json_t *body = json_object();
    struct pn_buf path;
    json_t *answer;
    int result;

    for (size_t i = 0; i < args->given_count; i++) {
        const struct cli_option *option = args->given[i].option;
        json_t *value = args->given[i].value ? cli_json(args->given[i].value) : NULL;
        json_t *list;

        if (!value) {
            continue; /* --replace */
        }
        if (!option->many) {
            pn_assert(json_object_set_new(body, option->name, value) == 0);
            continue;
        }
        list = json_object_get(body, option->name);
        if (!list) {
            list = json_array();
            pn_assert(json_object_set_new(body, option->name, list) == 0);
        }
        pn_assert(json_array_append_new(list, value) == 0);
    }
    cli_path(&path, "/v1/domains/", args->values[0], "");
    if (!cli_args_has(args, "replace")) {
        cli_path_query(&path, "create", "true");
    }
    result = cli_ask(cli, "PUT", cli_z(&path), body, &answer);
    if (answer) {
        (void)fprintf(cli->out,
                      "%s: %s. Now publish its MX record and let \"postern domain "
                      "check %s\" look at it.\n",
                      args->values[0], cli_flag(answer, "replaced") ? "replaced" : "added",
                      args->values[0]);
        json_decref(answer);
    }
    pn_buf_fini(&path);
    return result;
}

int cli_domain_remove(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    json_t *answer;
    int result;

    cli_path(&path, "/v1/domains/", args->values[0], "");
    result = cli_ask(cli, "DELETE", cli_z(&path), NULL, &answer);
    if (answer) {
        uint64_t left = cli_number(answer, "messages") + cli_number(answer, "parked");

        (void)fprintf(cli->out, "%s: removed", args->values[0]);
        if (left > 0) {
            (void)fprintf(cli->out,
                          ". %llu messages are kept and held: add the domain again, or see "
                          "\"postern queue list --domain %s\"",
                          (unsigned long long)left, args->values[0]);
        }
        (void)fprintf(cli->out, "\n");
        json_decref(answer);
    }
    pn_buf_fini(&path);
    return result;
}

/* ---- list ------------------------------------------------------------------------- */

static void print_names(const json_t *rows, struct pn_buf *out)
{
    size_t index;
    json_t *row;

    json_array_foreach(rows, index, row)
    {
        cli_put_text(out, cli_text(row, "name"));
        cli_put_z(out, "\n");
    }
}

/* Follows the pages of a listing to their end; CLI_DONE and all rows. */
int cli_pages(struct cli *cli, const char *path, const char *key, json_t **out_rows,
              json_t **out_first)
{
    json_t *rows = json_array();
    char *after = NULL;
    int result = CLI_DONE;

    *out_first = NULL;
    do {
        struct pn_buf page;
        json_t *answer;

        cli_path(&page, path, "", "");
        cli_path_number(&page, "limit", PAGE_ROWS);
        if (after) {
            cli_path_query(&page, "after", after);
        }
        result = cli_ask_quietly(cli, "GET", cli_z(&page), NULL, &answer);
        pn_buf_fini(&page);
        free(after);
        after = NULL;
        if (answer) {
            struct pn_str next = cli_text(answer, "next");

            pn_assert(json_array_extend(rows, json_object_get(answer, key)) == 0 ||
                      !json_object_get(answer, key));
            after = next.len > 0 ? pn_strndup(next) : NULL;
            if (!*out_first) {
                *out_first = json_incref(answer);
            }
            json_decref(answer);
        }
    } while (after);
    *out_rows = rows;
    return result;
}

int cli_domain_list(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf out;
    json_t *first = NULL;
    json_t *rows = NULL;
    int result;

    if (cli->json) {
        return cli_ask(cli, "GET", "/v1/domains?limit=10000", NULL, &first);
    }
    result = cli_pages(cli, "/v1/domains", "domains", &rows, &first);
    if (result == CLI_DONE) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        if (cli_args_has(args, "names")) {
            print_names(rows, &out);
        } else {
            struct cli_table *table = cli_domain_table(rows);

            cli_table_write(table, cli->width, cli->colour, &out);
            cli_table_free(&table);
            cli_put_broken(json_object_get(first, "broken"), &out);
        }
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    json_decref(rows);
    json_decref(first);
    return result;
}

/* ---- show ------------------------------------------------------------------------- */

static void put_row(struct pn_buf *out, const char *name)
{
    cli_put_printf(out, "%-12s ", name);
}

/* Who knows its recipients, and what happens to its mail while the target is up. */
static void put_knowledge(const json_t *options, struct pn_buf *out)
{
    const json_t *sources = json_object_get(options, "recipients");
    size_t index;
    json_t *source;

    if (!options) {
        return;
    }
    put_row(out, "recipients");
    json_array_foreach(sources, index, source)
    {
        cli_put_z(out, index > 0 ? ", " : "");
        cli_put_text(out,
                     (struct pn_str){json_string_value(source), json_string_length(source)});
    }
    cli_put_z(out, "\n");
    put_row(out, "when up");
    cli_put_text(out, cli_text(options, "when_up"));
    cli_put_z(out, "\n");
}

static void put_domain(const json_t *domain, bool colour, struct pn_buf *out)
{
    struct pn_str reason = cli_text(domain, "reason");

    put_row(out, "domain");
    cli_put_text(out, cli_text(domain, "name"));
    cli_put_z(out, "\n");
    put_row(out, "state");
    cli_put_coloured(out, cli_state_colour(cli_text(domain, "state")), colour,
                     cli_text(domain, "state"));
    if (cli_seconds(domain, "since_s") >= 0) {
        cli_put_z(out, " since ");
        cli_put_age(out, cli_seconds(domain, "since_s"));
    }
    if (cli_seconds(domain, "next_probe_s") >= 0) {
        cli_put_printf(out, ", next probe in %.0f s", cli_seconds(domain, "next_probe_s"));
    }
    cli_put_z(out, "\n");
    if (pn_str_eq(cli_text(domain, "state"), PN_STR("stopped"))) {
        put_row(out, "decision");
        cli_put_stopped(domain, out);
        cli_put_z(out, "\n");
        reason = PN_STR("");
    } else if (cli_flag(domain, "parole")) {
        put_row(out, "parole");
        cli_put_parole(domain, out);
        cli_put_z(out, "\n");
    }
    if (reason.len > 0) {
        put_row(out, "reason");
        cli_put_text(out, reason);
        cli_put_z(out, "\n");
    }
    put_row(out, "waiting");
    cli_put_count(out, cli_number(domain, "messages"));
    cli_put_z(out, " messages, ");
    cli_put_size(out, cli_number(domain, "octets"));
    if (cli_seconds(domain, "oldest_s") >= 0) {
        cli_put_z(out, ", the oldest for ");
        cli_put_age(out, cli_seconds(domain, "oldest_s"));
    }
    cli_put_z(out, "\n");
    put_row(out, "parked");
    cli_put_count(out, cli_number(domain, "parked"));
    cli_put_z(out, "\n");
    put_knowledge(json_object_get(domain, "options"), out);
    if (cli_text(domain, "mistake").len > 0) {
        put_row(out, "mistake");
        cli_put_text(out, cli_text(domain, "mistake"));
        cli_put_z(out, "\n");
    }
}

int cli_domain_show(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    struct pn_str text;
    json_t *domain;
    int result;

    cli_path(&path, "/v1/domains/", args->values[0], "");
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &domain);
    if (domain) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        put_domain(domain, cli->colour, &out);
        text = cli_text(domain, "text");
        if (text.len > 0) {
            cli_put_z(&out, "\n");
        }
        while (text.len > 0) {
            cli_put_text(&out, pn_str_cut(&text, '\n'));
            cli_put_z(&out, "\n");
        }
        cli_print(cli, &out);
        pn_buf_fini(&out);
        json_decref(domain);
    }
    pn_buf_fini(&path);
    return result;
}

/* ---- check ------------------------------------------------------------------------ */

/* Prints the findings; whether one of them is a problem. */
bool cli_findings_text(const json_t *answer, bool colour, struct pn_buf *out)
{
    bool problem = false;
    size_t index;
    json_t *finding;

    json_array_foreach(json_object_get(answer, "findings"), index, finding)
    {
        struct pn_str level = pn_str_sub(cli_text(finding, "level"), 0, 20);
        struct pn_str advice = cli_text(finding, "do");

        problem |= pn_str_eq(level, PN_STR("problem"));
        cli_put_coloured(out, cli_state_colour(level), colour, level);
        cli_put_printf(out, "%*s", level.len < 9 ? (int)(9 - level.len) : 1, "");
        cli_put_text(out, cli_text(finding, "what"));
        cli_put_z(out, "\n");
        if (advice.len > 0) {
            cli_put_z(out, "         -> ");
            cli_put_text(out, advice);
            cli_put_z(out, "\n");
        }
    }
    return problem;
}

static bool has_problem(const json_t *answer)
{
    struct pn_buf unseen;
    bool problem;

    pn_buf_init(&unseen, CLI_OUTPUT_MAX);
    problem = cli_findings_text(answer, false, &unseen);
    pn_buf_fini(&unseen);
    return problem;
}

static void put_transcript(const json_t *answer, struct pn_buf *out)
{
    size_t index;
    json_t *line;

    cli_put_z(out, "\n");
    json_array_foreach(json_object_get(answer, "transcript"), index, line)
    {
        cli_put_text(out, (struct pn_str){json_string_value(line), json_string_length(line)});
        cli_put_z(out, "\n");
    }
}

int cli_domain_check(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    json_t *answer;
    int result;

    cli_path(&path, "/v1/domains/", args->values[0], "/check");
    result = cli_ask_quietly(cli, "POST", cli_z(&path), NULL, &answer);
    pn_buf_fini(&path);
    if (!answer) {
        return result;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
    } else {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        (void)cli_findings_text(answer, cli->colour, &out);
        if (cli_args_has(args, "transcript")) {
            put_transcript(answer, &out);
        }
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    result = has_problem(answer) ? CLI_REFUSED : CLI_DONE;
    json_decref(answer);
    return result;
}
