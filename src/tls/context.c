/*
 * tls/context.c - TLS contexts: certificates for a server, trust for a client.
 *
 * A server has one SSL_CTX for each certificate; a connection starts with the first one
 * and is moved to another by the name it asks for. Which certificate covers a name is
 * OpenSSL's own decision (X509_check_host), never a comparison of strings of ours: NUL in
 * names and odd wild cards have a history (FAULTS 2.8). A requested name that is no plain
 * host name counts as none (FAULTS 2.7).
 *
 * There is no session cache, which would grow for as long as the server runs (FAULTS
 * 2.15); resumption works by tickets. Renegotiation is off (FAULTS 2.11).
 *
 * A client verifies every chain and name, and remembers the result, but goes on whatever
 * it is: encryption to somebody unproven is better than none, and whoever needs proof asks
 * stream_tls.verified. For the same reason it admits keys that OpenSSL finds a bit short.
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
    SSL_CTX **ssl; /* the first is what a connection starts with */
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
static int no_passphrase(char *buf, int size, int for_writing, void *arg)
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
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    return ssl;
}

/* Makes one certificate's SSL_CTX; NULL and err when a file cannot be used. */
static SSL_CTX *server_ssl_new(const struct tls_certificate *certificate,
                               enum tls_version least, struct pn_err *err)
{
    static const unsigned char id[] = "postern";
    SSL_CTX *ssl = ssl_new(TLS_server_method(), least);

    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate->chain_file) != 1) {
        pn_err_set(err, PN_EINVAL, "cannot use the certificate in %s: %s",
                   certificate->chain_file, tls_openssl_reason());
    } else if (SSL_CTX_use_PrivateKey_file(ssl, certificate->key_file, SSL_FILETYPE_PEM) != 1 ||
               SSL_CTX_check_private_key(ssl) != 1) {
        pn_err_set(err, PN_EINVAL, "cannot use the key in %s with the certificate in %s: %s",
                   certificate->key_file, certificate->chain_file, tls_openssl_reason());
    } else {
        pn_assert(SSL_CTX_set_session_id_context(ssl, id, sizeof id - 1) == 1);
        pn_assert(SSL_CTX_set_num_tickets(ssl, 1) == 1);
        SSL_CTX_set_dh_auto(ssl, 1);
        return ssl;
    }
    SSL_CTX_free(ssl);
    return NULL;
}

static struct stream *context_accept(struct tls_context *port, struct stream *plain)
{
    struct context *context = context_of(port);
    SSL *ssl = SSL_new(context->ssl[0]);

    pn_assert(ssl);
    SSL_set_accept_state(ssl);
    return tls_stream_new(port, plain, ssl, "");
}

static struct stream *context_connect(struct tls_context *port, struct stream *plain,
                                      const struct tls_rules *rules)
{
    struct context *context = context_of(port);
    const char *server_name = rules->server_name;
    SSL *ssl = SSL_new(context->ssl[0]);
    struct pn_ip ip;

    pn_assert(ssl);
    if (pn_ip_parse(pn_str_z(server_name), &ip)) {
        pn_assert(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name) == 1);
    } else if (tls_name_is_plain(pn_str_z(server_name))) {
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        pn_assert(SSL_set1_host(ssl, server_name) == 1);
        pn_assert(SSL_set_tlsext_host_name(ssl, server_name) == 1);
    } else {
        server_name = "";
    }
    SSL_set_connect_state(ssl);
    return tls_stream_new(port, plain, ssl, server_name);
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

struct tls_context *tls_client_new(const struct tls_client_options *options, struct pn_err *err)
{
    struct context *context;
    SSL_CTX *ssl =
        ssl_new(TLS_client_method(), options->least_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2);

    ERR_clear_error();
    if (SSL_CTX_set_default_verify_paths(ssl) != 1) {
        pn_err_set(err, PN_EIO, "cannot read the system's trusted certificates: %s",
                   tls_openssl_reason());
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_security_level(ssl, 1);
    context = context_new(1);
    context->ssl[context->count++] = ssl;
    return &context->port;
}
