/*
 * conf/values.c - from texts to typed fields and back.
 *
 * Each type has one reader and one writer, chosen by a table. Defaults go through the same
 * readers as what a file says, so a default that is not valid shows in the first test.
 */
#include "values_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/time.h"

#define RATE_MOST 1000000

/* What is being read; text is the value as it stands in the file. */
struct item {
    struct conf_reader *reader;
    const struct conf_option *option;
    const struct conf_row *row;
    unsigned line;
    struct pn_str text;
};

/* Reads one value into the field (for lists: appends it); false when a mistake was said. */
typedef bool value_read_fn(const struct item *item, void *field);

/* What empty strings share: most options of a hundred thousand domains are not set. */
static const char empty[1] = "";

static void *field_of(size_t index, const void *object)
{
    return (char *)object + conf_row_get(index)->offset;
}

static bool say_wrong(const struct item *item, const char *expected)
{
    char quoted[CONF_QUOTE_CHARS];

    conf_reader_mistake(item->reader, item->line, "%s: %s is not %s, from %s to %s",
                        item->option->name, conf_text_quote(item->text, quoted), expected,
                        item->option->min, item->option->max);
    return false;
}

static bool say_range(const struct item *item, bool small)
{
    char quoted[CONF_QUOTE_CHARS];

    conf_reader_mistake(item->reader, item->line, "%s: %s is too %s; it must be from %s to %s",
                        item->option->name, conf_text_quote(item->text, quoted),
                        small ? "small" : "large", item->option->min, item->option->max);
    return false;
}

static bool read_string(const struct item *item, void *field)
{
    char **string = field;

    if (item->option->required && item->text.len == 0) {
        conf_reader_mistake(item->reader, item->line, "%s must not be empty",
                            item->option->name);
        return false;
    }
    *string = item->text.len > 0 ? pn_strndup(item->text) : (char *)(uintptr_t)empty;
    return true;
}

static bool read_strings(const struct item *item, void *field)
{
    struct conf_strings *strings = field;

    if (item->text.len == 0) {
        conf_reader_mistake(item->reader, item->line, "%s: an item is empty",
                            item->option->name);
        return false;
    }
    strings->items = pn_realloc(strings->items, (strings->count + 1) * sizeof *strings->items);
    strings->items[strings->count++] = pn_strndup(item->text);
    return true;
}

static bool read_duration(const struct item *item, void *field)
{
    int64_t ms = 0;
    int64_t least = 0;
    int64_t most = 0;

    if (!pn_duration_parse(item->text, &ms)) {
        return say_wrong(item, "a duration; write a number and one of s, m, h, d, w (\"90s\", "
                               "\"1h30m\", \"14d\")");
    }
    pn_assert(pn_duration_parse(pn_str_z(item->option->min), &least));
    pn_assert(pn_duration_parse(pn_str_z(item->option->max), &most));
    if (ms < least || ms > most) {
        return say_range(item, ms < least);
    }
    *(int64_t *)field = ms;
    return true;
}

static bool read_size(const struct item *item, void *field)
{
    uint64_t octets = 0;
    uint64_t least = 0;
    uint64_t most = 0;

    if (!pn_size_parse(item->text, &octets)) {
        return say_wrong(item, "a size; write a number, alone or with K, M, G or T (\"50M\")");
    }
    pn_assert(pn_size_parse(pn_str_z(item->option->min), &least));
    pn_assert(pn_size_parse(pn_str_z(item->option->max), &most));
    if (octets < least || octets > most) {
        return say_range(item, octets < least);
    }
    *(uint64_t *)field = octets;
    return true;
}

static bool read_number(const struct item *item, void *field)
{
    uint64_t number = 0;
    uint64_t least = 0;
    uint64_t most = 0;

    if (!pn_str_to_u64(item->text, INT64_MAX, &number)) {
        return say_wrong(item, "a whole number");
    }
    pn_assert(pn_str_to_u64(pn_str_z(item->option->min), INT64_MAX, &least));
    pn_assert(pn_str_to_u64(pn_str_z(item->option->max), INT64_MAX, &most));
    if (number < least || number > most) {
        return say_range(item, number < least);
    }
    *(int64_t *)field = (int64_t)number;
    return true;
}

static bool read_bool(const struct item *item, void *field)
{
    int index = conf_word_find("no|yes|false|true|off|on", item->text);
    char quoted[CONF_QUOTE_CHARS];

    if (index < 0) {
        conf_reader_mistake(item->reader, item->line, "%s: %s is neither yes nor no",
                            item->option->name, conf_text_quote(item->text, quoted));
        return false;
    }
    *(bool *)field = index % 2 == 1;
    return true;
}

/* The index of the word, or -1 when a mistake was said. */
static int read_index(const struct item *item)
{
    struct conf_nearest nearest = {item->text, SIZE_MAX, NULL};
    struct pn_str rest = pn_str_z(item->row->words);
    char quoted[CONF_QUOTE_CHARS];
    int index = conf_word_find(item->row->words, item->text);

    if (index >= 0) {
        return index;
    }
    conf_text_quote(item->text, quoted);
    while (rest.len > 0) {
        struct pn_str word = pn_str_cut(&rest, '|');
        size_t distance = pn_str_distance(item->text, word);

        if (distance < nearest.distance && distance <= item->text.len / 2) {
            nearest.distance = distance;
            nearest.found = word.ptr; /* ends at the next bar, not with a NUL */
        }
    }
    if (nearest.found) {
        struct pn_str tail = pn_str_z(nearest.found);
        struct pn_str word = pn_str_cut(&tail, '|');

        conf_reader_mistake(item->reader, item->line,
                            "%s: %s is none of %s; did you mean \"%.*s\"?", item->option->name,
                            quoted, item->row->words, PN_FMT(word));
    } else {
        conf_reader_mistake(item->reader, item->line, "%s: %s is none of %s",
                            item->option->name, quoted, item->row->words);
    }
    return -1;
}

static bool read_word(const struct item *item, void *field)
{
    int index = read_index(item);

    if (index >= 0) {
        *(int *)field = index;
    }
    return index >= 0;
}

static bool read_words(const struct item *item, void *field)
{
    int index = read_index(item);

    if (index >= 0) {
        *(unsigned *)field |= 1U << index;
    }
    return index >= 0;
}

static bool read_order(const struct item *item, void *field)
{
    struct conf_order *order = field;
    int index = read_index(item);
    char quoted[CONF_QUOTE_CHARS];

    for (size_t i = 0; i < order->count && index >= 0; i++) {
        if (order->words[i] == index) {
            conf_reader_mistake(item->reader, item->line, "%s: %s stands in the list twice",
                                item->option->name, conf_text_quote(item->text, quoted));
            return false;
        }
    }
    if (index >= 0) {
        /* Each word comes once, so there is room when there is room for all of them. */
        pn_assert(order->count < PN_COUNT(order->words));
        order->words[order->count++] = (uint8_t)index;
    }
    return index >= 0;
}

static bool read_nets(const struct item *item, void *field)
{
    struct conf_nets *nets = field;
    struct pn_net net;
    char quoted[CONF_QUOTE_CHARS];

    if (!pn_net_parse(item->text, &net)) {
        conf_reader_mistake(item->reader, item->line,
                            "%s: %s is not a network; write \"192.0.2.0/24\", "
                            "\"2001:db8::/32\" or one address",
                            item->option->name, conf_text_quote(item->text, quoted));
        return false;
    }
    nets->items = pn_realloc(nets->items, (nets->count + 1) * sizeof *nets->items);
    nets->items[nets->count++] = net;
    return true;
}

static const struct {
    const char *name;
    int64_t ms;
} rate_units[] = {{"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};

static bool read_rate(const struct item *item, void *field)
{
    struct conf_rate *rate = field;
    struct pn_str unit = item->text;
    struct pn_str count = pn_str_cut(&unit, '/');
    uint64_t number = 0;
    char quoted[CONF_QUOTE_CHARS];

    if (item->text.len == 0) {
        return true;
    }
    for (size_t i = 0; i < PN_COUNT(rate_units); i++) {
        if (pn_str_eq(unit, pn_str_z(rate_units[i].name)) &&
            pn_str_to_u64(count, RATE_MOST, &number) && number > 0) {
            *rate = (struct conf_rate){(uint32_t)number, rate_units[i].ms};
            return true;
        }
    }
    conf_reader_mistake(item->reader, item->line,
                        "%s: %s is not a rate; write \"100/min\", with s, min, h or d, and a "
                        "number from 1 to %d",
                        item->option->name, conf_text_quote(item->text, quoted), RATE_MOST);
    return false;
}

static value_read_fn *const readers[] = {
    [CONF_STRING] = read_string, [CONF_STRINGS] = read_strings, [CONF_DURATION] = read_duration,
    [CONF_SIZE] = read_size,     [CONF_NUMBER] = read_number,   [CONF_BOOL] = read_bool,
    [CONF_WORD] = read_word,     [CONF_WORDS] = read_words,     [CONF_ORDER] = read_order,
    [CONF_NETS] = read_nets,     [CONF_RATE] = read_rate,
};

int conf_word_find(const char *words, struct pn_str text)
{
    struct pn_str rest = pn_str_z(words);

    for (int index = 0; rest.len > 0; index++) {
        if (pn_str_eq(pn_str_cut(&rest, '|'), text)) {
            return index;
        }
    }
    return -1;
}

static void check_count(struct item *item, size_t count)
{
    uint64_t most = 0;

    if (item->row->type == CONF_STRINGS &&
        pn_str_to_u64(pn_str_z(item->option->max), UINT32_MAX, &most) && count > most) {
        conf_reader_mistake(item->reader, item->line, "%s: %zu items are too many; at most %s",
                            item->option->name, count, item->option->max);
    }
}

static void read_setting(struct item *item, const struct conf_setting *setting, void *field)
{
    for (size_t i = 0; i < setting->count; i++) {
        item->line = setting->values[i].line;
        item->text = setting->values[i].text;
        if (pn_str_has_control(item->text)) {
            char quoted[CONF_QUOTE_CHARS];

            conf_reader_mistake(item->reader, item->line, "%s: %s has control characters",
                                item->option->name, conf_text_quote(item->text, quoted));
        } else {
            (void)readers[item->row->type](item, field); /* The reader remembers failure. */
        }
    }
    check_count(item, setting->count);
}

static void read_default(struct item *item, void *field)
{
    const char *fallback = item->option->fallback;

    item->line = 0;
    item->text = pn_str_z(fallback);
    if (!conf_type_is_list(item->row->type) || item->text.len > 0) {
        pn_assert(readers[item->row->type](item, field));
    }
}

void conf_values_read(struct conf_reader *reader, const struct conf_syntax *syntax,
                      const struct conf_block *block, void *object)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        struct item item = {
            .reader = reader, .option = conf_option_get(i), .row = conf_row_get(i)};

        if (item.row->section != block->section) {
            continue;
        }
        if (block->settings[i].count > 0) {
            read_setting(&item, &block->settings[i], field_of(i, object));
        } else if (!item.option->required) {
            read_default(&item, field_of(i, object));
        } else if (syntax->complete) {
            conf_reader_mistake(reader, block->title[0] != '\0' ? block->line : 0,
                                "option \"%s\" is missing; it has no default",
                                item.option->name);
        }
    }
}

void conf_values_complete(enum conf_section section, struct conf_domain *domain)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        struct item item = {.option = conf_option_get(i), .row = conf_row_get(i)};

        if (item.row->section == CONF_DOMAIN && !item.option->required &&
            conf_row_find(section, pn_str_z(item.option->name)) == OPTION_COUNT) {
            read_default(&item, field_of(i, domain));
        }
    }
}

static void copy_strings(struct conf_strings *strings)
{
    char **items = pn_alloc_array(strings->count + 1, sizeof *items);

    for (size_t i = 0; i < strings->count; i++) {
        items[i] = pn_strdup(strings->items[i]);
    }
    strings->items = items;
}

static void copy_field(enum conf_type type, void *field)
{
    if (type == CONF_STRING) {
        char **string = field;

        *string = *string == empty ? *string : pn_strdup(*string);
    } else if (type == CONF_STRINGS) {
        copy_strings(field);
    }
    pn_assert(type != CONF_NETS); /* No option of a domain has this type. */
}

void conf_values_copy(struct conf_domain *domain)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (conf_row_get(i)->section == CONF_DOMAIN) {
            copy_field(conf_row_get(i)->type, field_of(i, domain));
        }
    }
    copy_strings(&domain->senders);
    copy_strings(&domain->domains);
}

void conf_strings_free(struct conf_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) {
        free(strings->items[i]);
    }
    free(strings->items);
}

static void free_field(enum conf_type type, void *field)
{
    if (type == CONF_STRING) {
        char *string = *(char **)field;

        if (string != empty) {
            free(string);
        }
    } else if (type == CONF_STRINGS) {
        conf_strings_free(field);
    } else if (type == CONF_NETS) {
        free(((struct conf_nets *)field)->items);
    }
}

void conf_values_free(enum conf_section section, void *object)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (conf_row_get(i)->section == section) {
            free_field(conf_row_get(i)->type, field_of(i, object));
        }
    }
}

/* Appends with quotes; what would end or change a double-quoted string is escaped. */
static int write_quoted(struct pn_str text, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '"');

    for (size_t i = 0; i < text.len && status == 0; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
            status = pn_buf_append_char(out, '\\');
        }
        if (status == 0) {
            status = pn_buf_append_char(out, text.ptr[i]);
        }
    }
    return status != 0 ? status : pn_buf_append_char(out, '"');
}

static int write_strings(const struct conf_strings *strings, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '{');

    for (size_t i = 0; i < strings->count && status == 0; i++) {
        status = pn_buf_append_z(out, i > 0 ? ", " : "");
        if (status == 0) {
            status = write_quoted(pn_str_z(strings->items[i]), out);
        }
    }
    return status != 0 ? status : pn_buf_append_char(out, '}');
}

static int write_nets(const struct conf_nets *nets, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '{');

    for (size_t i = 0; i < nets->count && status == 0; i++) {
        char ip[PN_IP_CHARS];

        status = pn_buf_printf(out, "%s\"%s/%u\"", i > 0 ? ", " : "",
                               pn_ip_format(&nets->items[i].ip, ip), nets->items[i].bits);
    }
    return status != 0 ? status : pn_buf_append_char(out, '}');
}

/* The words whose bit is set, with commas between them. */
static int write_words(const char *words, unsigned bits, struct pn_buf *out)
{
    struct pn_str rest = pn_str_z(words);
    bool first = true;
    int status = 0;

    for (unsigned i = 0; rest.len > 0 && status == 0; i++) {
        struct pn_str word = pn_str_cut(&rest, '|');

        if (bits & (1U << i)) {
            status = pn_buf_printf(out, "%s%.*s", first ? "" : ", ", PN_FMT(word));
            first = false;
        }
    }
    return status;
}

static int write_order(const char *words, const struct conf_order *order, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '{');

    for (size_t i = 0; i < order->count && status == 0; i++) {
        status = pn_buf_append_z(out, i > 0 ? ", " : "");
        if (status == 0) {
            status = write_words(words, 1U << order->words[i], out);
        }
    }
    return status != 0 ? status : pn_buf_append_char(out, '}');
}

int conf_rate_format(const struct conf_rate *rate, struct pn_buf *out)
{
    for (size_t i = 0; i < PN_COUNT(rate_units) && rate->count > 0; i++) {
        if (rate_units[i].ms == rate->per_ms) {
            return pn_buf_printf(out, "%u/%s", rate->count, rate_units[i].name);
        }
    }
    return 0;
}

static int write_rate(const struct conf_rate *rate, struct pn_buf *out)
{
    int status = pn_buf_append_char(out, '"');

    if (status == 0) {
        status = conf_rate_format(rate, out);
    }
    return status != 0 ? status : pn_buf_append_char(out, '"');
}

int conf_value_format(size_t index, const void *object, struct pn_buf *out)
{
    const struct conf_row *row = conf_row_get(index);
    const void *field = field_of(index, object);
    int status = 0;

    switch (row->type) {
    case CONF_STRING:
        return write_quoted(pn_str_z(*(char *const *)field), out);
    case CONF_STRINGS:
        return write_strings(field, out);
    case CONF_DURATION:
        return pn_duration_format(*(const int64_t *)field, out);
    case CONF_SIZE:
        return pn_size_format(*(const uint64_t *)field, out);
    case CONF_NUMBER:
        return pn_buf_printf(out, "%lld", (long long)*(const int64_t *)field);
    case CONF_BOOL:
        return pn_buf_append_z(out, *(const bool *)field ? "yes" : "no");
    case CONF_WORD:
        return write_words(row->words, 1U << *(const int *)field, out);
    case CONF_WORDS:
        status = pn_buf_append_char(out, '{');
        if (status == 0) {
            status = write_words(row->words, *(const unsigned *)field, out);
        }
        return status != 0 ? status : pn_buf_append_char(out, '}');
    case CONF_ORDER:
        return write_order(row->words, field, out);
    case CONF_NETS:
        return write_nets(field, out);
    case CONF_RATE:
        return write_rate(field, out);
    }
    return status;
}

int conf_value_write(enum conf_type type, const char *text, struct pn_buf *out)
{
    if (type == CONF_STRING || type == CONF_RATE) {
        return write_quoted(pn_str_z(text), out);
    }
    if (conf_type_is_list(type)) {
        return pn_buf_printf(out, "{%s}", text);
    }
    return pn_buf_append_z(out, text);
}
