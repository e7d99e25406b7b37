/*
 * stats/counters.c - counters that any thread may raise, and their text for Prometheus.
 *
 * Each counter has a cache line of its own, so that workers that count different things do
 * not slow each other down; the additions are relaxed, because a counter orders nothing.
 * One set of counters for each worker, summed by the reader, was rejected: at the rates of
 * a mail server a contended addition costs less than the code that would spare it.
 */
#include "postern/stats/counters.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdalign.h>
#include <stdatomic.h>

#define CACHE_LINE 64

struct counter {
    alignas(CACHE_LINE) _Atomic uint64_t value;
};

struct stats_counters {
    struct counter counters[STATS_COUNTER_COUNT];
    struct counter events[PN_EV_COUNT];
};

struct metric {
    const char *name;
    const char *help;
};

static const struct metric counter_metrics[STATS_COUNTER_COUNT] = {
#define COUNTER(id, name, help) {name, help},
#define GAUGE(id, name, help)
#include "postern/stats/metrics.def"
#undef COUNTER
#undef GAUGE
};
static const struct metric gauge_metrics[STATS_GAUGE_COUNT] = {
#define COUNTER(id, name, help)
#define GAUGE(id, name, help) {name, help},
#include "postern/stats/metrics.def"
#undef COUNTER
#undef GAUGE
};
static const struct metric event_metric = {
    "postern_events_total", "Events of the log, by name; also of those below log_level."};

struct stats_counters *stats_counters_new(void)
{
    struct stats_counters *counters = aligned_alloc(CACHE_LINE, sizeof *counters);

    pn_assert(counters);
    for (size_t i = 0; i < STATS_COUNTER_COUNT; i++) {
        atomic_init(&counters->counters[i].value, 0);
    }
    for (size_t i = 0; i < PN_EV_COUNT; i++) {
        atomic_init(&counters->events[i].value, 0);
    }
    return counters;
}

void stats_counters_free(struct stats_counters **counters)
{
    free(*counters);
    *counters = NULL;
}

void stats_count(struct stats_counters *counters, enum stats_counter counter, uint64_t by)
{
    pn_assert((unsigned)counter < STATS_COUNTER_COUNT);
    atomic_fetch_add_explicit(&counters->counters[counter].value, by, memory_order_relaxed);
}

void stats_count_event(struct stats_counters *counters, enum pn_event event)
{
    pn_assert((unsigned)event < PN_EV_COUNT);
    atomic_fetch_add_explicit(&counters->events[event].value, 1, memory_order_relaxed);
}

uint64_t stats_get(const struct stats_counters *counters, enum stats_counter counter)
{
    pn_assert((unsigned)counter < STATS_COUNTER_COUNT);
    return atomic_load_explicit(&counters->counters[counter].value, memory_order_relaxed);
}

/* HELP escapes a backslash and a line end, and nothing else (text format 0.0.4). */
static int write_head(const struct metric *metric, const char *type, struct pn_buf *out)
{
    int result = pn_buf_printf(out, "# HELP %s ", metric->name);

    for (const char *c = metric->help; *c && result == 0; c++) {
        if (*c == '\\' || *c == '\n') {
            result = pn_buf_append_z(out, *c == '\n' ? "\\n" : "\\\\");
        } else {
            result = pn_buf_append_char(out, *c);
        }
    }
    return result ? result : pn_buf_printf(out, "\n# TYPE %s %s\n", metric->name, type);
}

static int write_gauge(const char *name, double value, struct pn_buf *out)
{
    if (isnan(value)) {
        return pn_buf_printf(out, "%s NaN\n", name);
    }
    if (isinf(value)) {
        return pn_buf_printf(out, "%s %sInf\n", name, value < 0 ? "-" : "+");
    }
    return pn_buf_printf(out, "%s %.15g\n", name, value);
}

static int write_events(const struct stats_counters *counters, struct pn_buf *out)
{
    int result = write_head(&event_metric, "counter", out);

    for (size_t i = 0; i < PN_EV_COUNT && result == 0; i++) {
        uint64_t value = atomic_load_explicit(&counters->events[i].value, memory_order_relaxed);

        result = pn_buf_printf(out, "%s{event=\"%s\"} %" PRIu64 "\n", event_metric.name,
                               pn_event_info((enum pn_event)i)->name, value);
    }
    return result;
}

int stats_write_metrics(const struct stats_counters *counters, const double *gauges,
                        struct pn_buf *out)
{
    int result = 0;

    for (size_t i = 0; i < STATS_COUNTER_COUNT && result == 0; i++) {
        result = write_head(&counter_metrics[i], "counter", out);
        if (result == 0) {
            result = pn_buf_printf(out, "%s %" PRIu64 "\n", counter_metrics[i].name,
                                   stats_get(counters, (enum stats_counter)i));
        }
    }
    for (size_t i = 0; i < STATS_GAUGE_COUNT && result == 0; i++) {
        result = write_head(&gauge_metrics[i], "gauge", out);
        if (result == 0) {
            result = write_gauge(gauge_metrics[i].name, gauges[i], out);
        }
    }
    return result ? result : write_events(counters, out);
}

/* One paragraph of a manual page. No help text begins with what roff takes for a request. */
static int write_paragraph(const struct metric *metric, const char *type, struct pn_buf *out)
{
    int result = pn_buf_printf(out, ".TP\n.BR %s \" (%s)\"\n", metric->name, type);

    for (const char *c = metric->help; *c && result == 0; c++) {
        if (*c == '\\' || *c == '-') {
            result = pn_buf_append_z(out, *c == '-' ? "\\-" : "\\e");
        } else {
            result = pn_buf_append_char(out, *c);
        }
    }
    return result ? result : pn_buf_append_char(out, '\n');
}

int stats_write_man(struct pn_buf *out)
{
    int result = 0;

    for (size_t i = 0; i < STATS_COUNTER_COUNT && result == 0; i++) {
        result = write_paragraph(&counter_metrics[i], "counter", out);
    }
    for (size_t i = 0; i < STATS_GAUGE_COUNT && result == 0; i++) {
        result = write_paragraph(&gauge_metrics[i], "gauge", out);
    }
    return result ? result : write_paragraph(&event_metric, "counter, label event", out);
}
