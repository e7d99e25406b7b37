/*
 * outbound/logins.h - our logins at next hops: the files that `credentials` names.
 *
 * A file has two lines, user and password, and belongs to us alone: one that a group or
 * others may read is not used (mode 0600 or 0400). It is read when it is first wanted and
 * again when it has changed. Any thread; a lock is held for the reading of one small file.
 */
#ifndef POSTERN_OUTBOUND_LOGINS_H
#define POSTERN_OUTBOUND_LOGINS_H

#include "postern/port/files.h"

struct out_logins;

struct out_logins *out_logins_new(struct files *files);
void out_logins_free(struct out_logins **logins);

/* Appends user and password; the caller wipes what it was given (pn_wipe). */
int out_logins_get(struct out_logins *logins, const char *path, struct pn_buf *out_user,
                   struct pn_buf *out_password, struct pn_err *err) PN_WARN_UNUSED;

#endif
