/*
 * conf/conf.c - snapshots: made whole from a text, counted, and freed by the last owner.
 *
 * A text becomes settings (syntax.c), settings become typed fields (values.c), and then
 * the rules between them are looked at (rules.c). As many mistakes as possible are said in
 * one go, but rules wait until every value is right, so they may trust the fields.
 */
#include "postern/conf/conf.h"

#include "names_priv.h"
#include "rules_priv.h"
#include "targets_priv.h"
#include "values_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define WHERE_CHARS (CONF_QUOTE_CHARS + 32)

/* Relaxed is enough to take one more reference: who takes it has one already. */
static void count_up(unsigned *refs)
{
    (void)__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

/* True for the last one, who sees all that the others did before they let go. */
static bool count_down(unsigned *refs)
{
    unsigned before = __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL);

    pn_assert(before > 0);
    return before == 1;
}

static void free_conf(struct conf *conf)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        free(conf->listeners[i].name);
        free(conf->listeners[i].endpoints);
        conf_values_free(CONF_LISTENER, &conf->listeners[i]);
    }
    for (size_t i = 0; i < conf->certificate_count; i++) {
        free(conf->certificates[i].name);
        conf_values_free(CONF_CERTIFICATE, &conf->certificates[i]);
    }
    for (size_t i = 0; i < conf->smart_host_count; i++) {
        conf_domain_unref(&conf->smart_hosts[i]);
    }
    conf_domain_unref(&conf->outbound);
    free(conf->smart_hosts);
    free(conf->listeners);
    free(conf->certificates);
    conf_values_free(CONF_MAIN, conf);
    free(conf);
}

struct conf *conf_ref(struct conf *conf)
{
    count_up(&conf->refs);
    return conf;
}

void conf_unref(struct conf **conf)
{
    if (*conf && count_down(&(*conf)->refs)) {
        free_conf(*conf);
    }
    *conf = NULL;
}

static void read_listener(struct conf_reader *reader, const struct conf_syntax *syntax,
                          const struct conf_block *block, struct conf *conf)
{
    struct conf_listener *listener = &conf->listeners[conf->listener_count++];

    listener->name = pn_strdup(block->title);
    conf_values_read(reader, syntax, block, listener);
    if (!reader->failed) {
        conf_rules_listener(reader, block, listener);
    }
}

static void read_certificate(struct conf_reader *reader, const struct conf_syntax *syntax,
                             const struct conf_block *block, struct conf *conf)
{
    struct conf_certificate *certificate = &conf->certificates[conf->certificate_count++];

    certificate->name = pn_strdup(block->title);
    conf_values_read(reader, syntax, block, certificate);
    if (!reader->failed && syntax->complete) {
        conf_rules_certificate(reader, block, certificate);
    }
}

/* The name of its destination; the mistake is said when it is too long. */
static void name_destination(struct conf_reader *reader, struct conf_domain *domain)
{
    domain->destination = reader->failed ? NULL : conf_targets_destination(domain);
    if (!reader->failed && !domain->destination) {
        conf_reader_mistake(reader, 0,
                            "the options that say how the target is reached are longer than "
                            "8 KiB together");
    }
}

static char *joined(const char *first, struct pn_str rest)
{
    struct pn_buf out;
    char *text;

    pn_buf_init(&out, rest.len + 32);
    pn_assert(pn_buf_append_z(&out, first) == 0 && pn_buf_append(&out, rest) == 0);
    text = pn_buf_detach(&out);
    pn_buf_fini(&out);
    return text;
}

static void read_smart_host(struct conf_reader *reader, const struct conf_syntax *syntax,
                            const struct conf_block *block, struct conf *conf)
{
    struct conf_domain *host = PN_NEW(struct conf_domain);

    host->refs = 1;
    host->kind = CONF_QUEUE_SMART_HOST;
    host->name = joined(CONF_SMART_HOST_QUEUE, pn_str_z(block->title));
    conf->smart_hosts[conf->smart_host_count++] = host;
    conf_values_read(reader, syntax, block, host);
    conf_values_complete(CONF_SMART_HOST, host);
    if (!reader->failed && syntax->complete) {
        conf_rules_smart_host(reader, block, host, conf);
    }
    name_destination(reader, host);
}

/* Sees that there is a destination for every domain, so for one with the longest name. */
static void try_longest_name(struct conf_reader *reader, struct conf_domain *outbound)
{
    char longest[CONF_NAME_MAX + 1];

    memset(longest, 'x', CONF_NAME_MAX);
    longest[CONF_NAME_MAX] = '\0';
    outbound->target_mx = true;
    outbound->mx_name = longest;
    name_destination(reader, outbound);
    free(outbound->destination);
    outbound->destination = NULL;
    outbound->mx_name = NULL;
}

/* What every domain in the world begins with: it has no name, target and destination yet. */
static void read_outbound(struct conf_reader *reader, const struct conf_syntax *syntax,
                          const struct conf_block *block, struct conf *conf)
{
    if (conf->outbound) {
        conf_reader_mistake(reader, block->line, "there is another outbound section");
        return;
    }
    conf->outbound = PN_NEW(struct conf_domain);
    conf->outbound->refs = 1;
    conf->outbound->kind = CONF_QUEUE_OUTBOUND;
    conf_values_read(reader, syntax, block, conf->outbound);
    conf_values_complete(CONF_OUTBOUND, conf->outbound);
    /* Who our clients are is nobody else's business. */
    conf->outbound->identity = CONF_IDENTITY_NONE;
    if (!reader->failed && syntax->complete) {
        conf_rules_outbound(reader, block, conf->outbound, conf);
        try_longest_name(reader, conf->outbound);
    }
}

static const struct {
    const char *name;
    void (*read)(struct conf_reader *reader, const struct conf_syntax *syntax,
                 const struct conf_block *block, struct conf *conf);
} sections[] = {
    [CONF_LISTENER] = {"listener", read_listener},
    [CONF_CERTIFICATE] = {"certificate", read_certificate},
    [CONF_SMART_HOST] = {"smart_host", read_smart_host},
    [CONF_OUTBOUND] = {"outbound", read_outbound},
};

static void read_section(struct conf_reader *reader, const struct conf_syntax *syntax,
                         const struct conf_block *block, struct conf *conf)
{
    char where[WHERE_CHARS];
    char quoted[CONF_QUOTE_CHARS];
    bool failed_before = reader->failed;

    if (block->section == CONF_OUTBOUND) {
        (void)snprintf(where, sizeof where, "outbound: ");
    } else {
        (void)snprintf(where, sizeof where, "%s %s: ", sections[block->section].name,
                       conf_text_quote(pn_str_z(block->title), quoted));
    }
    reader->where = where;
    reader->failed = false;
    sections[block->section].read(reader, syntax, block, conf);
    reader->where = "";
    reader->failed |= failed_before;
}

static void read_conf(struct conf_reader *reader, const struct conf_syntax *syntax,
                      struct conf *conf)
{
    conf_values_read(reader, syntax, &syntax->blocks[0], conf);
    if (!reader->failed) {
        conf_rules_main(reader, &syntax->blocks[0], conf);
    }
    conf->listeners = pn_alloc_array(syntax->block_count, sizeof *conf->listeners);
    conf->certificates = pn_alloc_array(syntax->block_count, sizeof *conf->certificates);
    conf->smart_hosts = pn_alloc_array(syntax->block_count, sizeof *conf->smart_hosts);
    for (size_t i = 1; i < syntax->block_count; i++) {
        read_section(reader, syntax, &syntax->blocks[i], conf);
    }
    if (!conf->outbound) {
        const struct conf_block nothing = {.section = CONF_OUTBOUND, .title = ""};

        read_outbound(reader, syntax, &nothing, conf);
    }
    if (syntax->complete) {
        conf_rules_listeners(reader, conf);
        conf_rules_smart_hosts(reader, conf);
    }
}

struct conf *conf_parse(const char *file, struct pn_str text, struct conf_mistakes *mistakes)
{
    struct conf_reader reader = {.file = file, .where = "", .mistakes = mistakes};
    struct conf *conf = PN_NEW(struct conf);
    struct conf_syntax syntax;

    conf->refs = 1;
    conf_syntax_init(&syntax, CONF_MAIN, &reader, text);
    if (syntax.tree) {
        read_conf(&reader, &syntax, conf);
    }
    conf_syntax_fini(&syntax);
    if (reader.failed) {
        conf_unref(&conf);
    }
    return conf;
}

static void free_domain(struct conf_domain *domain)
{
    conf_targets_free(domain);
    free(domain->destination);
    free(domain->name);
    conf_values_free(CONF_DOMAIN, domain);
    conf_strings_free(&domain->senders);
    conf_strings_free(&domain->domains);
    free(domain);
}

struct conf_domain *conf_domain_ref(struct conf_domain *domain)
{
    count_up(&domain->refs);
    return domain;
}

void conf_domain_unref(struct conf_domain **domain)
{
    if (*domain && count_down(&(*domain)->refs)) {
        free_domain(*domain);
    }
    *domain = NULL;
}

struct conf_domain *conf_domain_parse(const char *file, struct pn_str name, struct pn_str text,
                                      const struct conf *conf, const struct pn_endpoint *own,
                                      size_t own_count, struct conf_mistakes *mistakes)
{
    struct conf_reader reader = {.file = file, .where = "", .mistakes = mistakes};
    struct conf_domain *domain = PN_NEW(struct conf_domain);
    struct conf_syntax syntax;

    domain->refs = 1;
    if (conf_rules_domain_name(&reader, name)) {
        domain->name = pn_strndup(name);
    }
    conf_syntax_init(&syntax, CONF_DOMAIN, &reader, text);
    if (syntax.tree) {
        conf_values_read(&reader, &syntax, &syntax.blocks[0], domain);
        if (!reader.failed) {
            conf_rules_domain(&reader, &syntax.blocks[0], domain, conf, own, own_count);
        }
    }
    conf_syntax_fini(&syntax);
    name_destination(&reader, domain);
    if (reader.failed) {
        conf_domain_unref(&domain);
    }
    return domain;
}

struct conf_domain *conf_outbound_domain(const struct conf *conf, struct pn_str name)
{
    struct conf_domain *domain;

    if (conf_name_check(name)) {
        return NULL;
    }
    domain = PN_NEW(struct conf_domain);
    *domain = *conf->outbound;
    domain->refs = 1;
    conf_values_copy(domain);
    conf_targets_copy(domain);
    domain->target_mx = true;
    domain->mx_name = conf_name_lower(name);
    domain->name = joined(CONF_OUTBOUND_QUEUE, pn_str_z(domain->mx_name));
    domain->destination = conf_targets_destination(domain);
    pn_assert(domain->destination); /* conf_rules_outbound has seen that there is room. */
    return domain;
}
