/*
 * store/leveldb.h - the store port on LevelDB: one writer and one reader thread.
 *
 * Opening verifies the store with paranoid checks; if that fails, without them; if that
 * fails too, the directory is moved aside to "<path>.broken-<n>" and an empty one is made,
 * and on_state is told each time what happened. A lock file keeps a second process out.
 * A ballast file of two write buffers lies beside the store; it is given up when a reopen
 * needs the space, and made again when there is room.
 *
 * The values of `apart` keys lie in files of their own (src/store/values.c says why), but for
 * those of small batches, which are not worth a second sync. Such a key is written once and
 * then deleted, is 64 octets long at most, and its value
 *   - does not begin with the octet 0xa7;
 *   - is not copied: it stays until the write's on_done;
 *   - has its own checksum, which its reader verifies.
 */
#ifndef POSTERN_STORE_LEVELDB_H
#define POSTERN_STORE_LEVELDB_H

#include "postern/base/err.h"
#include "postern/port/store.h"

struct store_options {
    size_t write_buffer_octets; /* 32 to 64 MiB; also the size of its files */
    size_t cache_octets;
    int max_open_files;
    bool ballast;
    bool sync;           /* false for the state store, which can be learned again */
    struct pn_str apart; /* what such keys begin with; borrowed. Empty: there are none */
};

/* NULL and err when the directory cannot be used at all (missing, locked, no permission). */
struct store *store_leveldb_new(const char *path, const struct store_options *options,
                                const struct store_events *events, struct pn_err *err);

/* Writes what has gathered, with a last sync, ends both threads, closes. */
void store_leveldb_free(struct store **store);

/* Repairs a copy of a broken store at `from` into `to` (LevelDB's own repair; it may bring
 * back deleted records, so the caller verifies each message before it believes it). */
int store_leveldb_repair(const char *from, const char *to, struct pn_err *err);

#endif
