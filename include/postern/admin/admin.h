/*
 * admin/admin.h - the admin API: the operator's verbs over HTTP and JSON. On the main loop.
 *
 * postern-admin(7) describes requests and answers. The API is a client of the other
 * modules; what only the daemon can do (files, reload, stop) comes in by struct
 * admin_daemon.
 */
#ifndef POSTERN_ADMIN_ADMIN_H
#define POSTERN_ADMIN_ADMIN_H

#include "postern/conf/conf.h"
#include "postern/deliver/deliver.h"
#include "postern/domains/domains.h"
#include "postern/outbound/board.h"
#include "postern/port/httpd.h"
#include "postern/verify/verify.h"

struct admin;

/* A file of domains.d that has a mistake. Its last good version, if any, is in force. */
struct admin_broken_domain {
    const char *name;    /* the domain */
    const char *mistake; /* "file:line: text" */
    bool in_force;       /* an earlier version is */
};

/* What the daemon does for the API. All of it on the main loop's thread. */
struct admin_daemon {
    void *owner;
    const struct conf *(*conf)(void *owner);       /* borrowed for the turn */
    const struct domains *(*domains)(void *owner); /* borrowed for the turn */
    /* Index from 0; false beyond the last. */
    bool (*broken)(void *owner, size_t index, struct admin_broken_domain *out);
    /* Reads everything again; mistakes are filled in. false: nothing changed. */
    bool (*reload)(void *owner, struct conf_mistakes *mistakes);
    /* Checks, writes domains.d/NAME.conf durably and puts it in force at once. */
    bool (*domain_write)(void *owner, struct pn_str name, struct pn_str text,
                         struct conf_mistakes *mistakes);
    /* false and err: no such file, or it cannot be removed. */
    int (*domain_remove)(void *owner, struct pn_str name, struct pn_err *err);
    /* What is wrong with the files that the domain names: keys, certificates, credentials. */
    void (*check_files)(void *owner, const struct conf_domain *domain,
                        struct conf_mistakes *mistakes); /* or NULL */
    /* Repairs a copy of the broken store at path, and brings back what verifies. */
    void (*salvage)(void *owner, const char *path, spool_salvage_fn *fn, void *fn_owner);
    void (*stop)(void *owner); /* the daemon ends, as by SIGTERM */
    struct pn_wall started;
};

struct admin_deps {
    const struct out_deps *out; /* of the main loop: for checks */
    struct deliver *deliver;
    struct spool *spool;
    struct state *state;        /* or NULL */
    struct verify *verify;      /* of the main loop: to test addresses; or NULL */
    struct verify_lists *lists; /* or NULL */
    struct out_board *board;    /* or NULL */
    struct policy_limits *limits;
    struct stats_counters *counters;
    const struct pn_log *log;
    struct admin_daemon daemon;
};

struct admin *admin_new(const struct admin_deps *deps);
/* Requests under way are answered 503. Before what deps names is freed. */
void admin_free(struct admin **admin);

/* An httpd_request_fn; owner is the struct admin. */
void admin_request(void *admin, struct httpd_request *request);

#endif
