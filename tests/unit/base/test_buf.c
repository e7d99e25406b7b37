/* What base/buf promises: a queue of octets that never grows beyond its maximum. */
#include "postern/base/buf.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct pn_buf *buf, const char *want)
{
    struct pn_str got = pn_buf_str(buf);

    if (!pn_str_eq(got, pn_str_z(want))) {
        fail_msg("got '%.*s', want '%s'", PN_FMT(got), want);
    }
}

static void test_appends_and_consumes(void **state)
{
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 100);
    expect(&buf, "");
    assert_int_equal(pn_buf_append(&buf, PN_STR("hello")), 0);
    assert_int_equal(pn_buf_append_char(&buf, ' '), 0);
    assert_int_equal(pn_buf_append_z(&buf, "world"), 0);
    expect(&buf, "hello world");
    assert_int_equal(pn_buf_room(&buf), 89);
    pn_buf_consume(&buf, 6);
    expect(&buf, "world");
    pn_buf_truncate(&buf, 99);
    expect(&buf, "world");
    pn_buf_truncate(&buf, 3);
    expect(&buf, "wor");
    pn_buf_consume(&buf, 3);
    expect(&buf, "");
    assert_int_equal(buf.start, 0);
    pn_buf_clear(&buf);
    assert_int_equal(pn_buf_room(&buf), 100);
    pn_buf_fini(&buf);
    assert_null(buf.data);
}

static void test_keeps_its_maximum(void **state)
{
    static const struct {
        const char *name;
        size_t max, have, add;
        bool fits;
    } rows[] = {
        {"nothing into nothing", 0, 0, 0, true},
        {"one into nothing", 0, 0, 1, false},
        {"to the brim", 10, 4, 6, true},
        {"one too many", 10, 4, 7, false},
        {"empty append when full", 10, 10, 0, true},
        {"far too many", 10, 4, SIZE_MAX, false},
        {"beyond the first block", 1000, 64, 936, true},
    };
    static const char octets[1000];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_buf buf;
        int rc;

        pn_buf_init(&buf, rows[i].max);
        assert_int_equal(pn_buf_append(&buf, (struct pn_str){octets, rows[i].have}), 0);
        rc = pn_buf_append(&buf, (struct pn_str){octets, rows[i].add});
        if (rc != (rows[i].fits ? 0 : PN_ENOSPACE) ||
            buf.len != rows[i].have + (rows[i].fits ? rows[i].add : 0) ||
            buf.cap > rows[i].max) {
            fail_msg("%s: rc %d, len %zu, cap %zu", rows[i].name, rc, buf.len, buf.cap);
        }
        pn_buf_fini(&buf);
    }
}

static void test_formats(void **state)
{
    static const struct {
        const char *name;
        size_t max;
        const char *have, *add;
        int rc;
        const char *want;
    } rows[] = {
        {"into an empty one", 64, "", "abc", 0, "<abc>"},
        {"behind what is there", 64, "x", "abc", 0, "x<abc>"},
        {"exactly to the brim", 6, "x", "abc", 0, "x<abc>"},
        {"one too many", 5, "x", "abc", PN_ENOSPACE, "x"},
        {"grows", 200, "0123456789012345678901234567890123456789012345678901234567890", "abc",
         0, "0123456789012345678901234567890123456789012345678901234567890<abc>"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_buf buf;

        pn_buf_init(&buf, rows[i].max);
        assert_int_equal(pn_buf_append_z(&buf, rows[i].have), 0);
        if (pn_buf_printf(&buf, "<%s>", rows[i].add) != rows[i].rc) {
            fail_msg("%s", rows[i].name);
        }
        expect(&buf, rows[i].want);
        pn_buf_fini(&buf);
    }
}

/* Feeds a counting sequence through the queue with ever new sizes; it must come out whole. */
static void test_is_a_queue(void **state)
{
    struct pn_buf buf;
    unsigned char in = 0, out = 0;

    (void)state;
    pn_buf_init(&buf, 257);
    for (size_t round = 0; round < 5000; round++) {
        size_t add = round * 7 % 101;
        size_t take = round * 13 % 97;
        char *to = pn_buf_reserve(&buf, add);

        if (to) {
            for (size_t i = 0; i < add; i++) {
                to[i] = (char)in++;
            }
            pn_buf_added(&buf, add);
        } else {
            assert_true(add > pn_buf_room(&buf));
        }
        take = take < buf.len ? take : buf.len;
        for (size_t i = 0; i < take; i++) {
            assert_int_equal((unsigned char)pn_buf_str(&buf).ptr[i], out++);
        }
        pn_buf_consume(&buf, take);
        assert_true(buf.cap <= 257);
    }
    pn_buf_fini(&buf);
}

static void test_moves_lazily(void **state)
{
    struct pn_buf buf;
    const char *data;

    (void)state;
    pn_buf_init(&buf, 1000); /* It could grow instead. */
    assert_int_equal(pn_buf_printf(&buf, "%060d", 7), 0);
    data = buf.data;
    pn_buf_consume(&buf, 50);
    assert_int_equal(buf.start, 50);
    assert_int_equal(pn_buf_append_z(&buf, "abcd"), 0);
    assert_int_equal(buf.start, 50); /* There was room behind: nothing moved. */
    assert_int_equal(pn_buf_append_z(&buf, "e"), 0);
    assert_int_equal(buf.start, 0);
    assert_ptr_equal(buf.data, data);
    expect(&buf, "0000000007abcde");
    pn_buf_fini(&buf);
}

static void test_shrinks(void **state)
{
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 10000);
    assert_int_equal(pn_buf_printf(&buf, "%05000d", 42), 0);
    pn_buf_consume(&buf, 4998);
    pn_buf_shrink(&buf);
    assert_int_equal(buf.cap, 2);
    expect(&buf, "42");
    assert_int_equal(pn_buf_append_z(&buf, "!"), 0);
    expect(&buf, "42!");
    pn_buf_clear(&buf);
    assert_non_null(buf.data);
    pn_buf_shrink(&buf);
    assert_null(buf.data);
    assert_int_equal(pn_buf_room(&buf), 10000);
}

static void test_gives_away(void **state)
{
    struct pn_buf buf;
    char *octets;

    (void)state;
    pn_buf_init(&buf, 4);
    octets = pn_buf_detach(&buf);
    assert_string_equal(octets, "");
    free(octets);
    assert_int_equal(pn_buf_append_z(&buf, "abcd"), 0);
    pn_buf_consume(&buf, 1);
    octets = pn_buf_detach(&buf);
    assert_string_equal(octets, "bcd");
    free(octets);
    expect(&buf, "");
    assert_int_equal(pn_buf_append_z(&buf, "wxyz"), 0);
    expect(&buf, "wxyz");
    pn_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_and_consumes),
        cmocka_unit_test(test_keeps_its_maximum),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_is_a_queue),
        cmocka_unit_test(test_moves_lazily),
        cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_gives_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
