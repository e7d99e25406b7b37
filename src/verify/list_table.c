/*
 * verify/list_table.c - a set of 128-bit keys, made once and then only read.
 *
 * Open addressing with linear probing. The keys are hashes already, so the upper half says
 * where to look, and neighbours in a run share a cache line. A sorted array would need no
 * free slots, but it cannot be sorted in slices, and a million keys take a quarter of a
 * second to sort.
 *
 * 128 bits of SHA-256 need no key of their own: who wants an address taken that is not in
 * the list would have to find a second preimage.
 */
#include "list_priv.h"

#include "postern/base/mem.h"

#include <string.h>

struct verify_table {
    size_t capacity;
    size_t count;
    struct verify_key sum; /* of all keys, so that equal sets are found equal */
    struct verify_key slots[];
};

struct verify_key verify_key_make(const struct crypto *crypto, struct pn_str local)
{
    uint8_t hash[CRYPTO_HASH_OCTETS];
    struct verify_key key;

    crypto->ops->hash(&local, 1, hash);
    memcpy(&key.high, hash, sizeof key.high);
    memcpy(&key.low, hash + sizeof key.high, sizeof key.low);
    key.low |= key.high == 0; /* zero is a free slot */
    return key;
}

struct verify_table *verify_table_new(size_t keys)
{
    size_t capacity = keys + keys / 5 + 1;
    struct verify_table *table = pn_alloc(sizeof *table + capacity * sizeof table->slots[0]);

    table->capacity = capacity;
    return table;
}

void verify_table_free(struct verify_table **table)
{
    free(*table);
    *table = NULL;
}

static bool is_free(const struct verify_key *slot)
{
    return slot->high == 0 && slot->low == 0;
}

/* The slot that has the key, or the free one where it belongs. */
static size_t find_slot(const struct verify_table *table, struct verify_key key)
{
    /* The upper bits scaled to the capacity: a division would cost more than the probe. */
    size_t at = (size_t)((unsigned __int128)key.high * table->capacity >> 64);

    while (!is_free(&table->slots[at]) &&
           (table->slots[at].high != key.high || table->slots[at].low != key.low)) {
        at = at + 1 < table->capacity ? at + 1 : 0;
    }
    return at;
}

void verify_table_add(struct verify_table *table, struct verify_key key)
{
    struct verify_key *slot = &table->slots[find_slot(table, key)];

    if (is_free(slot)) {
        *slot = key;
        table->count++;
        table->sum.high += key.high;
        table->sum.low += key.low;
    }
}

bool verify_table_has(const struct verify_table *table, struct verify_key key)
{
    return !is_free(&table->slots[find_slot(table, key)]);
}

size_t verify_table_count(const struct verify_table *table)
{
    return table->count;
}

bool verify_table_eq(const struct verify_table *a, const struct verify_table *b)
{
    return a->count == b->count && a->sum.high == b->sum.high && a->sum.low == b->sum.low;
}
