/* What base/heap and base/timer promise: order, stability, and no one fired who was stopped. */
#include "postern/base/mem.h"
#include "postern/base/rand.h"
#include "postern/base/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NODES 500

static void test_sorts_and_is_stable(void **state)
{
    static struct pn_heap_node nodes[NODES];
    struct pn_heap heap;
    struct pn_rand rand;
    struct pn_heap_node *last = NULL;
    size_t left = 0;

    (void)state;
    pn_rand_init(&rand, 1);
    pn_heap_init(&heap);
    assert_null(pn_heap_first(&heap));
    for (size_t i = 0; i < NODES; i++) {
        pn_heap_set(&heap, &nodes[i], (int64_t)pn_rand_below(&rand, 50) - 25);
    }
    for (size_t i = 0; i < NODES; i += 3) {
        pn_heap_set(&heap, &nodes[i], (int64_t)pn_rand_below(&rand, 50) - 25);
    }
    for (size_t i = 0; i < NODES; i += 7) {
        pn_heap_remove(&heap, &nodes[i]);
        pn_heap_remove(&heap, &nodes[i]);
        assert_false(pn_heap_has(&nodes[i]));
    }
    for (size_t i = 0; i < NODES; i++) {
        left += pn_heap_has(&nodes[i]);
    }
    assert_int_equal(heap.count, left);
    while (heap.count > 0) {
        struct pn_heap_node *first = pn_heap_first(&heap);

        assert_true(!last || first->key > last->key ||
                    (first->key == last->key && first->sequence > last->sequence));
        pn_heap_remove(&heap, first);
        last = first;
        left--;
    }
    assert_int_equal(left, 0);
    pn_heap_fini(&heap);
}

static void test_lets_go_of_its_nodes(void **state)
{
    struct pn_heap_node node = {0};
    struct pn_heap heap;

    (void)state;
    pn_heap_init(&heap);
    pn_heap_set(&heap, &node, 5);
    assert_true(pn_heap_has(&node));
    pn_heap_fini(&heap);
    assert_false(pn_heap_has(&node));
}

/* One timer of the script below: what it does to others when it fires. */
struct actor {
    struct pn_timer timer;
    struct script *script;
    char name;
    struct actor *sets; /* armed for `at` by this one; may be itself */
    int64_t at;
    struct actor *stops;
};

struct script {
    struct pn_timers timers;
    char fired[32];
    size_t count;
};

static void on_fire(struct pn_timer *timer)
{
    struct actor *actor = PN_CONTAINER(timer, struct actor, timer);
    struct script *script = actor->script;

    assert_false(pn_heap_has(&timer->node));
    assert_true(script->count + 1 < sizeof script->fired);
    script->fired[script->count++] = actor->name;
    script->fired[script->count] = '\0';
    if (actor->sets) {
        pn_timers_set(&script->timers, &actor->sets->timer, (struct pn_mono){actor->at});
    }
    if (actor->stops) {
        pn_timers_stop(&script->timers, &actor->stops->timer);
    }
}

static void run(struct script *script, int64_t now, const char *want)
{
    script->count = 0;
    script->fired[0] = '\0';
    pn_timers_run(&script->timers, (struct pn_mono){now});
    assert_string_equal(script->fired, want);
}

static void test_fires_what_is_due(void **state)
{
    struct script script = {0};
    struct actor actors[4];

    (void)state;
    pn_timers_init(&script.timers);
    assert_true(pn_timers_next(&script.timers).ms == INT64_MAX);
    for (size_t i = 0; i < PN_COUNT(actors); i++) {
        actors[i] = (struct actor){
            .timer.on_fire = on_fire, .script = &script, .name = (char)('a' + i)};
        pn_timers_set(&script.timers, &actors[i].timer, (struct pn_mono){100});
    }
    pn_timers_set(&script.timers, &actors[3].timer, (struct pn_mono){50});
    assert_int_equal(pn_timers_next(&script.timers).ms, 50);
    run(&script, 49, "");
    run(&script, 50, "d");
    run(&script, 99, "");
    pn_timers_stop(&script.timers, &actors[1].timer);
    pn_timers_stop(&script.timers, &actors[1].timer);
    run(&script, 1000, "ac");
    run(&script, 1000, "");
    pn_timers_fini(&script.timers);
}

static void test_what_is_set_meanwhile_waits(void **state)
{
    static const struct {
        const char *name;
        int64_t at; /* for which "a" arms itself when it fires at 100 */
    } rows[] = {{"for now", 100}, {"for the past", 3}, {"for the distant past", -9}};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct script script = {0};
        struct actor a = {.timer.on_fire = on_fire, .script = &script, .name = 'a'};
        struct actor b = {.timer.on_fire = on_fire, .script = &script, .name = 'b'};

        pn_timers_init(&script.timers);
        a.sets = &a;
        a.at = rows[i].at;
        pn_timers_set(&script.timers, &a.timer, (struct pn_mono){10});
        pn_timers_set(&script.timers, &b.timer, (struct pn_mono){20});
        run(&script, 100, "ab");
        assert_true(pn_timers_next(&script.timers).ms <= 100);
        a.sets = NULL;
        run(&script, 100, "a");
        pn_timers_fini(&script.timers);
    }
}

static void test_who_is_stopped_does_not_fire(void **state)
{
    struct script script = {0};
    struct actor a = {.timer.on_fire = on_fire, .script = &script, .name = 'a'};
    struct actor b = {.timer.on_fire = on_fire, .script = &script, .name = 'b'};
    struct actor c = {.timer.on_fire = on_fire, .script = &script, .name = 'c'};

    (void)state;
    pn_timers_init(&script.timers);
    a.stops = &b;
    pn_timers_set(&script.timers, &a.timer, (struct pn_mono){10});
    pn_timers_set(&script.timers, &b.timer, (struct pn_mono){10});
    pn_timers_set(&script.timers, &c.timer, (struct pn_mono){10});
    run(&script, 10, "ac");
    pn_timers_fini(&script.timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts_and_is_stable),
        cmocka_unit_test(test_lets_go_of_its_nodes),
        cmocka_unit_test(test_fires_what_is_due),
        cmocka_unit_test(test_what_is_set_meanwhile_waits),
        cmocka_unit_test(test_who_is_stopped_does_not_fire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
