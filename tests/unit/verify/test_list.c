/* Recipient lists of domains: files that change, fail, and are given another meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_lists.h"

#include "postern/base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void test_file(void **state)
{
    struct lists_world *world = *state;
    struct verify_list_status status;

    lists_put_file(world, "/l/a", PN_STR("a\nb@example.org\nc@example.net\nx y\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_check_find(world, "a", VERIFY_LIST_NOT_LOADED); /* not inside the call */
    lists_pass(world, 0);
    lists_check_find(world, "a", VERIFY_LIST_YES);
    lists_check_find(world, "b", VERIFY_LIST_YES);
    lists_check_find(world, "c", VERIFY_LIST_NO);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_string_equal(status.source, "/l/a");
    assert_int_equal(status.addresses, 2);
    assert_int_equal(status.broken_lines, 1);
    assert_int_equal(status.foreign_lines, 1);
    assert_string_equal(status.broken, "4: x y");
    assert_int_equal(status.loaded.ms, world->loop.wall.ms);
    assert_string_equal(status.trouble, "");
    assert_false(verify_lists_status(world->lists, PN_STR("example.net"), &status));
    lists_check_said(world,
                     "list.loaded domain=example.org list=/l/a addresses=2 foreign=1 broken=1 "
                     "first=\"4: x y\"",
                     1);
}

static void test_no_list(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    lists_define(world, "example.org", "recipient_list = \"/l/a\"");
    lists_pass(world, PN_MINUTES(1));
    lists_check_find(world, "a", VERIFY_LIST_NOT_LOADED);
    assert_int_equal(world->reads, 0);
}

static void test_file_changes(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(3));
    assert_int_equal(world->reads, 1);
    lists_put_file(world, "/l/a", PN_STR("b\n"));
    lists_check_find(world, "b", VERIFY_LIST_NO);
    lists_pass(world, PN_SECONDS(7));
    lists_check_find(world, "a", VERIFY_LIST_NO);
    lists_check_find(world, "b", VERIFY_LIST_YES);
    lists_pass(world, PN_HOURS(1));
    assert_int_equal(world->reads, 2);
}

/* What is being written into is read when it has settled, and not for ever later. */
static void test_file_settles(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(3));
    for (unsigned i = 0; i < 40; i++) {
        lists_put_file(world, "/l/a", PN_STR("a\nb"));
        lists_pass(world, 500);
    }
    assert_int_equal(world->reads, 1);
    lists_put_file(world, "/l/a", PN_STR("a\nbob\n"));
    lists_pass(world, PN_SECONDS(3));
    lists_check_find(world, "bob", VERIFY_LIST_YES);
    assert_int_equal(world->reads, 2);
    for (unsigned i = 0; i < 400; i++) {
        lists_put_file(world, "/l/a", PN_STR("a\nb"));
        lists_pass(world, 500);
    }
    lists_check_find(world, "b", VERIFY_LIST_YES);
}

/* Changed between its info and its end: read again. */
static void test_file_changes_while_read(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    world->changes_when_read = lists_find_file(world, "/l/a");
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(7));
    assert_int_equal(world->reads, 2);
    lists_pass(world, PN_MINUTES(1));
    assert_int_equal(world->reads, 2);
}

/* Moved away and back, it is the same file, and nothing is wrong any more. */
static void test_file_comes_back(void **state)
{
    struct lists_world *world = *state;
    struct memory_file *file;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(7));
    file = lists_find_file(world, "/l/a");
    file->path[1] = 'x';
    lists_pass(world, PN_SECONDS(7));
    lists_check_trouble(world, "the file does not exist");
    file->path[1] = 'l';
    lists_pass(world, PN_SECONDS(7));
    lists_check_trouble(world, "");
}

static const struct {
    const char *content; /* NULL: removed */
    const char *trouble;
} bad[] = {
    {NULL, "the file does not exist"},
    {"", "it has no recipient of this domain (0 of others)"},
    {"# nobody\nc@example.net\n", "it has no recipient of this domain (1 of others)"},
    {"b\n<html>\n<body>\n", "it has more broken lines (2) than good ones (1): 2: <html>"},
};

static void test_last_good_file_stays(void **state)
{
    struct lists_world *world = *state;

    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        lists_put_file(world, "/l/a", PN_STR("a\n"));
        lists_define(world, "example.org", FILE_LIST);
        lists_pass(world, PN_SECONDS(10));
        lists_check_trouble(world, "");
        world->said[0] = '\0';
        if (bad[i].content) {
            lists_put_file(world, "/l/a", pn_str_z(bad[i].content));
        } else {
            lists_drop_file(world, "/l/a");
        }
        lists_pass(world, PN_MINUTES(10));
        lists_check_find(world, "a", VERIFY_LIST_YES);
        lists_check_find(world, "b", VERIFY_LIST_NO);
        lists_check_trouble(world, bad[i].trouble);
        lists_check_said(world, "list.failed", 1); /* however often it is looked at */
    }
    lists_put_file(world, "/l/a", PN_STR("a\nb\n"));
    lists_pass(world, PN_SECONDS(7));
    lists_check_trouble(world, "");
    lists_check_find(world, "b", VERIFY_LIST_YES);
}

/* Nobody is refused because of a list that was never there. */
static void test_first_file_is_bad(void **state)
{
    struct lists_world *world = *state;

    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        if (bad[i].content) {
            lists_put_file(world, "/l/a", pn_str_z(bad[i].content));
        }
        lists_define(world, "example.org", FILE_LIST);
        lists_pass(world, PN_SECONDS(10));
        lists_check_find(world, "a", VERIFY_LIST_NOT_LOADED);
        lists_check_trouble(world, bad[i].trouble);
        lists_check_said(world, "in_force=none", 1);
        lists_define(world, "example.org", NULL);
    }
}

static void test_unreadable_file(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    world->read_fails = PN_EACCES;
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_MINUTES(1));
    lists_check_trouble(world, "cannot read /l/a");
    lists_check_said(world, "list.failed", 1);
    world->read_fails = 0;
    lists_pass(world, PN_SECONDS(7));
    lists_check_find(world, "a", VERIFY_LIST_YES);
    world->read_fails = PN_ENOSPACE;
    lists_put_file(world, "/l/a", PN_STR("b\n"));
    lists_pass(world, PN_SECONDS(7));
    lists_check_trouble(world, "the file is longer than 256 MiB");
    lists_check_find(world, "a", VERIFY_LIST_YES);
}

static void test_wild_card(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("@\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, 0);
    lists_check_find(world, "anybody", VERIFY_LIST_YES);
    lists_check_said(world, "wild_card=yes", 1);
}

/* What lines mean depends on the domain; another definition without that reads nothing. */
static void test_redefined(void **state)
{
    struct lists_world *world = *state;

    lists_put_file(world, "/l/a", PN_STR("A+x\nb@alias.example\n"));
    lists_put_file(world, "/l/b", PN_STR("c\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(1));
    lists_check_find(world, "a+x", VERIFY_LIST_YES);
    lists_check_find(world, "b", VERIFY_LIST_NO);
    lists_define(world, "example.org", FILE_LIST "hold = 3d");
    lists_pass(world, PN_SECONDS(1));
    assert_int_equal(world->reads, 1);
    lists_define(world, "example.org", FILE_LIST "recipient_delimiter = \"+\"");
    lists_pass(world, PN_SECONDS(1));
    lists_check_find(world, "a", VERIFY_LIST_YES);
    lists_define(world, "example.org",
                 FILE_LIST "case_sensitive = yes aliases = alias.example");
    lists_pass(world, PN_SECONDS(1));
    lists_check_find(world, "a+x", VERIFY_LIST_NO);
    lists_check_find(world, "A+x", VERIFY_LIST_YES);
    lists_check_find(world, "b", VERIFY_LIST_YES);
    lists_define(world, "example.org", "recipients = list recipient_list = \"/l/b\"");
    lists_check_find(world, "b", VERIFY_LIST_YES); /* until the other is read */
    lists_pass(world, PN_SECONDS(1));
    lists_check_find(world, "b", VERIFY_LIST_NO);
    lists_check_find(world, "c", VERIFY_LIST_YES);
    lists_define(world, "example.org", "");
    lists_check_find(world, "c", VERIFY_LIST_NOT_LOADED);
}

/* More files than are looked at in one turn. */
static void test_many_files(void **state)
{
    struct lists_world *world = *state;
    enum { MANY = 1200 };
    char name[32];

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "d%u.example", i);
        lists_define(world, name, FILE_LIST);
    }
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, PN_SECONDS(5));
    assert_int_equal(world->reads, MANY + 1);
    lists_put_file(world, "/l/a", PN_STR("b\n"));
    lists_pass(world, PN_SECONDS(8));
    assert_int_equal(world->reads, 2 * (MANY + 1));
    lists_check_find(world, "b", VERIFY_LIST_YES);
}

struct asker {
    struct lists_world *world;
    struct conf_domain *domain;
    bool stop; /* atomic */
    unsigned wrong;
};

/* Somebody who stands in every version of the list. */
static void *ask_again_and_again(void *owner)
{
    struct asker *asker = owner;

    while (!__atomic_load_n(&asker->stop, __ATOMIC_ACQUIRE)) {
        asker->wrong += verify_lists_find(asker->world->lists, asker->domain, PN_STR("a")) !=
                        VERIFY_LIST_YES;
    }
    return NULL;
}

/* Workers ask while lists are replaced and other domains come and go. */
static void test_asked_by_a_worker(void **state)
{
    struct lists_world *world = *state;
    struct asker asker = {.world = world};
    pthread_t thread;

    lists_put_file(world, "/l/a", PN_STR("a\n"));
    lists_define(world, "example.org", FILE_LIST);
    lists_pass(world, 0);
    asker.domain = conf_domain_ref(
        (struct conf_domain *)(uintptr_t)domains_find(world->domains, PN_STR("example.org")));
    assert_int_equal(pthread_create(&thread, NULL, ask_again_and_again, &asker), 0);
    for (unsigned i = 0; i < 200; i++) {
        lists_put_file(world, "/l/a", i % 2 == 0 ? PN_STR("a\nb\n") : PN_STR("c\na\n"));
        lists_define(world, "example.net", i % 2 == 0 ? FILE_LIST : NULL);
        lists_pass(world, PN_SECONDS(7));
    }
    __atomic_store_n(&asker.stop, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(asker.wrong, 0);
    conf_domain_unref(&asker.domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_no_list, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_file_changes, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_file_settles, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_file_changes_while_read, lists_setup,
                                        lists_teardown),
        cmocka_unit_test_setup_teardown(test_file_comes_back, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_last_good_file_stays, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_first_file_is_bad, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_unreadable_file, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_wild_card, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_redefined, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_many_files, lists_setup, lists_teardown),
        cmocka_unit_test_setup_teardown(test_asked_by_a_worker, lists_setup, lists_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
