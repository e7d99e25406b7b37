/*
 * state/state.h - the state store: what can be learned again, never on the path of 250.
 *
 * The events of each message, for "postern trace". Writes are lazy and may be lost with the
 * last moments before a crash; when the store falls behind or fails, events are dropped and
 * counted, never waited for.
 */
#ifndef POSTERN_STATE_STATE_H
#define POSTERN_STATE_STATE_H

#include "postern/base/id.h"
#include "postern/base/log.h"
#include "postern/port/loop.h"
#include "postern/port/store.h"

struct state;

struct state *state_new(const struct pn_log *log);
void state_free(struct state **state); /* after the store was closed */
const struct store_events *state_store_events(struct state *state);
void state_attach(struct state *state, struct store *store);

/* Notes one event of a message; any thread; keep_ms 0: not at all. */
void state_note(struct state *state, struct pn_wall when, const struct pn_id *id,
                enum pn_event event, struct pn_str text);

struct state_event {
    struct pn_wall when;
    struct pn_str event; /* the name, as in the log */
    struct pn_str text;
};
typedef void state_trace_fn(void *owner, int status, const struct state_event *events,
                            size_t count);
void state_trace(struct state *state, struct loop *loop, const struct pn_id *id,
                 state_trace_fn *fn, void *owner); /* at most 1,000 events */

/* Removes events of messages that arrived before `before`; a bounded piece for each call. */
void state_expire(struct state *state, struct loop *loop, struct pn_wall before);

uint64_t state_dropped(const struct state *state); /* events lost to a full backlog */

#endif
