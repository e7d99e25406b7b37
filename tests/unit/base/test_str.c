/* What base/str promises: lengths rule, NUL is an octet like others, ASCII case only. */
#include "postern/base/mem.h"
#include "postern/base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *name, struct pn_str got, struct pn_str want)
{
    if (!pn_str_eq(got, want)) {
        fail_msg("%s: got '%.*s', want '%.*s'", name, PN_FMT(got), PN_FMT(want));
    }
}

static void test_compares(void **state)
{
    static const struct {
        const char *name;
        struct pn_str a, b;
        bool eq, eq_nocase;
        int order;
    } rows[] = {
        {"same", {"abc", 3}, {"abc", 3}, true, true, 0},
        {"case differs", {"aBc", 3}, {"AbC", 3}, false, true, 1},
        {"prefix is smaller", {"ab", 2}, {"abc", 3}, false, false, -1},
        {"both empty", {NULL, 0}, {"", 0}, true, true, 0},
        {"empty is smallest", {NULL, 0}, {"\0", 1}, false, false, -1},
        {"octets are unsigned", {"\x80", 1}, {"a", 1}, false, false, 1},
        {"NUL inside counts", {"a\0b", 3}, {"a\0c", 3}, false, false, -1},
        {"no case beyond ASCII", {"\xc3\x84", 2}, {"\xc3\xa4", 2}, false, false, -1},
        {"@ is not `", {"@", 1}, {"`", 1}, false, false, -1},
        {"[ is not {", {"[", 1}, {"{", 1}, false, false, -1},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        int order = pn_str_cmp(rows[i].a, rows[i].b);
        int back = pn_str_cmp(rows[i].b, rows[i].a);

        if (pn_str_eq(rows[i].a, rows[i].b) != rows[i].eq ||
            pn_str_eq_nocase(rows[i].a, rows[i].b) != rows[i].eq_nocase ||
            (order > 0) - (order < 0) != rows[i].order ||
            (back > 0) - (back < 0) != -rows[i].order) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void test_cuts_and_trims(void **state)
{
    static const struct {
        const char *name;
        struct pn_str s;
        struct pn_str before, after, trimmed;
    } rows[] = {
        {"one", {"a=b", 3}, {"a", 1}, {"b", 1}, {"a=b", 3}},
        {"first of two", {"a=b=c", 5}, {"a", 1}, {"b=c", 3}, {"a=b=c", 5}},
        {"none", {"abc", 3}, {"abc", 3}, {"", 0}, {"abc", 3}},
        {"at the end", {"a=", 2}, {"a", 1}, {"", 0}, {"a=", 2}},
        {"at the front", {"=a", 2}, {"", 0}, {"a", 1}, {"=a", 2}},
        {"empty", {NULL, 0}, {"", 0}, {"", 0}, {"", 0}},
        {"blanks and tabs", {" \ta b\t ", 7}, {" \ta b\t ", 7}, {"", 0}, {"a b", 3}},
        {"only blanks", {"  ", 2}, {"  ", 2}, {"", 0}, {"", 0}},
        {"line ends stay", {"\r\n", 2}, {"\r\n", 2}, {"", 0}, {"\r\n", 2}},
        {"behind NUL", {"\0=b", 3}, {"\0", 1}, {"b", 1}, {"\0=b", 3}},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_str rest = rows[i].s;
        struct pn_str before = pn_str_cut(&rest, '=');

        expect(rows[i].name, before, rows[i].before);
        expect(rows[i].name, rest, rows[i].after);
        expect(rows[i].name, pn_str_trim(rows[i].s), rows[i].trimmed);
    }
}

static void test_sub_is_clamped(void **state)
{
    static const struct {
        const char *name;
        size_t from, len;
        struct pn_str want;
    } rows[] = {
        {"all", 0, 5, {"hello", 5}},
        {"middle", 1, 3, {"ell", 3}},
        {"too long", 3, 99, {"lo", 2}},
        {"from the end", 5, 1, {"", 0}},
        {"beyond the end", 99, 1, {"", 0}},
        {"no overflow", 2, SIZE_MAX, {"llo", 3}},
        {"both huge", SIZE_MAX, SIZE_MAX, {"", 0}},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        expect(rows[i].name, pn_str_sub(PN_STR("hello"), rows[i].from, rows[i].len),
               rows[i].want);
    }
    expect("of nothing", pn_str_sub((struct pn_str){NULL, 0}, 3, 3), PN_STR(""));
    expect("of no string", pn_str_z(NULL), PN_STR(""));
}

static void test_finds_and_ends(void **state)
{
    (void)state;
    assert_int_equal(pn_str_find(PN_STR("a.b.c"), '.'), 1);
    assert_int_equal(pn_str_rfind(PN_STR("a.b.c"), '.'), 3);
    assert_int_equal(pn_str_find(PN_STR("abc"), '.'), 3);
    assert_int_equal(pn_str_rfind(PN_STR("abc"), '.'), 3);
    assert_int_equal(pn_str_find(pn_str_z(NULL), '.'), 0);
    assert_true(pn_str_starts(PN_STR("abc"), PN_STR("ab")));
    assert_true(pn_str_starts(PN_STR("abc"), PN_STR("")));
    assert_false(pn_str_starts(PN_STR("ab"), PN_STR("abc")));
    assert_false(pn_str_starts(PN_STR("ABc"), PN_STR("ab")));
    assert_true(pn_str_starts_nocase(PN_STR("ABc"), PN_STR("ab")));
    assert_false(pn_str_starts_nocase(PN_STR("A"), PN_STR("ab")));
    assert_true(pn_str_ends(PN_STR("abc"), PN_STR("bc")));
    assert_false(pn_str_ends(PN_STR("abc"), PN_STR("ab")));
    assert_false(pn_str_ends(PN_STR("c"), PN_STR("bc")));
}

static void test_reads_numbers(void **state)
{
    static const struct {
        const char *name;
        struct pn_str s;
        uint64_t max;
        bool ok;
        uint64_t want;
    } rows[] = {
        {"zero", {"0", 1}, 9, true, 0},
        {"leading zeros", {"007", 3}, 9, true, 7},
        {"the maximum", {"65535", 5}, 65535, true, 65535},
        {"one more", {"65536", 5}, 65535, false, 0},
        {"ten times", {"655350", 6}, 65535, false, 0},
        {"digit above a small maximum", {"8", 1}, 7, false, 0},
        {"maximum of zero", {"0", 1}, 0, true, 0},
        {"2^64 - 1", {"18446744073709551615", 20}, UINT64_MAX, true, UINT64_MAX},
        {"2^64", {"18446744073709551616", 20}, UINT64_MAX, false, 0},
        {"far too long", {"99999999999999999999999", 23}, UINT64_MAX, false, 0},
        {"empty", {NULL, 0}, 9, false, 0},
        {"plus", {"+1", 2}, 9, false, 0},
        {"minus", {"-1", 2}, 9, false, 0},
        {"blank in front", {" 1", 2}, 9, false, 0},
        {"blank behind", {"1 ", 2}, 9, false, 0},
        {"NUL behind", {"1\0", 2}, 9, false, 0},
        {"hexadecimal", {"0x1", 3}, 99, false, 0},
        {"other digits", {"\xd9\xa1", 2}, 9, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        uint64_t value = 4711;

        if (pn_str_to_u64(rows[i].s, rows[i].max, &value) != rows[i].ok ||
            value != (rows[i].ok ? rows[i].want : 4711)) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void test_knows_utf8(void **state)
{
    static const struct {
        const char *name;
        struct pn_str s;
        bool ok;
    } rows[] = {
        {"empty", {NULL, 0}, true},
        {"ASCII", {"abc\x7f", 4}, true},
        {"NUL", {"\0", 1}, true},
        {"first of two", {"\xc2\x80", 2}, true},
        {"last of two", {"\xdf\xbf", 2}, true},
        {"overlong two", {"\xc1\xbf", 2}, false},
        {"first of three", {"\xe0\xa0\x80", 3}, true},
        {"overlong three", {"\xe0\x9f\xbf", 3}, false},
        {"before surrogates", {"\xed\x9f\xbf", 3}, true},
        {"first surrogate", {"\xed\xa0\x80", 3}, false},
        {"last surrogate", {"\xed\xbf\xbf", 3}, false},
        {"after surrogates", {"\xee\x80\x80", 3}, true},
        {"first of four", {"\xf0\x90\x80\x80", 4}, true},
        {"overlong four", {"\xf0\x8f\xbf\xbf", 4}, false},
        {"last of all", {"\xf4\x8f\xbf\xbf", 4}, true},
        {"beyond", {"\xf4\x90\x80\x80", 4}, false},
        {"far beyond", {"\xf5\x80\x80\x80", 4}, false},
        {"five octets", {"\xf8\x88\x80\x80\x80", 5}, false},
        {"lone continuation", {"\x80", 1}, false},
        {"cut short", {"\xe2\x82\xac", 2}, false}, /* what lies behind it must not count */
        {"broken by ASCII", {"\xe2\x82z", 3}, false},
        {"0xff", {"\xff", 1}, false},
        {"good then bad", {"gr\xc3\xbc\xc3", 5}, false},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        if (pn_str_is_utf8(rows[i].s) != rows[i].ok) {
            fail_msg("%s", rows[i].name);
        }
    }
    assert_true(pn_str_is_ascii(PN_STR("a\x7f")));
    assert_false(pn_str_is_ascii(PN_STR("a\x80")));
    assert_false(pn_str_has_control(PN_STR("a \x80~")));
    assert_true(pn_str_has_control(PN_STR("a\x7f")));
    assert_true(pn_str_has_control(PN_STR("a\0")));
    assert_true(pn_str_has_control(PN_STR("\r")));
}

static void test_distance(void **state)
{
    static const char long_name[65] = {0};
    static const struct {
        const char *a, *b;
        size_t want;
    } rows[] = {
        {"", "", 0},           {"", "abc", 3},       {"abc", "", 3},
        {"queue", "queue", 0}, {"queu", "queue", 1}, {"kitten", "sitting", 3},
        {"retry", "rerty", 2}, {"a", "b", 1},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        size_t got = pn_str_distance(pn_str_z(rows[i].a), pn_str_z(rows[i].b));

        if (got != rows[i].want) {
            fail_msg("'%s' to '%s': got %zu, want %zu", rows[i].a, rows[i].b, got,
                     rows[i].want);
        }
    }
    assert_int_equal(pn_str_distance((struct pn_str){long_name, 64}, PN_STR("")), 64);
    assert_true(pn_str_distance((struct pn_str){long_name, 65}, PN_STR("a")) == SIZE_MAX);
}

static void test_classes_agree_with_ascii(void **state)
{
    (void)state;
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        bool digit = i >= 48 && i <= 57;
        bool upper = i >= 65 && i <= 90;
        bool lower = i >= 97 && i <= 122;

        assert_int_equal(pn_is_digit(c), digit);
        assert_int_equal(pn_is_alpha(c), upper || lower);
        assert_int_equal(pn_is_alnum(c), digit || upper || lower);
        assert_int_equal(pn_is_control(c), i < 32 || i == 127);
        assert_int_equal(pn_to_lower(c), upper ? (char)(i + 32) : c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compares),       cmocka_unit_test(test_cuts_and_trims),
        cmocka_unit_test(test_sub_is_clamped), cmocka_unit_test(test_finds_and_ends),
        cmocka_unit_test(test_reads_numbers),  cmocka_unit_test(test_knows_utf8),
        cmocka_unit_test(test_distance),       cmocka_unit_test(test_classes_agree_with_ascii),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
