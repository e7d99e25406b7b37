/*
 * route/sts.h - MTA-STS policies (RFC 8461), as they are published. Pure.
 *
 * A domain says in a TXT record that it has a policy and which version, and has the policy on
 * a web server whose certificate is checked. Both texts come from strangers.
 */
#ifndef POSTERN_ROUTE_STS_H
#define POSTERN_ROUTE_STS_H

#include <stdbool.h>

#include "postern/base/str.h"

#define ROUTE_STS_ID_CHARS   33
#define ROUTE_STS_POLICY_MAX 65536 /* octets of a policy */
#define ROUTE_STS_MX_MAX     64    /* patterns that are kept */
#define ROUTE_STS_AGE_MAX_S  31557600

enum route_sts_mode { ROUTE_STS_NONE, ROUTE_STS_TESTING, ROUTE_STS_ENFORCE };

struct route_sts {
    enum route_sts_mode mode;
    int64_t max_age_s;
    char *mx[ROUTE_STS_MX_MAX]; /* lower case, perhaps with "*." in front; owned */
    size_t mx_count;
};

/* Is this TXT record one of MTA-STS? Then *out_id is the policy's id, "" if it has none. */
bool route_sts_record(struct pn_str text, char out_id[ROUTE_STS_ID_CHARS]);

/* NULL and *out, or what is wrong with the policy. */
const char *route_sts_parse(struct pn_str text, struct route_sts *out);
void route_sts_copy(const struct route_sts *from, struct route_sts *out);
void route_sts_fini(struct route_sts *policy); /* zeroed is fine */

/* May this host (lower case) be an MX host (RFC 8461 4.1)? */
bool route_sts_matches(const struct route_sts *policy, const char *host);

const char *route_sts_mode_name(enum route_sts_mode mode);

#endif
