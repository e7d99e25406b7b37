/*
 * net/stream.c - TCP and unix connections as streams, on uv_tcp.
 *
 * Few system calls are the aim. Input is read straight into the stream's own buffer, which
 * is one of the loop's spare ones while there is something in it and none at all when the
 * stream is idle; what an owner leaves in it for long moves to memory of its own size.
 * Output gathers in another such buffer and leaves at the end of the turn by one
 * uv_try_write; only what the kernel does not take becomes a uv_write.
 *
 * A uv_tcp handle takes over any stream socket that is connected, unix ones too; only what
 * is said about TCP (its options, its addresses) differs.
 *
 * Reading stops when STREAM_INPUT_MAX octets wait, and goes on when the owner consumes.
 *
 * A failed write does not end the stream at once: the peer's last words may lie unread in
 * the kernel (a server that answers, closes, and resets us while we still send). Output is
 * dropped, reading goes on, and the stream fails when there is nothing left to read.
 *
 * Closing: output is flushed within 10 s. A socket that is closed with unread octets in it
 * sends RST, which may destroy what the peer has not read yet; so when the peer is known
 * to be in the middle of sending, the write side is shut down and input is thrown away
 * until the peer ends too, within the same 10 s. Otherwise closing is one call.
 *
 * Life: uv_close is called once, by stream_dispose, and the memory goes in its callback.
 * Requests (connect, write, shutdown) are freed in their own callbacks, which libuv calls
 * before that one. Tasks that were deferred have run by then, because closing callbacks
 * come after the check phase has emptied the list.
 */
#include "loop_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The owner sees to limits long before; this only keeps sums far from overflow. */
#define OUTPUT_MAX      ((size_t)1 << 30)
#define CLOSE_WITHIN_MS PN_SECONDS(10)
/* Input of at least this much less than its buffer moves to memory of its own. */
#define SETTLE_OCTETS 4096

struct net_stream {
    struct stream port;
    struct net_object object;
    struct net_loop *loop;
    uv_tcp_t tcp;
    enum stream_state state;
    int error;        /* libuv's, of STREAM_FAILED */
    int write_error;  /* output is dead, input may not be */
    bool reading;     /* uv_read_start is in force */
    bool more;        /* the last read filled all the room there was */
    bool ended;       /* the peer's FIN was seen */
    bool closing;     /* the owner is gone; flushing */
    bool shut;        /* the write side was shut down while closing */
    bool disposed;    /* uv_close was called */
    bool event_waits; /* event is on the loop's list */
    bool flush_waits; /* on loop->flush */
    struct pn_buf input;
    struct pn_buf output;
    struct net_write *writing; /* what the kernel did not take at once, or NULL */
    struct loop_task event;
    struct pn_timer deadline; /* of closing */
    struct net_stream *prev;  /* loop->flush */
    struct net_stream *next;
};

struct net_write {
    uv_write_t request;
    struct net_stream *stream;
    struct pn_buf data;
};

static struct net_stream *stream_of(const struct stream *port)
{
    return PN_CONTAINER((uintptr_t)port, struct net_stream, port);
}

static uv_stream_t *stream_uv(struct net_stream *stream)
{
    return (uv_stream_t *)&stream->tcp;
}

static size_t stream_left(const struct net_stream *stream)
{
    return stream->output.len +
           (stream->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&stream->tcp)
                            : 0);
}

/* Tells the owner, later in this turn. */
static void stream_mark(struct net_stream *stream)
{
    if (!stream->event_waits && !stream->closing) {
        stream->event_waits = true;
        loop_defer(&stream->loop->port, &stream->event);
    }
}

static void stream_flush_later(struct net_stream *stream)
{
    if (!stream->flush_waits) {
        stream->flush_waits = true;
        DL_APPEND(stream->loop->flush, stream);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct net_stream *stream = handle->data;

    pn_assert(!stream->event_waits && !stream->flush_waits && !stream->writing);
    free(stream);
}

static void stream_dispose(struct net_stream *stream)
{
    if (stream->disposed) {
        return;
    }
    stream->disposed = true;
    stream->closing = true;
    net_loop_forget(stream->loop, &stream->object);
    loop_timer_stop(&stream->loop->port, &stream->deadline);
    if (stream->flush_waits) {
        stream->flush_waits = false;
        DL_DELETE(stream->loop->flush, stream);
    }
    net_loop_give_spare(stream->loop, &stream->input);
    net_loop_give_spare(stream->loop, &stream->output);
    uv_close((uv_handle_t *)&stream->tcp, on_closed);
}

static void stream_drop(struct net_object *object)
{
    stream_dispose(PN_CONTAINER(object, struct net_stream, object));
}

static void stream_read_stop(struct net_stream *stream)
{
    if (stream->reading) {
        stream->reading = false;
        uv_read_stop(stream_uv(stream));
    }
}

static void stream_fail(struct net_stream *stream, int error)
{
    if (stream->closing) {
        stream_dispose(stream);
        return;
    }
    if (stream->state == STREAM_FAILED) {
        return;
    }
    stream->state = STREAM_FAILED;
    stream->error = error;
    stream_read_stop(stream);
    net_loop_give_spare(stream->loop, &stream->input);
    net_loop_give_spare(stream->loop, &stream->output);
    stream_mark(stream);
}

/* After a failed write the stream fails once its input has been used up. */
static void stream_fail_when_drained(struct net_stream *stream)
{
    if (stream->write_error && stream->ended && stream->input.len == 0) {
        stream_fail(stream, stream->write_error);
    }
}

static void stream_write_failed(struct net_stream *stream, int error)
{
    if (stream->closing) {
        stream_dispose(stream);
        return;
    }
    stream->write_error = error;
    net_loop_give_spare(stream->loop, &stream->output);
    stream_mark(stream);
    stream_fail_when_drained(stream);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct net_stream *stream = handle->data;
    struct pn_buf *input = &stream->input;
    size_t room;

    (void)suggested;
    if (input->cap == 0) {
        net_loop_take_spare(stream->loop, input, STREAM_INPUT_MAX);
    }
    room = pn_buf_room(input);
    /* Reading stops when the room has gone, so there is some here. */
    room = room < NET_SPARE_OCTETS ? room : NET_SPARE_OCTETS;
    out->base = pn_buf_reserve(input, room);
    out->len = room;
    pn_assert(out->base && room > 0);
}

/* What came while closing is only waited for, not kept. */
static void stream_discard(struct net_stream *stream, ssize_t octets)
{
    pn_buf_clear(&stream->input);
    if (octets >= 0) {
        return;
    }
    stream_read_stop(stream);
    stream->ended = true;
    if (octets != UV_EOF || stream_left(stream) == 0) {
        stream_dispose(stream);
    }
}

static void on_read(uv_stream_t *handle, ssize_t octets, const uv_buf_t *into)
{
    struct net_stream *stream = handle->data;

    if (octets > 0 && !stream->closing) {
        stream->more = (size_t)octets == into->len;
        pn_buf_added(&stream->input, (size_t)octets);
        if (pn_buf_room(&stream->input) == 0) {
            stream_read_stop(stream);
        }
        stream_mark(stream);
    } else if (octets != 0 && stream->closing) {
        stream_discard(stream, octets);
    } else if (octets == UV_EOF) {
        stream_read_stop(stream);
        stream->ended = true;
        stream->more = false;
        stream->state = STREAM_ENDED;
        stream_mark(stream);
        stream_fail_when_drained(stream);
    } else if (octets < 0) {
        stream_fail(stream, (int)octets);
    }
    if (stream->input.cap && stream->input.len == 0 && !stream->disposed) {
        net_loop_give_spare(stream->loop, &stream->input);
    }
}

static void stream_read_start(struct net_stream *stream)
{
    if (!stream->reading && !stream->ended && stream->state == STREAM_OPEN &&
        !stream->disposed) {
        int error = uv_read_start(stream_uv(stream), on_alloc, on_read);

        stream->reading = error == 0;
        if (error) {
            stream_fail(stream, error);
        }
    }
}

/* Keeps a few octets of a half line from holding a large buffer while the peer is idle. */
static void stream_settle(struct net_stream *stream)
{
    struct pn_buf small;

    if (stream->input.len > 0 && stream->input.cap > 2 * stream->input.len + SETTLE_OCTETS) {
        pn_buf_init(&small, STREAM_INPUT_MAX);
        pn_assert(pn_buf_append(&small, pn_buf_str(&stream->input)) == 0);
        net_loop_give_spare(stream->loop, &stream->input);
        stream->input = small;
    }
}

static void event_run(struct loop_task *task)
{
    struct net_stream *stream = PN_CONTAINER(task, struct net_stream, event);

    stream->event_waits = false;
    if (stream->closing) {
        return;
    }
    if (stream->port.on_event) {
        stream->port.on_event(&stream->port, stream->port.owner);
    }
    if (!stream->closing) {
        stream_settle(stream);
    }
}

static void deadline_fire(struct pn_timer *timer)
{
    stream_dispose(PN_CONTAINER(timer, struct net_stream, deadline));
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct net_stream *stream = request->data;

    free(request);
    if (status < 0 && !stream->disposed) {
        stream_dispose(stream);
    }
}

/* Closing, and all is sent: wait for the peer's end only where RST could hurt. */
static void stream_close_step(struct net_stream *stream)
{
    uv_shutdown_t *request;

    if (stream->shut) {
        return;
    }
    if (!stream->more || stream->ended) {
        stream_dispose(stream);
        return;
    }
    stream->shut = true;
    request = PN_NEW(uv_shutdown_t);
    request->data = stream;
    if (uv_shutdown(request, stream_uv(stream), on_shutdown) != 0) {
        free(request);
        stream_dispose(stream);
        return;
    }
    stream_read_start(stream);
}

/* Nothing is unsent any more. */
static void stream_drained(struct net_stream *stream)
{
    if (stream->closing) {
        stream_close_step(stream);
    } else {
        stream_mark(stream);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct net_write *writing = PN_CONTAINER(request, struct net_write, request);
    struct net_stream *stream = writing->stream;

    stream->writing = NULL;
    net_loop_give_spare(stream->loop, &writing->data);
    free(writing);
    if (stream->disposed) {
        return;
    }
    if (status < 0) {
        stream_write_failed(stream, status);
    } else if (stream->output.len) {
        stream_flush_later(stream);
    } else {
        stream_drained(stream);
    }
}

/* Leaves to libuv what the kernel has no room for. */
static void stream_write_rest(struct net_stream *stream)
{
    struct net_write *writing = PN_NEW(struct net_write);
    uv_buf_t buf;
    int error;

    writing->stream = stream;
    writing->data = stream->output;
    pn_buf_init(&stream->output, OUTPUT_MAX);
    buf.base = writing->data.data + writing->data.start;
    buf.len = writing->data.len;
    error = uv_write(&writing->request, stream_uv(stream), &buf, 1, on_written);
    if (error) {
        net_loop_give_spare(stream->loop, &writing->data);
        free(writing);
        stream_write_failed(stream, error);
        return;
    }
    stream->writing = writing;
}

static void stream_flush(struct net_stream *stream)
{
    uv_buf_t buf;
    int sent;

    if (stream->writing || stream->state == STREAM_CONNECTING || stream->disposed ||
        stream->output.len == 0) {
        return;
    }
    buf.base = stream->output.data + stream->output.start;
    buf.len = stream->output.len;
    sent = uv_try_write(stream_uv(stream), &buf, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        stream_write_failed(stream, sent);
        return;
    }
    pn_buf_consume(&stream->output, sent > 0 ? (size_t)sent : 0);
    if (stream->output.len) {
        stream_write_rest(stream);
        return;
    }
    net_loop_give_spare(stream->loop, &stream->output);
    stream_drained(stream);
}

void net_stream_flush_all(struct net_loop *loop)
{
    struct net_stream *list = loop->flush;

    loop->flush = NULL;
    while (list) {
        struct net_stream *stream = list;

        DL_DELETE(list, stream);
        stream->flush_waits = false;
        stream_flush(stream);
    }
}

static enum stream_state stream_state(const struct stream *port)
{
    return stream_of(port)->state;
}

static const char *stream_why(const struct stream *port)
{
    static const struct {
        int error;
        const char *text;
    } known[] = {
        {0, ""},
        {UV_ECONNREFUSED, "connection refused"},
        {UV_ECONNRESET, "the connection was reset by the peer"},
        {UV_EPIPE, "the connection was closed by the peer while we were sending"},
        {UV_ETIMEDOUT, "the connection timed out"},
        {UV_EHOSTUNREACH, "no route to the host"},
        {UV_ENETUNREACH, "the network is unreachable"},
        {UV_EADDRNOTAVAIL, "the source address is not one of this machine"},
        {UV_EMFILE, "this process has no file descriptor left"},
        {UV_ENFILE, "this machine has no file descriptor left"},
        {UV_EAFNOSUPPORT, "this machine does not have this address family"},
        {UV_EINVAL, "the address cannot be connected to"},
        {UV_ENOENT, "there is no such socket"},
        {UV_EAGAIN, "too many connections wait at the socket"},
        {UV_ENAMETOOLONG, "the path of the socket is too long"},
    };
    const struct net_stream *stream = stream_of(port);

    for (size_t i = 0; i < PN_COUNT(known); i++) {
        if (known[i].error == stream->error) {
            return known[i].text;
        }
    }
    return uv_strerror(stream->error);
}

static struct pn_str stream_input(struct stream *port)
{
    return pn_buf_str(&stream_of(port)->input);
}

static void stream_take(struct stream *port, size_t octets)
{
    struct net_stream *stream = stream_of(port);

    if (octets == 0) {
        return;
    }
    pn_buf_consume(&stream->input, octets);
    if (stream->input.len == 0) {
        net_loop_give_spare(stream->loop, &stream->input);
        stream_fail_when_drained(stream);
    }
    stream_read_start(stream);
}

static void stream_add(struct stream *port, struct pn_str data)
{
    struct net_stream *stream = stream_of(port);

    if (stream->state == STREAM_FAILED || stream->write_error || data.len == 0) {
        return;
    }
    if (stream->output.cap == 0) {
        net_loop_take_spare(stream->loop, &stream->output, OUTPUT_MAX);
    }
    pn_assert(pn_buf_append(&stream->output, data) == 0);
    stream_flush_later(stream);
}

static size_t stream_unsent_octets(const struct stream *port)
{
    return stream_left(stream_of(port));
}

static void stream_finish(struct stream *port, bool flush)
{
    struct net_stream *stream = stream_of(port);

    pn_assert(!stream->closing);
    stream->closing = true;
    port->on_event = NULL;
    if (!flush || stream->state == STREAM_CONNECTING || stream->state == STREAM_FAILED ||
        stream->write_error) {
        stream_dispose(stream);
        return;
    }
    /* What the owner left behind, or never saw, tells that the peer is still sending. */
    stream->more = stream->more || stream->input.len > 0;
    net_loop_give_spare(stream->loop, &stream->input);
    if (stream_left(stream) == 0) {
        stream_close_step(stream);
    }
    if (!stream->disposed) {
        stream->deadline.on_fire = deadline_fire;
        loop_timer_after(&stream->loop->port, &stream->deadline, CLOSE_WITHIN_MS);
    }
}

static const struct stream_ops stream_ops = {
    .state = stream_state,
    .error = stream_why,
    .peek = stream_input,
    .consume = stream_take,
    .write = stream_add,
    .unsent = stream_unsent_octets,
    .finish = stream_finish,
};

static struct net_stream *stream_new(struct net_loop *loop)
{
    struct net_stream *stream = PN_NEW(struct net_stream);

    stream->port.ops = &stream_ops;
    stream->port.loop = &loop->port;
    stream->object.on_drop = stream_drop;
    stream->loop = loop;
    stream->event.on_run = event_run;
    pn_buf_init(&stream->input, STREAM_INPUT_MAX);
    pn_buf_init(&stream->output, OUTPUT_MAX);
    pn_assert(uv_tcp_init(&loop->uv, &stream->tcp) == 0);
    stream->tcp.data = stream;
    net_loop_keep(loop, &stream->object);
    return stream;
}

struct stream *net_stream_adopt(struct net_loop *loop, int fd, const struct pn_endpoint *peer,
                                const struct pn_endpoint *local)
{
    struct net_stream *stream = stream_new(loop);

    stream->port.peer = *peer;
    stream->port.local = *local;
    stream->state = STREAM_OPEN;
    if (uv_tcp_open(&stream->tcp, fd) != 0) {
        close(fd);
        stream_dispose(stream);
        return NULL;
    }
    stream_read_start(stream);
    return &stream->port;
}

static void on_connect(uv_connect_t *request, int status)
{
    struct net_stream *stream = request->data;
    uv_os_fd_t fd;

    free(request);
    if (stream->disposed) {
        return;
    }
    if (status < 0) {
        stream_fail(stream, status);
        return;
    }
    if (uv_fileno((uv_handle_t *)&stream->tcp, &fd) == 0) {
        (void)net_address_of_fd(fd, &stream->port.local);
    }
    stream->state = STREAM_OPEN;
    stream_read_start(stream);
    stream_mark(stream);
    if (stream->output.len) {
        stream_flush_later(stream);
    }
}

/* Binds to the source address. The port is chosen at connect, where the whole four-tuple
 * is known, so that ports do not run out early. */
static int stream_bind(struct net_stream *stream, const struct pn_ip *source)
{
    struct pn_endpoint endpoint = {.ip = *source};
    struct sockaddr_storage address;
    socklen_t length = net_address_to_socket(&endpoint, &address);
    const int yes = 1;
    int error;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return uv_translate_sys_error(errno);
    }
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    error = bind(fd, (struct sockaddr *)&address, length) == 0 ? uv_tcp_open(&stream->tcp, fd)
                                                               : uv_translate_sys_error(errno);
    if (error) {
        close(fd);
    }
    return error;
}

struct stream *net_stream_connect(struct network *network, const struct pn_endpoint *to,
                                  const struct pn_ip *source)
{
    struct net_loop *loop = PN_CONTAINER(network, struct net_loop, network);
    struct net_stream *stream = stream_new(loop);
    uv_connect_t *request = PN_NEW(uv_connect_t);
    struct sockaddr_storage address;
    int error = source ? stream_bind(stream, source) : 0;

    stream->port.peer = *to;
    stream->state = STREAM_CONNECTING;
    request->data = stream;
    if (!error && net_address_to_socket(to, &address) == 0) {
        error = UV_EINVAL;
    }
    if (!error) {
        error = uv_tcp_connect(request, &stream->tcp, (struct sockaddr *)&address, on_connect);
    }
    if (error) {
        free(request);
        stream_fail(stream, error);
        return &stream->port;
    }
    /* Output leaves once a turn as it is: waiting for more only adds delay. */
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    return &stream->port;
}

/* Connects, or returns libuv's error: a unix socket answers at once. */
static int stream_open_unix(struct net_stream *stream, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        return UV_ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return uv_translate_sys_error(errno);
    }
    error = connect(fd, (struct sockaddr *)&address, sizeof address) == 0
                ? uv_tcp_open(&stream->tcp, fd)
                : uv_translate_sys_error(errno);
    if (error) {
        close(fd);
    }
    return error;
}

struct stream *net_stream_connect_unix(struct network *network, const char *path)
{
    struct net_stream *stream = stream_new(PN_CONTAINER(network, struct net_loop, network));
    int error = stream_open_unix(stream, path);

    if (error) {
        stream_fail(stream, error);
        return &stream->port;
    }
    stream->state = STREAM_OPEN;
    stream_read_start(stream);
    stream_mark(stream);
    return &stream->port;
}
