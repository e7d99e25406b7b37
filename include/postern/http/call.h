/*
 * http/call.h - one HTTP request, blocking, on libcurl: for the command-line tool.
 */
#ifndef POSTERN_HTTP_CALL_H
#define POSTERN_HTTP_CALL_H

#include "postern/base/buf.h"
#include "postern/base/err.h"

struct http_call {
    const char *socket_path; /* a unix socket */
    const char *method;
    const char *path;   /* with its query, already encoded */
    struct pn_str body; /* JSON; empty: none */
    int64_t timeout_ms;
};

/*
 * 0 and the status and the body, whatever the status is. PN_ECLOSED when nobody answers
 * on the socket, PN_ETIMEOUT, PN_ENOSPACE when the answer does not fit out_body. No
 * redirects, no proxies, no protocols but HTTP (FAULTS 9.16).
 */
int http_call(const struct http_call *call, unsigned *out_status, struct pn_buf *out_body,
              struct pn_err *err);

/* Percent-encodes s for use in a path or query (RFC 3986 unreserved stay). */
int http_encode(struct pn_str s, struct pn_buf *out) PN_WARN_UNUSED;

#endif
