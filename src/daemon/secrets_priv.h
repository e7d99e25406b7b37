/*
 * daemon/secrets_priv.h - keys, certificates and credentials, as files: are they of use, and
 * who can read them? For --check and "domain check"; what is wrong is said as warnings.
 */
#ifndef POSTERN_DAEMON_SECRETS_PRIV_H
#define POSTERN_DAEMON_SECRETS_PRIV_H

#include "postern/conf/conf.h"
#include "postern/port/files.h"

/* The files of a next hop. file: whose options they are. */
void daemon_secrets_check(struct files *files, const char *file,
                          const struct conf_domain *domain, struct conf_mistakes *mistakes);

/* A server's certificate: does it expire? Whether it can be used is known already. */
void daemon_secrets_certificate(const char *file, const struct conf_certificate *certificate,
                                struct conf_mistakes *mistakes);

#endif
