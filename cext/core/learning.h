/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Learning: a server's SYN-ACK becomes an entry of learned.h.
 *
 * Owns: writing the cache. Called by: handshake, and dataplane.pyx for what a file remembers. Must not know: what is made
 * of it. Full: the entry of a set that was seen longest ago is overwritten; its server is learned again at its next
 * connection.
 */
#ifndef LV_LEARNING_H
#define LV_LEARNING_H

#include "learned.h"
#include "table.h"

enum { LV_LEARNED_AHEAD_MS = 60000 }; /* a worker's clock may be ahead of who sweeps */

struct lv_learning {
    struct lv_learned *entry; /* shared memory, LV_LEARNED_ENTRIES */
    struct lv_spinlock lock;  /* writers */
};

/* The entry of a server in its set, or the one to give up for it: a free one, else the one seen longest ago. */
LV_INLINE struct lv_learned *lv_learned_place(struct lv_learned *e, const struct lv_addr *addr, u16 port, u32 now_ms)
{
    struct lv_learned *to = e;
    u32 i;

    for (i = 0; i < LV_LEARNED_WAYS; i++) {
        if (e[i].used && e[i].port == port && lv_addr_eq(&e[i].addr, addr))
            return &e[i];
        if (!e[i].used)
            to = &e[i];
        else if (to->used && now_ms - e[i].seen_ms > now_ms - to->seen_ms)
            to = &e[i];
    }
    return to;
}

LV_INLINE int lv_learned_is(const struct lv_learned *e, const struct lv_addr *addr, u16 port)
{
    return e->used && e->port == port && lv_addr_eq(&e->addr, addr);
}

/* Around every change of an entry: who reads meanwhile takes it as unknown. */
LV_INLINE void lv_learned_begin(struct lv_learned *e)
{
    __atomic_store_n(&e->sequence, e->sequence | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

LV_INLINE void lv_learned_end(struct lv_learned *e)
{
    __atomic_store_n(&e->sequence, e->sequence + 1, __ATOMIC_RELEASE);
}

LV_INLINE struct lv_learned *lv_learned_set(struct lv_learning *l, const struct lv_addr *addr, u16 port)
{
    return &l->entry[(u64)lv_learned_index(addr, port) * LV_LEARNED_WAYS];
}

/* `asked`: the options our SYN had (enum lv_known); the others of `o` say nothing. `guess`: the window scale that was
 * announced as long as nothing was known. */
LV_INLINE void lv_learned_put(struct lv_learning *l, const struct lv_addr *addr, u16 port,
                              const struct lv_server_options *o, u8 asked, u16 window, u8 guess, u32 now_ms)
{
    struct lv_learned *to;

    lv_lock(&l->lock);
    to = lv_learned_place(lv_learned_set(l, addr, port), addr, port, now_ms);
    lv_learned_begin(to);
    if (!lv_learned_is(to, addr, port))
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
    lv_learned_end(to);
    lv_unlock(&l->lock);
}

/* An entry from a file: what this server answered before the start. What is known by now is newer, and stays. Returns 1 if
 * it was put in; a server that was seen later than it does not give way. */
LV_INLINE int lv_learned_restore(struct lv_learning *l, const struct lv_learned *from, u32 now_ms)
{
    struct lv_learned *to;
    int put;

    lv_lock(&l->lock);
    to = lv_learned_place(lv_learned_set(l, &from->addr, from->port), &from->addr, from->port, now_ms);
    put = !to->used || (!lv_learned_is(to, &from->addr, from->port) && now_ms - to->seen_ms > now_ms - from->seen_ms);
    if (put) {
        u32 sequence;

        lv_learned_begin(to);
        sequence = to->sequence;
        *to = *from;
        to->sequence = sequence;
        to->used = 1;
        to->wscale_before = to->o.wscale;
        lv_learned_end(to);
    }
    lv_unlock(&l->lock);
    return put;
}

/* Forget servers that have been silent for longer than `most_ms`. Returns their number. */
LV_INLINE u32 lv_learned_forget(struct lv_learning *l, u32 most_ms, u32 now_ms)
{
    u32 i, n = 0;

    for (i = 0; i < LV_LEARNED_ENTRIES; i++) {
        struct lv_learned *e = &l->entry[i];

        lv_lock(&l->lock);
        if (e->used && now_ms - e->seen_ms > most_ms && now_ms - e->seen_ms < 0u - LV_LEARNED_AHEAD_MS) {
            lv_learned_begin(e);
            e->used = 0;
            lv_learned_end(e);
            n++;
        }
        lv_unlock(&l->lock);
    }
    return n;
}

#endif
