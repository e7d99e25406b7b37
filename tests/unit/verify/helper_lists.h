/*
 * helper_lists.h - recipient lists with files in memory, scripted HTTP, and a clock that
 * the test puts forward.
 */
#ifndef HELPER_LISTS_H
#define HELPER_LISTS_H

#include "postern/verify/list.h"

#define FILES_MAX 8
#define URL       "https://lists.example.net/a"
#define FILE_LIST "recipients = list recipient_list = \"/l/a\" "
#define URL_LIST  "recipients = list recipient_list = \"" URL "\" "

/* A file in memory. */
struct memory_file {
    char path[256];
    struct pn_buf content;
    struct files_info info;
};

struct lists_world {
    struct files files;
    struct http http;
    struct loop loop;
    struct pn_log_sink sink;
    struct pn_log log;
    struct memory_file file[FILES_MAX];
    int64_t ticks; /* the mtime of the next change */
    int read_fails;
    int write_fails;
    struct memory_file *changes_when_read;
    unsigned reads;
    unsigned writes;
    struct http_request *requests[FILES_MAX];
    unsigned started;
    char said[4096]; /* the log since it was looked at */
    struct domains *domains;
    struct verify_lists *lists;
};

int lists_setup(void **state);
int lists_teardown(void **state);
struct memory_file *lists_find_file(struct lists_world *world, const char *path);
/* Creates or changes a file. */
void lists_put_file(struct lists_world *world, const char *path, struct pn_str content);
void lists_drop_file(struct lists_world *world, const char *path);
void lists_open_lists(struct lists_world *world);
/* Lets time pass, timer by timer. */
void lists_pass(struct lists_world *world, int64_t duration_ms);
/* options NULL: the domain goes away. */
void lists_define(struct lists_world *world, const char *name, const char *options);
/* What example.org's list says. */
void lists_check_find(struct lists_world *world, const char *local,
                      enum verify_list_answer answer);
void lists_check_trouble(struct lists_world *world, const char *trouble);
/* The log since the last call has this many times that text. */
void lists_check_said(struct lists_world *world, const char *text, unsigned count);
/* Requests that have no answer yet. */
unsigned lists_under_way(const struct lists_world *world);
void lists_take_request(struct lists_world *world, struct http_request *request);
/* The first request under way is answered, or fails. */
void lists_answer(struct lists_world *world, unsigned code, const char *body, const char *etag);
void lists_fail_request(struct lists_world *world, const char *why);
/* The lists are made anew, as after a restart. */
void lists_start_again(struct lists_world *world);

#endif
