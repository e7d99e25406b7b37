/*
 * A key file: its mode, and that none is ever overwritten.
 */
#include "helper_cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_genkey(void **state)
{
    char directory[] = "/tmp/postern-test-XXXXXX";
    char path[64];
    char words[128];
    char content[64] = "";
    struct stat info;
    struct run run;
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/key", directory);
    (void)snprintf(words, sizeof words, "spool genkey %s", path);
    run_init(&run);
    run_words(&run, words);
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "key_file"));
    run_fini(&run);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(content, sizeof content, file));
    assert_string_equal(content, "a key\n");
    assert_int_equal(fclose(file), 0);

    run_init(&run);
    run_words(&run, words);
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.err, "exists already"));
    run_fini(&run);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void test_genkey_without_a_directory(void **state)
{
    struct run run;

    (void)state;
    run_init(&run);
    run_words(&run, "spool genkey /nonexistent/key");
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.err, "cannot create /nonexistent/key"));
    run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_genkey),
        cmocka_unit_test(test_genkey_without_a_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
