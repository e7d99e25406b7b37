/*
 * test_policies.c - how MTA-STS policies are found, kept, and done without.
 */
#include "helper_store.h"
#include "helper_world.h"

#include "postern/base/mem.h"
#include "postern/outbound/policies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ENFORCE "version: STSv1\nmode: enforce\nmx: *.example.net\nmax_age: 86400\n"
#define TESTING "version: STSv1\nmode: testing\nmx: *.example.net\nmax_age: 86400\n"
#define DAY_MS  86400000

struct web {
    struct http port; /* first */
    struct http_request *request;
    unsigned requests;
};

struct asker {
    struct out_policy_query query;
    unsigned answers;
    bool found;
    enum route_sts_mode mode;
    char why[300];
};

struct fixture {
    struct world world;
    struct web web;
    struct fake_loop store_loop;
    struct fake_store store;
    struct state *state;
    struct pn_log log;
    struct out_policies *policies;
    char record[64];
};

static void web_start(struct http *http, struct http_request *request)
{
    struct web *web = (struct web *)http;

    assert_null(web->request);
    assert_string_equal(request->url, "https://mta-sts.example.org/.well-known/mta-sts.txt");
    assert_int_equal(request->answer_max, 65536);
    assert_int_equal(request->timeout_ms, 60000);
    web->request = request;
    web->requests++;
    request->pending = web;
}

static void web_cancel(struct http *http, struct http_request *request)
{
    ((struct web *)http)->request = NULL;
    request->pending = NULL;
}

/* code 0: it cannot be reached. */
static void web_answer(struct fixture *f, unsigned code, const char *text)
{
    struct http_request *request = f->web.request;

    assert_non_null(request);
    f->web.request = NULL;
    request->pending = NULL;
    request->code = code;
    pn_buf_init(&request->answer, 65536);
    assert_int_equal(pn_buf_append_z(&request->answer, text), 0);
    (void)snprintf(request->err.text, sizeof request->err.text, "connection refused");
    request->on_done(request, code > 0 ? 0 : PN_EIO);
}

static void make(struct fixture *f)
{
    struct out_policies_deps deps = {.loop = &f->world.loop,
                                     .resolver = &f->world.resolver,
                                     .http = &f->web.port,
                                     .state = f->state,
                                     .log = &f->log};

    f->policies = out_policies_new(&deps);
}

/* The store answers on the same thread here. */
static bool post(struct loop *loop, struct loop_task *task)
{
    loop_defer(loop, task);
    return true;
}

static int set_up(void **state)
{
    static const struct loop_ops loop_ops = {.post = post};
    static const struct http_ops ops = {.start = web_start, .cancel = web_cancel};
    struct fixture *f = PN_NEW(struct fixture);

    world_init(&f->world);
    f->world.loop.ops = &loop_ops;
    f->world.loop.wall.ms = (int64_t)1795262400000;
    fake_loop_init(&f->store_loop);
    fake_store_init(&f->store);
    pn_log_init(&f->log, NULL);
    f->state = state_new(&f->log);
    f->store.events = *state_store_events(f->state);
    state_attach(f->state, &f->store.port);
    f->web.port.ops = &ops;
    make(f);
    *state = f;
    return 0;
}

static void run(struct fixture *f)
{
    do {
        world_run(&f->world, 0);
    } while (fake_store_turn(&f->store));
    world_run(&f->world, 0);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    out_policies_free(&f->policies);
    run(f);
    state_free(&f->state);
    fake_store_fini(&f->store);
    fake_loop_fini(&f->store_loop);
    world_fini(&f->world);
    free(f);
    return 0;
}

static void on_policy(struct out_policy_query *query, const struct route_sts *policy,
                      const char *why)
{
    struct asker *asker = PN_CONTAINER(query, struct asker, query);

    assert_null(query->pending);
    asker->answers++;
    asker->found = policy != NULL;
    asker->mode = policy ? policy->mode : ROUTE_STS_NONE;
    (void)snprintf(asker->why, sizeof asker->why, "%s", why);
}

static void ask(struct fixture *f, struct asker *asker)
{
    *asker = (struct asker){.query = {.on_policy = on_policy}};
    out_policy_ask(f->policies, &asker->query, "example.org");
    assert_int_equal(asker->answers, 0);
    run(f);
}

/* The TXT record of the domain; NULL: none. */
static void set_record(struct fixture *f, const char *id)
{
    (void)snprintf(f->record, sizeof f->record, "v=STSv1; id=%s;", id ? id : "");
    f->world.names[0] = (struct world_name){.name = "_mta-sts.example.org",
                                            .txt = id ? f->record : NULL,
                                            .status = RESOLVER_NODATA};
}

static void expect(const struct asker *asker, bool found, enum route_sts_mode mode,
                   const char *why)
{
    assert_int_equal(asker->answers, 1);
    assert_string_equal(asker->why, why);
    assert_int_equal(asker->found, found);
    assert_int_equal(asker->mode, mode);
}

static void learn(struct fixture *f, const char *id, const char *text)
{
    struct asker asker;

    set_record(f, id);
    ask(f, &asker);
    web_answer(f, 200, text);
    run(f);
    assert_true(asker.found);
}

static void test_no_record(void **state)
{
    struct fixture *f = *state;
    struct asker asker;

    ask(f, &asker);
    expect(&asker, false, ROUTE_STS_NONE, "it has no such record");
    f->world.names[0] =
        (struct world_name){.name = "_mta-sts.example.org", .status = RESOLVER_TEMPFAIL};
    ask(f, &asker);
    expect(&asker, false, ROUTE_STS_NONE, "the lookup of its record failed");
    set_record(f, "a-b");
    ask(f, &asker);
    expect(&asker, false, ROUTE_STS_NONE, "it has no such record");
    assert_int_equal(f->web.requests, 0);
}

static void test_fetched_once(void **state)
{
    struct fixture *f = *state;
    struct asker askers[3];

    set_record(f, "1");
    ask(f, &askers[0]);
    ask(f, &askers[1]); /* shares the search */
    assert_int_equal(askers[0].answers + askers[1].answers, 0);
    web_answer(f, 200, ENFORCE);
    expect(&askers[0], true, ROUTE_STS_ENFORCE, "fetched now");
    expect(&askers[1], true, ROUTE_STS_ENFORCE, "fetched now");
    ask(f, &askers[2]);
    expect(&askers[2], true, ROUTE_STS_ENFORCE, "fetched earlier");
    assert_int_equal(f->web.requests, 1);
}

static void test_a_new_version(void **state)
{
    struct fixture *f = *state;
    struct asker asker;

    learn(f, "1", ENFORCE);
    set_record(f, "2");
    ask(f, &asker);
    web_answer(f, 200, TESTING);
    expect(&asker, true, ROUTE_STS_TESTING, "fetched now");
}

/* Whoever can make lookups or fetches fail cannot switch a known policy off. */
static void test_a_known_policy_holds(void **state)
{
    struct fixture *f = *state;
    struct asker asker;

    learn(f, "1", ENFORCE);
    set_record(f, NULL);
    ask(f, &asker);
    expect(&asker, true, ROUTE_STS_ENFORCE, "fetched earlier");
    set_record(f, "2");
    ask(f, &asker);
    web_answer(f, 0, "");
    expect(&asker, true, ROUTE_STS_ENFORCE, "its policy cannot be fetched: connection refused");
    f->world.loop.wall.ms += DAY_MS - 1;
    set_record(f, NULL);
    ask(f, &asker);
    expect(&asker, true, ROUTE_STS_ENFORCE, "fetched earlier");
    f->world.loop.wall.ms += 1;
    ask(f, &asker);
    expect(&asker, false, ROUTE_STS_NONE, "it has no such record");
}

/* There is no moment at which a policy that is still published is not in force. */
static void test_fetched_again_in_time(void **state)
{
    struct fixture *f = *state;
    struct asker asker;

    learn(f, "1", ENFORCE);
    f->world.loop.wall.ms += DAY_MS / 2 - 1;
    ask(f, &asker);
    expect(&asker, true, ROUTE_STS_ENFORCE, "fetched earlier");
    f->world.loop.wall.ms += 1;
    ask(f, &asker);
    web_answer(f, 0, "");
    expect(&asker, true, ROUTE_STS_ENFORCE, "its policy cannot be fetched: connection refused");
    world_run(&f->world, PN_MINUTES(5));
    ask(f, &asker);
    web_answer(f, 200, ENFORCE);
    expect(&asker, true, ROUTE_STS_ENFORCE, "fetched now");
    f->world.loop.wall.ms += DAY_MS / 2;
    ask(f, &asker);
    assert_non_null(f->web.request);
    web_answer(f, 200, TESTING);
    expect(&asker, true, ROUTE_STS_TESTING, "fetched now");
}

static void test_what_cannot_be_fetched_is_left_alone_for_a_while(void **state)
{
    static const struct {
        unsigned code;
        const char *text;
        const char *why;
    } rows[] = {
        {0, "", "its policy cannot be fetched: connection refused"},
        {404, ENFORCE, "its policy cannot be fetched: the server answers 404"},
        {200, "<html>", "its policy is not valid: a line is not \"name: value\""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct asker asker;
        char id[2] = {(char)('1' + i), '\0'};

        set_record(f, id);
        ask(f, &asker);
        web_answer(f, rows[i].code, rows[i].text);
        expect(&asker, false, ROUTE_STS_NONE, rows[i].why);
        world_run(&f->world, PN_MINUTES(5) - 1);
        ask(f, &asker);
        expect(&asker, false, ROUTE_STS_NONE, rows[i].why);
        assert_int_equal(f->web.requests, 2 * i + 1);
        world_run(&f->world, 1);
        ask(f, &asker);
        assert_int_equal(asker.answers, 0);
        web_answer(f, 0, "");
        assert_int_equal(asker.answers, 1);
    }
}

static void test_a_restart(void **state)
{
    struct fixture *f = *state;
    struct asker asker;

    learn(f, "1", ENFORCE);
    out_policies_free(&f->policies);
    make(f);
    ask(f, &asker);
    expect(&asker, true, ROUTE_STS_ENFORCE, "fetched earlier");
    assert_int_equal(f->web.requests, 1);
    assert_int_equal(fake_store_count(&f->store, 's'), 1);
    f->world.loop.wall.ms += DAY_MS;
    out_policies_free(&f->policies);
    make(f);
    set_record(f, NULL);
    ask(f, &asker);
    expect(&asker, false, ROUTE_STS_NONE, "it has no such record");
    assert_int_equal(fake_store_count(&f->store, 's'), 0); /* what has expired is removed */
}

static void test_records_that_do_not_decode(void **state)
{
    static const struct pn_str values[] = {
        {"", 0},
        {"\1", 1},
        {"\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\1a", 19},
        {"\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\x21"
         "a",
         19},
        {"\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\2a", 19},
        {"\1\0\0\0\0\0\0\0\1\xff\0\0\0\0\0\0\1\1a", 19},
        {"\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\1a", 19},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < PN_COUNT(values); i++) {
        struct asker asker;

        fake_store_put(&f->store, PN_STR("sexample.org"), values[i]);
        out_policies_free(&f->policies);
        make(f);
        ask(f, &asker);
        expect(&asker, false, ROUTE_STS_NONE, "it has no such record");
    }
}

static void test_cancelled_and_freed_at_any_point(void **state)
{
    struct fixture *f = *state;
    struct asker asker = {.query = {.on_policy = on_policy}};

    set_record(f, "1");
    for (int stage = 0; stage < 3; stage++) {
        out_policy_ask(f->policies, &asker.query, "example.org");
        if (stage == 1) {
            fake_store_turn(&f->store);
        } else if (stage == 2) {
            run(f);
            assert_non_null(f->web.request);
        }
        out_policy_cancel(&asker.query);
        assert_null(asker.query.pending);
        out_policies_free(&f->policies);
        assert_null(f->web.request);
        run(f);
        make(f);
    }
    assert_int_equal(asker.answers, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_no_record),
        TEST(test_fetched_once),
        TEST(test_a_new_version),
        TEST(test_a_known_policy_holds),
        TEST(test_fetched_again_in_time),
        TEST(test_what_cannot_be_fetched_is_left_alone_for_a_while),
        TEST(test_a_restart),
        TEST(test_records_that_do_not_decode),
        TEST(test_cancelled_and_freed_at_any_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
