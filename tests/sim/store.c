/*
 * store.c - a disk that fails, is full, or is slow, and ends of the daemon.
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

static struct sim *begin(uint64_t seed, const struct sim_options *options)
{
    struct sim *sim = sim_new(seed, options);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_run(sim, 1500); /* what the start reads has been read */
    return sim;
}

/* Told 452; nothing of it is ever delivered; afterwards mail is taken again. */
static void test_fails_while_accepting(void **state)
{
    struct sim_options options = {.no_checks = true};

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim *sim = begin(seed, &options);
        size_t number;

        sim_reach(sim, HOST, SIM_REFUSED);
        sim_fault_at(sim, SIM_FAIL, 1 + seed % 2, 0);
        number = sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, PN_SECONDS(3));
        assert_true(sim_fault_happened(sim));
        assert_int_equal(sim_mail(sim, number)->state, SIM_TOLD_NO);
        assert_int_equal(sim_mail(sim, number)->code, 452);
        sim_submit(sim, "a@here.example", "c@example.net");
        sim_run(sim, PN_SECONDS(3));
        assert_int_equal(sim_accepted(sim), 1);
        sim_reach(sim, HOST, SIM_UP);
        sim_settle(sim, PN_MINUTES(1), true);
        assert_int_equal(sim_mail(sim, number)->recipients[0].delivered, 0);
        assert_int_equal(sim_delivered(sim), 1);
        sim_free(&sim);
    }
}

/* While writes fail nothing new is delivered: each delivery would be a duplicate. */
static void test_broken_for_an_hour(void **state)
{
    struct sim *sim = begin(2, NULL);
    uint64_t before;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 200, 4);
    sim_run(sim, PN_MINUTES(5));
    sim_store_break(sim, true);
    sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(10));
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_SECONDS(20));
    before = sim_server(sim, HOST)->messages;
    sim_run(sim, PN_HOURS(1));
    assert_int_equal(sim_server(sim, HOST)->messages, before);
    sim_store_break(sim, false);
    sim_settle(sim, PN_MINUTES(2), true);
    assert_int_equal(sim_delivered(sim), 200);
    assert_int_equal(sim_duplicates(sim), 0);
    sim_free(&sim);
}

/* It breaks in the middle of a drain: what was delivered is settled when it works again. */
static void test_breaks_while_draining(void **state)
{
    struct sim *sim = begin(8, NULL);
    uint64_t delivered;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 2000, 10);
    sim_run(sim, PN_MINUTES(2));
    sim_reach(sim, HOST, SIM_UP);
    while (sim_server(sim, HOST)->messages < 300) {
        sim_run(sim, 50);
    }
    sim_store_break(sim, true);
    sim_run(sim, PN_SECONDS(5));
    delivered = sim_server(sim, HOST)->messages;
    assert_in_range(delivered, 100, 1900);
    sim_run(sim, PN_MINUTES(10));
    assert_int_equal(sim_server(sim, HOST)->messages, delivered);
    sim_store_break(sim, false);
    sim_settle(sim, PN_MINUTES(5), true);
    assert_int_equal(sim_delivered(sim), 2000);
    assert_int_equal(sim_duplicates(sim), 0);
    sim_free(&sim);
}

static void test_full_and_room_again(void **state)
{
    struct sim *sim = begin(3, NULL);
    size_t number;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 50, 4);
    sim_run(sim, PN_MINUTES(1));
    /* Below the reserve new mail waits outside; what is held goes out. */
    sim_disk_free(sim, 500 << 20);
    sim_run(sim, PN_SECONDS(3));
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(3));
    assert_int_equal(sim_mail(sim, number)->state, SIM_NOT_SENT);
    assert_int_equal(sim_mail(sim, number)->code, 452);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_MINUTES(1));
    assert_int_equal(sim_delivered(sim), 50);
    sim_disk_free(sim, UINT64_C(40) << 30);
    sim_run(sim, PN_SECONDS(3));
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(3));
    assert_int_equal(sim_mail(sim, number)->state, SIM_TAKEN);
    /* And really full: appends fail, and go on without a restart when there is room. */
    sim_disk_full(sim, true);
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_MINUTES(10));
    assert_int_equal(sim_mail(sim, number)->state, SIM_TOLD_NO);
    sim_disk_full(sim, false);
    sim_run(sim, PN_SECONDS(5));
    number = sim_submit(sim, "a@here.example", "b@example.net");
    sim_run(sim, PN_SECONDS(5));
    assert_int_equal(sim_mail(sim, number)->state, SIM_TAKEN);
    sim_settle(sim, PN_MINUTES(1), true);
    assert_int_equal(sim_delivered(sim), 52);
    sim_free(&sim);
}

/* A disk that needs seconds for a sync: slow, and otherwise well. */
static void test_slow_disk(void **state)
{
    struct sim *sim = begin(4, NULL);

    (void)state;
    sim_disk_slow(sim, 8000);
    sim_submit_many(sim, "example.net", 500, 20);
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_delivered(sim), 500);
    assert_int_equal(sim_duplicates(sim), 0);
    sim_free(&sim);
}

/* Many senders, many deliveries, and then SIGTERM: nothing that was taken is lost, and
 * nothing is delivered twice. */
static void test_stop_under_load(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim *sim = begin(seed, NULL);

        sim_latency(sim, 1, (int64_t)seed * 3);
        sim_submit_many(sim, "example.net", 600, 30);
        sim_run(sim, 200 + (int64_t)seed * 100);
        sim_stop(sim);
        assert_false(sim_is_up(sim));
        sim_run(sim, PN_SECONDS(10));
        sim_start(sim);
        sim_settle(sim, PN_MINUTES(5), true);
        assert_int_equal(sim_delivered(sim), sim_accepted(sim));
        assert_int_equal(sim_duplicates(sim), 0);
        sim_free(&sim);
    }
}

/* The same with the power switch: what was not yet durable may come twice. */
static void test_crash_under_load(void **state)
{
    uint64_t duplicates = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim *sim = begin(seed, NULL);

        sim_submit_many(sim, "example.net", 300, 30);
        for (int i = 0; i < 3; i++) {
            sim_run(sim, 100 + (int64_t)seed * 77);
            if (sim_is_up(sim)) {
                sim_crash(sim, 1000);
            }
            sim_run(sim, PN_SECONDS(2));
            sim_submit_many(sim, "example.net", 50, 10);
        }
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_delivered(sim), sim_accepted(sim));
        duplicates += sim_duplicates(sim);
        sim_free(&sim);
    }
    print_message("%llu duplicates after 120 power cuts\n", (unsigned long long)duplicates);
}

/* A thousand clients of 1 MB with 16 MB of memory: they wait or are told 452. */
static void test_memory(void **state)
{
    struct sim_options options = {.conf = "memory = \"16M\"\nsessions_per_network = 2000\n"};
    struct sim *sim = begin(5, &options);
    size_t first = 0;

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        size_t number = sim_mail_new(sim, "a@here.example", "b@example.net", 900000 + i * 100);

        first = first ? first : number;
    }
    for (size_t i = 0; i < 300; i++) {
        struct sim_client_options slow = {.bdat = i % 2 == 0, .pause_ms = i % 3 ? 0 : 50};

        sim_send(sim, first + i, 1, &slow);
    }
    sim_settle(sim, PN_HOURS(2), true);
    assert_in_range(sim_accepted(sim), 30, 300);
    assert_int_equal(sim_delivered(sim), sim_accepted(sim));
    print_message("%zu of 300 large messages were taken\n", sim_accepted(sim));
    sim_free(&sim);
}

/* Senders that vanish in the middle leave nothing behind. */
static void test_vanishing_senders(void **state)
{
    struct sim *sim = begin(6, NULL);

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        struct sim_client_options gone = {
            .bdat = i % 2, .vanish_after = 1 + i * 15000, .resets = i % 3 == 0};

        sim_send(sim, sim_mail_new(sim, "a@here.example", "b@example.net", 700000), 1, &gone);
        sim_run(sim, 100);
    }
    sim_run(sim, PN_HOURS(2));
    assert_int_equal(sim_accepted(sim), 0);
    sim_settle(sim, 0, true);
    assert_true(sim_disk_items(sim) < 5); /* counters at the most */
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fails_while_accepting),
        cmocka_unit_test(test_broken_for_an_hour),
        cmocka_unit_test(test_breaks_while_draining),
        cmocka_unit_test(test_full_and_room_again),
        cmocka_unit_test(test_slow_disk),
        cmocka_unit_test(test_stop_under_load),
        cmocka_unit_test(test_crash_under_load),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_vanishing_senders),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
