/*
 * session_priv.h - what the parts of a session share: session.c is its life and its owner's
 * calls, connect.c finds a host that takes a connection, talk.c speaks with it, secure.c is for
 * its TLS, login.c for its login, identity.c says who its mail is from, live.c is for live
 * transactions, watch.c for people who look on.
 */
#ifndef POSTERN_OUTBOUND_SESSION_PRIV_H
#define POSTERN_OUTBOUND_SESSION_PRIV_H

#include "postern/outbound/questions.h"
#include "postern/outbound/session.h"

#define OUT_STAGGER_MS      250          /* RFC 8305 5 */
#define OUT_UNSENT_MAX      (256u << 10) /* octets on their way to the peer */
#define OUT_HOST_REASON_MAX 512
#define OUT_REASON_MAX      (17 * OUT_HOST_REASON_MAX) /* 16 hosts, and what is said of the end */
#define OUT_PEER_CHARS      (256 + PN_IP_CHARS + 16)
#define OUT_QUIT_MS         PN_SECONDS(10) /* how long a reply to QUIT is worth */

enum out_state {
    OUT_RESOLVING, /* the plan waits for an answer */
    OUT_RACING,    /* connections to them are being made */
    OUT_GREETING,  /* greeting, EHLO, STARTTLS, check: what comes before READY */
    OUT_HANDSHAKE, /* of TLS */
    OUT_READY,
    OUT_IDENTIFYING, /* XCLIENT or XFORWARD was said: READY follows */
    OUT_LEAVING,     /* QUIT follows the mails under way */
    OUT_ENDED,
};

enum out_try_state { OUT_UNTRIED, OUT_CONNECTING, OUT_TRIED };

/* One of a host's addresses. */
struct out_try {
    enum out_try_state state;
    struct pn_ip ip;
    struct stream *stream; /* while connecting */
    struct pn_mono deadline;
};

/* Why the deadline is set. */
enum out_wait { OUT_WAIT_NOTHING, OUT_WAIT_REPLY, OUT_WAIT_FINAL, OUT_WAIT_SENDING };

struct out_session {
    struct out_deps deps;
    struct out_options options;
    out_event_fn *on_event;
    void *owner;
    enum out_state state;
    struct pn_timer timer;

    /* The host that is being tried. */
    struct route_plan *plan;
    struct route_host host; /* borrows from the plan */
    struct out_questions questions;
    struct out_try tries[ROUTE_ADDRESSES_MAX];
    size_t try_count;
    size_t current;        /* the address that we are connected to */
    const char *helo_name; /* for EHLO, of that address's source; NULL: hostname */
    struct pn_mono last_start;
    bool clear; /* TLS has failed at this address, and may be done without */

    /* What became of the hosts that were tried. */
    size_t failures, loops, busies;
    char host_reason[OUT_HOST_REASON_MAX]; /* what went wrong last with this host */
    struct pn_buf reason;                  /* and with all before it, then of the end */

    /* The connection that is used. */
    struct stream *stream;
    struct smtp_client *client; /* kept after the end, for what it knows of the peer */
    bool secured;
    struct policy_sasl *sasl; /* of the login under way */
    unsigned sasl_tried;      /* enum conf_auth */
    bool logged_in;
    bool identified;  /* XCLIENT was said */
    bool did_well;    /* the board knows that commands sent together are answered */
    bool tls_settled; /* what TLS the connection has is known, and counted */
    char tls_text[OUT_HOST_REASON_MAX]; /* out_session_tls_why */
    char peer[OUT_PEER_CHARS];
    enum out_wait waits;
    struct pn_mono since; /* when the deadline was set */
    uint64_t replies;     /* of the client, when the deadline was set */
    bool was_unsent;      /* octets were on their way after the last look */

    struct smtp_client_mail **mails; /* under way, in the order in which they came */
    size_t mail_count, mail_cap;
    struct smtp_client_mail *text_mail; /* whose text the owner hands in */
    int64_t live_timeout_ms;            /* 0: as configured */

    struct out_event *events; /* for the owner, from `event_first` on */
    size_t event_first, event_count, event_cap;
    struct loop_task wake;
    bool wake_pending;
    bool freed; /* only the wake-up that is still to come knows this session */

    struct pn_buf seen[2]; /* on_line: the unfinished lines, theirs and ours */
};

/* session.c */
void out_event_push(struct out_session *session, enum out_event_kind kind,
                    struct smtp_client_mail *mail);
/* Ends the session: every mail under way is LOST, and ENDED follows. */
void out_session_end(struct out_session *session, enum out_end end, const char *format, ...)
    PN_PRINTF(3, 4);
void out_session_drop_mail(struct out_session *session, struct smtp_client_mail *mail);

/* connect.c */
void out_connect_begin(struct out_session *session);
/* The address that we are connected to is of no use: notes why (FAILED, LOOP or BUSY, and
 * a sentence), and tries the next. */
void out_connect_failed(struct out_session *session, enum out_end why, const char *format, ...)
    PN_PRINTF(3, 4);
void out_connect_again(struct out_session *session); /* to the same address, in clear */
void out_connect_tick(struct out_session *session);  /* the timer, while racing */
void out_connect_cancel(struct out_session *session);

/* talk.c */
void out_talk_begin(struct out_session *session); /* session->stream is open */
void out_talk_pump(struct out_session *session);
void out_talk_tick(struct out_session *session);  /* the timer, while talking */
void out_talk_hurry(struct out_session *session); /* the time-out was changed */

void out_talk_adopt(struct out_session *session, struct stream *stream);
/* A peer that was turned down, and is not at fault for us, is left in good order. */
void out_talk_goodbye(struct out_session *session);
void out_talk_go_on(struct out_session *session); /* what comes before READY has gone well */

/* login.c */
bool out_login_wanted(const struct out_session *session);
void out_login_begin(struct out_session *session);
void out_login_challenge(struct out_session *session, struct pn_str challenge);
void out_login_ended(struct out_session *session, const struct smtp_reply *reply);
void out_login_reset(struct out_session *session);

/* secure.c */
bool out_secure_needed(const struct out_session *session); /* the host gets no mail without */
bool out_secure_wanted(const struct out_session *session); /* EHLO was answered: TLS now? */
void out_secure_begin(struct out_session *session);        /* STARTTLS */
void out_secure_handshake(struct out_session *session);    /* it was answered by 220 */
void out_secure_step(struct out_session *session);         /* the stream, in the handshake */
void out_secure_failed(struct out_session *session, const char *why);
void out_secure_missing(struct out_session *session); /* STARTTLS was refused */
void out_secure_settled(struct out_session *session); /* EHLO was answered for good */

/* live.c */
bool out_live_open(const struct out_session *session); /* a live transaction is */
bool out_live_text(const struct out_session *session); /* its text is handed in */
/* May the next owner begin a transaction: now, or after a RSET? For the pool. */
bool out_live_clean(const struct out_session *session);
bool out_live_may_reset(const struct out_session *session);

/* watch.c */
void out_watch_data(struct out_session *session, char direction, struct pn_str data);
void out_watch_secret(struct out_session *session, struct pn_str data); /* ours, masked */
void out_watch_note(struct out_session *session, const char *format, ...) PN_PRINTF(2, 3);

#endif
