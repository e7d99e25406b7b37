/*
 * base/err.h - the environment failed: a code for programs, a sentence for people.
 *
 * A function that can fail this way returns 0 or a negative PN_E… and takes a
 * struct pn_err * as its last parameter (NULL when the caller does not care). The
 * sentence names the object, what happened, what it means and what to do. Callers add
 * context with pn_err_wrap and pass it on, or log it; never both.
 */
#ifndef POSTERN_BASE_ERR_H
#define POSTERN_BASE_ERR_H

#define PN_WARN_UNUSED         __attribute__((warn_unused_result))
#define PN_PRINTF(text, first) __attribute__((format(printf, text, first)))

enum pn_error {
    PN_OK = 0,
    PN_EINVAL = -1,   /* what was given is not valid */
    PN_ENOENT = -2,   /* it does not exist */
    PN_EEXIST = -3,   /* it exists already */
    PN_EIO = -4,      /* a file, store or connection failed */
    PN_ENOSPACE = -5, /* a bound or the disk is full */
    PN_ETIMEOUT = -6, /* nothing came in time */
    PN_EAGAIN = -7,   /* not now; try again later */
    PN_ECORRUPT = -8, /* data does not add up */
    PN_EACCES = -9,   /* not permitted */
    PN_ECLOSED = -10, /* the other side, or the loop, has ended */
};

#define PN_ERR_TEXT_MAX 512

struct pn_err {
    int code; /* enum pn_error */
    char text[PN_ERR_TEXT_MAX];
};

/* Fills err (if not NULL) and returns code, so that one can write "return pn_err_set(…)". */
int pn_err_set(struct pn_err *err, int code, const char *format, ...) PN_PRINTF(3, 4);

/* Puts "context: " before the sentence that is there, and returns err's code. */
int pn_err_wrap(struct pn_err *err, const char *format, ...) PN_PRINTF(2, 3);

/* The same from errno-style numbers: ENOSPC becomes PN_ENOSPACE, and so on. */
int pn_err_from_errno(int number);

#endif
