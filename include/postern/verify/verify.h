/*
 * verify/verify.h - does this recipient exist? One for each worker.
 *
 * Asks the domain's sources in their order (list, call-ahead, any) until one knows. Asks
 * the target only while it is UP and off parole; identical questions under way share one
 * session. What the target said is remembered in state/answers. See DESIGN "Who knows the
 * recipients" for what teaches what.
 */
#ifndef POSTERN_VERIFY_VERIFY_H
#define POSTERN_VERIFY_VERIFY_H

#include "postern/conf/conf.h"
#include "postern/domains/domains.h"
#include "postern/mail/address.h"
#include "postern/outbound/pool.h"
#include "postern/smtp/reply.h"
#include "postern/state/answers.h"
#include "postern/verify/list.h"

struct verify;

/* How often each client network has made us ask targets; shared by all workers. */
struct verify_rates;
struct verify_rates *verify_rates_new(void);
void verify_rates_free(struct verify_rates **rates);

struct verify_deps {
    struct loop *loop;
    struct out_pool *pool;
    struct out_board *board;
    struct state *state;
    struct verify_lists *lists; /* shared by all workers; NULL: none is loaded */
    struct verify_rates *rates; /* shared by all workers; NULL: this one counts for itself */
    const struct pn_log *log;
    uint64_t seed;
};

struct verify *verify_new(const struct verify_deps *deps);
void verify_free(struct verify **verify); /* questions under way are not answered */

enum verify_outcome {
    VERIFY_VALID,
    VERIFY_INVALID, /* 550 5.1.1 */
    VERIFY_UNKNOWN, /* the target is down and unknown_when_down decides, or it was silent */
};

/* What is known, and from where: for RCPT, and for "recipients test". */
struct verify_verdict {
    enum verify_outcome outcome;
    const char *source;         /* "list", "call-ahead", "any", "nobody" */
    struct state_answer answer; /* if a remembered one decided; else verdict UNKNOWN */
    bool catch_all;
    struct smtp_reply reply; /* what the client is to be told: 250, 450 or 550 */
};

/*
 * Whom an address means in the domain. Mostly its local part; below the domain (`subdomains`)
 * that is somebody else, and his name has the domain behind it: "anna@sub.example.org". What
 * is called `local` here and in state/ may be either. The name lies in address, or in out.
 */
#define VERIFY_NAME_MAX (MAIL_LOCAL_MAX + 1 + MAIL_DOMAIN_MAX + 1)
struct pn_str verify_name(const struct conf_domain *domain, struct pn_str address,
                          char out[VERIFY_NAME_MAX]);
/* Where the local part of such a name ends. */
size_t verify_name_local(struct pn_str name);

typedef void verify_fn(void *owner, const struct verify_verdict *verdict);

struct verify_request {
    verify_fn *on_verdict; /* set by the asker */
    void *owner;
    void *pending; /* verify's; NULL when not under way */
};

/*
 * Never answers inside the call. client: whose network pays for a question to the target
 * (call_ahead_rate). domain is kept by reference. local is copied.
 */
void verify_ask(struct verify *verify, struct verify_request *request, struct conf *conf,
                struct conf_domain *domain, struct pn_str local, const struct pn_ip *client);
void verify_cancel(struct verify *verify, struct verify_request *request);

/* The form in which a local part is compared: sub-address cut off, lower case unless the
 * domain says otherwise, unneeded quotes removed. False: it does not fit out. */
bool verify_local(const struct conf_domain *domain, struct pn_str local, struct pn_buf *out);

/*
 * A reply of the target about a recipient, from wherever it came. RCPT replies in
 * pass-through and final replies of deliveries teach; only what DESIGN lists as a no is one.
 */
void verify_learn(struct verify *verify, const struct conf_domain *domain, struct pn_str local,
                  const struct smtp_reply *reply, enum state_source source);

/* Asks again about what will soon expire: at most `limit` answers of the domain. Nightly. */
void verify_warm_up(struct verify *verify, struct conf *conf, struct conf_domain *domain,
                    size_t limit);

/* Called every second: each domain with call-ahead has its second of the night (midnight to
 * six, UTC), so that they do not all ask at once; at most 200 answers of each. */
void verify_warm_second(struct verify *verify, struct conf *conf, const struct domains *domains,
                        struct pn_wall wall);

#endif
