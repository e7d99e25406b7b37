/*
 * An admin server on a socket in a directory of its own, and clients that write octets.
 */
#ifndef POSTERN_TESTS_HTTPD_HELPER_H
#define POSTERN_TESTS_HTTPD_HELPER_H

#include "postern/httpd/server.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

struct place {
    char directory[64];
    char socket_path[96];
};
void place_init(struct place *place);
void place_fini(struct place *place); /* nothing may be left in it */

struct rig {
    struct place place;
    struct httpd_server *server;
    struct httpd_server_events events;
    unsigned wakes;
    struct httpd_request *pending; /* the request that on_request keeps, if it keeps */
    bool keep;
    char seen[256]; /* "METHOD path body" of the last request, the body cut */
    size_t body_octets;
};

void rig_init(struct rig *rig); /* answers each request 200 with what was seen */
void rig_fini(struct rig *rig);
void rig_answer(struct rig *rig, struct httpd_request *request, unsigned status,
                const char *text);

int client_connect(const struct rig *rig);
void client_send(struct rig *rig, int fd, struct pn_str data); /* runs the server meanwhile */
/* What the server sends until it has sent `until`, or closes; cut at 64 KiB. */
const char *client_receive(struct rig *rig, int fd, const char *until);
void rig_turn(struct rig *rig, int fd, short events); /* one wait: the server or fd */

#endif
