/*
 * http/client.c - the HTTP client of port/http.h on libcurl's multi interface.
 *
 * libcurl says which sockets it wants watched and when it wants to be woken; both end in
 * curl_multi_socket_action. Its timer callback only sets a timer of the loop, also for "at
 * once", because calling into the library from there recurses (FAULTS 9.13). Nothing of the
 * askers runs inside a callback of the library: finished transfers are collected after each
 * action, removed, and only then told, so that on_done may start and cancel requests and
 * easy handles are never removed inside callbacks (9.14).
 *
 * Both time limits are ours: one timer a task wakes at the nearer of the deadline and the
 * end of the patience with a silent server. libcurl's own low-speed limit measures in whole
 * seconds and averages, and its total time-out would need the same error told twice.
 *
 * Names are resolved by libcurl's threads (getaddrinfo), so /etc/hosts counts, as who writes
 * an address into a configuration file expects. QUICK_EXIT lets a request go while its name
 * is still being looked up; without it the loop would wait for the thread.
 */
#include "postern/http/client.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define HEADERS_MAX    ((size_t)64 * 1024)
#define CONNECT_MS     PN_SECONDS(30)
#define CONNECTIONS    16L /* that stay open for the next request */
#define LOCATION_CHARS 256

/* What ended a transfer before libcurl did. */
enum reason { NONE, BODY_TOO_LONG, HEADERS_TOO_LONG, TOO_LATE, SILENT, NOT_STARTED };

struct task {
    struct task *prev;
    struct task *next;
    struct http_client *client;
    struct http_request *request;
    CURL *easy;
    struct curl_slist *headers;
    struct pn_timer timer;
    struct pn_mono deadline;
    struct pn_mono heard; /* when the last octet came or went */
    curl_off_t moved;     /* octets of both bodies until then */
    size_t header_octets;
    enum reason reason;
    char location[LOCATION_CHARS];
    char error[CURL_ERROR_SIZE];
};

/* One of libcurl's sockets. */
struct watched {
    struct watched *prev;
    struct watched *next;
    struct http_client *client;
    int fd;
    void *watch;
};

struct http_client {
    struct http port;
    struct loop *loop;
    struct http_watch_ops watches;
    void *watch_owner;
    CURLM *multi;
    struct pn_timer timer; /* libcurl's */
    struct task *tasks;
    struct watched *watched;
    bool telling;
};

#define SET(easy, option, value) pn_assert(curl_easy_setopt(easy, option, value) == CURLE_OK)
#define SET_MULTI(multi, option, value)                                                        \
    pn_assert(curl_multi_setopt(multi, option, value) == CURLM_OK)

static struct http_client *client_of(struct http *port)
{
    return PN_CONTAINER(port, struct http_client, port);
}

/* Takes the task out of the library and the client; its request is on its own again. */
static void task_free(struct task *task)
{
    if (task->easy) {
        (void)curl_multi_remove_handle(task->client->multi, task->easy);
        curl_easy_cleanup(task->easy);
    }
    curl_slist_free_all(task->headers);
    loop_timer_stop(task->client->loop, &task->timer);
    DL_DELETE(task->client->tasks, task);
    task->request->pending = NULL;
    free(task);
}

static int say_redirect(const struct task *task, struct pn_err *err)
{
    return pn_err_set(
        err, PN_EIO,
        "%s answers %u and names another address%s%s; redirects are not followed, "
        "so configure the one that answers itself",
        task->request->url, task->request->code, task->location[0] != '\0' ? ": " : "",
        task->location);
}

static int say_reason(const struct task *task, struct pn_err *err)
{
    const struct http_request *request = task->request;

    switch (task->reason) {
    case BODY_TOO_LONG:
        return pn_err_set(err, PN_ENOSPACE, "the answer of %s is longer than %zu octets",
                          request->url, request->answer_max);
    case HEADERS_TOO_LONG:
        return pn_err_set(err, PN_ENOSPACE, "the headers of %s are longer than %zu octets",
                          request->url, HEADERS_MAX);
    case TOO_LATE:
        return pn_err_set(err, PN_ETIMEOUT, "%s has not answered within %lld s", request->url,
                          (long long)(request->timeout_ms / 1000));
    case SILENT:
        return pn_err_set(err, PN_ETIMEOUT, "nothing came from %s for %lld s", request->url,
                          (long long)(request->idle_ms / 1000));
    case NOT_STARTED:
        return pn_err_set(err, PN_EINVAL, "a header of the request to %s is not printable",
                          request->url);
    case NONE:
        break;
    }
    return 0;
}

static int say_code(const struct task *task, CURLcode code, struct pn_err *err)
{
    const char *text = task->error[0] != '\0' ? task->error : curl_easy_strerror(code);

    switch (code) {
    case CURLE_FILESIZE_EXCEEDED:
        return pn_err_set(err, PN_ENOSPACE, "the answer of %s is longer than %zu octets",
                          task->request->url, task->request->answer_max);
    case CURLE_OPERATION_TIMEDOUT:
        return pn_err_set(err, PN_ETIMEOUT, "%s: %s", task->request->url, text);
    case CURLE_URL_MALFORMAT:
        return pn_err_set(err, PN_EINVAL, "%s: %s", task->request->url, text);
    case CURLE_PARTIAL_FILE:
        return pn_err_set(err, PN_ECLOSED, "%s closed the connection before the answer's end",
                          task->request->url);
    default:
        return pn_err_set(err, PN_EIO, "%s: %s", task->request->url, text);
    }
}

static bool is_redirect(unsigned code)
{
    return code >= 300 && code < 400 && code != 304;
}

static int judge(struct task *task, CURLcode code)
{
    struct http_request *request = task->request;
    long number = 0;

    if (task->reason != NONE) {
        return say_reason(task, &request->err);
    }
    if (code != CURLE_OK) {
        return say_code(task, code, &request->err);
    }
    pn_assert(curl_easy_getinfo(task->easy, CURLINFO_RESPONSE_CODE, &number) == CURLE_OK);
    request->code = (unsigned)number;
    return is_redirect(request->code) ? say_redirect(task, &request->err) : 0;
}

/* The last of a task. The asker may do anything but free the client. */
static void task_tell(struct task *task, CURLcode code)
{
    struct http_client *client = task->client;
    struct http_request *request = task->request;
    int status = judge(task, code);

    task_free(task);
    if (status != 0) {
        pn_buf_fini(&request->answer);
    }
    client->telling = true;
    request->on_done(request, status);
    client->telling = false;
}

/* After every action of the library. A message dies with its handle, so it is copied. */
static void client_collect(struct http_client *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left))) {
        CURLcode code = message->data.result;
        struct task *task = NULL;

        pn_assert(message->msg == CURLMSG_DONE);
        pn_assert(curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &task) == CURLE_OK);
        task_tell(task, code);
    }
}

static void client_act(struct http_client *client, curl_socket_t fd, int events)
{
    int running;

    (void)curl_multi_socket_action(client->multi, fd, events, &running);
    client_collect(client);
}

static void timer_fire(struct pn_timer *timer)
{
    client_act(PN_CONTAINER(timer, struct http_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long wait_ms, void *owner)
{
    struct http_client *client = owner;

    (void)multi;
    if (wait_ms < 0) {
        loop_timer_stop(client->loop, &client->timer);
    } else {
        loop_timer_after(client->loop, &client->timer, wait_ms);
    }
    return 0;
}

static void on_socket_event(void *arg, unsigned events)
{
    struct watched *watched = arg;

    /* This may end the watch, which frees watched. */
    client_act(watched->client, watched->fd,
               ((events & HTTP_READABLE) ? CURL_CSELECT_IN : 0) |
                   ((events & HTTP_WRITABLE) ? CURL_CSELECT_OUT : 0));
}

static void watched_free(struct watched *watched)
{
    struct http_client *client = watched->client;

    client->watches.unwatch(watched->watch);
    DL_DELETE(client->watched, watched);
    free(watched);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *known)
{
    struct http_client *client = owner;
    struct watched *watched = known;
    unsigned events = ((what & CURL_POLL_IN) ? HTTP_READABLE : 0u) |
                      ((what & CURL_POLL_OUT) ? HTTP_WRITABLE : 0u);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watched) {
            (void)curl_multi_assign(client->multi, fd, NULL);
            watched_free(watched);
        }
    } else if (watched) {
        client->watches.change(watched->watch, events);
    } else if (fd >= 0) {
        watched = PN_NEW(struct watched);
        watched->client = client;
        watched->fd = fd;
        DL_APPEND(client->watched, watched);
        watched->watch =
            client->watches.watch(client->watch_owner, fd, events, on_socket_event, watched);
        (void)curl_multi_assign(client->multi, fd, watched);
    }
    return 0;
}

/* Copies a header's value if it fits and is nothing but printable ASCII. */
static void keep_value(struct pn_str line, struct pn_str name, char *out, size_t room)
{
    struct pn_str value;

    if (!pn_str_starts_nocase(line, name)) {
        return;
    }
    value = pn_str_trim(pn_str_sub(line, name.len, SIZE_MAX));
    out[0] = '\0';
    if (value.len < room && !pn_str_has_control(value) && pn_str_is_ascii(value)) {
        memcpy(out, value.ptr, value.len);
        out[value.len] = '\0';
    }
}

static void forget_headers(struct task *task)
{
    task->request->etag[0] = '\0';
    task->request->last_modified[0] = '\0';
    task->location[0] = '\0';
}

static size_t on_header(char *data, size_t size, size_t count, void *owner)
{
    struct task *task = owner;
    struct http_request *request = task->request;
    size_t octets = size * count;
    struct pn_str line = {data, octets};

    task->heard = task->client->loop->now;
    task->header_octets += octets;
    if (task->header_octets > HEADERS_MAX) {
        task->reason = HEADERS_TOO_LONG;
        return 0;
    }
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r')) {
        line.len--;
    }
    if (pn_str_starts(line, PN_STR("HTTP/"))) {
        forget_headers(task); /* those of an interim answer (RFC 9110 15.2) */
    }
    keep_value(line, PN_STR("ETag:"), request->etag, sizeof request->etag);
    keep_value(line, PN_STR("Last-Modified:"), request->last_modified,
               sizeof request->last_modified);
    keep_value(line, PN_STR("Location:"), task->location, sizeof task->location);
    return octets;
}

static size_t on_body(char *data, size_t size, size_t count, void *owner)
{
    struct task *task = owner;
    size_t octets = size * count;

    task->heard = task->client->loop->now;
    if (pn_buf_append(&task->request->answer, (struct pn_str){data, octets}) != 0) {
        task->reason = BODY_TOO_LONG;
        return 0;
    }
    return octets;
}

/* Sees what goes out, too: a server that reads slowly is not silent. */
static int on_progress(void *owner, curl_off_t expected, curl_off_t received,
                       curl_off_t to_send, curl_off_t sent)
{
    struct task *task = owner;

    (void)expected;
    (void)to_send;
    if (received + sent != task->moved) {
        task->moved = received + sent;
        task->heard = task->client->loop->now;
    }
    return 0;
}

static void set_callbacks(CURL *easy, struct task *task)
{
    SET(easy, CURLOPT_PRIVATE, task);
    SET(easy, CURLOPT_ERRORBUFFER, task->error);
    SET(easy, CURLOPT_HEADERFUNCTION, on_header);
    SET(easy, CURLOPT_HEADERDATA, task);
    SET(easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(easy, CURLOPT_WRITEDATA, task);
    SET(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(easy, CURLOPT_XFERINFODATA, task);
    SET(easy, CURLOPT_NOPROGRESS, 0L);
}

static void set_limits(CURL *easy, const struct http_request *request)
{
    int64_t connect_ms = request->timeout_ms < CONNECT_MS ? request->timeout_ms : CONNECT_MS;

    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(easy, CURLOPT_PROXY, "");
    SET(easy, CURLOPT_NOPROXY, "*");
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT, 1L);
    SET(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    SET(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->answer_max);
}

static void set_request(CURL *easy, const struct http_request *request,
                        struct curl_slist *headers)
{
    SET(easy, CURLOPT_PATH_AS_IS, 1L);
    SET(easy, CURLOPT_USERAGENT, "Postern/" POSTERN_VERSION);
    SET(easy, CURLOPT_HTTPHEADER, headers);
    if (request->body.len > 0 || strcmp(request->method, "POST") == 0) {
        SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        SET(easy, CURLOPT_POSTFIELDS, request->body.len > 0 ? request->body.ptr : "");
    }
    if (strcmp(request->method, "HEAD") == 0) {
        SET(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "GET") != 0) {
        SET(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

/* False when a header would end its line early and begin another. */
static bool make_headers(struct task *task)
{
    const struct http_request *request = task->request;

    /* An empty Expect: bodies go at once, without a round trip for permission. */
    task->headers = curl_slist_append(NULL, "Expect:");
    pn_assert(task->headers);
    for (size_t i = 0; i < PN_COUNT(request->headers) && request->headers[i]; i++) {
        if (pn_str_has_control(pn_str_z(request->headers[i]))) {
            return false;
        }
        pn_assert(curl_slist_append(task->headers, request->headers[i]));
    }
    return true;
}

static void task_arm(struct task *task)
{
    struct pn_mono at = task->deadline;
    int64_t idle_ms = task->request->idle_ms;

    if (idle_ms > 0 && task->heard.ms + idle_ms < at.ms) {
        at.ms = task->heard.ms + idle_ms;
    }
    loop_timer_after(task->client->loop, &task->timer, at.ms - task->client->loop->now.ms);
}

static void task_fire(struct pn_timer *timer)
{
    struct task *task = PN_CONTAINER(timer, struct task, timer);
    const struct http_request *request = task->request;
    struct pn_mono now = task->client->loop->now;

    if (task->reason == NONE && now.ms >= task->deadline.ms) {
        task->reason = TOO_LATE;
    } else if (task->reason == NONE && request->idle_ms > 0 &&
               now.ms - task->heard.ms >= request->idle_ms) {
        task->reason = SILENT;
    }
    if (task->reason == NONE) {
        task_arm(task);
    } else {
        task_tell(task, CURLE_OK);
    }
}

static CURL *make_easy(struct task *task)
{
    CURL *easy = curl_easy_init();

    pn_assert(easy);
    set_callbacks(easy, task);
    set_limits(easy, task->request);
    set_request(easy, task->request, task->headers);
    /* What is no URL fails when the transfer starts, with a sentence. */
    SET(easy, CURLOPT_URL, task->request->url);
    return easy;
}

static void client_start(struct http *port, struct http_request *request)
{
    struct http_client *client = client_of(port);
    struct task *task = PN_NEW(struct task);

    pn_assert(request->on_done && !request->pending && request->timeout_ms > 0);
    task->client = client;
    task->request = request;
    task->timer.on_fire = task_fire;
    task->heard = client->loop->now;
    task->deadline = pn_mono_add(client->loop->now, request->timeout_ms);
    DL_APPEND(client->tasks, task);
    request->pending = task;
    request->code = 0;
    request->err = (struct pn_err){0};
    pn_buf_init(&request->answer, request->answer_max);
    forget_headers(task);
    if (!make_headers(task)) {
        task->reason = NOT_STARTED;
        loop_timer_after(client->loop, &task->timer, 0);
        return;
    }
    task->easy = make_easy(task);
    task_arm(task);
    /* Only sets the timer of the library; the transfer begins on the next turn. */
    pn_assert(curl_multi_add_handle(client->multi, task->easy) == CURLM_OK);
}

static void client_cancel(struct http *port, struct http_request *request)
{
    (void)port;
    pn_assert(request->pending);
    task_free(request->pending);
    pn_buf_fini(&request->answer);
}

static void library_init(void)
{
    pn_assert(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct http *http_client_new(struct loop *loop, const struct http_watch_ops *watches,
                             void *watch_owner)
{
    static const struct http_ops ops = {.start = client_start, .cancel = client_cancel};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct http_client *client = PN_NEW(struct http_client);

    pn_assert(pthread_once(&once, library_init) == 0);
    client->port.ops = &ops;
    client->loop = loop;
    client->watches = *watches;
    client->watch_owner = watch_owner;
    client->timer.on_fire = timer_fire;
    client->multi = curl_multi_init();
    pn_assert(client->multi);
    SET_MULTI(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    SET_MULTI(client->multi, CURLMOPT_SOCKETDATA, client);
    SET_MULTI(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    SET_MULTI(client->multi, CURLMOPT_TIMERDATA, client);
    SET_MULTI(client->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS);
    return &client->port;
}

void http_client_free(struct http **http)
{
    struct http_client *client = *http ? client_of(*http) : NULL;

    *http = NULL;
    if (!client) {
        return;
    }
    pn_assert(!client->telling);
    while (client->tasks) {
        struct http_request *request = client->tasks->request;

        task_free(client->tasks);
        pn_buf_fini(&request->answer);
    }
    /* Closes what is still connected, and may ask for watches once more (FAULTS 9.15). */
    (void)curl_multi_cleanup(client->multi);
    while (client->watched) {
        watched_free(client->watched);
    }
    loop_timer_stop(client->loop, &client->timer);
    free(client);
}
