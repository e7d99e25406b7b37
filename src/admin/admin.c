/*
 * admin/admin.c - the admin API: life, dispatch, and the verbs of the daemon itself.
 *
 * A request is matched against the table of routes, its terms are read as the row allows,
 * and its handler answers it, at once or on a later turn. No handler looks at methods,
 * paths or JSON syntax.
 */
#include "postern/admin/admin.h"

#include "admin_priv.h"
#include "json_priv.h"

#include "postern/base/mem.h"

#define CHECK_PIECE          64 /* messages in one step of a check */
#define CHECK_MESSAGES_LEAST 1000

struct admin *admin_new(const struct admin_deps *deps)
{
    struct admin *admin = PN_NEW(struct admin);

    admin->deps = *deps;
    return admin;
}

void admin_free(struct admin **admin)
{
    struct admin *self = *admin;

    *admin = NULL;
    if (!self) {
        return;
    }
    while (self->calls) {
        struct admin_call *call = self->calls;
        struct httpd_request *request = admin_call_end(call);

        call->admin = NULL;
        admin_refuse(request, 503, "the daemon is stopping");
        if (call->on_abort) {
            call->on_abort(call);
        }
    }
    admin_probes_drop(self);
    free(self);
}

static const char *on_query(void *owner, const char *name)
{
    return httpd_query(owner, name);
}

void admin_request(void *admin, struct httpd_request *request)
{
    struct admin_ask ask = {.admin = admin, .request = request};
    const struct admin_route *route;
    struct pn_err err;
    unsigned status = 0;

    route = admin_route_find(pn_str_z(request->method), pn_str_z(request->path), &ask.param,
                             &status);
    if (!route) {
        admin_refuse(request, status, "there is no %.20s %.200s; see postern-admin(7)",
                     request->method, request->path);
        return;
    }
    if (admin_terms_read(&ask.terms, route->terms, request->body, on_query, request, &err) !=
        0) {
        admin_refuse(request, 400, "%s", err.text);
        return;
    }
    route->handler(&ask);
    admin_terms_fini(&ask.terms);
}

/* ---- the daemon ------------------------------------------------------------------- */

void admin_reload(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct conf_mistakes mistakes;
    json_t *json;

    conf_mistakes_init(&mistakes);
    admin_log(ask->admin, "reload", PN_STR(""), 0);
    if (daemon->reload(daemon->owner, &mistakes)) {
        json = json_object();
        admin_json_put(json, "mistakes", admin_json_mistakes(&mistakes));
        admin_answer(ask->request, 200, json);
    } else {
        admin_refuse_mistakes(ask->request,
                              "the configuration has a mistake; what was in force stays in "
                              "force",
                              &mistakes);
    }
    conf_mistakes_fini(&mistakes);
}

void admin_stop(struct admin_ask *ask)
{
    struct admin_daemon daemon = ask->admin->deps.daemon;
    json_t *json = json_object();

    admin_log(ask->admin, "stop", PN_STR(""), 0);
    admin_json_put(json, "stopping", json_true());
    admin_answer(ask->request, 200, json);
    daemon.stop(daemon.owner);
}

/* ---- the spool -------------------------------------------------------------------- */

struct check_call {
    struct admin_call call;
    struct spool *spool;
    struct loop *loop;
    uint64_t checked, bad, wanted;
};

static void on_checked(void *owner, size_t checked, size_t bad, bool wrapped)
{
    struct check_call *check = owner;
    struct httpd_request *request;
    json_t *json;

    check->checked += checked;
    check->bad += bad;
    if (check->call.request && !wrapped && checked > 0 && check->checked < check->wanted) {
        spool_check(check->spool, check->loop, CHECK_PIECE, on_checked, check);
        return;
    }
    request = admin_call_end(&check->call);
    if (request) {
        json = json_object();
        admin_json_put(json, "checked", admin_json_u64(check->checked));
        admin_json_put(json, "bad", admin_json_u64(check->bad));
        admin_json_put(json, "whole", json_boolean(wrapped));
        admin_answer(request, 200, json);
    }
    free(check);
}

void admin_check_spool(struct admin_ask *ask)
{
    struct check_call *check = PN_NEW(struct check_call);

    check->spool = ask->admin->deps.spool;
    check->loop = ask->admin->deps.out->loop;
    check->wanted = ask->terms.messages ? ask->terms.messages : CHECK_MESSAGES_LEAST;
    admin_call_begin(&check->call, ask);
    spool_check(check->spool, check->loop, CHECK_PIECE, on_checked, check);
}

static void on_salvaged(void *owner, int status, const struct spool_salvaged *salvaged)
{
    struct admin_call *call = owner;
    const struct admin *admin = call->admin;
    struct httpd_request *request = admin_call_end(call);
    json_t *json;

    free(call);
    if (!request) {
        return;
    }
    admin_log(admin, "spool salvage", PN_STR(""), salvaged->brought);
    if (status != 0 && salvaged->brought == 0) {
        admin_refuse(request, status == PN_ENOENT ? 404 : 422,
                     status == PN_ENOENT ? "there is no store at this path"
                                         : "nothing could be brought back: the log tells why");
        return;
    }
    json = json_object();
    admin_json_put(json, "brought", admin_json_u64(salvaged->brought));
    admin_json_put(json, "there_already", admin_json_u64(salvaged->there_already));
    admin_json_put(json, "bad", admin_json_u64(salvaged->bad));
    admin_json_put(json, "unread_jobs", admin_json_u64(salvaged->unread_jobs));
    admin_json_put(json, "complete", json_boolean(status == 0));
    admin_answer(request, 200, json);
}

void admin_salvage(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct admin_call *call;
    char *path;

    if (ask->terms.path.len == 0 || ask->terms.path.ptr[0] != '/' ||
        pn_str_has_control(ask->terms.path)) {
        admin_refuse(ask->request, 400,
                     "\"path\" must be the absolute path of the store's directory");
        return;
    }
    call = PN_NEW(struct admin_call);
    path = pn_strndup(ask->terms.path);
    admin_call_begin(call, ask);
    daemon->salvage(daemon->owner, path, on_salvaged, call);
    free(path);
}
