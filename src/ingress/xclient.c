/*
 * ingress/xclient.c - a front end tells whose mail it brings.
 *
 * What XCLIENT says is judged where the addresses of clients are judged: the session's limits,
 * its log, its name, its rights and its envelopes all use session->peer, so becoming somebody
 * else is to change that, and to begin again. The right to say XCLIENT goes with the address,
 * too: whoever the session is now may say it if he is a front end himself.
 *
 * A client whose address the front end does not know has none: it is in no network and has
 * no rights, but those of a stranger.
 */
#include "session_priv.h"

#include "postern/base/mem.h"

bool ingress_xclient_allowed(const struct conf *conf, const struct pn_ip *client)
{
    for (size_t i = 0; i < conf->xclient_hosts.count; i++) {
        if (pn_net_has(&conf->xclient_hosts.items[i], client)) {
            return true;
        }
    }
    return false;
}

static char *known(const char *value)
{
    return value[0] ? pn_strdup(value) : NULL;
}

static void take_name(struct session *session, const struct smtp_xclient *xclient)
{
    ingress_session_name_stop(session);
    if (xclient->told & SMTP_XCLIENT_NAME) {
        session->name = known(xclient->name);
    } else if (session->peer.ip.family != PN_FAMILY_NONE) {
        ingress_session_name_ask(session);
    }
}

static void become(struct session *session, const struct pn_endpoint *peer,
                   const struct smtp_xclient *xclient)
{
    struct pn_ip via = session->peer.ip;

    ingress_transaction_end(session);
    session->peer = *peer;
    session->told = xclient->told;
    session->extended = xclient->extended;
    free(session->helo);
    session->helo = known(xclient->helo);
    free(session->login);
    session->login = known(xclient->login);
    session->sign_told = false;
    session->loop_told = false;
    session->errors = 0;
    session->junk = 0;
    ingress_session_log_as(session, &via);
    take_name(session, xclient);
    pn_log_say(&session->log, PN_EV_TOLD, "XCLIENT, login \"%s\"",
               session->login ? session->login : "");
}

static void turn_away(struct session *session, const struct pn_ip *client)
{
    struct pn_log_line line;

    pn_log_begin(&line, &session->log, PN_EV_REFUSED_CONNECT);
    pn_log_ip(&line, "client", client);
    pn_log_z(&line, "why", "too many sessions from the client's network");
    pn_log_end(&line);
    stats_count(session->ingress->deps.counters, STATS_CONNECTIONS_REFUSED, 1);
    ingress_session_dismiss(session, "sessions", "4.3.2",
                            "too many sessions from your network, try again later");
}

void ingress_xclient_take(struct session *session, const struct smtp_event *event)
{
    struct policy_limits *limits = session->ingress->deps.limits;
    struct pn_endpoint peer = session->peer;
    struct smtp_xclient xclient;
    struct smtp_reply reply;

    if (!smtp_xclient_parse(event->name, &xclient, &reply)) {
        stats_count(session->ingress->deps.counters, STATS_PROTOCOL_ERRORS, 1);
        ingress_command_log_refusal(session, PN_EV_PROTOCOL_ERROR, "xclient", event->name,
                                    &reply);
        ingress_command_answer_error(session, &reply);
        return;
    }
    if (xclient.told & SMTP_XCLIENT_ADDR) {
        peer = (struct pn_endpoint){.ip = xclient.ip};
    }
    if (xclient.told & SMTP_XCLIENT_PORT) {
        peer.port = xclient.port;
    }
    if (policy_session_move(limits, &session->peer.ip, &peer.ip) != POLICY_SESSION_OK) {
        turn_away(session, &peer.ip);
        return;
    }
    become(session, &peer, &xclient);
    smtp_server_offer_xclient(session->server,
                              ingress_xclient_allowed(session->conf, &peer.ip));
    smtp_reply_set(&reply, 220, "", "%s", session->conf->hostname);
    smtp_server_reply(session->server, &reply);
}
