/*
 * ingress/verdict_priv.h - what a client is told: facts in, a reply out.
 *
 * Nothing in here does anything; who asks acts on the answer and sends it.
 */
#ifndef POSTERN_INGRESS_VERDICT_PRIV_H
#define POSTERN_INGRESS_VERDICT_PRIV_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"
#include "postern/smtp/event.h"
#include "postern/spool/spool.h"

void ingress_verdict_helo(const struct conf *conf, struct smtp_reply *out);

/* Is SIZE worth a look at the disk? The reserve covers less than this many times over. */
#define INGRESS_VERDICT_SMALL_OCTETS 65536

/* free_octets: of the file system; only looked at when a SIZE above SMALL was said. */
void ingress_verdict_mail(const struct conf *conf, enum spool_readiness readiness,
                          uint64_t free_octets, const struct smtp_event *event,
                          struct smtp_reply *out);

/*
 * The domain that takes the recipient, or NULL when it is refused. recipients: how many the
 * transaction has. The domain of <postmaster> is chosen here: the relay domain that our
 * host name lies in, else the first one there is.
 */
const struct conf_domain *ingress_verdict_rcpt(const struct conf *conf,
                                               const struct domains *domains,
                                               const struct smtp_event *event,
                                               size_t recipients, struct smtp_reply *out);

void ingress_verdict_data(enum spool_readiness readiness, struct smtp_reply *out);

/* received: Received fields of the message. True: nothing speaks against storing it. */
bool ingress_verdict_end(const struct conf *conf, const struct smtp_event *event,
                         unsigned received, struct smtp_reply *out);

/* The domain whose queue is to be flushed, or NULL when the client may not. */
const struct conf_domain *ingress_verdict_etrn(const struct conf *conf,
                                               const struct domains *domains,
                                               const struct pn_ip *client,
                                               const struct smtp_event *event,
                                               struct smtp_reply *out);

/* Is client one of the domain's own servers, as far as they are given by address? */
bool ingress_verdict_is_target(const struct conf_domain *domain, const struct pn_ip *client);

#endif
