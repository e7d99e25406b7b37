/*
 * client_send.c - the client's half of an SMTP or LMTP conversation: what goes out.
 *
 * Mails go out one after the other, command by command: push() writes the next command of
 * the mail that is being sent, if it may be written now. With PIPELINING it may unless
 * much is waiting to be sent, without when nothing is unanswered. So one path serves both,
 * and an envelope of thousands of recipients never has to be in memory whole.
 *
 * DATA and BDAT are guesses while recipients' replies are missing. A wrong guess costs an
 * empty text, or the text of a mail that fits into the window. LMTP is not guessed about:
 * it has no reply to the text of a mail without recipients (RFC 2033 4.2). Nor does LMTP
 * use BDAT: how many replies a refused one has is not clear enough.
 *
 * A server need not end a transaction whose BDAT it refused, and Exim does not: the next
 * mail's recipients would join it. So RSET stands between two mails unless the first is
 * known to have ended.
 */
#include "client_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

void smtp_client_write(struct smtp_client *client, struct pn_str data)
{
    pn_assert(pn_buf_append(&client->output, data) == 0);
}

static void put(struct pn_buf *out, struct pn_str data)
{
    pn_assert(pn_buf_append(out, data) == 0);
}

static void put_u64(struct pn_buf *out, uint64_t value)
{
    pn_assert(pn_buf_printf(out, "%llu", (unsigned long long)value) == 0);
}

void smtp_client_command(struct smtp_client *client, struct pn_str line,
                         enum smtp_expect_kind kind)
{
    smtp_client_write(client, line);
    smtp_client_expect(client, kind, NULL, 1);
}

void smtp_client_hello(struct smtp_client *client, enum smtp_expect_kind kind)
{
    bool again = client->state == CLIENT_XCLIENT || client->state == CLIENT_REHELLO;

    smtp_client_write(client, kind == EXPECT_LHLO   ? PN_STR("LHLO ")
                              : kind == EXPECT_HELO ? PN_STR("HELO ")
                                                    : PN_STR("EHLO "));
    smtp_client_write(client, again ? pn_buf_str(&client->helo) : client->options.hostname);
    smtp_client_command(client, PN_STR("\r\n"), kind);
    client->state = again ? CLIENT_REHELLO : CLIENT_HELLO;
}

void smtp_client_starttls(struct smtp_client *client)
{
    pn_assert(client->state == CLIENT_CAPABLE);
    smtp_client_command(client, PN_STR("STARTTLS\r\n"), EXPECT_STARTTLS);
    client->state = CLIENT_STARTTLS;
}

void smtp_client_go(struct smtp_client *client)
{
    pn_assert(client->state == CLIENT_CAPABLE);
    client->state = CLIENT_READY;
}

void smtp_client_check(struct smtp_client *client)
{
    pn_assert(client->state == CLIENT_READY && !client->flights && client->live == LIVE_NONE);
    smtp_client_command(client, PN_STR("MAIL FROM:<>\r\n"), EXPECT_CHECK_MAIL);
}

void smtp_client_quit(struct smtp_client *client)
{
    if (client->state == CLIENT_READY || client->state == CLIENT_CAPABLE) {
        client->state = CLIENT_LEAVING;
        smtp_client_advance(client);
    }
}

bool smtp_client_can(const struct smtp_client *client, enum smtp_capability capability)
{
    return (client->capabilities & (unsigned)capability) != 0;
}

/* ---- the commands of a mail ---- */

static bool needs_utf8(const struct smtp_client_mail *mail)
{
    return (mail->flags & MAIL_UTF8_ADDRESS) ||
           ((mail->flags & MAIL_SMTPUTF8) && (mail->flags & MAIL_UTF8_HEADER));
}

static bool is_8bit(const struct smtp_client_mail *mail)
{
    return (mail->flags & (MAIL_8BITMIME | MAIL_8BIT_BODY | MAIL_UTF8_HEADER)) != 0;
}

void smtp_client_put_mail(const struct smtp_client *client, const struct smtp_client_mail *mail,
                          struct pn_buf *out)
{
    put(out, PN_STR("MAIL FROM:<"));
    put(out, mail->sender);
    put(out, PN_STR(">"));
    if (smtp_client_can(client, SMTP_CAP_SIZE) && mail->size_octets > 0) {
        put(out, PN_STR(" SIZE="));
        put_u64(out, mail->size_octets);
    }
    if (smtp_client_can(client, SMTP_CAP_8BITMIME) && is_8bit(mail)) {
        put(out, PN_STR(" BODY=8BITMIME"));
    }
    if (smtp_client_can(client, SMTP_CAP_SMTPUTF8) && needs_utf8(mail)) {
        put(out, PN_STR(" SMTPUTF8"));
    }
    if (smtp_client_can(client, SMTP_CAP_DSN) && mail->ret != MAIL_RET_NONE) {
        put(out, mail->ret == MAIL_RET_FULL ? PN_STR(" RET=FULL") : PN_STR(" RET=HDRS"));
    }
    if (smtp_client_can(client, SMTP_CAP_DSN) && mail->envid.len > 0) {
        put(out, PN_STR(" ENVID="));
        put(out, mail->envid);
    }
    put(out, PN_STR("\r\n"));
}

static void put_notify(unsigned notify, struct pn_buf *out)
{
    static const struct {
        unsigned bit;
        struct pn_str name;
    } words[] = {
        {MAIL_NOTIFY_SUCCESS, {"SUCCESS", 7}},
        {MAIL_NOTIFY_FAILURE, {"FAILURE", 7}},
        {MAIL_NOTIFY_DELAY, {"DELAY", 5}},
    };
    struct pn_str before = PN_STR(" NOTIFY=");

    if (notify & MAIL_NOTIFY_NEVER) { /* it stands alone (RFC 3461 4.1) */
        put(out, PN_STR(" NOTIFY=NEVER"));
        return;
    }
    for (size_t i = 0; i < PN_COUNT(words); i++) {
        if (notify & words[i].bit) {
            put(out, before);
            put(out, words[i].name);
            before = PN_STR(",");
        }
    }
}

void smtp_client_put_rcpt(const struct smtp_client *client,
                          const struct mail_recipient *recipient, struct pn_buf *out)
{
    put(out, PN_STR("RCPT TO:<"));
    put(out, recipient->address);
    put(out, PN_STR(">"));
    if (smtp_client_can(client, SMTP_CAP_DSN)) {
        put_notify(recipient->notify, out);
    }
    if (smtp_client_can(client, SMTP_CAP_DSN) && recipient->orcpt.len > 0) {
        put(out, PN_STR(" ORCPT="));
        put(out, recipient->orcpt);
    }
    put(out, PN_STR("\r\n"));
}

static void write_rcpt(struct smtp_client *client, struct smtp_flight *flight)
{
    smtp_client_put_rcpt(client, &flight->mail->recipients[flight->rcpt_sent++],
                         &client->output);
    smtp_client_expect(client, EXPECT_RCPT, flight, 1);
}

bool smtp_client_chunks(const struct smtp_client *client)
{
    return smtp_client_can(client, SMTP_CAP_CHUNKING) && !client->options.lmtp;
}

/* May DATA or BDAT be sent before the recipients' replies are known? */
static bool may_guess(const struct smtp_client *client, const struct smtp_flight *flight)
{
    return smtp_client_can(client, SMTP_CAP_PIPELINING) && !client->options.lmtp &&
           flight->rcpt_end == flight->mail->recipient_count &&
           (!smtp_client_chunks(client) || flight->mail->size_octets <= client->window_octets);
}

static bool begin_text(struct smtp_client *client, struct smtp_flight *flight)
{
    bool answered = flight->rcpt_answered == flight->rcpt_end;

    if (answered && flight->accepted == 0) {
        client->reset_due = flight->opened;
        smtp_client_finish(client, flight);
        return true;
    }
    if (!answered && !may_guess(client, flight)) {
        return false;
    }
    if (smtp_client_chunks(client)) {
        smtp_client_write(client, PN_STR("BDAT "));
        put_u64(&client->output, flight->mail->size_octets);
        smtp_client_write(client, PN_STR(" LAST\r\n"));
        flight->step = FLIGHT_TEXT;
        flight->text_left = flight->mail->size_octets;
        client->text_waits = true;
        client->reset_due = true;
    } else {
        smtp_client_write(client, PN_STR("DATA\r\n"));
        smtp_client_expect(client, EXPECT_DATA, flight, 1);
        flight->step = FLIGHT_DATA;
    }
    return true;
}

/* A session with a client of its own has said who that is. */
static bool names(const struct smtp_client *client, const struct smtp_client_mail *mail)
{
    return mail->identity && client->helo.len == 0 &&
           smtp_client_can(client, SMTP_CAP_XFORWARD);
}

/* Does the next thing for the mail that is being sent; false: it has to wait. */
static bool push(struct smtp_client *client, struct smtp_flight *flight)
{
    switch (flight->step) {
    case FLIGHT_WAITING:
        if (client->reset_due) {
            smtp_client_command(client, PN_STR("RSET\r\n"), EXPECT_RSET);
            client->reset_due = false;
        } else {
            flight->step = FLIGHT_NAMING;
        }
        return true;
    case FLIGHT_NAMING:
        if (names(client, flight->mail) &&
            smtp_client_put_xforward(client, flight->mail->identity, &flight->named,
                                     &client->output)) {
            smtp_client_expect(client, EXPECT_XFORWARD, flight, 1);
        } else {
            smtp_client_put_mail(client, flight->mail, &client->output);
            smtp_client_expect(client, EXPECT_MAIL, flight, 1);
            flight->step = FLIGHT_RCPT;
        }
        return true;
    case FLIGHT_RCPT:
        if (flight->rcpt_sent < flight->rcpt_end) {
            write_rcpt(client, flight);
            return true;
        }
        return begin_text(client, flight);
    case FLIGHT_DATA:
    case FLIGHT_TEXT:
        return false;
    case FLIGHT_SENT:
        client->sending = flight->next;
        return true;
    }
    return false;
}

static bool may_write(const struct smtp_client *client)
{
    return smtp_client_can(client, SMTP_CAP_PIPELINING)
               ? client->output.len < SMTP_CLIENT_OUTPUT_ENOUGH
               : client->expect_count == 0;
}

void smtp_client_advance(struct smtp_client *client)
{
    while ((client->state == CLIENT_READY || client->state == CLIENT_LEAVING) &&
           client->sending && may_write(client) && push(client, client->sending)) {
    }
    if (client->state == CLIENT_LEAVING && !client->flights && client->expect_count == 0 &&
        client->live != LIVE_TEXT) {
        smtp_client_command(client, PN_STR("QUIT\r\n"), EXPECT_QUIT);
    }
}

/* ---- mails, from the owner ---- */

static bool is_unfit(struct pn_str s)
{
    return pn_str_has_control(s);
}

/* Nothing from a record may end a command line early, whatever has become of the record. */
static bool has_unfit(const struct smtp_client_mail *mail)
{
    if (is_unfit(mail->sender) || is_unfit(mail->envid)) {
        return true;
    }
    for (size_t i = 0; i < mail->recipient_count; i++) {
        if (is_unfit(mail->recipients[i].address) || is_unfit(mail->recipients[i].orcpt)) {
            return true;
        }
    }
    return false;
}

bool smtp_client_refuse_here(const struct smtp_client *client,
                             const struct smtp_client_mail *mail, struct smtp_reply *out)
{
    if (has_unfit(mail)) {
        smtp_reply_set(out, 553, "5.1.3", "An address with control characters is not sent");
    } else if (needs_utf8(mail) && !smtp_client_can(client, SMTP_CAP_SMTPUTF8)) {
        smtp_reply_set(out, 550, "5.6.7", "The next hop does not offer SMTPUTF8");
    } else if (client->size_limit > 0 && mail->size_octets > client->size_limit &&
               smtp_client_can(client, SMTP_CAP_SIZE)) {
        smtp_reply_set(out, 552, "5.3.4", "The next hop takes no more than %llu octets",
                       (unsigned long long)client->size_limit);
    } else {
        return false;
    }
    return true;
}

bool smtp_client_wants_mail(const struct smtp_client *client)
{
    return client->state == CLIENT_READY && client->live == LIVE_NONE &&
           (client->flight_count == 0 || (client->flight_count < smtp_client_window(client) &&
                                          client->flight_octets < client->window_octets));
}

void smtp_client_mail(struct smtp_client *client, struct smtp_client_mail *mail)
{
    struct smtp_flight *flight = PN_NEW(struct smtp_flight);
    struct smtp_flight **end = &client->flights;
    struct smtp_reply reply;

    pn_assert(smtp_client_wants_mail(client) && mail->recipient_count > 0);
    mail->last_octet_sent = false;
    for (size_t i = 0; i < mail->recipient_count; i++) {
        mail->replies[i] = (struct smtp_reply){0};
    }
    flight->mail = mail;
    flight->rcpt_end = mail->recipient_count;
    while (*end) {
        end = &(*end)->next;
    }
    *end = flight;
    client->flight_count++;
    client->flight_octets += mail->size_octets;
    if (smtp_client_refuse_here(client, mail, &reply)) {
        smtp_client_answer_open(mail, &reply);
        smtp_client_finish(client, flight);
        return;
    }
    if (!client->sending) {
        client->sending = flight;
    }
    smtp_client_advance(client);
}

void smtp_client_stuff(struct smtp_client *client, struct pn_str text, bool last)
{
    pn_assert(smtp_stuffer_feed(&client->stuffer, text, &client->output) == text.len);
    if (last) {
        pn_assert(smtp_stuffer_finish(&client->stuffer, &client->output) == 0);
    }
}

void smtp_client_text(struct smtp_client *client, struct pn_str text, bool last)
{
    struct smtp_flight *flight = client->sending;

    if (client->state == CLIENT_OVER) {
        return;
    }
    pn_assert(flight && flight->step == FLIGHT_TEXT && !client->text_waits);
    pn_assert(text.len <= flight->text_left);
    flight->text_left -= text.len;
    pn_assert(!last || flight->text_left == 0);
    if (smtp_client_chunks(client)) {
        smtp_client_write(client, text);
    } else {
        smtp_client_stuff(client, text, last);
    }
    if (last) {
        flight->mail->last_octet_sent = true;
        flight->step = FLIGHT_SENT;
        smtp_client_expect(client, EXPECT_END, flight,
                           client->options.lmtp ? flight->accepted : 1);
        client->sending = flight->next;
        smtp_client_advance(client);
    }
}
