/*
 * login.c - logs in at a next hop, where the domain has credentials for it.
 *
 * Between EHLO (the one inside TLS) and READY. Whatever goes wrong here, the host is of no
 * use, and no mail is refused for it: a wrong password is the operator's mistake, and mail
 * waits until it is mended. A mechanism that the server does not want after all is followed
 * by the next weaker one; a wrong password is wrong with all of them, and is not tried again.
 */
#include "session_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/outbound/logins.h"
#include "postern/policy/sasl.h"

#define LINE_MAX_OCTETS 1024

void out_login_reset(struct out_session *session)
{
    policy_sasl_free(&session->sasl);
    session->sasl_tried = 0;
    session->logged_in = false;
}

bool out_login_wanted(const struct out_session *session)
{
    return !session->logged_in && session->options.domain->credentials[0] != '\0';
}

static void give_up(struct out_session *session, const char *why)
{
    policy_sasl_free(&session->sasl);
    out_talk_goodbye(session);
    out_connect_failed(session, OUT_END_FAILED, "%s: cannot log in: %s", session->peer, why);
}

/* Who listens on the way to a unix socket has this machine already. */
static bool may_say(const struct out_session *session)
{
    return session->secured || session->host.path || session->options.domain->auth_in_clear;
}

static void wipe(struct pn_buf *secret)
{
    if (secret->data) {
        pn_wipe(secret->data, secret->cap);
    }
    pn_buf_fini(secret);
}

static int make_sasl(struct out_session *session, unsigned mechanism, struct pn_err *err)
{
    const char *path = session->options.domain->credentials;
    struct pn_buf user;
    struct pn_buf password;
    int status;

    if (!session->deps.logins) {
        return pn_err_set(err, PN_EINVAL, "credentials cannot be read here");
    }
    pn_buf_init(&user, LINE_MAX_OCTETS);
    pn_buf_init(&password, LINE_MAX_OCTETS);
    /* All of it at once: a buffer that grows leaves a copy behind. */
    pn_assert(pn_buf_reserve(&password, LINE_MAX_OCTETS));
    status = out_logins_get(session->deps.logins, path, &user, &password, err);
    if (status == 0 &&
        (pn_buf_append_char(&user, '\0') != 0 || pn_buf_append_char(&password, '\0') != 0)) {
        status = pn_err_set(err, PN_ENOSPACE, "%s: a line is too long", path);
    }
    if (status == 0) {
        session->sasl =
            policy_sasl_new(mechanism, pn_buf_str(&user).ptr, pn_buf_str(&password).ptr, err);
        status = session->sasl ? 0 : err->code;
    }
    wipe(&user);
    wipe(&password);
    return status;
}

static void try_next(struct out_session *session, const char *why)
{
    struct pn_str offered = smtp_client_ehlo_words(session->client, "AUTH");
    unsigned mechanism =
        policy_sasl_pick(offered, session->options.domain->auth, session->sasl_tried);
    struct pn_buf initial;
    struct pn_err err;
    int status;

    if (mechanism == 0) {
        give_up(session, why);
        return;
    }
    session->sasl_tried |= mechanism;
    pn_buf_init(&initial, POLICY_SASL_LINE_MAX);
    status = make_sasl(session, mechanism, &err);
    if (status == 0) {
        status = policy_sasl_begin(session->sasl, &initial, &err);
    }
    if (status == 0) {
        smtp_client_auth(session->client, pn_str_z(policy_sasl_name(mechanism)),
                         pn_buf_str(&initial));
    } else {
        give_up(session, err.text);
    }
    wipe(&initial);
}

void out_login_begin(struct out_session *session)
{
    if (!may_say(session)) {
        give_up(session, "there is no TLS, and auth_in_clear is not set");
    } else if (smtp_client_ehlo_words(session->client, "AUTH").len == 0) {
        give_up(session, "it does not offer AUTH");
    } else {
        try_next(session, "it offers no mechanism that we may use");
    }
}

void out_login_challenge(struct out_session *session, struct pn_str challenge)
{
    struct pn_buf answer;
    struct pn_err err;

    pn_buf_init(&answer, POLICY_SASL_LINE_MAX);
    if (policy_sasl_step(session->sasl, challenge, &answer, &err) == 0) {
        smtp_client_auth_answer(session->client, pn_buf_str(&answer));
    } else {
        give_up(session, err.text);
    }
    wipe(&answer);
}

/* The mechanism is at fault, not the password (RFC 4954 4 and 6). */
static bool wants_another(const struct smtp_reply *reply)
{
    return (reply->code >= 500 && reply->code <= 504) || reply->code == 534 ||
           reply->code == 538;
}

void out_login_ended(struct out_session *session, const struct smtp_reply *reply)
{
    struct pn_buf what;
    bool proven = policy_sasl_done(session->sasl);

    if (smtp_reply_ok(reply) && proven) {
        policy_sasl_free(&session->sasl);
        session->logged_in = true;
        out_talk_go_on(session);
        return;
    }
    pn_buf_init(&what, OUT_REASON_MAX);
    if (smtp_reply_ok(reply)) {
        (void)!pn_buf_append_z(&what, "the server did not prove that it knows the password");
    } else {
        (void)!smtp_reply_format(reply, &what);
        (void)!pn_buf_append_z(&what, " in reply to AUTH");
    }
    (void)!pn_buf_append_char(&what, '\0');
    policy_sasl_free(&session->sasl);
    if (wants_another(reply)) {
        try_next(session, pn_buf_str(&what).ptr);
    } else {
        give_up(session, pn_buf_str(&what).ptr);
    }
    pn_buf_fini(&what);
}
