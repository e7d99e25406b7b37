/* What ingress/verdict tells clients. */
#include "verdict_priv.h"

#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = world_new("recipients_max = 100\nhops_max = 10\nmessage_size = \"1M\"\n"
                       "free_space = \"1G\"\netrn_clients = {\"203.0.113.0/24\"}\n");
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    world_free(&world);
    return 0;
}

/* "550 5.7.1" */
static const char *brief(const struct smtp_reply *reply)
{
    static char text[32];

    snprintf(text, sizeof text, "%d %s", reply->code, reply->enhanced);
    return text;
}

struct mail_row {
    const char *name;
    enum spool_readiness readiness;
    uint64_t free_octets;
    bool size_known;
    uint64_t size_octets;
    const char *expected;
};

#define GIB ((uint64_t)1 << 30)

static const struct mail_row mail_rows[] = {
    {"no SIZE", SPOOL_READY, 0, false, 0, "250 2.1.0"},
    {"SIZE 0", SPOOL_READY, 0, true, 0, "250 2.1.0"},
    {"small SIZE needs no look at the disk", SPOOL_READY, 0, true, 65536, "250 2.1.0"},
    {"largest", SPOOL_READY, 10 * GIB, true, 1 << 20, "250 2.1.0"},
    {"too large", SPOOL_READY, 10 * GIB, true, (1 << 20) + 1, "552 5.3.4"},
    {"2^64 - 1", SPOOL_READY, UINT64_MAX, true, UINT64_MAX, "552 5.3.4"},
    {"just fits", SPOOL_READY, GIB + 100000, true, 100000, "250 2.1.0"},
    {"would touch the reserve", SPOOL_READY, GIB + 99999, true, 100000, "452 4.3.1"},
    {"reserve is touched already", SPOOL_READY, GIB - 1, true, 100000, "452 4.3.1"},
    {"full", SPOOL_FULL, 10 * GIB, false, 0, "452 4.3.1"},
    {"broken", SPOOL_BROKEN, 10 * GIB, false, 0, "452 4.3.1"},
    {"too large, and full", SPOOL_FULL, 0, true, 1 << 21, "552 5.3.4"},
};

static void test_mail(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(mail_rows); i++) {
        const struct mail_row *row = &mail_rows[i];
        struct smtp_event event = {.kind = SMTP_EV_MAIL,
                                   .size_known = row->size_known,
                                   .size_octets = row->size_octets};
        struct smtp_reply reply;

        print_message("%s\n", row->name);
        ingress_verdict_mail(world->conf, row->readiness, row->free_octets, &event, &reply);
        assert_string_equal(brief(&reply), row->expected);
    }
}

struct rcpt_row {
    const char *path;
    const char *expected;
    const char *domain; /* or NULL */
};

/* FAULTS 3.18 to 3.20 and 3.28. What the address parser refuses stands in test_session. */
static const struct rcpt_row rcpt_rows[] = {
    {"<a@example.org>", "250 2.1.5", "example.org"},
    {"<a@EXAMPLE.Org>", "250 2.1.5", "example.org"},
    {"<a@example.com>", "250 2.1.5", "example.com"},
    {"<a@deep.sub.example.com>", "250 2.1.5", "example.com"},
    {"<\"a b\"@example.org>", "250 2.1.5", "example.org"},
    {"<postmaster>", "250 2.1.5", "example.net"},
    {"<POSTMASTER>", "250 2.1.5", "example.net"},
    {"<postmaster@example.org>", "250 2.1.5", "example.org"},
    {"<postmaster@elsewhere.test>", "550 5.7.1", NULL},
    {"<a@elsewhere.test>", "550 5.7.1", NULL},
    {"<a@sub.example.org>", "550 5.7.1", NULL},
    {"<a@xexample.org>", "550 5.7.1", NULL},
    {"<a@xexample.com>", "550 5.7.1", NULL},
    {"<a@example.org.evil.test>", "550 5.7.1", NULL},
    {"<a@org>", "550 5.7.1", NULL},
    {"<a@localhost>", "550 5.7.1", NULL},
    {"<a@mx2.example.net>", "550 5.7.1", NULL},
    {"<a@[127.0.0.1]>", "550 5.7.1", NULL},
    {"<a@[IPv6:::1]>", "550 5.7.1", NULL},
    {"<a@[IPv6:::ffff:127.0.0.1]>", "550 5.7.1", NULL},
    {"<a%evil.test@example.org>", "550 5.7.1", NULL},
    {"<evil.test!a@example.org>", "550 5.7.1", NULL},
    {"<\"a@evil.test\"@example.org>", "550 5.7.1", NULL},
    {"<@example.org:a@evil.test>", "550 5.7.1", NULL},
    {"<@evil.test:a@example.org>", "250 2.1.5", "example.org"},
};

static void test_rcpt(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(rcpt_rows); i++) {
        const struct rcpt_row *row = &rcpt_rows[i];
        struct smtp_event event = {.kind = SMTP_EV_RCPT};
        struct pn_str path = pn_str_z(row->path);
        const struct conf_domain *domain;
        struct smtp_reply reply;

        print_message("%s\n", row->path);
        assert_int_equal(mail_path_parse(&path, false, true, true, &event.address),
                         MAIL_ADDRESS_OK);
        domain = ingress_verdict_rcpt(world->conf, world->domains, &event, 99, &reply);
        assert_string_equal(brief(&reply), row->expected);
        assert_int_equal(domain != NULL, row->domain != NULL);
        if (domain) {
            assert_string_equal(domain->name, row->domain);
            assert_null(ingress_verdict_rcpt(world->conf, world->domains, &event, 100, &reply));
            assert_string_equal(brief(&reply), "452 4.5.3");
        }
    }
}

static void test_postmaster_goes_to_the_first_domain_or_nobody(void **state)
{
    struct world *world = *state;
    struct domains *none = domains_new();
    struct domains_change change = {.name = PN_STR("example.net")};
    struct domains *others = domains_with(world->domains, &change, 1);
    struct smtp_event event = {.kind = SMTP_EV_RCPT};
    struct pn_str path = PN_STR("<postmaster>");
    struct smtp_reply reply;

    assert_int_equal(mail_path_parse(&path, false, true, false, &event.address),
                     MAIL_ADDRESS_OK);
    assert_null(ingress_verdict_rcpt(world->conf, none, &event, 0, &reply));
    assert_string_equal(brief(&reply), "550 5.7.1");
    assert_string_equal(ingress_verdict_rcpt(world->conf, others, &event, 0, &reply)->name,
                        "example.com");
    domains_unref(&others);
    domains_unref(&none);
}

struct end_row {
    const char *name;
    bool bare_newline, too_long;
    unsigned received;
    const char *expected; /* "" : it is taken */
};

static const struct end_row end_rows[] = {
    {"good", false, false, 0, ""},
    {"as many hops as allowed", false, false, 10, ""},
    {"one more", false, false, 11, "554 5.4.6"},
    {"bare newline", true, false, 0, "550 5.6.11"},
    {"too long", false, true, 0, "552 5.3.4"},
    {"all of it", true, true, 99, "550 5.6.11"},
};

static void test_end(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(end_rows); i++) {
        const struct end_row *row = &end_rows[i];
        struct smtp_event event = {
            .kind = SMTP_EV_END, .bare_newline = row->bare_newline, .too_long = row->too_long};
        struct smtp_reply reply;

        print_message("%s\n", row->name);
        assert_int_equal(ingress_verdict_end(world->conf, &event, row->received, &reply),
                         row->expected[0] == '\0');
        if (row->expected[0]) {
            assert_string_equal(brief(&reply), row->expected);
        }
    }
}

struct etrn_row {
    const char *name;
    const char *client;
    const char *expected;
};

static const struct etrn_row etrn_rows[] = {
    {"example.org", "192.0.2.25", "250 2.0.0"},
    {"Example.ORG", "192.0.2.25", "250 2.0.0"},
    {"example.org", "203.0.113.9", "250 2.0.0"},
    {"example.net", "203.0.113.9", "250 2.0.0"},
    {"example.net", "192.0.2.25", "459 4.7.1"},
    {"example.org", "192.0.2.26", "459 4.7.1"},
    {"sub.example.com", "203.0.113.9", "459 4.7.1"},
    {"elsewhere.test", "203.0.113.9", "459 4.7.1"},
    {"@example.org", "203.0.113.9", "501 5.5.4"},
    {"#example.org", "203.0.113.9", "501 5.5.4"},
    {"#',", "203.0.113.9", "501 5.5.4"},
    {"", "203.0.113.9", "501 5.5.4"},
};

static void test_etrn(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(etrn_rows); i++) {
        const struct etrn_row *row = &etrn_rows[i];
        struct smtp_event event = {.kind = SMTP_EV_ETRN, .name = pn_str_z(row->name)};
        const struct conf_domain *domain;
        struct smtp_reply reply;
        struct pn_ip client;

        print_message("%s from %s\n", row->name, row->client);
        assert_true(pn_ip_parse(pn_str_z(row->client), &client));
        domain = ingress_verdict_etrn(world->conf, world->domains, &client, &event, &reply);
        assert_string_equal(brief(&reply), row->expected);
        assert_int_equal(domain != NULL, reply.code == 250);
    }
}

static void test_data_says_why_not(void **state)
{
    struct smtp_reply reply;

    (void)state;
    ingress_verdict_data(SPOOL_READY, &reply);
    assert_int_equal(reply.code, 354);
    ingress_verdict_data(SPOOL_FULL, &reply);
    assert_string_equal(brief(&reply), "452 4.3.1");
    assert_non_null(strstr(reply.text, "free space"));
    ingress_verdict_data(SPOOL_BROKEN, &reply);
    assert_string_equal(brief(&reply), "452 4.3.1");
    assert_null(strstr(reply.text, "free space"));
}

struct pass_row {
    const char *name;
    struct smtp_reply from;
    int code;
    const char *enhanced;
    const char *text;
};

static const struct pass_row pass_rows[] = {
    {"a refusal", {550, "5.1.1", "<a@b>: User unknown"}, 550, "5.1.1", "<a@b>: User unknown"},
    {"no enhanced code", {550, "", "No"}, 550, "5.0.0", "No"},
    {"a code of another class", {550, "4.1.1", "No"}, 550, "5.0.0", "No"},
    {"a yes", {250, "2.0.0", "queued as X"}, 250, "2.0.0", "queued as X"},
    {"another yes", {251, "2.1.5", "forwarded"}, 250, "2.1.5", "forwarded"},
    {"421 is not our end", {421, "4.3.2", "Bye"}, 451, "4.0.0", "Bye"},
    {"no text", {554, "5.7.1", ""}, 554, "5.7.1", "refused by the domain's own server"},
    {"its name",
     {554, "5.7.1", "MAIL.inner.test says no"},
     554,
     "5.7.1",
     "refused by the domain's own server"},
    {"its name, well",
     {250, "2.0.0", "ok from mail.inner.test"},
     250,
     "2.0.0",
     "Ok: taken by the domain's own server"},
    {"the domain's name", {550, "5.1.1", "no a@example.org"}, 550, "5.1.1", "no a@example.org"},
};

static void test_what_the_target_said(void **state)
{
    struct conf_target targets[] = {{.host = (char *)(uintptr_t) "mail.inner.test"},
                                    {.host = (char *)(uintptr_t) "example.org"}};
    struct conf_domain domain = {.name = (char *)(uintptr_t) "example.org",
                                 .targets = targets,
                                 .target_count = PN_COUNT(targets)};
    struct smtp_reply reply;

    (void)state;
    for (size_t i = 0; i < PN_COUNT(pass_rows); i++) {
        const struct pass_row *row = &pass_rows[i];

        print_message("%s\n", row->name);
        ingress_verdict_pass(&domain, &row->from, &reply);
        assert_int_equal(reply.code, row->code);
        assert_string_equal(reply.enhanced, row->enhanced);
        assert_string_equal(reply.text, row->text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_target_said),
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_postmaster_goes_to_the_first_domain_or_nobody),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_etrn),
        cmocka_unit_test(test_data_says_why_not),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
