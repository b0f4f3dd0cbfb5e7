/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reads a packet from its link payload to its TCP header or ICMP error: inner VLAN tags, IPv4, IPv6 with extension
 * headers, TCP, and the packet quoted inside an ICMP error.
 *
 * Owns: struct lv_pkt, a view into a buffer it does not own. Called by: the gate, the splice, tests and fuzz targets.
 * Must not know: services, flows, cookies. Every read is behind a comparison with the end of the buffer; a parser
 * returns what it found out, it never fails in another way.
 */
#ifndef LV_PACKET_H
#define LV_PACKET_H

#include "base.h"
#include "checksum.h"
#include "reason.h"

enum {
    LV_ETH_P_IP = 0x0800,
    LV_ETH_P_IPV6 = 0x86dd,
    LV_ETH_P_8021Q = 0x8100,
    LV_ETH_P_8021AD = 0x88a8,

    LV_IPPROTO_ICMP = 1,
    LV_IPPROTO_TCP = 6,
    LV_IPPROTO_ICMPV6 = 58,

    LV_VLAN_TAGS = 2,       /* QinQ; a third tag is nothing we look into */
    LV_IP6_EXT_HEADERS = 8, /* more in one packet is junk */
    LV_ICMP_QUOTE_MIN = 8,  /* RFC 792: IP header and 8 bytes, enough for ports and sequence number */
};

enum lv_tcp_flag {
    LV_FIN = 0x01,
    LV_SYN = 0x02,
    LV_RST = 0x04,
    LV_PSH = 0x08,
    LV_ACK = 0x10,
    LV_URG = 0x20,
    LV_ECE = 0x40,
    LV_CWR = 0x80,
};

/* What a packet turned out to be. */
enum lv_kind {
    LV_KIND_OTHER = 0,  /* nothing of ours: pass */
    LV_KIND_TCP,        /* whole TCP header is there */
    LV_KIND_ICMP_ERROR, /* ICMP error with at least the first 8 bytes of a TCP header inside */
    LV_KIND_FRAGMENT,   /* not the first fragment, or a first one without its TCP header */
    LV_KIND_JUNK,       /* reason says why */
};

/* An address of either family; IPv4 is kept as ::ffff:a.b.c.d so that one comparison serves both. */
struct lv_addr {
    union {
        u8 b[16];
        u32 w[4];
        u64 q[2];
    };
};

struct lv_ip {
    u8 *l3;    /* IP header */
    u8 *l4;    /* after the last extension header */
    u8 *end;   /* of the IP packet by its own length, never past the buffer */
    u32 total; /* bytes of the IP packet by its own length */
    struct lv_addr src, dst;
    u8 family; /* 4 or 6 */
    u8 proto;
    u8 ttl;
    u8 tos;
    u8 fragment; /* 0 whole, 1 first fragment, 2 later fragment */
    u8 reason;   /* enum lv_reason, valid where a parser said junk */
};

struct lv_tcp {
    u16 sport, dport;
    u32 seq, ack;
    u16 window;
    u8 flags;
    u8 header_len; /* bytes, 20..60 */
    u32 payload_len;
};

struct lv_pkt {
    struct lv_ip ip;
    struct lv_tcp tcp;   /* of the packet, or of the packet quoted in an ICMP error (sport, dport, seq only) */
    struct lv_ip quoted; /* ICMP errors: the packet inside */
    u8 icmp_type, icmp_code;
    u8 quoted_ack; /* ICMP errors: the quote is long enough to carry the ACK number */
    u8 tags;       /* VLAN tags found, outermost first */
    u16 tag_proto[LV_VLAN_TAGS];
    u16 tci[LV_VLAN_TAGS];
    u32 wire_len; /* set by the caller: bytes of the packet, where the buffer holds only its first part; else 0 */
};

LV_INLINE void lv_addr_v4(struct lv_addr *a, const u8 *p)
{
    a->q[0] = 0;
    a->b[8] = a->b[9] = 0;
    a->b[10] = a->b[11] = 0xff;
    lv_copy(&a->b[12], p, 4);
}

LV_INLINE int lv_addr_is_v4(const struct lv_addr *a)
{
    return a->q[0] == 0 && a->b[8] == 0 && a->b[9] == 0 && a->b[10] == 0xff && a->b[11] == 0xff;
}

LV_INLINE int lv_addr_eq(const struct lv_addr *a, const struct lv_addr *b)
{
    return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

/* Sequence space a segment takes: its data, and one each for SYN and FIN. */
LV_INLINE u32 lv_seq_len(const struct lv_tcp *t)
{
    return t->payload_len + !!(t->flags & LV_SYN) + !!(t->flags & LV_FIN);
}

LV_INLINE enum lv_kind lv_junk(struct lv_ip *ip, enum lv_reason reason)
{
    ip->reason = (u8)reason;
    return LV_KIND_JUNK;
}

/* Are n bytes at p within the IP packet? Compared with both ends: `end` is the one that the BPF verifier knows. */
LV_INLINE int lv_fits(const u8 *p, u32 n, const struct lv_ip *ip, const u8 *end)
{
    LV_OPAQUE(end); /* the compiler knows that one comparison implies the other; the verifier does not */
    return p + n <= end && p + n <= ip->end;
}

/* wire_len of the packet quoted in an ICMP error, of which only the first part is there. */
enum { LV_CUT_OFF = 0x7fffffff };

/* IPv4, RFC 791. `wire_len`: bytes from p to the end of the packet on the wire. */
LV_INLINE enum lv_kind lv_parse_ip4(struct lv_ip *ip, u8 *p, u8 *end, u32 wire_len)
{
    u32 ihl, total, frag;

    if (p + 20 > end)
        return lv_junk(ip, LV_R_SHORT);
    ihl = (u32)(p[0] & 0xf) * 4;
    total = lv_get16(p + 2);
    if (p[0] >> 4 != 4)
        return lv_junk(ip, LV_R_IP_HEADER);
    ip->family = 4; /* from here on junk has addresses */
    lv_addr_v4(&ip->src, p + 12);
    lv_addr_v4(&ip->dst, p + 16);
    if (ihl < 20 || total < ihl)
        return lv_junk(ip, LV_R_IP_HEADER);
    if (p + ihl > end || total > wire_len)
        return lv_junk(ip, LV_R_SHORT);
    ip->l3 = p;
    ip->l4 = p + ihl;
    ip->end = p + total < end ? p + total : end;
    ip->total = total;
    ip->tos = p[1];
    ip->ttl = p[8];
    ip->proto = p[9];
    frag = lv_get16(p + 6);
    ip->fragment = (frag & 0x1fff) ? 2 : (frag & 0x2000) ? 1 : 0;
    return ip->fragment == 2 && ip->proto == LV_IPPROTO_TCP ? LV_KIND_FRAGMENT : LV_KIND_OTHER;
}

LV_INLINE int lv_ip6_is_extension(u32 next)
{
    return next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135;
}

/* Where a walk through extension headers stands: an offset, since the BPF verifier can forget a number's value between two
 * turns but not a pointer's. */
struct lv_ip6_walk {
    struct lv_ip *ip;
    u8 *end;
    u32 at;   /* offset from ip->l3 */
    u32 next; /* what stands there */
    u32 kind; /* enum lv_kind, when the walk has ended */
};

enum { LV_IP6_WALK_MAX = 0x3fff }; /* extension headers that reach further are junk: the verifier counts to 65535 */

/* One extension header, RFC 8200 section 4; ends the walk at the first thing that is none. */
LV_STEP lv_ip6_step(u32 turn, void *state)
{
    struct lv_ip6_walk *w = state;
    struct lv_ip *ip = w->ip;
    u8 *q = ip->l3 + (w->at & LV_IP6_WALK_MAX);
    u32 len = 8;

    (void)turn;
    if (w->at > LV_IP6_WALK_MAX)
        return 1;
    if (!lv_ip6_is_extension(w->next)) {
        ip->proto = (u8)w->next;
        ip->l4 = q;
        w->kind = LV_KIND_OTHER;
        return 1;
    }
    if (!lv_fits(q, 8, ip, w->end))
        return 1;
    if (w->next == 43 && q[3])
        return 1; /* routing with segments left: not the last destination, and not the one of the checksum */
    if (w->next == 44) {
        if (lv_get16(q + 2) & 0xfff8)
            ip->fragment = 2;
        else if (q[3] & 1)
            ip->fragment = 1; /* RFC 6946: neither offset nor more = atomic, a whole packet */
    } else if (w->next == 51) {
        len += (u32)q[1] * 4; /* authentication, RFC 4302: in 32-bit words minus 2 */
    } else {
        len += (u32)q[1] * 8;
    }
    if (!lv_fits(q, len, ip, w->end))
        return 1;
    if (ip->fragment == 2) { /* what follows is the middle of something */
        ip->proto = q[0];
        ip->l4 = q + len;
        w->kind = q[0] == LV_IPPROTO_TCP || lv_ip6_is_extension(q[0]) ? LV_KIND_FRAGMENT : LV_KIND_OTHER;
        return 1;
    }
    w->next = q[0];
    w->at += len;
    return 0;
}

/* The fixed header of IPv6, RFC 8200 section 3; what follows it is in ip->proto. */
LV_INLINE enum lv_kind lv_parse_ip6_fixed(struct lv_ip *ip, u8 *p, u8 *end, u32 wire_len)
{
    u32 total;

    if (p + 40 > end)
        return lv_junk(ip, LV_R_SHORT);
    if (p[0] >> 4 != 6)
        return lv_junk(ip, LV_R_IP_HEADER);
    total = 40 + (u32)lv_get16(p + 4);
    ip->family = 6;
    lv_copy(&ip->src, p + 8, 16);
    lv_copy(&ip->dst, p + 24, 16);
    if (total > wire_len)
        return lv_junk(ip, LV_R_SHORT);
    ip->l3 = p;
    ip->end = p + total < end ? p + total : end;
    ip->total = total;
    ip->tos = (u8)(p[0] << 4 | p[1] >> 4);
    ip->ttl = p[7];
    ip->fragment = 0;
    if (lv_addr_is_v4(&ip->src) || lv_addr_is_v4(&ip->dst)) /* never on the wire, RFC 4038 4.2 */
        return lv_junk(ip, LV_R_IP_SOURCE);
    ip->l4 = p + 40;
    ip->proto = p[6];
    return LV_KIND_OTHER;
}

/* IPv6, RFC 8200. Later fragments are FRAGMENT if TCP may be in the first one. */
LV_INLINE enum lv_kind lv_parse_ip6(struct lv_ip *ip, u8 *p, u8 *end, u32 wire_len)
{
    struct lv_ip6_walk walk = {ip, end, 40, 0, LV_KIND_JUNK};
    enum lv_kind kind = lv_parse_ip6_fixed(ip, p, end, wire_len);

    if (kind != LV_KIND_OTHER || LV_LIKELY(ip->proto == LV_IPPROTO_TCP))
        return kind;
    walk.next = ip->proto;
    ip->reason = LV_R_EXT_HEADERS; /* unless the walk ends well */
    lv_loop(LV_IP6_EXT_HEADERS + 1, lv_ip6_step, &walk);
    return (enum lv_kind)walk.kind;
}

LV_INLINE enum lv_kind lv_parse_ip(struct lv_ip *ip, u8 *p, u8 *end, u16 proto, u32 wire_len)
{
    if (proto == LV_ETH_P_IP)
        return lv_parse_ip4(ip, p, end, wire_len);
    return lv_parse_ip6(ip, p, end, wire_len);
}

/* TCP header, RFC 9293 section 3.1. The flag combinations refused are those no stack sends. */
LV_INLINE enum lv_kind lv_parse_tcp(struct lv_ip *ip, u8 *end, struct lv_tcp *t)
{
    u8 *p = ip->l4;
    u8 f;

    if (!lv_fits(p, 20, ip, end))
        return ip->fragment ? LV_KIND_FRAGMENT : lv_junk(ip, LV_R_SHORT);
    t->sport = lv_get16(p);
    t->dport = lv_get16(p + 2);
    t->seq = lv_get32(p + 4);
    t->ack = lv_get32(p + 8);
    t->header_len = (u8)((p[12] >> 4) * 4);
    t->flags = f = p[13];
    t->window = lv_get16(p + 14);
    if (t->header_len < 20 || !t->sport || !t->dport)
        return lv_junk(ip, LV_R_TCP_HEADER);
    if (!lv_fits(p, t->header_len, ip, end))
        return ip->fragment ? LV_KIND_FRAGMENT : lv_junk(ip, LV_R_TCP_HEADER);
    if (!(f & (LV_SYN | LV_RST | LV_ACK)) || ((f & LV_SYN) && (f & (LV_FIN | LV_RST))) ||
        ((f & LV_RST) && (f & LV_FIN)))
        return lv_junk(ip, LV_R_TCP_FLAGS);
    t->payload_len = ip->total - (u32)(p - ip->l3) - t->header_len;
    return LV_KIND_TCP;
}

LV_INLINE int lv_icmp_is_error(u8 family, u8 type)
{
    if (family == 4) /* unreachable, time exceeded, parameter problem (source quench and redirect are not for us) */
        return type == 3 || type == 11 || type == 12;
    return type >= 1 && type <= 4; /* unreachable, too big, time exceeded, parameter problem: RFC 4443 */
}

/* An ICMP error and the start of the packet it quotes. Anything that is not an error about TCP is not ours. */
LV_INLINE enum lv_kind lv_parse_icmp(struct lv_pkt *k, u8 *end)
{
    u8 *p = k->ip.l4;
    u8 *t;

    if (k->ip.fragment || !lv_fits(p, 8, &k->ip, end))
        return LV_KIND_OTHER;
    k->icmp_type = p[0];
    k->icmp_code = p[1];
    if (!lv_icmp_is_error(k->ip.family, p[0]))
        return LV_KIND_OTHER;
    if (lv_parse_ip(&k->quoted, p + 8, end, k->ip.family == 4 ? LV_ETH_P_IP : LV_ETH_P_IPV6, LV_CUT_OFF) !=
        LV_KIND_OTHER)
        return LV_KIND_OTHER;
    if (k->quoted.proto != LV_IPPROTO_TCP || k->quoted.fragment == 2)
        return LV_KIND_OTHER;
    if (k->quoted.end > k->ip.end)
        k->quoted.end = k->ip.end; /* what follows is padding of the frame */
    t = k->quoted.l4;
    if (!lv_fits(t, LV_ICMP_QUOTE_MIN, &k->quoted, end))
        return LV_KIND_OTHER;
    k->tcp.sport = lv_get16(t);
    k->tcp.dport = lv_get16(t + 2);
    k->tcp.seq = lv_get32(t + 4);
    k->quoted_ack = (u8)lv_fits(t, 12, &k->quoted, end);
    k->tcp.ack = k->quoted_ack ? lv_get32(t + 8) : 0;
    return LV_KIND_ICMP_ERROR;
}

/* A packet nothing is known of: no tag, whole in its buffer. */
LV_INLINE void lv_pkt_begin(struct lv_pkt *k)
{
    k->tags = 0;
    k->tci[0] = k->tci[1] = 0;
    k->wire_len = 0;
    k->ip.family = 0; /* stays so while the addresses are not known */
}

/* Step over VLAN tags that stand in the packet. Returns the offset of what follows, *proto is its EtherType; -1: cut off. */
LV_INLINE int lv_parse_tags(struct lv_pkt *k, const u8 *p, const u8 *end, u16 *proto)
{
    int at = 0;
    u32 i;

    for (i = 0; i < LV_VLAN_TAGS && k->tags < LV_VLAN_TAGS; i++) {
        if (*proto != LV_ETH_P_8021Q && *proto != LV_ETH_P_8021AD)
            break;
        if (p + at + 4 > end)
            return -1;
        k->tag_proto[k->tags & 1] = *proto;
        k->tci[k->tags & 1] = lv_get16(p + at);
        k->tags++;
        *proto = lv_get16(p + at + 2);
        at += 4;
    }
    return at;
}

/* From the IP header on; LV_KIND_ICMP_ERROR is only what ICMP is so far: lv_parse_icmp() has the word. */
LV_INLINE enum lv_kind lv_parse_l3(struct lv_pkt *k, u8 *p, u8 *end, u16 proto, u32 wire_len)
{
    enum lv_kind kind;

    if (proto != LV_ETH_P_IP && proto != LV_ETH_P_IPV6)
        return LV_KIND_OTHER;
    kind = lv_parse_ip(&k->ip, p, end, proto, wire_len);
    if (kind != LV_KIND_OTHER || k->ip.fragment == 2)
        return kind;
    if (k->ip.proto == LV_IPPROTO_TCP)
        return lv_parse_tcp(&k->ip, end, &k->tcp);
    if (k->ip.proto == (k->ip.family == 4 ? LV_IPPROTO_ICMP : LV_IPPROTO_ICMPV6))
        return LV_KIND_ICMP_ERROR;
    return LV_KIND_OTHER;
}

/*
 * Parse a packet after lv_pkt_begin(). `p`..`end` are the bytes after the Ethernet header (and after a VLAN tag that came
 * out of band, which the caller has put into tags/tag_proto/tci already); `proto` is the EtherType of the byte at p.
 */
LV_SHARED enum lv_kind lv_parse(struct lv_pkt *k, u8 *p, u8 *end, u16 proto)
{
    u32 wire_len = k->wire_len ? k->wire_len : (u32)(end - p);
    int at = lv_parse_tags(k, p, end, &proto);
    enum lv_kind kind;

    if (at < 0)
        return lv_junk(&k->ip, LV_R_SHORT);
    kind = lv_parse_l3(k, p + at, end, proto, wire_len - (u32)at);
    return kind == LV_KIND_ICMP_ERROR ? lv_parse_icmp(k, end) : kind;
}

/* A source no client can have. Answering it would only make noise (or hit ourselves: LAND). */
LV_INLINE int lv_source_impossible(const struct lv_ip *ip)
{
    const u8 *a = ip->family == 4 ? &ip->src.b[12] : ip->src.b;

    if (lv_addr_eq(&ip->src, &ip->dst))
        return 1;
    if (ip->family == 4)
        return a[0] == 0 || a[0] == 127 || a[0] >= 224;
    if (a[0] == 0xff)
        return 1;
    return ip->src.q[0] == 0 && (ip->src.w[2] == 0 || lv_addr_is_v4(&ip->src)); /* ::, ::1, ::/96 */
}

LV_INLINE u32 lv_pseudo_sum(u8 family, const struct lv_addr *src, const struct lv_addr *dst, u8 proto, u32 len)
{
    u32 sum = proto, i;

    for (i = family == 4 ? 12 : 0; i < 16; i += 4)
        sum = lv_csum_add32(lv_csum_add32(sum, lv_get32(&src->b[i])), lv_get32(&dst->b[i]));
    return lv_csum_add32(sum, len);
}

/* User space only: sums the whole segment. */
LV_INLINE int lv_tcp_checksum_ok(const struct lv_ip *ip)
{
    u32 len = (u32)(ip->end - ip->l4);

    return lv_csum_fold(lv_csum_bytes(ip->l4, len,
                                      lv_pseudo_sum(ip->family, &ip->src, &ip->dst, LV_IPPROTO_TCP, len))) == 0xffff;
}

/* The checksum field holds only the sum of the pseudo header: CHECKSUM_PARTIAL of Linux, the sender's NIC was to do it. */
LV_INLINE int lv_tcp_checksum_is_partial(const struct lv_ip *ip)
{
    u32 len = (u32)(ip->end - ip->l4);

    return lv_get16(ip->l4 + 16) == lv_csum_fold(lv_pseudo_sum(ip->family, &ip->src, &ip->dst, LV_IPPROTO_TCP, len));
}

/* Do what the NIC was to do. */
LV_INLINE void lv_tcp_checksum_complete(const struct lv_ip *ip)
{
    u32 len = (u32)(ip->end - ip->l4);

    lv_put16(ip->l4 + 16, (u16)~lv_csum_fold(lv_csum_bytes(ip->l4, len, 0)));
}

/* The same for a packet of which nothing is known; `p`, `len` and `proto` as for lv_parse(). User space only. */
LV_INLINE void lv_checksum_complete(u8 *p, u32 len, u16 proto)
{
    struct lv_pkt k;

    lv_pkt_begin(&k);
    if (lv_parse(&k, p, p + len, proto) == LV_KIND_TCP && !k.ip.fragment)
        lv_tcp_checksum_complete(&k.ip);
}

LV_INLINE int lv_ip_checksum_ok(const struct lv_ip *ip)
{
    return ip->family == 6 || lv_csum_fold(lv_csum_bytes(ip->l3, (u32)(ip->l4 - ip->l3), 0)) == 0xffff;
}

/* The tags of a packet in the form that flows and half-open entries keep. */
LV_INLINE u8 lv_tags_pack(const struct lv_pkt *k)
{
    u8 tags = k->tags;
    u32 i;

    for (i = 0; i < LV_VLAN_TAGS && i < k->tags; i++)
        if (k->tag_proto[i] == LV_ETH_P_8021AD)
            tags |= (u8)(0x10 << i);
    return tags;
}

#endif
