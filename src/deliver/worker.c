/*
 * deliver/worker.c - orders from the main loop find their session here.
 */
#include "postern/deliver/worker.h"

#include "postern/base/mem.h"
#include "session_priv.h"

struct deliver_worker *deliver_worker_new(const struct deliver_worker_deps *deps)
{
    struct deliver_worker *worker = PN_NEW(struct deliver_worker);

    worker->deps = *deps;
    pn_log_child(&worker->log, deps->log);
    return worker;
}

void deliver_worker_free(struct deliver_worker **worker)
{
    struct deliver_session *session, *next;

    if (!*worker) {
        return;
    }
    HASH_ITER (hh, (*worker)->sessions, session, next) {
        deliver_session_free(session);
    }
    free(*worker);
    *worker = NULL;
}

/* The session has ended while the order was on its way: its jobs go back untried. */
static void return_jobs(struct deliver_order *order)
{
    struct deliver_report *report = PN_NEW(struct deliver_report);

    report->kind = DELIVER_RESULTS;
    report->deliver = order->deliver;
    report->session = order->session;
    for (size_t i = 0; i < order->job_count; i++) {
        struct deliver_result *result =
            deliver_result_new(pn_str_z(order->queue), &order->jobs[i], QUEUE_UNTRIED, NULL);

        result->next = report->results;
        report->results = result;
    }
    deliver_report_post(order->main_loop, report);
}

void deliver_worker_order(struct loop_task *task)
{
    struct deliver_order *order = PN_CONTAINER(task, struct deliver_order, task);
    struct deliver_session *session;

    HASH_FIND(hh, order->worker->sessions, &order->session, sizeof order->session, session);
    switch (order->kind) {
    case DELIVER_OPEN:
        deliver_session_new(order->worker, order);
        break;
    case DELIVER_JOBS:
        if (session) {
            deliver_session_jobs(session, order); /* owns it now */
            return;
        }
        return_jobs(order);
        break;
    case DELIVER_CLOSE:
        if (session) {
            deliver_session_close(session);
        }
        break;
    }
    deliver_order_free(order);
}
