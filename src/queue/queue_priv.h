/*
 * queue_priv.h - what the scheduler's own sources share.
 *
 * A lane is one named queue, a dest is one destination. Lanes and dests live as long as
 * the scheduler knows them; a lane that is being worked on has a queue_work beside it,
 * which holds all that depends on single jobs (window.c), so that a lane at rest stays
 * small. Whoever changes a fact calls queue_lane_schedule or queue_dest_touch; everything
 * that follows from it is found by queue_next, in heaps and lists, never by a search.
 */
#ifndef POSTERN_QUEUE_QUEUE_PRIV_H
#define POSTERN_QUEUE_QUEUE_PRIV_H

#include "postern/base/assert.h"
#include "postern/base/heap.h"
#include "postern/base/mem.h"
#include "postern/base/rand.h"
#include "postern/queue/queue.h"

/* A table that cannot grow ends the program, as memory that is not there does. */
#define uthash_fatal(msg) pn_assert(!msg)
#include <uthash.h>
#include <utlist.h>

#define QUEUE_LOOK_JOBS    16             /* jobs asked for when only the next due counts */
#define QUEUE_READS_MAX    64             /* pages under way, of all lanes together */
#define QUEUE_KNOWN_MAX    131072         /* jobs in memory; beyond, pages get small */
#define QUEUE_DEST_JOBS    4096           /* jobs in memory for one dest */
#define QUEUE_CALM_MS      50             /* after a page that brought nothing new */
#define QUEUE_RETRY_MS     PN_SECONDS(1)  /* after a page that the spool could not read */
#define QUEUE_SWEEP_GAP_MS 50             /* between two sweep pages of any lanes */
#define QUEUE_SWEEP_MIN_MS PN_MINUTES(10) /* between two sweeps of a lane */
#define QUEUE_IDLE_MS      PN_SECONDS(30) /* an idle session is kept so long */
#define QUEUE_QUIET_MS     PN_SECONDS(10) /* after the return: once drained, a RAMP is over */
#define QUEUE_FRESH_MS     PN_MINUTES(2)  /* what counts as fresh when it has to be read */
#define QUEUE_HOUR_MS      PN_HOURS(1)

struct queue_key {
    int64_t due_ms;
    struct pn_id id;
};

/* ---- jobs in memory --------------------------------------------------------------- */

enum queue_entry_state {
    QUEUE_ENTRY_WAITING,    /* in the window */
    QUEUE_ENTRY_FRESH,      /* in the fresh list */
    QUEUE_ENTRY_TAKEN,      /* a session has it */
    QUEUE_ENTRY_TAKEN_GONE, /* a session has it, but the spool no longer, or elsewhere */
    QUEUE_ENTRY_EXPIRING,   /* EXPIRE has still to be given */
    QUEUE_ENTRY_SETTLING,   /* the spool's notice is awaited */
};

struct queue_lane;

struct queue_entry {
    UT_hash_handle hh;
    struct queue_entry *prev, *next; /* in the window, the fresh or the expiring list */
    struct queue_lane *lane;
    enum queue_entry_state state;
    struct queue_job job;    /* as the spool has it; its key is (due_ms, id) */
    struct queue_job beside; /* the same id under another key, seen meanwhile; or due NEVER */
    bool tried;  /* SETTLING: what a delivery has done follows it to wherever it is moved */
    bool moving; /* its next key is told next */
};

/* A key that was removed while a page was being read: the page may still show it. */
struct queue_dead {
    UT_hash_handle hh;
    struct queue_key key;
};

enum queue_reading {
    QUEUE_READING_NONE,
    QUEUE_READING_FILL,  /* due jobs, from the cursor */
    QUEUE_READING_FLUSH, /* jobs that are not due yet, from the flush's cursor */
    QUEUE_READING_LOOK,  /* when is the next one due? */
    QUEUE_READING_FRESH, /* the newest, beside those in their order */
    QUEUE_READING_SWEEP, /* ages */
    QUEUE_READING_VOID,  /* the answer is of no use any more */
};

enum queue_flush_phase { QUEUE_FLUSH_NONE, QUEUE_FLUSH_READING, QUEUE_FLUSH_TRYING };

struct queue_work {
    struct queue_entry *known; /* hash by id: whatever is in memory of this lane */
    struct queue_entry *window, *fresh;
    size_t window_count, fresh_count, taken_count, expiring_count, settling_count;
    unsigned picks;   /* counts window and fresh in their 3:1 */
    unsigned passed;  /* how often the first of the window was passed by for a smaller one */
    unsigned clients; /* counts the sessions for one client that got theirs here */

    enum queue_reading reading;
    int64_t read_until_ms;
    struct queue_key read_low; /* the lowest key that the page under way may have missed */
    struct queue_dead *dead;

    enum queue_flush_phase flush;
    int64_t flush_start_ms;
    struct queue_key flush_at;
    uint64_t flush_left;
    bool wants_fresh; /* none of the newest is known, as after a start */

    struct queue_key sweep_at;
    int64_t sweep_oldest_ms; /* the lowest arrival of the sweep under way */
    int64_t sweep_report_ms; /* and of its reports */
};

/* ---- a named queue ---------------------------------------------------------------- */

enum queue_horizon {
    QUEUE_HORIZON_UNREAD, /* nothing is known: next_due_ms is a lower bound, read on */
    QUEUE_HORIZON_ENDED,  /* the same, but what is due was read: look for the next one */
    QUEUE_HORIZON_SEEN,   /* a job with that due time was seen (or NEVER: there is none) */
};

struct queue_dest;

struct queue_lane {
    UT_hash_handle hh;
    struct queue_dest *dest;                  /* NULL: not defined */
    struct queue_lane *prev, *next;           /* of the same dest */
    struct queue_lane *turn_prev, *turn_next; /* of the same dest, with jobs to give */
    struct queue_work *work;                  /* NULL at rest */
    uint64_t jobs, octets, parked;
    int64_t retry_min_ms, retry_max_ms, hold_ms;
    int64_t step_us; /* between two messages, by the rate; 0: no limit */
    int64_t delay_ms;
    unsigned sessions, messages_per_session;
    struct queue_key cursor; /* the invariant is in window.c */
    int64_t next_due_ms;     /* of the jobs from the cursor on: none is due earlier */
    int64_t read_after_ms;
    struct pn_heap_node read_node;
    int64_t oldest_ms, swept_ms;
    int64_t report_ms; /* likewise of the oldest report, 0: none is known */
    struct pn_heap_node sweep_node;
    int64_t rate_ms; /* start of the counting period */
    uint32_t doubts; /* jobs in doubt that were added and not removed */
    uint32_t rate_now, rate_before;
    uint8_t horizon; /* enum queue_horizon */
    bool in_turns;   /* membership of the two lists of its dest */
    bool is_waiting;
    bool on_demand;
    char name[];
};

/* ---- a destination ---------------------------------------------------------------- */

enum queue_session_state {
    QUEUE_SESSION_OPENING,
    QUEUE_SESSION_BUSY, /* it has jobs, or is about to take */
    QUEUE_SESSION_IDLE,
    QUEUE_SESSION_WOKEN,   /* was idle, was told to take */
    QUEUE_SESSION_RESTING, /* waits out the delay between two messages */
    QUEUE_SESSION_CLOSING, /* was told to close */
};

struct queue_session {
    UT_hash_handle hh;
    struct queue_session *prev, *next; /* in its dest's list of idle ones */
    uint64_t id;
    struct queue_dest *dest;
    enum queue_session_state state;
    int64_t born_ms;
    unsigned taken;                /* messages it was given */
    unsigned out;                  /* of them: without a result */
    int64_t idle_since_ms;         /* 0: it had jobs at its last take */
    int64_t rest_until_ms;         /* no message earlier */
    struct pn_heap_node idle_node; /* IDLE: its end; RESTING: rest_until_ms */
    bool refuses;                  /* it has reached nobody */
    bool by_client;                /* mail of one client only */
    bool chosen;                   /* of this one */
    struct pn_ip client;
};

/* Lanes that wait for room in memory, in order; small, as only active lanes get here. */
struct queue_waiting {
    struct queue_waiting *prev, *next;
    struct queue_lane *lane;
};

/* See parole.c. All zero when it is over. */
struct queue_parole {
    bool on;
    bool spoilt;             /* the job whose result comes next had refused recipients */
    bool trial;              /* STOPPED: it is time for canaries, or they are under way */
    uint64_t taken, refused; /* jobs: whole, and with refused recipients */
    int64_t begun_ms;
    int64_t quiet_ms;   /* the begin, or the last refusal */
    int64_t canary_ms;  /* STOPPED: the next trial */
    uint64_t session;   /* the trial's; 0: not yet opened */
    unsigned given;     /* canaries given to it */
    unsigned out, good; /* of them: still without a result, and taken */
};

struct queue_dest {
    UT_hash_handle hh;
    struct queue_dest *todo_prev, *todo_next;
    struct queue_lane *lanes, *turns;
    struct queue_waiting *waiting;
    enum queue_state state;
    int64_t since_ms;
    char *reason;
    uint64_t jobs;      /* of its lanes, on disk */
    uint64_t available; /* of its lanes, in memory and ready to be given */

    unsigned configured, per_session; /* the least of the lanes' */
    int64_t step_us, delay_ms;        /* the most of the lanes' */
    int64_t due_us;                   /* of the next message, by the rate: see pace.c */
    unsigned ceiling;                 /* sessions that it has; one more was refused. 0: none */
    int64_t ceiling_until_ms, ceiling_wait_ms;
    unsigned limit;  /* sessions now */
    unsigned credit; /* good results since the limit changed */
    unsigned owed;   /* sessions to open although no job is in memory yet */
    int64_t open_after_ms, open_wait_ms;
    int64_t halved_ms, troubled_ms; /* 0: not since the return */
    double took_ms, best_took_ms;   /* smoothed; 0: nothing measured */
    unsigned laters;                /* in a row */
    int64_t relieved_ms;            /* the last flush for a success after many of them */
    uint64_t heard;                 /* results since the only ready session became ready */

    struct queue_session *idle;
    unsigned sessions, opening, ready, idle_count, woken;

    int64_t outage_ms, returned_ms; /* start of the present or last outage, and its end */
    uint64_t delivered;             /* since returned_ms */
    int64_t interval_ms;            /* between probes */
    int64_t probe_started_ms;
    struct pn_heap_node probe_node;
    struct pn_heap_node timer_node;

    int64_t last_success_ms, last_failure_ms;
    uint64_t probes, failures, refused_sessions;
    struct queue_parole parole;
    bool probing;
    bool watched;   /* one of its queues is */
    bool on_demand; /* all of its queues are */
    bool nobody;    /* the last session that became ready, or probe, had reached nobody */
    bool in_todo;
    bool least_is_old; /* configured and per_session are to be computed again */
    char name[];
};

/* A change of state that is still to be told. */
struct queue_event {
    struct queue_event *prev, *next;
    enum queue_state state, before;
    int64_t lasted_ms;
    bool parole, nobody;
    struct pn_str destination, reason;
    char text[];
};

struct queue {
    struct queue_options options;
    struct pn_rand rand;
    int64_t started_ms; /* the first time that was told; -1: none yet */
    bool paused;
    uint64_t last_session;
    struct queue_lane *lanes;
    struct queue_dest *dests;
    struct queue_session *sessions;
    struct queue_dest *todo;
    struct queue_event *events, *told;
    struct queue_entry *expiring;
    struct pn_heap reads, sweeps, probes, timers, idles;
    unsigned reading;
    uint64_t known;
    int64_t sweep_after_ms;
    int64_t probe_after_us; /* the global rate: no probe earlier */
};

#define QUEUE_KEY_END ((struct queue_key){.due_ms = QUEUE_DUE_NEVER})

static inline int queue_key_cmp(const struct queue_key *a, const struct queue_key *b)
{
    return a->due_ms != b->due_ms ? (a->due_ms < b->due_ms ? -1 : 1)
                                  : pn_id_cmp(&a->id, &b->id);
}

static inline struct queue_key queue_key_of(const struct queue_job *job)
{
    return (struct queue_key){.due_ms = job->due_ms, .id = job->id};
}

/* The key that follows directly on this one. */
static inline struct queue_key queue_key_after(const struct queue_job *job)
{
    struct queue_key key = queue_key_of(job);

    for (size_t i = sizeof key.id.octets; i > 0; i--) {
        if (++key.id.octets[i - 1] != 0) {
            return key;
        }
    }
    key.due_ms++;
    return key;
}

static inline struct pn_str queue_lane_name(const struct queue_lane *lane)
{
    return (struct pn_str){lane->name, lane->hh.keylen};
}

static inline struct pn_str queue_dest_name(const struct queue_dest *dest)
{
    return (struct pn_str){dest->name, dest->hh.keylen};
}

static inline bool queue_dest_is_open(const struct queue_dest *dest)
{
    return dest->state == QUEUE_UP || dest->state == QUEUE_RAMP;
}

/* ---- window.c: which jobs are in memory ------------------------------------------- */

struct queue_work *queue_lane_work(struct queue_lane *lane); /* made when there is none */
void queue_lane_rest(struct queue *queue, struct queue_lane *lane);
void queue_lane_clear(struct queue *queue, struct queue_lane *lane); /* frees all of it */

/* Notices of the spool, without the counting. */
void queue_window_added(struct queue *queue, struct queue_lane *lane,
                        const struct queue_job *job, int64_t now_ms);
void queue_window_removed(struct queue *queue, struct queue_lane *lane,
                          const struct queue_job *job);

/* An answer that is not a sweep's. */
void queue_window_page(struct queue *queue, struct queue_lane *lane,
                       const struct queue_job *jobs, size_t count, bool end, int64_t now_ms);
/* True when the page under way may still show this key. */
bool queue_window_is_dead(const struct queue_work *work, const struct queue_job *job);
void queue_window_read_ended(struct queue *queue, struct queue_lane *lane);

/* A session has got it. */
void queue_window_taken(struct queue *queue, struct queue_entry *entry);
/* What a session says of a job: it is settled in the spool, or it is free again. */
void queue_window_result(struct queue *queue, struct queue_lane *lane,
                         const struct queue_job *job, enum queue_verdict verdict);
/* The lane's dest cannot use jobs now: only those in flight stay in memory, and at most
 * `kept` of the fresh ones. */
void queue_window_drop(struct queue *queue, struct queue_lane *lane, size_t kept);
void queue_window_flush(struct queue_lane *lane, int64_t now_ms);
struct queue_entry *queue_window_expire(struct queue *queue, struct queue_lane *lane,
                                        const struct queue_job *job);
bool queue_window_next_expired(struct queue *queue, struct queue_action *out);

/* ---- pick.c: which of them a session gets ------------------------------------------- */

/* client: only its jobs; or NULL. */
size_t queue_lane_pick(struct queue *queue, struct queue_lane *lane, const struct pn_ip *client,
                       size_t max, struct queue_job *out);
/* Whose jobs a session that serves one client is to take; the lane has jobs to give. */
struct pn_ip queue_lane_client(struct queue_lane *lane);

/* ---- pace.c: how many messages the rate allows --------------------------------------- */

int64_t queue_pace_step_us(uint32_t count, int64_t per_ms);
/* How many of max may be handed over now. */
size_t queue_pace_allows(const struct queue_dest *dest, size_t max, int64_t now_ms);
void queue_pace_spend(struct queue_dest *dest, size_t count, int64_t now_ms);
void queue_pace_give_back(struct queue_dest *dest);         /* one that was not handed over */
int64_t queue_pace_again_ms(const struct queue_dest *dest); /* when the next one may go */

/* ---- reads.c: what to read, and when ----------------------------------------------- */

/* Puts the lane where it belongs among those that want to read. */
void queue_lane_schedule(struct queue *queue, struct queue_lane *lane, int64_t now_ms);
/* The next READ for deliveries. */
bool queue_reads_next(struct queue *queue, int64_t now_ms, struct queue_action *out);
void queue_dest_unwait(struct queue *queue, struct queue_dest *dest, int64_t now_ms);

/* ---- sweep.c: ages ---------------------------------------------------------------- */

void queue_sweep_schedule(struct queue *queue, struct queue_lane *lane, int64_t now_ms);
void queue_sweep_added(struct queue_lane *lane, const struct queue_job *job);
void queue_sweep_removed(struct queue *queue, struct queue_lane *lane,
                         const struct queue_job *job, int64_t now_ms);
void queue_sweep_page(struct queue *queue, struct queue_lane *lane,
                      const struct queue_job *jobs, size_t count, bool end, int64_t now_ms);
bool queue_sweep_next(struct queue *queue, int64_t now_ms, struct queue_action *out);
bool queue_sweep_is_old(const struct queue *queue, const struct queue_lane *lane,
                        const struct queue_job *job, int64_t now_ms);

/* ---- destination.c: states, sessions, limits --------------------------------------- */

struct queue_dest *queue_dest_get(struct queue *queue, const char *name, int64_t now_ms);
void queue_dest_release(struct queue *queue, struct queue_dest *dest); /* if nobody needs it */
void queue_dest_clear(struct queue *queue, struct queue_dest *dest);
void queue_dest_join(struct queue *queue, struct queue_dest *dest, struct queue_lane *lane);
void queue_dest_leave(struct queue *queue, struct queue_lane *lane);
void queue_dest_touch(struct queue *queue, struct queue_dest *dest);
void queue_dest_change(struct queue *queue, struct queue_dest *dest, enum queue_state state,
                       struct pn_str reason, int64_t now_ms);
/* That parole is over, for a reason: told as a change from its state to the same. */
void queue_dest_tell_parole(struct queue *queue, struct queue_dest *dest, struct pn_str reason,
                            int64_t lasted_ms);
/* Its jobs in memory, but so many fresh ones of each lane. */
void queue_dest_drop(struct queue *queue, struct queue_dest *dest, size_t kept);
void queue_dest_reschedule(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
bool queue_dest_is_drained(
    const struct queue_dest *dest); /* no session has work or finds any */
void queue_dest_flush(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
void queue_dest_heard(struct queue *queue, struct queue_dest *dest, enum queue_verdict verdict,
                      int64_t took_ms, int64_t now_ms);
bool queue_dest_next(struct queue *queue, int64_t now_ms, struct queue_action *out);
unsigned queue_dest_limit(struct queue_dest *dest);
unsigned queue_dest_per_session(struct queue_dest *dest);
void queue_dest_find_least(struct queue_dest *dest); /* after a lane has changed */
/* A session was refused or lost; refused: while it was opened, beside others. */
void queue_dest_busy(struct queue_dest *dest, bool refused, int64_t born_ms, int64_t now_ms);
void queue_dest_wait(struct queue_dest *dest, int64_t now_ms); /* before the next session */

/* ---- sessions.c --------------------------------------------------------------------- */

struct queue_session *queue_session_find(const struct queue *queue, uint64_t id);
uint64_t queue_session_open(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
/* Moves a session to another state, and keeps its dest's counts and lists in step. */
void queue_session_change(struct queue *queue, struct queue_session *session,
                          enum queue_session_state state);
/* One of its jobs has come back. */
void queue_session_heard(struct queue *queue, struct queue_session *session, int64_t now_ms);
/* What its target says was said to the mail's client. */
bool queue_session_is_clients(const struct queue_session *session);

/* ---- parole.c: does who came back take what it should? ------------------------------ */

/* The dest has just changed its state. */
void queue_parole_changed(struct queue_dest *dest, enum queue_state before, int64_t now_ms);
/* A job's result; may change the dest's state. */
void queue_parole_heard(struct queue *queue, struct queue_dest *dest, uint64_t session,
                        enum queue_verdict verdict, int64_t now_ms);
void queue_parole_session_ended(struct queue *queue, struct queue_dest *dest, uint64_t session,
                                enum queue_end how, int64_t now_ms);
/* How many jobs of max a session may be given. */
size_t queue_parole_allows(const struct queue_dest *dest, uint64_t session, size_t max);
void queue_parole_given(struct queue_dest *dest, size_t count);
bool queue_parole_wants_session(const struct queue_dest *dest); /* for canaries */
void queue_parole_opened(struct queue_dest *dest, uint64_t session);
bool queue_parole_reads(const struct queue_dest *dest); /* canaries are looked for */
/* What time brings: acts, or says when (NEVER: not by time alone). */
void queue_parole_step(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
int64_t queue_parole_again_ms(const struct queue_dest *dest);

/* ---- probe.c: when to ask, and how often in all ------------------------------------ */

void queue_probe_outage(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
/* Its state matters without mail: while it is UNKNOWN it is contacted. */
void queue_probe_watch(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
/* A job was added; dest may be NULL. */
void queue_probe_waits(struct queue *queue, struct queue_dest *dest, int64_t now_ms);
void queue_probe_want(struct queue *queue, struct queue_dest *dest, int64_t at_ms);
bool queue_probe_next(struct queue *queue, int64_t now_ms, struct queue_action *out);
int64_t queue_probe_again_ms(const struct queue *queue);

/* ---- backoff.c: how long to wait --------------------------------------------------- */

int64_t queue_backoff_retry_ms(struct pn_rand *rand, int64_t min_ms, int64_t max_ms,
                               uint32_t attempts);
int64_t queue_backoff_double_ms(int64_t wait_ms, int64_t min_ms, int64_t max_ms);
/* At most a tenth shorter, never longer. */
int64_t queue_backoff_shorten_ms(struct pn_rand *rand, int64_t wait_ms);

/* ---- status.c ---------------------------------------------------------------------- */

void queue_rate_count(struct queue_lane *lane, int64_t now_ms);

#endif
