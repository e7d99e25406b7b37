/*
 * admin/admin_priv.h - what the parts of the admin API share.
 */
#ifndef POSTERN_ADMIN_ADMIN_PRIV_H
#define POSTERN_ADMIN_ADMIN_PRIV_H

#include "postern/admin/admin.h"

#include "terms_priv.h"

#include <jansson.h>

struct admin_call;
struct admin_probe;

struct admin {
    struct admin_deps deps;
    struct admin_call *calls; /* under way */
    struct admin_probe *probes;
    uint64_t last_probe;
};

/* A request as a handler sees it. */
struct admin_ask {
    struct admin *admin;
    struct httpd_request *request;
    struct pn_str param; /* what stands for NAME or ID in the path; dies with the answer */
    struct admin_terms terms;
};

/* ---- routes ----------------------------------------------------------------------- */

typedef void admin_handler_fn(struct admin_ask *ask);

struct admin_route {
    const char *method;
    const char *pattern; /* a segment in capitals stands for any */
    unsigned terms;      /* enum admin_term: what body or query may name */
    admin_handler_fn *handler;
    const char *help;
};
const struct admin_route *admin_routes(size_t *out_count);

/* The row for a request, or NULL and the status that says why (404, 405). */
const struct admin_route *admin_route_find(struct pn_str method, struct pn_str path,
                                           struct pn_str *out_param, unsigned *out_status);

admin_handler_fn admin_get_status, admin_get_metrics, admin_get_destinations;
admin_handler_fn admin_get_domains, admin_get_domain, admin_put_domain, admin_delete_domain,
    admin_check_domain;
admin_handler_fn admin_get_queue, admin_get_message, admin_get_trace;
admin_handler_fn admin_hold_jobs, admin_release_jobs, admin_retry_jobs, admin_delete_jobs,
    admin_forward_parked;
admin_handler_fn admin_get_recipients, admin_test_recipient, admin_get_answers,
    admin_import_answers, admin_forget_answers;
admin_handler_fn admin_flush;
admin_handler_fn admin_get_destination, admin_hold_destination, admin_release_destination,
    admin_resume_destination, admin_refuse_destination;
admin_handler_fn admin_get_route;
admin_handler_fn admin_begin_probe, admin_get_probe;
admin_handler_fn admin_reload, admin_stop, admin_check_spool, admin_salvage;

/* ---- answers ---------------------------------------------------------------------- */

/* Answers with json, which is the callee's from then on. */
void admin_answer(struct httpd_request *request, unsigned status, json_t *json);
void admin_refuse(struct httpd_request *request, unsigned status, const char *format, ...)
    PN_PRINTF(3, 4);
/* 422 (or status) with each mistake; the sentence is for those who show one line. */
void admin_refuse_mistakes(struct httpd_request *request, const char *sentence,
                           const struct conf_mistakes *mistakes);
json_t *admin_json_mistakes(const struct conf_mistakes *mistakes);
/* What a failed spool or state operation is to the client. */
void admin_refuse_storage(struct httpd_request *request, int status);

/*
 * A request that is answered on a later turn. It is embedded at the front of what waits
 * for the answer. After admin_free, request and admin are NULL, and what waits ends itself
 * when its answer comes; an on_abort ends it at once.
 */
struct admin_call {
    struct admin *admin;
    struct httpd_request *request;
    void (*on_abort)(struct admin_call *call); /* or NULL */
    struct admin_call *next, **link;
};
void admin_call_begin(struct admin_call *call, struct admin_ask *ask);
/* The request, to be answered now; NULL: nobody waits any more. */
struct httpd_request *admin_call_end(struct admin_call *call);

/* probe.c: ends them all; who waits is answered before. */
void admin_probes_drop(struct admin *admin);

/* One line in the log for what an operator did. */
void admin_log(const struct admin *admin, const char *what, struct pn_str object,
               uint64_t count);

#endif
