/*
 * deliver/worker.h - delivery sessions of one worker.
 *
 * A session lives on one worker's loop from birth to death. deliver/ on the main loop
 * decides what it does, by orders that are posted here, and hears of it by reports that
 * are posted back.
 */
#ifndef POSTERN_DELIVER_WORKER_H
#define POSTERN_DELIVER_WORKER_H

#include "postern/outbound/board.h"
#include "postern/outbound/session.h"
#include "postern/policy/limits.h"
#include "postern/spool/spool.h"
#include "postern/state/state.h"
#include "postern/stats/counters.h"

struct deliver_worker;

/*
 * The target's last word about a recipient of a delivery: a 2xx, or a 5xx that was said about
 * this recipient alone by a destination that is UP and off parole. On the worker's thread.
 */
typedef void deliver_learn_fn(void *owner, const struct conf_domain *domain,
                              struct pn_str address, const struct smtp_reply *reply);

struct deliver_worker_deps {
    const struct out_deps *out; /* of this worker's loop; borrowed for the worker's life */
    struct spool *spool;
    struct state *state;             /* or NULL */
    struct policy_limits *limits;    /* memory for text; shared */
    struct stats_counters *counters; /* shared */
    struct out_board *board;         /* shared, or NULL: nobody learns from what EHLO says, and
                                        no 5xx is learned */
    deliver_learn_fn *learn;         /* or NULL */
    void *owner;                     /* of learn */
    const struct pn_log *log;
};

struct deliver_worker *deliver_worker_new(const struct deliver_worker_deps *deps);
/* Once its loop has ended: drops what is left. The jobs stay in the spool as they were. */
void deliver_worker_free(struct deliver_worker **worker);

#endif
