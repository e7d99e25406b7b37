/*
 * helper_world.h - a spool on the fakes, and short ways to use it.
 */
#ifndef POSTERN_TEST_SPOOL_HELPER_WORLD_H
#define POSTERN_TEST_SPOOL_HELPER_WORLD_H

#include "helper_fakes.h"

#include "postern/spool/spool.h"

#define WORLD_NOTICES 512

struct world {
    struct fake_loop loop;
    struct fake_store store;
    struct fake_files files;
    struct spool *spool;
    struct pn_log_sink sink;
    struct pn_log log;
    size_t logged[PN_EV_COUNT];
    struct pn_wall wall;
    struct {
        int kind;
        char queue[64];
        struct queue_job job;
    } notices[WORLD_NOTICES];
    size_t notice_count;
    size_t calls; /* of any completion */
    int status;
};

struct world *world_new(bool encrypted);
void world_free(struct world *world);
void world_start(struct world *world, bool encrypted); /* a spool on the store that is there */
void world_stop(struct world *world, bool cut);        /* cut: what is under way is lost */
void world_run(struct world *world);                   /* until nothing is under way */
struct pn_id world_id(unsigned n);
struct pn_str world_text(size_t octets); /* the same octets for the same size */

/* Stores a message; each queue gets one job with the recipients "a@QUEUE" and "b@QUEUE". */
void world_store(struct world *world, unsigned n, size_t octets, const char *const *queues,
                 int64_t due_ms);
/* 0 when it is there, whole, with that text; else the status. */
int world_load(struct world *world, unsigned n, const char *queue, int64_t due_ms,
               size_t octets);
struct spool_message *world_message(struct world *world, unsigned n, const char *queue,
                                    int64_t due_ms);
void world_settle(struct world *world, unsigned n, const char *queue, int64_t due_ms,
                  const char *stay, int64_t new_due_ms, const char *parked);
/* "jobs/octets/parked" of a queue, from its counters; "" when there are none. */
const char *world_counts(struct world *world, const char *queue);
/* All kinds of records as "b1 c1 j1 m1"; empty when the store is. */
const char *world_records(struct world *world);

/* What spool_check found, in pieces, until it had wrapped around or was called 50 times. */
struct world_checked {
    size_t checked, bad, calls;
    bool wrapped;
};
struct world_checked world_check_all(struct world *world, size_t piece);

#endif
