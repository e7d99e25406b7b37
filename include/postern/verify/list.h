/*
 * verify/list.h - recipient lists: files, or HTTP(S) addresses that are kept fresh.
 *
 * A list is an immutable table of hashes: 16 octets an address and a fifth of them free; a
 * million addresses load in about a second and keep 19 MB. Lists are read and fetched on
 * main's loop, in slices of a few milliseconds. The last good list stays in force when a
 * new one cannot be had, has no recipient of the domain, or has more broken lines than good
 * ones; a domain that never had a good one answers NOT_LOADED, not "nobody". What was
 * fetched by HTTP is kept on disk, for when its source is away too. Any thread may ask.
 */
#ifndef POSTERN_VERIFY_LIST_H
#define POSTERN_VERIFY_LIST_H

#include "postern/base/log.h"
#include "postern/domains/domains.h"
#include "postern/port/crypto.h"
#include "postern/port/files.h"
#include "postern/port/http.h"
#include "postern/port/loop.h"

#define VERIFY_LIST_MAX ((size_t)256 * 1024 * 1024) /* octets of a list's text */

struct verify_lists;

struct verify_lists_deps {
    struct loop *loop; /* main's: where fetches and reloads are driven from */
    struct files *files;
    struct http *http;
    struct crypto *crypto;
    const char *path; /* the directory for fetched copies; made when needed. Borrowed */
    const struct pn_log *log;
    uint64_t seed; /* for jitter */
};

struct verify_lists *verify_lists_new(const struct verify_lists_deps *deps);
void verify_lists_free(struct verify_lists **lists);

/* On main: the domains in force have changed; lists that are named now are loaded. */
void verify_lists_configure(struct verify_lists *lists, const struct domains *domains);

enum verify_list_answer { VERIFY_LIST_YES, VERIFY_LIST_NO, VERIFY_LIST_NOT_LOADED };
/* Any thread. local in its compared form (verify_local). */
enum verify_list_answer verify_lists_find(struct verify_lists *lists,
                                          const struct conf_domain *domain,
                                          struct pn_str local);

/* On main. For status: false when the domain has no list. Borrowed until the next turn. */
struct verify_list_status {
    const char *source;
    size_t addresses; /* different ones; a wild card counts for none */
    size_t broken_lines;
    size_t foreign_lines; /* addresses of other domains */
    bool wild_card;
    const char *broken;    /* the first five, "3: no address here; 7: …"; "" */
    struct pn_wall loaded; /* when it was read, or last found unchanged; 0: never */
    const char *trouble;   /* "" or why the newest version is not in force */
};
bool verify_lists_status(struct verify_lists *lists, struct pn_str domain,
                         struct verify_list_status *out);

/*
 * What a line of a list says (without its LF; a CR is fine). A line is an address, a local
 * part, "@" or "@domain" for all, or nothing; " #" begins a comment. FOREIGN: an address of
 * another domain than this one, its aliases and, where it takes them, names below it.
 */
enum verify_line {
    VERIFY_LINE_NOTHING,
    VERIFY_LINE_LOCAL, /* *out_local, as written */
    VERIFY_LINE_ALL,
    VERIFY_LINE_FOREIGN,
    VERIFY_LINE_BROKEN
};
enum verify_line verify_list_line(struct pn_str line, const struct conf_domain *domain,
                                  struct pn_str *out_local);

#endif
