/*
 * crash.c - power is cut after each store operation of a scenario in turn, and each fails
 * in turn, alone and with those that follow it; and starts fail after the power was cut.
 * Where the state store matters, the same is done to its operations.
 *
 * A scenario runs once without a fault, which counts its operations; then once more for
 * each operation and each kind of fault. In the end the primary is up, and every message
 * that was answered 250 has been delivered, reported or parked; the harness sees to it that
 * nothing was delivered of what was answered no, and that each duplicate has its reason.
 *
 *     crash [-v SCENARIO FAULT N]
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOST "mx1.example.net"

/* ---- scenarios: each is a few seconds of life -------------------------------------------- */

static void run_hold(struct sim *sim)
{
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_run(sim, PN_SECONDS(1));
    for (int i = 0; i < 4; i++) {
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_run(sim, 40);
    }
    sim_run(sim, PN_SECONDS(3));
}

/* Several at once, so that a batch has many. */
static void run_crowd(struct sim *sim)
{
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 40, 10);
    sim_run(sim, PN_SECONDS(5));
}

/* Bodies of several chunks, by DATA and by BDAT; one sender vanishes in the middle. */
static void run_large(struct sim *sim)
{
    struct sim_client_options bdat = {.bdat = true, .pipelining = true};
    struct sim_client_options gone = {.vanish_after = 400000, .resets = true};
    size_t first = sim_mail_new(sim, "a@here.example", "b@example.net", 600000);

    sim_mail_new(sim, "a@here.example", "c@example.net", 300000);
    sim_mail_new(sim, "a@here.example", "d@example.net", 700000);
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_send(sim, first, 1, NULL);
    sim_send(sim, first + 1, 1, &bdat);
    sim_send(sim, first + 2, 1, &gone);
    sim_run(sim, PN_SECONDS(4));
}

static void run_drain(struct sim *sim)
{
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 20, 4);
    sim_run(sim, PN_SECONDS(5));
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_SECONDS(12));
}

/* The primary is up: mail comes in and goes out at the same time. */
static void run_through(struct sim *sim)
{
    for (int i = 0; i < 6; i++) {
        sim_submit_many(sim, "example.net", 3, 3);
        sim_run(sim, 300);
    }
    sim_run(sim, PN_SECONDS(2));
}

static const char *pick(void *owner, struct sim_server *server, enum sim_verb verb,
                        struct pn_str arg)
{
    (void)owner;
    (void)server;
    if (verb != SIM_RCPT) {
        return NULL;
    }
    if (pn_str_starts(arg, PN_STR("no"))) {
        return "550 5.1.1 There is no such person";
    }
    return pn_str_starts(arg, PN_STR("later")) ? "450 4.2.0 Not now" : NULL;
}

/* Each recipient has its own fate: delivered, parked, kept. */
static void run_fates(struct sim *sim)
{
    sim_server(sim, HOST)->on_verb = pick;
    for (int i = 0; i < 3; i++) {
        size_t number = sim_mail_new(sim, "a@here.example",
                                     "b@example.net no@example.net later@example.net", 400);

        sim_send(sim, number, 1, NULL);
        sim_run(sim, 200);
    }
    sim_run(sim, PN_MINUTES(6));
    sim_server(sim, HOST)->on_verb = NULL;
    sim_run(sim, PN_SECONDS(1));
}

/* Two domains, so that a message has two jobs. */
static void run_two_jobs(struct sim *sim)
{
    sim_reach(sim, HOST, SIM_REFUSED);
    for (int i = 0; i < 4; i++) {
        size_t number = sim_mail_new(sim, "a@here.example", "b@example.net c@example.org", 400);

        sim_send(sim, number, 1, NULL);
        sim_run(sim, 100);
    }
    sim_run(sim, PN_SECONDS(2));
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_SECONDS(8));
}

static void run_expiry(struct sim *sim)
{
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}\nhold = \"1h\"");
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 5, 2);
    sim_run(sim, PN_MINUTES(62));
}

/* A stop and a start; what it finds is from before. */
static void run_stop(struct sim *sim)
{
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 10, 2);
    sim_run(sim, PN_SECONDS(3));
    if (sim_is_up(sim)) {
        sim_stop(sim);
    }
    sim_run(sim, PN_SECONDS(3));
    sim_start_if_off(sim);
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_SECONDS(8));
}

/* It has just lost power with a body half written; sweeping up may be cut too. */
static void run_twice(struct sim *sim)
{
    struct sim_client_options slow = {.pause_ms = 20};
    size_t number = sim_mail_new(sim, "a@here.example", "b@example.net", 600000);

    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 5, 2);
    sim_send(sim, number, 1, &slow);
    sim_run(sim, 2500);
    if (sim_is_up(sim)) {
        sim_crash(sim, 1000);
    }
    sim_run(sim, PN_SECONDS(3));
    sim_reach(sim, HOST, SIM_UP);
    sim_run(sim, PN_SECONDS(8));
}

/* The operator holds, releases and deletes, also what is parked. */
static void run_verbs(struct sim *sim)
{
    sim_server(sim, HOST)->on_verb = pick;
    sim_send(sim,
             sim_mail_new(sim, "a@here.example",
                          "b@example.net no@example.net later@example.net", 400),
             1, NULL);
    sim_run(sim, PN_SECONDS(2));
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit_many(sim, "example.net", 6, 2);
    sim_run(sim, PN_SECONDS(2));
    sim_verb(sim, SPOOL_HOLD, "example.net");
    sim_run(sim, PN_SECONDS(1));
    sim_verb_mail(sim, SPOOL_DELETE, 3);
    sim_run(sim, PN_SECONDS(1));
    sim_verb(sim, SPOOL_RELEASE, "");
    sim_run(sim, PN_SECONDS(1));
    sim_verb_mail(sim, SPOOL_DELETE, 4);
    sim_verb(sim, SPOOL_RETRY, "example.net");
    sim_run(sim, PN_SECONDS(1));
}

/* Live: refused, taken, lost before and behind the dot, and answered late. */
static void run_pass(struct sim *sim)
{
    struct sim_server *server = sim_server(sim, HOST);

    sim_domain(sim, "example.net",
               "target = {\"" HOST "\"}\nrecipients = {call-ahead}\n"
               "when_up = pass-through\n");
    server->on_verb = pick;
    sim_run(sim, PN_SECONDS(10));
    sim_send(sim, sim_mail_new(sim, "a@here.example", "b@example.net no@example.net", 300000),
             1, NULL);
    sim_run(sim, PN_SECONDS(2));
    server->ends[SIM_DOT] = SIM_RESETS;
    server->die_keeps = true;
    server->ends_left = 1;
    sim_submit(sim, "a@here.example", "c@example.net");
    sim_run(sim, PN_SECONDS(2));
    server->ends[SIM_DATA] = SIM_CLOSES;
    server->ends[SIM_DOT] = SIM_REPLIES;
    server->ends_left = 1;
    sim_submit_many(sim, "example.net", 3, 3);
    sim_run(sim, PN_SECONDS(2));
    server->delays_ms[SIM_DOT] = PN_MINUTES(6);
    sim_submit(sim, "a@here.example", "d@example.net");
    sim_run(sim, PN_MINUTES(12));
    server->delays_ms[SIM_DOT] = 0;
    server->ends[SIM_DATA] = SIM_REPLIES;
    server->ends_left = 0;
}

/* Asked about, remembered, away, and back. */
static void run_knowledge(struct sim *sim)
{
    sim_domain(sim, "example.net",
               "target = {\"" HOST "\"}\nrecipients = {call-ahead}\nwhen_up = accept\n");
    sim_server(sim, HOST)->on_verb = pick;
    sim_run(sim, PN_SECONDS(10));
    for (int round = 0; round < 2; round++) {
        sim_submit(sim, "a@here.example", "b@example.net");
        sim_submit(sim, "a@here.example", "no@example.net");
        sim_submit(sim, "a@here.example", "later@example.net");
        sim_run(sim, PN_MINUTES(2));
        sim_reach(sim, HOST, round == 0 ? SIM_REFUSED : SIM_UP);
    }
    sim_run(sim, PN_MINUTES(2));
}

/* Senders are told: of what is refused, and of what has waited too long. */
static void run_reports(struct sim *sim)
{
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}\nhold = \"1h\"\nbounce = always");
    sim_domain(sim, "here.example", "target = {\"mx2.example.org\"}\nbounce = always");
    sim_server(sim, HOST)->on_verb = pick;
    sim_run(sim, PN_SECONDS(10));
    for (int i = 0; i < 2; i++) {
        sim_send(sim,
                 sim_mail_new(sim, i == 0 ? "a@here.example" : "",
                              "b@example.net no@example.net", 400),
                 1, NULL);
        sim_run(sim, PN_SECONDS(3));
    }
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_submit(sim, "a@here.example", "c@example.net");
    sim_run(sim, PN_MINUTES(70));
}

struct scenario {
    const char *name;
    void (*run)(struct sim *sim);
    bool encrypt;
    bool state; /* the state store has a part in it */
};

static const struct scenario scenarios[] = {
    {"hold", run_hold, false, false},          {"crowd", run_crowd, false, false},
    {"large", run_large, false, false},        {"large, encrypted", run_large, true, false},
    {"drain", run_drain, false, false},        {"through", run_through, false, false},
    {"fates", run_fates, false, false},        {"two jobs", run_two_jobs, false, false},
    {"expiry", run_expiry, false, false},      {"stop", run_stop, false, true},
    {"twice", run_twice, false, false},        {"drain, encrypted", run_drain, true, false},
    {"verbs", run_verbs, false, false},        {"pass", run_pass, false, true},
    {"knowledge", run_knowledge, false, true}, {"reports", run_reports, false, false},
};

/* ---- runs
 * ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    enum sim_fault fault;
    uint64_t span;
    bool state; /* of the state store */
} faults[] = {
    {"cut", SIM_POWER_CUT, 1, false},      {"cut, fail 3", SIM_CUT_AND_FAIL, 4, false},
    {"fail", SIM_FAIL, 1, false},          {"fail 5", SIM_FAIL, 5, false},
    {"state cut", SIM_POWER_CUT, 1, true}, {"state cut, fail 3", SIM_CUT_AND_FAIL, 4, true},
    {"state fail", SIM_FAIL, 1, true},     {"state fail 5", SIM_FAIL, 5, true},
};

struct run {
    const struct scenario *scenario;
    size_t fault; /* SIZE_MAX: none */
    uint64_t n;
    bool verbose;
    uint64_t operations, state_operations, duplicates; /* out, of this process */
};

static void order_fault(struct sim *sim, const struct run *run)
{
    sim_fault_at(sim, SIM_NO_FAULT, 0, 0);
    sim_state_fault_at(sim, SIM_NO_FAULT, 0, 0);
    if (run->fault == SIZE_MAX) {
        return;
    }
    if (faults[run->fault].state) {
        sim_state_fault_at(sim, faults[run->fault].fault, run->n, PN_SECONDS(2));
    } else {
        sim_fault_at(sim, faults[run->fault].fault, run->n, PN_SECONDS(2));
    }
    sim_fault_span(sim, faults[run->fault].span);
}

static void run_one(struct run *run)
{
    struct sim_options options = {
        .encrypt = run->scenario->encrypt, .verbose = run->verbose, .no_checks = true};
    struct sim *sim = sim_new(1000 + run->n, &options);

    sim_host(sim, HOST, "192.0.2.1");
    sim_host(sim, "mx2.example.org", "192.0.2.2");
    sim_domain(sim, "example.net", "target = {\"" HOST "\"}");
    sim_domain(sim, "example.org", "target = {\"mx2.example.org\"}");
    order_fault(sim, run);
    run->scenario->run(sim);
    run->operations = sim_store_operations(sim);
    run->state_operations = sim_state_operations(sim);
    sim_fault_at(sim, SIM_NO_FAULT, 0, 0);
    sim_state_fault_at(sim, SIM_NO_FAULT, 0, 0);
    sim_run(sim, PN_MINUTES(11)); /* a start that has failed is tried again */
    sim_start_if_off(sim);
    sim_server(sim, HOST)->on_verb = NULL;
    sim_reach(sim, HOST, SIM_UP);
    sim_verb(sim, SPOOL_RELEASE, "");
    sim_settle(sim, PN_HOURS(2), true);
    run->duplicates = sim_duplicates(sim);
    sim_free(&sim);
}

static void run_nth(void *owner, uint64_t n)
{
    struct run *run = owner;

    run->n = n + 1;
    run_one(run);
}

static void on_failed(void *owner, uint64_t n)
{
    const struct run *run = owner;

    print_error("FAILED: crash -v \"%s\" \"%s\" %llu\n", run->scenario->name,
                faults[run->fault].name, (unsigned long long)n + 1);
}

static void test_scenario(void **state)
{
    struct run run = {.scenario = *state, .fault = SIZE_MAX};
    uint64_t operations, state_operations;
    uint64_t failed = 0;

    run_one(&run);
    operations = run.operations;
    state_operations = run.state_operations;
    assert_true(operations > 5);
    assert_int_equal(run.duplicates > 0, run.scenario->run == run_pass);
    for (size_t fault = 0; fault < sizeof faults / sizeof *faults; fault++) {
        uint64_t most = faults[fault].state ? state_operations : operations;

        if (!faults[fault].state || run.scenario->state) {
            run.fault = fault;
            failed += sim_isolated(most + 3, run_nth, on_failed, &run);
        }
    }
    print_message("%s: %llu operations, %llu of the state store\n", run.scenario->name,
                  (unsigned long long)operations, (unsigned long long)state_operations);
    assert_int_equal(failed, 0);
}

static int run_named(const char *scenario, const char *fault, const char *n)
{
    struct run run = {.verbose = true, .n = strtoull(n, NULL, 10)};

    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, scenario) == 0) {
            run.scenario = &scenarios[i];
        }
    }
    for (run.fault = 0; run.fault < sizeof faults / sizeof *faults; run.fault++) {
        if (strcmp(faults[run.fault].name, fault) == 0 && run.scenario) {
            run_one(&run);
            return 0;
        }
    }
    return 2;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[sizeof scenarios / sizeof *scenarios];

    if (argc == 5) {
        return run_named(argv[2], argv[3], argv[4]);
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        tests[i] = (struct CMUnitTest){.name = scenarios[i].name,
                                       .test_func = test_scenario,
                                       .initial_state = (void *)(uintptr_t)&scenarios[i]};
    }
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
