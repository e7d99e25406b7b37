/*
 * report_priv.h - text into a report: cleaned, folded, encoded.
 *
 * A writer keeps the first failure and does nothing after it, so that a report is written
 * without a question behind every line.
 */
#ifndef POSTERN_MAIL_REPORT_PRIV_H
#define POSTERN_MAIL_REPORT_PRIV_H

#include "postern/mail/report.h"

#define MAIL_REPORT_LINE_MAX 998 /* RFC 5322 2.1.1 */

struct mail_writer {
    struct pn_buf *out;
    int rc;
};

void mail_writer_put(struct mail_writer *writer, struct pn_str text);
void mail_writer_z(struct mail_writer *writer, const char *text);
void mail_writer_printf(struct mail_writer *writer, const char *format, ...) PN_PRINTF(2, 3);
void mail_writer_date(struct mail_writer *writer, struct pn_wall when); /* RFC 5322 */

/*
 * Outside text, on lines that begin with `margin` and are folded at blanks, and wherever they
 * become too long. `before` stands in front of it on the first line, whose margin is not
 * written. Control octets become '?', and with `ascii` all others that are not ASCII; else
 * what is no UTF-8.
 */
void mail_writer_fold(struct mail_writer *writer, const char *before, const char *margin,
                      struct pn_str text, bool ascii);

/* The same on one line, blanks and all; what is longer than a line is cut. */
void mail_writer_line(struct mail_writer *writer, const char *before, struct pn_str text,
                      bool ascii);

/* Quoted-printable (RFC 2045 6.7) of a text with CR LF line ends. */
void mail_writer_quoted(struct mail_writer *writer, struct pn_str text);

/* How a text may travel. */
enum mail_width {
    MAIL_WIDTH_7BIT,
    MAIL_WIDTH_8BIT,
    MAIL_WIDTH_BINARY, /* longer lines, or NUL */
};
enum mail_width mail_width_of(struct pn_str text);

/* Decodes xtext (RFC 3461 4) into out; what is no xtext stays as it is. */
int mail_xtext_decode(struct pn_str text, struct pn_buf *out) PN_WARN_UNUSED;

/* The header that a text begins with, its empty line left out; at most max octets of whole
 * lines. */
struct pn_str mail_header_of(struct pn_str text, size_t max);
/* A field's value, up to its end of line; "" when there is none, or it is folded. */
struct pn_str mail_header_field(struct pn_str header, struct pn_str name);

#endif
