/*
 * params_priv.h - the parameters of MAIL and RCPT, for command.c.
 */
#ifndef POSTERN_SMTP_PARAMS_PRIV_H
#define POSTERN_SMTP_PARAMS_PRIV_H

#include "command_priv.h"

/* out->kind (MAIL or RCPT) says which parameters are legal. False: out->reply is set. */
bool smtp_params_parse(struct pn_str text, const struct smtp_facts *facts,
                       struct smtp_event *out);

#endif
