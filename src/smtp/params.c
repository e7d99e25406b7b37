/*
 * smtp/params.c - the parameters of MAIL and RCPT: one row each.
 *
 * A row names a parameter, the command it belongs to, and the function that reads its
 * value. What is known is thus what is in the table; everything else gets 555, since it
 * was not offered. Values of ENVID and ORCPT stay xtext: they are judged by what they
 * decode to, because a newline in there would one day stand in a report (FAULTS 3.3).
 */
#include "params_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define ENVID_DECODED_MAX 100 /* RFC 3461 4.4 */
#define ORCPT_MAX         500 /* RFC 3461 4.2 */

static bool refuse(struct smtp_event *out, int code, const char *enhanced, const char *text)
{
    smtp_reply_set(&out->reply, code, enhanced, "%s", text);
    return false;
}

static int hex_digit(char c)
{
    if (pn_is_digit(c)) {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/*
 * Is s xtext (RFC 3461 section 4) of printable ASCII? With utf8, octets above 0x7f may
 * stand for themselves (RFC 6533 section 3).
 */
static bool xtext_ok(struct pn_str s, size_t decoded_max, bool utf8)
{
    size_t decoded = 0;

    for (size_t i = 0; i < s.len; i++, decoded++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c == '+') {
            int high = i + 2 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
            int low = i + 2 < s.len ? hex_digit(s.ptr[i + 2]) : -1;

            if (high < 2 || high > 7 || low < 0 || (high == 7 && low == 15)) {
                return false;
            }
            i += 2;
        } else if (c <= ' ' || c == '=' || c == 0x7f || (c > 0x7f && !utf8)) {
            return false;
        }
    }
    return s.len > 0 && decoded <= decoded_max && pn_str_is_utf8(s);
}

static bool parse_size(struct pn_str value, const struct smtp_facts *facts,
                       struct smtp_event *out)
{
    for (size_t i = 0; i < value.len; i++) {
        if (!pn_is_digit(value.ptr[i])) {
            return refuse(out, 501, "5.5.4", "SIZE takes a decimal number");
        }
    }
    if (!pn_str_to_u64(value, UINT64_MAX, &out->size_octets) ||
        out->size_octets > facts->message_octets) {
        return refuse(out, 552, "5.3.4", "The message is larger than we take");
    }
    out->size_known = true;
    return true;
}

static bool parse_body(struct pn_str value, const struct smtp_facts *facts,
                       struct smtp_event *out)
{
    (void)facts;
    if (pn_str_eq_nocase(value, PN_STR("BINARYMIME"))) {
        return refuse(out, 555, "5.5.4", "BINARYMIME is not offered");
    }
    if (pn_str_eq_nocase(value, PN_STR("8BITMIME"))) {
        out->flags |= MAIL_8BITMIME;
    } else if (!pn_str_eq_nocase(value, PN_STR("7BIT"))) {
        return refuse(out, 501, "5.5.4", "BODY is 7BIT or 8BITMIME");
    }
    return true;
}

static bool parse_smtputf8(struct pn_str value, const struct smtp_facts *facts,
                           struct smtp_event *out)
{
    (void)value;
    (void)facts;
    out->flags |= MAIL_SMTPUTF8;
    return true;
}

static bool parse_ret(struct pn_str value, const struct smtp_facts *facts,
                      struct smtp_event *out)
{
    (void)facts;
    if (pn_str_eq_nocase(value, PN_STR("FULL"))) {
        out->ret = MAIL_RET_FULL;
    } else if (pn_str_eq_nocase(value, PN_STR("HDRS"))) {
        out->ret = MAIL_RET_HDRS;
    } else {
        return refuse(out, 501, "5.5.4", "RET is FULL or HDRS");
    }
    return true;
}

static bool parse_envid(struct pn_str value, const struct smtp_facts *facts,
                        struct smtp_event *out)
{
    (void)facts;
    if (!xtext_ok(value, ENVID_DECODED_MAX, false)) {
        return refuse(out, 501, "5.5.4", "ENVID takes at most 100 printable characters");
    }
    out->envid = value;
    return true;
}

static unsigned notify_bit(struct pn_str name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } bits[] = {
        {"NEVER", MAIL_NOTIFY_NEVER},
        {"SUCCESS", MAIL_NOTIFY_SUCCESS},
        {"FAILURE", MAIL_NOTIFY_FAILURE},
        {"DELAY", MAIL_NOTIFY_DELAY},
    };

    for (size_t i = 0; i < PN_COUNT(bits); i++) {
        if (pn_str_eq_nocase(name, pn_str_z(bits[i].name))) {
            return bits[i].bit;
        }
    }
    return 0;
}

static bool parse_notify(struct pn_str value, const struct smtp_facts *facts,
                         struct smtp_event *out)
{
    (void)facts;
    for (size_t at = 0; at <= value.len;) {
        struct pn_str rest = pn_str_sub(value, at, value.len);
        struct pn_str name = pn_str_sub(rest, 0, pn_str_find(rest, ','));
        unsigned bit = notify_bit(name);

        if (bit == 0) {
            return refuse(out, 501, "5.5.4", "NOTIFY is NEVER, or of SUCCESS,FAILURE,DELAY");
        }
        out->notify |= bit;
        at += name.len + 1;
    }
    if ((out->notify & MAIL_NOTIFY_NEVER) && !pn_str_eq_nocase(value, PN_STR("NEVER"))) {
        return refuse(out, 501, "5.5.4", "NOTIFY=NEVER stands alone");
    }
    return true;
}

static bool parse_orcpt(struct pn_str value, const struct smtp_facts *facts,
                        struct smtp_event *out)
{
    struct pn_str text = value;
    struct pn_str type = pn_str_cut(&text, ';');
    bool utf8 = facts->utf8 && pn_str_eq_nocase(type, PN_STR("utf-8"));
    bool ok = type.len > 0 && value.len <= ORCPT_MAX && xtext_ok(text, ORCPT_MAX, utf8);

    for (size_t i = 0; i < type.len; i++) {
        ok = ok && (pn_is_alnum(type.ptr[i]) || type.ptr[i] == '-');
    }
    if (!ok) {
        return refuse(out, 501, "5.5.4", "ORCPT takes a type, \";\" and an address as xtext");
    }
    out->orcpt = value;
    return true;
}

struct param {
    const char *name;
    enum smtp_event_kind command;
    bool value; /* it has one, and must have one */
    bool (*parse)(struct pn_str value, const struct smtp_facts *facts, struct smtp_event *out);
};

static const struct param params[] = {
    {"SIZE", SMTP_EV_MAIL, true, parse_size},
    {"BODY", SMTP_EV_MAIL, true, parse_body},
    {"SMTPUTF8", SMTP_EV_MAIL, false, parse_smtputf8},
    {"RET", SMTP_EV_MAIL, true, parse_ret},
    {"ENVID", SMTP_EV_MAIL, true, parse_envid},
    {"NOTIFY", SMTP_EV_RCPT, true, parse_notify},
    {"ORCPT", SMTP_EV_RCPT, true, parse_orcpt},
};

static const struct param *find_param(struct pn_str name, enum smtp_event_kind command)
{
    for (size_t i = 0; i < PN_COUNT(params); i++) {
        if (params[i].command == command && pn_str_eq_nocase(name, pn_str_z(params[i].name))) {
            return &params[i];
        }
    }
    return NULL;
}

static bool keyword_ok(struct pn_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!pn_is_alnum(name.ptr[i]) && name.ptr[i] != '-') {
            return false;
        }
    }
    return name.len > 0 && name.ptr[0] != '-';
}

static bool parse_one(struct pn_str text, unsigned *seen, const struct smtp_facts *facts,
                      struct smtp_event *out)
{
    bool has_value = pn_str_find(text, '=') < text.len;
    struct pn_str value = text;
    struct pn_str name = pn_str_cut(&value, '=');
    const struct param *param = find_param(name, out->kind);

    if (!keyword_ok(name)) {
        return refuse(out, 501, "5.5.4", "That is no parameter");
    }
    if (!param) {
        return refuse(out, 555, "5.5.4", "The parameter is not known here");
    }
    if (*seen & (1U << (param - params))) {
        return refuse(out, 501, "5.5.4", "A parameter comes once only");
    }
    *seen |= 1U << (param - params);
    if (has_value != param->value || (has_value && value.len == 0)) {
        return refuse(out, 501, "5.5.4",
                      param->value ? "The parameter needs a value" : "It takes no value");
    }
    return param->parse(value, facts, out);
}

bool smtp_params_parse(struct pn_str text, const struct smtp_facts *facts,
                       struct smtp_event *out)
{
    unsigned seen = 0;

    if (text.len > 0 && text.ptr[0] != ' ') {
        return refuse(out, 501, "5.5.4", "A blank stands before each parameter");
    }
    while (text.len > 0) {
        struct pn_str one = pn_str_cut(&text, ' ');

        if (one.len > 0 && !parse_one(one, &seen, facts, out)) {
            return false;
        }
    }
    return true;
}
