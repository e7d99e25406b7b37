/*
 * cli/table.c - aligned tables that fit the terminal.
 *
 * Every column is as wide as its widest cell. Where a line would not fit, the columns that
 * may shrink give way, the widest first, and what was cut ends in an ellipsis. In a pipe
 * nothing is cut: there, a program reads.
 */
#include "text_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define GAP          2
#define SHRINK_LEAST 8

struct cli_table {
    const struct cli_column *columns;
    size_t column_count;
    struct pn_buf *cells;
    size_t cell_count, cell_cap;
};

struct cli_table *cli_table_new(const struct cli_column *columns, size_t count)
{
    struct cli_table *table = PN_NEW(struct cli_table);

    pn_assert(count <= CLI_COLUMNS_MAX);
    table->columns = columns;
    table->column_count = count;
    return table;
}

void cli_table_free(struct cli_table **table)
{
    struct cli_table *self = *table;

    *table = NULL;
    if (!self) {
        return;
    }
    for (size_t i = 0; i < self->cell_count; i++) {
        pn_buf_fini(&self->cells[i]);
    }
    free(self->cells);
    free(self);
}

struct pn_buf *cli_table_cell(struct cli_table *table)
{
    if (table->cell_count == table->cell_cap) {
        table->cell_cap = table->cell_cap ? table->cell_cap * 2 : 64;
        table->cells = pn_realloc(table->cells, table->cell_cap * sizeof *table->cells);
    }
    pn_buf_init(&table->cells[table->cell_count], CLI_TEXT_MAX);
    return &table->cells[table->cell_count++];
}

size_t cli_table_rows(const struct cli_table *table)
{
    return table->cell_count / table->column_count;
}

static struct pn_str cell_at(const struct cli_table *table, size_t row, size_t column)
{
    return pn_buf_str(&table->cells[row * table->column_count + column]);
}

static void measure(const struct cli_table *table, size_t widths[CLI_COLUMNS_MAX])
{
    for (size_t column = 0; column < table->column_count; column++) {
        widths[column] = cli_columns(pn_str_z(table->columns[column].title));
        for (size_t row = 0; row < cli_table_rows(table); row++) {
            size_t columns = cli_columns(cell_at(table, row, column));

            widths[column] = columns > widths[column] ? columns : widths[column];
        }
    }
}

static void shrink(const struct cli_table *table, size_t widths[CLI_COLUMNS_MAX], size_t width)
{
    for (;;) {
        size_t total = GAP * (table->column_count - 1);
        size_t widest = CLI_COLUMNS_MAX;

        for (size_t i = 0; i < table->column_count; i++) {
            total += widths[i];
            if (table->columns[i].shrink && widths[i] > SHRINK_LEAST &&
                (widest == CLI_COLUMNS_MAX || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (total <= width || widest == CLI_COLUMNS_MAX) {
            return;
        }
        widths[widest]--;
    }
}

static void put_blanks(struct pn_buf *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pn_assert(pn_buf_append_char(out, ' ') == 0);
    }
}

static void put_cell(const struct cli_table *table, size_t column, size_t width, bool colours,
                     enum cli_colour colour, struct pn_str text, struct pn_buf *out)
{
    bool last = column + 1 == table->column_count;
    bool cut = cli_columns(text) > width;
    struct pn_str shown = cut ? pn_str_sub(text, 0, cli_fit(text, width - 1)) : text;
    size_t used = cli_columns(shown) + (cut ? 1 : 0);
    size_t blanks = used < width ? width - used : 0;

    if (table->columns[column].right) {
        put_blanks(out, blanks);
    }
    cli_put_coloured(out, colour, colours, shown);
    if (cut) {
        cli_put_z(out, "…");
    }
    if (!table->columns[column].right && !last) {
        put_blanks(out, blanks);
    }
    put_blanks(out, last ? 0 : GAP);
}

/* No blanks at the end of a line, where its last cells are empty. */
static void end_line(struct pn_buf *out)
{
    struct pn_str text = pn_buf_str(out);

    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    pn_buf_truncate(out, text.len);
    cli_put_z(out, "\n");
}

void cli_table_write(const struct cli_table *table, size_t width, bool colour,
                     struct pn_buf *out)
{
    size_t widths[CLI_COLUMNS_MAX];

    pn_assert(table->cell_count % table->column_count == 0);
    measure(table, widths);
    if (width > 0) {
        shrink(table, widths, width);
    }
    for (size_t column = 0; column < table->column_count; column++) {
        put_cell(table, column, widths[column], colour, CLI_BOLD,
                 pn_str_z(table->columns[column].title), out);
    }
    end_line(out);
    for (size_t row = 0; row < cli_table_rows(table); row++) {
        for (size_t column = 0; column < table->column_count; column++) {
            struct pn_str text = cell_at(table, row, column);

            put_cell(table, column, widths[column], colour,
                     table->columns[column].state ? cli_state_colour(text) : CLI_PLAIN, text,
                     out);
        }
        end_line(out);
    }
}
