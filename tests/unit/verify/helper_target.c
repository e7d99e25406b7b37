/*
 * helper_target.c - a verifier with a real pool and a real state, before a target that
 * follows a table.
 */
#include "helper_target.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

const struct world_rule target_good[] = {
    COMMON,
    NO_RANDOM,
    {.verb = "RCPT TO:<anna@", .reply = OK},
    {.verb = "RCPT", .reply = "550 5.1.1 <x@example.org> unknown to mail.example.org\r\n"},
    {0},
};

/* ---- the loop, and the store ---- */

static bool on_post(struct loop *loop, struct loop_task *task)
{
    struct world *world = PN_CONTAINER(loop, struct world, loop);
    struct fixture *f = PN_CONTAINER(world, struct fixture, world);

    task->next = NULL;
    *f->posted_end = task;
    f->posted_end = &task->next;
    return true;
}
static const struct loop_ops loop_ops = {.post = on_post};

static bool run_posted(struct fixture *f)
{
    struct loop_task *task = f->posted;

    if (task) {
        f->posted = task->next;
        if (!f->posted) {
            f->posted_end = &f->posted;
        }
        task->on_run(task);
    }
    return task != NULL;
}

/* What the store knows comes at once, so that questions meet each other on their way. */
static void settle(struct fixture *f)
{
    bool moved;

    do {
        loop_run_deferred(&f->world.loop);
        moved = false;
        while (run_posted(f) || fake_store_turn(&f->store)) {
            moved = true;
        }
        world_run(&f->world, 0);
    } while (moved || f->posted);
}

void target_run(struct fixture *f, int64_t duration_ms)
{
    struct pn_mono end = pn_mono_add(f->world.loop.now, duration_ms);

    settle(f);
    while (pn_timers_next(&f->world.loop.timers).ms <= end.ms) {
        world_run(&f->world, pn_timers_next(&f->world.loop.timers).ms - f->world.loop.now.ms);
        settle(f);
    }
    world_run(&f->world, end.ms - f->world.loop.now.ms);
    f->world.loop.wall.ms += duration_ms;
    settle(f);
}

void target_age(struct fixture *f, int64_t up_ms)
{
    state_up_clock_add(f->state, PN_STR("example.org"), up_ms);
}

/* ---- set-up ---- */

static void begin(struct fixture *f)
{
    f->state = state_new(&f->log);
    f->store.events = *state_store_events(f->state);
    state_attach(f->state, &f->store.port);
    f->pool = out_pool_new(&f->out, f->board);
    f->verify = verify_new(&(struct verify_deps){.loop = &f->world.loop,
                                                 .pool = f->pool,
                                                 .board = f->board,
                                                 .state = f->state,
                                                 .lists = f->lists,
                                                 .rates = f->rates,
                                                 .log = &f->log,
                                                 .seed = 7});
}

static void end(struct fixture *f)
{
    verify_free(&f->verify);
    out_pool_free(&f->pool);
    settle(f);
    state_free(&f->state);
}

static void on_loaded(void *owner, int status)
{
    (void)owner;
    assert_int_equal(status, 0);
}

void target_restart(struct fixture *f)
{
    settle(f);
    end(f);
    begin(f);
    state_answers_load(f->state, &f->world.loop, on_loaded, NULL);
    settle(f);
}

void target_rules(struct fixture *f, const struct world_rule *rules)
{
    f->peer->rules = rules;
    memset(f->peer->used, 0, sizeof f->peer->used);
}

void target_state(struct fixture *f, enum queue_state state, bool parole)
{
    out_board_set_state(f->board, pn_str_z(f->domain->destination), state, parole);
}

void target_domain(struct fixture *f, const char *options)
{
    struct conf_mistakes mistakes;
    char text[1024];

    snprintf(text, sizeof text, "target = {\"mail.example.org:25\"}\n%s\n", options);
    conf_domain_unref(&f->domain);
    conf_mistakes_init(&mistakes);
    f->domain = conf_domain_parse("example.org.conf", PN_STR("example.org"), pn_str_z(text),
                                  f->conf, NULL, 0, &mistakes);
    assert_non_null(f->domain);
    conf_mistakes_fini(&mistakes);
    target_state(f, QUEUE_UP, false);
}

static void on_verdict(void *owner, const struct verify_verdict *verdict)
{
    static const char *const outcomes[] = {"valid", "invalid", "unknown"};
    static const int codes[] = {250, 550, 450};
    struct asker *asker = owner;

    assert_false(asker->f->in_call);
    assert_false(asker->told);
    assert_null(asker->request.pending);
    assert_int_equal(verdict->reply.code, codes[verdict->outcome]);
    /* What the target said, and its name, are nobody's business. */
    assert_null(strstr(verdict->reply.text, "mail.example.org"));
    assert_null(strstr(verdict->reply.text, "192.0.2.1"));
    asker->told = true;
    snprintf(asker->text, sizeof asker->text, "%s %s%s%s%s%s", outcomes[verdict->outcome],
             verdict->source, verdict->outcome == VERIFY_UNKNOWN ? " " : "",
             verdict->outcome == VERIFY_UNKNOWN ? verdict->reply.enhanced : "",
             verdict->answer.verdict != STATE_UNKNOWN ? " remembered" : "",
             verdict->catch_all ? " catch-all" : "");
    snprintf(asker->reply, sizeof asker->reply, "%s", verdict->reply.text);
    if (asker->again) {
        asker->again = false;
        asker->told = false;
        verify_ask(asker->f->verify, &asker->request, asker->f->conf, asker->f->domain,
                   PN_STR("somebody.else"), &asker->f->client);
    }
}

int target_setup(void **state)
{
    struct fixture *f = PN_NEW(struct fixture);
    struct conf_mistakes mistakes;

    world_init(&f->world);
    f->world.loop.ops = &loop_ops;
    f->posted_end = &f->posted;
    f->world.loop.wall.ms = PN_DAYS(20000);
    fake_store_init(&f->store);
    pn_log_init(&f->log, NULL);
    conf_mistakes_init(&mistakes);
    f->conf = conf_parse("postern.conf",
                         PN_STR("hostname = \"mx2.example.net\"\n"
                                "listener \"mx\" { address = {\"0.0.0.0:25\"} }\n"),
                         &mistakes);
    assert_non_null(f->conf);
    conf_mistakes_fini(&mistakes);
    world_name(&f->world, (struct world_name){.name = "mail.example.org", .v4 = "192.0.2.1"});
    f->peer = world_peer(&f->world, (struct world_peer){.endpoint = "192.0.2.1:25",
                                                        .greeting = "220 mail.example.org\r\n",
                                                        .rules = target_good});
    f->out = (struct out_deps){.loop = &f->world.loop,
                               .network = &f->world.network,
                               .resolver = &f->world.resolver,
                               .tls = &f->world.tls};
    f->board = out_board_new();
    f->rates = verify_rates_new();
    f->client = pn_ip_v4(0xc6336401); /* 198.51.100.1 */
    for (size_t i = 0; i < ASKERS; i++) {
        f->askers[i] = (struct asker){
            .request = {.on_verdict = on_verdict, .owner = &f->askers[i]}, .f = f};
    }
    target_domain(f, "");
    begin(f);
    *state = f;
    return 0;
}

int target_teardown(void **state)
{
    struct fixture *f = *state;

    settle(f);
    end(f);
    assert_int_equal(out_board_sessions(f->board, pn_str_z(f->domain->destination)), 0);
    world_fini(&f->world);
    fake_store_fini(&f->store);
    verify_rates_free(&f->rates);
    out_board_free(&f->board);
    conf_unref(&f->conf);
    conf_domain_unref(&f->domain);
    free(f);
    return 0;
}

/* ---- asking ---- */

void target_ask(struct fixture *f, size_t asker, const char *local)
{
    f->askers[asker].told = false;
    f->in_call = true;
    verify_ask(f->verify, &f->askers[asker].request, f->conf, f->domain, pn_str_z(local),
               &f->client);
    f->in_call = false;
}

const char *target_told(struct fixture *f, size_t asker)
{
    return f->askers[asker].told ? f->askers[asker].text : "";
}

const char *target_verdict(struct fixture *f, const char *local)
{
    target_ask(f, 0, local);
    target_run(f, 0);
    if (!f->askers[0].told) {
        target_run(f, f->domain->call_ahead_wait_ms);
    }
    assert_true(f->askers[0].told);
    return f->askers[0].text;
}

size_t target_got(struct fixture *f, const char *line)
{
    struct pn_str rest = pn_buf_str(&f->peer->got);
    size_t count = 0;

    while (rest.len > 0) {
        count += pn_str_starts(pn_str_cut(&rest, '\n'), pn_str_z(line));
    }
    return count;
}

void target_got_none(struct fixture *f)
{
    pn_buf_clear(&f->peer->got);
}

void target_put(struct fixture *f, const char *local, enum state_verdict verdict)
{
    state_answer_put(f->state, PN_STR("example.org"), pn_str_z(local), verdict, STATE_BY_IMPORT,
                     f->world.loop.wall);
}

static void on_known(void *owner, int status, const struct state_answer *answer)
{
    enum state_verdict *verdict = owner;

    assert_int_equal(status, 0);
    *verdict = answer->verdict;
}

const char *target_known(struct fixture *f, const char *local)
{
    static const char *const names[] = {"unknown", "valid", "invalid"};
    enum state_verdict verdict = STATE_UNKNOWN;

    state_answer_get(f->state, &f->world.loop, PN_STR("example.org"), pn_str_z(local), on_known,
                     &verdict);
    settle(f);
    return names[verdict];
}
