/* Options about TLS with a target and the login there: what cannot be meant is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"

#include <string.h>

#define TARGET "target = {\"mail.example.org\"}\n"
#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NO_FINGERPRINT                                                                         \
    " is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons between pairs " \
    "(openssl x509 -noout -fingerprint -sha256)\n"

static const struct helper_row rows[] = {
    {"fingerprint", TARGET "tls = fingerprint tls_fingerprints = " DIGITS "\n", ""},
    {"none given", TARGET "tls = fingerprint\n",
     "f:2: tls = fingerprint needs tls_fingerprints\n"},
    {"not hexadecimal",
     TARGET "tls = fingerprint\ntls_fingerprints = {" DIGITS ",\n \"rubbish\"}\n",
     "f:4: tls_fingerprints: \"rubbish\"" NO_FINGERPRINT},
    {"not asked for", TARGET "tls_fingerprints = " DIGITS "\n",
     "f:2: tls_fingerprints are checked with tls = fingerprint only: write that, or leave them "
     "out\n"},
    {"names", TARGET "tls = verify tls_names = {a.example, \"*.b.example\"}\n", ""},
    {"names not asked for", TARGET "tls = encrypt\ntls_names = a.example\n",
     "f:3: tls_names are checked with tls = verify only: write that, or leave them out\n"},
    {"a certificate with its key", TARGET "tls_certificate = \"/c\" tls_key = \"/k\"\n", ""},
    {"both in one file", TARGET "tls_certificate = \"/c\"\n", ""},
    {"a key without certificate", TARGET "tls_key = \"/k\"\n",
     "f:2: tls_key is the key of a tls_certificate, and there is none\n"},
    {"none, and yet", TARGET "tls = none\ntls_sni = a.example\ntls_ca_file = \"/c\"\n",
     "f:4: warning: tls_ca_file is not used: tls is none\n"
     "f:3: warning: tls_sni is not used: tls is none\n"},
    {"dane-only to a name", TARGET "tls = dane-only\n", ""},
    {"dane-only to an address", "target = {a.example, \"192.0.2.1\"}\ntls = dane-only\n",
     "f:2: tls = dane-only: the target 192.0.2.1 is an address, which has no TLSA records: no "
     "mail would ever be handed over\n"},
    {"credentials", TARGET "credentials = \"/c\"\n", ""},
    {"credentials in clear", TARGET "credentials = \"/c\" tls = none auth_in_clear = yes\n",
     ""},
    {"credentials without TLS", TARGET "tls = none\ncredentials = \"/c\"\n",
     "f:3: credentials are sent within TLS only, and tls is none: nobody would ever be logged "
     "in; allow TLS, or write auth_in_clear = yes\n"},
    {"auth without credentials", TARGET "auth = plain\nauth_in_clear = yes\n",
     "f:2: warning: auth is not used: there are no credentials\n"
     "f:3: warning: auth_in_clear is not used: there are no credentials\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], "example.org");
    }
}

static const struct {
    const char *text;
    bool right;
} fingerprints[] = {
    {DIGITS, true},
    {"00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff", true},
    {"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
     "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
     true},
    {"", false},
    {"00", false},
    {"00:", false},
    {DIGITS "0", false},
    {DIGITS "00", false},
    {"0g112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", false},
    {" 0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", false},
    {"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
     "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee-ff",
     false},
    {"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
     "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:",
     false},
    {"00:112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", false},
};

static void test_fingerprints(void **state)
{
    static const uint8_t expected[4] = {0x00, 0x11, 0x22, 0x33};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(fingerprints); i++) {
        uint8_t octets[CONF_FINGERPRINT_OCTETS];
        bool right = conf_fingerprint_parse(pn_str_z(fingerprints[i].text), octets);

        assert_int_equal(right, fingerprints[i].right);
        if (right) {
            assert_memory_equal(octets, expected, sizeof expected);
            assert_int_equal(octets[CONF_FINGERPRINT_OCTETS - 1], 0xff);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_fingerprints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
