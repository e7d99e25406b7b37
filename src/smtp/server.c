/*
 * smtp/server.c - the server's half of an SMTP conversation, without I/O.
 *
 * The session is one enum and one table. A row names a verb, the states in which it is
 * legal, and the states that a positive and a negative answer lead to. "Wrong order" is
 * thus decided in one place, and no other code asks about it. A verb may have several
 * rows: BDAT asks for a decision once in a transaction, goes on without one while the
 * transaction has chunks, and is an error elsewhere whose octets must still be eaten.
 *
 * Two things come in: lines, collected by smtp/line, and text, which is decoded by
 * smtp/body straight from the caller's data. A refused BDAT is answered when its octets
 * are gone, so that they are never read as commands (FAULTS 4.1, 4.2).
 */
#include "postern/smtp/server.h"

#include "command_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/smtp/body.h"
#include "postern/smtp/line.h"
#include "postern/smtp/xclient.h"

#define OUTPUT_MAX 65536
/* The longest reply: each character a line of its own. EHLO's answer is shorter. */
#define REPLY_MAX 16384

/* SAME is "stay where you are"; the others are bits, so that sets are cheap. */
enum state {
    SAME = 0,
    NEW = 1,       /* not greeted */
    GREETED = 2,   /* no EHLO yet */
    READY = 4,     /* no transaction */
    MAIL = 8,      /* a sender */
    RCPT = 16,     /* and a recipient */
    CHUNKED = 32,  /* between the chunks of a text */
    TEXT = 64,     /* in a text that ends with a dot */
    CHUNK = 128,   /* in a chunk */
    EATING = 256,  /* in a chunk that was refused */
    TLS = 512,     /* between STARTTLS and its handshake */
    DOOMED = 1024, /* nobody knows where the next command begins */
    CLOSED = 2048,
};

#define COMMANDS (GREETED | READY | MAIL | RCPT | CHUNKED)

/* In a row: the verb asks for no decision. */
#define NO_EVENT SMTP_EV_TEXT

struct verb {
    const char *name;
    unsigned legal;       /* the states in which the verb may come */
    enum state then;      /* the state after a 2xx or 3xx answer */
    enum state otherwise; /* the state after another one */
    enum smtp_event_kind kind;
    smtp_command_fn *parse;
};

static const struct verb verbs[] = {
    {"EHLO", COMMANDS, READY, SAME, SMTP_EV_HELO, smtp_command_ehlo},
    {"HELO", COMMANDS, READY, SAME, SMTP_EV_HELO, smtp_command_helo},
    {"MAIL", READY, MAIL, SAME, SMTP_EV_MAIL, smtp_command_mail},
    {"RCPT", MAIL | RCPT, RCPT, SAME, SMTP_EV_RCPT, smtp_command_rcpt},
    {"DATA", RCPT, TEXT, READY, SMTP_EV_DATA, smtp_command_bare},
    {"BDAT", RCPT, CHUNK, EATING, SMTP_EV_DATA, smtp_command_bdat},
    {"BDAT", CHUNKED, CHUNK, SAME, NO_EVENT, smtp_command_bdat},
    {"BDAT", GREETED | READY | MAIL, EATING, EATING, SMTP_EV_ERROR, smtp_command_bdat},
    {"RSET", READY | MAIL | RCPT | CHUNKED, READY, SAME, SMTP_EV_RSET, smtp_command_bare},
    {"RSET", GREETED, SAME, SAME, SMTP_EV_RSET, smtp_command_bare},
    {"NOOP", COMMANDS, SAME, SAME, SMTP_EV_NOOP, smtp_command_any},
    {"HELP", COMMANDS, SAME, SAME, SMTP_EV_HELP, smtp_command_any},
    {"VRFY", COMMANDS, SAME, SAME, SMTP_EV_VRFY, smtp_command_any},
    {"EXPN", COMMANDS, SAME, SAME, SMTP_EV_VRFY, smtp_command_any},
    {"ETRN", READY, SAME, SAME, SMTP_EV_ETRN, smtp_command_etrn},
    {"STARTTLS", READY, TLS, SAME, SMTP_EV_STARTTLS, smtp_command_starttls},
    {"XCLIENT", GREETED | READY, GREETED, SAME, SMTP_EV_XCLIENT, smtp_command_xclient},
    {"QUIT", COMMANDS, CLOSED, CLOSED, SMTP_EV_QUIT, smtp_command_bare},
};

/* What waits for an answer without having been a verb. */
static const struct verb broken = {.kind = SMTP_EV_ERROR};
static const struct verb broken_size = {
    .kind = SMTP_EV_ERROR, .then = DOOMED, .otherwise = DOOMED};
static const struct verb chunk_end = {
    .kind = SMTP_EV_CHUNK, .then = CHUNKED, .otherwise = READY};
static const struct verb text_end = {.kind = SMTP_EV_END, .then = READY, .otherwise = READY};

struct smtp_server {
    enum state state;
    enum state resume;          /* EATING: the state behind it */
    const struct verb *waiting; /* whose event has no answer yet, or NULL */
    struct smtp_facts facts;
    struct smtp_line line;
    struct smtp_decoder decoder;
    struct pn_str text;     /* decoded and not fetched; borrows from the caller's data */
    uint64_t left;          /* octets of the chunk that have not come */
    struct smtp_reply kept; /* EATING: the answer */
    struct pn_buf output;
    struct pn_str hostname;
    bool mend;
};

struct smtp_server *smtp_server_new(const struct smtp_server_options *options)
{
    struct smtp_server *server = PN_NEW(struct smtp_server);

    server->state = NEW;
    server->facts = (struct smtp_facts){.message_octets = options->message_octets,
                                        .starttls = options->starttls,
                                        .secured = options->secured,
                                        .xclient = options->xclient};
    server->hostname = options->hostname;
    server->mend = options->normalise_newlines;
    smtp_line_init(&server->line, options->command_length);
    pn_buf_init(&server->output, OUTPUT_MAX);
    return server;
}

void smtp_server_free(struct smtp_server **server)
{
    if (!*server) {
        return;
    }
    smtp_line_fini(&(*server)->line);
    pn_buf_fini(&(*server)->output);
    free(*server);
    *server = NULL;
}

/* Between replies at least REPLY_MAX octets are free: feed() sees to it. */
static void write_reply(struct smtp_server *server, const struct smtp_reply *reply)
{
    pn_assert(smtp_reply_write(reply, &server->output) == 0);
}

static void write_hello(struct smtp_server *server, bool extended)
{
    bool starttls = server->facts.starttls && !server->facts.secured;
    int result;

    if (!extended) {
        result = pn_buf_printf(&server->output, "250 %.*s\r\n", PN_FMT(server->hostname));
    } else {
        result = pn_buf_printf(
            &server->output,
            "250-%.*s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n"
            "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"
            "250-ENHANCEDSTATUSCODES\r\n%s%s250-ETRN\r\n250 HELP\r\n",
            PN_FMT(server->hostname), (unsigned long long)server->facts.message_octets,
            starttls ? "250-STARTTLS\r\n" : "",
            server->facts.xclient ? "250-XCLIENT " SMTP_XCLIENT_NAMES "\r\n" : "");
    }
    pn_assert(result == 0);
}

static void write_greeting(struct smtp_server *server)
{
    pn_assert(pn_buf_printf(&server->output, "220 %.*s ESMTP Postern\r\n",
                            PN_FMT(server->hostname)) == 0);
}

void smtp_server_greet(struct smtp_server *server, const struct smtp_reply *reply)
{
    pn_assert(server->state == NEW);
    if (reply) {
        smtp_server_say(server, reply);
        return;
    }
    server->state = GREETED;
    write_greeting(server);
}

static void finish_eating(struct smtp_server *server)
{
    server->state = server->resume;
    write_reply(server, &server->kept);
}

static size_t eat(struct smtp_server *server, struct pn_str data)
{
    size_t taken = data.len < server->left ? data.len : (size_t)server->left;

    server->left -= taken;
    if (server->left == 0) {
        finish_eating(server);
    }
    return taken;
}

static size_t feed_text(struct smtp_server *server, struct pn_str data)
{
    struct pn_str rest = data;
    struct pn_str text;
    size_t taken;

    if (server->text.len > 0) {
        return 0;
    }
    if (server->state == CHUNK && rest.len > server->left) {
        rest.len = (size_t)server->left;
    }
    taken = rest.len;
    if (smtp_decoder_next(&server->decoder, &rest, &text) == SMTP_BODY_TEXT) {
        server->text = text;
    }
    taken -= rest.len;
    if (server->state == CHUNK) {
        server->left -= taken;
    }
    return taken;
}

size_t smtp_server_feed(struct smtp_server *server, struct pn_str data)
{
    if (server->waiting || data.len == 0 || pn_buf_room(&server->output) < REPLY_MAX) {
        return 0;
    }
    if (server->state & (TEXT | CHUNK)) {
        return feed_text(server, data);
    }
    if (server->state == EATING) {
        return eat(server, data);
    }
    /* The line stops at CR LF: what follows may be TLS, or a message. */
    return server->state & COMMANDS ? smtp_line_feed(&server->line, data) : 0;
}

static bool ask(struct smtp_server *server, const struct verb *verb,
                const struct smtp_event *event, struct smtp_event *out_event)
{
    server->waiting = verb;
    *out_event = *event;
    return true;
}

static bool ask_error(struct smtp_server *server, int code, const char *enhanced,
                      const char *text, struct smtp_event *out_event)
{
    struct smtp_event event = {.kind = SMTP_EV_ERROR};

    smtp_reply_set(&event.reply, code, enhanced, "%s", text);
    return ask(server, &broken, &event, out_event);
}

static bool give_up(struct smtp_server *server, struct smtp_event *out_event)
{
    server->state = CLOSED;
    *out_event = (struct smtp_event){.kind = SMTP_EV_STRANGER};
    return true;
}

static const char *order_hint(const struct smtp_server *server)
{
    return server->state == GREETED ? "Say EHLO first" : "The command is not expected now";
}

static bool next_text(struct smtp_server *server, struct smtp_event *out_event)
{
    const struct smtp_decoder *decoder = &server->decoder;
    bool chunk_whole = server->state == CHUNK && server->left == 0;
    struct smtp_event event = {.kind = SMTP_EV_CHUNK};
    struct pn_str last;

    if (server->text.len == 0 && chunk_whole && server->facts.chunk_last &&
        smtp_decoder_finish(&server->decoder, &last)) {
        server->text = last;
    }
    if (server->text.len > 0) {
        *out_event = (struct smtp_event){.kind = SMTP_EV_TEXT, .data = server->text};
        server->text.len = 0;
        return true;
    }
    event.bare_newline = decoder->bare_newline;
    event.too_long = decoder->too_long;
    event.text_octets = decoder->text_octets;
    if (smtp_decoder_ended(decoder)) {
        event.kind = SMTP_EV_END;
        return ask(server, &text_end, &event, out_event);
    }
    return chunk_whole && ask(server, &chunk_end, &event, out_event);
}

static bool begin(struct smtp_server *server, const struct verb *verb, struct pn_str args,
                  struct smtp_event *out_event)
{
    bool bdat = verb->parse == smtp_command_bdat;
    struct smtp_event event = {.kind = verb->kind};

    if (!verb->parse(args, &server->facts, &event)) {
        event.kind = SMTP_EV_ERROR;
        return ask(server, bdat ? &broken_size : &broken, &event, out_event);
    }
    server->left = bdat ? server->facts.chunk_octets : 0;
    if (verb->kind == NO_EVENT) {
        server->state = verb->then;
        return next_text(server, out_event);
    }
    if (verb->kind == SMTP_EV_ERROR) {
        smtp_reply_set(&event.reply, 503, "5.5.1", "%s", order_hint(server));
    }
    return ask(server, verb, &event, out_event);
}

static bool next_verb(struct smtp_server *server, struct pn_str line,
                      struct smtp_event *out_event)
{
    struct pn_str name;
    bool known = false;

    while (pn_str_ends(line, PN_STR(" "))) {
        line.len--;
    }
    name = pn_str_cut(&line, ' ');
    for (size_t i = 0; i < PN_COUNT(verbs); i++) {
        if (!pn_str_eq_nocase(name, pn_str_z(verbs[i].name))) {
            continue;
        }
        if (verbs[i].legal & server->state) {
            return begin(server, &verbs[i], line, out_event);
        }
        known = true;
    }
    if (known) {
        return ask_error(server, 503, "5.5.1", order_hint(server), out_event);
    }
    return ask_error(server, 500, "5.5.2", "The command is not known", out_event);
}

static bool next_command(struct smtp_server *server, struct smtp_event *out_event)
{
    struct pn_str line;
    enum smtp_line_result result = smtp_line_take(&server->line, &line);

    /* A TLS record starts with 0x16 and may never have a line end. */
    if (result == SMTP_LINE_ENDLESS || (line.len > 0 && line.ptr[0] == 0x16)) {
        return give_up(server, out_event);
    }
    if (result == SMTP_LINE_MORE) {
        return false;
    }
    if (smtp_command_foreign(line)) {
        return give_up(server, out_event);
    }
    if (result == SMTP_LINE_LONG) {
        return ask_error(server, 500, "5.5.2", "The line is too long", out_event);
    }
    if (result == SMTP_LINE_BAD) {
        return ask_error(server, 500, "5.5.2", "A line has no CR, LF or NUL inside", out_event);
    }
    return next_verb(server, line, out_event);
}

bool smtp_server_next(struct smtp_server *server, struct smtp_event *out_event)
{
    if (server->waiting) {
        return false;
    }
    if (server->state & (TEXT | CHUNK)) {
        return next_text(server, out_event);
    }
    if (server->state == DOOMED) {
        return give_up(server, out_event);
    }
    return (server->state & COMMANDS) && next_command(server, out_event);
}

/* Refused octets must go before the answer can leave, and before a command can come. */
static void begin_eating(struct smtp_server *server, const struct verb *verb,
                         const struct smtp_reply *reply)
{
    server->resume = verb->kind == SMTP_EV_DATA ? READY : server->state;
    server->state = EATING;
    server->kept = *reply;
    if (server->left == 0) {
        finish_eating(server);
    }
}

void smtp_server_reply(struct smtp_server *server, const struct smtp_reply *reply)
{
    const struct verb *verb = server->waiting;
    enum state next;

    pn_assert(verb);
    server->waiting = NULL;
    next = reply->code < 400 ? verb->then : verb->otherwise;
    if (reply->code == 421) {
        next = CLOSED; /* RFC 5321 3.8: it says that we close. */
    }
    if (next == EATING) {
        begin_eating(server, verb, reply);
        return;
    }
    if (next & (TEXT | CHUNK)) {
        smtp_decoder_init(&server->decoder, next == TEXT, server->mend,
                          server->facts.message_octets);
    }
    if (next != SAME) {
        server->state = next;
    }
    if (verb->kind == SMTP_EV_HELO && reply->code == 250) {
        write_hello(server, verb->parse == smtp_command_ehlo);
    } else if (verb->kind == SMTP_EV_XCLIENT && reply->code == 220) {
        write_greeting(server);
    } else if (next != CHUNK) { /* The answer to a chunk follows its octets. */
        write_reply(server, reply);
    }
}

void smtp_server_say(struct smtp_server *server, const struct smtp_reply *reply)
{
    server->waiting = NULL;
    if (server->state != CLOSED && pn_buf_room(&server->output) >= REPLY_MAX) {
        write_reply(server, reply);
    }
    server->state = CLOSED;
}

void smtp_server_secured(struct smtp_server *server)
{
    pn_assert(server->state == TLS);
    server->state = GREETED;
    server->facts.secured = true;
    smtp_line_clear(&server->line);
}

void smtp_server_offer_xclient(struct smtp_server *server, bool offered)
{
    server->facts.xclient = offered;
}

struct pn_buf *smtp_server_output(struct smtp_server *server)
{
    return &server->output;
}

bool smtp_server_in_text(const struct smtp_server *server)
{
    return server->state & (TEXT | CHUNK | EATING);
}
