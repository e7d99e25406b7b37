/*
 * sim_files.c - files in memory, which survive the daemon, and random numbers.
 *
 * A write is whole or not there, as the port promises. The crypto is the real one, but its
 * random numbers come from the world's seed, so that keys and runs are the same in every
 * replay. The port's random has no owner to find the world by: there is one at a time.
 */
#include "sim_priv.h"

#include "postern/tls/context.h"

#include <string.h>

struct sim_file {
    struct sim_file *next;
    char *path;
    char *content;
    size_t len;
    uint32_t mode;
    bool directory;
    uint64_t version;
};

static struct sim_file **find(struct sim_files *files, const char *path)
{
    struct sim_file **link = &files->first;

    while (*link && strcmp((*link)->path, path) != 0) {
        link = &(*link)->next;
    }
    return link;
}

static struct sim_files *files_of(struct files *port)
{
    return PN_CONTAINER(port, struct sim_files, port);
}

static void free_file(struct sim_file *file)
{
    free(file->path);
    free(file->content);
    free(file);
}

static int missing(const char *path, struct pn_err *err)
{
    return pn_err_set(err, PN_ENOENT, "%s does not exist", path);
}

static int files_read(struct files *port, const char *path, struct pn_buf *out,
                      struct pn_err *err)
{
    const struct sim_file *file = *find(files_of(port), path);

    if (!file) {
        return missing(path, err);
    }
    if (pn_buf_append(out, (struct pn_str){file->content, file->len}) < 0) {
        return pn_err_set(err, PN_ENOSPACE, "%s is too long", path);
    }
    return 0;
}

static struct sim_file *make(struct sim_files *files, const char *path, uint32_t mode)
{
    struct sim_file *file = *find(files, path);

    if (!file) {
        file = PN_NEW(struct sim_file);
        file->path = pn_strdup(path);
        file->next = files->first;
        files->first = file;
    }
    file->mode = mode;
    return file;
}

static int files_write(struct files *port, const char *path, struct pn_str content,
                       uint32_t mode, struct pn_err *err)
{
    struct sim_files *files = files_of(port);
    struct sim_file *file;

    if (files->free_octets < content.len || files->sim->disk.full || files->sim->disk.broken) {
        return pn_err_set(err, PN_ENOSPACE, "%s cannot be written: no space is left", path);
    }
    file = make(files, path, mode);
    free(file->content);
    file->content = pn_strndup(content);
    file->len = content.len;
    file->version = ++files->written;
    return 0;
}

static int files_remove(struct files *port, const char *path, struct pn_err *err)
{
    struct sim_file **link = find(files_of(port), path);
    struct sim_file *file = *link;

    if (!file) {
        return missing(path, err);
    }
    *link = file->next;
    free_file(file);
    return 0;
}

static int files_list(struct files *port, const char *directory, files_entry_fn *on_entry,
                      void *owner, struct pn_err *err)
{
    size_t len = strlen(directory);

    (void)err;
    for (const struct sim_file *file = files_of(port)->first; file; file = file->next) {
        if (strncmp(file->path, directory, len) == 0 && file->path[len] == '/' &&
            !strchr(file->path + len + 1, '/')) {
            struct files_info info = {.exists = true,
                                      .directory = file->directory,
                                      .size_octets = file->len,
                                      .mode = file->mode};

            on_entry(owner, file->path + len + 1, &info);
        }
    }
    return 0;
}

static int files_info(struct files *port, const char *path, struct files_info *out,
                      struct pn_err *err)
{
    const struct sim_file *file = *find(files_of(port), path);

    (void)err;
    *out = (struct files_info){0};
    if (file) {
        *out = (struct files_info){.exists = true,
                                   .directory = file->directory,
                                   .size_octets = file->len,
                                   .mode = file->mode,
                                   .mtime_ns = (int64_t)file->version};
    }
    return 0;
}

static int files_mkdir(struct files *port, const char *path, uint32_t mode, struct pn_err *err)
{
    (void)err;
    make(files_of(port), path, mode)->directory = true;
    return 0;
}

static int files_space(struct files *port, const char *path, uint64_t *out_free_octets,
                       uint64_t *out_total_octets, struct pn_err *err)
{
    (void)path;
    (void)err;
    *out_free_octets = files_of(port)->free_octets;
    *out_total_octets = UINT64_C(100) << 30;
    return 0;
}

static const struct files_ops files_ops = {files_read, files_write, files_remove, files_remove,
                                           files_list, files_info,  files_mkdir,  files_space};

void sim_files_init(struct sim_files *files, struct sim *sim)
{
    *files =
        (struct sim_files){.port = {&files_ops}, .sim = sim, .free_octets = UINT64_C(50) << 30};
}

void sim_files_fini(struct sim_files *files)
{
    while (files->first) {
        struct sim_file *file = files->first;

        files->first = file->next;
        free_file(file);
    }
}

void sim_file(struct sim *sim, const char *path, const char *content)
{
    struct files *port = &sim->files.port;

    sim_note(sim, "%s is %s", path, content ? "written" : "removed");
    if (content) {
        (void)!files_write(port, path, pn_str_z(content), 0600, NULL);
    } else {
        (void)!files_remove(port, path, NULL);
    }
}

void sim_disk_free(struct sim *sim, uint64_t octets)
{
    sim_note(sim, "%llu octets are free on the disk", (unsigned long long)octets);
    sim->files.free_octets = octets;
}

static struct pn_rand *random_source;

static void crypto_random(void *out, size_t octets)
{
    pn_rand_fill(random_source, out, octets);
}

struct crypto *sim_crypto(struct sim *sim)
{
    static struct crypto_ops ops;

    ops = *tls_crypto()->ops;
    ops.random = crypto_random;
    random_source = &sim->rand;
    sim->crypto.ops = &ops;
    return &sim->crypto;
}
