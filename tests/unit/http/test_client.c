/* The HTTP client against a server that behaves well, badly, or not at all. */
#include "helper_http.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 * 1024)

struct rig {
    struct poll_loop loop;
    struct http_server server;
    struct http *http;
};

/* A request with its own copy of what came. */
struct asked {
    struct http_request request;
    char url[128];
    struct rig *rig;
    unsigned done;
    int status;
    struct asked *cancels; /* when it is done */
    struct asked *starts;
};

static int setup(void **state)
{
    struct rig *rig = PN_NEW(struct rig);

    /* What the environment says about proxies is not for us. */
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1/", 1), 0);
    http_server_start(&rig->server);
    poll_loop_init(&rig->loop);
    rig->http = http_client_new(&rig->loop.port, &poll_loop_watches, &rig->loop);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    http_client_free(&rig->http);
    assert_null(rig->http);
    http_client_free(&rig->http); /* NULL is fine */
    poll_loop_fini(&rig->loop);
    http_server_stop(&rig->server);
    free(rig);
    return 0;
}

static void start(struct asked *asked)
{
    asked->rig->http->ops->start(asked->rig->http, &asked->request);
    assert_non_null(asked->request.pending);
}

static void on_done(struct http_request *request, int status)
{
    struct asked *asked = PN_CONTAINER(request, struct asked, request);

    assert_null(request->pending);
    asked->done++;
    asked->status = status;
    if (asked->cancels) {
        asked->rig->http->ops->cancel(asked->rig->http, &asked->cancels->request);
    }
    if (asked->starts) {
        start(asked->starts);
    }
}

static void prepare(struct rig *rig, struct asked *asked, const char *path)
{
    *asked = (struct asked){.rig = rig};
    (void)snprintf(asked->url, sizeof asked->url, "http://127.0.0.1:%u%s",
                   (unsigned)rig->server.port, path);
    asked->request.on_done = on_done;
    asked->request.method = "GET";
    asked->request.url = asked->url;
    asked->request.answer_max = ANSWER_MAX;
    asked->request.timeout_ms = PN_MINUTES(10);
    asked->request.idle_ms = PN_SECONDS(30);
}

static void wait_done(struct asked *asked)
{
    while (!asked->done) {
        poll_loop_turn(&asked->rig->loop);
    }
    assert_int_equal(asked->done, 1);
}

static void wait_heard(struct rig *rig, unsigned count)
{
    while (http_server_heard(&rig->server) < count) {
        poll_loop_turn(&rig->loop);
    }
}

/* What each path of the server ends in. */
static const struct {
    const char *path;
    int status;
    unsigned code;
    const char *answer;
    const char *etag;
    const char *last_modified;
    const char *why; /* a part of the sentence */
} rows[] = {
    {"/ok", 0, 200, "hello", "\"v1\"", "Sat, 21 Nov 2026 20:55:08 GMT", ""},
    {"/chunks", 0, 200, "hello", "", "", ""},
    {"/same", 0, 304, "", "\"v2\"", "", ""},
    {"/gone", 0, 404, "no", "", "", ""},
    {"/interim", 0, 200, "", "", "", ""},
    {"/badtag", 0, 200, "", "", "", ""},
    {"/moved", PN_EIO, 301, "", "", "",
     " answers 301 and names another address: http://elsewhere.example/; redirects are not "
     "followed, so configure the one that answers itself"},
    {"/announced", PN_ENOSPACE, 0, "", "", "", " is longer than 65536 octets"},
    {"/endless", PN_ENOSPACE, 0, "", "", "", " is longer than 65536 octets"},
    {"/headers", PN_ENOSPACE, 0, "", "", "", " are longer than 65536 octets"},
    {"/early", PN_ECLOSED, 0, "", "", "", " closed the connection before the answer's end"},
    {"/garbage", PN_EIO, 0, "", "", "", "HTTP"},
    {"/nothing", PN_EIO, 0, "", "", "", "Empty reply"},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct asked asked;

        prepare(*state, &asked, rows[i].path);
        start(&asked);
        assert_int_equal(asked.done, 0);
        wait_done(&asked);
        if (asked.status != rows[i].status || !strstr(asked.request.err.text, rows[i].why)) {
            print_error("row %s: %d %s\n", rows[i].path, asked.status, asked.request.err.text);
        }
        assert_int_equal(asked.status, rows[i].status);
        assert_non_null(strstr(asked.request.err.text, rows[i].why));
        assert_int_equal(asked.request.code, rows[i].code);
        assert_true(pn_str_eq(pn_buf_str(&asked.request.answer), pn_str_z(rows[i].answer)));
        if (rows[i].status == 0) {
            assert_string_equal(asked.request.etag, rows[i].etag);
            assert_string_equal(asked.request.last_modified, rows[i].last_modified);
        } else {
            assert_non_null(strstr(asked.request.err.text, asked.url));
        }
        pn_buf_fini(&asked.request.answer);
    }
}

static const struct {
    const char *url;
    int status;
} bad[] = {
    {"file:///etc/passwd", PN_EIO},
    {"smtp://127.0.0.1/", PN_EIO},
    {"http://[::1", PN_EINVAL},
    {"", PN_EINVAL},
    {"http://user:word@127.0.0.1/", PN_EIO},
    {"http://127.0.0.1:1/", PN_EIO},
};

static void test_bad_addresses(void **state)
{
    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        struct asked asked;

        prepare(*state, &asked, "/");
        asked.request.url = bad[i].url;
        start(&asked);
        assert_int_equal(asked.done, 0);
        wait_done(&asked);
        assert_int_equal(asked.status, bad[i].status);
        assert_int_not_equal(asked.request.err.text[0], '\0');
    }
}

static void test_what_is_sent(void **state)
{
    struct asked asked;
    struct pn_buf *answer = &asked.request.answer;

    prepare(*state, &asked, "/echo");
    asked.request.method = "POST";
    asked.request.body = PN_STR("{\"a\":1}");
    asked.request.headers[0] = "Content-Type: application/json";
    asked.request.headers[1] = "If-None-Match: \"v1\"";
    start(&asked);
    wait_done(&asked);
    assert_int_equal(asked.status, 0);
    assert_int_equal(pn_buf_append_char(answer, '\0'), 0);
    assert_true(pn_str_starts(pn_buf_str(answer), PN_STR("POST /echo HTTP/1.1\r\n")));
    assert_non_null(strstr(pn_buf_str(answer).ptr, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(pn_buf_str(answer).ptr, "\r\nIf-None-Match: \"v1\"\r\n"));
    assert_non_null(strstr(pn_buf_str(answer).ptr, "\r\nUser-Agent: Postern/"));
    assert_null(strstr(pn_buf_str(answer).ptr, "Expect"));
    assert_null(strstr(pn_buf_str(answer).ptr, "Accept-Encoding"));
    assert_non_null(strstr(pn_buf_str(answer).ptr, "\r\n\r\n{\"a\":1}"));
    pn_buf_fini(answer);
}

static void test_header_with_a_newline(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    prepare(rig, &asked, "/ok");
    asked.request.headers[0] = "If-None-Match: \"v1\"\r\nX: y";
    start(&asked);
    wait_done(&asked);
    assert_int_equal(asked.status, PN_EINVAL);
    assert_int_equal(http_server_heard(&rig->server), 0);
}

static const struct {
    const char *path;
    int64_t wait_ms;
    const char *why;
} stalls[] = {
    {"/stall", PN_SECONDS(31), "nothing came from"},
    {"/silent", PN_SECONDS(31), "nothing came from"},
    {"/silent", PN_MINUTES(11), "has not answered within 600 s"},
};

static void test_stalls(void **state)
{
    struct rig *rig = *state;

    for (unsigned i = 0; i < PN_COUNT(stalls); i++) {
        struct asked asked;

        prepare(rig, &asked, stalls[i].path);
        start(&asked);
        wait_heard(rig, i + 1);
        assert_int_equal(asked.done, 0);
        rig->loop.ahead_ms += stalls[i].wait_ms;
        wait_done(&asked);
        assert_int_equal(asked.status, PN_ETIMEOUT);
        assert_non_null(strstr(asked.request.err.text, stalls[i].why));
    }
}

static void test_cancel(void **state)
{
    struct rig *rig = *state;
    struct asked asked;
    struct asked other;

    prepare(rig, &asked, "/stall");
    start(&asked);
    wait_heard(rig, 1);
    rig->http->ops->cancel(rig->http, &asked.request);
    assert_null(asked.request.pending);
    prepare(rig, &other, "/ok");
    start(&other);
    wait_done(&other);
    pn_buf_fini(&other.request.answer);
    assert_int_equal(asked.done, 0);
    /* At once, before anything was sent. */
    prepare(rig, &asked, "/ok");
    start(&asked);
    rig->http->ops->cancel(rig->http, &asked.request);
    poll_loop_turn(&rig->loop);
    assert_int_equal(asked.done, 0);
}

static void test_start_and_cancel_when_done(void **state)
{
    struct rig *rig = *state;
    struct asked first;
    struct asked second;
    struct asked third;

    prepare(rig, &first, "/ok");
    prepare(rig, &second, "/silent");
    prepare(rig, &third, "/gone");
    first.cancels = &second;
    first.starts = &third;
    start(&first); /* the server takes one after the other */
    start(&second);
    wait_done(&third);
    assert_int_equal(first.done, 1);
    assert_int_equal(second.done, 0);
    assert_int_equal(third.request.code, 404);
    pn_buf_fini(&first.request.answer);
    pn_buf_fini(&third.request.answer);
}

/* The client is freed with requests in every state; teardown checks that nothing is left. */
static void test_free_under_way(void **state)
{
    struct rig *rig = *state;
    static struct asked stalled;
    static struct asked waiting;
    static struct asked refused;

    prepare(rig, &stalled, "/stall");
    start(&stalled);
    wait_heard(rig, 1);
    prepare(rig, &waiting, "/ok");
    start(&waiting);
    prepare(rig, &refused, "/ok");
    refused.request.headers[0] = "a\nb";
    start(&refused);
    http_client_free(&rig->http);
    assert_null(stalled.request.pending);
    assert_int_equal(stalled.done + waiting.done + refused.done, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_header_with_a_newline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stalls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_and_cancel_when_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_free_under_way, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
