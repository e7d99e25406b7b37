/*
 * helper_world.c - a loop on a virtual clock, a DNS, and servers that follow a table.
 *
 * A turn looks at every stream and every question, runs the timers that are due and what
 * was deferred. When nothing moves any more the clock jumps to the next thing that will.
 */
#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

struct world_stream {
    struct stream port;
    struct world *world;
    struct world_peer *peer; /* NULL: nobody is there */
    enum stream_state state;
    const char *error;
    struct pn_mono at; /* CONNECTING: when that changes */
    struct pn_buf input, output;
    bool notify, dead, greeted, ends, resets, handshake, unproven;
    struct stream_tls tls;
};

static struct world_stream *of(const struct stream *stream)
{
    return (struct world_stream *)(void *)(uintptr_t)stream;
}

static enum stream_state stream_state(const struct stream *stream)
{
    return of(stream)->state;
}
static const char *stream_why(const struct stream *stream)
{
    return of(stream)->error ? of(stream)->error : "";
}
static struct pn_str stream_look(struct stream *stream)
{
    return pn_buf_str(&of(stream)->input);
}
static void stream_eat(struct stream *stream, size_t octets)
{
    pn_buf_consume(&of(stream)->input, octets);
}
static void stream_put(struct stream *stream, struct pn_str data)
{
    if (of(stream)->state == STREAM_OPEN || of(stream)->state == STREAM_ENDED) {
        assert_int_equal(pn_buf_append(&of(stream)->output, data), 0);
        of(stream)->world->moved = true;
    }
}
static size_t stream_waiting(const struct stream *stream)
{
    return of(stream)->output.len;
}
static void take_output(struct world_stream *s);
static void stream_finish(struct stream *stream, bool flush)
{
    if (flush && of(stream)->peer && of(stream)->state == STREAM_OPEN) {
        take_output(of(stream));
    }
    if (of(stream)->peer && of(stream)->greeted) {
        of(stream)->peer->open--;
    }
    of(stream)->dead = true;
}
static const struct stream_tls *stream_encryption(const struct stream *stream)
{
    return of(stream)->tls.version ? &of(stream)->tls : NULL;
}

static const struct stream_ops stream_ops = {
    .state = stream_state,
    .error = stream_why,
    .peek = stream_look,
    .consume = stream_eat,
    .write = stream_put,
    .unsent = stream_waiting,
    .finish = stream_finish,
    .tls = stream_encryption,
};

static struct world_stream *new_stream(struct world *world)
{
    struct world_stream *s = PN_NEW(struct world_stream);

    s->port.ops = &stream_ops;
    s->world = world;
    pn_buf_init(&s->input, 1u << 20);
    pn_buf_init(&s->output, 16u << 20);
    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        if (!world->streams[i]) {
            world->streams[i] = s;
            return s;
        }
    }
    fail_msg("too many streams");
    return NULL;
}

struct world_peer *world_find_peer(struct world *world, const char *endpoint)
{
    for (size_t i = 0; i < WORLD_PEERS; i++) {
        if (world->peers[i].endpoint && strcmp(world->peers[i].endpoint, endpoint) == 0) {
            return &world->peers[i];
        }
    }
    return NULL;
}

static struct stream *open_named(struct world *world, const char *name)
{
    struct world_stream *s = new_stream(world);

    s->peer = world_find_peer(world, name);
    s->at = pn_mono_add(world->loop.now, s->peer ? s->peer->connect_ms : 0);
    if (s->peer && s->peer->how == PEER_IGNORES) {
        s->at = PN_MONO_NEVER;
    }
    if (s->peer) {
        s->peer->connections++;
    }
    world->moved = true;
    return &s->port;
}

static struct stream *network_open(struct network *network, const struct pn_endpoint *to,
                                   const struct pn_ip *source)
{
    char text[PN_ENDPOINT_CHARS];
    struct stream *stream =
        open_named(PN_CONTAINER(network, struct world, network), pn_endpoint_format(to, text));

    (void)source;
    stream->peer = *to;
    return stream;
}

/* A peer's endpoint may be the path of a unix socket. */
static struct stream *network_open_unix(struct network *network, const char *path)
{
    return open_named(PN_CONTAINER(network, struct world, network), path);
}

static void note_rules(struct world_rules *out, const struct tls_rules *rules)
{
    static const char *const checks[] = {"nothing", "name", "fingerprint", "dane"};
    size_t at = (size_t)snprintf(out->text, sizeof out->text, "%s", checks[rules->check]);

    for (size_t i = 0; i < rules->name_count; i++) {
        at += (size_t)snprintf(out->text + at, sizeof out->text - at, " %s", rules->names[i]);
    }
    snprintf(out->text + at, sizeof out->text - at, "; sni %s; %zu fingerprints, %zu records",
             rules->server_name, rules->fingerprint_count, rules->tlsa_count);
    assert_non_null(rules->resume_key);
    assert_true(strlen(rules->resume_key) < sizeof out->resume_key);
    snprintf(out->resume_key, sizeof out->resume_key, "%s", rules->resume_key);
}

static void judge(struct world_stream *s, const struct tls_rules *rules)
{
    bool unproven = s->peer->tls == PEER_TLS_UNPROVEN;

    s->tls.verified = !unproven && s->peer->tls != PEER_TLS_UNUSABLE;
    s->tls.proof = s->tls.verified ? "name mail.example.org, issuer CN=Root" : "none";
    s->tls.fault = unproven ? STREAM_FAULT_NAME : STREAM_FAULT_NONE;
    s->tls.verify_error = s->tls.verified ? "" : "hostname mismatch";
    s->unproven = unproven && rules->check != TLS_CHECK_NOTHING;
}

static struct stream *tls_client(struct tls_context *context, struct stream *plain,
                                 const struct tls_rules *rules)
{
    struct world_stream *from = of(plain);
    struct world_stream *s = new_stream(from->world);

    (void)context;
    assert_int_equal(from->input.len, 0);
    note_rules(&from->world->rules, rules);
    s->peer = from->peer;
    s->port.peer = plain->peer;
    s->greeted = true;
    s->handshake = true;
    s->at = s->peer->tls == PEER_TLS_HANGS ? PN_MONO_NEVER : from->world->loop.now;
    s->tls = (struct stream_tls){.version = "TLSv1.3", .server_name = rules->server_name};
    judge(s, rules);
    from->dead = true;
    from->world->moved = true;
    return &s->port;
}

/* ---- the server ---- */

static void say(struct world_stream *s, const char *octets, int then)
{
    assert_int_equal(pn_buf_append_z(&s->input, octets), 0);
    s->ends = s->ends || then == RULE_CLOSE;
    s->resets = s->resets || then == RULE_RESET;
    s->notify = true;
}

static void answer(struct world_stream *s, struct pn_str line)
{
    const struct world_rule *rules = s->peer->rules;

    for (size_t i = 0; rules && rules[i].verb; i++) {
        if (!pn_str_starts(line, pn_str_z(rules[i].verb)) ||
            (rules[i].times && s->peer->used[i] == rules[i].times)) {
            continue;
        }
        s->peer->used[i]++;
        if (rules[i].reply) {
            say(s, rules[i].reply, RULE_STAY);
            s->peer->in_text = pn_str_starts(pn_str_z(rules[i].reply), PN_STR("354"));
        }
        say(s, "", (int)rules[i].then);
        return;
    }
    say(s, "500 what?\r\n", RULE_STAY);
}

static void take_line(struct world_stream *s)
{
    struct world_peer *peer = s->peer;
    struct pn_str line = pn_buf_str(&peer->line);

    assert_int_equal(pn_buf_append(&peer->got, line), 0);
    assert_int_equal(pn_buf_append_char(&peer->got, '\n'), 0);
    peer->is_deaf = peer->deaf_after && pn_str_starts(line, pn_str_z(peer->deaf_after));
    if (!peer->in_text || pn_str_eq(line, PN_STR("."))) {
        peer->in_text = false;
        answer(s, line);
    }
    pn_buf_clear(&peer->line);
}

static void take_output(struct world_stream *s)
{
    struct pn_str data = pn_buf_str(&s->output);

    if (s->tls.version && s->peer->tls == PEER_TLS_FAILS_LATE) {
        s->resets = true;
        return;
    }
    for (size_t i = 0; i < data.len; i++) {
        if (s->peer->is_deaf) {
            pn_buf_consume(&s->output, i);
            return;
        }
        if (data.ptr[i] == '\n') {
            take_line(s);
        } else if (data.ptr[i] != '\r') {
            assert_int_equal(pn_buf_append_char(&s->peer->line, data.ptr[i]), 0);
        }
    }
    pn_buf_consume(&s->output, data.len);
    s->notify = true;
}

static void open_stream(struct world_stream *s)
{
    struct world_peer *peer = s->peer;
    bool refused = !peer || peer->how == PEER_REFUSES;

    s->notify = true;
    s->at = PN_MONO_NEVER;
    s->state = refused ? STREAM_FAILED : STREAM_OPEN;
    s->error = refused ? "connection refused" : NULL;
    if (refused) {
        return;
    }
    if (s->handshake) {
        s->handshake = false;
        pn_buf_clear(&peer->line);
        assert_int_equal(pn_buf_append_char(&peer->got, '+'), 0);
        if (peer->tls == PEER_TLS_FAILS || s->unproven) {
            s->state = STREAM_FAILED;
            s->error = s->unproven ? "TLS handshake: the certificate is for another"
                                   : "TLS handshake: no shared cipher";
        }
        return;
    }
    peer->open++;
    peer->in_text = false;
    peer->is_deaf = false;
    s->greeted = true;
    pn_buf_clear(&peer->line);
    if (peer->greeting) {
        say(s, peer->greeting, peer->greeting[0] ? RULE_STAY : RULE_CLOSE);
    }
}

void world_say(struct world *world, struct world_peer *peer, const char *octets, int then)
{
    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        struct world_stream *s = world->streams[i];

        if (s && s->peer == peer && !s->dead && s->state == STREAM_OPEN) {
            say(s, octets, then);
        }
    }
}

/* ---- the DNS ---- */

static void resolver_question(struct resolver *resolver, struct resolver_query *query,
                              const char *name, enum resolver_type type)
{
    struct world *world = PN_CONTAINER(resolver, struct world, resolver);
    const struct world_name *found = NULL;

    for (size_t i = 0; i < WORLD_NAMES && world->names[i].name; i++) {
        if (strcmp(world->names[i].name, name) == 0) {
            found = &world->names[i];
        }
    }
    for (size_t i = 0; i < WORLD_ASKED; i++) {
        if (!world->asked[i].query) {
            world->asked[i] = (struct world_asked){
                .query = query,
                .name = found,
                .type = type,
                .at = pn_mono_add(world->loop.now, found ? found->delay_ms : 0)};
            query->pending = &world->asked[i];
            world->moved = true;
            return;
        }
    }
    fail_msg("too many questions");
}

static void resolver_forget(struct resolver *resolver, struct resolver_query *query)
{
    (void)resolver;
    ((struct world_asked *)query->pending)->query = NULL;
    query->pending = NULL;
}

static size_t read_ips(struct pn_str rest, struct resolver_record *records)
{
    size_t count = 0;

    while (rest.len > 0) {
        assert_true(pn_ip_parse(pn_str_cut(&rest, ' '), &records[count++].ip));
    }
    return count;
}

static uint64_t cut_number(struct pn_str *rest)
{
    uint64_t number = 0;

    assert_true(pn_str_to_u64(pn_str_cut(rest, ' '), 65535, &number));
    return number;
}

static size_t read_mx(struct pn_str rest, struct resolver_record *records)
{
    size_t count = 0;

    while (rest.len > 0) {
        struct resolver_record *record = &records[count++];
        struct pn_str name;

        record->preference = (uint16_t)cut_number(&rest);
        name = pn_str_cut(&rest, ' ');
        snprintf(record->name, sizeof record->name, "%.*s",
                 PN_FMT(pn_str_eq(name, PN_STR(".")) ? PN_STR("") : name));
    }
    return count;
}

static size_t read_tlsa(struct pn_str rest, struct resolver_record *records)
{
    static const uint8_t digest[32];

    if (rest.len == 0) {
        return 0;
    }
    records[0].usage = (uint8_t)cut_number(&rest);
    records[0].selector = (uint8_t)cut_number(&rest);
    records[0].matching = (uint8_t)cut_number(&rest);
    records[0].data = digest;
    records[0].len = sizeof digest;
    return 1;
}

static size_t read_txt(struct pn_str text, struct resolver_record *records)
{
    records[0].data = (const uint8_t *)text.ptr;
    records[0].len = text.len;
    return text.len > 0;
}

static size_t read_records(const struct world_name *name, enum resolver_type type,
                           struct resolver_record *records)
{
    switch (type) {
    case RESOLVER_A:
        return read_ips(pn_str_z(name->v4), records);
    case RESOLVER_AAAA:
        return read_ips(pn_str_z(name->v6), records);
    case RESOLVER_MX:
        return read_mx(pn_str_z(name->mx), records);
    case RESOLVER_TLSA:
        return read_tlsa(pn_str_z(name->tlsa), records);
    case RESOLVER_TXT:
        return read_txt(pn_str_z(name->txt), records);
    case RESOLVER_PTR:
        break;
    }
    return 0;
}

static void give_answer(struct world_asked *asked)
{
    struct resolver_record records[8] = {0};
    struct resolver_answer answer = {
        .status = RESOLVER_NXDOMAIN, .why = "the server said so", .records = records};
    struct resolver_query *query = asked->query;

    asked->query = NULL;
    query->pending = NULL;
    if (asked->name) {
        answer.validated = asked->name->validated;
        answer.count = read_records(asked->name, asked->type, records);
        answer.status = answer.count > 0 ? RESOLVER_FOUND : asked->name->status;
    }
    query->on_answer(query, &answer);
}

/* ---- time ---- */

static void step_stream(struct world *world, struct world_stream *s)
{
    if (s->state == STREAM_CONNECTING && s->at.ms <= world->loop.now.ms) {
        open_stream(s);
    }
    if (s->state == STREAM_OPEN && s->output.len > 0 && !s->peer->is_deaf) {
        take_output(s);
    }
    if (s->state == STREAM_OPEN && s->resets) {
        s->state = STREAM_FAILED;
        s->error = "connection reset by peer";
        s->notify = true;
    } else if (s->state == STREAM_OPEN && s->ends) {
        s->state = STREAM_ENDED;
        s->notify = true;
    }
    if (s->notify) {
        s->notify = false;
        world->moved = true;
        s->port.on_event(&s->port, s->port.owner);
    }
}

static void free_stream(struct world *world, size_t i)
{
    pn_buf_fini(&world->streams[i]->input);
    pn_buf_fini(&world->streams[i]->output);
    free(world->streams[i]);
    world->streams[i] = NULL;
}

static void turn(struct world *world)
{
    for (size_t i = 0; i < WORLD_ASKED; i++) {
        if (world->asked[i].query && world->asked[i].at.ms <= world->loop.now.ms) {
            world->moved = true;
            give_answer(&world->asked[i]);
        }
    }
    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        if (world->streams[i] && !world->streams[i]->dead) {
            step_stream(world, world->streams[i]);
        }
    }
    pn_timers_run(&world->loop.timers, world->loop.now);
    loop_run_deferred(&world->loop);
    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        if (world->streams[i] && world->streams[i]->dead) {
            free_stream(world, i);
        }
    }
}

static struct pn_mono next_time(const struct world *world)
{
    struct pn_mono at = pn_timers_next(&world->loop.timers);

    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        const struct world_stream *s = world->streams[i];

        if (s && s->state == STREAM_CONNECTING && s->at.ms < at.ms) {
            at = s->at;
        }
    }
    for (size_t i = 0; i < WORLD_ASKED; i++) {
        if (world->asked[i].query && world->asked[i].at.ms < at.ms) {
            at = world->asked[i].at;
        }
    }
    return at;
}

size_t world_unsent(const struct world *world)
{
    size_t octets = 0;

    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        octets += world->streams[i] ? world->streams[i]->output.len : 0;
    }
    return octets;
}

void world_run(struct world *world, int64_t duration_ms)
{
    struct pn_mono end = pn_mono_add(world->loop.now, duration_ms);

    do {
        do {
            world->moved = false;
            turn(world);
        } while (world->moved);
        if (next_time(world).ms <= end.ms) {
            world->loop.now = next_time(world);
            world->moved = true;
        }
    } while (world->moved);
    world->loop.now = end;
}

static struct tls_context *tls_get(struct tls_clients *clients,
                                   const struct tls_client_options *options, struct pn_err *err)
{
    struct world *world = PN_CONTAINER(clients, struct world, tls);

    world->rules.options = *options;
    if (world->tls_broken) {
        pn_err_set(err, PN_EINVAL, "cannot use the key in %s", world->tls_broken);
        return NULL;
    }
    return &world->tls_context;
}

static void tls_nothing(struct tls_context *context)
{
    (void)context;
}

static const struct network_ops network_ops = {.connect = network_open,
                                               .connect_unix = network_open_unix};
static const struct resolver_ops resolver_ops = {.ask = resolver_question,
                                                 .cancel = resolver_forget};
static const struct tls_context_ops tls_ops = {
    .connect = tls_client, .ref = tls_nothing, .unref = tls_nothing};
static const struct tls_clients_ops tls_clients_ops = {.get = tls_get};
static bool post_here(struct loop *loop, struct loop_task *task)
{
    loop_defer(loop, task); /* all live on this one loop */
    return true;
}

static const struct loop_ops loop_ops = {.post = post_here};

void world_init(struct world *world)
{
    *world = (struct world){0};
    loop_init(&world->loop, &loop_ops);
    world->loop.now.ms = 1000;
    world->network.ops = &network_ops;
    world->resolver.ops = &resolver_ops;
    world->tls.ops = &tls_clients_ops;
    world->tls_context.ops = &tls_ops;
}

void world_fini(struct world *world)
{
    world_run(world, 0);
    for (size_t i = 0; i < WORLD_STREAMS; i++) {
        assert_null(world->streams[i]);
    }
    for (size_t i = 0; i < WORLD_ASKED; i++) {
        assert_null(world->asked[i].query);
    }
    for (size_t i = 0; i < WORLD_PEERS; i++) {
        assert_int_equal(world->peers[i].open, 0);
        pn_buf_fini(&world->peers[i].line);
        pn_buf_fini(&world->peers[i].got);
    }
    pn_timers_fini(&world->loop.timers);
}

void world_name(struct world *world, struct world_name name)
{
    size_t i = 0;

    while (world->names[i].name) {
        i++;
    }
    world->names[i] = name;
}

struct world_peer *world_peer(struct world *world, struct world_peer peer)
{
    size_t i = 0;

    while (world->peers[i].endpoint) {
        i++;
    }
    world->peers[i] = peer;
    pn_buf_init(&world->peers[i].line, 1u << 20);
    pn_buf_init(&world->peers[i].got, 16u << 20);
    return &world->peers[i];
}
