/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes the packets that are the box's own: SYN-ACK, SYN, ACK, RST, early data.
 *
 * Owns: the output queue of a worker, link headers, IP and TCP headers. Called by: gate and handshake. Must not know:
 * why a packet is sent, which socket takes it. A link header is the client's frame turned round, so that the box needs
 * no address, no ARP and no routes.
 */
#ifndef LV_EMIT_H
#define LV_EMIT_H

#include "base.h"
#include "checksum.h"
#include "options.h"
#include "packet.h"

enum {
    LV_SLOT_BYTES = 2048,
    LV_OUT_SLOTS = 512,
    LV_OUT_MAX_PER_CALL = 64, /* so many packets one call may emit; the caller keeps as many slots free */
    LV_TTL = 64,
    LV_ETHER_MAX_BYTES = 14 + 4 * LV_VLAN_TAGS,
    LV_SEGMENT_MAX_BYTES = 1460, /* payload of a packet of ours: with all headers it fits 1500 bytes less options */
};

enum lv_layer {
    LV_L2 = 2, /* a whole Ethernet frame, to be sent on the NIC of `side` */
    LV_L3 = 3, /* an IP packet, to be routed */
};

struct lv_out {
    u32 len;
    u8 side; /* towards: LV_OUTSIDE the client, LV_INSIDE the server */
    u8 layer;
    u8 *data;
};

struct lv_outq {
    u32 n;
    struct lv_out slot[LV_OUT_SLOTS];
    u8 *memory; /* LV_OUT_SLOTS * LV_SLOT_BYTES */
};

/* Link header as the receiver shall see it. */
struct lv_ether {
    u8 dst[6], src[6];
    u8 known; /* 0: no MACs, route it */
    u8 tags;
    u16 tag_proto[LV_VLAN_TAGS];
    u16 tci[LV_VLAN_TAGS];
};

struct lv_segment {
    struct lv_addr src, dst;
    u8 family;
    u8 ttl;
    u8 flags;
    u16 sport, dport;
    u16 window;
    u32 seq, ack;
    u8 options[LV_OPTIONS_MAX_BYTES];
    u32 options_len; /* multiple of 4 */
    const u8 *payload;
    u32 payload_len;
};

/* Link header towards the client (or the server): the client's frame turned round (or as it was). */
LV_INLINE void lv_ether_make(struct lv_ether *l, enum lv_side towards, const u8 *mac_c, const u8 *mac_s, u8 tags,
                             const u16 *tci, int known)
{
    u32 i;

    lv_copy(l->dst, towards == LV_OUTSIDE ? mac_c : mac_s, 6);
    lv_copy(l->src, towards == LV_OUTSIDE ? mac_s : mac_c, 6);
    l->known = (u8)known;
    l->tags = tags & 0xf;
    for (i = 0; i < LV_VLAN_TAGS; i++) {
        l->tci[i] = tci[i];
        l->tag_proto[i] = (tags & (0x10 << i)) ? LV_ETH_P_8021AD : LV_ETH_P_8021Q;
    }
}

LV_INLINE u32 lv_ether_write(u8 *p, const struct lv_ether *l, u8 family)
{
    u32 n = 12, i;

    lv_copy(p, l->dst, 6);
    lv_copy(p + 6, l->src, 6);
    for (i = 0; i < LV_VLAN_TAGS && i < l->tags; i++) {
        lv_put16(p + n, l->tag_proto[i]);
        lv_put16(p + n + 2, l->tci[i]);
        n += 4;
    }
    lv_put16(p + n, family == 4 ? LV_ETH_P_IP : LV_ETH_P_IPV6);
    return n + 2;
}

/* Write IP and TCP header and payload; returns the length. Room for 60 + 40 bytes and the payload is the caller's. */
LV_SHARED u32 lv_segment_write(u8 *p, const struct lv_segment *s)
{
#ifdef __bpf__
    u32 tcp_len = 20 + (s->options_len & 0x3c); /* a bound for the verifier; the programs send no data */
#else
    u32 tcp_len = 20 + s->options_len + s->payload_len;
#endif
    u8 *t;

    if (s->family == 4) {
        t = p + 20;
        u32 sum = 0x4500 + 20 + tcp_len + 0x4000 + ((u32)s->ttl << 8);

        lv_put32(p, 0x45000000u | (20 + tcp_len));
        lv_put32(p + 4, 0x00004000u); /* DF, and so ID 0: RFC 6864 section 4.1 */
        p[8] = s->ttl;
        p[9] = LV_IPPROTO_TCP;
        lv_put16(p + 10, (u16)~lv_csum_fold(sum + lv_pseudo_sum(4, &s->src, &s->dst, LV_IPPROTO_TCP, 0)));
        lv_copy(p + 12, &s->src.b[12], 4);
        lv_copy(p + 16, &s->dst.b[12], 4);
    } else {
        t = p + 40;
        lv_put32(p, 0x60000000u);
        lv_put16(p + 4, (u16)tcp_len);
        p[6] = LV_IPPROTO_TCP;
        p[7] = s->ttl;
        lv_copy(p + 8, s->src.b, 16);
        lv_copy(p + 24, s->dst.b, 16);
    }
    lv_put16(t, s->sport);
    lv_put16(t + 2, s->dport);
    lv_put32(t + 4, s->seq);
    lv_put32(t + 8, s->ack);
    t[12] = (u8)((20 + s->options_len) << 2);
    t[13] = s->flags;
    lv_put16(t + 14, s->window);
    lv_put32(t + 16, 0); /* checksum, urgent pointer */
#ifdef __bpf__
    lv_copy(t + 20, s->options, LV_OPTIONS_MAX_BYTES); /* of a constant length; what is too much is not sent */
#else
    __builtin_memcpy(t + 20, s->options, s->options_len);
    if (s->payload_len)
        __builtin_memcpy(t + 20 + s->options_len, s->payload, s->payload_len);
#endif
    lv_put16(t + 16, (u16)~lv_csum_fold(lv_csum_bytes(
                         t, tcp_len, lv_pseudo_sum(s->family, &s->src, &s->dst, LV_IPPROTO_TCP, tcp_len))));
    return (u32)(t - p) + tcp_len;
}

/* Queue a segment towards `side`; `layer` says whether the link header is written. The caller has seen to a free slot. */
LV_SHARED void lv_emit(struct lv_outq *q, enum lv_side side, enum lv_layer layer, const struct lv_ether *l,
                       const struct lv_segment *s)
{
    struct lv_out *o = &q->slot[q->n];
    u32 n = 0;

    o->data = q->memory + (u64)q->n * LV_SLOT_BYTES;
    if (layer == LV_L2)
        n = lv_ether_write(o->data, l, s->family);
    o->len = n + lv_segment_write(o->data + n, s);
    o->side = (u8)side;
    o->layer = (u8)layer;
    q->n++;
}

#endif
