#include "helper_httpd.h"

#include "postern/base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 30000

void place_init(struct place *place)
{
    *place = (struct place){.directory = "/tmp/postern-test-XXXXXX"};
    assert_non_null(mkdtemp(place->directory));
    assert_true(snprintf(place->socket_path, sizeof place->socket_path, "%s/admin.sock",
                         place->directory) > 0);
}

void place_fini(struct place *place)
{
    assert_int_equal(rmdir(place->directory), 0);
}

void rig_answer(struct rig *rig, struct httpd_request *request, unsigned status,
                const char *text)
{
    struct pn_buf body;

    pn_buf_init(&body, 1024);
    assert_int_equal(pn_buf_append_z(&body, text), 0);
    if (request == rig->pending) {
        rig->pending = NULL;
    }
    httpd_reply(request, status, "text/plain", &body);
    assert_int_equal(body.len, 0);
    pn_buf_fini(&body);
}

static void on_request(void *owner, struct httpd_request *request)
{
    struct rig *rig = owner;
    const char *query = httpd_query(request, "q");

    rig->body_octets = request->body.len;
    assert_true(snprintf(rig->seen, sizeof rig->seen, "%s %s %s %.*s", request->method,
                         request->path, query ? query : "-",
                         (int)pn_str_sub(request->body, 0, 50).len, request->body.ptr) > 0);
    if (rig->keep) {
        assert_null(rig->pending);
        rig->pending = request;
    } else {
        rig_answer(rig, request, 200, rig->seen);
    }
}

static void on_wake(void *owner)
{
    ((struct rig *)owner)->wakes++;
}

void rig_init(struct rig *rig)
{
    struct pn_err err = {0};

    *rig = (struct rig){0};
    place_init(&rig->place);
    rig->events = (struct httpd_server_events){rig, on_request, on_wake};
    rig->server = httpd_server_new(rig->place.socket_path, "", &rig->events, &err);
    assert_string_equal(err.text, "");
    assert_non_null(rig->server);
}

void rig_fini(struct rig *rig)
{
    httpd_server_free(&rig->server);
    assert_null(rig->server);
    place_fini(&rig->place);
}

int client_connect(const struct rig *rig)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    memcpy(address.sun_path, rig->place.socket_path, strlen(rig->place.socket_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void rig_turn(struct rig *rig, int fd, short events)
{
    struct pollfd fds[2] = {{.fd = httpd_server_fd(rig->server), .events = POLLIN},
                            {.fd = fd, .events = events}};
    int64_t timeout_ms = httpd_server_timeout_ms(rig->server);
    bool patient = timeout_ms < 0 || timeout_ms > PATIENCE_MS;
    int ready = poll(fds, 2, patient ? PATIENCE_MS : (int)timeout_ms);

    if (ready == 0 && patient) {
        fail_msg("nothing happened for 30 s");
    }
    httpd_server_run(rig->server);
}

void client_send(struct rig *rig, int fd, struct pn_str data)
{
    while (data.len > 0) {
        ssize_t sent = send(fd, data.ptr, data.len, MSG_NOSIGNAL);

        if (sent > 0) {
            data = pn_str_sub(data, (size_t)sent, SIZE_MAX);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return; /* it has answered and closed */
        } else {
            assert_int_equal(errno, EAGAIN);
            rig_turn(rig, fd, POLLOUT);
        }
    }
}

const char *client_receive(struct rig *rig, int fd, const char *until)
{
    static char text[65537];
    size_t octets = 0;

    text[0] = '\0';
    while (octets < sizeof text - 1 && !strstr(text, until)) {
        ssize_t got = recv(fd, text + octets, sizeof text - 1 - octets, 0);

        if (got > 0) {
            octets += (size_t)got;
            text[octets] = '\0';
        } else if (got == 0 || errno == ECONNRESET) {
            break;
        } else {
            assert_int_equal(errno, EAGAIN);
            rig_turn(rig, fd, POLLIN);
        }
    }
    return text;
}
