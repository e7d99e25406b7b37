/*
 * base/time.c - two kinds of time, dates for mail, durations and sizes.
 *
 * Dates are worked out here, from days to years by the arithmetic of the Gregorian
 * calendar: the C library's functions read the time zone and the locale, and mail headers
 * must depend on neither.
 */
#include "postern/base/time.h"

#include "postern/base/mem.h"

#include <inttypes.h>

static int64_t add_saturating(int64_t ms, int64_t duration_ms)
{
    int64_t sum;

    if (ms == INT64_MAX) {
        return INT64_MAX; /* NEVER plus anything is NEVER. */
    }
    if (__builtin_add_overflow(ms, duration_ms, &sum)) {
        return duration_ms > 0 ? INT64_MAX : INT64_MIN;
    }
    return sum;
}

struct pn_mono pn_mono_add(struct pn_mono t, int64_t duration_ms)
{
    return (struct pn_mono){add_saturating(t.ms, duration_ms)};
}

struct pn_wall pn_wall_add(struct pn_wall t, int64_t duration_ms)
{
    return (struct pn_wall){add_saturating(t.ms, duration_ms)};
}

struct civil {
    int64_t year;
    int month;   /* 1 to 12 */
    int day;     /* 1 to 31 */
    int weekday; /* 0 is Sunday */
    int hour, minute, second, ms;
};

/* Division that rounds down, so that times before 1970 come out right. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/*
 * The year is taken to begin in March, so that the leap day is its last; then months have
 * a regular pattern of lengths (153 days in five), and 400 years are always 146097 days.
 */
static struct civil civil_from(struct pn_wall t)
{
    int64_t days = floor_div(t.ms, PN_DAYS(1));
    int64_t rest = t.ms - days * PN_DAYS(1);
    int64_t shifted = days + 719468; /* days since 0000-03-01 */
    int64_t era = floor_div(shifted, 146097);
    int64_t in_era = shifted - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153; /* 0 is March */

    return (struct civil){
        .year = year + era * 400 + (month >= 10),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(in_year - (153 * month + 2) / 5 + 1),
        .weekday = (int)(days + 4 - floor_div(days + 4, 7) * 7), /* 1970 began on a Thursday */
        .hour = (int)(rest / PN_HOURS(1)),
        .minute = (int)(rest / PN_MINUTES(1) % 60),
        .second = (int)(rest / PN_SECONDS(1) % 60),
        .ms = (int)(rest % PN_SECONDS(1)),
    };
}

int pn_wall_rfc5322(struct pn_wall t, struct pn_buf *out)
{
    static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil c = civil_from(t);

    return pn_buf_printf(out, "%s, %d %s %04" PRId64 " %02d:%02d:%02d +0000",
                         weekdays[c.weekday], c.day, months[c.month - 1], c.year, c.hour,
                         c.minute, c.second);
}

static void put_digits(char *to, int count, int value)
{
    while (count-- > 0) {
        to[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Without printf, because every log line begins with it. */
int pn_wall_rfc3339(struct pn_wall t, struct pn_buf *out)
{
    char text[] = "0000-00-00T00:00:00.000Z";
    struct civil c = civil_from(t);

    if (c.year < 0 || c.year > 9999) {
        return pn_buf_printf(out, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%03dZ", c.year,
                             c.month, c.day, c.hour, c.minute, c.second, c.ms);
    }
    put_digits(text, 4, (int)c.year);
    put_digits(text + 5, 2, c.month);
    put_digits(text + 8, 2, c.day);
    put_digits(text + 11, 2, c.hour);
    put_digits(text + 14, 2, c.minute);
    put_digits(text + 17, 2, c.second);
    put_digits(text + 20, 3, c.ms);
    return pn_buf_append(out, (struct pn_str){text, sizeof text - 1});
}

struct unit {
    const char *name;
    int64_t ms;
};

/* From large to small. Weeks are read but not written: people count mail's time in days. */
static const struct unit units[] = {
    {"w", 7 * PN_DAYS(1)}, {"d", PN_DAYS(1)},    {"h", PN_HOURS(1)},
    {"m", PN_MINUTES(1)},  {"s", PN_SECONDS(1)}, {"ms", 1},
};
enum { FIRST_WRITTEN = 1, SECOND_UNIT = 4 };

/* Takes digits from the front of *s; false when there are none, or too many. */
static bool take_number(struct pn_str *s, uint64_t *out)
{
    size_t digits = 0;

    while (digits < s->len && pn_is_digit(s->ptr[digits])) {
        digits++;
    }
    if (!pn_str_to_u64(pn_str_sub(*s, 0, digits), INT64_MAX, out)) {
        return false;
    }
    *s = pn_str_sub(*s, digits, SIZE_MAX);
    return true;
}

/* Takes letters from the front of *s and returns the place of their unit, or PN_COUNT. */
static size_t take_unit(struct pn_str *s)
{
    size_t letters = 0;
    struct pn_str name;

    while (letters < s->len && !pn_is_digit(s->ptr[letters])) {
        letters++;
    }
    name = pn_str_sub(*s, 0, letters);
    *s = pn_str_sub(*s, letters, SIZE_MAX);
    for (size_t i = 0; i < PN_COUNT(units); i++) {
        if (pn_str_eq(name, pn_str_z(units[i].name))) {
            return i;
        }
    }
    return PN_COUNT(units);
}

bool pn_duration_parse(struct pn_str s, int64_t *out_ms)
{
    int64_t total = 0;
    size_t next_unit = 0; /* units must fall: "30m1h" is more likely a mistake */

    if (pn_str_eq(s, PN_STR("0"))) {
        *out_ms = 0;
        return true;
    }
    if (s.len == 0) {
        return false;
    }
    while (s.len > 0) {
        uint64_t number;
        int64_t part;
        size_t unit;

        if (!take_number(&s, &number)) {
            return false;
        }
        unit = take_unit(&s);
        if (unit == PN_COUNT(units) || unit < next_unit ||
            __builtin_mul_overflow((int64_t)number, units[unit].ms, &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return false;
        }
        next_unit = unit + 1;
    }
    *out_ms = total;
    return true;
}

/* The absolute value, which for INT64_MIN is no int64_t. */
static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/*
 * Writes at most `most` units beginning with the largest that is not zero, and leaves out
 * those that are zero. All or nothing: out is as before when it has no room.
 */
static int write_units(int64_t duration_ms, size_t last, size_t most, const char *between,
                       struct pn_buf *out)
{
    uint64_t rest = magnitude(duration_ms);
    size_t before = out->len;
    size_t seen = 0;
    int rc = duration_ms < 0 ? pn_buf_append_char(out, '-') : 0;

    for (size_t i = FIRST_WRITTEN; i <= last && seen < most && rc == 0; i++) {
        uint64_t unit_ms = (uint64_t)units[i].ms;
        uint64_t n = rest / unit_ms;

        rest %= unit_ms;
        if (n > 0) {
            rc = pn_buf_printf(out, "%s%" PRIu64 "%s", seen > 0 ? between : "", n,
                               units[i].name);
        }
        seen += n > 0 || seen > 0;
    }
    if (rc == 0 && seen == 0) {
        rc = pn_buf_append_z(out, "0s");
    }
    if (rc != 0) {
        pn_buf_truncate(out, before);
    }
    return rc;
}

int pn_duration_format(int64_t duration_ms, struct pn_buf *out)
{
    return write_units(duration_ms, PN_COUNT(units) - 1, PN_COUNT(units), "", out);
}

int pn_duration_human(int64_t duration_ms, struct pn_buf *out)
{
    /* Above a second nobody cares for milliseconds; below there is nothing else. */
    size_t last =
        magnitude(duration_ms) < (uint64_t)PN_SECONDS(1) ? PN_COUNT(units) - 1 : SECOND_UNIT;

    return write_units(duration_ms, last, 2, " ", out);
}

static const char size_letters[] = "KMGT";
#define SIZE_LETTERS (sizeof size_letters - 1)

bool pn_size_parse(struct pn_str s, uint64_t *out_octets)
{
    unsigned shift = 0;
    uint64_t number;

    if (!take_number(&s, &number) || s.len > 1) {
        return false;
    }
    if (s.len == 1) {
        size_t letter = pn_str_find(PN_STR("kmgt"), pn_to_lower(s.ptr[0]));

        if (letter == SIZE_LETTERS) {
            return false;
        }
        shift = 10 * ((unsigned)letter + 1);
    }
    if (number > UINT64_MAX >> shift) {
        return false;
    }
    *out_octets = number << shift;
    return true;
}

int pn_size_format(uint64_t octets, struct pn_buf *out)
{
    size_t unit = 0;

    while (unit < SIZE_LETTERS && octets > 0 && octets % 1024 == 0) {
        octets /= 1024;
        unit++;
    }
    return pn_buf_printf(out, "%" PRIu64 "%.*s", octets, unit > 0 ? 1 : 0,
                         size_letters + (unit > 0 ? unit - 1 : 0));
}

int pn_size_human(uint64_t octets, struct pn_buf *out)
{
    uint64_t tenths;
    unsigned unit = 1;

    if (octets < 1024) {
        return pn_buf_printf(out, "%" PRIu64 " B", octets);
    }
    for (;;) {
        uint64_t size = (uint64_t)1 << (10 * unit);

        /* Rounded to the nearest tenth; 1023.96 KiB is 1.0 MiB. */
        tenths = octets / size * 10 + (octets % size * 10 + size / 2) / size;
        if (tenths < 10240 || unit == SIZE_LETTERS) {
            break;
        }
        unit++;
    }
    return pn_buf_printf(out, "%" PRIu64 ".%" PRIu64 " %ciB", tenths / 10, tenths % 10,
                         size_letters[unit - 1]);
}
