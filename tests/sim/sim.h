/*
 * sim.h - the simulation of Postern: the real flows in a world made up from one seed.
 *
 * What is real: ingress, verify, spool, state, queue, deliver, outbound, policy, domains,
 * configuration, and the crypto of tls/. What is played: time, the network, DNS, the disk of
 * the two stores, files, clients and primary servers. Nothing sleeps, no socket is opened and
 * no thread is made: a week of outage takes milliseconds, and a seed replays exactly.
 *
 * Time moves from event to event. Several loops (main, and one for each worker) take turns
 * on this one thread; which of those that have something to do goes first is drawn from the
 * seed, and so are latencies and the pieces that octets arrive in.
 *
 *     struct sim *sim = sim_new(1, NULL);
 *
 *     sim_host(sim, "mx1.example.net", "192.0.2.1");
 *     sim_domain(sim, "example.net", "target = {\"mx1.example.net\"}");
 *     sim_peer(sim, "mx1.example.net", "RCPT", "451 4.7.1 Later, please");
 *     sim_submit(sim, "a@here.example", "b@example.net");
 *     sim_run(sim, PN_MINUTES(4));
 *     assert_int_equal(sim_attempts(sim, "mx1.example.net"), 1);
 *     sim_free(&sim);
 *
 * What must always hold is checked after every event (sim_check.c), and what must hold in
 * the end by sim_settle: every recipient that was answered 250 is delivered, parked, reported
 * to its sender, or in the spool; no report is about a report or about mail without a sender;
 * what was answered 4xx or 5xx at the end of data was delivered to nobody, nor anything to a
 * recipient that was answered so; a second delivery has its reason (a reply that never reached
 * us, a crash before the end of the job was durable). A violation prints the seed, the virtual
 * time and the last lines of the log, and ends the program.
 *
 * Parts: sim_loop.c events and loops, sim_net.c connections, sim_dns.c, sim_store.c the two
 * stores with power cuts, sim_disk.c and sim_map.c what is on their disks, sim_files.c files
 * and random numbers, sim_peer.c primary servers, sim_client.c senders, sim_world.c the
 * daemon's wiring with its ends and beginnings, sim_operator.c the operator, sim_check.c what
 * must hold, sim_report.c what reports must say.
 *
 * Each other source here is a program. crash.c cuts the power after each store operation
 * and makes each fail; random.c makes up a whole world from a seed:
 *
 *     random [-v] [SEED [COUNT]]      also SIM_SEEDS=COUNT
 */
#ifndef POSTERN_TESTS_SIM_H
#define POSTERN_TESTS_SIM_H

#include "postern/base/ip.h"
#include "postern/base/log.h"
#include "postern/base/rand.h"
#include "postern/base/str.h"
#include "postern/base/time.h"
#include "postern/port/resolver.h"
#include "postern/queue/queue.h"
#include "postern/spool/spool.h"

struct sim;

struct sim_options {
    const char *conf; /* more lines of postern.conf, or NULL */
    size_t workers;   /* 0: two */
    bool encrypt;     /* bodies at rest */
    bool verbose;     /* the log goes to standard error */
    bool no_checks;   /* the spool does not verify itself in the background */
};

/* A world in which the daemon is about to start. options may be NULL. */
struct sim *sim_new(uint64_t seed, const struct sim_options *options);
void sim_free(struct sim **sim); /* asserts that nothing is left over */

/* Never returns: prints what and where, and ends the program. */
_Noreturn void sim_fail(struct sim *sim, const char *format, ...) PN_PRINTF(2, 3);

/* ---- time ------------------------------------------------------------------------------ */

void sim_run(struct sim *sim, int64_t ms);
/* Until it is so, or the time is over; says whether it is so. */
typedef bool sim_until_fn(struct sim *sim, void *arg);
bool sim_run_until(struct sim *sim, sim_until_fn *fn, void *arg, int64_t most_ms);
int64_t sim_now(const struct sim *sim);           /* milliseconds since the world began */
void sim_step_clock(struct sim *sim, int64_t ms); /* the wall clock alone */
struct pn_rand *sim_rand(struct sim *sim);
bool sim_chance(struct sim *sim, unsigned permille);

/* ---- the daemon ------------------------------------------------------------------------ */

/* Adds or changes a relay domain. text: its file; recipients = {any} and when_up = accept
 * unless it says otherwise, on a line of its own. */
void sim_domain(struct sim *sim, const char *name, const char *text);
void sim_domain_remove(struct sim *sim, const char *name);

/* Power fails: what is not synced is lost, connections die. It starts again after ms; a
 * negative ms: not before sim_start. */
void sim_crash(struct sim *sim, int64_t restart_ms);
/* As SIGTERM: runs until it has ended. */
void sim_stop(struct sim *sim);
void sim_start(struct sim *sim);
void sim_start_if_off(struct sim *sim);
bool sim_is_up(const struct sim *sim); /* it takes connections */

bool sim_flush(struct sim *sim, const char *queue);            /* "" : all */
void sim_hold(struct sim *sim, const char *domain, bool hold); /* its destination */
/* What the operator does to the jobs of a queue ("" : all), or of one mail. */
void sim_verb(struct sim *sim, enum spool_verb verb, const char *queue);
void sim_verb_mail(struct sim *sim, enum spool_verb verb, size_t number);
/* False: the daemon is down, or there is no such thing. */
bool sim_queue(struct sim *sim, const char *name, struct queue_status *out);
bool sim_destination(struct sim *sim, const char *domain, struct queue_destination_status *out);
enum queue_state sim_state(struct sim *sim, const char *domain);
/* The operator about a destination that is stopped: try again, or believe its refusals. */
bool sim_resume(struct sim *sim, const char *domain);
bool sim_refuse(struct sim *sim, const char *domain);
bool sim_parole(struct sim *sim, const char *domain);
uint64_t sim_waiting(struct sim *sim); /* jobs, over all queues */
uint64_t sim_parked(struct sim *sim, const char *queue);
/* How often an event was logged since the world began. */
uint64_t sim_logged(const struct sim *sim, enum pn_event event);

/* ---- the disk -------------------------------------------------------------------------- */

enum sim_fault {
    SIM_NO_FAULT,
    SIM_POWER_CUT,    /* after the operation */
    SIM_FAIL,         /* the operation fails */
    SIM_CUT_AND_FAIL, /* power is cut, and then the rest of the span fails: at the start */
};
/* Append, sync, read and open of the store are counted from now on; the n-th, from 1, gets
 * the fault, and the daemon starts again restart_ms after a power cut. */
void sim_fault_at(struct sim *sim, enum sim_fault fault, uint64_t n, int64_t restart_ms);
void sim_fault_span(struct sim *sim, uint64_t count); /* so many operations fail, not one */
/* The same of the state's store, on which no mail depends. */
void sim_state_fault_at(struct sim *sim, enum sim_fault fault, uint64_t n, int64_t restart_ms);
uint64_t sim_state_operations(const struct sim *sim);
uint64_t sim_store_operations(const struct sim *sim); /* since sim_fault_at */
bool sim_fault_happened(const struct sim *sim);
void sim_store_break(struct sim *sim, bool broken);   /* every operation fails meanwhile */
void sim_disk_free(struct sim *sim, uint64_t octets); /* free space, as files say it */
void sim_disk_full(struct sim *sim, bool full);       /* appends fail with "no space" */
size_t sim_disk_items(const struct sim *sim);         /* keys on the disk */
void sim_disk_slow(struct sim *sim, int64_t sync_ms); /* most time of a sync */
void sim_file(struct sim *sim, const char *path, const char *content); /* NULL: removed */

/* ---- network and DNS ------------------------------------------------------------------- */

/* "A 192.0.2.1", "AAAA 2001:db8::1"; adds to what the name has. */
void sim_dns(struct sim *sim, const char *name, const char *record);
/* All questions about the name get this from now on; RESOLVER_FOUND: as the table says. */
void sim_dns_status(struct sim *sim, const char *name, enum resolver_status status);
void sim_dns_delay(struct sim *sim, const char *name, int64_t ms);    /* of the answers */
void sim_latency(struct sim *sim, int64_t least_ms, int64_t most_ms); /* one way */
void sim_cut(struct sim *sim, size_t octets); /* pieces of at most so many; 0: whole */

enum sim_reach {
    SIM_UP,
    SIM_REFUSED,     /* nobody listens */
    SIM_UNREACHABLE, /* no route to the host */
    SIM_BLACK_HOLE,  /* packets vanish */
    SIM_SILENT,      /* connects, and says nothing */
    SIM_GARBAGE,     /* connects, and says what is no SMTP */
};

/* ---- primary servers ------------------------------------------------------------------- */

enum sim_verb {
    SIM_CONNECT, /* the greeting */
    SIM_EHLO,
    SIM_MAIL,
    SIM_RCPT,
    SIM_DATA,
    SIM_DOT, /* the end of the text, BDAT LAST too */
    SIM_RSET,
    SIM_QUIT,
    SIM_VERBS
};

enum sim_capability {
    SIM_PIPELINING = 1,
    SIM_CHUNKING = 2,
    SIM_8BITMIME = 4,
    SIM_SMTPUTF8 = 8,
    SIM_SIZE = 16,
    SIM_CAPABILITIES = 31,
};

/* What a server does in place of its reply to a verb. After a text it is in doubt. */
enum sim_end { SIM_REPLIES, SIM_CLOSES, SIM_RESETS, SIM_FALLS_SILENT, SIM_HALF_A_REPLY };

struct sim_server;
/* What the server says to a verb; NULL: what it would say anyway. arg is an address. */
typedef const char *sim_server_fn(void *owner, struct sim_server *server, enum sim_verb verb,
                                  struct pn_str arg);

/* A primary server, played. The scenario may change all that stands above the line. */
struct sim_server {
    enum sim_reach reach;
    char replies[SIM_VERBS][128]; /* "" : the usual ones */
    int64_t delays_ms[SIM_VERBS];
    unsigned capabilities;
    unsigned sessions_max;  /* one more is told 421; 0: any number */
    unsigned die_after_dot; /* so many times the session is lost with the reply unsaid */
    unsigned die_in_text;   /* so many times it is lost in the middle of a text */
    bool die_keeps;         /* what it had got whole, it keeps and delivers */
    bool mute_after_dot;    /* says nothing any more after a text, and stays connected */
    enum sim_end ends[SIM_VERBS];
    unsigned ends_left;     /* so many times */
    unsigned messages_max;  /* 421 after so many messages in a session; 0: never */
    bool trickle;           /* replies come octet by octet */
    sim_server_fn *on_verb; /* or NULL */
    void *owner;

    /* ---- what it has seen ---- */
    struct sim *sim;
    struct sim_server *next;
    char host[64];
    struct pn_endpoint at;
    unsigned sessions, sessions_most;
    unsigned near_sessions; /* as we ourselves see it */
    uint64_t connections, attempts, messages, recipients;
    uint64_t verbs[SIM_VERBS];
    int64_t last_connection_ms, first_message_ms, last_message_ms; /* 0: never */
};

/* A server at host:25 (SMTP) and host:24 (LMTP), and its address in the DNS. */
struct sim_server *sim_host(struct sim *sim, const char *host, const char *ip);
struct sim_server *sim_server(struct sim *sim, const char *host);
/* verb: "CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"; reply NULL: the usual one again. */
void sim_peer(struct sim *sim, const char *host, const char *verb, const char *reply);
void sim_reach(struct sim *sim, const char *host, enum sim_reach reach);
uint64_t sim_attempts(struct sim *sim, const char *host); /* transactions with a RCPT */

/* ---- mail ------------------------------------------------------------------------------ */

enum sim_mail_state {
    SIM_WAITS,    /* not yet sent, or under way */
    SIM_TAKEN,    /* 250 at the end of data */
    SIM_TOLD_NO,  /* 4xx or 5xx at the end of data */
    SIM_NOT_SENT, /* it did not come so far: refused earlier, or the connection was lost */
    SIM_UNKNOWN,  /* the connection was lost between the end of data and its reply */
};

#define SIM_REPORTS 8

struct sim_recipient {
    char address[80];
    bool accepted;      /* 250 to RCPT */
    unsigned code;      /* the reply to RCPT; 0: none yet */
    unsigned delivered; /* how often */
    unsigned excuses;   /* how often it may be delivered again */
    unsigned duplicates;
    int64_t delivered_ms;  /* the first time */
    int64_t seen_ms;       /* when the reply to the last delivery had reached the daemon; 0 */
    bool parked, in_spool; /* as of the last sim_look */
    bool reported;         /* likewise: its sender was told that it failed, or will be */
    bool told;             /* by a report that a server has */
    unsigned reports;      /* so many different ones were seen */
    char report_ids[SIM_REPORTS][27];
};

struct sim_mail {
    size_t number; /* from 1 */
    char sender[80];
    struct sim_recipient *recipients;
    size_t recipient_count;
    size_t octets; /* about, of the text */
    uint64_t salt; /* of the text */
    enum sim_mail_state state;
    unsigned code; /* the last reply to it */
    int64_t submitted_ms, ended_ms;
    char id[27];   /* the queue id that the reply named, or "" */
    bool deleted;  /* the operator wanted it so */
    bool excused;  /* told 452, but the daemon ended before it could undo the failed write */
    bool in_doubt; /* a server kept it, and we did not hear of that */
};

/* How a client sends. */
struct sim_client_options {
    const char *ip; /* NULL: one of a few */
    bool pipelining, bdat;
    size_t vanish_after; /* octets of the first text after which it vanishes; 0: never */
    bool resets;         /* it vanishes by RST, else without a word */
    int64_t pause_ms;    /* between pieces of a text */
    const char *etrn;    /* a domain to ask for after EHLO, or NULL; not copied */
};

/* Makes a mail; nothing is sent. recipients: separated by blanks. Returns its number. */
size_t sim_mail_new(struct sim *sim, const char *sender, const char *recipients, size_t octets);
/* The replies to ETRN so far, by their first digit. */
unsigned sim_etrn_replies(const struct sim *sim, unsigned digit);
/* A client that sends these mails, in this order, in one session. */
void sim_send(struct sim *sim, size_t first, size_t count,
              const struct sim_client_options *options);
/* A small mail in a session of its own. */
size_t sim_submit(struct sim *sim, const char *sender, const char *recipient);
/* Many small mails to a domain, over some sessions; returns the number of the first. */
size_t sim_submit_many(struct sim *sim, const char *domain, size_t count, size_t sessions);

struct sim_mail *sim_mail(struct sim *sim, size_t number);
size_t sim_mails(const struct sim *sim);
size_t sim_accepted(const struct sim *sim);  /* mails that got 250 */
size_t sim_delivered(const struct sim *sim); /* mails of those, all recipients delivered */
uint64_t sim_duplicates(const struct sim *sim);
uint64_t sim_reports(const struct sim *sim); /* that servers have got */

/* ---- what must hold -------------------------------------------------------------------- */

/* Reads the whole spool: which recipients are in it, which are parked. */
void sim_look(struct sim *sim);
/* Waits for at most most_ms until all accepted mail is delivered, reported or parked; the rest
 * must be in the spool. With `all`, none may be left there. */
void sim_settle(struct sim *sim, int64_t most_ms, bool all);

/* ---- for programs that run many worlds ------------------------------------------------- */

/*
 * Runs fn for each n below count, each in a process of its own, as many at a time as there are
 * processors, in any order. on_failed is told, here, of each that did not end well; returns
 * how many those were.
 */
typedef void sim_isolated_fn(void *owner, uint64_t n);
uint64_t sim_isolated(uint64_t count, sim_isolated_fn *fn, sim_isolated_fn *on_failed,
                      void *owner);

#endif
