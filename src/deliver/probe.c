/*
 * deliver/probe.c - "are you back?": one session that delivers nothing.
 *
 * It goes through all that a delivery would (connection, TLS, EHLO, MAIL, RSET), so that a
 * target which answers its port but is not well is not taken for up. Probes run on the main
 * loop: there are few at a time, and their answer is the scheduler's.
 *
 * That the domain takes no mail (RFC 7505) is an answer too: its mail is to be refused, which
 * a delivery does, and not to wait for a server that will never be there.
 *
 * A good answer is told once the session has ended: a target that takes one session from us
 * at a time would turn the first delivery down, and would be taken for down again, for ever.
 */
#include "deliver_priv.h"

#include <utlist.h>

#include "postern/base/mem.h"

struct deliver_probe {
    struct deliver *deliver;
    struct out_session *session;
    char *destination;
    enum queue_probe_answer answer;
    struct deliver_probe *prev, *next;
};

static void probe_free(struct deliver_probe *probe)
{
    DL_DELETE(probe->deliver->probes, probe);
    out_session_free(&probe->session);
    free(probe->destination);
    free(probe);
}

static void log_probe(struct deliver_probe *probe, struct pn_str reason)
{
    struct pn_log_line line;

    pn_log_begin(&line, &probe->deliver->log, PN_EV_PROBE);
    pn_log_z(&line, "destination", probe->destination);
    pn_log_z(&line, "answers", probe->answer == QUEUE_PROBE_BACK ? "yes" : "no");
    if (probe->answer != QUEUE_PROBE_BACK) {
        pn_log_str(&line, "reason", reason);
    }
    pn_log_end(&line);
}

/* What it means that the session ended before it was ready. */
static enum queue_probe_answer early_end(const struct deliver_probe *probe,
                                         const struct out_event *event)
{
    if (event->end == OUT_END_BUSY &&
        deliver_share_is_full(probe->deliver, pn_str_z(probe->destination))) {
        return QUEUE_PROBE_BACK; /* it takes no more sessions than we have */
    }
    return event->end == OUT_END_REFUSED && smtp_reply_refused(&event->reply)
               ? QUEUE_PROBE_REFUSES
               : QUEUE_PROBE_AWAY;
}

static void on_session(struct out_session *session, void *owner)
{
    struct deliver_probe *probe = owner;
    struct deliver *deliver = probe->deliver;
    struct out_event event;

    while (out_session_next(session, &event)) {
        if (event.kind == OUT_EV_READY) {
            probe->answer = QUEUE_PROBE_BACK;
            if (deliver->deps.board) {
                out_board_set_capabilities(deliver->deps.board, pn_str_z(probe->destination),
                                           out_session_capabilities(session),
                                           out_session_size_limit(session));
            }
            out_session_quit(session);
        } else if (event.kind == OUT_EV_ENDED) {
            struct pn_str destination = pn_str_z(probe->destination);
            struct pn_str reason;

            if (probe->answer == QUEUE_PROBE_AWAY) {
                probe->answer = early_end(probe, &event);
            }
            reason = probe->answer == QUEUE_PROBE_BACK ? PN_STR("") : event.reason;
            log_probe(probe, reason);
            queue_probed(deliver->queue, destination, probe->answer, reason,
                         deliver_now_ms(deliver));
            deliver_soon(deliver);
            probe_free(probe);
            return;
        }
    }
}

void deliver_probe(struct deliver *deliver, struct pn_str destination, struct pn_str queue)
{
    const struct conf_domain *domain = deliver_domain(deliver, queue);
    struct deliver_probe *probe;
    struct out_options options = {
        .conf = deliver->conf,
        .domain = (struct conf_domain *)(uintptr_t)domain,
        .check = true,
        /* A host without power answers nothing: asking again finds its return sooner than a
         * SYN that is repeated at growing intervals. */
        .connect_timeout_ms = deliver->conf->probe_min_ms < deliver->conf->connect_timeout_ms
                                  ? deliver->conf->probe_min_ms
                                  : deliver->conf->connect_timeout_ms,
        .window_mails = 1,
        .window_octets = 1,
    };

    if (!domain) {
        queue_probed(deliver->queue, destination, QUEUE_PROBE_AWAY,
                     PN_STR("no longer configured"), deliver_now_ms(deliver));
        return;
    }
    probe = PN_NEW(struct deliver_probe);
    probe->deliver = deliver;
    probe->destination = pn_strndup(destination);
    DL_APPEND(deliver->probes, probe);
    probe->session = out_session_new(deliver->deps.out, &options, on_session, probe);
    stats_count(deliver->deps.counters, STATS_PROBES, 1);
}

void deliver_probes_drop(struct deliver *deliver)
{
    while (deliver->probes) {
        probe_free(deliver->probes);
    }
}
