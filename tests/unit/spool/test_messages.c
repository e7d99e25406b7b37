/* What the spool promises of messages: they are there whole, or not at all, until they end. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include "records_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#define CHUNK SPOOL_CHUNK_OCTETS
#define ONE   ((const char *const[]){"q", NULL})
#define TWO   ((const char *const[]){"q", "r", NULL})

static int set_up(void **state)
{
    *state = world_new(false);
    return 0;
}

static int set_up_encrypted(void **state)
{
    *state = world_new(true);
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static void test_sizes(void **state)
{
    static const size_t rows[] = {0,         1,         4096,          CHUNK - 1,     CHUNK,
                                  CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 77};
    struct world *world = *state;

    for (unsigned i = 0; i < PN_COUNT(rows); i++) {
        world_store(world, i, rows[i], ONE, 5);
        assert_int_equal(world->status, 0);
    }
    for (unsigned i = 0; i < PN_COUNT(rows); i++) {
        assert_int_equal(world_load(world, i, "q", 5, rows[i]), 0);
        world_settle(world, i, "q", 5, NULL, 0, NULL);
        assert_int_equal(world_load(world, i, "q", 5, rows[i]), PN_ENOENT);
    }
    assert_string_equal(world_records(world), "");
}

static void test_one_batch_for_a_small_message(void **state)
{
    struct world *world = *state;
    uint64_t before = world->store.batches;

    world_store(world, 1, CHUNK, TWO, 5);
    assert_int_equal(world->store.batches - before, 1);
    assert_string_equal(world_records(world), "b1 c2 j2 m1");
    assert_string_equal(world_counts(world, "q"), "1/262144/0");
    assert_int_equal(world->notice_count, 2);
    assert_int_equal(world->notices[1].kind, SPOOL_JOB_ADDED);
    assert_string_equal(world->notices[1].queue, "r");
    assert_int_equal(world->notices[1].job.due_ms, 5);
    assert_int_equal(world->notices[1].job.recipients, 2);
    assert_int_equal(world->notices[1].job.arrival_ms, 1001);
}

static void test_a_loaded_message_has_it_all(void **state)
{
    struct world *world = *state;
    struct spool_message *message;

    world_store(world, 1, 10, TWO, 5);
    message = world_message(world, 1, "r", 5);
    assert_int_equal(message->status, 0);
    assert_true(pn_str_eq(message->queue, PN_STR("r")));
    assert_true(pn_str_eq(message->envelope.sender, PN_STR("sender@here.example")));
    assert_int_equal(message->envelope.arrival.ms, world->wall.ms);
    assert_int_equal(message->envelope.chunks, 1);
    assert_int_equal(message->job.size_octets, 10);
    assert_int_equal(message->recipient_count, 2);
    assert_true(pn_str_eq(message->recipients[1].address, PN_STR("b@r")));
    spool_message_free(&message);
}

static void on_event(void *owner)
{
    ++*(size_t *)owner;
}

static void test_a_draft_that_is_dropped_leaves_nothing(void **state)
{
    struct world *world = *state;

    for (int when = 0; when < 4; when++) {
        struct pn_id id = world_id(1);
        size_t events = 0;
        struct spool_draft *draft =
            spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

        spool_draft_write(draft, world_text(CHUNK));
        if (when > 0) {
            assert_int_equal(spool_draft_room(draft), CHUNK);
            spool_draft_write(draft, world_text(CHUNK)); /* now a chunk is under way */
            assert_int_equal(spool_draft_room(draft), 0);
        }
        if (when > 1) {
            world_run(world);
            assert_int_equal(events, 1);
            assert_int_equal(spool_draft_room(draft), CHUNK);
            assert_string_equal(world_records(world), "b1 p1");
        }
        if (when > 2) {
            const struct mail_recipient to = {.address = PN_STR("a@q")};
            const struct spool_new_job job = {
                .queue = PN_STR("q"), .recipients = &to, .recipient_count = 1};

            spool_draft_store(draft, &(struct mail_envelope){.id = id}, 1, &job, 1);
        }
        spool_draft_free(&draft);
        world_run(world);
        assert_string_equal(world_records(world), "");
        assert_int_equal(events, when > 1 ? 1 : 0);
    }
}

/* A chunk that may wait in memory is not written, and written in its order when it may not. */
static void test_a_draft_keeps_chunks(void **state)
{
    struct world *world = *state;
    struct pn_id id = world_id(1);
    size_t events = 0;
    const struct mail_recipient to = {.address = PN_STR("a@q")};
    const struct spool_new_job job = {
        .queue = PN_STR("q"), .recipients = &to, .recipient_count = 1};
    struct spool_draft *draft =
        spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

    spool_draft_keep(draft, 2);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(spool_draft_room(draft), CHUNK);
        spool_draft_write(draft, world_text(CHUNK));
    }
    world_run(world);
    assert_string_equal(world_records(world), "");
    spool_draft_write(draft, world_text(CHUNK)); /* one more than may be kept */
    assert_int_equal(spool_draft_room(draft), 0);
    world_run(world);
    assert_string_equal(world_records(world), "b1 p1");
    spool_draft_keep(draft, 0);
    assert_int_equal(spool_draft_room(draft), 0);
    world_run(world);
    assert_string_equal(world_records(world), "b3 p1");
    spool_draft_keep(draft, 2);
    spool_draft_write(draft, world_text(CHUNK));
    spool_draft_write(draft, world_text(100));
    spool_draft_store(draft, &(struct mail_envelope){.id = id}, 1, &job, 1);
    world_run(world);
    assert_int_equal(spool_draft_get_state(draft), SPOOL_DRAFT_STORED);
    assert_string_equal(world_records(world), "b6 c1 j1 m1");
    spool_draft_free(&draft);
}

static void test_a_failed_batch_leaves_nothing(void **state)
{
    static const size_t sizes[] = {100, 3 * CHUNK};
    struct world *world = *state;

    for (unsigned i = 0; i < PN_COUNT(sizes); i++) {
        for (unsigned batch = 0; batch < 3; batch++) {
            for (enum fake_failure how = FAKE_LOSES; how <= FAKE_KEEPS; how++) {
                struct pn_id id = world_id(1);
                size_t events = 0, text = sizes[i];
                const struct mail_recipient to = {.address = PN_STR("a@q")};
                const struct spool_new_job job = {
                    .queue = PN_STR("q"), .recipients = &to, .recipient_count = 1};
                struct spool_draft *draft =
                    spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

                for (unsigned turn = 0; text > 0; turn++) {
                    size_t piece =
                        text < spool_draft_room(draft) ? text : spool_draft_room(draft);

                    spool_draft_write(draft, world_text(piece));
                    text -= piece;
                    world->store.failure = turn == batch ? how : FAKE_WORKS;
                    (void)fake_store_turn(&world->store);
                    (void)fake_loop_run(&world->loop);
                    if (spool_draft_get_state(draft) != SPOOL_DRAFT_OPEN) {
                        break;
                    }
                }
                if (spool_draft_get_state(draft) == SPOOL_DRAFT_OPEN) {
                    world->store.failure = how;
                    spool_draft_store(draft, &(struct mail_envelope){.id = id}, 1, &job, 1);
                    world_run(world);
                }
                assert_int_equal(spool_draft_get_state(draft), SPOOL_DRAFT_FAILED);
                assert_int_equal(spool_get_readiness(world->spool), SPOOL_BROKEN);
                assert_int_equal(world->notice_count, 0);
                spool_draft_free(&draft);
                fake_store_heal(&world->store);
                world_run(world);
                /* Healing may have taken a job away again: then it was added, too. */
                assert_true(world->notice_count == 0 || world->notice_count == 2);
                world->notice_count = 0;
                assert_string_equal(world_records(world), "");
                assert_int_equal(spool_get_readiness(world->spool), SPOOL_READY);
            }
        }
    }
    assert_true(world->logged[PN_EV_SPOOL_FAILED] > 0);
    assert_int_equal(world->logged[PN_EV_SPOOL_RECOVERED], world->logged[PN_EV_SPOOL_FAILED]);
}

static void on_verb(void *owner, int status, size_t changed, struct pn_str next)
{
    (void)owner;
    (void)changed;
    (void)next;
    assert_int_equal(status, 0);
}

/* A settlement in the batch that fails is applied again, and counts once. */
static void test_a_settlement_survives_a_failure(void **state)
{
    struct world *world = *state;

    for (enum fake_failure how = FAKE_LOSES; how <= FAKE_KEEPS; how++) {
        size_t calls;

        world_store(world, 1, 100, TWO, 5);
        world->notice_count = 0;
        calls = world->calls;
        world->store.failure = how;
        world_settle(world, 1, "q", 5, "a@q", 9, "b@q");
        assert_int_equal(world->calls, calls);
        assert_int_equal(world->notice_count, 0);
        fake_store_heal(&world->store);
        world_run(world);
        assert_int_equal(world->calls, calls + 1);
        assert_string_equal(world_records(world), "b1 c2 j2 k1 m1");
        assert_string_equal(world_counts(world, "q"), "1/100/1");
        assert_int_equal(world_load(world, 1, "q", 9, 100), 0);
        /* Told once, also when it was durable although it seemed not to be. */
        assert_int_equal(world->notice_count, 3);
        spool_apply(world->spool, &world->loop.port, SPOOL_DELETE, &(struct spool_filter){0},
                    PN_STR(""), on_verb, world);
        world_run(world);
        spool_apply(world->spool, &world->loop.port, SPOOL_DELETE,
                    &(struct spool_filter){.parked = true}, PN_STR(""), on_verb, world);
        world_run(world);
        assert_string_equal(world_records(world), "");
    }
}

static void test_settlements(void **state)
{
    struct world *world = *state;
    struct spool_message *message;

    world_store(world, 1, 100, TWO, 5);
    world->notice_count = 0;
    world_settle(world, 1, "q", 5, "a@q", 9, "b@q");
    assert_int_equal(world->notice_count, 3);
    assert_int_equal(world->notices[0].kind, SPOOL_JOB_REMOVED);
    assert_int_equal(world->notices[0].job.due_ms, 5);
    assert_int_equal(world->notices[1].kind, SPOOL_PARKED);
    assert_int_equal(world->notices[1].job.recipients, 1);
    assert_int_equal(world->notices[2].kind, SPOOL_JOB_ADDED);
    assert_int_equal(world->notices[2].job.due_ms, 9);
    assert_int_equal(world->notices[2].job.attempts, 1);
    assert_int_equal(world->notices[2].job.arrival_ms, 1001);
    message = world_message(world, 1, "q", 9);
    assert_int_equal(message->status, 0);
    assert_int_equal(message->recipient_count, 1);
    assert_true(pn_str_eq(message->last_reply, PN_STR("451 4.7.1 Later")));
    assert_int_equal(message->job.last_try_ms, 77);
    spool_message_free(&message);

    /* The second time it is done already, whatever it says. */
    world->notice_count = 0;
    world_settle(world, 1, "q", 5, "a@q", 12, "c@q");
    assert_int_equal(world->notice_count, 0);
    assert_string_equal(world_counts(world, "q"), "1/100/1");

    /* More recipients of the same queue are parked in the same place. */
    world_settle(world, 1, "q", 9, NULL, 0, "a@q");
    assert_string_equal(world_counts(world, "q"), "0/0/1");
    assert_int_equal(world->notices[world->notice_count - 1].kind, SPOOL_PARKED);
    assert_int_equal(world->notices[world->notice_count - 1].job.recipients, 2);
    world_settle(world, 1, "r", 5, NULL, 0, NULL);
    assert_string_equal(world_counts(world, "r"), "");
    assert_string_equal(world_records(world), "b1 c1 k1 m1"); /* it lives while it has places */
}

/* Two ends of one message in one batch: both count, and the second takes the rest away. */
static void test_two_ends_in_one_batch(void **state)
{
    struct world *world = *state;
    const struct spool_settlement ends[] = {
        {.key = {PN_STR("q"), 5, world_id(1)}},
        {.key = {PN_STR("r"), 5, world_id(1)}},
    };

    world_store(world, 1, CHUNK * 2, TWO, 5);
    spool_settle(world->spool, &world->loop.port, ends, 1, on_event, &world->calls);
    spool_settle(world->spool, &world->loop.port, ends + 1, 1, on_event, &world->calls);
    world_run(world);
    assert_string_equal(world_records(world), "");
}

struct page {
    struct queue_job jobs[16];
    size_t count;
    bool end;
    int status;
};

static void on_page(void *owner, int status, struct pn_str queue, const struct queue_job *jobs,
                    size_t count, bool end)
{
    struct page *page = owner;

    assert_true(pn_str_eq(queue, PN_STR("q")));
    page->status = status;
    page->count = count;
    page->end = end;
    for (size_t i = 0; i < count && i < 16; i++) {
        page->jobs[i] = jobs[i];
    }
}

static struct page read_page(struct world *world, struct spool_cursor from, int64_t until_ms,
                             size_t limit)
{
    struct page page = {.status = 1};

    spool_read_page(world->spool, &world->loop.port, PN_STR("q"), from, until_ms, limit,
                    on_page, &page);
    world_run(world);
    return page;
}

static void test_pages(void **state)
{
    struct world *world = *state;
    struct page page;

    for (unsigned i = 0; i < 6; i++) {
        world_store(world, i, 10, TWO, 100 - i);
    }
    page = read_page(world, (struct spool_cursor){0}, INT64_MAX, 4);
    assert_int_equal(page.status, 0);
    assert_int_equal(page.count, 4);
    assert_false(page.end);
    assert_int_equal(page.jobs[0].due_ms, 95);
    assert_int_equal(page.jobs[0].id.octets[15], 5);
    assert_int_equal(page.jobs[0].recipients, 2);
    page = read_page(world, (struct spool_cursor){98, world_id(2)}, INT64_MAX, 4);
    assert_int_equal(page.count, 3); /* key >= from */
    assert_true(page.end);
    page = read_page(world, (struct spool_cursor){0}, 96, 10);
    assert_int_equal(page.count, 2);
    assert_true(page.end);
}

struct counts {
    size_t count;
    struct spool_queue_count items[8];
    char names[8][64];
};

static void on_counts(void *owner, int status, const struct spool_queue_count *items,
                      size_t count)
{
    struct counts *counts = owner;

    assert_int_equal(status, 0);
    counts->count = count;
    for (size_t i = 0; i < count && i < 8; i++) {
        counts->items[i] = items[i];
        (void)snprintf(counts->names[i], 64, "%.*s", PN_FMT(items[i].queue));
    }
}

static void test_counts(void **state)
{
    struct world *world = *state;
    struct counts counts = {0};
    struct spool_key key;

    world_store(world, 1, 10, TWO, 5);
    world_store(world, 2, 20, ONE, 5);
    world_settle(world, 1, "q", 5, "a@q", 9, "b@q");
    for (int round = 0; round < 3; round++) {
        spool_read_counts(world->spool, &world->loop.port, on_counts, &counts);
        world_run(world);
        assert_int_equal(counts.count, 2);
        for (size_t i = 0; i < 2; i++) {
            bool q = strcmp(counts.names[i], "q") == 0;

            assert_int_equal(counts.items[i].jobs, q ? 2 : 1);
            assert_int_equal(counts.items[i].octets, q ? 30 : 10);
            assert_int_equal(counts.items[i].parked, q ? 1 : 0);
            assert_int_equal(counts.items[i].parked_octets, q ? 10 : 0);
        }
        /* Counters that are lost are counted again, and written. */
        assert_string_equal(world_counts(world, "q"), "2/30/1");
        spool_key_of_counters(&key, PN_STR("q"));
        fake_store_put(&world->store, spool_key_str(&key), PN_STR("junk"));
    }
}

/* What counters lost to a bad record does not wrap around when jobs end. */
static void test_counters_do_not_wrap(void **state)
{
    struct world *world = *state;
    struct spool_key key;

    world_store(world, 1, 10, ONE, 5);
    world_store(world, 2, 10, ONE, 5);
    spool_key_of_counters(&key, PN_STR("q"));
    fake_store_put(&world->store, spool_key_str(&key), PN_STR("junk"));
    world_settle(world, 1, "q", 5, NULL, 0, NULL);
    assert_string_equal(world_counts(world, "q"), "");
    world_settle(world, 2, "q", 5, "a@q", 9, "b@q");
    assert_string_equal(world_counts(world, "q"), "1/10/1");
}

/* ---- damage ------------------------------------------------------------------------------ */

static void spoil(struct world *world, const struct spool_key *key)
{
    struct fake_record *record = fake_store_find(&world->store, spool_key_str(key));

    assert_non_null(record);
    record->value.data[record->value.len / 2] ^= 1;
}

static void expect_held(struct world *world, unsigned n, const char *what)
{
    struct page page =
        read_page(world, (struct spool_cursor){QUEUE_DUE_NEVER, {{0}}}, QUEUE_DUE_NEVER, 10);
    struct spool_message *message;
    struct spool_status status;

    assert_int_equal(page.count, 1);
    assert_true(page.jobs[0].flags & QUEUE_JOB_HELD);
    message = world_message(world, n, "q", QUEUE_DUE_NEVER);
    assert_int_equal(message->status, PN_ECORRUPT);
    assert_non_null(strstr(message->last_reply.ptr, what));
    assert_int_equal(message->recipient_count, 2);
    spool_message_free(&message);
    spool_get_status(world->spool, &status);
    assert_int_equal(status.corrupt, 1);
    assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
    assert_string_equal(world_counts(world, "q"), "1/524289/0");
}

static void test_a_bad_chunk_holds_the_message(void **state)
{
    for (uint32_t chunk = 0; chunk < 3; chunk++) {
        struct world *world = world_new(false);
        struct spool_key key;
        struct pn_id id = world_id(1);

        world_store(world, 1, 2 * CHUNK + 1, ONE, 5);
        spool_key_of_body(&key, &id, chunk);
        spoil(world, &key);
        assert_int_equal(world_load(world, 1, "q", 5, 2 * CHUNK + 1), PN_ECORRUPT);
        assert_string_equal(world_records(world), "b2 c1 j1 m1 x1");
        if (chunk == 0) {
            expect_held(world, 1, "the stored text does not verify");
        }
        world_free(world);
    }
    (void)state;
}

static void test_a_bad_envelope_holds_the_job(void **state)
{
    struct world *world = *state;
    struct spool_key key;
    struct pn_id id = world_id(1);

    world_store(world, 1, 2 * CHUNK + 1, ONE, 5);
    spool_key_of_id(&key, SPOOL_KEY_MESSAGE, &id);
    spoil(world, &key);
    assert_int_equal(world_load(world, 1, "q", 5, 2 * CHUNK + 1), PN_ECORRUPT);
    assert_string_equal(world_records(world), "b3 c1 j1 x1");
    expect_held(world, 1, "the stored envelope");
}

static void test_a_bad_job_is_kept_aside(void **state)
{
    struct world *world = *state;
    struct spool_key key;
    struct pn_id id = world_id(1);
    struct page page;

    world_store(world, 1, 10, ONE, 5);
    world_store(world, 2, 10, ONE, 5);
    spool_key_of_job(&key, PN_STR("q"), 5, &id);
    spoil(world, &key);
    page = read_page(world, (struct spool_cursor){0}, INT64_MAX, 10);
    assert_int_equal(page.count, 1);
    assert_string_equal(world_records(world), "b2 c1 j1 m2 x1");
    assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
}

static void test_a_body_under_another_key_does_not_verify(void **state)
{
    struct world *world = *state;
    struct spool_key one, two;
    struct pn_id first = world_id(1), second = world_id(2);

    world_store(world, 1, 10, ONE, 5);
    world_store(world, 2, 10, ONE, 5);
    spool_key_of_body(&one, &first, 0);
    spool_key_of_body(&two, &second, 0);
    fake_store_put(&world->store, spool_key_str(&one),
                   pn_buf_str(&fake_store_find(&world->store, spool_key_str(&two))->value));
    assert_int_equal(world_load(world, 1, "q", 5, 10), PN_ECORRUPT);
    assert_int_equal(world_load(world, 2, "q", 5, 10), 0);
}

struct many {
    struct spool_message *messages;
};

static void on_many(void *owner, struct spool_message *messages)
{
    ((struct many *)owner)->messages = messages;
}

/* A block that LevelDB cannot read fails the message in it, not those loaded beside it. */
static void test_a_rotten_block_fails_one_message(void **state)
{
    struct world *world = *state;
    struct spool_job_key keys[4];
    struct many many = {0};
    struct spool_key key;
    struct pn_id id = world_id(2);

    for (unsigned i = 0; i < 4; i++) {
        world_store(world, i, 10, ONE, 5);
        keys[i] = (struct spool_job_key){PN_STR("q"), 5, world_id(i)};
    }
    spool_key_of_body(&key, &id, 0);
    assert_int_equal(pn_buf_append(&world->store.rotten, spool_key_str(&key)), 0);
    spool_load(world->spool, &world->loop.port, keys, 4, on_many, &many);
    world_run(world);
    for (int i = 0; i < 4; i++) {
        struct spool_message *message = many.messages;

        assert_non_null(message);
        many.messages = message->next;
        assert_int_equal(message->status, i == 2 ? PN_ECORRUPT : 0);
        assert_int_equal(message->job.id.octets[15], i);
        spool_message_free(&message);
    }
    assert_null(many.messages);
}

/* ---- encryption -------------------------------------------------------------------------- */

static void test_bodies_are_sealed(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 3 * CHUNK, ONE, 5);
    world_store(world, 2, 100, ONE, 5);
    assert_string_equal(world_records(world), "b4 c1 d1 j2 m2");
    for (size_t i = 0; i < world->store.count; i++) {
        struct pn_str value = pn_buf_str(&world->store.records[i].value);

        for (size_t at = 0; at + 20 <= value.len && at < 1000; at++) {
            assert_memory_not_equal(value.ptr + at, world_text(20).ptr, 20);
        }
    }
    assert_int_equal(world_load(world, 1, "q", 5, 3 * CHUNK), 0);
    world_stop(world, false);
    world_start(world, true);
    assert_int_equal(world_load(world, 1, "q", 5, 3 * CHUNK), 0);
}

static void test_an_empty_day_is_shredded(void **state)
{
    struct world *world = *state;
    struct fake_files *files = &world->files;

    world_store(world, 1, 100, ONE, 5);
    world_store(world, 2, 2 * CHUNK, ONE, 5);
    assert_non_null(fake_files_find(files, "/spool/keys/20261121.key"));
    assert_non_null(fake_files_find(files, "/spool/keys/20261122.key"));
    world->wall.ms += PN_DAYS(1);
    for (int i = 0; i < 3; i++) {
        world->wall.ms += PN_MINUTES(2);
        spool_maintain(world->spool, world->wall);
        world_run(world);
    }
    assert_int_equal(files->shredded, 0);
    assert_non_null(fake_files_find(files, "/spool/keys/20261123.key"));
    world_store(world, 3, 100, ONE, 5); /* under the new day's key */
    world_settle(world, 1, "q", 5, NULL, 0, NULL);
    world_settle(world, 2, "q", 5, NULL, 0, NULL);
    for (int i = 0; i < 3; i++) {
        world->wall.ms += PN_MINUTES(2);
        spool_maintain(world->spool, world->wall);
        world_run(world);
    }
    assert_int_equal(files->shredded, 1);
    assert_null(fake_files_find(files, "/spool/keys/20261121.key"));
    assert_int_equal(world_load(world, 3, "q", 5, 100), 0);
}

static void test_a_draft_keeps_its_day(void **state)
{
    struct world *world = *state;
    struct pn_id id = world_id(1);
    size_t events = 0;
    struct spool_draft *draft =
        spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

    world->wall.ms += PN_DAYS(1);
    for (int i = 0; i < 3; i++) {
        world->wall.ms += PN_MINUTES(2);
        spool_maintain(world->spool, world->wall);
        world_run(world);
    }
    assert_int_equal(world->files.shredded, 0);
    spool_draft_free(&draft);
    for (int i = 0; i < 3; i++) {
        world->wall.ms += PN_MINUTES(2);
        spool_maintain(world->spool, world->wall);
        world_run(world);
    }
    assert_int_equal(world->files.shredded, 1);
}

static void test_a_missing_key_holds_the_message(void **state)
{
    struct world *world = *state;
    struct spool_message *message;
    struct pn_err err;

    world_store(world, 1, 100, ONE, 5);
    world_stop(world, false);
    assert_int_equal(
        world->files.port.ops->remove(&world->files.port, "/spool/keys/20261121.key", &err), 0);
    world_start(world, true);
    assert_int_equal(world_load(world, 1, "q", 5, 100), PN_ECORRUPT);
    message = world_message(world, 1, "q", QUEUE_DUE_NEVER);
    assert_non_null(strstr(message->last_reply.ptr, "the key of 20261121 is missing"));
    spool_message_free(&message);
    assert_string_equal(world_records(world), "b1 c1 d1 j1 m1"); /* nothing moved aside */
}

static void test_key_files(void **state)
{
    static const struct {
        const char *name;
        const char *content; /* NULL: there is no file */
        uint32_t mode;
        int code;
    } rows[] = {
        {"missing", NULL, 0600, PN_ENOENT},
        {"open to others", "", 0640, PN_EACCES},
        {"empty", "", 0600, PN_EINVAL},
        {"no key", "postern-spool-key-1 xyz\n", 0600, PN_EINVAL},
    };
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        const struct spool_options options = {.files = &world->files.port,
                                              .crypto = fake_crypto(),
                                              .path = "/other",
                                              .key_file = rows[i].content ? "/k" : "/none",
                                              .log = &world->log};
        struct pn_err err;

        if (rows[i].content) {
            fake_files_put(&world->files, "/k", pn_str_z(rows[i].content), rows[i].mode);
        }
        assert_null(spool_new(&options, &err));
        assert_int_equal(err.code, rows[i].code);
    }
}

/* ---- upkeep ------------------------------------------------------------------------------ */

static void test_a_start_sweeps_what_was_being_received(void **state)
{
    struct world *world = *state;
    struct pn_id id = world_id(1), other = world_id(2);
    struct fake_store before;
    struct spool_key key;
    size_t events = 0;
    struct spool_draft *draft =
        spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

    world_store(world, 3, 100, ONE, 5);
    spool_draft_write(draft, world_text(CHUNK));
    spool_draft_write(draft, world_text(CHUNK));
    world_run(world);
    spool_draft_write(draft, world_text(CHUNK));
    world_run(world);
    assert_string_equal(world_records(world), "b3 c1 d1 j1 m1 p1");
    before = fake_store_snapshot(&world->store);
    spool_draft_free(&draft);
    world_stop(world, false);
    fake_store_revert(&world->store, &before); /* the power was cut before that */
    spool_key_of_id(&key, SPOOL_KEY_PARTIAL, &id);
    assert_int_equal(pn_buf_append(&world->store.rotten, spool_key_str(&key)), 0);
    world_start(world, true); /* the first sweep fails, so that one comes with a draft there */
    pn_buf_fini(&world->store.rotten);
    assert_string_equal(world_records(world), "b3 c1 d1 j1 m1 p1");
    draft = spool_draft_new(world->spool, &world->loop.port, &other, on_event, &events);
    spool_draft_write(draft, world_text(CHUNK));
    spool_draft_write(draft, world_text(CHUNK));
    world_run(world);
    spool_maintain(world->spool, world->wall);
    world_run(world);
    assert_string_equal(world_records(world), "b2 c1 d1 j1 m1 p1"); /* the new one's is left */
    spool_draft_free(&draft);
    world_run(world);
    assert_string_equal(world_records(world), "b1 c1 d1 j1 m1");
}

static void test_readiness(void **state)
{
    struct world *world = *state;
    struct spool_status status;

    assert_int_equal(spool_get_readiness(world->spool), SPOOL_READY);
    world->files.free_octets = 999;
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 500});
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_READY); /* asked once a second */
    for (int i = 1; i < 3; i++) {
        spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 1000 * i});
        assert_int_equal(spool_get_readiness(world->spool), SPOOL_FULL);
    }
    assert_int_equal(world->logged[PN_EV_SPOOL_FULL], 1);
    world->files.free_octets = 1099; /* not yet */
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 4000});
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_FULL);
    world->files.free_octets = 1100;
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 5000});
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_READY);
    assert_int_equal(world->logged[PN_EV_SPOOL_ROOM], 1);
    spool_get_status(world->spool, &status);
    assert_int_equal(status.free_octets, 1100);
    assert_int_equal(status.total_octets, 1000000);
    assert_string_equal(status.trouble, "");
}

static void test_checks_everything(void **state)
{
    struct world *world = *state;
    struct pn_id id = world_id(3);
    struct spool_key key;
    struct world_checked total;

    for (unsigned i = 0; i < 7; i++) {
        world_store(world, i, i * CHUNK / 2, ONE, 5);
    }
    for (size_t piece = 1; piece < 9; piece++) {
        total = world_check_all(world, piece);
        assert_true(total.wrapped);
        assert_int_equal(total.checked, 7);
        assert_int_equal(total.bad, 0);
    }
    spool_key_of_body(&key, &id, 1);
    spoil(world, &key);
    total = world_check_all(world, 2);
    assert_true(total.wrapped);
    assert_int_equal(total.checked, 7);
    assert_int_equal(total.bad, 1);
    assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
    assert_int_equal(fake_store_count(&world->store, 'x'), 1);
}

struct salvaged {
    int status;
    struct spool_salvaged sum;
};

static void on_salvaged(void *owner, int status, const struct spool_salvaged *salvaged)
{
    *(struct salvaged *)owner = (struct salvaged){status, *salvaged};
}

static void test_salvages(void **state)
{
    struct world *world = *state;
    struct fake_store old = {0};
    struct salvaged salvaged = {.status = 1};
    struct pn_id spoiled = world_id(3), jobless = world_id(4);
    struct spool_message *message;
    struct spool_key key;

    world_store(world, 1, 3 * CHUNK, TWO, 5);
    world_store(world, 2, 10, ONE, 5);
    world_store(world, 3, 10, ONE, 5);
    world_store(world, 4, 10, ONE, 5);
    world_store(world, 5, 0, ONE, 5);
    world_settle(world, 1, "q", 5, "a@q", 9, "b@q");
    old = fake_store_snapshot(&world->store);
    fake_store_forget(&old);
    spool_key_of_body(&key, &spoiled, 0);
    fake_store_find(&old, spool_key_str(&key))->value.data[20] ^= 1;
    spool_key_of_job(&key, PN_STR("q"), 5, &jobless);
    fake_store_find(&old, spool_key_str(&key))->value.data[9] ^= 1;
    world_stop(world, false);
    fake_store_fini(&world->store);
    fake_store_init(&world->store);
    world_start(world, true);
    world_store(world, 2, 10, ONE, 5);

    spool_salvage(world->spool, &old.port, &world->loop.port, 500, on_salvaged, &salvaged);
    while (fake_store_turn(&old) || fake_store_turn(&world->store) ||
           fake_loop_run(&world->loop)) {
    }
    assert_int_equal(salvaged.status, 0);
    assert_int_equal(salvaged.sum.brought, 2);
    assert_int_equal(salvaged.sum.there_already, 1);
    assert_int_equal(salvaged.sum.bad, 2);
    assert_int_equal(salvaged.sum.unread_jobs, 1);
    assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, 3 * CHUNK), 0);
    assert_int_equal(world_load(world, 5, "q", QUEUE_DUE_NEVER, 0), 0);
    message = world_message(world, 1, "q", QUEUE_DUE_NEVER);
    assert_int_equal(message->recipient_count, 2); /* with the one that was parked */
    assert_true(message->job.flags & QUEUE_JOB_HELD);
    assert_int_equal(message->job.arrival_ms, 500);
    spool_message_free(&message);
    fake_store_fini(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_batch_for_a_small_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_loaded_message_has_it_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_draft_keeps_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_draft_that_is_dropped_leaves_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_batch_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_settlement_survives_a_failure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_settlements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_ends_in_one_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counters_do_not_wrap, set_up, tear_down),
        cmocka_unit_test(test_a_bad_chunk_holds_the_message),
        cmocka_unit_test_setup_teardown(test_a_bad_envelope_holds_the_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_job_is_kept_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_body_under_another_key_does_not_verify, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_rotten_block_fails_one_message, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_bodies_are_sealed, set_up_encrypted, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_day_is_shredded, set_up_encrypted,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_draft_keeps_its_day, set_up_encrypted,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_missing_key_holds_the_message, set_up_encrypted,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_key_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_start_sweeps_what_was_being_received,
                                        set_up_encrypted, tear_down),
        cmocka_unit_test_setup_teardown(test_readiness, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checks_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_salvages, set_up_encrypted, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
