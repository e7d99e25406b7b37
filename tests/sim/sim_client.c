/*
 * sim_client.c - senders, played: they speak SMTP to the ingress and remember what it said.
 *
 * A client sends its mails one after the other in one session. What it still has to hear is
 * a list of expectations, in order; with PIPELINING the whole envelope goes at once. The
 * text of a mail is made from its salt, now and whenever it is compared.
 */
#include "sim_priv.h"

#include "postern/base/id.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define INPUT_MOST   65536
#define EXPECTS_MOST 1200
#define PATIENCE_MS  PN_MINUTES(30)
#define PIECE_OCTETS 4096

enum expect { GREETING, HELLO, TURN, SENDER, RECIPIENT, TEXT_ASKED, FINAL, AGAIN, GOODBYE };

struct sim_client {
    struct sim *sim;
    struct sim_client *prev, *next;
    struct sim_wire *wire; /* NULL: the connection is no more */
    struct sim_wire *near; /* until it was accepted */
    struct sim_worker *worker;
    struct loop_task accept_task;
    bool accepting;      /* accept_task is under way */
    bool finished;       /* nothing is left to do; freed by event */
    size_t number, left; /* the mail at hand; how many with it */
    struct sim_client_options options;
    char ip[PN_IP_CHARS];
    struct pn_buf input, text;
    enum expect expects[EXPECTS_MOST];
    size_t expect_first, expect_count;
    size_t next_recipient, answered; /* sent; answered */
    bool text_sent;
    unsigned early; /* the final reply came before the text had gone */
    bool dismissed; /* 421 was said */
    struct sim_event event, patience;
};

/* ---- mails --------------------------------------------------------------------------------
 */

size_t sim_mail_new(struct sim *sim, const char *sender, const char *recipients, size_t octets)
{
    struct sim_mail *mail = PN_NEW(struct sim_mail);
    struct pn_str rest = pn_str_z(recipients);

    if (sim->mail_count == sim->mail_cap) {
        sim->mail_cap = sim->mail_cap ? 2 * sim->mail_cap : 64;
        sim->mails = pn_realloc(sim->mails, sim->mail_cap * sizeof *sim->mails);
    }
    sim->mails[sim->mail_count++] = mail;
    mail->number = sim->mail_count;
    mail->octets = octets;
    mail->salt = pn_rand_next(&sim->rand);
    mail->submitted_ms = sim->now_ms;
    (void)snprintf(mail->sender, sizeof mail->sender, "%s", sender);
    while (rest.len > 0) {
        struct pn_str address = pn_str_cut(&rest, ' ');
        struct sim_recipient *recipient;

        mail->recipients = pn_realloc(mail->recipients,
                                      (mail->recipient_count + 1) * sizeof *mail->recipients);
        recipient = &mail->recipients[mail->recipient_count++];
        memset(recipient, 0, sizeof *recipient);
        (void)snprintf(recipient->address, sizeof recipient->address, "%.*s", PN_FMT(address));
    }
    return mail->number;
}

/* Lines of all lengths, some of which begin with a dot. */
void sim_mail_text(const struct sim_mail *mail, struct pn_buf *out)
{
    struct pn_rand rand;
    uint64_t bits = 0;
    char line[1000];

    pn_rand_init(&rand, mail->salt);
    pn_assert(pn_buf_printf(out,
                            "X-Sim: %zu\r\nFrom: <%s>\r\nSubject: number %zu\r\n"
                            "X-Salt: %016llx\r\n\r\n",
                            mail->number, mail->sender, mail->number,
                            (unsigned long long)mail->salt) == 0);
    while (out->len < mail->octets) {
        size_t len = (size_t)pn_rand_below(&rand, pn_rand_below(&rand, 20) == 0 ? 990 : 72);

        for (size_t i = 0; i < len; i++) {
            bits = i % 10 == 0 ? pn_rand_next(&rand) : bits >> 6;
            line[i] = (char)('!' + (int)(bits & 63));
        }
        if (len > 0 && pn_rand_below(&rand, 8) == 0) {
            line[0] = '.';
        }
        line[len] = '\r';
        line[len + 1] = '\n';
        pn_assert(pn_buf_append(out, (struct pn_str){line, len + 2}) == 0);
    }
}

struct sim_mail *sim_mail(struct sim *sim, size_t number)
{
    pn_assert(number >= 1 && number <= sim->mail_count);
    return sim->mails[number - 1];
}

size_t sim_mails(const struct sim *sim)
{
    return sim->mail_count;
}

size_t sim_accepted(const struct sim *sim)
{
    size_t count = 0;

    for (size_t i = 0; i < sim->mail_count; i++) {
        count += sim->mails[i]->state == SIM_TAKEN;
    }
    return count;
}

size_t sim_delivered(const struct sim *sim)
{
    size_t count = 0;

    for (size_t i = 0; i < sim->mail_count; i++) {
        const struct sim_mail *mail = sim->mails[i];
        bool whole = mail->state == SIM_TAKEN;

        for (size_t r = 0; r < mail->recipient_count; r++) {
            whole =
                whole && (!mail->recipients[r].accepted || mail->recipients[r].delivered > 0);
        }
        count += whole;
    }
    return count;
}

/* ---- the session ----------------------------------------------------------------------------
 */

static struct sim_mail *at_hand(struct sim_client *client)
{
    return client->left > 0 ? sim_mail(client->sim, client->number) : NULL;
}

static void mail_over(struct sim_client *client, enum sim_mail_state state, unsigned code)
{
    struct sim_mail *mail = at_hand(client);

    mail->state = state;
    mail->code = code;
    mail->ended_ms = client->sim->now_ms;
    client->number++;
    client->left--;
    client->text_sent = false;
    client->early = 0;
    sim_check_answered(client->sim, mail);
}

static void client_free(struct sim_client *client)
{
    pn_buf_fini(&client->input);
    pn_buf_fini(&client->text);
    sim_event_stop(client->sim, &client->event);
    DL_DELETE(client->sim->clients, client);
    free(client);
}

static void on_free(struct sim_event *event)
{
    client_free(PN_CONTAINER(event, struct sim_client, event));
}

static void free_later(struct sim_client *client)
{
    if (!client->accepting) {
        client->event.on_fire = on_free;
        sim_event_after(client->sim, &client->event, 0);
    }
}

/* The connection is no more. */
static void over(struct sim_client *client)
{
    sim_event_stop(client->sim, &client->event);
    sim_event_stop(client->sim, &client->patience);
    client->wire = NULL;
    client->finished = true;
    if (client->left > 0 && client->text_sent) {
        mail_over(client, client->dismissed ? SIM_TOLD_NO : SIM_UNKNOWN,
                  client->dismissed ? 421 : 0);
    }
    while (client->left > 0) {
        mail_over(client, SIM_NOT_SENT, 0);
    }
    free_later(client);
}

static void on_patience(struct sim_event *event)
{
    struct sim_client *client = PN_CONTAINER(event, struct sim_client, patience);

    if (client->wire) {
        sim_note(client->sim, "a client waited for half an hour and leaves");
        sim_wire_reset(client->wire);
    }
    over(client);
}

static void say(struct sim_client *client, enum expect expect, const char *format, ...)
    PN_PRINTF(3, 4);
static void say(struct sim_client *client, enum expect expect, const char *format, ...)
{
    char line[1024];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    line[len] = '\r';
    line[len + 1] = '\n';
    sim_wire_send(client->wire, (struct pn_str){line, (size_t)len + 2});
    pn_assert(client->expect_count < EXPECTS_MOST);
    client->expects[(client->expect_first + client->expect_count++) % EXPECTS_MOST] = expect;
}

static void send_recipient(struct sim_client *client)
{
    say(client, RECIPIENT, "RCPT TO:<%s>",
        at_hand(client)->recipients[client->next_recipient].address);
    client->next_recipient++;
}

/* The text, as DATA or BDAT wants it. */
static void load_text(struct sim_client *client)
{
    struct pn_buf plain;
    struct pn_str rest;

    pn_buf_init(&plain, SIZE_MAX / 2);
    sim_mail_text(at_hand(client), &plain);
    if (client->options.bdat) {
        pn_buf_fini(&client->text);
        client->text = plain;
        return;
    }
    rest = pn_buf_str(&plain);
    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');

        if (line.ptr[0] == '.') {
            pn_assert(pn_buf_append_char(&client->text, '.') == 0);
        }
        pn_assert(pn_buf_append(&client->text, line) == 0 &&
                  pn_buf_append_char(&client->text, '\n') == 0);
    }
    pn_assert(pn_buf_append_z(&client->text, ".\r\n") == 0);
    pn_buf_fini(&plain);
}

/* Says whether the client is still there. */
static bool vanishes(struct sim_client *client, size_t octets)
{
    struct sim_wire *wire = client->wire;

    if (client->options.vanish_after == 0) {
        return false;
    }
    if (client->options.vanish_after > octets) {
        client->options.vanish_after -= octets;
        return false;
    }
    sim_note(client->sim, "a client vanishes in mail %zu", client->number);
    if (client->options.resets) {
        sim_wire_reset(wire);
    } else {
        sim_wire_sever(wire);
    }
    over(client);
    return true;
}

static void final(struct sim_client *client, unsigned code, struct pn_str text);

static void on_piece(struct sim_event *event)
{
    struct sim_client *client = PN_CONTAINER(event, struct sim_client, event);
    bool paces = client->options.pause_ms > 0 || client->options.vanish_after > 0;
    struct pn_str piece =
        pn_str_sub(pn_buf_str(&client->text), 0, paces ? PIECE_OCTETS : SIZE_MAX);

    if (piece.len < client->text.len && vanishes(client, piece.len)) {
        return;
    }
    sim_wire_send(client->wire, piece);
    pn_buf_consume(&client->text, piece.len);
    if (client->text.len > 0) {
        sim_event_after(client->sim, &client->event, client->options.pause_ms);
    } else {
        client->text_sent = true;
        if (client->early > 0) {
            final(client, client->early, PN_STR(""));
        }
    }
}

static void send_text(struct sim_client *client)
{
    client->expects[(client->expect_first + client->expect_count++) % EXPECTS_MOST] = FINAL;
    on_piece(&client->event);
}

static void send_bdat(struct sim_client *client)
{
    char line[64];
    int len;

    load_text(client);
    len = snprintf(line, sizeof line, "BDAT %zu LAST\r\n", client->text.len);
    sim_wire_send(client->wire, (struct pn_str){line, (size_t)len});
    send_text(client);
}

static void begin_mail(struct sim_client *client)
{
    struct sim_mail *mail = at_hand(client);

    if (!mail) {
        say(client, GOODBYE, "QUIT");
        return;
    }
    client->next_recipient = 0;
    client->answered = 0;
    say(client, SENDER, "MAIL FROM:<%s>", mail->sender);
    if (client->options.pipelining) {
        while (client->next_recipient < mail->recipient_count) {
            send_recipient(client);
        }
        if (client->options.bdat) {
            send_bdat(client);
        } else {
            say(client, TEXT_ASKED, "DATA");
        }
    }
}

/* An answer said no to the whole mail: what is under way is still answered. */
static void give_up(struct sim_client *client, unsigned code)
{
    mail_over(client, SIM_NOT_SENT, code);
    say(client, AGAIN, "RSET");
}

static bool any_accepted(struct sim_client *client)
{
    const struct sim_mail *mail = at_hand(client);

    for (size_t i = 0; i < mail->recipient_count; i++) {
        if (mail->recipients[i].accepted) {
            return true;
        }
    }
    return false;
}

static void envelope_answered(struct sim_client *client)
{
    if (client->options.pipelining) {
        return;
    }
    if (client->next_recipient < at_hand(client)->recipient_count) {
        send_recipient(client);
    } else if (!any_accepted(client)) {
        give_up(client, 0);
    } else if (client->options.bdat) {
        send_bdat(client);
    } else {
        say(client, TEXT_ASKED, "DATA");
    }
}

/* "250 2.0.0 Ok: queued as ID". */
static void note_id(struct sim_mail *mail, struct pn_str text)
{
    struct pn_str last = pn_str_sub(text, pn_str_rfind(text, ' ') + 1, SIZE_MAX);
    struct pn_id id;

    if (pn_id_parse(last, &id)) {
        pn_id_format(&id, mail->id);
    }
}

static void final(struct sim_client *client, unsigned code, struct pn_str text)
{
    if (!client->text_sent) {
        client->early = code;
        return;
    }
    if (code == 250) {
        note_id(at_hand(client), text);
    }
    mail_over(client, code == 250 ? SIM_TAKEN : SIM_TOLD_NO, code);
    if (code == 250) {
        begin_mail(client);
    } else {
        say(client, AGAIN, "RSET"); /* a transaction without recipients is still open */
    }
}

static void understand(struct sim_client *client, unsigned code, struct pn_str text)
{
    enum expect expect = client->expects[client->expect_first];
    struct sim_mail *mail = at_hand(client);

    if (client->expect_count == 0 || code == 421) {
        client->dismissed = true; /* the end follows */
        return;
    }
    client->expect_first = (client->expect_first + 1) % EXPECTS_MOST;
    client->expect_count--;
    switch (expect) {
    case GREETING:
        if (code == 220) {
            say(client, HELLO, "EHLO client.example");
        }
        break;
    case HELLO:
        if (client->options.etrn) {
            say(client, TURN, "ETRN %s", client->options.etrn);
            break;
        }
        begin_mail(client);
        break;
    case TURN:
        client->sim->etrn_replies[code / 100]++;
        begin_mail(client);
        break;
    case AGAIN:
        begin_mail(client);
        break;
    case SENDER:
        if (code != 250 && !client->options.pipelining) {
            give_up(client, code);
        } else {
            envelope_answered(client);
        }
        break;
    case RECIPIENT:
        sim_check_recipient(client->sim, mail, &mail->recipients[client->answered++], code);
        mail->code = code;
        envelope_answered(client);
        break;
    case TEXT_ASKED:
        if (code == 354) {
            load_text(client);
            send_text(client);
        } else {
            give_up(client, code);
        }
        break;
    case FINAL:
        final(client, code, text);
        break;
    case GOODBYE:
        break;
    }
}

static void on_octets(struct sim_wire *wire, void *owner, struct pn_str data)
{
    struct sim_client *client = owner;

    (void)wire;
    sim_event_after(client->sim, &client->patience, PATIENCE_MS);
    pn_assert(pn_buf_append(&client->input, data) == 0);
    while (true) {
        struct pn_str input = pn_buf_str(&client->input);
        size_t end = pn_str_find(input, '\n');
        char line[2048];
        uint64_t code = 0;

        if (end == input.len) {
            return;
        }
        pn_assert(end > 3 && end < sizeof line && input.ptr[end - 1] == '\r');
        memcpy(line, input.ptr, end - 1);
        pn_buf_consume(&client->input, end + 1);
        pn_assert(pn_str_to_u64((struct pn_str){line, 3}, 999, &code));
        if (line[3] != '-') {
            understand(client, (unsigned)code, (struct pn_str){line, end - 1});
            if (client->finished) {
                return;
            }
        }
    }
}

static void on_end(struct sim_wire *wire, void *owner)
{
    sim_wire_end(wire);
    over(owner);
}

static void on_lost(struct sim_wire *wire, void *owner)
{
    (void)wire;
    over(owner);
}

static const struct sim_far_ops far_ops = {NULL, on_octets, on_end, on_lost};

/* ---- the beginning --------------------------------------------------------------------------
 */

static void on_accept(struct loop_task *task)
{
    struct sim_client *client = PN_CONTAINER(task, struct sim_client, accept_task);
    struct stream *stream;

    client->accepting = false;
    stream = sim_wire_stream(client->near, client->worker->loop);
    if (client->worker->ingress && !client->finished) {
        ingress_accept(client->worker->ingress, stream, 0);
    } else {
        stream_abort(&stream);
    }
    if (client->finished) {
        free_later(client);
    }
}

static void on_connect(struct sim_event *event)
{
    struct sim_client *client = PN_CONTAINER(event, struct sim_client, event);
    struct sim_daemon *daemon = client->sim->daemon;
    struct pn_ip ip;

    pn_assert(pn_ip_parse(pn_str_z(client->ip), &ip));
    client->event.on_fire = on_piece;
    if (!daemon || !daemon->running) {
        over(client);
        return;
    }
    client->worker = &daemon->workers[pn_rand_below(&client->sim->rand, daemon->worker_count)];
    client->wire = sim_wire_accepted(client->sim, &far_ops, client, &ip);
    client->near = client->wire;
    client->expects[0] = GREETING;
    client->expect_count = 1;
    client->accepting = true;
    client->accept_task.on_run = on_accept;
    sim_event_after(client->sim, &client->patience, PATIENCE_MS);
    pn_assert(loop_post(&client->worker->loop->port, &client->accept_task));
}

void sim_send(struct sim *sim, size_t first, size_t count,
              const struct sim_client_options *options)
{
    struct sim_client *client = PN_NEW(struct sim_client);

    client->sim = sim;
    client->number = first;
    client->left = count;
    client->options = options ? *options : (struct sim_client_options){0};
    if (client->options.ip) {
        (void)snprintf(client->ip, sizeof client->ip, "%s", client->options.ip);
    } else {
        (void)snprintf(client->ip, sizeof client->ip, "198.51.%u.7",
                       (unsigned)pn_rand_below(&sim->rand, 50));
    }
    pn_buf_init(&client->input, INPUT_MOST);
    pn_buf_init(&client->text, SIZE_MAX / 2);
    client->event.on_fire = on_connect;
    client->patience.on_fire = on_patience;
    DL_APPEND(sim->clients, client);
    sim_event_after(sim, &client->event, sim_net_latency(sim));
}

unsigned sim_etrn_replies(const struct sim *sim, unsigned digit)
{
    return sim->etrn_replies[digit];
}

size_t sim_submit(struct sim *sim, const char *sender, const char *recipient)
{
    size_t number = sim_mail_new(sim, sender, recipient, 500);

    sim_send(sim, number, 1, NULL);
    return number;
}

size_t sim_submit_many(struct sim *sim, const char *domain, size_t count, size_t sessions)
{
    struct sim_client_options options = {.pipelining = true};
    size_t first = sim->mail_count + 1;

    for (size_t i = 0; i < count; i++) {
        char sender[80], recipient[80];

        (void)snprintf(sender, sizeof sender, "s%zu@sender.example", i);
        (void)snprintf(recipient, sizeof recipient, "r%zu@%s", i, domain);
        (void)sim_mail_new(sim, sender, recipient, 300);
    }
    for (size_t i = 0; i < sessions; i++) {
        size_t from = count * i / sessions, to = count * (i + 1) / sessions;

        if (to > from) {
            sim_send(sim, first + from, to - from, &options);
        }
    }
    return first;
}

void sim_clients_free(struct sim *sim)
{
    while (sim->clients) {
        struct sim_client *client = sim->clients;

        pn_assert(!client->accepting);
        if (client->wire) {
            sim_wire_sever(client->wire);
        }
        if (!client->finished) {
            over(client);
        }
        client_free(client);
    }
    for (size_t i = 0; i < sim->mail_count; i++) {
        free(sim->mails[i]->recipients);
        free(sim->mails[i]);
    }
    free(sim->mails);
}
