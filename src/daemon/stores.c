/*
 * daemon/stores.c - opening and closing the spool and the state.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon_priv.h"
#include "postern/base/mem.h"
#include "postern/net/loop.h"
#include "postern/store/leveldb.h"
#include "postern/tls/context.h"

#define SPOOL_CACHE (16u << 20)
#define STATE_CACHE (2u << 20)

static struct store *open_store(struct daemon *daemon, const char *name,
                                const struct store_options *options,
                                const struct store_events *events, struct pn_err *err)
{
    struct files *files = daemon->settings.files;
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", daemon->settings.conf->spool, name);
    if (files->ops->make_directory(files, path, 0700, err) != 0) {
        return NULL;
    }
    return store_leveldb_new(path, options, events, err);
}

int daemon_stores_open(struct daemon *daemon, struct pn_err *err)
{
    const struct conf *conf = daemon->settings.conf;
    struct store_options mail = {
        .write_buffer_octets = conf->write_buffer_octets,
        .cache_octets = SPOOL_CACHE,
        .max_open_files = (int)conf->open_files,
        .ballast = true,
        .sync = true,
        .apart = SPOOL_APART,
    };
    struct store_options learned = {
        .write_buffer_octets = 4u << 20,
        .cache_octets = STATE_CACHE,
        .max_open_files = 50,
        .ballast = false,
        .sync = false,
    };
    struct spool_options options = {
        .files = daemon->settings.files,
        .crypto = tls_crypto(),
        .path = conf->spool,
        .key_file = conf->key_file,
        .free_octets = conf->free_space_octets,
        .log = &daemon->log,
    };

    umask(0077);
    daemon->spool = spool_new(&options, err);
    if (!daemon->spool) {
        return err->code;
    }
    daemon->store = open_store(daemon, "spool", &mail, spool_store_events(daemon->spool), err);
    if (!daemon->store) {
        return pn_err_wrap(err, "the spool");
    }
    spool_attach(daemon->spool, daemon->store);
    daemon->state_records = state_new(&daemon->log);
    daemon->state_store =
        open_store(daemon, "state", &learned, state_store_events(daemon->state_records), err);
    if (!daemon->state_store) {
        return pn_err_wrap(err, "the state store");
    }
    state_attach(daemon->state_records, daemon->state_store);
    return 0;
}

void daemon_stores_close(struct daemon *daemon)
{
    if (daemon->store) {
        store_leveldb_free(&daemon->store);
    }
    if (daemon->state_store) {
        store_leveldb_free(&daemon->state_store);
    }
    spool_free(&daemon->spool);
    state_free(&daemon->state_records);
}
