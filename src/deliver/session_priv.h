/*
 * deliver/session_priv.h - one delivery session, as its worker sees it.
 */
#ifndef POSTERN_DELIVER_SESSION_PRIV_H
#define POSTERN_DELIVER_SESSION_PRIV_H

#include <uthash.h>

#include "deliver_priv.h"

struct deliver_session;

struct deliver_worker {
    struct deliver_worker_deps deps;
    struct pn_log log;
    struct deliver_session *sessions; /* uthash, by id */
};

struct deliver_session *deliver_session_new(struct deliver_worker *worker,
                                            struct deliver_order *open);
void deliver_session_jobs(struct deliver_session *session, struct deliver_order *jobs);
void deliver_session_close(struct deliver_session *session);
/* Drops it without a word. */
void deliver_session_free(struct deliver_session *session);

/* A message under way, mail.c: one transaction after the other until all recipients are
 * through. */
struct deliver_mail {
    struct smtp_client_mail mail; /* the transaction at hand */
    struct deliver_session *session;
    struct spool_message *message; /* the result's, while there is one */
    struct smtp_reply *replies;    /* of the transaction at hand */
    struct deliver_result *result; /* being filled in; owned until it is reported */
    size_t first;                  /* recipient of the transaction at hand */
    struct pn_mono begun;
    struct smtp_identity identity; /* XFORWARD: who gave it to us */
    char qid[PN_ID_CHARS + 1];     /* for that */
    bool wants_text;               /* the transaction's text may go */
    uint32_t chunk;                /* the chunk at hand */
    size_t chunk_sent;             /* octets of it that were handed in */
    struct pn_buf text;            /* chunk at hand, if it is not the message's first */
    struct pn_buf ahead;           /* the next chunk, read ahead */
    bool ahead_there;
    bool reading;
    struct deliver_mail *prev, *next;
};

struct deliver_session {
    uint64_t id;
    struct deliver_worker *worker;
    struct deliver *deliver;
    struct loop *main_loop;
    struct conf_domain *domain;
    struct out_session *out; /* NULL once it has ended */
    enum {
        SESSION_OPENING,
        SESSION_READY,
        SESSION_NAMING,   /* its client is being told (XCLIENT): no mail goes yet */
        SESSION_REFUSING, /* it found that the domain takes no mail: so are its jobs answered */
        SESSION_CLOSING,  /* takes no more jobs; QUIT when nothing is left */
        SESSION_QUITTING, /* QUIT was said */
        SESSION_ENDED,    /* waits only for answers of the spool */
    } state;
    struct deliver_order *orders; /* jobs not yet loaded */
    size_t next_job;              /* in the first order */
    struct spool_message *loaded; /* not yet handed in, in order */
    size_t loaded_count;
    size_t loading; /* how many are being loaded, and which */
    struct queue_job loading_jobs[DELIVER_JOBS_MAX];
    struct deliver_mail *mails;     /* handed in */
    struct deliver_result *results; /* to be reported at the end of this turn */
    struct deliver_result **results_end;
    bool asked;        /* more jobs were asked for, and none came yet */
    size_t pending;    /* answers of the spool that will come */
    uint64_t reserved; /* memory taken for text */
    struct loop_task report_task;
    bool report_waits;
    struct pn_timer memory_timer; /* asks again for memory */
    struct pn_mono last_done;
    struct pn_log log;
    enum out_identity identity;
    struct smtp_identity client; /* XCLIENT: whom it serves, once `named` */
    struct pn_arena client_texts;
    bool named;
    bool ends;                 /* a mail of another client came: none is taken any more */
    struct smtp_reply verdict; /* of the next hop on all mail, or on this client's */
    char peer[320];            /* for logs and reasons, also when the connection is gone */
    enum out_end end;
    char reason[QUEUE_REASON_MAX];
    UT_hash_handle hh;
};

/* The memory that a loaded message is charged with. */
uint64_t deliver_message_memory(uint64_t size_octets);

/* session.c, for mail.c: */
void deliver_session_step(struct deliver_session *session);
void deliver_session_answered(struct deliver_session *session); /* may free the session */
void deliver_session_result(struct deliver_session *session, struct deliver_result *result);
/* Drops the connection because of us; what was under way is lost. */
void deliver_session_abort(struct deliver_session *session, const char *reason);

/* refuse.c: a mail that is answered without being handed in. */
void deliver_mail_refuse(struct deliver_session *session, struct spool_message *message,
                         const struct smtp_reply *reply);

/* mail.c */
void deliver_mail_begin(struct deliver_session *session, struct spool_message *message);
void deliver_mail_text(struct deliver_mail *mail); /* hands in what there is room for */
void deliver_mail_done(struct deliver_mail *mail);
void deliver_mail_lost(struct deliver_mail *mail);
void deliver_mail_free(struct deliver_mail *mail);
#endif
