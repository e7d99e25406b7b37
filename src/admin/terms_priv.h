/*
 * admin/terms_priv.h - what a request names: filters, objects, pages. Pure.
 */
#ifndef POSTERN_ADMIN_TERMS_PRIV_H
#define POSTERN_ADMIN_TERMS_PRIV_H

#include "postern/base/err.h"
#include "postern/base/id.h"
#include "postern/base/str.h"

#include <jansson.h>

enum admin_term {
    ADMIN_DOMAIN = 1 << 0,
    ADMIN_SENDER = 1 << 1,
    ADMIN_RECIPIENT = 1 << 2,
    ADMIN_OLDER = 1 << 3,
    ADMIN_HELD = 1 << 4,
    ADMIN_PARKED = 1 << 5,
    ADMIN_ID = 1 << 6,
    ADMIN_ALL = 1 << 7,
    ADMIN_LIMIT = 1 << 8,
    ADMIN_AFTER = 1 << 9,
    ADMIN_NAME = 1 << 10,
    ADMIN_PATH = 1 << 11,
    ADMIN_CREATE = 1 << 12,
    ADMIN_MESSAGES = 1 << 13,
    ADMIN_OBJECT = 1 << 14, /* the body is an object of its own kind; see `object` */
    ADMIN_ADDRESS = 1 << 15,
    ADMIN_ADDRESSES = 1 << 16, /* in bodies alone */
    ADMIN_INVALID = 1 << 17,
};
#define ADMIN_FILTER                                                                           \
    (ADMIN_DOMAIN | ADMIN_SENDER | ADMIN_RECIPIENT | ADMIN_OLDER | ADMIN_HELD | ADMIN_PARKED)

#define ADMIN_TEXT_MAX 4096 /* octets of one term */

struct admin_terms {
    unsigned given; /* enum admin_term */
    struct pn_str domain, sender, recipient, after, name, path, address;
    int64_t older_ms;
    struct pn_id id;
    bool held, parked, all, create, invalid;
    const json_t *addresses; /* strings; of the body */
    uint64_t limit, messages;
    json_t *object; /* the body; strings above borrow from it */
};

/* A query parameter, decoded, or NULL. */
typedef const char *admin_query_fn(void *owner, const char *name);

/*
 * Reads the terms that `allowed` has, from the body if there is one and from the query. A
 * term that is not known or not allowed in a body, or has a value of the wrong kind, is
 * PN_EINVAL with a sentence; nothing is left to be freed then.
 */
int admin_terms_read(struct admin_terms *terms, unsigned allowed, struct pn_str body,
                     admin_query_fn *query, void *owner, struct pn_err *err) PN_WARN_UNUSED;
void admin_terms_fini(struct admin_terms *terms);

/* The names of the terms in a set, for manuals: fn is called for each. */
typedef void admin_term_fn(void *owner, const char *name);
void admin_terms_each(unsigned set, admin_term_fn *fn, void *owner);

#endif
