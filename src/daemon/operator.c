/*
 * daemon/operator.c - what only the daemon can do for the admin API: files, reload, stop.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "daemon_priv.h"
#include "secrets_priv.h"

#include "postern/base/mem.h"
#include "postern/store/leveldb.h"

static const struct conf *get_conf(void *owner)
{
    return ((struct daemon *)owner)->settings.conf;
}

static const struct domains *get_domains(void *owner)
{
    return daemon_domain_files_table(((struct daemon *)owner)->settings.domain_files);
}

static bool get_broken(void *owner, size_t index, struct admin_broken_domain *out)
{
    struct daemon *daemon = owner;

    return daemon_domain_files_broken(daemon->settings.domain_files, index, &out->name,
                                      &out->mistake, &out->in_force);
}

static void check_files(void *owner, const struct conf_domain *domain,
                        struct conf_mistakes *mistakes)
{
    struct daemon *daemon = owner;

    daemon_secrets_check(daemon->settings.files, daemon->settings.path, domain, mistakes);
}

bool daemon_reload(struct daemon *daemon, struct conf_mistakes *mistakes)
{
    bool works = daemon_settings_reload(&daemon->settings, mistakes);

    daemon_log_mistakes(daemon, mistakes);
    if (works) {
        daemon_configure(daemon);
    }
    return works;
}

static bool reload(void *owner, struct conf_mistakes *mistakes)
{
    return daemon_reload(owner, mistakes);
}

static bool domain_write(void *owner, struct pn_str name, struct pn_str text,
                         struct conf_mistakes *mistakes)
{
    struct daemon *daemon = owner;

    if (!daemon_domain_files_write(daemon->settings.domain_files, name, text, mistakes)) {
        return false;
    }
    daemon_configure(daemon);
    return true;
}

static int domain_remove(void *owner, struct pn_str name, struct pn_err *err)
{
    struct daemon *daemon = owner;
    int rc = daemon_domain_files_remove(daemon->settings.domain_files, name, err);

    if (rc == 0) {
        daemon_configure(daemon);
    }
    return rc;
}

static void stop(void *owner)
{
    daemon_stop(owner);
}

/* ---- salvage --------------------------------------------------------------------------- */

/* A repair reads and writes whole files: it has a thread of its own while it lasts. */
struct salvage {
    struct daemon *daemon;
    pthread_t thread;
    char from[2048], to[2048 + 16];
    struct pn_err err;
    struct store *store; /* the repaired copy */
    struct loop_task task;
    spool_salvage_fn *fn;
    void *fn_owner;
};

static void salvage_end(struct salvage *salvage, int status,
                        const struct spool_salvaged *salvaged)
{
    salvage->fn(salvage->fn_owner, status, salvaged);
    if (salvage->store) {
        store_leveldb_free(&salvage->store);
    }
    free(salvage);
}

static void salvage_fail(struct salvage *salvage, int status)
{
    salvage_end(salvage, status, &(struct spool_salvaged){0});
}

static void on_salvaged(void *owner, int status, const struct spool_salvaged *salvaged)
{
    salvage_end(owner, status, salvaged);
}

static void on_repaired(struct loop_task *task)
{
    struct salvage *salvage = PN_CONTAINER(task, struct salvage, task);
    struct daemon *daemon = salvage->daemon;

    pthread_join(salvage->thread, NULL);
    if (!salvage->store) {
        pn_log_say(&daemon->log, PN_EV_ALARM, "%s cannot be salvaged: %s", salvage->from,
                   salvage->err.text);
        salvage_fail(salvage, salvage->err.code);
        return;
    }
    spool_salvage(daemon->spool, salvage->store, net_loop_port(daemon->loop),
                  deliver_now_ms(daemon->deliver), on_salvaged, salvage);
}

static void ignore_state(void *owner, enum store_state state, const struct pn_err *err)
{
    (void)owner;
    (void)state;
    (void)err;
}

static void ignore_heal(void *owner, struct store_batch *batch, const struct store_tag *tags,
                        size_t count)
{
    (void)owner;
    (void)batch;
    (void)tags;
    (void)count;
}

static void ignore_batch(void *owner, bool durable)
{
    (void)owner;
    (void)durable;
}

static void *repair(void *arg)
{
    static const struct store_events quiet = {
        .on_heal = ignore_heal, .on_batch = ignore_batch, .on_state = ignore_state};
    const struct store_options options = {.write_buffer_octets = 4u << 20,
                                          .cache_octets = 4u << 20,
                                          .max_open_files = 100,
                                          .apart = SPOOL_APART};
    struct salvage *salvage = arg;

    if (store_leveldb_repair(salvage->from, salvage->to, &salvage->err) == 0) {
        salvage->store = store_leveldb_new(salvage->to, &options, &quiet, &salvage->err);
    }
    if (!loop_post(net_loop_port(salvage->daemon->loop), &salvage->task)) {
        pthread_detach(salvage->thread);
        if (salvage->store) {
            store_leveldb_free(&salvage->store);
        }
        free(salvage);
    }
    return NULL;
}

static void salvage(void *owner, const char *path, spool_salvage_fn *fn, void *fn_owner)
{
    struct daemon *daemon = owner;
    struct salvage *salvage = PN_NEW(struct salvage);

    salvage->daemon = daemon;
    salvage->fn = fn;
    salvage->fn_owner = fn_owner;
    salvage->task.on_run = on_repaired;
    if (snprintf(salvage->from, sizeof salvage->from, "%s", path) >=
        (int)sizeof salvage->from) {
        salvage_fail(salvage, PN_EINVAL);
        return;
    }
    (void)snprintf(salvage->to, sizeof salvage->to, "%s.repaired", salvage->from);
    if (pthread_create(&salvage->thread, NULL, repair, salvage) != 0) {
        salvage_fail(salvage, PN_EAGAIN);
    }
}

struct admin_daemon daemon_operator(struct daemon *daemon)
{
    return (struct admin_daemon){
        .owner = daemon,
        .conf = get_conf,
        .domains = get_domains,
        .broken = get_broken,
        .reload = reload,
        .domain_write = domain_write,
        .domain_remove = domain_remove,
        .check_files = check_files,
        .salvage = salvage,
        .stop = stop,
        .started = daemon->started,
    };
}
