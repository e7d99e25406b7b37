/*
 * helper_loop.h - a loop for tests: posts gather, and run on the test's thread when it waits.
 */
#ifndef POSTERN_TEST_STORE_HELPER_LOOP_H
#define POSTERN_TEST_STORE_HELPER_LOOP_H

#include "postern/port/loop.h"

#include <pthread.h>

struct test_loop {
    struct loop port; /* first */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct loop_task *head, *tail;
    size_t posts;
    bool ended;
};

void test_loop_init(struct test_loop *loop);
void test_loop_fini(struct test_loop *loop);
/* Runs what was posted until *count has reached `wanted`. */
void test_loop_wait(struct test_loop *loop, const size_t *count, size_t wanted);
void test_loop_end(struct test_loop *loop); /* posts fail from now on */
size_t test_loop_posts(struct test_loop *loop);

/* A new directory below the build directory, and its end. */
void test_directory_make(char out[512]);
void test_directory_remove(const char *path);

#endif
