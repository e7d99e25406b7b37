/*
 * client_auth.c - the client's half of AUTH (RFC 4954): lines of base64 to and fro.
 *
 * What the lines mean is the mechanism's business, which is the caller's. Between EHLO and
 * the first mail, one exchange at a time; what went over the line is wiped from the output's
 * memory when the exchange has ended.
 */
#include "client_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

void smtp_client_auth(struct smtp_client *client, struct pn_str mechanism,
                      struct pn_str initial)
{
    pn_assert(client->state == CLIENT_CAPABLE);
    smtp_client_write(client, PN_STR("AUTH "));
    smtp_client_write(client, mechanism);
    if (initial.len > 0) {
        smtp_client_write(client, PN_STR(" "));
        smtp_client_write(client, initial);
    }
    smtp_client_command(client, PN_STR("\r\n"), EXPECT_AUTH);
    client->state = CLIENT_AUTH;
}

void smtp_client_auth_answer(struct smtp_client *client, struct pn_str answer)
{
    pn_assert(client->state == CLIENT_AUTH && client->expect_count == 0);
    smtp_client_write(client, answer);
    smtp_client_command(client, PN_STR("\r\n"), EXPECT_AUTH);
}

bool smtp_client_in_auth(const struct smtp_client *client)
{
    return client->state == CLIENT_AUTH;
}

static void wipe_output(struct smtp_client *client)
{
    if (client->output.data && client->output.len == 0) {
        pn_wipe(client->output.data, client->output.cap);
    }
}

void smtp_client_on_auth(struct smtp_client *client, struct smtp_flight *flight,
                         const struct smtp_reply *reply)
{
    (void)flight;
    if (reply->code == 334) {
        smtp_client_note(client, SMTP_CLIENT_EV_CHALLENGE, reply);
    } else if (smtp_reply_ok(reply) || reply->code >= 400) {
        wipe_output(client);
        client->state = CLIENT_CAPABLE;
        smtp_client_note(client, SMTP_CLIENT_EV_AUTH, reply);
    } else {
        smtp_client_fail_code(client, "AUTH", reply);
    }
}
