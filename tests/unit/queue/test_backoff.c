/* What backoff.c promises: doubling within bounds, and jitter on the right side. */
#include "queue_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct row {
    const char *name;
    uint32_t attempts;
    int64_t wait_ms;
};

static const struct row rows[] = {
    {"first", 1, PN_MINUTES(5)},
    {"second", 2, PN_MINUTES(10)},
    {"third", 3, PN_MINUTES(20)},
    {"bounded", 4, PN_MINUTES(30)},
    {"long after", 4000000, PN_MINUTES(30)},
    {"never", 0, PN_MINUTES(5)},
};

static void test_waits(void **state)
{
    struct pn_rand rand;

    (void)state;
    pn_rand_init(&rand, 3);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        int64_t low = INT64_MAX, high = 0;

        print_message("%s\n", rows[i].name);
        for (int n = 0; n < 1000; n++) {
            int64_t wait_ms =
                queue_backoff_retry_ms(&rand, PN_MINUTES(5), PN_MINUTES(30), rows[i].attempts);

            low = wait_ms < low ? wait_ms : low;
            high = wait_ms > high ? wait_ms : high;
        }
        assert_in_range(low, rows[i].wait_ms * 9 / 10, rows[i].wait_ms * 92 / 100);
        assert_in_range(high, rows[i].wait_ms * 108 / 100, rows[i].wait_ms * 11 / 10);
    }
    assert_in_range(queue_backoff_retry_ms(&rand, INT64_MAX / 8, INT64_MAX / 4, 60), 1,
                    INT64_MAX);
}

static void test_only_shortens(void **state)
{
    struct pn_rand rand;
    int64_t low = 5000;

    (void)state;
    pn_rand_init(&rand, 3);
    for (int n = 0; n < 10000; n++) {
        int64_t wait_ms = queue_backoff_shorten_ms(&rand, 5000);

        assert_in_range(wait_ms, 4500, 5000);
        low = wait_ms < low ? wait_ms : low;
    }
    assert_true(low < 4510);
}

static void test_doubles(void **state)
{
    int64_t wait_ms = 0;

    (void)state;
    for (int64_t expected_ms = 1000; expected_ms < 60000; expected_ms *= 2) {
        wait_ms = queue_backoff_double_ms(wait_ms, 1000, 60000);
        assert_int_equal(wait_ms, expected_ms);
    }
    for (int n = 0; n < 3; n++) {
        wait_ms = queue_backoff_double_ms(wait_ms, 1000, 60000);
        assert_int_equal(wait_ms, 60000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_only_shortens),
        cmocka_unit_test(test_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
