/*
 * conf/values_priv.h - from texts to typed fields and back.
 */
#ifndef POSTERN_CONF_VALUES_PRIV_H
#define POSTERN_CONF_VALUES_PRIV_H

#include "syntax_priv.h"

/* Fills every field of the block's section in object: what is set, else the default. */
void conf_values_read(struct conf_reader *reader, const struct conf_syntax *syntax,
                      const struct conf_block *block, void *object);

/* The fields of a next hop that its section has no row for get the defaults of a domain. */
void conf_values_complete(enum conf_section section, struct conf_domain *domain);
/* Gives the fields of a domain that are a copy of another's their own texts and lists. */
void conf_values_copy(struct conf_domain *domain);

/* Frees what the section's fields own, not the object. */
void conf_values_free(enum conf_section section, void *object);
void conf_strings_free(struct conf_strings *strings);

/* The field as a file would have it: 14d, "text", {a, b}. */
int conf_value_format(size_t index, const void *object, struct pn_buf *out) PN_WARN_UNUSED;
/* A text of that type in the same form, for defaults. */
int conf_value_write(enum conf_type type, const char *text, struct pn_buf *out) PN_WARN_UNUSED;

/* The word's index in "a|b|c", or -1. */
int conf_word_find(const char *words, struct pn_str text);

#endif
