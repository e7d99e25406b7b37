/*
 * dns/message_priv.h - names and answers as they stand in DNS messages. Pure.
 */
#ifndef POSTERN_DNS_MESSAGE_PRIV_H
#define POSTERN_DNS_MESSAGE_PRIV_H

#include "postern/port/resolver.h"

/* What is known about one question. Embedded; records are owned. */
struct dns_answer {
    enum resolver_status status;
    const char *why;
    uint32_t ttl_s;
    size_t count;
    struct resolver_record *records;
};

void dns_answer_fini(struct dns_answer *answer);
void dns_answer_copy(const struct dns_answer *from, struct dns_answer *to);
void dns_answer_fail(struct dns_answer *answer, const char *why);

/*
 * Reads a reply with rcode 0 and at least one record. Records of other types (CNAME) are
 * skipped, those with names that no host can have too; of too many the first are kept.
 * Whatever does not add up is RESOLVER_TEMPFAIL.
 */
void dns_answer_read(struct pn_str message, enum resolver_type type, struct dns_answer *out);

bool dns_message_is_truncated(struct pn_str message);

/* The name in lower case without the dot at its end; false when DNS hosts have no such name. */
bool dns_name_normalise(struct pn_str name, char out[RESOLVER_NAME_CHARS]);
/* "1.2.0.192.in-addr.arpa" and the like. */
void dns_name_reverse(const struct pn_ip *ip, char out[RESOLVER_NAME_CHARS]);

/* The DNS's own number of a type. */
int dns_type_number(enum resolver_type type);

#endif
