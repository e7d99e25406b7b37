/*
 * conf/document_priv.h - writing texts for people: a writer that remembers failure.
 */
#ifndef POSTERN_CONF_DOCUMENT_PRIV_H
#define POSTERN_CONF_DOCUMENT_PRIV_H

#include "options_priv.h"

/* Once the buffer is full nothing more is written, and status says so. */
struct conf_writer {
    struct pn_buf *out;
    int status;
};

void conf_write(struct conf_writer *writer, const char *format, ...) PN_PRINTF(2, 3);

/* The text in lines of at most 78 columns, each after the prefix. */
void conf_write_wrapped(struct conf_writer *writer, const char *prefix, const char *text);

/* The default as a file would have it, or an example where there is no default. */
void conf_write_example(struct conf_writer *writer, size_t index);
/* "from 1h to 365d", "at most 16 items", or nothing. Returns whether there is a range. */
bool conf_write_range(struct conf_writer *writer, size_t index);

#endif
