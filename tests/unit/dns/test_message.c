/*
 * Reading DNS messages that were made to break readers, names, and the cache's bounds.
 */
#include "helper_dns.h"

#include "postern/base/mem.h"

#include "cache_priv.h"

#include <stdio.h>
#include <string.h>

#define HEAD(answers) "\x12\x34\x81\x80\0\1\0" answers "\0\0\0\0"
/* The question "x.y", at offset 12; its type is not looked at. */
#define QUESTION "\1x\1y\0\0\1\0\1"
#define A        "\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1" /* TTL 60, 192.0.2.1 */
#define MSG(s)                                                                                 \
    {                                                                                          \
        s, sizeof(s) - 1                                                                       \
    }

static const struct row {
    const char *name;
    struct pn_str message;
    enum resolver_type type;
    enum resolver_status status;
    size_t count;
    const char *first; /* name of the first record */
} rows[] = {
    {"one address", MSG(HEAD("\1") QUESTION "\xc0\x0c" A), RESOLVER_A, RESOLVER_FOUND, 1, ""},
    {"name without compression", MSG(HEAD("\1") QUESTION "\1x\1y\0" A), RESOLVER_A,
     RESOLVER_FOUND, 1, ""},
    {"octets behind the records", MSG(HEAD("\1") QUESTION "\xc0\x0c" A "junk"), RESOLVER_A,
     RESOLVER_FOUND, 1, ""},
    {"only other types", MSG(HEAD("\1") QUESTION "\xc0\x0c" A), RESOLVER_AAAA, RESOLVER_NODATA,
     0, ""},
    {"another class", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\1\0\3\0\0\0\x3c\0\4\xc0\0\2\1"),
     RESOLVER_A, RESOLVER_NODATA, 0, ""},
    {"more records announced than there are", MSG(HEAD("\2") QUESTION "\xc0\x0c" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"pointer to itself", MSG(HEAD("\1") QUESTION "\xc0\x15" A), RESOLVER_A, RESOLVER_TEMPFAIL,
     0, ""},
    {"pointer forwards", MSG(HEAD("\1") QUESTION "\xc0\x17" A), RESOLVER_A, RESOLVER_TEMPFAIL,
     0, ""},
    {"two pointers in a ring", MSG(HEAD("\1") "\1x\xc0\x0e\0\1\0\1\xc0\x0c" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"pointer cut in half", MSG(HEAD("\1") QUESTION "\xc0"), RESOLVER_A, RESOLVER_TEMPFAIL, 0,
     ""},
    {"label of a reserved kind", MSG(HEAD("\1") QUESTION "\x41" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"label longer than the message", MSG(HEAD("\1") QUESTION "\x3f" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"A of three octets", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3\xc0\0\2"),
     RESOLVER_A, RESOLVER_TEMPFAIL, 0, ""},
    {"A of five octets", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\5\xc0\0\2\1\1"),
     RESOLVER_A, RESOLVER_TEMPFAIL, 0, ""},
    {"data longer than the message",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\1\0\1\0\0\0\x3c\xff\xff\xc0\0\2\1"), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"another type's data longer than the message",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\5\0\1\0\0\0\x3c\xff\xff\xc0\0"), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"MX", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\6\0\5\1M\xc0\x0c"),
     RESOLVER_MX, RESOLVER_FOUND, 1, "m.x.y"},
    {"null MX", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\3\0\0\0"), RESOLVER_MX,
     RESOLVER_FOUND, 1, ""},
    {"MX without a name", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\2\0\0"),
     RESOLVER_MX, RESOLVER_TEMPFAIL, 0, ""},
    {"MX of one octet", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\1\0"),
     RESOLVER_MX, RESOLVER_TEMPFAIL, 0, ""},
    {"MX whose name runs over its data",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\4\0\5\1m\1n\0"), RESOLVER_MX,
     RESOLVER_TEMPFAIL, 0, ""},
    {"MX with a dot inside a label",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\7\0\5\3a.b\0"), RESOLVER_MX,
     RESOLVER_TEMPFAIL, 0, ""},
    {"MX with NUL inside a label",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\7\0\5\3a\0b\0"), RESOLVER_MX,
     RESOLVER_TEMPFAIL, 0, ""},
    {"PTR to the root", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\1\0"),
     RESOLVER_PTR, RESOLVER_TEMPFAIL, 0, ""},
    {"truncated", MSG("\x12\x34\x83\x80\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"another name's record", MSG(HEAD("\1") QUESTION "\1z\xc0\x0c" A), RESOLVER_A,
     RESOLVER_NODATA, 0, ""},
    {"an alias of itself", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x0c"),
     RESOLVER_A, RESOLVER_TEMPFAIL, 0, ""},
    {"an alias behind the record",
     MSG(HEAD("\2") QUESTION "\1z\0" A "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\3\1z\0"), RESOLVER_A,
     RESOLVER_FOUND, 1, ""},
    {"an alias that no host can have",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\3\1 \0"), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"TLSA", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x34\0\1\0\0\0\x3c\0\4\3\1\1\xaa"),
     RESOLVER_TLSA, RESOLVER_FOUND, 1, ""},
    {"TLSA without data", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x34\0\1\0\0\0\x3c\0\3\3\1\1"),
     RESOLVER_TLSA, RESOLVER_FOUND, 1, ""},
    {"TLSA without anything", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x34\0\1\0\0\0\x3c\0\0"),
     RESOLVER_TLSA, RESOLVER_FOUND, 1, ""},
    {"TXT", MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\4\1a\1b"), RESOLVER_TXT,
     RESOLVER_FOUND, 1, ""},
    {"TXT whose string is longer than its data",
     MSG(HEAD("\1") QUESTION "\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\4\4aaaa"), RESOLVER_TXT,
     RESOLVER_TEMPFAIL, 0, ""},
    {"no question", MSG("\x12\x34\x81\x80\0\0\0\1\0\0\0\0\1x\0" A), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
    {"no message", MSG(""), RESOLVER_A, RESOLVER_TEMPFAIL, 0, ""},
    {"65,535 questions", MSG("\x12\x34\x81\x80\xff\xff\0\1\0\0\0\0" QUESTION), RESOLVER_A,
     RESOLVER_TEMPFAIL, 0, ""},
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct dns_answer answer = {0};

        dns_answer_read(rows[i].message, rows[i].type, &answer);
        if (answer.status != rows[i].status || answer.count != rows[i].count) {
            fail_msg("%s: status %d, %zu records", rows[i].name, answer.status, answer.count);
        }
        if (answer.count > 0) {
            assert_string_equal(answer.records[0].name, rows[i].first);
            assert_int_equal(answer.ttl_s, 60);
        }
        dns_answer_fini(&answer);
    }
}

/* Each message cut short anywhere, in memory of its own so that a read beyond is seen. */
static void test_messages_cut_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        for (size_t length = 0; length < rows[i].message.len; length++) {
            char *copy = pn_alloc(length + 1);
            struct dns_answer answer = {0};

            copy = pn_realloc(copy, length > 0 ? length : 1);
            memcpy(copy, rows[i].message.ptr, length);
            dns_answer_read((struct pn_str){copy, length}, rows[i].type, &answer);
            assert_true(answer.status != RESOLVER_NXDOMAIN && answer.count <= 1);
            dns_answer_fini(&answer);
            free(copy);
        }
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *in;
        const char *out; /* NULL: refused */
    } names[] = {
        {"example.org", "example.org"},
        {"Example.ORG.", "example.org"},
        {"_dmarc.example", "_dmarc.example"},
        {"xn--mgbh0fb.example", "xn--mgbh0fb.example"},
        {"localhost", "localhost"},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"a..", NULL},
        {"a b", NULL},
        {"a\\b", NULL},
        {"a@b", NULL},
        {"\xc3\xa4.example", NULL},
        {"a\nb", NULL},
        {"a/24.in-addr.arpa", NULL},
    };
    char out[RESOLVER_NAME_CHARS];
    char label[80];
    char longest[300];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        bool good = dns_name_normalise(pn_str_z(names[i].in), out);

        assert_int_equal(good, names[i].out != NULL);
        if (good) {
            assert_string_equal(out, names[i].out);
        }
    }
    memset(label, 'a', sizeof label);
    assert_true(dns_name_normalise((struct pn_str){label, 63}, out));
    assert_false(dns_name_normalise((struct pn_str){label, 64}, out));
    for (size_t i = 0; i < sizeof longest; i++) {
        longest[i] = i % 2 ? '.' : 'a';
    }
    assert_true(dns_name_normalise((struct pn_str){longest, 253}, out));
    assert_int_equal(strlen(out), 253);
    assert_false(dns_name_normalise((struct pn_str){longest, 255}, out));
    assert_false(dns_name_normalise(PN_STR("a\0b"), out));
}

static void test_reverse_names(void **state)
{
    static const struct {
        const char *ip;
        const char *name;
    } names[] = {
        {"192.0.2.1", "1.2.0.192.in-addr.arpa"},
        {"::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"},
        {"2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
                               "8.b.d.0.1.0.0.2.ip6.arpa"},
    };
    char out[RESOLVER_NAME_CHARS];
    struct pn_ip ip;

    (void)state;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        assert_true(pn_ip_parse(pn_str_z(names[i].ip), &ip));
        dns_name_reverse(&ip, out);
        assert_string_equal(out, names[i].name);
    }
}

static void fill(struct dns_answer *answer, size_t count, uint32_t ttl_s)
{
    *answer = (struct dns_answer){
        .status = RESOLVER_FOUND, .why = "found", .ttl_s = ttl_s, .count = count};
    answer->records = pn_alloc_array(count, sizeof *answer->records);
}

static void test_cache_forgets_the_oldest_and_what_has_expired(void **state)
{
    struct dns_cache cache = {0};
    struct pn_mono now = {1000};
    struct dns_answer answer;
    char key[DNS_KEY_CHARS];
    char name[32];

    (void)state;
    fill(&answer, 1, 86400);
    for (int i = 0; i < DNS_CACHE_ENTRIES + 5; i++) {
        assert_true(snprintf(name, sizeof name, "h%d.example", i) > 0);
        dns_key_make(RESOLVER_A, name, key);
        dns_cache_put(&cache, key, &answer, now);
    }
    assert_int_equal(cache.records, DNS_CACHE_ENTRIES);
    dns_key_make(RESOLVER_A, "h4.example", key);
    assert_null(dns_cache_find(&cache, key, now));
    dns_key_make(RESOLVER_A, "h5.example", key);
    assert_non_null(dns_cache_find(&cache, key, now));
    dns_key_make(RESOLVER_MX, "h5.example", key);
    assert_null(dns_cache_find(&cache, key, now));
    /* An hour is the most, whatever the TTL. */
    dns_key_make(RESOLVER_A, "h5.example", key);
    assert_non_null(dns_cache_find(&cache, key, pn_mono_add(now, PN_HOURS(1) - 1)));
    assert_null(dns_cache_find(&cache, key, pn_mono_add(now, PN_HOURS(1))));
    dns_cache_put(&cache, key, &answer, now);
    assert_non_null(dns_cache_find(&cache, key, now));
    dns_answer_fini(&answer);
    fill(&answer, 1, 0);
    dns_cache_put(&cache, key, &answer, now); /* what may not be kept replaces all the same */
    assert_null(dns_cache_find(&cache, key, now));
    dns_answer_fini(&answer);
    dns_cache_fini(&cache);
    assert_int_equal(cache.records, 0);
}

static void test_cache_bounds_the_number_of_records(void **state)
{
    struct dns_cache cache = {0};
    struct pn_mono now = {1000};
    struct dns_answer answer;
    char key[DNS_KEY_CHARS];
    char name[32];

    (void)state;
    fill(&answer, RESOLVER_RECORDS_MAX, 300);
    for (int i = 0; i < 1000; i++) {
        assert_true(snprintf(name, sizeof name, "h%d.example", i) > 0);
        dns_key_make(RESOLVER_A, name, key);
        dns_cache_put(&cache, key, &answer, now);
        assert_true(cache.records <= DNS_CACHE_RECORDS);
    }
    assert_non_null(dns_cache_find(&cache, key, now));
    dns_answer_fini(&answer);
    dns_cache_fini(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_cut_short),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_reverse_names),
        cmocka_unit_test(test_cache_forgets_the_oldest_and_what_has_expired),
        cmocka_unit_test(test_cache_bounds_the_number_of_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
