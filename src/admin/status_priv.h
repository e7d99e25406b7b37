/*
 * admin/status_priv.h - what several handlers show.
 */
#ifndef POSTERN_ADMIN_STATUS_PRIV_H
#define POSTERN_ADMIN_STATUS_PRIV_H

#include "admin_priv.h"
#include "view_priv.h"

#include "postern/mail/address.h"

/* What there is to see now; for this turn. */
struct admin_view admin_view_of(const struct admin *admin);

/* Domain files with a mistake; at most ADMIN_STATUS_MAX of them are listed. */
json_t *admin_broken_json(const struct admin *admin, size_t *out_count);

/* A queue's name from "domain": as a domain is compared, or as it is (no longer one). */
struct pn_str admin_queue_name(struct pn_str given, char ascii[MAIL_DOMAIN_MAX + 1]);

/* How many rows a page has. */
size_t admin_page_limit(const struct admin_terms *terms);

#endif
