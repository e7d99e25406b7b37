/* links: conf base */
/*
 * Configuration files from nowhere. The first octet chooses postern.conf or a domain's
 * file. What is accepted and written again must be accepted again, and mean the same.
 */
#include "postern/base/assert.h"
#include "postern/conf/conf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_domain(struct pn_str text, struct conf_mistakes *mistakes)
{
    static const struct pn_str name = {"example.org", 11};
    struct conf_domain *domain = conf_domain_parse("f", name, text, NULL, NULL, 0, mistakes);
    struct conf_domain *again;
    struct pn_buf out;

    pn_assert(!domain == conf_mistakes_fatal(mistakes));
    if (!domain) {
        return;
    }
    pn_buf_init(&out, (size_t)1024 * 1024);
    pn_assert(conf_domain_format(domain, &out) == 0);
    again = conf_domain_parse("f", name, pn_buf_str(&out), NULL, NULL, 0, mistakes);
    pn_assert(again);
    pn_assert(strcmp(again->destination, domain->destination) == 0);
    pn_assert(again->hold_ms == domain->hold_ms);
    conf_domain_unref(&again);
    conf_domain_unref(&domain);
    pn_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_str text = {(const char *)data + 1, size > 0 ? size - 1 : 0};
    struct conf_mistakes mistakes;

    if (size == 0) {
        return 0;
    }
    conf_mistakes_init(&mistakes);
    if (data[0] % 2 == 0) {
        struct conf *conf = conf_parse("f", text, &mistakes);

        pn_assert(!conf == conf_mistakes_fatal(&mistakes));
        conf_unref(&conf);
    } else {
        parse_domain(text, &mistakes);
    }
    conf_mistakes_fini(&mistakes);
    return 0;
}
