/*
 * port/crypto.h - hashes, encryption and secret random numbers. Any thread may use it.
 */
#ifndef POSTERN_PORT_CRYPTO_H
#define POSTERN_PORT_CRYPTO_H

#include <stdbool.h>

#include "postern/base/err.h"
#include "postern/base/str.h"

#define CRYPTO_HASH_OCTETS  32 /* SHA-256 */
#define CRYPTO_KEY_OCTETS   32 /* AES-256 */
#define CRYPTO_NONCE_OCTETS 12
#define CRYPTO_TAG_OCTETS   16

struct crypto_ops {
    void (*random)(void *out, size_t octets);
    void (*hash)(const struct pn_str *parts, size_t count, uint8_t out[CRYPTO_HASH_OCTETS]);
    void (*derive)(const uint8_t key[CRYPTO_KEY_OCTETS], struct pn_str salt, struct pn_str info,
                   uint8_t out[CRYPTO_KEY_OCTETS]);
    void (*seal)(const uint8_t key[CRYPTO_KEY_OCTETS], const uint8_t nonce[CRYPTO_NONCE_OCTETS],
                 struct pn_str additional, struct pn_str plain, char *out);
    bool (*open)(const uint8_t key[CRYPTO_KEY_OCTETS], const uint8_t nonce[CRYPTO_NONCE_OCTETS],
                 struct pn_str additional, struct pn_str sealed, char *out);
};

/*
 * random: from the operating system's generator. hash: SHA-256 of the parts one after the
 * other. derive: HKDF-SHA-256 (RFC 5869). seal: AES-256-GCM; out has room for
 * plain.len + CRYPTO_TAG_OCTETS, the tag behind the text. open: out has room for
 * sealed.len - CRYPTO_TAG_OCTETS; false when the tag does not match (out is then wiped).
 * What the library cannot do although it must (no memory, no entropy) is our bug: it asserts.
 */
struct crypto {
    const struct crypto_ops *ops;
};

#endif
