/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Learning: a server's SYN-ACK becomes an entry of learned.h.
 *
 * Owns: writing the cache. Called by: handshake. Must not know: what is made of it. Full: the entry of a set that was seen
 * longest ago is overwritten; its server is learned again at its next connection.
 */
#ifndef LV_LEARNING_H
#define LV_LEARNING_H

#include "learned.h"
#include "table.h"

struct lv_learning {
    struct lv_learned *entry; /* shared memory, LV_LEARNED_ENTRIES */
    struct lv_spinlock lock;  /* writers */
};

/* `asked`: the options our SYN had (enum lv_known); the others of `o` say nothing. `guess`: the window scale that was
 * announced as long as nothing was known. */
LV_INLINE void lv_learned_put(struct lv_learning *l, const struct lv_addr *addr, u16 port,
                              const struct lv_server_options *o, u8 asked, u16 window, u8 guess, u32 now_ms)
{
    struct lv_learned *e = &l->entry[(u64)lv_learned_index(addr, port) * LV_LEARNED_WAYS], *to = e;
    u32 i, fresh = 1;

    lv_lock(&l->lock);
    for (i = 0; i < LV_LEARNED_WAYS; i++) {
        if (e[i].used && e[i].port == port && lv_addr_eq(&e[i].addr, addr)) {
            to = &e[i];
            fresh = 0;
            break;
        }
        if (!e[i].used)
            to = &e[i];
        else if (to->used && now_ms - e[i].seen_ms > now_ms - to->seen_ms)
            to = &e[i];
    }
    __atomic_store_n(&to->sequence, to->sequence | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (fresh)
        to->known = 0;
    if (asked & LV_KNOWN_WSCALE) {
        u8 before = (to->known & LV_KNOWN_WSCALE) ? to->o.wscale : guess;

        if (before != o->wscale) {
            to->wscale_before = before;
            to->changed_ms = now_ms;
        } else if (!(to->known & LV_KNOWN_WSCALE)) {
            to->wscale_before = before;
        }
        to->o.wscale = o->wscale;
    }
    if (asked & LV_KNOWN_SACK)
        to->o.sack_ok = o->sack_ok;
    if (asked & LV_KNOWN_TS)
        to->o.has_ts = o->has_ts;
    if (asked & LV_KNOWN_ECN)
        to->o.ecn = o->ecn;
    to->known |= asked;
    to->o.mss = o->mss;
    to->addr = *addr;
    to->port = port;
    to->window = window;
    to->seen_ms = now_ms;
    to->used = 1;
    __atomic_store_n(&to->sequence, to->sequence + 1, __ATOMIC_RELEASE);
    lv_unlock(&l->lock);
}

#endif
