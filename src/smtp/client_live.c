/*
 * client_live.c - live transactions: one command, one reply, and so on to the end.
 *
 * Somebody else decides after each reply what comes next, and passes the reply on; so
 * nothing is guessed and nothing is pipelined (FAULTS 4.6). The replies come through the
 * queue of expectations like all others. The text goes by DATA even where BDAT is offered:
 * its length is not known before it has come, and after a refused BDAT it is open whether
 * the transaction is (see client_send.c). Behind the reply to a text sent with DATA it never
 * is, so that such a session is clean.
 *
 * One enum says how far the transaction has come; whether a reply is awaited is asked of
 * the queue alone.
 */
#include "client_priv.h"

#include "postern/base/assert.h"

static void answer(struct smtp_client *client, const struct smtp_reply *reply)
{
    pn_assert(!client->live_waits);
    client->live_waits = true;
    client->live_reply = *reply;
}

bool smtp_client_live_open(const struct smtp_client *client)
{
    return client->live != LIVE_NONE;
}

bool smtp_client_live_wants_text(const struct smtp_client *client)
{
    return client->live == LIVE_TEXT && client->state != CLIENT_OVER;
}

/* ---- commands ---- */

/* False: the session is at its end, of which the owner has still to hear. */
static bool may_command(const struct smtp_client *client)
{
    if (client->state == CLIENT_LEAVING || client->state == CLIENT_OVER) {
        return false;
    }
    pn_assert(client->state == CLIENT_READY && !client->flights && !client->live_waits &&
              client->expect_count == 0);
    return true;
}

/*
 * A mail that was handed in before may have left its transaction open. Its RSET is waited
 * for: with live commands there is one exchange at a time.
 */
void smtp_client_live_mail(struct smtp_client *client, struct pn_str sender,
                           uint64_t size_octets, unsigned flags, enum mail_ret ret,
                           struct pn_str envid)
{
    struct smtp_client_mail mail = {.sender = sender,
                                    .size_octets = size_octets,
                                    .flags = flags,
                                    .ret = ret,
                                    .envid = envid};
    struct pn_buf *out = client->reset_due ? &client->held : &client->output;
    struct smtp_reply refusal;

    if (!may_command(client)) {
        return;
    }
    pn_assert(client->live == LIVE_NONE);
    if (smtp_client_refuse_here(client, &mail, &refusal)) {
        answer(client, &refusal);
        return;
    }
    if (client->reset_due) {
        smtp_client_command(client, PN_STR("RSET\r\n"), EXPECT_RSET);
        client->reset_due = false;
    }
    client->live_utf8 = smtp_client_can(client, SMTP_CAP_SMTPUTF8) &&
                        (flags & (MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS));
    if (client->live_utf8) {
        mail.flags |= MAIL_UTF8_ADDRESS; /* what the text needs is not known yet */
    }
    smtp_client_put_mail(client, &mail, out);
    smtp_client_expect(client, EXPECT_LIVE_MAIL, NULL, 1);
    client->live = LIVE_MAIL;
    client->live_accepted = 0;
}

static bool refuse_recipient(const struct smtp_client *client,
                             const struct mail_recipient *recipient, struct smtp_reply *out)
{
    if (pn_str_has_control(recipient->address) || pn_str_has_control(recipient->orcpt)) {
        smtp_reply_set(out, 553, "5.1.3", "An address with control characters is not sent");
    } else if (!client->live_utf8 && !pn_str_is_ascii(recipient->address)) {
        smtp_reply_set(out, 550, "5.6.7", "The next hop was not given SMTPUTF8");
    } else {
        return false;
    }
    return true;
}

void smtp_client_live_rcpt(struct smtp_client *client, const struct mail_recipient *recipient)
{
    struct smtp_reply refusal;

    if (!may_command(client)) {
        return;
    }
    pn_assert(client->live == LIVE_OPEN);
    if (refuse_recipient(client, recipient, &refusal)) {
        answer(client, &refusal);
        return;
    }
    smtp_client_put_rcpt(client, recipient, &client->output);
    smtp_client_expect(client, EXPECT_LIVE_RCPT, NULL, 1);
}

void smtp_client_live_data(struct smtp_client *client)
{
    struct smtp_reply refusal;

    if (!may_command(client)) {
        return;
    }
    pn_assert(client->live == LIVE_OPEN);
    if (client->options.lmtp && client->live_accepted == 0) {
        /* The text would have no reply at all (RFC 2033 4.2). */
        smtp_reply_set(&refusal, 503, "5.5.1", "No valid recipients");
        answer(client, &refusal);
        return;
    }
    smtp_client_command(client, PN_STR("DATA\r\n"), EXPECT_LIVE_DATA);
}

void smtp_client_live_text(struct smtp_client *client, struct pn_str text, bool last)
{
    if (client->state == CLIENT_OVER) {
        return;
    }
    pn_assert(client->live == LIVE_TEXT && !client->live_waits);
    smtp_client_stuff(client, text, last);
    if (last) {
        client->live = LIVE_SENT;
        client->live_reply.code = 0;
        smtp_client_expect(client, EXPECT_LIVE_END, NULL,
                           client->options.lmtp ? client->live_accepted : 1);
    }
}

void smtp_client_live_reset(struct smtp_client *client)
{
    if (!may_command(client)) {
        return;
    }
    pn_assert(client->live == LIVE_NONE || client->live == LIVE_OPEN);
    smtp_client_command(client, PN_STR("RSET\r\n"), EXPECT_LIVE_RSET);
    client->live = LIVE_RESET;
    client->reset_due = false;
}

/* ---- replies ---- */

void smtp_client_on_live_mail(struct smtp_client *client, struct smtp_flight *flight,
                              const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code < 400 && !smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "MAIL FROM", reply);
        return;
    }
    client->live = smtp_reply_ok(reply) ? LIVE_OPEN : LIVE_NONE;
    answer(client, reply);
}

void smtp_client_on_live_rcpt(struct smtp_client *client, struct smtp_flight *flight,
                              const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code < 400 && !smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "RCPT TO", reply);
        return;
    }
    client->live_accepted += smtp_reply_ok(reply);
    answer(client, reply);
}

void smtp_client_on_live_data(struct smtp_client *client, struct smtp_flight *flight,
                              const struct smtp_reply *reply)
{
    (void)flight;
    if (smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "DATA", reply);
        return;
    }
    if (reply->code < 400) {
        client->live = LIVE_TEXT;
        smtp_stuffer_init(&client->stuffer);
    }
    answer(client, reply);
}

/* How much is lost by a reply: "later" will be mended by a second try, at worst twice. */
static int badness(const struct smtp_reply *reply)
{
    return reply->code == 0 ? -1 : smtp_reply_later(reply) ? 2 : smtp_reply_refused(reply);
}

void smtp_client_on_live_end(struct smtp_client *client, struct smtp_flight *flight,
                             const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code < 400 && !smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "end of data", reply);
        return;
    }
    if (badness(reply) > badness(&client->live_reply)) {
        client->live_reply = *reply;
    }
    if (smtp_client_awaits(client)) {
        return; /* LMTP: other recipients' */
    }
    client->live = LIVE_NONE;
    client->live_waits = true;
}

/* A server that does not know RSET has its transaction open still. */
void smtp_client_on_live_rset(struct smtp_client *client, struct smtp_flight *flight,
                              const struct smtp_reply *reply)
{
    (void)flight;
    client->live = LIVE_NONE;
    answer(client, reply);
    if (!smtp_reply_ok(reply)) {
        smtp_client_fail(client, "RSET", reply);
    }
}

void smtp_client_live_closing(struct smtp_client *client, bool last,
                              const struct smtp_reply *reply)
{
    if (client->live != LIVE_SENT || last) {
        client->live = LIVE_NONE;
    }
    answer(client, reply);
}
