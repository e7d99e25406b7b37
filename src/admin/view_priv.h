/*
 * admin/view_priv.h - queues and destinations as JSON. Reads, and changes nothing.
 */
#ifndef POSTERN_ADMIN_VIEW_PRIV_H
#define POSTERN_ADMIN_VIEW_PRIV_H

#include "json_priv.h"

#include "postern/domains/domains.h"
#include "postern/queue/queue.h"

/* Up to so many domains or destinations are all shown in the status. */
#define ADMIN_STATUS_ALL 100
/* And never more than so many. */
#define ADMIN_STATUS_MAX 1000
#define ADMIN_PAGE       1000
#define ADMIN_PAGE_MAX   10000

struct admin_view {
    const struct queue *queue;
    const struct domains *domains;
    struct admin_clock clock;
};

/* All queues together. */
struct admin_totals {
    uint64_t messages, octets, parked, in_flight, in_doubt, flush_left;
    int64_t oldest_ms; /* queue time; 0: none */
    bool flushing;
    double rate;
    uint64_t queues;
    uint64_t queues_by_state[QUEUE_HELD + 1];
    uint64_t destinations;
    uint64_t destinations_by_state[QUEUE_HELD + 1];
};
void admin_view_totals(const struct admin_view *view, struct admin_totals *out);
json_t *admin_view_totals_json(const struct admin_view *view,
                               const struct admin_totals *totals);
/* How many are in each state: {"up": 3, ...}. */
json_t *admin_view_states_json(const uint64_t by_state[QUEUE_HELD + 1]);

/* One queue as "domain list" shows it. */
json_t *admin_view_queue(const struct admin_view *view, const struct queue_status *status);
json_t *admin_view_destination(const struct admin_view *view,
                               const struct queue_destination_status *status);

/* enum smtp_capability as the names that EHLO has for them. */
json_t *admin_view_capabilities(unsigned capabilities);

/* For the status: those that are worth a look. */
json_t *admin_view_domains(const struct admin_view *view, const struct admin_totals *totals);
json_t *admin_view_destinations(const struct admin_view *view,
                                const struct admin_totals *totals);

/*
 * At most limit of them whose names come after `after`, in their order; *out_next is the
 * last one's name if there are more, else "" (borrowed from the queue).
 */
json_t *admin_view_domains_page(const struct admin_view *view, struct pn_str after,
                                size_t limit, struct pn_str *out_next);
json_t *admin_view_destinations_page(const struct admin_view *view, struct pn_str after,
                                     size_t limit, struct pn_str *out_next);

#endif
