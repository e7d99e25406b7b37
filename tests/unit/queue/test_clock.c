/* What queue/clock.h promises: never backwards, and a jump at the start is remembered. */
#include "postern/base/mem.h"
#include "postern/queue/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct row {
    const char *name;
    int64_t saved_ms, wall_ms, base_ms;
    bool jumped;
};

static const struct row rows[] = {
    {"first start", 0, 1700000000000, 1700000000000, false},
    {"a restart", 1700000000000, 1700000005000, 1700000005000, false},
    {"off for a day", 1700000000000, 1700086400000, 1700086400000, false},
    {"off for longer", 1700000000000, 1700086400001, 1700086400001, true},
    {"set back", 1700000000000, 1600000000000, 1700000000000, false},
    {"no battery", 1700000000000, 0, 1700000000000, false},
};

static void test_starts(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct queue_clock clock;
        struct pn_mono start = {4711};

        print_message("%s\n", rows[i].name);
        queue_clock_init(&clock, rows[i].saved_ms, (struct pn_wall){rows[i].wall_ms}, start);
        assert_int_equal(clock.jumped, rows[i].jumped);
        assert_int_equal(queue_clock_now(&clock, start), rows[i].base_ms);
        assert_int_equal(queue_clock_now(&clock, (struct pn_mono){4712}), rows[i].base_ms + 1);
        assert_int_equal(queue_clock_now(&clock, (struct pn_mono){1}), rows[i].base_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_starts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
