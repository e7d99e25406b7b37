/* links: tls */
/* Lines of recipient lists, and texts made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "list_priv.h"

#include "postern/base/mem.h"
#include "postern/tls/context.h"

#include <stdio.h>
#include <string.h>

static struct conf_domain *make_domain(const char *options)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;
    char text[256];

    (void)snprintf(text, sizeof text, "target = mail.example %s", options);
    conf_mistakes_init(&mistakes);
    domain =
        conf_domain_parse("f", PN_STR("example.org"), pn_str_z(text), NULL, NULL, 0, &mistakes);
    assert_non_null(domain);
    conf_mistakes_fini(&mistakes);
    return domain;
}

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10

static const struct {
    const char *line;
    enum verify_line kind;
    const char *local;
} rows[] = {
    {"user@example.org", VERIFY_LINE_LOCAL, "user"},
    {"User@Example.ORG", VERIFY_LINE_LOCAL, "User"},
    {"  user@example.org\t\r", VERIFY_LINE_LOCAL, "user"},
    {"user@example.org # the boss", VERIFY_LINE_LOCAL, "user"},
    {"user@example.org\t#", VERIFY_LINE_LOCAL, "user"},
    {"us#er@example.org", VERIFY_LINE_LOCAL, "us#er"},
    {"user@alias.example", VERIFY_LINE_LOCAL, "user"},
    {"user@below.example.org", VERIFY_LINE_FOREIGN, NULL},
    {"user@notexample.org", VERIFY_LINE_FOREIGN, NULL},
    {"user@example.net", VERIFY_LINE_FOREIGN, NULL},
    {"user@[192.0.2.1]", VERIFY_LINE_FOREIGN, NULL},
    {"user", VERIFY_LINE_LOCAL, "user"},
    {"first.last", VERIFY_LINE_LOCAL, "first.last"},
    {"user # the boss", VERIFY_LINE_LOCAL, "user"},
    {"\"a b\"@example.org", VERIFY_LINE_LOCAL, "\"a b\""},
    {"\"a@b\" # c", VERIFY_LINE_LOCAL, "\"a@b\""},
    {"\"a \\\" b\"", VERIFY_LINE_LOCAL, "\"a \\\" b\""},
    {"j\xc3\xb6rg@example.org", VERIFY_LINE_LOCAL, "j\xc3\xb6rg"},
    {"j\xc3\xb6rg", VERIFY_LINE_LOCAL, "j\xc3\xb6rg"},
    {A60 "aaaa", VERIFY_LINE_LOCAL, A60 "aaaa"},
    {"@", VERIFY_LINE_ALL, NULL},
    {"@ # all", VERIFY_LINE_ALL, NULL},
    {"@example.org", VERIFY_LINE_ALL, NULL},
    {"@Alias.example", VERIFY_LINE_ALL, NULL},
    {"@example.net", VERIFY_LINE_FOREIGN, NULL},
    {"", VERIFY_LINE_NOTHING, NULL},
    {"\r", VERIFY_LINE_NOTHING, NULL},
    {" \t ", VERIFY_LINE_NOTHING, NULL},
    {"# user@example.org", VERIFY_LINE_NOTHING, NULL},
    {"  # user", VERIFY_LINE_NOTHING, NULL},
    {"j\xf6rg@example.org", VERIFY_LINE_BROKEN, NULL},
    {"j\xf6rg", VERIFY_LINE_BROKEN, NULL},
    {A60 "aaaaa", VERIFY_LINE_BROKEN, NULL},
    {"user@example.org OK", VERIFY_LINE_BROKEN, NULL},
    {"user other", VERIFY_LINE_BROKEN, NULL},
    {"<user@example.org>", VERIFY_LINE_BROKEN, NULL},
    {"user@", VERIFY_LINE_BROKEN, NULL},
    {"user@ex_ample..org", VERIFY_LINE_BROKEN, NULL},
    {"user@@example.org", VERIFY_LINE_BROKEN, NULL},
    {"@@", VERIFY_LINE_BROKEN, NULL},
    {"a..b", VERIFY_LINE_BROKEN, NULL},
    {".a", VERIFY_LINE_BROKEN, NULL},
    {"\"a b", VERIFY_LINE_BROKEN, NULL},
    {"\"a\\", VERIFY_LINE_BROKEN, NULL},
    {"a\"b c\"", VERIFY_LINE_BROKEN, NULL},
    {"user\r\r", VERIFY_LINE_BROKEN, NULL},
    {"user,other", VERIFY_LINE_BROKEN, NULL},
};

static void test_lines(void **state)
{
    struct conf_domain *domain = make_domain("aliases = alias.example");

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_str local = PN_STR("");
        enum verify_line kind = verify_list_line(pn_str_z(rows[i].line), domain, &local);

        if (kind != rows[i].kind) {
            print_error("row: %s\n", rows[i].line);
        }
        assert_int_equal(kind, rows[i].kind);
        if (rows[i].local) {
            assert_true(pn_str_eq(local, pn_str_z(rows[i].local)));
        }
    }
    assert_int_equal(verify_list_line((struct pn_str){"a\0b", 3}, domain, &(struct pn_str){0}),
                     VERIFY_LINE_BROKEN);
    conf_domain_unref(&domain);
}

static void test_subdomains(void **state)
{
    struct conf_domain *domain = make_domain("aliases = alias.example subdomains = yes");
    struct pn_str local;

    (void)state;
    assert_int_equal(verify_list_line(PN_STR("a@b.example.org"), domain, &local),
                     VERIFY_LINE_LOCAL);
    assert_int_equal(verify_list_line(PN_STR("a@b.c.alias.example"), domain, &local),
                     VERIFY_LINE_LOCAL);
    assert_int_equal(verify_list_line(PN_STR("a@xexample.org"), domain, &local),
                     VERIFY_LINE_FOREIGN);
    conf_domain_unref(&domain);
}

/* A text, and the five numbers that come of it: good, broken, foreign, different, all. */
static const struct {
    const char *text;
    size_t good, broken, foreign, different;
    bool all;
    const char *shown;
    const char *why; /* NULL: the list is believed */
} texts[] = {
    {"", 0, 0, 0, 0, false, "", "it has no recipient of this domain (0 of others)"},
    {"\n\n# nobody\n", 0, 0, 0, 0, false, "",
     "it has no recipient of this domain (0 of others)"},
    {"a@example.net\nb@example.net", 0, 0, 2, 0, false, "",
     "it has no recipient of this domain (2 of others)"},
    {"a\nb\r\nA\n\"a\"@example.org\nb+c\n", 5, 0, 0, 2, false, "", NULL},
    {"\xef\xbb\xbf"
     "a@example.org\n",
     1, 0, 0, 1, false, "", NULL},
    {"@\n", 1, 0, 0, 0, true, "", NULL},
    {"a\nb c\n", 1, 1, 0, 1, false, "2: b c", NULL},
    {"a\n\n b\x01 \xc3\xb6 c \n<d>", 1, 2, 0, 1, false, "3: b? ?? c; 4: <d>",
     "it has more broken lines (2) than good ones (1): 3: b? ?? c; 4: <d>"},
    {"1 1\n2 2\n3 3\n4 4\n5 5\n6 6\na\nb\nc\nd\ne\nf\n", 6, 6, 0, 6, false,
     "1: 1 1; 2: 2 2; 3: 3 3; 4: 4 4; 5: 5 5", NULL},
    {"x " A60 "\nz", 1, 1, 0, 1, false, "1: x aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
};

static void check_text(size_t row, const struct conf_domain *domain, int64_t slice)
{
    struct verify_load load;
    struct pn_buf text;
    char why[256] = "";
    int64_t budget = slice;
    bool believed;

    pn_buf_init(&text, 4096);
    assert_int_equal(pn_buf_append_z(&text, texts[row].text), 0);
    verify_load_init(&load, domain, tls_crypto(), &text);
    while (!verify_load_step(&load, &budget)) {
        assert_true(budget <= 0);
        budget = slice;
    }
    believed = verify_load_judge(&load, why, sizeof why);
    assert_int_equal(believed, texts[row].why == NULL);
    assert_string_equal(why, texts[row].why ? texts[row].why : "");
    assert_int_equal(load.facts.good_lines, texts[row].good);
    assert_int_equal(load.facts.broken_lines, texts[row].broken);
    assert_int_equal(load.facts.foreign_lines, texts[row].foreign);
    assert_int_equal(load.facts.all, texts[row].all);
    assert_int_equal(verify_table_count(load.table), texts[row].different);
    assert_string_equal(load.facts.broken, texts[row].shown);
    verify_load_fini(&load);
}

static void test_texts(void **state)
{
    struct conf_domain *domain = make_domain("recipient_delimiter = \"+\"");

    (void)state;
    for (size_t i = 0; i < PN_COUNT(texts); i++) {
        for (int64_t slice = 1; slice < 20; slice++) {
            check_text(i, domain, slice);
        }
        check_text(i, domain, 1000000);
    }
    conf_domain_unref(&domain);
}

/* A line without end is one broken line, and is not looked through. */
static void test_long_line(void **state)
{
    struct conf_domain *domain = make_domain("");
    size_t len = (size_t)1024 * 1024;
    char *line = pn_alloc(len);

    (void)state;
    memset(line, ' ', len);
    assert_int_equal(verify_list_line((struct pn_str){line, len}, domain, &(struct pn_str){0}),
                     VERIFY_LINE_BROKEN);
    line[0] = '#';
    assert_int_equal(verify_list_line((struct pn_str){line, len}, domain, &(struct pn_str){0}),
                     VERIFY_LINE_NOTHING);
    free(line);
    conf_domain_unref(&domain);
}

static struct verify_key numbered(unsigned number)
{
    char name[32];

    (void)snprintf(name, sizeof name, "user%u", number);
    return verify_key_make(tls_crypto(), pn_str_z(name));
}

static void test_table(void **state)
{
    enum { MANY = 20000 };
    struct verify_table *table = verify_table_new(MANY);
    struct verify_table *other = verify_table_new(MANY);

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        verify_table_add(table, numbered(i));
        verify_table_add(other, numbered(MANY - 1 - i));
        verify_table_add(other, numbered(MANY - 1 - i));
    }
    assert_int_equal(verify_table_count(table), MANY);
    assert_true(verify_table_eq(table, other));
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(verify_table_has(table, numbered(i)));
        assert_false(verify_table_has(table, numbered(MANY + i)));
    }
    verify_table_free(&other);
    other = verify_table_new(MANY);
    for (unsigned i = 1; i <= MANY; i++) {
        verify_table_add(other, numbered(i));
    }
    assert_false(verify_table_eq(table, other));
    verify_table_free(&other);
    verify_table_free(&table);
    table = verify_table_new(0);
    assert_false(verify_table_has(table, numbered(1)));
    verify_table_free(&table);
}

/* Runs of neighbours wrap around the end. */
static void test_table_wraps(void **state)
{
    struct verify_table *table = verify_table_new(4);

    (void)state;
    for (uint64_t i = 1; i <= 4; i++) {
        verify_table_add(table, (struct verify_key){UINT64_MAX, i});
    }
    assert_int_equal(verify_table_count(table), 4);
    for (uint64_t i = 1; i <= 4; i++) {
        assert_true(verify_table_has(table, (struct verify_key){UINT64_MAX, i}));
    }
    assert_false(verify_table_has(table, (struct verify_key){UINT64_MAX, 5}));
    assert_false(verify_table_has(table, (struct verify_key){0, 5}));
    verify_table_free(&table);
}

static const char url[] = "https://lists.example.net/a";

static void test_copies(void **state)
{
    struct verify_copy copy = {
        .fetched = {1763760000123}, .etag = "W/\"a b\"", .modified = "x"};
    struct verify_copy back;
    struct pn_buf text;

    (void)state;
    pn_buf_init(&text, 4);
    assert_int_equal(pn_buf_append_z(&text, "a\nbc"), 0);
    verify_copy_write(&copy, url, &text);
    assert_true(verify_copy_read(pn_buf_str(&text), url, &back));
    assert_int_equal(back.fetched.ms, copy.fetched.ms);
    assert_string_equal(back.etag, copy.etag);
    assert_string_equal(back.modified, copy.modified);
    assert_false(verify_copy_read(pn_buf_str(&text), "https://lists.example.net/", &back));
    /* One that was cut anywhere is none. */
    for (size_t len = 0; len < text.len; len++) {
        assert_false(verify_copy_read(pn_str_sub(pn_buf_str(&text), 0, len), url, &back));
    }
    pn_buf_fini(&text);
}

static void test_copy_path(void **state)
{
    struct pn_buf path;

    (void)state;
    pn_buf_init(&path, 200);
    verify_copy_path(tls_crypto(), "/spool/lists", "abc", &path);
    assert_string_equal(pn_buf_str(&path).ptr, "/spool/lists/ba7816bf8f01cfea414140de5dae2223"
                                               "b00361a396177a9cb410ff61f20015ad.list");
    pn_buf_fini(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),  cmocka_unit_test(test_subdomains),
        cmocka_unit_test(test_texts),  cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_table),  cmocka_unit_test(test_table_wraps),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_copy_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
