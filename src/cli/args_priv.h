/*
 * cli/args_priv.h - a command's arguments and options.
 */
#ifndef POSTERN_CLI_ARGS_PRIV_H
#define POSTERN_CLI_ARGS_PRIV_H

#include "postern/base/err.h"
#include "postern/base/str.h"

struct cli_option {
    const char *name;  /* "older"; '_' and '-' are the same */
    const char *value; /* "AGE"; NULL: a flag */
    const char *help;
    bool many; /* it may be given more than once */
};

#define CLI_ARGUMENTS_MAX 1000
#define CLI_GIVEN_MAX     200

struct cli_args {
    const char *values[CLI_ARGUMENTS_MAX];
    size_t count;
    struct {
        const struct cli_option *option;
        const char *value;
    } given[CLI_GIVEN_MAX];
    size_t given_count;
};

/*
 * Sorts argv (without the program and the command's words) into arguments and options.
 * "--name value", "--name=value"; "--" ends the options. PN_EINVAL with a sentence.
 */
int cli_args_parse(struct cli_args *args, const struct cli_option *options, int argc,
                   char **argv, struct pn_err *err) PN_WARN_UNUSED;

bool cli_args_has(const struct cli_args *args, const char *name);
const char *cli_args_value(const struct cli_args *args, const char *name); /* or NULL */

/* Forgets an option that was given. */
void cli_args_drop(struct cli_args *args, const char *name);

/* Is it that option, '_' and '-' being the same? */
bool cli_option_is(const struct cli_option *option, struct pn_str name);

#endif
