/*
 * mail/header.h - reading a message's header while it streams by, and our trace header.
 *
 * The scan keeps no line: it needs a bounded state for a header field of any length
 * (FAULTS 4.15), and its result does not depend on how the text is cut. It sees CR LF
 * line ends only (smtp/ has refused or mended all others).
 */
#ifndef POSTERN_MAIL_HEADER_H
#define POSTERN_MAIL_HEADER_H

#include "postern/base/buf.h"
#include "postern/mail/envelope.h"

#define MAIL_SCAN_HOST_MAX 255

struct mail_scan {
    unsigned received; /* Received fields */
    bool came_back;    /* one of them says "by <our host name>" */
    bool header_8bit;  /* octets above 0x7f in the header */
    bool body_8bit;    /* and in the body */
    bool in_body;      /* the empty line was seen, or a line that is no header field */
    /* the scan's own: */
    int state;
    size_t name_octets;                /* of the field name at hand */
    bool name_matches;                 /* as far as it has come it is "Received" */
    unsigned comments;                 /* comments open around this octet of a Received field */
    bool quoted;                       /* in a quoted string of it */
    bool escaped;                      /* behind a backslash */
    bool word_is_host;                 /* the word before was "by" */
    bool word_done;                    /* the date has begun: no clause follows */
    char word[MAIL_SCAN_HOST_MAX + 1]; /* the word at hand, as far as it fits */
    size_t word_len;                   /* with what does not fit */
    char host[MAIL_SCAN_HOST_MAX + 1];
    size_t host_len;
};

/* host: our own name, lower case; longer ones never match. */
void mail_scan_init(struct mail_scan *scan, struct pn_str host);
void mail_scan_feed(struct mail_scan *scan, struct pn_str text);

/*
 * Our Received field (RFC 5321 4.4), folded, with its CR LF. `host` is our name; `for_` is
 * the recipient when there is only one (else ""); one that is not plain ASCII is left out.
 * What came from the client is printed only as far as it is harmless: other octets become
 * '?', lengths are bounded. On PN_ENOSPACE nothing is written.
 */
int mail_received_write(const struct mail_envelope *envelope, struct pn_str host,
                        struct pn_str for_, struct pn_buf *out) PN_WARN_UNUSED;

#endif
