/*
 * test_warm.c - the nightly walk over what will soon expire.
 */
#include "helper_target.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct world_rule takes_all[] = {
    COMMON, NO_RANDOM, {.verb = "RCPT", .reply = OK}, {0}};
static const struct world_rule greylists[] = {
    COMMON, {.verb = "RCPT", .reply = "450 4.2.0 later\r\n"}, {0}};

static void put_many(struct fixture *f, const char *format, size_t count,
                     enum state_verdict verdict)
{
    char local[32];

    for (size_t i = 0; i < count; i++) {
        snprintf(local, sizeof local, "%s%03zu", format, i);
        target_put(f, local, verdict);
    }
    target_run(f, 0);
}

static void test_asks_again_about_the_old(void **state)
{
    struct fixture *f = *state;

    target_put(f, "gone", STATE_VALID);
    target_put(f, "anna", STATE_VALID);
    target_age(f, PN_DAYS(15));
    target_put(f, "bert", STATE_VALID); /* will be one day old */
    target_put(f, "dora", STATE_INVALID);
    target_age(f, PN_DAYS(1));
    target_put(f, "bad", STATE_INVALID);
    target_age(f, PN_DAYS(1) + PN_HOURS(13));
    target_run(f, 0);
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    verify_warm_up(f->verify, f->conf, f->domain, 100); /* it is at it */
    target_run(f, PN_MINUTES(1));
    assert_int_equal(target_got(f, "RCPT TO:<anna@"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<gone@"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<bert@"), 0);
    assert_int_equal(target_got(f, "RCPT TO:<dora@"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<bad@"), 1);
    assert_string_equal(target_known(f, "anna"), "valid");
    assert_string_equal(target_known(f, "gone"), "invalid");
    target_got_none(f);
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    target_run(f, PN_MINUTES(1));
    assert_int_equal(target_got(f, "RCPT"), 0);
}

static void test_keeps_to_its_limit_and_pace(void **state)
{
    struct fixture *f = *state;

    target_rules(f, takes_all);
    put_many(f, "bad", 50, STATE_INVALID); /* before the others in the alphabet */
    target_age(f, PN_DAYS(14));
    put_many(f, "u", 500, STATE_VALID);
    target_age(f, PN_DAYS(16));
    verify_warm_up(f->verify, f->conf, f->domain, 300);
    target_run(f, PN_SECONDS(10));
    assert_in_range(target_got(f, "RCPT TO:<u"), 40, 60);
    assert_int_equal(f->peer->connections, 1);
    target_run(f, PN_MINUTES(5));
    assert_int_equal(target_got(f, "RCPT TO:<u"), 300);
    assert_int_equal(target_got(f, "RCPT TO:<bad"), 0);
    assert_string_equal(target_known(f, "bad007"), "unknown"); /* expired, and forgotten */
    assert_int_equal(fake_store_count(&f->store, 'a'), 500);
}

static void test_stops_when_it_brings_nothing(void **state)
{
    struct fixture *f = *state;

    target_rules(f, greylists);
    put_many(f, "u", 50, STATE_VALID);
    target_age(f, PN_DAYS(16));
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    target_run(f, PN_MINUTES(5));
    assert_int_equal(target_got(f, "RCPT TO:<u"), 5);
    assert_string_equal(target_known(f, "u001"), "valid");
    target_got_none(f);
    target_rules(f, takes_all);
    target_run(f, PN_MINUTES(10));
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    target_run(f, PN_SECONDS(2));
    target_state(f, QUEUE_DOWN, false);
    target_run(f, PN_MINUTES(5));
    assert_in_range(target_got(f, "RCPT TO:<u"), 1, 20);
    target_got_none(f);
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    target_run(f, PN_MINUTES(5));
    assert_int_equal(target_got(f, "RCPT"), 0);
}

static void test_a_catch_all_is_not_asked(void **state)
{
    struct fixture *f = *state;

    put_many(f, "u", 5, STATE_VALID);
    target_age(f, PN_DAYS(16));
    state_catch_all_put(f->state, PN_STR("example.org"), true);
    verify_warm_up(f->verify, f->conf, f->domain, 100);
    target_run(f, PN_MINUTES(5));
    assert_int_equal(target_got(f, "RCPT"), 0);
    assert_string_equal(target_known(f, "u001"), "valid");
}

/* Freed while it reads, asks, and pauses: the teardown looks for what is left. */
static void test_is_freed_at_any_time(void **state)
{
    static const int64_t durations_ms[] = {-1, 0, 100};
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(durations_ms); i++) {
        target_rules(f, takes_all);
        put_many(f, "u", 5, STATE_VALID);
        target_age(f, PN_DAYS(16));
        verify_warm_up(f->verify, f->conf, f->domain, 100);
        if (durations_ms[i] >= 0) {
            target_run(f, durations_ms[i]);
        }
        verify_free(&f->verify);
        target_restart(f);
    }
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, target_setup, target_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_asks_again_about_the_old),     ROW(test_keeps_to_its_limit_and_pace),
        ROW(test_stops_when_it_brings_nothing), ROW(test_a_catch_all_is_not_asked),
        ROW(test_is_freed_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
