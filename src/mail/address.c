/*
 * mail/address.c - mailboxes, read forwards once with a cursor (FAULTS 3.5).
 *
 * Each take_ function moves the cursor over one part and hands out the slice; what the
 * slices mean is checked once the delimiter behind the last of them was seen. There is no
 * default domain, no guess and no repair: the "no" of this parser is final (FAULTS 3.2).
 *
 * Domains above ASCII are held to IDNA 2008 without the mapping of UTS 46, because RFC 6531
 * asks for U-labels. The mapping would drop zero-width characters, so that two addresses
 * that look different to one program are the same to another (FAULTS 3.21).
 */
#include "postern/mail/address.h"

#include "postern/base/ip.h"

#include <idn2.h>

#include <string.h>

#define LABEL_MAX 63

static bool is_high(char c)
{
    return (unsigned char)c > 0x7f;
}

/* atext of RFC 5322 3.2.3, the dots between atoms, and what RFC 6531 adds. */
static bool in_atoms(char c)
{
    return pn_is_alnum(c) || is_high(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

/* Underscores are no host names, but they are in use, and Postfix takes them. */
static bool in_domain(char c)
{
    return pn_is_alnum(c) || is_high(c) || c == '-' || c == '_' || c == '.';
}

static bool next_is(struct pn_str cursor, char c)
{
    return cursor.len > 0 && cursor.ptr[0] == c;
}

static struct pn_str take(struct pn_str *cursor, size_t len)
{
    struct pn_str part = pn_str_sub(*cursor, 0, len);

    *cursor = pn_str_sub(*cursor, len, cursor->len);
    return part;
}

static bool take_octet(struct pn_str *cursor, char c)
{
    bool found = next_is(*cursor, c);

    take(cursor, found);
    return found;
}

/* The length of the quoted string at the front of s with both quotes; 0: there is none. */
static size_t quoted_len(struct pn_str s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"') {
            return i + 1;
        }
        if (s.ptr[i] == '\\' && (++i == s.len || is_high(s.ptr[i]))) {
            return 0;
        }
        if (pn_is_control(s.ptr[i])) {
            return 0;
        }
    }
    return 0;
}

static bool dots_in_place(struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '.' && (i == 0 || i + 1 == s.len || s.ptr[i - 1] == '.')) {
            return false;
        }
    }
    return s.len > 0;
}

static bool take_local(struct pn_str *cursor, struct pn_str *out)
{
    size_t len = 0;

    if (next_is(*cursor, '"')) {
        *out = take(cursor, quoted_len(*cursor));
        return out->len > 0;
    }
    while (len < cursor->len && in_atoms(cursor->ptr[len])) {
        len++;
    }
    *out = take(cursor, len);
    return dots_in_place(*out);
}

static bool take_domain(struct pn_str *cursor, struct pn_str *out)
{
    size_t len = 0;

    if (next_is(*cursor, '[')) {
        len = pn_str_find(*cursor, ']') + 1;
        if (len > cursor->len) {
            return false;
        }
    } else {
        while (len < cursor->len && in_domain(cursor->ptr[len])) {
            len++;
        }
    }
    *out = take(cursor, len);
    return out->len > 0 && !pn_str_has_control(*out);
}

/* "@first,@second:", which is accepted and dropped (RFC 5321 appendix C). */
static bool skip_route(struct pn_str *cursor)
{
    struct pn_str hop;

    if (!next_is(*cursor, '@')) {
        return true;
    }
    do {
        if (!take_octet(cursor, '@') || !take_domain(cursor, &hop)) {
            return false;
        }
    } while (take_octet(cursor, ','));
    return take_octet(cursor, ':');
}

/* C1 controls are as harmful to terminals as their ASCII relatives. */
static bool is_clean_utf8(struct pn_str s)
{
    for (size_t i = 0; i + 1 < s.len; i++) {
        if (s.ptr[i] == '\xc2' && (unsigned char)s.ptr[i + 1] < 0xa0) {
            return false;
        }
    }
    return pn_str_is_utf8(s);
}

/* [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3). */
static bool is_literal(struct pn_str domain)
{
    static const struct pn_str tag = {"IPv6:", 5};
    struct pn_str inside = pn_str_sub(domain, 1, domain.len - 2);
    bool tagged = pn_str_starts_nocase(inside, tag);
    struct pn_ip ip;

    if (tagged) {
        inside = pn_str_sub(inside, tag.len, inside.len);
    }
    return tagged == (pn_str_find(inside, ':') < inside.len) && pn_ip_parse(inside, &ip);
}

static bool label_ok(struct pn_str label)
{
    for (size_t i = 0; i < label.len; i++) {
        if (!in_domain(label.ptr[i]) || is_high(label.ptr[i])) {
            return false;
        }
    }
    return label.len > 0 && label.len <= LABEL_MAX && label.ptr[0] != '-' &&
           label.ptr[label.len - 1] != '-';
}

static bool all_digits(struct pn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!pn_is_digit(s.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* A name whose last label is a number is an address that lacks its brackets. */
static bool labels_ok(struct pn_str domain)
{
    bool number = false;

    for (size_t at = 0; at <= domain.len;) {
        struct pn_str rest = pn_str_sub(domain, at, domain.len);
        struct pn_str label = pn_str_sub(rest, 0, pn_str_find(rest, '.'));

        if (!label_ok(label)) {
            return false;
        }
        number = all_digits(label);
        at += label.len + 1;
    }
    return !number;
}

/* Puts A-labels for U-labels. In and out may be the same memory. */
static bool to_ascii(char name[MAIL_DOMAIN_MAX + 1])
{
    uint8_t *found = NULL;
    size_t len;
    bool ok;

    if (idn2_lookup_u8((const uint8_t *)name, &found, IDN2_NFC_INPUT | IDN2_NO_TR46) !=
        IDN2_OK) {
        return false;
    }
    len = strlen((const char *)found);
    ok = len <= MAIL_DOMAIN_MAX;
    if (ok) {
        memcpy(name, found, len + 1);
    }
    idn2_free(found);
    return ok;
}

bool mail_domain_ascii(struct pn_str domain, char out[MAIL_DOMAIN_MAX + 1])
{
    char name[MAIL_DOMAIN_MAX + 1];

    if (domain.len == 0 || domain.len > MAIL_DOMAIN_MAX || pn_str_has_control(domain)) {
        return false;
    }
    for (size_t i = 0; i < domain.len; i++) {
        name[i] = pn_to_lower(domain.ptr[i]);
    }
    name[domain.len] = '\0';
    if (!pn_str_is_ascii(domain) && (!pn_str_is_utf8(domain) || !to_ascii(name))) {
        return false;
    }
    if (!labels_ok(pn_str_z(name))) {
        return false;
    }
    memcpy(out, name, strlen(name) + 1);
    return true;
}

/* What the slices mean, once all of them are there. */
static enum mail_address_result check(struct mail_address *address, bool utf8_ok)
{
    address->utf8 = !pn_str_is_ascii(address->text);
    if (address->utf8 && (!utf8_ok || !is_clean_utf8(address->text))) {
        return MAIL_ADDRESS_SYNTAX;
    }
    if (address->local.len > MAIL_LOCAL_MAX || address->domain.len > MAIL_DOMAIN_MAX) {
        return MAIL_ADDRESS_TOO_LONG;
    }
    address->literal = next_is(address->domain, '[');
    if (address->literal ? !is_literal(address->domain)
                         : !mail_domain_ascii(address->domain, address->ascii)) {
        return MAIL_ADDRESS_DOMAIN;
    }
    return MAIL_ADDRESS_OK;
}

/* "local@domain" at the cursor. */
static bool take_mailbox(struct pn_str *cursor, struct mail_address *address)
{
    address->text.ptr = cursor->ptr;
    if (!take_local(cursor, &address->local) || !take_octet(cursor, '@') ||
        !take_domain(cursor, &address->domain)) {
        return false;
    }
    address->text.len = (size_t)(cursor->ptr - address->text.ptr);
    return true;
}

static bool is_postmaster(struct pn_str cursor)
{
    return pn_str_starts_nocase(cursor, PN_STR("postmaster>"));
}

enum mail_address_result mail_path_parse(struct pn_str *text, bool null_ok, bool postmaster_ok,
                                         bool utf8_ok, struct mail_address *out)
{
    struct mail_address address = {
        .text = PN_STR(""), .local = PN_STR(""), .domain = PN_STR("")};
    struct pn_str cursor = *text;
    enum mail_address_result result = MAIL_ADDRESS_OK;

    if (!take_octet(&cursor, '<')) {
        return MAIL_ADDRESS_SYNTAX;
    }
    if (postmaster_ok && is_postmaster(cursor)) {
        address.text = take(&cursor, strlen("postmaster"));
        address.local = address.text;
        take_octet(&cursor, '>');
    } else if (!(null_ok && take_octet(&cursor, '>'))) {
        if (!skip_route(&cursor) || !take_mailbox(&cursor, &address) ||
            !take_octet(&cursor, '>')) {
            return MAIL_ADDRESS_SYNTAX;
        }
        result = check(&address, utf8_ok);
    }
    if (result == MAIL_ADDRESS_OK) {
        *out = address;
        *text = cursor;
    }
    return result;
}

enum mail_address_result mail_address_parse(struct pn_str text, bool utf8_ok,
                                            struct mail_address *out)
{
    struct mail_address address = {.domain = PN_STR("")};
    struct pn_str cursor = text;
    enum mail_address_result result;

    if (!take_mailbox(&cursor, &address) || cursor.len > 0) {
        return MAIL_ADDRESS_SYNTAX;
    }
    result = check(&address, utf8_ok);
    if (result == MAIL_ADDRESS_OK) {
        *out = address;
    }
    return result;
}

bool mail_local_routes(struct pn_str local)
{
    return pn_str_find(local, '%') < local.len || pn_str_find(local, '!') < local.len ||
           pn_str_find(local, '@') < local.len;
}
