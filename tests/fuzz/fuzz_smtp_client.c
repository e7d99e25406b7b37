// links: smtp mail base
/*
 * fuzz_smtp_client.c - a hostile server: however its octets are cut, the client says and
 * reports the same.
 *
 * The first two octets choose the options and the cut; the rest is what the server says. Who
 * does not ask for TLS logs in where AUTH is offered, and says who the client is where
 * XCLIENT or XFORWARD is.
 */
#include "postern/smtp/client.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAILS = 4, RECIPIENTS = 2 };

struct owner {
    struct smtp_client *client;
    struct smtp_client_mail mails[MAILS];
    struct smtp_reply replies[MAILS][RECIPIENTS];
    size_t handed, done;
    bool ready, check, tls, login, named;
    struct pn_buf trace;
};

static const struct mail_recipient recipients[RECIPIENTS] = {
    {.address = {"a@b.example", 11}, .notify = MAIL_NOTIFY_DELAY},
    {.address = {"b@b.example", 11}},
};
static const struct smtp_identity identity = {.name = {"client.example", 14},
                                              .helo = {"he lo", 5},
                                              .protocol = {"ESMTPS", 6},
                                              .ident = {"0A1B", 4}};
static const struct pn_str text = {".\r\n..dots\r\nhi\r\n", 15};

static void put(struct owner *o, struct pn_str s)
{
    pn_assert(pn_buf_append(&o->trace, s) == 0);
}

static void put_output(struct owner *o)
{
    struct pn_buf *output = smtp_client_output(o->client);

    put(o, pn_buf_str(output));
    pn_buf_consume(output, output->len);
}

static void put_reply(struct owner *o, const struct smtp_reply *reply)
{
    pn_assert(reply->code == 0 || (reply->code >= 200 && reply->code <= 599));
    pn_assert(pn_str_is_utf8(pn_str_z(reply->text)));
    for (const char *c = reply->text; *c; c++) {
        pn_assert(*c == '\n' || !pn_is_control(*c));
    }
    pn_assert(
        pn_buf_printf(&o->trace, "[%d %s %s]", reply->code, reply->enhanced, reply->text) == 0);
}

static void begin(struct owner *o, unsigned bits)
{
    struct smtp_client_options options = {.hostname = PN_STR("me.example"),
                                          .lmtp = bits & 1,
                                          .window_mails = bits & 2 ? 1 : 3,
                                          .window_octets = bits & 4 ? 10 : 100,
                                          .window_mails_max = bits & 32 ? 4 : 0,
                                          .window_octets_max = bits & 32 ? 1000 : 0,
                                          .quirks = bits >> 6};

    o->client = smtp_client_new(&options);
    o->check = bits & 8;
    o->tls = bits & 16;
    o->login = !o->tls;
    pn_buf_init(&o->trace, 16u << 20);
    for (size_t i = 0; i < MAILS; i++) {
        o->mails[i] =
            (struct smtp_client_mail){.sender = PN_STR("s@a.example"),
                                      .recipients = recipients,
                                      .recipient_count = i % 2 ? 1 : RECIPIENTS,
                                      .size_octets = text.len,
                                      .flags = i == 3 ? MAIL_UTF8_ADDRESS : MAIL_8BITMIME,
                                      .identity = i % 2 ? &identity : NULL,
                                      .replies = o->replies[i]};
    }
}

static void go(struct owner *o)
{
    unsigned offered = smtp_client_capabilities(o->client);

    smtp_client_go(o->client);
    if (offered & SMTP_CAP_XCLIENT) {
        smtp_client_xclient(o->client, &identity);
        o->named = true;
    } else if (offered & SMTP_CAP_XFORWARD && o->login) {
        smtp_client_xforward(o->client, &identity);
        o->named = true;
    } else if (o->check) {
        smtp_client_check(o->client);
    } else {
        o->ready = true;
    }
}

static void take(struct owner *o, const struct smtp_client_event *event)
{
    pn_assert(pn_buf_printf(&o->trace, "(%d %s %d", (int)event->kind,
                            event->stage ? event->stage : "", event->busy) == 0);
    put_reply(o, &event->reply);
    switch (event->kind) {
    case SMTP_CLIENT_EV_EHLO:
        put(o, smtp_client_ehlo_lines(o->client));
        if (o->tls) {
            o->tls = false;
            smtp_client_starttls(o->client);
            break;
        }
        if (o->login && smtp_client_capabilities(o->client) & SMTP_CAP_AUTH) {
            smtp_client_auth(o->client, PN_STR("LOGIN"), PN_STR(""));
            break;
        }
        go(o);
        break;
    case SMTP_CLIENT_EV_TLS:
        smtp_client_secured(o->client);
        break;
    case SMTP_CLIENT_EV_NO_TLS:
        go(o);
        break;
    case SMTP_CLIENT_EV_CHECKED:
        o->ready = true;
        break;
    case SMTP_CLIENT_EV_TEXT:
        smtp_client_text(o->client, pn_str_sub(text, 0, 4), false);
        smtp_client_text(o->client, pn_str_sub(text, 4, SIZE_MAX), true);
        break;
    case SMTP_CLIENT_EV_DONE:
        for (size_t i = 0; i < event->mail->recipient_count; i++) {
            pn_assert(event->mail->replies[i].code != 0);
            put_reply(o, &event->mail->replies[i]);
        }
        if (++o->done == MAILS) {
            smtp_client_quit(o->client);
        }
        break;
    case SMTP_CLIENT_EV_LIVE: /* nothing live is asked */
        pn_assert(false);
        break;
    case SMTP_CLIENT_EV_CHALLENGE:
        put(o, event->challenge);
        smtp_client_auth_answer(o->client, PN_STR("dQ=="));
        break;
    case SMTP_CLIENT_EV_AUTH:
        go(o);
        break;
    case SMTP_CLIENT_EV_IDENTIFIED:
        pn_assert(o->named);
        o->ready = true;
        break;
    case SMTP_CLIENT_EV_FAILED:
    case SMTP_CLIENT_EV_QUIT:
        o->ready = false;
        break;
    }
}

static bool hand_in(struct owner *o)
{
    size_t before = o->handed;

    while (o->ready && o->handed < MAILS && smtp_client_wants_mail(o->client)) {
        smtp_client_mail(o->client, &o->mails[o->handed++]);
    }
    return o->handed > before;
}

static void feed(struct owner *o, struct pn_str data)
{
    struct smtp_client_event event;
    size_t taken;

    do {
        taken = smtp_client_feed(o->client, data);
        data = pn_str_sub(data, taken, SIZE_MAX);
        do {
            put_output(o);
            while (smtp_client_next(o->client, &event)) {
                take(o, &event);
                put_output(o);
            }
        } while (hand_in(o));
    } while (taken > 0 && data.len > 0);
}

static void end(struct owner *o)
{
    smtp_client_free(&o->client);
    pn_buf_fini(&o->trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct owner whole = {0};
    struct owner cut = {0};
    struct pn_str said = {(const char *)data + 2, size - 2};
    size_t split;

    if (size < 2) {
        return 0;
    }
    split = said.len * data[1] / 256;
    begin(&whole, data[0]);
    begin(&cut, data[0]);
    feed(&whole, said);
    feed(&cut, pn_str_sub(said, 0, split));
    feed(&cut, pn_str_sub(said, split, SIZE_MAX));
    pn_assert(pn_str_eq(pn_buf_str(&whole.trace), pn_buf_str(&cut.trace)));
    end(&whole);
    end(&cut);
    return 0;
}
