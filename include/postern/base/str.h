/*
 * base/str.h - a borrowed run of octets.
 *
 * A pn_str owns nothing and needs no NUL; it may contain NUL. It lives as long as
 * what it points into. Everything that came from outside travels in this type, so
 * that no length is ever guessed from the content (FAULTS 3.16).
 */
#ifndef POSTERN_BASE_STR_H
#define POSTERN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pn_str {
    const char *ptr;
    size_t len;
};

/* A pn_str for a string literal. */
#define PN_STR(literal) ((struct pn_str){"" literal, sizeof(literal) - 1})

/* For printf: "%.*s", PN_FMT(s). */
#define PN_FMT(s) (int)(s).len, (s).ptr

struct pn_str pn_str_z(const char *z); /* NULL gives the empty string */
struct pn_str pn_str_sub(struct pn_str s, size_t from, size_t len); /* clamped to s */

bool pn_str_eq(struct pn_str a, struct pn_str b);
bool pn_str_eq_nocase(struct pn_str a, struct pn_str b); /* ASCII only, no locale */
int pn_str_cmp(struct pn_str a, struct pn_str b);        /* octet order, then length */
bool pn_str_starts(struct pn_str s, struct pn_str prefix);
bool pn_str_starts_nocase(struct pn_str s, struct pn_str prefix);
bool pn_str_ends(struct pn_str s, struct pn_str suffix);

/* The offset of the first c, or s.len when there is none. */
size_t pn_str_find(struct pn_str s, char c);
size_t pn_str_rfind(struct pn_str s, char c); /* of the last one, or s.len */

/*
 * Returns what stands before the first c and moves *s behind it. Without a c it returns
 * all of *s and leaves *s empty.
 */
struct pn_str pn_str_cut(struct pn_str *s, char c);
struct pn_str pn_str_trim(struct pn_str s); /* blanks and tabs at both ends */

/*
 * Reads all of s as an unsigned decimal number without sign or blanks. False, and
 * *out untouched, when s is empty, has another character, or is greater than max.
 */
bool pn_str_to_u64(struct pn_str s, uint64_t max, uint64_t *out);

/* ASCII classes that know no locale; c may be any octet. */
static inline bool pn_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool pn_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool pn_is_alnum(char c)
{
    return pn_is_digit(c) || pn_is_alpha(c);
}
static inline bool pn_is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}
static inline char pn_to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* True when s is well-formed UTF-8 (RFC 3629) without surrogates or overlong forms. */
bool pn_str_is_utf8(struct pn_str s);
bool pn_str_is_ascii(struct pn_str s); /* no octet above 0x7f */
bool pn_str_has_control(struct pn_str s);

/*
 * The edit distance of two short names, for "did you mean". Names longer than 64
 * octets count as SIZE_MAX away.
 */
size_t pn_str_distance(struct pn_str a, struct pn_str b);

#endif
