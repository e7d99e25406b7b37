/* What base/arena promises: zeroed, aligned, bounded, and gone at once. */
#include "postern/base/arena.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_allocates_zeroed_and_aligned(void **state)
{
    struct pn_arena arena;
    struct pn_str copy;

    (void)state;
    pn_arena_init(&arena, 1 << 20);
    for (int round = 0; round < 2; round++) {
        for (size_t n = 0; n < 300; n++) {
            unsigned char *memory = pn_arena_alloc(&arena, n);

            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(memory[i], 0);
                memory[i] = 0xff;
            }
            assert_int_equal(pn_arena_copy(&arena, PN_STR("abc"), &copy), 0);
            assert_int_equal(copy.len, 3);
            assert_string_equal(copy.ptr, "abc");
        }
        pn_arena_reset(&arena);
        assert_int_equal(arena.used, 0);
    }
    pn_arena_fini(&arena);
    assert_null(arena.blocks);
    assert_non_null(pn_arena_alloc(&arena, 1));
    pn_arena_fini(&arena);
}

static void test_keeps_its_maximum(void **state)
{
    static const struct {
        const char *name;
        size_t max, first, second;
        bool first_fits, second_fits;
    } rows[] = {
        {"to the brim", 4096, 2048, 2048, true, true},
        {"one too many", 4096, 2048, 2049, true, false},
        {"padding counts", 32, 1, 17, true, false},
        {"with padding to the brim", 32, 1, 16, true, true},
        {"larger than a block", 1 << 20, 1 << 19, 1 << 19, true, true},
        {"nothing at all", 0, 1, 0, false, true},
        {"no overflow", 4096, SIZE_MAX, SIZE_MAX - 8, false, false},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_arena arena;
        bool first, second;

        pn_arena_init(&arena, rows[i].max);
        first = pn_arena_alloc(&arena, rows[i].first) != NULL;
        second = pn_arena_alloc(&arena, rows[i].second) != NULL;
        if (first != rows[i].first_fits || second != rows[i].second_fits ||
            arena.used > rows[i].max) {
            fail_msg("%s", rows[i].name);
        }
        pn_arena_fini(&arena);
    }
}

static void test_refuses_copies_beyond(void **state)
{
    struct pn_arena arena;
    struct pn_str copy = PN_STR("untouched");

    (void)state;
    pn_arena_init(&arena, 4);
    assert_int_equal(pn_arena_copy(&arena, PN_STR("abcd"), &copy), PN_ENOSPACE);
    assert_string_equal(copy.ptr, "untouched");
    assert_int_equal(pn_arena_copy(&arena, PN_STR("abc"), &copy), 0);
    assert_string_equal(copy.ptr, "abc");
    assert_int_equal(pn_arena_copy(&arena, pn_str_z(NULL), &copy), PN_ENOSPACE);
    pn_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocates_zeroed_and_aligned),
        cmocka_unit_test(test_keeps_its_maximum),
        cmocka_unit_test(test_refuses_copies_beyond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
