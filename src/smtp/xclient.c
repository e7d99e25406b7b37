/*
 * smtp/xclient.c - the arguments of XCLIENT: one row for each attribute.
 *
 * A front end is trusted with the truth, not with the form: values go into trace headers,
 * logs and records, so each is decoded, bounded and judged as if a stranger had sent it. An
 * attribute that comes twice is an error, since two readers could believe different ones.
 */
#include "postern/smtp/xclient.h"

#include "postern/base/mem.h"

#include <string.h>

/* Takes a decoded value; "" stands for "not known". */
typedef bool take_fn(struct pn_str value, struct smtp_xclient *out);

static bool is_safe(struct pn_str value)
{
    return pn_str_is_utf8(value) && !pn_str_has_control(value);
}

static void keep(struct pn_str value, char out[SMTP_XCLIENT_VALUE_MAX + 1])
{
    if (value.len > 0) {
        memcpy(out, value.ptr, value.len);
    }
    out[value.len] = '\0';
}

static bool take_name(struct pn_str value, struct smtp_xclient *out)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (!pn_is_alnum(c) && c != '.' && c != '-' && c != '_') {
            return false;
        }
    }
    keep(value, out->name);
    return true;
}

static bool read_ip(struct pn_str value, struct pn_ip *out)
{
    bool v6 = pn_str_starts_nocase(value, PN_STR("IPV6:"));

    *out = (struct pn_ip){0};
    if (value.len == 0) {
        return true;
    }
    if (v6) {
        value = pn_str_sub(value, 5, SIZE_MAX);
    }
    return (pn_str_find(value, ':') < value.len) == v6 && pn_ip_parse(value, out) &&
           !pn_ip_is_unspecified(out);
}

static bool read_port(struct pn_str value, uint16_t *out)
{
    uint64_t port = 0;
    bool good = value.len == 0 || pn_str_to_u64(value, UINT16_MAX, &port);

    *out = (uint16_t)port;
    return good;
}

static bool take_addr(struct pn_str value, struct smtp_xclient *out)
{
    return read_ip(value, &out->ip);
}

static bool take_port(struct pn_str value, struct smtp_xclient *out)
{
    return read_port(value, &out->port);
}

static bool take_proto(struct pn_str value, struct smtp_xclient *out)
{
    out->extended = pn_str_eq_nocase(value, PN_STR("ESMTP"));
    return out->extended || value.len == 0 || pn_str_eq_nocase(value, PN_STR("SMTP"));
}

static bool take_helo(struct pn_str value, struct smtp_xclient *out)
{
    if (!is_safe(value)) {
        return false;
    }
    keep(value, out->helo);
    return true;
}

static bool take_login(struct pn_str value, struct smtp_xclient *out)
{
    if (!is_safe(value)) {
        return false;
    }
    keep(value, out->login);
    return true;
}

static bool take_dest_addr(struct pn_str value, struct smtp_xclient *out)
{
    struct pn_ip ip;

    (void)out;
    return read_ip(value, &ip);
}

static bool take_dest_port(struct pn_str value, struct smtp_xclient *out)
{
    uint16_t port;

    (void)out;
    return read_port(value, &port);
}

static const struct {
    const char *name;
    enum smtp_xclient_attribute attribute;
    take_fn *take;
} attributes[] = {
    {"NAME", SMTP_XCLIENT_NAME, take_name},
    {"ADDR", SMTP_XCLIENT_ADDR, take_addr},
    {"PORT", SMTP_XCLIENT_PORT, take_port},
    {"PROTO", SMTP_XCLIENT_PROTO, take_proto},
    {"HELO", SMTP_XCLIENT_HELO, take_helo},
    {"LOGIN", SMTP_XCLIENT_LOGIN, take_login},
    {"DESTADDR", SMTP_XCLIENT_DESTADDR, take_dest_addr},
    {"DESTPORT", SMTP_XCLIENT_DESTPORT, take_dest_port},
};

static int hex_digit(char c)
{
    if (pn_is_digit(c)) {
        return c - '0';
    }
    c = pn_to_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3461 section 4. False: it is no xtext, or too long. */
static bool decode(struct pn_str text, char out[SMTP_XCLIENT_VALUE_MAX], size_t *out_len)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (len == SMTP_XCLIENT_VALUE_MAX || c == '=') {
            return false;
        }
        if (c == '+') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.ptr[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(uint8_t)(high << 4 | low);
            i += 2;
        }
        out[len++] = c;
    }
    *out_len = len;
    return true;
}

static bool is_unknown(struct pn_str value)
{
    return pn_str_eq_nocase(value, PN_STR("[UNAVAILABLE]")) ||
           pn_str_eq_nocase(value, PN_STR("[TEMPUNAVAIL]"));
}

static bool refuse(const char *text, struct pn_str name, struct smtp_reply *out)
{
    smtp_reply_set(out, 501, "5.5.4", "%s %.*s", text, PN_FMT(name));
    return false;
}

static bool take(struct pn_str name, struct pn_str value, struct smtp_xclient *out,
                 struct smtp_reply *out_reply)
{
    char decoded[SMTP_XCLIENT_VALUE_MAX];
    size_t len = 0;

    for (size_t i = 0; i < PN_COUNT(attributes); i++) {
        if (!pn_str_eq_nocase(name, pn_str_z(attributes[i].name))) {
            continue;
        }
        if (value.len == 0 || out->told & attributes[i].attribute ||
            (!is_unknown(value) && !decode(value, decoded, &len)) ||
            !attributes[i].take((struct pn_str){decoded, len}, out)) {
            return refuse("Bad value of", pn_str_z(attributes[i].name), out_reply);
        }
        out->told |= attributes[i].attribute;
        return true;
    }
    return refuse("XCLIENT takes " SMTP_XCLIENT_NAMES ", not", pn_str_sub(name, 0, 32),
                  out_reply);
}

bool smtp_xclient_parse(struct pn_str args, struct smtp_xclient *out,
                        struct smtp_reply *out_reply)
{
    *out = (struct smtp_xclient){0};
    args = pn_str_trim(args);
    do {
        struct pn_str value = pn_str_cut(&args, ' ');
        bool pair = pn_str_find(value, '=') < value.len;
        struct pn_str name = pn_str_cut(&value, '=');

        if (!pair) {
            return refuse("XCLIENT takes NAME=value, not", pn_str_sub(name, 0, 32), out_reply);
        }
        if (!take(name, value, out, out_reply)) {
            return false;
        }
        args = pn_str_trim(args);
    } while (args.len > 0);
    return true;
}
