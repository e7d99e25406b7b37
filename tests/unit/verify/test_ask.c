/*
 * test_ask.c - targets that answer questions about recipients, well and badly.
 */
#include "helper_target.h"

#include "verify_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define VALID      "valid call-ahead"
#define INVALID    "invalid call-ahead"
#define REMEMBERED " remembered"
#define SILENT     "unknown nobody 4.4.3"
#define TOO_OFTEN  "unknown nobody 4.7.1"

/* ---- replies that say nothing of the recipient ---- */

static const struct world_rule greylists[] = {
    COMMON, {.verb = "RCPT", .reply = "450 4.1.1 greylisted at mail.example.org\r\n"}, {0}};
static const struct world_rule policy[] = {
    COMMON, {.verb = "RCPT", .reply = "550 5.7.1 192.0.2.1 does not like you\r\n"}, {0}};
static const struct world_rule closes[] = {
    COMMON, {.verb = "RCPT", .reply = "421 4.3.2 bye\r\n", .then = RULE_CLOSE}, {0}};
static const struct world_rule resets[] = {COMMON, {.verb = "RCPT", .then = RULE_RESET}, {0}};
static const struct world_rule garbage[] = {
    COMMON, {.verb = "RCPT", .reply = "\x16\x03\x01 2 5 0\r\n"}, {0}};
static const struct world_rule goes_on[] = {
    COMMON, {.verb = "RCPT", .reply = "354 go on\r\n"}, {0}};
static const struct world_rule silence[] = {COMMON, {.verb = "RCPT"}, {0}};
static const struct world_rule all_bare[] = {
    COMMON, {.verb = "RCPT", .reply = "550 no\r\n"}, {0}};
static const struct world_rule mail_refused[] = {
    {.verb = "MAIL", .reply = "550 5.1.1 no null senders\r\n"}, COMMON, {0}};
static const struct world_rule mail_later[] = {
    {.verb = "MAIL", .reply = "451 4.3.0 later\r\n"}, COMMON, {0}};
static const struct world_rule mail_closes[] = {
    {.verb = "MAIL", .reply = "421 bye\r\n", .then = RULE_CLOSE}, COMMON, {0}};
static const struct world_rule ehlo_refused[] = {{.verb = "EHLO", .reply = "550 5.1.1 no\r\n"},
                                                 {.verb = "HELO", .reply = "550 no\r\n"},
                                                 {0}};
static const struct world_rule quits_at_mail[] = {
    {.verb = "MAIL", .then = RULE_RESET}, COMMON, {0}};

static void test_says_nothing(void **state)
{
    static const struct {
        const char *name;
        const struct world_rule *rules;
    } rows[] = {
        {"greylists", greylists},
        {"5.7.1 for all", policy},
        {"421", closes},
        {"resets", resets},
        {"garbage", garbage},
        {"354 to RCPT", goes_on},
        {"a tarpit", silence},
        {"a bare 550 for all", all_bare},
        {"MAIL refused", mail_refused},
        {"MAIL later", mail_later},
        {"421 to MAIL", mail_closes},
        {"EHLO refused", ehlo_refused},
        {"resets at MAIL", quits_at_mail},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        target_rules(f, rows[i].rules);
        target_ask(f, 0, "anna");
        target_ask(f, 1, "anna");
        target_ask(f, 2, "bert");
        target_run(f, PN_SECONDS(15));
        print_message("%s\n", rows[i].name);
        assert_string_equal(target_told(f, 0), SILENT);
        assert_string_equal(target_told(f, 1), SILENT);
        assert_string_equal(target_told(f, 2), SILENT);
        assert_string_equal(target_known(f, "anna"), "unknown");
        assert_false(state_catch_all_get(f->state, PN_STR("example.org")).known);
        assert_true(target_got(f, "RCPT TO:<anna@") <= 1);
        assert_true(target_got(f, "RCPT TO:<postern-") <= 1);
        target_run(f, PN_MINUTES(12));
        target_got_none(f);
    }
}

static void test_nobody_is_there(void **state)
{
    struct fixture *f = *state;

    f->peer->how = PEER_REFUSES;
    assert_string_equal(target_verdict(f, "anna"), SILENT);
    f->peer->how = PEER_IGNORES;
    assert_string_equal(target_verdict(f, "anna"), SILENT);
}

/* What goes down while it is asked is judged as what is down. */
static void test_goes_down_while_asked(void **state)
{
    struct fixture *f = *state;

    target_rules(f, silence);
    target_put(f, "bert", STATE_INVALID);
    target_age(f, PN_DAYS(1));
    target_ask(f, 0, "anna");
    target_ask(f, 1, "bert");
    target_run(f, PN_SECONDS(1));
    assert_string_equal(target_told(f, 1), "");
    target_state(f, QUEUE_DOWN, false);
    target_run(f, PN_SECONDS(14));
    assert_string_equal(target_told(f, 0), "unknown nobody 4.4.0");
    assert_string_equal(target_told(f, 1), INVALID REMEMBERED);
}

/* A no of a target that has gone on parole meanwhile proves nothing. */
static void test_goes_on_parole_while_asked(void **state)
{
    struct fixture *f = *state;

    target_rules(f, silence);
    state_catch_all_put(f->state, PN_STR("example.org"), false);
    target_ask(f, 0, "bert");
    target_run(f, PN_SECONDS(1));
    target_state(f, QUEUE_UP, true);
    world_say(&f->world, f->peer, "550 5.1.1 no\r\n", RULE_STAY);
    target_run(f, 0);
    assert_string_equal(target_told(f, 0), "unknown nobody 4.4.0");
    assert_string_equal(target_known(f, "bert"), "unknown");
}

/* The client is told 450; the question goes on and teaches. */
static void test_a_late_answer_teaches(void **state)
{
    struct fixture *f = *state;

    target_rules(f, silence);
    state_catch_all_put(f->state, PN_STR("example.org"), false);
    assert_string_equal(target_verdict(f, "bert"), SILENT);
    target_run(f, PN_SECONDS(10));
    world_say(&f->world, f->peer, "550 5.1.1 no\r\n", RULE_STAY);
    target_run(f, 0);
    assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED);
}

/* ---- bare refusals ---- */

static void test_a_bare_550_needs_a_witness(void **state)
{
    static const struct world_rule rules[] = {
        COMMON,
        {.verb = "RCPT TO:<anna@", .reply = OK, .times = 1},
        {.verb = "RCPT TO:<postmaster@", .reply = OK},
        {.verb = "RCPT", .reply = "550 no\r\n"},
        {0},
    };
    struct fixture *f = *state;

    target_rules(f, rules);
    assert_string_equal(target_verdict(f, "bert"), INVALID);
    assert_int_equal(target_got(f, "RCPT TO:<postmaster@example.org>"), 1);
    assert_string_equal(target_verdict(f, "carl"), INVALID);
    assert_int_equal(target_got(f, "RCPT TO:<postmaster@"), 1); /* that was lately */
    assert_false(state_catch_all_get(f->state, PN_STR("example.org")).catch_all);
    assert_true(state_catch_all_get(f->state, PN_STR("example.org")).known);
    target_run(f, PN_MINUTES(5));
    assert_string_equal(target_verdict(f, "anna"), VALID);
    assert_string_equal(target_verdict(f, "dora"), INVALID); /* anna's yes is a witness */
    assert_int_equal(target_got(f, "RCPT TO:<postmaster@"), 1);
    target_put(f, "anna", STATE_UNKNOWN);
    assert_string_equal(target_verdict(f, "anna"), INVALID); /* but not of herself */
    assert_int_equal(target_got(f, "RCPT TO:<postmaster@"), 2);
}

/* ---- it takes, and later refuses ---- */

static void test_takes_and_later_refuses(void **state)
{
    struct fixture *f = *state;
    struct smtp_reply reply;

    assert_string_equal(target_verdict(f, "anna"), VALID);
    smtp_reply_set(&reply, 554, "5.6.0", "no viruses");
    verify_learn(f->verify, f->domain, PN_STR("anna"), &reply, STATE_BY_PASS_THROUGH);
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
    smtp_reply_set(&reply, 550, "5.1.1", "gone");
    verify_learn(f->verify, f->domain, PN_STR("anna"), &reply, STATE_BY_DELIVERY);
    assert_string_equal(target_verdict(f, "anna"), INVALID REMEMBERED);
}

/* ---- below the domain ---- */

static void test_below_the_domain_is_somebody_else(void **state)
{
    static const struct world_rule rules[] = {
        COMMON,
        NO_RANDOM,
        {.verb = "RCPT TO:<anna@example.org>", .reply = OK},
        {.verb = "RCPT TO:<bert@sub.example.org>", .reply = OK},
        {.verb = "RCPT", .reply = "550 5.1.1 no\r\n"},
        {0},
    };
    struct fixture *f = *state;

    target_rules(f, rules);
    assert_string_equal(target_verdict(f, "anna"), VALID);
    assert_string_equal(target_verdict(f, "anna@sub.example.org"), INVALID);
    assert_string_equal(target_verdict(f, "bert@sub.example.org"), VALID);
    assert_string_equal(target_verdict(f, "bert"), INVALID);
    assert_string_equal(target_verdict(f, "BERT@SUB.example.org"), VALID REMEMBERED);
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
    assert_string_equal(target_known(f, "bert@sub.example.org"), "valid");
}

static void test_names(void **state)
{
    static const struct {
        const char *address, *want;
    } cases[] = {
        {"anna@example.org", "anna"},
        {"anna@EXAMPLE.ORG", "anna"},
        {"anna@alias.example", "anna"},
        {"anna@Sub.Example.org", "anna@sub.example.org"},
        {"anna@a.b.example.org", "anna@a.b.example.org"},
        {"anna@notexample.org", "anna"},
        {"\"a@b\"@example.org", "\"a@b\""},
        {"\"a@b\"@sub.example.org", "\"a@b\"@sub.example.org"},
        {"postmaster", "postmaster"},
        {"\"a@sub.example.org\"", "\"a@sub.example.org\""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        char out[VERIFY_NAME_MAX];
        struct pn_str name = verify_name(f->domain, pn_str_z(cases[i].address), out);

        print_message("%s\n", cases[i].address);
        assert_true(pn_str_eq(name, pn_str_z(cases[i].want)));
    }
}

/* ---- catch-alls ---- */

static void test_catch_all(void **state)
{
    static const struct world_rule rules[] = {
        COMMON,
        {.verb = "RCPT TO:<bert@", .reply = "550 5.1.1 retired\r\n"},
        {.verb = "RCPT", .reply = OK},
        {0},
    };
    struct fixture *f = *state;
    struct smtp_reply reply;

    target_rules(f, rules);
    assert_string_equal(target_verdict(f, "anna"), VALID " catch-all");
    assert_string_equal(target_known(f, "anna"), "unknown");
    assert_true(state_catch_all_get(f->state, PN_STR("example.org")).catch_all);
    target_got_none(f);
    assert_string_equal(target_verdict(f, "anna"), VALID " catch-all");
    assert_string_equal(target_verdict(f, "carl"), VALID " catch-all");
    assert_int_equal(target_got(f, "RCPT"), 0);
    smtp_reply_set(&reply, 250, "", "ok");
    verify_learn(f->verify, f->domain, PN_STR("anna"), &reply, STATE_BY_PASS_THROUGH);
    assert_string_equal(target_known(f, "anna"), "unknown");
    verify_learn(f->verify, f->domain, PN_STR("anna"), &reply, STATE_BY_DELIVERY);
    assert_string_equal(target_known(f, "anna"), "valid");
    smtp_reply_set(&reply, 550, "5.1.1", "retired");
    verify_learn(f->verify, f->domain, PN_STR("bert"), &reply, STATE_BY_PASS_THROUGH);
    assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED " catch-all");
    target_state(f, QUEUE_DOWN, false);
    assert_string_equal(target_verdict(f, "carl"), VALID " catch-all");
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED " catch-all");
    target_state(f, QUEUE_UP, false);
    target_age(f, PN_DAYS(7));
    target_rules(f, target_good);
    target_run(f, PN_MINUTES(10));
    assert_string_equal(target_verdict(f, "carl"), INVALID);
    assert_int_equal(target_got(f, "RCPT TO:<postern-"), 1);
    assert_false(state_catch_all_get(f->state, PN_STR("example.org")).catch_all);
}

static void test_the_random_address_is_greylisted(void **state)
{
    static const struct world_rule rules[] = {
        COMMON,
        {.verb = "RCPT TO:<postern-", .reply = "450 4.2.0 greylisted\r\n", .times = 1},
        {.verb = "RCPT TO:<postern-", .then = RULE_RESET, .times = 1},
        {.verb = "RCPT", .reply = OK},
        {0},
    };
    struct fixture *f = *state;

    target_rules(f, rules);
    assert_string_equal(target_verdict(f, "anna"), VALID);
    assert_string_equal(target_verdict(f, "bert"), VALID);
    assert_int_equal(target_got(f, "RCPT TO:<postern-"), 1);
    target_run(f, PN_MINUTES(10));
    assert_string_equal(target_verdict(f, "carl"), VALID); /* in a new session */
    assert_int_equal(target_got(f, "RCPT TO:<postern-"), 2);
    target_run(f, PN_MINUTES(10));
    assert_string_equal(target_verdict(f, "dora"), VALID " catch-all");
}

/* ---- sharing ---- */

static void ask_many(struct fixture *f, size_t count)
{
    char local[32];

    for (size_t i = 0; i < count; i++) {
        snprintf(local, sizeof local, "u%zu", i);
        target_ask(f, i, local);
    }
}

static void test_the_same_question_is_put_once(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ASKERS; i++) {
        target_ask(f, i, i % 2 ? "Anna" : "anna");
    }
    target_run(f, 0);
    for (size_t i = 0; i < ASKERS; i++) {
        assert_string_equal(target_told(f, i), VALID);
    }
    assert_int_equal(target_got(f, "RCPT TO:<anna@"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<Anna@"), 0);
    assert_int_equal(f->peer->connections, 1);
}

static void test_many_questions_share_sessions(void **state)
{
    static const struct world_rule rules[] = {
        COMMON, NO_RANDOM, {.verb = "RCPT", .reply = OK}, {0}};
    struct fixture *f = *state;

    target_rules(f, rules);
    ask_many(f, 60);
    target_run(f, 0);
    for (size_t i = 0; i < 60; i++) {
        assert_string_equal(target_told(f, i), VALID);
    }
    assert_int_equal(target_got(f, "RCPT"), 61);
    assert_in_range(f->peer->connections, 1, 4);
    /* No transaction has more than 20. */
    assert_in_range(target_got(f, "MAIL"), 4, 8);
    assert_int_equal(target_got(f, "RSET"), target_got(f, "MAIL"));
}

static void test_a_transaction_has_an_end(void **state)
{
    static const struct world_rule rules[] = {
        COMMON, NO_RANDOM, {.verb = "RCPT", .reply = OK}, {0}};
    struct fixture *f = *state;

    target_rules(f, rules);
    target_domain(f, "sessions = 1");
    ask_many(f, 60);
    target_run(f, PN_SECONDS(1));
    assert_int_equal(f->peer->connections, 1);
    assert_int_equal(target_got(f, "RCPT"), 61);
    assert_int_equal(target_got(f, "MAIL"), 4);
}

/* Servers slow down, and then drop, who names many bad addresses in one session. */
static void test_a_session_names_few_bad_addresses(void **state)
{
    struct fixture *f = *state;

    ask_many(f, 60);
    target_run(f, PN_SECONDS(1));
    for (size_t i = 0; i < 60; i++) {
        assert_string_equal(target_told(f, i), INVALID);
    }
    assert_true(f->peer->connections >= 61 / 8);
}

static void test_addresses_in_utf8(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 SMTPUTF8\r\n"},
        COMMON,
        NO_RANDOM,
        {.verb = "RCPT", .reply = OK},
        {0}};
    struct fixture *f = *state;

    target_rules(f, rules);
    target_ask(f, 0, "anna");
    target_ask(f, 1, "j\xc3\xb6rg");
    target_ask(f, 2, "bert");
    target_run(f, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(target_told(f, i), VALID);
    }
    assert_int_equal(target_got(f, "MAIL FROM:<> SMTPUTF8"), 1);
    assert_int_equal(target_got(f, "MAIL FROM:<>"), 2);
    assert_int_equal(target_got(f, "RCPT TO:<j\xc3\xb6rg@example.org>"), 1);
}

/* Who cannot be asked about is no hindrance to the others. */
static void test_a_target_without_utf8(void **state)
{
    struct fixture *f = *state;

    target_ask(f, 0, "j\xc3\xb6rg");
    target_ask(f, 1, "anna");
    target_run(f, 0);
    assert_string_equal(target_told(f, 0), SILENT);
    assert_string_equal(target_told(f, 1), VALID);
}

/* A warm session that the peer has closed, without our having seen it. */
static void test_a_dead_session_is_no_answer(void **state)
{
    static const struct world_rule rules[] = {{.verb = "MAIL",
                                               .reply = "421 4.4.2 you were idle\r\n",
                                               .then = RULE_CLOSE,
                                               .times = 1},
                                              COMMON,
                                              NO_RANDOM,
                                              {.verb = "RCPT", .reply = OK},
                                              {0}};
    struct fixture *f = *state;

    assert_string_equal(target_verdict(f, "anna"), VALID);
    target_rules(f, rules);
    assert_string_equal(target_verdict(f, "bert"), VALID);
    assert_int_equal(f->peer->connections, 2);
}

/* ---- limits ---- */

static void on_verdict(void *owner, const struct verify_verdict *verdict)
{
    (void)verdict;
    (*(size_t *)owner)++;
}

/* A harvest of 100,000 made-up addresses. */
static void test_harvest(void **state)
{
    struct fixture *f = *state;
    struct verify_request *requests = pn_alloc_array(1000, sizeof *requests);
    size_t told = 0, minutes;

    for (size_t i = 0; i < 100000; i++) {
        char local[32];

        snprintf(local, sizeof local, "u%zu", i);
        requests[i % 1000] = (struct verify_request){.on_verdict = on_verdict, .owner = &told};
        verify_ask(f->verify, &requests[i % 1000], f->conf, f->domain, pn_str_z(local),
                   &f->client);
        f->client.octets[3]++; /* of the same network */
        if (i % 1000 == 999) {
            target_run(f, PN_SECONDS(15));
        }
    }
    target_run(f, PN_SECONDS(15));
    assert_int_equal(told, 100000);
    minutes = 100 * 15 / 60 + 1;
    assert_in_range(target_got(f, "RCPT TO:<u"), 60, 60 + 60 * minutes);
    assert_string_equal(target_verdict(f, "another"), INVALID);
    free(requests);
}

static void test_each_network_pays(void **state)
{
    struct fixture *f = *state;

    ask_many(f, 61);
    target_run(f, 0);
    assert_string_equal(target_told(f, 59), INVALID);
    assert_string_equal(target_told(f, 60), TOO_OFTEN);
    assert_string_equal(target_verdict(f, "u0"), INVALID REMEMBERED);
    f->client.octets[2]++;
    assert_string_equal(target_verdict(f, "u60"), INVALID);
    f->client.octets[2]--;
    target_run(f, PN_SECONDS(1));
    assert_string_equal(target_verdict(f, "u61"), INVALID);
    assert_string_equal(target_verdict(f, "u62"), TOO_OFTEN);
}

static void test_the_rates_are_bounded(void **state)
{
    static const struct {
        const char *address;
        bool taken;
    } rows[] = {
        {"192.0.2.1", true},      {"192.0.2.200", true},   {"192.0.2.3", false},
        {"192.0.3.1", true},      {"2001:db8:1::1", true}, {"2001:db8:1:2::1", true},
        {"2001:db8:1::7", false}, {"2001:db8:2::1", true}, {"::ffff:192.0.2.9", false},
    };
    struct verify_rates *rates = verify_rates_new();
    struct pn_mono now = {5};
    struct pn_ip ip;

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        assert_true(pn_ip_parse(pn_str_z(rows[i].address), &ip));
        assert_int_equal(verify_rates_take(rates, &ip, 2, now), rows[i].taken);
    }
    assert_true(pn_ip_parse(PN_STR("192.0.2.1"), &ip));
    now.ms += 29999;
    assert_false(verify_rates_take(rates, &ip, 2, now));
    now.ms += 1;
    assert_true(verify_rates_take(rates, &ip, 2, now));
    for (uint32_t i = 0; i < 20000; i++) {
        struct pn_ip other = pn_ip_v4(0x0a000000 + (i << 8));

        assert_true(verify_rates_take(rates, &other, 1, now));
    }
    assert_true(verify_rates_take(rates, &ip, 2, now)); /* long forgotten */
    verify_rates_free(&rates);
}

/* A tarpit has no more than so many questions, and other targets are still asked. */
static void test_a_tarpit_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct verify_request *requests = pn_alloc_array(2000, sizeof *requests);
    size_t told = 0, at_once;

    target_rules(f, silence);
    for (size_t i = 0; i < 2000; i++) {
        char local[32];

        snprintf(local, sizeof local, "u%zu", i);
        f->client = pn_ip_v4(0x0a000000 + ((uint32_t)i << 8));
        requests[i] = (struct verify_request){.on_verdict = on_verdict, .owner = &told};
        verify_ask(f->verify, &requests[i], f->conf, f->domain, pn_str_z(local), &f->client);
    }
    target_run(f, PN_SECONDS(1));
    at_once = told;
    assert_int_equal(at_once, 2000 - 250);
    target_run(f, PN_SECONDS(15));
    assert_int_equal(told, 2000);
    target_run(f, PN_MINUTES(5));
    assert_true(target_got(f, "RCPT") <= 16); /* the others have waited too long */
    target_rules(f, target_good);
    target_run(f, PN_MINUTES(5));
    assert_string_equal(target_verdict(f, "anna"), VALID);
    free(requests);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, target_setup, target_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_says_nothing),
        ROW(test_nobody_is_there),
        ROW(test_goes_down_while_asked),
        ROW(test_goes_on_parole_while_asked),
        ROW(test_a_late_answer_teaches),
        ROW(test_a_bare_550_needs_a_witness),
        ROW(test_takes_and_later_refuses),
        ROW(test_below_the_domain_is_somebody_else),
        ROW(test_names),
        ROW(test_catch_all),
        ROW(test_the_random_address_is_greylisted),
        ROW(test_the_same_question_is_put_once),
        ROW(test_many_questions_share_sessions),
        ROW(test_a_transaction_has_an_end),
        ROW(test_a_session_names_few_bad_addresses),
        ROW(test_addresses_in_utf8),
        ROW(test_a_target_without_utf8),
        ROW(test_a_dead_session_is_no_answer),
        ROW(test_harvest),
        ROW(test_each_network_pays),
        ROW(test_the_rates_are_bounded),
        ROW(test_a_tarpit_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
