/*
 * ingress/ingress.h - accepted connections of one worker: a client's mail into the spool.
 *
 * One ingress for each worker, on its loop. It takes streams from the worker's listeners,
 * speaks SMTP with them, and stores what is for a relay domain, or passes it through to the
 * domain's own server while that is up (DESIGN "Pass-through and hold"). 250 goes out only
 * after the spool has said STORED, or that server 250. Everything belongs to the worker's
 * thread but what is shared explicitly in the deps.
 */
#ifndef POSTERN_INGRESS_INGRESS_H
#define POSTERN_INGRESS_INGRESS_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"
#include "postern/outbound/board.h"
#include "postern/outbound/pool.h"
#include "postern/policy/defer.h"
#include "postern/policy/limits.h"
#include "postern/port/resolver.h"
#include "postern/port/stream.h"
#include "postern/port/tls.h"
#include "postern/queue/clock.h"
#include "postern/spool/spool.h"
#include "postern/state/state.h"
#include "postern/stats/counters.h"
#include "postern/verify/verify.h"

struct ingress;

struct ingress_deps {
    struct loop *loop;
    struct resolver *resolver;
    struct spool *spool;
    struct state *state;             /* or NULL: no traces */
    struct policy_limits *limits;    /* shared by all workers */
    struct stats_counters *counters; /* shared */
    const struct queue_clock *clock; /* shared, immutable */
    const struct pn_log *log;
    uint64_t seed; /* of message ids */
    /*
     * What is known of targets and their recipients. Without verify every recipient of a
     * relay domain is taken; without board or pool nothing is passed through; without defer
     * nobody who comes back is let in. pool and verify are the worker's own, and are freed
     * after the ingress.
     */
    struct verify *verify;
    struct out_pool *pool;
    struct out_board *board;    /* shared */
    struct policy_defer *defer; /* shared by all workers */
    /*
     * Any worker's thread: a client asked for a queue to be flushed (ETRN, allowed), or
     * mail came from a target's own address (flush false). queue is borrowed.
     */
    void (*on_sign)(void *owner, struct pn_str queue, bool flush);
    void *owner;
};

/* What is in force: replaced whole. The ingress takes references. */
struct ingress_settings {
    struct conf *conf;
    struct domains *domains;
    struct tls_context *tls; /* NULL: STARTTLS is not offered */
};

struct ingress *ingress_new(const struct ingress_deps *deps,
                            const struct ingress_settings *settings);
void ingress_configure(struct ingress *ingress, const struct ingress_settings *settings);

/* Takes the stream over. listener: index into conf->listeners. */
void ingress_accept(struct ingress *ingress, struct stream *stream, size_t listener);

/*
 * Stops: idle sessions are told 421 now, those in a transaction when it ends or when
 * ingress_free comes. on_stopped comes once no session is left.
 */
typedef void ingress_stopped_fn(void *owner);
void ingress_stop(struct ingress *ingress, ingress_stopped_fn *on_stopped, void *owner);

/* Ends what is left at once (421 where possible), frees. */
void ingress_free(struct ingress **ingress);

size_t ingress_sessions(const struct ingress *ingress);

#endif
