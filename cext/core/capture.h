/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A capture as `levee capture` asks for it: which packets are wanted, and what is kept of one beside its bytes.
 *
 * Owns: both structures and the choice. Included by: tap.h (user space), bpf/tap.h (the programs). Must not know: where
 * captured packets wait to be read.
 */
#ifndef LV_CAPTURE_H
#define LV_CAPTURE_H

#include "base.h"
#include "packet.h"
#include "reason.h"
#include "service.h"

enum { LV_CAPTURE_BYTES = 2048 }; /* of a frame, at most; what follows is cut off */

/* What became of a packet. A dropped one has a reason. */
enum lv_fate {
    LV_FATE_DROPPED = 0,
    LV_FATE_PASSED,     /* as it came */
    LV_FATE_TRANSLATED, /* as it came; how it went on follows as LV_FATE_SENT */
    LV_FATE_SENT,       /* by the box: an answer of its own, or what was translated */
};

/* Reasons are bits of one word. */
_Static_assert((int)LV_R_COUNT <= 64, "a capture's choice of reasons is 64 bits");

/* What is wanted. Written while nothing is captured, except `until_ns` and `missed`. */
struct lv_capture {
    u64 until_ns; /* CLOCK_MONOTONIC; 0: nothing is captured */
    u64 missed;   /* packets that were wanted and found no room */
    u64 reasons;  /* of dropped packets: a bit for each enum lv_reason */
    u64 lo[2];    /* one address of the packet lies between, both ends included; host byte order */
    u64 hi[2];
    u32 fates;   /* of the others: a bit for each enum lv_fate */
    u32 bytes;   /* of each frame, 1 to LV_CAPTURE_BYTES */
    u32 service; /* its number; LV_SERVICES_MAX: any */
    u32 any_address;
};

/* In front of the bytes of each packet. */
struct lv_captured {
    u64 time_ns;              /* CLOCK_MONOTONIC */
    u32 len;                  /* bytes of the Ethernet frame, without a tag out of band */
    u32 kept;                 /* of them follow */
    u16 vlan_proto, vlan_tci; /* the tag out of band, 0: none */
    u16 service;
    u8 side;   /* enum lv_side: where it came in, or where it was sent to */
    u8 fate;   /* enum lv_fate */
    u8 reason; /* enum lv_reason; LV_R_COUNT: none */
    u8 pad[7];
};

LV_INLINE int lv_capture_between(const struct lv_capture *c, const struct lv_addr *addr)
{
    u64 half[2] = {lv_addr_half(addr->b), lv_addr_half(addr->b + 8)};

    return !lv_less128(half, c->lo) && !lv_less128(c->hi, half);
}

/* Is such a packet wanted? What has no IP header has no address that could be asked for. */
LV_INLINE int lv_capture_wants(const struct lv_capture *c, const struct lv_ip *ip, const struct lv_captured *p)
{
    u64 fate = p->fate == LV_FATE_DROPPED ? c->reasons >> (p->reason & 63) : c->fates >> (p->fate & 31);

    if (!(fate & 1) || (c->service < LV_SERVICES_MAX && c->service != p->service))
        return 0;
    return c->any_address || (ip->family && (lv_capture_between(c, &ip->src) || lv_capture_between(c, &ip->dst)));
}

#endif
