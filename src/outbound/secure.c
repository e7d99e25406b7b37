/*
 * secure.c - TLS with a next hop: whether, when, and what if it fails.
 *
 * The plan says what the host needs (session->host.tls). Under MAY a failed handshake is
 * followed by a new connection to the same address in clear; under anything stronger the
 * address has failed, and the next one is tried. What the certificate must prove is OpenSSL's
 * work, behind port/tls.h; here the rules for it are gathered.
 */
#include "session_priv.h"

#include <stdio.h>

bool out_secure_needed(const struct out_session *session)
{
    return session->host.tls > ROUTE_TLS_MAY && !session->host.tls_report_only;
}

bool out_secure_wanted(const struct out_session *session)
{
    return !session->secured && session->host.tls != ROUTE_TLS_NONE &&
           (out_secure_needed(session) ||
            (!session->clear && session->deps.tls &&
             (smtp_client_capabilities(session->client) & SMTP_CAP_STARTTLS)));
}

void out_secure_begin(struct out_session *session)
{
    if (smtp_client_capabilities(session->client) & SMTP_CAP_STARTTLS) {
        smtp_client_starttls(session->client);
        return;
    }
    out_talk_goodbye(session);
    out_connect_failed(session, OUT_END_FAILED,
                       "%s: it does not offer STARTTLS, and TLS is needed (%s)", session->peer,
                       session->host.tls_why);
}

void out_secure_failed(struct out_session *session, const char *why)
{
    if (out_secure_needed(session)) {
        out_connect_failed(session, OUT_END_FAILED, "%s: %s, and TLS is needed (%s)",
                           session->peer, why, session->host.tls_why);
        return;
    }
    out_watch_note(session, "%s: going on in clear", why);
    out_connect_again(session);
}

/*
 * Octets that came behind the 220 are not the peer's but an attacker's, who wants them read
 * as if they had come through TLS (FAULTS 2.2). No other address is tried either.
 */
void out_secure_handshake(struct out_session *session)
{
    const char *name = session->host.name;
    struct tls_rules rules = {
        .server_name = session->host.sni, .names = &name, .name_count = 1};

    if (stream_peek(session->stream).len > 0) {
        out_session_end(session, OUT_END_FAILED,
                        "%s: plaintext was injected between STARTTLS and TLS: an attack",
                        session->peer);
        return;
    }
    session->state = OUT_HANDSHAKE;
    out_talk_adopt(session, tls_connect(session->deps.tls, session->stream, &rules));
    loop_timer_after(session->deps.loop, &session->timer, session->options.connect_timeout_ms);
}

void out_secure_step(struct out_session *session)
{
    char why[256];

    switch (stream_get_state(session->stream)) {
    case STREAM_CONNECTING:
        break;
    case STREAM_OPEN:
        session->secured = true;
        session->state = OUT_GREETING;
        session->waits = OUT_WAIT_NOTHING;
        smtp_client_secured(session->client);
        out_talk_pump(session);
        break;
    case STREAM_ENDED:
    case STREAM_FAILED:
        snprintf(why, sizeof why, "%s", stream_error(session->stream));
        out_secure_failed(session, why[0] ? why : "the TLS handshake was broken off");
        break;
    }
}
