/* links: httpd */
/*
 * The command-line tool's calls against the admin server, over a real unix socket. The
 * server runs on a thread of its own, since calls block.
 */
#include "postern/http/call.h"

#include "postern/base/mem.h"
#include "postern/httpd/server.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

struct rig {
    char directory[64];
    char socket_path[96];
    struct httpd_server *server;
    pthread_t thread;
    int stop[2]; /* closed at its far end when the thread is to end */
};

/* "/status/N" is answered N, everything else 200; the answer tells the request. */
static void on_request(void *owner, struct httpd_request *request)
{
    struct pn_buf body;
    uint64_t status = 200;

    (void)owner;
    if (strncmp(request->path, "/status/", 8) == 0) {
        (void)pn_str_to_u64(pn_str_z(request->path + 8), 599, &status);
    }
    pn_buf_init(&body, HTTPD_REPLY_MAX);
    if (pn_buf_printf(&body, "%s %s %s ", request->method, request->path,
                      httpd_query(request, "q") ? httpd_query(request, "q") : "-") == 0 &&
        pn_buf_append(&body, request->body) == 0) {
        httpd_reply(request, (unsigned)status, "text/plain", &body);
    }
    pn_buf_fini(&body);
}

static void on_wake(void *owner)
{
    (void)owner;
}

static void *serve(void *owner)
{
    struct rig *rig = owner;

    for (;;) {
        struct pollfd fds[2] = {{.fd = httpd_server_fd(rig->server), .events = POLLIN},
                                {.fd = rig->stop[0], .events = POLLIN}};
        int64_t timeout_ms = httpd_server_timeout_ms(rig->server);

        (void)poll(fds, 2, timeout_ms > 1000000 ? 1000000 : (int)timeout_ms);
        if (fds[1].revents) {
            return NULL;
        }
        httpd_server_run(rig->server);
    }
}

static void rig_init(struct rig *rig)
{
    struct httpd_server_events events = {rig, on_request, on_wake};

    *rig = (struct rig){.directory = "/tmp/postern-test-XXXXXX"};
    assert_non_null(mkdtemp(rig->directory));
    assert_true(snprintf(rig->socket_path, sizeof rig->socket_path, "%s/admin.sock",
                         rig->directory) > 0);
    rig->server = httpd_server_new(rig->socket_path, "", &events, NULL);
    assert_non_null(rig->server);
    assert_int_equal(pipe(rig->stop), 0);
    assert_int_equal(pthread_create(&rig->thread, NULL, serve, rig), 0);
}

static void rig_fini(struct rig *rig)
{
    close(rig->stop[1]);
    assert_int_equal(pthread_join(rig->thread, NULL), 0);
    close(rig->stop[0]);
    httpd_server_free(&rig->server);
    assert_int_equal(rmdir(rig->directory), 0);
}

static const struct {
    const char *name;
    const char *method, *path, *body;
    unsigned status;
    const char *answer;
} rows[] = {
    {"get", "GET", "/echo", "", 200, "GET /echo - "},
    {"query", "GET", "/echo?q=a%26b", "", 200, "GET /echo a&b "},
    {"dots are kept", "GET", "/a/../b", "", 200, "GET /a/../b - "},
    {"post", "POST", "/echo", "{\"a\":1}", 200, "POST /echo - {\"a\":1}"},
    {"post of nothing", "POST", "/echo", "", 200, "POST /echo - "},
    {"put", "PUT", "/echo", "text", 200, "PUT /echo - text"},
    {"delete", "DELETE", "/echo", "", 200, "DELETE /echo - "},
    {"a status is no failure", "GET", "/status/404", "", 404, "GET /status/404 - "},
    {"redirects are not followed", "GET", "/status/302", "", 302, "GET /status/302 - "},
};

static void test_calls(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct http_call call = {.socket_path = rig.socket_path,
                                 .method = rows[i].method,
                                 .path = rows[i].path,
                                 .body = pn_str_z(rows[i].body),
                                 .timeout_ms = 30000};
        struct pn_buf body;
        struct pn_err err = {0};
        unsigned status = 0;

        pn_buf_init(&body, 1024);
        if (http_call(&call, &status, &body, &err) != 0 || status != rows[i].status ||
            !pn_str_eq(pn_buf_str(&body), pn_str_z(rows[i].answer))) {
            fail_msg("%s: %u %.*s %s", rows[i].name, status, PN_FMT(pn_buf_str(&body)),
                     err.text);
        }
        pn_buf_fini(&body);
    }
    rig_fini(&rig);
}

static void test_large_body_and_answer(void **state)
{
    struct rig rig;
    char *text = pn_alloc(HTTPD_BODY_MAX);
    struct http_call call = {.method = "POST", .path = "/echo", .timeout_ms = 30000};
    struct pn_buf body;
    unsigned status = 0;

    (void)state;
    rig_init(&rig);
    memset(text, 'x', HTTPD_BODY_MAX);
    call.socket_path = rig.socket_path;
    call.body = (struct pn_str){text, HTTPD_BODY_MAX};
    pn_buf_init(&body, HTTPD_BODY_MAX + 100);
    assert_int_equal(http_call(&call, &status, &body, NULL), 0);
    assert_int_equal(status, 200);
    assert_int_equal(body.len, HTTPD_BODY_MAX + strlen("POST /echo - "));
    pn_buf_fini(&body);

    pn_buf_init(&body, 1000);
    assert_int_equal(http_call(&call, &status, &body, NULL), PN_ENOSPACE);
    pn_buf_fini(&body);
    free(text);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_large_body_and_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
