/*
 * bench/source.c - SMTP clients for the race, many in one process.
 *
 *     source [-d] [-p] -s SESSIONS -m MESSAGES -l OCTETS HOST PORT
 *
 * Each session says EHLO and sends messages of OCTETS octets; with -d all that are left,
 * without it one, and then the next session begins. With -p MAIL, RCPT and DATA leave in
 * one write where the server announces PIPELINING, as Postfix's client and most others do;
 * without it each waits for the last one's reply, as smtp-source does. Any reply of 400 or
 * more ends the program with status 1: a race with refused mail says nothing.
 *
 * A server whose queue of connections is short may forget one (with SYN cookies it keeps no
 * trace of it); a session without a greeting for a second connects again, as a mailer would.
 *
 * Why not smtp-source alone: it needs about as much of a core as the relay under test, and
 * the relay can be no faster than what is left. This one formats nothing while it runs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS     256
#define GREETED_S  1
#define REPLY_MAX  4096
#define LINE_WIDTH 76

enum state { BANNER, HELO, MAIL, RCPT, DATA, TEXT };

struct session {
    int fd;
    enum state state;
    time_t begun;
    unsigned awaited; /* replies, until the state's own is there */
    bool pipelining;
    const char *out; /* what the kernel has not taken */
    size_t out_len;
    char reply[REPLY_MAX];
    size_t reply_len;
};

static const char helo[] = "EHLO client.example.net\r\n";
static const char mail[] = "MAIL FROM:<sender@example.net>\r\n";
static const char rcpt[] = "RCPT TO:<user@example.org>\r\n";
static const char data[] = "DATA\r\n";
static const char group[] = "MAIL FROM:<sender@example.net>\r\n"
                            "RCPT TO:<user@example.org>\r\n"
                            "DATA\r\n";
static const char quit[] = "QUIT\r\n";

static struct sockaddr_in server;
static int poller;
static char *text;
static size_t text_len;
static bool keep;
static bool pipeline;
static unsigned long unsent;  /* messages that no session has begun */
static unsigned long unended; /* messages without a final reply */
static unsigned open_sessions;

static time_t now_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec;
}

static void die(const char *what)
{
    fprintf(stderr, "source: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_text(size_t octets)
{
    static const char header[] = "From: sender@example.net\r\nTo: user@example.org\r\n"
                                 "Subject: a message of the race\r\n"
                                 "Message-Id: <race@client.example.net>\r\n\r\n";
    size_t header_len = sizeof header - 1;
    unsigned seed = 1;

    text = malloc(octets + header_len + 8);
    if (!text) {
        die("memory");
    }
    memcpy(text, header, header_len);
    text_len = header_len;
    /* Letters without a pattern: what a store compresses away would not be a race. */
    for (size_t column = 0; text_len + 2 < octets; column++) {
        if (column == LINE_WIDTH) {
            memcpy(text + text_len, "\r\n", 2);
            text_len += 2;
            column = 0;
        }
        seed = seed * 1103515245 + 12345;
        text[text_len++] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(seed >> 16) &
                                                                               63];
    }
    memcpy(text + text_len, "\r\n.\r\n", 5);
    text_len += 5;
}

static void watch(struct session *session, int how, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = session};

    if (epoll_ctl(poller, how, session->fd, &event) != 0) {
        die("epoll");
    }
}

static void flush(struct session *session, bool was_waiting)
{
    while (session->out_len > 0) {
        ssize_t n = send(session->fd, session->out, session->out_len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            if (!was_waiting) {
                watch(session, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return;
        }
        if (n < 0) {
            die("send");
        }
        session->out += n;
        session->out_len -= (size_t)n;
    }
    if (was_waiting) {
        watch(session, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void say(struct session *session, enum state next, const char *words, size_t len,
                unsigned replies)
{
    session->state = next;
    session->awaited = replies;
    session->out = words;
    session->out_len = len;
    flush(session, false);
}

static void session_begin(struct session *session)
{
    const int yes = 1;

    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    session->state = BANNER;
    session->begun = now_s();
    session->awaited = 1;
    session->reply_len = 0;
    session->out_len = 0;
    if (session->fd < 0 ||
        (connect(session->fd, (struct sockaddr *)&server, sizeof server) != 0 &&
         errno != EINPROGRESS)) {
        die("connect");
    }
    (void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(session, EPOLL_CTL_ADD, EPOLLIN);
    open_sessions++;
}

static void session_end(struct session *session)
{
    close(session->fd);
    session->fd = -1;
    open_sessions--;
    if (unsent > 0) {
        session_begin(session);
    }
}

/* A message, or good-bye when there is none left; whose answer is not waited for, as
 * Postfix's client does not (smtp_skip_quit_response). Exim gives it after 0.2 s. */
static void next_message(struct session *session, bool first)
{
    if (unsent == 0 || (!first && !keep)) {
        (void)!write(session->fd, quit, sizeof quit - 1);
        session_end(session);
        return;
    }
    unsent--;
    if (session->pipelining) {
        say(session, DATA, group, sizeof group - 1, 3);
    } else {
        say(session, MAIL, mail, sizeof mail - 1, 1);
    }
}

/* The reply that the state waits for is there, and was good. */
static void step(struct session *session)
{
    switch (session->state) {
    case BANNER:
        say(session, HELO, helo, sizeof helo - 1, 1);
        break;
    case HELO:
        session->pipelining =
            pipeline && memmem(session->reply, session->reply_len, "PIPELINING", 10);
        next_message(session, true);
        break;
    case MAIL:
        say(session, RCPT, rcpt, sizeof rcpt - 1, 1);
        break;
    case RCPT:
        say(session, DATA, data, sizeof data - 1, 1);
        break;
    case DATA:
        say(session, TEXT, text, text_len, 1);
        break;
    case TEXT:
        unended--;
        next_message(session, false);
        break;
    }
}

/* Takes whole replies from the front; true when the awaited ones have all come. */
static bool take_replies(struct session *session)
{
    char *at = session->reply;
    char *end = session->reply + session->reply_len;
    char *line_end;

    while (session->awaited > 0 && (line_end = memchr(at, '\n', (size_t)(end - at)))) {
        if (*at >= '4') {
            fprintf(stderr, "source: %.*s\n", (int)(line_end - at), at);
            exit(1);
        }
        if (line_end - at > 3 && at[3] == ' ') {
            session->awaited--;
        }
        at = line_end + 1;
    }
    if (session->awaited > 0) {
        /* EHLO's lines are kept until its last one: PIPELINING is among them. */
        if (session->state != HELO) {
            session->reply_len = (size_t)(end - at);
            memmove(session->reply, at, session->reply_len);
        } else {
            session->awaited = 1;
        }
    }
    return session->awaited == 0;
}

static void readable(struct session *session)
{
    ssize_t n = recv(session->fd, session->reply + session->reply_len,
                     sizeof session->reply - session->reply_len, 0);

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        fprintf(stderr, "source: the server ended the connection\n");
        exit(1);
    }
    session->reply_len += (size_t)n;
    if (take_replies(session)) {
        step(session);
        session->reply_len = 0;
    }
}

static void connect_again(struct session *sessions, unsigned long count)
{
    for (unsigned long i = 0; i < count; i++) {
        struct session *session = &sessions[i];

        if (session->fd >= 0 && session->state == BANNER &&
            now_s() - session->begun > GREETED_S) {
            close(session->fd);
            open_sessions--;
            session_begin(session);
        }
    }
}

static void usage(void)
{
    fprintf(stderr, "usage: source [-d] [-p] -s SESSIONS -m MESSAGES -l OCTETS HOST PORT\n");
    exit(2);
}

int main(int argc, char **argv)
{
    unsigned long sessions = 1;
    unsigned long octets = 4096;
    struct epoll_event events[EVENTS];
    struct session *all;
    time_t checked;
    int option;

    while ((option = getopt(argc, argv, "dps:m:l:")) != -1) {
        switch (option) {
        case 'd':
            keep = true;
            break;
        case 'p':
            pipeline = true;
            break;
        case 's':
            sessions = strtoul(optarg, NULL, 10);
            break;
        case 'm':
            unsent = strtoul(optarg, NULL, 10);
            break;
        case 'l':
            octets = strtoul(optarg, NULL, 10);
            break;
        default:
            usage();
        }
    }
    server.sin_family = AF_INET;
    if (argc - optind != 2 || inet_pton(AF_INET, argv[optind], &server.sin_addr) != 1) {
        usage();
    }
    server.sin_port = htons((unsigned short)strtoul(argv[optind + 1], NULL, 10));
    unended = unsent;
    make_text(octets);
    poller = epoll_create1(EPOLL_CLOEXEC);
    sessions = sessions < unsent ? sessions : unsent;
    all = calloc(sessions, sizeof *all);
    if (!all) {
        die("memory");
    }
    for (unsigned long i = 0; i < sessions; i++) {
        session_begin(&all[i]);
    }
    checked = now_s();
    while (unended > 0 || open_sessions > 0) {
        int count = epoll_wait(poller, events, EVENTS, 1000);

        for (int i = 0; i < count; i++) {
            if (events[i].events & EPOLLOUT) {
                flush(events[i].data.ptr, true);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                readable(events[i].data.ptr);
            }
        }
        if (now_s() != checked) {
            checked = now_s();
            connect_again(all, sessions);
        }
    }
    return 0;
}
