/* What the spool promises of queue time: what is durable is never ahead of what is kept. */
#include "helper_world.h"

#include "records_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ONE ((const char *const[]){"q", NULL})

static int set_up(void **state)
{
    *state = world_new(false);
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

struct kept {
    int status;
    int64_t ms;
};

static void on_time(void *owner, int status, int64_t kept_ms)
{
    *(struct kept *)owner = (struct kept){status, kept_ms};
}

static struct kept read_time(struct world *world)
{
    struct kept kept = {.status = 1};

    spool_read_time(world->spool, &world->loop.port, on_time, &kept);
    world_run(world);
    return kept;
}

static int64_t kept(struct world *world)
{
    struct kept kept = read_time(world);

    assert_int_equal(kept.status, 0);
    return kept.ms;
}

static void expect_damaged(struct world *world)
{
    struct kept kept = read_time(world);

    assert_int_equal(kept.status, PN_ECORRUPT);
    assert_int_equal(kept.ms, 0);
}

static void on_settled(void *owner)
{
    (void)owner;
}

static void settle(struct world *world, unsigned n, int64_t due_ms, int64_t tried_ms)
{
    const struct mail_recipient stay = {.address = PN_STR("a@q")};
    const struct spool_settlement settlement = {
        .key = {PN_STR("q"), due_ms, world_id(n)},
        .stay = &stay,
        .stay_count = 1,
        .job = {.due_ms = tried_ms + 300000, .attempts = 1, .last_try_ms = tried_ms},
        .last_reply = PN_STR("451 4.7.1 Later")};

    spool_settle(world->spool, &world->loop.port, &settlement, 1, on_settled, NULL);
    world_run(world);
}

static void on_verb(void *owner, int status, size_t changed, struct pn_str next)
{
    (void)owner;
    (void)next;
    assert_int_equal(status, 0);
    assert_int_equal(changed, 1);
}

/* An arrival, a try and an operator's order are kept, the due time that follows is not. */
static void test_what_is_dated_is_kept(void **state)
{
    struct world *world = *state;

    assert_int_equal(kept(world), 0);
    world_store(world, 7, 100, ONE, 999999);
    assert_int_equal(kept(world), 1007);
    world_store(world, 3, 100, ONE, 999999);
    assert_int_equal(kept(world), 1007);
    settle(world, 7, 999999, 50000);
    assert_int_equal(kept(world), 50000);
    spool_apply(world->spool, &world->loop.port, SPOOL_RETRY,
                &(struct spool_filter){.now_ms = 60000, .id = world_id(7)}, PN_STR(""), on_verb,
                NULL);
    world_run(world);
    assert_int_equal(kept(world), 60000);
}

/* An older time does not replace it, not even in a new run, which has not written yet. */
static void test_it_never_goes_back(void **state)
{
    struct world *world = *state;

    spool_keep_time(world->spool, 5000);
    world_run(world);
    assert_int_equal(kept(world), 5000);
    spool_keep_time(world->spool, 4000);
    world_run(world);
    for (int cut = 0; cut < 2; cut++) {
        world_stop(world, cut == 1);
        world_start(world, false);
        assert_int_equal(kept(world), 5000);
        world_store(world, 1 + (unsigned)cut, 100, ONE, 5);
        assert_int_equal(kept(world), 5000);
    }
}

/* A batch that failed has it, or has it not; the one that repeats the work has it. */
static void test_a_failed_batch(void **state)
{
    struct world *world = *state;

    for (enum fake_failure how = FAKE_LOSES; how <= FAKE_KEEPS; how++) {
        unsigned n = 10 + (unsigned)how;
        int64_t tried_ms = 10000 * (int64_t)n;

        world_store(world, n, 100, ONE, 5);
        world->store.failure = how;
        settle(world, n, 5, tried_ms);
        fake_store_heal(&world->store);
        world_run(world);
        assert_int_equal(world_load(world, n, "q", tried_ms + 300000, 100), 0);
        assert_int_equal(kept(world), tried_ms);
    }
}

/* A minute in which nothing happens costs no failed append, and is lost. */
static void test_nothing_is_kept_on_a_full_disk(void **state)
{
    struct world *world = *state;
    uint64_t batches;

    spool_keep_time(world->spool, 5000);
    world_run(world);
    world->files.free_octets = 1;
    world->wall.ms += 1000;
    spool_maintain(world->spool, world->wall);
    world_run(world);
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_FULL);
    batches = world->store.batches;
    spool_keep_time(world->spool, 6000);
    world_run(world);
    assert_int_equal(world->store.batches, batches);
    assert_int_equal(kept(world), 5000);
}

static void test_what_does_not_decode_is_said(void **state)
{
    struct world *world = *state;
    struct pn_buf value;

    pn_buf_init(&value, 100);
    assert_int_equal(spool_number_encode(4711, &value), 0);
    fake_store_put(&world->store, PN_STR("t"), pn_buf_str(&value));
    assert_int_equal(kept(world), 4711);
    value.data[value.len - 1] ^= 1; /* the checksum */
    fake_store_put(&world->store, PN_STR("t"), pn_buf_str(&value));
    expect_damaged(world);
    pn_buf_clear(&value);
    assert_int_equal(spool_number_encode((uint64_t)INT64_MAX + 1, &value), 0);
    fake_store_put(&world->store, PN_STR("t"), pn_buf_str(&value));
    expect_damaged(world);
    fake_store_put(&world->store, PN_STR("t"), PN_STR(""));
    expect_damaged(world);
    pn_buf_fini(&value);
    spool_keep_time(world->spool, 5000);
    world_run(world);
    assert_int_equal(kept(world), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_dated_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_never_goes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_is_kept_on_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_decode_is_said, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
