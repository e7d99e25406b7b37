/*
 * conf/syntax_priv.h - a file's settings as texts with line numbers, not yet understood.
 *
 * This is all the other sources see of libconfuse. A syntax error stops the library, so
 * what came before it is there and `complete` is false.
 */
#ifndef POSTERN_CONF_SYNTAX_PRIV_H
#define POSTERN_CONF_SYNTAX_PRIV_H

#include "options_priv.h"
#include "reader_priv.h"

struct conf_value {
    struct pn_str text;
    unsigned line;
};

struct conf_setting {
    const struct conf_value *values;
    size_t count; /* 0: not set, or set to an empty list */
};

/* The file's top level, or one section. */
struct conf_block {
    enum conf_section section;
    const char *title; /* "" for the top level */
    unsigned line;
    struct conf_setting settings[OPTION_COUNT];
};

struct conf_syntax {
    void *tree; /* the library's, which owns the texts */
    struct conf_value *values;
    struct conf_block *blocks; /* the first is the top level */
    size_t block_count;
    bool complete;
};

/* top is CONF_MAIN or CONF_DOMAIN. Syntax mistakes are said; fini follows in any case. */
void conf_syntax_init(struct conf_syntax *syntax, enum conf_section top,
                      struct conf_reader *reader, struct pn_str text);
void conf_syntax_fini(struct conf_syntax *syntax);

/* The line where an option's first value stands; 0 when it has its default. */
unsigned conf_block_line(const struct conf_block *block, enum conf_option_index index);

#endif
