/*
 * tls/crypto.c - the crypto port on OpenSSL.
 *
 * Looking an algorithm up takes OpenSSL longer than hashing a small mail, so they are
 * looked up once. What is kept is immutable and may be used by every thread.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "tls_priv.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

static struct {
    pthread_once_t once;
    EVP_MD *sha256;
    EVP_CIPHER *gcm;
    EVP_KDF *hkdf;
} algorithms = {.once = PTHREAD_ONCE_INIT};

static void algorithms_fetch(void)
{
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    algorithms.gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    algorithms.hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    pn_assert(algorithms.sha256 && algorithms.gcm && algorithms.hkdf);
}

static void algorithms_need(void)
{
    pn_assert(pthread_once(&algorithms.once, algorithms_fetch) == 0);
}

static void crypto_random(void *out, size_t octets)
{
    uint8_t *at = out;

    while (octets > 0) {
        ssize_t got = getrandom(at, octets, 0);

        pn_assert(got >= 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            octets -= (size_t)got;
        }
    }
}

static void crypto_hash(const struct pn_str *parts, size_t count,
                        uint8_t out[CRYPTO_HASH_OCTETS])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    algorithms_need();
    pn_assert(context && EVP_DigestInit_ex2(context, algorithms.sha256, NULL) == 1);
    for (size_t i = 0; i < count; i++) {
        pn_assert(EVP_DigestUpdate(context, parts[i].ptr, parts[i].len) == 1);
    }
    pn_assert(EVP_DigestFinal_ex(context, out, NULL) == 1);
    EVP_MD_CTX_free(context);
}

static OSSL_PARAM octets_param(const char *key, struct pn_str value)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)value.ptr, value.len);
}

void tls_crypto_hkdf(struct pn_str key, struct pn_str salt, struct pn_str info,
                     uint8_t out[CRYPTO_KEY_OCTETS])
{
    char digest[] = "SHA2-256";
    OSSL_PARAM params[5];
    size_t count = 0;
    EVP_KDF_CTX *context;

    algorithms_need();
    context = EVP_KDF_CTX_new(algorithms.hkdf);
    params[count++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[count++] = octets_param(OSSL_KDF_PARAM_KEY, key);
    if (salt.len > 0) {
        params[count++] = octets_param(OSSL_KDF_PARAM_SALT, salt);
    }
    if (info.len > 0) {
        params[count++] = octets_param(OSSL_KDF_PARAM_INFO, info);
    }
    params[count] = OSSL_PARAM_construct_end();
    pn_assert(context && EVP_KDF_derive(context, out, CRYPTO_KEY_OCTETS, params) == 1);
    EVP_KDF_CTX_free(context);
}

static void crypto_derive(const uint8_t key[CRYPTO_KEY_OCTETS], struct pn_str salt,
                          struct pn_str info, uint8_t out[CRYPTO_KEY_OCTETS])
{
    tls_crypto_hkdf((struct pn_str){(const char *)key, CRYPTO_KEY_OCTETS}, salt, info, out);
}

/* Starts one encryption or decryption, with the additional data taken in. */
static EVP_CIPHER_CTX *gcm_begin(const uint8_t *key, const uint8_t *nonce,
                                 struct pn_str additional, bool seal)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int octets;

    algorithms_need();
    pn_assert(additional.len <= INT_MAX);
    /* 12 octets are the nonce length that GCM starts with. */
    pn_assert(context &&
              EVP_CipherInit_ex2(context, algorithms.gcm, key, nonce, seal, NULL) == 1);
    pn_assert(additional.len == 0 ||
              EVP_CipherUpdate(context, NULL, &octets, (const uint8_t *)additional.ptr,
                               (int)additional.len) == 1);
    return context;
}

static void crypto_seal(const uint8_t key[CRYPTO_KEY_OCTETS],
                        const uint8_t nonce[CRYPTO_NONCE_OCTETS], struct pn_str additional,
                        struct pn_str plain, char *out)
{
    EVP_CIPHER_CTX *context = gcm_begin(key, nonce, additional, true);
    uint8_t *to = (uint8_t *)out;
    int octets = 0;
    int rest = 0;

    pn_assert(plain.len <= INT_MAX - CRYPTO_TAG_OCTETS);
    pn_assert(plain.len == 0 ||
              EVP_CipherUpdate(context, to, &octets, (const uint8_t *)plain.ptr,
                               (int)plain.len) == 1);
    pn_assert(EVP_CipherFinal_ex(context, to + octets, &rest) == 1);
    pn_assert((size_t)octets + (size_t)rest == plain.len);
    pn_assert(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_OCTETS,
                                  to + plain.len) == 1);
    EVP_CIPHER_CTX_free(context);
}

static bool crypto_open(const uint8_t key[CRYPTO_KEY_OCTETS],
                        const uint8_t nonce[CRYPTO_NONCE_OCTETS], struct pn_str additional,
                        struct pn_str sealed, char *out)
{
    EVP_CIPHER_CTX *context;
    uint8_t *to = (uint8_t *)out;
    uint8_t tag[CRYPTO_TAG_OCTETS];
    size_t length;
    int octets = 0;
    int rest = 0;
    bool good;

    if (sealed.len < CRYPTO_TAG_OCTETS || sealed.len > INT_MAX) {
        return false;
    }
    length = sealed.len - CRYPTO_TAG_OCTETS;
    memcpy(tag, sealed.ptr + length, sizeof tag);
    context = gcm_begin(key, nonce, additional, false);
    pn_assert(length == 0 || EVP_CipherUpdate(context, to, &octets, (const uint8_t *)sealed.ptr,
                                              (int)length) == 1);
    pn_assert(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1);
    good = EVP_CipherFinal_ex(context, to + octets, &rest) == 1;
    if (!good) {
        pn_wipe(out, length);
    }
    EVP_CIPHER_CTX_free(context);
    return good;
}

struct crypto *tls_crypto(void)
{
    static const struct crypto_ops ops = {
        .random = crypto_random,
        .hash = crypto_hash,
        .derive = crypto_derive,
        .seal = crypto_seal,
        .open = crypto_open,
    };
    static struct crypto crypto = {.ops = &ops};

    return &crypto;
}
