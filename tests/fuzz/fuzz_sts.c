/* links: route */
/*
 * fuzz_sts.c - MTA-STS records and policies, which come from strangers' DNS and web servers.
 *
 * A policy that is accepted must be one: written out again from what was understood, it is
 * understood in the same way.
 */
#include "postern/route/sts.h"

#include "postern/base/assert.h"
#include "postern/base/buf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_policy(const struct route_sts *policy, struct pn_buf *out)
{
    int status = pn_buf_printf(out, "version: STSv1\nmode: %s\nmax_age: %lld\n",
                               route_sts_mode_name(policy->mode), (long long)policy->max_age_s);

    for (size_t i = 0; i < policy->mx_count && status == 0; i++) {
        status = pn_buf_printf(out, "mx: %s\n", policy->mx[i]);
    }
    pn_assert(status == 0);
}

static void compare(const struct route_sts *a, const struct route_sts *b)
{
    pn_assert(a->mode == b->mode && a->max_age_s == b->max_age_s && a->mx_count == b->mx_count);
    for (size_t i = 0; i < a->mx_count; i++) {
        pn_assert(strcmp(a->mx[i], b->mx[i]) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_str text = {(const char *)data, size};
    char id[ROUTE_STS_ID_CHARS];
    struct route_sts policy = {0};
    struct route_sts again = {0};
    struct pn_buf out;

    if (!route_sts_record(text, id)) {
        pn_assert(id[0] == '\0');
    }
    if (route_sts_parse(text, &policy)) {
        return 0;
    }
    pn_assert(policy.max_age_s >= 0 && policy.max_age_s <= ROUTE_STS_AGE_MAX_S);
    pn_buf_init(&out, ROUTE_STS_POLICY_MAX);
    write_policy(&policy, &out);
    pn_assert(!route_sts_parse(pn_buf_str(&out), &again));
    compare(&policy, &again);
    for (size_t i = 0; i < policy.mx_count; i++) {
        pn_assert(policy.mx[i][0] == '*' || route_sts_matches(&policy, policy.mx[i]));
    }
    route_sts_fini(&policy);
    route_sts_fini(&again);
    pn_buf_fini(&out);
    return 0;
}
