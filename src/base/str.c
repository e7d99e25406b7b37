/*
 * base/str.c - a borrowed run of octets.
 *
 * Every function takes the length it is given and never looks for a NUL. The case of
 * letters is ASCII's alone: what a protocol compares must not depend on a locale.
 */
#include "postern/base/str.h"

#include "utf8_priv.h"

#include <string.h>

/* The longest name for which a distance is worked out. */
#define DISTANCE_MAX 64

struct pn_str pn_str_z(const char *z)
{
    return z ? (struct pn_str){z, strlen(z)} : PN_STR("");
}

struct pn_str pn_str_sub(struct pn_str s, size_t from, size_t len)
{
    if (from > s.len) {
        from = s.len;
    }
    if (len > s.len - from) {
        len = s.len - from;
    }
    /* An empty s may have a NULL pointer, to which not even 0 may be added. */
    return (struct pn_str){from > 0 ? s.ptr + from : s.ptr, len};
}

bool pn_str_eq(struct pn_str a, struct pn_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool pn_str_eq_nocase(struct pn_str a, struct pn_str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (pn_to_lower(a.ptr[i]) != pn_to_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

int pn_str_cmp(struct pn_str a, struct pn_str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool pn_str_starts(struct pn_str s, struct pn_str prefix)
{
    return s.len >= prefix.len && pn_str_eq(pn_str_sub(s, 0, prefix.len), prefix);
}

bool pn_str_starts_nocase(struct pn_str s, struct pn_str prefix)
{
    return s.len >= prefix.len && pn_str_eq_nocase(pn_str_sub(s, 0, prefix.len), prefix);
}

bool pn_str_ends(struct pn_str s, struct pn_str suffix)
{
    return s.len >= suffix.len &&
           pn_str_eq(pn_str_sub(s, s.len - suffix.len, suffix.len), suffix);
}

size_t pn_str_find(struct pn_str s, char c)
{
    const char *found = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;

    return found ? (size_t)(found - s.ptr) : s.len;
}

size_t pn_str_rfind(struct pn_str s, char c)
{
    const char *found = s.len > 0 ? memrchr(s.ptr, c, s.len) : NULL;

    return found ? (size_t)(found - s.ptr) : s.len;
}

struct pn_str pn_str_cut(struct pn_str *s, char c)
{
    size_t at = pn_str_find(*s, c);
    struct pn_str before = pn_str_sub(*s, 0, at);

    *s = pn_str_sub(*s, at < s->len ? at + 1 : at, SIZE_MAX);
    return before;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct pn_str pn_str_trim(struct pn_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s = pn_str_sub(s, 1, SIZE_MAX);
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool pn_str_to_u64(struct pn_str s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit;

        if (!pn_is_digit(s.ptr[i])) {
            return false;
        }
        digit = (uint64_t)(s.ptr[i] - '0');
        if (digit > max || value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool pn_str_is_utf8(struct pn_str s)
{
    uint32_t character;
    size_t taken;

    while (s.len > 0) {
        taken = pn_utf8_first(s, &character);
        if (taken == 0) {
            return false;
        }
        s = pn_str_sub(s, taken, SIZE_MAX);
    }
    return true;
}

bool pn_str_is_ascii(struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] > 0x7f) {
            return false;
        }
    }
    return true;
}

bool pn_str_has_control(struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (pn_is_control(s.ptr[i])) {
            return true;
        }
    }
    return false;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

size_t pn_str_distance(struct pn_str a, struct pn_str b)
{
    /* row[j] is the distance from the part of a seen so far to the first j of b. */
    size_t row[DISTANCE_MAX + 1];

    if (a.len > DISTANCE_MAX || b.len > DISTANCE_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < b.len; j++) {
            size_t change = diagonal + (a.ptr[i] != b.ptr[j]);

            diagonal = row[j + 1];
            row[j + 1] = least(change, row[j] + 1, row[j + 1] + 1);
        }
    }
    return row[b.len];
}
