/*
 * ingress/verdict_priv.h - what a client is told: facts in, a reply out.
 *
 * Nothing in here does anything; who asks acts on the answer and sends it.
 */
#ifndef POSTERN_INGRESS_VERDICT_PRIV_H
#define POSTERN_INGRESS_VERDICT_PRIV_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"
#include "postern/outbound/board.h"
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

/*
 * The capability mirror: what the target would refuse by what its last EHLO said. At RCPT
 * with the size that MAIL announced (0: none; our trace header comes on top) and whether an
 * address needs SMTPUTF8; at the end of a text with its own size, our header included, and
 * whether it is an SMTPUTF8 mail with UTF-8 in its header. True: nothing.
 */
bool ingress_verdict_mirror(const struct out_board_entry *target, uint64_t size_octets,
                            bool utf8_address, struct smtp_reply *out);
bool ingress_verdict_mirror_end(const struct out_board_entry *target, uint64_t text_octets,
                                bool utf8_header, struct smtp_reply *out);

/*
 * What a client is told when the target has said `from`: one reply of the same kind, with
 * the target's enhanced code, and its text unless that names the target's hosts. A 421
 * becomes a 451: it is not our session that ends.
 */
void ingress_verdict_pass(const struct conf_domain *domain, const struct smtp_reply *from,
                          struct smtp_reply *out);
/* Does it say that there is no such recipient? */
bool ingress_verdict_is_unknown(const struct smtp_reply *reply);

/* The domain whose queue is to be flushed, or NULL when the client may not. */
const struct conf_domain *ingress_verdict_etrn(const struct conf *conf,
                                               const struct domains *domains,
                                               const struct pn_ip *client,
                                               const struct smtp_event *event,
                                               struct smtp_reply *out);

/* Is client one of the domain's own servers, as far as they are given by address? */
bool ingress_verdict_is_target(const struct conf_domain *domain, const struct pn_ip *client);

#endif
