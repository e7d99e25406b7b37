/*
 * client_priv.h - what the parts of the client's half share: client.c reads replies,
 * client_send.c writes commands, client_live.c serves live transactions, client_ehlo.c
 * knows extensions, client_auth.c logs in, client_identity.c says who gave us the mail, and
 * client_quirk.c finds out servers that do not keep to what they announce.
 */
#ifndef POSTERN_SMTP_CLIENT_PRIV_H
#define POSTERN_SMTP_CLIENT_PRIV_H

#include "postern/smtp/body.h"
#include "postern/smtp/client.h"

#include "client_reply_priv.h"

/* Commands stop being written while this much waits in output(). */
#define SMTP_CLIENT_OUTPUT_ENOUGH (64u << 10)
#define SMTP_CLIENT_OUTPUT_MAX    (8u << 20)

enum smtp_client_state {
    CLIENT_CONNECTED, /* the greeting has not come */
    CLIENT_HELLO,     /* EHLO, LHLO or HELO was said */
    CLIENT_CAPABLE,   /* the owner chooses: STARTTLS, AUTH or go */
    CLIENT_STARTTLS,  /* it was said */
    CLIENT_HANDSHAKE, /* no octet belongs to us until smtp_client_secured */
    CLIENT_AUTH,      /* it was said, and has not ended */
    CLIENT_READY,     /* mails may be handed in */
    CLIENT_XCLIENT,   /* it was said */
    CLIENT_REHELLO,   /* and EHLO again: READY follows */
    CLIENT_LEAVING,   /* QUIT follows the mails under way */
    CLIENT_OVER,
};

/* What a reply answers. Consecutive RCPTs share one entry. */
enum smtp_expect_kind {
    EXPECT_GREETING,
    EXPECT_EHLO,
    EXPECT_LHLO,
    EXPECT_HELO,
    EXPECT_STARTTLS,
    EXPECT_AUTH,
    EXPECT_XCLIENT,
    EXPECT_XFORWARD,
    EXPECT_MAIL,
    EXPECT_RCPT,
    EXPECT_DATA,
    EXPECT_END, /* of a text; for LMTP one for each recipient that was accepted */
    EXPECT_DOT, /* of an empty text that a server without recipients asked for */
    EXPECT_RSET,
    EXPECT_CHECK_MAIL,
    EXPECT_CHECK_RSET,
    EXPECT_LIVE_MAIL,
    EXPECT_LIVE_RCPT,
    EXPECT_LIVE_DATA,
    EXPECT_LIVE_END, /* for LMTP one for each recipient that was accepted */
    EXPECT_LIVE_RSET,
    EXPECT_LIVE_XFORWARD,
    EXPECT_QUIT,
};

/* How far a live transaction has come. */
enum smtp_live_step {
    LIVE_NONE,  /* there is none */
    LIVE_MAIL,  /* MAIL has no answer yet */
    LIVE_OPEN,  /* MAIL was accepted */
    LIVE_TEXT,  /* 354 has come: the owner hands in the text */
    LIVE_SENT,  /* the text has no answer yet */
    LIVE_RESET, /* RSET has none */
};

/* How far the commands of a mail have gone out. */
enum smtp_flight_step {
    FLIGHT_WAITING, /* none has */
    FLIGHT_NAMING,  /* XFORWARD comes, or has; MAIL follows */
    FLIGHT_RCPT,    /* MAIL has; recipients follow */
    FLIGHT_DATA,    /* all have; a 354 lets the text go */
    FLIGHT_TEXT,    /* the owner hands in the text */
    FLIGHT_SENT,    /* nothing is left to send; replies may be missing */
};

/* One mail under way. */
struct smtp_flight {
    struct smtp_flight *next; /* in the order in which they came, or were done */
    struct smtp_client_mail *mail;
    enum smtp_flight_step step;
    size_t rcpt_end; /* recipients to be sent: all, or as many as were when MAIL was refused */
    size_t named;    /* XFORWARD commands that are done with */
    size_t rcpt_sent;
    size_t rcpt_answered;
    size_t accepted;    /* recipients */
    size_t ended;       /* LMTP: recipients before this one have their final reply */
    uint64_t text_left; /* octets that smtp_client_text will still bring */
    bool opened;        /* MAIL was accepted */
};

struct smtp_expect {
    enum smtp_expect_kind kind;
    struct smtp_flight *flight;
    size_t count;  /* replies */
    bool together; /* with others, before any of them was answered */
};

struct smtp_client {
    struct smtp_client_options options;
    enum smtp_client_state state;
    struct smtp_reader reader;
    uint64_t replies; /* that have come whole */
    struct pn_buf output;
    struct smtp_stuffer stuffer;

    unsigned capabilities;
    uint64_t size_limit;
    struct pn_buf greeting; /* the peer's own name */
    struct pn_buf ehlo_lines;
    struct pn_buf helo; /* of the client that we speak for, after XCLIENT */

    struct smtp_expect *expects; /* a queue: the oldest first */
    size_t expect_first, expect_count, expect_cap;

    struct smtp_flight *flights; /* in the order in which they came */
    struct smtp_flight *sending; /* the first that is not FLIGHT_SENT, or NULL */
    struct smtp_flight *done;    /* events: to be named by DONE, in order */
    size_t flight_count;
    uint64_t flight_octets;
    unsigned window_mails; /* as it is now */
    size_t window_octets;
    unsigned window_good; /* mails taken since it was last changed */
    size_t window_rest;   /* mails that may still tell of the trouble it was halved for */
    unsigned quirks;      /* enum smtp_quirk, that this session has shown */
    bool chunk_taken;     /* a BDAT was answered by 250 */
    bool reset_due;       /* the server may have a transaction open that no mail of ours uses */
    struct smtp_reply check_reply;

    enum smtp_live_step live;
    bool live_utf8;       /* its MAIL said SMTPUTF8 */
    size_t live_accepted; /* its recipients */
    struct pn_buf held;   /* lines, each to be sent when the one before is answered */

    /* At most one event of these kinds waits, one TEXT and one LIVE. */
    enum smtp_client_event_kind note;
    bool note_waits;
    bool text_waits;
    bool live_waits;
    struct smtp_reply live_reply;
    struct smtp_reply note_reply;
    const char *note_stage;
    bool note_busy;
    unsigned note_quirks;
};

/* Takes the reply to what was expected. flight: NULL where no mail is under way. */
typedef void smtp_answer_fn(struct smtp_client *client, struct smtp_flight *flight,
                            const struct smtp_reply *reply);

/* client.c */
void smtp_client_note(struct smtp_client *client, enum smtp_client_event_kind kind,
                      const struct smtp_reply *reply);
void smtp_client_write_held(struct smtp_client *client); /* the next line */
void smtp_client_fail(struct smtp_client *client, const char *stage,
                      const struct smtp_reply *reply);
void smtp_client_fail_code(struct smtp_client *client, const char *stage,
                           const struct smtp_reply *reply);
void smtp_client_expect(struct smtp_client *client, enum smtp_expect_kind kind,
                        struct smtp_flight *flight, size_t count);
/* All replies of a mail are there: it leaves the mails under way, and DONE will name it. */
void smtp_client_finish(struct smtp_client *client, struct smtp_flight *flight);
/* The reply of every recipient that has none yet. */
void smtp_client_answer_open(struct smtp_client_mail *mail, const struct smtp_reply *reply);

/* client_send.c */
void smtp_client_write(struct smtp_client *client, struct pn_str data);
/* MAIL or RCPT with the parameters that the server can be given. */
void smtp_client_put_mail(const struct smtp_client *client, const struct smtp_client_mail *mail,
                          struct pn_buf *out);
void smtp_client_put_rcpt(const struct smtp_client *client,
                          const struct mail_recipient *recipient, struct pn_buf *out);
/* What this server cannot be given is answered here; true when it is. */
bool smtp_client_refuse_here(const struct smtp_client *client,
                             const struct smtp_client_mail *mail, struct smtp_reply *out);
void smtp_client_stuff(struct smtp_client *client, struct pn_str text, bool last);
bool smtp_client_can(const struct smtp_client *client, enum smtp_capability capability);
bool smtp_client_chunks(const struct smtp_client *client); /* texts go by BDAT */
void smtp_client_command(struct smtp_client *client, struct pn_str line,
                         enum smtp_expect_kind kind);
void smtp_client_hello(struct smtp_client *client, enum smtp_expect_kind kind);
void smtp_client_advance(struct smtp_client *client); /* writes what may be written now */

/* client_live.c */
smtp_answer_fn smtp_client_on_live_mail, smtp_client_on_live_rcpt, smtp_client_on_live_data,
    smtp_client_on_live_end, smtp_client_on_live_rset;
/* 421 came in answer to a live command; last: no other reply to it is missing. */
void smtp_client_live_closing(struct smtp_client *client, bool last,
                              const struct smtp_reply *reply);

/* client_ehlo.c: takes the lines of an EHLO answer as the reader has them. */
unsigned smtp_ehlo_parse(struct pn_str lines, uint64_t *out_size_limit);

/* client_auth.c, client_identity.c */
smtp_answer_fn smtp_client_on_auth, smtp_client_on_xclient, smtp_client_on_xforward,
    smtp_client_on_live_xforward;
/* Writes the command *at, or the next that says anything, and moves *at behind it. */
bool smtp_client_put_xforward(const struct smtp_client *client,
                              const struct smtp_identity *identity, size_t *at,
                              struct pn_buf *out);
bool smtp_words_have(struct pn_str words, const char *word);

/* client_quirk.c */
/* The reply shows that the server does not keep to what it announces: the session is over. */
bool smtp_client_finds_out(struct smtp_client *client, const struct smtp_expect *expect,
                           const char *stage, const struct smtp_reply *reply);
/* The same, of a reply that came in the middle of a text. */
bool smtp_client_finds_out_early(struct smtp_client *client, const char *stage,
                                 const struct smtp_reply *reply);
unsigned smtp_quirks_forbid(unsigned quirks); /* enum smtp_capability */
void smtp_client_window_init(struct smtp_client *client);
/* A mail has its replies. */
void smtp_client_window_learn(struct smtp_client *client, const struct smtp_client_mail *mail);

#endif
