/*
 * verify/list_work.c - a list is read, loaded in slices, judged, and put in force.
 *
 * One list is loaded at a time; the others wait in a row. A slice does as much work as its
 * budget allows, whatever lists it is from, so that ten thousand small ones are as gentle
 * to the loop as one large one. Reading is not sliced: from the page cache even thirty
 * megabytes take about ten milliseconds, and the port knows whole files only. Neither is
 * writing a copy, which waits for the disk; it happens when a fetched list has really
 * changed.
 *
 * A file that changes is read once it looks the same twice a second apart: who writes into
 * it in place is not read half way. What is remembered of it is how it looked before it was
 * read, so a change meanwhile is seen at the next look.
 */
#include "list_work_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>

#define SLICE_BUDGET    3000 /* about as many microseconds */
#define READ_COST       200
#define SETTLE_MS       PN_SECONDS(1)
#define LOOKS_MAX       60 /* at a file that always changes; then it is read as it is */
#define PATH_MAX_OCTETS 4096
#define COPY_LINE_MAX   ((size_t)8192)

void verify_list_set_trouble(struct verify_list *list, const char *trouble)
{
    struct pn_log_line line;

    if (trouble && (!list->trouble || strcmp(list->trouble, trouble) != 0)) {
        pn_log_begin(&line, list->lists->deps.log, PN_EV_LIST_FAILED);
        pn_log_z(&line, "domain", list->name);
        pn_log_z(&line, "list", list->source);
        pn_log_z(&line, "what", trouble);
        pn_log_z(&line, "in_force", list->table ? "the last good one" : "none");
        pn_log_end(&line);
    }
    if (trouble != list->trouble) {
        free(list->trouble);
        list->trouble = pn_strdup(trouble);
    }
}

static void say_loaded(const struct verify_list *list)
{
    struct pn_log_line line;

    pn_log_begin(&line, list->lists->deps.log, PN_EV_LIST_LOADED);
    pn_log_z(&line, "domain", list->name);
    pn_log_z(&line, "list", list->source);
    pn_log_u64(&line, "addresses", verify_table_count(list->table));
    if (list->facts.all) {
        pn_log_z(&line, "wild_card", "yes");
    }
    if (list->facts.foreign_lines > 0) {
        pn_log_u64(&line, "foreign", list->facts.foreign_lines);
    }
    if (list->facts.broken_lines > 0) {
        pn_log_u64(&line, "broken", list->facts.broken_lines);
        pn_log_z(&line, "first", list->facts.broken);
    }
    pn_log_end(&line);
}

void verify_list_work_add(struct verify_list *list, enum list_state state)
{
    struct verify_lists *lists = list->lists;

    list->state = state;
    DL_APPEND(lists->work, list);
    if (!pn_heap_has(&lists->slice.node)) {
        loop_timer_after(lists->deps.loop, &lists->slice, 0);
    }
}

void verify_list_begin(struct verify_list *list)
{
    pn_assert(list->state == LIST_IDLE);
    loop_timer_stop(list->lists->deps.loop, &list->timer);
    verify_list_work_add(list, LIST_READ_DUE);
}

void verify_list_stop(struct verify_list *list)
{
    struct verify_lists *lists = list->lists;

    loop_timer_stop(lists->deps.loop, &list->timer);
    switch (list->state) {
    case LIST_IDLE:
        break;
    case LIST_READ_DUE:
        DL_DELETE(lists->work, list);
        break;
    case LIST_FETCH_DUE:
    case LIST_FETCHING:
    case LIST_FETCHED:
        verify_list_fetch_free(list);
        break;
    case LIST_LOADING:
        verify_load_fini(&lists->load);
        lists->loading = NULL;
        break;
    }
    list->state = LIST_IDLE;
}

void verify_list_schedule(struct verify_list *list, int64_t wait_ms)
{
    loop_timer_after(list->lists->deps.loop, &list->timer,
                     pn_rand_jitter(&list->lists->rand, wait_ms, 100));
}

static bool same_file(const struct files_info *a, const struct files_info *b)
{
    return a->exists == b->exists && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
           a->size_octets == b->size_octets && a->mode == b->mode;
}

/* False, and it is said: there is no file, or it cannot be looked at. */
static bool list_find_file(struct verify_list *list, struct files_info *out)
{
    struct files *files = list->lists->deps.files;
    struct pn_err err;

    if (files->ops->info(files, list->source, out, &err) != 0) {
        verify_list_set_trouble(list, err.text);
    } else if (!out->exists) {
        verify_list_set_trouble(list, "the file does not exist");
    } else if (out->directory) {
        verify_list_set_trouble(list, "this is a directory");
    } else {
        return true;
    }
    list->known = false;
    return false;
}

void verify_list_look(struct verify_list *list)
{
    if (pn_heap_has(&list->timer.node) || !list_find_file(list, &list->fresh) ||
        (list->known && same_file(&list->seen, &list->fresh))) {
        return;
    }
    list->looks = 0;
    loop_timer_after(list->lists->deps.loop, &list->timer, SETTLE_MS);
}

static void list_settle(struct verify_list *list)
{
    struct files_info before = list->fresh;

    if (!list_find_file(list, &list->fresh)) {
        return;
    }
    if (same_file(&before, &list->fresh) || ++list->looks == LOOKS_MAX) {
        verify_list_begin(list);
    } else {
        loop_timer_after(list->lists->deps.loop, &list->timer, SETTLE_MS);
    }
}

void verify_list_on_timer(struct pn_timer *timer)
{
    struct verify_list *list = PN_CONTAINER(timer, struct verify_list, timer);

    pn_assert(list->state == LIST_IDLE);
    if (list->remote) {
        verify_list_fetch_begin(list);
    } else {
        list_settle(list);
    }
}

static void list_load(struct verify_list *list, struct pn_buf *text, enum list_origin origin)
{
    struct verify_lists *lists = list->lists;

    list->state = LIST_LOADING;
    lists->loading = list;
    lists->origin = origin;
    verify_load_init(&lists->load, list->domain, lists->deps.crypto, text);
}

static void open_file(struct verify_list *list)
{
    struct files *files = list->lists->deps.files;
    struct pn_buf text;
    struct pn_err err;
    int status;

    list->state = LIST_IDLE;
    if (!list_find_file(list, &list->seen)) {
        return;
    }
    list->known = true;
    pn_buf_init(&text, VERIFY_LIST_MAX);
    status = files->ops->read(files, list->source, &text, &err);
    if (status == PN_ENOSPACE) {
        verify_list_set_trouble(list, "the file is longer than 256 MiB");
    } else if (status != 0) {
        list->known = false;
        verify_list_set_trouble(list, err.text);
    } else {
        list_load(list, &text, LIST_FROM_FILE);
    }
    pn_buf_fini(&text);
}

/* Reads the copy into text and lists.copy. A copy that is not there is not worth a word. */
static bool read_copy(struct verify_list *list, const char *path, struct pn_buf *text)
{
    struct verify_lists *lists = list->lists;
    struct files *files = lists->deps.files;
    struct pn_err err;
    int status = files->ops->read(files, path, text, &err);

    if (status == 0 && verify_copy_read(pn_buf_str(text), list->source, &lists->copy)) {
        return true;
    }
    if (status == 0) {
        (void)pn_err_set(&err, PN_ECORRUPT, "%s is not a copy of this list", path);
    }
    if (status != PN_ENOENT) {
        verify_list_set_trouble(list, err.text);
    }
    return false;
}

static void open_copy(struct verify_list *list)
{
    struct pn_buf path;
    struct pn_buf text;

    list->state = LIST_IDLE;
    pn_buf_init(&path, PATH_MAX_OCTETS);
    pn_buf_init(&text, VERIFY_LIST_MAX + COPY_LINE_MAX);
    verify_copy_path(list->lists->deps.crypto, list->lists->deps.path, list->source, &path);
    if (read_copy(list, pn_buf_str(&path).ptr, &text)) {
        list_load(list, &text, LIST_FROM_COPY);
    } else {
        verify_list_fetch_begin(list);
    }
    pn_buf_fini(&text);
    pn_buf_fini(&path);
}

static void open_answer(struct verify_list *list)
{
    struct http_request *request = &list->fetch->request;
    struct verify_copy *copy = &list->lists->copy;
    struct pn_buf text = request->answer;

    pn_buf_init(&request->answer, 0);
    copy->fetched = list->lists->deps.loop->wall;
    memcpy(copy->etag, request->etag, sizeof copy->etag);
    memcpy(copy->modified, request->last_modified, sizeof copy->modified);
    list->state = LIST_FETCHED;
    verify_list_fetch_free(list);
    list_load(list, &text, LIST_FROM_FETCH);
    verify_list_fetch_next(list->lists);
}

static void open_next(struct verify_lists *lists)
{
    struct verify_list *list = lists->work;

    if (list->state == LIST_FETCHED) {
        open_answer(list);
        return;
    }
    DL_DELETE(lists->work, list);
    if (list->remote) {
        open_copy(list);
    } else {
        open_file(list);
    }
}

static void write_copy(struct verify_list *list, struct pn_buf *text)
{
    struct verify_lists *lists = list->lists;
    struct files *files = lists->deps.files;
    struct pn_buf path;
    struct pn_err err;

    verify_copy_write(&lists->copy, list->source, text);
    pn_buf_init(&path, PATH_MAX_OCTETS);
    verify_copy_path(lists->deps.crypto, lists->deps.path, list->source, &path);
    list->copied =
        files->ops->make_directory(files, lists->deps.path, 0700, &err) == 0 &&
        files->ops->write(files, pn_buf_str(&path).ptr, pn_buf_str(text), 0600, &err) == 0;
    pn_buf_fini(&path);
    if (!list->copied) {
        pn_log_say(lists->deps.log, PN_EV_LIST_FAILED,
                   "%s: the list is in force, but no copy of it can be kept for a time when "
                   "its source is away: %s",
                   list->name, err.text);
    }
}

static bool same_list(const struct verify_list *list, const struct verify_load *load)
{
    return list->table && list->facts.all == load->facts.all &&
           verify_table_eq(list->table, load->table);
}

static void put_in_force(struct verify_list *list)
{
    struct verify_lists *lists = list->lists;
    struct verify_table *old = list->table;

    pn_assert(pthread_mutex_lock(&lists->lock) == 0);
    list->table = lists->load.table;
    list->facts = lists->load.facts;
    pn_assert(pthread_mutex_unlock(&lists->lock) == 0);
    lists->load.table = NULL;
    verify_table_free(&old);
}

static void accept_list(struct verify_list *list)
{
    struct verify_lists *lists = list->lists;
    bool same = same_list(list, &lists->load);
    bool worth_a_word = !same || list->trouble;
    struct pn_wall now = lists->deps.loop->wall;

    if (lists->origin == LIST_FROM_FETCH && !(same && list->copied)) {
        write_copy(list, &lists->load.text);
    }
    list->copied |= lists->origin == LIST_FROM_COPY;
    list->copy = lists->copy;
    list->loaded = lists->origin == LIST_FROM_COPY ? lists->copy.fetched : now;
    put_in_force(list);
    if (worth_a_word) {
        say_loaded(list);
    }
    verify_list_set_trouble(list, NULL);
}

/* When a list from its copy is fetched again; one from the future at once. */
static int64_t copy_wait(const struct verify_list *list)
{
    int64_t age_ms = list->lists->deps.loop->wall.ms - list->copy.fetched.ms;
    int64_t refresh_ms = list->domain->recipient_list_refresh_ms;

    return age_ms < 0 || age_ms > refresh_ms ? 0 : refresh_ms - age_ms;
}

static void finish(struct verify_lists *lists)
{
    struct verify_list *list = lists->loading;
    enum list_origin origin = lists->origin;
    char why[PN_ERR_TEXT_MAX];
    bool good = verify_load_judge(&lists->load, why, sizeof why);

    if (good) {
        accept_list(list);
    } else if (origin != LIST_FROM_FETCH) {
        verify_list_set_trouble(list, why);
    }
    verify_list_stop(list);
    if (origin == LIST_FROM_COPY) {
        verify_list_schedule(list, good ? copy_wait(list) : 0);
    } else if (origin == LIST_FROM_FETCH && good) {
        list->failures = 0;
        verify_list_schedule(list, list->domain->recipient_list_refresh_ms);
    } else if (origin == LIST_FROM_FETCH) {
        verify_list_fetch_failed(list, why);
    }
}

void verify_list_on_slice(struct pn_timer *timer)
{
    struct verify_lists *lists = PN_CONTAINER(timer, struct verify_lists, slice);
    int64_t budget = SLICE_BUDGET;

    while (budget > 0 && (lists->loading || lists->work)) {
        if (!lists->loading) {
            open_next(lists);
            budget -= READ_COST;
        } else if (verify_load_step(&lists->load, &budget)) {
            finish(lists);
        }
    }
    if (lists->loading || lists->work) {
        loop_timer_after(lists->deps.loop, &lists->slice, 0);
    }
}
