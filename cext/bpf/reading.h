/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reading a frame in the gate: from its first buffer, where nearly every frame has all of its headers; else from a copy.
 *
 * Owns: which of the two. Included by: gate.bpf.c. Must not know: what a packet is answered with.
 *
 * LIMIT: of a frame whose headers reach past its first buffer, IPv6 extension headers are not followed: to a protected
 * address it is dropped for them. An ICMP error whose ICMP header is not in the first buffer passes as it is.
 */
#ifndef LV_BPF_READING_H
#define LV_BPF_READING_H

#include "common.h"

/* Step over the tags. Returns the offset of the network header; 0: cut off. */
LV_INLINE u32 lv_gate_link(struct lv_pkt *k, const u8 *data, const u8 *end, u16 *proto)
{
    int more;

    lv_pkt_begin(k);
    if (data + LV_ETHERNET_BYTES > end)
        return 0;
    *proto = lv_get16(data + 12);
    more = lv_parse_tags(k, data + LV_ETHERNET_BYTES, end, proto);
    return more < 0 ? 0 : LV_ETHERNET_BYTES + (u32)more;
}

/* A frame that ends before its network header. */
LV_INLINE enum lv_kind lv_gate_cut_off(struct lv_scratch *s)
{
    s->k.ip.family = 0;
    return lv_junk(&s->k.ip, LV_R_SHORT);
}

/* Stage: read the frame. Returns enum lv_kind. */
__noinline int lv_gate_read(struct xdp_md *ctx)
{
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_pkt k = {};
    u16 proto = 0;
    u32 at;

    if (!s)
        return LV_KIND_OTHER;
    at = lv_gate_link(&k, data, end, &proto);
    if (!at)
        return lv_gate_cut_off(s);
    return lv_read_packet(s, &k, data, at, end, proto, (u32)bpf_xdp_get_buff_len(ctx) - at);
}

/* Does the frame look cut off only because the rest of its headers is in another buffer? */
LV_INLINE int lv_gate_is_far(struct xdp_md *ctx, const struct lv_scratch *s, int kind)
{
    u64 first_bytes = (u64)(long)ctx->data_end - (u64)(long)ctx->data;

    if (kind != LV_KIND_JUNK && !(kind == LV_KIND_FRAGMENT && s->k.ip.fragment == 1))
        return 0;
    return first_bytes < bpf_xdp_get_buff_len(ctx);
}

/* Network and TCP header, without extension headers: following them a second time would double the verifier's work. */
LV_INLINE enum lv_kind lv_gate_parse_far(struct lv_pkt *k, u8 *p, u8 *end, u16 proto, u32 wire_len)
{
    enum lv_kind kind = LV_KIND_OTHER;

    if (proto == LV_ETH_P_IP)
        kind = lv_parse_ip4(&k->ip, p, end, wire_len);
    else if (proto == LV_ETH_P_IPV6)
        kind = lv_parse_ip6_fixed(&k->ip, p, end, wire_len);
    else
        return LV_KIND_OTHER;
    if (kind != LV_KIND_OTHER)
        return kind;
    if (k->ip.family == 6 && lv_ip6_is_extension(k->ip.proto))
        return lv_junk(&k->ip, LV_R_EXT_HEADERS);
    return k->ip.proto == LV_IPPROTO_TCP && k->ip.fragment != 2 ? lv_parse_tcp(&k->ip, end, &k->tcp) : LV_KIND_OTHER;
}

/* Stage: the same from a copy of the frame's beginning: a NIC may put as little into the first buffer as it likes. Copies
 * lie in a map, where the verifier looks at offsets, not at the end: both must be right. */
__noinline int lv_gate_read_far(struct xdp_md *ctx)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    u32 at, len = (u32)bpf_xdp_get_buff_len(ctx);
    struct lv_pkt k = {};
    u16 proto = 0;
    u8 *end;

    if (!s)
        return LV_KIND_OTHER;
    if (len > sizeof(s->frame))
        len = sizeof(s->frame);
    len = lv_len_between(len, LV_ETHERNET_BYTES, sizeof(s->frame));
    if (!len || bpf_xdp_load_bytes(ctx, 0, s->frame, len))
        return LV_KIND_OTHER;
    end = s->frame + len;
    at = lv_gate_link(&k, s->frame, end, &proto);
    if (!at)
        return lv_gate_cut_off(s);
    LV_OPAQUE(at);
    at &= 0x1f;
    return lv_keep_packet(s, &k, s->frame, at, end,
                          lv_gate_parse_far(&k, s->frame + at, end, proto, (u32)bpf_xdp_get_buff_len(ctx) - at));
}

#endif
