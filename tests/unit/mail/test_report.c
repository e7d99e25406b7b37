/* Reports to senders: what must stand in them, and what must never get in. */
#include "postern/mail/report.h"

#include "report_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ORIGINAL "Message-ID: <1@client.example>\r\nSubject: hello\r\n\r\nthe body\r\n"
#define SAID     "mail.example.org[192.0.2.1]:25 said: "

struct row {
    const char *name;
    enum mail_report_kind kind;
    struct pn_str sender;
    struct pn_str address;
    struct pn_str orcpt;
    struct pn_str reason;
    struct pn_str text;
    unsigned flags; /* of the message */
    enum mail_ret ret;
    const char *has[7];
    const char *has_not[3];
    unsigned out_flags;
    bool expired;
};

#define WHO  .sender = {"me@client.example", 17}, .address = {"anna@example.org", 16}
#define TEXT .text = {"" ORIGINAL, sizeof ORIGINAL - 1}
#define Z(str)                                                                                 \
    {                                                                                          \
        "" str, sizeof str - 1                                                                 \
    }

static const struct row rows[] = {
    {"a refusal", MAIL_REPORT_FAILED, WHO, TEXT, .reason = Z(SAID "550 5.1.1 No such user"),
     .has =
         {"To: me@client.example\r\n", "Action: failed\r\nStatus: 5.1.1\r\n",
          "Remote-MTA: dns; mail.example.org\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user",
          "Final-Recipient: rfc822; anna@example.org\r\n", "In-Reply-To: <1@client.example>",
          "message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n", "the body"}},
    {"no enhanced code", MAIL_REPORT_FAILED, WHO, TEXT, .reason = Z(SAID "550 no"),
     .has = {"Status: 5.0.0\r\n", "Diagnostic-Code: smtp; 550 no\r\n"}},
    {"a code of the wrong class", MAIL_REPORT_FAILED, WHO, TEXT,
     .reason = Z(SAID "550 4.2.1 no"), .has = {"Status: 5.0.0\r\n"}},
    {"a code that is none", MAIL_REPORT_FAILED, WHO, TEXT, .reason = Z(SAID "550 5..1 no"),
     .has = {"Status: 5.0.0\r\n"}},
    {"expired, with a last reply", MAIL_REPORT_FAILED, WHO, TEXT, .expired = true,
     .reason = Z(SAID "451 4.7.1 later"),
     .has = {"Status: 5.4.7\r\n", "Diagnostic-Code: smtp; 451 4.7.1 later\r\n",
             "it has waited for 4h"}},
    {"expired, nobody answered", MAIL_REPORT_FAILED, WHO, TEXT, .expired = true,
     .has = {"Status: 5.4.7\r\n", "its server did not answer"}, .has_not = {"Diagnostic-Code"}},
    {"delayed", MAIL_REPORT_DELAYED, WHO, TEXT, .reason = Z(SAID "451 4.7.1 later"),
     .has = {"Action: delayed\r\nStatus: 4.7.1\r\n", "Will-Retry-Until: ", "STILL TRIED",
             "Subject: Your mail is delayed\r\n", "text/rfc822-headers"},
     .has_not = {"the body"}},
    {"delayed, nobody answers", MAIL_REPORT_DELAYED, WHO, TEXT, .has = {"Status: 4.4.1\r\n"},
     .has_not = {"Diagnostic-Code"}},
    {"relayed", MAIL_REPORT_RELAYED, WHO, TEXT, .ret = MAIL_RET_FULL,
     .has = {"Action: relayed\r\nStatus: 2.0.0\r\n", "text/rfc822-headers"},
     .has_not = {"the body"}},
    {"delivered", MAIL_REPORT_DELIVERED, WHO, TEXT,
     .has = {"Action: delivered\r\nStatus: 2.0.0\r\n"}, .has_not = {"Will-Retry"}},
    {"headers are wanted", MAIL_REPORT_FAILED, WHO, TEXT, .ret = MAIL_RET_HDRS,
     .has = {"text/rfc822-headers", "Subject: hello\r\n"}, .has_not = {"the body"}},
    {"an original recipient", MAIL_REPORT_FAILED, WHO, TEXT,
     .orcpt = Z("rfc822;Anna+2Bx@old.example"),
     .has = {"Original-Recipient: rfc822; Anna+x@old.example\r\nFinal-Recipient: "}},
    {"an original recipient that adds fields", MAIL_REPORT_FAILED, WHO, TEXT,
     .orcpt = Z("rfc822;a+0D+0AStatus:+202.0.0"), .has = {"rfc822; a??Status: 2.0.0\r\n"},
     .has_not = {"\nStatus: 2"}},
    {"a reply that adds fields", MAIL_REPORT_FAILED, WHO, TEXT,
     .reason = Z(SAID "550 5.7.1 no\r\nAction: delivered\n\nX: \t\r\n\r\n--=_x\x01"),
     .has = {"smtp; 550 5.7.1 no Action: delivered X: --=_x?\r\n"},
     .has_not = {"\nAction: delivered", "\n--=_x"}},
    {"a reply of several lines", MAIL_REPORT_FAILED, WHO, TEXT,
     .reason = Z(SAID "550 5.7.1 We do not take this mail because of its "
                      "contents\nsee https://example.org/why"),
     .has = {"Diagnostic-Code: smtp; 550 5.7.1 We do not take this mail because of its\r\n "
             "contents see https"}},
    {"a reply that is not ASCII", MAIL_REPORT_FAILED, WHO, TEXT,
     .reason = Z(SAID "550 5.1.1 Empf\xc3\xa4nger \xff"),
     .has = {"Diagnostic-Code: smtp; 550 5.1.1 Empf??nger ?\r\n", "Empf=C3=A4nger ?"},
     .has_not = {"\xc3"}},
    {"an 8-bit body", MAIL_REPORT_FAILED, WHO, .text = Z("A: b\r\n\r\n\xc3\xbc\r\n"),
     .has =
         {"message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: b\r\n\r\n\xc3\xbc\r\n"},
     .out_flags = MAIL_8BITMIME | MAIL_8BIT_BODY},
    {"an 8-bit header of no SMTPUTF8", MAIL_REPORT_FAILED, WHO, .ret = MAIL_RET_HDRS,
     .text = Z("A: \xc3\xbc = \r\n\r\nx\r\n"),
     .has = {"text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
             "A: =C3=BC =3D=20\r\n"}},
    {"a NUL", MAIL_REPORT_FAILED, WHO, .text = Z("A: \0b\r\n\r\nx\r\n"),
     .has =
         {"text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nA: =00b"}},
    {"no header", MAIL_REPORT_DELAYED, WHO, .text = Z("\r\nx\r\n"),
     .has = {"text/rfc822-headers"}},
    {"no text", MAIL_REPORT_FAILED, WHO, .has = {"message/rfc822"}},
    {"a bad Message-ID", MAIL_REPORT_FAILED, WHO, .text = Z("Message-ID: <a\x01@b>\r\n\r\n"),
     .has_not = {"In-Reply-To"}},
    {"a folded Message-ID", MAIL_REPORT_FAILED, WHO,
     .text = Z("Message-ID: <a@b>\r\n Bcc: x\r\n\r\n"), .has_not = {"In-Reply-To"}},
    {"to a quoted address", MAIL_REPORT_FAILED, TEXT, .sender = Z("\"a  b\"@client.example"),
     .address = Z("postmaster"),
     .has = {"To: \"a  b\"@client.example\r\n", "Final-Recipient: rfc822; postmaster\r\n"}},
    {"internationalised, to a plain sender", MAIL_REPORT_FAILED,
     .sender = Z("me@client.example"), .address = Z("j\xc3\xbcrg+x@example.org"),
     .text = Z("Subject: \xc3\xbc\r\n\r\nx\r\n"),
     .flags = MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS | MAIL_UTF8_HEADER,
     .has = {"Final-Recipient: utf-8; j\\x{FC}rg\\x{2B}x@example.org\r\n",
             "message/delivery-status\r\nContent-Transfer-Encoding: 7bit",
             "message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
             "Subject: =C3=BC\r\n",
             "  j=C3=BCrg+x@example.org"}},
    {"internationalised, to such a sender", MAIL_REPORT_FAILED,
     .sender = Z("\xe4\xb8\xad@client.example"), .address = Z("j\xc3\xbcrg@example.org"),
     .text = Z("Subject: \xc3\xbc\r\n\r\nx\r\n"), .ret = MAIL_RET_HDRS,
     .flags = MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS | MAIL_UTF8_HEADER,
     .has = {"To: \xe4\xb8\xad@client.example\r\n", "message/global-delivery-status",
             "Final-Recipient: utf-8; j\xc3\xbcrg@example.org\r\n",
             "message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n"},
     .out_flags =
         MAIL_8BITMIME | MAIL_8BIT_BODY | MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS | MAIL_UTF8_HEADER},
};

static bool contains(struct pn_str text, const char *what)
{
    struct pn_str wanted = pn_str_z(what);

    for (size_t i = 0; i + wanted.len <= text.len; i++) {
        if (memcmp(text.ptr + i, wanted.ptr, wanted.len) == 0) {
            return true;
        }
    }
    return false;
}

/* What is so in every report. */
static void check_form(const char *name, struct pn_str text)
{
    static const char *const always[] = {
        "Received: by mx.example.net (Postern) id ",
        "\r\nDate: ",
        "\r\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.net>\r\nTo: ",
        "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
        "multipart/report; report-type=delivery-status;\r\n\tboundary=\"=_",
        "\r\nReporting-MTA: dns; mx.example.net\r\nArrival-Date: Sat, 21 Nov 2026 ",
        "\r\nLast-Attempt-Date: Sat, 21 Nov 2026 ",
        "text/plain; charset=utf-8"};
    unsigned parts = 0;

    for (size_t i = 0; i < PN_COUNT(always); i++) {
        if (!contains(text, always[i])) {
            fail_msg("%s: no %s in\n%.*s", name, always[i], PN_FMT(text));
        }
    }
    while (text.len > 0) {
        struct pn_str line = pn_str_cut(&text, '\n');

        assert_true(line.len > 0 && line.len <= MAIL_REPORT_LINE_MAX + 1);
        assert_int_equal(line.ptr[line.len - 1], '\r');
        assert_true(pn_str_find(line, '\r') == line.len - 1);
        parts += pn_str_starts(line, PN_STR("--=_"));
    }
    assert_int_equal(parts, 4);
}

#define ARRIVED ((struct pn_wall){1795294508000})

static int write_row(const struct row *row, struct pn_buf *out, unsigned *flags)
{
    struct mail_envelope envelope = {.sender = row->sender,
                                     .flags = row->flags,
                                     .ret = row->ret,
                                     .envid = PN_STR("Q+2B1"),
                                     .size_octets = row->text.len,
                                     .arrival = ARRIVED};
    struct mail_report_recipient recipient = {
        .recipient = {.address = row->address, .orcpt = row->orcpt},
        .reason = row->reason,
        .expired = row->expired,
        .last_try = pn_wall_add(ARRIVED, PN_MINUTES(1))};
    struct mail_report report = {.kind = row->kind,
                                 .host = PN_STR("mx.example.net"),
                                 .now = pn_wall_add(ARRIVED, PN_MINUTES(2)),
                                 .envelope = &envelope,
                                 .recipients = &recipient,
                                 .recipient_count = 1,
                                 .text = row->text,
                                 .waited_ms = PN_HOURS(4),
                                 .retry_until = pn_wall_add(ARRIVED, PN_DAYS(14))};

    return mail_report_write(&report, out, flags);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        const struct row *row = &rows[i];
        struct pn_buf out;
        unsigned flags = 0;

        pn_buf_init(&out, 1 << 20);
        assert_int_equal(write_row(row, &out, &flags), 0);
        check_form(row->name, pn_buf_str(&out));
        assert_true(contains(pn_buf_str(&out), "\r\nOriginal-Envelope-Id: Q+1\r\n"));
        for (size_t k = 0; k < PN_COUNT(row->has) && row->has[k]; k++) {
            if (!contains(pn_buf_str(&out), row->has[k])) {
                fail_msg("%s: no %s in\n%.*s", row->name, row->has[k],
                         PN_FMT(pn_buf_str(&out)));
            }
        }
        for (size_t k = 0; k < PN_COUNT(row->has_not) && row->has_not[k]; k++) {
            if (contains(pn_buf_str(&out), row->has_not[k])) {
                fail_msg("%s: %s in\n%.*s", row->name, row->has_not[k],
                         PN_FMT(pn_buf_str(&out)));
            }
        }
        if (flags != row->out_flags) {
            fail_msg("%s: flags %x, not %x", row->name, flags, row->out_flags);
        }
        pn_buf_fini(&out);
    }
}

static void fill(struct pn_buf *buf, const char *before, char c, size_t count,
                 const char *after)
{
    assert_int_equal(pn_buf_append_z(buf, before), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pn_buf_append_char(buf, c), 0);
    }
    assert_int_equal(pn_buf_append_z(buf, after), 0);
}

static void test_long_lines_and_large_messages(void **state)
{
    static const struct {
        const char *name, *before;
        size_t count;
        const char *after, *has;
    } cases[] = {
        {"998 octets", "A: b\r\n\r\n", 998, "\r\n", "message/rfc822\r\n"},
        {"999 octets", "A: b\r\n\r\n", 999, "\r\n", "text/rfc822-headers\r\n"},
        {"a long header", "A: ", 5000, "\r\n\r\nx\r\n", "quoted-printable\r\n\r\nA: xxxx"},
        {"above 50 KB", "A: b\r\n\r\nx\r\nx\r\n", 990, "\r\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        struct row row = rows[0];
        struct pn_buf text, out;
        unsigned flags;

        pn_buf_init(&text, 1 << 20);
        pn_buf_init(&out, 1 << 20);
        fill(&text, cases[i].before, 'x', cases[i].count, cases[i].after);
        while (!cases[i].has && text.len <= MAIL_REPORT_RETURN_MAX) {
            fill(&text, "", 'x', 70, "\r\n");
        }
        row.text = pn_buf_str(&text);
        assert_int_equal(write_row(&row, &out, &flags), 0);
        check_form(cases[i].name, pn_buf_str(&out));
        assert_true(contains(pn_buf_str(&out), cases[i].has ? cases[i].has : "rfc822-headers"));
        pn_buf_fini(&text);
        pn_buf_fini(&out);
    }
}

static void test_long_replies(void **state)
{
    static const struct {
        const char *before;
        char c;
    } cases[] = {
        {SAID "550 ", 'x'}, {SAID "550 a ", ' '}, {SAID "550 5.1.1 ", '\xff'}, {"", 'y'}};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        struct row row = rows[0];
        struct pn_buf reason, out;
        unsigned flags;

        pn_buf_init(&reason, 1 << 20);
        pn_buf_init(&out, 1 << 20);
        fill(&reason, cases[i].before, cases[i].c, 3000, "z");
        row.reason = pn_buf_str(&reason);
        assert_int_equal(write_row(&row, &out, &flags), 0);
        check_form(cases[i].before, pn_buf_str(&out));
        pn_buf_fini(&reason);
        pn_buf_fini(&out);
    }
}

static void test_too_small(void **state)
{
    struct pn_buf out;
    unsigned flags;

    (void)state;
    for (size_t max = 0; max < 1500; max += 37) {
        pn_buf_init(&out, max);
        assert_int_equal(write_row(&rows[0], &out, &flags), PN_ENOSPACE);
        pn_buf_fini(&out);
    }
}

static void test_quoted_lines(void **state)
{
    struct pn_buf text, out;
    struct mail_writer writer = {.out = &out};
    struct pn_str rest;

    (void)state;
    pn_buf_init(&text, 1 << 16);
    pn_buf_init(&out, 1 << 16);
    fill(&text, "", '=', 300, " \r\n");
    fill(&text, "", 'a', 300, "\t");
    mail_writer_quoted(&writer, pn_buf_str(&text));
    assert_int_equal(writer.rc, 0);
    rest = pn_buf_str(&out);
    while (rest.len > 0) {
        assert_true(pn_str_cut(&rest, '\n').len <= 77); /* 76 and CR */
    }
    assert_true(pn_str_ends(pn_buf_str(&out), PN_STR("=09")));
    pn_buf_fini(&text);
    pn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_long_lines_and_large_messages),
        cmocka_unit_test(test_long_replies),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_quoted_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
