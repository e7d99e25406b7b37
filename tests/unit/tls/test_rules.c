/*
 * What a server has to prove: names, fingerprints, TLSA records; and what is resumed.
 */
#include "helper_tls.h"

#include "postern/base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The certificates of every test, by number. */
enum {
    ROOT = 1,  /* what clients trust */
    STRANGER,  /* an authority that nobody trusts */
    GOOD,      /* for mail.example.org, of ROOT */
    EXPIRED,   /* the same, of yesterday */
    WILD,      /* for *.example.org */
    UNTRUSTED, /* for mail.example.org, of STRANGER; it sends STRANGER too */
    SELF,      /* for mail.example.org, signed by itself */
    NUL,       /* for "mail.example.org\0.evil.example" */
    ADDRESS,   /* for 192.0.2.1 and 2001:db8::1 */
    COMMON,    /* mail.example.org is its common name, and no more */
    OLD,       /* of ROOT, expired, for another name */
    COUNT = OLD
};

struct room {
    struct loop loop;
    struct certificates certificates;
    struct tls_certificate files[COUNT + 1];
    struct tls_clients *clients;
};

/* One end of a connection; events need no answer here. */
static void on_event(struct stream *stream, void *owner)
{
    (void)stream;
    (void)owner;
}

static int room_open(void **state)
{
    static const struct certificate_plan plans[] = {
        [ROOT] = {"Root", NULL, 0, true, false, false},
        [STRANGER] = {"Stranger", NULL, 0, true, false, false},
        [GOOD] = {"good", "DNS:mail.example.org", ROOT, false, false, false},
        [EXPIRED] = {"expired", "DNS:mail.example.org", ROOT, false, true, false},
        [WILD] = {"wild", "DNS:*.example.org", ROOT, false, false, false},
        [UNTRUSTED] = {"untrusted", "DNS:mail.example.org", STRANGER, false, false, true},
        [SELF] = {"self", "DNS:mail.example.org", 0, false, false, false},
        [NUL] = {"nul",
                 "DER:30:20:82:1e:6d:61:69:6c:2e:65:78:61:6d:70:6c:65:2e:6f:72:67:"
                 "00:2e:65:76:69:6c:2e:65:78:61:6d:70:6c:65",
                 ROOT, false, false, false},
        [ADDRESS] = {"address", "IP:192.0.2.1,IP:2001:db8::1", ROOT, false, false, false},
        [COMMON] = {"mail.example.org", NULL, ROOT, false, false, false},
        [OLD] = {"old", "DNS:other.example", ROOT, false, true, false},
    };
    struct room *room = PN_NEW(struct room);

    turn_init(&room->loop);
    certificates_init(&room->certificates);
    for (size_t i = 1; i < PN_COUNT(plans); i++) {
        room->files[i] = certificates_plan(&room->certificates, &plans[i]);
    }
    room->clients = tls_clients_new();
    *state = room;
    return 0;
}

static int room_close(void **state)
{
    struct room *room = *state;

    tls_clients_free(&room->clients);
    certificates_fini(&room->certificates);
    pn_timers_fini(&room->loop.timers);
    free(room);
    return 0;
}

/* What came of a handshake. */
struct outcome {
    enum stream_state state;
    char error[512];
    bool verified, resumed;
    enum stream_fault fault;
    char proof[600];
    char verify_error[128];
    enum stream_state server;
};

static struct tls_context *server_of(const struct room *room, int number,
                                     enum tls_version least)
{
    struct tls_context *server = tls_server_new(&room->files[number], 1, least, NULL);

    assert_non_null(server);
    return server;
}

static struct outcome shake_with(struct room *room, struct tls_context *server,
                                 struct tls_context *client, const struct tls_rules *rules)
{
    struct pipe_pair pair = pipe_pair_new(&room->loop, 0);
    struct stream *here = tls_accept(server, pair.a);
    struct stream *there = tls_connect(client, pair.b, rules);
    const struct stream_tls *tls = stream_get_tls(there);
    struct outcome out = {0};

    here->on_event = there->on_event = on_event;
    loop_run_deferred(&room->loop);
    out.state = stream_get_state(there);
    out.server = stream_get_state(here);
    snprintf(out.error, sizeof out.error, "%s", stream_error(there));
    snprintf(out.proof, sizeof out.proof, "%s", tls->proof);
    snprintf(out.verify_error, sizeof out.verify_error, "%s", tls->verify_error);
    out.verified = tls->verified;
    out.resumed = tls->resumed;
    out.fault = tls->fault;
    stream_close(&here);
    stream_close(&there);
    loop_run_deferred(&room->loop);
    return out;
}

static struct tls_context *client_of(struct room *room)
{
    struct tls_client_options options = {.ca_file = room->files[ROOT].chain_file};
    struct tls_context *client = tls_clients_get(room->clients, &options, NULL);

    assert_non_null(client);
    return client;
}

static struct outcome shake(struct room *room, int number, const struct tls_rules *rules)
{
    struct tls_context *server = server_of(room, number, TLS_VERSION_1_2);
    struct tls_context *client = client_of(room);
    struct outcome out = shake_with(room, server, client, rules);

    tls_context_unref(&server);
    tls_context_unref(&client);
    return out;
}

static void assert_outcome(const char *name, const struct outcome *out, bool passes,
                           enum stream_fault fault, const char *text)
{
    if (out->state != (passes ? STREAM_OPEN : STREAM_FAILED) || out->fault != fault ||
        !strstr(passes ? out->proof : out->error, text)) {
        fail_msg("%s: state %d, fault %d, \"%s\", proof \"%s\"", name, (int)out->state,
                 (int)out->fault, out->error, out->proof);
    }
    assert_int_equal(out->verified, passes);
    if (!passes) {
        /* The server is told by an alert, whatever it has thought so far. */
        assert_int_equal(out->server, STREAM_FAILED);
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *name;
        int certificate;
        const char *names[3];
        bool passes;
        enum stream_fault fault;
        const char *text; /* of the proof, or of the error */
    } rows[] = {
        {"the name",
         GOOD,
         {"mail.example.org"},
         true,
         STREAM_FAULT_NONE,
         "name mail.example.org, issuer CN=Root"},
        {"upper case", GOOD, {"MAIL.Example.ORG"}, true, STREAM_FAULT_NONE, "name MAIL"},
        {"the second of two",
         GOOD,
         {"mx.example.net", "mail.example.org"},
         true,
         STREAM_FAULT_NONE,
         "name mail.example.org"},
        {"another name",
         GOOD,
         {"mail.example.net"},
         false,
         STREAM_FAULT_NAME,
         "the certificate is for mail.example.org, not for mail.example.net"},
        {"two other names",
         GOOD,
         {"a.example", "b.example"},
         false,
         STREAM_FAULT_NAME,
         "not for a.example or b.example"},
        {"no name", GOOD, {NULL}, false, STREAM_FAULT_NAME, "not for a name that is known"},
        {"a pattern", GOOD, {"*.example.org"}, true, STREAM_FAULT_NONE, "name *.example.org"},
        {"a pattern of another domain",
         GOOD,
         {"*.example.net"},
         false,
         STREAM_FAULT_NAME,
         "not for *.example.net"},
        {"a pattern is for one label", GOOD, {"*.org"}, false, STREAM_FAULT_NAME, "*.org"},
        {"a pattern and a wild card", WILD, {"*.example.org"}, true, STREAM_FAULT_NONE, "*"},
        {"a wild card", WILD, {"mx.example.org"}, true, STREAM_FAULT_NONE, "mx.example.org"},
        {"a wild card is for one label",
         WILD,
         {"a.b.example.org"},
         false,
         STREAM_FAULT_NAME,
         "for *.example.org, not for a.b.example.org"},
        {"a wild card is not for the domain",
         WILD,
         {"example.org"},
         false,
         STREAM_FAULT_NAME,
         "not for example.org"},
        {"NUL in a name",
         NUL,
         {"mail.example.org"},
         false,
         STREAM_FAULT_NAME,
         "the certificate is for no name"},
        {"an IPv4 address", ADDRESS, {"192.0.2.1"}, true, STREAM_FAULT_NONE, "192.0.2.1"},
        {"an IPv6 address", ADDRESS, {"2001:db8:0::1"}, true, STREAM_FAULT_NONE, "2001"},
        {"another address", ADDRESS, {"192.0.2.2"}, false, STREAM_FAULT_NAME, "192.0.2.2"},
        {"an address beside a name",
         ADDRESS,
         {"mx.example.org", "192.0.2.1"},
         true,
         STREAM_FAULT_NONE,
         "192.0.2.1"},
        {"an address is no name", GOOD, {"192.0.2.1"}, false, STREAM_FAULT_NAME, "192.0.2.1"},
        {"the common name is no name",
         COMMON,
         {"mail.example.org"},
         false,
         STREAM_FAULT_NAME,
         "the certificate is for no name"},
        {"not a name", GOOD, {"mail example org"}, false, STREAM_FAULT_NAME, "mail example"},
        {"a dot in front is no pattern",
         GOOD,
         {".example.org"},
         false,
         STREAM_FAULT_NAME,
         ".example.org"},
        {"expired",
         EXPIRED,
         {"mail.example.org"},
         false,
         STREAM_FAULT_EXPIRED,
         "certificate has expired"},
        {"a stranger's",
         UNTRUSTED,
         {"mail.example.org"},
         false,
         STREAM_FAULT_TRUST,
         "the certificate cannot be trusted: self-signed certificate in certificate chain"},
        {"self-signed",
         SELF,
         {"mail.example.org"},
         false,
         STREAM_FAULT_TRUST,
         "the certificate cannot be trusted: self-signed certificate"},
    };

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        size_t count = 0;
        struct outcome out;

        while (rows[i].names[count]) {
            count++;
        }
        out = shake(*state, rows[i].certificate,
                    &(struct tls_rules){.server_name = "mail.example.org",
                                        .check = TLS_CHECK_NAME,
                                        .names = rows[i].names,
                                        .name_count = count});
        assert_outcome(rows[i].name, &out, rows[i].passes, rows[i].fault, rows[i].text);
        out = shake(*state, rows[i].certificate,
                    &(struct tls_rules){.server_name = "mail.example.org",
                                        .names = rows[i].names,
                                        .name_count = count});
        assert_int_equal(out.state, STREAM_OPEN);
        assert_int_equal(out.verified, rows[i].passes);
        assert_int_equal(out.fault, rows[i].fault);
    }
}

static void test_fingerprints(void **state)
{
    struct room *room = *state;
    static const struct {
        const char *name;
        int certificate, of, selector;
        bool passes;
        const char *text;
    } rows[] = {
        {"the certificate's", GOOD, GOOD, 0, true, "of the certificate"},
        {"the key's", GOOD, GOOD, 1, true, "of the key"},
        {"self-signed", SELF, SELF, 0, true, "fingerprint "},
        {"expired, for another name", OLD, OLD, 1, true, "of the key"},
        {"another's", GOOD, SELF, 0, false, "the certificate has none of the fingerprints"},
        {"another key's", GOOD, SELF, 1, false, "that of its key "},
        {"the authority's", GOOD, ROOT, 0, false, "its own is "},
    };

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        uint8_t fingerprints[2][TLS_FINGERPRINT_OCTETS] = {{0}};
        struct outcome out;

        certificates_digest(&room->certificates, rows[i].of, rows[i].selector, fingerprints[1]);
        out = shake(room, rows[i].certificate,
                    &(struct tls_rules){.server_name = "mail.example.org",
                                        .check = TLS_CHECK_FINGERPRINT,
                                        .fingerprints = (const uint8_t(*)[32])fingerprints,
                                        .fingerprint_count = 2});
        assert_outcome(rows[i].name, &out, rows[i].passes,
                       rows[i].passes ? STREAM_FAULT_NONE : STREAM_FAULT_NO_MATCH,
                       rows[i].text);
    }
}

static struct tls_tlsa record_of(const struct room *room, int of, uint8_t usage,
                                 uint8_t selector, uint8_t digest[32])
{
    certificates_digest(&room->certificates, of, selector, digest);
    return (struct tls_tlsa){usage, selector, 1, digest, 32};
}

static void test_dane(void **state)
{
    struct room *room = *state;
    static const struct {
        const char *name;
        int certificate, of;
        uint8_t usage, selector;
        const char *host;
        bool passes;
        enum stream_fault fault;
        const char *text;
    } rows[] = {
        {"3 1 1", GOOD, GOOD, 3, 1, "mail.example.org", true, STREAM_FAULT_NONE, "TLSA 3 1 1"},
        {"3 0 1", GOOD, GOOD, 3, 0, "mail.example.org", true, STREAM_FAULT_NONE, "TLSA 3 0 1"},
        {"usage 3: self-signed", SELF, SELF, 3, 1, "mail.example.org", true, STREAM_FAULT_NONE,
         "TLSA 3 1 1"},
        {"usage 3: neither name nor date count", OLD, OLD, 3, 1, "mail.example.org", true,
         STREAM_FAULT_NONE, "TLSA 3 1 1"},
        {"usage 3: of another", GOOD, SELF, 3, 1, "mail.example.org", false,
         STREAM_FAULT_NO_MATCH, "none of 1 usable TLSA records matches the certificate"},
        {"usage 3: of the authority", GOOD, ROOT, 3, 1, "mail.example.org", false,
         STREAM_FAULT_NO_MATCH, "none of 1 usable TLSA records"},
        {"usage 2", UNTRUSTED, STRANGER, 2, 0, "mail.example.org", true, STREAM_FAULT_NONE,
         "TLSA 2 0 1"},
        {"usage 2: the name counts", UNTRUSTED, STRANGER, 2, 1, "mail.example.net", false,
         STREAM_FAULT_NAME, "for mail.example.org, not for mail.example.net"},
        {"usage 2: of another", UNTRUSTED, ROOT, 2, 1, "mail.example.org", false,
         STREAM_FAULT_NO_MATCH, "none of 1 usable"},
        {"usage 2: it must be sent", GOOD, ROOT, 2, 1, "mail.example.org", false,
         STREAM_FAULT_NO_MATCH, "none of 1 usable"},
    };

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        uint8_t digest[32];
        struct tls_tlsa record =
            record_of(room, rows[i].of, rows[i].usage, rows[i].selector, digest);
        struct outcome out = shake(room, rows[i].certificate,
                                   &(struct tls_rules){.server_name = rows[i].host,
                                                       .check = TLS_CHECK_DANE,
                                                       .names = &rows[i].host,
                                                       .name_count = 1,
                                                       .tlsa = &record,
                                                       .tlsa_count = 1});

        assert_outcome(rows[i].name, &out, rows[i].passes, rows[i].fault, rows[i].text);
    }
}

/* Records that cannot be used are as if they were not there; if none can, nothing is proven,
 * and the line is encrypted (RFC 7672 2.2). */
static void test_records_that_cannot_be_used(void **state)
{
    struct room *room = *state;
    const char *name = "mail.example.org";
    uint8_t digest[32];
    struct tls_tlsa good = record_of(room, GOOD, 3, 1, digest);
    const struct tls_tlsa bad[] = {
        {0, 1, 1, digest, 32}, {1, 1, 1, digest, 32},   {3, 1, 1, digest, 31},
        {3, 1, 1, digest, 0},  {3, 7, 1, digest, 32},   {3, 1, 9, digest, 32},
        {3, 0, 0, digest, 32}, {3, 1, 0, digest, 32},   {4, 1, 1, digest, 32},
        {3, 1, 2, digest, 32}, {255, 1, 1, digest, 32},
    };
    struct tls_rules rules = {
        .server_name = name, .check = TLS_CHECK_DANE, .names = &name, .name_count = 1};
    struct outcome out;

    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        struct tls_tlsa both[] = {bad[i], good};

        rules.tlsa = both;
        rules.tlsa_count = 2;
        out = shake(room, GOOD, &rules);
        assert_outcome("a good one beside it", &out, true, STREAM_FAULT_NONE, "TLSA 3 1 1");
        out = shake(room, SELF, &rules);
        assert_outcome("a wrong one beside it", &out, false, STREAM_FAULT_NO_MATCH,
                       "none of 1 usable");
        rules.tlsa_count = 1;
        out = shake(room, GOOD, &rules);
        assert_int_equal(out.state, STREAM_OPEN);
        assert_false(out.verified);
        assert_string_equal(out.proof, "none");
        assert_string_equal(out.verify_error, "none of the TLSA records can be used");
    }
}

static void test_usage_2_without_names_cannot_be_used(void **state)
{
    struct room *room = *state;
    uint8_t digest[32];
    struct tls_tlsa record = record_of(room, STRANGER, 2, 1, digest);
    const char *name = "192.0.2.1";
    struct outcome out = shake(room, UNTRUSTED,
                               &(struct tls_rules){.server_name = name,
                                                   .check = TLS_CHECK_DANE,
                                                   .names = &name,
                                                   .name_count = 1,
                                                   .tlsa = &record,
                                                   .tlsa_count = 1});

    assert_int_equal(out.state, STREAM_OPEN);
    assert_false(out.verified);
}

/* ---- sessions that go on ---- */

static void test_resumption(void **state)
{
    struct room *room = *state;
    static const enum tls_version versions[] = {TLS_VERSION_1_2, TLS_VERSION_1_3};

    for (size_t i = 0; i < PN_COUNT(versions); i++) {
        const char *name = "mail.example.org";
        uint8_t digest[32];
        struct tls_tlsa record = record_of(room, GOOD, 3, 1, digest);
        struct tls_rules rules = {.server_name = name,
                                  .check = TLS_CHECK_DANE,
                                  .names = &name,
                                  .name_count = 1,
                                  .tlsa = &record,
                                  .tlsa_count = 1,
                                  .resume_key = "one"};
        struct tls_context *server = server_of(room, GOOD, versions[i]);
        struct tls_context *client = client_of(room);
        struct outcome out = shake_with(room, server, client, &rules);

        assert_false(out.resumed);
        for (size_t again = 0; again < 3; again++) {
            out = shake_with(room, server, client, &rules);
            assert_true(out.resumed);
            assert_outcome("resumed", &out, true, STREAM_FAULT_NONE, "TLSA 3 1 1");
        }
        rules.resume_key = "two";
        out = shake_with(room, server, client, &rules);
        assert_false(out.resumed);
        rules.resume_key = NULL;
        out = shake_with(room, server, client, &rules);
        assert_false(out.resumed);
        rules.resume_key = "one";
        room->loop.wall.ms = PN_HOURS(1) - 1;
        out = shake_with(room, server, client, &rules);
        assert_true(out.resumed);
        room->loop.wall.ms = PN_HOURS(3);
        out = shake_with(room, server, client, &rules);
        assert_false(out.resumed);
        room->loop.wall.ms = 0;
        tls_context_unref(&server);
        tls_context_unref(&client);
        tls_clients_forget(room->clients);
    }
}

/* Proof by a certificate ends with it; that by a record of usage 3 does not. */
static void test_proof_does_not_outlive_the_certificate(void **state)
{
    struct room *room = *state;
    const char *name = "mail.example.org";
    struct tls_rules rules = {.server_name = name,
                              .check = TLS_CHECK_NAME,
                              .names = &name,
                              .name_count = 1,
                              .resume_key = "name"};
    struct tls_context *server = server_of(room, GOOD, TLS_VERSION_1_3);
    struct tls_context *client = client_of(room);
    struct outcome out;

    room->loop.wall.ms = (int64_t)4102444800 * 1000; /* in 2100, as far as we know */
    (void)shake_with(room, server, client, &rules);
    out = shake_with(room, server, client, &rules);
    assert_false(out.resumed);
    assert_true(out.verified);
    room->loop.wall.ms = 0;
    (void)shake_with(room, server, client, &rules);
    out = shake_with(room, server, client, &rules);
    assert_true(out.resumed);
    assert_true(out.verified);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* A server that has forgotten the session is checked anew, and another one's is not let in. */
static void test_a_new_server_is_checked_anew(void **state)
{
    struct room *room = *state;
    const char *name = "mail.example.org";
    struct tls_rules rules = {.server_name = name,
                              .check = TLS_CHECK_NAME,
                              .names = &name,
                              .name_count = 1,
                              .resume_key = "server"};
    struct tls_context *server = server_of(room, GOOD, TLS_VERSION_1_3);
    struct tls_context *other = server_of(room, SELF, TLS_VERSION_1_3);
    struct tls_context *client = client_of(room);
    struct outcome out = shake_with(room, server, client, &rules);

    assert_true(out.verified);
    out = shake_with(room, other, client, &rules);
    assert_outcome("another server", &out, false, STREAM_FAULT_TRUST, "self-signed");
    out = shake_with(room, server, client, &rules);
    assert_false(out.resumed); /* the failure has made us forget it */
    assert_true(out.verified);
    tls_context_unref(&server);
    tls_context_unref(&other);
    tls_context_unref(&client);
}

/* ---- threads ---- */

enum { THREADS = 4, SHAKES = 50 };

struct thread {
    pthread_t id;
    struct room room; /* a loop of its own; files and contexts are shared */
    struct tls_context *server;
    unsigned proven, resumed;
};

static void *shake_often(void *arg)
{
    struct thread *thread = arg;
    const char *name = "mail.example.org";
    struct tls_rules rules = {.server_name = name,
                              .check = TLS_CHECK_NAME,
                              .names = &name,
                              .name_count = 1,
                              .resume_key = "shared"};

    for (int i = 0; i < SHAKES; i++) {
        struct tls_context *client = client_of(&thread->room);
        struct outcome out = shake_with(&thread->room, thread->server, client, &rules);

        thread->proven += out.verified;
        thread->resumed += out.resumed;
        tls_context_unref(&client);
        if (i % 10 == 9) {
            tls_clients_forget(thread->room.clients);
        }
    }
    return NULL;
}

static void test_loops_share_contexts_and_sessions(void **state)
{
    struct room *room = *state;
    struct tls_context *server = server_of(room, GOOD, TLS_VERSION_1_2);
    struct thread threads[THREADS];
    unsigned resumed = 0;

    for (size_t i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.room = *room, .server = server};
        turn_init(&threads[i].room.loop);
        assert_int_equal(pthread_create(&threads[i].id, NULL, shake_often, &threads[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
        assert_int_equal(threads[i].proven, SHAKES);
        resumed += threads[i].resumed;
        pn_timers_fini(&threads[i].room.loop.timers);
    }
    assert_true(resumed > 0);
    tls_context_unref(&server);
}

static void test_many_keys(void **state)
{
    struct room *room = *state;
    struct tls_rules rules = {.server_name = "mail.example.org"};
    struct tls_context *server = server_of(room, GOOD, TLS_VERSION_1_3);
    struct tls_context *client = client_of(room);
    struct outcome out;
    char key[32];

    rules.resume_key = key;
    for (int i = 0; i <= 1000; i++) {
        snprintf(key, sizeof key, "%d", i);
        (void)shake_with(room, server, client, &rules);
    }
    out = shake_with(room, server, client, &rules);
    assert_true(out.resumed);
    snprintf(key, sizeof key, "1");
    out = shake_with(room, server, client, &rules);
    assert_true(out.resumed);
    snprintf(key, sizeof key, "0");
    out = shake_with(room, server, client, &rules);
    assert_false(out.resumed); /* it was the oldest */
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* ---- what contexts are made of ---- */

static void test_contexts_are_shared_and_forgotten(void **state)
{
    struct room *room = *state;
    struct tls_client_options options = {.ca_file = room->files[ROOT].chain_file};
    struct tls_client_options others[] = {
        {.ca_file = room->files[STRANGER].chain_file},
        {.ca_file = room->files[ROOT].chain_file, .least_1_3 = true},
        {.ca_file = room->files[ROOT].chain_file,
         .certificate_file = room->files[GOOD].chain_file,
         .key_file = room->files[GOOD].key_file},
    };
    struct tls_context *first = tls_clients_get(room->clients, &options, NULL);
    struct tls_context *second = tls_clients_get(room->clients, &options, NULL);

    assert_non_null(first);
    assert_ptr_equal(first, second);
    tls_context_unref(&second);
    for (size_t i = 0; i < PN_COUNT(others); i++) {
        struct tls_context *other = tls_clients_get(room->clients, &others[i], NULL);

        assert_non_null(other);
        assert_ptr_not_equal(first, other);
        tls_context_unref(&other);
    }
    tls_clients_forget(room->clients);
    second = tls_clients_get(room->clients, &options, NULL);
    assert_ptr_not_equal(first, second);
    tls_context_unref(&first);
    tls_context_unref(&second);
}

static void test_files_that_cannot_be_used(void **state)
{
    struct room *room = *state;
    const struct {
        struct tls_client_options options;
        const char *error;
    } rows[] = {
        {{.ca_file = "/nonexistent.pem"},
         "cannot use the authorities in /nonexistent.pem: No such file or directory"},
        {{.ca_file = room->files[GOOD].key_file}, "cannot use the authorities in "},
        {{.certificate_file = "/nonexistent.pem"},
         "cannot use the certificate in /nonexistent.pem: No such file or directory"},
        {{.certificate_file = room->files[GOOD].chain_file},
         "cannot use the key in "}, /* the key should be in the same file */
        {{.certificate_file = room->files[GOOD].chain_file,
          .key_file = room->files[SELF].key_file},
         "key values mismatch"},
    };

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_err err = {0};

        assert_null(tls_clients_get(room->clients, &rows[i].options, &err));
        assert_non_null(strstr(err.text, rows[i].error));
    }
}

static void test_certificates_are_looked_at(void **state)
{
    struct room *room = *state;
    struct tls_certificate wrong = {room->files[GOOD].chain_file, room->files[SELF].key_file};
    struct pn_err err = {0};
    int days = 77;

    assert_int_equal(tls_certificate_look(&room->files[GOOD], &days, &err), 0);
    assert_int_equal(days, 0); /* not quite one */
    assert_int_equal(tls_certificate_look(&room->files[EXPIRED], &days, &err), 0);
    assert_int_equal(days, -1);
    assert_int_equal(tls_certificate_look(&wrong, &days, &err), PN_EINVAL);
    assert_non_null(strstr(err.text, "key values mismatch"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_fingerprints),
        cmocka_unit_test(test_dane),
        cmocka_unit_test(test_records_that_cannot_be_used),
        cmocka_unit_test(test_usage_2_without_names_cannot_be_used),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_proof_does_not_outlive_the_certificate),
        cmocka_unit_test(test_a_new_server_is_checked_anew),
        cmocka_unit_test(test_loops_share_contexts_and_sessions),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_contexts_are_shared_and_forgotten),
        cmocka_unit_test(test_files_that_cannot_be_used),
        cmocka_unit_test(test_certificates_are_looked_at),
    };

    return cmocka_run_group_tests(tests, room_open, room_close);
}
