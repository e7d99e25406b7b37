// links: ingress with helpers of ingress
/*
 * A worker's ingress as a whole, with a store, a target and a clock that are not real: what
 * clients say, and what happens meanwhile. The first octet chooses the configuration. Of the
 * rest, octets up to 0xef are said by the current client; the others are what happens (see
 * act), and 0xff says the next octet as it is.
 *
 * However it goes: every 250 that names a queue id has its message in the store, and in the
 * end all memory and all sessions have been given back.
 */
#include "../unit/ingress/helper_world.h"

#include "postern/base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS   4
#define PIECE_MAX 4096
#define QUEUED    "250 2.0.0 Ok: queued as "

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

struct play {
    struct world *world;
    struct client *clients[CLIENTS];
    size_t current;
    char piece[PIECE_MAX];
    size_t len;
    uint64_t queued; /* so many 250s named an id */
};

static const char *const confs[] = {
    "",
    "memory = \"16M\"\nmessage_size = \"64K\"\nerrors_max = 3\n",
    "xclient_hosts = {\"198.51.100.0/24\"}\nbare_newline = normalise\n",
    "listener \"lb\" { address = {\"127.0.0.1:26\"}\n proxy_protocol = yes }\n"
    "sessions_per_network = 2\n",
};

/* The id is one of ours: the target names its own in pass-through, "T1". */
static bool is_queued(struct pn_str line)
{
    return pn_str_starts(line, PN_STR(QUEUED)) && line.len > sizeof QUEUED - 1 + PN_ID_CHARS;
}

/* What a client was answered: each message that we said is ours has a job, or had one. */
static void look(struct play *play, struct client *client)
{
    struct pn_str text = pn_buf_str(&client->out);

    while (text.len > 0) {
        struct pn_str line = pn_str_cut(&text, '\n');

        play->queued += is_queued(line);
        pn_assert(line.len < 1024);
    }
    pn_buf_clear(&client->out);
    pn_assert(stats_get(play->world->counters, STATS_MESSAGES_STORED) >= play->queued);
    pn_assert(play->world->job_count >=
              (play->queued < WORLD_JOBS ? play->queued : WORLD_JOBS));
}

static void look_at_all(struct play *play)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        if (play->clients[i]) {
            look(play, play->clients[i]);
        }
    }
}

static void say(struct play *play)
{
    struct client *client = play->clients[play->current];

    if (play->len > 0 && client && !client->closed && client->state != STREAM_FAILED &&
        client->state != STREAM_CONNECTING) {
        client_write(client, (struct pn_str){play->piece, play->len});
    }
    play->len = 0;
    world_run(play->world);
    look_at_all(play);
}

static void turn_to(struct play *play, size_t i, bool proxied)
{
    char ip[] = "198.51.100.7";

    play->current = i;
    if (!play->clients[i] || play->clients[i]->closed) {
        ip[sizeof ip - 2] = (char)('1' + i);
        play->clients[i] = world_connect_at(play->world, ip, proxied && i > 1);
    }
}

static void act_on_client(struct client *client, uint8_t what)
{
    if (!client || client->closed || client->state == STREAM_FAILED) {
        return;
    }
    switch (what) {
    case 0xf4:
        if (client->state != STREAM_CONNECTING) {
            client_end(client);
        }
        break;
    case 0xf5:
        client_fail(client);
        break;
    case 0xf6:
    case 0xf7:
        if (client->state == STREAM_CONNECTING) {
            client_secure(client, what == 0xf6);
        }
        break;
    default:
        client->deaf = !client->deaf;
        break;
    }
}

static void act(struct play *play, uint8_t what, bool proxied)
{
    struct world *world = play->world;

    if (what < 0xf4) {
        turn_to(play, what & 3, proxied);
    } else if (what < 0xf9) {
        act_on_client(play->clients[play->current], what);
    } else if (what == 0xf9) {
        world_pass(world, PN_SECONDS(2));
    } else if (what == 0xfa) {
        world_pass(world, PN_MINUTES(6));
    } else if (what == 0xfb) {
        world->store.stopped = !world->store.stopped;
    } else if (what == 0xfc) {
        world->store.failing = true;
    } else if (what == 0xfd && world->pool) {
        target_say(&world->target, "421 4.3.2 away\r\n", THEN_CLOSE);
    } else if (what == 0xfe && world->pool) {
        world->target.refuses = !world->target.refuses;
    }
    world_run(world);
    look_at_all(play);
}

static void run(struct play *play, const uint8_t *octets, size_t size, bool proxied)
{
    for (size_t i = 0; i < size; i++) {
        bool literal = octets[i] == 0xff && i + 1 < size;

        i += literal;
        if (octets[i] >= 0xf0 && !literal) {
            say(play);
            act(play, octets[i], proxied);
        } else if (octets[i] != 0xff || literal) {
            play->piece[play->len++] = (char)octets[i];
        }
        if (play->len == PIECE_MAX) {
            say(play);
        }
    }
    say(play);
}

/* The fake target has a limited number of connections, and the store no limit. */
static size_t bounded(const uint8_t *octets, size_t size)
{
    size_t acts = 0;

    for (size_t i = 0; i < size; i++) {
        acts += octets[i] >= 0xf0;
        if (acts > 60) {
            return i;
        }
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    struct play play = {0};
    unsigned choice = size > 0 ? octets[0] : 0;

    if (size < 2 || size > 100000) {
        return 0;
    }
    play.world =
        choice & 4 ? world_new_live(confs[choice & 3], "") : world_new(confs[choice & 3]);
    turn_to(&play, 0, false);
    run(&play, octets + 1, bounded(octets + 1, size - 1), (choice & 3) == 3);
    play.world->store.stopped = false;
    world_run(play.world);
    look_at_all(&play);
    world_free(&play.world);
    return 0;
}
