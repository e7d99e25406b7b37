/*
 * A domain between JSON and its file.
 */
#include "domain_priv.h"
#include "helper_admin.h"

#include "postern/base/mem.h"

#include <string.h>

static const struct {
    const char *name;
    const char *json;
    const char *text; /* or the sentence */
    int result;
} rows[] = {
    {"nothing", "{}", "", 0},
    {"in the table's order", "{\"hold\":\"1d\",\"target\":[\"a\"]}",
     "target = {a}\nhold = 1d\n", 0},
    {"one value for a list", "{\"target\":\"a.example:25\"}", "target = {\"a.example:25\"}\n",
     0},
    {"empty list", "{\"target\":[]}", "target = {}\n", 0},
    {"empty text", "{\"hold\":\"\"}", "hold = \"\"\n", 0},
    {"numbers and flags", "{\"sessions\":7,\"subdomains\":false}",
     "subdomains = no\nsessions = 7\n", 0},
    {"quotes and backslashes", "{\"hold\":\"a\\\"b\\\\c\"}", "hold = \"a\\\"b\\\\c\"\n", 0},
    {"syntax in a value", "{\"hold\":\"1d } x = {\"}", "hold = \"1d } x = {\"\n", 0},
    {"a dash in front", "{\"hold\":\"-1\"}", "hold = \"-1\"\n", 0},
    {"line end", "{\"hold\":\"1d\\nx = 1\"}", "hold has a control character in it", PN_EINVAL},
    {"NUL", "{\"hold\":\"1d\\u0000\"}", "hold has a control character in it", PN_EINVAL},
    {"list for one value", "{\"hold\":[\"1d\"]}", "hold takes one value, not a list",
     PN_EINVAL},
    {"null", "{\"hold\":null}", "hold must be a string, a number, true or false", PN_EINVAL},
    {"list in a list", "{\"target\":[[\"a\"]]}",
     "target must be a string, a number, true or false", PN_EINVAL},
    {"unknown", "{\"targte\":\"a\"}",
     "a domain has no option \"targte\"; the nearest is "
     "\"target\"",
     PN_EINVAL},
    {"of another section", "{\"hostname\":\"a\"}",
     "a domain has no option \"hostname\"; see postern-domain(5)", PN_EINVAL},
    {"syntax in a name", "{\"a = b\\nhold\":\"1d\"}", "a domain has no option", PN_EINVAL},
};

static void test_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        json_t *json = json_loads(rows[i].json, JSON_ALLOW_NUL, NULL);
        struct pn_err err = {0};
        struct pn_buf out;
        int result;

        pn_buf_init(&out, 4096);
        assert_non_null(json);
        result = admin_domain_write(json, &out, &err);
        if (result != rows[i].result ||
            (result == 0 && !pn_str_eq(pn_buf_str(&out), pn_str_z(rows[i].text))) ||
            (result != 0 && !strstr(err.text, rows[i].text))) {
            fail_msg("%s: %d %.*s %s", rows[i].name, result, PN_FMT(pn_buf_str(&out)),
                     err.text);
        }
        pn_buf_fini(&out);
        json_decref(json);
    }
}

/* What the API shows of a domain can be put back, and gives the same domain. */
static void test_round_trip(void **state)
{
    struct conf_domain *domain = make_domain(
        "example.org", "target = {\"a.example:26\", \"[2001:db8::1]:25\"}\nservice = lmtp\n"
                       "recipients = {any}\nwhen_up = accept\nsubdomains = yes\nhold = 36h\n"
                       "tls = encrypt\nsessions = 3\nretry_max = 1h\n");
    struct conf_domain *again;
    json_t *json = admin_domain_options(domain);
    struct pn_buf text;
    struct pn_buf first;
    struct pn_buf second;

    (void)state;
    pn_buf_init(&text, 65536);
    pn_buf_init(&first, 65536);
    pn_buf_init(&second, 65536);
    assert_int_equal(admin_domain_write(json, &text, NULL), 0);
    assert_int_equal(pn_buf_append_char(&text, '\0'), 0);
    again = make_domain("example.org", pn_buf_str(&text).ptr);
    assert_int_equal(conf_domain_format(domain, &first), 0);
    assert_int_equal(conf_domain_format(again, &second), 0);
    assert_true(pn_str_eq(pn_buf_str(&first), pn_buf_str(&second)));
    assert_string_equal(json_string_value(json_object_get(json, "service")), "lmtp");
    assert_string_equal(json_string_value(json_object_get(json, "hold")), "1d12h");
    assert_true(json_is_true(json_object_get(json, "subdomains")));
    pn_buf_fini(&text);
    pn_buf_fini(&first);
    pn_buf_fini(&second);
    json_decref(json);
    conf_domain_unref(&domain);
    conf_domain_unref(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
