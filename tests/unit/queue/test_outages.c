/* What probe.c and destination.c promise: outages, probes, and how mail flows again. */
#include "helper_world.h"

#include <stdio.h>

static void down_for(struct world *world, int64_t outage_ms)
{
    world->peer.up = false;
    world_run(world, outage_ms);
    assert_int_equal(world_state(world, "primary"), QUEUE_DOWN);
    assert_int_equal(world->peer.done, 0);
}

struct outage {
    const char *name;
    int64_t outage_ms, within_ms;
    size_t probes_low, probes_high; /* in the last hour, or in all of it */
};

static const struct outage outages[] = {
    {"ten minutes", PN_MINUTES(10), PN_SECONDS(5), 119, 134},
    {"most of an hour", PN_MINUTES(55), PN_SECONDS(5), 659, 735},
    {"twelve hours", PN_HOURS(12), PN_SECONDS(60), 59, 68},
    {"three days", PN_DAYS(3), PN_SECONDS(60), 59, 68},
};

static void test_finds_the_primary_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(outages) * 10; i++) {
        const struct outage *row = &outages[i % PN_COUNT(outages)];
        int64_t hour_ms = row->outage_ms < PN_HOURS(1) ? row->outage_ms : PN_HOURS(1), back_ms;
        struct world world;
        const struct seen *open;

        print_message("%s, %zu\n", row->name, i);
        world_open(&world, 100 + i);
        world.delay_ms = 10;
        world_define(&world, "alpha.example", "primary");
        for (int n = 0; n < 300; n++) {
            (void)world_add(&world, "alpha.example", world.now_ms);
        }
        /* The port opens at any moment between two probes. */
        down_for(&world, row->outage_ms + (int64_t)i * 379);
        back_ms = world.now_ms;
        assert_in_range(world_count(&world, QUEUE_PROBE, back_ms - hour_ms, back_ms),
                        row->probes_low, row->probes_high);
        world.peer.up = true;
        world_run(&world, row->within_ms + 100);
        open = world_find(&world, QUEUE_OPEN, back_ms);
        assert_non_null(open);
        /* The probe's own answer comes on top. */
        assert_in_range(open->at_ms, back_ms, back_ms + row->within_ms + world.peer.answer_ms);
        assert_true(world.peer.done > 0);
        world_run(&world, PN_SECONDS(20));
        assert_int_equal(world.peer.done, 300);
        world_close(&world);
    }
}

static void test_touches_no_schedule(void **state)
{
    struct world world;
    struct stored *job;

    (void)state;
    world_open(&world, 7);
    world_define(&world, "alpha.example", "primary");
    job = world_add(&world, "alpha.example", world.now_ms);
    down_for(&world, PN_HOURS(3));
    assert_int_equal(job->tried, 0);
    assert_int_equal(job->job.attempts, 0);
    assert_int_equal(job->job.due_ms, WORLD_START);
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 1);
    world_close(&world);
}

/* The interval between the last probes before now. */
static int64_t last_interval(const struct world *world)
{
    int64_t last_ms = 0, before_ms = 0;

    for (size_t i = 0; i < world->seen_count; i++) {
        if (world->seen[i].action.kind == QUEUE_PROBE) {
            before_ms = last_ms;
            last_ms = world->seen[i].at_ms;
        }
    }
    return last_ms - before_ms;
}

static void test_half_alive_keeps_the_interval(void **state)
{
    struct world world;
    size_t probes;

    (void)state;
    world_open(&world, 8);
    world_define(&world, "alpha.example", "primary");
    for (int n = 0; n < 50; n++) {
        (void)world_add(&world, "alpha.example", world.now_ms);
    }
    down_for(&world, PN_HOURS(5));
    assert_in_range(last_interval(&world), PN_SECONDS(54), PN_SECONDS(60));
    /* It answers, opens sessions, and each of them dies with its first job. */
    world.peer.up = true;
    world.peer.accepts_only = true;
    world_run(&world, PN_MINUTES(30));
    assert_int_equal(world.peer.done, 0);
    assert_in_range(last_interval(&world), PN_SECONDS(54), PN_SECONDS(61));
    probes = world_count(&world, QUEUE_PROBE, world.now_ms - PN_MINUTES(10), world.now_ms);
    assert_in_range(probes, 9, 12);
    /* One delivery, and the next outage is a new one. */
    world.peer.accepts_only = false;
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world.peer.done, 50);
    world.peer.up = false;
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_state(&world, "primary"), QUEUE_DOWN);
    assert_in_range(last_interval(&world), 4500, 5000);
    world_close(&world);
}

static void test_asks_for_ten_thousand_in_turns(void **state)
{
    enum { DESTS = 10000, SECONDS = 120 };
    static unsigned second[SECONDS], asked[DESTS];
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 3};
    struct queue_definition definition = {.sessions = 20,
                                          .messages_per_session = 100,
                                          .retry_min_ms = 300000,
                                          .retry_max_ms = 1800000,
                                          .hold_ms = PN_DAYS(14)};
    struct queue *queue = queue_new(&options);
    struct queue_action action;
    int64_t again_ms;
    char name[32];

    (void)state;
    for (int i = 0; i < DESTS; i++) {
        struct queue_job job = {.due_ms = WORLD_START, .arrival_ms = WORLD_START};

        (void)snprintf(name, sizeof name, "d%05d", i);
        definition.destination = name;
        job.id.octets[14] = (uint8_t)(i >> 8);
        job.id.octets[15] = (uint8_t)i;
        queue_define(queue, pn_str_z(name), &definition, WORLD_START);
        queue_job_added(queue, pn_str_z(name), &job, WORLD_START);
    }
    for (int64_t now_ms = WORLD_START; now_ms < WORLD_START + PN_SECONDS(SECONDS); now_ms++) {
        while (queue_next(queue, now_ms, &action, &again_ms)) {
            size_t at = (size_t)(now_ms - WORLD_START) / 1000;

            if (action.kind == QUEUE_OPEN) {
                queue_session_ended(queue, action.session, QUEUE_END_FAILED, PN_STR("refused"),
                                    now_ms);
            } else if (action.kind == QUEUE_PROBE) {
                asked[strtol(action.destination.ptr + 1, NULL, 10)]++;
                queue_probed(queue, action.destination, QUEUE_PROBE_AWAY, PN_STR("refused"),
                             now_ms);
            } else {
                continue;
            }
            second[at]++;
        }
        assert_true(again_ms > now_ms);
        now_ms = again_ms - 1;
    }
    for (int i = 0; i < SECONDS; i++) {
        assert_in_range(second[i], 299, 301);
    }
    /* 36,000 questions in all, 10,000 of them to open the first session. */
    for (int i = 0; i < DESTS; i++) {
        assert_in_range(asked[i], 1, 4);
    }
    queue_free(&queue);
}

static void test_one_probe_at_a_time(void **state)
{
    struct world world;
    int64_t last_ms = 0;

    (void)state;
    world_open(&world, 9);
    world.peer.answer_ms = 30000; /* until a time-out */
    world_define(&world, "alpha.example", "primary");
    (void)world_add(&world, "alpha.example", world.now_ms);
    world.peer.up = false;
    world_run(&world, PN_SECONDS(31));
    for (int i = 0; i < 100; i++) {
        queue_sign_of_life(world.queue, PN_STR("alpha.example"), world.now_ms);
        (void)queue_flush(world.queue, PN_STR("alpha.example"), world.now_ms);
        world_run(&world, PN_SECONDS(2));
    }
    for (size_t i = 0; i < world.seen_count; i++) {
        if (world.seen[i].action.kind == QUEUE_PROBE) {
            assert_true(world.seen[i].at_ms - last_ms >= 30000);
            last_ms = world.seen[i].at_ms;
        }
    }
    assert_true(world.now_ms - last_ms < 31000);
    world_close(&world);
}

static void test_slow_answers_do_not_delay(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 14);
    world.peer.answer_ms = 3000;
    world_define(&world, "alpha.example", "primary");
    (void)world_add(&world, "alpha.example", world.now_ms);
    down_for(&world, PN_MINUTES(10));
    assert_in_range(world_count(&world, QUEUE_PROBE, 0, INT64_MAX), 118, 134);
    world_close(&world);
}

static void test_signs_of_life(void **state)
{
    struct world world;
    int64_t from_ms;

    (void)state;
    world_open(&world, 10);
    world_define(&world, "alpha.example", "primary");
    (void)world_add(&world, "alpha.example", world.now_ms);
    down_for(&world, PN_HOURS(10));
    from_ms = world.now_ms;
    /* However many signs there are, one probe a second is all they get. */
    for (int i = 0; i < 1000; i++) {
        queue_sign_of_life(world.queue, PN_STR("alpha.example"), world.now_ms);
        queue_sign_of_life(world.queue, PN_STR("nobody.example"), world.now_ms);
        world_run(&world, 10);
    }
    assert_in_range(world_count(&world, QUEUE_PROBE, from_ms, world.now_ms), 9, 11);
    world.peer.up = true;
    world_run(&world, 1200);
    assert_true(queue_flush(world.queue, PN_STR("alpha.example"), world.now_ms));
    world_run(&world, 200);
    assert_int_equal(world.peer.done, 1);
    world_close(&world);
}

/* A retry timer of a message never delays it when its server comes back. */
static void test_return_flushes_all(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 11);
    world_define(&world, "alpha.example", "primary");
    for (int n = 0; n < 400; n++) {
        (void)world_add(&world, "alpha.example", world.now_ms);
    }
    world.peer.later_permille = 1000;
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world_on_disk(&world), 400);
    world.peer.up = false;
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_state(&world, "primary"), QUEUE_DOWN);
    world.peer.up = true;
    world.peer.later_permille = 0;
    world_run(&world, PN_SECONDS(15));
    assert_int_equal(world_on_disk(&world), 0);
    world_close(&world);
}

static void test_tells_its_states(void **state)
{
    static const struct {
        enum queue_state before, state;
    } expected[] = {{QUEUE_UNKNOWN, QUEUE_RAMP}, {QUEUE_RAMP, QUEUE_UP},
                    {QUEUE_UP, QUEUE_DOWN},      {QUEUE_DOWN, QUEUE_RAMP},
                    {QUEUE_RAMP, QUEUE_HELD},    {QUEUE_HELD, QUEUE_UNKNOWN}};
    struct world world;
    struct queue_destination_status status;
    size_t at = 0;

    (void)state;
    world_open(&world, 12);
    world_define(&world, "alpha.example", "primary");
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(1));
    status = world_dest(&world, "primary");
    assert_int_equal(status.state, QUEUE_UP); /* drained and quiet */
    assert_int_equal(status.sessions, 0);
    world.peer.up = false;
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(1));
    status = world_dest(&world, "primary");
    assert_int_equal(status.state, QUEUE_DOWN);
    assert_true(status.next_probe_ms > world.now_ms);
    assert_in_range(status.probes, 11, 14);
    assert_int_equal(status.failures, status.probes + 1);
    assert_true(pn_str_eq(status.reason, PN_STR("the peer said so")));
    world.peer.up = true;
    world_run(&world, PN_SECONDS(6));
    (void)queue_hold(world.queue, PN_STR("primary"), true, world.now_ms);
    world_run(&world, PN_MINUTES(1));
    (void)queue_hold(world.queue, PN_STR("primary"), false, world.now_ms);
    world_run(&world, PN_MINUTES(1));
    for (size_t i = 0; i < world.seen_count; i++) {
        if (world.seen[i].action.kind == QUEUE_STATE) {
            assert_true(at < PN_COUNT(expected));
            assert_int_equal(world.seen[i].action.before, expected[at].before);
            assert_int_equal(world.seen[i].action.state, expected[at].state);
            at++;
        }
    }
    assert_int_equal(at, PN_COUNT(expected));
    assert_string_equal(queue_state_name(QUEUE_DOWN), "down");
    world_close(&world);
}

static void test_hold_and_pause(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 13);
    world_define(&world, "alpha.example", "primary");
    assert_false(queue_hold(world.queue, PN_STR("nobody"), true, world.now_ms));
    assert_true(queue_hold(world.queue, PN_STR("primary"), true, world.now_ms));
    for (int n = 0; n < 5; n++) {
        (void)world_add(&world, "alpha.example", world.now_ms);
    }
    world_run(&world, PN_HOURS(1));
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 0);
    assert_int_equal(world_count(&world, QUEUE_PROBE, 0, INT64_MAX), 0);
    queue_pause(world.queue, true, world.now_ms);
    assert_true(queue_hold(world.queue, PN_STR(""), false, world.now_ms));
    world_run(&world, PN_HOURS(1));
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 0);
    queue_pause(world.queue, false, world.now_ms);
    world_run(&world, PN_SECONDS(1));
    assert_int_equal(world.peer.done, 5);
    /* A running session is told to close at its next take. */
    world.peer.took_ms = 1000;
    for (int n = 0; n < 50; n++) {
        (void)world_add(&world, "alpha.example", world.now_ms);
    }
    world_run(&world, 1500);
    assert_true(world.peer.ready > 0);
    assert_true(queue_hold(world.queue, PN_STR("primary"), true, world.now_ms));
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world.peer.ready, 0);
    assert_true(world.peer.done < 55);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_primary_back),
        cmocka_unit_test(test_touches_no_schedule),
        cmocka_unit_test(test_half_alive_keeps_the_interval),
        cmocka_unit_test(test_asks_for_ten_thousand_in_turns),
        cmocka_unit_test(test_one_probe_at_a_time),
        cmocka_unit_test(test_slow_answers_do_not_delay),
        cmocka_unit_test(test_signs_of_life),
        cmocka_unit_test(test_return_flushes_all),
        cmocka_unit_test(test_tells_its_states),
        cmocka_unit_test(test_hold_and_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
