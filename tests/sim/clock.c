/*
 * clock.c - a wall clock that is wrong, and a start after a long time.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HOST "mx1.example.net"

static struct sim *begin(void)
{
    struct sim *sim = sim_new(3, NULL);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_run(sim, PN_SECONDS(1));
    return sim;
}

/* Steps while we run change nothing: no time-out, no expiry, no wait. */
static void test_steps_while_running(void **state)
{
    static const int64_t steps[] = {PN_DAYS(3), -PN_DAYS(10), PN_DAYS(400), -PN_DAYS(390)};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct sim *sim = begin();
        int64_t back;

        sim_reach(sim, HOST, SIM_REFUSED);
        sim_submit_many(sim, "example.net", 20, 2);
        sim_run(sim, PN_MINUTES(5));
        sim_step_clock(sim, steps[i]);
        sim_run(sim, PN_MINUTES(5));
        sim_submit_many(sim, "example.net", 20, 2);
        sim_run(sim, PN_MINUTES(1));
        assert_int_equal(sim_accepted(sim), 40);
        assert_int_equal(sim_waiting(sim), 40);
        assert_int_equal(sim_logged(sim, PN_EV_EXPIRED), 0);
        sim_reach(sim, HOST, SIM_UP);
        back = sim_now(sim);
        sim_settle(sim, PN_MINUTES(5), true);
        assert_int_equal(sim_delivered(sim), 40);
        assert_in_range(sim_server(sim, HOST)->first_message_ms - back, 0, PN_SECONDS(6));
        sim_free(&sim);
    }
}

/* A message told "later" is due when it was told, whichever way the clock went. */
static void test_retry_across_steps(void **state)
{
    static const int64_t steps[] = {PN_DAYS(5), -PN_DAYS(5)};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct sim *sim = begin();

        sim_peer(sim, HOST, "RCPT", "450 4.2.0 Later");
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_MINUTES(1));
        sim_peer(sim, HOST, "RCPT", NULL);
        sim_step_clock(sim, steps[i]);
        sim_run(sim, PN_MINUTES(2));
        assert_int_equal(sim_delivered(sim), 0);
        sim_run(sim, PN_MINUTES(3));
        assert_int_equal(sim_delivered(sim), 1);
        sim_settle(sim, PN_MINUTES(1), true);
        sim_free(&sim);
    }
}

/* Off for weeks, the primary is up: everything is tried before anything expires. */
static void test_start_after_weeks(void **state)
{
    struct sim *sim = begin();

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 30, 3);
    sim_run(sim, PN_HOURS(1));
    sim_stop(sim);
    sim_run(sim, PN_DAYS(20));
    sim_reach(sim, HOST, SIM_UP);
    sim_start(sim);
    sim_settle(sim, PN_MINUTES(5), true);
    assert_int_equal(sim_delivered(sim), 30);
    assert_int_equal(sim_parked(sim, "example.net"), 0);
    sim_free(&sim);
}

/* The same, but the clock was simply wrong at the start, and is set right afterwards. */
static void test_wrong_clock_at_start(void **state)
{
    struct sim *sim = begin();

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 30, 3);
    sim_run(sim, PN_HOURS(1));
    sim_stop(sim);
    sim_step_clock(sim, PN_DAYS(3650));
    sim_start(sim);
    sim_run(sim, PN_MINUTES(30));
    assert_int_equal(sim_waiting(sim), 30);
    assert_int_equal(sim_parked(sim, "example.net"), 0);
    sim_step_clock(sim, -PN_DAYS(3650));
    sim_run(sim, PN_HOURS(1));
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_MINUTES(5), true);
    assert_int_equal(sim_delivered(sim), 30);
    sim_free(&sim);
}

static void stop_after_a_minute(struct sim *sim)
{
    sim_run(sim, PN_MINUTES(1));
    sim_stop(sim);
}

/* Right after the try: what knows of that, knows when it was. */
static void cut_power_at_once(struct sim *sim)
{
    sim_run(sim, PN_SECONDS(10));
    sim_crash(sim, -1);
}

/* Set back while we were away: queue time does not follow. */
static void test_start_in_the_past(void **state)
{
    static void (*const ends[])(struct sim * sim) = {stop_after_a_minute, cut_power_at_once};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct sim *sim = begin();

        sim_peer(sim, HOST, "RCPT", "450 4.2.0 Later");
        sim_submit(sim, "a@here.example", "b@example.net");
        ends[i](sim);
        sim_step_clock(sim, -PN_DAYS(30));
        sim_peer(sim, HOST, "RCPT", NULL);
        sim_start(sim);
        sim_run(sim, PN_MINUTES(7));
        assert_int_equal(sim_delivered(sim), 1);
        sim_settle(sim, PN_MINUTES(1), true);
        sim_free(&sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_while_running), cmocka_unit_test(test_retry_across_steps),
        cmocka_unit_test(test_start_after_weeks),   cmocka_unit_test(test_wrong_clock_at_start),
        cmocka_unit_test(test_start_in_the_past),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
