/* Clients that somebody else tells of: XCLIENT of front ends, PROXY of load balancers. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FRONT    "192.0.2.80"
#define BALANCER "192.0.2.90"
#define CLIENT   "198.51.100.7"
#define MESSAGE                                                                                \
    "MAIL FROM:<s@sender.test>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nSubject: "                \
    "x\r\n\r\nhello\r\n.\r\n"
#define MESSAGE_S "250 2.1.0; 250 2.1.5; 354; 250 2.0.0"
#define HEADER                                                                                 \
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\xd4\x31\x00\x19"
#define LOCAL "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"

#define CONF                                                                                   \
    "xclient_hosts = {\"" FRONT "\"}\n"                                                        \
    "listener \"lb\" { address = {\"127.0.0.1:26\"}\n proxy_protocol = yes\n"                  \
    " proxy_hosts = {\"" BALANCER "\"} }\n"

/* ---- XCLIENT ---------------------------------------------------------------------------- */

struct xclient_row {
    const char *name;
    const char *from;
    const char *send;
    const char *want;
    const char *received; /* in the trace header of the mail that follows, or NULL */
    const char *logged;
};

static const struct xclient_row xclient_rows[] = {
    {"a front end", FRONT,
     "EHLO f\r\nXCLIENT ADDR=198.51.100.7 NAME=c.test HELO=helo.test LOGIN=joe\r\nEHLO "
     "f\r\n" MESSAGE,
     "220; 250; 220; 250; " MESSAGE_S, "from helo.test (c.test [198.51.100.7])",
     "message.stored peer=198.51.100.7 via=192.0.2.80 "},
    {"IPv6", FRONT, "XCLIENT ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]\r\nEHLO c\r\n" MESSAGE,
     "220; 220; 250; " MESSAGE_S, "from c (unknown [IPv6:2001:db8::1])", "peer=2001:db8::1 "},
    {"an address that nobody knows", FRONT,
     "XCLIENT ADDR=[UNAVAILABLE] NAME=c.test\r\nEHLO c\r\n" MESSAGE,
     "220; 220; 250; " MESSAGE_S, "from c (c.test)", "peer=none "},
    {"PROTO=SMTP", FRONT, "XCLIENT PROTO=SMTP\r\nEHLO c\r\n" MESSAGE,
     "220; 220; 250; " MESSAGE_S, "with SMTP ", "peer=192.0.2.80 via=192.0.2.80"},
    {"EHLO is said again", FRONT, "EHLO f\r\nXCLIENT ADDR=198.51.100.7\r\n" MESSAGE,
     "220; 250; 220; 503 5.5.1; 503 5.5.1; 503 5.5.1; 500 5.5.2; 500 5.5.2; 500 5.5.2; 500 "
     "5.5.2",
     NULL, ""},
    {"the client is not a front end", FRONT,
     "XCLIENT ADDR=198.51.100.7\r\nEHLO c\r\nXCLIENT ADDR=198.51.100.8\r\n",
     "220; 220; 250; 550 5.7.0", NULL, "smtp.protocol-error peer=198.51.100.7 "},
    {"one front end behind another", FRONT,
     "XCLIENT NAME=b.test ADDR=192.0.2.80\r\nXCLIENT ADDR=198.51.100.8\r\nEHLO c\r\n" MESSAGE,
     "220; 220; 220; 250; " MESSAGE_S, "[198.51.100.8]", ""},
    {"a stranger", CLIENT, "EHLO c\r\nXCLIENT ADDR=127.0.0.1\r\n", "220; 250; 550 5.7.0", NULL,
     "smtp.protocol-error peer=198.51.100.7 "},
    {"in a transaction", FRONT, "EHLO c\r\nMAIL FROM:<>\r\nXCLIENT ADDR=198.51.100.7\r\n",
     "220; 250; 250 2.1.0; 503 5.5.1", NULL, ""},
    {"nonsense", FRONT, "EHLO c\r\nXCLIENT ADDR=me\r\nXCLIENT\r\nXCLIENT LOGIN=+0A\r\n",
     "220; 250; 501 5.5.4; 501 5.5.4; 501 5.5.4", NULL, "smtp.protocol-error"},
};

static void test_xclient(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(xclient_rows); i++) {
        const struct xclient_row *row = &xclient_rows[i];
        struct world *world = world_new(CONF);
        struct client *client = world_connect(world, row->from);

        print_message("%s\n", row->name);
        assert_string_equal(client_say(client, row->send), row->want);
        assert_true(world_logged(world, row->logged));
        if (row->received) {
            assert_int_equal(world->job_count, 1);
            assert_non_null(strstr(world_received(world, 0), row->received));
        }
        world_free(&world);
    }
}

static void test_xclient_counts_the_told_network(void **state)
{
    struct world *world = world_new(CONF "sessions_per_network = 2\n");
    struct client *first = world_connect(world, FRONT);
    struct client *second = world_connect(world, FRONT);
    struct client *third;

    (void)state;
    assert_string_equal(client_say(first, "XCLIENT ADDR=198.51.100.7\r\n"), "220; 220");
    assert_string_equal(client_say(second, "XCLIENT ADDR=198.51.100.8\r\n"), "220; 220");
    third = world_connect(world, FRONT); /* whose own network is free again */
    assert_string_equal(client_say(third, "XCLIENT ADDR=198.51.100.9\r\n"),
                        "220; 421 4.3.2; closed");
    assert_true(
        world_logged(world, "smtp.refused-connect peer=192.0.2.80 client=198.51.100.9"));
    assert_int_equal(policy_sessions(world->limits), 2);
    assert_string_equal(client_say(second, "QUIT\r\n"), "221 2.0.0; closed");
    third = world_connect(world, FRONT);
    assert_string_equal(client_say(third, "XCLIENT ADDR=198.51.100.9\r\n"), "220; 220");
    world_free(&world);
}

static void test_an_unknown_address_has_no_rights(void **state)
{
    struct world *world = world_new("xclient_hosts = {\"" FRONT "\"}\n"
                                    "etrn_clients = {\"0.0.0.0/0\", \"::/0\"}\n");
    struct client *client = world_connect(world, FRONT);

    (void)state;
    assert_string_equal(client_say(client, "EHLO c\r\nETRN example.org\r\n"),
                        "220; 250; 250 2.0.0");
    assert_string_equal(
        client_say(client, "XCLIENT ADDR=[UNAVAILABLE]\r\nEHLO c\r\nETRN example.org\r\n"),
        "220; 250; 459 4.7.1");
    world_free(&world);
}

static void test_the_told_name_is_not_asked_for(void **state)
{
    struct world *world = world_new(CONF);
    struct client *client = world_connect(world, FRONT);

    (void)state;
    assert_string_equal(world->asked_name, FRONT);
    client_say(client, "XCLIENT ADDR=198.51.100.7 NAME=c.test\r\n");
    assert_null(world->asked);
    client = world_connect(world, FRONT);
    client_say(client, "XCLIENT ADDR=198.51.100.7\r\n");
    assert_string_equal(world->asked_name, CLIENT);
    world_free(&world);
}

/* ---- PROXY ------------------------------------------------------------------------------ */

static void test_proxy(void **state)
{
    struct world *world = world_new(CONF);
    struct client *client = world_connect_at(world, BALANCER, 1);

    (void)state;
    assert_string_equal(client_replies(client), "");
    assert_string_equal(client_say_str(client, PN_STR(HEADER "EHLO c.test\r\n" MESSAGE)),
                        "220; 250; " MESSAGE_S);
    assert_non_null(strstr(world_received(world, 0), "[198.51.100.7]"));
    assert_true(world_logged(world, "message.stored peer=198.51.100.7 via=192.0.2.90 "));
    assert_int_equal(policy_sessions(world->limits), 1);
    world_free(&world);
}

static void test_proxy_at_every_split(void **state)
{
    struct pn_str header = PN_STR(HEADER);

    (void)state;
    for (size_t cut = 1; cut < header.len; cut++) {
        struct world *world = world_new(CONF);
        struct client *client = world_connect_at(world, BALANCER, 1);

        assert_string_equal(client_say_str(client, pn_str_sub(header, 0, cut)), "");
        assert_string_equal(client_say_str(client, pn_str_sub(header, cut, SIZE_MAX)), "220");
        assert_string_equal(client_say(client, "QUIT\r\n"), "221 2.0.0; closed");
        assert_true(world_logged(world, "smtp.disconnect peer=198.51.100.7 via=192.0.2.90 "));
        world_free(&world);
    }
}

struct proxy_row {
    const char *name;
    const char *from;
    struct pn_str send;
    const char *want;
    const char *logged;
};

static const struct proxy_row proxy_rows[] = {
    {"LOCAL keeps the address", BALANCER, PN_STR(LOCAL "QUIT\r\n"), "220; 221 2.0.0; closed",
     "smtp.disconnect peer=192.0.2.90 end=quit"},
    {"no header", BALANCER, PN_STR("EHLO c\r\n"), "aborted",
     "smtp.refused-connect peer=192.0.2.90 why=\"it does not begin with"},
    {"the text form", BALANCER, PN_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), "aborted",
     "smtp.refused-connect peer=192.0.2.90 why=\"it does not begin with"},
    {"not a balancer", CLIENT, PN_STR(HEADER), "aborted",
     "smtp.refused-connect peer=198.51.100.7 why=\"it is none of"},
};

static void test_proxy_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(proxy_rows); i++) {
        const struct proxy_row *row = &proxy_rows[i];
        struct world *world = world_new(CONF);
        struct client *client = world_connect_at(world, row->from, 1);

        print_message("%s\n", row->name);
        assert_string_equal(client_say_str(client, row->send), row->want);
        assert_true(world_logged(world, row->logged));
        assert_int_equal(policy_sessions(world->limits), 0);
        world_free(&world);
    }
}

static void test_proxy_header_on_another_listener(void **state)
{
    struct world *world = world_new(CONF);
    struct client *client = world_connect(world, BALANCER);

    (void)state;
    client_say_str(client, PN_STR(HEADER "\r\n"));
    assert_false(world_logged(world, "198.51.100.7"));
    world_free(&world);
}

static void test_proxy_time_out(void **state)
{
    struct world *world = world_new(CONF "command_timeout = 60s\n");
    struct client *client = world_connect_at(world, BALANCER, 1);

    (void)state;
    world_pass(world, PN_SECONDS(50));
    client_say_str(client, PN_STR("\r\n\r\n")); /* a trickle wins no time */
    world_pass(world, PN_SECONDS(9));
    assert_false(client->closed);
    world_pass(world, PN_SECONDS(2));
    assert_true(client->closed);
    assert_string_equal(client_replies(client), "aborted");
    assert_true(world_logged(world, "no PROXY protocol header came in time"));
    world_free(&world);
}

static void test_proxy_half_closed(void **state)
{
    struct world *world = world_new(CONF);
    struct client *client = world_connect_at(world, BALANCER, 1);

    (void)state;
    client_end(client);
    world_run(world);
    assert_true(client->closed);
    assert_int_equal(policy_sessions(world->limits), 0);
    client = world_connect_at(world, BALANCER, 1);
    client_fail(client);
    world_run(world);
    assert_true(client->closed);
    world_free(&world);
}

static void test_proxy_limits(void **state)
{
    struct world *world = world_new(CONF "sessions_per_network = 2\nsessions_max = 10\n");
    struct client *clients[10];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(clients);
         i++) { /* a balancer's own network does not count */
        clients[i] = world_connect_at(world, BALANCER, 1);
        assert_false(clients[i]->closed);
    }
    assert_true(world_connect_at(world, BALANCER, 1)->closed);
    assert_string_equal(client_say_str(clients[0], PN_STR(HEADER)), "220");
    assert_string_equal(client_say_str(clients[1], PN_STR(HEADER)), "220");
    assert_string_equal(client_say_str(clients[2], PN_STR(HEADER)), "421 4.3.2; closed");
    assert_int_equal(policy_sessions(world->limits), 9);
    world_free(&world);
}

static void test_proxy_and_stop(void **state)
{
    struct world *world = world_new(CONF);
    struct client *client = world_connect_at(world, BALANCER, 1);

    (void)state;
    world_stop(world);
    assert_true(client->closed);
    world_run(world);
    assert_true(world->stopped);
    assert_true(world_connect_at(world, BALANCER, 1)->closed);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xclient),
        cmocka_unit_test(test_xclient_counts_the_told_network),
        cmocka_unit_test(test_an_unknown_address_has_no_rights),
        cmocka_unit_test(test_the_told_name_is_not_asked_for),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_proxy_at_every_split),
        cmocka_unit_test(test_proxy_rows),
        cmocka_unit_test(test_proxy_header_on_another_listener),
        cmocka_unit_test(test_proxy_time_out),
        cmocka_unit_test(test_proxy_half_closed),
        cmocka_unit_test(test_proxy_limits),
        cmocka_unit_test(test_proxy_and_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
