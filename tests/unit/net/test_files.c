/*
 * The files port on the real file system.
 */
#include "helper_net.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    struct files *files;
    char directory[64];
    char path[128];
};

static void place_init(struct place *place)
{
    *place = (struct place){.files = net_files(), .directory = "/tmp/postern-test-XXXXXX"};
    assert_non_null(mkdtemp(place->directory));
    assert_true(snprintf(place->path, sizeof place->path, "%s/file", place->directory) > 0);
}

static void place_fini(struct place *place)
{
    assert_int_equal(rmdir(place->directory), 0); /* nothing may be left in it */
}

static void assert_content(struct place *place, const char *text)
{
    struct pn_buf buf;

    pn_buf_init(&buf, 100);
    assert_int_equal(place->files->ops->read(place->files, place->path, &buf, NULL), 0);
    assert_true(pn_str_eq(pn_buf_str(&buf), pn_str_z(text)));
    pn_buf_fini(&buf);
}

static void test_write_replaces_and_sets_the_mode(void **state)
{
    struct place place;
    struct files_info info;
    uint64_t inode;

    (void)state;
    place_init(&place);
    assert_int_equal(
        place.files->ops->write(place.files, place.path, PN_STR("one"), 0640, NULL), 0);
    assert_content(&place, "one");
    assert_int_equal(place.files->ops->info(place.files, place.path, &info, NULL), 0);
    assert_true(info.exists);
    assert_false(info.directory);
    assert_int_equal(info.size_octets, 3);
    assert_int_equal(info.mode, 0640);
    assert_true(info.mtime_ns > 1600000000LL * 1000000000);
    inode = info.inode;
    assert_int_equal(
        place.files->ops->write(place.files, place.path, PN_STR("two!"), 0600, NULL), 0);
    assert_content(&place, "two!");
    assert_int_equal(place.files->ops->info(place.files, place.path, &info, NULL), 0);
    assert_int_not_equal(info.inode, inode); /* a new file, not an overwritten one */
    assert_int_equal(place.files->ops->remove(place.files, place.path, NULL), 0);
    place_fini(&place);
}

static void test_read_is_bounded(void **state)
{
    struct place place;
    struct pn_err err = {0};
    struct pn_buf buf;

    (void)state;
    place_init(&place);
    assert_int_equal(
        place.files->ops->write(place.files, place.path, PN_STR("12345678"), 0600, NULL), 0);
    pn_buf_init(&buf, 10);
    assert_int_equal(pn_buf_append_z(&buf, "ab"), 0);
    assert_int_equal(place.files->ops->read(place.files, place.path, &buf, &err), 0);
    assert_true(pn_str_eq(pn_buf_str(&buf), PN_STR("ab12345678")));
    pn_buf_fini(&buf);
    pn_buf_init(&buf, 9);
    assert_int_equal(pn_buf_append_z(&buf, "ab"), 0);
    assert_int_equal(place.files->ops->read(place.files, place.path, &buf, &err), PN_ENOSPACE);
    assert_true(pn_str_eq(pn_buf_str(&buf), PN_STR("ab")));
    pn_buf_fini(&buf);
    assert_int_equal(place.files->ops->remove(place.files, place.path, NULL), 0);
    place_fini(&place);
}

static void test_what_is_missing(void **state)
{
    struct place place;
    struct files_info info = {.exists = true};
    struct pn_err err = {0};
    struct pn_buf buf;

    (void)state;
    place_init(&place);
    pn_buf_init(&buf, 10);
    assert_int_equal(place.files->ops->read(place.files, place.path, &buf, &err), PN_ENOENT);
    assert_non_null(strstr(err.text, place.path));
    assert_non_null(strstr(err.text, "No such file or directory"));
    assert_int_equal(place.files->ops->remove(place.files, place.path, &err), PN_ENOENT);
    assert_int_equal(place.files->ops->shred(place.files, place.path, &err), PN_ENOENT);
    assert_int_equal(place.files->ops->info(place.files, place.path, &info, &err), 0);
    assert_false(info.exists);
    assert_int_equal(place.files->ops->read(place.files, place.directory, &buf, &err), PN_EIO);
    assert_int_equal(
        place.files->ops->write(place.files, "/nonexistent/x", PN_STR("x"), 0600, &err),
        PN_ENOENT);
    pn_buf_fini(&buf);
    place_fini(&place);
}

static void test_write_that_fails_leaves_nothing_behind(void **state)
{
    struct place place;
    struct pn_err err = {0};

    (void)state;
    place_init(&place);
    assert_int_equal(place.files->ops->make_directory(place.files, place.path, 0700, NULL), 0);
    assert_true(place.files->ops->write(place.files, place.path, PN_STR("x"), 0600, &err) < 0);
    assert_non_null(strstr(err.text, "cannot replace"));
    assert_int_equal(rmdir(place.path), 0);
    place_fini(&place);
}

static void test_shred_overwrites_before_it_removes(void **state)
{
    struct place place;
    char copy[128];
    char secret[6000];
    char found[6000];
    FILE *file;

    (void)state;
    place_init(&place);
    memset(secret, 's', sizeof secret);
    assert_int_equal(place.files->ops->write(place.files, place.path,
                                             (struct pn_str){secret, sizeof secret}, 0600,
                                             NULL),
                     0);
    /* A second name keeps the blocks in sight. */
    assert_true(snprintf(copy, sizeof copy, "%s/copy", place.directory) > 0);
    assert_int_equal(link(place.path, copy), 0);
    assert_int_equal(place.files->ops->shred(place.files, place.path, NULL), 0);
    assert_int_equal(access(place.path, F_OK), -1);
    file = fopen(copy, "re");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, sizeof found, file), sizeof found);
    (void)fclose(file);
    assert_int_not_equal(memcmp(found, secret, 16), 0);
    assert_int_not_equal(memcmp(found + 4096, secret, 16), 0);
    assert_int_equal(unlink(copy), 0);
    place_fini(&place);
}

struct listing {
    size_t files;
    size_t directories;
    size_t broken;
};

static void on_entry(void *owner, const char *name, const struct files_info *info)
{
    struct listing *listing = owner;

    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    listing->files += info->exists && !info->directory;
    listing->directories += info->exists && info->directory;
    listing->broken += !info->exists;
}

static void test_list_and_directories(void **state)
{
    struct place place;
    struct listing listing = {0};
    struct pn_err err = {0};
    char sub[128];
    char broken[128];

    (void)state;
    place_init(&place);
    assert_true(snprintf(sub, sizeof sub, "%s/sub", place.directory) > 0);
    assert_true(snprintf(broken, sizeof broken, "%s/broken", place.directory) > 0);
    assert_int_equal(place.files->ops->make_directory(place.files, sub, 0750, NULL), 0);
    assert_int_equal(place.files->ops->make_directory(place.files, sub, 0750, NULL), 0);
    assert_int_equal(place.files->ops->write(place.files, place.path, PN_STR("x"), 0600, NULL),
                     0);
    assert_int_equal(place.files->ops->make_directory(place.files, place.path, 0750, &err),
                     PN_EEXIST);
    assert_int_equal(symlink("nowhere", broken), 0);
    assert_int_equal(
        place.files->ops->list(place.files, place.directory, on_entry, &listing, NULL), 0);
    assert_int_equal(listing.files, 1);
    assert_int_equal(listing.directories, 1);
    assert_int_equal(listing.broken, 1);
    assert_int_equal(place.files->ops->list(place.files, place.path, on_entry, &listing, &err),
                     pn_err_from_errno(20)); /* ENOTDIR */
    unlink(broken);
    unlink(place.path);
    rmdir(sub);
    place_fini(&place);
}

static void test_space(void **state)
{
    uint64_t free_octets = 0;
    uint64_t total_octets = 0;
    struct pn_err err = {0};
    struct files *files = net_files();

    (void)state;
    assert_int_equal(files->ops->space(files, "/tmp", &free_octets, &total_octets, NULL), 0);
    assert_true(total_octets > 0);
    assert_true(free_octets <= total_octets);
    assert_int_equal(
        files->ops->space(files, "/nonexistent", &free_octets, &total_octets, &err), PN_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_replaces_and_sets_the_mode),
        cmocka_unit_test(test_read_is_bounded),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_write_that_fails_leaves_nothing_behind),
        cmocka_unit_test(test_shred_overwrites_before_it_removes),
        cmocka_unit_test(test_list_and_directories),
        cmocka_unit_test(test_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
