/*
 * tls/context.h - making TLS contexts on OpenSSL, and the crypto port.
 */
#ifndef POSTERN_TLS_CONTEXT_H
#define POSTERN_TLS_CONTEXT_H

#include "postern/base/err.h"
#include "postern/port/crypto.h"
#include "postern/port/loop.h"
#include "postern/port/tls.h"

enum tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3 };

struct tls_certificate {
    const char *chain_file; /* PEM: the server's certificate first */
    const char *key_file;   /* PEM */
};

/*
 * A server's context. The certificate is chosen by SNI among the names in the
 * certificates (wild cards too); the first is for clients without SNI or with an unknown
 * name. NULL and err, which names the file, when one cannot be used.
 */
struct tls_context *tls_server_new(const struct tls_certificate *certificates, size_t count,
                                   enum tls_version least, struct pn_err *err);

/* Can the certificate and its key be used? Then, the days until it expires; below 0 it has. */
int tls_certificate_look(const struct tls_certificate *certificate, int *out_days,
                         struct pn_err *err);

/* A client's context; see port/tls.h for what it checks. */
struct tls_context *tls_client_new(const struct tls_client_options *options,
                                   struct pn_err *err);

struct tls_clients *tls_clients_new(void);
void tls_clients_forget(struct tls_clients *clients);
void tls_clients_free(struct tls_clients **clients);

struct crypto *tls_crypto(void); /* stateless; any thread */

#endif
