/*
 * daemon/log_sink_priv.h - log lines to standard error, from a thread of their own.
 *
 * A line is put into a bounded buffer and written by the thread, so that no loop ever
 * waits for a pipe or a disk (FAULTS 8.18). When the buffer is full lines are dropped and
 * counted; how many is said when there is room again.
 */
#ifndef POSTERN_DAEMON_LOG_SINK_PRIV_H
#define POSTERN_DAEMON_LOG_SINK_PRIV_H

#include "postern/base/log.h"
#include "postern/stats/counters.h"

struct daemon_log_sink;

/* journal: lines begin with a syslog priority ("<6>") instead of the time. */
struct daemon_log_sink *daemon_log_sink_new(bool journal, struct stats_counters *counters);
/* Writes what is left, for at most two seconds. */
void daemon_log_sink_free(struct daemon_log_sink **sink);

struct pn_log_sink *daemon_log_sink_port(struct daemon_log_sink *sink);
void daemon_log_sink_set_level(struct daemon_log_sink *sink, enum pn_log_level least);

#endif
