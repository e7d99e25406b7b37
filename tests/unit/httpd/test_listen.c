/*
 * The socket file: its mode and group, old files, other daemons, paths that are too long.
 */
#include "helper_httpd.h"

#include "postern/base/mem.h"

#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct httpd_server *serve(const char *path, const char *group, struct pn_err *err)
{
    static const struct httpd_server_events events = {0};

    return httpd_server_new(path, group, &events, err);
}

static void test_mode_and_group(void **state)
{
    struct place place;
    struct stat info;
    const struct group *own = getgrgid(getgid());
    struct httpd_server *server;

    (void)state;
    assert_non_null(own);
    place_init(&place);
    server = serve(place.socket_path, own->gr_name, NULL);
    assert_non_null(server);
    assert_int_equal(lstat(place.socket_path, &info), 0);
    assert_true(S_ISSOCK(info.st_mode));
    assert_int_equal(info.st_mode & 0777, 0660);
    assert_int_equal(info.st_gid, getgid());
    httpd_server_free(&server);
    place_fini(&place); /* the file is gone */
}

static void test_unknown_group(void **state)
{
    struct place place;
    struct pn_err err;

    (void)state;
    place_init(&place);
    assert_null(serve(place.socket_path, "no-such-group", &err));
    assert_int_equal(err.code, PN_ENOENT);
    assert_non_null(strstr(err.text, "no-such-group"));
    place_fini(&place);
}

/* A socket file that nobody listens on: what a crash leaves. */
static void leave_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void test_replaces_what_a_crash_left(void **state)
{
    struct place place;
    struct httpd_server *server;

    (void)state;
    place_init(&place);
    leave_socket(place.socket_path);
    server = serve(place.socket_path, "", NULL);
    assert_non_null(server);
    httpd_server_free(&server);
    place_fini(&place);
}

static void test_leaves_another_daemon_alone(void **state)
{
    struct place place;
    struct pn_err err;
    struct stat before;
    struct stat after;
    struct httpd_server *server;

    (void)state;
    place_init(&place);
    server = serve(place.socket_path, "", NULL);
    assert_int_equal(lstat(place.socket_path, &before), 0);
    assert_null(serve(place.socket_path, "", &err));
    assert_int_equal(err.code, PN_EEXIST);
    assert_int_equal(lstat(place.socket_path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    httpd_server_free(&server);
    place_fini(&place);
}

static void test_leaves_other_files_alone(void **state)
{
    struct place place;
    struct pn_err err;
    FILE *file;

    (void)state;
    place_init(&place);
    file = fopen(place.socket_path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_null(serve(place.socket_path, "", &err));
    assert_int_equal(err.code, PN_EEXIST);
    assert_non_null(strstr(err.text, "is no socket"));
    assert_int_equal(unlink(place.socket_path), 0);
    place_fini(&place);
}

/* A server whose socket file was replaced meanwhile does not remove the other one's. */
static void test_removes_only_its_own_file(void **state)
{
    struct place place;
    struct httpd_server *server;
    FILE *file;

    (void)state;
    place_init(&place);
    server = serve(place.socket_path, "", NULL);
    assert_int_equal(unlink(place.socket_path), 0);
    file = fopen(place.socket_path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    httpd_server_free(&server);
    assert_int_equal(unlink(place.socket_path), 0);
    place_fini(&place);
}

static void test_path_too_long(void **state)
{
    struct pn_err err;
    char path[200];

    (void)state;
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_null(serve(path, "", &err));
    assert_int_equal(err.code, PN_EINVAL);
    assert_null(serve("", "", &err));
    assert_int_equal(err.code, PN_EINVAL);
}

static void test_no_directory(void **state)
{
    struct pn_err err;

    (void)state;
    assert_null(serve("/nonexistent/admin.sock", "", &err));
    assert_int_equal(err.code, PN_ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/admin.sock"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_and_group),
        cmocka_unit_test(test_unknown_group),
        cmocka_unit_test(test_replaces_what_a_crash_left),
        cmocka_unit_test(test_leaves_another_daemon_alone),
        cmocka_unit_test(test_leaves_other_files_alone),
        cmocka_unit_test(test_removes_only_its_own_file),
        cmocka_unit_test(test_path_too_long),
        cmocka_unit_test(test_no_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
