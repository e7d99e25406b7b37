/* links: tls */
/* Recipient lists of domains: files that change, sources that fail, copies that help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "postern/verify/list.h"

#include "postern/base/mem.h"
#include "postern/tls/context.h"

#include <stdio.h>
#include <string.h>

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

struct world {
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

static struct world *world_of_files(struct files *files)
{
    return PN_CONTAINER(files, struct world, files);
}

static struct memory_file *find_file(struct world *world, const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (strcmp(world->file[i].path, path) == 0) {
            return &world->file[i];
        }
    }
    return NULL;
}

static void put_file(struct world *world, const char *path, struct pn_str content)
{
    struct memory_file *file = find_file(world, path);

    if (!file) {
        file = find_file(world, "");
        assert_non_null(file);
        (void)snprintf(file->path, sizeof file->path, "%s", path);
        pn_buf_init(&file->content, SIZE_MAX / 2);
        file->info.inode = (uint64_t)(file - world->file);
    }
    pn_buf_clear(&file->content);
    assert_int_equal(pn_buf_append(&file->content, content), 0);
    file->info.exists = true;
    file->info.mode = 0644;
    file->info.size_octets = content.len;
    file->info.mtime_ns = ++world->ticks;
}

static void drop_file(struct world *world, const char *path)
{
    struct memory_file *file = find_file(world, path);

    assert_non_null(file);
    pn_buf_fini(&file->content);
    *file = (struct memory_file){0};
}

static int file_read(struct files *files, const char *path, struct pn_buf *out,
                     struct pn_err *err)
{
    struct world *world = world_of_files(files);
    struct memory_file *file = find_file(world, path);
    int status;

    world->reads++;
    if (world->read_fails) {
        return pn_err_set(err, world->read_fails, "cannot read %s", path);
    }
    if (!file) {
        return pn_err_set(err, PN_ENOENT, "cannot read %s: no such file", path);
    }
    status = pn_buf_append(out, pn_buf_str(&file->content));
    if (world->changes_when_read == file) {
        file->info.mtime_ns = ++world->ticks;
        world->changes_when_read = NULL;
    }
    return status;
}

static int file_write(struct files *files, const char *path, struct pn_str content,
                      uint32_t mode, struct pn_err *err)
{
    struct world *world = world_of_files(files);

    assert_int_equal(mode, 0600);
    world->writes++;
    if (world->write_fails) {
        return pn_err_set(err, world->write_fails, "cannot write %s", path);
    }
    put_file(world, path, content);
    return 0;
}

static int file_info(struct files *files, const char *path, struct files_info *out,
                     struct pn_err *err)
{
    const struct memory_file *file = find_file(world_of_files(files), path);

    (void)err;
    *out = file ? file->info : (struct files_info){0};
    return 0;
}

static int file_make_directory(struct files *files, const char *path, uint32_t mode,
                               struct pn_err *err)
{
    (void)files;
    (void)err;
    assert_string_equal(path, "/spool/lists");
    assert_int_equal(mode, 0700);
    return 0;
}

static struct world *world_of_http(struct http *http)
{
    return PN_CONTAINER(http, struct world, http);
}

static void http_start(struct http *http, struct http_request *request)
{
    struct world *world = world_of_http(http);

    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!world->requests[i]) {
            world->requests[i] = request;
            request->pending = request;
            request->code = 0;
            request->etag[0] = '\0';
            request->last_modified[0] = '\0';
            pn_buf_init(&request->answer, request->answer_max);
            world->started++;
            return;
        }
    }
    fail_msg("too many requests");
}

static void take_request(struct world *world, struct http_request *request)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (world->requests[i] == request) {
            world->requests[i] = NULL;
            request->pending = NULL;
            return;
        }
    }
    fail_msg("no such request");
}

static void http_cancel(struct http *http, struct http_request *request)
{
    take_request(world_of_http(http), request);
    pn_buf_fini(&request->answer);
}

static bool no_post(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    (void)task;
    return false;
}

static void on_line(struct pn_log_sink *sink, enum pn_event event, struct pn_str line)
{
    struct world *world = PN_CONTAINER(sink, struct world, sink);
    size_t used = strlen(world->said);

    (void)event;
    (void)snprintf(world->said + used, sizeof world->said - used, "%.*s\n", PN_FMT(line));
}

static void open_lists(struct world *world)
{
    const struct verify_lists_deps deps = {.loop = &world->loop,
                                           .files = &world->files,
                                           .http = &world->http,
                                           .crypto = tls_crypto(),
                                           .path = "/spool/lists",
                                           .log = &world->log,
                                           .seed = 1};

    world->lists = verify_lists_new(&deps);
}

static int setup(void **state)
{
    static const struct files_ops file_ops = {.read = file_read,
                                              .write = file_write,
                                              .info = file_info,
                                              .make_directory = file_make_directory};
    static const struct http_ops http_ops = {.start = http_start, .cancel = http_cancel};
    static const struct loop_ops loop_ops = {.post = no_post};
    struct world *world = PN_NEW(struct world);

    world->files.ops = &file_ops;
    world->http.ops = &http_ops;
    loop_init(&world->loop, &loop_ops);
    world->loop.wall.ms = 1763760000000;
    world->sink.on_line = on_line;
    world->sink.least = PN_LOG_INFO;
    pn_log_init(&world->log, &world->sink);
    world->domains = domains_new();
    open_lists(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    verify_lists_free(&world->lists);
    assert_null(world->lists);
    verify_lists_free(&world->lists); /* NULL is fine */
    for (size_t i = 0; i < FILES_MAX; i++) {
        assert_null(world->requests[i]);
        pn_buf_fini(&world->file[i].content);
    }
    domains_unref(&world->domains);
    pn_timers_fini(&world->loop.timers); /* none is armed */
    free(world);
    return 0;
}

/* Lets time pass, timer by timer. */
static void pass(struct world *world, int64_t duration_ms)
{
    int64_t end_ms = world->loop.now.ms + duration_ms;

    for (;;) {
        int64_t next_ms = pn_timers_next(&world->loop.timers).ms;

        next_ms = next_ms < world->loop.now.ms ? world->loop.now.ms : next_ms;
        if (next_ms > end_ms) {
            break;
        }
        world->loop.wall.ms += next_ms - world->loop.now.ms;
        world->loop.now.ms = next_ms;
        pn_timers_run(&world->loop.timers, world->loop.now);
        loop_run_deferred(&world->loop);
    }
    world->loop.wall.ms += end_ms - world->loop.now.ms;
    world->loop.now.ms = end_ms;
}

/* options NULL: the domain goes away. */
static void define(struct world *world, const char *name, const char *options)
{
    struct conf_mistakes mistakes;
    struct domains_change change = {pn_str_z(name), NULL};
    struct domains *next;
    char text[512];

    if (options) {
        (void)snprintf(text, sizeof text, "target = mail.example %s", options);
        conf_mistakes_init(&mistakes);
        change.definition =
            conf_domain_parse("f", pn_str_z(name), pn_str_z(text), NULL, NULL, 0, &mistakes);
        assert_non_null(change.definition);
        conf_mistakes_fini(&mistakes);
    }
    next = domains_with(world->domains, &change, 1);
    conf_domain_unref(&change.definition);
    domains_unref(&world->domains);
    world->domains = next;
    verify_lists_configure(world->lists, next);
}

static void check_find(struct world *world, const char *local, enum verify_list_answer answer)
{
    const struct conf_domain *domain = domains_find(world->domains, PN_STR("example.org"));

    assert_non_null(domain);
    assert_int_equal(verify_lists_find(world->lists, domain, pn_str_z(local)), answer);
}

static void check_trouble(struct world *world, const char *trouble)
{
    struct verify_list_status status;

    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    if (!strstr(status.trouble, trouble) || (trouble[0] == '\0' && status.trouble[0] != '\0')) {
        fail_msg("trouble is: %s", status.trouble);
    }
}

/* The log since the last call has this many lines with that text. */
static void check_said(struct world *world, const char *text, unsigned count)
{
    unsigned found = 0;

    for (const char *at = world->said; (at = strstr(at, text)); at++) {
        found++;
    }
    if (found != count) {
        fail_msg("\"%s\" %u times in:\n%s", text, found, world->said);
    }
    world->said[0] = '\0';
}

static void test_file(void **state)
{
    struct world *world = *state;
    struct verify_list_status status;

    put_file(world, "/l/a", PN_STR("a\nb@example.org\nc@example.net\nx y\n"));
    define(world, "example.org", FILE_LIST);
    check_find(world, "a", VERIFY_LIST_NOT_LOADED); /* not inside the call */
    pass(world, 0);
    check_find(world, "a", VERIFY_LIST_YES);
    check_find(world, "b", VERIFY_LIST_YES);
    check_find(world, "c", VERIFY_LIST_NO);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_string_equal(status.source, "/l/a");
    assert_int_equal(status.addresses, 2);
    assert_int_equal(status.broken_lines, 1);
    assert_int_equal(status.foreign_lines, 1);
    assert_string_equal(status.broken, "4: x y");
    assert_int_equal(status.loaded.ms, world->loop.wall.ms);
    assert_string_equal(status.trouble, "");
    assert_false(verify_lists_status(world->lists, PN_STR("example.net"), &status));
    check_said(world,
               "list.loaded domain=example.org list=/l/a addresses=2 foreign=1 broken=1 "
               "first=\"4: x y\"",
               1);
}

static void test_no_list(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("a\n"));
    define(world, "example.org", "recipient_list = \"/l/a\"");
    pass(world, PN_MINUTES(1));
    check_find(world, "a", VERIFY_LIST_NOT_LOADED);
    assert_int_equal(world->reads, 0);
}

static void test_file_changes(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("a\n"));
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(3));
    assert_int_equal(world->reads, 1);
    put_file(world, "/l/a", PN_STR("b\n"));
    check_find(world, "b", VERIFY_LIST_NO);
    pass(world, PN_SECONDS(7));
    check_find(world, "a", VERIFY_LIST_NO);
    check_find(world, "b", VERIFY_LIST_YES);
    pass(world, PN_HOURS(1));
    assert_int_equal(world->reads, 2);
}

/* What is being written into is read when it has settled, and not for ever later. */
static void test_file_settles(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("a\n"));
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(3));
    for (unsigned i = 0; i < 40; i++) {
        put_file(world, "/l/a", PN_STR("a\nb"));
        pass(world, 500);
    }
    assert_int_equal(world->reads, 1);
    put_file(world, "/l/a", PN_STR("a\nbob\n"));
    pass(world, PN_SECONDS(3));
    check_find(world, "bob", VERIFY_LIST_YES);
    assert_int_equal(world->reads, 2);
    for (unsigned i = 0; i < 400; i++) {
        put_file(world, "/l/a", PN_STR("a\nb"));
        pass(world, 500);
    }
    check_find(world, "b", VERIFY_LIST_YES);
}

/* Changed between its info and its end: read again. */
static void test_file_changes_while_read(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("a\n"));
    world->changes_when_read = find_file(world, "/l/a");
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(7));
    assert_int_equal(world->reads, 2);
    pass(world, PN_MINUTES(1));
    assert_int_equal(world->reads, 2);
}

/* Moved away and back, it is the same file, and nothing is wrong any more. */
static void test_file_comes_back(void **state)
{
    struct world *world = *state;
    struct memory_file *file;

    put_file(world, "/l/a", PN_STR("a\n"));
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(7));
    file = find_file(world, "/l/a");
    file->path[1] = 'x';
    pass(world, PN_SECONDS(7));
    check_trouble(world, "the file does not exist");
    file->path[1] = 'l';
    pass(world, PN_SECONDS(7));
    check_trouble(world, "");
}

static const struct {
    const char *content; /* NULL: removed */
    const char *trouble;
} bad[] = {
    {NULL, "the file does not exist"},
    {"", "it has no recipient of this domain (0 of others)"},
    {"# nobody\nc@example.net\n", "it has no recipient of this domain (1 of others)"},
    {"b\n<html>\n<body>\n", "it has more broken lines (2) than good ones (1): 2: <html>"},
};

static void test_last_good_file_stays(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        put_file(world, "/l/a", PN_STR("a\n"));
        define(world, "example.org", FILE_LIST);
        pass(world, PN_SECONDS(10));
        check_trouble(world, "");
        world->said[0] = '\0';
        if (bad[i].content) {
            put_file(world, "/l/a", pn_str_z(bad[i].content));
        } else {
            drop_file(world, "/l/a");
        }
        pass(world, PN_MINUTES(10));
        check_find(world, "a", VERIFY_LIST_YES);
        check_find(world, "b", VERIFY_LIST_NO);
        check_trouble(world, bad[i].trouble);
        check_said(world, "list.failed", 1); /* however often it is looked at */
    }
    put_file(world, "/l/a", PN_STR("a\nb\n"));
    pass(world, PN_SECONDS(7));
    check_trouble(world, "");
    check_find(world, "b", VERIFY_LIST_YES);
}

/* Nobody is refused because of a list that was never there. */
static void test_first_file_is_bad(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < PN_COUNT(bad); i++) {
        if (bad[i].content) {
            put_file(world, "/l/a", pn_str_z(bad[i].content));
        }
        define(world, "example.org", FILE_LIST);
        pass(world, PN_SECONDS(10));
        check_find(world, "a", VERIFY_LIST_NOT_LOADED);
        check_trouble(world, bad[i].trouble);
        check_said(world, "in_force=none", 1);
        define(world, "example.org", NULL);
    }
}

static void test_unreadable_file(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("a\n"));
    world->read_fails = PN_EACCES;
    define(world, "example.org", FILE_LIST);
    pass(world, PN_MINUTES(1));
    check_trouble(world, "cannot read /l/a");
    check_said(world, "list.failed", 1);
    world->read_fails = 0;
    pass(world, PN_SECONDS(7));
    check_find(world, "a", VERIFY_LIST_YES);
    world->read_fails = PN_ENOSPACE;
    put_file(world, "/l/a", PN_STR("b\n"));
    pass(world, PN_SECONDS(7));
    check_trouble(world, "the file is longer than 256 MiB");
    check_find(world, "a", VERIFY_LIST_YES);
}

static void test_wild_card(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("@\n"));
    define(world, "example.org", FILE_LIST);
    pass(world, 0);
    check_find(world, "anybody", VERIFY_LIST_YES);
    check_said(world, "wild_card=yes", 1);
}

/* What lines mean depends on the domain; another definition without that reads nothing. */
static void test_redefined(void **state)
{
    struct world *world = *state;

    put_file(world, "/l/a", PN_STR("A+x\nb@alias.example\n"));
    put_file(world, "/l/b", PN_STR("c\n"));
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(1));
    check_find(world, "a+x", VERIFY_LIST_YES);
    check_find(world, "b", VERIFY_LIST_NO);
    define(world, "example.org", FILE_LIST "hold = 3d");
    pass(world, PN_SECONDS(1));
    assert_int_equal(world->reads, 1);
    define(world, "example.org", FILE_LIST "recipient_delimiter = \"+\"");
    pass(world, PN_SECONDS(1));
    check_find(world, "a", VERIFY_LIST_YES);
    define(world, "example.org", FILE_LIST "case_sensitive = yes aliases = alias.example");
    pass(world, PN_SECONDS(1));
    check_find(world, "a+x", VERIFY_LIST_NO);
    check_find(world, "A+x", VERIFY_LIST_YES);
    check_find(world, "b", VERIFY_LIST_YES);
    define(world, "example.org", "recipients = list recipient_list = \"/l/b\"");
    check_find(world, "b", VERIFY_LIST_YES); /* until the other is read */
    pass(world, PN_SECONDS(1));
    check_find(world, "b", VERIFY_LIST_NO);
    check_find(world, "c", VERIFY_LIST_YES);
    define(world, "example.org", "");
    check_find(world, "c", VERIFY_LIST_NOT_LOADED);
}

static unsigned under_way(const struct world *world)
{
    unsigned count = 0;

    for (size_t i = 0; i < FILES_MAX; i++) {
        count += world->requests[i] != NULL;
    }
    return count;
}

/* The request under way is answered. */
static void answer(struct world *world, unsigned code, const char *body, const char *etag)
{
    struct http_request *request = NULL;

    for (size_t i = 0; i < FILES_MAX && !request; i++) {
        request = world->requests[i];
    }
    assert_non_null(request);
    take_request(world, request);
    request->code = code;
    assert_int_equal(pn_buf_append_z(&request->answer, body), 0);
    (void)snprintf(request->etag, sizeof request->etag, "%s", etag);
    (void)snprintf(request->last_modified, sizeof request->last_modified, "%s",
                   etag[0] != '\0' ? "yesterday" : "");
    request->on_done(request, 0);
    pass(world, 0);
}

static void fail_request(struct world *world, const char *why)
{
    struct http_request *request = world->requests[0];

    assert_non_null(request);
    take_request(world, request);
    pn_buf_fini(&request->answer);
    request->on_done(request, pn_err_set(&request->err, PN_ETIMEOUT, "%s", why));
    pass(world, 0);
}

static void test_fetched(void **state)
{
    struct world *world = *state;
    struct verify_list_status status;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    assert_int_equal(under_way(world), 1);
    assert_string_equal(world->requests[0]->url, URL);
    assert_null(world->requests[0]->headers[0]);
    assert_int_equal(world->requests[0]->answer_max, VERIFY_LIST_MAX);
    assert_int_equal(world->requests[0]->idle_ms, PN_SECONDS(30));
    assert_int_equal(world->requests[0]->timeout_ms, PN_MINUTES(10));
    answer(world, 200, "a\n", "\"v1\"");
    check_find(world, "a", VERIFY_LIST_YES);
    assert_int_equal(world->writes, 1);
    check_said(world, "list.loaded", 1);

    /* Within the jitter of 15 minutes it is asked again, for what is new only. */
    pass(world, PN_MINUTES(13));
    assert_int_equal(under_way(world), 0);
    pass(world, PN_MINUTES(4));
    assert_int_equal(under_way(world), 1);
    assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
    assert_string_equal(world->requests[0]->headers[1], "If-Modified-Since: yesterday");
    answer(world, 304, "", "\"v1\"");
    check_find(world, "a", VERIFY_LIST_YES);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_int_equal(status.loaded.ms, world->loop.wall.ms);
    check_said(world, "list.", 0);

    pass(world, PN_MINUTES(17));
    answer(world, 200, "b\n", "");
    check_find(world, "a", VERIFY_LIST_NO);
    check_find(world, "b", VERIFY_LIST_YES);
    assert_int_equal(world->writes, 2);

    /* The same list again, from a server without tags, is not written again. */
    pass(world, PN_MINUTES(17));
    assert_null(world->requests[0]->headers[0]);
    answer(world, 200, "# new comment\nb\n", "");
    assert_int_equal(world->writes, 2);
    check_said(world, "list.loaded", 1);
}

static const struct {
    unsigned code; /* 0: the request fails */
    const char *body;
    const char *trouble;
} refused[] = {
    {0, "", "nothing came from " URL},
    {404, "a\nb\n", "the server answers 404"},
    {500, "", "the server answers 500"},
    {206, "a\nb\n", "the server answers 206"},
    {200, "", "it has no recipient of this domain"},
    {200, "<html>\n<b>\nb\n", "it has more broken lines (2) than good ones (1)"},
};

static void test_source_fails(void **state)
{
    struct world *world = *state;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 200, "a\n", "\"v1\"");
    for (size_t i = 0; i < PN_COUNT(refused); i++) {
        pass(world, PN_MINUTES(17));
        if (refused[i].code > 0) {
            answer(world, refused[i].code, refused[i].body, "\"bad\"");
        } else {
            fail_request(world, refused[i].trouble);
        }
        check_trouble(world, refused[i].trouble);
        check_find(world, "a", VERIFY_LIST_YES);
        check_find(world, "b", VERIFY_LIST_NO);
        /* Soon again, and then more and more slowly; what it is asked about is the good one. */
        pass(world, PN_SECONDS(70));
        assert_int_equal(under_way(world), 1);
        assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
        answer(world, 503, "", "");
        pass(world, PN_SECONDS(100));
        assert_int_equal(under_way(world), 0);
        pass(world, PN_SECONDS(40));
        answer(world, 304, "", "");
        check_trouble(world, "");
    }
    assert_int_equal(world->writes, 1);
}

/* "Not modified" says nothing about a list that we do not have. */
static void test_304_for_nothing(void **state)
{
    struct world *world = *state;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 304, "", "\"v1\"");
    check_trouble(world, "the server answers 304");
    check_find(world, "a", VERIFY_LIST_NOT_LOADED);
}

static void start_again(struct world *world)
{
    verify_lists_free(&world->lists);
    world->said[0] = '\0';
    open_lists(world);
    verify_lists_configure(world->lists, world->domains);
    pass(world, 0);
}

static void test_copy_is_used_at_start(void **state)
{
    struct world *world = *state;
    struct verify_list_status status;
    int64_t fetched_ms = world->loop.wall.ms;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 200, "a\nb", "\"v1\"");
    pass(world, PN_MINUTES(5));
    start_again(world);
    check_find(world, "a", VERIFY_LIST_YES);
    check_find(world, "b", VERIFY_LIST_YES);
    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    assert_int_equal(status.loaded.ms, fetched_ms);
    assert_int_equal(under_way(world), 0); /* it is fresh enough */
    pass(world, PN_MINUTES(12));
    assert_string_equal(world->requests[0]->headers[0], "If-None-Match: \"v1\"");
    fail_request(world, "no route");
    check_find(world, "a", VERIFY_LIST_YES);

    /* A week later the source is still away. */
    pass(world, PN_SECONDS(1));
    verify_lists_free(&world->lists);
    pass(world, PN_DAYS(7));
    start_again(world);
    check_find(world, "a", VERIFY_LIST_YES);
    assert_int_equal(under_way(world), 1);
    answer(world, 304, "", "");
    check_find(world, "b", VERIFY_LIST_YES);

    /* What is on disk already is not written again. */
    pass(world, PN_MINUTES(17));
    answer(world, 200, "b\na\n", "");
    assert_int_equal(world->writes, 1);
}

static void test_broken_copy(void **state)
{
    struct world *world = *state;
    const char *path = NULL;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 200, "a\n", "\"v1\"");
    path = world->file[0].path;
    put_file(world, path, PN_STR("a\nb\n"));
    start_again(world);
    check_find(world, "b", VERIFY_LIST_NOT_LOADED);
    check_trouble(world, "is not a copy of this list");
    assert_null(world->requests[0]->headers[0]);
    answer(world, 200, "a\n", "\"v1\"");
    check_find(world, "a", VERIFY_LIST_YES);
    check_trouble(world, "");
}

static void test_copy_cannot_be_kept(void **state)
{
    struct world *world = *state;

    world->write_fails = PN_ENOSPACE;
    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 200, "a\n", "");
    check_find(world, "a", VERIFY_LIST_YES);
    check_trouble(world, "");
    check_said(world, "list.failed", 1);
    world->write_fails = 0;
    pass(world, PN_MINUTES(17));
    answer(world, 200, "a\n", "");
    assert_int_equal(world->writes, 2);
    assert_non_null(find_file(world, world->file[0].path));
}

/* The meaning of lines changes: the text is there, and nothing is fetched. */
static void test_redefined_with_a_copy(void **state)
{
    struct world *world = *state;

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    answer(world, 200, "A\n", "\"v1\"");
    define(world, "example.org", URL_LIST "case_sensitive = yes");
    pass(world, 0);
    check_find(world, "A", VERIFY_LIST_YES);
    check_find(world, "a", VERIFY_LIST_NO);
    assert_int_equal(under_way(world), 0);
    /* A shorter interval counts from now. */
    define(world, "example.org", URL_LIST "case_sensitive = yes recipient_list_refresh = 2m");
    pass(world, PN_MINUTES(3));
    assert_int_equal(under_way(world), 1);
    /* And a change while it is fetched is not lost. */
    define(world, "example.org", URL_LIST);
    pass(world, 0);
    check_find(world, "a", VERIFY_LIST_YES);
    /* Without its text the list is fetched, whatever its source said about it. */
    drop_file(world, world->file[0].path);
    define(world, "example.org", URL_LIST "recipient_delimiter = \"+\"");
    pass(world, 0);
    assert_null(world->requests[0]->headers[0]);
}

/* Two at a time; those that go away make room for others. */
static void test_fetches_are_few(void **state)
{
    struct world *world = *state;
    char name[32];
    char options[128];

    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof name, "d%u.example", i);
        (void)snprintf(options, sizeof options,
                       "recipients = list recipient_list = \"" URL "%u\"", i);
        define(world, name, options);
    }
    pass(world, 0);
    assert_int_equal(under_way(world), 2);
    assert_int_equal(world->started, 2);
    define(world, "d0.example", NULL);
    assert_int_equal(under_way(world), 2);
    assert_int_equal(world->started, 3);
    define(world, "d1.example", NULL);
    answer(world, 200, "a\n", "");
    answer(world, 404, "", "");
    assert_int_equal(world->started, 6);
}

/* Lists go away in every state: due, being fetched, fetched, half loaded. */
static void test_removed_in_every_state(void **state)
{
    struct world *world = *state;
    struct http_request *request;
    struct pn_buf text;

    pn_buf_init(&text, (size_t)1024 * 1024);
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(pn_buf_printf(&text, "user%u\n", i), 0);
    }
    put_file(world, "/l/a", pn_buf_str(&text));
    define(world, "example.org", FILE_LIST);
    define(world, "example.org", NULL);
    define(world, "example.org", FILE_LIST);
    pn_timers_run(&world->loop.timers, world->loop.now); /* the first slice */
    check_find(world, "user1", VERIFY_LIST_NOT_LOADED);
    define(world, "example.org", FILE_LIST "hold = 3d"); /* the load goes on */
    pass(world, 0);
    check_find(world, "user19999", VERIFY_LIST_YES);
    assert_int_equal(world->reads, 1);
    put_file(world, "/l/a", PN_STR("x\n"));
    define(world, "example.org", NULL);
    put_file(world, "/l/a", pn_buf_str(&text));
    define(world, "example.org", FILE_LIST);
    pn_timers_run(&world->loop.timers, world->loop.now);
    define(world, "example.org", NULL);

    define(world, "example.org", URL_LIST);
    pass(world, 0);
    request = world->requests[0];
    take_request(world, request);
    request->code = 200;
    assert_int_equal(pn_buf_append(&request->answer, pn_buf_str(&text)), 0);
    request->on_done(request, 0);
    define(world, "example.org", NULL);
    pass(world, PN_HOURS(1));
    define(world, "example.org", URL_LIST);
    pass(world, 0);
    pn_buf_fini(&text);
}

/* More files than are looked at in one turn. */
static void test_many_files(void **state)
{
    struct world *world = *state;
    enum { MANY = 1200 };
    char name[32];

    put_file(world, "/l/a", PN_STR("a\n"));
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "d%u.example", i);
        define(world, name, FILE_LIST);
    }
    define(world, "example.org", FILE_LIST);
    pass(world, PN_SECONDS(5));
    assert_int_equal(world->reads, MANY + 1);
    put_file(world, "/l/a", PN_STR("b\n"));
    pass(world, PN_SECONDS(8));
    assert_int_equal(world->reads, 2 * (MANY + 1));
    check_find(world, "b", VERIFY_LIST_YES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_settles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_changes_while_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_good_file_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_file_is_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wild_card, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redefined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_source_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_304_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_is_used_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_cannot_be_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redefined_with_a_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetches_are_few, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_in_every_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_files, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
