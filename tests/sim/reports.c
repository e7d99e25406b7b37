/*
 * reports.c - senders are told, once, and only those who may be.
 *
 * sim_report.c checks each report that a server gets: from nobody, to the sender, about one
 * of the mails and never about another report.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define HOST   "mx1.example.net"
#define SENDER "mx1.here.example"
#define OWN_IP "198.51.100.7"

static const char *refuse(void *owner, struct sim_server *server, enum sim_verb verb,
                          struct pn_str arg)
{
    (void)owner;
    (void)server;
    return verb == SIM_RCPT && pn_str_starts(arg, PN_STR("no")) ? "550 5.1.1 Nobody here"
                                                                : NULL;
}

static struct sim *open_world(uint64_t seed, const char *bounce)
{
    struct sim_options options = {.conf = "authorised_networks = {\"" OWN_IP "/32\"}\n"};
    struct sim *sim = sim_new(seed, &options);
    char text[200];

    (void)snprintf(text, sizeof text, "target = {\"" HOST "\"}\nhold = \"1h\"\nbounce = %s",
                   bounce);
    sim_host(sim, HOST, "192.0.2.1");
    sim_host(sim, SENDER, "192.0.2.2");
    sim_domain(sim, "example.net", text);
    sim_domain(sim, "here.example", "target = {\"" SENDER "\"}\nbounce = always");
    sim_server(sim, HOST)->on_verb = refuse;
    sim_submit(sim, "a@here.example", "first@example.net");
    sim_run(sim, PN_SECONDS(10));
    (void)sim_refuse(sim, "example.net"); /* on parole it is not believed */
    return sim;
}

static void test_who_is_told(void **state)
{
    static const struct {
        const char *name, *bounce, *sender, *ip;
        uint64_t reports, parked;
    } rows[] = {
        {"always", "always", "a@here.example", NULL, 1, 0},
        {"never", "never", "a@here.example", NULL, 0, 1},
        {"never, but one of ours", "never", "a@here.example", OWN_IP, 1, 0},
        {"always, and nobody has sent it", "always", "", NULL, 0, 1},
        {"one of ours, and nobody has sent it", "never", "", OWN_IP, 0, 1},
        {"a sender whose domain refuses the report", "always", "no@here.example", NULL, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim *sim = open_world(40 + i, rows[i].bounce);
        struct sim_client_options options = {.ip = rows[i].ip};
        size_t number = sim_mail_new(sim, rows[i].sender, "b@example.net no@example.net", 3000);

        print_message("%s\n", rows[i].name);
        sim_server(sim, SENDER)->on_verb = refuse;
        sim_send(sim, number, 1, &options);
        sim_settle(sim, PN_MINUTES(10), true);
        assert_int_equal(sim_mail(sim, number)->state, SIM_TAKEN);
        assert_int_equal(sim_reports(sim), rows[i].reports);
        assert_int_equal(sim_parked(sim, "example.net"), rows[i].parked);
        assert_int_equal(sim_mail(sim, number)->recipients[1].reported, rows[i].parked == 0);
        assert_false(sim_mail(sim, number)->recipients[0].reported);
        /* A report that is refused is kept for the operator; nobody is told of that. */
        assert_int_equal(sim_parked(sim, "here.example"),
                         rows[i].reports + rows[i].parked == 0);
        sim_free(&sim);
    }
}

/* Mail that has waited too long, and reports that wait for their own target meanwhile. */
static void test_expiry(void **state)
{
    struct sim *sim = open_world(50, "always");
    size_t first;

    (void)state;
    sim_reach(sim, HOST, SIM_REFUSED);
    sim_reach(sim, SENDER, SIM_REFUSED);
    first = sim_mail_new(sim, "a@here.example", "b@example.net c@example.net", 300);
    sim_mail_new(sim, "", "d@example.net", 300);
    sim_send(sim, first, 2, NULL);
    sim_run(sim, PN_HOURS(2));
    sim_look(sim);
    assert_true(sim_mail(sim, first)->recipients[0].reported);
    assert_true(sim_mail(sim, first)->recipients[1].reported);
    assert_true(sim_mail(sim, first + 1)->recipients[0].parked);
    assert_int_equal(sim_reports(sim), 0);
    assert_int_equal(sim_waiting(sim), 1);
    sim_crash(sim, PN_SECONDS(1));
    sim_reach(sim, SENDER, SIM_UP);
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_reports(sim), 1); /* one for both */
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_told),
        cmocka_unit_test(test_expiry),
    };

    return cmocka_run_group_tests_name("reports", tests, NULL, NULL);
}
