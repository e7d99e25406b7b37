/* What is remembered of recipients: ages that only an up target makes, and bounds. */
#include "helper_fakes.h"

#include "postern/base/mem.h"
#include "postern/state/answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DOMAIN PN_STR("example.org")

struct fixture {
    struct fake_loop loop;
    struct fake_store store;
    struct state *state;
    struct pn_log log;
    size_t calls, count;
    int status;
    bool end;
    struct state_answer answer;
    char rows[512];
};

static void begin(struct fixture *fixture)
{
    fixture->state = state_new(&fixture->log);
    fixture->store.events = *state_store_events(fixture->state);
    state_attach(fixture->state, &fixture->store.port);
}

static int set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);

    fake_loop_init(&fixture->loop);
    fake_store_init(&fixture->store);
    pn_log_init(&fixture->log, NULL);
    begin(fixture);
    *state = fixture;
    return 0;
}

static void run(struct fixture *fixture)
{
    while (fake_loop_run(&fixture->loop) || fake_store_turn(&fixture->store)) {
    }
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    run(fixture);
    state_free(&fixture->state);
    fake_store_fini(&fixture->store);
    fake_loop_fini(&fixture->loop);
    free(fixture);
    return 0;
}

static void on_loaded(void *owner, int status)
{
    struct fixture *fixture = owner;

    fixture->calls++;
    fixture->status = status;
}

static void restart(struct fixture *fixture)
{
    run(fixture);
    state_free(&fixture->state);
    begin(fixture);
    state_answers_load(fixture->state, &fixture->loop.port, on_loaded, fixture);
    run(fixture);
}

static void put(struct fixture *fixture, const char *local, enum state_verdict verdict)
{
    state_answer_put(fixture->state, DOMAIN, pn_str_z(local), verdict, STATE_BY_DELIVERY,
                     (struct pn_wall){77});
}

static void on_answer(void *owner, int status, const struct state_answer *answer)
{
    struct fixture *fixture = owner;

    fixture->calls++;
    fixture->status = status;
    fixture->answer = *answer;
}

static enum state_verdict get(struct fixture *fixture, const char *local)
{
    size_t calls = fixture->calls;

    state_answer_get(fixture->state, &fixture->loop.port, DOMAIN, pn_str_z(local), on_answer,
                     fixture);
    assert_int_equal(fixture->calls, calls);
    run(fixture);
    assert_int_equal(fixture->calls, calls + 1);
    return fixture->answer.verdict;
}

static bool peek(struct fixture *fixture, const char *local)
{
    return state_answer_peek(fixture->state, DOMAIN, pn_str_z(local), &fixture->answer);
}

static void on_rows(void *owner, int status, const struct state_answer_row *rows, size_t count,
                    bool end)
{
    struct fixture *fixture = owner;
    size_t len = 0;

    fixture->status = status;
    fixture->count = count;
    fixture->end = end;
    fixture->rows[0] = '\0';
    for (size_t i = 0; i < count && len < sizeof fixture->rows; i++) {
        len += (size_t)snprintf(fixture->rows + len, sizeof fixture->rows - len, "%.*s%s ",
                                PN_FMT(rows[i].local),
                                rows[i].answer.verdict == STATE_VALID ? "+" : "-");
    }
}

static const char *list(struct fixture *fixture, struct pn_str domain, const char *after,
                        size_t limit)
{
    run(fixture); /* what was put just now is on its way */
    state_answers_list(fixture->state, &fixture->loop.port, domain, pn_str_z(after), limit,
                       on_rows, fixture);
    run(fixture);
    return fixture->rows;
}

static void on_forgotten(void *owner, int status, size_t count)
{
    struct fixture *fixture = owner;

    fixture->calls++;
    fixture->status = status;
    fixture->count = count;
}

static void test_remembers_over_a_restart(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(get(fixture, "anna"), STATE_UNKNOWN);
    assert_false(peek(fixture, "anna"));
    put(fixture, "anna", STATE_VALID);
    put(fixture, "bert", STATE_INVALID);
    assert_true(peek(fixture, "anna"));
    assert_int_equal(fixture->answer.verdict, STATE_VALID);
    restart(fixture);
    assert_false(peek(fixture, "anna"));
    assert_int_equal(get(fixture, "anna"), STATE_VALID);
    assert_int_equal(fixture->answer.source, STATE_BY_DELIVERY);
    assert_int_equal(fixture->answer.when.ms, 77);
    assert_true(peek(fixture, "anna"));
    assert_int_equal(get(fixture, "bert"), STATE_INVALID);
    put(fixture, "bert", STATE_UNKNOWN);
    assert_int_equal(get(fixture, "bert"), STATE_UNKNOWN);
    restart(fixture);
    assert_int_equal(get(fixture, "bert"), STATE_UNKNOWN);
    assert_int_equal(get(fixture, "ann"), STATE_UNKNOWN);
    assert_false(
        state_answer_peek(fixture->state, PN_STR("org"), PN_STR("anna"), &fixture->answer));
}

static void test_only_an_up_target_makes_answers_older(void **state)
{
    struct fixture *fixture = *state;

    state_up_clock_add(fixture->state, DOMAIN, PN_DAYS(100));
    put(fixture, "anna", STATE_VALID);
    state_up_clock_add(fixture->state, DOMAIN, 0);
    state_up_clock_add(fixture->state, DOMAIN, -5);
    state_up_clock_add(fixture->state, PN_STR("example.net"), PN_DAYS(1));
    assert_true(peek(fixture, "anna"));
    assert_int_equal(fixture->answer.age_ms, 0);
    state_up_clock_add(fixture->state, DOMAIN, PN_DAYS(2));
    restart(fixture);
    assert_int_equal(state_up_clock(fixture->state, DOMAIN), PN_DAYS(102));
    assert_int_equal(get(fixture, "anna"), STATE_VALID);
    assert_int_equal(fixture->answer.age_ms, PN_DAYS(2));
    (void)list(fixture, DOMAIN, "", 10);
    assert_int_equal(fixture->count, 1);
}

static void test_the_clock_is_saved_once_a_minute(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 59; i++) {
        state_up_clock_add(fixture->state, DOMAIN, PN_SECONDS(1));
        run(fixture);
    }
    assert_int_equal(fixture->store.batches, 0);
    state_up_clock_add(fixture->state, DOMAIN, PN_SECONDS(1));
    state_up_clock_add(fixture->state, DOMAIN, PN_SECONDS(30));
    run(fixture);
    assert_int_equal(fixture->store.batches, 1);
    assert_int_equal(state_up_clock(fixture->state, DOMAIN), PN_SECONDS(90));
    put(fixture, "anna", STATE_VALID);
    restart(fixture); /* the last seconds are lost, and nothing is younger than new */
    assert_int_equal(state_up_clock(fixture->state, DOMAIN), PN_SECONDS(60));
    assert_int_equal(get(fixture, "anna"), STATE_VALID);
    assert_int_equal(fixture->answer.age_ms, 0);
}

static void test_a_catch_all_is_known_for_a_week(void **state)
{
    struct fixture *fixture = *state;
    struct state_catch_all known = state_catch_all_get(fixture->state, DOMAIN);

    assert_false(known.known);
    state_catch_all_put(fixture->state, DOMAIN, true);
    restart(fixture);
    known = state_catch_all_get(fixture->state, DOMAIN);
    assert_true(known.known && known.catch_all);
    state_up_clock_add(fixture->state, DOMAIN, PN_DAYS(7) - 1);
    known = state_catch_all_get(fixture->state, DOMAIN);
    assert_true(known.known && known.catch_all && known.age_ms == PN_DAYS(7) - 1);
    state_up_clock_add(fixture->state, DOMAIN, 1);
    assert_false(state_catch_all_get(fixture->state, DOMAIN).known);
    state_catch_all_put(fixture->state, DOMAIN, false);
    known = state_catch_all_get(fixture->state, DOMAIN);
    assert_true(known.known && !known.catch_all && known.age_ms == 0);
}

static void test_pages(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, "c", STATE_VALID);
    put(fixture, "a", STATE_VALID);
    put(fixture, "b", STATE_INVALID);
    put(fixture, "ba", STATE_VALID);
    state_answer_put(fixture->state, PN_STR("example.or"), PN_STR("z"), STATE_VALID,
                     STATE_BY_IMPORT, (struct pn_wall){0});
    assert_string_equal(list(fixture, DOMAIN, "", 2), "a+ b- ");
    assert_false(fixture->end);
    assert_string_equal(list(fixture, DOMAIN, "b", 2), "ba+ c+ ");
    assert_true(fixture->end);
    assert_string_equal(list(fixture, DOMAIN, "bb", 2), "c+ ");
    assert_string_equal(list(fixture, PN_STR("example.or"), "", 0), "z+ ");
    assert_string_equal(list(fixture, PN_STR("example.net"), "", 5), "");
    assert_true(fixture->end);
}

static void test_forgets(void **state)
{
    struct fixture *fixture = *state;
    char local[16];

    for (int i = 0; i < 2500; i++) {
        (void)snprintf(local, sizeof local, "u%d", i);
        put(fixture, local, STATE_VALID);
    }
    state_catch_all_put(fixture->state, DOMAIN, true);
    state_answer_put(fixture->state, PN_STR("example.orga"), PN_STR("z"), STATE_VALID,
                     STATE_BY_IMPORT, (struct pn_wall){0});
    run(fixture);
    state_answers_forget(fixture->state, &fixture->loop.port, DOMAIN, PN_STR("u1"),
                         on_forgotten, fixture);
    run(fixture);
    assert_int_equal(fixture->count, 1);
    assert_int_equal(get(fixture, "u1"), STATE_UNKNOWN);
    assert_int_equal(get(fixture, "u10"), STATE_VALID);
    put(fixture, "waits", STATE_VALID);
    put(fixture, "waits too", STATE_VALID);
    state_answers_forget(fixture->state, &fixture->loop.port, DOMAIN, PN_STR(""), on_forgotten,
                         fixture);
    put(fixture, "new", STATE_VALID);
    state_answer_get(fixture->state, &fixture->loop.port, DOMAIN, PN_STR("u2"), on_answer,
                     fixture);
    run(fixture);
    assert_false(peek(fixture, "u2"));
    assert_int_equal(get(fixture, "u2"), STATE_UNKNOWN);
    assert_int_equal(get(fixture, "waits too"), STATE_UNKNOWN);
    assert_false(state_catch_all_get(fixture->state, DOMAIN).known);
    assert_int_equal(get(fixture, "new"), STATE_VALID);
    restart(fixture);
    assert_false(state_catch_all_get(fixture->state, DOMAIN).known);
    assert_string_equal(list(fixture, PN_STR("example.orga"), "", 5), "z+ ");
}

static void test_many_puts_are_few_writes(void **state)
{
    struct fixture *fixture = *state;
    char local[16];

    for (int i = 0; i < 3000; i++) {
        (void)snprintf(local, sizeof local, "u%d", i);
        put(fixture, local, STATE_VALID);
    }
    run(fixture);
    assert_int_equal(fixture->store.batches, 2); /* the first alone, then all the rest */
}

/* The least used go; those that are asked for stay. */
static void test_the_memory_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    char local[320];

    fixture->store.state = STORE_REOPENING; /* the backlog is bounded as well */
    put(fixture, "anna", STATE_VALID);
    put(fixture, "bert", STATE_VALID);
    memset(local, 'x', sizeof local);
    for (int i = 0; i < 60000; i++) {
        assert_true(snprintf(local, 8, "%07d", i) == 7);
        local[7] = 'x';
        state_answer_put(fixture->state, DOMAIN, (struct pn_str){local, sizeof local},
                         STATE_VALID, STATE_BY_IMPORT, (struct pn_wall){0});
        if (i % 1000 == 0) {
            assert_true(peek(fixture, "anna"));
        }
    }
    assert_true(peek(fixture, "anna"));
    assert_false(peek(fixture, "bert"));
    fixture->store.state = STORE_OPEN;
    run(fixture);
}

static void test_a_failed_store_knows_nothing(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, "anna", STATE_VALID);
    run(fixture);
    restart(fixture);
    fixture->store.failure = FAKE_LOSES;
    put(fixture, "bert", STATE_VALID);
    run(fixture);
    assert_int_equal(get(fixture, "bert"), STATE_VALID);
    assert_int_equal(fixture->status, 0);
    assert_int_equal(get(fixture, "anna"), STATE_UNKNOWN);
    assert_int_equal(fixture->status, PN_EIO);
    fixture->store.state = STORE_OPEN;
    assert_int_equal(get(fixture, "anna"), STATE_VALID);
}

static void test_what_does_not_decode_is_not_there(void **state)
{
    static const struct pn_str values[] = {
        {"", 0},
        {"\1", 1},
        {"\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 19},
        {"\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 19},
        {"\1\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 19},
        {"\1\1\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 19},
        {"\1\1\0\200\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 19},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < PN_COUNT(values); i++) {
        fake_store_put(&fixture->store, PN_STR("aexample.org\0anna"), values[i]);
        assert_int_equal(get(fixture, "anna"), STATE_UNKNOWN);
        assert_string_equal(list(fixture, DOMAIN, "", 5), "");
    }
    fake_store_put(&fixture->store, PN_STR("uexample.org"), PN_STR("\1\1xyz"));
    fake_store_put(&fixture->store, PN_STR("u"), PN_STR(""));
    restart(fixture);
    assert_int_equal(state_up_clock(fixture->state, DOMAIN), 0);
}

static void test_impossible_addresses(void **state)
{
    struct fixture *fixture = *state;
    char local[400];

    memset(local, 'x', sizeof local);
    local[sizeof local - 1] = '\0';
    put(fixture, local, STATE_VALID);
    put(fixture, "", STATE_VALID);
    assert_false(peek(fixture, local));
    assert_int_equal(get(fixture, local), STATE_UNKNOWN);
    assert_int_equal(get(fixture, ""), STATE_UNKNOWN);
    assert_string_equal(list(fixture, DOMAIN, "", 5), "");
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_remembers_over_a_restart),
        ROW(test_only_an_up_target_makes_answers_older),
        ROW(test_the_clock_is_saved_once_a_minute),
        ROW(test_a_catch_all_is_known_for_a_week),
        ROW(test_pages),
        ROW(test_forgets),
        ROW(test_many_puts_are_few_writes),
        ROW(test_the_memory_is_bounded),
        ROW(test_a_failed_store_knows_nothing),
        ROW(test_what_does_not_decode_is_not_there),
        ROW(test_impossible_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
