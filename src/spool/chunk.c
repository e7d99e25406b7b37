/*
 * chunk.c - the records of a body: hashed, or sealed.
 *
 * A record begins with a version and a flag. Not encrypted: 16 octets of SHA-256 over the
 * record's key and the text, then the text. Encrypted: the day and its key's name, then
 * AES-256-GCM under a key that only this message has, with the chunk's number as nonce (chunks
 * are written once) and the record's key as additional data. Either way a text that stands
 * under another's key does not verify.
 */
#include "chunk_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/octets.h"

#include <string.h>

#define VERSION     1
#define PLAIN       0
#define SEALED      1
#define SEALED_HEAD (2 + 4 + 4)

void spool_chunk_key_derive(struct spool_chunk_key *key, struct crypto *crypto,
                            const struct spool_day_key *day, const struct pn_id *id)
{
    key->day = day->day;
    key->name = day->name;
    if (day->day != 0) {
        crypto->ops->derive(day->octets,
                            (struct pn_str){(const char *)id->octets, sizeof id->octets},
                            PN_STR("postern body"), key->octets);
    }
}

static void make_nonce(uint32_t number, uint8_t out[CRYPTO_NONCE_OCTETS])
{
    memset(out, 0, CRYPTO_NONCE_OCTETS);
    pn_number_put((char *)out + CRYPTO_NONCE_OCTETS - 4, number, 4);
}

static void hash_chunk(struct crypto *crypto, const struct pn_id *id, uint32_t number,
                       struct pn_str text, uint8_t out[CRYPTO_HASH_OCTETS])
{
    struct spool_key key;

    spool_key_of_body(&key, id, number);
    crypto->ops->hash((const struct pn_str[]){spool_key_str(&key), text}, 2, out);
}

static void seal_chunk(struct pn_buf *record, struct crypto *crypto,
                       const struct spool_chunk_key *key, const struct pn_id *id,
                       uint32_t number)
{
    struct pn_str text = pn_str_sub(pn_buf_str(record), SPOOL_CHUNK_HEAD, SIZE_MAX);
    size_t octets = SEALED_HEAD + text.len + CRYPTO_TAG_OCTETS;
    uint8_t nonce[CRYPTO_NONCE_OCTETS];
    struct spool_key name;
    struct pn_buf sealed;
    char *to;

    pn_buf_init(&sealed, octets);
    to = pn_buf_reserve(&sealed, octets);
    pn_assert(to);
    to[0] = VERSION;
    to[1] = SEALED;
    pn_number_put(to + 2, key->day, 4);
    pn_number_put(to + 6, key->name, 4);
    make_nonce(number, nonce);
    spool_key_of_body(&name, id, number);
    crypto->ops->seal(key->octets, nonce, spool_key_str(&name), text, to + SEALED_HEAD);
    pn_buf_added(&sealed, octets);
    pn_wipe(record->data, record->cap);
    pn_buf_fini(record);
    *record = sealed;
}

void spool_chunk_finish(struct pn_buf *record, struct crypto *crypto,
                        const struct spool_chunk_key *key, const struct pn_id *id,
                        uint32_t number)
{
    uint8_t hash[CRYPTO_HASH_OCTETS];
    char *head;

    pn_assert(record->len >= SPOOL_CHUNK_HEAD);
    if (key->day != 0) {
        seal_chunk(record, crypto, key, id, number);
        return;
    }
    head = record->data + record->start;
    hash_chunk(crypto, id, number, pn_str_sub(pn_buf_str(record), SPOOL_CHUNK_HEAD, SIZE_MAX),
               hash);
    head[0] = VERSION;
    head[1] = PLAIN;
    memcpy(head + 2, hash, SPOOL_HASH_OCTETS);
}

static int open_plain(struct crypto *crypto, const struct pn_id *id, uint32_t number,
                      struct pn_str value, struct pn_str *out)
{
    uint8_t hash[CRYPTO_HASH_OCTETS];
    struct pn_str text;

    if (value.len < SPOOL_CHUNK_HEAD) {
        return PN_ECORRUPT;
    }
    text = pn_str_sub(value, SPOOL_CHUNK_HEAD, SIZE_MAX);
    hash_chunk(crypto, id, number, text, hash);
    if (memcmp(hash, value.ptr + 2, SPOOL_HASH_OCTETS) != 0) {
        return PN_ECORRUPT;
    }
    *out = text;
    return 0;
}

static int open_sealed(struct spool_days *days, const struct pn_id *id, uint32_t number,
                       struct pn_str value, struct pn_buf *plain, struct pn_str *out,
                       uint32_t *out_day)
{
    uint8_t nonce[CRYPTO_NONCE_OCTETS];
    struct spool_day_key day_key;
    struct spool_chunk_key key;
    struct spool_key name;
    size_t octets;
    bool opened;
    char *to;

    if (value.len < SEALED_HEAD + CRYPTO_TAG_OCTETS) {
        return PN_ECORRUPT;
    }
    if (!spool_days_find(days, (uint32_t)pn_number_get(value.ptr + 2, 4),
                         (uint32_t)pn_number_get(value.ptr + 6, 4), &day_key)) {
        *out_day = (uint32_t)pn_number_get(value.ptr + 2, 4);
        return PN_EACCES;
    }
    octets = value.len - SEALED_HEAD - CRYPTO_TAG_OCTETS;
    pn_buf_clear(plain);
    to = pn_buf_reserve(plain, octets);
    if (!to) {
        return PN_ECORRUPT;
    }
    spool_chunk_key_derive(&key, days->crypto, &day_key, id);
    make_nonce(number, nonce);
    spool_key_of_body(&name, id, number);
    opened = days->crypto->ops->open(key.octets, nonce, spool_key_str(&name),
                                     pn_str_sub(value, SEALED_HEAD, SIZE_MAX), to);
    pn_wipe(&key, sizeof key);
    pn_wipe(&day_key, sizeof day_key);
    if (!opened) {
        return PN_ECORRUPT;
    }
    pn_buf_added(plain, octets);
    *out = pn_buf_str(plain);
    return 0;
}

int spool_chunk_open(struct spool_days *days, const struct pn_id *id, uint32_t number,
                     struct pn_str value, struct pn_buf *plain, struct pn_str *out,
                     uint32_t *out_day)
{
    if (value.len < 2 || value.ptr[0] != VERSION) {
        return PN_ECORRUPT;
    }
    switch (value.ptr[1]) {
    case PLAIN:
        return open_plain(days->crypto, id, number, value, out);
    case SEALED:
        return open_sealed(days, id, number, value, plain, out, out_day);
    default:
        return PN_ECORRUPT;
    }
}

size_t spool_chunk_length(uint64_t size_octets, uint32_t number)
{
    uint64_t before = (uint64_t)number * SPOOL_CHUNK_OCTETS;

    if (size_octets <= before) {
        return 0;
    }
    return size_octets - before < SPOOL_CHUNK_OCTETS ? (size_t)(size_octets - before)
                                                     : SPOOL_CHUNK_OCTETS;
}
