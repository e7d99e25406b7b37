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
    bool validated; /* the AD bit; whether to believe it is for others to say */
    bool alias;
    char canonical[RESOLVER_NAME_CHARS];
    size_t count;
    struct resolver_record *records;
    uint8_t *data; /* of all TXT and TLSA records, one behind the other */
    size_t data_len;
};

void dns_answer_fini(struct dns_answer *answer);
void dns_answer_copy(const struct dns_answer *from, struct dns_answer *to);
void dns_answer_fail(struct dns_answer *answer, const char *why);

/*
 * Reads a reply with rcode 0 and at least one record. What counts stands under the name that
 * was asked for, or under that to which its CNAMEs lead; names that no host can have are
 * passed over. Of too many records the first are kept, of MX records the most preferred. A
 * TLSA record that is too short to be one has usage 255 and no data: that it is there matters
 * (RFC 7672 2.2). Whatever does not add up is RESOLVER_TEMPFAIL.
 */
void dns_answer_read(struct pn_str message, enum resolver_type type, struct dns_answer *out);

unsigned dns_message_rcode(struct pn_str message); /* one that is too short has SERVFAIL */
bool dns_message_is_empty(struct pn_str message);  /* it has no answer records */
bool dns_message_is_truncated(struct pn_str message);

/* The name in lower case without the dot at its end; false when DNS hosts have no such name. */
bool dns_name_normalise(struct pn_str name, char out[RESOLVER_NAME_CHARS]);
/* "1.2.0.192.in-addr.arpa" and the like. */
void dns_name_reverse(const struct pn_ip *ip, char out[RESOLVER_NAME_CHARS]);

/* The DNS's own number of a type. */
int dns_type_number(enum resolver_type type);

#endif
