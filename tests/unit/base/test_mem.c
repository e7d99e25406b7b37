/* What base/mem and base/assert promise: memory is there, or the process says why it ends. */
#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_allocates_zeroed(void **state)
{
    unsigned char *octets = pn_alloc_array(100, 7);
    char *copy;

    (void)state;
    for (size_t i = 0; i < 700; i++) {
        assert_int_equal(octets[i], 0);
    }
    free(octets);
    octets = pn_alloc(0);
    assert_non_null(octets);
    octets = pn_realloc(octets, 0);
    assert_non_null(octets);
    free(octets);
    assert_null(pn_strdup(NULL));
    copy = pn_strdup("abc");
    assert_string_equal(copy, "abc");
    free(copy);
    copy = pn_strndup(pn_str_sub(PN_STR("abcdef"), 1, 2));
    assert_string_equal(copy, "bc");
    free(copy);
    copy = pn_strndup((struct pn_str){NULL, 0});
    assert_string_equal(copy, "");
    free(copy);
}

static void test_wipes(void **state)
{
    char secret[8] = "hunter2";

    (void)state;
    pn_wipe(secret + 1, 3);
    assert_memory_equal(secret, "h\0\0\0er2", 8);
    pn_wipe(NULL, 0);
}

struct whole {
    int before;
    int part;
};

static void test_finds_the_container(void **state)
{
    struct whole whole = {1, 2};

    (void)state;
    assert_ptr_equal(PN_CONTAINER(&whole.part, struct whole, part), &whole);
}

static volatile size_t too_many = SIZE_MAX / 4;

static void overflow(void)
{
    free(pn_alloc_array(too_many, 8));
}

static void break_a_promise(void)
{
    pn_assert(too_many == 0);
}

/* Runs body in a child, which must end by SIGABRT and name the condition. */
static void expect_abort(void (*body)(void), const char *condition)
{
    char text[1024] = "";
    size_t len = 0;
    ssize_t got;
    int ends[2];
    int status;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    while ((got = read(ends[0], text + len, sizeof text - 1 - len)) > 0) {
        len += (size_t)got;
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (!strstr(text, condition)) {
        fail_msg("'%s' does not name '%s'", text, condition);
    }
}

static void test_ends_on_our_bugs(void **state)
{
    (void)state;
    expect_abort(break_a_promise, "bug: too_many == 0 does not hold at ");
    expect_abort(overflow, "n <= SIZE_MAX / octets");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocates_zeroed),
        cmocka_unit_test(test_wipes),
        cmocka_unit_test(test_finds_the_container),
        cmocka_unit_test(test_ends_on_our_bugs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
