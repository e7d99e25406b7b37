/*
 * route/route.h - in which order the addresses of a target are tried. Pure.
 */
#ifndef POSTERN_ROUTE_ROUTE_H
#define POSTERN_ROUTE_ROUTE_H

#include "postern/base/ip.h"

#define ROUTE_ADDRESSES_MAX 32

/*
 * Orders a host's addresses by happy eyeballs (RFC 8305 4): the first of IPv6, the first of
 * IPv4, the second of IPv6, …; doubles are dropped, and what can never be a target:
 * unspecified addresses. Returns how many are left, at most ROUTE_ADDRESSES_MAX.
 */
size_t route_order(const struct pn_ip *v6, size_t v6_count, const struct pn_ip *v4,
                   size_t v4_count, struct pn_ip out[ROUTE_ADDRESSES_MAX]);

/* Does `to` lead back to one of our own endpoints? An own endpoint with an unspecified
 * address stands for every address in own_ips. */
bool route_is_own(const struct pn_endpoint *to, const struct pn_endpoint *own, size_t own_count,
                  const struct pn_ip *own_ips, size_t own_ip_count);

#endif
