/*
 * base/ip.c - addresses and networks, as values.
 *
 * The C library's parser and printer do the text: they are strict, know no locale and
 * open nothing. Their argument is a bounded copy, because what comes in has no NUL.
 */
#include "postern/base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool pn_ip_parse(struct pn_str s, struct pn_ip *out)
{
    char text[PN_IP_CHARS];
    uint8_t octets[16];

    if (s.len == 0 || s.len >= sizeof text || pn_str_find(s, '\0') < s.len) {
        return false;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (pn_str_find(s, ':') < s.len) {
        if (inet_pton(AF_INET6, text, octets) != 1) {
            return false;
        }
        *out = pn_ip_v6(octets);
        return true;
    }
    if (inet_pton(AF_INET, text, octets) != 1) {
        return false;
    }
    *out = (struct pn_ip){.family = PN_IPV4};
    memcpy(out->octets, octets, 4);
    return true;
}

struct pn_ip pn_ip_v4(uint32_t host_order)
{
    return (struct pn_ip){.family = PN_IPV4,
                          .octets = {(uint8_t)(host_order >> 24), (uint8_t)(host_order >> 16),
                                     (uint8_t)(host_order >> 8), (uint8_t)host_order}};
}

struct pn_ip pn_ip_v6(const uint8_t octets[16])
{
    struct pn_ip ip = {.family = PN_IPV6};

    if (memcmp(octets, mapped, sizeof mapped) == 0) {
        ip.family = PN_IPV4;
        memcpy(ip.octets, octets + sizeof mapped, 4);
    } else {
        memcpy(ip.octets, octets, 16);
    }
    return ip;
}

bool pn_ip_eq(const struct pn_ip *a, const struct pn_ip *b)
{
    return a->family == b->family && memcmp(a->octets, b->octets, sizeof a->octets) == 0;
}

const char *pn_ip_format(const struct pn_ip *ip, char out[PN_IP_CHARS])
{
    int family = ip->family == PN_IPV6 ? AF_INET6 : AF_INET;

    if (ip->family == PN_FAMILY_NONE || !inet_ntop(family, ip->octets, out, PN_IP_CHARS)) {
        memcpy(out, "none", sizeof "none");
    }
    return out;
}

int pn_ip_literal(const struct pn_ip *ip, struct pn_buf *out)
{
    char text[PN_IP_CHARS];

    return pn_buf_printf(out, ip->family == PN_IPV6 ? "[IPv6:%s]" : "[%s]",
                         pn_ip_format(ip, text));
}

bool pn_endpoint_parse(struct pn_str s, struct pn_endpoint *out)
{
    size_t colon = pn_str_rfind(s, ':');
    struct pn_str host = pn_str_sub(s, 0, colon);
    bool brackets = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    struct pn_ip ip;
    uint64_t port;

    if (colon == s.len || !pn_str_to_u64(pn_str_sub(s, colon + 1, SIZE_MAX), 65535, &port)) {
        return false;
    }
    if (brackets) {
        host = pn_str_sub(host, 1, host.len - 2);
    }
    /* Brackets go with colons, and colons with brackets: "::1:25" could mean two things. */
    if (brackets != (pn_str_find(host, ':') < host.len) || !pn_ip_parse(host, &ip)) {
        return false;
    }
    *out = (struct pn_endpoint){ip, (uint16_t)port};
    return true;
}

const char *pn_endpoint_format(const struct pn_endpoint *endpoint, char out[PN_ENDPOINT_CHARS])
{
    char text[PN_IP_CHARS];

    (void)snprintf(out, PN_ENDPOINT_CHARS, endpoint->ip.family == PN_IPV6 ? "[%s]:%u" : "%s:%u",
                   pn_ip_format(&endpoint->ip, text), (unsigned)endpoint->port);
    return out;
}

/* Makes every bit behind the first `bits` zero. */
static struct pn_net make_net(const struct pn_ip *ip, uint8_t bits)
{
    struct pn_net net = {*ip, bits};

    for (unsigned i = 0; i < sizeof net.ip.octets; i++) {
        unsigned kept = bits > i * 8 ? bits - i * 8 : 0;

        if (kept < 8) {
            net.ip.octets[i] &= (uint8_t)(0xff00U >> kept);
        }
    }
    return net;
}

bool pn_endpoint_eq(const struct pn_endpoint *a, const struct pn_endpoint *b)
{
    return a->port == b->port && pn_ip_eq(&a->ip, &b->ip);
}

bool pn_net_parse(struct pn_str s, struct pn_net *out)
{
    bool has_bits = pn_str_find(s, '/') < s.len;
    struct pn_str text = pn_str_cut(&s, '/');
    bool was_v6 = pn_str_find(text, ':') < text.len;
    struct pn_ip ip;
    uint64_t bits = was_v6 ? 128 : 32;

    if (!pn_ip_parse(text, &ip) || (has_bits && !pn_str_to_u64(s, bits, &bits))) {
        return false;
    }
    if (was_v6 && ip.family == PN_IPV4) {
        if (bits < 96) {
            return false; /* A network that is IPv4 in one part only has no other name. */
        }
        bits -= 96;
    }
    *out = make_net(&ip, (uint8_t)bits);
    return true;
}

bool pn_net_has(const struct pn_net *net, const struct pn_ip *ip)
{
    struct pn_net other = make_net(ip, net->bits);

    return pn_ip_eq(&net->ip, &other.ip);
}

struct pn_net pn_net_of(const struct pn_ip *ip, uint8_t v4_bits, uint8_t v6_bits)
{
    uint8_t bits = ip->family == PN_IPV6 ? v6_bits : v4_bits;
    uint8_t most = ip->family == PN_IPV6 ? 128 : 32;

    return make_net(ip, bits < most ? bits : most);
}

static bool all_zero(const uint8_t *octets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (octets[i] != 0) {
            return false;
        }
    }
    return true;
}

bool pn_ip_is_loopback(const struct pn_ip *ip)
{
    if (ip->family == PN_IPV4) {
        return ip->octets[0] == 127;
    }
    return ip->family == PN_IPV6 && all_zero(ip->octets, 15) && ip->octets[15] == 1;
}

bool pn_ip_is_unspecified(const struct pn_ip *ip)
{
    if (ip->family == PN_IPV4) {
        return ip->octets[0] == 0;
    }
    return ip->family == PN_IPV6 && all_zero(ip->octets, 16);
}
