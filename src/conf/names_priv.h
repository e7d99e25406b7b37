/*
 * conf/names_priv.h - host names and targets, as configuration files write them.
 */
#ifndef POSTERN_CONF_NAMES_PRIV_H
#define POSTERN_CONF_NAMES_PRIV_H

#include "postern/conf/conf.h"

#define CONF_NAME_MAX 253 /* octets of a host name */

/* Why name is not a host name of letters, digits and hyphens; NULL when it is one. */
const char *conf_name_check(struct pn_str name);

/* Lower case of a name that has been checked, for the caller to free. */
char *conf_name_lower(struct pn_str name);

/*
 * "host[:port]", "192.0.2.1[:port]", "[2001:db8::1][:port]" or "2001:db8::1". Returns what
 * is wrong, or NULL and fills *out_target, whose host the caller frees.
 */
const char *conf_target_parse(struct pn_str text, uint16_t default_port,
                              struct conf_target *out_target);

#endif
