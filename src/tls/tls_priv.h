/*
 * tls/tls_priv.h - what the parts of tls/ share.
 */
#ifndef POSTERN_TLS_TLS_PRIV_H
#define POSTERN_TLS_TLS_PRIV_H

#include "postern/tls/context.h"

#include <openssl/ssl.h>

/* The longest name that DNS allows, in text form; longer SNI is nobody's name. */
#define TLS_NAME_MAX    253
#define TLS_PROOF_CHARS 512

/* Letters, digits, '-', '_', '.': what may stand in a log or be compared with names. */
bool tls_name_is_plain(struct pn_str name);

/* The reason of the oldest error that OpenSSL has on this thread; empties the list. */
const char *tls_openssl_reason(void);

/* Nobody may be asked for a key's passphrase (an OpenSSL callback). */
int tls_no_passphrase(char *buf, int size, int for_writing, void *arg);

/* What the check of a certificate found; a resumed session has that of its first one. */
struct tls_verdict {
    bool verified;
    enum stream_fault fault;
    const char *error; /* static, "" */
    char proof[TLS_PROOF_CHARS];
    int64_t expires_s; /* the check would fail after that; INT64_MAX: never */
};

/* ---- resume.c: the sessions that may be resumed; any thread ---- */

struct tls_resume;
struct tls_resume *tls_resume_new(void);
void tls_resume_free(struct tls_resume **resume);
/* Keeps a copy of the session. */
void tls_resume_put(struct tls_resume *resume, const char *key, SSL_SESSION *session,
                    const struct tls_verdict *verdict, struct pn_wall now);
/* A copy for the caller, or NULL. */
SSL_SESSION *tls_resume_find(struct tls_resume *resume, const char *key, struct pn_wall now,
                             struct tls_verdict *out_verdict);
void tls_resume_drop(struct tls_resume *resume, const char *key);

/* ---- judge.c: a client's rules, and what becomes of the server's certificate ---- */

struct tls_judge;
void tls_judge_context(SSL_CTX *context); /* once for each client's context */
/* Sets up ssl for a client's session by the rules. resume outlives ssl. */
struct tls_judge *tls_judge_new(SSL *ssl, const struct tls_rules *rules,
                                struct tls_resume *resume, struct loop *loop);
void tls_judge_free(struct tls_judge **judge);
/* The handshake is done. */
const struct tls_verdict *tls_judge_settle(struct tls_judge *judge, SSL *ssl);
/* The handshake failed: why, if it was for the certificate, else NULL. */
const char *tls_judge_failed(struct tls_judge *judge);
const struct tls_verdict *tls_judge_verdict(const struct tls_judge *judge);

/* ---- session.c ---- */

/* What is known of a session after its handshake; strings are owned. */
struct tls_session {
    struct stream_tls port;
    char *server_name;
    char *peer;
    char *peer_names;
    char *peer_issuer;
};

void tls_session_init(struct tls_session *session, const char *server_name);
/* The handshake is done, or has failed; verdict: a client's. */
void tls_session_read(struct tls_session *session, SSL *ssl, const struct tls_verdict *verdict);
void tls_session_fini(struct tls_session *session);

/* A certificate's DNS names, blank separated; the caller frees. */
char *tls_session_names(const X509 *certificate);
char *tls_session_name(const X509_NAME *name);
int64_t tls_session_expires_s(const X509 *certificate);

/* ---- stream.c ---- */

/* Takes ssl and judge (a server's is NULL). */
struct stream *tls_stream_new(struct tls_context *context, struct stream *plain, SSL *ssl,
                              const char *server_name, struct tls_judge *judge);

/* HKDF-SHA-256 with a key of any length (RFC 5869). */
void tls_crypto_hkdf(struct pn_str key, struct pn_str salt, struct pn_str info,
                     uint8_t out[CRYPTO_KEY_OCTETS]);

#endif
