/*
 * test_sasl.c - logins against libgsasl's own server half, and against servers that cheat.
 */
#include "postern/policy/sasl.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gsasl.h>

static void test_pick(void **state)
{
    static const struct {
        const char *offered;
        unsigned allowed, tried, expected;
    } rows[] = {
        {"PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256", 0, 0, CONF_AUTH_SCRAM_SHA_256},
        {"PLAIN LOGIN SCRAM-SHA-1", 0, 0, CONF_AUTH_SCRAM_SHA_1},
        {"plain login", 0, 0, CONF_AUTH_PLAIN},
        {"LOGIN", 0, 0, CONF_AUTH_LOGIN},
        {"PLAIN LOGIN", 0, CONF_AUTH_PLAIN, CONF_AUTH_LOGIN},
        {"PLAIN LOGIN", CONF_AUTH_LOGIN, 0, CONF_AUTH_LOGIN},
        {"PLAIN", CONF_AUTH_SCRAM_SHA_256, 0, 0},
        {"CRAM-MD5 SCRAM-SHA-256-PLUS", 0, 0, 0},
        {"", 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        assert_int_equal(
            policy_sasl_pick(pn_str_z(rows[i].offered), rows[i].allowed, rows[i].tried),
            rows[i].expected);
    }
}

/* The server's half. */
struct server {
    Gsasl *context;
    Gsasl_session *session;
};

static int on_ask(Gsasl *context, Gsasl_session *session, Gsasl_property property)
{
    (void)context;
    if (property != GSASL_VALIDATE_SIMPLE) {
        return GSASL_NO_CALLBACK;
    }
    return strcmp(gsasl_property_fast(session, GSASL_AUTHID), "user") == 0 &&
                   strcmp(gsasl_property_fast(session, GSASL_PASSWORD), "p=a,ss") == 0
               ? GSASL_OK
               : GSASL_AUTHENTICATION_ERROR;
}

static void server_begin(struct server *server, unsigned mechanism, const char *password)
{
    assert_int_equal(gsasl_init(&server->context), GSASL_OK);
    gsasl_callback_set(server->context, on_ask);
    assert_int_equal(
        gsasl_server_start(server->context, policy_sasl_name(mechanism), &server->session),
        GSASL_OK);
    if (mechanism & (CONF_AUTH_SCRAM_SHA_256 | CONF_AUTH_SCRAM_SHA_1)) {
        assert_int_equal(gsasl_property_set(server->session, GSASL_PASSWORD, password),
                         GSASL_OK);
    }
}

static void server_end(struct server *server)
{
    gsasl_finish(server->session);
    gsasl_done(server->context);
}

/* What the server makes of an answer; said is its next challenge, to be freed. */
static int server_step(struct server *server, struct pn_buf *answer, char **said)
{
    assert_int_equal(pn_buf_append_char(answer, '\0'), 0);
    *said = NULL;
    return gsasl_step64(server->session, pn_buf_str(answer).ptr, said);
}

/* A whole login; returns the server's verdict. */
static int play(unsigned mechanism, const char *password, bool *done)
{
    struct server server;
    struct policy_sasl *sasl = policy_sasl_new(mechanism, "user", password, NULL);
    struct pn_buf answer;
    char *said = NULL;
    int code;

    assert_non_null(sasl);
    pn_buf_init(&answer, POLICY_SASL_LINE_MAX);
    server_begin(&server, mechanism, "p=a,ss");
    assert_int_equal(policy_sasl_begin(sasl, &answer, NULL), 0);
    assert_int_equal(answer.len == 0, mechanism == CONF_AUTH_LOGIN);
    while ((code = server_step(&server, &answer, &said)) == GSASL_NEEDS_MORE ||
           (code == GSASL_OK && said && *said)) {
        pn_buf_clear(&answer);
        assert_int_equal(policy_sasl_step(sasl, pn_str_z(said), &answer, NULL), 0);
        gsasl_free(said);
        said = NULL;
        if (code == GSASL_OK) {
            break;
        }
    }
    gsasl_free(said);
    *done = policy_sasl_done(sasl);
    policy_sasl_free(&sasl);
    assert_null(sasl);
    pn_buf_fini(&answer);
    server_end(&server);
    return code;
}

static void test_logins(void **state)
{
    static const unsigned mechanisms[] = {CONF_AUTH_SCRAM_SHA_256, CONF_AUTH_SCRAM_SHA_1,
                                          CONF_AUTH_PLAIN, CONF_AUTH_LOGIN};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(mechanisms); i++) {
        bool done;

        assert_int_equal(play(mechanisms[i], "p=a,ss", &done), GSASL_OK);
        assert_true(done);
        assert_int_equal(play(mechanisms[i], "wrong", &done), GSASL_AUTHENTICATION_ERROR);
    }
}

static char *base64(const char *text)
{
    char *out = NULL;

    assert_int_equal(gsasl_base64_to(text, strlen(text), &out, NULL), GSASL_OK);
    return out;
}

/* The nonce that a first message ends with. */
static struct pn_str nonce_of(struct pn_str initial, char **message)
{
    size_t len;
    struct pn_str text;

    assert_int_equal(gsasl_base64_from(initial.ptr, initial.len, message, &len), GSASL_OK);
    text = (struct pn_str){*message, len};
    return pn_str_sub(text, pn_str_rfind(text, '=') + 1, SIZE_MAX);
}

/* What a server says behind our nonce, and then perhaps in a second challenge. */
static int cheat(const char *first, const char *second, bool *done)
{
    struct policy_sasl *sasl = policy_sasl_new(CONF_AUTH_SCRAM_SHA_256, "user", "pw", NULL);
    struct pn_buf answer;
    struct pn_err err = {0};
    char *message;
    char *challenge;
    char text[512];
    struct pn_str nonce;
    int status;

    pn_buf_init(&answer, POLICY_SASL_LINE_MAX);
    assert_int_equal(policy_sasl_begin(sasl, &answer, &err), 0);
    nonce = nonce_of(pn_buf_str(&answer), &message);
    snprintf(text, sizeof text, "r=%.*s%s", PN_FMT(nonce), first);
    challenge = base64(text);
    pn_buf_clear(&answer);
    status = policy_sasl_step(sasl, pn_str_z(challenge), &answer, &err);
    gsasl_free(challenge);
    if (status == 0 && second) {
        challenge = base64(second);
        status = policy_sasl_step(sasl, pn_str_z(challenge), &answer, &err);
        gsasl_free(challenge);
    }
    gsasl_free(message);
    *done = policy_sasl_done(sasl);
    policy_sasl_free(&sasl);
    pn_buf_fini(&answer);
    return status;
}

static void test_cheats(void **state)
{
    bool done;

    (void)state;
    /* All is well so far, but nothing is proven. */
    assert_int_equal(cheat("server,s=c2FsdA==,i=4096", NULL, &done), 0);
    assert_false(done);
    /* A signature that is not made with the password. */
    assert_true(cheat("server,s=c2FsdA==,i=4096",
                      "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &done) < 0);
    assert_false(done);
    /* Work without end. */
    assert_true(cheat("server,s=c2FsdA==,i=2000000000", NULL, &done) < 0);
    assert_true(cheat("server,s=c2FsdA==,i=99999999999999999999999", NULL, &done) < 0);
    assert_false(done);
}

static void test_junk(void **state)
{
    static const char *const rows[] = {"", "!!!", "AAAA", "cj14"};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct policy_sasl *sasl = policy_sasl_new(CONF_AUTH_SCRAM_SHA_1, "user", "pw", NULL);
        struct pn_err err = {0};
        struct pn_buf answer;

        pn_buf_init(&answer, POLICY_SASL_LINE_MAX);
        assert_int_equal(policy_sasl_begin(sasl, &answer, &err), 0);
        assert_true(policy_sasl_step(sasl, pn_str_z(rows[i]), &answer, &err) < 0);
        assert_true(err.text[0] != '\0');
        policy_sasl_free(&sasl);
        pn_buf_fini(&answer);
    }
}

/* One challenge more than the mechanism has. */
static void test_challenge_too_many(void **state)
{
    struct policy_sasl *sasl = policy_sasl_new(CONF_AUTH_PLAIN, "user", "pw", NULL);
    struct pn_buf answer;
    struct pn_err err = {0};

    (void)state;
    pn_buf_init(&answer, POLICY_SASL_LINE_MAX);
    assert_int_equal(policy_sasl_begin(sasl, &answer, &err), 0);
    assert_true(pn_str_eq(pn_buf_str(&answer), PN_STR("AHVzZXIAcHc=")));
    assert_true(policy_sasl_step(sasl, PN_STR("AAAA"), &answer, &err) < 0);
    policy_sasl_free(&sasl);
    pn_buf_fini(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_cheats),
        cmocka_unit_test(test_junk),
        cmocka_unit_test(test_challenge_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
