/*
 * smtp/client.h - the client's half of an SMTP or LMTP conversation, without I/O.
 *
 * Bytes from the server go in through feed(), what they mean comes out of next(), bytes to
 * send are in output(). Mails are handed in by smtp_client_mail and are sent as early as
 * the protocol allows: with PIPELINING the envelope leaves in one write (RFC 2920), the
 * next mail's envelope together with the end of the last one's text; with PIPELINING and
 * CHUNKING (RFC 3030) envelope and BDAT LAST of mail after mail leave without waiting, as
 * far as the window allows. Each command sent leaves an expectation in a queue, and each
 * reply takes the first one from it: that is the whole of reply matching.
 *
 * Replies are hostile (FAULTS 3.4, 4.12): a line has at most 4,096 octets, a reply at most
 * 100 lines; only CR LF ends a line (a bare LF is tolerated where a reply line ends, since
 * it costs nothing to read it; it is never passed on); text is made printable before
 * anybody sees it. What does not fit is SMTP_CLIENT_EV_FAILED.
 *
 * Lifetime: slices inside an event die with the next non-const call.
 */
#ifndef POSTERN_SMTP_CLIENT_H
#define POSTERN_SMTP_CLIENT_H

#include "postern/mail/envelope.h"
#include "postern/smtp/identity.h"
#include "postern/smtp/reply.h"

struct smtp_client;

enum smtp_capability {
    SMTP_CAP_PIPELINING = 1 << 0,
    SMTP_CAP_CHUNKING = 1 << 1,
    SMTP_CAP_8BITMIME = 1 << 2,
    SMTP_CAP_SMTPUTF8 = 1 << 3,
    SMTP_CAP_SIZE = 1 << 4,
    SMTP_CAP_DSN = 1 << 5,
    SMTP_CAP_STARTTLS = 1 << 6,
    SMTP_CAP_ENHANCED = 1 << 7,
    SMTP_CAP_XCLIENT = 1 << 8,
    SMTP_CAP_XFORWARD = 1 << 9,
    SMTP_CAP_AUTH = 1 << 10,
};

/* What a server announces and does not keep to. Once noticed it is spoken to accordingly. */
enum smtp_quirk {
    SMTP_QUIRK_PIPELINING = 1 << 0, /* commands sent together are answered too seldom */
    SMTP_QUIRK_CHUNKING = 1 << 1,   /* BDAT is not known after all */
};

struct smtp_client_options {
    struct pn_str hostname; /* what we say in EHLO; borrowed for the client's life */
    bool lmtp;
    unsigned window_mails; /* mails under way without a final reply, at first; 1: no more than
                              the protocol's own steps */
    size_t window_octets;  /* and their octets */
    /* While replies are good the window doubles, up to these; 0: it never grows. */
    unsigned window_mails_max;
    size_t window_octets_max;
    unsigned capabilities_off; /* do not use these, whatever the server offers */
    unsigned quirks;           /* enum smtp_quirk, known from before */
};

/*
 * One mail and what became of it. Made and freed by the caller, who must keep it until
 * DONE or FAILED names it. Recipients' replies: for SMTP the RCPT reply, or for those that
 * were accepted the final one; for LMTP each has a final one of its own.
 */
struct smtp_client_mail {
    struct pn_str sender;
    const struct mail_recipient *recipients;
    size_t recipient_count;
    uint64_t size_octets; /* exactly what smtp_client_text will bring */
    unsigned flags;       /* enum mail_flags */
    enum mail_ret ret;
    struct pn_str envid;
    struct smtp_reply *replies; /* one for each recipient; the caller's memory, filled in */
    /* Said by XFORWARD with the envelope where the server offers that, and no identity was
     * given to the session; NULL: nothing is said. */
    const struct smtp_identity *identity;
    bool last_octet_sent; /* it is in output(): from here on a lost session is in doubt; taken
                             back when a reply shows that the server did not look at it */
    void *owner;          /* the caller's */
};

enum smtp_client_event_kind {
    SMTP_CLIENT_EV_EHLO,    /* greeted, and EHLO was answered: see smtp_client_capabilities.
                               Call smtp_client_starttls or smtp_client_go */
    SMTP_CLIENT_EV_TLS,     /* 220 to STARTTLS: make the handshake, then smtp_client_secured */
    SMTP_CLIENT_EV_NO_TLS,  /* STARTTLS was refused; the session is still of use */
    SMTP_CLIENT_EV_TEXT,    /* mail: its text may go; see smtp_client_text */
    SMTP_CLIENT_EV_DONE,    /* mail: all its replies are there */
    SMTP_CLIENT_EV_CHECKED, /* the answer to smtp_client_check: reply */
    SMTP_CLIENT_EV_FAILED,  /* the session is of no more use: reply (code 0: junk), stage */
    SMTP_CLIENT_EV_LIVE,    /* the answer to a live command: reply */
    SMTP_CLIENT_EV_CHALLENGE,  /* 334 to AUTH: challenge; see smtp_client_auth_answer */
    SMTP_CLIENT_EV_AUTH,       /* AUTH has ended: reply */
    SMTP_CLIENT_EV_IDENTIFIED, /* the answer to smtp_client_xclient, when the session is ready
                                  again; or to smtp_client_xforward: reply */
    SMTP_CLIENT_EV_QUIT,       /* our QUIT was answered */
};

struct smtp_client_event {
    enum smtp_client_event_kind kind;
    struct smtp_client_mail *mail;
    struct smtp_reply reply;
    const char *stage; /* FAILED: "greeting", "EHLO", "MAIL FROM", "end of data", … */
    bool busy;       /* FAILED: 421 with no text under way: a closing that is nobody's fault */
    unsigned quirks; /* FAILED: enum smtp_quirk, found out by this reply */
    struct pn_str challenge; /* CHALLENGE: still base64 */
};

struct smtp_client *smtp_client_new(const struct smtp_client_options *options);
void smtp_client_free(struct smtp_client **client);

/* Takes a prefix of data and returns its length; short while an event waits. */
size_t smtp_client_feed(struct smtp_client *client, struct pn_str data);
bool smtp_client_next(struct smtp_client *client, struct smtp_client_event *out_event);
/* What is to be sent. The caller consumes what it took, and looks again until it is empty:
 * long envelopes are written as room is made. */
struct pn_buf *smtp_client_output(struct smtp_client *client);

unsigned smtp_client_capabilities(const struct smtp_client *client);  /* enum smtp_capability */
uint64_t smtp_client_size_limit(const struct smtp_client *client);    /* of SIZE; 0: none */
struct pn_str smtp_client_greeting(const struct smtp_client *client); /* the peer's own name */
/* The lines of the last EHLO answer, printable, separated by '\n'. */
struct pn_str smtp_client_ehlo_lines(const struct smtp_client *client);
/* What stands behind a keyword there: "AUTH" gives "PLAIN LOGIN"; "" where it is missing. */
struct pn_str smtp_client_ehlo_words(const struct smtp_client *client, const char *keyword);

/*
 * What the server has shown itself to be, options.quirks included: enum smtp_quirk. A server
 * that is found out while mails are under way ends the session by FAILED with event.quirks,
 * and those mails are to be sent again, step by step; what it said to them by mistake is not
 * taken for an answer.
 */
unsigned smtp_client_quirks(const struct smtp_client *client);
/* The reply that is awaited is to one of several commands sent together. If it does not come
 * in time, the server may be one that cannot read them so. */
bool smtp_client_stalled(const struct smtp_client *client);

/* The window as it is now: it halves by a 4xx or 421, and when the caller, who has a clock,
 * finds the replies slow. */
unsigned smtp_client_window(const struct smtp_client *client);
void smtp_client_slow(struct smtp_client *client);

void smtp_client_starttls(struct smtp_client *client);
void smtp_client_secured(struct smtp_client *client); /* all is forgotten; EHLO is said again */
void smtp_client_go(struct smtp_client *client);      /* the session is ready for mails */

/*
 * Logs in; between EV_EHLO and smtp_client_go. initial: the first response, already base64
 * ("=" if empty), or "" for none. Each 334 is a CHALLENGE, to be answered by auth_answer
 * (base64, "*" to give up); EV_AUTH brings the end, and after a refusal another mechanism may
 * be tried. What is sent here must not be shown to anybody.
 */
void smtp_client_auth(struct smtp_client *client, struct pn_str mechanism,
                      struct pn_str initial);
void smtp_client_auth_answer(struct smtp_client *client, struct pn_str answer);
bool smtp_client_in_auth(const struct smtp_client *client);

/*
 * The client whose mails follow, all of them: XCLIENT, then a greeting, EHLO (under the
 * client's own name) and IDENTIFIED. Once in a session, when it is ready and has nothing
 * under way. Whatever the server says from then on it says to that client.
 */
void smtp_client_xclient(struct smtp_client *client, const struct smtp_identity *identity);
/* For live transactions: XFORWARD, whose reply is IDENTIFIED, and counts for nothing. Holds
 * for the next transaction. */
void smtp_client_xforward(struct smtp_client *client, const struct smtp_identity *identity);

/* More mails may be handed in (the window has room). */
bool smtp_client_wants_mail(const struct smtp_client *client);
void smtp_client_mail(struct smtp_client *client, struct smtp_client_mail *mail);

/*
 * After EV_TEXT, until `last`: text of that mail, CR LF line ends, not dot-stuffed; all of
 * it together has size_octets. The caller watches output() and stops at its own limit.
 */
void smtp_client_text(struct smtp_client *client, struct pn_str text, bool last);

/*
 * A live transaction: one command at a time, each answered by SMTP_CLIENT_EV_LIVE before the
 * next may be given. For pass-through and call-ahead, where somebody waits for every single
 * reply. Only in a session that is ready and has no mail under way; mail_recipient's DSN
 * parameters go along where the peer offers DSN. After a 354 to live_data the text goes by
 * live_text (CR LF line ends, not dot-stuffed); the reply to its end is the last LIVE.
 * live_reset (RSET) ends a transaction that is not to be finished: any behind a MAIL that
 * was accepted, but not while text is handed in.
 *
 * size_octets 0: not known. MAIL_SMTPUTF8 is passed on where the peer offers it; only
 * MAIL_UTF8_ADDRESS, or a recipient's address that is not ASCII, needs it. What the peer
 * cannot be given is answered by a LIVE (550 5.6.7, 552 5.3.4, 553 5.1.3) without anything
 * being sent: to live_mail, and then no transaction is open, or to live_rcpt.
 *
 * LMTP has a reply for each recipient at the end, and here they are one: the first of the
 * worst kind, where 4xx is worse than 5xx and 2xx means that all have the mail.
 *
 * A 421 is a LIVE if it answers a command, and FAILED follows. A reply that answers nothing
 * is FAILED alone.
 */
void smtp_client_live_mail(struct smtp_client *client, struct pn_str sender,
                           uint64_t size_octets, unsigned flags, enum mail_ret ret,
                           struct pn_str envid);
void smtp_client_live_rcpt(struct smtp_client *client, const struct mail_recipient *recipient);
void smtp_client_live_data(struct smtp_client *client);
void smtp_client_live_text(struct smtp_client *client, struct pn_str text, bool last);
void smtp_client_live_reset(struct smtp_client *client);
/* From live_mail on until the transaction has ended and that was answered. */
bool smtp_client_live_open(const struct smtp_client *client);
bool smtp_client_live_wants_text(const struct smtp_client *client); /* from 354 to the last */

/* A question that delivers nothing: MAIL FROM:<> and RSET. Only while no mail is under way. */
void smtp_client_check(struct smtp_client *client);
void smtp_client_quit(struct smtp_client *client);

/* Is a reply awaited, and for what? NULL: none. For time-outs and words in the log. */
const char *smtp_client_awaits(const struct smtp_client *client);
bool smtp_client_awaits_final(const struct smtp_client *client); /* the reply to a text */
uint64_t smtp_client_replies(const struct smtp_client *client);  /* that have come whole */

#endif
