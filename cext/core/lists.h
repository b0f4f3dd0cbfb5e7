/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The operator's lists of sources: who is blocked, and who is never to be.
 *
 * Owns: an immutable table made by the control plane: address intervals that do not overlap, in ascending order. That the
 * longest prefix decides, and that an entry expires, is settled where the table is made. Called by: gate, engine. Must not
 * know: services, prefixes, time.
 *
 * In a flood each source is another one, and a binary search for each would cost more than the answer to its SYN. So one
 * look at a bit map of 8 KiB comes first, of the blocks of 65536 IPv4 addresses (of IPv6, of /32s by a hash) that an
 * interval touches.
 */
#ifndef LV_LISTS_H
#define LV_LISTS_H

#include "base.h"
#include "packet.h"
#include "service.h"

enum {
    LV_LISTED_MAX = 65536, /* intervals; a power of two, bounds what a BPF map holds */
    LV_LISTED_STEPS = 17,
    LV_LISTED_BLOCKS = 65536,
    LV_LISTED_WORDS = LV_LISTED_BLOCKS / 64,
};

enum lv_listed { LV_LISTED_NOT = 0, LV_LISTED_BLOCKED, LV_LISTED_ALLOWED };

struct lv_listed_span {
    u64 lo[2], hi[2]; /* both ends included, host byte order, most significant half first */
    u64 what;         /* enum lv_listed */
};

/* In user space only as many spans as there are have memory. */
struct lv_lists {
    u32 count;
    u32 search_step; /* largest power of two that is not above `count`, 0 for none */
    u64 touched[LV_LISTED_WORDS];
    struct lv_listed_span span[LV_LISTED_MAX];
};

/* Number of the block of an address; host byte order. */
LV_INLINE u32 lv_listed_block(u64 high, u64 low)
{
    if (!high && low >> 32 == 0xffff)
        return (u32)(low >> 16) & (LV_LISTED_BLOCKS - 1);
    return (u32)((high >> 32) ^ (high >> 48)) & (LV_LISTED_BLOCKS - 1);
}

struct lv_listed_search {
    const struct lv_lists *l;
    u64 addr[2];
    u32 at; /* number of spans known to begin at or before the address */
    u32 step;
};

LV_STEP lv_listed_step(u32 turn, void *state)
{
    struct lv_listed_search *w = state;
    u32 probe = w->at + w->step - 1;

    (void)turn;
    if (!w->step)
        return 1;
    if (probe < w->l->count && !lv_less128(w->addr, w->l->span[probe & (LV_LISTED_MAX - 1)].lo))
        w->at += w->step;
    w->step >>= 1;
    return 0;
}

LV_INLINE enum lv_listed lv_listed(const struct lv_lists *l, const struct lv_addr *addr)
{
    struct lv_listed_search w = {l, {lv_addr_half(addr->b), lv_addr_half(addr->b + 8)}, 0, 0};
    u32 block = lv_listed_block(w.addr[0], w.addr[1]);
    const struct lv_listed_span *e;

    LV_OPAQUE(block);
    block &= LV_LISTED_BLOCKS - 1; /* which older verifiers do not see through the choice of a family */
    if (!l->count || !(l->touched[block / 64] >> (block % 64) & 1))
        return LV_LISTED_NOT;
    w.step = l->search_step;
    lv_loop(LV_LISTED_STEPS, lv_listed_step, &w);
    if (!w.at)
        return LV_LISTED_NOT;
    e = &l->span[(w.at - 1) & (LV_LISTED_MAX - 1)];
    return lv_less128(e->hi, w.addr) ? LV_LISTED_NOT : (enum lv_listed)e->what;
}

#ifndef __bpf__

/* Note which blocks a span touches. A span is of one family: IPv4, or not. */
LV_INLINE void lv_listed_touch(struct lv_lists *l, const struct lv_listed_span *e)
{
    int ipv4 = !e->lo[0] && e->lo[1] >> 32 == 0xffff;
    u64 first = ipv4 ? e->lo[1] >> 16 : e->lo[0] >> 32, last = ipv4 ? e->hi[1] >> 16 : e->hi[0] >> 32, i;

    if (last - first >= LV_LISTED_BLOCKS - 1) {
        __builtin_memset(l->touched, 0xff, sizeof(l->touched));
        return;
    }
    for (i = first; i <= last; i++) {
        u32 block = ipv4 ? (u32)i & (LV_LISTED_BLOCKS - 1) : lv_listed_block(i << 32, 0);

        l->touched[block / 64] |= 1ull << (block % 64);
    }
}

#endif

#endif
