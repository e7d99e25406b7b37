/*
 * net/directory.c - watching a directory with inotify.
 *
 * libuv's uv_fs_event drops the kernel's "events were lost" record, so inotify is read
 * here, through a net_watch. Each name that changes waits in a table under a timer of its
 * own, which every further change of the name sets again. More names at once than the
 * table holds, or lost events, end in one call with NULL: "look at everything".
 *
 * A directory that is moved or removed is reported as NULL too, and looked for once a
 * second until there is one under that path again (package upgrades do such things).
 */
#include "loop_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <uthash.h>

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define QUIET_MS      100
#define LOOK_AGAIN_MS PN_SECONDS(1)
#define NAMES_MAX     4096
#define EVENTS                                                                                 \
    (IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM |          \
     IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* One name that has changed. */
struct changed {
    UT_hash_handle hh;
    struct net_directory_watch *directory;
    struct pn_timer timer;
    char name[];
};

struct net_directory_watch {
    struct net_object object;
    struct net_loop *loop;
    struct net_watch *watch;
    int fd;
    int id; /* inotify's; -1 while the directory is missing */
    char *path;
    struct changed *changed;
    struct pn_timer everything; /* names were lost */
    struct pn_timer again;      /* looks for the directory */
    net_directory_fn *fn;
    void *owner;
};

static void changed_free(struct changed *entry)
{
    HASH_DEL(entry->directory->changed, entry);
    loop_timer_stop(&entry->directory->loop->port, &entry->timer);
    free(entry);
}

static void directory_forget_names(struct net_directory_watch *directory)
{
    struct changed *entry;
    struct changed *next;

    HASH_ITER (hh, directory->changed, entry, next) {
        changed_free(entry);
    }
}

static void directory_lost(struct net_directory_watch *directory)
{
    directory_forget_names(directory);
    loop_timer_after(&directory->loop->port, &directory->everything, QUIET_MS);
}

static void everything_fire(struct pn_timer *timer)
{
    struct net_directory_watch *directory =
        PN_CONTAINER(timer, struct net_directory_watch, everything);

    directory->fn(directory->owner, NULL); /* may free the watch */
}

static void changed_fire(struct pn_timer *timer)
{
    struct changed *entry = PN_CONTAINER(timer, struct changed, timer);
    struct net_directory_watch *directory = entry->directory;

    HASH_DEL(directory->changed, entry);
    directory->fn(directory->owner, entry->name); /* may free the watch */
    free(entry);
}

static void directory_changed(struct net_directory_watch *directory, const char *name)
{
    struct loop *loop = &directory->loop->port;
    size_t length = strlen(name);
    struct changed *entry;

    if (pn_heap_has(&directory->everything.node)) {
        loop_timer_after(loop, &directory->everything, QUIET_MS);
        return;
    }
    HASH_FIND(hh, directory->changed, name, length, entry);
    if (!entry) {
        if (HASH_COUNT(directory->changed) >= NAMES_MAX) {
            directory_lost(directory);
            return;
        }
        entry = pn_alloc(sizeof *entry + length + 1);
        entry->directory = directory;
        entry->timer.on_fire = changed_fire;
        memcpy(entry->name, name, length + 1);
        HASH_ADD_KEYPTR(hh, directory->changed, entry->name, length, entry);
    }
    loop_timer_after(loop, &entry->timer, QUIET_MS);
}

static void directory_gone(struct net_directory_watch *directory)
{
    if (directory->id >= 0) {
        (void)inotify_rm_watch(directory->fd, directory->id);
        directory->id = -1;
    }
    directory_lost(directory);
    loop_timer_after(&directory->loop->port, &directory->again, LOOK_AGAIN_MS);
}

static void again_fire(struct pn_timer *timer)
{
    struct net_directory_watch *directory =
        PN_CONTAINER(timer, struct net_directory_watch, again);

    directory->id = inotify_add_watch(directory->fd, directory->path, EVENTS);
    if (directory->id < 0) {
        loop_timer_after(&directory->loop->port, &directory->again, LOOK_AGAIN_MS);
        return;
    }
    directory_lost(directory);
}

static void directory_event(struct net_directory_watch *directory,
                            const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        directory_lost(directory);
    } else if (event->wd != directory->id) {
        return; /* of a watch that was given up */
    } else if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) {
        directory_gone(directory);
    } else if (event->len > 0) {
        directory_changed(directory, event->name);
    }
}

static void on_readable(void *owner, unsigned events)
{
    struct net_directory_watch *directory = owner;
    _Alignas(struct inotify_event) char buf[16384];
    ssize_t got;

    (void)events;
    while ((got = read(directory->fd, buf, sizeof buf)) > 0) {
        for (size_t at = 0; at < (size_t)got;) {
            const struct inotify_event *event = (const void *)(buf + at);

            at += sizeof *event + event->len;
            directory_event(directory, event);
        }
    }
}

static void directory_drop(struct net_object *object)
{
    struct net_directory_watch *directory =
        PN_CONTAINER(object, struct net_directory_watch, object);

    net_directory_watch_free(&directory);
}

struct net_directory_watch *net_directory_watch_new(struct net_loop *loop, const char *path,
                                                    net_directory_fn *fn, void *owner,
                                                    struct pn_err *err)
{
    struct net_directory_watch *directory;
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int id = fd < 0 ? -1 : inotify_add_watch(fd, path, EVENTS);

    if (id < 0) {
        int number = errno;

        pn_err_set(err, pn_err_from_errno(number), "cannot watch the directory %s: %s", path,
                   strerrordesc_np(number));
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    directory = PN_NEW(struct net_directory_watch);
    directory->object.on_drop = directory_drop;
    directory->loop = loop;
    directory->fd = fd;
    directory->id = id;
    directory->path = pn_strdup(path);
    directory->everything.on_fire = everything_fire;
    directory->again.on_fire = again_fire;
    directory->fn = fn;
    directory->owner = owner;
    directory->watch = net_watch_new(loop, fd, NET_READABLE, on_readable, directory);
    net_loop_keep(loop, &directory->object);
    return directory;
}

void net_directory_watch_free(struct net_directory_watch **directory_ptr)
{
    struct net_directory_watch *directory = *directory_ptr;

    if (!directory) {
        return;
    }
    *directory_ptr = NULL;
    net_loop_forget(directory->loop, &directory->object);
    directory_forget_names(directory);
    loop_timer_stop(&directory->loop->port, &directory->everything);
    loop_timer_stop(&directory->loop->port, &directory->again);
    net_watch_free(&directory->watch);
    close(directory->fd);
    free(directory->path);
    free(directory);
}
