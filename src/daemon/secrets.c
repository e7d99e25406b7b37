/*
 * daemon/secrets.c - keys, certificates and credentials, as files.
 *
 * All of it are warnings: such a file fails sessions, and mail is kept; it must not keep the
 * daemon, or a domain, from being there. What is missing now may be there at the session.
 */
#include "secrets_priv.h"

#include <unistd.h>

#include "postern/base/mem.h"
#include "postern/tls/context.h"

#define OTHERS_BITS       0077u
#define EXPIRES_SOON_DAYS 14
#define CREDENTIALS_MAX   65536

struct secrets {
    struct files *files;
    const char *file;
    struct conf_mistakes *mistakes;
};

static void check_mode(const struct secrets *s, const char *option, const char *path)
{
    struct files_info info = {0};
    struct pn_err err = {0};

    if (s->files->ops->info(s->files, path, &info, &err) != 0 || !info.exists) {
        return; /* whoever reads it says so */
    }
    if (info.mode & OTHERS_BITS) {
        conf_mistakes_add(s->mistakes, s->file, 0, true,
                          "%s %s: others than its owner may read or change it (mode %03o): "
                          "chmod 600 it",
                          option, path, info.mode & 0777u);
    }
    if (geteuid() != 0 && info.uid != geteuid() && info.uid != 0) {
        conf_mistakes_add(s->mistakes, s->file, 0, true,
                          "%s %s belongs to another user (%u), who may change it", option, path,
                          info.uid);
    }
}

static void check_days(const char *file, const char *path, int days,
                       struct conf_mistakes *mistakes)
{
    if (days < 0) {
        conf_mistakes_add(mistakes, file, 0, true, "the certificate in %s has expired", path);
    } else if (days < EXPIRES_SOON_DAYS) {
        conf_mistakes_add(mistakes, file, 0, true, "the certificate in %s expires in %d days",
                          path, days);
    }
}

static void check_own_certificate(const struct secrets *s, const struct conf_domain *domain)
{
    bool apart = domain->tls_key[0] != '\0';
    struct tls_certificate certificate = {domain->tls_certificate,
                                          apart ? domain->tls_key : domain->tls_certificate};
    struct pn_err err = {0};
    int days;

    check_mode(s, apart ? "tls_key" : "tls_certificate", certificate.key_file);
    if (tls_certificate_look(&certificate, &days, &err) != 0) {
        conf_mistakes_add(s->mistakes, s->file, 0, true, "%s", err.text);
    } else {
        check_days(s->file, domain->tls_certificate, days, s->mistakes);
    }
}

static void check_authorities(const struct secrets *s, const struct conf_domain *domain)
{
    struct tls_client_options options = {.ca_file = domain->tls_ca_file};
    struct pn_err err = {0};
    struct tls_context *context = tls_client_new(&options, &err);

    if (!context) {
        conf_mistakes_add(s->mistakes, s->file, 0, true, "tls_ca_file: %s", err.text);
    }
    tls_context_unref(&context);
}

static void check_credentials(const struct secrets *s, const struct conf_domain *domain)
{
    struct pn_err err = {0};
    struct pn_buf text;

    pn_buf_init(&text, CREDENTIALS_MAX);
    check_mode(s, "credentials", domain->credentials);
    if (s->files->ops->read(s->files, domain->credentials, &text, &err) != 0) {
        conf_mistakes_add(s->mistakes, s->file, 0, true, "credentials: %s", err.text);
    }
    if (text.data) {
        pn_wipe(text.data, text.cap);
    }
    pn_buf_fini(&text);
}

static bool is_given(const char *file)
{
    return file && file[0] != '\0';
}

void daemon_secrets_check(struct files *files, const char *file,
                          const struct conf_domain *domain, struct conf_mistakes *mistakes)
{
    struct secrets s = {files, file, mistakes};

    if (is_given(domain->tls_certificate)) {
        check_own_certificate(&s, domain);
    }
    if (is_given(domain->tls_ca_file)) {
        check_authorities(&s, domain);
    }
    if (is_given(domain->credentials)) {
        check_credentials(&s, domain);
    }
}

void daemon_secrets_certificate(const char *file, const struct conf_certificate *certificate,
                                struct conf_mistakes *mistakes)
{
    struct tls_certificate files = {certificate->chain, certificate->key};
    struct pn_err err = {0};
    int days;

    if (tls_certificate_look(&files, &days, &err) == 0) {
        check_days(file, certificate->chain, days, mistakes);
    }
}
