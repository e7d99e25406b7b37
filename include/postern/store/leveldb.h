/*
 * store/leveldb.h - the store port on LevelDB: one writer and one reader thread.
 *
 * Opening verifies the store with paranoid checks; if that fails, without them; if that
 * fails too, the directory is moved aside to "<path>.broken-<n>" and an empty one is made,
 * and on_state is told each time what happened. A lock file keeps a second process out.
 * A ballast file of two write buffers lies beside the store; it is given up when a reopen
 * needs the space, and made again when there is room.
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
    bool sync; /* false for the state store, which can be learned again */
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
