#include "helper_net.h"

#include "postern/base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_watchdog(struct pn_timer *timer)
{
    struct rig *rig = PN_CONTAINER(timer, struct rig, watchdog);

    rig->timed_out = true;
    net_loop_stop(rig->loop);
}

void rig_init(struct rig *rig)
{
    *rig = (struct rig){.watchdog.on_fire = on_watchdog};
    rig->loop = net_loop_new();
    rig->port = net_loop_port(rig->loop);
    loop_timer_after(rig->port, &rig->watchdog, RIG_PATIENCE_MS);
}

void rig_run(struct rig *rig)
{
    net_loop_run(rig->loop);
    assert_false(rig->timed_out);
}

void rig_fini(struct rig *rig)
{
    loop_timer_stop(rig->port, &rig->watchdog);
    net_loop_free(&rig->loop);
    assert_null(rig->loop);
}

struct net_listener *rig_listen(struct rig *rig, const char *address, net_accept_fn *fn,
                                void *owner)
{
    struct pn_endpoint endpoint;
    struct net_listener *listener;

    assert_true(pn_endpoint_parse(pn_str_z(address), &endpoint));
    listener = net_listener_new(rig->loop, &endpoint, fn, owner, NULL);
    assert_non_null(listener);
    return listener;
}

int plain_connect(const struct pn_endpoint *to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(to->ip.family, PN_IPV4);
    memcpy(&address.sin_addr, to->ip.octets, 4);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void plain_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void plain_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}
