/*
 * queue/queue.h - the scheduler: which job goes where, and when. Pure.
 *
 * Facts go in (jobs were added, a page was read, a session ended, a probe succeeded), what
 * to do comes out of queue_next, one action at a time, until it says that there is nothing
 * now and when to ask again. It sets no timers, does no I/O and reads no clock: `now_ms`
 * is queue time (queue/clock.h) and is passed in.
 *
 * A queue has a name that outlives configuration changes and goes to one destination, which
 * several queues may share in equal turns. A destination is UNKNOWN, UP, DOWN, RAMP, STOPPED
 * or HELD (DESIGN "Destinations, probes, recovery"). While it is DOWN no job is tried and no
 * job's schedule is touched; probes ask. When it comes back its queues are flushed.
 *
 * Who comes back from DOWN, or is tried for the first time, is on parole besides: it may have
 * come back broken and refuse everything. A refusal of a recipient we believe in, or more
 * than a fifth of the first 50 messages refused (of ten at least), makes it STOPPED: it gets
 * no jobs but three canaries every half hour, and is in RAMP again when it takes them all.
 * Parole ends after 50 messages that were taken whole, or with nothing to deliver and an hour
 * without a refusal.
 *
 * Memory: for each defined queue and destination a small struct; for a queue that is being
 * delivered a window of at most QUEUE_WINDOW jobs and as many fresh ones; for one whose
 * destination is DOWN its QUEUE_KEPT newest, so that the drain can begin with them too. Never
 * one for each waiting message. Job keys are cursors: what is on disk is read again by key.
 */
#ifndef POSTERN_QUEUE_QUEUE_H
#define POSTERN_QUEUE_QUEUE_H

#include "postern/base/err.h"
#include "postern/queue/job.h"

#define QUEUE_WINDOW     512
#define QUEUE_PAGE       256 /* jobs asked for in one READ */
#define QUEUE_KEPT       128
#define QUEUE_REASON_MAX 512

struct queue;

struct queue_options {
    int64_t probe_min_ms, probe_max_ms;
    unsigned probe_rate;    /* of all destinations together, in one second */
    int64_t in_doubt_ms;    /* how long an in-doubt job waits: the final reply's time-out */
    bool clock_jumped;      /* nothing expires before one more attempt */
    int64_t report_keep_ms; /* age at which a QUEUE_JOB_REPORT expires, if not earlier */
    uint64_t seed;          /* of the jitter */
};

struct queue *queue_new(const struct queue_options *options);
void queue_free(struct queue **queue);
void queue_set_options(struct queue *queue, const struct queue_options *options);

/* ---- configuration ---------------------------------------------------------------- */

struct queue_definition {
    const char *destination; /* what queues with the same next hop share; copied */
    unsigned sessions;       /* at the destination; the least of its queues' counts */
    unsigned messages_per_session;
    int64_t retry_min_ms, retry_max_ms; /* waits after a "not now" for a message */
    int64_t hold_ms;                    /* age at which a job expires */
    uint32_t rate_count; /* messages in each rate_per_ms, at the destination; the strictest of
                            its queues' rates; 0: no limit */
    int64_t rate_per_ms;
    int64_t delay_ms; /* between two messages of a session; the longest of its queues' */
    bool watched;     /* contacted without mail, too: clients' answers depend on its state */
    /* One of very many: while it is DOWN it is asked only if mail waits, and the interval
     * doubles with each question, up to retry_max_ms. It is never on parole. */
    bool on_demand;
};
/* NULL: no configuration names this queue any more. Its jobs are kept, HELD and shown. */
void queue_define(struct queue *queue, struct pn_str name,
                  const struct queue_definition *definition, int64_t now_ms);

/* ---- facts ------------------------------------------------------------------------ */

/* At start: what waits in a queue, defined or not. */
void queue_counted(struct queue *queue, struct pn_str name, uint64_t jobs, uint64_t octets,
                   uint64_t parked, int64_t now_ms);

/* From the spool's notices: durable facts, in their order. */
void queue_job_added(struct queue *queue, struct pn_str name, const struct queue_job *job,
                     int64_t now_ms);
void queue_job_removed(struct queue *queue, struct pn_str name, const struct queue_job *job,
                       int64_t now_ms);
void queue_parked_changed(struct queue *queue, struct pn_str name, bool added);

/* The answer to QUEUE_READ. status not 0: the spool could not; it is asked again later. */
void queue_page(struct queue *queue, struct pn_str name, int status,
                const struct queue_job *jobs, size_t count, bool end, int64_t now_ms);

/*
 * Before queue_session_ready: the session will tell its target which client the mail is from
 * (XCLIENT), and can do so once. What it is given first decides; from then on it gets mail of
 * that client's address alone, and is told to end when there is none in memory. What its
 * target says of such mail was said to the client: only what it takes counts for the
 * destination.
 */
void queue_session_by_client(struct queue *queue, uint64_t session);
/*
 * Before queue_session_ready: it has reached nobody, and takes mail only to refuse it (the
 * domain's DNS says that it takes none). So nobody is back, or up.
 */
void queue_session_refuses(struct queue *queue, uint64_t session);
/* The session that QUEUE_OPEN asked for is ready for mail. */
void queue_session_ready(struct queue *queue, uint64_t session, int64_t now_ms);

/*
 * Jobs for a session: at most max, of one queue, which are in flight from now on until
 * queue_result. An in-doubt job comes alone. 0: nothing now (the session is idle, or waits
 * for the rate or the delay: keep it warm; QUEUE_WAKE tells when there is work) or *out_close:
 * it should end (QUIT). *out_queue is borrowed until the next call.
 */
size_t queue_take(struct queue *queue, uint64_t session, size_t max, struct queue_job *out,
                  struct pn_str *out_queue, bool *out_close, int64_t now_ms);

enum queue_verdict {
    QUEUE_DONE,     /* every recipient was taken or refused: nothing stays */
    QUEUE_LATER,    /* some recipient was told "not now", for this message's own sake */
    QUEUE_IN_DOUBT, /* the session died between the last octet and the reply */
    QUEUE_UNTRIED,  /* it was not its turn, or the session died before: costs no attempt */
    QUEUE_GONE,     /* the spool has no such job any more, or it is HELD there now */
};

/* What is to be settled in the spool for a job whose recipients (some of them) stay. */
struct queue_decision {
    bool settle;          /* false: nothing to write (UNTRIED, GONE) */
    bool expired;         /* those that stay have waited too long: park them */
    struct queue_job job; /* the job's new due, attempts, last try and flags */
};
/* took_ms: how long the destination needed for it. The job stays in flight until the spool
 * has told that it was removed (or added again), if settle; else it is free at once. */
struct queue_decision queue_result(struct queue *queue, uint64_t session, struct pn_str name,
                                   const struct queue_job *job, enum queue_verdict verdict,
                                   int64_t took_ms, int64_t now_ms);

/*
 * Of the job whose queue_result is given next: how many recipients were refused for good,
 * and how many of those we believe in. destination: of the job's queue, if the session has
 * ended. Not called for a job without refusals.
 */
void queue_refused(struct queue *queue, uint64_t session, struct pn_str destination,
                   size_t refused, size_t believed, int64_t now_ms);

enum queue_end {
    QUEUE_END_CLEAN,  /* we ended it, or the peer closed between messages: no fault */
    QUEUE_END_BUSY,   /* 421, or a refused connection while other sessions are open */
    QUEUE_END_LOST,   /* it died in the middle of a transaction */
    QUEUE_END_FAILED, /* it never became ready: connection, greeting, TLS, EHLO */
    QUEUE_END_CLIENT, /* for one client, who was turned away, or it was lost in its name */
    QUEUE_END_LENT, /* not opened: others of ours have the destination's sessions; ask again */
};
/* reason: for people, outside text; copied, bounded, escaped by whoever prints it. */
void queue_session_ended(struct queue *queue, uint64_t session, enum queue_end end,
                         struct pn_str reason, int64_t now_ms);

enum queue_probe_answer {
    QUEUE_PROBE_AWAY,
    QUEUE_PROBE_BACK,
    QUEUE_PROBE_REFUSES, /* nobody is there, nor to be waited for: as queue_session_refuses */
};
void queue_probed(struct queue *queue, struct pn_str destination,
                  enum queue_probe_answer answer, struct pn_str reason, int64_t now_ms);

/* A sign of life (ETRN, mail from the target itself): probe now, no more. */
void queue_sign_of_life(struct queue *queue, struct pn_str name, int64_t now_ms);

/* Somebody could not get a session to a destination that is thought to be up: ask it. */
void queue_doubt(struct queue *queue, struct pn_str destination, int64_t now_ms);

/* The operator. Name empty: all. false: there is no such queue or destination. */
bool queue_flush(struct queue *queue, struct pn_str name, int64_t now_ms);
bool queue_hold(struct queue *queue, struct pn_str destination, bool hold, int64_t now_ms);
/* STOPPED: deliver again, still on parole. */
bool queue_resume(struct queue *queue, struct pn_str destination, int64_t now_ms);
/* Its refusals are to be believed: parole is over, and a STOPPED one delivers again. */
bool queue_refuse(struct queue *queue, struct pn_str destination, int64_t now_ms);

/* No action but READ's and EXPIRE's is given while paused (the store refuses writes, stop). */
void queue_pause(struct queue *queue, bool paused, int64_t now_ms);

/* ---- what to do ------------------------------------------------------------------- */

enum queue_action_kind {
    QUEUE_READ,  /* queue, from_due_ms, from_id, until_ms: a page of its jobs, please */
    QUEUE_OPEN,  /* destination, queue (one of its), session: open it, then take */
    QUEUE_WAKE,  /* session: it is idle and there is work: take */
    QUEUE_PROBE, /* destination, queue (one of its) */
    /*
     * queue, job: waited too long; load it and park its recipients. It is given once, until
     * the spool's notice; who cannot do it says so with queue_result (session 0, UNTRIED,
     * or GONE when there is no such job).
     */
    QUEUE_EXPIRE,
    /* destination: state changed to `state` for `reason`: log it. With state == before, it is
     * parole that has ended. */
    QUEUE_STATE,
};
enum queue_state {
    QUEUE_UNKNOWN,
    QUEUE_UP,
    QUEUE_DOWN,
    QUEUE_RAMP,
    QUEUE_STOPPED, /* it came back and refuses what it should take: the operator decides */
    QUEUE_HELD,
};
const char *queue_state_name(enum queue_state state); /* "up" */

struct queue_action {
    enum queue_action_kind kind;
    struct pn_str queue; /* borrowed until the next call */
    struct pn_str destination;
    uint64_t session;
    int64_t from_due_ms, until_ms;
    struct pn_id from_id;
    size_t limit; /* READ: at most so many jobs; never more than QUEUE_PAGE */
    struct queue_job job;
    enum queue_state state, before; /* STATE */
    int64_t lasted_ms;              /* STATE: how long it was `before`, or parole lasted */
    bool parole;                    /* STATE: on parole from now on */
    bool nobody;                    /* STATE: RAMP or UP, but nobody was reached */
    struct pn_str reason;
};
/* False: nothing now; *out_again_ms is the queue time at which to ask at the latest. */
bool queue_next(struct queue *queue, int64_t now_ms, struct queue_action *out,
                int64_t *out_again_ms);

/* ---- looking ---------------------------------------------------------------------- */

struct queue_destination_status {
    struct pn_str name;
    enum queue_state state;
    int64_t since_ms;
    int64_t next_probe_ms;                            /* DOWN; else 0 */
    int64_t last_success_ms, last_failure_ms;         /* 0: never */
    unsigned sessions, ready_sessions, session_limit; /* the limit now: ramp and halving */
    unsigned configured_sessions;
    unsigned session_ceiling; /* more were turned away; 0: none was */
    int64_t rate_step_us;     /* between two messages, by the configured rate; 0: no limit */
    int64_t delay_ms;
    double rate;   /* jobs done in a second, smoothed over some seconds */
    uint64_t jobs; /* of all its queues */
    uint64_t probes, failures, refused_sessions; /* since start */
    bool parole;
    uint64_t parole_done, parole_refused; /* jobs, since parole began or the last resume */
    int64_t next_canary_ms;               /* STOPPED; else 0 */
    struct pn_str reason;                 /* why it is in this state */
};
struct queue_status {
    struct pn_str name;
    bool defined;
    struct pn_str destination; /* "" if not defined */
    uint64_t jobs, octets, parked;
    uint64_t in_flight;
    uint64_t in_doubt; /* as far as they were met since the start */
    int64_t oldest_ms; /* arrival of the oldest job, 0: none or not yet known */
    bool flushing;
    uint64_t flush_left; /* about how many jobs the flush has still to try */
    double rate;         /* jobs done in a second, smoothed over some seconds */
};
/* False: no such queue. The slices are borrowed until the next non-const call. */
bool queue_get_status(const struct queue *queue, struct pn_str name, int64_t now_ms,
                      struct queue_status *out);
bool queue_get_destination(const struct queue *queue, struct pn_str destination, int64_t now_ms,
                           struct queue_destination_status *out);
/* All of them, one call of fn for each, in the order of names. */
typedef void queue_status_fn(void *owner, const struct queue_status *status);
void queue_each(const struct queue *queue, int64_t now_ms, queue_status_fn *fn, void *owner);
typedef void queue_destination_fn(void *owner, const struct queue_destination_status *status);
void queue_each_destination(const struct queue *queue, int64_t now_ms, queue_destination_fn *fn,
                            void *owner);

#endif
