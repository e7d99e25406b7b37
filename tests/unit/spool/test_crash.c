/* links: store */
/* The spool on the real store: what was answered is there after a kill at any moment. */
#include "helper_fakes.h"
#include "helper_loop.h"

#include "postern/base/mem.h"
#include "postern/spool/spool.h"
#include "postern/store/leveldb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS     20
#define AT_ONCE    8
#define PER_ROUND  400
#define MAX_OCTETS (2 * SPOOL_CHUNK_OCTETS + 4096)

/* Every tenth message has three chunks. */
static size_t size_of(unsigned n)
{
    return n % 10 == 9 ? MAX_OCTETS - n % 4096 : 64 + n % 4096;
}

static char octet_of(unsigned n, size_t at)
{
    return (char)('!' + (n * 31u + at * 7u + at / 4096u) % 90u);
}

static struct pn_id id_of(unsigned n)
{
    struct pn_id id = {{1}};

    for (int i = 0; i < 4; i++) {
        id.octets[12 + i] = (uint8_t)(n >> (24 - 8 * i));
    }
    return id;
}

/* A spool on a LevelDB in a process of its own. */
struct process {
    struct test_loop loop;
    struct fake_files files;
    struct pn_log log;
    struct spool *spool;
    struct store *store;
};

static void start(struct process *process, const char *path)
{
    const struct store_options options = {.write_buffer_octets = 256u << 10,
                                          .cache_octets = 1u << 20,
                                          .max_open_files = 100,
                                          .sync = true,
                                          .apart = SPOOL_APART};
    struct spool_options spool_options = {.files = &process->files.port,
                                          .crypto = fake_crypto(),
                                          .path = path,
                                          .key_file = "",
                                          .log = &process->log};
    struct pn_err err;

    test_loop_init(&process->loop);
    fake_files_init(&process->files);
    pn_log_init(&process->log, NULL);
    process->spool = spool_new(&spool_options, &err);
    process->store =
        store_leveldb_new(path, &options, spool_store_events(process->spool), &err);
    if (!process->store) {
        (void)fprintf(stderr, "%s\n", err.text);
        _exit(10);
    }
    spool_attach(process->spool, process->store);
}

static void stop(struct process *process)
{
    store_leveldb_free(&process->store);
    spool_free(&process->spool);
    fake_files_fini(&process->files);
    test_loop_fini(&process->loop);
}

/* ---- the one that is killed -------------------------------------------------------------- */

struct sender {
    struct process *process;
    struct spool_draft *draft;
    int report; /* a pipe */
    unsigned n, last;
    size_t sent;
    size_t *done;
};

static void begin(struct sender *sender);

static void feed(struct sender *sender)
{
    static char text[SPOOL_CHUNK_OCTETS];
    size_t size = size_of(sender->n), room;

    while (sender->sent < size && (room = spool_draft_room(sender->draft)) > 0) {
        size_t len = size - sender->sent < room ? size - sender->sent : room;

        for (size_t i = 0; i < len; i++) {
            text[i] = octet_of(sender->n, sender->sent + i);
        }
        spool_draft_write(sender->draft, (struct pn_str){text, len});
        sender->sent += len;
    }
    if (sender->sent == size && spool_draft_get_state(sender->draft) == SPOOL_DRAFT_OPEN) {
        const struct mail_recipient to = {.address = PN_STR("b@example.net")};
        const struct spool_new_job job = {.queue = PN_STR("example.net"),
                                          .recipients = &to,
                                          .recipient_count = 1,
                                          .due_ms = 5};

        spool_draft_store(sender->draft, &(struct mail_envelope){0}, 5, &job, 1);
    }
}

static void on_event(void *owner)
{
    struct sender *sender = owner;

    switch (spool_draft_get_state(sender->draft)) {
    case SPOOL_DRAFT_OPEN:
        feed(sender);
        break;
    case SPOOL_DRAFT_STORED:
        if (write(sender->report, &sender->n, sizeof sender->n) != sizeof sender->n) {
            _exit(11);
        }
        spool_draft_free(&sender->draft);
        sender->n += AT_ONCE;
        begin(sender);
        break;
    case SPOOL_DRAFT_STORING:
        break;
    case SPOOL_DRAFT_FAILED:
        _exit(12);
    }
}

static void begin(struct sender *sender)
{
    struct pn_id id = id_of(sender->n);

    if (sender->n >= sender->last) {
        ++*sender->done;
        return;
    }
    sender->sent = 0;
    sender->draft = spool_draft_new(sender->process->spool, &sender->process->loop.port, &id,
                                    on_event, sender);
    feed(sender);
}

static void send_until_killed(const char *path, int report, unsigned first)
{
    struct process process;
    struct sender senders[AT_ONCE];
    size_t done = 0;

    start(&process, path);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        senders[i] = (struct sender){.process = &process,
                                     .report = report,
                                     .n = first + i,
                                     .last = first + PER_ROUND,
                                     .done = &done};
        begin(&senders[i]);
    }
    test_loop_wait(&process.loop, &done, AT_ONCE);
    _exit(0);
}

/* ---- the one that looks ------------------------------------------------------------------ */

struct look {
    struct process *process;
    unsigned n;
    size_t done;
    int status;
    uint32_t chunks;
};

static void compare(struct look *look, uint32_t chunk, struct pn_str text)
{
    size_t from = (size_t)chunk * SPOOL_CHUNK_OCTETS;
    size_t len = size_of(look->n) - from;

    len = len < SPOOL_CHUNK_OCTETS ? len : SPOOL_CHUNK_OCTETS;
    if (text.len != len) {
        look->status = PN_EINVAL;
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (text.ptr[i] != octet_of(look->n, from + i)) {
            look->status = PN_EINVAL;
        }
    }
}

static void on_load(void *owner, struct spool_message *messages)
{
    struct look *look = owner;

    look->done = 1;
    look->status = messages->status;
    look->chunks = messages->envelope.chunks;
    if (look->status == 0) {
        compare(look, 0, messages->text);
    }
    spool_message_free(&messages);
}

static void on_chunk(void *owner, int status, uint32_t number, struct pn_str text)
{
    struct look *look = owner;

    look->done = 1;
    look->status = status;
    if (status == 0) {
        compare(look, number, text);
    }
}

static int look_at(struct process *process, unsigned n)
{
    struct look look = {.process = process, .n = n};
    struct pn_id id = id_of(n);
    const struct spool_job_key key = {PN_STR("example.net"), 5, id};

    spool_load(process->spool, &process->loop.port, &key, 1, on_load, &look);
    test_loop_wait(&process->loop, &look.done, 1);
    for (uint32_t i = 1; look.status == 0 && i < look.chunks; i++) {
        look.done = 0;
        spool_read_chunk(process->spool, &process->loop.port, &id, i, on_chunk, &look);
        test_loop_wait(&process->loop, &look.done, 1);
    }
    return look.status;
}

struct count {
    size_t done;
    uint64_t jobs;
};

static void on_counts(void *owner, int status, const struct spool_queue_count *counts,
                      size_t count)
{
    struct count *total = owner;

    total->done = 1;
    total->jobs = status == 0 && count == 1 ? counts[0].jobs : 0;
}

/* Exits with 0 when all that was reported is there and intact, and the counters are true. */
static void look_at_all(const char *path, const unsigned *reported, size_t count,
                        unsigned first, unsigned last)
{
    struct process process;
    struct count counters = {0};
    uint64_t there = 0;

    start(&process, path);
    for (size_t i = 0; i < count; i++) {
        if (look_at(&process, reported[i]) != 0) {
            (void)fprintf(stderr, "message %u was answered and is not there\n", reported[i]);
            _exit(20);
        }
    }
    /* What was not reported is there whole, or not at all. */
    for (unsigned n = first; n < last; n++) {
        int status = look_at(&process, n);

        if (status != 0 && status != PN_ENOENT) {
            (void)fprintf(stderr, "message %u is there in part: %d\n", n, status);
            _exit(21);
        }
        there += status == 0;
    }
    spool_read_counts(process.spool, &process.loop.port, on_counts, &counters);
    test_loop_wait(&process.loop, &counters.done, 1);
    if (counters.jobs != there) {
        (void)fprintf(stderr, "%llu jobs are counted, %llu are there\n",
                      (unsigned long long)counters.jobs, (unsigned long long)there);
        _exit(22);
    }
    stop(&process);
    _exit(0);
}

static int wait_for(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0) {
    }
    return status;
}

/* This process never starts a thread, so that it may fork as often as it likes. */
static void test_survives_kill(void **state)
{
    unsigned *reported = pn_alloc_array((size_t)ROUNDS * PER_ROUND, sizeof *reported);
    size_t count = 0;
    char path[512];

    (void)state;
    test_directory_make(path);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned first = round * PER_ROUND, wanted = 1 + round * 37 % 150;
        int pipes[2];
        pid_t child;

        assert_int_equal(pipe(pipes), 0);
        child = fork();
        if (child == 0) {
            close(pipes[0]);
            send_until_killed(path, pipes[1], first);
        }
        close(pipes[1]);
        while (wanted-- > 0 &&
               read(pipes[0], &reported[count], sizeof *reported) == sizeof *reported) {
            count++;
        }
        kill(child, SIGKILL);
        /* What it still said before it died counts too. */
        while (read(pipes[0], &reported[count], sizeof *reported) == sizeof *reported) {
            count++;
        }
        close(pipes[0]);
        (void)wait_for(child);
        if (round % 5 == 4) {
            child = fork();
            if (child == 0) {
                look_at_all(path, reported, count, 0, first + PER_ROUND);
            }
            assert_int_equal(wait_for(child), 0);
        }
    }
    assert_true(count >= ROUNDS);
    test_directory_remove(path);
    free(reported);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_survives_kill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
