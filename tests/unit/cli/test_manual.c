/*
 * postern(1) and the completion for bash name every command and option that there is, and
 * the manual pages are clean.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static char *read_file(const char *path)
{
    char full[4096];
    struct pn_buf text;
    size_t got;
    FILE *file;

    (void)snprintf(full, sizeof full, "%s/%s", TEST_SOURCE_DIR, path);
    file = fopen(full, "r");
    assert_non_null(file);
    pn_buf_init(&text, 1u << 20);
    do {
        char *into = pn_buf_reserve(&text, 65536);

        assert_non_null(into);
        got = fread(into, 1, 65536, file);
        pn_buf_added(&text, got);
    } while (got > 0);
    assert_int_equal(fclose(file), 0);
    return pn_buf_detach(&text);
}

static size_t count(const char *text, const char *what)
{
    size_t found = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

/* An option of "domain add" is not named by the page, which refers to another. */
static bool is_named(const char *page, const struct cli_command *command,
                     const struct cli_option *option)
{
    char text[128];

    (void)snprintf(text, sizeof text, "Fl Fl %s", option->name);
    return strstr(page, text) || (!command->options && strcmp(option->name, "replace") != 0);
}

static void test_manual_has_every_command(void **state)
{
    char *page = read_file("packaging/man/postern.1");
    size_t commands_count;
    const struct cli_command *commands = cli_commands(&commands_count);

    (void)state;
    for (size_t i = 0; i < commands_count; i++) {
        const struct cli_option *options =
            commands[i].options ? commands[i].options : cli_domain_options();
        char heading[128];
        char alone[128];

        (void)snprintf(heading, sizeof heading, "\n.It Ic %s ", commands[i].words);
        (void)snprintf(alone, sizeof alone, "\n.It Ic %s\n", commands[i].words);
        if (!strstr(page, heading) && !strstr(page, alone)) {
            fail_msg("postern(1) has no %s", commands[i].words);
        }
        for (size_t k = 0; options[k].name; k++) {
            if (!is_named(page, &commands[i], &options[k])) {
                fail_msg("postern(1) has no --%s of %s", options[k].name, commands[i].words);
            }
        }
    }
    assert_int_equal(count(page, "\n.It Ic "), commands_count);
    free(page);
}

static void test_completion_has_every_word(void **state)
{
    char *script = read_file("packaging/completion/postern");
    size_t commands_count;
    const struct cli_command *commands = cli_commands(&commands_count);

    (void)state;
    for (size_t i = 0; i < commands_count; i++) {
        struct pn_str words = pn_str_z(commands[i].words);

        while (words.len > 0) {
            char *word = pn_strndup(pn_str_cut(&words, ' '));

            if (!strstr(script, word)) {
                fail_msg("the completion does not know %s", word);
            }
            free(word);
        }
        for (size_t k = 0; commands[i].options && commands[i].options[k].name; k++) {
            char option[128];

            (void)snprintf(option, sizeof option, "--%s", commands[i].options[k].name);
            if (!strstr(script, option)) {
                fail_msg("the completion does not know %s", option);
            }
        }
    }
    free(script);
}

static void assert_runs(const char *command)
{
    int status = system(command);

    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("%s: failed", command);
    }
}

static void test_pages_are_clean(void **state)
{
    (void)state;
    assert_runs("cd '" TEST_SOURCE_DIR "/packaging/man' && "
                "mandoc -T lint -W warning postern.1 posternd.8 postern-admin.7");
}

/* What bash offers for a line that ends with the word to be completed. */
static const struct {
    const char *line;
    const char *offers;
} completions[] = {
    {"postern st", "status stop"},
    {"postern queue re", "release retry"},
    {"postern --json queue list --se", "--sender"},
    {"postern -s /x spool g", "genkey"},
    {"postern help dom", "domain"},
    {"postern config ex", "explain"},
    {"postern re", "recipients reload"},
    {"postern recipients ex", "export"},
    {"postern parked re", "release"},
    {"postern parked list --re", "--recipient"},
    {"postern destination re", "release resume refuse"},
};

static void test_completion_offers(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(completions); i++) {
        char command[4096];

        (void)snprintf(command, sizeof command,
                       "bash -c 'source \"%s/packaging/completion/postern\" || exit 1; "
                       "COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _postern; "
                       "[[ \"${COMPREPLY[*]}\" == \"%s\" ]] || { echo \"${COMPREPLY[*]}\"; "
                       "exit 1; }'",
                       TEST_SOURCE_DIR, completions[i].line, completions[i].offers);
        assert_runs(command);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manual_has_every_command),
        cmocka_unit_test(test_completion_has_every_word),
        cmocka_unit_test(test_pages_are_clean),
        cmocka_unit_test(test_completion_offers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
