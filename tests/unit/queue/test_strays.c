/* What is told late, twice, or of what nobody knows does no harm to the scheduler. */
#include "helper_world.h"

#include "queue_priv.h"

#define ALPHA PN_STR("alpha.example")

/* A scheduler whose disk and sessions the test plays. */
struct script {
    struct queue *queue;
    struct queue_definition definition;
    int64_t now_ms;
    uint64_t session, woken;
    size_t opens, probes, expiries, reads;
    struct queue_job disk[4]; /* in the order of keys */
    size_t count;
};

static void answer(struct script *script, const struct queue_action *action)
{
    struct queue_job page[4];
    size_t count = 0;

    script->reads++;
    for (size_t i = 0; i < script->count; i++) {
        const struct queue_job *job = &script->disk[i];

        if (job->due_ms <= action->until_ms && (job->due_ms > action->from_due_ms ||
                                                (job->due_ms == action->from_due_ms &&
                                                 pn_id_cmp(&job->id, &action->from_id) >= 0))) {
            page[count++] = *job;
        }
    }
    queue_page(script->queue, action->queue, 0, page, count, true, script->now_ms);
}

/* Carries out at most so many actions. */
static void pump(struct script *script, size_t most)
{
    struct queue_action action;
    int64_t again_ms;

    while (most-- > 0 && queue_next(script->queue, script->now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            script->session = action.session;
            script->opens++;
        } else if (action.kind == QUEUE_WAKE) {
            script->woken = action.session;
        } else if (action.kind == QUEUE_PROBE) {
            script->probes++;
        } else if (action.kind == QUEUE_EXPIRE) {
            script->expiries++;
        } else if (action.kind == QUEUE_READ) {
            answer(script, &action);
        }
    }
}

static void define(struct script *script)
{
    queue_define(script->queue, ALPHA, &script->definition, script->now_ms);
}

static struct script script_open(void)
{
    const struct queue_options options = {.probe_min_ms = 5000,
                                          .probe_max_ms = 60000,
                                          .probe_rate = 300,
                                          .in_doubt_ms = 600000,
                                          .seed = 3};
    struct script script = {.queue = queue_new(&options), .now_ms = WORLD_START};

    script.definition = (struct queue_definition){.destination = "primary",
                                                  .sessions = 1,
                                                  .messages_per_session = 1000,
                                                  .retry_min_ms = 300000,
                                                  .retry_max_ms = 1800000,
                                                  .hold_ms = PN_DAYS(14)};
    define(&script);
    return script;
}

static struct queue_job job_of(const struct script *script, uint8_t n)
{
    struct queue_job job = {
        .due_ms = script->now_ms, .arrival_ms = script->now_ms, .size_octets = 1};

    job.id.octets[15] = n;
    return job;
}

static void add(struct script *script, const struct queue_job *job)
{
    script->disk[script->count++] = *job;
    queue_job_added(script->queue, ALPHA, job, script->now_ms);
    pump(script, SIZE_MAX);
}

/* The number of the job that the session is given; 0: none. */
static unsigned take(struct script *script, struct queue_job *out)
{
    struct pn_str queue;
    bool close;

    return queue_take(script->queue, script->session, 1, out, &queue, &close, script->now_ms) ==
                   0
               ? 0
               : out->id.octets[15];
}

static void ready(struct script *script)
{
    pump(script, SIZE_MAX);
    assert_int_equal(script->opens, 1);
    queue_session_ready(script->queue, script->session, script->now_ms);
    pump(script, SIZE_MAX);
}

static void settle(struct script *script, const struct queue_job *job)
{
    (void)queue_result(script->queue, script->session, ALPHA, job, QUEUE_DONE, 10,
                       script->now_ms);
    for (size_t i = 0; i < script->count; i++) {
        if (pn_id_cmp(&script->disk[i].id, &job->id) == 0) {
            script->disk[i] = script->disk[--script->count];
        }
    }
    queue_job_removed(script->queue, ALPHA, job, script->now_ms);
    pump(script, SIZE_MAX);
}

static void test_names_that_nobody_knows(void **state)
{
    struct script script = script_open();
    const struct queue_job job = job_of(&script, 1);
    struct queue_status status;
    struct pn_str none = PN_STR("nobody.example");

    (void)state;
    queue_job_removed(script.queue, none, &job, script.now_ms);
    queue_parked_changed(script.queue, none, false);
    queue_page(script.queue, none, 0, &job, 1, true, script.now_ms);
    queue_page(script.queue, ALPHA, 0, &job, 1, true, script.now_ms); /* nobody asked */
    queue_probed(script.queue, none, QUEUE_PROBE_BACK, PN_STR(""), script.now_ms);
    queue_refused(script.queue, 77, none, 1, 1, script.now_ms);
    queue_refused(script.queue, 77, PN_STR("primary"), 1, 1, script.now_ms);
    queue_session_ready(script.queue, 77, script.now_ms);
    queue_session_ended(script.queue, 77, QUEUE_END_LOST, PN_STR(""), script.now_ms);
    assert_false(queue_get_status(script.queue, none, script.now_ms, &status));
    assert_true(queue_get_status(script.queue, ALPHA, script.now_ms, &status));
    assert_int_equal(status.jobs, 0);
    queue_free(&script.queue);
    queue_free(&script.queue);
}

static void test_the_key_that_follows(void **state)
{
    struct queue_job job = {.due_ms = 5};
    struct queue_key key;

    (void)state;
    memset(job.id.octets, 0xff, sizeof job.id.octets);
    key = queue_key_after(&job);
    assert_int_equal(key.due_ms, 6);
    assert_int_equal(key.id.octets[0] + key.id.octets[15], 0);
    job.id.octets[0] = 1;
    key = queue_key_after(&job);
    assert_int_equal(key.due_ms, 5);
    assert_int_equal(key.id.octets[0], 2);
    assert_int_equal(key.id.octets[15], 0);
}

/* A shortest wait above the longest one is the longest one, too. */
static void test_probe_times_in_the_wrong_order(void **state)
{
    struct queue_options options = {
        .probe_min_ms = 90000, .probe_max_ms = 60000, .probe_rate = 300, .seed = 3};
    struct script script = script_open();
    int64_t next_ms;
    struct queue_destination_status status;

    (void)state;
    queue_set_options(script.queue, &options);
    add(&script, &(struct queue_job){.due_ms = script.now_ms, .arrival_ms = script.now_ms});
    assert_int_equal(script.opens, 1);
    queue_session_ended(script.queue, script.session, QUEUE_END_FAILED, PN_STR("no"),
                        script.now_ms);
    pump(&script, SIZE_MAX);
    for (int i = 0; i < 100; i++) {
        assert_true(
            queue_get_destination(script.queue, PN_STR("primary"), script.now_ms, &status));
        assert_int_equal(status.state, QUEUE_DOWN);
        next_ms = status.next_probe_ms - script.now_ms;
        assert_in_range(next_ms, 1, 90000);
        script.now_ms = status.next_probe_ms;
        pump(&script, SIZE_MAX);
        queue_probed(script.queue, PN_STR("primary"), QUEUE_PROBE_AWAY, PN_STR("no"),
                     script.now_ms);
        pump(&script, SIZE_MAX);
    }
    assert_true(next_ms > 60000);
    queue_free(&script.queue);
}

/* It went DOWN while a session was being opened, lost its last queue, and gets one again: it
 * is asked. */
static void test_a_queue_comes_back_to_what_is_down(void **state)
{
    struct script script = script_open();
    struct queue_job first = job_of(&script, 1), second = job_of(&script, 2);

    (void)state;
    add(&script, &first);
    ready(&script);
    assert_int_equal(take(&script, &first), 1);
    settle(&script, &first);
    queue_session_ended(script.queue, script.session, QUEUE_END_CLEAN, PN_STR(""),
                        script.now_ms);
    add(&script, &second);
    assert_int_equal(script.opens, 2);
    script.now_ms += PN_MINUTES(1);
    queue_doubt(script.queue, PN_STR("primary"), script.now_ms);
    pump(&script, SIZE_MAX);
    assert_int_equal(script.probes, 1);
    queue_probed(script.queue, PN_STR("primary"), QUEUE_PROBE_AWAY, PN_STR("no"),
                 script.now_ms);
    pump(&script, SIZE_MAX);
    queue_define(script.queue, ALPHA, NULL, script.now_ms);
    script.now_ms += PN_MINUTES(10);
    pump(&script, SIZE_MAX);
    assert_int_equal(script.probes, 1); /* nobody wants to know */
    define(&script);
    script.now_ms += PN_MINUTES(2);
    pump(&script, SIZE_MAX);
    assert_int_equal(script.probes, 2);
    queue_free(&script.queue);
}

/* A page has shown the job where it was not yet said to be; then it is said to be elsewhere. */
static void test_late_notices_of_moves(void **state)
{
    struct script script = script_open();
    struct queue_job one = job_of(&script, 1), moved = job_of(&script, 2), then, out;
    unsigned given[3] = {0};

    (void)state;
    then = moved;
    then.due_ms = script.now_ms + PN_HOURS(1);
    then.last_try_ms = script.now_ms;
    add(&script, &one);
    add(&script, &moved);
    ready(&script);
    /* Both wait in memory, this one where a page has shown it: it is somewhere else now. */
    script.disk[1] = then;
    queue_job_added(script.queue, ALPHA, &then, script.now_ms);
    pump(&script, SIZE_MAX);
    for (unsigned n; (n = take(&script, &out)) != 0;) {
        given[n]++;
        settle(&script, &out);
    }
    assert_int_equal(given[1], 1);
    assert_int_equal(given[2], 0); /* it is not due for an hour */
    queue_free(&script.queue);
}

/* Delivered, and moved by the operator before the spool has written that it was: it is not free
 * until that is told, however often it is moved, and whatever pages show. */
static void test_moved_while_it_is_settled(void **state)
{
    struct script script = script_open();
    struct queue_job job = job_of(&script, 1), out;

    (void)state;
    add(&script, &job);
    ready(&script);
    assert_int_equal(take(&script, &out), 1);
    (void)queue_result(script.queue, script.session, ALPHA, &out, QUEUE_DONE, 10,
                       script.now_ms);
    for (int times = 0; times < 3; times++) {
        struct queue_job removed = script.disk[0];

        removed.flags |= QUEUE_JOB_MOVED;
        script.now_ms += PN_SECONDS(1);
        script.disk[0].due_ms = script.now_ms;
        queue_job_removed(script.queue, ALPHA, &removed, script.now_ms);
        queue_job_added(script.queue, ALPHA, &script.disk[0], script.now_ms);
        (void)queue_flush(script.queue, ALPHA, script.now_ms);
        pump(&script, SIZE_MAX);
        assert_int_equal(take(&script, &out), 0);
    }
    /* The settlement: a recipient who had joined it stays, and is new. */
    job = script.disk[0];
    queue_job_removed(script.queue, ALPHA, &job, script.now_ms);
    queue_job_added(script.queue, ALPHA, &job, script.now_ms);
    pump(&script, SIZE_MAX);
    assert_int_equal(take(&script, &out), 1);
    settle(&script, &out);
    assert_int_equal(take(&script, &out), 0);
    queue_free(&script.queue);
}

/* One that is with a session is not expired, however old. */
static void test_what_is_under_way_does_not_expire(void **state)
{
    struct script script = script_open();
    struct queue_job job = job_of(&script, 1), out;
    size_t before;

    (void)state;
    script.definition.hold_ms = PN_HOURS(1);
    define(&script);
    add(&script, &job);
    ready(&script);
    assert_int_equal(take(&script, &out), 1);
    before = script.reads;
    for (int i = 0; i < 300; i++) {
        script.now_ms += PN_MINUTES(1);
        pump(&script, SIZE_MAX);
    }
    assert_true(script.reads > before);
    assert_int_equal(script.expiries, 0);
    queue_free(&script.queue);
}

/* It has been found too old, and its queue is undefined before that is told: then it stays. */
static void test_an_expiry_of_an_undefined_queue(void **state)
{
    struct script script = script_open();
    struct queue_job job = job_of(&script, 1);
    struct queue_action action;
    int64_t again_ms;
    bool any = false;

    (void)state;
    script.definition.hold_ms = PN_HOURS(1);
    define(&script);
    add(&script, &job);
    queue_session_ended(script.queue, script.session, QUEUE_END_FAILED, PN_STR("no"),
                        script.now_ms);
    for (int i = 0; i < 300 && !any; i++) {
        script.now_ms += PN_MINUTES(1);
        while (!any && queue_next(script.queue, script.now_ms, &action, &again_ms)) {
            if (action.kind == QUEUE_READ) {
                answer(&script, &action);
                any = script.now_ms >= WORLD_START + PN_HOURS(1);
            } else if (action.kind == QUEUE_PROBE) {
                queue_probed(script.queue, action.destination, QUEUE_PROBE_AWAY, PN_STR("no"),
                             script.now_ms);
            } else {
                assert_true(action.kind != QUEUE_EXPIRE);
            }
        }
    }
    assert_true(any);
    queue_define(script.queue, ALPHA, NULL, script.now_ms);
    pump(&script, SIZE_MAX);
    assert_int_equal(script.expiries, 0);
    define(&script);
    for (int i = 0; i < 120 && script.expiries == 0; i++) {
        script.now_ms += PN_MINUTES(1);
        pump(&script, SIZE_MAX);
    }
    assert_int_equal(script.expiries, 1); /* it is found again */
    queue_free(&script.queue);
}

/* With a delay between messages a session takes again when its last one is done, and then
 * only after the delay. */
static void test_a_delay_with_a_message_under_way(void **state)
{
    struct script script = script_open();
    struct queue_job first = job_of(&script, 1), second = job_of(&script, 2), out;

    (void)state;
    script.definition.delay_ms = 2000;
    define(&script);
    add(&script, &first);
    add(&script, &second);
    ready(&script);
    assert_int_not_equal(take(&script, &first), 0);
    assert_int_equal(take(&script, &out), 0);
    script.now_ms += 3000;
    pump(&script, SIZE_MAX);
    assert_int_equal(script.woken, 0);
    settle(&script, &first);
    script.now_ms += 1900;
    pump(&script, SIZE_MAX);
    assert_int_equal(script.woken, 0);
    script.now_ms += 200;
    pump(&script, SIZE_MAX);
    assert_int_equal(script.woken, script.session);
    assert_int_not_equal(take(&script, &out), 0);
    queue_free(&script.queue);
}

/* Fewer sessions by a reload: the limit that is shown follows at once. */
static void test_fewer_sessions(void **state)
{
    struct queue_destination_status status;
    struct world world;

    (void)state;
    world_open(&world, 5);
    world.definition.sessions = 10;
    world_define(&world, "alpha.example", "primary");
    for (int i = 0; i < 3000; i++) {
        (void)world_add(&world, "alpha.example", world.now_ms);
    }
    world_run(&world, PN_SECONDS(10));
    assert_int_equal(world_dest(&world, "primary").session_limit, 10);
    world.definition.sessions = 2;
    world_define(&world, "alpha.example", "primary");
    world_run(&world, 1);
    status = world_dest(&world, "primary");
    assert_int_equal(status.configured_sessions, 2);
    assert_int_equal(status.session_limit, 2);
    world_close(&world);
}

/* Clients of both families, and of one the same octets as the other's. */
static void test_clients_of_two_families(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 12);
    world.definition.sessions = 3;
    world.peer.xclient = true;
    world.peer.up = false;
    world_define(&world, "alpha.example", "primary");
    for (int i = 0; i < 200; i++) {
        struct queue_job job = world_job(&world, world.now_ms);

        job.client.family = i % 2 == 0 ? PN_IPV4 : PN_IPV6;
        job.client.octets[0] = (uint8_t)(1 + i % 3);
        (void)world_add_job(&world, "alpha.example", job);
    }
    world_run(&world, PN_MINUTES(1));
    world.peer.up = true;
    world_run(&world, PN_MINUTES(5));
    assert_int_equal(world.peer.done, 200);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_nobody_knows),
        cmocka_unit_test(test_the_key_that_follows),
        cmocka_unit_test(test_probe_times_in_the_wrong_order),
        cmocka_unit_test(test_a_queue_comes_back_to_what_is_down),
        cmocka_unit_test(test_late_notices_of_moves),
        cmocka_unit_test(test_moved_while_it_is_settled),
        cmocka_unit_test(test_what_is_under_way_does_not_expire),
        cmocka_unit_test(test_an_expiry_of_an_undefined_queue),
        cmocka_unit_test(test_a_delay_with_a_message_under_way),
        cmocka_unit_test(test_fewer_sessions),
        cmocka_unit_test(test_clients_of_two_families),
    };

    return cmocka_run_group_tests_name("queue strays", tests, NULL, NULL);
}
