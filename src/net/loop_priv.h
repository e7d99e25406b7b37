/*
 * net/loop_priv.h - what the parts of net/ share: the loop's inside, and spare buffers.
 */
#ifndef POSTERN_NET_LOOP_PRIV_H
#define POSTERN_NET_LOOP_PRIV_H

#include "postern/net/loop.h"

#include <pthread.h>
#include <uv.h>

/* Something that net_loop_free has to drop. On the loop's list until its closing begins. */
struct net_object {
    struct net_object *prev;
    struct net_object *next;
    void (*on_drop)(struct net_object *object);
};

struct net_stream;

#define NET_SPARE_OCTETS 16384
#define NET_SPARE_COUNT  64

struct net_loop {
    struct loop port; /* first: struct loop * and struct net_loop * are one address */
    struct network network;
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t timer; /* only bounds how long the poll sleeps */
    uv_async_t async;
    struct pn_mono armed_for; /* what timer was set for */
    bool woken;               /* posts may be waiting */
    struct net_object *objects;
    struct net_stream *flush; /* streams with output gathered in this turn */
    size_t spare_count;
    struct pn_buf spare[NET_SPARE_COUNT];

    pthread_mutex_t lock; /* guards what follows */
    struct loop_task *posted;
    struct loop_task **posted_end;
    bool stop_asked;
    bool ended;
};

void net_loop_keep(struct net_loop *loop, struct net_object *object);
void net_loop_forget(struct net_loop *loop, struct net_object *object);

/*
 * Buffers of one size that go round between the streams of a loop, so that an idle stream
 * has none and a busy one costs no allocation. Give leaves *buf without memory.
 */
void net_loop_take_spare(struct net_loop *loop, struct pn_buf *buf, size_t max_octets);
void net_loop_give_spare(struct net_loop *loop, struct pn_buf *buf);

/* Takes over fd, a connected socket, and starts to read. Closes fd and returns NULL when
 * libuv will not have it. */
struct stream *net_stream_adopt(struct net_loop *loop, int fd, const struct pn_endpoint *peer,
                                const struct pn_endpoint *local);
struct stream *net_stream_connect(struct network *network, const struct pn_endpoint *to,
                                  const struct pn_ip *source);
struct stream *net_stream_connect_unix(struct network *network, const char *path);
/* Sends what the streams on loop->flush have gathered; once each. */
void net_stream_flush_all(struct net_loop *loop);

/* Socket addresses. The buffer is large enough for both families. */
struct sockaddr_storage;
unsigned net_address_to_socket(const struct pn_endpoint *endpoint,
                               struct sockaddr_storage *out);
bool net_address_from_socket(const struct sockaddr_storage *address, struct pn_endpoint *out);
bool net_address_of_fd(int fd, struct pn_endpoint *out); /* the local end */

#endif
