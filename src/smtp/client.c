/*
 * client.c - the client's half of an SMTP or LMTP conversation: what comes in.
 *
 * The session is one enum. Each command written leaves an expectation in a queue, and each
 * reply takes the oldest one and runs its function; a reply nobody expects ends the
 * session. A mail's commands go out by client_send.c, which every reply and every call of
 * the owner's sets going again: there is no other place that decides what is sent next.
 *
 * A recipient that was accepted keeps code 0 until the text has its reply. So whatever
 * happens to the session, a 2xx in a mail's replies means that the server took the mail.
 *
 * Events are not queued but read off what has happened: mails that are done, at most one
 * live reply, one note, and one text wanted. Nothing more is read from the server while one
 * waits.
 */
#include "client_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define GREETING_MAX 256
#define HELO_MAX     1024

static smtp_answer_fn on_greeting, on_ehlo, on_helo, on_starttls, on_mail, on_rcpt, on_data,
    on_end, on_dot, on_rset, on_check_mail, on_check_rset, on_quit;

/* What each expectation is called, and who takes its reply. */
static const struct {
    const char *stage;
    smtp_answer_fn *on_reply;
} answers[] = {
    [EXPECT_GREETING] = {"greeting", on_greeting},
    [EXPECT_EHLO] = {"EHLO", on_ehlo},
    [EXPECT_LHLO] = {"LHLO", on_ehlo},
    [EXPECT_HELO] = {"HELO", on_helo},
    [EXPECT_STARTTLS] = {"STARTTLS", on_starttls},
    [EXPECT_AUTH] = {"AUTH", smtp_client_on_auth},
    [EXPECT_XCLIENT] = {"XCLIENT", smtp_client_on_xclient},
    [EXPECT_XFORWARD] = {"XFORWARD", smtp_client_on_xforward},
    [EXPECT_MAIL] = {"MAIL FROM", on_mail},
    [EXPECT_RCPT] = {"RCPT TO", on_rcpt},
    [EXPECT_DATA] = {"DATA", on_data},
    [EXPECT_END] = {"end of data", on_end},
    [EXPECT_DOT] = {"end of data", on_dot},
    [EXPECT_RSET] = {"RSET", on_rset},
    [EXPECT_CHECK_MAIL] = {"MAIL FROM", on_check_mail},
    [EXPECT_CHECK_RSET] = {"RSET", on_check_rset},
    [EXPECT_LIVE_MAIL] = {"MAIL FROM", smtp_client_on_live_mail},
    [EXPECT_LIVE_RCPT] = {"RCPT TO", smtp_client_on_live_rcpt},
    [EXPECT_LIVE_DATA] = {"DATA", smtp_client_on_live_data},
    [EXPECT_LIVE_END] = {"end of data", smtp_client_on_live_end},
    [EXPECT_LIVE_RSET] = {"RSET", smtp_client_on_live_rset},
    [EXPECT_LIVE_XFORWARD] = {"XFORWARD", smtp_client_on_live_xforward},
    [EXPECT_QUIT] = {"QUIT", on_quit},
};

struct smtp_client *smtp_client_new(const struct smtp_client_options *options)
{
    struct smtp_client *client = PN_NEW(struct smtp_client);

    client->options = *options;
    smtp_reader_init(&client->reader);
    pn_buf_init(&client->output, SMTP_CLIENT_OUTPUT_MAX);
    pn_buf_init(&client->greeting, GREETING_MAX);
    pn_buf_init(&client->ehlo_lines, SMTP_READER_TEXT_MAX);
    pn_buf_init(&client->held, SMTP_CLIENT_OUTPUT_MAX);
    pn_buf_init(&client->helo, HELO_MAX);
    smtp_client_window_init(client);
    smtp_client_expect(client, EXPECT_GREETING, NULL, 1);
    return client;
}

static void free_flights(struct smtp_flight *flight)
{
    while (flight) {
        struct smtp_flight *next = flight->next;

        free(flight);
        flight = next;
    }
}

void smtp_client_free(struct smtp_client **client)
{
    struct smtp_client *c = *client;

    if (!c) {
        return;
    }
    free_flights(c->flights);
    free_flights(c->done);
    free(c->expects);
    smtp_reader_fini(&c->reader);
    pn_buf_fini(&c->output);
    pn_buf_fini(&c->greeting);
    pn_buf_fini(&c->ehlo_lines);
    pn_buf_fini(&c->held);
    pn_buf_fini(&c->helo);
    free(c);
    *client = NULL;
}

/* ---- the queue of expectations ---- */

static void grow_expects(struct smtp_client *client)
{
    size_t cap = client->expect_cap ? client->expect_cap * 2 : 8;
    struct smtp_expect *expects = pn_alloc_array(cap, sizeof *expects);

    for (size_t i = 0; i < client->expect_count; i++) {
        expects[i] = client->expects[(client->expect_first + i) % client->expect_cap];
    }
    free(client->expects);
    client->expects = expects;
    client->expect_first = 0;
    client->expect_cap = cap;
}

void smtp_client_expect(struct smtp_client *client, enum smtp_expect_kind kind,
                        struct smtp_flight *flight, size_t count)
{
    struct smtp_expect *last = NULL;
    bool together = client->expect_count > 0 && client->held.len == 0;

    if (client->expect_count > 0) {
        last = &client->expects[(client->expect_first + client->expect_count - 1) %
                                client->expect_cap];
        last->together = last->together || together;
    }
    if (last && last->kind == EXPECT_RCPT && kind == EXPECT_RCPT && last->flight == flight) {
        last->count += count;
        return;
    }
    if (client->expect_count == client->expect_cap) {
        grow_expects(client);
    }
    client->expects[(client->expect_first + client->expect_count++) % client->expect_cap] =
        (struct smtp_expect){
            .kind = kind, .flight = flight, .count = count, .together = together};
}

static struct smtp_expect take_expect(struct smtp_client *client)
{
    struct smtp_expect *first = &client->expects[client->expect_first];
    struct smtp_expect taken = *first;

    if (--first->count == 0) {
        client->expect_first = (client->expect_first + 1) % client->expect_cap;
        client->expect_count--;
    }
    return taken;
}

const char *smtp_client_awaits(const struct smtp_client *client)
{
    return client->expect_count > 0 ? answers[client->expects[client->expect_first].kind].stage
                                    : NULL;
}

bool smtp_client_awaits_final(const struct smtp_client *client)
{
    enum smtp_expect_kind kind;

    if (client->expect_count == 0) {
        return false;
    }
    kind = client->expects[client->expect_first].kind;
    return kind == EXPECT_END || kind == EXPECT_DOT || kind == EXPECT_LIVE_END;
}

uint64_t smtp_client_replies(const struct smtp_client *client)
{
    return client->replies;
}

/* ---- what has happened ---- */

void smtp_client_note(struct smtp_client *client, enum smtp_client_event_kind kind,
                      const struct smtp_reply *reply)
{
    pn_assert(!client->note_waits);
    client->note = kind;
    client->note_waits = true;
    client->note_reply = *reply;
    client->note_stage = NULL;
    client->note_busy = false;
    client->note_quirks = 0;
}

static bool text_under_way(const struct smtp_client *client)
{
    for (const struct smtp_flight *f = client->flights; f; f = f->next) {
        if (f->step == FLIGHT_TEXT || f->step == FLIGHT_SENT) {
            return true;
        }
    }
    return client->live == LIVE_TEXT || client->live == LIVE_SENT;
}

/* What is under way when no reply is awaited. */
static const char *quiet_stage(const struct smtp_client *client)
{
    return client->sending || client->live == LIVE_TEXT ? "message text"
           : client->live == LIVE_OPEN                  ? "transaction"
                                                        : "idle session";
}

void smtp_client_fail(struct smtp_client *client, const char *stage,
                      const struct smtp_reply *reply)
{
    smtp_client_note(client, SMTP_CLIENT_EV_FAILED, reply);
    client->note_stage = stage;
    client->note_busy = reply->code == 421 && !text_under_way(client);
    client->state = CLIENT_OVER;
}

/* What came cannot be trusted: code 0, and a text that says why. */
static void fail_junk(struct smtp_client *client, const char *stage, const char *why)
{
    struct smtp_reply reply = {0};

    snprintf(reply.text, sizeof reply.text, "%s", why);
    smtp_client_fail(client, stage, &reply);
}

void smtp_client_fail_code(struct smtp_client *client, const char *stage,
                           const struct smtp_reply *reply)
{
    char why[64];

    snprintf(why, sizeof why, "the code %d, which has no meaning there", reply->code);
    fail_junk(client, stage, why);
}

static void append_flight(struct smtp_flight **list, struct smtp_flight *flight)
{
    while (*list) {
        list = &(*list)->next;
    }
    flight->next = NULL;
    *list = flight;
}

void smtp_client_finish(struct smtp_client *client, struct smtp_flight *flight)
{
    struct smtp_flight **at = &client->flights;

    while (*at != flight) {
        at = &(*at)->next;
    }
    *at = flight->next;
    if (client->sending == flight) {
        client->sending = flight->next;
        client->text_waits = false;
    }
    client->flight_count--;
    client->flight_octets -= flight->mail->size_octets;
    smtp_client_window_learn(client, flight->mail);
    append_flight(&client->done, flight);
}

void smtp_client_answer_open(struct smtp_client_mail *mail, const struct smtp_reply *reply)
{
    for (size_t i = 0; i < mail->recipient_count; i++) {
        if (mail->replies[i].code == 0) {
            mail->replies[i] = *reply;
        }
    }
}

/* ---- replies, by what they answer ---- */

static int keep(struct pn_buf *out, struct pn_str s)
{
    pn_buf_clear(out);
    return pn_buf_append(out, s);
}

static void on_greeting(struct smtp_client *client, struct smtp_flight *flight,
                        const struct smtp_reply *reply)
{
    struct pn_str text = pn_buf_str(&client->reader.text);
    struct pn_str line = pn_str_cut(&text, '\n');
    struct pn_str name = pn_str_cut(&line, ' ');

    (void)flight;
    if (reply->code >= 400) {
        smtp_client_fail(client, "greeting", reply);
    } else if (!smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "greeting", reply);
    } else {
        pn_assert(keep(&client->greeting, pn_str_sub(name, 0, GREETING_MAX)) == 0);
        smtp_client_hello(client, client->options.lmtp ? EXPECT_LHLO : EXPECT_EHLO);
    }
}

static void become_capable(struct smtp_client *client, unsigned capabilities,
                           const struct smtp_reply *reply)
{
    bool again = client->state == CLIENT_REHELLO;

    client->capabilities = capabilities & ~client->options.capabilities_off &
                           ~smtp_quirks_forbid(client->options.quirks);
    pn_assert(keep(&client->ehlo_lines, pn_buf_str(&client->reader.text)) == 0);
    client->state = again ? CLIENT_READY : CLIENT_CAPABLE;
    smtp_client_note(client, again ? SMTP_CLIENT_EV_IDENTIFIED : SMTP_CLIENT_EV_EHLO, reply);
}

static void on_ehlo(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    const char *stage = client->options.lmtp ? "LHLO" : "EHLO";

    (void)flight;
    if (reply->code == 250) {
        become_capable(client,
                       smtp_ehlo_parse(pn_buf_str(&client->reader.text), &client->size_limit),
                       reply);
    } else if (smtp_reply_refused(reply) && !client->options.lmtp) {
        smtp_client_hello(client, EXPECT_HELO);
    } else if (reply->code >= 400) {
        smtp_client_fail(client, stage, reply);
    } else {
        smtp_client_fail_code(client, stage, reply);
    }
}

static void on_helo(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    (void)flight;
    if (smtp_reply_ok(reply)) {
        client->size_limit = 0;
        become_capable(client, 0, reply);
    } else if (reply->code >= 400) {
        smtp_client_fail(client, "HELO", reply);
    } else {
        smtp_client_fail_code(client, "HELO", reply);
    }
}

static void on_starttls(struct smtp_client *client, struct smtp_flight *flight,
                        const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code == 220) {
        client->state = CLIENT_HANDSHAKE;
        smtp_client_note(client, SMTP_CLIENT_EV_TLS, reply);
    } else if (reply->code >= 400) {
        client->state = CLIENT_CAPABLE;
        smtp_client_note(client, SMTP_CLIENT_EV_NO_TLS, reply);
    } else {
        smtp_client_fail_code(client, "STARTTLS", reply);
    }
}

static void on_mail(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    if (smtp_reply_ok(reply)) {
        flight->opened = true;
    } else if (reply->code >= 400) {
        flight->rcpt_end = flight->rcpt_sent;
        smtp_client_answer_open(flight->mail, reply);
    } else {
        smtp_client_fail_code(client, "MAIL FROM", reply);
    }
}

/* After a MAIL that was refused every recipient has its reply already, and this is noise. */
static void on_rcpt(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    struct smtp_reply *own = &flight->mail->replies[flight->rcpt_answered++];

    if (reply->code < 400 && !smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "RCPT TO", reply);
    } else if (own->code == 0 && smtp_reply_ok(reply)) {
        flight->accepted++;
    } else if (own->code == 0) {
        *own = *reply;
    }
}

/*
 * A server that wants text although it refused every recipient gets an empty one: only so
 * does it come back in step. After a refusal it may keep the transaction open (Postfix and
 * Exim do).
 */
static void on_data(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    if (smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "DATA", reply);
    } else if (reply->code >= 400) {
        smtp_client_answer_open(flight->mail, reply);
        client->reset_due = true;
        smtp_client_finish(client, flight);
    } else if (flight->accepted > 0) {
        flight->step = FLIGHT_TEXT;
        flight->text_left = flight->mail->size_octets;
        client->text_waits = true;
        smtp_stuffer_init(&client->stuffer);
    } else {
        smtp_client_write(client, PN_STR(".\r\n"));
        smtp_client_expect(client, EXPECT_DOT, flight, 1);
        flight->step = FLIGHT_SENT;
    }
}

/* LMTP: the recipients that were accepted have their replies one after the other. */
static bool end_lmtp(struct smtp_flight *flight, const struct smtp_reply *reply)
{
    struct smtp_client_mail *mail = flight->mail;

    while (mail->replies[flight->ended].code != 0) {
        flight->ended++;
    }
    mail->replies[flight->ended] = *reply;
    return --flight->accepted == 0;
}

static void on_end(struct smtp_client *client, struct smtp_flight *flight,
                   const struct smtp_reply *reply)
{
    bool last = flight->next == client->sending &&
                (!client->sending || client->sending->step == FLIGHT_WAITING);

    if (reply->code < 400 && !smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "end of data", reply);
        return;
    }
    if (!client->options.lmtp) {
        smtp_client_answer_open(flight->mail, reply);
    } else if (!end_lmtp(flight, reply)) {
        return;
    }
    if (smtp_reply_ok(reply) && last) {
        client->reset_due = false;
    }
    client->chunk_taken = client->chunk_taken || smtp_reply_ok(reply);
    smtp_client_finish(client, flight);
}

static void on_dot(struct smtp_client *client, struct smtp_flight *flight,
                   const struct smtp_reply *reply)
{
    (void)reply;
    smtp_client_finish(client, flight);
}

void smtp_client_write_held(struct smtp_client *client)
{
    struct pn_str held = pn_buf_str(&client->held);
    struct pn_str line = pn_str_sub(held, 0, pn_str_find(held, '\n') + 1);

    smtp_client_write(client, line);
    pn_buf_consume(&client->held, line.len);
}

static void on_rset(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    (void)flight;
    if (!smtp_reply_ok(reply)) {
        smtp_client_fail(client, "RSET", reply);
    } else {
        smtp_client_write_held(client);
    }
}

static void on_check_mail(struct smtp_client *client, struct smtp_flight *flight,
                          const struct smtp_reply *reply)
{
    (void)flight;
    if (smtp_reply_ok(reply)) {
        client->check_reply = *reply;
        smtp_client_command(client, PN_STR("RSET\r\n"), EXPECT_CHECK_RSET);
    } else if (reply->code >= 400) {
        smtp_client_note(client, SMTP_CLIENT_EV_CHECKED, reply);
    } else {
        smtp_client_fail_code(client, "MAIL FROM", reply);
    }
}

static void on_check_rset(struct smtp_client *client, struct smtp_flight *flight,
                          const struct smtp_reply *reply)
{
    (void)flight;
    if (smtp_reply_ok(reply)) {
        smtp_client_note(client, SMTP_CLIENT_EV_CHECKED, &client->check_reply);
    } else {
        smtp_client_fail(client, "RSET", reply);
    }
}

static void on_quit(struct smtp_client *client, struct smtp_flight *flight,
                    const struct smtp_reply *reply)
{
    (void)flight;
    client->state = CLIENT_OVER;
    smtp_client_note(client, SMTP_CLIENT_EV_QUIT, reply);
}

/*
 * A reply that no command asked for. While a text goes out it can only be about that text,
 * and a refusal counts: the server cannot have taken what it has not seen the end of. But
 * the text cannot be ended any more, so the session is over all the same.
 */
static void on_unasked(struct smtp_client *client, const struct smtp_reply *reply)
{
    struct smtp_flight *flight = client->sending;
    const char *stage = quiet_stage(client);

    if (reply->code == 421) {
        smtp_client_fail(client, stage, reply);
    } else if (flight && flight->step == FLIGHT_TEXT && reply->code >= 400) {
        if (smtp_client_finds_out_early(client, stage, reply)) {
            return;
        }
        smtp_client_answer_open(flight->mail, reply);
        smtp_client_finish(client, flight);
        smtp_client_fail(client, stage, reply);
    } else {
        fail_junk(client, stage, "a reply that nothing asked for");
    }
}

/*
 * 421 ends the session whatever it answers; to a text it is the answer as well. Replies come
 * in order, so the server has not looked at what stands behind the command it answers: no
 * later mail is in doubt. For LMTP the mail itself is, if recipients are left.
 */
static void on_closing(struct smtp_client *client, const struct smtp_expect *expect,
                       const struct smtp_reply *reply)
{
    if (expect->kind == EXPECT_END) {
        on_end(client, expect->flight, reply);
    } else if (expect->kind >= EXPECT_LIVE_MAIL && expect->kind <= EXPECT_LIVE_RSET) {
        smtp_client_live_closing(client, expect->count == 1, reply);
    }
    for (struct smtp_flight *f = client->flights; f; f = f->next) {
        if (expect->kind != EXPECT_END || f != expect->flight) {
            f->mail->last_octet_sent = false;
        }
    }
    smtp_client_fail(client, answers[expect->kind].stage, reply);
}

static void on_reply(struct smtp_client *client)
{
    struct smtp_reply reply;
    struct smtp_expect expect;

    smtp_reader_get(&client->reader, &reply);
    client->replies++;
    if (client->expect_count == 0) {
        on_unasked(client, &reply);
        return;
    }
    expect = take_expect(client);
    if (reply.code == 421 && expect.kind != EXPECT_QUIT) {
        on_closing(client, &expect, &reply);
    } else if (!smtp_client_finds_out(client, &expect, answers[expect.kind].stage, &reply)) {
        answers[expect.kind].on_reply(client, expect.flight, &reply);
        smtp_client_advance(client);
    }
}

/* ---- in and out ---- */

static bool listens(const struct smtp_client *client)
{
    return !client->done && !client->note_waits && !client->text_waits && !client->live_waits &&
           client->state != CLIENT_HANDSHAKE && client->state != CLIENT_OVER;
}

size_t smtp_client_feed(struct smtp_client *client, struct pn_str data)
{
    size_t taken = 0;

    while (taken < data.len && listens(client)) {
        enum smtp_reader_result result;
        const char *stage = smtp_client_awaits(client);

        taken += smtp_reader_feed(&client->reader, pn_str_sub(data, taken, SIZE_MAX), &result);
        if (result == SMTP_READER_REPLY) {
            on_reply(client);
        } else if (result == SMTP_READER_JUNK) {
            fail_junk(client, stage ? stage : quiet_stage(client), client->reader.junk);
        }
    }
    return taken;
}

bool smtp_client_next(struct smtp_client *client, struct smtp_client_event *out_event)
{
    struct smtp_flight *done = client->done;

    if (done) {
        *out_event =
            (struct smtp_client_event){.kind = SMTP_CLIENT_EV_DONE, .mail = done->mail};
        client->done = done->next;
        free(done);
        return true;
    }
    if (client->live_waits) {
        client->live_waits = false;
        *out_event = (struct smtp_client_event){.kind = SMTP_CLIENT_EV_LIVE,
                                                .reply = client->live_reply};
        return true;
    }
    if (client->note_waits) {
        client->note_waits = false;
        *out_event = (struct smtp_client_event){.kind = client->note,
                                                .reply = client->note_reply,
                                                .stage = client->note_stage,
                                                .busy = client->note_busy,
                                                .quirks = client->note_quirks};
        if (client->note == SMTP_CLIENT_EV_CHALLENGE) {
            out_event->challenge = pn_str_trim(pn_buf_str(&client->reader.text));
        }
        return true;
    }
    if (client->text_waits && client->state != CLIENT_OVER) {
        client->text_waits = false;
        *out_event = (struct smtp_client_event){.kind = SMTP_CLIENT_EV_TEXT,
                                                .mail = client->sending->mail};
        return true;
    }
    return false;
}

struct pn_buf *smtp_client_output(struct smtp_client *client)
{
    smtp_client_advance(client);
    return &client->output;
}

unsigned smtp_client_capabilities(const struct smtp_client *client)
{
    return client->capabilities;
}

uint64_t smtp_client_size_limit(const struct smtp_client *client)
{
    return client->size_limit;
}

struct pn_str smtp_client_greeting(const struct smtp_client *client)
{
    return pn_buf_str(&client->greeting);
}

struct pn_str smtp_client_ehlo_lines(const struct smtp_client *client)
{
    return pn_buf_str(&client->ehlo_lines);
}

void smtp_client_secured(struct smtp_client *client)
{
    pn_assert(client->state == CLIENT_HANDSHAKE);
    smtp_reader_clear(&client->reader);
    client->capabilities = 0;
    client->size_limit = 0;
    pn_buf_clear(&client->ehlo_lines);
    smtp_client_hello(client, client->options.lmtp ? EXPECT_LHLO : EXPECT_EHLO);
}
