/*
 * The status' first line, its tables, and the progress of a flush.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <string.h>

static const struct {
    const char *name;
    const char *status;
    const char *summary;
} summaries[] = {
    {"nothing at all", "{\"domains_total\":0,\"queue\":{\"messages\":0,\"parked\":0}}",
     "0 domains; nothing waits"},
    {"all is well",
     "{\"domains_total\":2,\"domains_by_state\":{\"up\":2},\"queue\":{\"messages\":0}}",
     "2 domains, all up; nothing waits"},
    {"one of two is down",
     "{\"domains_total\":2,\"domains_by_state\":{\"up\":1,\"down\":1},"
     "\"domains\":[{\"state\":\"up\",\"since_s\":99999},{\"state\":\"down\",\"since_s\":11520,"
     "\"next_probe_s\":4.1}],"
     "\"queue\":{\"messages\":4312,\"octets\":19083919,\"oldest_s\":11400,\"parked\":0}}",
     "2 domains, 1 down since 3h 12m; 4,312 messages wait (18.2 MiB), the oldest for 3h 10m; "
     "next probe in 4 s"},
    {"one message, parked, broken, held, ramp",
     "{\"domains_total\":3,\"domains_by_state\":{\"held\":1,\"ramp\":1,\"up\":1},"
     "\"broken_total\":1,\"queue\":{\"messages\":1,\"octets\":512,\"oldest_s\":5,\"parked\":1}"
     "}",
     "3 domains, 1 just back, 1 held, 1 file with a mistake; 1 message waits (512 B), for 5s; "
     "1 is parked"},
    {"stopped",
     "{\"domains_total\":2,\"domains_by_state\":{\"stopped\":1,\"up\":1},"
     "\"queue\":{\"messages\":0,\"parked\":3}}",
     "2 domains, 1 stopped for refusals; nothing waits; 3 are parked"},
    {"in doubt",
     "{\"domains_total\":1,\"domains_by_state\":{\"up\":1},"
     "\"queue\":{\"messages\":2,\"octets\":512,\"in_doubt\":1}}",
     "1 domain, up; 2 messages wait (512 B); 1 in doubt (may have been delivered)"},
    {"disk full",
     "{\"domains_total\":1,\"domains_by_state\":{\"up\":1},\"spool\":{\"readiness\":\"full\"},"
     "\"queue\":{\"messages\":0}}",
     "the disk is nearly full and new mail is answered 452; 1 domain, up; nothing waits"},
    {"spool broken",
     "{\"domains_total\":1,\"spool\":{\"readiness\":\"broken\"},\"queue\":{\"messages\":0}}",
     "the spool does not work and new mail is answered 452; 1 domain; nothing waits"},
    {"not what was expected", "[]", "0 domains; nothing waits"},
};

static void test_summaries(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(summaries); i++) {
        json_t *status = json_loads(summaries[i].status, 0, NULL);
        struct pn_buf out;

        assert_non_null(status);
        pn_buf_init(&out, CLI_TEXT_MAX);
        cli_summary(status, &out);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(summaries[i].summary))) {
            fail_msg("%s: %.*s", summaries[i].name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
        json_decref(status);
    }
}

static void test_whole_status(void **state)
{
    static const struct answer answer = {
        200,
        "{\"version\":\"1.2\",\"hostname\":\"mx2.example.net\",\"started_s\":90061,"
        "\"domains_total\":101,\"domains_by_state\":{\"down\":1},\"sessions\":3,"
        "\"domains\":[{\"name\":\"example.org\",\"state\":\"down\",\"since_s\":60,"
        "\"messages\":2,\"octets\":2048,\"oldest_s\":50,\"parked\":0,\"next_probe_s\":2,"
        "\"reason\":\"refused \\u001b\"}],"
        "\"broken\":[{\"mistake\":\"b.conf:3: what\",\"in_force\":true}],\"broken_total\":1,"
        "\"queue\":{\"messages\":2,\"octets\":2048,\"oldest_s\":50},"
        "\"spool\":{\"readiness\":\"ready\",\"free\":1048576,\"total\":2097152,"
        "\"encrypted\":true,\"corrupt\":2,\"trouble\":\"write failed\"},"
        "\"memory\":{\"used\":1024,\"max\":2048}}",
        0};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = &answer;
    run.answer_count = 1;
    run_words(&run, "status");
    assert_int_equal(run.status, 0);
    assert_string_equal(
        run.out, "101 domains, 1 down since 1m, 1 file with a mistake; 2 messages wait (2.0 "
                 "KiB), the "
                 "oldest for 50s; next probe in 2 s\n"
                 "\n"
                 "DOMAIN       STATE  SINCE  MESSAGES     SIZE  OLDEST  PARKED  ACTIVITY\n"
                 "example.org  down      1m         2  2.0 KiB     50s       0  probe in 2 s\n"
                 "100 more; \"postern domain list\" shows all\n"
                 "\n"
                 "example.org: refused \\x1b\n"
                 "b.conf:3: what (the last good version is in force)\n"
                 "spool: ready, 1.0 MiB free of 2.0 MiB, encrypted, 2 damaged records\n"
                 "spool trouble: write failed\n"
                 "postern 1.2 on mx2.example.net, up 1d 1h; client sessions: 3; memory for "
                 "text: 1.0 KiB "
                 "of 2.0 KiB\n");
    run_fini(&run);
}

/* Who came back is told of in words, under the table. */
static void test_parole_in_words(void **state)
{
    static const struct answer answer = {
        200,
        "{\"domains_total\":3,\"domains_by_state\":{\"ramp\":1,\"stopped\":1,\"up\":1},"
        "\"domains\":[{\"name\":\"a.example\",\"state\":\"ramp\",\"since_s\":3,\"messages\":9,"
        "\"octets\":1024,\"parole\":true,\"parole_done\":12,\"parole_wanted\":50,"
        "\"parole_refused\":0,\"reason\":\"a probe answered\"},"
        "{\"name\":\"b.example\",\"state\":\"stopped\",\"since_s\":60,\"messages\":7,"
        "\"octets\":1024,\"parole\":true,\"parole_done\":1,\"parole_wanted\":50,"
        "\"parole_refused\":1,\"next_canary_s\":1740,\"reason\":\"550 no\\u001b\"},"
        "{\"name\":\"c.example\",\"state\":\"up\",\"since_s\":60,\"parole\":false}]}",
        0};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = &answer;
    run.answer_count = 1;
    run_words(&run, "status");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "3 domains, 1 just back, 1 stopped for refusals; "));
    assert_non_null(strstr(run.out, " on parole\n"));
    assert_non_null(strstr(run.out, " tries some in 29m\n"));
    assert_non_null(strstr(run.out,
                           "\n\na.example: back since 3s, on parole: 12 of 50 clean\n"
                           "b.example: stopped: 550 no\\x1b, decide with \"postern destination "
                           "resume|refuse b.example\"\nspool:"));
    run_fini(&run);
}

/* ---- flush ------------------------------------------------------------------------ */

#define LOOK(messages, flushing, rate, state)                                                  \
    {                                                                                          \
        200,                                                                                   \
            "{\"messages\":" messages ",\"flushing\":" flushing ",\"rate\":" rate              \
            ",\"in_flight\":0,\"state\":\"" state "\",\"reason\":\"why\"}",                    \
            0                                                                                  \
    }

static const struct answer drained[] = {{200, "{}", 0},
                                        LOOK("4", "true", "2.0", "ramp"),
                                        LOOK("2", "true", "2.0", "up"),
                                        LOOK("0", "false", "0.0", "up")};
static const struct answer stays[] = {
    {200, "{}", 0}, LOOK("4", "true", "0.0", "up"), LOOK("3", "false", "0.0", "up")};
static const struct answer recovers[] = {{200, "{}", 0},
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "false", "0.0", "down"),
                                         LOOK("4", "true", "1.0", "ramp"),
                                         LOOK("0", "false", "0.0", "up")};
static const struct answer held[] = {{200, "{}", 0}, LOOK("4", "false", "0.0", "held")};
static const struct answer stopped[] = {{200, "{}", 0}, LOOK("4", "false", "0.0", "stopped")};
static const struct answer ends[] = {
    {200, "{}", 0}, LOOK("4", "true", "0.0", "up"), {0, "", PN_ECLOSED}};

static const struct {
    const char *name;
    const struct answer *answers;
    size_t count;
    unsigned pauses;
    int status;
    const char *out;
} flushes[] = {
    {"drained", drained, PN_COUNT(drained), 0, 0,
     "0 of 4, 2/s, 2s left\n2 of 4, 2/s, 1s left\n4 of 4\nnothing waits any more\n"},
    {"some stay", stays, PN_COUNT(stays), 0, 1,
     "0 of 4\n1 of 4\nthe flush is over, and some messages "
     "stay: "
     "held, or put off by the target; see \"postern queue list\"\n"},
    {"down, then back", recovers, PN_COUNT(recovers), 0, 0,
     "the target does not answer; probes go on, and mail follows by itself: why\n"
     "0 of 4\nthe target answers again\n4 of 4\nnothing waits any more\n"},
    {"held", held, PN_COUNT(held), 0, 1, "0 of 4\nthe queue is held: why\n"},
    {"stopped", stopped, PN_COUNT(stopped), 0, 1,
     "0 of 4\nthe target is back and refuses too much; see \"postern status\": why\n"},
    {"the user leaves", recovers, PN_COUNT(recovers), 2, 1,
     "the target does not answer; probes go on, and mail follows by itself: why\n"
     "0 of 4\nleft; the flush goes on\n"},
    {"the daemon ends", ends, PN_COUNT(ends), 0, 3, "0 of 4\n"},
};

static void test_flushes(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(flushes); i++) {
        struct run run;

        run_init(&run);
        run.answers = flushes[i].answers;
        run.answer_count = flushes[i].count;
        run.pauses = flushes[i].pauses;
        run_words(&run, "flush example.org --wait");
        if (run.status != flushes[i].status || strcmp(run.out, flushes[i].out) != 0) {
            fail_msg("%s: %d\n%s", flushes[i].name, run.status, run.out);
        }
        run_fini(&run);
    }
}

static void test_flush_of_all_on_a_terminal(void **state)
{
    static const struct answer answers[] = {
        {200, "{}", 0},
        {200, "{\"queue\":{\"messages\":2,\"flushing\":true,\"rate\":0.0}}", 0},
        {200, "{\"queue\":{\"messages\":1,\"flushing\":true,\"rate\":1.0}}", 0},
        {200, "{\"queue\":{\"messages\":0,\"flushing\":false,\"rate\":0.0}}", 0}};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = answers;
    run.answer_count = PN_COUNT(answers);
    run.terminal = true;
    run_words(&run, "flush --all --wait");
    assert_int_equal(run.status, 0);
    assert_non_null(
        strstr(run.out, "\r[###############---------------] 1 of 2, 1/s, 1s left\033[K"));
    assert_non_null(strstr(run.out, "\r\033[Knothing waits any more\n"));
    run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summaries),
        cmocka_unit_test(test_whole_status),
        cmocka_unit_test(test_parole_in_words),
        cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_flush_of_all_on_a_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
