/* The next hops in postern.conf: smart hosts, and what the world begins with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <string.h>

#define M "hostname = mx2.example.net listener mx { address = \"0.0.0.0:25\" }\n"

static const struct helper_row rows[] = {
    {"a smart host", M "smart_host main { target = \"a.example:587\" }\n", ""},
    {"several",
     M "smart_host a { target = a.example senders = \"@x.example\" }\n"
       "smart_host b { target = a.example domains = {y.example, \".z.example\"} }\n"
       "smart_host c { target = c.example senders = {\"<>\", \"u@x.example\"} }\n"
       "smart_host d { target = d.example }\n",
     ""},
    {"without a target", M "smart_host main { }\n",
     "f:2: smart_host \"main\": option \"target\" is missing; it has no default\n"},
    {"mx", M "smart_host main { target = mx }\n",
     "f:2: smart_host \"main\": target: a smart host has no domain whose MX records could be "
     "meant; name its hosts\n"},
    {"ourselves", M "smart_host main { target = mx2.example.net }\n",
     "f:2: smart_host \"main\": target: \"mx2.example.net\": this is our own hostname, mail "
     "would "
     "come back to us\n"},
    {"a name that is no queue's", M "smart_host \"Main host\" { target = a.example }\n",
     "f:2: smart_host \"Main host\": a smart host's name has 1 to 64 lower-case letters, "
     "digits, "
     "dots, hyphens and underscores: it is in the name of a queue\n"},
    {"no sender",
     M "smart_host a { target = a.example senders = {\"x\",\n \"@a..b\", \"u@\"} }\n",
     "f:2: smart_host \"a\": senders: \"x\": write \"a@example.org\", \"@example.org\" or "
     "\"<>\"\n"
     "f:3: smart_host \"a\": senders: \"@a..b\": it has an empty label (a dot too many)\n"
     "f:3: smart_host \"a\": senders: \"u@\": it is empty\n"},
    {"no domain", M "smart_host a { target = a.example domains = {\"*.x\",\n \".\"} }\n",
     "f:2: smart_host \"a\": domains: \"*.x\": a host name has letters, digits, hyphens and "
     "dots "
     "only\n"
     "f:3: smart_host \"a\": domains: \".\": it is empty\n"},
    {"two for all",
     M "smart_host a { target = a.example }\nsmart_host b { target = b.example }\n",
     "f: \"smarthost:a\" and \"smarthost:b\" are both for all mail: give one of them senders "
     "or "
     "domains\n"},
    {"options of domains", M "smart_host a { target = a.example\nwhen_up = defer }\n",
     "f:3: option \"when_up\" does not belong here; it stands in a domain's file\n"},
    {"retry order", M "smart_host a { target = a.example\nretry_min = 3h }\n",
     "f:3: smart_host \"a\": retry_min is longer than retry_max: give both, the first not "
     "above "
     "the second\n"},
    {"outbound", M "outbound { sessions = 5 tls = may fallback = \"192.0.2.7\" }\n", ""},
    {"outbound twice", M "outbound { }\noutbound {\n sessions = 5 }\n",
     "f:4: outbound: there is another outbound section\n"},
    {"outbound with a target", M "outbound {\n target = a.example }\n",
     "f:3: option \"target\" does not belong here; it stands in a domain's file\n"},
    {"outbound with a login", M "outbound {\n credentials = \"/c\" }\n",
     "f:3: option \"credentials\" does not belong here; it stands in a domain's file\n"},
    {"outbound by fingerprints", M "outbound {\n tls = fingerprint }\n",
     "f:3: outbound: tls: no fingerprint fits every host in the world; use dane\n"},
    {"outbound retry order", M "outbound {\n retry_min = 3h }\n",
     "f:3: outbound: retry_min is longer than retry_max: give both, the first not above the "
     "second\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], NULL);
    }
}

static void test_fields(void **state)
{
    struct conf *conf = helper_conf(PN_STR(
        M "smart_host main { target = {\"A.example:587\"} senders = \"@X.Example\" service = "
          "smtp credentials = \"/c\" hold = 1d }\n"));
    const struct conf_domain *host = conf->smart_hosts[0];

    (void)state;
    assert_int_equal(conf->smart_host_count, 1);
    assert_int_equal(host->kind, CONF_QUEUE_SMART_HOST);
    assert_string_equal(host->name, "smarthost:main");
    assert_string_equal(host->targets[0].host, "a.example");
    assert_string_equal(host->senders.items[0], "@x.example");
    assert_int_equal(host->domains.count, 0);
    assert_int_equal(host->hold_ms, 86400000);
    assert_int_equal(host->tls, CONF_TLS_DANE);
    assert_int_equal(host->identity, CONF_IDENTITY_NONE);
    assert_int_equal(host->bounce, CONF_BOUNCE_ALWAYS);
    assert_string_equal(host->destination,
                        "smtp:a.example:587;tls=dane;credentials=\"/c\";identity=none");
    /* What only domains have is there too, as if it were not set. */
    assert_string_equal(host->recipient_list, "");
    assert_int_equal(host->when_up, CONF_WHEN_UP_PASS_THROUGH);
    conf_unref(&conf);
}

static void test_the_world_is_always_there(void **state)
{
    struct conf *conf = helper_conf(PN_STR(M));
    struct conf_domain *domain = conf_outbound_domain(conf, PN_STR("Example.ORG"));

    (void)state;
    assert_int_equal(conf->outbound->kind, CONF_QUEUE_OUTBOUND);
    assert_string_equal(domain->name, "out:example.org");
    assert_int_equal(domain->hold_ms, 5 * 86400000LL);
    assert_true(domain->mta_sts);
    assert_null(conf_outbound_domain(conf, PN_STR("a b")));
    assert_null(conf_outbound_domain(conf, PN_STR("")));
    conf_domain_unref(&domain);
    conf_unref(&conf);
}

/* There must be room in a destination's name for the longest domain. */
static void test_outbound_that_is_too_long(void **state)
{
    struct pn_buf text;

    (void)state;
    for (int length = 7800; length <= 8200; length += 400) {
        pn_buf_init(&text, (size_t)1 << 20);
        assert_int_equal(
            pn_buf_printf(&text, M "outbound { tls_ca_file = \"/%0*d\" }\n", length, 0), 0);
        assert_int_equal(pn_buf_append_char(&text, '\0'), 0);
        helper_check(&(struct helper_row){"long", pn_buf_str(&text).ptr,
                                          length > 8000
                                              ? "f: outbound: the options that say how the "
                                                "target is reached are longer than 8 KiB "
                                                "together\n"
                                              : ""},
                     NULL);
        pn_buf_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_the_world_is_always_there),
        cmocka_unit_test(test_outbound_that_is_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
