/*
 * test_login.c - credentials files, logins on a session, and who its mail is from, on a
 * virtual clock.
 */
#include "helper_owner.h"

#include "postern/base/mem.h"
#include "postern/outbound/board.h"
#include "postern/outbound/logins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- one file ---- */

static struct fake_file {
    struct files files;
    struct files_info info;
    const char *text;
    unsigned reads;
} file;

static int file_read(struct files *files, const char *path, struct pn_buf *out,
                     struct pn_err *err)
{
    (void)files;
    (void)err;
    assert_string_equal(path, "/etc/postern/login");
    file.reads++;
    return pn_buf_append_z(out, file.text);
}

static int file_info(struct files *files, const char *path, struct files_info *out,
                     struct pn_err *err)
{
    (void)files;
    (void)path;
    (void)err;
    *out = file.info;
    return 0;
}

static const struct files_ops file_ops = {.read = file_read, .info = file_info};

static struct out_logins *begin_file(const char *text)
{
    file = (struct fake_file){.files.ops = &file_ops,
                              .info = {.exists = true, .mode = 0600, .inode = 7},
                              .text = text};
    return out_logins_new(&file.files);
}

/* "user/password", or what is wrong. */
static void expect_login(struct out_logins *logins, const char *expected)
{
    struct pn_buf user;
    struct pn_buf password;
    struct pn_err err = {0};
    char text[1024];

    pn_buf_init(&user, 100);
    pn_buf_init(&password, 100);
    if (out_logins_get(logins, "/etc/postern/login", &user, &password, &err) == 0) {
        snprintf(text, sizeof text, "%.*s/%.*s", PN_FMT(pn_buf_str(&user)),
                 PN_FMT(pn_buf_str(&password)));
    } else {
        snprintf(text, sizeof text, "%s", err.text);
    }
    assert_string_equal(text, expected);
    pn_buf_fini(&user);
    pn_buf_fini(&password);
}

static void test_files(void **state)
{
    static const char two_lines[] =
        "/etc/postern/login: it has to have two lines, the user and the password";
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"me\nsecret\n", "me/secret"},
        {"me\r\nsecret", "me/secret"},
        {"me@a.example\np=a ss\n\n", "me@a.example/p=a ss"},
        {"me\n", two_lines},
        {"", two_lines},
        {"\nsecret\n", two_lines},
        {"me\nsecret\nmore\n", two_lines},
        {"me\nse\tcret\n", two_lines},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct out_logins *logins = begin_file(rows[i].text);

        expect_login(logins, rows[i].expected);
        out_logins_free(&logins);
    }
}

static void test_files_change(void **state)
{
    struct out_logins *logins = begin_file("me\nsecret\n");

    (void)state;
    expect_login(logins, "me/secret");
    expect_login(logins, "me/secret");
    assert_int_equal(file.reads, 1);
    file.text = "me\nnew\n";
    file.info.mtime_ns++;
    expect_login(logins, "me/new");
    assert_int_equal(file.reads, 2);
    file.info.mode = 0640;
    expect_login(logins, "/etc/postern/login: others may read it (mode 0640): make it 0600");
    file.info.mode = 0400;
    expect_login(logins, "me/new");
    file.info.exists = false;
    expect_login(logins, "/etc/postern/login: there is no such file");
    assert_int_equal(file.reads, 3);
    out_logins_free(&logins);
    out_logins_free(&logins);
}

/* ---- sessions ---- */

#define LOGIN  TARGET1 "\ncredentials = \"/etc/postern/login\"\n"
#define CLEAR  LOGIN "auth_in_clear = yes\n"
#define CANNOT "FAILED " PEER1 ": cannot log in: "

static const struct world_rule plain[] = {
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 AUTH PLAIN LOGIN\r\n"},
    {.verb = "AUTH PLAIN AG1lAHNlY3JldA==", .reply = "235 2.7.0 in\r\n"},
    {.verb = "AUTH", .reply = "535 5.7.8 no\r\n"},
    {.verb = "MAIL", .reply = OK},
    {.verb = "RSET", .reply = OK},
    {.verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE},
    {0},
};

static void begin_login(struct fixture *f, const char *domain, const char *text)
{
    f->deps.logins = begin_file(text);
    owner_begin_with(f, domain, (struct out_options){.on_line = owner_on_line, .check = true});
    world_run(&f->world, 0);
}

static void end_login(struct fixture *f)
{
    out_session_free(&f->session);
    out_logins_free(&f->deps.logins);
}

static void expect_lines(struct fixture *f, const char *expected)
{
    assert_int_equal(pn_buf_append_char(&f->lines, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->lines).ptr, expected);
    pn_buf_clear(&f->lines);
}

static void test_logs_in(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, plain);

    begin_login(f, CLEAR, "me\nsecret\n");
    owner_expect(f, "READY " PEER1 "\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nAUTH PLAIN AG1lAHNlY3JldA==\n"
                           "MAIL FROM:<>\nRSET\n");
    expect_lines(f, "*connected to " PEER1 "\n<220 mail.example.org\n>EHLO mx2.example.net\n"
                    "<250-mail.example.org\n<250 AUTH PLAIN LOGIN\n>AUTH PLAIN ***\n"
                    "<235 2.7.0 in\n>MAIL FROM:<>\n<250 ok\n>RSET\n<250 ok\n");
    end_login(f);
}

static void test_logs_in_inside_tls(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 STARTTLS\r\n", .times = 1},
        {.verb = "STARTTLS", .reply = "220 go\r\n"},
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 AUTH LOGIN\r\n"},
        {.verb = "AUTH LOGIN", .reply = "334 VXNlcm5hbWU6\r\n"},
        {.verb = "bWU=", .reply = "334 UGFzc3dvcmQ6\r\n"},
        {.verb = "c2VjcmV0", .reply = "235 2.7.0 in\r\n"},
        {.verb = "MAIL", .reply = OK},
        {.verb = "RSET", .reply = OK},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    begin_login(f, LOGIN, "me\nsecret\n");
    owner_expect(f, "READY " PEER1 "\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nSTARTTLS\n+EHLO mx2.example.net\n"
                           "AUTH LOGIN\nbWU=\nc2VjcmV0\nMAIL FROM:<>\nRSET\n");
    assert_null(strstr(pn_buf_str(&f->lines).ptr, "bWU="));
    assert_null(strstr(pn_buf_str(&f->lines).ptr, "c2VjcmV0"));
    end_login(f);
}

static void test_wrong_password(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, plain);

    begin_login(f, CLEAR, "me\nwrong\n");
    owner_expect(f, CANNOT "535 5.7.8 no in reply to AUTH\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nAUTH PLAIN AG1lAHdyb25n\nQUIT\n");
    end_login(f);
}

static void test_next_mechanism(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 AUTH PLAIN LOGIN\r\n"},
        {.verb = "AUTH PLAIN", .reply = "504 5.5.4 not that one\r\n"},
        {.verb = "AUTH LOGIN", .reply = "534 5.7.9 nor that\r\n"},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    begin_login(f, CLEAR, "me\nsecret\n");
    owner_expect(f, CANNOT "534 5.7.9 nor that in reply to AUTH\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nAUTH PLAIN AG1lAHNlY3JldA==\nAUTH LOGIN\n"
                           "QUIT\n");
    end_login(f);
}

/* 235 without a proof that the server knows the password. */
static void test_no_proof(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 AUTH SCRAM-SHA-256\r\n"},
        {.verb = "AUTH", .reply = "235 in\r\n"},
        {0},
    };
    struct fixture *f = *state;

    owner_add_one(f, rules);
    begin_login(f, CLEAR, "me\nsecret\n");
    owner_expect(f, CANNOT "the server did not prove that it knows the password\n");
    end_login(f);
}

static void test_junk_challenge(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 AUTH SCRAM-SHA-1\r\n"},
        {.verb = "AUTH", .reply = "334 !!!\r\n"},
        {0},
    };
    struct fixture *f = *state;

    owner_add_one(f, rules);
    begin_login(f, CLEAR, "me\nsecret\n");
    owner_expect(f, CANNOT "a challenge that is no base64\n");
    end_login(f);
}

static void test_cannot_log_in(void **state)
{
    static const struct world_rule bare[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {0},
    };
    static const struct {
        const struct world_rule *rules;
        const char *domain, *text, *expected;
    } rows[] = {
        {plain, LOGIN, "me\nsecret\n",
         CANNOT "there is no TLS, and auth_in_clear is not set\n"},
        {bare, CLEAR, "me\nsecret\n", CANNOT "it does not offer AUTH\n"},
        {plain, CLEAR "auth = {scram-sha-256}\n", "me\nsecret\n",
         CANNOT "it offers no mechanism that we may use\n"},
        {plain, CLEAR, "me\n",
         CANNOT "/etc/postern/login: it has to have two lines, the user and the password\n"},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, plain);

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        peer->rules = rows[i].rules;
        begin_login(f, rows[i].domain, rows[i].text);
        owner_expect(f, rows[i].expected);
        end_login(f);
        conf_domain_unref(&f->domain);
    }
}

/* ---- identity ---- */

static const struct smtp_identity client = {.name = {"client.example", 14},
                                            .client.ip = {PN_IPV4, {192, 0, 2, 7}},
                                            .helo = {"helo.example", 12},
                                            .protocol = {"ESMTP", 5}};

static const struct world_rule xclient[] = {
    {.verb = "EHLO",
     .reply = "250-mail.example.org\r\n250-XFORWARD ADDR\r\n250 XCLIENT ADDR\r\n",
     .times = 1},
    {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
    {.verb = "XCLIENT", .reply = "220 mail.example.org\r\n"},
    {.verb = "MAIL", .reply = OK},
    {.verb = "RCPT", .reply = OK},
    {.verb = "DATA", .reply = "354 go\r\n"},
    {.verb = ".", .reply = "250 taken\r\n", .times = 1},
    {.verb = ".", .reply = "421 no more from you\r\n", .then = RULE_CLOSE},
    {.verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE},
    {0},
};

static void test_identity_kinds(void **state)
{
    static const struct world_rule forward[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 XFORWARD NAME ADDR\r\n"},
        {0},
    };
    static const struct world_rule odd[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 XCLIENT LOGIN\r\n"},
        {0},
    };
    static const struct {
        const struct world_rule *rules;
        const char *identity;
        enum out_identity kind;
    } rows[] = {
        {xclient, "auto", OUT_IDENTITY_XCLIENT},
        {xclient, "xclient", OUT_IDENTITY_XCLIENT},
        {xclient, "xforward", OUT_IDENTITY_XFORWARD},
        {xclient, "none", OUT_IDENTITY_NONE},
        {forward, "auto", OUT_IDENTITY_XFORWARD},
        {forward, "xclient", OUT_IDENTITY_NONE},
        {odd, "auto", OUT_IDENTITY_NONE},
        {owner_friendly, "auto", OUT_IDENTITY_NONE},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, xclient);

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        char domain[100];

        snprintf(domain, sizeof domain, TARGET1 "\nidentity = %s", rows[i].identity);
        peer->rules = rows[i].rules;
        memset(peer->used, 0, sizeof peer->used);
        owner_begin(f, domain);
        world_run(&f->world, 0);
        owner_expect(f, "READY " PEER1 "\n");
        assert_int_equal(out_session_identity_kind(f->session), rows[i].kind);
        out_session_free(&f->session);
        conf_domain_unref(&f->domain);
    }
}

static void test_identifies(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, xclient);

    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    assert_false(out_session_identified(f->session));
    out_session_identify(f->session, &client);
    assert_false(out_session_wants_mail(f->session));
    assert_true(out_session_identified(f->session));
    f->mail_count = 2;
    world_run(&f->world, 0);
    assert_int_equal(out_session_identity_kind(f->session), OUT_IDENTITY_XCLIENT);
    owner_expect(f, "READY " PEER1 "\nREADY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\nTEXT 1\n"
                    "DONE 1: 421 no more from you\n"
                    "CLIENT " PEER1 ": 421 no more from you in reply to end of data\n");
    owner_expect_got(peer, "EHLO mx2.example.net\nXCLIENT ADDR=192.0.2.7\nEHLO helo.example\n"
                           "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\n"
                           "MAIL FROM:<s@a.example>\nRCPT TO:<r@example.org>\nDATA\nHi\n.\n");
}

/* What is said to the client is no word about the destination. */
static void test_client_turned_away(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 XCLIENT ADDR\r\n", .times = 1},
        {.verb = "EHLO", .reply = "554 5.7.1 blocked\r\n"},
        {.verb = "HELO", .reply = "554 5.7.1 blocked\r\n"},
        {.verb = "XCLIENT", .reply = "220 mail.example.org\r\n"},
        {0},
    };
    static const struct world_rule unlicensed[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 XCLIENT ADDR\r\n"},
        {.verb = "XCLIENT", .reply = "550 5.7.0 you may not\r\n"},
        {0},
    };
    static const struct world_rule hangs_up[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 XCLIENT ADDR\r\n"},
        {.verb = "XCLIENT", .reply = "", .then = RULE_CLOSE},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_identify(f->session, &client);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nCLIENT " PEER1 ": 554 5.7.1 blocked in reply to HELO\n"
                    "VERDICT 554 blocked\n");
    out_session_identify(f->session, &client); /* too late, and nothing happens */
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    peer->rules = unlicensed;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_identify(f->session, &client);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nCLIENT " PEER1
                    ": 550 5.7.0 you may not in reply to XCLIENT\n"
                    "VERDICT 451 The next hop refused XCLIENT: 550 you may not\n");
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    peer->rules = hangs_up;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_identify(f->session, &client);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nCLIENT " PEER1
                    ": the connection was closed (reply to XCLIENT)\n");
}

static void test_nothing_to_identify_by(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_friendly);

    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    out_session_identify(f->session, &client);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nREADY " PEER1 "\n");
    owner_expect_got(peer, "EHLO mx2.example.net\n");
    assert_false(out_session_identified(f->session));
}

/* ---- servers that do not keep to what they announce ---- */

static const struct world_rule swallows[] = {
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 PIPELINING\r\n"},
    {.verb = "MAIL", .reply = OK},
    {.verb = "RCPT", .reply = NULL, .times = 2},
    {.verb = "RCPT", .reply = OK},
    {.verb = "DATA", .reply = NULL, .times = 2},
    {.verb = "DATA", .reply = "354 go\r\n"},
    {.verb = ".", .reply = "250 taken\r\n"},
    {0},
};

static void begin_again(struct fixture *f)
{
    out_session_free(&f->session);
    conf_domain_unref(&f->domain);
    f->handed = 0;
    memset(f->given, 0, sizeof f->given);
    owner_begin(f, TARGET1);
}

/* Once may be an accident; twice it is spoken to step by step. */
static void test_silence_twice(void **state)
{
    static const char silent[] = "READY " PEER1 "\nLOST 0: 0\nLOST 1: 0\n"
                                 "LOST " PEER1 ": no reply to RCPT TO within 5m\n";
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, swallows);

    f->deps.board = out_board_new();
    f->mail_count = 2;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_MINUTES(5));
    owner_expect(f, silent);
    begin_again(f);
    assert_int_equal(out_session_quirks(f->session), 0);
    world_run(&f->world, PN_MINUTES(5));
    owner_expect(f, silent);
    pn_buf_clear(&peer->got);
    begin_again(f);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\nTEXT 1\nDONE 1: 250 taken\n");
    assert_int_equal(out_session_quirks(f->session), SMTP_QUIRK_PIPELINING);
    assert_int_equal(out_session_window(f->session), 1);
    world_run(&f->world, PN_HOURS(24));
    begin_again(f);
    assert_int_equal(out_session_quirks(f->session), 0);
    out_session_free(&f->session);
    out_board_free(&f->deps.board);
}

/* What it says shows it beyond doubt, and is not taken for an answer to the mails. */
static void test_no_bdat(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250-PIPELINING\r\n250 CHUNKING\r\n"},
        {.verb = "MAIL", .reply = OK},
        {.verb = "RCPT", .reply = OK},
        {.verb = "BDAT", .reply = "502 5.5.2 what?\r\n"},
        {.verb = "DATA", .reply = "354 go\r\n"},
        {.verb = ".", .reply = "250 taken\r\n"},
        {0},
    };
    struct fixture *f = *state;

    owner_add_one(f, rules);
    f->deps.board = out_board_new();
    f->mail_count = 1;
    owner_begin(f, TARGET1);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nLOST 0: 0\n"
                    "BUSY " PEER1 ": 502 5.5.2 what? in reply to end of data\n");
    begin_again(f);
    world_run(&f->world, 0);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 taken\n");
    assert_int_equal(out_session_quirks(f->session), SMTP_QUIRK_CHUNKING);
    out_session_free(&f->session);
    out_board_free(&f->deps.board);
}

/* The reply to a text that takes long halves the window. */
static void test_slow(void **state)
{
    static const struct world_rule rules[] = {
        {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 PIPELINING\r\n"},
        {.verb = "MAIL", .reply = OK},
        {.verb = "RCPT", .reply = OK},
        {.verb = "DATA", .reply = "354 go\r\n"},
        {.verb = ".", .reply = NULL},
        {0},
    };
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, rules);

    f->mail_count = 1;
    owner_begin(f, TARGET1);
    world_run(&f->world, PN_SECONDS(6));
    assert_int_equal(out_session_window(f->session), 2);
    world_say(&f->world, peer, "250 at last\r\n", RULE_STAY);
    world_run(&f->world, 0);
    assert_int_equal(out_session_window(f->session), 1);
    owner_expect(f, "READY " PEER1 "\nTEXT 0\nDONE 0: 250 at last\n");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_change),
        TEST(test_logs_in),
        TEST(test_logs_in_inside_tls),
        TEST(test_wrong_password),
        TEST(test_next_mechanism),
        TEST(test_no_proof),
        TEST(test_junk_challenge),
        TEST(test_cannot_log_in),
        TEST(test_identity_kinds),
        TEST(test_identifies),
        TEST(test_client_turned_away),
        TEST(test_nothing_to_identify_by),
        TEST(test_silence_twice),
        TEST(test_no_bdat),
        TEST(test_slow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
