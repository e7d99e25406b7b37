/*
 * helper_dialogue.c - the owner of a client under test: hands in mails as soon as there is
 * room, gives their text in pieces, and writes everything down.
 */
#include "helper_dialogue.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct player {
    const struct dialogue *dialogue;
    struct smtp_client *client;
    struct smtp_client_mail mails[DIALOGUE_MAILS];
    struct mail_recipient recipients[DIALOGUE_MAILS][6];
    struct smtp_reply replies[DIALOGUE_MAILS][6];
    size_t mail_count, handed, done;
    bool ready;
    size_t answers;     /* to AUTH that were given */
    size_t steps;       /* of the live transactions that were given */
    struct pn_buf said; /* output that was not written down yet */
    struct pn_buf trace;
};

static void put(struct pn_buf *out, struct pn_str s)
{
    assert_int_equal(pn_buf_append(out, s), 0);
}

static void put_z(struct pn_buf *out, const char *z)
{
    put(out, pn_str_z(z));
}

/* What the client has said so far, as '>' lines. */
static void write_output(struct player *p)
{
    struct pn_buf *output = smtp_client_output(p->client);
    struct pn_str rest;

    put(&p->said, pn_buf_str(output));
    pn_buf_consume(output, output->len);
    rest = pn_buf_str(&p->said);
    while (rest.len > 0) {
        put_z(&p->trace, ">");
        put(&p->trace, pn_str_trim(pn_str_cut(&rest, '\r')));
        put_z(&p->trace, "\n");
        rest = pn_str_sub(rest, 1, SIZE_MAX);
    }
    pn_buf_clear(&p->said);
}

static void put_reply(struct pn_buf *out, const struct smtp_reply *reply)
{
    assert_int_equal(pn_buf_printf(out, " %d", reply->code), 0);
    if (reply->enhanced[0]) {
        assert_int_equal(pn_buf_printf(out, " %s", reply->enhanced), 0);
    }
    put_z(out, reply->text[0] ? " " : "");
    for (const char *c = reply->text; *c; c++) {
        put(out, *c == '\n' ? PN_STR("/") : (struct pn_str){c, 1});
    }
}

static void load_mails(struct player *p)
{
    for (; p->mail_count < DIALOGUE_MAILS && p->dialogue->mails[p->mail_count];
         p->mail_count++) {
        const struct dialogue_mail *from = p->dialogue->mails[p->mail_count];
        struct smtp_client_mail *mail = &p->mails[p->mail_count];

        mail->sender = pn_str_z(from->sender);
        mail->recipients = p->recipients[p->mail_count];
        mail->replies = p->replies[p->mail_count];
        mail->size_octets = strlen(from->text);
        mail->flags = from->flags;
        mail->ret = from->ret;
        mail->identity = from->identity;
        mail->envid = pn_str_z(from->envid);
        mail->owner = p;
        for (size_t i = 0; i < 6 && from->recipients[i]; i++) {
            p->recipients[p->mail_count][i] =
                (struct mail_recipient){.address = pn_str_z(from->recipients[i]),
                                        .orcpt = pn_str_z(i == 0 ? from->orcpt : NULL),
                                        .notify = from->notify};
            mail->recipient_count = i + 1;
        }
    }
}

static bool hand_in(struct player *p)
{
    size_t before = p->handed;

    while (p->ready && p->handed < p->mail_count && smtp_client_wants_mail(p->client)) {
        smtp_client_mail(p->client, &p->mails[p->handed++]);
    }
    return p->handed > before;
}

static void give_text(struct player *p, struct smtp_client_mail *mail)
{
    struct pn_str text = pn_str_z(p->dialogue->mails[mail - p->mails]->text);
    size_t half = text.len / 2;

    smtp_client_text(p->client, pn_str_sub(text, 0, half), false);
    smtp_client_text(p->client, pn_str_sub(text, half, SIZE_MAX), true);
}

static bool is_step(const struct dialogue_step *step)
{
    return step->mail || step->rcpt || step->text || step->data || step->reset || step->quit;
}

/* The next command of the live transactions; behind the last come the mails. */
static void take_step(struct player *p)
{
    const struct dialogue_step *step = &p->dialogue->live[p->steps];
    struct mail_recipient recipient = {.address = pn_str_z(step->rcpt),
                                       .orcpt = pn_str_z(step->orcpt),
                                       .notify = step->notify};

    if (p->steps == DIALOGUE_STEPS || !is_step(step)) {
        p->ready = true;
        return;
    }
    p->steps++;
    if (step->mail) {
        smtp_client_live_mail(p->client, pn_str_z(step->mail), step->size, step->flags,
                              step->ret, pn_str_z(step->envid));
    } else if (step->rcpt) {
        smtp_client_live_rcpt(p->client, &recipient);
    } else if (step->data) {
        smtp_client_live_data(p->client);
    } else if (step->text) {
        struct pn_str text = pn_str_z(step->text);

        assert_true(smtp_client_live_wants_text(p->client));
        smtp_client_live_text(p->client, pn_str_sub(text, 0, text.len / 2), false);
        smtp_client_live_text(p->client, pn_str_sub(text, text.len / 2, SIZE_MAX),
                              !step->unfinished);
    } else if (step->reset) {
        smtp_client_live_reset(p->client);
    } else {
        smtp_client_quit(p->client);
    }
}

static void write_done(struct player *p, struct smtp_client_mail *mail)
{
    assert_int_equal(pn_buf_printf(&p->trace, "=DONE %d:", (int)(mail - p->mails)), 0);
    for (size_t i = 0; i < mail->recipient_count; i++) {
        put_z(&p->trace, i > 0 ? " |" : "");
        put_reply(&p->trace, &mail->replies[i]);
    }
    put_z(&p->trace, "\n");
    p->done++;
    if (p->done == p->mail_count && p->dialogue->quit) {
        smtp_client_quit(p->client);
    }
}

static void write_event(struct player *p, const char *name, const struct smtp_reply *reply)
{
    put_z(&p->trace, name);
    if (reply) {
        put_reply(&p->trace, reply);
    }
    put_z(&p->trace, "\n");
}

/* Mails that may have been taken, or not. */
static void write_doubts(struct player *p)
{
    for (size_t i = p->done; i < p->handed; i++) {
        if (p->mails[i].last_octet_sent) {
            assert_int_equal(pn_buf_printf(&p->trace, "=DOUBT %zu\n", i), 0);
        }
    }
}

static void become_ready(struct player *p)
{
    const char *const *auth = p->dialogue->auth;

    if (auth[0] && p->answers == 0) {
        p->answers = 2;
        smtp_client_auth(p->client, pn_str_z(auth[0]), pn_str_z(auth[1]));
        return;
    }
    smtp_client_go(p->client);
    if (p->dialogue->client && smtp_client_capabilities(p->client) & SMTP_CAP_XCLIENT) {
        smtp_client_xclient(p->client, p->dialogue->client);
    } else if (p->dialogue->client) {
        smtp_client_xforward(p->client, p->dialogue->client);
    } else if (p->dialogue->check) {
        smtp_client_check(p->client);
    } else {
        take_step(p);
    }
}

static void take_event(struct player *p, const struct smtp_client_event *event)
{
    switch (event->kind) {
    case SMTP_CLIENT_EV_EHLO:
        write_event(p, "=EHLO", NULL);
        if (p->dialogue->tls && (smtp_client_capabilities(p->client) & SMTP_CAP_STARTTLS)) {
            smtp_client_starttls(p->client);
        } else {
            become_ready(p);
        }
        break;
    case SMTP_CLIENT_EV_TLS:
        write_event(p, "=TLS", NULL);
        assert_int_equal(smtp_client_feed(p->client, PN_STR("250 injected\r\n")), 0);
        smtp_client_secured(p->client);
        break;
    case SMTP_CLIENT_EV_NO_TLS:
        write_event(p, "=NO_TLS", &event->reply);
        become_ready(p);
        break;
    case SMTP_CLIENT_EV_TEXT:
        write_event(p, "=TEXT", NULL);
        give_text(p, event->mail);
        break;
    case SMTP_CLIENT_EV_DONE:
        write_done(p, event->mail);
        break;
    case SMTP_CLIENT_EV_CHECKED:
        write_event(p, "=CHECKED", &event->reply);
        take_step(p);
        break;
    case SMTP_CLIENT_EV_LIVE:
        write_event(p, "=LIVE", &event->reply);
        take_step(p);
        break;
    case SMTP_CLIENT_EV_CHALLENGE:
        assert_true(smtp_client_in_auth(p->client));
        assert_int_equal(
            pn_buf_printf(&p->trace, "=CHALLENGE %.*s\n", PN_FMT(event->challenge)), 0);
        smtp_client_auth_answer(
            p->client, pn_str_z(p->answers < 4 ? p->dialogue->auth[p->answers++] : NULL));
        break;
    case SMTP_CLIENT_EV_AUTH:
        write_event(p, "=AUTH", &event->reply);
        become_ready(p);
        break;
    case SMTP_CLIENT_EV_IDENTIFIED:
        write_event(p, "=IDENTIFIED", &event->reply);
        take_step(p);
        break;
    case SMTP_CLIENT_EV_FAILED:
        assert_int_equal(
            pn_buf_printf(&p->trace, "=FAILED %s%s%s%s:", event->stage,
                          event->busy ? " (busy)" : "",
                          event->quirks & SMTP_QUIRK_PIPELINING ? " (no pipelining)" : "",
                          event->quirks & SMTP_QUIRK_CHUNKING ? " (no BDAT)" : ""),
            0);
        assert_int_equal(smtp_client_quirks(p->client), event->quirks | p->dialogue->quirks);
        write_event(p, "", &event->reply);
        write_doubts(p);
        break;
    case SMTP_CLIENT_EV_QUIT:
        write_event(p, "=QUIT", NULL);
        break;
    }
}

static void settle(struct player *p)
{
    struct smtp_client_event event;

    do {
        write_output(p);
        while (smtp_client_next(p->client, &event)) {
            take_event(p, &event);
            write_output(p);
        }
    } while (hand_in(p));
}

static void feed(struct player *p, struct pn_str data)
{
    size_t taken;

    do {
        taken = smtp_client_feed(p->client, data);
        data = pn_str_sub(data, taken, SIZE_MAX);
        settle(p);
    } while (taken > 0 && data.len > 0);
}

static void begin(struct player *p, const struct dialogue *dialogue)
{
    struct smtp_client_options options = {
        .hostname = PN_STR("me.example"),
        .lmtp = dialogue->lmtp,
        .window_mails = dialogue->window ? dialogue->window : 4,
        .window_octets = dialogue->window_octets ? dialogue->window_octets : 1000,
        .window_mails_max = dialogue->window_max,
        .window_octets_max = (size_t)dialogue->window_max * 1000,
        .capabilities_off = dialogue->off,
        .quirks = dialogue->quirks,
    };

    p->dialogue = dialogue;
    p->client = smtp_client_new(&options);
    pn_buf_init(&p->said, 1u << 20);
    pn_buf_init(&p->trace, 1u << 20);
    load_mails(p);
}

static char *end(struct player *p)
{
    char *trace = pn_buf_detach(&p->trace);

    smtp_client_free(&p->client);
    pn_buf_fini(&p->said);
    pn_buf_fini(&p->trace);
    return trace;
}

char *dialogue_play(const struct dialogue *dialogue, struct pn_str server, size_t split,
                    bool octets)
{
    struct player player = {0};

    begin(&player, dialogue);
    if (octets) {
        for (size_t i = 0; i < server.len; i++) {
            feed(&player, pn_str_sub(server, i, 1));
        }
    } else {
        feed(&player, pn_str_sub(server, 0, split));
        feed(&player, pn_str_sub(server, split, SIZE_MAX));
    }
    return end(&player);
}

/* Splits a script into the server's octets and what is expected of the client. */
static void read_script(const char *script, struct pn_buf *server, struct pn_buf *client)
{
    struct pn_str rest = pn_str_z(script);

    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');

        if (line.ptr[0] == '<' || line.ptr[0] == '~') {
            put(server, pn_str_sub(line, 1, SIZE_MAX));
            put(server, line.ptr[0] == '<' ? PN_STR("\r\n") : PN_STR("\n"));
        } else {
            put(client, line);
            put_z(client, "\n");
        }
    }
}

/* What comes must come at once, in answer to the line before it. */
static void play_by_line(const struct dialogue *dialogue)
{
    struct player player = {0};
    struct pn_str rest = pn_str_z(dialogue->script);
    char *trace;

    begin(&player, dialogue);
    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');
        char octets[4096];

        if (line.ptr[0] != '<' && line.ptr[0] != '~') {
            continue;
        }
        put(&player.trace, line);
        put_z(&player.trace, "\n");
        snprintf(octets, sizeof octets, "%.*s%s", PN_FMT(pn_str_sub(line, 1, SIZE_MAX)),
                 line.ptr[0] == '<' ? "\r\n" : "\n");
        feed(&player, pn_str_z(octets));
    }
    trace = end(&player);
    assert_string_equal(trace, dialogue->script);
    free(trace);
}

static void same(const struct dialogue *dialogue, const char *expected, struct pn_str server,
                 size_t split, bool octets)
{
    char *trace = dialogue_play(dialogue, server, split, octets);

    if (strcmp(trace, expected) != 0) {
        print_error("%s, split at %zu\n", dialogue->name, split);
    }
    assert_string_equal(trace, expected);
    free(trace);
}

void dialogue_test(const struct dialogue *dialogue)
{
    struct pn_buf server;
    struct pn_buf client;
    char *expected;

    pn_buf_init(&server, 1u << 20);
    pn_buf_init(&client, 1u << 20);
    read_script(dialogue->script, &server, &client);
    expected = pn_buf_detach(&client);
    play_by_line(dialogue);
    same(dialogue, expected, pn_buf_str(&server), 0, true);
    for (size_t split = 0; split <= server.len; split++) {
        same(dialogue, expected, pn_buf_str(&server), split, false);
    }
    free(expected);
    pn_buf_fini(&client);
    pn_buf_fini(&server);
}
