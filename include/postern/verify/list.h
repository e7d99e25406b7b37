/*
 * verify/list.h - recipient lists: files, or HTTP(S) addresses that are kept fresh.
 *
 * A list is an immutable sorted table of hashes (16 octets an address; a million addresses
 * load in about a second). Loading happens off the loops, on a thread of its own; the last
 * good list stays in force when a new one cannot be read, is empty although the old one was
 * not, or has more broken lines than good ones. What was fetched by HTTP is kept on disk
 * below the spool directory, for when its source is away too. Any thread may ask.
 */
#ifndef POSTERN_VERIFY_LIST_H
#define POSTERN_VERIFY_LIST_H

#include "postern/base/log.h"
#include "postern/domains/domains.h"
#include "postern/port/files.h"
#include "postern/port/http.h"
#include "postern/port/loop.h"

struct verify_lists;

struct verify_lists_deps {
    struct loop *loop; /* main's: where fetches and reloads are driven from */
    struct files *files;
    struct http *http;
    const char *path; /* the directory for fetched copies; made when needed */
    const struct pn_log *log;
};

struct verify_lists *verify_lists_new(const struct verify_lists_deps *deps);
void verify_lists_free(struct verify_lists **lists);

/* On main: the domains in force have changed; lists that are named now are loaded. */
void verify_lists_configure(struct verify_lists *lists, const struct domains *domains);

enum verify_list_answer { VERIFY_LIST_YES, VERIFY_LIST_NO, VERIFY_LIST_NOT_LOADED };
/* local in its compared form (verify_local). */
enum verify_list_answer verify_lists_find(struct verify_lists *lists,
                                          const struct conf_domain *domain,
                                          struct pn_str local);

/* On main. For status: false when the domain has no list. */
struct verify_list_status {
    const char *source;
    size_t addresses, broken_lines;
    struct pn_wall loaded; /* 0: never */
    const char *trouble;   /* "" or why the newest version is not in force */
};
bool verify_lists_status(struct verify_lists *lists, struct pn_str domain,
                         struct verify_list_status *out);

/* One line of a list; for the parser's tests. *out_local: "" for a wild card. False: broken.
 * Blank lines and comments give true and *out_nothing. */
bool verify_list_line(struct pn_str line, struct pn_str domain, struct pn_str *out_local,
                      bool *out_nothing);

#endif
