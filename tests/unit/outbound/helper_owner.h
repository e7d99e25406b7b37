/*
 * helper_owner.h - an owner of a session: hands in mails, gives their text, and writes down
 * what it is told.
 */
#ifndef POSTERN_TESTS_HELPER_OWNER_H
#define POSTERN_TESTS_HELPER_OWNER_H

#include "helper_world.h"

enum { MAILS = 3, BIG_OCTETS = 600000 };

/* What is said in a live transaction: one command for each reply. */
enum owner_step { STEP_END, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_TEXT, STEP_RESET };

struct fixture {
    struct world world;
    struct conf *conf;
    struct conf_domain *domain;
    struct out_session *session;
    struct out_deps deps;
    struct pn_endpoint own;
    struct smtp_client_mail mails[MAILS];
    struct mail_recipient recipient;
    struct smtp_reply replies[MAILS];
    size_t mail_count, handed;
    const char *text[MAILS];
    size_t given[MAILS];
    bool hold_text; /* TEXT is not answered; of a live text the last octet is not given */
    const enum owner_step *steps; /* or NULL */
    unsigned live_flags;
    struct pn_str live_text;
    size_t live_left; /* of it, to be given */
    bool free_in_event;
    bool in_call;
    struct pn_buf trace;
    struct pn_buf lines;
};

#define OK      "250 ok\r\n"
#define TARGET1 "target = {\"mail.example.org:25\"}"
#define PEER1   "mail.example.org[192.0.2.1]:25"

extern const struct world_rule owner_friendly[];
extern const struct world_rule owner_with_tls[];

int owner_setup(void **state);
int owner_teardown(void **state);

/* domain: the lines of a domain file besides what must be there. */
void owner_begin(struct fixture *f, const char *domain);
void owner_begin_with(struct fixture *f, const char *domain, struct out_options options);
/* The session of f->domain. */
void owner_begin_domain(struct fixture *f, struct out_options options);
/* The next step of a live transaction; behind the last come the mails. */
void owner_take_step(struct fixture *f);
void owner_give_text(struct fixture *f, struct smtp_client_mail *mail);
void owner_on_line(void *owner, char direction, struct pn_str line);

/* What was written down since the last time. */
void owner_expect(struct fixture *f, const char *expected);
/* The lines that a peer got since the last time. */
void owner_expect_got(struct world_peer *peer, const char *expected);

struct world_peer *owner_add_peer(struct fixture *f, const char *endpoint,
                                  const struct world_rule *rules);
/* The only host of TARGET1. */
struct world_peer *owner_add_one(struct fixture *f, const struct world_rule *rules);

#endif
