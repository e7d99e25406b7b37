/*
 * conf/options_priv.h - the rows of options.def as the other sources of conf/ need them.
 *
 * conf_options() is for people; a row here adds what a reader must know: the type as a
 * number, and where the field lies in its struct. Both tables have the same order.
 */
#ifndef POSTERN_CONF_OPTIONS_PRIV_H
#define POSTERN_CONF_OPTIONS_PRIV_H

#include "postern/conf/conf.h"

enum conf_section {
    CONF_MAIN,
    CONF_LISTENER,
    CONF_CERTIFICATE,
    CONF_DOMAIN,
    CONF_SMART_HOST,
    CONF_OUTBOUND,
};

enum conf_type {
    CONF_STRING,
    CONF_STRINGS,
    CONF_DURATION,
    CONF_SIZE,
    CONF_NUMBER,
    CONF_BOOL,
    CONF_WORD,
    CONF_WORDS,
    CONF_ORDER,
    CONF_NETS,
    CONF_RATE,
};

/* The index of each option in both tables: OPTION_MAIN_hostname, OPTION_DOMAIN_hold … */
enum conf_option_index {
#define MAIN(name, ...)        OPTION_MAIN_##name,
#define LISTENER(name, ...)    OPTION_LISTENER_##name,
#define CERTIFICATE(name, ...) OPTION_CERTIFICATE_##name,
#define DOMAIN(name, ...)      OPTION_DOMAIN_##name,
#define SMART_HOST(name, ...)  OPTION_SMART_HOST_##name,
#define OUTBOUND(name, ...)    OPTION_OUTBOUND_##name,
#include "postern/conf/options.def"
    OPTION_COUNT
};

struct conf_row {
    enum conf_section section;
    enum conf_type type;
    size_t offset;     /* of the field, in the section's struct */
    const char *words; /* "a|b|c" of types that have words */
    const char *full;  /* "hold", "listener.address": what conf_option_find takes */
};

const struct conf_row *conf_row_get(size_t index);
const struct conf_option *conf_option_get(size_t index);
bool conf_type_is_list(enum conf_type type);
bool conf_type_has_words(enum conf_type type);

/* The option of that section with exactly this name, or OPTION_COUNT. */
size_t conf_row_find(enum conf_section section, struct pn_str name);

/* The row of a domain's file that says just the same, or OPTION_COUNT: for a next hop in
 * postern.conf, whose options need not be explained twice. */
size_t conf_row_twin(size_t index);

/* "postern.conf", "a listener section" …: where the options of a section stand. */
const char *conf_section_place(enum conf_section section);

/* Keeps the most similar of the names it is shown; init with {name, SIZE_MAX, NULL}. */
struct conf_nearest {
    struct pn_str name;
    size_t distance;
    const char *found; /* NULL: none was similar enough to be meant */
};
void conf_nearest_consider(struct conf_nearest *nearest, const char *candidate);

#endif
