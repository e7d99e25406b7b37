/*
 * net/watch.c - descriptors of libraries that are driven from the loop.
 *
 * uv_poll is level-triggered: the poll only notes which events came, and the function runs
 * in the turn, before the next poll. A watch may be freed inside its own function, which
 * is what c-ares does when it closes a socket.
 */
#include "loop_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

struct net_watch {
    struct net_object object;
    struct net_loop *loop;
    uv_poll_t handle;
    unsigned events; /* wanted */
    unsigned ready;  /* came, not yet told */
    bool pending;
    bool closing;
    struct loop_task task;
    net_watch_fn *fn;
    void *owner;
};

static void watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void watch_close(struct net_watch *watch)
{
    net_loop_forget(watch->loop, &watch->object);
    watch->closing = true;
    uv_close((uv_handle_t *)&watch->handle, watch_closed);
}

static void watch_drop(struct net_object *object)
{
    watch_close(PN_CONTAINER(object, struct net_watch, object));
}

static void watch_run(struct loop_task *task)
{
    struct net_watch *watch = PN_CONTAINER(task, struct net_watch, task);
    unsigned ready = watch->ready & watch->events;

    watch->pending = false;
    watch->ready = 0;
    if (!watch->closing && ready) {
        watch->fn(watch->owner, ready);
    }
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct net_watch *watch = handle->data;

    if (status < 0) {
        watch->ready = watch->events; /* the library finds the error by itself */
    }
    watch->ready |= (events & UV_READABLE) ? NET_READABLE : 0;
    watch->ready |= (events & UV_WRITABLE) ? NET_WRITABLE : 0;
    if (!watch->pending) {
        watch->pending = true;
        loop_defer(&watch->loop->port, &watch->task);
    }
}

struct net_watch *net_watch_new(struct net_loop *loop, int fd, unsigned events,
                                net_watch_fn *fn, void *owner)
{
    struct net_watch *watch = PN_NEW(struct net_watch);

    watch->object.on_drop = watch_drop;
    watch->loop = loop;
    watch->task.on_run = watch_run;
    watch->fn = fn;
    watch->owner = owner;
    pn_assert(uv_poll_init(&loop->uv, &watch->handle, fd) == 0);
    watch->handle.data = watch;
    net_loop_keep(loop, &watch->object);
    net_watch_set(watch, events);
    return watch;
}

void net_watch_set(struct net_watch *watch, unsigned events)
{
    int wanted = 0;

    if (events == watch->events) {
        return;
    }
    watch->events = events;
    wanted |= (events & NET_READABLE) ? UV_READABLE : 0;
    wanted |= (events & NET_WRITABLE) ? UV_WRITABLE : 0;
    if (wanted) {
        pn_assert(uv_poll_start(&watch->handle, wanted, on_poll) == 0);
    } else {
        uv_poll_stop(&watch->handle);
    }
}

void net_watch_free(struct net_watch **watch)
{
    if (*watch) {
        watch_close(*watch);
        *watch = NULL;
    }
}
