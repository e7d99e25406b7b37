/*
 * test_sts.c - MTA-STS records and policies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "postern/base/buf.h"
#include "postern/base/mem.h"
#include "postern/route/sts.h"

#include <string.h>

static const struct {
    const char *text;
    const char *id; /* NULL: not one of ours */
} records[] = {
    {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
    {"v=STSv1;id=1", "1"},
    {"v=STSv1 ; x=y; id = 1 ;", "1"},
    {"v=STSv1; id=12345678901234567890123456789012;", "12345678901234567890123456789012"},
    {"v=STSv1; id=123456789012345678901234567890123;", ""},
    {"v=STSv1; id=a-b;", ""},
    {"v=STSv1; id=;", ""},
    {"v=STSv1;", ""},
    {"v=STSv1", ""},
    {"v=STSv2; id=1;", NULL},
    {"id=1; v=STSv1;", NULL},
    {"v=spf1 -all", NULL},
    {"", NULL},
};

static void test_records(void **state)
{
    char id[ROUTE_STS_ID_CHARS];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(records); i++) {
        assert_int_equal(route_sts_record(pn_str_z(records[i].text), id),
                         records[i].id != NULL);
        assert_string_equal(id, records[i].id ? records[i].id : "");
    }
}

#define HEAD "version: STSv1\n"
#define AGE  "max_age: 604800\n"

static const struct {
    const char *name;
    const char *text;
    const char *why; /* NULL: it is right */
    enum route_sts_mode mode;
    int64_t age_s;
    const char *mx; /* with blanks between them */
} policies[] = {
    {"enforce",
     "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\n"
     "max_age: 604800\r\n",
     NULL, ROUTE_STS_ENFORCE, 604800, "mail.example.com *.example.net "},
    {"lines end with LF, the last one with nothing",
     HEAD "mode:testing\nmx:a.example\nmax_age:1", NULL, ROUTE_STS_TESTING, 1, "a.example "},
    {"none needs no mx", HEAD "mode: none\n" AGE, NULL, ROUTE_STS_NONE, 604800, ""},
    {"what is unknown is passed over", HEAD "mode: none\nfuture: 1:2\n" AGE, NULL,
     ROUTE_STS_NONE, 604800, ""},
    {"the first mode counts", HEAD "mode: none\nmode: enforce\n" AGE, NULL, ROUTE_STS_NONE,
     604800, ""},
    {"a year is the most", HEAD "mode: none\nmax_age: 9999999999\n", NULL, ROUTE_STS_NONE,
     ROUTE_STS_AGE_MAX_S, ""},
    {"empty lines", "\n" HEAD "\r\nmode: none\n \n" AGE, NULL, ROUTE_STS_NONE, 604800, ""},
    {"nothing", "", "version, mode or max_age is missing", 0, 0, ""},
    {"no version", "mode: none\n" AGE, "it does not begin with \"version: STSv1\"", 0, 0, ""},
    {"another version", "version: STSv2\nmode: none\n" AGE,
     "it does not begin with \"version: STSv1\"", 0, 0, ""},
    {"no mode", HEAD AGE, "version, mode or max_age is missing", 0, 0, ""},
    {"no age", HEAD "mode: none\n", "version, mode or max_age is missing", 0, 0, ""},
    {"a strange mode", HEAD "mode: Enforce\n" AGE,
     "its mode is none of enforce, testing and none", 0, 0, ""},
    {"no number", HEAD "mode: none\nmax_age: -1\n", "its max_age is no number of seconds", 0, 0,
     ""},
    {"a long number", HEAD "mode: none\nmax_age: 99999999999\n",
     "its max_age is no number of seconds", 0, 0, ""},
    {"enforce without mx", HEAD "mode: enforce\n" AGE, "it has no mx", 0, 0, ""},
    {"an mx that is none", HEAD "mode: enforce\nmx: a..b\n" AGE,
     "an mx is no host name, and none with *. in front", 0, 0, ""},
    {"a dot at the end", HEAD "mode: enforce\nmx: a.example.\n" AGE,
     "an mx is no host name, and none with *. in front", 0, 0, ""},
    {"a star alone", HEAD "mode: enforce\nmx: *\n" AGE,
     "an mx is no host name, and none with *. in front", 0, 0, ""},
    {"a star inside", HEAD "mode: enforce\nmx: a.*.example\n" AGE,
     "an mx is no host name, and none with *. in front", 0, 0, ""},
    {"a page", "<html>\n", "a line is not \"name: value\"", 0, 0, ""},
    {"a lonely CR", HEAD "mode: none\rmode: enforce\n" AGE, "a line is not \"name: value\"", 0,
     0, ""},
};

static void check_mx(const struct route_sts *policy, const char *expected)
{
    struct pn_str rest = pn_str_z(expected);

    for (size_t i = 0; i < policy->mx_count; i++) {
        struct pn_str mx = pn_str_cut(&rest, ' ');

        assert_true(pn_str_eq(mx, pn_str_z(policy->mx[i])));
    }
    assert_int_equal(rest.len, 0);
}

static void test_policies(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(policies); i++) {
        struct route_sts policy = {.max_age_s = -7};
        const char *why = route_sts_parse(pn_str_z(policies[i].text), &policy);

        if ((why == NULL) != (policies[i].why == NULL)) {
            fail_msg("%s: %s", policies[i].name, why ? why : "right");
        }
        if (why) {
            assert_string_equal(why, policies[i].why);
            assert_int_equal(policy.max_age_s, -7); /* untouched */
            continue;
        }
        assert_int_equal(policy.mode, policies[i].mode);
        assert_int_equal(policy.max_age_s, policies[i].age_s);
        check_mx(&policy, policies[i].mx);
        route_sts_fini(&policy);
    }
}

/* What comes first of a policy is never a stricter one: whatever is cut off, at each octet, in
 * memory of its own so that a read beyond is seen. */
static void test_policies_cut_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(policies); i++) {
        for (size_t length = 0; !policies[i].why && length < strlen(policies[i].text);
             length++) {
            struct route_sts policy = {0};
            char *copy = pn_alloc(length > 0 ? length : 1);

            memcpy(copy, policies[i].text, length);
            if (!route_sts_parse((struct pn_str){copy, length}, &policy)) {
                assert_int_equal(policy.mode, policies[i].mode);
                assert_true(policy.max_age_s <= policies[i].age_s);
                route_sts_fini(&policy);
            }
            free(copy);
        }
    }
}

static void test_bounds(void **state)
{
    struct route_sts policy = {0};
    struct pn_buf text;

    (void)state;
    pn_buf_init(&text, (size_t)1 << 20);
    assert_int_equal(pn_buf_append_z(&text, HEAD "mode: enforce\n" AGE), 0);
    for (int i = 0; i < ROUTE_STS_MX_MAX; i++) {
        assert_int_equal(pn_buf_printf(&text, "mx: h%d.example\n", i), 0);
    }
    assert_null(route_sts_parse(pn_buf_str(&text), &policy));
    assert_int_equal(policy.mx_count, ROUTE_STS_MX_MAX);
    route_sts_fini(&policy);
    assert_int_equal(pn_buf_append_z(&text, "mx: one.more.example\n"), 0);
    assert_string_equal(route_sts_parse(pn_buf_str(&text), &policy), "it has more than 64 mx");
    while (text.len <= ROUTE_STS_POLICY_MAX) {
        assert_int_equal(pn_buf_append_z(&text, "a: b\n"), 0);
    }
    assert_string_equal(route_sts_parse(pn_buf_str(&text), &policy),
                        "it is longer than 64 KiB");
    pn_buf_fini(&text);
}

static const struct {
    const char *host;
    bool matches;
} hosts[] = {
    {"mail.example.com", true},    {"a.example.net", true}, {"example.net", false},
    {"a.b.example.net", false},    {"example.com", false},  {"xmail.example.com", false},
    {"x.mail.example.com", false}, {".example.net", true},  {"", false},
};

static void test_matches(void **state)
{
    struct route_sts policy = {0};

    (void)state;
    assert_null(route_sts_parse(pn_str_z(policies[0].text), &policy));
    for (size_t i = 0; i < PN_COUNT(hosts); i++) {
        assert_int_equal(route_sts_matches(&policy, hosts[i].host), hosts[i].matches);
    }
    route_sts_fini(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_policies_cut_short),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_matches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
