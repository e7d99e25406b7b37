/*
 * route.c - in which order the addresses of a target are tried.
 */
#include "postern/route/route.h"

static bool has(const struct pn_ip *list, size_t count, const struct pn_ip *ip)
{
    for (size_t i = 0; i < count; i++) {
        if (pn_ip_eq(&list[i], ip)) {
            return true;
        }
    }
    return false;
}

/* Moves *at to the next address that can be a target and is not in out yet; NULL: none. */
static const struct pn_ip *next_of(const struct pn_ip *list, size_t count, size_t *at,
                                   const struct pn_ip *out, size_t used)
{
    while (*at < count) {
        const struct pn_ip *ip = &list[(*at)++];

        if (ip->family != PN_FAMILY_NONE && !pn_ip_is_unspecified(ip) && !has(out, used, ip)) {
            return ip;
        }
    }
    return NULL;
}

size_t route_order(const struct pn_ip *v6, size_t v6_count, const struct pn_ip *v4,
                   size_t v4_count, struct pn_ip out[ROUTE_ADDRESSES_MAX])
{
    size_t used = 0;
    size_t at6 = 0;
    size_t at4 = 0;

    while (at6 < v6_count || at4 < v4_count) {
        const struct pn_ip *ip = next_of(v6, v6_count, &at6, out, used);

        if (ip && used < ROUTE_ADDRESSES_MAX) {
            out[used++] = *ip;
        }
        ip = next_of(v4, v4_count, &at4, out, used);
        if (ip && used < ROUTE_ADDRESSES_MAX) {
            out[used++] = *ip;
        }
    }
    return used;
}

/* A listener on an unspecified address hears every address of its family, all of 127/8 too. */
static bool hears(const struct pn_ip *own, const struct pn_ip *to, const struct pn_ip *own_ips,
                  size_t own_ip_count)
{
    if (!pn_ip_is_unspecified(own)) {
        return pn_ip_eq(own, to);
    }
    return own->family == to->family && (pn_ip_is_loopback(to) || pn_ip_is_unspecified(to) ||
                                         has(own_ips, own_ip_count, to));
}

bool route_is_own(const struct pn_endpoint *to, const struct pn_endpoint *own, size_t own_count,
                  const struct pn_ip *own_ips, size_t own_ip_count)
{
    for (size_t i = 0; i < own_count; i++) {
        if (own[i].port == to->port && hears(&own[i].ip, &to->ip, own_ips, own_ip_count)) {
            return true;
        }
    }
    return false;
}
