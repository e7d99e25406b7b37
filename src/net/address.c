/*
 * net/address.c - endpoints as the socket calls want them, and the machine's addresses.
 */
#include "loop_priv.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

unsigned net_address_to_socket(const struct pn_endpoint *endpoint, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (endpoint->ip.family == PN_IPV4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};

        memcpy(&in.sin_addr, endpoint->ip.octets, 4);
        memcpy(out, &in, sizeof in);
        return sizeof in;
    }
    if (endpoint->ip.family == PN_IPV6) {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};

        memcpy(&in.sin6_addr, endpoint->ip.octets, 16);
        memcpy(out, &in, sizeof in);
        return sizeof in;
    }
    return 0;
}

bool net_address_from_socket(const struct sockaddr_storage *address, struct pn_endpoint *out)
{
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, address, sizeof in);
        out->ip = pn_ip_v4(ntohl(in.sin_addr.s_addr));
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 in;

        memcpy(&in, address, sizeof in);
        out->ip = pn_ip_v6(in.sin6_addr.s6_addr);
        out->port = ntohs(in.sin6_port);
        return true;
    }
    return false;
}

bool net_address_of_fd(int fd, struct pn_endpoint *out)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;

    return getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
           net_address_from_socket(&address, out);
}

size_t net_own_addresses(struct pn_ip *out, size_t max)
{
    struct ifaddrs *list;
    size_t count = 0;

    if (getifaddrs(&list) != 0) {
        return 0;
    }
    for (struct ifaddrs *entry = list; entry && count < max; entry = entry->ifa_next) {
        struct sockaddr_storage address = {0};
        struct pn_endpoint endpoint;

        if (!entry->ifa_addr) {
            continue;
        }
        if (entry->ifa_addr->sa_family == AF_INET) {
            memcpy(&address, entry->ifa_addr, sizeof(struct sockaddr_in));
        } else if (entry->ifa_addr->sa_family == AF_INET6) {
            memcpy(&address, entry->ifa_addr, sizeof(struct sockaddr_in6));
        }
        if (net_address_from_socket(&address, &endpoint)) {
            out[count++] = endpoint.ip;
        }
    }
    freeifaddrs(list);
    return count;
}
