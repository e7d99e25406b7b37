/*
 * httpd/server.c - the HTTP server of the admin API, on libmicrohttpd.
 *
 * The library runs without threads of its own: its epoll descriptor is watched by the main
 * loop, which calls httpd_server_run. A request that is not answered inside on_request
 * suspends its connection, so that neither the library's timeout nor its input touches it;
 * the answer is kept in the request and the connection resumed, and the library asks for
 * the answer on the next run.
 *
 * A request belongs to two: to the library until its completion is told, and to whoever
 * got it by on_request until he answers. It is freed when both have let go, so a client
 * that left, or a server that was freed, never leaves an answer without a request.
 */
#include "postern/httpd/server.h"

#include "listen_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <microhttpd.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64u
#define TIMEOUT_S       30u
/* What was answered at last still goes: one turn to see it, one to send it, one to spare. */
#define LAST_RUNS 3

enum state {
    NEW,        /* its target is known, its header is not */
    COLLECTING, /* the body comes in */
    ASKED,      /* on_request has it */
    ANSWERED,   /* status and content are known, the library has not asked for them */
    SENT,       /* the library has them */
};

struct request {
    struct httpd_request base;
    struct httpd_server *server;       /* NULL when it was freed */
    struct MHD_Connection *connection; /* NULL when the library has done with it */
    struct request *next, **link;      /* those with state ASKED */
    enum state state;
    bool suspended;
    bool malformed; /* what the decoder would misread */
    struct pn_buf body;
    size_t dropped; /* octets beyond the largest body */
    unsigned status;
    const char *content_type;
    size_t content_octets;
    char *content;
};

struct httpd_server {
    struct httpd_server_events events;
    struct MHD_Daemon *daemon;
    struct request *asked;
    bool ending;  /* on_request is not called any more */
    bool resumed; /* a connection was, and the library must be run to see it */
    char *path;
    struct stat file; /* the socket file as we made it */
};

static void request_free(struct request *request)
{
    pn_buf_fini(&request->body);
    free(request->content);
    free(request);
}

static const char *request_query(struct httpd_request *base, const char *name)
{
    struct request *request = PN_CONTAINER(base, struct request, base);

    if (!request->connection) {
        return NULL;
    }
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

static void set_answer(struct request *request, unsigned status, const char *content_type,
                       struct pn_buf *content)
{
    request->state = ANSWERED;
    request->status = status;
    request->content_type = content_type;
    request->content_octets = content->len;
    request->content = pn_buf_detach(content);
    pn_buf_fini(&request->body);
}

static void set_error(struct request *request, unsigned status, const char *json)
{
    struct pn_buf content;

    pn_buf_init(&content, 256);
    pn_assert(pn_buf_append_z(&content, json) == 0);
    set_answer(request, status, "application/json", &content);
    pn_buf_fini(&content);
}

static void request_reply(struct httpd_request *base, unsigned status, const char *content_type,
                          struct pn_buf *content)
{
    struct request *request = PN_CONTAINER(base, struct request, base);

    pn_assert(request->state == ASKED);
    *request->link = request->next;
    if (request->next) {
        request->next->link = request->link;
    }
    set_answer(request, status, content_type, content);
    if (!request->connection) {
        request_free(request);
    } else if (request->suspended) {
        request->suspended = false;
        MHD_resume_connection(request->connection);
        request->server->resumed = true;
        request->server->events.on_wake(request->server->events.owner);
    }
}

static const struct httpd_request_ops request_ops = {request_query, request_reply};

/* The first that is heard of a request: its target, not decoded. */
static void *on_target(void *owner, const char *target, struct MHD_Connection *connection)
{
    struct request *request = PN_NEW(struct request);

    request->base.ops = &request_ops;
    request->server = owner;
    request->connection = connection;
    pn_buf_init(&request->body, HTTPD_BODY_MAX);
    /* Decoded, it would end what is passed on as a C string. */
    request->malformed = strstr(target, "%00") != NULL;
    return request;
}

static void on_completed(void *owner, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode how)
{
    struct request *request = *context;

    (void)owner;
    (void)connection;
    (void)how;
    *context = NULL;
    if (!request) {
        return;
    }
    request->connection = NULL;
    request->suspended = false;
    if (request->state != ASKED) {
        request_free(request);
    }
}

static enum MHD_Result send_answer(struct request *request)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        request->content_octets, request->content, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    pn_assert(response);
    request->content = NULL;
    request->state = SENT;
    pn_assert(MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                      request->content_type) == MHD_YES);
    pn_assert(MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") ==
              MHD_YES);
    if (request->status == MHD_HTTP_CONTENT_TOO_LARGE) {
        /* What is left of the body is not read. */
        pn_assert(MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") ==
                  MHD_YES);
    }
    result = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result ask(struct request *request, const char *url, const char *method)
{
    struct httpd_server *server = request->server;

    if (server->ending) {
        set_error(request, MHD_HTTP_SERVICE_UNAVAILABLE,
                  "{\"error\":\"the daemon is stopping\"}\n");
        return send_answer(request);
    }
    request->base.method = method;
    request->base.path = url;
    request->base.body = pn_buf_str(&request->body);
    request->state = ASKED;
    request->next = server->asked;
    request->link = &server->asked;
    if (request->next) {
        request->next->link = &request->next;
    }
    server->asked = request;
    server->events.on_request(server->events.owner, &request->base);
    if (request->state == ANSWERED) {
        return send_answer(request);
    }
    MHD_suspend_connection(request->connection);
    request->suspended = true;
    return MHD_YES;
}

static void answer_too_long(struct request *request)
{
    set_error(request, MHD_HTTP_CONTENT_TOO_LARGE,
              "{\"error\":\"the request's body is longer than 8 MiB\"}\n");
}

/* The header has come. An answer given here keeps the body from being sent at all. */
static enum MHD_Result begin(struct request *request)
{
    const char *announced = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND,
                                                        MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t octets = 0;

    request->state = COLLECTING;
    if (request->malformed) {
        set_error(request, MHD_HTTP_BAD_REQUEST,
                  "{\"error\":\"the request's target has a NUL in it\"}\n");
        return send_answer(request);
    }
    if (announced && !pn_str_to_u64(pn_str_z(announced), HTTPD_BODY_MAX, &octets)) {
        answer_too_long(request);
        return send_answer(request);
    }
    return MHD_YES;
}

static enum MHD_Result collect(struct request *request, struct pn_str data)
{
    if (request->dropped > 0 || pn_buf_append(&request->body, data) != 0) {
        request->dropped += data.len;
    }
    /* The library takes no answer before the end of a body. One without end is cut off. */
    return request->dropped <= HTTPD_BODY_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_part(void *owner, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *data_octets, void **context)
{
    struct request *request = *context;
    struct pn_str part = {data, *data_octets};

    (void)owner;
    (void)connection;
    (void)version;
    if (request->state == ANSWERED) {
        return send_answer(request);
    }
    if (request->state == NEW) {
        return begin(request);
    }
    if (part.len > 0) {
        *data_octets = 0;
        return collect(request, part);
    }
    if (request->dropped > 0) {
        answer_too_long(request);
        return send_answer(request);
    }
    return ask(request, url, method);
}

struct httpd_server *httpd_server_new(const char *socket_path, const char *group,
                                      const struct httpd_server_events *events,
                                      struct pn_err *err)
{
    struct httpd_server *server;
    int fd = httpd_listen(socket_path, group, err);

    if (fd < 0) {
        return NULL;
    }
    server = PN_NEW(struct httpd_server);
    server->events = *events;
    server->path = pn_strdup(socket_path);
    if (lstat(socket_path, &server->file) != 0) {
        server->file = (struct stat){0};
    }
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_part, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_END);
    if (!server->daemon) {
        (void)pn_err_set(err, PN_EIO,
                         "cannot serve the admin socket %s: the HTTP library "
                         "does not start (too few file descriptors?)",
                         socket_path);
        (void)unlink(socket_path);
        close(fd);
        free(server->path);
        free(server);
        return NULL;
    }
    return server;
}

/* Lets the library go of the requests that nobody has answered. */
static void abandon(struct httpd_server *server)
{
    for (struct request *request = server->asked; request; request = request->next) {
        request->server = NULL;
        request->suspended = false;
        if (request->connection) {
            MHD_resume_connection(request->connection);
        }
    }
}

void httpd_server_free(struct httpd_server **server)
{
    struct httpd_server *self = *server;
    struct stat now;

    *server = NULL;
    if (!self) {
        return;
    }
    self->ending = true;
    for (size_t run = 0; run < LAST_RUNS; run++) {
        (void)MHD_run(self->daemon);
    }
    abandon(self);
    MHD_stop_daemon(self->daemon);
    /* Their links point into the server; from here on each stands alone. */
    while (self->asked) {
        struct request *request = self->asked;

        self->asked = request->next;
        request->next = NULL;
        request->link = &request->next;
    }
    if (lstat(self->path, &now) == 0 && now.st_ino == self->file.st_ino &&
        now.st_dev == self->file.st_dev) {
        (void)unlink(self->path);
    }
    free(self->path);
    free(self);
}

int httpd_server_fd(const struct httpd_server *server)
{
    return MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void httpd_server_run(struct httpd_server *server)
{
    server->resumed = false;
    (void)MHD_run(server->daemon);
}

int64_t httpd_server_timeout_ms(const struct httpd_server *server)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    if (server->resumed) {
        return 0;
    }
    if (MHD_get_timeout(server->daemon, &timeout_ms) != MHD_YES) {
        return -1;
    }
    return timeout_ms < INT64_MAX ? (int64_t)timeout_ms : INT64_MAX;
}
