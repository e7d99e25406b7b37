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

static void begin(struct rig *rig, const char *text)
{
    struct conf_domain *domain = make_domain("example.org", text);
    struct domains *empty = domains_new();

    *rig = (struct rig){.conf = make_conf()};
    rig->domains =
        domains_with(empty, &(struct domains_change){PN_STR("example.org"), domain}, 1);
    domains_unref(&empty);
    conf_domain_unref(&domain);
    pn_log_init(&rig->log, NULL);
    fake_loop_init(&rig->loop);
    rig->loop.port.wall = (struct pn_wall){1763760000000};
    rig->out.loop = &rig->loop.port;
}

static void make_admin(struct rig *rig)
{
    struct admin_deps deps = {
        .out = &rig->out,
        .deliver = rig->deliver,
        .spool = rig->spool,
        .state = rig->state,
        .verify = rig->verify,
        .board = rig->board,
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

void rig_init(struct rig *rig)
{
    begin(rig, "target = {mail.example.org}\nrecipients = {any}\nwhen_up = accept\n");
    make_admin(rig);
}

static void make_stores(struct rig *rig)
{
    struct spool_options options = {.files = &rig->files.port,
                                    .crypto = fake_crypto(),
                                    .path = "/spool",
                                    .key_file = "",
                                    .log = &rig->log};
    struct pn_err err = {0};

    fake_files_init(&rig->files);
    fake_store_init(&rig->mail);
    rig->spool = spool_new(&options, &err);
    assert_non_null(rig->spool);
    rig->mail.events = *spool_store_events(rig->spool);
    spool_attach(rig->spool, &rig->mail.port);
    fake_store_init(&rig->store);
    rig->state = state_new(&rig->log);
    rig->store.events = *state_store_events(rig->state);
    state_attach(rig->state, &rig->store.port);
}

void rig_init_whole(struct rig *rig, const char *text)
{
    begin(rig, text);
    make_stores(rig);
    rig->board = out_board_new();
    rig->verify = verify_new(&(struct verify_deps){.loop = &rig->loop.port,
                                                   .board = rig->board,
                                                   .state = rig->state,
                                                   .log = &rig->log,
                                                   .seed = 1});
    queue_clock_init(&rig->clock, 0, rig->loop.port.wall, rig->loop.port.now);
    rig->deliver = deliver_new(&(struct deliver_deps){.out = &rig->out,
                                                      .spool = rig->spool,
                                                      .clock = &rig->clock,
                                                      .log = &rig->log,
                                                      .workers = rig->no_worker,
                                                      .worker_loops = rig->no_loop,
                                                      .seed = 1},
                               rig->conf, rig->domains);
    make_admin(rig);
}

void rig_run(struct rig *rig)
{
    bool any;

    do {
        any = fake_loop_run(&rig->loop);
        any |= rig->state && fake_store_turn(&rig->store);
        any |= rig->spool && fake_store_turn(&rig->mail);
    } while (any);
}

void rig_fini(struct rig *rig)
{
    admin_free(&rig->admin);
    assert_null(rig->admin);
    rig_run(rig);
    verify_free(&rig->verify);
    deliver_free(&rig->deliver);
    if (rig->spool) {
        state_free(&rig->state);
        spool_free(&rig->spool);
        out_board_free(&rig->board);
        fake_store_fini(&rig->store);
        fake_store_fini(&rig->mail);
        fake_files_fini(&rig->files);
    }
    domains_unref(&rig->domains);
    conf_unref(&rig->conf);
    fake_loop_fini(&rig->loop);
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
