/*
 * tls/context.c - TLS contexts: certificates for a server, trust for a client.
 *
 * A server has one SSL_CTX for each certificate; a connection starts with the first one
 * and is moved to another by the name it asks for. Which certificate covers a name is
 * OpenSSL's own decision (X509_check_host), never a comparison of strings of ours: NUL in
 * names and odd wild cards have a history (FAULTS 2.8). A requested name that is no plain
 * host name counts as none (FAULTS 2.7).
 *
 * A server has no session cache, which would grow for as long as it runs (FAULTS 2.15);
 * resumption works by tickets. Renegotiation is off (FAULTS 2.11).
 *
 * A client's context has the trusted roots, our own certificate for servers that ask for one,
 * and the sessions that may be resumed (resume.c); what a server has to prove is each
 * connection's own (judge.c). It admits keys that OpenSSL finds a bit short: where nothing
 * has to be proven, weak encryption is better than none.
 */
#include "postern/tls/context.h"

#include "postern/base/assert.h"
#include "postern/base/ip.h"
#include "postern/base/mem.h"

#include "tls_priv.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <string.h>

struct context {
    struct tls_context port;
    atomic_uint references;
    size_t count;
    SSL_CTX **ssl;             /* the first is what a connection starts with */
    struct tls_resume *resume; /* a client's */
};

static struct context *context_of(struct tls_context *port)
{
    return PN_CONTAINER(port, struct context, port);
}

bool tls_name_is_plain(struct pn_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!pn_is_alnum(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return name.len > 0 && name.len <= TLS_NAME_MAX;
}

const char *tls_openssl_reason(void)
{
    unsigned long code = ERR_get_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerrordesc_np(ERR_GET_REASON(code))
                                                : ERR_reason_error_string(code);

    ERR_clear_error();
    return reason ? reason : "no reason given";
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct context *context = arg;
    struct pn_str name = pn_str_z(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));

    (void)alert;
    if (!tls_name_is_plain(name)) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    for (size_t i = 0; i < context->count; i++) {
        X509 *certificate = SSL_CTX_get0_certificate(context->ssl[i]);

        if (X509_check_host(certificate, name.ptr, name.len, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, context->ssl[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* A key that wants a passphrase must not make the daemon ask a terminal. */
int tls_no_passphrase(char *buf, int size, int for_writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)for_writing;
    (void)arg;
    return -1;
}

static SSL_CTX *ssl_new(const SSL_METHOD *method, enum tls_version least)
{
    SSL_CTX *ssl = SSL_CTX_new(method);

    pn_assert(ssl);
    pn_assert(SSL_CTX_set_min_proto_version(ssl, least == TLS_VERSION_1_3 ? TLS1_3_VERSION
                                                                          : TLS1_2_VERSION));
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_default_passwd_cb(ssl, tls_no_passphrase);
    return ssl;
}

static int use_certificate(SSL_CTX *ssl, const char *chain_file, const char *key_file,
                           struct pn_err *err)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, chain_file) != 1) {
        return pn_err_set(err, PN_EINVAL, "cannot use the certificate in %s: %s", chain_file,
                          tls_openssl_reason());
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1) {
        return pn_err_set(err, PN_EINVAL,
                          "cannot use the key in %s with the certificate in %s: %s", key_file,
                          chain_file, tls_openssl_reason());
    }
    return 0;
}

/* Makes one certificate's SSL_CTX; NULL and err when a file cannot be used. */
static SSL_CTX *server_ssl_new(const struct tls_certificate *certificate,
                               enum tls_version least, struct pn_err *err)
{
    static const unsigned char id[] = "postern";
    SSL_CTX *ssl = ssl_new(TLS_server_method(), least);

    ERR_clear_error();
    if (use_certificate(ssl, certificate->chain_file, certificate->key_file, err) != 0) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    pn_assert(SSL_CTX_set_session_id_context(ssl, id, sizeof id - 1) == 1);
    pn_assert(SSL_CTX_set_num_tickets(ssl, 1) == 1);
    SSL_CTX_set_dh_auto(ssl, 1);
    return ssl;
}

/* OpenSSL asks the clock itself: there is no loop where files are checked. */
int tls_certificate_look(const struct tls_certificate *certificate, int *out_days,
                         struct pn_err *err)
{
    SSL_CTX *ssl = ssl_new(TLS_server_method(), TLS_VERSION_1_2);
    int status, days, seconds;

    ERR_clear_error();
    status = use_certificate(ssl, certificate->chain_file, certificate->key_file, err);
    if (status == 0 && ASN1_TIME_diff(&days, &seconds, NULL,
                                      X509_get0_notAfter(SSL_CTX_get0_certificate(ssl))) != 1) {
        status = pn_err_set(err, PN_EINVAL, "the certificate in %s has no date of expiry",
                            certificate->chain_file);
    }
    SSL_CTX_free(ssl);
    if (status == 0) {
        *out_days = days < 0 || seconds < 0 ? days - 1 : days;
    }
    return status;
}

static struct stream *context_accept(struct tls_context *port, struct stream *plain)
{
    struct context *context = context_of(port);
    SSL *ssl = SSL_new(context->ssl[0]);

    pn_assert(ssl);
    SSL_set_accept_state(ssl);
    return tls_stream_new(port, plain, ssl, "", NULL);
}

static struct stream *context_connect(struct tls_context *port, struct stream *plain,
                                      const struct tls_rules *rules)
{
    struct context *context = context_of(port);
    const char *server_name = rules->server_name;
    SSL *ssl = SSL_new(context->ssl[0]);
    struct tls_judge *judge;
    struct pn_ip ip;

    pn_assert(ssl);
    SSL_set_connect_state(ssl);
    if (!pn_ip_parse(pn_str_z(server_name), &ip)) {
        server_name = tls_name_is_plain(pn_str_z(server_name)) ? server_name : "";
        pn_assert(!server_name[0] || SSL_set_tlsext_host_name(ssl, server_name) == 1);
    }
    judge = tls_judge_new(ssl, rules, context->resume, plain->loop);
    return tls_stream_new(port, plain, ssl, server_name, judge);
}

static void context_ref(struct tls_context *port)
{
    atomic_fetch_add(&context_of(port)->references, 1);
}

static void context_unref(struct tls_context *port)
{
    struct context *context = context_of(port);

    if (atomic_fetch_sub(&context->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < context->count; i++) {
        SSL_CTX_free(context->ssl[i]);
    }
    free(context->ssl);
    tls_resume_free(&context->resume);
    free(context);
}

static struct context *context_new(size_t count)
{
    static const struct tls_context_ops ops = {
        .accept = context_accept,
        .connect = context_connect,
        .ref = context_ref,
        .unref = context_unref,
    };
    struct context *context = PN_NEW(struct context);

    context->port.ops = &ops;
    atomic_init(&context->references, 1);
    context->ssl = pn_alloc_array(count, sizeof *context->ssl);
    return context;
}

struct tls_context *tls_server_new(const struct tls_certificate *certificates, size_t count,
                                   enum tls_version least, struct pn_err *err)
{
    struct context *context;

    if (count == 0) {
        pn_err_set(err, PN_EINVAL, "TLS needs a certificate, and none is given");
        return NULL;
    }
    context = context_new(count);
    for (size_t i = 0; i < count; i++) {
        SSL_CTX *ssl = server_ssl_new(&certificates[i], least, err);

        if (!ssl) {
            context_unref(&context->port);
            return NULL;
        }
        context->ssl[context->count++] = ssl;
    }
    SSL_CTX_set_tlsext_servername_callback(context->ssl[0], on_server_name);
    SSL_CTX_set_tlsext_servername_arg(context->ssl[0], context);
    return &context->port;
}

static bool is_given(const char *file)
{
    return file && file[0];
}

static int client_trusts(SSL_CTX *ssl, const struct tls_client_options *options,
                         struct pn_err *err)
{
    if (!is_given(options->ca_file)) {
        return SSL_CTX_set_default_verify_paths(ssl) == 1
                   ? 0
                   : pn_err_set(err, PN_EIO,
                                "cannot read the system's trusted certificates: %s",
                                tls_openssl_reason());
    }
    return SSL_CTX_load_verify_file(ssl, options->ca_file) == 1
               ? 0
               : pn_err_set(err, PN_EINVAL, "cannot use the authorities in %s: %s",
                            options->ca_file, tls_openssl_reason());
}

static int client_proves(SSL_CTX *ssl, const struct tls_client_options *options,
                         struct pn_err *err)
{
    const char *certificate = options->certificate_file;
    const char *key = is_given(options->key_file) ? options->key_file : certificate;

    return is_given(certificate) ? use_certificate(ssl, certificate, key, err) : 0;
}

struct tls_context *tls_client_new(const struct tls_client_options *options, struct pn_err *err)
{
    struct context *context;
    SSL_CTX *ssl =
        ssl_new(TLS_client_method(), options->least_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2);

    ERR_clear_error();
    SSL_CTX_set_security_level(ssl, 1);
    if (client_trusts(ssl, options, err) != 0 || client_proves(ssl, options, err) != 0) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    tls_judge_context(ssl);
    context = context_new(1);
    context->ssl[context->count++] = ssl;
    context->resume = tls_resume_new();
    return &context->port;
}
