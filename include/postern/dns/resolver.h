/*
 * dns/resolver.h - a resolver on c-ares, for one loop.
 */
#ifndef POSTERN_DNS_RESOLVER_H
#define POSTERN_DNS_RESOLVER_H

#include "postern/base/err.h"
#include "postern/port/loop.h"
#include "postern/port/resolver.h"

/* How c-ares' sockets are watched: filled in by the daemon, so that dns/ needs no libuv. */
struct dns_watch_ops {
    void *(*watch)(void *owner, int fd, unsigned events, void (*fn)(void *arg, unsigned events),
                   void *arg);
    void (*change)(void *watch, unsigned events);
    void (*unwatch)(void *watch);
};
enum { DNS_READABLE = 1, DNS_WRITABLE = 2 };

/*
 * servers: "127.0.0.1:53,[::1]:5353", or NULL for the system's (/etc/resolv.conf).
 * Answers are cached for their TTL, at most an hour (10,000 entries at the most); failures
 * are not cached.
 */
struct resolver *dns_resolver_new(struct loop *loop, const struct dns_watch_ops *watches,
                                  void *watch_owner, const char *servers, struct pn_err *err);
void dns_resolver_free(struct resolver **resolver); /* pending queries are dropped */

#endif
