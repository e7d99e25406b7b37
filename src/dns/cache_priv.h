/*
 * dns/cache_priv.h - answers that were found, for as long as their TTL allows. Pure.
 */
#ifndef POSTERN_DNS_CACHE_PRIV_H
#define POSTERN_DNS_CACHE_PRIV_H

#include "postern/base/time.h"

#include "message_priv.h"

#define DNS_CACHE_ENTRIES 10000
#define DNS_CACHE_RECORDS 20000             /* in all entries */
#define DNS_CACHE_DATA    ((size_t)8 << 20) /* octets of TXT and TLSA records */
#define DNS_CACHE_TTL_S   3600

/* A question as text: one letter for its type, then the name. */
#define DNS_KEY_CHARS (RESOLVER_NAME_CHARS + 1)
void dns_key_make(enum resolver_type type, const char *name, char out[DNS_KEY_CHARS]);

struct dns_cache_entry;
struct dns_cache {
    struct dns_cache_entry *entries; /* oldest first */
    size_t records;
    size_t data;
};

void dns_cache_fini(struct dns_cache *cache);
/* What is kept under key and still good, or NULL. Dies with the next call. */
const struct dns_answer *dns_cache_find(struct dns_cache *cache, const char *key,
                                        struct pn_mono now);
/* Copies a found answer; one that may not be kept is ignored. */
void dns_cache_put(struct dns_cache *cache, const char *key, const struct dns_answer *answer,
                   struct pn_mono now);

#endif
