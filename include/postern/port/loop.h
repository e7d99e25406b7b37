/*
 * port/loop.h - one thread's event loop: its clock, its timers, and posts from others.
 *
 * net/ makes loops on libuv; the simulation makes them on a virtual clock. Both embed
 * struct loop at the front of their own. Time is frozen for one turn, so that everything
 * in a turn agrees on now. All functions but loop_post belong to the loop's own thread.
 */
#ifndef POSTERN_PORT_LOOP_H
#define POSTERN_PORT_LOOP_H

#include <stdbool.h>

#include "postern/base/err.h"
#include "postern/base/timer.h"

struct loop;
struct loop_task;
typedef void loop_task_fn(struct loop_task *task);

/* A piece of work that crosses to a loop. Embedded by its sender; the loop owns it until
 * on_run, which may free what embeds it. */
struct loop_task {
    struct loop_task *next;
    loop_task_fn *on_run;
};

struct loop_ops {
    bool (*post)(struct loop *loop, struct loop_task *task);
};

struct loop {
    const struct loop_ops *ops;
    struct pn_mono now;
    struct pn_wall wall;
    struct pn_timers timers;
    struct loop_task *deferred; /* run before this turn ends, in order */
    struct loop_task **deferred_end;
};

/* Used by those who make loops. */
static inline void loop_init(struct loop *loop, const struct loop_ops *ops)
{
    loop->ops = ops;
    loop->now = (struct pn_mono){0};
    loop->wall = (struct pn_wall){0};
    pn_timers_init(&loop->timers);
    loop->deferred = NULL;
    loop->deferred_end = &loop->deferred;
}

/*
 * Hands a task to a loop; any thread may call it. Tasks of one sender run in order. False
 * when the loop has ended: the task was not taken, and the sender frees it.
 */
static inline bool loop_post(struct loop *loop, struct loop_task *task) PN_WARN_UNUSED;
static inline bool loop_post(struct loop *loop, struct loop_task *task)
{
    return loop->ops->post(loop, task);
}

/* Runs the task before this turn of the loop ends, but not inside the caller. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
    task->next = NULL;
    *loop->deferred_end = task;
    loop->deferred_end = &task->next;
}

static inline void loop_timer_after(struct loop *loop, struct pn_timer *timer, int64_t delay_ms)
{
    pn_timers_set(&loop->timers, timer, pn_mono_add(loop->now, delay_ms));
}

static inline void loop_timer_stop(struct loop *loop, struct pn_timer *timer)
{
    pn_timers_stop(&loop->timers, timer);
}

/* Used by those who make loops: runs what was deferred, and what that defers. */
static inline void loop_run_deferred(struct loop *loop)
{
    while (loop->deferred) {
        struct loop_task *task = loop->deferred;

        loop->deferred = task->next;
        if (!loop->deferred) {
            loop->deferred_end = &loop->deferred;
        }
        task->on_run(task);
    }
}

#endif
