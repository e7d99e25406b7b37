/* What base/ip promises: one host, one value; strict text. */
#include "postern/base/ip.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_reads_addresses(void **state)
{
    static const struct {
        const char *name;
        struct pn_str text;
        const char *want; /* as it is printed; NULL: it is no address */
        const char *literal;
    } rows[] = {
        {"IPv4", {"192.0.2.1", 9}, "192.0.2.1", "[192.0.2.1]"},
        {"IPv6", {"2001:DB8::1", 11}, "2001:db8::1", "[IPv6:2001:db8::1]"},
        {"IPv6 in full",
         {"2001:0db8:0000:0000:0000:0000:0000:0001", 39},
         "2001:db8::1",
         "[IPv6:2001:db8::1]"},
        {"unspecified", {"::", 2}, "::", "[IPv6:::]"},
        {"mapped", {"::ffff:192.0.2.1", 16}, "192.0.2.1", "[192.0.2.1]"},
        {"mapped in hex", {"::FFFF:c000:201", 15}, "192.0.2.1", "[192.0.2.1]"},
        {"longest mapped",
         {"0000:0000:0000:0000:0000:ffff:255.255.255.255", 45},
         "255.255.255.255",
         "[255.255.255.255]"},
        {"empty", {NULL, 0}, NULL, NULL},
        {"three parts", {"192.0.2", 7}, NULL, NULL},
        {"five parts", {"192.0.2.1.5", 11}, NULL, NULL},
        {"part too large", {"192.0.2.256", 11}, NULL, NULL},
        {"octal", {"192.0.02.1", 10}, NULL, NULL},
        {"hexadecimal", {"0xc0.0.2.1", 10}, NULL, NULL},
        {"one number", {"3221225985", 10}, NULL, NULL},
        {"blank in front", {" 192.0.2.1", 10}, NULL, NULL},
        {"blank behind", {"192.0.2.1 ", 10}, NULL, NULL},
        {"NUL behind", {"192.0.2.1\0", 10}, NULL, NULL},
        {"brackets", {"[::1]", 5}, NULL, NULL},
        {"zone", {"fe80::1%eth0", 12}, NULL, NULL},
        {"two gaps", {"1::2::3", 7}, NULL, NULL},
        {"nine groups", {"1:2:3:4:5:6:7:8:9", 17}, NULL, NULL},
        {"too long", {"00000000000000000000000000000000000000000000:1", 46}, NULL, NULL},
        {"a name", {"localhost", 9}, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_ip ip = {.family = 99};
        bool ok = pn_ip_parse(rows[i].text, &ip);
        char text[PN_IP_CHARS];
        struct pn_buf literal;

        if (ok != (rows[i].want != NULL)) {
            fail_msg("%s", rows[i].name);
        }
        if (!ok) {
            assert_int_equal(ip.family, 99);
            continue;
        }
        assert_string_equal(pn_ip_format(&ip, text), rows[i].want);
        pn_buf_init(&literal, 64);
        assert_int_equal(pn_ip_literal(&ip, &literal), 0);
        assert_true(pn_str_eq(pn_buf_str(&literal), pn_str_z(rows[i].literal)));
        pn_buf_fini(&literal);
    }
}

static void test_values(void **state)
{
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
    struct pn_ip a = pn_ip_v4(0xc0000201), b = pn_ip_v6(mapped), none = {0};
    char text[PN_IP_CHARS];

    (void)state;
    assert_true(pn_ip_eq(&a, &b));
    assert_int_equal(b.family, PN_IPV4);
    assert_false(pn_ip_eq(&a, &none));
    assert_string_equal(pn_ip_format(&none, text), "none");
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *text;
        const char *want; /* NULL: it is no endpoint */
    } rows[] = {
        {"192.0.2.1:25", "192.0.2.1:25"},
        {"[2001:db8::1]:25", "[2001:db8::1]:25"},
        {"[::ffff:192.0.2.1]:65535", "192.0.2.1:65535"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
         "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"},
        {"192.0.2.1", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:smtp", NULL},
        {"192.0.2.1:25 ", NULL},
        {"::1:25", NULL},
        {"[192.0.2.1]:25", NULL},
        {"[::1]", NULL},
        {"[::1]25", NULL},
        {"[::1:25", NULL},
        {":25", NULL},
        {"[]:25", NULL},
        {"[:25", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_endpoint endpoint;
        char text[PN_ENDPOINT_CHARS];
        bool ok = pn_endpoint_parse(pn_str_z(rows[i].text), &endpoint);

        if (ok != (rows[i].want != NULL) ||
            (ok && strcmp(pn_endpoint_format(&endpoint, text), rows[i].want) != 0)) {
            fail_msg("'%s'", rows[i].text);
        }
    }
}

static void test_networks(void **state)
{
    static const struct {
        const char *net, *ip;
        bool valid, has;
    } rows[] = {
        {"192.0.2.0/24", "192.0.2.255", true, true},
        {"192.0.2.0/24", "192.0.3.0", true, false},
        {"192.0.2.77/24", "192.0.2.1", true, true},
        {"192.0.2.128/25", "192.0.2.127", true, false},
        {"192.0.2.1", "192.0.2.1", true, true},
        {"192.0.2.1", "192.0.2.2", true, false},
        {"192.0.2.1/32", "::ffff:192.0.2.1", true, true},
        {"0.0.0.0/0", "255.1.2.3", true, true},
        {"0.0.0.0/0", "2001:db8::1", true, false},
        {"::/0", "2001:db8::1", true, true},
        {"::/0", "192.0.2.1", true, false},
        {"2001:db8::/32", "2001:db8:ffff::", true, true},
        {"2001:db8::/33", "2001:db8:8000::", true, false},
        {"2001:db8::1", "2001:db8::1", true, true},
        {"::ffff:192.0.2.0/120", "192.0.2.9", true, true},
        {"::ffff:192.0.2.0/120", "192.0.3.9", true, false},
        {"::ffff:192.0.2.0/95", "192.0.3.9", false, false},
        {"192.0.2.0/33", "192.0.2.1", false, false},
        {"2001:db8::/129", "2001:db8::1", false, false},
        {"192.0.2.0/", "192.0.2.1", false, false},
        {"192.0.2.0/24/1", "192.0.2.1", false, false},
        {"192.0.2.0/-1", "192.0.2.1", false, false},
        {"192.0.2/24", "192.0.2.1", false, false},
        {"/24", "192.0.2.1", false, false},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_net net;
        struct pn_ip ip;
        bool valid = pn_net_parse(pn_str_z(rows[i].net), &net);

        assert_true(pn_ip_parse(pn_str_z(rows[i].ip), &ip));
        if (valid != rows[i].valid || (valid && pn_net_has(&net, &ip) != rows[i].has)) {
            fail_msg("%s and %s", rows[i].net, rows[i].ip);
        }
    }
}

static void test_networks_of_clients(void **state)
{
    static const struct {
        const char *ip, *net;
        uint8_t bits;
    } rows[] = {
        {"192.0.2.77", "192.0.2.0", 24},
        {"2001:db8:1:2:3::4", "2001:db8:1::", 48},
        {"::ffff:192.0.2.77", "192.0.2.0", 24},
    };
    struct pn_ip ip = pn_ip_v4(0xc0000201);

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_ip client;
        struct pn_net net;
        char text[PN_IP_CHARS];

        assert_true(pn_ip_parse(pn_str_z(rows[i].ip), &client));
        net = pn_net_of(&client, 24, 48);
        assert_string_equal(pn_ip_format(&net.ip, text), rows[i].net);
        assert_int_equal(net.bits, rows[i].bits);
    }
    assert_int_equal(pn_net_of(&ip, 200, 48).bits, 32);
}

static void test_special_addresses(void **state)
{
    static const struct {
        const char *ip;
        bool loopback, unspecified;
    } rows[] = {
        {"127.0.0.1", true, false},        {"127.255.0.9", true, false}, {"::1", true, false},
        {"0.0.0.0", false, true},          {"0.1.2.3", false, true},     {"::", false, true},
        {"192.0.2.1", false, false},       {"::2", false, false},        {"1::1", false, false},
        {"::ffff:127.0.0.1", true, false},
    };
    struct pn_ip none = {0};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_ip ip;

        assert_true(pn_ip_parse(pn_str_z(rows[i].ip), &ip));
        if (pn_ip_is_loopback(&ip) != rows[i].loopback ||
            pn_ip_is_unspecified(&ip) != rows[i].unspecified) {
            fail_msg("%s", rows[i].ip);
        }
    }
    assert_false(pn_ip_is_loopback(&none) || pn_ip_is_unspecified(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_addresses),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_endpoints),           cmocka_unit_test(test_networks),
        cmocka_unit_test(test_networks_of_clients), cmocka_unit_test(test_special_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
