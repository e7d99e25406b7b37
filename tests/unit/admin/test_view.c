/*
 * Queues and destinations as JSON, out of a scheduler.
 */
#include "helper_admin.h"
#include "view_priv.h"

#include "postern/base/mem.h"
#include "postern/smtp/client.h"

#include <stdio.h>
#include <string.h>

#define NOW 100000000

struct scene {
    struct queue *queue;
    struct domains *domains;
    struct admin_view view;
};

static void define(struct scene *scene, const char *name, const char *destination)
{
    struct queue_definition definition = {.destination = destination,
                                          .sessions = 20,
                                          .messages_per_session = 100,
                                          .retry_min_ms = 300000,
                                          .retry_max_ms = 1800000,
                                          .hold_ms = PN_DAYS(14)};

    queue_define(scene->queue, pn_str_z(name), &definition, NOW);
}

static void scene_init(struct scene *scene)
{
    struct queue_options options = {.probe_min_ms = 5000,
                                    .probe_max_ms = 60000,
                                    .probe_rate = 300,
                                    .in_doubt_ms = 600000,
                                    .seed = 1};

    scene->queue = queue_new(&options);
    scene->domains = domains_new();
    scene->view = (struct admin_view){
        .queue = scene->queue, .domains = scene->domains, .clock = {NOW, {1763760000000}}};
}

static void scene_fini(struct scene *scene)
{
    queue_free(&scene->queue);
    domains_unref(&scene->domains);
}

/* A job comes and goes, for which the queue's destination is tried; it does not answer. */
static void take_down(struct scene *scene, const char *name, const char *reason, int64_t now_ms)
{
    struct queue_job job = {
        .due_ms = now_ms, .arrival_ms = now_ms, .size_octets = 1, .recipients = 1};
    struct queue_action action;
    int64_t again_ms;

    queue_job_added(scene->queue, pn_str_z(name), &job, now_ms);
    while (queue_next(scene->queue, now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_READ) {
            queue_page(scene->queue, action.queue, 0, &job, 1, true, now_ms);
        } else if (action.kind == QUEUE_OPEN) {
            queue_session_ended(scene->queue, action.session, QUEUE_END_FAILED,
                                pn_str_z(reason), now_ms);
        }
    }
    queue_job_removed(scene->queue, pn_str_z(name), &job, now_ms);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static void test_a_queue_that_nothing_names(void **state)
{
    struct scene scene;
    struct admin_totals totals;
    json_t *list;
    json_t *row;

    (void)state;
    scene_init(&scene);
    define(&scene, "a.example", "smtp:a:25");
    queue_counted(scene.queue, PN_STR("gone.example"), 3, 4096, 2, NOW);
    admin_view_totals(&scene.view, &totals);
    assert_int_equal(totals.queues, 2);
    assert_int_equal(totals.messages, 3);
    assert_int_equal(totals.octets, 4096);
    assert_int_equal(totals.parked, 2);
    assert_int_equal(totals.destinations, 1);
    assert_int_equal(totals.queues_by_state[QUEUE_HELD], 1);
    assert_int_equal(totals.queues_by_state[QUEUE_UNKNOWN], 1);

    list = admin_view_domains(&scene.view, &totals);
    assert_int_equal(json_array_size(list), 2);
    row = json_array_get(list, 1);
    assert_string_equal(text_of(row, "name"), "gone.example");
    assert_string_equal(text_of(row, "state"), "held");
    assert_string_equal(text_of(row, "reason"), "no configuration names this queue any more");
    assert_true(json_is_false(json_object_get(row, "defined")));
    assert_int_equal(json_integer_value(json_object_get(row, "messages")), 3);
    json_decref(list);
    scene_fini(&scene);
}

static void test_down_and_its_probe(void **state)
{
    struct scene scene;
    struct queue_status status;
    struct queue_destination_status destination;
    json_t *row;

    (void)state;
    scene_init(&scene);
    define(&scene, "a.example", "smtp:a:25");
    take_down(&scene, "a.example", "refused \xff", NOW - 60000);
    assert_true(queue_get_status(scene.queue, PN_STR("a.example"), NOW, &status));
    row = admin_view_queue(&scene.view, &status);
    assert_string_equal(text_of(row, "state"), "down");
    assert_string_equal(text_of(row, "reason"), "refused \\xff");
    assert_true(json_real_value(json_object_get(row, "since_s")) > 59.9);
    assert_true(json_is_string(json_object_get(row, "next_probe")));
    json_decref(row);

    assert_true(queue_get_destination(scene.queue, PN_STR("smtp:a:25"), NOW, &destination));
    row = admin_view_destination(&scene.view, &destination);
    assert_string_equal(text_of(row, "name"), "smtp:a:25");
    assert_string_equal(text_of(row, "state"), "down");
    assert_true(json_is_null(json_object_get(row, "last_success")));
    json_decref(row);
    scene_fini(&scene);
}

/* What came for the first time is on parole, and the row says how far. */
static void test_parole(void **state)
{
    struct queue_destination_status destination = {.name = PN_STR("smtp:a:25"),
                                                   .state = QUEUE_STOPPED,
                                                   .parole = true,
                                                   .parole_done = 12,
                                                   .parole_refused = 3,
                                                   .next_canary_ms = NOW + 13143,
                                                   .reason = PN_STR("it refuses")};
    struct scene scene;
    json_t *row;
    char *text;

    (void)state;
    scene_init(&scene);
    row = admin_view_destination(&scene.view, &destination);
    text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(12));
    assert_string_equal(text_of(row, "state"), "stopped");
    assert_non_null(strstr(text, "\"parole\":true,\"parole_done\":12,\"parole_refused\":3,"
                                 "\"parole_wanted\":50,\"next_canary\":\"2025-11-21T21:20:13"
                                 ".143Z\",\"next_canary_s\":13.143"));
    free(text);
    json_decref(row);
    scene_fini(&scene);
}

static void test_capabilities(void **state)
{
    json_t *none = admin_view_capabilities(0);
    json_t *all = admin_view_capabilities(SMTP_CAP_AUTH * 2 - 1);

    (void)state;
    assert_int_equal(json_array_size(none), 0);
    assert_int_equal(json_array_size(all), 11);
    assert_string_equal(json_string_value(json_array_get(all, 7)), "ENHANCEDSTATUSCODES");
    json_decref(none);
    json_decref(all);
}

/* With very many domains the status has those that matter; pages have them all. */
static void test_many_domains(void **state)
{
    enum { DOMAINS = 2500 };
    struct scene scene;
    struct admin_totals totals;
    struct pn_str next;
    char after[64] = "";
    size_t seen = 0;
    json_t *list;

    (void)state;
    scene_init(&scene);
    for (int i = 0; i < DOMAINS; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "d%04d.example", i);
        define(&scene, name, i % 2 ? "smtp:odd:25" : "smtp:even:25");
    }
    queue_counted(scene.queue, PN_STR("d0007.example"), 1, 100, 0, NOW);
    queue_counted(scene.queue, PN_STR("d0008.example"), 0, 0, 1, NOW);
    admin_view_totals(&scene.view, &totals);
    list = admin_view_domains(&scene.view, &totals);
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);
    list = admin_view_destinations(&scene.view, &totals);
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);

    take_down(&scene, "d0007.example", "refused", NOW);
    admin_view_totals(&scene.view, &totals);
    assert_int_equal(totals.queues_by_state[QUEUE_DOWN], DOMAINS / 2);
    list = admin_view_domains(&scene.view, &totals);
    assert_int_equal(json_array_size(list), ADMIN_STATUS_MAX);
    json_decref(list);

    do {
        list = admin_view_domains_page(&scene.view, pn_str_z(after), 999, &next);
        if (seen > 0) {
            assert_true(strcmp(text_of(json_array_get(list, 0), "name"), after) > 0);
        }
        seen += json_array_size(list);
        (void)snprintf(after, sizeof after, "%.*s", PN_FMT(next));
        json_decref(list);
    } while (next.len > 0);
    assert_int_equal(seen, DOMAINS);
    scene_fini(&scene);
}

static void test_page_that_fits_exactly_is_the_last(void **state)
{
    struct scene scene;
    struct pn_str next;
    json_t *list;

    (void)state;
    scene_init(&scene);
    define(&scene, "a.example", "smtp:a:25");
    define(&scene, "b.example", "smtp:b:25");
    list = admin_view_domains_page(&scene.view, PN_STR(""), 2, &next);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(next.len, 0);
    json_decref(list);
    list = admin_view_destinations_page(&scene.view, PN_STR(""), 1, &next);
    assert_int_equal(json_array_size(list), 1);
    assert_true(pn_str_eq(next, PN_STR("smtp:a:25")));
    json_decref(list);
    list = admin_view_destinations_page(&scene.view, PN_STR("smtp:a:25"), 1, &next);
    assert_string_equal(text_of(json_array_get(list, 0), "name"), "smtp:b:25");
    assert_int_equal(next.len, 0);
    json_decref(list);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_queue_that_nothing_names),
        cmocka_unit_test(test_down_and_its_probe),
        cmocka_unit_test(test_parole),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_many_domains),
        cmocka_unit_test(test_page_that_fits_exactly_is_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
