/*
 * values_priv.h - the files beside LevelDB's own in which the values of `apart` keys lie.
 *
 * A value file is nothing but values, one behind the other; what LevelDB holds under their
 * keys is a pointer. Values are appended to one file until it is full or the store is closed,
 * never to one that was there before. Whoever reads a value verifies it: no checksum here.
 */
#ifndef POSTERN_STORE_VALUES_PRIV_H
#define POSTERN_STORE_VALUES_PRIV_H

#include "postern/base/buf.h"
#include "postern/base/err.h"
#include "postern/store/leveldb.h"

#include <leveldb/c.h>

#define STORE_POINTER_OCTETS 13
#define STORE_VALUES_SUFFIX  ".values"

struct store_pointer {
    uint32_t file;
    uint32_t offset;
    uint32_t octets;
};

/* What a value is in LevelDB: true when it is a pointer, else it is the value itself. */
bool store_pointer_decode(struct pn_str stored, struct store_pointer *out);
void store_pointer_encode(const struct store_pointer *pointer, char out[STORE_POINTER_OCTETS]);

struct store_values;

/*
 * Looks which files are there. db must be open until close; when it was opened without
 * checksums (lenient), nothing is ever given back to the disk.
 */
struct store_values *store_values_open(const char *path, const struct store_options *options,
                                       leveldb_t *db, bool lenient, struct pn_err *err);
void store_values_close(struct store_values **values);

/* Any thread. The value of that key may lie in a value file; values may be NULL. */
bool store_values_has(const struct store_values *values, struct pn_str key);

/* ---- the writer's thread ----------------------------------------------------------------- */

/*
 * Appends values and syncs them: out[i] points to parts[i]. After an error the store must be
 * closed: what the files hold behind their synced part is not known.
 */
int store_values_append(struct store_values *values, const struct pn_str *parts, size_t count,
                        struct store_pointer *out, struct pn_err *err) PN_WARN_UNUSED;

/* The pointer is durable under that key. */
void store_values_added(struct store_values *values, const struct store_pointer *pointer,
                        struct pn_str key);
/* It is durable that no key has this pointer any more. */
void store_values_ended(struct store_values *values, const struct store_pointer *pointer);

/* A value for the writer's thread. Errors as store_values_read. */
int store_values_fetch(const struct store_values *values, const struct store_pointer *pointer,
                       struct pn_buf *out, struct pn_err *err) PN_WARN_UNUSED;

/* ---- the reader's thread ----------------------------------------------------------------- */

/* Appends the value to *out. PN_ECORRUPT when the file does not have it, or its disk cannot
 * read it; PN_EIO when it cannot be opened. */
int store_values_read(struct store_values *values, const struct store_pointer *pointer,
                      struct pn_buf *out, struct pn_err *err) PN_WARN_UNUSED;

/* Any thread: there is something to count or to give back. */
bool store_values_wants_upkeep(const struct store_values *values);
/* A piece of it, a few milliseconds. PN_E… when LevelDB cannot be read. */
int store_values_upkeep(struct store_values *values, struct pn_err *err) PN_WARN_UNUSED;

#endif
