/* What window.c and queue.c promise: turns, order, flush, pages, results, undefined queues. */
#include "helper_world.h"

#include "queue_priv.h"

#include <stdio.h>

static void fill(struct world *world, const char *lane, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)world_add(world, lane, world->now_ms);
    }
}

static void test_equal_turns(void **state)
{
    struct world world;
    size_t first = 0;

    (void)state;
    world_open(&world, 1);
    world.definition.sessions = 1;
    world_define(&world, "alpha.example", "primary");
    world_define(&world, "beta.example", "primary");
    fill(&world, "alpha.example", 2000);
    world_run(&world, PN_SECONDS(5));
    fill(&world, "beta.example", 40);
    world.order_len = 0;
    world_run(&world, PN_SECONDS(30));
    /* The small queue is served in every second turn, whatever waits in the large one. */
    for (size_t i = 0; i < world.order_len && i < 70; i++) {
        first += world.order[i] == 'b';
    }
    assert_in_range(first, 24, 40);
    assert_int_equal(world_lane(&world, "beta.example").jobs, 0);
    assert_true(world_lane(&world, "alpha.example").jobs > 0);
    world_close(&world);
}

/* A scheduler with one ready session at "primary", whose disk the test plays. */
static struct queue *ready_queue(uint64_t *out_session)
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
    struct queue *queue = queue_new(&options);
    struct queue_action action;
    int64_t again_ms;

    queue_define(queue, PN_STR("alpha.example"), &definition, WORLD_START);
    assert_true(queue_flush(queue, PN_STR("alpha.example"), WORLD_START));
    assert_false(queue_next(queue, WORLD_START, &action, &again_ms)); /* it is empty */
    queue_counted(queue, PN_STR("alpha.example"), 1, 1, 0, WORLD_START);
    assert_true(queue_flush(queue, PN_STR("primary"), WORLD_START));
    while (queue_next(queue, WORLD_START, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            *out_session = action.session;
        } else if (action.kind == QUEUE_READ) {
            queue_page(queue, action.queue, 0, NULL, 0, true, WORLD_START);
        }
    }
    queue_session_ready(queue, *out_session, WORLD_START);
    return queue;
}

static struct queue_job job_of(uint8_t number, int64_t due_ms)
{
    struct queue_job job = {.due_ms = due_ms, .arrival_ms = due_ms, .size_octets = 10};

    job.id.octets[15] = number;
    return job;
}

/* Answers each READ with the jobs that are on disk, until nothing is asked. */
static void answer(struct queue *queue, const struct queue_job *disk, size_t count,
                   int64_t now_ms)
{
    struct queue_action action;
    int64_t again_ms;

    while (queue_next(queue, now_ms, &action, &again_ms)) {
        struct queue_job page[QUEUE_PAGE];
        size_t found = 0;

        if (action.kind != QUEUE_READ) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int order = disk[i].due_ms == action.from_due_ms
                            ? pn_id_cmp(&disk[i].id, &action.from_id)
                            : (disk[i].due_ms < action.from_due_ms ? -1 : 1);

            if (order >= 0 && disk[i].due_ms <= action.until_ms) {
                page[found++] = disk[i];
            }
        }
        queue_page(queue, action.queue, 0, page, found, true, now_ms);
    }
}

static void test_three_old_one_fresh(void **state)
{
    uint64_t session = 0;
    struct queue *queue = ready_queue(&session);
    struct queue_job disk[40], out[32];
    struct pn_str lane;
    bool close;
    static const uint8_t expected[] = {0, 1,  2, 39, 3,  4,  5,  38, 6,  7,
                                       8, 37, 9, 36, 35, 34, 33, 32, 31, 30};

    (void)state;
    for (uint8_t i = 0; i < 10; i++) {
        disk[i] = job_of(i, WORLD_START - 1000 + i);
    }
    answer(queue, disk, 10, WORLD_START);
    for (uint8_t i = 30; i < 40; i++) {
        struct queue_job job = job_of(i, WORLD_START);

        queue_job_added(queue, PN_STR("alpha.example"), &job, WORLD_START);
    }
    assert_int_equal(queue_take(queue, session, 32, out, &lane, &close, WORLD_START), 8);
    /* More come when it is seen to be quick. */
    (void)queue_result(queue, session, lane, &out[0], QUEUE_DONE, 1, WORLD_START);
    assert_int_equal(queue_take(queue, session, 32, out + 8, &lane, &close, WORLD_START), 12);
    assert_true(pn_str_eq(lane, PN_STR("alpha.example")));
    for (size_t i = 0; i < PN_COUNT(expected); i++) {
        assert_int_equal(out[i].id.octets[15], expected[i]);
    }
    queue_free(&queue);
}

static void test_in_doubt_comes_alone(void **state)
{
    uint64_t session = 0;
    struct queue *queue = ready_queue(&session);
    struct queue_job disk[5], out[8];
    struct queue_decision decision;
    struct pn_str lane;
    bool close;

    (void)state;
    for (uint8_t i = 0; i < 5; i++) {
        disk[i] = job_of(i, WORLD_START - 1000 + i);
        disk[i].flags = i == 2 ? QUEUE_JOB_IN_DOUBT : 0;
    }
    answer(queue, disk, 5, WORLD_START);
    assert_int_equal(queue_take(queue, session, 8, out, &lane, &close, WORLD_START), 2);
    assert_int_equal(queue_take(queue, session, 8, out, &lane, &close, WORLD_START), 1);
    assert_int_equal(out[0].id.octets[15], 2);
    assert_int_equal(queue_take(queue, session, 8, out + 1, &lane, &close, WORLD_START), 2);
    /* It keeps its flag over a 4xx, and loses it when it is done. */
    decision = queue_result(queue, session, lane, &out[0], QUEUE_LATER, 10, WORLD_START);
    assert_int_equal(decision.job.flags, QUEUE_JOB_IN_DOUBT);
    decision = queue_result(queue, session, lane, &out[0], QUEUE_DONE, 10, WORLD_START);
    assert_int_equal(decision.job.flags, 0);
    queue_free(&queue);
}

struct result_row {
    const char *name;
    enum queue_verdict verdict;
    uint32_t attempts;
    int64_t age_ms;
    bool settle, expired;
    uint32_t attempts_then;
    int64_t wait_ms;
    unsigned flags;
};

static const struct result_row result_rows[] = {
    {"done", QUEUE_DONE, 3, 0, true, false, 3, 0, 0},
    {"first 4xx", QUEUE_LATER, 0, 0, true, false, 1, PN_MINUTES(5), 0},
    {"third 4xx", QUEUE_LATER, 2, 0, true, false, 3, PN_MINUTES(20), 0},
    {"tenth 4xx", QUEUE_LATER, 9, 0, true, false, 10, PN_MINUTES(30), 0},
    {"not yet old", QUEUE_LATER, 9, PN_DAYS(14) - 1, true, false, 10, PN_MINUTES(30), 0},
    {"too old", QUEUE_LATER, 9, PN_DAYS(14), true, true, 10, PN_MINUTES(30), 0},
    {"in doubt", QUEUE_IN_DOUBT, 1, 0, true, false, 1, PN_MINUTES(10), QUEUE_JOB_IN_DOUBT},
    {"untried", QUEUE_UNTRIED, 1, 0, false, false, 1, 0, 0},
    {"gone", QUEUE_GONE, 1, 0, false, false, 1, 0, 0},
};

static void test_results(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(result_rows); i++) {
        const struct result_row *row = &result_rows[i];
        uint64_t session = 0;
        struct queue *queue = ready_queue(&session);
        struct queue_job disk = job_of(1, WORLD_START - 5), out;
        struct queue_decision decision;
        int64_t now_ms = WORLD_START + 77, wait_ms;
        struct pn_str lane;
        bool close;

        print_message("%s\n", row->name);
        disk.arrival_ms = now_ms - row->age_ms;
        disk.attempts = row->attempts;
        answer(queue, &disk, 1, WORLD_START);
        assert_int_equal(queue_take(queue, session, 1, &out, &lane, &close, now_ms), 1);
        decision = queue_result(queue, session, lane, &out, row->verdict, 10, now_ms);
        assert_int_equal(decision.settle, row->settle);
        assert_int_equal(decision.expired, row->expired);
        assert_int_equal(decision.job.attempts, row->attempts_then);
        assert_int_equal(decision.job.flags, row->flags);
        assert_int_equal(decision.job.last_try_ms, row->settle ? now_ms : 0);
        wait_ms = decision.job.due_ms - now_ms;
        if (row->wait_ms > 0) {
            int64_t spread = row->verdict == QUEUE_LATER ? row->wait_ms / 10 : 0;

            assert_in_range(wait_ms, row->wait_ms - spread, row->wait_ms + spread);
        }
        /* What is to be settled stays in flight until the notice; the rest is free, or gone. */
        assert_int_equal(queue_take(queue, session, 1, &out, &lane, &close, now_ms),
                         row->verdict == QUEUE_UNTRIED);
        queue_free(&queue);
    }
}

static void test_flush_of_a_queue(void **state)
{
    struct world world;
    struct queue_status status;

    (void)state;
    world_open(&world, 2);
    world_define(&world, "alpha.example", "primary");
    world_define(&world, "beta.example", "primary");
    world.peer.later_permille = 1000;
    fill(&world, "alpha.example", 700);
    fill(&world, "beta.example", 50);
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world.peer.done, 0);
    world.peer.took_ms = 200;
    assert_false(queue_flush(world.queue, PN_STR("gamma.example"), world.now_ms));
    assert_true(queue_flush(world.queue, PN_STR("alpha.example"), world.now_ms));
    world_run(&world, PN_SECONDS(3));
    status = world_lane(&world, "alpha.example");
    assert_true(status.flushing);
    assert_in_range(status.flush_left, 100, 699);
    world_run(&world, PN_SECONDS(57));
    /* Each was tried once more, and no more than that. */
    for (size_t i = 0; i < world.all_count; i++) {
        assert_int_equal(world.all[i]->tried, i < 700 ? 2 : 1);
        assert_int_equal(world.all[i]->job.attempts, i < 700 ? 2 : 1);
    }
    status = world_lane(&world, "alpha.example");
    assert_false(status.flushing);
    assert_int_equal(status.flush_left, 0);
    /* One that waits out a time-out, and one that is held, are not for a flush. */
    world_move(&world, "beta.example", world.all[700], world.now_ms + PN_MINUTES(10),
               QUEUE_JOB_IN_DOUBT);
    world_move(&world, "beta.example", world.all[701], QUEUE_DUE_NEVER, QUEUE_JOB_HELD);
    world.peer.later_permille = 0;
    world.peer.took_ms = 1;
    assert_true(queue_flush(world.queue, PN_STR(""), world.now_ms));
    world_run(&world, PN_SECONDS(60));
    assert_int_equal(world_on_disk(&world), 2);
    world_run(&world, PN_MINUTES(10));
    assert_int_equal(world_on_disk(&world), 1);
    world_close(&world);
}

/* Queue time went back by two days, with a state that a crash has lost: what was tried since is
 * not to wait for them. Found by random world 700865. */
static void test_flush_of_what_is_ahead(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    world_define(&world, "alpha.example", "primary");
    world.peer.later_permille = 1000;
    fill(&world, "alpha.example", 20);
    world_run(&world, PN_MINUTES(2));
    for (size_t i = 0; i < world.all_count; i++) {
        world.all[i]->job.last_try_ms = world.now_ms + PN_DAYS(2);
        world_move(&world, "alpha.example", world.all[i],
                   world.now_ms + PN_DAYS(2) + PN_MINUTES(10),
                   i % 2 == 0 ? QUEUE_JOB_IN_DOUBT : 0);
    }
    world.peer.later_permille = 0;
    world_run(&world, PN_HOURS(2));
    assert_int_equal(world_on_disk(&world), 20);
    assert_true(queue_flush(world.queue, PN_STR("alpha.example"), world.now_ms));
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world_on_disk(&world), 0);
    for (size_t i = 0; i < world.all_count; i++) {
        assert_int_equal(world.all[i]->tried, 2);
    }
    world_close(&world);
}

/* A job that appears behind the flush's cursor is for the flush, if it was not tried since. */
static void test_flush_goes_back(void **state)
{
    for (int moment = 0; moment < 3; moment++) {
        uint64_t session = 0;
        struct queue *queue = ready_queue(&session);
        struct queue_job disk[2], out[2];
        struct queue_action action;
        struct pn_str lane;
        int64_t again_ms;
        bool close;

        (void)state;
        disk[1] = job_of(1, WORLD_START + PN_MINUTES(20));
        disk[0] = job_of(2, WORLD_START + PN_MINUTES(10));
        assert_true(queue_flush(queue, PN_STR("alpha.example"), WORLD_START + 100));
        /* The page that reaches the end does not have the job yet. */
        while (queue_next(queue, WORLD_START + 100, &action, &again_ms)) {
            if (action.kind != QUEUE_READ) {
                continue;
            }
            if (moment == 0 && action.until_ms > WORLD_START + 100) {
                queue_job_added(queue, PN_STR("alpha.example"), &disk[0], WORLD_START + 100);
            }
            queue_page(queue, action.queue, 0, &disk[1], action.until_ms > WORLD_START + 100,
                       true, WORLD_START + 100);
            if (action.until_ms > WORLD_START + 100) {
                break;
            }
        }
        if (moment == 1) {
            queue_job_added(queue, PN_STR("alpha.example"), &disk[0], WORLD_START + 100);
        } else if (moment == 2) {
            disk[0].last_try_ms = WORLD_START + 100;
            queue_job_added(queue, PN_STR("alpha.example"), &disk[0], WORLD_START + 100);
        }
        answer(queue, disk, 2, WORLD_START + 200);
        assert_int_equal(queue_take(queue, session, 2, out, &lane, &close, WORLD_START + 200),
                         moment < 2 ? 2 : 1);
        queue_free(&queue);
    }
}

/* The question for the next due time is answered by the notice that comes meanwhile, too. */
static void test_looks_for_the_next(void **state)
{
    uint64_t session = 0;
    struct queue *queue = ready_queue(&session);
    struct queue_job due = job_of(1, WORLD_START);
    struct queue_job late = job_of(2, WORLD_START + PN_MINUTES(9));
    struct queue_job soon = job_of(3, WORLD_START + PN_MINUTES(5));
    int64_t now_ms = WORLD_START + 100, again_ms = 0;
    struct queue_action action;
    unsigned looks = 0;

    (void)state;
    due.last_try_ms = 1; /* so it is not fresh, and has to be read */
    queue_job_added(queue, PN_STR("alpha.example"), &due, now_ms);
    while (queue_next(queue, now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_READ && action.limit == QUEUE_LOOK_JOBS) {
            looks++;
            queue_job_added(queue, PN_STR("alpha.example"), &soon, now_ms);
            queue_page(queue, action.queue, 0, &late, 1, true, now_ms);
        } else if (action.kind == QUEUE_READ) {
            queue_page(queue, action.queue, 0, &due, action.from_due_ms <= due.due_ms, true,
                       now_ms);
        }
    }
    assert_int_equal(looks, 1);
    assert_int_equal(again_ms, soon.due_ms);
    queue_free(&queue);
}

/* More queues of one destination than there is room for take turns in memory. */
static void test_many_queues_wait_for_room(void **state)
{
    struct world world;
    char name[32];

    (void)state;
    world_open(&world, 12);
    world.delay_ms = 3;
    for (int i = 0; i < WORLD_LANES; i++) {
        (void)snprintf(name, sizeof name, "l%02d.example", i);
        for (int n = 0; n < 300; n++) {
            (void)world_preset(&world, name, world_job(&world, world.now_ms));
        }
        world_define(&world, name, "primary");
        world_counted(&world, name);
    }
    for (int i = 0; i < 400; i++) {
        world_run(&world, 100);
        assert_in_range(world.queue->known, 0,
                        QUEUE_DEST_JOBS + QUEUE_READS_MAX * QUEUE_PAGE / 2);
    }
    assert_int_equal(world.peer.done, WORLD_LANES * 300);
    world_close(&world);
}

static void test_success_after_ten_4xx_flushes(void **state)
{
    for (unsigned laters = 9; laters <= 10; laters++) {
        struct world world;

        (void)state;
        world_open(&world, 3);
        world_define(&world, "alpha.example", "primary");
        world.peer.first_laters = laters;
        fill(&world, "alpha.example", laters);
        world_run(&world, PN_SECONDS(30));
        assert_int_equal(world_on_disk(&world), laters);
        fill(&world, "alpha.example", 1);
        world_run(&world, PN_SECONDS(30));
        assert_int_equal(world_on_disk(&world), laters == 10 ? 0 : 9);
        world_run(&world, PN_MINUTES(6));
        assert_int_equal(world_on_disk(&world), 0);
        world_close(&world);
    }
}

static void test_retries_when_due(void **state)
{
    struct world world;
    struct stored *job;
    int64_t due_ms;

    (void)state;
    world_open(&world, 4);
    world.delay_ms = 3;
    world_define(&world, "alpha.example", "primary");
    world.peer.later_permille = 1000;
    job = world_add(&world, "alpha.example", world.now_ms);
    for (unsigned attempts = 1; attempts < 20; attempts++) {
        world_run(&world, PN_SECONDS(1));
        assert_int_equal(job->job.attempts, attempts);
        due_ms = job->job.due_ms;
        world_run(&world, due_ms - world.now_ms - 1);
        assert_int_equal(job->job.attempts, attempts);
        world_run(&world, 100);
        assert_int_equal(job->tried, attempts + 1);
    }
    world_close(&world);
}

static void test_undefined_queue(void **state)
{
    struct world world;
    struct queue_status status;

    (void)state;
    world_open(&world, 5);
    for (int i = 0; i < 700; i++) {
        (void)world_preset(&world, "alpha.example", world_job(&world, world.now_ms));
    }
    world_counted(&world, "alpha.example");
    fill(&world, "alpha.example", 10);
    world_run(&world, PN_DAYS(30));
    assert_int_equal(world_on_disk(&world), 710);
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 0);
    assert_int_equal(world_count(&world, QUEUE_EXPIRE, 0, INT64_MAX), 0);
    status = world_lane(&world, "alpha.example");
    assert_false(status.defined);
    assert_int_equal(status.jobs, 710);
    assert_int_equal(status.octets, 710000);
    assert_int_equal(status.oldest_ms, WORLD_START);
    assert_int_equal(status.destination.len, 0);
    world.definition.hold_ms = PN_DAYS(60);
    world_define(&world, "alpha.example", "primary");
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world.peer.done, 710);
    assert_true(world_lane(&world, "alpha.example").defined);
    /* In the middle of the work the definition goes, and comes back with another target. */
    fill(&world, "alpha.example", 500);
    world_run(&world, 200);
    world_define(&world, "alpha.example", NULL);
    world_run(&world, PN_MINUTES(1));
    assert_in_range(world_on_disk(&world), 1, 499);
    world_define(&world, "alpha.example", "secondary");
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world_on_disk(&world), 0);
    assert_int_equal(world_state(&world, "secondary"), QUEUE_UP);
    /* Empty and undefined, it is forgotten, and so is a destination that nobody has. */
    world_define(&world, "alpha.example", NULL);
    world_run(&world, PN_MINUTES(1));
    assert_false(queue_get_status(world.queue, PN_STR("alpha.example"), world.now_ms, &status));
    assert_false(queue_get_destination(world.queue, PN_STR("secondary"), world.now_ms,
                                       &(struct queue_destination_status){0}));
    world_close(&world);
}

static void test_parked_are_counted(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 6);
    queue_counted(world.queue, PN_STR("alpha.example"), 0, 0, 2, world.now_ms);
    queue_parked_changed(world.queue, PN_STR("alpha.example"), true);
    assert_int_equal(world_lane(&world, "alpha.example").parked, 3);
    for (int i = 0; i < 3; i++) {
        queue_parked_changed(world.queue, PN_STR("alpha.example"), false);
    }
    assert_false(queue_get_status(world.queue, PN_STR("alpha.example"), world.now_ms,
                                  &(struct queue_status){0}));
    world_close(&world);
}

static void test_reads_what_does_not_fit(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 7);
    world.delay_ms = 5;
    for (int i = 0; i < 5000; i++) {
        (void)world_preset(&world, "alpha.example", world_job(&world, world.now_ms - i % 7));
    }
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_SECONDS(4));
    fill(&world, "alpha.example", 3000); /* more than the fresh list holds */
    world_run(&world, PN_SECONDS(1));
    assert_true(world_lane(&world, "alpha.example").rate > 100);
    world_run(&world, PN_SECONDS(30));
    assert_int_equal(world.peer.done, 8000);
    /* A page for each 256 jobs, some looks, and no more than that. */
    assert_in_range(world.lanes[0].reads, 8000 / QUEUE_PAGE, 8000 / QUEUE_PAGE * 12);
    world_close(&world);
}

static void test_survives_a_failing_spool(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 8);
    for (int i = 0; i < 50; i++) {
        (void)world_preset(&world, "alpha.example", world_job(&world, world.now_ms));
    }
    world.spool_fails = true;
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_MINUTES(1));
    assert_in_range(world.lanes[0].reads, 30, 130); /* not more often than it must */
    world.spool_fails = false;
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world.peer.done, 50);
    world_close(&world);
}

static void see(void *owner, const struct queue_status *status)
{
    char *seen = owner;

    memcpy(seen + strlen(seen), status->name.ptr, 1);
}

static void see_dest(void *owner, const struct queue_destination_status *status)
{
    char *seen = owner;

    memcpy(seen + strlen(seen), status->name.ptr, 1);
}

static void test_lists_in_order(void **state)
{
    static const char *const names[] = {"d.example", "a.example", "c.example", "b.example"};
    struct world world;
    char lanes[8] = "", dests[8] = "";

    (void)state;
    world_open(&world, 9);
    queue_each(world.queue, world.now_ms, see, lanes);
    assert_string_equal(lanes, "");
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        world_define(&world, names[i], names[i]);
    }
    queue_each(world.queue, world.now_ms, see, lanes);
    queue_each_destination(world.queue, world.now_ms, see_dest, dests);
    assert_string_equal(lanes, "abcd");
    assert_string_equal(dests, "abcd");
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_turns),
        cmocka_unit_test(test_three_old_one_fresh),
        cmocka_unit_test(test_in_doubt_comes_alone),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_flush_of_a_queue),
        cmocka_unit_test(test_flush_of_what_is_ahead),
        cmocka_unit_test(test_flush_goes_back),
        cmocka_unit_test(test_looks_for_the_next),
        cmocka_unit_test(test_many_queues_wait_for_room),
        cmocka_unit_test(test_success_after_ten_4xx_flushes),
        cmocka_unit_test(test_retries_when_due),
        cmocka_unit_test(test_undefined_queue),
        cmocka_unit_test(test_parked_are_counted),
        cmocka_unit_test(test_reads_what_does_not_fit),
        cmocka_unit_test(test_survives_a_failing_spool),
        cmocka_unit_test(test_lists_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
