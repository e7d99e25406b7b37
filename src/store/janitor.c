/*
 * janitor.c - the thread that takes away files, and parts of files.
 *
 * To remove a file of 32 MiB can take a tenth of a second, and to make holes in it half as
 * long: measured, a drain with bodies of 64 KiB had a third of its rate while its reader's
 * thread did that. What is done here concerns nobody any more, so it needs no care but this:
 * chores of one file keep their order.
 */
#include "value_file_priv.h"

#include "postern/base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <utlist.h>

static void chore_free(struct values_chore *chore)
{
    free(chore->holes);
    free(chore);
}

static void make_holes(const struct store_values *values, const struct values_chore *chore)
{
    char name[VALUE_FILE_NAME_OCTETS];
    int fd;

    store_value_file_name(chore->number, name);
    fd = openat(values->directory, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    for (size_t i = 0; i < chore->count && fd >= 0; i++) {
        const struct values_hole *hole = &chore->holes[i];

        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole->from,
                      hole->to - hole->from) < 0) {
            break; /* this file system cannot: then files go away as a whole */
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void do_chore(const struct store_values *values, const struct values_chore *chore)
{
    char name[VALUE_FILE_NAME_OCTETS];

    if (chore->holes) {
        make_holes(values, chore);
    } else {
        store_value_file_name(chore->number, name);
        (void)unlinkat(values->directory, name, 0);
    }
}

static void *janitor_main(void *arg)
{
    struct store_values *values = arg;

    pthread_mutex_lock(&values->lock);
    while (!values->ending) {
        struct values_chore *chore = values->chores;

        if (!chore) {
            pthread_cond_wait(&values->for_janitor, &values->lock);
            continue;
        }
        LL_DELETE(values->chores, chore);
        pthread_mutex_unlock(&values->lock);
        do_chore(values, chore);
        chore_free(chore);
        pthread_mutex_lock(&values->lock);
    }
    pthread_mutex_unlock(&values->lock);
    return NULL;
}

void store_janitor_start(struct store_values *values)
{
    pn_assert(pthread_cond_init(&values->for_janitor, NULL) == 0);
    pn_assert(pthread_create(&values->janitor, NULL, janitor_main, values) == 0);
    values->has_janitor = true;
}

void store_janitor_stop(struct store_values *values)
{
    if (!values->has_janitor) {
        return;
    }
    pthread_mutex_lock(&values->lock);
    values->ending = true;
    pthread_cond_signal(&values->for_janitor);
    pthread_mutex_unlock(&values->lock);
    pn_assert(pthread_join(values->janitor, NULL) == 0);
    pthread_cond_destroy(&values->for_janitor);
    while (values->chores) {
        struct values_chore *chore = values->chores;

        LL_DELETE(values->chores, chore);
        chore_free(chore);
    }
}

void store_janitor_do(struct store_values *values, struct values_chore *chore)
{
    pthread_mutex_lock(&values->lock);
    LL_APPEND(values->chores, chore);
    pthread_cond_signal(&values->for_janitor);
    pthread_mutex_unlock(&values->lock);
}
