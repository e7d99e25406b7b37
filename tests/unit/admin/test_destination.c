/*
 * One next hop: shown, and judged after it came back.
 */
#include "helper_admin.h"

#include "postern/base/mem.h"
#include "postern/smtp/client.h"

#include <string.h>

#define NAME "smtp:mail.example.org:25;tls=may"
#define TEXT "target = {mail.example.org}\nrecipients = {any}\n"

static void assert_answers(struct rig *rig, const char *method, const char *path,
                           const char *body, unsigned status, const char *text)
{
    rig_request(rig, method, path, "", body);
    if (rig->status != status || !strstr(rig->body, text)) {
        fail_msg("%s: %u %s, and not %s", path, rig->status, rig->body, text);
    }
}

static struct queue *queue_of(struct rig *rig)
{
    return (struct queue *)deliver_queue(rig->deliver);
}

/* Does what the scheduler asks for: a session is ready, and the spool has nothing. */
static void pump(struct queue *queue, int64_t now_ms, uint64_t *session)
{
    struct queue_action action;
    int64_t again_ms;

    while (queue_next(queue, now_ms, &action, &again_ms)) {
        if (action.kind == QUEUE_OPEN) {
            *session = action.session;
            queue_session_ready(queue, *session, now_ms);
        } else if (action.kind == QUEUE_READ) {
            queue_page(queue, action.queue, 0, NULL, 0, true, now_ms);
        }
    }
}

/* A job's recipient is refused, although we believe in it. */
static void refuse_job(struct rig *rig)
{
    struct queue *queue = queue_of(rig);
    int64_t now_ms = deliver_now_ms(rig->deliver);
    struct queue_job job = {
        .due_ms = now_ms, .arrival_ms = now_ms, .size_octets = 1, .recipients = 1};
    uint64_t session = 0;
    struct pn_str name;
    bool close;

    /* For the first job a session is opened; the second one is fresh, and goes to it. */
    for (uint8_t i = 1; i <= 2; i++) {
        job.id.octets[0] = i;
        queue_job_added(queue, PN_STR("example.org"), &job, now_ms);
        pump(queue, now_ms, &session);
    }
    assert_int_equal(queue_take(queue, session, 1, &job, &name, &close, now_ms), 1);
    queue_refused(queue, session, PN_STR(NAME), 1, 1, now_ms);
    (void)queue_result(queue, session, PN_STR("example.org"), &job, QUEUE_DONE, 10, now_ms);
    queue_job_removed(queue, PN_STR("example.org"), &job, now_ms);
}

static void test_show(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, TEXT);
    assert_answers(&rig, "GET", "/v1/destinations/" NAME, "", 200,
                   "{\"name\":\"" NAME "\",\"state\":\"unknown\"");
    assert_answers(&rig, "GET", "/v1/destinations/EXAMPLE.org", "", 200,
                   "\"lent_sessions\":0,\"capabilities\":null,\"size_limit\":null,"
                   "\"replies\":{\"2xx\":0,\"4xx\":0,\"5xx\":0,\"421\":0,\"lost\":0,"
                   "\"failed\":0},\"last_replies\":[],\"last_session\":null,"
                   "\"last_session_s\":null,\"peer\":null,\"tls\":null,\"tls_why\":null,"
                   "\"identity\":null,\"window\":null,\"quirks\":[],"
                   "\"domains_total\":1,\"domains\":[\"example.org\"]}");
    out_board_set_capabilities(rig.board, PN_STR(NAME), SMTP_CAP_PIPELINING | SMTP_CAP_XCLIENT,
                               1000);
    assert_answers(&rig, "GET", "/v1/destinations/" NAME, "", 200,
                   "\"capabilities\":[\"PIPELINING\",\"XCLIENT\"],\"size_limit\":1000,");
    assert_answers(&rig, "GET", "/v1/destinations/smtp:a:25", "", 404,
                   "no destination smtp:a:25");
    assert_answers(&rig, "GET", "/v1/destinations/example.net", "", 404,
                   "example.net is no relay domain");
    rig_fini(&rig);
}

static void test_decisions(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, TEXT);
    assert_answers(&rig, "POST", "/v1/destinations/resume", "{\"name\":\"" NAME "\"}", 409,
                   "nothing to decide: " NAME " is unknown");
    assert_answers(&rig, "POST", "/v1/destinations/refuse", "{\"all\":true}", 200,
                   "{\"names\":[]}");
    refuse_job(&rig);
    assert_answers(&rig, "GET", "/v1/destinations/" NAME, "", 200, "\"state\":\"stopped\"");
    assert_answers(
        &rig, "GET", "/v1/destinations/" NAME, "", 200,
        "\"parole\":true,\"parole_done\":0,\"parole_refused\":1,\"parole_wanted\":50,"
        "\"next_canary\":\"");
    assert_answers(&rig, "POST", "/v1/destinations/resume", "{\"domain\":\"example.org\"}", 200,
                   "{\"names\":[\"" NAME "\"]}");
    assert_answers(&rig, "GET", "/v1/domains/example.org", "", 200, "\"state\":\"ramp\"");
    assert_answers(&rig, "GET", "/v1/domains/example.org", "", 200, "\"parole\":true");

    assert_answers(&rig, "POST", "/v1/destinations/resume", "{\"name\":\"" NAME "\"}", 409,
                   "is ramp, on parole");
    assert_answers(&rig, "POST", "/v1/destinations/refuse", "{\"name\":\"" NAME "\"}", 200,
                   "{\"names\":[\"" NAME "\"]}");
    assert_answers(&rig, "GET", "/v1/domains/example.org", "", 200, "\"parole\":false");
    assert_answers(&rig, "POST", "/v1/destinations/refuse", "{\"name\":\"" NAME "\"}", 409,
                   "is ramp\"");
    assert_answers(&rig, "POST", "/v1/destinations/refuse", "{\"name\":\"smtp:a:25\"}", 404,
                   "no destination");
    rig_fini(&rig);
}

static void test_all_that_are_stopped(void **state)
{
    struct rig rig;

    (void)state;
    rig_init_whole(&rig, TEXT);
    refuse_job(&rig);
    assert_answers(&rig, "POST", "/v1/destinations/resume", "{\"all\":true}", 200,
                   "{\"names\":[\"" NAME "\"]}");
    assert_answers(&rig, "POST", "/v1/destinations/refuse", "{\"all\":true}", 200,
                   "{\"names\":[]}");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_all_that_are_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
