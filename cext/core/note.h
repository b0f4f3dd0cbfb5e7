/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A note for the log of a service: a packet that was refused, or a connection that was opened, and between whom.
 *
 * Owns: struct lv_note, which packets are worth one, the choice of those that get one. Included by: worker.h (user space
 * keeps notes in a ring of each worker, noting.h), the programs (bpf/note.h). Must not know: who reads them.
 *
 * The meter is asked before anything is copied, and it is the only thing that is: what gets no note is counted by its
 * reason like everything else, and the daemon finds by that how many were left out.
 */
#ifndef LV_NOTE_H
#define LV_NOTE_H

#include "flow.h"
#include "guard.h"
#include "packet.h"
#include "reason.h"
#include "service.h"

struct lv_note {
    struct lv_addr src, dst;
    u16 sport, dport; /* 0: it has none, or they are not known */
    u16 service;
    u16 vid[LV_VLAN_TAGS]; /* VLAN identifiers, outermost first, 0: none */
    u8 noted;              /* enum lv_noted */
    u8 why;                /* enum lv_reason, or LV_R_COUNT + enum lv_event */
    u8 side;               /* enum lv_side: where it came in */
    u8 flags;              /* of TCP, where there are ports */
};
_Static_assert(sizeof(struct lv_note) == 48, "no holes: it is read as bytes");
_Static_assert((int)LV_R_COUNT + (int)LV_E_COUNT <= 256, "a note's `why` is a byte");

/* What these reasons count was not refused: it is the protection at work, and TCP goes on. */
LV_INLINE int lv_is_refusal(u32 reason)
{
    const u64 at_work = 1ull << LV_R_SYN_ANSWERED | 1ull << LV_R_SYN_WATCHED | 1ull << LV_R_COOKIE_ACCEPTED |
                        1ull << LV_R_HELD | 1ull << LV_R_EARLY | 1ull << LV_R_SERVER_HANDSHAKE |
                        1ull << LV_R_ICMP_CONSUMED;

    return reason < LV_R_COUNT && !(at_work >> reason & 1);
}

/* Does one more get a note? `g` is the guard of the service. */
LV_INLINE int lv_note_wanted(const struct lv_service *sv, struct lv_guard *g, enum lv_noted noted, u32 now_ms)
{
    return sv->log[noted].most && lv_meter_passes(&g->log[noted], &sv->log[noted], now_ms);
}

/* A packet that came in on `side`. */
LV_INLINE void lv_note_packet(struct lv_note *n, const struct lv_pkt *k, u32 kind, u32 service, u32 why, u32 side)
{
    int has_ports = kind == LV_KIND_TCP ? why != LV_R_IP_SOURCE : why == LV_R_TCP_FLAGS;

    n->src = k->ip.src;
    n->dst = k->ip.dst;
    n->sport = has_ports ? k->tcp.sport : 0;
    n->dport = has_ports ? k->tcp.dport : 0;
    n->flags = has_ports ? k->tcp.flags : 0;
    n->service = (u16)service;
    n->vid[0] = k->tags > 0 ? k->tci[0] & 0xfff : 0;
    n->vid[1] = k->tags > 1 ? k->tci[1] & 0xfff : 0;
    n->noted = LV_NOTED_REFUSED;
    n->why = (u8)why;
    n->side = (u8)side;
}

/* The client of a connection, by its key. */
LV_INLINE void lv_note_client(struct lv_note *n, const struct lv_key *key, u32 service, u32 why)
{
    n->src = key->client;
    n->dst = key->server;
    n->sport = key->cport;
    n->dport = key->sport;
    n->service = (u16)service;
    n->vid[0] = key->vid[0];
    n->vid[1] = key->vid[1];
    n->noted = why == LV_R_COUNT + LV_E_OPENED ? LV_NOTED_OPENED : LV_NOTED_REFUSED;
    n->why = (u8)why;
    n->side = LV_OUTSIDE;
    n->flags = 0;
}

#endif
