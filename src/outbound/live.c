/*
 * live.c - live transactions on a session: the owner's calls, handed on to the client.
 *
 * What is known of a transaction is asked of the client, which has the one enum; nothing is
 * kept here. A call that comes when the session has ended finds nobody, as the owner's next
 * event will tell it.
 */
#include "session_priv.h"

/* ---- the owner's calls ---- */

void out_session_live_mail(struct out_session *session, struct pn_str sender,
                           uint64_t size_octets, unsigned flags, enum mail_ret ret,
                           struct pn_str envid)
{
    if (session->state == OUT_READY) {
        smtp_client_live_mail(session->client, sender, size_octets, flags, ret, envid);
        out_talk_pump(session);
    }
}

void out_session_live_rcpt(struct out_session *session, const struct mail_recipient *recipient)
{
    if (session->state == OUT_READY) {
        smtp_client_live_rcpt(session->client, recipient);
        out_talk_pump(session);
    }
}

void out_session_live_data(struct out_session *session)
{
    if (session->state == OUT_READY) {
        smtp_client_live_data(session->client);
        out_talk_pump(session);
    }
}

/* A session that was told to quit still takes the rest of a text that was begun. */
void out_session_live_text(struct out_session *session, struct pn_str text, bool last)
{
    if (session->state == OUT_READY || session->state == OUT_LEAVING) {
        smtp_client_live_text(session->client, text, last);
        out_talk_pump(session);
    }
}

void out_session_live_reset(struct out_session *session)
{
    if (session->state == OUT_READY) {
        smtp_client_live_reset(session->client);
        out_talk_pump(session);
    }
}

void out_session_live_timeout(struct out_session *session, int64_t live_timeout_ms)
{
    session->live_timeout_ms = live_timeout_ms;
    if (out_live_open(session)) {
        out_talk_hurry(session);
    }
}

/* ---- what is known ---- */

bool out_live_open(const struct out_session *session)
{
    return session->client && smtp_client_live_open(session->client);
}

bool out_live_text(const struct out_session *session)
{
    return session->client && smtp_client_live_wants_text(session->client);
}

bool out_live_clean(const struct out_session *session)
{
    return out_live_may_reset(session) && !out_live_open(session);
}

bool out_live_may_reset(const struct out_session *session)
{
    return session->state == OUT_READY && session->mail_count == 0 && !out_live_text(session) &&
           !smtp_client_awaits(session->client);
}
