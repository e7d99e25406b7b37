#include "helper_dns.h"

#include "postern/base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 16384

static bool no_post(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    (void)task;
    return false;
}

static void read_clock(struct poll_loop *loop)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    loop->port.now.ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void poll_loop_init(struct poll_loop *loop)
{
    static const struct loop_ops ops = {.post = no_post};

    *loop = (struct poll_loop){0};
    loop_init(&loop->port, &ops);
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        loop->watches[i].fd = -1;
    }
    read_clock(loop);
}

void poll_loop_fini(struct poll_loop *loop)
{
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        assert_int_equal(loop->watches[i].fd, -1);
    }
    pn_timers_fini(&loop->port.timers);
}

void poll_loop_turn(struct poll_loop *loop)
{
    struct pollfd fds[POLL_WATCHES];
    struct pn_mono next = pn_timers_next(&loop->port.timers);
    int64_t wait_ms = next.ms - loop->port.now.ms;

    wait_ms = wait_ms < 0 ? 0 : wait_ms > 1000 ? 1000 : wait_ms;
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        unsigned events = loop->watches[i].events;

        fds[i] = (struct pollfd){.fd = loop->watches[i].fd};
        fds[i].events = (short)(((events & DNS_READABLE) ? POLLIN : 0) |
                                ((events & DNS_WRITABLE) ? POLLOUT : 0));
    }
    assert_true(poll(fds, POLL_WATCHES, (int)wait_ms) >= 0);
    read_clock(loop);
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        struct poll_watch *watch = &loop->watches[i];
        unsigned events = (fds[i].revents & POLLIN ? DNS_READABLE : 0u) |
                          (fds[i].revents & POLLOUT ? DNS_WRITABLE : 0u);

        if (fds[i].revents & (POLLERR | POLLHUP)) {
            events = watch->events;
        }
        if (watch->fd >= 0 && watch->fd == fds[i].fd && (events & watch->events)) {
            watch->fn(watch->arg, events & watch->events);
        }
    }
    pn_timers_run(&loop->port.timers, loop->port.now);
    loop_run_deferred(&loop->port);
}

static void *watch_new(void *owner, int fd, unsigned events, void (*fn)(void *, unsigned),
                       void *arg)
{
    struct poll_loop *loop = owner;

    for (size_t i = 0; i < POLL_WATCHES; i++) {
        if (loop->watches[i].fd < 0) {
            loop->watches[i] =
                (struct poll_watch){.fd = fd, .events = events, .fn = fn, .arg = arg};
            return &loop->watches[i];
        }
    }
    fail_msg("too many watches");
    return NULL;
}

static void watch_change(void *watch, unsigned events)
{
    ((struct poll_watch *)watch)->events = events;
}

static void watch_free(void *watch)
{
    *(struct poll_watch *)watch = (struct poll_watch){.fd = -1};
}

const struct dns_watch_ops poll_loop_watches = {
    .watch = watch_new, .change = watch_change, .unwatch = watch_free};

/* A message being written. */
struct message {
    uint8_t octets[MESSAGE_MAX];
    size_t len;
    unsigned answers;
};

static void put(struct message *m, const void *data, size_t octets)
{
    if (m->len + octets <= sizeof m->octets) {
        memcpy(m->octets + m->len, data, octets);
        m->len += octets;
    }
}

static void put_u16(struct message *m, unsigned value)
{
    const uint8_t octets[2] = {(uint8_t)(value >> 8), (uint8_t)value};

    put(m, octets, 2);
}

/* A name, after which the question's name follows when joined. */
static void put_name(struct message *m, const char *name, bool joined)
{
    struct pn_str left = pn_str_z(name);

    while (left.len > 0) {
        struct pn_str label = pn_str_cut(&left, '.');
        uint8_t length = (uint8_t)label.len;

        put(m, &length, 1);
        put(m, label.ptr, label.len);
    }
    put(m, joined ? "\xc0\x0c" : "\0", joined ? 2 : 1);
}

/* A record of the question's name, up to its data; data_octets is its length. */
static void put_head(struct message *m, unsigned type, unsigned ttl_s, size_t data_octets)
{
    put(m, "\xc0\x0c", 2);
    put_u16(m, type);
    put_u16(m, 1);
    put_u16(m, ttl_s >> 16);
    put_u16(m, ttl_s & 0xffff);
    put_u16(m, (unsigned)data_octets);
    m->answers++;
}

static void put_a(struct message *m, unsigned ttl_s, unsigned last)
{
    const uint8_t octets[4] = {192, 0, 2, (uint8_t)last};

    put_head(m, 1, ttl_s, 4);
    put(m, octets, 4);
}

static void put_mx(struct message *m, unsigned preference, const char *host, bool joined)
{
    struct message data = {.len = 0};

    put_u16(&data, preference);
    put_name(&data, host, joined);
    put_head(m, 15, 300, data.len);
    put(m, data.octets, data.len);
}

static void put_name_record(struct message *m, unsigned type, const char *host)
{
    struct message data = {.len = 0};

    put_name(&data, host, false);
    put_head(m, type, 300, data.len);
    put(m, data.octets, data.len);
}

/* An address of "elsewhere.example". */
static void put_elsewhere(struct message *m, unsigned last)
{
    const uint8_t rest[14] = {0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 192, 0, 2, (uint8_t)last};

    put_name(m, "elsewhere.example", false);
    put(m, rest, sizeof rest);
    m->answers++;
}

enum {
    RCODE_SERVFAIL = 2,
    RCODE_NX = 3,
    RCODE_REFUSED = 5,
    TRUNCATED = 0x200,
    AUTHENTIC = 0x20,
    AUTHENTIC_ALWAYS = 0x40
};

/* Writes the answers for a question; returns rcode and flags, or -1 for silence. */
static int answer_named(struct message *m, struct pn_str label, unsigned type, bool over_tcp)
{
    static const uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

    if (pn_str_eq(label, PN_STR("a")) && type == 1) {
        put_a(m, 300, 1);
        put_a(m, 300, 2);
    } else if (pn_str_eq(label, PN_STR("alias")) && type == 1) {
        put_name_record(m, 5, "elsewhere.example");
        put_elsewhere(m, 3);
    } else if (pn_str_eq(label, PN_STR("stranger")) && type == 1) {
        put_name_record(m, 5, "elsewhere.example");
        put_a(m, 300, 3);
    } else if (pn_str_eq(label, PN_STR("zero"))) {
        put_a(m, 0, 1);
    } else if (pn_str_eq(label, PN_STR("aaaa")) && type == 28) {
        put_head(m, 28, 300, 16);
        put(m, six, 16);
    } else if (pn_str_eq(label, PN_STR("mx")) && type == 15) {
        put_mx(m, 20, "MX2", true);
        put_mx(m, 10, "mx1.example.net", false);
    } else if (pn_str_eq(label, PN_STR("nullmx"))) {
        put_mx(m, 0, "", false);
    } else if (pn_str_eq(label, PN_STR("badname"))) {
        put_mx(m, 5, "has blank.example", false);
        put_mx(m, 10, "good.example", false);
    } else if (pn_str_eq(label, PN_STR("allbad"))) {
        put_mx(m, 5, "has blank.example", false);
    } else if (pn_str_eq(label, PN_STR("hundreds"))) {
        if (!over_tcp) {
            return TRUNCATED;
        }
        for (unsigned i = 500; i > 0; i--) {
            put_mx(m, i, "m", true);
        }
    } else if (pn_str_eq(label, PN_STR("signed")) && type == 1) {
        put_a(m, 300, 4);
        return AUTHENTIC_ALWAYS;
    } else if (type == 52) {
        put_head(m, 52, 300, 5);
        put(m, "\3\1\1\xab\xcd", 5);
        put_head(m, 52, 300, 2);
        put(m, "\3\1", 2);
        return AUTHENTIC;
    } else if (type == 16) {
        put_head(m, 16, 300, 8);
        put(m, "\3v=S\3TSv", 8);
        put_head(m, 16, 300, 1);
        put(m, "", 1);
    } else if (pn_str_eq(label, PN_STR("1")) && type == 12) {
        put_name_record(m, 12, "Host_1.Example.NET");
    } else if (pn_str_eq(label, PN_STR("2")) && type == 12) {
        put_name_record(m, 12, "evil\nname.example");
    } else if (pn_str_eq(label, PN_STR("many")) || pn_str_eq(label, PN_STR("big"))) {
        if (!over_tcp) {
            return TRUNCATED;
        }
        for (unsigned i = 0; i < 100; i++) {
            put_a(m, 300, i);
        }
    } else if (pn_str_eq(label, PN_STR("cut"))) {
        return TRUNCATED;
    } else if (pn_str_eq(label, PN_STR("garbage"))) {
        put(m, "\xff\xff\xff\xff\xff", 5);
        m->answers = 3;
    } else if (pn_str_eq(label, PN_STR("nx"))) {
        return RCODE_NX;
    } else if (pn_str_eq(label, PN_STR("servfail"))) {
        return RCODE_SERVFAIL;
    } else if (pn_str_eq(label, PN_STR("refused"))) {
        return RCODE_REFUSED;
    } else if (pn_str_eq(label, PN_STR("silent"))) {
        return -1;
    }
    return 0;
}

/* Returns the length of the reply, 0 for none. */
static size_t answer(const uint8_t *question, size_t octets, struct message *m, bool over_tcp)
{
    size_t at = 12;
    struct pn_str label;
    unsigned type;
    int flags;

    if (octets < 17) {
        return 0;
    }
    label = (struct pn_str){(const char *)question + 13, question[12]};
    while (at < octets && question[at] != 0) {
        at += (size_t)question[at] + 1;
    }
    if (at + 5 > octets) {
        return 0;
    }
    type = (unsigned)question[at + 1] << 8 | question[at + 2];
    *m = (struct message){.len = 0};
    put(m, question, at + 5);
    flags = answer_named(m, label, type, over_tcp);
    if (flags < 0) {
        return 0;
    }
    m->octets[2] = (uint8_t)(0x81 | (flags & TRUNCATED) >> 8);
    m->octets[3] = (uint8_t)(0x80 | (flags & 15));
    m->octets[3] |= question[3] & 0x20; /* some do copy it */
    if (flags == AUTHENTIC && (question[octets - 4] & 0x80)) {
        m->octets[3] |= 0x20; /* said only to those who set DO */
    } else if (flags == AUTHENTIC_ALWAYS) {
        m->octets[3] |= 0x20;
    }
    memset(m->octets + 6, 0, 6);
    m->octets[6] = (uint8_t)(m->answers >> 8);
    m->octets[7] = (uint8_t)m->answers;
    return m->len;
}

static void serve_udp(struct dns_server *server)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    uint8_t question[512];
    struct message m;
    ssize_t got =
        recvfrom(server->udp, question, sizeof question, 0, (struct sockaddr *)&peer, &length);
    size_t octets = got > 0 ? answer(question, (size_t)got, &m, false) : 0;

    pthread_mutex_lock(&server->lock);
    server->questions++;
    pthread_mutex_unlock(&server->lock);
    if (octets > 0) {
        (void)sendto(server->udp, m.octets, octets, 0, (struct sockaddr *)&peer, length);
    }
}

static void serve_tcp(struct dns_server *server)
{
    int fd = accept(server->tcp, NULL, NULL);
    uint8_t question[514];
    uint8_t prefix[2];
    struct message m;
    size_t got = 0;
    size_t octets;

    while (got < 2 || got < 2 + ((size_t)question[0] << 8 | question[1])) {
        ssize_t n = recv(fd, question + got, sizeof question - got, 0);

        if (n <= 0) {
            close(fd);
            return;
        }
        got += (size_t)n;
    }
    octets = answer(question + 2, got - 2, &m, true);
    prefix[0] = (uint8_t)(octets >> 8);
    prefix[1] = (uint8_t)octets;
    (void)send(fd, prefix, 2, MSG_NOSIGNAL | MSG_MORE);
    (void)send(fd, m.octets, octets, MSG_NOSIGNAL);
    close(fd);
}

static void *server_main(void *arg)
{
    struct dns_server *server = arg;
    struct pollfd fds[3] = {{.fd = server->udp, .events = POLLIN},
                            {.fd = server->tcp, .events = POLLIN},
                            {.fd = server->stop[0], .events = POLLIN}};

    while (poll(fds, 3, -1) >= 0 && !fds[2].revents) {
        if (fds[0].revents) {
            serve_udp(server);
        }
        if (fds[1].revents) {
            serve_tcp(server);
        }
    }
    return NULL;
}

void dns_server_start(struct dns_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    *server = (struct dns_server){0};
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    assert_int_equal(pipe(server->stop), 0);
    server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    server->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* UDP takes whatever port TCP got; another process may have it, so it is tried again. */
    do {
        close(server->tcp);
        server->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        address.sin_port = 0;
        assert_int_equal(bind(server->tcp, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(getsockname(server->tcp, (struct sockaddr *)&address, &length), 0);
    } while (bind(server->udp, (struct sockaddr *)&address, sizeof address) != 0);
    assert_int_equal(listen(server->tcp, 16), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

void dns_server_stop(struct dns_server *server)
{
    assert_int_equal(write(server->stop[1], "x", 1), 1);
    pthread_join(server->thread, NULL);
    close(server->stop[0]);
    close(server->stop[1]);
    close(server->udp);
    close(server->tcp);
    pthread_mutex_destroy(&server->lock);
}

unsigned dns_server_questions(struct dns_server *server)
{
    unsigned questions;

    pthread_mutex_lock(&server->lock);
    questions = server->questions;
    pthread_mutex_unlock(&server->lock);
    return questions;
}
