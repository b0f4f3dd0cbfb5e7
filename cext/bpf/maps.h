/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the programs in the kernel and the daemon share: the layout of every map, and of what is handed over.
 *
 * Owns: sizes and structures. Included by: the BPF programs (which declare the maps), bpfengine.pyx. Must not know: policy.
 */
#ifndef LV_BPF_MAPS_H
#define LV_BPF_MAPS_H

#include "../core/base.h"
#include "../core/cookie.h"
#include "../core/flow.h"
#include "../core/halfopen.h"
#include "../core/learned.h"
#include "../core/reason.h"
#include "../core/service.h"

enum {
    LV_ETHERNET_BYTES = 14,
    LV_BPF_LAYOUT = 2,             /* pinned maps of another layout are not taken over */
    LV_HANDOVER_SMALL = 2048,      /* room for a packet in the ring: what an ordinary MTU needs, */
    LV_HANDOVER_LARGE = 16384,     /* jumbo frames, */
    LV_HANDOVER_GSO = 65536 + 256, /* and what GRO put together */
    LV_REASONS_AND_EVENTS = (int)LV_R_COUNT + (int)LV_E_COUNT,
};

/* One record, read by the programs at every packet, written by the daemon. */
struct lv_bpf_config {
    u64 heartbeat_ns; /* CLOCK_MONOTONIC; 0: no daemon has run */
    u64 late_ns;      /* a heartbeat older than this: new connections follow the fail policy */
    u64 half_seed;
    u32 half_sets_mask;
    u32 ts_offset;
    u32 offered_window;
    u32 services;   /* which of the two service tables counts */
    u32 ifindex[2]; /* by side */
    u8 fail_open;
    u8 pass_full; /* half of the table are connections that are only known: no more of them */
    u8 pad[6];
};

struct lv_half_sets {
    struct lv_half way[LV_HALF_WAYS];
};

struct lv_learned_sets {
    struct lv_learned way[LV_LEARNED_WAYS];
};

struct lv_counters {
    u64 n[LV_REASONS_AND_EVENTS];
};

/* In front of each packet that is handed to user space. */
struct lv_handover {
    u32 len; /* bytes of the Ethernet frame that follow */
    u8 side; /* where it came in */
    u8 flags;
    u16 vlan_proto; /* tag out of band, 0: none */
    u16 vlan_tci;
    u16 pad;
    u32 pad2;
};

#endif
