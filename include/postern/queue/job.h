/*
 * queue/job.h - what the scheduler knows of a job: a message in a queue.
 *
 * Times are queue time (queue/clock.h): milliseconds that never run backwards.
 */
#ifndef POSTERN_QUEUE_JOB_H
#define POSTERN_QUEUE_JOB_H

#include "postern/base/id.h"
#include "postern/base/ip.h"

enum queue_job_flags {
    QUEUE_JOB_IN_DOUBT = 1 << 0, /* a session died after its last octet: may be delivered */
    QUEUE_JOB_HELD = 1 << 1,     /* by the operator or a loop alarm; due is NEVER */
    QUEUE_JOB_REPORT = 1 << 2,   /* a report of ours: lives for report_keep_ms at most */
    /* Only in a notice that the job was removed: by an operator, and it is added again under
     * another key by the next one. */
    QUEUE_JOB_MOVED = 1 << 3,
};

#define QUEUE_DUE_NEVER INT64_MAX

struct queue_job {
    struct pn_id id;
    int64_t due_ms;
    int64_t arrival_ms;  /* queue time at which it was stored */
    int64_t last_try_ms; /* 0: never tried */
    uint64_t size_octets;
    uint32_t attempts; /* refusals "not now" of this message; outages do not count */
    uint32_t recipients;
    unsigned flags; /* enum queue_job_flags */
    struct pn_ip client;
};

#endif
