/*
 * cli/ask.c - requests to the daemon, and their answers.
 *
 * A refusal is shown as the sentence that the daemon gave, its mistakes line by line as
 * compilers write them. A daemon that cannot be reached is another exit status, and the
 * sentence says which socket was tried and what to look at.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define ANSWER_MAX      (64u << 20)
#define PATH_MAX_OCTETS (32u << 10)
/* A check of a domain takes up to a minute, a salvage as long as it takes. */
#define TIMEOUT_MS (10 * 60 * 1000)

struct pn_str cli_text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value)
               ? (struct pn_str){json_string_value(value), json_string_length(value)}
               : PN_STR("");
}

uint64_t cli_number(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));

    return number > 0 ? (uint64_t)number : 0;
}

double cli_seconds(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : -1;
}

bool cli_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

void cli_path(struct pn_buf *out, const char *before, const char *name, const char *after)
{
    pn_buf_init(out, PATH_MAX_OCTETS * 4);
    cli_put_z(out, before);
    /* An argument longer than any path becomes one that nobody knows. */
    pn_assert(http_encode(pn_str_sub(pn_str_z(name), 0, PATH_MAX_OCTETS), out) == 0);
    cli_put_z(out, after);
}

void cli_path_query(struct pn_buf *out, const char *name, const char *value)
{
    struct pn_str path = pn_buf_str(out);

    cli_put_z(out, pn_str_find(path, '?') < path.len ? "&" : "?");
    cli_put_z(out, name);
    cli_put_z(out, "=");
    pn_assert(http_encode(pn_str_sub(pn_str_z(value), 0, 4096), out) == 0);
}

void cli_path_number(struct pn_buf *out, const char *name, uint64_t value)
{
    char digits[32];

    (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    cli_path_query(out, name, digits);
}

const char *cli_z(struct pn_buf *path)
{
    pn_assert(pn_buf_append_char(path, '\0') == 0);
    return pn_buf_str(path).ptr;
}

json_t *cli_json(const char *argument)
{
    json_t *json = json_string(argument);

    return json ? json : json_string("?");
}

void cli_print(struct cli *cli, const struct pn_buf *text)
{
    (void)fwrite(text->len > 0 ? pn_buf_str(text).ptr : "", 1, text->len, cli->out);
}

void cli_print_json(struct cli *cli, const json_t *json)
{
    (void)json_dumpf(json, cli->out, JSON_COMPACT | JSON_REAL_PRECISION(12));
    (void)fputc('\n', cli->out);
}

static int tell_unreachable(struct cli *cli, int code, const struct pn_err *err)
{
    switch (code) {
    case PN_EACCES:
        (void)fprintf(cli->err,
                      "postern: you may not use the admin socket %s. Become root, or join the "
                      "group that the option admin_group names.\n",
                      cli->socket_path);
        return CLI_UNREACHABLE;
    case PN_ECLOSED:
        (void)fprintf(
            cli->err,
            "postern: %s. Does posternd run (systemctl status postern)? Another socket "
            "is named by -s or by POSTERN_SOCKET.\n",
            err->text);
        return CLI_UNREACHABLE;
    case PN_EINVAL:
        (void)fprintf(cli->err, "postern: %s\n", err->text);
        return CLI_USAGE;
    default:
        (void)fprintf(cli->err, "postern: %s\n", err->text);
        return code == PN_ENOSPACE ? CLI_REFUSED : CLI_UNREACHABLE;
    }
}

static void tell_mistakes(struct cli *cli, const json_t *answer)
{
    size_t index;
    json_t *mistake;
    struct pn_buf line;

    json_array_foreach(json_object_get(answer, "mistakes"), index, mistake)
    {
        uint64_t number = cli_number(mistake, "line");

        pn_buf_init(&line, CLI_TEXT_MAX);
        cli_put_text(&line, pn_str_sub(cli_text(mistake, "file"), 0, 4096));
        if (number > 0) {
            cli_put_printf(&line, ":%llu", (unsigned long long)number);
        }
        cli_put_z(&line, cli_flag(mistake, "warning") ? ": warning: " : ": ");
        cli_put_text(&line, pn_str_sub(cli_text(mistake, "text"), 0, 65536));
        (void)fprintf(cli->err, "%.*s\n", PN_FMT(pn_buf_str(&line)));
        pn_buf_fini(&line);
    }
}

static int tell_refusal(struct cli *cli, unsigned status, const json_t *answer)
{
    struct pn_str sentence = pn_str_sub(cli_text(answer, "error"), 0, 65536);
    struct pn_buf line;

    pn_buf_init(&line, CLI_TEXT_MAX);
    cli_put_text(&line, sentence);
    if (sentence.len == 0) {
        cli_put_printf(&line, "the daemon answered %u without a reason", status);
    }
    (void)fprintf(cli->err, "postern: %.*s\n", PN_FMT(pn_buf_str(&line)));
    pn_buf_fini(&line);
    tell_mistakes(cli, answer);
    return CLI_REFUSED;
}

/* Sends; the answer's octets and status, or an exit status that has been told. */
static int exchange(struct cli *cli, const char *method, const char *path, json_t *body,
                    unsigned *out_status, struct pn_buf *out)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct http_call call = {.socket_path = cli->socket_path,
                             .method = method,
                             .path = path,
                             .body = pn_str_z(text),
                             .timeout_ms = TIMEOUT_MS};
    struct pn_err err = {0};
    int code;

    json_decref(body);
    code = cli->call(&call, out_status, out, &err);
    free(text);
    return code == 0 ? CLI_DONE : tell_unreachable(cli, code, &err);
}

static int take(struct cli *cli, unsigned status, const struct pn_buf *body, json_t **out)
{
    struct pn_str text = pn_buf_str(body);
    json_t *answer = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);
    int result = CLI_DONE;

    if (status >= 300) {
        result = tell_refusal(cli, status, answer);
    } else if (!answer) {
        (void)fprintf(cli->err, "postern: %s answered something that is no JSON\n",
                      cli->socket_path);
        result = CLI_REFUSED;
    } else {
        tell_mistakes(cli, answer); /* warnings */
        *out = json_incref(answer);
    }
    json_decref(answer);
    return result;
}

int cli_ask_quietly(struct cli *cli, const char *method, const char *path, json_t *body,
                    json_t **out)
{
    struct pn_buf answer;
    unsigned status = 0;
    int result;

    *out = NULL;
    pn_buf_init(&answer, ANSWER_MAX);
    result = exchange(cli, method, path, body, &status, &answer);
    if (result == CLI_DONE) {
        result = take(cli, status, &answer, out);
    }
    pn_buf_fini(&answer);
    return result;
}

int cli_ask(struct cli *cli, const char *method, const char *path, json_t *body, json_t **out)
{
    struct pn_buf answer;
    unsigned status = 0;
    int result;

    *out = NULL;
    if (!cli->json) {
        return cli_ask_quietly(cli, method, path, body, out);
    }
    pn_buf_init(&answer, ANSWER_MAX);
    result = exchange(cli, method, path, body, &status, &answer);
    if (result == CLI_DONE) {
        (void)fwrite(pn_buf_str(&answer).ptr, 1, answer.len, cli->out);
        if (status >= 300) {
            result = take(cli, status, &answer, out);
        }
    }
    pn_buf_fini(&answer);
    return result;
}

int cli_ask_text(struct cli *cli, const char *path)
{
    struct pn_buf answer;
    unsigned status = 0;
    json_t *unused = NULL;
    int result;

    pn_buf_init(&answer, ANSWER_MAX);
    result = exchange(cli, "GET", path, NULL, &status, &answer);
    if (result == CLI_DONE && status >= 300) {
        result = take(cli, status, &answer, &unused);
    } else if (result == CLI_DONE) {
        cli_print(cli, &answer);
    }
    pn_buf_fini(&answer);
    return result;
}
