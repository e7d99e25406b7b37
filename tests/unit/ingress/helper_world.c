/*
 * The world of a test. A turn is: stream events, posted tasks, timers, deferred tasks,
 * then output leaves; the store's threads run between turns.
 */
#include "helper_world.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BUF_MAX    ((size_t)64 << 20)
#define TEXT_MAX   ((size_t)1 << 20)
#define TURNS_MAX  100000
#define WALL_START INT64_C(1795000000000)
#define MONO_START INT64_C(5000000)

/* ---- streams ------------------------------------------------------------------------ */

static struct client *client_of(const struct stream *stream)
{
    return (struct client *)(uintptr_t)stream;
}

static enum stream_state stream_state(const struct stream *stream)
{
    return client_of(stream)->state;
}

static const char *stream_why(const struct stream *stream)
{
    (void)stream;
    return "it broke";
}

static struct pn_str stream_look(struct stream *stream)
{
    struct pn_str all = pn_buf_str(&client_of(stream)->in);

    return client_of(stream)->state == STREAM_FAILED ? PN_STR("")
                                                     : pn_str_sub(all, 0, STREAM_INPUT_MAX);
}

static void stream_eat(struct stream *stream, size_t octets)
{
    pn_buf_consume(&client_of(stream)->in, octets);
}

static void stream_put(struct stream *stream, struct pn_str data)
{
    assert_int_not_equal(client_of(stream)->state, STREAM_CONNECTING);
    if (client_of(stream)->state != STREAM_FAILED) {
        assert_int_equal(pn_buf_append(&client_of(stream)->unsent, data), 0);
    }
}

static size_t stream_left(const struct stream *stream)
{
    return pn_buf_str(&client_of(stream)->unsent).len;
}

static bool client_take(struct client *client)
{
    struct pn_str text = pn_buf_str(&client->unsent);

    if (text.len == 0 || client->deaf) {
        return false;
    }
    assert_int_equal(pn_buf_append(&client->out, text), 0);
    pn_buf_clear(&client->unsent);
    return true;
}

static void stream_finish(struct stream *stream, bool flush)
{
    struct client *client = client_of(stream);

    assert_false(client->closed);
    if (flush) {
        client_take(client);
    }
    client->closed = true;
    client->aborted = !flush;
    client->event = false;
}

static const struct stream_tls *stream_security(const struct stream *stream)
{
    return client_of(stream)->secured ? &client_of(stream)->tls : NULL;
}

static const struct stream_ops stream_ops = {stream_state,  stream_why,     stream_look,
                                             stream_eat,    stream_put,     stream_left,
                                             stream_finish, stream_security};

/* The same object plays the encrypted stream. */
static struct stream *context_accept(struct tls_context *context, struct stream *plain)
{
    struct client *client = client_of(plain);

    (void)context;
    assert_int_equal(pn_buf_str(&client->in).len, 0);
    client_take(client);
    client->state = STREAM_CONNECTING;
    client->event = false;
    client->port.on_event = NULL;
    return plain;
}

static void context_count(struct tls_context *context)
{
    (void)context;
}

static const struct tls_context_ops tls_ops = {
    .accept = context_accept, .ref = context_count, .unref = context_count};

void client_secure(struct client *client, bool well)
{
    client->state = well ? STREAM_OPEN : STREAM_FAILED;
    client->secured = well;
    client->tls = (struct stream_tls){.version = "TLSv1.3", .cipher = "TLS_AES_128_GCM_SHA256"};
    client->event = true;
    world_run(client->world);
}

/* ---- resolver, files, crypto, log --------------------------------------------------- */

static void resolver_take(struct resolver *resolver, struct resolver_query *query,
                          const char *name, enum resolver_type type)
{
    struct world *world = PN_CONTAINER(resolver, struct world, resolver);

    assert_null(query->pending);
    query->pending = world;
    world->asked = query;
    world->asked_type = type;
    snprintf(world->asked_name, sizeof world->asked_name, "%s", name);
}

static void resolver_drop(struct resolver *resolver, struct resolver_query *query)
{
    query->pending = NULL;
    PN_CONTAINER(resolver, struct world, resolver)->asked = NULL;
}

static const struct resolver_ops resolver_ops = {resolver_take, resolver_drop};

static int files_read(struct files *files, const char *path, struct pn_buf *out,
                      struct pn_err *err)
{
    (void)files;
    (void)out;
    return pn_err_set(err, PN_ENOENT, "%s does not exist", path);
}

static int files_write(struct files *files, const char *path, struct pn_str content,
                       uint32_t mode, struct pn_err *err)
{
    (void)files;
    (void)path;
    (void)content;
    (void)mode;
    (void)err;
    return 0;
}

static int files_remove(struct files *files, const char *path, struct pn_err *err)
{
    (void)files;
    (void)path;
    (void)err;
    return 0;
}

static int files_list(struct files *files, const char *directory, files_entry_fn *on_entry,
                      void *owner, struct pn_err *err)
{
    (void)files;
    (void)directory;
    (void)on_entry;
    (void)owner;
    (void)err;
    return 0;
}

static int files_info(struct files *files, const char *path, struct files_info *out,
                      struct pn_err *err)
{
    (void)files;
    (void)path;
    (void)err;
    *out = (struct files_info){0};
    return 0;
}

static int files_mkdir(struct files *files, const char *path, uint32_t mode, struct pn_err *err)
{
    (void)files;
    (void)path;
    (void)mode;
    (void)err;
    return 0;
}

static int files_space(struct files *files, const char *path, uint64_t *out_free_octets,
                       uint64_t *out_total_octets, struct pn_err *err)
{
    (void)path;
    (void)err;
    *out_free_octets = PN_CONTAINER(files, struct world, files)->free_octets;
    *out_total_octets = UINT64_C(100) << 30;
    return 0;
}

static const struct files_ops files_ops = {files_read, files_write, files_remove, files_remove,
                                           files_list, files_info,  files_mkdir,  files_space};

static void crypto_random(void *out, size_t octets)
{
    memset(out, 0x5a, octets);
}

static void crypto_hash(const struct pn_str *parts, size_t count,
                        uint8_t out[CRYPTO_HASH_OCTETS])
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < parts[i].len; n++) {
            hash = (hash ^ (uint8_t)parts[i].ptr[n]) * UINT64_C(1099511628211);
        }
    }
    for (size_t i = 0; i < CRYPTO_HASH_OCTETS; i++) {
        out[i] = (uint8_t)(hash >> (8 * (i % 8)));
    }
}

static const struct crypto_ops crypto_ops = {.random = crypto_random, .hash = crypto_hash};

static void on_line(struct pn_log_sink *sink, enum pn_event event, struct pn_str line)
{
    struct world *world = PN_CONTAINER(sink, struct world, sink);

    (void)event;
    assert_int_equal(pn_buf_append(&world->lines, line), 0);
    assert_int_equal(pn_buf_append_char(&world->lines, '\n'), 0);
}

bool world_logged(const struct world *world, const char *what)
{
    struct pn_str all = pn_buf_str(&world->lines);

    return memmem(all.ptr, all.len, what, strlen(what)) != NULL;
}

/* ---- the world ------------------------------------------------------------------------ */

static bool loop_take(struct loop *loop, struct loop_task *task)
{
    struct world *world = PN_CONTAINER(loop, struct world, loop);

    task->next = NULL;
    *world->posted_end = task;
    world->posted_end = &task->next;
    return true;
}

static const struct loop_ops loop_ops = {loop_take};

static void on_notices(void *owner, const struct spool_notice *notices, size_t count)
{
    struct world *world = owner;

    for (size_t i = 0; i < count; i++) {
        struct world_job *job = &world->jobs[world->job_count];

        world->job_removed += notices[i].kind == SPOOL_JOB_REMOVED;
        if (notices[i].kind == SPOOL_JOB_ADDED && world->job_count < WORLD_JOBS) {
            snprintf(job->queue, sizeof job->queue, "%.*s", PN_FMT(notices[i].queue));
            job->job = notices[i].job;
            world->job_count++;
        }
    }
}

static void on_sign(void *owner, struct pn_str queue, bool flush)
{
    struct world *world = owner;

    assert_true(world->sign_count < WORLD_SIGNS);
    snprintf(world->signs[world->sign_count++], sizeof world->signs[0], "%.*s%s", PN_FMT(queue),
             flush ? " flush" : "");
}

static struct conf *parse_conf(const char *more)
{
    struct conf_mistakes mistakes;
    struct conf *conf;
    struct pn_buf text;

    pn_buf_init(&text, 1 << 16);
    assert_int_equal(pn_buf_printf(&text,
                                   "hostname = \"mx2.example.net\"\n"
                                   "listener \"mx\" { address = {\"127.0.0.1:25\"} }\n%s\n",
                                   more),
                     0);
    conf_mistakes_init(&mistakes);
    conf = conf_parse("postern.conf", pn_buf_str(&text), &mistakes);
    for (size_t i = 0; i < mistakes.count; i++) {
        print_message("%s\n", mistakes.items[i].text);
    }
    assert_non_null(conf);
    conf_mistakes_fini(&mistakes);
    pn_buf_fini(&text);
    return conf;
}

static void add_domain(struct world *world, const char *name, const char *text)
{
    struct conf_mistakes mistakes;
    struct domains_change change = {.name = pn_str_z(name)};
    struct domains *old = world->domains;

    conf_mistakes_init(&mistakes);
    change.definition = conf_domain_parse("domain.conf", change.name, pn_str_z(text),
                                          world->conf, NULL, 0, &mistakes);
    assert_non_null(change.definition);
    world->domains = domains_with(old, &change, 1);
    domains_unref(&old);
    conf_domain_unref(&change.definition);
    conf_mistakes_fini(&mistakes);
}

static void make_spool(struct world *world)
{
    struct spool_options options = {.files = &world->files,
                                    .crypto = &world->crypto,
                                    .path = "/spool",
                                    .key_file = "",
                                    .free_octets = world->conf->free_space_octets,
                                    .log = &world->log};
    struct pn_err err = {0};

    world->spool = spool_new(&options, &err);
    assert_non_null(world->spool);
    test_store_init(&world->store);
    world->store.events = spool_store_events(world->spool);
    spool_attach(world->spool, &world->store.port);
    spool_observe(world->spool, &world->loop, on_notices, world);
    world->store.events->on_state(world->store.events->owner, STORE_OPEN, NULL);
    spool_maintain(world->spool, world->loop.wall);
}

static void make_ingress(struct world *world)
{
    struct ingress_deps deps = {.loop = &world->loop,
                                .resolver = &world->resolver,
                                .spool = world->spool,
                                .limits = world->limits,
                                .counters = world->counters,
                                .clock = &world->clock,
                                .log = &world->log,
                                .seed = 1,
                                .verify = world->pool ? &world->verify : NULL,
                                .pool = world->pool,
                                .board = world->pool ? world->board : NULL,
                                .defer = world->defer,
                                .on_sign = on_sign,
                                .owner = world};
    struct ingress_settings settings = {world->conf, world->domains, &world->tls};

    world->ingress = ingress_new(&deps, &settings);
}

static void make_target(struct world *world)
{
    struct out_deps deps = {.loop = &world->loop,
                            .network = &world->target.network,
                            .resolver = &world->resolver,
                            .log = &world->log};

    target_init(&world->target, &world->loop);
    fake_verify_init(&world->verify);
    world->board = out_board_new();
    world->pool = out_pool_new(&deps, world->board);
    world->defer = policy_defer_new(1);
}

static void free_target(struct world *world)
{
    if (world->pool) {
        out_pool_free(&world->pool);
        world_run(world);
        out_board_free(&world->board);
        policy_defer_free(&world->defer);
        fake_verify_fini(&world->verify);
        target_fini(&world->target);
    }
}

static struct world *make_world(const char *conf)
{
    struct world *world = PN_NEW(struct world);

    loop_init(&world->loop, &loop_ops);
    world->loop.now.ms = MONO_START;
    world->loop.wall.ms = WALL_START;
    world->posted_end = &world->posted;
    world->files.ops = &files_ops;
    world->crypto.ops = &crypto_ops;
    world->resolver.ops = &resolver_ops;
    world->tls.ops = &tls_ops;
    world->free_octets = UINT64_C(10) << 30;
    world->sink.on_line = on_line;
    pn_buf_init(&world->lines, BUF_MAX);
    pn_log_init(&world->log, &world->sink);
    world->conf = parse_conf(conf);
    world->domains = domains_new();
    world->counters = stats_counters_new();
    world->limits = policy_limits_new(world->conf);
    queue_clock_init(&world->clock, 0, world->loop.wall, world->loop.now);
    make_spool(world);
    return world;
}

struct world *world_new(const char *conf)
{
    struct world *world = make_world(conf);

    add_domain(world, "example.org",
               "target = {\"192.0.2.25\"}\nrecipients = {any}\nwhen_up = accept\n");
    add_domain(world, "example.net",
               "target = {\"mail.example.net\"}\nrecipients = {any}\nwhen_up = accept\n");
    add_domain(world, "example.com",
               "target = {\"mail.example.com\"}\nrecipients = {any}\nwhen_up = accept\n"
               "subdomains = yes\n");
    make_ingress(world);
    world_run(world);
    return world;
}

struct world *world_new_live(const char *conf, const char *domain)
{
    struct world *world = make_world(conf);
    char text[1024];

    snprintf(text, sizeof text, "target = {\"192.0.2.25\"}\n%s\n", domain);
    add_domain(world, "example.org", text);
    add_domain(world, "example.net", "target = {\"192.0.2.26\"}\n");
    add_domain(world, "example.com", "target = {\"192.0.2.27\"}\nwhen_up = accept\n");
    make_target(world);
    for (size_t i = 0; i < domains_count(world->domains); i++) {
        out_board_set_state(world->board, pn_str_z(domains_at(world->domains, i)->destination),
                            QUEUE_UP, false);
    }
    make_ingress(world);
    world_run(world);
    return world;
}

void world_free(struct world **world_ptr)
{
    struct world *world = *world_ptr;

    ingress_free(&world->ingress);
    world->store.stopped = false;
    world_run(world);
    free_target(world);
    policy_limits_free(&world->limits); /* asserts that everything was given back */
    while (world->clients) {
        struct client *client = world->clients;

        assert_true(client->closed);
        world->clients = client->next;
        pn_buf_fini(&client->in);
        pn_buf_fini(&client->unsent);
        pn_buf_fini(&client->out);
        free(client);
    }
    spool_free(&world->spool);
    test_store_fini(&world->store);
    pn_timers_fini(&world->loop.timers);
    stats_counters_free(&world->counters);
    domains_unref(&world->domains);
    conf_unref(&world->conf);
    pn_buf_fini(&world->lines);
    free(world);
    *world_ptr = NULL;
}

static bool deliver_events(struct world *world)
{
    bool any = false;

    for (struct client *client = world->clients; client; client = client->next) {
        if (client->event && !client->closed) {
            client->event = false;
            any = true;
            client->port.on_event(&client->port, client->port.owner);
        }
    }
    return any;
}

static bool run_posted(struct world *world)
{
    struct loop_task *task = world->posted;
    bool any = task != NULL;

    world->posted = NULL;
    world->posted_end = &world->posted;
    while (task) {
        struct loop_task *next = task->next;

        task->on_run(task);
        task = next;
    }
    return any;
}

static bool turn(struct world *world)
{
    bool any = deliver_events(world);

    any = run_posted(world) || any;
    if (pn_timers_next(&world->loop.timers).ms <= world->loop.now.ms) {
        pn_timers_run(&world->loop.timers, world->loop.now);
        any = true;
    }
    any = any || world->loop.deferred;
    loop_run_deferred(&world->loop);
    for (struct client *client = world->clients; client; client = client->next) {
        if (client_take(client)) {
            client->event = !client->closed;
            any = true;
        }
    }
    if (world->pool) {
        any = fake_verify_run(&world->verify) || any;
        any = target_run(&world->target) || any;
    }
    return test_store_run(&world->store) || any;
}

void world_run(struct world *world)
{
    size_t turns = 0;

    while (turn(world)) {
        assert_true(++turns < TURNS_MAX);
    }
}

void world_pass(struct world *world, int64_t ms)
{
    int64_t end = world->loop.now.ms + ms;
    int64_t wall = world->loop.wall.ms - world->loop.now.ms;

    world_run(world);
    while (world->loop.now.ms < end) {
        int64_t next = pn_timers_next(&world->loop.timers).ms;

        world->loop.now.ms = next < end ? next : end;
        world->loop.wall.ms = wall + world->loop.now.ms;
        world_run(world);
    }
}

void world_set_free(struct world *world, uint64_t free_octets)
{
    world->free_octets = free_octets;
    world_pass(world, PN_MINUTES(1));
    spool_maintain(world->spool, world->loop.wall);
    world_run(world);
}

static void on_stopped(void *owner)
{
    ((struct world *)owner)->stopped = true;
}

void world_stop(struct world *world)
{
    ingress_stop(world->ingress, on_stopped, world);
    assert_false(world->stopped);
}

/* ---- clients ---------------------------------------------------------------------------- */

struct client *world_connect(struct world *world, const char *ip)
{
    return world_connect_at(world, ip, 0);
}

struct client *world_connect_at(struct world *world, const char *ip, size_t listener)
{
    struct client *client = PN_NEW(struct client);
    struct client **last = &world->clients;

    client->port.ops = &stream_ops;
    client->world = world;
    client->state = STREAM_OPEN;
    client->port.peer.port = 40000;
    assert_true(pn_ip_parse(pn_str_z(ip), &client->port.peer.ip));
    pn_buf_init(&client->in, BUF_MAX);
    pn_buf_init(&client->unsent, BUF_MAX);
    pn_buf_init(&client->out, BUF_MAX);
    while (*last) {
        last = &(*last)->next;
    }
    *last = client;
    ingress_accept(world->ingress, &client->port, listener);
    world_run(world);
    return client;
}

void client_write(struct client *client, struct pn_str text)
{
    if (!client->closed) {
        assert_int_equal(pn_buf_append(&client->in, text), 0);
        client->event = true;
    }
}

/* "250 2.1.0 Ok" becomes "250 2.1.0"; lines that are not the last of a reply, nothing. */
static void shorten(struct pn_str line, char *out, size_t room)
{
    struct pn_str code = pn_str_cut(&line, ' ');
    struct pn_str enhanced = pn_str_cut(&line, ' ');
    size_t len = strlen(out);

    if (code.len != 3) {
        return;
    }
    snprintf(out + len, room - len, "%s%.*s", len > 0 ? "; " : "", PN_FMT(code));
    if (pn_str_find(enhanced, '.') == 1) {
        len = strlen(out);
        snprintf(out + len, room - len, " %.*s", PN_FMT(enhanced));
    }
}

const char *client_replies(struct client *client)
{
    static char replies[65536];
    struct pn_str rest = pn_buf_str(&client->out);

    replies[0] = '\0';
    while (rest.len > 0) {
        struct pn_str line = pn_str_cut(&rest, '\n');

        assert_true(pn_str_ends(line, PN_STR("\r")));
        shorten(pn_str_sub(line, 0, line.len - 1), replies, sizeof replies);
    }
    pn_buf_clear(&client->out);
    if (client->closed) {
        size_t len = strlen(replies);

        snprintf(replies + len, sizeof replies - len, "%s%s", len > 0 ? "; " : "",
                 client->aborted ? "aborted" : "closed");
    }
    return replies;
}

const char *client_say_str(struct client *client, struct pn_str text)
{
    client_write(client, text);
    world_run(client->world);
    return client_replies(client);
}

const char *client_say(struct client *client, const char *text)
{
    return client_say_str(client, pn_str_z(text));
}

void client_end(struct client *client)
{
    client->state = STREAM_ENDED;
    client->event = true;
    world_run(client->world);
}

void client_fail(struct client *client)
{
    client->state = STREAM_FAILED;
    client->event = true;
    world_run(client->world);
}

/* ---- what is in the spool ------------------------------------------------------------------
 */

static char loaded_received[4096];
static char loaded_message[TEXT_MAX];

static void on_loaded(void *owner, struct spool_message *message)
{
    static const struct pn_str next_field = {"\r\n", 2};
    struct pn_str text = message->text;
    size_t end = 0;
    size_t len = 0;

    (void)owner;
    assert_int_equal(message->status, 0);
    /* The field ends at the first line that does not go on with a tab. */
    while (!pn_str_starts(pn_str_sub(text, end, 2), next_field) ||
           pn_str_starts(pn_str_sub(text, end + 2, 1), PN_STR("\t"))) {
        end++;
        assert_true(end + 2 <= text.len);
    }
    snprintf(loaded_received, sizeof loaded_received, "%.*s", (int)end, text.ptr);
    loaded_message[0] = '\0';
    for (size_t i = 0; i < message->recipient_count; i++) {
        len += (size_t)snprintf(loaded_message + len, sizeof loaded_message - len, "%s%.*s",
                                i > 0 ? " " : "", PN_FMT(message->recipients[i].address));
        assert_true(len < sizeof loaded_message);
    }
    snprintf(loaded_message + len, sizeof loaded_message - len, "|%.*s",
             (int)(text.len - end - 2), text.ptr + end + 2);
    spool_message_free(&message);
}

static void load(struct world *world, size_t number)
{
    const struct world_job *job = &world->jobs[number];
    struct spool_job_key key = {pn_str_z(job->queue), job->job.due_ms, job->job.id};

    assert_true(number < world->job_count);
    spool_load(world->spool, &world->loop, &key, 1, on_loaded, world);
    world_run(world);
}

const char *world_message(struct world *world, size_t job)
{
    load(world, job);
    return loaded_message;
}

const char *world_received(struct world *world, size_t job)
{
    load(world, job);
    return loaded_received;
}
