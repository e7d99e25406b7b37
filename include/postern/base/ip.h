/*
 * base/ip.h - addresses and networks, as values.
 *
 * An IPv4-mapped IPv6 address is always turned into plain IPv4, so that one host has one
 * name in every limit and every list (FAULTS 3.20, 5.6).
 */
#ifndef POSTERN_BASE_IP_H
#define POSTERN_BASE_IP_H

#include "postern/base/buf.h"
#include "postern/base/str.h"

enum pn_family { PN_FAMILY_NONE = 0, PN_IPV4 = 4, PN_IPV6 = 6 };

struct pn_ip {
    uint8_t family;     /* enum pn_family */
    uint8_t octets[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

struct pn_endpoint {
    struct pn_ip ip;
    uint16_t port; /* host order */
};

struct pn_net {
    struct pn_ip ip; /* host bits are zero */
    uint8_t bits;
};

/* "192.0.2.1", "2001:db8::1"; no brackets, no zone, no surrounding blanks. */
bool pn_ip_parse(struct pn_str s, struct pn_ip *out);
struct pn_ip pn_ip_v4(uint32_t host_order);
struct pn_ip pn_ip_v6(const uint8_t octets[16]); /* maps ::ffff:a.b.c.d to IPv4 */
bool pn_ip_eq(const struct pn_ip *a, const struct pn_ip *b);

#define PN_IP_CHARS       46 /* the longest text form and a NUL */
#define PN_ENDPOINT_CHARS 54
const char *pn_ip_format(const struct pn_ip *ip, char out[PN_IP_CHARS]);

/* As RFC 5321 4.1.3 writes it: "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
int pn_ip_literal(const struct pn_ip *ip, struct pn_buf *out) PN_WARN_UNUSED;

/* "192.0.2.1:25", "[2001:db8::1]:25". */
bool pn_endpoint_parse(struct pn_str s, struct pn_endpoint *out);
const char *pn_endpoint_format(const struct pn_endpoint *endpoint, char out[PN_ENDPOINT_CHARS]);
bool pn_endpoint_eq(const struct pn_endpoint *a, const struct pn_endpoint *b);

/* "192.0.2.0/24", "2001:db8::/32", or one address. */
bool pn_net_parse(struct pn_str s, struct pn_net *out);
bool pn_net_has(const struct pn_net *net, const struct pn_ip *ip);
/* The network of a client for per-network limits: /24 and /48 by default. */
struct pn_net pn_net_of(const struct pn_ip *ip, uint8_t v4_bits, uint8_t v6_bits);

/* Loopback (127/8, ::1), and the unspecified addresses (0.0.0.0/8, ::). */
bool pn_ip_is_loopback(const struct pn_ip *ip);
bool pn_ip_is_unspecified(const struct pn_ip *ip);

#endif
