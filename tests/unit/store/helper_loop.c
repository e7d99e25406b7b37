/* helper_loop.c - a loop for tests: see the header. */
#include "helper_loop.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool on_post(struct loop *port, struct loop_task *task)
{
    struct test_loop *loop = PN_CONTAINER(port, struct test_loop, port);
    bool taken;

    pthread_mutex_lock(&loop->lock);
    taken = !loop->ended;
    if (taken) {
        task->next = NULL;
        if (loop->head) {
            loop->tail->next = task;
        } else {
            loop->head = task;
        }
        loop->tail = task;
        loop->posts++;
        pthread_cond_signal(&loop->more);
    }
    pthread_mutex_unlock(&loop->lock);
    return taken;
}

static const struct loop_ops loop_ops = {.post = on_post};

void test_loop_init(struct test_loop *loop)
{
    *loop = (struct test_loop){0};
    loop_init(&loop->port, &loop_ops);
    pn_assert(pthread_mutex_init(&loop->lock, NULL) == 0);
    pn_assert(pthread_cond_init(&loop->more, NULL) == 0);
}

void test_loop_fini(struct test_loop *loop)
{
    pn_timers_fini(&loop->port.timers);
    pthread_cond_destroy(&loop->more);
    pthread_mutex_destroy(&loop->lock);
}

void test_loop_wait(struct test_loop *loop, const size_t *count, size_t wanted)
{
    while (*count < wanted) {
        struct loop_task *task;

        pthread_mutex_lock(&loop->lock);
        while (!loop->head) {
            pthread_cond_wait(&loop->more, &loop->lock);
        }
        task = loop->head;
        loop->head = task->next;
        pthread_mutex_unlock(&loop->lock);
        task->on_run(task);
        loop_run_deferred(&loop->port);
    }
}

void test_loop_end(struct test_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->ended = true;
    pthread_mutex_unlock(&loop->lock);
}

size_t test_loop_posts(struct test_loop *loop)
{
    size_t posts;

    pthread_mutex_lock(&loop->lock);
    posts = loop->posts;
    pthread_mutex_unlock(&loop->lock);
    return posts;
}

void test_directory_make(char out[512])
{
    (void)snprintf(out, 512, "%s/test-XXXXXX", TEST_BINARY_DIR);
    pn_assert(mkdtemp(out));
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_directory_remove(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
