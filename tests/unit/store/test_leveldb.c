/* What store/leveldb promises: group commit, order, the overlay, failures, the open ladder. */
#include "helper_loop.h"

#include "postern/base/mem.h"
#include "postern/store/leveldb.h"

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

#define TAGS 64

struct fixture {
    char directory[512];
    char path[600];
    struct test_loop loop;
    struct store *store;
    struct store_events events;
    /* On the writer's thread; read by the test after an answer that came behind it. */
    size_t batches, lost_batches, reopened, opened;
    char reason[PN_ERR_TEXT_MAX];
    struct store_tag tags[TAGS];
    size_t tag_count;
    size_t heals;
    sem_t healed;
};

static void on_heal(void *owner, struct store_batch *batch, const struct store_tag *tags,
                    size_t count)
{
    struct fixture *fixture = owner;

    for (size_t i = 0; i < count && i < TAGS; i++) {
        fixture->tags[i] = tags[i];
        store_batch_del(batch, (struct pn_str){(const char *)tags[i].octets, 1});
    }
    fixture->tag_count = count;
    fixture->heals++;
}

static void on_batch(void *owner, bool durable)
{
    struct fixture *fixture = owner;

    if (durable) {
        fixture->batches++;
    } else {
        fixture->lost_batches++;
    }
}

static void on_state(void *owner, enum store_state state, const struct pn_err *err)
{
    struct fixture *fixture = owner;

    if (state == STORE_OPEN) {
        fixture->opened++;
        sem_post(&fixture->healed);
    } else if (state == STORE_REOPENING) {
        fixture->reopened++;
        memcpy(fixture->reason, err->text, sizeof fixture->reason);
    }
}

static const struct store_options options = {.write_buffer_octets = 1u << 20,
                                             .cache_octets = 1u << 20,
                                             .max_open_files = 100,
                                             .ballast = true,
                                             .sync = true};

static void open_store(struct fixture *fixture)
{
    struct pn_err err;

    fixture->store = store_leveldb_new(fixture->path, &options, &fixture->events, &err);
    if (!fixture->store) {
        fail_msg("%s", err.text);
    }
}

static int set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);

    test_directory_make(fixture->directory);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/store", fixture->directory);
    test_loop_init(&fixture->loop);
    sem_init(&fixture->healed, 0, 0);
    fixture->events = (struct store_events){fixture, on_heal, on_batch, on_state};
    open_store(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    store_leveldb_free(&fixture->store);
    test_loop_fini(&fixture->loop);
    sem_destroy(&fixture->healed);
    test_directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

/* A write that puts, or deletes, or adds to a number under a key. */
struct change {
    struct store_write write;
    enum { PUT, DEL, ADD, WAIT } what;
    struct pn_str key;
    struct pn_str value;
    sem_t *inside, *go; /* WAIT: says that the writer is here, and holds it */
    size_t *done;
    unsigned *order; /* counts answers */
    unsigned place;
    unsigned applied;
    int status;
};

static void apply_change(struct store_write *write, struct store_batch *batch)
{
    struct change *change = PN_CONTAINER(write, struct change, write);
    struct pn_buf old;
    char digit = '0';

    change->applied++;
    switch (change->what) {
    case PUT:
        store_batch_put(batch, change->key, change->value);
        break;
    case DEL:
        store_batch_del(batch, change->key);
        break;
    case ADD:
        pn_buf_init(&old, STORE_VALUE_MAX);
        if (store_batch_get(batch, change->key, &old)) {
            digit = pn_buf_str(&old).ptr[0];
        }
        digit++;
        store_batch_put(batch, change->key, (struct pn_str){&digit, 1});
        pn_buf_fini(&old);
        break;
    case WAIT:
        if (change->applied == 1) {
            sem_post(change->inside);
            sem_wait(change->go);
        }
        break;
    }
}

static void on_changed(struct store_write *write)
{
    struct change *change = PN_CONTAINER(write, struct change, write);

    change->status = write->status;
    change->place = change->order ? ++*change->order : 0;
    ++*change->done;
}

static void submit(struct fixture *fixture, struct change *change, size_t *done)
{
    change->write.apply = apply_change;
    change->write.on_done = on_changed;
    change->write.loop = &fixture->loop.port;
    change->done = done;
    change->status = 1;
    store_submit(fixture->store, &change->write);
}

static int put(struct fixture *fixture, const char *key, const char *value)
{
    struct change change = {.what = PUT, .key = pn_str_z(key), .value = pn_str_z(value)};
    size_t done = 0;

    submit(fixture, &change, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    return change.status;
}

struct look {
    struct store_read read;
    struct pn_str key;
    struct pn_buf found;
    bool exists;
    size_t done;
};

static void run_look(struct store_read *read, struct store_view *view)
{
    struct look *look = PN_CONTAINER(read, struct look, read);

    look->exists = store_view_get(view, look->key, &look->found);
}

static void on_looked(struct store_read *read)
{
    PN_CONTAINER(read, struct look, read)->done++;
}

static int find(struct fixture *fixture, const char *key, struct pn_buf *out)
{
    struct look look = {.key = pn_str_z(key)};

    look.read =
        (struct store_read){.run = run_look, .on_done = on_looked, .loop = &fixture->loop.port};
    pn_buf_init(&look.found, STORE_VALUE_MAX);
    store_ask(fixture->store, &look.read);
    test_loop_wait(&fixture->loop, &look.done, 1);
    *out = look.found;
    return look.read.status < 0 ? look.read.status : look.exists;
}

static void expect(struct fixture *fixture, const char *key, const char *value)
{
    struct pn_buf found;
    int rc = find(fixture, key, &found);

    assert_int_equal(rc, value ? 1 : 0);
    if (value) {
        assert_true(pn_str_eq(pn_buf_str(&found), pn_str_z(value)));
    }
    pn_buf_fini(&found);
}

/* Holds the writer inside an apply, so that what is submitted meanwhile gathers. */
struct gate {
    struct change change;
    sem_t inside, go;
    size_t done;
};

static void close_gate(struct fixture *fixture, struct gate *gate)
{
    *gate = (struct gate){.change = {.what = WAIT}};
    sem_init(&gate->inside, 0, 0);
    sem_init(&gate->go, 0, 0);
    gate->change.inside = &gate->inside;
    gate->change.go = &gate->go;
    submit(fixture, &gate->change, &gate->done);
    sem_wait(&gate->inside);
}

static void open_gate(struct gate *gate)
{
    sem_post(&gate->go);
}

static void test_writes_and_reads(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put(fixture, "a", "1"), 0);
    assert_int_equal(put(fixture, "b", ""), 0);
    expect(fixture, "a", "1");
    expect(fixture, "b", "");
    expect(fixture, "c", NULL);
    store_leveldb_free(&fixture->store);
    open_store(fixture);
    expect(fixture, "a", "1");
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

    close_gate(fixture, &gate);
    before = fixture->store->ops->syncs(fixture->store);
    for (size_t i = 0; i < COUNT; i++) {
        changes[i] = (struct change){
            .what = PUT, .key = PN_STR("k"), .value = PN_STR("v"), .order = &order};
        submit(fixture, &changes[i], &done);
    }
    open_gate(&gate);
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

    close_gate(fixture, &gate);
    for (size_t i = 0; i < COUNT; i++) {
        changes[i] = (struct change){.what = PUT, .key = PN_STR("k"), .value = PN_STR("v")};
        submit(fixture, &changes[i], &done);
    }
    open_gate(&gate);
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

    assert_int_equal(put(fixture, "n", "5"), 0);
    assert_int_equal(put(fixture, "o", "5"), 0);
    close_gate(fixture, &gate);
    for (size_t i = 0; i < PN_COUNT(changes); i++) {
        submit(fixture, &changes[i], &done);
    }
    open_gate(&gate);
    test_loop_wait(&fixture->loop, &done, PN_COUNT(changes));
    expect(fixture, "n", "7");
    expect(fixture, "m", "1");
    expect(fixture, "o", NULL);
}

static void test_lazy_writes_share_a_sync(void **state)
{
    struct fixture *fixture = *state;
    struct change lazy[2] = {{.what = PUT, .key = PN_STR("l"), .write = {.lazy = true}},
                             {.what = PUT, .key = PN_STR("m"), .write = {.lazy = true}}};
    struct change eager = {.what = PUT, .key = PN_STR("e")};
    size_t done = 0;

    submit(fixture, &lazy[0], &done);
    submit(fixture, &eager, &done);
    test_loop_wait(&fixture->loop, &done, 2);
    assert_int_equal(fixture->batches, 1);
    submit(fixture, &lazy[1], &done); /* alone it waits its time, and is written */
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

    submit(fixture, &lazy, &done);
    store_leveldb_free(&fixture->store);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(lazy.status, 0);
    open_store(fixture);
    expect(fixture, "l", "1");
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
    assert_int_equal(put(fixture, "d", ""), 0);
    assert_int_equal(put(fixture, "a", ""), 0);
    assert_int_equal(put(fixture, "c", ""), 0);
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
    change.write.apply = apply_change;
    change.write.on_done = on_changed;
    change.write.loop = &gone.port;
    change.done = &never;
    store_submit(fixture->store, &change.write);
    submit(fixture, &behind, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(never, 0);
    expect(fixture, "g", "1");
    test_loop_fini(&gone);
}

/* ---- failures: a limit on the size of files makes every append and every open fail ------- */

static void break_disk(void)
{
    struct rlimit limit = {1, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void mend_disk(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0) {
    }
}

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

    await(&fixture->healed); /* the one from opening */
    assert_int_equal(put(fixture, "x", "0"), 0);
    close_gate(fixture, &gate);
    memcpy(lost.write.tag.octets, "x23456789abcdef0", STORE_TAG_OCTETS);
    gate.change.write.must = true;
    submit(fixture, &lost, &done);
    submit(fixture, &must[0], &musts);
    break_disk();
    open_gate(&gate);
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(lost.status, PN_EIO);
    assert_int_equal(store_get_state(fixture->store), STORE_REOPENING);

    /* While it is failed, what may fail does so at once; what may not waits. */
    submit(fixture, &must[1], &musts);
    submit(fixture, &late, &done);
    test_loop_wait(&fixture->loop, &done, 2);
    assert_int_equal(late.status, PN_EIO);
    assert_int_equal(late.applied, 0);
    assert_int_equal(find(fixture, "x", &none), PN_EIO);
    pn_buf_fini(&none);
    assert_int_equal(musts, 0);

    mend_disk();
    test_loop_wait(&fixture->loop, &musts, 2);
    await(&fixture->healed);
    assert_int_equal(must[0].status, 0);
    assert_int_equal(must[1].status, 0);
    assert_int_equal(fixture->tag_count, 1);
    assert_memory_equal(&fixture->tags[0], &lost.write.tag, STORE_TAG_OCTETS);
    assert_int_equal(fixture->reopened, 1);
    assert_true(fixture->lost_batches >= 1);
    assert_non_null(strstr(fixture->reason, "cannot write to the store"));
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
    expect(fixture, "n", "2");  /* each once, although they were applied again */
    expect(fixture, "x", NULL); /* healed */
    assert_int_equal(put(fixture, "z", "1"), 0);
    store_leveldb_free(&fixture->store);
    open_store(fixture);
    expect(fixture, "n", "2");
    expect(fixture, "z", "1");
}

/* Many failures, each with one answered write, one that must be, and a mended disk. */
static void test_fails_again_and_again(void **state)
{
    struct fixture *fixture = *state;

    await(&fixture->healed);
    for (int round = 0; round < 5; round++) {
        struct change must = {.what = ADD, .key = PN_STR("n"), .write = {.must = true}};
        size_t done = 0;

        assert_int_equal(put(fixture, "x", "0"), 0);
        break_disk();
        assert_int_equal(put(fixture, "y", "0"), PN_EIO);
        submit(fixture, &must, &done);
        mend_disk();
        test_loop_wait(&fixture->loop, &done, 1);
        await(&fixture->healed);
    }
    expect(fixture, "n", "5");
    assert_int_equal(fixture->heals, 5);
}

static void test_an_end_while_failed_gives_up(void **state)
{
    struct fixture *fixture = *state;
    struct change must = {.what = PUT, .key = PN_STR("m"), .write = {.must = true}};
    size_t done = 0;

    assert_int_equal(put(fixture, "x", "1"), 0);
    break_disk();
    assert_int_equal(put(fixture, "y", "1"), PN_EIO);
    submit(fixture, &must, &done);
    store_leveldb_free(&fixture->store);
    mend_disk();
    test_loop_wait(&fixture->loop, &done, 1);
    assert_int_equal(must.status, PN_EIO);
    open_store(fixture);
    expect(fixture, "x", "1");
    expect(fixture, "y", NULL);
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
    await(&homeless.answered);
    assert_int_equal(homeless.write.status, 0);
    break_disk();
    assert_int_equal(put(fixture, "y", "1"), PN_EIO);
    store_submit(fixture->store, &homeless.write);
    await(&homeless.answered);
    assert_int_equal(homeless.write.status, PN_EIO);
    mend_disk();
    sem_destroy(&homeless.answered);
}

/* ---- opening ----------------------------------------------------------------------------- */

static void test_keeps_a_second_one_out(void **state)
{
    struct fixture *fixture = *state;
    struct pn_err err;

    assert_null(store_leveldb_new(fixture->path, &options, &fixture->events, &err));
    assert_int_equal(err.code, PN_EEXIST);
    assert_non_null(strstr(err.text, "another posternd uses this spool"));
}

static void test_names_a_missing_directory(void **state)
{
    struct fixture *fixture = *state;
    struct pn_err err;

    assert_null(
        store_leveldb_new("/nonexistent/spool/store", &options, &fixture->events, &err));
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
    expect(fixture, "a", NULL);
    assert_int_equal(put(fixture, "a", "2"), 0);
    expect(fixture, "a", "2");
}

static void test_moves_a_broken_store_aside(void **state)
{
    struct fixture *fixture = *state;
    char path[700];

    assert_int_equal(put(fixture, "a", "1"), 0);
    store_leveldb_free(&fixture->store);
    write_file(fixture, "CURRENT", "");
    open_store(fixture);
    expect_moved_aside(fixture, 1);

    /* Without CURRENT LevelDB would count the directory as new, and delete the tables. */
    store_leveldb_free(&fixture->store);
    (void)snprintf(path, sizeof path, "%s/CURRENT", fixture->path);
    assert_int_equal(unlink(path), 0);
    open_store(fixture);
    expect_moved_aside(fixture, 2);
}

static void test_repairs_a_copy(void **state)
{
    struct fixture *fixture = *state;
    char broken[700], repaired[700];
    struct pn_err err;

    assert_int_equal(put(fixture, "a", "1"), 0);
    store_leveldb_free(&fixture->store);
    write_file(fixture, "CURRENT", "");
    open_store(fixture);
    store_leveldb_free(&fixture->store);
    (void)snprintf(broken, sizeof broken, "%s.broken-1", fixture->path);
    (void)snprintf(repaired, sizeof repaired, "%s.repaired", fixture->path);
    assert_int_equal(store_leveldb_repair(broken, repaired, &err), 0);
    assert_int_equal(store_leveldb_repair(broken, repaired, &err), PN_EEXIST);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/store.repaired",
                   fixture->directory);
    open_store(fixture);
    expect(fixture, "a", "1");
}

/* A rotten block fails the reads that need it, and nothing else. */
static void test_a_rotten_block_fails_its_own_reads(void **state)
{
    struct fixture *fixture = *state;
    struct pn_buf found;
    char name[700];
    int fd;

    assert_int_equal(put(fixture, "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0);
    store_leveldb_free(&fixture->store);
    open_store(fixture); /* the log becomes the table 000005.ldb */
    store_leveldb_free(&fixture->store);
    (void)snprintf(name, sizeof name, "%s/000005.ldb", fixture->path);
    fd = open(name, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "!!!!", 4, 8), 4);
    close(fd);
    open_store(fixture);
    assert_int_equal(find(fixture, "a", &found), PN_ECORRUPT);
    pn_buf_fini(&found);
    assert_int_equal(put(fixture, "b", "1"), 0);
    expect(fixture, "b", "1");
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_and_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_sync_for_all_that_gathered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_has_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_sees_its_own_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lazy_writes_share_a_sync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_writes_what_is_lazy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_walks_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_requests_of_an_ended_loop_are_dropped, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_life_after_a_failed_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fails_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_while_failed_gives_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writes_without_a_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keeps_a_second_one_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_a_missing_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moves_a_broken_store_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repairs_a_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_rotten_block_fails_its_own_reads, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
