/*
 * deliver/named.c - queues that no file in domains.d defines: smart hosts, and the world.
 *
 * Their names stand with the mail. What a name means is asked of route/, in today's
 * configuration, when the spool tells of the first job there; and the scheduler is told. A
 * queue that was empty for some minutes is forgotten, with its destination and all that was
 * heard of it, so memory follows the domains that mail waits for, and not those that anybody
 * ever wrote to. Definitions themselves are larger than all else that is kept of a queue:
 * those that nobody has asked for in a minute are let go, and made again when needed.
 *
 * A smart host that the configuration names no more has no definition: its queue's mail is
 * held, as a removed domain's is, and goes on when the configuration names it again.
 */
#include "deliver_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/route/choose.h"

#include <utlist.h>

#define ROUND_SECONDS 60 /* in which each is looked at once */
#define EMPTY_ROUNDS  5

struct deliver_named {
    UT_hash_handle hh;
    struct deliver_named *prev, *next; /* in the order in which they are looked at */
    struct conf_domain *domain;        /* or NULL: not needed now */
    char *destination;                 /* as it was defined; NULL: it is not */
    unsigned empty;                    /* rounds */
    bool used;                         /* since it was looked at */
    char queue[];
};

static struct pn_str name_of(const struct deliver_named *named)
{
    return (struct pn_str){named->queue, named->hh.keylen};
}

static struct deliver_named *find(const struct deliver *deliver, struct pn_str queue)
{
    struct deliver_named *named;

    HASH_FIND(hh, deliver->named, queue.ptr, (unsigned)queue.len, named);
    return named;
}

static struct deliver_named *get(struct deliver *deliver, struct pn_str queue)
{
    struct deliver_named *named = find(deliver, queue);

    if (!named) {
        named = pn_alloc(sizeof *named + queue.len + 1);
        memcpy(named->queue, queue.ptr, queue.len);
        HASH_ADD_KEYPTR(hh, deliver->named, named->queue, (unsigned)queue.len, named);
        DL_APPEND(deliver->named_order, named);
    }
    return named;
}

static const struct conf_domain *domain_of(struct deliver *deliver, struct deliver_named *named)
{
    named->used = true;
    if (!named->domain) {
        named->domain = route_queue_domain(deliver->conf, deliver->domains, name_of(named));
    }
    return named->domain;
}

const struct conf_domain *deliver_named_domain(struct deliver *deliver, struct pn_str queue)
{
    return domain_of(deliver, get(deliver, queue));
}

/* Tells the scheduler what the queue's name means now. */
static void define(struct deliver *deliver, struct deliver_named *named)
{
    const struct conf_domain *domain = domain_of(deliver, named);

    free(named->destination);
    named->destination = domain ? pn_strndup(pn_str_z(domain->destination)) : NULL;
    if (domain) {
        deliver_define(deliver, domain);
    } else {
        queue_define(deliver->queue, name_of(named), NULL, deliver_now_ms(deliver));
    }
}

void deliver_named_seen(struct deliver *deliver, struct pn_str queue)
{
    struct deliver_named *named;

    if (route_queue_kind(queue) == CONF_QUEUE_DOMAIN) {
        return;
    }
    named = get(deliver, queue);
    named->empty = 0;
    if (!named->destination) {
        define(deliver, named);
    }
}

void deliver_named_configure(struct deliver *deliver)
{
    struct deliver_named *named;

    DL_FOREACH (deliver->named_order, named) {
        conf_domain_unref(&named->domain);
        if (named->destination) {
            define(deliver, named);
        }
    }
    /* What had no meaning may have got one. */
    deliver->named_again = true;
}

static void free_named(struct deliver *deliver, struct deliver_named *named)
{
    HASH_DEL(deliver->named, named);
    DL_DELETE(deliver->named_order, named);
    conf_domain_unref(&named->domain);
    free(named->destination);
    free(named);
}

/* The destination goes with its last queue, and so does what is known of it. */
static void forget(struct deliver *deliver, struct deliver_named *named)
{
    struct queue_destination_status status;
    struct pn_str destination = pn_str_z(named->destination);

    queue_define(deliver->queue, name_of(named), NULL, deliver_now_ms(deliver));
    if (named->destination &&
        !queue_get_destination(deliver->queue, destination, deliver_now_ms(deliver), &status)) {
        deliver_contact_forget(deliver, destination);
        if (deliver->deps.board) {
            out_board_forget(deliver->deps.board, destination);
        }
    }
    free_named(deliver, named);
}

static void look_at(struct deliver *deliver, struct deliver_named *named)
{
    struct queue_status status;
    bool empty =
        !queue_get_status(deliver->queue, name_of(named), deliver_now_ms(deliver), &status) ||
        status.jobs == 0;

    DL_DELETE(deliver->named_order, named);
    DL_APPEND(deliver->named_order, named);
    named->empty = empty ? named->empty + 1 : 0;
    if (named->empty > EMPTY_ROUNDS) {
        forget(deliver, named);
        return;
    }
    if (!named->used) {
        conf_domain_unref(&named->domain);
    }
    named->used = false;
}

struct walk {
    struct deliver *deliver;
    struct pn_arena arena;
    struct pn_str *names;
    size_t count, cap;
};

static void note_undefined(void *owner, const struct queue_status *status)
{
    struct walk *walk = owner;

    if (status->defined || status->jobs == 0 ||
        route_queue_kind(status->name) == CONF_QUEUE_DOMAIN) {
        return;
    }
    if (walk->count == walk->cap) {
        walk->cap = walk->cap * 2 + 16;
        walk->names = pn_realloc(walk->names, walk->cap * sizeof *walk->names);
    }
    if (pn_arena_copy(&walk->arena, status->name, &walk->names[walk->count]) == 0) {
        walk->count++;
    }
}

/* Queues that had no meaning when they were seen, in the configuration that is there now. */
static void see_again(struct deliver *deliver)
{
    struct walk walk = {.deliver = deliver};

    pn_arena_init(&walk.arena, 64u << 20);
    queue_each(deliver->queue, deliver_now_ms(deliver), note_undefined, &walk);
    for (size_t i = 0; i < walk.count; i++) {
        deliver_named_seen(deliver, walk.names[i]);
    }
    free(walk.names);
    pn_arena_fini(&walk.arena);
}

void deliver_named_second(struct deliver *deliver)
{
    size_t all, count;

    if (deliver->named_again) {
        deliver->named_again = false;
        see_again(deliver);
    }
    all = HASH_COUNT(deliver->named);
    count = all < ROUND_SECONDS ? all : all / ROUND_SECONDS + 1;
    /* With few of them a round would be shorter than it should. */
    if (all < ROUND_SECONDS && deliver->seconds % ROUND_SECONDS != 0) {
        return;
    }
    while (count-- > 0 && deliver->named_order) {
        look_at(deliver, deliver->named_order);
    }
}

void deliver_named_drop(struct deliver *deliver)
{
    while (deliver->named_order) {
        free_named(deliver, deliver->named_order);
    }
}
