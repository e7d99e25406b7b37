/*
 * port/httpd.h - requests to the admin API, on the main loop.
 *
 * on_request gets a request whose body has come whole (at most HTTPD_BODY_MAX; a longer
 * one is answered 413 by the server). Each request is answered exactly once, at once or
 * on a later turn, by httpd_reply, after which it is gone. A client that leaves does not
 * end a request: it is answered into the void.
 */
#ifndef POSTERN_PORT_HTTPD_H
#define POSTERN_PORT_HTTPD_H

#include "postern/base/buf.h"
#include "postern/base/str.h"

#define HTTPD_BODY_MAX  (8u << 20)
#define HTTPD_REPLY_MAX (64u << 20)

struct httpd_request;
typedef void httpd_request_fn(void *owner, struct httpd_request *request);

struct httpd_request_ops {
    /* A query parameter, decoded, or NULL. */
    const char *(*query)(struct httpd_request *request, const char *name);
    /* Takes over the content of body (leaves it empty). content_type is a literal. */
    void (*reply)(struct httpd_request *request, unsigned status, const char *content_type,
                  struct pn_buf *body);
};

struct httpd_request {
    const struct httpd_request_ops *ops;
    const char *method; /* "GET" */
    const char *path;   /* decoded, without the query: "/v1/status" */
    struct pn_str body;
};

static inline const char *httpd_query(struct httpd_request *request, const char *name)
{
    return request->ops->query(request, name);
}

static inline void httpd_reply(struct httpd_request *request, unsigned status,
                               const char *content_type, struct pn_buf *body)
{
    request->ops->reply(request, status, content_type, body);
}

#endif
