/*
 * daemon/settings_priv.h - what is in force: postern.conf, the domains, the certificates.
 *
 * Loading and reloading. A reload that does not validate changes nothing; a domain file
 * that does not leaves its last good version in force, and the others load.
 */
#ifndef POSTERN_DAEMON_SETTINGS_PRIV_H
#define POSTERN_DAEMON_SETTINGS_PRIV_H

#include "domain_files_priv.h"
#include "postern/port/tls.h"

#define DAEMON_OWN_IPS_MAX 256

struct daemon_settings {
    const char *path; /* of postern.conf */
    struct files *files;
    struct conf *conf;
    struct daemon_domain_files *domain_files;
    struct tls_context *server;  /* NULL: no certificate */
    struct tls_clients *clients; /* files are read anew after a reload */
    int64_t *certificate_mtimes; /* of chain and key, in turns; what `server` was made of */
    struct pn_ip own_ips[DAEMON_OWN_IPS_MAX];
    size_t own_ip_count;
    struct pn_endpoint *own; /* every endpoint that leads to us */
    size_t own_count;
};

/* Loads all. False: mistakes say why; what there is may still be looked at. */
bool daemon_settings_load(struct daemon_settings *settings, const char *path,
                          struct conf_mistakes *mistakes);
/* Reads postern.conf again, the certificates, and what changed in domains.d. */
bool daemon_settings_reload(struct daemon_settings *settings, struct conf_mistakes *mistakes);
/* True when a certificate's file has changed since it was read. */
bool daemon_settings_certificates_changed(const struct daemon_settings *settings);
void daemon_settings_fini(struct daemon_settings *settings);

/* For --check: the things that loading does not look at (directories, keys, secrets). */
void daemon_settings_check(struct daemon_settings *settings, struct conf_mistakes *mistakes);

#endif
