/*
 * Terms from bodies and queries; text, numbers and times in answers.
 */
#include "helper_admin.h"
#include "json_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define ANY (ADMIN_FILTER | ADMIN_ID | ADMIN_ALL | ADMIN_LIMIT | ADMIN_AFTER | ADMIN_ADDRESSES)

static void test_body(void **state)
{
    struct admin_terms terms;
    struct pn_err err;

    (void)state;
    assert_int_equal(
        admin_terms_read(&terms, ANY,
                         PN_STR("{\"domain\":\"d\",\"sender\":\"s\",\"recipient\":\"r\","
                                "\"older\":\"2h\",\"held\":true,\"parked\":false,\"limit\":7,"
                                "\"id\":\"01J00000000000000000000000\"}"),
                         NULL, NULL, &err),
        0);
    assert_true(pn_str_eq(terms.domain, PN_STR("d")));
    assert_true(pn_str_eq(terms.sender, PN_STR("s")));
    assert_true(pn_str_eq(terms.recipient, PN_STR("r")));
    assert_int_equal(terms.older_ms, PN_HOURS(2));
    assert_true(terms.held);
    assert_false(terms.parked);
    assert_int_equal(terms.limit, 7);
    assert_int_equal(terms.given, ADMIN_FILTER | ADMIN_ID | ADMIN_LIMIT);
    admin_terms_fini(&terms);

    assert_int_equal(admin_terms_read(&terms, ANY, PN_STR(""), NULL, NULL, &err), 0);
    assert_int_equal(terms.given, 0);
    admin_terms_fini(&terms);
}

static void test_lists(void **state)
{
    struct admin_terms terms;
    struct pn_err err;

    (void)state;
    assert_int_equal(admin_terms_read(&terms, ADMIN_ADDRESSES | ADMIN_INVALID,
                                      PN_STR("{\"addresses\":[\"a\",\"b\"],\"invalid\":true}"),
                                      NULL, NULL, &err),
                     0);
    assert_int_equal(json_array_size(terms.addresses), 2);
    assert_true(terms.invalid);
    assert_int_equal(terms.given, ADMIN_ADDRESSES | ADMIN_INVALID);
    admin_terms_fini(&terms);
}

static const struct {
    const char *name;
    const char *body;
} bad[] = {
    {"text for a flag", "{\"held\":\"true\"}"},
    {"number for a flag", "{\"held\":1}"},
    {"number for text", "{\"sender\":1}"},
    {"null", "{\"sender\":null}"},
    {"text for a number", "{\"limit\":\"1\"}"},
    {"negative", "{\"limit\":-1}"},
    {"fraction", "{\"limit\":1.5}"},
    {"zero", "{\"limit\":0}"},
    {"too much", "{\"limit\":1000001}"},
    {"no duration", "{\"older\":\"soon\"}"},
    {"id too short", "{\"id\":\"01J\"}"},
    {"behind the end", "{} x"},
    {"deep", "{\"sender\":{\"a\":1}}"},
    {"not allowed", "{\"path\":\"/\"}"},
    {"text for a list", "{\"addresses\":\"a\"}"},
    {"number in a list", "{\"addresses\":[\"a\",1]}"},
    {"list for text", "{\"sender\":[\"a\"]}"},
};

static void test_bad_bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        struct admin_terms terms;
        struct pn_err err = {0};

        if (admin_terms_read(&terms, ANY, pn_str_z(bad[i].body), NULL, NULL, &err) !=
                PN_EINVAL ||
            err.text[0] == '\0') {
            fail_msg("%s was taken", bad[i].name);
        }
        assert_null(terms.object);
    }
}

static void test_too_long(void **state)
{
    static const char front[] = "{\"sender\":\"";
    char body[ADMIN_TEXT_MAX + 100];
    struct admin_terms terms;
    struct pn_err err;

    (void)state;
    memset(body, 'x', sizeof body);
    memcpy(body, front, sizeof front - 1);
    memcpy(body + sizeof body - 2, "\"}", 2);
    assert_int_equal(
        admin_terms_read(&terms, ANY, (struct pn_str){body, sizeof body}, NULL, NULL, &err),
        PN_EINVAL);
}

static const struct {
    const char *name;
    struct pn_str in;
    const char *out;
} texts[] = {
    {"empty", {NULL, 0}, ""},
    {"UTF-8", PN_STR("größe"), "größe"},
    {"not UTF-8",
     PN_STR("a\xff"
            "b"),
     "a\\xffb"},
    {"cut short", PN_STR("\xe2\x82"), "\\xe2\\x82"},
    {"between", PN_STR("\xc3\xa4\xa4\xc3\xa4"), "ä\\xa4ä"},
    {"surrogate", PN_STR("\xed\xa0\x80"), "\\xed\\xa0\\x80"},
};

static void test_texts(void **state)
{
    json_t *nul = admin_json_text(PN_STR("a\0b"));

    (void)state;
    for (size_t i = 0; i < PN_COUNT(texts); i++) {
        json_t *json = admin_json_text(texts[i].in);

        if (strcmp(json_string_value(json), texts[i].out) != 0) {
            fail_msg("%s: %s", texts[i].name, json_string_value(json));
        }
        json_decref(json);
    }
    assert_int_equal(json_string_length(nul), 3);
    json_decref(nul);
}

static void test_times(void **state)
{
    const struct admin_clock clock = {1000000, {1763760000000}};
    json_t *json = json_object();
    char *text;

    (void)state;
    admin_json_past(json, "since", &clock, 940000);
    admin_json_next(json, "probe", &clock, 1004500);
    admin_json_next(json, "overdue", &clock, 900000);
    admin_json_wall_past(json, "read", &clock, (struct pn_wall){1763759986857});
    admin_json_wall_past(json, "unread", &clock, (struct pn_wall){0});
    admin_json_past(json, "never", &clock, 0);
    admin_json_next(json, "not", &clock, INT64_MAX);
    text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12));
    assert_string_equal(text, "{\"since\":\"2025-11-21T21:19:00.000Z\",\"since_s\":60.0,"
                              "\"probe\":\"2025-11-21T21:20:04.500Z\",\"probe_s\":4.5,"
                              "\"overdue\":\"2025-11-21T21:18:20.000Z\",\"overdue_s\":0.0,"
                              "\"read\":\"2025-11-21T21:19:46.857Z\",\"read_s\":13.143,"
                              "\"unread\":null,\"unread_s\":null,"
                              "\"never\":null,\"never_s\":null,\"not\":null,\"not_s\":null}");
    free(text);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body),     cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_texts),
        cmocka_unit_test(test_times),    cmocka_unit_test(test_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
