/*
 * tls/tls_priv.h - what the parts of tls/ share.
 */
#ifndef POSTERN_TLS_TLS_PRIV_H
#define POSTERN_TLS_TLS_PRIV_H

#include "postern/tls/context.h"

#include <openssl/ssl.h>

/* The longest name that DNS allows, in text form; longer SNI is nobody's name. */
#define TLS_NAME_MAX 253

/* Letters, digits, '-', '_', '.': what may stand in a log or be compared with names. */
bool tls_name_is_plain(struct pn_str name);

/* The reason of the oldest error that OpenSSL has on this thread; empties the list. */
const char *tls_openssl_reason(void);

/* What is known of a session after its handshake; strings are owned. */
struct tls_session {
    struct stream_tls port;
    char *server_name;
    char *peer;
    char *peer_names;
    char *peer_issuer;
};

void tls_session_init(struct tls_session *session, const char *server_name);
/* The handshake is done; has_name: a name was given to compare with the certificate's. */
void tls_session_read(struct tls_session *session, SSL *ssl, bool has_name);
void tls_session_fini(struct tls_session *session);

struct stream *tls_stream_new(struct tls_context *context, struct stream *plain, SSL *ssl,
                              const char *server_name);

/* HKDF-SHA-256 with a key of any length (RFC 5869). */
void tls_crypto_hkdf(struct pn_str key, struct pn_str salt, struct pn_str info,
                     uint8_t out[CRYPTO_KEY_OCTETS]);

#endif
