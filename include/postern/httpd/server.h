/*
 * httpd/server.h - the HTTP server of the admin API, on libmicrohttpd.
 *
 * Driven from outside: the daemon watches httpd_server_fd for reading, calls
 * httpd_server_run when it is readable or when httpd_server_timeout_ms has passed, and
 * after each httpd_reply that came outside on_request (the server tells by on_wake).
 */
#ifndef POSTERN_HTTPD_SERVER_H
#define POSTERN_HTTPD_SERVER_H

#include "postern/base/err.h"
#include "postern/port/httpd.h"

struct httpd_server;

struct httpd_server_events {
    void *owner;
    httpd_request_fn *on_request;
    void (*on_wake)(void *owner); /* run me again on a later turn */
};

/*
 * Listens on a unix socket. An old socket file is replaced only when nobody answers on
 * it (else PN_EEXIST). The file gets mode 0660 and, unless group is "", that group.
 */
struct httpd_server *httpd_server_new(const char *socket_path, const char *group,
                                      const struct httpd_server_events *events,
                                      struct pn_err *err);
void httpd_server_free(struct httpd_server **server); /* removes the socket file */

int httpd_server_fd(const struct httpd_server *server);
void httpd_server_run(struct httpd_server *server);
int64_t httpd_server_timeout_ms(const struct httpd_server *server); /* -1: none */

#endif
