/*
 * deliver/share.c - what the rest of the daemon learns of delivery, and what it takes part in.
 *
 * The board gets each change of a destination's state. Sessions are shared with pass-through
 * and call-ahead: the board counts all, and together they keep to the domain's `sessions`.
 * When there is none for us we say on the board that somebody waits, so that none is kept
 * warm for nobody; that is taken back with the next session, or when the scheduler has not
 * asked again for some seconds. When a client waits for one, each second one delivery ends
 * its session, until half of them are left: a long drain does not shut clients out.
 *
 * The up-clock of a domain, by which what we know of its recipients ages, advances only while
 * its destination is there. Each second looks at a sixtieth of the domains, so that each is
 * looked at once a minute and 100,000 of them are no burst. The minute that is added is only
 * nearly exact, which ages of days can bear.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/state/answers.h"

#define WANT_SECONDS 5
#define CLOCK_SLICES 60

struct deliver_want {
    UT_hash_handle hh;
    unsigned left; /* seconds */
    char destination[];
};

/* ---- states -------------------------------------------------------------------------- */

void deliver_share_state(struct deliver *deliver, const struct queue_action *action)
{
    if (deliver->deps.board) {
        out_board_set_state(deliver->deps.board, action->destination, action->state,
                            action->parole);
    }
}

/* A destination that went with its last domain comes back as a new one. */
void deliver_share_new(struct deliver *deliver, struct pn_str destination)
{
    if (deliver->deps.board &&
        out_board_get(deliver->deps.board, destination).state != QUEUE_UNKNOWN) {
        out_board_set_state(deliver->deps.board, destination, QUEUE_UNKNOWN, false);
    }
}

/* ---- sessions that are lent ------------------------------------------------------------ */

static struct deliver_want *find_want(const struct deliver *deliver, struct pn_str destination)
{
    struct deliver_want *wanted;

    HASH_FIND(hh, deliver->wants, destination.ptr, (unsigned)destination.len, wanted);
    return wanted;
}

static void want(struct deliver *deliver, struct pn_str destination)
{
    struct deliver_want *wanted = find_want(deliver, destination);

    if (!wanted) {
        wanted = pn_alloc(sizeof *wanted + destination.len + 1);
        memcpy(wanted->destination, destination.ptr, destination.len);
        HASH_ADD_KEYPTR(hh, deliver->wants, wanted->destination, (unsigned)destination.len,
                        wanted);
        out_board_want_session(deliver->deps.board, destination, true);
    }
    wanted->left = WANT_SECONDS;
}

static void want_no_more(struct deliver *deliver, struct deliver_want *wanted)
{
    out_board_want_session(deliver->deps.board, pn_str_z(wanted->destination), false);
    HASH_DEL(deliver->wants, wanted);
    free(wanted);
}

bool deliver_share_take(struct deliver *deliver, struct pn_str destination, unsigned limit)
{
    struct out_board *board = deliver->deps.board;
    struct deliver_want *wanted = find_want(deliver, destination);

    if (!board) {
        return true;
    }
    if (!out_board_take_delivery(board, destination, limit, wanted != NULL)) {
        want(deliver, destination);
        return false;
    }
    if (wanted) {
        want_no_more(deliver, wanted);
    }
    return true;
}

void deliver_share_give(struct deliver *deliver, struct pn_str destination)
{
    if (deliver->deps.board) {
        out_board_give_delivery(deliver->deps.board, destination);
    }
}

/* Ends one of the destination's sessions, if we have more than half of them. */
static void yield(struct deliver *deliver, const struct deliver_slot *one)
{
    struct deliver_slot *last = NULL;
    unsigned count = 0;

    for (struct deliver_slot *slot = deliver->slots; slot; slot = slot->hh.next) {
        if (strcmp(slot->destination, one->destination) == 0) {
            if (slot->closing) {
                return; /* one at a time */
            }
            last = slot;
            count++;
        }
    }
    if (count > one->limit / 2) {
        deliver_close_session(deliver, last);
    }
}

/* Where clients wait for a session. */
static void yield_some(struct deliver *deliver)
{
    for (const struct deliver_slot *slot = deliver->slots; slot; slot = slot->hh.next) {
        struct pn_str destination = pn_str_z(slot->destination);
        unsigned own = find_want(deliver, destination) != NULL;

        if (out_board_wanted(deliver->deps.board, destination) > own) {
            yield(deliver, slot);
        }
    }
}

bool deliver_share_is_full(struct deliver *deliver, struct pn_str destination)
{
    if (!deliver->deps.board || out_board_sessions(deliver->deps.board, destination) == 0) {
        return false;
    }
    want(deliver, destination);
    return true;
}

void deliver_share_drop(struct deliver *deliver)
{
    struct deliver_want *wanted, *next;

    HASH_ITER (hh, deliver->wants, wanted, next) {
        want_no_more(deliver, wanted);
    }
}

/* ---- once a second --------------------------------------------------------------------- */

static void advance_clock(struct deliver *deliver, const struct conf_domain *domain)
{
    int64_t now_ms = deliver_now_ms(deliver), up_ms = PN_SECONDS(CLOCK_SLICES);
    struct queue_destination_status status;

    if (!queue_get_destination(deliver->queue, pn_str_z(domain->destination), now_ms,
                               &status) ||
        (status.state != QUEUE_UP && status.state != QUEUE_RAMP)) {
        return;
    }
    up_ms = now_ms - status.since_ms < up_ms ? now_ms - status.since_ms : up_ms;
    if (up_ms > 0) {
        state_up_clock_add(deliver->deps.answers, pn_str_z(domain->name), up_ms);
    }
}

void deliver_share_second(struct deliver *deliver)
{
    size_t slice = deliver->seconds++ % CLOCK_SLICES, count = domains_count(deliver->domains);
    struct deliver_want *wanted, *next;

    HASH_ITER (hh, deliver->wants, wanted, next) {
        if (--wanted->left == 0) {
            want_no_more(deliver, wanted);
        }
    }
    if (deliver->deps.board) {
        yield_some(deliver);
    }
    if (!deliver->deps.answers) {
        return;
    }
    for (size_t i = count * slice / CLOCK_SLICES; i < count * (slice + 1) / CLOCK_SLICES; i++) {
        advance_clock(deliver, domains_at(deliver->domains, i));
    }
}
