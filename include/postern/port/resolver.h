/*
 * port/resolver.h - questions to the DNS, one resolver for each loop.
 *
 * A query is embedded by its asker. on_answer comes exactly once, on a later turn of the
 * loop, never inside resolver_ask, and never after resolver_cancel. Every query has a
 * deadline of its own (15 s), whatever the library does (FAULTS 6.3). Answers are
 * bounded: at most RESOLVER_RECORDS_MAX records; names are letters, digits, '-', '_' and
 * '.', lower case, without the dot at the end (FAULTS 6.9). No search list is used (6.8).
 *
 * Everything that is not a clear answer is RESOLVER_TEMPFAIL (FAULTS 6.7).
 */
#ifndef POSTERN_PORT_RESOLVER_H
#define POSTERN_PORT_RESOLVER_H

#include "postern/base/ip.h"
#include "postern/base/str.h"

#define RESOLVER_RECORDS_MAX 64
#define RESOLVER_NAME_CHARS  256

enum resolver_type {
    RESOLVER_A,
    RESOLVER_AAAA,
    RESOLVER_MX,
    RESOLVER_PTR,
    RESOLVER_TXT,
    RESOLVER_TLSA,
};

enum resolver_status { RESOLVER_FOUND, RESOLVER_NODATA, RESOLVER_NXDOMAIN, RESOLVER_TEMPFAIL };

struct resolver_record {
    struct pn_ip ip;                /* A, AAAA */
    uint16_t preference;            /* MX */
    char name[RESOLVER_NAME_CHARS]; /* MX host ("" for the null MX), PTR name */
    /* TXT: the strings joined; TLSA: the data. Borrowed from the answer. */
    const uint8_t *data;
    size_t len;
    uint8_t usage, selector, matching; /* TLSA */
};

struct resolver_answer {
    enum resolver_status status;
    const char *why; /* for people; never NULL */
    /* DNSSEC-validated, CNAMEs on the way too: the AD bit of a resolver on this machine's
     * loopback (RFC 7672 2.1.1). Others' word is not taken. */
    bool validated;
    bool alias; /* there was a CNAME on the way */
    /* A, AAAA, TLSA: the name at the end of the CNAMEs, or that which was asked for. */
    char canonical[RESOLVER_NAME_CHARS];
    size_t count;
    const struct resolver_record *records; /* dies when on_answer returns */
};

struct resolver_query;
typedef void resolver_answer_fn(struct resolver_query *query,
                                const struct resolver_answer *answer);

struct resolver_query {
    resolver_answer_fn *on_answer; /* set by the asker */
    void *pending;                 /* the resolver's; NULL when not under way */
};

struct resolver;
struct resolver_ops {
    void (*ask)(struct resolver *resolver, struct resolver_query *query, const char *name,
                enum resolver_type type);
    void (*cancel)(struct resolver *resolver, struct resolver_query *query);
};
struct resolver {
    const struct resolver_ops *ops;
};

/* For RESOLVER_PTR, name is the address in text form. */
static inline void resolver_ask(struct resolver *resolver, struct resolver_query *query,
                                const char *name, enum resolver_type type)
{
    resolver->ops->ask(resolver, query, name, type);
}

static inline void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    if (query->pending) {
        resolver->ops->cancel(resolver, query);
    }
}

#endif
