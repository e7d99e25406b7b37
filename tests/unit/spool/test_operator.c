/* What the spool promises the operator: listings in bounded pieces, verbs, everything shown. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#define ONE ((const char *const[]){"q", NULL})
#define TWO ((const char *const[]){"q", "r", NULL})

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

/* What came back, as "q1 q2": queue and id of each row, "!" behind parked ones. */
struct answer {
    int status;
    size_t changed;
    char rows[4000];
    char next[2000];
    char reply[200]; /* of the last row */
    size_t recipients;
};

static void on_rows(void *owner, int status, struct spool_message *rows, struct pn_str next)
{
    struct answer *answer = owner;
    size_t len = 0;

    *answer = (struct answer){.status = status};
    (void)snprintf(answer->next, sizeof answer->next, "%.*s", PN_FMT(next));
    while (rows) {
        struct spool_message *row = rows;

        rows = row->next;
        len += (size_t)snprintf(answer->rows + len, sizeof answer->rows - len, "%s%.*s%d%s",
                                len > 0 ? " " : "", PN_FMT(row->queue), row->job.id.octets[15],
                                row->job.due_ms == 0 ? "!" : "");
        (void)snprintf(answer->reply, sizeof answer->reply, "%.*s", PN_FMT(row->last_reply));
        answer->recipients = row->recipient_count;
        assert_true(pn_str_eq(row->envelope.sender, PN_STR("sender@here.example")));
        assert_int_equal(row->text.len, 0);
        spool_message_free(&row);
    }
}

static struct answer list(struct world *world, const struct spool_filter *filter,
                          const char *after, size_t limit)
{
    struct answer answer = {.status = 1};

    spool_list(world->spool, &world->loop.port, filter, pn_str_z(after), limit, on_rows,
               &answer);
    world_run(world);
    return answer;
}

static void on_verb(void *owner, int status, size_t changed, struct pn_str next)
{
    struct answer *answer = owner;

    *answer = (struct answer){.status = status, .changed = changed};
    (void)snprintf(answer->next, sizeof answer->next, "%.*s", PN_FMT(next));
}

static size_t apply(struct world *world, enum spool_verb verb, struct spool_filter filter)
{
    struct answer answer = {.status = 1};

    filter.now_ms = filter.now_ms ? filter.now_ms : 50;
    spool_apply(world->spool, &world->loop.port, verb, &filter, PN_STR(""), on_verb, &answer);
    world_run(world);
    assert_int_equal(answer.status, 0);
    assert_string_equal(answer.next, "");
    return answer.changed;
}

/* Five messages: 1 to 3 in q and r, due 5; 4 and 5 in q alone, due 7 and never (held). */
static void fill(struct world *world)
{
    for (unsigned n = 1; n < 4; n++) {
        world_store(world, n, 10, TWO, 5);
    }
    world_store(world, 4, 10, ONE, 7);
    world_store(world, 5, 10, ONE, 8);
    assert_int_equal(apply(world, SPOOL_HOLD, (struct spool_filter){.id = world_id(5)}), 1);
    world_settle(world, 3, "r", 5, "a@r", 9, "b@r");
}

static void test_lists(void **state)
{
    static const struct {
        const char *name;
        struct spool_filter filter;
        const char *rows;
    } rows[] = {
        {"all", {.now_ms = 0}, "q1 q2 q3 q4 q5 r1 r2 r3"},
        {"a queue", {.queue = {"r", 1}}, "r1 r2 r3"},
        {"no such queue", {.queue = {"s", 1}}, ""},
        {"a queue's name with NUL", {.queue = {"q\0r", 3}}, ""},
        {"a sender", {.sender = {"HERE.example", 12}}, "q1 q2 q3 q4 q5 r1 r2 r3"},
        {"another sender", {.sender = {"there", 5}}, ""},
        {"a recipient", {.recipient = {"B@R", 3}}, "r1 r2"},
        {"a longer recipient", {.recipient = {"b@rrrrrrrrrr", 12}}, ""},
        {"held", {.held_only = true}, "q5"},
        {"parked", {.parked = true}, "r3!"},
        {"parked, of another queue", {.parked = true, .queue = {"q", 1}}, ""},
        {"old", {.older_than_ms = 10, .now_ms = 1012}, "q1 q2 r1 r2"},
    };
    struct world *world = *state;

    fill(world);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct answer answer = list(world, &rows[i].filter, "", 100);

        assert_int_equal(answer.status, 0);
        assert_string_equal(answer.rows, rows[i].rows);
        assert_string_equal(answer.next, "");
    }
}

static void test_lists_in_pieces(void **state)
{
    struct world *world = *state;
    struct spool_filter filter = {0};
    struct answer answer = {0};
    char all[100] = "";

    fill(world);
    do {
        char after[2000];

        memcpy(after, answer.next, sizeof after);
        answer = list(world, &filter, after, 3);
        (void)strncat(all, answer.rows, 90);
        (void)strncat(all, "|", 90);
        if (all[0] && answer.next[0] && strlen(all) < 12) {
            /* Where the next piece begins may be gone by then. */
            world_settle(world, 3, "q", 5, NULL, 0, NULL);
        }
    } while (answer.next[0]);
    assert_string_equal(all, "q1 q2 q3|q4 q5 r1|r2 r3|");
    answer = list(world, &filter, "no place", 1);
    assert_string_equal(answer.rows, "q1");
}

/* Where the reasons differ each stands behind its recipient. */
static void test_reasons_of_parked_recipients(void **state)
{
    static const struct spool_parked_recipient parked[] = {
        {{.address = {"a@q", 3}}, {"550 No", 6}}, {{.address = {"b@q", 3}}, {"waited 1d", 9}}};
    const struct spool_settlement settlement = {
        .key = {PN_STR("q"), 5, world_id(1)}, .parked = parked, .parked_count = 2};
    const struct spool_filter filter = {.parked = true};
    struct world *world = *state;

    world_store(world, 1, 10, ONE, 5);
    spool_settle(world->spool, &world->loop.port, &settlement, 1, (spool_done_fn *)free, NULL);
    world_run(world);
    assert_string_equal(list(world, &filter, "", 9).reply, "a@q: 550 No; b@q: waited 1d");
}

static void test_shows_everything(void **state)
{
    struct world *world = *state;
    struct answer answer = {.status = 1};
    struct pn_id id = world_id(3), none = world_id(77);

    fill(world);
    spool_show(world->spool, &world->loop.port, &id, on_rows, &answer);
    world_run(world);
    assert_int_equal(answer.status, 0);
    assert_string_equal(answer.rows, "q3 r3 r3!");
    assert_string_equal(answer.reply, "550 5.1.1 No");
    spool_show(world->spool, &world->loop.port, &none, on_rows, &answer);
    world_run(world);
    assert_int_equal(answer.status, PN_ENOENT);
}

static void test_holds_and_releases(void **state)
{
    struct world *world = *state;
    struct spool_filter all = {0}, held = {.held_only = true};
    struct answer answer;

    fill(world);
    world->notice_count = 0;
    assert_int_equal(apply(world, SPOOL_HOLD, (struct spool_filter){.queue = PN_STR("q")}), 4);
    assert_int_equal(world->notice_count, 8);
    assert_int_equal(world->notices[0].kind, SPOOL_JOB_REMOVED);
    assert_int_equal(world->notices[1].kind, SPOOL_JOB_ADDED);
    assert_int_equal(world->notices[1].job.due_ms, QUEUE_DUE_NEVER);
    answer = list(world, &held, "", 100);
    assert_string_equal(answer.rows, "q1 q2 q3 q4 q5");
    assert_string_equal(answer.reply, "held by the operator");
    assert_string_equal(world_counts(world, "q"), "5/50/0");
    assert_int_equal(apply(world, SPOOL_HOLD, (struct spool_filter){.queue = PN_STR("q")}), 0);
    assert_int_equal(apply(world, SPOOL_RETRY, (struct spool_filter){.queue = PN_STR("q")}), 0);
    assert_int_equal(apply(world, SPOOL_RELEASE, all), 5);
    assert_int_equal(world_load(world, 5, "q", 50, 10), 0);
    answer = list(world, &held, "", 100);
    assert_string_equal(answer.rows, "");
    assert_string_equal(world_counts(world, "q"), "5/50/0");
}

static void test_retries(void **state)
{
    struct world *world = *state;

    world_store(world, 1, 10, ONE, 100);
    world_store(world, 2, 10, ONE, 20); /* due already: counted, and left */
    world->notice_count = 0;
    assert_int_equal(apply(world, SPOOL_RETRY, (struct spool_filter){0}), 2);
    assert_int_equal(world->notice_count, 2);
    assert_int_equal(world_load(world, 1, "q", 50, 10), 0);
    assert_int_equal(world_load(world, 2, "q", 20, 10), 0);
}

static void test_deletes(void **state)
{
    struct world *world = *state;

    fill(world);
    assert_int_equal(apply(world, SPOOL_DELETE, (struct spool_filter){.queue = PN_STR("q")}),
                     5);
    assert_string_equal(world_counts(world, "q"), "");
    assert_string_equal(world_records(world), "b3 c1 j3 k1 m3");
    assert_int_equal(apply(world, SPOOL_DELETE, (struct spool_filter){0}), 3);
    assert_string_equal(world_records(world), "b1 c1 k1 m1");
    assert_int_equal(apply(world, SPOOL_DELETE, (struct spool_filter){.parked = true}), 1);
    assert_string_equal(world_records(world), "");
}

static void test_releases_what_is_parked(void **state)
{
    struct world *world = *state;
    struct answer answer = {0};

    fill(world);
    assert_int_equal(apply(world, SPOOL_HOLD, (struct spool_filter){.parked = true}), 0);
    assert_int_equal(apply(world, SPOOL_RELEASE, (struct spool_filter){.parked = true}), 1);
    assert_string_equal(world_counts(world, "r"), "3/30/0");
    answer =
        list(world, &(struct spool_filter){.id = world_id(3), .queue = PN_STR("r")}, "", 9);
    assert_string_equal(answer.rows, "r3");
    assert_int_equal(answer.recipients, 2); /* it joined the job that was there */
    assert_int_equal(world_load(world, 3, "r", 50, 10), 0);

    world_settle(world, 3, "r", 50, NULL, 0, "a@r"); /* parked, and no job there */
    assert_int_equal(apply(world, SPOOL_RELEASE, (struct spool_filter){.parked = true}), 1);
    assert_int_equal(world_load(world, 3, "r", 50, 10), 0);
    assert_string_equal(world_counts(world, "r"), "3/30/0");
}

static size_t forward(struct world *world, const char *queue, const char *recipient)
{
    const struct spool_filter filter = {.parked = true, .now_ms = 50};
    struct answer answer = {.status = 1};

    spool_forward(world->spool, &world->loop.port, &filter, PN_STR(""), pn_str_z(queue),
                  pn_str_z(recipient), on_verb, &answer);
    world_run(world);
    assert_int_equal(answer.status, 0);
    return answer.changed;
}

static void test_forwards_what_is_parked(void **state)
{
    struct world *world = *state;
    struct spool_message *message;

    world_store(world, 1, 10, ONE, 5);
    world_settle(world, 1, "q", 5, NULL, 0, "a@q");
    assert_int_equal(forward(world, "s", "me@s"), 1);
    assert_string_equal(world_counts(world, "q"), "");
    assert_string_equal(world_counts(world, "s"), "1/10/0");
    message = world_message(world, 1, "s", 50);
    assert_int_equal(message->status, 0);
    assert_int_equal(message->recipient_count, 1);
    assert_true(pn_str_eq(message->recipients[0].address, PN_STR("me@s")));
    assert_int_equal(message->recipients[0].notify, MAIL_NOTIFY_NEVER);
    assert_int_equal(message->job.arrival_ms, 50);
    spool_message_free(&message);
    assert_int_equal(forward(world, "s", "me@s"), 0);
    world_settle(world, 1, "s", 50, NULL, 0, NULL);
    assert_string_equal(world_records(world), "");
}

/* Where the queue has a job of the message it is joined, and nobody is in it twice. */
static void test_forwards_into_a_job(void **state)
{
    struct world *world = *state;
    struct spool_message *message;

    world_store(world, 1, 10, TWO, 5);
    world_settle(world, 1, "r", 5, NULL, 0, "a@r");
    assert_int_equal(forward(world, "q", "b@q"), 1);
    assert_string_equal(world_counts(world, "r"), "");
    message = world_message(world, 1, "q", 50);
    assert_int_equal(message->recipient_count, 2);
    spool_message_free(&message);
}

static void test_marks(void **state)
{
    struct world *world = *state;
    const struct pn_id id = world_id(1), other = world_id(2);
    struct spool_message *message;

    world_store(world, 1, 10, ONE, 5);
    spool_mark(world->spool, &world->loop.port, &id, MAIL_WARNED, (spool_done_fn *)free, NULL);
    spool_mark(world->spool, &world->loop.port, &other, MAIL_WARNED, (spool_done_fn *)free,
               NULL);
    world_run(world);
    message = world_message(world, 1, "q", 5);
    assert_int_equal(message->envelope.flags & MAIL_WARNED, MAIL_WARNED);
    spool_message_free(&message);
    assert_int_equal(world_load(world, 1, "q", 5, 10), 0);
    assert_int_equal(world_load(world, 2, "q", 5, 10), PN_ENOENT);
}

/* A delivery that ends between an operator's look and the verb is not undone. */
static void test_a_verb_looks_again(void **state)
{
    struct world *world = *state;
    const struct spool_settlement end = {.key = {PN_STR("q"), 5, world_id(1)}};
    struct answer answer = {.status = 1};

    world_store(world, 1, 10, ONE, 5);
    spool_apply(world->spool, &world->loop.port, SPOOL_HOLD, &(struct spool_filter){0},
                PN_STR(""), on_verb, &answer);
    (void)fake_store_turn(&world->store); /* it has looked */
    spool_settle(world->spool, &world->loop.port, &end, 1, (spool_done_fn *)free, NULL);
    world_run(world);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.changed, 0);
    assert_string_equal(world_records(world), "");
}

static void test_a_failed_verb_says_so(void **state)
{
    struct world *world = *state;
    struct answer answer = {.status = 1};

    world_store(world, 1, 10, ONE, 5);
    spool_apply(world->spool, &world->loop.port, SPOOL_DELETE, &(struct spool_filter){0},
                PN_STR(""), on_verb, &answer);
    (void)fake_store_turn(&world->store);
    world->store.failure = FAKE_LOSES;
    world_run(world);
    assert_int_equal(answer.status, PN_EIO);
    fake_store_heal(&world->store);
    world_run(world);
    assert_int_equal(world_load(world, 1, "q", 5, 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists_in_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reasons_of_parked_recipients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shows_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_holds_and_releases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deletes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_releases_what_is_parked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forwards_what_is_parked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forwards_into_a_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_verb_looks_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_verb_says_so, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
