/*
 * A poll() loop for the resolver, and a DNS server in a thread.
 */
#ifndef POSTERN_TESTS_DNS_HELPER_H
#define POSTERN_TESTS_DNS_HELPER_H

#include "postern/dns/resolver.h"

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
    struct poll_watch watches[POLL_WATCHES];
};

void poll_loop_init(struct poll_loop *loop);
void poll_loop_fini(struct poll_loop *loop); /* nothing may be watched any more */
/* One turn: sleeps until something is due or comes, at most for a while. */
void poll_loop_turn(struct poll_loop *loop);
extern const struct dns_watch_ops poll_loop_watches; /* owner: the loop */

/*
 * Answers by the first label of the question:
 *   a, alias (through a CNAME), aaaa, mx, nullmx, ptr; zero (TTL 0); many (100 records);
 *   stranger (the address stands under the alias); signed (AD);
 *   hundreds (500 MX records); every TXT question, and every TLSA question (AD, if DO was set);
 *   nx, nodata, servfail, refused; big (truncated, whole over TCP), cut (truncated over
 *   both), garbage, badname, allbad; silent.
 */
struct dns_server {
    pthread_t thread;
    int udp;
    int tcp;
    int stop[2];
    uint16_t port;
    pthread_mutex_t lock;
    unsigned questions; /* that came by UDP */
};
void dns_server_start(struct dns_server *server);
void dns_server_stop(struct dns_server *server);
unsigned dns_server_questions(struct dns_server *server);

#endif
