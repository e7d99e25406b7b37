/*
 * sim_world.c - the daemon's wiring, its beginnings and its ends.
 *
 * Objects are made in the order of daemon/: spool and state on their stores, queue clock,
 * what is known of recipients, workers, deliver, and then connections are taken. What
 * survives the daemon (disk, files, servers, clients, configuration) belongs to the world.
 *
 * A power cut must leave nothing behind in memory and must not let a dying daemon do
 * anything that is seen outside. So everything is dropped in the order of a stop, but dead:
 * streams swallow what is written, the log is silent, and the store answers what it still
 * has with failures and touches the disk no more.
 */
#include "sim_priv.h"

#include "postern/conf/conf.h"
#include "postern/mail/address.h"

#include <stdio.h>
#include <string.h>

#define WALL_START INT64_C(1790000000000)
/* The daemon verifies more often; the simulation would do little else. */
#define CHECK_EVERY  60
#define CLOCK_EVERY  60
#define KEY_FILE     "/etc/postern/key"
#define EXPIRE_EVERY 300
#define LISTS_PATH   "/spool/lists"
#define DRAIN_MOST   1000000

static const struct pn_endpoint own_endpoint = {.ip = {PN_IPV4, {198, 51, 100, 250}},
                                                .port = 25};

/* ---- configuration --------------------------------------------------------------------------
 */

static void check_mistakes(struct sim *sim, struct conf_mistakes *mistakes)
{
    if (conf_mistakes_fatal(mistakes)) {
        sim_fail(sim, "%s:%u: %s", mistakes->items[0].file, mistakes->items[0].line,
                 mistakes->items[0].text);
    }
    conf_mistakes_fini(mistakes);
}

static void parse_conf(struct sim *sim)
{
    struct conf_mistakes mistakes;
    struct pn_buf text;

    conf_mistakes_init(&mistakes);
    pn_buf_init(&text, 65536);
    pn_assert(pn_buf_printf(&text,
                            "hostname = \"mx2.backup.example\"\nspool = \"/spool\"\n%s%s\n"
                            "listener \"mx\" { address = {\"198.51.100.250:25\"} }\n",
                            sim->options.encrypt ? "key_file = \"" KEY_FILE "\"\n" : "",
                            sim->options.conf ? sim->options.conf : "") == 0);
    sim->conf = conf_parse("postern.conf", pn_buf_str(&text), &mistakes);
    check_mistakes(sim, &mistakes);
    pn_buf_fini(&text);
}

static void configure(struct sim *sim)
{
    struct sim_daemon *daemon = sim->daemon;
    struct ingress_settings settings = {.conf = sim->conf, .domains = sim->domains};

    if (!daemon || !daemon->deliver || daemon->stopping) {
        return;
    }
    verify_lists_configure(daemon->lists, sim->domains);
    deliver_configure(daemon->deliver, sim->conf, sim->domains);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        ingress_configure(daemon->workers[i].ingress, &settings);
    }
}

static bool is_named(const struct sim *sim, const char *destination)
{
    for (size_t i = 0; i < domains_count(sim->domains); i++) {
        if (strcmp(domains_at(sim->domains, i)->destination, destination) == 0) {
            return true;
        }
    }
    return false;
}

/* A destination that goes with its last domain comes back as a new one, which nobody holds. */
static void forget_unnamed(struct sim *sim)
{
    struct sim_held **link = &sim->held;

    while (*link) {
        struct sim_held *held = *link;

        if (is_named(sim, held->destination)) {
            link = &held->next;
        } else {
            *link = held->next;
            free(held->destination);
            free(held);
        }
    }
}

static void change_domain(struct sim *sim, const char *name, struct conf_domain *definition)
{
    struct domains_change change = {.name = pn_str_z(name), .definition = definition};
    struct domains *before = sim->domains;

    sim->domains = domains_with(before, &change, 1);
    domains_unref(&before);
    sim->configured_ms = sim->now_ms;
    forget_unnamed(sim);
    configure(sim);
}

void sim_domain(struct sim *sim, const char *name, const char *text)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;
    char whole[1024];

    conf_mistakes_init(&mistakes);
    (void)snprintf(whole, sizeof whole, "%s%s%s\n",
                   strstr(text, "recipients = ") ? "" : "recipients = {any}\n",
                   strstr(text, "when_up = ") ? "" : "when_up = accept\n", text);
    domain = conf_domain_parse(name, pn_str_z(name), pn_str_z(whole), sim->conf, &own_endpoint,
                               1, &mistakes);
    check_mistakes(sim, &mistakes);
    change_domain(sim, name, domain);
    conf_domain_unref(&domain);
}

void sim_domain_remove(struct sim *sim, const char *name)
{
    change_domain(sim, name, NULL);
}

const struct conf_domain *sim_find_domain(const struct sim *sim, const char *name)
{
    return domains_find_exact(sim->domains, pn_str_z(name));
}

/* ---- start
 * ------------------------------------------------------------------------------------ */

static void on_checked(void *owner, size_t checked, size_t bad, bool wrapped)
{
    struct sim *sim = owner;

    (void)checked;
    (void)wrapped;
    if (bad > 0 && !sim->dead) {
        sim_fail(sim, "the spool has %zu bad messages", bad);
    }
}

static void on_second(struct pn_timer *timer)
{
    struct sim_daemon *daemon = PN_CONTAINER(timer, struct sim_daemon, second_timer);
    struct sim *sim = daemon->sim;
    struct loop *loop = &daemon->main->port;
    uint64_t second = daemon->seconds++;

    if (sim->dead) {
        return;
    }
    spool_maintain(daemon->spool, loop->wall);
    if (second % CLOCK_EVERY == 0) {
        spool_keep_time(daemon->spool, queue_clock_now(&daemon->clock, loop->now));
    }
    if (second % CHECK_EVERY == 0 && !sim->options.no_checks) {
        spool_check(daemon->spool, loop, 50, on_checked, sim);
    }
    if (second % EXPIRE_EVERY == 0 && sim->conf->trace_ms > 0) {
        state_expire(daemon->state, loop, pn_wall_add(loop->wall, -sim->conf->trace_ms));
    }
    verify_warm_second(daemon->verify, sim->conf, sim->domains, loop->wall);
    loop_timer_after(loop, timer, PN_SECONDS(1));
}

static void on_sign(void *owner, struct pn_str queue, bool flush)
{
    struct sim_daemon *daemon = owner;

    if (daemon->deliver) {
        deliver_sign(daemon->deliver, queue, flush);
    }
}

static struct out_deps out_deps(struct sim *sim, struct sim_loop *loop)
{
    return (struct out_deps){.loop = &loop->port,
                             .network = &loop->network,
                             .resolver = &loop->resolver,
                             .log = &sim->log,
                             .own = &own_endpoint,
                             .own_count = 1,
                             .own_ips = &own_endpoint.ip,
                             .own_ip_count = 1};
}

/* What a target said of a recipient of a delivery. */
static void learn(void *owner, const struct conf_domain *domain, struct pn_str address,
                  const struct smtp_reply *reply)
{
    struct sim_worker *worker = owner;
    struct pn_str local = pn_str_sub(address, 0, pn_str_rfind(address, '@'));

    verify_learn(worker->verify, domain, local, reply, STATE_BY_DELIVERY);
}

static bool believes(void *owner, const struct conf_domain *domain, struct pn_str address)
{
    struct sim_daemon *daemon = owner;
    struct pn_str written = pn_str_sub(address, 0, pn_str_rfind(address, '@'));
    struct state_answer answer;
    struct pn_buf local;
    bool believed = false;

    pn_buf_init(&local, MAIL_ADDRESS_MAX);
    if (verify_local(domain, written, &local)) {
        struct pn_str name = pn_buf_str(&local);

        believed = verify_lists_find(daemon->lists, domain, name) == VERIFY_LIST_YES ||
                   (state_answer_peek(daemon->state, pn_str_z(domain->name), name, &answer) &&
                    answer.verdict == STATE_VALID);
    }
    pn_buf_fini(&local);
    return believed;
}

static struct verify *make_verify(struct sim_daemon *daemon, struct sim_loop *loop,
                                  struct out_pool *pool)
{
    return verify_new(&(struct verify_deps){.loop = &loop->port,
                                            .pool = pool,
                                            .board = daemon->board,
                                            .state = daemon->state,
                                            .lists = daemon->lists,
                                            .rates = daemon->rates,
                                            .log = &daemon->sim->log,
                                            .seed = pn_rand_next(&daemon->sim->rand)});
}

static struct state *traces(struct sim_daemon *daemon)
{
    return daemon->sim->conf->trace_ms > 0 ? daemon->state : NULL;
}

static void make_knowledge(struct sim_daemon *daemon)
{
    struct sim *sim = daemon->sim;

    daemon->out = out_deps(sim, daemon->main);
    daemon->board = out_board_new();
    daemon->defer = policy_defer_new(pn_rand_next(&sim->rand));
    daemon->lists = verify_lists_new(&(struct verify_lists_deps){
        .loop = &daemon->main->port,
        .files = &sim->files.port,
        .crypto = sim_crypto(sim),
        .path = LISTS_PATH,
        .log = &sim->log,
        .seed = pn_rand_next(&sim->rand)}); /* no list here comes by HTTP */
    verify_lists_configure(daemon->lists, sim->domains);
    daemon->rates = verify_rates_new();
    daemon->pool = out_pool_new(&daemon->out, daemon->board);
    daemon->verify = make_verify(daemon, daemon->main, daemon->pool);
}

static void make_worker(struct sim_daemon *daemon, struct sim_worker *worker)
{
    struct sim *sim = daemon->sim;
    struct ingress_settings settings = {.conf = sim->conf, .domains = sim->domains};

    worker->loop = sim_loop_new(sim);
    worker->out = out_deps(sim, worker->loop);
    worker->pool = out_pool_new(&worker->out, daemon->board);
    worker->verify = make_verify(daemon, worker->loop, worker->pool);
    worker->deliver =
        deliver_worker_new(&(struct deliver_worker_deps){.out = &worker->out,
                                                         .spool = daemon->spool,
                                                         .state = traces(daemon),
                                                         .limits = daemon->limits,
                                                         .counters = daemon->counters,
                                                         .board = daemon->board,
                                                         .learn = learn,
                                                         .owner = worker,
                                                         .log = &sim->log});
    worker->ingress = ingress_new(&(struct ingress_deps){.loop = &worker->loop->port,
                                                         .resolver = &worker->loop->resolver,
                                                         .spool = daemon->spool,
                                                         .state = traces(daemon),
                                                         .limits = daemon->limits,
                                                         .counters = daemon->counters,
                                                         .clock = &daemon->clock,
                                                         .log = &sim->log,
                                                         .seed = pn_rand_next(&sim->rand),
                                                         .verify = worker->verify,
                                                         .pool = worker->pool,
                                                         .board = daemon->board,
                                                         .defer = daemon->defer,
                                                         .on_sign = on_sign,
                                                         .owner = daemon},
                                  &settings);
}

static void make_workers(struct sim_daemon *daemon)
{
    size_t workers = daemon->sim->options.workers;

    daemon->worker_count = workers ? workers : 2;
    daemon->workers = pn_alloc_array(daemon->worker_count, sizeof *daemon->workers);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        make_worker(daemon, &daemon->workers[i]);
    }
}

static void make_deliver(struct sim_daemon *daemon)
{
    struct sim *sim = daemon->sim;
    struct deliver_worker *workers[8];
    struct loop *loops[8];

    pn_assert(daemon->worker_count <= PN_COUNT(workers));
    for (size_t i = 0; i < daemon->worker_count; i++) {
        workers[i] = daemon->workers[i].deliver;
        loops[i] = &daemon->workers[i].loop->port;
    }
    daemon->deliver = deliver_new(&(struct deliver_deps){.out = &daemon->out,
                                                         .spool = daemon->spool,
                                                         .state = traces(daemon),
                                                         .answers = daemon->state,
                                                         .board = daemon->board,
                                                         .believes = believes,
                                                         .owner = daemon,
                                                         .counters = daemon->counters,
                                                         .clock = &daemon->clock,
                                                         .log = &sim->log,
                                                         .workers = workers,
                                                         .worker_loops = loops,
                                                         .worker_count = daemon->worker_count,
                                                         .seed = pn_rand_next(&sim->rand)},
                                  sim->conf, sim->domains);
}

static void start_failed(struct sim *sim, const char *why)
{
    sim_note(sim, "the daemon cannot start: %s", why);
    sim->disk.restart_ms = PN_MINUTES(10); /* by somebody, later */
    sim->cut_now = true;
}

static void on_started(void *owner, int status)
{
    struct sim_daemon *daemon = owner;

    if (daemon->sim->dead) {
        return;
    }
    if (status != 0) {
        start_failed(daemon->sim, "the spool cannot be read");
        return;
    }
    daemon->running = true;
    sim_note(daemon->sim, "the daemon takes connections");
}

static void on_answers(void *owner, int status)
{
    struct sim_daemon *daemon = owner;

    if (daemon->sim->dead) {
        return;
    }
    if (status != 0) {
        sim_note(daemon->sim, "what was known of recipients cannot be read");
    }
    make_knowledge(daemon);
    make_workers(daemon);
    make_deliver(daemon);
    daemon->second_timer.on_fire = on_second;
    loop_timer_after(&daemon->main->port, &daemon->second_timer, PN_SECONDS(1));
    deliver_start(daemon->deliver, on_started, daemon);
}

static void on_time(void *owner, int status, int64_t kept_ms)
{
    struct sim_daemon *daemon = owner;
    struct loop *loop = &daemon->main->port;

    if (daemon->sim->dead) {
        return;
    }
    if (status != 0) {
        start_failed(daemon->sim, "queue time cannot be read");
    } else {
        queue_clock_init(&daemon->clock, kept_ms, loop->wall, loop->now);
        daemon->has_clock = true;
        sim_check_time(daemon->sim);
        state_answers_load(daemon->state, loop, on_answers, daemon);
    }
}

static void make_stores(struct sim_daemon *daemon)
{
    struct sim *sim = daemon->sim;
    struct spool_options options = {.files = &sim->files.port,
                                    .crypto = sim_crypto(sim),
                                    .path = "/spool",
                                    .key_file = sim->conf->key_file,
                                    .free_octets = sim->conf->free_space_octets,
                                    .log = &sim->log};
    struct pn_err err = {0};

    daemon->spool = spool_new(&options, &err);
    if (!daemon->spool) {
        sim_fail(sim, "the spool cannot be made: %s", err.text);
    }
    daemon->store = sim_store_new(sim, &sim->disk, spool_store_events(daemon->spool));
    spool_attach(daemon->spool, sim_store_port(daemon->store));
    daemon->state = state_new(&sim->log);
    daemon->state_store =
        sim_store_new(sim, &sim->state_disk, state_store_events(daemon->state));
    state_attach(daemon->state, sim_store_port(daemon->state_store));
}

void sim_start(struct sim *sim)
{
    struct sim_daemon *daemon = PN_NEW(struct sim_daemon);
    struct loop *loop;

    pn_assert(!sim->daemon);
    sim_event_stop(sim, &sim->restart);
    sim_note(sim, "the daemon starts");
    sim->daemon = daemon;
    sim->boot_ms = sim->now_ms - 5000 - (int64_t)pn_rand_below(&sim->rand, 100000);
    daemon->sim = sim;
    daemon->main = sim_loop_new(sim);
    loop = &daemon->main->port;
    make_stores(daemon);
    daemon->limits = policy_limits_new(sim->conf);
    daemon->counters = stats_counters_new();
    if (!sim_store_opens(daemon->store) || !sim_store_opens(daemon->state_store)) {
        start_failed(sim, "a store cannot be opened");
        return;
    }
    spool_maintain(daemon->spool, loop->wall);
    spool_read_time(daemon->spool, loop, on_time, daemon);
}

/* ---- ends
 * --------------------------------------------------------------------------------------- */

void sim_start_if_off(struct sim *sim)
{
    if (!sim->daemon) {
        sim_start(sim);
    }
}

static void nothing(void *owner)
{
    (void)owner;
}

/* Runs what is waiting at this moment, and has the dead store answer. */
static void drain(struct sim_daemon *daemon)
{
    struct sim *sim = daemon->sim;
    bool any = true;
    size_t rounds = 0;

    while (any) {
        any = false;
        for (size_t i = 0; i < sim->loop_count; i++) {
            struct sim_loop *loop = sim->loops[i];

            if (loop->posted || loop->port.deferred || loop->flush) {
                sim_loop_turn(loop);
                any = true;
            }
        }
        any = sim_store_answer(daemon->store) || any;
        any = sim_store_answer(daemon->state_store) || any;
        if (++rounds > DRAIN_MOST) {
            sim->dead = false;
            sim_fail(sim, "the daemon does not come to rest when it is dropped");
        }
    }
}

/* What the loops of the workers have; in the order of daemon/worker.c. */
static void drop_workers(struct sim_daemon *daemon)
{
    for (size_t i = 0; i < daemon->worker_count; i++) {
        ingress_free(&daemon->workers[i].ingress);
    }
    if (daemon->deliver && !daemon->stopping) {
        deliver_stop(daemon->deliver, nothing, NULL);
    }
    drain(daemon);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        deliver_worker_free(&daemon->workers[i].deliver);
        verify_free(&daemon->workers[i].verify);
        out_pool_free(&daemon->workers[i].pool);
    }
    drain(daemon);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        daemon->workers[i].loop->ended = true;
    }
}

static void drop_knowledge(struct sim_daemon *daemon)
{
    if (!daemon->board) {
        return;
    }
    verify_free(&daemon->verify);
    out_pool_free(&daemon->pool);
    drain(daemon);
    verify_rates_free(&daemon->rates);
    verify_lists_free(&daemon->lists);
    policy_defer_free(&daemon->defer);
    out_board_free(&daemon->board);
}

static void drop_stores(struct sim_daemon *daemon)
{
    sim_store_free(&daemon->store);
    sim_store_free(&daemon->state_store);
    spool_free(&daemon->spool);
    state_free(&daemon->state);
}

static void forget_held(struct sim *sim)
{
    while (sim->held) {
        struct sim_held *held = sim->held;

        sim->held = held->next;
        free(held->destination);
        free(held);
    }
}

static void drop(struct sim *sim)
{
    struct sim_daemon *daemon = sim->daemon;

    sim->dead = true;
    sim->cut_now = false; /* the last writes of a stop may have ordered it */
    daemon->running = false;
    sim_store_cut(daemon->store);
    sim_store_cut(daemon->state_store);
    drop_workers(daemon);
    drain(daemon);
    loop_timer_stop(&daemon->main->port, &daemon->second_timer);
    deliver_free(&daemon->deliver);
    drain(daemon);
    drop_knowledge(daemon);
    drain(daemon);
    drop_stores(daemon);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        sim_loop_free(&daemon->workers[i].loop);
    }
    sim_loop_free(&daemon->main);
    policy_limits_free(&daemon->limits);
    stats_counters_free(&daemon->counters);
    free(daemon->workers);
    free(daemon);
    sim->daemon = NULL;
    sim->dead = false;
    forget_held(sim);
}

static void on_restart(struct sim_event *event)
{
    sim_start(PN_CONTAINER(event, struct sim, restart));
}

void sim_crash(struct sim *sim, int64_t restart_ms)
{
    pn_assert(sim->daemon);
    sim_note(sim, "power is lost");
    sim_net_crash(sim);
    sim_check_crash(sim);
    drop(sim);
    if (restart_ms >= 0) {
        sim_event_after(sim, &sim->restart, restart_ms);
    }
}

static void on_drained(void *owner)
{
    struct sim_daemon *daemon = owner;

    if (!daemon->sim->dead) {
        daemon->draining--;
    }
}

static bool is_drained(struct sim *sim, void *arg)
{
    (void)arg;
    return !sim->daemon || sim->daemon->draining == 0;
}

void sim_stop(struct sim *sim)
{
    struct sim_daemon *daemon = sim->daemon;

    sim_note(sim, "the daemon is told to stop");
    daemon->running = false;
    daemon->stopping = true;
    daemon->draining = daemon->worker_count + (daemon->deliver ? 1 : 0);
    if (daemon->deliver) {
        deliver_stop(daemon->deliver, on_drained, daemon);
    }
    for (size_t i = 0; i < daemon->worker_count; i++) {
        sim_loop_turn(daemon->workers[i].loop);
        ingress_stop(daemon->workers[i].ingress, on_drained, daemon);
    }
    (void)sim_run_until(sim, is_drained, NULL, sim->conf->stop_time_ms);
    if (!sim->daemon) {
        return; /* power was cut meanwhile */
    }
    for (size_t i = 0; i < daemon->worker_count; i++) {
        ingress_free(&daemon->workers[i].ingress);
        sim_loop_turn(daemon->workers[i].loop);
    }
    if (daemon->has_clock) {
        spool_keep_time(daemon->spool, queue_clock_now(&daemon->clock, daemon->main->port.now));
    }
    sim_store_finish(daemon->store);
    sim_store_finish(daemon->state_store);
    sim_net_crash(sim);
    sim_check_crash(sim);
    drop(sim);
    sim_note(sim, "the daemon has ended");
}

/* ---- the world
 * ------------------------------------------------------------------------------------ */

static void make_key(struct sim *sim)
{
    struct pn_buf key;

    pn_buf_init(&key, 1024);
    pn_assert(spool_key_make(sim_crypto(sim), &key) == 0);
    pn_assert(sim->files.port.ops->write(&sim->files.port, KEY_FILE, pn_buf_str(&key), 0600,
                                         NULL) == 0);
    pn_buf_fini(&key);
}

struct sim *sim_new(uint64_t seed, const struct sim_options *options)
{
    struct sim *sim = PN_NEW(struct sim);

    sim->seed = seed;
    pn_rand_init(&sim->rand, seed);
    sim->options = options ? *options : (struct sim_options){0};
    sim->wall_offset = WALL_START;
    sim->latency_least = 1;
    sim->latency_most = 20;
    sim->restart.on_fire = on_restart;
    pn_heap_init(&sim->events);
    sim_check_init(sim);
    sim_disk_init(&sim->disk, "spool", true);
    sim_disk_init(&sim->state_disk, "state", false);
    sim_files_init(&sim->files, sim);
    sim->domains = domains_new();
    parse_conf(sim);
    if (sim->options.encrypt) {
        make_key(sim);
    }
    sim_start(sim);
    return sim;
}

void sim_free(struct sim **pointer)
{
    struct sim *sim = *pointer;

    *pointer = NULL;
    sim_event_stop(sim, &sim->restart);
    if (sim->daemon) {
        sim_net_crash(sim);
        drop(sim);
    }
    sim_servers_free(sim);
    sim_clients_free(sim);
    sim_events_drain(sim);
    sim_net_free(sim);
    pn_heap_fini(&sim->events);
    sim_dns_free(sim);
    sim_disk_fini(&sim->disk);
    sim_disk_fini(&sim->state_disk);
    sim_files_fini(&sim->files);
    domains_unref(&sim->domains);
    conf_unref(&sim->conf);
    for (size_t i = 0; i < SIM_LOG_LINES; i++) {
        free(sim->lines[i]);
    }
    free(sim->probe_times);
    free(sim);
}

bool sim_is_up(const struct sim *sim)
{
    return sim->daemon && sim->daemon->running;
}
