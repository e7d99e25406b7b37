/*
 * net/loop.c - event loops on libuv: turns, clock, timers, posts, signals.
 *
 * Everything that belongs to others runs in one place, the turn, which is libuv's check
 * phase: right after the poll the clock is read, then posted tasks, due timers and
 * deferred tasks run, then the streams send what they gathered. libuv's own callbacks,
 * which come inside the poll, only note what happened and defer the rest. So nobody ever
 * sees a clock that is older than the poll (FAULTS 8.10), and the octets of a turn leave
 * in one write for each connection.
 *
 * Before the poll (prepare) the same is done once more, for what the flush itself caused:
 * an owner whose output has drained and who writes again. What that causes waits for the
 * next turn, so that a fast peer cannot keep the loop from polling.
 *
 * One uv_timer stands for all timers of the loop. It does nothing but bound the sleep; the
 * set of timers decides by our clock. libuv's clock may be a coarse one: a wake-up that
 * comes early finds nothing due and sets the timer again.
 *
 * A post that finds the list empty wakes the loop. The end of the loop is decided under
 * the lock together with taking the last posts: each task either runs or was not taken.
 */
#include "loop_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <signal.h>
#include <time.h>

static void clock_read(struct net_loop *loop)
{
    struct timespec mono;
    struct timespec wall;

    pn_assert(clock_gettime(CLOCK_MONOTONIC, &mono) == 0);
    pn_assert(clock_gettime(CLOCK_REALTIME, &wall) == 0);
    loop->port.now.ms = (int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000;
    loop->port.wall.ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000;
}

/* Runs what was posted. Returns true when the loop ends with these tasks. */
static bool posts_run(struct net_loop *loop)
{
    struct loop_task *task;
    bool ends;

    loop->woken = false;
    pthread_mutex_lock(&loop->lock);
    task = loop->posted;
    loop->posted = NULL;
    loop->posted_end = &loop->posted;
    ends = loop->stop_asked;
    loop->ended = loop->ended || ends;
    pthread_mutex_unlock(&loop->lock);
    while (task) {
        struct loop_task *next = task->next;

        task->on_run(task);
        task = next;
    }
    return ends;
}

static void on_check(uv_check_t *check)
{
    struct net_loop *loop = check->data;
    bool ends = false;

    clock_read(loop);
    if (loop->woken) {
        ends = posts_run(loop);
    }
    pn_timers_run(&loop->port.timers, loop->port.now);
    loop_run_deferred(&loop->port);
    net_stream_flush_all(loop);
    if (ends) {
        uv_stop(&loop->uv);
    }
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* the check phase looks at the timers */
}

/* Bounds the coming sleep by the first timer. */
static void sleep_bound(struct net_loop *loop)
{
    struct pn_mono next = pn_timers_next(&loop->port.timers);
    int64_t delay_ms;

    if (loop->port.deferred || loop->flush) {
        next = loop->port.now;
    }
    if (next.ms == PN_MONO_NEVER.ms) {
        uv_timer_stop(&loop->timer);
        return;
    }
    if (next.ms == loop->armed_for.ms && uv_is_active((uv_handle_t *)&loop->timer)) {
        return;
    }
    /* The turn may have taken long: both clocks are brought up to date. */
    uv_update_time(&loop->uv);
    delay_ms = 0;
    if (next.ms > loop->port.now.ms) {
        struct timespec mono;

        pn_assert(clock_gettime(CLOCK_MONOTONIC, &mono) == 0);
        delay_ms = next.ms - ((int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000);
    }
    uv_timer_start(&loop->timer, on_timer, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
    loop->armed_for = next;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct net_loop *loop = prepare->data;

    loop_run_deferred(&loop->port);
    net_stream_flush_all(loop);
    sleep_bound(loop);
}

static void on_async(uv_async_t *async)
{
    struct net_loop *loop = async->data;

    loop->woken = true;
}

static bool loop_take_post(struct loop *port, struct loop_task *task)
{
    struct net_loop *loop = PN_CONTAINER(port, struct net_loop, port);
    bool taken;

    task->next = NULL;
    pthread_mutex_lock(&loop->lock);
    taken = !loop->ended;
    if (taken) {
        if (!loop->posted) {
            uv_async_send(&loop->async);
        }
        *loop->posted_end = task;
        loop->posted_end = &task->next;
    }
    pthread_mutex_unlock(&loop->lock);
    return taken;
}

static const struct loop_ops loop_ops = {.post = loop_take_post};
static const struct network_ops network_ops = {.connect = net_stream_connect,
                                               .connect_unix = net_stream_connect_unix};

/* libuv writes without MSG_NOSIGNAL: a peer that went away must not end the process. */
static void ignore_sigpipe(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    pn_assert(sigaction(SIGPIPE, &action, NULL) == 0);
}

struct net_loop *net_loop_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct net_loop *loop = PN_NEW(struct net_loop);

    pn_assert(pthread_once(&once, ignore_sigpipe) == 0);
    loop_init(&loop->port, &loop_ops);
    loop->network.ops = &network_ops;
    loop->armed_for = PN_MONO_NEVER;
    loop->posted_end = &loop->posted;
    pn_assert(pthread_mutex_init(&loop->lock, NULL) == 0);
    pn_assert(uv_loop_init(&loop->uv) == 0);
    pn_assert(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    pn_assert(uv_check_init(&loop->uv, &loop->check) == 0);
    pn_assert(uv_timer_init(&loop->uv, &loop->timer) == 0);
    pn_assert(uv_async_init(&loop->uv, &loop->async, on_async) == 0);
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->timer.data = loop;
    loop->async.data = loop;
    pn_assert(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    pn_assert(uv_check_start(&loop->check, on_check) == 0);
    clock_read(loop);
    return loop;
}

void net_loop_free(struct net_loop **loop_ptr)
{
    struct net_loop *loop = *loop_ptr;

    if (!loop) {
        return;
    }
    *loop_ptr = NULL;
    pthread_mutex_lock(&loop->lock);
    loop->stop_asked = true;
    pthread_mutex_unlock(&loop->lock);
    posts_run(loop); /* what was taken runs, even when the loop never did */
    loop_run_deferred(&loop->port);
    while (loop->objects) {
        struct net_object *object = loop->objects;

        object->on_drop(object);
        pn_assert(loop->objects != object);
    }
    loop_run_deferred(&loop->port);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    pn_assert(uv_loop_close(&loop->uv) == 0);
    for (size_t i = 0; i < loop->spare_count; i++) {
        pn_buf_fini(&loop->spare[i]);
    }
    pn_timers_fini(&loop->port.timers);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

void net_loop_run(struct net_loop *loop)
{
    clock_read(loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (!loop->ended) {
        loop->stop_asked = true;
        uv_async_send(&loop->async);
    }
    pthread_mutex_unlock(&loop->lock);
}

struct loop *net_loop_port(struct net_loop *loop)
{
    return &loop->port;
}

struct network *net_loop_network(struct net_loop *loop)
{
    return &loop->network;
}

void net_loop_keep(struct net_loop *loop, struct net_object *object)
{
    /* Newest first: what is built of other objects goes before its parts do. */
    DL_PREPEND(loop->objects, object);
}

void net_loop_forget(struct net_loop *loop, struct net_object *object)
{
    DL_DELETE(loop->objects, object);
}

void net_loop_take_spare(struct net_loop *loop, struct pn_buf *buf, size_t max_octets)
{
    if (loop->spare_count == 0) {
        pn_buf_init(buf, max_octets);
        return;
    }
    *buf = loop->spare[--loop->spare_count];
    buf->max = max_octets;
}

void net_loop_give_spare(struct net_loop *loop, struct pn_buf *buf)
{
    size_t max_octets = buf->max;

    if (buf->cap >= NET_SPARE_OCTETS && buf->cap <= (size_t)2 * NET_SPARE_OCTETS &&
        loop->spare_count < NET_SPARE_COUNT) {
        pn_buf_clear(buf);
        loop->spare[loop->spare_count++] = *buf;
    } else {
        pn_buf_fini(buf);
    }
    pn_buf_init(buf, max_octets);
}

/* One signal that is watched. */
struct net_signal {
    struct net_object object;
    struct net_loop *loop;
    uv_signal_t handle;
    int number;
    net_signal_fn *fn;
    void *owner;
    bool pending;
    bool closing;
    struct loop_task task;
};

static void signal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void signal_drop(struct net_object *object)
{
    struct net_signal *watch = PN_CONTAINER(object, struct net_signal, object);

    net_loop_forget(watch->loop, object);
    watch->closing = true;
    uv_close((uv_handle_t *)&watch->handle, signal_closed);
}

static void signal_run(struct loop_task *task)
{
    struct net_signal *watch = PN_CONTAINER(task, struct net_signal, task);

    watch->pending = false;
    if (!watch->closing) {
        watch->fn(watch->owner, watch->number);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct net_signal *watch = handle->data;

    (void)number;
    if (!watch->pending) {
        watch->pending = true;
        loop_defer(&watch->loop->port, &watch->task);
    }
}

void net_loop_on_signal(struct net_loop *loop, int number, net_signal_fn *fn, void *owner)
{
    struct net_object *object;
    struct net_signal *watch;

    DL_FOREACH (loop->objects, object) {
        watch = PN_CONTAINER(object, struct net_signal, object);
        if (object->on_drop == signal_drop && watch->number == number) {
            object->on_drop(object);
            break;
        }
    }
    if (!fn) {
        return;
    }
    watch = PN_NEW(struct net_signal);
    watch->object.on_drop = signal_drop;
    watch->loop = loop;
    watch->number = number;
    watch->fn = fn;
    watch->owner = owner;
    watch->task.on_run = signal_run;
    pn_assert(uv_signal_init(&loop->uv, &watch->handle) == 0);
    watch->handle.data = watch;
    pn_assert(uv_signal_start(&watch->handle, on_signal, number) == 0);
    net_loop_keep(loop, &watch->object);
}
