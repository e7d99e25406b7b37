/*
 * sim_peer.c - primary servers, played.
 *
 * A server speaks SMTP with PIPELINING, CHUNKING and the rest as its capabilities say, and
 * LMTP with those who begin with LHLO, one command after the other: while a reply is delayed
 * nothing more is read. A text is kept
 * the moment it has come whole and the reply to it is a good one, or when the server is
 * told to die with it; the world is told of each text that is kept.
 */
#include "sim_priv.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define INPUT_MOST      ((size_t)8 << 20)
#define TEXT_MOST       ((size_t)64 << 20)
#define RECIPIENTS_MOST 1000
#define LMTP_PORT       24

enum session_state { COMMAND, TEXT, CHUNK, OVER };

struct session {
    struct sim_server *server;
    struct sim_wire *wire;
    struct session *prev, *next;
    enum session_state state;
    struct pn_buf input, text;
    bool in_mail, from_nobody, attempted, last, after_reply_end, final, lmtp;
    uint64_t chunk_left;
    char *recipients[RECIPIENTS_MOST];
    size_t recipient_count;
    unsigned messages;
    bool busy; /* a reply is delayed */
    struct pn_buf reply;
    struct sim_event event;
};

/* The sessions of all servers; the public part comes first. */
struct server {
    struct sim_server open; /* first */
    struct session *list;
};

static const char *const verb_names[SIM_VERBS] = {"CONNECT", "EHLO", "MAIL", "RCPT",
                                                  "DATA",    "DOT",  "RSET", "QUIT"};

static struct server *inside(struct sim_server *server)
{
    return (struct server *)(void *)server;
}

static void clear_mail(struct session *session)
{
    while (session->recipient_count > 0) {
        free(session->recipients[--session->recipient_count]);
    }
    pn_buf_fini(&session->text);
    pn_buf_init(&session->text, TEXT_MOST);
    session->in_mail = false;
    session->attempted = false;
}

static void session_free(struct session *session)
{
    clear_mail(session);
    pn_buf_fini(&session->text);
    pn_buf_fini(&session->input);
    pn_buf_fini(&session->reply);
    sim_event_stop(session->server->sim, &session->event);
    session->server->sessions--;
    DL_DELETE(inside(session->server)->list, session);
    free(session);
}

static void die(struct session *session)
{
    struct sim_wire *wire = session->wire;

    session_free(session);
    sim_wire_reset(wire);
}

/* ---- replies --------------------------------------------------------------------------- */

static void process(struct session *session);

static void send_reply(struct session *session)
{
    struct sim *sim = session->server->sim;
    size_t cut = sim->cut_octets;

    if (session->server->trickle) {
        sim->cut_octets = 1;
    }
    sim_wire_send(session->wire, pn_buf_str(&session->reply));
    sim->cut_octets = cut;
    pn_buf_clear(&session->reply);
    if (session->final) {
        session->final = false;
        sim_wire_receipt_sent(session->wire);
    }
}

/* False when the session has ended with it. */
static bool reply_now(struct session *session)
{
    send_reply(session);
    if (session->after_reply_end) {
        struct sim_wire *wire = session->wire;

        session_free(session);
        sim_wire_end(wire);
        return false;
    }
    return true;
}

static void on_delayed(struct sim_event *event)
{
    struct session *session = PN_CONTAINER(event, struct session, event);

    session->busy = false;
    if (reply_now(session)) {
        process(session);
    }
}

static bool is_to_end(const struct session *session, enum sim_verb verb)
{
    return session->server->ends[verb] != SIM_REPLIES && session->server->ends_left > 0;
}

/* In place of the reply. */
static void end_at(struct session *session, enum sim_verb verb, const char *text)
{
    struct sim_wire *wire = session->wire;
    enum sim_end how = session->server->ends[verb];

    session->server->ends_left--;
    pn_buf_clear(&session->reply);
    if (how == SIM_FALLS_SILENT) {
        session->state = OVER;
        return;
    }
    if (how == SIM_HALF_A_REPLY) {
        sim_wire_send(wire, pn_str_sub(pn_str_z(text), 0, strlen(text) / 2));
    }
    session_free(session);
    if (how == SIM_CLOSES) {
        sim_wire_end(wire);
    } else {
        sim_wire_reset(wire);
    }
}

/* False when the session has ended with it. text without CR LF at its end. */
static bool reply(struct session *session, enum sim_verb verb, const char *text)
{
    int64_t delay_ms = session->server->delays_ms[verb];

    if (is_to_end(session, verb)) {
        end_at(session, verb, text);
        return false;
    }
    pn_assert(pn_buf_printf(&session->reply, "%s\r\n", text) == 0);
    session->after_reply_end =
        session->after_reply_end || verb == SIM_QUIT || strncmp(text, "421", 3) == 0;
    if (delay_ms > 0) {
        session->busy = true;
        sim_event_after(session->server->sim, &session->event, delay_ms);
        return true;
    }
    return reply_now(session);
}

static const char *choose(struct session *session, enum sim_verb verb, struct pn_str arg,
                          const char *usual)
{
    struct sim_server *server = session->server;
    const char *said =
        server->on_verb ? server->on_verb(server->owner, server, verb, arg) : NULL;

    server->verbs[verb]++;
    return said ? said : server->replies[verb][0] != '\0' ? server->replies[verb] : usual;
}

/* ---- texts ------------------------------------------------------------------------------ */

/* For these recipients, by their places; NULL: for all. */
static void keep(struct session *session, const bool *which)
{
    struct sim_server *server = session->server;
    struct pn_str recipients[RECIPIENTS_MOST];
    size_t count = 0;

    for (size_t i = 0; i < session->recipient_count; i++) {
        if (!which || which[i]) {
            recipients[count++] = pn_str_z(session->recipients[i]);
        }
    }
    if (count == 0) {
        return;
    }
    server->messages++;
    server->recipients += count;
    server->last_message_ms = server->sim->now_ms;
    if (server->first_message_ms == 0) {
        server->first_message_ms = server->sim->now_ms;
    }
    sim_check_delivered(server, session->wire, session->from_nobody, pn_buf_str(&session->text),
                        recipients, count);
}

/* LMTP: a reply for each recipient (RFC 2033 4.2). */
static bool end_text_lmtp(struct session *session)
{
    bool kept[RECIPIENTS_MOST];
    size_t last = session->recipient_count - 1;

    for (size_t i = 0; i <= last; i++) {
        struct pn_str address = pn_str_z(session->recipients[i]);
        const char *said = choose(session, SIM_DOT, address, "250 2.0.0 Ok: kept");

        kept[i] = said[0] == '2';
        pn_assert(i == last || pn_buf_printf(&session->reply, "%s\r\n", said) == 0);
        if (i == last) {
            session->final = true;
            keep(session, kept);
            clear_mail(session);
            return reply(session, SIM_DOT, said);
        }
    }
    return true;
}

/* A text has come whole. False when the session is gone. */
static bool end_text(struct session *session)
{
    struct sim_server *server = session->server;
    const char *said;

    session->state = COMMAND;
    session->messages++;
    if (server->die_after_dot > 0 || server->mute_after_dot) {
        if (server->die_keeps) {
            keep(session, NULL);
        }
        if (server->die_after_dot > 0) {
            server->die_after_dot--;
            die(session);
            return false;
        }
        session->state = OVER;
        return true;
    }
    if (is_to_end(session, SIM_DOT)) {
        if (server->die_keeps) {
            keep(session, NULL);
        }
        return reply(session, SIM_DOT, "250 2.0.0 Ok: kept");
    }
    if (session->lmtp) {
        return end_text_lmtp(session);
    }
    said = choose(session, SIM_DOT, PN_STR(""), "250 2.0.0 Ok: kept");
    if (said[0] == '2') {
        session->final = true;
        keep(session, NULL);
    }
    clear_mail(session);
    return reply(session, SIM_DOT, said);
}

static bool dies_in_text(struct session *session)
{
    if (session->server->die_in_text == 0) {
        return false;
    }
    session->server->die_in_text--;
    die(session);
    return true;
}

/* Takes lines of a text. False: no more now, or gone. */
static bool take_text(struct session *session)
{
    struct pn_str input = pn_buf_str(&session->input);
    size_t end = 0;

    if (dies_in_text(session)) {
        return false;
    }
    while (end + 1 < input.len && !(input.ptr[end] == '\r' && input.ptr[end + 1] == '\n')) {
        end++;
    }
    if (end + 1 >= input.len) {
        return false;
    }
    if (end == 1 && input.ptr[0] == '.') {
        pn_buf_consume(&session->input, 3);
        return end_text(session);
    }
    if (input.ptr[0] == '.') {
        pn_buf_consume(&session->input, 1);
        input = pn_str_sub(input, 1, SIZE_MAX);
        end--;
    }
    pn_assert(pn_buf_append(&session->text, pn_str_sub(input, 0, end + 2)) == 0);
    pn_buf_consume(&session->input, end + 2);
    return true;
}

static bool take_chunk(struct session *session)
{
    struct pn_str input = pn_buf_str(&session->input);
    struct pn_str piece = pn_str_sub(input, 0, session->chunk_left);

    if (session->chunk_left > 0) {
        if (piece.len == 0 || dies_in_text(session)) {
            return false;
        }
        pn_assert(pn_buf_append(&session->text, piece) == 0);
        pn_buf_consume(&session->input, piece.len);
        session->chunk_left -= piece.len;
    }
    if (session->chunk_left > 0) {
        return true;
    }
    session->state = COMMAND;
    if (session->recipient_count == 0) {
        clear_mail(session);
        return reply(session, SIM_DOT, "503 5.5.1 No valid recipients");
    }
    return session->last ? end_text(session) : reply(session, SIM_DATA, "250 2.0.0 Go on");
}

/* ---- commands ---------------------------------------------------------------------------- */

static bool do_ehlo(struct session *session)
{
    static const char *const words[] = {"PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8",
                                        "SIZE 60000000"};
    const char *said = choose(session, SIM_EHLO, PN_STR(""), "");

    clear_mail(session);
    if (said[0] != '\0') {
        return reply(session, SIM_EHLO, said);
    }
    for (size_t i = 0; i < PN_COUNT(words); i++) {
        if (session->server->capabilities & (1u << i)) {
            pn_assert(pn_buf_printf(&session->reply, "250-%s\r\n", words[i]) == 0);
        }
    }
    return reply(session, SIM_EHLO, "250 ENHANCEDSTATUSCODES");
}

static struct pn_str address_of(struct pn_str args)
{
    (void)pn_str_cut(&args, '<');
    return pn_str_cut(&args, '>');
}

static bool do_mail(struct session *session, struct pn_str args)
{
    struct sim_server *server = session->server;
    const char *said = choose(session, SIM_MAIL, address_of(args), "250 2.1.0 Ok");

    if (server->messages_max > 0 && session->messages >= server->messages_max) {
        said = "421 4.7.0 Too many messages, come again";
    }
    clear_mail(session);
    session->in_mail = said[0] == '2';
    session->from_nobody = address_of(args).len == 0;
    return reply(session, SIM_MAIL, said);
}

static bool do_rcpt(struct session *session, struct pn_str args)
{
    const char *said;

    if (!session->in_mail) {
        return reply(session, SIM_RCPT, "503 5.5.1 MAIL first");
    }
    session->server->attempts += !session->attempted;
    session->attempted = true;
    said = choose(session, SIM_RCPT, address_of(args), "250 2.1.5 Ok");
    if (said[0] == '2') {
        pn_assert(session->recipient_count < RECIPIENTS_MOST);
        session->recipients[session->recipient_count++] = pn_strndup(address_of(args));
    }
    return reply(session, SIM_RCPT, said);
}

static bool do_data(struct session *session)
{
    const char *said;

    if (session->recipient_count == 0) {
        clear_mail(session);
        return reply(session, SIM_DATA, "503 5.5.1 No valid recipients");
    }
    said = choose(session, SIM_DATA, PN_STR(""), "354 Go on");
    if (said[0] == '3') {
        session->state = TEXT;
    } else {
        clear_mail(session);
    }
    return reply(session, SIM_DATA, said);
}

static bool do_bdat(struct session *session, struct pn_str args)
{
    struct pn_str octets = pn_str_cut(&args, ' ');

    if (!pn_str_to_u64(octets, TEXT_MOST, &session->chunk_left)) {
        sim_fail(session->server->sim, "BDAT with \"%.*s\"", PN_FMT(octets));
    }
    session->last = pn_str_eq_nocase(args, PN_STR("LAST"));
    session->state = CHUNK;
    return true;
}

static bool do_command(struct session *session, struct pn_str line)
{
    struct pn_str verb = pn_str_cut(&line, ' ');

    session->lmtp = session->lmtp || pn_str_eq_nocase(verb, PN_STR("LHLO"));
    if (pn_str_eq_nocase(verb, PN_STR("EHLO")) || pn_str_eq_nocase(verb, PN_STR("LHLO")) ||
        pn_str_eq_nocase(verb, PN_STR("HELO"))) {
        return do_ehlo(session);
    }
    if (pn_str_eq_nocase(verb, PN_STR("MAIL"))) {
        return do_mail(session, line);
    }
    if (pn_str_eq_nocase(verb, PN_STR("RCPT"))) {
        return do_rcpt(session, line);
    }
    if (pn_str_eq_nocase(verb, PN_STR("DATA"))) {
        return do_data(session);
    }
    if (pn_str_eq_nocase(verb, PN_STR("BDAT"))) {
        return do_bdat(session, line);
    }
    if (pn_str_eq_nocase(verb, PN_STR("RSET"))) {
        clear_mail(session);
        return reply(session, SIM_RSET, choose(session, SIM_RSET, PN_STR(""), "250 2.0.0 Ok"));
    }
    if (pn_str_eq_nocase(verb, PN_STR("QUIT"))) {
        return reply(session, SIM_QUIT, choose(session, SIM_QUIT, PN_STR(""), "221 2.0.0 Bye"));
    }
    if (!pn_str_eq_nocase(verb, PN_STR("NOOP"))) {
        sim_fail(session->server->sim, "a server was told \"%.*s\"", PN_FMT(verb));
    }
    return reply(session, SIM_RSET, "250 2.0.0 Ok");
}

static bool take_command(struct session *session)
{
    struct pn_str input = pn_buf_str(&session->input);
    size_t end = pn_str_find(input, '\n');
    char line[4096];

    if (end == input.len) {
        return false;
    }
    if (end == 0 || end > sizeof line || input.ptr[end - 1] != '\r') {
        sim_fail(session->server->sim, "a server got a line without CR LF, or a long one");
    }
    memcpy(line, input.ptr, end - 1);
    pn_buf_consume(&session->input, end + 1);
    return do_command(session, (struct pn_str){line, end - 1});
}

static void process(struct session *session)
{
    bool more = true;

    while (more && !session->busy) {
        switch (session->state) {
        case COMMAND:
            more = take_command(session);
            break;
        case TEXT:
            more = take_text(session);
            break;
        case CHUNK:
            more = take_chunk(session);
            break;
        case OVER:
            more = false;
            break;
        }
    }
}

/* ---- connections ----------------------------------------------------------------------------
 */

static void on_open(struct sim_wire *wire, void *owner)
{
    (void)wire;
    (void)owner;
}

static void on_octets(struct sim_wire *wire, void *owner, struct pn_str data)
{
    struct session *session = owner;

    (void)wire;
    if (session->state != OVER) {
        pn_assert(pn_buf_append(&session->input, data) == 0);
        process(session);
    }
}

static void on_end(struct sim_wire *wire, void *owner)
{
    session_free(owner);
    sim_wire_end(wire);
}

static void on_lost(struct sim_wire *wire, void *owner)
{
    (void)wire;
    if (owner) {
        session_free(owner);
    }
}

const struct sim_far_ops sim_server_far_ops = {on_open, on_octets, on_end, on_lost};

void sim_server_accept(struct sim_server *server, struct sim_wire *wire)
{
    struct session *session = PN_NEW(struct session);

    session->server = server;
    session->wire = wire;
    session->event.on_fire = on_delayed;
    pn_buf_init(&session->input, INPUT_MOST);
    pn_buf_init(&session->text, TEXT_MOST);
    pn_buf_init(&session->reply, 4096);
    DL_APPEND(inside(server)->list, session);
    sim_wire_set_owner(wire, session);
    if (++server->sessions > server->sessions_most) {
        server->sessions_most = server->sessions;
    }
    sim_check_sessions(server);
    if (server->reach == SIM_SILENT) {
        session->state = OVER;
    } else if (server->reach == SIM_GARBAGE) {
        session->state = OVER;
        sim_wire_send(wire, PN_STR("\x16\x03\x01\r\nHTTP/1.1 400 Bad\n\n999 \xff\r\n"));
    } else if (server->sessions_max > 0 && server->sessions > server->sessions_max) {
        (void)reply(session, SIM_CONNECT, "421 4.7.0 Too many sessions");
    } else {
        const char *said = choose(session, SIM_CONNECT, PN_STR(""), "");
        char usual[96];

        (void)snprintf(usual, sizeof usual, "220 %s ESMTP", server->host);
        session->after_reply_end = said[0] == '5';
        (void)reply(session, SIM_CONNECT, said[0] != '\0' ? said : usual);
    }
}

/* ---- what scenarios say
 * ------------------------------------------------------------------------ */

struct sim_server *sim_server_at(struct sim *sim, const struct pn_endpoint *at)
{
    struct sim_server *server = sim->servers;

    /* LMTP has a port of its own, and the same server behind it. */
    while (server && !(pn_ip_eq(&server->at.ip, &at->ip) &&
                       (at->port == server->at.port || at->port == LMTP_PORT))) {
        server = server->next;
    }
    return server;
}

struct sim_server *sim_host(struct sim *sim, const char *host, const char *ip)
{
    struct server *server = PN_NEW(struct server);
    char record[64];

    server->open.sim = sim;
    server->open.capabilities = SIM_CAPABILITIES;
    server->open.at.port = 25;
    (void)snprintf(server->open.host, sizeof server->open.host, "%s", host);
    pn_assert(pn_ip_parse(pn_str_z(ip), &server->open.at.ip));
    (void)snprintf(record, sizeof record, "%s %s",
                   server->open.at.ip.family == PN_IPV6 ? "AAAA" : "A", ip);
    sim_dns(sim, host, record);
    server->open.next = sim->servers;
    sim->servers = &server->open;
    return &server->open;
}

struct sim_server *sim_server(struct sim *sim, const char *host)
{
    struct sim_server *server = sim->servers;

    while (server && strcmp(server->host, host) != 0) {
        server = server->next;
    }
    pn_assert(server);
    return server;
}

void sim_peer(struct sim *sim, const char *host, const char *verb, const char *text)
{
    struct sim_server *server = sim_server(sim, host);
    size_t i = 0;

    while (strcmp(verb_names[i], verb) != 0) {
        i++;
        pn_assert(i < SIM_VERBS);
    }
    sim_note(sim, "%s says to %s: %s", host, verb, text ? text : "the usual");
    (void)snprintf(server->replies[i], sizeof server->replies[i], "%s", text ? text : "");
}

void sim_reach(struct sim *sim, const char *host, enum sim_reach reach)
{
    static const char *const names[] = {"up",         "refused", "unreachable",
                                        "black hole", "silent",  "garbage"};
    struct sim_server *server = sim_server(sim, host);
    struct session *session, *next;

    sim_note(sim, "%s is now: %s", host, names[reach]);
    server->reach = reach;
    DL_FOREACH_SAFE (inside(server)->list, session, next) {
        struct sim_wire *wire = session->wire;

        if (reach != SIM_UP) {
            session_free(session);
        }
        if (reach == SIM_BLACK_HOLE || reach == SIM_UNREACHABLE) {
            sim_wire_sever(wire);
        } else if (reach != SIM_UP) {
            sim_wire_reset(wire);
        }
    }
}

uint64_t sim_attempts(struct sim *sim, const char *host)
{
    return sim_server(sim, host)->attempts;
}

void sim_servers_free(struct sim *sim)
{
    while (sim->servers) {
        struct sim_server *server = sim->servers;

        sim->servers = server->next;
        while (inside(server)->list) {
            struct sim_wire *wire = inside(server)->list->wire;

            session_free(inside(server)->list);
            sim_wire_sever(wire);
        }
        free(server);
    }
}
