/*
 * conf/mistakes.c - mistakes are collected, so that one run shows as many as there are.
 *
 * The list is bounded, because a domains directory can hold a hundred thousand broken
 * files. A mistake is worth more than a warning: it takes the place of the last one kept.
 */
#include "postern/conf/conf.h"
#include "reader_priv.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define MISTAKES_MAX 100
#define TEXT_MAX     1000
#define QUOTED_MAX   60

void conf_mistakes_init(struct conf_mistakes *mistakes)
{
    *mistakes = (struct conf_mistakes){0};
}

static void free_item(struct conf_mistake *mistake)
{
    free(mistake->file);
    free(mistake->text);
}

void conf_mistakes_fini(struct conf_mistakes *mistakes)
{
    for (size_t i = 0; i < mistakes->count; i++) {
        free_item(&mistakes->items[i]);
    }
    free(mistakes->items);
    conf_mistakes_init(mistakes);
}

/* The place for one more, or NULL when it is only counted. */
static struct conf_mistake *find_place(struct conf_mistakes *mistakes, bool warning)
{
    struct conf_mistake *last;

    if (!mistakes->items) {
        mistakes->items = pn_alloc_array(MISTAKES_MAX, sizeof *mistakes->items);
    }
    if (mistakes->count < MISTAKES_MAX) {
        return &mistakes->items[mistakes->count++];
    }
    mistakes->more++;
    last = &mistakes->items[MISTAKES_MAX - 1];
    if (warning || !last->warning) {
        return NULL;
    }
    free_item(last);
    return last;
}

static void add(struct conf_mistakes *mistakes, const char *file, unsigned line, bool warning,
                const char *where, const char *format, va_list args)
    __attribute__((format(printf, 6, 0)));

static void add(struct conf_mistakes *mistakes, const char *file, unsigned line, bool warning,
                const char *where, const char *format, va_list args)
{
    struct conf_mistake *place = find_place(mistakes, warning);
    char text[TEXT_MAX];
    int used;

    if (!place) {
        return;
    }
    used = snprintf(text, sizeof text, "%s", where);
    if (used >= 0 && (size_t)used < sizeof text) {
        (void)vsnprintf(text + used, sizeof text - (size_t)used, format, args);
    }
    *place = (struct conf_mistake){pn_strdup(file), line, warning, pn_strdup(text)};
}

void conf_mistakes_add(struct conf_mistakes *mistakes, const char *file, unsigned line,
                       bool warning, const char *text, ...)
{
    va_list args;

    va_start(args, text);
    add(mistakes, file, line, warning, "", text, args);
    va_end(args);
}

bool conf_mistakes_fatal(const struct conf_mistakes *mistakes)
{
    for (size_t i = 0; i < mistakes->count; i++) {
        if (!mistakes->items[i].warning) {
            return true;
        }
    }
    return false;
}

int conf_mistake_format(const struct conf_mistake *mistake, struct pn_buf *out)
{
    const char *kind = mistake->warning ? "warning: " : "";

    if (mistake->line == 0) {
        return pn_buf_printf(out, "%s: %s%s", mistake->file, kind, mistake->text);
    }
    return pn_buf_printf(out, "%s:%u: %s%s", mistake->file, mistake->line, kind, mistake->text);
}

void conf_reader_mistake(struct conf_reader *reader, unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(reader->mistakes, reader->file, line, false, reader->where, format, args);
    va_end(args);
    reader->failed = true;
}

void conf_reader_warn(struct conf_reader *reader, unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(reader->mistakes, reader->file, line, true, reader->where, format, args);
    va_end(args);
}

const char *conf_text_quote(struct pn_str text, char out[CONF_QUOTE_CHARS])
{
    struct pn_str shown = pn_str_sub(text, 0, QUOTED_MAX);
    bool utf8;
    size_t used = 0;

    /* A cut may split a character: up to three octets of it go too. */
    for (int i = 0; i < 3 && shown.len < text.len && !pn_str_is_utf8(shown); i++) {
        shown.len--;
    }
    utf8 = pn_str_is_utf8(shown);
    out[used++] = '"';
    for (size_t i = 0; i < shown.len; i++) {
        unsigned char c = (unsigned char)shown.ptr[i];

        if (pn_is_control((char)c) || (c >= 0x80 && !utf8)) {
            (void)snprintf(out + used, 5, "\\x%02x", c);
            used += 4;
        } else {
            out[used++] = (char)c;
        }
    }
    if (shown.len < text.len) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}
