/* postern.conf: what it means, and what is said about mistakes in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <string.h>

#define HOST     "hostname = \"mx2.example.net\"\n"
#define LISTENER "listener \"mx\" { address = {\"0.0.0.0:25\"} }\n"
#define REST     HOST LISTENER /* two lines */

static const struct helper_row rows[] = {
    {"least", REST, ""},
    {"unquoted", "hostname=mx2.example.net listener mx{address=0.0.0.0:25}", ""},
    {"comments", "# a ${HOME}\n// b\n/* c\n * \" */" HOST "#\n//\n/**/" LISTENER "#", ""},
    {"single quotes", "hostname = 'mx2.example.net'\n" LISTENER, ""},
    {"a mark before UTF-8, and CR LF", "\xef\xbb\xbfhostname = mx2.example.net\r\n" LISTENER,
     ""},

    {"empty", "",
     "f: option \"hostname\" is missing; it has no default\n"
     "f: there is no listener; write listener \"mx\" { address = {\"0.0.0.0:25\", \"[::]:25\"} "
     "}\n"},
    {"unknown", REST "mesage_size = 5M\n",
     "f:3: unknown option \"mesage_size\"; did you mean \"message_size\"?\n"},
    {"unknown, nothing near", REST "zebra = 5M\n", "f:3: unknown option \"zebra\"\n"},
    {"unknown section", REST "listner \"x\" {}\n",
     "f:3: unknown option \"listner\"; did you mean \"listener\"?\n"},
    {"unknown in a section", HOST "listener \"mx\" {\n adress = {\"0.0.0.0:25\"}\n}\n",
     "f:3: unknown option \"adress\"; did you mean \"address\"?\n"},
    {"a domain's option", REST "hold = 14d\n",
     "f:3: option \"hold\" does not belong here; it stands in a domain's file\n"},
    {"a section's option", REST "starttls = no\n",
     "f:3: option \"starttls\" does not belong here; it stands in a listener section of "
     "postern.conf\n"},
    {"line behind comments", "/* one\ntwo */\n# three\n\n" REST "hops_max = 5\n",
     "f:7: hops_max: \"5\" is too small; it must be from 10 to 200\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], NULL);
    }
}

static const struct helper_row value_rows[] = {
    {"several at once", REST "hops_max = 5\nmemory = lots\n\ntrace = 1y\n",
     "f:3: hops_max: \"5\" is too small; it must be from 10 to 200\n"
     "f:4: memory: \"lots\" is not a size; write a number, alone or with K, M, G or T "
     "(\"50M\"), from 16M to 1T\n"
     "f:6: trace: \"1y\" is not a duration; write a number and one of s, m, h, d, w (\"90s\", "
     "\"1h30m\", \"14d\"), from 0 to 90d\n"},
    {"too large", REST "message_size = 3G\n",
     "f:3: message_size: \"3G\" is too large; it must be from 64K to 2G\n"},
    {"duration too large", REST "stop_time = 10m\n",
     "f:3: stop_time: \"10m\" is too large; it must be from 0s to 5m\n"},
    {"number", REST "workers = -1\n",
     "f:3: workers: \"-1\" is not a whole number, from 0 to 64\n"},
    {"huge number", REST "workers = 99999999999999999999999\n",
     "f:3: workers: \"99999999999999999999999\" is not a whole number, from 0 to 64\n"},
    {"bool", REST "reverse_dns = maybe\n",
     "f:3: reverse_dns: \"maybe\" is neither yes nor no\n"},
    {"word", REST "log_level = waring\n",
     "f:3: log_level: \"waring\" is none of debug|info|warn|error; did you mean \"warn\"?\n"},
    {"word, nothing near", REST "log_level = all\n",
     "f:3: log_level: \"all\" is none of debug|info|warn|error\n"},
    {"network", REST "etrn_clients = {\n  192.0.2.0/24,\n  192.0.2.0/33\n}\n",
     "f:5: etrn_clients: \"192.0.2.0/33\" is not a network; write \"192.0.2.0/24\", "
     "\"2001:db8::/32\" or one address\n"},
    {"set twice", REST "hops_max = 50\nhops_max = 60\n",
     "f:4: option \"hops_max\" is set twice\n"},
    {"list set twice", REST "dns_servers = {192.0.2.1, 192.0.2.2}\ndns_servers = 192.0.2.3\n",
     "f:4: option \"dns_servers\" is set twice\n"},
    {"list emptied again", REST "dns_servers = {192.0.2.1}\ndns_servers = {}\n",
     "f: option \"dns_servers\" is set twice\n"},
    {"set in two sections",
     HOST "listener a { address = \"[::]:25\" }\nlistener b { address = \"[::]:26\" }\n", ""},
    {"control character", REST "admin_group = \"a\\nb\"\n",
     "f:3: admin_group: \"a\\x0ab\" has control characters\n"},
    {"too many items",
     REST
     "dns_servers = {\"::1\",\"::2\",\"::3\",\"::4\",\"::5\",\"::6\",\"::7\",\"::8\",\"::9\"}",
     "f:3: dns_servers: 9 items are too many; at most 8\n"},
    {"empty item", REST "dns_servers = {\"\"}", "f:3: dns_servers: an item is empty\n"},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(value_rows); i++) {
        helper_check(&value_rows[i], NULL);
    }
}

#define HOST_IS(name)       "hostname = \"" name "\"\n" LISTENER
#define NOT_HOST(name, why) "f:1: hostname: \"" name "\" is not a full host name: " why "\n"

static const struct helper_row rule_rows[] = {
    {"empty hostname", HOST_IS(""), "f:1: hostname must not be empty\n"},
    {"short hostname", HOST_IS("mx2"),
     NOT_HOST("mx2", "it has no domain (\"mx2.example.net\" has one)")},
    {"localhost", HOST_IS("LocalHost"), NOT_HOST("LocalHost", "it means every host to itself")},
    {"localhost with a domain", HOST_IS("localhost.localdomain"),
     NOT_HOST("localhost.localdomain", "it means every host to itself")},
    {"a name below localhost", HOST_IS("mx.localhost"),
     NOT_HOST("mx.localhost", "it means every host to itself")},
    {"dot at the end", HOST_IS("mx2.example.net."),
     NOT_HOST("mx2.example.net.", "leave out the dot at its end")},
    {"address", HOST_IS("192.0.2.1"),
     NOT_HOST("192.0.2.1", "it ends with a number, as addresses do")},
    {"address literal", HOST_IS("[192.0.2.1]"),
     NOT_HOST("[192.0.2.1]", "a host name has letters, digits, hyphens and dots only")},
    {"underscore", HOST_IS("mx_2.example.net"),
     NOT_HOST("mx_2.example.net", "a host name has letters, digits, hyphens and dots only")},
    {"empty label", HOST_IS("mx2..net"),
     NOT_HOST("mx2..net", "it has an empty label (a dot too many)")},
    {"hyphen", HOST_IS("mx2-.example.net"),
     NOT_HOST("mx2-.example.net", "a label of it begins or ends with a hyphen")},
    {"U-label", HOST_IS("mx.\xc3\xa9xample.net"),
     NOT_HOST("mx.\xc3\xa9xample.net", "write it as A-labels (xn--...)")},
    {"probe order", REST "probe_min = 5m\nprobe_max = 60s\n",
     "f:4: probe_min is longer than probe_max: give both, the first not above the second\n"},
    {"probe order with a default", REST "probe_min = 2m\n",
     "f:3: probe_min is longer than probe_max: give both, the first not above the second\n"},
    {"empty path", REST "spool = \"\"\n", "f:3: spool must not be empty\n"},
    {"relative path", REST "spool = spool\n",
     "f:3: warning: spool: \"spool\" is relative to the directory in which the daemon is "
     "started\n"},
    {"long socket",
     REST
     "admin = /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
     "f:3: admin: the path of a socket has at most 107 octets\n"},
    {"resolvers", REST "dns_servers = {192.0.2.1, \"192.0.2.1:53\", \"::1\", \"[::1]:53\"}\n",
     ""},
    {"resolver by name", REST "dns_servers = {\n\"dns.example\"}\n",
     "f:4: dns_servers: \"dns.example\" is not an address; write \"192.0.2.1\", "
     "\"192.0.2.1:53\", \"2001:db8::1\" or \"[2001:db8::1]:53\"\n"},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rule_rows); i++) {
        helper_check(&rule_rows[i], NULL);
    }
}

#define BAD_ADDRESS(text)                                                                      \
    "f:2: listener \"a\": address: \"" text "\" is not an address with a port; write "         \
    "\"0.0.0.0:25\" or \"[::]:25\"\n"

static const struct helper_row section_rows[] = {
    {"no address", HOST "listener \"a\" {\n}\n",
     "f:3: listener \"a\": option \"address\" is missing; it has no default\n"},
    {"empty list", HOST "listener \"a\" { address = {} }\n",
     "f:2: listener \"a\": option \"address\" is missing; it has no default\n"},
    {"name", HOST "listener \"a\" { address = \"localhost:25\" }\n",
     BAD_ADDRESS("localhost:25")},
    {"no port", HOST "listener \"a\" { address = \"0.0.0.0\" }\n", BAD_ADDRESS("0.0.0.0")},
    {"port 0", HOST "listener \"a\" { address = \"0.0.0.0:0\" }\n", BAD_ADDRESS("0.0.0.0:0")},
    {"large port", HOST "listener \"a\" { address = \"[::]:65536\" }\n",
     BAD_ADDRESS("[::]:65536")},
    {"star", HOST "listener \"a\" { address = \"*:25\" }\n", BAD_ADDRESS("*:25")},
    {"same address",
     HOST "listener \"a\" { address = \"[::]:25\" }\n"
          "listener \"b\" { address = \"[0:0::]:25\" }\n",
     "f: listener \"b\": address [::]:25 is given twice\n"},
    {"same address in a list", HOST "listener \"a\" { address = {\"[::]:25\", \"[::]:25\"} }\n",
     "f: listener \"a\": address [::]:25 is given twice\n"},
    {"same name", REST "listener \"mx\" { address = \"[::]:26\" }\n",
     "f:3: syntax error: found duplicate title 'mx'\n"},
    {"no name", HOST "listener { address = \"[::]:26\" }\n",
     "f:2: syntax error: missing title for section 'listener'\n"},
    {"empty name", HOST "listener \"\" { address = \"[::]:26\" }\n",
     "f:2: listener \"\": a section's name has 1 to 64 octets and no control characters\n"},
    {"certificate", REST "certificate c { chain = /c\n key = /k }\n", ""},
    {"half a certificate", REST "certificate c {\nchain = /c\n}\n",
     "f:4: certificate \"c\": option \"key\" is missing; it has no default\n"},
    {"empty file name", REST "certificate c { chain = \"\" key = /k }\n",
     "f:3: certificate \"c\": chain must not be empty\n"},
};

static void test_sections(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(section_rows); i++) {
        helper_check(&section_rows[i], NULL);
    }
}

static void test_fields(void **state)
{
    struct conf *conf = helper_conf(PN_STR(
        HOST "key_file = /a//b // c\nmessage_size = 10M\nworkers = 3\nlog_level = "
             "debug\nreverse_dns = off\n"
             "probe_min = \"10s\"\nunlimited_networks = {\"192.0.2.77/24\", ::1}\n"
             "listener \"in\" { address = {\"0.0.0.0:25\", \"[::]:2525\"} starttls = no }\n"
             "listener \"out\" { address = \"127.0.0.1:26\" }\n"
             "certificate \"c\" { chain = /c key = /k }\n"));
    char text[PN_ENDPOINT_CHARS];

    (void)state;
    assert_string_equal(conf->hostname, "mx2.example.net");
    assert_string_equal(conf->spool, "/var/lib/postern");
    assert_string_equal(conf->key_file, "/a//b");
    assert_string_equal(conf->admin_group, "");
    assert_int_equal(conf->message_size_octets, 10 * 1024 * 1024);
    assert_int_equal(conf->workers, 3);
    assert_int_equal(conf->log_level, 0);
    assert_false(conf->reverse_dns);
    assert_int_equal(conf->probe_min_ms, PN_SECONDS(10));
    assert_int_equal(conf->trace_ms, PN_DAYS(7));
    assert_int_equal(conf->bare_newline, CONF_BARE_REJECT);
    assert_int_equal(conf->unlimited_networks.count, 2);
    assert_int_equal(conf->unlimited_networks.items[0].bits, 24);
    assert_int_equal(conf->etrn_clients.count, 0);
    assert_int_equal(conf->listener_count, 2);
    assert_string_equal(conf->listeners[0].name, "in");
    assert_int_equal(conf->listeners[0].endpoint_count, 2);
    assert_string_equal(pn_endpoint_format(&conf->listeners[0].endpoints[1], text),
                        "[::]:2525");
    assert_false(conf->listeners[0].starttls);
    assert_true(conf->listeners[1].starttls);
    assert_int_equal(conf->certificate_count, 1);
    assert_string_equal(conf->certificates[0].key, "/k");
    conf_unref(&conf);
}

static void test_references(void **state)
{
    struct conf *conf = helper_conf(PN_STR(REST));
    struct conf *second = conf_ref(conf);

    (void)state;
    conf_unref(&conf);
    assert_null(conf);
    assert_string_equal(second->hostname, "mx2.example.net");
    conf_unref(&second);
    conf_unref(&second); /* NULL is fine */
}

/* The mistakes of one file must not spoil the next. */
static void test_mistakes_of_others(void **state)
{
    struct conf_mistakes mistakes;
    struct conf *conf;

    (void)state;
    conf_mistakes_init(&mistakes);
    conf_mistakes_add(&mistakes, "other", 7, false, "broken %d", 1);
    conf = conf_parse("f", PN_STR(REST), &mistakes);
    assert_non_null(conf);
    assert_int_equal(mistakes.count, 1);
    conf_unref(&conf);
    conf_mistakes_fini(&mistakes);
}

static void test_mistakes_are_bounded(void **state)
{
    struct conf_mistakes mistakes;

    (void)state;
    conf_mistakes_init(&mistakes);
    for (unsigned i = 0; i < 150; i++) {
        conf_mistakes_add(&mistakes, "f", i, true, "odd");
    }
    assert_int_equal(mistakes.count, 100);
    assert_int_equal(mistakes.more, 50);
    assert_false(conf_mistakes_fatal(&mistakes));
    conf_mistakes_add(&mistakes, "f", 0, false, "wrong");
    assert_int_equal(mistakes.count, 100);
    assert_int_equal(mistakes.more, 51);
    assert_true(conf_mistakes_fatal(&mistakes));
    conf_mistakes_fini(&mistakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_mistakes_of_others),
        cmocka_unit_test(test_mistakes_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
