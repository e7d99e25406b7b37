/*
 * admin/status_priv.h - what several handlers show.
 */
#ifndef POSTERN_ADMIN_STATUS_PRIV_H
#define POSTERN_ADMIN_STATUS_PRIV_H

#include "admin_priv.h"
#include "view_priv.h"

/* What there is to see now; for this turn. */
struct admin_view admin_view_of(const struct admin *admin);

/* Domain files with a mistake; at most ADMIN_STATUS_MAX of them are listed. */
json_t *admin_broken_json(const struct admin *admin, size_t *out_count);

/* How many rows a page has. */
size_t admin_page_limit(const struct admin_terms *terms);

#endif
