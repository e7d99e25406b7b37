/*
 * Percent-encoding, and calls to nobody.
 */
#include "postern/http/call.h"

#include "postern/base/mem.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static const struct {
    const char *name;
    struct pn_str in;
    const char *out;
} rows[] = {
    {"empty", PN_STR(""), ""},
    {"unreserved stay", PN_STR("aZ09-._~"), "aZ09-._~"},
    {"delimiters", PN_STR("a/b?c&d=e#f%g+h"), "a%2Fb%3Fc%26d%3De%23f%25g%2Bh"},
    {"blank, control, NUL", PN_STR(" \r\n\0"), "%20%0D%0A%00"},
    {"octets above ASCII", PN_STR("\xc3\xa4\xff"), "%C3%A4%FF"},
};

static void test_encode(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_buf out;

        pn_buf_init(&out, 100);
        assert_int_equal(http_encode(rows[i].in, &out), 0);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(rows[i].out))) {
            fail_msg("%s: %.*s", rows[i].name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
}

static void test_encode_without_room(void **state)
{
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 5);
    assert_int_equal(pn_buf_append_z(&out, "ab"), 0);
    assert_int_equal(http_encode(PN_STR("c%"), &out), PN_ENOSPACE);
    assert_true(pn_str_eq(pn_buf_str(&out), PN_STR("ab")));
    pn_buf_fini(&out);
}

static void test_nobody_answers(void **state)
{
    struct http_call call = {.socket_path = "/nonexistent/admin.sock",
                             .method = "GET",
                             .path = "/v1/status",
                             .timeout_ms = 10000};
    struct pn_buf body;
    struct pn_err err;
    unsigned status = 0;

    (void)state;
    pn_buf_init(&body, 100);
    assert_int_equal(http_call(&call, &status, &body, &err), PN_ECLOSED);
    assert_non_null(strstr(err.text, "/nonexistent/admin.sock"));
    assert_int_equal(status, 0);
    pn_buf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_encode_without_room),
        cmocka_unit_test(test_nobody_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
