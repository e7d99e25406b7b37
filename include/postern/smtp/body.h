/*
 * smtp/body.h - the text of a message on the line: unstuffing, stuffing, line ends.
 *
 * A line ends at CR LF and nowhere else; text sent with DATA ends at CR LF . CR LF and
 * nowhere else (FAULTS, section 1). NUL and octets above 0x7f pass unchanged.
 *
 * The decoder turns what comes in into lines that all end in CR LF. A CR or LF that stands
 * alone either becomes a CR LF (mend) or makes it throw away the rest of the text, to the
 * true end; both set bare_newline. A dot behind a mended line end is an ordinary dot.
 *
 *     while (smtp_decoder_next(&decoder, &data, &text) == SMTP_BODY_TEXT) { use(text); }
 *
 * How the octets were cut changes the pieces, never their sum.
 */
#ifndef POSTERN_SMTP_BODY_H
#define POSTERN_SMTP_BODY_H

#include "postern/base/buf.h"

enum smtp_body_result {
    SMTP_BODY_MORE, /* all data taken; feed more */
    SMTP_BODY_TEXT, /* *out_text is set */
    SMTP_BODY_END,  /* the dot has come; what is left in *data is no text */
};

struct smtp_decoder {
    int state; /* the decoder's own */
    bool dots; /* DATA; false: BDAT, which has no dots and no end of its own */
    bool mend;
    bool bare_newline; /* one was seen */
    bool too_long;     /* the text is longer than max_octets: the rest was thrown away */
    uint64_t max_octets;
    uint64_t text_octets; /* as they came, unstuffed, thrown away or not */
    uint64_t out_octets;  /* as they would go out if nothing were thrown away */
};

void smtp_decoder_init(struct smtp_decoder *decoder, bool dots, bool mend, uint64_t max_octets);

/* Takes from the front of *data. *out_text borrows from *data, or from static memory. */
enum smtp_body_result smtp_decoder_next(struct smtp_decoder *decoder, struct pn_str *data,
                                        struct pn_str *out_text);

/*
 * BDAT: the last chunk has come whole. Returns true with the CR LF that ends the text when
 * its last line has none, so that it can go on by DATA. A second call returns false.
 */
bool smtp_decoder_finish(struct smtp_decoder *decoder, struct pn_str *out_text);

bool smtp_decoder_ended(const struct smtp_decoder *decoder);

/*
 * The stuffer writes text for DATA: dots doubled, and every line end CR LF, whatever the
 * text holds (FAULTS 1.9).
 */
struct smtp_stuffer {
    int state; /* the stuffer's own */
};

void smtp_stuffer_init(struct smtp_stuffer *stuffer);

/* Returns how many octets of text it took: fewer than all only when out is nearly full. */
size_t smtp_stuffer_feed(struct smtp_stuffer *stuffer, struct pn_str text, struct pn_buf *out);

/* Writes the end, ". CR LF", on a line of its own. On PN_ENOSPACE nothing is written. */
int smtp_stuffer_finish(struct smtp_stuffer *stuffer, struct pn_buf *out) PN_WARN_UNUSED;

#endif
