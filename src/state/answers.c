/*
 * answers.c - what targets have said about recipients: a memory in front of the store.
 *
 * An answer is stamped with its domain's up-clock, and its age is the difference to what
 * the clock shows when somebody asks. So an outage, a restart and a step of the wall clock
 * age nothing, without a record being touched.
 *
 * The memory keeps the answers that were used last, up to a bound. What is put goes into
 * the memory and, encoded, into a backlog; one write is under way at a time and takes the
 * whole backlog (as the events of state.c do). A forgotten answer stays in memory as
 * UNKNOWN until its deletion has surely been written. A read that was under way when
 * something was put or forgotten loses to what the memory says.
 *
 * A clock is saved when it has gone on for a minute: a crash makes answers younger by that
 * much. Whether a target is a catch-all lies in the same record, since there is one of each
 * for a domain and both are read at start.
 *
 * All of this can be learned again: a failed write is not repeated, a full backlog takes
 * nothing more, and what does not decode is not there.
 */
#include "answers_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define ENTRIES_MAX    100000
#define MEMORY_OCTETS  ((size_t)16 << 20)
#define BUCKET_OCTETS  32 /* of the hash table and the allocator, for one entry */
#define BACKLOG_OCTETS ((size_t)8 << 20)
#define KEEP_OCTETS    ((size_t)1 << 20) /* memory that stays after a busy time */
#define SAVE_MS        PN_MINUTES(1)
#define VALUE_OCTETS   19
#define CLOCK_OCTETS   18

const char *state_source_name(enum state_source source)
{
    static const char *const names[] = {"call-ahead", "pass-through", "delivery", "sender",
                                        "import"};

    pn_assert((size_t)source < PN_COUNT(names));
    return names[source];
}

struct state_answers *state_answers_new(void)
{
    struct state_answers *answers = PN_NEW(struct state_answers);

    pn_assert(pthread_mutex_init(&answers->lock, NULL) == 0);
    pn_buf_init(&answers->backlog, BACKLOG_OCTETS);
    pn_buf_init(&answers->write.records, BACKLOG_OCTETS);
    answers->write.answers = answers;
    return answers;
}

/* ---- the memory; all with the lock -------------------------------------------------------
 */

static size_t cost_of(const struct answers_entry *entry)
{
    return sizeof *entry + entry->key_len + BUCKET_OCTETS;
}

static void unlink_entry(struct state_answers *answers, struct answers_entry *entry)
{
    *(entry->newer ? &entry->newer->older : &answers->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &answers->oldest) = entry->newer;
}

static void link_newest(struct state_answers *answers, struct answers_entry *entry)
{
    entry->newer = NULL;
    entry->older = answers->newest;
    *(answers->newest ? &answers->newest->newer : &answers->oldest) = entry;
    answers->newest = entry;
}

static void remove_entry(struct state_answers *answers, struct answers_entry *entry)
{
    HASH_DEL(answers->entries, entry);
    unlink_entry(answers, entry);
    answers->octets -= cost_of(entry);
    free(entry);
}

static struct answers_entry *find_entry(struct state_answers *answers,
                                        const struct answers_key *key)
{
    struct answers_entry *entry;

    HASH_FIND(hh, answers->entries, key->octets, key->len, entry);
    if (entry) {
        unlink_entry(answers, entry);
        link_newest(answers, entry);
    }
    return entry;
}

static void remember(struct state_answers *answers, const struct answers_key *key,
                     const struct answers_record *record)
{
    struct answers_entry *entry = find_entry(answers, key);

    if (!entry) {
        entry = pn_alloc(sizeof *entry + key->len);
        entry->key_len = key->len;
        memcpy(entry->key, key->octets, key->len);
        HASH_ADD(hh, answers->entries, key, entry->key_len, entry);
        link_newest(answers, entry);
        answers->octets += cost_of(entry);
    }
    entry->record = *record;
    while (HASH_COUNT(answers->entries) > ENTRIES_MAX || answers->octets > MEMORY_OCTETS) {
        remove_entry(answers, answers->oldest);
    }
}

struct answers_clock *state_answers_find_clock(struct state_answers *answers,
                                               struct pn_str domain, bool make)
{
    struct answers_clock *clock;

    if (domain.len == 0 || domain.len > ANSWERS_DOMAIN_MAX) {
        return NULL;
    }
    HASH_FIND(hh, answers->clocks, domain.ptr, domain.len, clock);
    if (!clock && make) {
        clock = pn_alloc(sizeof *clock + domain.len);
        clock->name_len = domain.len;
        memcpy(clock->name, domain.ptr, domain.len);
        HASH_ADD(hh, answers->clocks, name, clock->name_len, clock);
    }
    return clock;
}

/* A crash may have set the clock back by a minute: nothing is younger than new. */
static int64_t age_of(const struct answers_clock *clock, int64_t stamp_ms)
{
    int64_t up_ms = clock ? clock->up_ms : 0;

    return up_ms > stamp_ms ? up_ms - stamp_ms : 0;
}

struct state_answer state_answers_judge(struct state_answers *answers, struct pn_str domain,
                                        const struct answers_record *record)
{
    struct answers_clock *clock = state_answers_find_clock(answers, domain, false);

    return (struct state_answer){.verdict = record->verdict,
                                 .source = record->source,
                                 .age_ms = age_of(clock, record->stamp_ms),
                                 .when = record->when};
}

void state_answers_free(struct state_answers **pointer)
{
    struct state_answers *answers = *pointer;
    struct answers_clock *clock, *next;

    *pointer = NULL;
    if (!answers) {
        return;
    }
    while (answers->oldest) {
        remove_entry(answers, answers->oldest);
    }
    HASH_ITER (hh, answers->clocks, clock, next) {
        HASH_DEL(answers->clocks, clock);
        free(clock);
    }
    pn_buf_fini(&answers->backlog);
    pn_buf_fini(&answers->write.records);
    pthread_mutex_destroy(&answers->lock);
    free(answers);
}

void state_answers_attach(struct state_answers *answers, struct store *store)
{
    pthread_mutex_lock(&answers->lock);
    answers->store = store;
    pthread_mutex_unlock(&answers->lock);
}

/* ---- records -----------------------------------------------------------------------------
 */

void state_answers_make_key(struct answers_key *key, struct pn_str domain, struct pn_str local)
{
    key->len = 0;
    if (domain.len == 0 || domain.len > ANSWERS_DOMAIN_MAX || local.len > ANSWERS_LOCAL_MAX) {
        return;
    }
    key->octets[0] = 'a';
    memcpy(key->octets + 1, domain.ptr, domain.len);
    key->octets[1 + domain.len] = '\0';
    if (local.len > 0) {
        memcpy(key->octets + 2 + domain.len, local.ptr, local.len);
    }
    key->domain_len = domain.len;
    key->len = 2 + domain.len + local.len;
}

struct pn_str state_answers_key_str(const struct answers_key *key)
{
    return (struct pn_str){key->octets, key->len};
}

static void encode(const struct answers_record *record, char out[VALUE_OCTETS])
{
    out[0] = ANSWERS_VERSION;
    out[1] = (char)record->verdict;
    out[2] = (char)record->source;
    pn_number_put(out + 3, (uint64_t)record->stamp_ms, 8);
    pn_number_put(out + 11, (uint64_t)record->when.ms, 8);
}

bool state_answers_decode(struct pn_str value, struct answers_record *out)
{
    if (value.len != VALUE_OCTETS || value.ptr[0] != ANSWERS_VERSION ||
        (value.ptr[1] != STATE_VALID && value.ptr[1] != STATE_INVALID) ||
        (uint8_t)value.ptr[2] > STATE_BY_IMPORT || (value.ptr[3] & 0x80)) {
        return false;
    }
    *out = (struct answers_record){
        .verdict = (enum state_verdict)value.ptr[1],
        .source = (enum state_source)value.ptr[2],
        .stamp_ms = (int64_t)pn_number_get(value.ptr + 3, 8),
        .when.ms = (int64_t)pn_number_get(value.ptr + 11, 8),
    };
    return true;
}

/* ---- writing -----------------------------------------------------------------------------
 */

static bool append_record(struct pn_buf *backlog, struct pn_str key, struct pn_str value)
{
    size_t len = 4 + key.len + value.len;
    char *to = pn_buf_reserve(backlog, len);

    if (!to) {
        return false;
    }
    pn_number_put(to, key.len, 2);
    pn_number_put(to + 2, value.len, 2);
    memcpy(to + 4, key.ptr, key.len);
    if (value.len > 0) {
        memcpy(to + 4 + key.len, value.ptr, value.len);
    }
    pn_buf_added(backlog, len);
    return true;
}

static bool next_record(struct pn_str *rest, struct pn_str *key, struct pn_str *value)
{
    size_t key_len, value_len;

    if (rest->len == 0) {
        return false;
    }
    key_len = (size_t)pn_number_get(rest->ptr, 2);
    value_len = (size_t)pn_number_get(rest->ptr + 2, 2);
    *key = pn_str_sub(*rest, 4, key_len);
    *value = pn_str_sub(*rest, 4 + key_len, value_len);
    *rest = pn_str_sub(*rest, 4 + key_len + value_len, SIZE_MAX);
    return true;
}

static void apply_records(struct store_write *write, struct store_batch *batch)
{
    struct answers_write *records = PN_CONTAINER(write, struct answers_write, write);
    struct pn_str rest = pn_buf_str(&records->records);
    struct pn_str key, value;

    while (next_record(&rest, &key, &value)) {
        if (value.len > 0) {
            store_batch_put(batch, key, value);
        } else {
            store_batch_del(batch, key);
        }
    }
}

/* On the writer's thread: no loop has to be alive for this. */
static void on_written(struct store_write *write)
{
    struct answers_write *records = PN_CONTAINER(write, struct answers_write, write);
    struct state_answers *answers = records->answers;

    pn_buf_clear(&records->records);
    if (records->records.cap > KEEP_OCTETS) {
        pn_buf_shrink(&records->records);
    }
    pthread_mutex_lock(&answers->lock);
    answers->writing = false;
    pthread_mutex_unlock(&answers->lock);
    state_answers_flush(answers);
}

void state_answers_flush(struct state_answers *answers)
{
    struct answers_write *write = &answers->write;

    pthread_mutex_lock(&answers->lock);
    /* While the store is failed it would answer with the next failure at once, for ever. */
    if (!answers->writing && answers->backlog.len > 0 && answers->store &&
        store_get_state(answers->store) == STORE_OPEN) {
        struct pn_buf empty = write->records;

        write->records = answers->backlog;
        answers->backlog = empty; /* the two take turns, and keep their memory */
        write->write =
            (struct store_write){.apply = apply_records, .on_done = on_written, .lazy = true};
        answers->writing = true;
        store_submit(answers->store, &write->write);
    }
    pthread_mutex_unlock(&answers->lock);
}

static bool in_range(struct pn_str key, struct pn_str prefix, bool exactly)
{
    return exactly ? pn_str_eq(key, prefix) : pn_str_starts(key, prefix);
}

void state_answers_drop(struct state_answers *answers, struct pn_str prefix, bool exactly)
{
    struct answers_entry *next;
    struct pn_buf kept;
    struct pn_str rest = pn_buf_str(&answers->backlog);
    struct pn_str key, value;

    for (struct answers_entry *entry = answers->newest; entry; entry = next) {
        next = entry->older;
        if (in_range((struct pn_str){entry->key, entry->key_len}, prefix, exactly)) {
            remove_entry(answers, entry);
        }
    }
    pn_buf_init(&kept, BACKLOG_OCTETS);
    while (next_record(&rest, &key, &value)) {
        pn_assert(in_range(key, prefix, exactly) || append_record(&kept, key, value));
    }
    pn_buf_fini(&answers->backlog);
    answers->backlog = kept;
}

/* ---- answers -----------------------------------------------------------------------------
 */

void state_answer_put(struct state *state, struct pn_str domain, struct pn_str local,
                      enum state_verdict verdict, enum state_source source, struct pn_wall when)
{
    struct state_answers *answers = state_answers_of(state);
    struct answers_record record = {.verdict = verdict, .source = source, .when = when};
    struct answers_clock *clock;
    struct answers_key key;
    char value[VALUE_OCTETS];

    state_answers_make_key(&key, domain, local);
    if (key.len == 0 || local.len == 0) {
        return;
    }
    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, false);
    record.stamp_ms = clock ? clock->up_ms : 0;
    remember(answers, &key, &record);
    encode(&record, value);
    (void)append_record(&answers->backlog, state_answers_key_str(&key),
                        (struct pn_str){value, verdict == STATE_UNKNOWN ? 0 : sizeof value});
    pthread_mutex_unlock(&answers->lock);
    state_answers_flush(answers);
}

bool state_answer_peek(struct state *state, struct pn_str domain, struct pn_str local,
                       struct state_answer *out)
{
    struct state_answers *answers = state_answers_of(state);
    struct answers_entry *entry;
    struct answers_key key;

    state_answers_make_key(&key, domain, local);
    pthread_mutex_lock(&answers->lock);
    entry = key.len > 0 ? find_entry(answers, &key) : NULL;
    if (entry) {
        *out = state_answers_judge(answers, domain, &entry->record);
    }
    pthread_mutex_unlock(&answers->lock);
    return entry != NULL;
}

struct get {
    struct store_read read;
    struct loop_task task;
    struct state_answers *answers;
    state_answer_fn *fn;
    void *owner;
    uint64_t forgotten;
    bool found;
    struct answers_record record;
    struct answers_key key;
};

static void run_get(struct store_read *read, struct store_view *view)
{
    struct get *get = PN_CONTAINER(read, struct get, read);
    struct pn_buf value;

    pn_buf_init(&value, STORE_VALUE_MAX);
    get->found = store_view_get(view, state_answers_key_str(&get->key), &value) &&
                 state_answers_decode(pn_buf_str(&value), &get->record);
    pn_buf_fini(&value);
}

static void end_get(struct get *get, int status)
{
    struct state_answers *answers = get->answers;
    struct pn_str domain = {get->key.octets + 1, get->key.domain_len};
    struct state_answer answer = {0};
    struct answers_entry *entry;

    pthread_mutex_lock(&answers->lock);
    entry = get->key.len > 0 ? find_entry(answers, &get->key) : NULL;
    if (entry) {
        answer = state_answers_judge(answers, domain, &entry->record);
    } else if (get->found) {
        answer = state_answers_judge(answers, domain, &get->record);
        if (get->forgotten == answers->forgotten && answers->forgetting == 0) {
            remember(answers, &get->key, &get->record);
        }
    }
    pthread_mutex_unlock(&answers->lock);
    get->fn(get->owner, entry ? 0 : status, &answer);
    free(get);
}

static void on_got(struct store_read *read)
{
    struct get *get = PN_CONTAINER(read, struct get, read);

    get->found = get->found && read->status == 0;
    end_get(get, read->status);
}

static void on_remembered(struct loop_task *task)
{
    end_get(PN_CONTAINER(task, struct get, task), 0);
}

void state_answer_get(struct state *state, struct loop *loop, struct pn_str domain,
                      struct pn_str local, state_answer_fn *fn, void *owner)
{
    struct get *get = PN_NEW(struct get);
    struct state_answer answer;

    get->answers = state_answers_of(state);
    get->fn = fn;
    get->owner = owner;
    state_answers_make_key(&get->key, domain, local);
    pthread_mutex_lock(&get->answers->lock);
    get->forgotten = get->answers->forgotten;
    pthread_mutex_unlock(&get->answers->lock);
    if (get->key.len == 0 || !get->answers->store ||
        state_answer_peek(state, domain, local, &answer)) {
        get->task.on_run = on_remembered;
        loop_defer(loop, &get->task);
        return;
    }
    get->read = (struct store_read){.run = run_get, .on_done = on_got, .loop = loop};
    store_ask(get->answers->store, &get->read);
}

/* ---- up-clocks ---------------------------------------------------------------------------
 */

/* With the lock. When the backlog is full, the next call tries again. */
void state_answers_save_clock(struct state_answers *answers, struct answers_clock *clock)
{
    char key[1 + ANSWERS_DOMAIN_MAX] = {'u'};
    char value[CLOCK_OCTETS];

    memcpy(key + 1, clock->name, clock->name_len);
    value[0] = ANSWERS_VERSION;
    value[1] = (char)(clock->known | clock->catch_all << 1);
    pn_number_put(value + 2, (uint64_t)clock->up_ms, 8);
    pn_number_put(value + 10, (uint64_t)clock->stamp_ms, 8);
    if (append_record(&answers->backlog, (struct pn_str){key, 1 + clock->name_len},
                      (struct pn_str){value, sizeof value})) {
        clock->unsaved_ms = 0;
    }
}

void state_up_clock_add(struct state *state, struct pn_str domain, int64_t up_ms)
{
    struct state_answers *answers = state_answers_of(state);
    struct answers_clock *clock;
    bool due = false;

    if (up_ms <= 0) {
        return;
    }
    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, true);
    if (clock && clock->up_ms <= INT64_MAX - up_ms) {
        clock->up_ms += up_ms;
        clock->unsaved_ms += up_ms;
        due = clock->unsaved_ms >= SAVE_MS;
    }
    if (due) {
        state_answers_save_clock(answers, clock);
    }
    pthread_mutex_unlock(&answers->lock);
    if (due) {
        state_answers_flush(answers);
    }
}

int64_t state_up_clock(struct state *state, struct pn_str domain)
{
    struct state_answers *answers = state_answers_of(state);
    struct answers_clock *clock;
    int64_t up_ms;

    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, false);
    up_ms = clock ? clock->up_ms : 0;
    pthread_mutex_unlock(&answers->lock);
    return up_ms;
}

struct state_catch_all state_catch_all_get(struct state *state, struct pn_str domain)
{
    struct state_answers *answers = state_answers_of(state);
    struct state_catch_all result = {0};
    struct answers_clock *clock;

    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, false);
    if (clock && clock->known && age_of(clock, clock->stamp_ms) < PN_DAYS(7)) {
        result.known = true;
        result.catch_all = clock->catch_all;
        result.age_ms = age_of(clock, clock->stamp_ms);
    }
    pthread_mutex_unlock(&answers->lock);
    return result;
}

void state_catch_all_put(struct state *state, struct pn_str domain, bool catch_all)
{
    struct state_answers *answers = state_answers_of(state);
    struct answers_clock *clock;

    pthread_mutex_lock(&answers->lock);
    clock = state_answers_find_clock(answers, domain, true);
    if (clock) {
        clock->known = true;
        clock->catch_all = catch_all;
        clock->stamp_ms = clock->up_ms;
        state_answers_save_clock(answers, clock);
    }
    pthread_mutex_unlock(&answers->lock);
    state_answers_flush(answers);
}
