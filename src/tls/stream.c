/*
 * tls/stream.c - a TLS session over another stream.
 *
 * OpenSSL talks to the lower stream through a BIO of our own: it takes from what that
 * stream has read and writes into what that stream gathers for the end of the turn. So
 * nothing is held in between that could be forgotten (FAULTS 2.11), and a record that is
 * not wanted yet stays below, where it holds the peer back.
 *
 * One function, stream_step, moves the session as far as it goes: handshake, output,
 * input. It runs on the lower stream's events, and as a deferred task after calls of the
 * owner's that make progress possible. So the owner is never called from inside its own
 * call, and what it writes in a turn becomes as few records as can be.
 *
 * The list of errors is emptied before each call, because it belongs to the thread, not to
 * the session (FAULTS 2.10). The end of the lower stream without close_notify is a failure
 * (FAULTS 2.9).
 *
 * The memory goes when neither the task is waiting nor the owner's function running.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "tls_priv.h"

#include <openssl/err.h>

#include <limits.h>
#include <pthread.h>
#include <string.h>

#define OUTPUT_MAX    ((size_t)1 << 30) /* owners stop long before */
#define RECORD_OCTETS 16384
#define SETTLE_OCTETS 4096

struct tls_stream {
    struct stream port;
    struct tls_context *context;
    struct stream *lower; /* NULL after finish */
    SSL *ssl;
    enum stream_state state;
    struct pn_err error;
    bool blocked;         /* there may be input, but there was no room */
    bool owes_event;      /* the owner wrote and was not told yet that all has left */
    bool step_waits;      /* step is on the loop's list */
    bool inside;          /* the owner's on_event is running */
    struct pn_buf input;  /* plain */
    struct pn_buf output; /* plain */
    struct loop_task step;
    struct tls_session session;
    struct tls_judge *judge; /* a client's */
};

static struct tls_stream *stream_of(const struct stream *port)
{
    return PN_CONTAINER((uintptr_t)port, struct tls_stream, port);
}

static int bio_read(BIO *bio, char *out, size_t room, size_t *out_octets)
{
    struct stream *lower = BIO_get_data(bio);
    struct pn_str in = lower ? stream_peek(lower) : PN_STR("");

    BIO_clear_retry_flags(bio);
    if (in.len == 0) {
        /* Whether more can come is seen at the lower stream itself. */
        BIO_set_retry_read(bio);
        *out_octets = 0;
        return 0;
    }
    *out_octets = in.len < room ? in.len : room;
    memcpy(out, in.ptr, *out_octets);
    stream_consume(lower, *out_octets);
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t octets, size_t *out_octets)
{
    struct stream *lower = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (lower) {
        stream_write(lower, (struct pn_str){data, octets});
    }
    *out_octets = octets;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* what is written is on its way */
}

static BIO_METHOD *bio_method; /* made once, kept to the end of the process */

static void bio_method_make(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    pn_assert(bio_method);
    pn_assert(BIO_meth_set_read_ex(bio_method, bio_read) == 1);
    pn_assert(BIO_meth_set_write_ex(bio_method, bio_write) == 1);
    pn_assert(BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
}

static BIO *bio_new(struct stream *lower)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *bio;

    pn_assert(pthread_once(&once, bio_method_make) == 0);
    bio = BIO_new(bio_method);
    pn_assert(bio);
    BIO_set_data(bio, lower);
    BIO_set_init(bio, 1);
    return bio;
}

static void stream_step_later(struct tls_stream *stream)
{
    if (!stream->step_waits) {
        stream->step_waits = true;
        loop_defer(stream->port.loop, &stream->step);
    }
}

static void stream_fail(struct tls_stream *stream, const char *during, const char *why)
{
    stream->state = STREAM_FAILED;
    pn_err_set(&stream->error, PN_EIO, "%s%s", during, why);
    pn_buf_fini(&stream->input);
    pn_buf_fini(&stream->output);
}

/* OpenSSL wants more from the peer. Returns true when there is no more: it has failed. */
static bool stream_lower_is_over(struct tls_stream *stream, const char *during)
{
    switch (stream_get_state(stream->lower)) {
    case STREAM_ENDED:
        stream_fail(stream, during, "the connection ended without TLS close_notify");
        return true;
    case STREAM_FAILED:
        stream_fail(stream, during, stream_error(stream->lower));
        return true;
    case STREAM_CONNECTING:
    case STREAM_OPEN:
        break;
    }
    return false;
}

/* The handshake failed: for the certificate, or as OpenSSL says. */
static void stream_refuse(struct tls_stream *stream, const char *during)
{
    const char *reason = tls_openssl_reason();
    const char *why = stream->judge ? tls_judge_failed(stream->judge) : NULL;

    stream_fail(stream, during, why ? why : reason);
    if (why) {
        tls_session_read(&stream->session, stream->ssl, tls_judge_verdict(stream->judge));
    }
}

/* Returns true when the state has changed. */
static bool stream_handshake(struct tls_stream *stream)
{
    static const char during[] = "TLS handshake: ";
    int result;

    if (stream_get_state(stream->lower) == STREAM_CONNECTING) {
        return false;
    }
    ERR_clear_error();
    result = SSL_do_handshake(stream->ssl);
    if (result == 1) {
        tls_session_read(&stream->session, stream->ssl,
                         stream->judge ? tls_judge_settle(stream->judge, stream->ssl) : NULL);
        stream->state = STREAM_OPEN;
        return true;
    }
    if (SSL_get_error(stream->ssl, result) == SSL_ERROR_WANT_READ) {
        if (!stream_lower_is_over(stream, during)) {
            return false;
        }
        if (stream->judge) {
            (void)tls_judge_failed(stream->judge);
        }
        return true;
    }
    stream_refuse(stream, during);
    return true;
}

static void stream_send(struct tls_stream *stream)
{
    while (stream->output.len > 0) {
        struct pn_str out = pn_buf_str(&stream->output);
        int result;

        ERR_clear_error();
        result = SSL_write(stream->ssl, out.ptr, out.len < INT_MAX ? (int)out.len : INT_MAX);
        if (result <= 0) {
            stream_fail(stream, "TLS: ", tls_openssl_reason());
            return;
        }
        pn_buf_consume(&stream->output, (size_t)result);
    }
    pn_buf_fini(&stream->output);
}

/* Reads one piece. Returns false when there is none. */
static bool stream_receive_some(struct tls_stream *stream)
{
    size_t room = pn_buf_room(&stream->input);
    char *into;
    int result;

    room = room < RECORD_OCTETS ? room : RECORD_OCTETS;
    stream->blocked = room == 0;
    if (room == 0) {
        return false;
    }
    if (stream_peek(stream->lower).len == 0 && !SSL_has_pending(stream->ssl)) {
        (void)stream_lower_is_over(stream, "");
        return false;
    }
    into = pn_buf_reserve(&stream->input, room);
    pn_assert(into);
    ERR_clear_error();
    result = SSL_read(stream->ssl, into, (int)room);
    if (result > 0) {
        pn_buf_added(&stream->input, (size_t)result);
        return true;
    }
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        (void)stream_lower_is_over(stream, "");
        break;
    case SSL_ERROR_ZERO_RETURN:
        stream->state = STREAM_ENDED;
        break;
    default:
        stream_fail(stream, "TLS: ", tls_openssl_reason());
        break;
    }
    return false;
}

/* Moves the session as far as it goes. Returns true when the owner has to know. */
static bool stream_advance(struct tls_stream *stream)
{
    enum stream_state before = stream->state;
    bool news = false;

    if (stream->state == STREAM_CONNECTING) {
        news = stream_handshake(stream);
    }
    if (stream->state == STREAM_OPEN || stream->state == STREAM_ENDED) {
        stream_send(stream);
    }
    while (stream->state == STREAM_OPEN && stream_receive_some(stream)) {
        news = true;
    }
    if (stream->input.len == 0) {
        pn_buf_fini(&stream->input);
    }
    if (stream->owes_event && stream->output.len == 0 && stream_unsent(stream->lower) == 0) {
        stream->owes_event = false;
        news = true;
    }
    return news || stream->state != before;
}

static void stream_release(struct tls_stream *stream)
{
    if (stream->step_waits || stream->inside) {
        return;
    }
    SSL_free(stream->ssl);
    tls_context_unref(&stream->context);
    pn_buf_fini(&stream->input);
    pn_buf_fini(&stream->output);
    tls_session_fini(&stream->session);
    tls_judge_free(&stream->judge);
    free(stream);
}

static void stream_step(struct tls_stream *stream)
{
    if (!stream_advance(stream)) {
        return;
    }
    stream->inside = true;
    if (stream->port.on_event) {
        stream->port.on_event(&stream->port, stream->port.owner);
    }
    stream->inside = false;
    if (!stream->lower) {
        stream_release(stream);
    } else if (stream->input.cap > 2 * stream->input.len + SETTLE_OCTETS) {
        /* Half a line must not hold a large buffer while the peer is idle. */
        pn_buf_shrink(&stream->input);
    }
}

static void step_run(struct loop_task *task)
{
    struct tls_stream *stream = PN_CONTAINER(task, struct tls_stream, step);

    stream->step_waits = false;
    if (stream->lower) {
        stream_step(stream);
    } else {
        stream_release(stream);
    }
}

static void on_lower_event(struct stream *lower, void *owner)
{
    (void)lower;
    stream_step(owner);
}

static enum stream_state stream_state(const struct stream *port)
{
    return stream_of(port)->state;
}

static const char *stream_why(const struct stream *port)
{
    return stream_of(port)->error.text;
}

static struct pn_str stream_input(struct stream *port)
{
    return pn_buf_str(&stream_of(port)->input);
}

static void stream_take(struct stream *port, size_t octets)
{
    struct tls_stream *stream = stream_of(port);

    pn_buf_consume(&stream->input, octets);
    if (stream->input.len == 0) {
        pn_buf_fini(&stream->input);
    }
    if (stream->blocked && octets > 0) {
        stream_step_later(stream);
    }
}

static void stream_add(struct stream *port, struct pn_str data)
{
    struct tls_stream *stream = stream_of(port);

    if (stream->state == STREAM_FAILED || data.len == 0) {
        return;
    }
    pn_assert(pn_buf_append(&stream->output, data) == 0);
    stream->owes_event = true;
    stream_step_later(stream);
}

static size_t stream_unsent_octets(const struct stream *port)
{
    const struct tls_stream *stream = stream_of(port);

    return stream->output.len + stream_unsent(stream->lower);
}

static const struct stream_tls *stream_tls(const struct stream *port)
{
    return &stream_of(port)->session.port;
}

static void stream_finish(struct stream *port, bool flush)
{
    struct tls_stream *stream = stream_of(port);

    pn_assert(stream->lower);
    port->on_event = NULL;
    if (!flush) {
        stream_abort(&stream->lower);
    } else {
        if (stream->state == STREAM_OPEN || stream->state == STREAM_ENDED) {
            stream_send(stream);
        }
        /* Not after a failure: OpenSSL forbids it, and its alert is on its way already. */
        if (stream->state == STREAM_OPEN || stream->state == STREAM_ENDED) {
            ERR_clear_error();
            (void)SSL_shutdown(stream->ssl);
        }
        stream_close(&stream->lower);
    }
    BIO_set_data(SSL_get_rbio(stream->ssl), NULL);
    stream_release(stream);
}

static const struct stream_ops stream_ops = {
    .state = stream_state,
    .error = stream_why,
    .peek = stream_input,
    .consume = stream_take,
    .write = stream_add,
    .unsent = stream_unsent_octets,
    .finish = stream_finish,
    .tls = stream_tls,
};

struct stream *tls_stream_new(struct tls_context *context, struct stream *plain, SSL *ssl,
                              const char *server_name, struct tls_judge *judge)
{
    struct tls_stream *stream = PN_NEW(struct tls_stream);
    BIO *bio = bio_new(plain);

    pn_assert(plain->loop);
    SSL_set_bio(ssl, bio, bio);
    stream->port.ops = &stream_ops;
    stream->port.loop = plain->loop;
    stream->port.peer = plain->peer;
    stream->port.local = plain->local;
    stream->context = tls_context_ref(context);
    stream->lower = plain;
    stream->ssl = ssl;
    stream->state = STREAM_CONNECTING;
    stream->judge = judge;
    stream->step.on_run = step_run;
    pn_buf_init(&stream->input, STREAM_INPUT_MAX);
    pn_buf_init(&stream->output, OUTPUT_MAX);
    tls_session_init(&stream->session, server_name);
    plain->on_event = on_lower_event;
    plain->owner = stream;
    stream_step_later(stream);
    return &stream->port;
}
