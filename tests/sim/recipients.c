/*
 * recipients.c - who is known to exist, while the target is up, away, and back.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOST   "mx1.example.net"
#define TARGET "target = {\"" HOST "\"}\n"
#define ASKS   TARGET "recipients = {call-ahead}\n"
#define LIST   "/lists/example.net"
#define NOBODY "550 5.1.1 There is no such person"

/* What the target knows. */
struct users {
    bool empty;     /* nobody */
    bool catch_all; /* everybody */
};

static const char *look_up(void *owner, struct sim_server *server, enum sim_verb verb,
                           struct pn_str arg)
{
    const struct users *users = owner;
    bool known = pn_str_starts(arg, PN_STR("good")) || pn_str_starts(arg, PN_STR("new")) ||
                 pn_str_starts(arg, PN_STR("postmaster@"));

    (void)server;
    return verb == SIM_RCPT && (users->empty || !(known || users->catch_all)) ? NOBODY : NULL;
}

static struct sim *begin(uint64_t seed, const char *domain, struct users *users,
                         const char *conf)
{
    struct sim_options options = {.no_checks = true, .conf = conf};
    struct sim *sim = sim_new(seed, &options);

    sim_host(sim, HOST, "192.0.2.1");
    sim_server(sim, HOST)->on_verb = look_up;
    sim_server(sim, HOST)->owner = users;
    sim_domain(sim, "example.net", domain);
    sim_run(sim, PN_SECONDS(30));
    return sim;
}

static bool is_answered(struct sim *sim, void *arg)
{
    return sim_mail(sim, *(size_t *)arg)->state != SIM_WAITS;
}

static const struct sim_recipient *send_from(struct sim *sim, const char *ip, const char *to)
{
    struct sim_client_options options = {.ip = ip};
    size_t number = sim_mail_new(sim, "a@here.example", to, 400);

    sim_send(sim, number, 1, &options);
    assert_true(sim_run_until(sim, is_answered, &number, PN_MINUTES(5)));
    return &sim_mail(sim, number)->recipients[0];
}

/* What the client is told about a recipient. */
static unsigned ask(struct sim *sim, const char *to)
{
    return send_from(sim, "198.51.1.7", to)->code;
}

enum away { RUNS, STOPS, CRASHES };

/* An outage longer than all that is remembered lives, with a clock that goes wrong. */
static void live_through(int64_t step_ms, enum away away, const char *policy, unsigned unknown)
{
    struct users users = {.empty = false};
    char domain[256];
    struct sim *sim;

    (void)snprintf(domain, sizeof domain,
                   ASKS "valid_keep = \"2d\"\nvalid_refresh = \"1d\"\ninvalid_keep = \"1d\"\n"
                        "unknown_when_down = %s\n",
                   policy);
    sim = begin(1, domain, &users, NULL);
    assert_int_equal(ask(sim, "good@example.net"), 250);
    assert_int_equal(ask(sim, "bad@example.net"), 550);
    sim_run(sim, PN_MINUTES(2));
    sim_reach(sim, HOST, SIM_REFUSED);
    assert_int_equal(ask(sim, "good@example.net"), 250);
    sim_run(sim, PN_DAYS(3));
    sim_step_clock(sim, step_ms);
    if (away == STOPS) {
        sim_stop(sim);
        sim_run(sim, PN_DAYS(1));
        sim_start(sim);
    } else if (away == CRASHES) {
        sim_crash(sim, PN_HOURS(1));
    }
    sim_run(sim, PN_DAYS(3));
    assert_int_equal(ask(sim, "good@example.net"), 250);
    assert_int_equal(ask(sim, "bad@example.net"), 550);
    assert_int_equal(ask(sim, "new1@example.net"), unknown);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_MINUTES(70)); /* nobody new is asked about while it is on parole */
    assert_int_equal(ask(sim, "new2@example.net"), 250);
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

static void test_outage(void **state)
{
    static const int64_t steps[] = {0, PN_DAYS(5), -PN_DAYS(5), PN_DAYS(400), -PN_DAYS(400)};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (enum away away = RUNS; away <= CRASHES; away++) {
            live_through(steps[i], away, "defer", 450);
        }
        live_through(steps[i], STOPS, "accept", 250);
    }
}

/* While the target is up, answers grow old: a no after three hours, a yes after a month. */
static void test_ages(void **state)
{
    struct users users = {.empty = true};
    struct sim *sim = begin(2, ASKS, &users, NULL);

    (void)state;
    assert_int_equal(ask(sim, "good@example.net"), 550);
    users.empty = false;
    assert_int_equal(ask(sim, "good@example.net"), 550);
    sim_run(sim, PN_HOURS(4));
    assert_int_equal(ask(sim, "good@example.net"), 250);
    users.empty = true;
    assert_int_equal(ask(sim, "new@example.net"), 550);
    users.empty = false;
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

static void test_list(void **state)
{
    struct users users = {.empty = false};
    struct sim *sim = sim_new(3, NULL);

    (void)state;
    sim_host(sim, HOST, "192.0.2.1");
    sim_server(sim, HOST)->on_verb = look_up;
    sim_server(sim, HOST)->owner = &users;
    sim_domain(sim, "example.net",
               TARGET "recipients = {list}\nrecipient_list = \"" LIST "\"\n");
    sim_run(sim, PN_SECONDS(30));
    assert_int_equal(ask(sim, "good@example.net"), 450); /* there is no list yet */
    sim_file(sim, LIST, "good\ngood.2@example.net\n");
    sim_run(sim, PN_SECONDS(30));
    assert_int_equal(ask(sim, "good@example.net"), 250);
    assert_int_equal(ask(sim, "new@example.net"), 550);
    sim_settle(sim, PN_MINUTES(5), true);
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_DAYS(5));
    assert_int_equal(ask(sim, "good.2@example.net"), 250);
    assert_int_equal(ask(sim, "new@example.net"), 550);
    sim_file(sim, LIST, "this is no\nlist of addresses\nat all\n");
    sim_run(sim, PN_SECONDS(30));
    assert_int_equal(ask(sim, "good@example.net"), 250); /* the last good one */
    sim_file(sim, LIST, "new\n");
    sim_crash(sim, PN_SECONDS(5));
    sim_run(sim, PN_SECONDS(30));
    assert_int_equal(ask(sim, "new@example.net"), 250);
    assert_int_equal(ask(sim, "good@example.net"), 550);
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

/* It would take anybody, and so do we in an outage. */
static void test_catch_all(void **state)
{
    struct users users = {.catch_all = true};
    struct sim *sim = begin(4, ASKS, &users, NULL);

    (void)state;
    assert_int_equal(ask(sim, "good@example.net"), 250);
    assert_int_equal(ask(sim, "nobody@example.net"), 250);
    sim_settle(sim, PN_MINUTES(10), true); /* both were delivered, which is knowledge */
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_MINUTES(10));
    assert_int_equal(ask(sim, "good@example.net"), 250);
    sim_run(sim, PN_MINUTES(1)); /* now it is known to be away */
    assert_int_equal(ask(sim, "other@example.net"), 250);
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

/* Back with an empty table of users: one refusal of somebody who is known stops it, and
 * everything that was held is delivered when the table is mended. */
static void test_empty_table_after_outage(void **state)
{
    (void)state;
    for (uint64_t seed = 5; seed < 15; seed++) {
        struct users users = {.empty = false};
        struct sim *sim = begin(seed, ASKS, &users, NULL);
        char address[64];

        for (unsigned i = 0; i < 60; i++) {
            (void)snprintf(address, sizeof address, "good%u@example.net", i);
            assert_int_equal(ask(sim, address), 250);
        }
        sim_settle(sim, PN_MINUTES(10), true);
        sim_reach(sim, HOST, SIM_REFUSED);
        sim_run(sim, PN_HOURS(1));
        for (unsigned i = 0; i < 60; i++) {
            (void)snprintf(address, sizeof address, "good%u@example.net", i);
            assert_int_equal(ask(sim, address), 250);
            (void)snprintf(address, sizeof address, "forged%u@example.net", i);
            assert_int_equal(ask(sim, address), 450);
        }
        users.empty = true;
        sim_reach(sim, HOST, SIM_UP);
        sim_run(sim, PN_MINUTES(10));
        assert_int_equal(sim_state(sim, "example.net"), QUEUE_STOPPED);
        assert_in_range(sim_parked(sim, "example.net"), 1, 20);
        assert_int_equal(ask(sim, "good1@example.net"), 250); /* refusals now teach nothing */
        users.empty = false;
        sim_run(sim, PN_HOURS(2));
        assert_int_equal(sim_waiting(sim), 0);
        sim_verb(sim, SPOOL_RELEASE, "example.net"); /* what was parked */
        sim_settle(sim, PN_HOURS(2), true);
        assert_int_equal(sim_parked(sim, "example.net"), 0);
        assert_int_equal(sim_delivered(sim), sim_accepted(sim));
        sim_free(&sim);
    }
}

/* Made-up addresses by the hundred: few questions reach the target, and it is not disturbed. */
static void test_harvest(void **state)
{
    struct users users = {.empty = false};
    struct sim *sim = begin(20, ASKS, &users, "call_ahead_rate = 30\n");
    uint64_t before = sim_server(sim, HOST)->verbs[SIM_RCPT];
    int64_t begun = sim_now(sim);
    uint64_t minutes;

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        char address[64];

        (void)snprintf(address, sizeof address, "guess%u@example.net", i);
        assert_in_range(ask(sim, address), 450, 550);
    }
    minutes = (uint64_t)(sim_now(sim) - begun) / 60000 + 2;
    assert_in_range(sim_server(sim, HOST)->verbs[SIM_RCPT] - before, 20, 30 * minutes + 5);
    assert_int_equal(send_from(sim, "203.0.113.9", "good@example.net")->code, 250);
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

/* A greeting that takes longer than a client waits: the next one is told. */
static void test_slow_greeting(void **state)
{
    static const char *const ways[] = {"accept", "pass-through"};

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct users users = {.empty = false};
        char domain[256];
        struct sim *sim;

        (void)snprintf(domain, sizeof domain, ASKS "when_up = %s\n", ways[i]);
        sim = begin(30 + i, domain, &users, NULL);
        sim_server(sim, HOST)->delays_ms[SIM_CONNECT] = PN_SECONDS(40);
        sim_run(sim, PN_MINUTES(2));
        assert_int_equal(ask(sim, "good@example.net"), 450);
        assert_int_equal(ask(sim, "bad@example.net"), 450);
        sim_run(sim, PN_MINUTES(3));
        assert_int_equal(ask(sim, "good@example.net"), 250);
        assert_int_equal(ask(sim, "bad@example.net"), 550);
        sim_settle(sim, PN_HOURS(1), true);
        sim_free(&sim);
    }
}

static void ask_turn(struct sim *sim, const char *ip, const char *domain)
{
    struct sim_client_options options = {.ip = ip, .etrn = domain};

    sim_send(sim, 0, 0, &options);
    sim_run(sim, PN_SECONDS(2));
}

/* ETRN of an allowed client starts the flush at once; nobody else learns anything. */
static void test_etrn(void **state)
{
    struct users users = {.empty = false};
    struct sim *sim = begin(21, ASKS, &users, "etrn_clients = {\"203.0.113.0/24\"}\n");

    (void)state;
    assert_int_equal(ask(sim, "good@example.net"), 250);
    sim_settle(sim, PN_MINUTES(5), true);
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_DAYS(2)); /* it is asked once a minute by now */
    assert_int_equal(ask(sim, "good@example.net"), 250);
    ask_turn(sim, "198.51.1.7", "example.net");
    ask_turn(sim, "203.0.113.9", "example.org");
    assert_int_equal(sim_etrn_replies(sim, 4), 2);
    sim_reach(sim, HOST, SIM_UP);
    ask_turn(sim, "203.0.113.9", "example.net");
    assert_int_equal(sim_etrn_replies(sim, 2), 1);
    sim_run(sim, PN_SECONDS(1));
    assert_int_equal(sim_waiting(sim), 0);
    sim_settle(sim, PN_MINUTES(5), true);
    sim_free(&sim);
}

/* when_up = defer: the first time no, and in the end yes; in an outage, once it is known, at
 * once. */
static void test_defer(void **state)
{
    struct users users = {.empty = false};
    struct sim *sim = begin(22, ASKS "when_up = defer\n", &users, NULL);

    (void)state;
    sim_server(sim, HOST)->owner = &users;
    assert_int_equal(ask(sim, "good@example.net"), 451);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(ask(sim, "good@example.net"), 451);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(ask(sim, "good@example.net"), 250);
    assert_int_equal(ask(sim, "bad@example.net"), 451);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(ask(sim, "bad@example.net"), 451);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(ask(sim, "bad@example.net"), 550);
    sim_settle(sim, PN_MINUTES(5), true);
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_HOURS(1));
    /* Who is sent to it may have come because it is away: that is found out at once. */
    assert_int_equal(send_from(sim, "203.0.113.8", "good@example.net")->code, 451);
    sim_run(sim, PN_SECONDS(15));
    assert_int_equal(send_from(sim, "203.0.113.9", "good@example.net")->code, 250);
    assert_int_equal(send_from(sim, "203.0.113.9", "bad@example.net")->code, 550);
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_HOURS(1), true);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_catch_all),
        cmocka_unit_test(test_empty_table_after_outage),
        cmocka_unit_test(test_harvest),
        cmocka_unit_test(test_etrn),
        cmocka_unit_test(test_slow_greeting),
        cmocka_unit_test(test_defer),
    };

    return cmocka_run_group_tests_name("recipients", tests, NULL, NULL);
}
