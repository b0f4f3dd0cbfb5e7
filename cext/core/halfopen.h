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

/*
 * Beside a set: what says that a key is in none of its entries, and which is the oldest. A flood of new keys reads these
 * few bytes, which are likely to be in a near cache, and of the entries only touches the one it overwrites.
 */
struct lv_half_tags {
    u16 tag[LV_HALF_WAYS];  /* part of the key's hash, 0: free */
    u16 made[LV_HALF_WAYS]; /* when the place was taken: low bits of the clock, entries live for less than 65 s */
};

struct lv_halfopen {
    struct lv_half *entry;
    struct lv_half_tags *tags; /* of each set */
    u64 seed;
    u32 sets_mask;
    u32 cursor; /* of the scan */
    u32 seen;   /* entries in use that this scan has met */
    u32 used;   /* what the last whole scan met: an entry can also be made where nobody counts, in a BPF program */
};

/* Where a key is, if it is anywhere. */
struct lv_half_set {
    struct lv_half *way;
    struct lv_half_tags *tags;
    u16 tag; /* the key's */
};

/* Quick and keyed, no more: who finds keys that share a set evicts four entries, and cookies suffice. */
LV_INLINE u64 lv_half_hash(u64 seed, const struct lv_key *key)
{
    const lv_word *q = (const lv_word *)key;
    u64 h = (q[1] ^ seed) * 0x9e3779b97f4a7c15ULL;

    h = (h ^ (h >> 29) ^ q[3] ^ q[0]) * 0xbf58476d1ce4e5b9ULL;
    return (h ^ (h >> 32) ^ q[4] ^ q[2]) * 0x94d049bb133111ebULL;
}

/* Number of the set, before the mask. */
LV_INLINE u32 lv_half_index(u64 hash)
{
    return (u32)(hash >> 32);
}

/* The tag: other bits than those of the set, and not 0. */
LV_INLINE u16 lv_half_tag(u64 hash)
{
    return (u16)(hash >> 16) | 1;
}

LV_INLINE struct lv_half_set lv_half_set(struct lv_halfopen *h, const struct lv_key *key)
{
    u64 hash = lv_half_hash(h->seed, key);
    u64 set = lv_half_index(hash) & h->sets_mask;
    struct lv_half_set found = {&h->entry[set * LV_HALF_WAYS], &h->tags[set], lv_half_tag(hash)};

    return found;
}

/* In a flood each set is elsewhere in memory; what is done meanwhile hides that. */
LV_INLINE void lv_half_prefetch(const struct lv_half_set *set)
{
#ifdef __bpf__
    (void)*(const volatile u16 *)set->tags->tag; /* there is no such instruction: a read that nobody waits for */
#else
    __builtin_prefetch(set->tags, 1);
#endif
}

LV_INLINE struct lv_half *lv_half_find(const struct lv_half_set *set, const struct lv_key *key)
{
    u32 i;

    for (i = 0; i < LV_HALF_WAYS; i++) {
        struct lv_half *e = &set->way[i];

        if (set->tags->tag[i] == set->tag && (e->flags & LV_HALF_USED) && lv_key_eq(&e->key, key))
            return e;
    }
    return 0;
}

/* A place for a new entry of the set's key: a free one, else the oldest. The caller sets all fields. */
LV_INLINE struct lv_half *lv_half_place(const struct lv_half_set *set, u32 now_ms)
{
    u16 now = (u16)now_ms;
    struct lv_half_tags *t = set->tags;
    u32 i, place = 0, oldest = 0;

    for (i = 0; i < LV_HALF_WAYS; i++) {
        u32 age = t->tag[i] ? (u16)(now - t->made[i]) + 1u : 0x20000u;

        if (age > oldest) {
            oldest = age;
            place = i;
        }
    }
    place &= LV_HALF_WAYS - 1;
    t->tag[place] = set->tag;
    t->made[place] = now;
    return &set->way[place];
}

/* A place whose entry is of no more use: the scan gives it back. */
LV_INLINE void lv_half_free(struct lv_halfopen *h, u32 entry)
{
    u16 *tag = &h->tags[entry / LV_HALF_WAYS].tag[entry % LV_HALF_WAYS];

    if (*tag)
        *tag = 0;
}

#endif
