/*
 * test_live.c - live transactions on a session, on a virtual clock.
 */
#include "helper_owner.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define READY "READY " PEER1 "\n"
#define EHLO                                                                                   \
    {                                                                                          \
        .verb = "EHLO", .reply = "250-mail.example.org\r\n250 PIPELINING\r\n"                  \
    }
#define MAIL                                                                                   \
    {                                                                                          \
        .verb = "MAIL", .reply = OK                                                            \
    }
#define RCPT                                                                                   \
    {                                                                                          \
        .verb = "RCPT", .reply = OK                                                            \
    }
#define DATA                                                                                   \
    {                                                                                          \
        .verb = "DATA", .reply = "354 go\r\n"                                                  \
    }

static const enum owner_step whole[] = {STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_TEXT, STEP_END};

static void begin(struct fixture *f, const struct world_rule *rules)
{
    f->steps = whole;
    owner_add_one(f, rules);
    owner_begin(f, TARGET1);
}

/* ---- the good days ---- */

static void test_transactions_and_mails(void **state)
{
    static const enum owner_step steps[] = {STEP_MAIL, STEP_RCPT, STEP_RESET, STEP_MAIL,
                                            STEP_RCPT, STEP_DATA, STEP_TEXT,  STEP_END};
    struct fixture *f = *state;

    f->mail_count = 1;
    begin(f, owner_friendly);
    f->steps = steps;
    world_run(&f->world, 0);
    owner_expect(f, READY "LIVE 250 ok\nLIVE 250 ok\nLIVE 250 ok\n"
                          "LIVE 250 ok\nLIVE 250 ok\nLIVE 354 go\nLIVE 250 taken\n"
                          "TEXT 0\nDONE 0: 250 taken\n");
    owner_expect_got(&f->world.peers[0],
                     "EHLO mx2.example.net\n"
                     "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nRSET\n"
                     "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\n"
                     "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\n");
    assert_int_equal(pn_timers_next(&f->world.loop.timers).ms, PN_MONO_NEVER.ms);
}

static void test_long_text_in_pieces(void **state)
{
    struct fixture *f = *state;
    char *text = pn_alloc(BIG_OCTETS + 1);

    memset(text, 'x', BIG_OCTETS);
    memcpy(text + BIG_OCTETS - 2, "\r\n", 2);
    f->live_text = pn_str_z(text);
    begin(f, owner_friendly);
    world_run(&f->world, 0);
    owner_expect(f, READY "LIVE 250 ok\nLIVE 250 ok\nLIVE 354 go\nLIVE 250 taken\n");
    assert_true(f->world.peers[0].got.len > BIG_OCTETS);
    assert_int_equal(out_session_text_room(f->session), 0);
    free(text);
}

static void test_lines_for_people(void **state)
{
    struct fixture *f = *state;

    f->steps = whole;
    owner_add_one(f, owner_friendly);
    owner_begin_with(f, TARGET1, (struct out_options){.on_line = owner_on_line});
    world_run(&f->world, 0);
    assert_int_equal(pn_buf_append_char(&f->lines, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->lines).ptr,
                        "*connected to " PEER1 "\n<220 mail.example.org\n"
                        ">EHLO mx2.example.net\n<250-mail.example.org\n<250 PIPELINING\n"
                        ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@example.org>\n<250 ok\n"
                        ">DATA\n<354 go\n>Hi\n>.\n<250 taken\n");
}

static void test_answered_here(void **state)
{
    static const enum owner_step steps[] = {STEP_MAIL, STEP_END};
    struct fixture *f = *state;

    f->live_flags = MAIL_UTF8_ADDRESS;
    begin(f, owner_friendly);
    f->steps = steps;
    world_run(&f->world, 0);
    owner_expect(f, READY "LIVE 550 5.6.7 The next hop does not offer SMTPUTF8\n");
    owner_expect_got(&f->world.peers[0], "EHLO mx2.example.net\n");
    assert_true(out_session_wants_mail(f->session));
}

/* ---- the end comes early ---- */

struct end {
    const char *name;
    struct world_rule rules[8];
    bool unfinished; /* the last octet of the text is withheld */
    const char *say; /* of the server's own accord, then it closes */
    const char *expected;
};

#define UP_TO_TEXT READY "LIVE 250 ok\nLIVE 250 ok\nLIVE 354 go\n"

static const struct end ends[] = {
    {.name = "421 to MAIL",
     .rules = {EHLO, {.verb = "MAIL", .reply = "421 bye\r\n", .then = RULE_CLOSE}},
     .expected = READY "LIVE 421 bye\nBUSY " PEER1 ": 421 bye in reply to MAIL FROM\n"},
    {.name = "421 to RCPT",
     .rules = {EHLO, MAIL, {.verb = "RCPT", .reply = "421 bye\r\n", .then = RULE_CLOSE}},
     .expected =
         READY "LIVE 250 ok\nLIVE 421 bye\nBUSY " PEER1 ": 421 bye in reply to RCPT TO\n"},
    {.name = "closed instead of a reply to MAIL",
     .rules = {EHLO, {.verb = "MAIL", .then = RULE_CLOSE}},
     .expected = READY "LOST " PEER1 ": the connection was closed (reply to MAIL FROM)\n"},
    {.name = "reset instead of a reply to DATA",
     .rules = {EHLO, MAIL, RCPT, {.verb = "DATA", .then = RULE_RESET}},
     .expected = READY "LIVE 250 ok\nLIVE 250 ok\n"
                       "LOST " PEER1 ": connection reset by peer (reply to DATA)\n"},
    {.name = "closed in the text",
     .rules = {EHLO, MAIL, RCPT, DATA},
     .unfinished = true,
     .say = "",
     .expected = UP_TO_TEXT "LOST " PEER1 ": the connection was closed (message text)\n"},
    {.name = "421 in the text",
     .rules = {EHLO, MAIL, RCPT, DATA},
     .unfinished = true,
     .say = "421 4.3.2 stopping\r\n",
     .expected =
         UP_TO_TEXT "LOST " PEER1 ": 421 4.3.2 stopping in the middle of the message text\n"},
    {.name = "a refusal in the text",
     .rules = {EHLO, MAIL, RCPT, DATA},
     .unfinished = true,
     .say = "554 spam\r\n",
     .expected = UP_TO_TEXT
     "LOST " PEER1 ": a reply that nothing asked for in the middle of the message text\n"},
    {.name = "closed after the text",
     .rules = {EHLO, MAIL, RCPT, DATA, {.verb = ".", .then = RULE_CLOSE}},
     .expected =
         UP_TO_TEXT "LOST " PEER1 ": the connection was closed (reply to end of data)\n"},
    {.name = "421 to the text",
     .rules = {EHLO, MAIL, RCPT, DATA, {.verb = ".", .reply = "421 bye\r\n"}},
     .expected = UP_TO_TEXT "LIVE 421 bye\nBUSY " PEER1 ": 421 bye in reply to end of data\n"},
    {.name = "a reply too many",
     .rules = {EHLO, {.verb = "MAIL", .reply = OK OK}},
     .expected = READY "LIVE 250 ok\nLOST " PEER1
                       ": a reply that nothing asked for in the middle of a transaction\n"},
};

static void test_ends(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, NULL);

    for (size_t i = 0; i < PN_COUNT(ends); i++) {
        print_message("%s\n", ends[i].name);
        memset(peer->used, 0, sizeof peer->used);
        peer->rules = ends[i].rules;
        f->steps = whole;
        f->hold_text = ends[i].unfinished;
        owner_begin(f, TARGET1);
        world_run(&f->world, 0);
        if (ends[i].say) {
            world_say(&f->world, peer, ends[i].say, RULE_CLOSE);
            world_run(&f->world, 0);
        }
        owner_expect(f, ends[i].expected);
        /* The owner of a session that has ended may not have heard of it. */
        out_session_live_text(f->session, PN_STR("x"), true);
        out_session_live_reset(f->session);
        out_session_live_timeout(f->session, 1);
        assert_int_equal(out_session_text_room(f->session), 0);
        out_session_free(&f->session);
        conf_domain_unref(&f->domain);
    }
}

/* Between two commands the peer may close: nothing was lost but the transaction. */
static void test_closed_between_commands(void **state)
{
    static const enum owner_step steps[] = {STEP_MAIL, STEP_RCPT, STEP_END};
    struct fixture *f = *state;

    begin(f, owner_friendly);
    f->steps = steps;
    world_run(&f->world, PN_HOURS(1));
    owner_expect(f, READY "LIVE 250 ok\nLIVE 250 ok\n");
    world_say(&f->world, &f->world.peers[0], "", RULE_CLOSE);
    world_run(&f->world, 0);
    owner_expect(f, "LOST " PEER1 ": the connection was closed (transaction)\n");
}

/* ---- time ---- */

static void test_timeouts(void **state)
{
    static const struct {
        struct world_rule rules[8];
        int64_t live_ms, after_ms;
        const char *expected;
    } cases[] = {
        {{EHLO, {.verb = "MAIL"}},
         0,
         PN_MINUTES(5),
         "LOST " PEER1 ": no reply to MAIL FROM within 5m\n"},
        {{EHLO, {.verb = "MAIL"}},
         PN_SECONDS(20),
         PN_SECONDS(20),
         "LOST " PEER1 ": no reply to MAIL FROM within 20s\n"},
        {{EHLO, {.verb = "MAIL"}},
         PN_HOURS(1),
         PN_MINUTES(5),
         "LOST " PEER1 ": no reply to MAIL FROM within 5m\n"},
        {{EHLO, MAIL, RCPT, DATA, {.verb = "."}},
         PN_MINUTES(4),
         PN_MINUTES(4),
         "LOST " PEER1 ": no reply to end of data within 4m\n"},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, NULL);

    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        peer->rules = cases[i].rules;
        f->steps = whole;
        owner_begin(f, TARGET1);
        out_session_live_timeout(f->session, cases[i].live_ms);
        world_run(&f->world, cases[i].after_ms - 1);
        pn_buf_clear(&f->trace);
        world_run(&f->world, 1);
        owner_expect(f, cases[i].expected);
        out_session_free(&f->session);
        conf_domain_unref(&f->domain);
    }
}

/* Another time-out holds for the reply that is awaited. */
static void test_hurry(void **state)
{
    static const struct world_rule rules[] = {EHLO, {.verb = "MAIL"}, {0}};
    struct fixture *f = *state;

    begin(f, rules);
    world_run(&f->world, PN_MINUTES(1));
    out_session_live_timeout(f->session, PN_SECONDS(5));
    world_run(&f->world, PN_SECONDS(5));
    owner_expect(f, READY "LOST " PEER1 ": no reply to MAIL FROM within 5s\n");
}

static void test_deaf_peer(void **state)
{
    struct fixture *f = *state;
    char *text = pn_alloc(BIG_OCTETS + 1);

    memset(text, 'x', BIG_OCTETS);
    f->live_text = pn_str_z(text);
    begin(f, owner_friendly);
    f->world.peers[0].deaf_after = "DATA";
    out_session_live_timeout(f->session, PN_MINUTES(1));
    world_run(&f->world, PN_MINUTES(1) - 1);
    owner_expect(f, UP_TO_TEXT);
    assert_in_range(f->live_left, BIG_OCTETS - 300000, BIG_OCTETS);
    world_run(&f->world, 1);
    owner_expect(f, "LOST " PEER1 ": no octet was taken within 1m\n");
    free(text);
}

/* ---- owners ---- */

static void test_quit_in_the_text(void **state)
{
    struct fixture *f = *state;

    f->hold_text = true;
    begin(f, owner_friendly);
    world_run(&f->world, 0);
    out_session_quit(f->session);
    out_session_live_text(f->session, PN_STR(""), true);
    world_run(&f->world, 0);
    owner_expect(f, UP_TO_TEXT "LIVE 250 taken\nCLEAN " PEER1 ": all done\n");
}

static void on_other(struct out_session *session, void *owner)
{
    struct out_event event;

    while (out_session_next(session, &event)) {
        assert_int_equal(event.kind, OUT_EV_ENDED);
        ++*(int *)owner;
    }
}

/* What the old owner has not heard is told to the new one. */
static void test_new_owner(void **state)
{
    struct fixture *f = *state;
    int ends_heard = 0;

    owner_add_one(f, owner_friendly);
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, READY);
    out_session_own(f->session, on_other, &ends_heard);
    world_say(&f->world, &f->world.peers[0], "", RULE_CLOSE);
    world_run(&f->world, 0);
    assert_int_equal(ends_heard, 1);
    owner_expect(f, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_transactions_and_mails),
        TEST(test_long_text_in_pieces),
        TEST(test_lines_for_people),
        TEST(test_answered_here),
        TEST(test_ends),
        TEST(test_closed_between_commands),
        TEST(test_timeouts),
        TEST(test_hurry),
        TEST(test_deaf_peer),
        TEST(test_quit_in_the_text),
        TEST(test_new_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
