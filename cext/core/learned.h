/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What servers are known to answer: the options of their SYN-ACKs, per address and port.
 *
 * Owns: a cache of a fixed size in shared memory. Called by: gate (read, at every SYN), handshake (write, at every
 * SYN-ACK of a server). Readers take no lock: an entry has a sequence count, and one that changes under the reader is
 * taken as unknown for this one SYN. Full: the entry that was seen longest ago of LV_LEARNED_WAYS is overwritten; the
 * server is learned again at its next connection.
 */
#ifndef LV_LEARNED_H
#define LV_LEARNED_H

#include "base.h"
#include "options.h"
#include "table.h"

enum { LV_LEARNED_ENTRIES = 8192, LV_LEARNED_WAYS = 4 };

/* The options a SYN-ACK announces for a server. */
struct lv_server_options {
    u16 mss;
    u8 wscale; /* or LV_WSCALE_NONE */
    u8 sack_ok, has_ts, ecn;
};

struct lv_learned {
    struct lv_addr addr;
    u16 port;
    u16 used;
    u32 sequence; /* odd while it is written */
    struct lv_server_options o;
    u8 wscale_before; /* until changed_ms */
    u8 pad[1];
    u16 window;
    u32 changed_ms; /* when the window scale became another one */
    u32 seen_ms;
    u32 pad2;
};
_Static_assert(sizeof(struct lv_learned) == 48, "layout of shared memory");

struct lv_learning {
    struct lv_learned *entry; /* shared memory, LV_LEARNED_ENTRIES */
    struct lv_spinlock lock;  /* writers */
    struct lv_sipkey key;
};

LV_INLINE struct lv_learned *lv_learned_set(struct lv_learning *l, const struct lv_addr *addr, u16 port)
{
    u8 m[24] = {0};
    u32 sets = LV_LEARNED_ENTRIES / LV_LEARNED_WAYS;

    lv_copy(m, addr->b, 16);
    lv_put16(m + 16, port);
    return &l->entry[(lv_siphash(&l->key, m, 24) % sets) * LV_LEARNED_WAYS];
}

/* Copy of the entry for a server; returns 0 if there is none (or it is being written just now). */
LV_INLINE int lv_learned_get(struct lv_learning *l, const struct lv_addr *addr, u16 port, struct lv_learned *out)
{
    struct lv_learned *e = lv_learned_set(l, addr, port);
    u32 i;

    for (i = 0; i < LV_LEARNED_WAYS; i++, e++) {
        u32 before = __atomic_load_n(&e->sequence, __ATOMIC_ACQUIRE);

        if (!e->used || e->port != port || !lv_addr_eq(&e->addr, addr))
            continue;
        *out = *e;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return !(before & 1) && __atomic_load_n(&e->sequence, __ATOMIC_RELAXED) == before;
    }
    return 0;
}

/* `guess`: the window scale that was announced as long as nothing was known. */
LV_INLINE void lv_learned_put(struct lv_learning *l, const struct lv_addr *addr, u16 port,
                              const struct lv_server_options *o, u16 window, u8 guess, u32 now_ms)
{
    struct lv_learned *e = lv_learned_set(l, addr, port), *to = e;
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
    if (fresh || to->o.wscale != o->wscale) {
        to->wscale_before = fresh ? guess : to->o.wscale;
        to->changed_ms = now_ms;
    }
    to->addr = *addr;
    to->port = port;
    to->o = *o;
    to->window = window;
    to->seen_ms = now_ms;
    to->used = 1;
    __atomic_store_n(&to->sequence, to->sequence + 1, __ATOMIC_RELEASE);
    lv_unlock(&l->lock);
}

#endif
