/*
 * parole.c - a primary that comes back broken and refuses everybody: little of its mail is
 * parked, nothing is lost, and once it is mended what is left is delivered.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOST    "mx1.example.net"
#define MAILS   1000
#define REFUSAL "550 5.1.1 There is no such person"

static struct sim *begin(uint64_t seed, size_t mails)
{
    struct sim *sim = sim_new(seed, NULL);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_run(sim, PN_SECONDS(1));
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", mails, 20);
    sim_run(sim, PN_HOURS(3));
    assert_int_equal(sim_accepted(sim), mails);
    assert_int_equal(sim_waiting(sim), mails);
    return sim;
}

static bool is_empty(struct sim *sim, void *arg)
{
    (void)arg;
    return sim_waiting(sim) == 0;
}

/* The seeds draw how replies are cut and how far the session has got when it is told. */
static void test_empty_user_table(void **state)
{
    static const struct {
        const char *name, *verb;
    } rows[] = {{"at RCPT", "RCPT"}, {"at the end of the text", "DOT"}};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        struct sim *sim = begin(70 + i, MAILS);
        uint64_t parked;

        sim_peer(sim, HOST, rows[i / 2].verb, REFUSAL);
        sim_reach(sim, HOST, SIM_UP);
        sim_run(sim, PN_MINUTES(5));
        assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
        assert_int_equal(sim_logged(sim, PN_EV_DEST_STOPPED), 1);
        parked = sim_parked(sim, "example.net");
        print_message("%s: %llu of %d parked\n", rows[i / 2].name, (unsigned long long)parked,
                      MAILS);
        assert_in_range(parked, 10, 40);
        sim_run(sim, PN_HOURS(6));
        assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
        assert_int_equal(sim_parked(sim, "example.net") - parked, 36);
        parked = sim_parked(sim, "example.net");
        sim_peer(sim, HOST, rows[i / 2].verb, NULL);
        assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(35)));
        assert_int_equal(sim_parked(sim, "example.net"), parked);
        assert_int_equal(sim_delivered(sim), MAILS - parked);
        assert_int_equal(sim_duplicates(sim), 0);
        assert_int_equal(sim_logged(sim, PN_EV_PAROLE_OVER), 1);
        sim_settle(sim, PN_MINUTES(1), true);
        sim_free(&sim);
    }
}

/* Stopped, it goes away and comes back: it is tried as one that returns. */
static void test_goes_down_while_stopped(void **state)
{
    struct sim *sim = begin(80, 200);

    (void)state;
    sim_peer(sim, HOST, "RCPT", REFUSAL);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_MINUTES(5));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_MINUTES(35));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
    sim_peer(sim, HOST, "RCPT", NULL);
    sim_reach(sim, HOST, SIM_UP);
    assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(3)));
    sim_settle(sim, PN_MINUTES(1), true);
    sim_free(&sim);
}

/* Power fails while it is stopped: what is left is tried as after any start. */
static void test_restart_while_stopped(void **state)
{
    struct sim *sim = begin(90, 200);
    uint64_t parked;

    (void)state;
    sim_peer(sim, HOST, "RCPT", REFUSAL);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_MINUTES(5));
    parked = sim_parked(sim, "example.net");
    sim_crash(sim, PN_SECONDS(2));
    sim_run(sim, PN_MINUTES(5));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
    assert_in_range(sim_parked(sim, "example.net") - parked, 10, 40);
    sim_peer(sim, HOST, "RCPT", NULL);
    assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(35)));
    sim_settle(sim, PN_MINUTES(1), true);
    sim_free(&sim);
}

/* A primary that takes one message in a session resumes by itself as well. */
static void test_one_message_a_session(void **state)
{
    struct sim *sim = begin(93, 200);

    (void)state;
    sim_server(sim, HOST)->messages_max = 1;
    sim_peer(sim, HOST, "RCPT", REFUSAL);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_MINUTES(5));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
    sim_peer(sim, HOST, "RCPT", NULL);
    assert_true(sim_run_until(sim, is_empty, NULL, PN_HOURS(1)));
    sim_settle(sim, PN_MINUTES(1), true);
    sim_free(&sim);
}

/* Some are refused, as always: that stops nothing. */
static const char *refuse_some(void *owner, struct sim_server *server, enum sim_verb verb,
                               struct pn_str arg)
{
    unsigned *count = owner;

    (void)server;
    (void)arg;
    return verb == SIM_RCPT && ++*count % 8 == 0 ? REFUSAL : NULL;
}

static void test_some_are_refused(void **state)
{
    struct sim *sim = begin(95, MAILS);
    unsigned count = 0;

    (void)state;
    sim_server(sim, HOST)->on_verb = refuse_some;
    sim_server(sim, HOST)->owner = &count;
    sim_reach(sim, HOST, SIM_UP);
    assert_true(sim_run_until(sim, is_empty, NULL, PN_MINUTES(10)));
    assert_int_equal(sim_logged(sim, PN_EV_DEST_STOPPED), 0);
    assert_int_equal(sim_parked(sim, "example.net"), MAILS / 8);
    assert_int_equal(sim_delivered(sim), MAILS - MAILS / 8);
    sim_settle(sim, PN_MINUTES(1), true);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_user_table),
        cmocka_unit_test(test_goes_down_while_stopped),
        cmocka_unit_test(test_restart_while_stopped),
        cmocka_unit_test(test_one_message_a_session),
        cmocka_unit_test(test_some_are_refused),
    };

    return cmocka_run_group_tests_name("parole", tests, NULL, NULL);
}
