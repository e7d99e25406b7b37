/* What store/leveldb promises: group commit, order, the overlay, failures, the open ladder. */
#include "helper_store.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_writes_and_reads(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture_put(fixture, "a", "1"), 0);
    assert_int_equal(fixture_put(fixture, "b", ""), 0);
    fixture_expect(fixture, "a", "1");
    fixture_expect(fixture, "b", "");
    fixture_expect(fixture, "c", NULL);
    store_leveldb_free(&fixture->store);
    fixture_open(fixture);
    fixture_expect(fixture, "a", "1");
    assert_int_equal(fixture->opened, 2);
    assert_int_equal(fixture->reopened, 0);
}

static void test_one_sync_for_all_that_gathered(void **state)
{
    enum { COUNT = 100 };
    struct fixture *fixture = *state;
    struct change changes[COUNT] = {0};
    unsigned order = 0;
    size_t done = 0;
    struct gate gate;
    uint64_t before;

    gate_close(fixture, &gate);
    before = fixture->store->ops->syncs(fixture->store);
    for (size_t i = 0; i < COUNT; i++) {
        changes[i] = (struct change){
            .what = PUT, .key = PN_STR("k"), .value = PN_STR("v"), .order = &order};
        fixture_submit(fixture, &changes[i], &done);
    }
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, COUNT);
    assert_int_equal(fixture->store->ops->syncs(fixture->store) - before, 2);
    assert_int_equal(fixture->batches, 2);
    assert_int_equal(fixture->store->ops->written(fixture->store), COUNT * 2);
    assert_int_equal(test_loop_posts(&fixture->loop), 2); /* one task for each batch */
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(changes[i].place, i + 1);
        assert_int_equal(changes[i].status, 0);
    }
}

static void test_a_batch_has_a_limit(void **state)
{
    enum { COUNT = 2001 };
    struct fixture *fixture = *state;
    struct change *changes = pn_alloc_array(COUNT, sizeof *changes);
    size_t done = 0;
    struct gate gate;

    gate_close(fixture, &gate);
    for (size_t i = 0; i < COUNT; i++) {
        changes[i] = (struct change){.what = PUT, .key = PN_STR("k"), .value = PN_STR("v")};
        fixture_submit(fixture, &changes[i], &done);
    }
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, COUNT);
    assert_int_equal(fixture->batches, 3);
    free(changes);
}

static void test_a_batch_sees_its_own_changes(void **state)
{
    struct fixture *fixture = *state;
    struct change changes[] = {
        {.what = ADD, .key = PN_STR("n")},
        {.what = ADD, .key = PN_STR("n")},
        {.what = PUT, .key = PN_STR("m"), .value = PN_STR("4")},
        {.what = DEL, .key = PN_STR("m")},
        {.what = ADD, .key = PN_STR("m")},
        {.what = ADD, .key = PN_STR("o")},
        {.what = DEL, .key = PN_STR("o")},
    };
    struct gate gate;
    size_t done = 0;

    assert_int_equal(fixture_put(fixture, "n", "5"), 0);
    assert_int_equal(fixture_put(fixture, "o", "5"), 0);
    gate_close(fixture, &gate);
    for (size_t i = 0; i < PN_COUNT(changes); i++) {
        fixture_submit(fixture, &changes[i], &done);
    }
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, PN_COUNT(changes));
    fixture_expect(fixture, "n", "7");
    fixture_expect(fixture, "m", "1");
    fixture_expect(fixture, "o", NULL);
}

static void test_lazy_writes_share_a_sync(void **state)
{
    struct fixture *fixture = *state;
    struct change lazy[2] = {{.what = PUT, .key = PN_STR("l"), .write = {.lazy = true}},
                             {.what = PUT, .key = PN_STR("m"), .write = {.lazy = true}}};
    struct change eager = {.what = PUT, .key = PN_STR("e")};
    size_t done = 0;

    fixture_submit(fixture, &lazy[0], &done);
    fixture_submit(fixture, &eager, &done);
    test_loop_wait(&fixture->loop, &done, 2);
    assert_int_equal(fixture->batches, 1);
    fixture_submit(fixture, &lazy[1], &done); /* alone it waits its time, and is written */
    test_loop_wait(&fixture->loop, &done, 3);
    assert_int_equal(fixture->batches, 2);
}

static void test_an_end_writes_what_is_lazy(void **state)
{
    struct fixture *fixture = *state;
    struct change lazy = {.what = PUT,
                          .key = PN_STR("l"),
                          .value = PN_STR("1"),
                          .write = {.lazy = true, .must = true}};
    size_t done = 0;

    fixture_submit(fixture, &lazy, &done);
    store_leveldb_free(&fixture->store);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(lazy.status, 0);
    fixture_open(fixture);
    fixture_expect(fixture, "l", "1");
}

struct walk {
    struct store_read read;
    struct pn_buf keys;
    size_t done;
};

static void run_walk(struct store_read *read, struct store_view *view)
{
    struct walk *walk = PN_CONTAINER(read, struct walk, read);
    struct pn_str key, value;

    assert_false(store_view_item(view, &key, &value));
    store_view_seek(view, PN_STR("b"));
    while (store_view_item(view, &key, &value)) {
        assert_int_equal(pn_buf_append(&walk->keys, key), 0);
        store_view_next(view);
    }
    store_view_next(view);
    store_view_seek(view, PN_STR("a"));
    assert_true(store_view_item(view, &key, &value));
    assert_true(pn_str_eq(key, PN_STR("a")));
}

static void on_walked(struct store_read *read)
{
    PN_CONTAINER(read, struct walk, read)->done++;
}

static void test_walks_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct walk walk = {.read = {.run = run_walk, .on_done = on_walked}};

    walk.read.loop = &fixture->loop.port;
    pn_buf_init(&walk.keys, 100);
    assert_int_equal(fixture_put(fixture, "d", ""), 0);
    assert_int_equal(fixture_put(fixture, "a", ""), 0);
    assert_int_equal(fixture_put(fixture, "c", ""), 0);
    store_ask(fixture->store, &walk.read);
    test_loop_wait(&fixture->loop, &walk.done, 1);
    assert_int_equal(walk.read.status, 0);
    assert_true(pn_str_eq(pn_buf_str(&walk.keys), PN_STR("cd")));
    pn_buf_fini(&walk.keys);
}

static void test_requests_of_an_ended_loop_are_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct test_loop gone;
    struct change change = {.what = PUT, .key = PN_STR("g"), .value = PN_STR("1")};
    size_t done = 0, never = 0;
    struct change behind = {.what = PUT, .key = PN_STR("h")};

    test_loop_init(&gone);
    test_loop_end(&gone);
    change.write.loop = &gone.port;
    fixture_submit(fixture, &change, &never);
    fixture_submit(fixture, &behind, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(never, 0);
    fixture_expect(fixture, "g", "1");
    test_loop_fini(&gone);
}

/* ---- failures ---------------------------------------------------------------------------- */

static void test_life_after_a_failed_write(void **state)
{
    struct fixture *fixture = *state;
    struct change lost = {.what = PUT, .key = PN_STR("x"), .value = PN_STR("1")};
    struct change must[2] = {
        {.what = ADD, .key = PN_STR("n"), .write = {.must = true}},
        {.what = ADD, .key = PN_STR("n"), .write = {.must = true, .lazy = true}}};
    struct change late = {.what = PUT, .key = PN_STR("y")};
    size_t done = 0, musts = 0;
    struct gate gate;
    struct pn_buf none;

    fixture_await(&fixture->healed); /* the one from opening */
    assert_int_equal(fixture_put(fixture, "x", "0"), 0);
    gate_close(fixture, &gate);
    memcpy(lost.write.tag.octets, "x23456789abcdef0", STORE_TAG_OCTETS);
    gate.change.write.must = true;
    fixture_submit(fixture, &lost, &done);
    fixture_submit(fixture, &must[0], &musts);
    break_disk();
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(lost.status, PN_EIO);
    assert_int_equal(store_get_state(fixture->store), STORE_REOPENING);

    /* While it is failed, what may fail does so at once; what may not waits. */
    fixture_submit(fixture, &must[1], &musts);
    fixture_submit(fixture, &late, &done);
    test_loop_wait(&fixture->loop, &done, 2);
    assert_int_equal(late.status, PN_EIO);
    assert_int_equal(late.applied, 0);
    assert_int_equal(fixture_find(fixture, "x", &none), PN_EIO);
    pn_buf_fini(&none);
    assert_int_equal(musts, 0);

    mend_disk();
    test_loop_wait(&fixture->loop, &musts, 2);
    fixture_await(&fixture->healed);
    assert_int_equal(must[0].status, 0);
    assert_int_equal(must[1].status, 0);
    assert_int_equal(fixture->tag_count, 1);
    assert_memory_equal(&fixture->tags[0], &lost.write.tag, STORE_TAG_OCTETS);
    assert_int_equal(fixture->reopened, 1);
    assert_true(fixture->lost_batches >= 1);
    assert_non_null(strstr(fixture->reason, "cannot write to the store"));
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
    fixture_expect(fixture, "n", "2");  /* each once, although they were applied again */
    fixture_expect(fixture, "x", NULL); /* healed */
    assert_int_equal(fixture_put(fixture, "z", "1"), 0);
    store_leveldb_free(&fixture->store);
    fixture_open(fixture);
    fixture_expect(fixture, "n", "2");
    fixture_expect(fixture, "z", "1");
}

/* Many failures, each with one answered write, one that must be, and a mended disk. */
static void test_fails_again_and_again(void **state)
{
    struct fixture *fixture = *state;

    fixture_await(&fixture->healed);
    for (int round = 0; round < 5; round++) {
        struct change must = {.what = ADD, .key = PN_STR("n"), .write = {.must = true}};
        size_t done = 0;

        assert_int_equal(fixture_put(fixture, "x", "0"), 0);
        break_disk();
        assert_int_equal(fixture_put(fixture, "y", "0"), PN_EIO);
        fixture_submit(fixture, &must, &done);
        mend_disk();
        test_loop_wait(&fixture->loop, &done, 1);
        fixture_await(&fixture->healed);
    }
    fixture_expect(fixture, "n", "5");
    assert_int_equal(fixture->heals, 5);
}

static void test_an_end_while_failed_gives_up(void **state)
{
    struct fixture *fixture = *state;
    struct change must = {.what = PUT, .key = PN_STR("m"), .write = {.must = true}};
    size_t done = 0;

    assert_int_equal(fixture_put(fixture, "x", "1"), 0);
    break_disk();
    assert_int_equal(fixture_put(fixture, "y", "1"), PN_EIO);
    fixture_submit(fixture, &must, &done);
    store_leveldb_free(&fixture->store);
    mend_disk();
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(must.status, PN_EIO);
    fixture_open(fixture);
    fixture_expect(fixture, "x", "1");
    fixture_expect(fixture, "y", NULL);
}

/* A write without a loop is answered on the writer's thread, also while it is failed. */
struct homeless {
    struct store_write write;
    sem_t answered;
};

static void apply_nothing(struct store_write *write, struct store_batch *batch)
{
    (void)write;
    (void)batch;
}

static void on_homeless(struct store_write *write)
{
    sem_post(&PN_CONTAINER(write, struct homeless, write)->answered);
}

static void test_writes_without_a_loop(void **state)
{
    struct fixture *fixture = *state;
    struct homeless homeless = {.write = {.apply = apply_nothing, .on_done = on_homeless}};

    sem_init(&homeless.answered, 0, 0);
    store_submit(fixture->store, &homeless.write);
    fixture_await(&homeless.answered);
    assert_int_equal(homeless.write.status, 0);
    break_disk();
    assert_int_equal(fixture_put(fixture, "y", "1"), PN_EIO);
    store_submit(fixture->store, &homeless.write);
    fixture_await(&homeless.answered);
    assert_int_equal(homeless.write.status, PN_EIO);
    mend_disk();
    sem_destroy(&homeless.answered);
}

/* ---- opening ----------------------------------------------------------------------------- */

static void test_keeps_a_second_one_out(void **state)
{
    struct fixture *fixture = *state;
    struct pn_err err;

    assert_null(store_leveldb_new(fixture->path, &fixture->options, &fixture->events, &err));
    assert_int_equal(err.code, PN_EEXIST);
    assert_non_null(strstr(err.text, "another posternd uses this spool"));
}

static void test_names_a_missing_directory(void **state)
{
    struct fixture *fixture = *state;
    struct pn_err err;

    assert_null(store_leveldb_new("/nonexistent/spool/store", &fixture->options,
                                  &fixture->events, &err));
    assert_int_equal(err.code, PN_ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/spool/store"));
}

static void write_file(const struct fixture *fixture, const char *name, const char *content)
{
    char path[700];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", fixture->path, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect_moved_aside(struct fixture *fixture, int n)
{
    struct stat info;
    char path[700];

    (void)snprintf(path, sizeof path, "%s.broken-%d", fixture->path, n);
    assert_int_equal(stat(path, &info), 0);
    assert_non_null(strstr(fixture->reason, path));
    fixture_expect(fixture, "a", NULL);
    assert_int_equal(fixture_put(fixture, "a", "2"), 0);
    fixture_expect(fixture, "a", "2");
}

static void test_moves_a_broken_store_aside(void **state)
{
    struct fixture *fixture = *state;
    char path[700];

    assert_int_equal(fixture_put(fixture, "a", "1"), 0);
    store_leveldb_free(&fixture->store);
    write_file(fixture, "CURRENT", "");
    fixture_open(fixture);
    expect_moved_aside(fixture, 1);

    /* Without CURRENT LevelDB would count the directory as new, and delete the tables. */
    store_leveldb_free(&fixture->store);
    (void)snprintf(path, sizeof path, "%s/CURRENT", fixture->path);
    assert_int_equal(unlink(path), 0);
    fixture_open(fixture);
    expect_moved_aside(fixture, 2);
}

static void test_repairs_a_copy(void **state)
{
    struct fixture *fixture = *state;
    char broken[700], repaired[700];
    struct pn_err err;

    assert_int_equal(fixture_put(fixture, "a", "1"), 0);
    store_leveldb_free(&fixture->store);
    write_file(fixture, "CURRENT", "");
    fixture_open(fixture);
    store_leveldb_free(&fixture->store);
    (void)snprintf(broken, sizeof broken, "%s.broken-1", fixture->path);
    (void)snprintf(repaired, sizeof repaired, "%s.repaired", fixture->path);
    assert_int_equal(store_leveldb_repair(broken, repaired, &err), 0);
    assert_int_equal(store_leveldb_repair(broken, repaired, &err), PN_EEXIST);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/store.repaired",
                   fixture->directory);
    fixture_open(fixture);
    fixture_expect(fixture, "a", "1");
}

/* The key "a" lies in a block that is rotten. */
static void make_rotten(struct fixture *fixture)
{
    assert_int_equal(fixture_put(fixture, "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                     0);
    store_leveldb_free(&fixture->store);
    fixture_open(fixture); /* the log becomes the table 000005.ldb */
    store_leveldb_free(&fixture->store);
    fixture_spoil(fixture, "000005.ldb");
    fixture_open(fixture);
}

/* A rotten block fails the reads that need it, and nothing else. */
static void test_a_rotten_block_fails_its_own_reads(void **state)
{
    struct fixture *fixture = *state;
    struct pn_buf found;

    make_rotten(fixture);
    assert_int_equal(fixture_find(fixture, "a", &found), PN_ECORRUPT);
    pn_buf_fini(&found);
    assert_int_equal(fixture_put(fixture, "b", "1"), 0);
    fixture_expect(fixture, "b", "1");
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
}

/*
 * A write that needs it fails. Then the store is opened without checks, where what cannot be
 * read is not there, and what must be written is.
 */
static void test_a_rotten_block_under_a_write(void **state)
{
    struct fixture *fixture = *state;
    struct change may = {.what = ADD, .key = PN_STR("a")};
    struct change must = {.what = ADD, .key = PN_STR("n"), .write = {.must = true}};
    size_t done = 0;
    struct gate gate;

    make_rotten(fixture);
    gate_close(fixture, &gate);
    gate.change.write.must = true;
    fixture_submit(fixture, &may, &done);
    fixture_submit(fixture, &must, &done);
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, 2);
    assert_int_equal(may.status, PN_EIO);
    assert_int_equal(must.status, 0);
    assert_int_equal(fixture->reopened, 1);
    assert_non_null(strstr(fixture->reason, "Corruption"));
    fixture_expect(fixture, "n", "1");
    done = 0;
    fixture_submit(fixture, &may, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(may.status, 0);
    fixture_expect(fixture, "a", "1");
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_and_reads, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_one_sync_for_all_that_gathered, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_has_a_limit, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_sees_its_own_changes, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_lazy_writes_share_a_sync, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_writes_what_is_lazy, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_walks_in_order, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_requests_of_an_ended_loop_are_dropped,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_life_after_a_failed_write, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_fails_again_and_again, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_while_failed_gives_up, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_writes_without_a_loop, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_keeps_a_second_one_out, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_names_a_missing_directory, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_moves_a_broken_store_aside, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_repairs_a_copy, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_rotten_block_under_a_write, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_rotten_block_fails_its_own_reads, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
