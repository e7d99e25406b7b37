/* What the state promises: traces in order, and a bounded backlog. */
#include "helper_fakes.h"

#include "postern/base/mem.h"
#include "postern/state/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

struct fixture {
    struct fake_loop loop;
    struct fake_store store;
    struct state *state;
    struct pn_log log;
    int status;
    size_t calls, count;
    char first[64], last[64];
};

static int set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);

    fake_loop_init(&fixture->loop);
    fake_store_init(&fixture->store);
    pn_log_init(&fixture->log, NULL);
    fixture->state = state_new(&fixture->log);
    fixture->store.events = *state_store_events(fixture->state);
    state_attach(fixture->state, &fixture->store.port);
    *state = fixture;
    return 0;
}

static void run(struct fixture *fixture)
{
    while (fake_store_turn(&fixture->store) || fake_loop_run(&fixture->loop)) {
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

static struct pn_id make_id(uint8_t ms)
{
    struct pn_id id = {{0}};

    id.octets[5] = ms; /* the last octet of its time */
    return id;
}

static void note(struct fixture *fixture, uint8_t ms, int64_t when_ms, const char *text)
{
    struct pn_id id = make_id(ms);

    state_note(fixture->state, (struct pn_wall){when_ms}, &id, PN_EV_STORED, pn_str_z(text));
}

static void on_trace(void *owner, int status, const struct state_event *events, size_t count)
{
    struct fixture *fixture = owner;

    fixture->calls++;
    fixture->status = status;
    fixture->count = count;
    if (count > 0) {
        assert_true(pn_str_eq(events[0].event, PN_STR("message.stored")));
        (void)snprintf(fixture->first, 64, "%lld %.*s", (long long)events[0].when.ms,
                       PN_FMT(events[0].text));
        (void)snprintf(fixture->last, 64, "%lld %.*s", (long long)events[count - 1].when.ms,
                       PN_FMT(events[count - 1].text));
    }
}

static size_t trace(struct fixture *fixture, uint8_t ms)
{
    struct pn_id id = make_id(ms);

    run(fixture); /* what was noted just now is on its way */
    state_trace(fixture->state, &fixture->loop.port, &id, on_trace, fixture);
    run(fixture);
    return fixture->count;
}

static void test_traces_in_order(void **state)
{
    struct fixture *fixture = *state;

    note(fixture, 1, 500, "second");
    note(fixture, 2, 1, "another's");
    note(fixture, 1, 500, "third");
    note(fixture, 1, -3, "");
    assert_int_equal(trace(fixture, 1), 3);
    assert_int_equal(fixture->status, 0);
    assert_string_equal(fixture->first, "-3 ");
    assert_string_equal(fixture->last, "500 third");
    assert_int_equal(trace(fixture, 3), 0);
    assert_int_equal(state_dropped(fixture->state), 0);
}

static void test_many_notes_are_few_writes(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 5000; i++) {
        note(fixture, 1, i, "x");
    }
    run(fixture);
    assert_int_equal(fixture->store.batches, 2); /* the first alone, then all the rest */
    assert_int_equal(trace(fixture, 1), 1000);
    assert_string_equal(fixture->last, "999 x");
}

static void test_a_full_backlog_drops_and_counts(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 20011; i++) {
        note(fixture, 1, i, "x");
    }
    assert_int_equal(state_dropped(fixture->state), 10); /* one is on its way */
    run(fixture);
    note(fixture, 2, 0, "y");
    assert_int_equal(trace(fixture, 2), 1);
}

static void test_a_failed_store_costs_events_only(void **state)
{
    struct fixture *fixture = *state;

    fixture->store.failure = FAKE_LOSES;
    note(fixture, 1, 0, "lost");
    run(fixture);
    assert_int_equal(state_dropped(fixture->state), 1);
    note(fixture, 1, 1, "waits");
    run(fixture);
    assert_int_equal(trace(fixture, 1), 0);
    assert_int_equal(fixture->status, PN_EIO);
    fixture->store.state = STORE_OPEN;
    note(fixture, 1, 2, "goes on");
    assert_int_equal(trace(fixture, 1), 2);
    assert_string_equal(fixture->first, "1 waits");
}

static void test_expires_by_arrival(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 3000; i++) {
        note(fixture, 1, i, "x");
    }
    note(fixture, 2, 0, "y");
    note(fixture, 3, 0, "z");
    run(fixture);
    state_expire(fixture->state, &fixture->loop.port, (struct pn_wall){3});
    state_expire(fixture->state, &fixture->loop.port,
                 (struct pn_wall){3}); /* the first is still at work */
    run(fixture);
    assert_int_equal(fake_store_count(&fixture->store, 'e'), 1002);
    state_expire(fixture->state, &fixture->loop.port, (struct pn_wall){3});
    run(fixture);
    assert_int_equal(fake_store_count(&fixture->store, 'e'), 1);
    assert_int_equal(trace(fixture, 3), 1);
    state_expire(fixture->state, &fixture->loop.port, (struct pn_wall){3});
    run(fixture);
    assert_int_equal(trace(fixture, 3), 1);
}

static void test_what_does_not_decode_is_skipped(void **state)
{
    static const struct pn_str values[] = {{"", 0}, {"\1", 1}, {"\2\0x", 3}, {"\1\5abc", 5}};
    struct fixture *fixture = *state;
    char key[29] = {'e', 0, 0, 0, 0, 0, 1};

    note(fixture, 1, 0, "good");
    run(fixture);
    for (size_t i = 0; i < PN_COUNT(values); i++) {
        key[28] = (char)(100 + i);
        fake_store_put(&fixture->store, (struct pn_str){key, sizeof key}, values[i]);
    }
    fake_store_put(&fixture->store, (struct pn_str){key, 20}, values[0]);
    assert_int_equal(trace(fixture, 1), 1);
    assert_string_equal(fixture->last, "0 good");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_traces_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_notes_are_few_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_backlog_drops_and_counts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_store_costs_events_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_expires_by_arrival, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_decode_is_skipped, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
