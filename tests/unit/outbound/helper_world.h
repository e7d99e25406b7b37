/*
 * helper_world.h - a loop on a virtual clock, a DNS, and servers that follow a table.
 */
#ifndef POSTERN_TESTS_HELPER_WORLD_H
#define POSTERN_TESTS_HELPER_WORLD_H

#include "postern/outbound/session.h"

enum { WORLD_NAMES = 8, WORLD_PEERS = 8, WORLD_STREAMS = 64, WORLD_ASKED = 16 };

struct world_name {
    const char *name;
    const char *v6, *v4; /* blank separated addresses; NULL: none */
    const char *mx;      /* "10 a.example.net 20 b.example.net"; "0 ." is null */
    const char *tlsa;    /* "3 1 1", with 32 octets of data */
    const char *txt;
    bool validated;
    enum resolver_status status; /* when there are none */
    int64_t delay_ms;
};

/* What a server answers to lines that begin with a word. The first row that has turns left. */
struct world_rule {
    const char *verb;  /* "." is the end of a text */
    const char *reply; /* NULL: silence */
    unsigned times;    /* 0: always */
    enum { RULE_STAY, RULE_CLOSE, RULE_RESET } then;
};

enum world_how { PEER_ACCEPTS, PEER_REFUSES, PEER_IGNORES };
enum world_tls {
    PEER_TLS_WORKS, /* and proves all that is asked for */
    PEER_TLS_FAILS,
    PEER_TLS_HANGS,
    PEER_TLS_FAILS_LATE,
    PEER_TLS_UNPROVEN, /* its certificate is another's */
    PEER_TLS_UNUSABLE, /* DANE: no record can be used, so nothing is proven */
};

/* What the last handshake was asked to prove: "name a b; sni c". */
struct world_rules {
    char text[1024];
    char resume_key[4096];
    struct tls_client_options options;
};

struct world_peer {
    const char *endpoint;
    enum world_how how;
    enum world_tls tls;
    int64_t connect_ms;
    const char *greeting; /* NULL: silence; "" : it closes */
    const struct world_rule *rules;
    const char *deaf_after; /* takes no octet behind a line that begins so */
    /* what has happened */
    unsigned used[16];
    unsigned connections, open;
    bool in_text, is_deaf;
    size_t chunk_left;
    struct pn_buf line; /* unfinished */
    struct pn_buf got;  /* every line, '\n' between them; a '+' when TLS came on */
};

struct world_stream;
struct world_asked {
    struct resolver_query *query;
    const struct world_name *name;
    enum resolver_type type;
    struct pn_mono at;
};

struct world {
    struct loop loop;
    struct network network;
    struct resolver resolver;
    struct tls_clients tls;
    struct tls_context tls_context;
    struct world_rules rules; /* of the last handshake */
    const char *tls_broken;   /* no context can be made: a file */
    struct world_name names[WORLD_NAMES];
    struct world_peer peers[WORLD_PEERS];
    struct world_stream *streams[WORLD_STREAMS];
    struct world_asked asked[WORLD_ASKED];
    bool moved;
};

void world_init(struct world *world);
void world_fini(struct world *world);
void world_name(struct world *world, struct world_name name);
struct world_peer *world_peer(struct world *world, struct world_peer peer);
struct world_peer *world_find_peer(struct world *world, const char *endpoint);
size_t world_unsent(const struct world *world); /* octets on their way to all servers */
void world_run(struct world *world, int64_t duration_ms); /* lets time pass */
/* The server says something of its own accord; then RULE_STAY and so on. */
void world_say(struct world *world, struct world_peer *peer, const char *octets, int then);

#endif
