/*
 * http/client.h - the HTTP client of port/http.h on libcurl, for one loop.
 */
#ifndef POSTERN_HTTP_CLIENT_H
#define POSTERN_HTTP_CLIENT_H

#include "postern/port/http.h"
#include "postern/port/loop.h"

/* How libcurl's sockets are watched: filled in by the daemon, so that http/ needs no libuv. */
struct http_watch_ops {
    void *(*watch)(void *owner, int fd, unsigned events, void (*fn)(void *arg, unsigned events),
                   void *arg);
    void (*change)(void *watch, unsigned events);
    void (*unwatch)(void *watch); /* may come inside the watch's own fn */
};
enum { HTTP_READABLE = 1, HTTP_WRITABLE = 2 };

/* Servers' certificates are checked against the system's authorities; TLS 1.2 at the least. */
struct http *http_client_new(struct loop *loop, const struct http_watch_ops *watches,
                             void *watch_owner);
/* Requests under way are dropped without on_done. Not from within on_done. */
void http_client_free(struct http **http);

#endif
