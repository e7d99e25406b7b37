/*
 * port/stream.h - a connection, as octets in and octets out.
 *
 * net/ makes streams of TCP and unix sockets, tls/ wraps one stream into another, the
 * simulation makes pairs in memory. The owner is told "something changed" by on_event and then
 * looks: at the state, at what came in (stream_peek), at what is still unsent. on_event is
 * never called inside a call of the owner's, and never after stream_close or stream_abort.
 *
 * Back-pressure: what the owner does not consume stays, and beyond STREAM_INPUT_MAX
 * nothing more is read from the peer. Output is copied and leaves at the end of the loop
 * turn, all in one write; the owner watches stream_unsent and stops producing above its
 * own limit. on_event comes when unsent output has fallen to zero.
 */
#ifndef POSTERN_PORT_STREAM_H
#define POSTERN_PORT_STREAM_H

#include "postern/base/ip.h"
#include "postern/base/str.h"

struct loop;

#define STREAM_INPUT_MAX 65536

enum stream_state {
    STREAM_CONNECTING, /* TCP or TLS handshake under way; nothing may be written yet */
    STREAM_OPEN,
    STREAM_ENDED,  /* the peer sends no more; input that came before may still be there */
    STREAM_FAILED, /* see stream_error; input is gone, writes go nowhere */
};

struct stream;
typedef void stream_event_fn(struct stream *stream, void *owner);

/* What is wrong with a peer's certificate, in the words of RFC 8460 4.3. */
enum stream_fault {
    STREAM_FAULT_NONE,
    STREAM_FAULT_NAME,     /* certificate-host-mismatch */
    STREAM_FAULT_EXPIRED,  /* certificate-expired, or not valid yet */
    STREAM_FAULT_TRUST,    /* certificate-not-trusted */
    STREAM_FAULT_NO_MATCH, /* no TLSA record or fingerprint is of this certificate */
};

/* What TLS a stream has. */
struct stream_tls {
    const char *version;      /* "TLSv1.3" */
    const char *cipher;       /* "TLS_AES_256_GCM_SHA384" */
    const char *server_name;  /* SNI asked for, or "" */
    const char *peer;         /* subject of the peer's certificate, or "" */
    const char *peer_names;   /* its DNS names, blank separated, or "" */
    const char *peer_issuer;  /* or "" */
    int64_t peer_expires_s;   /* since 1970; 0: no certificate */
    bool verified;            /* what the rules asked for was proven */
    const char *verify_error; /* why not, or "" */
    enum stream_fault fault;  /* the same for programs */
    const char *proof; /* "TLSA 3 1 1", "fingerprint 3f…", "name …, issuer …", or "none" */
    bool resumed;      /* an earlier session goes on: it was proven when that began */
};

struct stream_ops {
    enum stream_state (*state)(const struct stream *stream);
    const char *(*error)(const struct stream *stream);
    struct pn_str (*peek)(struct stream *stream);
    void (*consume)(struct stream *stream, size_t octets);
    void (*write)(struct stream *stream, struct pn_str data);
    size_t (*unsent)(const struct stream *stream);
    void (*finish)(struct stream *stream, bool flush);
    const struct stream_tls *(*tls)(const struct stream *stream);
};

struct stream {
    const struct stream_ops *ops;
    stream_event_fn *on_event; /* set by the owner before the turn in which it got it ends */
    void *owner;
    struct loop *loop; /* the one it lives on; tls/ needs it to wake up later */
    struct pn_endpoint peer;
    struct pn_endpoint local;
};

static inline enum stream_state stream_get_state(const struct stream *stream)
{
    return stream->ops->state(stream);
}

/* A sentence about why it failed: "connection refused", "TLS handshake: …". Never NULL. */
static inline const char *stream_error(const struct stream *stream)
{
    return stream->ops->error(stream);
}

/* What has come in and was not consumed. Dies with the next call on the stream. */
static inline struct pn_str stream_peek(struct stream *stream)
{
    return stream->ops->peek(stream);
}

static inline void stream_consume(struct stream *stream, size_t octets)
{
    stream->ops->consume(stream, octets);
}

static inline void stream_write(struct stream *stream, struct pn_str data)
{
    stream->ops->write(stream, data);
}

static inline size_t stream_unsent(const struct stream *stream)
{
    return stream->ops->unsent(stream);
}

/* NULL for a stream without TLS. */
static inline const struct stream_tls *stream_get_tls(const struct stream *stream)
{
    return stream->ops->tls ? stream->ops->tls(stream) : NULL;
}

/* Sends what is unsent (within 10 s), then closes and frees. NULL is fine; sets NULL. */
static inline void stream_close(struct stream **stream)
{
    if (*stream) {
        (*stream)->ops->finish(*stream, true);
        *stream = NULL;
    }
}

/* Drops the connection now and frees. NULL is fine; sets NULL. */
static inline void stream_abort(struct stream **stream)
{
    if (*stream) {
        (*stream)->ops->finish(*stream, false);
        *stream = NULL;
    }
}

/* How connections are made: one network for each loop. */
struct network;
struct network_ops {
    struct stream *(*connect)(struct network *network, const struct pn_endpoint *to,
                              const struct pn_ip *source);
    struct stream *(*connect_unix)(struct network *network, const char *path);
};
struct network {
    const struct network_ops *ops;
};

/*
 * Starts a connection; source may be NULL. Always gives a stream: what went wrong at once
 * is seen as STREAM_FAILED. There is no time-out in here; the owner has one.
 */
static inline struct stream *network_connect(struct network *network,
                                             const struct pn_endpoint *to,
                                             const struct pn_ip *source)
{
    return network->ops->connect(network, to, source);
}

/* The same to a unix socket; peer and local of the stream have no address. */
static inline struct stream *network_connect_unix(struct network *network, const char *path)
{
    return network->ops->connect_unix(network, path);
}

#endif
