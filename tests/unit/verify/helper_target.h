/*
 * helper_target.h - a verifier with a real pool and a real state, before a target that
 * follows a table.
 */
#ifndef POSTERN_TESTS_VERIFY_HELPER_TARGET_H
#define POSTERN_TESTS_VERIFY_HELPER_TARGET_H

#include "helper_fakes.h"
#include "helper_world.h"

#include "postern/verify/verify.h"

enum { ASKERS = 64 };

struct asker {
    struct verify_request request;
    struct fixture *f;
    bool told, again; /* again: asks for somebody else when it is told */
    char text[256];
    char reply[SMTP_REPLY_TEXT_MAX]; /* what its client is told */
};

struct fixture {
    struct world world;
    struct loop_task *posted, **posted_end;
    struct fake_store store;
    struct pn_log log;
    struct state *state;
    struct out_deps out;
    struct out_board *board;
    struct out_pool *pool;
    struct verify_rates *rates;
    struct verify_lists *lists; /* the test's, if any */
    struct verify *verify;
    struct conf *conf;
    struct conf_domain *domain;
    struct world_peer *peer;
    struct pn_ip client;
    struct asker askers[ASKERS];
    bool in_call;
};

#define OK "250 ok\r\n"
#define COMMON                                                                                 \
    {.verb = "EHLO", .reply = "250-mail.example.org\r\n250 PIPELINING\r\n"},                   \
        {.verb = "MAIL", .reply = OK}, {.verb = "RSET", .reply = OK},                          \
    {                                                                                          \
        .verb = "QUIT", .reply = "221 bye\r\n", .then = RULE_CLOSE                             \
    }
#define NO_RANDOM                                                                              \
    {                                                                                          \
        .verb = "RCPT TO:<postern-", .reply = "550 5.1.1 no\r\n"                               \
    }
/* anna is there, and nobody else. */
extern const struct world_rule target_good[];

int target_setup(void **state);
int target_teardown(void **state);
void target_rules(struct fixture *f, const struct world_rule *rules);
/* The domain anew: the lines of its file besides the target. */
void target_domain(struct fixture *f, const char *options);
void target_state(struct fixture *f, enum queue_state state, bool parole);
void target_run(struct fixture *f, int64_t duration_ms);
/* The clocks go on as they do while the target is up, or while it is down. */
void target_age(struct fixture *f, int64_t up_ms);
void target_restart(struct fixture *f); /* of the daemon: memory is lost */

void target_ask(struct fixture *f, size_t asker, const char *local);
/* "valid call-ahead", "unknown nobody 4.4.3", "" when it was not told yet. */
const char *target_told(struct fixture *f, size_t asker);
/* Asks, waits as long as a client would, and tells. */
const char *target_verdict(struct fixture *f, const char *local);
/* How many lines that begin so the target got; all lines are forgotten by target_got_none. */
size_t target_got(struct fixture *f, const char *line);
void target_got_none(struct fixture *f);
void target_put(struct fixture *f, const char *local, enum state_verdict verdict);
/* What is remembered: "valid", "invalid" or "unknown". */
const char *target_known(struct fixture *f, const char *local);

#endif
