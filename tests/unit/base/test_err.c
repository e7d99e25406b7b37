/* What base/err promises: a code, and a sentence that is cut but never broken. */
#include "postern/base/err.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

static void test_sets_and_wraps(void **state)
{
    struct pn_err err;

    (void)state;
    assert_int_equal(pn_err_set(&err, PN_EIO, "cannot write %s", "a file"), PN_EIO);
    assert_int_equal(err.code, PN_EIO);
    assert_string_equal(err.text, "cannot write a file");
    assert_int_equal(pn_err_wrap(&err, "spool %d", 7), PN_EIO);
    assert_string_equal(err.text, "spool 7: cannot write a file");
    assert_int_equal(pn_err_set(&err, PN_EINVAL, "again: %s", err.text), PN_EINVAL);
    assert_string_equal(err.text, "again: spool 7: cannot write a file");
}

static void test_nobody_cares(void **state)
{
    (void)state;
    assert_int_equal(pn_err_set(NULL, PN_ENOENT, "%s", "lost"), PN_ENOENT);
    assert_true(pn_err_wrap(NULL, "%s", "lost") < 0);
}

static void test_cuts_at_the_end(void **state)
{
    struct pn_err err;

    (void)state;
    (void)pn_err_set(&err, PN_EIO, "%0600d", 1);
    assert_int_equal(strlen(err.text), PN_ERR_TEXT_MAX - 1);
    (void)pn_err_set(&err, PN_EIO, "%0500d", 1);
    (void)pn_err_wrap(&err, "%s", "a context that does not leave room");
    assert_int_equal(strlen(err.text), PN_ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "a context that does not leave room: 000", 39);
    (void)pn_err_wrap(&err, "%0600d", 1);
    assert_int_equal(strlen(err.text), PN_ERR_TEXT_MAX - 1);
}

static void test_knows_errno(void **state)
{
    static const struct {
        const char *name;
        int number, code;
    } rows[] = {
        {"none", 0, PN_OK},
        {"ENOSPC", ENOSPC, PN_ENOSPACE},
        {"EDQUOT", EDQUOT, PN_ENOSPACE},
        {"ENOENT", ENOENT, PN_ENOENT},
        {"EEXIST", EEXIST, PN_EEXIST},
        {"EACCES", EACCES, PN_EACCES},
        {"EPERM", EPERM, PN_EACCES},
        {"ETIMEDOUT", ETIMEDOUT, PN_ETIMEOUT},
        {"EAGAIN", EAGAIN, PN_EAGAIN},
        {"EPIPE", EPIPE, PN_ECLOSED},
        {"EINVAL", EINVAL, PN_EINVAL},
        {"EIO", EIO, PN_EIO},
        {"ECONNREFUSED", ECONNREFUSED, PN_EIO},
        {"unheard of", 99999, PN_EIO},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        if (pn_err_from_errno(rows[i].number) != rows[i].code) {
            fail_msg("%s: got %d", rows[i].name, pn_err_from_errno(rows[i].number));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets_and_wraps),
        cmocka_unit_test(test_nobody_cares),
        cmocka_unit_test(test_cuts_at_the_end),
        cmocka_unit_test(test_knows_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
