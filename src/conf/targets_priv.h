/*
 * conf/targets_priv.h - where a domain's mail goes: what is made of its options for that.
 */
#ifndef POSTERN_CONF_TARGETS_PRIV_H
#define POSTERN_CONF_TARGETS_PRIV_H

#include "postern/conf/conf.h"

/* "smtp:host:25,[2001:db8::1]:25;tls=may": equal where the next hop is the same, and is spoken
 * to in the same way. For the caller to free. */
char *conf_targets_destination(const struct conf_domain *domain);

/* The copy of another domain gets fallbacks and names of its own; it has no targets. */
void conf_targets_copy(struct conf_domain *domain);

/* Frees the targets, the fallbacks and what was made of source_address. */
void conf_targets_free(struct conf_domain *domain);

#endif
