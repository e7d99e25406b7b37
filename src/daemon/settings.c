/*
 * daemon/settings.c - what is in force: postern.conf, the domains, the certificates.
 */
#include "settings_priv.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "secrets_priv.h"

#include "postern/base/mem.h"
#include "postern/net/loop.h"
#include "postern/tls/context.h"

#define CONF_OCTETS_MAX (1u << 20)
#define KEY_MODE_BAD    0077u

/* statfs(2)'s numbers of the file systems on which a new log file survives a crash. */
#define MAGIC_EXT4  0xef53
#define MAGIC_XFS   0x58465342
#define MAGIC_BTRFS 0x9123683e

static struct conf *read_conf(struct daemon_settings *settings, struct conf_mistakes *mistakes)
{
    struct conf *conf = NULL;
    struct pn_err err = {0};
    struct pn_buf text;

    pn_buf_init(&text, CONF_OCTETS_MAX);
    if (settings->files->ops->read(settings->files, settings->path, &text, &err) != 0) {
        conf_mistakes_add(mistakes, settings->path, 0, false, "%s", err.text);
    } else {
        conf = conf_parse(settings->path, pn_buf_str(&text), mistakes);
    }
    pn_buf_fini(&text);
    return conf;
}

static int64_t mtime_of(const struct daemon_settings *settings, const char *path)
{
    struct files_info info = {0};
    struct pn_err err = {0};

    if (settings->files->ops->info(settings->files, path, &info, &err) != 0) {
        return 0;
    }
    return info.mtime_ns;
}

static enum tls_version least_version(const struct conf *conf)
{
    return conf->tls_min_version == 0 ? TLS_VERSION_1_2 : TLS_VERSION_1_3;
}

/* On failure the context that is there stays. */
static bool make_contexts(struct daemon_settings *settings, const struct conf *conf,
                          struct conf_mistakes *mistakes)
{
    struct tls_certificate *certificates =
        pn_alloc_array(conf->certificate_count + 1, sizeof *certificates);
    struct tls_context *server = NULL;
    struct pn_err err = {0};
    bool works;

    for (size_t i = 0; i < conf->certificate_count; i++) {
        certificates[i].chain_file = conf->certificates[i].chain;
        certificates[i].key_file = conf->certificates[i].key;
    }
    if (conf->certificate_count > 0) {
        server =
            tls_server_new(certificates, conf->certificate_count, least_version(conf), &err);
    }
    works = server || conf->certificate_count == 0;
    free(certificates);
    if (!works) {
        conf_mistakes_add(mistakes, settings->path, 0, false, "%s", err.text);
        return false;
    }
    tls_context_unref(&settings->server);
    settings->server = server;
    tls_clients_forget(settings->clients);
    return true;
}

static void note_certificates(struct daemon_settings *settings)
{
    const struct conf *conf = settings->conf;

    free(settings->certificate_mtimes);
    settings->certificate_mtimes =
        pn_alloc_array(2 * conf->certificate_count + 1, sizeof *settings->certificate_mtimes);
    for (size_t i = 0; i < conf->certificate_count; i++) {
        settings->certificate_mtimes[2 * i] = mtime_of(settings, conf->certificates[i].chain);
        settings->certificate_mtimes[2 * i + 1] = mtime_of(settings, conf->certificates[i].key);
    }
}

/*
 * Certificates are asked after by time, not watched: they are usually reached through
 * symbolic links that a renewal turns elsewhere, which a watch of the link does not see.
 */
bool daemon_settings_certificates_changed(const struct daemon_settings *settings)
{
    const struct conf *conf = settings->conf;

    for (size_t i = 0; i < conf->certificate_count; i++) {
        if (settings->certificate_mtimes[2 * i] !=
                mtime_of(settings, conf->certificates[i].chain) ||
            settings->certificate_mtimes[2 * i + 1] !=
                mtime_of(settings, conf->certificates[i].key)) {
            return true;
        }
    }
    return false;
}

static void add_own(struct daemon_settings *settings, const struct pn_ip *ip, uint16_t port)
{
    settings->own =
        pn_realloc(settings->own, (settings->own_count + 1) * sizeof *settings->own);
    settings->own[settings->own_count++] = (struct pn_endpoint){.ip = *ip, .port = port};
}

/* A wild card address stands for all of the machine's. */
static void note_own(struct daemon_settings *settings, const struct conf *conf)
{
    settings->own_ip_count = net_own_addresses(settings->own_ips, DAEMON_OWN_IPS_MAX);
    settings->own_count = 0;
    for (size_t l = 0; l < conf->listener_count; l++) {
        for (size_t e = 0; e < conf->listeners[l].endpoint_count; e++) {
            const struct pn_endpoint *endpoint = &conf->listeners[l].endpoints[e];

            if (!pn_ip_is_unspecified(&endpoint->ip)) {
                add_own(settings, &endpoint->ip, endpoint->port);
                continue;
            }
            for (size_t i = 0; i < settings->own_ip_count; i++) {
                if (settings->own_ips[i].family == endpoint->ip.family) {
                    add_own(settings, &settings->own_ips[i], endpoint->port);
                }
            }
        }
    }
}

bool daemon_settings_load(struct daemon_settings *settings, const char *path,
                          struct conf_mistakes *mistakes)
{
    bool tls_works, scanned;

    *settings = (struct daemon_settings){
        .path = path, .files = net_files(), .clients = tls_clients_new()};
    settings->conf = read_conf(settings, mistakes);
    if (!settings->conf) {
        return false;
    }
    note_own(settings, settings->conf);
    tls_works = make_contexts(settings, settings->conf, mistakes);
    note_certificates(settings);
    settings->domain_files = daemon_domain_files_new(settings->files, settings->conf->domains);
    daemon_domain_files_set(settings->domain_files, settings->conf, settings->own,
                            settings->own_count);
    scanned = daemon_domain_files_scan(settings->domain_files, mistakes);
    return tls_works && scanned;
}

static bool same_name(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Options that take effect only at a start. */
static void warn_restart(const struct daemon_settings *settings, const struct conf *now,
                         struct conf_mistakes *mistakes)
{
    const struct conf *was = settings->conf;

    if (!same_name(was->spool, now->spool) || !same_name(was->domains, now->domains) ||
        !same_name(was->admin, now->admin) || !same_name(was->key_file, now->key_file) ||
        was->workers != now->workers || was->write_buffer_octets != now->write_buffer_octets ||
        was->open_files != now->open_files) {
        conf_mistakes_add(
            mistakes, settings->path, 0, true,
            "a change of spool, domains, admin, key_file, workers, write_buffer or "
            "open_files takes effect at the next start");
    }
}

static bool same_listeners(const struct conf *a, const struct conf *b)
{
    if (a->listener_count != b->listener_count) {
        return false;
    }
    for (size_t i = 0; i < a->listener_count; i++) {
        const struct conf_listener *l = &a->listeners[i], *m = &b->listeners[i];

        if (l->endpoint_count != m->endpoint_count ||
            memcmp(l->endpoints, m->endpoints, l->endpoint_count * sizeof *l->endpoints) != 0) {
            return false;
        }
    }
    return true;
}

bool daemon_settings_reload(struct daemon_settings *settings, struct conf_mistakes *mistakes)
{
    struct conf *conf = read_conf(settings, mistakes);

    if (!conf || !make_contexts(settings, conf, mistakes)) {
        conf_unref(&conf);
        note_certificates(settings); /* one complaint for each change */
        return false;
    }
    warn_restart(settings, conf, mistakes);
    if (!same_listeners(settings->conf, conf)) {
        conf_mistakes_add(mistakes, settings->path, 0, true,
                          "a change of listener addresses takes effect at the next start");
    }
    if (!same_name(settings->conf->hostname, conf->hostname)) {
        daemon_domain_files_set(settings->domain_files, conf, settings->own,
                                settings->own_count);
    } else {
        daemon_domain_files_follow(settings->domain_files, conf);
    }
    conf_unref(&settings->conf);
    settings->conf = conf;
    note_certificates(settings);
    return daemon_domain_files_scan(settings->domain_files, mistakes);
}

void daemon_settings_fini(struct daemon_settings *settings)
{
    daemon_domain_files_free(&settings->domain_files);
    tls_context_unref(&settings->server);
    tls_clients_free(&settings->clients);
    free(settings->certificate_mtimes);
    free(settings->own);
    conf_unref(&settings->conf);
}

/* ---- --check ------------------------------------------------------------------------ */

static void check_secret(struct daemon_settings *settings, const char *path, const char *what,
                         struct conf_mistakes *mistakes)
{
    struct files_info info = {0};
    struct pn_err err = {0};

    if (settings->files->ops->info(settings->files, path, &info, &err) != 0 || !info.exists) {
        conf_mistakes_add(mistakes, settings->path, 0, false, "%s %s: there is no such file",
                          what, path);
    } else if (info.mode & KEY_MODE_BAD & 0007u) {
        conf_mistakes_add(mistakes, settings->path, 0, true,
                          "%s %s can be read by everybody (mode %03o): chmod 600 it", what,
                          path, info.mode & 0777u);
    }
}

static void check_directory(struct daemon_settings *settings, const char *path,
                            const char *option, struct conf_mistakes *mistakes)
{
    struct files_info info = {0};
    struct pn_err err = {0};

    if (settings->files->ops->info(settings->files, path, &info, &err) != 0 || !info.exists ||
        !info.directory) {
        conf_mistakes_add(mistakes, settings->path, 0, false,
                          "%s: the directory %s does not exist", option, path);
    }
}

static void check_file_system(struct daemon_settings *settings, struct conf_mistakes *mistakes)
{
    struct statfs fs;

    if (statfs(settings->conf->spool, &fs) == 0 && fs.f_type != MAGIC_EXT4 &&
        fs.f_type != MAGIC_XFS && fs.f_type != MAGIC_BTRFS) {
        conf_mistakes_add(mistakes, settings->path, 0, true,
                          "spool: %s is neither on ext4, XFS nor btrfs: a new log file of the "
                          "spool may not survive a power cut there",
                          settings->conf->spool);
    }
}

static void check_domains(struct daemon_settings *settings, struct conf_mistakes *mistakes)
{
    const struct conf *conf = settings->conf;
    const struct domains *domains = daemon_domain_files_table(settings->domain_files);

    for (size_t i = 0; i < domains_count(domains); i++) {
        const struct conf_domain *domain = domains_at(domains, i);
        char file[PATH_MAX];

        (void)snprintf(file, sizeof file, "%s/%s.conf", conf->domains, domain->name);
        daemon_secrets_check(settings->files, file, domain, mistakes);
    }
    for (size_t i = 0; i < conf->smart_host_count; i++) {
        daemon_secrets_check(settings->files, settings->path, conf->smart_hosts[i], mistakes);
    }
    if (conf->outbound) {
        daemon_secrets_check(settings->files, settings->path, conf->outbound, mistakes);
    }
}

void daemon_settings_check(struct daemon_settings *settings, struct conf_mistakes *mistakes)
{
    const struct conf *conf = settings->conf;

    if (!conf) {
        return;
    }
    check_directory(settings, conf->spool, "spool", mistakes);
    check_file_system(settings, mistakes);
    if (conf->key_file[0] != '\0') {
        check_secret(settings, conf->key_file, "key_file", mistakes);
    }
    for (size_t i = 0; i < conf->certificate_count; i++) {
        check_secret(settings, conf->certificates[i].key, "the key", mistakes);
        daemon_secrets_certificate(settings->path, &conf->certificates[i], mistakes);
    }
    check_domains(settings, mistakes);
}
