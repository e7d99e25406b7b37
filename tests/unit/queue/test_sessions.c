/* What destination.c promises of sessions: ramp, halving, waiting, waking and closing. */
#include "helper_world.h"

static void fill(struct world *world, const char *lane, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)world_add(world, lane, world->now_ms);
    }
}

/* Scripted: the sessions are the test's own. */
struct bench {
    struct queue *queue;
    int64_t now_ms;
    uint64_t opened[64];
    size_t opens, wakes, reads;
    uint64_t woken;
    uint32_t next_id;
    bool answers; /* what is opened is ready at once */
};

static void pump(struct bench *bench)
{
    struct queue_action action;
    int64_t again_ms;

    while (queue_next(bench->queue, bench->now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            bench->opened[bench->opens++] = action.session;
            if (bench->answers) {
                queue_session_ready(bench->queue, action.session, bench->now_ms);
            }
        } else if (action.kind == QUEUE_WAKE) {
            bench->woken = action.session;
            bench->wakes++;
        } else if (action.kind == QUEUE_READ) {
            /* All but the first job of these tests are fresh: nothing has to be read. */
            bench->reads++;
            queue_page(bench->queue, action.queue, 0, NULL, 0, true, bench->now_ms);
        }
    }
}

static struct queue_job bench_job(struct bench *bench)
{
    struct queue_job job = {
        .due_ms = bench->now_ms, .arrival_ms = bench->now_ms, .size_octets = 1};
    uint32_t id = ++bench->next_id;

    memcpy(job.id.octets + 12, &id, sizeof id);
    return job;
}

static void bench_add(struct bench *bench, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct queue_job job = bench_job(bench);

        queue_job_added(bench->queue, PN_STR("alpha.example"), &job, bench->now_ms);
    }
    pump(bench);
}

static void bench_open(struct bench *bench, unsigned sessions)
{
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 3};
    struct queue_definition definition = {.destination = "primary",
                                          .sessions = sessions,
                                          .messages_per_session = 1000,
                                          .retry_min_ms = 300000,
                                          .retry_max_ms = 1800000,
                                          .hold_ms = PN_DAYS(14)};

    *bench = (struct bench){.queue = queue_new(&options), .now_ms = WORLD_START};
    queue_define(bench->queue, PN_STR("alpha.example"), &definition, WORLD_START);
}

static struct queue_destination_status bench_dest(const struct bench *bench)
{
    struct queue_destination_status status = {0};

    assert_true(queue_get_destination(bench->queue, PN_STR("primary"), bench->now_ms, &status));
    return status;
}

static bool bench_take(struct bench *bench, uint64_t session, struct queue_job *out)
{
    struct pn_str lane;
    bool close;

    return queue_take(bench->queue, session, 1, out, &lane, &close, bench->now_ms) == 1;
}

/* The session takes and settles so many jobs; each takes so long. */
static void bench_work(struct bench *bench, uint64_t session, unsigned count,
                       enum queue_verdict verdict, int64_t took_ms)
{
    for (unsigned i = 0; i < count; i++) {
        struct queue_job job;

        assert_true(bench_take(bench, session, &job));
        bench->now_ms += took_ms;
        (void)queue_result(bench->queue, session, PN_STR("alpha.example"), &job, verdict,
                           took_ms, bench->now_ms);
        queue_job_removed(bench->queue, PN_STR("alpha.example"), &job, bench->now_ms);
    }
    pump(bench);
}

/* A destination with `ready` sessions at work, in UP. */
static void bench_ramp(struct bench *bench, unsigned ready)
{
    bench_add(bench, 1);
    assert_int_equal(bench->opens, 1);
    queue_session_ready(bench->queue, bench->opened[0], bench->now_ms);
    bench_add(bench, 400);
    bench->answers = true;
    for (unsigned limit = 1; limit < ready; limit *= 2) {
        bench_work(bench, bench->opened[0], limit, QUEUE_DONE, 10);
    }
    bench->answers = false;
    assert_int_equal(bench_dest(bench).state, QUEUE_UP);
    assert_int_equal(bench->opens, ready);
    assert_int_equal(bench_dest(bench).ready_sessions, ready);
}

static void test_ramp_doubles(void **state)
{
    static const unsigned limits[] = {1, 2, 4, 8, 16, 20};
    struct bench bench;

    (void)state;
    bench_open(&bench, 20);
    bench_add(&bench, 1);
    assert_int_equal(bench.opens, 1);
    queue_session_ready(bench.queue, bench.opened[0], bench.now_ms);
    bench_add(&bench, 400);
    for (size_t i = 0; i < PN_COUNT(limits); i++) {
        struct queue_destination_status status = bench_dest(&bench);

        assert_int_equal(status.session_limit, limits[i]);
        assert_int_equal(status.sessions, limits[i]);
        assert_int_equal(bench.opens, limits[i]);
        assert_int_equal(status.state, limits[i] == 20 ? QUEUE_UP : QUEUE_RAMP);
        /* As long as not all of them are ready, nothing is proved. */
        bench_work(&bench, bench.opened[0], i > 0 ? limits[i] : 0, QUEUE_DONE, 10);
        assert_int_equal(bench_dest(&bench).session_limit, limits[i]);
        for (size_t n = 0; n < bench.opens; n++) {
            queue_session_ready(bench.queue, bench.opened[n], bench.now_ms);
        }
        /* A 4xx for a message is as good a sign of health as a 250. */
        bench_work(&bench, bench.opened[0], limits[i], i % 2 ? QUEUE_LATER : QUEUE_DONE, 10);
    }
    queue_free(&bench.queue);
}

static void test_busy_halves(void **state)
{
    static const unsigned limits[] = {4, 2, 1, 1};
    struct bench bench;

    (void)state;
    bench_open(&bench, 8);
    bench_ramp(&bench, 8);
    for (size_t i = 0; i < PN_COUNT(limits); i++) {
        bench.now_ms += 1000;
        queue_session_ended(bench.queue, bench.opened[7 - i], QUEUE_END_BUSY, PN_STR("421"),
                            bench.now_ms);
        pump(&bench);
        assert_int_equal(bench_dest(&bench).session_limit, limits[i]);
        assert_int_equal(bench.opens, 8);
    }
    assert_int_equal(bench_dest(&bench).state, QUEUE_UP);
    /* Surplus sessions end at their next take, until one is left. */
    for (size_t i = 1; i < 4; i++) {
        struct queue_job job;
        struct pn_str lane;
        bool close;

        assert_int_equal(
            queue_take(bench.queue, bench.opened[i], 1, &job, &lane, &close, bench.now_ms), 0);
        assert_true(close);
    }
    bench_work(&bench, bench.opened[0], 1, QUEUE_DONE, 10);
    queue_free(&bench.queue);
}

static void test_refused_together_is_one_trouble(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 8);
    bench_ramp(&bench, 8);
    for (size_t i = 7; i > 2; i--) {
        queue_session_ended(bench.queue, bench.opened[i], QUEUE_END_BUSY, PN_STR("421"),
                            bench.now_ms + 100);
    }
    assert_int_equal(bench_dest(&bench).session_limit, 4);
    /* So are sessions that were on their way when it began, however late they end. */
    bench.now_ms += 1100;
    pump(&bench);
    assert_int_equal(bench.opens, 9);
    queue_session_ended(bench.queue, bench.opened[2], QUEUE_END_BUSY, PN_STR("421"),
                        bench.now_ms + 10);
    assert_int_equal(bench_dest(&bench).session_limit, 2);
    queue_session_ended(bench.queue, bench.opened[8], QUEUE_END_FAILED, PN_STR("time-out"),
                        bench.now_ms + 30000);
    assert_int_equal(bench_dest(&bench).session_limit, 2);
    assert_int_equal(bench_dest(&bench).state, QUEUE_UP);
    queue_free(&bench.queue);
}

static void test_busy_waits(void **state)
{
    static const int64_t waits_ms[] = {1000,  2000,  4000,  8000, 16000,
                                       32000, 60000, 60000, 1000, 2000};
    struct bench bench;

    (void)state;
    bench_open(&bench, 1);
    bench_add(&bench, 1);
    queue_session_ready(bench.queue, bench.opened[0], bench.now_ms);
    bench_add(&bench, 100);
    for (size_t i = 0; i < PN_COUNT(waits_ms); i++) {
        if (i == 8) {
            /* A success: what waits then begins with a second again. */
            bench_work(&bench, bench.opened[i], 1, QUEUE_DONE, 10);
        }
        queue_session_ended(bench.queue, bench.opened[i], QUEUE_END_BUSY, PN_STR("421"),
                            bench.now_ms);
        bench.now_ms += waits_ms[i] - 1;
        pump(&bench);
        assert_int_equal(bench.opens, i + 1);
        bench.now_ms++;
        pump(&bench);
        assert_int_equal(bench.opens, i + 2);
        queue_session_ready(bench.queue, bench.opened[i + 1], bench.now_ms);
    }
    /* One that we end ourselves is followed at once. */
    queue_session_ended(bench.queue, bench.opened[10], QUEUE_END_CLEAN, PN_STR(""),
                        bench.now_ms);
    pump(&bench);
    assert_int_equal(bench.opens, 12);
    queue_free(&bench.queue);
}

static void test_grows_again_one_by_one(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 8);
    bench_ramp(&bench, 8);
    queue_session_ended(bench.queue, bench.opened[7], QUEUE_END_BUSY, PN_STR("421"),
                        bench.now_ms);
    for (unsigned limit = 4; limit < 8; limit++) {
        assert_int_equal(bench_dest(&bench).session_limit, limit);
        for (unsigned i = 0; i < limit * 4; i++) {
            struct queue_job job = bench_job(&bench);

            (void)queue_result(bench.queue, bench.opened[0], PN_STR("alpha.example"), &job,
                               QUEUE_DONE, 10, bench.now_ms);
        }
    }
    assert_int_equal(bench_dest(&bench).session_limit, 8);
    queue_free(&bench.queue);
}

static void test_slowness_halves_once(void **state)
{
    struct bench bench;
    struct queue_job job;

    (void)state;
    bench_open(&bench, 8);
    bench_ramp(&bench, 8);
    bench.now_ms += 10000;
    /* Eight answers that were waited for together count as one. */
    for (int i = 0; i < 8; i++) {
        job = bench_job(&bench);
        (void)queue_result(bench.queue, bench.opened[i], PN_STR("alpha.example"), &job,
                           QUEUE_DONE, 5000, bench.now_ms + i);
    }
    assert_int_equal(bench_dest(&bench).session_limit, 4);
    bench.now_ms += 6000;
    (void)queue_result(bench.queue, bench.opened[0], PN_STR("alpha.example"), &job, QUEUE_DONE,
                       5000, bench.now_ms);
    assert_int_equal(bench_dest(&bench).session_limit, 2);
    queue_free(&bench.queue);
}

struct end_row {
    const char *name;
    unsigned ready; /* others that are ready */
    unsigned heard; /* results of the session before it ends */
    bool opening;
    enum queue_end end;
    enum queue_state state;
};

static const struct end_row end_rows[] = {
    {"refused, alone", 0, 0, true, QUEUE_END_FAILED, QUEUE_DOWN},
    {"421 as greeting, alone", 0, 0, true, QUEUE_END_BUSY, QUEUE_DOWN},
    {"lost before the greeting, alone", 0, 0, true, QUEUE_END_LOST, QUEUE_DOWN},
    {"refused beside others", 2, 0, true, QUEUE_END_FAILED, QUEUE_UP},
    {"421 beside others", 2, 0, true, QUEUE_END_BUSY, QUEUE_UP},
    {"lost, alone, nothing done", 0, 0, false, QUEUE_END_LOST, QUEUE_DOWN},
    {"lost, alone, something done", 0, 3, false, QUEUE_END_LOST, QUEUE_UP},
    {"421, alone, nothing done", 0, 0, false, QUEUE_END_BUSY, QUEUE_UP},
    {"closed, alone", 0, 0, false, QUEUE_END_CLEAN, QUEUE_UP},
    {"lost beside others", 2, 0, false, QUEUE_END_LOST, QUEUE_UP},
};

static void test_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(end_rows); i++) {
        const struct end_row *row = &end_rows[i];
        struct bench bench;
        uint64_t session;

        print_message("%s\n", row->name);
        bench_open(&bench, 4);
        bench_ramp(&bench, 4);
        for (size_t n = row->ready; n < 4; n++) {
            queue_session_ended(bench.queue, bench.opened[n], QUEUE_END_CLEAN, PN_STR(""),
                                bench.now_ms);
        }
        pump(&bench);
        session = bench.opened[4];
        if (!row->opening) {
            queue_session_ready(bench.queue, session, bench.now_ms);
            bench_work(&bench, session, row->heard, QUEUE_DONE, 10);
        }
        for (size_t n = 5; n < bench.opens; n++) {
            queue_session_ended(bench.queue, bench.opened[n], QUEUE_END_CLEAN, PN_STR(""),
                                bench.now_ms);
        }
        queue_session_ended(bench.queue, session, row->end, PN_STR("so it ended"),
                            bench.now_ms);
        assert_int_equal(bench_dest(&bench).state, row->state);
        queue_free(&bench.queue);
    }
}

static void test_all_lost_is_down(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 4);
    bench_ramp(&bench, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(bench_dest(&bench).state, QUEUE_UP);
        queue_session_ended(bench.queue, bench.opened[i], QUEUE_END_LOST, PN_STR("reset"),
                            bench.now_ms);
    }
    assert_int_equal(bench_dest(&bench).state, QUEUE_DOWN);
    queue_free(&bench.queue);
}

static void test_wakes_idle_ones(void **state)
{
    struct bench bench;
    struct queue_job job;
    struct pn_str lane;
    bool close;

    (void)state;
    bench_open(&bench, 4);
    bench_add(&bench, 1);
    queue_session_ready(bench.queue, bench.opened[0], bench.now_ms);
    bench_add(&bench, 1);
    bench_work(&bench, bench.opened[0], 1, QUEUE_DONE, 10);
    assert_false(bench_take(&bench, bench.opened[0], &job));
    pump(&bench);
    assert_int_equal(bench.wakes, 0);
    bench_add(&bench, 1);
    bench_add(&bench, 1);
    assert_int_equal(bench.wakes, 1); /* one that is out is enough for one session */
    assert_int_equal(bench.opens, 1);
    assert_true(bench_take(&bench, bench.woken, &job));
    assert_true(bench_take(&bench, bench.woken, &job));
    assert_false(bench_take(&bench, bench.woken, &job));
    pump(&bench);
    bench.now_ms += 29999;
    pump(&bench);
    assert_int_equal(bench.wakes, 1);
    bench.now_ms++;
    pump(&bench);
    assert_int_equal(bench.wakes, 2);
    assert_int_equal(queue_take(bench.queue, bench.woken, 1, &job, &lane, &close, bench.now_ms),
                     0);
    assert_true(close);
    assert_int_equal(bench_dest(&bench).ready_sessions, 0);
    queue_session_ended(bench.queue, bench.woken, QUEUE_END_CLEAN, PN_STR(""), bench.now_ms);
    queue_session_ended(bench.queue, bench.woken, QUEUE_END_LOST, PN_STR("again"),
                        bench.now_ms);
    assert_int_equal(bench_dest(&bench).sessions, 0);
    /* Who is not there is to close. */
    assert_int_equal(queue_take(bench.queue, 4711, 1, &job, &lane, &close, bench.now_ms), 0);
    assert_true(close);
    queue_free(&bench.queue);
}

static void test_ends_after_its_messages(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 5);
    world.definition.messages_per_session = 10;
    world.definition.sessions = 1;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 95);
    world_run(&world, PN_SECONDS(20));
    assert_int_equal(world.peer.done, 95);
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 10);
    assert_int_equal(world.peer.most_seen, 1);
    world_close(&world);
}

static void test_finds_what_the_peer_bears(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 6);
    world.peer.most = 3;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 4000);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world.peer.done, 4000);
    assert_int_equal(world.peer.most_seen, 3);
    /* Each refusal makes it ask less often. */
    assert_true(world_dest(&world, "primary").refused_sessions < 120);
    assert_int_equal(world_count(&world, QUEUE_PROBE, 0, INT64_MAX), 0);
    world_close(&world);
}

static void test_least_of_the_counts(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 7);
    world.definition.sessions = 3;
    world_define(&world, "alpha.example", "primary");
    world.definition.sessions = 2;
    world_define(&world, "beta.example", "primary");
    fill(&world, "alpha.example", 500);
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world.peer.most_seen, 2);
    world_define(&world, "beta.example", NULL);
    fill(&world, "alpha.example", 500);
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world.peer.most_seen, 3);
    assert_int_equal(world.peer.done, 1000);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramp_doubles),
        cmocka_unit_test(test_busy_halves),
        cmocka_unit_test(test_refused_together_is_one_trouble),
        cmocka_unit_test(test_busy_waits),
        cmocka_unit_test(test_grows_again_one_by_one),
        cmocka_unit_test(test_slowness_halves_once),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_all_lost_is_down),
        cmocka_unit_test(test_wakes_idle_ones),
        cmocka_unit_test(test_ends_after_its_messages),
        cmocka_unit_test(test_finds_what_the_peer_bears),
        cmocka_unit_test(test_least_of_the_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
