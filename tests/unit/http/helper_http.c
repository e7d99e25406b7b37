#include "helper_http.h"

#include "postern/base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 8192

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
    loop->port.now.ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + loop->ahead_ms;
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

    wait_ms = wait_ms < 0 ? 0 : wait_ms > 20 ? 20 : wait_ms;
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        unsigned events = loop->watches[i].events;

        fds[i] = (struct pollfd){.fd = loop->watches[i].fd};
        fds[i].events = (short)(((events & HTTP_READABLE) ? POLLIN : 0) |
                                ((events & HTTP_WRITABLE) ? POLLOUT : 0));
    }
    assert_true(poll(fds, POLL_WATCHES, (int)wait_ms) >= 0);
    read_clock(loop);
    for (size_t i = 0; i < POLL_WATCHES; i++) {
        struct poll_watch *watch = &loop->watches[i];
        unsigned events = (fds[i].revents & POLLIN ? HTTP_READABLE : 0u) |
                          (fds[i].revents & POLLOUT ? HTTP_WRITABLE : 0u);

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

const struct http_watch_ops poll_loop_watches = {
    .watch = watch_new, .change = watch_change, .unwatch = watch_free};

/* Reads a request with its body; false when the client went away before its end. */
static bool read_request(int fd, char request[REQUEST_MAX])
{
    size_t got = 0;
    size_t wanted = 0;

    while (wanted == 0 || got < wanted) {
        ssize_t n = recv(fd, request + got, REQUEST_MAX - 1 - got, 0);
        const char *end;
        const char *length;

        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
        request[got] = '\0';
        end = strstr(request, "\r\n\r\n");
        length = strstr(request, "Content-Length: ");
        if (end) {
            wanted = (size_t)(end - request) + 4 +
                     (length ? strtoul(length + strlen("Content-Length: "), NULL, 10) : 0);
        }
    }
    return true;
}

static bool put(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Until the client has had enough. */
static void put_again_and_again(int fd, const char *text)
{
    while (put(fd, text)) {
    }
}

static void wait_for_end(int fd)
{
    char octet;

    while (recv(fd, &octet, 1, 0) > 0) {
    }
}

static const struct {
    const char *path;
    const char *answer;
} answers[] = {
    {"/ok ", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\neTag: \t\"v1\" \r\n"
             "Last-Modified: Sat, 21 Nov 2026 20:55:08 GMT\r\n\r\nhello"},
    {"/chunks ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"},
    {"/same ", "HTTP/1.1 304 Not Modified\r\nETag: \"v2\"\r\n\r\n"},
    {"/gone ", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"},
    {"/moved ", "HTTP/1.1 301 Moved\r\nLocation: http://elsewhere.example/\r\n"
                "Content-Length: 3\r\n\r\nbye"},
    {"/interim ", "HTTP/1.1 103 Early Hints\r\nETag: \"early\"\r\n\r\n"
                  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    {"/badtag ", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"\xff\"\r\n\r\n"},
    {"/announced ", "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nx"},
    {"/early ", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"},
    {"/garbage ", "220 mail.example.org ESMTP\r\n"},
};

static void answer(int fd, const char *request)
{
    const char *path = strchr(request, ' ') + 1;

    if (strncmp(path, "/endless ", 9) == 0) {
        put(fd, "HTTP/1.1 200 OK\r\n\r\n");
        put_again_and_again(fd, "0123456789abcdef0123456789abcdef");
    } else if (strncmp(path, "/headers ", 9) == 0) {
        put(fd, "HTTP/1.1 200 OK\r\n");
        put_again_and_again(fd, "X-Header: 0123456789abcdef0123456789abcdef\r\n");
    } else if (strncmp(path, "/stall ", 7) == 0) {
        put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
        wait_for_end(fd);
    } else if (strncmp(path, "/silent ", 8) == 0) {
        wait_for_end(fd);
    } else if (strncmp(path, "/echo ", 6) == 0) {
        char head[128];

        (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                       strlen(request));
        put(fd, head);
        put(fd, request);
    }
    for (size_t i = 0; i < PN_COUNT(answers); i++) {
        if (strncmp(path, answers[i].path, strlen(answers[i].path)) == 0) {
            put(fd, answers[i].answer);
        }
    }
}

static void serve(struct http_server *server, int fd)
{
    char request[REQUEST_MAX];

    if (read_request(fd, request)) {
        pthread_mutex_lock(&server->lock);
        server->heard++;
        pthread_mutex_unlock(&server->lock);
        answer(fd, request);
    }
    (void)close(fd);
}

static void *server_main(void *arg)
{
    struct http_server *server = arg;
    struct pollfd fds[2] = {{.fd = server->listener, .events = POLLIN},
                            {.fd = server->stop[0], .events = POLLIN}};

    while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            serve(server, fd);
        }
    }
    return NULL;
}

void http_server_start(struct http_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    *server = (struct http_server){0};
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    assert_int_equal(pipe(server->stop), 0);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

void http_server_stop(struct http_server *server)
{
    assert_int_equal(write(server->stop[1], "x", 1), 1);
    pthread_join(server->thread, NULL);
    close(server->stop[0]);
    close(server->stop[1]);
    close(server->listener);
    pthread_mutex_destroy(&server->lock);
}

unsigned http_server_heard(struct http_server *server)
{
    unsigned heard;

    pthread_mutex_lock(&server->lock);
    heard = server->heard;
    pthread_mutex_unlock(&server->lock);
    return heard;
}
