/*
 * test_board.c - what is known of destinations, and how many sessions there are.
 */
#include "postern/outbound/board.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define A PN_STR("smtp:a.example:25;tls=may")
#define B PN_STR("smtp:b.example:25;tls=may")

static int setup(void **state)
{
    *state = out_board_new();
    return 0;
}

static int teardown(void **state)
{
    out_board_free((struct out_board **)state);
    assert_null(*state);
    out_board_free((struct out_board **)state);
    return 0;
}

static void test_entries(void **state)
{
    struct out_board *board = *state;
    struct out_board_entry entry = out_board_get(board, A);

    assert_int_equal(entry.state, QUEUE_UNKNOWN);
    assert_false(entry.capabilities_known);
    out_board_set_state(board, A, QUEUE_RAMP, true);
    out_board_set_capabilities(board, A, 5, 1000);
    out_board_set_state(board, B, QUEUE_UP, false);
    entry = out_board_get(board, A);
    assert_int_equal(entry.state, QUEUE_RAMP);
    assert_true(entry.parole);
    assert_true(entry.capabilities_known);
    assert_int_equal(entry.capabilities, 5);
    assert_int_equal(entry.size_limit, 1000);
    out_board_set_state(board, A, QUEUE_DOWN, false);
    entry = out_board_get(board, A);
    assert_int_equal(entry.state, QUEUE_DOWN);
    assert_false(entry.parole);
    assert_true(entry.capabilities_known);
    entry = out_board_get(board, B);
    assert_int_equal(entry.state, QUEUE_UP);
    assert_false(entry.capabilities_known);
}

static void test_sessions(void **state)
{
    struct out_board *board = *state;

    assert_int_equal(out_board_sessions(board, A), 0);
    assert_true(out_board_take_session(board, A, 2));
    assert_true(out_board_take_session(board, A, 2));
    assert_false(out_board_take_session(board, A, 2));
    assert_true(out_board_take_session(board, B, 1));
    assert_int_equal(out_board_sessions(board, A), 2);
    out_board_give_session(board, A);
    assert_int_equal(out_board_sessions(board, A), 1);
    assert_true(out_board_take_session(board, A, 2));
    /* A smaller limit takes nothing away. */
    assert_false(out_board_take_session(board, A, 1));
    assert_int_equal(out_board_sessions(board, A), 2);
}

static void test_wanted(void **state)
{
    struct out_board *board = *state;

    assert_int_equal(out_board_wanted(board, A), 0);
    out_board_want_session(board, A, true);
    out_board_want_session(board, A, true);
    assert_int_equal(out_board_wanted(board, A), 2);
    assert_int_equal(out_board_wanted(board, B), 0);
    out_board_want_session(board, A, false);
    assert_int_equal(out_board_wanted(board, A), 1);
}

#define AT(hours) ((struct pn_mono){PN_HOURS(hours)})

/* A quirk that is sure counts at once, one that is guessed the second time. */
static void test_quirks(void **state)
{
    struct out_board *board = *state;

    assert_int_equal(out_board_quirks(board, A, AT(0)), 0);
    out_board_add_quirks(board, A, 2, true, AT(1));
    assert_int_equal(out_board_quirks(board, A, AT(24)), 2);
    assert_int_equal(out_board_quirks(board, A, AT(25)), 0);
    assert_int_equal(out_board_quirks(board, B, AT(1)), 0);
    out_board_add_quirks(board, B, 1, false, AT(1));
    assert_int_equal(out_board_quirks(board, B, AT(1)), 0);
    out_board_no_quirks(board, B);
    out_board_add_quirks(board, B, 1, false, AT(2));
    assert_int_equal(out_board_quirks(board, B, AT(2)), 0);
    out_board_add_quirks(board, B, 1, false, AT(26));
    assert_int_equal(out_board_quirks(board, B, AT(26)), 0);
    out_board_add_quirks(board, B, 1, false, AT(27));
    assert_int_equal(out_board_quirks(board, B, AT(27)), 1);
    out_board_add_quirks(board, B, 2, true, AT(28));
    assert_int_equal(out_board_quirks(board, B, AT(28)), 3);
    out_board_no_quirks(board, B); /* what is sure stays */
    assert_int_equal(out_board_quirks(board, B, AT(28)), 3);
}

enum { ROUNDS = 20000, LIMIT = 2 };

static void *take_and_give(void *argument)
{
    struct out_board *board = argument;

    for (int i = 0; i < ROUNDS; i++) {
        if (!out_board_take_session(board, A, LIMIT)) {
            continue;
        }
        if (out_board_sessions(board, A) > LIMIT) {
            return NULL;
        }
        out_board_set_state(board, B, QUEUE_UP, false);
        (void)out_board_get(board, B);
        out_board_give_session(board, A);
    }
    return board;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    void *result;

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, *state), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    assert_int_equal(out_board_sessions(*state, A), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sessions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quirks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
