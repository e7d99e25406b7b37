/*
 * port/files.h - files, blocking. For start, reloads and the few places off every loop.
 */
#ifndef POSTERN_PORT_FILES_H
#define POSTERN_PORT_FILES_H

#include <stdbool.h>

#include "postern/base/buf.h"
#include "postern/base/err.h"
#include "postern/base/time.h"

struct files;

struct files_info {
    bool exists;
    bool directory;
    uint64_t size_octets;
    uint32_t mode; /* permission bits */
    uint32_t uid;  /* the owner's */
    uint64_t inode;
    int64_t mtime_ns; /* since 1970 */
};

typedef void files_entry_fn(void *owner, const char *name, const struct files_info *info);

struct files_ops {
    int (*read)(struct files *files, const char *path, struct pn_buf *out, struct pn_err *err);
    int (*write)(struct files *files, const char *path, struct pn_str content, uint32_t mode,
                 struct pn_err *err);
    int (*remove)(struct files *files, const char *path, struct pn_err *err);
    int (*shred)(struct files *files, const char *path, struct pn_err *err);
    int (*list)(struct files *files, const char *directory, files_entry_fn *on_entry,
                void *owner, struct pn_err *err);
    int (*info)(struct files *files, const char *path, struct files_info *out,
                struct pn_err *err);
    int (*make_directory)(struct files *files, const char *path, uint32_t mode,
                          struct pn_err *err);
    int (*space)(struct files *files, const char *path, uint64_t *out_free_octets,
                 uint64_t *out_total_octets, struct pn_err *err);
};

/*
 * read: appends the whole file to out; PN_ENOSPACE when it is longer than out may be.
 * write: a new file beside it, synced, renamed over the old one, directory synced: after
 * a power cut there is the old content or the new one. remove: PN_ENOENT when not there;
 * the directory is synced. shred: overwritten with random octets, synced, removed.
 * list: each entry but "." and ".."; order is the directory's. space: what a process
 * without privileges may still use.
 */
struct files {
    const struct files_ops *ops;
};

#endif
