/*
 * httpd/listen_priv.h - the unix socket of the admin API.
 */
#ifndef POSTERN_HTTPD_LISTEN_PRIV_H
#define POSTERN_HTTPD_LISTEN_PRIV_H

#include "postern/base/err.h"

/*
 * A listening, non-blocking socket at path, or a negative PN_E…. See httpd_server_new for
 * what becomes of an old socket file, and of mode and group.
 */
int httpd_listen(const char *path, const char *group, struct pn_err *err) PN_WARN_UNUSED;

#endif
