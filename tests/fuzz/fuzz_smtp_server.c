// links: smtp mail base
/*
 * Feeds one conversation twice, whole and in pieces, to two servers that are answered by
 * the same rule. Events, texts and output must be the same, and a text that was let
 * through must survive stuffing. The first two octets choose the options and the pieces.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/smtp/body.h"
#include "postern/smtp/server.h"

#include <string.h>

#define LOG_MAX (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

struct side {
    struct smtp_server *server;
    struct pn_buf log; /* all that can be seen from outside */
    struct pn_buf text;
    bool mend;
};

static void note(struct side *side, struct pn_str s)
{
    pn_assert(pn_buf_printf(&side->log, "%zu:", s.len) == 0);
    pn_assert(pn_buf_append(&side->log, s) == 0);
}

static void note_number(struct side *side, uint64_t number)
{
    pn_assert(pn_buf_printf(&side->log, "%llu,", (unsigned long long)number) == 0);
}

static void note_event(struct side *side, const struct smtp_event *event)
{
    note_number(side, event->kind);
    note(side, event->name);
    note_number(side, event->extended);
    note(side, event->address.text);
    note(side, event->address.local);
    note(side, event->address.domain);
    note(side, pn_str_z(event->address.ascii));
    note_number(side, event->size_known);
    note_number(side, event->size_octets);
    note_number(side, event->flags);
    note_number(side, event->ret);
    note(side, event->envid);
    note_number(side, event->notify);
    note(side, event->orcpt);
    note_number(side, event->bare_newline);
    note_number(side, event->too_long);
    note_number(side, event->text_octets);
    note_number(side, (uint64_t)event->reply.code);
    note(side, pn_str_z(event->reply.text));
}

/* Every line ends in CR LF, and what DATA would send of it decodes to the same text. */
static void check_text(struct pn_str text)
{
    struct smtp_stuffer stuffer;
    struct smtp_decoder decoder;
    struct pn_buf stuffed;
    struct pn_buf back;
    struct pn_str rest;
    struct pn_str piece;

    pn_assert(text.len == 0 || pn_str_ends(text, PN_STR("\r\n")));
    pn_buf_init(&stuffed, LOG_MAX);
    pn_buf_init(&back, LOG_MAX);
    smtp_stuffer_init(&stuffer);
    smtp_decoder_init(&decoder, true, false, UINT64_MAX);
    pn_assert(smtp_stuffer_feed(&stuffer, text, &stuffed) == text.len);
    pn_assert(smtp_stuffer_finish(&stuffer, &stuffed) == 0);
    rest = pn_buf_str(&stuffed);
    while (smtp_decoder_next(&decoder, &rest, &piece) == SMTP_BODY_TEXT) {
        pn_assert(pn_buf_append(&back, piece) == 0);
    }
    pn_assert(rest.len == 0 && smtp_decoder_ended(&decoder) && !decoder.bare_newline);
    pn_assert(pn_str_eq(pn_buf_str(&back), text));
    pn_buf_fini(&stuffed);
    pn_buf_fini(&back);
}

static void take_end(struct side *side, const struct smtp_event *event)
{
    struct pn_str text = pn_buf_str(&side->text);

    note(side, text);
    if (event->kind == SMTP_EV_END && !event->too_long &&
        (side->mend || !event->bare_newline)) {
        check_text(text);
    }
    if (event->kind == SMTP_EV_END) {
        pn_buf_clear(&side->text);
    }
}

/* The rule: a first letter of the local part decides. */
static void decide(const struct smtp_event *event, struct smtp_reply *reply)
{
    char first = event->address.local.len > 0 ? event->address.local.ptr[0] : '\0';

    smtp_reply_set(reply, 250, "2.0.0", "Yes");
    if (event->kind == SMTP_EV_ERROR) {
        *reply = event->reply;
    } else if (event->kind == SMTP_EV_STARTTLS || event->kind == SMTP_EV_XCLIENT) {
        reply->code = 220;
    } else if (event->kind == SMTP_EV_DATA) {
        reply->code = 354;
    } else if (first == 'n' || event->text_octets % 16 == 15) {
        smtp_reply_set(reply, 550, "5.1.1", "No");
    } else if (first == 'q') {
        smtp_reply_set(reply, 421, "4.3.2", "Closing");
    }
}

/* Refuses the DATA of every third message, so that chunks are eaten as well. */
static void answer(struct side *side, const struct smtp_event *event)
{
    struct smtp_reply reply;

    decide(event, &reply);
    if (event->kind == SMTP_EV_DATA) {
        pn_buf_clear(&side->text); /* of a transaction that ended without an END */
    }
    if (event->kind == SMTP_EV_DATA && pn_buf_str(&side->log).len % 3 == 2) {
        smtp_reply_set(&reply, 451, "4.3.0", "Later");
    }
    smtp_server_reply(side->server, &reply);
    if (event->kind == SMTP_EV_STARTTLS) {
        smtp_server_secured(side->server);
    }
}

static bool pump(struct side *side)
{
    struct pn_buf *output = smtp_server_output(side->server);
    struct smtp_event event;
    bool any = false;

    while (smtp_server_next(side->server, &event)) {
        any = true;
        if (event.kind == SMTP_EV_TEXT) {
            pn_assert(event.data.len > 0);
            pn_assert(pn_buf_append(&side->text, event.data) == 0);
            continue;
        }
        note_event(side, &event);
        if (event.kind == SMTP_EV_CHUNK || event.kind == SMTP_EV_END) {
            take_end(side, &event);
        }
        if (event.kind != SMTP_EV_STRANGER) {
            answer(side, &event);
            note(side, pn_buf_str(output));
            pn_buf_clear(output);
        }
    }
    return any;
}

/* False: the server takes no more. */
static bool feed(struct side *side, struct pn_str piece)
{
    while (piece.len > 0) {
        char *copy = pn_alloc(piece.len);
        size_t taken;
        bool any;

        memcpy(copy, piece.ptr, piece.len);
        taken = smtp_server_feed(side->server, (struct pn_str){copy, piece.len});
        any = pump(side);
        free(copy);
        piece = pn_str_sub(piece, taken, piece.len);
        if (taken == 0 && !any) {
            return false;
        }
    }
    return true;
}

static void begin(struct side *side, unsigned options)
{
    struct smtp_server_options with = {
        .hostname = PN_STR("mx2.example.net"),
        .command_length = options & 1 ? 64 : 1024,
        .message_octets = options & 2 ? 40 : 100000,
        .normalise_newlines = options & 4,
        .starttls = options & 8,
        .secured = options & 16,
        .xclient = options & 32,
    };

    *side = (struct side){.server = smtp_server_new(&with), .mend = options & 4};
    pn_buf_init(&side->log, LOG_MAX);
    pn_buf_init(&side->text, LOG_MAX);
    smtp_server_greet(side->server, NULL);
    pn_buf_clear(smtp_server_output(side->server));
}

static void end(struct side *side)
{
    note(side, pn_buf_str(smtp_server_output(side->server)));
    note_number(side, smtp_server_in_text(side->server));
}

static void fini(struct side *side)
{
    smtp_server_free(&side->server);
    pn_buf_fini(&side->log);
    pn_buf_fini(&side->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    struct pn_str input = {(const char *)octets + 2, size - 2};
    struct side whole;
    struct side pieces;
    uint32_t seed;

    if (size < 2) {
        return 0;
    }
    seed = octets[1];
    begin(&whole, octets[0]);
    begin(&pieces, octets[0]);
    (void)feed(&whole, input);
    for (size_t at = 0; at < input.len;) {
        struct pn_str piece = pn_str_sub(input, at, 1 + (seed >> 16) % (1 + octets[1] % 40));

        seed = seed * 1664525 + 1013904223;
        at += piece.len;
        if (!feed(&pieces, piece)) {
            break;
        }
    }
    end(&whole);
    end(&pieces);
    pn_assert(pn_str_eq(pn_buf_str(&whole.log), pn_buf_str(&pieces.log)));
    pn_assert(pn_str_eq(pn_buf_str(&whole.text), pn_buf_str(&pieces.text)));
    fini(&whole);
    fini(&pieces);
    return 0;
}
