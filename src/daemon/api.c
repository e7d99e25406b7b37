/*
 * daemon/api.c - the admin API's HTTP server, driven by the main loop.
 *
 * The server is run when its descriptor is readable, when its own time-out has passed, and
 * on a later turn after an answer that came by itself.
 */
#include "daemon_priv.h"
#include "postern/base/mem.h"

static void run_server(struct daemon *daemon)
{
    struct loop *loop = net_loop_port(daemon->loop);
    int64_t timeout_ms;

    httpd_server_run(daemon->httpd);
    timeout_ms = httpd_server_timeout_ms(daemon->httpd);
    if (timeout_ms >= 0) {
        loop_timer_after(loop, &daemon->httpd_timer, timeout_ms > 0 ? timeout_ms : 1);
    } else {
        loop_timer_stop(loop, &daemon->httpd_timer);
    }
}

static void on_readable(void *owner, unsigned events)
{
    (void)events;
    run_server(owner);
}

static void on_timer(struct pn_timer *timer)
{
    run_server(PN_CONTAINER(timer, struct daemon, httpd_timer));
}

static void on_task(struct loop_task *task)
{
    struct daemon *daemon = PN_CONTAINER(task, struct daemon, httpd_task);

    daemon->httpd_waits = false;
    if (daemon->httpd) {
        run_server(daemon);
    }
}

static void on_request(void *owner, struct httpd_request *request)
{
    admin_request(((struct daemon *)owner)->admin, request);
}

static void on_wake(void *owner)
{
    struct daemon *daemon = owner;

    if (!daemon->httpd_waits) {
        daemon->httpd_waits = true;
        loop_defer(net_loop_port(daemon->loop), &daemon->httpd_task);
    }
}

int daemon_api_open(struct daemon *daemon, struct pn_err *err)
{
    const struct conf *conf = daemon->settings.conf;
    struct admin_deps deps = {
        .out = &daemon->out,
        .deliver = daemon->deliver,
        .spool = daemon->spool,
        .state = daemon->state_records,
        .limits = daemon->limits,
        .counters = daemon->counters,
        .verify = daemon->verify,
        .lists = daemon->lists,
        .board = daemon->board,
        .log = &daemon->log,
        .daemon = daemon_operator(daemon),
    };
    struct httpd_server_events events = {
        .owner = daemon, .on_request = on_request, .on_wake = on_wake};

    daemon->httpd_task.on_run = on_task;
    daemon->httpd_timer.on_fire = on_timer;
    daemon->admin = admin_new(&deps);
    daemon->httpd = httpd_server_new(conf->admin, conf->admin_group, &events, err);
    if (!daemon->httpd) {
        return pn_err_wrap(err, "the admin API");
    }
    daemon->httpd_watch = net_watch_new(daemon->loop, httpd_server_fd(daemon->httpd),
                                        NET_READABLE, on_readable, daemon);
    run_server(daemon);
    return 0;
}

void daemon_api_close(struct daemon *daemon)
{
    loop_timer_stop(net_loop_port(daemon->loop), &daemon->httpd_timer);
    net_watch_free(&daemon->httpd_watch);
    admin_free(&daemon->admin);
    httpd_server_free(&daemon->httpd);
}
