/*
 * helper_owner.c - an owner of a session: hands in mails, gives their text, and writes down
 * what it is told.
 */
#include "helper_owner.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- the owner ---- */

static void trace(struct fixture *f, const char *format, ...) PN_PRINTF(2, 3);
static void trace(struct fixture *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    assert_int_equal(pn_buf_vprintf(&f->trace, format, args), 0);
    va_end(args);
}

void owner_give_text(struct fixture *f, struct smtp_client_mail *mail)
{
    size_t i = (size_t)(mail - f->mails);
    size_t room;

    while (!f->hold_text && f->given[i] < mail->size_octets &&
           (room = out_session_text_room(f->session)) > 0) {
        struct pn_str piece = pn_str_sub(pn_str_z(f->text[i]), f->given[i], room);

        f->given[i] += piece.len;
        out_session_text(f->session, piece, f->given[i] == mail->size_octets);
    }
}

static void give_live_text(struct fixture *f)
{
    size_t room;

    while (f->live_left > 0 && (room = out_session_text_room(f->session)) > 0) {
        struct pn_str piece = pn_str_sub(f->live_text, f->live_text.len - f->live_left, room);

        f->live_left -= piece.len;
        out_session_live_text(f->session, piece, f->live_left == 0 && !f->hold_text);
    }
}

void owner_take_step(struct fixture *f)
{
    switch (f->steps ? *f->steps++ : STEP_END) {
    case STEP_END:
        f->steps = NULL;
        break;
    case STEP_MAIL:
        out_session_live_mail(f->session, PN_STR("s@a.example"), 0, f->live_flags,
                              MAIL_RET_NONE, PN_STR(""));
        break;
    case STEP_RCPT:
        out_session_live_rcpt(f->session, &f->recipient);
        break;
    case STEP_DATA:
        out_session_live_data(f->session);
        break;
    case STEP_TEXT:
        f->live_left = f->live_text.len;
        give_live_text(f);
        break;
    case STEP_RESET:
        out_session_live_reset(f->session);
        break;
    }
}

static void hand_in(struct fixture *f)
{
    while (f->handed < f->mail_count && out_session_wants_mail(f->session)) {
        out_session_mail(f->session, &f->mails[f->handed++]);
    }
}

static void take_event(struct fixture *f, const struct out_event *event)
{
    static const char *const ends[] = {"CLEAN", "BUSY",    "FAILED", "LOST",
                                       "LOOP",  "REFUSED", "CLIENT"};
    int mail = (int)(event->mail - f->mails);

    switch (event->kind) {
    case OUT_EV_READY:
        trace(f, "READY %s\n", out_session_peer(f->session).ptr);
        owner_take_step(f);
        break;
    case OUT_EV_MORE:
        if (event->mail) {
            owner_give_text(f, event->mail);
        } else {
            give_live_text(f);
        }
        break;
    case OUT_EV_TEXT:
        trace(f, "TEXT %d\n", mail);
        owner_give_text(f, event->mail);
        break;
    case OUT_EV_DONE:
        trace(f, "DONE %d: %d %s\n", mail, f->replies[mail].code, f->replies[mail].text);
        break;
    case OUT_EV_LOST:
        trace(f, "LOST %d: %d%s\n", mail, f->replies[mail].code,
              f->mails[mail].last_octet_sent ? " in doubt" : "");
        break;
    case OUT_EV_LIVE:
        trace(f, "LIVE %d%s%s %s\n", event->reply.code, event->reply.enhanced[0] ? " " : "",
              event->reply.enhanced, event->reply.text);
        owner_take_step(f);
        break;
    case OUT_EV_ENDED:
        trace(f, "%s %.*s\n", ends[event->end], PN_FMT(event->reason));
        if (event->reply.code != 0) {
            trace(f, "VERDICT %d %s\n", event->reply.code, event->reply.text);
        }
        break;
    }
    if (event->kind != OUT_EV_ENDED) {
        hand_in(f);
    }
}

static void on_event(struct out_session *session, void *owner)
{
    struct fixture *f = owner;
    struct out_event event;

    assert_false(f->in_call);
    if (f->free_in_event) {
        out_session_free(&f->session);
        return;
    }
    f->in_call = true;
    while (out_session_next(session, &event)) {
        take_event(f, &event);
    }
    f->in_call = false;
}

void owner_on_line(void *owner, char direction, struct pn_str line)
{
    struct fixture *f = owner;

    assert_int_equal(pn_buf_printf(&f->lines, "%c%.*s\n", direction, PN_FMT(line)), 0);
}

/* ---- set-up ---- */

int owner_setup(void **state)
{
    struct fixture *f = PN_NEW(struct fixture);
    struct conf_mistakes mistakes;

    world_init(&f->world);
    conf_mistakes_init(&mistakes);
    f->conf = conf_parse("postern.conf",
                         PN_STR("hostname = \"mx2.example.net\"\n"
                                "listener \"mx\" { address = {\"0.0.0.0:25\"} }\n"),
                         &mistakes);
    assert_non_null(f->conf);
    conf_mistakes_fini(&mistakes);
    pn_buf_init(&f->trace, 1u << 20);
    pn_buf_init(&f->lines, 1u << 20);
    f->recipient.address = PN_STR("r@example.org");
    f->live_text = PN_STR("Hi\r\n");
    for (size_t i = 0; i < MAILS; i++) {
        f->text[i] = "Hi\r\n";
        f->mails[i] = (struct smtp_client_mail){.sender = PN_STR("s@a.example"),
                                                .recipients = &f->recipient,
                                                .recipient_count = 1,
                                                .size_octets = 4,
                                                .replies = &f->replies[i]};
    }
    f->deps = (struct out_deps){.loop = &f->world.loop,
                                .network = &f->world.network,
                                .resolver = &f->world.resolver,
                                .tls = &f->world.tls};
    *state = f;
    return 0;
}

int owner_teardown(void **state)
{
    struct fixture *f = *state;

    out_session_free(&f->session);
    world_fini(&f->world);
    conf_unref(&f->conf);
    conf_domain_unref(&f->domain);
    pn_buf_fini(&f->trace);
    pn_buf_fini(&f->lines);
    free(f);
    return 0;
}

void owner_begin_with(struct fixture *f, const char *domain, struct out_options options)
{
    struct conf_mistakes mistakes;
    char text[1024];

    snprintf(text, sizeof text, "recipients = {any}\nwhen_up = accept\n%s\n", domain);
    conf_mistakes_init(&mistakes);
    f->domain = conf_domain_parse("example.org.conf", PN_STR("example.org"), pn_str_z(text),
                                  f->conf, NULL, 0, &mistakes);
    assert_non_null(f->domain);
    conf_mistakes_fini(&mistakes);
    owner_begin_domain(f, options);
}

void owner_begin_domain(struct fixture *f, struct out_options options)
{
    options.conf = f->conf;
    options.domain = f->domain;
    options.window_mails = 2;
    options.window_octets = 1u << 20;
    f->session = out_session_new(&f->deps, &options, on_event, f);
    assert_int_equal(f->trace.len, 0);
}

void owner_begin(struct fixture *f, const char *domain)
{
    owner_begin_with(f, domain, (struct out_options){0});
}

void owner_expect(struct fixture *f, const char *expected)
{
    assert_int_equal(pn_buf_append_char(&f->trace, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->trace).ptr, expected);
    pn_buf_clear(&f->trace);
}

void owner_expect_got(struct world_peer *peer, const char *expected)
{
    assert_int_equal(pn_buf_append_char(&peer->got, '\0'), 0);
    assert_string_equal(pn_buf_str(&peer->got).ptr, expected);
    pn_buf_clear(&peer->got);
}

const struct world_rule owner_friendly[] = {
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 PIPELINING\r\n"},
    {.verb = "MAIL", .reply = OK},
    {.verb = "RCPT", .reply = OK},
    {.verb = "DATA", .reply = "354 go\r\n"},
    {.verb = ".", .reply = "250 taken\r\n"},
    {.verb = "RSET", .reply = OK},
    {.verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE},
    {0},
};
const struct world_rule owner_with_tls[] = {
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 STARTTLS\r\n"},
    {.verb = "STARTTLS", .reply = "220 go\r\n"},
    {.verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE},
    {0},
};

struct world_peer *owner_add_peer(struct fixture *f, const char *endpoint,
                                  const struct world_rule *rules)
{
    return world_peer(&f->world, (struct world_peer){.endpoint = endpoint,
                                                     .greeting = "220 mail.example.org\r\n",
                                                     .rules = rules});
}

struct world_peer *owner_add_one(struct fixture *f, const struct world_rule *rules)
{
    world_name(&f->world, (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1"});
    return owner_add_peer(f, "192.0.2.1:25", rules);
}
