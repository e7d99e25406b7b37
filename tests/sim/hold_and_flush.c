/*
 * hold_and_flush.c - the main job: mail for a primary that is away is kept, and handed over
 * as soon as it is back, however long that was and however much it is.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOST "mx1.example.net"

static struct sim *begin(const struct sim_options *options)
{
    struct sim *sim = sim_new(7, options);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_run(sim, PN_SECONDS(1));
    return sim;
}

static bool has_message(struct sim *sim, void *arg)
{
    (void)arg;
    return sim_server(sim, HOST)->messages > 0;
}

static bool is_empty(struct sim *sim, void *arg)
{
    (void)arg;
    return sim_waiting(sim) == 0;
}

static bool all_ended(struct sim *sim, void *arg)
{
    for (size_t i = 1; i <= sim_mails(sim); i++) {
        if (sim_mail(sim, i)->state == SIM_WAITS) {
            return false;
        }
    }
    (void)arg;
    return true;
}

/* An outage of so long, and the time from its end to the first delivery. */
static int64_t outage(struct sim *sim, int64_t ms, enum sim_reach reach, size_t messages)
{
    int64_t back;

    sim_reach(sim, HOST, reach);
    sim_submit_many(sim, "example.net", messages, 20);
    assert_true(sim_run_until(sim, all_ended, NULL, PN_MINUTES(10)));
    assert_int_equal(sim_accepted(sim), messages);
    assert_int_equal(sim_waiting(sim), messages);
    assert_int_equal(sim_delivered(sim), 0);
    sim_run(sim, ms - sim_now(sim));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
    sim_reach(sim, HOST, SIM_UP);
    back = sim_now(sim);
    assert_true(sim_run_until(sim, has_message, NULL, PN_HOURS(1)));
    return sim_server(sim, HOST)->first_message_ms - back;
}

static void test_outages(void **state)
{
    static const struct {
        const char *name;
        int64_t ms, most_ms;
        enum sim_reach reach;
    } rows[] = {
        /* Connections that nobody answers last connect_timeout, 30 s: the probe that is under
         * way when the primary returns must end first. */
        {"10 minutes", PN_MINUTES(10), PN_SECONDS(6), SIM_REFUSED},
        {"50 minutes, no route", PN_MINUTES(50), PN_SECONDS(6), SIM_UNREACHABLE},
        {"12 hours", PN_HOURS(12), PN_SECONDS(66), SIM_REFUSED},
        {"3 days", PN_DAYS(3), PN_SECONDS(66), SIM_REFUSED},
        {"3 days, a black hole", PN_DAYS(3), PN_SECONDS(96), SIM_BLACK_HOLE},
        {"1 hour, silent", PN_HOURS(1), PN_MINUTES(6), SIM_SILENT},
        {"1 hour, garbage", PN_HOURS(1), PN_SECONDS(8), SIM_GARBAGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim *sim = begin(NULL);
        int64_t ms = outage(sim, rows[i].ms, rows[i].reach, 30);

        print_message("%s: first delivery after %.1f s\n", rows[i].name, (double)ms / 1000);
        assert_in_range(ms, 0, rows[i].most_ms);
        assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(2)));
        sim_settle(sim, PN_MINUTES(1), true);
        assert_int_equal(sim_delivered(sim), 30);
        assert_int_equal(sim_duplicates(sim), 0);
        sim_free(&sim);
    }
}

/* A host that is refused at the greeting is down too: nothing is refused for it. */
static void test_greeting_says_no(void **state)
{
    static const char *const greetings[] = {"554 5.7.1 No service here", "421 4.3.2 Not now",
                                            "450 4.7.1 Go away"};

    (void)state;
    for (size_t i = 0; i < sizeof greetings / sizeof *greetings; i++) {
        struct sim *sim = begin(NULL);

        sim_peer(sim, HOST, "CONNECT", greetings[i]);
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_MINUTES(10));
        assert_int_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
        assert_int_equal(sim_waiting(sim), 1);
        assert_int_equal(sim_attempts(sim, HOST), 0);
        sim_peer(sim, HOST, "CONNECT", NULL);
        sim_run(sim, PN_SECONDS(8));
        assert_int_equal(sim_delivered(sim), 1);
        sim_settle(sim, PN_MINUTES(1), true);
        sim_free(&sim);
    }
}

static void test_ten_thousand(void **state)
{
    struct sim *sim = begin(NULL);
    struct sim_server *server = sim_server(sim, HOST);
    int64_t back, first_ms;
    unsigned most = 0;

    (void)state;
    first_ms = outage(sim, PN_MINUTES(30), SIM_REFUSED, 10000);
    assert_in_range(first_ms, 0, PN_SECONDS(6));
    back = sim_now(sim);
    /* The ramp: one session first, then more, and never beyond the limit. */
    assert_in_range(server->sessions_most, 1, 2);
    assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(10)));
    most = server->sessions_most;
    print_message("10,000 drained in %.1f s, %u sessions at the most\n",
                  (double)(sim_now(sim) - back) / 1000, most);
    assert_in_range(most, 4, 21);
    sim_settle(sim, PN_MINUTES(1), true);
    assert_int_equal(sim_delivered(sim), 10000);
    assert_int_equal(sim_duplicates(sim), 0);
    sim_free(&sim);
}

/* Comes and goes: every 20 seconds it is there for 3. Nothing is lost, little is repeated. */
static void test_flapping(void **state)
{
    struct sim *sim = begin(NULL);

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 2000, 10);
    assert_true(sim_run_until(sim, all_ended, NULL, PN_MINUTES(10)));
    for (int i = 0; i < 60; i++) {
        sim_run(sim, PN_SECONDS(17));
        sim_reach(sim, HOST, SIM_UP);
        sim_run(sim, PN_SECONDS(3));
        sim_reach(sim, HOST, SIM_REFUSED);
    }
    sim_reach(sim, HOST, SIM_UP);
    /* What was in doubt waits out the server's final_timeout, 10 minutes. */
    sim_settle(sim, PN_HOURS(3), true);
    print_message("flapping: %llu duplicates of 2,000\n",
                  (unsigned long long)sim_duplicates(sim));
    assert_int_equal(sim_delivered(sim), 2000);
    sim_free(&sim);
}

/* While it is away, no message's own schedule is touched; a restart changes nothing. */
static void test_restart_during_outage(void **state)
{
    struct sim *sim = begin(NULL);
    int64_t back;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 100, 5);
    sim_run(sim, PN_MINUTES(5));
    sim_stop(sim);
    sim_run(sim, PN_HOURS(3));
    sim_start(sim);
    sim_run(sim, PN_MINUTES(5));
    assert_int_equal(sim_waiting(sim), 100);
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
    sim_reach(sim, HOST, SIM_UP);
    back = sim_now(sim);
    assert_true(sim_run_until(sim, has_message, NULL, PN_HOURS(1)));
    assert_in_range(sim_now(sim) - back, 0, PN_SECONDS(6));
    sim_settle(sim, PN_MINUTES(2), true);
    assert_int_equal(sim_delivered(sim), 100);
    sim_free(&sim);
}

static void test_encrypted(void **state)
{
    struct sim_options options = {.encrypt = true};
    struct sim *sim = begin(&options);
    size_t number;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 50, 5);
    number = sim_mail_new(sim, "big@here.example", "b@example.net", 700000);
    sim_send(sim, number, 1, NULL);
    sim_run(sim, PN_MINUTES(5));
    assert_int_equal(sim_accepted(sim), 51);
    sim_crash(sim, PN_DAYS(2)); /* the day's key is still there */
    sim_run(sim, PN_DAYS(2) + PN_MINUTES(1));
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_MINUTES(5), true);
    assert_int_equal(sim_delivered(sim), 51);
    sim_free(&sim);
}

/* A dead primary is no reason to bother the others. */
static void test_dead_and_alive(void **state)
{
    struct sim *sim = begin(NULL);
    size_t dead, alive;

    (void)state;
    sim_host(sim, "mx2.example.org", "192.0.2.2");
    sim_domain(sim, "example.org", "target = {\"mx2.example.org\"}");
    sim_reach(sim, HOST, SIM_BLACK_HOLE);
    dead = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(10));
    alive = sim_submit(sim, "a@here.example", "b@example.org");
    sim_run(sim, PN_SECONDS(2));
    assert_int_equal(sim_mail(sim, alive)->recipients[0].delivered, 1);
    assert_int_equal(sim_mail(sim, dead)->recipients[0].delivered, 0);
    sim_settle(sim, 0, false);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outages),
        cmocka_unit_test(test_greeting_says_no),
        cmocka_unit_test(test_ten_thousand),
        cmocka_unit_test(test_flapping),
        cmocka_unit_test(test_restart_during_outage),
        cmocka_unit_test(test_encrypted),
        cmocka_unit_test(test_dead_and_alive),
    };

    return cmocka_run_group_tests_name("hold_and_flush", tests, NULL, NULL);
}
