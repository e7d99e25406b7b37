/*
 * test_client.c - conversations of the client's half: each script is played line by line,
 * whole, octet by octet and at every split, and must always end the same.
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

static const struct dialogue_mail one = {
    .sender = "s@a.example", .recipients = {"r@b.example"}, .text = "Hi\r\n"};
static const struct dialogue_mail two = {.sender = "s@a.example",
                                         .recipients = {"r1@b.example", "r2@b.example"},
                                         .text = ".dot\r\n"};
static const struct dialogue_mail three = {
    .sender = "", .recipients = {"x@b.example", "y@b.example", "z@b.example"}, .text = "T\r\n"};
static const struct dialogue_mail big = {
    .sender = "s@a.example", .recipients = {"r@b.example"}, .text = "0123456789012345678\r\n"};
static const struct dialogue_mail eight = {.sender = "s@a.example",
                                           .recipients = {"r@b.example"},
                                           .text = "\xc3\xa4\r\n",
                                           .flags = MAIL_8BIT_BODY};
static const struct dialogue_mail utf8_address = {.sender = "\xc3\xa4@a.example",
                                                  .recipients = {"r@b.example", "q@b.example"},
                                                  .text = "Hi\r\n",
                                                  .flags = MAIL_UTF8_ADDRESS};
static const struct dialogue_mail utf8_header = {.sender = "s@a.example",
                                                 .recipients = {"r@b.example"},
                                                 .text = "S: \xc3\xa4\r\n",
                                                 .flags = MAIL_SMTPUTF8 | MAIL_UTF8_HEADER};
static const struct dialogue_mail utf8_said = {.sender = "s@a.example",
                                               .recipients = {"r@b.example"},
                                               .text = "Hi\r\n",
                                               .flags = MAIL_SMTPUTF8};
static const struct dialogue_mail dsn = {.sender = "s@a.example",
                                         .recipients = {"r@b.example"},
                                         .text = "Hi\r\n",
                                         .envid = "id+2B1",
                                         .ret = MAIL_RET_HDRS,
                                         .orcpt = "rfc822;r@b.example",
                                         .notify = MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY};
static const struct dialogue_mail never = {.sender = "s@a.example",
                                           .recipients = {"r@b.example"},
                                           .text = "Hi\r\n",
                                           .ret = MAIL_RET_FULL,
                                           .notify = MAIL_NOTIFY_NEVER};
static const struct dialogue_mail split_line = {
    .sender = "s@a.example",
    .recipients = {"r@b.example\r\nRCPT TO:<evil@b.example>"},
    .text = "Hi\r\n"};

static const struct dialogue rows[] = {
    /* ---- the beginning ---- */
    {.name = "greeting of several lines",
     .script = "<220-mx.example ESMTP\n<220 be patient\n>EHLO me.example\n<250 mx\n=EHLO\n"},
    {.name = "greeting refused",
     .script = "<554 5.7.1 no mail here\n=FAILED greeting: 554 5.7.1 no mail here\n"},
    {.name = "greeting busy",
     .script = "<421 4.3.2 later\n=FAILED greeting (busy): 421 4.3.2 later\n"},
    {.name = "greeting 3xx",
     .script = "<354 go\n=FAILED greeting: 0 the code 354, which has no meaning there\n"},
    {.name = "EHLO unknown, HELO known",
     .mails = {&one},
     .script = "<220 mx\n>EHLO me.example\n<502 what?\n>HELO me.example\n<250 mx\n=EHLO\n"
               ">MAIL FROM:<s@a.example>\n"},
    {.name = "EHLO and HELO refused",
     .script = "<220 mx\n>EHLO me.example\n<550 no\n>HELO me.example\n<550 not you\n"
               "=FAILED HELO: 550 not you\n"},
    {.name = "EHLO later",
     .script = "<220 mx\n>EHLO me.example\n<451 wait\n=FAILED EHLO: 451 wait\n"},
    {.name = "two greetings are no EHLO answer",
     .script = "<220 mx\n>EHLO me.example\n<220 mx\n"
               "=FAILED EHLO: 0 the code 220, which has no meaning there\n"},
    {.name = "LHLO refused",
     .lmtp = true,
     .script = "<220 mx\n>LHLO me.example\n<500 what?\n=FAILED LHLO: 500 what?\n"},
    {.name = "line ends by LF alone",
     .script = "~220 mx\n>EHLO me.example\n~250-mx\n~250 SIZE\n=EHLO\n"},

    /* ---- TLS ---- */
    {.name = "STARTTLS",
     .tls = true,
     .mails = {&one},
     .script = HELLO(
         "<250-mx\n<250-PIPELINING\n<250 STARTTLS\n") ">STARTTLS\n<220 go\n=TLS\n"
                                                      ">EHLO me.example\n<250 mx\n=EHLO\n>MAIL "
                                                      "FROM:<s@a.example>\n"},
    {.name = "STARTTLS refused",
     .tls = true,
     .mails = {&one},
     .script = HELLO(
         "<250-mx\n<250 STARTTLS\n") ">STARTTLS\n<454 4.7.0 not now\n"
                                     "=NO_TLS 454 4.7.0 not now\n>MAIL FROM:<s@a.example>\n"},
    {.name = "STARTTLS answered by nonsense",
     .tls = true,
     .script = HELLO("<250-mx\n<250 STARTTLS\n") ">STARTTLS\n<250 ok\n"
                                                 "=FAILED STARTTLS: 0 the code 250, which has "
                                                 "no meaning there\n"},
    {.name = "STARTTLS busy",
     .tls = true,
     .script = HELLO("<250-mx\n<250 STARTTLS\n") ">STARTTLS\n<421 bye\n"
                                                 "=FAILED STARTTLS (busy): 421 bye\n"},

    /* ---- step by step ---- */
    {.name = "one mail without extensions",
     .mails = {&one},
     .quit = true,
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">DATA\n<354 go\n=TEXT\n>Hi\n>.\n<250 2.0.0 queued\n"
                     "=DONE 0: 250 2.0.0 queued\n>QUIT\n<221 bye\n=QUIT\n"},
    {.name = "recipients have their own replies",
     .mails = {&three},
     .script = PLAIN ">MAIL FROM:<>\n<250 ok\n>RCPT TO:<x@b.example>\n<550 5.1.1 no x\n"
                     ">RCPT TO:<y@b.example>\n<250 ok\n>RCPT TO:<z@b.example>\n<451 not z\n"
                     ">DATA\n<354 go\n=TEXT\n>T\n>.\n<250 done\n"
                     "=DONE 0: 550 5.1.1 no x | 250 done | 451 not z\n"},
    {.name = "all refused, then RSET and the next mail",
     .mails = {&two, &one},
     .script =
         PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r1@b.example>\n<550 no\n"
               ">RCPT TO:<r2@b.example>\n<450 later\n=DONE 0: 550 no | 450 later\n"
               ">RSET\n<250 ok\n>MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n"},
    {.name = "MAIL refused, no RSET needed",
     .mails = {&two, &one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<451 4.7.1 wait\n"
                     "=DONE 0: 451 4.7.1 wait | 451 4.7.1 wait\n>MAIL FROM:<s@a.example>\n"},
    {.name = "DATA refused is everybody's reply",
     .mails = {&two, &one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r1@b.example>\n<250 ok\n"
                     ">RCPT TO:<r2@b.example>\n<550 no\n>DATA\n<452 full\n"
                     "=DONE 0: 452 full | 550 no\n>RSET\n<250 ok\n>MAIL FROM:<s@a.example>\n"},
    {.name = "refused at the end",
     .mails = {&one, &one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">DATA\n<354 go\n=TEXT\n>Hi\n>.\n<554 5.7.1 spam\n"
                     "=DONE 0: 554 5.7.1 spam\n>MAIL FROM:<s@a.example>\n"},
    {.name = "RSET refused",
     .mails = {&one, &one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<550 no\n"
                     "=DONE 0: 550 no\n>RSET\n<500 what?\n=FAILED RSET: 500 what?\n"},

    /* ---- pipelining ---- */
    {.name = "envelope in one write, the next behind the text",
     .mails = {&two, &one},
     .quit = true,
     .script = PIPE
     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r1@b.example>\n>RCPT TO:<r2@b.example>\n>DATA\n"
     "<250 ok\n<250 ok\n<550 no\n<354 go\n=TEXT\n>..dot\n>.\n"
     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
     "<250 took it\n=DONE 0: 250 took it | 550 no\n<250 ok\n<250 ok\n<354 go\n"
     "=TEXT\n>Hi\n>.\n<250 this too\n=DONE 1: 250 this too\n>QUIT\n<221 bye\n=QUIT\n"},
    {.name = "window of one",
     .mails = {&one, &one},
     .window = 1,
     .script = PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
                    "<250 ok\n<250 ok\n<354 go\n=TEXT\n>Hi\n>.\n<250 took it\n"
                    "=DONE 0: 250 took it\n"
                    ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"},
    {.name = "354 although everybody was refused",
     .mails = {&one, &one},
     .script = PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
                    "<250 ok\n<550 no\n<354 go\n>.\n"
                    ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
                    "<554 no recipients\n=DONE 0: 550 no\n"},
    {.name = "DATA refused as everybody was",
     .mails = {&one, &one},
     .script =
         PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
              "<250 ok\n<550 no\n<554 5.5.1 no recipients\n>RSET\n"
              ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n=DONE 0: 550 no\n"},
    {.name = "MAIL refused, the rest is noise",
     .mails = {&two},
     .script = PIPE
     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r1@b.example>\n>RCPT TO:<r2@b.example>\n>DATA\n"
     "<552 5.3.4 too big\n<503 no\n<250 ok\n<503 no\n"
     "=DONE 0: 552 5.3.4 too big | 552 5.3.4 too big\n"},
    {.name = "MAIL refused, and then everything accepted",
     .mails = {&one},
     .script = PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"
                    "<550 not you\n<250 ok\n<354 go\n>.\n<250 ok\n=DONE 0: 550 not you\n"},

    /* ---- chunking ---- */
    {.name = "mail after mail without waiting",
     .mails = {&two, &one, &one},
     .window = 2,
     .script = CHUNK
     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r1@b.example>\n>RCPT TO:<r2@b.example>\n"
     ">BDAT 6 LAST\n=TEXT\n>.dot\n>RSET\n>MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
     ">BDAT 4 LAST\n=TEXT\n>Hi\n<250 ok\n<550 no\n<250 ok\n<250 first\n"
     "=DONE 0: 550 no | 250 first\n>RSET\n>MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
     ">BDAT 4 LAST\n=TEXT\n>Hi\n<250 reset\n<250 ok\n<250 ok\n<250 second\n"
     "=DONE 1: 250 second\n<250 reset\n<250 ok\n<250 ok\n<452 full\n=DONE 2: 452 full\n"},
    {.name = "no RSET behind a mail that has ended",
     .mails = {&one, &one},
     .window = 1,
     .script = CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n<250 ok\n<250 ok\n<250 done\n=DONE 0: 250 done\n"
                     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n"},
    {.name = "RSET behind a BDAT that was refused",
     .mails = {&one, &one},
     .window = 1,
     .script = CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n<250 ok\n<550 no\n<503 no recipients\n=DONE 0: 550 no\n>RSET\n"
                     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n"},
    {.name = "a mail beyond the window waits for its recipients",
     .mails = {&big, &big},
     .window_octets = 10,
     .script = CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n<250 ok\n<550 no\n"
                     "=DONE 0: 550 no\n>RSET\n"
                     ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
                     "<250 reset\n<250 ok\n<250 ok\n>BDAT 21 LAST\n=TEXT\n"
                     ">0123456789012345678\n"},
    {.name = "CHUNKING without PIPELINING",
     .mails = {&one},
     .off = SMTP_CAP_PIPELINING,
     .script = CHUNK ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">BDAT 4 LAST\n=TEXT\n>Hi\n<250 done\n=DONE 0: 250 done\n"},

    /* ---- parameters ---- */
    {.name = "SIZE and BODY",
     .mails = {&eight},
     .script = HELLO("<250-mx\n<250-SIZE 100\n<250 8BITMIME\n") ">MAIL FROM:<s@a.example> "
                                                                "SIZE=4 BODY=8BITMIME\n"},
    {.name = "8-bit goes as it is where 8BITMIME is missing",
     .mails = {&eight},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n"},
    {.name = "larger than the limit",
     .mails = {&one, &big},
     .script = HELLO("<250-mx\n<250 SIZE 20\n") ">MAIL FROM:<s@a.example> SIZE=4\n<451 no\n"
                                                "=DONE 0: 451 no\n"
                                                "=DONE 1: 552 5.3.4 The next hop takes no more "
                                                "than 20 octets\n"},
    {.name = "UTF-8 address",
     .mails = {&utf8_address},
     .script =
         HELLO("<250-mx\n<250-SMTPUTF8\n<250 8BITMIME\n") ">MAIL FROM:<\xc3\xa4@a.example> "
                                                          "SMTPUTF8\n"},
    {.name = "UTF-8 address where SMTPUTF8 is missing",
     .mails = {&utf8_address},
     .script = PLAIN "=DONE 0: 550 5.6.7 The next hop does not offer SMTPUTF8 | "
                     "550 5.6.7 The next hop does not offer SMTPUTF8\n"},
    {.name = "UTF-8 header where SMTPUTF8 is missing",
     .mails = {&utf8_header},
     .script = PLAIN "=DONE 0: 550 5.6.7 The next hop does not offer SMTPUTF8\n"},
    {.name = "SMTPUTF8 was said and is not needed",
     .mails = {&utf8_said},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n"},
    {.name = "DSN",
     .mails = {&dsn, &never},
     .script = HELLO(
         "<250-mx\n<250-DSN\n<250 PIPELINING\n") ">MAIL FROM:<s@a.example> RET=HDRS "
                                                 "ENVID=id+2B1\n"
                                                 ">RCPT TO:<r@b.example> NOTIFY=FAILURE,DELAY "
                                                 "ORCPT=rfc822;r@b.example\n>DATA\n"
                                                 "<250 ok\n<250 ok\n<354 "
                                                 "go\n=TEXT\n>Hi\n>.\n>MAIL FROM:<s@a.example> "
                                                 "RET=FULL\n"
                                                 ">RCPT TO:<r@b.example> "
                                                 "NOTIFY=NEVER\n>DATA\n"},
    {.name = "DSN not offered",
     .mails = {&dsn},
     .script = PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"},
    {.name = "a line end inside an address",
     .mails = {&split_line},
     .script = PLAIN "=DONE 0: 553 5.1.3 An address with control characters is not sent\n"},

    /* ---- LMTP ---- */
    {.name = "LMTP: a reply for each accepted recipient",
     .lmtp = true,
     .mails = {&three, &one},
     .script = "<220 mx\n>LHLO me.example\n<250-mx\n<250-CHUNKING\n<250 PIPELINING\n=EHLO\n"
               ">MAIL FROM:<>\n>RCPT TO:<x@b.example>\n>RCPT TO:<y@b.example>\n"
               ">RCPT TO:<z@b.example>\n<250 ok\n<250 ok\n<550 no y\n<250 ok\n>DATA\n"
               "<354 go\n=TEXT\n>T\n>.\n>MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
               "<250 x has it\n<452 z is full\n"
               "=DONE 0: 250 x has it | 550 no y | 452 z is full\n<250 ok\n<250 ok\n>DATA\n"},
    {.name = "LMTP: nobody accepted",
     .lmtp = true,
     .mails = {&one},
     .script = "<220 mx\n>LHLO me.example\n<250-mx\n<250 PIPELINING\n=EHLO\n"
               ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n<250 ok\n<550 no\n"
               "=DONE 0: 550 no\n"},
    {.name = "LMTP: 421 between recipients' replies",
     .lmtp = true,
     .mails = {&two},
     .script = "<220 mx\n>LHLO me.example\n<250-mx\n<250 PIPELINING\n=EHLO\n"
               ">MAIL FROM:<s@a.example>\n>RCPT TO:<r1@b.example>\n>RCPT TO:<r2@b.example>\n"
               "<250 ok\n<250 ok\n<250 ok\n>DATA\n<354 go\n=TEXT\n>..dot\n>.\n"
               "<250 r1 has it\n<421 stopping\n=DONE 0: 250 r1 has it | 421 stopping\n"
               "=FAILED end of data (busy): 421 stopping\n"},

    /* ---- 421 and other ends ---- */
    {.name = "421 while idle",
     .script = PLAIN "<421 4.4.2 idle too long\n"
                     "=FAILED idle session (busy): 421 4.4.2 idle too long\n"},
    {.name = "421 to MAIL",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<421 bye\n=FAILED MAIL FROM (busy): 421 bye\n"},
    {.name = "421 to RCPT",
     .mails = {&one},
     .script = PIPE ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n<250 ok\n"
                    "<421 bye\n=FAILED RCPT TO (busy): 421 bye\n"},
    {.name = "421 to the end of a text is its reply too",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">DATA\n<354 go\n=TEXT\n>Hi\n>.\n<421 4.3.0 stopping\n"
                     "=DONE 0: 421 4.3.0 stopping\n"
                     "=FAILED end of data (busy): 421 4.3.0 stopping\n"},
    {.name = "421 while a text is under way",
     .mails = {&one},
     .script = CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n<250 ok\n<421 bye\n=FAILED RCPT TO: 421 bye\n"},
    {.name = "421 to the end of the first of two texts",
     .mails = {&one, &one},
     .script = CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
                     ">Hi\n>RSET\n>MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
                     ">BDAT 4 LAST\n=TEXT\n>Hi\n<250 ok\n<250 ok\n<421 bye\n=DONE 0: 421 bye\n"
                     "=FAILED end of data: 421 bye\n"},
    {.name = "junk while texts are under way",
     .mails = {&one, &one},
     .script =
         CHUNK ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>BDAT 4 LAST\n=TEXT\n"
               ">Hi\n>RSET\n>MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n"
               ">BDAT 4 LAST\n=TEXT\n>Hi\n<250 ok\n<354 go\n"
               "=FAILED RCPT TO (no pipelining): 0 the code 354, which has no meaning there\n"
               "=DOUBT 0\n=DOUBT 1\n"},
    {.name = "LMTP: 421 with recipients left",
     .lmtp = true,
     .mails = {&two},
     .script = "<220 mx\n>LHLO me.example\n<250 mx\n=EHLO\n"
               ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r1@b.example>\n<250 ok\n"
               ">RCPT TO:<r2@b.example>\n<250 ok\n>DATA\n<354 go\n=TEXT\n>..dot\n>.\n"
               "<421 stopping\n=FAILED end of data: 421 stopping\n=DOUBT 0\n"},
    {.name = "a reply nobody asked for",
     .script = PLAIN "<250 hello?\n=FAILED idle session: 0 a reply that nothing asked for\n"},
    {.name = "2xx to DATA",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">DATA\n<250 ok\n"
                     "=FAILED DATA: 0 the code 250, which has no meaning there\n"},
    {.name = "3xx to MAIL",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<354 go\n"
                     "=FAILED MAIL FROM: 0 the code 354, which has no meaning there\n"},
    {.name = "3xx to the end",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<250 ok\n>RCPT TO:<r@b.example>\n<250 ok\n"
                     ">DATA\n<354 go\n=TEXT\n>Hi\n>.\n<354 more\n"
                     "=FAILED end of data: 0 the code 354, which has no meaning there\n"
                     "=DOUBT 0\n"},

    /* ---- probes ---- */
    {.name = "check",
     .check = true,
     .mails = {&one},
     .script = PIPE ">MAIL FROM:<>\n<250 2.1.0 ok\n>RSET\n<250 ok\n=CHECKED 250 2.1.0 ok\n"
                    ">MAIL FROM:<s@a.example>\n>RCPT TO:<r@b.example>\n>DATA\n"},
    {.name = "check refused",
     .check = true,
     .script = PLAIN ">MAIL FROM:<>\n<451 db down\n=CHECKED 451 db down\n"},
    {.name = "check, RSET refused",
     .check = true,
     .script = PLAIN ">MAIL FROM:<>\n<250 ok\n>RSET\n<502 what?\n=FAILED RSET: 502 what?\n"},

    /* ---- replies, well and badly formed ---- */
    {.name = "lines without text",
     .mails = {&one},
     .script = "<220-\n<220\n>EHLO me.example\n<250-\n<250\n=EHLO\n>MAIL FROM:<s@a.example>\n"
               "<250\n>RCPT TO:<r@b.example>\n<550-\n<550\n=DONE 0: 550\n"},
    {.name = "enhanced code on each line",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<550-5.7.1 first\n<550 5.7.1 second\n"
                     "=DONE 0: 550 5.7.1 first/second\n"},
    {.name = "enhanced code of another class is text",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<550 4.7.1 no\n=DONE 0: 550 4.7.1 no\n"},
    {.name = "enhanced code too long is text",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<550 5.7.1234 no\n"
                     "=DONE 0: 550 5.7.1234 no\n"},
    {.name = "controls and broken UTF-8",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n"
                     "<550 a\x1b[0m \r b\t\xc3\xa4 \xc3 \xff \xc2\x9b\xe2\x82\n"
                     "=DONE 0: 550 a?[0m ? b?\xc3\xa4 ? ? ????\n"},
    {.name = "codes that differ",
     .mails = {&one},
     .script = PLAIN ">MAIL FROM:<s@a.example>\n<550-no\n<250 yes\n"
                     "=FAILED MAIL FROM: 0 lines of one reply with different codes\n"},
    {.name = "no code",
     .script = "<SSH-2.0-OpenSSH_9.2\n"
               "=FAILED greeting: 0 a line that does not begin with a reply code\n"},
    {.name = "a code out of range",
     .script = "<199 no\n=FAILED greeting: 0 a line that does not begin with a reply code\n"},
    {.name = "a code of four digits",
     .script = "<2200 no\n=FAILED greeting: 0 a line that does not begin with a reply code\n"},
    {.name = "an empty line",
     .script = "<\n=FAILED greeting: 0 a line that does not begin with a reply code\n"},
};

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        dialogue_test(&rows[i]);
    }
}

/* Octets of `piece`, `times` over, behind `before`. */
static void check_flood(const char *before, const char *piece, size_t times,
                        const char *expected)
{
    static const struct dialogue bare = {.name = "flood"};
    struct pn_buf server;
    char *trace;

    pn_buf_init(&server, 64u << 20);
    assert_int_equal(pn_buf_append_z(&server, before), 0);
    for (size_t i = 0; i < times; i++) {
        assert_int_equal(pn_buf_append_z(&server, piece), 0);
    }
    trace = dialogue_play(&bare, pn_buf_str(&server), 0, false);
    assert_string_equal(trace, expected);
    free(trace);
    trace = dialogue_play(&bare, pn_buf_str(&server), 4096, false);
    assert_string_equal(trace, expected);
    free(trace);
    pn_buf_fini(&server);
}

static void test_floods(void **state)
{
    (void)state;
    check_flood("", "220-more\r\n", 1000000,
                "=FAILED greeting: 0 a reply of more than 100 lines\n");
    check_flood("220 ", "x", 10u << 20,
                "=FAILED greeting: 0 a line of more than 4096 octets\n");
    check_flood("220 ", "x\r", 4096, "=FAILED greeting: 0 a line of more than 4096 octets\n");
    check_flood("220 mx\r\n", "250-SIZE\r\n", 1000000,
                ">EHLO me.example\n=FAILED EHLO: 0 a reply of more than 100 lines\n");
    check_flood("220 mx\r\n", "250 mx\r\n", 1000000,
                ">EHLO me.example\n=EHLO\n=FAILED idle session: 0 a reply that nothing asked "
                "for\n");
}

/* 100 lines of nearly 4096 octets are a reply; only its text is cut. */
static void test_longest_reply(void **state)
{
    static const struct dialogue bare = {.name = "longest"};
    struct pn_buf server;
    char line[4091];
    char *trace;

    (void)state;
    memset(line, 'x', sizeof line);
    pn_buf_init(&server, 1u << 20);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(pn_buf_append_z(&server, i < 99 ? "554-" : "554 "), 0);
        assert_int_equal(pn_buf_append(&server, (struct pn_str){line, sizeof line - 1}), 0);
        assert_int_equal(pn_buf_append_z(&server, "\r\n"), 0);
    }
    trace = dialogue_play(&bare, pn_buf_str(&server), 0, false);
    assert_true(strncmp(trace, "=FAILED greeting: 554 xxx", 25) == 0);
    assert_int_equal(strlen(trace), strlen("=FAILED greeting: 554 \n") + 511);
    free(trace);
    pn_buf_fini(&server);
}

static struct smtp_client *ready_client(const char *ehlo)
{
    struct smtp_client_options options = {
        .hostname = PN_STR("me.example"), .window_mails = 4, .window_octets = 1000};
    struct smtp_client *client = smtp_client_new(&options);
    struct smtp_client_event event;

    assert_true(smtp_client_feed(client, PN_STR("220 mx.example ESMTP\r\n")) > 0);
    assert_true(smtp_client_feed(client, pn_str_z(ehlo)) > 0);
    assert_true(smtp_client_next(client, &event));
    assert_int_equal(event.kind, SMTP_CLIENT_EV_EHLO);
    return client;
}

static void test_capabilities(void **state)
{
    struct smtp_client *client =
        ready_client("250-mx.example at your service\r\n250-size 35882577\r\n"
                     "250-8BITMIME\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n"
                     "250-XCLIENT NAME ADDR\r\n250-AUTH PLAIN LOGIN\r\n250-X\x01\r\n"
                     "250 PipeLining\r\n");

    (void)state;
    assert_int_equal(smtp_client_capabilities(client),
                     SMTP_CAP_SIZE | SMTP_CAP_8BITMIME | SMTP_CAP_STARTTLS | SMTP_CAP_ENHANCED |
                         SMTP_CAP_XCLIENT | SMTP_CAP_AUTH | SMTP_CAP_PIPELINING);
    assert_int_equal(smtp_client_size_limit(client), 35882577);
    assert_true(pn_str_eq(smtp_client_greeting(client), PN_STR("mx.example")));
    assert_true(pn_str_starts(smtp_client_ehlo_lines(client),
                              PN_STR("mx.example at your service\nsize 35882577\n")));
    assert_true(pn_str_ends(smtp_client_ehlo_lines(client), PN_STR("X?\nPipeLining")));
    smtp_client_free(&client);

    client = ready_client("250-mx\r\n250 SIZE 99999999999999999999999\r\n");
    assert_int_equal(smtp_client_size_limit(client), 0);
    smtp_client_free(&client);
}

/* What is awaited, and when a lost session is in doubt. */
static void test_awaits(void **state)
{
    struct smtp_client *client = ready_client("250 mx.example\r\n");
    struct mail_recipient recipient = {.address = PN_STR("r@b.example")};
    struct smtp_reply reply;
    struct smtp_client_mail mail = {.sender = PN_STR("s@a.example"),
                                    .recipients = &recipient,
                                    .recipient_count = 1,
                                    .size_octets = 4,
                                    .replies = &reply};
    struct smtp_client_event event;

    (void)state;
    smtp_client_go(client);
    assert_null(smtp_client_awaits(client));
    smtp_client_mail(client, &mail);
    assert_string_equal(smtp_client_awaits(client), "MAIL FROM");
    assert_int_equal(smtp_client_feed(client, PN_STR("250 ok\r\n250 ok\r\n354 go\r\n")), 24);
    assert_null(smtp_client_awaits(client));
    assert_int_equal(reply.code, 0); /* accepted, and not delivered */
    assert_true(smtp_client_next(client, &event));
    assert_int_equal(event.kind, SMTP_CLIENT_EV_TEXT);
    smtp_client_text(client, PN_STR("Hi"), false);
    assert_false(mail.last_octet_sent);
    smtp_client_text(client, PN_STR("\r\n"), true);
    assert_true(mail.last_octet_sent);
    assert_string_equal(smtp_client_awaits(client), "end of data");
    assert_true(smtp_client_awaits_final(client));
    smtp_client_free(&client);
}

/* A refusal in the middle of a text counts for it, and ends the session. */
static void test_early_refusal(void **state)
{
    static const struct {
        const char *reply;
        int code;
    } cases[] = {{"552 too big\r\n", 552}, {"421 bye\r\n", 0}, {"250 fine\r\n", 0}};
    struct mail_recipient recipient = {.address = PN_STR("r@b.example")};
    struct smtp_reply reply;
    struct smtp_client_mail mail = {
        .recipients = &recipient, .recipient_count = 1, .size_octets = 4, .replies = &reply};
    struct smtp_client_event event;

    (void)state;
    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        struct smtp_client *client = ready_client("250 mx.example\r\n");

        smtp_client_go(client);
        smtp_client_mail(client, &mail);
        assert_int_equal(smtp_client_feed(client, PN_STR("250 ok\r\n250 ok\r\n354 go\r\n")),
                         24);
        assert_true(smtp_client_next(client, &event));
        smtp_client_text(client, PN_STR("Hi"), false);
        assert_true(smtp_client_feed(client, pn_str_z(cases[i].reply)) > 0);
        if (cases[i].code) {
            assert_true(smtp_client_next(client, &event));
            assert_int_equal(event.kind, SMTP_CLIENT_EV_DONE);
        }
        assert_int_equal(reply.code, cases[i].code);
        assert_true(smtp_client_next(client, &event));
        assert_int_equal(event.kind, SMTP_CLIENT_EV_FAILED);
        assert_string_equal(event.stage, "message text");
        assert_false(event.busy);
        smtp_client_text(client, PN_STR("\r\n"), true); /* goes nowhere */
        assert_false(mail.last_octet_sent);
        smtp_client_free(&client);
    }
}

/* An envelope larger than the output is written as the output drains. */
static void test_many_recipients(void **state)
{
    enum { COUNT = 10000 };
    struct smtp_client *client = ready_client("250-mx.example\r\n250 PIPELINING\r\n");
    struct mail_recipient *recipients = pn_alloc_array(COUNT, sizeof *recipients);
    struct smtp_client_mail mail = {.recipients = recipients,
                                    .recipient_count = COUNT,
                                    .size_octets = 4,
                                    .replies = pn_alloc_array(COUNT, sizeof *mail.replies)};
    struct smtp_client_event event;
    size_t total = 0;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        recipients[i].address = PN_STR("somebody@b.example");
    }
    smtp_client_go(client);
    pn_buf_clear(smtp_client_output(client));
    smtp_client_mail(client, &mail);
    while (smtp_client_output(client)->len > 0) {
        assert_in_range(smtp_client_output(client)->len, 1, 66000);
        total += smtp_client_output(client)->len;
        pn_buf_consume(smtp_client_output(client), smtp_client_output(client)->len);
    }
    assert_int_equal(total, strlen("MAIL FROM:<>\r\nDATA\r\n") +
                                COUNT * strlen("RCPT TO:<somebody@b.example>\r\n"));
    assert_true(smtp_client_feed(client, PN_STR("250 ok\r\n")) > 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(
            smtp_client_feed(client, i % 2 ? PN_STR("250 ok\r\n") : PN_STR("550 no\r\n")) > 0);
    }
    assert_true(smtp_client_feed(client, PN_STR("354 go\r\n")) > 0);
    assert_true(smtp_client_next(client, &event));
    smtp_client_text(client, PN_STR("Hi\r\n"), true);
    assert_true(smtp_client_feed(client, PN_STR("250 done\r\n")) > 0);
    assert_true(smtp_client_next(client, &event));
    assert_int_equal(event.kind, SMTP_CLIENT_EV_DONE);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(mail.replies[i].code, i % 2 ? 250 : 550);
    }
    smtp_client_free(&client);
    free(mail.replies);
    free(recipients);
}

/* MAIL is refused while most of a long envelope waits: the rest is not sent, nor DATA. */
static void test_refused_in_long_envelope(void **state)
{
    enum { COUNT = 10000 };
    struct smtp_client *client = ready_client("250-mx.example\r\n250 PIPELINING\r\n");
    struct mail_recipient *recipients = pn_alloc_array(COUNT, sizeof *recipients);
    struct smtp_client_mail mail = {.recipients = recipients,
                                    .recipient_count = COUNT,
                                    .replies = pn_alloc_array(COUNT, sizeof *mail.replies)};
    struct smtp_client_event event;
    size_t sent = 0;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        recipients[i].address = PN_STR("somebody@b.example");
    }
    smtp_client_go(client);
    pn_buf_clear(smtp_client_output(client));
    smtp_client_mail(client, &mail);
    for (struct pn_str rest = pn_buf_str(smtp_client_output(client)); rest.len > 0; sent++) {
        pn_str_cut(&rest, '\n');
    }
    assert_true(smtp_client_feed(client, PN_STR("451 later\r\n")) > 0);
    pn_buf_clear(smtp_client_output(client));
    assert_int_equal(smtp_client_output(client)->len, 0);
    assert_false(smtp_client_next(client, &event));
    for (size_t i = 1; i < sent; i++) {
        assert_true(smtp_client_feed(client, PN_STR("503 no\r\n")) > 0);
    }
    assert_true(smtp_client_next(client, &event));
    assert_int_equal(event.kind, SMTP_CLIENT_EV_DONE);
    assert_int_equal(mail.replies[0].code, 451);
    assert_int_equal(mail.replies[COUNT - 1].code, 451);
    assert_int_equal(smtp_client_output(client)->len, 0);
    smtp_client_free(&client);
    free(mail.replies);
    free(recipients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),       cmocka_unit_test(test_floods),
        cmocka_unit_test(test_longest_reply),   cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_awaits),          cmocka_unit_test(test_early_refusal),
        cmocka_unit_test(test_many_recipients), cmocka_unit_test(test_refused_in_long_envelope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
