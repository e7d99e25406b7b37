/*
 * base/buf.c - octets that grow up to a maximum given at init.
 *
 * The content is a window in one block of memory. Consuming moves only the window's
 * start; the content is moved to the front when room is needed and as much was consumed
 * as is left, so that each octet is moved a constant number of times on average. Otherwise
 * the block doubles, until it has reached the maximum. A ring was rejected: parsers want
 * their line in one piece.
 *
 * The block is one octet longer than cap says: that is where formatting and detach put
 * their NUL, which is not content.
 */
#include "postern/base/buf.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define CAP_MIN 64

void pn_buf_init(struct pn_buf *buf, size_t max_octets)
{
    pn_assert(max_octets < SIZE_MAX);
    *buf = (struct pn_buf){.max = max_octets};
}

void pn_buf_fini(struct pn_buf *buf)
{
    free(buf->data);
    *buf = (struct pn_buf){.max = buf->max};
}

static char *window(const struct pn_buf *buf)
{
    return buf->data ? buf->data + buf->start : NULL;
}

struct pn_str pn_buf_str(const struct pn_buf *buf)
{
    return buf->len > 0 ? (struct pn_str){window(buf), buf->len} : PN_STR("");
}

size_t pn_buf_room(const struct pn_buf *buf)
{
    return buf->max - buf->len;
}

void pn_buf_clear(struct pn_buf *buf)
{
    buf->start = 0;
    buf->len = 0;
}

static void move_to_front(struct pn_buf *buf)
{
    if (buf->start > 0 && buf->len > 0) {
        memmove(buf->data, window(buf), buf->len);
    }
    buf->start = 0;
}

void pn_buf_shrink(struct pn_buf *buf)
{
    if (buf->len == 0) {
        pn_buf_fini(buf);
        return;
    }
    move_to_front(buf);
    buf->data = pn_realloc(buf->data, buf->len + 1);
    buf->cap = buf->len;
}

void pn_buf_consume(struct pn_buf *buf, size_t octets)
{
    pn_assert(octets <= buf->len);
    buf->start += octets;
    buf->len -= octets;
    if (buf->len == 0) {
        buf->start = 0;
    }
}

void pn_buf_truncate(struct pn_buf *buf, size_t octets)
{
    if (octets < buf->len) {
        buf->len = octets;
        if (octets == 0) {
            buf->start = 0;
        }
    }
}

/* Puts the content at the front of a new block, so that consumed octets are not copied. */
static void grow(struct pn_buf *buf, size_t needed)
{
    size_t cap = buf->cap > buf->max / 2 ? buf->max : buf->cap * 2;
    char *data;

    if (cap < CAP_MIN) {
        cap = buf->max < CAP_MIN ? buf->max : CAP_MIN;
    }
    if (cap < needed) {
        cap = needed;
    }
    if (buf->start == 0) {
        buf->data = pn_realloc(buf->data, cap + 1);
    } else {
        data = pn_realloc(NULL, cap + 1);
        memcpy(data, window(buf), buf->len);
        free(buf->data);
        buf->data = data;
        buf->start = 0;
    }
    buf->cap = cap;
}

char *pn_buf_reserve(struct pn_buf *buf, size_t octets)
{
    if (octets > pn_buf_room(buf)) {
        return NULL;
    }
    if (!buf->data) {
        grow(buf, octets);
    } else if (octets > buf->cap - buf->start - buf->len) {
        size_t needed = buf->len + octets;

        if (needed <= buf->cap && (buf->start >= buf->len || buf->cap == buf->max)) {
            move_to_front(buf);
        } else {
            grow(buf, needed);
        }
    }
    return window(buf) + buf->len;
}

void pn_buf_added(struct pn_buf *buf, size_t octets)
{
    pn_assert(octets <= buf->cap - buf->start - buf->len);
    buf->len += octets;
}

int pn_buf_append(struct pn_buf *buf, struct pn_str s)
{
    char *to = pn_buf_reserve(buf, s.len);

    if (!to) {
        return PN_ENOSPACE;
    }
    if (s.len > 0) {
        memcpy(to, s.ptr, s.len);
        buf->len += s.len;
    }
    return 0;
}

int pn_buf_append_z(struct pn_buf *buf, const char *z)
{
    return pn_buf_append(buf, pn_str_z(z));
}

int pn_buf_append_char(struct pn_buf *buf, char c)
{
    return pn_buf_append(buf, (struct pn_str){&c, 1});
}

int pn_buf_printf(struct pn_buf *buf, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = pn_buf_vprintf(buf, format, args);
    va_end(args);
    return rc;
}

int pn_buf_vprintf(struct pn_buf *buf, const char *format, va_list args)
{
    size_t room = buf->data ? buf->cap - buf->start - buf->len : 0;
    va_list again;
    char *to;
    int len;

    va_copy(again, args);
    len = vsnprintf(buf->data ? window(buf) + buf->len : NULL, buf->data ? room + 1 : 0, format,
                    args);
    pn_assert(len >= 0);
    to = pn_buf_reserve(buf, (size_t)len);
    if (to && (size_t)len > room) {
        len = vsnprintf(to, (size_t)len + 1, format, again);
    }
    va_end(again);
    if (!to) {
        return PN_ENOSPACE;
    }
    pn_buf_added(buf, (size_t)len);
    return 0;
}

char *pn_buf_detach(struct pn_buf *buf)
{
    char *octets;

    move_to_front(buf);
    octets = pn_realloc(buf->data, buf->len + 1);
    octets[buf->len] = '\0';
    *buf = (struct pn_buf){.max = buf->max};
    return octets;
}
