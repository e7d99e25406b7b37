/*
 * Arguments and options of a command.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct cli_option options[] = {{"older", "AGE", "", false},
                                            {"target", "HOST", "", true},
                                            {"when_up", "WORD", "", false},
                                            {"all", NULL, "", false},
                                            {0}};

static const struct {
    const char *name;
    const char *words;
    const char *want; /* arguments, then options, or the error */
    bool fails;
} rows[] = {
    {"nothing", "", "", false},
    {"arguments", "a b", "a b ", false},
    {"value behind", "--older 2h a", "a --older=2h ", false},
    {"value with equals", "--older=2h", "--older=2h ", false},
    {"value with two equals", "--older=a=b", "--older=a=b ", false},
    {"empty value", "--older=", "--older= ", false},
    {"flag", "a --all b", "a b --all ", false},
    {"many", "--target a --target b", "--target=a --target=b ", false},
    {"dash for underscore", "--when-up x", "--when_up=x ", false},
    {"end of options", "-- --all -x", "--all -x ", false},
    {"a dash is an argument", "-", "- ", false},
    {"value that looks like an option", "--older --all", "--older=--all ", false},
    {"twice", "--older 1 --older 2", "--older is given twice", true},
    {"no value", "--older", "--older needs a value: --older AGE", true},
    {"flag with value", "--all=1", "--all takes no value", true},
    {"unknown", "--oldr 1", "there is no option --oldr; the nearest is --older", true},
    {"unknown and far", "--zzzzzz", "there is no option --zzzzzz", true},
    {"short", "-x", "there is no option -x", true},
};

static void parse_row(size_t row, char *got, size_t octets)
{
    struct pn_str rest = pn_str_z(rows[row].words);
    char *argv[10];
    int argc = 0;
    struct cli_args args;
    struct pn_err err;
    size_t used = 0;

    got[0] = '\0';
    while (rest.len > 0) {
        argv[argc++] = pn_strndup(pn_str_cut(&rest, ' '));
    }
    if (cli_args_parse(&args, options, argc, argv, &err) != 0) {
        (void)snprintf(got, octets, "%s", err.text);
        assert_true(rows[row].fails);
    } else {
        for (size_t i = 0; i < args.count; i++) {
            used += (size_t)snprintf(got + used, octets - used, "%s ", args.values[i]);
        }
        for (size_t i = 0; i < args.given_count; i++) {
            const char *value = args.given[i].value;

            used += (size_t)snprintf(got + used, octets - used, "--%s%s%s ",
                                     args.given[i].option->name, value ? "=" : "",
                                     value ? value : "");
        }
    }
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
}

static void test_rows(void **state)
{
    char got[500];

    (void)state;
    for (size_t row = 0; row < PN_COUNT(rows); row++) {
        parse_row(row, got, sizeof got);
        if (strcmp(got, rows[row].want) != 0) {
            fail_msg("%s: %s", rows[row].name, got);
        }
    }
}

static void test_drop(void **state)
{
    char *argv[] = {"--older=1", "--all", "--target=x"};
    struct cli_args args;

    (void)state;
    assert_int_equal(cli_args_parse(&args, options, 3, argv, NULL), 0);
    cli_args_drop(&args, "all");
    assert_false(cli_args_has(&args, "all"));
    assert_string_equal(cli_args_value(&args, "older"), "1");
    assert_string_equal(cli_args_value(&args, "target"), "x");
    assert_null(cli_args_value(&args, "when_up"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
