/*
 * admin/routes.c - every request that the API knows, one row each.
 *
 * postern-admin(7) lists the same rows; a unit test compares the two. GET changes nothing;
 * what changes something is POST, PUT or DELETE, and takes its terms from a JSON body.
 */
#include "admin_priv.h"

#include "postern/base/mem.h"

static const struct admin_route routes[] = {
    {"GET", "/v1/status", 0, admin_get_status,
     "Everything that matters at a glance: queues, domains, destinations, spool."},
    {"GET", "/v1/domains", ADMIN_LIMIT | ADMIN_AFTER, admin_get_domains,
     "The relay domains in the order of their names, a page at a time."},
    {"GET", "/v1/domains/NAME", 0, admin_get_domain,
     "One relay domain: its state, its mail, its options."},
    {"PUT", "/v1/domains/NAME", ADMIN_CREATE | ADMIN_OBJECT, admin_put_domain,
     "Writes the domain's file and puts it in force at once."},
    {"DELETE", "/v1/domains/NAME", 0, admin_delete_domain,
     "Removes the domain's file. Mail that waits is kept, and held."},
    {"POST", "/v1/domains/NAME/check", 0, admin_check_domain,
     "Looks at the domain's DNS and its target, and says what to do about each finding."},
    {"GET", "/v1/domains/NAME/recipients", 0, admin_get_recipients,
     "Who knows the domain's recipients: each source in its order, and its state."},
    {"POST", "/v1/domains/NAME/recipients/test", ADMIN_ADDRESS, admin_test_recipient,
     "What a client would be told about one address now, and why."},
    {"GET", "/v1/domains/NAME/recipients/answers", ADMIN_LIMIT | ADMIN_AFTER, admin_get_answers,
     "What is remembered of the domain's recipients, a page at a time."},
    {"POST", "/v1/domains/NAME/recipients/import", ADMIN_ADDRESSES | ADMIN_INVALID,
     admin_import_answers, "Addresses are remembered as valid, or as invalid."},
    {"POST", "/v1/domains/NAME/recipients/forget", ADMIN_ADDRESS | ADMIN_ALL,
     admin_forget_answers, "What is remembered of one address, or of all, is forgotten."},
    {"GET", "/v1/queue", ADMIN_FILTER | ADMIN_LIMIT | ADMIN_AFTER, admin_get_queue,
     "Waiting messages, or parked ones, a page at a time."},
    {"GET", "/v1/queue/ID", 0, admin_get_message,
     "Everything about one message: its envelope, its jobs, its parked recipients."},
    {"POST", "/v1/queue/hold", ADMIN_FILTER | ADMIN_ID | ADMIN_ALL, admin_hold_jobs,
     "Messages are kept until they are released."},
    {"POST", "/v1/queue/release", ADMIN_FILTER | ADMIN_ID | ADMIN_ALL, admin_release_jobs,
     "Held or parked messages are due now."},
    {"POST", "/v1/queue/retry", ADMIN_FILTER | ADMIN_ID | ADMIN_ALL, admin_retry_jobs,
     "Waiting messages are due now."},
    {"POST", "/v1/queue/forward", ADMIN_FILTER | ADMIN_ID | ADMIN_ALL | ADMIN_ADDRESS,
     admin_forward_parked, "Parked messages go to another address, and are parked no longer."},
    {"POST", "/v1/queue/delete", ADMIN_FILTER | ADMIN_ID | ADMIN_ALL, admin_delete_jobs,
     "Messages are deleted, without a report to anybody."},
    {"POST", "/v1/flush", ADMIN_DOMAIN | ADMIN_ALL, admin_flush,
     "Every message of a queue, or of all, is tried now."},
    {"GET", "/v1/trace/ID", 0, admin_get_trace, "The events of one message, oldest first."},
    {"GET", "/v1/destinations", ADMIN_LIMIT | ADMIN_AFTER, admin_get_destinations,
     "The next hops in the order of their names, a page at a time."},
    {"GET", "/v1/destinations/NAME", 0, admin_get_destination,
     "One next hop: its state, its sessions, and what it offers."},
    {"POST", "/v1/destinations/hold", ADMIN_NAME | ADMIN_DOMAIN, admin_hold_destination,
     "Nothing is sent to a destination until it is released."},
    {"POST", "/v1/destinations/release", ADMIN_NAME | ADMIN_DOMAIN, admin_release_destination,
     "A held destination is asked whether it answers, and gets its mail."},
    {"POST", "/v1/destinations/resume", ADMIN_NAME | ADMIN_DOMAIN | ADMIN_ALL,
     admin_resume_destination,
     "A destination that was stopped for its refusals gets its mail again, still on parole."},
    {"POST", "/v1/destinations/refuse", ADMIN_NAME | ADMIN_DOMAIN | ADMIN_ALL,
     admin_refuse_destination,
     "A destination's refusals are to be believed: its parole is over."},
    {"GET", "/v1/route", ADMIN_ADDRESS | ADMIN_SENDER, admin_get_route,
     "What would happen to mail for an address now, step by step. Nothing is sent."},
    {"POST", "/v1/probes", ADMIN_NAME | ADMIN_DOMAIN, admin_begin_probe,
     "A session to a next hop begins that delivers nothing, for somebody who watches it."},
    {"GET", "/v1/probes/NUMBER", ADMIN_AFTER, admin_get_probe,
     "What was said in it since the last look; waits until something was."},
    {"POST", "/v1/reload", 0, admin_reload,
     "Reads the configuration again. With a mistake, what was in force stays in force."},
    {"POST", "/v1/stop", 0, admin_stop, "The daemon ends, as by SIGTERM."},
    {"POST", "/v1/spool/check", ADMIN_MESSAGES, admin_check_spool,
     "Reads messages from the disk and verifies them, from where the last check ended."},
    {"POST", "/v1/spool/salvage", ADMIN_PATH, admin_salvage,
     "Repairs a copy of a broken store and brings its messages back, held."},
    {"GET", "/metrics", 0, admin_get_metrics, "Counters and gauges for Prometheus."},
};

const struct admin_route *admin_routes(size_t *out_count)
{
    *out_count = PN_COUNT(routes);
    return routes;
}

static bool is_parameter(struct pn_str segment)
{
    return segment.len > 0 && segment.ptr[0] >= 'A' && segment.ptr[0] <= 'Z';
}

static bool matches(struct pn_str pattern, struct pn_str path, struct pn_str *out_param)
{
    struct pn_str param = PN_STR("");

    while (pattern.len > 0 && path.len > 0) {
        struct pn_str wanted = pn_str_cut(&pattern, '/');
        struct pn_str segment = pn_str_cut(&path, '/');

        if (is_parameter(wanted) && segment.len > 0) {
            param = segment;
        } else if (!pn_str_eq(wanted, segment)) {
            return false;
        }
    }
    if (pattern.len > 0 || path.len > 0) {
        return false;
    }
    *out_param = param;
    return true;
}

const struct admin_route *admin_route_find(struct pn_str method, struct pn_str path,
                                           struct pn_str *out_param, unsigned *out_status)
{
    unsigned status = 404;
    struct pn_str param;

    /* What cut would not see: an empty segment at the end. */
    if (!pn_str_ends(path, PN_STR("/"))) {
        for (size_t i = 0; i < PN_COUNT(routes); i++) {
            if (!matches(pn_str_z(routes[i].pattern), path, &param)) {
                continue;
            }
            if (pn_str_eq(method, pn_str_z(routes[i].method))) {
                *out_param = param;
                return &routes[i];
            }
            status = 405;
        }
    }
    *out_status = status;
    return NULL;
}
