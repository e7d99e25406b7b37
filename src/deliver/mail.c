/*
 * deliver/mail.c - one message on its way: transactions, text, verdict.
 *
 * A message with more recipients than the target takes in one transaction is handed over in
 * several, one after the other in the same session. Each recipient's fate is taken from its
 * own reply. The verdict about the job follows from the fates at the end, in one place.
 */
#include "session_priv.h"

#include <utlist.h>

#include "postern/base/mem.h"

/* ---- text -------------------------------------------------------------------------- */

static void on_chunk(void *owner, int status, uint32_t number, struct pn_str text)
{
    struct deliver_mail *mail = owner;
    struct deliver_session *session = mail->session;

    mail->reading = false;
    if (!mail->result) { /* its transaction ended meanwhile */
        deliver_mail_free(mail);
        deliver_session_answered(session);
        return;
    }
    if (status != 0 || number != mail->chunk + 1 || pn_buf_append(&mail->ahead, text) != 0) {
        /* Only the end of the session keeps half a message from being taken for a whole. */
        deliver_session_abort(session, "the spool could not give the rest of a message's text");
        deliver_session_answered(session);
        return;
    }
    mail->ahead_there = true;
    deliver_mail_text(mail);
    deliver_session_answered(session);
}

static bool has_more_chunks(const struct deliver_mail *mail)
{
    return mail->chunk + 1 < mail->message->envelope.chunks;
}

static void read_ahead(struct deliver_mail *mail)
{
    struct deliver_session *session = mail->session;

    if (!has_more_chunks(mail) || mail->reading || mail->ahead_there) {
        return;
    }
    mail->reading = true;
    session->pending++;
    spool_read_chunk(session->worker->deps.spool, session->worker->deps.out->loop,
                     &mail->message->envelope.id, mail->chunk + 1, on_chunk, mail);
}

static struct pn_str chunk_at_hand(const struct deliver_mail *mail)
{
    return mail->chunk == 0 ? mail->message->text : pn_buf_str(&mail->text);
}

static void next_chunk(struct deliver_mail *mail)
{
    struct pn_buf spent = mail->text;

    mail->text = mail->ahead;
    mail->ahead = spent;
    pn_buf_clear(&mail->ahead);
    mail->ahead_there = false;
    mail->chunk++;
    mail->chunk_sent = 0;
}

void deliver_mail_text(struct deliver_mail *mail)
{
    struct out_session *out = mail->session->out;

    while (mail->wants_text && out) {
        struct pn_str rest = pn_str_sub(chunk_at_hand(mail), mail->chunk_sent, SIZE_MAX);
        struct pn_str piece = pn_str_sub(rest, 0, out_session_text_room(out));
        bool last = piece.len == rest.len && !has_more_chunks(mail);

        read_ahead(mail);
        if (piece.len == 0 && !last) {
            if (rest.len > 0 || !mail->ahead_there) {
                return;
            }
            next_chunk(mail);
            continue;
        }
        mail->chunk_sent += piece.len;
        mail->wants_text = !last;
        out_session_text(out, piece, last);
    }
}

/* ---- transactions ------------------------------------------------------------------ */

/* Makes the transaction for the recipients from mail->first on, and hands it in. */
static void transaction(struct deliver_mail *mail)
{
    const struct mail_envelope *envelope = &mail->message->envelope;
    const struct deliver_session *session = mail->session;
    size_t most = (size_t)session->domain->recipients_per_transaction;
    size_t left = mail->message->recipient_count - mail->first;

    mail->mail = (struct smtp_client_mail){
        .sender = envelope->sender,
        .recipients = mail->message->recipients + mail->first,
        .recipient_count = left < most ? left : most,
        .size_octets = envelope->size_octets,
        .flags = envelope->flags,
        .ret = envelope->ret,
        .envid = envelope->envid,
        .replies = mail->replies,
        .identity = session->identity == OUT_IDENTITY_XFORWARD ? &mail->identity : NULL,
        .owner = mail,
    };
    memset(mail->replies, 0, mail->mail.recipient_count * sizeof *mail->replies);
    mail->result->peer_reports =
        (out_session_capabilities(mail->session->out) & SMTP_CAP_DSN) != 0;
    if (mail->chunk > 0) {
        pn_buf_clear(&mail->text);
        pn_buf_clear(&mail->ahead);
        mail->ahead_there = false;
        mail->chunk = 0;
    }
    mail->chunk_sent = 0;
    mail->wants_text = false;
    out_session_mail(mail->session->out, &mail->mail);
}

void deliver_mail_begin(struct deliver_session *session, struct spool_message *message)
{
    struct deliver_mail *mail = PN_NEW(struct deliver_mail);
    size_t most = (size_t)session->domain->recipients_per_transaction;
    size_t n = message->recipient_count < most ? message->recipient_count : most;

    mail->session = session;
    mail->message = message;
    mail->identity = smtp_identity_of(&message->envelope);
    pn_id_format(&message->envelope.id, mail->qid);
    mail->identity.ident = pn_str_z(mail->qid);
    mail->begun = session->worker->deps.out->loop->now;
    mail->replies = pn_alloc_array(n, sizeof *mail->replies);
    mail->result = deliver_result_new(message->queue, &message->job, QUEUE_DONE, message);
    pn_buf_init(&mail->text, SPOOL_CHUNK_OCTETS);
    pn_buf_init(&mail->ahead, SPOOL_CHUNK_OCTETS);
    DL_APPEND(session->mails, mail);
    transaction(mail);
}

void deliver_mail_free(struct deliver_mail *mail)
{
    if (mail->result) {
        deliver_result_free(mail->result);
    }
    pn_buf_fini(&mail->text);
    pn_buf_fini(&mail->ahead);
    free(mail->replies);
    free(mail);
}

/* ---- fates and verdict ------------------------------------------------------------- */

static enum deliver_fate fate_of(const struct smtp_reply *reply)
{
    if (smtp_reply_ok(reply)) {
        return DELIVER_DONE;
    }
    if (smtp_reply_later(reply)) {
        return DELIVER_LATER;
    }
    return smtp_reply_refused(reply) ? DELIVER_REFUSED : DELIVER_UNTRIED;
}

/* "mail.example.org[192.0.2.1]:25 said: 451 4.7.1 Later", in the result's arena. */
static struct pn_str said(struct deliver_mail *mail, const struct smtp_reply *reply)
{
    struct pn_str copy = PN_STR("");
    struct pn_buf text;

    pn_buf_init(&text, SPOOL_REPLY_MAX);
    if (pn_buf_printf(&text, "%s said: ", mail->session->peer) != 0 ||
        smtp_reply_format(reply, &text) != 0 ||
        pn_arena_copy(&mail->result->arena, pn_buf_str(&text), &copy) != 0) {
        copy = PN_STR("(the reply was too long to be kept)");
    }
    pn_buf_fini(&text);
    return copy;
}

static void log_delivered(struct deliver_mail *mail)
{
    struct deliver_session *session = mail->session;
    const struct mail_envelope *envelope = &mail->message->envelope;
    int64_t waited_ms = session->worker->deps.out->loop->wall.ms - envelope->arrival.ms;
    struct pn_log_line line;
    size_t shown = 0, done = 0;

    pn_log_begin(&line, &session->log, PN_EV_DELIVERED);
    pn_log_id(&line, "qid", &envelope->id);
    pn_log_str(&line, "queue", mail->message->queue);
    for (size_t i = 0; i < mail->mail.recipient_count; i++) {
        if (fate_of(&mail->replies[i]) != DELIVER_DONE) {
            continue;
        }
        done++;
        if (shown < 5) {
            pn_log_str(&line, "to", mail->mail.recipients[i].address);
            shown++;
        }
    }
    pn_log_u64(&line, "recipients", done);
    pn_log_u64(&line, "size", envelope->size_octets);
    pn_log_z(&line, "peer", session->peer);
    /* A wall clock that was set back since the arrival: no mail waits less than no time. */
    pn_log_ms(&line, "delay", waited_ms > 0 ? waited_ms : 0);
    pn_log_end(&line);
}

static void trace_delivered(struct deliver_mail *mail)
{
    const struct deliver_worker *worker = mail->session->worker;
    struct pn_buf text;

    if (!worker->deps.state) {
        return;
    }
    pn_buf_init(&text, SPOOL_REPLY_MAX);
    if (pn_buf_printf(&text, "peer=%s recipients=%zu", mail->session->peer,
                      mail->mail.recipient_count) == 0) {
        state_note(worker->deps.state, worker->deps.out->loop->wall,
                   &mail->message->envelope.id, PN_EV_DELIVERED, pn_buf_str(&text));
    }
    pn_buf_fini(&text);
}

/* ---- what others learn from it ------------------------------------------------------ */

/* What was said of several recipients in the same words may be about the message. */
static bool is_shared(const struct deliver_mail *mail, size_t at)
{
    const struct smtp_reply *reply = &mail->replies[at];

    for (size_t i = 0; i < mail->mail.recipient_count; i++) {
        if (i != at && mail->replies[i].code == reply->code &&
            strcmp(mail->replies[i].text, reply->text) == 0) {
            return true;
        }
    }
    return false;
}

/* Who has just come back may refuse everybody, and only one that is well teaches a no. */
static bool is_trusted(const struct deliver_session *session)
{
    struct out_board *board = session->worker->deps.board;
    struct out_board_entry entry = {.state = QUEUE_UNKNOWN};

    if (board) {
        entry = out_board_get(board, pn_str_z(session->domain->destination));
    }
    return entry.state == QUEUE_UP && !entry.parole;
}

static void teach(const struct deliver_mail *mail)
{
    const struct deliver_session *session = mail->session;
    const struct deliver_worker_deps *deps = &session->worker->deps;

    for (size_t i = 0; deps->learn && i < mail->mail.recipient_count; i++) {
        const struct smtp_reply *reply = &mail->replies[i];

        if (smtp_reply_ok(reply) ||
            (smtp_reply_refused(reply) && !is_shared(mail, i) && is_trusted(session))) {
            deps->learn(deps->owner, session->domain, mail->mail.recipients[i].address, reply);
        }
    }
}

/* Takes the fates of the transaction at hand over into the result. */
static void take_fates(struct deliver_mail *mail, struct pn_str silence)
{
    bool any_done = false;

    for (size_t i = 0; i < mail->mail.recipient_count; i++) {
        const struct smtp_reply *reply = &mail->replies[i];
        size_t at = mail->first + i;

        mail->result->fates[at] = fate_of(reply);
        if (reply->code == 0) {
            mail->result->reasons[at] = silence;
        } else if (mail->result->fates[at] != DELIVER_DONE) {
            mail->result->reasons[at] = said(mail, reply);
        } else {
            any_done = true;
        }
    }
    if (any_done) {
        log_delivered(mail);
        trace_delivered(mail);
    }
    teach(mail);
}

static enum queue_verdict verdict_of(const struct deliver_mail *mail, bool in_doubt)
{
    size_t later = 0, untried = 0, n = mail->message->recipient_count;

    for (size_t i = 0; i < n; i++) {
        later += mail->result->fates[i] == DELIVER_LATER;
        untried += mail->result->fates[i] == DELIVER_UNTRIED;
    }
    if (in_doubt && untried > 0) {
        return QUEUE_IN_DOUBT;
    }
    if (later + untried == 0) {
        return QUEUE_DONE;
    }
    /* What has been said about the others must be settled, so this costs an attempt. */
    return untried == n ? QUEUE_UNTRIED : QUEUE_LATER;
}

static void finish(struct deliver_mail *mail, bool in_doubt)
{
    struct deliver_session *session = mail->session;
    struct deliver_result *result = mail->result;
    struct pn_mono now = session->worker->deps.out->loop->now;
    struct pn_mono from =
        mail->begun.ms > session->last_done.ms ? mail->begun : session->last_done;

    result->verdict = verdict_of(mail, in_doubt);
    result->took_ms = now.ms - from.ms;
    session->last_done = now;
    mail->result = NULL;
    DL_DELETE(session->mails, mail);
    deliver_session_result(session, result);
    if (!mail->reading) {
        deliver_mail_free(mail); /* else on_chunk frees it */
    }
}

void deliver_mail_done(struct deliver_mail *mail)
{
    take_fates(mail, PN_STR(""));
    mail->first += mail->mail.recipient_count;
    if (mail->first < mail->message->recipient_count) {
        transaction(mail);
        return;
    }
    finish(mail, false);
}

void deliver_mail_lost(struct deliver_mail *mail)
{
    bool in_doubt = mail->mail.last_octet_sent;

    take_fates(mail, in_doubt ? PN_STR("the session was lost after the end of the text: it may "
                                       "have been delivered")
                              : PN_STR("the session was lost before the end of the text"));
    finish(mail, in_doubt);
}
