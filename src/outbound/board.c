/*
 * board.c - what is known of each destination, for all threads.
 *
 * One table behind one lock. Destinations that were configured stay; those of domains that mail
 * goes out to come and go with it. What is handed out is a copy.
 */
#include "postern/outbound/board.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <pthread.h>

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>
#include <utlist.h>

struct place {
    char *destination;
    struct out_board_entry entry;
    unsigned quirks, guesses; /* enum smtp_quirk; guesses: seen once, and not sure */
    struct pn_mono quirks_seen, guesses_seen;
    unsigned sessions, deliveries, wanted;
    bool doubted;
    struct place *next_doubt;
    UT_hash_handle hh;
};

struct out_board {
    pthread_mutex_t lock; /* guards what follows */
    struct place *places; /* by destination */
    struct place *doubts;
    struct out_board_listener *listeners;
};

struct out_board *out_board_new(void)
{
    struct out_board *board = PN_NEW(struct out_board);

    pn_assert(pthread_mutex_init(&board->lock, NULL) == 0);
    return board;
}

void out_board_free(struct out_board **board)
{
    struct out_board *b = *board;
    struct place *place;
    struct place *next;

    if (!b) {
        return;
    }
    HASH_ITER (hh, b->places, place, next) {
        HASH_DEL(b->places, place);
        free(place->destination);
        free(place);
    }
    pthread_mutex_destroy(&b->lock);
    free(b);
    *board = NULL;
}

/* With the lock held. */
static struct place *find_place(const struct out_board *board, struct pn_str destination)
{
    struct place *place;

    HASH_FIND(hh, board->places, destination.ptr, destination.len, place);
    return place;
}

static struct place *make_place(struct out_board *board, struct pn_str destination)
{
    struct place *place = find_place(board, destination);

    if (!place) {
        place = PN_NEW(struct place);
        place->destination = pn_strndup(destination);
        HASH_ADD_KEYPTR(hh, board->places, place->destination, destination.len, place);
    }
    return place;
}

struct out_board_entry out_board_get(struct out_board *board, struct pn_str destination)
{
    struct out_board_entry entry = {.state = QUEUE_UNKNOWN};
    const struct place *place;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    if (place) {
        entry = place->entry;
    }
    pthread_mutex_unlock(&board->lock);
    return entry;
}

void out_board_set_state(struct out_board *board, struct pn_str destination,
                         enum queue_state state, bool parole)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    place->entry.state = state;
    place->entry.parole = parole;
    pthread_mutex_unlock(&board->lock);
}

void out_board_set_capabilities(struct out_board *board, struct pn_str destination,
                                unsigned capabilities, uint64_t size_limit)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    place->entry.capabilities_known = true;
    place->entry.capabilities = capabilities;
    place->entry.size_limit = size_limit;
    pthread_mutex_unlock(&board->lock);
}

void out_board_forget(struct out_board *board, struct pn_str destination)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    if (place && place->sessions == 0 && place->deliveries == 0 && place->wanted == 0 &&
        !place->doubted) {
        HASH_DEL(board->places, place);
        free(place->destination);
        free(place);
    }
    pthread_mutex_unlock(&board->lock);
}

static bool is_fresh(struct pn_mono seen, struct pn_mono now)
{
    return now.ms - seen.ms < OUT_QUIRK_AGE_MS;
}

void out_board_add_quirks(struct out_board *board, struct pn_str destination, unsigned quirks,
                          bool sure, struct pn_mono now)
{
    struct place *place;
    unsigned before;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    before = is_fresh(place->guesses_seen, now) ? place->guesses : 0;
    if (!sure) {
        place->guesses = before | quirks;
        place->guesses_seen = now;
        quirks &= before;
    }
    if (quirks != 0) {
        place->quirks = quirks | (is_fresh(place->quirks_seen, now) ? place->quirks : 0);
        place->quirks_seen = now;
    }
    pthread_mutex_unlock(&board->lock);
}

void out_board_no_quirks(struct out_board *board, struct pn_str destination)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    if (place) {
        place->guesses = 0;
    }
    pthread_mutex_unlock(&board->lock);
}

unsigned out_board_quirks(struct out_board *board, struct pn_str destination,
                          struct pn_mono now)
{
    const struct place *place;
    unsigned quirks;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    quirks = place && is_fresh(place->quirks_seen, now) ? place->quirks : 0;
    pthread_mutex_unlock(&board->lock);
    return quirks;
}

void out_board_listen(struct out_board *board, struct out_board_listener *listener)
{
    pthread_mutex_lock(&board->lock);
    DL_APPEND(board->listeners, listener);
    pthread_mutex_unlock(&board->lock);
}

void out_board_unlisten(struct out_board *board, struct out_board_listener *listener)
{
    pthread_mutex_lock(&board->lock);
    DL_DELETE(board->listeners, listener);
    pthread_mutex_unlock(&board->lock);
}

static void tell(struct out_board *board)
{
    for (struct out_board_listener *l = board->listeners; l; l = l->next) {
        l->on_change(l->owner);
    }
}

bool out_board_take_session(struct out_board *board, struct pn_str destination, unsigned limit)
{
    struct place *place;
    bool taken;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    taken = place->sessions + place->deliveries < limit;
    place->sessions += taken;
    pthread_mutex_unlock(&board->lock);
    return taken;
}

static void give(struct out_board *board, struct pn_str destination, bool delivery)
{
    struct place *place;
    unsigned *count;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    pn_assert(place);
    count = delivery ? &place->deliveries : &place->sessions;
    pn_assert(*count > 0);
    --*count;
    if (place->wanted > 0) {
        tell(board);
    }
    pthread_mutex_unlock(&board->lock);
}

void out_board_give_session(struct out_board *board, struct pn_str destination)
{
    give(board, destination, false);
}

bool out_board_take_delivery(struct out_board *board, struct pn_str destination, unsigned limit,
                             bool own)
{
    struct place *place;
    bool taken;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    taken = place->sessions + place->deliveries < limit &&
            (place->wanted == own || place->deliveries < limit / 2);
    place->deliveries += taken;
    pthread_mutex_unlock(&board->lock);
    return taken;
}

void out_board_give_delivery(struct out_board *board, struct pn_str destination)
{
    give(board, destination, true);
}

unsigned out_board_sessions(struct out_board *board, struct pn_str destination)
{
    const struct place *place;
    unsigned sessions;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    sessions = place ? place->sessions : 0;
    pthread_mutex_unlock(&board->lock);
    return sessions;
}

void out_board_want_session(struct out_board *board, struct pn_str destination, bool wanted)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    pn_assert(wanted || place->wanted > 0);
    place->wanted = wanted ? place->wanted + 1 : place->wanted - 1;
    if (wanted) {
        tell(board);
    }
    pthread_mutex_unlock(&board->lock);
}

unsigned out_board_wanted(struct out_board *board, struct pn_str destination)
{
    const struct place *place;
    unsigned wanted;

    pthread_mutex_lock(&board->lock);
    place = find_place(board, destination);
    wanted = place ? place->wanted : 0;
    pthread_mutex_unlock(&board->lock);
    return wanted;
}

void out_board_doubt(struct out_board *board, struct pn_str destination)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = make_place(board, destination);
    if (!place->doubted) {
        place->doubted = true;
        place->next_doubt = board->doubts;
        board->doubts = place;
    }
    pthread_mutex_unlock(&board->lock);
}

bool out_board_next_doubt(struct out_board *board, struct pn_buf *out_destination)
{
    struct place *place;

    pthread_mutex_lock(&board->lock);
    place = board->doubts;
    if (place) {
        board->doubts = place->next_doubt;
        place->doubted = false;
    }
    pthread_mutex_unlock(&board->lock);
    pn_buf_clear(out_destination);
    /* Main, who asks, is the one that takes places out. */
    return place && pn_buf_append_z(out_destination, place->destination) == 0;
}
