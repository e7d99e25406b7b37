/*
 * net/listener.h - a listening TCP socket on one loop.
 *
 * Each worker listens on the same address with SO_REUSEPORT, so that the kernel spreads
 * connections. When descriptors run out the listener gives up a reserve descriptor to
 * take and drop one connection, pauses for a second, and goes on (FAULTS 8.11): it never
 * spins.
 */
#ifndef POSTERN_NET_LISTENER_H
#define POSTERN_NET_LISTENER_H

#include "postern/net/loop.h"

struct net_listener;

/* stream's on_event and owner must be set before this returns. */
typedef void net_accept_fn(void *owner, struct stream *stream);

/* The socket is bound at once: err says which address and why not. Main may do it for the
 * workers before they run. */
struct net_listener *net_listener_new(struct net_loop *loop, const struct pn_endpoint *address,
                                      net_accept_fn *fn, void *owner, struct pn_err *err);
void net_listener_free(struct net_listener **listener);

/* Where it listens; port 0 has become the number that the system chose. */
struct pn_endpoint net_listener_address(const struct net_listener *listener);

#endif
