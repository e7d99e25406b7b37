/*
 * daemon/web.c - libcurl's sockets on a loop of libuv.
 */
#include "worker_priv.h"

#include "postern/base/mem.h"
#include "postern/http/client.h"

struct http_watch {
    struct net_watch *watch;
    void (*fn)(void *arg, unsigned events);
    void *arg;
};

static void on_http(void *owner, unsigned events)
{
    struct http_watch *watch = owner;

    watch->fn(watch->arg, events);
}

static void *http_watch(void *owner, int fd, unsigned events,
                        void (*fn)(void *arg, unsigned events), void *arg)
{
    struct http_watch *watch = PN_NEW(struct http_watch);

    watch->fn = fn;
    watch->arg = arg;
    watch->watch = net_watch_new(owner, fd, events, on_http, watch);
    return watch;
}

static void http_change(void *handle, unsigned events)
{
    net_watch_set(((struct http_watch *)handle)->watch, events);
}

static void http_unwatch(void *handle)
{
    struct http_watch *watch = handle;

    net_watch_free(&watch->watch);
    free(watch);
}

_Static_assert((int)HTTP_READABLE == (int)NET_READABLE &&
                   (int)HTTP_WRITABLE == (int)NET_WRITABLE,
               "the two adapters name the same events");

struct http *daemon_http_new(struct net_loop *loop)
{
    static const struct http_watch_ops ops = {http_watch, http_change, http_unwatch};

    return http_client_new(net_loop_port(loop), &ops, loop);
}
