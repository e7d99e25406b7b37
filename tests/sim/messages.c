/*
 * messages.c - what a primary server that is up says to single messages.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct sim *sim = sim_new(1, NULL);

    sim_host(sim, "mx1.example.net", "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"mx1.example.net\"}");
    sim_run(sim, PN_SECONDS(1));
    *state = sim;
    return 0;
}

static int teardown(void **state)
{
    struct sim *sim = *state;

    sim_free(&sim);
    return 0;
}

static void test_delivers(void **state)
{
    struct sim *sim = *state;

    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(5));
    assert_int_equal(sim_accepted(sim), 1);
    assert_int_equal(sim_delivered(sim), 1);
    sim_settle(sim, PN_MINUTES(1), true);
}

static void test_waits_after_451(void **state)
{
    struct sim *sim = *state;

    sim_peer(sim, "mx1.example.net", "RCPT", "451 4.7.1 Later, please");
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(4));
    assert_int_equal(sim_attempts(sim, "mx1.example.net"), 1);
    sim_run(sim, PN_MINUTES(4));
    assert_int_equal(sim_attempts(sim, "mx1.example.net"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_delivers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits_after_451, setup, teardown),
    };

    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
