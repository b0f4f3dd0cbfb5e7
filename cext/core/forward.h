/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Services with `forward_to`: clients know one address and port, their server has another.
 *
 * Owns: the change of names at the inner edge of the box. Called by: engine.h, first thing for a packet from inside and
 * last thing for one that goes on to the inside; handshake.h and engine.h for the box's own packets to a server. Must not
 * know: flows. Between the two edges everything has the names that clients use, so nothing else has to know of this.
 *
 * A service that forwards has one port, and one address if the address changes too: so a server's packet leads back to
 * one name. Who asks the server by its own name from outside is refused, for the answer would come under the other one.
 */
#ifndef LV_FORWARD_H
#define LV_FORWARD_H

#include "checksum.h"
#include "packet.h"
#include "service.h"
#include "translate.h"

/* The service at this address and port, if it forwards (`target`: if it is what another one forwards to), else 0. */
LV_INLINE const struct lv_service *lv_forward_find(const struct lv_services *s, const struct lv_addr *addr, u16 port,
                                                   const struct lv_addr *client, const struct lv_pkt *k, u8 target)
{
    const struct lv_service *sv;

    if (!s->has_forwards)
        return 0;
    sv = &s->service[lv_service_find(s, addr, port, k)];
    return sv->forwards && sv->target == target && !lv_client_excepted(s, client, k) ? sv : 0;
}

/* Does a packet from outside ask a server by its own name? */
LV_INLINE int lv_forward_asked_directly(const struct lv_services *s, const struct lv_pkt *k)
{
    return lv_forward_find(s, &k->ip.dst, k->tcp.dport, &k->ip.src, k, 1) != 0;
}

/* Put another source (`dst` 0) or destination (1) into an IP header; an IPv4 one stays sound. `d`: what it makes of sums
 * over the pseudo header. */
LV_INLINE void lv_rename_host(struct lv_ip *ip, int dst, const struct lv_addr *to, struct lv_csum_diff *d)
{
    u32 size = ip->family == 4 ? 4 : 16, skip = 16 - size, i;
    u8 *at = ip->l3 + (ip->family == 4 ? 12 : 8) + (dst ? size : 0);
    struct lv_csum_diff own = {0};

    for (i = 0; i < size; i += 4)
        lv_change32(&own, at + i, lv_get32(to->b + skip + i), 0);
    if (ip->family == 4)
        lv_diff_apply(&own, ip->l3 + 10);
    d->sum += own.sum;
    *(dst ? &ip->dst : &ip->src) = *to;
}

/* One end of a TCP packet, with its port; `d` as above, of sums that cover the TCP header too. */
LV_INLINE void lv_rename_end(struct lv_ip *ip, int dst, const struct lv_service *sv, struct lv_csum_diff *d)
{
    lv_change16(d, ip->l4 + (dst ? 2 : 0), sv->to_port);
    if (sv->forwards == LV_FORWARDS_ADDRESS)
        lv_rename_host(ip, dst, &sv->to, d);
}

LV_INLINE void lv_rename_tcp(struct lv_pkt *k, int dst, const struct lv_service *sv)
{
    struct lv_csum_diff d = {0};

    lv_rename_end(&k->ip, dst, sv, &d);
    lv_diff_apply(&d, k->ip.l4 + 16);
    *(dst ? &k->tcp.dport : &k->tcp.sport) = sv->to_port;
}

/* An ICMP error: the packet it quotes went the other way. The error's own end is the server itself, or a router. */
LV_INLINE void lv_rename_icmp(struct lv_pkt *k, int dst, const struct lv_service *sv)
{
    struct lv_ip *q = &k->quoted;
    u32 len = (u32)(q->end - q->l3);
    u16 before = lv_csum_fold(lv_csum_bytes(q->l3, len, 0));
    struct lv_addr own = dst ? q->src : q->dst;
    struct lv_csum_diff d = {0}, sum = {0}, pseudo = {0};

    lv_rename_end(q, !dst, sv, &d);
    if (q->l4 + 18 <= q->end)
        lv_diff_apply(&d, q->l4 + 16);
    lv_diff16(&sum, before, lv_csum_fold(lv_csum_bytes(q->l3, len, 0)));
    if (sv->forwards == LV_FORWARDS_ADDRESS && lv_addr_eq(dst ? &k->ip.dst : &k->ip.src, &own)) {
        lv_rename_host(&k->ip, dst, &sv->to, &pseudo);
        if (k->ip.family == 6)
            sum.sum += pseudo.sum;
    }
    lv_diff_apply(&sum, k->ip.l4 + 2);
    *(dst ? &k->tcp.sport : &k->tcp.dport) = sv->to_port;
}

/* A packet from inside: from here on it has the names that clients use. Returns 1 if it was changed. */
LV_INLINE int lv_forward_from_inside(const struct lv_services *s, struct lv_pkt *k, enum lv_kind kind)
{
    const struct lv_service *sv;

    if (kind == LV_KIND_TCP) {
        sv = lv_forward_find(s, &k->ip.src, k->tcp.sport, &k->ip.dst, k, 1);
        if (sv)
            lv_rename_tcp(k, 0, sv);
    } else {
        sv = kind == LV_KIND_ICMP_ERROR ? lv_forward_find(s, &k->quoted.dst, k->tcp.dport, &k->quoted.src, k, 1) : 0;
        if (sv)
            lv_rename_icmp(k, 0, sv);
    }
    return sv != 0;
}

/* A packet that goes on to the inside: from here on it has the names of its server. Returns 1 if it was changed. */
LV_INLINE int lv_forward_to_inside(const struct lv_services *s, struct lv_pkt *k, enum lv_kind kind)
{
    const struct lv_service *sv;

    if (kind == LV_KIND_TCP) {
        sv = lv_forward_find(s, &k->ip.dst, k->tcp.dport, &k->ip.src, k, 0);
        if (sv)
            lv_rename_tcp(k, 1, sv);
    } else {
        sv = kind == LV_KIND_ICMP_ERROR ? lv_forward_find(s, &k->quoted.src, k->tcp.sport, &k->quoted.dst, k, 0) : 0;
        if (sv)
            lv_rename_icmp(k, 1, sv);
    }
    return sv != 0;
}

#endif
