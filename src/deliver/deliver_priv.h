/*
 * deliver/deliver_priv.h - what crosses between the main loop and the workers.
 *
 * Orders go to a worker, reports come back; both are posted as loop tasks and belong to
 * their receiver. Orders of one session arrive in order, and so do its reports.
 */
#ifndef POSTERN_DELIVER_DELIVER_PRIV_H
#define POSTERN_DELIVER_DELIVER_PRIV_H

#include <uthash.h>

#include "postern/deliver/deliver.h"
#include "postern/mail/report.h"
#include "postern/route/host.h"

/* Jobs of one queue handed to a session at once. */
#define DELIVER_JOBS_MAX 32

enum deliver_order_kind {
    DELIVER_OPEN,  /* conf, domain: open the session */
    DELIVER_JOBS,  /* queue, jobs */
    DELIVER_CLOSE, /* QUIT when what was begun has ended; the rest comes back untried */
};

struct deliver_order {
    struct loop_task task;
    struct deliver_worker *worker;
    enum deliver_order_kind kind;
    uint64_t session;
    struct deliver *deliver; /* who hears the reports, and where */
    struct loop *main_loop;
    struct conf *conf; /* OPEN: references that the order owns */
    struct conf_domain *domain;
    char *queue; /* JOBS: owned */
    size_t job_count;
    struct queue_job jobs[DELIVER_JOBS_MAX];
};

/* What became of one recipient in this attempt. */
enum deliver_fate {
    DELIVER_UNTRIED, /* nothing was said about it */
    DELIVER_DONE,
    DELIVER_LATER,
    DELIVER_REFUSED,
};

struct deliver_result {
    struct deliver_result *next;
    struct pn_str queue;  /* in the arena */
    struct queue_job job; /* as the scheduler handed it out */
    enum queue_verdict verdict;
    int64_t took_ms;
    struct spool_message *message; /* owned; NULL: nothing was said about the job */
    enum deliver_fate *fates;      /* one for each recipient */
    struct pn_str *reasons; /* likewise: "peer said: 550 …"; "" for those that are done */
    bool peer_reports;      /* the next hop was told what the sender wants to hear (DSN) */
    struct pn_arena arena;  /* where those texts are */
};

/* What a session that is ready has found. */
struct deliver_greeting {
    enum out_identity identity;
    unsigned quirks;
    char peer[320];
    char tls[160];
    char tls_why[ROUTE_WHY_CHARS];
};

enum deliver_report_kind { DELIVER_READY, DELIVER_RESULTS, DELIVER_ENDED };

struct deliver_report {
    struct loop_task task;
    struct deliver *deliver;
    enum deliver_report_kind kind;
    uint64_t session;
    struct deliver_result *results;    /* RESULTS; owned */
    bool wants;                        /* RESULTS, READY: more jobs, please */
    unsigned window;                   /* RESULTS, READY: messages under way, at most */
    struct deliver_greeting *greeting; /* READY; owned; NULL: it serves to refuse its mail */
    enum out_end end;                  /* ENDED */
    char reason[QUEUE_REASON_MAX];
};

/* Posted to a worker's loop as order->task; the worker frees it. */
void deliver_worker_order(struct loop_task *task);
/* Posted to the main loop as report->task. */
void deliver_report_receive(struct loop_task *task);
/* Gives the report to the main loop, or frees it when that has ended. */
void deliver_report_post(struct loop *main_loop, struct deliver_report *report);
void deliver_order_free(struct deliver_order *order);
/* Takes the message over, which may be NULL. All fates are UNTRIED, all reasons empty. */
struct deliver_result *deliver_result_new(struct pn_str queue, const struct queue_job *job,
                                          enum queue_verdict verdict,
                                          struct spool_message *message);
void deliver_result_free(struct deliver_result *result);

/* A session that is open, as the main loop sees it. */
struct deliver_slot {
    uint64_t id;
    size_t worker;
    char *destination;
    unsigned limit; /* the domain's `sessions`, when it was opened */
    bool ready;
    bool closing; /* CLOSE was sent */
    UT_hash_handle hh;
};

/* ---- parts of the main loop's side ---- */

/* settle.c: hands a result to the scheduler and writes what follows from it. */
void deliver_settle(struct deliver *deliver, uint64_t session, struct deliver_result *results);
/* settle.c: a job that waited too long; queue is borrowed. */
void deliver_expire(struct deliver *deliver, struct pn_str queue, const struct queue_job *job);
/* probe.c */
void deliver_probe(struct deliver *deliver, struct pn_str destination, struct pn_str queue);
void deliver_probes_drop(struct deliver *deliver);
/* parked.c: called every second. */
void deliver_parked_second(struct deliver *deliver);

/* named.c: queues that no file in domains.d defines. */
void deliver_named_seen(struct deliver *deliver, struct pn_str queue);
const struct conf_domain *deliver_named_domain(struct deliver *deliver, struct pn_str queue);
void deliver_named_configure(struct deliver *deliver);
void deliver_named_second(struct deliver *deliver);
void deliver_named_drop(struct deliver *deliver);
/* deliver.c: what the scheduler is to do with the queue of that name. */
void deliver_define(struct deliver *deliver, const struct conf_domain *domain);

/* contact.c: what was heard of each destination. */
void deliver_contact_ready(struct deliver *deliver, const struct deliver_slot *slot,
                           const struct deliver_report *report);
void deliver_contact_results(struct deliver *deliver, const struct deliver_slot *slot,
                             const struct deliver_report *report);
void deliver_contact_ended(struct deliver *deliver, const struct deliver_slot *slot,
                           const struct deliver_report *report);
void deliver_contact_forget(struct deliver *deliver, struct pn_str destination);
void deliver_contacts_drop(struct deliver *deliver);

/* dsn.c: may the sender of such a message be told anything at all? domain may be NULL. */
bool deliver_dsn_may(const struct conf_domain *domain, const struct mail_envelope *envelope);
/* And does it want to hear this about this recipient? */
bool deliver_dsn_wanted(const struct conf_domain *domain, const struct mail_envelope *envelope,
                        const struct mail_recipient *recipient, enum mail_report_kind kind);
/* One more report about the queue's mail; false: there were enough in this hour. */
bool deliver_dsn_take(struct deliver *deliver, struct pn_str queue);
/*
 * Stores a report to the message's sender; id, host and now are filled in. All is copied.
 * fn comes on a later turn; stored false: there will be none, and that is logged.
 */
typedef void deliver_dsn_fn(void *owner, bool stored);
void deliver_dsn_send(struct deliver *deliver, const struct mail_report *report,
                      deliver_dsn_fn *fn, void *owner);
void deliver_dsn_second(struct deliver *deliver);
void deliver_dsn_drop(struct deliver *deliver);
/* delay.c: called every second. */
void deliver_delay_second(struct deliver *deliver);

struct deliver_probe;
struct deliver_want;
struct deliver_named;
struct deliver_contact_row;
struct deliver_dsn_rate;

struct deliver {
    struct deliver_deps deps;
    struct pn_log log;
    struct conf *conf;
    struct domains *domains;
    struct queue *queue;
    struct deliver_slot *slots; /* uthash: the sessions that are open, by id */
    struct deliver_probe *probes;
    struct deliver_want *wants;           /* uthash: sessions that are lent, and waited for */
    struct deliver_named *named;          /* uthash, by the queue's name */
    struct deliver_named *named_order;    /* the same, as they are looked at */
    bool named_again;                     /* the configuration has changed */
    struct deliver_contact_row *contacts; /* uthash, by destination */
    size_t seconds;                       /* since the start */
    struct loop_task step_task;
    bool step_waits; /* step_task is deferred */
    struct pn_timer step_timer;
    struct pn_timer second_timer;
    enum {
        DELIVER_NEW,
        DELIVER_STARTING,
        DELIVER_RUNNING,
        DELIVER_STOPPING,
        DELIVER_STOPPED
    } state;
    deliver_started_fn *on_started;
    void *started_owner;
    deliver_stopped_fn *on_stopped;
    void *stopped_owner;
    int64_t parked_again_ms;            /* when parked recipients are looked through again */
    size_t pending;                     /* requests to the spool that will be answered */
    struct pn_rand rand;                /* of reports' ids */
    struct deliver_dsn_rate *dsn_rates; /* uthash: reports in this hour, by queue */
    int64_t delays_again_ms;            /* when senders are told again that mail waits */
    size_t delays_under_way;
};

/* deliver.c: what was handed in goes to its end, what waits behind it comes back. */
void deliver_close_session(struct deliver *deliver, struct deliver_slot *slot);

/* share.c: what others learn of delivery, and sessions that are shared with them. */
void deliver_share_state(struct deliver *deliver, const struct queue_action *action);
void deliver_share_new(struct deliver *deliver, struct pn_str destination);
/* Takes one of the destination's sessions for a delivery; false: not now. */
bool deliver_share_take(struct deliver *deliver, struct pn_str destination, unsigned limit);
void deliver_share_give(struct deliver *deliver, struct pn_str destination);
/* It said 421 to one more session. True: it is there, and has others of ours; those that are
 * kept warm go, since we wait. */
bool deliver_share_is_full(struct deliver *deliver, struct pn_str destination);
void deliver_share_second(struct deliver *deliver);
void deliver_share_drop(struct deliver *deliver);

/* Runs the scheduler before this turn ends. */
void deliver_soon(struct deliver *deliver);
/* A request to the spool was answered; may end a stop. */
void deliver_answered(struct deliver *deliver);
/* The definition that a queue's mail is delivered by now, or NULL. */
const struct conf_domain *deliver_domain(struct deliver *deliver, struct pn_str queue);

#endif
