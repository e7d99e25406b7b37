/*
 * cli/text_priv.h - what people read: escaped text, ages, counts, tables.
 */
#ifndef POSTERN_CLI_TEXT_PRIV_H
#define POSTERN_CLI_TEXT_PRIV_H

#include "postern/base/buf.h"
#include "postern/base/str.h"

#include <stdio.h>

#define CLI_TEXT_MAX (1u << 20)

/*
 * Appends outside text. What could move the cursor, change the direction of writing or is
 * no UTF-8 becomes "\xNN" or "\u{NNNN}".
 */
void cli_put_text(struct pn_buf *out, struct pn_str text);
void cli_put_z(struct pn_buf *out, const char *text);    /* our own text, as it is */
void cli_put_count(struct pn_buf *out, uint64_t number); /* "4,312" */
void cli_put_age(struct pn_buf *out, double seconds);    /* "3h 12m"; below 0: "-" */
void cli_put_size(struct pn_buf *out, uint64_t octets);  /* "18.2 MiB" */
void cli_put_printf(struct pn_buf *out, const char *format, ...) PN_PRINTF(2, 3);

/* How many columns a terminal needs for it: characters, without combining ones. */
size_t cli_columns(struct pn_str text);
/* The octets of text that fit into so many columns. */
size_t cli_fit(struct pn_str text, size_t columns);

enum cli_colour { CLI_PLAIN, CLI_GREEN, CLI_YELLOW, CLI_RED, CLI_BOLD };
enum cli_colour cli_state_colour(struct pn_str state);

/* A table: cells are added row by row, then all of it is printed. */
#define CLI_COLUMNS_MAX 12

struct cli_column {
    const char *title;
    bool right;  /* numbers */
    bool shrink; /* is cut where a line is too long */
    bool state;  /* a word with a colour */
};
struct cli_table;
struct cli_table *cli_table_new(const struct cli_column *columns, size_t count);
void cli_table_free(struct cli_table **table);
/* The next cell; the returned buffer is filled before the next call. */
struct pn_buf *cli_table_cell(struct cli_table *table);
size_t cli_table_rows(const struct cli_table *table);
/* width 0: nothing is cut. */
void cli_table_write(const struct cli_table *table, size_t width, bool colour,
                     struct pn_buf *out);

/* Starts and ends a colour around text. */
void cli_put_coloured(struct pn_buf *out, enum cli_colour colour, bool colours,
                      struct pn_str text);

#endif
