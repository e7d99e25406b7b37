/*
 * ingress/command.c - answers to what a client says: one function for each event.
 *
 * The verdicts are made in verdict.c; here they are acted on, counted and logged. What
 * breaks a rule, and what looks for open relays or valid addresses, counts as an error:
 * after half of errors_max an answer takes a second, and at errors_max the session ends.
 * "Not now" (4xx) is our own affair and never counts, or a full disk would make us hang up
 * on honest clients. Commands that lead nowhere are errors from the hundredth on, since a
 * client could otherwise hold a session forever with NOOP (FAULTS 4.14).
 */
#include "session_priv.h"
#include "verdict_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define JUNK_MAX 100

void ingress_command_log_refusal(struct session *session, enum pn_event event, const char *key,
                                 struct pn_str value, const struct smtp_reply *reply)
{
    struct pn_buf *text = &session->ingress->scratch;
    struct pn_log_line line;

    pn_log_begin(&line, &session->log, event);
    if (line.log) {
        pn_buf_clear(text);
        pn_assert(smtp_reply_format(reply, text) == 0);
        if (session->transaction) {
            pn_log_str(&line, "from", session->transaction->envelope.sender);
        }
        if (key) {
            pn_log_str(&line, key, value);
        }
        pn_log_str(&line, "reply", pn_buf_str(text));
        pn_log_end(&line);
    }
}

void ingress_command_answer_error(struct session *session, const struct smtp_reply *reply)
{
    struct smtp_reply last;

    session->errors++;
    if (session->errors >= session->conf->errors_max) {
        smtp_reply_set(&last, 421, "4.7.0", "%s too many errors, closing",
                       session->conf->hostname);
        smtp_server_reply(session->server, &last);
        ingress_session_close(session, "errors");
        return;
    }
    smtp_server_reply(session->server, reply);
    if (reply->code == 421) {
        ingress_session_close(session, "errors");
    } else if (2 * session->errors > session->conf->errors_max) {
        ingress_session_enter(session, SESSION_DELAY);
    }
}

/* "Not now" is our own affair, and so is what the client has to say because of it (RSET, and
 * the next MAIL). */
void ingress_command_excuse(struct session *session)
{
    if (session->junk > 0) {
        session->junk--;
    }
}

/* An answer to a command that does not bring a message nearer. */
static void answer_junk(struct session *session, const struct smtp_reply *reply)
{
    session->junk++;
    if (session->junk > JUNK_MAX) {
        ingress_command_answer_error(session, reply);
    } else {
        smtp_server_reply(session->server, reply);
    }
}

static void on_helo(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    ingress_transaction_end(session);
    /* A front end says EHLO for itself; what it has told of its client stays. */
    if (!(session->told & SMTP_XCLIENT_HELO)) {
        free(session->helo);
        session->helo = pn_strndup(pn_str_sub(event->name, 0, MAIL_DOMAIN_MAX));
    }
    if (!(session->told & SMTP_XCLIENT_PROTO)) {
        session->extended = event->extended;
    }
    ingress_verdict_helo(session->conf, &reply);
    answer_junk(session, &reply);
}

static void on_mail(struct session *session, const struct smtp_event *event)
{
    struct spool *spool = session->ingress->deps.spool;
    struct spool_status status = {0};
    struct smtp_reply reply;

    ingress_transaction_end(session);
    if (event->size_known && event->size_octets > INGRESS_VERDICT_SMALL_OCTETS) {
        spool_get_status(spool, &status);
    }
    ingress_verdict_mail(session->conf, spool_get_readiness(spool), status.free_octets, event,
                         &reply);
    if (smtp_reply_ok(&reply) && !ingress_transaction_begin(session, event)) {
        smtp_reply_set(&reply, 452, "4.3.1", "too little memory, try again later");
    }
    if (smtp_reply_ok(&reply)) {
        smtp_server_reply(session->server, &reply);
        return;
    }
    ingress_command_log_refusal(session, PN_EV_REFUSED_MAIL, "from", event->address.text,
                                &reply);
    if (smtp_reply_later(&reply)) {
        ingress_command_excuse(session);
        smtp_server_reply(session->server, &reply);
    } else {
        answer_junk(session, &reply);
    }
}

static void on_data(struct session *session, const struct smtp_event *event)
{
    const struct ingress_deps *deps = &session->ingress->deps;
    struct smtp_reply reply;

    (void)event;
    pn_assert(session->transaction && session->transaction->recipient_count > 0);
    ingress_verdict_data(spool_get_readiness(deps->spool), &reply);
    if (reply.code == 354 && session->transaction->way == WAY_PASS) {
        ingress_pass_data(session);
        ingress_session_enter(session, SESSION_GO_AHEAD);
        return;
    }
    if (reply.code == 354) {
        ingress_receive_begin(session);
        smtp_server_reply(session->server, &reply);
        return;
    }
    ingress_command_log_refusal(session, PN_EV_REFUSED_DATA, NULL, PN_STR(""), &reply);
    stats_count(deps->counters, STATS_MESSAGES_REFUSED, 1);
    ingress_command_excuse(session);
    smtp_server_reply(session->server, &reply);
    ingress_transaction_end(session);
}

static void on_text(struct session *session, const struct smtp_event *event)
{
    ingress_receive_text(session, event->data);
}

static void on_chunk(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    smtp_reply_set(&reply, 250, "2.0.0", "Ok");
    smtp_server_reply(session->server, &reply);
}

static void on_rset(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    ingress_transaction_end(session);
    smtp_reply_set(&reply, 250, "2.0.0", "Ok");
    answer_junk(session, &reply);
}

static void on_noop(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    smtp_reply_set(&reply, 250, "2.0.0", "Ok");
    answer_junk(session, &reply);
}

static void on_help(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    smtp_reply_set(&reply, 214, "2.0.0",
                   "This is a mail exchanger; it takes mail for the domains it relays for.\n"
                   "Write to its postmaster for help.");
    answer_junk(session, &reply);
}

static void on_vrfy(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event; /* the answer does not depend on the question (FAULTS 3.27) */
    smtp_reply_set(&reply, 252, "2.1.5", "Cannot say; send mail to it to find out");
    ingress_command_answer_error(session, &reply);
}

static void on_etrn(struct session *session, const struct smtp_event *event)
{
    struct ingress *ingress = session->ingress;
    const struct conf_domain *domain;
    struct smtp_reply reply;

    domain = ingress_verdict_etrn(session->conf, ingress->settings.domains, &session->peer.ip,
                                  event, &reply);
    if (!domain) {
        ingress_command_log_refusal(session, PN_EV_PROTOCOL_ERROR, "etrn", event->name, &reply);
        ingress_command_answer_error(session, &reply);
        return;
    }
    if (ingress->deps.on_sign) {
        ingress->deps.on_sign(ingress->deps.owner, pn_str_z(domain->name), true);
    }
    answer_junk(session, &reply);
}

static void on_starttls(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    if (!session->ingress->settings.tls) {
        smtp_reply_set(&reply, 454, "4.7.0", "TLS is not available now");
        answer_junk(session, &reply);
        return;
    }
    ingress_transaction_end(session);
    smtp_reply_set(&reply, 220, "2.0.0", "Ready to start TLS");
    smtp_server_reply(session->server, &reply);
    ingress_session_enter(session, SESSION_SECURING);
}

static void on_quit(struct session *session, const struct smtp_event *event)
{
    struct smtp_reply reply;

    (void)event;
    smtp_reply_set(&reply, 221, "2.0.0", "%s closing", session->conf->hostname);
    smtp_server_reply(session->server, &reply);
    ingress_session_close(session, "quit");
}

static void on_error(struct session *session, const struct smtp_event *event)
{
    stats_count(session->ingress->deps.counters, STATS_PROTOCOL_ERRORS, 1);
    ingress_command_log_refusal(session, PN_EV_PROTOCOL_ERROR, NULL, PN_STR(""), &event->reply);
    ingress_command_answer_error(session, &event->reply);
}

static void on_stranger(struct session *session, const struct smtp_event *event)
{
    (void)event;
    stats_count(session->ingress->deps.counters, STATS_PROTOCOL_ERRORS, 1);
    ingress_session_close(session, "not-smtp");
}

typedef void answer_fn(struct session *session, const struct smtp_event *event);

static answer_fn *const answers[] = {
    [SMTP_EV_HELO] = on_helo,
    [SMTP_EV_MAIL] = on_mail,
    [SMTP_EV_RCPT] = ingress_recipient_ask,
    [SMTP_EV_DATA] = on_data,
    [SMTP_EV_TEXT] = on_text,
    [SMTP_EV_CHUNK] = on_chunk,
    [SMTP_EV_END] = ingress_receive_end,
    [SMTP_EV_RSET] = on_rset,
    [SMTP_EV_NOOP] = on_noop,
    [SMTP_EV_HELP] = on_help,
    [SMTP_EV_VRFY] = on_vrfy,
    [SMTP_EV_ETRN] = on_etrn,
    [SMTP_EV_XCLIENT] = ingress_xclient_take,
    [SMTP_EV_STARTTLS] = on_starttls,
    [SMTP_EV_QUIT] = on_quit,
    [SMTP_EV_ERROR] = on_error,
    [SMTP_EV_STRANGER] = on_stranger,
};

void ingress_command_decide(struct session *session, const struct smtp_event *event)
{
    pn_assert((size_t)event->kind < PN_COUNT(answers));
    answers[event->kind](session, event);
}
