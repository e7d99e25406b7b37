// links: verify tls mail conf base
/*
 * A recipient list comes out the same however its load is cut into slices; what a line calls
 * a local part can be asked for, and its compared form is its own compared form.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/mail/address.h"
#include "postern/tls/context.h"
#include "postern/verify/verify.h"

#include "../../src/verify/list_priv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

static struct conf_domain *make_domain(void)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;

    conf_mistakes_init(&mistakes);
    domain = conf_domain_parse("f", PN_STR("a.b"),
                               PN_STR("target = c.d aliases = e.f subdomains = yes "
                                      "recipient_delimiter = \"+-\""),
                               NULL, NULL, 0, &mistakes);
    pn_assert(domain);
    conf_mistakes_fini(&mistakes);
    return domain;
}

static void check_line(struct pn_str line, const struct conf_domain *domain)
{
    struct pn_str local = PN_STR("");
    struct pn_buf once;
    struct pn_buf twice;

    if (verify_list_line(line, domain, &local) != VERIFY_LINE_LOCAL) {
        return;
    }
    pn_assert(local.len > 0 && local.len <= MAIL_LOCAL_MAX && local.ptr >= line.ptr &&
              local.ptr + local.len <= line.ptr + line.len);
    pn_buf_init(&once, 256);
    pn_buf_init(&twice, 256);
    pn_assert(verify_local(domain, local, &once));
    if (once.len <= MAIL_LOCAL_MAX) {
        pn_assert(verify_local(domain, pn_buf_str(&once), &twice));
        pn_assert(pn_str_eq(pn_buf_str(&once), pn_buf_str(&twice)));
    }
    pn_buf_fini(&once);
    pn_buf_fini(&twice);
}

static void load_all(struct verify_load *load, struct pn_str input, int64_t slice,
                     const struct conf_domain *domain)
{
    struct pn_buf text;
    int64_t budget = slice;

    pn_buf_init(&text, input.len + 1);
    pn_assert(pn_buf_append(&text, input) == 0);
    verify_load_init(load, domain, tls_crypto(), &text);
    while (!verify_load_step(load, &budget)) {
        budget = slice;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    struct pn_str input = {(const char *)octets, size};
    struct conf_domain *domain = make_domain();
    struct verify_load whole;
    struct verify_load sliced;

    load_all(&whole, input, INT64_MAX, domain);
    load_all(&sliced, input, 1, domain);
    pn_assert(verify_table_eq(whole.table, sliced.table));
    pn_assert(memcmp(&whole.facts, &sliced.facts, sizeof whole.facts) == 0);
    verify_load_fini(&whole);
    verify_load_fini(&sliced);
    while (input.len > 0) {
        check_line(pn_str_cut(&input, '\n'), domain);
    }
    conf_domain_unref(&domain);
    return 0;
}
