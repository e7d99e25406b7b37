/* helper_store.c - a store in a directory of its own. */
#include "helper_store.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

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

static const struct store_options plain_options = {.write_buffer_octets = 1u << 20,
                                                   .cache_octets = 1u << 20,
                                                   .max_open_files = 100,
                                                   .ballast = true,
                                                   .sync = true};

void fixture_open(struct fixture *fixture)
{
    struct pn_err err;

    fixture->store =
        store_leveldb_new(fixture->path, &fixture->options, &fixture->events, &err);
    if (!fixture->store) {
        fail_msg("%s", err.text);
    }
}

int fixture_set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);

    test_directory_make(fixture->directory);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/store", fixture->directory);
    test_loop_init(&fixture->loop);
    sem_init(&fixture->healed, 0, 0);
    fixture->options = plain_options;
    fixture->events = (struct store_events){fixture, on_heal, on_batch, on_state};
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;

    store_leveldb_free(&fixture->store);
    test_loop_fini(&fixture->loop);
    sem_destroy(&fixture->healed);
    test_directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

static void apply_change(struct store_write *write, struct store_batch *batch)
{
    struct change *change = PN_CONTAINER(write, struct change, write);
    struct pn_buf old;

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
        change->digit = '0';
        if (store_batch_get(batch, change->key, &old)) {
            change->digit = pn_buf_str(&old).ptr[0];
        }
        change->digit++;
        store_batch_put(batch, change->to.len > 0 ? change->to : change->key,
                        (struct pn_str){&change->digit, 1});
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

void fixture_submit(struct fixture *fixture, struct change *change, size_t *done)
{
    change->write.apply = apply_change;
    change->write.on_done = on_changed;
    if (!change->write.loop) {
        change->write.loop = &fixture->loop.port;
    }
    change->done = done;
    change->status = 1;
    store_submit(fixture->store, &change->write);
}

int fixture_put(struct fixture *fixture, const char *key, const char *value)
{
    struct change change = {.what = PUT, .key = pn_str_z(key), .value = pn_str_z(value)};
    size_t done = 0;

    fixture_submit(fixture, &change, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    return change.status;
}

int fixture_del(struct fixture *fixture, const char *key)
{
    struct change change = {.what = DEL, .key = pn_str_z(key)};
    size_t done = 0;

    fixture_submit(fixture, &change, &done);
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

int fixture_find(struct fixture *fixture, const char *key, struct pn_buf *out)
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

void fixture_expect(struct fixture *fixture, const char *key, const char *value)
{
    struct pn_buf found;
    int rc = fixture_find(fixture, key, &found);

    assert_int_equal(rc, value ? 1 : 0);
    if (value) {
        assert_true(pn_str_eq(pn_buf_str(&found), pn_str_z(value)));
    }
    pn_buf_fini(&found);
}

void fixture_spoil(const struct fixture *fixture, const char *table)
{
    char name[700];
    int fd;

    (void)snprintf(name, sizeof name, "%s/%s", fixture->path, table);
    fd = open(name, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "!!!!", 4, 8), 4);
    close(fd);
}

void gate_close(struct fixture *fixture, struct gate *gate)
{
    *gate = (struct gate){.change = {.what = WAIT}};
    sem_init(&gate->inside, 0, 0);
    sem_init(&gate->go, 0, 0);
    gate->change.inside = &gate->inside;
    gate->change.go = &gate->go;
    fixture_submit(fixture, &gate->change, &gate->done);
    sem_wait(&gate->inside);
}

void gate_open(struct gate *gate)
{
    sem_post(&gate->go);
}

void break_disk(void)
{
    struct rlimit limit = {1, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

void mend_disk(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

void fixture_await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0) {
    }
}
