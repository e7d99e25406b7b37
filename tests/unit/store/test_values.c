/* Long values of `apart` keys: where they lie, what is durable when, what comes back to the
 * disk. */
#include "helper_store.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LONG_OCTETS (32u << 10) /* alone in a batch it is worth a value file */
#define FILE_OCTETS (1u << 20)
#define CUTS        60

/* ---- what reaches the disk ----------------------------------------------------------------
 */

/*
 * The store's calls go through these. A value file whose octets were not synced when LevelDB
 * syncs its log would have pointers that are durable before their values. The thread that
 * writes value files also writes the log; what LevelDB's own thread syncs is its affair.
 */
static _Thread_local bool is_writer;
static _Thread_local int unsynced_fd = -1;
static size_t value_syncs, log_syncs, too_early;
static bool syncs_fail; /* of value files */
static void (*after_sync)(void);

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    is_writer = true;
    unsynced_fd = fd;
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

int fdatasync(int fd)
{
    int rc;

    if (fd == unsynced_fd && syncs_fail) {
        errno = EIO;
        return -1;
    }
    rc = (int)syscall(SYS_fdatasync, fd);
    if (!is_writer) {
        return rc;
    }
    if (fd == unsynced_fd) {
        unsynced_fd = -1;
        value_syncs++;
    } else {
        log_syncs++;
        too_early += unsynced_fd >= 0;
    }
    if (after_sync) {
        after_sync();
    }
    return rc;
}

/* ---- values -------------------------------------------------------------------------------
 */

/* The octets that belong to a key; they do not compress. */
static char *text_of(const char *key, size_t octets)
{
    char *text = pn_alloc(octets + 1);
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; key[i]; i++) {
        seed = seed * 31 + (uint8_t)key[i];
    }
    for (size_t i = 0; i < octets; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        text[i] = (char)('!' + seed % 90);
    }
    return text;
}

static int put_text(struct fixture *fixture, const char *key, size_t octets)
{
    char *text = text_of(key, octets);
    int rc = fixture_put(fixture, key, text);

    free(text);
    return rc;
}

static void expect_text(struct fixture *fixture, const char *key, size_t octets)
{
    char *text = text_of(key, octets);

    fixture_expect(fixture, key, text);
    free(text);
}

/* What the value files of the store hold, and take of the disk. */
struct usage {
    size_t files;
    int64_t octets, blocks;
    char name[300]; /* of one of them */
};

static struct usage usage_of(const struct fixture *fixture)
{
    DIR *directory = opendir(fixture->path);
    struct usage usage = {0};
    struct dirent *entry;

    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        struct stat info;

        if (pn_str_ends(pn_str_z(entry->d_name), PN_STR(".values")) &&
            fstatat(dirfd(directory), entry->d_name, &info, 0) == 0) {
            usage.files++;
            usage.octets += info.st_size;
            usage.blocks += info.st_blocks * 512;
            (void)snprintf(usage.name, sizeof usage.name, "%s", entry->d_name);
        }
    }
    closedir(directory);
    return usage;
}

/* The reader's thread gives back in its own time; the newest file stays, empty. */
static void wait_for_files(const struct fixture *fixture, size_t files, int64_t blocks)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    struct usage usage;

    for (int i = 0; i < 2000; i++) {
        usage = usage_of(fixture);
        if (usage.files <= files && usage.blocks <= blocks) {
            return;
        }
        nanosleep(&moment, NULL);
    }
    fail_msg("%zu value files with %lld octets of blocks are left", usage.files,
             (long long)usage.blocks);
}

static void open_again(struct fixture *fixture)
{
    store_leveldb_free(&fixture->store);
    fixture_open(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture;

    fixture_set_up(state);
    fixture = *state;
    fixture->options.apart = PN_STR("b");
    value_syncs = log_syncs = too_early = 0;
    syncs_fail = false;
    after_sync = NULL;
    open_again(fixture);
    return 0;
}

static void test_small_batches_have_one_sync(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before = fixture->store->ops->syncs(fixture->store);

    assert_int_equal(put_text(fixture, "b1", 2000), 0);
    assert_int_equal(fixture->store->ops->syncs(fixture->store) - before, 1);
    assert_int_equal(usage_of(fixture).files, 0);
    expect_text(fixture, "b1", 2000);
}

static void test_long_values_lie_apart(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before = fixture->store->ops->syncs(fixture->store);

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    assert_int_equal(fixture->store->ops->syncs(fixture->store) - before, 2);
    assert_int_equal(put_text(fixture, "c1", LONG_OCTETS), 0); /* no such key */
    assert_int_equal(usage_of(fixture).octets, LONG_OCTETS);
    open_again(fixture);
    assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), 0);
    assert_int_equal(usage_of(fixture).files, 2); /* the older one is not touched */
    expect_text(fixture, "b1", LONG_OCTETS);
    expect_text(fixture, "b2", LONG_OCTETS);
    expect_text(fixture, "c1", LONG_OCTETS);
    assert_int_equal(fixture->reopened, 0);
}

/* Many that are each too short for a file of their own go into one together. */
static void test_a_group_shares_a_file(void **state)
{
    enum { COUNT = 40, OCTETS = 1000 };
    struct fixture *fixture = *state;
    struct change changes[COUNT] = {0};
    char keys[COUNT][8];
    char *texts[COUNT];
    size_t done = 0;
    struct gate gate;

    gate_close(fixture, &gate);
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "b%zu", i);
        texts[i] = text_of(keys[i], OCTETS);
        changes[i] =
            (struct change){.what = PUT, .key = pn_str_z(keys[i]), .value = {texts[i], OCTETS}};
        fixture_submit(fixture, &changes[i], &done);
    }
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, COUNT);
    assert_int_equal(usage_of(fixture).octets, COUNT * OCTETS);
    for (size_t i = 0; i < COUNT; i++) {
        fixture_expect(fixture, keys[i], texts[i]);
        free(texts[i]);
    }
}

static void test_a_put_and_its_end_in_one_batch(void **state)
{
    struct fixture *fixture = *state;
    char *text = text_of("b1", LONG_OCTETS);
    struct change changes[] = {{.what = PUT, .key = PN_STR("b1"), .value = {text, LONG_OCTETS}},
                               {.what = DEL, .key = PN_STR("b1")}};
    size_t done = 0;
    struct gate gate;

    gate_close(fixture, &gate);
    fixture_submit(fixture, &changes[0], &done);
    fixture_submit(fixture, &changes[1], &done);
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, 2);
    fixture_expect(fixture, "b1", NULL);
    assert_int_equal(usage_of(fixture).files, 0);
    free(text);
}

static void run_walk(struct store_read *read, struct store_view *view)
{
    size_t *found = (size_t *)(void *)(read + 1);
    struct pn_str key, value;

    store_view_seek(view, PN_STR("b"));
    for (; store_view_item(view, &key, &value); store_view_next(view)) {
        *found += value.len;
    }
}

static void on_walked(struct store_read *read)
{
    ++*((size_t *)(void *)(read + 1) + 1);
}

static void test_walks_over_values(void **state)
{
    struct fixture *fixture = *state;
    struct {
        struct store_read read;
        size_t found, done;
    } walk = {.read = {.run = run_walk, .on_done = on_walked, .loop = &fixture->loop.port}};

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    assert_int_equal(put_text(fixture, "b2", 100), 0);
    store_ask(fixture->store, &walk.read);
    test_loop_wait(&fixture->loop, &walk.done, 1);
    assert_int_equal(walk.found, LONG_OCTETS + 100);
}

/* "n" becomes the first octet of the value, and one. */
static int look_in_a_write(struct fixture *fixture, const char *key)
{
    struct change change = {.what = ADD, .key = pn_str_z(key), .to = PN_STR("n")};
    size_t done = 0;

    fixture_submit(fixture, &change, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    return change.status;
}

static void test_a_write_sees_values(void **state)
{
    static const size_t octets[] = {100, LONG_OCTETS};
    struct fixture *fixture = *state;
    char *text = text_of("b1", 1);

    text[0]++;
    for (size_t i = 0; i < PN_COUNT(octets); i++) {
        assert_int_equal(put_text(fixture, "b1", octets[i]), 0);
        assert_int_equal(look_in_a_write(fixture, "b1"), 0);
        fixture_expect(fixture, "n", text);
        assert_int_equal(fixture_del(fixture, "b1"), 0);
        assert_int_equal(fixture_del(fixture, "n"), 0);
    }
    free(text);
}

/* More of them than are open to be read. */
static void test_reads_from_many_files(void **state)
{
    enum { COUNT = 12 };
    struct fixture *fixture = *state;

    for (unsigned n = 0; n < COUNT; n++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%u", n);
        assert_int_equal(put_text(fixture, key, LONG_OCTETS), 0);
        open_again(fixture);
    }
    assert_int_equal(usage_of(fixture).files, COUNT);
    for (unsigned n = 0; n < 3 * COUNT; n++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%u", n * 5 % COUNT);
        expect_text(fixture, key, LONG_OCTETS);
    }
}

/* ---- durable first ------------------------------------------------------------------------
 */

static void test_values_are_synced_before_their_pointers(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 20; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%d", i);
        assert_int_equal(put_text(fixture, key, LONG_OCTETS), 0);
    }
    assert_int_equal(value_syncs, 20);
    assert_true(log_syncs >= 20);
    assert_int_equal(too_early, 0);
}

static void test_a_failed_sync_is_a_failed_write(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    fixture_await(&fixture->healed); /* the first opening, and the second */
    fixture_await(&fixture->healed);
    syncs_fail = true;
    assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), PN_EIO);
    syncs_fail = false;
    fixture_await(&fixture->healed);
    assert_non_null(strstr(fixture->reason, ".values: Input/output error"));
    assert_int_equal(put_text(fixture, "b3", LONG_OCTETS), 0);
    expect_text(fixture, "b1", LONG_OCTETS);
    fixture_expect(fixture, "b2", NULL);
    expect_text(fixture, "b3", LONG_OCTETS);
    assert_int_equal(usage_of(fixture).files, 2); /* nothing more goes into the first */
}

static void test_a_failed_append_is_a_failed_write(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    for (int round = 0; round < 3; round++) {
        fixture_await(&fixture->healed);
        break_disk();
        assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), PN_EIO);
        mend_disk();
        while (store_get_state(fixture->store) != STORE_OPEN) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        expect_text(fixture, "b1", LONG_OCTETS);
    }
    assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), 0);
    expect_text(fixture, "b2", LONG_OCTETS);
}

/*
 * Power is cut between two syncs: what a file held at its own last sync is there, the rest is
 * lost. Copies of the directory as a cut leaves it are made in the middle of writes.
 */
static struct {
    struct fixture *fixture;
    struct {
        char name[300];
        off_t synced;
    } files[32];
    size_t count;
    unsigned syncs, copies;
    unsigned acknowledged[CUTS]; /* writes that had been answered before the copy was made */
    unsigned answered;
} cut;

static off_t synced_octets(const char *name)
{
    for (size_t i = 0; i < cut.count; i++) {
        if (strcmp(cut.files[i].name, name) == 0) {
            return cut.files[i].synced;
        }
    }
    return 0;
}

/* The value files, or all others, have reached the disk as they are now. */
static void note_synced(bool values)
{
    DIR *directory = opendir(cut.fixture->path);
    struct dirent *entry;

    while ((entry = readdir(directory))) {
        struct stat info;
        size_t i = 0;

        if (values != pn_str_ends(pn_str_z(entry->d_name), PN_STR(".values"))) {
            continue;
        }
        assert_int_equal(fstatat(dirfd(directory), entry->d_name, &info, 0), 0);
        while (i < cut.count && strcmp(cut.files[i].name, entry->d_name) != 0) {
            i++;
        }
        assert_true(i < PN_COUNT(cut.files));
        cut.count = i == cut.count ? i + 1 : cut.count;
        (void)snprintf(cut.files[i].name, sizeof cut.files[i].name, "%s", entry->d_name);
        cut.files[i].synced = info.st_size;
    }
    closedir(directory);
}

static void copy_part(int from, int to, const char *name)
{
    int in = openat(from, name, O_RDONLY), out = openat(to, name, O_WRONLY | O_CREAT, 0600);
    off_t left = synced_octets(name);
    char piece[65536];

    assert_true(in >= 0 && out >= 0);
    while (left > 0) {
        ssize_t got = read(in, piece, left < (off_t)sizeof piece ? (size_t)left : sizeof piece);

        assert_true(got > 0);
        assert_int_equal(write(out, piece, (size_t)got), got);
        left -= got;
    }
    close(in);
    close(out);
}

static void copy_as_cut(void)
{
    char path[700];
    struct dirent *entry;
    DIR *directory = opendir(cut.fixture->path);
    int to;

    (void)snprintf(path, sizeof path, "%s.cut-%u", cut.fixture->path, cut.copies);
    assert_int_equal(mkdir(path, 0700), 0);
    to = open(path, O_RDONLY | O_DIRECTORY);
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] != '.') {
            copy_part(dirfd(directory), to, entry->d_name);
        }
    }
    close(to);
    closedir(directory);
    cut.acknowledged[cut.copies++] = cut.answered;
}

/* On the writer's thread, behind each of its syncs. */
static void on_sync(void)
{
    if (cut.copies < CUTS) {
        note_synced(log_syncs == cut.syncs);
        cut.syncs = (unsigned)log_syncs;
        copy_as_cut();
    }
}

static void test_cut_power_loses_nothing_that_was_answered(void **state)
{
    struct fixture *fixture = *state;
    char path[600];

    cut.fixture = fixture;
    cut.count = cut.syncs = cut.copies = cut.answered = 0;
    note_synced(false);
    cut.syncs = (unsigned)log_syncs;
    after_sync = on_sync;
    for (unsigned n = 0; n < CUTS / 2; n++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%u", n);
        assert_int_equal(put_text(fixture, key, LONG_OCTETS), 0);
        cut.answered = n + 1;
    }
    after_sync = NULL;
    assert_int_equal(cut.copies, CUTS);
    memcpy(path, fixture->path, sizeof path);
    for (unsigned i = 0; i < CUTS; i++) {
        store_leveldb_free(&fixture->store);
        (void)snprintf(fixture->path, sizeof fixture->path, "%.500s.cut-%u", path, i);
        fixture_open(fixture);
        for (unsigned n = 0; n < CUTS / 2; n++) {
            char key[16];
            struct pn_buf found;
            int rc;

            (void)snprintf(key, sizeof key, "b%u", n);
            rc = fixture_find(fixture, key, &found);
            pn_buf_fini(&found);
            assert_int_equal(rc, n < cut.acknowledged[i] || rc == 1);
            if (rc == 1) {
                expect_text(fixture, key, LONG_OCTETS);
            }
        }
    }
    assert_int_equal(fixture->reopened, 0);
}

/* ---- giving back --------------------------------------------------------------------------
 */

static void key_of(unsigned n, char out[16])
{
    (void)snprintf(out, 16, "b%05u", n);
}

static void put_many(struct fixture *fixture, unsigned from, unsigned to)
{
    for (unsigned n = from; n < to; n++) {
        char key[16];

        key_of(n, key);
        assert_int_equal(put_text(fixture, key, LONG_OCTETS), 0);
    }
}

static void del_many(struct fixture *fixture, unsigned from, unsigned to, unsigned step)
{
    for (unsigned n = from; n < to; n += step) {
        char key[16];

        key_of(n, key);
        assert_int_equal(fixture_del(fixture, key), 0);
    }
}

static void test_dead_files_go_away(void **state)
{
    struct fixture *fixture = *state;

    put_many(fixture, 0, 100);
    assert_int_equal(usage_of(fixture).files, 100 * LONG_OCTETS / FILE_OCTETS + 1);
    del_many(fixture, 0, 100, 1);
    wait_for_files(fixture, 1, FILE_OCTETS); /* the one that is written */
    open_again(fixture);
    wait_for_files(fixture, 1, 0);
    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    wait_for_files(fixture, 1, LONG_OCTETS);
}

struct halt {
    struct store_read read;
    sem_t inside, go;
    size_t done;
};

static void run_halt(struct store_read *read, struct store_view *view)
{
    struct halt *halt = PN_CONTAINER(read, struct halt, read);

    (void)view;
    sem_post(&halt->inside);
    sem_wait(&halt->go);
}

static void on_halted(struct store_read *read)
{
    PN_CONTAINER(read, struct halt, read)->done++;
}

/*
 * What was there before the opening is counted, piece by piece. The reader's thread is held
 * after one piece at the most, and everything ends before it goes on.
 */
static void test_files_of_before_go_away(void **state)
{
    enum { COUNT = 9000, OCTETS = 50 };
    struct fixture *fixture = *state;
    struct change *changes = pn_alloc_array(COUNT, sizeof *changes);
    char(*keys)[16] = pn_alloc_array(COUNT, sizeof *keys);
    struct halt halt = {.read = {.run = run_halt, .on_done = on_halted}};
    char text[OCTETS] = "value";
    size_t done = 0;
    struct gate gate;

    gate_close(fixture, &gate);
    for (unsigned n = 0; n < COUNT; n++) {
        key_of(n, keys[n]);
        changes[n] =
            (struct change){.what = PUT, .key = pn_str_z(keys[n]), .value = {text, OCTETS}};
        fixture_submit(fixture, &changes[n], &done);
    }
    gate_open(&gate);
    test_loop_wait(&fixture->loop, &done, COUNT);
    assert_int_equal(usage_of(fixture).files, 1);
    open_again(fixture);
    sem_init(&halt.inside, 0, 0);
    sem_init(&halt.go, 0, 0);
    halt.read.loop = &fixture->loop.port;
    store_ask(fixture->store, &halt.read);
    fixture_await(&halt.inside);
    for (unsigned n = 0; n < COUNT; n++) {
        changes[n] = (struct change){.what = DEL, .key = pn_str_z(keys[n])};
        fixture_submit(fixture, &changes[n], &done);
    }
    test_loop_wait(&fixture->loop, &done, (size_t)2 * COUNT);
    assert_int_equal(usage_of(fixture).files, 1);
    sem_post(&halt.go);
    test_loop_wait(&fixture->loop, &halt.done, 1);
    wait_for_files(fixture, 1, 0);
    free(changes);
    free(keys);
}

static void test_half_dead_files_get_holes(void **state)
{
    struct fixture *fixture = *state;

    put_many(fixture, 0, 100);
    for (unsigned n = 0; n < 100; n++) {
        if (n % 4 != 1) {
            del_many(fixture, n, n + 1, 1);
        }
    }
    /* A quarter is alive; of the file that is written nothing is given back yet. */
    wait_for_files(fixture, 4, 100 * LONG_OCTETS / 4 + FILE_OCTETS);
    for (unsigned n = 1; n < 100; n += 4) {
        char key[16];

        key_of(n, key);
        expect_text(fixture, key, LONG_OCTETS);
    }
    open_again(fixture);
    for (unsigned n = 1; n < 100; n += 4) {
        char key[16];

        key_of(n, key);
        expect_text(fixture, key, LONG_OCTETS);
    }
    del_many(fixture, 1, 100, 4);
    wait_for_files(fixture, 1, 0);
}

/* Whatever comes and goes, and however often it is opened: what lives is as it was. */
static void test_what_lives_is_kept(void **state)
{
    enum { KEYS = 150, STEPS = 1200 };
    struct fixture *fixture = *state;
    size_t lengths[KEYS] = {0};
    unsigned seed = 7;

    for (unsigned step = 0; step < STEPS; step++) {
        char key[16];
        unsigned n;

        seed = seed * 1103515245u + 12345u;
        n = (seed >> 8) % KEYS;
        key_of(n, key);
        if (lengths[n] > 0) {
            expect_text(fixture, key, lengths[n]);
            assert_int_equal(fixture_del(fixture, key), 0);
            lengths[n] = 0;
        } else {
            lengths[n] = 10 + (seed >> 4) % 40000;
            assert_int_equal(put_text(fixture, key, lengths[n]), 0);
        }
        if (step % 200 == 199) {
            open_again(fixture);
        }
    }
    for (unsigned n = 0; n < KEYS; n++) {
        char key[16];

        key_of(n, key);
        if (lengths[n] > 0) {
            expect_text(fixture, key, lengths[n]);
        } else {
            fixture_expect(fixture, key, NULL);
        }
    }
    del_many(fixture, 0, KEYS, 1);
    open_again(fixture);
    wait_for_files(fixture, 1, 0);
    assert_int_equal(fixture->reopened, 0);
}

/* ---- damage -------------------------------------------------------------------------------
 */

static void test_a_lost_file_fails_its_own_reads(void **state)
{
    struct fixture *fixture = *state;
    struct pn_buf found;
    char name[1000];

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    (void)snprintf(name, sizeof name, "%s/%s", fixture->path, usage_of(fixture).name);
    open_again(fixture);
    assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), 0);
    assert_int_equal(truncate(name, LONG_OCTETS - 1), 0);
    assert_int_equal(fixture_find(fixture, "b1", &found), PN_ECORRUPT);
    pn_buf_fini(&found);
    assert_int_equal(unlink(name), 0);
    open_again(fixture);
    assert_int_equal(fixture_find(fixture, "b1", &found), PN_ECORRUPT);
    pn_buf_fini(&found);
    expect_text(fixture, "b2", LONG_OCTETS);
    assert_int_equal(fixture_del(fixture, "b1"), 0);
    fixture_expect(fixture, "b1", NULL);
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
}

/* For a write it is as if it had never been there. */
static void test_a_lost_file_under_a_write(void **state)
{
    struct fixture *fixture = *state;
    char name[1000];

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    (void)snprintf(name, sizeof name, "%s/%s", fixture->path, usage_of(fixture).name);
    open_again(fixture);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(look_in_a_write(fixture, "b1"), 0);
    fixture_expect(fixture, "n", "1");
    assert_int_equal(fixture->reopened, 0);
}

/* No descriptor is left: that is nobody's damage, and soon over. */
static void test_a_file_that_cannot_be_opened_is_not_lost(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before, none;
    struct pn_buf found;

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    open_again(fixture);
    fixture_expect(fixture, "c1", NULL); /* what LevelDB needs is open */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){3, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(fixture_find(fixture, "b1", &found), PN_EIO);
    pn_buf_fini(&found);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 4; i++) {
        fixture_await(&fixture->healed); /* three openings, and now */
    }
    expect_text(fixture, "b1", LONG_OCTETS);
    /* The same of a write that looks at it, and of one that begins a file. */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(look_in_a_write(fixture, "b1"), PN_EIO);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    fixture_await(&fixture->healed);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(put_text(fixture, "b2", LONG_OCTETS), PN_EIO);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    fixture_await(&fixture->healed);
    expect_text(fixture, "b1", LONG_OCTETS);
    fixture_expect(fixture, "b2", NULL);
}

/* Tables lost, values there: an empty LevelDB beside them would be the death of them. */
static void test_values_alone_are_moved_aside(void **state)
{
    struct fixture *fixture = *state;
    struct dirent *entry;
    char path[1100];
    struct stat info;
    DIR *directory;

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    (void)snprintf(path, sizeof path, "%s.broken-1/%s", fixture->path, usage_of(fixture).name);
    store_leveldb_free(&fixture->store);
    directory = opendir(fixture->path);
    while ((entry = readdir(directory))) {
        if (!pn_str_ends(pn_str_z(entry->d_name), PN_STR(".values"))) {
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    closedir(directory);
    fixture_open(fixture);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, LONG_OCTETS);
    fixture_expect(fixture, "b1", NULL);
}

/* Opened without checksums, nothing is given back: what cannot be read may point anywhere. */
static void test_a_doubtful_store_gives_nothing_back(void **state)
{
    static const char rotten[] = {1, 2, 3, 4, 1, 0, 1, 'x'}; /* not the checksum of "x" */
    struct fixture *fixture = *state;
    char name[700];
    FILE *log;

    put_many(fixture, 0, 40);
    store_leveldb_free(&fixture->store);
    /* A log with a rotten record: paranoid checks refuse it, others step over it. */
    (void)snprintf(name, sizeof name, "%s/000099.log", fixture->path);
    log = fopen(name, "w");
    assert_non_null(log);
    assert_int_equal(fwrite(rotten, 1, sizeof rotten, log), sizeof rotten);
    assert_int_equal(fclose(log), 0);
    fixture_open(fixture);
    assert_int_equal(fixture->reopened, 1);
    assert_non_null(strstr(fixture->reason, "opens only without checks"));
    del_many(fixture, 0, 40, 1);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    assert_int_equal(usage_of(fixture).octets, 40 * LONG_OCTETS);
    open_again(fixture); /* LevelDB has dropped the rotten log */
    wait_for_files(fixture, 1, 0);
}

/* The same when it is found later that a pointer cannot be read. */
static void test_a_rotten_table_gives_nothing_back(void **state)
{
    struct fixture *fixture = *state;

    put_many(fixture, 0, 40);
    open_again(fixture); /* the log becomes a table */
    put_many(fixture, 40, 80);
    store_leveldb_free(&fixture->store);
    fixture_spoil(fixture, "000007.ldb");
    fixture_open(fixture);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    del_many(fixture, 40, 80, 1);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    assert_int_equal(usage_of(fixture).octets, 80 * LONG_OCTETS);
    assert_int_equal(store_get_state(fixture->store), STORE_OPEN);
    assert_int_equal(put_text(fixture, "c1", 100), 0);
}

/*
 * A log that lost the end of a key has it back, and what it points to is gone: a file whose
 * number a new one has. Its second end must cost the new file nothing, although by count
 * nothing is left of that.
 */
static void test_what_came_back_ends_nothing_else(void **state)
{
    static const char pointer[] = {(char)0xa7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x10, 0, 0};
    enum { A_FILE = FILE_OCTETS / LONG_OCTETS };
    struct fixture *fixture = *state;
    struct change change = {
        .what = PUT, .key = PN_STR("b9"), .value = {pointer, sizeof pointer}};
    size_t done = 0;

    put_many(fixture, 0, 1);
    open_again(fixture);
    put_many(fixture, 1, 2);
    del_many(fixture, 1, 2, 1);
    open_again(fixture);
    wait_for_files(fixture, 2, LONG_OCTETS); /* the second is dead */
    fixture->options.apart = PN_STR("");
    open_again(fixture);
    fixture_submit(fixture, &change, &done);
    test_loop_wait(&fixture->loop, &done, 1);
    fixture->options.apart = PN_STR("b");
    open_again(fixture);
    wait_for_files(fixture, 2, LONG_OCTETS);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* all is counted */
    put_many(fixture, 1, 1 + A_FILE);
    assert_int_equal(fixture_del(fixture, "b9"), 0);
    put_many(fixture, 1 + A_FILE, 2 + A_FILE); /* the file before is full */
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    for (unsigned n = 0; n < 2 + A_FILE; n++) {
        char key[16];

        key_of(n, key);
        expect_text(fixture, key, LONG_OCTETS);
    }
    open_again(fixture);
    del_many(fixture, 0, 2 + A_FILE, 1);
    wait_for_files(fixture, 1, 0);
}

static void test_a_repaired_copy_has_its_values(void **state)
{
    struct fixture *fixture = *state;
    char copy[700];
    struct pn_err err;

    assert_int_equal(put_text(fixture, "b1", LONG_OCTETS), 0);
    store_leveldb_free(&fixture->store);
    (void)snprintf(copy, sizeof copy, "%.500s.repaired", fixture->path);
    assert_int_equal(store_leveldb_repair(fixture->path, copy, &err), 0);
    (void)snprintf(fixture->path, sizeof fixture->path, "%.590s", copy);
    fixture_open(fixture);
    expect_text(fixture, "b1", LONG_OCTETS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_batches_have_one_sync),
        TEST(test_long_values_lie_apart),
        TEST(test_a_group_shares_a_file),
        TEST(test_a_put_and_its_end_in_one_batch),
        TEST(test_walks_over_values),
        TEST(test_a_write_sees_values),
        TEST(test_reads_from_many_files),
        TEST(test_values_are_synced_before_their_pointers),
        TEST(test_a_failed_sync_is_a_failed_write),
        TEST(test_a_failed_append_is_a_failed_write),
        TEST(test_cut_power_loses_nothing_that_was_answered),
        TEST(test_dead_files_go_away),
        TEST(test_files_of_before_go_away),
        TEST(test_half_dead_files_get_holes),
        TEST(test_what_lives_is_kept),
        TEST(test_a_lost_file_fails_its_own_reads),
        TEST(test_a_lost_file_under_a_write),
        TEST(test_a_file_that_cannot_be_opened_is_not_lost),
        TEST(test_values_alone_are_moved_aside),
        TEST(test_a_doubtful_store_gives_nothing_back),
        TEST(test_a_rotten_table_gives_nothing_back),
        TEST(test_what_came_back_ends_nothing_else),
        TEST(test_a_repaired_copy_has_its_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
