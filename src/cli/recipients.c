/*
 * cli/recipients.c - who the recipients of a domain are: sources, tests, answers in bulk.
 *
 * What "export" prints "import" reads: a line has an address, and its verdict may follow,
 * which then counts more than --invalid. So answers can be moved from one backup MX to
 * another. Both work in pieces, whatever the number of addresses.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <errno.h>
#include <string.h>

#define EXPORT_PAGE 1000
#define IMPORT_MAX  1000 /* addresses that one request may have */
#define TOLD_MAX    20   /* broken lines that are told one by one */

/* ---- show ------------------------------------------------------------------------- */

static void put_row(struct pn_buf *out, const char *name)
{
    cli_put_printf(out, "%-13s ", name);
}

static void put_list(const json_t *source, struct pn_buf *out)
{
    uint64_t broken = cli_number(source, "broken_lines");
    uint64_t foreign = cli_number(source, "foreign_lines");

    cli_put_text(out, cli_text(source, "location"));
    if (cli_seconds(source, "loaded_s") < 0) {
        cli_put_z(out, ": not loaded");
    } else {
        cli_put_z(out, ": ");
        cli_put_count(out, cli_number(source, "addresses"));
        cli_put_z(out, cli_flag(source, "wild_card") ? " addresses and all others, as of "
                                                     : " addresses, as of ");
        cli_put_age(out, cli_seconds(source, "loaded_s"));
        cli_put_z(out, " ago");
    }
    cli_put_z(out, "\n");
    if (broken > 0) {
        put_row(out, "");
        cli_put_count(out, broken);
        cli_put_z(out, broken == 1 ? " broken line: " : " broken lines: ");
        cli_put_text(out, cli_text(source, "broken"));
        cli_put_z(out, "\n");
    }
    if (foreign > 0) {
        put_row(out, "");
        cli_put_count(out, foreign);
        cli_put_z(out, foreign == 1 ? " address of another domain\n"
                                    : " addresses of other domains\n");
    }
    if (cli_text(source, "trouble").len > 0) {
        put_row(out, "");
        cli_put_z(out, "trouble: ");
        cli_put_text(out, cli_text(source, "trouble"));
        cli_put_z(out, "\n");
    }
}

static void put_call_ahead(const json_t *source, struct pn_buf *out)
{
    const json_t *catch_all = json_object_get(source, "catch_all");

    cli_put_z(out,
              cli_flag(source, "asks") ? "the target is asked" : "the target is not asked now");
    cli_put_z(out,
              json_is_true(catch_all)    ? "; it takes every address, so its yes means nothing"
              : json_is_false(catch_all) ? "; it refuses addresses that it does not know"
                                         : "; whether it takes every address is not known");
    cli_put_z(out, "\n");
    if (json_object_get(source, "valid")) {
        put_row(out, "");
        cli_put_z(out,
                  cli_flag(source, "more") ? "remembered, of the first: " : "remembered: ");
        cli_put_count(out, cli_number(source, "valid"));
        cli_put_z(out, " valid, ");
        cli_put_count(out, cli_number(source, "invalid"));
        cli_put_z(out, " invalid, ");
        cli_put_count(out, cli_number(source, "expired"));
        cli_put_z(out, " too old to be used\n");
    }
}

static void put_target(const json_t *answer, bool colour, struct pn_buf *out)
{
    const json_t *target = json_object_get(answer, "target");
    struct pn_str state = cli_text(target, "state");

    if (!json_is_object(target)) {
        return;
    }
    put_row(out, "target");
    cli_put_text(out, cli_text(target, "name"));
    cli_put_z(out, ": ");
    cli_put_coloured(out, cli_state_colour(state), colour, state);
    if (cli_seconds(target, "since_s") >= 0) {
        cli_put_z(out, " since ");
        cli_put_age(out, cli_seconds(target, "since_s"));
    }
    cli_put_z(out, cli_flag(target, "parole") ? ", on parole\n" : "\n");
}

static void put_sources(const json_t *answer, bool colour, struct pn_buf *out)
{
    size_t index;
    json_t *source;

    json_array_foreach(json_object_get(answer, "sources"), index, source)
    {
        struct pn_str name = cli_text(source, "source");

        cli_put_printf(out, "%zu. %-10.*s ", index + 1, PN_FMT(pn_str_sub(name, 0, 32)));
        if (pn_str_eq(name, PN_STR("list"))) {
            put_list(source, out);
        } else if (pn_str_eq(name, PN_STR("call-ahead"))) {
            put_call_ahead(source, out);
        } else {
            cli_put_z(out, "every address is taken\n");
        }
    }
    put_row(out, "else");
    cli_put_z(out, "while the target is down: ");
    cli_put_text(out, cli_text(answer, "unknown_when_down"));
    cli_put_z(out, "\n");
    put_row(out, "when up");
    cli_put_text(out, cli_text(answer, "when_up"));
    cli_put_z(out, "\n");
    put_target(answer, colour, out);
}

int cli_recipients_show(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf path;
    struct pn_buf out;
    json_t *answer;
    int result;

    cli_path(&path, "/v1/domains/", args->values[0], "/recipients");
    result = cli_ask(cli, "GET", cli_z(&path), NULL, &answer);
    pn_buf_fini(&path);
    if (answer) {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        put_sources(answer, cli->colour, &out);
        cli_print(cli, &out);
        pn_buf_fini(&out);
        json_decref(answer);
    }
    return result;
}

/* ---- test ------------------------------------------------------------------------- */

static void put_why(const json_t *answer, struct pn_buf *out)
{
    const json_t *remembered = json_object_get(answer, "remembered");
    struct pn_str source = cli_text(answer, "source");

    put_row(out, "why");
    if (pn_str_eq(source, PN_STR("nobody"))) {
        cli_put_z(out, "nobody knows");
    } else {
        cli_put_text(out, source);
    }
    if (json_is_object(remembered)) {
        cli_put_z(out, ": ");
        cli_put_text(out, cli_text(remembered, "verdict"));
        cli_put_z(out, ", learned by ");
        cli_put_text(out, cli_text(remembered, "source"));
        cli_put_z(out, ", ");
        cli_put_age(out, cli_seconds(remembered, "age_s"));
        cli_put_z(out, " of the target's time up ago");
    }
    if (cli_flag(answer, "catch_all")) {
        cli_put_z(out, "; the target takes every address");
    }
    cli_put_z(out, "\n");
}

int cli_recipients_test(struct cli *cli, const struct cli_args *args)
{
    json_t *body = json_object();
    struct pn_buf path;
    struct pn_buf out;
    json_t *answer;
    int result;

    cli_path(&path, "/v1/domains/", args->values[0], "/recipients/test");
    pn_assert(json_object_set_new(body, "address", cli_json(args->values[1])) == 0);
    result = cli_ask_quietly(cli, "POST", cli_z(&path), body, &answer);
    pn_buf_fini(&path);
    if (!answer) {
        return result;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
    } else {
        struct pn_str outcome = cli_text(answer, "outcome");

        pn_buf_init(&out, CLI_OUTPUT_MAX);
        put_row(&out, "address");
        cli_put_text(&out, cli_text(answer, "address"));
        cli_put_z(&out, "\n");
        put_row(&out, "verdict");
        cli_put_coloured(&out, cli_state_colour(outcome), cli->colour, outcome);
        cli_put_z(&out, "\n");
        put_why(answer, &out);
        put_row(&out, "reply");
        cli_put_text(&out, cli_text(answer, "reply"));
        cli_put_z(&out, "\n");
        put_target(answer, cli->colour, &out);
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    result = pn_str_eq(cli_text(answer, "outcome"), PN_STR("valid")) ? CLI_DONE : CLI_REFUSED;
    json_decref(answer);
    return result;
}

/* ---- export ----------------------------------------------------------------------- */

static void put_answers(const json_t *answers, struct pn_buf *out)
{
    size_t index;
    json_t *row;

    json_array_foreach(answers, index, row)
    {
        double age_s = cli_seconds(row, "age_s");

        cli_put_text(out, cli_text(row, "address"));
        cli_put_z(out, " ");
        cli_put_text(out, cli_text(row, "verdict"));
        cli_put_z(out, " ");
        cli_put_text(out, cli_text(row, "source"));
        cli_put_z(out, " ");
        pn_assert(pn_duration_format(age_s > 0 && age_s < 1e11 ? PN_SECONDS(age_s) : 0, out) ==
                  0);
        cli_put_z(out, "\n");
    }
}

/* One page; *after is replaced by where the next begins, or NULL. */
static int export_page(struct cli *cli, const char *domain, char **after)
{
    struct pn_buf path;
    struct pn_buf out;
    struct pn_str next;
    json_t *answer;
    int result;

    cli_path(&path, "/v1/domains/", domain, "/recipients/answers");
    cli_path_number(&path, "limit", EXPORT_PAGE);
    if (*after) {
        cli_path_query(&path, "after", *after);
    }
    result = cli_ask_quietly(cli, "GET", cli_z(&path), NULL, &answer);
    pn_buf_fini(&path);
    free(*after);
    *after = NULL;
    if (!answer) {
        return result;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
    } else {
        pn_buf_init(&out, CLI_OUTPUT_MAX);
        put_answers(json_object_get(answer, "answers"), &out);
        cli_print(cli, &out);
        pn_buf_fini(&out);
    }
    next = cli_text(answer, "next");
    *after = next.len > 0 ? pn_strndup(next) : NULL;
    json_decref(answer);
    return result;
}

int cli_recipients_export(struct cli *cli, const struct cli_args *args)
{
    char *after = NULL;
    int result;

    do {
        result = export_page(cli, args->values[0], &after);
    } while (after);
    return result;
}

/* ---- import ----------------------------------------------------------------------- */

/* Addresses that share a verdict, until they are sent. */
struct batch {
    bool invalid;
    json_t *addresses;
    uint64_t lines[IMPORT_MAX];
};

struct import {
    struct cli *cli;
    const char *domain, *file;
    struct batch batches[2]; /* valid, invalid */
    uint64_t line, imported, broken;
    uint64_t told; /* of the broken ones */
};

static void tell_broken(struct import *import, uint64_t line)
{
    if (import->told < TOLD_MAX) {
        import->told++;
        (void)fprintf(import->cli->err, "%s:%llu: no address of %s\n", import->file,
                      (unsigned long long)line, import->domain);
    }
}

static int send_batch(struct import *import, struct batch *batch)
{
    json_t *body = json_object();
    struct pn_buf path;
    json_t *answer;
    json_t *place;
    size_t index;
    int result;

    cli_path(&path, "/v1/domains/", import->domain, "/recipients/import");
    pn_assert(json_object_set(body, "addresses", batch->addresses) == 0);
    if (batch->invalid) {
        pn_assert(json_object_set_new(body, "invalid", json_true()) == 0);
    }
    result = cli_ask_quietly(import->cli, "POST", cli_z(&path), body, &answer);
    pn_buf_fini(&path);
    import->imported += cli_number(answer, "imported");
    import->broken += cli_number(answer, "broken_total");
    json_array_foreach(json_object_get(answer, "broken"), index, place)
    {
        json_int_t at = json_integer_value(place);

        if (at >= 0 && (uint64_t)at < json_array_size(batch->addresses)) {
            tell_broken(import, batch->lines[at]);
        }
    }
    json_decref(answer);
    pn_assert(json_array_clear(batch->addresses) == 0);
    return result;
}

/* Where the first blank outside of quotes is. */
static size_t address_len(struct pn_str line)
{
    bool quoted = false;

    for (size_t i = 0; i < line.len; i++) {
        if (quoted && line.ptr[i] == '\\') {
            i++;
        } else if (line.ptr[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && (line.ptr[i] == ' ' || line.ptr[i] == '\t')) {
            return i;
        }
    }
    return line.len;
}

/* An exit status that is not CLI_DONE ends the import. */
static int import_line(struct import *import, struct pn_str line, bool invalid)
{
    struct pn_str address;
    struct pn_str word;
    struct batch *batch;
    json_t *text;

    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    line = pn_str_trim(line);
    if (line.len == 0 || line.ptr[0] == '#') {
        return CLI_DONE;
    }
    address = pn_str_sub(line, 0, address_len(line));
    line = pn_str_trim(pn_str_sub(line, address.len, SIZE_MAX));
    word = pn_str_cut(&line, ' ');
    if (pn_str_eq(word, PN_STR("valid")) || pn_str_eq(word, PN_STR("invalid"))) {
        invalid = pn_str_eq(word, PN_STR("invalid"));
    } else if (word.len > 0 && word.ptr[0] != '#') {
        import->broken++;
        tell_broken(import, import->line);
        return CLI_DONE;
    }
    text = address.len <= 1024 ? json_stringn(address.ptr, address.len) : NULL;
    if (!text) { /* no UTF-8, or no address for its length alone */
        import->broken++;
        tell_broken(import, import->line);
        return CLI_DONE;
    }
    batch = &import->batches[invalid];
    batch->lines[json_array_size(batch->addresses)] = import->line;
    pn_assert(json_array_append_new(batch->addresses, text) == 0);
    return json_array_size(batch->addresses) < IMPORT_MAX ? CLI_DONE
                                                          : send_batch(import, batch);
}

static int import_file(struct import *import, FILE *file, bool invalid)
{
    int result = CLI_DONE;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while (result == CLI_DONE && (len = getline(&line, &size, file)) >= 0) {
        size_t octets = (size_t)len;

        import->line++;
        if (octets > 0 && line[octets - 1] == '\n') {
            octets--;
        }
        result = import_line(import, (struct pn_str){line, octets}, invalid);
    }
    free(line);
    if (result == CLI_DONE && ferror(file)) {
        (void)fprintf(import->cli->err, "postern: cannot read %s\n", import->file);
        result = CLI_REFUSED;
    }
    for (size_t i = 0; result == CLI_DONE && i < PN_COUNT(import->batches); i++) {
        if (json_array_size(import->batches[i].addresses) > 0) {
            result = send_batch(import, &import->batches[i]);
        }
    }
    return result;
}

static void tell_imported(const struct import *import)
{
    struct cli *cli = import->cli;

    if (import->broken > import->told) {
        (void)fprintf(cli->err, "postern: and %llu more lines without an address of %s\n",
                      (unsigned long long)(import->broken - import->told), import->domain);
    }
    if (cli->json) {
        (void)fprintf(cli->out, "{\"imported\":%llu,\"broken_total\":%llu}\n",
                      (unsigned long long)import->imported, (unsigned long long)import->broken);
    } else {
        (void)fprintf(cli->out, "imported: %llu, broken: %llu\n",
                      (unsigned long long)import->imported, (unsigned long long)import->broken);
    }
}

int cli_recipients_import(struct cli *cli, const struct cli_args *args)
{
    struct import import = {.cli = cli, .domain = args->values[0], .file = args->values[1]};
    bool standard = strcmp(import.file, "-") == 0;
    FILE *file = standard ? stdin : fopen(import.file, "re");
    int result;

    if (!file) {
        (void)fprintf(cli->err, "postern: cannot read %s: %s\n", import.file,
                      strerrordesc_np(errno));
        return CLI_REFUSED;
    }
    for (size_t i = 0; i < PN_COUNT(import.batches); i++) {
        import.batches[i].invalid = i == 1;
        import.batches[i].addresses = json_array();
    }
    result = import_file(&import, file, cli_args_has(args, "invalid"));
    if (!standard) {
        (void)fclose(file);
    }
    for (size_t i = 0; i < PN_COUNT(import.batches); i++) {
        json_decref(import.batches[i].addresses);
    }
    if (result == CLI_DONE || import.imported > 0) {
        tell_imported(&import);
    }
    return result == CLI_DONE && import.broken > 0 ? CLI_REFUSED : result;
}

/* ---- forget ----------------------------------------------------------------------- */

int cli_recipients_forget(struct cli *cli, const struct cli_args *args)
{
    const char *address = args->count > 1 ? args->values[1] : NULL;
    struct pn_buf path;
    json_t *answer;
    json_t *body;
    int result;

    if (cli_args_has(args, "all") == (address != NULL)) {
        (void)fprintf(cli->err, "usage: postern recipients forget DOMAIN ADDRESS, or postern "
                                "recipients forget DOMAIN --all\n");
        return CLI_USAGE;
    }
    body = json_object();
    pn_assert(json_object_set_new(body, address ? "address" : "all",
                                  address ? cli_json(address) : json_true()) == 0);
    cli_path(&path, "/v1/domains/", args->values[0], "/recipients/forget");
    result = cli_ask(cli, "POST", cli_z(&path), body, &answer);
    pn_buf_fini(&path);
    if (answer) {
        (void)fprintf(cli->out, "forgotten: %llu\n",
                      (unsigned long long)cli_number(answer, "forgotten"));
        if (!cli_flag(answer, "complete")) {
            (void)fprintf(cli->err, "postern: the store stopped working halfway\n");
            result = CLI_REFUSED;
        }
        json_decref(answer);
    }
    return result;
}
