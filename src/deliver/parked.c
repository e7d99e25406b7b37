/*
 * deliver/parked.c - parked recipients are kept for parked_keep, and then go.
 *
 * Once an hour each queue that has some is gone through; its definition says how long. A
 * queue that no configuration names keeps what it has: nobody has said how long.
 */
#include "deliver_priv.h"

#include "postern/base/mem.h"

#define EVERY_MS PN_HOURS(1)

/* One queue's pass; a bounded piece for each call of the spool. */
struct pass {
    struct deliver *deliver;
    struct spool_filter filter;
    size_t gone;
    char queue[];
};

static void on_applied(void *owner, int status, size_t changed, struct pn_str next)
{
    struct pass *pass = owner;
    struct deliver *deliver = pass->deliver;
    struct pn_log_line line;

    pass->gone += changed;
    if (status == 0 && next.len > 0 && deliver->state == DELIVER_RUNNING) {
        spool_apply(deliver->deps.spool, deliver->deps.out->loop, SPOOL_DELETE, &pass->filter,
                    next, on_applied, pass);
        return;
    }
    if (pass->gone > 0) {
        pn_log_begin(&line, &deliver->log, PN_EV_PARKED_GONE);
        pn_log_z(&line, "queue", pass->queue);
        pn_log_u64(&line, "messages", pass->gone);
        pn_log_end(&line);
    }
    free(pass);
    deliver_answered(deliver);
}

static void begin(void *owner, const struct queue_status *status)
{
    struct deliver *deliver = owner;
    const struct conf_domain *domain = deliver_domain(deliver, status->name);
    struct pass *pass;

    if (status->parked == 0 || !domain) {
        return;
    }
    pass = pn_alloc(sizeof *pass + status->name.len + 1);
    pass->deliver = deliver;
    memcpy(pass->queue, status->name.ptr, status->name.len);
    pass->filter = (struct spool_filter){.queue = pn_str_z(pass->queue),
                                         .older_than_ms = domain->parked_keep_ms,
                                         .now_ms = deliver_now_ms(deliver),
                                         .parked = true};
    deliver->pending++;
    spool_apply(deliver->deps.spool, deliver->deps.out->loop, SPOOL_DELETE, &pass->filter,
                PN_STR(""), on_applied, pass);
}

void deliver_parked_second(struct deliver *deliver)
{
    int64_t now_ms = deliver_now_ms(deliver);

    if (now_ms >= deliver->parked_again_ms) {
        deliver->parked_again_ms = now_ms + EVERY_MS;
        queue_each(deliver->queue, now_ms, begin, deliver);
    }
}
