/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Packets of the flood: what each kind looks like, and the next one in turn.
 *
 * Owns the frame from the Ethernet header to the TCP options. Called by flood.c. Addresses are bytes in network order;
 * ports, sequence numbers and lengths are in host order until written. Every byte of a frame is written.
 */
#ifndef FLOOD_PACKET_H
#define FLOOD_PACKET_H

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "guard.h"

enum limits {
    BATCH = 128,          /* most frames in one sendmmsg */
    BATCHES_PER_S = 1000, /* at slower rates batches are smaller, so that packets come evenly */
    FRAME_BYTES = 128,    /* longest: 14 + 2 tags + 40 IPv6 + 40 TCP */
    TAGS_MAX = 2,
    KEEP_OUT_MAX = 8,
    REDRAWS_MAX = 64, /* of a source that fell into a kept-out range */
    COUNT_MAX = 500000000,
    SECONDS_MAX = 600,
};

enum tcp_flag { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };

struct kind {
    const char *name;
    uint8_t flags;
    bool options; /* MSS 1460, SACK permitted, timestamps, window scale 7 */
    bool pair;    /* each SYN is followed by an ACK of the same connection */
};

static const struct kind kinds[] = {
    {"syn", SYN, false, false},
    {"syn-options", SYN, true, false},
    {"syn-ack", SYN | ACK, true, false},
    {"ack", ACK, false, false},
    {"rst", RST, false, false},
    {"fin", FIN | ACK, false, false},
    {"xmas", FIN | PSH | URG, false, false},
    {"null", 0, false, false},
    {"cookie", SYN, true, true}, /* the ACK guesses the cookie: a cookie is in flight */
};

struct range {
    uint8_t low[16], high[16];
};

struct plan {
    const struct kind *kind;
    const char *interface;
    uint64_t count, rate_pps;
    double seconds;
    uint8_t address_bytes; /* 4 or 16 */
    uint8_t destination[16], source[16];
    unsigned int source_bits; /* length of the source prefix */
    uint16_t port_low, port_high;
    uint8_t source_mac[6], destination_mac[6];
    uint16_t tag[TAGS_MAX]; /* VLAN ids, outermost first */
    unsigned int tags;
    struct range keep_out[KEEP_OUT_MAX];
    unsigned int keep_outs;
    uint64_t seed;
};

struct connection {
    uint8_t source[16];
    uint16_t source_port, destination_port;
    uint32_t sequence, acknowledgment;
};

static uint64_t random_state;

static uint64_t draw(void) /* splitmix64: forged packets need spread, not secrecy */
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool kept_out(const struct plan *plan, const uint8_t *address)
{
    for (unsigned int i = 0; i < plan->keep_outs; i++) {
        const struct range *range = &plan->keep_out[i];

        if (memcmp(address, range->low, plan->address_bytes) >= 0 &&
            memcmp(address, range->high, plan->address_bytes) <= 0)
            return true;
    }
    return false;
}

static void draw_source(const struct plan *plan, uint8_t *address)
{
    for (int tries = 0; tries < REDRAWS_MAX; tries++) {
        uint64_t noise[2] = {draw(), draw()};

        memcpy(address, noise, plan->address_bytes);
        for (unsigned int bit = 0; bit < plan->source_bits; bit += 8) {
            unsigned int left = plan->source_bits - bit;
            uint8_t fixed = left >= 8 ? 0xff : (uint8_t)(0xff << (8 - left));
            uint8_t *byte = &address[bit / 8];

            *byte = (uint8_t)((plan->source[bit / 8] & fixed) | (*byte & ~fixed));
        }
        if (!kept_out(plan, address))
            return;
    }
    die("the source prefix lies in the kept-out ranges");
}

static void draw_connection(const struct plan *plan, struct connection *connection)
{
    uint64_t noise = draw();
    uint32_t ports = (uint32_t)(plan->port_high - plan->port_low) + 1;

    draw_source(plan, connection->source);
    connection->source_port = (uint16_t)(1024 + (noise & 0xffff) % 64512);
    connection->destination_port = (uint16_t)(plan->port_low + (noise >> 16 & 0xffff) % ports);
    connection->sequence = (uint32_t)(noise >> 32);
    connection->acknowledgment = (uint32_t)draw();
}

static uint32_t sum(const uint8_t *data, unsigned int bytes, uint32_t start)
{
    for (unsigned int i = 0; i + 1 < bytes; i += 2)
        start += (uint32_t)data[i] << 8 | data[i + 1];
    return start;
}

static uint16_t fold(uint32_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)~total;
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)(value >> 16));
    put16(at + 2, (uint16_t)value);
}

static unsigned int put_ethernet(const struct plan *plan, uint8_t *frame)
{
    unsigned int at = 12;

    memcpy(frame, plan->destination_mac, 6);
    memcpy(frame + 6, plan->source_mac, 6);
    for (unsigned int i = 0; i < plan->tags; i++, at += 4) {
        put16(frame + at, plan->tags == 2 && i == 0 ? ETH_P_8021AD : ETH_P_8021Q);
        put16(frame + at + 2, plan->tag[i]);
    }
    put16(frame + at, plan->address_bytes == 4 ? ETH_P_IP : ETH_P_IPV6);
    return at + 2;
}

static unsigned int put_ip(const struct plan *plan, const struct connection *connection, unsigned int tcp_bytes,
                           uint8_t *ip)
{
    if (plan->address_bytes == 4) {
        memset(ip, 0, 20);
        ip[0] = 0x45;
        put16(ip + 2, (uint16_t)(20 + tcp_bytes));
        put16(ip + 4, (uint16_t)connection->sequence);
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = IPPROTO_TCP;
        memcpy(ip + 12, connection->source, 4);
        memcpy(ip + 16, plan->destination, 4);
        put16(ip + 10, fold(sum(ip, 20, 0)));
        return 20;
    }
    memset(ip, 0, 40);
    ip[0] = 0x60;
    put16(ip + 4, (uint16_t)tcp_bytes);
    ip[6] = IPPROTO_TCP;
    ip[7] = 64;
    memcpy(ip + 8, connection->source, 16);
    memcpy(ip + 24, plan->destination, 16);
    return 40;
}

static void put_tcp(const struct plan *plan, const struct connection *connection, uint8_t flags, unsigned int bytes,
                    uint8_t *tcp)
{
    static const uint8_t options[20] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7};
    uint32_t pseudo = IPPROTO_TCP + bytes;

    put16(tcp, connection->source_port);
    put16(tcp + 2, connection->destination_port);
    put32(tcp + 4, connection->sequence);
    put32(tcp + 8, flags & ACK ? connection->acknowledgment : 0);
    tcp[12] = (uint8_t)(bytes / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, 64240);
    put32(tcp + 16, 0);
    if (bytes == 40) {
        memcpy(tcp + 20, options, sizeof(options));
        put32(tcp + 28, connection->sequence ^ 0x5bd1e995);
    }
    pseudo = sum(connection->source, plan->address_bytes, pseudo);
    pseudo = sum(plan->destination, plan->address_bytes, pseudo);
    put16(tcp + 16, fold(sum(tcp, bytes, pseudo)));
}

static unsigned int put_frame(const struct plan *plan, const struct connection *connection, uint8_t flags, bool options,
                              uint8_t *frame)
{
    unsigned int tcp_bytes = options ? 40 : 20;
    unsigned int at = put_ethernet(plan, frame);

    at += put_ip(plan, connection, tcp_bytes, frame + at);
    put_tcp(plan, connection, flags, tcp_bytes, frame + at);
    return at + tcp_bytes;
}

/* The next packet of the flood; `made` counts from 0. */
static unsigned int next_frame(const struct plan *plan, uint64_t made, uint8_t *frame)
{
    static struct connection connection;
    const struct kind *kind = plan->kind;

    if (kind->pair && made % 2 == 1) {
        connection.sequence++;
        return put_frame(plan, &connection, ACK, false, frame);
    }
    draw_connection(plan, &connection);
    return put_frame(plan, &connection, kind->flags, kind->options, frame);
}

#endif
