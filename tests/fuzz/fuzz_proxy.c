// links: smtp base
/*
 * PROXY headers from nowhere. What is said of a beginning never changes by what follows it,
 * and a header that is told is never longer than what has come.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/smtp/proxy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

/* At an address of its own, so that a read beyond it is noticed. */
static enum smtp_proxy_result parse(const uint8_t *octets, size_t size, struct smtp_proxy *out)
{
    char *copy = pn_alloc(size > 0 ? size : 1);
    enum smtp_proxy_result result;

    if (size > 0) {
        memcpy(copy, octets, size);
    }
    result = smtp_proxy_parse((struct pn_str){copy, size}, out);
    free(copy);
    return result;
}

static void check_end(enum smtp_proxy_result result, const struct smtp_proxy *header,
                      size_t size)
{
    pn_assert(result == SMTP_PROXY_BAD || size < SMTP_PROXY_MAX || result != SMTP_PROXY_MORE);
    if (result == SMTP_PROXY_TOLD || result == SMTP_PROXY_OWN) {
        pn_assert(header->octets >= 16 && header->octets <= size);
        pn_assert(header->octets <= SMTP_PROXY_MAX);
        pn_assert((header->client.ip.family == PN_FAMILY_NONE) == (result == SMTP_PROXY_OWN));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    enum smtp_proxy_result before = SMTP_PROXY_MORE;
    size_t octets_before = 0;

    for (size_t cut = 0; cut <= size; cut++) {
        struct smtp_proxy header = {0};
        enum smtp_proxy_result now;

        if (cut > 64 && cut + 64 < size) {
            continue; /* the values behind the addresses are not looked at */
        }
        now = parse(octets, cut, &header);
        check_end(now, &header, cut);
        pn_assert(before == SMTP_PROXY_MORE || now == before);
        pn_assert(octets_before == 0 || header.octets == octets_before);
        before = now;
        octets_before = header.octets;
    }
    return 0;
}
