/*
 * daemon/domain_files.c - the files of domains.d, and the table made of them.
 *
 * DESIGN lets large reloads be read off the main loop. With the incremental scan there is
 * no need: what is slow is parsing, and only changed files are parsed. The first load,
 * which parses all, comes before the daemon takes connections.
 */
#include "domain_files_priv.h"

#include <uthash.h>

#include <stdio.h>

#include "postern/base/mem.h"

#define FILE_OCTETS_MAX (1u << 20)
#define SUFFIX          ".conf"

struct file {
    char *domain;
    struct files_info info;       /* as it was when it was read */
    struct conf_domain *in_force; /* or NULL */
    char *mistake;                /* or NULL */
    unsigned seen;                /* the scan that saw it last */
    UT_hash_handle hh;
};

struct daemon_domain_files {
    struct files *files;
    char *directory;
    const struct conf *conf;
    const struct pn_endpoint *own;
    size_t own_count;
    struct file *table; /* uthash, by domain */
    size_t broken;      /* files with a mistake */
    unsigned scan;
    struct domains *domains;
    struct domains_change *changes; /* gathered by a scan; applied at its end */
    size_t change_count, change_cap;
};

struct daemon_domain_files *daemon_domain_files_new(struct files *files, const char *directory)
{
    struct daemon_domain_files *d = PN_NEW(struct daemon_domain_files);

    d->files = files;
    d->directory = pn_strdup(directory);
    d->domains = domains_new();
    return d;
}

static void set_mistake(struct daemon_domain_files *d, struct file *file, char *mistake)
{
    d->broken -= file->mistake != NULL;
    d->broken += mistake != NULL;
    free(file->mistake);
    file->mistake = mistake;
}

static void file_free(struct daemon_domain_files *d, struct file *file)
{
    set_mistake(d, file, NULL);
    HASH_DEL(d->table, file);
    conf_domain_unref(&file->in_force);
    free(file->domain);
    free(file);
}

void daemon_domain_files_free(struct daemon_domain_files **domain_files)
{
    struct daemon_domain_files *d = *domain_files;
    struct file *file, *next;

    if (!d) {
        return;
    }
    HASH_ITER (hh, d->table, file, next) {
        file_free(d, file);
    }
    domains_unref(&d->domains);
    free(d->changes);
    free(d->directory);
    free(d);
    *domain_files = NULL;
}

void daemon_domain_files_set(struct daemon_domain_files *domain_files, const struct conf *conf,
                             const struct pn_endpoint *own, size_t own_count)
{
    domain_files->conf = conf;
    domain_files->own = own;
    domain_files->own_count = own_count;
    for (struct file *file = domain_files->table; file; file = file->hh.next) {
        file->info = (struct files_info){0};
    }
}

void daemon_domain_files_follow(struct daemon_domain_files *domain_files,
                                const struct conf *conf)
{
    domain_files->conf = conf;
}

/* The domain that a directory entry is for; "" when it is none of ours. */
static struct pn_str domain_of(const char *entry)
{
    struct pn_str name = pn_str_z(entry);

    if (!pn_str_ends(name, PN_STR(SUFFIX)) || pn_str_starts(name, PN_STR("."))) {
        return PN_STR("");
    }
    return pn_str_sub(name, 0, name.len - (sizeof SUFFIX - 1));
}

static void path_of(const struct daemon_domain_files *d, struct pn_str domain,
                    struct pn_buf *out)
{
    pn_buf_init(out, 8192);
    if (pn_buf_printf(out, "%s/%.*s%s", d->directory, PN_FMT(domain), SUFFIX) != 0 ||
        pn_buf_append_char(out, '\0') != 0) {
        pn_buf_clear(out);
    }
}

static bool unchanged(const struct files_info *a, const struct files_info *b)
{
    return a->exists && b->exists && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
           a->size_octets == b->size_octets;
}

static void note_change(struct daemon_domain_files *d, struct file *file)
{
    if (d->change_count == d->change_cap) {
        d->change_cap = d->change_cap ? d->change_cap * 2 : 16;
        d->changes = pn_realloc(d->changes, d->change_cap * sizeof *d->changes);
    }
    d->changes[d->change_count++] =
        (struct domains_change){.name = pn_str_z(file->domain), .definition = file->in_force};
}

static void apply_changes(struct daemon_domain_files *d)
{
    struct domains *before = d->domains;

    if (d->change_count > 0) {
        d->domains = domains_with(before, d->changes, d->change_count);
        domains_unref(&before);
        d->change_count = 0;
    }
}

static char *first_mistake(const struct conf_mistakes *mistakes, size_t from)
{
    for (size_t i = from; i < mistakes->count; i++) {
        struct pn_buf text;

        if (mistakes->items[i].warning) {
            continue;
        }
        pn_buf_init(&text, 4096);
        if (conf_mistake_format(&mistakes->items[i], &text) != 0) {
            pn_buf_fini(&text);
            break;
        }
        return pn_buf_detach(&text);
    }
    return pn_strdup("it has a mistake; see posternd --check");
}

static struct conf_domain *parse(struct daemon_domain_files *d, const char *path,
                                 struct pn_str domain, struct conf_mistakes *mistakes)
{
    struct conf_domain *parsed = NULL;
    struct pn_err err = {0};
    struct pn_buf text;

    pn_buf_init(&text, FILE_OCTETS_MAX);
    if (d->files->ops->read(d->files, path, &text, &err) != 0) {
        conf_mistakes_add(mistakes, path, 0, false, "%s", err.text);
    } else {
        parsed = conf_domain_parse(path, domain, pn_buf_str(&text), d->conf, d->own,
                                   d->own_count, mistakes);
    }
    pn_buf_fini(&text);
    return parsed;
}

static struct file *find_file(struct daemon_domain_files *d, struct pn_str domain)
{
    struct file *file;

    HASH_FIND(hh, d->table, domain.ptr, domain.len, file);
    return file;
}

static struct file *get_file(struct daemon_domain_files *d, struct pn_str domain)
{
    struct file *file = find_file(d, domain);

    if (!file) {
        file = PN_NEW(struct file);
        file->domain = pn_strndup(domain);
        HASH_ADD_KEYPTR(hh, d->table, file->domain, domain.len, file);
    }
    return file;
}

/* Reads a file unless it is as it was. */
static void look_at(struct daemon_domain_files *d, struct pn_str domain,
                    const struct files_info *info, struct conf_mistakes *mistakes)
{
    struct file *file = get_file(d, domain);
    size_t mistakes_before = mistakes->count;
    struct conf_domain *parsed;
    struct pn_buf path;

    file->seen = d->scan;
    if (unchanged(&file->info, info)) {
        return;
    }
    file->info = *info;
    path_of(d, domain, &path);
    parsed = parse(d, pn_buf_str(&path).ptr, domain, mistakes);
    pn_buf_fini(&path);
    if (!parsed) {
        set_mistake(d, file, first_mistake(mistakes, mistakes_before));
        return;
    }
    set_mistake(d, file, NULL);
    conf_domain_unref(&file->in_force);
    file->in_force = parsed;
    note_change(d, file);
}

/* The file is gone: so is its domain. */
static void forget(struct daemon_domain_files *d, struct file *file)
{
    conf_domain_unref(&file->in_force);
    note_change(d, file);
    apply_changes(d);
    file_free(d, file);
}

struct scan {
    struct daemon_domain_files *d;
    struct conf_mistakes *mistakes;
};

static void on_entry(void *owner, const char *name, const struct files_info *info)
{
    struct scan *scan = owner;
    struct pn_str domain = domain_of(name);

    if (domain.len > 0 && !info->directory) {
        look_at(scan->d, domain, info, scan->mistakes);
    }
}

bool daemon_domain_files_scan(struct daemon_domain_files *domain_files,
                              struct conf_mistakes *mistakes)
{
    struct scan scan = {.d = domain_files, .mistakes = mistakes};
    struct file *file, *next;
    struct pn_err err = {0};

    domain_files->scan++;
    if (domain_files->files->ops->list(domain_files->files, domain_files->directory, on_entry,
                                       &scan, &err) != 0) {
        apply_changes(domain_files);
        conf_mistakes_add(mistakes, domain_files->directory, 0, false, "%s", err.text);
        return false;
    }
    apply_changes(domain_files);
    HASH_ITER (hh, domain_files->table, file, next) {
        if (file->seen != domain_files->scan) {
            forget(domain_files, file);
        }
    }
    return true;
}

void daemon_domain_files_look(struct daemon_domain_files *domain_files, const char *entry,
                              struct conf_mistakes *mistakes)
{
    struct pn_str domain = domain_of(entry);
    struct files_info info = {0};
    struct pn_err err = {0};
    struct pn_buf path;

    if (domain.len == 0) {
        return;
    }
    path_of(domain_files, domain, &path);
    if (domain_files->files->ops->info(domain_files->files, pn_buf_str(&path).ptr, &info,
                                       &err) == 0 &&
        info.exists) {
        look_at(domain_files, domain, &info, mistakes);
        apply_changes(domain_files);
    } else {
        struct file *file = find_file(domain_files, domain);

        if (file) {
            forget(domain_files, file);
        }
    }
    pn_buf_fini(&path);
}

struct domains *daemon_domain_files_table(struct daemon_domain_files *domain_files)
{
    return domain_files->domains;
}

bool daemon_domain_files_broken(const struct daemon_domain_files *domain_files, size_t index,
                                const char **out_name, const char **out_mistake,
                                bool *out_in_force)
{
    if (index >= domain_files->broken) {
        return false;
    }
    for (struct file *file = domain_files->table; file; file = file->hh.next) {
        if (file->mistake && index-- == 0) {
            *out_name = file->domain;
            *out_mistake = file->mistake;
            *out_in_force = file->in_force != NULL;
            return true;
        }
    }
    return false;
}

bool daemon_domain_files_write(struct daemon_domain_files *domain_files, struct pn_str name,
                               struct pn_str text, struct conf_mistakes *mistakes)
{
    struct conf_domain *parsed;
    struct pn_err err = {0};
    struct pn_buf path;
    bool written = false;

    path_of(domain_files, name, &path);
    parsed = conf_domain_parse(pn_buf_str(&path).ptr, name, text, domain_files->conf,
                               domain_files->own, domain_files->own_count, mistakes);
    if (parsed) {
        written = domain_files->files->ops->write(domain_files->files, pn_buf_str(&path).ptr,
                                                  text, 0644, &err) == 0;
        if (!written) {
            conf_mistakes_add(mistakes, pn_buf_str(&path).ptr, 0, false, "%s", err.text);
        }
    }
    if (written) {
        daemon_domain_files_look(domain_files, strrchr(pn_buf_str(&path).ptr, '/') + 1,
                                 mistakes);
    }
    conf_domain_unref(&parsed);
    pn_buf_fini(&path);
    return written;
}

int daemon_domain_files_remove(struct daemon_domain_files *domain_files, struct pn_str name,
                               struct pn_err *err)
{
    struct file *file = find_file(domain_files, name);
    struct pn_buf path;
    int rc;

    if (!file) {
        return pn_err_set(err, PN_ENOENT, "%.*s is not a relay domain of %s", PN_FMT(name),
                          domain_files->directory);
    }
    path_of(domain_files, name, &path);
    rc = domain_files->files->ops->remove(domain_files->files, pn_buf_str(&path).ptr, err);
    pn_buf_fini(&path);
    if (rc == 0) {
        forget(domain_files, file);
    }
    return rc;
}
