/* What named.c and contact.c promise: queues by their names, forgotten when empty; sayings. */
#include "deliver_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAIN_TEXT                                                                              \
    "hostname = \"mx2.example.net\"\n"                                                         \
    "listener \"mx\" {\n  address = {\"192.0.2.9:25\"}\n}\n"
#define SMART_TEXT "smart_host \"main\" {\n  target = {\"192.0.2.7\"}\n  rate = \"5/s\"\n}\n"

struct fixture {
    struct deliver deliver;
    struct loop loop;
    struct out_deps out;
    struct queue_clock clock;
    struct pn_log log;
};

static struct conf *new_conf(const char *text)
{
    struct conf_mistakes mistakes;
    struct conf *conf;

    conf_mistakes_init(&mistakes);
    conf = conf_parse("postern.conf", pn_str_z(text), &mistakes);
    assert_non_null(conf);
    conf_mistakes_fini(&mistakes);
    return conf;
}

static int set_up(void **state)
{
    struct fixture *fixture = PN_NEW(struct fixture);
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 1};

    pn_log_init(&fixture->log, NULL);
    loop_init(&fixture->loop, NULL);
    fixture->out.loop = &fixture->loop;
    queue_clock_init(&fixture->clock, 0, (struct pn_wall){PN_DAYS(20000)}, fixture->loop.now);
    fixture->deliver.deps = (struct deliver_deps){
        .out = &fixture->out, .clock = &fixture->clock, .board = out_board_new()};
    fixture->deliver.queue = queue_new(&options);
    fixture->deliver.domains = domains_new();
    fixture->deliver.conf = new_conf(MAIN_TEXT);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    deliver_named_drop(&fixture->deliver);
    deliver_contacts_drop(&fixture->deliver);
    queue_free(&fixture->deliver.queue);
    domains_unref(&fixture->deliver.domains);
    conf_unref(&fixture->deliver.conf);
    out_board_free(&fixture->deliver.deps.board);
    free(fixture);
    return 0;
}

static struct queue_job job_of(uint32_t number)
{
    struct queue_job job = {.due_ms = 1, .arrival_ms = 1, .size_octets = 10};

    memcpy(job.id.octets, &number, sizeof number);
    return job;
}

/* As deliver.c does it for a notice. */
static void add(struct deliver *deliver, const char *queue, uint32_t number, bool added)
{
    struct queue_job job = job_of(number);

    if (added) {
        deliver_named_seen(deliver, pn_str_z(queue));
        queue_job_added(deliver->queue, pn_str_z(queue), &job, deliver_now_ms(deliver));
    } else {
        queue_job_removed(deliver->queue, pn_str_z(queue), &job, deliver_now_ms(deliver));
    }
}

static void pass(struct deliver *deliver, unsigned seconds)
{
    while (seconds-- > 0) {
        deliver->seconds++;
        deliver_named_second(deliver);
    }
}

static void count_one(void *owner, const struct queue_status *status)
{
    (void)status;
    ++*(size_t *)owner;
}

static size_t queues(const struct deliver *deliver)
{
    size_t count = 0;

    queue_each(deliver->queue, deliver_now_ms(deliver), count_one, &count);
    return count;
}

static void test_memory_follows_the_mail(void **state)
{
    struct deliver *deliver = &((struct fixture *)*state)->deliver;
    struct queue_status status;
    struct pn_str destination;
    char name[64];

    for (uint32_t i = 0; i < 3000; i++) {
        (void)snprintf(name, sizeof name, "out:d%u.example", i);
        add(deliver, name, i, true);
        if (i > 0) {
            add(deliver, name, i, false);
        }
    }
    assert_int_equal(queues(deliver), 3000);
    assert_true(queue_get_status(deliver->queue, PN_STR("out:d9.example"),
                                 deliver_now_ms(deliver), &status));
    assert_true(status.defined);
    out_board_set_state(deliver->deps.board, status.destination, QUEUE_DOWN, false);
    pass(deliver, 4 * 60);
    assert_int_equal(queues(deliver), 3000);
    pass(deliver, 15 * 60);
    assert_int_equal(queues(deliver), 1);
    /* It waits on, and its definition is made again when it is needed. */
    assert_true(queue_get_status(deliver->queue, PN_STR("out:d0.example"),
                                 deliver_now_ms(deliver), &status));
    assert_true(status.defined);
    destination = status.destination;
    assert_true(pn_str_eq(
        pn_str_z(deliver_domain(deliver, PN_STR("out:d0.example"))->destination), destination));
    assert_int_equal(queues(deliver), 1);
}

static void test_board_forgets(void **state)
{
    struct deliver *deliver = &((struct fixture *)*state)->deliver;
    struct queue_status status;
    char *destination;

    add(deliver, "out:a.example", 1, true);
    assert_true(queue_get_status(deliver->queue, PN_STR("out:a.example"),
                                 deliver_now_ms(deliver), &status));
    destination = pn_strndup(status.destination);
    out_board_set_state(deliver->deps.board, pn_str_z(destination), QUEUE_DOWN, false);
    add(deliver, "out:a.example", 1, false);
    pass(deliver, 8 * 60);
    assert_int_equal(queues(deliver), 0);
    assert_int_equal(out_board_get(deliver->deps.board, pn_str_z(destination)).state,
                     QUEUE_UNKNOWN);
    free(destination);
}

static void configure(struct deliver *deliver, const char *text)
{
    conf_unref(&deliver->conf);
    deliver->conf = new_conf(text);
    deliver_named_configure(deliver);
    pass(deliver, 1);
}

static bool is_defined(const struct deliver *deliver, const char *queue)
{
    struct queue_status status;

    assert_true(
        queue_get_status(deliver->queue, pn_str_z(queue), deliver_now_ms(deliver), &status));
    return status.defined;
}

static void test_smart_host_goes_and_comes(void **state)
{
    struct deliver *deliver = &((struct fixture *)*state)->deliver;
    struct queue_destination_status status;
    const struct conf_domain *domain;

    add(deliver, "smarthost:main", 1, true);
    assert_false(is_defined(deliver, "smarthost:main"));
    configure(deliver, MAIN_TEXT SMART_TEXT);
    assert_true(is_defined(deliver, "smarthost:main"));
    domain = deliver_domain(deliver, PN_STR("smarthost:main"));
    assert_true(queue_get_destination(deliver->queue, pn_str_z(domain->destination),
                                      deliver_now_ms(deliver), &status));
    configure(deliver, MAIN_TEXT);
    assert_false(is_defined(deliver, "smarthost:main"));
    assert_null(deliver_domain(deliver, PN_STR("smarthost:main")));
    configure(deliver, MAIN_TEXT SMART_TEXT);
    assert_true(is_defined(deliver, "smarthost:main"));
    pass(deliver, 60 * 60); /* it has mail */
    assert_true(is_defined(deliver, "smarthost:main"));
}

static void test_sayings(void **state)
{
    struct deliver *deliver = &((struct fixture *)*state)->deliver;
    struct deliver_slot slot = {.destination = (char *)(uintptr_t) "smtp:a:25"};
    struct deliver_report report = {.end = OUT_END_BUSY, .reason = "421 4.7.0 busy"};
    const struct deliver_contact *contact;

    assert_null(deliver_get_contact(deliver, PN_STR("smtp:a:25")));
    for (int i = 0; i < 30; i++) {
        deliver_contact_ended(deliver, &slot, &report);
    }
    contact = deliver_get_contact(deliver, PN_STR("smtp:a:25"));
    assert_non_null(contact);
    assert_int_equal(contact->words[DELIVER_SAID_BUSY], 30);
    assert_int_equal(contact->said_count, 1);
    assert_int_equal(contact->said[0].times, 30);
    report.end = OUT_END_LOST;
    for (int i = 0; i < 15; i++) {
        (void)snprintf(report.reason, sizeof report.reason, "lost %d", i);
        deliver_contact_ended(deliver, &slot, &report);
    }
    assert_int_equal(contact->said_count, DELIVER_SAYINGS);
    assert_string_equal(contact->said[0].text, "lost 14");
    assert_string_equal(contact->said[9].text, "lost 5");
    report.end = OUT_END_CLEAN;
    deliver_contact_ended(deliver, &slot, &report);
    assert_int_equal(contact->words[DELIVER_SAID_LOST], 15);
    deliver_contact_forget(deliver, PN_STR("smtp:a:25"));
    assert_null(deliver_get_contact(deliver, PN_STR("smtp:a:25")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_memory_follows_the_mail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_board_forgets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_smart_host_goes_and_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sayings, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
