#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_lists.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

static struct lists_world *world_of_files(struct files *files)
{
    return PN_CONTAINER(files, struct lists_world, files);
}

struct memory_file *lists_find_file(struct lists_world *world, const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (strcmp(world->file[i].path, path) == 0) {
            return &world->file[i];
        }
    }
    return NULL;
}

void lists_put_file(struct lists_world *world, const char *path, struct pn_str content)
{
    struct memory_file *file = lists_find_file(world, path);

    if (!file) {
        file = lists_find_file(world, "");
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

void lists_drop_file(struct lists_world *world, const char *path)
{
    struct memory_file *file = lists_find_file(world, path);

    assert_non_null(file);
    pn_buf_fini(&file->content);
    *file = (struct memory_file){0};
}

static int file_read(struct files *files, const char *path, struct pn_buf *out,
                     struct pn_err *err)
{
    struct lists_world *world = world_of_files(files);
    struct memory_file *file = lists_find_file(world, path);
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
    struct lists_world *world = world_of_files(files);

    assert_int_equal(mode, 0600);
    world->writes++;
    if (world->write_fails) {
        return pn_err_set(err, world->write_fails, "cannot write %s", path);
    }
    lists_put_file(world, path, content);
    return 0;
}

static int file_info(struct files *files, const char *path, struct files_info *out,
                     struct pn_err *err)
{
    const struct memory_file *file = lists_find_file(world_of_files(files), path);

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

static struct lists_world *world_of_http(struct http *http)
{
    return PN_CONTAINER(http, struct lists_world, http);
}

static void http_start(struct http *http, struct http_request *request)
{
    struct lists_world *world = world_of_http(http);

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

void lists_take_request(struct lists_world *world, struct http_request *request)
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
    lists_take_request(world_of_http(http), request);
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
    struct lists_world *world = PN_CONTAINER(sink, struct lists_world, sink);
    size_t used = strlen(world->said);

    (void)event;
    (void)snprintf(world->said + used, sizeof world->said - used, "%.*s\n", PN_FMT(line));
}

/* FNV-1a, mixed, once for each octet of the result: SHA-256 would have to be linked. */
static void hash(const struct pn_str *parts, size_t count, uint8_t out[CRYPTO_HASH_OCTETS])
{
    for (size_t lane = 0; lane < CRYPTO_HASH_OCTETS; lane++) {
        uint64_t sum = 0xcbf29ce484222325 + lane;

        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < parts[i].len; j++) {
                sum = (sum ^ (unsigned char)parts[i].ptr[j]) * 0x100000001b3;
            }
        }
        sum = (sum ^ (sum >> 30)) * 0xbf58476d1ce4e5b9;
        out[lane] = (uint8_t)(sum >> 56);
    }
}

void lists_open_lists(struct lists_world *world)
{
    static const struct crypto_ops crypto_ops = {.hash = hash};
    static struct crypto crypto = {.ops = &crypto_ops};
    const struct verify_lists_deps deps = {.loop = &world->loop,
                                           .files = &world->files,
                                           .http = &world->http,
                                           .crypto = &crypto,
                                           .path = "/spool/lists",
                                           .log = &world->log,
                                           .seed = 1};

    world->lists = verify_lists_new(&deps);
}

int lists_setup(void **state)
{
    static const struct files_ops file_ops = {.read = file_read,
                                              .write = file_write,
                                              .info = file_info,
                                              .make_directory = file_make_directory};
    static const struct http_ops http_ops = {.start = http_start, .cancel = http_cancel};
    static const struct loop_ops loop_ops = {.post = no_post};
    struct lists_world *world = PN_NEW(struct lists_world);

    world->files.ops = &file_ops;
    world->http.ops = &http_ops;
    loop_init(&world->loop, &loop_ops);
    world->loop.wall.ms = 1763760000000;
    world->sink.on_line = on_line;
    world->sink.least = PN_LOG_INFO;
    pn_log_init(&world->log, &world->sink);
    world->domains = domains_new();
    lists_open_lists(world);
    *state = world;
    return 0;
}

int lists_teardown(void **state)
{
    struct lists_world *world = *state;

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

void lists_pass(struct lists_world *world, int64_t duration_ms)
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

void lists_define(struct lists_world *world, const char *name, const char *options)
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

void lists_check_find(struct lists_world *world, const char *local,
                      enum verify_list_answer answer)
{
    const struct conf_domain *domain = domains_find(world->domains, PN_STR("example.org"));

    assert_non_null(domain);
    assert_int_equal(verify_lists_find(world->lists, domain, pn_str_z(local)), answer);
}

void lists_check_trouble(struct lists_world *world, const char *trouble)
{
    struct verify_list_status status;

    assert_true(verify_lists_status(world->lists, PN_STR("example.org"), &status));
    if (!strstr(status.trouble, trouble) || (trouble[0] == '\0' && status.trouble[0] != '\0')) {
        fail_msg("trouble is: %s", status.trouble);
    }
}

void lists_check_said(struct lists_world *world, const char *text, unsigned count)
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

unsigned lists_under_way(const struct lists_world *world)
{
    unsigned count = 0;

    for (size_t i = 0; i < FILES_MAX; i++) {
        count += world->requests[i] != NULL;
    }
    return count;
}

void lists_answer(struct lists_world *world, unsigned code, const char *body, const char *etag)
{
    struct http_request *request = NULL;

    for (size_t i = 0; i < FILES_MAX && !request; i++) {
        request = world->requests[i];
    }
    assert_non_null(request);
    lists_take_request(world, request);
    request->code = code;
    assert_int_equal(pn_buf_append_z(&request->answer, body), 0);
    (void)snprintf(request->etag, sizeof request->etag, "%s", etag);
    (void)snprintf(request->last_modified, sizeof request->last_modified, "%s",
                   etag[0] != '\0' ? "yesterday" : "");
    request->on_done(request, 0);
    lists_pass(world, 0);
}

void lists_fail_request(struct lists_world *world, const char *why)
{
    struct http_request *request = world->requests[0];

    assert_non_null(request);
    lists_take_request(world, request);
    pn_buf_fini(&request->answer);
    request->on_done(request, pn_err_set(&request->err, PN_ETIMEOUT, "%s", why));
    lists_pass(world, 0);
}

void lists_start_again(struct lists_world *world)
{
    verify_lists_free(&world->lists);
    world->said[0] = '\0';
    lists_open_lists(world);
    verify_lists_configure(world->lists, world->domains);
    lists_pass(world, 0);
}
