/*
 * outbound/session.h - a session to a next hop: find it, connect, TLS, EHLO, then mails.
 *
 * Used by probes, by deliver, and by the operator's checks alike. The session tries the
 * target's hosts in their order, the addresses of each in the order of route/, the next
 * one 250 ms after the last when that is still connecting (RFC 8305), until one greets it.
 * The owner is told "something happened" by on_event and pulls events with
 * out_session_next until it returns false. on_event never comes inside an owner's call.
 *
 * TLS as the domain says: under `may` a failed handshake is followed by a new connection to
 * the same address in clear; under `encrypt` the session fails. Octets between a 220 to
 * STARTTLS and the handshake are an attack: the session fails (FAULTS 2.2).
 * A next hop that greets with our own name is ourselves: OUT_END_LOOP.
 */
#ifndef POSTERN_OUTBOUND_SESSION_H
#define POSTERN_OUTBOUND_SESSION_H

#include "postern/base/log.h"
#include "postern/base/rand.h"
#include "postern/conf/conf.h"
#include "postern/port/loop.h"
#include "postern/port/resolver.h"
#include "postern/port/stream.h"
#include "postern/port/tls.h"
#include "postern/smtp/client.h"
#include "postern/stats/counters.h"

struct out_board;
struct out_logins;
struct out_policies;
struct out_session;

/* What a session works with; borrowed for its life, one for each loop. */
struct out_deps {
    struct loop *loop;
    struct network *network;
    struct resolver *resolver;
    struct tls_clients *tls;         /* NULL: no TLS */
    struct stats_counters *counters; /* or NULL */
    const struct pn_log *log;
    const struct pn_endpoint *own; /* what we listen on: never connected to */
    size_t own_count;
    const struct pn_ip *own_ips;
    size_t own_ip_count;
    struct out_board *board;       /* what is known of broken peers; NULL: nothing */
    struct out_logins *logins;     /* credentials files; NULL: they cannot be read */
    struct out_policies *policies; /* of MTA-STS; NULL: none is asked for */
    struct pn_rand *rand;          /* shuffles equal MX hosts; NULL: they stay as they came */
};

enum out_end {
    OUT_END_CLEAN,   /* we said QUIT, or the peer closed while nothing was under way */
    OUT_END_BUSY,    /* 421 between mails, or at the greeting */
    OUT_END_FAILED,  /* never became ready */
    OUT_END_LOST,    /* died while mails, or a live transaction, were under way */
    OUT_END_LOOP,    /* the next hop is ourselves */
    OUT_END_REFUSED, /* outbound: the domain says by its DNS that it takes no mail (RFC 7505);
                        reply is the verdict on all of its mail */
    OUT_END_CLIENT,  /* an identified session was lost, or its client turned away (reply): says
                        nothing of the destination */
};

/* How this next hop is told who gave us a mail. */
enum out_identity {
    OUT_IDENTITY_NONE,
    OUT_IDENTITY_XFORWARD, /* with every mail: smtp_client_mail.identity */
    OUT_IDENTITY_XCLIENT,  /* once: the session serves that client alone */
};

enum out_event_kind {
    OUT_EV_READY, /* mails may be handed in; a check, if asked for, was answered well */
    OUT_EV_MORE,  /* there is room for more text of `mail` (NULL: a live transaction's); it
                     may come when not needed */
    OUT_EV_TEXT,  /* mail: hand in its text with out_session_text */
    OUT_EV_DONE,  /* mail: replies are filled in; the mail is the owner's again */
    OUT_EV_LOST,  /* mail: the session ended without all replies; last_octet_sent tells doubt */
    OUT_EV_LIVE,  /* reply: the answer to a live command */
    OUT_EV_ENDED, /* end, reason: the last event */
};

struct out_event {
    enum out_event_kind kind;
    struct smtp_client_mail *mail;
    enum out_end end;
    struct pn_str reason;    /* a sentence: host, address, step, what was said */
    struct smtp_reply reply; /* LIVE; ENDED: what an identified client was turned away with
                                (code 0: nothing was said) */
};

typedef void out_event_fn(struct out_session *session, void *owner);
/* For people who watch: each line as it goes over the wire, ">" ours, "<" theirs, "*" notes. */
typedef void out_line_fn(void *owner, char direction, struct pn_str line);

struct out_options {
    struct conf *conf;          /* name, time-outs; a reference is taken */
    struct conf_domain *domain; /* target, service, tls; a reference is taken */
    bool check;                 /* a probe: MAIL and RSET before READY */
    int64_t connect_timeout_ms; /* 0: the configuration's */
    out_line_fn *on_line;       /* or NULL */
    unsigned window_mails;      /* see smtp/client.h */
    size_t window_octets;
    unsigned window_mails_max; /* 0: as at first */
    size_t window_octets_max;
};

struct out_session *out_session_new(const struct out_deps *deps,
                                    const struct out_options *options, out_event_fn *on_event,
                                    void *owner);
bool out_session_next(struct out_session *session, struct out_event *out_event);

/*
 * How the domain's `identity` and what the peer offers come out: from READY on. Whoever
 * delivers under XCLIENT groups its mails by client (smtp_identity_same), and calls
 * out_session_identify before the first. Under XFORWARD each mail carries its identity; a
 * live transaction calls out_session_identify before its MAIL. Under NONE there is nothing
 * to do, and an identity is ignored.
 */
enum out_identity out_session_identity_kind(const struct out_session *session);
/*
 * When READY, with nothing under way, and under XCLIENT once. READY comes again, or ENDED
 * (OUT_END_CLIENT: the reply, if there is one, is a verdict on this client's mails, never on
 * the destination). Strings need not outlive the call. After XCLIENT the session serves that
 * client alone, never goes back to the pool (out_pool_put drops it), and its end, however
 * bad, is OUT_END_CLIENT, or CLEAN.
 */
void out_session_identify(struct out_session *session, const struct smtp_identity *identity);
bool out_session_identified(const struct out_session *session); /* XCLIENT was said */

bool out_session_wants_mail(const struct out_session *session);
void out_session_mail(struct out_session *session, struct smtp_client_mail *mail);
/* How much text may be handed in now; 0: wait for OUT_EV_MORE. */
size_t out_session_text_room(const struct out_session *session);
void out_session_text(struct out_session *session, struct pn_str text, bool last);

/*
 * Live transactions, see smtp/client.h; each command is answered by OUT_EV_LIVE, or by ENDED
 * (421: by both; a reply that answers nothing, and a connection that ends: by ENDED alone).
 * Commands to a session that has ended, or was told to quit, do nothing: ENDED is on its way.
 * Time-outs are those of the configuration, but live_timeout_ms if it is shorter (not 0); it
 * holds for the reply that is awaited, too, from now on.
 *
 * Text goes by out_session_text_room and OUT_EV_MORE, as that of mails. The owner knows by
 * itself whether it gave `last`: from then on a lost session is in doubt. It errs on the safe
 * side, since when `last` was given at most 256 KiB, and the dots that were added, may not
 * have left: those the peer cannot have taken. Before `last` the peer cannot have taken the
 * mail. A text that was begun cannot be reset, only be dropped with its session.
 */
void out_session_live_mail(struct out_session *session, struct pn_str sender,
                           uint64_t size_octets, unsigned flags, enum mail_ret ret,
                           struct pn_str envid);
void out_session_live_rcpt(struct out_session *session, const struct mail_recipient *recipient);
void out_session_live_data(struct out_session *session);
void out_session_live_text(struct out_session *session, struct pn_str text, bool last);
void out_session_live_reset(struct out_session *session);
void out_session_live_timeout(struct out_session *session, int64_t live_timeout_ms);

/* A new owner (a session goes into a pool, or comes out of it). The old one pulls no more
 * events; those it has not pulled are the new one's. on_line gets the new owner too. */
void out_session_own(struct out_session *session, out_event_fn *on_event, void *owner);

void out_session_quit(struct out_session *session); /* gently; ENDED follows */
/* Drops the connection at once; no more events. NULL is fine; sets NULL. */
void out_session_free(struct out_session **session);

unsigned out_session_capabilities(const struct out_session *session);
uint64_t out_session_size_limit(const struct out_session *session);
struct pn_str out_session_ehlo_lines(const struct out_session *session);
const struct stream_tls *out_session_tls(const struct out_session *session); /* or NULL */
/* "TLSv1.3, TLSA 3 1 1 (TLSA records of …)", "in clear: STARTTLS is not offered (…)": what was
 * settled for the session, and why; "" before. */
const char *out_session_tls_why(const struct out_session *session);
unsigned out_session_quirks(const struct out_session *session); /* enum smtp_quirk */
unsigned out_session_window(const struct out_session *session); /* mails under way, at most */
/* "mail.example.org[192.0.2.1]:25", for logs and reports; "" before a connection. */
struct pn_str out_session_peer(const struct out_session *session);

#endif
