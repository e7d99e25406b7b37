/*
 * daemon/worker.c - a thread with a loop, its listeners, ingress and deliveries.
 *
 * Everything is made on the main thread before the worker runs, so that what can fail
 * fails at the start; and everything that belongs to the loop is dropped on the worker's
 * own thread when the loop has ended.
 */
#include "worker_priv.h"

#include <string.h>

#include "postern/base/mem.h"
#include "postern/dns/resolver.h"
#include "postern/http/client.h"
#include "postern/outbound/policies.h"
#include "postern/tls/context.h"

/* A socket that is listened on, and which listener of the configuration it is of. */
struct socket {
    struct daemon_worker *worker;
    struct net_listener *listener;
    size_t number;
};

struct daemon_worker {
    struct daemon_worker_deps deps;
    pthread_t thread;
    bool runs;
    struct net_loop *loop;
    struct resolver *resolver;
    struct http *http;
    struct out_policies *policies;
    struct pn_rand rand;
    struct out_deps out;
    struct pn_endpoint *own;
    struct pn_ip *own_ips;
    struct deliver_worker *deliver;
    struct out_pool *pool;
    struct verify *verify;
    struct ingress *ingress;
    struct socket *sockets;
    size_t socket_count;
};

/* ---- c-ares on this loop ------------------------------------------------------------ */

struct dns_watch {
    struct net_watch *watch;
    void (*fn)(void *arg, unsigned events);
    void *arg;
};

static void on_dns(void *owner, unsigned events)
{
    struct dns_watch *watch = owner;

    watch->fn(watch->arg, events);
}

static void *dns_watch(void *owner, int fd, unsigned events,
                       void (*fn)(void *arg, unsigned events), void *arg)
{
    struct dns_watch *watch = PN_NEW(struct dns_watch);

    watch->fn = fn;
    watch->arg = arg;
    watch->watch = net_watch_new(owner, fd, events, on_dns, watch);
    return watch;
}

static void dns_change(void *handle, unsigned events)
{
    net_watch_set(((struct dns_watch *)handle)->watch, events);
}

static void dns_unwatch(void *handle)
{
    struct dns_watch *watch = handle;

    net_watch_free(&watch->watch);
    free(watch);
}

_Static_assert((int)DNS_READABLE == (int)NET_READABLE && (int)DNS_WRITABLE == (int)NET_WRITABLE,
               "the two adapters name the same events");

struct resolver *daemon_resolver_new(struct net_loop *loop, const struct conf *conf,
                                     struct pn_err *err)
{
    static const struct dns_watch_ops ops = {dns_watch, dns_change, dns_unwatch};
    struct resolver *resolver = NULL;
    struct pn_buf servers;
    int failed = 0;

    pn_buf_init(&servers, 4096);
    for (size_t i = 0; i < conf->dns_servers.count && !failed; i++) {
        failed = pn_buf_printf(&servers, "%s%s", i > 0 ? "," : "", conf->dns_servers.items[i]);
    }
    failed = failed ? failed : pn_buf_append_char(&servers, '\0');
    if (failed) {
        pn_err_set(err, PN_ENOSPACE, "dns_servers: the list is too long");
    } else {
        resolver = dns_resolver_new(
            net_loop_port(loop), &ops, loop,
            conf->dns_servers.count > 0 ? pn_buf_str(&servers).ptr : NULL, err);
    }
    pn_buf_fini(&servers);
    return resolver;
}

/* ---- making -------------------------------------------------------------------------- */

static void on_accept(void *owner, struct stream *stream)
{
    struct socket *socket = owner;

    ingress_accept(socket->worker->ingress, stream, socket->number);
}

static int bind_listeners(struct daemon_worker *worker, const struct conf *conf,
                          struct pn_err *err)
{
    size_t count = 0;

    for (size_t l = 0; l < conf->listener_count; l++) {
        count += conf->listeners[l].endpoint_count;
    }
    worker->sockets = pn_alloc_array(count, sizeof *worker->sockets);
    for (size_t l = 0; l < conf->listener_count; l++) {
        for (size_t e = 0; e < conf->listeners[l].endpoint_count; e++) {
            struct socket *socket = &worker->sockets[worker->socket_count];

            socket->worker = worker;
            socket->number = l;
            socket->listener = net_listener_new(worker->loop, &conf->listeners[l].endpoints[e],
                                                on_accept, socket, err);
            if (!socket->listener) {
                return pn_err_wrap(err, "listener \"%s\"", conf->listeners[l].name);
            }
            worker->socket_count++;
        }
    }
    return 0;
}

static void make_out(struct daemon_worker *worker, const struct daemon_settings *settings)
{
    worker->own = pn_alloc_array(settings->own_count + 1, sizeof *worker->own);
    worker->own_ips = pn_alloc_array(settings->own_ip_count + 1, sizeof *worker->own_ips);
    if (settings->own_count > 0) {
        memcpy(worker->own, settings->own, settings->own_count * sizeof *worker->own);
    }
    memcpy(worker->own_ips, settings->own_ips,
           settings->own_ip_count * sizeof *worker->own_ips);
    worker->out = (struct out_deps){
        .loop = net_loop_port(worker->loop),
        .network = net_loop_network(worker->loop),
        .resolver = worker->resolver,
        .tls = settings->clients,
        .counters = worker->deps.counters,
        .log = worker->deps.log,
        .own = worker->own,
        .own_count = settings->own_count,
        .own_ips = worker->own_ips,
        .own_ip_count = settings->own_ip_count,
        .board = worker->deps.board,
        .logins = worker->deps.logins,
        .policies = worker->policies,
        .rand = &worker->rand,
    };
}

/* Needs the loop and the resolver, and is needed by every session to a next hop. */
static void make_policies(struct daemon_worker *worker)
{
    struct out_policies_deps deps = {
        .loop = net_loop_port(worker->loop),
        .resolver = worker->resolver,
        .state = worker->deps.answers,
        .counters = worker->deps.counters,
        .log = worker->deps.log,
    };
    uint64_t seed;

    tls_crypto()->ops->random(&seed, sizeof seed);
    pn_rand_init(&worker->rand, seed);
    worker->http = daemon_http_new(worker->loop);
    deps.http = worker->http;
    worker->policies = out_policies_new(&deps);
}

/* What a target said of a recipient of a delivery. */
static void learn(void *owner, const struct conf_domain *domain, struct pn_str address,
                  const struct smtp_reply *reply)
{
    struct daemon_worker *worker = owner;
    char name[VERIFY_NAME_MAX];

    verify_learn(worker->verify, domain, verify_name(domain, address, name), reply,
                 STATE_BY_DELIVERY);
}

static void make_flows(struct daemon_worker *worker, const struct daemon_settings *settings)
{
    struct verify_deps verify = {
        .loop = worker->out.loop,
        .board = worker->deps.board,
        .state = worker->deps.answers,
        .lists = worker->deps.lists,
        .rates = worker->deps.rates,
        .log = worker->deps.log,
    };
    struct deliver_worker_deps deliver = {
        .out = &worker->out,
        .spool = worker->deps.spool,
        .state = worker->deps.state,
        .limits = worker->deps.limits,
        .counters = worker->deps.counters,
        .log = worker->deps.log,
        .board = worker->deps.board,
        .learn = learn,
        .owner = worker,
    };
    struct ingress_deps ingress = {
        .loop = worker->out.loop,
        .resolver = worker->resolver,
        .spool = worker->deps.spool,
        .state = worker->deps.state,
        .limits = worker->deps.limits,
        .counters = worker->deps.counters,
        .clock = worker->deps.clock,
        .log = worker->deps.log,
        .board = worker->deps.board,
        .defer = worker->deps.defer,
        .on_sign = worker->deps.on_sign,
        .owner = worker->deps.owner,
    };
    struct ingress_settings in_force = {
        .conf = settings->conf,
        .domains = daemon_domain_files_table(settings->domain_files),
        .tls = settings->server,
    };

    tls_crypto()->ops->random(&ingress.seed, sizeof ingress.seed);
    tls_crypto()->ops->random(&verify.seed, sizeof verify.seed);
    worker->pool = out_pool_new(&worker->out, worker->deps.board);
    verify.pool = worker->pool;
    worker->verify = verify_new(&verify);
    ingress.pool = worker->pool;
    ingress.verify = worker->verify;
    worker->deliver = deliver_worker_new(&deliver);
    worker->ingress = ingress_new(&ingress, &in_force);
}

struct daemon_worker *daemon_worker_new(const struct daemon_worker_deps *deps,
                                        const struct daemon_settings *settings, size_t number,
                                        struct pn_err *err)
{
    struct daemon_worker *worker = PN_NEW(struct daemon_worker);

    worker->deps = *deps;
    worker->loop = net_loop_new();
    worker->resolver = daemon_resolver_new(worker->loop, settings->conf, err);
    if (!worker->resolver || bind_listeners(worker, settings->conf, err) != 0) {
        pn_err_wrap(err, "worker %zu", number);
        daemon_worker_end(worker);
        daemon_worker_free(&worker);
        return NULL;
    }
    make_policies(worker);
    make_out(worker, settings);
    make_flows(worker, settings);
    return worker;
}

/* ---- running -------------------------------------------------------------------------- */

static void close_listeners(struct daemon_worker *worker)
{
    for (size_t i = 0; i < worker->socket_count; i++) {
        net_listener_free(&worker->sockets[i].listener);
    }
}

/* Drops what lives on the loop. On the worker's thread, or before that ever ran. */
static void drop(struct daemon_worker *worker)
{
    close_listeners(worker);
    ingress_free(&worker->ingress);
    deliver_worker_free(&worker->deliver);
    verify_free(&worker->verify);
    out_pool_free(&worker->pool);
    out_policies_free(&worker->policies);
    http_client_free(&worker->http);
    dns_resolver_free(&worker->resolver);
}

static void *run(void *arg)
{
    struct daemon_worker *worker = arg;

    net_loop_run(worker->loop);
    drop(worker);
    return NULL;
}

int daemon_worker_start(struct daemon_worker *worker, struct pn_err *err)
{
    int failed = pthread_create(&worker->thread, NULL, run, worker);

    if (failed) {
        return pn_err_set(err, PN_EIO, "a worker's thread cannot be made: %s",
                          strerror(failed));
    }
    worker->runs = true;
    return 0;
}

struct loop *daemon_worker_loop(struct daemon_worker *worker)
{
    return net_loop_port(worker->loop);
}

struct deliver_worker *daemon_worker_deliver(struct daemon_worker *worker)
{
    return worker->deliver;
}

/* ---- posts ----------------------------------------------------------------------------- */

struct settings_post {
    struct loop_task task;
    struct daemon_worker *worker;
    struct ingress_settings settings; /* references that the post owns */
};

static void settings_post_free(struct settings_post *post)
{
    conf_unref(&post->settings.conf);
    domains_unref(&post->settings.domains);
    tls_context_unref(&post->settings.tls);
    free(post);
}

static void on_settings(struct loop_task *task)
{
    struct settings_post *post = PN_CONTAINER(task, struct settings_post, task);

    ingress_configure(post->worker->ingress, &post->settings);
    settings_post_free(post);
}

void daemon_worker_configure(struct daemon_worker *worker,
                             const struct daemon_settings *settings)
{
    struct settings_post *post = PN_NEW(struct settings_post);

    post->task.on_run = on_settings;
    post->worker = worker;
    post->settings.conf = conf_ref(settings->conf);
    post->settings.domains = domains_ref(daemon_domain_files_table(settings->domain_files));
    post->settings.tls = tls_context_ref(settings->server);
    if (!loop_post(daemon_worker_loop(worker), &post->task)) {
        settings_post_free(post);
    }
}

struct stop_post {
    struct loop_task task;
    struct daemon_worker *worker;
};

static void on_stopped(void *owner)
{
    struct daemon_worker *worker = owner;

    worker->deps.on_stopped(worker->deps.owner);
}

static void on_stop(struct loop_task *task)
{
    struct stop_post *post = PN_CONTAINER(task, struct stop_post, task);

    close_listeners(post->worker);
    ingress_stop(post->worker->ingress, on_stopped, post->worker);
    free(post);
}

void daemon_worker_stop(struct daemon_worker *worker)
{
    struct stop_post *post = PN_NEW(struct stop_post);

    post->task.on_run = on_stop;
    post->worker = worker;
    if (!loop_post(daemon_worker_loop(worker), &post->task)) {
        free(post);
    }
}

void daemon_worker_end(struct daemon_worker *worker)
{
    if (worker->runs) {
        net_loop_stop(worker->loop);
        pthread_join(worker->thread, NULL);
        worker->runs = false;
    } else {
        drop(worker);
    }
}

void daemon_worker_free(struct daemon_worker **worker)
{
    struct daemon_worker *w = *worker;

    net_loop_free(&w->loop);
    free(w->own);
    free(w->own_ips);
    free(w->sockets);
    free(w);
    *worker = NULL;
}
