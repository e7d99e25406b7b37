/*
 * Requests as they come: routing, refusals, and the verbs of the daemon.
 */
#include "helper_admin.h"

#include "postern/base/mem.h"

#include <string.h>

static const struct {
    const char *name;
    const char *method, *path, *query, *body;
    unsigned status;
    const char *answer; /* found in it */
} refusals[] = {
    {"no such path", "GET", "/v1/stats", "", "", 404, "there is no GET /v1/stats"},
    {"the root", "GET", "/", "", "", 404, "there is no"},
    {"nothing", "GET", "", "", "", 404, "there is no"},
    {"slash at the end", "GET", "/v1/domains/", "", "", 404, "there is no"},
    {"empty name", "POST", "/v1/domains//check", "", "", 404, "there is no"},
    {"too deep", "GET", "/v1/domains/a/b", "", "", 404, "there is no"},
    {"wrong method", "DELETE", "/v1/status", "", "", 405, "there is no DELETE /v1/status"},
    {"method's case matters", "get", "/v1/status", "", "", 405, "there is no get"},
    {"no JSON", "POST", "/v1/flush", "", "{", 400, "the body is no JSON"},
    {"no object", "POST", "/v1/flush", "", "[]", 400, "must be a JSON object"},
    {"unknown term", "POST", "/v1/queue/delete", "", "{\"sendr\":\"a\"}", 400,
     "the nearest is \\\"sender\\\""},
    {"a term of other requests", "POST", "/v1/flush", "", "{\"older\":\"1d\"}", 400,
     "takes no \\\"older\\\""},
    {"a body where none is read", "POST", "/v1/reload", "", "{\"x\":1}", 400,
     "takes no \\\"x\\\""},
    {"twice", "POST", "/v1/flush", "", "{\"all\":true,\"all\":false}", 400, "duplicate"},
    {"flush what?", "POST", "/v1/flush", "", "{}", 400, "either"},
    {"flush both", "POST", "/v1/flush", "", "{\"all\":true,\"domain\":\"a\"}", 400, "either"},
    {"no filter", "POST", "/v1/queue/delete", "", "{}", 400, "nothing says which"},
    {"no body", "POST", "/v1/queue/delete", "", "", 400, "nothing says which"},
    {"a filter that filters nothing", "POST", "/v1/queue/hold", "", "{\"held\":false}", 400,
     "nothing says which"},
    {"held and parked", "POST", "/v1/queue/delete", "", "{\"held\":true,\"parked\":true}", 400,
     "not both"},
    {"parked cannot be retried", "POST", "/v1/queue/retry", "", "{\"parked\":true}", 409,
     "parked"},
    {"forward to nobody", "POST", "/v1/queue/forward", "", "{\"all\":true}", 400, "where to"},
    {"forward to no address", "POST", "/v1/queue/forward", "",
     "{\"all\":true,\"address\":\"nobody\"}", 409, "nobody: "},
    {"forward what?", "POST", "/v1/queue/forward", "", "{\"address\":\"a@example.org\"}", 400,
     "nothing says which"},
    {"bad id", "GET", "/v1/queue/nope", "", "", 400, "nope is no queue id"},
    {"bad id in a body", "POST", "/v1/queue/hold", "", "{\"id\":\"nope\"}", 400, "queue id"},
    {"bad limit", "GET", "/v1/queue", "limit=0", "", 400, "limit is a number"},
    {"bad age", "GET", "/v1/queue", "older=yesterday", "", 400, "older is a duration"},
    {"bad flag", "GET", "/v1/queue", "held=maybe", "", 400, "held is true or false"},
    {"bad trace", "GET", "/v1/trace/x", "", "", 400, "queue id"},
    {"trace is off", "GET", "/v1/trace/01J00000000000000000000000", "", "", 409,
     "no events are kept"},
    {"domain name", "GET", "/v1/domains/a..b", "", "", 400, "is no domain name"},
    {"domain with a path in it", "PUT", "/v1/domains/..", "", "{}", 400, "is no domain name"},
    {"check of no domain", "POST", "/v1/domains/example.net/check", "", "", 404,
     "no relay domain"},
    {"remove what is not there", "DELETE", "/v1/domains/example.net", "", "", 404,
     "there is no file for example.net"},
    {"put nothing", "PUT", "/v1/domains/example.net", "", "", 400, "the body must be"},
    {"put an unknown option", "PUT", "/v1/domains/example.net", "", "{\"hld\":\"1d\"}", 422,
     "the nearest is \\\"hold\\\""},
    {"create what is there", "PUT", "/v1/domains/EXAMPLE.org", "create=1", "{}", 409,
     "example.org is a relay domain already"},
    {"recipients of no domain", "GET", "/v1/domains/example.net/recipients", "", "", 404,
     "no relay domain"},
    {"test nothing", "POST", "/v1/domains/example.org/recipients/test", "", "", 400,
     "is no address of example.org"},
    {"test another domain", "POST", "/v1/domains/example.org/recipients/test", "",
     "{\"address\":\"a@example.net\"}", 400, "a@example.net is no address of example.org"},
    {"test with a line end", "POST", "/v1/domains/example.org/recipients/test", "",
     "{\"address\":\"a@example.org\\r\"}", 400, "is no address"},
    {"test all", "POST", "/v1/domains/example.org/recipients/test", "",
     "{\"address\":\"@example.org\"}", 400, "is no address"},
    {"test without a verifier", "POST", "/v1/domains/example.org/recipients/test", "",
     "{\"address\":\"a@example.org\"}", 503, "not looked up"},
    {"answers without a store", "GET", "/v1/domains/example.org/recipients/answers", "", "",
     409, "nothing is remembered"},
    {"forget nothing", "POST", "/v1/domains/example.org/recipients/forget", "", "", 400,
     "either"},
    {"forget both", "POST", "/v1/domains/example.org/recipients/forget", "",
     "{\"address\":\"a\",\"all\":true}", 400, "either"},
    {"import from a query", "POST", "/v1/domains/example.org/recipients/import", "addresses=a",
     "", 400, "addresses is a list"},
    {"resume one and all", "POST", "/v1/destinations/resume", "",
     "{\"all\":true,\"name\":\"smtp:a:25\"}", 400, "give one of"},
    {"resume nothing", "POST", "/v1/destinations/resume", "", "{}", 400, "either"},
    {"hold which destination?", "POST", "/v1/destinations/hold", "", "", 400, "either"},
    {"salvage without a path", "POST", "/v1/spool/salvage", "", "{}", 400, "absolute path"},
    {"salvage a relative path", "POST", "/v1/spool/salvage", "", "{\"path\":\"spool\"}", 400,
     "absolute path"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(refusals); i++) {
        struct rig rig;

        rig_init(&rig);
        rig_request(&rig, refusals[i].method, refusals[i].path, refusals[i].query,
                    refusals[i].body);
        if (rig.status != refusals[i].status || !strstr(rig.body, refusals[i].answer) ||
            strncmp(rig.body, "{\"error\":\"", 10) != 0) {
            fail_msg("%s: %u %s", refusals[i].name, rig.status, rig.body);
        }
        rig_fini(&rig);
    }
}

static void test_put_writes_the_file(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_request(&rig, "PUT", "/v1/domains/Bücher.example", "create=true",
                "{\"hold\":\"3d\",\"target\":[\"a:25\",\"b\"],\"recipients\":\"any\","
                "\"subdomains\":true,\"sessions\":5,\"when_up\":\"accept\"}");
    assert_int_equal(rig.status, 201);
    assert_string_equal(rig.written, "xn--bcher-kva.example: target = {\"a:25\", b}\n"
                                     "recipients = {any}\nwhen_up = accept\nsubdomains = yes\n"
                                     "hold = 3d\nsessions = 5\n");
    rig_request(&rig, "PUT", "/v1/domains/example.org", "", "{\"hold\":\"3d\"}");
    assert_int_equal(rig.status, 200);
    assert_non_null(strstr(rig.body, "\"replaced\":true"));
    rig.refuses = true;
    rig_request(&rig, "PUT", "/v1/domains/example.org", "", "{\"hold\":\"3\"}");
    assert_int_equal(rig.status, 422);
    assert_non_null(strstr(rig.body, "\"mistakes\":[{\"file\":\"example.org.conf\",\"line\":2,"
                                     "\"warning\":false,\"text\":\"hold is too short\"}]"));
    rig_fini(&rig);
}

static void test_reload(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_request(&rig, "POST", "/v1/reload", "", "");
    assert_int_equal(rig.status, 200);
    assert_non_null(strstr(rig.body, "\"warning\":true"));
    rig.refuses = true;
    rig_request(&rig, "POST", "/v1/reload", "", "{}");
    assert_int_equal(rig.status, 422);
    assert_non_null(strstr(rig.body, "\"line\":7"));
    assert_int_equal(rig.reloads, 2);
    rig_fini(&rig);
}

static void test_stop_answers_first(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_request(&rig, "POST", "/v1/stop", "", "");
    assert_true(rig.stopped);
    rig_fini(&rig);
}

static void test_salvage_is_answered_later(void **state)
{
    static const struct spool_salvaged some = {3, 2, 1, 4}, none;
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_request(&rig, "POST", "/v1/spool/salvage", "", "{\"path\":\"/var/aside\"}");
    assert_int_equal(rig.status, 0);
    assert_string_equal(rig.salvaged, "/var/aside");
    rig.salvage_fn(rig.salvage_owner, 0, &some);
    assert_int_equal(rig.status, 200);
    assert_string_equal(
        rig.body,
        "{\"brought\":3,\"there_already\":2,\"bad\":1,\"unread_jobs\":4,\"complete\":true}\n");

    rig_request(&rig, "POST", "/v1/spool/salvage", "", "{\"path\":\"/nope\"}");
    rig.salvage_fn(rig.salvage_owner, PN_ENOENT, &none);
    assert_int_equal(rig.status, 404);
    rig_fini(&rig);
}

/* What waits when the API ends is answered then, and what it waited for finds nobody. */
static void test_end_while_a_request_waits(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_request(&rig, "POST", "/v1/spool/salvage", "", "{\"path\":\"/var/aside\"}");
    assert_int_equal(rig.status, 0);
    rig_fini(&rig);
    assert_int_equal(rig.status, 503);
    rig.salvage_fn(rig.salvage_owner, 0, &(struct spool_salvaged){.brought = 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_put_writes_the_file),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_stop_answers_first),
        cmocka_unit_test(test_salvage_is_answered_later),
        cmocka_unit_test(test_end_while_a_request_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
