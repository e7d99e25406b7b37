/*
 * base/log.c - one line per event: a stable name, then key=value.
 *
 * A line is built in the caller's own struct, without an allocation, and handed over
 * whole. An object's context is escaped once, when it is given, and copied into each line
 * as it stands. A line that nobody wants costs a comparison and the count.
 *
 * Room for " cut=yes" is kept until the end, so that a cut line always says so. A value
 * is cut between two characters and its quotes are closed: a cut line is still well-formed.
 */
#include "postern/base/log.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "utf8_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SAY_MAX 1024

static const struct pn_event_info events[PN_EV_COUNT] = {
#define EVENT(id, name, level, help) [PN_EV_##id] = {name, PN_LOG_##level, help},
#include "postern/base/events.def"
#undef EVENT
};

static const struct pn_str cut_mark = {" cut=yes", 8};

const struct pn_event_info *pn_event_info(enum pn_event event)
{
    pn_assert((unsigned)event < PN_EV_COUNT);
    return &events[event];
}

/* What a value's next character may do to a line. */
enum treatment { PLAIN, QUOTED, BACKSLASH, OCTETS };

/* Says how the character at the front of s is written, and how many octets it takes. */
static enum treatment treat(struct pn_str s, size_t *out_taken)
{
    uint32_t c = 0;
    size_t taken = pn_utf8_first(s, &c);

    *out_taken = taken > 0 ? taken : 1;
    if (taken == 0 || c < 0x20 || (c >= 0x7f && c <= 0x9f)) {
        return OCTETS;
    }
    /* Line separators would make two lines of one; bidi controls reorder what is read. */
    if (c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
        (c >= 0x2066 && c <= 0x2069)) {
        return OCTETS;
    }
    if (c == '"' || c == '\\') {
        return BACKSLASH;
    }
    return c == ' ' ? QUOTED : PLAIN;
}

/*
 * How many octets at the front of a value are written as they stand. Nearly all that is
 * logged is that plain from end to end, and looking at every character as UTF-8 was a tenth
 * of what a message costs outside the kernel.
 */
static size_t plain_run(struct pn_str value)
{
    size_t len = 0;

    while (len < value.len && value.ptr[len] > ' ' && value.ptr[len] < 0x7f &&
           value.ptr[len] != '"' && value.ptr[len] != '\\') {
        len++;
    }
    return len;
}

static bool needs_quotes(struct pn_str value)
{
    size_t taken;

    if (value.len == 0) {
        return true;
    }
    value = pn_str_sub(value, plain_run(value), SIZE_MAX);
    for (; value.len > 0; value = pn_str_sub(value, taken, SIZE_MAX)) {
        if (treat(value, &taken) != PLAIN) {
            return true;
        }
    }
    return false;
}

/* Writes one character; returns its length there, or 0 when room is too small. */
static size_t put_character(char *out, size_t room, struct pn_str s, size_t *out_taken)
{
    static const char hex[] = "0123456789abcdef";
    enum treatment treatment = treat(s, out_taken);
    size_t taken = *out_taken;
    size_t to = 0;

    if (room < (treatment == OCTETS ? 4 * taken : taken + (treatment == BACKSLASH))) {
        return 0;
    }
    if (treatment == OCTETS) {
        for (size_t i = 0; i < taken; i++) {
            unsigned char octet = (unsigned char)s.ptr[i];

            out[to++] = '\\';
            out[to++] = 'x';
            out[to++] = hex[octet >> 4];
            out[to++] = hex[octet & 0xf];
        }
        return to;
    }
    if (treatment == BACKSLASH) {
        out[to++] = '\\';
    }
    memcpy(out + to, s.ptr, taken);
    return to + taken;
}

/*
 * Writes " key=value" into at most room octets and returns how many it took. When not all
 * of it fits, *out_cut is set; a field of which no value fits is left out.
 */
static size_t put_field(char *out, size_t room, const char *key, struct pn_str value,
                        bool *out_cut)
{
    size_t key_len = strlen(key);
    size_t quote = needs_quotes(value) ? 1 : 0;
    size_t run = plain_run(value);
    size_t to = 0;

    if (room < key_len + 2 + 2 * quote + (value.len > 0)) {
        *out_cut = true;
        return 0;
    }
    out[to++] = ' ';
    memcpy(out + to, key, key_len);
    to += key_len;
    out[to++] = '=';
    if (quote) {
        out[to++] = '"';
    }
    run = run < room - quote - to ? run : room - quote - to;
    if (run > 0) {
        memcpy(out + to, value.ptr, run);
        to += run;
    }
    value = pn_str_sub(value, run, SIZE_MAX);
    while (value.len > 0) {
        size_t taken;
        size_t written = put_character(out + to, room - quote - to, value, &taken);

        if (written == 0) {
            *out_cut = true;
            break;
        }
        to += written;
        value = pn_str_sub(value, taken, SIZE_MAX);
    }
    if (quote) {
        out[to++] = '"';
    }
    return to;
}

void pn_log_init(struct pn_log *log, struct pn_log_sink *sink)
{
    log->sink = sink;
    log->context_len = 0;
}

void pn_log_child(struct pn_log *child, const struct pn_log *parent)
{
    child->sink = parent->sink;
    child->context_len = parent->context_len;
    memcpy(child->context, parent->context, parent->context_len);
}

void pn_log_context(struct pn_log *log, const char *key, struct pn_str value)
{
    bool cut = false; /* A name too long for a context is told apart by its beginning. */

    log->context_len += put_field(log->context + log->context_len,
                                  sizeof log->context - log->context_len, key, value, &cut);
}

void pn_log_begin(struct pn_log_line *line, const struct pn_log *log, enum pn_event event)
{
    const struct pn_event_info *info = pn_event_info(event);
    struct pn_log_sink *sink = log ? log->sink : NULL;
    size_t name_len;

    line->log = NULL;
    if (!sink) {
        return;
    }
    if (sink->on_event) {
        sink->on_event(sink, event);
    }
    if (info->level < sink->least) {
        return;
    }
    line->log = log;
    line->event = event;
    line->cut = false;
    name_len = strlen(info->name);
    memcpy(line->text, info->name, name_len);
    memcpy(line->text + name_len, log->context, log->context_len);
    line->len = name_len + log->context_len;
}

void pn_log_str(struct pn_log_line *line, const char *key, struct pn_str value)
{
    /* What comes after a cut is left out: the mark stands where something is missing. */
    if (line->log && !line->cut) {
        line->len +=
            put_field(line->text + line->len, sizeof line->text - cut_mark.len - line->len, key,
                      value, &line->cut);
    }
}

void pn_log_z(struct pn_log_line *line, const char *key, const char *value)
{
    pn_log_str(line, key, pn_str_z(value));
}

/* Writes the digits of value up to end, at least so many; returns where they begin. */
static char *put_digits(char *end, uint64_t value, unsigned at_least)
{
    char *begin = end;

    do {
        *--begin = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0 || end - begin < (ptrdiff_t)at_least);
    return begin;
}

static void put_number(struct pn_log_line *line, const char *key, const char *begin,
                       const char *end)
{
    pn_log_str(line, key, (struct pn_str){begin, (size_t)(end - begin)});
}

void pn_log_u64(struct pn_log_line *line, const char *key, uint64_t value)
{
    char text[24];
    char *end = text + sizeof text;

    if (line->log) {
        put_number(line, key, put_digits(end, value, 1), end);
    }
}

void pn_log_ms(struct pn_log_line *line, const char *key, int64_t duration_ms)
{
    uint64_t ms = duration_ms < 0 ? 0 - (uint64_t)duration_ms : (uint64_t)duration_ms;
    char text[32];
    char *end = text + sizeof text;
    char *begin = end - 1;

    if (!line->log) {
        return;
    }
    *begin = 's';
    begin = put_digits(begin, ms % 1000, 3);
    *--begin = '.';
    begin = put_digits(begin, ms / 1000, 1);
    if (duration_ms < 0) {
        *--begin = '-';
    }
    put_number(line, key, begin, end);
}

void pn_log_id(struct pn_log_line *line, const char *key, const struct pn_id *id)
{
    char text[PN_ID_CHARS + 1];

    if (line->log) {
        pn_id_format(id, text);
        pn_log_z(line, key, text);
    }
}

void pn_log_ip(struct pn_log_line *line, const char *key, const struct pn_ip *ip)
{
    char text[PN_IP_CHARS];

    if (line->log) {
        pn_log_z(line, key, pn_ip_format(ip, text));
    }
}

void pn_log_end(struct pn_log_line *line)
{
    struct pn_log_sink *sink;

    if (!line->log) {
        return;
    }
    sink = line->log->sink;
    if (line->cut) {
        memcpy(line->text + line->len, cut_mark.ptr, cut_mark.len);
        line->len += cut_mark.len;
    }
    line->log = NULL;
    sink->on_line(sink, line->event, (struct pn_str){line->text, line->len});
}

void pn_log_say(const struct pn_log *log, enum pn_event event, const char *format, ...)
{
    struct pn_log_line line;
    char text[SAY_MAX];
    va_list args;
    int len;

    pn_log_begin(&line, log, event);
    if (!line.log) {
        return;
    }
    va_start(args, format);
    len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pn_assert(len >= 0);
    pn_log_str(&line, "what", pn_str_z(text));
    line.cut = line.cut || (size_t)len >= sizeof text;
    pn_log_end(&line);
}
