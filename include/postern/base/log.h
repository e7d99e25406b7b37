/*
 * base/log.h - one line per event: a stable name, then key=value.
 *
 * Event names live in base/events.def, which the emitter, the counters, the metrics and
 * every log analyser share. A line is built on the stack and handed whole to a sink; the
 * sink decides where it goes and never blocks a loop (FAULTS 8.18). Values that come from
 * outside are escaped here: what is not a printable character, a blank, a quote or a
 * backslash makes the value quoted, with \xNN for control octets and invalid UTF-8, so
 * that one event is always one line (FAULTS 3.14).
 *
 *     struct pn_log_line line;
 *     pn_log_begin(&line, log, PN_EV_STORED);
 *     pn_log_str(&line, "from", sender);
 *     pn_log_u64(&line, "size", size_octets);
 *     pn_log_end(&line);
 */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include "postern/base/err.h"
#include "postern/base/id.h"
#include "postern/base/ip.h"
#include "postern/base/str.h"

enum pn_log_level { PN_LOG_DEBUG, PN_LOG_INFO, PN_LOG_WARN, PN_LOG_ERROR, PN_LOG_ALARM };

enum pn_event {
#define EVENT(id, name, level, help) PN_EV_##id,
#include "postern/base/events.def"
#undef EVENT
    PN_EV_COUNT
};

struct pn_event_info {
    const char *name; /* "queue.deferred" */
    enum pn_log_level level;
    const char *help;
};
const struct pn_event_info *pn_event_info(enum pn_event event);

/* Where lines go. Called from any thread; must not block. line ends without a newline. */
struct pn_log_sink {
    void (*on_line)(struct pn_log_sink *sink, enum pn_event event, struct pn_str line);
    enum pn_log_level least; /* lines below this level are not built, only counted */
    void (*on_event)(struct pn_log_sink *sink, enum pn_event event); /* counts; may be NULL */
};

#define PN_LOG_CONTEXT_MAX 192
#define PN_LOG_LINE_MAX    2048

/* A log with the context of an object: " qid=… peer=…" stands in each of its lines. */
struct pn_log {
    struct pn_log_sink *sink; /* borrowed; NULL: lines go nowhere */
    size_t context_len;
    char context[PN_LOG_CONTEXT_MAX];
};

void pn_log_init(struct pn_log *log, struct pn_log_sink *sink);
/* child has parent's context; add to it with pn_log_context. */
void pn_log_child(struct pn_log *child, const struct pn_log *parent);
void pn_log_context(struct pn_log *log, const char *key, struct pn_str value);

struct pn_log_line {
    const struct pn_log *log; /* NULL: nobody wants this line */
    enum pn_event event;
    size_t len;
    bool cut; /* the line was too long; it ends in " cut=yes" */
    char text[PN_LOG_LINE_MAX];
};

void pn_log_begin(struct pn_log_line *line, const struct pn_log *log, enum pn_event event);
void pn_log_str(struct pn_log_line *line, const char *key, struct pn_str value);
void pn_log_z(struct pn_log_line *line, const char *key, const char *value);
void pn_log_u64(struct pn_log_line *line, const char *key, uint64_t value);
void pn_log_ms(struct pn_log_line *line, const char *key, int64_t duration_ms); /* "1.204s" */
void pn_log_id(struct pn_log_line *line, const char *key, const struct pn_id *id);
void pn_log_ip(struct pn_log_line *line, const char *key, const struct pn_ip *ip);
void pn_log_end(struct pn_log_line *line);

/* An event that needs only a sentence: "name what=…". */
void pn_log_say(const struct pn_log *log, enum pn_event event, const char *format, ...)
    PN_PRINTF(3, 4);

#endif
