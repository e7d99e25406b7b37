/*
 * test_client_reply.c - what a collected reply becomes: enhanced code, text, and their
 * bounds. Whole conversations with hostile replies are in test_client.c.
 */
#include "client_reply_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void read_reply(struct pn_str octets, struct smtp_reply *out)
{
    struct smtp_reader reader;
    enum smtp_reader_result result;

    smtp_reader_init(&reader);
    assert_int_equal(smtp_reader_feed(&reader, octets, &result), octets.len);
    assert_int_equal(result, SMTP_READER_REPLY);
    smtp_reader_get(&reader, out);
    smtp_reader_fini(&reader);
}

static void test_enhanced_codes(void **state)
{
    static const struct {
        const char *octets, *enhanced, *text;
    } rows[] = {
        {"550 5.1.1 no such user\r\n", "5.1.1", "no such user"},
        {"550-5.1.1 no\r\n550 5.1.1 such user\r\n", "5.1.1", "no\nsuch user"},
        {"550-5.1.1 no\r\n550 5.1.2 such user\r\n", "5.1.1", "no\n5.1.2 such user"},
        {"550-no\r\n550 5.1.1 such user\r\n", "", "no\n5.1.1 such user"},
        {"250 2.0.0\r\n", "2.0.0", ""},
        {"550 5.123.456 x\r\n", "5.123.456", "x"},
        {"550 4.1.1 another class\r\n", "", "4.1.1 another class"},
        {"550 5.1.1234 long\r\n", "", "5.1.1234 long"},
        {"550 5.1.1x\r\n", "", "5.1.1x"},
        {"550 5.1. x\r\n", "", "5.1. x"},
        {"550 5..1 x\r\n", "", "5..1 x"},
        {"550 5.1\r\n", "", "5.1"},
        {"550\r\n", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct smtp_reply reply;

        print_message("%s", rows[i].octets);
        read_reply(pn_str_z(rows[i].octets), &reply);
        assert_string_equal(reply.enhanced, rows[i].enhanced);
        assert_string_equal(reply.text, rows[i].text);
    }
}

/* A text that is too long is cut at a character, wherever the characters fall. */
static void test_text_is_cut(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        struct smtp_reply reply;
        struct pn_buf octets;

        pn_buf_init(&octets, 4096);
        assert_int_equal(pn_buf_append_z(&octets, "250 "), 0);
        assert_int_equal(pn_buf_append(&octets, pn_str_sub(PN_STR("xxx"), 0, shift)), 0);
        for (size_t i = 0; i < 200; i++) {
            assert_int_equal(pn_buf_append_z(&octets, "\xf0\x9f\x90\x98"), 0);
        }
        assert_int_equal(pn_buf_append_z(&octets, "\r\n"), 0);
        read_reply(pn_buf_str(&octets), &reply);
        assert_true(pn_str_is_utf8(pn_str_z(reply.text)));
        assert_in_range(strlen(reply.text), SMTP_REPLY_TEXT_MAX - 4, SMTP_REPLY_TEXT_MAX - 1);
        pn_buf_fini(&octets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enhanced_codes),
        cmocka_unit_test(test_text_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
