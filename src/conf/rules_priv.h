/*
 * conf/rules_priv.h - what must hold between options, and inside texts like host names.
 *
 * Called when every value was read without a mistake.
 */
#ifndef POSTERN_CONF_RULES_PRIV_H
#define POSTERN_CONF_RULES_PRIV_H

#include "syntax_priv.h"

/* blocks[0] is the file's top level, the sections follow. */
void conf_rules_main(struct conf_reader *reader, const struct conf_block *block,
                     const struct conf *conf);
/* Also fills the listener's endpoints. */
void conf_rules_listener(struct conf_reader *reader, const struct conf_block *block,
                         struct conf_listener *listener);
void conf_rules_certificate(struct conf_reader *reader, const struct conf_block *block,
                            const struct conf_certificate *certificate);
/* Between the sections, when each is right in itself. */
void conf_rules_listeners(struct conf_reader *reader, const struct conf *conf);

/* A smart host: title, targets, whom and what it is for. */
void conf_rules_smart_host(struct conf_reader *reader, const struct conf_block *block,
                           struct conf_domain *domain, const struct conf *conf);
void conf_rules_outbound(struct conf_reader *reader, const struct conf_block *block,
                         struct conf_domain *domain, const struct conf *conf);
/* Between the smart hosts, when each is right in itself. */
void conf_rules_smart_hosts(struct conf_reader *reader, const struct conf *conf);

/* Says why name cannot be a relay domain; true when it can. */
bool conf_rules_domain_name(struct conf_reader *reader, struct pn_str name);
/* Also fills the domain's targets. conf may be NULL. */
void conf_rules_domain(struct conf_reader *reader, const struct conf_block *block,
                       struct conf_domain *domain, const struct conf *conf,
                       const struct pn_endpoint *own, size_t own_count);

/* The part of it that says where mail goes (targets.c). Fills what is made of those options. */
void conf_rules_targets(struct conf_reader *reader, const struct conf_block *block,
                        struct conf_domain *domain, const struct conf *conf,
                        const struct pn_endpoint *own, size_t own_count);

/* The part of it that is about recipients (recipients.c). Makes aliases lower case. */
void conf_rules_recipients(struct conf_reader *reader, const struct conf_block *block,
                           struct conf_domain *domain);

/* TLS with a next hop and the login there (trust.c). */
void conf_rules_trust(struct conf_reader *reader, const struct conf_block *block,
                      const struct conf_domain *domain);

/* What the block has for the option of that name; an empty one where it has no such option. */
const struct conf_setting *conf_rules_setting(const struct conf_block *block, const char *name);

/* A mistake when the option `least` is above the option `most`. */
void conf_rules_order(struct conf_reader *reader, const struct conf_block *block,
                      enum conf_option_index least, enum conf_option_index most,
                      int64_t least_ms, int64_t most_ms);

#endif
