/*
 * base/time.h - two kinds of time that cannot be mixed by accident, and durations.
 *
 * pn_mono is the monotonic clock: timers and time-outs. pn_wall is the time of day
 * (UTC, since 1970): what people read and what survives a restart. Durations are
 * int64_t milliseconds in names that end in _ms. Pure code gets both from its caller.
 */
#ifndef POSTERN_BASE_TIME_H
#define POSTERN_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/buf.h"

struct pn_mono {
    int64_t ms;
};
struct pn_wall {
    int64_t ms;
};

#define PN_SECONDS(n) ((int64_t)(n)*1000)
#define PN_MINUTES(n) ((int64_t)(n)*60 * 1000)
#define PN_HOURS(n)   ((int64_t)(n)*60 * 60 * 1000)
#define PN_DAYS(n)    ((int64_t)(n)*24 * 60 * 60 * 1000)

#define PN_MONO_NEVER ((struct pn_mono){INT64_MAX})
#define PN_WALL_NEVER ((struct pn_wall){INT64_MAX})

/* later = t + duration; saturates at NEVER. */
struct pn_mono pn_mono_add(struct pn_mono t, int64_t duration_ms);
struct pn_wall pn_wall_add(struct pn_wall t, int64_t duration_ms);

/* "Sat, 21 Nov 2026 20:55:08 +0000" (RFC 5322 3.3), always UTC. */
int pn_wall_rfc5322(struct pn_wall t, struct pn_buf *out) PN_WARN_UNUSED;
/* "2026-11-21T20:55:08.123Z" (RFC 3339). */
int pn_wall_rfc3339(struct pn_wall t, struct pn_buf *out) PN_WARN_UNUSED;

/*
 * Durations as people write them: "90s", "5m", "36h", "14d", "2w", and sums of falling
 * units ("1h30m"). "0" needs no unit. *out is untouched on failure.
 */
bool pn_duration_parse(struct pn_str s, int64_t *out_ms);
/* The shortest exact form ("1h30m", "0s"; below a second "250ms"). */
int pn_duration_format(int64_t duration_ms, struct pn_buf *out) PN_WARN_UNUSED;
/* Two largest units, for tables: "3d 4h", "12s". */
int pn_duration_human(int64_t duration_ms, struct pn_buf *out) PN_WARN_UNUSED;

/* Sizes: "512", "64K", "50M", "2G", "1T"; powers of 1024. */
bool pn_size_parse(struct pn_str s, uint64_t *out_octets);
int pn_size_format(uint64_t octets, struct pn_buf *out) PN_WARN_UNUSED; /* exact: "50M" */
int pn_size_human(uint64_t octets, struct pn_buf *out) PN_WARN_UNUSED;  /* "3.4 MiB" */

#endif
