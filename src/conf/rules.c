/*
 * conf/rules.c - what must hold between options, and inside texts like host names.
 *
 * Each rule is a small function with its sentence. A sentence names the option and what it
 * has, says why that cannot be, and what to write instead.
 */
#include "rules_priv.h"

#include "names_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define SOCKET_PATH_MAX 107 /* sun_path, less the NUL */
#define TITLE_MAX       64

static unsigned later_line(const struct conf_block *block, enum conf_option_index a,
                           enum conf_option_index b)
{
    unsigned line_a = conf_block_line(block, a);
    unsigned line_b = conf_block_line(block, b);

    return line_a > line_b ? line_a : line_b;
}

void conf_rules_order(struct conf_reader *reader, const struct conf_block *block,
                      enum conf_option_index least, enum conf_option_index most,
                      int64_t least_ms, int64_t most_ms)
{
    if (least_ms > most_ms) {
        conf_reader_mistake(reader, later_line(block, least, most),
                            "%s is longer than %s: give both, the first not above the second",
                            conf_option_get(least)->name, conf_option_get(most)->name);
    }
}

static bool is_local_name(struct pn_str name)
{
    static const char *const names[] = {"localhost", "localhost.localdomain"};
    static const char *const ends[] = {".localhost", ".localdomain"};

    for (size_t i = 0; i < PN_COUNT(names); i++) {
        struct pn_str end = pn_str_z(ends[i]);

        if (pn_str_eq_nocase(name, pn_str_z(names[i])) ||
            (name.len > end.len &&
             pn_str_eq_nocase(pn_str_sub(name, name.len - end.len, SIZE_MAX), end))) {
            return true;
        }
    }
    return false;
}

static void check_hostname(struct conf_reader *reader, const struct conf_block *block,
                           const struct conf *conf)
{
    struct pn_str name = pn_str_z(conf->hostname);
    unsigned line = conf_block_line(block, OPTION_MAIN_hostname);
    const char *why = conf_name_check(name);
    char quoted[CONF_QUOTE_CHARS];

    if (!why && is_local_name(name)) {
        why = "it means every host to itself";
    }
    if (!why && pn_str_find(name, '.') == name.len) {
        why = "it has no domain (\"mx2.example.net\" has one)";
    }
    if (why) {
        conf_reader_mistake(reader, line, "hostname: %s is not a full host name: %s",
                            conf_text_quote(name, quoted), why);
    }
}

static void check_path(struct conf_reader *reader, const struct conf_block *block,
                       enum conf_option_index index, const char *path)
{
    const char *name = conf_option_get(index)->name;
    unsigned line = conf_block_line(block, index);
    char quoted[CONF_QUOTE_CHARS];

    if (path[0] == '\0') {
        conf_reader_mistake(reader, line, "%s must not be empty", name);
    } else if (path[0] != '/') {
        conf_reader_warn(reader, line,
                         "%s: %s is relative to the directory in which the daemon is started",
                         name, conf_text_quote(pn_str_z(path), quoted));
    }
}

static void check_admin(struct conf_reader *reader, const struct conf_block *block,
                        const struct conf *conf)
{
    check_path(reader, block, OPTION_MAIN_admin, conf->admin);
    if (strlen(conf->admin) > SOCKET_PATH_MAX) {
        conf_reader_mistake(reader, conf_block_line(block, OPTION_MAIN_admin),
                            "admin: the path of a socket has at most %d octets",
                            SOCKET_PATH_MAX);
    }
}

static void check_dns_servers(struct conf_reader *reader, const struct conf_block *block)
{
    const struct conf_setting *setting = &block->settings[OPTION_MAIN_dns_servers];

    for (size_t i = 0; i < setting->count; i++) {
        struct pn_endpoint endpoint = {.port = 1};
        struct pn_str text = setting->values[i].text;
        char quoted[CONF_QUOTE_CHARS];

        if ((!pn_ip_parse(text, &endpoint.ip) && !pn_endpoint_parse(text, &endpoint)) ||
            endpoint.port == 0) {
            conf_reader_mistake(reader, setting->values[i].line,
                                "dns_servers: %s is not an address; write \"192.0.2.1\", "
                                "\"192.0.2.1:53\", \"2001:db8::1\" or \"[2001:db8::1]:53\"",
                                conf_text_quote(text, quoted));
        }
    }
}

void conf_rules_main(struct conf_reader *reader, const struct conf_block *block,
                     const struct conf *conf)
{
    check_hostname(reader, block, conf);
    check_path(reader, block, OPTION_MAIN_spool, conf->spool);
    check_path(reader, block, OPTION_MAIN_domains, conf->domains);
    check_admin(reader, block, conf);
    check_dns_servers(reader, block);
    conf_rules_order(reader, block, OPTION_MAIN_probe_min, OPTION_MAIN_probe_max,
                     conf->probe_min_ms, conf->probe_max_ms);
}

static void check_title(struct conf_reader *reader, const struct conf_block *block)
{
    struct pn_str title = pn_str_z(block->title);

    if (title.len == 0 || title.len > TITLE_MAX || pn_str_has_control(title)) {
        conf_reader_mistake(reader, block->line,
                            "a section's name has 1 to %d octets and no control characters",
                            TITLE_MAX);
    }
}

static bool read_endpoint(struct conf_reader *reader, const struct conf_value *value,
                          struct pn_endpoint *out)
{
    char quoted[CONF_QUOTE_CHARS];

    if (pn_endpoint_parse(value->text, out) && out->port != 0) {
        return true;
    }
    conf_reader_mistake(reader, value->line,
                        "address: %s is not an address with a port; write \"0.0.0.0:25\" or "
                        "\"[::]:25\"",
                        conf_text_quote(value->text, quoted));
    return false;
}

void conf_rules_listener(struct conf_reader *reader, const struct conf_block *block,
                         struct conf_listener *listener)
{
    const struct conf_setting *setting = &block->settings[OPTION_LISTENER_address];

    check_title(reader, block);
    listener->endpoints = pn_alloc_array(setting->count, sizeof *listener->endpoints);
    for (size_t i = 0; i < setting->count; i++) {
        if (read_endpoint(reader, &setting->values[i],
                          &listener->endpoints[listener->endpoint_count])) {
            listener->endpoint_count++;
        }
    }
}

void conf_rules_certificate(struct conf_reader *reader, const struct conf_block *block,
                            const struct conf_certificate *certificate)
{
    check_title(reader, block);
    check_path(reader, block, OPTION_CERTIFICATE_chain, certificate->chain);
    check_path(reader, block, OPTION_CERTIFICATE_key, certificate->key);
}

/* True when the endpoint stands before [at, index] in the file, in any listener. */
static bool is_taken(const struct conf *conf, size_t at, size_t index)
{
    const struct pn_endpoint *wanted = &conf->listeners[at].endpoints[index];

    for (size_t i = 0; i <= at; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        size_t end = i == at ? index : listener->endpoint_count;

        for (size_t j = 0; j < end; j++) {
            if (pn_endpoint_eq(&listener->endpoints[j], wanted)) {
                return true;
            }
        }
    }
    return false;
}

void conf_rules_listeners(struct conf_reader *reader, const struct conf *conf)
{
    char text[PN_ENDPOINT_CHARS];

    if (conf->listener_count == 0) {
        conf_reader_mistake(reader, 0,
                            "there is no listener; write listener \"mx\" { address = "
                            "{\"0.0.0.0:25\", \"[::]:25\"} }");
    }
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];

        for (size_t j = 0; j < listener->endpoint_count; j++) {
            if (is_taken(conf, i, j)) {
                conf_reader_mistake(reader, 0, "listener \"%s\": address %s is given twice",
                                    listener->name,
                                    pn_endpoint_format(&listener->endpoints[j], text));
            }
        }
    }
}

bool conf_rules_domain_name(struct conf_reader *reader, struct pn_str name)
{
    const char *why = conf_name_check(name);
    char quoted[CONF_QUOTE_CHARS];

    for (size_t i = 0; i < name.len && !why; i++) {
        if (name.ptr[i] != pn_to_lower(name.ptr[i])) {
            why = "rename the file to lower case";
        }
    }
    if (why) {
        conf_reader_mistake(reader, 0,
                            "the file's name says the domain is %s, which cannot be: %s",
                            conf_text_quote(name, quoted), why);
    }
    return !why;
}

void conf_rules_domain(struct conf_reader *reader, const struct conf_block *block,
                       struct conf_domain *domain, const struct conf *conf,
                       const struct pn_endpoint *own, size_t own_count)
{
    conf_rules_targets(reader, block, domain, conf, own, own_count);
    conf_rules_order(reader, block, OPTION_DOMAIN_retry_min, OPTION_DOMAIN_retry_max,
                     domain->retry_min_ms, domain->retry_max_ms);
    conf_rules_recipients(reader, block, domain);
}
