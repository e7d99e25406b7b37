/*
 * mail/header.c - reads a header while it streams by, in bounded memory.
 *
 * The scan is a state machine over octets; the only text it keeps is the word at hand of a
 * Received field, cut at the length of the longest host name. Values of other fields are
 * skipped with memchr, and the body is looked at for octets above 0x7f alone, until the
 * first one.
 *
 * Received fields are read as RFC 5322 tokens: comments nest and are skipped, folding is a
 * blank, case does not matter. Comparing text was rejected: relays fold and comment in
 * their own ways, and a loop must be found through all of them (FAULTS 5.8).
 */
#include "postern/mail/header.h"

#include <string.h>

static const struct pn_str received = {"received", 8};

enum {
    FIRST,      /* at the start of the first line: nothing can be continued */
    LINE,       /* at the start of another line of the header */
    NAME,       /* in a field's name */
    NAME_BLANK, /* in blanks before its colon, an obsolete form */
    VALUE,      /* in the value of a field that does not interest us */
    VALUE_CR,
    TRACE, /* in the value of a Received field */
    TRACE_CR,
    EMPTY_CR, /* behind the CR of an empty line */
};

void mail_scan_init(struct mail_scan *scan, struct pn_str host)
{
    *scan = (struct mail_scan){.state = FIRST};
    if (host.len <= MAIL_SCAN_HOST_MAX) {
        memcpy(scan->host, host.ptr, host.len);
        scan->host_len = host.len;
    }
}

/* Eight octets at a time: all of a body passes here. */
static bool has_high(struct pn_str s)
{
    uint64_t all = 0;
    size_t at = 0;

    for (; at + sizeof all <= s.len; at += sizeof all) {
        uint64_t eight;

        memcpy(&eight, s.ptr + at, sizeof eight);
        all |= eight;
    }
    for (; at < s.len; at++) {
        all |= (unsigned char)s.ptr[at];
    }
    return (all & 0x8080808080808080U) != 0;
}

static bool is_host(const struct mail_scan *scan)
{
    size_t len = scan->word_len;

    if (len > MAIL_SCAN_HOST_MAX || scan->host_len == 0) {
        return false;
    }
    if (scan->word[len - 1] == '.') {
        len--;
    }
    return len == scan->host_len && memcmp(scan->word, scan->host, len) == 0;
}

static void end_word(struct mail_scan *scan)
{
    if (scan->word_len > 0 && !scan->word_done) {
        if (scan->word_is_host && is_host(scan)) {
            scan->came_back = true;
        }
        scan->word_is_host = scan->word_len == 2 && memcmp(scan->word, "by", 2) == 0;
    }
    scan->word_len = 0;
}

static void add_to_word(struct mail_scan *scan, char octet)
{
    if (scan->word_len < MAIL_SCAN_HOST_MAX) {
        scan->word[scan->word_len] = pn_to_lower(octet);
    }
    if (scan->word_len <= MAIL_SCAN_HOST_MAX) {
        scan->word_len++;
    }
}

/* Returns true when the octet is inside a comment or a quoted string, and is dealt with. */
static bool enclosed_octet(struct mail_scan *scan, char octet)
{
    if (scan->comments == 0 && !scan->quoted) {
        return false;
    }
    if (scan->escaped) {
        scan->escaped = false;
    } else if (octet == '\\') {
        scan->escaped = true;
    } else if (scan->quoted) {
        scan->quoted = octet != '"';
    } else if (octet == '(') {
        scan->comments++;
    } else if (octet == ')') {
        scan->comments--;
    }
    return true;
}

static void trace_octet(struct mail_scan *scan, char octet)
{
    if (enclosed_octet(scan, octet)) {
        return;
    }
    switch (octet) {
    case '(':
        end_word(scan);
        scan->comments = 1;
        break;
    case '"':
        add_to_word(scan, octet);
        scan->quoted = true;
        break;
    case ';':
        end_word(scan);
        scan->word_done = true;
        break;
    case ' ':
    case '\t':
        end_word(scan);
        break;
    default:
        add_to_word(scan, octet);
        break;
    }
}

static void begin_field(struct mail_scan *scan)
{
    scan->name_octets = 0;
    scan->name_matches = true;
    scan->comments = 0;
    scan->quoted = false;
    scan->escaped = false;
    scan->word_is_host = false;
    scan->word_done = false;
    scan->word_len = 0;
}

static bool in_name(char octet)
{
    return octet > ' ' && octet < '\x7f' && octet != ':';
}

/* One octet of a field's name; one that cannot be there makes the line no field at all. */
static void name_octet(struct mail_scan *scan, char octet)
{
    bool blank = octet == ' ' || octet == '\t';

    if (octet == ':' && scan->name_octets > 0) {
        bool trace = scan->name_matches && scan->name_octets == received.len;

        scan->received += trace;
        scan->name_matches = trace;
        scan->state = trace ? TRACE : VALUE;
    } else if (blank && scan->name_octets > 0) {
        scan->state = NAME_BLANK;
    } else if (scan->state == NAME_BLANK || !in_name(octet)) {
        scan->in_body = true;
    } else {
        scan->name_matches = scan->name_matches && scan->name_octets < received.len &&
                             pn_to_lower(octet) == received.ptr[scan->name_octets];
        scan->name_octets++;
    }
}

static void line_octet(struct mail_scan *scan, char octet)
{
    bool blank = octet == ' ' || octet == '\t';

    if (octet == '\r') {
        scan->state = EMPTY_CR;
    } else if (blank && scan->state == LINE) {
        scan->state = scan->name_matches ? TRACE : VALUE;
    } else {
        begin_field(scan);
        scan->state = NAME;
        name_octet(scan, octet);
    }
}

/* What follows a CR; text without a line feed there does not come to us, but must not hurt. */
static void cr_octet(struct mail_scan *scan, char octet)
{
    if (octet == '\n') {
        scan->state = LINE;
    } else if (octet != '\r') {
        scan->state = scan->state == TRACE_CR ? TRACE : VALUE;
    }
}

static void header_octet(struct mail_scan *scan, char octet)
{
    switch (scan->state) {
    case FIRST:
    case LINE:
        line_octet(scan, octet);
        break;
    case NAME:
    case NAME_BLANK:
        name_octet(scan, octet);
        break;
    case TRACE:
        if (octet == '\r') {
            end_word(scan);
            scan->state = TRACE_CR;
        } else {
            scan->header_8bit |= (unsigned char)octet > 0x7f;
            trace_octet(scan, octet);
        }
        break;
    case VALUE_CR:
    case TRACE_CR:
        cr_octet(scan, octet);
        break;
    default:
        scan->in_body = true;
        break;
    }
}

/* The value of a field up to its CR, which is taken too when it is there. */
static size_t skip_value(struct mail_scan *scan, struct pn_str text)
{
    size_t len = pn_str_find(text, '\r');

    if (!scan->header_8bit) {
        scan->header_8bit = has_high(pn_str_sub(text, 0, len));
    }
    if (len == text.len) {
        return len;
    }
    scan->state = VALUE_CR;
    return len + 1;
}

void mail_scan_feed(struct mail_scan *scan, struct pn_str text)
{
    size_t at = 0;

    while (at < text.len && !scan->in_body) {
        if (scan->state == VALUE) {
            at += skip_value(scan, pn_str_sub(text, at, text.len));
            continue;
        }
        header_octet(scan, text.ptr[at]);
        /* The octet that shows that a line is no field belongs to the body. */
        at += !scan->in_body || scan->state == EMPTY_CR;
    }
    if (at < text.len && !scan->body_8bit) {
        scan->body_8bit = has_high(pn_str_sub(text, at, text.len));
    }
}
