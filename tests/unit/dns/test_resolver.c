/*
 * The resolver against a small DNS server on loopback.
 */
#include "helper_dns.h"

#include "postern/base/mem.h"

#include "dns_priv.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_MS PN_SECONDS(30)

struct stage {
    struct poll_loop loop;
    struct dns_server server;
    struct resolver *resolver;
};

/* A question and what became of it. */
struct inquiry {
    struct resolver_query query;
    struct stage *stage;
    bool asking; /* inside resolver_ask: no answer may come */
    unsigned answers;
    enum resolver_status status;
    char why[128];
    char text[1024]; /* the records, one after the other */
    size_t count;
    bool validated;
    bool alias;
    char canonical[RESOLVER_NAME_CHARS];
    struct inquiry *cancel; /* another one to cancel when the answer is there */
    const char *ask_again;  /* a name to ask for then */
};

static void inquiry_answered(struct resolver_query *query,
                             const struct resolver_answer *answer);

static void inquiry_ask(struct inquiry *inquiry, struct stage *stage, const char *name,
                        enum resolver_type type)
{
    inquiry->stage = stage;
    inquiry->query.on_answer = inquiry_answered;
    inquiry->asking = true;
    resolver_ask(stage->resolver, &inquiry->query, name, type);
    inquiry->asking = false;
    assert_non_null(inquiry->query.pending);
}

static void inquiry_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct inquiry *inquiry = PN_CONTAINER(query, struct inquiry, query);
    struct pn_buf text;
    struct pn_str s;

    assert_false(inquiry->asking);
    assert_null(query->pending);
    inquiry->answers++;
    inquiry->status = answer->status;
    inquiry->count = answer->count;
    inquiry->validated = answer->validated;
    inquiry->alias = answer->alias;
    memcpy(inquiry->canonical, answer->canonical, sizeof inquiry->canonical);
    assert_non_null(answer->why);
    assert_true(snprintf(inquiry->why, sizeof inquiry->why, "%s", answer->why) > 0);
    pn_buf_init(&text, sizeof inquiry->text - 1);
    for (size_t i = 0; i < answer->count && i < 4; i++) {
        const struct resolver_record *record = &answer->records[i];
        char ip[PN_IP_CHARS];

        if (record->usage > 0) {
            assert_int_equal(pn_buf_printf(&text, "%u %u %u ", record->usage, record->selector,
                                           record->matching),
                             0);
        }
        if (record->data) {
            const char *data = (const char *)record->data;

            assert_int_equal(
                pn_buf_printf(&text, "%zu:%.*s ", record->len, (int)record->len, data), 0);
        } else if (record->ip.family != PN_FAMILY_NONE) {
            assert_int_equal(pn_buf_printf(&text, "%s ", pn_ip_format(&record->ip, ip)), 0);
        } else {
            assert_int_equal(pn_buf_printf(&text, "%d %s ", record->preference, record->name),
                             0);
        }
    }
    s = pn_buf_str(&text);
    memcpy(inquiry->text, s.ptr, s.len);
    inquiry->text[s.len] = '\0';
    pn_buf_fini(&text);
    if (inquiry->cancel) {
        resolver_cancel(inquiry->stage->resolver, &inquiry->cancel->query);
    }
    if (inquiry->ask_again) {
        const char *name = inquiry->ask_again;

        inquiry->ask_again = NULL;
        inquiry_ask(inquiry, inquiry->stage, name, RESOLVER_A);
    }
}

static void stage_init(struct stage *stage)
{
    char servers[32];

    poll_loop_init(&stage->loop);
    dns_server_start(&stage->server);
    assert_true(snprintf(servers, sizeof servers, "127.0.0.1:%u", stage->server.port) > 0);
    stage->resolver =
        dns_resolver_new(&stage->loop.port, &poll_loop_watches, &stage->loop, servers, NULL);
    assert_non_null(stage->resolver);
}

static void stage_fini(struct stage *stage)
{
    dns_resolver_free(&stage->resolver);
    assert_null(stage->resolver);
    poll_loop_fini(&stage->loop);
    dns_server_stop(&stage->server);
}

static void stage_wait(struct stage *stage, const struct inquiry *inquiry)
{
    int64_t until_ms = stage->loop.port.now.ms + PATIENCE_MS;
    unsigned before = inquiry->answers;

    while (inquiry->answers == before) {
        assert_true(stage->loop.port.now.ms < until_ms);
        poll_loop_turn(&stage->loop);
    }
}

static void test_answers(void **state)
{
    static const struct {
        const char *name;
        enum resolver_type type;
        enum resolver_status status;
        const char *records; /* the first four */
        size_t count;
    } rows[] = {
        {"a.example", RESOLVER_A, RESOLVER_FOUND, "192.0.2.1 192.0.2.2 ", 2},
        {"A.Example.", RESOLVER_A, RESOLVER_FOUND, "192.0.2.1 192.0.2.2 ", 2},
        {"alias.example", RESOLVER_A, RESOLVER_FOUND, "192.0.2.3 ", 1},
        {"aaaa.example", RESOLVER_AAAA, RESOLVER_FOUND, "2001:db8::1 ", 1},
        {"mx.example", RESOLVER_MX, RESOLVER_FOUND, "20 mx2.mx.example 10 mx1.example.net ", 2},
        {"nullmx.example", RESOLVER_MX, RESOLVER_FOUND, "0  ", 1},
        {"192.0.2.1", RESOLVER_PTR, RESOLVER_FOUND, "0 host_1.example.net ", 1},
        {"2001:db8::1", RESOLVER_PTR, RESOLVER_FOUND, "0 host_1.example.net ", 1},
        {"a.example", RESOLVER_MX, RESOLVER_NODATA, "", 0},
        {"nodata.example", RESOLVER_A, RESOLVER_NODATA, "", 0},
        {"nx.example", RESOLVER_A, RESOLVER_NXDOMAIN, "", 0},
        {"nx.example", RESOLVER_MX, RESOLVER_NXDOMAIN, "", 0},
        {"servfail.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"refused.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"cut.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"garbage.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"big.example", RESOLVER_A, RESOLVER_FOUND, "192.0.2.0 192.0.2.1 192.0.2.2 192.0.2.3 ",
         RESOLVER_RECORDS_MAX},
        {"badname.example", RESOLVER_MX, RESOLVER_FOUND, "10 good.example ", 1},
        {"allbad.example", RESOLVER_MX, RESOLVER_TEMPFAIL, "", 0},
        {"192.0.2.2", RESOLVER_PTR, RESOLVER_TEMPFAIL, "", 0},
        {"stranger.example", RESOLVER_A, RESOLVER_NODATA, "", 0},
        {"hundreds.example", RESOLVER_MX, RESOLVER_FOUND, /* the best 64, in any order */
         "52 m.hundreds.example 51 m.hundreds.example 50 m.hundreds.example 49 "
         "m.hundreds.example ",
         RESOLVER_RECORDS_MAX},
        {"text.example", RESOLVER_TXT, RESOLVER_FOUND, "6:v=STSv 0: ", 2},
        {"_25._tcp.a.example", RESOLVER_TLSA, RESOLVER_FOUND,
         "3 1 1 2:\xab\xcd 255 0 0 0: ", 2},
        {"localhost", RESOLVER_A, RESOLVER_FOUND, "127.0.0.1 ", 1},
        {"LOCALHOST.", RESOLVER_AAAA, RESOLVER_FOUND, "::1 ", 1},
        {"", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {".", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"two..dots", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"blank in.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"back\\slash.example", RESOLVER_A, RESOLVER_TEMPFAIL, "", 0},
        {"not an address", RESOLVER_PTR, RESOLVER_TEMPFAIL, "", 0},
    };
    struct stage stage;

    (void)state;
    stage_init(&stage);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct inquiry inquiry = {.answers = 0};

        inquiry_ask(&inquiry, &stage, rows[i].name, rows[i].type);
        stage_wait(&stage, &inquiry);
        if (inquiry.status != rows[i].status) {
            fail_msg("\"%s\": %d, %s", rows[i].name, inquiry.status, inquiry.why);
        }
        assert_string_equal(inquiry.text, rows[i].records);
        assert_int_equal(inquiry.count, rows[i].count);
        assert_int_equal(inquiry.answers, 1);
    }
    stage_fini(&stage);
}

static void test_who_is_believed(void **state)
{
    static const struct {
        const char *name;
        const char *other; /* a second server */
        enum resolver_type type;
        bool validated;
        bool alias;
        const char *canonical;
    } rows[] = {
        {"signed.example", "", RESOLVER_A, true, false, "signed.example"},
        {"Signed.Example.", "", RESOLVER_A, true, false, "signed.example"},
        {"_25._tcp.a.example", "", RESOLVER_TLSA, true, false, "_25._tcp.a.example"},
        {"a.example", "", RESOLVER_A, false, false, "a.example"},
        {"alias.example", "", RESOLVER_A, false, true, "elsewhere.example"},
        {"localhost", "", RESOLVER_A, false, false, "localhost"},
        {"signed.example", ",[::1]:53", RESOLVER_A, true, false, "signed.example"},
        {"signed.example", ",192.0.2.53", RESOLVER_A, false, false, "signed.example"},
        {"signed.example", ",[2001:db8::53]:53", RESOLVER_A, false, false, "signed.example"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct inquiry inquiry = {.answers = 0};
        struct stage stage;
        char servers[64];

        stage_init(&stage);
        dns_resolver_free(&stage.resolver);
        (void)snprintf(servers, sizeof servers, "127.0.0.1:%u%s", stage.server.port,
                       rows[i].other);
        stage.resolver =
            dns_resolver_new(&stage.loop.port, &poll_loop_watches, &stage.loop, servers, NULL);
        for (int again = 0; again < 2; again++) { /* from the server, then from the cache */
            inquiry_ask(&inquiry, &stage, rows[i].name, rows[i].type);
            stage_wait(&stage, &inquiry);
            assert_int_equal(inquiry.status, RESOLVER_FOUND);
            assert_int_equal(inquiry.validated, rows[i].validated);
            assert_int_equal(inquiry.alias, rows[i].alias);
            assert_string_equal(inquiry.canonical, rows[i].canonical);
        }
        stage_fini(&stage);
    }
}

static void test_identical_questions_share_one_request_and_the_answer_is_kept(void **state)
{
    struct inquiry inquiries[5] = {{.answers = 0}};
    struct stage stage;

    (void)state;
    stage_init(&stage);
    for (size_t i = 0; i < 4; i++) {
        inquiry_ask(&inquiries[i], &stage, i % 2 ? "a.example" : "A.EXAMPLE.", RESOLVER_A);
    }
    resolver_cancel(stage.resolver, &inquiries[1].query);
    assert_null(inquiries[1].query.pending);
    resolver_cancel(stage.resolver, &inquiries[1].query); /* nothing is pending */
    stage_wait(&stage, &inquiries[3]);
    assert_int_equal(inquiries[0].answers, 1);
    assert_int_equal(inquiries[1].answers, 0);
    assert_int_equal(inquiries[2].answers, 1);
    inquiry_ask(&inquiries[4], &stage, "a.example", RESOLVER_A);
    stage_wait(&stage, &inquiries[4]);
    assert_string_equal(inquiries[4].text, "192.0.2.1 192.0.2.2 ");
    assert_int_equal(dns_server_questions(&stage.server), 1);
    stage_fini(&stage);
}

static void test_ttl_zero_and_failures_are_asked_again(void **state)
{
    static const char *const names[] = {"zero.example", "nx.example", "nodata.example"};
    struct stage stage;

    (void)state;
    stage_init(&stage);
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        struct inquiry inquiry = {.answers = 0};
        unsigned before = dns_server_questions(&stage.server);

        inquiry_ask(&inquiry, &stage, names[i], RESOLVER_A);
        stage_wait(&stage, &inquiry);
        inquiry_ask(&inquiry, &stage, names[i], RESOLVER_A);
        stage_wait(&stage, &inquiry);
        assert_int_equal(dns_server_questions(&stage.server) - before, 2);
    }
    stage_fini(&stage);
}

static void test_kept_answers_expire(void **state)
{
    struct inquiry inquiry = {.answers = 0};
    struct stage stage;
    int64_t now_ms;

    (void)state;
    stage_init(&stage);
    inquiry_ask(&inquiry, &stage, "a.example", RESOLVER_A);
    stage_wait(&stage, &inquiry);
    now_ms = stage.loop.port.now.ms;
    stage.loop.port.now.ms = now_ms + PN_SECONDS(301);
    inquiry_ask(&inquiry, &stage, "a.example", RESOLVER_A);
    stage.loop.port.now.ms = now_ms;
    resolver_cancel(stage.resolver, &inquiry.query);
    while (dns_server_questions(&stage.server) < 2) {
        poll_loop_turn(&stage.loop);
    }
    stage_fini(&stage);
}

static void test_every_query_has_a_deadline(void **state)
{
    struct inquiry inquiry = {.ask_again = "a.example"};
    struct stage stage;
    int64_t start_ms;

    (void)state;
    stage_init(&stage);
    dns_resolver_set_deadline(stage.resolver, 50);
    start_ms = stage.loop.port.now.ms;
    inquiry_ask(&inquiry, &stage, "silent.example", RESOLVER_A);
    stage_wait(&stage, &inquiry);
    assert_int_equal(inquiry.status, RESOLVER_TEMPFAIL);
    assert_string_equal(inquiry.why, "the DNS did not answer in time");
    assert_true(stage.loop.port.now.ms - start_ms >= 50);
    dns_resolver_set_deadline(stage.resolver, PATIENCE_MS);
    /* Asked from inside the answer, while c-ares still has the first question. */
    stage_wait(&stage, &inquiry);
    stage_fini(&stage);
}

static void test_resolver_that_nobody_answers(void **state)
{
    struct inquiry inquiry = {.answers = 0};
    struct stage stage;

    (void)state;
    stage_init(&stage);
    dns_server_stop(&stage.server); /* the port is closed now */
    inquiry_ask(&inquiry, &stage, "a.example", RESOLVER_A);
    stage_wait(&stage, &inquiry);
    assert_int_equal(inquiry.status, RESOLVER_TEMPFAIL);
    assert_string_equal(inquiry.why, "the DNS server cannot be reached");
    dns_server_start(&stage.server);
    stage_fini(&stage);
}

static void test_askers_cancel_each_other_in_an_answer(void **state)
{
    struct inquiry first = {.answers = 0};
    struct inquiry second = {.answers = 0};
    struct stage stage;

    (void)state;
    stage_init(&stage);
    first.cancel = &second;
    first.ask_again = "alias.example";
    inquiry_ask(&first, &stage, "a.example", RESOLVER_A);
    inquiry_ask(&second, &stage, "a.example", RESOLVER_A);
    stage_wait(&stage, &first);
    stage_wait(&stage, &first);
    assert_string_equal(first.text, "192.0.2.3 ");
    assert_int_equal(second.answers, 0);
    stage_fini(&stage);
}

static void test_freed_with_queries_under_way(void **state)
{
    static const char *const names[] = {"silent.example", "a.example", "localhost", "not..one"};
    struct inquiry inquiries[PN_COUNT(names)] = {{.answers = 0}};
    struct stage stage;

    (void)state;
    stage_init(&stage);
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        inquiry_ask(&inquiries[i], &stage, names[i], RESOLVER_A);
    }
    stage_fini(&stage);
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        assert_int_equal(inquiries[i].answers, 0);
        assert_null(inquiries[i].query.pending);
    }
}

static void test_servers_that_are_none(void **state)
{
    struct poll_loop loop;
    struct pn_err err = {0};

    (void)state;
    poll_loop_init(&loop);
    assert_null(dns_resolver_new(&loop.port, &poll_loop_watches, &loop, "dns.example", &err));
    assert_int_equal(err.code, PN_EINVAL);
    assert_non_null(strstr(err.text, "\"dns.example\" is not a list of DNS servers"));
    poll_loop_fini(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_who_is_believed),
        cmocka_unit_test(test_identical_questions_share_one_request_and_the_answer_is_kept),
        cmocka_unit_test(test_ttl_zero_and_failures_are_asked_again),
        cmocka_unit_test(test_kept_answers_expire),
        cmocka_unit_test(test_every_query_has_a_deadline),
        cmocka_unit_test(test_resolver_that_nobody_answers),
        cmocka_unit_test(test_askers_cancel_each_other_in_an_answer),
        cmocka_unit_test(test_freed_with_queries_under_way),
        cmocka_unit_test(test_servers_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
