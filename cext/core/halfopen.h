/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The half-open cache: what a client's SYN really said, for as long as there is room to remember it.
 *
 * Owns: a set-associative cache of a fixed size, one for each worker (a SYN and its ACK come by the same queue, so there
 * is no lock), or one BPF array. Called by: gate. Must not know: cookies beyond their number; with an entry evicted the
 * cookie suffices.
 *
 * Full: the oldest of LV_HALF_WAYS entries is overwritten. A flood thus empties the cache and costs nothing else.
 */
#ifndef LV_HALFOPEN_H
#define LV_HALFOPEN_H

#include "base.h"
#include "flow.h"

enum {
    LV_HALF_WAYS = 4,
    LV_HALF_RETRIES = 3,     /* SYN-ACK again 1, 3 and 7 s after the first, well within the life of a cookie */
    LV_HALF_SCAN_TICKS = 25, /* the whole cache is looked at once in so many ticks: 250 ms */
};

enum lv_half_flag {
    LV_HALF_USED = 0x01,
    LV_HALF_SACK = 0x02, /* offered by the client and told to it */
    LV_HALF_TS = 0x04,
    LV_HALF_ECN = 0x08,
    LV_HALF_SACK_OFFER = 0x10, /* offered by the client, and not told to it */
    LV_HALF_ECN_OFFER = 0x20,
    LV_HALF_WATCHED = 0x40,  /* not ours: a handshake that goes past the box (watch.h) */
    LV_HALF_ANSWERED = 0x80, /* WATCHED: by the server, `isn` is its number */
};

struct lv_half {
    struct lv_key key;
    u32 client_isn, isn;
    u32 tsval_c; /* the client's */
    u32 tsval;   /* ours in the SYN-ACK */
    u32 made_ms;
    u16 mss;      /* the client's, 0 if it named none */
    u16 window;   /* the client's, in its SYN */
    u16 mss_told; /* to the client */
    u16 service;
    u8 wscale;      /* the client's or LV_WSCALE_NONE */
    u8 wscale_told; /* to the client: the server's, or LV_WSCALE_NONE */
    u8 flags;       /* enum lv_half_flag */
    u8 tries;       /* SYN-ACKs sent again */
    u8 mac_c[6], mac_s[6];
    u8 tags, l2;
    u16 tci[LV_VLAN_TAGS];
};

struct lv_halfopen {
    struct lv_half *entry;
    u64 seed;
    u32 sets_mask;
    u32 cursor; /* of the scan */
    u32 seen;   /* entries in use that this scan has met */
    u32 used;   /* what the last whole scan met: an entry can also be made where nobody counts, in a BPF program */
};

/* Set of a key. Quick and keyed, no more: who finds keys that share a set evicts four entries, and cookies suffice. */
LV_INLINE u32 lv_half_index(u64 seed, const struct lv_key *key)
{
    const lv_word *q = (const lv_word *)key;
    u64 h = (q[1] ^ seed) * 0x9e3779b97f4a7c15ULL;

    h = (h ^ (h >> 29) ^ q[3] ^ q[0]) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 32) ^ q[4] ^ q[2]) * 0x94d049bb133111ebULL;
    return (u32)(h >> 32);
}

LV_INLINE struct lv_half *lv_half_set(struct lv_halfopen *h, const struct lv_key *key)
{
    return &h->entry[(u64)(lv_half_index(h->seed, key) & h->sets_mask) * LV_HALF_WAYS];
}

/* In a flood each set is elsewhere in memory; what is done meanwhile hides that. */
LV_INLINE void lv_half_prefetch(const struct lv_half *set)
{
    u32 i;

    for (i = 0; i < LV_HALF_WAYS * sizeof(*set); i += 64)
        __builtin_prefetch((const u8 *)set + i, 1);
}

/* `e`: the set of the key. */
LV_INLINE struct lv_half *lv_half_find(struct lv_half *e, const struct lv_key *key)
{
    u32 i;

    for (i = 0; i < LV_HALF_WAYS; i++)
        if ((e[i].flags & LV_HALF_USED) && lv_key_eq(&e[i].key, key))
            return &e[i];
    return 0;
}

/* A place for a new entry in a set: a free one, else the oldest. The caller sets all fields. */
LV_INLINE struct lv_half *lv_half_place(struct lv_half *e, u32 now_ms)
{
    struct lv_half *oldest = e;
    u32 i;

    for (i = 0; i < LV_HALF_WAYS; i++) {
        if (!(e[i].flags & LV_HALF_USED))
            return &e[i];
        if (now_ms - e[i].made_ms > now_ms - oldest->made_ms)
            oldest = &e[i];
    }
    return oldest;
}

#endif
