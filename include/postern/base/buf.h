/*
 * base/buf.h - octets that grow up to a maximum given at init.
 *
 * A buffer is a queue: append at the end, consume at the front. Appending beyond max
 * changes nothing and returns PN_ENOSPACE; the caller decides what that means.
 */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include <stdarg.h>

#include "postern/base/err.h"
#include "postern/base/str.h"

struct pn_buf {
    char *data;   /* owned; the content starts at data + start */
    size_t start; /* octets consumed but not yet moved away */
    size_t len;   /* octets of content */
    size_t cap;
    size_t max;
};

void pn_buf_init(struct pn_buf *buf, size_t max_octets);
void pn_buf_fini(struct pn_buf *buf); /* frees; the buffer may be inited again */

struct pn_str pn_buf_str(const struct pn_buf *buf); /* dies with the next change */
size_t pn_buf_room(const struct pn_buf *buf);       /* octets that still fit */
void pn_buf_clear(struct pn_buf *buf);              /* keeps the memory */
void pn_buf_shrink(struct pn_buf *buf); /* gives memory back that the content does not need */
void pn_buf_consume(struct pn_buf *buf, size_t octets);  /* asserts octets <= len */
void pn_buf_truncate(struct pn_buf *buf, size_t octets); /* keeps the first octets */

int pn_buf_append(struct pn_buf *buf, struct pn_str s) PN_WARN_UNUSED;
int pn_buf_append_z(struct pn_buf *buf, const char *z) PN_WARN_UNUSED;
int pn_buf_append_char(struct pn_buf *buf, char c) PN_WARN_UNUSED;
int pn_buf_printf(struct pn_buf *buf, const char *format, ...) PN_PRINTF(2, 3) PN_WARN_UNUSED;
int pn_buf_vprintf(struct pn_buf *buf, const char *format, va_list args) PN_WARN_UNUSED;

/*
 * For writers that fill memory themselves: a pointer to at least `octets` free octets
 * behind the content (NULL when max forbids it), then pn_buf_added for what was written.
 */
char *pn_buf_reserve(struct pn_buf *buf, size_t octets) PN_WARN_UNUSED;
void pn_buf_added(struct pn_buf *buf, size_t octets);

/* Gives the octets away as a NUL-terminated string that the caller frees; empties buf. */
char *pn_buf_detach(struct pn_buf *buf);

#endif
