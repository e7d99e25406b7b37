/*
 * verify/local.c - the form in which local parts are compared.
 *
 * "user", "USER", "\"user\"" and "user+news" are one mailbox to most targets, so they must be
 * one entry in lists and among remembered answers, or each spelling would be asked again.
 * Quotes are taken off first, then the sub-address, and quotes are put back, in one way
 * only, where what is left needs them: no two local parts that differ by more than that get
 * the same form. Only ASCII letters are made lower case; what other letters fold to is not
 * for us to say (RFC 6531 3.2 leaves them as they are). "postmaster" is the same in any case
 * (RFC 5321 4.5.1), also where a domain is case-sensitive.
 */
#include "postern/verify/verify.h"

#include "postern/mail/address.h"

#include <string.h>

/* Copies the content of a quoted string, or all of a plain one; returns its length. */
static size_t unquote(struct pn_str local, char out[MAIL_LOCAL_MAX])
{
    bool quoted = local.len >= 2 && local.ptr[0] == '"';
    size_t end = quoted ? local.len - 1 : local.len;
    size_t len = 0;

    for (size_t i = quoted ? 1 : 0; i < end; i++) {
        if (quoted && local.ptr[i] == '\\' && i + 1 < end) {
            i++;
        }
        out[len++] = local.ptr[i];
    }
    return len;
}

/* The first delimiter behind the first octet: a local part is never all sub-address. */
static size_t cut_address(const char *delimiters, const char *local, size_t len)
{
    for (size_t i = 1; i < len && delimiters[0] != '\0'; i++) {
        if (local[i] != '\0' && strchr(delimiters, local[i])) {
            return i;
        }
    }
    return len;
}

/* A dot-atom of RFC 5322 3.2.3, with what RFC 6531 adds. */
static bool is_plain(const char *local, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = local[i];

        if (c == '.' ? i == 0 || i + 1 == len || local[i - 1] == '.'
                     : !pn_is_alnum(c) && (unsigned char)c < 0x80 &&
                           (c == '\0' || !strchr("!#$%&'*+-/=?^_`{|}~", c))) {
            return false;
        }
    }
    return len > 0;
}

static int put_quoted(struct pn_str local, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '"');

    for (size_t i = 0; i < local.len && status == 0; i++) {
        if (local.ptr[i] == '"' || local.ptr[i] == '\\') {
            status = pn_buf_append_char(out, '\\');
        }
        if (status == 0) {
            status = pn_buf_append_char(out, local.ptr[i]);
        }
    }
    return status != 0 ? status : pn_buf_append_char(out, '"');
}

/* A quoted local part may have an '@' in it, and ends with a quote; a domain does not. */
size_t verify_name_local(struct pn_str name)
{
    return pn_str_ends(name, PN_STR("\"")) ? name.len : pn_str_rfind(name, '@');
}

static bool is_below(const struct conf_domain *domain, struct pn_str name)
{
    struct pn_str above = pn_str_z(domain->name);

    return name.len > above.len && name.ptr[name.len - above.len - 1] == '.' &&
           pn_str_eq_nocase(pn_str_sub(name, name.len - above.len, SIZE_MAX), above);
}

struct pn_str verify_name(const struct conf_domain *domain, struct pn_str address,
                          char out[VERIFY_NAME_MAX])
{
    size_t at = verify_name_local(address);
    struct pn_str local = pn_str_sub(address, 0, at);
    char ascii[MAIL_DOMAIN_MAX + 1];
    size_t len;

    if (at >= address.len || at > MAIL_LOCAL_MAX ||
        !mail_domain_ascii(pn_str_sub(address, at + 1, SIZE_MAX), ascii) ||
        !is_below(domain, pn_str_z(ascii))) {
        return local;
    }
    len = strlen(ascii);
    memcpy(out, local.ptr, at);
    out[at] = '@';
    memcpy(out + at + 1, ascii, len);
    return (struct pn_str){out, at + 1 + len};
}

static int put_below(struct pn_str below, struct pn_buf *out)
{
    int status = 0;

    for (size_t i = 0; i < below.len && status == 0; i++) {
        status = pn_buf_append_char(out, pn_to_lower(below.ptr[i]));
    }
    return status;
}

bool verify_local(const struct conf_domain *domain, struct pn_str local, struct pn_buf *out)
{
    char content[MAIL_LOCAL_MAX];
    struct pn_str form = {content, 0};
    struct pn_str below = pn_str_sub(local, verify_name_local(local), SIZE_MAX);
    size_t before = out->len;
    int status;

    local.len -= below.len;
    if (local.len > MAIL_LOCAL_MAX) {
        return false;
    }
    form.len = unquote(local, content);
    form.len = cut_address(domain->recipient_delimiter, content, form.len);
    if (!domain->case_sensitive || pn_str_eq_nocase(form, PN_STR("postmaster"))) {
        for (size_t i = 0; i < form.len; i++) {
            content[i] = pn_to_lower(content[i]);
        }
    }
    status = is_plain(content, form.len) ? pn_buf_append(out, form) : put_quoted(form, out);
    status = status ? status : put_below(below, out);
    if (status != 0) {
        pn_buf_truncate(out, before);
    }
    return status == 0;
}
