/*
 * tls/session.c - what a finished handshake tells: version, cipher, the peer's names.
 *
 * Everything in a certificate is hostile. Subject and issuer are printed by OpenSSL with
 * its escapes; DNS names with anything but host name characters (NUL among them, FAULTS
 * 2.8) are left out. All of it is bounded.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "tls_priv.h"

#include <openssl/x509v3.h>

#include <string.h>
#include <time.h>

#define SUBJECT_MAX 512
#define NAMES_MAX   4096

void tls_session_init(struct tls_session *session, const char *server_name)
{
    *session = (struct tls_session){
        .port = {.version = "",
                 .cipher = "",
                 .server_name = "",
                 .peer = "",
                 .peer_names = "",
                 .peer_issuer = "",
                 .verify_error = "",
                 .proof = "none"},
        .server_name = pn_strdup(server_name),
    };
    session->port.server_name = session->server_name;
}

void tls_session_fini(struct tls_session *session)
{
    free(session->server_name);
    free(session->peer);
    free(session->peer_names);
    free(session->peer_issuer);
}

char *tls_session_name(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    char *data;
    long length;

    pn_assert(bio);
    if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0) {
        BIO_free(bio);
        return pn_strdup("");
    }
    length = BIO_get_mem_data(bio, &data);
    text = pn_strndup(
        pn_str_sub((struct pn_str){data, length > 0 ? (size_t)length : 0}, 0, SUBJECT_MAX));
    BIO_free(bio);
    return text;
}

/* "*.example.net" may stand there too. */
static bool dns_name_is_plain(struct pn_str name)
{
    return tls_name_is_plain(pn_str_starts(name, PN_STR("*.")) ? pn_str_sub(name, 2, name.len)
                                                               : name);
}

char *tls_session_names(const X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    struct pn_buf text;

    pn_buf_init(&text, NAMES_MAX);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *entry = sk_GENERAL_NAME_value(names, i);
        struct pn_str name;

        if (entry->type != GEN_DNS) {
            continue;
        }
        name.ptr = (const char *)ASN1_STRING_get0_data(entry->d.dNSName);
        name.len = (size_t)ASN1_STRING_length(entry->d.dNSName);
        if (!dns_name_is_plain(name)) {
            continue;
        }
        if (pn_buf_room(&text) < name.len + 1) {
            break;
        }
        pn_assert(text.len == 0 || pn_buf_append_char(&text, ' ') == 0);
        pn_assert(pn_buf_append(&text, name) == 0);
    }
    GENERAL_NAMES_free(names);
    return pn_buf_detach(&text);
}

int64_t tls_session_expires_s(const X509 *certificate)
{
    struct tm when;

    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) == 1 ? timegm(&when) : 0;
}

void tls_session_read(struct tls_session *session, SSL *ssl, const struct tls_verdict *verdict)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    struct stream_tls *port = &session->port;

    port->version = SSL_get_version(ssl);
    port->cipher = SSL_get_cipher_name(ssl);
    port->resumed = SSL_session_reused(ssl) == 1;
    if (SSL_is_server(ssl)) {
        const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

        free(session->server_name);
        session->server_name = pn_strdup(tls_name_is_plain(pn_str_z(asked)) ? asked : "");
        port->server_name = session->server_name;
    }
    if (verdict) {
        port->verified = verdict->verified;
        port->verify_error = verdict->error;
        port->fault = verdict->fault;
        port->proof = verdict->proof;
    }
    if (certificate) {
        port->peer = session->peer = tls_session_name(X509_get_subject_name(certificate));
        port->peer_issuer = session->peer_issuer =
            tls_session_name(X509_get_issuer_name(certificate));
        port->peer_names = session->peer_names = tls_session_names(certificate);
        port->peer_expires_s = tls_session_expires_s(certificate);
    }
}
