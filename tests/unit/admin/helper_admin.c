#include "helper_admin.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

struct conf *make_conf(void)
{
    struct conf_mistakes mistakes;
    struct conf *conf;

    conf_mistakes_init(&mistakes);
    conf = conf_parse("postern.conf",
                      PN_STR("hostname = \"mx2.example.net\"\n"
                             "listener \"mx\" { address = {\"192.0.2.2:25\"} }\n"),
                      &mistakes);
    conf_mistakes_fini(&mistakes);
    assert_non_null(conf);
    return conf;
}

struct conf_domain *make_domain(const char *name, const char *text)
{
    struct conf *conf = make_conf();
    struct conf_mistakes mistakes;
    struct conf_domain *domain;

    conf_mistakes_init(&mistakes);
    domain =
        conf_domain_parse("test", pn_str_z(name), pn_str_z(text), conf, NULL, 0, &mistakes);
    if (!domain) {
        fail_msg("%s: %s", name, mistakes.count ? mistakes.items[0].text : "?");
    }
    conf_mistakes_fini(&mistakes);
    conf_unref(&conf);
    return domain;
}

/* ---- the daemon ------------------------------------------------------------------- */

static const struct conf *on_conf(void *owner)
{
    return ((struct rig *)owner)->conf;
}

static const struct domains *on_domains(void *owner)
{
    return ((struct rig *)owner)->domains;
}

static bool on_broken(void *owner, size_t index, struct admin_broken_domain *out)
{
    (void)owner;
    *out = (struct admin_broken_domain){"broken.example", "broken.example.conf:1: bad", false};
    return index == 0;
}

static bool on_reload(void *owner, struct conf_mistakes *mistakes)
{
    struct rig *rig = owner;

    rig->reloads++;
    conf_mistakes_add(mistakes, "postern.conf", 7, !rig->refuses, "is odd");
    return !rig->refuses;
}

static bool on_domain_write(void *owner, struct pn_str name, struct pn_str text,
                            struct conf_mistakes *mistakes)
{
    struct rig *rig = owner;

    (void)snprintf(rig->written, sizeof rig->written, "%.*s: %.*s", PN_FMT(name), PN_FMT(text));
    if (rig->refuses) {
        conf_mistakes_add(mistakes, "example.org.conf", 2, false, "hold is too short");
    }
    return !rig->refuses;
}

static int on_domain_remove(void *owner, struct pn_str name, struct pn_err *err)
{
    (void)owner;
    return pn_err_set(err, PN_ENOENT, "there is no file for %.*s", PN_FMT(name));
}

static void on_salvage(void *owner, const char *path, spool_salvage_fn *fn, void *fn_owner)
{
    struct rig *rig = owner;

    (void)snprintf(rig->salvaged, sizeof rig->salvaged, "%s", path);
    rig->salvage_fn = fn;
    rig->salvage_owner = fn_owner;
}

static void on_stop(void *owner)
{
    struct rig *rig = owner;

    assert_int_equal(rig->status, 200); /* answered before */
    rig->stopped = true;
}

void rig_init(struct rig *rig)
{
    struct conf_domain *domain = make_domain(
        "example.org", "target = {mail.example.org}\nrecipients = {any}\nwhen_up = accept\n");
    struct domains *empty = domains_new();
    struct admin_deps deps;

    *rig = (struct rig){.conf = make_conf()};
    rig->domains =
        domains_with(empty, &(struct domains_change){PN_STR("example.org"), domain}, 1);
    domains_unref(&empty);
    conf_domain_unref(&domain);
    pn_log_init(&rig->log, NULL);
    loop_init(&rig->loop, NULL);
    rig->out.loop = &rig->loop;
    deps = (struct admin_deps){
        .out = &rig->out,
        .log = &rig->log,
        .daemon = {.owner = rig,
                   .conf = on_conf,
                   .domains = on_domains,
                   .broken = on_broken,
                   .reload = on_reload,
                   .domain_write = on_domain_write,
                   .domain_remove = on_domain_remove,
                   .salvage = on_salvage,
                   .stop = on_stop},
    };
    rig->admin = admin_new(&deps);
}

void rig_fini(struct rig *rig)
{
    admin_free(&rig->admin);
    assert_null(rig->admin);
    domains_unref(&rig->domains);
    conf_unref(&rig->conf);
    pn_timers_fini(&rig->loop.timers);
}

/* ---- requests --------------------------------------------------------------------- */

struct request {
    struct httpd_request base;
    struct rig *rig;
    char name[64], value[512];
};

static const char *on_query(struct httpd_request *base, const char *name)
{
    struct request *request = PN_CONTAINER(base, struct request, base);

    return request->name[0] && strcmp(request->name, name) == 0 ? request->value : NULL;
}

static void on_reply(struct httpd_request *base, unsigned status, const char *content_type,
                     struct pn_buf *body)
{
    struct request *request = PN_CONTAINER(base, struct request, base);
    struct rig *rig = request->rig;

    assert_int_equal(rig->status, 0); /* exactly once */
    assert_string_equal(content_type, "application/json");
    rig->status = status;
    (void)snprintf(rig->body, sizeof rig->body, "%.*s", PN_FMT(pn_buf_str(body)));
    pn_buf_clear(body);
    free(request);
}

static const struct httpd_request_ops ops = {on_query, on_reply};

void rig_request(struct rig *rig, const char *method, const char *path, const char *query,
                 const char *body)
{
    struct request *request = PN_NEW(struct request);
    struct pn_str rest = pn_str_z(query);
    struct pn_str name = pn_str_cut(&rest, '=');

    request->base = (struct httpd_request){
        .ops = &ops, .method = method, .path = path, .body = pn_str_z(body)};
    request->rig = rig;
    (void)snprintf(request->name, sizeof request->name, "%.*s", PN_FMT(name));
    (void)snprintf(request->value, sizeof request->value, "%.*s", PN_FMT(rest));
    rig->status = 0;
    rig->body[0] = '\0';
    admin_request(rig->admin, &request->base);
}
