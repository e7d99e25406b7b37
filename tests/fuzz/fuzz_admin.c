/* links: admin */
/*
 * JSON bodies of the admin API: terms, and a domain's options. Half of the inputs are JSON
 * text; the others are made an object member by member, so that values get far into the
 * writer of domain files. Whatever they say, the file has one line for each option, and
 * nothing in a value can begin another.
 */
#include "../../src/admin/domain_priv.h"
#include "../../src/admin/terms_priv.h"

#include "postern/base/assert.h"

#define TERMS                                                                                  \
    (ADMIN_FILTER | ADMIN_ID | ADMIN_ALL | ADMIN_LIMIT | ADMIN_AFTER | ADMIN_NAME |            \
     ADMIN_PATH | ADMIN_CREATE | ADMIN_MESSAGES | ADMIN_ADDRESS | ADMIN_ADDRESSES |            \
     ADMIN_INVALID)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every quote that opens is closed on the same line, and no octet is a control. */
static void check_line(struct pn_str line)
{
    bool quoted = false;

    pn_assert(!pn_str_has_control(line));
    for (size_t i = 0; i < line.len; i++) {
        if (quoted && line.ptr[i] == '\\') {
            i++;
        } else if (line.ptr[i] == '"') {
            quoted = !quoted;
        }
    }
    pn_assert(!quoted);
}

static void write_domain(json_t *object)
{
    struct pn_buf text;
    struct pn_err err;
    size_t lines = 0;

    pn_buf_init(&text, 1u << 20);
    if (admin_domain_write(object, &text, &err) == 0) {
        struct pn_str rest = pn_buf_str(&text);

        for (; rest.len > 0; lines++) {
            check_line(pn_str_cut(&rest, '\n'));
        }
        pn_assert(lines == json_object_size(object));
    }
    pn_buf_fini(&text);
}

static void take_text(struct pn_str body)
{
    struct admin_terms terms;
    struct pn_err err;

    if (admin_terms_read(&terms, TERMS, body, NULL, NULL, &err) == 0) {
        admin_terms_fini(&terms);
    }
    if (admin_terms_read(&terms, ADMIN_OBJECT, body, NULL, NULL, &err) == 0) {
        if (terms.object) {
            write_domain(terms.object);
        }
        admin_terms_fini(&terms);
    }
}

/* Lines of an octet that chooses the option, one that chooses the kind, and the value. */
static void take_members(struct pn_str input)
{
    size_t count;
    const struct conf_option *options = conf_options(&count);
    json_t *object = json_object();

    while (input.len > 2) {
        struct pn_str line = pn_str_cut(&input, '\n');
        const char *name = options[line.len > 0 ? (uint8_t)line.ptr[0] % count : 0].name;
        bool list = line.len > 1 && (line.ptr[1] & 1);
        struct pn_str text = pn_str_sub(line, 2, SIZE_MAX);
        json_t *value = json_stringn(text.len > 0 ? text.ptr : "", text.len);

        if (value && list) {
            json_t *values = json_array();

            pn_assert(json_array_append_new(values, value) == 0);
            value = values;
        }
        if (value) {
            pn_assert(json_object_set_new(object, name, value) == 0);
        }
    }
    write_domain(object);
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_str input = {(const char *)data, size};

    if (size > 0 && data[0] == '{') {
        take_text(input);
    } else {
        take_members(pn_str_sub(input, 1, SIZE_MAX));
    }
    return 0;
}
