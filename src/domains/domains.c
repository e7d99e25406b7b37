/*
 * domains/domains.c - the table of relay domains: an immutable snapshot.
 *
 * A table is a row of chunks, each a sorted array of definitions with its own reference
 * count. A change copies the chunks it falls into and shares the others, so that one file
 * changed among a hundred thousand touches a few hundred definitions and not all of them:
 * counting a reference on each would be a cache miss on each. A hash table was rejected,
 * because people are shown the domains in order, and copies of it cost the same.
 */
#include "postern/domains/domains.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define CHUNK_MAX 512

struct chunk {
    unsigned refs; /* atomic */
    size_t count;  /* never 0 */
    struct conf_domain *items[CHUNK_MAX];
};

struct domains {
    unsigned refs; /* atomic */
    size_t count;
    size_t chunk_count;
    struct chunk **chunks;
    size_t *starts; /* the index of each chunk's first item in the whole table */
};

/* A table being made; definitions that are pushed gather in the open chunk. */
struct builder {
    struct domains *table;
    size_t cap;
    struct chunk *open;
};

static void count_up(unsigned *refs)
{
    (void)__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

static bool count_down(unsigned *refs)
{
    unsigned before = __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL);

    pn_assert(before > 0);
    return before == 1;
}

static void unref_chunk(struct chunk *chunk)
{
    if (count_down(&chunk->refs)) {
        for (size_t i = 0; i < chunk->count; i++) {
            conf_domain_unref(&chunk->items[i]);
        }
        free(chunk);
    }
}

struct domains *domains_new(void)
{
    struct domains *table = PN_NEW(struct domains);

    table->refs = 1;
    return table;
}

struct domains *domains_ref(struct domains *domains)
{
    count_up(&domains->refs);
    return domains;
}

void domains_unref(struct domains **domains)
{
    struct domains *table = *domains;

    *domains = NULL;
    if (!table || !count_down(&table->refs)) {
        return;
    }
    for (size_t i = 0; i < table->chunk_count; i++) {
        unref_chunk(table->chunks[i]);
    }
    free(table->chunks);
    free(table->starts);
    free(table);
}

/* Takes over the caller's reference to the chunk. */
static void push_chunk(struct builder *builder, struct chunk *chunk)
{
    struct domains *table = builder->table;

    if (table->chunk_count == builder->cap) {
        builder->cap = builder->cap > 0 ? builder->cap * 2 : 16;
        table->chunks = pn_realloc(table->chunks, builder->cap * sizeof *table->chunks);
        table->starts = pn_realloc(table->starts, builder->cap * sizeof *table->starts);
    }
    table->chunks[table->chunk_count] = chunk;
    table->starts[table->chunk_count++] = table->count;
    table->count += chunk->count;
}

static void close_chunk(struct builder *builder)
{
    if (builder->open) {
        push_chunk(builder, builder->open);
        builder->open = NULL;
    }
}

static void push_item(struct builder *builder, struct conf_domain *definition)
{
    struct chunk *chunk = builder->open;

    if (!chunk) {
        chunk = builder->open = PN_NEW(struct chunk);
        chunk->refs = 1;
    }
    chunk->items[chunk->count++] = conf_domain_ref(definition);
    if (chunk->count == CHUNK_MAX) {
        close_chunk(builder);
    }
}

static struct pn_str name_of(const struct conf_domain *definition)
{
    return pn_str_z(definition->name);
}

/* Merges the changes into what the chunk has (NULL: nothing). */
static void merge(struct builder *builder, const struct chunk *chunk,
                  const struct domains_change *const *changes, size_t count)
{
    size_t old_count = chunk ? chunk->count : 0;
    size_t old = 0;

    for (size_t i = 0; i < count; i++) {
        while (old < old_count &&
               pn_str_cmp(name_of(chunk->items[old]), changes[i]->name) < 0) {
            push_item(builder, chunk->items[old++]);
        }
        if (old < old_count && pn_str_eq(name_of(chunk->items[old]), changes[i]->name)) {
            old++;
        }
        if (changes[i]->definition) {
            push_item(builder, changes[i]->definition);
        }
    }
    while (old < old_count) {
        push_item(builder, chunk->items[old++]);
    }
}

static int compare_changes(const void *a, const void *b)
{
    const struct domains_change *left = *(const struct domains_change *const *)a;
    const struct domains_change *right = *(const struct domains_change *const *)b;
    int order = pn_str_cmp(left->name, right->name);

    /* Of several changes to one name the last one given counts: it comes last here too. */
    return order != 0 ? order : (left > right) - (left < right);
}

/* Pointers to the changes in the order of names, one a name. Returns how many. */
static size_t sort_changes(const struct domains_change *changes, size_t count,
                           const struct domains_change **out)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        out[i] = &changes[i];
    }
    if (count > 0) {
        qsort(out, count, sizeof *out, compare_changes);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + 1 == count || !pn_str_eq(out[i]->name, out[i + 1]->name)) {
            out[kept++] = out[i];
        }
    }
    return kept;
}

/* How many of the changes belong before the first name of the chunk `next` (NULL: all). */
static size_t count_before(const struct domains_change *const *changes, size_t count,
                           const struct chunk *next)
{
    size_t n = 0;

    while (n < count && (!next || pn_str_cmp(changes[n]->name, name_of(next->items[0])) < 0)) {
        n++;
    }
    return n;
}

struct domains *domains_with(const struct domains *old, const struct domains_change *changes,
                             size_t count)
{
    const struct domains_change **sorted = pn_alloc_array(count + 1, sizeof *sorted);
    size_t left = sort_changes(changes, count, sorted);
    const struct domains_change *const *next = sorted;
    struct builder builder = {.table = domains_new()};

    if (old->chunk_count == 0) {
        merge(&builder, NULL, next, left);
    }
    for (size_t i = 0; i < old->chunk_count; i++) {
        struct chunk *chunk = old->chunks[i];
        size_t here =
            count_before(next, left, i + 1 < old->chunk_count ? old->chunks[i + 1] : NULL);

        if (here > 0) {
            merge(&builder, chunk, next, here);
        } else {
            close_chunk(&builder);
            count_up(&chunk->refs);
            push_chunk(&builder, chunk);
        }
        next += here;
        left -= here;
    }
    close_chunk(&builder);
    free(sorted);
    return builder.table;
}

/* The last chunk whose first name is not above name; 0 when there is none. */
static size_t find_chunk(const struct domains *table, struct pn_str name)
{
    size_t low = 0;
    size_t high = table->chunk_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (pn_str_cmp(name_of(table->chunks[middle]->items[0]), name) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct conf_domain *domains_find_exact(const struct domains *domains, struct pn_str name)
{
    const struct chunk *chunk;
    size_t low = 0;
    size_t high;

    if (domains->chunk_count == 0) {
        return NULL;
    }
    chunk = domains->chunks[find_chunk(domains, name)];
    high = chunk->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = pn_str_cmp(name_of(chunk->items[middle]), name);

        if (order == 0) {
            return chunk->items[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct conf_domain *domains_find(const struct domains *domains, struct pn_str name)
{
    const struct conf_domain *found = domains_find_exact(domains, name);

    /* Only whole labels are taken away, and an empty one makes no name (FAULTS 3.19). */
    while (!found && name.len > 0) {
        struct pn_str label = pn_str_cut(&name, '.');

        if (label.len == 0) {
            return NULL;
        }
        found = domains_find_exact(domains, name);
        if (found && !found->subdomains) {
            found = NULL;
        }
    }
    return found;
}

size_t domains_count(const struct domains *domains)
{
    return domains->count;
}

const struct conf_domain *domains_at(const struct domains *domains, size_t index)
{
    size_t low = 0;
    size_t high = domains->chunk_count;

    pn_assert(index < domains->count);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (domains->starts[middle] <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return domains->chunks[low]->items[index - domains->starts[low]];
}
