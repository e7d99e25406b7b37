/*
 * values.c - long values in files of their own, and not in LevelDB.
 *
 * DESIGN has the bodies of mails in LevelDB. There each octet is written to the log, to a
 * table of level 0, and again with every level that the table sinks, because the tables of
 * a spool overlap: measured, 3.5 to 4 octets for one, a third of all processor time of a
 * hold in compactions, and a quarter in CRC-32C. So the values of keys that are written
 * once lie here, once, and LevelDB has pointers. All promises of DESIGN "The spool" stay:
 * values are synced before the batch with their pointers is written, so no pointer is ever
 * durable before its value; a batch that is lost leaves octets that nobody points to.
 *
 * Files are only appended to, and only by the store that made them: after a failure, and
 * after a start, there is a new one. What a failed sync left behind is never trusted. No
 * number is used twice: a pointer that came back, because a log lost its end, points to what
 * is gone, and not into somebody else's file.
 *
 * upkeep.c gives back what nobody points to.
 */
#include "values_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/octets.h"
#include "value_file_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define POINTER_MARK  ((char)0xa7) /* no value begins with it: see store/leveldb.h */
#define NUMBER_WIDTH  8
#define PARTS_AT_ONCE 1024 /* IOV_MAX */

bool store_pointer_decode(struct pn_str stored, struct store_pointer *out)
{
    if (stored.len != STORE_POINTER_OCTETS || stored.ptr[0] != POINTER_MARK) {
        return false;
    }
    *out = (struct store_pointer){.file = (uint32_t)pn_number_get(stored.ptr + 1, 4),
                                  .offset = (uint32_t)pn_number_get(stored.ptr + 5, 4),
                                  .octets = (uint32_t)pn_number_get(stored.ptr + 9, 4)};
    return true;
}

void store_pointer_encode(const struct store_pointer *pointer, char out[STORE_POINTER_OCTETS])
{
    out[0] = POINTER_MARK;
    pn_number_put(out + 1, pointer->file, 4);
    pn_number_put(out + 5, pointer->offset, 4);
    pn_number_put(out + 9, pointer->octets, 4);
}

void store_value_file_name(uint32_t number, char out[VALUE_FILE_NAME_OCTETS])
{
    (void)snprintf(out, VALUE_FILE_NAME_OCTETS, "%0*u" STORE_VALUES_SUFFIX, NUMBER_WIDTH,
                   (unsigned)number);
}

/* False when it is no value file's name. */
static bool parse_name(const char *name, uint32_t *out)
{
    struct pn_str s = pn_str_z(name);
    uint64_t number = 0;

    if (!pn_str_ends(s, PN_STR(STORE_VALUES_SUFFIX))) {
        return false;
    }
    s.len -= sizeof STORE_VALUES_SUFFIX - 1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || number > UINT32_MAX / 10) {
            return false;
        }
        number = number * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *out = (uint32_t)number;
    return s.len > 0 && number > 0 && number < UINT32_MAX;
}

void store_apart_key_set(struct apart_key *key, struct pn_str from)
{
    pn_assert(from.len <= APART_KEY_MAX);
    memcpy(key->octets, from.ptr, from.len);
    key->len = from.len;
}

int store_apart_key_compare(const struct apart_key *a, struct pn_str b)
{
    int order = memcmp(a->octets, b.ptr, a->len < b.len ? a->len : b.len);

    return order != 0 ? order : a->len < b.len ? -1 : a->len > b.len;
}

void store_value_file_widen(struct value_file *file, struct pn_str key)
{
    if (file->first.len == 0 || store_apart_key_compare(&file->first, key) > 0) {
        store_apart_key_set(&file->first, key);
    }
    if (file->last.len == 0 || store_apart_key_compare(&file->last, key) < 0) {
        store_apart_key_set(&file->last, key);
    }
}

static struct value_file *add_file(struct store_values *values, uint32_t number)
{
    struct value_file *file = PN_NEW(struct value_file);

    file->number = number;
    HASH_ADD(hh, values->files, number, sizeof file->number, file);
    if (number > values->last_number) {
        values->last_number = number;
    }
    return file;
}

static int list_files(struct store_values *values, struct pn_err *err)
{
    DIR *directory = opendir(values->path);
    struct dirent *entry;

    if (!directory) {
        return pn_err_set(err, pn_err_from_errno(errno), "cannot read the directory %s: %s",
                          values->path, strerror(errno));
    }
    while ((entry = readdir(directory))) {
        struct stat info;
        uint32_t number;

        if (parse_name(entry->d_name, &number) &&
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
            struct value_file *file = add_file(values, number);

            file->full = true;
            file->kept = file->size = info.st_size;
        }
    }
    closedir(directory);
    return 0;
}

struct store_values *store_values_open(const char *path, const struct store_options *options,
                                       leveldb_t *db, bool lenient, struct pn_err *err)
{
    struct store_values *values = PN_NEW(struct store_values);

    values->path = pn_strdup(path);
    values->fd = -1;
    values->file_octets = options->write_buffer_octets;
    values->sync = options->sync;
    values->apart = options->apart;
    values->db = db;
    pn_assert(pthread_mutex_init(&values->lock, NULL) == 0);
    values->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (values->directory < 0) {
        (void)pn_err_set(err, pn_err_from_errno(errno), "cannot open the directory %s: %s",
                         path, strerror(errno));
        store_values_close(&values);
        return NULL;
    }
    if (list_files(values, err) < 0) {
        store_values_close(&values);
        return NULL;
    }
    /* Lenient: a key that cannot be read may point anywhere. */
    atomic_store(&values->keeps_all, lenient);
    values->walk_options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(values->walk_options, 1);
    leveldb_readoptions_set_fill_cache(values->walk_options, 0);
    store_janitor_start(values);
    if (values->files && !lenient) {
        values->snapshot = leveldb_create_snapshot(db);
        leveldb_readoptions_set_snapshot(values->walk_options, values->snapshot);
        atomic_store(&values->wanted, true);
    }
    return values;
}

void store_values_close(struct store_values **pointer)
{
    struct store_values *values = *pointer;
    struct value_file *file, *next;

    if (!values) {
        return;
    }
    *pointer = NULL;
    store_janitor_stop(values);
    HASH_ITER (hh, values->files, file, next) {
        HASH_DEL(values->files, file);
        free(file);
    }
    for (size_t i = 0; i < values->open_count; i++) {
        close(values->open[i].fd);
    }
    if (values->fd >= 0) {
        close(values->fd);
    }
    if (values->directory >= 0) {
        close(values->directory);
    }
    if (values->snapshot) {
        leveldb_release_snapshot(values->db, values->snapshot);
    }
    if (values->walk_options) {
        leveldb_readoptions_destroy(values->walk_options);
    }
    pthread_mutex_destroy(&values->lock);
    free(values->walk.live);
    free(values->path);
    free(values);
}

bool store_values_has(const struct store_values *values, struct pn_str key)
{
    return values && pn_str_starts(key, values->apart);
}

/* ---- writing ----------------------------------------------------------------------------- */

static int write_error(const struct store_values *values, const char *doing, uint32_t number,
                       struct pn_err *err)
{
    int why = errno;
    char name[VALUE_FILE_NAME_OCTETS];

    store_value_file_name(number, name);
    return pn_err_set(err, why == ENOSPC || why == EDQUOT ? PN_ENOSPACE : PN_EIO,
                      "cannot %s the store %s: %s: %s", doing, values->path, name,
                      strerror(why));
}

/* The lock is held. */
static void want_if_due(struct store_values *values, const struct value_file *file)
{
    if (store_value_file_is_due(values, file)) {
        atomic_store(&values->wanted, true);
    }
}

/* The file that is written has no room, or there is none: the next one begins. */
static int begin_file(struct store_values *values, struct pn_err *err)
{
    uint32_t number = values->last_number + 1;
    char name[VALUE_FILE_NAME_OCTETS];
    struct value_file *last = values->current;

    if (values->fd >= 0) {
        close(values->fd);
    }
    store_value_file_name(number, name);
    values->fd = openat(values->directory, name,
                        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (values->fd < 0 || (values->sync && fsync(values->directory) < 0)) {
        return write_error(values, "write to", number, err);
    }
    pthread_mutex_lock(&values->lock);
    values->current = add_file(values, number);
    if (last) {
        last->full = true;
    }
    atomic_store(&values->wanted, true); /* the one before may go away now */
    pthread_mutex_unlock(&values->lock);
    return 0;
}

static int write_parts(struct store_values *values, struct iovec *parts, size_t count,
                       uint32_t offset, struct pn_err *err)
{
    while (count > 0) {
        size_t now = count < PARTS_AT_ONCE ? count : PARTS_AT_ONCE;
        ssize_t put = pwritev(values->fd, parts, (int)now, (off_t)offset);

        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            errno = put == 0 ? EIO : errno;
            return write_error(values, "write to", values->current->number, err);
        }
        offset += (uint32_t)put;
        while (count > 0 && (size_t)put >= parts->iov_len) {
            put -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + put;
            parts->iov_len -= (size_t)put;
        }
    }
    return 0;
}

int store_values_append(struct store_values *values, const struct pn_str *parts, size_t count,
                        struct store_pointer *out, struct pn_err *err)
{
    struct iovec *vector;
    uint32_t start, end;
    int rc = 0;

    if (!values->current || (size_t)values->current->size >= values->file_octets) {
        rc = begin_file(values, err);
    }
    if (rc < 0) {
        return rc;
    }
    vector = pn_alloc_array(count, sizeof *vector);
    start = end = (uint32_t)values->current->size;
    for (size_t i = 0; i < count; i++) {
        pn_assert(parts[i].len <= STORE_VALUE_MAX && end < UINT32_MAX - STORE_VALUE_MAX);
        vector[i] = (struct iovec){(void *)(uintptr_t)parts[i].ptr, parts[i].len};
        out[i] = (struct store_pointer){values->current->number, end, (uint32_t)parts[i].len};
        end += (uint32_t)parts[i].len;
    }
    rc = write_parts(values, vector, count, start, err);
    free(vector);
    if (rc == 0 && values->sync && fdatasync(values->fd) < 0) {
        rc = write_error(values, "write to", values->current->number, err);
    }
    if (rc == 0) {
        pthread_mutex_lock(&values->lock);
        values->current->kept = values->current->size = end;
        pthread_mutex_unlock(&values->lock);
    }
    return rc;
}

void store_values_added(struct store_values *values, const struct store_pointer *pointer,
                        struct pn_str key)
{
    pthread_mutex_lock(&values->lock);
    values->current->live += pointer->octets;
    store_value_file_widen(values->current, key);
    pthread_mutex_unlock(&values->lock);
}

void store_values_ended(struct store_values *values, const struct store_pointer *pointer)
{
    struct value_file *file;

    pthread_mutex_lock(&values->lock);
    HASH_FIND(hh, values->files, &pointer->file, sizeof pointer->file, file);
    if (file) {
        file->live -= pointer->octets;
        want_if_due(values, file);
    }
    pthread_mutex_unlock(&values->lock);
}

/* ---- reading ----------------------------------------------------------------------------- */

static int read_error(const struct store_values *values, const struct store_pointer *pointer,
                      int code, const char *why, struct pn_err *err)
{
    char name[VALUE_FILE_NAME_OCTETS];

    store_value_file_name(pointer->file, name);
    return pn_err_set(err, code, "cannot read from the store %s: %u octets at %u of %s: %s",
                      values->path, (unsigned)pointer->octets, (unsigned)pointer->offset, name,
                      why);
}

/* A descriptor, or an error: what is not there is lost, all else the environment's fault. */
static int open_to_read(const struct store_values *values, const struct store_pointer *pointer,
                        struct pn_err *err)
{
    char name[VALUE_FILE_NAME_OCTETS];
    int fd;

    store_value_file_name(pointer->file, name);
    fd = openat(values->directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd
                   : read_error(values, pointer, errno == ENOENT ? PN_ECORRUPT : PN_EIO,
                                strerror(errno), err);
}

static int read_at(const struct store_values *values, int fd,
                   const struct store_pointer *pointer, struct pn_buf *out, struct pn_err *err)
{
    char *to = pointer->octets <= STORE_VALUE_MAX ? pn_buf_reserve(out, pointer->octets) : NULL;
    size_t done = 0;

    if (!to) {
        return read_error(values, pointer, PN_ECORRUPT, "it is too long", err);
    }
    while (done < pointer->octets) {
        ssize_t got =
            pread(fd, to + done, pointer->octets - done, (off_t)pointer->offset + (off_t)done);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return read_error(values, pointer, PN_ECORRUPT,
                              got == 0 ? "it ends before" : strerror(errno), err);
        }
        done += (size_t)got;
    }
    pn_buf_added(out, pointer->octets);
    return 0;
}

int store_values_fetch(const struct store_values *values, const struct store_pointer *pointer,
                       struct pn_buf *out, struct pn_err *err)
{
    int fd = open_to_read(values, pointer, err);
    int rc;

    if (fd < 0) {
        return fd;
    }
    rc = read_at(values, fd, pointer, out, err);
    close(fd);
    return rc;
}

/* The file, opened now or before; the one that was used last stands first. */
static int find_open(struct store_values *values, const struct store_pointer *pointer,
                     struct pn_err *err)
{
    struct open_file found = {.number = pointer->file};
    size_t i = 0;

    while (i < values->open_count && values->open[i].number != pointer->file) {
        i++;
    }
    if (i < values->open_count) {
        found = values->open[i];
    } else {
        found.fd = open_to_read(values, pointer, err);
        if (found.fd < 0) {
            return found.fd;
        }
        if (values->open_count == FILES_TO_READ_MAX) {
            close(values->open[--i].fd);
        } else {
            values->open_count++;
        }
    }
    memmove(values->open + 1, values->open, i * sizeof values->open[0]);
    values->open[0] = found;
    return found.fd;
}

int store_values_read(struct store_values *values, const struct store_pointer *pointer,
                      struct pn_buf *out, struct pn_err *err)
{
    int fd = find_open(values, pointer, err);

    return fd < 0 ? fd : read_at(values, fd, pointer, out, err);
}
