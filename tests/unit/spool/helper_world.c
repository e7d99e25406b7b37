/* helper_world.c - see the header. */
#include "helper_world.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include "records_priv.h"

#include <stdio.h>
#include <string.h>

#define NOON ((struct pn_wall){1795262400000}) /* 2026-11-21 12:00 */

static void on_line(struct pn_log_sink *sink, enum pn_event event, struct pn_str line)
{
    struct world *world = PN_CONTAINER(sink, struct world, sink);

    (void)line;
    world->logged[event]++;
}

static void on_notices(void *owner, const struct spool_notice *notices, size_t count)
{
    struct world *world = owner;

    for (size_t i = 0; i < count; i++) {
        pn_assert(world->notice_count < WORLD_NOTICES);
        world->notices[world->notice_count].kind = (int)notices[i].kind;
        world->notices[world->notice_count].job = notices[i].job;
        (void)snprintf(world->notices[world->notice_count].queue, 64, "%.*s",
                       PN_FMT(notices[i].queue));
        world->notice_count++;
    }
}

void world_start(struct world *world, bool encrypted)
{
    const struct spool_options options = {.files = &world->files.port,
                                          .crypto = fake_crypto(),
                                          .path = "/spool",
                                          .key_file = encrypted ? "/key" : "",
                                          .free_octets = 1000,
                                          .log = &world->log};
    struct pn_err err;

    world->spool = spool_new(&options, &err);
    if (!world->spool) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    pn_assert(world->spool);
    world->store.events = *spool_store_events(world->spool);
    world->store.state = STORE_OPEN;
    world->store.events.on_state(world->store.events.owner, STORE_OPEN, NULL);
    spool_attach(world->spool, &world->store.port);
    spool_observe(world->spool, &world->loop.port, on_notices, world);
    spool_maintain(world->spool, world->wall);
    world_run(world);
}

void world_stop(struct world *world, bool cut)
{
    if (!cut) {
        world_run(world);
    }
    fake_store_forget(&world->store);
    world->loop.head = NULL;
    spool_free(&world->spool);
}

struct world *world_new(bool encrypted)
{
    struct world *world = PN_NEW(struct world);
    struct pn_buf key;

    fake_loop_init(&world->loop);
    fake_store_init(&world->store);
    fake_files_init(&world->files);
    world->wall = NOON;
    world->sink.on_line = on_line;
    pn_log_init(&world->log, &world->sink);
    pn_buf_init(&key, 200);
    pn_assert(spool_key_make(fake_crypto(), &key) == 0);
    fake_files_put(&world->files, "/key", pn_buf_str(&key), 0600);
    pn_buf_fini(&key);
    world_start(world, encrypted);
    return world;
}

void world_free(struct world *world)
{
    world_stop(world, false);
    fake_store_fini(&world->store);
    fake_files_fini(&world->files);
    fake_loop_fini(&world->loop);
    free(world);
}

void world_run(struct world *world)
{
    while (fake_store_turn(&world->store) || fake_loop_run(&world->loop)) {
    }
}

struct pn_id world_id(unsigned n)
{
    struct pn_id id = {{0}};

    id.octets[14] = (uint8_t)(n >> 8);
    id.octets[15] = (uint8_t)n;
    id.octets[0] = 1;
    return id;
}

struct pn_str world_text(size_t octets)
{
    static char text[4 * SPOOL_CHUNK_OCTETS];

    pn_assert(octets <= sizeof text);
    for (size_t i = 0; text[1] == 0 && i < sizeof text; i++) {
        text[i] = (char)('a' + i % 23 + i / 1024 % 3);
    }
    return (struct pn_str){text, octets};
}

static void on_draft(void *owner)
{
    struct world *world = owner;

    world->calls++;
}

void world_store(struct world *world, unsigned n, size_t octets, const char *const *queues,
                 int64_t due_ms)
{
    struct pn_id id = world_id(n);
    struct mail_envelope envelope = {.id = id,
                                     .sender = PN_STR("sender@here.example"),
                                     .client = {pn_ip_v4(0xc0000201), 25},
                                     .arrival = world->wall};
    struct pn_str text = world_text(octets);
    char names[8][2][80];
    struct mail_recipient recipients[8][2] = {0};
    struct spool_new_job jobs[8] = {0};
    struct spool_draft *draft;
    size_t count = 0;

    for (; queues[count]; count++) {
        for (size_t k = 0; k < 2; k++) {
            (void)snprintf(names[count][k], 80, "%c@%s", "ab"[k], queues[count]);
            recipients[count][k].address = pn_str_z(names[count][k]);
        }
        jobs[count] = (struct spool_new_job){.queue = pn_str_z(queues[count]),
                                             .recipients = recipients[count],
                                             .recipient_count = 2,
                                             .due_ms = due_ms};
    }
    draft = spool_draft_new(world->spool, &world->loop.port, &id, on_draft, world);
    while (text.len > 0 && spool_draft_get_state(draft) == SPOOL_DRAFT_OPEN) {
        struct pn_str piece = pn_str_sub(text, 0, spool_draft_room(draft));

        if (piece.len == 0) {
            world_run(world);
            continue;
        }
        spool_draft_write(draft, piece);
        text = pn_str_sub(text, piece.len, SIZE_MAX);
    }
    spool_draft_store(draft, &envelope, 1000 + n, jobs, count);
    world_run(world);
    world->status = spool_draft_get_state(draft) == SPOOL_DRAFT_STORED ? 0 : PN_EIO;
    spool_draft_free(&draft);
}

struct loaded {
    struct world *world;
    struct spool_message *message;
};

static void on_load(void *owner, struct spool_message *messages)
{
    struct loaded *loaded = owner;

    loaded->message = messages;
}

struct spool_message *world_message(struct world *world, unsigned n, const char *queue,
                                    int64_t due_ms)
{
    struct loaded loaded = {.world = world};
    struct spool_job_key key = {pn_str_z(queue), due_ms, world_id(n)};

    spool_load(world->spool, &world->loop.port, &key, 1, on_load, &loaded);
    world_run(world);
    pn_assert(loaded.message);
    return loaded.message;
}

struct chunk {
    struct world *world;
    size_t octets;
    int status;
};

static void on_chunk(void *owner, int status, uint32_t number, struct pn_str text)
{
    struct chunk *chunk = owner;
    struct pn_str wanted = pn_str_sub(world_text(chunk->octets),
                                      (size_t)number * SPOOL_CHUNK_OCTETS, SPOOL_CHUNK_OCTETS);

    chunk->status = status < 0 ? status : pn_str_eq(text, wanted) ? 0 : PN_EINVAL;
}

int world_load(struct world *world, unsigned n, const char *queue, int64_t due_ms,
               size_t octets)
{
    struct spool_message *message = world_message(world, n, queue, due_ms);
    int status = message->status;

    if (status == 0 &&
        (message->envelope.size_octets != octets ||
         !pn_str_eq(message->text, pn_str_sub(world_text(octets), 0, SPOOL_CHUNK_OCTETS)))) {
        status = PN_EINVAL;
    }
    for (uint32_t i = 1; status == 0 && i < message->envelope.chunks; i++) {
        struct chunk chunk = {world, octets, 1};

        spool_read_chunk(world->spool, &world->loop.port, &message->job.id, i, on_chunk,
                         &chunk);
        world_run(world);
        status = chunk.status;
    }
    spool_message_free(&message);
    return status;
}

static void on_settled(void *owner)
{
    struct world *world = owner;

    world->calls++;
}

void world_settle(struct world *world, unsigned n, const char *queue, int64_t due_ms,
                  const char *stay, int64_t new_due_ms, const char *parked)
{
    const struct mail_recipient staying = {.address = pn_str_z(stay)};
    const struct spool_parked_recipient parking = {.recipient = {.address = pn_str_z(parked)},
                                                   .reason = PN_STR("550 5.1.1 No")};
    const struct spool_settlement settlement = {
        .key = {pn_str_z(queue), due_ms, world_id(n)},
        .stay = &staying,
        .stay_count = stay != NULL,
        .job = {.due_ms = new_due_ms, .attempts = 1, .last_try_ms = 77},
        .last_reply = PN_STR("451 4.7.1 Later"),
        .parked = &parking,
        .parked_count = parked != NULL};

    spool_settle(world->spool, &world->loop.port, &settlement, 1, on_settled, world);
    world_run(world);
}

const char *world_counts(struct world *world, const char *queue)
{
    static char text[100];
    struct spool_counters counters;
    struct fake_record *record;
    struct spool_key key;

    spool_key_of_counters(&key, pn_str_z(queue));
    record = fake_store_find(&world->store, spool_key_str(&key));
    if (!record) {
        return "";
    }
    pn_assert(spool_counters_decode(pn_buf_str(&record->value), &counters));
    (void)snprintf(text, sizeof text, "%llu/%llu/%llu", (unsigned long long)counters.jobs,
                   (unsigned long long)counters.octets, (unsigned long long)counters.parked);
    return text;
}

const char *world_records(struct world *world)
{
    static char text[100];
    size_t len = 0;

    text[0] = '\0';
    for (const char *kind = "bcdjkmpx"; *kind; kind++) {
        size_t count = fake_store_count(&world->store, *kind);

        if (count > 0) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%c%zu",
                                    len > 0 ? " " : "", *kind, count);
        }
    }
    return text;
}

static void on_checked(void *owner, size_t checked, size_t bad, bool wrapped)
{
    struct world_checked *total = owner;

    total->checked += checked;
    total->bad += bad;
    total->wrapped = wrapped;
    total->calls++;
}

struct world_checked world_check_all(struct world *world, size_t piece)
{
    struct world_checked total = {0};

    do {
        spool_check(world->spool, &world->loop.port, piece, on_checked, &total);
        world_run(world);
    } while (!total.wrapped && total.calls < 50);
    return total;
}
