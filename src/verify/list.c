/*
 * verify/list.c - which domains have lists, and who is in them.
 *
 * One entry a domain, also where several share a file: the delimiter, case and aliases of
 * the domain decide what a line means, so their tables differ. What an entry does stands in
 * list_work.c (reading and loading) and list_fetch.c (HTTP).
 *
 * Workers ask for every RCPT. They hash before they take the lock, and hold it for one
 * look-up; main holds it while it swaps a pointer. So no table is counted, and one that is
 * replaced is freed at once. A thread of its own for loading was rejected: a flow has none,
 * and a million lines in slices delay main's other work by a few milliseconds at a time.
 *
 * Files are looked at every five seconds, in rounds of at most a few hundred a turn. The
 * watcher of the domains directory would not do: lists lie anywhere, also on file systems
 * that report no changes.
 */
#include "postern/verify/list.h"

#include "list_work_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define LOOK_MS  PN_SECONDS(5)
#define LOOK_MAX 500U

/* One part of a round; the pace is such that the round takes LOOK_MS. */
static void on_look(struct pn_timer *timer)
{
    struct verify_lists *lists = PN_CONTAINER(timer, struct verify_lists, look);
    size_t count = HASH_COUNT(lists->all);
    size_t looks = count < LOOK_MAX ? count : LOOK_MAX;

    for (size_t i = 0; i < looks; i++) {
        struct verify_list *list = lists->cursor ? lists->cursor : lists->all;

        lists->cursor = list->hh.next;
        if (!list->remote && list->state == LIST_IDLE) {
            verify_list_look(list);
        }
    }
    loop_timer_after(lists->deps.loop, &lists->look,
                     count > LOOK_MAX ? LOOK_MS * LOOK_MAX / (int64_t)count : LOOK_MS);
}

struct verify_lists *verify_lists_new(const struct verify_lists_deps *deps)
{
    struct verify_lists *lists = PN_NEW(struct verify_lists);

    lists->deps = *deps;
    pn_rand_init(&lists->rand, deps->seed);
    pn_assert(pthread_mutex_init(&lists->lock, NULL) == 0);
    lists->look.on_fire = on_look;
    lists->slice.on_fire = verify_list_on_slice;
    loop_timer_after(deps->loop, &lists->look, LOOK_MS);
    return lists;
}

static bool has_list(const struct conf_domain *domain)
{
    for (size_t i = 0; i < domain->recipients.count; i++) {
        if (domain->recipients.words[i] == CONF_RECIPIENTS_LIST) {
            return true;
        }
    }
    return false;
}

static void list_name_source(struct verify_list *list, const char *source)
{
    free(list->source);
    list->source = pn_strdup(source);
    list->remote = source[0] != '/';
    list->known = false;
    list->copied = false;
    list->failures = 0;
}

static void list_add(struct verify_lists *lists, struct conf_domain *domain)
{
    struct verify_list *list = PN_NEW(struct verify_list);

    list->lists = lists;
    list->name = pn_strdup(domain->name);
    list->domain = conf_domain_ref(domain);
    list->timer.on_fire = verify_list_on_timer;
    list->marked = true;
    list_name_source(list, domain->recipient_list);
    pn_assert(pthread_mutex_lock(&lists->lock) == 0);
    HASH_ADD_KEYPTR(hh, lists->all, list->name, strlen(list->name), list);
    pn_assert(pthread_mutex_unlock(&lists->lock) == 0);
    verify_list_begin(list);
}

static void list_remove(struct verify_list *list)
{
    struct verify_lists *lists = list->lists;

    verify_list_stop(list);
    if (lists->cursor == list) {
        lists->cursor = list->hh.next;
    }
    pn_assert(pthread_mutex_lock(&lists->lock) == 0);
    HASH_DEL(lists->all, list);
    pn_assert(pthread_mutex_unlock(&lists->lock) == 0);
    verify_table_free(&list->table);
    conf_domain_unref(&list->domain);
    free(list->trouble);
    free(list->source);
    free(list->name);
    free(list);
}

static bool same_names(const struct conf_strings *a, const struct conf_strings *b)
{
    for (size_t i = 0; i < a->count && a->count == b->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0) {
            return false;
        }
    }
    return a->count == b->count;
}

/* Does every line of a list mean the same to both? */
static bool same_meaning(const struct conf_domain *a, const struct conf_domain *b)
{
    return strcmp(a->recipient_delimiter, b->recipient_delimiter) == 0 &&
           a->case_sensitive == b->case_sensitive && a->subdomains == b->subdomains &&
           same_names(&a->aliases, &b->aliases);
}

static void list_redefine(struct verify_list *list, struct conf_domain *domain)
{
    struct conf_domain *old = list->domain;
    bool moved = strcmp(list->source, domain->recipient_list) != 0;

    list->domain = conf_domain_ref(domain);
    if (moved || !same_meaning(old, domain)) {
        verify_list_stop(list);
        list->copy = (struct verify_copy){0};
        if (moved) {
            list_name_source(list, domain->recipient_list);
        }
        verify_list_begin(list);
    } else if (list->state == LIST_LOADING) {
        list->lists->load.domain = domain;
    } else if (list->state == LIST_IDLE && list->remote &&
               old->recipient_list_refresh_ms != domain->recipient_list_refresh_ms) {
        verify_list_schedule(list, domain->recipient_list_refresh_ms);
    }
    conf_domain_unref(&old);
}

static struct verify_list *find_list(const struct verify_lists *lists, struct pn_str name)
{
    struct verify_list *list;

    HASH_FIND(hh, lists->all, name.ptr, name.len, list);
    return list;
}

void verify_lists_configure(struct verify_lists *lists, const struct domains *domains)
{
    struct verify_list *list;
    struct verify_list *next;

    for (size_t i = 0; i < domains_count(domains); i++) {
        /* Whoever has a table of domains has a reference to each in it. */
        struct conf_domain *domain = (struct conf_domain *)(uintptr_t)domains_at(domains, i);

        if (!has_list(domain)) {
            continue;
        }
        list = find_list(lists, pn_str_z(domain->name));
        if (!list) {
            list_add(lists, domain);
            continue;
        }
        list->marked = true;
        if (list->domain != domain) {
            list_redefine(list, domain);
        }
    }
    HASH_ITER (hh, lists->all, list, next) {
        if (!list->marked) {
            list_remove(list);
        } else {
            list->marked = false;
        }
    }
    verify_list_fetch_next(lists); /* in the places of those that were stopped */
}

enum verify_list_answer verify_lists_find(struct verify_lists *lists,
                                          const struct conf_domain *domain, struct pn_str local)
{
    struct verify_key key = verify_key_make(lists->deps.crypto, local);
    enum verify_list_answer answer = VERIFY_LIST_NOT_LOADED;
    const struct verify_list *list;

    pn_assert(pthread_mutex_lock(&lists->lock) == 0);
    list = find_list(lists, pn_str_z(domain->name));
    if (list && list->table) {
        answer = list->facts.all || verify_table_has(list->table, key) ? VERIFY_LIST_YES
                                                                       : VERIFY_LIST_NO;
    }
    pn_assert(pthread_mutex_unlock(&lists->lock) == 0);
    return answer;
}

bool verify_lists_status(struct verify_lists *lists, struct pn_str domain,
                         struct verify_list_status *out)
{
    const struct verify_list *list = find_list(lists, domain);

    if (!list) {
        return false;
    }
    *out = (struct verify_list_status){
        .source = list->source,
        .addresses = list->table ? verify_table_count(list->table) : 0,
        .broken_lines = list->facts.broken_lines,
        .foreign_lines = list->facts.foreign_lines,
        .wild_card = list->facts.all,
        .broken = list->facts.broken,
        .loaded = list->loaded,
        .trouble = list->trouble ? list->trouble : "",
    };
    return true;
}

void verify_lists_free(struct verify_lists **lists)
{
    struct verify_lists *old = *lists;

    *lists = NULL;
    if (!old) {
        return;
    }
    while (old->all) {
        list_remove(old->all);
    }
    pn_assert(!old->loading && !old->work && !old->fetches && old->fetching == 0);
    loop_timer_stop(old->deps.loop, &old->look);
    loop_timer_stop(old->deps.loop, &old->slice);
    pn_assert(pthread_mutex_destroy(&old->lock) == 0);
    free(old);
}
