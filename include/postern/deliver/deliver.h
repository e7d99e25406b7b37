/*
 * deliver/deliver.h - held mail out of the spool, to where it belongs. On the main loop.
 *
 * Drives the scheduler (queue/): feeds it the spool's notices and pages, carries out its
 * actions (sessions on the workers, probes here), and settles in the spool what became of
 * each job. All functions but deliver_sign belong to the main loop's thread.
 */
#ifndef POSTERN_DELIVER_DELIVER_H
#define POSTERN_DELIVER_DELIVER_H

#include "postern/deliver/worker.h"
#include "postern/domains/domains.h"
#include "postern/outbound/board.h"
#include "postern/queue/clock.h"
#include "postern/queue/queue.h"

struct deliver;

/* Do we know, from a list or an answer, that this address exists? */
typedef bool deliver_believes_fn(void *owner, const struct conf_domain *domain,
                                 struct pn_str address);

struct deliver_deps {
    const struct out_deps *out; /* of the main loop: for probes; borrowed */
    struct spool *spool;
    struct state *state;     /* or NULL: nothing is traced */
    struct state *answers;   /* or NULL: whose up-clocks are advanced */
    struct out_board *board; /* or NULL; told of states, asked for sessions that are lent */
    deliver_believes_fn *believes; /* or NULL: nobody is believed in */
    void *owner;                   /* of believes */
    struct stats_counters *counters;
    const struct queue_clock *clock;
    const struct pn_log *log;
    struct deliver_worker **workers; /* the arrays are copied */
    struct loop **worker_loops;      /* of each */
    size_t worker_count;
    uint64_t seed;
};

/* Observes the spool from now on; delivers nothing before deliver_start. */
struct deliver *deliver_new(const struct deliver_deps *deps, struct conf *conf,
                            struct domains *domains);
/* Reads what waits, then begins. on_started comes once; status: 0 or why the spool could
 * not be read (it is tried again by itself). */
typedef void deliver_started_fn(void *owner, int status);
void deliver_start(struct deliver *deliver, deliver_started_fn *fn, void *owner);

void deliver_configure(struct deliver *deliver, struct conf *conf, struct domains *domains);

/*
 * Stops: no new sessions and no new jobs; what is under way may end. on_stopped comes when
 * all of it has ended and is settled on disk.
 */
typedef void deliver_stopped_fn(void *owner);
void deliver_stop(struct deliver *deliver, deliver_stopped_fn *fn, void *owner);
/* After the workers' loops have ended and what they posted to the main loop has run. */
void deliver_free(struct deliver **deliver);

/* Any thread: a sign of life of a queue's target, or (flush) a request to flush it. */
void deliver_sign(struct deliver *deliver, struct pn_str queue, bool flush);

/* The operator; see queue/queue.h. */
bool deliver_flush(struct deliver *deliver, struct pn_str queue); /* "" : all */
bool deliver_hold(struct deliver *deliver, struct pn_str destination, bool hold);
bool deliver_resume(struct deliver *deliver, struct pn_str destination);
bool deliver_refuse(struct deliver *deliver, struct pn_str destination);

/*
 * What sessions have heard from a destination since the daemon's start. Texts are outside
 * text, bounded. Borrowed until the next turn.
 */
#define DELIVER_SAYINGS 10
enum deliver_word {
    DELIVER_SAID_OK,      /* 2xx: a recipient was taken */
    DELIVER_SAID_LATER,   /* 4xx */
    DELIVER_SAID_REFUSED, /* 5xx */
    DELIVER_SAID_BUSY,    /* 421 in the greeting, or between messages */
    DELIVER_SAID_LOST,    /* a session died with messages under way */
    DELIVER_SAID_FAILED,  /* a session never became ready */
    DELIVER_WORDS,
};
struct deliver_saying {
    enum deliver_word word;
    struct pn_wall at;
    uint64_t times; /* in a row */
    char *text;
};
struct deliver_contact {
    uint64_t words[DELIVER_WORDS];
    struct deliver_saying said[DELIVER_SAYINGS]; /* the newest first; none that was OK */
    size_t said_count;
    bool greeted; /* what follows is known, from the last session that was ready */
    struct pn_wall greeted_at;
    enum out_identity identity;
    unsigned quirks; /* enum smtp_quirk */
    unsigned window; /* messages under way in a session, at most */
    char *peer;
    char *tls;     /* "TLSv1.3 TLS_AES_256_GCM_SHA384, verified", "none" */
    char *tls_why; /* "tls = verify in example.org.conf" */
};
/* NULL: nothing was heard yet. */
const struct deliver_contact *deliver_get_contact(const struct deliver *deliver,
                                                  struct pn_str destination);

/* For looking: queue_get_status, queue_each and their like. */
const struct queue *deliver_queue(const struct deliver *deliver);
int64_t deliver_now_ms(const struct deliver *deliver); /* queue time */

#endif
