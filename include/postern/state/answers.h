/*
 * state/answers.h - what targets have said about recipients, in the state store.
 *
 * Ages are counted on the domain's up-clock: milliseconds during which its target was up,
 * saved in the state store. An outage of any length, a restart or a step of the wall clock
 * makes nothing older (DESIGN "Who knows the recipients").
 *
 * Keys are (domain, local part as it is compared). Answers are cached in memory up to a
 * bound; the store is asked for the others. Any thread.
 */
#ifndef POSTERN_STATE_ANSWERS_H
#define POSTERN_STATE_ANSWERS_H

#include "postern/state/state.h"

enum state_verdict { STATE_UNKNOWN, STATE_VALID, STATE_INVALID };
enum state_source {
    STATE_BY_CALL_AHEAD,
    STATE_BY_PASS_THROUGH,
    STATE_BY_DELIVERY,
    STATE_BY_SENDER, /* an authorised sender of that domain */
    STATE_BY_IMPORT,
};
const char *state_source_name(enum state_source source); /* "call-ahead" */

struct state_answer {
    enum state_verdict verdict;
    enum state_source source;
    int64_t age_ms;      /* on the up-clock */
    struct pn_wall when; /* for people */
};

typedef void state_answer_fn(void *owner, int status, const struct state_answer *answer);
/* Never answers inside the call. status not 0: the store could not; verdict is UNKNOWN. */
void state_answer_get(struct state *state, struct loop *loop, struct pn_str domain,
                      struct pn_str local, state_answer_fn *fn, void *owner);
/* From the memory alone: false when it is not there. Hot path. */
bool state_answer_peek(struct state *state, struct pn_str domain, struct pn_str local,
                       struct state_answer *out);
void state_answer_put(struct state *state, struct pn_str domain, struct pn_str local,
                      enum state_verdict verdict, enum state_source source,
                      struct pn_wall when); /* UNKNOWN: forgets */

/* The domain's up-clock, advanced by main while its target is UP: lazily saved. */
void state_up_clock_add(struct state *state, struct pn_str domain, int64_t up_ms);
int64_t state_up_clock(struct state *state, struct pn_str domain);

/* Does the target take every address? age_ms on the up-clock; known for 7 days of it. */
struct state_catch_all {
    bool known;
    bool catch_all;
    int64_t age_ms;
};
struct state_catch_all state_catch_all_get(struct state *state, struct pn_str domain);
void state_catch_all_put(struct state *state, struct pn_str domain, bool catch_all);

/* A page of a domain's answers in the order of local parts. after: "" or the last local. */
struct state_answer_row {
    struct pn_str local;
    struct state_answer answer;
};
typedef void state_answers_fn(void *owner, int status, const struct state_answer_row *rows,
                              size_t count, bool end);
void state_answers_list(struct state *state, struct loop *loop, struct pn_str domain,
                        struct pn_str after, size_t limit, state_answers_fn *fn, void *owner);
/* Forgets one answer, or (local "") all of a domain; told when done. */
typedef void state_forget_fn(void *owner, int status, size_t count);
void state_answers_forget(struct state *state, struct loop *loop, struct pn_str domain,
                          struct pn_str local, state_forget_fn *fn, void *owner);

/* Reads the up-clocks and catch-alls into memory; before anything else here. */
typedef void state_answers_loaded_fn(void *owner, int status);
void state_answers_load(struct state *state, struct loop *loop, state_answers_loaded_fn *fn,
                        void *owner);

#endif
