/* Recipient lists over HTTP: what is asked, what is believed, and copies that help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_lists.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

static void test_fetched(void **state)
{
    struct lists_world *world = *state;
    struct verify_list_status status;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    assert_int_equal(lists_under_way(world), 1);
    assert_string_equal(world->requests[0]->url, URL);
    assert_null(world->requests[0]->headers[0]);
    assert_int_equal(world->requests[0]->answer_max, VERIFY_LIST_MAX);
    assert_int_equal(world->requests[0]->idle_ms, PN_SECONDS(30));
    assert_int_equal(world->requests[0]->timeout_ms, PN_MINUTES(10));
    lists_answer(world, 200, "a\n", "\"v1\"");
    lists_check_find(world, "a", VERIFY_LIST_YES);
    assert_int_equal(world->writes, 1);
    lists_check_said(world, "list.loaded", 1);

    /* Within the jitter of 15 minutes it is asked again, for what is new only. */
    lists_pass(world, PN_MINUTES(13));
    assert_int_equal(lists_under_way(world), 0);
    lists_pass(world, PN_MINUTES(4));
    assert_int_equal(lists_under_way(world), 1);
    assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
    assert_string_equal(world->requests[0]->headers[1], "If-Modified-Since: yesterday");
    lists_answer(world, 304, "", "\"v1\"");
    lists_check_find(world, "a", VERIFY_LIST_YES);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_int_equal(status.loaded.ms, world->loop.wall.ms);
    lists_check_said(world, "list.", 0);

    lists_pass(world, PN_MINUTES(17));
    lists_answer(world, 200, "b\n", "");
    lists_check_find(world, "a", VERIFY_LIST_NO);
    lists_check_find(world, "b", VERIFY_LIST_YES);
    assert_int_equal(world->writes, 2);

    /* The same list again, from a server without tags, is not written again. */
    lists_pass(world, PN_MINUTES(17));
    assert_null(world->requests[0]->headers[0]);
    lists_answer(world, 200, "# new comment\nb\n", "");
    assert_int_equal(world->writes, 2);
    lists_check_said(world, "list.loaded", 1);
}

static const struct {
    unsigned code; /* 0: the request fails */
    const char *body;
    const char *trouble;
} refused[] = {
    {0, "", "nothing came from " URL},
    {404, "a\nb\n", "the server answers 404"},
    {500, "", "the server answers 500"},
    {206, "a\nb\n", "the server answers 206"},
    {200, "", "it has no recipient of this domain"},
    {200, "<html>\n<b>\nb\n", "it has more broken lines (2) than good ones (1)"},
};

static void test_source_fails(void **state)
{
    struct lists_world *world = *state;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 200, "a\n", "\"v1\"");
    for (size_t i = 0; i < PN_COUNT(refused); i++) {
        lists_pass(world, PN_MINUTES(17));
        if (refused[i].code > 0) {
            lists_answer(world, refused[i].code, refused[i].body, "\"bad\"");
        } else {
            lists_fail_request(world, refused[i].trouble);
        }
        lists_check_trouble(world, refused[i].trouble);
        lists_check_find(world, "a", VERIFY_LIST_YES);
        lists_check_find(world, "b", VERIFY_LIST_NO);
        /* Soon again, and then more and more slowly; what it is asked about is the good one. */
        lists_pass(world, PN_SECONDS(70));
        assert_int_equal(lists_under_way(world), 1);
        assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
        lists_answer(world, 503, "", "");
        lists_pass(world, PN_SECONDS(100));
        assert_int_equal(lists_under_way(world), 0);
        lists_pass(world, PN_SECONDS(40));
        lists_answer(world, 304, "", "");
        lists_check_trouble(world, "");
    }
    assert_int_equal(world->writes, 1);
}

/* "Not modified" says nothing about a list that we do not have. */
static void test_304_for_nothing(void **state)
{
    struct lists_world *world = *state;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 304, "", "\"v1\"");
    lists_check_trouble(world, "the server answers 304");
    lists_check_find(world, "a", VERIFY_LIST_NOT_LOADED);
}

static void test_copy_is_used_at_start(void **state)
{
    struct lists_world *world = *state;
    struct verify_list_status status;
    int64_t fetched_ms = world->loop.wall.ms;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 200, "a\nb", "\"v1\"");
    lists_pass(world, PN_MINUTES(5));
    lists_start_again(world);
    lists_check_find(world, "a", VERIFY_LIST_YES);
    lists_check_find(world, "b", VERIFY_LIST_YES);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_int_equal(status.loaded.ms, fetched_ms);
    assert_int_equal(lists_under_way(world), 0); /* it is fresh enough */
    lists_pass(world, PN_MINUTES(12));
    assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
    lists_fail_request(world, "no route");
    lists_check_find(world, "a", VERIFY_LIST_YES);

    /* A week later the source is still away. */
    lists_pass(world, PN_SECONDS(1));
    verify_lists_free(&world->lists);
    lists_pass(world, PN_DAYS(7));
    lists_start_again(world);
    lists_check_find(world, "a", VERIFY_LIST_YES);
    assert_int_equal(lists_under_way(world), 1);
    lists_answer(world, 304, "", "");
    lists_check_find(world, "b", VERIFY_LIST_YES);

    /* What is on disk already is not written again. */
    lists_pass(world, PN_MINUTES(17));
    lists_answer(world, 200, "b\na\n", "");
    assert_int_equal(world->writes, 1);
}

static void test_broken_copy(void **state)
{
    struct lists_world *world = *state;
    const char *path = NULL;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 200, "a\n", "\"v1\"");
    path = world->file[0].path;
    lists_put_file(world, path, PN_STR("a\nb\n"));
    lists_start_again(world);
    lists_check_find(world, "b", VERIFY_LIST_NOT_LOADED);
    lists_check_trouble(world, "is not a copy of this list");
    assert_null(world->requests[0]->headers[0]);
    lists_answer(world, 200, "a\n", "\"v1\"");
    lists_check_find(world, "a", VERIFY_LIST_YES);
    lists_check_trouble(world, "");
}

static void test_copy_cannot_be_kept(void **state)
{
    struct lists_world *world = *state;

    world->write_fails = PN_ENOSPACE;
    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 200, "a\n", "");
    lists_check_find(world, "a", VERIFY_LIST_YES);
    lists_check_trouble(world, "");
    lists_check_said(world, "list.failed", 1);
    world->write_fails = 0;
    lists_pass(world, PN_MINUTES(17));
    lists_answer(world, 200, "a\n", "");
    assert_int_equal(world->writes, 2);
    assert_non_null(lists_find_file(world, world->file[0].path));
}

/* The meaning of lines changes: the text is there, and nothing is fetched. */
static void test_redefined_with_a_copy(void **state)
{
    struct lists_world *world = *state;

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_answer(world, 200, "A\n", "\"v1\"");
    lists_define(world, "example.org", URL_LIST "case_sensitive = yes");
    lists_pass(world, 0);
    lists_check_find(world, "A", VERIFY_LIST_YES);
    lists_check_find(world, "a", VERIFY_LIST_NO);
    assert_int_equal(lists_under_way(world), 0);
    /* A shorter interval counts from now. */
    lists_define(world, "example.org",
                 URL_LIST "case_sensitive = yes recipient_list_refresh = 2m");
    lists_pass(world, PN_MINUTES(3));
    assert_int_equal(lists_under_way(world), 1);
    /* And a change while it is fetched is not lost. */
    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    lists_check_find(world, "a", VERIFY_LIST_YES);
    /* Without its text the list is fetched, whatever its source said about it. */
    lists_drop_file(world, world->file[0].path);
    lists_define(world, "example.org", URL_LIST "recipient_delimiter = \"+\"");
    lists_pass(world, 0);
    assert_null(world->requests[0]->headers[0]);
}

/* Two at a time; those that go away make room for others. */
static void test_fetches_are_few(void **state)
{
    struct lists_world *world = *state;
    char name[32];
    char options[128];

    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof name, "d%u.example", i);
        (void)snprintf(options, sizeof options,
                       "recipients = list recipient_list = \"" URL "%u\"", i);
        lists_define(world, name, options);
    }
    lists_pass(world, 0);
    assert_int_equal(lists_under_way(world), 2);
    assert_int_equal(world->started, 2);
    lists_define(world, "d0.example", NULL);
    assert_int_equal(lists_under_way(world), 2);
    assert_int_equal(world->started, 3);
    lists_define(world, "d1.example", NULL);
    lists_answer(world, 200, "a\n", "");
    lists_answer(world, 404, "", "");
    assert_int_equal(world->started, 6);
}

/* Lists go away in every state: due, being fetched, fetched, half loaded. */
static void test_removed_in_every_state(void **state)
{
    struct lists_world *world = *state;
    struct http_request *request;
    struct pn_buf text;

    pn_buf_init(&text, (size_t)1024 * 1024);
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(pn_buf_printf(&text, "user%u\n", i), 0);
    }
    lists_put_file(world, "/l/a", pn_buf_str(&text));
    lists_define(world, "example.org", FILE_LIST);
    lists_define(world, "example.org", NULL);
    lists_define(world, "example.org", FILE_LIST);
    pn_timers_run(&world->loop.timers, world->loop.now); /* the first slice */
    lists_check_find(world, "user1", VERIFY_LIST_NOT_LOADED);
    lists_define(world, "example.org", FILE_LIST "hold = 3d"); /* the load goes on */
    lists_pass(world, 0);
    lists_check_find(world, "user19999", VERIFY_LIST_YES);
    assert_int_equal(world->reads, 1);
    lists_put_file(world, "/l/a", PN_STR("x\n"));
    lists_define(world, "example.org", NULL);
    lists_put_file(world, "/l/a", pn_buf_str(&text));
    lists_define(world, "example.org", FILE_LIST);
    pn_timers_run(&world->loop.timers, world->loop.now);
    lists_define(world, "example.org", NULL);

    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    request = world->requests[0];
    lists_take_request(world, request);
    request->code = 200;
    assert_int_equal(pn_buf_append(&request->answer, pn_buf_str(&text)), 0);
    request->on_done(request, 0);
    lists_define(world, "example.org", NULL);
    lists_pass(world, PN_HOURS(1));
    lists_define(world, "example.org", URL_LIST);
    lists_pass(world, 0);
    pn_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fetched, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_source_fails, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_304_for_nothing, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_copy_is_used_at_start, lists_setup,
                                        lists_teardown),
        cmocka_unit_test_setup_teardown(test_broken_copy, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_copy_cannot_be_kept, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_redefined_with_a_copy, lists_setup,
                                        lists_teardown),
        cmocka_unit_test_setup_teardown(test_fetches_are_few, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_removed_in_every_state, lists_setup,
                                        lists_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
