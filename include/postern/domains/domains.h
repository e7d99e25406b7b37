/*
 * domains/domains.h - the table of relay domains: an immutable snapshot.
 *
 * A change of one file makes a new table that shares all other definitions with the old
 * one, and is posted to the workers. Names are compared as whole labels, in lower case
 * A-labels (FAULTS 3.19). Counted references, like every configuration snapshot.
 */
#ifndef POSTERN_DOMAINS_DOMAINS_H
#define POSTERN_DOMAINS_DOMAINS_H

#include "postern/base/str.h"
#include "postern/conf/conf.h"

struct domains;

struct domains *domains_new(void); /* empty */
struct domains *domains_ref(struct domains *domains);
void domains_unref(struct domains **domains);

/* One change: definition NULL removes the name. */
struct domains_change {
    struct pn_str name;
    struct conf_domain *definition; /* the table takes a reference of its own */
};

/* A new table: the old one with these changes. The old one stays as it is. */
struct domains *domains_with(const struct domains *old, const struct domains_change *changes,
                             size_t count);

/*
 * The domain that takes mail for name (lower case, A-labels, no dot at the end): itself, the
 * one that has it among its `aliases`, or the nearest parent (an alias among them) that has
 * `subdomains`. A definition of that name wins over an alias; of several domains with the
 * same alias the first in the order of names has it. NULL: we do not relay for it. Borrowed.
 */
const struct conf_domain *domains_find(const struct domains *domains, struct pn_str name);
/* The definition of exactly this name, aliases aside, or NULL. */
const struct conf_domain *domains_find_exact(const struct domains *domains, struct pn_str name);

size_t domains_count(const struct domains *domains);
/* In the order of names; index < domains_count. */
const struct conf_domain *domains_at(const struct domains *domains, size_t index);

#endif
