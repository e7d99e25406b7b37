/*
 * route/sts.c - MTA-STS policies (RFC 8461), as they are published.
 *
 * A policy that has a mistake is no policy: then mail goes as if there were none, which is
 * what the sender of a broken policy gets from everybody. What is unknown is passed over,
 * since later versions may have more (3.2).
 */
#include "postern/route/sts.h"

#include "postern/base/mem.h"

#include <string.h>

#define NAME_MAX_OCTETS 253

/* ---- the TXT record ---- */

static bool is_id(struct pn_str id)
{
    if (id.len == 0 || id.len >= ROUTE_STS_ID_CHARS) {
        return false;
    }
    for (size_t i = 0; i < id.len; i++) {
        if (!pn_is_alnum(id.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool route_sts_record(struct pn_str text, char out_id[ROUTE_STS_ID_CHARS])
{
    out_id[0] = '\0';
    if (!pn_str_eq(pn_str_trim(pn_str_cut(&text, ';')), PN_STR("v=STSv1"))) {
        return false;
    }
    while (text.len > 0) {
        struct pn_str value = pn_str_trim(pn_str_cut(&text, ';'));
        struct pn_str key = pn_str_trim(pn_str_cut(&value, '='));

        value = pn_str_trim(value);
        if (pn_str_eq(key, PN_STR("id")) && is_id(value)) {
            memcpy(out_id, value.ptr, value.len);
            out_id[value.len] = '\0';
            return true;
        }
    }
    return true;
}

/* ---- the policy ---- */

static bool is_name(struct pn_str name)
{
    if (name.len == 0 || name.len > NAME_MAX_OCTETS || name.ptr[name.len - 1] == '.') {
        return false;
    }
    while (name.len > 0) {
        struct pn_str label = pn_str_cut(&name, '.');

        for (size_t i = 0; i < label.len; i++) {
            if (!pn_is_alnum(label.ptr[i]) && label.ptr[i] != '-' && label.ptr[i] != '_') {
                return false;
            }
        }
        if (label.len == 0) {
            return false;
        }
    }
    return true;
}

static const char *add_mx(struct route_sts *policy, struct pn_str pattern)
{
    bool wild = pn_str_starts(pattern, PN_STR("*."));
    char *copy;

    if (!is_name(pn_str_sub(pattern, wild ? 2 : 0, SIZE_MAX))) {
        return "an mx is no host name, and none with *. in front";
    }
    if (policy->mx_count == ROUTE_STS_MX_MAX) {
        return "it has more than 64 mx";
    }
    copy = pn_strndup(pattern);
    for (char *c = copy; *c != '\0'; c++) {
        *c = pn_to_lower(*c);
    }
    policy->mx[policy->mx_count++] = copy;
    return NULL;
}

/* Which fields have been seen: of those that come once the first counts (3.2). */
enum { HAS_VERSION = 1, HAS_MODE = 2, HAS_AGE = 4 };

static const char *read_mode(struct route_sts *policy, struct pn_str value)
{
    for (int mode = ROUTE_STS_NONE; mode <= ROUTE_STS_ENFORCE; mode++) {
        if (pn_str_eq(value, pn_str_z(route_sts_mode_name((enum route_sts_mode)mode)))) {
            policy->mode = (enum route_sts_mode)mode;
            return NULL;
        }
    }
    return "its mode is none of enforce, testing and none";
}

static const char *read_age(struct route_sts *policy, struct pn_str value)
{
    uint64_t seconds = 0;

    if (value.len > 10 || !pn_str_to_u64(value, UINT64_MAX, &seconds)) {
        return "its max_age is no number of seconds";
    }
    policy->max_age_s = seconds < ROUTE_STS_AGE_MAX_S ? (int64_t)seconds : ROUTE_STS_AGE_MAX_S;
    return NULL;
}

static const char *read_field(struct route_sts *policy, struct pn_str key, struct pn_str value,
                              unsigned *seen)
{
    if (*seen == 0) {
        *seen = HAS_VERSION;
        return pn_str_eq(key, PN_STR("version")) && pn_str_eq(value, PN_STR("STSv1"))
                   ? NULL
                   : "it does not begin with \"version: STSv1\"";
    }
    if (pn_str_eq(key, PN_STR("mx"))) {
        return add_mx(policy, value);
    }
    if (pn_str_eq(key, PN_STR("mode")) && !(*seen & HAS_MODE)) {
        *seen |= HAS_MODE;
        return read_mode(policy, value);
    }
    if (pn_str_eq(key, PN_STR("max_age")) && !(*seen & HAS_AGE)) {
        *seen |= HAS_AGE;
        return read_age(policy, value);
    }
    return NULL;
}

static const char *read_lines(struct route_sts *policy, struct pn_str text, unsigned *seen)
{
    const char *why = NULL;

    while (text.len > 0 && !why) {
        struct pn_str line = pn_str_cut(&text, '\n');
        struct pn_str key;

        line.len -= pn_str_ends(line, PN_STR("\r"));
        if (pn_str_trim(line).len == 0) {
            continue;
        }
        if (pn_str_find(line, ':') == line.len || pn_str_has_control(line)) {
            return "a line is not \"name: value\"";
        }
        key = pn_str_trim(pn_str_cut(&line, ':'));
        why = read_field(policy, key, pn_str_trim(line), seen);
    }
    return why;
}

const char *route_sts_parse(struct pn_str text, struct route_sts *out)
{
    struct route_sts policy = {0};
    unsigned seen = 0;
    const char *why;

    if (text.len > ROUTE_STS_POLICY_MAX) {
        return "it is longer than 64 KiB";
    }
    why = read_lines(&policy, text, &seen);
    if (!why && seen != (HAS_VERSION | HAS_MODE | HAS_AGE)) {
        why = "version, mode or max_age is missing";
    }
    if (!why && policy.mode != ROUTE_STS_NONE && policy.mx_count == 0) {
        why = "it has no mx";
    }
    if (why) {
        route_sts_fini(&policy);
        return why;
    }
    *out = policy;
    return NULL;
}

void route_sts_copy(const struct route_sts *from, struct route_sts *out)
{
    *out = *from;
    for (size_t i = 0; i < from->mx_count; i++) {
        out->mx[i] = pn_strdup(from->mx[i]);
    }
}

void route_sts_fini(struct route_sts *policy)
{
    for (size_t i = 0; i < policy->mx_count; i++) {
        free(policy->mx[i]);
    }
    *policy = (struct route_sts){0};
}

/* A wild card stands for the leftmost label, and for one only (RFC 8461 4.1). */
bool route_sts_matches(const struct route_sts *policy, const char *host)
{
    struct pn_str name = pn_str_z(host);
    struct pn_str parent = name;

    (void)pn_str_cut(&parent, '.');
    for (size_t i = 0; i < policy->mx_count; i++) {
        struct pn_str pattern = pn_str_z(policy->mx[i]);
        bool wild = pn_str_starts(pattern, PN_STR("*."));

        if (wild ? parent.len > 0 && pn_str_eq(pn_str_sub(pattern, 2, SIZE_MAX), parent)
                 : pn_str_eq(pattern, name)) {
            return true;
        }
    }
    return false;
}

const char *route_sts_mode_name(enum route_sts_mode mode)
{
    static const char *const names[] = {
        [ROUTE_STS_NONE] = "none",
        [ROUTE_STS_TESTING] = "testing",
        [ROUTE_STS_ENFORCE] = "enforce",
    };

    return names[mode];
}
