/*
 * admin/domain.c - relay domains: shown, written, removed.
 *
 * A domain travels as an object of its options, named and typed as in its file. The table
 * of options makes both directions, so a new option needs nothing here.
 */
#include "domain_priv.h"
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/mail/address.h"

#include <string.h>

/* ---- options as JSON -------------------------------------------------------------- */

static json_t *text_list(const struct conf_strings *strings)
{
    json_t *list = json_array();

    for (size_t i = 0; i < strings->count; i++) {
        pn_assert(json_array_append_new(list, admin_json_text(pn_str_z(strings->items[i]))) ==
                  0);
    }
    return list;
}

static json_t *duration(int64_t duration_ms)
{
    struct pn_buf text;
    json_t *json;

    pn_buf_init(&text, 64);
    pn_assert(pn_duration_format(duration_ms, &text) == 0);
    json = admin_json_text(pn_buf_str(&text));
    pn_buf_fini(&text);
    return json;
}

/* The word at index in "a|b|c". */
static json_t *word(const char *words, unsigned index)
{
    struct pn_str rest = pn_str_z(words);

    for (unsigned i = 0; i < index; i++) {
        (void)pn_str_cut(&rest, '|');
    }
    return admin_json_text(pn_str_cut(&rest, '|'));
}

static json_t *word_order(const char *words, const struct conf_order *order)
{
    json_t *list = json_array();

    for (size_t i = 0; i < order->count; i++) {
        pn_assert(json_array_append_new(list, word(words, order->words[i])) == 0);
    }
    return list;
}

static json_t *word_set(const char *words, unsigned bits)
{
    json_t *list = json_array();

    for (unsigned i = 0; bits >> i != 0; i++) {
        if (bits >> i & 1) {
            pn_assert(json_array_append_new(list, word(words, i)) == 0);
        }
    }
    return list;
}

static json_t *rate(const struct conf_rate *limit)
{
    struct pn_buf text;
    json_t *json;

    pn_buf_init(&text, 64);
    pn_assert(conf_rate_format(limit, &text) == 0);
    json = admin_json_text(pn_buf_str(&text));
    pn_buf_fini(&text);
    return json;
}

#define JSON_STRING(d, name, words)   admin_json_text(pn_str_z((d)->name))
#define JSON_STRINGS(d, name, words)  text_list(&(d)->name)
#define JSON_DURATION(d, name, words) duration((d)->name##_ms)
#define JSON_SIZE(d, name, words)     admin_json_u64((d)->name##_octets)
#define JSON_NUMBER(d, name, words)   json_integer((d)->name)
#define JSON_BOOL(d, name, words)     json_boolean((d)->name)
#define JSON_WORD(d, name, words)     word(words, (unsigned)(d)->name)
#define JSON_WORDS(d, name, words)    word_set(words, (d)->name)
#define JSON_ORDER(d, name, words)    word_order(words, &(d)->name)
#define JSON_RATE(d, name, words)     rate(&(d)->name)

json_t *admin_domain_options(const struct conf_domain *domain)
{
    json_t *json = json_object();

#define DOMAIN(name, type, def, min, ...)                                                      \
    admin_json_put(json, #name, JSON_##type(domain, name, min));
#include "postern/conf/options.def"
    return json;
}

/* ---- JSON as a domain's file ------------------------------------------------------ */

/* Numbers and plain words go without quotes, as people write them. */
static bool is_plain(struct pn_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (!pn_is_alnum(value.ptr[i]) && !(value.ptr[i] == '-' && i > 0)) {
            return false;
        }
    }
    return value.len > 0;
}

static int write_text(struct pn_str value, struct pn_buf *out)
{
    int result;

    if (is_plain(value)) {
        return pn_buf_append(out, value);
    }
    result = pn_buf_append_char(out, '"');
    for (size_t i = 0; i < value.len && result == 0; i++) {
        if (value.ptr[i] == '"' || value.ptr[i] == '\\') {
            result = pn_buf_append_char(out, '\\');
        }
        result = result == 0 ? pn_buf_append_char(out, value.ptr[i]) : result;
    }
    return result == 0 ? pn_buf_append_char(out, '"') : result;
}

static int write_scalar(const char *name, const json_t *value, struct pn_buf *out,
                        struct pn_err *err)
{
    struct pn_str text = PN_STR("");
    int result;

    if (json_is_boolean(value)) {
        text = json_is_true(value) ? PN_STR("yes") : PN_STR("no");
    } else if (json_is_string(value)) {
        text = (struct pn_str){json_string_value(value), json_string_length(value)};
    } else if (!json_is_integer(value)) {
        return pn_err_set(err, PN_EINVAL, "%s must be a string, a number, true or false", name);
    }
    if (pn_str_has_control(text)) {
        return pn_err_set(err, PN_EINVAL, "%s has a control character in it", name);
    }
    result = json_is_integer(value)
                 ? pn_buf_printf(out, "%lld", (long long)json_integer_value(value))
                 : write_text(text, out);
    return result == 0 ? 0 : pn_err_set(err, PN_ENOSPACE, "the options are too long");
}

static int write_list(const char *name, const json_t *values, struct pn_buf *out,
                      struct pn_err *err)
{
    int result = 0;

    if (pn_buf_append_char(out, '{') != 0) {
        return pn_err_set(err, PN_ENOSPACE, "the options are too long");
    }
    for (size_t i = 0; i < json_array_size(values) && result == 0; i++) {
        if (i > 0 && pn_buf_append_z(out, ", ") != 0) {
            return pn_err_set(err, PN_ENOSPACE, "the options are too long");
        }
        result = write_scalar(name, json_array_get(values, i), out, err);
    }
    if (result == 0 && pn_buf_append_char(out, '}') != 0) {
        result = pn_err_set(err, PN_ENOSPACE, "the options are too long");
    }
    return result;
}

static int write_option(const struct conf_option *option, json_t *value, struct pn_buf *out,
                        struct pn_err *err)
{
    bool list = pn_str_starts(pn_str_z(option->type), PN_STR("list of ")) ||
                pn_str_starts(pn_str_z(option->type), PN_STR("some of "));
    json_t *values;
    int result;

    if (json_is_array(value) && !list) {
        return pn_err_set(err, PN_EINVAL, "%s takes one value, not a list", option->name);
    }
    if (pn_buf_printf(out, "%s = ", option->name) != 0) {
        return pn_err_set(err, PN_ENOSPACE, "the options are too long");
    }
    if (!list) {
        result = write_scalar(option->name, value, out, err);
    } else if (json_is_array(value)) {
        result = write_list(option->name, value, out, err);
    } else {
        values = json_array();
        pn_assert(json_array_append(values, value) == 0);
        result = write_list(option->name, values, out, err);
        json_decref(values);
    }
    if (result == 0 && pn_buf_append_char(out, '\n') != 0) {
        result = pn_err_set(err, PN_ENOSPACE, "the options are too long");
    }
    return result;
}

static bool is_domain_option(const char *name)
{
    size_t count;
    const struct conf_option *options = conf_options(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].section, "domain") == 0 && strcmp(options[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int check_names(json_t *object, struct pn_err *err)
{
    const char *name;
    const char *nearest = NULL;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (is_domain_option(name)) {
            continue;
        }
        (void)conf_option_find(pn_str_z(name), &nearest);
        if (nearest && is_domain_option(nearest)) {
            return pn_err_set(err, PN_EINVAL,
                              "a domain has no option \"%.64s\"; the nearest is \"%s\"", name,
                              nearest);
        }
        return pn_err_set(err, PN_EINVAL,
                          "a domain has no option \"%.64s\"; see postern-domain(5)", name);
    }
    return 0;
}

int admin_domain_write(json_t *object, struct pn_buf *out, struct pn_err *err)
{
    size_t count;
    const struct conf_option *options = conf_options(&count);
    int result = check_names(object, err);

    /* In the order of the table, whatever the order of the request. */
    for (size_t i = 0; i < count && result == 0; i++) {
        json_t *value = strcmp(options[i].section, "domain") == 0
                            ? json_object_get(object, options[i].name)
                            : NULL;

        if (value) {
            result = write_option(&options[i], value, out, err);
        }
    }
    return result;
}

/* ---- the requests ----------------------------------------------------------------- */

bool admin_domain_name(struct admin_ask *ask, char out[MAIL_DOMAIN_MAX + 1])
{
    if (!mail_domain_ascii(ask->param, out)) {
        admin_refuse(ask->request, 400, "%.*s is no domain name",
                     PN_FMT(pn_str_sub(ask->param, 0, 255)));
        return false;
    }
    return true;
}

void admin_get_domains(struct admin_ask *ask)
{
    struct admin_view view = admin_view_of(ask->admin);
    struct pn_str next;
    size_t broken;
    json_t *json = json_object();

    admin_json_put(
        json, "domains",
        admin_view_domains_page(&view, ask->terms.after, admin_page_limit(&ask->terms), &next));
    admin_json_put(json, "next", next.len > 0 ? admin_json_text(next) : json_null());
    if (ask->terms.after.len == 0) {
        admin_json_put(json, "broken", admin_broken_json(ask->admin, &broken));
    }
    admin_answer(ask->request, 200, json);
}

static bool find_broken(const struct admin *admin, const char *name,
                        struct admin_broken_domain *out)
{
    const struct admin_daemon *daemon = &admin->deps.daemon;

    for (size_t i = 0; daemon->broken(daemon->owner, i, out); i++) {
        if (strcmp(out->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void put_definition(json_t *json, const struct conf_domain *domain)
{
    struct pn_buf text;

    pn_buf_init(&text, 1u << 20);
    pn_assert(conf_domain_format(domain, &text) == 0);
    admin_json_put(json, "options", admin_domain_options(domain));
    admin_json_put(json, "text", admin_json_text(pn_buf_str(&text)));
    pn_buf_fini(&text);
}

void admin_get_domain(struct admin_ask *ask)
{
    struct admin_view view;
    const struct conf_domain *domain;
    struct admin_broken_domain broken;
    struct queue_status status;
    char name[MAIL_DOMAIN_MAX + 1];
    bool is_broken;
    bool has_queue;
    json_t *json;

    if (!admin_domain_name(ask, name)) {
        return;
    }
    view = admin_view_of(ask->admin);
    domain = domains_find_exact(view.domains, pn_str_z(name));
    is_broken = find_broken(ask->admin, name, &broken);
    has_queue = queue_get_status(view.queue, pn_str_z(name), view.clock.queue_ms, &status);
    if (!domain && !is_broken && !has_queue) {
        admin_refuse(ask->request, 404, "%s is no relay domain, and no mail waits for it",
                     name);
        return;
    }
    if (!has_queue) {
        status = (struct queue_status){.name = pn_str_z(name), .defined = domain != NULL};
    }
    json = admin_view_queue(&view, &status);
    if (domain) {
        put_definition(json, domain);
    }
    admin_json_put(json, "mistake",
                   is_broken ? admin_json_text(pn_str_z(broken.mistake)) : json_null());
    admin_answer(ask->request, 200, json);
}

void admin_put_domain(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct conf_mistakes mistakes;
    char name[MAIL_DOMAIN_MAX + 1];
    struct pn_buf text;
    struct pn_err err;
    bool exists;
    json_t *json;

    if (!admin_domain_name(ask, name)) {
        return;
    }
    if (!ask->terms.object) {
        admin_refuse(ask->request, 400, "the body must be an object with the domain's options");
        return;
    }
    exists = domains_find_exact(daemon->domains(daemon->owner), pn_str_z(name)) != NULL;
    if (exists && ask->terms.create) {
        admin_refuse(ask->request, 409, "%s is a relay domain already", name);
        return;
    }
    conf_mistakes_init(&mistakes);
    pn_buf_init(&text, 1u << 20);
    if (admin_domain_write(ask->terms.object, &text, &err) != 0) {
        conf_mistakes_add(&mistakes, name, 0, false, "%s", err.text);
        admin_refuse_mistakes(ask->request, err.text, &mistakes);
    } else if (!daemon->domain_write(daemon->owner, pn_str_z(name), pn_buf_str(&text),
                                     &mistakes)) {
        admin_refuse_mistakes(ask->request, "the domain was not written: it has a mistake",
                              &mistakes);
    } else {
        admin_log(ask->admin, exists ? "domain changed" : "domain added", pn_str_z(name), 0);
        json = json_object();
        admin_json_put(json, "name", admin_json_text(pn_str_z(name)));
        admin_json_put(json, "replaced", json_boolean(exists));
        admin_json_put(json, "mistakes", admin_json_mistakes(&mistakes));
        admin_answer(ask->request, exists ? 200 : 201, json);
    }
    pn_buf_fini(&text);
    conf_mistakes_fini(&mistakes);
}

void admin_delete_domain(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    struct queue_status status = {0};
    struct admin_view view;
    char name[MAIL_DOMAIN_MAX + 1];
    struct pn_err err = {0};
    int result;
    json_t *json;

    if (!admin_domain_name(ask, name)) {
        return;
    }
    result = daemon->domain_remove(daemon->owner, pn_str_z(name), &err);
    if (result != 0) {
        admin_refuse(ask->request, result == PN_ENOENT ? 404 : 500, "%s", err.text);
        return;
    }
    admin_log(ask->admin, "domain removed", pn_str_z(name), 0);
    view = admin_view_of(ask->admin);
    (void)queue_get_status(view.queue, pn_str_z(name), view.clock.queue_ms, &status);
    json = json_object();
    admin_json_put(json, "name", admin_json_text(pn_str_z(name)));
    admin_json_put(json, "messages", admin_json_u64(status.jobs));
    admin_json_put(json, "parked", admin_json_u64(status.parked));
    admin_answer(ask->request, 200, json);
}
