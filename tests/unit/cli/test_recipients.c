/*
 * Answers in bulk: exported, and imported from files.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IMPORT "POST /v1/domains/example.org/recipients/import "

static void test_export_follows_its_pages(void **state)
{
    static const struct answer pages[] = {
        {200,
         "{\"answers\":[{\"address\":\"a@example.org\",\"verdict\":\"valid\",\"source\":"
         "\"pass-through\",\"age_s\":93784.143}],\"next\":\"a\"}",
         0},
        {200,
         "{\"answers\":[{\"address\":\"b\\u001b@example.org\",\"verdict\":\"invalid\","
         "\"source\":\"import\",\"age_s\":0.0}],\"next\":null}",
         0}};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = pages;
    run.answer_count = PN_COUNT(pages);
    run_words(&run, "recipients export example.org");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.requests,
                        "GET /v1/domains/example.org/recipients/answers?limit=1000 \n"
                        "GET /v1/domains/example.org/recipients/answers?limit=1000&after=a \n");
    assert_string_equal(run.out, "a@example.org valid pass-through 1d2h3m4s\n"
                                 "b\\x1b@example.org invalid import 0s\n");
    run_fini(&run);

    run_init(&run);
    run.answers = pages;
    run.answer_count = PN_COUNT(pages);
    run_words(&run, "recipients export example.org --json");
    assert_non_null(strstr(run.out, "\"age_s\":93784.143}],\"next\":\"a\"}\n{\"answers\""));
    run_fini(&run);
}

static const struct {
    const char *name;
    const char *file, *options;
    struct answer answer;
    const char *requests;
    int status;
    const char *out;
    const char *err; /* behind the file's name */
} imports[] = {
    {"addresses",
     "a@example.org\n\n# comment\n  b@example.org  \r\n\"c d\"@example.org # one\ne",
     "",
     {200, "{\"imported\":4,\"broken_total\":0,\"broken\":[]}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\",\"b@example.org\",\"\\\"c d\\\"@example.org\","
            "\"e\"]}\n",
     0,
     "imported: 4, broken: 0\n",
     NULL},
    {"an export",
     "a@example.org valid import 1d\nb@example.org invalid delivery 2h\n",
     " --invalid",
     {200, "{\"imported\":1,\"broken_total\":0,\"broken\":[]}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\"]}\n" IMPORT
            "{\"addresses\":[\"b@example.org\"],\"invalid\":true}\n",
     0,
     "imported: 2, broken: 0\n",
     NULL},
    {"invalid ones",
     "a@example.org\n",
     " --invalid",
     {200, "{\"imported\":1,\"broken_total\":0,\"broken\":[]}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\"],\"invalid\":true}\n",
     0,
     "imported: 1, broken: 0\n",
     NULL},
    {"broken lines",
     "a@example.org\nx y\n\xff\n\nz@example.net\n",
     "",
     {200, "{\"imported\":1,\"broken_total\":1,\"broken\":[1]}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\",\"z@example.net\"]}\n",
     1,
     "imported: 1, broken: 3\n",
     ":5: no address of example.org\n"},
    {"as JSON",
     "a@example.org\n",
     " --json",
     {200, "{\"imported\":1,\"broken_total\":0,\"broken\":[]}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\"]}\n",
     0,
     "{\"imported\":1,\"broken_total\":0}\n",
     NULL},
    {"refused",
     "a@example.org\n",
     "",
     {404, "{\"error\":\"example.org is no relay domain\"}", 0},
     IMPORT "{\"addresses\":[\"a@example.org\"]}\n",
     1,
     NULL,
     "postern: example.org is no relay domain\n"},
    {"nothing", "", "", {0}, "", 0, "imported: 0, broken: 0\n", NULL},
};

/* Writes what is to be imported; the name is the caller's. */
static void write_file(char path[64], const char *text, size_t times)
{
    FILE *file;
    int fd;

    (void)snprintf(path, 64, "/tmp/postern-import-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_non_null(file);
    while (times-- > 0) {
        assert_true(fputs(text, file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
}

static void test_imports(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(imports); i++) {
        char words[256];
        char path[64];
        struct run run;

        write_file(path, imports[i].file, 1);
        run_init(&run);
        run.answers = &imports[i].answer;
        run.answer_count = 1;
        (void)snprintf(words, sizeof words, "recipients import example.org %s%s", path,
                       imports[i].options);
        run_words(&run, words);
        if (run.status != imports[i].status || strcmp(run.requests, imports[i].requests) != 0 ||
            strcmp(run.out, imports[i].out ? imports[i].out : "") != 0 ||
            (imports[i].err ? !strstr(run.err, imports[i].err) : run.err[0] != '\0')) {
            fail_msg("%s: %d\nasked: %sout: %serr: %s", imports[i].name, run.status,
                     run.requests, run.out, run.err);
        }
        run_fini(&run);
        assert_int_equal(unlink(path), 0);
    }
}

/* A file of any length goes in requests that the daemon takes. */
static void test_import_in_pieces(void **state)
{
    static const struct answer answer = {
        200, "{\"imported\":900,\"broken_total\":100,\"broken\":[0,999,1000]}", 0};
    char words[256];
    char path[64];
    struct run run;

    (void)state;
    write_file(path, "a\n", 2500);
    run_init(&run);
    run.answers = &answer;
    run.answer_count = 1;
    (void)snprintf(words, sizeof words, "recipients import example.org %s", path);
    run_words(&run, words);
    assert_int_equal(run.request_count, 3);
    assert_int_equal(run.status, 1);
    assert_string_equal(run.out, "imported: 2700, broken: 300\n");
    assert_non_null(strstr(run.err, ":1000: no address of example.org\n"));
    assert_non_null(strstr(run.err, ":2001: no address of example.org\n"));
    assert_null(strstr(run.err, ":3000: "));
    assert_non_null(strstr(run.err, "and 295 more lines"));
    run_fini(&run);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_export_follows_its_pages),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_import_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
