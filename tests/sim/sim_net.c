/*
 * sim_net.c - connections in memory, between a stream of the daemon and somebody played.
 *
 * A wire has a near end, which is the stream port on one of the daemon's loops, and a far
 * end, a client or a server of the simulation. Octets travel as segments: cut into pieces
 * as the world says, each with its latency, never overtaking another of their direction.
 * What the near end wrote leaves at the end of its loop's turn, as long as less than a
 * kernel's buffer is under way; the rest is unsent. FIN and RST are segments too.
 *
 * A severed wire loses everything: the half-open connection, in which nobody hears of the
 * other's end. A closed far end answers octets with RST, as a kernel does.
 *
 * A wire lives until both ends are gone and nothing is under way. When the daemon's machine
 * loses power the near end is dead at once: its owner may still close it, into the void.
 */
#include "sim_priv.h"

#include <utlist.h>

#include <string.h>

#define KERNEL_OCTETS 131072
#define BUFFER_MOST   ((size_t)1 << 30)
#define CONNECT_LOST  PN_SECONDS(127) /* Linux gives up after so long */

enum segment_kind { DATA, FIN, RST };

struct segment {
    struct sim_event event;
    struct sim_wire *wire;
    bool inbound; /* to the near end */
    enum segment_kind kind;
    struct segment *next;
    size_t len;
    char data[];
};

struct receipt {
    struct receipt *next;
    uint64_t at; /* octets that must have been consumed */
    sim_receipt_fn *fn;
    void *owner;
};

struct sim_wire {
    struct stream port; /* first */
    struct sim *sim;
    struct sim_wire *prev, *next;
    /* the near end */
    struct sim_loop *loop;
    enum stream_state state;
    const char *error;
    struct pn_buf input, output;
    bool ended; /* FIN came; seen once the input before it is within reach */
    bool near_closed, dead;
    struct loop_task event_task;
    bool event_waits;
    bool flush_waits;
    struct sim_wire *flush_prev, *flush_next;
    size_t flying;
    int64_t in_key, out_key;
    /* the far end */
    const struct sim_far_ops *ops; /* NULL: gone */
    void *owner;
    bool severed;
    uint64_t sent, consumed; /* towards the near end */
    struct receipt *receipts;
    struct sim_event connect;
    struct sim_server *server; /* that is being connected to */
    bool counted;              /* among the server's near_sessions */
    size_t refs;               /* segments and events under way */
};

static struct sim_wire *wire_of(const struct stream *port)
{
    return PN_CONTAINER((uintptr_t)port, struct sim_wire, port);
}

int64_t sim_net_latency(struct sim *sim)
{
    return sim->latency_least +
           (int64_t)pn_rand_below(&sim->rand,
                                  (uint64_t)(sim->latency_most - sim->latency_least + 1));
}

void sim_latency(struct sim *sim, int64_t least_ms, int64_t most_ms)
{
    sim->latency_least = least_ms;
    sim->latency_most = most_ms;
}

void sim_cut(struct sim *sim, size_t octets)
{
    sim->cut_octets = octets;
}

/* ---- receipts -------------------------------------------------------------------------- */

void sim_wire_receipt(struct sim_wire *wire, sim_receipt_fn *fn, void *owner)
{
    struct receipt *receipt = PN_NEW(struct receipt);

    *receipt = (struct receipt){.at = UINT64_MAX, .fn = fn, .owner = owner};
    LL_APPEND(wire->receipts, receipt);
}

void sim_wire_receipt_sent(struct sim_wire *wire)
{
    struct receipt *receipt;

    LL_FOREACH (wire->receipts, receipt) {
        if (receipt->at == UINT64_MAX) {
            receipt->at = wire->sent;
        }
    }
}

static void give_receipts(struct sim_wire *wire, bool over)
{
    while (wire->receipts && (over || wire->receipts->at <= wire->consumed)) {
        struct receipt *receipt = wire->receipts;

        wire->receipts = receipt->next;
        receipt->fn(receipt->owner, receipt->at <= wire->consumed);
        free(receipt);
    }
}

/* ---- life ------------------------------------------------------------------------------ */

static void reap(struct sim_wire *wire)
{
    if (wire->near_closed || wire->dead || wire->state == STREAM_FAILED) {
        give_receipts(wire, true);
    }
    if (!wire->near_closed || wire->ops || wire->refs > 0 || wire->event_waits ||
        wire->flush_waits) {
        return;
    }
    pn_buf_fini(&wire->input);
    pn_buf_fini(&wire->output);
    DL_DELETE(wire->sim->wires, wire);
    free(wire);
}

static void event_run(struct loop_task *task)
{
    struct sim_wire *wire = PN_CONTAINER(task, struct sim_wire, event_task);

    wire->event_waits = false;
    wire->refs++; /* the owner may close it */
    if (!wire->near_closed && wire->port.on_event) {
        wire->port.on_event(&wire->port, wire->port.owner);
    }
    wire->refs--;
    reap(wire);
}

/* Tells the near end's owner, in a turn of its loop. */
static void mark(struct sim_wire *wire)
{
    if (wire->loop && !wire->event_waits && !wire->near_closed && !wire->dead) {
        wire->event_waits = true;
        loop_defer(&wire->loop->port, &wire->event_task);
    }
}

/* The near end is no session any more. */
static void uncount(struct sim_wire *wire)
{
    if (wire->counted) {
        wire->counted = false;
        wire->server->near_sessions--;
        wire->sim->near_sessions--;
    }
}

static void fail(struct sim_wire *wire, const char *error)
{
    if (wire->state == STREAM_FAILED || wire->near_closed) {
        return;
    }
    uncount(wire);
    wire->state = STREAM_FAILED;
    wire->error = error;
    pn_buf_clear(&wire->input);
    pn_buf_clear(&wire->output);
    give_receipts(wire, true);
    mark(wire);
}

/* ---- segments -------------------------------------------------------------------------- */

static void on_segment(struct sim_event *event);

static void dispatch(struct sim_wire *wire, bool inbound, enum segment_kind kind,
                     struct pn_str data)
{
    struct segment *segment = pn_alloc(sizeof *segment + data.len);
    int64_t *key = inbound ? &wire->in_key : &wire->out_key;

    segment->event.on_fire = on_segment;
    segment->wire = wire;
    segment->inbound = inbound;
    segment->kind = kind;
    segment->len = data.len;
    if (data.len > 0) {
        memcpy(segment->data, data.ptr, data.len);
    }
    wire->refs++;
    *key = sim_event_at(wire->sim, &segment->event,
                        wire->sim->now_ms + sim_net_latency(wire->sim), *key + 1);
}

/* In pieces. */
static void dispatch_data(struct sim_wire *wire, bool inbound, struct pn_str data)
{
    while (data.len > 0) {
        size_t most = wire->sim->cut_octets;
        size_t len = most == 0 ? data.len : 1 + (size_t)pn_rand_below(&wire->sim->rand, most);

        len = len < data.len ? len : data.len;
        dispatch(wire, inbound, DATA, pn_str_sub(data, 0, len));
        data = pn_str_sub(data, len, SIZE_MAX);
    }
}

/* Gives the kernel what it has room for. */
static void flush(struct sim_wire *wire)
{
    struct pn_str data = pn_buf_str(&wire->output);

    if (data.len == 0 || wire->state == STREAM_CONNECTING || wire->flying >= KERNEL_OCTETS) {
        return;
    }
    data = pn_str_sub(data, 0, KERNEL_OCTETS - wire->flying);
    wire->flying += data.len;
    dispatch_data(wire, false, data);
    pn_buf_consume(&wire->output, data.len);
    if (wire->output.len == 0) {
        mark(wire);
    }
}

void sim_net_flush(struct sim_loop *loop)
{
    while (loop->flush) {
        struct sim_wire *wire = loop->flush;

        DL_DELETE2(loop->flush, wire, flush_prev, flush_next);
        wire->flush_waits = false;
        flush(wire);
        reap(wire);
    }
}

static void arrive_near(struct sim_wire *wire, const struct segment *segment)
{
    if (wire->near_closed) {
        if (segment->kind == DATA && wire->ops && !wire->dead) {
            dispatch(wire, false, RST, PN_STR(""));
        }
        return;
    }
    if (wire->dead || wire->state == STREAM_FAILED) {
        return;
    }
    switch (segment->kind) {
    case DATA:
        pn_assert(pn_buf_append(&wire->input, (struct pn_str){segment->data, segment->len}) ==
                  0);
        mark(wire);
        break;
    case FIN:
        wire->ended = true;
        mark(wire);
        break;
    case RST:
        fail(wire, "the connection was reset by the peer");
        break;
    }
}

static void arrive_far(struct sim_wire *wire, const struct segment *segment)
{
    const struct sim_far_ops *ops = wire->ops;

    if (segment->kind == DATA) {
        wire->flying -= segment->len;
        if (!wire->near_closed && !wire->dead) {
            flush(wire);
        }
    }
    if (!ops) {
        if (segment->kind == DATA && !wire->severed) {
            dispatch(wire, true, RST, PN_STR(""));
        }
        return;
    }
    switch (segment->kind) {
    case DATA:
        ops->on_octets(wire, wire->owner, (struct pn_str){segment->data, segment->len});
        break;
    case FIN:
        ops->on_end(wire, wire->owner);
        break;
    case RST:
        wire->ops = NULL;
        ops->on_lost(wire, wire->owner);
        break;
    }
}

static void on_segment(struct sim_event *event)
{
    struct segment *segment = PN_CONTAINER(event, struct segment, event);
    struct sim_wire *wire = segment->wire;

    if (!wire->severed) {
        if (segment->inbound) {
            arrive_near(wire, segment);
        } else {
            arrive_far(wire, segment);
        }
    }
    free(segment);
    wire->refs--;
    reap(wire);
}

/* ---- the near end: a stream ------------------------------------------------------------- */

static enum stream_state stream_state(const struct stream *port)
{
    const struct sim_wire *wire = wire_of(port);

    return wire->state == STREAM_OPEN && wire->ended && wire->input.len <= STREAM_INPUT_MAX
               ? STREAM_ENDED
               : wire->state;
}

static const char *stream_why(const struct stream *port)
{
    const struct sim_wire *wire = wire_of(port);

    return wire->error ? wire->error : "";
}

static struct pn_str stream_look(struct stream *port)
{
    return pn_str_sub(pn_buf_str(&wire_of(port)->input), 0, STREAM_INPUT_MAX);
}

static void stream_eat(struct stream *port, size_t octets)
{
    struct sim_wire *wire = wire_of(port);

    if (octets == 0) {
        return;
    }
    if (wire->input.len > STREAM_INPUT_MAX) {
        mark(wire);
    }
    pn_buf_consume(&wire->input, octets);
    wire->consumed += octets;
    give_receipts(wire, false);
}

static void stream_put(struct stream *port, struct pn_str data)
{
    struct sim_wire *wire = wire_of(port);

    if (wire->dead || wire->state == STREAM_FAILED || data.len == 0) {
        return;
    }
    pn_assert(wire->state != STREAM_CONNECTING);
    pn_assert(pn_buf_append(&wire->output, data) == 0);
    sim_check_unsent(wire->sim, wire->output.len);
    if (!wire->flush_waits) {
        wire->flush_waits = true;
        DL_APPEND2(wire->loop->flush, wire, flush_prev, flush_next);
    }
}

static size_t stream_left(const struct stream *port)
{
    return wire_of(port)->output.len;
}

static void stream_finish(struct stream *port, bool flushes)
{
    struct sim_wire *wire = wire_of(port);
    bool open = (wire->state == STREAM_OPEN) && !wire->dead;

    pn_assert(!wire->near_closed);
    uncount(wire);
    wire->near_closed = true;
    wire->port.on_event = NULL;
    if (wire->flush_waits) {
        wire->flush_waits = false;
        DL_DELETE2(wire->loop->flush, wire, flush_prev, flush_next);
    }
    if (open && wire->ops) {
        if (flushes) {
            wire->flying += wire->output.len;
            dispatch_data(wire, false, pn_buf_str(&wire->output));
        }
        dispatch(wire, false, flushes ? FIN : RST, PN_STR(""));
    } else if (wire->ops && wire->server && wire->state == STREAM_CONNECTING) {
        wire->ops = NULL; /* the server never heard of it */
    }
    pn_buf_clear(&wire->output);
    reap(wire);
}

static const struct stream_ops stream_ops = {
    .state = stream_state,
    .error = stream_why,
    .peek = stream_look,
    .consume = stream_eat,
    .write = stream_put,
    .unsent = stream_left,
    .finish = stream_finish,
};

static struct sim_wire *wire_new(struct sim *sim)
{
    struct sim_wire *wire = PN_NEW(struct sim_wire);

    wire->port.ops = &stream_ops;
    wire->sim = sim;
    wire->event_task.on_run = event_run;
    pn_buf_init(&wire->input, BUFFER_MOST);
    pn_buf_init(&wire->output, BUFFER_MOST);
    DL_APPEND(sim->wires, wire);
    return wire;
}

/* ---- connections that we make ------------------------------------------------------------ */

static void on_connect(struct sim_event *event)
{
    struct sim_wire *wire = PN_CONTAINER(event, struct sim_wire, connect);
    struct sim_server *server = wire->server;

    if (wire->near_closed || wire->dead || wire->state != STREAM_CONNECTING) {
        wire->ops = NULL;
    } else if (!server || server->reach == SIM_UNREACHABLE || server->reach == SIM_REFUSED) {
        wire->ops = NULL;
        fail(wire, server && server->reach == SIM_REFUSED ? "connection refused"
                                                          : "no route to the host");
    } else if (server->reach == SIM_BLACK_HOLE && !wire->severed) {
        wire->severed = true;
        wire->refs++;
        sim_event_after(wire->sim, &wire->connect, CONNECT_LOST);
    } else if (wire->severed) {
        wire->ops = NULL;
        fail(wire, "the connection timed out");
    } else {
        wire->state = STREAM_OPEN;
        mark(wire);
        sim_server_accept(server, wire);
    }
    wire->refs--;
    reap(wire);
}

static struct stream *net_connect(struct network *network, const struct pn_endpoint *to,
                                  const struct pn_ip *source)
{
    struct sim_loop *loop = PN_CONTAINER(network, struct sim_loop, network);
    struct sim_wire *wire = wire_new(loop->sim);

    (void)source;
    wire->loop = loop;
    wire->port.loop = &loop->port;
    wire->port.peer = *to;
    wire->port.local = (struct pn_endpoint){.ip = pn_ip_v4(0xc63364fa), .port = 40000};
    wire->state = STREAM_CONNECTING;
    wire->server = sim_server_at(loop->sim, to);
    wire->ops = wire->server ? &sim_server_far_ops : NULL;
    wire->connect.on_fire = on_connect;
    wire->refs++;
    if (wire->server) {
        sim_check_connected(wire->server);
        wire->counted = true;
        wire->server->near_sessions++;
        wire->sim->near_sessions++;
        sim_check_near_sessions(wire->server);
    }
    sim_event_after(loop->sim, &wire->connect, 2 * sim_net_latency(loop->sim));
    return &wire->port;
}

/* There are no unix sockets: nobody is found at such an address. */
static struct stream *net_connect_unix(struct network *network, const char *path)
{
    static const struct pn_endpoint nowhere = {0};

    (void)path;
    return net_connect(network, &nowhere, NULL);
}

static const struct network_ops network_ops = {net_connect, net_connect_unix};

void sim_net_init_loop(struct sim_loop *loop)
{
    loop->network.ops = &network_ops;
}

/* ---- connections that are made to us -------------------------------------------------------
 */

struct sim_wire *sim_wire_accepted(struct sim *sim, const struct sim_far_ops *ops, void *owner,
                                   const struct pn_ip *ip)
{
    struct sim_wire *wire = wire_new(sim);

    wire->state = STREAM_OPEN;
    wire->ops = ops;
    wire->owner = owner;
    wire->port.peer = (struct pn_endpoint){.ip = *ip, .port = 50000};
    wire->port.local = (struct pn_endpoint){.ip = pn_ip_v4(0xc63364fa), .port = 25};
    return wire;
}

struct stream *sim_wire_stream(struct sim_wire *wire, struct sim_loop *loop)
{
    wire->loop = loop;
    wire->port.loop = &loop->port;
    if (wire->input.len > 0 || wire->ended) {
        mark(wire);
    }
    return &wire->port;
}

void sim_wire_refuse(struct sim_wire *wire)
{
    wire->near_closed = true;
    dispatch(wire, false, RST, PN_STR(""));
}

/* ---- the far end ---------------------------------------------------------------------------
 */

void sim_wire_set_owner(struct sim_wire *wire, void *owner)
{
    wire->owner = owner;
}

void sim_wire_send(struct sim_wire *wire, struct pn_str data)
{
    wire->sent += data.len;
    dispatch_data(wire, true, data);
}

void sim_wire_end(struct sim_wire *wire)
{
    wire->ops = NULL;
    dispatch(wire, true, FIN, PN_STR(""));
}

void sim_wire_reset(struct sim_wire *wire)
{
    wire->ops = NULL;
    dispatch(wire, true, RST, PN_STR(""));
}

void sim_wire_sever(struct sim_wire *wire)
{
    wire->ops = NULL;
    wire->severed = true;
    reap(wire);
}

/* ---- the end -------------------------------------------------------------------------------
 */

void sim_net_crash(struct sim *sim)
{
    struct sim_wire *wire, *next;

    DL_FOREACH_SAFE (sim->wires, wire, next) {
        if (wire->near_closed) {
            continue;
        }
        uncount(wire);
        wire->dead = true;
        wire->state = STREAM_FAILED;
        wire->error = "the power is off";
        pn_buf_clear(&wire->input);
        pn_buf_clear(&wire->output);
        give_receipts(wire, true);
        if (wire->ops && wire->server && wire->connect.node.place != 0) {
            wire->ops = NULL;
        } else if (wire->ops) {
            dispatch(wire, false, RST, PN_STR(""));
        }
    }
}

void sim_net_free(struct sim *sim)
{
    struct sim_wire *wire, *next;

    DL_FOREACH_SAFE (sim->wires, wire, next) {
        pn_assert(wire->near_closed);
        wire->ops = NULL;
        reap(wire);
    }
}
