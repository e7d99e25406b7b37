/*
 * conf/recipients.c - rules about who is a recipient of a domain.
 *
 * They keep apart what can never be meant (a mistake) from what works but takes or sends
 * mail that nobody asked for (a warning): a list that nobody reads, a domain that takes
 * every local part and reports to forged senders.
 */
#include "rules_priv.h"

#include "names_priv.h"

#include "postern/base/mem.h"

#include <string.h>

#define URL_MAX       2048
#define DELIMITER_MAX 4

static bool has_word(const struct conf_order *order, enum conf_recipients word)
{
    for (size_t i = 0; i < order->count; i++) {
        if (order->words[i] == word) {
            return true;
        }
    }
    return false;
}

static void check_sources(struct conf_reader *reader, const struct conf_block *block,
                          const struct conf_domain *domain)
{
    const struct conf_order *order = &domain->recipients;
    bool list = has_word(order, CONF_RECIPIENTS_LIST);
    bool given = domain->recipient_list[0] != '\0';
    unsigned line = conf_block_line(block, OPTION_DOMAIN_recipients);

    if (list && !given) {
        conf_reader_mistake(reader, line,
                            "recipients: \"list\" needs a recipient_list; write recipient_list "
                            "= \"/etc/postern/lists/%s\"",
                            domain->name);
    } else if (given && !list) {
        conf_reader_warn(reader, conf_block_line(block, OPTION_DOMAIN_recipient_list),
                         "recipient_list is not used: \"list\" is missing in recipients");
    }
    if (has_word(order, CONF_RECIPIENTS_ANY) &&
        order->words[order->count - 1] != CONF_RECIPIENTS_ANY) {
        conf_reader_mistake(reader, line,
                            "recipients: nothing after \"any\" is ever asked; make it the last "
                            "or leave it out");
    }
}

/* The URL without its scheme; an empty one when it has another. */
static struct pn_str url_rest(struct pn_str url)
{
    static const char *const schemes[] = {"https://", "http://"};

    for (size_t i = 0; i < PN_COUNT(schemes); i++) {
        struct pn_str scheme = pn_str_z(schemes[i]);

        if (pn_str_starts_nocase(url, scheme)) {
            return pn_str_sub(url, scheme.len, SIZE_MAX);
        }
    }
    return PN_STR("");
}

/* Where the host of the URL ends. */
static size_t authority_len(struct pn_str rest)
{
    size_t len = 0;

    while (len < rest.len && !strchr("/?#", rest.ptr[len])) {
        len++;
    }
    return len;
}

static const char *check_url(struct pn_str url)
{
    struct pn_str rest = url_rest(url);
    struct pn_str authority = pn_str_sub(rest, 0, authority_len(rest));
    struct conf_target target;
    const char *why;

    if (rest.len == 0) {
        return "write an absolute path, or an http:// or https:// address";
    }
    if (url.len > URL_MAX) {
        return "it is longer than 2048 octets";
    }
    /* Log lines, status and the copy on disk would all carry the password. */
    if (pn_str_find(authority, '@') < authority.len) {
        return "a user and a password in the address are not supported; let the server allow "
               "this host's address";
    }
    if (pn_str_find(rest, '#') < rest.len) {
        return "leave out the part from # on, it is never sent";
    }
    if (pn_str_find(url, ' ') < url.len || !pn_str_is_ascii(url)) {
        return "blanks and letters beyond ASCII must be percent-encoded";
    }
    why = conf_target_parse(authority, 80, &target);
    if (!why) {
        free(target.host);
    }
    return why;
}

static void check_list(struct conf_reader *reader, const struct conf_block *block,
                       const struct conf_domain *domain)
{
    struct pn_str list = pn_str_z(domain->recipient_list);
    const char *why = list.len == 0 || list.ptr[0] == '/' ? NULL : check_url(list);
    char quoted[CONF_QUOTE_CHARS];

    if (why) {
        conf_reader_mistake(reader, conf_block_line(block, OPTION_DOMAIN_recipient_list),
                            "recipient_list: %s: %s", conf_text_quote(list, quoted), why);
    }
}

/* What stands in a local part without quotes, and is no letter or digit (RFC 5322 3.2.3). */
static void check_delimiter(struct conf_reader *reader, const struct conf_block *block,
                            const struct conf_domain *domain)
{
    struct pn_str delimiter = pn_str_z(domain->recipient_delimiter);
    bool right = delimiter.len <= DELIMITER_MAX;
    char quoted[CONF_QUOTE_CHARS];

    for (size_t i = 0; i < delimiter.len; i++) {
        right = right && strchr("!#$%&'*+-/=?^_`{|}~.", delimiter.ptr[i]);
    }
    if (!right) {
        conf_reader_mistake(reader, conf_block_line(block, OPTION_DOMAIN_recipient_delimiter),
                            "recipient_delimiter: %s has something else than at most 4 of "
                            "!#$%%&'*+-/=?^_`{|}~.",
                            conf_text_quote(delimiter, quoted));
    }
}

static bool is_earlier(const struct conf_strings *aliases, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(aliases->items[i], aliases->items[index]) == 0) {
            return true;
        }
    }
    return false;
}

static void check_aliases(struct conf_reader *reader, const struct conf_block *block,
                          struct conf_domain *domain)
{
    struct conf_strings *aliases = &domain->aliases;

    for (size_t i = 0; i < aliases->count; i++) {
        const struct conf_value *value = &block->settings[OPTION_DOMAIN_aliases].values[i];
        const char *why = conf_name_check(value->text);
        char *lower = conf_name_lower(value->text);
        char quoted[CONF_QUOTE_CHARS];

        free(aliases->items[i]);
        aliases->items[i] = lower;
        if (!why && strcmp(lower, domain->name) == 0) {
            why = "this is the domain itself";
        } else if (!why && is_earlier(aliases, i)) {
            why = "it stands in the list twice";
        }
        if (why) {
            conf_reader_mistake(reader, value->line, "aliases: %s: %s",
                                conf_text_quote(value->text, quoted), why);
        }
    }
}

void conf_rules_recipients(struct conf_reader *reader, const struct conf_block *block,
                           struct conf_domain *domain)
{
    check_sources(reader, block, domain);
    check_list(reader, block, domain);
    check_delimiter(reader, block, domain);
    check_aliases(reader, block, domain);
    conf_rules_order(reader, block, OPTION_DOMAIN_valid_refresh, OPTION_DOMAIN_valid_keep,
                     domain->valid_refresh_ms, domain->valid_keep_ms);
    conf_rules_order(reader, block, OPTION_DOMAIN_invalid_refresh, OPTION_DOMAIN_invalid_keep,
                     domain->invalid_refresh_ms, domain->invalid_keep_ms);
}
