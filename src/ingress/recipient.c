/*
 * ingress/recipient.c - RCPT: who is asked about a recipient, and what the client is told.
 *
 * First what we know by ourselves: do we relay for the domain, has the transaction room for
 * it, would the target refuse it by what its EHLO said, is the client to go to the target
 * (when_up = defer). Then the others are asked, one after the other: verify, and in
 * pass-through the target itself. Nobody answers inside a call; meanwhile the session waits
 * in SESSION_RECIPIENT, and ingress_recipient_step goes on with what there is.
 *
 * The first accepted recipient fixes what becomes of the transaction. In pass-through the
 * target's reply to the live RCPT takes the place of a call-ahead, so verify is asked only
 * where the domain's sources are others, as a list that knows who is nobody. When the
 * target cannot be had the mail is to be held, and verify decides about the recipient after
 * all: what it remembers is all that is left.
 *
 * A second recipient of a target that speaks LMTP makes it a held one.
 *
 * <postmaster> is never looked up (RFC 5321 4.5.1); a live target judges for itself.
 */
#include "session_priv.h"
#include "verdict_priv.h"

#include "postern/base/assert.h"

#include <string.h>

/* Where a reference is taken; what is counted does not change the definition. */
static struct conf_domain *countable(const struct conf_domain *domain)
{
    return (struct conf_domain *)(uintptr_t)domain;
}

static bool same_destination(const struct conf_domain *a, const struct conf_domain *b)
{
    return a == b || strcmp(a->destination, b->destination) == 0;
}

static struct out_board_entry look_up(const struct session *session,
                                      const struct conf_domain *domain)
{
    struct out_board *board = session->ingress->deps.board;

    return board ? out_board_get(board, pn_str_z(domain->destination))
                 : (struct out_board_entry){.state = QUEUE_UNKNOWN};
}

/* ---- the answer ------------------------------------------------------------------- */

/* Mail from a domain's own server says that it lives; once in a session is enough. */
static void sign_of_life(struct session *session, const struct conf_domain *domain)
{
    const struct ingress_deps *deps = &session->ingress->deps;

    if (!session->sign_told && deps->on_sign &&
        ingress_verdict_is_target(domain, &session->peer.ip)) {
        session->sign_told = true;
        deps->on_sign(deps->owner, pn_str_z(domain->name), false);
    }
}

static void refuse(struct session *session, struct pn_str address,
                   const struct smtp_reply *reply)
{
    session->refused++;
    stats_count(session->ingress->deps.counters, STATS_RCPT_REFUSED, 1);
    ingress_command_log_refusal(session, PN_EV_REFUSED_RCPT, "to", address, reply);
    if (smtp_reply_refused(reply)) {
        ingress_command_answer_error(session, reply);
    } else {
        ingress_command_excuse(session);
        smtp_server_reply(session->server, reply);
    }
}

static void accept(struct session *session)
{
    struct transaction *transaction = session->transaction;
    const struct asked *asked = &transaction->asked;
    struct smtp_reply reply;

    if (!ingress_transaction_add(session, asked->domain, &asked->event)) {
        /* The target has taken it already: only without it can the others go on. */
        if (asked->way == WAY_PASS) {
            ingress_pass_fail(session, "too little memory for more recipients");
        }
        smtp_reply_set(&reply, 452, "4.3.1", "too little memory for more recipients");
        refuse(session, asked->event.address.text, &reply);
        return;
    }
    if (transaction->way == WAY_OPEN) {
        transaction->way = asked->way;
    }
    /* LMTP answers for each recipient at the end, and the client hears one answer: more than
     * one may have different fates, and each gets its own when the mail is held. */
    if (transaction->way == WAY_PASS && transaction->recipient_count > 1 &&
        asked->domain->service == CONF_LMTP) {
        transaction->way = WAY_HOLD;
    }
    if (transaction->way == WAY_HOLD && transaction->pass.state == PASS_OPEN) {
        ingress_pass_stop(session); /* whose recipients were all refused, or are held now */
    }
    session->recipients++;
    stats_count(session->ingress->deps.counters, STATS_RCPT_ACCEPTED, 1);
    sign_of_life(session, asked->domain);
    smtp_reply_set(&reply, 250, "2.1.5", "Ok");
    smtp_server_reply(session->server, &reply);
}

/* ---- what we know by ourselves ---------------------------------------------------- */

/* A target that brings mail for its own domain would get it back, and bring it again. */
static void alarm_loop(struct session *session, const struct conf_domain *domain)
{
    struct pn_log_line line;

    if (session->loop_told) {
        return;
    }
    session->loop_told = true;
    pn_log_begin(&line, &session->log, PN_EV_LOOP);
    pn_log_str(&line, "domain", pn_str_z(domain->name));
    pn_log_z(
        &line, "what",
        "The domain's own target gives us mail for it, and gets it back when it is held no "
        "longer. Look at where it sends mail for its own domain.");
    pn_log_end(&line);
}

/* Good news that the sender may have and the target does not tell is told by deliver/, about
 * mail that was stored (RFC 3461 5.2.2). */
static bool owes_report(const struct session *session, const struct conf_domain *domain,
                        const struct out_board_entry *entry, const struct smtp_event *event)
{
    const struct mail_envelope *envelope = &session->transaction->envelope;

    return (event->notify & MAIL_NOTIFY_SUCCESS) && !(entry->capabilities & SMTP_CAP_DSN) &&
           envelope->sender.len > 0 &&
           ((envelope->flags & MAIL_AUTHORISED) || domain->bounce == CONF_BOUNCE_ALWAYS);
}

static enum way find_way(struct session *session, const struct conf_domain *domain,
                         const struct out_board_entry *entry, const struct smtp_event *event)
{
    if (owes_report(session, domain, entry, event)) {
        return WAY_HOLD;
    }
    if (domain->when_up != CONF_WHEN_UP_PASS_THROUGH || !session->ingress->deps.pool ||
        entry->state != QUEUE_UP || entry->parole) {
        return WAY_HOLD;
    }
    if (ingress_verdict_is_target(domain, &session->peer.ip)) {
        alarm_loop(session, domain);
        return WAY_HOLD;
    }
    return WAY_PASS;
}

static bool holds_for(const struct transaction *transaction, const struct conf_domain *domain)
{
    for (const struct group *group = transaction->groups; group; group = group->next) {
        if (group->count > 0 && same_destination(group->domain, domain)) {
            return true;
        }
    }
    return false;
}

/* Makes the recipient's way the transaction's. False: they do not go together. */
static bool fit(struct session *session, const struct conf_domain *domain, enum way *way)
{
    const struct transaction *transaction = session->transaction;

    if (transaction->way == WAY_PASS) {
        bool same = domain->when_up == CONF_WHEN_UP_PASS_THROUGH &&
                    same_destination(transaction->pass.domain, domain);

        *way = WAY_PASS;
        return same;
    }
    if (transaction->way == WAY_HOLD && *way == WAY_PASS) {
        *way = WAY_HOLD;
        return holds_for(transaction, domain);
    }
    return true;
}

bool ingress_recipient_is_authorised(const struct session *session)
{
    const struct conf *conf = session->conf;

    for (size_t i = 0; i < conf->authorised_networks.count; i++) {
        if (pn_net_has(&conf->authorised_networks.items[i], &session->peer.ip)) {
            return true;
        }
    }
    return false;
}

/* when_up = defer: is the client to go to the target itself? */
static bool is_deferred(struct session *session, const struct conf_domain *domain,
                        const struct out_board_entry *entry, const struct smtp_event *event)
{
    const struct ingress_deps *deps = &session->ingress->deps;
    const struct pn_ip *client = &session->peer.ip;

    return domain->when_up == CONF_WHEN_UP_DEFER && entry->state == QUEUE_UP &&
           !ingress_recipient_is_authorised(session) &&
           !ingress_verdict_is_target(domain, client) &&
           !(deps->defer &&
             policy_defer_come(deps->defer, deps->loop->now,
                               session->transaction->envelope.sender, event->address.text,
                               client, domain->defer_wait_ms, domain->defer_times));
}

/* The domain, or NULL and why not; and the recipient's way. */
static const struct conf_domain *judge(struct session *session, const struct smtp_event *event,
                                       enum way *way, struct smtp_reply *out)
{
    const struct transaction *transaction = session->transaction;
    const struct conf_domain *domain;
    struct out_board_entry entry;

    domain = ingress_verdict_rcpt(session->conf, session->domains, event,
                                  transaction->recipient_count, out);
    if (!domain) {
        return NULL;
    }
    entry = look_up(session, domain);
    *way = find_way(session, domain, &entry, event);
    if (!ingress_verdict_mirror(&entry, transaction->size_octets,
                                transaction->utf8_sender || event->address.utf8, out)) {
        return NULL;
    }
    if (!fit(session, domain, way) ||
        (*way == WAY_PASS && owes_report(session, domain, &entry, event))) {
        smtp_reply_set(out, 452, "4.5.3", "send this recipient a message of its own");
        return NULL;
    }
    if (is_deferred(session, domain, &entry, event)) {
        /* Is it? Its clients may come here because it is not; nobody else would find out. */
        out_board_doubt(session->ingress->deps.board, pn_str_z(domain->destination));
        stats_count(session->ingress->deps.counters, STATS_DEFERRED_TO_PRIMARY, 1);
        smtp_reply_set(out, 451, "4.3.0", "the domain's own mail exchanger is up, use that");
        return NULL;
    }
    return domain;
}

/* ---- asking others ---------------------------------------------------------------- */

static bool has_source(const struct conf_domain *domain, enum conf_recipients source)
{
    for (size_t i = 0; i < domain->recipients.count; i++) {
        if (domain->recipients.words[i] == source) {
            return true;
        }
    }
    return false;
}

static bool wants_verify(const struct session *session)
{
    const struct asked *asked = &session->transaction->asked;

    return session->ingress->deps.verify && !asked->known &&
           !pn_str_eq_nocase(asked->event.address.local, PN_STR("postmaster")) &&
           !(asked->way == WAY_PASS && has_source(asked->domain, CONF_RECIPIENTS_CALL_AHEAD));
}

static void on_verdict(void *owner, const struct verify_verdict *verdict)
{
    struct session *session = owner;
    struct asked *asked = &session->transaction->asked;

    asked->known = true;
    asked->reply = verdict->reply;
    if (verdict->outcome == VERIFY_INVALID) {
        stats_count(session->ingress->deps.counters, STATS_RCPT_UNKNOWN, 1);
    }
    ingress_session_step(session);
}

/* Asks who is to be asked next. False: nobody, the recipient is taken. */
static bool ask_next(struct session *session)
{
    struct asked *asked = &session->transaction->asked;
    char name[VERIFY_NAME_MAX];

    if (wants_verify(session)) {
        asked->whom = ASKED_VERIFY;
        asked->request.on_verdict = on_verdict;
        asked->request.owner = session;
        verify_ask(session->ingress->deps.verify, &asked->request, session->conf,
                   countable(asked->domain),
                   verify_name(asked->domain, asked->event.address.text, name),
                   &session->peer.ip);
    } else if (asked->way == WAY_PASS) {
        asked->whom = ASKED_TARGET;
        ingress_pass_recipient(session);
    } else {
        asked->whom = ASKED_NOBODY;
    }
    return asked->whom != ASKED_NOBODY;
}

/* The event's slices die with this turn's input. */
static void keep(struct asked *asked, const struct smtp_event *event)
{
    const struct mail_address *from = &event->address;
    struct mail_address *to = &asked->event.address;

    pn_assert(from->text.len < sizeof asked->address && event->orcpt.len < sizeof asked->orcpt);
    memset(&asked->request, 0, sizeof asked->request);
    asked->event = *event;
    memcpy(asked->address, from->text.ptr, from->text.len);
    to->text = (struct pn_str){asked->address, from->text.len};
    to->local = pn_str_sub(to->text, 0, from->local.len);
    to->domain = pn_str_sub(to->text, to->text.len - from->domain.len, SIZE_MAX);
    if (event->orcpt.len > 0) {
        memcpy(asked->orcpt, event->orcpt.ptr, event->orcpt.len);
    }
    asked->event.orcpt = (struct pn_str){asked->orcpt, event->orcpt.len};
    asked->known = false;
}

void ingress_recipient_ask(struct session *session, const struct smtp_event *event)
{
    struct transaction *transaction = session->transaction;
    struct asked *asked;
    struct smtp_reply reply;
    enum way way;
    const struct conf_domain *domain;

    pn_assert(transaction);
    domain = judge(session, event, &way, &reply);
    if (!domain) {
        refuse(session, event->address.text, &reply);
        return;
    }
    asked = &transaction->asked;
    keep(asked, event);
    asked->domain = domain;
    asked->way = way;
    if (!ingress_transaction_has(transaction, &event->address) && ask_next(session)) {
        ingress_session_enter(session, SESSION_RECIPIENT);
    } else {
        accept(session);
    }
}

/* ---- what they said --------------------------------------------------------------- */

static void learn(struct session *session, const struct smtp_reply *reply)
{
    const struct asked *asked = &session->transaction->asked;
    struct verify *verify = session->ingress->deps.verify;
    char name[VERIFY_NAME_MAX];

    if (verify) {
        verify_learn(verify, asked->domain,
                     verify_name(asked->domain, asked->event.address.text, name), reply,
                     STATE_BY_PASS_THROUGH);
    }
}

static void answer(struct session *session, const struct smtp_reply *reply)
{
    session->transaction->asked.whom = ASKED_NOBODY;
    ingress_session_enter(session, SESSION_COMMAND);
    if (smtp_reply_ok(reply)) {
        accept(session);
    } else {
        refuse(session, session->transaction->asked.event.address.text, reply);
    }
}

/* From now on the mail is to be held: asks whoever knows then. */
static bool fall_back(struct session *session)
{
    struct transaction *transaction = session->transaction;

    transaction->asked.way = WAY_HOLD;
    if (ask_next(session)) {
        return false;
    }
    ingress_session_enter(session, SESSION_COMMAND);
    accept(session);
    return true;
}

/* The target's reply to MAIL or RCPT is the client's. */
static bool hand_on(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct pass *pass = &transaction->pass;
    struct smtp_reply reply;

    if (smtp_reply_later(&pass->reply) && transaction->recipient_count == 0 &&
        pass->domain->on_tempfail == CONF_TEMPFAIL_HOLD) {
        ingress_pass_fail(session, "%d: %s", pass->reply.code, pass->reply.text);
        return fall_back(session);
    }
    ingress_verdict_pass(pass->domain, &pass->reply, &reply);
    if (pass->state == PASS_REFUSED) {
        ingress_pass_stop(session);
    } else {
        learn(session, &pass->reply);
    }
    if (!smtp_reply_ok(&reply)) {
        stats_count(session->ingress->deps.counters, STATS_PASS_REFUSED, 1);
        if (ingress_verdict_is_unknown(&reply)) {
            stats_count(session->ingress->deps.counters, STATS_RCPT_UNKNOWN, 1);
        }
    }
    answer(session, &reply);
    return true;
}

bool ingress_recipient_step(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct asked *asked = &transaction->asked;

    if (asked->whom == ASKED_VERIFY) {
        if (!asked->known) {
            return false;
        }
        if (smtp_reply_ok(&asked->reply) && ask_next(session)) {
            return false;
        }
        answer(session, &asked->reply);
        return true;
    }
    switch (transaction->pass.state) {
    case PASS_OPEN:
    case PASS_REFUSED:
        return hand_on(session);
    case PASS_FAILED:
        return fall_back(session);
    default:
        return false;
    }
}

void ingress_recipient_stop(struct session *session)
{
    struct asked *asked = &session->transaction->asked;

    if (asked->whom == ASKED_VERIFY && !asked->known) {
        verify_cancel(session->ingress->deps.verify, &asked->request);
    }
    asked->whom = ASKED_NOBODY;
}
