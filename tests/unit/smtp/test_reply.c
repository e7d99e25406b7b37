/* Replies: harmless when set, well-formed when written. */
#include "postern/smtp/reply.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *name;
    int code;
    const char *enhanced;
    const char *text;
    const char *written;
    const char *formatted;
};

static const struct row rows[] = {
    {"one line", 250, "2.1.0", "Sender accepted", "250 2.1.0 Sender accepted\r\n",
     "250 2.1.0 Sender accepted"},
    {"no enhanced code", 354, "", "Go on", "354 Go on\r\n", "354 Go on"},
    {"no text", 250, "2.0.0", "", "250 2.0.0\r\n", "250 2.0.0"},
    {"nothing but the code", 250, "", "", "250\r\n", "250"},
    {"two lines", 550, "5.7.1", "No.\nReally.", "550-5.7.1 No.\r\n550 5.7.1 Really.\r\n",
     "550 5.7.1 No. Really."},
    {"an empty line inside", 250, "", "a\n\nb", "250-a\r\n250-\r\n250 b\r\n", "250 a  b"},
    {"a newline at the end", 250, "", "a\n", "250 a\r\n", "250 a "},
    {"controls", 550, "5.0.0", "a\r\nb\tc\x7f", "550-5.0.0 a?\r\n550 5.0.0 b?c?\r\n",
     "550 5.0.0 a? b?c?"},
    {"not UTF-8", 550, "", "a\xff", "550 a?\r\n", "550 a?"},
    {"UTF-8 stays in logs only", 550, "", "\xc3\xbc", "550 ??\r\n", "550 \xc3\xbc"},
    {"an enhanced code that is too long", 550, "5.1234567890", "x", "550 5.123456789 x\r\n",
     "550 5.123456789 x"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct smtp_reply reply;
        struct pn_buf out;

        pn_buf_init(&out, 4096);
        smtp_reply_set(&reply, rows[i].code, rows[i].enhanced, "%s", rows[i].text);
        assert_int_equal(smtp_reply_write(&reply, &out), 0);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(rows[i].written))) {
            fail_msg("%s: wrote %.*s", rows[i].name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_clear(&out);
        assert_int_equal(smtp_reply_format(&reply, &out), 0);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(rows[i].formatted))) {
            fail_msg("%s: formatted %.*s", rows[i].name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
}

/* No line passes the 512 octets of RFC 5321 4.5.3.1.5, and no character is cut. */
static void test_long_text(void **state)
{
    char text[1000];
    struct smtp_reply reply;
    struct pn_buf out;

    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i += 2) {
        text[i] = '\xc3';
        text[i + 1] = '\xbc';
    }
    text[sizeof text - 2] = '\0';
    smtp_reply_set(&reply, 550, "5.1.1", "%s", text);
    assert_int_equal(strlen(reply.text), SMTP_REPLY_TEXT_MAX - 2);
    assert_true(pn_str_is_utf8(pn_str_z(reply.text)));
    assert_false(pn_str_is_ascii(pn_str_z(reply.text)));

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    smtp_reply_set(&reply, 550, "5.123.123", "%s", text);
    pn_buf_init(&out, 4096);
    assert_int_equal(smtp_reply_write(&reply, &out), 0);
    assert_true(pn_str_starts(pn_buf_str(&out), PN_STR("550-5.123.123 xxx")));
    assert_true(pn_str_find(pn_buf_str(&out), '\n') < 512);
    pn_buf_fini(&out);
}

static void test_full_buffer_is_left_alone(void **state)
{
    struct smtp_reply reply;
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 20);
    assert_int_equal(pn_buf_append(&out, PN_STR("220 x\r\n")), 0);
    smtp_reply_set(&reply, 550, "5.1.1", "a\nb");
    assert_int_equal(smtp_reply_write(&reply, &out), PN_ENOSPACE);
    assert_int_equal(smtp_reply_format(&reply, &out), 0);
    assert_true(pn_str_eq(pn_buf_str(&out), PN_STR("220 x\r\n550 5.1.1 a b")));
    assert_int_equal(smtp_reply_format(&reply, &out), PN_ENOSPACE);
    pn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_full_buffer_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
