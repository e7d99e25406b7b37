/*
 * sasl.c - logging in at somebody else's: SASL mechanisms, the client's side.
 *
 * One libgsasl session for each exchange. libgsasl computes as many rounds of a SCRAM hash as
 * the server asks for, so the number is looked at first: two thousand million would keep a
 * loop busy for an hour.
 */
#include "postern/policy/sasl.h"

#include "postern/base/mem.h"

#include <gsasl.h>

#include <string.h>

struct policy_sasl {
    Gsasl *context;
    Gsasl_session *session;
    unsigned mechanism;
    bool done;
};

/* Strongest first. */
static const struct {
    unsigned mechanism;
    const char *name;
} mechanisms[] = {
    {CONF_AUTH_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {CONF_AUTH_SCRAM_SHA_1, "SCRAM-SHA-1"},
    {CONF_AUTH_PLAIN, "PLAIN"},
    {CONF_AUTH_LOGIN, "LOGIN"},
};

static bool is_offered(struct pn_str offered, const char *name)
{
    while (offered.len > 0) {
        if (pn_str_eq_nocase(pn_str_cut(&offered, ' '), pn_str_z(name))) {
            return true;
        }
    }
    return false;
}

unsigned policy_sasl_pick(struct pn_str offered, unsigned allowed, unsigned tried)
{
    for (size_t i = 0; i < PN_COUNT(mechanisms); i++) {
        unsigned mechanism = mechanisms[i].mechanism;

        if ((allowed == 0 || (allowed & mechanism)) && !(tried & mechanism) &&
            is_offered(offered, mechanisms[i].name)) {
            return mechanism;
        }
    }
    return 0;
}

const char *policy_sasl_name(unsigned mechanism)
{
    size_t i = 0;

    while (mechanisms[i].mechanism != mechanism) {
        i++;
    }
    return mechanisms[i].name;
}

static int fail(struct pn_err *err, const char *what, int code)
{
    return pn_err_set(err, PN_EINVAL, "%s: %s", what, gsasl_strerror(code));
}

struct policy_sasl *policy_sasl_new(unsigned mechanism, const char *user, const char *password,
                                    struct pn_err *err)
{
    struct policy_sasl *sasl = PN_NEW(struct policy_sasl);
    int code = gsasl_init(&sasl->context);

    sasl->mechanism = mechanism;
    if (code == GSASL_OK) {
        code = gsasl_client_start(sasl->context, policy_sasl_name(mechanism), &sasl->session);
    }
    if (code == GSASL_OK) {
        code = gsasl_property_set(sasl->session, GSASL_AUTHID, user);
    }
    if (code == GSASL_OK) {
        code = gsasl_property_set(sasl->session, GSASL_PASSWORD, password);
    }
    if (code != GSASL_OK) {
        (void)fail(err, policy_sasl_name(mechanism), code);
        policy_sasl_free(&sasl);
    }
    return sasl;
}

/* libgsasl frees its copy without a look. */
static void wipe_password(Gsasl_session *session)
{
    const char *password = gsasl_property_fast(session, GSASL_PASSWORD);

    if (password) {
        pn_wipe((void *)(uintptr_t)password, strlen(password));
    }
}

void policy_sasl_free(struct policy_sasl **sasl)
{
    struct policy_sasl *s = *sasl;

    if (!s) {
        return;
    }
    if (s->session) {
        wipe_password(s->session);
        gsasl_finish(s->session);
    }
    gsasl_done(s->context);
    free(s);
    *sasl = NULL;
}

static int step(struct policy_sasl *sasl, const char *challenge, struct pn_buf *out,
                struct pn_err *err)
{
    char *answer = NULL;
    int code = gsasl_step64(sasl->session, challenge, &answer);
    int status;

    if (code != GSASL_OK && code != GSASL_NEEDS_MORE) {
        return fail(err, policy_sasl_name(sasl->mechanism), code);
    }
    sasl->done = code == GSASL_OK;
    status = pn_buf_append_z(out, answer);
    pn_wipe(answer, strlen(answer));
    gsasl_free(answer);
    return status == 0 ? 0 : pn_err_set(err, status, "an answer that is too long");
}

int policy_sasl_begin(struct policy_sasl *sasl, struct pn_buf *out, struct pn_err *err)
{
    return sasl->mechanism == CONF_AUTH_LOGIN ? 0 : step(sasl, "", out, err);
}

/* Of "r=…,s=…,i=4096"; 0: there is no such number. */
static uint64_t iterations(struct pn_str message)
{
    uint64_t count = 0;

    while (message.len > 0) {
        struct pn_str field = pn_str_cut(&message, ',');

        if (pn_str_starts(field, PN_STR("i=")) &&
            !pn_str_to_u64(pn_str_sub(field, 2, SIZE_MAX), UINT64_MAX, &count)) {
            return UINT64_MAX;
        }
    }
    return count;
}

static bool is_scram(const struct policy_sasl *sasl)
{
    return (sasl->mechanism & (CONF_AUTH_SCRAM_SHA_256 | CONF_AUTH_SCRAM_SHA_1)) != 0;
}

static int check_work(struct pn_str challenge, struct pn_err *err)
{
    char *message = NULL;
    size_t len = 0;
    bool too_much;

    if (gsasl_base64_from(challenge.ptr, challenge.len, &message, &len) != GSASL_OK) {
        return pn_err_set(err, PN_EINVAL, "a challenge that is no base64");
    }
    too_much = iterations((struct pn_str){message, len}) > POLICY_SASL_ITERATIONS_MAX;
    gsasl_free(message);
    return too_much
               ? pn_err_set(err, PN_EINVAL, "a challenge that asks for more than %d rounds",
                            POLICY_SASL_ITERATIONS_MAX)
               : 0;
}

int policy_sasl_step(struct policy_sasl *sasl, struct pn_str challenge, struct pn_buf *out,
                     struct pn_err *err)
{
    char *text;
    int status;

    if (sasl->done) {
        return pn_err_set(err, PN_EINVAL, "a challenge after the last one");
    }
    if (is_scram(sasl) && (status = check_work(challenge, err)) != 0) {
        return status;
    }
    text = pn_strndup(challenge);
    status = step(sasl, text, out, err);
    free(text);
    return status;
}

bool policy_sasl_done(const struct policy_sasl *sasl)
{
    return sasl->done;
}
