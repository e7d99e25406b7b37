/*
 * net/listener.c - a listening TCP socket on one loop.
 *
 * The socket is made by hand, because libuv sets neither SO_REUSEPORT nor a rule for
 * running out of descriptors that drops one connection instead of all that wait. It is
 * watched by uv_poll; accept4 brings the peer's address along, and options set on the
 * listening socket (TCP_NODELAY) are inherited by what it accepts, so that a connection
 * costs two or three system calls before its first octet.
 *
 * Out of descriptors: the reserve descriptor is given up to take and drop one connection
 * (its client sees a close instead of silence), then nothing is accepted for a second.
 */
#include "postern/net/listener.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "loop_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG        1024
#define ACCEPTS_A_TURN 64
#define PAUSE_MS       PN_SECONDS(1)

struct net_listener {
    struct net_object object;
    struct net_loop *loop;
    uv_poll_t handle;
    int fd;
    int reserve; /* -1 when even that could not be had */
    struct pn_endpoint address;
    bool pending;
    bool closing;
    struct loop_task task;
    struct pn_timer pause;
    net_accept_fn *fn;
    void *owner;
};

static void listener_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void listener_close(struct net_listener *listener)
{
    net_loop_forget(listener->loop, &listener->object);
    listener->closing = true;
    loop_timer_stop(&listener->loop->port, &listener->pause);
    uv_close((uv_handle_t *)&listener->handle, listener_closed);
    close(listener->fd);
    if (listener->reserve >= 0) {
        close(listener->reserve);
    }
}

static void listener_drop(struct net_object *object)
{
    listener_close(PN_CONTAINER(object, struct net_listener, object));
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct net_listener *listener = handle->data;

    (void)status;
    (void)events;
    if (!listener->pending) {
        listener->pending = true;
        loop_defer(&listener->loop->port, &listener->task);
    }
}

static void listener_start(struct net_listener *listener)
{
    pn_assert(uv_poll_start(&listener->handle, UV_READABLE, on_poll) == 0);
}

static void pause_fire(struct pn_timer *timer)
{
    listener_start(PN_CONTAINER(timer, struct net_listener, pause));
}

static int reserve_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void listener_exhausted(struct net_listener *listener)
{
    if (listener->reserve >= 0) {
        int fd;

        close(listener->reserve);
        fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
    }
    listener->reserve = reserve_open();
    uv_poll_stop(&listener->handle);
    loop_timer_after(&listener->loop->port, &listener->pause, PAUSE_MS);
}

/* Hands one connection to the owner. */
static void listener_adopt(struct net_listener *listener, int fd,
                           const struct sockaddr_storage *address)
{
    struct pn_endpoint peer;
    struct pn_endpoint local = listener->address;
    struct stream *stream;

    if (!net_address_from_socket(address, &peer) ||
        (pn_ip_is_unspecified(&local.ip) && !net_address_of_fd(fd, &local))) {
        close(fd);
        return;
    }
    stream = net_stream_adopt(listener->loop, fd, &peer, &local);
    if (stream) {
        listener->fn(listener->owner, stream);
    }
}

static void accept_run(struct loop_task *task)
{
    struct net_listener *listener = PN_CONTAINER(task, struct net_listener, task);

    listener->pending = false;
    for (int i = 0; i < ACCEPTS_A_TURN && !listener->closing; i++) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof address;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            listener_adopt(listener, fd, &address);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener_exhausted(listener);
            break;
        } else if (errno == EAGAIN) {
            break;
        }
        /* Other errors belong to a connection that is gone already (accept(2)). */
    }
}

/* Returns the socket, or -1 with errno. */
static int listener_socket(const struct pn_endpoint *address)
{
    struct sockaddr_storage name;
    socklen_t length = net_address_to_socket(address, &name);
    const int yes = 1;
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    /* IPv6 only: "0.0.0.0:25" and "[::]:25" are two listeners, and go together. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        (name.ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) != 0) ||
        bind(fd, (struct sockaddr *)&name, length) != 0 || listen(fd, BACKLOG) != 0) {
        int number = errno;

        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

struct net_listener *net_listener_new(struct net_loop *loop, const struct pn_endpoint *address,
                                      net_accept_fn *fn, void *owner, struct pn_err *err)
{
    struct net_listener *listener;
    int fd = listener_socket(address);

    if (fd < 0) {
        char text[PN_ENDPOINT_CHARS];
        int number = errno;

        pn_err_set(err, pn_err_from_errno(number), "cannot listen on %s: %s",
                   pn_endpoint_format(address, text), strerrordesc_np(number));
        return NULL;
    }
    listener = PN_NEW(struct net_listener);
    listener->object.on_drop = listener_drop;
    listener->loop = loop;
    listener->fd = fd;
    listener->reserve = reserve_open();
    listener->address = *address;
    listener->task.on_run = accept_run;
    listener->pause.on_fire = pause_fire;
    listener->fn = fn;
    listener->owner = owner;
    (void)net_address_of_fd(fd, &listener->address); /* port 0 has become a number */
    pn_assert(uv_poll_init(&loop->uv, &listener->handle, fd) == 0);
    listener->handle.data = listener;
    listener_start(listener);
    net_loop_keep(loop, &listener->object);
    return listener;
}

void net_listener_free(struct net_listener **listener)
{
    if (*listener) {
        listener_close(*listener);
        *listener = NULL;
    }
}

struct pn_endpoint net_listener_address(const struct net_listener *listener)
{
    return listener->address;
}
