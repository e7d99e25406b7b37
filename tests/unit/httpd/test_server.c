/*
 * Requests over a real unix socket: whole and in pieces, answered at once and later, too
 * long, by clients that leave, and by a server that ends first.
 */
#include "helper_httpd.h"

#include "postern/base/mem.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    const char *request;
    const char *status; /* of the answer */
    const char *seen;
} exchanges[] = {
    {"get", "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ", "GET /v1/status - "},
    {"query decoded", "GET /a?q=b%20c%26d HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ",
     "GET /a b c&d "},
    {"path decoded", "DELETE /a%20b/%C3%A4 HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ",
     "DELETE /a b/ä - "},
    {"body", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", " 200 ",
     "POST /p - body"},
    {"body in chunks",
     "PUT /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
     "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
     " 200 ", "PUT /p - body"},
    {"announced too long", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n",
     " 413 ", ""},
    {"NUL in the path", "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", " 400 ", ""},
    {"NUL in the query", "GET /a?q=b%00c HTTP/1.1\r\nHost: x\r\n\r\n", " 400 ", ""},
    {"no HTTP", "EHLO x\r\n\r\n", " 400 ", ""},
};

static void assert_exchange(size_t row, size_t split)
{
    struct rig rig;
    struct pn_str request = pn_str_z(exchanges[row].request);
    const char *answer;
    int fd;

    rig_init(&rig);
    fd = client_connect(&rig);
    client_send(&rig, fd, pn_str_sub(request, 0, split));
    if (split < request.len) {
        rig_turn(&rig, fd, 0);
    }
    client_send(&rig, fd, pn_str_sub(request, split, SIZE_MAX));
    answer = client_receive(&rig, fd, exchanges[row].seen[0] ? exchanges[row].seen : "}\n");
    if (!strstr(answer, exchanges[row].status)) {
        fail_msg("%s, cut at %zu: %s", exchanges[row].name, split, answer);
    }
    if (exchanges[row].seen[0] && !strstr(answer, exchanges[row].seen)) {
        fail_msg("%s, cut at %zu: saw %s", exchanges[row].name, split, rig.seen);
    }
    close(fd);
    rig_fini(&rig);
}

static void test_exchanges_whole_and_split(void **state)
{
    (void)state;
    for (size_t row = 0; row < PN_COUNT(exchanges); row++) {
        size_t octets = strlen(exchanges[row].request);

        for (size_t split = 1; split <= octets; split++) {
            assert_exchange(row, split);
        }
    }
}

static void test_answers_later(void **state)
{
    struct rig rig;
    int fd;

    (void)state;
    rig_init(&rig);
    rig.keep = true;
    fd = client_connect(&rig);
    client_send(&rig, fd, PN_STR("GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!rig.pending) {
        rig_turn(&rig, fd, 0);
    }
    assert_int_equal(rig.wakes, 0);
    /* A request that waits for its answer must not time out. */
    assert_int_equal(httpd_server_timeout_ms(rig.server), -1);
    rig_answer(&rig, rig.pending, 202, "at last\n");
    assert_int_equal(rig.wakes, 1);
    assert_non_null(strstr(client_receive(&rig, fd, "at last\n"), " 202 "));

    /* The connection is of use again. */
    rig.keep = false;
    client_send(&rig, fd, PN_STR("GET /again HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_non_null(strstr(client_receive(&rig, fd, "/again - "), " 200 "));
    close(fd);
    rig_fini(&rig);
}

static void test_client_leaves_before_the_answer(void **state)
{
    struct rig rig;
    int fd;

    (void)state;
    rig_init(&rig);
    rig.keep = true;
    fd = client_connect(&rig);
    client_send(&rig, fd, PN_STR("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!rig.pending) {
        rig_turn(&rig, fd, 0);
    }
    close(fd);
    httpd_server_run(rig.server);
    rig_answer(&rig, rig.pending, 200, "to nobody");
    httpd_server_run(rig.server);

    /* Others are served. */
    rig.keep = false;
    fd = client_connect(&rig);
    client_send(&rig, fd, PN_STR("GET /next HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_non_null(strstr(client_receive(&rig, fd, "/next - "), " 200 "));
    close(fd);
    rig_fini(&rig);
}

static void test_server_ends_before_the_answer(void **state)
{
    struct rig rig;
    struct httpd_request *waiting;
    int fd;

    (void)state;
    rig_init(&rig);
    rig.keep = true;
    fd = client_connect(&rig);
    client_send(&rig, fd, PN_STR("GET /cut HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!rig.pending) {
        rig_turn(&rig, fd, 0);
    }
    waiting = rig.pending;
    rig_fini(&rig);
    assert_null(httpd_query(waiting, "q"));
    rig_answer(&rig, waiting, 200, "to nobody");
    close(fd);
}

static void test_last_answer_is_sent(void **state)
{
    struct rig rig;
    int fd;

    (void)state;
    rig_init(&rig);
    rig.keep = true;
    fd = client_connect(&rig);
    client_send(&rig, fd, PN_STR("GET /last HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!rig.pending) {
        rig_turn(&rig, fd, 0);
    }
    rig_answer(&rig, rig.pending, 503, "goodbye\n");
    rig_fini(&rig);
    assert_non_null(strstr(client_receive(&rig, fd, "goodbye\n"), " 503 "));
    close(fd);
}

/* A body without an announced length grows only up to the limit. */
static void test_endless_body_is_refused(void **state)
{
    struct rig rig;
    char *chunk = pn_alloc(65536 + 9);
    int fd;

    (void)state;
    rig_init(&rig);
    fd = client_connect(&rig);
    client_send(&rig, fd,
                PN_STR("POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    memset(chunk, 'x', 65536 + 9);
    memcpy(chunk, "10000\r\n", 7);
    memcpy(chunk + 7 + 65536, "\r\n", 2);
    for (size_t sent = 0; sent <= HTTPD_BODY_MAX; sent += 65536) {
        client_send(&rig, fd, (struct pn_str){chunk, 65536 + 9});
    }
    client_send(&rig, fd, PN_STR("0\r\n\r\n"));
    assert_non_null(strstr(client_receive(&rig, fd, "}\n"), " 413 "));
    assert_string_equal(rig.seen, "");
    close(fd);
    free(chunk);
    rig_fini(&rig);
}

static void test_largest_body_is_taken(void **state)
{
    static const char header[] =
        "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n";
    struct rig rig;
    char *body = pn_alloc(HTTPD_BODY_MAX);
    int fd;

    (void)state;
    rig_init(&rig);
    fd = client_connect(&rig);
    memset(body, 'x', HTTPD_BODY_MAX);
    client_send(&rig, fd, pn_str_z(header));
    client_send(&rig, fd, (struct pn_str){body, HTTPD_BODY_MAX});
    assert_non_null(strstr(client_receive(&rig, fd, "xxxx"), " 200 "));
    assert_int_equal(rig.body_octets, HTTPD_BODY_MAX);
    close(fd);
    free(body);
    rig_fini(&rig);
}

static void test_many_clients(void **state)
{
    enum { CLIENTS = 100 }; /* more than are served at once */
    struct rig rig;
    int fds[CLIENTS];

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < CLIENTS; i++) {
        /* The backlog is as large as the number of connections: let some in. */
        httpd_server_run(rig.server);
        fds[i] = client_connect(&rig);
        client_send(&rig, fds[i],
                    PN_STR("GET /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_non_null(strstr(client_receive(&rig, fds[i], "/m - "), " 200 "));
        close(fds[i]);
    }
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges_whole_and_split),
        cmocka_unit_test(test_answers_later),
        cmocka_unit_test(test_client_leaves_before_the_answer),
        cmocka_unit_test(test_server_ends_before_the_answer),
        cmocka_unit_test(test_last_answer_is_sent),
        cmocka_unit_test(test_endless_body_is_refused),
        cmocka_unit_test(test_largest_body_is_taken),
        cmocka_unit_test(test_many_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
