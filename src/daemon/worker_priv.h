/*
 * daemon/worker_priv.h - a thread with a loop, its listeners, ingress and deliveries.
 */
#ifndef POSTERN_DAEMON_WORKER_PRIV_H
#define POSTERN_DAEMON_WORKER_PRIV_H

#include <pthread.h>

#include "postern/deliver/worker.h"
#include "postern/ingress/ingress.h"
#include "postern/net/listener.h"
#include "postern/net/loop.h"
#include "postern/verify/verify.h"
#include "settings_priv.h"

/* What all workers share; borrowed for their life. */
struct daemon_worker_deps {
    struct spool *spool;
    struct state *state;   /* for traces; NULL: they are off */
    struct state *answers; /* for what is known of recipients */
    struct policy_limits *limits;
    struct stats_counters *counters;
    const struct queue_clock *clock;
    struct out_board *board;
    struct out_logins *logins;
    struct verify_lists *lists;
    struct verify_rates *rates;
    struct policy_defer *defer;
    const struct pn_log *log;
    void (*on_sign)(void *owner, struct pn_str queue, bool flush); /* the worker's thread */
    void (*on_stopped)(void *owner); /* the worker's thread: no session is left */
    void *owner;
};

struct daemon_worker;

/* Makes the loop and binds the listeners, on the caller's thread. NULL and err. */
struct daemon_worker *daemon_worker_new(const struct daemon_worker_deps *deps,
                                        const struct daemon_settings *settings, size_t number,
                                        struct pn_err *err);
int daemon_worker_start(struct daemon_worker *worker, struct pn_err *err);

struct loop *daemon_worker_loop(struct daemon_worker *worker);
struct deliver_worker *daemon_worker_deliver(struct daemon_worker *worker);

/* Posted: new settings; stop gently. */
void daemon_worker_configure(struct daemon_worker *worker,
                             const struct daemon_settings *settings);
void daemon_worker_stop(struct daemon_worker *worker);

/* Ends the thread, whatever is still open on it. */
void daemon_worker_end(struct daemon_worker *worker);
/* After its end, and after the stores are closed: they may still post to its loop. */
void daemon_worker_free(struct daemon_worker **worker);

/* The resolver of a loop, on the system's servers or those of the configuration. */
struct resolver *daemon_resolver_new(struct net_loop *loop, const struct conf *conf,
                                     struct pn_err *err);

/* An HTTP client for a loop; freed with http_client_free. */
struct http *daemon_http_new(struct net_loop *loop);

#endif
