/*
 * port/tls.h - turning a plain stream into an encrypted one.
 *
 * A context is immutable and shared by all loops; it carries certificates or trust. A
 * reload makes a new one, and sessions keep the one they began with (reference counted).
 *
 * tls_accept and tls_connect take the plain stream away from its owner, with what it has
 * not consumed: the caller must have made sure that there is nothing, because octets that
 * came before the handshake are an attack (FAULTS 2.1, 2.2). The new stream is
 * STREAM_CONNECTING until the handshake is done. When the peer ends TLS the stream ends;
 * an end without close_notify is STREAM_FAILED, never STREAM_ENDED (FAULTS 2.5, 2.9).
 */
#ifndef POSTERN_PORT_TLS_H
#define POSTERN_PORT_TLS_H

#include "postern/base/err.h"
#include "postern/port/stream.h"

struct tls_context;

/*
 * How a server has to prove who it is. What fails ends the handshake: STREAM_FAILED, and
 * stream_tls tells the fault. With DANE and no record that can be used the handshake goes on
 * with any certificate (RFC 7672 2.2), and stream_tls is not verified.
 */
enum tls_check {
    TLS_CHECK_NOTHING,     /* any certificate; what is wrong with it is in stream_tls */
    TLS_CHECK_NAME,        /* a chain to a trusted root, and one of the names (RFC 6125) */
    TLS_CHECK_FINGERPRINT, /* one of the fingerprints, whatever else the certificate says */
    TLS_CHECK_DANE,        /* a TLSA record (RFC 7672): usage 3, or 2 and one of the names */
};

/* The data of a TLSA record (RFC 6698 2.1); the answer's owner has checked that it is
 * DNSSEC-validated. */
struct tls_tlsa {
    uint8_t usage, selector, matching;
    const uint8_t *data;
    size_t len;
};

#define TLS_NAMES_MAX 16
#define TLS_FINGERPRINT_OCTETS                                                                 \
    32 /* SHA-256, of the certificate or of its public key (SPKI)                              \
        */

/* What a client wants of a session. Borrowed for the call of tls_connect. */
struct tls_rules {
    const char *server_name; /* for SNI; an address or "": none is sent */
    enum tls_check check;
    /* NAME, and DANE with usage 2: any of these, at most TLS_NAMES_MAX; names ("*." in front
     * stands for one label) or addresses. NOTHING: what `verified` is about. */
    const char *const *names;
    size_t name_count;
    const uint8_t (*fingerprints)[TLS_FINGERPRINT_OCTETS];
    size_t fingerprint_count;
    const struct tls_tlsa *tlsa; /* those that OpenSSL cannot use are passed over */
    size_t tlsa_count;
    /* Sessions with the same key may be resumed: the same server and the same rules. "" or
     * NULL: never. A resumed session was checked when it was made. */
    const char *resume_key;
};

/* What a client's context is made of; "" or NULL: the system's roots, no certificate. */
struct tls_client_options {
    bool least_1_3; /* TLS 1.3 at least, else 1.2 */
    const char *ca_file;
    const char *certificate_file;
    const char *key_file; /* "" or NULL: the key is in certificate_file */
};

struct tls_context_ops {
    struct stream *(*accept)(struct tls_context *context, struct stream *plain);
    struct stream *(*connect)(struct tls_context *context, struct stream *plain,
                              const struct tls_rules *rules);
    void (*ref)(struct tls_context *context);
    void (*unref)(struct tls_context *context);
};

struct tls_context {
    const struct tls_context_ops *ops;
};

static inline struct stream *tls_accept(struct tls_context *context, struct stream *plain)
{
    return context->ops->accept(context, plain);
}

static inline struct stream *tls_connect(struct tls_context *context, struct stream *plain,
                                         const struct tls_rules *rules)
{
    return context->ops->connect(context, plain, rules);
}

static inline struct tls_context *tls_context_ref(struct tls_context *context)
{
    if (context) {
        context->ops->ref(context);
    }
    return context;
}

static inline void tls_context_unref(struct tls_context **context)
{
    if (*context) {
        (*context)->ops->unref(*context);
        *context = NULL;
    }
}

/*
 * Clients' contexts by what they are made of; any thread. Files are read when a context is
 * first wanted, and again after tls_clients_forget (a reload), while sessions keep theirs.
 */
struct tls_clients;
struct tls_clients_ops {
    struct tls_context *(*get)(struct tls_clients *clients,
                               const struct tls_client_options *options, struct pn_err *err);
};
struct tls_clients {
    const struct tls_clients_ops *ops;
};

/* A reference for the caller; NULL and err, which names the file, when one cannot be used. */
static inline struct tls_context *tls_clients_get(struct tls_clients *clients,
                                                  const struct tls_client_options *options,
                                                  struct pn_err *err)
{
    return clients->ops->get(clients, options, err);
}

#endif
