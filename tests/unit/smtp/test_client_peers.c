/*
 * test_client_peers.c - logins, client identity, the window, and servers that do not keep to
 * what they announce: scripts, as in test_client.c.
 */
#include "helper_dialogue.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define HELLO(lines) "<220 mx.example ESMTP\n>EHLO me.example\n" lines "=EHLO\n"
#define PLAIN        HELLO("<250 mx.example\n")
#define PIPE         HELLO("<250-mx.example\n<250 PIPELINING\n")
#define CHUNK        HELLO("<250-mx.example\n<250-PIPELINING\n<250 CHUNKING\n")
#define AUTH         HELLO("<250-mx.example\n<250 AUTH PLAIN LOGIN\n")
#define XCLIENT                                                                                \
    HELLO("<250-mx.example\n<250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN REVERSE_NAME\n")
#define XFORWARD(more)                                                                         \
    HELLO("<250-mx.example\n" more "<250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\n")
#define MAIL     ">MAIL FROM:<s@a.example>\n"
#define RCPT     ">RCPT TO:<r@b.example>\n"
#define HI       ">BDAT 4 LAST\n=TEXT\n>Hi\n"
#define ENVELOPE MAIL RCPT HI
#define NEXT     ">RSET\n" ENVELOPE
#define TAKEN    "<250 ok\n<250 ok\n<250 "
#define NAMED    ">XFORWARD ADDR=192.0.2.7 PORT=4321 NAME=client.example\n"
#define NAMED2   ">XFORWARD PROTO=ESMTPS HELO=helo.example IDENT=0A1B SOURCE=REMOTE\n"

static struct smtp_identity known, bare, odd, six;
static const struct dialogue_mail one = {
    .sender = "s@a.example", .recipients = {"r@b.example"}, .text = "Hi\r\n"};
static const struct dialogue_mail pair = {
    .sender = "s@a.example", .recipients = {"r@b.example", "q@b.example"}, .text = "Hi\r\n"};
static const struct dialogue_mail named = {.sender = "s@a.example",
                                           .recipients = {"r@b.example"},
                                           .text = "Hi\r\n",
                                           .identity = &known};

static const struct dialogue rows[] = {
    /* ---- logins ---- */
    {.name = "AUTH with an initial response",
     .auth = {"PLAIN", "AHUAcA=="},
     .mails = {&one},
     .script = AUTH ">AUTH PLAIN AHUAcA==\n<235 2.7.0 in\n=AUTH 235 2.7.0 in\n" MAIL},
    {.name = "AUTH with challenges",
     .auth = {"LOGIN", "", "dQ==", "cA=="},
     .mails = {&one},
     .script = AUTH ">AUTH LOGIN\n<334 VXNlcm5hbWU6\n=CHALLENGE VXNlcm5hbWU6\n>dQ==\n"
                    "<334 UGFzc3dvcmQ6\n=CHALLENGE UGFzc3dvcmQ6\n>cA==\n<235 in\n"
                    "=AUTH 235 in\n" MAIL},
    {.name = "an empty challenge",
     .auth = {"LOGIN", "", "dQ=="},
     .script = AUTH ">AUTH LOGIN\n<334\n=CHALLENGE \n>dQ==\n"},
    {.name = "AUTH refused",
     .auth = {"PLAIN", "AHUAcA=="},
     .mails = {&one},
     .script = AUTH ">AUTH PLAIN AHUAcA==\n<535 5.7.8 no\n=AUTH 535 5.7.8 no\n" MAIL},
    {.name = "AUTH closed",
     .auth = {"PLAIN", "AHUAcA=="},
     .script = AUTH ">AUTH PLAIN AHUAcA==\n<421 bye\n=FAILED AUTH (busy): 421 bye\n"},
    {.name = "AUTH answered by nonsense",
     .auth = {"PLAIN", "AHUAcA=="},
     .script = AUTH ">AUTH PLAIN AHUAcA==\n<354 go\n"
                    "=FAILED AUTH: 0 the code 354, which has no meaning there\n"},

    /* ---- XCLIENT ---- */
    {.name = "XCLIENT, and EHLO as the client",
     .client = &known,
     .mails = {&named},
     .script = XCLIENT ">XCLIENT ADDR=192.0.2.7 PORT=4321 NAME=client.example PROTO=ESMTP "
                       "LOGIN=[UNAVAILABLE] HELO=helo.example REVERSE_NAME=client.example\n"
                       "<220 mx.example\n>EHLO helo.example\n<250-mx.example\n"
                       "<250 XFORWARD ADDR\n=IDENTIFIED 250 mx.example/XFORWARD ADDR\n" MAIL},
    {.name = "XCLIENT for a client of which nothing is known",
     .client = &bare,
     .mails = {&one},
     .script = XCLIENT ">XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] NAME=[UNAVAILABLE] "
                       "PROTO=ESMTP LOGIN=[UNAVAILABLE] HELO=[UNAVAILABLE] "
                       "REVERSE_NAME=[UNAVAILABLE]\n"
                       "<220 mx.example\n>EHLO me.example\n<250 mx\n=IDENTIFIED 250 mx\n" MAIL},
    {.name = "XCLIENT for a client with odd names",
     .client = &odd,
     .script = XCLIENT ">XCLIENT ADDR=192.0.2.7 PORT=4321 NAME=[UNAVAILABLE] PROTO=SMTP "
                       "LOGIN=a+2Bb+3D+C3+A4 HELO=two+20words+0D+0A "
                       "REVERSE_NAME=[UNAVAILABLE]\n<220 mx.example\n>EHLO me.example\n"},
    {.name = "XCLIENT says what is asked for",
     .client = &six,
     .script = HELLO("<250-mx\n<250 XCLIENT addr helo\n") ">XCLIENT ADDR=IPV6:2001:db8::7 "
                                                          "HELO=[IPv6:2001:db8::7]\n<220 mx\n"
                                                          ">EHLO [IPv6:2001:db8::7]\n"},
    {.name = "XCLIENT refused",
     .client = &six,
     .script =
         HELLO("<250-mx\n<250 XCLIENT ADDR\n") ">XCLIENT ADDR=IPV6:2001:db8::7\n"
                                               "<550 5.7.0 you may not\n"
                                               "=FAILED XCLIENT: 550 5.7.0 you may not\n"},
    {.name = "XCLIENT, and the client is turned away",
     .client = &six,
     .script = HELLO("<250-mx\n<250 XCLIENT ADDR\n") ">XCLIENT ADDR=IPV6:2001:db8::7\n<220 mx\n"
                                                     ">EHLO [IPv6:2001:db8::7]\n<550 no\n"
                                                     ">HELO [IPv6:2001:db8::7]\n<554 5.7.1 no\n"
                                                     "=FAILED HELO: 554 5.7.1 no\n"},
    {.name = "XCLIENT answered by nonsense",
     .client = &six,
     .script = HELLO("<250-mx\n<250 XCLIENT ADDR\n") ">XCLIENT ADDR=IPV6:2001:db8::7\n<334 x\n"
                                                     "=FAILED XCLIENT: 0 the code 334, which "
                                                     "has no meaning there\n"},

    /* ---- XFORWARD ---- */
    {.name = "XFORWARD step by step",
     .mails = {&named},
     .script = XFORWARD("") NAMED "<250 ok\n" NAMED2 "<250 ok\n" MAIL "<250 ok\n" RCPT},
    {.name = "XFORWARD leaves with the envelope",
     .mails = {&named},
     .quit = true,
     .script = XFORWARD("<250-PIPELINING\n<250-CHUNKING\n") NAMED NAMED2 MAIL RCPT HI
     "<250 ok\n<250 ok\n<250 ok\n<250 ok\n<250 done\n"
     "=DONE 0: 250 done\n>QUIT\n"},
    {.name = "XFORWARD refused costs the mail nothing, and is not said again",
     .mails = {&named, &named},
     .script = XFORWARD("") NAMED "<501 5.5.4 what?\n" MAIL "<250 ok\n" RCPT
                                  "<550 no\n=DONE 0: 550 no\n>RSET\n<250 ok\n" MAIL},
    {.name = "XFORWARD says what is asked for",
     .mails = {&named},
     .script = HELLO(
         "<250-mx\n<250 XFORWARD IDENT SOURCE\n") ">XFORWARD IDENT=0A1B SOURCE=REMOTE\n<250 "
                                                  "ok\n" MAIL},
    {.name = "a mail without identity says nothing",
     .mails = {&one},
     .script = XFORWARD("") MAIL},
    {.name = "XFORWARD before a live transaction",
     .client = &known,
     .live = {{.mail = "s@a.example"}},
     .script = XFORWARD("<250-PIPELINING\n") NAMED
     "<250 ok\n" NAMED2 "<250 good\n=IDENTIFIED 250 good\n" MAIL "<250 ok\n=LIVE 250 ok\n"},
    {.name = "XFORWARD that has nothing to say",
     .client = &known,
     .live = {{.mail = "s@a.example"}},
     .script = HELLO("<250-mx\n<250 XFORWARD TEA\n") "=IDENTIFIED 250\n" MAIL},

    /* ---- the window ---- */
    {.name = "the window doubles",
     .window = 1,
     .window_max = 4,
     .mails = {&one, &one, &one, &one, &one, &one, &one},
     .script = CHUNK ENVELOPE TAKEN "a\n=DONE 0: 250 a\n" ENVELOPE NEXT TAKEN
                                    "b\n=DONE 1: 250 b\n" NEXT "<250 ok\n" TAKEN
                                    "c\n=DONE 2: 250 c\n" NEXT NEXT NEXT},
    {.name = "the window halves, once for what was under way",
     .window = 4,
     .mails = {&one, &one, &one, &one, &one},
     .script = CHUNK ENVELOPE NEXT NEXT NEXT "<250 ok\n<250 ok\n<451 a\n=DONE 0: 451 a\n"
                                             "<250 ok\n<250 ok\n<250 ok\n<451 b\n"
                                             "=DONE 1: 451 b\n<250 ok\n" TAKEN
                                             "c\n=DONE 2: 250 c\n" NEXT},

    /* ---- servers that do not keep to what they announce ---- */
    {.name = "known not to pipeline",
     .quirks = SMTP_QUIRK_PIPELINING,
     .mails = {&one, &one},
     .script = CHUNK MAIL "<250 ok\n" RCPT "<250 ok\n" HI "<250 a\n=DONE 0: 250 a\n" MAIL},
    {.name = "known not to know BDAT",
     .quirks = SMTP_QUIRK_CHUNKING,
     .mails = {&one},
     .script = CHUNK MAIL RCPT ">DATA\n"},
    {.name = "a recipient's reply is missing: 354",
     .mails = {&pair},
     .script = PIPE MAIL RCPT ">RCPT TO:<q@b.example>\n>DATA\n<250 ok\n<250 ok\n<354 go\n"
                              "=FAILED RCPT TO (no pipelining): 0 the code 354, which has no "
                              "meaning there\n"},
    {.name = "a reply is missing: MAIL's comes for a text",
     .mails = {&pair, &one},
     .script = CHUNK MAIL RCPT ">RCPT TO:<q@b.example>\n" HI ">RSET\n" MAIL RCPT HI
                               "<250 ok\n<250 2.1.5 ok\n<552 5.3.4 too big\n<250 2.1.0 ok\n"
                               "=FAILED end of data (no pipelining): 0 the code 250 2.1.0, "
                               "which has no meaning there\n=DOUBT 0\n=DOUBT 1\n"},
    {.name = "2.1.0 for a text that was sent alone",
     .mails = {&one},
     .script = PLAIN MAIL "<250 ok\n" RCPT "<250 ok\n>DATA\n<354 go\n=TEXT\n>Hi\n>.\n"
                          "<250 2.1.0 ok\n=DONE 0: 250 2.1.0 ok\n"},
    {.name = "a reply too many",
     .mails = {&one},
     .script = PIPE MAIL RCPT
     ">DATA\n<250 ok\n<250 ok\n<250 ok\n"
     "=FAILED DATA (no pipelining): 0 the code 250, which has no meaning there\n"},
    {.name = "pipelining refused by name",
     .mails = {&one},
     .script = PIPE MAIL RCPT ">DATA\n<250 ok\n<503 5.5.0 improper use of SMTP Command "
                              "Pipelining\n=FAILED RCPT TO (no pipelining): 503 5.5.0 improper "
                              "use of SMTP Command Pipelining\n"},
    {.name = "a recipient named pipelining, step by step",
     .mails = {&one},
     .script = PLAIN MAIL "<250 ok\n" RCPT "<550 pipelining is no user\n"
                          "=DONE 0: 550 pipelining is no user\n"},
    {.name = "BDAT is not known after all",
     .mails = {&one, &one},
     .script = CHUNK MAIL RCPT HI ">RSET\n" MAIL RCPT HI "<250 ok\n<250 ok\n<502 5.5.2 what?\n"
                                  "=FAILED end of data (no BDAT): 502 5.5.2 what?\n"},
    {.name = "BDAT is out of order although there is a recipient",
     .mails = {&one},
     .script = CHUNK MAIL RCPT HI "<250 ok\n<250 ok\n<503 5.5.1 what?\n"
                                  "=FAILED end of data (no BDAT): 503 5.5.1 what?\n"},
    {.name = "BDAT is out of order because there is none",
     .mails = {&one},
     .script = CHUNK MAIL RCPT HI "<250 ok\n<550 no\n<503 5.5.1 no recipients\n"
                                  "=DONE 0: 550 no\n"},
    {.name = "BDAT refused by one that has taken another is about the mail",
     .mails = {&one, &one},
     .script = CHUNK MAIL RCPT HI ">RSET\n" MAIL RCPT HI
                                  "<250 ok\n<250 ok\n<250 a\n=DONE 0: 250 a\n<250 ok\n<250 "
                                  "ok\n<250 ok\n<501 b\n=DONE 1: 501 b\n"},
};

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        dialogue_test(&rows[i]);
    }
}

static void test_identity_same(void **state)
{
    struct smtp_identity other = known;

    (void)state;
    assert_true(smtp_identity_same(&known, &other));
    other.client.port = 1;
    other.ident = PN_STR("another mail");
    assert_true(smtp_identity_same(&known, &other));
    other.name = PN_STR("CLIENT.example");
    assert_true(smtp_identity_same(&known, &other));
    other.helo = PN_STR("another");
    assert_false(smtp_identity_same(&known, &other));
    assert_false(smtp_identity_same(&known, &six));
}

static int make_identities(void **state)
{
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};

    (void)state;
    known = (struct smtp_identity){.name = PN_STR("client.example"),
                                   .client = {.ip = pn_ip_v4(0xc0000207), .port = 4321},
                                   .helo = PN_STR("helo.example"),
                                   .protocol = PN_STR("ESMTPS"),
                                   .ident = PN_STR("0A1B")};
    odd = known;
    odd.name = PN_STR("-client.example");
    odd.helo = PN_STR("two words\r\n");
    odd.login = PN_STR("a+b=\xc3\xa4");
    odd.protocol = PN_STR("SMTP");
    six.client.ip = pn_ip_v6(v6);
    six.helo = PN_STR("[IPv6:2001:db8::7]");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_identity_same),
    };

    return cmocka_run_group_tests(tests, make_identities, NULL);
}
