/* What the spool does about records that do not add up, and when what is around it fails. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include "spool_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#define CHUNK  SPOOL_CHUNK_OCTETS
#define ONE    ((const char *const[]){"q", NULL})
#define TWO    ((const char *const[]){"q", "r", NULL})
#define MASTER "postern-spool-key-1 "

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

static struct spool_key key_of(enum spool_key_kind kind, unsigned n, uint32_t chunk)
{
    struct pn_id id = world_id(n);
    struct spool_key key;

    if (kind == SPOOL_KEY_JOB) {
        spool_key_of_job(&key, PN_STR("q"), 5, &id);
    } else if (kind == SPOOL_KEY_PARKED) {
        spool_key_of_parked(&key, PN_STR("q"), &id);
    } else if (kind == SPOOL_KEY_BODY) {
        spool_key_of_body(&key, &id, chunk);
    } else {
        spool_key_of_id(&key, kind, &id);
    }
    return key;
}

static struct fake_record *record_of(struct world *world, enum spool_key_kind kind, unsigned n)
{
    struct spool_key key = key_of(kind, n, 0);

    return fake_store_find(&world->store, spool_key_str(&key));
}

static void spoil(struct world *world, enum spool_key_kind kind, unsigned n)
{
    struct fake_record *record = record_of(world, kind, n);

    assert_non_null(record);
    record->value.data[record->value.len / 2] ^= 1;
}

static void lose(struct world *world, enum spool_key_kind kind, unsigned n, uint32_t chunk)
{
    struct spool_key key = key_of(kind, n, chunk);

    assert_non_null(fake_store_find(&world->store, spool_key_str(&key)));
    fake_store_remove(&world->store, spool_key_str(&key));
}

static void rot(struct world *world, enum spool_key_kind kind, unsigned n, uint32_t chunk)
{
    struct spool_key key = key_of(kind, n, chunk);

    pn_buf_clear(&world->store.rotten);
    assert_int_equal(pn_buf_append(&world->store.rotten, spool_key_str(&key)), 0);
}

/* ---- bodies ------------------------------------------------------------------------------ */

/* A chunk's record is made shorter, or has other octets at its head. */
static void test_chunks_that_are_none(void **state)
{
    static const struct {
        const char *name;
        bool encrypted;
        size_t octets; /* that are left; 0: none, SIZE_MAX: all */
        size_t at;     /* what is changed; SIZE_MAX: nothing */
    } rows[] = {
        {"empty", false, 0, SIZE_MAX},
        {"one octet", false, 1, SIZE_MAX},
        {"another version", false, SIZE_MAX, 0},
        {"another kind", false, SIZE_MAX, 1},
        {"only a head", false, 2, SIZE_MAX},
        {"another checksum", false, SIZE_MAX, 2},
        {"sealed, only a head", true, 12, SIZE_MAX},
        {"sealed, no key of that day", true, SIZE_MAX, 5},
        {"sealed, changed", true, SIZE_MAX, 100},
        {"sealed, cut", true, 100, SIZE_MAX},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct world *world = world_new(rows[i].encrypted);
        struct fake_record *record;

        world_store(world, 1, 200, ONE, 5);
        record = record_of(world, SPOOL_KEY_BODY, 1);
        if (rows[i].at < SIZE_MAX) {
            record->value.data[rows[i].at] ^= 0x40;
        }
        record->value.len =
            record->value.len < rows[i].octets ? record->value.len : rows[i].octets;
        assert_int_equal(world_load(world, 1, "q", 5, 200), PN_ECORRUPT);
        assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, 200), PN_ECORRUPT);
        assert_string_equal(world_counts(world, "q"), "1/200/0"); /* it is held */
        assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
        world_free(world);
    }
}

static void test_a_lost_chunk_holds_the_message(void **state)
{
    (void)state;
    for (uint32_t chunk = 0; chunk < 2; chunk++) {
        struct world *world = world_new(false);

        world_store(world, 1, CHUNK + 1, ONE, 5);
        lose(world, SPOOL_KEY_BODY, 1, chunk);
        assert_int_equal(world_load(world, 1, "q", 5, CHUNK + 1), PN_ECORRUPT);
        assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, CHUNK + 1), PN_ECORRUPT);
        assert_string_equal(world_records(world), "b1 c1 j1 m1");
        world_free(world);
    }
}

static void on_chunk(void *owner, int status, uint32_t number, struct pn_str text)
{
    *(int *)owner = status;
    assert_int_equal(number, 1);
    assert_true(status == 0 || text.len == 0);
}

static int read_chunk(struct world *world, unsigned n)
{
    struct pn_id id = world_id(n);
    int status = 1;

    spool_read_chunk(world->spool, &world->loop.port, &id, 1, on_chunk, &status);
    world_run(world);
    return status;
}

static void test_later_chunks(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 2 * CHUNK, ONE, 5);
    assert_int_equal(read_chunk(world, 1), 0);
    assert_int_equal(read_chunk(world, 2), PN_ENOENT);
    world->store.state = STORE_REOPENING;
    assert_int_equal(read_chunk(world, 1), PN_EIO);
    world->store.state = STORE_OPEN;
    rot(world, SPOOL_KEY_BODY, 1, 1);
    assert_int_equal(read_chunk(world, 1), PN_ECORRUPT);
    pn_buf_clear(&world->store.rotten);
    world_settle(world, 1, "q", 5, NULL, 0, NULL);
    assert_int_equal(read_chunk(world, 1), PN_ENOENT);
}

/* ---- jobs and parked recipients ---------------------------------------------------------- */

static void test_a_bad_job_fails_its_load(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 10, ONE, 5);
    spoil(world, SPOOL_KEY_JOB, 1);
    assert_int_equal(world_load(world, 1, "q", 5, 10), PN_ECORRUPT);
    assert_string_equal(world_records(world), "b1 m1 x1");
    assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
}

static void on_load(void *owner, struct spool_message *messages)
{
    while (messages) {
        struct spool_message *message = messages;

        messages = message->next;
        *(int *)owner += message->status == PN_ECORRUPT;
        spool_message_free(&message);
    }
}

/* What two have found is moved aside once, and counted once. */
static void test_damage_that_two_report(void **state)
{
    struct world *world = *state;
    const struct spool_job_key keys[] = {{PN_STR("q"), 5, world_id(1)},
                                         {PN_STR("q"), 5, world_id(1)}};
    int bad = 0;

    world_store(world, 1, 10, ONE, 5);
    spoil(world, SPOOL_KEY_JOB, 1);
    spool_load(world->spool, &world->loop.port, keys, 2, on_load, &bad);
    world_run(world);
    assert_int_equal(bad, 2);
    assert_string_equal(world_records(world), "b1 m1 x1");
    assert_int_equal(world->logged[PN_EV_SPOOL_CORRUPT], 1);
}

/* The envelope names a job that is held, and is moved aside: the job stays as it is. */
static void test_a_bad_envelope_of_a_held_job(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 10, ONE, QUEUE_DUE_NEVER);
    spoil(world, SPOOL_KEY_MESSAGE, 1);
    assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, 10), PN_ECORRUPT);
    assert_string_equal(world_records(world), "b1 c1 j1 x1");
    assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, 10), PN_ECORRUPT);
    assert_string_equal(world_records(world), "b1 c1 j1 x1");
}

static void test_a_bad_parked_record_makes_room(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 10, ONE, 5);
    world_settle(world, 1, "q", 5, "a@q", 6, "b@q");
    spoil(world, SPOOL_KEY_PARKED, 1);
    world->notice_count = 0;
    world_settle(world, 1, "q", 6, NULL, 0, "a@q");
    assert_string_equal(world_records(world), "b1 c1 k1 m1 x1");
    assert_string_equal(world_counts(world, "q"), "0/0/1");
    assert_int_equal(world->notice_count, 3);
    assert_int_equal(world->notices[1].kind, SPOOL_UNPARKED);
    assert_int_equal(world->notices[2].kind, SPOOL_PARKED);
}

static void on_verb(void *owner, int status, size_t changed, struct pn_str next)
{
    assert_int_equal(status, 0);
    assert_int_equal(next.len, 0);
    *(size_t *)owner = changed;
}

static size_t delete_all(struct world *world)
{
    size_t changed = 99;

    spool_apply(world->spool, &world->loop.port, SPOOL_DELETE, &(struct spool_filter){0},
                PN_STR(""), on_verb, &changed);
    world_run(world);
    return changed;
}

/* What does not verify can be deleted all the same, with its text. */
static void test_deletes_what_is_bad(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 10, ONE, 5);
    spoil(world, SPOOL_KEY_JOB, 1);
    assert_int_equal(delete_all(world), 1);
    assert_string_equal(world_records(world), "");
    world_store(world, 2, CHUNK + 1, ONE, 5);
    lose(world, SPOOL_KEY_MESSAGE, 2, 0);
    assert_int_equal(delete_all(world), 1);
    assert_string_equal(world_records(world), "");
}

#define CROWD 6000

/* Recipients matter more than the words they were refused with. */
static void test_very_long_reasons(void **state)
{
    static char addresses[CROWD][16], words[SPOOL_REPLY_MAX];
    struct world *world = *state;
    struct spool_parked_recipient *parked = pn_alloc_array(CROWD, sizeof *parked);
    struct spool_settlement settlement = {
        .key = {PN_STR("q"), 5, world_id(1)}, .parked = parked, .parked_count = CROWD};
    struct spool_job_record record = {0};

    world_store(world, 1, 10, ONE, 5);
    memset(words, 'w', sizeof words);
    for (size_t i = 0; i < CROWD; i++) {
        (void)snprintf(addresses[i], sizeof addresses[i], "u%zu@q", i);
        parked[i].recipient.address = pn_str_z(addresses[i]);
        parked[i].reason = (struct pn_str){words, sizeof words};
    }
    spool_settle(world->spool, &world->loop.port, &settlement, 1, (spool_done_fn *)free, NULL);
    world_run(world);
    assert_true(
        spool_job_decode(pn_buf_str(&record_of(world, SPOOL_KEY_PARKED, 1)->value), &record));
    assert_int_equal(record.recipients.count, CROWD);
    assert_int_equal(record.recipients.items[0].reason.len, SPOOL_REPLY_MAX / 16);
    spool_job_record_fini(&record);
    free(parked);
}

struct erase {
    struct store_write write;
    struct spool *spool;
    struct pn_id id;
};

static void apply_erase(struct store_write *write, struct store_batch *batch)
{
    struct erase *erase = PN_CONTAINER(write, struct erase, write);

    spool_change_erase(erase->spool, batch, &erase->id);
}

static void on_erased(struct store_write *write)
{
    assert_int_equal(write->status, 0);
}

/* Whatever there is of a message when a failed write is undone. */
static void test_erases_all_of_a_message(void **state)
{
    struct world *world = *state;
    struct erase erase = {
        {.apply = apply_erase, .on_done = on_erased}, world->spool, world_id(1)};

    world_store(world, 1, CHUNK + 1, TWO, 5);
    world_settle(world, 1, "q", 5, "a@q", 6, "b@q");
    assert_string_equal(world_records(world), "b2 c2 j2 k1 m1");
    store_submit(&world->store.port, &erase.write);
    world_run(world);
    assert_string_equal(world_records(world), "");
}

/* ---- drafts ------------------------------------------------------------------------------ */

static void on_event(void *owner)
{
    ++*(size_t *)owner;
}

/* An envelope that no record can hold fails the draft, and not the daemon. */
static void test_an_envelope_too_large(void **state)
{
    struct world *world = *state;
    struct pn_buf sender;

    pn_buf_init(&sender, STORE_VALUE_MAX);
    memset(pn_buf_reserve(&sender, STORE_VALUE_MAX), 's', STORE_VALUE_MAX);
    pn_buf_added(&sender, STORE_VALUE_MAX);
    for (int row = 0; row < 4; row++) {
        bool busy = row & 1, gone = row & 2;
        struct pn_id id = world_id(1);
        const struct mail_envelope envelope = {.id = id, .sender = pn_buf_str(&sender)};
        const struct mail_recipient to = {.address = PN_STR("a@q")};
        const struct spool_new_job job = {
            .queue = PN_STR("q"), .recipients = &to, .recipient_count = 1};
        size_t events = 0;
        struct spool_draft *draft =
            spool_draft_new(world->spool, &world->loop.port, &id, on_event, &events);

        spool_draft_write(draft, world_text(CHUNK));
        if (busy) {
            spool_draft_write(draft, world_text(1)); /* the first one goes to disk */
        }
        spool_draft_store(draft, &envelope, 1, &job, 1);
        assert_int_equal(spool_draft_get_state(draft), SPOOL_DRAFT_FAILED);
        spool_draft_store(draft, &envelope, 1, &job, 1); /* once is enough, twice no harm */
        assert_int_equal(events, 0);
        if (gone) {
            spool_draft_free(&draft);
            world_run(world);
            assert_int_equal(events, 0);
        } else {
            world_run(world);
            assert_int_equal(events, 1);
            spool_draft_free(&draft);
            world_run(world);
        }
        assert_string_equal(world_records(world), "");
    }
    pn_buf_fini(&sender);
}

/* ---- what is no record, lists, checks ------------------------------------------------------
 */

static void on_rows(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    int *out = owner;

    (void)next;
    out[0] = status;
    out[1] = 0;
    while (rows) {
        struct spool_message *row = rows;

        rows = row->next;
        out[1]++;
        spool_message_free(&row);
    }
}

static void on_counts(void *owner, int status, const struct spool_queue_count *counts,
                      size_t count)
{
    struct world *world = owner;

    world->status = status;
    assert_true(status < 0 || count == 1);
    assert_true(status < 0 || counts->jobs == 2);
}

/* Keys that nobody has written stand between those that somebody has. */
static void test_keys_that_are_none(void **state)
{
    static const char *const keys[] = {"b", "c",  "d",  "j",       "k",       "m",         "p",
                                       "s", "jq", "kq", "m short", "p short", "j\1q short"};
    struct world *world = *state;
    const struct spool_filter parked = {.parked = true};
    int out[2];

    world_store(world, 1, 10, ONE, 5);
    world_store(world, 2, 10, ONE, 5);
    for (size_t i = 0; i < PN_COUNT(keys); i++) {
        fake_store_put(&world->store, pn_str_z(keys[i]), PN_STR("nonsense"));
    }
    world_stop(world, false);
    world_start(world, false);
    spool_read_counts(world->spool, &world->loop.port, on_counts, world);
    spool_list(world->spool, &world->loop.port, &(struct spool_filter){0}, PN_STR(""), 10,
               on_rows, out);
    world_run(world);
    assert_int_equal(world->status, 0);
    assert_int_equal(out[0], 0);
    assert_int_equal(out[1], 2);
    spool_list(world->spool, &world->loop.port, &parked, PN_STR(""), 10, on_rows, out);
    world_run(world);
    assert_int_equal(out[1], 0);
    assert_int_equal(world_check_all(world, 10).checked, 2);
    assert_int_equal(world_load(world, 2, "q", 5, 10), 0);
    world_settle(world, 2, "q", 5, NULL, 0, NULL);
    assert_int_equal(world_load(world, 2, "q", 5, 10), PN_ENOENT);
}

/* Half a list is none. */
static void test_a_list_that_fails(void **state)
{
    struct world *world = *state;
    int out[2];

    for (unsigned i = 1; i < 4; i++) {
        world_store(world, i, 10, ONE, 5);
    }
    for (int row = 0; row < 2; row++) {
        if (row == 0) {
            rot(world, SPOOL_KEY_MESSAGE, 3, 0);
        } else {
            world->store.state = STORE_REOPENING;
        }
        spool_list(world->spool, &world->loop.port, &(struct spool_filter){0}, PN_STR(""), 10,
                   on_rows, out);
        world_run(world);
        assert_int_equal(out[0], row == 0 ? PN_ECORRUPT : PN_EIO);
        assert_int_equal(out[1], 0);
    }
    world->store.state = STORE_OPEN;
}

enum harm { SPOILT, LOST, ROTTEN };

/* Each kind of damage is found once in a round, and hides nothing that stands behind it. */
static void test_a_check_goes_on_behind_damage(void **state)
{
    static const struct {
        const char *name;
        enum spool_key_kind kind;
        enum harm harm;
        size_t checked, bad, aside; /* with a bad text behind it, which is one more of both */
    } rows[] = {
        {"bad envelope", SPOOL_KEY_MESSAGE, SPOILT, 7, 1, 1},
        {"bad job", SPOOL_KEY_JOB, SPOILT, 7, 1, 0},
        {"lost job", SPOOL_KEY_JOB, LOST, 7, 1, 0},
        {"bad text", SPOOL_KEY_BODY, SPOILT, 7, 1, 1},
        {"lost text", SPOOL_KEY_BODY, LOST, 7, 1, 0},
        {"unreadable text", SPOOL_KEY_BODY, ROTTEN, 7, 1, 0},
        {"unreadable job", SPOOL_KEY_JOB, ROTTEN, 7, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows) * 3; i++) {
        struct world *world = world_new(false);
        size_t row = i / 3;
        struct world_checked total;

        for (unsigned n = 1; n < 8; n++) {
            world_store(world, n, n * CHUNK / 2, ONE, 5);
        }
        spoil(world, SPOOL_KEY_BODY, 2);
        spoil(world, SPOOL_KEY_BODY, 6);
        if (rows[row].harm == SPOILT) {
            spoil(world, rows[row].kind, 4);
        } else if (rows[row].harm == LOST) {
            lose(world, rows[row].kind, 4, 0);
        } else {
            rot(world, rows[row].kind, 4, 0);
        }
        total = world_check_all(world, 1 + i % 3 * 3);
        print_message("%s, %zu at a time\n", rows[row].name, 1 + i % 3 * 3);
        assert_true(total.wrapped);
        assert_int_equal(total.checked, rows[row].checked);
        assert_int_equal(total.bad, rows[row].bad + 2);
        assert_int_equal(fake_store_count(&world->store, 'x'), rows[row].aside + 2);
        assert_int_equal(world->store.rotten_asked, 0);
        world_free(world);
    }
}

/* There is no way past the block that the walk itself stands on: it begins again. */
static void test_a_check_before_a_bad_block(void **state)
{
    struct world *world = *state;

    for (unsigned n = 1; n < 8; n++) {
        world_store(world, n, 10, ONE, 5);
    }
    rot(world, SPOOL_KEY_MESSAGE, 4, 0);
    for (int round = 0; round < 2; round++) {
        struct world_checked total = world_check_all(world, 2);

        assert_true(total.wrapped);
        assert_int_equal(total.checked, 3);
        assert_true(total.bad > 0);
    }
}

/* ---- what is around it fails ---------------------------------------------------------------
 */

struct salvaged {
    int status;
    struct spool_salvaged sum;
};

static void on_salvaged(void *owner, int status, const struct spool_salvaged *salvaged)
{
    *(struct salvaged *)owner = (struct salvaged){status, *salvaged};
}

/* Runs both stores; after so many turns one of them fails, and stays so. */
static struct salvaged salvage(struct world *world, struct fake_store *old, bool old_fails,
                               unsigned turns)
{
    struct salvaged salvaged = {.status = 1};

    spool_salvage(world->spool, &old->port, &world->loop.port, 500, on_salvaged, &salvaged);
    for (unsigned turn = 0; salvaged.status == 1; turn++) {
        assert_true(turn < 200);
        if (turn == turns && old_fails) {
            old->state = STORE_REOPENING;
        } else if (turn == turns) {
            world->store.failure = FAKE_LOSES;
            world->store.state = world->store.writes ? STORE_OPEN : STORE_REOPENING;
        }
        (void)fake_store_turn(old);
        (void)fake_store_turn(&world->store);
        (void)fake_loop_run(&world->loop);
    }
    world->store.failure = FAKE_WORKS;
    old->state = STORE_OPEN;
    if (world->store.state != STORE_OPEN) {
        fake_store_heal(&world->store);
    }
    world_run(world);
    return salvaged;
}

/* The operator is told of jobs that a salvage could not read: somebody misses his mail. */
static void test_a_salvage_counts_what_it_cannot_read(void **state)
{
    enum fate { WHOLE, SPOILED, MISSING };
    static const struct {
        enum fate q, r;
        bool there;
    } rows[] = {
        {WHOLE, WHOLE, false},     {WHOLE, SPOILED, false},   {MISSING, WHOLE, false},
        {SPOILED, SPOILED, false}, {MISSING, MISSING, false}, {SPOILED, MISSING, false},
        {WHOLE, SPOILED, true},
    };
    struct world *world = *state;
    struct salvaged salvaged;
    struct fake_store old;

    for (unsigned i = 0; i < PN_COUNT(rows); i++) {
        world_store(world, i + 1, 10, TWO, 5);
    }
    old = fake_store_snapshot(&world->store);
    fake_store_forget(&old);
    for (unsigned i = 0; i < PN_COUNT(rows); i++) {
        const enum fate fates[] = {rows[i].q, rows[i].r};
        const struct pn_str queues[] = {PN_STR("q"), PN_STR("r")};
        struct pn_id id = world_id(i + 1);

        for (size_t k = 0; k < 2; k++) {
            struct spool_key key;

            spool_key_of_job(&key, queues[k], 5, &id);
            if (fates[k] == SPOILED) {
                fake_store_find(&old, spool_key_str(&key))->value.data[9] ^= 1;
            } else if (fates[k] == MISSING) {
                fake_store_remove(&old, spool_key_str(&key));
            }
        }
    }
    (void)delete_all(world);
    world_store(world, 7, 10, TWO, 5);
    salvaged = salvage(world, &old, false, 1000);
    assert_int_equal(salvaged.status, 0);
    assert_int_equal(salvaged.sum.brought, 3);
    assert_int_equal(salvaged.sum.there_already, 1);
    assert_int_equal(salvaged.sum.bad, 3);
    /* The second's and the third's, two of the fourth and one of the sixth. */
    assert_int_equal(salvaged.sum.unread_jobs, 5);
    fake_store_fini(&old);
}

/* A salvage that is cut short says so, leaves nothing half done, and can be begun again. */
static void test_a_salvage_that_fails(void **state)
{
    struct world *world = *state;
    struct fake_store old;
    size_t failed = 0;

    world_store(world, 1, 3 * CHUNK, TWO, 5);
    world_store(world, 2, 10, ONE, 5);
    old = fake_store_snapshot(&world->store);
    fake_store_forget(&old);
    for (unsigned turns = 0; turns < 30; turns++) {
        for (int old_fails = 0; old_fails < 2; old_fails++) {
            struct salvaged salvaged;

            (void)delete_all(world);
            assert_string_equal(world_records(world), "");
            salvaged = salvage(world, &old, old_fails, turns);
            assert_true(salvaged.status == 0 || salvaged.status == PN_EIO);
            failed += salvaged.status < 0;
            assert_int_equal(fake_store_count(&world->store, 'p'), 0);
            assert_int_equal(fake_store_count(&world->store, 'm'), salvaged.sum.brought);
            salvaged = salvage(world, &old, false, 1000);
            assert_int_equal(salvaged.status, 0);
            assert_int_equal(salvaged.sum.brought + salvaged.sum.there_already, 2);
            assert_int_equal(world_load(world, 1, "q", QUEUE_DUE_NEVER, 3 * CHUNK), 0);
        }
    }
    assert_true(failed > 10);
    fake_store_fini(&old);
}

static void test_a_spool_that_cannot_be_made(void **state)
{
    static char long_path[5000];
    static const struct {
        const char *name, *path, *key, *fails;
        int code;
    } rows[] = {
        {"a path too long", long_path, "", NULL, PN_EINVAL},
        {"no hexadecimal digits", "/other",
         MASTER "0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmnopqrstuv\n", NULL,
         PN_EINVAL},
        {"no directory for keys", "/other",
         MASTER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF\r\n",
         "make_directory", PN_EIO},
    };
    struct world *world = *state;

    memset(long_path, '/', sizeof long_path - 1);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        const struct spool_options options = {.files = &world->files.port,
                                              .crypto = fake_crypto(),
                                              .path = rows[i].path,
                                              .key_file = rows[i].key[0] ? "/k" : "",
                                              .log = &world->log};
        struct pn_err err;

        fake_files_put(&world->files, "/k", pn_str_z(rows[i].key), 0600);
        world->files.fails = rows[i].fails;
        assert_null(spool_new(&options, &err));
        assert_int_equal(err.code, rows[i].code);
    }
    world->files.fails = NULL;
}

static struct spool_status status_of(struct world *world)
{
    struct spool_status status;

    spool_get_status(world->spool, &status);
    return status;
}

/* Each day has its key; many of them are there again after a start. */
static void test_many_days(void **state)
{
    struct world *world = *state;

    for (unsigned day = 0; day < 12; day++) {
        spool_maintain(world->spool, world->wall);
        world_store(world, day, 100, ONE, 5);
        assert_int_equal(world->status, 0);
        world->wall.ms += PN_DAYS(1);
    }
    for (int start = 0; start < 2; start++) {
        for (unsigned day = 0; day < 12; day++) {
            assert_int_equal(world_load(world, day, "q", 5, 100), 0);
        }
        world_stop(world, false);
        world_start(world, true);
    }
}

/* A number of messages that cannot be read never shreds a key. */
static void test_a_bad_number_of_a_day(void **state)
{
    struct world *world = *state;
    struct spool_key key;

    world_store(world, 1, 100, ONE, 5);
    world_store(world, 2, 100, ONE, 5);
    spool_key_of_day(&key, 20261121);
    fake_store_find(&world->store, spool_key_str(&key))->value.data[2] ^= 1;
    world_settle(world, 1, "q", 5, NULL, 0, NULL);
    world->wall.ms += PN_DAYS(2);
    for (int i = 0; i < 4; i++) {
        world->wall.ms += PN_MINUTES(2);
        spool_maintain(world->spool, world->wall);
        world_run(world);
    }
    assert_non_null(fake_files_find(&world->files, "/spool/keys/20261121.key"));
    assert_int_equal(world_load(world, 2, "q", 5, 100), 0);
}

/* With another key file the day keys do not open: said, and what they hold is held. */
static void test_another_key_file(void **state)
{
    struct world *world = *state;
    struct spool_message *message;
    struct pn_buf other;

    world_store(world, 1, 100, ONE, 5);
    world_stop(world, false);
    pn_buf_init(&other, 200);
    assert_int_equal(spool_key_make(fake_crypto(), &other), 0);
    fake_files_put(&world->files, "/key", pn_buf_str(&other), 0600);
    pn_buf_fini(&other);
    world_start(world, true);
    assert_true(world->logged[PN_EV_SPOOL_CORRUPT] > 0);
    assert_int_equal(world->logged[PN_EV_SPOOL_FAILED], 1);
    assert_non_null(strstr(status_of(world).trouble, "no mail is taken under it"));
    assert_int_equal(world_load(world, 1, "q", 5, 100), PN_ECORRUPT);
    message = world_message(world, 1, "q", QUEUE_DUE_NEVER);
    assert_non_null(strstr(message->last_reply.ptr, "the key of 20261121 is missing"));
    spool_message_free(&message);
    world_store(world, 2, 100, ONE, 5);
    assert_int_equal(world->status, PN_EIO); /* never in clear because there is no key */
    assert_int_equal(fake_store_count(&world->store, 'm'), 1);
}

/* A key that cannot be written or shredded is tried again, and said once. */
static void test_keys_on_a_failing_disk(void **state)
{
    static const char *const operations[] = {"write", "shred"};
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(operations); i++) {
        world->files.fails = operations[i];
        world->wall.ms += PN_DAYS(1);
        for (int n = 0; n < 4; n++) {
            world->wall.ms += PN_MINUTES(2);
            spool_maintain(world->spool, world->wall);
            world_run(world);
        }
        assert_int_equal(world->logged[PN_EV_SPOOL_FAILED], i + 1);
        assert_non_null(strstr(status_of(world).trouble, "the fake files fail"));
        world->files.fails = NULL;
        for (int n = 0; n < 2; n++) {
            world->wall.ms += PN_MINUTES(2);
            spool_maintain(world->spool, world->wall);
            world_run(world);
        }
        assert_int_equal(world->logged[PN_EV_SPOOL_RECOVERED], i + 1);
        assert_string_equal(status_of(world).trouble, "");
        world_store(world, 1, 100, ONE, 5);
        assert_int_equal(world->status, 0);
        world_settle(world, 1, "q", 5, NULL, 0, NULL);
    }
}

/* How much is free is not known: what was known stays so. */
static void test_space_that_cannot_be_asked(void **state)
{
    struct world *world = *state;

    world->files.fails = "space";
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 1000});
    assert_int_equal(status_of(world).free_octets, 500000);
    world->files.fails = NULL;
    spool_set_free_octets(world->spool, 600000);
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 2000});
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_FULL);
    spool_set_free_octets(world->spool, 1000);
    spool_maintain(world->spool, (struct pn_wall){world->wall.ms + 3000});
    assert_int_equal(spool_get_readiness(world->spool), SPOOL_READY);
}

/* Nobody observes, or no longer: nothing is told, and nothing is lost. */
static void test_without_an_observer(void **state)
{
    struct world *world = *state;

    spool_observe(world->spool, NULL, NULL, NULL);
    world_store(world, 1, 10, ONE, 5);
    assert_int_equal(world->status, 0);
    assert_int_equal(world->notice_count, 0);
    assert_int_equal(world_load(world, 1, "q", 5, 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_that_are_none),
        cmocka_unit_test(test_a_lost_chunk_holds_the_message),
        cmocka_unit_test_setup_teardown(test_later_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_job_fails_its_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_that_two_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_envelope_of_a_held_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_parked_record_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deletes_what_is_bad, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_very_long_reasons, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_erases_all_of_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_envelope_too_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_list_that_fails, set_up, tear_down),
        cmocka_unit_test(test_a_check_goes_on_behind_damage),
        cmocka_unit_test_setup_teardown(test_a_check_before_a_bad_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_salvage_counts_what_it_cannot_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_salvage_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_spool_that_cannot_be_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_days, set_up_encrypted, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_number_of_a_day, set_up_encrypted,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_another_key_file, set_up_encrypted, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_on_a_failing_disk, set_up_encrypted,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_space_that_cannot_be_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_an_observer, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("spool damage", tests, NULL, NULL);
}
