/*
 * helper_talk.h - runs a client's octets through a server that answers by a fixed rule.
 *
 * The trace has one word for each event and its answer, "MAIL[a@b.example]=250"; line ends
 * in texts are shown as "|", other controls as "<hex>".
 */
#ifndef POSTERN_HELPER_TALK_H
#define POSTERN_HELPER_TALK_H

#include "postern/smtp/server.h"

struct talk {
    struct smtp_server *server;
    struct pn_buf trace;
    struct pn_buf text; /* of the message so far */
    struct pn_buf output;
    size_t texts; /* TEXT events */
};

void talk_init(struct talk *talk, const struct smtp_server_options *options);
void talk_fini(struct talk *talk);

/* One piece of input; false: the server takes no more. */
bool talk_feed(struct talk *talk, struct pn_str piece);

/*
 * All of the input: a first piece up to cut, the rest in pieces of others octets. Rule: a
 * local part that begins with "no" is refused with 550, "never" gets 421; DATA and BDAT
 * are refused when a recipient is "nodata@…", chunks when one is "nochunk@…", though these
 * are taken at RCPT. Everything else is accepted, but a text that is too long or has bare
 * newlines.
 */
void talk_run(struct talk *talk, struct pn_str input, size_t cut, size_t others);

#endif
