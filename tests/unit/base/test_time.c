/* What base/time promises: dates without locale, durations and sizes as people write them. */
#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <inttypes.h>
#include <time.h>

static void expect(const char *name, struct pn_buf *buf, int rc, const char *want)
{
    struct pn_str got = pn_buf_str(buf);

    if (rc != 0 || !pn_str_eq(got, pn_str_z(want))) {
        fail_msg("%s: got '%.*s' (%d), want '%s'", name, PN_FMT(got), rc, want);
    }
    pn_buf_clear(buf);
}

static void test_writes_dates(void **state)
{
    static const struct {
        const char *name;
        int64_t ms;
        const char *rfc5322, *rfc3339;
    } rows[] = {
        {"the beginning", 0, "Thu, 1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00.000Z"},
        {"just before it", -1, "Wed, 31 Dec 1969 23:59:59 +0000", "1969-12-31T23:59:59.999Z"},
        {"header's example", 1795294508123, "Sat, 21 Nov 2026 20:55:08 +0000",
         "2026-11-21T20:55:08.123Z"},
        {"a leap day", 1709164800000, "Thu, 29 Feb 2024 00:00:00 +0000",
         "2024-02-29T00:00:00.000Z"},
        {"the day after", 1709251200000, "Fri, 1 Mar 2024 00:00:00 +0000",
         "2024-03-01T00:00:00.000Z"},
        {"leap day of a 400th year", 951782400000, "Tue, 29 Feb 2000 00:00:00 +0000",
         "2000-02-29T00:00:00.000Z"},
        {"a hundredth year has none", 4107542400000, "Mon, 1 Mar 2100 00:00:00 +0000",
         "2100-03-01T00:00:00.000Z"},
        {"after 32 bits", 2147483648000, "Tue, 19 Jan 2038 03:14:08 +0000",
         "2038-01-19T03:14:08.000Z"},
        {"last of a year", 1798761599999, "Thu, 31 Dec 2026 23:59:59 +0000",
         "2026-12-31T23:59:59.999Z"},
        {"before years had four digits", -62135596800000, "Mon, 1 Jan 0001 00:00:00 +0000",
         "0001-01-01T00:00:00.000Z"},
    };
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 100);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_wall t = {rows[i].ms};

        expect(rows[i].name, &buf, pn_wall_rfc5322(t, &buf), rows[i].rfc5322);
        expect(rows[i].name, &buf, pn_wall_rfc3339(t, &buf), rows[i].rfc3339);
    }
    assert_int_equal(pn_wall_rfc3339(PN_WALL_NEVER, &buf), 0);
    pn_buf_fini(&buf);
}

/* The C library is the second opinion for every day from 1900 to 2200. */
static void test_agrees_with_the_library(void **state)
{
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 100);
    for (int64_t day = -25567; day < 84006; day++) {
        int64_t seconds = day * 86400 + (day * 7919 % 86400 + 86400) % 86400;
        time_t library_time = (time_t)seconds;
        char want[64];
        struct tm tm;

        assert_non_null(gmtime_r(&library_time, &tm));
        assert_true(strftime(want, sizeof want, "%a, %-d %b %Y %H:%M:%S +0000", &tm) > 0);
        expect("day", &buf, pn_wall_rfc5322((struct pn_wall){seconds * 1000}, &buf), want);
    }
    pn_buf_fini(&buf);
}

static void test_adds_saturating(void **state)
{
    static const struct {
        const char *name;
        int64_t t, add, want;
    } rows[] = {
        {"plain", 5, 7, 12},
        {"backwards", 5, -7, -2},
        {"over the end", INT64_MAX - 1, 5, INT64_MAX},
        {"never stays", INT64_MAX, -5, INT64_MAX},
        {"under the beginning", INT64_MIN + 1, -5, INT64_MIN},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_mono mono = pn_mono_add((struct pn_mono){rows[i].t}, rows[i].add);
        struct pn_wall wall = pn_wall_add((struct pn_wall){rows[i].t}, rows[i].add);

        if (mono.ms != rows[i].want || wall.ms != rows[i].want) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void test_reads_durations(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"90s", true, 90000},
        {"5m", true, PN_MINUTES(5)},
        {"36h", true, PN_HOURS(36)},
        {"14d", true, PN_DAYS(14)},
        {"2w", true, PN_DAYS(14)},
        {"1h30m", true, PN_MINUTES(90)},
        {"1w2d3h4m5s6ms", true, PN_DAYS(9) + PN_HOURS(3) + PN_MINUTES(4) + PN_SECONDS(5) + 6},
        {"250ms", true, 250},
        {"0", true, 0},
        {"0s", true, 0},
        {"9223372036854775807ms", true, INT64_MAX},
        {"9223372036854775808ms", false, 0},
        {"9223372036854775807s", false, 0},
        {"15250284452w7d", false, 0},
        {"", false, 0},
        {"5", false, 0},
        {"00", false, 0},
        {"m", false, 0},
        {"5x", false, 0},
        {"5M", false, 0},
        {"5mm", false, 0},
        {"-5m", false, 0},
        {"+5m", false, 0},
        {" 5m", false, 0},
        {"5m ", false, 0},
        {"5 m", false, 0},
        {"1.5h", false, 0},
        {"30m1h", false, 0},
        {"1m1m", false, 0},
        {"1h30", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        int64_t got = 4711;

        if (pn_duration_parse(pn_str_z(rows[i].text), &got) != rows[i].ok ||
            got != (rows[i].ok ? rows[i].want : 4711)) {
            fail_msg("'%s': got %" PRId64, rows[i].text, got);
        }
    }
}

static void test_writes_durations(void **state)
{
    static const struct {
        const char *name;
        int64_t ms;
        const char *exact, *human;
    } rows[] = {
        {"nothing", 0, "0s", "0s"},
        {"below a second", 250, "250ms", "250ms"},
        {"a second and a half", 1500, "1s500ms", "1s"},
        {"an hour and a half", PN_MINUTES(90), "1h30m", "1h 30m"},
        {"two weeks", PN_DAYS(14), "14d", "14d"},
        {"three units", PN_DAYS(3) + PN_HOURS(4) + PN_MINUTES(5), "3d4h5m", "3d 4h"},
        {"a gap", PN_DAYS(1) + PN_MINUTES(5), "1d5m", "1d"},
        {"a minute", 60000, "1m", "1m"},
        {"before", -90000, "-1m30s", "-1m 30s"},
        {"the longest", INT64_MAX, "106751991167d7h12m55s807ms", "106751991167d 7h"},
        {"the shortest", INT64_MIN, "-106751991167d7h12m55s808ms", "-106751991167d 7h"},
    };
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 100);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        int64_t back;

        expect(rows[i].name, &buf, pn_duration_format(rows[i].ms, &buf), rows[i].exact);
        expect(rows[i].name, &buf, pn_duration_human(rows[i].ms, &buf), rows[i].human);
        if (rows[i].ms >= 0 &&
            (!pn_duration_parse(pn_str_z(rows[i].exact), &back) || back != rows[i].ms)) {
            fail_msg("%s: what is written cannot be read", rows[i].name);
        }
    }
    pn_buf_fini(&buf);
    pn_buf_init(&buf, 4);
    assert_int_equal(pn_duration_format(PN_MINUTES(90), &buf), PN_ENOSPACE);
    assert_int_equal(buf.len, 0);
    pn_buf_fini(&buf);
}

static void test_reads_sizes(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t want;
    } rows[] = {
        {"512", true, 512},
        {"64K", true, 65536},
        {"64k", true, 65536},
        {"50M", true, 52428800},
        {"2G", true, (uint64_t)2 << 30},
        {"1T", true, (uint64_t)1 << 40},
        {"0", true, 0},
        {"8388607T", true, (uint64_t)8388607 << 40},
        {"16777216T", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"K", false, 0},
        {"1KB", false, 0},
        {"1P", false, 0},
        {"1 K", false, 0},
        {"-1", false, 0},
        {"1.5M", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        uint64_t got = 4711;

        if (pn_size_parse(pn_str_z(rows[i].text), &got) != rows[i].ok ||
            got != (rows[i].ok ? rows[i].want : 4711)) {
            fail_msg("'%s': got %" PRIu64, rows[i].text, got);
        }
    }
}

static void test_writes_sizes(void **state)
{
    static const struct {
        uint64_t octets;
        const char *exact, *human;
    } rows[] = {
        {0, "0", "0 B"},
        {1023, "1023", "1023 B"},
        {1024, "1K", "1.0 KiB"},
        {1025, "1025", "1.0 KiB"},
        {52428800, "50M", "50.0 MiB"},
        {3565158, "3565158", "3.4 MiB"},
        {1048575, "1048575", "1.0 MiB"},
        {(uint64_t)3 << 30, "3G", "3.0 GiB"},
        {(uint64_t)5 << 40, "5T", "5.0 TiB"},
        {(uint64_t)5 << 50, "5120T", "5120.0 TiB"},
        {UINT64_MAX, "18446744073709551615", "16777216.0 TiB"},
    };
    struct pn_buf buf;

    (void)state;
    pn_buf_init(&buf, 100);
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        expect(rows[i].exact, &buf, pn_size_format(rows[i].octets, &buf), rows[i].exact);
        expect(rows[i].exact, &buf, pn_size_human(rows[i].octets, &buf), rows[i].human);
    }
    pn_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_dates),     cmocka_unit_test(test_agrees_with_the_library),
        cmocka_unit_test(test_adds_saturating),  cmocka_unit_test(test_reads_durations),
        cmocka_unit_test(test_writes_durations), cmocka_unit_test(test_reads_sizes),
        cmocka_unit_test(test_writes_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
