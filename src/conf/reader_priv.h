/*
 * conf/reader_priv.h - one file being read: where mistakes go, and whether there were any.
 *
 * The list of mistakes may hold those of other files, so the reader remembers for itself
 * whether this one failed.
 */
#ifndef POSTERN_CONF_READER_PRIV_H
#define POSTERN_CONF_READER_PRIV_H

#include "postern/conf/conf.h"

struct conf_reader {
    const char *file;
    const char *where; /* put before each sentence: `listener "mx": `, or "" */
    struct conf_mistakes *mistakes;
    bool failed; /* something worse than a warning was said */
};

void conf_reader_mistake(struct conf_reader *reader, unsigned line, const char *format, ...)
    PN_PRINTF(3, 4);
void conf_reader_warn(struct conf_reader *reader, unsigned line, const char *format, ...)
    PN_PRINTF(3, 4);

/* At most 60 octets of outside text in quotes, fit for a sentence: no control characters. */
#define CONF_QUOTE_CHARS 256
const char *conf_text_quote(struct pn_str text, char out[CONF_QUOTE_CHARS]);

#endif
