/* Where a domain's mail goes: MX records, sockets, fallbacks, our own address, rates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define T "target = mail.example.org\n"

static const struct helper_row rows[] = {
    {"mx", "target = mx\n", ""},
    {"mx with a fallback", "target = {mx}\nfallback = {f.example, \"192.0.2.7:26\"}\n", ""},
    {"mx among others", "target = {mx, a.example}\n",
     "f:1: target: \"mx\" stands alone; use fallback for further hosts\n"},
    {"mx behind others is a host", "target = {a.example, mx}\n", ""},
    {"mx of LMTP", "target = mx\nservice = lmtp\n",
     "f:1: target: MX records are about SMTP, and service is lmtp\n"},
    {"mx as a fallback is a host", T "fallback = mx\n", ""},
    {"a socket", "target = \"unix:/run/lmtp\"\nservice = lmtp\n", ""},
    {"a socket of SMTP", "target = \"unix:/run/lmtp\"\n",
     "f:1: target: \"unix:/run/lmtp\": a unix socket is for service = lmtp\n"},
    {"a relative socket", "target = \"unix:lmtp\"\nservice = lmtp\n",
     "f:1: target: \"unix:lmtp\": write an absolute path, \"unix:/run/dovecot/lmtp\"\n"},
    {"no socket", "target = \"unix:\"\nservice = lmtp\n",
     "f:1: target: \"unix:\": write an absolute path, \"unix:/run/dovecot/lmtp\"\n"},
    {"a socket twice", "target = {\"unix:/a\",\n \"unix:/b\",\n \"unix:/a\"}\nservice = lmtp\n",
     "f:3: target: \"unix:/a\": it stands in the list twice\n"},
    {"a fallback twice", T "fallback = {a.example,\n \"A.example:25\"}\n",
     "f:3: fallback: \"A.example:25\": it stands in the list twice\n"},
    {"a fallback that is ourselves", T "fallback = mx2.example.net\n",
     "f:2: fallback: \"mx2.example.net\": this is our own hostname, mail would come back to "
     "us\n"},
    {"a fallback where we listen", T "fallback = \"192.0.2.9:2525\"\n",
     "f:2: fallback: \"192.0.2.9:2525\": we listen there ourselves, mail would come back to "
     "us\n"},
    {"a fallback that is none", T "fallback = \"a_b\"\n",
     "f:2: fallback: \"a_b\": a host name has letters, digits, hyphens and dots only\n"},
    {"too many fallbacks", T "fallback = {a,b,c,d,e,f,g,h,i}\n",
     "f:2: fallback: 9 items are too many; at most 8\n"},
    {"sources", T "source_address = {\"192.0.2.50\", \"2001:db8::50 Out.example.net\"}\n", ""},
    {"two sources of a family", T "source_address = {\"192.0.2.50\",\n \"192.0.2.51\"}\n",
     "f:3: source_address: \"192.0.2.51\": there is another address of this family\n"},
    {"a source that is a name", T "source_address = out.example.net\n",
     "f:2: source_address: \"out.example.net\": write an address of this host, \"192.0.2.1\", "
     "or "
     "\"192.0.2.1 name\"\n"},
    {"a source that is none", T "source_address = \"0.0.0.0\"\n",
     "f:2: source_address: \"0.0.0.0\": write an address of this host, \"192.0.2.1\", or "
     "\"192.0.2.1 name\"\n"},
    {"a source with a wrong name", T "source_address = \"192.0.2.50 a_b\"\n",
     "f:2: source_address: \"192.0.2.50 a_b\": a host name has letters, digits, hyphens and "
     "dots "
     "only\n"},
    {"three sources", T "source_address = {\"192.0.2.50\", \"2001:db8::1\", \"192.0.2.51\"}\n",
     "f:2: source_address: 3 items are too many; at most 2\n"},
    {"a rate", T "rate = \"100/min\"\n", ""},
    {"the greatest rate", T "rate = \"1000000/d\"\n", ""},
    {"no rate", T "rate = \"\"\n", ""},
    {"a rate without a time", T "rate = 100\n",
     "f:2: rate: \"100\" is not a rate; write \"100/min\", with s, min, h or d, and a number "
     "from 1 to 1000000\n"},
    {"a rate of nothing", T "rate = \"0/s\"\n",
     "f:2: rate: \"0/s\" is not a rate; write \"100/min\", with s, min, h or d, and a number "
     "from 1 to 1000000\n"},
    {"too much of a rate", T "rate = \"1000001/s\"\n",
     "f:2: rate: \"1000001/s\" is not a rate; write \"100/min\", with s, min, h or d, and a "
     "number from 1 to 1000000\n"},
    {"a rate of another time", T "rate = \"5/m\"\n",
     "f:2: rate: \"5/m\" is not a rate; write \"100/min\", with s, min, h or d, and a number "
     "from 1 to 1000000\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], "example.org");
    }
}

static void test_long_socket(void **state)
{
    char text[256];
    char said[512];

    (void)state;
    for (int length = 107; length <= 108; length++) {
        (void)snprintf(text, sizeof text, "service = lmtp\ntarget = \"unix:/%0*d\"\n",
                       length - 1, 0);
        (void)snprintf(said, sizeof said,
                       "f:2: target: \"unix:/%054d...\": the path of a socket has at most 107 "
                       "octets\n",
                       0);
        helper_check(&(struct helper_row){"long", text, length > 107 ? said : ""},
                     "example.org");
    }
}

/* Names of destinations have what makes a difference on the wire, and are bounded. */
static void test_destinations(void **state)
{
    static const struct {
        const char *text;
        const char *destination;
    } names[] = {
        {"target = mx", "smtp:mx example.org;tls=may"},
        {"target = mx\nfallback = {f.example, \"[2001:db8::7]:26\"}",
         "smtp:mx example.org;fallback=f.example:25,[2001:db8::7]:26;tls=may"},
        {"target = {\"unix:/run/lmtp\", a.example}\nservice = lmtp",
         "lmtp:unix:/run/lmtp,a.example:24;tls=may"},
        {"target = a.example\naddress_family = ipv4\nsource_address = \"192.0.2.50\"",
         "smtp:a.example:25;tls=may;address_family=ipv4;source_address={\"192.0.2.50\"}"},
        {"target = a.example\nhold = 1d\nsessions = 3\nrate = \"5/s\"",
         "smtp:a.example:25;tls=may"},
        {"target = a.example\nidentity = none\ncredentials = \"/c\"\ntls = encrypt",
         "smtp:a.example:25;tls=encrypt;credentials=\"/c\";identity=none"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        struct conf_domain *domain = helper_domain("example.org", pn_str_z(names[i].text));

        assert_string_equal(domain->destination, names[i].destination);
        assert_int_equal(domain->kind, CONF_QUEUE_DOMAIN);
        conf_domain_unref(&domain);
    }
}

static void test_destination_that_is_too_long(void **state)
{
    struct pn_buf text;

    (void)state;
    pn_buf_init(&text, (size_t)1 << 20);
    assert_int_equal(pn_buf_printf(&text, T "tls_sni = \"%09000d\"\n", 0), 0);
    assert_int_equal(pn_buf_append_char(&text, '\0'), 0);
    helper_check(&(struct helper_row){"long", pn_buf_str(&text).ptr,
                                      "f: the options that say how the target is reached are "
                                      "longer than 8 KiB together\n"},
                 "example.org");
    pn_buf_fini(&text);
}

static void test_fields(void **state)
{
    struct conf_domain *domain =
        helper_domain("example.org",
                      PN_STR("target = mx\nfallback = {f.example, \"[2001:db8::7]:26\"}\n"
                             "source_address = {\"192.0.2.50\", \"2001:db8::50 Out.Example\"}\n"
                             "rate = \"100/min\"\n"));

    (void)state;
    assert_true(domain->target_mx);
    assert_string_equal(domain->mx_name, "example.org");
    assert_int_equal(domain->target_count, 0);
    assert_int_equal(domain->fallback_count, 2);
    assert_string_equal(domain->fallbacks[1].host, "2001:db8::7");
    assert_true(domain->fallbacks[1].literal);
    assert_int_equal(domain->fallbacks[1].port, 26);
    assert_int_equal(domain->source_v4.family, PN_IPV4);
    assert_int_equal(domain->source_v6.family, PN_IPV6);
    assert_null(domain->source_names[0]);
    assert_string_equal(domain->source_names[1], "out.example");
    assert_int_equal(domain->rate.count, 100);
    assert_int_equal(domain->rate.per_ms, 60000);
    conf_domain_unref(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_long_socket),
        cmocka_unit_test(test_destinations),
        cmocka_unit_test(test_destination_that_is_too_long),
        cmocka_unit_test(test_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
