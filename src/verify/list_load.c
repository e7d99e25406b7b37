/*
 * verify/list_load.c - a list's text becomes a table, a slice at a time.
 *
 * First every line becomes a key, in an array that grows; then, when their number is known,
 * the keys move into a table of that size. Pure: the caller decides when the next slice
 * runs. A budget counts what the work costs, in units that take about a microsecond, since
 * the loop's clock stands still within a turn.
 */
#include "list_priv.h"

#include "postern/base/mem.h"
#include "postern/mail/address.h"
#include "postern/verify/verify.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_MAX       5U
#define SHOWN_CHARS     40
#define KEYS_MIN        64
#define ADDS_PER_UNIT   8
#define OCTETS_PER_UNIT 256 /* of long lines and comments */
#define NAMES_PER_UNIT  16

void verify_load_init(struct verify_load *load, const struct conf_domain *domain,
                      const struct crypto *crypto, struct pn_buf *text)
{
    *load = (struct verify_load){.domain = domain, .crypto = crypto, .text = *text};
    pn_buf_init(text, text->max);
    if (pn_str_starts(pn_buf_str(&load->text), PN_STR("\xef\xbb\xbf"))) {
        load->at = 3; /* the mark that some editors put before UTF-8 */
    }
}

void verify_load_fini(struct verify_load *load)
{
    pn_buf_fini(&load->text);
    free(load->keys);
    verify_table_free(&load->table);
    *load = (struct verify_load){0};
}

/* "3: text", made fit for a sentence. */
static void show_broken(struct verify_load *load, struct pn_str line)
{
    char *out = load->facts.broken;
    size_t used = strlen(out);
    size_t from;

    if (load->shown == SHOWN_MAX) {
        return;
    }
    line = pn_str_sub(pn_str_trim(line), 0, SHOWN_CHARS);
    (void)snprintf(out + used, sizeof load->facts.broken - used,
                   "%s%zu: ", load->shown > 0 ? "; " : "", load->line);
    from = strlen(out);
    (void)snprintf(out + from, sizeof load->facts.broken - from, "%.*s", PN_FMT(line));
    for (char *c = out + from; *c != '\0'; c++) {
        if (pn_is_control(*c) || (unsigned char)*c > 0x7e) {
            *c = '?';
        }
    }
    load->shown++;
}

static void add_local(struct verify_load *load, struct pn_str local)
{
    struct pn_buf form;

    pn_buf_init(&form, (size_t)2 * MAIL_LOCAL_MAX + 2);
    if (verify_local(load->domain, local, &form)) {
        if (load->count == load->cap) {
            load->cap = load->cap > 0 ? load->cap * 2 : KEYS_MIN;
            load->keys = pn_realloc(load->keys, load->cap * sizeof *load->keys);
        }
        load->keys[load->count++] = verify_key_make(load->crypto, pn_buf_str(&form));
    }
    pn_buf_fini(&form);
}

static void take_line(struct verify_load *load, struct pn_str line)
{
    struct pn_str local;

    load->line++;
    switch (verify_list_line(line, load->domain, &local)) {
    case VERIFY_LINE_NOTHING:
        break;
    case VERIFY_LINE_LOCAL:
        add_local(load, local);
        load->facts.good_lines++;
        break;
    case VERIFY_LINE_ALL:
        load->facts.all = true;
        load->facts.good_lines++;
        break;
    case VERIFY_LINE_FOREIGN:
        load->facts.foreign_lines++;
        break;
    case VERIFY_LINE_BROKEN:
        load->facts.broken_lines++;
        show_broken(load, line);
        break;
    }
}

static void read_lines(struct verify_load *load, int64_t *budget)
{
    struct pn_str text = pn_buf_str(&load->text);
    int64_t line_cost = 1 + (int64_t)(load->domain->aliases.count / NAMES_PER_UNIT);

    while (load->at<text.len && * budget> 0) {
        struct pn_str rest = pn_str_sub(text, load->at, SIZE_MAX);
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.ptr) : rest.len;

        take_line(load, pn_str_sub(rest, 0, len));
        load->at += len + (end != NULL);
        *budget -= line_cost + (int64_t)(len / OCTETS_PER_UNIT);
    }
}

bool verify_load_step(struct verify_load *load, int64_t *budget)
{
    read_lines(load, budget);
    if (load->at < load->text.len || *budget <= 0) {
        return false;
    }
    if (!load->table) {
        load->table = verify_table_new(load->count);
    }
    while (load->moved<load->count && * budget> 0) {
        for (size_t i = 0; i < ADDS_PER_UNIT && load->moved < load->count; i++) {
            verify_table_add(load->table, load->keys[load->moved++]);
        }
        (*budget)--;
    }
    return load->moved == load->count;
}

bool verify_load_judge(const struct verify_load *load, char *out, size_t room)
{
    const struct verify_facts *facts = &load->facts;

    if (facts->broken_lines > facts->good_lines) {
        (void)snprintf(out, room, "it has more broken lines (%zu) than good ones (%zu): %s",
                       facts->broken_lines, facts->good_lines, facts->broken);
        return false;
    }
    if (facts->good_lines == 0) {
        (void)snprintf(out, room, "it has no recipient of this domain (%zu of others)",
                       facts->foreign_lines);
        return false;
    }
    return true;
}
