/*
 * Watching a directory: one call a name, renames and removals, too many names, its end.
 */
#include "helper_net.h"

#include "postern/base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scene {
    struct rig rig;
    char path[64];
    struct net_directory_watch *watch;
    const char *want[8]; /* names that must come, in any order; "" stands for NULL */
    size_t left;
    size_t calls;
    bool free_inside;
};

static void in_scene(struct scene *scene, const char *name, char out[128])
{
    assert_true(snprintf(out, 128, "%s/%s", scene->path, name) < 128);
}

static void make_file(struct scene *scene, const char *name)
{
    char path[128];
    int fd;

    in_scene(scene, name, path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(write(fd, "y", 1), 1);
    close(fd);
}

static void remove_file(struct scene *scene, const char *name)
{
    char path[128];

    in_scene(scene, name, path);
    assert_int_equal(unlink(path), 0);
}

static void on_name(void *owner, const char *name)
{
    struct scene *scene = owner;

    scene->calls++;
    for (size_t i = 0; i < PN_COUNT(scene->want); i++) {
        if (scene->want[i] && strcmp(scene->want[i], name ? name : "") == 0) {
            scene->want[i] = NULL;
            scene->left--;
            break;
        }
    }
    if (scene->left == 0) {
        if (scene->free_inside) {
            net_directory_watch_free(&scene->watch);
        }
        net_loop_stop(scene->rig.loop);
    }
}

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.path = "/tmp/postern-test-XXXXXX"};
    assert_non_null(mkdtemp(scene->path));
    rig_init(&scene->rig);
    scene->watch = net_directory_watch_new(scene->rig.loop, scene->path, on_name, scene, NULL);
    assert_non_null(scene->watch);
}

static void scene_want(struct scene *scene, const char *name)
{
    scene->want[scene->left++] = name;
}

static void scene_fini(struct scene *scene)
{
    net_directory_watch_free(&scene->watch);
    rig_fini(&scene->rig);
    assert_int_equal(rmdir(scene->path), 0);
}

static void test_each_name_once(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    make_file(&scene, "a.conf");
    make_file(&scene, "b.conf");
    make_file(&scene, "a.conf");
    scene_want(&scene, "a.conf");
    scene_want(&scene, "b.conf");
    rig_run(&scene.rig);
    assert_int_equal(scene.calls, 2);
    remove_file(&scene, "a.conf");
    remove_file(&scene, "b.conf");
    scene_fini(&scene);
}

static void test_renames_removals_and_freeing_inside(void **state)
{
    struct scene scene;
    char from[128];
    char to[128];

    (void)state;
    scene_init(&scene);
    make_file(&scene, "old");
    in_scene(&scene, "old", from);
    in_scene(&scene, "new", to);
    assert_int_equal(rename(from, to), 0);
    make_file(&scene, "gone");
    remove_file(&scene, "gone");
    scene_want(&scene, "old");
    scene_want(&scene, "new");
    scene_want(&scene, "gone");
    scene.free_inside = true;
    rig_run(&scene.rig);
    assert_int_equal(scene.calls, 3);
    remove_file(&scene, "new");
    scene_fini(&scene);
}

static void test_too_many_names_become_one_call(void **state)
{
    struct scene scene;
    char name[16];

    (void)state;
    scene_init(&scene);
    for (int i = 0; i < 4500; i++) {
        char path[128];

        assert_true(snprintf(name, sizeof name, "%d", i) > 0);
        in_scene(&scene, name, path);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    scene_want(&scene, "");
    rig_run(&scene.rig);
    assert_int_equal(scene.calls, 1);
    for (int i = 0; i < 4500; i++) {
        char path[128];

        assert_true(snprintf(name, sizeof name, "%d", i) > 0);
        in_scene(&scene, name, path);
        assert_int_equal(rmdir(path), 0);
    }
    scene_fini(&scene);
}

static unsigned long kernel_queue_max(void)
{
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    unsigned long events = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &events), 1);
    (void)fclose(file);
    return events;
}

/* Few names, but more events than the kernel keeps. */
static void test_lost_events_become_one_call(void **state)
{
    struct scene scene;
    unsigned long events = kernel_queue_max() + 10;
    char a[128];
    char b[128];

    (void)state;
    scene_init(&scene);
    make_file(&scene, "a");
    make_file(&scene, "b");
    in_scene(&scene, "a", a);
    in_scene(&scene, "b", b);
    for (unsigned long i = 0; i < events; i++) {
        assert_int_equal(chmod(i % 2 ? a : b, 0600), 0); /* the same twice would be merged */
    }
    scene_want(&scene, "");
    rig_run(&scene.rig);
    assert_int_equal(scene.calls, 1);
    remove_file(&scene, "a");
    remove_file(&scene, "b");
    scene_fini(&scene);
}

struct replacement {
    struct scene scene;
    struct pn_timer timer;
};

static void replace_fire(struct pn_timer *timer)
{
    struct replacement *test = PN_CONTAINER(timer, struct replacement, timer);

    assert_int_equal(mkdir(test->scene.path, 0700), 0);
    make_file(&test->scene, "in the new one");
}

static void test_directory_that_is_replaced_is_watched_again(void **state)
{
    struct replacement test = {.timer.on_fire = replace_fire};

    (void)state;
    scene_init(&test.scene);
    assert_int_equal(rmdir(test.scene.path), 0);
    loop_timer_after(test.scene.rig.port, &test.timer, 300);
    scene_want(&test.scene, "");
    scene_want(&test.scene, "");
    rig_run(&test.scene.rig);
    remove_file(&test.scene, "in the new one");
    scene_fini(&test.scene);
}

static void test_error_names_the_directory(void **state)
{
    struct rig rig;
    struct pn_err err = {0};

    (void)state;
    rig_init(&rig);
    assert_null(
        net_directory_watch_new(rig.loop, "/nonexistent/domains.d", on_name, NULL, &err));
    assert_int_equal(err.code, PN_ENOENT);
    assert_string_equal(err.text, "cannot watch the directory /nonexistent/domains.d: "
                                  "No such file or directory");
    rig_fini(&rig);
}

static void test_loop_drops_a_watch_that_is_left(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    make_file(&scene, "a");
    scene_want(&scene, "a");
    rig_run(&scene.rig);
    remove_file(&scene, "a");
    rig_fini(&scene.rig);
    assert_int_equal(rmdir(scene.path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_name_once),
        cmocka_unit_test(test_renames_removals_and_freeing_inside),
        cmocka_unit_test(test_too_many_names_become_one_call),
        cmocka_unit_test(test_lost_events_become_one_call),
        cmocka_unit_test(test_directory_that_is_replaced_is_watched_again),
        cmocka_unit_test(test_error_names_the_directory),
        cmocka_unit_test(test_loop_drops_a_watch_that_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
