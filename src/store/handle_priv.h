/*
 * handle_priv.h - one opened LevelDB: how it is opened, locked, moved aside and closed.
 */
#ifndef POSTERN_STORE_HANDLE_PRIV_H
#define POSTERN_STORE_HANDLE_PRIV_H

#include "values_priv.h"

#include <leveldb/c.h>

struct store_handle {
    char *path;
    struct store_options options;
    leveldb_t *db; /* NULL: closed */
    leveldb_options_t *db_options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *get_options;
    leveldb_readoptions_t *scan_options;
    leveldb_writeoptions_t *write_options;
    struct store_values *values; /* of `apart` keys; NULL when closed, or there are none */
    int lock_fd;
    bool lenient; /* opened without checksums, because with them it would not open */
};

/* Takes the lock; does not open. */
int store_handle_init(struct store_handle *handle, const char *path,
                      const struct store_options *options, struct pn_err *err) PN_WARN_UNUSED;
void store_handle_fini(struct store_handle *handle);

/* lenient: without paranoid checks. PN_ECORRUPT when LevelDB says that its files are bad. */
int store_handle_open(struct store_handle *handle, bool lenient,
                      struct pn_err *err) PN_WARN_UNUSED;
void store_handle_close(struct store_handle *handle);

/* Renames the directory; *aside says what it is called now. */
int store_handle_move_aside(struct store_handle *handle, struct pn_buf *aside,
                            struct pn_err *err) PN_WARN_UNUSED;

/* True when the file system is one on which LevelDB's new files are known to survive. */
bool store_handle_is_on_known_disk(const struct store_handle *handle);

bool store_ballast_is_there(const struct store_handle *handle);
void store_ballast_make(const struct store_handle *handle); /* when there is room */
bool store_ballast_drop(const struct store_handle *handle); /* true when it was there */

/* Turns LevelDB's own words into an error; "doing" is a verb phrase: "write to". */
int store_error_set(struct pn_err *err, const char *doing, const char *path, const char *text);

#endif
