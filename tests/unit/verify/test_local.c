/* The form in which local parts are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "postern/verify/verify.h"

#include "postern/base/mem.h"

#include <stdio.h>

static const struct {
    const char *options;
    const char *local;
    const char *form;
} rows[] = {
    {"", "user", "user"},
    {"", "UsEr", "user"},
    {"", "user+news", "user+news"},
    {"", "\"user\"", "user"},
    {"", "\"us\\er\"", "user"},
    {"", "\"a b\"", "\"a b\""},
    {"", "\"a\\ b\"", "\"a b\""},
    {"", "\"a\\\"b\\\\\"", "\"a\\\"b\\\\\""},
    {"", "\"\"", "\"\""},
    {"", "\"a..b\"", "\"a..b\""},
    {"", "\".a\"", "\".a\""},
    {"", "\"a.\"", "\"a.\""},
    {"", "\"a@b\"", "\"a@b\""},
    {"", "\"A.B\"", "a.b"},
    {"", "J\xc3\x96RG", "j\xc3\x96rg"},
    {"recipient_delimiter = \"+\"", "user+news", "user"},
    {"recipient_delimiter = \"+\"", "user+", "user"},
    {"recipient_delimiter = \"+\"", "+user", "+user"},
    {"recipient_delimiter = \"+\"", "+user+news", "+user"},
    {"recipient_delimiter = \"+\"", "user-news", "user-news"},
    {"recipient_delimiter = \"+-\"", "user-news+more", "user"},
    {"recipient_delimiter = \"+\"", "\"user+news\"", "user"},
    {"recipient_delimiter = \"+\"", "\"a b+c\"", "\"a b\""},
    {"recipient_delimiter = \"+\"", "\"a+b c\"", "a"},
    {"case_sensitive = yes", "UsEr", "UsEr"},
    {"case_sensitive = yes", "PostMaster", "postmaster"},
    {"case_sensitive = yes recipient_delimiter = \"+\"", "PostMaster+X", "postmaster"},
};

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

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct conf_domain *domain = make_domain(rows[i].options);
        struct pn_buf out;

        pn_buf_init(&out, 200);
        assert_int_equal(pn_buf_append_z(&out, "x:"), 0);
        assert_true(verify_local(domain, pn_str_z(rows[i].local), &out));
        assert_int_equal(pn_buf_append_char(&out, '\0'), 0);
        assert_string_equal(pn_buf_str(&out).ptr + 2, rows[i].form);
        pn_buf_fini(&out);
        conf_domain_unref(&domain);
    }
}

static void test_room(void **state)
{
    struct conf_domain *domain = make_domain("");
    char longest[65];
    struct pn_buf out;

    (void)state;
    for (size_t i = 0; i < sizeof longest; i++) {
        longest[i] = 'a';
    }
    pn_buf_init(&out, 64);
    assert_true(verify_local(domain, (struct pn_str){longest, 64}, &out));
    assert_int_equal(out.len, 64);
    assert_false(verify_local(domain, PN_STR("a"), &out));
    assert_int_equal(out.len, 64);
    pn_buf_clear(&out);
    assert_false(verify_local(domain, (struct pn_str){longest, 65}, &out));
    assert_int_equal(out.len, 0);
    pn_buf_fini(&out);
    pn_buf_init(&out, 4);
    assert_false(verify_local(domain, PN_STR("\"a b\""), &out));
    assert_int_equal(out.len, 0);
    pn_buf_fini(&out);
    conf_domain_unref(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
