/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guard: this flood runs in a namespace of the lab or not at all.
 *
 * Owns the question where we are and what a test address is. Called by flood.c before anything is sent. It ends the
 * program with exit 2 when the answer is wrong. Knows nothing of packets.
 */
#ifndef FLOOD_GUARD_H
#define FLOOD_GUARD_H

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void die(const char *what)
{
    fprintf(stderr, "flood: %s\n", what);
    exit(2);
}

static void die_errno(const char *what)
{
    fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool in_test_network(const uint8_t *address, unsigned int bytes)
{
    if (bytes == 4)
        return address[0] == 198 && (address[1] & 0xfe) == 18;
    return memcmp(address, "\x20\x01\x0d\xb8", 4) == 0;
}

static bool harmless_address(const struct sockaddr *any)
{
    if (any->sa_family == AF_INET) {
        const uint8_t *a = (const void *)&((const struct sockaddr_in *)any)->sin_addr;

        return a[0] == 127 || in_test_network(a, 4);
    }
    if (any->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)any)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) || in_test_network(a->s6_addr, 16);
    }
    return true; /* AF_PACKET and the like: no network address */
}

static void refuse_default_route(const char *table, const char *any_destination)
{
    char line[512], destination[64], second[64], interface[64];
    FILE *file = fopen(table, "r");

    if (file == NULL)
        return; /* this family is not there at all */
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strchr(any_destination, '/') == NULL) {
            /* /proc/net/route: Iface Destination Gateway ... */
            if (sscanf(line, "%63s %63s", interface, destination) != 2)
                continue;
            if (strcmp(destination, any_destination) == 0)
                die("there is a default route: this is not a namespace of the lab");
            continue;
        }
        /* /proc/net/ipv6_route: destination length ... interface; lo holds null routes */
        if (sscanf(line, "%63s %63s %*s %*s %*s %*s %*s %*s %*s %63s", destination, second, interface) != 3)
            continue;
        if (strspn(destination, "0") == 32 && strcmp(second, "00") == 0 && strcmp(interface, "lo") != 0)
            die("there is an IPv6 default route: this is not a namespace of the lab");
    }
    fclose(file);
}

static void refuse_outside_the_lab(void)
{
    struct ifaddrs *all;
    bool test_address = false;

    if (getifaddrs(&all) != 0)
        die_errno("getifaddrs");
    for (struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
        if (one->ifa_addr == NULL)
            continue;
        if (!harmless_address(one->ifa_addr))
            die("there is an address that is no test address: not a namespace of the lab");
        test_address |= one->ifa_addr->sa_family == AF_INET && !(one->ifa_flags & IFF_LOOPBACK);
    }
    freeifaddrs(all);
    if (!test_address)
        die("there is no test address: this is not a namespace of the lab");
    refuse_default_route("/proc/net/route", "00000000");
    refuse_default_route("/proc/net/ipv6_route", "::/0");
}

#endif
