/*
 * conf/smart_hosts.c - the next hops in postern.conf: smart hosts, and the world.
 *
 * Which smart host is for a mail must be plain to who reads the file: the first one that is
 * for its sender and for its domain, else the one without conditions. So there is one of
 * those at the most, and the order matters among the others only.
 */
#include "rules_priv.h"

#include "names_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define TITLE_MAX 64

static void check_title(struct conf_reader *reader, const struct conf_block *block)
{
    struct pn_str title = pn_str_z(block->title);
    bool fine = title.len > 0 && title.len <= TITLE_MAX;

    for (size_t i = 0; i < title.len; i++) {
        char c = title.ptr[i];

        fine = fine &&
               ((pn_is_alnum(c) && c == pn_to_lower(c)) || c == '.' || c == '-' || c == '_');
    }
    if (!fine) {
        conf_reader_mistake(reader, block->line,
                            "a smart host's name has 1 to %d lower-case letters, digits, "
                            "dots, hyphens and underscores: it is in the name of a queue",
                            TITLE_MAX);
    }
}

static const char *check_sender(struct pn_str text)
{
    size_t at = pn_str_rfind(text, '@');

    if (pn_str_eq(text, PN_STR("<>"))) {
        return NULL;
    }
    if (at == text.len) {
        return "write \"a@example.org\", \"@example.org\" or \"<>\"";
    }
    return conf_name_check(pn_str_sub(text, at + 1, SIZE_MAX));
}

static const char *check_domain(struct pn_str text)
{
    bool below = text.len > 0 && text.ptr[0] == '.';

    return conf_name_check(pn_str_sub(text, below, SIZE_MAX));
}

/* Makes the items lower case, too: that is how they are compared. */
static void check_items(struct conf_reader *reader, const char *option,
                        const struct conf_setting *setting, struct conf_strings *items,
                        const char *(*check)(struct pn_str text))
{
    for (size_t i = 0; i < setting->count; i++) {
        const char *why = check(setting->values[i].text);
        char quoted[CONF_QUOTE_CHARS];

        if (why) {
            conf_reader_mistake(reader, setting->values[i].line, "%s: %s: %s", option,
                                conf_text_quote(setting->values[i].text, quoted), why);
        }
        for (char *c = items->items[i]; *c != '\0'; c++) {
            *c = pn_to_lower(*c);
        }
    }
}

void conf_rules_smart_host(struct conf_reader *reader, const struct conf_block *block,
                           struct conf_domain *domain, const struct conf *conf)
{
    check_title(reader, block);
    conf_rules_targets(reader, block, domain, conf, NULL, 0);
    conf_rules_order(reader, block, OPTION_SMART_HOST_retry_min, OPTION_SMART_HOST_retry_max,
                     domain->retry_min_ms, domain->retry_max_ms);
    check_items(reader, "senders", &block->settings[OPTION_SMART_HOST_senders],
                &domain->senders, check_sender);
    check_items(reader, "domains", &block->settings[OPTION_SMART_HOST_domains],
                &domain->domains, check_domain);
}

void conf_rules_outbound(struct conf_reader *reader, const struct conf_block *block,
                         struct conf_domain *domain, const struct conf *conf)
{
    conf_rules_targets(reader, block, domain, conf, NULL, 0);
    conf_rules_order(reader, block, OPTION_OUTBOUND_retry_min, OPTION_OUTBOUND_retry_max,
                     domain->retry_min_ms, domain->retry_max_ms);
}

void conf_rules_smart_hosts(struct conf_reader *reader, const struct conf *conf)
{
    const struct conf_domain *all = NULL;

    for (size_t i = 0; i < conf->smart_host_count; i++) {
        const struct conf_domain *host = conf->smart_hosts[i];

        if (host->senders.count > 0 || host->domains.count > 0) {
            continue;
        }
        if (all) {
            conf_reader_mistake(reader, 0,
                                "\"%s\" and \"%s\" are both for all mail: give one of them "
                                "senders or domains",
                                all->name, host->name);
        }
        all = host;
    }
}
