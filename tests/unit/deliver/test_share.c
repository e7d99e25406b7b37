/* What share.c promises: the board knows, sessions are shared, and up-clocks run. */
#include "deliver_priv.h"

#include "postern/base/mem.h"
#include "postern/state/answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEST    PN_STR("smtp:mx.example.org:25;tls=may")
#define DOMAINS 150

struct fixture {
    struct deliver deliver;
    struct loop loop;
    struct out_deps out;
    struct queue_clock clock;
    struct pn_log log;
};

static struct conf_domain *new_domain(const char *name, int64_t sessions)
{
    struct conf_domain *domain = NULL;
    struct conf_mistakes mistakes;
    struct conf *conf;
    char text[128];

    conf_mistakes_init(&mistakes);
    conf = conf_parse("postern.conf",
                      PN_STR("hostname = \"mx2.example.net\"\n"
                             "listener \"mx\" {\n  address = {\"192.0.2.9:25\"}\n}\n"),
                      &mistakes);
    assert_non_null(conf);
    (void)snprintf(text, sizeof text,
                   "target = {\"mx.example.org\"}\nrecipients = {any}\nsessions = %lld\n",
                   (long long)sessions);
    domain = conf_domain_parse(name, pn_str_z(name), pn_str_z(text), conf, NULL, 0, &mistakes);
    assert_non_null(domain);
    conf_mistakes_fini(&mistakes);
    conf_unref(&conf);
    return domain;
}

static void define(struct fixture *fixture, const char *name, struct conf_domain *domain)
{
    struct domains_change change = {.name = pn_str_z(name), .definition = domain};
    struct domains *before = fixture->deliver.domains;
    struct queue_definition definition = {.destination = domain->destination,
                                          .sessions = (unsigned)domain->sessions,
                                          .retry_min_ms = 1000,
                                          .retry_max_ms = 1000,
                                          .hold_ms = PN_DAYS(1)};

    fixture->deliver.domains = domains_with(before, &change, 1);
    domains_unref(&before);
    queue_define(fixture->deliver.queue, pn_str_z(name), &definition,
                 deliver_now_ms(&fixture->deliver));
}

static int set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 1};

    pn_log_init(&fixture->log, NULL);
    loop_init(&fixture->loop, NULL);
    fixture->out.loop = &fixture->loop;
    queue_clock_init(&fixture->clock, 0, (struct pn_wall){PN_DAYS(20000)}, fixture->loop.now);
    fixture->deliver.deps = (struct deliver_deps){.out = &fixture->out,
                                                  .clock = &fixture->clock,
                                                  .board = out_board_new(),
                                                  .answers = state_new(&fixture->log)};
    fixture->deliver.queue = queue_new(&options);
    fixture->deliver.domains = domains_new();
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    deliver_share_drop(&fixture->deliver);
    queue_free(&fixture->deliver.queue);
    domains_unref(&fixture->deliver.domains);
    state_free(&fixture->deliver.deps.answers);
    out_board_free(&fixture->deliver.deps.board);
    free(fixture);
    return 0;
}

static void test_tells_states(void **state)
{
    struct fixture *fixture = *state;
    struct out_board *board = fixture->deliver.deps.board;
    struct queue_action action = {.kind = QUEUE_STATE,
                                  .destination = DEST,
                                  .state = QUEUE_RAMP,
                                  .before = QUEUE_DOWN,
                                  .parole = true};

    deliver_share_state(&fixture->deliver, &action);
    assert_int_equal(out_board_get(board, DEST).state, QUEUE_RAMP);
    assert_true(out_board_get(board, DEST).parole);
    action.before = QUEUE_RAMP;
    action.parole = false;
    deliver_share_state(&fixture->deliver, &action);
    assert_int_equal(out_board_get(board, DEST).state, QUEUE_RAMP);
    assert_false(out_board_get(board, DEST).parole);
    deliver_share_new(&fixture->deliver, DEST);
    assert_int_equal(out_board_get(board, DEST).state, QUEUE_UNKNOWN);
}

static void test_shares_sessions(void **state)
{
    struct fixture *fixture = *state;
    struct deliver *deliver = &fixture->deliver;
    struct out_board *board = deliver->deps.board;

    /* Two of ours and one lent are all. */
    assert_true(deliver_share_take(deliver, DEST, 3));
    assert_true(deliver_share_take(deliver, DEST, 3));
    assert_true(out_board_take_session(board, DEST, 3));
    assert_false(out_board_take_session(board, DEST, 3));
    assert_false(deliver_share_take(deliver, DEST, 3));
    assert_false(deliver_share_take(deliver, DEST, 3));
    assert_int_equal(out_board_wanted(board, DEST), 1);
    out_board_give_session(board, DEST);
    assert_true(deliver_share_take(deliver, DEST, 3));
    assert_int_equal(out_board_wanted(board, DEST), 0);
    assert_false(out_board_take_session(board, DEST, 3));
    /* Who does not ask again does not wait any more. */
    assert_false(deliver_share_take(deliver, DEST, 3));
    for (int second = 0; second < 5; second++) {
        assert_int_equal(out_board_wanted(board, DEST), 1);
        deliver_share_second(deliver);
    }
    assert_int_equal(out_board_wanted(board, DEST), 0);
    /* While a client waits deliveries take no more than half. */
    out_board_want_session(board, DEST, true);
    deliver_share_give(deliver, DEST);
    assert_false(deliver_share_take(deliver, DEST, 3));
    out_board_want_session(board, DEST, false);
    assert_true(deliver_share_take(deliver, DEST, 3));
    for (int ours = 0; ours < 3; ours++) {
        deliver_share_give(deliver, DEST);
    }
}

static bool post_nothing(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    (void)task;
    return false;
}

static void test_yields_to_clients(void **state)
{
    static const struct loop_ops ended = {.post = post_nothing};
    struct fixture *fixture = *state;
    struct deliver *deliver = &fixture->deliver;
    struct deliver_worker *worker = NULL;
    struct loop *loop = &fixture->loop;
    struct deliver_slot slots[4] = {{.id = 1}, {.id = 2}, {.id = 3}, {.id = 4}};
    size_t closing = 0;

    fixture->loop.ops = &ended;
    deliver->deps.workers = &worker;
    deliver->deps.worker_loops = &loop;
    for (size_t i = 0; i < 4; i++) {
        slots[i].destination = (char *)(uintptr_t)DEST.ptr;
        slots[i].limit = 4;
        HASH_ADD(hh, deliver->slots, id, sizeof slots[i].id, &slots[i]);
    }
    deliver_share_second(deliver);
    assert_false(slots[0].closing || slots[1].closing || slots[2].closing || slots[3].closing);
    /* One after the other, when the last has ended, until half are left. */
    out_board_want_session(deliver->deps.board, DEST, true);
    for (size_t left = 4; left > 0; left--) {
        deliver_share_second(deliver);
        deliver_share_second(deliver);
        for (size_t i = 0; i < 4; i++) {
            if (slots[i].closing) {
                closing++;
                slots[i].closing = false;
                HASH_DEL(deliver->slots, &slots[i]);
            }
        }
    }
    assert_int_equal(closing, 2);
    out_board_want_session(deliver->deps.board, DEST, false);
    HASH_CLEAR(hh, deliver->slots);
}

static void run_seconds(struct fixture *fixture, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        fixture->loop.now.ms += PN_SECONDS(1);
        deliver_share_second(&fixture->deliver);
    }
}

/* A session to the destination is asked for, and is ready. */
static void bring_up(struct fixture *fixture, const char *name)
{
    struct queue *queue = fixture->deliver.queue;
    int64_t now_ms = deliver_now_ms(&fixture->deliver), again_ms;
    struct queue_job job = {.due_ms = now_ms, .arrival_ms = now_ms, .size_octets = 1};
    struct queue_action action;

    queue_job_added(queue, pn_str_z(name), &job, now_ms);
    while (queue_next(queue, now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            queue_session_ready(queue, action.session, now_ms);
        }
    }
}

static void test_clocks_run_while_up(void **state)
{
    struct fixture *fixture = *state;
    struct state *answers = fixture->deliver.deps.answers;
    struct queue_destination_status status;
    char name[32];

    for (size_t i = 0; i < DOMAINS; i++) {
        struct conf_domain *domain;

        (void)snprintf(name, sizeof name, "d%03zu.example", i);
        domain = new_domain(name, 3);
        define(fixture, name, domain);
        conf_domain_unref(&domain);
    }
    run_seconds(fixture, 120);
    assert_int_equal(state_up_clock(answers, PN_STR("d000.example")), 0);
    bring_up(fixture, "d000.example");
    assert_true(queue_get_destination(
        fixture->deliver.queue, pn_str_z(domains_at(fixture->deliver.domains, 0)->destination),
        0, &status));
    assert_int_equal(status.state, QUEUE_RAMP);
    run_seconds(fixture, 180);
    for (size_t i = 0; i < DOMAINS; i++) {
        (void)snprintf(name, sizeof name, "d%03zu.example", i);
        /* The minute in which it came up counts from then on. */
        assert_in_range(state_up_clock(answers, pn_str_z(name)), PN_SECONDS(120),
                        PN_SECONDS(180));
    }
    (void)queue_hold(fixture->deliver.queue, PN_STR(""), true,
                     deliver_now_ms(&fixture->deliver));
    run_seconds(fixture, 600);
    assert_in_range(state_up_clock(answers, PN_STR("d149.example")), PN_SECONDS(120),
                    PN_SECONDS(180));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tells_states, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shares_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yields_to_clients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clocks_run_while_up, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
