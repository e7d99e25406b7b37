/*
 * A loop with a watchdog, and plain sockets that play the other side.
 */
#ifndef POSTERN_TESTS_NET_HELPER_H
#define POSTERN_TESTS_NET_HELPER_H

#include "postern/net/listener.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

/* A test that has not stopped its loop after this has failed. */
#define RIG_PATIENCE_MS PN_SECONDS(30)

struct rig {
    struct net_loop *loop;
    struct loop *port;
    struct pn_timer watchdog;
    bool timed_out;
};

void rig_init(struct rig *rig);
void rig_run(struct rig *rig); /* until net_loop_stop; fails when the patience ends */
void rig_fini(struct rig *rig);

struct net_listener *rig_listen(struct rig *rig, const char *address, net_accept_fn *fn,
                                void *owner);

int plain_connect(const struct pn_endpoint *to); /* a blocking socket */
void plain_send(int fd, const char *text);
void plain_reset(int fd); /* closes with RST */

#endif
