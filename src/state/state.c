/*
 * state.c - the events of each message.
 *
 * Noting an event copies it into a backlog, under a lock that is held for that long only.
 * One write is under way at a time; it takes the whole backlog, so that a busy second
 * costs one write, and a store that falls behind costs events, which are counted, and no
 * memory.
 *
 * Keys: 'e' id when number: a message's events lie together, in the order they happened,
 * and messages in the order they came, so that expiring is a walk from the front. The
 * number tells events of one millisecond apart.
 *
 * Everything here can be learned again or done without: a failed write is not repeated,
 * and what does not decode is skipped.
 */
#include "postern/state/state.h"

#include "answers_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define VERSION        1
#define BACKLOG_MAX    20000
#define BACKLOG_OCTETS ((size_t)16 << 20)
#define KEEP_OCTETS    ((size_t)1 << 20) /* memory that stays after a busy time */
#define TEXT_MAX       1024
#define TRACE_MAX      1000
#define EXPIRE_PIECE   2000
#define KEY_OCTETS     (1 + PN_ID_OCTETS + 8 + 4)

/* The events that wait for one write, encoded: key, length of the value, value. */
struct backlog {
    struct pn_buf octets;
    size_t count;
};

struct notes_write {
    struct state *state;
    struct store_write write;
    struct backlog backlog;
};

struct state {
    struct pn_log log;
    struct store *store;
    struct store_events events;
    atomic_uint_fast64_t dropped;
    pthread_mutex_t lock; /* for what follows */
    struct backlog backlog;
    uint32_t number;
    bool writing;
    bool expiring;
    char expired[KEY_OCTETS]; /* where the last expiring ended; used by one at a time */
    struct notes_write notes;
    struct state_answers *answers;
};

static void backlog_init(struct backlog *backlog)
{
    pn_buf_init(&backlog->octets, BACKLOG_OCTETS);
    backlog->count = 0;
}

static void on_state(void *owner, enum store_state store_state, const struct pn_err *err)
{
    struct state *state = owner;

    if (store_state == STORE_REOPENING) {
        pn_log_say(&state->log, PN_EV_ALARM,
                   "the state store failed (%s); mail is not affected, traces are", err->text);
    }
}

struct state *state_new(const struct pn_log *log)
{
    struct state *state = PN_NEW(struct state);

    pn_log_child(&state->log, log);
    state->events = (struct store_events){.owner = state, .on_state = on_state};
    state->notes.state = state;
    state->expired[0] = 'e';
    backlog_init(&state->backlog);
    backlog_init(&state->notes.backlog);
    pn_assert(pthread_mutex_init(&state->lock, NULL) == 0);
    state->answers = state_answers_new();
    return state;
}

void state_free(struct state **pointer)
{
    struct state *state = *pointer;

    *pointer = NULL;
    if (state) {
        pn_buf_fini(&state->backlog.octets);
        pn_buf_fini(&state->notes.backlog.octets);
        pthread_mutex_destroy(&state->lock);
        state_answers_free(&state->answers);
        free(state);
    }
}

const struct store_events *state_store_events(struct state *state)
{
    return &state->events;
}

void state_attach(struct state *state, struct store *store)
{
    state->store = store;
    state_answers_attach(state->answers, store);
}

struct state_answers *state_answers_of(struct state *state)
{
    return state->answers;
}

struct store *state_store_of(struct state *state)
{
    return state->store;
}

uint64_t state_dropped(const struct state *state)
{
    return atomic_load(&state->dropped);
}

/* ---- noting ------------------------------------------------------------------------------ */

/* Takes one event off the front; false at the end. */
static bool next_note(struct pn_str *rest, struct pn_str *key, struct pn_str *value)
{
    size_t len;

    if (rest->len == 0) {
        return false;
    }
    *key = pn_str_sub(*rest, 0, KEY_OCTETS);
    len = (size_t)pn_number_get(rest->ptr + KEY_OCTETS, 4);
    *value = pn_str_sub(*rest, KEY_OCTETS + 4, len);
    *rest = pn_str_sub(*rest, KEY_OCTETS + 4 + len, SIZE_MAX);
    return true;
}

static void apply_notes(struct store_write *write, struct store_batch *batch)
{
    struct notes_write *notes = PN_CONTAINER(write, struct notes_write, write);
    struct pn_str rest = pn_buf_str(&notes->backlog.octets);
    struct pn_str key, value;

    while (next_note(&rest, &key, &value)) {
        store_batch_put(batch, key, value);
    }
}

static void on_noted(struct store_write *write);

/* Hands the backlog to the store; called with the lock, and without a write under way. */
static void write_backlog(struct state *state)
{
    struct notes_write *notes = &state->notes;
    struct backlog empty = notes->backlog;

    notes->backlog = state->backlog;
    state->backlog = empty; /* the two take turns, and keep their memory */
    state->writing = true;
    notes->write =
        (struct store_write){.apply = apply_notes, .on_done = on_noted, .lazy = true};
}

/* On the writer's thread: no loop has to be alive for this. */
static void on_noted(struct store_write *write)
{
    struct notes_write *notes = PN_CONTAINER(write, struct notes_write, write);
    struct state *state = notes->state;
    bool more;

    if (write->status < 0) {
        atomic_fetch_add(&state->dropped, notes->backlog.count);
    }
    pn_buf_clear(&notes->backlog.octets);
    if (notes->backlog.octets.cap > KEEP_OCTETS) {
        pn_buf_shrink(&notes->backlog.octets);
    }
    notes->backlog.count = 0;
    pthread_mutex_lock(&state->lock);
    state->writing = false;
    /* While the store is failed it would answer with the next failure at once, for ever. */
    more = state->backlog.count > 0 && store_get_state(state->store) == STORE_OPEN;
    if (more) {
        write_backlog(state);
    }
    pthread_mutex_unlock(&state->lock);
    if (more) {
        store_submit(state->store, &notes->write);
    }
}

/* Appends an event to the backlog; the lock is held. False when it is full. */
static bool append_note(struct state *state, struct pn_wall when, const struct pn_id *id,
                        struct pn_str name, struct pn_str text)
{
    size_t value_len = 2 + name.len + text.len;
    size_t len = KEY_OCTETS + 4 + value_len;
    char *to;

    if (state->backlog.count >= BACKLOG_MAX ||
        !(to = pn_buf_reserve(&state->backlog.octets, len))) {
        return false;
    }
    *to++ = 'e';
    memcpy(to, id->octets, PN_ID_OCTETS);
    to += PN_ID_OCTETS;
    pn_number_put(to, (uint64_t)when.ms ^ (uint64_t)1 << 63, 8);
    pn_number_put(to + 8, state->number++, 4);
    pn_number_put(to + 12, value_len, 4);
    to[16] = VERSION;
    to[17] = (char)(uint8_t)name.len;
    to += 18;
    memcpy(to, name.ptr, name.len);
    if (text.len > 0) {
        memcpy(to + name.len, text.ptr, text.len);
    }
    pn_buf_added(&state->backlog.octets, len);
    state->backlog.count++;
    return true;
}

void state_note(struct state *state, struct pn_wall when, const struct pn_id *id,
                enum pn_event event, struct pn_str text)
{
    struct pn_str name = pn_str_z(pn_event_info(event)->name);
    bool submit = false;
    bool noted;

    pthread_mutex_lock(&state->lock);
    noted = append_note(state, when, id, name, pn_str_sub(text, 0, TEXT_MAX));
    if (!state->writing && state->store && store_get_state(state->store) == STORE_OPEN) {
        write_backlog(state);
        submit = true;
    }
    pthread_mutex_unlock(&state->lock);
    if (!noted) {
        atomic_fetch_add(&state->dropped, 1);
    }
    if (submit) {
        store_submit(state->store, &state->notes.write);
    }
}

/* ---- tracing ----------------------------------------------------------------------------- */

struct trace {
    struct store_read read;
    state_trace_fn *fn;
    void *owner;
    struct pn_id id;
    struct pn_buf octets; /* names and texts */
    struct state_event *events;
    size_t count;
};

static bool decode_event(struct trace *trace, struct pn_str key, struct pn_str value,
                         struct state_event *event)
{
    size_t name_len;

    if (key.len != KEY_OCTETS || value.len < 2 || value.ptr[0] != VERSION) {
        return false;
    }
    name_len = (uint8_t)value.ptr[1];
    if (name_len > value.len - 2 || !pn_buf_reserve(&trace->octets, value.len)) {
        return false;
    }
    event->when.ms =
        (int64_t)(pn_number_get(key.ptr + 1 + PN_ID_OCTETS, 8) ^ (uint64_t)1 << 63);
    /* Lengths for now: the buffer may still move. */
    event->event.len = name_len;
    event->text.len = value.len - 2 - name_len;
    return pn_buf_append(&trace->octets, pn_str_sub(value, 2, SIZE_MAX)) == 0;
}

static void run_trace(struct store_read *read, struct store_view *view)
{
    struct trace *trace = PN_CONTAINER(read, struct trace, read);
    char prefix[1 + PN_ID_OCTETS] = {'e'};
    struct pn_str start = {prefix, sizeof prefix};
    struct pn_str key, value;

    memcpy(prefix + 1, trace->id.octets, PN_ID_OCTETS);
    trace->events = pn_alloc_array(TRACE_MAX, sizeof *trace->events);
    for (store_view_seek(view, start);
         trace->count < TRACE_MAX && store_view_item(view, &key, &value) &&
         pn_str_starts(key, start);
         store_view_next(view)) {
        trace->count += decode_event(trace, key, value, &trace->events[trace->count]);
    }
}

static void on_traced(struct store_read *read)
{
    struct trace *trace = PN_CONTAINER(read, struct trace, read);
    struct pn_str rest = pn_buf_str(&trace->octets);

    for (size_t i = 0; i < trace->count; i++) {
        struct state_event *event = &trace->events[i];

        event->event = pn_str_sub(rest, 0, event->event.len);
        event->text = pn_str_sub(rest, event->event.len, event->text.len);
        rest = pn_str_sub(rest, event->event.len + event->text.len, SIZE_MAX);
    }
    trace->fn(trace->owner, read->status, trace->events, read->status < 0 ? 0 : trace->count);
    pn_buf_fini(&trace->octets);
    free(trace->events);
    free(trace);
}

void state_trace(struct state *state, struct loop *loop, const struct pn_id *id,
                 state_trace_fn *fn, void *owner)
{
    struct trace *trace = PN_NEW(struct trace);

    trace->fn = fn;
    trace->owner = owner;
    trace->id = *id;
    pn_buf_init(&trace->octets, (size_t)TRACE_MAX * (TEXT_MAX + 256));
    trace->read = (struct store_read){.run = run_trace, .on_done = on_traced, .loop = loop};
    store_ask(state->store, &trace->read);
}

/* ---- expiring ---------------------------------------------------------------------------- */

struct expire {
    struct state *state;
    struct store_read read;
    struct store_write write;
    struct pn_wall before;
    struct pn_buf keys; /* KEY_OCTETS each */
};

static void end_expire(struct expire *expire)
{
    struct state *state = expire->state;

    pthread_mutex_lock(&state->lock);
    state->expiring = false;
    pthread_mutex_unlock(&state->lock);
    pn_buf_fini(&expire->keys);
    free(expire);
}

static void run_expire(struct store_read *read, struct store_view *view)
{
    struct expire *expire = PN_CONTAINER(read, struct expire, read);
    struct pn_str key, value;
    struct pn_id id;

    for (store_view_seek(view, (struct pn_str){expire->state->expired, KEY_OCTETS});
         store_view_item(view, &key, &value) && key.len > 0 && key.ptr[0] == 'e';
         store_view_next(view)) {
        if (key.len != KEY_OCTETS) {
            continue;
        }
        memcpy(id.octets, key.ptr + 1, PN_ID_OCTETS);
        if (pn_id_time(&id).ms >= expire->before.ms || pn_buf_append(&expire->keys, key) < 0) {
            break;
        }
    }
}

static void apply_expire(struct store_write *write, struct store_batch *batch)
{
    struct expire *expire = PN_CONTAINER(write, struct expire, write);
    struct pn_str keys = pn_buf_str(&expire->keys);

    for (size_t at = 0; at < keys.len; at += KEY_OCTETS) {
        store_batch_del(batch, pn_str_sub(keys, at, KEY_OCTETS));
    }
}

static void on_expired(struct store_write *write)
{
    struct expire *expire = PN_CONTAINER(write, struct expire, write);
    struct pn_str keys = pn_buf_str(&expire->keys);

    if (write->status == 0) {
        /* The next walk begins here: over what was deleted it would have to climb. */
        memcpy(expire->state->expired, keys.ptr + keys.len - KEY_OCTETS, KEY_OCTETS);
    }
    end_expire(expire);
}

static void on_found(struct store_read *read)
{
    struct expire *expire = PN_CONTAINER(read, struct expire, read);

    if (read->status < 0 || expire->keys.len == 0) {
        end_expire(expire);
        return;
    }
    expire->write = (struct store_write){
        .apply = apply_expire, .on_done = on_expired, .loop = read->loop, .lazy = true};
    store_submit(expire->state->store, &expire->write);
}

void state_expire(struct state *state, struct loop *loop, struct pn_wall before)
{
    struct expire *expire;
    bool busy;

    pthread_mutex_lock(&state->lock);
    busy = state->expiring;
    state->expiring = true;
    pthread_mutex_unlock(&state->lock);
    if (busy) {
        return;
    }
    expire = PN_NEW(struct expire);
    expire->state = state;
    expire->before = before;
    pn_buf_init(&expire->keys, (size_t)EXPIRE_PIECE * KEY_OCTETS);
    expire->read = (struct store_read){.run = run_expire, .on_done = on_found, .loop = loop};
    store_ask(state->store, &expire->read);
}
