/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The splice in the kernel: tc programs on both NICs. A segment of an open flow is translated and sent straight out of the
 * other NIC; what belongs to a handshake goes to user space; everything else goes on over the bridge.
 *
 * Owns: open flows. Called by: the kernel, for every packet that came in on either NIC, after GRO. Must not know: cookies.
 *
 * A packet is one buffer of up to 64 KiB here, its checksum may be left to a NIC (CHECKSUM_PARTIAL):
 * bpf_l4_csum_replace() knows all cases.
 */
#include "sources.h"

enum {
    LV_HEADERS_BYTES = 14 + 4 + 40 + 60, /* what is made linear at first */
    LV_HEADERS_MORE_BYTES = 512,         /* with IPv6 extension headers */
};

LV_INLINE int lv_splice_drop(u32 service, enum lv_reason r)
{
    lv_count(service, r);
    return TC_ACT_SHOT;
}

LV_INLINE void lv_fill_handover(struct __sk_buff *skb, struct lv_handover *h, u32 side, u32 len, u32 room, u8 flags)
{
    h->len = len;
    h->side = (u8)side;
    h->flags = flags;
    h->vlan_proto = skb->vlan_present ? bpf_ntohs((u16)skb->vlan_proto) : 0;
    h->vlan_tci = (u16)skb->vlan_tci;
    len = lv_len_between(len, LV_ETHERNET_BYTES, room - sizeof(*h));
    if (!len || bpf_skb_load_bytes(skb, 0, h + 1, len))
        h->len = 0;
    bpf_ringbuf_submit(h, 0);
}

/* Hand the whole packet to user space; it is consumed either way. */
__noinline int lv_hand_over(struct __sk_buff *skb, u32 side, u32 service)
{
    u32 len = skb->len;
    struct lv_handover *h;

    if (len > LV_HANDOVER_GSO - sizeof(*h))
        return lv_splice_drop(service, LV_R_HANDOVER_SIZE);
    if (len <= LV_HANDOVER_SMALL - sizeof(*h)) {
        h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_SMALL, 0);
        if (h) {
            lv_fill_handover(skb, h, side, len, LV_HANDOVER_SMALL, 0);
            return TC_ACT_SHOT;
        }
    } else {
        h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_GSO, 0);
        if (h) {
            lv_fill_handover(skb, h, side, len, LV_HANDOVER_GSO, 0);
            return TC_ACT_SHOT;
        }
    }
    return lv_splice_drop(service, LV_R_HANDOVER_FULL);
}

/* Stage: read the packet. Returns enum lv_kind. */
__noinline int lv_splice_read(struct __sk_buff *skb)
{
    u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_pkt k = {};
    u16 proto;
    int at;

    if (!s || data + LV_ETHERNET_BYTES > end)
        return LV_KIND_OTHER;
    lv_pkt_begin(&k);
    if (skb->vlan_present) {
        k.tags = 1;
        k.tag_proto[0] = bpf_ntohs((u16)skb->vlan_proto);
        k.tci[0] = (u16)skb->vlan_tci;
    }
    proto = lv_get16(data + 12);
    at = LV_ETHERNET_BYTES + lv_parse_tags(&k, data + LV_ETHERNET_BYTES, end, &proto);
    if (at < LV_ETHERNET_BYTES)
        return LV_KIND_OTHER;
    return lv_read_packet(s, &k, data, (u32)at, end, proto, skb->len - (u32)at);
}

/* Stage: read what an ICMP message quotes. */
__noinline int lv_splice_read_quote(struct __sk_buff *skb)
{
    struct lv_scratch *s = lv_first(&lv_scratch);

    if (!s)
        return LV_KIND_OTHER;
    return lv_read_quote(s, (u8 *)(long)skb->data, (u8 *)(long)skb->data_end);
}

/* Stage: translate the segment in place. 0, or an error of a helper. */
__noinline int lv_splice_translate(struct __sk_buff *skb, u32 side)
{
    u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_csum_diff d = {0};
    u32 l4, len;
    struct lv_conn *c;
    u16 sum;

    if (!s)
        return -1;
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    l4 = s->l4 & LV_IP6_WALK_MAX;
    len = s->k.tcp.header_len;
    if (!c || data + l4 + 20 > end)
        return -1;
    lv_copy(s->tcp, data + l4, 20);
    lv_opts_read(&s->opts, s->tcp, len, 0);
    if (side == LV_OUTSIDE)
        lv_translate_to_server(c, s->tcp, &s->opts, &d);
    else
        lv_translate_to_client(c, s->tcp, &s->opts, &d);
    len = lv_len_between(len, 20, LV_TCP_HEADER_MAX);
    if (!len || bpf_skb_store_bytes(skb, l4, s->tcp, len, 0))
        return -1;
    sum = lv_csum_fold(d.sum);
    if (bpf_l4_csum_replace(skb, l4 + 16, 0, bpf_htons(sum), 0))
        return -1;
    if (side == LV_INSIDE && (c->marks & LV_M_HIDE_ECN)) {
        u32 l3 = s->l3 & 0x1f;
        u8 ip[12];

        if (bpf_skb_load_bytes(skb, l3, ip, sizeof(ip)))
            return -1;
        lv_hide_ecn(ip, s->k.ip.family);
        if (bpf_skb_store_bytes(skb, l3, ip, sizeof(ip), 0))
            return -1;
    }
    return 0;
}

/* A segment of an open or closed flow. */
LV_INLINE int lv_splice_flow(struct __sk_buff *skb, struct lv_scratch *s, const struct lv_bpf_config *config,
                             const struct lv_services *services, struct lv_conn *c, u32 side)
{
    enum lv_reason reason;
    u8 before = c->state;

    if ((s->k.tcp.flags & LV_SYN) && side == LV_OUTSIDE && (s->k.tcp.flags & LV_ACK))
        return lv_splice_drop(c->service, LV_R_NO_FLOW);
    if (s->k.tcp.flags & LV_SYN) /* challenge, repeated SYN-ACK, ports used again */
        return lv_hand_over(skb, side, c->service);
    reason = lv_flow_track(c, &s->k.tcp, side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE, lv_now_ms(s->now_ns));
    if (reason != LV_R_COUNT)
        return lv_splice_drop(c->service, reason);
    if (before == LV_FLOW_ESTABLISHED && c->state == LV_FLOW_CLOSED)
        lv_count_ev(c->service, LV_E_CLOSED);
    if (before != c->state && services->has_limits)
        lv_source_changed(c->state == LV_FLOW_ESTABLISHED ? 1 : -1);
    if (lv_splice_translate(skb, side))
        return lv_splice_drop(c->service, LV_R_NOT_CHANGED);
    lv_count_ev(c->service, LV_E_TRANSLATED);
    return (int)bpf_redirect(config->ifindex[side == LV_INSIDE ? LV_OUTSIDE : LV_INSIDE], 0);
}

/* A copy of a packet that goes on by itself, for user space to learn from. Without room in the ring: at the next one. */
LV_INLINE void lv_hand_copy(struct __sk_buff *skb)
{
    struct lv_handover *h;

    if (skb->len > LV_HANDOVER_SMALL - sizeof(*h))
        return;
    h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_SMALL, 0);
    if (h)
        lv_fill_handover(skb, h, LV_INSIDE, skb->len, LV_HANDOVER_SMALL, LV_HANDOVER_COPY);
}

/* Stage: SYN-ACK or RST of a server of a service with `protect: auto`, to a client without a flow. As
 * lv_watch_from_inside() in watching.h: 1 if it passes. */
__noinline int lv_splice_watch(struct __sk_buff *skb, u32 service)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    struct lv_learned_sets *learned;
    struct lv_server_options so;
    struct lv_half_set set;
    u32 now_ms, server;
    u8 asked;

    if (!config || !s)
        return 1;
    services = lv_services_now(s);
    if (!services || !lv_halves(config, &s->key, &set))
        return 1;
    now_ms = lv_now_ms(s->now_ns);
    switch (lv_watch_server(&set, &s->key, &s->k.tcp, lv_protects(services, service), now_ms)) {
    case LV_WATCH_NOT: return 0;
    case LV_WATCH_REFUSED: lv_count_ev(service, LV_E_WATCHED_DONE); return 1;
    case LV_WATCH_SYNACK: break;
    default: return 1;
    }
    server = lv_learned_index(&s->key.server, s->key.sport);
    learned = bpf_map_lookup_elem(&lv_learned, &server);
    if (!learned)
        return 1;
    lv_read_options(1);
    lv_watch_options(&s->k.tcp, &s->opts, &so);
    asked = lv_watch_asked(lv_half_find(&set, &s->key), &s->k.tcp, &so);
    if (!lv_learned_confirms(learned->way, &s->key.server, s->key.sport, &so, asked, now_ms))
        lv_hand_copy(skb);
    return 1;
}

/* No flow, from the servers' side: they are believed, and what they say is the knowledge by which answers pass. */
LV_INLINE int lv_splice_know(struct __sk_buff *skb, struct lv_scratch *s, const struct lv_bpf_config *config,
                             const struct lv_services *services)
{
    u32 service = lv_ask_service(&s->k, &s->key.server, s->key.sport);
    u8 flags = s->k.tcp.flags;
    u8 protect = lv_service_at(services, service)->protect;
    struct lv_conn c = {};

    if (!protect || lv_is_excepted(services, &s->k, &s->key.client))
        return TC_ACT_OK;
    if (protect == LV_PROTECT_AUTO && ((flags & LV_RST) || (flags & (LV_SYN | LV_ACK)) == (LV_SYN | LV_ACK)) &&
        lv_splice_watch(skb, service))
        return TC_ACT_OK;
    /* A late one, which user space answers with a RST; or without a daemon the answer to a SYN that the gate passed. */
    if ((flags & (LV_SYN | LV_ACK)) == (LV_SYN | LV_ACK) &&
        !(config->fail_open && lv_daemon_is_late(config, s->now_ns)) &&
        (lv_service_at(services, service)->signed_drop || !lv_read_options(1)))
        return lv_hand_over(skb, LV_INSIDE, service);
    if ((flags & LV_RST) || config->pass_full)
        return TC_ACT_OK;
    /* As lv_from_inside(): while a handshake is watched, only its client's proof makes it known. */
    if (lv_is_watched(lv_half_of(config, &s->key)))
        return TC_ACT_OK;
    c.state = LV_FLOW_PASS;
    c.service = (u16)service;
    c.tags = lv_tags_pack(&s->k);
    c.opened_ms = lv_now_ms(s->now_ns);
    lv_flow_track_pass(&c, &s->k.tcp, LV_INSIDE, c.opened_ms);
    bpf_map_update_elem(&lv_flows, &s->key, &c, BPF_NOEXIST); /* full: it passes without being known */
    return TC_ACT_OK;
}

LV_INLINE int lv_splice_tcp(struct __sk_buff *skb, struct lv_scratch *s, const struct lv_bpf_config *config, u32 side)
{
    const struct lv_services *services = lv_services_now(s);
    struct lv_conn *c;

    lv_flow_key(&s->key, &s->k, side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE);
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    if (!services)
        return TC_ACT_OK;
    if (!c)
        return side == LV_INSIDE ? lv_splice_know(skb, s, config, services) : TC_ACT_OK;
    switch (c->state) {
    case LV_FLOW_SYN_SENT: return lv_hand_over(skb, side, c->service);
    case LV_FLOW_PASS_CLOSED:
        if (side == LV_INSIDE && (s->k.tcp.flags & (LV_SYN | LV_ACK)) == LV_SYN) { /* the server uses its port again */
            c->flags = 0;
            c->s_ack = 0;
            c->state = LV_FLOW_PASS;
        }
        lv_flow_track_pass(c, &s->k.tcp, side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE, lv_now_ms(s->now_ns));
        return TC_ACT_OK;
    case LV_FLOW_PASS:
        lv_flow_track_pass(c, &s->k.tcp, side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE, lv_now_ms(s->now_ns));
        return TC_ACT_OK;
    default: return lv_splice_flow(skb, s, config, services, c, side);
    }
}

/* ICMP errors from the servers' side. Those from outside were the gate's. */
LV_INLINE int lv_splice_icmp(struct __sk_buff *skb, struct lv_scratch *s, u32 side)
{
    struct lv_conn *c;

    if (side == LV_OUTSIDE || lv_splice_read_quote(skb) != LV_KIND_ICMP_ERROR)
        return TC_ACT_OK;
    lv_flow_key_quoted(&s->key, &s->k, LV_INSIDE);
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    if (!c || c->state == LV_FLOW_PASS || c->state == LV_FLOW_PASS_CLOSED)
        return TC_ACT_OK;
    return lv_hand_over(skb, side, c->service);
}

/* Copy the packet into the hand. 0, or an error. */
LV_INLINE int lv_splice_copy(struct __sk_buff *skb, struct lv_tapped *t, u32 kept)
{
    u32 len = lv_tap_load_bytes(kept);

    if (!len || bpf_skb_load_bytes(skb, 0, t->bytes, len))
        return -1;
    t->c.kept = kept;
    t->c.vlan_proto = skb->vlan_present ? bpf_ntohs((u16)skb->vlan_proto) : 0;
    t->c.vlan_tci = (u16)skb->vlan_tci;
    return 0;
}

/* While packets are captured: the packet as it came. */
__noinline int lv_splice_tap_before(struct __sk_buff *skb)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_tapped *t = lv_first(&lv_tap);

    if (!s || !t)
        return 0;
    lv_tap_forget(s);
    return lv_splice_copy(skb, t, lv_tap_begin(t, skb->len));
}

/* And what became of it. User space has what is handed over. */
__noinline int lv_splice_tap_after(struct __sk_buff *skb, u32 side, int verdict)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_tapped *t = lv_first(&lv_tap);

    if (!s || !t || !t->c.kept || (verdict == TC_ACT_SHOT && t->c.reason == LV_R_COUNT))
        return 0;
    t->c.service = lv_tap_service(s, side);
    if (verdict == TC_ACT_SHOT) {
        lv_tap_put(t, &s->k.ip, side, LV_FATE_DROPPED);
    } else if (verdict == TC_ACT_OK) {
        lv_tap_put(t, &s->k.ip, side, LV_FATE_PASSED);
    } else {
        lv_tap_put(t, &s->k.ip, side, LV_FATE_TRANSLATED);
        if (!lv_splice_copy(skb, t, lv_tap_begin(t, skb->len)))
            lv_tap_put(t, &s->k.ip, side == LV_INSIDE ? LV_OUTSIDE : LV_INSIDE, LV_FATE_SENT);
    }
    t->c.kept = 0;
    return 0;
}

LV_INLINE int lv_splice_packet(struct __sk_buff *skb, u32 side)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    u32 want = skb->len < LV_HEADERS_BYTES ? skb->len : LV_HEADERS_BYTES;
    int kind;

    if (!config || !s)
        return TC_ACT_OK;
    if ((u64)(long)skb->data + want > (u64)(long)skb->data_end && bpf_skb_pull_data(skb, want))
        return TC_ACT_OK;
    lv_begin(s, config);
    kind = lv_splice_read(skb);
    if (kind == LV_KIND_JUNK && skb->len > LV_HEADERS_BYTES) { /* perhaps its headers are longer than what is linear */
        want = skb->len < LV_HEADERS_MORE_BYTES ? skb->len : LV_HEADERS_MORE_BYTES;
        if (bpf_skb_pull_data(skb, want))
            return TC_ACT_OK;
        kind = lv_splice_read(skb);
    }
    s->kind = (u32)kind;
    s->side = side;
    if (kind == LV_KIND_TCP) /* of a fragment, too, that has the header; what follows it has nothing to translate */
        return lv_splice_tcp(skb, s, config, side);
    return kind == LV_KIND_ICMP_ERROR ? lv_splice_icmp(skb, s, side) : TC_ACT_OK;
}

LV_INLINE int lv_splice(struct __sk_buff *skb, u32 side)
{
    int verdict;

    if (lv_tap_on())
        lv_splice_tap_before(skb);
    verdict = lv_splice_packet(skb, side);
    if (lv_tap_on())
        lv_splice_tap_after(skb, side, verdict);
    return verdict;
}

SEC("tc")
int lv_splice_outside(struct __sk_buff *skb)
{
    return lv_splice(skb, LV_OUTSIDE);
}

SEC("tc")
int lv_splice_inside(struct __sk_buff *skb)
{
    return lv_splice(skb, LV_INSIDE);
}

char lv_license[] SEC("license") = "GPL";
