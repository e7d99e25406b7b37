/*
 * sim_loop.c - virtual time: events of the world, and the daemon's loops.
 *
 * There is one heap of events for what the world does by itself, and each loop has the
 * timers, posts and deferred tasks that the port gives it. A step looks who has something
 * to do at this moment (the first event, each loop) and draws one of them; only when nobody
 * has anything does time move on, to the next event or timer. The key of an event carries
 * sixteen random bits below the millisecond, which is how simultaneous events are ordered;
 * who needs an order (the octets of a connection) asks for a key above the last one.
 *
 * A turn of a loop is what net/ makes of it: posts, due timers, deferred tasks, and then
 * output leaves.
 */
#include "sim_priv.h"

#define KEY_BITS   16
#define STEPS_MOST 3000000 /* at one millisecond: the world is stuck */

static bool loop_take_post(struct loop *port, struct loop_task *task)
{
    struct sim_loop *loop = PN_CONTAINER(port, struct sim_loop, port);

    if (loop->ended) {
        return false;
    }
    task->next = NULL;
    *loop->posted_end = task;
    loop->posted_end = &task->next;
    return true;
}

static const struct loop_ops loop_ops = {.post = loop_take_post};

static void read_clock(struct sim_loop *loop)
{
    const struct sim *sim = loop->sim;

    loop->port.now.ms = sim->now_ms - sim->boot_ms;
    loop->port.wall.ms = sim->now_ms + sim->wall_offset;
}

struct sim_loop *sim_loop_new(struct sim *sim)
{
    struct sim_loop *loop = PN_NEW(struct sim_loop);

    loop_init(&loop->port, &loop_ops);
    loop->sim = sim;
    loop->posted_end = &loop->posted;
    sim_net_init_loop(loop);
    sim_dns_init_loop(loop);
    read_clock(loop);
    pn_assert(sim->loop_count < PN_COUNT(sim->loops));
    sim->loops[sim->loop_count++] = loop;
    return loop;
}

void sim_loop_free(struct sim_loop **pointer)
{
    struct sim_loop *loop = *pointer;
    struct sim *sim = loop->sim;
    size_t i = 0;

    *pointer = NULL;
    while (sim->loops[i] != loop) {
        i++;
    }
    sim->loops[i] = sim->loops[--sim->loop_count];
    pn_assert(!loop->posted && !loop->port.deferred && !loop->flush);
    pn_timers_fini(&loop->port.timers);
    free(loop);
}

bool sim_loop_ready(const struct sim_loop *loop)
{
    return loop->posted || loop->port.deferred || loop->flush ||
           pn_timers_next(&loop->port.timers).ms <= loop->sim->now_ms - loop->sim->boot_ms;
}

void sim_loop_turn(struct sim_loop *loop)
{
    struct loop_task *task = loop->posted;

    read_clock(loop);
    loop->posted = NULL;
    loop->posted_end = &loop->posted;
    while (task) {
        struct loop_task *next = task->next;

        task->on_run(task);
        task = next;
    }
    pn_timers_run(&loop->port.timers, loop->port.now);
    loop_run_deferred(&loop->port);
    sim_net_flush(loop);
}

int64_t sim_event_at(struct sim *sim, struct sim_event *event, int64_t at_ms, int64_t min_key)
{
    int64_t at = at_ms > sim->now_ms ? at_ms : sim->now_ms;
    int64_t key = at << KEY_BITS | (int64_t)pn_rand_below(&sim->rand, 1 << KEY_BITS);

    if (key < min_key) {
        key = min_key;
    }
    pn_heap_set(&sim->events, &event->node, key);
    return key;
}

void sim_event_after(struct sim *sim, struct sim_event *event, int64_t delay_ms)
{
    sim_event_at(sim, event, sim->now_ms + delay_ms, 0);
}

void sim_event_stop(struct sim *sim, struct sim_event *event)
{
    pn_heap_remove(&sim->events, &event->node);
}

static bool event_is_due(const struct sim *sim)
{
    const struct pn_heap_node *first = pn_heap_first(&sim->events);

    return first && first->key >> KEY_BITS <= sim->now_ms;
}

static void fire(struct sim *sim)
{
    struct pn_heap_node *first = pn_heap_first(&sim->events);
    struct sim_event *event = PN_CONTAINER(first, struct sim_event, node);

    pn_heap_remove(&sim->events, first);
    event->on_fire(event);
}

/* The power goes where it was ordered; says whether it went. */
static bool cut(struct sim *sim)
{
    bool due = sim->cut_now;

    sim->cut_now = false;
    if (due) {
        sim_crash(sim, sim->disk.restart_ms);
    }
    return due;
}

bool sim_step(struct sim *sim)
{
    struct sim_loop *ready[PN_COUNT(sim->loops) + 1];
    size_t count = 0, drawn;

    if (cut(sim)) { /* a start that failed was ordered from outside of all steps */
        return true;
    }
    for (size_t i = 0; i < sim->loop_count; i++) {
        if (sim_loop_ready(sim->loops[i])) {
            ready[count++] = sim->loops[i];
        }
    }
    if (event_is_due(sim)) {
        ready[count++] = NULL;
    }
    if (count == 0) {
        sim->steps_now = 0;
        return false;
    }
    if (++sim->steps_now > STEPS_MOST) {
        sim_fail(sim, "the world is stuck: time does not move on");
    }
    drawn = count == 1 ? 0 : (size_t)pn_rand_below(&sim->rand, count);
    if (ready[drawn]) {
        sim_loop_turn(ready[drawn]);
    } else {
        fire(sim);
    }
    (void)cut(sim);
    sim_check_step(sim);
    return true;
}

void sim_events_drain(struct sim *sim)
{
    while (pn_heap_first(&sim->events)) {
        fire(sim);
    }
}

/* When something will happen next. */
static int64_t next_ms(const struct sim *sim)
{
    const struct pn_heap_node *first = pn_heap_first(&sim->events);
    int64_t next = first ? first->key >> KEY_BITS : INT64_MAX;

    for (size_t i = 0; i < sim->loop_count; i++) {
        int64_t timer = pn_timers_next(&sim->loops[i]->port.timers).ms;

        if (timer != PN_MONO_NEVER.ms && timer + sim->boot_ms < next) {
            next = timer + sim->boot_ms;
        }
    }
    return next;
}

bool sim_run_until(struct sim *sim, sim_until_fn *fn, void *arg, int64_t most_ms)
{
    int64_t until = sim->now_ms + most_ms;

    while (true) {
        int64_t next;

        while (sim_step(sim)) {
        }
        if (fn && fn(sim, arg)) {
            return true;
        }
        next = next_ms(sim);
        if (next > until) {
            sim->now_ms = until;
            return false;
        }
        sim->now_ms = next;
    }
}

void sim_run(struct sim *sim, int64_t ms)
{
    (void)sim_run_until(sim, NULL, NULL, ms);
}

int64_t sim_now(const struct sim *sim)
{
    return sim->now_ms;
}

struct pn_rand *sim_rand(struct sim *sim)
{
    return &sim->rand;
}

bool sim_chance(struct sim *sim, unsigned permille)
{
    return pn_rand_below(&sim->rand, 1000) < permille;
}

void sim_step_clock(struct sim *sim, int64_t ms)
{
    sim->wall_offset += ms;
}
