/*
 * outbound/board.h - what is known of each destination, for all threads.
 *
 * Main writes a destination's state as the scheduler tells it; whoever has spoken with it
 * (probes, deliveries, pass-through) writes what its EHLO said. Workers read it at RCPT. One
 * lock, held for a lookup; a destination that nobody has written is UNKNOWN.
 */
#ifndef POSTERN_OUTBOUND_BOARD_H
#define POSTERN_OUTBOUND_BOARD_H

#include "postern/base/buf.h"
#include "postern/queue/queue.h"

struct out_board;

struct out_board_entry {
    enum queue_state state;
    bool parole; /* back from an outage: refusals prove nothing yet */
    bool capabilities_known;
    unsigned capabilities; /* enum smtp_capability, of the EHLO after STARTTLS */
    uint64_t size_limit;   /* of SIZE; 0: none announced */
};

struct out_board *out_board_new(void);
void out_board_free(struct out_board **board);

struct out_board_entry out_board_get(struct out_board *board, struct pn_str destination);
void out_board_set_state(struct out_board *board, struct pn_str destination,
                         enum queue_state state, bool parole);
void out_board_set_capabilities(struct out_board *board, struct pn_str destination,
                                unsigned capabilities, uint64_t size_limit);

/* Main: nobody sends mail there any more, and what is known of it need not be kept; except
 * while sessions are counted or waited for. */
void out_board_forget(struct out_board *board, struct pn_str destination);

/*
 * Servers that break the protocol: enum smtp_quirk. A sure one holds for a day from when it
 * was last seen. One that is guessed (the server fell silent) holds when it was guessed twice
 * within a day, with nothing well done in between.
 */
#define OUT_QUIRK_AGE_MS PN_HOURS(24)
void out_board_add_quirks(struct out_board *board, struct pn_str destination, unsigned quirks,
                          bool sure, struct pn_mono now);
void out_board_no_quirks(struct out_board *board, struct pn_str destination); /* it did well */
unsigned out_board_quirks(struct out_board *board, struct pn_str destination,
                          struct pn_mono now);

/*
 * Sessions to a destination, over all workers: those for pass-through and call-ahead, which are
 * lent, and those of deliveries. Both together keep to limit, the domain's `sessions`: each is
 * taken before it is opened, and given back when it has ended. While others wait for one that
 * is lent (waiting, besides the asker), deliveries open no more than half of them.
 */
bool out_board_take_session(struct out_board *board, struct pn_str destination, unsigned limit);
void out_board_give_session(struct out_board *board, struct pn_str destination);
unsigned out_board_sessions(struct out_board *board, struct pn_str destination); /* lent */
/* own: the asker is one of those who wait (out_board_want_session). */
bool out_board_take_delivery(struct out_board *board, struct pn_str destination, unsigned limit,
                             bool own);
void out_board_give_delivery(struct out_board *board, struct pn_str destination);

/*
 * Somebody who is told when a session is wanted that others may have, or is given back that
 * others want. Called on any thread, with the board's lock held: it may post, and no more.
 */
struct out_board_listener {
    void (*on_change)(void *owner);
    void *owner;
    struct out_board_listener *prev, *next; /* the board's */
};
void out_board_listen(struct out_board *board, struct out_board_listener *listener);
void out_board_unlisten(struct out_board *board, struct out_board_listener *listener);

/* How many workers cannot have the session that somebody waits for: idle ones are not to be
 * kept. A worker says so once, and takes it back. */
void out_board_want_session(struct out_board *board, struct pn_str destination, bool wanted);
unsigned out_board_wanted(struct out_board *board, struct pn_str destination);

/*
 * A destination that is thought to be up gave nobody a session: whoever finds out says so,
 * and main, who asks for doubts every second, has it probed. Those that are not asked for
 * are kept once each.
 */
void out_board_doubt(struct out_board *board, struct pn_str destination);
/* False: there are none. */
bool out_board_next_doubt(struct out_board *board, struct pn_buf *out_destination);

#endif
