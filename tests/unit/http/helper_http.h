/*
 * A poll() loop whose clock can be put forward, and an HTTP server in a thread.
 */
#ifndef POSTERN_TESTS_HTTP_HELPER_H
#define POSTERN_TESTS_HTTP_HELPER_H

#include "postern/http/client.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <setjmp.h>

#include <cmocka.h>

#define POLL_WATCHES 16

struct poll_watch {
    int fd;
    unsigned events;
    void (*fn)(void *arg, unsigned events);
    void *arg;
};

struct poll_loop {
    struct loop port;
    int64_t ahead_ms; /* of the real clock */
    struct poll_watch watches[POLL_WATCHES];
};

void poll_loop_init(struct poll_loop *loop);
void poll_loop_fini(struct poll_loop *loop); /* nothing may be watched any more */
/* One turn: sleeps until something is due or comes, at most for a while. */
void poll_loop_turn(struct poll_loop *loop);
extern const struct http_watch_ops poll_loop_watches; /* owner: the loop */

/* Answers by path, one connection after the other; see helper_http.c. */
struct http_server {
    pthread_t thread;
    int listener;
    int stop[2];
    uint16_t port;
    pthread_mutex_t lock;
    unsigned heard; /* requests that came whole */
};
void http_server_start(struct http_server *server);
void http_server_stop(struct http_server *server);
unsigned http_server_heard(struct http_server *server);

#endif
