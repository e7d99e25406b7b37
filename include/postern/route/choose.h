/*
 * route/choose.h - which queue a recipient's mail belongs to, and what a queue's name means.
 * Pure.
 *
 * A queue's name is kept with the mail, its meaning is not: it is looked up in the
 * configuration of the day, so a changed smart host takes effect on mail that waits.
 */
#ifndef POSTERN_ROUTE_CHOOSE_H
#define POSTERN_ROUTE_CHOOSE_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"

#define ROUTE_QUEUE_CHARS 272 /* a domain name, what stands in front of it, and NUL */
#define ROUTE_SAID_CHARS  300

struct route_choice {
    bool refused;                  /* there is no way: code, status and why are for a reply */
    enum conf_queue kind;          /* unless refused, like the queue's name */
    char queue[ROUTE_QUEUE_CHARS]; /* "" when refused */
    unsigned code;                 /* 550 */
    const char *status;            /* "5.1.2"; literal */
    char why[ROUTE_SAID_CHARS];    /* a sentence, fit for a reply and for people */
};

/*
 * sender is "local@domain", or "" for the null sender; recipient is "local@domain". Both are
 * texts as clients write them, U-labels and capitals too. A relay domain's mail goes to the
 * domain; other mail goes to the first smart host that is for this sender and this domain,
 * else to the one that is for all, else out to the domain's own MX hosts. Whether the client
 * may send it there is not asked here.
 */
void route_choose(const struct conf *conf, const struct domains *domains, struct pn_str sender,
                  struct pn_str recipient, struct route_choice *out);

/* By the form of the name alone. */
enum conf_queue route_queue_kind(struct pn_str queue);

/*
 * What the queue's name means now: a reference for the caller, who may keep it as long as
 * conf itself. NULL: nothing, and its mail is held (a domain or a smart host that is not
 * configured any more). For "out:…" each call makes a new definition.
 */
struct conf_domain *route_queue_domain(const struct conf *conf, const struct domains *domains,
                                       struct pn_str queue);

#endif
