/*
 * smtp/proxy.c - the PROXY protocol's header, version 2.
 *
 * Twelve octets that no SMTP client says, version and command, family, length; then the
 * addresses, and behind them values that are skipped: their length is in the header's own.
 * It looks at all of it each time, which costs less than it would to remember how far it
 * came: a header is short, and usually comes whole.
 */
#include "postern/smtp/proxy.h"

#include <string.h>

#define SIGNATURE_OCTETS 12
#define FIXED_OCTETS     16

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
/* Only streams: nobody brings mail in datagrams. */
enum { FAMILY_NONE = 0x00, FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21, FAMILY_UNIX = 0x31 };

static const uint8_t signature[SIGNATURE_OCTETS] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                    0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static unsigned get_u16(const uint8_t *octets)
{
    return (unsigned)octets[0] << 8 | octets[1];
}

/* The address that the header tells first: source, then destination, then their ports. */
static enum smtp_proxy_result read_client(uint8_t family, const uint8_t *body, size_t len,
                                          struct pn_endpoint *out)
{
    size_t size = family == FAMILY_TCP6 ? 16 : 4;

    if (family == FAMILY_NONE || family == FAMILY_UNIX) {
        return SMTP_PROXY_OWN;
    }
    if ((family != FAMILY_TCP4 && family != FAMILY_TCP6) || len < 2 * size + 4) {
        return SMTP_PROXY_BAD;
    }
    if (family == FAMILY_TCP6) {
        out->ip = pn_ip_v6(body);
    } else {
        out->ip = pn_ip_v4((uint32_t)get_u16(body) << 16 | get_u16(body + 2));
    }
    out->port = (uint16_t)get_u16(body + 2 * size);
    return pn_ip_is_unspecified(&out->ip) ? SMTP_PROXY_BAD : SMTP_PROXY_TOLD;
}

enum smtp_proxy_result smtp_proxy_parse(struct pn_str data, struct smtp_proxy *out)
{
    const uint8_t *octets = (const uint8_t *)data.ptr;
    size_t known = data.len < SIGNATURE_OCTETS ? data.len : SIGNATURE_OCTETS;
    struct pn_endpoint client = {0};
    enum smtp_proxy_result result;
    size_t len;

    if (known > 0 && memcmp(octets, signature, known) != 0) {
        return SMTP_PROXY_BAD;
    }
    if (data.len > 12 && octets[12] != COMMAND_PROXY && octets[12] != COMMAND_LOCAL) {
        return SMTP_PROXY_BAD;
    }
    if (data.len < FIXED_OCTETS) {
        return SMTP_PROXY_MORE;
    }
    len = get_u16(octets + 14);
    if (len > SMTP_PROXY_MAX - FIXED_OCTETS) {
        return SMTP_PROXY_BAD;
    }
    if (data.len - FIXED_OCTETS < len) {
        return SMTP_PROXY_MORE;
    }
    result = octets[12] == COMMAND_LOCAL
                 ? SMTP_PROXY_OWN
                 : read_client(octets[13], octets + FIXED_OCTETS, len, &client);
    if (result != SMTP_PROXY_BAD) {
        *out = (struct smtp_proxy){.client = client, .octets = FIXED_OCTETS + len};
    }
    return result;
}
