/*
 * A worker with its ingress, on a virtual clock: fake streams, a store in memory, and
 * everything between them real.
 */
#ifndef HELPER_WORLD_H
#define HELPER_WORLD_H

#include "helper_store.h"
#include "helper_target.h"

#include "postern/ingress/ingress.h"

#define WORLD_SIGNS 8
#define WORLD_JOBS  32

/* The test's end of a connection, and the stream that the ingress has. */
struct client {
    struct stream port;
    struct world *world;
    struct client *next;
    struct pn_buf in;     /* sent by the client, not consumed */
    struct pn_buf unsent; /* written by us, not taken by the client */
    struct pn_buf out;    /* what the client has got */
    enum stream_state state;
    bool event;   /* on_event is due */
    bool deaf;    /* takes nothing of what we write */
    bool closed;  /* by us */
    bool aborted; /* by us, without what was unsent */
    bool secured;
    struct stream_tls tls;
};

struct world_job {
    char queue[64];
    struct queue_job job;
};

struct world {
    struct loop loop;
    struct loop_task *posted;
    struct loop_task **posted_end;
    struct test_store store;
    struct files files;
    struct crypto crypto;
    struct resolver resolver;
    struct resolver_query *asked; /* under way */
    char asked_name[RESOLVER_NAME_CHARS];
    enum resolver_type asked_type;
    struct tls_context tls;
    uint64_t free_octets;
    struct pn_log_sink sink;
    struct pn_log log;
    struct pn_buf lines; /* the log */
    struct stats_counters *counters;
    struct policy_limits *limits;
    struct queue_clock clock;
    struct spool *spool;
    struct conf *conf;
    struct domains *domains;
    struct target target;
    struct verify verify;
    struct out_board *board;
    struct out_pool *pool; /* NULL: there is no target, and nobody to verify */
    struct policy_defer *defer;
    struct ingress *ingress;
    struct client *clients;
    struct world_job jobs[WORLD_JOBS]; /* as the spool told of them */
    size_t job_count;
    size_t job_removed;
    char signs[WORLD_SIGNS][64]; /* "example.org flush" */
    size_t sign_count;
    bool stopped;
};

/* conf: more lines of postern.conf, or "". Relay domains: example.org, with the target
 * 192.0.2.25, example.net, and example.com with its subdomains. */
struct world *world_new(const char *conf);
/*
 * The same with targets that are live, and with verify. example.org (192.0.2.25, with these
 * options besides) and example.net (192.0.2.26) pass through, example.com (192.0.2.27) is
 * accepted. All of them are UP.
 */
struct world *world_new_live(const char *conf, const char *domain);
void world_free(struct world **world);

/* Runs until nothing is left to do now. */
void world_run(struct world *world);
/* Lets time pass, from timer to timer. */
void world_pass(struct world *world, int64_t ms);
void world_set_free(struct world *world, uint64_t free_octets);
void world_stop(struct world *world); /* asks the ingress to */

struct client *world_connect(struct world *world, const char *ip);
/* To another listener than the first. */
struct client *world_connect_at(struct world *world, const char *ip, size_t listener);
/* Without running the world. */
void client_write(struct client *client, struct pn_str text);
/* Sends, runs, and returns what came back, shortened: "250 2.1.0; 550 5.7.1; closed". */
const char *client_say(struct client *client, const char *text);
const char *client_say_str(struct client *client, struct pn_str text);
/* What has come since the last call, shortened the same way. Static memory. */
const char *client_replies(struct client *client);
void client_end(struct client *client); /* FIN */
void client_fail(struct client *client);
void client_secure(struct client *client, bool well); /* ends the TLS handshake */

bool world_logged(const struct world *world, const char *what);

/* The message of a job: its recipients and text ("a@b c@d|text"), our Received cut off. */
const char *world_message(struct world *world, size_t job);
/* Our Received field of it. */
const char *world_received(struct world *world, size_t job);

#endif
