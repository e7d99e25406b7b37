/*
 * pick.c - which of the jobs in memory a session gets.
 *
 * Three of the oldest, then one of the newest, so that a message from a minute ago does not
 * wait behind all that gathered in a night. Within the first AMONG of either list small ones
 * come before large ones, by classes of size: within a class the order is that of age, and
 * the oldest is passed by at most AMONG times.
 *
 * A session that serves one client gets its jobs in the same order. Which client that is goes
 * in turns: the one with the most jobs in memory, so that the sessions are few; and the oldest
 * job's, and sometimes the newest one's, so that nobody who sent a single message waits for
 * the end of the drain. Counting is a sort of what is in memory, once for each such
 * session; a table of clients kept for each lane would cost all others memory.
 */
#include "queue_priv.h"

#include <string.h>

#define AMONG        32
#define SMALL_OCTETS (64u << 10)
#define LARGEST      4

/* 0: small; each class is four times the one before. */
static unsigned weight(const struct queue_job *job)
{
    unsigned class = 0;

    for (uint64_t octets = job->size_octets; octets > SMALL_OCTETS && class < LARGEST;
         octets /= 4) {
        class ++;
    }
    return class;
}

/* The first of the lightest among the list's first ones; client NULL: any. */
static struct queue_entry *lightest(struct queue_entry *list, bool backwards,
                                    const struct pn_ip *client, struct queue_entry **out_first)
{
    struct queue_entry *at = backwards && list ? list->prev : list, *best = NULL;
    unsigned seen = 0, least = LARGEST + 1;

    *out_first = NULL;
    while (at && seen < AMONG && least > 0) {
        if (!client || pn_ip_eq(&at->job.client, client)) {
            *out_first = *out_first ? *out_first : at;
            seen++;
            if (weight(&at->job) < least) {
                least = weight(&at->job);
                best = at;
            }
        }
        at = !backwards ? at->next : at == list ? NULL : at->prev;
    }
    return best;
}

static struct queue_entry *choose(struct queue_work *work, const struct pn_ip *client)
{
    struct queue_entry *first, *entry = NULL;

    if (work->picks % 4 == 3) {
        entry = lightest(work->fresh, true, client, &first);
    }
    if (!entry) {
        entry = lightest(work->window, false, client, &first);
        if (entry && entry != first && work->passed++ >= AMONG) {
            entry = first;
        }
        work->passed = entry == first ? 0 : work->passed;
    }
    return entry ? entry : lightest(work->fresh, true, client, &first);
}

size_t queue_lane_pick(struct queue *queue, struct queue_lane *lane, const struct pn_ip *client,
                       size_t max, struct queue_job *out)
{
    struct queue_work *work = lane->work;
    struct queue_entry *entry;
    bool alone = false;
    size_t count = 0;

    while (count < max && !alone && (entry = choose(work, client)) != NULL) {
        alone = (entry->job.flags & QUEUE_JOB_IN_DOUBT) != 0;
        if (alone && count > 0) {
            break;
        }
        work->picks++;
        out[count++] = entry->job;
        queue_window_taken(queue, entry);
    }
    return count;
}

/* ---- by client -------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const struct pn_ip *left = a, *right = b;

    return left->family != right->family
               ? (left->family < right->family ? -1 : 1)
               : memcmp(left->octets, right->octets, sizeof left->octets);
}

static struct pn_ip with_most(const struct queue_work *work)
{
    size_t count = 0, best = 0, best_run = 0, run = 0;
    struct pn_ip *clients =
        pn_alloc_array(work->window_count + work->fresh_count, sizeof *clients);
    const struct queue_entry *entry;
    struct pn_ip client;

    DL_FOREACH (work->window, entry) {
        clients[count++] = entry->job.client;
    }
    DL_FOREACH (work->fresh, entry) {
        clients[count++] = entry->job.client;
    }
    qsort(clients, count, sizeof *clients, by_address);
    for (size_t i = 0; i < count; i++) {
        run = i > 0 && pn_ip_eq(&clients[i], &clients[i - 1]) ? run + 1 : 1;
        if (run > best_run) {
            best_run = run;
            best = i;
        }
    }
    client = clients[best];
    free(clients);
    return client;
}

struct pn_ip queue_lane_client(struct queue_lane *lane)
{
    struct queue_work *work = lane->work;
    unsigned turn = work->clients++ % 4;

    if (turn % 2 == 0 && work->window) {
        return work->window->job.client;
    }
    if (turn == 3 && work->fresh) {
        return work->fresh->prev->job.client;
    }
    return with_most(work);
}
