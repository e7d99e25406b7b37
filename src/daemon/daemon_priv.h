/*
 * daemon/daemon_priv.h - the whole of a running posternd.
 */
#ifndef POSTERN_DAEMON_DAEMON_PRIV_H
#define POSTERN_DAEMON_DAEMON_PRIV_H

#include "log_sink_priv.h"
#include "postern/admin/admin.h"
#include "postern/httpd/server.h"
#include "postern/verify/verify.h"
#include "settings_priv.h"
#include "worker_priv.h"

/* The steps of a stop, in order. */
enum daemon_state { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_DRAINING, DAEMON_ENDING };

struct daemon {
    enum daemon_state state;
    struct daemon_settings settings;
    struct stats_counters *counters;
    struct daemon_log_sink *sink;
    struct pn_log log;
    struct net_loop *loop;
    struct loop_task first_task; /* the start goes on inside the loop */
    struct resolver *resolver;
    struct out_deps out;

    struct store *store, *state_store;
    struct spool *spool;
    struct state *state_records;
    struct queue_clock clock;
    struct policy_limits *limits;
    struct out_board *board;
    struct out_logins *logins;
    struct http *http;
    struct out_policies *policies;
    struct pn_rand rand;
    struct verify_lists *lists;
    struct verify_rates *rates;
    struct policy_defer *defer;
    char *lists_path;
    struct out_pool *pool; /* of the main loop: for the operator's questions */
    struct verify *verify;

    struct daemon_worker **workers;
    size_t worker_count;
    size_t workers_draining; /* whose sessions have not all ended yet */
    bool deliver_draining;

    struct deliver *deliver;
    struct admin *admin;
    struct httpd_server *httpd;
    struct net_watch *httpd_watch;
    struct loop_task httpd_task;
    bool httpd_waits;
    struct pn_timer httpd_timer;

    struct net_directory_watch *domains_watch;
    struct pn_timer second_timer;
    uint64_t seconds;
    uint64_t memory_peak;  /* of the texts, since the heaps were trimmed */
    unsigned calm_seconds; /* since then with little of it in use */
    struct pn_timer stop_timer;
    struct pn_wall started;
    int exit_status;
};

/* Runs until it is told to stop. The exit status. */
int daemon_run(const char *conf_path);

/* settings have changed: everybody is told. */
void daemon_configure(struct daemon *daemon);
/* Logs each mistake as CONFIG_REFUSED or CONFIG_WARNING. */
void daemon_log_mistakes(struct daemon *daemon, const struct conf_mistakes *mistakes);
/* As by SIGTERM. */
void daemon_stop(struct daemon *daemon);

/* operator.c: what only the daemon can do for the admin API. */
struct admin_daemon daemon_operator(struct daemon *daemon);
bool daemon_reload(struct daemon *daemon, struct conf_mistakes *mistakes);

/* api.c: the HTTP server on the main loop. */
int daemon_api_open(struct daemon *daemon, struct pn_err *err);
void daemon_api_close(struct daemon *daemon);

/* knowledge.c: what is known of destinations and recipients. */
void daemon_knowledge_open(struct daemon *daemon);
void daemon_knowledge_close(struct daemon *daemon);
/* Is this recipient known, from a list or an answer? A deliver_believes_fn of the daemon. */
bool daemon_knowledge_believes(void *daemon, const struct conf_domain *domain,
                               struct pn_str address);
/* Nightly: asks again about what will soon expire. Called every second. */
void daemon_knowledge_second(struct daemon *daemon);

/* stores.c: the spool and the state. */
int daemon_stores_open(struct daemon *daemon, struct pn_err *err);
void daemon_stores_close(struct daemon *daemon);

#endif
