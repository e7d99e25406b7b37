/*
 * admin/json.c - values in answers: text from outside, times, lists.
 *
 * jansson refuses strings that are not UTF-8, and addresses or replies may be any octets.
 * What cannot be shown as it is becomes visible, and never makes an answer fail.
 */
#include "json_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define KEY_MAX 64

void admin_json_put(json_t *object, const char *key, json_t *value)
{
    pn_assert(json_object_set_new(object, key, value) == 0);
}

/* The octets of one well-formed UTF-8 character at the front of text, 0 if there is none. */
static size_t character_at(struct pn_str text)
{
    for (size_t octets = 1; octets <= 4 && octets <= text.len; octets++) {
        if (pn_str_is_utf8(pn_str_sub(text, 0, octets))) {
            return octets;
        }
    }
    return 0;
}

json_t *admin_json_text(struct pn_str text)
{
    struct pn_buf shown;
    json_t *json;

    if (pn_str_is_utf8(text)) {
        json = json_stringn_nocheck(text.len > 0 ? text.ptr : "", text.len);
        pn_assert(json);
        return json;
    }
    pn_buf_init(&shown, text.len * 4); /* each octet becomes at most "\xNN" */
    while (text.len > 0) {
        size_t octets = character_at(text);

        if (octets > 0) {
            pn_assert(pn_buf_append(&shown, pn_str_sub(text, 0, octets)) == 0);
        } else {
            pn_assert(pn_buf_printf(&shown, "\\x%02x", (unsigned char)text.ptr[0]) == 0);
            octets = 1;
        }
        text = pn_str_sub(text, octets, SIZE_MAX);
    }
    json = json_stringn_nocheck(pn_buf_str(&shown).ptr, shown.len);
    pn_assert(json);
    pn_buf_fini(&shown);
    return json;
}

json_t *admin_json_line(char direction, struct pn_str line)
{
    char before[] = {direction, ' '};
    struct pn_buf text;
    json_t *json;

    pn_buf_init(&text, line.len + sizeof before);
    pn_assert(pn_buf_append(&text, (struct pn_str){before, sizeof before}) == 0);
    pn_assert(pn_buf_append(&text, line) == 0);
    json = admin_json_text(pn_buf_str(&text));
    pn_buf_fini(&text);
    return json;
}

json_t *admin_json_u64(uint64_t number)
{
    return json_integer(number < INT64_MAX ? (json_int_t)number : INT64_MAX);
}

json_t *admin_json_seconds(int64_t duration_ms)
{
    return json_real((double)duration_ms / 1000);
}

json_t *admin_json_wall(struct pn_wall when)
{
    struct pn_buf text;
    json_t *json;

    pn_buf_init(&text, 64);
    pn_assert(pn_wall_rfc3339(when, &text) == 0);
    json = json_stringn_nocheck(pn_buf_str(&text).ptr, text.len);
    pn_assert(json);
    pn_buf_fini(&text);
    return json;
}

/* The name of the distance that belongs to a moment. */
static void name_distance(const char *key, char out[KEY_MAX])
{
    size_t octets = strlen(key);

    pn_assert(octets + sizeof "_s" <= KEY_MAX);
    memcpy(out, key, octets);
    memcpy(out + octets, "_s", sizeof "_s");
}

static void put_wall(json_t *object, const char *key, struct pn_wall when, int64_t distance_ms)
{
    char key_s[KEY_MAX];

    name_distance(key, key_s);
    admin_json_put(object, key, admin_json_wall(when));
    admin_json_put(object, key_s, admin_json_seconds(distance_ms > 0 ? distance_ms : 0));
}

static void put_never(json_t *object, const char *key)
{
    char key_s[KEY_MAX];

    name_distance(key, key_s);
    admin_json_put(object, key, json_null());
    admin_json_put(object, key_s, json_null());
}

static void put_moment(json_t *object, const char *key, const struct admin_clock *clock,
                       int64_t queue_ms, int64_t distance_ms)
{
    if (queue_ms == 0 || queue_ms == INT64_MAX) {
        put_never(object, key);
    } else {
        put_wall(object, key, pn_wall_add(clock->wall, queue_ms - clock->queue_ms),
                 distance_ms);
    }
}

void admin_json_past(json_t *object, const char *key, const struct admin_clock *clock,
                     int64_t queue_ms)
{
    put_moment(object, key, clock, queue_ms, clock->queue_ms - queue_ms);
}

void admin_json_next(json_t *object, const char *key, const struct admin_clock *clock,
                     int64_t queue_ms)
{
    put_moment(object, key, clock, queue_ms, queue_ms - clock->queue_ms);
}

void admin_json_wall_past(json_t *object, const char *key, const struct admin_clock *clock,
                          struct pn_wall when)
{
    if (when.ms == 0) {
        put_never(object, key);
    } else {
        put_wall(object, key, when, clock->wall.ms - when.ms);
    }
}
