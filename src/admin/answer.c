/*
 * admin/answer.c - answers and refusals, at once or on a later turn.
 *
 * A refusal is a JSON object with the sentence in "error", whatever the status, so that a
 * client needs one way to show it.
 */
#include "admin_priv.h"
#include "json_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define SENTENCE_MAX 1024

static int on_dump(const char *text, size_t octets, void *owner)
{
    return pn_buf_append(owner, (struct pn_str){text, octets}) == 0 ? 0 : -1;
}

void admin_answer(struct httpd_request *request, unsigned status, json_t *json)
{
    struct pn_buf body;

    pn_assert(json);
    pn_buf_init(&body, HTTPD_REPLY_MAX);
    if (json_dump_callback(json, on_dump, &body, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0 ||
        pn_buf_append_char(&body, '\n') != 0) {
        static const char too_long[] =
            "{\"error\":\"the answer is longer than 64 MiB; ask for less\"}\n";

        pn_buf_clear(&body);
        pn_assert(pn_buf_append_z(&body, too_long) == 0);
        status = 500;
    }
    json_decref(json);
    httpd_reply(request, status, "application/json", &body);
    pn_buf_fini(&body);
}

void admin_refuse(struct httpd_request *request, unsigned status, const char *format, ...)
{
    struct pn_buf sentence;
    va_list args;
    json_t *json = json_object();

    pn_buf_init(&sentence, SENTENCE_MAX);
    va_start(args, format);
    if (pn_buf_vprintf(&sentence, format, args) != 0) {
        pn_buf_clear(&sentence);
        pn_assert(pn_buf_append_z(&sentence, "refused, for a reason too long to tell") == 0);
    }
    va_end(args);
    admin_json_put(json, "error", admin_json_text(pn_buf_str(&sentence)));
    pn_buf_fini(&sentence);
    admin_answer(request, status, json);
}

json_t *admin_json_mistakes(const struct conf_mistakes *mistakes)
{
    json_t *list = json_array();

    for (size_t i = 0; i < mistakes->count; i++) {
        const struct conf_mistake *mistake = &mistakes->items[i];
        json_t *row = json_object();

        admin_json_put(row, "file", admin_json_text(pn_str_z(mistake->file)));
        admin_json_put(row, "line", json_integer(mistake->line));
        admin_json_put(row, "warning", json_boolean(mistake->warning));
        admin_json_put(row, "text", admin_json_text(pn_str_z(mistake->text)));
        pn_assert(json_array_append_new(list, row) == 0);
    }
    return list;
}

void admin_refuse_mistakes(struct httpd_request *request, const char *sentence,
                           const struct conf_mistakes *mistakes)
{
    json_t *json = json_object();

    admin_json_put(json, "error", admin_json_text(pn_str_z(sentence)));
    admin_json_put(json, "mistakes", admin_json_mistakes(mistakes));
    admin_json_put(json, "more", admin_json_u64(mistakes->more));
    admin_answer(request, 422, json);
}

void admin_refuse_storage(struct httpd_request *request, int status)
{
    switch (status) {
    case PN_ENOENT:
        admin_refuse(request, 404, "there is no such message");
        return;
    case PN_EINVAL:
        admin_refuse(request, 400, "\"after\" is not what an earlier answer gave as \"next\"");
        return;
    case PN_ECORRUPT:
        admin_refuse(request, 500,
                     "a record on disk does not add up; the log tells which, and "
                     "\"postern spool check\" looks for others");
        return;
    default:
        admin_refuse(request, 503,
                     "the store does not work right now; it is reopened by itself, and "
                     "\"postern status\" tells its trouble");
    }
}

void admin_call_begin(struct admin_call *call, struct admin_ask *ask)
{
    call->admin = ask->admin;
    call->request = ask->request;
    call->next = ask->admin->calls;
    call->link = &ask->admin->calls;
    if (call->next) {
        call->next->link = &call->next;
    }
    ask->admin->calls = call;
}

struct httpd_request *admin_call_end(struct admin_call *call)
{
    struct httpd_request *request = call->request;

    if (call->link) {
        *call->link = call->next;
        if (call->next) {
            call->next->link = call->link;
        }
    }
    call->request = NULL;
    call->link = NULL;
    call->next = NULL;
    return request;
}

void admin_log(const struct admin *admin, const char *what, struct pn_str object,
               uint64_t count)
{
    struct pn_log_line line;

    pn_log_begin(&line, admin->deps.log, PN_EV_OPERATOR);
    pn_log_z(&line, "what", what);
    if (object.len > 0) {
        pn_log_str(&line, "object", object);
    }
    if (count > 0) {
        pn_log_u64(&line, "count", count);
    }
    pn_log_end(&line);
}
