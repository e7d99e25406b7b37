/*
 * The crypto port against published vectors, and what must not open.
 */
#include "helper_tls.h"

#include "postern/base/mem.h"

#include "tls_priv.h"

#include <string.h>

static size_t unhex(const char *hex, void *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *at = out;
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        at[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) * 16 +
                          (strchr(digits, hex[2 * i + 1]) - digits));
    }
    return n;
}

static void assert_hex(const void *found, const char *hex)
{
    uint8_t want[256];

    assert_memory_equal(found, want, unhex(hex, want));
}

static void test_hash(void **state)
{
    static const struct {
        const char *name;
        struct pn_str parts[3];
        size_t count;
        const char *hash;
    } rows[] = {
        {"nothing",
         {{0}},
         0,
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc (FIPS 180-2)",
         {{"abc", 3}},
         1,
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abc in parts",
         {{"a", 1}, {"", 0}, {"bc", 2}},
         3,
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    };
    uint8_t out[CRYPTO_HASH_OCTETS];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        tls_crypto()->ops->hash(rows[i].parts, rows[i].count, out);
        assert_hex(out, rows[i].hash);
    }
}

/* RFC 5869, appendix A: the first 32 octets of OKM do not depend on its length. */
static void test_derive(void **state)
{
    static const struct {
        const char *name;
        const char *key;
        const char *salt;
        const char *info;
        const char *okm;
    } rows[] = {
        {"A.1", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
         "f0f1f2f3f4f5f6f7f8f9",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"},
        {"A.3", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        char key[64];
        char salt[64];
        char info[64];
        uint8_t out[CRYPTO_KEY_OCTETS];
        struct pn_str k = {key, unhex(rows[i].key, key)};
        struct pn_str s = {salt, unhex(rows[i].salt, salt)};
        struct pn_str n = {info, unhex(rows[i].info, info)};

        tls_crypto_hkdf(k, s, n, out);
        assert_hex(out, rows[i].okm);
    }
}

static void test_derive_depends_on_all_it_is_given(void **state)
{
    const struct crypto_ops *ops = tls_crypto()->ops;
    uint8_t key[CRYPTO_KEY_OCTETS] = {1};
    uint8_t first[CRYPTO_KEY_OCTETS];
    uint8_t other[CRYPTO_KEY_OCTETS];

    (void)state;
    ops->derive(key, PN_STR("salt"), PN_STR("info"), first);
    ops->derive(key, PN_STR("salt"), PN_STR("info"), other);
    assert_memory_equal(first, other, sizeof first);
    ops->derive(key, PN_STR("Salt"), PN_STR("info"), other);
    assert_memory_not_equal(first, other, sizeof first);
    ops->derive(key, PN_STR("salt"), PN_STR("Info"), other);
    assert_memory_not_equal(first, other, sizeof first);
    key[31] = 1;
    ops->derive(key, PN_STR("salt"), PN_STR("info"), other);
    assert_memory_not_equal(first, other, sizeof first);
}

/* Test case 16 of McGrew and Viega's GCM specification. */
struct gcm_vector {
    uint8_t key[CRYPTO_KEY_OCTETS];
    uint8_t nonce[CRYPTO_NONCE_OCTETS];
    char additional[20];
    char plain[60];
    char sealed[60 + CRYPTO_TAG_OCTETS];
};

static void gcm_vector_init(struct gcm_vector *v)
{
    unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", v->key);
    unhex("cafebabefacedbaddecaf888", v->nonce);
    unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", v->additional);
    unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
          "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
          v->plain);
    unhex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
          "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
          "76fc6ece0f4e1768cddf8853bb2d551b",
          v->sealed);
}

static void test_seal_and_open(void **state)
{
    const struct crypto_ops *ops = tls_crypto()->ops;
    struct gcm_vector v;
    struct pn_str additional = {v.additional, sizeof v.additional};
    char sealed[sizeof v.sealed];
    char plain[sizeof v.plain];

    (void)state;
    gcm_vector_init(&v);
    ops->seal(v.key, v.nonce, additional, (struct pn_str){v.plain, sizeof v.plain}, sealed);
    assert_memory_equal(sealed, v.sealed, sizeof sealed);
    assert_true(
        ops->open(v.key, v.nonce, additional, (struct pn_str){sealed, sizeof sealed}, plain));
    assert_memory_equal(plain, v.plain, sizeof plain);
}

static void test_seal_nothing(void **state)
{
    const struct crypto_ops *ops = tls_crypto()->ops;
    uint8_t key[CRYPTO_KEY_OCTETS] = {0};
    uint8_t nonce[CRYPTO_NONCE_OCTETS] = {0};
    char sealed[CRYPTO_TAG_OCTETS];
    char plain[1] = {'x'};

    (void)state;
    /* Test case 13. */
    ops->seal(key, nonce, PN_STR(""), PN_STR(""), sealed);
    assert_hex(sealed, "530f8afbc74536b9a963b4f1c4cb738b");
    assert_true(
        ops->open(key, nonce, PN_STR(""), (struct pn_str){sealed, sizeof sealed}, plain));
    assert_int_equal(plain[0], 'x');
}

static void test_open_refuses_every_change(void **state)
{
    static const char nothing[60] = {0};
    const struct crypto_ops *ops = tls_crypto()->ops;
    struct gcm_vector v;
    struct pn_str additional = {v.additional, sizeof v.additional};
    struct pn_str sealed = {v.sealed, sizeof v.sealed};
    char plain[sizeof v.plain];

    (void)state;
    gcm_vector_init(&v);
    for (size_t i = 0; i < sizeof v.sealed; i++) {
        v.sealed[i] ^= 1;
        memset(plain, 'p', sizeof plain);
        assert_false(ops->open(v.key, v.nonce, additional, sealed, plain));
        assert_memory_equal(plain, nothing, sizeof plain);
        v.sealed[i] ^= 1;
    }
    for (size_t length = 0; length < sizeof v.sealed; length++) {
        assert_false(
            ops->open(v.key, v.nonce, additional, pn_str_sub(sealed, 0, length), plain));
    }
    v.additional[0] ^= 1;
    assert_false(ops->open(v.key, v.nonce, additional, sealed, plain));
    v.additional[0] ^= 1;
    v.nonce[0] ^= 1;
    assert_false(ops->open(v.key, v.nonce, additional, sealed, plain));
    v.nonce[0] ^= 1;
    v.key[0] ^= 1;
    assert_false(ops->open(v.key, v.nonce, additional, sealed, plain));
}

static void test_random_differs(void **state)
{
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};

    (void)state;
    tls_crypto()->ops->random(a, sizeof a);
    tls_crypto()->ops->random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_derive),
        cmocka_unit_test(test_derive_depends_on_all_it_is_given),
        cmocka_unit_test(test_seal_and_open),
        cmocka_unit_test(test_seal_nothing),
        cmocka_unit_test(test_open_refuses_every_change),
        cmocka_unit_test(test_random_differs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
