/*
 * conf/options.c - options.def as two tables, and the search for a name in them.
 *
 * The .def file is included once for each table. A type contributes its part by token
 * pasting (OFFSET_DURATION, KIND_WORD …), so that a row stays one line and a new type is a
 * handful of macros here plus its reader in values.c.
 */
#include "options_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

enum { REQUIRED = 1, RESTART = 2 };

#define OFFSET_STRING(object, name)   offsetof(struct object, name)
#define OFFSET_STRINGS(object, name)  offsetof(struct object, name)
#define OFFSET_DURATION(object, name) offsetof(struct object, name##_ms)
#define OFFSET_SIZE(object, name)     offsetof(struct object, name##_octets)
#define OFFSET_NUMBER(object, name)   offsetof(struct object, name)
#define OFFSET_BOOL(object, name)     offsetof(struct object, name)
#define OFFSET_WORD(object, name)     offsetof(struct object, name)
#define OFFSET_WORDS(object, name)    offsetof(struct object, name)
#define OFFSET_ORDER(object, name)    offsetof(struct object, name)
#define OFFSET_NETS(object, name)     offsetof(struct object, name)
#define OFFSET_RATE(object, name)     offsetof(struct object, name)

#define KIND_STRING(min)   "string"
#define KIND_STRINGS(min)  "list of strings"
#define KIND_DURATION(min) "duration"
#define KIND_SIZE(min)     "size"
#define KIND_NUMBER(min)   "number"
#define KIND_BOOL(min)     "yes|no"
#define KIND_WORD(min)     min
#define KIND_WORDS(min)    "list of " min
#define KIND_ORDER(min)    "some of " min ", in order"
#define KIND_NETS(min)     "list of networks"
#define KIND_RATE(min)     "rate"

/* The words of a WORD stand in the column of the least value. */
#define LEAST_STRING(min)   ""
#define LEAST_STRINGS(min)  min
#define LEAST_DURATION(min) min
#define LEAST_SIZE(min)     min
#define LEAST_NUMBER(min)   min
#define LEAST_BOOL(min)     ""
#define LEAST_WORD(min)     ""
#define LEAST_WORDS(min)    ""
#define LEAST_ORDER(min)    ""
#define LEAST_NETS(min)     ""
#define LEAST_RATE(min)     ""

#define ROW(part, object, prefix, name, type, min)                                             \
    {part, CONF_##type, OFFSET_##type(object, name), (min), prefix #name},
#define MAIN(name, type, def, min, ...) ROW(CONF_MAIN, conf, "", name, type, min)
#define LISTENER(name, type, def, min, ...)                                                    \
    ROW(CONF_LISTENER, conf_listener, "listener.", name, type, min)
#define CERTIFICATE(name, type, def, min, ...)                                                 \
    ROW(CONF_CERTIFICATE, conf_certificate, "certificate.", name, type, min)
#define DOMAIN(name, type, def, min, ...) ROW(CONF_DOMAIN, conf_domain, "", name, type, min)
#define SMART_HOST(name, type, def, min, ...)                                                  \
    ROW(CONF_SMART_HOST, conf_domain, "smart_host.", name, type, min)
#define OUTBOUND(name, type, def, min, ...)                                                    \
    ROW(CONF_OUTBOUND, conf_domain, "outbound.", name, type, min)
static const struct conf_row rows[] = {
#include "postern/conf/options.def"
};

#define OPTION(part, name, type, def, min, max, flags, help)                                   \
    {part,                                                                                     \
     #name,                                                                                    \
     KIND_##type(min),                                                                         \
     ((flags)&REQUIRED) ? NULL : (def),                                                        \
     LEAST_##type(min),                                                                        \
     max,                                                                                      \
     ((flags)&REQUIRED) != 0,                                                                  \
     ((flags)&RESTART) != 0,                                                                   \
     help},
#define MAIN(...)        OPTION("", __VA_ARGS__)
#define LISTENER(...)    OPTION("listener", __VA_ARGS__)
#define CERTIFICATE(...) OPTION("certificate", __VA_ARGS__)
#define DOMAIN(...)      OPTION("domain", __VA_ARGS__)
#define SMART_HOST(...)  OPTION("smart_host", __VA_ARGS__)
#define OUTBOUND(...)    OPTION("outbound", __VA_ARGS__)
static const struct conf_option options[] = {
#include "postern/conf/options.def"
};

const struct conf_option *conf_options(size_t *out_count)
{
    *out_count = PN_COUNT(options);
    return options;
}

const struct conf_row *conf_row_get(size_t index)
{
    pn_assert(index < OPTION_COUNT);
    return &rows[index];
}

const struct conf_option *conf_option_get(size_t index)
{
    pn_assert(index < OPTION_COUNT);
    return &options[index];
}

bool conf_type_is_list(enum conf_type type)
{
    return type == CONF_STRINGS || type == CONF_WORDS || type == CONF_ORDER ||
           type == CONF_NETS;
}

bool conf_type_has_words(enum conf_type type)
{
    return type == CONF_WORD || type == CONF_WORDS || type == CONF_ORDER;
}

size_t conf_row_find(enum conf_section section, struct pn_str name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (rows[i].section == section && pn_str_eq(name, pn_str_z(options[i].name))) {
            return i;
        }
    }
    return OPTION_COUNT;
}

size_t conf_row_twin(size_t index)
{
    enum conf_section section = conf_row_get(index)->section;
    size_t twin = OPTION_COUNT;

    if (section == CONF_SMART_HOST || section == CONF_OUTBOUND) {
        twin = conf_row_find(CONF_DOMAIN, pn_str_z(options[index].name));
    }
    return twin < OPTION_COUNT && strcmp(options[twin].help, options[index].help) == 0
               ? twin
               : OPTION_COUNT;
}

const char *conf_section_place(enum conf_section section)
{
    static const char *const places[] = {
        [CONF_MAIN] = "in postern.conf, outside of its sections",
        [CONF_LISTENER] = "in a listener section of postern.conf",
        [CONF_CERTIFICATE] = "in a certificate section of postern.conf",
        [CONF_DOMAIN] = "in a domain's file",
        [CONF_SMART_HOST] = "in a smart_host section of postern.conf",
        [CONF_OUTBOUND] = "in the outbound section of postern.conf",
    };

    return places[section];
}

void conf_nearest_consider(struct conf_nearest *nearest, const char *candidate)
{
    size_t distance = pn_str_distance(nearest->name, pn_str_z(candidate));

    /* More than half of the name wrong is another name, not a slip of the finger. */
    if (distance < nearest->distance && distance <= nearest->name.len / 2) {
        nearest->distance = distance;
        nearest->found = candidate;
    }
}

const struct conf_option *conf_option_find(struct pn_str name, const char **out_nearest)
{
    struct conf_nearest nearest = {name, SIZE_MAX, NULL};

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (pn_str_eq(name, pn_str_z(rows[i].full))) {
            return &options[i];
        }
    }
    /* "starttls" alone can only mean listener.starttls, "domain.hold" only hold. */
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        struct pn_str rest = name;
        struct pn_str section = pn_str_cut(&rest, '.');

        if (pn_str_eq(name, pn_str_z(options[i].name)) ||
            (pn_str_eq(section, pn_str_z(options[i].section)) &&
             pn_str_eq(rest, pn_str_z(options[i].name)))) {
            return &options[i];
        }
        conf_nearest_consider(&nearest, rows[i].full);
    }
    *out_nearest = nearest.found;
    return NULL;
}
