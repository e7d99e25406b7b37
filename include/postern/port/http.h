/*
 * port/http.h - HTTP requests that do not block, on one loop.
 *
 * No redirects, no proxies from the environment, http and https only; the answer is counted
 * as it comes and cut off at its bound (FAULTS 7.5, 9.16). on_done comes once, never inside
 * start, and never after cancel; it may free what embeds the request. A status is an answer,
 * also 404 and 500; only a redirect fails, because nobody is to follow it by mistake.
 *
 * `answer` is made by start. It belongs to the asker from on_done on, who frees it whatever
 * the status is; cancel frees it.
 */
#ifndef POSTERN_PORT_HTTP_H
#define POSTERN_PORT_HTTP_H

#include "postern/base/buf.h"
#include "postern/base/err.h"

struct http;
struct http_request;
typedef void http_done_fn(struct http_request *request, int status);

struct http_request {
    http_done_fn *on_done;  /* set by the asker, as all above `pending` */
    const char *method;     /* literal */
    const char *url;        /* borrowed until on_done */
    const char *headers[8]; /* "Name: value", borrowed; NULL ends them */
    struct pn_str body;
    size_t answer_max;  /* octets */
    int64_t timeout_ms; /* for all of it */
    int64_t idle_ms;    /* for any octet; 0: no limit */
    void *pending;      /* the client's; NULL when not under way */
    /* The answer, for on_done: status 0 and these, or PN_E… and err. */
    unsigned code; /* 200 */
    struct pn_buf answer;
    char etag[256]; /* "" when there is none that could be sent back as it is */
    char last_modified[64];
    struct pn_err err;
};

struct http_ops {
    void (*start)(struct http *http, struct http_request *request);
    void (*cancel)(struct http *http, struct http_request *request);
};
struct http {
    const struct http_ops *ops;
};

#endif
