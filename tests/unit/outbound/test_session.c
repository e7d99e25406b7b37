/*
 * test_session.c - a session that is ready, and how it ends, on a virtual clock.
 */
#include "helper_owner.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- the good days ---- */

static void test_delivers_and_quits(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    f->mail_count = 2;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\nTEXT 1\nDONE 1: 250 taken\n");
    assert_int_equal(out_session_capabilities(f->session), SMTP_CAP_PIPELINING);
    assert_int_equal(pn_timers_next(&f->world.loop.timers).ms, PN_MONO_NEVER.ms);
    out_session_quit(f->session);
    world_run(&f->world, 0);
    owner_expect(f, "CLEAN " PEER1 ": all done\n");
    owner_expect_got(peer,
                     "EHLO mx2.example.net\n"
                     "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\n"
                     "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\nQUIT\n");
}

static void test_quit_waits_for_mails(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    f->mail_count = 1;
    f->hold_text = true;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_quit(f->session);
    assert_false(out_session_wants_mail(f->session));
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\n");
    f->hold_text = false;
    owner_give_text(f, &f->mails[0]);
    world_run(&f->world, 0);
    owner_expect(f, "DONE 0: 250 taken\nCLEAN " PEER1 ": all done\n");
    assert_int_equal(peer->connections, 1);
}

static void test_long_text_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);
    char *text = pn_alloc(BIG_OCTETS + 1);

    memset(text, 'x', BIG_OCTETS);
    memcpy(text + BIG_OCTETS - 2, "\r\n", 2);
    f->text[0] = text;
    f->mails[0].size_octets = BIG_OCTETS;
    f->mail_count = 1;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\n");
    assert_true(peer->got.len > BIG_OCTETS);
    free(text);
}

static void test_check(void **state)
{
    static const struct world_rule broken[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {.verb = "MAIL", .reply = "451-4.3.0 database\r\n451 4.3.0 is down\r\n"},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    owner_begin_with(f, TARGET1, (struct out_options){.check = true});
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nMAIL FROM:<>\nRSET\n");
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    peer->rules = broken;
    owner_begin_with(f, TARGET1, (struct out_options){.check = true});
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": 451 4.3.0 database is down in reply to MAIL FROM\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nMAIL FROM:<>\nQUIT\n");
}

static void test_lines_for_people(void **state)
{
    static const struct world_rule strange[] = {
        {.verb = "EHLO", .reply = "250 mail \x1b[2J\xff\r\n"},
        {0},
    };
    struct fixture *f = *state;

    owner_add_one(f, strange);
    owner_begin_with(f, TARGET1, (struct out_options){.on_line = owner_on_line});
    world_run(&f->world, 0);
    assert_int_equal(pn_buf_append_char(&f->lines, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->lines).ptr,
                        "*connected to " PEER1 "\n<220 mail.example.org\n"
                        ">EHLO mx2.example.net\n<250 mail ?[2J?\n");
}

/* Its end is an event, which has the reason: it is no line beside the note of the host's. */
static void test_a_failure_is_one_line(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1"});
    owner_begin_with(f, TARGET1, (struct out_options){.on_line = owner_on_line});
    world_run(&f->world, 0);
    owner_expect(f, "FAILED " PEER1 ": connection refused\n");
    assert_int_equal(pn_buf_append_char(&f->lines, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->lines).ptr, "*" PEER1 ": connection refused\n");
}

/* ---- the end of a session ---- */

static void test_idle_close(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    f->mail_count = 1;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_HOURS(1));
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\n");
    world_say(&f->world, peer, "", RULE_CLOSE);
    world_run(&f->world, 0);
    owner_expect(f, "CLEAN " PEER1 ": the connection was closed (idle session)\n");
}

static void test_idle_421(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    world_say(&f->world, peer, "421 4.4.2 idle\r\n", RULE_CLOSE);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nBUSY " PEER1 ": 421 4.4.2 idle in an idle session\n");
}

static void test_lost_before_text(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {.verb = "MAIL", .reply = "421 4.3.2 stopping\r\n", .then = RULE_CLOSE},
        {0},
    };
    struct fixture *f = *state;

    f->mail_count = 1;
    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nLOST 0: 0\n"
                    "BUSY " PEER1 ": 421 4.3.2 stopping in reply to MAIL FROM\n");
}

static void test_lost_in_text(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    f->mail_count = 2;
    f->hold_text = true;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    world_say(&f->world, peer, "", RULE_RESET);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nLOST 0: 0\nLOST 1: 0\n"
                    "LOST " PEER1 ": connection reset by peer (message text)\n");
    out_session_text(f->session, PN_STR("Hi\r\n"), true); /* goes nowhere */
}

static void test_in_doubt(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {.verb = "MAIL", .reply = OK},
        {.verb = "RCPT", .reply = OK},
        {.verb = "DATA", .reply = "354 go\r\n"},
        {.verb = ".", .then = RULE_CLOSE},
        {0},
    };
    struct fixture *f = *state;

    f->mail_count = 1;
    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nLOST 0: 0 in doubt\n"
                    "LOST " PEER1 ": the connection was closed (reply to end of data)\n");
}

static void test_silence_after_the_dot(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {.verb = "MAIL", .reply = OK},
        {.verb = "RCPT", .reply = OK},
        {.verb = "DATA", .reply = "354 go\r\n"},
        {.verb = "."},
        {0},
    };
    struct fixture *f = *state;

    f->mail_count = 1;
    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(10) - 1);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\n");
    world_run(&f->world, 1);
    owner_expect(f, "LOST 0: 0 in doubt\nLOST " PEER1 ": no reply to end of data within 10m\n");
}

static void test_silence_after_mail(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"}, {.verb = "MAIL"}, {0}};
    struct fixture *f = *state;

    f->mail_count = 1;
    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(5));
    owner_expect(f, "READY " PEER1 "\nLOST 0: 0\nLOST " PEER1
                    ": no reply to MAIL FROM within 5m\n");
}

/* A peer that stops reading in the middle of a text is not waited for without end. */
static void test_deaf_peer(void **state)
{
    struct fixture *f = *state;
    char *text = pn_alloc(BIG_OCTETS + 1);

    memset(text, 'x', BIG_OCTETS);
    f->text[0] = text;
    f->mails[0].size_octets = BIG_OCTETS;
    f->mail_count = 1;
    owner_add_one(f, owner_friendly)->deaf_after = "DATA";
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(5) - 1);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\n");
    assert_in_range(f->given[0], 1, 300000);
    world_run(&f->world, 1);
    owner_expect(f, "LOST 0: 0\nLOST " PEER1 ": no octet was taken within 5m\n");
    free(text);
}

/* Nor does an envelope without end pile up for a peer that does not read it. */
static void test_long_envelope(void **state)
{
    enum { COUNT = 30000 };
    struct fixture *f = *state;
    struct mail_recipient *recipients = pn_alloc_array(COUNT, sizeof *recipients);
    struct smtp_reply *replies = pn_alloc_array(COUNT, sizeof *replies);

    for (size_t i = 0; i < COUNT; i++) {
        recipients[i].address = PN_STR("somebody@example.org");
    }
    f->mails[0].recipients = recipients;
    f->mails[0].recipient_count = COUNT;
    f->mails[0].replies = replies;
    f->mail_count = 1;
    owner_add_one(f, owner_friendly)->deaf_after = "MAIL";
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(5) - 1);
    assert_in_range(world_unsent(&f->world), 1, 330000);
    world_run(&f->world, 1);
    owner_expect(f, "READY " PEER1 "\nLOST 0: 0\n"
                    "LOST " PEER1 ": no reply to RCPT TO within 5m\n");
    free(recipients);
    free(replies);
}

/* The owner's own slowness is no fault of the peer's. */
static void test_slow_owner(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly);
    f->mail_count = 1;
    f->hold_text = true;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_HOURS(1));
    owner_expect(f, "READY " PEER1 "\nTEXT 0\n");
}

static void test_quit_unanswered(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"}, {.verb = "QUIT"}, {0}};
    struct fixture *f = *state;

    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_quit(f->session);
    world_run(&f->world, PN_SECONDS(10));
    owner_expect(f, "READY " PEER1 "\nCLEAN " PEER1 ": no reply to QUIT within 10s\n");
}

static void test_quit_before_ready(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_friendly)->greeting = NULL;
    owner_begin(f, "target = {\"192.0.2.9\", \"mail.example.org\"}");
    world_run(&f->world, 0);
    out_session_quit(f->session);
    world_run(&f->world, 0);
    owner_expect(f, "CLEAN given up before it was ready\n");
}

/* Every moment is a good one to free a session; the sanitizers and the world look on. */
static void test_free_at_any_time(void **state)
{
    struct fixture *f = *state;

    world_name(&f->world, (struct world_name){.name = "mail.example.org",
                                              .v4 = "192.0.2.1 192.0.2.2",
                                              .delay_ms = 10});
    owner_add_peer(f, "192.0.2.1:25", owner_with_tls)->connect_ms = 300;
    owner_add_peer(f, "192.0.2.2:25", owner_friendly)->how = PEER_IGNORES;
    for (int64_t ms = 0; ms < 320; ms++) {
        owner_begin(f, TARGET1);
        world_run(&f->world, ms);
        out_session_free(&f->session);
        conf_domain_unref(&f->domain);
        pn_buf_clear(&f->trace);
    }
    f->free_in_event = true;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_SECONDS(1));
    assert_null(f->session);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_delivers_and_quits),
        TEST(test_quit_waits_for_mails),
        TEST(test_long_text_in_pieces),
        TEST(test_check),
        TEST(test_lines_for_people),
        TEST(test_a_failure_is_one_line),
        TEST(test_idle_close),
        TEST(test_idle_421),
        TEST(test_lost_before_text),
        TEST(test_lost_in_text),
        TEST(test_in_doubt),
        TEST(test_silence_after_the_dot),
        TEST(test_silence_after_mail),
        TEST(test_deaf_peer),
        TEST(test_long_envelope),
        TEST(test_slow_owner),
        TEST(test_quit_unanswered),
        TEST(test_quit_before_ready),
        TEST(test_free_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
