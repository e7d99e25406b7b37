/*
 * verify_priv.h - the parts of a verifier.
 *
 * verify.c goes through the sources of one request, ask.c puts questions to targets and
 * shares them, learn.c says what replies mean and what is remembered of them, warm.c asks
 * again at night, rates.c counts what each client network has cost.
 */
#ifndef POSTERN_VERIFY_VERIFY_PRIV_H
#define POSTERN_VERIFY_VERIFY_PRIV_H

#include "postern/verify/verify.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/rand.h"
#include "postern/mail/address.h"

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>
#include <utlist.h>

struct verify_asking;
struct verify_question;
struct verify_target;
struct verify_turn;
struct verify_warming;

/* Where the local parts of one call are kept while it runs. */
#define VERIFY_LOCAL_MAX (2 * MAIL_LOCAL_MAX + 2 + 1 + MAIL_DOMAIN_MAX)

struct verify {
    struct verify_deps deps;
    struct verify_rates *own_rates;
    struct pn_rand rand;
    struct verify_asking *askings;
    struct verify_target *targets; /* by domain and destination */
    size_t question_count;
    struct verify_warming *warmings;
};

/* ---- verify.c ---- */

void verify_asking_forget_all(struct verify *verify);

/* ---- ask.c ---- */

/* What a question has brought: UNKNOWN, the target has said nothing about the recipient. */
struct verify_finding {
    enum state_verdict verdict;
    bool catch_all;
};

struct verify_waiter;
typedef void verify_found_fn(struct verify_waiter *waiter,
                             const struct verify_finding *finding);
/* Somebody who waits for a question. on_found runs nobody else's code. */
struct verify_waiter {
    struct verify_waiter *prev, *next;
    struct verify_question *question; /* NULL: waits for none */
    verify_found_fn *on_found;
};

enum verify_asked { VERIFY_ASKED, VERIFY_TOO_OFTEN, VERIFY_TOO_MANY };
/*
 * Puts a question, or joins the same that is under way. local: as compared; written: as it
 * goes to the target. payer NULL: nobody pays. waiter NULL: nobody waits.
 */
enum verify_asked verify_question_ask(struct verify *verify, struct conf *conf,
                                      struct conf_domain *domain, struct pn_str local,
                                      struct pn_str written, const struct pn_ip *payer,
                                      struct verify_waiter *waiter);
void verify_waiter_leave(struct verify_waiter *waiter); /* the question goes on */
/* The target has taken this address; it may later prove that another is refused as such. */
void verify_target_note(struct verify *verify, const struct conf_domain *domain,
                        struct pn_str local);
void verify_target_free_all(struct verify *verify);

/* ---- learn.c ---- */

enum verify_meaning {
    VERIFY_SAYS_NOTHING,
    VERIFY_SAYS_YES,
    VERIFY_SAYS_NO,
    VERIFY_SAYS_BARE_NO, /* 550 without an enhanced code */
};
enum verify_meaning verify_meaning_of(const struct smtp_reply *reply);

/* UP and off parole. */
bool verify_is_up(const struct verify *verify, struct pn_str destination);
bool verify_is_catch_all(const struct verify *verify, const struct conf_domain *domain);
void verify_teach(struct verify *verify, const struct conf_domain *domain, struct pn_str local,
                  enum state_verdict verdict, enum state_source source);

/* ---- warm.c ---- */

void verify_warming_free_all(struct verify *verify);

/* ---- rates.c ---- */

/* Any thread. False: this network has asked often enough. */
bool verify_rates_take(struct verify_rates *rates, const struct pn_ip *client,
                       int64_t per_minute, struct pn_mono now);

#endif
