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

#include "postern/port/stream.h"

struct tls_context;

struct tls_context_ops {
    struct stream *(*accept)(struct tls_context *context, struct stream *plain);
    struct stream *(*connect)(struct tls_context *context, struct stream *plain,
                              const char *server_name);
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

/* server_name goes into SNI and is what `verified` is about. */
static inline struct stream *tls_connect(struct tls_context *context, struct stream *plain,
                                         const char *server_name)
{
    return context->ops->connect(context, plain, server_name);
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

#endif
