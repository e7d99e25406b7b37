/*
 * test_pool.c - warm sessions, and those who wait for one, on a virtual clock.
 */
#include "helper_world.h"

#include "postern/base/mem.h"
#include "postern/outbound/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ASKERS = 4 };

/* Asks for a session, and writes down what it is told. */
struct asker {
    struct out_pool_request request;
    struct fixture *f;
    struct out_pool *pool;
    struct out_session *session;
    char name;
    bool again;   /* asks once more when it is told NULL */
    bool returns; /* puts the session back when it has got it */
};

struct fixture {
    struct world world;
    struct conf *conf;
    struct conf_domain *domain;
    struct out_deps deps;
    struct out_board *board;
    struct out_pool *pool, *other; /* of two workers */
    struct world_peer *peer;
    struct asker askers[ASKERS];
    bool in_call;
    struct pn_buf trace;
};

#define OK   "250 ok\r\n"
#define PEER "mail.example.org[192.0.2.1]:25"
#define FRIENDLY                                                                               \
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"},  \
        {.verb = "MAIL", .reply = OK}, {.verb = "RCPT", .reply = OK},                          \
        {.verb = "DATA", .reply = "354 go\r\n"},                                               \
    {                                                                                          \
        .verb = ".", .reply = OK                                                               \
    }

static const struct world_rule friendly[] = {
    FRIENDLY,
    {.verb = "RSET", .reply = OK},
    {.verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE},
    {0},
};

static struct conf_domain *parse_domain(const struct conf *conf, const char *options)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;
    char text[512];

    snprintf(text, sizeof text,
             "recipients = {any}\nwhen_up = accept\ntarget = {\"mail.example.org:25\"}\n%s\n",
             options);
    conf_mistakes_init(&mistakes);
    domain = conf_domain_parse("example.org.conf", PN_STR("example.org"), pn_str_z(text), conf,
                               NULL, 0, &mistakes);
    assert_non_null(domain);
    conf_mistakes_fini(&mistakes);
    return domain;
}

static void on_session(void *owner, struct out_session *session, struct pn_str reason)
{
    struct asker *asker = owner;
    struct fixture *f = asker->f;

    assert_false(f->in_call);
    assert_null(asker->request.pending);
    asker->session = session;
    if (session) {
        assert_int_equal(pn_buf_printf(&f->trace, "%c has it\n", asker->name), 0);
    } else {
        assert_int_equal(
            pn_buf_printf(&f->trace, "%c has none: %.*s\n", asker->name, PN_FMT(reason)), 0);
    }
    if (session && asker->returns) {
        asker->session = NULL;
        out_pool_put(asker->pool, session, true);
    } else if (!session && asker->again) {
        asker->again = false;
        out_pool_get(asker->pool, &asker->request, f->conf, f->domain, PN_SECONDS(1));
    }
}

static void on_event(struct out_session *session, void *owner)
{
    struct asker *asker = owner;
    struct out_event event;

    while (asker->session && out_session_next(session, &event)) {
        if (event.kind == OUT_EV_LIVE) {
            assert_int_equal(
                pn_buf_printf(&asker->f->trace, "%c: %d\n", asker->name, event.reply.code), 0);
        } else if (event.kind == OUT_EV_ENDED) {
            assert_int_equal(pn_buf_printf(&asker->f->trace, "%c: ended\n", asker->name), 0);
            asker->session = NULL;
            out_pool_put(asker->pool, session, false);
        }
    }
}

static int setup(void **state)
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
    f->domain = parse_domain(f->conf, "");
    pn_buf_init(&f->trace, 1u << 20);
    f->deps = (struct out_deps){.loop = &f->world.loop,
                                .network = &f->world.network,
                                .resolver = &f->world.resolver,
                                .tls = &f->world.tls};
    world_name(&f->world, (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1"});
    f->peer = world_peer(&f->world, (struct world_peer){.endpoint = "192.0.2.1:25",
                                                        .greeting = "220 mail.example.org\r\n",
                                                        .rules = friendly});
    f->board = out_board_new();
    f->pool = out_pool_new(&f->deps, f->board);
    f->other = out_pool_new(&f->deps, f->board);
    for (int i = 0; i < ASKERS; i++) {
        f->askers[i] = (struct asker){
            .request = {.on_session = on_session, .on_event = on_event, .owner = &f->askers[i]},
            .f = f,
            .pool = f->pool,
            .name = (char)('A' + i)};
    }
    *state = f;
    return 0;
}

/* The board must have every session back. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ASKERS; i++) {
        if (f->askers[i].session) {
            out_pool_put(f->askers[i].pool, f->askers[i].session, true);
        }
    }
    out_pool_free(&f->pool);
    out_pool_free(&f->other);
    assert_int_equal(out_board_sessions(f->board, pn_str_z(f->domain->destination)), 0);
    assert_int_equal(out_board_wanted(f->board, pn_str_z(f->domain->destination)), 0);
    world_fini(&f->world);
    out_board_free(&f->board);
    conf_unref(&f->conf);
    conf_domain_unref(&f->domain);
    pn_buf_fini(&f->trace);
    free(f);
    return 0;
}

static void limit_sessions(struct fixture *f, const char *options)
{
    conf_domain_unref(&f->domain);
    f->domain = parse_domain(f->conf, options);
}

static void ask(struct fixture *f, size_t i, int64_t wait_ms)
{
    f->in_call = true;
    out_pool_get(f->askers[i].pool, &f->askers[i].request, f->conf, f->domain, wait_ms);
    f->in_call = false;
}

static void put(struct fixture *f, size_t i, bool clean)
{
    struct out_session *session = f->askers[i].session;

    f->askers[i].session = NULL;
    f->in_call = true;
    out_pool_put(f->askers[i].pool, session, clean);
    f->in_call = false;
}

static void say_mail(struct fixture *f, size_t i)
{
    out_session_live_mail(f->askers[i].session, PN_STR("s@a.example"), 0, 0, MAIL_RET_NONE,
                          PN_STR(""));
}

static void expect(struct fixture *f, int64_t after_ms, const char *expected)
{
    world_run(&f->world, after_ms);
    assert_int_equal(pn_buf_append_char(&f->trace, '\0'), 0);
    assert_string_equal(pn_buf_str(&f->trace).ptr, expected);
    pn_buf_clear(&f->trace);
}

static unsigned sessions(struct fixture *f)
{
    return out_board_sessions(f->board, pn_str_z(f->domain->destination));
}

/* ---- one after the other ---- */

static void test_warm(void **state)
{
    struct fixture *f = *state;
    struct out_board_entry entry;

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    entry = out_board_get(f->board, pn_str_z(f->domain->destination));
    assert_true(entry.capabilities_known);
    assert_int_equal(entry.capabilities, SMTP_CAP_SIZE | SMTP_CAP_PIPELINING);
    assert_int_equal(entry.size_limit, 1000);
    say_mail(f, 0);
    expect(f, 0, "A: 250\n");
    out_session_live_reset(f->askers[0].session);
    expect(f, 0, "A: 250\n");
    put(f, 0, true);
    ask(f, 1, PN_SECONDS(1));
    expect(f, 0, "B has it\n");
    say_mail(f, 1);
    expect(f, 0, "B: 250\n");
    assert_int_equal(f->peer->connections, 1);
    assert_int_equal(sessions(f), 1);
}

/* The pool's timers are all gone when nothing is warm any more. */
static void test_idle(void **state)
{
    struct fixture *f = *state;

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    world_run(&f->world, PN_MINUTES(10));
    put(f, 0, true);
    world_run(&f->world, OUT_POOL_IDLE_MS - 1);
    assert_int_equal(f->peer->open, 1);
    world_run(&f->world, 1);
    assert_int_equal(f->peer->open, 0);
    assert_int_equal(sessions(f), 0);
    assert_int_equal(pn_timers_next(&f->world.loop.timers).ms, PN_MONO_NEVER.ms);
    assert_true(pn_str_ends(pn_buf_str(&f->peer->got), PN_STR("QUIT\n")));
    ask(f, 1, PN_SECONDS(1));
    expect(f, 0, "B has it\n");
    assert_int_equal(f->peer->connections, 2);
}

static void test_closed_while_warm(void **state)
{
    static const char *const words[] = {"", "421 4.4.2 idle\r\n", "250 what\r\n"};
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(words); i++) {
        ask(f, 0, PN_SECONDS(1));
        expect(f, 0, "A has it\n");
        put(f, 0, true);
        world_run(&f->world, PN_SECONDS(1));
        world_say(&f->world, f->peer, words[i], RULE_CLOSE);
        expect(f, 0, "");
        assert_int_equal(sessions(f), 0);
        assert_int_equal(f->peer->connections, i + 1);
    }
}

/* Asked for and closed on one turn: what has ended is not handed out. */
static void test_closed_when_asked(void **state)
{
    struct fixture *f = *state;

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    put(f, 0, true);
    expect(f, 0, "");
    ask(f, 1, PN_SECONDS(1));
    world_say(&f->world, f->peer, "", RULE_CLOSE);
    expect(f, 0, "B has it\n");
    assert_int_equal(f->peer->connections, 2);
}

/* ---- more than one ---- */

static void test_limit(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 2");
    for (size_t i = 0; i < 4; i++) {
        ask(f, i, PN_SECONDS(20));
    }
    expect(f, 0, "A has it\nB has it\n");
    assert_int_equal(f->peer->connections, 2);
    put(f, 1, true);
    expect(f, 0, "C has it\n");
    expect(f, PN_SECONDS(10), "");
    /* One that ends makes room for a new one. */
    say_mail(f, 0);
    expect(f, 0, "A: 250\n");
    out_session_live_data(f->askers[0].session);
    expect(f, 0, "A: 354\n");
    put(f, 0, false);
    expect(f, 0, "D has it\n");
    assert_int_equal(f->peer->connections, 3);
    assert_int_equal(sessions(f), 2);
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 1");
    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    ask(f, 1, PN_SECONDS(5));
    ask(f, 2, PN_SECONDS(4));
    expect(f, PN_SECONDS(4) - 1, "");
    expect(f, 1, "C has none: no session to the next hop was to be had in time\n");
    expect(f, PN_SECONDS(1), "B has none: no session to the next hop was to be had in time\n");
    ask(f, 2, PN_SECONDS(5));
    put(f, 0, true);
    expect(f, 0, "C has it\n");
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 1");
    ask(f, 0, PN_SECONDS(1));
    ask(f, 1, PN_SECONDS(1));
    ask(f, 2, PN_SECONDS(1));
    out_pool_cancel(f->pool, &f->askers[1].request);
    assert_null(f->askers[1].request.pending);
    out_pool_cancel(f->pool, &f->askers[1].request);
    expect(f, 0, "A has it\n");
    put(f, 0, true);
    expect(f, 0, "C has it\n");
    put(f, 2, true);
    ask(f, 0, PN_SECONDS(1));
    out_pool_cancel(f->pool, &f->askers[0].request);
    expect(f, PN_SECONDS(2), "");
}

static void test_too_many_wait(void **state)
{
    struct fixture *f = *state;
    struct out_pool_request *many =
        pn_alloc_array(OUT_POOL_WAITING_MAX, sizeof(struct out_pool_request));

    limit_sessions(f, "sessions = 1");
    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    for (size_t i = 0; i < OUT_POOL_WAITING_MAX; i++) {
        many[i] = f->askers[1].request;
        out_pool_get(f->pool, &many[i], f->conf, f->domain, PN_SECONDS(1));
    }
    ask(f, 2, PN_SECONDS(1));
    ask(f, 3, PN_SECONDS(1));
    out_pool_cancel(f->pool, &f->askers[3].request);
    expect(f, 0, "C has none: too many wait for a session to the next hop\n");
    for (size_t i = 0; i < OUT_POOL_WAITING_MAX; i++) {
        out_pool_cancel(f->pool, &many[i]);
    }
    ask(f, 2, PN_SECONDS(1));
    put(f, 0, true);
    expect(f, 0, "C has it\n");
    free(many);
}

/* Who is answered may put back and ask again on the spot. */
static void test_calls_in_answers(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 1");
    for (size_t i = 0; i < 3; i++) {
        f->askers[i].returns = true;
        ask(f, i, PN_SECONDS(1));
    }
    expect(f, 0, "A has it\nB has it\nC has it\n");
    assert_int_equal(f->peer->connections, 1);
}

/* ---- sessions that do not come ---- */

static void test_refused(void **state)
{
    struct fixture *f = *state;

    f->peer->how = PEER_REFUSES;
    f->askers[1].again = true;
    ask(f, 0, PN_SECONDS(1));
    ask(f, 1, PN_SECONDS(1));
    expect(f, 0,
           "A has none: " PEER ": connection refused\nB has none: " PEER
           ": connection refused\n");
    assert_in_range(f->peer->connections, 1, 2);
    f->peer->connections = 0;
    expect(f, 499, "");
    assert_int_equal(f->peer->connections, 0);
    expect(f, 1, "B has none: " PEER ": connection refused\n");
    assert_int_equal(f->peer->connections, 1);
    f->peer->how = PEER_ACCEPTS;
    ask(f, 0, PN_SECONDS(1));
    expect(f, 500, "A has it\n");
}

/* A peer that takes one session only: the others wait for it. */
static void test_busy(void **state)
{
    struct fixture *f = *state;

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    f->peer->greeting = "421 one is enough\r\n";
    ask(f, 1, PN_SECONDS(20));
    ask(f, 2, PN_SECONDS(20));
    expect(f, PN_SECONDS(3), "");
    assert_in_range(f->peer->connections, 3, 20);
    put(f, 0, true);
    expect(f, 0, "B has it\n");
    put(f, 1, true);
    expect(f, 0, "C has it\n");
}

static void test_silent(void **state)
{
    struct fixture *f = *state;

    f->peer->how = PEER_IGNORES;
    ask(f, 0, PN_SECONDS(10));
    expect(f, PN_SECONDS(10), "A has none: no session to the next hop was to be had in time\n");
}

/* ---- sessions that are put back ---- */

static void test_reset_first(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 1");
    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    for (size_t i = 0; i < 2; i++) { /* "clean" is not believed */
        say_mail(f, 0);
        expect(f, 0, "A: 250\n");
        ask(f, 1, PN_SECONDS(1));
        put(f, 0, i == 1);
        expect(f, 0, "B has it\n");
        put(f, 1, true);
        ask(f, 0, PN_SECONDS(1));
        expect(f, 0, "A has it\n");
    }
    assert_int_equal(f->peer->connections, 1);
    assert_true(
        pn_str_ends(pn_buf_str(&f->peer->got), PN_STR("MAIL FROM:<s@a.example>\nRSET\n"
                                                      "MAIL FROM:<s@a.example>\nRSET\n")));
}

static void test_reset_fails(void **state)
{
    static const struct world_rule refuses[] = {
        FRIENDLY, {.verb = "RSET", .reply = "502 what?\r\n"}, {0}};
    static const struct world_rule closes[] = {
        FRIENDLY, {.verb = "RSET", .reply = "421 bye\r\n", .then = RULE_CLOSE}, {0}};
    static const struct world_rule ignores[] = {FRIENDLY, {.verb = "RSET"}, {0}};
    static const struct {
        const struct world_rule *rules;
        int64_t after_ms;
    } cases[] = {{refuses, 0}, {closes, 0}, {ignores, PN_SECONDS(10)}};
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        f->peer->rules = cases[i].rules;
        ask(f, 0, PN_SECONDS(1));
        expect(f, 0, "A has it\n");
        say_mail(f, 0);
        expect(f, 0, "A: 250\n");
        put(f, 0, false);
        if (cases[i].after_ms > 0) {
            expect(f, cases[i].after_ms - 1, "");
            assert_int_equal(sessions(f), 1);
            expect(f, 1, "");
        }
        expect(f, 0, "");
        assert_int_equal(sessions(f), 0);
        assert_int_equal(f->peer->open, 0);
    }
}

/* In the middle of a text, or of an exchange, there is nothing to be saved. */
static void test_dropped(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++) {
        ask(f, 0, PN_SECONDS(1));
        expect(f, 0, "A has it\n");
        say_mail(f, 0);
        if (i == 1) {
            expect(f, 0, "A: 250\n");
            out_session_live_data(f->askers[0].session);
            expect(f, 0, "A: 354\n");
            out_session_live_text(f->askers[0].session, PN_STR("Hi\r\n"), false);
        }
        put(f, 0, false);
        assert_int_equal(sessions(f), 0);
        expect(f, 0, "");
        assert_int_equal(f->peer->open, 0);
    }
}

/* A target that greets well and hangs up is not asked as fast as it can do that. */
static void test_hangs_up_when_ready(void **state)
{
    static const struct world_rule hangs_up[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n", .then = RULE_CLOSE}, {0}};
    static const struct world_rule hangs_up_at_mail[] = {
        {.verb = "EHLO", .reply = "250 mail.example.org\r\n"},
        {.verb = "MAIL", .then = RULE_CLOSE, .reply = ""},
        {0}};
    struct fixture *f = *state;

    f->peer->rules = hangs_up;
    ask(f, 0, PN_SECONDS(20));
    f->askers[0].again = true;
    world_run(&f->world, PN_SECONDS(5));
    assert_in_range(f->peer->connections, 1, 3);
    pn_buf_clear(&f->trace);
    f->peer->rules = hangs_up_at_mail;
    f->peer->connections = 0;
    for (size_t i = 0; i < 10; i++) {
        ask(f, 0, PN_SECONDS(20));
        world_run(&f->world, 100);
        if (f->askers[0].session) {
            say_mail(f, 0);
            world_run(&f->world, 0); /* it is put back when it ends */
            assert_null(f->askers[0].session);
        }
        out_pool_cancel(f->pool, &f->askers[0].request);
    }
    assert_in_range(f->peer->connections, 1, 3);
    pn_buf_clear(&f->trace);
}

static void test_ended_while_lent(void **state)
{
    struct fixture *f = *state;

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    say_mail(f, 0);
    world_say(&f->world, f->peer, "", RULE_RESET);
    expect(f, 0, "A: 250\nA: ended\n");
    assert_int_equal(sessions(f), 0);
}

/* ---- several workers, other configurations, the end ---- */

static void test_other_worker(void **state)
{
    struct fixture *f = *state;

    limit_sessions(f, "sessions = 1");
    f->askers[1].pool = f->other;
    f->askers[3].pool = f->other;
    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    ask(f, 1, PN_SECONDS(20));
    expect(f, PN_SECONDS(5), "");
    assert_int_equal(out_board_wanted(f->board, pn_str_z(f->domain->destination)), 1);
    /* An idle session is not kept from the other worker. */
    put(f, 0, true);
    expect(f, 10, "B has it\n");
    assert_int_equal(out_board_wanted(f->board, pn_str_z(f->domain->destination)), 0);
    /* Nor is it when it was idle before the other worker came. */
    put(f, 1, true);
    ask(f, 2, PN_SECONDS(20));
    expect(f, 10, "C has it\n");
    /* Nor is a busy one, when those who wait here would always be first. */
    ask(f, 0, PN_SECONDS(20));
    ask(f, 3, PN_SECONDS(20));
    expect(f, PN_SECONDS(1), "");
    put(f, 2, true);
    expect(f, 500, "D has it\n");
    put(f, 3, true);
    expect(f, PN_SECONDS(1), "A has it\n");
    /* Then each goes to the peer once, and not as often as it can. */
    assert_int_equal(f->peer->connections, 5);
    assert_int_equal(sessions(f), 1);
}

static void test_other_destination(void **state)
{
    struct fixture *f = *state;
    struct conf_domain *before = conf_domain_ref(f->domain);

    ask(f, 0, PN_SECONDS(1));
    expect(f, 0, "A has it\n");
    limit_sessions(f, "tls = none");
    assert_string_not_equal(before->destination, f->domain->destination);
    put(f, 0, true);
    ask(f, 1, PN_SECONDS(1));
    expect(f, 0, "B has it\n");
    assert_int_equal(f->peer->connections, 2);
    assert_int_equal(sessions(f), 1);
    assert_int_equal(out_board_sessions(f->board, pn_str_z(before->destination)), 1);
    expect(f, OUT_POOL_IDLE_MS, "");
    assert_int_equal(out_board_sessions(f->board, pn_str_z(before->destination)), 0);
    conf_domain_unref(&before);
}

/* At every moment: the sanitizers and the world look on. */
static void test_free_at_any_time(void **state)
{
    struct fixture *f = *state;

    f->peer->connect_ms = 5;
    for (int64_t ms = 0; ms < 12; ms++) {
        struct out_pool *pool = out_pool_new(&f->deps, f->board);

        for (size_t i = 0; i < 3; i++) {
            f->askers[i].pool = pool;
            f->askers[i].returns = true;
            ask(f, i, 8);
        }
        world_run(&f->world, ms);
        out_pool_free(&pool);
        assert_null(pool);
        for (size_t i = 0; i < 3; i++) {
            assert_null(f->askers[i].request.pending);
            f->askers[i].session = NULL;
        }
        assert_int_equal(sessions(f), 0);
    }
    out_pool_free(&f->other);
    out_pool_free(&f->other);
    pn_buf_clear(&f->trace);
    ask(f, 3, PN_SECONDS(1));
    out_pool_free(&f->pool);
    expect(f, 0, "D has none: the daemon stops\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_warm),
        TEST(test_idle),
        TEST(test_closed_while_warm),
        TEST(test_closed_when_asked),
        TEST(test_limit),
        TEST(test_deadline),
        TEST(test_cancel),
        TEST(test_too_many_wait),
        TEST(test_calls_in_answers),
        TEST(test_refused),
        TEST(test_busy),
        TEST(test_silent),
        TEST(test_reset_first),
        TEST(test_reset_fails),
        TEST(test_dropped),
        TEST(test_hangs_up_when_ready),
        TEST(test_ended_while_lent),
        TEST(test_other_worker),
        TEST(test_other_destination),
        TEST(test_free_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
