/*
 * Text for people: escapes, counts, widths, tables.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <string.h>

static const struct {
    const char *name;
    struct pn_str in;
    const char *out;
    size_t columns; /* of out */
} escapes[] = {
    {"plain", PN_STR("a@b.example"), "a@b.example", 11},
    {"UTF-8", PN_STR("größe"), "größe", 5},
    {"escape sequence", PN_STR("\033[31mred"), "\\x1b[31mred", 11},
    {"line ends", PN_STR("a\r\nb"), "a\\x0d\\x0ab", 10},
    {"NUL and DEL", PN_STR("a\0b\x7f"), "a\\x00b\\x7f", 10},
    {"C1 control", PN_STR("\xc2\x9b"), "\\u{9b}", 6},
    {"not UTF-8", PN_STR("a\xff\xc3"), "a\\xff\\xc3", 9},
    {"overlong", PN_STR("\xc0\xaf"), "\\xc0\\xaf", 8},
    {"right-to-left override",
     PN_STR("a\xe2\x80\xae"
            "b"),
     "a\\u{202e}b", 10},
    {"zero width",
     PN_STR("a\xe2\x80\x8b"
            "b"),
     "a\\u{200b}b", 10},
    {"wide", PN_STR("日本"), "日本", 4},
    {"combining", PN_STR("e\xcc\x81"), "e\xcc\x81", 1},
};

static void test_escapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(escapes); i++) {
        struct pn_buf out;

        pn_buf_init(&out, CLI_TEXT_MAX);
        cli_put_text(&out, escapes[i].in);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(escapes[i].out))) {
            fail_msg("%s: %.*s", escapes[i].name, PN_FMT(pn_buf_str(&out)));
        }
        if (cli_columns(pn_buf_str(&out)) != escapes[i].columns) {
            fail_msg("%s: %zu columns", escapes[i].name, cli_columns(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
}

/* What a daemon says may be longer than anything sensible. */
static void test_long_text_is_cut(void **state)
{
    char *text = pn_alloc(1u << 20);
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, CLI_TEXT_MAX);
    cli_put_text(&out, (struct pn_str){text, 1u << 20});
    assert_int_equal(out.len, 4 * (CLI_TEXT_MAX / 16));
    pn_buf_fini(&out);
    free(text);
}

static const struct {
    uint64_t number;
    const char *text;
} counts[] = {{0, "0"},
              {12, "12"},
              {999, "999"},
              {1000, "1,000"},
              {4312, "4,312"},
              {1234567, "1,234,567"},
              {UINT64_MAX, "18,446,744,073,709,551,615"}};

static void test_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(counts); i++) {
        struct pn_buf out;

        pn_buf_init(&out, 100);
        cli_put_count(&out, counts[i].number);
        assert_true(pn_str_eq(pn_buf_str(&out), pn_str_z(counts[i].text)));
        pn_buf_fini(&out);
    }
}

static const struct {
    double seconds;
    const char *text;
} ages[] = {{-1, "-"}, {0, "0s"}, {59.9, "59s"}, {11520, "3h 12m"}, {1e300, "1157407d 9h"}};

static void test_ages(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(ages); i++) {
        struct pn_buf out;

        pn_buf_init(&out, 100);
        cli_put_age(&out, ages[i].seconds);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(ages[i].text))) {
            fail_msg("%g: %.*s", ages[i].seconds, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
}

static const struct {
    const char *name;
    size_t width;
    bool colour;
    const char *want;
} tables[] = {
    {"wide enough", 80, false,
     "NAME                      COUNT  STATE\n"
     "a-rather-long-name.größe      1  up\n"
     "b                         1,000  down\n"},
    {"pipe", 0, false,
     "NAME                      COUNT  STATE\n"
     "a-rather-long-name.größe      1  up\n"
     "b                         1,000  down\n"},
    {"cut", 28, false,
     "NAME            COUNT  STATE\n"
     "a-rather-long…      1  up\n"
     "b               1,000  down\n"},
    {"never below the least", 5, false,
     "NAME      COUNT  STATE\n"
     "a-rathe…      1  up\n"
     "b         1,000  down\n"},
    {"colours", 0, true,
     "\033[1mNAME\033[0m                      \033[1mCOUNT\033[0m  \033[1mSTATE\033[0m\n"
     "a-rather-long-name.größe      1  \033[32mup\033[0m\n"
     "b                         1,000  \033[31mdown\033[0m\n"},
};

static void test_tables(void **state)
{
    static const struct cli_column columns[] = {{"NAME", false, true, false},
                                                {"COUNT", true, false, false},
                                                {"STATE", false, false, true}};
    struct cli_table *table = cli_table_new(columns, PN_COUNT(columns));

    (void)state;
    cli_put_z(cli_table_cell(table), "a-rather-long-name.größe");
    cli_put_count(cli_table_cell(table), 1);
    cli_put_z(cli_table_cell(table), "up");
    cli_put_z(cli_table_cell(table), "b");
    cli_put_count(cli_table_cell(table), 1000);
    cli_put_z(cli_table_cell(table), "down");
    assert_int_equal(cli_table_rows(table), 2);
    for (size_t i = 0; i < PN_COUNT(tables); i++) {
        struct pn_buf out;

        pn_buf_init(&out, CLI_TEXT_MAX);
        cli_table_write(table, tables[i].width, tables[i].colour, &out);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(tables[i].want))) {
            fail_msg("%s:\n%.*s", tables[i].name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
    cli_table_free(&table);
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_counts),  cmocka_unit_test(test_ages),
        cmocka_unit_test(test_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
