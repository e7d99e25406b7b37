/*
 * What is known of a domain's recipients: shown, tested, listed, imported, forgotten.
 */
#include "helper_admin.h"
#include "recipient_priv.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define PATH        "/v1/domains/example.org/recipients"
#define ASKS        "target = {mail.example.org}\nrecipients = {call-ahead}\naliases = {example.com}\n"
#define ANSWER_KEYS 'a' /* how they begin in the store */
#define TAKES       "target = {mail.example.org}\nrecipients = {any}\n"

static void ask(struct rig *rig, const char *method, const char *path, const char *query,
                const char *body)
{
    rig_request(rig, method, path, query, body);
    rig_run(rig);
}

static void assert_has(const struct rig *rig, unsigned status, const char *text)
{
    if (rig->status != status || !strstr(rig->body, text)) {
        fail_msg("%u %s, and not %s", rig->status, rig->body, text);
    }
}

static void import(struct rig *rig, const char *body)
{
    ask(rig, "POST", PATH "/import", "", body);
    assert_int_equal(rig->status, 200);
}

static void test_import_list_forget(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    import(&rig, "{\"addresses\":[\"Info@example.org\",\"sales@EXAMPLE.com\",\"x@example.net\","
                 "\"bob\",\"\",\"a b@example.org\",\"@\"]}");
    assert_has(&rig, 200, "{\"imported\":3,\"broken_total\":4,\"broken\":[2,4,5,6]}");
    import(&rig, "{\"addresses\":[\"nobody@example.org\"],\"invalid\":true}");

    ask(&rig, "GET", PATH "/answers", "", "");
    assert_has(&rig, 200,
               "{\"answers\":[{\"verdict\":\"valid\",\"source\":\"import\",\"age_s\":0.0,"
               "\"when\":\"2025-11-21T21:20:00.000Z\",\"when_s\":0.0,\"expired\":false,"
               "\"address\":\"bob@example.org\"},");
    assert_has(&rig, 200, "\"address\":\"info@example.org\"}");
    assert_has(&rig, 200, "{\"verdict\":\"invalid\",\"source\":\"import\"");
    assert_has(&rig, 200, "\"address\":\"sales@example.org\"}],\"next\":null}");

    ask(&rig, "GET", PATH "/answers", "limit=2", "");
    assert_has(&rig, 200, "\"next\":\"info\"}");
    ask(&rig, "GET", PATH "/answers", "after=info", "");
    assert_null(strstr(rig.body, "info@"));
    assert_has(&rig, 200, "sales@example.org");

    ask(&rig, "POST", PATH "/forget", "", "{\"address\":\"BOB@example.org\"}");
    assert_has(&rig, 200, "{\"forgotten\":1,\"complete\":true}");
    ask(&rig, "POST", PATH "/forget", "", "{\"all\":true}");
    assert_has(&rig, 200, "{\"forgotten\":3,\"complete\":true}");
    ask(&rig, "GET", PATH "/answers", "", "");
    assert_has(&rig, 200, "{\"answers\":[],\"next\":null}");
    rig_fini(&rig);
}

/* What is remembered of a domain that is defined no more can be seen and forgotten. */
static void test_removed_domain(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    state_answer_put(rig.state, PN_STR("gone.example"), PN_STR("a"), STATE_VALID,
                     STATE_BY_DELIVERY, (struct pn_wall){1763759940000});
    ask(&rig, "GET", "/v1/domains/gone.example/recipients/answers", "", "");
    assert_has(&rig, 200,
               "\"source\":\"delivery\",\"age_s\":0.0,\"when\":\"2025-11-21T21:19:00");
    assert_has(&rig, 200, "\"expired\":null,\"address\":\"a@gone.example\"");
    ask(&rig, "POST", "/v1/domains/gone.example/recipients/forget", "", "{\"all\":true}");
    assert_has(&rig, 200, "\"forgotten\":1");
    ask(&rig, "POST", "/v1/domains/gone.example/recipients/forget", "", "{\"address\":\"a\"}");
    assert_has(&rig, 404, "no relay domain");
    rig_fini(&rig);
}

static void test_import_is_bounded(void **state)
{
    struct pn_buf body;
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    pn_buf_init(&body, 1u << 20);
    assert_int_equal(pn_buf_append_z(&body, "{\"addresses\":[\"a\""), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pn_buf_append_z(&body, ",\"a\""), 0);
    }
    assert_int_equal(pn_buf_append(&body, PN_STR("]}\0")), 0);
    ask(&rig, "POST", PATH "/import", "", pn_buf_str(&body).ptr);
    assert_has(&rig, 400, "at most 1000");
    ask(&rig, "POST", PATH "/import", "", "{}");
    assert_has(&rig, 400, "at most 1000");
    pn_buf_fini(&body);
    rig_fini(&rig);
}

static const struct {
    const char *name, *text;
    enum queue_state state;
    const char *address;
    const char *answer;
} tests_of[] = {
    {"any", TAKES, QUEUE_UP, "x@example.org",
     "{\"outcome\":\"valid\",\"source\":\"any\",\"catch_all\":false,\"remembered\":null,"
     "\"reply\":\"250 2.1.5 Recipient ok\",\"address\":\"x@example.org\",\"target\":{"},
    {"remembered", ASKS, QUEUE_DOWN, "INFO@example.com",
     "{\"outcome\":\"valid\",\"source\":\"call-ahead\",\"catch_all\":false,\"remembered\":"
     "{\"verdict\":\"valid\",\"source\":\"import\",\"age_s\":0.0,"},
    {"a local part alone", ASKS, QUEUE_DOWN, "info", "\"address\":\"info@example.org\""},
    {"remembered as bad", ASKS, QUEUE_DOWN, "nobody@example.org", "\"reply\":\"550 5.1.1 "},
    {"unknown, and down", ASKS, QUEUE_DOWN, "x@example.org",
     "{\"outcome\":\"unknown\",\"source\":\"nobody\",\"catch_all\":false,\"remembered\":null,"
     "\"reply\":\"450 4.4.0 "},
};

static void test_tests(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(tests_of); i++) {
        const struct conf_domain *domain;
        char body[256];
        struct rig rig;

        print_message("%s\n", tests_of[i].name);
        rig_init_whole(&rig, tests_of[i].text);
        domain = domains_at(rig.domains, 0);
        out_board_set_state(rig.board, pn_str_z(domain->destination), tests_of[i].state, false);
        import(&rig, "{\"addresses\":[\"info@example.org\"]}");
        import(&rig, "{\"addresses\":[\"nobody@example.org\"],\"invalid\":true}");
        (void)snprintf(body, sizeof body, "{\"address\":\"%s\"}", tests_of[i].address);
        rig_request(&rig, "POST", PATH "/test", "", body);
        assert_int_equal(rig.status, 0);
        rig_run(&rig);
        assert_has(&rig, 200, tests_of[i].answer);
        rig_fini(&rig);
    }
}

/* The API ends while a request waits for the verifier, or for the store. */
static void test_end_meanwhile(void **state)
{
    static const struct {
        const char *method, *path, *body;
    } requests[] = {
        {"POST", PATH "/test", "{\"address\":\"x@example.org\"}"},
        {"GET", PATH, ""},
        {"GET", PATH "/answers", ""},
        {"POST", PATH "/forget", "{\"all\":true}"},
        {"POST", PATH "/import", "{\"addresses\":[\"a\"]}"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(requests); i++) {
        struct rig rig;

        rig_init_whole(&rig, ASKS);
        rig_request(&rig, requests[i].method, requests[i].path, "", requests[i].body);
        assert_int_equal(rig.status, 0);
        rig_fini(&rig);
        assert_int_equal(rig.status, 503);
    }
}

/* The answer comes when all of it is in the store, although writes take turns. */
static void test_import_is_stored(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    rig_request(&rig, "POST", PATH "/import", "", "{\"addresses\":[\"a\",\"b\",\"c\"]}");
    while (rig.status == 0) {
        assert_true(fake_store_turn(&rig.store) | fake_loop_run(&rig.loop));
    }
    assert_has(&rig, 200, "{\"imported\":3,");
    assert_int_equal(fake_store_count(&rig.store, ANSWER_KEYS), 3);
    rig_fini(&rig);
}

/* What could not be stored is not said to be. */
static void test_import_fails(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    rig.store.state = STORE_REOPENING;
    ask(&rig, "POST", PATH "/import", "", "{\"addresses\":[\"a\"]}");
    assert_has(&rig, 503, "the store does not work right now");
    rig.store.state = STORE_OPEN;
    rig_fini(&rig);
}

static void test_show(void **state)
{
    const struct conf_domain *domain;
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    domain = domains_at(rig.domains, 0);
    import(&rig, "{\"addresses\":[\"a\",\"b\"]}");
    import(&rig, "{\"addresses\":[\"c\"],\"invalid\":true}");
    ask(&rig, "GET", PATH, "", "");
    assert_has(&rig, 200,
               "{\"name\":\"example.org\",\"sources\":[{\"source\":\"call-ahead\",\"asks\":"
               "false,\"catch_all\":null,\"valid\":2,\"invalid\":1,\"expired\":0,\"more\":false"
               "}],\"when_up\":\"pass-through\",\"unknown_when_down\":\"defer\",\"target\":{"
               "\"name\":\"smtp:mail.example.org:25;tls=may\",\"state\":\"unknown\"");

    out_board_set_state(rig.board, pn_str_z(domain->destination), QUEUE_UP, false);
    state_catch_all_put(rig.state, PN_STR("example.org"), true);
    state_up_clock_add(rig.state, PN_STR("example.org"), PN_DAYS(4)); /* a no keeps for 3 */
    ask(&rig, "GET", PATH, "", "");
    assert_has(&rig, 200,
               "\"asks\":true,\"catch_all\":true,\"valid\":2,\"invalid\":0,\"expired\":1,");
    out_board_set_state(rig.board, pn_str_z(domain->destination), QUEUE_UP, true);
    ask(&rig, "GET", PATH, "", "");
    assert_has(&rig, 200, "\"asks\":false");
    rig_fini(&rig);
}

/* More answers than a page has are counted in several, each once. */
static void test_show_counts_all(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, ASKS);
    for (int i = 0; i < 2500; i++) {
        char local[16];

        (void)snprintf(local, sizeof local, "u%d", i);
        state_answer_put(rig.state, PN_STR("example.org"), pn_str_z(local), STATE_VALID,
                         STATE_BY_DELIVERY, (struct pn_wall){1});
    }
    rig_run(&rig);
    ask(&rig, "GET", PATH, "", "");
    assert_has(&rig, 200, "\"valid\":2500,\"invalid\":0,\"expired\":0,\"more\":false");
    rig_fini(&rig);
}

static void test_sources(void **state)
{
    struct conf_domain *domain = make_domain(
        "example.org", "target = {a}\nrecipients = {list, any}\nrecipient_list = \"/l\"\n");
    struct verify_list_status list = {.source = "/l",
                                      .addresses = 12,
                                      .broken_lines = 2,
                                      .foreign_lines = 1,
                                      .wild_card = true,
                                      .broken = "3: no address here; 7: \xff",
                                      .loaded = {1763759940000},
                                      .trouble = "half of it is broken"};
    struct admin_recipient_facts facts = {
        .domain = domain, .clock = {.wall = {1763760000000}}, .list = &list};
    json_t *json = admin_recipient_sources(&facts);
    char *text = json_dumps(json, JSON_COMPACT);

    (void)state;
    assert_string_equal(
        text,
        "[{\"source\":\"list\",\"location\":\"/l\",\"loaded\":"
        "\"2025-11-21T21:19:00.000Z\",\"loaded_s\":60.0,\"addresses\":12,\"wild_card\":"
        "true,\"broken_lines\":2,\"broken\":\"3: no address here; 7: \\\\xff\","
        "\"foreign_lines\":1,\"trouble\":\"half of it is broken\"},{\"source\":\"any\"}]");
    free(text);
    json_decref(json);
    facts.list = NULL;
    json = admin_recipient_sources(&facts);
    text = json_dumps(json, JSON_COMPACT);
    assert_string_equal(text, "[{\"source\":\"list\",\"location\":\"/l\",\"loaded\":null,"
                              "\"loaded_s\":null},{\"source\":\"any\"}]");
    free(text);
    json_decref(json);
    conf_domain_unref(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_list_forget), cmocka_unit_test(test_removed_domain),
        cmocka_unit_test(test_import_is_bounded),  cmocka_unit_test(test_tests),
        cmocka_unit_test(test_import_is_stored),   cmocka_unit_test(test_import_fails),
        cmocka_unit_test(test_end_meanwhile),      cmocka_unit_test(test_show),
        cmocka_unit_test(test_show_counts_all),    cmocka_unit_test(test_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
