/*
 * conf/text.c - outside text made fit for libconfuse.
 *
 * The library's lexer reads the environment at "${", counts a line too many at the end of
 * each C comment, writes through a null pointer at an empty "#" comment that comes first,
 * clears its whole string buffer at every comment, makes NUL out of "\0", and takes a section
 * without its closing brace. So comments never reach it: this pass follows its rules for
 * strings and comments, puts blanks where comments are (lines keep their numbers), refuses the
 * rest, and can name the line where a string or comment that never ends began.
 */
#include "text_priv.h"

#include "postern/base/mem.h"

#include <string.h>

/* The library compares each section's title with all before it. */
#define BRACES_MAX 2000

struct scan {
    struct conf_reader *reader;
    char *text;
    size_t len;
    size_t at;
    unsigned line;
    unsigned braces; /* opened so far */
    unsigned depth;  /* of those, open */
    unsigned opened; /* the line where the outermost open one stands */
};

static char look(const struct scan *scan, size_t ahead)
{
    return scan->at + ahead < scan->len ? scan->text[scan->at + ahead] : '\0';
}

static void step(struct scan *scan)
{
    scan->line += scan->text[scan->at] == '\n';
    scan->at++;
}

static void blank(struct scan *scan)
{
    if (scan->text[scan->at] != '\n') {
        scan->text[scan->at] = ' ';
    }
    step(scan);
}

static bool refuse(struct scan *scan, unsigned line, const char *why)
{
    conf_reader_mistake(scan->reader, line, "%s", why);
    return false;
}

static void blank_line_comment(struct scan *scan)
{
    while (scan->at < scan->len && scan->text[scan->at] != '\n') {
        blank(scan);
    }
}

static bool blank_block_comment(struct scan *scan)
{
    unsigned start = scan->line;

    blank(scan);
    blank(scan);
    while (scan->at < scan->len) {
        bool end = look(scan, 0) == '*' && look(scan, 1) == '/';

        blank(scan);
        if (end) {
            blank(scan);
            return true;
        }
    }
    return refuse(scan, start, "the comment that begins here with /* never ends");
}

static bool skip_string(struct scan *scan)
{
    char quote = look(scan, 0);
    unsigned start = scan->line;

    step(scan);
    while (scan->at < scan->len) {
        char c = look(scan, 0);

        if (c == '$' && look(scan, 1) == '{') {
            return refuse(scan, scan->line,
                          "\"${\" is not supported: the environment is not read");
        }
        if (c == '\\') {
            char escaped = look(scan, 1);

            /* They can make NUL and broken UTF-8, which were refused before. */
            if (quote == '"' && (pn_is_digit(escaped) || escaped == 'x')) {
                return refuse(scan, scan->line,
                              "numbers after a backslash are not supported: write the "
                              "character itself, or two backslashes for one");
            }
            step(scan);
            if (scan->at == scan->len) {
                break;
            }
        }
        step(scan);
        if (c == quote) {
            return true;
        }
    }
    return refuse(scan, start, "the string that begins here never ends");
}

/* True for what can stand in an unquoted word, where // is no comment ("http://…"). */
static bool is_word(char c)
{
    return !pn_is_control(c) && pn_str_find(PN_STR(" #\"'={}()+,*"), c) == 12;
}

static bool scan_plain(struct scan *scan)
{
    char c = look(scan, 0);

    if (c == '$' && look(scan, 1) == '{') {
        return refuse(scan, scan->line, "\"${\" is not supported: the environment is not read");
    }
    if (c == '{' && ++scan->braces > BRACES_MAX) {
        return refuse(scan, scan->line, "too many sections and lists for one file");
    }
    if (c == '{' && scan->depth++ == 0) {
        scan->opened = scan->line;
    } else if (c == '}' && scan->depth > 0) {
        scan->depth--;
    }
    step(scan);
    return true;
}

static bool scan_all(struct scan *scan)
{
    bool in_word = false;
    bool fine = true;

    while (fine && scan->at < scan->len) {
        char c = look(scan, 0);
        bool slash = c == '/' && !in_word;

        in_word = is_word(c);
        if (c == '#' || (slash && look(scan, 1) == '/')) {
            blank_line_comment(scan);
            in_word = false;
        } else if (slash && look(scan, 1) == '*') {
            fine = blank_block_comment(scan);
            in_word = false;
        } else if (c == '"' || c == '\'') {
            fine = skip_string(scan);
        } else {
            fine = scan_plain(scan);
        }
    }
    if (fine && scan->depth > 0) {
        return refuse(scan, scan->opened, "the brace that opens here is never closed");
    }
    return fine;
}

char *conf_text_prepare(struct conf_reader *reader, struct pn_str text)
{
    struct scan scan = {.reader = reader, .line = 1};

    if (text.len > CONF_TEXT_MAX) {
        conf_reader_mistake(reader, 0, "the file is larger than 1 MiB");
        return NULL;
    }
    if (pn_str_find(text, '\0') < text.len) {
        conf_reader_mistake(reader, 0, "the file has a NUL octet; it is not a text");
        return NULL;
    }
    if (!pn_str_is_utf8(text)) {
        conf_reader_mistake(reader, 0, "the file is not UTF-8");
        return NULL;
    }
    scan.text = pn_strndup(text);
    scan.len = text.len;
    if (pn_str_starts(text, PN_STR("\xef\xbb\xbf"))) {
        memset(scan.text, ' ', 3); /* The mark that some editors put before UTF-8. */
    }
    if (!scan_all(&scan)) {
        free(scan.text);
        return NULL;
    }
    return scan.text;
}
