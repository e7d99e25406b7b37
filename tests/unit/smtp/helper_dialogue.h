/*
 * helper_dialogue.h - plays the server's lines of a script to a client and writes down what
 * the client says and reports.
 */
#ifndef POSTERN_TESTS_HELPER_DIALOGUE_H
#define POSTERN_TESTS_HELPER_DIALOGUE_H

#include "postern/smtp/client.h"

#define DIALOGUE_MAILS 8
#define DIALOGUE_STEPS 12

struct dialogue_mail {
    const char *sender;
    const char *recipients[6]; /* up to the first NULL */
    const char *text;
    unsigned flags;
    const char *envid;
    enum mail_ret ret;
    const char *orcpt; /* of the first recipient */
    unsigned notify;   /* of all */
    const struct smtp_identity *identity;
};

/* One command of a live transaction: what is set. Given when the one before was answered. */
struct dialogue_step {
    const char *mail, *rcpt, *text;
    bool data, reset, quit;
    bool unfinished; /* the text is not ended */
    unsigned flags;
    uint64_t size;
    enum mail_ret ret;
    const char *envid, *orcpt;
    unsigned notify;
};

/*
 * A line of a script begins with what it is: '<' the server's (CR LF is added), '~' the
 * same with a bare LF, '>' what the client sends in consequence, '=' what it reports.
 */
struct dialogue {
    const char *name;
    const struct dialogue_mail *mails[DIALOGUE_MAILS]; /* up to the first NULL */
    const char *script;
    struct dialogue_step live[DIALOGUE_STEPS]; /* before all mails */
    bool lmtp, tls, check, quit;
    unsigned window;      /* 0: 4 mails */
    size_t window_octets; /* 0: 1000 */
    unsigned off;
    unsigned quirks;
    unsigned window_max; /* of mails and, times 1000, octets */
    const char *auth[4]; /* mechanism, initial or "", answers; up to the first NULL */
    const struct smtp_identity *client; /* XCLIENT, or else XFORWARD, when it is ready */
};

/* The script's lines, played one by one, whole, octet by octet, and at every split. */
void dialogue_test(const struct dialogue *dialogue);

/* Plays raw octets, cut into two at `split`; returns what was said and reported. */
char *dialogue_play(const struct dialogue *dialogue, struct pn_str server, size_t split,
                    bool octets);

#endif
