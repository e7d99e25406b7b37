/*
 * A daemon that only notes what the API asks of it, and requests without HTTP.
 */
#ifndef POSTERN_TESTS_ADMIN_HELPER_H
#define POSTERN_TESTS_ADMIN_HELPER_H

#include "admin_priv.h"
#include "helper_fakes.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

struct rig {
    struct admin *admin;
    struct fake_loop loop;
    struct fake_store store; /* of the answers */
    struct fake_store mail;  /* of the spool */
    struct fake_files files;
    struct spool *spool;
    struct state *state;
    struct out_board *board;
    struct verify *verify;
    struct deliver *deliver;
    struct deliver_worker *no_worker[1];
    struct loop *no_loop[1];
    struct queue_clock clock;
    struct pn_log log;
    struct out_deps out;
    struct domains *domains;
    struct conf *conf;
    bool refuses; /* reload and domain_write find a mistake */
    bool stopped;
    unsigned reloads;
    char written[1024]; /* "name: text" of the last domain_write */
    char salvaged[256]; /* its path */
    spool_salvage_fn *salvage_fn;
    void *salvage_owner;
    /* the last answer: */
    unsigned status; /* 0: none yet */
    char body[65536];
};

void rig_init(struct rig *rig);
/* One that has answers, a board, a scheduler and a verifier, and no network: nobody is
 * asked. text: the definition of example.org. */
void rig_init_whole(struct rig *rig, const char *text);
void rig_run(struct rig *rig); /* until nothing is left to do */
void rig_fini(struct rig *rig);
/* The query is at most one "name=value". */
void rig_request(struct rig *rig, const char *method, const char *path, const char *query,
                 const char *body);

/* A definition of a domain, with a target; the caller's. */
struct conf_domain *make_domain(const char *name, const char *text);
struct conf *make_conf(void);

#endif
