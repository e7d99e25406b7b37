/*
 * A domain's own server that follows a table, at the other end of a fake network; and what
 * verify would know, by the names of recipients.
 */
#ifndef HELPER_TARGET_H
#define HELPER_TARGET_H

#include "postern/outbound/pool.h"
#include "postern/verify/verify.h"

#define TARGET_RULES 4
#define TARGET_LINKS 16

enum target_then { THEN_STAY, THEN_CLOSE, THEN_RESET };

/* What is said to a line that begins with verb. The greeting is "greeting", the end of a text
 * ".", and its first octets "text". */
struct target_rule {
    const char *verb;
    const char *reply; /* with CR LF; "" : nothing */
    enum target_then then;
    unsigned turn; /* at which time, 1 is the first; 0: always */
};

struct target_link;
struct target {
    struct network network;
    struct loop *loop;
    bool refuses;             /* connections */
    const char *capabilities; /* lines of EHLO */
    bool deaf;                /* takes nothing that is sent */
    struct target_rule rules[TARGET_RULES];
    unsigned turns[TARGET_RULES];
    struct target_link *links[TARGET_LINKS];
    size_t link_count, open;
    struct pn_buf lines; /* that were said, but for texts; "|" behind each */
    struct pn_buf text;  /* the last text */
    unsigned ends;       /* texts that came whole */
    unsigned taken;      /* of those: answered 2xx */
};

void target_init(struct target *target, struct loop *loop);
void target_fini(struct target *target);
bool target_run(struct target *target);
/* Adds a rule, or changes the one for that verb. */
void target_rule(struct target *target, const char *verb, const char *reply,
                 enum target_then then);
/* Says something of its own accord, on every open connection. */
void target_say(struct target *target, const char *octets, enum target_then then);
/* What it was told since the last call. Static memory. */
const char *target_lines(struct target *target);

/* ---- verify: nobody… is 550, later… 450, silent… has no answer, all others are known ---- */

struct verify {
    struct verify_request *requests[8];
    struct smtp_reply replies[8];
    enum verify_outcome outcomes[8];
    size_t request_count;
    unsigned asked, cancelled;
    struct pn_buf learned; /* "local=550 5.1.1;" */
};

void fake_verify_init(struct verify *verify);
void fake_verify_fini(struct verify *verify);
bool fake_verify_run(struct verify *verify);

#endif
