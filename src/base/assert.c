/*
 * base/assert.c - our own bugs end the process, in release builds too.
 *
 * The sentence goes out in one write, without the log and without stdio: both may be
 * what broke. abort() leaves a core for whoever looks into it.
 */
#include "postern/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void pn_assert_failed(const char *condition, const char *file, int line)
{
    char text[512];
    int len = snprintf(text, sizeof text, "bug: %s does not hold at %s:%d; the process ends\n",
                       condition, file, line);

    if (len > 0) {
        size_t octets = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
        ssize_t written = write(STDERR_FILENO, text, octets);

        (void)written; /* There is nobody left to tell. */
    }
    abort();
}
