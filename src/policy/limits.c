/*
 * policy/limits.c - what clients may use of us: sessions and memory, over all workers.
 *
 * Memory is asked for with each piece of text, so its total is one atomic number that is
 * moved by compare and swap, without a lock. A session is counted once in its life; there
 * a lock is cheap, and it covers the total and the table of networks together, so that two
 * workers cannot both take the last place. The total is atomic as well, for those who only
 * look.
 *
 * A client of unlimited_networks is counted like everybody else and merely not refused.
 * Were it left out of the table, a reload that changes the list would make somebody else's
 * count wrong when that client leaves.
 */
#include "postern/policy/limits.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define V4_BITS 24
#define V6_BITS 48

/* The sessions of one client network. There is an entry as long as there is a session. */
struct network {
    struct pn_net net;
    uint64_t sessions;
    UT_hash_handle hh;
};
_Static_assert(sizeof(struct pn_net) == 18, "the key of the table has no padding");

struct policy_limits {
    _Atomic uint64_t memory_used;
    _Atomic uint64_t memory_max;
    _Atomic uint64_t sessions;

    pthread_mutex_t lock; /* guards what follows, and writes to sessions */
    uint64_t sessions_max;
    uint64_t per_network;
    struct pn_net *unlimited;
    size_t unlimited_count;
    struct network *networks;
};

struct policy_limits *policy_limits_new(const struct conf *conf)
{
    struct policy_limits *limits = PN_NEW(struct policy_limits);

    pn_assert(pthread_mutex_init(&limits->lock, NULL) == 0);
    policy_limits_set(limits, conf);
    return limits;
}

void policy_limits_free(struct policy_limits **limits_ptr)
{
    struct policy_limits *limits = *limits_ptr;

    if (!limits) {
        return;
    }
    *limits_ptr = NULL;
    pn_assert(atomic_load(&limits->memory_used) == 0);
    pn_assert(atomic_load(&limits->sessions) == 0);
    pn_assert(!limits->networks);
    pthread_mutex_destroy(&limits->lock);
    free(limits->unlimited);
    free(limits);
}

void policy_limits_set(struct policy_limits *limits, const struct conf *conf)
{
    size_t count = conf->unlimited_networks.count;
    struct pn_net *nets = count > 0 ? pn_alloc_array(count, sizeof *nets) : NULL;
    struct pn_net *old;

    if (count > 0) {
        memcpy(nets, conf->unlimited_networks.items, count * sizeof *nets);
    }
    atomic_store(&limits->memory_max, conf->memory_octets);
    pthread_mutex_lock(&limits->lock);
    limits->sessions_max = (uint64_t)conf->sessions_max;
    limits->per_network = (uint64_t)conf->sessions_per_network;
    old = limits->unlimited;
    limits->unlimited = nets;
    limits->unlimited_count = count;
    pthread_mutex_unlock(&limits->lock);
    free(old);
}

static struct network *network_find(const struct policy_limits *limits,
                                    const struct pn_net *net)
{
    struct network *network;

    HASH_FIND(hh, limits->networks, net, sizeof *net, network);
    return network;
}

static bool is_unlimited(const struct policy_limits *limits, const struct pn_ip *client)
{
    for (size_t i = 0; i < limits->unlimited_count; i++) {
        if (pn_net_has(&limits->unlimited[i], client)) {
            return true;
        }
    }
    return false;
}

/* Under the lock. */
static enum policy_session network_count(struct policy_limits *limits,
                                         const struct pn_ip *client)
{
    struct pn_net net = pn_net_of(client, V4_BITS, V6_BITS);
    struct network *network = network_find(limits, &net);

    if (network && network->sessions >= limits->per_network &&
        client->family != PN_FAMILY_NONE && !is_unlimited(limits, client)) {
        return POLICY_SESSION_NETWORK;
    }
    if (!network) {
        network = PN_NEW(struct network);
        network->net = net;
        HASH_ADD(hh, limits->networks, net, sizeof network->net, network);
    }
    network->sessions++;
    return POLICY_SESSION_OK;
}

/* Under the lock. Returns what is to be freed outside it, or NULL. */
static struct network *network_discount(struct policy_limits *limits,
                                        const struct pn_ip *client)
{
    struct pn_net net = pn_net_of(client, V4_BITS, V6_BITS);
    struct network *network = network_find(limits, &net);

    pn_assert(network && network->sessions > 0);
    network->sessions--;
    if (network->sessions > 0) {
        return NULL;
    }
    HASH_DEL(limits->networks, network);
    return network;
}

enum policy_session policy_session_take(struct policy_limits *limits,
                                        const struct pn_ip *client)
{
    enum policy_session result;

    pthread_mutex_lock(&limits->lock);
    if (atomic_load(&limits->sessions) >= limits->sessions_max) {
        result = POLICY_SESSION_TOTAL;
    } else {
        result = network_count(limits, client);
    }
    if (result == POLICY_SESSION_OK) {
        atomic_fetch_add(&limits->sessions, 1);
    }
    pthread_mutex_unlock(&limits->lock);
    return result;
}

enum policy_session policy_session_move(struct policy_limits *limits, const struct pn_ip *from,
                                        const struct pn_ip *to)
{
    struct network *empty = NULL;
    enum policy_session result;

    pthread_mutex_lock(&limits->lock);
    result = network_count(limits, to);
    if (result == POLICY_SESSION_OK) {
        empty = network_discount(limits, from);
    }
    pthread_mutex_unlock(&limits->lock);
    free(empty);
    return result;
}

void policy_session_give(struct policy_limits *limits, const struct pn_ip *client)
{
    struct network *empty;

    pthread_mutex_lock(&limits->lock);
    empty = network_discount(limits, client);
    atomic_fetch_sub(&limits->sessions, 1);
    pthread_mutex_unlock(&limits->lock);
    free(empty);
}

uint64_t policy_sessions(const struct policy_limits *limits)
{
    return atomic_load(&limits->sessions);
}

bool policy_memory_take(struct policy_limits *limits, uint64_t octets)
{
    uint64_t max = atomic_load(&limits->memory_max);
    uint64_t used = atomic_load(&limits->memory_used);

    do {
        /* After a reload more may be in use than is allowed now. */
        if (used > max || octets > max - used) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&limits->memory_used, &used, used + octets));
    return true;
}

void policy_memory_give(struct policy_limits *limits, uint64_t octets)
{
    uint64_t before = atomic_fetch_sub(&limits->memory_used, octets);

    pn_assert(before >= octets);
}

uint64_t policy_memory_used(const struct policy_limits *limits)
{
    return atomic_load(&limits->memory_used);
}

uint64_t policy_memory_max(const struct policy_limits *limits)
{
    return atomic_load(&limits->memory_max);
}
