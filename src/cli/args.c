/*
 * cli/args.c - a command's arguments and options.
 *
 * Not getopt: options come from tables that are made at run time ("domain add" has those
 * of a domain's file), and a slip of the finger is answered with the nearest name.
 */
#include "args_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define NAME_MAX_OCTETS 64

static char fold(char c)
{
    return c == '_' ? '-' : c;
}

bool cli_option_is(const struct cli_option *option, struct pn_str name)
{
    if (strlen(option->name) != name.len) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (fold(option->name[i]) != fold(name.ptr[i])) {
            return false;
        }
    }
    return true;
}

static const struct cli_option *option_find(const struct cli_option *options,
                                            struct pn_str name)
{
    for (size_t i = 0; options && options[i].name; i++) {
        if (cli_option_is(&options[i], name)) {
            return &options[i];
        }
    }
    return NULL;
}

static int unknown_option(const struct cli_option *options, struct pn_str name,
                          struct pn_err *err)
{
    size_t nearest_distance = name.len / 2 + 1;
    const char *nearest = NULL;

    for (size_t i = 0; options && options[i].name; i++) {
        size_t distance = pn_str_distance(name, pn_str_z(options[i].name));

        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = options[i].name;
        }
    }
    if (!nearest) {
        return pn_err_set(err, PN_EINVAL, "there is no option --%.*s",
                          PN_FMT(pn_str_sub(name, 0, NAME_MAX_OCTETS)));
    }
    return pn_err_set(err, PN_EINVAL, "there is no option --%.*s; the nearest is --%s",
                      PN_FMT(pn_str_sub(name, 0, NAME_MAX_OCTETS)), nearest);
}

/* One option at argv[*at]; moves *at to the last word it took. */
static int take_option(struct cli_args *args, const struct cli_option *options, int argc,
                       char **argv, int *at, struct pn_err *err)
{
    struct pn_str rest = pn_str_z(argv[*at] + 2);
    bool with_value = pn_str_find(rest, '=') < rest.len;
    struct pn_str name = pn_str_cut(&rest, '=');
    const struct cli_option *option = option_find(options, name);
    const char *value = with_value ? rest.ptr : NULL;

    if (!option) {
        return unknown_option(options, name, err);
    }
    if (!option->value && with_value) {
        return pn_err_set(err, PN_EINVAL, "--%s takes no value", option->name);
    }
    if (option->value && !with_value) {
        if (*at + 1 >= argc) {
            return pn_err_set(err, PN_EINVAL, "--%s needs a value: --%s %s", option->name,
                              option->name, option->value);
        }
        value = argv[++*at];
    }
    if (!option->many && cli_args_has(args, option->name)) {
        return pn_err_set(err, PN_EINVAL, "--%s is given twice", option->name);
    }
    if (args->given_count == CLI_GIVEN_MAX) {
        return pn_err_set(err, PN_EINVAL, "there are more than %d options", CLI_GIVEN_MAX);
    }
    args->given[args->given_count].option = option;
    args->given[args->given_count++].value = value;
    return 0;
}

int cli_args_parse(struct cli_args *args, const struct cli_option *options, int argc,
                   char **argv, struct pn_err *err)
{
    bool ended = false;

    *args = (struct cli_args){0};
    for (int i = 0; i < argc; i++) {
        struct pn_str word = pn_str_z(argv[i]);
        int result;

        if (!ended && pn_str_eq(word, PN_STR("--"))) {
            ended = true;
        } else if (!ended && pn_str_starts(word, PN_STR("--"))) {
            result = take_option(args, options, argc, argv, &i, err);
            if (result != 0) {
                return result;
            }
        } else if (!ended && word.len > 1 && word.ptr[0] == '-') {
            return pn_err_set(err, PN_EINVAL, "there is no option %s", argv[i]);
        } else if (args->count == CLI_ARGUMENTS_MAX) {
            return pn_err_set(err, PN_EINVAL, "there are more than %d arguments",
                              CLI_ARGUMENTS_MAX);
        } else {
            args->values[args->count++] = argv[i];
        }
    }
    return 0;
}

const char *cli_args_value(const struct cli_args *args, const char *name)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, name) == 0) {
            return args->given[i].value;
        }
    }
    return NULL;
}

bool cli_args_has(const struct cli_args *args, const char *name)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, name) == 0) {
            return true;
        }
    }
    return false;
}

void cli_args_drop(struct cli_args *args, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, name) != 0) {
            args->given[kept++] = args->given[i];
        }
    }
    args->given_count = kept;
}
