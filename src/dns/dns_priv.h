/*
 * dns/dns_priv.h - what only tests need of the resolver.
 */
#ifndef POSTERN_DNS_DNS_PRIV_H
#define POSTERN_DNS_DNS_PRIV_H

#include "postern/dns/resolver.h"

/* Instead of the 15 s that every query has; for queries asked from now on. */
void dns_resolver_set_deadline(struct resolver *resolver, int64_t deadline_ms);

#endif
