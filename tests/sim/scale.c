/*
 * scale.c - a thousand dead destinations: asked seldom enough, and none forgotten.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define HOSTS 1000

static struct sim *begin(const struct sim_options *options, enum sim_reach reach)
{
    struct sim *sim = sim_new(11, options);

    for (unsigned i = 0; i < HOSTS; i++) {
        char host[64], ip[32], domain[64], text[128], recipient[96];

        (void)snprintf(host, sizeof host, "mx%u.example.net", i);
        (void)snprintf(ip, sizeof ip, "192.0.%u.%u", 2 + i / 250, 1 + i % 250);
        (void)snprintf(domain, sizeof domain, "d%u.example.org", i);
        (void)snprintf(text, sizeof text, "target = {\"%s\"}", host);
        (void)snprintf(recipient, sizeof recipient, "b@%s", domain);
        sim_host(sim, host, ip);
        sim_reach(sim, host, reach);
        sim_domain(sim, domain, text);
        sim_submit(sim, "a@here.example", recipient);
        sim_run(sim, 100);
    }
    sim_run(sim, PN_SECONDS(5));
    return sim;
}

/* The harness fails if any second has noticeably more connections than probe_rate. */
static void test_dead_destinations(void **state)
{
    static const enum sim_reach reaches[] = {SIM_REFUSED, SIM_BLACK_HOLE};
    struct sim_options options = {.conf = "probe_rate = 50\n"};

    (void)state;
    for (size_t i = 0; i < sizeof reaches / sizeof *reaches; i++) {
        struct sim *sim = begin(&options, reaches[i]);
        uint64_t least = UINT64_MAX, before[HOSTS];

        assert_int_equal(sim_accepted(sim), HOSTS);
        sim_run(sim, PN_MINUTES(3));
        for (unsigned h = 0; h < HOSTS; h++) {
            char host[64];

            (void)snprintf(host, sizeof host, "mx%u.example.net", h);
            before[h] = sim_server(sim, host)->connections;
        }
        sim_run(sim, PN_MINUTES(10));
        for (unsigned h = 0; h < HOSTS; h++) {
            char host[64];
            uint64_t asked;

            (void)snprintf(host, sizeof host, "mx%u.example.net", h);
            asked = sim_server(sim, host)->connections - before[h];
            least = asked < least ? asked : least;
        }
        /* 30,000 turns for 1,000: no one may wait much longer than the others. */
        print_message("asked at least %llu times in ten minutes\n", (unsigned long long)least);
        assert_true(least >= 10);
        for (unsigned h = 0; h < HOSTS; h++) {
            char host[64];

            (void)snprintf(host, sizeof host, "mx%u.example.net", h);
            sim_reach(sim, host, SIM_UP);
        }
        sim_settle(sim, PN_MINUTES(3), true);
        assert_int_equal(sim_delivered(sim), HOSTS);
        sim_free(&sim);
    }
}

/* A start with a thousand dead destinations is no burst either. */
static void test_start(void **state)
{
    struct sim_options options = {.conf = "probe_rate = 50\n"};
    struct sim *sim = begin(&options, SIM_REFUSED);

    (void)state;
    for (int i = 0; i < 5; i++) {
        sim_run(sim, PN_MINUTES(1));
        sim_crash(sim, 1000);
        sim_run(sim, PN_SECONDS(2));
    }
    sim_settle(sim, PN_SECONDS(30), false);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_destinations),
        cmocka_unit_test(test_start),
    };

    return cmocka_run_group_tests_name("scale", tests, NULL, NULL);
}
