/*
 * daemon/log_sink.c - log lines to standard error, from a thread of their own.
 *
 * Two buffers: lines go into one while the thread writes the other. So the lock is held
 * for a memcpy. The thread is woken by the first line only, and lets others gather for a
 * moment: under load a write (and a wake-up) serves hundreds of lines instead of one.
 */
#include "log_sink_priv.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "postern/base/mem.h"
#include "postern/base/time.h"

#define BUFFER_MAX (4u << 20)
#define GATHER_NS  10000000 /* 10 ms */

struct daemon_log_sink {
    struct pn_log_sink port;
    struct stats_counters *counters;
    bool journal;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct pn_buf waiting;
    uint64_t dropped;
    bool ends;
};

static int priority_of(enum pn_log_level level)
{
    static const int priorities[] = {
        [PN_LOG_DEBUG] = 7, [PN_LOG_INFO] = 6,  [PN_LOG_WARN] = 4,
        [PN_LOG_ERROR] = 3, [PN_LOG_ALARM] = 2,
    };

    return priorities[level];
}

static int write_prefix(const struct daemon_log_sink *sink, enum pn_log_level level,
                        struct pn_buf *out)
{
    struct timespec now;
    int failed;

    if (sink->journal) {
        return pn_buf_printf(out, "<%d>", priority_of(level));
    }
    clock_gettime(CLOCK_REALTIME, &now);
    failed = pn_wall_rfc3339((struct pn_wall){now.tv_sec * 1000 + now.tv_nsec / 1000000}, out);
    return failed ? failed : pn_buf_append_char(out, ' ');
}

static int append_line(struct daemon_log_sink *sink, enum pn_log_level level,
                       struct pn_str line)
{
    size_t before = sink->waiting.len;

    if (write_prefix(sink, level, &sink->waiting) == 0 &&
        pn_buf_append(&sink->waiting, line) == 0 &&
        pn_buf_append_char(&sink->waiting, '\n') == 0) {
        return 0;
    }
    pn_buf_truncate(&sink->waiting, before);
    return PN_ENOSPACE;
}

static void on_line(struct pn_log_sink *port, enum pn_event event, struct pn_str line)
{
    struct daemon_log_sink *sink = PN_CONTAINER(port, struct daemon_log_sink, port);
    bool first;

    pthread_mutex_lock(&sink->lock);
    first = sink->waiting.len == 0;
    if (append_line(sink, pn_event_info(event)->level, line) != 0) {
        sink->dropped++;
        stats_count(sink->counters, STATS_LOG_DROPPED, 1);
    }
    if (first) {
        pthread_cond_signal(&sink->filled);
    }
    pthread_mutex_unlock(&sink->lock);
}

static void on_event(struct pn_log_sink *port, enum pn_event event)
{
    struct daemon_log_sink *sink = PN_CONTAINER(port, struct daemon_log_sink, port);

    stats_count_event(sink->counters, event);
}

/* False: standard error takes nothing any more. */
static bool write_all(struct pn_str text, bool patient)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    while (text.len > 0) {
        ssize_t n = write(STDERR_FILENO, text.ptr, text.len);

        if (n > 0) {
            text = pn_str_sub(text, (size_t)n, SIZE_MAX);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (poll(&ready, 1, patient ? -1 : 2000) == 0) {
                return false;
            }
        } else {
            return false;
        }
    }
    return true;
}

/* Says how many lines were lost; called with the lock held. */
static void note_dropped(struct daemon_log_sink *sink)
{
    struct pn_buf line;

    if (sink->dropped == 0) {
        return;
    }
    pn_buf_init(&line, 200);
    if (pn_buf_printf(&line, "log.dropped lines=%llu", (unsigned long long)sink->dropped) ==
            0 &&
        append_line(sink, PN_LOG_WARN, pn_buf_str(&line)) == 0) {
        sink->dropped = 0;
    }
    pn_buf_fini(&line);
}

static void *run(void *arg)
{
    struct daemon_log_sink *sink = arg;
    struct pn_buf writing;
    bool ends = false, works = true;

    pn_buf_init(&writing, BUFFER_MAX);
    while (!ends || writing.len > 0) {
        struct pn_buf swap;

        pthread_mutex_lock(&sink->lock);
        while (sink->waiting.len == 0 && !sink->ends) {
            pthread_cond_wait(&sink->filled, &sink->lock);
        }
        if (!sink->ends) {
            const struct timespec gather = {.tv_nsec = GATHER_NS};

            pthread_mutex_unlock(&sink->lock);
            nanosleep(&gather, NULL);
            pthread_mutex_lock(&sink->lock);
        }
        note_dropped(sink);
        swap = sink->waiting;
        sink->waiting = writing;
        writing = swap;
        ends = sink->ends;
        pthread_mutex_unlock(&sink->lock);
        works = works && write_all(pn_buf_str(&writing), !ends);
        pn_buf_clear(&writing);
    }
    pn_buf_fini(&writing);
    return NULL;
}

struct daemon_log_sink *daemon_log_sink_new(bool journal, struct stats_counters *counters)
{
    struct daemon_log_sink *sink = PN_NEW(struct daemon_log_sink);

    sink->port =
        (struct pn_log_sink){.on_line = on_line, .least = PN_LOG_INFO, .on_event = on_event};
    sink->counters = counters;
    sink->journal = journal;
    pthread_mutex_init(&sink->lock, NULL);
    pthread_cond_init(&sink->filled, NULL);
    pn_buf_init(&sink->waiting, BUFFER_MAX);
    pthread_create(&sink->thread, NULL, run, sink);
    return sink;
}

void daemon_log_sink_free(struct daemon_log_sink **sink)
{
    struct daemon_log_sink *s = *sink;

    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_signal(&s->filled);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pn_buf_fini(&s->waiting);
    pthread_cond_destroy(&s->filled);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *sink = NULL;
}

struct pn_log_sink *daemon_log_sink_port(struct daemon_log_sink *sink)
{
    return &sink->port;
}

void daemon_log_sink_set_level(struct daemon_log_sink *sink, enum pn_log_level least)
{
    __atomic_store_n(&sink->port.least, least, __ATOMIC_RELAXED);
}
