/*
 * daemon/daemon.c - the life of a running posternd: start, seconds, reloads, stop.
 *
 * Start: configuration, stores, loops and listeners (all that can fail, on this thread),
 * then the queue's counters are read, and only then do the workers run and the service
 * manager hears that we are ready.
 *
 * Stop: listeners close; idle clients are told 421; open transactions and deliveries have
 * stop_time to end; then loops end, workers are joined, what they posted is settled, and
 * the stores are closed last, with a last synced batch.
 */
#include "daemon_priv.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "postern/base/mem.h"
#include "postern/dns/resolver.h"
#include "postern/tls/context.h"

#define CHECK_EVERY_S       10 /* a few messages of the spool are verified */
#define CHECK_MESSAGES      50
#define CLOCK_EVERY_S       60
#define CERTIFICATE_EVERY_S 10
#define EXPIRE_EVERY_S      300
#define DESCRIPTORS_SPARE   200
#define TRIM_OCTETS         (16u << 20) /* less is not worth the walk over the heaps */
#define TRIM_AFTER_S        10

void daemon_log_mistakes(struct daemon *daemon, const struct conf_mistakes *mistakes)
{
    for (size_t i = 0; i < mistakes->count; i++) {
        const struct conf_mistake *mistake = &mistakes->items[i];
        struct pn_log_line line;

        pn_log_begin(&line, &daemon->log,
                     mistake->warning ? PN_EV_CONFIG_WARNING : PN_EV_CONFIG_REFUSED);
        pn_log_z(&line, "file", mistake->file);
        if (mistake->line > 0) {
            pn_log_u64(&line, "line", mistake->line);
        }
        pn_log_z(&line, "what", mistake->text);
        pn_log_end(&line);
    }
}

/* ---- settings ------------------------------------------------------------------------- */

void daemon_configure(struct daemon *daemon)
{
    const struct daemon_settings *settings = &daemon->settings;
    struct pn_log_line line;

    daemon_log_sink_set_level(daemon->sink, (enum pn_log_level)settings->conf->log_level);
    policy_limits_set(daemon->limits, settings->conf);
    spool_set_free_octets(daemon->spool, settings->conf->free_space_octets);
    verify_lists_configure(daemon->lists, daemon_domain_files_table(settings->domain_files));
    deliver_configure(daemon->deliver, settings->conf,
                      daemon_domain_files_table(settings->domain_files));
    for (size_t i = 0; i < daemon->worker_count; i++) {
        daemon_worker_configure(daemon->workers[i], settings);
    }
    pn_log_begin(&line, &daemon->log, PN_EV_CONFIG_LOADED);
    pn_log_u64(&line, "domains",
               domains_count(daemon_domain_files_table(settings->domain_files)));
    pn_log_end(&line);
}

static void on_domain_file(void *owner, const char *entry)
{
    struct daemon *daemon = owner;
    struct daemon_domain_files *files = daemon->settings.domain_files;
    struct domains *before = domains_ref(daemon_domain_files_table(files));
    struct conf_mistakes mistakes;

    conf_mistakes_init(&mistakes);
    if (entry) {
        daemon_domain_files_look(files, entry, &mistakes);
    } else {
        (void)daemon_domain_files_scan(files, &mistakes);
    }
    daemon_log_mistakes(daemon, &mistakes);
    if (daemon_domain_files_table(files) != before && daemon->state == DAEMON_RUNNING) {
        daemon_configure(daemon);
    }
    conf_mistakes_fini(&mistakes);
    domains_unref(&before);
}

static void on_hangup(void *owner, int number)
{
    struct daemon *daemon = owner;
    struct conf_mistakes mistakes;

    (void)number;
    conf_mistakes_init(&mistakes);
    sd_notify(0, "RELOADING=1");
    (void)daemon_reload(daemon, &mistakes);
    sd_notify(0, "READY=1");
    conf_mistakes_fini(&mistakes);
}

/* ---- every second ---------------------------------------------------------------------- */

static void on_checked(void *owner, size_t checked, size_t bad, bool wrapped)
{
    (void)owner; /* the spool itself logs what does not verify */
    (void)checked;
    (void)bad;
    (void)wrapped;
}

/*
 * The C library keeps what a burst of large messages has freed: after 600 texts at once it
 * held 40 MiB more than without this. When the burst is over, it is told to give that back.
 */
static void trim_memory(struct daemon *daemon)
{
    uint64_t used = policy_memory_used(daemon->limits);

    if (used > daemon->memory_peak) {
        daemon->memory_peak = used;
    }
    if (daemon->memory_peak < TRIM_OCTETS || used > daemon->memory_peak / 4) {
        daemon->calm_seconds = 0;
    } else if (++daemon->calm_seconds >= TRIM_AFTER_S) {
        malloc_trim(0);
        daemon->memory_peak = used;
        daemon->calm_seconds = 0;
    }
}

static void on_second(struct pn_timer *timer)
{
    struct daemon *daemon = PN_CONTAINER(timer, struct daemon, second_timer);
    struct loop *loop = net_loop_port(daemon->loop);
    uint64_t second = daemon->seconds++;

    spool_maintain(daemon->spool, loop->wall);
    if (second % CLOCK_EVERY_S == 0) {
        spool_keep_time(daemon->spool, queue_clock_now(&daemon->clock, loop->now));
    }
    if (second % CHECK_EVERY_S == 0) {
        spool_check(daemon->spool, loop, CHECK_MESSAGES, on_checked, daemon);
    }
    if (second % EXPIRE_EVERY_S == 0 && daemon->settings.conf->trace_ms > 0) {
        state_expire(daemon->state_records, loop,
                     pn_wall_add(loop->wall, -daemon->settings.conf->trace_ms));
    }
    if (second % CERTIFICATE_EVERY_S == 0 &&
        daemon_settings_certificates_changed(&daemon->settings)) {
        on_hangup(daemon, 0);
    }
    daemon_knowledge_second(daemon);
    trim_memory(daemon);
    sd_notify(0, "WATCHDOG=1");
    loop_timer_after(loop, timer, PN_SECONDS(1));
}

/* ---- stop ------------------------------------------------------------------------------- */

static void end(struct daemon *daemon)
{
    if (daemon->state != DAEMON_ENDING) {
        daemon->state = DAEMON_ENDING;
        net_loop_stop(daemon->loop);
    }
}

static void end_if_drained(struct daemon *daemon)
{
    if (daemon->state == DAEMON_DRAINING && daemon->workers_draining == 0 &&
        !daemon->deliver_draining) {
        end(daemon);
    }
}

static void on_stop_timer(struct pn_timer *timer)
{
    struct daemon *daemon = PN_CONTAINER(timer, struct daemon, stop_timer);

    pn_log_say(&daemon->log, PN_EV_STOP, "stop_time is over: what is still open is cut off");
    end(daemon);
}

static void on_deliver_stopped(void *owner)
{
    struct daemon *daemon = owner;

    daemon->deliver_draining = false;
    end_if_drained(daemon);
}

struct worker_stopped {
    struct loop_task task;
    struct daemon *daemon;
};

static void on_worker_stopped(struct loop_task *task)
{
    struct worker_stopped *stopped = PN_CONTAINER(task, struct worker_stopped, task);

    stopped->daemon->workers_draining--;
    end_if_drained(stopped->daemon);
    free(stopped);
}

/* On a worker's thread. */
static void post_worker_stopped(void *owner)
{
    struct worker_stopped *stopped = PN_NEW(struct worker_stopped);

    stopped->daemon = owner;
    stopped->task.on_run = on_worker_stopped;
    if (!loop_post(net_loop_port(stopped->daemon->loop), &stopped->task)) {
        free(stopped);
    }
}

void daemon_stop(struct daemon *daemon)
{
    if (daemon->state == DAEMON_STARTING) {
        end(daemon);
    }
    if (daemon->state != DAEMON_RUNNING) {
        return;
    }
    daemon->state = DAEMON_DRAINING;
    sd_notify(0, "STOPPING=1");
    pn_log_say(&daemon->log, PN_EV_STOP, "stopping");
    daemon->workers_draining = daemon->worker_count;
    daemon->deliver_draining = true;
    deliver_stop(daemon->deliver, on_deliver_stopped, daemon);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        daemon_worker_stop(daemon->workers[i]);
    }
    loop_timer_after(net_loop_port(daemon->loop), &daemon->stop_timer,
                     daemon->settings.conf->stop_time_ms);
}

static void on_terminate(void *owner, int number)
{
    (void)number;
    daemon_stop(owner);
}

/* ---- start ------------------------------------------------------------------------------- */

static void on_sign(void *owner, struct pn_str queue, bool flush)
{
    deliver_sign(((struct daemon *)owner)->deliver, queue, flush);
}

static size_t worker_count(const struct conf *conf)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (conf->workers > 0) {
        return (size_t)conf->workers;
    }
    return cores < 1 ? 1 : cores > 4 ? 4 : (size_t)cores;
}

static int make_workers(struct daemon *daemon, struct pn_err *err)
{
    struct daemon_worker_deps deps = {
        .spool = daemon->spool,
        .state = daemon->settings.conf->trace_ms > 0 ? daemon->state_records : NULL,
        .answers = daemon->state_records,
        .limits = daemon->limits,
        .counters = daemon->counters,
        .clock = &daemon->clock,
        .board = daemon->board,
        .logins = daemon->logins,
        .lists = daemon->lists,
        .rates = daemon->rates,
        .defer = daemon->defer,
        .log = &daemon->log,
        .on_sign = on_sign,
        .on_stopped = post_worker_stopped,
        .owner = daemon,
    };
    size_t count = worker_count(daemon->settings.conf);

    daemon->workers = pn_alloc_array(count, sizeof *daemon->workers);
    while (daemon->worker_count < count) {
        struct daemon_worker *worker =
            daemon_worker_new(&deps, &daemon->settings, daemon->worker_count, err);

        if (!worker) {
            return err->code;
        }
        daemon->workers[daemon->worker_count++] = worker;
    }
    return 0;
}

static void make_deliver(struct daemon *daemon)
{
    struct deliver_worker **workers = pn_alloc_array(daemon->worker_count, sizeof *workers);
    struct loop **loops = pn_alloc_array(daemon->worker_count, sizeof *loops);
    struct deliver_deps deps = {
        .out = &daemon->out,
        .spool = daemon->spool,
        .state = daemon->settings.conf->trace_ms > 0 ? daemon->state_records : NULL,
        .answers = daemon->state_records,
        .board = daemon->board,
        .believes = daemon_knowledge_believes,
        .owner = daemon,
        .counters = daemon->counters,
        .clock = &daemon->clock,
        .log = &daemon->log,
        .workers = workers,
        .worker_loops = loops,
        .worker_count = daemon->worker_count,
    };

    tls_crypto()->ops->random(&deps.seed, sizeof deps.seed);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        workers[i] = daemon_worker_deliver(daemon->workers[i]);
        loops[i] = daemon_worker_loop(daemon->workers[i]);
    }
    daemon->deliver = deliver_new(&deps, daemon->settings.conf,
                                  daemon_domain_files_table(daemon->settings.domain_files));
    free(workers);
    free(loops);
}

/* Descriptors are what runs out first: take what we may have, and say if it is too little. */
static void raise_descriptors(struct daemon *daemon)
{
    const struct conf *conf = daemon->settings.conf;
    uint64_t needed =
        (uint64_t)conf->sessions_max + (uint64_t)conf->open_files + DESCRIPTORS_SPARE;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < needed) {
        pn_log_say(
            &daemon->log, PN_EV_CONFIG_WARNING,
            "only %llu file descriptors are allowed, and sessions_max with open_files can "
            "need %llu: raise the limit (LimitNOFILE) or lower sessions_max",
            (unsigned long long)limit.rlim_cur, (unsigned long long)needed);
    }
}

static void fail(struct daemon *daemon, const struct pn_err *err)
{
    pn_log_say(&daemon->log, PN_EV_ALARM, "cannot start: %s", err->text);
    daemon->exit_status = 1;
    end(daemon);
}

static void on_started(void *owner, int status)
{
    struct daemon *daemon = owner;
    struct pn_err err = {0};

    if (status != 0) {
        pn_err_set(&err, status, "the spool's counters cannot be read");
        fail(daemon, &err);
        return;
    }
    for (size_t i = 0; i < daemon->worker_count; i++) {
        if (daemon_worker_start(daemon->workers[i], &err) != 0) {
            fail(daemon, &err);
            return;
        }
    }
    daemon->state = DAEMON_RUNNING;
    sd_notify(0, "READY=1");
    pn_log_say(&daemon->log, PN_EV_START, "posternd %s as %s, %zu workers", POSTERN_VERSION,
               daemon->settings.conf->hostname, daemon->worker_count);
}

/* What the state store has is known: the rest can be made. */
static void on_answers(void *owner, int status)
{
    struct daemon *daemon = owner;
    struct pn_err err = {0};

    if (daemon->state != DAEMON_STARTING) {
        return;
    }
    if (status != 0) {
        pn_log_say(&daemon->log, PN_EV_ALARM,
                   "what was known of recipients cannot be read: it will be learned again");
    }
    daemon_knowledge_open(daemon);
    if (make_workers(daemon, &err) != 0) {
        fail(daemon, &err);
        return;
    }
    make_deliver(daemon);
    if (daemon_api_open(daemon, &err) != 0) {
        fail(daemon, &err);
        return;
    }
    daemon->second_timer.on_fire = on_second;
    daemon->stop_timer.on_fire = on_stop_timer;
    loop_timer_after(net_loop_port(daemon->loop), &daemon->second_timer, PN_SECONDS(1));
    deliver_start(daemon->deliver, on_started, daemon);
}

static void on_time(void *owner, int status, int64_t kept_ms)
{
    struct daemon *daemon = owner;
    struct loop *loop = net_loop_port(daemon->loop);
    struct pn_err err = {0};

    if (daemon->state != DAEMON_STARTING) {
        return;
    }
    if (status == PN_ECORRUPT) {
        pn_log_say(&daemon->log, PN_EV_ALARM,
                   "the spool's queue time is damaged: it is what the clock says");
    } else if (status != 0) {
        pn_err_set(&err, status, "the spool's queue time cannot be read");
        fail(daemon, &err);
        return;
    }
    queue_clock_init(&daemon->clock, kept_ms, loop->wall, loop->now);
    daemon->started = loop->wall;
    if (daemon->clock.jumped) {
        pn_log_say(&daemon->log, PN_EV_ALARM,
                   "the clock is more than a day later than when we stopped: nothing expires "
                   "before one more attempt");
    }
    state_answers_load(daemon->state_records, loop, on_answers, daemon);
}

static void on_first_turn(struct loop_task *task)
{
    struct daemon *daemon = PN_CONTAINER(task, struct daemon, first_task);

    spool_maintain(daemon->spool, net_loop_port(daemon->loop)->wall);
    spool_read_time(daemon->spool, net_loop_port(daemon->loop), on_time, daemon);
}

static int open_all(struct daemon *daemon, struct pn_err *err)
{
    const struct daemon_settings *settings = &daemon->settings;

    raise_descriptors(daemon);
    daemon->loop = net_loop_new();
    daemon->resolver = daemon_resolver_new(daemon->loop, settings->conf, err);
    if (!daemon->resolver || daemon_stores_open(daemon, err) != 0) {
        return err->code;
    }
    daemon->limits = policy_limits_new(settings->conf);
    daemon->out = (struct out_deps){
        .loop = net_loop_port(daemon->loop),
        .network = net_loop_network(daemon->loop),
        .resolver = daemon->resolver,
        .tls = settings->clients,
        .counters = daemon->counters,
        .log = &daemon->log,
        .own = settings->own,
        .own_count = settings->own_count,
        .own_ips = settings->own_ips,
        .own_ip_count = settings->own_ip_count,
    };
    daemon->domains_watch = net_directory_watch_new(daemon->loop, settings->conf->domains,
                                                    on_domain_file, daemon, err);
    if (!daemon->domains_watch) {
        return err->code;
    }
    net_loop_on_signal(daemon->loop, SIGTERM, on_terminate, daemon);
    net_loop_on_signal(daemon->loop, SIGINT, on_terminate, daemon);
    net_loop_on_signal(daemon->loop, SIGHUP, on_hangup, daemon);
    return 0;
}

/* In the reverse order, the stores after everybody who may still write to them. */
static void close_all(struct daemon *daemon)
{
    for (size_t i = 0; i < daemon->worker_count; i++) {
        daemon_worker_end(daemon->workers[i]);
    }
    if (daemon->admin) {
        daemon_api_close(daemon);
    }
    if (daemon->loop) {
        loop_timer_stop(net_loop_port(daemon->loop), &daemon->second_timer);
        loop_timer_stop(net_loop_port(daemon->loop), &daemon->stop_timer);
    }
    deliver_free(&daemon->deliver);
    daemon_knowledge_close(daemon);
    if (daemon->started.ms > 0) {
        spool_keep_time(daemon->spool,
                        queue_clock_now(&daemon->clock, net_loop_port(daemon->loop)->now));
    }
    daemon_stores_close(daemon);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        daemon_worker_free(&daemon->workers[i]);
    }
    free(daemon->workers);
    net_directory_watch_free(&daemon->domains_watch);
    if (daemon->resolver) {
        dns_resolver_free(&daemon->resolver);
    }
    policy_limits_free(&daemon->limits);
    net_loop_free(&daemon->loop);
}

int daemon_run(const char *conf_path)
{
    struct daemon *daemon = PN_NEW(struct daemon);
    struct conf_mistakes mistakes;
    struct pn_err err = {0};
    int status;

    signal(SIGPIPE, SIG_IGN);
    daemon->counters = stats_counters_new();
    daemon->sink = daemon_log_sink_new(getenv("JOURNAL_STREAM") != NULL, daemon->counters);
    pn_log_init(&daemon->log, daemon_log_sink_port(daemon->sink));
    conf_mistakes_init(&mistakes);
    if (!daemon_settings_load(&daemon->settings, conf_path, &mistakes)) {
        daemon_log_mistakes(daemon, &mistakes);
        daemon->exit_status = 1;
    } else {
        daemon_log_mistakes(daemon, &mistakes);
        daemon_log_sink_set_level(daemon->sink,
                                  (enum pn_log_level)daemon->settings.conf->log_level);
        if (open_all(daemon, &err) != 0) {
            pn_log_say(&daemon->log, PN_EV_ALARM, "cannot start: %s", err.text);
            daemon->exit_status = 1;
        } else {
            daemon->first_task.on_run = on_first_turn;
            loop_defer(net_loop_port(daemon->loop), &daemon->first_task);
            net_loop_run(daemon->loop);
        }
        close_all(daemon);
    }
    pn_log_say(&daemon->log, PN_EV_STOP, "stopped");
    conf_mistakes_fini(&mistakes);
    daemon_settings_fini(&daemon->settings);
    daemon_log_sink_free(&daemon->sink);
    stats_counters_free(&daemon->counters);
    status = daemon->exit_status;
    free(daemon);
    return status;
}
