/*
 * test_choose.c - which queue a recipient's mail belongs to, and what a queue's name means.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_route.h"

#include "postern/base/mem.h"
#include "postern/route/choose.h"

#include <stdio.h>
#include <string.h>

#define HOST_A                                                                                 \
    "smart_host a { target = a.example senders = {\"@Example.org\", \"x@b.example\"} }\n"
#define HOST_B                                                                                 \
    "smart_host b { target = b.example domains = {\"example.net\", \".Example.com\"} }\n"
#define HOST_C                                                                                 \
    "smart_host c { target = c.example senders = {\"<>\"} domains = {\"example.edu\"} }\n"
#define HOST_ALL "smart_host all { target = all.example }\n"

static struct domains *make_domains(const struct conf *conf)
{
    struct conf_domain *relay =
        helper_domain("relay.example",
                      "target = t.example\naliases = alias.example\nsubdomains "
                      "= yes",
                      conf);
    struct domains *none = domains_new();
    struct domains_change change = {PN_STR("relay.example"), relay};
    struct domains *domains = domains_with(none, &change, 1);

    domains_unref(&none);
    conf_domain_unref(&relay);
    return domains;
}

static const struct {
    const char *name;
    const char *conf;
    const char *sender;
    const char *recipient;
    const char *queue; /* or the status of a refusal */
    const char *why;   /* a part of it */
} rows[] = {
    {"a relay domain", "", "a@x.example", "u@relay.example", "relay.example", "a relay domain"},
    {"capitals", "", "a@x.example", "u@Relay.EXAMPLE", "relay.example", ""},
    {"an alias", "", "", "u@alias.example", "relay.example", "taken by a relay domain"},
    {"a name below it", "", "", "u@a.relay.example", "relay.example", ""},
    {"a relay domain before a smart host", HOST_ALL, "", "u@relay.example", "relay.example",
     ""},
    {"the world", "", "a@x.example", "u@Example.NET", "out:example.net",
     "MX hosts of example.net"},
    {"U-labels", "", "",
     "u@b\xc3\xbc"
     "cher.example",
     "out:xn--bcher-kva.example", ""},
    {"quoted", "", "", "\"a@b\"@example.net", "out:example.net", ""},
    {"our own name", "", "", "postmaster@MX2.example.net", "5.1.2", "our own name"},
    {"a literal", "", "", "u@[192.0.2.1]", "5.1.2", "brackets"},
    {"this host", "", "", "u@localhost", "5.1.2", "every host"},
    {"this host by another name", HOST_ALL, "", "u@a.localhost", "5.1.2", "every host"},
    {"no domain", "", "", "postmaster", "5.1.3", ""},
    {"no address", "", "", "", "5.1.3", ""},
    {"two addresses", "", "", "a@b.example, c@d.example", "5.1.3", ""},
    {"a sender that is none", "", "a", "u@example.net", "5.1.7", ""},
    {"for all", HOST_ALL, "", "u@example.net", "smarthost:all", "is for all mail"},
    {"a domain of senders", HOST_A HOST_ALL, "Y@EXAMPLE.org", "u@example.edu", "smarthost:a",
     "the sender @example.org"},
    {"not those below it", HOST_A, "y@a.example.org", "u@example.edu", "out:example.edu", ""},
    {"a sender", HOST_A HOST_ALL, "X@b.example", "u@example.edu", "smarthost:a", "x@b.example"},
    {"another sender", HOST_A HOST_ALL, "xx@b.example", "u@example.edu", "smarthost:all", ""},
    {"reports have no sender", HOST_A, "", "u@example.edu", "out:example.edu", ""},
    {"a domain", HOST_B, "", "u@example.net", "smarthost:b", "the domain example.net"},
    {"not those below it", HOST_B, "", "u@a.example.net", "out:a.example.net", ""},
    {"those below it", HOST_B, "", "u@a.b.example.com", "smarthost:b", ".example.com"},
    {"not itself", HOST_B, "", "u@example.com", "out:example.com", ""},
    {"not what only ends so", HOST_B, "", "u@aexample.com", "out:aexample.com", ""},
    {"the first of two", HOST_A HOST_B, "a@example.org", "u@example.net", "smarthost:a", ""},
    {"the first of two, the other way", HOST_B HOST_A, "a@example.org", "u@example.net",
     "smarthost:b", ""},
    {"for all is the last, wherever it stands", HOST_ALL HOST_B, "", "u@example.net",
     "smarthost:b", ""},
    {"both must fit", HOST_C, "", "u@example.edu", "smarthost:c", ""},
    {"both must fit, sender", HOST_C, "a@b.example", "u@example.edu", "out:example.edu", ""},
    {"both must fit, domain", HOST_C, "", "u@example.net", "out:example.net", ""},
};

static void test_choices(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct conf *conf = helper_conf(rows[i].conf);
        struct domains *domains = make_domains(conf);
        struct route_choice choice;
        const char *said;

        route_choose(conf, domains, pn_str_z(rows[i].sender), pn_str_z(rows[i].recipient),
                     &choice);
        said = choice.refused ? choice.status : choice.queue;
        if (strcmp(said, rows[i].queue) != 0 || !strstr(choice.why, rows[i].why)) {
            fail_msg("%s: \"%s\", %s", rows[i].name, said, choice.why);
        }
        assert_int_equal(choice.refused, choice.code == 550);
        if (!choice.refused) {
            struct conf_domain *domain =
                route_queue_domain(conf, domains, pn_str_z(choice.queue));

            assert_non_null(domain);
            assert_int_equal(domain->kind, choice.kind);
            assert_int_equal(route_queue_kind(pn_str_z(choice.queue)), choice.kind);
            assert_string_equal(domain->name, choice.queue);
            conf_domain_unref(&domain);
        }
        domains_unref(&domains);
        conf_unref(&conf);
    }
}

static void test_longest_domain(void **state)
{
    struct conf *conf = helper_conf("");
    struct domains *domains = make_domains(conf);
    struct route_choice choice;
    char recipient[300] = "u@";

    (void)state;
    for (size_t i = 0; i < 250; i++) {
        recipient[i + 2] = i % 63 == 62 ? '.' : 'a';
    }
    route_choose(conf, domains, PN_STR(""), pn_str_z(recipient), &choice);
    assert_false(choice.refused);
    assert_int_equal(strlen(choice.queue), 254);
    domains_unref(&domains);
    conf_unref(&conf);
}

static void test_queues_that_mean_nothing(void **state)
{
    static const char *const names[] = {
        "smarthost:b", "smarthost:", "gone.example", "", "out:", "out:a b",
        "out:a..b",    "out:[::1]",  "alias.example"};
    struct conf *conf = helper_conf(HOST_A);
    struct domains *domains = make_domains(conf);

    (void)state;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        assert_null(route_queue_domain(conf, domains, pn_str_z(names[i])));
    }
    domains_unref(&domains);
    conf_unref(&conf);
}

/* What the world begins with comes from the outbound section. */
static void test_the_world(void **state)
{
    struct conf *conf = helper_conf(
        "outbound { sessions = 3 hold = 2d fallback = {\"192.0.2.77\"} "
        "source_address = {\"192.0.2.50 out.example.net\"} tls_ca_file = \"/ca\" }");
    struct domains *domains = domains_new();
    struct conf_domain *domain = route_queue_domain(conf, domains, PN_STR("out:Example.ORG"));

    (void)state;
    assert_string_equal(domain->name, "out:example.org");
    assert_string_equal(domain->mx_name, "example.org");
    assert_true(domain->target_mx);
    assert_int_equal(domain->sessions, 3);
    assert_int_equal(domain->hold_ms, 2 * 86400000LL);
    assert_int_equal(domain->tls, CONF_TLS_DANE);
    assert_int_equal(domain->identity, CONF_IDENTITY_NONE);
    assert_int_equal(domain->fallback_count, 1);
    assert_string_equal(domain->source_names[0], "out.example.net");
    assert_string_equal(domain->recipient_list, "");
    assert_string_equal(domain->destination,
                        "smtp:mx example.org;fallback=192.0.2.77:25;tls=dane;source_address={"
                        "\"192.0.2.50 out.example.net\"};tls_ca_file=\"/ca\";identity=none");
    conf_unref(&conf); /* it stands on its own */
    assert_string_equal(domain->tls_ca_file, "/ca");
    conf_domain_unref(&domain);
    domains_unref(&domains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_longest_domain),
        cmocka_unit_test(test_queues_that_mean_nothing),
        cmocka_unit_test(test_the_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
