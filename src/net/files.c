/*
 * net/files.c - the real file system behind the files port.
 *
 * Plain blocking calls. What is written is durable when the call returns: the file is
 * synced before it is renamed, and its directory afterwards (FAULTS 8.1, 8.2). A failed
 * fsync is never tried again (FAULTS 8.3): the new file is given up and the old one stays.
 */
#include "loop_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_OCTETS 65536

static int files_error(struct pn_err *err, const char *what, const char *path)
{
    int number = errno;

    return pn_err_set(err, pn_err_from_errno(number), "cannot %s %s: %s", what, path,
                      strerrordesc_np(number));
}

/* Syncs the directory that path is in. */
static int directory_sync(const char *path, struct pn_err *err)
{
    const char *slash = strrchr(path, '/');
    char *parent =
        slash ? pn_strndup((struct pn_str){path, (size_t)(slash - path) + 1}) : pn_strdup(".");
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = 0;

    if (fd < 0 || fsync(fd) != 0) {
        result = files_error(err, "sync the directory", parent);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(parent);
    return result;
}

/* Appends what fd has to out, as far as out may grow. */
static int read_all(int fd, const char *path, struct pn_buf *out, struct pn_err *err)
{
    for (;;) {
        size_t room = pn_buf_room(out);
        char past_end;
        char *into = &past_end;
        ssize_t got;

        room = room < READ_OCTETS ? room : READ_OCTETS;
        if (room > 0) {
            into = pn_buf_reserve(out, room);
            pn_assert(into);
        }
        got = read(fd, into, room > 0 ? room : 1);
        if (got == 0) {
            return 0;
        }
        if (got < 0 && errno != EINTR) {
            return files_error(err, "read", path);
        }
        if (got > 0 && room == 0) {
            return pn_err_set(err, PN_ENOSPACE, "cannot read %s: it is longer than %zu octets",
                              path, out->max);
        }
        if (got > 0) {
            pn_buf_added(out, (size_t)got);
        }
    }
}

static int file_read(struct files *files, const char *path, struct pn_buf *out,
                     struct pn_err *err)
{
    size_t before = out->len;
    /* Not to be hung up by a FIFO that somebody put there. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int result;

    (void)files;
    if (fd < 0) {
        return files_error(err, "open", path);
    }
    result = read_all(fd, path, out, err);
    if (result < 0) {
        pn_buf_truncate(out, before);
    }
    close(fd);
    return result;
}

static int write_all(int fd, struct pn_str content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.ptr, content.len);

        if (put < 0 && errno != EINTR) {
            return -1;
        }
        if (put > 0) {
            content = pn_str_sub(content, (size_t)put, content.len);
        }
    }
    return 0;
}

static int file_write(struct files *files, const char *path, struct pn_str content,
                      uint32_t mode, struct pn_err *err)
{
    struct pn_buf name;
    char *fresh;
    int result = 0;
    int fd;

    (void)files;
    pn_buf_init(&name, strlen(path) + 8);
    pn_assert(pn_buf_append_z(&name, path) == 0 && pn_buf_append_z(&name, ".XXXXXX") == 0);
    fresh = pn_buf_detach(&name);
    fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0) {
        result = files_error(err, "make a file beside", path);
        free(fresh);
        return result;
    }
    if (write_all(fd, content) != 0 || fchmod(fd, (mode_t)(mode & 07777)) != 0 ||
        fsync(fd) != 0) {
        result = files_error(err, "write", path);
        close(fd);
    } else if (close(fd) != 0 || rename(fresh, path) != 0) {
        result = files_error(err, "replace", path);
    }
    if (result < 0) {
        unlink(fresh);
    } else {
        result = directory_sync(path, err);
    }
    free(fresh);
    return result;
}

static int file_remove(struct files *files, const char *path, struct pn_err *err)
{
    (void)files;
    if (unlink(path) != 0) {
        return files_error(err, "remove", path);
    }
    return directory_sync(path, err);
}

/* Overwrites what fd has, in place. */
static int overwrite(int fd)
{
    struct stat info;
    char noise[4096];

    if (fstat(fd, &info) != 0) {
        return -1;
    }
    for (off_t at = 0; at < info.st_size;) {
        off_t left = info.st_size - at;
        size_t want = left < (off_t)sizeof noise ? (size_t)left : sizeof noise;
        ssize_t got = getrandom(noise, want, 0);

        got = got > 0 ? pwrite(fd, noise, (size_t)got, at) : got;
        if (got < 0 && errno != EINTR) {
            return -1;
        }
        at += got > 0 ? got : 0;
    }
    return fsync(fd);
}

static int file_shred(struct files *files, const char *path, struct pn_err *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    int result = 0;

    if (fd < 0) {
        return files_error(err, "open", path);
    }
    if (overwrite(fd) != 0) {
        result = files_error(err, "overwrite", path);
    }
    close(fd);
    return result < 0 ? result : file_remove(files, path, err);
}

static void info_fill(const struct stat *from, struct files_info *out)
{
    *out = (struct files_info){
        .exists = true,
        .directory = S_ISDIR(from->st_mode),
        .size_octets = (uint64_t)from->st_size,
        .mode = from->st_mode & 07777,
        .uid = from->st_uid,
        .inode = from->st_ino,
        .mtime_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 + from->st_mtim.tv_nsec,
    };
}

static int file_list(struct files *files, const char *path, files_entry_fn *on_entry,
                     void *owner, struct pn_err *err)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    int result = 0;

    (void)files;
    if (!directory) {
        return files_error(err, "list", path);
    }
    while (errno = 0, (entry = readdir(directory)) != NULL) {
        struct files_info info = {0};
        struct stat found;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        /* An entry that vanished meanwhile, or leads nowhere, is told as not existing. */
        if (fstatat(dirfd(directory), entry->d_name, &found, 0) == 0) {
            info_fill(&found, &info);
        }
        on_entry(owner, entry->d_name, &info);
    }
    if (errno != 0) {
        result = files_error(err, "list", path);
    }
    closedir(directory);
    return result;
}

static int file_info(struct files *files, const char *path, struct files_info *out,
                     struct pn_err *err)
{
    struct stat found;

    (void)files;
    if (stat(path, &found) == 0) {
        info_fill(&found, out);
        return 0;
    }
    if (errno != ENOENT && errno != ENOTDIR) {
        return files_error(err, "look at", path);
    }
    *out = (struct files_info){0};
    return 0;
}

/* One that is there already will do. */
static int file_make_directory(struct files *files, const char *path, uint32_t mode,
                               struct pn_err *err)
{
    struct files_info info;

    if (mkdir(path, (mode_t)(mode & 07777)) == 0) {
        return directory_sync(path, err);
    }
    if (errno != EEXIST) {
        return files_error(err, "make the directory", path);
    }
    if (file_info(files, path, &info, NULL) == 0 && info.directory) {
        return 0;
    }
    errno = EEXIST;
    return files_error(err, "make the directory", path);
}

static int file_space(struct files *files, const char *path, uint64_t *out_free_octets,
                      uint64_t *out_total_octets, struct pn_err *err)
{
    struct statvfs found;

    (void)files;
    if (statvfs(path, &found) != 0) {
        return files_error(err, "find the free space of", path);
    }
    *out_free_octets = (uint64_t)found.f_bavail * found.f_frsize;
    *out_total_octets = (uint64_t)found.f_blocks * found.f_frsize;
    return 0;
}

struct files *net_files(void)
{
    static const struct files_ops ops = {
        .read = file_read,
        .write = file_write,
        .remove = file_remove,
        .shred = file_shred,
        .list = file_list,
        .info = file_info,
        .make_directory = file_make_directory,
        .space = file_space,
    };
    static struct files files = {.ops = &ops};

    return &files;
}
