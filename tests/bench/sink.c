/*
 * bench/sink.c - a primary that takes everything: ESMTP with PIPELINING and CHUNKING.
 *
 *     sink PORT
 *
 * Prints "mesg=N" when N has changed, once for each turn of its loop. Why not smtp-sink: it
 * takes 3,500 messages of 64 KiB a second and was the slowest part of that race; and it has
 * no CHUNKING, which Postfix, Exim and most large servers have had for years.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS  256
#define LINE    4096
#define REPLIES 65536

enum state { COMMAND, TEXT, CHUNK };

struct session {
    int fd;
    enum state state;
    bool last;        /* of CHUNK */
    size_t left;      /* of CHUNK */
    unsigned matched; /* octets of CRLF.CRLF that were seen, of TEXT */
    char line[LINE];
    size_t line_len;
    char out[REPLIES];
    size_t out_len;
};

static const char ehlo_reply[] =
    "250-sink.example.org\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n"
    "250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n";
static const char text_end[] = "\r\n.\r\n";
static unsigned long messages;

static void answer(struct session *session, const char *reply)
{
    size_t len = strlen(reply);

    if (session->out_len + len <= sizeof session->out) {
        memcpy(session->out + session->out_len, reply, len);
        session->out_len += len;
    }
}

static bool is(const struct session *session, const char *verb)
{
    return strncasecmp(session->line, verb, strlen(verb)) == 0;
}

static void begin_chunk(struct session *session)
{
    char *end;

    session->left = strtoul(session->line + 5, &end, 10);
    session->last = strcasestr(end, "LAST") != NULL;
    session->state = CHUNK;
}

static void taken(struct session *session)
{
    messages++;
    answer(session, "250 2.0.0 taken\r\n");
}

static void chunk_step(struct session *session)
{
    if (session->state == CHUNK && session->left == 0) {
        session->state = COMMAND;
        if (session->last) {
            taken(session);
        } else {
            answer(session, "250 2.0.0 chunk\r\n");
        }
    }
}

static void command(struct session *session)
{
    if (is(session, "EHLO")) {
        answer(session, ehlo_reply);
    } else if (is(session, "DATA")) {
        session->state = TEXT;
        session->matched = 2; /* the command's own line end */
        answer(session, "354 go on\r\n");
    } else if (is(session, "BDAT ")) {
        begin_chunk(session);
    } else if (is(session, "QUIT")) {
        answer(session, "221 2.0.0 bye\r\n");
    } else {
        answer(session, "250 2.0.0 ok\r\n");
    }
}

static void feed(struct session *session, const char *data, size_t len)
{
    while (len > 0) {
        if (session->state == CHUNK) {
            size_t n = len < session->left ? len : session->left;

            data += n;
            len -= n;
            session->left -= n;
        } else if (session->state == TEXT && session->matched == 0) {
            const char *next = memchr(data, '\r', len);
            size_t n = next ? (size_t)(next - data) : len;

            data += n;
            len -= n;
            session->matched = next != NULL;
            data += next != NULL;
            len -= next != NULL;
        } else if (session->state == TEXT) {
            session->matched =
                *data == text_end[session->matched] ? session->matched + 1 : *data == '\r';
            data++;
            len--;
            if (session->matched == sizeof text_end - 1) {
                session->state = COMMAND;
                taken(session);
            }
        } else {
            if (session->line_len + 1 < sizeof session->line) {
                session->line[session->line_len++] = *data;
            }
            if (*data == '\n') {
                session->line[session->line_len] = '\0';
                session->line_len = 0;
                command(session);
            }
            data++;
            len--;
        }
        chunk_step(session);
    }
}

/* False: the session has ended. */
static bool readable(struct session *session)
{
    static char data[1 << 18];
    ssize_t n = recv(session->fd, data, sizeof data, 0);

    if (n < 0 && errno == EAGAIN) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    feed(session, data, (size_t)n);
    /* Replies are short; a peer that does not read them is not of this race. */
    if (session->out_len > 0 &&
        send(session->fd, session->out, session->out_len, MSG_NOSIGNAL) < 0) {
        return false;
    }
    session->out_len = 0;
    return true;
}

static void adopt(int poller, int listener)
{
    struct session *session = calloc(1, sizeof *session);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    const int yes = 1;

    if (!session) {
        exit(1);
    }
    session->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (session->fd < 0) {
        free(session);
        return;
    }
    (void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    (void)!write(session->fd, "220 sink.example.org ESMTP\r\n", 28);
    (void)epoll_ctl(poller, EPOLL_CTL_ADD, session->fd, &event);
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)strtoul(port, NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1000) != 0) {
        perror("sink");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct epoll_event event = {.events = EPOLLIN};
    unsigned long told = 0;
    int poller = epoll_create1(EPOLL_CLOEXEC);
    int listener;

    if (argc != 2) {
        fprintf(stderr, "usage: sink PORT\n");
        return 2;
    }
    listener = listen_on(argv[1]);
    (void)epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    while (true) {
        int count = epoll_wait(poller, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            struct session *session = events[i].data.ptr;

            if (!session) {
                adopt(poller, listener);
            } else if (!readable(session)) {
                close(session->fd);
                free(session);
            }
        }
        if (messages != told) {
            told = messages;
            printf("mesg=%lu\n", messages);
            fflush(stdout);
        }
    }
}
