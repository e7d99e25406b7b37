/*
 * conf/text_priv.h - outside text made fit for libconfuse.
 */
#ifndef POSTERN_CONF_TEXT_PRIV_H
#define POSTERN_CONF_TEXT_PRIV_H

#include "reader_priv.h"

#define CONF_TEXT_MAX ((size_t)1024 * 1024)

/*
 * A NUL-terminated copy for the caller to free, with blanks in place of every comment; or
 * NULL, and the mistake is said, when the text must not reach the library's lexer.
 */
char *conf_text_prepare(struct conf_reader *reader, struct pn_str text);

#endif
