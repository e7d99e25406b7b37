/*
 * A daemon that only notes what the API asks of it, and requests without HTTP.
 */
#ifndef POSTERN_TESTS_ADMIN_HELPER_H
#define POSTERN_TESTS_ADMIN_HELPER_H

#include "admin_priv.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

struct rig {
    struct admin *admin;
    struct loop loop;
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
    char body[4096];
};

void rig_init(struct rig *rig);
void rig_fini(struct rig *rig);
/* The query is at most one "name=value". */
void rig_request(struct rig *rig, const char *method, const char *path, const char *query,
                 const char *body);

/* A definition of a domain, with a target; the caller's. */
struct conf_domain *make_domain(const char *name, const char *text);
struct conf *make_conf(void);

#endif
