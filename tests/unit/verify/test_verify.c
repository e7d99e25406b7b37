/*
 * test_verify.c - the sources of a verdict, what is remembered, and outages.
 */
#include "helper_lists.h"
#include "helper_target.h"

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
#define NOT_ASKED  "unknown nobody 4.4.0"

/* ---- what is known ---- */

static void test_asks_once_and_remembers(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(target_verdict(f, "anna"), VALID);
    assert_string_equal(target_verdict(f, "bert"), INVALID);
    assert_string_equal(target_verdict(f, "ANNA"), VALID REMEMBERED);
    assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED);
    assert_int_equal(target_got(f, "RCPT TO:<anna@example.org>"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<bert@example.org>"), 1);
    assert_int_equal(target_got(f, "RCPT TO:<postern-"), 1);
    assert_int_equal(target_got(f, "MAIL FROM:<>"), 2);
    assert_int_equal(target_got(f, "DATA"), 0);
    target_restart(f);
    target_got_none(f);
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
    assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED);
    assert_int_equal(f->peer->got.len, 0);
}

static void test_ages(void **state)
{
    static const struct {
        const char *name;
        enum state_verdict verdict;
        int64_t up_ms;
        const char *then;
        size_t asked; /* when all is said */
    } rows[] = {
        {"a young yes", STATE_VALID, PN_DAYS(7), VALID REMEMBERED, 0},
        {"an older yes is refreshed", STATE_VALID, PN_DAYS(7) + 1, VALID REMEMBERED, 1},
        {"the oldest yes", STATE_VALID, PN_DAYS(31) - 1, VALID REMEMBERED, 1},
        {"a yes too old", STATE_VALID, PN_DAYS(31), INVALID, 1},
        {"a young no", STATE_INVALID, PN_HOURS(3), INVALID REMEMBERED, 0},
        {"an older no is asked first", STATE_INVALID, PN_HOURS(3) + 1, INVALID, 1},
        {"a no too old", STATE_INVALID, PN_DAYS(3), INVALID, 1},
    };
    struct fixture *f = *state;

    state_catch_all_put(f->state, PN_STR("example.org"), false);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        target_put(f, "cora", rows[i].verdict);
        target_age(f, rows[i].up_ms);
        state_catch_all_put(f->state, PN_STR("example.org"), false);
        target_got_none(f);
        print_message("%s\n", rows[i].name);
        assert_string_equal(target_verdict(f, "cora"), rows[i].then);
        assert_int_equal(target_got(f, "RCPT"), rows[i].asked);
        assert_string_equal(target_known(f, "cora"),
                            rows[i].verdict == STATE_VALID && rows[i].asked == 0 ? "valid"
                                                                                 : "invalid");
    }
}

/* An outage of any length changes nothing, nor do restarts and steps of the wall clock. */
static void test_outage_longer_than_any_age(void **state)
{
    static const struct {
        const char *name;
        enum queue_state state;
        bool parole;
    } rows[] = {
        {"down", QUEUE_DOWN, false},       {"held", QUEUE_HELD, false},
        {"unknown", QUEUE_UNKNOWN, false}, {"ramp", QUEUE_RAMP, true},
        {"up on parole", QUEUE_UP, true},
    };
    struct fixture *f = *state;

    target_put(f, "old", STATE_VALID);
    target_put(f, "oldbad", STATE_INVALID);
    target_age(f, PN_DAYS(400)); /* far beyond what is believed while it is up */
    assert_string_equal(target_verdict(f, "anna"), VALID);
    assert_string_equal(target_verdict(f, "bert"), INVALID);
    target_run(f, PN_MINUTES(1)); /* the warm session leaves */
    target_got_none(f);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        target_state(f, rows[i].state, rows[i].parole);
        target_run(f, PN_DAYS(500));
        f->world.loop.wall.ms += (i % 2 ? -1 : 1) * PN_DAYS(1000);
        target_restart(f);
        target_domain(f, "");
        target_state(f, rows[i].state, rows[i].parole);
        assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
        assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED);
        assert_string_equal(target_verdict(f, "old"), VALID REMEMBERED);
        assert_string_equal(target_verdict(f, "oldbad"), INVALID REMEMBERED);
        assert_string_equal(target_verdict(f, "carl"), NOT_ASKED);
        target_domain(f, "unknown_when_down = accept");
        target_state(f, rows[i].state, rows[i].parole);
        assert_string_equal(target_verdict(f, "carl"), "valid nobody");
        assert_string_equal(target_verdict(f, "bert"), INVALID REMEMBERED);
    }
    assert_int_equal(f->peer->got.len, 0);
    target_state(f, QUEUE_UP, false);
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
    assert_string_equal(target_verdict(f, "old"), INVALID);
}

/* Only one that is down is said to be away: any other that is not asked may be there. */
static void test_only_what_is_down_is_said_to_be_away(void **state)
{
    static const struct {
        const char *name;
        enum queue_state state;
        bool parole, away;
    } rows[] = {
        {"down", QUEUE_DOWN, false, true},
        {"ramp, on parole", QUEUE_RAMP, true, false},
        {"up, on parole", QUEUE_UP, true, false},
        {"stopped, on parole", QUEUE_STOPPED, true, false},
        {"held", QUEUE_HELD, false, false},
        {"unknown", QUEUE_UNKNOWN, false, false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        target_state(f, rows[i].state, rows[i].parole);
        assert_string_equal(target_verdict(f, "carl"), NOT_ASKED);
        assert_int_equal(strstr(f->askers[0].reply, "is away") != NULL, rows[i].away);
        assert_non_null(strstr(f->askers[0].reply, "do not know this recipient"));
        assert_non_null(strstr(f->askers[0].reply, "example.org"));
    }
    target_got_none(f);
}

static void test_a_failed_store_is_an_unknown_address(void **state)
{
    struct fixture *f = *state;

    target_put(f, "anna", STATE_VALID);
    target_restart(f);
    target_state(f, QUEUE_DOWN, false);
    f->store.state = STORE_REOPENING;
    assert_string_equal(target_verdict(f, "anna"), NOT_ASKED);
    f->store.state = STORE_OPEN;
    assert_string_equal(target_verdict(f, "anna"), VALID REMEMBERED);
}

/* ---- lists ---- */

static void test_sources_in_their_order(void **state)
{
    static const struct {
        const char *recipients;
        bool up;
        const char *listed, *anna, *nobody; /* anna is known to the target alone */
    } rows[] = {
        {"list", true, "valid list", "invalid list", "invalid list"},
        {"list", false, "valid list", "invalid list", "invalid list"},
        {"list, call-ahead", true, "valid list", VALID, INVALID},
        {"list, call-ahead", false, "valid list", NOT_ASKED, NOT_ASKED},
        {"call-ahead, list", true, INVALID, VALID, INVALID},
        {"call-ahead, list", false, "valid list", "invalid list", "invalid list"},
        {"list, any", true, "valid list", "valid any", "valid any"},
        {"any", false, "valid any", "valid any", "valid any"},
    };
    struct fixture *f = *state;
    struct lists_world *lists;
    void *made;

    assert_int_equal(lists_setup(&made), 0);
    lists = made;
    lists_put_file(lists, "/l/a", PN_STR("listed\n"));
    lists_define(lists, "example.org", FILE_LIST);
    lists_pass(lists, PN_SECONDS(10));
    lists_check_find(lists, "listed", VERIFY_LIST_YES);
    f->lists = lists->lists;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        char text[128];

        print_message("%s, %s\n", rows[i].recipients, rows[i].up ? "up" : "down");
        snprintf(text, sizeof text, "recipients = {%s}\n%s", rows[i].recipients,
                 strstr(rows[i].recipients, "list") ? "recipient_list = \"/l/a\"" : "");
        fake_store_fini(&f->store);
        f->store.records = NULL;
        target_domain(f, text);
        target_restart(f);
        target_state(f, rows[i].up ? QUEUE_UP : QUEUE_DOWN, false);
        assert_string_equal(target_verdict(f, "listed"), rows[i].listed);
        assert_string_equal(target_verdict(f, "anna"), rows[i].anna);
        assert_string_equal(target_verdict(f, "nobody"), rows[i].nobody);
    }
    f->lists = NULL;
    target_restart(f);
    lists_teardown(&made);
}

static void test_a_list_that_was_never_loaded_is_no_no(void **state)
{
    struct fixture *f = *state;

    target_domain(f, "recipients = {list}\nrecipient_list = \"/l/a\"");
    assert_string_equal(target_verdict(f, "anna"), "unknown nobody 4.3.0");
    target_state(f, QUEUE_DOWN, false);
    assert_string_equal(target_verdict(f, "anna"), NOT_ASKED);
}

/* ---- learning ---- */

static void test_what_teaches_what(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *enhanced;
        bool parole;
        const char *after; /* of one that was known as valid */
    } rows[] = {
        {"taken", 250, "2.1.5", false, "valid"},
        {"taken on parole", 250, "", true, "valid"},
        {"bad mailbox", 550, "5.1.1", false, "invalid"},
        {"moved", 551, "5.1.6", false, "invalid"},
        {"null MX", 556, "5.1.10", false, "invalid"},
        {"disabled", 550, "5.2.1", false, "invalid"},
        {"bad mailbox on parole", 550, "5.1.1", true, "valid"},
        {"bare", 550, "", false, "valid"},
        {"policy", 550, "5.7.1", false, "valid"},
        {"full", 552, "5.2.2", false, "valid"},
        {"looks like it", 550, "5.1.11", false, "valid"},
        {"later", 450, "4.1.1", false, "valid"},
        {"later, and mad", 450, "5.1.1", false, "valid"},
        {"closing", 421, "", false, "valid"},
    };
    struct fixture *f = *state;
    struct smtp_reply reply;

    target_domain(f, "recipient_delimiter = \"+\"");
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        target_put(f, "cora", STATE_VALID);
        target_state(f, QUEUE_UP, rows[i].parole);
        smtp_reply_set(&reply, rows[i].code, rows[i].enhanced, "said");
        verify_learn(f->verify, f->domain, PN_STR("Cora+x"), &reply, STATE_BY_PASS_THROUGH);
        assert_string_equal(target_known(f, "cora"), rows[i].after);
    }
    target_put(f, "cora", STATE_UNKNOWN);
    target_state(f, QUEUE_DOWN, false);
    smtp_reply_set(&reply, 550, "5.1.1", "no");
    verify_learn(f->verify, f->domain, PN_STR("cora"), &reply, STATE_BY_DELIVERY);
    assert_string_equal(target_known(f, "cora"), "unknown");
    smtp_reply_set(&reply, 250, "", "taken");
    verify_learn(f->verify, f->domain, PN_STR("cora"), &reply, STATE_BY_DELIVERY);
    assert_string_equal(target_known(f, "cora"), "valid");
}

static void test_a_thousand_mails_write_one_yes(void **state)
{
    struct fixture *f = *state;
    struct smtp_reply reply;
    uint64_t batches;

    smtp_reply_set(&reply, 250, "", "taken");
    verify_learn(f->verify, f->domain, PN_STR("cora"), &reply, STATE_BY_PASS_THROUGH);
    target_run(f, 0);
    batches = f->store.batches;
    for (int i = 0; i < 1000; i++) {
        verify_learn(f->verify, f->domain, PN_STR("cora"), &reply, STATE_BY_PASS_THROUGH);
        target_run(f, 0);
    }
    assert_int_equal(f->store.batches, batches);
    target_age(f, PN_HOURS(1));
    verify_learn(f->verify, f->domain, PN_STR("cora"), &reply, STATE_BY_PASS_THROUGH);
    target_run(f, 0);
    assert_true(f->store.batches > batches);
}

/* ---- requests ---- */

static void test_cancel_at_any_time(void **state)
{
    struct fixture *f = *state;

    target_put(f, "anna", STATE_VALID);
    target_ask(f, 0, "anna"); /* has its verdict */
    target_ask(f, 1, "bert"); /* reads */
    verify_cancel(f->verify, &f->askers[0].request);
    verify_cancel(f->verify, &f->askers[1].request);
    verify_cancel(f->verify, &f->askers[2].request); /* never asked */
    target_run(f, PN_MINUTES(1));
    assert_string_equal(target_told(f, 0), "");
    assert_string_equal(target_told(f, 1), "");
    f->peer->how = PEER_IGNORES;
    target_ask(f, 0, "bert");
    target_ask(f, 1, "bert");
    target_run(f, 0);
    verify_cancel(f->verify, &f->askers[0].request);
    target_run(f, PN_SECONDS(15));
    assert_string_equal(target_told(f, 0), "");
    assert_string_equal(target_told(f, 1), SILENT);
    target_ask(f, 0, "carl");
    target_run(f, PN_SECONDS(1));
    target_ask(f, 1, "dora"); /* and now all is freed */
}

static void test_asks_again_in_the_verdict(void **state)
{
    struct fixture *f = *state;

    target_ask(f, 0, "bert");
    target_ask(f, 1, "bert");
    f->askers[0].again = true;
    f->askers[1].again = true;
    target_run(f, 0);
    assert_string_equal(target_told(f, 0), INVALID);
    assert_ptr_equal(strstr(target_told(f, 1), INVALID), target_told(f, 1));
    assert_int_equal(target_got(f, "RCPT TO:<somebody.else@"), 1);
}

static void test_impossible_local_parts(void **state)
{
    struct fixture *f = *state;
    char local[80];

    memset(local, 'x', sizeof local);
    local[64] = '\0';
    assert_string_equal(target_verdict(f, local), INVALID);
    local[64] = 'x';
    local[65] = '\0';
    assert_string_equal(target_verdict(f, local), "invalid nobody");
    assert_string_equal(target_verdict(f, "\"a b\""), INVALID);
    assert_int_equal(target_got(f, "RCPT TO:<\"a b\"@example.org>"), 1);
    assert_string_equal(target_verdict(f, "j\xc3\xb6rg"), SILENT);
    assert_int_equal(target_got(f, "RCPT TO:<j\xc3\xb6rg@"), 0);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, target_setup, target_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_asks_once_and_remembers),
        ROW(test_ages),
        ROW(test_outage_longer_than_any_age),
        ROW(test_a_failed_store_is_an_unknown_address),
        ROW(test_only_what_is_down_is_said_to_be_away),
        ROW(test_sources_in_their_order),
        ROW(test_a_list_that_was_never_loaded_is_no_no),
        ROW(test_what_teaches_what),
        ROW(test_a_thousand_mails_write_one_yes),
        ROW(test_cancel_at_any_time),
        ROW(test_asks_again_in_the_verdict),
        ROW(test_impossible_local_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
