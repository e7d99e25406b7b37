/*
 * verify/list_line.c - one line of a recipient list.
 *
 * Addresses are held to the same grammar as in RCPT: what no client could ever ask for is a
 * broken line, and better shown than kept. A local part alone is read as an address of the
 * domain, so that one parser decides.
 */
#include "postern/verify/list.h"

#include "postern/base/mem.h"
#include "postern/mail/address.h"

#include <string.h>

#define LINE_MAX_OCTETS 1000 /* no address is as long, and no comment needs to be read */

/* Where the first blank outside of quotes is, or the end. */
static size_t word_len(struct pn_str line)
{
    bool quoted = false;

    for (size_t i = 0; i < line.len; i++) {
        char c = line.ptr[i];

        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == ' ' || c == '\t')) {
            return i;
        }
    }
    return line.len;
}

static bool is_ours(struct pn_str name, const struct conf_domain *domain, const char *candidate)
{
    struct pn_str ours = pn_str_z(candidate);

    return pn_str_eq(name, ours) ||
           (domain->subdomains && name.len > ours.len && pn_str_ends(name, ours) &&
            name.ptr[name.len - ours.len - 1] == '.');
}

static bool is_of_domain(const char *ascii, const struct conf_domain *domain)
{
    struct pn_str name = pn_str_z(ascii);

    for (size_t i = 0; i < domain->aliases.count; i++) {
        if (is_ours(name, domain, domain->aliases.items[i])) {
            return true;
        }
    }
    return is_ours(name, domain, domain->name);
}

static enum verify_line wild_card(struct pn_str name, const struct conf_domain *domain)
{
    char ascii[MAIL_DOMAIN_MAX + 1];

    if (name.len == 0) {
        return VERIFY_LINE_ALL;
    }
    if (!mail_domain_ascii(name, ascii)) {
        return VERIFY_LINE_BROKEN;
    }
    return is_of_domain(ascii, domain) ? VERIFY_LINE_ALL : VERIFY_LINE_FOREIGN;
}

static bool is_local(struct pn_str word)
{
    static const char domain[] = "@local.example";
    char text[MAIL_LOCAL_MAX + sizeof domain];
    struct mail_address address;

    if (word.len > MAIL_LOCAL_MAX) {
        return false;
    }
    memcpy(text, word.ptr, word.len);
    memcpy(text + word.len, domain, sizeof domain);
    return mail_address_parse((struct pn_str){text, word.len + sizeof domain - 1}, true,
                              &address) == MAIL_ADDRESS_OK;
}

enum verify_line verify_list_line(struct pn_str line, const struct conf_domain *domain,
                                  struct pn_str *out_local)
{
    struct mail_address address;
    struct pn_str word;
    struct pn_str rest;

    if (line.len > LINE_MAX_OCTETS) {
        return line.ptr[0] == '#' ? VERIFY_LINE_NOTHING : VERIFY_LINE_BROKEN;
    }
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    line = pn_str_trim(line);
    if (line.len == 0 || line.ptr[0] == '#') {
        return VERIFY_LINE_NOTHING;
    }
    word = pn_str_sub(line, 0, word_len(line));
    rest = pn_str_trim(pn_str_sub(line, word.len, SIZE_MAX));
    if (rest.len > 0 && rest.ptr[0] != '#') {
        return VERIFY_LINE_BROKEN;
    }
    if (word.ptr[0] == '@') {
        return wild_card(pn_str_sub(word, 1, SIZE_MAX), domain);
    }
    if (mail_address_parse(word, true, &address) == MAIL_ADDRESS_OK) {
        *out_local = address.local;
        return !address.literal && is_of_domain(address.ascii, domain) ? VERIFY_LINE_LOCAL
                                                                       : VERIFY_LINE_FOREIGN;
    }
    *out_local = word;
    return is_local(word) ? VERIFY_LINE_LOCAL : VERIFY_LINE_BROKEN;
}
