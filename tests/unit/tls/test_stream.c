/*
 * TLS sessions over pairs of streams in memory, whole and octet by octet.
 */
#include "helper_tls.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BULK_OCTETS ((size_t)1 << 20)

/* What one side does, and what it saw. */
struct side {
    struct stream *stream;
    size_t events;
    bool inside; /* a call on the stream is under way: no event may come */
    struct pn_buf got;
    size_t to_send; /* of the pattern */
    size_t sent;
    size_t consume_at_most; /* in one event; 0: everything */
    bool close_when_open;
    bool close_when_sent;
    bool abort_on_input;
};

struct talk {
    struct loop loop;
    struct certificates certificates;
    struct tls_context *server;
    struct tls_context *client;
    struct stream *plain_server; /* below TLS */
    struct stream *plain_client;
    struct side here; /* the server */
    struct side there;
};

static char pattern(size_t at)
{
    return (char)(at * 31 + at / 251);
}

static void side_send(struct side *side)
{
    char piece[5000];

    while (side->sent < side->to_send && stream_unsent(side->stream) < 100000) {
        size_t n = side->to_send - side->sent;

        n = n < sizeof piece ? n : sizeof piece;
        for (size_t i = 0; i < n; i++) {
            piece[i] = pattern(side->sent + i);
        }
        stream_write(side->stream, (struct pn_str){piece, n});
        side->sent += n;
    }
}

static void side_event(struct stream *stream, void *owner)
{
    struct side *side = owner;
    struct pn_str in;

    assert_false(side->inside);
    assert_ptr_equal(stream, side->stream);
    side->inside = true;
    side->events++;
    in = stream_peek(stream);
    assert_true(in.len <= STREAM_INPUT_MAX);
    if (side->consume_at_most) {
        in = pn_str_sub(in, 0, side->consume_at_most);
    }
    assert_int_equal(pn_buf_append(&side->got, in), 0);
    stream_consume(stream, in.len);
    if (stream_get_state(stream) == STREAM_OPEN) {
        side_send(side);
    }
    side->inside = false;
    if (side->abort_on_input && side->got.len > 0) {
        stream_abort(&side->stream);
    } else if (stream_get_state(stream) == STREAM_OPEN &&
               (side->close_when_open ||
                (side->close_when_sent && side->sent == side->to_send))) {
        stream_close(&side->stream);
    }
}

static void side_start(struct side *side, struct stream *stream)
{
    pn_buf_init(&side->got, (size_t)64 << 20);
    side->stream = stream;
    stream->on_event = side_event;
    stream->owner = side;
    assert_int_equal(stream_get_state(stream), STREAM_CONNECTING);
    assert_non_null(stream_get_tls(stream));
    assert_string_equal(stream_get_tls(stream)->version, "");
}

/* One certificate for mx.example.org; more may be made and a new server context set. */
static void talk_init(struct talk *talk)
{
    struct tls_certificate certificate;

    *talk = (struct talk){0};
    turn_init(&talk->loop);
    certificates_init(&talk->certificates);
    certificate =
        certificates_make(&talk->certificates, "mx.example.org", "DNS:mx.example.org");
    talk->server = tls_server_new(&certificate, 1, TLS_VERSION_1_2, NULL);
    assert_non_null(talk->server);
    assert_int_equal(setenv("SSL_CERT_FILE", certificate.chain_file, 1), 0);
    talk->client = tls_client_new(&(struct tls_client_options){0}, NULL);
    assert_non_null(talk->client);
}

static void talk_start(struct talk *talk, const char *server_name, size_t piece_octets)
{
    struct pipe_pair pair = pipe_pair_new(&talk->loop, piece_octets);

    talk->plain_server = pair.a;
    talk->plain_client = pair.b;
    side_start(&talk->here, tls_accept(talk->server, pair.a));
    side_start(&talk->there,
               tls_connect(talk->client, pair.b,
                           &(struct tls_rules){.server_name = server_name,
                                               .names = &server_name,
                                               .name_count = server_name[0] ? 1 : 0}));
}

/* Contexts may go before the sessions that use them. */
static void talk_fini(struct talk *talk)
{
    tls_context_unref(&talk->server);
    tls_context_unref(&talk->client);
    stream_abort(&talk->here.stream);
    stream_abort(&talk->there.stream);
    loop_run_deferred(&talk->loop);
    pn_buf_fini(&talk->here.got);
    pn_buf_fini(&talk->there.got);
    certificates_fini(&talk->certificates);
    pn_timers_fini(&talk->loop.timers);
}

static void assert_pattern(const struct pn_buf *got, size_t octets)
{
    struct pn_str s = pn_buf_str(got);

    assert_int_equal(s.len, octets);
    for (size_t i = 0; i < s.len; i++) {
        assert_int_equal(s.ptr[i], pattern(i));
    }
}

static void test_handshake_and_a_few_octets_in_every_cut(void **state)
{
    static const size_t pieces[] = {0, 1, 2, 5, 1000};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(pieces); i++) {
        struct talk talk;
        const struct stream_tls *tls;

        talk_init(&talk);
        talk.here.to_send = 10;
        talk.there.to_send = 20;
        talk_start(&talk, "mx.example.org", pieces[i]);
        loop_run_deferred(&talk.loop);
        assert_int_equal(stream_get_state(talk.here.stream), STREAM_OPEN);
        assert_int_equal(stream_get_state(talk.there.stream), STREAM_OPEN);
        assert_pattern(&talk.here.got, 20);
        assert_pattern(&talk.there.got, 10);
        assert_int_equal(stream_unsent(talk.here.stream), 0);
        tls = stream_get_tls(talk.there.stream);
        assert_string_equal(tls->version, "TLSv1.3");
        assert_string_equal(tls->cipher, "TLS_AES_256_GCM_SHA384");
        assert_string_equal(tls->server_name, "mx.example.org");
        assert_string_equal(tls->peer, "CN=mx.example.org");
        assert_string_equal(tls->peer_issuer, "CN=mx.example.org");
        assert_string_equal(tls->peer_names, "mx.example.org");
        assert_true(tls->peer_expires_s > 1600000000);
        assert_true(tls->verified);
        assert_string_equal(tls->verify_error, "");
        tls = stream_get_tls(talk.here.stream);
        assert_string_equal(tls->server_name, "mx.example.org");
        assert_string_equal(tls->peer, "");
        assert_false(tls->verified);
        talk_fini(&talk);
    }
}

static void test_bulk_with_back_pressure(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.here.to_send = BULK_OCTETS;
    talk.there.to_send = BULK_OCTETS;
    talk.there.close_when_sent = false;
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    assert_pattern(&talk.here.got, BULK_OCTETS);
    assert_pattern(&talk.there.got, BULK_OCTETS);
    assert_int_equal(stream_unsent(talk.here.stream), 0);
    talk_fini(&talk);
}

/* Who consumes slowly stops the sender, and is woken up while there is more. */
static void test_slow_reader_holds_the_sender_back(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.there.to_send = BULK_OCTETS;
    talk_start(&talk, "mx.example.org", 0);
    talk.here.stream->on_event = NULL;
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_peek(talk.here.stream).len, STREAM_INPUT_MAX);
    assert_true(talk.there.sent < BULK_OCTETS);
    talk.here.stream->on_event = side_event;
    talk.here.consume_at_most = 1000;
    while (talk.here.got.len < BULK_OCTETS) {
        size_t before = talk.here.got.len;

        side_event(talk.here.stream, &talk.here);
        loop_run_deferred(&talk.loop);
        assert_true(talk.here.got.len > before);
    }
    assert_pattern(&talk.here.got, BULK_OCTETS);
    talk_fini(&talk);
}

static void test_what_is_written_in_a_turn_is_one_record(void **state)
{
    struct talk talk;
    size_t before;

    (void)state;
    talk_init(&talk);
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    before = pipe_written(talk.plain_server);
    for (int i = 0; i < 50; i++) {
        stream_write(talk.here.stream, PN_STR("250 2.1.5 OK\r\n"));
    }
    assert_int_equal(stream_unsent(talk.here.stream), 50 * 14);
    loop_run_deferred(&talk.loop);
    assert_int_equal(talk.there.got.len, 50 * 14);
    assert_true(pipe_written(talk.plain_server) - before < 50 * 14 + 40);
    talk_fini(&talk);
}

static void test_close_is_an_end_and_flushes(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.there.to_send = 300000;
    talk.there.close_when_sent = true;
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    assert_null(talk.there.stream);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_ENDED);
    assert_pattern(&talk.here.got, 300000);
    stream_close(&talk.here.stream);
    talk_fini(&talk);
}

static void test_an_end_without_close_notify_is_a_failure(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.there.to_send = 30;
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    pipe_break(talk.plain_server, STREAM_ENDED);
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_FAILED);
    assert_string_equal(stream_error(talk.here.stream),
                        "the connection ended without TLS close_notify");
    assert_int_equal(stream_peek(talk.here.stream).len, 0);
    stream_write(talk.here.stream, PN_STR("into the void"));
    assert_int_equal(stream_unsent(talk.here.stream), 0);
    talk_fini(&talk);
}

static void test_failure_below_is_passed_on(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    pipe_break(talk.plain_server, STREAM_FAILED);
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_FAILED);
    assert_string_equal(stream_error(talk.here.stream), "cut off");
    talk_fini(&talk);
}

/* FAULTS 2.5: after TLS has ended, nothing that comes in plain is ever seen. */
static void test_plaintext_after_close_notify_is_not_input(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.there.close_when_open = true;
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_ENDED);
    pipe_inject(talk.plain_server, PN_STR("MAIL FROM:<a@example.org>\r\n"));
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_ENDED);
    assert_int_equal(talk.here.got.len, 0);
    talk_fini(&talk);
}

static void test_plaintext_inside_tls_is_a_failure(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    pipe_inject(talk.plain_server, PN_STR("MAIL FROM:<a@example.org>\r\n"));
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.here.stream), STREAM_FAILED);
    assert_string_equal(stream_error(talk.here.stream), "TLS: wrong version number");
    assert_int_equal(talk.here.got.len, 0);
    talk_fini(&talk);
}

static void test_handshakes_that_fail(void **state)
{
    static const struct {
        const char *name;
        struct pn_str input;
        enum stream_state then;
        const char *error;
    } rows[] = {
        {"a command",
         {"EHLO client.example\r\n", 21},
         STREAM_OPEN,
         "TLS handshake: wrong version number"},
        {"a browser",
         {"GET / HTTP/1.1\r\n\r\n", 18},
         STREAM_OPEN,
         "TLS handshake: http request"},
        {"NULs",
         {"\0\0\0\0\0\0\0\0\0\0\0\0", 12},
         STREAM_OPEN,
         "TLS handshake: wrong version number"},
        {"a huge record",
         {"\x16\x03\x01\xff\xff\x01\x00\xff\xfb\x03\x03", 11},
         STREAM_OPEN,
         "TLS handshake: packet length too long"},
        {"an alert",
         {"\x15\x03\x03\x00\x02\x02\x28", 7},
         STREAM_OPEN,
         "TLS handshake: unexpected message"},
        {"half a record",
         {"\x16\x03\x01\x02\x00\x01", 6},
         STREAM_ENDED,
         "TLS handshake: the connection ended without TLS close_notify"},
        {"nothing",
         {"", 0},
         STREAM_ENDED,
         "TLS handshake: the connection ended without TLS close_notify"},
        {"a reset", {"", 0}, STREAM_FAILED, "TLS handshake: cut off"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        for (size_t piece = 0; piece < 2; piece++) {
            struct talk talk;
            struct pipe_pair pair;

            talk_init(&talk);
            pair = pipe_pair_new(&talk.loop, piece);
            side_start(&talk.here, tls_accept(talk.server, pair.a));
            stream_write(pair.b, rows[i].input);
            loop_run_deferred(&talk.loop);
            if (rows[i].then != STREAM_OPEN) {
                pipe_break(pair.a, rows[i].then);
                loop_run_deferred(&talk.loop);
            }
            assert_int_equal(stream_get_state(talk.here.stream), STREAM_FAILED);
            assert_string_equal(stream_error(talk.here.stream), rows[i].error);
            assert_int_equal(talk.here.events, 1);
            stream_close(&talk.here.stream);
            stream_abort(&pair.b);
            loop_run_deferred(&talk.loop);
            talk_fini(&talk);
        }
    }
}

static void test_client_that_meets_garbage(void **state)
{
    struct talk talk;
    struct pipe_pair pair;

    (void)state;
    talk_init(&talk);
    pair = pipe_pair_new(&talk.loop, 0);
    side_start(&talk.there, tls_connect(talk.client, pair.b,
                                        &(struct tls_rules){.server_name = "mx.example.org"}));
    stream_write(pair.a, PN_STR("454 4.7.0 no TLS today\r\n"));
    loop_run_deferred(&talk.loop);
    assert_int_equal(stream_get_state(talk.there.stream), STREAM_FAILED);
    assert_string_equal(stream_error(talk.there.stream), "TLS handshake: wrong version number");
    stream_abort(&pair.a);
    talk_fini(&talk);
}

static void test_certificate_is_chosen_by_name(void **state)
{
    static const struct {
        const char *asked;
        const char *peer;
        bool acknowledged;
    } rows[] = {
        {"mx.example.org", "CN=mx.example.org", true},
        {"MX.Example.ORG", "CN=mx.example.org", true},
        {"mail.example.net", "CN=second", true},
        {"a.wild.example", "CN=third", true},
        {"b.a.wild.example", "CN=mx.example.org", true},
        {"wild.example", "CN=mx.example.org", true},
        {"unknown.example", "CN=mx.example.org", true},
        {"192.0.2.1", "CN=mx.example.org", false},
        {"", "CN=mx.example.org", false},
        {"odd name\\", "CN=mx.example.org", false},
    };
    struct talk talk;
    struct tls_certificate certificates[3];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        talk_init(&talk);
        certificates[0] =
            (struct tls_certificate){talk.certificates.chain[0], talk.certificates.key[0]};
        certificates[1] = certificates_make(&talk.certificates, "second",
                                            "DNS:mail.example.net,DNS:other.example.net");
        certificates[2] = certificates_make(&talk.certificates, "third", "DNS:*.wild.example");
        tls_context_unref(&talk.server);
        talk.server = tls_server_new(certificates, 3, TLS_VERSION_1_2, NULL);
        assert_non_null(talk.server);
        talk_start(&talk, rows[i].asked, 0);
        loop_run_deferred(&talk.loop);
        assert_int_equal(stream_get_state(talk.there.stream), STREAM_OPEN);
        assert_string_equal(stream_get_tls(talk.there.stream)->peer, rows[i].peer);
        assert_string_equal(stream_get_tls(talk.here.stream)->server_name,
                            rows[i].acknowledged ? rows[i].asked : "");
        talk_fini(&talk);
    }
}

static void test_what_is_verified(void **state)
{
    static const struct {
        const char *asked;
        const char *names;
        bool trusted;
        const char *error; /* NULL: verified */
    } rows[] = {
        {"mx.example.org", "DNS:mx.example.org", true, NULL},
        {"192.0.2.1", "IP:192.0.2.1", true, NULL},
        {"mx.example.net", "DNS:mx.example.org", true, "hostname mismatch"},
        {"192.0.2.2", "IP:192.0.2.1", true, "IP address mismatch"},
        {"", "DNS:mx.example.org", true, "there is no name to compare with"},
        {"mx.example.org", "DNS:mx.example.org", false, "self-signed certificate"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct talk talk;
        struct tls_certificate certificate;
        const struct stream_tls *tls;

        talk_init(&talk);
        tls_context_unref(&talk.server);
        tls_context_unref(&talk.client);
        certificate = certificates_make(&talk.certificates, "subject", rows[i].names);
        talk.server = tls_server_new(&certificate, 1, TLS_VERSION_1_3, NULL);
        assert_non_null(talk.server);
        assert_int_equal(
            setenv("SSL_CERT_FILE",
                   rows[i].trusted ? certificate.chain_file : talk.certificates.chain[0], 1),
            0);
        talk.client = tls_client_new(&(struct tls_client_options){0}, NULL);
        talk_start(&talk, rows[i].asked, 0);
        loop_run_deferred(&talk.loop);
        assert_int_equal(stream_get_state(talk.there.stream), STREAM_OPEN);
        tls = stream_get_tls(talk.there.stream);
        assert_int_equal(tls->verified, rows[i].error == NULL);
        assert_string_equal(tls->verify_error, rows[i].error ? rows[i].error : "");
        talk_fini(&talk);
    }
}

static void test_odd_names_in_a_certificate_are_left_out(void **state)
{
    struct talk talk;
    struct tls_certificate certificate;

    (void)state;
    talk_init(&talk);
    tls_context_unref(&talk.server);
    certificate = certificates_make(&talk.certificates, "two\nlines \xe2\x80\xae",
                                    "DNS:good.example,DNS:with blank.example,"
                                    "DNS:*.wild.example,IP:192.0.2.1,email:a@b.example");
    talk.server = tls_server_new(&certificate, 1, TLS_VERSION_1_2, NULL);
    talk_start(&talk, "good.example", 0);
    loop_run_deferred(&talk.loop);
    assert_string_equal(stream_get_tls(talk.there.stream)->peer_names,
                        "good.example *.wild.example");
    assert_string_equal(stream_get_tls(talk.there.stream)->peer,
                        "CN=two\\0Alines \\E2\\80\\AE");
    talk_fini(&talk);
}

static void test_owner_aborts_in_on_event(void **state)
{
    struct talk talk;

    (void)state;
    talk_init(&talk);
    talk.here.abort_on_input = true;
    talk.here.to_send = 100;
    talk.there.to_send = 100;
    talk_start(&talk, "mx.example.org", 0);
    loop_run_deferred(&talk.loop);
    assert_null(talk.here.stream);
    assert_int_equal(stream_get_state(talk.there.stream), STREAM_FAILED);
    talk_fini(&talk);
}

static void test_sessions_given_up_at_any_moment(void **state)
{
    (void)state;
    for (size_t turns = 0; turns < 40; turns++) {
        struct talk talk;

        talk_init(&talk);
        talk.here.to_send = 100;
        talk.there.to_send = 100;
        talk_start(&talk, "mx.example.org", 300);
        for (size_t i = 0; i < turns && talk.loop.deferred; i++) {
            struct loop_task *task = talk.loop.deferred;

            talk.loop.deferred = task->next;
            if (!talk.loop.deferred) {
                talk.loop.deferred_end = &talk.loop.deferred;
            }
            task->on_run(task);
        }
        if (turns % 2) {
            stream_close(&talk.here.stream);
        } else {
            stream_abort(&talk.here.stream);
        }
        loop_run_deferred(&talk.loop);
        talk_fini(&talk);
    }
}

static void test_server_files_that_cannot_be_used(void **state)
{
    struct certificates certificates;
    struct tls_certificate first;
    struct tls_certificate second;
    char garbage[96];
    struct {
        const char *name;
        struct tls_certificate certificate;
        const char *error; /* what stands behind the names of the files */
    } rows[5];

    (void)state;
    certificates_init(&certificates);
    first = certificates_make(&certificates, "one", "DNS:one.example");
    second = certificates_make(&certificates, "two", "DNS:two.example");
    assert_true(snprintf(garbage, sizeof garbage, "%s/garbage", certificates.directory) > 0);
    file_write(garbage, "-----BEGIN CERTIFICATE-----\nMIIB!!!\n");
    rows[0].certificate = (struct tls_certificate){"/nonexistent.crt", first.key_file};
    rows[0].error = "cannot use the certificate in /nonexistent.crt: No such file or directory";
    rows[1].certificate = (struct tls_certificate){first.chain_file, "/nonexistent.key"};
    rows[1].error = "cannot use the key in /nonexistent.key with the certificate in ";
    rows[2].certificate = (struct tls_certificate){garbage, first.key_file};
    rows[2].error = "/garbage: ";
    rows[3].certificate = (struct tls_certificate){first.chain_file, second.key_file};
    rows[3].error = ": key values mismatch";
    rows[4].certificate = (struct tls_certificate){first.key_file, first.key_file};
    rows[4].error = ": no start line";
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct tls_certificate both[2] = {first, rows[i].certificate};
        struct pn_err err = {0};

        assert_null(tls_server_new(&rows[i].certificate, 1, TLS_VERSION_1_2, &err));
        assert_int_equal(err.code, PN_EINVAL);
        assert_non_null(strstr(err.text, rows[i].error));
        assert_non_null(strstr(err.text, rows[i].certificate.chain_file));
        assert_null(tls_server_new(both, 2, TLS_VERSION_1_2, &err));
        assert_non_null(strstr(err.text, rows[i].error));
    }
    assert_null(tls_server_new(NULL, 0, TLS_VERSION_1_2, NULL));
    unlink(garbage);
    certificates_fini(&certificates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_a_few_octets_in_every_cut),
        cmocka_unit_test(test_bulk_with_back_pressure),
        cmocka_unit_test(test_slow_reader_holds_the_sender_back),
        cmocka_unit_test(test_what_is_written_in_a_turn_is_one_record),
        cmocka_unit_test(test_close_is_an_end_and_flushes),
        cmocka_unit_test(test_an_end_without_close_notify_is_a_failure),
        cmocka_unit_test(test_failure_below_is_passed_on),
        cmocka_unit_test(test_plaintext_after_close_notify_is_not_input),
        cmocka_unit_test(test_plaintext_inside_tls_is_a_failure),
        cmocka_unit_test(test_handshakes_that_fail),
        cmocka_unit_test(test_client_that_meets_garbage),
        cmocka_unit_test(test_certificate_is_chosen_by_name),
        cmocka_unit_test(test_what_is_verified),
        cmocka_unit_test(test_odd_names_in_a_certificate_are_left_out),
        cmocka_unit_test(test_owner_aborts_in_on_event),
        cmocka_unit_test(test_sessions_given_up_at_any_moment),
        cmocka_unit_test(test_server_files_that_cannot_be_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
