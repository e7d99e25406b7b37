/*
 * conf/names.c - host names and targets, as configuration files write them.
 *
 * Names are A-labels here: a file is read by more than one program, and what a name with
 * other letters maps to is better decided once, by who writes it down.
 */
#include "names_priv.h"

#include "postern/base/mem.h"

#define LABEL_MAX_OCTETS 63

static const char *check_label(struct pn_str label)
{
    if (label.len == 0) {
        return "it has an empty label (a dot too many)";
    }
    if (label.len > LABEL_MAX_OCTETS) {
        return "a label of it is longer than 63 octets";
    }
    for (size_t i = 0; i < label.len; i++) {
        if (!pn_is_alnum(label.ptr[i]) && label.ptr[i] != '-') {
            return "a host name has letters, digits, hyphens and dots only";
        }
    }
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-') {
        return "a label of it begins or ends with a hyphen";
    }
    return NULL;
}

/* No top-level domain is a number: what looks like one is half an address. */
static bool all_digits(struct pn_str label)
{
    for (size_t i = 0; i < label.len; i++) {
        if (!pn_is_digit(label.ptr[i])) {
            return false;
        }
    }
    return true;
}

const char *conf_name_check(struct pn_str name)
{
    struct pn_str rest = name;

    if (name.len == 0) {
        return "it is empty";
    }
    if (!pn_str_is_ascii(name)) {
        return "write it as A-labels (xn--...)";
    }
    if (name.len > CONF_NAME_MAX) {
        return "it is longer than 253 octets";
    }
    if (name.ptr[name.len - 1] == '.') {
        return "leave out the dot at its end";
    }
    while (rest.len > 0) {
        struct pn_str label = pn_str_cut(&rest, '.');
        const char *why = check_label(label);

        if (why) {
            return why;
        }
        if (rest.len == 0 && all_digits(label)) {
            return "it ends with a number, as addresses do";
        }
    }
    return NULL;
}

static const char *take_port(struct pn_str text, uint16_t *port)
{
    uint64_t number = 0;

    if (!pn_str_to_u64(text, 65535, &number) || number == 0) {
        return "the port is a number from 1 to 65535";
    }
    *port = (uint16_t)number;
    return NULL;
}

char *conf_name_lower(struct pn_str text)
{
    char *copy = pn_strndup(text);

    for (char *c = copy; *c != '\0'; c++) {
        *c = pn_to_lower(*c);
    }
    return copy;
}

/* Splits off the port, if there is one; *host is then a name or an address alone. */
static const char *split_port(struct pn_str text, struct pn_str *host, bool *v6, uint16_t *port)
{
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t end = pn_str_find(text, ']');
        struct pn_str rest = pn_str_sub(text, end + 1, SIZE_MAX);

        *v6 = true;
        *host = pn_str_sub(text, 1, end > 0 ? end - 1 : 0);
        if (end == text.len || (rest.len > 0 && rest.ptr[0] != ':')) {
            return "write \"[2001:db8::1]\" or \"[2001:db8::1]:25\"";
        }
        return rest.len > 0 ? take_port(pn_str_sub(rest, 1, SIZE_MAX), port) : NULL;
    }
    *v6 = pn_str_find(text, ':') != pn_str_rfind(text, ':');
    if (*v6 || pn_str_find(text, ':') == text.len) {
        *host = text;
        return NULL;
    }
    *host = pn_str_cut(&text, ':');
    return take_port(text, port);
}

const char *conf_target_parse(struct pn_str text, uint16_t default_port,
                              struct conf_target *out_target)
{
    struct conf_target target = {.port = default_port};
    struct pn_str host = {0};
    bool v6 = false;
    char ip[PN_IP_CHARS];
    const char *why = split_port(text, &host, &v6, &target.port);

    if (why) {
        return why;
    }
    target.literal = pn_ip_parse(host, &target.ip);
    if (target.literal && v6 != (pn_str_find(host, ':') < host.len)) {
        return "brackets are for IPv6 addresses only";
    }
    if (target.literal && pn_ip_is_unspecified(&target.ip)) {
        return "this is the address of no host";
    }
    if (!target.literal && v6) {
        return "this is no IPv6 address; write \"[2001:db8::1]:25\"";
    }
    why = target.literal ? NULL : conf_name_check(host);
    if (why) {
        return why;
    }
    target.host =
        target.literal ? pn_strdup(pn_ip_format(&target.ip, ip)) : conf_name_lower(host);
    *out_target = target;
    return NULL;
}
