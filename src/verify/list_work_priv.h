/*
 * verify/list_work_priv.h - one list and its life: read, fetched, loaded, in force.
 */
#ifndef POSTERN_VERIFY_LIST_WORK_PRIV_H
#define POSTERN_VERIFY_LIST_WORK_PRIV_H

#include "list_priv.h"

#include "postern/base/rand.h"

#include <uthash.h>

#include <pthread.h>

/* What a list is waiting for, or doing. */
enum list_state {
    LIST_IDLE,      /* its timer, or a look at the file, wakes it */
    LIST_READ_DUE,  /* in lists.work: the file or the copy is to be read */
    LIST_FETCH_DUE, /* in lists.fetches */
    LIST_FETCHING,
    LIST_FETCHED, /* in lists.work, with the answer */
    LIST_LOADING, /* it is lists.loading */
};

enum list_origin { LIST_FROM_FILE, LIST_FROM_COPY, LIST_FROM_FETCH };

struct list_fetch {
    struct http_request request;
    struct verify_list *list;
    char if_none_match[300];
    char if_modified_since[100];
};

struct verify_list {
    UT_hash_handle hh; /* in lists.all, by name */
    struct verify_list *prev;
    struct verify_list *next;
    struct verify_lists *lists;
    char *name;
    char *source;
    bool remote;
    bool marked; /* named by the domains in force */
    struct conf_domain *domain;
    enum list_state state;
    struct pn_timer timer; /* the next fetch, or whether a file has settled */
    struct list_fetch *fetch;
    unsigned failures;          /* fetches in a row */
    struct verify_copy copy;    /* what the source said about the list in force */
    bool copied;                /* and that list is on disk */
    struct files_info seen;     /* the file when it was read */
    struct files_info fresh;    /* and as it looks now */
    unsigned looks;             /* at a file that does not settle */
    bool known;                 /* seen is the file that was read */
    struct verify_table *table; /* in force; NULL: none. Changed under lists.lock */
    struct verify_facts facts;
    struct pn_wall loaded;
    char *trouble; /* NULL: none */
};

struct verify_lists {
    struct verify_lists_deps deps;
    struct pn_rand rand;
    pthread_mutex_t lock; /* who is in `all`, and their tables and facts.all */
    struct verify_list *all;
    struct verify_list *cursor; /* the next file to look at */
    struct pn_timer look;
    struct verify_list *work;
    struct pn_timer slice;
    struct verify_list *loading;
    enum list_origin origin;
    struct verify_copy copy; /* of what is being loaded */
    struct verify_load load;
    struct verify_list *fetches;
    unsigned fetching;
};

/* IDLE: the list is read anew, from its file or its copy. */
void verify_list_begin(struct verify_list *list);
/* Whatever it does ends; it is IDLE, and nothing wakes it. */
void verify_list_stop(struct verify_list *list);
/* Says why the newest version is not in force, once. NULL: it is. */
void verify_list_set_trouble(struct verify_list *list, const char *trouble);
/* The next fetch, after a wait. */
void verify_list_schedule(struct verify_list *list, int64_t wait_ms);
/* IDLE, a file: looks whether it has changed. */
void verify_list_look(struct verify_list *list);

/* The timers of lists and list, and http's answers. */
void verify_list_on_slice(struct pn_timer *timer);
void verify_list_on_timer(struct pn_timer *timer);

/* list_fetch.c: puts the list in the row of those that are fetched. */
void verify_list_fetch_begin(struct verify_list *list);
/* Ends a fetch in any state. */
void verify_list_fetch_free(struct verify_list *list);
/* The next ones, as many as may be under way. */
void verify_list_fetch_next(struct verify_lists *lists);
/* A fetch has failed: says so, and tries again later. */
void verify_list_fetch_failed(struct verify_list *list, const char *why);
/* For what was read or fetched: wakes the slices. */
void verify_list_work_add(struct verify_list *list, enum list_state state);

#endif
