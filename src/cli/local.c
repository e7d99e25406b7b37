/*
 * cli/local.c - what works without the daemon: options explained, keys made.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define KEY_TEXT_MAX 4096

/* ---- config explain --------------------------------------------------------------- */

/* An option as it is looked up: listeners and certificates by their section's name. */
static void put_name(const struct conf_option *option, struct pn_buf *out)
{
    bool section = option->section[0] && strcmp(option->section, "domain") != 0;

    cli_put_z(out, section ? option->section : "");
    cli_put_z(out, section ? "." : "");
    cli_put_z(out, option->name);
}

static json_t *option_json(const struct conf_option *option)
{
    json_t *json = json_object();

    pn_assert(json_object_set_new(json, "section", json_string(option->section)) == 0);
    pn_assert(json_object_set_new(json, "name", json_string(option->name)) == 0);
    pn_assert(json_object_set_new(json, "type", json_string(option->type)) == 0);
    pn_assert(json_object_set_new(json, "default",
                                  option->fallback ? json_string(option->fallback)
                                                   : json_null()) == 0);
    pn_assert(json_object_set_new(json, "min", json_string(option->min)) == 0);
    pn_assert(json_object_set_new(json, "max", json_string(option->max)) == 0);
    pn_assert(json_object_set_new(json, "required", json_boolean(option->required)) == 0);
    pn_assert(json_object_set_new(json, "restart", json_boolean(option->restart)) == 0);
    pn_assert(json_object_set_new(json, "help", json_string(option->help)) == 0);
    return json;
}

static int list_options(struct cli *cli)
{
    static const struct cli_column columns[] = {{"OPTION", false, false, false},
                                                {"TYPE", false, true, false},
                                                {"DEFAULT", false, false, false}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));
    size_t count;
    const struct conf_option *options = conf_options(&count);
    json_t *list = json_array();
    struct pn_buf out;

    for (size_t i = 0; i < count; i++) {
        put_name(&options[i], cli_table_cell(table));
        cli_put_z(cli_table_cell(table), options[i].type);
        cli_put_z(cli_table_cell(table),
                  options[i].fallback ? options[i].fallback : "(required)");
        pn_assert(json_array_append_new(list, option_json(&options[i])) == 0);
    }
    pn_buf_init(&out, CLI_OUTPUT_MAX);
    if (cli->json) {
        cli_print_json(cli, list);
    } else {
        cli_table_write(table, cli->width, cli->colour, &out);
        cli_print(cli, &out);
    }
    pn_buf_fini(&out);
    cli_table_free(&table);
    json_decref(list);
    return CLI_DONE;
}

int cli_config_explain(struct cli *cli, const struct cli_args *args)
{
    const struct conf_option *option;
    const char *nearest = NULL;
    struct pn_buf out;
    json_t *json;

    if (args->count == 0) {
        return list_options(cli);
    }
    option = conf_option_find(pn_str_z(args->values[0]), &nearest);
    if (!option) {
        (void)fprintf(cli->err, "postern: there is no option %.64s%s%s\n", args->values[0],
                      nearest ? "; the nearest is " : "", nearest ? nearest : "");
        return CLI_REFUSED;
    }
    pn_buf_init(&out, CLI_OUTPUT_MAX);
    if (cli->json) {
        json = option_json(option);
        cli_print_json(cli, json);
        json_decref(json);
    } else {
        pn_assert(conf_option_explain(option, &out) == 0);
        cli_print(cli, &out);
    }
    pn_buf_fini(&out);
    return CLI_DONE;
}

/* ---- spool genkey ----------------------------------------------------------------- */

static int tell_file(struct cli *cli, const char *what, const char *path, int number)
{
    (void)fprintf(cli->err, "postern: cannot %s %s: %s\n", what, path, strerrordesc_np(number));
    return CLI_REFUSED;
}

/* Syncs the directory too: a key that vanishes in a power cut takes the mail with it. */
static bool sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent =
        slash ? pn_strndup((struct pn_str){path, (size_t)(slash - path) + 1}) : pn_strdup(".");
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        close(fd);
    }
    free(parent);
    return synced;
}

static bool write_all(int fd, struct pn_str text)
{
    while (text.len > 0) {
        ssize_t written = write(fd, text.ptr, text.len);

        if (written < 0 && errno != EINTR) {
            return false;
        }
        text = pn_str_sub(text, written > 0 ? (size_t)written : 0, SIZE_MAX);
    }
    return true;
}

static int write_key(struct cli *cli, const char *path, struct pn_str key)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int number;

    if (fd < 0 && errno == EEXIST) {
        (void)fprintf(
            cli->err,
            "postern: %s exists already, and what it encrypted needs it; choose another "
            "name\n",
            path);
        return CLI_REFUSED;
    }
    if (fd < 0) {
        return tell_file(cli, "create", path, errno);
    }
    if (!write_all(fd, key) || fsync(fd) != 0 || !sync_directory(path)) {
        number = errno;
        close(fd);
        (void)unlink(path);
        return tell_file(cli, "write", path, number);
    }
    close(fd);
    return CLI_DONE;
}

int cli_spool_genkey(struct cli *cli, const struct cli_args *args)
{
    struct pn_buf key;
    int result;

    pn_buf_init(&key, KEY_TEXT_MAX);
    pn_assert(cli->make_key(&key) == 0);
    result = write_key(cli, args->values[0], pn_buf_str(&key));
    if (key.len > 0) {
        pn_wipe(key.data + key.start, key.len);
    }
    pn_buf_fini(&key);
    if (result == CLI_DONE && !cli->json) {
        (void)fprintf(
            cli->out,
            "%s: made. Let posternd's user own it, name it in the option key_file, and "
            "keep a copy off this machine: without it the mail cannot be read.\n",
            args->values[0]);
    }
    return result;
}
