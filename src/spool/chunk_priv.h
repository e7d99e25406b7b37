/*
 * chunk_priv.h - the records of a body: hashed, or sealed.
 */
#ifndef POSTERN_SPOOL_CHUNK_PRIV_H
#define POSTERN_SPOOL_CHUNK_PRIV_H

#include "days_priv.h"
#include "records_priv.h"

/* A record in the making begins with this many octets that chunk_finish fills in. */
#define SPOOL_CHUNK_HEAD (2 + SPOOL_HASH_OCTETS)

/* The key of one body; day 0: it is not encrypted. */
struct spool_chunk_key {
    uint32_t day, name; /* of the day's key */
    uint8_t octets[CRYPTO_KEY_OCTETS];
};
void spool_chunk_key_derive(struct spool_chunk_key *key, struct crypto *crypto,
                            const struct spool_day_key *day, const struct pn_id *id);

/* record: SPOOL_CHUNK_HEAD octets, then the text; becomes what is stored. */
void spool_chunk_finish(struct pn_buf *record, struct crypto *crypto,
                        const struct spool_chunk_key *key, const struct pn_id *id,
                        uint32_t number);

/*
 * Verifies what was stored. *out borrows from value, or from plain when it was encrypted.
 * PN_ECORRUPT; or PN_EACCES and *out_day when the key of that day is not there.
 */
int spool_chunk_open(struct spool_days *days, const struct pn_id *id, uint32_t number,
                     struct pn_str value, struct pn_buf *plain, struct pn_str *out,
                     uint32_t *out_day) PN_WARN_UNUSED;

/* How long a chunk of a body of that size is. */
size_t spool_chunk_length(uint64_t size_octets, uint32_t number);

#endif
