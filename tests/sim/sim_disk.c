/*
 * sim_disk.c - what survives the daemon of a store, and the faults that are ordered.
 *
 * What a store that does not sync has written is seen at once, and kept by a power cut as
 * LevelDB keeps it: each log loses its tail, an older one more than a newer one if it so
 * happens; what is older than the kernel's patience (WRITE_BACK_MS) is on the disk.
 */
#include "sim_priv.h"

#define WRITE_BACK_MS PN_SECONDS(35)
#define LOG_CHANCE    100 /* permille of batches that begin a new log */

/* What one batch changed, and is not known to be on the disk. */
struct sim_unsynced {
    struct sim_unsynced *next;
    struct sim_map *changes;
    uint64_t log;
    int64_t at_ms;
};

/* ---- faults ---- */

static void order_fault(struct sim_disk *disk, enum sim_fault fault, uint64_t n)
{
    disk->operations = 0;
    disk->fault = fault;
    disk->fault_at = n;
    disk->fault_span = 1;
    disk->happened = false;
}

void sim_fault_at(struct sim *sim, enum sim_fault fault, uint64_t n, int64_t restart_ms)
{
    order_fault(&sim->disk, fault, n);
    sim->disk.restart_ms = restart_ms;
}

void sim_state_fault_at(struct sim *sim, enum sim_fault fault, uint64_t n, int64_t restart_ms)
{
    order_fault(&sim->state_disk, fault, n);
    sim->disk.restart_ms = restart_ms;
}

uint64_t sim_state_operations(const struct sim *sim)
{
    return sim->state_disk.operations;
}

void sim_fault_span(struct sim *sim, uint64_t count)
{
    sim->disk.fault_span = count;
    sim->state_disk.fault_span = count;
}

uint64_t sim_store_operations(const struct sim *sim)
{
    return sim->disk.operations;
}

bool sim_fault_happened(const struct sim *sim)
{
    return sim->disk.happened;
}

void sim_store_break(struct sim *sim, bool broken)
{
    sim_note(sim, "the disk %s", broken ? "fails" : "works again");
    sim->disk.broken = broken;
}

void sim_disk_full(struct sim *sim, bool full)
{
    sim_note(sim, "the disk %s", full ? "is full" : "has room again");
    sim->disk.full = full;
}

size_t sim_disk_items(const struct sim *sim)
{
    const struct sim_item *item = sim_map_seek(sim->disk.items, PN_STR(""));
    size_t count = 0;

    for (; item; item = sim_map_next(item)) {
        count++;
    }
    return count;
}

void sim_disk_slow(struct sim *sim, int64_t sync_ms)
{
    sim->disk.sync_ms = sync_ms;
}

/* ---- what is not synced ------------------------------------------------------------------
 */

void sim_disk_init(struct sim_disk *disk, const char *name, bool synced)
{
    *disk = (struct sim_disk){.name = name,
                              .items = sim_map_new(),
                              .durable = synced ? NULL : sim_map_new(),
                              .sync_ms = 5,
                              .trouble_ms = -1,
                              .failed_ms = -1,
                              .undone_ms = -1};
}

static void drop_oldest(struct sim_disk *disk)
{
    struct sim_unsynced *oldest = disk->unsynced;

    disk->unsynced = oldest->next;
    if (!disk->unsynced) {
        disk->unsynced_end = NULL;
    }
    sim_map_free(&oldest->changes);
    free(oldest);
}

void sim_disk_fini(struct sim_disk *disk)
{
    while (disk->unsynced) {
        drop_oldest(disk);
    }
    sim_map_free(&disk->items);
    if (disk->durable) {
        sim_map_free(&disk->durable);
    }
}

/* The kernel has written what is so old. */
static void write_back(struct sim_disk *disk, int64_t before_ms)
{
    while (disk->unsynced && disk->unsynced->at_ms <= before_ms) {
        sim_map_merge(disk->durable, disk->unsynced->changes);
        drop_oldest(disk);
    }
}

void sim_disk_note_unsynced(struct sim *sim, struct sim_disk *disk,
                            const struct sim_map *changes)
{
    struct sim_unsynced *batch = PN_NEW(struct sim_unsynced);

    write_back(disk, sim->now_ms - WRITE_BACK_MS);
    disk->log += sim_chance(sim, LOG_CHANCE);
    batch->changes = sim_map_new();
    batch->log = disk->log;
    batch->at_ms = sim->now_ms;
    sim_map_copy(batch->changes, changes);
    if (disk->unsynced_end) {
        disk->unsynced_end->next = batch;
    } else {
        disk->unsynced = batch;
    }
    disk->unsynced_end = batch;
}

/* Each log keeps its head, how much of it is drawn. */
void sim_disk_lose_unsynced(struct sim *sim, struct sim_disk *disk)
{
    while (disk->unsynced) {
        uint64_t log = disk->unsynced->log;
        unsigned keeps = (unsigned)pn_rand_below(&sim->rand, 1001);
        bool lost = false;

        while (disk->unsynced && disk->unsynced->log == log) {
            lost = lost || !sim_chance(sim, keeps);
            if (!lost) {
                sim_map_merge(disk->durable, disk->unsynced->changes);
            }
            drop_oldest(disk);
        }
    }
    sim_map_clear(disk->items);
    sim_map_merge(disk->items, disk->durable);
}
