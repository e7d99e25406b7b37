/*
 * conf/conf.h - the configuration: immutable snapshots made of options.def.
 *
 * struct conf is postern.conf, struct conf_domain one file of domains.d. Both are made
 * whole from a buffer or not at all, are never changed afterwards, and are reference
 * counted (atomically), so that any thread may keep the one it began with.
 *
 * Mistakes are collected, not thrown: each has file and line, and a sentence that names
 * the offending name and the nearest known one. Parsing happens on one thread at a time
 * (libconfuse's lexer is global); the caller sees to that.
 */
#ifndef POSTERN_CONF_CONF_H
#define POSTERN_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "postern/base/buf.h"
#include "postern/base/err.h"
#include "postern/base/ip.h"
#include "postern/base/str.h"

struct conf_strings {
    char **items; /* owned */
    size_t count;
};
/* Words in the order in which they were given; each at most once. */
struct conf_order {
    uint8_t words[4]; /* indexes */
    uint8_t count;
};
struct conf_nets {
    struct pn_net *items; /* owned */
    size_t count;
};
/* So many in each time; count 0: no limit. */
struct conf_rate {
    uint32_t count;
    int64_t per_ms;
};

/* The indexes of WORD options. */
enum conf_bare_newline { CONF_BARE_REJECT, CONF_BARE_NORMALISE };
enum conf_service { CONF_SMTP, CONF_LMTP };
enum conf_tls {
    CONF_TLS_MAY,
    CONF_TLS_NONE,
    CONF_TLS_ENCRYPT,
    CONF_TLS_VERIFY,
    CONF_TLS_FINGERPRINT,
    CONF_TLS_DANE,
    CONF_TLS_DANE_ONLY,
};
enum conf_family {
    CONF_FAMILY_ANY,
    CONF_FAMILY_IPV4,
    CONF_FAMILY_IPV6,
    CONF_FAMILY_PREFER_IPV4
};
/* The bits of `auth`, strongest first. */
enum conf_auth {
    CONF_AUTH_SCRAM_SHA_256 = 1 << 0,
    CONF_AUTH_SCRAM_SHA_1 = 1 << 1,
    CONF_AUTH_PLAIN = 1 << 2,
    CONF_AUTH_LOGIN = 1 << 3,
};
enum conf_identity {
    CONF_IDENTITY_AUTO,
    CONF_IDENTITY_XCLIENT,
    CONF_IDENTITY_XFORWARD,
    CONF_IDENTITY_NONE,
};
/* A third, "verified", waits for SPF and DKIM. */
enum conf_bounce { CONF_BOUNCE_NEVER, CONF_BOUNCE_ALWAYS };
enum conf_recipients { CONF_RECIPIENTS_LIST, CONF_RECIPIENTS_CALL_AHEAD, CONF_RECIPIENTS_ANY };
enum conf_unknown { CONF_UNKNOWN_DEFER, CONF_UNKNOWN_ACCEPT };
enum conf_when_up { CONF_WHEN_UP_PASS_THROUGH, CONF_WHEN_UP_ACCEPT, CONF_WHEN_UP_DEFER };
enum conf_on_tempfail { CONF_TEMPFAIL_PASS, CONF_TEMPFAIL_HOLD };

#define CONF_FIELD_STRING(name)   char *name;
#define CONF_FIELD_STRINGS(name)  struct conf_strings name;
#define CONF_FIELD_DURATION(name) int64_t name##_ms;
#define CONF_FIELD_SIZE(name)     uint64_t name##_octets;
#define CONF_FIELD_NUMBER(name)   int64_t name;
#define CONF_FIELD_BOOL(name)     bool name;
#define CONF_FIELD_WORD(name)     int name;
#define CONF_FIELD_WORDS(name)    unsigned name;
#define CONF_FIELD_ORDER(name)    struct conf_order name;
#define CONF_FIELD_NETS(name)     struct conf_nets name;
#define CONF_FIELD_RATE(name)     struct conf_rate name;

struct conf_listener {
    char *name;
    struct pn_endpoint *endpoints; /* `address`, parsed */
    size_t endpoint_count;
#define LISTENER(name, type, ...) CONF_FIELD_##type(name)
#include "postern/conf/options.def"
};

struct conf_certificate {
    char *name;
#define CERTIFICATE(name, type, ...) CONF_FIELD_##type(name)
#include "postern/conf/options.def"
};

struct conf {
    unsigned refs; /* atomic */
    struct conf_listener *listeners;
    size_t listener_count;
    struct conf_certificate *certificates;
    size_t certificate_count;
    struct conf_domain **smart_hosts; /* in the file's order; each is a reference */
    size_t smart_host_count;
    struct conf_domain *outbound; /* what every domain in the world begins with */
#define MAIN(name, type, ...) CONF_FIELD_##type(name)
#include "postern/conf/options.def"
};

/* One of a domain's target hosts. */
struct conf_target {
    char *host;      /* a name in lower case (A-labels), or an address in text form */
    bool literal;    /* host is an address */
    struct pn_ip ip; /* if literal */
    uint16_t port;
    char *path; /* of a unix socket (host is "" then, and literal false), or NULL */
};

/* What a queue's name means, and with it its definition. */
#define CONF_SMART_HOST_QUEUE "smarthost:"
#define CONF_OUTBOUND_QUEUE   "out:"
enum conf_queue {
    CONF_QUEUE_DOMAIN,     /* a relay domain: a file in domains.d */
    CONF_QUEUE_SMART_HOST, /* "smarthost:NAME": a section of postern.conf */
    CONF_QUEUE_OUTBOUND,   /* "out:example.net": any domain in the world, by its MX records */
};

struct conf_domain {
    unsigned refs; /* atomic */
    char *name;    /* of its queue; a relay domain's is the domain: lower case, A-labels */
    enum conf_queue kind;
    char *destination; /* what queues with the same next hop share: "smtp:host:25,…;tls=may" */
    bool target_mx;    /* there are no targets: the MX records of mx_name tell them */
    char *mx_name;     /* the domain whose MX records are meant, or NULL */
    struct conf_target *targets;
    size_t target_count;
    struct conf_target *fallbacks;
    size_t fallback_count;
    struct pn_ip source_v4, source_v6;    /* of source_address; family NONE: any */
    char *source_names[2];                /* for EHLO: IPv4's, IPv6's; NULL: hostname */
    struct conf_strings senders, domains; /* of a smart host, in lower case */
#define DOMAIN(name, type, ...) CONF_FIELD_##type(name)
#include "postern/conf/options.def"
};

/* A mistake or a warning in a configuration. */
struct conf_mistake {
    char *file;
    unsigned line; /* 0: the file as a whole */
    bool warning;  /* it works, but is probably not what was meant */
    char *text;
};

/* Mistakes of one load. At most 100 are kept, and `more` counts the rest. */
struct conf_mistakes {
    struct conf_mistake *items;
    size_t count;
    size_t more;
};

void conf_mistakes_init(struct conf_mistakes *mistakes);
void conf_mistakes_fini(struct conf_mistakes *mistakes);
void conf_mistakes_add(struct conf_mistakes *mistakes, const char *file, unsigned line,
                       bool warning, const char *text, ...) PN_PRINTF(5, 6);
bool conf_mistakes_fatal(const struct conf_mistakes *mistakes); /* any that is no warning */
/* "file:line: text", as compilers write it. */
int conf_mistake_format(const struct conf_mistake *mistake, struct pn_buf *out) PN_WARN_UNUSED;

/* NULL when there is a mistake that is not a warning. file is for the messages. */
struct conf *conf_parse(const char *file, struct pn_str text, struct conf_mistakes *mistakes);
struct conf *conf_ref(struct conf *conf);
void conf_unref(struct conf **conf); /* NULL is fine; sets NULL */

/*
 * name is the domain, from the file's name. A target that is certainly ourselves (our
 * hostname, or an endpoint in `own`, given by the daemon) is a mistake.
 */
struct conf_domain *conf_domain_parse(const char *file, struct pn_str name, struct pn_str text,
                                      const struct conf *conf, const struct pn_endpoint *own,
                                      size_t own_count, struct conf_mistakes *mistakes);
struct conf_domain *conf_domain_ref(struct conf_domain *domain);
void conf_domain_unref(struct conf_domain **domain);

/*
 * The definition of "out:NAME", made of the outbound section. name is a domain in lower case
 * A-labels, or anything: NULL when it cannot be a domain's name. A new reference.
 */
struct conf_domain *conf_outbound_domain(const struct conf *conf, struct pn_str name);

/* The domain as a file in domains.d: only what differs from the defaults, and what must be. */
int conf_domain_format(const struct conf_domain *domain, struct pn_buf *out) PN_WARN_UNUSED;

/* "3F:9a…" or the same without colons, as in tls_fingerprints; false: it is none. */
#define CONF_FINGERPRINT_OCTETS 32
bool conf_fingerprint_parse(struct pn_str text, uint8_t out[CONF_FINGERPRINT_OCTETS]);

/* "100/min", or "" when there is no limit. */
int conf_rate_format(const struct conf_rate *rate, struct pn_buf *out) PN_WARN_UNUSED;

/* One option, for people and for generators. */
struct conf_option {
    const char *section; /* "", "listener", "certificate", "domain", "smart_host", "outbound" */
    const char *name;
    const char *type;     /* "duration", "size", "a|b|c", "list of strings", … */
    const char *fallback; /* the default as written, NULL if required */
    const char *min, *max;
    bool required;
    bool restart;
    const char *help;
};
const struct conf_option *conf_options(size_t *out_count);
/* Finds "hold", "listener.address"; on a miss *out_nearest is the most similar name or NULL. */
const struct conf_option *conf_option_find(struct pn_str name, const char **out_nearest);

/* What "config explain NAME" prints, and the generated parts of documents. */
int conf_option_explain(const struct conf_option *option, struct pn_buf *out) PN_WARN_UNUSED;
int conf_write_sample(struct pn_buf *out) PN_WARN_UNUSED;        /* postern.conf, commented */
int conf_write_domain_sample(struct pn_buf *out) PN_WARN_UNUSED; /* a domain file, commented */
int conf_write_man(struct pn_buf *out) PN_WARN_UNUSED;           /* postern.conf(5) */
int conf_write_domain_man(struct pn_buf *out) PN_WARN_UNUSED;    /* postern-domain(5) */

#endif
