/* Texts that are meant to hurt: the parser says a mistake and stays whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1024 * 1024)
#define ENV "f:1: \"${\" is not supported: the environment is not read\n"

static const struct helper_row rows[] = {
    {"environment in quotes", "hostname = \"${HOME}\"\n", ENV},
    {"environment outside of quotes", "hostname = ${HOME}\n", ENV},
    {"environment in a name", "${HOME} = x\n", ENV},
    {"environment in single quotes", "hostname = '${HOME}'\n", ENV},
    {"include", "include(\"/etc/passwd\")\n", "f:1: unknown option \"include\"\n"},
    {"string without end", "\nhostname = \"abc\n\n",
     "f:2: the string that begins here never ends\n"},
    {"string that ends in a backslash", "hostname = \"abc\\",
     "f:1: the string that begins here never ends\n"},
    {"single quote without end", "hostname = 'abc\\'\n",
     "f:1: the string that begins here never ends\n"},
    {"comment without end", "\n\n/* abc\n\n",
     "f:3: the comment that begins here with /* never ends\n"},
    {"comment that is only begun", "/*/",
     "f:1: the comment that begins here with /* never ends\n"},
    {"octal NUL", "hostname = \"mx.example.net\\0x\"\n",
     "f:1: numbers after a backslash are not supported: write the character itself, or two "
     "backslashes for one\n"},
    {"hexadecimal", "hostname = \"\\xff\"\n",
     "f:1: numbers after a backslash are not supported: write the character itself, or two "
     "backslashes for one\n"},
    {"brace", "}", "f:1: syntax error: unexpected closing brace\n"},
    {"value missing", "hostname = \n", "f:2: syntax error: premature end of file\n"},
    {"equals sign missing", "hostname \"a\"\n",
     "f:1: syntax error: missing equal sign after option 'hostname'\n"},
    {"list for one value", "hostname = {a, b}\n", "f:1: syntax error: unexpected token '{'\n"},
    {"section without end", "listener \"a\" {\n",
     "f:1: the brace that opens here is never closed\n"},
    {"section in a section", "listener \"a\" { listener \"b\" { } }\n",
     "f:1: \"listener\" is a section of postern.conf and does not belong here\n"},
    {"path into a section",
     "listener a { address = \"[::]:25\" }\n\"listener|address\" = \"[::]:26\"\n",
     "f:2: \"|\" is not supported: open the section and set \"address\" in it\n"},
    {"empty name", "\"\" = x\n", "f:1: syntax error\n"},
    {"long name",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = x\n",
     "f:1: unknown option "
     "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\"\n"},
    {"control characters in a name", "\"a\nb\x1b[0m\" = x\n",
     "f:2: unknown option \"a\\x0ab\\x1b[0m\"\n"},
    {"format in a name", "%n%s = x\n", "f:1: unknown option \"%n%s\"\n"},
    {"not UTF-8", "hostname = \"\xff\"\n", "f: the file is not UTF-8\n"},
};

/* What a failed parse leaves behind must not change the next one. */
static void check_next(void)
{
    struct conf_domain *domain = helper_domain(
        "example.org", PN_STR("#\ntarget = {a.example} recipients = any when_up = accept"));

    conf_domain_unref(&domain);
}

static void test_rows(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/home/secret", 1), 0);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], NULL);
        check_next();
    }
}

static void check_bytes(struct pn_str text, const char *expected)
{
    struct conf_mistakes mistakes;
    struct conf *conf;
    char *said;

    conf_mistakes_init(&mistakes);
    conf = conf_parse("f", text, &mistakes);
    assert_null(conf);
    said = helper_said(&mistakes);
    assert_string_equal(said, expected);
    free(said);
    conf_mistakes_fini(&mistakes);
    check_next();
}

static void test_nul(void **state)
{
    static const char text[] = "hostname = mx.example.net\0x\n";

    (void)state;
    check_bytes((struct pn_str){text, sizeof text - 1},
                "f: the file has a NUL octet; it is not a text\n");
}

/* A mebibyte of one piece, over and over. */
static const struct {
    const char *start;
    const char *piece;
    const char *said;
} floods[] = {
    {"", "{", "f:1: too many sections and lists for one file\n"},
    {"", "}", "f:1: syntax error: unexpected closing brace\n"},
    {"hostname = ", "{", "f:1: too many sections and lists for one file\n"},
    {"", "listener a{", "f:1: too many sections and lists for one file\n"},
    {"", "listener a {}\n", "f:2001: too many sections and lists for one file\n"},
    {"", "\"", "f:1: syntax error\n"},
    {"hostname = \"", "a", "f:1: the string that begins here never ends\n"},
    {"/*", "/*", "f:1: the comment that begins here with /* never ends\n"},
    {"dns_servers = {", "a,", NULL},
    {"hostname = ", "a", NULL},
    {"", "a", NULL},
    {"", "/", NULL},
    {"", "#\n", NULL},
    {"hostname = a hostname = a ", "hostname = a ", NULL},
    {"", "\\", NULL},
};

static void test_floods(void **state)
{
    struct pn_buf text;

    (void)state;
    pn_buf_init(&text, MIB);
    for (size_t i = 0; i < PN_COUNT(floods); i++) {
        struct conf_mistakes mistakes;
        struct conf *conf;

        pn_buf_clear(&text);
        assert_int_equal(pn_buf_append_z(&text, floods[i].start), 0);
        while (pn_buf_append_z(&text, floods[i].piece) == 0) {
        }
        conf_mistakes_init(&mistakes);
        conf = conf_parse("f", pn_buf_str(&text), &mistakes);
        assert_null(conf);
        assert_true(mistakes.count > 0);
        if (floods[i].said) {
            char *said = helper_said(&mistakes);

            print_message("flood of %s\n", floods[i].piece);
            assert_string_equal(said, floods[i].said);
            free(said);
        }
        conf_mistakes_fini(&mistakes);
        check_next();
    }
    pn_buf_fini(&text);
}

static void test_too_large(void **state)
{
    char *text = pn_alloc(MIB + 1);

    (void)state;
    memset(text, ' ', MIB + 1);
    check_bytes((struct pn_str){text, MIB + 1}, "f: the file is larger than 1 MiB\n");
    free(text);
}

/* Every prefix of a good text, and every octet of it replaced, ends in an answer. */
static void test_mutations(void **state)
{
    static const char good[] = "# c\nhostname = \"mx2.example.net\" /* d */\n"
                               "listener 'mx' { address = {\"0.0.0.0:25\", \"[::]:25\"} }\n"
                               "etrn_clients = {::1}\ntrace += 1d\nbare_newline = normalise\n";
    static const char octets[] = "\"'#/*{}=,+$\\|\n \xc3\x80(";
    char text[sizeof good];

    (void)state;
    for (size_t i = 0; i < sizeof good; i++) {
        for (size_t j = 0; j <= sizeof octets; j++) {
            struct conf_mistakes mistakes;
            struct conf *conf;
            size_t length = j == sizeof octets ? i : sizeof good - 1;

            memcpy(text, good, sizeof good);
            if (j < sizeof octets) {
                text[i] = octets[j];
            }
            conf_mistakes_init(&mistakes);
            conf = conf_parse("f", (struct pn_str){text, length}, &mistakes);
            assert_int_equal(conf == NULL, conf_mistakes_fatal(&mistakes));
            conf_unref(&conf);
            conf_mistakes_fini(&mistakes);
        }
    }
    check_next();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_nul),
        cmocka_unit_test(test_floods),    cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
