/*
 * admin/domain_priv.h - a relay domain between JSON and its file.
 */
#ifndef POSTERN_ADMIN_DOMAIN_PRIV_H
#define POSTERN_ADMIN_DOMAIN_PRIV_H

#include "admin_priv.h"
#include "json_priv.h"

#include "postern/mail/address.h"

/* All options as they are in force. */
json_t *admin_domain_options(const struct conf_domain *domain);

/*
 * The file's text from an object of options: strings, numbers, true, false, and lists of
 * them. PN_EINVAL with a sentence for a name that is no option and for what no file can
 * say; whether the values are right is the parser's to tell.
 */
int admin_domain_write(json_t *object, struct pn_buf *out, struct pn_err *err) PN_WARN_UNUSED;

/* The domain that the path names, in its compared form; refuses and is false if none. */
bool admin_domain_name(struct admin_ask *ask, char out[MAIL_DOMAIN_MAX + 1]);

#endif
