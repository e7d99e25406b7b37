/*
 * client_quirk.c - servers that do not keep to what they announce, and the window.
 *
 * A server that answers fewer commands than it was sent makes every later reply the answer
 * to something else. So each reply to commands sent together is looked at: does it fit at
 * all? One that cannot be the answer (354 to RCPT, 250 to DATA, "2.1.0", which is MAIL's, to
 * a text), or that speaks of pipelining itself, ends the session before anything is taken
 * from it. What it would have said of the mails stays unsaid, and they are sent again.
 *
 * A server that announces CHUNKING and does not know BDAT takes the text for commands. Its
 * refusal says nothing of the mail, nor has it taken this one or any behind it. Only the
 * first BDAT of a session can show this: who has taken one knows it.
 *
 * The window doubles when as many mails as it holds were taken, and halves by a 4xx, once for
 * all the mails that were under way then: what TCP does, for the same reasons.
 */
#include "client_priv.h"

#include <stdio.h>

/* ---- what does not fit ---- */

static bool mentions(struct pn_str text, struct pn_str word)
{
    for (size_t i = 0; i + word.len <= text.len; i++) {
        if (pn_str_eq_nocase(pn_str_sub(text, i, word.len), word)) {
            return true;
        }
    }
    return false;
}

/* "503 5.5.0 improper use of SMTP command pipelining", "554 SMTP synchronization error" */
static bool speaks_of_pipelining(const struct smtp_reply *reply)
{
    struct pn_str text = pn_str_z(reply->text);

    return smtp_reply_refused(reply) &&
           (mentions(text, PN_STR("pipelining")) || mentions(text, PN_STR("synchronization")) ||
            mentions(text, PN_STR("synchronisation")));
}

static bool fits(const struct smtp_client *client, const struct smtp_expect *expect,
                 const struct smtp_reply *reply)
{
    if (reply->code < 400 && smtp_reply_ok(reply) == (expect->kind == EXPECT_DATA)) {
        return false;
    }
    return expect->kind != EXPECT_END || client->options.lmtp ||
           !pn_str_eq(pn_str_z(reply->enhanced), PN_STR("2.1.0"));
}

static bool refuses_bdat(const struct smtp_client *client, const struct smtp_flight *flight,
                         const struct smtp_reply *reply)
{
    if (client->chunk_taken || !smtp_client_chunks(client)) {
        return false;
    }
    return reply->code == 500 || reply->code == 502 ||
           (flight->accepted > 0 &&
            (reply->code == 501 || reply->code == 503 || reply->code == 504));
}

static void found_out(struct smtp_client *client, enum smtp_quirk quirk, const char *stage,
                      const struct smtp_reply *reply)
{
    client->quirks |= quirk;
    smtp_client_fail(client, stage, reply);
    client->note_quirks = quirk;
}

static void found_no_bdat(struct smtp_client *client, const char *stage,
                          const struct smtp_reply *reply)
{
    for (struct smtp_flight *f = client->flights; f; f = f->next) {
        f->mail->last_octet_sent = false;
    }
    found_out(client, SMTP_QUIRK_CHUNKING, stage, reply);
}

bool smtp_client_finds_out(struct smtp_client *client, const struct smtp_expect *expect,
                           const char *stage, const struct smtp_reply *reply)
{
    if (expect->together && speaks_of_pipelining(reply)) {
        found_out(client, SMTP_QUIRK_PIPELINING, stage, reply);
    } else if (expect->together && !fits(client, expect, reply)) {
        struct smtp_reply junk = {0};

        snprintf(junk.text, sizeof junk.text, "the code %d%s%s, which has no meaning there",
                 reply->code, reply->enhanced[0] ? " " : "", reply->enhanced);
        found_out(client, SMTP_QUIRK_PIPELINING, stage, &junk);
    } else if (expect->kind == EXPECT_END && refuses_bdat(client, expect->flight, reply)) {
        found_no_bdat(client, stage, reply);
    } else {
        return false;
    }
    return true;
}

bool smtp_client_finds_out_early(struct smtp_client *client, const char *stage,
                                 const struct smtp_reply *reply)
{
    if (!refuses_bdat(client, client->sending, reply)) {
        return false;
    }
    found_no_bdat(client, stage, reply);
    return true;
}

bool smtp_client_stalled(const struct smtp_client *client)
{
    return client->expect_count > 0 && client->expects[client->expect_first].together;
}

unsigned smtp_client_quirks(const struct smtp_client *client)
{
    return client->options.quirks | client->quirks;
}

unsigned smtp_quirks_forbid(unsigned quirks)
{
    return (quirks & SMTP_QUIRK_PIPELINING ? SMTP_CAP_PIPELINING : 0u) |
           (quirks & SMTP_QUIRK_CHUNKING ? SMTP_CAP_CHUNKING : 0u);
}

/* ---- the window ---- */

void smtp_client_window_init(struct smtp_client *client)
{
    client->window_mails = client->options.window_mails;
    client->window_octets = client->options.window_octets;
}

unsigned smtp_client_window(const struct smtp_client *client)
{
    return smtp_client_can(client, SMTP_CAP_PIPELINING) ? client->window_mails : 1;
}

void smtp_client_slow(struct smtp_client *client)
{
    if (client->window_rest > 0) {
        return; /* the same trouble as the last one's */
    }
    client->window_rest = client->flight_count;
    client->window_good = 0;
    client->window_mails = client->window_mails > 1 ? client->window_mails / 2 : 1;
    if (client->window_octets / 2 >= client->options.window_octets) {
        client->window_octets /= 2;
    }
}

static void grow(struct smtp_client *client)
{
    const struct smtp_client_options *options = &client->options;

    if (++client->window_good < client->window_mails) {
        return;
    }
    client->window_good = 0;
    if (client->window_mails < options->window_mails_max) {
        client->window_mails = client->window_mails < options->window_mails_max / 2
                                   ? client->window_mails * 2
                                   : options->window_mails_max;
    }
    if (client->window_octets < options->window_octets_max) {
        client->window_octets = client->window_octets < options->window_octets_max / 2
                                    ? client->window_octets * 2
                                    : options->window_octets_max;
    }
}

void smtp_client_window_learn(struct smtp_client *client, const struct smtp_client_mail *mail)
{
    bool taken = false;
    bool later = false;

    client->window_rest -= client->window_rest > 0;
    for (size_t i = 0; i < mail->recipient_count; i++) {
        taken = taken || smtp_reply_ok(&mail->replies[i]);
        later = later || smtp_reply_later(&mail->replies[i]);
    }
    if (later) {
        smtp_client_slow(client);
    } else if (taken && client->options.window_mails_max > 0) {
        grow(client);
    }
}
