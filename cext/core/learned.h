/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What servers are known to answer: the options of their SYN-ACKs, per address and port.
 *
 * Owns: the entries of a cache of a fixed size, and reading it. Called by: gate, at every SYN; learning.h writes.
 * Readers take no lock: an entry has a sequence count, and one that changes under the reader is taken as unknown for this
 * one SYN.
 */
#ifndef LV_LEARNED_H
#define LV_LEARNED_H

#include "base.h"
#include "options.h"
#include "packet.h"

enum { LV_LEARNED_ENTRIES = 8192, LV_LEARNED_WAYS = 4 };

/* The options a SYN-ACK announces for a server. */
struct lv_server_options {
    u16 mss;
    u8 wscale; /* or LV_WSCALE_NONE */
    u8 sack_ok, has_ts, ecn;
};

/* A server answers an option only if it was asked for it, so each is known or not by itself; the MSS always is. */
enum lv_known {
    LV_KNOWN_WSCALE = 0x01,
    LV_KNOWN_SACK = 0x02,
    LV_KNOWN_TS = 0x04,
    LV_KNOWN_ECN = 0x08,
};

struct lv_learned {
    struct lv_addr addr;
    u16 port;
    u16 used;
    u32 sequence; /* odd while it is written */
    struct lv_server_options o;
    u8 wscale_before; /* until changed_ms */
    u8 known;         /* enum lv_known */
    u16 window;
    u32 changed_ms; /* when the window scale became another one */
    u32 seen_ms;
    u32 pad2;
};
_Static_assert(sizeof(struct lv_learned) == 48, "layout of shared memory");

/* Number of the set for a server. Servers are the operator's, nobody else chooses them: a quick hash will do. */
LV_INLINE u32 lv_learned_index(const struct lv_addr *addr, u16 port)
{
    u64 h = (addr->q[0] ^ port) * 0x9e3779b97f4a7c15ULL;

    h = (h ^ (h >> 32) ^ addr->q[1]) * 0xbf58476d1ce4e5b9ULL;
    return (u32)(h >> 32) % (LV_LEARNED_ENTRIES / LV_LEARNED_WAYS);
}

/* Copy of the entry for a server from its set; returns 0 if there is none (or it is being written just now). */
LV_INLINE int lv_learned_read(const struct lv_learned *e, const struct lv_addr *addr, u16 port, struct lv_learned *out)
{
    u32 i;

    for (i = 0; i < LV_LEARNED_WAYS; i++, e++) {
        u32 before = lv_load_acquire(&e->sequence);

        if (!e->used || e->port != port || !lv_addr_eq(&e->addr, addr))
            continue;
        *out = *e;
        lv_read_fence();
        return !(before & 1) && lv_load_acquire(&e->sequence) == before;
    }
    return 0;
}

#endif
