/*
 * test_route.c - the order of addresses, and what leads back to ourselves.
 */
#include "postern/route/route.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Addresses that are separated by blanks. */
static size_t read_ips(const char *text, struct pn_ip *out)
{
    struct pn_str rest = pn_str_z(text);
    size_t count = 0;

    while (rest.len > 0) {
        assert_true(pn_ip_parse(pn_str_cut(&rest, ' '), &out[count++]));
    }
    return count;
}

static void test_order(void **state)
{
    static const struct {
        const char *name, *v6, *v4, *expected;
    } rows[] = {
        {"nothing", "", "", ""},
        {"one family", "", "192.0.2.1 192.0.2.2", "192.0.2.1 192.0.2.2"},
        {"alternating", "2001:db8::1 2001:db8::2", "192.0.2.1 192.0.2.2",
         "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2"},
        {"more of one", "2001:db8::1", "192.0.2.1 192.0.2.2 192.0.2.3",
         "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3"},
        {"more of the other", "2001:db8::1 2001:db8::2 2001:db8::3", "192.0.2.1",
         "2001:db8::1 192.0.2.1 2001:db8::2 2001:db8::3"},
        {"doubles", "2001:db8::1 2001:db8::1", "192.0.2.1 192.0.2.1", "2001:db8::1 192.0.2.1"},
        {"mapped IPv4 is the same address", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"},
        {"unspecified", ":: ::ffff:0.0.0.0 2001:db8::1", "0.0.0.0 0.1.2.3 192.0.2.1",
         "2001:db8::1 192.0.2.1"},
        {"loopback is kept", "::1", "127.0.0.1", "::1 127.0.0.1"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_ip v6[8], v4[8], expected[8], out[ROUTE_ADDRESSES_MAX];
        size_t v6_count = read_ips(rows[i].v6, v6);
        size_t v4_count = read_ips(rows[i].v4, v4);
        size_t expected_count = read_ips(rows[i].expected, expected);

        print_message("%s\n", rows[i].name);
        assert_int_equal(route_order(v6, v6_count, v4, v4_count, out), expected_count);
        for (size_t k = 0; k < expected_count; k++) {
            assert_true(pn_ip_eq(&out[k], &expected[k]));
        }
    }
}

static void test_order_is_bounded(void **state)
{
    struct pn_ip v4[100], out[ROUTE_ADDRESSES_MAX];

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        v4[i] = pn_ip_v4(0xc0000200u + i);
    }
    assert_int_equal(route_order(NULL, 0, v4, 100, out), ROUTE_ADDRESSES_MAX);
    assert_true(pn_ip_eq(&out[ROUTE_ADDRESSES_MAX - 1], &v4[ROUTE_ADDRESSES_MAX - 1]));
}

static void test_is_own(void **state)
{
    static const struct {
        const char *name, *to, *own, *ips;
        bool expected;
    } rows[] = {
        {"the same", "192.0.2.1:25", "192.0.2.1:25", "", true},
        {"another port", "192.0.2.1:26", "192.0.2.1:25", "", false},
        {"another address", "192.0.2.2:25", "192.0.2.1:25", "192.0.2.2", false},
        {"everywhere", "192.0.2.1:25", "0.0.0.0:25", "192.0.2.9 192.0.2.1", true},
        {"everywhere, not ours", "192.0.2.2:25", "0.0.0.0:25", "192.0.2.1", false},
        {"everywhere, loopback", "127.1.2.3:25", "0.0.0.0:25", "", true},
        {"everywhere, another port", "127.0.0.1:26", "0.0.0.0:25", "", false},
        {"IPv6 everywhere", "[2001:db8::1]:25", "[::]:25", "2001:db8::1", true},
        {"the other family", "192.0.2.1:25", "[::]:25", "192.0.2.1", false},
        {"loopback elsewhere", "127.0.0.1:25", "192.0.2.1:25", "192.0.2.1", false},
        {"mapped", "[::ffff:192.0.2.1]:25", "192.0.2.1:25", "", true},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_endpoint to;
        struct pn_endpoint own[2] = {{.ip = pn_ip_v4(0xcb007101u), .port = 25}};
        struct pn_ip ips[8];
        size_t ip_count = read_ips(rows[i].ips, ips);

        print_message("%s\n", rows[i].name);
        assert_true(pn_endpoint_parse(pn_str_z(rows[i].to), &to));
        assert_true(pn_endpoint_parse(pn_str_z(rows[i].own), &own[1]));
        assert_int_equal(route_is_own(&to, own, 2, ips, ip_count), rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_is_bounded),
        cmocka_unit_test(test_is_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
