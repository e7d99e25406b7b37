/*
 * rates.c - how often each client network has made us ask targets.
 *
 * One time for each network says until when it has used up what it may: each question moves
 * it on by its share of a minute, and it may lie a minute ahead. So an idle network may ask
 * a minute's worth at once, and no counter has to be reset. The table is bounded; the
 * network that asked longest ago makes room, which only those lose by who have thousands of
 * networks to ask from.
 */
#include "verify_priv.h"

#include <pthread.h>
#include <string.h>

#define NETWORKS_MAX 10000
#define V4_BITS      24
#define V6_BITS      48
#define MINUTE_US    ((int64_t)60 * 1000 * 1000)

struct payer {
    struct pn_net net;
    int64_t used_until_us;
    UT_hash_handle hh;
};
_Static_assert(sizeof(struct pn_net) == 18, "the key of the table has no padding");

struct verify_rates {
    pthread_mutex_t lock;
    struct payer *payers; /* the one that asked longest ago is the first */
};

struct verify_rates *verify_rates_new(void)
{
    struct verify_rates *rates = PN_NEW(struct verify_rates);

    pn_assert(pthread_mutex_init(&rates->lock, NULL) == 0);
    return rates;
}

static void drop_first(struct verify_rates *rates)
{
    struct payer *payer = rates->payers;

    HASH_DEL(rates->payers, payer);
    free(payer);
}

void verify_rates_free(struct verify_rates **pointer)
{
    struct verify_rates *rates = *pointer;

    *pointer = NULL;
    if (!rates) {
        return;
    }
    while (rates->payers) {
        drop_first(rates);
    }
    pthread_mutex_destroy(&rates->lock);
    free(rates);
}

/* Moves the payer to the end of the table, and makes it if need be. */
static struct payer *touch(struct verify_rates *rates, const struct pn_net *net)
{
    struct payer *payer;

    HASH_FIND(hh, rates->payers, net, sizeof *net, payer);
    if (payer) {
        HASH_DEL(rates->payers, payer);
    } else {
        if (HASH_COUNT(rates->payers) >= NETWORKS_MAX) {
            drop_first(rates);
        }
        payer = PN_NEW(struct payer);
        payer->net = *net;
    }
    HASH_ADD(hh, rates->payers, net, sizeof payer->net, payer);
    return payer;
}

bool verify_rates_take(struct verify_rates *rates, const struct pn_ip *client,
                       int64_t per_minute, struct pn_mono now)
{
    struct pn_net net = pn_net_of(client, V4_BITS, V6_BITS);
    int64_t now_us = now.ms * 1000;
    int64_t cost_us = MINUTE_US / per_minute;
    struct payer *payer;
    bool taken;

    pthread_mutex_lock(&rates->lock);
    payer = touch(rates, &net);
    if (payer->used_until_us < now_us) {
        payer->used_until_us = now_us;
    }
    taken = payer->used_until_us + cost_us <= now_us + MINUTE_US;
    if (taken) {
        payer->used_until_us += cost_us;
    }
    pthread_mutex_unlock(&rates->lock);
    return taken;
}
