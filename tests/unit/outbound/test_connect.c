/*
 * test_connect.c - finding a host that is of use: addresses, races, greetings, TLS.
 */
#include "helper_owner.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- finding a host ---- */

static void test_next_address_and_host(void **state)
{
    struct fixture *f = *state;
    struct world_peer *third;

    world_name(&f->world, (struct world_name){
                              .name = "a.example.org", .v6 = "2001:db8::1", .v4 = "192.0.2.1"});
    world_name(&f->world, (struct world_name){.name = "b.example.org", .v4 = "192.0.2.2"});
    world_peer(&f->world,
               (struct world_peer){.endpoint = "192.0.2.1:25", .greeting = "554 go away\r\n"});
    third = owner_add_peer(f, "192.0.2.2:26", owner_friendly);
    owner_begin(f, "target = {\"a.example.org:25\", \"b.example.org:26\"}");
    world_run(&f->world, 0);
    owner_expect(f, "READY b.example.org[192.0.2.2]:26\n");
    assert_int_equal(third->connections, 1);
    assert_int_equal(world_find_peer(&f->world, "192.0.2.1:25")->connections, 1);
}

static void test_all_fail(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world,
               (struct world_name){.name = "a.example.org", .status = RESOLVER_TEMPFAIL});
    world_name(&f->world,
               (struct world_name){.name = "b.example.org", .status = RESOLVER_NODATA});
    world_name(&f->world,
               (struct world_name){.name = "d.example.org", .v4 = "0.0.0.0", .v6 = "::"});
    world_peer(&f->world, (struct world_peer){.endpoint = "192.0.2.9:25",
                                              .greeting = "450 4.3.2 starting\r\n"});
    owner_begin(f, "target = {\"a.example.org\", \"b.example.org\", \"c.example.org\", "
                   "\"d.example.org\", \"192.0.2.8\", \"192.0.2.9\"}");
    world_run(&f->world, 0);
    owner_expect(
        f, "FAILED a.example.org: the lookup of its addresses failed: the server said so; "
           "b.example.org: the name has no address; "
           "c.example.org: there is no such name in the DNS; "
           "d.example.org: has no address that can be connected to; "
           "192.0.2.8:25: connection refused; "
           "192.0.2.9:25: 450 4.3.2 starting as its greeting\n");
}

#define MX_TARGET "target = mx\nmta_sts = no\n"

static void test_mx_hosts(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){
                              .name = "example.org",
                              .mx = "30 mx2.example.net 20 b.example.net 10 a.example.net"});
    world_name(&f->world, (struct world_name){.name = "a.example.net", .v4 = "192.0.2.1"});
    world_name(&f->world, (struct world_name){.name = "b.example.net", .v4 = "192.0.2.2"});
    owner_add_peer(f, "192.0.2.2:25", owner_friendly);
    owner_begin(f, MX_TARGET);
    world_run(&f->world, 0);
    owner_expect(f, "READY b.example.net[192.0.2.2]:25\n");
}

static void test_mx_lookup_fails(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world,
               (struct world_name){.name = "example.org", .status = RESOLVER_TEMPFAIL});
    owner_add_peer(f, "192.0.2.77:2525", owner_friendly);
    owner_begin(f, MX_TARGET "fallback = {\"192.0.2.78\", \"192.0.2.77:2525\"}");
    world_run(&f->world, 0);
    owner_expect(f, "READY 192.0.2.77:2525\n");
    out_session_quit(f->session);
    world_run(&f->world, 0);
    owner_expect(f,
                 "CLEAN example.org: the lookup of its MX records failed: the server said so; "
                 "192.0.2.78:25: connection refused; 192.0.2.77:2525: all done\n");
}

static void test_we_are_the_best_mx(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){.name = "example.org", .mx = "5 a.example.net"});
    world_name(&f->world, (struct world_name){.name = "a.example.net", .v4 = "127.0.0.1"});
    owner_begin(f, MX_TARGET);
    world_run(&f->world, 0);
    owner_expect(f, "FAILED a.example.net: has no address that can be connected to\n");
}

/* A relay domain's null MX is a failed destination; in the world it is a verdict. */
static void test_null_mx(void **state)
{
    struct fixture *f = *state;
    const char *why = "example.org: it has a null MX record: it takes no mail";
    char expected[256];

    world_name(&f->world, (struct world_name){.name = "example.org", .mx = "0 ."});
    owner_begin(f, MX_TARGET);
    world_run(&f->world, 0);
    snprintf(expected, sizeof expected, "FAILED %s\n", why);
    owner_expect(f, expected);
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    f->domain = conf_outbound_domain(f->conf, PN_STR("example.org"));
    owner_begin_domain(f, (struct out_options){0});
    world_run(&f->world, 0);
    snprintf(expected, sizeof expected, "REFUSED %s (RFC 7505)\nVERDICT 556 %s (RFC 7505)\n",
             why, why);
    owner_expect(f, expected);
}

/* TLSA records make TLS a must; the peer here does not offer it. */
static void test_dane_is_a_must(void **state)
{
    struct fixture *f = *state;

    world_name(
        &f->world,
        (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1", .validated = true});
    world_name(&f->world, (struct world_name){.name = "_25._tcp.mail.example.org",
                                              .tlsa = "3 1 1",
                                              .validated = true});
    owner_add_peer(f, "192.0.2.1:25", owner_friendly);
    owner_begin(f, TARGET1 "\ntls = dane");
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": it does not offer STARTTLS, and TLS is needed (TLSA "
                    "records at _25._tcp.mail.example.org)\n");
}

/* EHLO says the name of the address that we come from. */
static void test_source_address(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_peer(f, "192.0.2.1:25", owner_friendly);

    world_name(&f->world, (struct world_name){.name = "mail.example.org",
                                              .v6 = "2001:db8::1",
                                              .v4 = "192.0.2.1"});
    owner_begin(f, TARGET1 "\nsource_address = \"192.0.2.50 out.example.net\"");
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
    owner_expect_got(peer, "EHLO out.example.net\n");
}

static void test_one_family_is_enough(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){.name = "mail.example.org",
                                              .v4 = "192.0.2.1",
                                              .status = RESOLVER_TEMPFAIL});
    owner_add_peer(f, "192.0.2.1:25", owner_friendly);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
}

static void test_race(void **state)
{
    struct fixture *f = *state;
    struct world_peer *slow;
    struct world_peer *quick;

    world_name(&f->world, (struct world_name){.name = "mail.example.org",
                                              .v6 = "2001:db8::1",
                                              .v4 = "192.0.2.1 192.0.2.2"});
    slow = world_peer(&f->world,
                      (struct world_peer){.endpoint = "[2001:db8::1]:25", .how = PEER_IGNORES});
    quick = owner_add_peer(f, "192.0.2.1:25", owner_friendly);
    quick->connect_ms = 100;
    owner_begin(f, TARGET1);
    world_run(&f->world, 249);
    assert_int_equal(slow->connections, 1);
    assert_int_equal(quick->connections, 0);
    world_run(&f->world, 1);
    assert_int_equal(quick->connections, 1);
    owner_expect(f, "");
    world_run(&f->world, 100);
    owner_expect(f, "READY " PEER1 "\n");
    world_run(&f->world, PN_MINUTES(1)); /* the slow one is forgotten */
    owner_expect(f, "");
}

/* Who lost the race is asked again when the winner turns out to be of no use. */
static void test_loser_of_race_has_another_chance(void **state)
{
    struct fixture *f = *state;
    struct world_peer *slow;
    struct world_peer *quick;

    world_name(&f->world, (struct world_name){.name = "mail.example.org",
                                              .v6 = "2001:db8::1",
                                              .v4 = "192.0.2.1"});
    slow = owner_add_peer(f, "[2001:db8::1]:25", owner_friendly);
    slow->connect_ms = 1000;
    quick = owner_add_peer(f, "192.0.2.1:25", owner_friendly);
    quick->greeting = "";
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_SECONDS(5));
    owner_expect(f, "READY mail.example.org[2001:db8::1]:25\n");
    assert_int_equal(slow->connections, 2);
}

static void test_connect_timeout(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1"});
    world_peer(&f->world, (struct world_peer){.endpoint = "192.0.2.1:25", .how = PEER_IGNORES});
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_SECONDS(30) - 1);
    owner_expect(f, "");
    world_run(&f->world, 1);
    owner_expect(f, "FAILED " PEER1 ": the connection was not made in time\n");
}

static void test_no_greeting(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly)->greeting = NULL;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(5) - 1);
    owner_expect(f, "");
    world_run(&f->world, 1);
    owner_expect(f, "FAILED " PEER1 ": no greeting within 5m\n");
}

/* A greeting octet by octet does not move the deadline. */
static void test_slow_greeting(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    peer->greeting = NULL;
    owner_begin(f, TARGET1);
    for (int i = 0; i < 5; i++) {
        world_run(&f->world, PN_SECONDS(59));
        world_say(&f->world, peer, "220-wait\r\n", RULE_STAY);
    }
    world_run(&f->world, PN_SECONDS(5));
    owner_expect(f, "FAILED " PEER1 ": no greeting within 5m\n");
}

static void test_ourselves(void **state)
{
    struct fixture *f = *state;

    assert_true(pn_endpoint_parse(PN_STR("192.0.2.1:25"), &f->own));
    f->deps.own = &f->own;
    f->deps.own_count = 1;
    owner_begin(f, "target = {\"192.0.2.1\"}");
    owner_expect(f, ""); /* never inside the owner's call */
    world_run(&f->world, 0);
    owner_expect(f, "LOOP 192.0.2.1:25: this is ourselves\n");
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    owner_add_peer(f, "192.0.2.2:25", owner_friendly);
    owner_begin(f, "target = {\"192.0.2.1\", \"192.0.2.2\"}");
    world_run(&f->world, 0);
    owner_expect(f, "READY 192.0.2.2:25\n");
}

static void test_greets_with_our_name(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly)->greeting = "220 MX2.example.net ESMTP\r\n";
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "LOOP " PEER1 ": it greets with our own name: a loop\n");
}

static void test_busy_greeting(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly)->greeting = "421 4.3.2 too many\r\n";
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "BUSY " PEER1 ": 421 4.3.2 too many as its greeting\n");
}

static void test_ehlo_refused(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "421 4.3.2 not now\r\n", .then = RULE_CLOSE}, {0}};
    struct fixture *f = *state;

    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "BUSY " PEER1 ": 421 4.3.2 not now in reply to EHLO\n");
}

/* ---- TLS ---- */

static void test_tls(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_with_tls);

    owner_begin(f, TARGET1 "\ntls = encrypt");
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
    assert_string_equal(out_session_tls(f->session)->server_name, "mail.example.org");
    owner_expect_got(peer, "EHLO mx2.example.net\nSTARTTLS\n+EHLO mx2.example.net\n");
}

static void check_fallback(struct fixture *f, enum world_tls tls, int64_t wait_ms)
{
    struct world_peer *peer = owner_add_one(f, owner_with_tls);

    peer->tls = tls;
    owner_begin(f, TARGET1);
    world_run(&f->world, wait_ms);
    owner_expect(f, "READY " PEER1 "\n");
    assert_null(out_session_tls(f->session));
    assert_int_equal(peer->connections, 2);
}

static void test_tls_may_falls_back(void **state)
{
    check_fallback(*state, PEER_TLS_FAILS, 0);
}

static void test_tls_may_falls_back_late(void **state)
{
    check_fallback(*state, PEER_TLS_FAILS_LATE, 0);
}

static void test_tls_may_falls_back_in_time(void **state)
{
    check_fallback(*state, PEER_TLS_HANGS, PN_SECONDS(30));
}

static void test_tls_none(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_with_tls);

    owner_begin(f, TARGET1 "\ntls = none");
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
    owner_expect_got(peer, "EHLO mx2.example.net\n");
}

static void test_tls_encrypt_fails(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_with_tls);

    peer->tls = PEER_TLS_FAILS;
    owner_begin(f, TARGET1 "\ntls = encrypt");
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": TLS handshake: no shared cipher, and TLS is needed "
                    "(example.org has tls = encrypt)\n");
    assert_int_equal(peer->connections, 1);
}

static void test_tls_encrypt_not_offered(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly);
    owner_begin(f, TARGET1 "\ntls = encrypt");
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": it does not offer STARTTLS, and TLS is needed "
                    "(example.org has tls = encrypt)\n");
}

static void test_starttls_refused(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 STARTTLS\r\n"},
        {.verb = "STARTTLS", .reply = "454 4.7.0 no key\r\n"},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
    assert_int_equal(peer->connections, 1);
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    owner_begin(f, TARGET1 "\ntls = encrypt");
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": 454 4.7.0 no key in reply to STARTTLS\n");
}

/* An attacker's octets behind the 220: nothing is tried any more, in clear least of all. */
static void test_injection(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 STARTTLS\r\n"},
        {.verb = "STARTTLS", .reply = "220 go\r\n250 injected\r\n"},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    owner_begin(f, TARGET1);
    world_run(&f->world, PN_HOURS(1));
    owner_expect(f, "FAILED " PEER1
                    ": plaintext was injected between STARTTLS and TLS: an attack\n");
    assert_int_equal(peer->connections, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_next_address_and_host),
        TEST(test_all_fail),
        TEST(test_mx_hosts),
        TEST(test_mx_lookup_fails),
        TEST(test_we_are_the_best_mx),
        TEST(test_null_mx),
        TEST(test_dane_is_a_must),
        TEST(test_source_address),
        TEST(test_one_family_is_enough),
        TEST(test_race),
        TEST(test_loser_of_race_has_another_chance),
        TEST(test_connect_timeout),
        TEST(test_no_greeting),
        TEST(test_slow_greeting),
        TEST(test_ourselves),
        TEST(test_greets_with_our_name),
        TEST(test_busy_greeting),
        TEST(test_ehlo_refused),
        TEST(test_tls),
        TEST(test_tls_may_falls_back),
        TEST(test_tls_may_falls_back_late),
        TEST(test_tls_may_falls_back_in_time),
        TEST(test_tls_none),
        TEST(test_tls_encrypt_fails),
        TEST(test_tls_encrypt_not_offered),
        TEST(test_starttls_refused),
        TEST(test_injection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
