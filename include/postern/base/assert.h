/*
 * base/assert.h - our own bugs end the process, in release builds too.
 *
 * What is checked here must not depend on anything from outside: for that, see err.h
 * (the environment failed) and smtp/reply.h (the world said no).
 */
#ifndef POSTERN_BASE_ASSERT_H
#define POSTERN_BASE_ASSERT_H

#define pn_assert(condition)                                                                   \
    ((condition) ? (void)0 : pn_assert_failed(#condition, __FILE__, __LINE__))

_Noreturn void pn_assert_failed(const char *condition, const char *file, int line);

#endif
