/*
 * test_client_live.c - live transactions of the client's half: each script is played line by
 * line, whole, octet by octet and at every split, and must always end the same.
 */
#include "helper_dialogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define HELLO(lines) "<220 mx.example ESMTP\n>EHLO me.example\n" lines "=EHLO\n"
#define PLAIN        HELLO("<250 mx.example\n")
#define FULL                                                                                   \
    HELLO("<250-mx.example\n<250-PIPELINING\n<250-CHUNKING\n<250-8BITMIME\n"                   \
          "<250-SMTPUTF8\n<250-SIZE 1000\n<250 DSN\n")
#define LHLO "<220 mx\n>LHLO me.example\n<250-mx\n<250 PIPELINING\n=EHLO\n"
#define MAIL ">MAIL FROM:<s@a.example>\n<250 ok\n=LIVE 250 ok\n"
#define RCPT ">RCPT TO:<r@b.example>\n<250 2.1.5 ok\n=LIVE 250 2.1.5 ok\n"
#define DATA ">DATA\n<354 go\n=LIVE 354 go\n"

#define SAY_MAIL                                                                               \
    {                                                                                          \
        .mail = "s@a.example"                                                                  \
    }
#define SAY_RCPT                                                                               \
    {                                                                                          \
        .rcpt = "r@b.example"                                                                  \
    }
#define SAY_DATA                                                                               \
    {                                                                                          \
        .data = true                                                                           \
    }
#define SAY_HI                                                                                 \
    {                                                                                          \
        .text = "Hi\r\n"                                                                       \
    }

static const struct dialogue_mail one = {
    .sender = "s@a.example", .recipients = {"r@b.example"}, .text = "Hi\r\n"};

static const struct dialogue rows[] = {
    {.name = "a transaction, one exchange at a time",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, {.text = ".a\r\n.b\r\n"}, {.quit = true}},
     .script = HELLO("<250-mx\n<250-PIPELINING\n<250 CHUNKING\n") MAIL RCPT DATA
     ">..a\n>..b\n>.\n<250 2.0.0 queued\n=LIVE 250 2.0.0 queued\n>QUIT\n<221 bye\n=QUIT\n"},
    {.name = "two transactions and a mail",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_HI, SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_HI},
     .mails = {&one},
     .script = PLAIN MAIL RCPT DATA ">Hi\n>.\n<250 took\n=LIVE 250 took\n" MAIL RCPT DATA
                                    ">Hi\n>.\n<554 5.7.1 spam\n=LIVE 554 5.7.1 spam\n"
                                    ">MAIL FROM:<s@a.example>\n"},
    {.name = "recipients one by one, then RSET",
     .live = {SAY_MAIL, {.rcpt = "x@b.example"}, SAY_RCPT, {.reset = true}, SAY_MAIL},
     .script =
         PLAIN MAIL ">RCPT TO:<x@b.example>\n<550-5.1.1 no\n<550 5.1.1 x\n"
                    "=LIVE 550 5.1.1 no/x\n" RCPT ">RSET\n<250 reset\n=LIVE 250 reset\n" MAIL},
    {.name = "RSET with nothing open",
     .live = {{.reset = true}, SAY_MAIL},
     .script = PLAIN ">RSET\n<250 ok\n=LIVE 250 ok\n" MAIL},
    {.name = "MAIL refused leaves nothing open",
     .live = {SAY_MAIL, SAY_MAIL},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<451 wait\n=LIVE 451 wait\n" MAIL},
    {.name = "DATA refused leaves the transaction open",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_RCPT, SAY_DATA, SAY_HI},
     .script = PLAIN MAIL RCPT ">DATA\n<451 wait\n=LIVE 451 wait\n" RCPT DATA
                               ">Hi\n>.\n<250 ok\n=LIVE 250 ok\n"},
    {.name = "an empty text",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, {.text = ""}},
     .script = PLAIN MAIL RCPT DATA ">.\n<250 ok\n=LIVE 250 ok\n"},
    {.name = "a check comes first",
     .check = true,
     .live = {SAY_MAIL},
     .script = PLAIN ">MAIL FROM:<>\n<250 ok\n>RSET\n<250 ok\n=CHECKED 250 ok\n" MAIL},

    /* ---- parameters ---- */
    {.name = "all parameters",
     .live = {{.mail = "s@a.example",
               .size = 99,
               .flags = MAIL_8BITMIME | MAIL_SMTPUTF8,
               .ret = MAIL_RET_FULL,
               .envid = "id"},
              {.rcpt = "\xc3\xa4@b.example",
               .notify = MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY,
               .orcpt = "rfc822;r@b.example"}},
     .script = FULL ">MAIL FROM:<s@a.example> SIZE=99 BODY=8BITMIME SMTPUTF8 RET=FULL "
                    "ENVID=id\n<250 ok\n=LIVE 250 ok\n"
                    ">RCPT TO:<\xc3\xa4@b.example> NOTIFY=SUCCESS,DELAY "
                    "ORCPT=rfc822;r@b.example\n<250 ok\n=LIVE 250 ok\n"},
    {.name = "parameters that are not offered",
     .live = {{.mail = "s@a.example",
               .size = 99,
               .flags = MAIL_8BITMIME | MAIL_SMTPUTF8,
               .ret = MAIL_RET_HDRS,
               .envid = "id"},
              {.rcpt = "r@b.example",
               .notify = MAIL_NOTIFY_NEVER,
               .orcpt = "rfc822;r@b.example"}},
     .script = PLAIN MAIL RCPT},
    {.name = "a size that is not known", .live = {SAY_MAIL}, .script = FULL MAIL},
    {.name = "an address needs SMTPUTF8",
     .live = {{.mail = "\xc3\xa4@a.example", .flags = MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS},
              SAY_MAIL},
     .script = PLAIN "=LIVE 550 5.6.7 The next hop does not offer SMTPUTF8\n" MAIL},
    {.name = "a recipient needs SMTPUTF8",
     .live = {SAY_MAIL, {.rcpt = "\xc3\xa4@b.example"}, SAY_RCPT},
     .script = FULL MAIL "=LIVE 550 5.6.7 The next hop was not given SMTPUTF8\n" RCPT},
    {.name = "too big",
     .live = {{.mail = "s@a.example", .size = 1001}, {.mail = "s@a.example", .size = 1000}},
     .script = FULL "=LIVE 552 5.3.4 The next hop takes no more than 1000 octets\n"
                    ">MAIL FROM:<s@a.example> SIZE=1000\n"},
    {.name = "control characters are not sent",
     .live = {{.mail = "s@a.example\r\nQUIT"},
              SAY_MAIL,
              {.rcpt = "r@b.example\r\nDATA"},
              {.rcpt = "r@b.example", .orcpt = "a\nb"},
              SAY_RCPT},
     .script = PLAIN "=LIVE 553 5.1.3 An address with control characters is not sent\n" MAIL
                     "=LIVE 553 5.1.3 An address with control characters is not sent\n"
                     "=LIVE 553 5.1.3 An address with control characters is not sent\n" RCPT},

    /* ---- LMTP ---- */
    {.name = "LMTP: all have it",
     .lmtp = true,
     .live = {SAY_MAIL, SAY_RCPT, SAY_RCPT, SAY_DATA, SAY_HI, SAY_MAIL},
     .script = LHLO MAIL RCPT RCPT DATA ">Hi\n>.\n<250 one\n<250 two\n=LIVE 250 one\n" MAIL},
    {.name = "LMTP: one refuses",
     .lmtp = true,
     .live = {SAY_MAIL, SAY_RCPT, {.rcpt = "x@b.example"}, SAY_RCPT, SAY_DATA, SAY_HI},
     .script = LHLO MAIL RCPT ">RCPT TO:<x@b.example>\n<550 no\n=LIVE 550 no\n" RCPT DATA
                              ">Hi\n>.\n<250 one\n<552 full\n=LIVE 552 full\n"},
    {.name = "LMTP: later is the worst",
     .lmtp = true,
     .live = {SAY_MAIL, SAY_RCPT, SAY_RCPT, SAY_RCPT, SAY_DATA, SAY_HI},
     .script = LHLO MAIL RCPT RCPT RCPT DATA
     ">Hi\n>.\n<550 no\n<451 wait\n<452 wait longer\n=LIVE 451 wait\n"},
    {.name = "LMTP: closing in the middle of the replies",
     .lmtp = true,
     .live = {SAY_MAIL, SAY_RCPT, SAY_RCPT, SAY_DATA, SAY_HI},
     .script = LHLO MAIL RCPT RCPT DATA ">Hi\n>.\n<250 one\n<421 bye\n=LIVE 421 bye\n"
                                        "=FAILED end of data (busy): 421 bye\n"},
    {.name = "LMTP: no text without recipients",
     .lmtp = true,
     .live = {SAY_MAIL, {.rcpt = "x@b.example"}, SAY_DATA, {.reset = true}},
     .script = LHLO MAIL ">RCPT TO:<x@b.example>\n<550 no\n=LIVE 550 no\n"
                         "=LIVE 503 5.5.1 No valid recipients\n>RSET\n<250 ok\n=LIVE 250 ok\n"},

    /* ---- the end comes early ---- */
    {.name = "421 to MAIL",
     .live = {SAY_MAIL, SAY_MAIL},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<421 4.3.2 bye\n=LIVE 421 4.3.2 bye\n"
                     "=FAILED MAIL FROM (busy): 421 4.3.2 bye\n"},
    {.name = "421 to RCPT",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA},
     .script = PLAIN MAIL ">RCPT TO:<r@b.example>\n<421 bye\n=LIVE 421 bye\n"
                          "=FAILED RCPT TO (busy): 421 bye\n"},
    {.name = "421 to DATA",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_RCPT},
     .script =
         PLAIN MAIL RCPT ">DATA\n<421 bye\n=LIVE 421 bye\n=FAILED DATA (busy): 421 bye\n"},
    {.name = "421 to the text",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_HI, SAY_MAIL},
     .script = PLAIN MAIL RCPT DATA ">Hi\n>.\n<421 bye\n=LIVE 421 bye\n"
                                    "=FAILED end of data (busy): 421 bye\n"},
    {.name = "421 in the middle of the text",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, {.text = "Hi\r\n", .unfinished = true}},
     .script = PLAIN MAIL RCPT DATA ">Hi\n<421 bye\n=FAILED message text: 421 bye\n"},
    {.name = "a refusal in the middle of the text",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, {.text = "Hi\r\n", .unfinished = true}},
     .script = PLAIN MAIL RCPT DATA
     ">Hi\n<554 spam\n=FAILED message text: 0 a reply that nothing asked for\n"},
    {.name = "RSET refused",
     .live = {SAY_MAIL, {.reset = true}, SAY_MAIL},
     .script = PLAIN MAIL ">RSET\n<500 what?\n=LIVE 500 what?\n=FAILED RSET: 500 what?\n"},
    {.name = "QUIT within a transaction",
     .live = {SAY_MAIL, {.quit = true}},
     .script = PLAIN MAIL ">QUIT\n<221 bye\n=QUIT\n"},
    {.name = "QUIT is no text",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, {.quit = true}},
     .script = PLAIN MAIL RCPT DATA},
    {.name = "MAIL 3xx",
     .live = {SAY_MAIL},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<354 go\n"
                     "=FAILED MAIL FROM: 0 the code 354, which has no meaning there\n"},
    {.name = "RCPT 3xx",
     .live = {SAY_MAIL, SAY_RCPT},
     .script = PLAIN MAIL ">RCPT TO:<r@b.example>\n<354 go\n"
                          "=FAILED RCPT TO: 0 the code 354, which has no meaning there\n"},
    {.name = "DATA 2xx",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA},
     .script = PLAIN MAIL RCPT ">DATA\n<250 ok\n"
                               "=FAILED DATA: 0 the code 250, which has no meaning there\n"},
    {.name = "end of data 3xx",
     .live = {SAY_MAIL, SAY_RCPT, SAY_DATA, SAY_HI},
     .script = PLAIN MAIL RCPT DATA
     ">Hi\n>.\n<354 more\n=FAILED end of data: 0 the code 354, which has no meaning there\n"},
    {.name = "junk for a reply",
     .live = {SAY_MAIL, SAY_RCPT},
     .script = PLAIN MAIL ">RCPT TO:<r@b.example>\n<sure\n"
                          "=FAILED RCPT TO: 0 a line that does not begin with a reply code\n"},
};

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dialogue_test(&rows[i]);
    }
}

/* ---- what scripts cannot say ---- */

static void say(struct smtp_client *client, const char *octets)
{
    struct smtp_client_event event;

    assert_int_equal(smtp_client_feed(client, pn_str_z(octets)), pn_str_z(octets).len);
    while (smtp_client_next(client, &event)) {
        if (event.kind == SMTP_CLIENT_EV_EHLO) {
            smtp_client_go(client);
        }
    }
}

static void expect_said(struct smtp_client *client, const char *expected)
{
    struct pn_buf *output = smtp_client_output(client);

    assert_true(pn_str_eq(pn_buf_str(output), pn_str_z(expected)));
    pn_buf_consume(output, output->len);
}

static struct smtp_client *make_ready(const char *ehlo)
{
    struct smtp_client_options options = {
        .hostname = PN_STR("me.example"), .window_mails = 4, .window_octets = 1000};
    struct smtp_client *client = smtp_client_new(&options);

    say(client, "220 mx\r\n");
    expect_said(client, "EHLO me.example\r\n");
    say(client, ehlo);
    expect_said(client, "");
    return client;
}

/* A mail may leave its transaction open: RSET goes first, and is waited for. */
static void test_after_a_mail(void **state)
{
    struct mail_recipient recipient = {.address = PN_STR("r@b.example")};
    struct smtp_reply reply;
    struct smtp_client_mail mail = {.sender = PN_STR("s@a.example"),
                                    .recipients = &recipient,
                                    .recipient_count = 1,
                                    .size_octets = 4,
                                    .replies = &reply};
    struct smtp_client *client = make_ready("250-mx\r\n250 PIPELINING\r\n");

    (void)state;
    smtp_client_mail(client, &mail);
    expect_said(client, "MAIL FROM:<s@a.example>\r\nRCPT TO:<r@b.example>\r\nDATA\r\n");
    say(client, "250 ok\r\n");
    say(client, "550 no\r\n");
    say(client, "554 no recipients\r\n");
    assert_false(smtp_client_live_open(client));
    smtp_client_live_mail(client, PN_STR("t@a.example"), 0, 0, MAIL_RET_NONE, PN_STR(""));
    expect_said(client, "RSET\r\n");
    assert_true(smtp_client_live_open(client));
    assert_false(smtp_client_wants_mail(client));
    assert_string_equal(smtp_client_awaits(client), "RSET");
    say(client, "250 ok\r\n");
    expect_said(client, "MAIL FROM:<t@a.example>\r\n");
    say(client, "250 ok\r\n");
    smtp_client_live_rcpt(client, &recipient);
    expect_said(client, "RCPT TO:<r@b.example>\r\n");
    smtp_client_free(&client);
}

static void test_what_is_awaited(void **state)
{
    struct mail_recipient recipient = {.address = PN_STR("r@b.example")};
    struct smtp_client *client = make_ready("250 mx\r\n");

    (void)state;
    smtp_client_live_mail(client, PN_STR(""), 0, 0, MAIL_RET_NONE, PN_STR(""));
    expect_said(client, "MAIL FROM:<>\r\n");
    assert_string_equal(smtp_client_awaits(client), "MAIL FROM");
    say(client, "250 ok\r\n");
    assert_null(smtp_client_awaits(client));
    smtp_client_live_rcpt(client, &recipient);
    say(client, "250 ok\r\n");
    smtp_client_live_data(client);
    assert_false(smtp_client_live_wants_text(client));
    say(client, "354 go\r\n");
    assert_true(smtp_client_live_wants_text(client));
    assert_false(smtp_client_awaits_final(client));
    smtp_client_live_text(client, PN_STR("no line end"), true);
    expect_said(client, "RCPT TO:<r@b.example>\r\nDATA\r\nno line end\r\n.\r\n");
    assert_false(smtp_client_live_wants_text(client));
    assert_true(smtp_client_awaits_final(client));
    say(client, "250 ok\r\n");
    assert_false(smtp_client_live_open(client));
    assert_true(smtp_client_wants_mail(client));
    smtp_client_free(&client);
}

/* Two replies to one command: the second is nobody's, and ends the session. */
static void test_one_reply_too_many(void **state)
{
    static const struct {
        const char *stage;
        bool open;
    } cases[] = {{"transaction", true}, {"idle session", false}};
    struct smtp_client_event event = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct smtp_client *client = make_ready("250 mx\r\n");

        smtp_client_live_mail(client, PN_STR(""), 0, 0, MAIL_RET_NONE, PN_STR(""));
        say(client, cases[i].open ? "250 ok\r\n" : "451 no\r\n");
        assert_int_equal(smtp_client_feed(client, PN_STR("250 ok\r\n")), 8);
        assert_true(smtp_client_next(client, &event));
        assert_int_equal(event.kind, SMTP_CLIENT_EV_FAILED);
        assert_string_equal(event.stage, cases[i].stage);
        assert_int_equal(event.reply.code, 0);
        /* The owner has not heard of it yet. */
        smtp_client_live_reset(client);
        smtp_client_live_mail(client, PN_STR(""), 0, 0, MAIL_RET_NONE, PN_STR(""));
        smtp_client_free(&client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_after_a_mail),
        cmocka_unit_test(test_what_is_awaited),
        cmocka_unit_test(test_one_reply_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
