/*
 * client_identity.c - tells a server who gave us a mail: XCLIENT and XFORWARD, as Postfix
 * documents them.
 *
 * The server names the attributes that it takes, and gets no others. A value it would refuse
 * (a name that is no host name, one of more than 255 octets) is [UNAVAILABLE]: a refusal
 * would cost the mail its way. A command has at most 512 octets, so that what matters comes
 * first, and what does not fit is left out.
 *
 * XCLIENT's HELO is forgotten by the EHLO that must follow it, so that EHLO says the client's
 * name. LOGIN is told to be unavailable even when the client had none, because our own login
 * would stay otherwise, and with it the trust that is meant for us.
 */
#include "client_priv.h"

#include "postern/base/assert.h"

#include <stdio.h>

#define COMMAND_MAX 510 /* without its end */
#define VALUE_MAX   255
#define PROTO_MAX   64

static const struct pn_str unavailable = {"[UNAVAILABLE]", 13};

/* A command that is being written. */
struct command {
    struct pn_str offered; /* the words of the EHLO line */
    struct pn_buf *out;
    size_t start;        /* of it, in out */
    unsigned attributes; /* that it has */
};

struct smtp_identity smtp_identity_of(const struct mail_envelope *envelope)
{
    return (struct smtp_identity){.name = envelope->client_name,
                                  .client = envelope->client,
                                  .helo = envelope->helo,
                                  .protocol = envelope->protocol,
                                  .login = envelope->login};
}

bool smtp_identity_same(const struct smtp_identity *a, const struct smtp_identity *b)
{
    return pn_ip_eq(&a->client.ip, &b->client.ip) && pn_str_eq_nocase(a->name, b->name) &&
           pn_str_eq(a->helo, b->helo) && pn_str_eq(a->login, b->login);
}

bool smtp_words_have(struct pn_str words, const char *word)
{
    while (words.len > 0) {
        if (pn_str_eq_nocase(pn_str_cut(&words, ' '), pn_str_z(word))) {
            return true;
        }
    }
    return false;
}

/* ---- values ---- */

static int put_xtext(struct pn_buf *out, struct pn_str value)
{
    int status = 0;

    for (size_t i = 0; i < value.len && status == 0; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool plain = c > 0x20 && c < 0x7f && c != '+' && c != '=';

        status = plain ? pn_buf_append_char(out, (char)c) : pn_buf_printf(out, "+%02X", c);
    }
    return status;
}

static void put_attribute(struct command *command, const char *name, struct pn_str value)
{
    struct pn_buf text;

    if (!smtp_words_have(command->offered, name)) {
        return;
    }
    pn_buf_init(&text, COMMAND_MAX);
    pn_assert(pn_buf_printf(&text, " %s=", name) == 0);
    if (value.len > 0 && put_xtext(&text, value) == 0 &&
        command->out->len - command->start + text.len <= COMMAND_MAX) {
        pn_assert(pn_buf_append(command->out, pn_buf_str(&text)) == 0);
        command->attributes++;
    }
    pn_buf_fini(&text);
}

/* What servers take for a host name, which is more than the RFCs do: underscores. */
static bool is_host_name(struct pn_str name)
{
    size_t label = 0;
    bool letters = false;

    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool end = i + 1 == name.len || name.ptr[i + 1] == '.';

        if (c == '.') {
            label = 0;
        }
        if (c == '.' ? i == 0 || end
                     : ++label > 63 || (c == '-' && (label == 1 || end)) ||
                           (!pn_is_alnum(c) && c != '-' && c != '_')) {
            return false;
        }
        letters = letters || (c != '.' && !pn_is_digit(c));
    }
    return letters && name.len <= VALUE_MAX;
}

static struct pn_str host_name(struct pn_str name)
{
    return is_host_name(name) ? name : unavailable;
}

static struct pn_str at_most(struct pn_str value, size_t max)
{
    return value.len > 0 && value.len <= max ? value : unavailable;
}

static void put_address(struct command *command, const struct pn_ip *ip)
{
    char text[PN_IP_CHARS];
    char value[PN_IP_CHARS + 5];

    if (ip->family == PN_FAMILY_NONE) {
        put_attribute(command, "ADDR", unavailable);
        return;
    }
    snprintf(value, sizeof value, "%s%s", ip->family == PN_IPV6 ? "IPV6:" : "",
             pn_ip_format(ip, text));
    put_attribute(command, "ADDR", pn_str_z(value));
}

static void put_port(struct command *command, uint16_t port)
{
    char text[8];

    snprintf(text, sizeof text, "%u", (unsigned)port);
    put_attribute(command, "PORT", port > 0 ? pn_str_z(text) : unavailable);
}

/* ---- commands ---- */

static void begin(struct command *command, const struct smtp_client *client, const char *verb,
                  struct pn_buf *out)
{
    *command = (struct command){
        .offered = smtp_client_ehlo_words(client, verb), .out = out, .start = out->len};
    pn_assert(pn_buf_append_z(out, verb) == 0);
}

/* Postfix knows two protocols here, and refuses the command for any other. */
static void put_xclient(const struct smtp_client *client, const struct smtp_identity *identity,
                        struct pn_buf *out)
{
    bool plain = pn_str_starts_nocase(identity->protocol, PN_STR("SMTP"));
    struct command command;

    begin(&command, client, "XCLIENT", out);
    put_address(&command, &identity->client.ip);
    put_port(&command, identity->client.port);
    put_attribute(&command, "NAME", host_name(identity->name));
    put_attribute(&command, "PROTO", plain ? PN_STR("SMTP") : PN_STR("ESMTP"));
    put_attribute(&command, "LOGIN", at_most(identity->login, VALUE_MAX));
    put_attribute(&command, "HELO", at_most(identity->helo, VALUE_MAX));
    put_attribute(&command, "REVERSE_NAME", host_name(identity->name));
    pn_assert(pn_buf_append(out, PN_STR("\r\n")) == 0);
}

bool smtp_client_put_xforward(const struct smtp_client *client,
                              const struct smtp_identity *identity, size_t *at,
                              struct pn_buf *out)
{
    struct command command = {.attributes = 0};

    for (; *at < 2 && command.attributes == 0; (*at)++) {
        begin(&command, client, "XFORWARD", out);
        if (*at == 0) {
            put_address(&command, &identity->client.ip);
            put_port(&command, identity->client.port);
            put_attribute(&command, "NAME", host_name(identity->name));
        } else {
            put_attribute(&command, "PROTO", at_most(identity->protocol, PROTO_MAX));
            put_attribute(&command, "HELO", at_most(identity->helo, VALUE_MAX));
            put_attribute(&command, "IDENT", at_most(identity->ident, VALUE_MAX));
            put_attribute(&command, "SOURCE", PN_STR("REMOTE"));
        }
        if (command.attributes == 0) {
            pn_buf_truncate(out, command.start);
        }
    }
    if (command.attributes > 0) {
        pn_assert(pn_buf_append(out, PN_STR("\r\n")) == 0);
    }
    return command.attributes > 0;
}

/* ---- the session ---- */

static void keep_helo(struct smtp_client *client, struct pn_str helo)
{
    bool fit = helo.len > 0 && helo.len <= VALUE_MAX;

    for (size_t i = 0; i < helo.len; i++) {
        fit = fit && helo.ptr[i] > 0x20 && helo.ptr[i] < 0x7f;
    }
    pn_assert(pn_buf_append(&client->helo, fit ? helo : client->options.hostname) == 0);
}

/* A transaction that may be open is reset first: in the middle of one this is refused. */
static struct pn_buf *behind_reset(struct smtp_client *client)
{
    pn_assert(client->state == CLIENT_READY && !client->flights && client->live == LIVE_NONE &&
              client->expect_count == 0);
    if (!client->reset_due) {
        return &client->output;
    }
    smtp_client_command(client, PN_STR("RSET\r\n"), EXPECT_RSET);
    client->reset_due = false;
    return &client->held;
}

void smtp_client_xclient(struct smtp_client *client, const struct smtp_identity *identity)
{
    put_xclient(client, identity, behind_reset(client));
    keep_helo(client, identity->helo);
    smtp_client_expect(client, EXPECT_XCLIENT, NULL, 1);
    client->state = CLIENT_XCLIENT;
}

void smtp_client_on_xclient(struct smtp_client *client, struct smtp_flight *flight,
                            const struct smtp_reply *reply)
{
    (void)flight;
    if (smtp_reply_ok(reply)) {
        smtp_client_hello(client, client->options.lmtp ? EXPECT_LHLO : EXPECT_EHLO);
    } else if (reply->code >= 400) {
        smtp_client_fail(client, "XCLIENT", reply);
    } else {
        smtp_client_fail_code(client, "XCLIENT", reply);
    }
}

/* Live commands go one by one, these too: the second line waits for the first one's reply. */
void smtp_client_xforward(struct smtp_client *client, const struct smtp_identity *identity)
{
    struct smtp_reply nothing = {.code = 250};
    struct pn_buf *out = behind_reset(client);
    size_t at = 0;
    size_t lines = 0;

    while (smtp_client_put_xforward(client, identity, &at, out)) {
        lines++;
        out = &client->held;
    }
    if (lines > 0) {
        smtp_client_expect(client, EXPECT_LIVE_XFORWARD, NULL, lines);
    } else {
        smtp_client_note(client, SMTP_CLIENT_EV_IDENTIFIED, &nothing);
    }
}

/* The mail's way does not depend on it. Who refuses it once is not asked again. */
void smtp_client_on_xforward(struct smtp_client *client, struct smtp_flight *flight,
                             const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code >= 400) {
        client->capabilities &= ~(unsigned)SMTP_CAP_XFORWARD;
    } else if (!smtp_reply_ok(reply)) {
        smtp_client_fail_code(client, "XFORWARD", reply);
    }
}

void smtp_client_on_live_xforward(struct smtp_client *client, struct smtp_flight *flight,
                                  const struct smtp_reply *reply)
{
    smtp_client_on_xforward(client, flight, reply);
    if (client->state == CLIENT_OVER) {
        return;
    }
    if (client->expect_count > 0) {
        smtp_client_write_held(client);
    } else {
        smtp_client_note(client, SMTP_CLIENT_EV_IDENTIFIED, reply);
    }
}
