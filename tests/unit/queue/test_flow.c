/* What pace.c, pick.c and the sessions promise of a drain: rate, order, clients, ceilings. */
#include "helper_world.h"

#include "queue_priv.h"

static void fill(struct world *world, const char *lane, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)world_add(world, lane, world->now_ms);
    }
}

/* ---- rate and delay ---------------------------------------------------------------- */

struct rate_row {
    const char *name;
    uint32_t count;
    int64_t per_ms;
    int64_t for_ms;
    uint64_t low, high; /* messages in that time */
};

static const struct rate_row rate_rows[] = {
    {"100 in a minute", 100, PN_MINUTES(1), PN_MINUTES(10), 995, 1001},
    {"5 in a second", 5, PN_SECONDS(1), PN_MINUTES(1), 295, 306},
    {"200 in a second", 200, PN_SECONDS(1), PN_SECONDS(10), 1900, 2012},
    {"one in an hour", 1, PN_HOURS(1), PN_HOURS(10), 10, 11},
    {"1000 in an hour", 1000, PN_HOURS(1), PN_HOURS(1), 990, 1001},
};

static void test_rate(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rate_rows); i++) {
        const struct rate_row *row = &rate_rows[i];
        struct world world;

        print_message("%s\n", row->name);
        world_open(&world, 30 + i);
        world.definition.rate_count = row->count;
        world.definition.rate_per_ms = row->per_ms;
        world_define(&world, "alpha.example", "primary");
        fill(&world, "alpha.example", 3000);
        world_run(&world, row->for_ms);
        assert_in_range(world.peer.done, row->low, row->high);
        /* Who waits for the rate is no reason for more sessions, nor for a ramp without end. */
        assert_true(world.peer.most_seen <= 8 || row->count == 200);
        assert_true(row->count == 1 || world_state(&world, "primary") == QUEUE_UP);
        world_close(&world);
    }
}

static void test_no_rush_after_a_rest(void **state)
{
    struct world world;
    uint64_t before;

    (void)state;
    world_open(&world, 3);
    world.definition.rate_count = 60;
    world.definition.rate_per_ms = PN_MINUTES(1);
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 1);
    world_run(&world, PN_HOURS(5));
    before = world.peer.done;
    fill(&world, "alpha.example", 100);
    world_run(&world, PN_SECONDS(10));
    assert_in_range(world.peer.done - before, 9, 11);
    world_close(&world);
}

static void test_untried_costs_no_rate(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 4);
    world.definition.rate_count = 2;
    world.definition.rate_per_ms = PN_SECONDS(1);
    world.peer.untried_permille = 500;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 500);
    world_run(&world, PN_MINUTES(1));
    assert_in_range(world.peer.done, 100, 122);
    world_close(&world);
}

static void test_strictest_rate_of_the_queues(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 5);
    world_define(&world, "alpha.example", "primary");
    world.definition.rate_count = 1;
    world.definition.rate_per_ms = PN_SECONDS(1);
    world_define(&world, "beta.example", "primary");
    fill(&world, "alpha.example", 500);
    world_run(&world, PN_MINUTES(1));
    assert_in_range(world.peer.done, 58, 61);
    world_close(&world);
}

static void test_delay(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 6);
    world.definition.sessions = 4;
    world.definition.delay_ms = PN_SECONDS(2);
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 400);
    world_run(&world, PN_SECONDS(101));
    /* Each session: a message, 20 ms, then the delay. */
    assert_in_range(world.peer.done, 180, 204);
    assert_int_equal(world.peer.most_seen, 4);
    assert_int_equal(world.peer.turned_away, 0);
    /* A delay longer than sessions are kept idle does not end them. */
    assert_int_equal(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 4);
    world_close(&world);
}

/* ---- order ------------------------------------------------------------------------- */

/* A message from a minute ago is within the first twentieth of a long drain. */
static void test_fresh_in_a_drain(void **state)
{
    (void)state;
    for (unsigned after = 0; after <= 100; after += 50) {
        struct world world;
        struct stored *code;

        world_open(&world, 60 + after);
        world.delay_ms = 10;
        world_define(&world, "alpha.example", "primary");
        world.peer.up = false;
        for (int i = 0; i < 100; i++) {
            fill(&world, "alpha.example", 100);
            world_run(&world, PN_MINUTES(4));
        }
        code = world_add(&world, "alpha.example", world.now_ms);
        fill(&world, "alpha.example", after);
        world_run(&world, PN_MINUTES(1));
        assert_int_equal(world.peer.done, 0);
        world.peer.up = true;
        world_run(&world, PN_MINUTES(10));
        assert_int_equal(world.peer.done, 10001 + after);
        assert_in_range(code->place, 1, 500);
        world_close(&world);
    }
}

/* So it is after a start, when what came before is on disk alone. */
static void test_fresh_after_a_start(void **state)
{
    struct world world;
    struct stored *code;

    (void)state;
    world_open(&world, 70);
    world.delay_ms = 10;
    for (int64_t i = 0; i < 10000; i++) {
        struct queue_job job =
            world_job(&world, world.now_ms - PN_MINUTES(5) - (10000 - i) * PN_SECONDS(2));

        (void)world_preset(&world, "alpha.example", job);
    }
    code =
        world_preset(&world, "alpha.example", world_job(&world, world.now_ms - PN_MINUTES(1)));
    world_define(&world, "alpha.example", "primary");
    world_counted(&world, "alpha.example");
    world_run(&world, PN_MINUTES(10));
    assert_int_equal(world.peer.done, 10001);
    assert_in_range(code->place, 1, 500);
    world_close(&world);
}

/* What is kept in memory of many dead destinations is bounded. */
static void test_few_are_kept(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 8);
    world_define(&world, "alpha.example", "primary");
    world.peer.up = false;
    fill(&world, "alpha.example", 1);
    world_run(&world, PN_MINUTES(1));
    fill(&world, "alpha.example", 5000);
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world.queue->known, QUEUE_KEPT);
    world_close(&world);
}

struct size_row {
    uint64_t octets;
    unsigned place; /* in which it is given */
};

static const struct size_row size_rows[] = {
    {1000, 0},   {50 << 20, 7}, {2 << 20, 6}, {65536, 1},
    {300000, 4}, {10, 2},       {310000, 5},  {60000, 3},
};

static void test_small_before_large(void **state)
{
    struct world world;
    struct stored *jobs[PN_COUNT(size_rows)];

    (void)state;
    world_open(&world, 9);
    world.definition.sessions = 1;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    for (size_t i = 0; i < PN_COUNT(size_rows); i++) {
        struct queue_job job = world_job(&world, world.now_ms - 1000 + (int64_t)i);

        job.size_octets = size_rows[i].octets;
        job.last_try_ms = 1; /* not fresh */
        jobs[i] = world_add_job(&world, "alpha.example", job);
    }
    world_run(&world, PN_SECONDS(20));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(1));
    for (size_t i = 0; i < PN_COUNT(size_rows); i++) {
        assert_int_equal(jobs[i]->place, size_rows[i].place + 1);
    }
    world_close(&world);
}

static void test_large_is_not_passed_for_ever(void **state)
{
    struct world world;
    struct queue_job job;
    struct stored *large;

    (void)state;
    world_open(&world, 10);
    world.definition.sessions = 1;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    job = world_job(&world, world.now_ms - 1000);
    job.size_octets = 40 << 20;
    job.last_try_ms = 1;
    large = world_add_job(&world, "alpha.example", job);
    for (size_t i = 0; i < 1000; i++) {
        job = world_job(&world, world.now_ms - 999);
        job.last_try_ms = 1;
        (void)world_add_job(&world, "alpha.example", job);
    }
    world_run(&world, PN_SECONDS(20));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(2));
    assert_int_equal(world.peer.done, 1001);
    assert_in_range(large->place, 20, 60);
    world_close(&world);
}

/* ---- clients ----------------------------------------------------------------------- */

static struct stored *add_from(struct world *world, uint32_t client)
{
    struct queue_job job = world_job(world, world->now_ms);

    job.client = pn_ip_v4(0xc0000200u + client);
    return world_add_job(world, "alpha.example", job);
}

/* helper_world.c asserts that no session gets mail of two clients. */
static void test_sessions_for_clients(void **state)
{
    struct world world;
    struct stored *single[20];
    size_t opens, late = 0;

    (void)state;
    world_open(&world, 11);
    world.definition.sessions = 5;
    world.peer.xclient = true;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    for (uint32_t i = 0; i < 3000; i++) {
        (void)add_from(&world, i % 3);
        if (i % 150 == 0) {
            single[i / 150] = add_from(&world, 10 + i / 150);
        }
    }
    world_run(&world, PN_MINUTES(1));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(10));
    assert_int_equal(world.peer.done, 3020);
    assert_true(world.peer.most_seen <= 5);
    assert_int_equal(world.peer.turned_away, 0);
    opens = world_count(&world, QUEUE_OPEN, 0, INT64_MAX);
    print_message("%zu sessions for 3,020 messages of 23 clients\n", opens);
    assert_in_range(opens, 23, 110);
    /* Those with one message do not wait for the end of the others. */
    for (size_t i = 0; i < PN_COUNT(single); i++) {
        late += single[i]->place > 2900;
    }
    assert_in_range(late, 0, 4);
    world_close(&world);
}

/* It is not told to close while it has jobs: they would come back. */
static void test_ends_after_its_last_job(void **state)
{
    struct world world;
    struct queue_job jobs[8];
    struct queue_action action;
    struct pn_str lane;
    uint64_t id = 0;
    int64_t again_ms;
    bool close;

    (void)state;
    world_open(&world, 14);
    world_define(&world, "alpha.example", "primary");
    for (uint32_t i = 0; i < 5; i++) {
        struct queue_job job = world_job(&world, world.now_ms);

        job.client = pn_ip_v4(i < 3 ? 1 : 2);
        queue_job_added(world.queue, PN_STR("alpha.example"), &job, world.now_ms);
        jobs[i] = job;
    }
    while (queue_next(world.queue, world.now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN && id == 0) {
            id = action.session;
            queue_session_by_client(world.queue, id);
            queue_session_ready(world.queue, id, world.now_ms);
        } else if (action.kind == QUEUE_READ) {
            queue_page(world.queue, action.queue, 0, jobs, 5, true, world.now_ms);
        }
    }
    assert_int_equal(queue_take(world.queue, id, 8, jobs, &lane, &close, world.now_ms), 3);
    for (int i = 0; i < 3; i++) {
        struct queue_job more[8];

        assert_int_equal(queue_take(world.queue, id, 8, more, &lane, &close, world.now_ms), 0);
        assert_false(close);
        (void)queue_result(world.queue, id, PN_STR("alpha.example"), &jobs[i], QUEUE_DONE, 1,
                           world.now_ms);
    }
    action.kind = QUEUE_READ;
    while (queue_next(world.queue, world.now_ms, &action, &again_ms) &&
           (action.kind != QUEUE_WAKE || action.session != id)) {
    }
    assert_int_equal(action.kind, QUEUE_WAKE);
    assert_int_equal(queue_take(world.queue, id, 8, jobs, &lane, &close, world.now_ms), 0);
    assert_true(close);
    world_close(&world);
}

/* What is said to a client is nothing against the destination. */
static void test_disliked_clients(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 12);
    world.peer.xclient = true;
    world.peer.hates_clients = true;
    world_define(&world, "alpha.example", "primary");
    for (uint32_t i = 0; i < 100; i++) {
        (void)add_from(&world, i);
    }
    world_run(&world, PN_HOURS(1));
    assert_int_equal(world.peer.done, 0);
    assert_int_equal(world_dest(&world, "primary").failures, 0);
    assert_true(world_state(&world, "primary") == QUEUE_UP ||
                world_state(&world, "primary") == QUEUE_RAMP);
    /* And there is no hurry: about one session a minute. */
    assert_in_range(world_count(&world, QUEUE_OPEN, 0, INT64_MAX), 30, 90);
    world.peer.hates_clients = false;
    world_run(&world, PN_MINUTES(10));
    assert_int_equal(world.peer.done, 100);
    world_close(&world);
}

static void test_refused_clients_stop_nothing(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 13);
    world.peer.xclient = true;
    world.peer.refused_permille = 600;
    world.peer.refuses_known = true;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    for (uint32_t i = 0; i < 300; i++) {
        (void)add_from(&world, i % 7);
    }
    world_run(&world, PN_MINUTES(1));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(10));
    assert_int_equal(world.peer.done, 300);
    assert_true(world.peer.refused > 100);
    assert_int_equal(world_dest(&world, "primary").parole_refused, 0);
    world_close(&world);
}

/* ---- peers that want little --------------------------------------------------------- */

/* Done-when 3: 421 above three sessions. */
static void test_ceiling(void **state)
{
    static const int64_t took_ms[] = {2, 20, 400};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(took_ms); i++) {
        struct world world;

        world_open(&world, 40 + i);
        world.peer.most = 3;
        world.peer.took_ms = took_ms[i];
        world_define(&world, "alpha.example", "primary");
        fill(&world, "alpha.example", 10000);
        world_run(&world, PN_HOURS(1));
        assert_int_equal(world.peer.done, 10000);
        assert_int_equal(world.peer.most_seen, 3);
        print_message("%lld ms each: %llu refused\n", (long long)took_ms[i],
                      (unsigned long long)world.peer.turned_away);
        assert_in_range(world.peer.turned_away, 1, 8);
        assert_int_equal(world_count(&world, QUEUE_PROBE, 0, INT64_MAX), 0);
        assert_int_equal(world_state(&world, "primary"), QUEUE_UP);
        world_close(&world);
    }
}

/* A ceiling that has gone up is found again. */
static void test_ceiling_rises(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 43);
    world.peer.most = 3;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 4000);
    world_run(&world, PN_SECONDS(20));
    assert_int_equal(world_dest(&world, "primary").session_ceiling, 3);
    world.peer.most = 12;
    for (int i = 0; i < 20; i++) {
        fill(&world, "alpha.example", 4000);
        world_run(&world, PN_SECONDS(30));
    }
    assert_int_equal(world.peer.most_seen, 12);
    assert_true(world.peer.turned_away < 12);
    world_close(&world);
}

/* What a slow one has not begun with is not kept by the session that came first. */
static void test_slow(void **state)
{
    struct world world;
    int64_t last_ms = 0;

    (void)state;
    world_open(&world, 48);
    world.peer.took_ms = 2000;
    world.definition.sessions = 10;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 60);
    world_run(&world, PN_MINUTES(1));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(3));
    assert_int_equal(world.peer.done, 60);
    for (size_t i = 0; i < world.all_count; i++) {
        last_ms = world.all[i]->done_ms > last_ms ? world.all[i]->done_ms : last_ms;
    }
    /* The first takes eight; one alone would need two minutes, ten from the start twelve
     * seconds. */
    assert_in_range(last_ms, WORLD_START + PN_SECONDS(70), WORLD_START + PN_SECONDS(100));
    world_close(&world);
}

static void test_greylisting(void **state)
{
    struct world world;
    unsigned most = 0;

    (void)state;
    world_open(&world, 44);
    world.peer.greylist_ms = PN_MINUTES(5);
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 2000);
    world_run(&world, PN_HOURS(2));
    assert_int_equal(world.peer.done, 2000);
    for (size_t i = 0; i < world.all_count; i++) {
        most = world.all[i]->tried > most ? world.all[i]->tried : most;
    }
    assert_in_range(most, 2, 4);
    world_close(&world);
}

/* Full mailboxes among others: each success behind ten 4xx is no reason for a new round. */
static void test_relief_is_no_hammer(void **state)
{
    struct world world;
    uint64_t tries = 0;

    (void)state;
    world_open(&world, 45);
    world.peer.later_permille = 960;
    world.definition.sessions = 2;
    world_define(&world, "alpha.example", "primary");
    fill(&world, "alpha.example", 300);
    world_run(&world, PN_HOURS(1));
    for (size_t i = 0; i < world.all_count; i++) {
        tries += world.all[i]->tried;
    }
    /* By their own schedule six each; a flush in five minutes adds twelve at the most. */
    assert_in_range(tries, 300 * 3, 300 * 18);
    world_close(&world);
}

/* It is there for ten seconds of each minute only. */
static void test_back_for_ten_seconds(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 46);
    world.peer.took_ms = 50;
    world.definition.sessions = 4;
    world_define(&world, "alpha.example", "primary");
    world.peer.up = false;
    fill(&world, "alpha.example", 2000);
    world_run(&world, PN_MINUTES(1));
    for (int i = 0; i < 20 && world.peer.done < 2000; i++) {
        world.peer.up = true;
        world_run(&world, PN_SECONDS(10));
        world.peer.up = false;
        world_run(&world, PN_SECONDS(50));
    }
    assert_int_equal(world.peer.done, 2000);
    /* One probe in five seconds, and no session while it is away but those that were open. */
    assert_true(world_dest(&world, "primary").refused_sessions < 20);
    world_close(&world);
}

/* ---- very many ----------------------------------------------------------------------- */

static void test_dead_on_demand(void **state)
{
    struct world world;
    size_t first, last;

    (void)state;
    world_open(&world, 47);
    world.peer.up = false;
    world.definition.on_demand = true;
    world_define(&world, "out:alpha.example", "out:alpha.example");
    (void)world_add(&world, "out:alpha.example", world.now_ms);
    world_run(&world, PN_HOURS(1));
    first = world_count(&world, QUEUE_PROBE, 0, world.now_ms);
    assert_in_range(first, 7, 14);
    world_run(&world, PN_HOURS(10));
    last = world_count(&world, QUEUE_PROBE, world.now_ms - PN_HOURS(10), world.now_ms);
    assert_in_range(last, 19, 24);
    /* Without mail nobody asks; with mail again, somebody does. */
    world_delete(&world, "out:alpha.example", world.all[0]);
    world_run(&world, PN_HOURS(1));
    assert_in_range(world_count(&world, QUEUE_PROBE, world.now_ms - PN_HOURS(1), world.now_ms),
                    0, 1);
    world.peer.up = true;
    (void)world_add(&world, "out:alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world.peer.done, 1);
    world_close(&world);
}

/* Mail is refused in the name of somebody who was never there: nobody is told of as back. */
static void test_refused_by_nobody(void **state)
{
    struct queue_destination_status dest;
    struct world world;

    (void)state;
    world_open(&world, 48);
    world.peer.nobody = true;
    world.definition.on_demand = true;
    world_define(&world, "out:alpha.example", "out:alpha.example");
    for (unsigned i = 1; i <= 2; i++) {
        (void)world_add(&world, "out:alpha.example", world.now_ms);
        world_run(&world, PN_HOURS(1));
        assert_int_equal(world.peer.done, i);
        dest = world_dest(&world, "out:alpha.example");
        assert_int_equal(dest.state, QUEUE_UP); /* there is nothing to wait for */
        assert_int_equal(dest.last_success_ms, 0);
        assert_int_equal(world.returns, 0);
    }
    /* It takes mail, goes away, and is back. */
    world.peer.nobody = false;
    (void)world_add(&world, "out:alpha.example", world.now_ms);
    world_run(&world, PN_HOURS(1));
    assert_true(world_dest(&world, "out:alpha.example").last_success_ms > 0);
    world.peer.up = false;
    (void)world_add(&world, "out:alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world_dest(&world, "out:alpha.example").state, QUEUE_DOWN);
    assert_int_equal(world.returns, 0);
    world.peer.up = true;
    world_run(&world, PN_HOURS(1));
    assert_int_equal(world.peer.done, 4);
    assert_int_equal(world.returns, 2);
    /* It goes away for good: its mail is not to wait, and nobody is told of as back. */
    world.peer.up = false;
    (void)world_add(&world, "out:alpha.example", world.now_ms);
    world_run(&world, PN_MINUTES(1));
    assert_int_equal(world_dest(&world, "out:alpha.example").state, QUEUE_DOWN);
    dest = world_dest(&world, "out:alpha.example");
    world.peer.up = true;
    world.peer.nobody = true;
    world_run(&world, PN_HOURS(1));
    assert_int_equal(world.peer.done, 5);
    assert_int_equal(world.returns, 2);
    assert_int_equal(world_dest(&world, "out:alpha.example").last_success_ms,
                     dest.last_success_ms);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_no_rush_after_a_rest),
        cmocka_unit_test(test_untried_costs_no_rate),
        cmocka_unit_test(test_strictest_rate_of_the_queues),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_fresh_in_a_drain),
        cmocka_unit_test(test_fresh_after_a_start),
        cmocka_unit_test(test_few_are_kept),
        cmocka_unit_test(test_small_before_large),
        cmocka_unit_test(test_large_is_not_passed_for_ever),
        cmocka_unit_test(test_sessions_for_clients),
        cmocka_unit_test(test_ends_after_its_last_job),
        cmocka_unit_test(test_disliked_clients),
        cmocka_unit_test(test_refused_clients_stop_nothing),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_ceiling_rises),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_greylisting),
        cmocka_unit_test(test_relief_is_no_hammer),
        cmocka_unit_test(test_back_for_ten_seconds),
        cmocka_unit_test(test_dead_on_demand),
        cmocka_unit_test(test_refused_by_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
