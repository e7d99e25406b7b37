// links: mail base
/*
 * What the address parser accepts, it accepts again from its own words, with the same
 * parts; what it hands out lies inside what it was given.
 */
#include "postern/base/assert.h"
#include "postern/base/buf.h"
#include "postern/mail/address.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

static bool inside(struct pn_str part, struct pn_str whole)
{
    return part.len == 0 ||
           (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void check_same(const struct mail_address *a, const struct mail_address *b)
{
    pn_assert(pn_str_eq(a->text, b->text));
    pn_assert(pn_str_eq(a->local, b->local));
    pn_assert(pn_str_eq(a->domain, b->domain));
    pn_assert(strcmp(a->ascii, b->ascii) == 0);
    pn_assert(a->literal == b->literal && a->utf8 == b->utf8);
}

static void check_bounds(const struct mail_address *address)
{
    char again[MAIL_DOMAIN_MAX + 1];

    pn_assert(address->local.len <= MAIL_LOCAL_MAX);
    pn_assert(address->domain.len <= MAIL_DOMAIN_MAX);
    pn_assert(address->text.len <= MAIL_ADDRESS_MAX);
    pn_assert(!pn_str_has_control(address->text) && pn_str_is_utf8(address->text));
    if (address->ascii[0] != '\0') {
        pn_assert(mail_domain_ascii(pn_str_z(address->ascii), again));
        pn_assert(strcmp(again, address->ascii) == 0);
    }
}

static void check_path(struct pn_str input)
{
    struct mail_address address;
    struct mail_address again;
    struct pn_str rest = input;
    struct pn_str text;
    struct pn_buf path;

    if (mail_path_parse(&rest, true, true, true, &address) != MAIL_ADDRESS_OK) {
        pn_assert(rest.ptr == input.ptr && rest.len == input.len);
        return;
    }
    pn_assert(inside(rest, input) && inside(address.text, input));
    pn_assert(inside(address.local, address.text) && inside(address.domain, address.text));
    check_bounds(&address);
    pn_buf_init(&path, 1024);
    pn_assert(pn_buf_append_char(&path, '<') == 0 && pn_buf_append(&path, address.text) == 0 &&
              pn_buf_append_char(&path, '>') == 0);
    text = pn_buf_str(&path);
    pn_assert(mail_path_parse(&text, true, true, address.utf8, &again) == MAIL_ADDRESS_OK);
    pn_assert(text.len == 0);
    check_same(&address, &again);
    if (address.domain.len > 0) {
        pn_assert(mail_address_parse(address.text, address.utf8, &again) == MAIL_ADDRESS_OK);
        check_same(&address, &again);
    }
    pn_buf_fini(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    struct pn_str input = {(const char *)octets, size};
    struct mail_address address;
    char name[MAIL_DOMAIN_MAX + 1];

    check_path(input);
    if (mail_address_parse(input, true, &address) == MAIL_ADDRESS_OK) {
        pn_assert(pn_str_eq(address.text, input));
        check_bounds(&address);
    }
    if (mail_domain_ascii(input, name)) {
        pn_assert(pn_str_is_ascii(pn_str_z(name)) && !pn_str_has_control(pn_str_z(name)));
    }
    return 0;
}
