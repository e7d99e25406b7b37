/*
 * smtp/server.h - the server's half of an SMTP conversation, without I/O.
 *
 * Bytes from the client go in through feed(). What they mean comes out of next(), one
 * event at a time. The caller decides, answers with reply(), and sends what output()
 * holds. How the bytes were cut into pieces never changes the events (but TEXT, whose
 * pieces may differ and whose sum does not); there is no clock, socket or file in here.
 *
 * Each event but TEXT must be answered before feed() takes another byte. That is the
 * back-pressure, and it is why bytes that follow STARTTLS stay with the caller, who must
 * refuse to go on when there are any (FAULTS 2.1). TEXT: call next() again until false.
 * While the peer does not take its replies feed() takes nothing either (FAULTS 4.14):
 * with no event waiting and output() not empty, a short count means "send first".
 *
 * TEXT borrows from the data that was fed: it must stay as it is until next() has returned
 * false. Text that came by BDAT and whose last line has no end gets a CR LF, so that it
 * can go on by DATA. CHUNK carries the same facts about the text so far as END (a CR at the
 * end of a chunk is counted with what follows it).
 *
 * EHLO and HELO: a 250 is written as our own, whatever its text. Any 421 ends the session,
 * as does STRANGER, which takes no answer; a BDAT without a usable size is an ERROR, and
 * STRANGER follows its answer (FAULTS 4.3).
 *
 * Order: the caller sends the greeting with smtp_server_greet first. A DATA or first BDAT
 * gives SMTP_EV_DATA: a 354 (for BDAT any 2xx or 3xx, which is not sent) lets the text
 * come; a refusal of a BDAT is sent once its octets have been eaten (FAULTS 4.1, 4.4).
 * After END or a refused DATA the transaction is over, whatever the answer was.
 *
 * Lifetime: slices inside an event die with the next non-const call.
 */
#ifndef POSTERN_SMTP_SERVER_H
#define POSTERN_SMTP_SERVER_H

#include "postern/base/buf.h"
#include "postern/smtp/event.h"

struct smtp_server;

struct smtp_server_options {
    struct pn_str hostname;  /* borrowed for the server's life */
    size_t command_length;   /* octets in a command line, CR LF included */
    uint64_t message_octets; /* announced by SIZE; beyond it text is thrown away */
    bool normalise_newlines; /* bare CR or LF become CR LF instead of refused */
    bool starttls;           /* offer it */
    bool secured;            /* TLS is on already */
    bool xclient;            /* offer XCLIENT: the client is a front end of ours */
};

/* options are copied (hostname borrowed). */
struct smtp_server *smtp_server_new(const struct smtp_server_options *options);
void smtp_server_free(struct smtp_server **server); /* NULL is fine; sets NULL */

/* "220 hostname ESMTP …", or a refusal with which the session ends (reply not NULL). */
void smtp_server_greet(struct smtp_server *server, const struct smtp_reply *reply);

/* Takes a prefix of data and returns its length; short while an event waits. */
size_t smtp_server_feed(struct smtp_server *server, struct pn_str data);

/* Returns false, and leaves *out_event alone, when more bytes are needed. */
bool smtp_server_next(struct smtp_server *server, struct smtp_event *out_event);

/* Answers the waiting event; 2xx or 3xx moves the session forward. */
void smtp_server_reply(struct smtp_server *server, const struct smtp_reply *reply);

/* A reply that answers nothing and ends the session: 421 at a time-out or a stop. */
void smtp_server_say(struct smtp_server *server, const struct smtp_reply *reply);

/* TLS is on: everything said before is forgotten; the client must say EHLO again. */
void smtp_server_secured(struct smtp_server *server);

/* From now on XCLIENT is offered, or not: the client has become another. */
void smtp_server_offer_xclient(struct smtp_server *server, bool offered);

/* The bytes to send; the caller consumes what the peer has taken. */
struct pn_buf *smtp_server_output(struct smtp_server *server);

/* Is the text of a message coming in? (Which time-out applies, how to feed.) */
bool smtp_server_in_text(const struct smtp_server *server);

#endif
