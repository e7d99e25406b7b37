/*
 * ingress/session_priv.h - what the parts of ingress/ share: sessions and transactions.
 */
#ifndef POSTERN_INGRESS_SESSION_PRIV_H
#define POSTERN_INGRESS_SESSION_PRIV_H

#include "postern/base/arena.h"
#include "postern/ingress/ingress.h"
#include "postern/mail/header.h"
#include "postern/smtp/server.h"
#include "postern/smtp/xclient.h"

struct session;
struct transaction;
struct late;

struct ingress {
    struct ingress_deps deps;
    struct ingress_settings settings;
    struct pn_rand rand;
    struct session *sessions;
    size_t session_count;
    struct session *waiting; /* for memory, the longest waiting first */
    struct pn_timer timer;   /* set while somebody waits: others give memory back, too */
    struct loop_task task;   /* wakes who waits, tells that we have stopped, frees */
    enum { INGRESS_RUNNING, INGRESS_STOPPING, INGRESS_STOPPED, INGRESS_FREED } state;
    bool task_deferred;
    ingress_stopped_fn *on_stopped;
    void *owner;
    struct transaction *spare; /* used transactions, so that a mail costs no allocation */
    size_t spare_count;
    struct late *late;     /* sessions to targets that may still say 2xx: see pass.c */
    struct front *fronts;  /* connections of which a load balancer has to tell whose they are */
    struct pn_buf scratch; /* for the length of one call */
};

/* Takes a stream whose client is known. via: who told so, or NULL. */
void ingress_admit(struct ingress *ingress, struct stream *stream, size_t listener,
                   const struct pn_endpoint *peer, const struct pn_ip *via);

/* A connection to a listener with proxy_protocol: waits for the header, then admits it. */
void ingress_front_start(struct ingress *ingress, struct stream *stream, size_t listener);
void ingress_front_drop_all(struct ingress *ingress);

void ingress_defer(struct ingress *ingress); /* the task runs before this turn ends */

/* ---- one mail transaction --------------------------------------------------------- */

#define TRANSACTION_BUCKETS 64

struct recipient {
    struct mail_recipient recipient;
    uint32_t hash;
    struct recipient *next;        /* in its group */
    struct recipient *next_bucket; /* with a similar hash */
};

/* The recipients of one queue. */
struct group {
    const struct conf_domain *domain; /* borrowed from the session's table */
    struct recipient *first;
    struct recipient *last;
    size_t count;
    struct group *next;
};

/* Why the text is thrown away as it comes; told at its end. */
struct refusal {
    int code;
    const char *enhanced;
    const char *text;
};

/* ---- a live transaction with the target ------------------------------------------- */

#define PASS_REASON_MAX 400
#define PASS_PEER_MAX   300

/* What is waited for, or what has happened. */
enum pass_state {
    PASS_NONE,    /* there is none */
    PASS_SESSION, /* for the pool: a session */
    PASS_NAMED,   /* for the target: it was told who the client is */
    PASS_MAIL,    /* for the reply to MAIL */
    PASS_RCPT,    /* for the reply to RCPT */
    PASS_OPEN,    /* nothing: the last command was answered, the transaction is open */
    PASS_REFUSED, /* nothing: MAIL was refused */
    PASS_DATA,    /* for the reply to DATA */
    PASS_TEXT,    /* nothing: the text may go */
    PASS_FINAL,   /* for the reply to the text */
    PASS_DONE,    /* nothing: the text was answered */
    PASS_FAILED,  /* nothing: there was no session, or it was lost before the last octet */
    PASS_DOUBT,   /* nothing: it was lost, or is silent, behind the last octet */
};

struct pass {
    enum pass_state state;
    const struct conf_domain *domain; /* whose destination it goes to */
    struct out_pool_request request;
    struct out_session *session; /* ours from the pool's answer until it is put back */
    struct pn_mono since;        /* when the session was asked for */
    bool again;                  /* it is the second one */
    size_t room_octets;          /* that the session had for text when none was unsent */
    struct smtp_reply reply;     /* the last one */
    char peer[PASS_PEER_MAX];
    char reason[PASS_REASON_MAX]; /* of FAILED and DOUBT, for the log */
};

/* ---- the recipient that the client waits for -------------------------------------- */

#define ASKED_ORCPT_MAX 512

/* What becomes of a recipient's mail; of a transaction, fixed by its first recipient. */
enum way { WAY_OPEN, WAY_HOLD, WAY_PASS };

struct asked {
    enum { ASKED_NOBODY, ASKED_VERIFY, ASKED_TARGET } whom;
    const struct conf_domain *domain;
    enum way way;
    struct smtp_event event; /* its slices lie in the two below */
    char address[MAIL_ADDRESS_MAX + 1];
    char orcpt[ASKED_ORCPT_MAX + 1];
    struct verify_request request;
    bool known;              /* verify has answered */
    struct smtp_reply reply; /* verify's */
};

/* ---- a transaction ---------------------------------------------------------------- */

/* Everything in it is borrowed from its arena, and goes with it. */
struct transaction {
    struct transaction *next; /* of the spare ones */
    struct pn_arena arena;
    struct pn_mono since;
    struct mail_envelope envelope;
    struct group *groups;
    struct group *last_group;
    size_t group_count;
    size_t recipient_count;
    struct recipient *buckets[TRANSACTION_BUCKETS];
    uint64_t envelope_reserved; /* memory taken for the arena */
    uint64_t text_reserved;     /* and for the draft */
    uint64_t kept_reserved;     /* and for chunks that wait for the target's last word */
    struct mail_scan scan;
    struct spool_draft *draft; /* from the first text on */
    const struct refusal *refusal;
    size_t spill_len; /* SESSION_ROOM: text that has no room yet */
    char spill[64];
    uint64_t size_octets; /* as MAIL announced it; 0: it did not */
    bool utf8_sender;     /* its address needs SMTPUTF8 */
    enum way way;
    struct asked asked;
    struct pass pass;
    int64_t due_ms; /* of its jobs */
    bool in_doubt;  /* its jobs are */
};

/* Begins one; there is none. False: no memory. */
bool ingress_transaction_begin(struct session *session, const struct smtp_event *event);

/* Adds a recipient, or does nothing when it is there already. False: no memory. */
bool ingress_transaction_add(struct session *session, const struct conf_domain *domain,
                             const struct smtp_event *event);

/* Is it there already? */
bool ingress_transaction_has(const struct transaction *transaction,
                             const struct mail_address *address);

/* The jobs of the message, borrowed from the arena; NULL: no memory. */
struct spool_new_job *ingress_transaction_jobs(struct transaction *transaction);

/* Ends it, if there is one, and drops what is not stored. */
void ingress_transaction_end(struct session *session);
void ingress_transaction_free_spare(struct ingress *ingress);

/* ---- recipients ------------------------------------------------------------------- */

/* Answers a RCPT, or asks whoever knows: then the session waits in SESSION_RECIPIENT. */
void ingress_recipient_ask(struct session *session, const struct smtp_event *event);
/* In SESSION_RECIPIENT: answers, or asks on. False: there is no answer yet. */
bool ingress_recipient_step(struct session *session);
void ingress_recipient_stop(struct session *session);
/* Is the client in authorised_networks? */
bool ingress_recipient_is_authorised(const struct session *session);

/* ---- the target, live ------------------------------------------------------------- */

/* Gives the recipient that is asked about to the target; a session is had first where needed.
 * The state says what came of it: OPEN or REFUSED (with reply), or FAILED. */
void ingress_pass_recipient(struct session *session);
void ingress_pass_data(struct session *session); /* OPEN; then TEXT, OPEN (refused), FAILED */
/* TEXT: no more than there is room for. */
void ingress_pass_text(struct session *session, struct pn_str text);
size_t ingress_pass_room(const struct session *session);
size_t ingress_pass_unsent(const struct session *session); /* octets of text in memory */
/* TEXT: the dot. Then DONE (with reply), FAILED or DOUBT. */
void ingress_pass_finish(struct session *session);
/* The session is given up, and what was to go through it is ours. */
void ingress_pass_fail(struct session *session, const char *reason, ...) PN_PRINTF(2, 3);
/* FINAL has lasted too long: DOUBT. The session is kept, in case it still answers. */
void ingress_pass_doubt(struct session *session);
/* What the mail's protocol is called (RFC 3848, RFC 6531). */
struct pn_str ingress_receive_protocol(const struct session *session);
/* The message in doubt is stored: a 2xx that comes late ends its jobs. */
void ingress_pass_listen(struct session *session, int64_t due_ms);
/* Puts the session back, wherever it is; NONE. */
void ingress_pass_stop(struct session *session);
void ingress_pass_free_late(struct ingress *ingress);

/* ---- the text of a message -------------------------------------------------------- */

/*
 * How many of `wanted` octets may be fed to the server now. 0: none, and the session's
 * state says what it waits for.
 */
size_t ingress_receive_allowance(struct session *session, size_t wanted);
void ingress_receive_begin(struct session *session); /* the text may come */
void ingress_receive_text(struct session *session, struct pn_str text);
/* In SESSION_ROOM: is there room now? */
bool ingress_receive_room(struct session *session);
void ingress_receive_end(struct session *session, const struct smtp_event *event);
/* Notices that the draft has failed while the text came. */
void ingress_receive_check(struct session *session);
/* What the store said. False while it has not. */
bool ingress_receive_stored(struct session *session);
/* In SESSION_GO_AHEAD and SESSION_FINAL: what the target said. False while it has not. */
bool ingress_receive_go_ahead(struct session *session);
bool ingress_receive_final(struct session *session);
/* It waited too long for memory: from now on the text is thrown away. */
void ingress_receive_give_up(struct session *session);
void ingress_receive_give_back(struct session *session);

/* ---- one session ------------------------------------------------------------------ */

/*
 * What the session waits for. Between two states that wait there is no other, but for
 * SECURING, which lasts until the octets of STARTTLS itself are consumed.
 */
enum session_state {
    SESSION_COMMAND,   /* the client's next command */
    SESSION_DELAY,     /* the end of a pause: it made many errors */
    SESSION_SECURING,  /* nothing: STARTTLS was answered */
    SESSION_HANDSHAKE, /* TLS */
    SESSION_RECIPIENT, /* the answer about a recipient */
    SESSION_GO_AHEAD,  /* the target's answer to DATA */
    SESSION_TEXT,      /* more of the text */
    SESSION_MEMORY,    /* memory for the text */
    SESSION_ROOM,      /* the disk: the draft has no room for what is in the spill */
    SESSION_TARGET,    /* the target: it does not take the text fast enough */
    SESSION_FINAL,     /* the target's answer to the text */
    SESSION_STORING,   /* the store's answer */
    SESSION_CLOSING,   /* nothing: what is unsent goes out, then the session ends */
    SESSION_DROPPED,   /* nothing: it ends at once */
    SESSION_STATES
};

struct session {
    struct ingress *ingress;
    struct session *prev, *next;
    struct session *wait_prev, *wait_next; /* in ingress->waiting */
    struct stream *stream;
    struct smtp_server *server;
    struct conf *conf;       /* what was in force when it connected */
    struct domains *domains; /* when the transaction began */
    struct pn_endpoint peer;
    enum session_state state;
    struct pn_mono since;        /* the last progress in this state */
    struct pn_mono unsent_since; /* NEVER: everything has left */
    struct pn_timer timer;
    const char *ending; /* why it ends: a word for the log */
    struct transaction *transaction;

    bool extended;  /* EHLO was said */
    unsigned told;  /* enum smtp_xclient_attribute: a front end did */
    bool sign_told; /* that the client is a target of a domain */
    bool loop_told; /* that it gives us mail for the domain that it is the target of */
    char *helo;
    char *login; /* as told, or NULL */
    char *tls;   /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or NULL */
    char *name;  /* the client's name in the DNS, NULL until it is confirmed */
    char *name_candidate;
    struct resolver_query query;

    struct pn_mono started;
    uint64_t messages;
    uint64_t recipients;
    uint64_t refused;
    int64_t errors;
    unsigned junk; /* commands without a message */
    struct pn_log log;
};

/* Makes a session of a stream, greets, and steps. */
void ingress_session_start(struct ingress *ingress, struct stream *stream, bool starttls,
                           const struct pn_endpoint *peer, const struct pn_ip *via);
/* Moves the session as far as it can go now; may free it. One call too many does nothing. */
void ingress_session_step(struct session *session);
void ingress_session_enter(struct session *session, enum session_state state);
/* The session ends at the end of this step; ending is a literal. */
void ingress_session_close(struct session *session, const char *ending);
void ingress_session_drop(struct session *session, const char *ending);
/* 421, if the client can still be told, and the end. */
void ingress_session_dismiss(struct session *session, const char *ending, const char *enhanced,
                             const char *why);

/* Looks up the client's name; the answer waits in session->name. */
void ingress_session_name_ask(struct session *session);
/* Forgets it, and the question too. */
void ingress_session_name_stop(struct session *session);
/* The log's lines from now on: of this client, as `via` has told it (NULL: nobody has). */
void ingress_session_log_as(struct session *session, const struct pn_ip *via);

/* XCLIENT: the session begins again, as that of the client that the front end names. */
void ingress_xclient_take(struct session *session, const struct smtp_event *event);
bool ingress_xclient_allowed(const struct conf *conf, const struct pn_ip *client);

/* Answers an event, or begins what will. */
void ingress_command_decide(struct session *session, const struct smtp_event *event);
/* A refusal that counts as an error: late when there were many, 421 when too many. */
void ingress_command_answer_error(struct session *session, const struct smtp_reply *reply);
/* It was told "not now": what it says next without a message does not count. */
void ingress_command_excuse(struct session *session);
/* key: "to" and the like for value, or NULL. */
void ingress_command_log_refusal(struct session *session, enum pn_event event, const char *key,
                                 struct pn_str value, const struct smtp_reply *reply);

static inline struct loop *session_loop(const struct session *session)
{
    return session->ingress->deps.loop;
}

#endif
