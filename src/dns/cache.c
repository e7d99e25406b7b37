/*
 * dns/cache.c - answers by question, oldest out first.
 *
 * uthash keeps the order of insertion, so the oldest entry is the head. The number of
 * records and the length of their data are bounded besides that of entries: who asks us to look
 * up large answers must not decide how much memory we use.
 */
#include "cache_priv.h"

#include "postern/base/mem.h"

#include <uthash.h>

#include <string.h>

struct dns_cache_entry {
    UT_hash_handle hh;
    struct pn_mono expires;
    struct dns_answer answer;
    char key[DNS_KEY_CHARS];
};

void dns_key_make(enum resolver_type type, const char *name, char out[DNS_KEY_CHARS])
{
    size_t length = strlen(name);

    out[0] = (char)('a' + (int)type);
    memcpy(out + 1, name, length + 1);
}

static void entry_drop(struct dns_cache *cache, struct dns_cache_entry *entry)
{
    HASH_DEL(cache->entries, entry);
    cache->records -= entry->answer.count;
    cache->data -= entry->answer.data_len;
    dns_answer_fini(&entry->answer);
    free(entry);
}

void dns_cache_fini(struct dns_cache *cache)
{
    while (cache->entries) {
        entry_drop(cache, cache->entries);
    }
}

const struct dns_answer *dns_cache_find(struct dns_cache *cache, const char *key,
                                        struct pn_mono now)
{
    struct dns_cache_entry *entry;

    HASH_FIND_STR(cache->entries, key, entry);
    if (entry && entry->expires.ms <= now.ms) {
        entry_drop(cache, entry);
        entry = NULL;
    }
    return entry ? &entry->answer : NULL;
}

void dns_cache_put(struct dns_cache *cache, const char *key, const struct dns_answer *answer,
                   struct pn_mono now)
{
    uint32_t ttl_s = answer->ttl_s < DNS_CACHE_TTL_S ? answer->ttl_s : DNS_CACHE_TTL_S;
    struct dns_cache_entry *entry;

    HASH_FIND_STR(cache->entries, key, entry);
    if (entry) {
        entry_drop(cache, entry);
    }
    if (answer->status != RESOLVER_FOUND || ttl_s == 0) {
        return;
    }
    while (cache->entries && (HASH_COUNT(cache->entries) >= DNS_CACHE_ENTRIES ||
                              cache->records + answer->count > DNS_CACHE_RECORDS ||
                              cache->data + answer->data_len > DNS_CACHE_DATA)) {
        entry_drop(cache, cache->entries);
    }
    entry = PN_NEW(struct dns_cache_entry);
    memcpy(entry->key, key, strlen(key) + 1);
    entry->expires = pn_mono_add(now, PN_SECONDS(ttl_s));
    dns_answer_copy(answer, &entry->answer);
    cache->records += answer->count;
    cache->data += answer->data_len;
    HASH_ADD_STR(cache->entries, key, entry);
}
