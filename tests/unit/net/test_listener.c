/*
 * Listening: both families on one port, errors in words, and running out of descriptors.
 */
#include "helper_net.h"

#include "postern/base/mem.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 200

struct reception {
    struct rig rig;
    size_t accepted;
    size_t want;
};

static void on_accept(void *owner, struct stream *stream)
{
    struct reception *reception = owner;

    stream_abort(&stream);
    if (++reception->accepted == reception->want) {
        net_loop_stop(reception->rig.loop);
    }
}

static void test_many_connections_at_once(void **state)
{
    struct reception reception = {.want = MANY};
    struct net_listener *listener;
    struct pn_endpoint address;
    int fds[MANY];

    (void)state;
    rig_init(&reception.rig);
    listener = rig_listen(&reception.rig, "127.0.0.1:0", on_accept, &reception);
    address = net_listener_address(listener);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = plain_connect(&address);
    }
    rig_run(&reception.rig);
    for (size_t i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    net_listener_free(&listener);
    net_listener_free(&listener); /* NULL is fine */
    rig_fini(&reception.rig);
}

static void test_both_families_and_two_listeners_share_a_port(void **state)
{
    struct reception reception = {.want = 1};
    struct net_listener *first;
    struct net_listener *second;
    struct net_listener *six;
    struct pn_endpoint address;

    (void)state;
    rig_init(&reception.rig);
    first = rig_listen(&reception.rig, "0.0.0.0:0", on_accept, &reception);
    address = net_listener_address(first);
    second = net_listener_new(reception.rig.loop, &address, on_accept, &reception, NULL);
    assert_non_null(second);
    assert_true(pn_ip_parse(PN_STR("::"), &address.ip));
    six = net_listener_new(reception.rig.loop, &address, on_accept, &reception, NULL);
    assert_non_null(six);
    net_listener_free(&first);
    net_listener_free(&second);
    net_listener_free(&six);
    rig_fini(&reception.rig);
}

static void test_error_names_address_and_reason(void **state)
{
    struct rig rig;
    struct pn_endpoint address;
    struct pn_err err = {0};

    (void)state;
    rig_init(&rig);
    assert_true(pn_endpoint_parse(PN_STR("203.0.113.7:2525"), &address));
    assert_null(net_listener_new(rig.loop, &address, on_accept, NULL, &err));
    assert_string_equal(err.text,
                        "cannot listen on 203.0.113.7:2525: Cannot assign requested address");
    rig_fini(&rig);
}

static void test_out_of_descriptors_drops_one_and_goes_on_later(void **state)
{
    struct reception reception = {.want = 1};
    struct net_listener *listener;
    struct pn_endpoint address;
    struct rlimit before;
    struct rlimit tight;
    char c;
    int probe;
    int first;
    int second;

    (void)state;
    rig_init(&reception.rig);
    listener = rig_listen(&reception.rig, "127.0.0.1:0", on_accept, &reception);
    address = net_listener_address(listener);
    first = plain_connect(&address);
    second = plain_connect(&address);
    probe = dup(first);
    assert_true(probe >= 0);
    close(probe);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)probe; /* the lowest free descriptor is beyond the limit */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);

    /* The limit is lifted during the pause; the second connection is taken after it. */
    loop_timer_after(reception.rig.port, &reception.rig.watchdog, 500);
    net_loop_run(reception.rig.loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(reception.rig.timed_out);
    assert_int_equal(reception.accepted, 0);
    assert_int_equal(recv(first, &c, 1, 0), 0); /* dropped: closed, not left in silence */
    assert_int_equal(recv(second, &c, 1, MSG_DONTWAIT), -1);

    net_listener_free(&listener);
    rig_fini(&reception.rig);
    close(first);
    close(second);
}

struct recovery {
    struct reception reception;
    struct pn_timer lift;
    struct rlimit before;
};

static void lift_fire(struct pn_timer *timer)
{
    struct recovery *recovery = PN_CONTAINER(timer, struct recovery, lift);

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &recovery->before), 0);
}

static void test_accepts_again_after_the_pause(void **state)
{
    struct recovery test = {.reception.want = 1, .lift.on_fire = lift_fire};
    struct net_listener *listener;
    struct pn_endpoint address;
    struct rlimit tight;
    int fds[2];
    int probe;

    (void)state;
    rig_init(&test.reception.rig);
    listener = rig_listen(&test.reception.rig, "127.0.0.1:0", on_accept, &test.reception);
    address = net_listener_address(listener);
    fds[0] = plain_connect(&address);
    fds[1] = plain_connect(&address);
    probe = dup(fds[0]);
    close(probe);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &test.before), 0);
    tight = test.before;
    tight.rlim_cur = (rlim_t)probe;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    loop_timer_after(test.reception.rig.port, &test.lift, 200);
    rig_run(&test.reception.rig);
    assert_int_equal(test.reception.accepted, 1);
    net_listener_free(&listener);
    rig_fini(&test.reception.rig);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_connections_at_once),
        cmocka_unit_test(test_both_families_and_two_listeners_share_a_port),
        cmocka_unit_test(test_error_names_address_and_reason),
        cmocka_unit_test(test_out_of_descriptors_drops_one_and_goes_on_later),
        cmocka_unit_test(test_accepts_again_after_the_pause),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
