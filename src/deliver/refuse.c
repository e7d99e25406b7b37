/*
 * deliver/refuse.c - a mail that has its answer before it is handed in.
 *
 * The DNS says that its domain takes no mail, or its client was turned away when it was named:
 * what was said is the verdict on all of the mail's recipients.
 */
#include "session_priv.h"

#include "postern/base/mem.h"

static struct pn_str told(const struct deliver_session *session, struct deliver_result *result,
                          const struct smtp_reply *reply)
{
    struct pn_str copy = PN_STR("(the reply was too long to be kept)");
    struct pn_buf text;

    pn_buf_init(&text, SPOOL_REPLY_MAX);
    /* Without a peer the words are our own. */
    if ((session->peer[0] && pn_buf_printf(&text, "%s said: ", session->peer) != 0) ||
        smtp_reply_format(reply, &text) != 0 ||
        pn_arena_copy(&result->arena, pn_buf_str(&text), &copy) != 0) {
        copy = PN_STR("(the reply was too long to be kept)");
    }
    pn_buf_fini(&text);
    return copy;
}

void deliver_mail_refuse(struct deliver_session *session, struct spool_message *message,
                         const struct smtp_reply *reply)
{
    bool refused = smtp_reply_refused(reply);
    struct deliver_result *result = deliver_result_new(
        message->queue, &message->job, refused ? QUEUE_DONE : QUEUE_LATER, message);
    struct pn_str reason = told(session, result, reply);

    for (size_t i = 0; i < message->recipient_count; i++) {
        result->fates[i] = refused ? DELIVER_REFUSED : DELIVER_LATER;
        result->reasons[i] = reason;
    }
    deliver_session_result(session, result);
}
