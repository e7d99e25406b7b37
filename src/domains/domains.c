/*
 * domains/domains.c - the table of relay domains: an immutable snapshot.
 *
 * A table is a row of chunks, each a sorted array of definitions with its own reference
 * count. A change copies the chunks it falls into and shares the others, so that one file
 * changed among a hundred thousand touches a few hundred definitions and not all of them:
 * counting a reference on each would be a cache miss on each. A hash table was rejected,
 * because people are shown the domains in order, and copies of it cost the same.
 *
 * Aliases stand in a second, sorted index. A change that touches no domain with aliases
 * shares it as it is, so that domains without them pay nothing; others merge what is new
 * into it. The index keeps no references: what it points to is in every table that has it.
 * An alias that is also a definition's name, or another domain's, stays in the index, since
 * it comes into its own when the other goes away.
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

struct alias {
    const char *name;
    const struct conf_domain *domain;
};

struct aliases {
    unsigned refs; /* atomic */
    size_t count;
    struct alias items[]; /* by name, then by the domain's name */
};

struct domains {
    unsigned refs;           /* atomic */
    struct aliases *aliases; /* NULL: none */
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

static void unref_aliases(struct aliases *aliases)
{
    if (aliases && count_down(&aliases->refs)) {
        free(aliases);
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
    unref_aliases(table->aliases);
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

static int compare_aliases(const void *a, const void *b)
{
    const struct alias *left = a;
    const struct alias *right = b;
    int order = strcmp(left->name, right->name);

    return order != 0 ? order : strcmp(left->domain->name, right->domain->name);
}

/* Is there a change to this name? */
static bool is_changed(const struct domains_change *const *changes, size_t count,
                       struct pn_str name)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = pn_str_cmp(changes[middle]->name, name);

        if (order == 0) {
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* What the changes bring: the caller frees *out. */
static size_t gather_aliases(const struct domains_change *const *changes, size_t count,
                             struct alias **out)
{
    size_t total = 0;
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        total += changes[i]->definition ? changes[i]->definition->aliases.count : 0;
    }
    *out = pn_alloc_array(total + 1, sizeof **out);
    for (size_t i = 0; i < count && used < total; i++) {
        const struct conf_domain *definition = changes[i]->definition;

        for (size_t j = 0; definition && j < definition->aliases.count; j++) {
            (*out)[used++] = (struct alias){definition->aliases.items[j], definition};
        }
    }
    if (used > 0) {
        qsort(*out, used, sizeof **out, compare_aliases);
    }
    return used;
}

/* The index of a table whose changes, sorted, are these. */
static struct aliases *change_aliases(const struct domains *old,
                                      const struct domains_change *const *changes, size_t count)
{
    size_t kept_count = old->aliases ? old->aliases->count : 0;
    struct alias *added;
    size_t added_count = gather_aliases(changes, count, &added);
    struct aliases *made = pn_alloc(sizeof *made + (kept_count + added_count) * sizeof *added);
    size_t next = 0;

    made->refs = 1;
    for (size_t i = 0; i < kept_count; i++) {
        const struct alias *kept = &old->aliases->items[i];

        if (is_changed(changes, count, name_of(kept->domain))) {
            continue;
        }
        while (next < added_count && compare_aliases(&added[next], kept) < 0) {
            made->items[made->count++] = added[next++];
        }
        made->items[made->count++] = *kept;
    }
    while (next < added_count) {
        made->items[made->count++] = added[next++];
    }
    free(added);
    if (made->count == 0) {
        free(made);
        made = NULL;
    }
    return made;
}

static bool touches_aliases(const struct domains *old,
                            const struct domains_change *const *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct conf_domain *before =
            old->aliases ? domains_find_exact(old, changes[i]->name) : NULL;

        if ((before && before->aliases.count > 0) ||
            (changes[i]->definition && changes[i]->definition->aliases.count > 0)) {
            return true;
        }
    }
    return false;
}

static struct aliases *next_aliases(const struct domains *old,
                                    const struct domains_change *const *changes, size_t count)
{
    if (touches_aliases(old, changes, count)) {
        return change_aliases(old, changes, count);
    }
    if (old->aliases) {
        count_up(&old->aliases->refs);
    }
    return old->aliases;
}

struct domains *domains_with(const struct domains *old, const struct domains_change *changes,
                             size_t count)
{
    const struct domains_change **sorted = pn_alloc_array(count + 1, sizeof *sorted);
    size_t left = sort_changes(changes, count, sorted);
    const struct domains_change *const *next = sorted;
    struct builder builder = {.table = domains_new()};

    builder.table->aliases = next_aliases(old, sorted, left);
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

/* The first domain that has this alias, or NULL. */
static const struct conf_domain *find_alias(const struct domains *domains, struct pn_str name)
{
    const struct aliases *aliases = domains->aliases;
    size_t low = 0;
    size_t high = aliases ? aliases->count : 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (pn_str_cmp(pn_str_z(aliases->items[middle].name), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return aliases && low < aliases->count &&
                   pn_str_eq(pn_str_z(aliases->items[low].name), name)
               ? aliases->items[low].domain
               : NULL;
}

static const struct conf_domain *find_name(const struct domains *domains, struct pn_str name)
{
    const struct conf_domain *found = domains_find_exact(domains, name);

    return found ? found : find_alias(domains, name);
}

const struct conf_domain *domains_find(const struct domains *domains, struct pn_str name)
{
    const struct conf_domain *found = find_name(domains, name);

    /* Only whole labels are taken away, and an empty one makes no name (FAULTS 3.19). */
    while (!found && name.len > 0) {
        struct pn_str label = pn_str_cut(&name, '.');

        if (label.len == 0) {
            return NULL;
        }
        found = find_name(domains, name);
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
