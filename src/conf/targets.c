/*
 * conf/targets.c - where a domain's mail goes: hosts, fallbacks, our own address.
 *
 * Two domains whose next hop is the same share a destination, and with it sessions, probes
 * and parole. So its name has everything that makes a difference on the wire: an option that
 * changes how a target is spoken to, and is not what the table says by default, is part of it.
 */
#include "targets_priv.h"

#include "names_priv.h"
#include "rules_priv.h"
#include "values_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define DESTINATION_MAX 8192
#define SOCKET_PATH_MAX 107 /* sun_path, less the NUL */

/* The setting of that name in a block that describes a next hop; one without values where
 * its section has no such option. */
const struct conf_setting *conf_rules_setting(const struct conf_block *block, const char *name)
{
    static const struct conf_setting none;
    size_t index = conf_row_find(block->section, pn_str_z(name));

    return index < OPTION_COUNT ? &block->settings[index] : &none;
}

/* ---- the name of the destination ---- */

static int write_target(const struct conf_target *target, const char *before,
                        struct pn_buf *out)
{
    bool v6 = target->literal && target->ip.family == PN_IPV6;

    if (target->path) {
        return pn_buf_printf(out, "%sunix:%s", before, target->path);
    }
    return pn_buf_printf(out, v6 ? "%s[%s]:%u" : "%s%s:%u", before, target->host,
                         (unsigned)target->port);
}

/* Options that matter on the wire; tls is always named. */
static const enum conf_option_index wire_options[] = {
    OPTION_DOMAIN_address_family, OPTION_DOMAIN_source_address,  OPTION_DOMAIN_mta_sts,
    OPTION_DOMAIN_tls_ca_file,    OPTION_DOMAIN_tls_names,       OPTION_DOMAIN_tls_fingerprints,
    OPTION_DOMAIN_tls_sni,        OPTION_DOMAIN_tls_min_version, OPTION_DOMAIN_tls_certificate,
    OPTION_DOMAIN_tls_key,        OPTION_DOMAIN_credentials,     OPTION_DOMAIN_auth,
    OPTION_DOMAIN_auth_in_clear,  OPTION_DOMAIN_identity,
};

/* ";tls_sni=\"mail.example.org\"", if the option is not at its default. */
static int write_option(enum conf_option_index index, const struct conf_domain *domain,
                        struct pn_buf *out)
{
    const struct conf_option *option = conf_option_get(index);
    struct pn_buf value, fallback;
    int status;

    pn_buf_init(&value, DESTINATION_MAX);
    pn_buf_init(&fallback, DESTINATION_MAX);
    status = conf_value_format(index, domain, &value);
    if (status == 0) {
        status = conf_value_write(conf_row_get(index)->type, option->fallback, &fallback);
    }
    if (status == 0 && !pn_str_eq(pn_buf_str(&value), pn_buf_str(&fallback))) {
        status = pn_buf_printf(out, ";%s=%.*s", option->name, PN_FMT(pn_buf_str(&value)));
    }
    pn_buf_fini(&value);
    pn_buf_fini(&fallback);
    return status;
}

char *conf_targets_destination(const struct conf_domain *domain)
{
    struct pn_buf out;
    int status;
    char *text;

    pn_buf_init(&out, DESTINATION_MAX);
    status = conf_value_format(OPTION_DOMAIN_service, domain, &out);
    if (domain->target_mx && status == 0) {
        status = pn_buf_printf(&out, ":mx %s", domain->mx_name);
    }
    for (size_t i = 0; i < domain->target_count && status == 0; i++) {
        status = write_target(&domain->targets[i], i > 0 ? "," : ":", &out);
    }
    for (size_t i = 0; i < domain->fallback_count && status == 0; i++) {
        status = write_target(&domain->fallbacks[i], i > 0 ? "," : ";fallback=", &out);
    }
    if (status == 0) {
        status = pn_buf_append_z(&out, ";tls=");
    }
    if (status == 0) {
        status = conf_value_format(OPTION_DOMAIN_tls, domain, &out);
    }
    for (size_t i = 0; i < PN_COUNT(wire_options) && status == 0; i++) {
        status = write_option(wire_options[i], domain, &out);
    }
    text = status == 0 ? pn_buf_detach(&out) : NULL;
    pn_buf_fini(&out);
    return text;
}

static void free_targets(struct conf_target *targets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(targets[i].host);
        free(targets[i].path);
    }
    free(targets);
}

void conf_targets_copy(struct conf_domain *domain)
{
    struct conf_target *fallbacks =
        pn_alloc_array(domain->fallback_count + 1, sizeof *fallbacks);

    pn_assert(domain->target_count == 0);
    domain->targets = NULL;
    for (size_t i = 0; i < domain->fallback_count; i++) {
        fallbacks[i] = domain->fallbacks[i];
        fallbacks[i].host = pn_strdup(fallbacks[i].host);
        fallbacks[i].path = fallbacks[i].path ? pn_strdup(fallbacks[i].path) : NULL;
    }
    domain->fallbacks = fallbacks;
    for (size_t i = 0; i < PN_COUNT(domain->source_names); i++) {
        char *name = domain->source_names[i];

        domain->source_names[i] = name ? pn_strdup(name) : NULL;
    }
}

void conf_targets_free(struct conf_domain *domain)
{
    free_targets(domain->targets, domain->target_count);
    free_targets(domain->fallbacks, domain->fallback_count);
    free(domain->mx_name);
    free(domain->source_names[0]);
    free(domain->source_names[1]);
}

/* ---- target and fallback ---- */

/* True when a connection to the target would certainly end at a listener of ours. */
static bool is_own(const struct conf_target *target, const struct pn_endpoint *own,
                   size_t count)
{
    struct pn_endpoint endpoint = {target->ip, target->port};

    for (size_t i = 0; i < count && target->literal; i++) {
        bool everywhere = pn_ip_is_unspecified(&own[i].ip) &&
                          own[i].ip.family == target->ip.family &&
                          pn_ip_is_loopback(&target->ip) && own[i].port == target->port;

        if (everywhere || pn_endpoint_eq(&own[i], &endpoint)) {
            return true;
        }
    }
    return false;
}

static bool is_repeated(const struct conf_target *targets, size_t count,
                        const struct conf_target *target)
{
    for (size_t i = 0; i < count; i++) {
        bool same = target->path ? targets[i].path && strcmp(targets[i].path, target->path) == 0
                                 : !targets[i].path && targets[i].port == target->port &&
                                       strcmp(targets[i].host, target->host) == 0;

        if (same) {
            return true;
        }
    }
    return false;
}

static const char *parse_path(struct pn_str path, const struct conf_domain *domain,
                              struct conf_target *out_target)
{
    if (domain->service != CONF_LMTP) {
        return "a unix socket is for service = lmtp";
    }
    if (path.len == 0 || path.ptr[0] != '/') {
        return "write an absolute path, \"unix:/run/dovecot/lmtp\"";
    }
    if (path.len > SOCKET_PATH_MAX) {
        return "the path of a socket has at most 107 octets";
    }
    *out_target = (struct conf_target){.host = pn_strdup(""), .path = pn_strndup(path)};
    return NULL;
}

/* What a reader of targets knows besides the text. */
struct target_reader {
    struct conf_reader *reader;
    const struct conf_domain *domain;
    const struct conf *conf; /* or NULL */
    const struct pn_endpoint *own;
    size_t own_count;
};

static const char *parse_target(const struct target_reader *with, struct pn_str text,
                                struct conf_target *out_target)
{
    uint16_t port = with->domain->service == CONF_LMTP ? 24 : 25;
    const char *why;

    if (pn_str_starts_nocase(text, PN_STR("unix:"))) {
        return parse_path(pn_str_sub(text, 5, SIZE_MAX), with->domain, out_target);
    }
    why = conf_target_parse(text, port, out_target);
    if (!why && with->conf &&
        pn_str_eq_nocase(pn_str_z(out_target->host), pn_str_z(with->conf->hostname))) {
        why = "this is our own hostname, mail would come back to us";
    } else if (!why && is_own(out_target, with->own, with->own_count)) {
        why = "we listen there ourselves, mail would come back to us";
    }
    return why;
}

static void read_hosts(const struct target_reader *with, const char *option,
                       const struct conf_setting *setting, struct conf_target **out,
                       size_t *out_count)
{
    struct conf_target *targets = pn_alloc_array(setting->count + 1, sizeof *targets);
    size_t count = 0;

    for (size_t i = 0; i < setting->count; i++) {
        struct conf_target target = {0};
        const char *why = parse_target(with, setting->values[i].text, &target);
        char quoted[CONF_QUOTE_CHARS];

        if (!why && is_repeated(targets, count, &target)) {
            why = "it stands in the list twice";
        }
        if (why) {
            conf_reader_mistake(with->reader, setting->values[i].line, "%s: %s: %s", option,
                                conf_text_quote(setting->values[i].text, quoted), why);
            free(target.host);
            free(target.path);
        } else {
            targets[count++] = target;
        }
    }
    *out = targets;
    *out_count = count;
}

static void read_mx(struct conf_reader *reader, const struct conf_setting *setting,
                    struct conf_domain *domain)
{
    if (domain->kind == CONF_QUEUE_SMART_HOST) {
        conf_reader_mistake(reader, setting->values[0].line,
                            "target: a smart host has no domain whose MX records could be "
                            "meant; name its hosts");
        return;
    }
    domain->target_mx = true;
    domain->mx_name = domain->name ? pn_strdup(domain->name) : NULL;
    if (setting->count > 1) {
        conf_reader_mistake(reader, setting->values[0].line,
                            "target: \"mx\" stands alone; use fallback for further hosts");
    }
    if (domain->service == CONF_LMTP) {
        conf_reader_mistake(reader, setting->values[0].line,
                            "target: MX records are about SMTP, and service is lmtp");
    }
}

/* ---- source_address ---- */

static const char *read_source(struct conf_domain *domain, struct pn_str text)
{
    struct pn_str name = text;
    struct pn_str address = pn_str_cut(&name, ' ');
    struct pn_ip ip;
    struct pn_ip *field;
    const char *why;

    if (!pn_ip_parse(address, &ip) || pn_ip_is_unspecified(&ip)) {
        return "write an address of this host, \"192.0.2.1\", or \"192.0.2.1 name\"";
    }
    field = ip.family == PN_IPV6 ? &domain->source_v6 : &domain->source_v4;
    if (field->family != PN_FAMILY_NONE) {
        return "there is another address of this family";
    }
    why = name.len > 0 ? conf_name_check(name) : NULL;
    if (!why) {
        *field = ip;
        domain->source_names[ip.family == PN_IPV6] =
            name.len > 0 ? conf_name_lower(name) : NULL;
    }
    return why;
}

static void read_sources(struct conf_reader *reader, const struct conf_setting *setting,
                         struct conf_domain *domain)
{
    for (size_t i = 0; i < setting->count; i++) {
        const char *why = read_source(domain, setting->values[i].text);
        char quoted[CONF_QUOTE_CHARS];

        if (why) {
            conf_reader_mistake(reader, setting->values[i].line, "source_address: %s: %s",
                                conf_text_quote(setting->values[i].text, quoted), why);
        }
    }
}

void conf_rules_targets(struct conf_reader *reader, const struct conf_block *block,
                        struct conf_domain *domain, const struct conf *conf,
                        const struct pn_endpoint *own, size_t own_count)
{
    const struct conf_setting *target = conf_rules_setting(block, "target");
    struct target_reader with = {reader, domain, conf, own, own_count};

    if (target->count > 0 && pn_str_eq(target->values[0].text, PN_STR("mx"))) {
        read_mx(reader, target, domain);
    } else {
        read_hosts(&with, "target", target, &domain->targets, &domain->target_count);
    }
    read_hosts(&with, "fallback", conf_rules_setting(block, "fallback"), &domain->fallbacks,
               &domain->fallback_count);
    read_sources(reader, conf_rules_setting(block, "source_address"), domain);
    conf_rules_trust(reader, block, domain);
}
