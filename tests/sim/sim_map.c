/*
 * sim_map.c - an ordered map: what is on the simulated disk, and the overlay of a batch.
 *
 * A skip list: keys are found, put and removed in the time of their logarithm, and walking
 * in order is one pointer. Heights come from a hash of the key, so that the same content
 * has the same shape whatever came before.
 */
#include "sim_priv.h"

#include <string.h>

#define LEVELS 20

struct node {
    struct sim_item item; /* first */
    char *value;
    unsigned height;
    struct node *next[];
};

struct sim_map {
    struct node *head;
};

static unsigned height_of(struct pn_str key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    unsigned height = 1;

    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (unsigned char)key.ptr[i]) * UINT64_C(1099511628211);
    }
    hash ^= hash >> 29;
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= hash >> 32;
    while (height < LEVELS && (hash & 3) == 0) {
        hash >>= 2;
        height++;
    }
    return height;
}

static struct node *node_new(struct pn_str key, unsigned height)
{
    size_t links = height * sizeof(struct node *);
    struct node *node = pn_alloc(sizeof *node + links + key.len);
    char *copy = (char *)node + sizeof *node + links;

    if (key.len > 0) {
        memcpy(copy, key.ptr, key.len);
    }
    node->item.key = (struct pn_str){copy, key.len};
    node->height = height;
    return node;
}

struct sim_map *sim_map_new(void)
{
    struct sim_map *map = PN_NEW(struct sim_map);

    map->head = node_new(PN_STR(""), LEVELS);
    return map;
}

void sim_map_clear(struct sim_map *map)
{
    struct node *node = map->head->next[0];

    while (node) {
        struct node *next = node->next[0];

        free(node->value);
        free(node);
        node = next;
    }
    memset(map->head->next, 0, LEVELS * sizeof *map->head->next);
}

void sim_map_free(struct sim_map **map)
{
    sim_map_clear(*map);
    free((*map)->head);
    free(*map);
    *map = NULL;
}

/* The node before the first one >= key, on each level; returns that one, or NULL. */
static struct node *locate(const struct sim_map *map, struct pn_str key,
                           struct node *before[LEVELS])
{
    struct node *node = map->head;

    for (size_t level = LEVELS; level-- > 0;) {
        while (node->next[level] && pn_str_cmp(node->next[level]->item.key, key) < 0) {
            node = node->next[level];
        }
        before[level] = node;
    }
    return node->next[0];
}

const struct sim_item *sim_map_seek(const struct sim_map *map, struct pn_str key)
{
    struct node *before[LEVELS];
    struct node *node = locate(map, key, before);

    return node ? &node->item : NULL;
}

const struct sim_item *sim_map_next(const struct sim_item *item)
{
    const struct node *node = (const struct node *)(const void *)item;

    return node->next[0] ? &node->next[0]->item : NULL;
}

const struct sim_item *sim_map_find(const struct sim_map *map, struct pn_str key)
{
    const struct sim_item *item = sim_map_seek(map, key);

    return item && pn_str_eq(item->key, key) ? item : NULL;
}

void sim_map_put(struct sim_map *map, struct pn_str key, struct pn_str value, bool deleted)
{
    struct node *before[LEVELS];
    struct node *node = locate(map, key, before);

    if (!node || !pn_str_eq(node->item.key, key)) {
        node = node_new(key, height_of(key));
        for (size_t level = 0; level < node->height; level++) {
            node->next[level] = before[level]->next[level];
            before[level]->next[level] = node;
        }
    }
    free(node->value);
    node->value = pn_strndup(value);
    node->item.value = (struct pn_str){node->value, value.len};
    node->item.deleted = deleted;
}

void sim_map_remove(struct sim_map *map, struct pn_str key)
{
    struct node *before[LEVELS];
    struct node *node = locate(map, key, before);

    if (node && pn_str_eq(node->item.key, key)) {
        for (size_t level = 0; level < node->height; level++) {
            before[level]->next[level] = node->next[level];
        }
        free(node->value);
        free(node);
    }
}

void sim_map_merge(struct sim_map *map, const struct sim_map *changes)
{
    for (const struct node *node = changes->head->next[0]; node; node = node->next[0]) {
        if (node->item.deleted) {
            sim_map_remove(map, node->item.key);
        } else {
            sim_map_put(map, node->item.key, node->item.value, false);
        }
    }
}

void sim_map_copy(struct sim_map *map, const struct sim_map *from)
{
    for (const struct node *node = from->head->next[0]; node; node = node->next[0]) {
        sim_map_put(map, node->item.key, node->item.value, node->item.deleted);
    }
}
