/*
 * test_plan.c - which hosts are tried, in which order, and with which TLS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_route.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define MX1   "mx1.example.net A 192.0.2.1; "
#define MX2   "mx2nd.example.net A 192.0.2.2; "
#define TWO   "example.org MX 20 mx2nd.example.net, 10 mx1.example.net; " MX1 MX2
#define NOTE2 "NOTE MX hosts of example.org: mx1.example.net (10), mx2nd.example.net (20)\n"
#define NOSTS "NOTE example.org has no MTA-STS policy: no record\n"
#define TRY1  "TRY mx1.example.net:25 192.0.2.1 may\n"
#define TRY2  "TRY mx2nd.example.net:25 192.0.2.2 may\n"
#define END   "END\nEND\n"

struct row {
    const char *name;
    const char *domain; /* its file; NULL: out:example.org */
    const char *dns;
    const char *steps;
};

/* Our own: port 25 of all addresses, of which we have 192.0.2.99. */
static void check(const struct row *row, const char *more)
{
    struct conf *conf = helper_conf(more);
    struct conf_domain *domain = row->domain
                                     ? helper_domain("example.org", row->domain, conf)
                                     : conf_outbound_domain(conf, PN_STR("example.org"));
    struct pn_endpoint own;
    struct pn_ip own_ip;
    struct route_plan_input input = {.conf = conf,
                                     .domain = domain,
                                     .own = &own,
                                     .own_count = 1,
                                     .own_ips = &own_ip,
                                     .own_ip_count = 1,
                                     .policies = true};
    char *steps;

    assert_true(pn_endpoint_parse(PN_STR("0.0.0.0:25"), &own));
    assert_true(pn_ip_parse(PN_STR("192.0.2.99"), &own_ip));
    steps = helper_run(&input, row->dns);
    if (strcmp(steps, row->steps) != 0) {
        print_error("row: %s\n", row->name);
    }
    assert_string_equal(steps, row->steps);
    free(steps);
    conf_domain_unref(&domain);
    conf_unref(&conf);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check(&rows[i], "");
    }
}

static const struct row host_rows[] = {
    {"in the order given", "target = {\"b.example.org:26\", \"a.example.org\"}",
     "b.example.org A 192.0.2.2; a.example.org A 192.0.2.1; a.example.org AAAA 2001:db8::1",
     "TRY b.example.org:26 192.0.2.2 may\n"
     "TRY a.example.org:25 2001:db8::1 192.0.2.1 may\n" END},
    {"literals ask nothing", "target = {\"192.0.2.7:2525\", \"[2001:db8::7]\"}", "",
     "TRY 192.0.2.7:2525 192.0.2.7 may\nTRY 2001:db8::7:25 2001:db8::7 may\n" END},
    {"a unix socket", "target = {\"unix:/run/lmtp\"}\nservice = lmtp", "",
     "TRY /run/lmtp:0 may\n" END},
    {"the operator may mean this machine", "target = {\"a.example.org:2525\"}",
     "a.example.org A 127.0.0.1", "TRY a.example.org:2525 127.0.0.1 may\n" END},
    {"fallbacks come last", "target = {\"a.example.org\"}\nfallback = {\"b.example.org:26\"}",
     "a.example.org A fail; b.example.org A 192.0.2.2",
     "PASS a.example.org: the lookup of its addresses failed: it said so\n"
     "TRY b.example.org (fallback):26 192.0.2.2 may\n" END},
    {"no name", "target = {\"a.example.org\"}", "a.example.org A nx",
     "PASS a.example.org: there is no such name in the DNS\n" END},
    {"no address", "target = {\"a.example.org\"}", "",
     "PASS a.example.org: the name has no address\n" END},
    {"one family is enough", "target = {\"a.example.org\"}",
     "a.example.org AAAA fail; a.example.org A 192.0.2.1",
     "TRY a.example.org:25 192.0.2.1 may\n" END},
    {"nobody's address", "target = {\"a.example.org\"}", "a.example.org A 0.0.0.0",
     "PASS a.example.org: has no address that can be connected to\n" END},
    {"IPv4 only", "target = {\"a.example.org\", \"[2001:db8::7]\"}\naddress_family = ipv4",
     "a.example.org A 192.0.2.1; a.example.org AAAA 2001:db8::1",
     "TRY a.example.org:25 192.0.2.1 may\n"
     "PASS 2001:db8::7: has no address that can be connected to\n" END},
    {"IPv6 only", "target = {\"a.example.org\"}\naddress_family = ipv6",
     "a.example.org A 192.0.2.1; a.example.org AAAA 2001:db8::1",
     "TRY a.example.org:25 2001:db8::1 may\n" END},
    {"IPv4 first", "target = {\"a.example.org\"}\naddress_family = prefer-ipv4",
     "a.example.org A 192.0.2.1, 192.0.2.2; a.example.org AAAA 2001:db8::1",
     "TRY a.example.org:25 192.0.2.1 2001:db8::1 192.0.2.2 may\n" END},
    {"a source of one family", "target = {\"a.example.org\"}\nsource_address = \"192.0.2.50\"",
     "a.example.org A 192.0.2.1; a.example.org AAAA 2001:db8::1",
     "TRY a.example.org:25 192.0.2.1 may\n" END},
    {"a source that fits no family",
     "target = {\"a.example.org\"}\nsource_address = \"2001:db8::50\"\naddress_family = ipv4",
     "a.example.org A 192.0.2.1", "PASS a.example.org: the name has no address\n" END},
};

static void test_hosts(void **state)
{
    (void)state;
    check_rows(host_rows, PN_COUNT(host_rows));
}

static const struct row mx_rows[] = {
    {"by preference", "target = mx", TWO, NOTE2 NOSTS TRY1 TRY2 END},
    {"the world", NULL, TWO, NOTE2 NOSTS TRY1 TRY2 END},
    {"no MX: its own address", "target = mx", "example.org A 192.0.2.5",
     "NOTE example.org has no MX record: it is its own MX host\n" NOSTS
     "TRY example.org:25 192.0.2.5 may\n" END},
    {"no MX and no address", NULL, "",
     "NOTE example.org has no MX record: it is its own MX host\n" NOSTS
     "PASS example.org: the name has no address\n" END},
    {"the lookup fails", NULL, "example.org MX fail",
     "PASS example.org: the lookup of its MX records failed: it said so\n" END},
    {"no such name is no refusal", NULL, "example.org MX nx",
     "PASS example.org: there is no such name in the DNS\n" END},
    {"a fallback after a failed lookup", "target = mx\nfallback = \"192.0.2.77\"",
     "example.org MX fail",
     "PASS example.org: the lookup of its MX records failed: it said so\n"
     "TRY 192.0.2.77 (fallback):25 192.0.2.77 may\n" END},
    {"null MX of the world", NULL, "example.org MX 0 .",
     "END REFUSED example.org: it has a null MX record: it takes no mail (RFC 7505)\n"
     "END REFUSED example.org: it has a null MX record: it takes no mail (RFC 7505)\n"},
    {"null MX of a relay domain", "target = mx\nfallback = \"192.0.2.77\"",
     "example.org MX 0 .",
     "PASS example.org: it has a null MX record: it takes no mail\n"
     "TRY 192.0.2.77 (fallback):25 192.0.2.77 may\n" END},
    {"a root among others is nobody", NULL, "example.org MX 0 ., 10 mx1.example.net; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10)\n" NOSTS TRY1 END},
    {"ourselves by name", "target = mx",
     "example.org MX 10 mx1.example.net, 20 mx2.example.net, 20 c.example.net, 30 "
     "d.example.net; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10)\n" NOSTS TRY1 END},
    {"ourselves, listed before an equal", "target = mx",
     "example.org MX 20 c.example.net, 10 mx1.example.net, 20 MX2.example.net; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10)\n" NOSTS TRY1 END},
    {"ourselves by the name of a source",
     "target = mx\nsource_address = \"192.0.2.50 out.example.net\"",
     "example.org MX 10 mx1.example.net, 20 out.example.net; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10)\n" NOSTS TRY1 END},
    {"we are the best", "target = mx", "example.org MX 10 mx2.example.net, 20 c.example.net",
     "PASS LOOP example.org: we are its best MX host ourselves, mail would go in "
     "circles\n" END},
    {"ourselves by an address", "target = mx",
     "example.org MX 10 mx1.example.net, 20 b.example.net, 20 c.example.net, 30 "
     "d.example.net; b.example.net A 192.0.2.3; c.example.net A 192.0.2.99; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10), b.example.net (20), c.example.net "
     "(20), d.example.net (30)\n" NOSTS TRY1
     "PASS LOOP example.org: we are an MX host of preference 20 ourselves; it and the less "
     "preferred ones are not used\n" END},
    {"ourselves by loopback", NULL,
     "example.org MX 10 b.example.net; b.example.net A 127.0.0.1",
     "NOTE MX hosts of example.org: b.example.net (10)\n" NOSTS
     "PASS LOOP example.org: we are an MX host of preference 10 ourselves; it and the less "
     "preferred ones are not used\n" END},
    {"loopback of the other family", NULL,
     "example.org MX 10 b.example.net, 20 mx1.example.net; b.example.net AAAA ::1; " MX1,
     "NOTE MX hosts of example.org: b.example.net (10), mx1.example.net (20)\n" NOSTS
     "PASS b.example.net: has no address that can be connected to\n" TRY1 END},
    {"addresses that nobody has", NULL,
     "example.org MX 10 b.example.net; b.example.net A 0.1.2.3, 224.0.0.1, 255.255.255.255, "
     "192.0.2.4; b.example.net AAAA ff02::1",
     "NOTE MX hosts of example.org: b.example.net (10)\n" NOSTS
     "TRY b.example.net:25 192.0.2.4 may\n" END},
    {"a name twice", NULL, "example.org MX 10 mx1.example.net, 20 mx1.example.net; " MX1,
     "NOTE MX hosts of example.org: mx1.example.net (10)\n" NOSTS TRY1 END},
    {"ten hosts are enough", NULL,
     "example.org MX 1 a.x, 2 b.x, 3 c.x, 4 d.x, 5 e.x, 6 f.x, 7 g.x, 8 h.x, 9 i.x, 10 j.x, "
     "11 k.x",
     "NOTE MX hosts of example.org: a.x (1), b.x (2), c.x (3), d.x (4), e.x (5), f.x (6), "
     "g.x (7), h.x (8), i.x (9), j.x (10)\n" NOSTS "PASS a.x: the name has no address\n"
     "PASS b.x: the name has no address\nPASS c.x: the name has no address\n"
     "PASS d.x: the name has no address\nPASS e.x: the name has no address\n"
     "PASS f.x: the name has no address\nPASS g.x: the name has no address\n"
     "PASS h.x: the name has no address\nPASS i.x: the name has no address\n"
     "PASS j.x: the name has no address\n" END},
    {"eight addresses are enough", NULL,
     "example.org MX 1 a.x; a.x A 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, "
     "192.0.2.6, 192.0.2.7, 192.0.2.8, 192.0.2.9",
     "NOTE MX hosts of example.org: a.x (1)\n" NOSTS
     "TRY a.x:25 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 "
     "192.0.2.8 may\n" END},
};

static void test_mx(void **state)
{
    (void)state;
    check_rows(mx_rows, PN_COUNT(mx_rows));
}

/* Each order of three equals comes, and the better one is always first. */
static void test_equals_are_shuffled(void **state)
{
    const char *dns = "example.org MX 20 a.x, 20 b.x, 20 c.x, 10 mx1.example.net; " MX1
                      "a.x A 192.0.2.11; b.x A 192.0.2.12; c.x A 192.0.2.13";
    struct conf *conf = helper_conf("outbound { mta_sts = no }");
    struct conf_domain *domain = conf_outbound_domain(conf, PN_STR("example.org"));
    struct pn_rand rand;
    struct route_plan_input input = {.conf = conf, .domain = domain, .rand = &rand};
    unsigned seen[3] = {0};

    (void)state;
    pn_rand_init(&rand, 1);
    for (int i = 0; i < 100; i++) {
        char *steps = helper_run(&input, dns);
        const char *second = strstr(steps, TRY1);

        assert_non_null(second);
        second += strlen(TRY1);
        assert_memory_equal(second, "TRY ", 4);
        assert_true(second[4] >= 'a' && second[4] <= 'c');
        seen[second[4] - 'a']++;
        free(steps);
    }
    assert_true(seen[0] > 10 && seen[1] > 10 && seen[2] > 10);
    conf_domain_unref(&domain);
    conf_unref(&conf);
}

#define HOST(tls) "target = {\"a.example.org\"}\n" tls
#define ADDRESS   "a.example.org A! 192.0.2.1; "
#define TLSA      "_25._tcp.a.example.org TLSA! "
#define TRY(tls)  "TRY a.example.org:25 192.0.2.1 " tls "\n" END

static const struct row tls_rows[] = {
    {"none", HOST("tls = none"), ADDRESS, TRY("none")},
    {"encrypt", HOST("tls = encrypt"), ADDRESS, TRY("encrypt")},
    {"verify", HOST("tls = verify"), ADDRESS, TRY("verify =a.example.org")},
    {"verify names", HOST("tls = verify\ntls_names = {b.example, c.example}"), ADDRESS,
     TRY("verify =b.example =c.example")},
    {"fingerprint",
     HOST("tls = fingerprint\ntls_fingerprints = {"
          "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}"),
     ADDRESS, TRY("fingerprint")},
    {"TLSA records mean nothing to others", HOST("tls = encrypt"), ADDRESS TLSA "3 1 1 32",
     TRY("encrypt")},
    {"dane", HOST("tls = dane"), ADDRESS TLSA "3 1 1 32, 2 0 2 64",
     TRY("dane =a.example.org 2 at a.example.org")},
    {"dane without records", HOST("tls = dane"), ADDRESS, TRY("may")},
    {"dane, addresses not validated", HOST("tls = dane"),
     "a.example.org A 192.0.2.1; " TLSA "3 1 1 32", TRY("may")},
    {"dane, records not validated", HOST("tls = dane"),
     ADDRESS "_25._tcp.a.example.org TLSA 3 1 1 32", TRY("may")},
    {"dane, one family not validated", HOST("tls = dane"),
     "a.example.org A! 192.0.2.1; a.example.org AAAA 2001:db8::1; " TLSA "3 1 1 32",
     "TRY a.example.org:25 2001:db8::1 192.0.2.1 may\n" END},
    {"dane, lookup fails", HOST("tls = dane"), ADDRESS TLSA "fail",
     "PASS a.example.org: the lookup of its TLSA records failed: it said so\n" END},
    {"dane, no such name", HOST("tls = dane"), ADDRESS TLSA "nx", TRY("may")},
    {"dane, usages of others", HOST("tls = dane"), ADDRESS TLSA "0 0 1 32, 1 1 1 32, 255 0 0 0",
     TRY("encrypt")},
    {"dane, wrong lengths", HOST("tls = dane"),
     ADDRESS TLSA "3 1 1 31, 3 1 2 32, 3 0 0 0, 3 1 0 4097, 3 2 1 32, 3 1 3 32",
     TRY("encrypt")},
    {"dane, some are usable", HOST("tls = dane"), ADDRESS TLSA "3 1 1 31, 3 1 1 32, 3 0 0 4096",
     TRY("dane =a.example.org 2 at a.example.org")},
    {"dane at the end of the aliases", HOST("tls = dane"),
     "a.example.org A! >b.example.net 192.0.2.1; _25._tcp.b.example.net TLSA! 3 1 1 32; " TLSA
     "3 0 0 1, 3 0 0 2",
     TRY("dane =b.example.net =a.example.org 1 at b.example.net")},
    {"dane at the alias, where the end has none", HOST("tls = dane"),
     "a.example.org A! >b.example.net 192.0.2.1; " TLSA "3 0 0 1, 3 0 0 2",
     TRY("dane =a.example.org 2 at a.example.org")},
    {"dane, the end's lookup fails", HOST("tls = dane"),
     "a.example.org A! >b.example.net 192.0.2.1; _25._tcp.b.example.net TLSA fail; " TLSA
     "3 0 0 1",
     "PASS a.example.org: the lookup of its TLSA records failed: it said so\n" END},
    {"dane, an address", "target = {\"192.0.2.1\"}\ntls = dane", "",
     "TRY 192.0.2.1:25 192.0.2.1 may\n" END},
    {"dane, another port", "target = {\"a.example.org:26\"}\ntls = dane",
     ADDRESS "_26._tcp.a.example.org TLSA! 3 1 1 32; " TLSA "3 0 0 1, 3 0 0 2",
     "TRY a.example.org:26 192.0.2.1 dane =a.example.org 1 at a.example.org\n" END},
    {"dane-only", HOST("tls = dane-only"), ADDRESS TLSA "3 1 1 32",
     TRY("dane =a.example.org 1 at a.example.org")},
    {"dane-only without records", HOST("tls = dane-only"), ADDRESS,
     "PASS a.example.org: tls = dane-only, and it has no TLSA records\n" END},
    {"dane-only, none usable", HOST("tls = dane-only"), ADDRESS TLSA "0 0 1 32",
     "PASS a.example.org: tls = dane-only, and none of its TLSA records can be used\n" END},
    {"dane-only, not validated", HOST("tls = dane-only"),
     "a.example.org A 192.0.2.1; " TLSA "3 1 1 32",
     "PASS a.example.org: tls = dane-only, and its addresses are not DNSSEC-validated\n" END},
    {"dane-only, an address", HOST("tls = dane-only\nfallback = \"192.0.2.1\""),
     "a.example.org A fail",
     "PASS a.example.org: the lookup of its addresses failed: it said so\n"
     "PASS 192.0.2.1: tls = dane-only, and TLSA records are for names only\n" END},
};

static void test_tls(void **state)
{
    (void)state;
    check_rows(tls_rows, PN_COUNT(tls_rows));
}

#define MX(v)    "example.org MX" v " 10 mx1.example.net; "
#define NOTE1(v) "NOTE MX hosts of example.org" v ": mx1.example.net (10)\n"
#define SMX1     "mx1.example.net A! 192.0.2.1; "
#define STLSA    "_25._tcp.mx1.example.net TLSA! 3 1 1 32; "
#define MODE(m)  "NOTE example.org has an MTA-STS policy, mode " m "\n"
#define TRYMX(t) "TRY mx1.example.net:25 192.0.2.1 " t "\n" END

static const struct row policy_rows[] = {
    {"enforced", NULL, MX("") MX1 "example.org STS enforce *.example.net",
     NOTE1("") MODE("enforce") TRYMX("verify =mx1.example.net")},
    {"tested", NULL, MX("") MX1 "example.org STS testing mx1.example.net",
     NOTE1("") MODE("testing") TRYMX("verify? =mx1.example.net")},
    {"none", NULL, MX("") MX1 "example.org STS none mx1.example.net",
     NOTE1("") MODE("none") TRYMX("may")},
    {"enforced, another host", NULL, MX("") MX1 "example.org STS enforce *.example.com",
     NOTE1("") MODE("enforce") "PASS mx1.example.net: the MTA-STS policy of the domain does "
                               "not name it\n" END},
    {"tested, another host", NULL, MX("") MX1 "example.org STS testing *.example.com",
     NOTE1("") MODE("testing") TRYMX("may")},
    {"a relay domain's, with may", "target = mx\ntls = may",
     MX("") MX1 "example.org STS enforce *.example.net",
     NOTE1("") MODE("enforce") TRYMX("verify =mx1.example.net")},
    {"what the operator demands is not asked about", "target = mx\ntls = encrypt",
     MX("") MX1 "example.org STS enforce *.example.net", NOTE1("") TRYMX("encrypt")},
    {"switched off", "target = mx\nmta_sts = no",
     MX("") MX1 "example.org STS enforce *.example.net", NOTE1("") TRYMX("may")},
    {"hosts that the operator wrote have no policy", HOST(""),
     ADDRESS "example.org STS enforce *.example.net", TRY("may")},
    {"fallbacks are not MX hosts", "target = mx\nfallback = \"192.0.2.77\"",
     MX("") "mx1.example.net A fail; example.org STS enforce *.example.net",
     NOTE1("") MODE(
         "enforce") "PASS mx1.example.net: the lookup of its addresses failed: it said so\n"
                    "TRY 192.0.2.77 (fallback):25 192.0.2.77 may\n" END},
    {"DANE wins", NULL, MX("!") SMX1 STLSA "example.org STS enforce *.example.com",
     NOTE1(" (DNSSEC)") MODE("enforce")
         TRYMX("dane =mx1.example.net =example.org 1 at mx1.example.net")},
    {"DANE with MX records that anybody can forge", NULL, MX("") SMX1 STLSA,
     NOTE1("") NOSTS TRYMX("dane =mx1.example.net 1 at mx1.example.net")},
    {"and then the policy says who may be one", NULL,
     MX("") SMX1 STLSA "example.org STS enforce *.example.com",
     NOTE1("") MODE("enforce") "PASS mx1.example.net: the MTA-STS policy of the domain does "
                               "not name it\n" END},
    {"dane-only needs validated MX records", "target = mx\ntls = dane-only", MX("") SMX1 STLSA,
     NOTE1("") "PASS mx1.example.net: tls = dane-only, and the MX records are not "
               "DNSSEC-validated\n" END},
    {"unusable records are not weaker than the policy", NULL,
     MX("!") SMX1 "_25._tcp.mx1.example.net TLSA! 0 0 1 32",
     NOTE1(" (DNSSEC)") NOSTS TRYMX("encrypt")},
    {"a failed lookup of TLSA records is not made good by the policy", NULL,
     MX("!") SMX1 "_25._tcp.mx1.example.net TLSA fail; example.org STS enforce *.example.net",
     NOTE1(" (DNSSEC)") MODE("enforce") "PASS mx1.example.net: the lookup of its TLSA records "
                                        "failed: it said so\n" END},
};

static void test_policies(void **state)
{
    (void)state;
    check_rows(policy_rows, PN_COUNT(policy_rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),    cmocka_unit_test(test_mx),
        cmocka_unit_test(test_tls),      cmocka_unit_test(test_equals_are_shuffled),
        cmocka_unit_test(test_policies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
