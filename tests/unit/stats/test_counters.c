/* What stats/counters promises: sums over threads, and text that Prometheus reads. */
#include "postern/base/mem.h"
#include "postern/stats/counters.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_counts(void **state)
{
    struct stats_counters *counters = stats_counters_new();

    (void)state;
    assert_int_equal(stats_get(counters, STATS_CONNECTIONS), 0);
    stats_count(counters, STATS_CONNECTIONS, 1);
    stats_count(counters, STATS_CONNECTIONS, 41);
    stats_count(counters, STATS_LOG_DROPPED, UINT64_C(5000000000));
    assert_int_equal(stats_get(counters, STATS_CONNECTIONS), 42);
    assert_int_equal(stats_get(counters, STATS_LOG_DROPPED), UINT64_C(5000000000));
    stats_counters_free(&counters);
    assert_null(counters);
}

enum { THREADS = 4, ROUNDS = 5000 };

static void *hammer(void *owner)
{
    for (size_t i = 0; i < ROUNDS; i++) {
        stats_count(owner, STATS_MESSAGES_STORED, 2);
        stats_count_event(owner, PN_EV_STORED);
    }
    return NULL;
}

static void test_threads_do_not_lose_a_count(void **state)
{
    struct stats_counters *counters = stats_counters_new();
    pthread_t threads[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, counters), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(stats_get(counters, STATS_MESSAGES_STORED), 2 * THREADS * ROUNDS);
    stats_counters_free(&counters);
}

static bool contains(struct pn_str text, const char *what)
{
    return memmem(text.ptr, text.len, what, strlen(what)) != NULL;
}

static void test_writes_what_prometheus_reads(void **state)
{
    static const char *const expected[] = {
        "# HELP postern_connections_total Client connections that were taken.\n"
        "# TYPE postern_connections_total counter\n"
        "postern_connections_total 3\n",
        "# HELP postern_queue_messages Jobs that wait, over all queues.\n"
        "# TYPE postern_queue_messages gauge\n"
        "postern_queue_messages 1000000\n",
        "\npostern_queue_bytes 5000000000\n",
        "\npostern_queue_oldest_age_seconds 1.25\n",
        "\npostern_spool_ready NaN\n",
        "\npostern_spool_free_bytes +Inf\n",
        "# TYPE postern_events_total counter\n",
        "\npostern_events_total{event=\"message.stored\"} 2\n",
        "\npostern_events_total{event=\"alarm\"} 0\n",
    };
    struct stats_counters *counters = stats_counters_new();
    double gauges[STATS_GAUGE_COUNT] = {0};
    struct pn_buf out;

    (void)state;
    stats_count(counters, STATS_CONNECTIONS, 3);
    stats_count_event(counters, PN_EV_STORED);
    stats_count_event(counters, PN_EV_STORED);
    gauges[STATS_GAUGE_QUEUE_MESSAGES] = 1000000;
    gauges[STATS_GAUGE_QUEUE_OCTETS] = 5e9;
    gauges[STATS_GAUGE_QUEUE_OLDEST] = 1.25;
    gauges[STATS_GAUGE_SPOOL_READY] = NAN;
    gauges[STATS_GAUGE_SPOOL_FREE] = INFINITY;
    pn_buf_init(&out, 1 << 20);
    assert_int_equal(stats_write_metrics(counters, gauges, &out), 0);
    for (size_t i = 0; i < PN_COUNT(expected); i++) {
        print_message("%s", expected[i]);
        assert_true(contains(pn_buf_str(&out), expected[i]));
    }
    pn_buf_fini(&out);
    stats_counters_free(&counters);
}

/* Each line is a comment or "name value" or "name{label} value", and ends in a line end. */
static void test_every_line_has_its_form(void **state)
{
    struct stats_counters *counters = stats_counters_new();
    double gauges[STATS_GAUGE_COUNT] = {0};
    struct pn_buf out;
    struct pn_str rest;

    (void)state;
    pn_buf_init(&out, 1 << 20);
    assert_int_equal(stats_write_metrics(counters, gauges, &out), 0);
    rest = pn_buf_str(&out);
    assert_true(pn_str_ends(rest, PN_STR("\n")));
    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');

        if (!pn_str_starts(line, PN_STR("# "))) {
            assert_true(pn_str_starts(line, PN_STR("postern_")));
            assert_true(pn_str_find(line, ' ') < line.len - 1);
            assert_int_equal(pn_str_find(line, ' '), pn_str_rfind(line, ' '));
        }
    }
    pn_buf_fini(&out);
    stats_counters_free(&counters);
}

static void test_a_full_buffer_is_told(void **state)
{
    struct stats_counters *counters = stats_counters_new();
    double gauges[STATS_GAUGE_COUNT] = {0};
    size_t whole;
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 1 << 20);
    assert_int_equal(stats_write_metrics(counters, gauges, &out), 0);
    whole = pn_buf_str(&out).len;
    pn_buf_fini(&out);
    for (size_t max = 0; max < whole; max += 97) {
        pn_buf_init(&out, max);
        assert_int_equal(stats_write_metrics(counters, gauges, &out), PN_ENOSPACE);
        pn_buf_fini(&out);
    }
    stats_counters_free(&counters);
}

static void test_writes_a_manual(void **state)
{
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 1 << 20);
    assert_int_equal(stats_write_man(&out), 0);
    assert_true(contains(pn_buf_str(&out), ".TP\n.BR postern_connections_total \" (counter)\"\n"
                                           "Client connections that were taken.\n"));
    assert_true(contains(pn_buf_str(&out), ".BR postern_sessions \" (gauge)\"\n"));
    assert_true(contains(pn_buf_str(&out), ".BR postern_events_total \" (counter, label"));
    pn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_threads_do_not_lose_a_count),
        cmocka_unit_test(test_writes_what_prometheus_reads),
        cmocka_unit_test(test_every_line_has_its_form),
        cmocka_unit_test(test_a_full_buffer_is_told),
        cmocka_unit_test(test_writes_a_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
