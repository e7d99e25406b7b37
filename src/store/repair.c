/*
 * repair.c - LevelDB's repair, on a copy.
 *
 * RepairDB brings deleted records back and drops others, and it changes the directory that
 * it works on. So the files are copied first, and whoever reads the copy believes nothing
 * in it unverified.
 */
#include "handle_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_OCTETS 65536

static int copy_octets(int from, int to)
{
    char piece[COPY_OCTETS];
    ssize_t got;

    while ((got = read(from, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR) {
            continue;
        }
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(to, piece + done, (size_t)(got - done));

            if (put < 0 && errno != EINTR) {
                return -1;
            }
            done += put > 0 ? put : 0;
        }
        if (got < 0) {
            return -1;
        }
    }
    return fsync(to);
}

static int copy_file(int from_directory, int to_directory, const char *name)
{
    int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int to = openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = from >= 0 && to >= 0 ? copy_octets(from, to) : -1;
    int why = errno;

    if (from >= 0) {
        close(from);
    }
    if (to >= 0) {
        close(to);
    }
    errno = why;
    return rc;
}

/* Copies the plain files of a directory; LevelDB has no others that matter. */
static int copy_directory(DIR *from, int to, struct pn_err *err)
{
    struct dirent *entry;

    while ((entry = readdir(from))) {
        struct stat info;

        if (fstatat(dirfd(from), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(info.st_mode) || strcmp(entry->d_name, "LOCK") == 0) {
            continue;
        }
        if (copy_file(dirfd(from), to, entry->d_name) < 0) {
            return pn_err_set(err, pn_err_from_errno(errno), "cannot copy %s: %s",
                              entry->d_name, strerror(errno));
        }
    }
    return 0;
}

static int copy_store(const char *from, const char *to, struct pn_err *err)
{
    DIR *source = opendir(from);
    int target = -1;
    int rc;

    if (!source) {
        return pn_err_set(err, pn_err_from_errno(errno), "cannot read the directory %s: %s",
                          from, strerror(errno));
    }
    if (mkdir(to, 0700) < 0 || (target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        rc = pn_err_set(err, pn_err_from_errno(errno), "cannot make the directory %s: %s", to,
                        strerror(errno));
        goto out;
    }
    rc = copy_directory(source, target, err);
out:
    if (target >= 0) {
        close(target);
    }
    closedir(source);
    return rc;
}

int store_leveldb_repair(const char *from, const char *to, struct pn_err *err)
{
    leveldb_options_t *options;
    char *text = NULL;
    int rc = copy_store(from, to, err);

    if (rc < 0) {
        return rc;
    }
    options = leveldb_options_create();
    leveldb_repair_db(options, to, &text);
    leveldb_options_destroy(options);
    if (text) {
        rc = store_error_set(err, "repair", to, text);
        leveldb_free(text);
    }
    return rc;
}
