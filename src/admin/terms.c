/*
 * admin/terms.c - what a request names: filters, objects, pages.
 *
 * One table says which terms there are and of which type, so that a body, a query and the
 * manual cannot differ. A body is JSON; a query gives the same terms as text. What is not
 * known is an error: a misspelt filter would otherwise widen what an operator deletes.
 */
#include "terms_priv.h"

#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <stddef.h>

enum type { TEXT, FLAG, DURATION, ID, NUMBER, LIST };

#define NUMBER_MAX 1000000

static const struct term {
    enum admin_term bit;
    const char *name;
    enum type type;
    size_t offset;
} terms_table[] = {
    {ADMIN_DOMAIN, "domain", TEXT, offsetof(struct admin_terms, domain)},
    {ADMIN_SENDER, "sender", TEXT, offsetof(struct admin_terms, sender)},
    {ADMIN_RECIPIENT, "recipient", TEXT, offsetof(struct admin_terms, recipient)},
    {ADMIN_OLDER, "older", DURATION, offsetof(struct admin_terms, older_ms)},
    {ADMIN_HELD, "held", FLAG, offsetof(struct admin_terms, held)},
    {ADMIN_PARKED, "parked", FLAG, offsetof(struct admin_terms, parked)},
    {ADMIN_ID, "id", ID, offsetof(struct admin_terms, id)},
    {ADMIN_ALL, "all", FLAG, offsetof(struct admin_terms, all)},
    {ADMIN_LIMIT, "limit", NUMBER, offsetof(struct admin_terms, limit)},
    {ADMIN_AFTER, "after", TEXT, offsetof(struct admin_terms, after)},
    {ADMIN_NAME, "name", TEXT, offsetof(struct admin_terms, name)},
    {ADMIN_PATH, "path", TEXT, offsetof(struct admin_terms, path)},
    {ADMIN_CREATE, "create", FLAG, offsetof(struct admin_terms, create)},
    {ADMIN_MESSAGES, "messages", NUMBER, offsetof(struct admin_terms, messages)},
    {ADMIN_ADDRESS, "address", TEXT, offsetof(struct admin_terms, address)},
    {ADMIN_ADDRESSES, "addresses", LIST, offsetof(struct admin_terms, addresses)},
    {ADMIN_INVALID, "invalid", FLAG, offsetof(struct admin_terms, invalid)},
};

/* The place of a term's value. */
static void *value_of(struct admin_terms *terms, const struct term *term)
{
    return (char *)terms + term->offset;
}

static int read_text(struct admin_terms *terms, const struct term *term, struct pn_str text,
                     struct pn_err *err)
{
    if (text.len > ADMIN_TEXT_MAX) {
        return pn_err_set(err, PN_EINVAL, "%s is longer than %d octets", term->name,
                          ADMIN_TEXT_MAX);
    }
    *(struct pn_str *)value_of(terms, term) = text;
    return 0;
}

static int read_flag(struct admin_terms *terms, const struct term *term, struct pn_str text,
                     struct pn_err *err)
{
    bool yes = pn_str_eq(text, PN_STR("1")) || pn_str_eq(text, PN_STR("true")) ||
               pn_str_eq(text, PN_STR("yes"));
    bool no = pn_str_eq(text, PN_STR("0")) || pn_str_eq(text, PN_STR("false")) ||
              pn_str_eq(text, PN_STR("no"));

    if (!yes && !no) {
        return pn_err_set(err, PN_EINVAL, "%s is true or false", term->name);
    }
    *(bool *)value_of(terms, term) = yes;
    return 0;
}

static int read_number(struct admin_terms *terms, const struct term *term, struct pn_str text,
                       struct pn_err *err)
{
    uint64_t number;

    if (!pn_str_to_u64(text, NUMBER_MAX, &number) || number == 0) {
        return pn_err_set(err, PN_EINVAL, "%s is a number from 1 to %d", term->name,
                          NUMBER_MAX);
    }
    *(uint64_t *)value_of(terms, term) = number;
    return 0;
}

static int read_value(struct admin_terms *terms, const struct term *term, struct pn_str text,
                      struct pn_err *err)
{
    switch (term->type) {
    case FLAG:
        return read_flag(terms, term, text, err);
    case NUMBER:
        return read_number(terms, term, text, err);
    case DURATION:
        return pn_duration_parse(text, value_of(terms, term))
                   ? 0
                   : pn_err_set(err, PN_EINVAL, "%s is a duration such as 90s, 2h or 14d",
                                term->name);
    case ID:
        return pn_id_parse(text, value_of(terms, term))
                   ? 0
                   : pn_err_set(err, PN_EINVAL, "%s is a queue id of 26 letters and digits",
                                term->name);
    case LIST:
        return pn_err_set(err, PN_EINVAL, "%s is a list, which only a body can have",
                          term->name);
    case TEXT:
        break;
    }
    return read_text(terms, term, text, err);
}

static int read_list(struct admin_terms *terms, const struct term *term, const json_t *value,
                     struct pn_err *err)
{
    size_t index;
    json_t *item;

    json_array_foreach(value, index, item)
    {
        if (!json_is_string(item) || json_string_length(item) > ADMIN_TEXT_MAX) {
            return pn_err_set(err, PN_EINVAL,
                              "%s has something in it that is no string of at "
                              "most %d octets",
                              term->name, ADMIN_TEXT_MAX);
        }
    }
    *(const json_t **)value_of(terms, term) = value;
    return 0;
}

static int read_member(struct admin_terms *terms, const struct term *term, const json_t *value,
                       struct pn_err *err)
{
    char digits[32];
    struct pn_buf number;
    int result;

    if (json_is_boolean(value) && term->type == FLAG) {
        *(bool *)value_of(terms, term) = json_is_true(value);
        return 0;
    }
    if (json_is_array(value) && term->type == LIST) {
        return read_list(terms, term, value, err);
    }
    if (json_is_string(value) && term->type != FLAG && term->type != NUMBER &&
        term->type != LIST) {
        return read_value(terms, term,
                          (struct pn_str){json_string_value(value), json_string_length(value)},
                          err);
    }
    if (json_is_integer(value) && term->type == NUMBER && json_integer_value(value) >= 0) {
        pn_buf_init(&number, sizeof digits);
        result = pn_buf_printf(&number, "%lld", (long long)json_integer_value(value));
        result = result == 0 ? read_value(terms, term, pn_buf_str(&number), err) : result;
        pn_buf_fini(&number);
        return result;
    }
    return pn_err_set(err, PN_EINVAL, "%s must be %s", term->name,
                      term->type == FLAG     ? "true or false"
                      : term->type == NUMBER ? "a number"
                      : term->type == LIST   ? "a list of strings"
                                             : "a string");
}

static const struct term *term_find(struct pn_str name, unsigned allowed)
{
    for (size_t i = 0; i < PN_COUNT(terms_table); i++) {
        if ((terms_table[i].bit & allowed) && pn_str_eq(name, pn_str_z(terms_table[i].name))) {
            return &terms_table[i];
        }
    }
    return NULL;
}

static int unknown_member(const char *name, unsigned allowed, struct pn_err *err)
{
    size_t nearest_distance = SIZE_MAX;
    const char *nearest = NULL;

    for (size_t i = 0; i < PN_COUNT(terms_table); i++) {
        size_t distance = pn_str_distance(pn_str_z(name), pn_str_z(terms_table[i].name));

        if ((terms_table[i].bit & allowed) && distance < nearest_distance) {
            nearest_distance = distance;
            nearest = terms_table[i].name;
        }
    }
    if (!nearest) {
        return pn_err_set(err, PN_EINVAL, "this request takes no \"%.64s\"", name);
    }
    return pn_err_set(err, PN_EINVAL, "this request takes no \"%.64s\"; the nearest is \"%s\"",
                      name, nearest);
}

static int read_body(struct admin_terms *terms, unsigned allowed, struct pn_str body,
                     struct pn_err *err)
{
    json_error_t where;
    const char *name;
    json_t *value;
    int result = 0;

    terms->object = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &where);
    if (!terms->object) {
        return pn_err_set(err, PN_EINVAL, "the body is no JSON: line %d, column %d: %s",
                          where.line, where.column, where.text);
    }
    if (!json_is_object(terms->object)) {
        return pn_err_set(err, PN_EINVAL, "the body must be a JSON object");
    }
    if (allowed & ADMIN_OBJECT) {
        terms->given |= ADMIN_OBJECT;
        return 0;
    }
    json_object_foreach(terms->object, name, value)
    {
        const struct term *term = term_find(pn_str_z(name), allowed);

        result =
            term ? read_member(terms, term, value, err) : unknown_member(name, allowed, err);
        if (result != 0) {
            return result;
        }
        terms->given |= term->bit;
    }
    return 0;
}

static int read_query(struct admin_terms *terms, unsigned allowed, admin_query_fn *query,
                      void *owner, struct pn_err *err)
{
    for (size_t i = 0; i < PN_COUNT(terms_table); i++) {
        const char *text =
            (terms_table[i].bit & allowed) ? query(owner, terms_table[i].name) : NULL;
        int result;

        if (!text) {
            continue;
        }
        result = read_value(terms, &terms_table[i], pn_str_z(text), err);
        if (result != 0) {
            return result;
        }
        terms->given |= terms_table[i].bit;
    }
    return 0;
}

int admin_terms_read(struct admin_terms *terms, unsigned allowed, struct pn_str body,
                     admin_query_fn *query, void *owner, struct pn_err *err)
{
    int result = 0;

    *terms = (struct admin_terms){0};
    if (query) {
        result = read_query(terms, allowed, query, owner, err);
    }
    if (result == 0 && body.len > 0) {
        result = read_body(terms, allowed, body, err);
    }
    if (result != 0) {
        admin_terms_fini(terms);
    }
    return result;
}

void admin_terms_fini(struct admin_terms *terms)
{
    json_decref(terms->object);
    terms->object = NULL;
}

void admin_terms_each(unsigned set, admin_term_fn *fn, void *owner)
{
    for (size_t i = 0; i < PN_COUNT(terms_table); i++) {
        if (terms_table[i].bit & set) {
            fn(owner, terms_table[i].name);
        }
    }
}
