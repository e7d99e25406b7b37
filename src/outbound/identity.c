/*
 * identity.c - who our mail is from, as this next hop is told it.
 *
 * Under XCLIENT the session is that client's from then on: what is said in it says nothing
 * of the destination, so it ends in OUT_END_CLIENT. Under XFORWARD nothing changes but what
 * the next hop writes into its log and tells its filters.
 */
#include "session_priv.h"

#include "postern/base/assert.h"

static bool offers(const struct out_session *session, unsigned capability, const char *keyword)
{
    struct pn_str words;

    if (!(out_session_capabilities(session) & capability)) {
        return false;
    }
    words = smtp_client_ehlo_words(session->client, keyword);
    while (words.len > 0) {
        if (pn_str_eq_nocase(pn_str_cut(&words, ' '), PN_STR("ADDR"))) {
            return true;
        }
    }
    return false;
}

enum out_identity out_session_identity_kind(const struct out_session *session)
{
    int wanted = session->options.domain->identity;

    if (session->identified) {
        return OUT_IDENTITY_XCLIENT;
    }
    if ((wanted == CONF_IDENTITY_AUTO || wanted == CONF_IDENTITY_XCLIENT) &&
        offers(session, SMTP_CAP_XCLIENT, "XCLIENT")) {
        return OUT_IDENTITY_XCLIENT;
    }
    if ((wanted == CONF_IDENTITY_AUTO || wanted == CONF_IDENTITY_XFORWARD) &&
        offers(session, SMTP_CAP_XFORWARD, "XFORWARD")) {
        return OUT_IDENTITY_XFORWARD;
    }
    return OUT_IDENTITY_NONE;
}

void out_session_identify(struct out_session *session, const struct smtp_identity *identity)
{
    enum out_identity kind = out_session_identity_kind(session);

    if (session->state != OUT_READY) {
        return; /* it has ended, and the owner has not heard of it yet */
    }
    pn_assert(session->mail_count == 0 && !session->identified);
    if (kind == OUT_IDENTITY_NONE) {
        out_event_push(session, OUT_EV_READY, NULL);
        return;
    }
    session->state = OUT_IDENTIFYING;
    if (kind == OUT_IDENTITY_XCLIENT) {
        session->identified = true;
        smtp_client_xclient(session->client, identity);
    } else {
        smtp_client_xforward(session->client, identity);
    }
    out_talk_pump(session);
}

bool out_session_identified(const struct out_session *session)
{
    return session->identified;
}
