/* What dsn.c promises: who is told what, and not more often than the domain wants. */
#include "deliver_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NEVER   MAIL_NOTIFY_NEVER
#define SUCCESS MAIL_NOTIFY_SUCCESS
#define FAILURE MAIL_NOTIFY_FAILURE
#define DELAY   MAIL_NOTIFY_DELAY

/* f, d, r: a failure, a delay, a relayed mail is told. */
struct row {
    const char *name;
    const char *sender;
    bool authorised;
    int bounce;
    unsigned notify;
    const char *told;
};

static const struct row rows[] = {
    {"authorised", "a@b", true, CONF_BOUNCE_NEVER, 0, "fd"},
    {"authorised, always", "a@b", true, CONF_BOUNCE_ALWAYS, 0, "fd"},
    {"a stranger", "a@b", false, CONF_BOUNCE_NEVER, 0, ""},
    {"a stranger who asks", "a@b", false, CONF_BOUNCE_NEVER, SUCCESS | FAILURE | DELAY, ""},
    {"a stranger, always", "a@b", false, CONF_BOUNCE_ALWAYS, 0, "f"},
    {"a stranger who asks, always", "a@b", false, CONF_BOUNCE_ALWAYS, SUCCESS | DELAY, "dr"},
    {"a null sender", "", true, CONF_BOUNCE_ALWAYS, 0, ""},
    {"a null sender that asks", "", true, CONF_BOUNCE_ALWAYS, SUCCESS | FAILURE | DELAY, ""},
    {"never", "a@b", true, CONF_BOUNCE_ALWAYS, NEVER, ""},
    {"never, and more", "a@b", true, CONF_BOUNCE_ALWAYS, NEVER | FAILURE, ""},
    {"failure alone", "a@b", true, CONF_BOUNCE_NEVER, FAILURE, "f"},
    {"success alone", "a@b", true, CONF_BOUNCE_NEVER, SUCCESS, "r"},
    {"delay alone", "a@b", true, CONF_BOUNCE_NEVER, DELAY, "d"},
    {"all", "a@b", true, CONF_BOUNCE_NEVER, SUCCESS | FAILURE | DELAY, "fdr"},
};

static void test_who_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        const struct row *row = &rows[i];
        const struct conf_domain domain = {.bounce = row->bounce};
        const struct mail_envelope envelope = {.sender = pn_str_z(row->sender),
                                               .flags = row->authorised ? MAIL_AUTHORISED : 0};
        const struct mail_recipient recipient = {.notify = row->notify};
        static const enum mail_report_kind kinds[] = {MAIL_REPORT_FAILED, MAIL_REPORT_DELAYED,
                                                      MAIL_REPORT_RELAYED};
        char told[4] = "";

        for (size_t k = 0; k < PN_COUNT(kinds); k++) {
            if (deliver_dsn_wanted(&domain, &envelope, &recipient, kinds[k])) {
                told[strlen(told)] = "fdr"[k];
            }
        }
        if (strcmp(told, row->told) != 0) {
            fail_msg("%s: told \"%s\", not \"%s\"", row->name, told, row->told);
        }
    }
}

/* A queue that no configuration names any more: its own may be told, nobody else. */
static void test_without_a_definition(void **state)
{
    struct mail_envelope envelope = {.sender = PN_STR("a@b")};

    (void)state;
    assert_false(deliver_dsn_may(NULL, &envelope));
    envelope.flags = MAIL_AUTHORISED;
    assert_true(deliver_dsn_may(NULL, &envelope));
}

static void test_how_often(void **state)
{
    struct loop loop = {.now = {1000}};
    struct out_deps out = {.loop = &loop};
    struct queue_clock clock = {0};
    struct deliver deliver = {.deps = {.out = &out, .clock = &clock}};

    (void)state;
    deliver.deps.counters = stats_counters_new();
    deliver.domains = domains_new();
    pn_log_init(&deliver.log, NULL);
    for (size_t i = 0; i < 100; i++) { /* what is the default where there is no definition */
        assert_true(deliver_dsn_take(&deliver, PN_STR("example.org")));
    }
    assert_false(deliver_dsn_take(&deliver, PN_STR("example.org")));
    assert_false(deliver_dsn_take(&deliver, PN_STR("example.org")));
    assert_true(deliver_dsn_take(&deliver, PN_STR("example.net")));
    assert_int_equal(stats_get(deliver.deps.counters, STATS_REPORTS_LIMITED), 2);
    loop.now.ms += PN_HOURS(1) - 1;
    deliver_dsn_second(&deliver);
    assert_false(deliver_dsn_take(&deliver, PN_STR("example.org")));
    loop.now.ms += 1;
    deliver_dsn_second(&deliver);
    assert_null(deliver.dsn_rates);
    assert_true(deliver_dsn_take(&deliver, PN_STR("example.org")));
    deliver_dsn_drop(&deliver);
    assert_null(deliver.dsn_rates);
    domains_unref(&deliver.domains);
    stats_counters_free(&deliver.deps.counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_told),
        cmocka_unit_test(test_without_a_definition),
        cmocka_unit_test(test_how_often),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
