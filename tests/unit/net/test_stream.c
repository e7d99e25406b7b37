/*
 * Streams over loopback: flow both ways, the ways a connection ends, and who may free what.
 */
#include "helper_net.h"

#include "postern/base/mem.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ECHO_OCTETS  ((size_t)10 << 20)
#define CLOSE_OCTETS ((size_t)5 << 20)
#define OWN_LIMIT    ((size_t)128 << 10)

/* A server stream and a client, which is either a stream or a plain socket. */
struct pair {
    struct rig rig;
    struct net_listener *listener;
    struct pn_endpoint address;
    struct stream *server;
    struct stream *client;
    stream_event_fn *on_server;
    stream_event_fn *on_client;
    int plain;
    bool inside; /* a call on a stream is under way: no event may come */
    size_t sent;
    size_t received;
    size_t events;
    size_t waiting_most;
};

static void server_accepted(void *owner, struct stream *stream)
{
    struct pair *pair = owner;

    assert_null(pair->server);
    pair->server = stream;
    stream->on_event = pair->on_server;
    stream->owner = pair;
    assert_true(pn_ip_is_loopback(&stream->peer.ip));
    assert_int_equal(stream->local.port, pair->address.port);
}

static void pair_init(struct pair *pair, stream_event_fn *on_server, stream_event_fn *on_client)
{
    *pair = (struct pair){.on_server = on_server, .on_client = on_client, .plain = -1};
    rig_init(&pair->rig);
    pair->listener = rig_listen(&pair->rig, "127.0.0.1:0", server_accepted, pair);
    pair->address = net_listener_address(pair->listener);
    assert_int_not_equal(pair->address.port, 0);
    if (on_client) {
        pair->client = network_connect(net_loop_network(pair->rig.loop), &pair->address, NULL);
        pair->client->on_event = on_client;
        pair->client->owner = pair;
        assert_int_equal(stream_get_state(pair->client), STREAM_CONNECTING);
    } else {
        pair->plain = plain_connect(&pair->address);
    }
}

static void pair_fini(struct pair *pair)
{
    stream_abort(&pair->client);
    stream_abort(&pair->server);
    net_listener_free(&pair->listener);
    rig_fini(&pair->rig);
    if (pair->plain >= 0) {
        close(pair->plain);
    }
}

static char pattern(size_t at)
{
    return (char)(at * 31 + at / 251);
}

/* Echoes in odd pieces and stops reading while its own output is long. */
static void echo_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in;

    assert_false(pair->inside);
    pair->inside = true;
    in = stream_peek(stream);
    assert_true(in.len <= STREAM_INPUT_MAX);
    if (in.len > pair->waiting_most) {
        pair->waiting_most = in.len;
    }
    while (in.len > 0 && stream_unsent(stream) < OWN_LIMIT) {
        struct pn_str piece = pn_str_sub(in, 0, in.len / 2 + 1);

        stream_write(stream, piece);
        stream_consume(stream, piece.len);
        in = stream_peek(stream);
    }
    pair->inside = false;
    assert_int_not_equal(stream_get_state(stream), STREAM_FAILED);
}

static void echo_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in;
    char out[10000];

    assert_false(pair->inside);
    pair->inside = true;
    assert_int_equal(stream_get_state(stream), STREAM_OPEN);
    while (pair->sent < ECHO_OCTETS && stream_unsent(stream) < 4 * OWN_LIMIT) {
        size_t piece = ECHO_OCTETS - pair->sent;

        piece = piece < sizeof out ? piece : sizeof out;
        for (size_t i = 0; i < piece; i++) {
            out[i] = pattern(pair->sent + i);
        }
        stream_write(stream, (struct pn_str){out, piece});
        pair->sent += piece;
    }
    in = stream_peek(stream);
    assert_true(in.len <= STREAM_INPUT_MAX);
    for (size_t i = 0; i < in.len; i++) {
        assert_int_equal(in.ptr[i], pattern(pair->received + i));
    }
    pair->received += in.len;
    stream_consume(stream, in.len);
    pair->inside = false;
    if (pair->received == ECHO_OCTETS) {
        net_loop_stop(pair->rig.loop);
    }
}

static void test_echo_with_back_pressure(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, echo_server, echo_client);
    rig_run(&pair.rig);
    assert_int_equal(pair.received, ECHO_OCTETS);
    assert_int_equal(pair.waiting_most, STREAM_INPUT_MAX); /* it was full, and no fuller */
    assert_int_equal(stream_unsent(pair.server), 0);
    assert_true(pn_ip_is_loopback(&pair.client->local.ip));
    pair_fini(&pair);
}

static void ended_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    if (stream_get_state(stream) == STREAM_ENDED) {
        struct pn_str in = stream_peek(stream);

        assert_true(pn_str_eq(in, PN_STR("one line\r\nhalf")));
        stream_consume(stream, in.len);
        assert_int_equal(stream_get_state(stream), STREAM_ENDED);
        stream_write(stream, PN_STR("heard you"));
        stream_close(&pair->server);
        net_loop_stop(pair->rig.loop);
    }
}

static void test_fin_leaves_the_input_and_lets_us_answer(void **state)
{
    struct pair pair;
    char answer[16] = {0};

    (void)state;
    pair_init(&pair, ended_server, NULL);
    plain_send(pair.plain, "one line\r\n");
    plain_send(pair.plain, "half");
    assert_int_equal(shutdown(pair.plain, SHUT_WR), 0);
    rig_run(&pair.rig);
    assert_int_equal(recv(pair.plain, answer, sizeof answer, MSG_WAITALL), 9);
    assert_string_equal(answer, "heard you");
    pair_fini(&pair);
}

static void answer_and_wait(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in = stream_peek(stream);

    if (pair->events++ == 0) {
        assert_int_equal(in.len, 4);
        stream_write(stream, PN_STR("answer"));
        stream_write(stream, PN_STR("ed"));
        assert_int_equal(stream_unsent(stream), 8);
        return;
    }
    assert_int_equal(stream_unsent(stream), 0);
    net_loop_stop(pair->rig.loop);
}

static void test_output_leaves_in_one_piece_and_an_event_says_so(void **state)
{
    struct pair pair;
    char answer[16] = {0};

    (void)state;
    pair_init(&pair, answer_and_wait, NULL);
    plain_send(pair.plain, "ping");
    rig_run(&pair.rig);
    assert_int_equal(recv(pair.plain, answer, sizeof answer, 0), 8);
    assert_string_equal(answer, "answered");
    pair_fini(&pair);
}

static void reset_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    if (pair->plain >= 0) {
        plain_reset(pair->plain);
        pair->plain = -1;
        return;
    }
    if (stream_get_state(stream) == STREAM_OPEN) {
        return;
    }
    assert_int_equal(stream_get_state(stream), STREAM_FAILED);
    assert_string_equal(stream_error(stream), "the connection was reset by the peer");
    assert_int_equal(stream_peek(stream).len, 0);
    stream_write(stream, PN_STR("into the void"));
    assert_int_equal(stream_unsent(stream), 0);
    net_loop_stop(pair->rig.loop);
}

static void test_reset_is_a_failure(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, reset_server, NULL);
    plain_send(pair.plain, "x");
    rig_run(&pair.rig);
    pair_fini(&pair);
}

static void last_words_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in = stream_peek(stream);

    if (pair->events++ == 0) {
        stream_consume(stream, in.len);
        stream_write(stream, PN_STR("this stays unread"));
        return;
    }
    if (pair->plain >= 0) {
        /* Closing with unread input makes the kernel send RST behind the answer. */
        plain_send(pair->plain, "552 too big\r\n");
        close(pair->plain);
        pair->plain = -1;
        stream_write(stream, PN_STR("more"));
        return;
    }
    if (in.len > 0) {
        assert_true(pn_str_eq(in, PN_STR("552 too big\r\n")));
        pair->received = in.len;
        stream_consume(stream, in.len);
        stream_write(stream, PN_STR("and more"));
    }
    if (stream_get_state(stream) != STREAM_OPEN) {
        net_loop_stop(pair->rig.loop);
    }
}

static void test_last_words_are_heard_although_writing_fails(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, last_words_server, NULL);
    plain_send(pair.plain, "x");
    rig_run(&pair.rig);
    assert_int_equal(pair.received, 13);
    pair_fini(&pair);
}

static void refused_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    assert_int_equal(stream_get_state(stream), STREAM_FAILED);
    assert_string_equal(stream_error(stream), "connection refused");
    net_loop_stop(pair->rig.loop);
}

static void test_connect_refused(void **state)
{
    struct pair pair = {.plain = -1};

    (void)state;
    rig_init(&pair.rig);
    pair.listener = rig_listen(&pair.rig, "127.0.0.1:0", server_accepted, &pair);
    pair.address = net_listener_address(pair.listener);
    net_listener_free(&pair.listener);
    pair.client = network_connect(net_loop_network(pair.rig.loop), &pair.address, NULL);
    pair.client->on_event = refused_client;
    pair.client->owner = &pair;
    rig_run(&pair.rig);
    pair_fini(&pair);
}

static void no_source_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    assert_int_equal(stream_get_state(stream), STREAM_FAILED);
    assert_string_equal(stream_error(stream), "the source address is not one of this machine");
    net_loop_stop(pair->rig.loop);
}

static void test_connect_from_a_foreign_source_fails_later(void **state)
{
    struct pn_ip source = pn_ip_v4(0xcb007101); /* 203.0.113.1 */
    struct pair pair = {.plain = -1};

    (void)state;
    rig_init(&pair.rig);
    assert_true(pn_endpoint_parse(PN_STR("127.0.0.1:1"), &pair.address));
    pair.client = network_connect(net_loop_network(pair.rig.loop), &pair.address, &source);
    pair.client->on_event = no_source_client;
    pair.client->owner = &pair;
    rig_run(&pair.rig);
    pair_fini(&pair);
}

static void nothing(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    (void)stream;
    pair->events++;
    if (pair->server && pair->client && stream_get_state(pair->client) == STREAM_OPEN) {
        net_loop_stop(pair->rig.loop);
    }
}

static void test_connect_from_a_source(void **state)
{
    struct pn_ip source = pn_ip_v4(0x7f000002);
    struct pair pair = {.on_server = echo_server, .plain = -1};

    (void)state;
    rig_init(&pair.rig);
    pair.listener = rig_listen(&pair.rig, "127.0.0.1:0", server_accepted, &pair);
    pair.address = net_listener_address(pair.listener);
    pair.client = network_connect(net_loop_network(pair.rig.loop), &pair.address, &source);
    pair.client->on_event = echo_client;
    pair.client->owner = &pair;
    rig_run(&pair.rig);
    assert_true(pn_ip_eq(&pair.server->peer.ip, &source));
    assert_true(pn_ip_eq(&pair.client->local.ip, &source));
    pair_fini(&pair);
}

/* ---- unix sockets --------------------------------------------------------------------- */

struct unix_rig {
    struct pair pair;
    char directory[64];
    struct sockaddr_un address;
    int listening;
};

static void unix_rig_init(struct unix_rig *rig)
{
    *rig = (struct unix_rig){.pair = {.plain = -1}, .directory = "/tmp/postern-unix-XXXXXX"};
    rig_init(&rig->pair.rig);
    assert_non_null(mkdtemp(rig->directory));
    rig->address.sun_family = AF_UNIX;
    snprintf(rig->address.sun_path, sizeof rig->address.sun_path, "%s/s", rig->directory);
    rig->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(rig->listening, (struct sockaddr *)&rig->address, sizeof rig->address), 0);
}

static void unix_rig_fini(struct unix_rig *rig)
{
    close(rig->listening);
    unlink(rig->address.sun_path);
    rmdir(rig->directory);
    pair_fini(&rig->pair);
}

static void unix_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str text = stream_peek(stream);

    assert_int_equal(stream_get_state(stream), STREAM_OPEN);
    if (text.len == 4) {
        assert_true(pn_str_eq(text, PN_STR("220 ")));
        stream_consume(stream, text.len);
        stream_write(stream, PN_STR("LHLO"));
        pair->events++;
    } else if (pair->events == 1 && stream_unsent(stream) == 0) {
        net_loop_stop(pair->rig.loop);
    }
}

static void test_connect_unix(void **state)
{
    struct unix_rig rig;
    char text[8] = "";

    (void)state;
    unix_rig_init(&rig);
    assert_int_equal(listen(rig.listening, 1), 0);
    rig.pair.client =
        network_connect_unix(net_loop_network(rig.pair.rig.loop), rig.address.sun_path);
    rig.pair.client->on_event = unix_client;
    rig.pair.client->owner = &rig.pair;
    assert_int_equal(rig.pair.client->peer.ip.family, PN_FAMILY_NONE);
    rig.pair.plain = accept4(rig.listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(rig.pair.plain >= 0);
    plain_send(rig.pair.plain, "220 ");
    rig_run(&rig.pair.rig);
    assert_int_equal(recv(rig.pair.plain, text, sizeof text, 0), 4);
    assert_string_equal(text, "LHLO");
    unix_rig_fini(&rig);
}

static void failing_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    assert_int_equal(stream_get_state(stream), STREAM_FAILED);
    net_loop_stop(pair->rig.loop);
}

/* Connects to the path and returns why that failed. */
static void expect_no_unix(struct unix_rig *rig, const char *path, const char *why)
{
    struct pair *pair = &rig->pair;

    pair->client = network_connect_unix(net_loop_network(pair->rig.loop), path);
    pair->client->on_event = failing_client;
    pair->client->owner = pair;
    rig_run(&pair->rig);
    assert_string_equal(stream_error(pair->client), why);
    stream_abort(&pair->client);
}

static void test_connect_unix_refused(void **state)
{
    struct unix_rig rig;

    (void)state;
    unix_rig_init(&rig);
    expect_no_unix(&rig, rig.address.sun_path, "connection refused"); /* nobody listens */
    unix_rig_fini(&rig);
}

static void test_connect_unix_nowhere(void **state)
{
    struct unix_rig rig;

    (void)state;
    unix_rig_init(&rig);
    expect_no_unix(&rig, "/nonexistent/socket", "there is no such socket");
    unix_rig_fini(&rig);
}

static void test_connect_unix_long_path(void **state)
{
    struct unix_rig rig;
    char path[200];

    (void)state;
    unix_rig_init(&rig);
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    expect_no_unix(&rig, path, "the path of the socket is too long");
    unix_rig_fini(&rig);
}

static void test_abort_while_connecting(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, nothing, nothing);
    stream_abort(&pair.client);
    net_loop_stop(pair.rig.loop);
    rig_run(&pair.rig);
    pair_fini(&pair);
}

static void stop_later(struct pn_timer *timer)
{
    struct pair *pair = PN_CONTAINER(timer, struct pair, rig.watchdog);

    net_loop_stop(pair->rig.loop);
}

static void closing_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    assert_ptr_equal(stream, pair->server);
    if (pair->events++ == 0) {
        stream_write(stream, PN_STR("421 bye\r\n"));
        if (pair->sent) {
            stream_abort(&pair->server);
        } else {
            stream_close(&pair->server);
        }
        assert_null(pair->server);
    }
}

static void closed_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in = stream_peek(stream);

    if (stream_get_state(stream) == STREAM_OPEN && pair->received == 0) {
        stream_write(stream, PN_STR("x"));
        pair->received = 1;
    }
    if (stream_get_state(stream) == STREAM_ENDED || stream_get_state(stream) == STREAM_FAILED) {
        assert_int_equal(in.len, pair->sent ? 0 : 9);
        stream_close(&pair->client);
        /* A few turns more show whether anybody touches what is gone. */
        pair->rig.watchdog.on_fire = stop_later;
        loop_timer_after(pair->rig.port, &pair->rig.watchdog, 5);
    }
}

static void test_owner_closes_in_on_event(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, closing_server, closed_client);
    rig_run(&pair.rig);
    assert_int_equal(pair.events, 1);
    pair_fini(&pair);
}

static void test_owner_aborts_in_on_event(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, closing_server, closed_client);
    pair.sent = 1;
    rig_run(&pair.rig);
    assert_int_equal(pair.events, 1);
    pair_fini(&pair);
}

/* Writes much at once and closes: all of it must arrive, although input is left unread. */
static void flushing_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    char piece[4096];

    for (size_t at = 0; at < CLOSE_OCTETS; at += sizeof piece) {
        for (size_t i = 0; i < sizeof piece; i++) {
            piece[i] = pattern(at + i);
        }
        stream_write(stream, (struct pn_str){piece, sizeof piece});
    }
    assert_int_equal(stream_unsent(stream), CLOSE_OCTETS);
    stream_close(&pair->server);
}

static void draining_client(struct stream *stream, void *owner)
{
    struct pair *pair = owner;
    struct pn_str in = stream_peek(stream);

    if (pair->sent == 0) {
        stream_write(stream, PN_STR("something that is never read\r\n"));
        pair->sent = 1;
    }
    for (size_t i = 0; i < in.len; i++) {
        assert_int_equal(in.ptr[i], pattern(pair->received + i));
    }
    pair->received += in.len;
    stream_consume(stream, in.len);
    assert_int_not_equal(stream_get_state(stream), STREAM_FAILED);
    if (stream_get_state(stream) == STREAM_ENDED && stream_peek(stream).len == 0) {
        stream_close(&pair->client);
        net_loop_stop(pair->rig.loop);
    }
}

static void test_close_flushes_everything(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, flushing_server, draining_client);
    rig_run(&pair.rig);
    assert_int_equal(pair.received, CLOSE_OCTETS);
    pair_fini(&pair);
}

/* Says no and closes while the client is still sending. */
static void refusing_server(struct stream *stream, void *owner)
{
    struct pair *pair = owner;

    stream_write(stream, PN_STR("552 too big\r\n"));
    stream_close(&pair->server);
}

/* A plain socket, because libuv tells a reset behind the last octets as an end. */
static void on_plain_readable(void *owner, unsigned events)
{
    struct pair *pair = owner;
    char in[64];
    ssize_t got = recv(pair->plain, in, sizeof in, MSG_DONTWAIT);

    (void)events;
    assert_true(got >= 0); /* no reset */
    pair->received += (size_t)got;
    if (got == 0) {
        net_loop_stop(pair->rig.loop);
    }
}

static void test_close_is_no_reset_although_the_peer_still_sends(void **state)
{
    static const char piece[10000] = "x";
    struct net_watch *watch;
    struct pair pair;

    (void)state;
    pair_init(&pair, refusing_server, NULL);
    for (int i = 0; i < 100; i++) {
        (void)send(pair.plain, piece, sizeof piece, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    watch = net_watch_new(pair.rig.loop, pair.plain, NET_READABLE, on_plain_readable, &pair);
    rig_run(&pair.rig);
    assert_int_equal(pair.received, 13);
    net_watch_free(&watch);
    pair_fini(&pair);
}

static void test_loop_drops_what_is_left(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, nothing, nothing);
    rig_run(&pair.rig);
    stream_write(pair.client, PN_STR("never sent"));
    if (pair.server) {
        stream_write(pair.server, PN_STR("sent, or dropped"));
        stream_close(&pair.server);
    }
    rig_fini(&pair.rig); /* client, closing server and listener go with the loop */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_with_back_pressure),
        cmocka_unit_test(test_fin_leaves_the_input_and_lets_us_answer),
        cmocka_unit_test(test_output_leaves_in_one_piece_and_an_event_says_so),
        cmocka_unit_test(test_reset_is_a_failure),
        cmocka_unit_test(test_last_words_are_heard_although_writing_fails),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_from_a_foreign_source_fails_later),
        cmocka_unit_test(test_connect_from_a_source),
        cmocka_unit_test(test_connect_unix),
        cmocka_unit_test(test_connect_unix_refused),
        cmocka_unit_test(test_connect_unix_nowhere),
        cmocka_unit_test(test_connect_unix_long_path),
        cmocka_unit_test(test_abort_while_connecting),
        cmocka_unit_test(test_owner_closes_in_on_event),
        cmocka_unit_test(test_owner_aborts_in_on_event),
        cmocka_unit_test(test_close_flushes_everything),
        cmocka_unit_test(test_close_is_no_reset_although_the_peer_still_sends),
        cmocka_unit_test(test_loop_drops_what_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
