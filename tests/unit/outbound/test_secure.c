/*
 * test_secure.c - TLS with a next hop: what is asked for, and what becomes of the session.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_owner.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NAMED  "mail.example.org"
#define HOST   "; sni " NAMED "; "

struct row {
    const char *name;
    const char *options;
    enum world_tls tls;
    const char *rules; /* of the handshake; NULL: there is none */
    const char *end;   /* "" : it is ready */
    const char *why;   /* the beginning of out_session_tls_why */
    enum stats_counter counted;
};

static const struct row rows[] = {
    {"none", "tls = none", PEER_TLS_WORKS, NULL, "", "in clear (example.org has tls = none",
     STATS_COUNTER_COUNT},
    {"may", "", PEER_TLS_WORKS, "nothing " NAMED HOST "0 fingerprints, 0 records", "",
     "TLSv1.3, name mail.example.org, issuer CN=Root (example.org has tls = may",
     STATS_TLS_NONE_SUCCESS},
    {"may, whoever it is", "", PEER_TLS_UNPROVEN,
     "nothing " NAMED HOST "0 fingerprints, 0 records", "", "TLSv1.3, nothing proven (",
     STATS_TLS_NONE_SUCCESS},
    {"may, broken", "", PEER_TLS_FAILS, "nothing " NAMED HOST "0 fingerprints, 0 records", "",
     "in clear: TLS handshake: no shared cipher (", STATS_TLS_NONE_FAILED},
    {"encrypt, whoever it is", "tls = encrypt", PEER_TLS_UNPROVEN,
     "nothing " NAMED HOST "0 fingerprints, 0 records", "", "TLSv1.3, nothing proven (",
     STATS_TLS_LOCAL_SUCCESS},
    {"encrypt, broken", "tls = encrypt", PEER_TLS_FAILS,
     "nothing " NAMED HOST "0 fingerprints, 0 records",
     "TLS handshake: no shared cipher, and TLS is needed",
     "in clear: ", STATS_TLS_LOCAL_FAILED},
    {"verify", "tls = verify", PEER_TLS_WORKS, "name " NAMED HOST "0 fingerprints, 0 records",
     "", "TLSv1.3, name mail.example.org", STATS_TLS_LOCAL_SUCCESS},
    {"verify, another", "tls = verify", PEER_TLS_UNPROVEN,
     "name " NAMED HOST "0 fingerprints, 0 records",
     "TLS handshake: the certificate is for another, and TLS is needed",
     "in clear: ", STATS_TLS_LOCAL_NAME},
    {"verify, refused late", "tls = verify", PEER_TLS_FAILS_LATE,
     "name " NAMED HOST "0 fingerprints, 0 records", "connection", "", STATS_COUNTER_COUNT},
    {"verify, other names", "tls = verify tls_names = {a.example, \"*.b.example\"}",
     PEER_TLS_WORKS, "name a.example *.b.example" HOST "0 fingerprints, 0 records", "",
     "TLSv1.3, ", STATS_TLS_LOCAL_SUCCESS},
    {"another SNI", "tls = verify tls_sni = c.example", PEER_TLS_WORKS,
     "name " NAMED "; sni c.example; 0 fingerprints, 0 records", "", "TLSv1.3, ",
     STATS_TLS_LOCAL_SUCCESS},
    {"fingerprint", "tls = fingerprint tls_fingerprints = {" DIGITS "}", PEER_TLS_WORKS,
     "fingerprint " NAMED HOST "1 fingerprints, 0 records", "", "TLSv1.3, ",
     STATS_TLS_LOCAL_SUCCESS},
    {"fingerprint, another", "tls = fingerprint tls_fingerprints = {" DIGITS "}",
     PEER_TLS_UNPROVEN, "fingerprint " NAMED HOST "1 fingerprints, 0 records",
     "and TLS is needed", "in clear: ", STATS_TLS_LOCAL_NAME},
};

static void check_row(struct fixture *f, const struct row *row)
{
    struct world_peer *peer = owner_add_one(f, owner_with_tls);
    char domain[1024];
    const char *trace;

    peer->tls = row->tls;
    f->deps.counters = stats_counters_new();
    (void)snprintf(domain, sizeof domain, "target = {\"mail.example.org\"}\n%s", row->options);
    owner_begin(f, domain);
    world_run(&f->world, 0);
    assert_int_equal(pn_buf_append_char(&f->trace, '\0'), 0);
    assert_int_equal(pn_buf_append_char(&peer->got, '\0'), 0);
    trace = pn_buf_str(&f->trace).ptr;
    if (row->end[0] ? !strstr(trace, row->end) || strstr(trace, "READY")
                    : !strstr(trace, "READY")) {
        fail_msg("%s: %s", row->name, trace);
    }
    if (strncmp(out_session_tls_why(f->session), row->why, strlen(row->why)) != 0) {
        fail_msg("%s: %s", row->name, out_session_tls_why(f->session));
    }
    assert_string_equal(f->world.rules.text, row->rules ? row->rules : "");
    assert_int_equal(strstr(pn_buf_str(&peer->got).ptr, "STARTTLS") != NULL,
                     row->rules != NULL);
    for (int i = 0; i < STATS_COUNTER_COUNT; i++) {
        if (stats_get(f->deps.counters, (enum stats_counter)i) !=
            (i == (int)row->counted ? 1 : 0)) {
            fail_msg("%s: counter %d", row->name, i);
        }
    }
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        void *fresh = NULL;
        struct fixture *f;
        struct stats_counters *counters;

        assert_int_equal(owner_setup(&fresh), 0);
        f = fresh;
        check_row(f, &rows[i]);
        counters = f->deps.counters;
        assert_int_equal(owner_teardown(&fresh), 0);
        stats_counters_free(&counters);
    }
}

static void test_what_a_context_is_made_of(void **state)
{
    struct fixture *f = *state;

    owner_add_one(f, owner_with_tls);
    owner_begin(f, "target = {\"mail.example.org\"}\ntls = encrypt\n"
                   "tls_ca_file = \"/ca\" tls_certificate = \"/c\" tls_key = \"/k\"\n"
                   "tls_min_version = \"TLSv1.3\"");
    world_run(&f->world, 0);
    assert_string_equal(f->world.rules.options.ca_file, "/ca");
    assert_string_equal(f->world.rules.options.certificate_file, "/c");
    assert_string_equal(f->world.rules.options.key_file, "/k");
    assert_true(f->world.rules.options.least_1_3);
}

/* No mail goes in clear because a file of ours is gone, and none is refused. */
static void test_files_that_cannot_be_used(void **state)
{
    struct fixture *f = *state;
    struct world_peer *peer = owner_add_one(f, owner_with_tls);

    f->world.tls_broken = "/k";
    owner_begin(f, "target = {\"mail.example.org\"}");
    world_run(&f->world, 0);
    owner_expect(f, "FAILED TLS for example.org: cannot use the key in /k\n");
    owner_expect_got(peer, "EHLO mx2.example.net\n");
}

/* Sessions under other rules, or with another server, never share a key. */
static void test_resume_keys(void **state)
{
    static const char *const options[] = {"", "tls_sni = c.example", "tls = verify",
                                          "tls = verify tls_names = c.example",
                                          "tls = fingerprint tls_fingerprints = {" DIGITS "}"};
    char keys[PN_COUNT(options)][4096];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(options); i++) {
        void *fresh = NULL;
        struct fixture *f;
        char domain[1024];

        assert_int_equal(owner_setup(&fresh), 0);
        f = fresh;
        owner_add_one(f, owner_with_tls);
        (void)snprintf(domain, sizeof domain, "target = {\"mail.example.org\"}\n%s",
                       options[i]);
        owner_begin(f, domain);
        world_run(&f->world, 0);
        assert_true(pn_str_starts(pn_str_z(f->world.rules.resume_key),
                                  PN_STR("mail.example.org[192.0.2.1]:25\n")));
        memcpy(keys[i], f->world.rules.resume_key, sizeof keys[i]);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(keys[i], keys[j]);
        }
        assert_int_equal(owner_teardown(&fresh), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        TEST(test_what_a_context_is_made_of),
        TEST(test_files_that_cannot_be_used),
        cmocka_unit_test(test_resume_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
