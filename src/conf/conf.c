/*
 * conf/conf.c - snapshots: made whole from a text, counted, and freed by the last owner.
 *
 * A text becomes settings (syntax.c), settings become typed fields (values.c), and then
 * the rules between them are looked at (rules.c). As many mistakes as possible are said in
 * one go, but rules wait until every value is right, so they may trust the fields.
 */
#include "postern/conf/conf.h"

#include "rules_priv.h"
#include "targets_priv.h"
#include "values_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>

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

static void read_section(struct conf_reader *reader, const struct conf_syntax *syntax,
                         const struct conf_block *block, struct conf *conf)
{
    char where[WHERE_CHARS];
    char quoted[CONF_QUOTE_CHARS];
    bool failed_before = reader->failed;

    (void)snprintf(where, sizeof where,
                   "%s %s: ", block->section == CONF_LISTENER ? "listener" : "certificate",
                   conf_text_quote(pn_str_z(block->title), quoted));
    reader->where = where;
    reader->failed = false;
    if (block->section == CONF_LISTENER) {
        struct conf_listener *listener = &conf->listeners[conf->listener_count++];

        listener->name = pn_strdup(block->title);
        conf_values_read(reader, syntax, block, listener);
        if (!reader->failed) {
            conf_rules_listener(reader, block, listener);
        }
    } else {
        struct conf_certificate *certificate = &conf->certificates[conf->certificate_count++];

        certificate->name = pn_strdup(block->title);
        conf_values_read(reader, syntax, block, certificate);
        if (!reader->failed && syntax->complete) {
            conf_rules_certificate(reader, block, certificate);
        }
    }
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
    for (size_t i = 1; i < syntax->block_count; i++) {
        read_section(reader, syntax, &syntax->blocks[i], conf);
    }
    if (syntax->complete) {
        conf_rules_listeners(reader, conf);
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
    domain->destination = reader.failed ? NULL : conf_targets_destination(domain);
    if (!reader.failed && !domain->destination) {
        conf_reader_mistake(&reader, 0,
                            "the options that say how the target is reached are longer than "
                            "8 KiB together");
    }
    if (reader.failed) {
        conf_domain_unref(&domain);
    }
    return domain;
}
