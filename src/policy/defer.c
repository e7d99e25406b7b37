/*
 * policy/defer.c - who is sent to the domain's own server, and who has come back often
 * enough.
 *
 * The table holds no addresses but a number made of them, so that an entry is small and of
 * one size. Two that look the same are treated as one: at worst somebody is let in early.
 * The list is in the order of last visits: the front is what is forgotten first.
 */
#include "postern/policy/defer.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>
#include <utlist.h>

#include <pthread.h>

#define V4_BITS 24
#define V6_BITS 48

struct visitor {
    uint64_t number;
    struct pn_mono counted; /* the visit that counted last */
    struct pn_mono seen;
    int64_t returns;
    struct visitor *prev, *next;
    UT_hash_handle hh;
};

struct policy_defer {
    uint64_t seed;
    pthread_mutex_t lock; /* guards what follows */
    struct visitor *table;
    struct visitor *visitors; /* the longest unseen first */
};

struct policy_defer *policy_defer_new(uint64_t seed)
{
    struct policy_defer *defer = PN_NEW(struct policy_defer);

    defer->seed = seed;
    pn_assert(pthread_mutex_init(&defer->lock, NULL) == 0);
    return defer;
}

static void forget(struct policy_defer *defer, struct visitor *visitor)
{
    HASH_DEL(defer->table, visitor);
    DL_DELETE(defer->visitors, visitor);
    free(visitor);
}

void policy_defer_free(struct policy_defer **defer)
{
    if (!*defer) {
        return;
    }
    while ((*defer)->visitors) {
        forget(*defer, (*defer)->visitors);
    }
    pthread_mutex_destroy(&(*defer)->lock);
    free(*defer);
    *defer = NULL;
}

/* FNV-1a; the length goes in, too, so that "a", "bc" is not "ab", "c". */
static uint64_t mix_octet(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(1099511628211);
}

static uint64_t mix(uint64_t hash, struct pn_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        hash = mix_octet(hash, (uint8_t)pn_to_lower(text.ptr[i]));
    }
    return mix_octet(hash, text.len);
}

static uint64_t number_of(const struct policy_defer *defer, struct pn_str sender,
                          struct pn_str recipient, const struct pn_ip *client)
{
    struct pn_net net = pn_net_of(client, V4_BITS, V6_BITS);
    uint64_t hash = mix_octet(UINT64_C(14695981039346656037), defer->seed);
    size_t octets = net.ip.family == PN_IPV4 ? 4 : sizeof net.ip.octets;

    for (size_t i = 0; i < octets; i++) {
        hash = mix_octet(hash, net.ip.octets[i]);
    }
    return mix(mix(hash, sender), recipient);
}

static struct visitor *visitor_new(struct policy_defer *defer, uint64_t number,
                                   struct pn_mono now)
{
    struct visitor *visitor;

    if (HASH_COUNT(defer->table) >= POLICY_DEFER_MAX) {
        forget(defer, defer->visitors);
    }
    visitor = PN_NEW(struct visitor);
    visitor->number = number;
    visitor->counted = now;
    HASH_ADD(hh, defer->table, number, sizeof visitor->number, visitor);
    DL_APPEND(defer->visitors, visitor);
    return visitor;
}

/* Under the lock. */
static bool come(struct policy_defer *defer, uint64_t number, struct pn_mono now,
                 int64_t wait_ms, int64_t times)
{
    struct visitor *visitor;

    HASH_FIND(hh, defer->table, &number, sizeof number, visitor);
    if (visitor && now.ms - visitor->seen.ms > POLICY_DEFER_KEEP_MS) {
        forget(defer, visitor);
        visitor = NULL;
    }
    if (!visitor) {
        visitor = visitor_new(defer, number, now);
    } else if (visitor->returns < times && now.ms - visitor->counted.ms >= wait_ms) {
        visitor->returns++;
        visitor->counted = now;
    }
    visitor->seen = now;
    DL_DELETE(defer->visitors, visitor);
    DL_APPEND(defer->visitors, visitor);
    return visitor->returns >= times;
}

bool policy_defer_come(struct policy_defer *defer, struct pn_mono now, struct pn_str sender,
                       struct pn_str recipient, const struct pn_ip *client, int64_t wait_ms,
                       int64_t times)
{
    uint64_t number = number_of(defer, sender, recipient, client);
    bool result;

    pthread_mutex_lock(&defer->lock);
    result = come(defer, number, now, wait_ms, times);
    pthread_mutex_unlock(&defer->lock);
    return result;
}
