/*
 * conf/trust.c - rules about TLS with a target, and about the login there.
 *
 * Whoever writes down a proof believes that it is asked for. So a proof that nothing asks for
 * is a mistake, not a warning; and so is a policy that no server can ever satisfy, which
 * would keep all mail until it expires.
 */
#include "rules_priv.h"

#include "postern/base/mem.h"

#include <string.h>

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool conf_fingerprint_parse(struct pn_str text, uint8_t out[CONF_FINGERPRINT_OCTETS])
{
    bool colons = text.len > 2 && text.ptr[2] == ':';
    size_t step = colons ? 3 : 2;

    if (text.len != CONF_FINGERPRINT_OCTETS * step - (colons ? 1 : 0)) {
        return false;
    }
    for (size_t i = 0; i < CONF_FINGERPRINT_OCTETS; i++) {
        int high = hex_value(text.ptr[i * step]);
        int low = hex_value(text.ptr[i * step + 1]);

        if (high < 0 || low < 0 || (colons && i > 0 && text.ptr[i * step - 1] != ':')) {
            return false;
        }
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static unsigned line_of(const struct conf_block *block, const char *name)
{
    const struct conf_setting *setting = conf_rules_setting(block, name);

    return setting->count > 0 ? setting->values[0].line : 0;
}

static void check_fingerprints(struct conf_reader *reader, const struct conf_block *block,
                               const struct conf_domain *domain)
{
    const struct conf_setting *setting = conf_rules_setting(block, "tls_fingerprints");
    bool wanted = domain->tls == CONF_TLS_FINGERPRINT;

    for (size_t i = 0; i < setting->count; i++) {
        uint8_t octets[CONF_FINGERPRINT_OCTETS];
        char quoted[CONF_QUOTE_CHARS];

        if (!conf_fingerprint_parse(setting->values[i].text, octets)) {
            conf_reader_mistake(
                reader, setting->values[i].line,
                "tls_fingerprints: %s is no SHA-256 fingerprint: 64 hexadecimal digits, with "
                "or "
                "without colons between pairs (openssl x509 -noout -fingerprint -sha256)",
                conf_text_quote(setting->values[i].text, quoted));
        }
    }
    if (wanted && domain->kind == CONF_QUEUE_OUTBOUND) {
        conf_reader_mistake(reader, line_of(block, "tls"),
                            "tls: no fingerprint fits every host in the world; use dane");
    } else if (wanted && setting->count == 0) {
        conf_reader_mistake(reader, line_of(block, "tls"),
                            "tls = fingerprint needs tls_fingerprints");
    } else if (!wanted && setting->count > 0) {
        conf_reader_mistake(reader, setting->values[0].line,
                            "tls_fingerprints are checked with tls = fingerprint only: write "
                            "that, or leave them out");
    }
}

static void check_names(struct conf_reader *reader, const struct conf_block *block,
                        const struct conf_domain *domain)
{
    if (domain->tls_names.count > 0 && domain->tls != CONF_TLS_VERIFY) {
        conf_reader_mistake(
            reader, line_of(block, "tls_names"),
            "tls_names are checked with tls = verify only: write that, or leave "
            "them out");
    }
}

static void check_own_certificate(struct conf_reader *reader, const struct conf_block *block,
                                  const struct conf_domain *domain)
{
    if (domain->tls_key[0] && !domain->tls_certificate[0]) {
        conf_reader_mistake(reader, line_of(block, "tls_key"),
                            "tls_key is the key of a tls_certificate, and there is none");
    }
}

/* Options that tls = none makes pointless. */
static void check_none(struct conf_reader *reader, const struct conf_block *block,
                       const struct conf_domain *domain)
{
    const struct {
        const char *name, *value;
    } options[] = {{"tls_ca_file", domain->tls_ca_file},
                   {"tls_sni", domain->tls_sni},
                   {"tls_certificate", domain->tls_certificate}};

    for (size_t i = 0; i < PN_COUNT(options) && domain->tls == CONF_TLS_NONE; i++) {
        if (options[i].value && options[i].value[0]) {
            conf_reader_warn(reader, line_of(block, options[i].name),
                             "%s is not used: tls is none", options[i].name);
        }
    }
}

/* TLSA records belong to names (RFC 7672 2.2): an address never has any. */
static void check_dane(struct conf_reader *reader, const struct conf_block *block,
                       const struct conf_domain *domain)
{
    for (size_t i = 0; i < domain->target_count && domain->tls == CONF_TLS_DANE_ONLY; i++) {
        if (domain->targets[i].literal) {
            conf_reader_mistake(reader, line_of(block, "tls"),
                                "tls = dane-only: the target %s is an address, which has no "
                                "TLSA records: no mail would ever be handed over",
                                domain->targets[i].host);
            return;
        }
    }
}

static void check_login(struct conf_reader *reader, const struct conf_block *block,
                        const struct conf_domain *domain)
{
    if (domain->credentials[0] && domain->tls == CONF_TLS_NONE && !domain->auth_in_clear) {
        conf_reader_mistake(reader, line_of(block, "credentials"),
                            "credentials are sent within TLS only, and tls is none: nobody "
                            "would ever be logged in; allow TLS, or write auth_in_clear = yes");
    }
    if (!domain->credentials[0] && domain->auth != 0) {
        conf_reader_warn(reader, line_of(block, "auth"),
                         "auth is not used: there are no credentials");
    }
    if (!domain->credentials[0] && domain->auth_in_clear) {
        conf_reader_warn(reader, line_of(block, "auth_in_clear"),
                         "auth_in_clear is not used: there are no credentials");
    }
}

void conf_rules_trust(struct conf_reader *reader, const struct conf_block *block,
                      const struct conf_domain *domain)
{
    check_fingerprints(reader, block, domain);
    check_names(reader, block, domain);
    check_own_certificate(reader, block, domain);
    check_none(reader, block, domain);
    check_dane(reader, block, domain);
    check_login(reader, block, domain);
}
