/*
 * helper_talk.c - see helper_talk.h.
 *
 * Each piece is fed from memory of exactly its size that is freed afterwards, so that the
 * address sanitizer sees a slice that lives too long.
 */
#include "helper_talk.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define TALK_MAX 1000000

static const char *const names[] = {
    [SMTP_EV_HELO] = "HELO",         [SMTP_EV_MAIL] = "MAIL",         [SMTP_EV_RCPT] = "RCPT",
    [SMTP_EV_DATA] = "DATA",         [SMTP_EV_TEXT] = "TEXT",         [SMTP_EV_CHUNK] = "CHUNK",
    [SMTP_EV_END] = "END",           [SMTP_EV_RSET] = "RSET",         [SMTP_EV_NOOP] = "NOOP",
    [SMTP_EV_HELP] = "HELP",         [SMTP_EV_VRFY] = "VRFY",         [SMTP_EV_ETRN] = "ETRN",
    [SMTP_EV_QUIT] = "QUIT",         [SMTP_EV_STARTTLS] = "STARTTLS", [SMTP_EV_ERROR] = "ERROR",
    [SMTP_EV_STRANGER] = "STRANGER", [SMTP_EV_XCLIENT] = "XCLIENT",
};

void talk_init(struct talk *talk, const struct smtp_server_options *options)
{
    *talk = (struct talk){.server = smtp_server_new(options)};
    pn_buf_init(&talk->trace, TALK_MAX);
    pn_buf_init(&talk->text, TALK_MAX);
    pn_buf_init(&talk->output, TALK_MAX);
    smtp_server_greet(talk->server, NULL);
    pn_buf_clear(smtp_server_output(talk->server));
}

void talk_fini(struct talk *talk)
{
    smtp_server_free(&talk->server);
    pn_buf_fini(&talk->trace);
    pn_buf_fini(&talk->text);
    pn_buf_fini(&talk->output);
}

static void say(struct talk *talk, const char *z)
{
    pn_assert(pn_buf_append_z(&talk->trace, z) == 0);
}

static void say_text(struct talk *talk, struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\r' && i + 1 < s.len && s.ptr[i + 1] == '\n') {
            say(talk, "|");
            i++;
        } else if (pn_is_control(s.ptr[i])) {
            pn_assert(pn_buf_printf(&talk->trace, "<%02x>", (unsigned)s.ptr[i]) == 0);
        } else {
            pn_assert(pn_buf_append_char(&talk->trace, s.ptr[i]) == 0);
        }
    }
}

static void say_params(struct talk *talk, const struct smtp_event *event)
{
    if (event->size_known) {
        pn_assert(pn_buf_printf(&talk->trace, " SIZE=%llu",
                                (unsigned long long)event->size_octets) == 0);
    }
    say(talk, event->flags & MAIL_8BITMIME ? " 8BIT" : "");
    say(talk, event->flags & MAIL_SMTPUTF8 ? " UTF8" : "");
    say(talk, event->flags & MAIL_UTF8_ADDRESS ? " UTF8-ADDRESS" : "");
    say(talk, event->ret == MAIL_RET_FULL ? " FULL" : event->ret ? " HDRS" : "");
    if (event->envid.len > 0) {
        say(talk, " ENVID=");
        say_text(talk, event->envid);
    }
    if (event->notify) {
        pn_assert(pn_buf_printf(&talk->trace, " NOTIFY=%u", event->notify) == 0);
    }
    if (event->orcpt.len > 0) {
        say(talk, " ORCPT=");
        say_text(talk, event->orcpt);
    }
}

static void say_event(struct talk *talk, const struct smtp_event *event)
{
    say(talk, pn_buf_str(&talk->trace).len > 0 ? " " : "");
    say(talk, event->kind == SMTP_EV_HELO && event->extended ? "EHLO" : names[event->kind]);
    if (event->kind == SMTP_EV_HELO || event->kind == SMTP_EV_ETRN ||
        event->kind == SMTP_EV_XCLIENT) {
        say(talk, "[");
        say_text(talk, event->name);
        say(talk, "]");
    } else if (event->kind == SMTP_EV_MAIL || event->kind == SMTP_EV_RCPT) {
        say(talk, "[");
        say_text(talk, event->address.text);
        say_params(talk, event);
        say(talk, "]");
    } else if (event->kind == SMTP_EV_CHUNK || event->kind == SMTP_EV_END) {
        say(talk, "[");
        say_text(talk, pn_buf_str(&talk->text));
        say(talk, "]");
        say(talk, event->bare_newline ? "bare" : "");
        say(talk, event->too_long ? "long" : "");
        pn_assert(pn_buf_printf(&talk->trace, "%llu", (unsigned long long)event->text_octets) ==
                  0);
    }
}

static bool seen(const struct talk *talk, const char *what)
{
    struct pn_str trace = pn_buf_str(&talk->trace);

    return trace.len > 0 && memmem(trace.ptr, trace.len, what, strlen(what)) != NULL;
}

static void judge_address(struct pn_str local, struct smtp_reply *reply)
{
    if (pn_str_eq(local, PN_STR("never"))) {
        smtp_reply_set(reply, 421, "4.3.2", "Closing");
    } else if (pn_str_starts(local, PN_STR("no")) && !pn_str_eq(local, PN_STR("nodata")) &&
               !pn_str_eq(local, PN_STR("nochunk"))) {
        smtp_reply_set(reply, 550, "5.1.1", "No");
    }
}

static void decide(const struct talk *talk, const struct smtp_event *event,
                   struct smtp_reply *reply)
{
    smtp_reply_set(reply, 250, "2.0.0", "Yes");
    switch (event->kind) {
    case SMTP_EV_MAIL:
    case SMTP_EV_RCPT:
        judge_address(event->address.local, reply);
        break;
    case SMTP_EV_DATA:
        smtp_reply_set(reply, 354, "", "Go on");
        if (seen(talk, "nodata@")) {
            smtp_reply_set(reply, 451, "4.3.0", "Later");
        }
        break;
    case SMTP_EV_CHUNK:
    case SMTP_EV_END:
        if (event->too_long || seen(talk, "nochunk@")) {
            smtp_reply_set(reply, 552, "5.3.4", "Too long");
        } else if (event->bare_newline) {
            smtp_reply_set(reply, 550, "5.6.11", "Bare newline");
        }
        break;
    case SMTP_EV_XCLIENT:
    case SMTP_EV_STARTTLS:
        smtp_reply_set(reply, 220, "2.0.0", "Go on");
        break;
    case SMTP_EV_QUIT:
        smtp_reply_set(reply, 221, "2.0.0", "Bye");
        break;
    case SMTP_EV_ERROR:
        *reply = event->reply;
        break;
    default:
        break;
    }
}

static void answer(struct talk *talk, const struct smtp_event *event)
{
    struct smtp_reply reply;

    decide(talk, event, &reply);
    say_event(talk, event);
    pn_assert(pn_buf_printf(&talk->trace, "=%d", reply.code) == 0);
    if (event->kind == SMTP_EV_ERROR) {
        pn_assert(pn_buf_printf(&talk->trace, "/%s", reply.enhanced) == 0);
    }
    if (event->kind == SMTP_EV_END || event->kind == SMTP_EV_DATA) {
        pn_buf_clear(&talk->text); /* A transaction may have ended without an END. */
    }
    smtp_server_reply(talk->server, &reply);
}

static bool pump(struct talk *talk)
{
    struct pn_buf *output = smtp_server_output(talk->server);
    struct smtp_event event;
    bool any = false;

    while (smtp_server_next(talk->server, &event)) {
        any = true;
        if (event.kind == SMTP_EV_TEXT) {
            pn_assert(event.data.len > 0);
            pn_assert(pn_buf_append(&talk->text, event.data) == 0);
            talk->texts++;
        } else if (event.kind == SMTP_EV_STRANGER) {
            say_event(talk, &event);
        } else {
            answer(talk, &event);
        }
    }
    if (pn_buf_str(output).len > 0) {
        pn_assert(pn_buf_append(&talk->output, pn_buf_str(output)) == 0);
        pn_buf_clear(output);
    }
    return any;
}

bool talk_feed(struct talk *talk, struct pn_str piece)
{
    size_t at = 0;

    while (at < piece.len) {
        struct pn_str rest = pn_str_sub(piece, at, piece.len);
        char *copy = pn_alloc(rest.len);
        size_t taken;
        bool any;

        memcpy(copy, rest.ptr, rest.len);
        taken = smtp_server_feed(talk->server, (struct pn_str){copy, rest.len});
        any = pump(talk);
        free(copy);
        at += taken;
        if (taken == 0 && !any) {
            return false;
        }
    }
    return true;
}

void talk_run(struct talk *talk, struct pn_str input, size_t cut, size_t others)
{
    size_t at = 0;
    bool more = true;

    while (more && at < input.len) {
        struct pn_str piece = pn_str_sub(input, at, at < cut ? cut - at : others);

        more = talk_feed(talk, piece);
        at += piece.len;
    }
}
