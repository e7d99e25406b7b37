/*
 * cli/text.c - what people read: escaped text, ages, counts.
 *
 * Addresses, replies and names come from strangers, and a terminal obeys control octets:
 * nothing of theirs reaches it unescaped, C1 controls and the marks that turn the
 * direction of writing included.
 */
#include "text_priv.h"

#include "postern/base/assert.h"
#include "postern/base/time.h"

#include <stdarg.h>

/* Of one text: more than any field has, and less than a cell holds when all is escaped. */
#define TEXT_SHOWN_MAX (CLI_TEXT_MAX / 16)

/* One character at the front of text; its octets, 0 if it is no UTF-8. */
static size_t decode(struct pn_str text, uint32_t *out)
{
    unsigned char first = (unsigned char)text.ptr[0];
    size_t octets = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t character = first;

    if (octets > text.len || !pn_str_is_utf8(pn_str_sub(text, 0, octets))) {
        return 0;
    }
    if (octets > 1) {
        character = first & (0xffu >> (octets + 1));
        for (size_t i = 1; i < octets; i++) {
            character = character << 6 | ((unsigned char)text.ptr[i] & 0x3f);
        }
    }
    *out = character;
    return octets;
}

static bool is_dangerous(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) ||
           (character >= 0x200b && character <= 0x200f) ||
           (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2060 && character <= 0x206f) || character == 0xfeff;
}

void cli_put_z(struct pn_buf *out, const char *text)
{
    pn_assert(pn_buf_append_z(out, text) == 0);
}

void cli_put_printf(struct pn_buf *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    pn_assert(pn_buf_vprintf(out, format, args) == 0);
    va_end(args);
}

void cli_put_text(struct pn_buf *out, struct pn_str text)
{
    text = pn_str_sub(text, 0, TEXT_SHOWN_MAX);
    while (text.len > 0) {
        uint32_t character = 0;
        size_t octets = decode(text, &character);

        if (octets == 0 || (octets == 1 && is_dangerous(character))) {
            cli_put_printf(out, "\\x%02x", (unsigned char)text.ptr[0]);
            octets = 1;
        } else if (is_dangerous(character)) {
            cli_put_printf(out, "\\u{%x}", character);
        } else {
            pn_assert(pn_buf_append(out, pn_str_sub(text, 0, octets)) == 0);
        }
        text = pn_str_sub(text, octets, SIZE_MAX);
    }
}

void cli_put_count(struct pn_buf *out, uint64_t number)
{
    char digits[32];
    size_t at = sizeof digits;
    size_t count = 0;

    do {
        if (count > 0 && count % 3 == 0) {
            digits[--at] = ',';
        }
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
        count++;
    } while (number > 0);
    pn_assert(pn_buf_append(out, (struct pn_str){digits + at, sizeof digits - at}) == 0);
}

void cli_put_age(struct pn_buf *out, double seconds)
{
    if (seconds < 0) {
        cli_put_z(out, "-");
        return;
    }
    if (seconds > 1e11) {
        seconds = 1e11; /* whoever tells such an age is mistaken */
    }
    pn_assert(pn_duration_human((int64_t)seconds * 1000, out) == 0);
}

void cli_put_size(struct pn_buf *out, uint64_t octets)
{
    pn_assert(pn_size_human(octets, out) == 0);
}

/* Combining marks of the scripts that mail is mostly written in take no column. */
static size_t columns_of(uint32_t character)
{
    if ((character >= 0x300 && character <= 0x36f) || character == 0x200d) {
        return 0;
    }
    /* Hangul, CJK, full-width forms, emoji. */
    if ((character >= 0x1100 && character <= 0x115f) ||
        (character >= 0x2e80 && character <= 0xa4cf) ||
        (character >= 0xac00 && character <= 0xd7a3) ||
        (character >= 0xf900 && character <= 0xfaff) ||
        (character >= 0xfe30 && character <= 0xfe6f) ||
        (character >= 0xff00 && character <= 0xff60) ||
        (character >= 0x1f300 && character <= 0x1faff) ||
        (character >= 0x20000 && character <= 0x3fffd)) {
        return 2;
    }
    return 1;
}

size_t cli_fit(struct pn_str text, size_t columns)
{
    size_t at = 0;
    size_t used = 0;

    while (at < text.len) {
        uint32_t character = ' ';
        size_t octets = decode(pn_str_sub(text, at, SIZE_MAX), &character);

        used += columns_of(character);
        if (used > columns) {
            return at;
        }
        at += octets > 0 ? octets : 1;
    }
    return at;
}

size_t cli_columns(struct pn_str text)
{
    size_t used = 0;

    while (text.len > 0) {
        uint32_t character = ' ';
        size_t octets = decode(text, &character);

        used += columns_of(character);
        text = pn_str_sub(text, octets > 0 ? octets : 1, SIZE_MAX);
    }
    return used;
}

enum cli_colour cli_state_colour(struct pn_str state)
{
    if (pn_str_eq(state, PN_STR("up")) || pn_str_eq(state, PN_STR("ok")) ||
        pn_str_eq(state, PN_STR("valid"))) {
        return CLI_GREEN;
    }
    if (pn_str_eq(state, PN_STR("down")) || pn_str_eq(state, PN_STR("problem")) ||
        pn_str_eq(state, PN_STR("parked")) || pn_str_eq(state, PN_STR("stopped")) ||
        pn_str_eq(state, PN_STR("invalid"))) {
        return CLI_RED;
    }
    if (pn_str_eq(state, PN_STR("held")) || pn_str_eq(state, PN_STR("ramp")) ||
        pn_str_eq(state, PN_STR("warning")) || pn_str_eq(state, PN_STR("in-doubt"))) {
        return CLI_YELLOW;
    }
    return CLI_PLAIN;
}

void cli_put_coloured(struct pn_buf *out, enum cli_colour colour, bool colours,
                      struct pn_str text)
{
    static const char *const starts[] = {[CLI_PLAIN] = "",
                                         [CLI_GREEN] = "\033[32m",
                                         [CLI_YELLOW] = "\033[33m",
                                         [CLI_RED] = "\033[31m",
                                         [CLI_BOLD] = "\033[1m"};
    bool coloured = colours && colour != CLI_PLAIN;

    cli_put_z(out, coloured ? starts[colour] : "");
    pn_assert(pn_buf_append(out, text) == 0);
    cli_put_z(out, coloured ? "\033[0m" : "");
}
