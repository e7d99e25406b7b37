/*
 * The loop: order of tasks and timers, posts from threads, the end, watches, signals.
 */
#include "helper_net.h"

#include "postern/base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define THREADS 4
#define POSTS   5000

struct note {
    struct loop_task task;
    struct pn_timer timer;
    struct diary *diary;
    char letter;
};

/* Writes down what ran, in order; stops the loop when it is as long as expected. */
struct diary {
    struct rig rig;
    char text[32];
    size_t len;
    size_t want;
    struct note notes[8];
};

static void diary_write(struct diary *diary, char letter)
{
    assert_true(diary->len < sizeof diary->text - 1);
    diary->text[diary->len++] = letter;
    if (diary->len == diary->want) {
        net_loop_stop(diary->rig.loop);
    }
}

static void note_task(struct loop_task *task)
{
    struct note *note = PN_CONTAINER(task, struct note, task);

    diary_write(note->diary, note->letter);
}

static void note_timer(struct pn_timer *timer)
{
    struct note *note = PN_CONTAINER(timer, struct note, timer);

    diary_write(note->diary, note->letter);
}

static void diary_init(struct diary *diary, size_t want)
{
    *diary = (struct diary){.want = want};
    rig_init(&diary->rig);
    for (size_t i = 0; i < PN_COUNT(diary->notes); i++) {
        diary->notes[i] = (struct note){.task.on_run = note_task,
                                        .timer.on_fire = note_timer,
                                        .diary = diary,
                                        .letter = (char)('a' + i)};
    }
}

static void diary_end(struct diary *diary, const char *text)
{
    assert_string_equal(diary->text, text);
    rig_fini(&diary->rig);
}

static void test_timers_fire_in_order_of_time(void **state)
{
    static const int64_t delays_ms[] = {30, 10, 20, 0, 10};
    struct diary diary;

    (void)state;
    diary_init(&diary, 5);
    for (size_t i = 0; i < PN_COUNT(delays_ms); i++) {
        loop_timer_after(diary.rig.port, &diary.notes[i].timer, delays_ms[i]);
    }
    rig_run(&diary.rig);
    diary_end(&diary, "dbeca");
}

static void defer_more(struct loop_task *task)
{
    struct note *note = PN_CONTAINER(task, struct note, task);

    diary_write(note->diary, note->letter);
    loop_defer(note->diary->rig.port, &note->diary->notes[3].task);
}

static void test_deferred_run_in_order_and_before_timers_of_later_turns(void **state)
{
    struct diary diary;

    (void)state;
    diary_init(&diary, 5);
    diary.notes[0].task.on_run = defer_more;
    loop_timer_after(diary.rig.port, &diary.notes[4].timer, 1);
    loop_defer(diary.rig.port, &diary.notes[0].task);
    loop_defer(diary.rig.port, &diary.notes[1].task);
    loop_defer(diary.rig.port, &diary.notes[2].task);
    rig_run(&diary.rig);
    diary_end(&diary, "abcde");
}

static void test_posts_before_stop_run_and_later_ones_are_refused(void **state)
{
    struct diary diary;

    (void)state;
    diary_init(&diary, 99);
    assert_true(loop_post(diary.rig.port, &diary.notes[0].task));
    assert_true(loop_post(diary.rig.port, &diary.notes[1].task));
    net_loop_stop(diary.rig.loop);
    assert_true(loop_post(diary.rig.port, &diary.notes[2].task));
    rig_run(&diary.rig);
    assert_string_equal(diary.text, "abc");
    assert_false(loop_post(diary.rig.port, &diary.notes[3].task));
    diary_end(&diary, "abc");
}

static void test_posts_to_a_loop_that_never_ran_run_when_it_is_freed(void **state)
{
    struct diary diary;

    (void)state;
    diary_init(&diary, 99);
    assert_true(loop_post(diary.rig.port, &diary.notes[0].task));
    rig_fini(&diary.rig);
    assert_string_equal(diary.text, "a");
}

/* Threads that post: each sender's tasks must come in order, and none be lost. */
struct crowd {
    struct rig rig;
    size_t left;
    size_t next[THREADS];
};

struct sent {
    struct loop_task task;
    struct crowd *crowd;
    size_t sender;
    size_t number;
};

struct sender {
    pthread_t thread;
    struct crowd *crowd;
    size_t index;
};

static void sent_run(struct loop_task *task)
{
    struct sent *sent = PN_CONTAINER(task, struct sent, task);
    struct crowd *crowd = sent->crowd;

    assert_int_equal(sent->number, crowd->next[sent->sender]++);
    free(sent);
    if (--crowd->left == 0) {
        net_loop_stop(crowd->rig.loop);
    }
}

static void *sender_main(void *arg)
{
    struct sender *sender = arg;

    for (size_t i = 0; i < POSTS; i++) {
        struct sent *sent = PN_NEW(struct sent);

        *sent = (struct sent){.task.on_run = sent_run,
                              .crowd = sender->crowd,
                              .sender = sender->index,
                              .number = i};
        if (!loop_post(sender->crowd->rig.port, &sent->task)) {
            free(sent);
        }
    }
    return NULL;
}

static void crowd_start(struct crowd *crowd, struct sender *senders)
{
    for (size_t i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.crowd = crowd, .index = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]), 0);
    }
}

static void test_posts_from_four_threads(void **state)
{
    struct crowd crowd = {.left = (size_t)THREADS * POSTS};
    struct sender senders[THREADS];

    (void)state;
    rig_init(&crowd.rig);
    crowd_start(&crowd, senders);
    rig_run(&crowd.rig);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(crowd.next[i], POSTS);
    }
    rig_fini(&crowd.rig);
}

static void test_loop_ends_while_threads_post(void **state)
{
    struct crowd crowd = {.left = 1000};
    struct sender senders[THREADS];

    (void)state;
    rig_init(&crowd.rig);
    crowd_start(&crowd, senders);
    rig_run(&crowd.rig);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(senders[i].thread, NULL);
    }
    rig_fini(&crowd.rig); /* what was neither run nor refused would be a leak */
}

struct clock_test {
    struct rig rig;
    struct pn_timer timer;
    struct loop_task later;
    struct pn_mono seen;
    int turns;
};

static void clock_later(struct loop_task *task)
{
    struct clock_test *test = PN_CONTAINER(task, struct clock_test, later);

    assert_int_equal(test->rig.port->now.ms, test->seen.ms);
    assert_true(test->rig.port->wall.ms > 1600000000000);
    if (++test->turns == 3) {
        net_loop_stop(test->rig.loop);
    } else {
        loop_timer_after(test->rig.port, &test->timer, 5);
    }
}

static void clock_fire(struct pn_timer *timer)
{
    struct clock_test *test = PN_CONTAINER(timer, struct clock_test, timer);

    assert_true(test->rig.port->now.ms >= test->seen.ms + 5);
    test->seen = test->rig.port->now;
    loop_defer(test->rig.port, &test->later);
}

static void test_now_stands_still_in_a_turn_and_timers_are_never_early(void **state)
{
    struct clock_test test = {.timer.on_fire = clock_fire, .later.on_run = clock_later};

    (void)state;
    rig_init(&test.rig);
    test.seen = test.rig.port->now;
    loop_timer_after(test.rig.port, &test.timer, 5);
    rig_run(&test.rig);
    assert_int_equal(test.turns, 3);
    rig_fini(&test.rig);
}

struct pipe_test {
    struct rig rig;
    int fds[2];
    struct net_watch *watch;
    unsigned calls;
};

static void on_pipe(void *owner, unsigned events)
{
    struct pipe_test *test = owner;
    char c;

    assert_int_equal(events, NET_READABLE);
    assert_int_equal(read(test->fds[0], &c, 1), 1);
    if (++test->calls == 2) {
        net_watch_free(&test->watch); /* inside its own function */
        assert_null(test->watch);
        net_loop_stop(test->rig.loop);
    }
}

static void test_watch_is_level_triggered_and_may_end_inside_itself(void **state)
{
    struct pipe_test test = {0};

    (void)state;
    rig_init(&test.rig);
    assert_int_equal(pipe(test.fds), 0);
    assert_int_equal(write(test.fds[1], "abc", 3), 3);
    test.watch = net_watch_new(test.rig.loop, test.fds[0], 0, on_pipe, &test);
    net_watch_set(test.watch, NET_READABLE);
    rig_run(&test.rig);
    assert_int_equal(test.calls, 2);
    rig_fini(&test.rig);
    close(test.fds[0]);
    close(test.fds[1]);
}

static void on_signal(void *owner, int number)
{
    struct rig *rig = owner;

    assert_int_equal(number, SIGUSR1);
    net_loop_stop(rig->loop);
}

static void on_wrong_signal(void *owner, int number)
{
    (void)owner;
    fail_msg("signal %d went to the function that was replaced", number);
}

static void test_signal_arrives_as_an_event(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    net_loop_on_signal(rig.loop, SIGUSR1, on_wrong_signal, &rig);
    net_loop_on_signal(rig.loop, SIGUSR1, on_signal, &rig);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    rig_run(&rig);
    rig_fini(&rig);
}

static void test_own_addresses_have_loopback(void **state)
{
    struct pn_ip addresses[64];
    size_t count = net_own_addresses(addresses, PN_COUNT(addresses));
    bool found = false;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        found = found || pn_ip_is_loopback(&addresses[i]);
    }
    assert_true(found);
    assert_int_equal(net_own_addresses(addresses, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_in_order_of_time),
        cmocka_unit_test(test_deferred_run_in_order_and_before_timers_of_later_turns),
        cmocka_unit_test(test_posts_before_stop_run_and_later_ones_are_refused),
        cmocka_unit_test(test_posts_to_a_loop_that_never_ran_run_when_it_is_freed),
        cmocka_unit_test(test_posts_from_four_threads),
        cmocka_unit_test(test_loop_ends_while_threads_post),
        cmocka_unit_test(test_now_stands_still_in_a_turn_and_timers_are_never_early),
        cmocka_unit_test(test_watch_is_level_triggered_and_may_end_inside_itself),
        cmocka_unit_test(test_signal_arrives_as_an_event),
        cmocka_unit_test(test_own_addresses_have_loopback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
