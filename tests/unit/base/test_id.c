/* What base/rand and base/id promise: the same numbers for a seed, and ids in order of age. */
#include "postern/base/id.h"
#include "postern/base/mem.h"
#include "postern/base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* From the reference code of splitmix64 and xoshiro256**, seed 42. */
static void test_follows_the_reference(void **state)
{
    static const uint64_t seeded[4] = {0xbdd732262feb6e95U, 0x28efe333b266f103U,
                                       0x47526757130f9f52U, 0x581ce1ff0e4ae394U};
    static const uint64_t first[4] = {0x15780b2e0c2ec716U, 0x6104d9866d113a7eU,
                                      0xae17533239e499a1U, 0xecb8ad4703b360a1U};
    struct pn_rand rand;

    (void)state;
    pn_rand_init(&rand, 42);
    assert_memory_equal(rand.state, seeded, sizeof seeded);
    for (size_t i = 0; i < PN_COUNT(first); i++) {
        assert_true(pn_rand_next(&rand) == first[i]);
    }
}

static void test_stays_below(void **state)
{
    static const uint64_t limits[] = {1, 2, 3, 10, 1000, (uint64_t)3 << 62, UINT64_MAX};
    unsigned seen[10] = {0};
    struct pn_rand rand;

    (void)state;
    pn_rand_init(&rand, 7);
    for (size_t i = 0; i < PN_COUNT(limits); i++) {
        for (int n = 0; n < 1000; n++) {
            assert_true(pn_rand_below(&rand, limits[i]) < limits[i]);
        }
    }
    for (int n = 0; n < 10000; n++) {
        seen[pn_rand_below(&rand, 10)]++;
    }
    for (size_t i = 0; i < PN_COUNT(seen); i++) {
        assert_in_range(seen[i], 800, 1200);
    }
}

static void test_jitters_within_bounds(void **state)
{
    static const struct {
        const char *name;
        int64_t duration_ms;
        unsigned permille;
        int64_t least, most;
    } rows[] = {
        {"a fifth", 1000, 200, 800, 1200},
        {"none", 1000, 0, 1000, 1000},
        {"all of it", 10, 1000, 0, 20},
        {"nothing to change", 0, 500, 0, 0},
        {"too short to change", 3, 100, 3, 3},
        {"past stays", -5, 500, -5, -5},
        {"the longest", INT64_MAX, 1000, 0, INT64_MAX},
    };
    struct pn_rand rand;

    (void)state;
    pn_rand_init(&rand, 3);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        int64_t smallest = INT64_MAX, largest = INT64_MIN;

        for (int n = 0; n < 5000; n++) {
            int64_t got = pn_rand_jitter(&rand, rows[i].duration_ms, rows[i].permille);

            smallest = got < smallest ? got : smallest;
            largest = got > largest ? got : largest;
        }
        if (smallest < rows[i].least || largest > rows[i].most ||
            (rows[i].most < 10000 && (smallest != rows[i].least || largest != rows[i].most))) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void test_fills(void **state)
{
    unsigned char octets[20] = {0};
    struct pn_rand rand, again;
    uint64_t first;

    (void)state;
    pn_rand_init(&rand, 9);
    again = rand;
    pn_rand_fill(&rand, octets, 19);
    assert_int_equal(octets[19], 0);
    first = pn_rand_next(&again);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(octets[i], first >> (8 * i) & 0xff);
    }
}

static void test_ids_sort_by_age(void **state)
{
    struct pn_rand rand;
    struct pn_id last = {{0}};
    char last_text[PN_ID_CHARS + 1] = "";

    (void)state;
    pn_rand_init(&rand, 5);
    for (int64_t ms = 1; ms < INT64_C(1) << 47; ms = ms * 3 + 1) {
        struct pn_id id = pn_id_make((struct pn_wall){ms}, &rand);
        struct pn_id back;
        char text[PN_ID_CHARS + 1];

        assert_true(pn_id_time(&id).ms == ms);
        assert_true(pn_id_cmp(&last, &id) < 0);
        pn_id_format(&id, text);
        assert_int_equal(strlen(text), PN_ID_CHARS);
        assert_true(strcmp(last_text, text) < 0);
        assert_true(pn_id_parse(pn_str_z(text), &back));
        assert_int_equal(pn_id_cmp(&id, &back), 0);
        last = id;
        memcpy(last_text, text, sizeof text);
    }
    last = pn_id_make((struct pn_wall){-5}, &rand);
    assert_int_equal(pn_id_time(&last).ms, 0);
}

static void test_reads_ids(void **state)
{
    static const struct {
        const char *name, *text;
        const char *canonical; /* NULL: it is no id */
    } rows[] = {
        {"smallest", "00000000000000000000000000", "00000000000000000000000000"},
        {"largest", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"},
        {"130 bits", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", NULL},
        {"lower case", "01arz3ndektsv4rrffq69g5fav", "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"look-alikes", "0iIlLoO0000000000000000000", "01111000000000000000000000"},
        {"U is no digit", "0U000000000000000000000000", NULL},
        {"too short", "0000000000000000000000000", NULL},
        {"too long", "000000000000000000000000000", NULL},
        {"empty", "", NULL},
        {"a blank", "0000000000000 000000000000", NULL},
        {"high octets",
         "0000000000000\xff"
         "000000000000",
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_id id = {{1, 2, 3}};
        struct pn_id untouched = id;
        char text[PN_ID_CHARS + 1];
        bool ok = pn_id_parse(pn_str_z(rows[i].text), &id);

        pn_id_format(&id, text);
        if (ok != (rows[i].canonical != NULL) ||
            (ok ? strcmp(text, rows[i].canonical) : pn_id_cmp(&id, &untouched)) != 0) {
            fail_msg("%s: %s", rows[i].name, text);
        }
    }
    assert_false(
        pn_id_parse((struct pn_str){"0\0ABCDEFGHJKMNPQRSTVWXYZ01", 26}, &(struct pn_id){{0}}));
}

static void test_prints_known_octets(void **state)
{
    struct pn_id id;
    char text[PN_ID_CHARS + 1];

    (void)state;
    for (size_t i = 0; i < PN_ID_OCTETS; i++) {
        id.octets[i] = (uint8_t)(i * 17);
    }
    pn_id_format(&id, text);
    assert_string_equal(text, "0024H36H2NCSVRH6DAQF6DVVQZ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_reference), cmocka_unit_test(test_stays_below),
        cmocka_unit_test(test_jitters_within_bounds), cmocka_unit_test(test_fills),
        cmocka_unit_test(test_ids_sort_by_age),       cmocka_unit_test(test_reads_ids),
        cmocka_unit_test(test_prints_known_octets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
