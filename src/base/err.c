/*
 * base/err.c - the environment failed: a code for programs, a sentence for people.
 *
 * The sentence lives in the struct, so that a failure costs no allocation and cannot
 * fail itself. What does not fit is cut at the end, where the details are.
 */
#include "postern/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void format_text(char *text, const char *format, va_list args)
{
    if (vsnprintf(text, PN_ERR_TEXT_MAX, format, args) < 0) {
        text[0] = '\0';
    }
}

/* Appends as much of `more` as has room. */
static void add_text(char *text, const char *more)
{
    size_t len = strlen(text);
    size_t room = PN_ERR_TEXT_MAX - 1 - len;
    size_t part = strnlen(more, room);

    memcpy(text + len, more, part);
    text[len + part] = '\0';
}

int pn_err_set(struct pn_err *err, int code, const char *format, ...)
{
    if (err) {
        va_list args;
        char text[PN_ERR_TEXT_MAX];

        /* The arguments may point into err itself. */
        va_start(args, format);
        format_text(text, format, args);
        va_end(args);
        memcpy(err->text, text, sizeof text);
        err->code = code;
    }
    return code;
}

int pn_err_wrap(struct pn_err *err, const char *format, ...)
{
    va_list args;
    char text[PN_ERR_TEXT_MAX];

    if (!err) {
        return PN_EIO;
    }
    va_start(args, format);
    format_text(text, format, args);
    va_end(args);

    add_text(text, ": ");
    add_text(text, err->text);
    memcpy(err->text, text, sizeof text);
    return err->code;
}

int pn_err_from_errno(int number)
{
    switch (number) {
    case 0:
        return PN_OK;
    case EINVAL:
    case ENAMETOOLONG:
    case EDOM:
    case ERANGE:
        return PN_EINVAL;
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
        return PN_ENOENT;
    case EEXIST:
    case EADDRINUSE:
        return PN_EEXIST;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return PN_ENOSPACE;
    case ETIMEDOUT:
        return PN_ETIMEOUT;
    case EAGAIN:
    case EINTR:
    case EBUSY:
    case EINPROGRESS:
        return PN_EAGAIN;
    case EBADMSG:
    case EILSEQ:
    case EUCLEAN:
        return PN_ECORRUPT;
    case EACCES:
    case EPERM:
    case EROFS:
        return PN_EACCES;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case ESHUTDOWN:
        return PN_ECLOSED;
    default:
        return PN_EIO;
    }
}
