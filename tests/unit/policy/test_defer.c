/* Who is let in for having come back, and what is forgotten. */
#include "postern/base/mem.h"
#include "postern/policy/defer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define WAIT  PN_MINUTES(5)
#define TIMES 2

static bool come(struct policy_defer *defer, int64_t at_ms, const char *sender,
                 const char *recipient, const char *client)
{
    struct pn_ip ip;

    assert_true(pn_ip_parse(pn_str_z(client), &ip));
    return policy_defer_come(defer, (struct pn_mono){at_ms}, pn_str_z(sender),
                             pn_str_z(recipient), &ip, WAIT, TIMES);
}

struct visit {
    int64_t at_ms;
    bool let_in;
};
struct visits_row {
    const char *name;
    struct visit visits[6]; /* up to the first that is at 0 */
};

static const struct visits_row visits_rows[] = {
    {"once", {{1, false}}},
    {"at once again", {{1, false}, {2, false}, {3, false}, {4, false}}},
    {"just too early", {{1, false}, {WAIT, false}, {2 * WAIT, false}, {2 * WAIT + 1, false}}},
    {"twice in time", {{1, false}, {WAIT + 1, false}, {2 * WAIT + 1, true}}},
    {"and from then on",
     {{1, false}, {WAIT + 1, false}, {2 * WAIT + 1, true}, {2 * WAIT + 2, true}}},
    {"early visits do not put it off",
     {{1, false},
      {WAIT - 1, false},
      {WAIT + 1, false},
      {WAIT + 2, false},
      {2 * WAIT + 1, true}}},
    {"forgotten",
     {{1, false},
      {WAIT + 1, false},
      {WAIT + 2 + POLICY_DEFER_KEEP_MS, false},
      {2 * WAIT + 2 + POLICY_DEFER_KEEP_MS, false},
      {3 * WAIT + 2 + POLICY_DEFER_KEEP_MS, true}}},
};

static void test_visits(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(visits_rows); i++) {
        const struct visits_row *row = &visits_rows[i];
        struct policy_defer *defer = policy_defer_new(7);

        print_message("%s\n", row->name);
        for (size_t n = 0; n < PN_COUNT(row->visits) && row->visits[n].at_ms > 0; n++) {
            assert_int_equal(
                come(defer, row->visits[n].at_ms, "s@x.test", "r@y.test", "192.0.2.1"),
                row->visits[n].let_in);
        }
        policy_defer_free(&defer);
        assert_null(defer);
    }
}

struct alike_row {
    const char *name;
    const char *sender, *recipient, *client;
    bool alike; /* to s@x.test, r@y.test from 192.0.2.1 */
};

static const struct alike_row alike_rows[] = {
    {"the same", "s@x.test", "r@y.test", "192.0.2.1", true},
    {"in capitals", "S@X.test", "R@y.test", "192.0.2.1", true},
    {"its neighbour", "s@x.test", "r@y.test", "192.0.2.254", true},
    {"another network", "s@x.test", "r@y.test", "192.0.3.1", false},
    {"IPv6", "s@x.test", "r@y.test", "2001:db8::1", false},
    {"another sender", "t@x.test", "r@y.test", "192.0.2.1", false},
    {"another recipient", "s@x.test", "q@y.test", "192.0.2.1", false},
    {"cut elsewhere", "s@x.testr", "@y.test", "192.0.2.1", false},
    {"changed places", "r@y.test", "s@x.test", "192.0.2.1", false},
};

static void test_who_is_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(alike_rows); i++) {
        const struct alike_row *row = &alike_rows[i];
        struct policy_defer *defer = policy_defer_new(7);

        print_message("%s\n", row->name);
        come(defer, 1, "s@x.test", "r@y.test", "192.0.2.1");
        come(defer, 1 + WAIT, "s@x.test", "r@y.test", "192.0.2.1");
        assert_int_equal(come(defer, 1 + 2 * WAIT, row->sender, row->recipient, row->client),
                         row->alike);
        policy_defer_free(&defer);
    }
}

static void test_the_longest_unseen_is_forgotten(void **state)
{
    struct policy_defer *defer = policy_defer_new(7);
    char sender[32];

    (void)state;
    for (int visit = 0; visit < 3; visit++) {
        come(defer, 1 + visit * WAIT, "old@x.test", "r@y.test", "192.0.2.1");
        come(defer, 1 + visit * WAIT, "s@x.test", "r@y.test", "192.0.2.1");
    }
    assert_true(come(defer, 3 * WAIT, "s@x.test", "r@y.test", "192.0.2.1"));
    for (int i = 0; i < POLICY_DEFER_MAX - 1; i++) {
        snprintf(sender, sizeof sender, "%d@z.test", i);
        come(defer, 3 * WAIT, sender, "r@y.test", "192.0.2.1");
    }
    assert_true(come(defer, 3 * WAIT, "s@x.test", "r@y.test", "192.0.2.1"));
    assert_false(come(defer, 3 * WAIT, "old@x.test", "r@y.test", "192.0.2.1"));
    policy_defer_free(&defer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visits),
        cmocka_unit_test(test_who_is_the_same),
        cmocka_unit_test(test_the_longest_unseen_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
