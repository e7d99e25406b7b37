/*
 * answers_priv.h - the memory of answers, and what its two sources share.
 *
 * Records: 'a' domain NUL local has an answer, 'u' domain the domain's up-clock and whether
 * its target is a catch-all.
 */
#ifndef POSTERN_STATE_ANSWERS_PRIV_H
#define POSTERN_STATE_ANSWERS_PRIV_H

#include "postern/base/octets.h"
#include "postern/state/answers.h"

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>

#include <pthread.h>

#define ANSWERS_VERSION    1
#define ANSWERS_DOMAIN_MAX 255
#define ANSWERS_LOCAL_MAX  320
#define ANSWERS_KEY_MAX    (1 + ANSWERS_DOMAIN_MAX + 1 + ANSWERS_LOCAL_MAX)

/* What the store has of an answer; the age comes out of the stamp when somebody asks. */
struct answers_record {
    enum state_verdict verdict;
    enum state_source source;
    int64_t stamp_ms; /* on the domain's up-clock */
    struct pn_wall when;
};

struct answers_key {
    size_t len; /* 0: such an address is not remembered */
    size_t domain_len;
    char octets[ANSWERS_KEY_MAX];
};

struct answers_entry {
    UT_hash_handle hh;
    struct answers_entry *newer, *older;
    struct answers_record record; /* UNKNOWN: its deletion is perhaps still on its way */
    size_t key_len;
    char key[];
};

struct answers_clock {
    UT_hash_handle hh;
    int64_t up_ms, unsaved_ms;
    bool known, catch_all;
    int64_t stamp_ms; /* of what is known of the catch-all */
    size_t name_len;
    char name[];
};

struct answers_write {
    struct store_write write;
    struct state_answers *answers;
    struct pn_buf records;
};

struct state_answers {
    struct store *store;
    pthread_mutex_t lock; /* for what follows */
    struct answers_entry *entries, *newest, *oldest;
    size_t octets;
    struct answers_clock *clocks;
    struct pn_buf backlog; /* lengths of key and value, key, value; no value: delete */
    bool writing;
    struct answers_write write;
    size_t forgetting;  /* under way: what is read may be about to go */
    uint64_t forgotten; /* how often that has ended: what was asked before then is no news */
};

struct state_answers *state_answers_new(void);
void state_answers_free(struct state_answers **answers);
void state_answers_attach(struct state_answers *answers, struct store *store);
struct state_answers *state_answers_of(struct state *state);
struct store *state_store_of(struct state *state);

void state_answers_make_key(struct answers_key *key, struct pn_str domain, struct pn_str local);
struct pn_str state_answers_key_str(const struct answers_key *key);
bool state_answers_decode(struct pn_str value, struct answers_record *out);

/* With the lock. */
struct answers_clock *state_answers_find_clock(struct state_answers *answers,
                                               struct pn_str domain, bool make);
struct state_answer state_answers_judge(struct state_answers *answers, struct pn_str domain,
                                        const struct answers_record *record);
/* Forgets in memory what begins so, and what of it waits to be written. */
void state_answers_drop(struct state_answers *answers, struct pn_str prefix, bool exactly);
void state_answers_save_clock(struct state_answers *answers, struct answers_clock *clock);

/* Without it: hands the backlog to the store, if there is one and nothing is under way. */
void state_answers_flush(struct state_answers *answers);

#endif
