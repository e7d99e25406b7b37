/* What window.c promises, against a naive model: no job is forgotten, none is given twice. */
#include "helper_world.h"

#define SEEDS 40
#define STEPS 10000
#define JOBS  6000

static const char *const names[] = {"alpha.example", "beta.example", "gamma.example"};
static const char *const dests[] = {"primary", "primary", "other"};

static const char *lane_of_job(size_t job)
{
    return names[job % PN_COUNT(names)];
}

static void change_peer(struct world *world)
{
    struct peer *peer = &world->peer;

    switch (pn_rand_below(&world->rand, 8)) {
    case 0:
        peer->up = !peer->up;
        break;
    case 1:
        peer->took_ms = (int64_t)pn_rand_below(&world->rand, 4000);
        break;
    case 2:
        peer->lost_permille = (unsigned)pn_rand_below(&world->rand, 100);
        break;
    case 3:
        peer->later_permille = (unsigned)pn_rand_below(&world->rand, 500);
        break;
    case 4:
        peer->most = (unsigned)pn_rand_below(&world->rand, 8);
        break;
    case 5:
        peer->refused_permille = (unsigned)pn_rand_below(&world->rand, 2) * 500;
        break;
    case 6:
        peer->refuses_known = !peer->refuses_known;
        break;
    default:
        peer->spoils_doubt = !peer->spoils_doubt;
        break;
    }
}

static void change_rules(struct world *world)
{
    size_t i = (size_t)pn_rand_below(&world->rand, PN_COUNT(names));

    switch (pn_rand_below(&world->rand, 10)) {
    case 0:
        world_define(world, names[i], NULL);
        break;
    case 1:
        world_define(world, names[i], pn_rand_below(&world->rand, 2) ? dests[i] : "third");
        break;
    case 2:
        (void)queue_hold(world->queue, pn_str_z(dests[i]), true, world->now_ms);
        break;
    case 3:
        (void)queue_hold(world->queue, PN_STR(""), false, world->now_ms);
        break;
    case 4:
        (void)queue_flush(world->queue,
                          pn_str_z(pn_rand_below(&world->rand, 2) ? names[i] : ""),
                          world->now_ms);
        break;
    case 5:
        queue_pause(world->queue, pn_rand_below(&world->rand, 2), world->now_ms);
        break;
    case 6:
        world->spool_fails = !world->spool_fails;
        break;
    case 7:
        (void)queue_resume(world->queue, PN_STR(""), world->now_ms);
        break;
    case 8:
        (void)queue_refuse(world->queue, pn_str_z(dests[i]), world->now_ms);
        break;
    default:
        queue_sign_of_life(world->queue, pn_str_z(names[i]), world->now_ms);
        break;
    }
}

static void add(struct world *world)
{
    size_t count = 1 + (size_t)pn_rand_below(&world->rand, 12);

    for (size_t i = 0; i < count && world->all_count < JOBS / 4; i++) {
        bool later = pn_rand_below(&world->rand, 10) == 0;
        int64_t due_ms =
            world->now_ms + (later ? (int64_t)pn_rand_below(&world->rand, 900000) : 0);

        (void)world_add(world, lane_of_job(world->all_count), due_ms);
    }
}

/* The operator works on single jobs: those with sessions too, which may deliver them twice. */
static void operate(struct world *world, bool *touched)
{
    size_t i = world->all_count > 0 ? (size_t)pn_rand_below(&world->rand, world->all_count) : 0;

    if (world->all_count == 0) {
        return;
    }
    touched[i] = true;
    switch (pn_rand_below(&world->rand, 3)) {
    case 0:
        world_move(world, lane_of_job(i), world->all[i], world->now_ms, 0);
        break;
    case 1:
        world_move(world, lane_of_job(i), world->all[i], QUEUE_DUE_NEVER, QUEUE_JOB_HELD);
        break;
    default:
        world_move(world, lane_of_job(i), world->all[i],
                   world->now_ms + (int64_t)pn_rand_below(&world->rand, 600000), 0);
        break;
    }
}

static void step(struct world *world, bool operates, bool *touched)
{
    uint64_t dice = pn_rand_below(&world->rand, 100);

    if (dice < 8) {
        add(world);
    } else if (dice < 10) {
        change_peer(world);
    } else if (dice < 11) {
        change_rules(world);
    } else if (dice < 14 && operates) {
        operate(world, touched);
    } else if (dice < 15) {
        world_run(world, PN_MINUTES(5));
    } else {
        world_run(world, (int64_t)pn_rand_below(&world->rand, 200));
    }
}

/* All is well again, held jobs are released: whatever is left has to go. */
static void heal(struct world *world)
{
    world->peer = (struct peer){.up = true,
                                .answer_ms = 10,
                                .took_ms = 5,
                                .sessions = world->peer.sessions,
                                .ready = world->peer.ready};
    world->spool_fails = false;
    queue_pause(world->queue, false, world->now_ms);
    (void)queue_hold(world->queue, PN_STR(""), false, world->now_ms);
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        world_define(world, names[i], dests[i]);
    }
    for (size_t i = 0; i < world->all_count; i++) {
        if (world->all[i]->job.flags & QUEUE_JOB_HELD) {
            world_move(world, lane_of_job(i), world->all[i], world->now_ms, 0);
        }
    }
    world_run(world, PN_HOURS(4));
}

static void run_seed(uint64_t seed, bool operates)
{
    struct world world;
    bool touched[JOBS] = {false};

    world_open(&world, seed);
    world.definition.hold_ms = PN_DAYS(3650);
    world.delay_ms = (int64_t)(seed % 5) * 15;
    world.peer.up = seed % 2;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        size_t there = i == 0 && seed % 3 == 0 ? 300 : 0;

        for (size_t j = 0; j < there; j++) {
            (void)world_preset(&world, names[0], world_job(&world, WORLD_START - 1000));
            (void)world_preset(&world, names[1], world_job(&world, WORLD_START - 1000));
            (void)world_preset(&world, names[2], world_job(&world, WORLD_START + 9000));
        }
    }
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        world_define(&world, names[i], dests[i]);
        world_counted(&world, names[i]);
    }
    for (int i = 0; i < STEPS; i++) {
        step(&world, operates, touched);
    }
    heal(&world);
    if (world_on_disk(&world) > 0) {
        fail_msg("seed %llu: %zu jobs are forgotten", (unsigned long long)seed,
                 world_on_disk(&world));
    }
    for (size_t i = 0; i < world.all_count; i++) {
        if (!touched[i]) {
            assert_int_equal(world.all[i]->delivered, 1);
        }
    }
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        struct queue_status status = world_lane(&world, names[i]);

        assert_int_equal(status.jobs, 0);
        assert_int_equal(status.octets, 0);
        assert_int_equal(status.in_flight, 0);
        assert_int_equal(status.oldest_ms, 0);
        assert_false(status.flushing);
    }
    assert_int_equal(world.doubts_with_others, 0);
    if (!operates) {
        assert_int_equal(world.gone, 0);
    }
    world_close(&world);
}

static void test_delivers_each_job_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed, false);
    }
}

static void test_bears_an_operator(void **state)
{
    (void)state;
    for (uint64_t seed = 1001; seed <= 1000 + SEEDS; seed++) {
        run_seed(seed, true);
    }
}

/* As many as a burst brings: more than a window and the fresh list hold. */
static void add_burst(struct world *world)
{
    size_t lane = (size_t)pn_rand_below(&world->rand, PN_COUNT(names));
    size_t count = (size_t)pn_rand_below(&world->rand, 900);

    for (size_t i = 0; i < count && world->all_count < JOBS; i++) {
        bool later = pn_rand_below(&world->rand, 4) == 0;

        (void)world_add(world, names[lane],
                        world->now_ms +
                            (later ? (int64_t)pn_rand_below(&world->rand, 60000) : 0));
    }
}

static void calm_step(struct world *world)
{
    struct peer *peer = &world->peer;
    uint64_t dice = pn_rand_below(&world->rand, 200);

    if (dice == 0) {
        add_burst(world);
    } else if (dice < 8) {
        (void)world_add(world, names[dice % PN_COUNT(names)], world->now_ms);
    } else if (dice < 10) {
        peer->later_permille = (unsigned)pn_rand_below(&world->rand, 300);
        peer->untried_permille = (unsigned)pn_rand_below(&world->rand, 300);
        peer->took_ms = (int64_t)pn_rand_below(&world->rand, 300);
    } else if (dice < 11) {
        (void)queue_flush(world->queue, PN_STR("alpha.example"), world->now_ms);
    } else if (dice < 12) {
        queue_pause(world->queue, pn_rand_below(&world->rand, 2), world->now_ms);
    } else {
        world_run(world, (int64_t)pn_rand_below(&world->rand, 100));
    }
}

/*
 * A destination that is left and found again starts its cursors anew, and so mends what was
 * forgotten. Here it stays up, and nothing but the cursors' own rules finds each job.
 */
static void test_forgets_none_while_up(void **state)
{
    (void)state;
    for (uint64_t seed = 2001; seed <= 2000 + SEEDS; seed++) {
        struct world world;

        world_open(&world, seed);
        world.delay_ms = (int64_t)(seed % 5) * 40;
        for (size_t i = 0; i < PN_COUNT(names); i++) {
            world_define(&world, names[i], dests[i]);
        }
        for (int i = 0; i < STEPS / 4; i++) {
            calm_step(&world);
        }
        queue_pause(world.queue, false, world.now_ms);
        world.peer.later_permille = world.peer.untried_permille = 0;
        world_run(&world, PN_HOURS(4));
        if (world_on_disk(&world) > 0) {
            fail_msg("seed %llu: %zu jobs are forgotten", (unsigned long long)seed,
                     world_on_disk(&world));
        }
        for (size_t i = 0; i < world.all_count; i++) {
            assert_int_equal(world.all[i]->delivered, 1);
        }
        assert_int_equal(world.gone, 0);
        assert_int_equal(world_count(&world, QUEUE_PROBE, 0, INT64_MAX), 0);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivers_each_job_once),
        cmocka_unit_test(test_bears_an_operator),
        cmocka_unit_test(test_forgets_none_while_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
