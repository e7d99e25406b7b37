/*
 * A world for the scheduler: a clock, a spool and peers that follow its actions.
 *
 * The spool's reader and writer are threads of their own in the real program, so reads,
 * writes and notices take random times here; only the notices keep their order. The world
 * asserts what must always hold: no job is with two sessions at once, queue_next ends, and
 * asks for a time to come.
 */
#ifndef TESTS_QUEUE_HELPER_WORLD_H
#define TESTS_QUEUE_HELPER_WORLD_H

#include "postern/base/heap.h"
#include "postern/base/mem.h"
#include "postern/base/rand.h"
#include "postern/queue/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_START INT64_C(1700000000000)
#define WORLD_LANES 32
#define WORLD_BATCH 8

struct peer {
    bool up;
    bool accepts_only; /* sessions become ready and die with the first job */
    bool spoils_doubt; /* the job at which a session dies is in doubt */
    int64_t answer_ms; /* connection, probe */
    int64_t took_ms;   /* for a job */
    unsigned most;     /* sessions; more are refused. 0: any number */
    unsigned later_permille, lost_permille;
    unsigned untried_permille; /* jobs that are given back */
    unsigned first_laters;     /* so many jobs get a 4xx first */
    unsigned refused_permille; /* jobs whose recipient is refused for good */
    bool refuses_known;        /* those refused are believed in */
    uint64_t refused;
    unsigned sessions, ready, most_seen;
    uint64_t turned_away; /* sessions, because of `most` */
    int64_t greylist_ms;  /* a job's first tries get a 4xx for so long */
    bool xclient;         /* sessions serve one client each */
    bool hates_clients;   /* and die with its first job */
    bool nobody;          /* is reached: sessions only refuse their mail */
    uint64_t done;
};

struct stored {
    struct queue_job job;
    bool with_session;
    unsigned delivered, expired, tried;
    int64_t first_try_ms, done_ms;
    uint64_t place; /* among all that were delivered, from 1 */
};

struct lane {
    char name[32];
    struct stored **by_key; /* on disk, in order */
    size_t count, cap;
    uint64_t done, reads;
};

struct seen {
    int64_t at_ms;
    struct queue_action action;
    char name[32]; /* of the destination, else of the queue */
};

struct world {
    struct queue *queue;
    struct queue_options options;
    struct queue_definition definition;
    struct pn_rand rand;
    int64_t now_ms;
    int64_t delay_ms; /* of the spool: each step takes up to so long */
    struct pn_heap events;
    int64_t last_notice_ms;
    struct lane lanes[WORLD_LANES];
    struct peer peer; /* of destination "primary", and of all others */
    struct stored **all;
    size_t all_count, all_cap;
    struct world_session *sessions;
    struct seen *seen;
    size_t seen_count, seen_cap;
    uint64_t gone; /* jobs that were given though the spool had them no more */
    uint64_t doubts_with_others;
    unsigned returns; /* RAMP and UP, as told of who was reached */
    bool spool_fails;
    char order[4096]; /* first octet of the ids' tail as given to sessions */
    size_t order_len;
};

void world_open(struct world *world, uint64_t seed);
void world_close(struct world *world);
void world_define(struct world *world, const char *lane, const char *destination);
struct stored *world_add(struct world *world, const char *lane, int64_t due_ms);
struct stored *world_add_job(struct world *world, const char *lane, struct queue_job job);
/* A job that is on disk already when the scheduler starts. */
struct stored *world_preset(struct world *world, const char *lane, struct queue_job job);
void world_counted(struct world *world, const char *lane);
/* The operator: the job moves to another due time (RETRY, HOLD), or goes. */
void world_move(struct world *world, const char *lane, struct stored *stored, int64_t due_ms,
                unsigned flags);
void world_delete(struct world *world, const char *lane, struct stored *stored);
struct queue_job world_job(struct world *world, int64_t due_ms);

void world_run(struct world *world, int64_t for_ms);
size_t world_on_disk(const struct world *world);

/* The first action of a kind at or after a time; NULL when there is none. */
const struct seen *world_find(const struct world *world, enum queue_action_kind kind,
                              int64_t from_ms);
size_t world_count(const struct world *world, enum queue_action_kind kind, int64_t from_ms,
                   int64_t to_ms);
enum queue_state world_state(const struct world *world, const char *destination);
struct queue_destination_status world_dest(const struct world *world, const char *destination);
struct queue_status world_lane(const struct world *world, const char *lane);

#endif
