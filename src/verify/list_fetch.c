/*
 * verify/list_fetch.c - lists over HTTP.
 *
 * Two at a time, because an answer may be large. What the source said about the list that
 * is in force (ETag, Last-Modified) goes with the question; what it said about an answer
 * that was not believed is forgotten, so that it is sent and judged again. After a failure
 * the waits grow from a minute to the refresh interval, and each has jitter: ten thousand
 * domains that name one server do not ask it in one second.
 */
#include "list_work_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define FETCHES_MAX   2
#define FETCH_MS      PN_MINUTES(10)
#define IDLE_MS       PN_SECONDS(30)
#define RETRY_MS      PN_MINUTES(1)
#define DOUBLINGS_MAX 10

void verify_list_fetch_begin(struct verify_list *list)
{
    pn_assert(list->state == LIST_IDLE);
    list->state = LIST_FETCH_DUE;
    DL_APPEND(list->lists->fetches, list);
    verify_list_fetch_next(list->lists);
}

void verify_list_fetch_free(struct verify_list *list)
{
    struct verify_lists *lists = list->lists;

    if (list->state == LIST_FETCH_DUE) {
        DL_DELETE(lists->fetches, list);
    } else if (list->state == LIST_FETCHING) {
        lists->deps.http->ops->cancel(lists->deps.http, &list->fetch->request);
        lists->fetching--;
    } else if (list->state == LIST_FETCHED) {
        DL_DELETE(lists->work, list);
        pn_buf_fini(&list->fetch->request.answer);
        lists->fetching--;
    }
    free(list->fetch);
    list->fetch = NULL;
    list->state = LIST_IDLE;
}

void verify_list_fetch_failed(struct verify_list *list, const char *why)
{
    int64_t refresh_ms = list->domain->recipient_list_refresh_ms;
    int64_t wait_ms =
        RETRY_MS << (list->failures < DOUBLINGS_MAX ? list->failures : DOUBLINGS_MAX);

    list->failures++;
    verify_list_set_trouble(list, why);
    verify_list_schedule(list, wait_ms < refresh_ms ? wait_ms : refresh_ms);
}

/* The answer's end; the fetch is gone. */
static void list_unchanged(struct verify_list *list)
{
    list->failures = 0;
    list->loaded = list->lists->deps.loop->wall;
    verify_list_set_trouble(list, NULL);
    verify_list_schedule(list, list->domain->recipient_list_refresh_ms);
}

static void on_done(struct http_request *request, int status)
{
    struct list_fetch *fetch = PN_CONTAINER(request, struct list_fetch, request);
    struct verify_list *list = fetch->list;
    struct verify_lists *lists = list->lists;
    bool conditional = request->headers[0] != NULL;
    unsigned code = request->code;
    char why[PN_ERR_TEXT_MAX];

    if (status == 0 && code == 200) {
        verify_list_work_add(list, LIST_FETCHED);
        return;
    }
    if (status == 0) {
        (void)snprintf(why, sizeof why, "the server answers %u", code);
    } else {
        (void)snprintf(why, sizeof why, "%s", request->err.text);
    }
    pn_buf_fini(&request->answer);
    lists->fetching--;
    list->state = LIST_IDLE;
    verify_list_fetch_free(list);
    if (status == 0 && code == 304 && conditional && list->table) {
        list_unchanged(list);
    } else {
        verify_list_fetch_failed(list, why);
    }
    verify_list_fetch_next(lists);
}

static void list_fetch_start(struct verify_list *list)
{
    struct http *http = list->lists->deps.http;
    struct list_fetch *fetch = list->fetch = PN_NEW(struct list_fetch);
    size_t headers = 0;

    fetch->list = list;
    fetch->request.on_done = on_done;
    fetch->request.method = "GET";
    fetch->request.url = list->source;
    fetch->request.answer_max = VERIFY_LIST_MAX;
    fetch->request.timeout_ms = FETCH_MS;
    fetch->request.idle_ms = IDLE_MS;
    if (list->copy.etag[0] != '\0') {
        (void)snprintf(fetch->if_none_match, sizeof fetch->if_none_match, "If-None-Match: %s",
                       list->copy.etag);
        fetch->request.headers[headers++] = fetch->if_none_match;
    }
    if (list->copy.modified[0] != '\0') {
        (void)snprintf(fetch->if_modified_since, sizeof fetch->if_modified_since,
                       "If-Modified-Since: %s", list->copy.modified);
        fetch->request.headers[headers] = fetch->if_modified_since;
    }
    list->state = LIST_FETCHING;
    http->ops->start(http, &fetch->request);
}

void verify_list_fetch_next(struct verify_lists *lists)
{
    while (lists->fetches && lists->fetching < FETCHES_MAX) {
        struct verify_list *list = lists->fetches;

        DL_DELETE(lists->fetches, list);
        lists->fetching++;
        list_fetch_start(list);
    }
}
