/* What parole.c promises: a primary that comes back broken is given little, and found well. */
#include "helper_world.h"

#include <stdio.h>

#define JOBS 400

/* ---- what counts, by a session of the test's own ------------------------------------ */

struct script {
    struct queue *queue;
    int64_t now_ms;
    uint64_t session, woken;
    uint32_t next_id;
    struct queue_job last;
    bool on_disk;
    struct queue_action last_state;
    size_t states, opens;
};

static void pump(struct script *script)
{
    struct queue_action action;
    int64_t again_ms;

    while (queue_next(script->queue, script->now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            script->session = action.session;
            script->opens++;
        } else if (action.kind == QUEUE_READ) {
            queue_page(script->queue, action.queue, 0, &script->last, script->on_disk, true,
                       script->now_ms);
        } else if (action.kind == QUEUE_STATE) {
            script->last_state = action;
            script->states++;
        } else if (action.kind == QUEUE_WAKE) {
            script->woken = action.session;
        }
    }
}

/* As pump, but the disk has the job that was added last. */
static void script_read(struct script *script)
{
    script->on_disk = true;
    pump(script);
    script->on_disk = false;
}

static void script_add(struct script *script)
{
    struct queue_job job = {
        .due_ms = script->now_ms, .arrival_ms = script->now_ms, .size_octets = 1};
    uint32_t id = ++script->next_id;

    memcpy(job.id.octets + 12, &id, sizeof id);
    script->last = job;
    queue_job_added(script->queue, PN_STR("alpha.example"), &job, script->now_ms);
    pump(script);
}

static void script_open(struct script *script)
{
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 3};
    struct queue_definition definition = {.destination = "primary",
                                          .sessions = 1,
                                          .messages_per_session = 1000,
                                          .retry_min_ms = 300000,
                                          .retry_max_ms = 1800000,
                                          .hold_ms = PN_DAYS(14)};

    *script = (struct script){.queue = queue_new(&options), .now_ms = WORLD_START};
    queue_define(script->queue, PN_STR("alpha.example"), &definition, WORLD_START);
    script_add(script); /* the job that opens the session; nobody reads it */
    assert_int_equal(script->opens, 1);
    queue_session_ready(script->queue, script->session, script->now_ms);
    pump(script);
}

static struct queue_destination_status script_dest(const struct script *script)
{
    struct queue_destination_status status = {0};

    assert_true(
        queue_get_destination(script->queue, PN_STR("primary"), script->now_ms, &status));
    return status;
}

/* d: done, l: 4xx, r: refused, k: a known one refused, m: some refused, some 4xx. */
static void script_result(struct script *script, char what)
{
    enum queue_verdict verdict = what == 'l' || what == 'm' ? QUEUE_LATER : QUEUE_DONE;
    struct queue_job job;
    struct pn_str queue;
    bool close;

    script_add(script);
    if (queue_take(script->queue, script->session, 1, &job, &queue, &close, script->now_ms) ==
        0) {
        return;
    }
    if (what == 'r' || what == 'k' || what == 'm') {
        queue_refused(script->queue, script->session, PN_STR("primary"), 2, what == 'k',
                      script->now_ms);
    }
    (void)queue_result(script->queue, script->session, PN_STR("alpha.example"), &job, verdict,
                       10, script->now_ms);
    queue_job_removed(script->queue, PN_STR("alpha.example"), &job, script->now_ms);
    pump(script);
}

static const struct {
    const char *name, *results;
    bool parole, stopped;
    unsigned done, refused;
} counts[] = {
    {"a known one", "k", true, true, 0, 1},
    {"a known one among good ones", "dddddddddddddddddddddddddddddk", true, true, 29, 1},
    {"nine refused", "rrrrrrrrr", true, false, 0, 9},
    {"ten refused", "rrrrrrrrrr", true, true, 0, 10},
    {"two of ten", "rrdddddddd", true, false, 8, 2},
    {"three of ten", "rrrddddddd", true, false, 7, 3},
    {"three of ten, and the next", "rrrdddddddr", true, true, 7, 4},
    {"three of twelve", "dddddddddrrr", true, true, 9, 3},
    {"the tenth is the third", "rrdddddddr", true, true, 7, 3},
    {"a mixed job counts as refused", "mmdddddddm", true, true, 7, 3},
    {"4xx count for nothing", "llllllllllllllllllll", true, false, 0, 0},
    {"4xx among refusals", "rrrrrrrrrlllll", true, false, 0, 9},
    {"fifty taken", "dddddddddddddddddddddddddddddddddddddddddddddddddd", false, false, 0, 0},
    {"forty-nine", "ddddddddddddddddddddddddddddddddddddddddddddddddd", true, false, 49, 0},
    {"a few refused on the way", "ddddddddddrddddddddddrddddddddddrddddddddddrdddddddddd",
     false, false, 0, 0},
    {"after it nothing stops",
     "ddddddddddddddddddddddddddddddddddddddddddddddddddkkrrrrrrrrrrr", false, false, 0, 0},
    {"after fifty only known ones do: 10 of 50, then 15 of 55",
     "ddddddddddddddddddddddddddddddddddddddddrrrrrrrrrrrrrrr", true, false, 40, 15},
};

static void test_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(counts); i++) {
        struct queue_destination_status status;
        struct script script;

        print_message("%s\n", counts[i].name);
        script_open(&script);
        assert_int_equal(script_dest(&script).state, QUEUE_RAMP);
        assert_true(script_dest(&script).parole);
        for (const char *what = counts[i].results; *what; what++) {
            script_result(&script, *what);
        }
        status = script_dest(&script);
        assert_int_equal(status.parole, counts[i].parole);
        assert_int_equal(status.state == QUEUE_STOPPED, counts[i].stopped);
        assert_int_equal(status.parole_done, counts[i].done);
        assert_int_equal(status.parole_refused, counts[i].refused);
        assert_int_equal(script.last_state.parole, counts[i].parole);
        assert_int_equal(script.last_state.state, status.state);
        queue_free(&script.queue);
    }
}

/* The session that has asked for more already is told at once, and gets nothing. */
static void test_tells_idle_sessions(void **state)
{
    struct queue_job job;
    struct script script;
    struct pn_str queue;
    bool close;

    (void)state;
    script_open(&script);
    script_add(&script);
    assert_int_equal(
        queue_take(script.queue, script.session, 1, &job, &queue, &close, script.now_ms), 1);
    assert_int_equal(
        queue_take(script.queue, script.session, 1, &job, &queue, &close, script.now_ms), 0);
    assert_false(close);
    pump(&script);
    queue_refused(script.queue, script.session, PN_STR("primary"), 1, 1, script.now_ms);
    (void)queue_result(script.queue, script.session, PN_STR("alpha.example"), &job, QUEUE_DONE,
                       10, script.now_ms);
    script.woken = 0;
    pump(&script);
    assert_int_equal(script.woken, script.session);
    assert_int_equal(
        queue_take(script.queue, script.session, 1, &job, &queue, &close, script.now_ms), 0);
    assert_true(close);
    queue_free(&script.queue);
}

/* A session that others of ours have in use is no failure, and is asked for again. */
static void test_lent_sessions(void **state)
{
    struct script script;

    (void)state;
    script_open(&script);
    queue_session_ended(script.queue, script.session, QUEUE_END_CLEAN, PN_STR(""),
                        script.now_ms);
    for (size_t i = 0; i < 5; i++) {
        size_t before = script.opens;

        script_add(&script);
        assert_int_equal(script.opens, before + 1);
        queue_session_ended(script.queue, script.session, QUEUE_END_LENT, PN_STR("in use"),
                            script.now_ms);
        pump(&script);
        assert_int_equal(script.opens, before + 1);
        assert_int_equal(script_dest(&script).state, QUEUE_RAMP);
        script.now_ms += PN_SECONDS(1) - 1;
        pump(&script);
        assert_int_equal(script.opens, before + 1);
        script.now_ms++;
        pump(&script);
        assert_int_equal(script.opens, before + 2);
        queue_session_ended(script.queue, script.session, QUEUE_END_CLEAN, PN_STR(""),
                            script.now_ms);
    }
    assert_int_equal(script_dest(&script).failures, 0);
    queue_free(&script.queue);
}

/* A canary's session that others have in use, or that ends before it was given anything. */
static void test_canary_sessions_that_end(void **state)
{
    static const struct {
        enum queue_end end;
        int64_t again_ms;
    } rows[] = {{QUEUE_END_LENT, PN_SECONDS(1)}, {QUEUE_END_CLEAN, PN_MINUTES(30)}};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct script script;
        size_t before;

        script_open(&script);
        script_result(&script, 'k');
        assert_int_equal(script_dest(&script).state, QUEUE_STOPPED);
        queue_session_ended(script.queue, script.session, QUEUE_END_CLEAN, PN_STR(""),
                            script.now_ms);
        script_add(&script);
        before = script.opens;
        script.now_ms = script_dest(&script).next_canary_ms;
        script_read(&script);
        assert_int_equal(script.opens, before + 1);
        queue_session_ended(script.queue, script.session, rows[i].end, PN_STR("in use"),
                            script.now_ms);
        pump(&script);
        assert_int_equal(script_dest(&script).state, QUEUE_STOPPED);
        assert_int_equal(script_dest(&script).next_canary_ms, script.now_ms + rows[i].again_ms);
        queue_free(&script.queue);
    }
}

/* ---- whole lives -------------------------------------------------------------------- */

/* An outage of ten minutes with mail for it; it ends with a primary that refuses all. */
static void come_back(struct world *world, uint64_t seed, size_t jobs, bool known)
{
    world_open(world, seed);
    world_define(world, "alpha.example", "primary");
    world_define(world, "beta.example", "primary");
    world->delay_ms = 10;
    world->peer.up = false;
    for (size_t i = 0; i < jobs; i++) {
        (void)world_add(world, i % 4 ? "alpha.example" : "beta.example", world->now_ms);
    }
    world_run(world, PN_MINUTES(10));
    assert_int_equal(world_state(world, "primary"), QUEUE_DOWN);
    assert_false(world_dest(world, "primary").parole);
    world->peer.up = true;
    world->peer.refused_permille = 1000;
    world->peer.refuses_known = known;
    world_run(world, PN_MINUTES(2));
}

static const struct seen *last_state(const struct world *world)
{
    const struct seen *last = NULL;

    for (size_t i = 0; i < world->seen_count; i++) {
        if (world->seen[i].action.kind == QUEUE_STATE) {
            last = &world->seen[i];
        }
    }
    return last;
}

static void assert_stopped(struct world *world)
{
    const struct seen *last = last_state(world);

    assert_int_equal(world_state(world, "primary"), QUEUE_STOPPED);
    assert_true(world_dest(world, "primary").parole);
    assert_true(world_dest(world, "primary").reason.len > 0);
    assert_int_equal(last->action.state, QUEUE_STOPPED);
    assert_true(last->action.parole);
    assert_int_equal(world->peer.sessions, 0);
}

static void test_stops_a_broken_primary(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct world world;
        uint64_t refused;
        int64_t stopped_ms;

        come_back(&world, 11, JOBS, known);
        assert_stopped(&world);
        stopped_ms = last_state(&world)->at_ms;
        /* What the sessions had in hand, and no more. */
        assert_in_range(world.peer.refused, known ? 1 : 10, 40);
        refused = world.peer.refused;
        assert_true(world_dest(&world, "primary").next_canary_ms >=
                    stopped_ms + PN_MINUTES(30));
        world_run(&world, PN_MINUTES(27));
        assert_int_equal(world.peer.refused, refused);
        /* Three canaries every half hour, in one session. */
        for (int i = 0; i < 6; i++) {
            int64_t from_ms = world.now_ms;

            world_run(&world, PN_MINUTES(30));
            assert_int_equal(world.peer.refused - refused, 3);
            assert_int_equal(world_count(&world, QUEUE_OPEN, from_ms, world.now_ms), 1);
            refused = world.peer.refused;
            assert_stopped(&world);
        }
        /* The table is mended: it is found, and all goes. */
        world.peer.refused_permille = 0;
        world_run(&world, PN_MINUTES(31));
        assert_int_equal(world_on_disk(&world), 0);
        assert_int_equal(world.peer.done, JOBS);
        assert_int_equal(world.peer.refused, refused);
        assert_false(world_dest(&world, "primary").parole);
        for (size_t i = 0; i < world.all_count; i++) {
            assert_int_equal(world.all[i]->delivered, 1);
        }
        world_close(&world);
    }
}

/* What a canary may meet, and where it leads to. */
static void test_canaries(void **state)
{
    static const struct {
        const char *name;
        struct peer peer;
        enum queue_state then;
        bool parole;
    } rows[] = {
        {"taken", {.up = true}, QUEUE_UP, false},
        {"refused", {.up = true, .refused_permille = 1000}, QUEUE_STOPPED, true},
        {"not now", {.up = true, .later_permille = 1000}, QUEUE_STOPPED, true},
        {"the third is not taken", {.up = true, .first_laters = 1}, QUEUE_STOPPED, true},
        {"does not answer", {.up = false}, QUEUE_DOWN, false},
        {"dies", {.up = true, .accepts_only = true}, QUEUE_DOWN, false},
        {"given back", {.up = true, .untried_permille = 1000}, QUEUE_STOPPED, true},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct world world;
        struct peer peer = rows[i].peer;

        print_message("%s\n", rows[i].name);
        come_back(&world, 20 + i, JOBS, true);
        assert_stopped(&world);
        peer.answer_ms = peer.took_ms = 20;
        peer.refused = world.peer.refused;
        peer.done = world.peer.done;
        world.peer = peer;
        world_run(&world, PN_MINUTES(31));
        assert_int_equal(world_state(&world, "primary"), rows[i].then);
        assert_int_equal(world_dest(&world, "primary").parole, rows[i].parole);
        world.peer = (struct peer){.up = true,
                                   .answer_ms = 20,
                                   .took_ms = 20,
                                   .sessions = world.peer.sessions,
                                   .ready = world.peer.ready,
                                   .refused = world.peer.refused,
                                   .done = world.peer.done};
        world_run(&world, PN_HOURS(2));
        assert_int_equal(world_on_disk(&world), 0);
        assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
        world_close(&world);
    }
}

/* A trial waits for a job, and finds the one that comes. */
static void test_canary_waits_for_mail(void **state)
{
    struct world world;
    int64_t from_ms;

    (void)state;
    come_back(&world, 31, 10, false);
    assert_stopped(&world);
    assert_int_equal(world_on_disk(&world), 0);
    world.peer.refused_permille = 0;
    from_ms = world.now_ms;
    world_run(&world, PN_HOURS(3));
    assert_stopped(&world);
    assert_int_equal(world_count(&world, QUEUE_OPEN, from_ms, world.now_ms), 0);
    (void)world_add(&world, "beta.example", world.now_ms);
    world_run(&world, PN_SECONDS(20));
    assert_int_equal(world_on_disk(&world), 0);
    assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
    assert_true(world_dest(&world, "primary").parole);
    world_close(&world);
}

static void test_operator(void **state)
{
    struct world world;
    uint64_t refused;

    (void)state;
    /* Resumed, it is tried again as if it had just come back. */
    come_back(&world, 41, JOBS, false);
    assert_stopped(&world);
    refused = world.peer.refused;
    assert_false(queue_resume(world.queue, PN_STR("nobody"), world.now_ms));
    assert_true(queue_resume(world.queue, PN_STR("primary"), world.now_ms));
    assert_int_equal(world_state(&world, "primary"), QUEUE_RAMP);
    world_run(&world, PN_MINUTES(2));
    assert_stopped(&world);
    assert_in_range(world.peer.refused - refused, 10, 40);
    /* Believed, it may refuse all. */
    assert_false(queue_refuse(world.queue, PN_STR("nobody"), world.now_ms));
    assert_true(queue_refuse(world.queue, PN_STR(""), world.now_ms));
    assert_int_equal(world_state(&world, "primary"), QUEUE_RAMP);
    assert_false(world_dest(&world, "primary").parole);
    world_run(&world, PN_MINUTES(5));
    assert_int_equal(world_on_disk(&world), 0);
    assert_int_equal(world.peer.refused, JOBS);
    assert_int_equal(
        world_count(&world, QUEUE_PROBE, world.now_ms - PN_MINUTES(5), world.now_ms), 0);
    assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
    world_close(&world);
}

static void test_hold_and_release(void **state)
{
    struct world world;

    (void)state;
    come_back(&world, 42, JOBS, true);
    assert_stopped(&world);
    (void)queue_hold(world.queue, PN_STR("primary"), true, world.now_ms);
    world_run(&world, PN_HOURS(3));
    assert_int_equal(world_state(&world, "primary"), QUEUE_HELD);
    assert_true(world_on_disk(&world) > JOBS - 40);
    world.peer.refused_permille = 0;
    (void)queue_hold(world.queue, PN_STR("primary"), false, world.now_ms);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_on_disk(&world), 0);
    world_close(&world);
}

/* Little mail: it takes an hour without a refusal. */
static void test_quiet_hour(void **state)
{
    struct world world;
    const struct seen *last;
    int64_t from_ms;

    (void)state;
    world_open(&world, 51);
    world_define(&world, "alpha.example", "primary");
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(40));
    assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
    assert_true(world_dest(&world, "primary").parole);
    world.peer.refused_permille = 1000;
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world.peer.refused, 1);
    world.peer.refused_permille = 0;
    (void)world_add(&world, "alpha.example", world.now_ms + PN_MINUTES(20));
    world_run(&world, PN_MINUTES(59));
    assert_true(world_dest(&world, "primary").parole);
    assert_int_equal(world.peer.done, 3);
    from_ms = world.now_ms;
    world_run(&world, PN_MINUTES(2));
    assert_false(world_dest(&world, "primary").parole);
    last = last_state(&world);
    assert_true(last->at_ms >= from_ms);
    assert_int_equal(last->action.state, QUEUE_UP);
    assert_int_equal(last->action.before, QUEUE_UP);
    assert_false(last->action.parole);
    assert_in_range(last->action.lasted_ms, PN_MINUTES(99), PN_MINUTES(101));
    /* The next outage brings it back. */
    world.peer.up = false;
    (void)world_add(&world, "alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_state(&world, "primary"), QUEUE_DOWN);
    world.peer.up = true;
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
    assert_true(world_dest(&world, "primary").parole);
    assert_int_equal(world_dest(&world, "primary").parole_done, 1);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_tells_idle_sessions),
        cmocka_unit_test(test_lent_sessions),
        cmocka_unit_test(test_stops_a_broken_primary),
        cmocka_unit_test(test_canary_sessions_that_end),
        cmocka_unit_test(test_canaries),
        cmocka_unit_test(test_canary_waits_for_mail),
        cmocka_unit_test(test_operator),
        cmocka_unit_test(test_hold_and_release),
        cmocka_unit_test(test_quiet_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
