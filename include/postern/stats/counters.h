/*
 * stats/counters.h - counters that any thread may raise, and their text for Prometheus.
 */
#ifndef POSTERN_STATS_COUNTERS_H
#define POSTERN_STATS_COUNTERS_H

#include "postern/base/buf.h"
#include "postern/base/log.h"

enum stats_counter {
#define COUNTER(id, name, help) STATS_##id,
#define GAUGE(id, name, help)
#include "postern/stats/metrics.def"
#undef COUNTER
#undef GAUGE
    STATS_COUNTER_COUNT
};
enum stats_gauge {
#define COUNTER(id, name, help)
#define GAUGE(id, name, help) STATS_GAUGE_##id,
#include "postern/stats/metrics.def"
#undef COUNTER
#undef GAUGE
    STATS_GAUGE_COUNT
};

struct stats_counters; /* spread over cache lines; relaxed atomics */

struct stats_counters *stats_counters_new(void);
void stats_counters_free(struct stats_counters **counters);
void stats_count(struct stats_counters *counters, enum stats_counter counter, uint64_t by);
void stats_count_event(struct stats_counters *counters, enum pn_event event);
uint64_t stats_get(const struct stats_counters *counters, enum stats_counter counter);

/* The whole of /metrics in Prometheus' text format 0.0.4; gauges has STATS_GAUGE_COUNT. */
int stats_write_metrics(const struct stats_counters *counters, const double *gauges,
                        struct pn_buf *out) PN_WARN_UNUSED;

/* The metrics as a manual's table. */
int stats_write_man(struct pn_buf *out) PN_WARN_UNUSED;

#endif
