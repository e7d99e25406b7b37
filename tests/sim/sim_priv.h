/*
 * sim_priv.h - what the parts of the simulated world share.
 */
#ifndef POSTERN_TESTS_SIM_PRIV_H
#define POSTERN_TESTS_SIM_PRIV_H

#include "sim.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/deliver/deliver.h"
#include "postern/ingress/ingress.h"
#include "postern/verify/verify.h"

/* ---- events and loops (sim_loop.c) ----------------------------------------------------- */

/* Something that happens at a time. Embedded; on_fire may free it. */
struct sim_event {
    struct pn_heap_node node;
    void (*on_fire)(struct sim_event *event);
};

struct sim_wire;

struct sim_loop {
    struct loop port; /* first */
    struct network network;
    struct resolver resolver;
    struct sim *sim;
    struct loop_task *posted;
    struct loop_task **posted_end;
    struct sim_wire *flush; /* wires with output of this turn */
    bool ended;
};

struct sim_loop *sim_loop_new(struct sim *sim);
void sim_loop_free(struct sim_loop **loop);
bool sim_loop_ready(const struct sim_loop *loop);
void sim_loop_turn(struct sim_loop *loop);

/* The order of what happens at the same millisecond is drawn, but not before min_key.
 * Returns the key. */
int64_t sim_event_at(struct sim *sim, struct sim_event *event, int64_t at_ms, int64_t min_key);
void sim_event_after(struct sim *sim, struct sim_event *event, int64_t delay_ms);
void sim_event_stop(struct sim *sim, struct sim_event *event);
/* Runs what is to be done at this moment; false: nothing was. */
bool sim_step(struct sim *sim);
void sim_events_drain(struct sim *sim); /* at the end of the world: all that is left */

/* ---- connections (sim_net.c) ----------------------------------------------------------- */

/* The far end of a connection: a client or a server that is played. */
struct sim_far_ops {
    void (*on_open)(struct sim_wire *wire, void *owner); /* our connection was made */
    void (*on_octets)(struct sim_wire *wire, void *owner, struct pn_str data);
    void (*on_end)(struct sim_wire *wire, void *owner);  /* FIN: the near end has closed */
    void (*on_lost)(struct sim_wire *wire, void *owner); /* RST, or never connected; gone */
};

/* Octets on their way to the far end are answered for when they were read there. */
struct sim_wire *sim_wire_accepted(struct sim *sim, const struct sim_far_ops *ops, void *owner,
                                   const struct pn_ip *ip);
struct stream *sim_wire_stream(struct sim_wire *wire, struct sim_loop *loop);
void sim_wire_send(struct sim_wire *wire, struct pn_str data);
void sim_wire_end(struct sim_wire *wire);   /* FIN, and the far owner is gone */
void sim_wire_reset(struct sim_wire *wire); /* RST, likewise */
void sim_wire_sever(struct sim_wire *wire); /* nothing passes any more, likewise */
/* Nobody took the connection. */
void sim_wire_refuse(struct sim_wire *wire);
void sim_wire_set_owner(struct sim_wire *wire, void *owner);

/* Tells fn once what was sent up to sim_wire_receipt_sent was consumed by the near end
 * (seen), or that this will never be. */
typedef void sim_receipt_fn(void *owner, bool seen);
void sim_wire_receipt(struct sim_wire *wire, sim_receipt_fn *fn, void *owner);
void sim_wire_receipt_sent(struct sim_wire *wire);

void sim_net_init_loop(struct sim_loop *loop);
void sim_net_flush(struct sim_loop *loop);
void sim_net_crash(struct sim *sim); /* the near ends are dead; far ends hear of it, or not */
void sim_net_free(struct sim *sim);
int64_t sim_net_latency(struct sim *sim);

/* ---- DNS (sim_dns.c) ------------------------------------------------------------------- */

struct sim_name;
void sim_dns_init_loop(struct sim_loop *loop);
void sim_dns_free(struct sim *sim);

/* ---- what is on disk (sim_map.c) ------------------------------------------------------- */

/* An ordered map of octets to octets, with deletions remembered where it is an overlay. */
struct sim_map;
struct sim_item {
    struct pn_str key, value;
    bool deleted;
};
struct sim_map *sim_map_new(void);
void sim_map_free(struct sim_map **map);
void sim_map_clear(struct sim_map *map);
const struct sim_item *sim_map_find(const struct sim_map *map, struct pn_str key);
void sim_map_put(struct sim_map *map, struct pn_str key, struct pn_str value, bool deleted);
void sim_map_remove(struct sim_map *map, struct pn_str key);
/* The first item >= key, and the one after an item; NULL: none. */
const struct sim_item *sim_map_seek(const struct sim_map *map, struct pn_str key);
const struct sim_item *sim_map_next(const struct sim_item *item);
/* Applies an overlay. */
void sim_map_merge(struct sim_map *map, const struct sim_map *changes);
/* As it is, with what is remembered as deleted. */
void sim_map_copy(struct sim_map *map, const struct sim_map *from);

/* ---- the store (sim_store.c, sim_disk.c) ------------------------------------------------- */

/* What survives the daemon, of one store. */
struct sim_unsynced;
struct sim_disk {
    const char *name;
    struct sim_map *items;   /* what is read */
    struct sim_map *durable; /* of a store that does not sync: what a power cut leaves */
    struct sim_unsynced *unsynced, *unsynced_end;
    uint64_t log;        /* the number of LevelDB's log that is written to */
    uint64_t operations; /* since the fault was ordered */
    enum sim_fault fault;
    uint64_t fault_at, fault_span;
    int64_t restart_ms;
    bool happened;
    bool broken, full;
    int64_t sync_ms;
    int64_t trouble_ms; /* when the store was last not open */
    int64_t failed_ms;  /* since when writes wait to be undone, or -1 */
    int64_t undone_ms;  /* until then we may hear of writes that were never undone */
};

void sim_disk_init(struct sim_disk *disk, const char *name, bool synced);
void sim_disk_fini(struct sim_disk *disk);
/* A batch of a store that does not sync; and what a power cut leaves of those. */
void sim_disk_note_unsynced(struct sim *sim, struct sim_disk *disk,
                            const struct sim_map *changes);
void sim_disk_lose_unsynced(struct sim *sim, struct sim_disk *disk);

struct sim_store;
struct sim_store *sim_store_new(struct sim *sim, struct sim_disk *disk,
                                const struct store_events *events);
bool sim_store_opens(struct sim_store *store); /* at a start; an operation */
struct store *sim_store_port(struct sim_store *store);
void sim_store_finish(struct sim_store *store); /* writes what waits, synced */
/* From now on nothing reaches the disk; requests are answered by sim_store_answer. */
void sim_store_cut(struct sim_store *store);
bool sim_store_answer(struct sim_store *store);
void sim_store_free(struct sim_store **store);
bool sim_store_is_open(const struct sim_store *store);

/* ---- files, crypto (sim_files.c) ------------------------------------------------------- */

struct sim_file;
struct sim_files {
    struct files port;
    struct sim *sim;
    uint64_t written; /* how often: what tells a file from its next version */
    struct sim_file *first;
    uint64_t free_octets;
};
void sim_files_init(struct sim_files *files, struct sim *sim);
void sim_files_fini(struct sim_files *files);
struct crypto *sim_crypto(struct sim *sim); /* the real one, its random numbers from the seed */

/* ---- servers and clients ---------------------------------------------------------------- */

/* Who listens at an address; NULL: nobody has it. */
struct sim_server *sim_server_at(struct sim *sim, const struct pn_endpoint *at);
/* A connection has reached the server. */
void sim_server_accept(struct sim_server *server, struct sim_wire *wire);
extern const struct sim_far_ops sim_server_far_ops;
void sim_servers_free(struct sim *sim);

struct sim_client;
void sim_clients_free(struct sim *sim);
/* A mail's text, made again from its salt. */
void sim_mail_text(const struct sim_mail *mail, struct pn_buf *out);

/* ---- checks (sim_check.c) ---------------------------------------------------------------- */

/* Where the log goes. */
void sim_check_init(struct sim *sim);
void sim_check_step(struct sim *sim);
/* A server keeps a message; the reply to it goes, or would go, over this wire. */
void sim_check_delivered(struct sim_server *server, struct sim_wire *wire, bool from_nobody,
                         struct pn_str text, const struct pn_str *recipients, size_t count);
/* The mail that a text, or one that it returns, is; 0: none. */
size_t sim_check_number(struct sim *sim, struct pn_str text);
void sim_check_connected(struct sim_server *server);
void sim_check_sessions(struct sim_server *server);
/* The far end has heard what became of its mail. */
void sim_check_answered(struct sim *sim, struct sim_mail *mail);
/* It has heard what a recipient is told. */
void sim_check_recipient(struct sim *sim, struct sim_mail *mail,
                         struct sim_recipient *recipient, unsigned code);
/* We have made a connection to the server, or have this much unsent on one. */
void sim_check_near_sessions(const struct sim_server *server);
void sim_check_unsent(struct sim *sim, size_t octets);
/* Before memory is dropped: which deliveries may happen again. */
void sim_check_time(struct sim *sim);
void sim_check_crash(struct sim *sim);

/* ---- reports (sim_report.c) ---------------------------------------------------------------
 */

bool sim_report_is(struct pn_str text);
/* Checks a report to this recipient, or of the spool (""), and notes whom it is about. */
void sim_report_take(struct sim *sim, struct pn_str text, struct pn_str to);
/* Reads a message of the spool, and takes it if it is a report. */
void sim_report_look(struct sim *sim, const struct pn_id *id);

/* ---- the world (sim_world.c) --------------------------------------------------------------
 */

struct sim_worker {
    struct sim_loop *loop;
    struct out_deps out;
    struct deliver_worker *deliver;
    struct out_pool *pool;
    struct verify *verify;
    struct ingress *ingress;
};

/* The daemon: gone with a crash. */
struct sim_daemon {
    struct sim *sim;
    struct sim_loop *main;
    struct sim_worker *workers;
    size_t worker_count;
    struct sim_store *store, *state_store;
    struct spool *spool;
    struct state *state;
    struct out_board *board;
    struct verify_lists *lists;
    struct verify_rates *rates;
    struct policy_defer *defer;
    struct out_pool *pool; /* of the main loop */
    struct verify *verify;
    struct policy_limits *limits;
    struct stats_counters *counters;
    struct queue_clock clock;
    bool has_clock;
    struct deliver *deliver;
    struct out_deps out;
    struct pn_timer second_timer;
    uint64_t seconds;
    bool running;  /* takes connections */
    bool stopping; /* deliver was told */
    size_t draining;
};

#define SIM_LOG_LINES 60

/* One hold that was ordered: nothing may be delivered there any more. */
struct sim_held {
    struct sim_held *next;
    char *destination;
    int64_t since_ms;
};

struct sim {
    uint64_t seed;
    struct pn_rand rand;
    struct sim_options options;
    int64_t now_ms;
    int64_t boot_ms;     /* monotonic time begins here */
    int64_t wall_offset; /* of the wall clock to now_ms */
    struct pn_heap events;
    uint64_t steps_now; /* at this millisecond */
    struct sim_loop *loops[16];
    size_t loop_count;
    struct sim_wire *wires;
    int64_t latency_least, latency_most;
    size_t cut_octets;
    struct sim_name *names;
    struct sim_disk disk, state_disk;
    struct sim_files files;
    struct crypto crypto;
    struct sim_server *servers;
    struct sim_client *clients;
    struct sim_mail **mails;
    size_t mail_count, mail_cap;
    uint64_t duplicates;
    unsigned ends; /* of the daemon: after each, what was told may be told again */
    uint64_t reports;
    unsigned etrn_replies[6];
    struct conf *conf;
    struct domains *domains;
    struct sim_daemon *daemon; /* NULL: it is down */
    bool dead;                 /* memory is being dropped: nothing gets out */
    bool cut_now;              /* a power cut is due */
    bool ending;
    struct sim_event restart;
    int64_t idle_ms; /* the last time at which memory was checked */
    struct pn_log_sink sink;
    struct pn_log log;
    char *lines[SIM_LOG_LINES];
    uint64_t line_count;
    uint64_t logged[PN_EV_COUNT];
    int64_t *probe_times; /* connections to what is down, newest last */
    size_t probe_count, probe_cap;
    size_t near_sessions; /* connections that we have made */
    struct sim_held *held;
    int64_t configured_ms; /* the domains changed */
};

void sim_note(struct sim *sim, const char *format, ...) PN_PRINTF(2, 3);
const struct conf_domain *sim_find_domain(const struct sim *sim, const char *name);

#endif
