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

#define HOST "mx1.example.net"

static int setup(void **state)
{
    struct sim *sim = sim_new(1, NULL);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
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
    sim_run(sim, PN_SECONDS(2));
    assert_int_equal(sim_accepted(sim), 1);
    assert_int_equal(sim_delivered(sim), 1);
    sim_settle(sim, PN_MINUTES(1), true);
}

static void test_waits_after_451(void **state)
{
    struct sim *sim = *state;

    sim_peer(sim, HOST, "RCPT", "451 4.7.1 Later, please");
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(4));
    assert_int_equal(sim_attempts(sim, HOST), 1);
    sim_run(sim, PN_MINUTES(4));
    assert_int_equal(sim_attempts(sim, HOST), 2);
}

/* From 5 minutes to 30, each wait at least about as long as the last. */
static void test_backoff(void **state)
{
    struct sim *sim = *state;
    int64_t before_ms = 0, wait_ms = 0;
    uint64_t seen = 0;

    sim_peer(sim, HOST, "DOT", "451 4.3.0 The disk is full here");
    sim_submit(sim, "a@here.example", "b@example.net");
    for (int64_t s = 0; s < 6 * 3600; s++) {
        sim_run(sim, PN_SECONDS(1));
        if (sim_attempts(sim, HOST) > seen) {
            if (seen > 0) {
                wait_ms = sim_now(sim) - before_ms;
                assert_in_range(wait_ms, PN_MINUTES(4), PN_MINUTES(33));
            }
            seen++;
            assert_int_equal(sim_attempts(sim, HOST), seen);
            before_ms = sim_now(sim);
        }
    }
    assert_in_range(wait_ms, PN_MINUTES(24), PN_MINUTES(33));
    assert_in_range(seen, 12, 24);
    assert_int_not_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
    sim_peer(sim, HOST, "DOT", NULL);
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_delivered(sim), 1);
}

/* Each address is told to come back once; that is no outage, and nobody waits for others. */
static const char *greylist(void *owner, struct sim_server *server, enum sim_verb verb,
                            struct pn_str arg)
{
    static char seen[100][80];
    size_t *count = owner;

    (void)server;
    if (verb != SIM_RCPT || !pn_str_starts(arg, PN_STR("grey"))) {
        return NULL;
    }
    for (size_t i = 0; i < *count; i++) {
        if (pn_str_eq(arg, pn_str_z(seen[i]))) {
            return NULL;
        }
    }
    (void)snprintf(seen[(*count)++], sizeof seen[0], "%.*s", PN_FMT(arg));
    return "450 4.2.1 Greylisted, come back in five minutes";
}

static void test_greylisting(void **state)
{
    struct sim *sim = *state;
    size_t count = 0, last;

    sim_server(sim, HOST)->on_verb = greylist;
    sim_server(sim, HOST)->owner = &count;
    for (int i = 0; i < 30; i++) {
        char recipient[80];

        (void)snprintf(recipient, sizeof recipient, "grey%d@example.net", i);
        sim_submit(sim, "a@here.example", recipient);
    }
    sim_run(sim, PN_SECONDS(5));
    assert_int_not_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
    last = sim_submit(sim, "a@here.example", "plain@example.net");
    sim_run(sim, PN_SECONDS(3));
    assert_int_equal(sim_mail(sim, last)->recipients[0].delivered, 1);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(sim_delivered(sim), 31);
    assert_int_equal(sim_logged(sim, PN_EV_DEST_DOWN), 0);
    sim_settle(sim, PN_MINUTES(1), true);
}

static void test_session_limit_of_the_primary(void **state)
{
    struct sim *sim = *state;

    sim_server(sim, HOST)->sessions_max = 3;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 3000, 10);
    sim_run(sim, PN_MINUTES(2));
    assert_int_equal(sim_waiting(sim), 3000);
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_MINUTES(10), true);
    assert_int_equal(sim_delivered(sim), 3000);
    assert_int_equal(sim_duplicates(sim), 0);
    assert_int_equal(sim_logged(sim, PN_EV_DEST_DOWN), 1);
    /* It is not asked for a fourth session all the time. */
    assert_in_range(sim_server(sim, HOST)->connections, 3, 400);
}

/* One session at a time, and slow to end it: the probe must not stand in the way. */
static void test_one_session_of_the_primary(void **state)
{
    struct sim *sim = *state;

    sim_server(sim, HOST)->sessions_max = 1;
    sim_server(sim, HOST)->delays_ms[SIM_QUIT] = 1800;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 100, 4);
    sim_run(sim, PN_MINUTES(2));
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_MINUTES(2), true);
    assert_int_equal(sim_delivered(sim), 100);
    assert_int_equal(sim_logged(sim, PN_EV_DEST_DOWN), 1);
}

/* It keeps the message and dies before it says so: that is in doubt, and costs one copy. */
static void test_dies_after_dot(void **state)
{
    struct sim *sim = *state;
    struct sim_server *server = sim_server(sim, HOST);

    for (int keeps = 0; keeps < 2; keeps++) {
        uint64_t before = server->attempts;

        server->die_after_dot = 1;
        server->die_keeps = keeps;
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_MINUTES(9)); /* final_timeout is 10 minutes */
        assert_int_equal(server->attempts - before, 1);
        assert_int_equal(sim_waiting(sim), 1);
        sim_run(sim, PN_MINUTES(4));
        assert_int_equal(server->attempts - before, 2);
        assert_int_equal(sim_waiting(sim), 0);
        assert_int_equal(sim_duplicates(sim), keeps);
    }
    assert_int_equal(sim_logged(sim, PN_EV_IN_DOUBT), 2);
    sim_settle(sim, PN_MINUTES(1), true);
}

static void test_dies_in_text(void **state)
{
    struct sim *sim = *state;

    sim_server(sim, HOST)->die_in_text = 2;
    sim_submit_many(sim, "example.net", 20, 2);
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_delivered(sim), 20);
    /* What had left with its last octet when the text before it was lost is in doubt too. */
    assert_int_equal(sim_duplicates(sim), 0);
}

/* It says nothing after the dot: final_timeout ends that. */
static void test_silent_after_dot(void **state)
{
    struct sim *sim = *state;

    sim_server(sim, HOST)->mute_after_dot = true;
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(9));
    assert_int_equal(sim_attempts(sim, HOST), 1);
    sim_server(sim, HOST)->mute_after_dot = false;
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_delivered(sim), 1);
    assert_in_range(sim_now(sim), PN_MINUTES(10), PN_MINUTES(40));
}

static const char *refuse_bad(void *owner, struct sim_server *server, enum sim_verb verb,
                              struct pn_str arg)
{
    (void)owner;
    (void)server;
    return verb == SIM_RCPT && pn_str_starts(arg, PN_STR("bad"))
               ? "550 5.1.1 There is no bad person here"
               : NULL;
}

/* Each recipient has its own fate. */
static void test_refuses_one_of_three(void **state)
{
    struct sim *sim = *state;
    size_t number =
        sim_mail_new(sim, "a@here.example", "b@example.net bad@example.net c@example.net", 900);
    const struct sim_recipient *recipients = sim_mail(sim, number)->recipients;

    sim_server(sim, HOST)->on_verb = refuse_bad;
    sim_send(sim, number, 1, NULL);
    sim_settle(sim, PN_MINUTES(1), true);
    assert_int_equal(recipients[0].delivered, 1);
    assert_int_equal(recipients[1].delivered, 0);
    assert_true(recipients[1].parked);
    assert_int_equal(recipients[2].delivered, 1);
    assert_false(recipients[0].parked || recipients[2].parked);
    assert_int_equal(sim_parked(sim, "example.net"), 1);
    assert_int_equal(sim_logged(sim, PN_EV_REFUSED), 1);
}

static const char *lmtp_fates(void *owner, struct sim_server *server, enum sim_verb verb,
                              struct pn_str arg)
{
    (void)owner;
    (void)server;
    if (verb != SIM_DOT) {
        return NULL;
    }
    return pn_str_starts(arg, PN_STR("full"))  ? "452 4.2.2 The mailbox is full"
           : pn_str_starts(arg, PN_STR("bad")) ? "550 5.2.1 The mailbox is closed"
                                               : NULL;
}

static const char *pick_later(void *owner, struct sim_server *server, enum sim_verb verb,
                              struct pn_str arg)
{
    (void)owner;
    (void)server;
    return verb == SIM_RCPT && pn_str_starts(arg, PN_STR("later")) ? "450 4.2.0 Later" : NULL;
}

/* LMTP: each recipient's own reply comes after the text. */
static void test_lmtp(void **state)
{
    struct sim *sim = *state;
    size_t number =
        sim_mail_new(sim, "a@here.example",
                     "b@example.net full@example.net bad@example.net c@example.net", 900);
    const struct sim_recipient *recipients = sim_mail(sim, number)->recipients;

    sim_domain(sim, "example.net", "target = {\"" HOST "\"}\nservice = lmtp");
    sim_server(sim, HOST)->on_verb = lmtp_fates;
    sim_send(sim, number, 1, NULL);
    sim_run(sim, PN_SECONDS(5));
    assert_int_equal(recipients[0].delivered, 1);
    assert_int_equal(recipients[1].delivered, 0);
    assert_int_equal(recipients[2].delivered, 0);
    assert_int_equal(recipients[3].delivered, 1);
    assert_int_equal(sim_waiting(sim), 1);
    sim_server(sim, HOST)->on_verb = NULL;
    sim_settle(sim, PN_MINUTES(10), true);
    assert_int_equal(recipients[1].delivered, 1);
    assert_true(recipients[2].parked);
    assert_int_equal(sim_duplicates(sim), 0);
}

/* Refused whole: parked with the reply, and the session goes on. */
static void test_refuses_text(void **state)
{
    struct sim *sim = *state;
    size_t number;

    sim_peer(sim, HOST, "DOT", "554 5.6.0 Not like this");
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(3));
    sim_peer(sim, HOST, "DOT", NULL);
    sim_submit(sim, "a@here.example", "c@example.net");
    sim_settle(sim, PN_MINUTES(1), true);
    assert_true(sim_mail(sim, number)->recipients[0].parked);
    assert_int_equal(sim_delivered(sim), 1);
}

static void test_expires(void **state)
{
    struct sim *sim = *state;
    size_t number;

    sim_reach(sim, HOST, SIM_REFUSED);
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_DAYS(13) + PN_HOURS(23));
    assert_int_equal(sim_waiting(sim), 1);
    sim_run(sim, PN_HOURS(2));
    assert_int_equal(sim_waiting(sim), 0);
    assert_int_equal(sim_parked(sim, "example.net"), 1);
    assert_int_equal(sim_logged(sim, PN_EV_EXPIRED), 1);
    sim_settle(sim, 0, true);
    assert_true(sim_mail(sim, number)->recipients[0].parked);
}

/* What is parked is kept for 30 days from its arrival, and no longer. */
static void test_parked_goes(void **state)
{
    struct sim *sim = *state;

    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_DAYS(29) + PN_HOURS(22));
    assert_int_equal(sim_parked(sim, "example.net"), 1);
    sim_run(sim, PN_HOURS(4));
    assert_int_equal(sim_parked(sim, "example.net"), 0);
    assert_int_equal(sim_logged(sim, PN_EV_PARKED_GONE), 1);
}

/* A lookup that fails says nothing about the domain: the mail waits. */
static void test_dns_fails(void **state)
{
    static const enum resolver_status answers[] = {RESOLVER_TEMPFAIL, RESOLVER_NXDOMAIN,
                                                   RESOLVER_NODATA};
    struct sim *sim = *state;

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        sim_dns_status(sim, HOST, answers[i]);
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_HOURS(3));
        assert_int_equal(sim_waiting(sim), 1);
        assert_int_equal(sim_parked(sim, "example.net"), 0);
        assert_int_equal(sim_state(sim, "example.net"), QUEUE_DOWN);
        sim_dns_status(sim, HOST, RESOLVER_FOUND);
        sim_run(sim, PN_SECONDS(70));
        assert_int_equal(sim_delivered(sim), i + 1);
        sim_run(sim, PN_HOURS(2));
    }
    sim_settle(sim, PN_MINUTES(1), true);
}

/* The second host is for when the first does not answer, and only then. */
static void test_failover(void **state)
{
    struct sim *sim = *state;
    struct sim_server *second = sim_host(sim, "mx2.example.net", "192.0.2.2");

    sim_domain(sim, "example.net", "target = {\"" HOST "\", \"mx2.example.net\"}");
    sim_run(sim, PN_SECONDS(1));
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(3));
    assert_int_equal(sim_server(sim, HOST)->messages, 1);
    assert_int_equal(second->messages, 0);
    for (enum sim_reach reach = SIM_REFUSED; reach <= SIM_BLACK_HOLE; reach++) {
        sim_reach(sim, HOST, reach);
        sim_run(sim, PN_MINUTES(10));
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_MINUTES(1));
        assert_int_equal(second->messages, reach);
    }
    sim_reach(sim, HOST, SIM_UP);
    sim_settle(sim, PN_MINUTES(1), true);
}

/* Its mail is kept and shown while the domain is not defined, and goes on afterwards. */
static void test_domain_removed(void **state)
{
    struct sim *sim = *state;
    struct queue_status status;

    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(1));
    sim_domain_remove(sim, "example.net");
    sim_reach(sim, HOST, SIM_UP);
    for (int restarted = 0; restarted < 2; restarted++) {
        sim_run(sim, PN_HOURS(1));
        assert_true(sim_queue(sim, "example.net", &status));
        assert_false(status.defined);
        assert_int_equal(status.jobs, 1);
        assert_int_equal(sim_delivered(sim), 0);
        sim_stop(sim);
        sim_start(sim);
    }
    sim_submit(sim, "a@here.example", "c@example.net");
    sim_run(sim, PN_SECONDS(5));
    assert_int_equal(sim_accepted(sim), 1); /* it is no relay domain now */
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_settle(sim, PN_MINUTES(1), true);
    assert_int_equal(sim_delivered(sim), 1);
}

struct shares {
    struct sim *sim;
    size_t first, count;
};

static bool first_is_half_done(struct sim *sim, void *arg)
{
    const struct shares *shares = arg;
    size_t done = 0;

    for (size_t i = 0; i < shares->count; i++) {
        done += sim_mail(sim, shares->first + i)->recipients[0].delivered;
    }
    return done >= shares->count / 2;
}

/* Two domains at one primary get equal turns, however much waits for each. */
static void test_shared_primary(void **state)
{
    struct sim *sim = *state;
    struct shares small = {.count = 300};
    size_t large, others = 0;

    sim_domain(sim, "example.org", "target = {\"" HOST "\"}");
    sim_reach(sim, HOST, SIM_REFUSED);
    large = sim_submit_many(sim, "example.net", 3000, 10);
    sim_run(sim, PN_MINUTES(1));
    small.first = sim_submit_many(sim, "example.org", small.count, 3);
    sim_run(sim, PN_MINUTES(1));
    assert_int_equal(sim_waiting(sim), 3300);
    sim_reach(sim, HOST, SIM_UP);
    assert_true(sim_run_until(sim, first_is_half_done, &small, PN_MINUTES(5)));
    for (size_t i = 0; i < 3000; i++) {
        others += sim_mail(sim, large + i)->recipients[0].delivered;
    }
    print_message("when 150 of the small domain were through, %zu of the large were\n", others);
    assert_in_range(others, 50, 600);
    sim_settle(sim, PN_MINUTES(5), true);
    assert_int_equal(sim_delivered(sim), 3300);
    assert_in_range(sim_server(sim, HOST)->sessions_most, 1, 21);
}

static void test_held(void **state)
{
    struct sim *sim = *state;

    sim_submit_many(sim, "example.net", 10, 1);
    sim_run(sim, PN_SECONDS(5));
    sim_hold(sim, "example.net", true);
    sim_submit_many(sim, "example.net", 10, 1);
    sim_run(sim, PN_HOURS(5));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_HELD);
    assert_int_equal(sim_delivered(sim), 10);
    sim_hold(sim, "example.net", false);
    sim_run(sim, PN_SECONDS(10));
    assert_int_equal(sim_delivered(sim), 20);
    sim_settle(sim, PN_MINUTES(1), true);
}

/* Held while it is on its way: what is delivered is done, what is not stays held. */
static void test_hold_in_flight(void **state)
{
    struct sim *sim = *state;
    size_t number = sim_mail_new(sim, "a@here.example", "b@example.net later@example.net", 500);

    sim_server(sim, HOST)->on_verb = pick_later;
    sim_server(sim, HOST)->delays_ms[SIM_DOT] = 5000;
    sim_send(sim, number, 1, NULL);
    sim_run(sim, PN_SECONDS(2));
    sim_verb(sim, SPOOL_HOLD, "example.net");
    sim_run(sim, PN_HOURS(3));
    assert_int_equal(sim_mail(sim, number)->recipients[0].delivered, 1);
    assert_int_equal(sim_mail(sim, number)->recipients[1].delivered, 0);
    assert_int_equal(sim_waiting(sim), 1);
    sim_server(sim, HOST)->on_verb = NULL;
    sim_verb(sim, SPOOL_RELEASE, "example.net");
    sim_settle(sim, PN_MINUTES(1), true);
    assert_int_equal(sim_delivered(sim), 1);
    assert_int_equal(sim_duplicates(sim), 0);
}

/* Told to be tried now while it is on its way: it is, and is not delivered again. */
static void test_retry_in_flight(void **state)
{
    struct sim *sim = *state;

    sim_server(sim, HOST)->delays_ms[SIM_DOT] = 5000;
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(2));
    sim_verb(sim, SPOOL_RETRY, "example.net");
    sim_settle(sim, PN_MINUTES(10), true);
    assert_int_equal(sim_server(sim, HOST)->messages, 1);
    assert_int_equal(sim_duplicates(sim), 0);
}

static const char *pick_bad_or_later(void *owner, struct sim_server *server, enum sim_verb verb,
                                     struct pn_str arg)
{
    const char *said = refuse_bad(owner, server, verb, arg);

    return said ? said : pick_later(owner, server, verb, arg);
}

/* A parked recipient is released into a job that is under way: each is delivered once. */
static void test_release_into_flight(void **state)
{
    struct sim *sim = *state;
    size_t number =
        sim_mail_new(sim, "a@here.example", "bad@example.net later@example.net", 500);
    const struct sim_recipient *recipients = sim_mail(sim, number)->recipients;

    sim_server(sim, HOST)->on_verb = pick_bad_or_later;
    sim_send(sim, number, 1, NULL);
    sim_run(sim, PN_MINUTES(2));
    assert_int_equal(sim_parked(sim, "example.net"), 1);
    sim_server(sim, HOST)->on_verb = NULL;
    sim_server(sim, HOST)->delays_ms[SIM_DOT] = PN_MINUTES(5);
    sim_run(sim, PN_MINUTES(4)); /* the second try waits for its reply */
    assert_int_equal(recipients[1].delivered, 1);
    assert_int_equal(sim_waiting(sim), 1);
    sim_verb(sim, SPOOL_RELEASE, "example.net");
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(recipients[0].delivered, 1);
    assert_int_equal(recipients[1].delivered, 1);
    assert_int_equal(sim_parked(sim, "example.net"), 0);
    assert_int_equal(sim_duplicates(sim), 0);
}

/* Whatever the primary offers, and however long it takes, what arrives is what was sent. */
static void test_capabilities(void **state)
{
    struct sim *sim = *state;
    struct sim_server *server = sim_server(sim, HOST);
    struct sim_client_options bdat = {.bdat = true};
    size_t sent = 0;

    sim_cut(sim, 900);
    for (unsigned capabilities = 0; capabilities <= SIM_CAPABILITIES; capabilities++) {
        size_t first = 0;

        server->capabilities = capabilities;
        server->trickle = capabilities % 3 == 0;
        server->delays_ms[SIM_DOT] = capabilities % 5 == 0 ? 2000 : 0;
        for (size_t i = 0; i < 6; i++) {
            size_t number = sim_mail_new(sim, "a@here.example", "b@example.net c@example.net",
                                         i == 5 ? 300000 : 10 + i * 3000);

            first = first ? first : number;
        }
        sim_send(sim, first, 6, capabilities & 1 ? &bdat : NULL);
        sent += 6;
        sim_run(sim, PN_MINUTES(3)); /* and the session has ended */
        assert_int_equal(sim_delivered(sim), sent);
    }
    assert_int_equal(sim_duplicates(sim), 0);
    sim_settle(sim, PN_MINUTES(1), true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_delivers),
        TEST(test_waits_after_451),
        TEST(test_backoff),
        TEST(test_greylisting),
        TEST(test_session_limit_of_the_primary),
        TEST(test_one_session_of_the_primary),
        TEST(test_dies_after_dot),
        TEST(test_dies_in_text),
        TEST(test_silent_after_dot),
        TEST(test_refuses_one_of_three),
        TEST(test_lmtp),
        TEST(test_refuses_text),
        TEST(test_expires),
        TEST(test_parked_goes),
        TEST(test_dns_fails),
        TEST(test_failover),
        TEST(test_domain_removed),
        TEST(test_shared_primary),
        TEST(test_held),
        TEST(test_hold_in_flight),
        TEST(test_retry_in_flight),
        TEST(test_release_into_flight),
        TEST(test_capabilities),
    };

    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
