/*
 * admin/json_priv.h - values in answers: text from outside, times, lists.
 */
#ifndef POSTERN_ADMIN_JSON_PRIV_H
#define POSTERN_ADMIN_JSON_PRIV_H

#include "postern/base/str.h"
#include "postern/base/time.h"

#include <jansson.h>

/* The two clocks at one moment: queue time is shown as wall time. */
struct admin_clock {
    int64_t queue_ms;
    struct pn_wall wall;
};

/* Outside text as a JSON string; octets that are no UTF-8 become "\xNN". */
json_t *admin_json_text(struct pn_str text);
/* A line of a session, as out_line_fn has it: "> EHLO mx2.example.net". */
json_t *admin_json_line(char direction, struct pn_str line);
json_t *admin_json_u64(uint64_t number); /* saturates at 2^63 - 1 */
json_t *admin_json_wall(struct pn_wall when);
json_t *admin_json_seconds(int64_t duration_ms);

/* Sets key; the value is the callee's. */
void admin_json_put(json_t *object, const char *key, json_t *value);

/*
 * Sets key to the moment as RFC 3339 and key_s to its distance from now in seconds: how
 * long ago, or, for `next`, how long until (0 when it is past). queue_ms 0: both are null.
 */
void admin_json_past(json_t *object, const char *key, const struct admin_clock *clock,
                     int64_t queue_ms);
/* The same for a moment of wall time; 0: both are null. */
void admin_json_wall_past(json_t *object, const char *key, const struct admin_clock *clock,
                          struct pn_wall when);
void admin_json_next(json_t *object, const char *key, const struct admin_clock *clock,
                     int64_t queue_ms);

#endif
