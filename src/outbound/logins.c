/*
 * logins.c - our logins at next hops: the files that `credentials` names.
 *
 * What was read is kept with the file's inode, time and size, and wiped when any of them
 * changes. A login is looked up once for each session that needs one, and costs a stat().
 */
#include "postern/outbound/logins.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <pthread.h>

#define FILE_MAX 4096

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>

struct login {
    char *path;
    struct files_info info; /* when it was read; exists false: it was not */
    struct pn_buf text;
    UT_hash_handle hh;
};

struct out_logins {
    struct files *files;
    pthread_mutex_t lock; /* guards what follows */
    struct login *logins; /* by path */
};

static void forget(struct login *login)
{
    if (login->text.data) {
        pn_wipe(login->text.data, login->text.cap);
    }
    pn_buf_clear(&login->text);
    login->info.exists = false;
}

struct out_logins *out_logins_new(struct files *files)
{
    struct out_logins *logins = PN_NEW(struct out_logins);

    logins->files = files;
    pn_assert(pthread_mutex_init(&logins->lock, NULL) == 0);
    return logins;
}

void out_logins_free(struct out_logins **logins)
{
    struct out_logins *l = *logins;
    struct login *login;
    struct login *next;

    if (!l) {
        return;
    }
    HASH_ITER (hh, l->logins, login, next) {
        HASH_DEL(l->logins, login);
        forget(login);
        pn_buf_fini(&login->text);
        free(login->path);
        free(login);
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
    *logins = NULL;
}

/* With the lock held. */
static struct login *get_login(struct out_logins *logins, const char *path)
{
    struct login *login;

    HASH_FIND_STR(logins->logins, path, login);
    if (!login) {
        login = PN_NEW(struct login);
        login->path = pn_strdup(path);
        pn_buf_init(&login->text, FILE_MAX);
        HASH_ADD_KEYPTR(hh, logins->logins, login->path, strlen(login->path), login);
    }
    return login;
}

static bool same_file(const struct files_info *a, const struct files_info *b)
{
    return a->exists && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
           a->size_octets == b->size_octets;
}

static int refresh(struct out_logins *logins, struct login *login, struct pn_err *err)
{
    struct files_info info;
    int status = logins->files->ops->info(logins->files, login->path, &info, err);

    if (status != 0) {
        return status;
    }
    if (!info.exists) {
        forget(login);
        return pn_err_set(err, PN_ENOENT, "%s: there is no such file", login->path);
    }
    if (info.mode & 0077) {
        forget(login);
        return pn_err_set(err, PN_EACCES, "%s: others may read it (mode %04o): make it 0600",
                          login->path, info.mode & 07777);
    }
    if (same_file(&login->info, &info)) {
        return 0;
    }
    forget(login);
    /* Room for all of it at once: a buffer that moves leaves a copy behind. */
    if (!pn_buf_reserve(&login->text, FILE_MAX)) {
        return pn_err_set(err, PN_ENOSPACE, "%s: no room", login->path);
    }
    status = logins->files->ops->read(logins->files, login->path, &login->text, err);
    if (status == 0) {
        login->info = info;
    } else {
        forget(login);
    }
    return status;
}

static struct pn_str take_line(struct pn_str *rest)
{
    struct pn_str line = pn_str_cut(rest, '\n');

    line.len -= line.len > 0 && line.ptr[line.len - 1] == '\r';
    return line;
}

static bool is_blank(struct pn_str s)
{
    size_t at = 0;

    while (at < s.len && (s.ptr[at] == '\n' || s.ptr[at] == '\r' || s.ptr[at] == ' ')) {
        at++;
    }
    return at == s.len;
}

static int split(const struct login *login, struct pn_buf *out_user,
                 struct pn_buf *out_password, struct pn_err *err)
{
    struct pn_str rest = pn_buf_str(&login->text);
    struct pn_str user = take_line(&rest);
    struct pn_str password = take_line(&rest);

    if (user.len == 0 || password.len == 0 || !is_blank(rest) || pn_str_has_control(user) ||
        pn_str_has_control(password)) {
        return pn_err_set(err, PN_EINVAL,
                          "%s: it has to have two lines, the user and the password",
                          login->path);
    }
    if (pn_buf_append(out_user, user) != 0 || pn_buf_append(out_password, password) != 0) {
        return pn_err_set(err, PN_ENOSPACE, "%s: a line is too long", login->path);
    }
    return 0;
}

int out_logins_get(struct out_logins *logins, const char *path, struct pn_buf *out_user,
                   struct pn_buf *out_password, struct pn_err *err)
{
    struct login *login;
    int status;

    pthread_mutex_lock(&logins->lock);
    login = get_login(logins, path);
    status = refresh(logins, login, err);
    if (status == 0) {
        status = split(login, out_user, out_password, err);
    }
    pthread_mutex_unlock(&logins->lock);
    return status;
}
