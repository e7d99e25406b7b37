/*
 * handle.c - one opened LevelDB: how it is opened, locked, moved aside and closed.
 *
 * LevelDB's own LOCK file keeps a second process out too, but its message does not say by
 * whom or why, and within one process it does not protect at all; so a file beside the
 * directory is locked with flock first. It stays locked while the database is closed and
 * opened again.
 *
 * Two traps of LevelDB 1.23 are stepped around here. A directory that has tables but no
 * CURRENT file counts as new: LevelDB would make an empty database and delete the tables
 * (and we the value files), so such a directory is called corrupt before LevelDB sees it. And
 * reuse_logs, which has corrupted logs, is off by default and has no switch in the C interface.
 */
#include "handle_priv.h"

#include "postern/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PATH_OCTETS  4096
#define BLOOM_BITS   10
#define ASIDE_TRIES  1000
#define BALLAST_ROOM 4 /* it is made when this many times its size is free */

/* The magic numbers of statfs(2). */
#define DISK_EXT   0xef53
#define DISK_XFS   0x58465342
#define DISK_BTRFS 0x9123683e
#define DISK_TMPFS 0x01021994 /* nothing survives there, and nobody expects it */

int store_error_set(struct pn_err *err, const char *doing, const char *path, const char *text)
{
    int code = PN_EIO;

    if (strstr(text, "No space left") || strstr(text, "Disk quota exceeded")) {
        code = PN_ENOSPACE;
    } else if (strncmp(text, "Corruption", 10) == 0 || strstr(text, "No such file")) {
        code = PN_ECORRUPT;
    }
    return pn_err_set(err, code, "cannot %s the store %s: %s", doing, path, text);
}

static int name_beside(const struct store_handle *handle, const char *suffix,
                       char out[PATH_OCTETS], struct pn_err *err)
{
    int len = snprintf(out, PATH_OCTETS, "%s%s", handle->path, suffix);

    if (len < 0 || len >= PATH_OCTETS) {
        return pn_err_set(err, PN_EINVAL, "the path of the store is too long: %s",
                          handle->path);
    }
    return 0;
}

static int take_lock(struct store_handle *handle, struct pn_err *err)
{
    char name[PATH_OCTETS];
    int rc = name_beside(handle, ".lock", name, err);

    if (rc < 0) {
        return rc;
    }
    handle->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (handle->lock_fd < 0) {
        return pn_err_set(err, pn_err_from_errno(errno), "cannot make the lock file %s: %s",
                          name, strerror(errno));
    }
    if (flock(handle->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        return pn_err_set(err, errno == EWOULDBLOCK ? PN_EEXIST : pn_err_from_errno(errno),
                          "another posternd uses this spool: the lock file %s is taken", name);
    }
    return 0;
}

static void make_options(struct store_handle *handle)
{
    leveldb_options_t *options = leveldb_options_create();

    handle->db_options = options;
    handle->cache = leveldb_cache_create_lru(handle->options.cache_octets);
    handle->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_options_set_write_buffer_size(options, handle->options.write_buffer_octets);
    leveldb_options_set_max_file_size(options, handle->options.write_buffer_octets);
    leveldb_options_set_max_open_files(options, handle->options.max_open_files);
    leveldb_options_set_cache(options, handle->cache);
    leveldb_options_set_filter_policy(options, handle->filter);
    leveldb_options_set_compression(options, leveldb_snappy_compression);
    handle->get_options = leveldb_readoptions_create();
    handle->scan_options = leveldb_readoptions_create();
    leveldb_readoptions_set_fill_cache(handle->scan_options, 0);
    handle->write_options = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(handle->write_options, handle->options.sync);
}

int store_handle_init(struct store_handle *handle, const char *path,
                      const struct store_options *options, struct pn_err *err)
{
    int rc;

    *handle =
        (struct store_handle){.path = pn_strdup(path), .options = *options, .lock_fd = -1};
    make_options(handle);
    rc = take_lock(handle, err);
    if (rc < 0) {
        store_handle_fini(handle);
    }
    return rc;
}

void store_handle_fini(struct store_handle *handle)
{
    store_handle_close(handle);
    leveldb_options_destroy(handle->db_options);
    leveldb_cache_destroy(handle->cache);
    leveldb_filterpolicy_destroy(handle->filter);
    leveldb_readoptions_destroy(handle->get_options);
    leveldb_readoptions_destroy(handle->scan_options);
    leveldb_writeoptions_destroy(handle->write_options);
    if (handle->lock_fd >= 0) {
        close(handle->lock_fd);
    }
    free(handle->path);
}

static bool is_data_file(const char *name)
{
    struct pn_str s = pn_str_z(name);

    return pn_str_ends(s, PN_STR(".ldb")) || pn_str_ends(s, PN_STR(".sst")) ||
           pn_str_ends(s, PN_STR(".log")) || pn_str_ends(s, PN_STR(STORE_VALUES_SUFFIX));
}

/* True when there are tables or logs, but no CURRENT file that names them. */
static bool lost_its_head(const struct store_handle *handle)
{
    char name[PATH_OCTETS];
    struct dirent *entry;
    bool has_data = false;
    DIR *directory;

    if (name_beside(handle, "/CURRENT", name, NULL) < 0 || access(name, F_OK) == 0) {
        return false;
    }
    directory = opendir(handle->path);
    if (!directory) {
        return false;
    }
    while (!has_data && (entry = readdir(directory))) {
        has_data = is_data_file(entry->d_name);
    }
    closedir(directory);
    return has_data;
}

/* The directory's own entry must be as durable as what will lie in it. */
static void sync_parent(const char *path)
{
    char parent[PATH_OCTETS];
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) : 0;
    int fd;

    if (snprintf(parent, sizeof parent, "%.*s", len, path) >= PATH_OCTETS) {
        return;
    }
    fd = open(len > 0 ? parent : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

static int make_directory(const struct store_handle *handle, struct pn_err *err)
{
    if (mkdir(handle->path, 0700) == 0) {
        sync_parent(handle->path);
    } else if (errno != EEXIST) {
        return pn_err_set(err, pn_err_from_errno(errno), "cannot make the directory %s: %s",
                          handle->path, strerror(errno));
    }
    return 0;
}

int store_handle_open(struct store_handle *handle, bool lenient, struct pn_err *err)
{
    char *text = NULL;
    int rc = make_directory(handle, err);

    if (rc < 0) {
        return rc;
    }
    if (lost_its_head(handle)) {
        return store_error_set(err, "open", handle->path, "Corruption: CURRENT is missing");
    }
    handle->lenient = lenient;
    leveldb_options_set_paranoid_checks(handle->db_options, !lenient);
    leveldb_readoptions_set_verify_checksums(handle->get_options, !lenient);
    leveldb_readoptions_set_verify_checksums(handle->scan_options, !lenient);
    handle->db = leveldb_open(handle->db_options, handle->path, &text);
    if (!handle->db) {
        rc = store_error_set(err, "open", handle->path, text);
        leveldb_free(text);
    } else if (handle->options.apart.len > 0) {
        handle->values =
            store_values_open(handle->path, &handle->options, handle->db, lenient, err);
        if (!handle->values) {
            store_handle_close(handle);
            rc = err->code;
        }
    }
    return rc;
}

void store_handle_close(struct store_handle *handle)
{
    store_values_close(&handle->values);
    if (handle->db) {
        leveldb_close(handle->db);
        handle->db = NULL;
    }
}

int store_handle_move_aside(struct store_handle *handle, struct pn_buf *aside,
                            struct pn_err *err)
{
    for (int n = 1; n <= ASIDE_TRIES; n++) {
        struct stat info;
        char name[PATH_OCTETS];
        char suffix[32];
        int rc;

        (void)snprintf(suffix, sizeof suffix, ".broken-%d", n);
        rc = name_beside(handle, suffix, name, err);
        if (rc < 0) {
            return rc;
        }
        if (lstat(name, &info) == 0) {
            continue;
        }
        if (rename(handle->path, name) < 0) {
            return pn_err_set(err, pn_err_from_errno(errno),
                              "cannot move the broken store %s to %s: %s", handle->path, name,
                              strerror(errno));
        }
        sync_parent(handle->path);
        pn_buf_clear(aside);
        return pn_buf_append_z(aside, name);
    }
    return pn_err_set(err, PN_EEXIST, "there are %d broken stores beside %s already",
                      ASIDE_TRIES, handle->path);
}

bool store_handle_is_on_known_disk(const struct store_handle *handle)
{
    struct statfs info;

    if (statfs(handle->path, &info) < 0) {
        return true;
    }
    switch ((unsigned long)info.f_type) {
    case DISK_EXT:
    case DISK_XFS:
    case DISK_BTRFS:
    case DISK_TMPFS:
        return true;
    default:
        return false;
    }
}

bool store_ballast_is_there(const struct store_handle *handle)
{
    char name[PATH_OCTETS];

    return name_beside(handle, ".ballast", name, NULL) == 0 && access(name, F_OK) == 0;
}

void store_ballast_make(const struct store_handle *handle)
{
    uint64_t octets = 2 * (uint64_t)handle->options.write_buffer_octets;
    struct statvfs space;
    char name[PATH_OCTETS];
    int fd;

    if (!handle->options.ballast || name_beside(handle, ".ballast", name, NULL) < 0 ||
        statvfs(handle->path, &space) < 0 ||
        (uint64_t)space.f_bavail * space.f_frsize < BALLAST_ROOM * octets) {
        return;
    }
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    if (posix_fallocate(fd, 0, (off_t)octets) != 0) {
        (void)unlink(name);
    }
    close(fd);
}

bool store_ballast_drop(const struct store_handle *handle)
{
    char name[PATH_OCTETS];

    return name_beside(handle, ".ballast", name, NULL) == 0 && unlink(name) == 0;
}
