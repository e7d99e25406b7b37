/*
 * outbound/pool.h - warm sessions to destinations that are up, one pool for each worker.
 *
 * For pass-through and call-ahead: a session that has ended its transaction well is put
 * back and serves the next one (RSET is said first where needed). A warm session that the
 * peer closes is dropped without a word (FAULTS 4.10). How many there may be is counted on
 * the board, over all workers. Sessions idle for 30 s get QUIT.
 */
#ifndef POSTERN_OUTBOUND_POOL_H
#define POSTERN_OUTBOUND_POOL_H

#include "postern/outbound/board.h"
#include "postern/outbound/session.h"

struct out_pool;
struct out_pool_request;

#define OUT_POOL_IDLE_MS     PN_SECONDS(30)
#define OUT_POOL_WAITING_MAX 1000 /* for one destination; more are refused */

struct out_pool *out_pool_new(const struct out_deps *deps, struct out_board *board);
/* Drops all warm sessions; requests under way are answered with NULL, inside this call.
 * Sessions that were handed out have been put back before. */
void out_pool_free(struct out_pool **pool);

/*
 * session: ready, with no transaction open, now the asker's (out_session_own was called with
 * the request's on_event and owner) until it is put back. NULL: none could be had, reason
 * says why; it is borrowed for the call. A peer may have closed a warm session without our
 * having seen it yet: 421 or ENDED in reply to the first MAIL says nothing of the mail, and
 * is a reason to ask once more (FAULTS 4.10).
 */
typedef void out_pool_fn(void *owner, struct out_session *session, struct pn_str reason);

/*
 * Asks for a session to the domain's destination: a warm one (answered on this turn, not
 * inside the call), or a new one; when the limit is reached, the next one that is put back.
 * At most wait_ms. The request is embedded by the asker; cancelled by out_pool_cancel.
 */
struct out_pool_request {
    out_pool_fn *on_session; /* set by the asker */
    out_event_fn *on_event;  /* the session's, from then on */
    void *owner;             /* of both */
    void *pending;           /* the pool's; NULL when not under way */
};
void out_pool_get(struct out_pool *pool, struct out_pool_request *request, struct conf *conf,
                  struct conf_domain *domain, int64_t wait_ms);
void out_pool_cancel(struct out_pool *pool, struct out_pool_request *request);

/*
 * Gives a session back. clean: its transaction has ended (250 or refusal of the end of data,
 * or RSET was answered); else it is reset first, or dropped: in the middle of a text, or
 * when a reply is awaited. The asker forgets it, at whatever state: one that has ended is put
 * back too, and none is freed by the asker; one that was identified under XCLIENT is dropped.
 * May be called inside on_event.
 */
void out_pool_put(struct out_pool *pool, struct out_session *session, bool clean);

#endif
