/*
 * utf8_priv.h - one character of UTF-8 (RFC 3629), for str.c and log.c.
 */
#ifndef POSTERN_BASE_UTF8_PRIV_H
#define POSTERN_BASE_UTF8_PRIV_H

#include "postern/base/str.h"

/*
 * The octets that the character at the front of s takes, with *out set to it; 0 when
 * they are not well-formed: cut short, overlong, a surrogate, or beyond U+10FFFF.
 */
static inline size_t pn_utf8_first(struct pn_str s, uint32_t *out)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *octets = (const unsigned char *)s.ptr;
    uint32_t character;
    size_t len;

    if (s.len == 0) {
        return 0;
    }
    character = octets[0];
    if (character < 0x80) {
        *out = character;
        return 1;
    }
    len = character >= 0xf0 ? 4 : character >= 0xe0 ? 3 : 2;
    if (character < 0xc2 || character > 0xf4 || s.len < len) {
        return 0;
    }
    character &= 0x7fU >> len;
    for (size_t i = 1; i < len; i++) {
        if ((octets[i] & 0xc0) != 0x80) {
            return 0;
        }
        character = character << 6 | (octets[i] & 0x3fU);
    }
    if (character < smallest[len] || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff)) {
        return 0;
    }
    *out = character;
    return len;
}

#endif
