/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the programs in the kernel and the daemon share: the layout of every map, and of what is handed over.
 *
 * Owns: sizes and structures. Included by: the BPF programs (which declare the maps), bpfengine.pyx. Must not know: policy.
 */
#ifndef LV_BPF_MAPS_H
#define LV_BPF_MAPS_H

#include "../core/base.h"
#include "../core/capture.h"
#include "../core/cookie.h"
#include "../core/flow.h"
#include "../core/guard.h"
#include "../core/halfopen.h"
#include "../core/learned.h"
#include "../core/lists.h"
#include "../core/note.h"
#include "../core/reason.h"
#include "../core/service.h"
#include "../core/sources.h"

enum {
    LV_ETHERNET_BYTES = 14,
    LV_HANDOVER_SMALL = 2048,      /* room for a packet in the ring: what an ordinary MTU needs, */
    LV_HANDOVER_LARGE = 16384,     /* jumbo frames, */
    LV_HANDOVER_GSO = 65536 + 256, /* and what GRO put together */
    LV_REASONS_AND_EVENTS = (int)LV_R_COUNT + (int)LV_E_COUNT,
};

/*
 * Every map, with the number of its layout and the group it belongs to. Whoever changes what a map holds raises its number
 * (a changed size would be noticed, a changed meaning would not). A successor takes up the maps whose number and sizes are
 * its own and makes the others anew, a group as a whole: the configuration says which of the service tables counts.
 * Number 0: a program's own, not pinned.
 *
 * A new number for lv_flows ends every open connection at the next upgrade: the loader would have to learn to convert.
 */
#define LV_BPF_MAPS(X)                                                                                                 \
    X(lv_flows, 1, 0)                                                                                                  \
    X(lv_learned, 1, 0)                                                                                                \
    X(lv_halfopen, 3, 0)                                                                                               \
    X(lv_half_tags, 1, 0)                                                                                              \
    X(lv_handovers, 1, 0)                                                                                              \
    X(lv_sources, 1, 0)                                                                                                \
    X(lv_keys, 1, 0)                                                                                                   \
    X(lv_counts, 3, 0)                                                                                                 \
    X(lv_config, 4, 1)                                                                                                 \
    X(lv_list_tables, 1, 1)                                                                                            \
    X(lv_service_tables, 5, 1)                                                                                         \
    X(lv_guards, 3, 1)                                                                                                 \
    X(lv_capture, 1, 0)                                                                                                \
    X(lv_captures, 1, 0)                                                                                               \
    X(lv_notes, 1, 0)                                                                                                  \
    X(lv_tap, 0, 0)                                                                                                    \
    X(lv_scratch, 0, 0)

/* One record, read by the programs at every packet, written by the daemon. */
struct lv_bpf_config {
    u64 heartbeat_ns; /* CLOCK_MONOTONIC; 0: no daemon has run */
    u64 late_ns;      /* a heartbeat older than this: new connections follow the fail policy */
    u64 half_seed;
    struct lv_sipkey source_key;
    u32 half_sets_mask;
    u32 source_sets_mask;
    u32 ts_offset;
    u32 offered_window;
    u32 services;   /* which of the two service tables counts */
    u32 ifindex[2]; /* by side */
    u8 fail_open;
    u8 pass_full; /* half of the table are connections that are only known: no more of them */
    u8 lists;     /* which of the two tables of listed sources counts */
    u8 listed;    /* it has entries */
    u8 watches;   /* there is, or was, a service with `protect: auto`: handshakes may be watched */
    u8 logs;      /* there is a service with a log */
    u8 pad[6];
};

struct lv_half_sets {
    struct lv_half way[LV_HALF_WAYS];
};

struct lv_learned_sets {
    struct lv_learned way[LV_LEARNED_WAYS];
};

struct lv_source_sets {
    struct lv_source way[LV_SOURCE_WAYS];
};

struct lv_counters {
    u64 n[LV_REASONS_AND_EVENTS];
};

enum lv_handover_flag {
    LV_HANDOVER_COPY = 0x01,  /* a SYN-ACK that goes on by itself: to be learned from, no more */
    LV_HANDOVER_CATCH = 0x02, /* its source is over a limit, and to be blocked */
};

/* In front of each packet that is handed to user space. */
struct lv_handover {
    u32 len;        /* bytes of the Ethernet frame that follow */
    u8 side;        /* where it came in */
    u8 flags;       /* enum lv_handover_flag */
    u16 vlan_proto; /* tag out of band, 0: none */
    u16 vlan_tci;
    u16 pad;
    u32 pad2;
};

#endif
