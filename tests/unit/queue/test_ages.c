/* What sweep.c promises: who waited too long is told once, and a jump of the clock harms
 * nobody. */
#include "helper_world.h"

#include "queue_priv.h"

#include <stdio.h>

static struct queue_job aged(struct world *world, int64_t age_ms, int64_t due_in_ms)
{
    struct queue_job job = world_job(world, world->now_ms + due_in_ms);

    job.arrival_ms = world->now_ms - age_ms;
    return job;
}

static void test_expires_once(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    world.peer.up = false;
    for (int i = 0; i < 600; i++) {
        (void)world_preset(&world, "alpha.example", aged(&world, PN_DAYS(14) + i, i * 100));
        (void)world_preset(&world, "alpha.example", aged(&world, PN_DAYS(13), i * 100));
    }
    (void)world_preset(&world, "alpha.example", aged(&world, PN_DAYS(12), 5));
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world_count(&world, QUEUE_EXPIRE, 0, INT64_MAX), 600);
    assert_int_equal(world_on_disk(&world), 601);
    assert_int_equal(world_lane(&world, "alpha.example").oldest_ms, WORLD_START - PN_DAYS(13));
    world_run(&world, PN_DAYS(1) - PN_MINUTES(2));
    assert_int_equal(world_on_disk(&world), 601);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_on_disk(&world), 1);
    assert_int_equal(world_count(&world, QUEUE_EXPIRE, 0, INT64_MAX), 1200);
    world_run(&world, PN_DAYS(2));
    assert_int_equal(world_on_disk(&world), 0);
    assert_int_equal(world_lane(&world, "alpha.example").oldest_ms, 0);
    for (size_t i = 0; i < world.all_count; i++) {
        assert_int_equal(world.all[i]->expired, 1);
    }
    world_close(&world);
}

/* A report goes after a day, on its own and while its destination is away. */
static void test_reports_live_shorter(void **state)
{
    struct world world;
    struct queue_job report;

    (void)state;
    world_open(&world, 7);
    world.peer.up = false;
    world.options.report_keep_ms = PN_DAYS(1);
    queue_set_options(world.queue, &world.options);
    (void)world_preset(&world, "alpha.example", aged(&world, PN_DAYS(2), 5));
    report = aged(&world, PN_HOURS(20), 7);
    report.flags = QUEUE_JOB_REPORT;
    (void)world_preset(&world, "alpha.example", report);
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_HOURS(3));
    assert_int_equal(world_on_disk(&world), 2);
    world_run(&world, PN_HOURS(1) + PN_MINUTES(1));
    assert_int_equal(world_on_disk(&world), 1);
    report = aged(&world, 0, 5);
    report.flags = QUEUE_JOB_REPORT;
    (void)world_add_job(&world, "alpha.example", report);
    world_run(&world, PN_HOURS(23));
    assert_int_equal(world_on_disk(&world), 2);
    world_run(&world, PN_HOURS(1) + PN_MINUTES(11));
    assert_int_equal(world_on_disk(&world), 1);
    world_close(&world);
}

static void test_sweeps_seldom(void **state)
{
    struct world world;
    int64_t last_ms = 0;

    (void)state;
    world_open(&world, 2);
    world.peer.up = false;
    for (int i = 0; i < 3000; i++) {
        (void)world_preset(&world, "alpha.example", aged(&world, PN_DAYS(1), i));
        (void)world_preset(&world, "beta.example", aged(&world, PN_DAYS(1), i));
    }
    world_define(&world, "alpha.example", "primary");
    world_define(&world, "beta.example", "primary");
    world_counted(&world, "alpha.example");
    world_counted(&world, "beta.example");
    world_run(&world, PN_DAYS(12));
    for (size_t i = 0; i < world.seen_count; i++) {
        if (world.seen[i].action.kind == QUEUE_READ &&
            world.seen[i].action.limit == QUEUE_PAGE) {
            assert_true(world.seen[i].at_ms - last_ms >= QUEUE_SWEEP_GAP_MS);
            last_ms = world.seen[i].at_ms;
        }
    }
    /* Once at the start, and not again before the oldest can have expired. */
    assert_true(last_ms < WORLD_START + PN_SECONDS(3));
    assert_in_range(world_count(&world, QUEUE_READ, 0, INT64_MAX), 24, 30);
    world_close(&world);
}

static void test_held_and_doubtful_stay(void **state)
{
    struct world world;
    struct queue_job job;

    (void)state;
    world_open(&world, 3);
    world.peer.up = false;
    job = aged(&world, PN_DAYS(20), 0);
    job.due_ms = QUEUE_DUE_NEVER;
    job.flags = QUEUE_JOB_HELD;
    (void)world_preset(&world, "alpha.example", job);
    job = aged(&world, PN_DAYS(20), PN_MINUTES(10));
    job.flags = QUEUE_JOB_IN_DOUBT;
    (void)world_preset(&world, "alpha.example", job);
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_MINUTES(9));
    assert_int_equal(world_on_disk(&world), 2);
    world_run(&world, PN_MINUTES(20));
    assert_int_equal(world_on_disk(&world), 1);
    assert_int_equal(world_lane(&world, "alpha.example").jobs, 1);
    world_close(&world);
}

static void test_jump_gives_one_more_attempt(void **state)
{
    struct world world;
    struct stored *dead, *refused;

    (void)state;
    world_open(&world, 4);
    world.options.clock_jumped = true;
    queue_set_options(world.queue, &world.options);
    world.peer.up = false;
    dead = world_preset(&world, "alpha.example", aged(&world, PN_DAYS(40), 0));
    refused = world_preset(&world, "alpha.example", aged(&world, PN_DAYS(40), 0));
    refused->job.last_try_ms = WORLD_START - PN_DAYS(30);
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_DAYS(3));
    assert_int_equal(world_on_disk(&world), 2);
    world.peer.up = true;
    world.peer.first_laters = 1;
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(dead->delivered + refused->delivered, 1);
    assert_int_equal(dead->expired + refused->expired, 1);
    assert_int_equal(world_on_disk(&world), 0);
    world_close(&world);
}

static void test_expire_can_be_given_up(void **state)
{
    struct world world;
    struct queue_action action;
    struct queue_job job;
    int64_t again_ms;
    unsigned expired = 0;

    (void)state;
    world_open(&world, 5);
    job = aged(&world, PN_DAYS(20), 0);
    world_define(&world, "alpha.example", "primary");
    assert_true(queue_hold(world.queue, PN_STR("primary"), true, world.now_ms));
    queue_counted(world.queue, PN_STR("alpha.example"), 1, 1, 0, world.now_ms);
    for (int i = 0; i < 3000; i++) {
        world.now_ms += PN_SECONDS(1);
        while (queue_next(world.queue, world.now_ms, &action, &again_ms)) {
            if (action.kind == QUEUE_READ) {
                queue_page(world.queue, action.queue, 0, &job, 1, true, world.now_ms);
            } else if (action.kind == QUEUE_EXPIRE) {
                expired++;
                (void)queue_result(world.queue, 0, action.queue, &action.job,
                                   expired < 3 ? QUEUE_UNTRIED : QUEUE_GONE, 0, world.now_ms);
                if (expired == 3) {
                    queue_job_removed(world.queue, PN_STR("alpha.example"), &job, world.now_ms);
                }
            }
        }
    }
    assert_int_equal(expired, 3);
    world_close(&world);
}

static void test_small_at_rest(void **state)
{
    struct queue_options options = {
        .probe_min_ms = 5000, .probe_max_ms = 60000, .probe_rate = 300, .in_doubt_ms = 600000};
    struct queue_definition definition = {.destination = "primary",
                                          .sessions = 20,
                                          .messages_per_session = 100,
                                          .retry_min_ms = 300000,
                                          .retry_max_ms = 1800000,
                                          .hold_ms = PN_DAYS(14)};
    struct queue *queue = queue_new(&options);
    struct queue_action action;
    int64_t again_ms;
    char name[32];

    (void)state;
    assert_true(sizeof(struct queue_lane) <= 320);
    for (int i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof name, "d%d.example", i);
        queue_define(queue, pn_str_z(name), &definition, WORLD_START);
    }
    for (int i = 0; i < 100000; i++) {
        assert_false(queue_next(queue, WORLD_START + i, &action, &again_ms));
        assert_true(again_ms == QUEUE_DUE_NEVER);
    }
    queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expires_once),
        cmocka_unit_test(test_reports_live_shorter),
        cmocka_unit_test(test_sweeps_seldom),
        cmocka_unit_test(test_held_and_doubtful_stay),
        cmocka_unit_test(test_jump_gives_one_more_attempt),
        cmocka_unit_test(test_expire_can_be_given_up),
        cmocka_unit_test(test_small_at_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
