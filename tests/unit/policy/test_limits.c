/* What policy/limits promises: totals over all threads, and one limit for each network. */
#include "postern/base/mem.h"
#include "postern/policy/limits.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct pn_net unlimited[] = {{{PN_IPV4, {198, 51, 100, 0}}, 24}};

static struct conf conf_with(int64_t sessions_max, int64_t per_network, uint64_t memory_octets)
{
    return (struct conf){.sessions_max = sessions_max,
                         .sessions_per_network = per_network,
                         .memory_octets = memory_octets,
                         .unlimited_networks = {unlimited, 1}};
}

static struct pn_ip ip(const char *text)
{
    struct pn_ip result;

    assert_true(pn_ip_parse(pn_str_z(text), &result));
    return result;
}

struct session_row {
    const char *name;
    const char *clients[6];
    enum policy_session last; /* what the last of them is told; the others get OK */
};

/* With at most 4 sessions, and 2 from one network. */
static const struct session_row session_rows[] = {
    {"first", {"192.0.2.1"}, POLICY_SESSION_OK},
    {"second of a network", {"192.0.2.1", "192.0.2.2"}, POLICY_SESSION_OK},
    {"third of a /24", {"192.0.2.1", "192.0.2.2", "192.0.2.255"}, POLICY_SESSION_NETWORK},
    {"next /24", {"192.0.2.1", "192.0.2.2", "192.0.3.1"}, POLICY_SESSION_OK},
    {"third of a /48",
     {"2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:ffff::1"},
     POLICY_SESSION_NETWORK},
    {"next /48", {"2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"}, POLICY_SESSION_OK},
    {"unlimited network", {"198.51.100.1", "198.51.100.1", "198.51.100.1"}, POLICY_SESSION_OK},
    {"unlimited is not beyond the total",
     {"198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"},
     POLICY_SESSION_TOTAL},
    {"total",
     {"192.0.2.1", "192.0.3.1", "192.0.4.1", "192.0.5.1", "192.0.6.1"},
     POLICY_SESSION_TOTAL},
};

static void test_counts_sessions(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(session_rows); i++) {
        const struct session_row *row = &session_rows[i];
        struct conf conf = conf_with(4, 2, 1000);
        struct policy_limits *limits = policy_limits_new(&conf);
        size_t taken = 0;

        print_message("%s\n", row->name);
        for (size_t n = 0; n < PN_COUNT(row->clients) && row->clients[n]; n++) {
            struct pn_ip client = ip(row->clients[n]);
            bool last = n + 1 == PN_COUNT(row->clients) || !row->clients[n + 1];
            enum policy_session expected = last ? row->last : POLICY_SESSION_OK;

            assert_int_equal(policy_session_take(limits, &client), expected);
            taken += expected == POLICY_SESSION_OK;
        }
        assert_int_equal(policy_sessions(limits), taken);
        for (size_t n = 0; n < taken; n++) {
            struct pn_ip client = ip(row->clients[n]);

            policy_session_give(limits, &client);
        }
        assert_int_equal(policy_sessions(limits), 0);
        policy_limits_free(&limits);
        assert_null(limits);
    }
}

static void test_a_place_that_was_given_back_is_free(void **state)
{
    struct conf conf = conf_with(10, 1, 1000);
    struct policy_limits *limits = policy_limits_new(&conf);
    struct pn_ip a = ip("192.0.2.1");
    struct pn_ip b = ip("192.0.2.9");

    (void)state;
    assert_int_equal(policy_session_take(limits, &a), POLICY_SESSION_OK);
    assert_int_equal(policy_session_take(limits, &b), POLICY_SESSION_NETWORK);
    policy_session_give(limits, &a);
    assert_int_equal(policy_session_take(limits, &b), POLICY_SESSION_OK);
    policy_session_give(limits, &b);
    policy_limits_free(&limits);
}

static void test_a_reload_changes_the_limits_and_keeps_the_counts(void **state)
{
    struct conf wide = conf_with(10, 10, 1000);
    struct conf narrow = conf_with(2, 1, 100);
    struct policy_limits *limits = policy_limits_new(&wide);
    struct pn_ip free_client = ip("198.51.100.1");
    struct pn_ip client = ip("192.0.2.1");

    (void)state;
    assert_int_equal(policy_session_take(limits, &free_client), POLICY_SESSION_OK);
    assert_int_equal(policy_session_take(limits, &client), POLICY_SESSION_OK);
    assert_int_equal(policy_session_take(limits, &client), POLICY_SESSION_OK);
    assert_true(policy_memory_take(limits, 500));
    narrow.unlimited_networks.count = 0;
    policy_limits_set(limits, &narrow);
    assert_int_equal(policy_memory_max(limits), 100);
    assert_int_equal(policy_memory_used(limits), 500);
    assert_false(policy_memory_take(limits, 1));
    assert_int_equal(policy_session_take(limits, &client), POLICY_SESSION_TOTAL);
    policy_session_give(limits, &client);
    policy_session_give(limits, &client);
    /* It was counted although nothing limited it, so that it can be given back now. */
    assert_int_equal(policy_session_take(limits, &free_client), POLICY_SESSION_NETWORK);
    policy_session_give(limits, &free_client);
    policy_memory_give(limits, 500);
    policy_limits_free(&limits);
}

static void test_bounds_memory(void **state)
{
    struct conf conf = conf_with(10, 10, 1000);
    struct policy_limits *limits = policy_limits_new(&conf);

    (void)state;
    assert_true(policy_memory_take(limits, 0));
    assert_true(policy_memory_take(limits, 1000));
    assert_false(policy_memory_take(limits, 1));
    assert_false(policy_memory_take(limits, UINT64_MAX));
    policy_memory_give(limits, 1);
    assert_false(policy_memory_take(limits, 2));
    assert_true(policy_memory_take(limits, 1));
    assert_int_equal(policy_memory_used(limits), 1000);
    policy_memory_give(limits, 1000);
    assert_int_equal(policy_memory_used(limits), 0);
    policy_limits_free(&limits);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *hammer(void *owner)
{
    struct policy_limits *limits = owner;
    struct pn_ip client = ip("192.0.2.1");

    for (size_t i = 0; i < ROUNDS; i++) {
        if (policy_memory_take(limits, 300)) {
            policy_memory_give(limits, 300);
        }
        if (policy_session_take(limits, &client) == POLICY_SESSION_OK) {
            policy_session_give(limits, &client);
        }
    }
    return NULL;
}

static void test_threads_do_not_lose_a_count(void **state)
{
    struct conf conf = conf_with(3, 2, 1000);
    struct policy_limits *limits = policy_limits_new(&conf);
    pthread_t threads[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, limits), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(policy_memory_used(limits), 0);
    assert_int_equal(policy_sessions(limits), 0);
    policy_limits_free(&limits);
}

static void test_a_session_becomes_another_clients(void **state)
{
    struct conf conf = conf_with(4, 2, 0);
    struct policy_limits *limits = policy_limits_new(&conf);
    struct pn_ip front = ip("192.0.2.80"), client = ip("203.0.113.7");
    struct pn_ip nobody = {.family = PN_FAMILY_NONE};

    (void)state;
    assert_int_equal(policy_session_take(limits, &front), POLICY_SESSION_OK);
    assert_int_equal(policy_session_take(limits, &front), POLICY_SESSION_OK);
    assert_int_equal(policy_session_move(limits, &front, &client), POLICY_SESSION_OK);
    assert_int_equal(policy_session_move(limits, &front, &client), POLICY_SESSION_OK);
    assert_int_equal(policy_session_take(limits, &front), POLICY_SESSION_OK);
    assert_int_equal(policy_session_move(limits, &front, &client), POLICY_SESSION_NETWORK);
    assert_int_equal(policy_session_move(limits, &front, &nobody), POLICY_SESSION_OK);
    assert_int_equal(policy_session_move(limits, &client, &nobody), POLICY_SESSION_OK);
    assert_int_equal(policy_session_move(limits, &client, &nobody), POLICY_SESSION_OK);
    assert_int_equal(policy_sessions(limits), 3);
    for (size_t i = 0; i < 3; i++) {
        policy_session_give(limits, &nobody);
    }
    policy_limits_free(&limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_sessions),
        cmocka_unit_test(test_a_place_that_was_given_back_is_free),
        cmocka_unit_test(test_a_reload_changes_the_limits_and_keeps_the_counts),
        cmocka_unit_test(test_a_session_becomes_another_clients),
        cmocka_unit_test(test_bounds_memory),
        cmocka_unit_test(test_threads_do_not_lose_a_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
