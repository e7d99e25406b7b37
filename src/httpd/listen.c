/*
 * httpd/listen.c - the unix socket of the admin API.
 *
 * Whoever can connect may do everything, so the socket is never open to more people than
 * it ends with: its mode is narrowed before bind makes the file (Linux takes the mode of
 * the socket's own inode), the group is set next, and only then is the mode widened to it
 * and listen called.
 *
 * An old file is a leftover of a crash, or another daemon's. To connect tells which: a
 * refused connection means that nobody listens, and the file goes.
 */
#include "listen_priv.h"

#include "postern/base/mem.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG          64
#define GROUP_TEXT_START 4096
#define GROUP_TEXT_MAX   (1u << 20) /* a group with thousands of members has a long line */

static int failed(const char *what, const char *path, struct pn_err *err)
{
    int number = errno;

    return pn_err_set(err, pn_err_from_errno(number), "cannot %s the admin socket %s: %s", what,
                      path, strerrordesc_np(number));
}

static int find_group(const char *name, gid_t *out_gid, struct pn_err *err)
{
    size_t octets = GROUP_TEXT_START;
    struct group group;
    struct group *found = NULL;
    char *text = NULL;
    int number;

    do {
        octets *= 2;
        text = pn_realloc(text, octets);
        number = getgrnam_r(name, &group, text, octets, &found);
    } while (number == ERANGE && octets < GROUP_TEXT_MAX);
    if (found) {
        *out_gid = group.gr_gid;
    }
    free(text);
    if (!found) {
        return pn_err_set(err, PN_ENOENT, "there is no group %s, which admin_group names",
                          name);
    }
    return 0;
}

/* Makes way for a new socket file. */
static int replace_old(const char *path, const struct sockaddr_un *address, struct pn_err *err)
{
    struct stat info;
    int fd;
    int connected;
    int number;

    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? 0 : failed("look at", path, err);
    }
    if (!S_ISSOCK(info.st_mode)) {
        return pn_err_set(err, PN_EEXIST,
                          "%s exists and is no socket; remove it, or give the option admin "
                          "another path",
                          path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return failed("make", path, err);
    }
    connected = connect(fd, (const struct sockaddr *)address, sizeof *address);
    number = errno;
    close(fd);
    /* EAGAIN: its backlog is full, so somebody does listen. */
    if (connected == 0 || number == EAGAIN) {
        return pn_err_set(err, PN_EEXIST,
                          "another daemon answers on the admin socket %s; stop it first", path);
    }
    if (number != ECONNREFUSED) {
        errno = number;
        return failed("try", path, err);
    }
    return unlink(path) == 0 || errno == ENOENT ? 0 : failed("remove the old", path, err);
}

static int open_up(int fd, const char *path, const char *group, struct pn_err *err)
{
    gid_t gid = 0;
    int result;

    if (*group) {
        result = find_group(group, &gid, err);
        if (result != 0) {
            return result;
        }
        if (chown(path, (uid_t)-1, gid) != 0) {
            return failed("set the group of", path, err);
        }
    }
    if (chmod(path, 0660) != 0) {
        return failed("set the mode of", path, err);
    }
    return listen(fd, BACKLOG) == 0 ? 0 : failed("listen on", path, err);
}

int httpd_listen(const char *path, const char *group, struct pn_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t octets = strlen(path);
    int result;
    int fd;

    if (octets == 0 || octets >= sizeof address.sun_path) {
        return pn_err_set(err, PN_EINVAL,
                          "the path of the admin socket must have 1 to %zu octets: %s",
                          sizeof address.sun_path - 1, path);
    }
    memcpy(address.sun_path, path, octets);
    result = replace_old(path, &address, err);
    if (result != 0) {
        return result;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        result = failed("make", path, err);
        if (fd >= 0) {
            close(fd);
        }
        return result;
    }
    result = open_up(fd, path, group, err);
    if (result != 0) {
        (void)unlink(path);
        close(fd);
        return result;
    }
    return fd;
}
