/*
 * policy/sasl.h - logging in at somebody else's: SASL mechanisms, the client's side.
 *
 * What a mechanism says goes in and out as base64, as SMTP carries it. A server of SCRAM has
 * to prove that it knows the password too: until policy_sasl_done its word that the login
 * went well is worth nothing. libgsasl does the work; it draws nonces from the system.
 */
#ifndef POSTERN_POLICY_SASL_H
#define POSTERN_POLICY_SASL_H

#include "postern/base/buf.h"
#include "postern/conf/conf.h"

struct policy_sasl;

#define POLICY_SASL_LINE_MAX       12288  /* octets of one answer (RFC 4954 4) */
#define POLICY_SASL_ITERATIONS_MAX 200000 /* of SCRAM: a server must not keep us busy */

/* The strongest mechanism that is offered ("PLAIN LOGIN …"), allowed (enum conf_auth; 0: all)
 * and not among those that were tried. 0: there is none. */
unsigned policy_sasl_pick(struct pn_str offered, unsigned allowed, unsigned tried);
const char *policy_sasl_name(unsigned mechanism);

/* NULL: libgsasl does not have it. */
struct policy_sasl *policy_sasl_new(unsigned mechanism, const char *user, const char *password,
                                    struct pn_err *err);
void policy_sasl_free(struct policy_sasl **sasl); /* wipes the password */

/* Appends the initial response; nothing where the server speaks first. */
int policy_sasl_begin(struct policy_sasl *sasl, struct pn_buf *out,
                      struct pn_err *err) PN_WARN_UNUSED;
/* Appends the answer to a challenge, which may be empty. Negative: the server does not keep
 * to the mechanism, or does not know the password. */
int policy_sasl_step(struct policy_sasl *sasl, struct pn_str challenge, struct pn_buf *out,
                     struct pn_err *err) PN_WARN_UNUSED;
bool policy_sasl_done(const struct policy_sasl *sasl); /* nothing is missing */

#endif
